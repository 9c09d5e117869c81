//! Edits and redactions: what people see afterwards on every door that shows messages, and who may.
//!
//! A redacted word is looked for in the bytes of every answer, so that a door which forgets to ask
//! fails here.

use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::stream::Stream;
use crate::world::{World, text};

/// A word that stands in no other test's text.
const CANARY: &str = "xylophone-4711";

struct Rooms {
    category: String,
    room: String,
}

async fn rooms(world: &World, edit: &str, redact: &str) -> Rooms {
    let policy = json!({ "edit": edit, "redact": redact });
    let category = world.category(&format!("{edit} {redact}"), policy).await;
    let name = format!("room {edit} {redact}");
    let room = world.room(&name, &category, json!({ "privacy": "open" })).await;
    Rooms { category, room }
}

async fn say(client: &Client, room: &str, body: &str) -> (String, Value) {
    let path = format!("/rooms/{room}/messages");
    let said = client.post(&path, json!({ "body": body })).await.is(201);
    (format!("{path}/{}", text(&said["id"])), said)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_message_shows_its_newest_text_and_keeps_the_others() {
    let world = World::start().await;
    let Rooms { category, room } = rooms(&world, "authors", "authors").await;
    let ann = world.user("ann").await;
    let bob = world.user("bob").await;
    let (path, said) = say(&ann, &room, "helo").await;
    say(&ann, &room, "next").await;
    let tag = ann.get(&path).await.header("etag").map(str::to_owned).expect("a tag");
    for body in ["hell", "hello"] {
        let edited = ann.patch(&path, json!({ "body": body })).await.is(200);
        assert_eq!(edited["body"], body);
    }
    let seen = bob.get(&path).await;
    let new_tag = seen.header("etag").map(str::to_owned).expect("a tag");
    let seen = seen.is(200);
    for field in ["id", "seq", "rev", "time", "recorded", "author", "kind"] {
        assert_eq!(seen[field], said[field], "{field}");
    }
    assert_eq!((&seen["body"], &seen["edited"]["edits"]), (&json!("hello"), &json!(2)));
    assert_eq!(seen["edited"]["by"], said["author"]);
    // The same on every door.
    let page = bob.get(&format!("/rooms/{room}/messages")).await.is(200);
    assert_eq!(page["messages"][0], seen);
    let by_time = bob.get(&format!("/categories/{category}/messages")).await.is(200);
    assert_eq!(by_time["messages"][0], seen);
    // Everything that was said, in order.
    let versions = bob.get(&format!("{path}/versions")).await.is(200);
    let bodies: Vec<_> = versions["versions"].as_array().expect("a list").iter().collect();
    let bodies: Vec<_> = bodies.iter().map(|version| &version["body"]).collect();
    assert_eq!(bodies, ["helo", "hell", "hello"]);
    assert_eq!((&versions["damaged"], &versions["redacted"]), (&json!(0), &Value::Null));
    let changes = bob.get(&format!("/rooms/{room}/changes")).await.is(200);
    let edits: Vec<_> = changes["changes"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|change| change["kind"] == "edited")
        .map(|change| (change["seq"].clone(), change["data"]["body"].clone()))
        .collect();
    assert_eq!(edits, [(json!(1), json!("hell")), (json!(1), json!("hello"))]);
    // What somebody saw before is not what he edits.
    let stale = |tag: &str| {
        let (ann, path, tag) = (ann.clone(), path.clone(), tag.to_owned());
        let body = json!({ "body": "x" });
        async move { ann.json("PATCH", &path, &[("If-Match", &tag)], &body).await }
    };
    stale(&tag).await.refuses(412, "stale");
    stale(&new_tag).await.is(200);
    stale(&new_tag).await.refuses(412, "stale");
    // The same text again is no edit.
    let again = ann.patch(&path, json!({ "body": "x" })).await.is(200);
    assert_eq!(again["edited"]["edits"], 3);
    ann.patch(&path, json!({ "body": "" })).await.refuses(422, "invalid");
    let long = "x".repeat(64 * 1024 + 1);
    ann.patch(&path, json!({ "body": long })).await.refuses(413, "too-large");
    world.stop().await;
}

/// Everything that shows messages, as this client gets it.
async fn doors(client: &Client, category: &str, room: &str, message: &str) -> Vec<Answer> {
    let mut answers = Vec::new();
    for path in [
        message.to_owned(),
        format!("/rooms/{room}/messages"),
        format!("/rooms/{room}/messages?at=1"),
        format!("/rooms/{room}/messages?around=2"),
        format!("/rooms/{room}/changes"),
        format!("/rooms/{room}/changes?after=1&limit=1"),
        format!("/categories/{category}/messages"),
        format!("/categories/{category}/messages?order=desc"),
    ] {
        answers.push(client.get(&path).await);
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redacted_message_is_on_no_door_and_keeps_its_place() {
    let world = World::start().await;
    let Rooms { category, room } = rooms(&world, "authors", "authors").await;
    let ann = world.user("ann").await;
    let (path, said) = say(&ann, &room, &format!("first {CANARY}")).await;
    say(&ann, &room, "next").await;
    let key = [("Idempotency-Key", "k-1")];
    let keyed = json!({ "body": format!("keyed {CANARY}") });
    let posts = format!("/rooms/{room}/messages");
    let kept = ann.json("POST", &posts, &key, &keyed).await.is(201);
    ann.patch(&path, json!({ "body": format!("edited {CANARY}") })).await.is(200);
    for answer in doors(&ann, &category, &room, &path).await {
        assert!(answer.status == 200, "{}", answer.text);
    }
    let keyed_path = format!("{posts}/{}", text(&kept["id"]));
    for gone in [&path, &keyed_path] {
        let with_reason = format!("{gone}?reason=a%20slip");
        ann.delete(&with_reason).await.is(204);
    }
    for client in [&ann, &world.root] {
        for answer in doors(client, &category, &room, &path).await {
            assert!(answer.status == 200 && !answer.text.contains(CANARY), "{}", answer.text);
        }
    }
    let seen = ann.get(&path).await.is(200);
    assert_eq!((&seen["body"], &seen["seq"]), (&json!(""), &said["seq"]));
    assert_eq!(seen["redacted"]["by"], said["author"]);
    assert_eq!((&seen["redacted"]["reason"], &seen["edited"]), (&json!("a slip"), &Value::Null));
    let page = ann.get(&posts).await.is(200);
    assert_eq!(page["messages"].as_array().map(Vec::len), Some(3));
    assert_eq!(page["gaps"], json!([]));
    // A retry of the post is answered as what became of it.
    let retried = ann.json("POST", &posts, &key, &keyed).await;
    assert!(!retried.text.contains(CANARY), "{}", retried.text);
    assert_eq!(retried.is(201)["seq"], kept["seq"]);
    // A stream that begins before it brings its place and no words.
    let mut stream = Stream::open(&ann).await;
    stream.subscribe(&room, Some(1)).await;
    let mut kinds = Vec::new();
    loop {
        let frame = stream.next().await;
        assert!(!frame.to_string().contains(CANARY), "{frame}");
        if frame["type"] == "caught-up" {
            break;
        }
        kinds.push(text(&frame["kind"]));
    }
    assert_eq!(kinds, ["post", "post", "post", "edited", "redacted", "redacted"]);
    // It takes no more changes, and is not redacted twice.
    ann.patch(&path, json!({ "body": "x" })).await.refuses(409, "redacted");
    ann.delete(&path).await.is(204);
    stream.silent().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_redacted_message_said_is_for_administrators_and_examiners() {
    let world = World::start().await;
    let Rooms { room, .. } = rooms(&world, "authors", "authors").await;
    let ann = world.user("ann").await;
    let (path, _) = say(&ann, &room, &format!("first {CANARY}")).await;
    ann.patch(&path, json!({ "body": format!("edited {CANARY}") })).await.is(200);
    ann.delete(&path).await.is(204);
    let versions = format!("{path}/versions");
    ann.get(&versions).await.refuses(403, "forbidden");
    let told = world.root.get(&versions).await.is(200);
    let bodies: Vec<_> = told["versions"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["body"].clone())
        .collect();
    assert_eq!(bodies, [format!("first {CANARY}"), format!("edited {CANARY}")]);
    assert_eq!(told["redacted"]["by"]["name"], "ann");
    let events = world.root.get("/events?limit=500").await.is(200);
    let events = events["events"].as_array().expect("events");
    let of = |kind: &str| events.iter().filter(|event| event["kind"] == kind).collect::<Vec<_>>();
    assert_eq!(of("post")[0]["data"]["body"], format!("first {CANARY}"));
    assert_eq!(of("edited")[0]["data"]["body"], format!("edited {CANARY}"));
    assert_eq!(of("redacted")[0]["seq"], 1);
    let read = of("audit");
    let read = read.iter().filter(|event| event["data"]["detail"] == "read redacted");
    assert_eq!(read.count(), 1, "reading it is an event");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_category_says_who_edits_and_redacts() {
    let world = World::start().await;
    let (ann, bob, eve) =
        (world.user("ann").await, world.user("bob").await, world.user("eve").await);
    let bob_id = text(&bob.get("/me").await.is(200)["id"]);
    for (policy, by_ann, by_bob, by_root) in
        [("nobody", 403, 403, 403), ("managers", 403, 200, 200), ("authors", 200, 200, 200)]
    {
        let Rooms { room, .. } = rooms(&world, policy, policy).await;
        let seat = format!("/rooms/{room}/members/{bob_id}");
        world.root.put(&seat, json!({ "roles": ["manager"] })).await.is(204);
        for (who, name, status) in [
            (&ann, "ann", by_ann),
            (&bob, "bob", by_bob),
            (&eve, "eve", 403),
            (&world.root, "root", by_root),
        ] {
            let (path, _) = say(&ann, &room, "said").await;
            let edited = who.patch(&path, json!({ "body": name })).await;
            assert_eq!(edited.status, status, "{policy}: {name} edits: {}", edited.text);
            let gone = who.delete(&path).await;
            let status = if status == 200 { 204 } else { status };
            assert_eq!(gone.status, status, "{policy}: {name} redacts: {}", gone.text);
        }
    }
    // Who may not read the room hears of nothing.
    let category = world.category("walls", json!({ "edit": "authors" })).await;
    let secret = world.room("plans", &category, json!({ "privacy": "secret" })).await;
    let (path, _) = say(&world.root, &secret, "said").await;
    let absent = format!("/rooms/r1-999999/messages/{}", path.rsplit('/').next().expect("an id"));
    for (denied, absent) in [
        (
            ann.patch(&path, json!({ "body": "x" })).await,
            ann.patch(&absent, json!({ "body": "x" })).await,
        ),
        (ann.delete(&path).await, ann.delete(&absent).await),
        (ann.get(&format!("{path}/versions")).await, ann.get(&format!("{absent}/versions")).await),
    ] {
        assert_eq!((denied.status, denied.text), (404, absent.text));
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_and_redactions_at_once_leave_one_redaction_and_no_words() {
    let world = World::start().await;
    let Rooms { category, room } = rooms(&world, "authors", "authors").await;
    let ann = world.user("ann").await;
    let (path, _) = say(&ann, &room, "said").await;
    let tasks: Vec<_> = (0..40)
        .map(|n| {
            let (ann, path) = (ann.clone(), path.clone());
            tokio::spawn(async move {
                let body = json!({ "body": format!("{n} {CANARY}") });
                if n % 4 == 3 { ann.delete(&path).await } else { ann.patch(&path, body).await }
            })
        })
        .collect();
    for task in tasks {
        let answer = task.await.expect("a task");
        assert!([200, 204, 409].contains(&answer.status), "{}", answer.text);
    }
    for answer in doors(&ann, &category, &room, &path).await {
        assert!(answer.status == 200 && !answer.text.contains(CANARY), "{}", answer.text);
    }
    let changes = ann.get(&format!("/rooms/{room}/changes?limit=500")).await.is(200);
    let changes = changes["changes"].as_array().expect("a list");
    let redactions = changes.iter().filter(|change| change["kind"] == "redacted").count();
    assert_eq!(redactions, 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_begins_behind_a_redaction_brings_no_words_of_it() {
    let world = World::start().await;
    let Rooms { room, .. } = rooms(&world, "authors", "authors").await;
    let ann = world.user("ann").await;
    // Somebody listens, so what is new in the room is kept ready for streams.
    let mut listener = Stream::open(&ann).await;
    listener.subscribe(&room, None).await;
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let (ann, room) = (ann.clone(), room.clone());
            tokio::spawn(async move {
                for round in 0..40 {
                    let canary = format!("{CANARY} {task} {round}.");
                    let (path, said) = say(&ann, &room, &canary).await;
                    ann.delete(&path).await.is(204);
                    let before = said["rev"].as_u64().expect("a rev") - 1;
                    let mut stream = Stream::open(&ann).await;
                    stream.subscribe(&room, Some(before)).await;
                    loop {
                        let frame = stream.next().await;
                        assert!(!frame.to_string().contains(&canary), "{round}: {frame}");
                        if frame["type"] == "caught-up" {
                            break;
                        }
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a task");
    }
    world.stop().await;
}
