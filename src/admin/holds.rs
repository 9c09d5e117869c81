//! `hansard admin hold|retention|compliance|erase ...`: what stays, and what goes.
//!
//! The server decides what is due and what a hold keeps.

use serde_json::json;

use super::{Out, body, every};
use crate::cli::{ComplianceVerb, EraseArgs, HoldVerb, RetentionVerb};
use crate::client::{Ask, Client, Sort, id, segment};
use crate::exits::Failure;

const COLUMNS: &[&str] =
    &["id", "name", "room", "category", "principal", "from", "to", "placed", "by"];

/// Runs a verb on holds.
pub(super) fn run(client: &Client, out: &Out, verb: &HoldVerb) -> Result<(), Failure> {
    match verb {
        HoldVerb::Create { name, reason, room, category, principal, from, to } => {
            let id_of = |sort, text: &Option<String>| {
                let found = text.as_ref().map(|text| client.id_of(sort, text)).transpose();
                found.map(|found| found.map(Into::into))
            };
            let text = |text: &Option<String>| text.as_ref().map(|text| json!(text));
            let body = body([
                ("name", Some(json!(name))),
                ("reason", text(reason)),
                ("room", id_of(Sort::Room, room)?),
                ("category", id_of(Sort::Category, category)?),
                ("principal", id_of(Sort::User, principal)?),
                ("from", text(from)),
                ("to", text(to)),
            ]);
            let made = client.ask("/holds", Ask::Post(&body))?;
            out.object(&made, &format!("hold {name:?} placed id={}", id(&made)))
        }
        HoldVerb::List => out.list("holds", &every(client, "/holds", "holds", &[])?, COLUMNS),
        HoldVerb::Release { id } => {
            client.ask(&format!("/holds/{}", segment(id)), Ask::Delete)?;
            out.object(&json!({ "id": id }), &format!("hold released id={id}"))
        }
    }
}

/// Runs a verb on retention.
pub(super) fn retention(client: &Client, out: &Out, verb: RetentionVerb) -> Result<(), Failure> {
    let RetentionVerb::Run { purge } = verb;
    let done = client.ask("/admin/expire", Ask::Post(&json!({ "purge": purge })))?;
    let (rooms, entries, held) = (&done["rooms"], &done["entries"], &done["held"]);
    let mut words = format!(
        "expired entries={entries} rooms={rooms} events={}, rooms with a hold on some={held}",
        done["events"]
    );
    if purge {
        words += &format!("\ndropped from packs by this call records={}", done["dropped"]);
    }
    out.object(&done, &words)
}

/// Runs a verb on the compliance record.
pub(super) fn compliance(client: &Client, out: &Out, verb: ComplianceVerb) -> Result<(), Failure> {
    let ask = match verb {
        ComplianceVerb::Show => client.ask("/compliance", Ask::Get(&[])),
        ComplianceVerb::Set { days, locked } => {
            let body = body([
                ("days", days.map(|days| json!(days))),
                ("locked", locked.map(|locked| json!(locked))),
            ]);
            client.ask("/compliance", Ask::Patch(&body))
        }
    };
    let now = ask?;
    let words =
        format!("compliance on={} days={} locked={}", now["on"], now["days"], now["locked"]);
    out.object(&now, &words)
}

/// Erases messages.
pub(super) fn erase(client: &Client, out: &Out, args: &EraseArgs) -> Result<(), Failure> {
    let room = client.id_of(Sort::Room, &args.room)?;
    let reason = args.reason.as_deref().unwrap_or_default();
    let request = json!({ "messages": args.messages, "reason": reason });
    let done = client.ask(&format!("/rooms/{}/erasures", segment(&room)), Ask::Post(&request))?;
    let words = format!(
        "erased messages={} records={} packs written anew={} journal files zeroed={}",
        done["erased"], done["records"], done["packs"], done["journal_files"]
    );
    out.object(&done, &words)
}
