//! What readers ask for and what they get: pages, changes, a category by time.
//!
//! Only the shapes; `history` answers them. A page never fails for a hole: it walks over it and
//! names it.

mod list;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::Result;
use crate::format::cached::CachedBlock;
use crate::format::record::{Record, is_post};
use crate::types::{CategoryId, Lsn, Rev, RoomId, Seq, TimeUs};
pub use list::{EntryList, EntryRef, Iter};
use list::{Stored, words_of};

/// Where a page of a room stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// The newest entries.
    Last,
    /// The entries before this one, newest first taken.
    Before(Seq),
    /// The entries after this one.
    After(Seq),
    /// From this entry on, itself included.
    At(Seq),
    /// From the first entry at or after this time.
    AtTime(TimeUs),
    /// Half the page before this entry, the rest from it.
    Around(Seq),
    /// Half the page before the first entry at or after this time, the rest from it.
    AroundTime(TimeUs),
    /// From the first sequence to the second, both included, oldest first.
    Between(Seq, Seq),
}

/// Why entries are missing from a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapReason {
    /// The bytes are damaged.
    Damaged,
    /// The category keeps no history.
    NotKept,
    /// Retention removed them.
    Expired,
    /// They were erased.
    Erased,
}

impl GapReason {
    /// The word in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::NotKept => "not-kept",
            Self::Expired => "expired",
            Self::Erased => "erased",
        }
    }
}

/// A run of missing entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The room.
    pub room: RoomId,
    /// The first missing entry.
    pub from_seq: Seq,
    /// The last missing entry.
    pub to_seq: Seq,
    /// Why.
    pub reason: GapReason,
}

/// What became of an entry after it was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amendment {
    /// The entry's room.
    pub room: RoomId,
    /// The entry.
    pub seq: Seq,
    /// The newest record about it: its entity tag.
    pub changed: Lsn,
    /// How often it was edited.
    pub edits: u64,
    /// The newest edit; none if there is none, or if the entry is redacted.
    pub edit: Option<Record>,
    /// Hidden from people: its words are not in the answer, those of no version.
    pub redacted: bool,
    /// The redaction; none if there is none, or if its record is damaged.
    pub redaction: Option<Record>,
}

/// All that an entry ever said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    /// The entry as it was first said, and its edits, oldest first; damaged ones are missing.
    pub records: Vec<Record>,
    /// Versions that are damaged.
    pub damaged: u64,
    /// The redaction, if there is one and it can be read.
    pub redaction: Option<Record>,
    /// Hidden from people: these are for those entitled only.
    pub redacted: bool,
}

/// A page of a room, in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Timeline entries, with what they say now; redacted ones without a body.
    pub records: Vec<Record>,
    /// What became of those that were edited or redacted, by seq.
    pub amended: Vec<Amendment>,
    /// What is missing between and beside them.
    pub gaps: Vec<Gap>,
    /// Entries before this seq exist: ask `Before` it.
    pub older: Option<Seq>,
    /// Entries after this seq exist: ask `After` it.
    pub newer: Option<Seq>,
    /// Blocks that were decoded or found in the cache.
    pub blocks: u64,
}

/// A timeline entry as it is stored: what it says is found without decoding the rest.
#[derive(Clone)]
pub struct Entry {
    /// Its place.
    pub seq: Seq,
    held: Held,
}

/// What an entry holds.
#[derive(Clone)]
enum Held {
    /// Its bytes, and where its words begin in them, their length before them.
    Bytes(Bytes, u32),
    /// A block of which it is a record.
    Block(Arc<CachedBlock>, usize),
}

/// By what they are, wherever they stand.
impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.as_ref() == other.as_ref()
    }
}

impl Eq for Entry {}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

impl Entry {
    /// An entry of its stored bytes; none if they are of no post, or of none that can be read.
    /// `words`: where what it says begins in them, which is known of posts only; zero if it is not.
    pub(crate) fn new(seq: Seq, bytes: Bytes, words: u32) -> Option<Self> {
        debug_assert!(words == 0 || is_post(&bytes), "words of what is no post");
        let words = words_of(&bytes, words)?;
        Some(Self { seq, held: Held::Bytes(bytes, words) })
    }

    /// Record `at` of a block; none if it is no post, or none that can be read.
    pub(crate) fn of_block(seq: Seq, block: &Arc<CachedBlock>, at: usize) -> Option<Self> {
        block.is_post(at).then(|| Self { seq, held: Held::Block(Arc::clone(block), at) })
    }

    /// A record as an entry.
    pub(crate) fn of(record: &Record) -> Option<Self> {
        let mut bytes = Vec::new();
        let words = record.put(&mut bytes);
        Self::new(record.seq, bytes.into(), u32::try_from(words).unwrap_or(0))
    }

    fn as_ref(&self) -> EntryRef<'_> {
        let stored = match &self.held {
            Held::Bytes(bytes, words) => Stored::Bytes { bytes, words: *words },
            Held::Block(block, at) => Stored::Block { block, at: *at },
        };
        EntryRef { seq: self.seq, stored }
    }

    /// What it says.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub fn body(&self) -> Result<&str> {
        self.as_ref().body()
    }

    /// The same bytes without a look at whether they are UTF-8, as they were when they were
    /// recorded.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub fn words(&self) -> Result<&[u8]> {
        self.as_ref().words()
    }

    /// All that is recorded of it.
    ///
    /// # Errors
    /// `Corrupt` if its bytes, which passed their checksum, are of no form that this build reads.
    pub fn record(&self) -> Result<Record> {
        self.as_ref().record()
    }
}

/// A page of a room as it is stored, in ascending order. Of a room of which something was edited,
/// redacted or erased it is what people see now, as in [`Page`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// Timeline entries, with what they say now; redacted ones without a body.
    pub entries: EntryList,
    /// What became of those that were edited or redacted, by seq.
    pub amended: Vec<Amendment>,
    /// What is missing between and beside them.
    pub gaps: Vec<Gap>,
    /// Entries before this seq exist: ask `Before` it.
    pub older: Option<Seq>,
    /// Entries after this seq exist: ask `After` it.
    pub newer: Option<Seq>,
    /// Blocks that were decoded or found in the cache.
    pub blocks: u64,
}

impl Entries {
    /// The same entries as their bytes.
    pub(crate) fn of(page: Page) -> Self {
        let Page { records, amended, gaps, older, newer, blocks } = page;
        let entries = EntryList::of(&records);
        Self { entries, amended, gaps, older, newer, blocks }
    }
}

/// Everything that happened to a room after a rev.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The records, in order of rev: what was said and edited then, without a body where the entry
    /// is redacted now.
    pub records: Vec<Record>,
    /// The redacted entries among those that they say or edit, by seq.
    pub redacted: Vec<Amendment>,
    /// Revs that are damaged: (first, last), within what was covered.
    pub holes: Vec<(Rev, Rev)>,
    /// Revs of what retention took or what was erased, entries and their edits: (first, last).
    pub expired: Vec<(Rev, Rev)>,
    /// The last rev this answer covers: ask again after it.
    pub through: Rev,
    /// The room's newest rev at the time of reading.
    pub head: Rev,
}

/// The order of a category's page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    Ascending,
    /// Newest first.
    Descending,
}

/// A place in a category: behind the entry (time, room, seq).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CategoryCursor {
    /// The entry's time.
    pub time: TimeUs,
    /// Its room.
    pub room: RoomId,
    /// Its seq.
    pub seq: Seq,
}

/// A category's entries in a span of time.
#[derive(Clone, Copy, Debug)]
pub struct CategoryRequest {
    /// The category.
    pub category: CategoryId,
    /// The first time, included.
    pub from: TimeUs,
    /// The last time, excluded.
    pub to: TimeUs,
    /// The order of taking.
    pub order: Order,
    /// Continue behind this entry.
    pub cursor: Option<CategoryCursor>,
    /// At most so many entries.
    pub limit: usize,
}

/// A page of a category, in the order asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CategoryPage {
    /// Timeline entries, with what they say now; redacted ones without a body.
    pub records: Vec<Record>,
    /// What became of those that were edited or redacted, by room and seq.
    pub amended: Vec<Amendment>,
    /// What is missing.
    pub gaps: Vec<Gap>,
    /// More entries exist behind this one.
    pub next: Option<CategoryCursor>,
    /// Blocks that were decoded or found in the cache.
    pub blocks: u64,
    /// Blocks whose time span overlaps what was still to be given.
    pub blocks_overlapping: u64,
}

/// An entry of a category as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CategoryEntry {
    /// Its room.
    pub room: RoomId,
    /// When it was said.
    pub time: TimeUs,
    /// The entry.
    pub entry: Entry,
}

/// A page of a category as it is stored: otherwise as [`CategoryPage`]. An entry that was edited or
/// redacted is what people see now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CategoryEntries {
    /// Timeline entries, with what they say now; redacted ones without a body.
    pub entries: Vec<CategoryEntry>,
    /// What became of those that were edited or redacted, by room and seq.
    pub amended: Vec<Amendment>,
    /// What is missing.
    pub gaps: Vec<Gap>,
    /// More entries exist behind this one.
    pub next: Option<CategoryCursor>,
    /// Blocks that were decoded or found in the cache.
    pub blocks: u64,
    /// Blocks whose time span overlaps what was still to be given.
    pub blocks_overlapping: u64,
}
