//! Heads and trees of rooms while records are applied: one row each a batch, however many records
//! it has.
//!
//! Nobody but the applier writes these rows, so what it wrote last is remembered and not read
//! again: a busy room would cost two look-ups of the catalog for each record. INVARIANT: what is
//! remembered is what the newest batch wrote, or is about to be written.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::catalog::keys;
use crate::catalog::rows::HeadRow;
use crate::format::wire::to_bytes;
use crate::proof::Tree;
use crate::types::RoomId;

/// Rooms that are remembered behind the batch that wrote them: some hundred bytes each.
const KNOWN_ROOMS: usize = 16 * 1024;

/// What is known of a room.
#[derive(Debug, Default)]
struct Known {
    head: Option<HeadRow>,
    tree: Option<Tree>,
    /// They differ from what is written.
    changed: (bool, bool),
}

/// Heads and trees that changed, and those that were written last.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    known: HashMap<RoomId, Known, RandomState>,
    /// Rooms of which something is to be written, each once.
    changed: Vec<RoomId>,
}

impl Rooms {
    fn change(&mut self, room: RoomId) -> &mut Known {
        let known = self.known.entry(room).or_default();
        if known.changed == (false, false) {
            self.changed.push(room);
        }
        known
    }

    /// A room's head, unless only the catalog knows it.
    pub(super) fn head(&self, room: RoomId) -> Option<HeadRow> {
        self.known.get(&room)?.head.clone()
    }

    pub(super) fn set_head(&mut self, room: RoomId, head: HeadRow) {
        let known = self.change(room);
        (known.head, known.changed.0) = (Some(head), true);
    }

    /// A room's tree, unless only the catalog knows it; it is given back by [`Self::set_tree`].
    pub(super) fn take_tree(&mut self, room: RoomId) -> Option<Tree> {
        self.known.get_mut(&room)?.tree.take()
    }

    pub(super) fn set_tree(&mut self, room: RoomId, tree: Tree) {
        let known = self.change(room);
        (known.tree, known.changed.1) = (Some(tree), true);
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
            let Some(known) = self.known.get_mut(&room) else { continue };
            let (head, tree) = std::mem::take(&mut known.changed);
            if let Some(row) = known.head.as_ref().filter(|_| head) {
                put(keys::head(room), to_bytes(row));
            }
            if let Some(row) = known.tree.as_ref().filter(|_| tree) {
                put(keys::tree(room), to_bytes(row));
            }
        }
        if self.known.len() > KNOWN_ROOMS {
            // All at once: which rooms are busy is soon seen again.
            self.known.clear();
        }
    }
}
