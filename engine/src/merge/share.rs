//! Shares of rooms: what a merge of more runs than memory is to hold does one after another.
//!
//! A room belongs to one share by its number alone, so shares are of about the same size and a
//! cut-off merge needs no note of them. Each reads the run indexes of all packs again.
//!
//! INVARIANT: every room is in one share of a merge, with all its runs.

use crate::error::Result;
use crate::format::pack::{PackMeta, Places};
use crate::format::run::Run;
use crate::pack::Packs;
use crate::types::RoomId;

/// Some of the rooms of a merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    at: u64,
    of: u64,
}

impl Share {
    /// The only one.
    pub(super) const ALL: Self = Self { at: 0, of: 1 };

    /// The shares of packs, of about so many runs each.
    pub(super) fn of(packs: &[PackMeta], runs_max: u64) -> impl Iterator<Item = Self> {
        let runs: u64 = packs.iter().map(|meta| meta.runs).sum();
        let of = runs.div_ceil(runs_max.max(1)).max(1);
        (0..of).map(move |at| Self { at, of })
    }

    pub(super) const fn is_first(self) -> bool {
        self.at == 0
    }

    /// About how much of all is of this share.
    pub(super) const fn part_of(self, all: u64) -> u64 {
        all / self.of
    }

    /// True if a room is of this share.
    pub(super) const fn has(self, room: RoomId) -> bool {
        room.0 % self.of == self.at
    }

    /// Visits the runs that a pack has of this share: they count only if it returns well. What all
    /// of the pack says was dropped.
    ///
    /// # Errors
    /// `Io`, or `Corrupt` naming file and offset.
    pub(super) fn visit(
        self,
        packs: &Packs,
        meta: &PackMeta,
        visit: &mut dyn FnMut(Run),
    ) -> Result<Places> {
        packs.visit_index(meta, &mut |run| {
            if self.has(run.room) {
                visit(run);
            }
        })
    }
}
