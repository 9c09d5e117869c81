//! What a store must be able to do to take part.
//!
//! A contestant writes with the durability its documentation names, brings itself to rest, and
//! reads back through its ordinary interface. It knows nothing of faults.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Outcome;
use super::load::Message;

/// In which state the faults hit a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// As after a crash: nothing closed, the log still holds the messages.
    Log,
    /// At rest: everything flushed and compacted, closed cleanly.
    Tables,
}

impl State {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Log, Self::Tables];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Tables => "tables",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// What a file is to its store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The write-ahead log.
    Log,
    /// Anything else that it reads at an opening or for a message.
    Table,
    /// A lock, a cache, a log for people: documented to hold no data.
    Aside,
}

/// A store that takes part.
pub trait Contestant: Send + Sync {
    /// Its name on the command line.
    fn key(&self) -> &'static str;

    /// Its name in the table.
    fn title(&self) -> &'static str;

    /// The crate that brings it, whose version is printed.
    fn package(&self) -> &'static str;

    /// How it writes and reads, in a few words.
    fn settings(&self) -> &'static str;

    /// What a file of it is, by its path below the folder.
    fn role(&self, path: &str) -> Role;

    /// Makes a new store in the absent folder `dir`.
    ///
    /// # Errors
    /// Whatever the store says.
    fn create(&self, dir: &Path) -> Outcome<Box<dyn Writer>>;

    /// Opens the store that is in `dir`. An error is a refusal.
    ///
    /// # Errors
    /// What the store says of its damage.
    fn open(&self, dir: &Path) -> Outcome<Box<dyn Reader>>;

    /// Repairs a store that refused to open, as its documentation says; none if it says nothing.
    fn repair(&self, _dir: &Path) -> Option<Outcome<()>> {
        None
    }
}

/// A store that is being filled.
pub trait Writer {
    /// What the store calls the rooms, in order.
    fn rooms(&self) -> Vec<u64> {
        (1..=super::load::ROOMS as u64).collect()
    }

    /// Stores a group; it is durable when this returns.
    ///
    /// # Errors
    /// Whatever the store says.
    fn commit(&mut self, group: &[Message]) -> Outcome<()>;

    /// Moves everything from the log to its final place, as far as it goes while open.
    ///
    /// # Errors
    /// Whatever the store says.
    fn settle(&mut self) -> Outcome<()>;

    /// Closes cleanly.
    ///
    /// # Errors
    /// Whatever the store says.
    fn close(self: Box<Self>) -> Outcome<()>;
}

/// What a store has of a room.
#[derive(Debug, Default)]
pub struct RoomRead {
    /// Seq and body, as far as they came.
    pub messages: Vec<(u64, Vec<u8>)>,
    /// First and last seq of what the store itself says is missing.
    pub gaps: Vec<(u64, u64)>,
}

/// A store that was opened again.
pub trait Reader {
    /// Reads a whole room in order, `read` growing as far as it goes.
    ///
    /// # Errors
    /// What the store says of its damage.
    fn room(&self, room: u64, read: &mut RoomRead) -> Outcome<()>;

    /// Reads one message: asked only after `room` ended with an error.
    ///
    /// # Errors
    /// What the store says of its damage.
    fn one(&self, room: u64, seq: u64) -> Outcome<Option<Vec<u8>>>;

    /// What the store said of damage without refusing.
    fn complaint(&self) -> Option<String> {
        None
    }
}

/// A key of the stores that keep all rooms in one map: big-endian, so that a room is one range.
#[must_use]
pub fn key_of(room: u64, seq: u64) -> [u8; 16] {
    let mut key = [0; 16];
    let (front, back) = key.split_at_mut(8);
    front.copy_from_slice(&room.to_be_bytes());
    back.copy_from_slice(&seq.to_be_bytes());
    key
}

/// The seq in such a key.
#[must_use]
pub fn seq_of(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(8..16)?.try_into().ok()?))
}
