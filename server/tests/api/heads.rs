//! `/head`: signed heads, and who may ask for them.
//!
//! What is signed is held by the engine's tests and by `src/tests/proofs.rs`.

use serde_json::json;

use crate::world::{World, text};

#[tokio::test(flavor = "multi_thread")]
async fn administrators_see_sign_and_rotate_heads_and_nobody_else_does() {
    let world = World::start().await;
    let ann = world.user("ann").await;
    ann.get("/head").await.refuses(403, "forbidden");
    ann.post("/head", json!({})).await.refuses(403, "forbidden");
    ann.post("/head/key", json!({})).await.refuses(403, "forbidden");
    let none = world.root.get("/head").await.is(200);
    assert_eq!(none, json!({ "note": null, "upto": null, "time": null, "keys": [] }));
    let first = world.root.post("/head", json!({})).await.is(200);
    assert_eq!(world.root.get("/head").await.is(200), first);
    assert_eq!(world.root.post("/head", json!({})).await.is(200), first, "nothing happened");
    let key = text(&first["keys"][0]);
    let name = key.split('+').next().expect("a name");
    let note = text(&first["note"]);
    assert!(note.starts_with(name) && note.contains("\n\n\u{2014} "), "{note}");
    let rotated = world.root.post("/head/key", json!({})).await.is(200);
    assert_eq!(
        (rotated["keys"].as_array().expect("keys").len(), &rotated["keys"][0]),
        (2, &first["keys"][0])
    );
    // The new key is an event; seeds, lists and signatures are none.
    let events = world.root.get("/events?limit=500").await.is(200).to_string();
    assert_eq!(events.matches("signing-key").count(), 2);
    for kind in ["salts", "room-heads", "signed-head"] {
        assert!(!events.contains(&format!("\"{kind}\"")), "{kind}");
    }
    world.root.post("/head", json!({ "now": true })).await.refuses(422, "invalid");
    world.stop().await;
}
