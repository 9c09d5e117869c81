//! Rules about the packages: who may depend on whom, and why each dependency is there.
//!
//! The first asks cargo; the second reads the manifests themselves, as reasons are comments.

use serde_json::Value;

use super::source::{Finding, Source};

/// A package and what it must not depend on, in any way.
const FLOORS: [(&str, &[&str]); 3] = [
    (
        "hansard-engine",
        &["anyhow", "axum", "clap", "hansard", "hansard-server", "hansard-tool", "tokio", "toml"],
    ),
    ("hansard-server", &["hansard", "hansard-tool"]),
    ("hansard-tool", &["hansard", "hansard-server"]),
];

/// What an explanation on the line above must have, so that a section's title is none.
const REASON_WORDS_MIN: usize = 3;

/// Arrows between the packages point down only. Takes what `cargo metadata --no-deps` prints.
pub fn floors(metadata: &Value) -> Vec<String> {
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let packages = list(metadata, "packages");
    let mut found = Vec::new();
    for (name, forbidden) in FLOORS {
        let Some(package) = packages.iter().find(|package| package["name"] == name) else {
            found.push(format!("there is no package {name}"));
            continue;
        };
        for dependency in list(package, "dependencies") {
            let dependency = dependency["name"].as_str().unwrap_or_default();
            if forbidden.contains(&dependency) {
                found.push(format!("{name} must not depend on {dependency}"));
            }
        }
    }
    found
}

/// Every dependency from outside says why it is there: behind it, or on the line above. Members
/// that take it from the workspace have said it there.
pub fn reasons(source: &Source) -> Vec<Finding> {
    if source.path != "Cargo.toml" && !source.path.ends_with("/Cargo.toml") {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut in_dependencies = false;
    let mut above = "";
    let mut entry: Option<Entry> = None;
    for (number, line) in (1..).zip(source.text.lines()) {
        let (code, comment) = split_comment(line);
        let depth = depth_change(code);
        match &mut entry {
            Some(open) => open.add(code, comment, depth),
            None if code.starts_with('[') => {
                let section = code.trim_matches(['[', ']']);
                in_dependencies = section.ends_with("dependencies");
                if section.contains("dependencies.") {
                    found.push(source.finding(number, "write a dependency on one line"));
                }
            }
            None if in_dependencies && !code.is_empty() => {
                entry = Some(Entry::new(number, code, comment, above, depth));
            }
            None => {}
        }
        if let Some(closed) = entry.take_if(|entry| entry.depth == 0)
            && !closed.explained
        {
            found.push(source.finding(closed.line, format!("no reason for {}", closed.name)));
        }
        above = if code.is_empty() { comment } else { "" };
    }
    found
}

/// A dependency, which may reach over several lines.
struct Entry {
    name: String,
    line: usize,
    explained: bool,
    /// Brackets that are still open.
    depth: isize,
}

impl Entry {
    fn new(line: usize, code: &str, comment: &str, above: &str, depth: isize) -> Self {
        let name = code.split(['.', '=', ' ']).next().unwrap_or_default().to_owned();
        let explained = above.split_whitespace().count() >= REASON_WORDS_MIN;
        let mut entry = Self { name, line, explained, depth: 0 };
        entry.add(code, comment, depth);
        entry
    }

    fn add(&mut self, code: &str, comment: &str, depth: isize) {
        let ours = code.contains("workspace = true") || code.contains("path = ");
        self.explained |= ours || !comment.is_empty();
        self.depth += depth;
    }
}

/// A line's TOML and the text of its comment, both trimmed.
fn split_comment(line: &str) -> (&str, &str) {
    let mut quoted = false;
    for (at, char) in line.char_indices() {
        match char {
            '"' => quoted = !quoted,
            '#' if !quoted => {
                let (code, comment) = line.split_at(at);
                return (code.trim(), comment.trim_start_matches('#').trim());
            }
            _ => {}
        }
    }
    (line.trim(), "")
}

fn depth_change(code: &str) -> isize {
    let mut quoted = false;
    code.chars().fold(0, |depth, char| {
        quoted ^= char == '"';
        match char {
            '[' | '{' if !quoted => depth + 1,
            ']' | '}' if !quoted => depth - 1,
            _ => depth,
        }
    })
}
