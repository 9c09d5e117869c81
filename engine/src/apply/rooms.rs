//! Heads and trees of rooms while records are applied: one row a batch, however many records a room
//! has in it.
//!
//! Nobody but the applier writes these rows, so what it wrote last is remembered and not read
//! again: a busy room would cost a look-up of the catalog for each record. What is not known of
//! a batch's rooms is read at once before it is applied. INVARIANT: what is remembered is what the
//! catalog has, or is about to be written.

use crate::catalog::rows::TipRow;
use crate::catalog::{CatalogStore, Family, keys};
use crate::error::Result;
use crate::format::payload::Payload;
use crate::format::record::Record;
use crate::format::wire::to_bytes;
use crate::recent::Recent;
use crate::types::RoomId;

use super::{Applier, decode_row};

/// Rooms that are remembered behind the batch that wrote them: some hundred bytes each.
const KNOWN_ROOMS: usize = 64 * 1024;

/// What is known of a room.
#[derive(Debug)]
struct Known {
    tip: TipRow,
    /// It differs from what is written.
    changed: bool,
}

impl Default for Known {
    fn default() -> Self {
        Self { tip: TipRow::empty(), changed: false }
    }
}

/// Tips that changed, and those that were written last.
#[derive(Debug)]
pub(super) struct Rooms {
    known: Recent<RoomId, Known>,
    /// Rooms of which something is to be written, each once.
    changed: Vec<RoomId>,
}

impl Default for Rooms {
    fn default() -> Self {
        Self { known: Recent::of(KNOWN_ROOMS), changed: Vec::new() }
    }
}

fn decode(row: Option<impl AsRef<[u8]>>) -> Result<Known> {
    let tip = row.map_or(Ok(TipRow::empty()), |row| decode_row(row.as_ref(), "tip row"))?;
    Ok(Known { tip, changed: false })
}

impl Applier {
    /// Reads at once what applying these records will ask for one after the other.
    ///
    /// # Errors
    /// `Io` or `Corrupt` from earlier rows.
    pub(crate) fn read_ahead<'r>(
        &mut self,
        records: impl Iterator<Item = &'r Record>,
    ) -> Result<()> {
        let mut rooms = Vec::new();
        for record in records.filter(|record| record.lsn > self.applied.lsn) {
            match record.payload {
                Payload::RoomCreated(_) => self.rooms.begin(record.room),
                _ => rooms.push(record.room),
            }
        }
        self.read_rooms_ahead(rooms)
    }

    /// Reads at once what applying records of these rooms will ask for.
    ///
    /// # Errors
    /// `Io` or `Corrupt` from earlier rows.
    pub(crate) fn read_rooms_ahead(&mut self, rooms: Vec<RoomId>) -> Result<()> {
        self.rooms.read_ahead(rooms, &*self.store)
    }
}

impl Rooms {
    /// A room's tip, unless only the catalog knows it.
    pub(super) fn peek(&self, room: RoomId) -> Option<&TipRow> {
        Some(&self.known.peek(room)?.tip)
    }

    /// A room's tip, which is written with the next batch.
    ///
    /// # Errors
    /// `Io` or `Corrupt` where it is read.
    pub(super) fn change(&mut self, room: RoomId, store: &dyn CatalogStore) -> Result<&mut TipRow> {
        if self.known.peek(room).is_none() {
            self.known.insert(room, decode(store.get(Family::State, &keys::tip(room))?)?);
        }
        let known = self.known.get_or_new(room);
        if !known.changed {
            known.changed = true;
            self.changed.push(room);
        }
        Ok(&mut known.tip)
    }

    /// A room is made: there is no row of it yet.
    pub(super) fn begin(&mut self, room: RoomId) {
        if self.known.peek(room).is_none() {
            self.known.insert(room, Known::default());
        }
    }

    /// Reads what is not known of these rooms: their rows at once, where one by one each would be
    /// looked for in every table.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    pub(super) fn read_ahead(
        &mut self,
        mut rooms: Vec<RoomId>,
        store: &dyn CatalogStore,
    ) -> Result<()> {
        rooms.retain(|room| self.known.peek(*room).is_none());
        rooms.sort_unstable();
        rooms.dedup();
        let keys: Vec<Vec<u8>> = rooms.iter().map(|room| keys::tip(*room)).collect();
        for (room, row) in rooms.into_iter().zip(store.get_many(Family::State, &keys)?) {
            self.known.insert(room, decode(row)?);
        }
        Ok(())
    }

    /// Rows that are to be written.
    pub(super) const fn pending(&self) -> usize {
        self.changed.len()
    }

    /// The rows that are to be written, in the order of their rooms, which are remembered from now
    /// on.
    pub(super) fn write(&mut self, put: &mut dyn FnMut(Vec<u8>, Vec<u8>)) {
        self.changed.sort_unstable();
        for room in self.changed.drain(..) {
            let Some(known) = self.known.get(room) else { continue };
            known.changed = false;
            put(keys::tip(room), to_bytes(&known.tip));
        }
        self.known.turn();
    }
}
