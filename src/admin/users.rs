//! `hansard admin user ...`.
//!
//! Passwords come from files, never from the command line, where others could read them.

use std::path::Path;

use serde_json::{Value, json};

use super::{Out, body, every, patch};
use crate::cli::UserVerb;
use crate::client::{Ask, Client, Sort, id, segment};
use crate::exits::Failure;
use crate::files::read_secret;

const COLUMNS: &[&str] = &["id", "name", "administrator", "disabled", "created"];
const IMPORTED_COLUMNS: &[&str] = &["id", "name", "source", "created"];

/// Runs a verb.
pub(super) fn run(client: &Client, out: &Out, verb: &UserVerb) -> Result<(), Failure> {
    match verb {
        UserVerb::Create { name, password_file } => {
            let password = password_file.as_deref().map(read_secret).transpose()?;
            let body = body([("name", Some(json!(name))), ("password", password.map(Into::into))]);
            let made = client.ask("/users", Ask::Post(&body))?;
            out.object(&made, &format!("user {name:?} made id={}", id(&made)))
        }
        UserVerb::List { imported: true } => {
            let users = every(client, "/users", "users", &[("kind", "imported")])?;
            out.list("users", &users, IMPORTED_COLUMNS)
        }
        UserVerb::List { imported: false } => {
            out.list("users", &every(client, "/users", "users", &[])?, COLUMNS)
        }
        UserVerb::Disable { user } => change(client, out, user, &json!({ "disabled": true })),
        UserVerb::Enable { user } => change(client, out, user, &json!({ "disabled": false })),
        UserVerb::Promote { user } => change(client, out, user, &json!({ "administrator": true })),
        UserVerb::Demote { user } => change(client, out, user, &json!({ "administrator": false })),
        UserVerb::ResetPassword { user, password_file, old_password_file } => {
            let body = passwords(password_file, old_password_file.as_deref())?;
            change(client, out, user, &body)
        }
    }
}

fn passwords(new: &Path, old: Option<&Path>) -> Result<Value, Failure> {
    let (new, old) = (read_secret(new)?, old.map(read_secret).transpose()?);
    Ok(body([("password", Some(new.into())), ("old_password", old.map(Into::into))]))
}

fn change(client: &Client, out: &Out, user: &str, body: &Value) -> Result<(), Failure> {
    let id = client.id_of(Sort::User, user)?;
    let changed = patch(client, &format!("/users/{}", segment(&id)), body)?;
    out.object(&changed, &format!("user {user:?} changed id={id}"))
}
