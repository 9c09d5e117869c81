//! Heads and trees of rooms while records are applied: one row each a batch, however many records
//! it has.
//!
//! Nobody but the applier writes these rows, so what it wrote last is remembered and not read
//! again: a busy room would cost two look-ups of the catalog for each record. INVARIANT: what is
//! remembered is what the newest batch wrote.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;

use crate::catalog::keys;
use crate::catalog::rows::HeadRow;
use crate::format::wire::to_bytes;
use crate::proof::Tree;
use crate::types::RoomId;

/// Rooms that are remembered behind the batch that wrote them: some hundred bytes each.
const KNOWN_ROOMS: usize = 16 * 1024;

/// Heads and trees that changed, and those that were written last.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    heads: BTreeMap<RoomId, HeadRow>,
    trees: BTreeMap<RoomId, Tree>,
    known_heads: HashMap<RoomId, HeadRow, RandomState>,
    known_trees: HashMap<RoomId, Tree, RandomState>,
}

impl Rooms {
    /// A room's head, unless only the catalog knows it.
    pub(super) fn head(&self, room: RoomId) -> Option<HeadRow> {
        self.heads.get(&room).or_else(|| self.known_heads.get(&room)).cloned()
    }

    pub(super) fn set_head(&mut self, room: RoomId, head: HeadRow) {
        self.heads.insert(room, head);
    }

    /// A room's tree, unless only the catalog knows it; it is given back by [`Self::set_tree`].
    pub(super) fn take_tree(&mut self, room: RoomId) -> Option<Tree> {
        self.trees.remove(&room).or_else(|| self.known_trees.remove(&room))
    }

    pub(super) fn set_tree(&mut self, room: RoomId, tree: Tree) {
        self.trees.insert(room, tree);
    }

    /// Rows that are to be written.
    pub(super) fn pending(&self) -> usize {
        self.heads.len() + self.trees.len()
    }

    /// The rows that are to be written, which are remembered from now on.
    pub(super) fn write(&mut self, put: &mut dyn FnMut(Vec<u8>, Vec<u8>)) {
        // All at once: which rooms are busy is soon seen again.
        if self.known_heads.len() + self.heads.len() > KNOWN_ROOMS {
            self.known_heads.clear();
        }
        if self.known_trees.len() + self.trees.len() > KNOWN_ROOMS {
            self.known_trees.clear();
        }
        for (room, head) in std::mem::take(&mut self.heads) {
            put(keys::head(room), to_bytes(&head));
            self.known_heads.insert(room, head);
        }
        for (room, tree) in std::mem::take(&mut self.trees) {
            put(keys::tree(room), to_bytes(&tree));
            self.known_trees.insert(room, tree);
        }
    }
}
