//! Retention and legal holds over HTTP: what people see of what is gone, and who rules over it.
//!
//! Old entries come in by import, as the server's clock is the real one.

use serde_json::{Value, json};

use crate::stream::Stream;
use crate::world::{World, text};

/// A room whose category keeps 30 days: three old entries of ann's network self, then a new one.
async fn room(world: &World) -> (String, String) {
    let category = world.category("desk", json!({ "retention_days": 30 })).await;
    let room = world.room("trades", &category, json!({ "privacy": "open" })).await;
    let entries: Vec<Value> = (1..=3)
        .map(|n| {
            let time = format!("2020-01-0{n}T12:00:00Z");
            json!({ "kind": "text", "nick": "ann", "time": time, "body": format!("old {n}") })
        })
        .collect();
    let zero = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let body = json!({
        "format": "irc-log",
        "source": "a.log",
        "authors_source": "net",
        "from": { "bytes": 0, "digest": zero },
        "to": { "bytes": 10, "digest": "00".repeat(32) },
        "entries": entries,
    });
    let refused = world.root.post(&format!("/rooms/{room}/imports"), body.clone()).await;
    let refused = refused.refuses(409, "would-expire");
    assert!(text(&refused["detail"]).starts_with("entries[0] was said 2020-01-01"), "{refused}");
    let mut body = body;
    body["allow_expired"] = true.into();
    world.root.post(&format!("/rooms/{room}/imports"), body).await.is(201);
    world.root.post(&format!("/rooms/{room}/messages"), json!({ "body": "new" })).await.is(201);
    (category, room)
}

fn bodies(page: &Value) -> Vec<String> {
    page["messages"].as_array().expect("messages").iter().map(|one| text(&one["body"])).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_retention_took_is_a_gap_that_says_so() {
    let world = World::start().await;
    let (category, room) = room(&world).await;
    let ann = world.user("ann").await;
    let path = format!("/rooms/{room}/messages");
    assert_eq!(bodies(&ann.get(&path).await.is(200)).len(), 4);
    ann.post("/admin/expire", json!({})).await.refuses(403, "forbidden");
    let done = world.root.post("/admin/expire", json!({})).await.is(200);
    assert_eq!(done, json!({ "rooms": 1, "entries": 3, "held": 0, "events": 0 }));
    let page = ann.get(&path).await.is(200);
    let gap = json!([{ "room": room, "from_seq": 1, "to_seq": 3, "reason": "expired" }]);
    assert_eq!((bodies(&page), &page["gaps"]), (vec!["new".to_owned()], &gap));
    assert_eq!(page["older"], Value::Null);
    // Not a failure, also for those who ask to be strict.
    ann.get(&format!("{path}?strict=true")).await.is(200);
    let by_time = ann.get(&format!("/categories/{category}/messages")).await.is(200);
    assert_eq!(bodies(&by_time), ["new"]);
    let changes = ann.get(&format!("/rooms/{room}/changes")).await.is(200);
    assert!(!changes.to_string().contains("old "), "{changes}");
    let gap = json!([{ "from_rev": 2, "to_rev": 4, "reason": "expired" }]);
    assert_eq!(changes["gaps"], gap);
    let mut stream = Stream::open(&ann).await;
    stream.subscribe(&room, Some(1)).await;
    let first = stream.next().await;
    assert_eq!((&first["type"], &first["reason"]), (&json!("gap"), &json!("expired")));
    // Compliance keeps its copy, and an event tells what happened.
    let events = world.root.get("/events?limit=500").await.is(200).to_string();
    assert!(events.contains("old 2") && events.contains(r#""kind":"expired""#), "{events}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_keeps_what_is_due_until_it_is_released() {
    let world = World::start().await;
    let (category, room) = room(&world).await;
    let ann = world.user("ann").await;
    let new = json!({ "name": "case 7", "room": room, "from": "2020-01-02T00:00:00Z" });
    ann.post("/holds", new.clone()).await.refuses(403, "forbidden");
    ann.get("/holds").await.refuses(403, "forbidden");
    let hold = world.root.post("/holds", new).await.is(201);
    let mut listed = world.root.get("/holds").await.is(200);
    assert_eq!(listed["holds"].take(), json!([hold]));
    let done = world.root.post("/admin/expire", json!({})).await.is(200);
    assert_eq!(done, json!({ "rooms": 1, "entries": 1, "held": 1, "events": 0 }));
    let path = format!("/rooms/{room}/messages");
    assert_eq!(bodies(&ann.get(&path).await.is(200)), ["old 2", "old 3", "new"]);
    let hold = format!("/holds/{}", text(&hold["id"]));
    ann.delete(&hold).await.refuses(403, "forbidden");
    world.root.delete(&hold).await.is(204);
    world.root.delete(&hold).await.refuses(404, "not-found");
    let done = world.root.post("/admin/expire", json!({})).await.is(200);
    assert_eq!(done["entries"], 2);
    // A room does not leave a held category.
    let on =
        world.root.post("/holds", json!({ "name": "all", "category": category })).await.is(201);
    let other = world.category("other", json!({})).await;
    let moved = json!({ "category": other });
    world.root.patch(&format!("/rooms/{room}"), moved.clone()).await.refuses(409, "held");
    world.root.delete(&format!("/holds/{}", text(&on["id"]))).await.is(204);
    world.root.patch(&format!("/rooms/{room}"), moved).await.is(200);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_on_what_is_not_there_is_told_clearly() {
    let world = World::start().await;
    for (body, field) in [
        (json!({ "name": "" }), "name"),
        (json!({ "name": "x", "room": "r1-999999" }), "room"),
        (json!({ "name": "x", "room": "nonsense" }), "room"),
        (json!({ "name": "x", "category": "c1-999999" }), "category"),
        (json!({ "name": "x", "principal": "p1-999999" }), "principal"),
        (json!({ "name": "x", "from": "yesterday" }), "from"),
        (
            json!({ "name": "x", "from": "2020-01-02T00:00:00Z", "to": "2020-01-01T00:00:00Z" }),
            "to",
        ),
        (json!({ "name": "x", "colour": "red" }), "colour"),
    ] {
        let refused = world.root.post("/holds", body.clone()).await.refuses(422, "invalid");
        assert_eq!(refused["field"], field, "{body}");
    }
    world.root.delete("/holds/h1-99").await.refuses(404, "not-found");
    assert_eq!(world.root.get("/holds").await.is(200), json!({ "holds": [], "next": null }));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn erased_messages_are_gone_from_every_door_and_only_administrators_erase() {
    let world = World::start().await;
    let (category, room) = room(&world).await;
    let ann = world.user("ann").await;
    let path = format!("/rooms/{room}/messages");
    let said = |n: usize| format!("said {n} zx-canary");
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(text(&ann.post(&path, json!({ "body": said(n) })).await.is(201)["id"]));
    }
    let erasures = format!("/rooms/{room}/erasures");
    let request = json!({ "messages": [ids[0], ids[2]], "reason": "asked to" });
    ann.post(&erasures, request.clone()).await.refuses(403, "forbidden");
    let nowhere = world.root.post("/rooms/r1-99999/erasures", request.clone()).await;
    nowhere.refuses(404, "not-found");
    // A message of another room is a mistake, and nothing is erased for it.
    let other = world.room("other", &category, json!({})).await;
    let elsewhere = format!("/rooms/{other}/messages");
    let body = json!({ "body": "elsewhere" });
    let foreign = text(&world.root.post(&elsewhere, body).await.is(201)["id"]);
    for wrong in [foreign.as_str(), "m", ""] {
        let request = json!({ "messages": [ids[0], wrong] });
        let refused = world.root.post(&erasures, request).await;
        assert_eq!(refused.refuses(422, "invalid")["field"], "messages");
    }
    let many: Vec<&str> = std::iter::repeat_n(ids[0].as_str(), 101).collect();
    world.root.post(&erasures, json!({ "messages": many })).await.refuses(422, "invalid");
    let mut stream = Stream::open(&ann).await;
    stream.subscribe(&room, None).await;
    assert_eq!(stream.next().await["type"], "caught-up");
    let done = world.root.post(&erasures, request.clone()).await.is(200);
    assert_eq!(done["erased"], 2);
    let told = stream.next().await;
    assert_eq!((&told["kind"], &told["data"]["reason"]), (&json!("erased"), &json!("asked to")));
    let again = world.root.post(&erasures, request).await.is(200);
    assert_eq!(again["erased"], 0);
    let page = ann.get(&path).await.is(200);
    let reasons = page["gaps"].as_array().expect("gaps").iter();
    assert_eq!(reasons.filter(|gap| gap["reason"] == "erased").count(), 2, "{page}");
    for (door, canaries) in [
        (path.clone(), 1),
        (format!("/rooms/{room}/changes"), 1),
        (format!("/categories/{category}/messages"), 1),
        ("/events?limit=500".to_owned(), 1),
    ] {
        let answer = world.root.get(&door).await.is(200).to_string();
        assert_eq!(answer.matches("zx-canary").count(), canaries, "{door}: {answer}");
    }
    for id in [&ids[0], &ids[2]] {
        ann.get(&format!("{path}/{id}")).await.refuses(404, "not-found");
        world.root.get(&format!("{path}/{id}/versions")).await.refuses(404, "not-found");
        world.root.delete(&format!("{path}/{id}")).await.refuses(404, "not-found");
    }
    // Also of a room that is hidden for ever.
    world.root.delete(&format!("/rooms/{room}")).await.is(204);
    let last = json!({ "messages": [ids[1]] });
    assert_eq!(world.root.post(&erasures, last).await.is(200)["erased"], 1);
    let events = world.root.get("/events?limit=500").await.is(200).to_string();
    assert!(!events.contains("zx-canary"), "{events}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_may_keep_more_or_less_than_its_category() {
    let world = World::start().await;
    let (_, room) = room(&world).await;
    let ann = world.user("ann").await;
    let (path, messages) = (format!("/rooms/{room}"), format!("/rooms/{room}/messages"));
    let found = world.root.get("/users?name=ann").await.is(200);
    let seat = format!("{path}/members/{}", text(&found["users"][0]["id"]));
    world.root.put(&seat, json!({ "roles": ["member", "manager"] })).await.is(204);
    assert_eq!(ann.get(&path).await.is(200).get("retention"), None);
    // Managers change everything else.
    let all = json!({ "retention": { "days": 0 } });
    ann.patch(&path, all.clone()).await.refuses(403, "forbidden");
    ann.patch(&path, json!({ "retention": null, "topic": "t" })).await.refuses(403, "forbidden");
    for wrong in [json!({ "retention": 3 }), json!({ "retention": { "weeks": 1 } })] {
        world.root.patch(&path, wrong).await.refuses(422, "invalid");
    }
    let shown = world.root.patch(&path, all).await.is(200);
    assert_eq!(shown["retention"], json!({ "days": 0, "entries": 0, "bytes": 0 }));
    let kept = json!({ "rooms": 0, "entries": 0, "held": 0, "events": 0 });
    assert_eq!(world.root.post("/admin/expire", json!({})).await.is(200), kept);
    world.root.patch(&path, json!({ "retention": { "entries": 2 } })).await.is(200);
    ann.patch(&path, json!({ "topic": "still two" })).await.is(200);
    let done = world.root.post("/admin/expire", json!({})).await.is(200);
    assert_eq!((&done["rooms"], &done["entries"]), (&json!(1), &json!(2)));
    assert_eq!(bodies(&ann.get(&messages).await.is(200)), ["old 3", "new"]);
    // Nothing said of its own: the category's thirty days.
    let shown = world.root.patch(&path, json!({ "retention": null })).await.is(200);
    assert_eq!(shown.get("retention"), None);
    world.root.post("/admin/expire", json!({})).await.is(200);
    assert_eq!(bodies(&ann.get(&messages).await.is(200)), ["new"]);
}
