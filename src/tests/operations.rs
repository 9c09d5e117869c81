//! OPERATIONS.md against the code: every warning, every error and every metric is in it.
//!
//! Keys and exit codes are compared where they are defined. The sources are read as text, so that a
//! line added anywhere is missed here until the document says what to do about it.

use std::fs;
use std::path::{Path, PathBuf};

const LEVELS: [(&str, &str); 2] = [("WARN", "tracing::warn!("), ("ERROR", "tracing::error!(")];

fn top() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR").into()
}

fn operations() -> String {
    fs::read_to_string(top().join("server/OPERATIONS.md")).expect("the document is there")
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("its entries").path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "tests") {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// The last string literal before the parenthesis that closes a macro's call.
fn message(call: &str) -> String {
    let (mut depth, mut last, mut chars) = (1, String::new(), call.chars());
    while let Some(c) = chars.next() {
        match c {
            '(' => depth += 1,
            ')' if depth == 1 => break,
            ')' => depth -= 1,
            '"' => last = literal(&mut chars),
            _ => {}
        }
    }
    last
}

fn literal(chars: &mut std::str::Chars<'_>) -> String {
    let mut text = String::new();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => match chars.next() {
                // A line that goes on: its end and the indentation are no part of the text.
                Some('\n') => *chars = chars.as_str().trim_start().chars(),
                Some(escaped) => text.push(escaped),
                None => break,
            },
            c => text.push(c),
        }
    }
    text
}

#[test]
fn every_warning_and_error_has_its_action() {
    let document = operations();
    let mut files = Vec::new();
    for folder in ["engine/src", "server/src", "src"] {
        sources(&top().join(folder), &mut files);
    }
    let mut found = 0;
    for path in files {
        let text = fs::read_to_string(&path).expect("a source can be read");
        for (level, name) in LEVELS {
            for (at, _) in text.match_indices(name) {
                let message = message(&text[at + name.len()..]);
                let row = format!("| {level} | {message} | ");
                assert!(document.contains(&row), "{path:?} logs what is not listed: {row}");
                found += 1;
            }
        }
    }
    assert!(found > 20, "only {found} calls were found");
}

#[test]
fn every_metric_is_listed() {
    let document = operations();
    let source = fs::read_to_string(top().join("server/src/metrics.rs")).expect("a source");
    let shipped = source.split("#[cfg(test)]").next().expect("a beginning");
    let names = shipped.split('"').filter(|text| text.starts_with("hansard_"));
    let mut found = 0;
    for name in names {
        let listed = [format!("| `{name}` |"), format!("| `{name}_total` |")];
        assert!(listed.iter().any(|row| document.contains(row)), "{name} is not listed");
        found += 1;
    }
    assert!(found > 20, "only {found} metrics were found");
}
