//! What a store must do to be measured, in the words of a chat.
//!
//! A message has its place (room, seq) before it is stored; Hansard, which gives places itself, is
//! given no advantage by that. INVARIANT: every read sums every byte of every body, so that no
//! store answers with rows it did not touch.

use std::path::{Path, PathBuf};

/// What can go wrong, as text for whoever measures.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A message that is to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Which room, from 0.
    pub room: u32,
    /// Its place in the room, from 1.
    pub seq: u64,
    /// The room's category, from 0.
    pub category: u32,
    /// When it was said, in microseconds since 1970; never decreasing.
    pub time_us: i64,
    /// Who said it, from 0.
    pub author: u32,
    /// What he is called.
    pub nick: &'a str,
    /// The idempotency key: printable, and of no other message.
    pub key: [u8; 16],
    /// What the key's request is compared by.
    pub digest: [u8; 16],
    pub body: &'a str,
}

/// When a group must be on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Before `commit` returns.
    Group,
    /// When `settle` returns, if the store can put it off.
    Settle,
}

/// Memory that a store may use: the same for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// All its caches together.
    pub cache_bytes: usize,
    /// What it holds of writes that are not yet in their final place.
    pub write_bytes: usize,
}

/// What a store's caches can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheState {
    /// Everything that is asked for.
    Warm,
    /// Next to nothing: blocks come from the page cache and are decoded each time.
    Starved,
}

impl Budget {
    const MIB: usize = 1024 * 1024;

    /// What every store gets.
    #[must_use]
    pub const fn of(state: CacheState) -> Self {
        let cache_bytes = match state {
            CacheState::Warm => 192 * Self::MIB,
            CacheState::Starved => Self::MIB,
        };
        Self { cache_bytes, write_bytes: 64 * Self::MIB }
    }

    /// Both, for stores that do not tell them apart.
    #[must_use]
    pub const fn all_bytes(&self) -> usize {
        self.cache_bytes + self.write_bytes
    }
}

/// What was read: how many rows, and the sum of all bytes of their bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    pub rows: u64,
    pub bytes: u64,
    /// Blocks that the rows stood in, where the store says so.
    pub blocks: u64,
}

impl Sum {
    /// Takes a body.
    pub fn add(&mut self, body: &[u8]) {
        self.rows += 1;
        self.bytes += body.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    }
}

impl std::ops::AddAssign for Sum {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.blocks += other.blocks;
    }
}

/// What a group came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub stored: u64,
    /// Messages whose key was known.
    pub repeated: u64,
}

/// A category's messages of a span of time: from the first, included, to the last, excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    pub category: u32,
    pub from_us: i64,
    pub to_us: i64,
}

/// How far a store is brought to rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quiet {
    /// Nothing that was acknowledged waits to be applied to an index.
    Applied,
    /// Nothing is pending: no flush, checkpoint, seal, merge or compaction is due.
    Settled,
    /// As small as its own means make it.
    Compacted,
}

/// What a store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It has all that the work asks for.
    Full,
    /// It has no index of categories, and holds every key in memory.
    Log,
}

/// An open store. Many threads use it at once.
pub trait Store: Send + Sync {
    /// Stores messages whose key is unknown. All of a group become durable together or earlier.
    ///
    /// # Errors
    /// Whatever the store says.
    fn commit(&self, group: &[Message<'_>], durability: Durability) -> Outcome<Tally>;

    /// Brings the store to rest.
    ///
    /// # Errors
    /// Whatever the store says.
    fn rest(&self, quiet: Quiet) -> Outcome<()>;

    /// Does what taking the messages owes for later, so that its time counts: what the store puts
    /// off to a time of day. Then it is settled again.
    ///
    /// # Errors
    /// Whatever the store says.
    fn do_owed(&self) -> Outcome<()> {
        Ok(())
    }

    /// The newest `count` messages of a room below `below`.
    ///
    /// # Errors
    /// Whatever the store says.
    fn before(&self, room: u32, below: u64, count: usize) -> Outcome<Sum>;

    /// The newest `count` messages of a room that were said before a time.
    ///
    /// # Errors
    /// Whatever the store says.
    fn before_time(&self, room: u32, time_us: i64, count: usize) -> Outcome<Sum>;

    /// Everything of a slice. None if the store has no such index.
    ///
    /// # Errors
    /// Whatever the store says.
    fn category(&self, slice: Slice) -> Outcome<Option<Sum>>;

    /// The newest `count` messages of a room.
    ///
    /// # Errors
    /// Whatever the store says.
    fn last(&self, room: u32, count: usize) -> Outcome<Sum> {
        self.before(room, u64::MAX >> 1, count)
    }

    /// Deletes every message of some categories that was said before a time, durably, and says how
    /// many. None if the store is not asked to.
    ///
    /// # Errors
    /// Whatever the store says.
    fn delete_before(&self, _categories: &[u32], _time_us: i64) -> Outcome<Option<u64>> {
        Ok(None)
    }

    /// Forgets every idempotency key, durably, as after their window. False if the store is not
    /// asked to. Nothing is stored afterwards.
    ///
    /// # Errors
    /// Whatever the store says.
    fn forget_keys(&self) -> Outcome<bool> {
        Ok(false)
    }

    /// Where its files are.
    fn folder(&self) -> &Path;

    /// Its files that are a log kept for reuse, and no history: left out of a store's size.
    fn log_files(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Closes cleanly.
    ///
    /// # Errors
    /// Whatever the store says.
    fn close(self: Box<Self>) -> Outcome<()>;
}
