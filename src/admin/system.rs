//! `hansard admin event list`, `clock accept`, `scrub show|run`, `head show|sign|keys|rotate` and
//! `checkpoint DIR`.
//!
//! The server does the work; a checkpoint's folder is on its machine, not on this one.

use std::path::Path;

use serde_json::{Value, json};

use super::Out;
use super::table::{Table, cell};
use crate::cli::{ClockVerb, EventVerb, HeadVerb, ScrubVerb};
use crate::client::{Ask, Client};
use crate::exits::{Exit, Failure};

const COLUMNS: &[&str] = &["epoch", "lsn", "recorded", "kind", "room", "actor.name", "address"];
/// Events of one request; the server gives as many.
const PAGE: u64 = 500;

/// Runs a verb on signed heads. What is printed for people is what is to be kept: the note, or the
/// keys.
pub(super) fn heads(client: &Client, out: &Out, verb: HeadVerb) -> Result<(), Failure> {
    let nothing = json!({});
    let head = match verb {
        HeadVerb::Show | HeadVerb::Keys => client.ask("/head", Ask::Get(&[]))?,
        HeadVerb::Sign => client.ask("/head", Ask::Post(&nothing))?,
        HeadVerb::Rotate => client.ask("/head/key", Ask::Post(&nothing))?,
    };
    let mut keys = head["keys"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let words = match verb {
        HeadVerb::Keys => keys.collect::<Vec<_>>().join("\n"),
        HeadVerb::Rotate => {
            format!("heads are signed with {}", keys.next_back().unwrap_or("no key"))
        }
        HeadVerb::Show | HeadVerb::Sign => {
            head["note"].as_str().unwrap_or("no head is signed yet").trim_end().to_owned()
        }
    };
    out.object(&head, &words)
}

/// Runs a verb on events.
pub(super) fn events(client: &Client, out: &Out, verb: &EventVerb) -> Result<(), Failure> {
    let EventVerb::List { after, limit } = verb;
    let mut left = limit.unwrap_or(u64::MAX);
    let mut cursor = after.clone();
    let mut events = Vec::new();
    while left > 0 {
        let limit = left.min(PAGE).to_string();
        let mut query = vec![("limit", limit.as_str())];
        // A cursor is a text; the number of a record is taken, too.
        query.extend(cursor.as_deref().map(|text| {
            let is_lsn = text.bytes().all(|byte| byte.is_ascii_digit());
            (if is_lsn { "after" } else { "cursor" }, text)
        }));
        let mut page = client.get("/events", &query)?;
        let list = page.get_mut("events").and_then(Value::as_array_mut);
        let list = list.map(std::mem::take).unwrap_or_default();
        left = left.saturating_sub(u64::try_from(list.len()).unwrap_or(u64::MAX));
        events.extend(list);
        cursor = page.get("next").and_then(Value::as_str).map(ToOwned::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    if out.json {
        return out.line(&json!({ "events": events, "next": cursor }).to_string());
    }
    let mut table = Table::new(COLUMNS);
    for event in &events {
        table.row(COLUMNS.iter().map(|column| cell(event, column)).collect());
    }
    out.line(table.render().trim_end())?;
    match cursor {
        Some(next) => out.line(&format!("more: --after {next}")),
        None => Ok(()),
    }
}

/// Runs a verb on the clock.
pub(super) fn clock(client: &Client, out: &Out, verb: &ClockVerb) -> Result<(), Failure> {
    let ClockVerb::Accept = verb;
    let done = client.ask("/admin/clock", Ask::Post(&json!({})))?;
    out.object(&done, "the clock is accepted")
}

/// Runs a verb on the scrub.
pub(super) fn scrub(client: &Client, out: &Out, verb: ScrubVerb) -> Result<(), Failure> {
    if let ScrubVerb::Run = verb {
        let done = client.ask("/admin/scrub", Ask::Post(&json!({})))?;
        return out.object(&done, "a pass was asked for");
    }
    let report = client.get("/admin/scrub", &[])?;
    if out.json {
        return out.line(&report.to_string());
    }
    let (state, end) = match (report["running"].as_bool(), report["last_end"].as_str()) {
        (Some(true), end) => ("running", end),
        (_, end) => ("idle", end),
    };
    let end = end.unwrap_or("never");
    let (passes, packs, bytes) = (&report["passes"], &report["packs"], &report["bytes"]);
    out.line(&format!("{state}, passes {passes}, last end {end}, packs {packs}, bytes {bytes}"))?;
    let damage = report["damage"].as_array().map(Vec::as_slice).unwrap_or_default();
    if damage.is_empty() {
        return out.line("no damage found");
    }
    let columns = ["file", "offset", "bytes", "room", "from_seq", "to_seq", "reason"];
    let mut table = Table::new(&columns);
    for place in damage {
        table.row(columns.iter().map(|column| cell(place, column)).collect());
    }
    out.line(table.render().trim_end())
}

/// Makes a checkpoint.
pub(super) fn checkpoint(client: &Client, out: &Out, dir: &Path) -> Result<(), Failure> {
    // A relative path is meant from here; the server may stand elsewhere in the tree.
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let text = dir.to_str().ok_or_else(|| {
        Failure::new(Exit::Usage, format!("a checkpoint's folder is not UTF-8 path={dir:?}"))
    })?;
    let done = client.ask("/admin/checkpoint", Ask::Post(&json!({ "dir": text })))?;
    out.object(&done, &format!("checkpoint made path={dir:?}"))
}
