//! The scrub over HTTP: who may ask, and what a pass says.
//!
//! What it finds in damaged packs is tested in the engine.

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_asks_for_a_pass_and_reads_what_it_found() {
    let world = World::start().await;
    let room = world.open_room().await;
    world.root.post(&format!("/rooms/{room}/messages"), json!({ "body": "kept" })).await.is(201);
    world.engine.seal().expect("a seal");
    let before = world.root.get("/admin/scrub").await.is(200);
    assert_eq!((&before["passes"], &before["last_end"]), (&json!(0), &Value::Null));
    world.root.post("/admin/scrub", json!({})).await.is(202);
    let mut report = before;
    for _ in 0..200 {
        report = world.root.get("/admin/scrub").await.is(200);
        if report["passes"] == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!((&report["passes"], &report["packs"]), (&json!(1), &json!(1)), "{report}");
    assert_eq!(report["damage"], json!([]));
    assert!(report["bytes"].as_u64() > Some(0) && report["last_end"].is_string(), "{report}");
    let ann = world.user("ann").await;
    ann.get("/admin/scrub").await.refuses(403, "forbidden");
    ann.post("/admin/scrub", json!({})).await.refuses(403, "forbidden");
    world.stop().await;
}
