//! The engine's errors, cut by who must act.
//!
//! Callers match the kind only; the text is for people: lower case, ending in `key=value` pairs,
//! with path and offset wherever a file is involved. The server maps kinds to problems and the
//! binary maps them to exits, in one table each.

use std::path::{Path, PathBuf};

use crate::format::codec::DecodeError;
use crate::format::{FORMAT, layout_words};
use crate::types::{Epoch, Lsn};

/// The engine's result.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, by who must act.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The caller's input is wrong; the same call will fail again.
    #[error("{what}")]
    Invalid {
        /// What is wrong, naming the field.
        what: String,
    },
    /// The object does not exist.
    #[error("{what} not found")]
    NotFound {
        /// The sort of object.
        what: &'static str,
    },
    /// The input contradicts what is recorded.
    #[error("{what}")]
    Conflict {
        /// What it contradicts.
        what: String,
        /// The stable code of the contradiction.
        code: ConflictCode,
    },
    /// The rights of the actor may have changed since the door checked them: check again.
    #[error("policy changed lsn={changed}")]
    PolicyChanged {
        /// The newest record that changed the rights concerned.
        changed: Lsn,
    },
    /// Busy or restricted; try again later.
    #[error("unavailable: {why}")]
    Unavailable {
        /// The reason.
        why: &'static str,
    },
    /// The disk is full; the operator must make room. Reads go on.
    #[error("no space left for {what} path={path:?}")]
    NoSpace {
        /// What could not be written.
        what: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// Stored bytes are not what was written.
    #[error("{what} file={file:?} offset={offset} expected={expected:#x} found={found:#x}")]
    Corrupt {
        /// Which check failed.
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// Where in the file.
        offset: u64,
        /// The value the check wanted.
        expected: u64,
        /// The value it got.
        found: u64,
    },
    /// The directory or file is of a format this build does not read.
    #[error(
        "unsupported format file={file:?} supported={},{FORMAT}: {}",
        FORMAT - 1,
        layout_words(*found)
    )]
    Unsupported {
        /// The file.
        file: PathBuf,
        /// The layout found; zero for none.
        found: u32,
    },
    /// Another process holds the directory.
    #[error("data directory is in use path={path:?}")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// A higher epoch exists.
    #[error("fenced by a newer primary epoch={epoch}")]
    Fenced {
        /// The epoch seen.
        epoch: Epoch,
    },
    /// An earlier write or sync failed: the outcome of this one is unknown. A restart recovers.
    #[error("engine is poisoned by an earlier failure: {first}")]
    Poisoned {
        /// The first failure.
        first: String,
    },
    /// The reader is behind the trim.
    #[error("trimmed floor={floor}")]
    Trimmed {
        /// The oldest record the log still has.
        floor: Lsn,
    },
    /// The operating system refused.
    #[error("{op} failed path={path:?} error={message}")]
    Io {
        /// The operation.
        op: &'static str,
        /// The file.
        path: PathBuf,
        /// The kind, for decisions.
        kind: std::io::ErrorKind,
        /// The system's words.
        message: String,
    },
}

/// Why a draft contradicts the record. The text form is part of the HTTP contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConflictCode {
    /// A live object has this name, or once had it where names are never reused.
    NameUnavailable,
    /// The idempotency key was used for another body.
    KeyReused,
    /// An import is older than the room's newest entry.
    TimeBackwards,
    /// An import's progress is not where the importer thinks.
    ImportProgress,
    /// The object changed since it was read (`If-Match`).
    Stale,
    /// A category that has rooms cannot be deleted.
    NotEmpty,
    /// The entry is hidden from people already.
    Redacted,
    /// A legal hold forbids it.
    Held,
}

impl ConflictCode {
    /// The stable code in problems.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NameUnavailable => "name-unavailable",
            Self::KeyReused => "idempotency-key-reused",
            Self::TimeBackwards => "time-backwards",
            Self::ImportProgress => "import-progress",
            Self::Stale => "stale",
            Self::NotEmpty => "not-empty",
            Self::Redacted => "redacted",
            Self::Held => "held",
        }
    }
}

impl Error {
    /// An `Invalid` with a formatted text.
    pub(crate) fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid { what: what.into() }
    }

    /// A `Conflict`.
    pub(crate) fn conflict(code: ConflictCode, what: impl Into<String>) -> Self {
        Self::Conflict { what: what.into(), code }
    }

    /// Turns an I/O error into ours: a full disk is `NoSpace`, everything else `Io`.
    pub(crate) fn io(op: &'static str, path: &Path, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                Self::NoSpace { what: op, path: path.to_path_buf() }
            }
            kind => Self::Io { op, path: path.to_path_buf(), kind, message: error.to_string() },
        }
    }

    /// A failed checksum or an impossible value at `offset` of `file`.
    pub(crate) fn corrupt(
        what: &'static str,
        file: &Path,
        offset: u64,
        expected: u64,
        found: u64,
    ) -> Self {
        Self::Corrupt { what, file: file.to_path_buf(), offset, expected, found }
    }

    /// A record that passed its checksum and is of no form that this build reads. The offset is in
    /// the record.
    pub(crate) fn undecodable(error: DecodeError) -> Self {
        Self::corrupt(error.what, Path::new("record"), error.at as u64, 0, 0)
    }
}
