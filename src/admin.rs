//! `hansard admin NOUN VERB`: what an administrator asks of a running server.
//!
//! One small module for each noun; this one dispatches, pages and prints. It decides nothing: the
//! server does. INVARIANT: with `--json` standard output is JSON and nothing else.

mod categories;
mod holds;
mod rooms;
mod system;
mod table;
mod tokens;
mod users;

use std::io::{Write, stdout};

use serde_json::{Value, json};

use crate::cli::{AdminArgs, Noun};
use crate::client::{Ask, Client};
use crate::exits::Failure;
use table::Table;

/// Runs a command.
pub fn run(args: &AdminArgs) -> Result<(), Failure> {
    let out = Out { json: args.json };
    if let Noun::Session(verb) = &args.noun {
        return tokens::session(&Client::anonymous(&args.server)?, &out, verb);
    }
    let client = Client::new(&args.server)?;
    match &args.noun {
        Noun::Session(_) => Ok(()),
        Noun::User(verb) => users::run(&client, &out, verb),
        Noun::Category(verb) => categories::run(&client, &out, verb),
        Noun::Room(verb) => rooms::run(&client, &out, verb),
        Noun::Member(verb) => rooms::members(&client, &out, verb),
        Noun::Token(verb) => tokens::run(&client, &out, verb),
        Noun::Event(verb) => system::events(&client, &out, verb),
        Noun::Clock(verb) => system::clock(&client, &out, verb),
        Noun::Hold(verb) => holds::run(&client, &out, verb),
        Noun::Retention(verb) => holds::retention(&client, &out, *verb),
        Noun::Erase(args) => holds::erase(&client, &out, args),
        Noun::Compliance(verb) => holds::compliance(&client, &out, *verb),
        Noun::Head(verb) => system::heads(&client, &out, *verb),
        Noun::Scrub(verb) => system::scrub(&client, &out, *verb),
        Noun::Checkpoint { dir } => system::checkpoint(&client, &out, dir),
    }
}

/// Standard output, for people or for programs.
struct Out {
    json: bool,
}

impl Out {
    /// What an object is now, and the words that say so.
    fn object(&self, object: &Value, words: &str) -> Result<(), Failure> {
        if self.json { self.line(&object.to_string()) } else { self.line(words) }
    }

    /// A list: a table, or `{plural: [...]}`.
    fn list(&self, plural: &str, items: &[Value], columns: &[&str]) -> Result<(), Failure> {
        if self.json {
            return self.line(&json!({ plural: items }).to_string());
        }
        let mut table = Table::new(columns);
        for item in items {
            table.row(columns.iter().map(|column| table::cell(item, column)).collect());
        }
        self.line(table.render().trim_end())
    }

    fn line(&self, text: &str) -> Result<(), Failure> {
        writeln!(stdout(), "{text}").map_err(|error| Failure::stdout(&error))
    }
}

/// Every item of a list, page by page.
fn every(
    client: &Client,
    path: &str,
    plural: &str,
    query: &[(&str, &str)],
) -> Result<Vec<Value>, Failure> {
    let mut items = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut query = query.to_vec();
        query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let mut page = client.get(path, &query)?;
        if let Some(list) = page.get_mut(plural).and_then(Value::as_array_mut) {
            items.append(list);
        }
        match page.get("next").and_then(Value::as_str) {
            Some(next) => cursor = Some(next.to_owned()),
            None => return Ok(items),
        }
    }
}

/// A body of what was given: absent fields are left out.
fn body<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// A change that must change something.
fn patch(client: &Client, path: &str, body: &Value) -> Result<Value, Failure> {
    if body.as_object().is_some_and(serde_json::Map::is_empty) {
        return Err(Failure::usage("nothing to change: give at least one option"));
    }
    Ok(client.ask(path, Ask::Patch(body))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_what_was_given() {
        let fields = [("a", Some(json!(1))), ("b", None), ("c", Some(json!("x")))];
        assert_eq!(body(fields), json!({ "a": 1, "c": "x" }));
        assert_eq!(body([("a", None)]), json!({}));
    }
}
