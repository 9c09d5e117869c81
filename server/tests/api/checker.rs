//! Checks answers against an OpenAPI document: the part of JSON Schema that ours uses.
//!
//! Shared by the server's tests and the binary's, which bring their own document and their own
//! client. An unknown keyword fails the test, so that nothing goes unchecked in silence.

use serde_json::Value;

/// An answer as any client has it.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'a> {
    pub status: u16,
    /// The content type; empty if there is none.
    pub kind: &'a str,
    pub text: &'a str,
    /// The text as JSON; null if it is none.
    pub body: &'a Value,
}

/// The document.
#[derive(Debug)]
pub struct Document(pub Value);

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

impl Document {
    /// Fails the test if the answer is not one that the document describes.
    #[track_caller]
    pub fn check(&self, method: &str, path: &str, answer: Heard<'_>) {
        let path = path.split('?').next().unwrap_or_default();
        let paths = self.0["paths"].as_object().expect("paths");
        let exact = paths.get_key_value(path);
        let template = exact.or_else(|| paths.iter().find(|(template, _)| matches(template, path)));
        let operation = template.map(|(_, item)| &item[method.to_ascii_lowercase()]);
        let responses = match operation {
            Some(operation) if operation.is_object() => &operation["responses"],
            // An address or method that does not exist answers with a problem, too.
            _ => &self.0["paths"]["/api/v1/me"]["get"]["responses"],
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
        let kind = answer.kind;
        let (_, media) =
            content.iter().find(|(name, _)| kind.starts_with(name.as_str())).unwrap_or_else(|| {
                panic!("{method} {path} {status}: {kind} is not described: {}", answer.text)
            });
        if kind.contains("json")
            && let Err(wrong) = self.valid(&media["schema"], answer.body, "$")
        {
            panic!("{method} {path} {status}: {wrong}\n{}", answer.text);
        }
    }

    /// Fails the test if the value is not of the named schema.
    #[track_caller]
    pub fn check_named(&self, name: &str, value: &Value) {
        if let Err(wrong) = self.valid(self.named(name), value, "$") {
            panic!("{name}: {wrong}\n{value}");
        }
    }

    /// A schema by its name, which must exist.
    #[track_caller]
    pub fn named(&self, name: &str) -> &Value {
        let schema = &self.0["components"]["schemas"][name];
        assert!(schema.is_object(), "the document has no schema {name}");
        schema
    }

    /// # Errors
    /// Where and how the value is not of the schema.
    pub fn valid(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        let Some(schema) = schema.as_object() else { return Ok(()) };
        if let Some(strange) = schema.keys().find(|key| !KNOWN.contains(&key.as_str())) {
            return Err(format!("{at}: keyword {strange} is not checked"));
        }
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let pointer = reference.trim_start_matches('#');
            return self.valid(self.0.pointer(pointer).expect("a reference"), value, at);
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
            let fitting =
                choices.iter().filter(|choice| self.valid(choice, value, at).is_ok()).count();
            if fitting != 1 {
                let all: Vec<_> = choices
                    .iter()
                    .filter_map(|choice| self.valid(choice, value, at).err())
                    .collect();
                return Err(format!("{at}: {fitting} choices fit: {all:?}"));
            }
        }
        for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            self.valid(part, value, at)?;
        }
        if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
            for (index, value) in values.iter().enumerate() {
                self.valid(items, value, &format!("{at}[{index}]"))?;
            }
        }
        let count = value.as_array().map(Vec::len).and_then(|count| u64::try_from(count).ok());
        let bound = |key: &str| schema.get(key).and_then(Value::as_u64);
        if count.is_some_and(|count| {
            bound("minItems").is_some_and(|least| count < least)
                || bound("maxItems").is_some_and(|most| count > most)
        }) {
            return Err(format!("{at}: {count:?} items"));
        }
        let least = schema.get("minimum").and_then(Value::as_f64);
        if let (Some(least), Some(number)) = (least, value.as_f64())
            && number < least
        {
            return Err(format!("{at}: {number} is less than {least}"));
        }
        match value.as_object() {
            Some(fields) => self.object(schema, fields, at),
            None => Ok(()),
        }
    }

    fn object(
        &self,
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
                Some(schema) => self.valid(schema, value, &format!("{at}.{name}"))?,
                None if schema.get("additionalProperties") == Some(&Value::Bool(false)) => {
                    return Err(format!("{at}: {name} is not described"));
                }
                None => {}
            }
        }
        Ok(())
    }
}

fn matches(template: &str, path: &str) -> bool {
    let (a, b): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.starts_with('{') || a == b)
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
