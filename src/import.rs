//! Import: what other programs' records look like, read into entries and sent to a room.
//!
//! The parsers (`irc_log`, `jsonl`) are pure: bytes in, entries out. `source` opens the files,
//! `batch` cuts what a request can take, `run` talks to the server, `report` adds up.

mod batch;
mod civil;
mod entry;
mod irc_log;
mod jsonl;
mod report;
mod run;
mod source;

pub use run::run;

use entry::{EntryKind, NICK_BYTES_MAX, SOURCE_BYTES_MAX, reason};
