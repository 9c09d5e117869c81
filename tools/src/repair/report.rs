//! What a repair did, as one JSON document and as a table for people.
//!
//! The document's fields are a contract with scripts. What is lost is a finding as of `verify`.

use hansard_engine::format::payload::LsnSpan;
use serde::Serialize;

use super::heal;
use super::target::Quarantined;
use crate::verify::{Finding, Place};

/// Bytes that are again what was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Healed {
    /// The file, in the directory.
    pub file: String,
    /// Where.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
    /// The room they belong to, if they do.
    pub room: Option<String>,
    /// The first entry that they hold.
    pub from_seq: Option<u64>,
    /// The last one.
    pub to_seq: Option<u64>,
    /// What they were taken from.
    pub from: String,
}

impl Healed {
    /// A file, or something in it, that belongs to no room.
    pub(super) fn file(file: &str, offset: u64, bytes: u64, from: &str) -> Self {
        let (file, from) = (file.to_owned(), from.to_owned());
        Self { file, offset, bytes, room: None, from_seq: None, to_seq: None, from }
    }

    /// A part of a pack.
    pub(super) fn part(file: &str, place: &heal::Place, from: &str) -> Self {
        let seqs = (place.seqs.0 <= place.seqs.1).then_some(place.seqs);
        Self {
            room: place.room.map(|room| room.to_string()),
            from_seq: seqs.map(|seqs| seqs.0),
            to_seq: seqs.map(|seqs| seqs.1),
            ..Self::file(file, place.offset, place.bytes, from)
        }
    }
}

/// Places of the log whose records are lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Hole {
    /// The first.
    pub first_lsn: u64,
    /// The last.
    pub last_lsn: u64,
}

impl From<LsnSpan> for Hole {
    fn from(span: LsnSpan) -> Self {
        Self { first_lsn: span.first.0, last_lsn: span.last.0 }
    }
}

/// The outcome.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// Nothing is lost.
    pub ok: bool,
    /// The result.
    pub target: String,
    /// What was made good.
    pub healed: Vec<Healed>,
    /// What was set aside.
    pub quarantined: Vec<Quarantined>,
    /// What is lost.
    pub lost: Vec<Finding>,
    /// Which places of the log that concerns.
    pub holes: Vec<Hole>,
    /// The server refuses it, or opens it restricted, until the loss is accepted.
    pub restricted: bool,
    /// What else there is to know.
    pub notes: Vec<String>,
}

impl Report {
    /// For people.
    pub(super) fn table(&self) -> String {
        let mut lines = vec![format!("result {}", self.target)];
        for Healed { file, offset, bytes, room, from_seq, to_seq, from } in &self.healed {
            let place = Place { file, offset, bytes, room, seqs: (from_seq, to_seq) };
            lines.push(format!("healed {place}: from {from}"));
        }
        for Quarantined { file, to, reason } in &self.quarantined {
            lines.push(format!("quarantined file={file} to={to}: {reason}"));
        }
        lines.extend(self.lost.iter().map(|found| format!("lost {found}")));
        for Hole { first_lsn, last_lsn } in &self.holes {
            lines.push(format!("lost records lsn={first_lsn}..{last_lsn}"));
        }
        lines.extend(self.notes.iter().map(|note| format!("note: {note}")));
        if self.restricted {
            lines.push(format!(
                "the server refuses it or opens it restricted; \
                 next: hansard accept-damage --data {}",
                self.target
            ));
        }
        let end = if self.ok { "ok: nothing is lost" } else { "what is named above is lost" };
        lines.push(end.to_owned());
        lines.join("\n") + "\n"
    }
}
