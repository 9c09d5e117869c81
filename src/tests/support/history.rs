//! Walks through a room's or a category's history, with the checks that hold for every walk.
//!
//! INVARIANT: pages ascend, join without a gap that is not named, and show no entry twice.

use serde_json::Value;

use super::api::Api;

/// The number in a field.
#[track_caller]
pub fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_else(|| panic!("{field} of {value}"))
}

/// All messages of a room, oldest first, reading forwards.
#[track_caller]
pub fn forwards(api: &Api, room: &str, after: u64) -> Vec<Value> {
    let mut messages: Vec<Value> = Vec::new();
    let mut path = format!("/rooms/{room}/messages?after={after}&limit=500");
    loop {
        let page = api.get(&path).expect(200);
        let list = page["messages"].as_array().expect("a page has messages");
        assert_eq!(page["gaps"].as_array().map(Vec::len), Some(0), "{}", page["gaps"]);
        for message in list {
            let expected = after + 1 + u64::try_from(messages.len()).expect("few messages");
            assert_eq!(number(message, "seq"), expected, "entries are dense");
            messages.push(message.clone());
        }
        let Some(newer) = page["newer"].as_str() else { return messages };
        assert!(!list.is_empty(), "an empty page is the end");
        path = format!("/rooms/{room}/messages?cursor={newer}&limit=500");
    }
}

/// All messages of a room, oldest first, reading backwards from the newest.
#[track_caller]
pub fn backwards(api: &Api, room: &str, limit: usize) -> Vec<Value> {
    let mut pages: Vec<Vec<Value>> = Vec::new();
    let mut path = format!("/rooms/{room}/messages?limit={limit}");
    loop {
        let page = api.get(&path).expect(200);
        pages.push(page["messages"].as_array().expect("a page has messages").clone());
        let Some(older) = page["older"].as_str() else { break };
        path = format!("/rooms/{room}/messages?cursor={older}&limit={limit}");
    }
    pages.reverse();
    let messages: Vec<_> = pages.into_iter().flatten().collect();
    for (seq, message) in (1..).zip(&messages) {
        assert_eq!(number(message, "seq"), seq, "each entry is visited once, in order");
    }
    messages
}

/// All messages of a category in a span, in the order asked for.
#[track_caller]
pub fn span(api: &Api, category: &str, from: &str, to: &str, order: &str) -> Vec<Value> {
    let mut messages: Vec<Value> = Vec::new();
    let mut path =
        format!("/categories/{category}/messages?from={from}&to={to}&order={order}&limit=200");
    loop {
        let page = api.get(&path).expect(200);
        messages.extend(page["messages"].as_array().expect("a page has messages").iter().cloned());
        let Some(next) = page["next"].as_str() else { return messages };
        path = format!("/categories/{category}/messages?cursor={next}&limit=200");
    }
}

/// All changes of a room after a rev, oldest first.
#[track_caller]
pub fn changes(api: &Api, room: &str, after: u64) -> Vec<Value> {
    let mut changes: Vec<Value> = Vec::new();
    let mut path = format!("/rooms/{room}/changes?after={after}&limit=500");
    loop {
        let page = api.get(&path).expect(200);
        changes.extend(page["changes"].as_array().expect("a page has changes").iter().cloned());
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/rooms/{room}/changes?cursor={next}&limit=500");
    }
    for (rev, change) in (after + 1..).zip(&changes) {
        assert_eq!(number(change, "rev"), rev, "changes are dense");
    }
    changes
}
