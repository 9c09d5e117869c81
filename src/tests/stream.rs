//! The live stream: nothing missing, nothing twice, nothing after a right has gone.
//!
//! Driven by a client that stops reading, which is where servers drop messages or lose their
//! memory.

mod support;

use rustix::process::Signal;
use serde_json::json;

use support::Site;
use support::api::Api;
use support::history::number;
use support::load;
use support::websocket::{Frame, Stream};

const POSTERS: usize = 64;
/// While this many are posted the client does not read.
const POSTS: usize = 100_000;
/// Posted at once, so that the test need not hold all answers.
const ROUND: usize = 10_000;
const BODY_BYTES: usize = 1_500;
/// Small budgets, so that the bound below means something: it is less than what is posted.
const CONFIG: &str = "[engine]\ntail_bytes_soft = 8388608\ntail_bytes_hard = 67108864\n\
                      cache_bytes = 8388608\ncatalog_cache_bytes = 8388608\n";
const MEMORY_GROWTH_MAX: u64 = 96 * 1024 * 1024;

/// Reads the changes behind a rev up to another one: each must be what the record has, in order.
#[track_caller]
fn follow(stream: &mut Stream, api: &Api, room: &str, after: u64, upto: u64) {
    let mut rev = after;
    while rev < upto {
        let page = api.get(&format!("/rooms/{room}/changes?after={rev}&limit=500")).expect(200);
        let changes = page["changes"].as_array().expect("a page has changes");
        assert!(!changes.is_empty(), "the record ends at {rev}");
        for change in changes.iter().take(usize::try_from(upto - rev).expect("few")) {
            let frame = loop {
                let frame = stream.text();
                if frame["type"] != "caught-up" {
                    break frame;
                }
            };
            rev += 1;
            assert_eq!(number(&frame, "rev"), rev);
            let mut expected = change.clone();
            expected["type"] = json!("change");
            expected["room"] = json!(room);
            assert_eq!(frame, expected);
        }
    }
}

#[test]
fn a_client_that_stops_reading_gets_everything_and_costs_no_memory() {
    let site = Site::new();
    let server = site.serve_with(&site.configure(CONFIG));
    let admin = server.admin();
    let room = admin.room("lobby", &admin.category("c"), "open");
    let path = format!("/rooms/{room}/messages");
    let mut stream = Stream::open(&admin);
    stream.expect("hello");
    stream.send(&json!({ "type": "subscribe", "room": room, "after": 0 }));
    assert_eq!(number(&stream.expect("subscribed"), "after"), 0);

    let filling = "x".repeat(BODY_BYTES);
    let body = |n: usize| json!({ "body": format!("{n} {filling}") }).to_string();
    let before = server.memory_bytes();
    let mut most = before;
    for first in (0..POSTS).step_by(ROUND) {
        let last = first + ROUND;
        let messages = load::post(&admin, &path, POSTERS, (first..last).map(body).collect());
        let newest = messages.iter().map(|message| number(message, "seq")).max();
        assert_eq!(newest, u64::try_from(last).ok());
        most = most.max(server.memory_bytes());
    }
    let grown = most - before;
    println!("{POSTS} posts, memory grew by {} KiB at most", grown / 1024);
    assert!(grown < MEMORY_GROWTH_MAX, "memory grew by {grown} bytes");

    // The room itself is the first change.
    let head = u64::try_from(POSTS).expect("few") + 1;
    let half = head / 2;
    follow(&mut stream, &admin, &room, 0, half);
    drop(stream);
    let mut stream = Stream::open(&admin);
    stream.expect("hello");
    stream.send(&json!({ "type": "subscribe", "room": room, "after": half }));
    assert_eq!(number(&stream.expect("subscribed"), "head"), head);
    follow(&mut stream, &admin, &room, half, head);
    assert_eq!(stream.expect("caught-up")["rev"], head);
    admin.post(&path, &json!({ "body": "live" })).expect(201);
    assert_eq!(stream.expect("change")["message"]["body"], "live");
}

#[test]
fn nothing_comes_after_a_removal_a_sign_out_or_a_stop() {
    let site = Site::new();
    let mut server = site.serve();
    let admin = server.admin();
    let room = admin.room("lobby", &admin.category("c"), "closed");
    let (id, member) = admin.user("mallory");
    admin.join(&room, &id);
    let subscribe = json!({ "type": "subscribe", "room": room });
    let mut stream = Stream::open(&member);
    stream.expect("hello");
    stream.send(&subscribe);
    stream.expect("subscribed");
    stream.expect("caught-up");
    let say = |body: &str| {
        admin.post(&format!("/rooms/{room}/messages"), &json!({ "body": body })).expect(201);
    };
    say("seen");
    assert_eq!(stream.expect("change")["message"]["body"], "seen");
    admin.delete(&format!("/rooms/{room}/members/{id}")).expect(204);
    say("unseen");
    assert_eq!(stream.expect("removed")["code"], "no-rights");
    stream.send(&subscribe);
    assert_eq!(stream.expect("error")["code"], "forbidden");

    let tokens = admin.get(&format!("/tokens?principal={id}")).expect(200);
    let its_id = tokens["tokens"][0]["id"].as_str().expect("an id").to_owned();
    admin.delete(&format!("/tokens/{its_id}")).expect(204);
    assert_eq!(stream.expect("bye")["code"], "signed-out");
    assert!(matches!(stream.next(), Frame::Closed(_, reason) if reason == "signed-out"));

    let mut stream = Stream::open(&admin);
    stream.expect("hello");
    server.signal(Signal::TERM);
    assert_eq!(stream.expect("bye")["code"], "stopping");
    assert_eq!(server.ended(support::STOP_WAIT).code(), Some(0));
}
