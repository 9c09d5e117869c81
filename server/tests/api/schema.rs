//! Checks answers against the OpenAPI document: the part of JSON Schema that the document uses.
//!
//! An unknown keyword fails the test, so that nothing goes unchecked in silence.

use std::sync::OnceLock;

use serde_json::Value;

use crate::client::Answer;

const KNOWN: [&str; 17] = [
    "$ref",
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "enum",
    "oneOf",
    "allOf",
    "description",
    "format",
    "minimum",
    "title",
    "example",
    "default",
    "minItems",
    "maxItems",
];

fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        serde_json::to_value(hansard_server::openapi_document()).expect("a document")
    })
}

/// Fails the test if the answer is not one that the document describes.
pub fn check(method: &str, path: &str, answer: &Answer) {
    let path = path.split('?').next().unwrap_or_default();
    let paths = document()["paths"].as_object().expect("paths");
    let exact = paths.get_key_value(path);
    let template = exact.or_else(|| paths.iter().find(|(template, _)| matches(template, path)));
    let operation = template.map(|(_, item)| &item[method.to_ascii_lowercase()]);
    let responses = match operation {
        Some(operation) if operation.is_object() => &operation["responses"],
        // An address or method that does not exist answers with a problem, too.
        _ => &document()["paths"]["/api/v1/me"]["get"]["responses"],
    };
    let status = answer.status.to_string();
    let described = responses.get(&status).filter(|_| operation.is_some());
    let described = match described {
        Some(described) => described,
        None => {
            assert!(answer.status >= 400, "{method} {path}: {status} is not described");
            &responses["default"]
        }
    };
    let Some(content) = described["content"].as_object() else {
        assert!(answer.text.is_empty(), "{method} {path}: {status} has a body");
        return;
    };
    let kind = answer.header("content-type").unwrap_or_default();
    let (_, media) =
        content.iter().find(|(name, _)| kind.starts_with(name.as_str())).unwrap_or_else(|| {
            panic!("{method} {path} {status}: {kind} is not described: {}", answer.text)
        });
    if kind.contains("json")
        && let Err(wrong) = valid(&media["schema"], &answer.body, "$")
    {
        panic!("{method} {path} {status}: {wrong}\n{}", answer.text);
    }
}

/// Fails the test if the value is not of the named schema.
pub fn check_named(name: &str, value: &Value) {
    let schema = &document()["components"]["schemas"][name];
    if let Err(wrong) = valid(schema, value, "$") {
        panic!("{name}: {wrong}\n{value}");
    }
}

fn matches(template: &str, path: &str) -> bool {
    let (a, b): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.starts_with('{') || a == b)
}

fn valid(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let Some(schema) = schema.as_object() else { return Ok(()) };
    if let Some(strange) = schema.keys().find(|key| !KNOWN.contains(&key.as_str())) {
        return Err(format!("{at}: keyword {strange} is not checked"));
    }
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let pointer = reference.trim_start_matches('#');
        return valid(document().pointer(pointer).expect("a reference"), value, at);
    }
    if let Some(kind) = schema.get("type") {
        let kinds = kind.as_array().cloned().unwrap_or_else(|| vec![kind.clone()]);
        if !kinds.iter().any(|kind| is_a(kind.as_str().unwrap_or_default(), value)) {
            return Err(format!("{at}: {value} is not of type {kind}"));
        }
    }
    let words = schema.get("enum").and_then(Value::as_array);
    if let Some(words) = words.filter(|words| !words.contains(value)) {
        return Err(format!("{at}: {value} is not one of {words:?}"));
    }
    if let Some(choices) = schema.get("oneOf").and_then(Value::as_array) {
        let fitting = choices.iter().filter(|choice| valid(choice, value, at).is_ok()).count();
        if fitting != 1 {
            let all: Vec<_> =
                choices.iter().filter_map(|choice| valid(choice, value, at).err()).collect();
            return Err(format!("{at}: {fitting} choices fit: {all:?}"));
        }
    }
    for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        valid(part, value, at)?;
    }
    if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
        for (index, value) in values.iter().enumerate() {
            valid(items, value, &format!("{at}[{index}]"))?;
        }
    }
    match value.as_object() {
        Some(fields) => object(schema, fields, at),
        None => Ok(()),
    }
}

fn object(
    schema: &serde_json::Map<String, Value>,
    fields: &serde_json::Map<String, Value>,
    at: &str,
) -> Result<(), String> {
    for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
        let name = name.as_str().unwrap_or_default();
        if !fields.contains_key(name) {
            return Err(format!("{at}: {name} is missing"));
        }
    }
    let empty = serde_json::Map::new();
    let known = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
    for (name, value) in fields {
        match known.get(name) {
            Some(schema) => valid(schema, value, &format!("{at}.{name}"))?,
            None if schema.get("additionalProperties") == Some(&Value::Bool(false)) => {
                return Err(format!("{at}: {name} is not described"));
            }
            None => {}
        }
    }
    Ok(())
}

fn is_a(kind: &str, value: &Value) -> bool {
    match kind {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        _ => false,
    }
}

#[test]
fn the_checker_sees_what_is_wrong() {
    let named = |name: &str| &document()["components"]["schemas"][name];
    let gap =
        serde_json::json!({ "room": "r1-2", "from_seq": 1, "to_seq": 2, "reason": "damaged" });
    assert_eq!(valid(named("Gap"), &gap, "$"), Ok(()));
    for (field, value) in [
        ("reason", Value::from("eaten")),
        ("from_seq", Value::from("1")),
        ("extra", Value::from(1)),
    ] {
        let mut wrong = gap.clone();
        wrong[field] = value;
        assert!(valid(named("Gap"), &wrong, "$").is_err(), "{field}");
    }
    let mut short = gap;
    short.as_object_mut().expect("an object").remove("room");
    assert!(valid(named("Gap"), &short, "$").is_err());
    let frame = serde_json::json!({ "type": "caught-up", "room": "r1-2", "rev": "3" });
    assert!(valid(named("ServerFrame"), &frame, "$").is_err());
}
