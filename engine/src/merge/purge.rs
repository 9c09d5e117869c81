//! What may be dropped from packs: the words of entries that retention took or that are erased,
//! seeds of salts of which a later record says what is left, and idempotency keys that nobody
//! remembers.
//!
//! An entry below its room's floor, and every edit and redaction of it, leaves the disk with the
//! next pack that is written anew; a run without blocks stays in its place. What a room went
//! through beside its entries stays, and so does whatever a row of the catalog still repeats: a
//! compliance event, an idempotency key until its twelve hours go. So rows rebuilt from packs equal
//! those that were kept.
//!
//! INVARIANT: a floor counts only once a pack holds the record that says so: what is dropped was
//! taken by a record that a start finds.

use std::collections::BTreeMap;

use crate::apply::{decode_row, first_key};
use crate::catalog::rows::{AmendRow, PastRow};
use crate::catalog::{CatalogStore, Family, Go, Walk, keys, walk_prefix};
use crate::error::Result;
use crate::format::payload::{Kind, Payload};
use crate::format::record::{Outline, without_key};
use crate::format::run::Run;
use crate::history::{block_has_entries, decode_record};
use crate::proof::Hash;
use crate::proof::book::{Scattered, salt_row};
use crate::proof::leaf::record_leaf;
use crate::types::{Lsn, RoomId, Seq};

/// What went of a room.
#[derive(Clone, Copy)]
struct Past {
    /// The last entry that retention took.
    floor: Seq,
    /// Entries were edited, redacted or erased.
    amended: bool,
}

/// Says of records whether they may be dropped.
pub(super) struct Purge<'a> {
    store: &'a dyn CatalogStore,
    /// Packs hold every record up to here.
    sealed: Lsn,
    /// No row repeats a record before this one.
    bound: Lsn,
    last: Option<(RoomId, Past)>,
    salts: Scattered,
    /// A floor did not count because no pack has its record yet.
    pub waits: bool,
}

/// The place in the log of the oldest event that compliance has.
fn first_event(store: &dyn CatalogStore) -> Result<Lsn> {
    let (from, to) = (keys::event(Lsn::ZERO), keys::event(Lsn(u64::MAX)));
    let mut first = Lsn(u64::MAX);
    store.range(Family::Compliance, &from, &to, Walk::Up, &mut |key, _| {
        first = Lsn(keys::number_at(key, 0));
        Ok(Go::Stop)
    })?;
    Ok(first)
}

impl<'a> Purge<'a> {
    /// As things stand, with every record up to `sealed` in packs.
    ///
    /// # Errors
    /// `Io` or `Corrupt` of the catalog.
    pub(super) fn new(store: &'a dyn CatalogStore, sealed: Lsn) -> Result<Self> {
        let event = first_event(store)?;
        let bound = event.min(first_key(store)?).min(sealed.next());
        let salts = Scattered::default();
        Ok(Self { store, sealed, bound, last: None, salts, waits: false })
    }

    /// What went of a room, as far as it counts.
    fn past(&mut self, room: RoomId) -> Result<Past> {
        if let Some((_, past)) = self.last.filter(|(last, _)| *last == room) {
            return Ok(past);
        }
        let row = match room.is_system() {
            true => None,
            false => self.store.get(Family::State, &keys::past(room))?,
        };
        let row: PastRow = row.map_or(Ok(PastRow::EMPTY), |row| decode_row(&row, "past row"))?;
        self.waits |= row.at > self.sealed;
        let floor = if row.at <= self.sealed { row.floor } else { Seq::ZERO };
        let past = Past { floor, amended: row.amended > 0 };
        self.last = Some((room, past));
        Ok(past)
    }

    /// What its room's tree has of a record that is dropped.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    pub(super) fn leaf(&mut self, bytes: &bytes::Bytes) -> Result<Hash> {
        let record = decode_record(bytes)?;
        let salts = self.salts.of(record.lsn, self.store)?;
        Ok(record_leaf(&record, salts.as_ref()))
    }

    /// True if a record may be dropped.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    pub(super) fn takes(&mut self, outline: &Outline, bytes: &bytes::Bytes) -> Result<bool> {
        if outline.kind == Kind::Salts {
            return self.is_old(outline.lsn, bytes);
        }
        let Past { floor, amended } = self.past(outline.room)?;
        if floor == Seq::ZERO && !amended {
            return Ok(false);
        }
        let of = match outline.kind {
            kind if kind.is_amendment() => decode_record(bytes)?.payload.amends(),
            kind => kind.takes_seq().then_some(outline.seq),
        };
        let Some(seq) = of else { return Ok(false) };
        // What is erased no row repeats.
        Ok(seq <= floor && outline.lsn < self.bound
            || amended && self.is_erased(outline.room, seq)?)
    }

    /// A record's bytes without its idempotency key, if it has one that nobody remembers any more.
    pub(super) fn without_old_key(&self, outline: &Outline, bytes: &[u8]) -> Option<Vec<u8>> {
        if outline.lsn < self.bound { without_key(bytes) } else { None }
    }

    /// True if a later record says what is left of these salts.
    fn is_old(&self, lsn: Lsn, bytes: &bytes::Bytes) -> Result<bool> {
        let Payload::Salts(salts) = decode_record(bytes)?.payload else { return Ok(false) };
        let row = salt_row(self.store, &salts)?;
        Ok(row.is_some_and(|row| row.lsn > lsn && row.lsn <= self.sealed))
    }

    fn is_erased(&self, room: RoomId, seq: Seq) -> Result<bool> {
        let row = self.store.get(Family::State, &keys::amended(room, seq))?;
        let row = row.map(|row| decode_row::<AmendRow>(&row, "amend row")).transpose()?;
        Ok(row.is_some_and(|row| row.is_erased() && row.changed <= self.sealed))
    }

    /// True if nothing is left of a run that retention will take.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    pub(super) fn settles(&mut self, run: &Run) -> Result<bool> {
        if run.is_dropped() || !is_of_entries(run) {
            return Ok(true);
        }
        let floor = self.past(run.room)?.floor;
        let gone = !run.has_entries() || run.last_seq <= floor;
        Ok(gone && run.amended_to <= floor && run.last_lsn < self.bound)
    }

    /// About how many bytes of a run would be dropped, as its index tells; not zero if any would.
    fn dead_bytes(&self, run: &Run, floor: Seq) -> u64 {
        if !is_of_entries(run) || run.last_lsn >= self.bound {
            return 0;
        }
        let entries = run.has_entries() && run.seq_base < floor;
        let amendments = run.amended_to > Seq::ZERO && run.amended_from <= floor;
        let whole = (!run.has_entries() || run.last_seq <= floor) && run.amended_to <= floor;
        let dead = |index: &usize| {
            whole || block_has_entries(run, *index) && run.block_last_seq(*index) <= floor
        };
        let blocks = (0..run.blocks.len()).filter(dead).filter_map(|index| run.blocks.get(index));
        let bytes: u64 = blocks.map(|block| u64::from(block.share)).sum();
        bytes.max(u64::from(entries || amendments))
    }

    /// The bytes of each pack that would be dropped from it; packs without any are left out.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    pub(super) fn dead(&mut self) -> Result<BTreeMap<u64, u64>> {
        let store = self.store;
        let mut rooms = Vec::new();
        walk_prefix(store, Family::State, keys::PASTS, &mut |key, value| {
            let past: PastRow = decode_row(value, "past row")?;
            if past.floor > Seq::ZERO {
                rooms.push(RoomId(keys::number_at(key, 1)));
            }
            Ok(Go::On)
        })?;
        let mut dead: BTreeMap<u64, u64> = BTreeMap::new();
        for room in rooms {
            let floor = self.past(room)?.floor;
            if floor == Seq::ZERO {
                continue;
            }
            walk_prefix(store, Family::Index, &keys::runs(room), &mut |_, value| {
                let run: Run = decode_row(value, "run row")?;
                let bytes = self.dead_bytes(&run, floor);
                if bytes > 0 {
                    *dead.entry(run.pack).or_default() += bytes;
                }
                Ok(Go::On)
            })?;
        }
        Ok(dead)
    }
}

/// True if a run holds entries, or changes of entries.
fn is_of_entries(run: &Run) -> bool {
    !run.room.is_system() && (run.has_entries() || run.amended_to > Seq::ZERO)
}
