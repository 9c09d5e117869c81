//! The live stream: resuming by rev, rights taken away, slow readers, and the end.
//!
//! Every frame is checked against the schema of server frames.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::client::Client;
use crate::schema;
use crate::world::{World, text};

pub struct Stream(WebSocketStream<TcpStream>);

impl Stream {
    pub async fn open(client: &Client) -> Self {
        let mut stream = Self::bare(client).await;
        let token = client.token.clone().expect("a token");
        stream.tell(json!({ "type": "hello", "token": token })).await;
        assert_eq!(stream.next().await["type"], "hello");
        stream
    }

    async fn bare(client: &Client) -> Self {
        let socket = TcpStream::connect(client.address).await.expect("a connection");
        let url = format!("ws://{}/api/v1/stream", client.address);
        let request = url.into_client_request().expect("a request");
        let (socket, _) = client_async(request, socket).await.expect("a handshake");
        Self(socket)
    }

    async fn tell(&mut self, frame: Value) {
        self.0.send(Message::text(frame.to_string())).await.expect("a frame sent");
    }

    pub async fn subscribe(&mut self, room: &str, after: Option<u64>) -> Value {
        self.tell(json!({ "type": "subscribe", "room": room, "after": after })).await;
        self.next().await
    }

    /// The next text frame; null if the connection has ended.
    pub async fn next(&mut self) -> Value {
        loop {
            let frame = timeout(Duration::from_secs(10), self.0.next()).await.expect("in time");
            match frame {
                Some(Ok(Message::Text(text))) => {
                    let value = serde_json::from_str(&text).expect("JSON");
                    schema::check_named("ServerFrame", &value);
                    return value;
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Value::Null,
                Some(Ok(_)) => {}
            }
        }
    }

    pub async fn silent(&mut self) {
        let frame = timeout(Duration::from_millis(150), self.0.next()).await;
        assert!(frame.is_err(), "{frame:?}");
    }
}

async fn say(client: &Client, room: &str, body: &str) -> Value {
    client.post(&format!("/rooms/{room}/messages"), json!({ "body": body })).await.is(201)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_brings_each_change_once_and_resumes_by_rev() {
    let world = World::start().await;
    let room = world.open_room().await;
    let ann = world.user("ann").await;
    let mut stream = Stream::open(&ann).await;
    let subscribed = stream.subscribe(&room, None).await;
    assert_eq!((&subscribed["type"], &subscribed["head"]), (&json!("subscribed"), &json!(1)));
    assert_eq!(stream.next().await, json!({ "type": "caught-up", "room": room, "rev": 1 }));
    let message = say(&world.root, &room, "one").await;
    let change = stream.next().await;
    assert_eq!((&change["type"], &change["message"]), (&json!("change"), &message));
    drop(stream);
    for body in ["two", "three", "four"] {
        say(&world.root, &room, body).await;
    }
    let mut stream = Stream::open(&ann).await;
    stream.subscribe(&room, change["rev"].as_u64()).await;
    for body in ["two", "three", "four"] {
        let change = stream.next().await;
        assert_eq!(change["message"]["body"], body, "{change}");
    }
    assert_eq!(stream.next().await["type"], "caught-up");
    stream.tell(json!({ "type": "unsubscribe", "room": room })).await;
    assert_eq!(stream.next().await["type"], "unsubscribed");
    say(&world.root, &room, "five").await;
    stream.silent().await;
    stream.tell(json!({ "type": "ping" })).await;
    assert_eq!(stream.next().await["type"], "pong");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_member_hears_nothing_behind_the_removal() {
    let world = World::start().await;
    let category = world.category("c", json!({})).await;
    let room = world.room("r", &category, json!({})).await;
    let ann = world.user("ann").await;
    let id = text(&ann.get("/me").await.is(200)["id"]);
    let seat = format!("/rooms/{room}/members/{id}");
    world.root.put(&seat, json!({})).await.is(204);
    let mut stream = Stream::open(&ann).await;
    stream.subscribe(&room, None).await;
    stream.next().await;
    world.root.delete(&seat).await.is(204);
    say(&world.root, &room, "behind his back").await;
    let removed = stream.next().await;
    assert_eq!(removed, json!({ "type": "removed", "room": room, "code": "no-rights" }));
    stream.silent().await;
    let again = stream.subscribe(&room, Some(1)).await;
    assert_eq!((&again["type"], &again["code"]), (&json!("error"), &json!("forbidden")));
    let absent = stream.subscribe("r1-999999", None).await;
    assert_eq!(absent["code"], "not-found");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn walls_and_revocations_close_what_is_open() {
    let world = World::start().await;
    let category = world.category("c", json!({})).await;
    let room = world.room("r", &category, json!({ "privacy": "open" })).await;
    let ann = world.user("ann").await;
    let id = text(&ann.get("/me").await.is(200)["id"]);
    let mut stream = Stream::open(&ann).await;
    stream.subscribe(&room, None).await;
    stream.next().await;
    let wall = json!({ "denied": [id] });
    world.root.patch(&format!("/categories/{category}"), wall).await.is(200);
    assert_eq!(stream.next().await["type"], "removed");
    let made = ann.post("/tokens", json!({ "name": "bot" })).await.is(201);
    let bot = Client::new(world.address, Some(text(&made["token"])));
    let mut second = Stream::open(&bot).await;
    ann.delete(&format!("/tokens/{}", text(&made["id"]))).await.is(204);
    assert_eq!(second.next().await, json!({ "type": "bye", "code": "signed-out" }));
    assert_eq!(second.next().await, Value::Null);
    world.root.patch(&format!("/users/{id}"), json!({ "disabled": true })).await.is(200);
    assert_eq!(stream.next().await["code"], "signed-out");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_stops_reading_gets_everything_later() {
    const POSTS: u64 = 3_000;
    let world = World::start().await;
    let room = world.open_room().await;
    let mut stream = Stream::open(&world.root).await;
    stream.subscribe(&room, None).await;
    stream.next().await;
    let body = "x".repeat(2_000);
    for _ in 0..POSTS / 100 {
        let posts: Vec<_> = (0..100)
            .map(|_| {
                let (root, room, body) = (world.root.clone(), room.clone(), body.clone());
                tokio::spawn(async move { say(&root, &room, &body).await })
            })
            .collect();
        for post in posts {
            post.await.expect("a post");
        }
    }
    for seq in 1..=POSTS {
        let frame = stream.next().await;
        assert_eq!((&frame["type"], &frame["seq"]), (&json!("change"), &json!(seq)));
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_frames_are_told_and_strangers_are_refused() {
    let world = World::start().await;
    let mut stream = Stream::open(&world.root).await;
    stream.tell(json!({ "type": "shout" })).await;
    assert_eq!(stream.next().await["code"], "bad-stream");
    let room = world.open_room().await;
    assert_eq!(stream.subscribe(&room, Some(99)).await["code"], "bad-stream");
    let mut stranger = Stream::bare(&world.root).await;
    stranger.tell(json!({ "type": "hello", "token": "hst_wrong" })).await;
    assert_eq!(stranger.next().await["code"], "unauthenticated");
    assert_eq!(stranger.next().await, Value::Null);
    world.root.get("/stream").await.refuses(426, "upgrade-required");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_server_says_bye() {
    let world = World::start().await;
    let mut stream = Stream::open(&world.root).await;
    let stopped = tokio::spawn(world.stop());
    assert_eq!(stream.next().await, json!({ "type": "bye", "code": "stopping" }));
    stopped.await.expect("a clean stop");
}
