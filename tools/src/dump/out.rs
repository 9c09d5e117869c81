//! Where the lines go: records and gaps, one JSON object each, through one buffer.
//!
//! It does not choose what is written. A reader that is gone wants no more, which ends the dump and
//! is no failure; an output that takes no more is one.
//!
//! INVARIANT: every hole that was met is a line, and remembered to the end.

use std::io::{BufWriter, ErrorKind, Write};

use hansard_engine::error::Error;
use hansard_engine::format::record::Record;
use hansard_engine::types::RoomId;
use serde::Serialize;

use super::line::Line;

/// The reason of a gap that is no damage: retention took what stood there.
pub(super) const EXPIRED: &str = "expired";

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 256 * 1024;

/// Why a dump ends early.
#[derive(Debug)]
pub(super) enum Stop {
    /// The reader is gone.
    Gone,
    /// Something failed.
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// A step of a dump.
pub(super) type Step = std::result::Result<(), Stop>;

/// A place of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The file, below the data directory.
    pub file: String,
    pub offset: u64,
}

/// What the dump cannot give.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Gap {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_rev: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_rev: Option<u64>,
    /// Places of the log, where no room is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_lsn: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_lsn: Option<u64>,
    pub reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
}

impl Gap {
    /// A gap for this reason, with its place if it has one.
    pub(super) fn new(reason: impl Into<String>, place: Option<Place>) -> Self {
        let (file, offset) = place.map(|place| (place.file, place.offset)).unzip();
        Self { reason: reason.into(), file, offset, ..Self::default() }
    }

    /// In this room.
    pub(super) fn room(self, room: RoomId) -> Self {
        Self { room: Some(room.to_string()), ..self }
    }

    /// These entries, both included; none if the last is before the first.
    pub(super) fn seqs(mut self, (from, to): (u64, u64)) -> Self {
        (self.from_seq, self.to_seq) = span(from, to);
        self
    }

    /// These changes, both included; none if the last is before the first.
    pub(super) fn revs(mut self, (from, to): (u64, u64)) -> Self {
        (self.from_rev, self.to_rev) = span(from, to);
        self
    }

    /// These places of the log, both included; none if the last is before the first.
    pub(super) fn lsns(mut self, (from, to): (u64, u64)) -> Self {
        (self.from_lsn, self.to_lsn) = span(from, to);
        self
    }
}

fn span(from: u64, to: u64) -> (Option<u64>, Option<u64>) {
    (from <= to).then_some((from, to)).unzip()
}

/// A line that is no record.
#[derive(Serialize)]
struct GapLine<'a> {
    gap: &'a Gap,
}

/// The output.
pub(super) struct Out<W: Write> {
    to: BufWriter<W>,
    line: Vec<u8>,
    /// Something is damaged or missing.
    pub damaged: bool,
}

impl<W: Write> Out<W> {
    pub(super) fn new(to: W) -> Self {
        let to = BufWriter::with_capacity(BUFFER_BYTES, to);
        Self { to, line: Vec::new(), damaged: false }
    }

    /// Writes a record.
    pub(super) fn record(&mut self, record: &Record) -> Step {
        self.json(&Line::of(record))
    }

    /// Writes a gap.
    pub(super) fn gap(&mut self, gap: &Gap) -> Step {
        self.damaged |= gap.reason != EXPIRED;
        self.json(&GapLine { gap })
    }

    /// Writes what is still in the buffer.
    pub(super) fn finish(&mut self) -> Step {
        self.to.flush().map_err(|error| stop(&error))
    }

    fn json(&mut self, value: &impl Serialize) -> Step {
        self.line.clear();
        // Numbers and texts into memory: nothing of it can fail.
        serde_json::to_writer(&mut self.line, value).map_err(|error| stop(&error.into()))?;
        self.line.push(b'\n');
        self.to.write_all(&self.line).map_err(|error| stop(&error))
    }
}

fn stop(error: &std::io::Error) -> Stop {
    match error.kind() {
        ErrorKind::BrokenPipe => Stop::Gone,
        kind => Stop::Failed(Error::Io {
            op: "write",
            path: "standard output".into(),
            kind,
            message: error.to_string(),
        }),
    }
}
