//! `hansard admin session ...` and `hansard admin token ...`.
//!
//! INVARIANT: a token is printed once, on standard output, alone on its line.

use serde_json::{Value, json};

use super::{Out, body, every};
use crate::cli::{SessionVerb, TokenVerb};
use crate::client::{Ask, Client, Sort, id, segment};
use crate::exits::Failure;
use crate::files::read_secret;

const COLUMNS: &[&str] = &["id", "name", "principal", "session", "created", "expires"];

/// Runs a verb on sessions.
pub(super) fn session(client: &Client, out: &Out, verb: &SessionVerb) -> Result<(), Failure> {
    let SessionVerb::Create { name, password_file } = verb;
    let password = read_secret(password_file)?;
    let body = json!({ "name": name, "password": password });
    let session = client.ask("/sessions", Ask::Post(&body))?;
    out.object(&session, secret(&session))
}

/// Runs a verb on tokens.
pub(super) fn run(client: &Client, out: &Out, verb: &TokenVerb) -> Result<(), Failure> {
    match verb {
        TokenVerb::Create { name, principal, expires } => {
            let principal = principal.as_ref().map(|text| client.id_of(Sort::User, text));
            let body = body([
                ("name", Some(json!(name))),
                ("principal", principal.transpose()?.map(Into::into)),
                ("expires", expires.as_ref().map(|text| json!(text))),
            ]);
            let made = client.ask("/tokens", Ask::Post(&body))?;
            if !out.json {
                eprintln!("token {name:?} made id={}; it is shown only now", id(&made));
            }
            out.object(&made, secret(&made))
        }
        TokenVerb::List { principal } => {
            let principal = principal.as_ref().map(|text| client.id_of(Sort::User, text));
            let principal = principal.transpose()?;
            let query: Vec<_> = principal.iter().map(|id| ("principal", id.as_str())).collect();
            out.list("tokens", &every(client, "/tokens", "tokens", &query)?, COLUMNS)
        }
        TokenVerb::Revoke { id } => {
            client.ask(&format!("/tokens/{}", segment(id)), Ask::Delete)?;
            out.object(&json!({ "id": id }), &format!("token revoked id={id}"))
        }
    }
}

fn secret(made: &Value) -> &str {
    made.get("token").and_then(Value::as_str).unwrap_or_default()
}
