//! Posting: what is kept, what a retry does, and how bad input is told.
//!
//! Each refusal is one line: what was sent, the status, the code.

use serde_json::json;

use crate::client::Client;
use crate::world::{World, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_post_is_kept_and_seen() {
    let world = World::start().await;
    let room = world.open_room().await;
    let ann = world.user("ann").await;
    let path = format!("/rooms/{room}/messages");
    let one = ann.post(&path, json!({ "body": "hello" })).await.is(201);
    assert_eq!((&one["seq"], &one["kind"]), (&json!(1), &json!("text")));
    assert_eq!(one["author"]["name"], "ann");
    assert_eq!(one["time"].as_str().map(str::len), Some("2008-04-27T06:00:00.000000Z".len()));
    let body = json!({ "body": "waves", "kind": "action", "reply_to": 1 });
    let two = ann.post(&path, body).await.is(201);
    assert_eq!((&two["seq"], &two["reply_to"]), (&json!(2), &json!(1)));
    let page = ann.get(&path).await.is(200);
    assert_eq!(page["messages"], json!([one, two]));
    let id = two["id"].as_str().expect("an id");
    assert_eq!(ann.get(&format!("{path}/{id}")).await.is(200), two);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_sent_many_times_at_once_gives_one_message() {
    let world = World::start().await;
    let room = world.open_room().await;
    let ann = world.user("ann").await;
    let path = format!("/rooms/{room}/messages");
    let posters: Vec<_> = (0..64)
        .map(|_| {
            let (ann, path) = (ann.clone(), path.clone());
            tokio::spawn(async move {
                let key = [("Idempotency-Key", "k-1")];
                ann.json("POST", &path, &key, &json!({ "body": "once" })).await
            })
        })
        .collect();
    let (mut first, mut fresh) = (None, 0);
    for poster in posters {
        let answer = poster.await.expect("a poster");
        fresh += usize::from(answer.header("idempotent-replayed").is_none());
        let message = answer.is(201);
        assert_eq!(first.get_or_insert_with(|| message.clone()), &message);
    }
    assert_eq!(fresh, 1);
    let page = ann.get(&path).await.is(200);
    assert_eq!(page["messages"].as_array().map(Vec::len), Some(1));
    let key = [("Idempotency-Key", "k-1")];
    let other = ann.json("POST", &path, &key, &json!({ "body": "other" })).await;
    other.refuses(422, "idempotency-key-reused");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_told_clearly() {
    let world = World::start().await;
    let room = world.open_room().await;
    let path = format!("/rooms/{room}/messages");
    let root = &world.root;
    let json_type = [("Content-Type", "application/json")];
    let long = json!({ "body": "x".repeat(64 * 1024 + 1) });
    root.post(&path, long).await.refuses(413, "too-large");
    root.post(&path, json!({ "body": "x".repeat(64 * 1024) })).await.is(201);
    let huge = vec![b'x'; 600 * 1024];
    root.send("POST", &path, &json_type, &huge).await.refuses(413, "too-large");
    root.post(&path, json!({ "body": "" })).await.refuses(422, "invalid");
    root.post(&path, json!({ "body": 3 })).await.refuses(422, "invalid");
    root.post(&path, json!({})).await.refuses(422, "invalid");
    root.post(&path, json!({ "body": "x", "kind": "event" })).await.refuses(422, "invalid");
    root.post(&path, json!({ "body": "x", "reply_to": 99 })).await.refuses(422, "invalid");
    let unknown = root.post(&path, json!({ "body": "x", "colour": "red" })).await;
    assert_eq!(unknown.refuses(422, "invalid")["field"], "colour");
    let broken = root.send("POST", &path, &json_type, b"{\"body\": \"x\"").await;
    assert_eq!(broken.refuses(400, "bad-json")["line"], 1);
    root.send("POST", &path, &json_type, b"{\"body\": \"\xff\"}").await.refuses(400, "bad-json");
    root.send("POST", &path, &json_type, b"").await.refuses(400, "bad-json");
    let plain = [("Content-Type", "text/plain")];
    root.send("POST", &path, &plain, b"x").await.refuses(415, "not-json-type");
    root.send("PUT", &path, &json_type, b"{}").await.refuses(405, "method-not-allowed");
    root.get("/nowhere").await.refuses(404, "not-found");
    root.get("/rooms/nonsense").await.refuses(404, "not-found");
    root.get("/rooms/r0-1").await.refuses(404, "not-found");
    root.get(&format!("{path}?limit=0")).await.refuses(400, "bad-query");
    root.get(&format!("{path}?limit=501")).await.refuses(400, "bad-query");
    root.get(&format!("{path}?limit=many")).await.refuses(400, "bad-query");
    root.get(&format!("{path}?colour=red")).await.refuses(400, "bad-query");
    root.get(&format!("{path}?around=yesterday")).await.refuses(400, "bad-query");
    root.get(&format!("{path}?before=1&after=2")).await.refuses(400, "bad-query");
    root.get(&format!("{path}?cursor=x")).await.refuses(400, "bad-cursor");
    let wrong = Client::new(world.address, Some("hst_wrong".into()));
    wrong.get("/me").await.refuses(401, "unauthenticated");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_and_browsers_find_their_files() {
    let world = World::start().await;
    let guest = world.guest();
    assert_eq!(guest.get("//healthz").await.is(200)["status"], "ok");
    assert_eq!(guest.get("//readyz").await.is(200)["status"], "ready");
    let metrics = guest.get("//metrics").await;
    assert!(metrics.text.contains("hansard_records_total "), "{}", metrics.text);
    assert!(metrics.text.contains("route=\"/api/v1/sessions\",status=\"201\""));
    let document = guest.get("/openapi.json").await.is(200);
    assert!(document["paths"]["/api/v1/rooms/{id}/messages"]["post"].is_object());
    for (path, kind) in
        [("//", "text/html"), ("//app.js", "text/javascript"), ("//app.css", "text/css")]
    {
        let answer = raw(&world, &path[1..]).await;
        assert!(answer.contains(kind), "{answer}");
        assert!(answer.contains("content-security-policy: default-src 'self'"), "{answer}");
    }
    world.stop().await;
}

async fn raw(world: &World, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(world.address).await.expect("a connection");
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("a request");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("an answer");
    text
}

/// A post is let in by its head, and its body may come much later: what was taken away meanwhile
/// is not used.
#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_ends_while_the_body_comes_is_not_used() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let world = World::start().await;
    let room = world.open_room().await;
    let path = format!("/rooms/{room}/messages");
    for (name, status) in [("kept", "201"), ("revoked", "401"), ("disabled", "401")] {
        let ann = world.user(name).await;
        let made = ann.post("/tokens", json!({ "name": "bot" })).await.is(201);
        let (token, id) = (text(&made["token"]), text(&made["id"]));
        let user = text(&ann.get("/me").await.is(200)["id"]);
        let body = json!({ "body": format!("said by {name}") }).to_string();
        let head = format!(
            "POST /api/v1{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Authorization: Bearer {token}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = tokio::net::TcpStream::connect(world.address).await.expect("a connection");
        stream.write_all(head.as_bytes()).await.expect("a head");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        match name {
            "revoked" => drop(ann.delete(&format!("/tokens/{id}")).await.is(204)),
            "disabled" => {
                let off = json!({ "disabled": true });
                world.root.patch(&format!("/users/{user}"), off).await.is(200);
            }
            _ => {}
        }
        stream.write_all(body.as_bytes()).await.expect("a body");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {answer}");
    }
    let page = world.root.get(&path).await.is(200);
    assert_eq!(page["messages"].as_array().map(Vec::len), Some(1), "{page}");
    world.stop().await;
}
