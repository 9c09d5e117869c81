//! Heads and trees of rooms while records are applied: one row each a batch, however many records
//! it has.
//!
//! Nobody but the applier writes these rows, so what it wrote last is remembered and not read
//! again: a busy room would cost two look-ups of the catalog for each record. What is not known of
//! a batch's rooms is read at once before it is applied. INVARIANT: what is remembered is what the
//! catalog has, or is about to be written.

use crate::catalog::rows::HeadRow;
use crate::catalog::{CatalogStore, Family, keys};
use crate::error::Result;
use crate::format::wire::to_bytes;
use crate::proof::Tree;
use crate::recent::Recent;
use crate::types::RoomId;

use super::decode_row;

/// Rooms that are remembered behind the batch that wrote them: some hundred bytes each.
const KNOWN_ROOMS: usize = 64 * 1024;

/// What is known of a room.
#[derive(Debug, Default)]
struct Known {
    head: Option<HeadRow>,
    tree: Option<Tree>,
    /// They differ from what is written.
    changed: (bool, bool),
}

/// Heads and trees that changed, and those that were written last.
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

impl Rooms {
    fn change(&mut self, room: RoomId) -> &mut Known {
        let known = self.known.get_or_new(room);
        if known.changed == (false, false) {
            self.changed.push(room);
        }
        known
    }

    /// A room's head, unless only the catalog knows it.
    pub(super) fn head(&self, room: RoomId) -> Option<HeadRow> {
        self.known.peek(room)?.head.clone()
    }

    pub(super) fn set_head(&mut self, room: RoomId, head: HeadRow) {
        let known = self.change(room);
        (known.head, known.changed.0) = (Some(head), true);
    }

    /// A room's tree, unless only the catalog knows it; it is given back by [`Self::set_tree`].
    pub(super) fn take_tree(&mut self, room: RoomId) -> Option<Tree> {
        self.known.get(room)?.tree.take()
    }

    pub(super) fn set_tree(&mut self, room: RoomId, tree: Tree) {
        let known = self.change(room);
        (known.tree, known.changed.1) = (Some(tree), true);
    }

    /// A room is made: there are no rows of it yet.
    pub(super) fn begin(&mut self, room: RoomId) {
        if self.known.peek(room).is_none() {
            let (head, tree) = (Some(HeadRow::EMPTY), Some(Tree::default()));
            self.known.insert(room, Known { head, tree, changed: (false, false) });
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
        let read = |key: fn(RoomId) -> Vec<u8>| {
            let keys: Vec<Vec<u8>> = rooms.iter().map(|room| key(*room)).collect();
            store.get_many(Family::State, &keys)
        };
        let rows = read(keys::head)?.into_iter().zip(read(keys::tree)?);
        for (room, (head, tree)) in rooms.into_iter().zip(rows) {
            let head = head.map_or(Ok(HeadRow::EMPTY), |row| decode_row(&row, "head row"))?;
            let tree = tree.map_or(Ok(Tree::default()), |row| decode_row(&row, "tree row"))?;
            let changed = (false, false);
            self.known.insert(room, Known { head: Some(head), tree: Some(tree), changed });
        }
        Ok(())
    }

    /// Rows that are to be written, at most.
    pub(super) const fn pending(&self) -> usize {
        self.changed.len() * 2
    }

    /// The rows that are to be written, in the order of their rooms, which are remembered from now
    /// on.
    pub(super) fn write(&mut self, put: &mut dyn FnMut(Vec<u8>, Vec<u8>)) {
        self.changed.sort_unstable();
        for room in self.changed.drain(..) {
            let Some(known) = self.known.get(room) else { continue };
            let (head, tree) = std::mem::take(&mut known.changed);
            if let Some(row) = known.head.as_ref().filter(|_| head) {
                put(keys::head(room), to_bytes(row));
            }
            if let Some(row) = known.tree.as_ref().filter(|_| tree) {
                put(keys::tree(room), to_bytes(row));
            }
        }
        self.known.turn();
    }
}
