//! History by pages, by category and by import.
//!
//! Every walk must see each entry once, and a category without history must show none.

use serde_json::{Value, json};

use crate::client::Client;
use crate::world::{World, text};

const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

async fn say(client: &Client, room: &str, count: usize) {
    for at in 1..=count {
        let body = json!({ "body": format!("message {at}") });
        client.post(&format!("/rooms/{room}/messages"), body).await.is(201);
    }
}

fn seqs(page: &Value) -> Vec<u64> {
    let messages = page["messages"].as_array().expect("messages");
    messages.iter().map(|message| message["seq"].as_u64().expect("a seq")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_walk_back_and_forth_and_see_each_entry_once() {
    let world = World::start().await;
    let room = world.open_room().await;
    say(&world.root, &room, 23).await;
    let path = format!("/rooms/{room}/messages");
    let mut page = world.root.get(&format!("{path}?limit=5")).await.is(200);
    let mut seen = seqs(&page);
    assert_eq!(seen, [19, 20, 21, 22, 23]);
    while let Some(cursor) = page["older"].as_str() {
        page = world.root.get(&format!("{path}?limit=5&cursor={cursor}")).await.is(200);
        let mut more = seqs(&page);
        more.extend(&seen);
        seen = more;
    }
    assert_eq!(seen, (1..=23).collect::<Vec<_>>());
    let mut seen = seqs(&page);
    while let Some(cursor) = page["newer"].as_str() {
        page = world.root.get(&format!("{path}?limit=5&cursor={cursor}")).await.is(200);
        seen.extend(seqs(&page));
    }
    assert_eq!(seen, (1..=23).collect::<Vec<_>>());
    let get = async |query: &str| seqs(&world.root.get(&format!("{path}?{query}")).await.is(200));
    assert_eq!(get("before=4").await, [1, 2, 3]);
    assert_eq!(get("after=21").await, [22, 23]);
    assert_eq!(get("around=10&limit=4").await, [8, 9, 10, 11]);
    assert_eq!(get("at=10&limit=2").await, [10, 11]);
    assert_eq!(get("after=23").await, [0; 0]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pager_crosses_into_the_continued_room_and_back() {
    let world = World::start().await;
    let category = world.category("c", json!({})).await;
    let old = world.room("old", &category, json!({})).await;
    say(&world.root, &old, 3).await;
    let new = world.room("new", &category, json!({ "continues": old })).await;
    say(&world.root, &new, 2).await;
    let path = format!("/rooms/{new}/messages");
    let page = world.root.get(&path).await.is(200);
    assert_eq!(seqs(&page), [1, 2]);
    let cursor = text(&page["older"]);
    let page = world.root.get(&format!("{path}?cursor={cursor}")).await.is(200);
    assert_eq!(seqs(&page), [1, 2, 3]);
    assert_eq!(page["messages"][0]["room"], json!(old));
    assert!(page["older"].is_null());
    let cursor = text(&page["newer"]);
    let page = world.root.get(&format!("{path}?cursor={cursor}")).await.is(200);
    assert_eq!((seqs(&page), &page["messages"][0]["room"]), (vec![1, 2], &json!(new)));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_category_shows_the_rooms_one_may_read() {
    let world = World::start().await;
    let category = world.category("c", json!({})).await;
    let open = world.room("open", &category, json!({ "privacy": "open" })).await;
    let secret = world.room("secret", &category, json!({ "privacy": "secret" })).await;
    say(&world.root, &open, 3).await;
    say(&world.root, &secret, 2).await;
    let ann = world.user("ann").await;
    let path = format!("/categories/{category}/messages");
    assert_eq!(seqs(&ann.get(&path).await.is(200)), [1, 2, 3]);
    assert_eq!(seqs(&world.root.get(&path).await.is(200)), [1, 2, 3, 1, 2]);
    let mut page = world.root.get(&format!("{path}?order=desc&limit=2")).await.is(200);
    let mut seen = seqs(&page);
    while let Some(cursor) = page["next"].as_str() {
        page = world.root.get(&format!("{path}?limit=2&cursor={cursor}")).await.is(200);
        seen.extend(seqs(&page));
    }
    assert_eq!(seen, [2, 1, 3, 2, 1]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_category_without_history_gives_a_gap() {
    let world = World::start().await;
    let category = world.category("c", json!({ "history": false })).await;
    let room = world.room("r", &category, json!({})).await;
    say(&world.root, &room, 2).await;
    let page = world.root.get(&format!("/rooms/{room}/messages")).await.is(200);
    let gap = json!({ "room": room, "from_seq": 1, "to_seq": 2, "reason": "not-kept" });
    assert_eq!((&page["messages"], &page["gaps"]), (&json!([]), &json!([gap])));
    let page = world.root.get(&format!("/categories/{category}/messages")).await.is(200);
    assert_eq!((&page["messages"], &page["gaps"]), (&json!([]), &json!([gap])));
    let page = world.root.get(&format!("/rooms/{room}/changes")).await.is(200);
    assert_eq!((&page["changes"], &page["through"]), (&json!([]), &json!(3)));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_dense_by_rev() {
    let world = World::start().await;
    let room = world.open_room().await;
    say(&world.root, &room, 4).await;
    let path = format!("/rooms/{room}/changes");
    let mut page = world.root.get(&format!("{path}?limit=2")).await.is(200);
    let mut revs = Vec::new();
    loop {
        let changes = page["changes"].as_array().expect("changes");
        revs.extend(changes.iter().map(|change| change["rev"].as_u64().expect("a rev")));
        let Some(cursor) = page["next"].as_str() else { break };
        page = world.root.get(&format!("{path}?limit=2&cursor={cursor}")).await.is(200);
    }
    assert_eq!(revs, [1, 2, 3, 4, 5]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_goes_on_where_it_stands() {
    let world = World::start().await;
    let category = world.category("c", json!({})).await;
    let room = world.room("ubuntu", &category, json!({})).await;
    let path = format!("/rooms/{room}/imports");
    let digest = |letter: &str| letter.repeat(64);
    let entry = |kind: &str, nick: Option<&str>, minute: u32, body: &str| {
        let time = format!("2008-04-27T06:{minute:02}:00Z");
        json!({ "kind": kind, "nick": nick, "time": time, "body": body })
    };
    let batch = |from: Value, to: Value, entries: Vec<Value>| {
        json!({
            "format": "irc-log", "source": "a.log", "authors_source": "freenode",
            "from": from, "to": to, "entries": entries,
        })
    };
    let start = json!({ "bytes": 0, "digest": EMPTY });
    let middle = json!({ "bytes": 100, "digest": digest("a") });
    let end = json!({ "bytes": 200, "digest": digest("b"), "done": true });
    world.root.get(&format!("{path}?format=irc-log&source=a.log")).await.refuses(404, "not-found");
    let first = batch(
        start,
        middle.clone(),
        vec![
            entry("event", None, 0, "=== ann joined"),
            entry("text", Some("ann"), 1, "hello"),
            entry("action", Some("[bob]`"), 1, "waves"),
            entry("text", Some("ann"), 2, ""),
        ],
    );
    let done = world.root.post(&path, first.clone()).await.is(201);
    assert_eq!(done, json!({ "appended": 4, "first_seq": 1, "last_seq": 4 }));
    let stands = world.root.post(&path, first).await.refuses(409, "import-progress");
    assert_eq!(stands["progress"]["bytes"], 100);
    let last = batch(middle, end, vec![entry("text", Some("ann"), 3, "bye")]);
    assert_eq!(world.root.post(&path, last).await.is(201)["first_seq"], 5);
    let progress = world.root.get(&format!("{path}?format=irc-log&source=a.log")).await.is(200);
    assert_eq!((&progress["bytes"], &progress["done"]), (&json!(200), &json!(true)));
    let page = world.root.get(&format!("/rooms/{room}/messages")).await.is(200);
    assert_eq!(seqs(&page), [1, 2, 3, 4, 5]);
    let messages = page["messages"].as_array().expect("messages");
    assert_eq!(messages[0]["author"]["name"], "root");
    assert_eq!(messages[2]["author"]["name"], "[bob]`");
    assert_eq!(messages[1]["author"], messages[4]["author"]);
    assert_eq!(messages[1]["time"], "2008-04-27T06:01:00.000000Z");
    assert_eq!(messages[1]["source"]["name"], "a.log");
    let path = format!("/rooms/{room}/messages?around=2008-04-27T06:01:00Z&limit=2");
    assert_eq!(seqs(&world.root.get(&path).await.is(200)), [1, 2]);
    let users = world.root.get("/users?kind=imported").await.is(200);
    assert_eq!(users["users"].as_array().map(Vec::len), Some(2));
    world
        .guest()
        .post("/sessions", json!({ "name": "ann", "password": "x" }))
        .await
        .refuses(401, "sign-in-failed");
    world.stop().await;
}
