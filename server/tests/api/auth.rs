//! Signing in and out, tokens, users, and the browser's cookie.
//!
//! Wrong names, wrong passwords and used links must answer alike.

use serde_json::json;

use crate::client::Client;
use crate::world::{World, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_link_signs_in_once() {
    let world = World::start().await;
    let again = json!({ "link": world.link });
    world.guest().post("/sessions", again).await.refuses(401, "sign-in-failed");
    assert_eq!(world.root.get("/me").await.is(200)["name"], "root");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_answer_alike() {
    let world = World::start().await;
    let ann = world.user("ann").await;
    let id = text(&ann.get("/me").await.is(200)["id"]);
    let guest = world.guest();
    let body = |name: &str, password: &str| json!({ "name": name, "password": password });
    let wrong = guest.post("/sessions", body("ann", "x")).await;
    let unknown = guest.post("/sessions", body("nobody", "x")).await;
    assert_eq!((wrong.status, &wrong.body), (401, &unknown.body));
    world.root.patch(&format!("/users/{id}"), json!({ "disabled": true })).await.is(200);
    let disabled = guest.post("/sessions", body("ann", "correct horse")).await;
    assert_eq!((disabled.status, &disabled.body), (401, &unknown.body));
    ann.get("/me").await.refuses(401, "unauthenticated");
    guest.get("/me").await.refuses(401, "unauthenticated");
    guest.post("/sessions", json!({ "name": "ann" })).await.refuses(422, "invalid");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_wrong_passwords_must_wait() {
    let world = World::start().await;
    let body = json!({ "name": "root", "password": "x" });
    for _ in 0..10 {
        world.guest().post("/sessions", body.clone()).await.refuses(401, "sign-in-failed");
    }
    let answer = world.guest().post("/sessions", body).await;
    assert!(answer.header("retry-after").is_some());
    answer.refuses(429, "too-many-attempts");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_out_or_revoked_token_is_worth_nothing() {
    let world = World::start().await;
    let ann = world.user("ann").await;
    let made = ann.post("/tokens", json!({ "name": "bot" })).await.is(201);
    let bot = Client::new(world.address, Some(text(&made["token"])));
    assert_eq!(bot.get("/me").await.is(200)["name"], "ann");
    assert_eq!(ann.get("/tokens").await.is(200)["tokens"].as_array().map(Vec::len), Some(2));
    let path = format!("/tokens/{}", text(&made["id"]));
    let bob = world.user("bob").await;
    bob.delete(&path).await.refuses(404, "not-found");
    ann.delete(&path).await.is(204);
    ann.delete(&path).await.refuses(404, "not-found");
    bot.get("/me").await.refuses(401, "unauthenticated");
    ann.delete("/sessions/current").await.is(204);
    ann.get("/me").await.refuses(401, "unauthenticated");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_ends_the_other_sessions() {
    let world = World::start().await;
    let ann = world.user("ann").await;
    let id = text(&ann.get("/me").await.is(200)["id"]);
    let body = json!({ "name": "ann", "password": "correct horse" });
    let other = text(&world.guest().post("/sessions", body.clone()).await.is(201)["token"]);
    let other = Client::new(world.address, Some(other));
    let path = format!("/users/{id}");
    ann.patch(&path, json!({ "password": "new one" })).await.refuses(422, "invalid");
    let change = json!({ "password": "new one", "old_password": "correct horse" });
    ann.patch(&path, change).await.is(200);
    ann.get("/me").await.is(200);
    other.get("/me").await.refuses(401, "unauthenticated");
    world.guest().post("/sessions", body).await.refuses(401, "sign-in-failed");
    ann.patch(&path, json!({ "administrator": true })).await.refuses(403, "forbidden");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_gets_a_cookie_and_needs_the_csrf_header() {
    let world = World::start().await;
    world.user("ann").await;
    let body = json!({ "name": "ann", "password": "correct horse" });
    let browser = [("X-Hansard-Browser", "1")];
    let answer = world.guest().json("POST", "/sessions", &browser, &body).await;
    let cookie = answer.header("set-cookie").expect("a cookie").to_owned();
    for part in ["__Host-hansard=hst_", "Secure", "HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(answer.is(201)["token"].is_null());
    let pair = cookie.split(';').next().expect("a pair");
    let cookie = [("Cookie", pair)];
    assert_eq!(world.guest().send("GET", "/me", &cookie, b"").await.is(200)["name"], "ann");
    let out = "/sessions/current";
    world.guest().send("DELETE", out, &cookie, b"").await.refuses(403, "csrf-required");
    let both = [cookie[0], ("X-Hansard-Csrf", "1")];
    world.guest().send("DELETE", out, &both, b"").await.is(204);
    world.guest().send("GET", "/me", &cookie, b"").await.refuses(401, "unauthenticated");
    world.stop().await;
}
