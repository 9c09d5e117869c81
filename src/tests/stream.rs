//! The live stream: nothing missing, nothing twice, nothing after a right has gone.
//!
//! Driven by a client that stops reading, which is where servers drop messages or lose their
//! memory.

mod support;

use std::thread;

use rustix::process::Signal;
use serde_json::{Value, json};

use support::Site;
use support::api::Api;
use support::history::{changes, number};
use support::websocket::{Frame, Stream};

const POSTERS: usize = 32;
const POSTS_OF_EACH: usize = 250;
const BODY_BYTES: usize = 2000;
/// What a client that does not read may cost the server at most.
const MEMORY_GROWTH_MAX: u64 = 192 * 1024 * 1024;

fn token(api: &Api) -> &str {
    api.token.as_deref().expect("a token")
}

/// The changes up to a rev, which must come in order and dense.
#[track_caller]
fn read_to(stream: &mut Stream, after: u64, head: u64) -> Vec<Value> {
    let mut changes = Vec::new();
    for rev in after + 1..=head {
        let frame = loop {
            let frame = stream.text();
            if frame["type"] != "caught-up" {
                break frame;
            }
        };
        assert_eq!(frame["type"], "change", "{frame}");
        assert_eq!(number(&frame, "rev"), rev);
        changes.push(frame);
    }
    changes
}

/// A change of the API as the stream shows it.
fn framed(change: &Value, room: &str) -> Value {
    let mut frame = change.clone();
    frame["type"] = json!("change");
    frame["room"] = json!(room);
    frame
}

#[test]
fn a_client_that_stops_reading_gets_everything_and_costs_no_memory() {
    let site = Site::new();
    let server = site.serve();
    let admin = server.admin();
    let room = admin.room("lobby", &admin.category("c"), "open");
    let mut stream = Stream::open(&server.url, token(&admin));
    stream.expect("hello");
    stream.send(&json!({ "type": "subscribe", "room": room, "after": 0 }));
    let start = number(&stream.expect("subscribed"), "after");
    assert_eq!(start, 0);

    let before = server.memory_bytes();
    let posters: Vec<_> = (0..POSTERS)
        .map(|at| {
            let (api, path) = (admin.fresh(), format!("/rooms/{room}/messages"));
            thread::spawn(move || {
                for n in 0..POSTS_OF_EACH {
                    let body = format!("{at} {n} {}", "x".repeat(BODY_BYTES));
                    api.post(&path, &json!({ "body": body })).expect(201);
                }
            })
        })
        .collect();
    for poster in posters {
        poster.join().expect("a poster ends");
    }
    let grown = server.memory_bytes().saturating_sub(before);
    println!("memory grew by {} KiB", grown / 1024);
    assert!(grown < MEMORY_GROWTH_MAX, "memory grew by {grown} bytes");

    let record = changes(&admin, &room, 0);
    let head = u64::try_from(record.len()).expect("few");
    assert!(record.len() >= POSTERS * POSTS_OF_EACH);
    let half = head / 2;
    let mut seen = read_to(&mut stream, 0, half);
    drop(stream);

    let mut stream = Stream::open(&server.url, token(&admin));
    stream.expect("hello");
    stream.send(&json!({ "type": "subscribe", "room": room, "after": half }));
    assert_eq!(number(&stream.expect("subscribed"), "head"), head);
    seen.extend(read_to(&mut stream, half, head));
    for (frame, change) in seen.iter().zip(&record) {
        assert_eq!(*frame, framed(change, &room));
    }
    assert_eq!(stream.expect("caught-up")["rev"], head);
    admin.post(&format!("/rooms/{room}/messages"), &json!({ "body": "live" })).expect(201);
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
    let mut stream = Stream::open(&server.url, token(&member));
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

    let mut stream = Stream::open(&server.url, token(&admin));
    stream.expect("hello");
    server.signal(Signal::TERM);
    assert_eq!(stream.expect("bye")["code"], "stopping");
    assert_eq!(server.ended(support::STOP_WAIT).code(), Some(0));
}
