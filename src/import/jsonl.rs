//! Hansard's own export, one JSON object a line, read into entries.
//!
//! A pure parser, strict where the log parser is lenient: this is our own format, so a line that is
//! wrong means a damaged or foreign file, and the error names file, line and field. Fields that a
//! later version adds are ignored.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::entry::{
    BODY_BYTES_MAX, EntryKind, Line, NICK_BYTES_MAX, SOURCE_BYTES_MAX, lines, reason,
};

/// Reads one export. `name` is the file's name without folders.
///
/// # Errors
/// `Line` for the first line that is no message of an export; `TooLarge` beyond
/// [`SOURCE_BYTES_MAX`].
pub fn parse(name: &str, bytes: &[u8]) -> Result<Parsed, Error> {
    if bytes.len() > SOURCE_BYTES_MAX {
        return Err(Error::TooLarge { file: name.to_owned(), bytes: bytes.len() });
    }
    let mut parsed = Parsed::default();
    for line in lines(bytes) {
        parsed.lines += 1;
        match entry_of(&line) {
            Ok(Outcome::Entry(entry)) => parsed.entries.push(entry),
            Ok(Outcome::Skipped(reason)) => *parsed.skipped.entry(reason).or_default() += 1,
            Err(Wrong { field, fault }) => {
                return Err(Error::Line { file: name.to_owned(), line: line.number, field, fault });
            }
        }
    }
    Ok(parsed)
}

/// What one export holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// In the order of the file.
    pub entries: Vec<Entry>,
    /// Lines that are no entry, by a reason of [`reason`].
    pub skipped: BTreeMap<&'static str, u64>,
    /// All lines: entries and skipped ones.
    pub lines: u64,
}

/// One exported message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Counted from 1.
    pub line: u32,
    /// Offset of the first byte behind the line and its line feed: what is consumed with it.
    pub end: u64,
    /// Its place in the room that it was exported from.
    pub seq: u64,
    /// What kind of message it is.
    pub kind: EntryKind,
    /// When it was said, in microseconds since 1970-01-01T00:00:00Z.
    pub time_us: i64,
    /// When the exporting server took it, likewise.
    pub recorded_us: i64,
    /// Who said it; an event may have nobody.
    pub author: Option<Author>,
    /// May be empty.
    pub body: String,
}

/// The author of an exported message, as the exporting server knew him.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// Opaque, of the exporting server.
    pub id: String,
    /// The name as it was when the message was recorded.
    pub name: String,
}

/// Why an export is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// A line that is no message of an export.
    #[error("export line is wrong file={file:?} line={line} field={field} fault={fault}")]
    Line {
        /// The name as given.
        file: String,
        /// Counted from 1.
        line: u32,
        /// The field at fault, or `line` for the line as a whole.
        field: &'static str,
        /// What is wrong with it.
        fault: Fault,
    },
    /// The file is too large to be read in one piece.
    #[error("export too large file={file:?} bytes={bytes} max={max}", max = SOURCE_BYTES_MAX)]
    TooLarge {
        /// The name as given.
        file: String,
        /// Its size.
        bytes: usize,
    },
}

/// What can be wrong with a field or a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Fault {
    /// Not valid UTF-8.
    #[error("not-utf8")]
    NotUtf8,
    /// Not one JSON object, or one that has a field twice.
    #[error("not-an-object")]
    NotAnObject,
    /// Not there, or null.
    #[error("missing")]
    Missing,
    /// There, but of another JSON type or out of range.
    #[error("wrong-type")]
    WrongType,
    /// A kind that this version does not know.
    #[error("unknown-kind")]
    UnknownKind,
    /// Not an RFC 3339 time of at most microseconds.
    #[error("not-a-time")]
    NotATime,
    /// Longer than its limit.
    #[error("too-long")]
    TooLong,
}

struct Wrong {
    field: &'static str,
    fault: Fault,
}

fn wrong(field: &'static str, fault: Fault) -> Wrong {
    Wrong { field, fault }
}

/// The fields of a line before their types are looked at, so that a wrong one can be named.
#[derive(Deserialize)]
struct Object {
    seq: Option<Value>,
    time: Option<Value>,
    recorded: Option<Value>,
    author: Option<Value>,
    kind: Option<Value>,
    body: Option<Value>,
    /// Set if what it said is hidden: the export has no text of it.
    redacted: Option<Value>,
    /// Instead of all others: entries that the export could not give.
    gap: Option<Value>,
}

enum Outcome {
    Entry(Entry),
    Skipped(&'static str),
}

fn entry_of(line: &Line<'_>) -> Result<Outcome, Wrong> {
    if line.text.is_empty() {
        return Ok(Outcome::Skipped(reason::EMPTY_LINE));
    }
    let text = str::from_utf8(line.text).map_err(|_| wrong("line", Fault::NotUtf8))?;
    let object: Object =
        serde_json::from_str(text).map_err(|_| wrong("line", Fault::NotAnObject))?;
    if object.gap.as_ref().is_some_and(Value::is_object) && object.kind.is_none() {
        return Ok(Outcome::Skipped(reason::GAP));
    }
    match object.redacted {
        Some(Value::Object(_)) => return Ok(Outcome::Skipped(reason::REDACTED)),
        Some(Value::Null) | None => {}
        Some(_) => return Err(wrong("redacted", Fault::WrongType)),
    }
    let kind = match string("kind", object.kind)?.as_str() {
        "text" => EntryKind::Text,
        "action" => EntryKind::Action,
        "event" => EntryKind::Event,
        "file" => return Ok(Outcome::Skipped(reason::FILE)),
        _ => return Err(wrong("kind", Fault::UnknownKind)),
    };
    let seq = object.seq.ok_or(wrong("seq", Fault::Missing))?;
    let body = string("body", object.body)?;
    if body.len() > BODY_BYTES_MAX {
        return Err(wrong("body", Fault::TooLong));
    }
    Ok(Outcome::Entry(Entry {
        line: line.number,
        end: line.end,
        seq: seq.as_u64().ok_or(wrong("seq", Fault::WrongType))?,
        kind,
        time_us: time("time", object.time)?,
        recorded_us: time("recorded", object.recorded)?,
        author: author(kind, object.author)?,
        body,
    }))
}

fn string(field: &'static str, value: Option<Value>) -> Result<String, Wrong> {
    match value {
        Some(Value::String(text)) => Ok(text),
        Some(Value::Null) | None => Err(wrong(field, Fault::Missing)),
        Some(_) => Err(wrong(field, Fault::WrongType)),
    }
}

fn time(field: &'static str, value: Option<Value>) -> Result<i64, Wrong> {
    let time: Timestamp =
        string(field, value)?.parse().map_err(|_| wrong(field, Fault::NotATime))?;
    if time.subsec_nanosecond() % 1_000 != 0 {
        return Err(wrong(field, Fault::NotATime));
    }
    Ok(time.as_microsecond())
}

fn author(kind: EntryKind, value: Option<Value>) -> Result<Option<Author>, Wrong> {
    let mut fields = match value {
        None if kind == EntryKind::Event => return Ok(None),
        None => return Err(wrong("author", Fault::Missing)),
        Some(Value::Object(fields)) => fields,
        Some(_) => return Err(wrong("author", Fault::WrongType)),
    };
    let id = string("author.id", fields.remove("id"))?;
    let name = string("author.name", fields.remove("name"))?;
    if name.len() > NICK_BYTES_MAX {
        return Err(wrong("author.name", Fault::TooLong));
    }
    Ok(Some(Author { id, name }))
}

#[cfg(test)]
#[path = "jsonl_tests.rs"]
mod tests;
