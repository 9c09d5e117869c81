//! The catalog's rows: keys and values.
//!
//! Keys are a family byte and big-endian numbers, so that a range is a prefix. Values are wire
//! structs with absolute contents: writing a row twice equals writing it once.

use super::keys::KeySpan;
use crate::format::codec::{DecodeError, Reader};
use crate::format::payload::{
    CategorySettings, HoldSettings, Payload, PrincipalSettings, Roles, RoomSettings,
};
use crate::format::record::Record;
use crate::format::wire::{Wire, wire_struct};
use crate::proof::Tree;
use crate::proof::salts::Salts;
use crate::types::{
    CategoryId, Epoch, HoldId, Lsn, PrincipalId, Rev, RoomId, Seq, TimeUs, TokenId,
};

wire_struct! {
    /// A room, but for its head and its members.
    pub struct RoomRow {
        /// Its identifier.
        pub id: RoomId,
        /// What it is.
        pub settings: RoomSettings,
        /// The record that last changed the settings: its entity tag.
        pub changed: Lsn,
        /// When it was created.
        pub created: TimeUs,
        /// Who created it.
        pub creator: PrincipalId,
        /// Hidden for ever.
        pub deleted: bool,
    }
}

wire_struct! {
    /// How far a room has come.
    pub struct HeadRow {
        /// Its newest entry.
        pub seq: Seq,
        /// Its newest change.
        pub rev: Rev,
        /// Its newest entry's time.
        pub time: TimeUs,
    }
}

impl HeadRow {
    /// A room in which nothing happened.
    pub const EMPTY: Self = Self { seq: Seq::ZERO, rev: Rev::ZERO, time: TimeUs::FLOOR };
}

/// How far a room has come, and the tree over its records, as much of it as growing takes. They
/// change together, with every record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TipRow {
    /// How far.
    pub head: HeadRow,
    /// The tree; without leaves in rows of format 1, which had it in a row of its own.
    pub tree: Tree,
}

impl TipRow {
    /// A room in which nothing happened.
    #[must_use]
    pub fn empty() -> Self {
        Self { head: HeadRow::EMPTY, tree: Tree::default() }
    }
}

impl Wire for TipRow {
    const SHAPE: &'static str = "HeadRow, the tree if it has a leaf";

    fn put(&self, out: &mut Vec<u8>) {
        self.head.put(out);
        if self.tree.size() > 0 {
            self.tree.put(out);
        }
    }

    fn get(reader: &mut Reader<'_>, field: &'static str) -> Result<Self, DecodeError> {
        let head = HeadRow::get(reader, field)?;
        if reader.remaining() == 0 {
            return Ok(Self { head, tree: Tree::default() });
        }
        let wrong = reader.error(field);
        let tree = Tree::get(reader, field)?;
        if tree.size() > 0 { Ok(Self { head, tree }) } else { Err(wrong) }
    }
}

/// The head in the bytes of a [`TipRow`], whose tree is not looked at.
///
/// # Errors
/// If they do not begin with one.
pub fn head_of(tip: &[u8]) -> Result<HeadRow, DecodeError> {
    HeadRow::get(&mut Reader::new(tip), "head row")
}

wire_struct! {
    /// What became of an entry. What it says stands in records only.
    pub struct AmendRow {
        /// The newest record about it.
        pub changed: Lsn,
        /// How often it was edited.
        pub edits: u64,
        /// The newest edit; zero if there is none.
        pub edited: Rev,
        /// The redaction; zero if there is none.
        pub redacted: Rev,
        /// The erasure; zero if there is none.
        pub erased: Rev,
    }
}

impl AmendRow {
    /// An entry to which nothing happened.
    pub const NONE: Self = Self {
        changed: Lsn::ZERO,
        edits: 0,
        edited: Rev::ZERO,
        redacted: Rev::ZERO,
        erased: Rev::ZERO,
    };

    /// True if the entry is hidden from people.
    #[must_use]
    pub const fn is_redacted(&self) -> bool {
        self.redacted.0 > 0
    }

    /// True if the entry is gone, with every version of it.
    #[must_use]
    pub const fn is_erased(&self) -> bool {
        self.erased.0 > 0
    }

    /// The row behind a further record about the entry. One that it knows of already changes
    /// nothing.
    pub fn take(&mut self, lsn: Lsn, rev: Rev, change: &Payload) {
        if lsn <= self.changed || self.is_erased() {
            return;
        }
        match change {
            Payload::Erased(_) => *self = Self { erased: rev, ..Self::NONE },
            Payload::Edited(_) => {
                self.edits += 1;
                self.edited = rev;
            }
            Payload::Redacted(_) if !self.is_redacted() => self.redacted = rev,
            _ => return,
        }
        self.changed = lsn;
    }
}

wire_struct! {
    /// What readers of a room's history must know beside its entries.
    pub struct PastRow {
        /// Entries that were edited or redacted and are not expired, and those that were erased.
        pub amended: u64,
        /// The last entry that retention took; zero if it took none.
        pub floor: Seq,
        /// The record that says so.
        pub at: Lsn,
    }
}

impl PastRow {
    /// A room of which every entry is there and as it was said.
    pub const EMPTY: Self = Self { amended: 0, floor: Seq::ZERO, at: Lsn::ZERO };
}

wire_struct! {
    /// A legal hold.
    pub struct HoldRow {
        /// Its identifier.
        pub id: HoldId,
        /// What it keeps.
        pub settings: HoldSettings,
        /// When it was placed.
        pub placed: TimeUs,
        /// Who placed it.
        pub by: PrincipalId,
    }
}

wire_struct! {
    /// A member of a room.
    pub struct MemberRow {
        /// The room.
        pub room: RoomId,
        /// The principal.
        pub principal: PrincipalId,
        /// What he is there.
        pub roles: Roles,
        /// Since when, by his last change.
        pub since: TimeUs,
    }
}

wire_struct! {
    /// A category.
    pub struct CategoryRow {
        /// Its identifier.
        pub id: CategoryId,
        /// What it is.
        pub settings: CategorySettings,
        /// The record that last changed it: its entity tag.
        pub changed: Lsn,
        /// When it was created.
        pub created: TimeUs,
    }
}

wire_struct! {
    /// A principal.
    pub struct PrincipalRow {
        /// His identifier.
        pub id: PrincipalId,
        /// What he is.
        pub settings: PrincipalSettings,
        /// The record that last changed him: his entity tag.
        pub changed: Lsn,
        /// When he was created.
        pub created: TimeUs,
    }
}

wire_struct! {
    /// A token. The token itself is nowhere.
    pub struct TokenRow {
        /// Its identifier.
        pub id: TokenId,
        /// Whose it is.
        pub principal: PrincipalId,
        /// What its owner calls it.
        pub name: String,
        /// SHA-256 of the token.
        pub sha256: [u8; 32],
        /// When it stops working.
        pub expires: TimeUs,
        /// Whether it came from a sign-in.
        pub session: bool,
        /// Whether it may be exchanged for a session once, and nothing else.
        pub one_use: bool,
        /// When it was made.
        pub created: TimeUs,
        /// The record that made it.
        pub lsn: Lsn,
        /// It was revoked.
        pub revoked: bool,
    }
}

wire_struct! {
    /// The first result under an idempotency key. Its room is that of whoever asks, its span that
    /// of its run.
    pub struct KeyRow {
        /// The first half of the digest of what was sent.
        pub digest: [u8; 8],
        /// The record's place in the log.
        pub lsn: Lsn,
        /// Its place in the timeline.
        pub seq: Seq,
        /// Its rev.
        pub rev: Rev,
        /// When it was recorded, in microseconds since its span began.
        pub after: u64,
        /// Its time less when it was recorded, in microseconds.
        pub ahead: i64,
        /// Its epoch.
        pub epoch: Epoch,
    }
}

wire_struct! {
    /// An idempotency key in a page.
    pub struct KeyEntry {
        /// Its [`KeyName`](super::keys::KeyName).
        pub name: [u8; 12],
        /// What is remembered of it.
        pub row: KeyRow,
    }
}

wire_struct! {
    /// A page of a run of idempotency keys.
    pub struct KeyPage {
        /// In the order of their names.
        pub keys: Vec<KeyEntry>,
    }
}

impl KeyRow {
    /// The row that a record leaves under its key.
    #[must_use]
    pub fn of(record: &Record, digest: &[u8; 16]) -> Self {
        let Record { lsn, seq, rev, time, recorded, epoch, .. } = *record;
        Self { lsn, seq, rev, epoch, ..Self::at(recorded, time, digest) }
    }

    /// A row of these times and what was sent, of no place.
    pub(crate) fn at(recorded: TimeUs, time: TimeUs, digest: &[u8; 16]) -> Self {
        let begin = KeySpan::of(recorded).begin();
        Self {
            digest: half(digest),
            lsn: Lsn::ZERO,
            seq: Seq::ZERO,
            rev: Rev::ZERO,
            after: recorded.0.saturating_sub(begin.0).max(0).cast_unsigned(),
            ahead: time.0.saturating_sub(recorded.0),
            epoch: Epoch(0),
        }
    }

    /// True if this was sent.
    #[must_use]
    pub fn is_of(&self, digest: &[u8; 16]) -> bool {
        self.digest == half(digest)
    }

    /// When the record was recorded, if the row is of this span.
    #[must_use]
    pub fn recorded(&self, span: KeySpan) -> TimeUs {
        span.begin().saturating_add_us(i64::try_from(self.after).unwrap_or(i64::MAX))
    }

    /// The record's time.
    #[must_use]
    pub fn time(&self, span: KeySpan) -> TimeUs {
        self.recorded(span).saturating_add_us(self.ahead)
    }
}

fn half(digest: &[u8; 16]) -> [u8; 8] {
    std::array::from_fn(|at| digest[at])
}

wire_struct! {
    /// Seeds of salts.
    pub struct SaltRow {
        /// The record that says so.
        pub lsn: Lsn,
        /// The seeds.
        pub salts: Salts,
    }
}

wire_struct! {
    /// How far the catalog has applied the log. Written with every batch.
    pub struct AppliedRow {
        /// The last applied record.
        pub lsn: Lsn,
        /// Its `recorded` time.
        pub recorded: TimeUs,
        /// Every record up to here stood in a pack when this was written.
        pub sealed: Lsn,
    }
}
