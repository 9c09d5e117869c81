//! The OpenAPI document of the server under test, and the checker that holds answers against it.
//!
//! The checker itself is shared with the binary's tests.

#[path = "checker.rs"]
pub mod checker;

use std::sync::OnceLock;

use serde_json::Value;

use crate::client::Answer;
use checker::{Document, Heard};

fn document() -> &'static Document {
    static DOCUMENT: OnceLock<Document> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        Document(serde_json::to_value(hansard_server::openapi_document()).expect("a document"))
    })
}

/// Fails the test if the answer is not one that the document describes.
#[track_caller]
pub fn check(method: &str, path: &str, answer: &Answer) {
    let kind = answer.header("content-type").unwrap_or_default();
    let Answer { status, body, text, .. } = answer;
    document().check(method, path, Heard { status: *status, kind, text, body });
}

/// Fails the test if the value is not of the named schema.
#[track_caller]
pub fn check_named(name: &str, value: &Value) {
    document().check_named(name, value);
}

#[test]
fn the_checker_sees_what_is_wrong() {
    let named = |name: &str| document().named(name);
    let gap =
        serde_json::json!({ "room": "r1-2", "from_seq": 1, "to_seq": 2, "reason": "damaged" });
    assert_eq!(document().valid(named("Gap"), &gap, "$"), Ok(()));
    for (field, value) in [
        ("reason", Value::from("eaten")),
        ("from_seq", Value::from("1")),
        ("extra", Value::from(1)),
    ] {
        let mut wrong = gap.clone();
        wrong[field] = value;
        assert!(document().valid(named("Gap"), &wrong, "$").is_err(), "{field}");
    }
    let mut short = gap;
    short.as_object_mut().expect("an object").remove("room");
    assert!(document().valid(named("Gap"), &short, "$").is_err());
    let frame = serde_json::json!({ "type": "caught-up", "room": "r1-2", "rev": "3" });
    assert!(document().valid(named("ServerFrame"), &frame, "$").is_err());
}
