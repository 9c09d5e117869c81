//! `hansard admin category ...`.
//!
//! Principals in the lists are users by name or id, or the word `everyone`.

use serde_json::{Value, json};

use super::{Out, body, every, patch};
use crate::cli::{CategoryOptions, CategoryVerb};
use crate::client::{Ask, Client, Sort, id, segment};
use crate::exits::Failure;

const COLUMNS: &[&str] =
    &["id", "name", "allowed", "denied", "history", "retention_days", "edit", "redact", "created"];
const EVERYONE: &str = "everyone";

/// Runs a verb.
pub(super) fn run(client: &Client, out: &Out, verb: &CategoryVerb) -> Result<(), Failure> {
    match verb {
        CategoryVerb::Create { name, options } => {
            let mut body = given(client, options)?;
            body["name"] = json!(name);
            let made = client.ask("/categories", Ask::Post(&body))?;
            out.object(&made, &format!("category {name:?} made id={}", id(&made)))
        }
        CategoryVerb::List => {
            let categories = every(client, "/categories", "categories", &[])?;
            out.list("categories", &categories, COLUMNS)
        }
        CategoryVerb::Change { category, name, options } => {
            let id = client.id_of(Sort::Category, category)?;
            let mut body = given(client, options)?;
            if let Some(name) = name {
                body["name"] = json!(name);
            }
            let changed = patch(client, &format!("/categories/{}", segment(&id)), &body)?;
            out.object(&changed, &format!("category {category:?} changed id={id}"))
        }
        CategoryVerb::Delete { category } => {
            let id = client.id_of(Sort::Category, category)?;
            client.ask(&format!("/categories/{}", segment(&id)), Ask::Delete)?;
            out.object(&json!({ "id": id }), &format!("category {category:?} deleted id={id}"))
        }
    }
}

fn given(client: &Client, options: &CategoryOptions) -> Result<Value, Failure> {
    Ok(body([
        ("description", options.description.as_ref().map(|text| json!(text))),
        ("allowed", principals(client, &options.allow)?),
        ("denied", principals(client, &options.deny)?),
        ("creators", principals(client, &options.creator)?),
        ("history", options.history.map(Into::into)),
        ("retention_days", options.retention.retention_days.map(Into::into)),
        ("retention_entries", options.retention.retention_entries.map(Into::into)),
        ("retention_bytes", options.retention.retention_bytes.map(Into::into)),
        ("edit", options.edit.map(|who| json!(who.as_str()))),
        ("redact", options.redact.map(|who| json!(who.as_str()))),
    ]))
}

fn principals(client: &Client, names: &[String]) -> Result<Option<Value>, Failure> {
    if names.is_empty() {
        return Ok(None);
    }
    let ids = names.iter().map(|name| match name.as_str() {
        EVERYONE => Ok(EVERYONE.to_owned()),
        name => client.id_of(Sort::User, name),
    });
    Ok(Some(json!(ids.collect::<Result<Vec<_>, _>>()?)))
}
