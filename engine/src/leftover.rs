//! Pack files that the manifest does not name: what a seal or a merge leaves that was cut off.
//!
//! A start removes those of which every record stands elsewhere, the same but for an idempotency
//! key that nobody remembers, or was dropped. Any other is left alone, and named in the log: it
//! may be history that somebody wants back.
//!
//! INVARIANT: no bytes are removed that were not found a second time, in a pack that the manifest
//! names or in a journal that is whole, but for those that a named pack says were dropped.

use std::collections::BTreeMap;

use crate::apply::decode_row;
use crate::catalog::{CatalogStore, Family, Go, keys, walk_prefix};
use crate::error::Result;
use crate::format::pack::{PackMeta, pack_number};
use crate::format::record::without_key;
use crate::format::run::Run;
use crate::pack::{self, PackFile, Packs};
use crate::storage::{Disk, join};
use crate::types::{Lsn, Rev, RoomId};

/// What a start knows of the records of a directory.
pub(crate) struct Known<'a> {
    pub store: &'a dyn CatalogStore,
    /// Readers of their own: what is removed leaves nothing behind in those of the engine.
    pub packs: Packs,
    /// The packs that the manifest names. Their rows are written.
    pub named: &'a BTreeMap<u64, PackMeta>,
    pub sealed: Lsn,
    /// The journal's last record, if it has every one behind `sealed`.
    pub journal: Option<Lsn>,
}

/// Removes the packs of which every record stands elsewhere.
///
/// # Errors
/// `Io`, or `Corrupt` of the catalog.
pub(crate) fn remove(disk: &Disk, known: &Known<'_>) -> Result<()> {
    for name in disk.list(pack::DIR)? {
        let Some(id) = pack_number(&name).filter(|id| !known.named.contains_key(id)) else {
            continue;
        };
        let path = join(pack::DIR, &name);
        let index = PackFile::open(disk, id).and_then(|pack| pack.index());
        let elsewhere = match &index {
            Ok(index) => known.has_all(&index.runs)?,
            Err(_) => false,
        };
        known.packs.forget(id);
        if elsewhere {
            tracing::info!(path, "pack whose records stand elsewhere is removed");
            disk.remove_if_there(&path)?;
        } else {
            tracing::warn!(path, "pack that the manifest does not name is left alone");
        }
    }
    Ok(())
}

/// True if two records are the same, but that a merge took an old key from one of them.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let is = |one: &[u8], other: &[u8]| without_key(one).is_some_and(|bare| bare == other);
    one == other || is(one, other) || is(other, one)
}

impl Known<'_> {
    fn has_all(&self, runs: &[Run]) -> Result<bool> {
        let first = runs.iter().map(|run| run.first_lsn).min().unwrap_or(Lsn::ZERO);
        let last = runs.iter().map(|run| run.last_lsn).max().unwrap_or(Lsn::ZERO);
        if first > self.sealed && self.journal.is_some_and(|end| last <= end) {
            return Ok(true);
        }
        for run in runs {
            let rows = self.rows_of(run.room)?;
            if !self.has(run, &rows) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The runs of a room in packs that are named, in order of rev.
    fn rows_of(&self, room: RoomId) -> Result<Vec<Run>> {
        let mut rows = Vec::new();
        walk_prefix(self.store, Family::Index, &keys::runs(room), &mut |_, value| {
            let row: Run = decode_row(value, "run row")?;
            rows.extend(self.named.contains_key(&row.pack).then_some(row));
            Ok(Go::On)
        })?;
        Ok(rows)
    }

    /// True if every record of a run can be read, here and there, and is the same.
    fn has(&self, run: &Run, rows: &[Run]) -> bool {
        run.blocks.iter().all(|fence| {
            let Ok(own) = self.packs.whole(run, fence) else { return false };
            (0..own.len()).zip(fence.first_rev.0..).all(|(at, rev)| {
                let rev = Rev(rev);
                let row = rows.iter().find(|row| row.first_rev <= rev && rev <= row.last_rev);
                let Some(row) = row else { return false };
                if row.is_dropped() {
                    return true;
                }
                let (there, own) = (self.record(row, rev), own.record(at));
                there.zip(own).is_some_and(|(there, own)| is_same(&there, &own))
            })
        })
    }

    /// The record of this rev, which the run has; none if it cannot be read.
    fn record(&self, row: &Run, rev: Rev) -> Option<Vec<u8>> {
        let at = row.blocks.partition_point(|fence| fence.first_rev <= rev).checked_sub(1)?;
        let fence = row.blocks.get(at)?;
        let block = self.packs.block(row, fence).ok()?;
        block.record(usize::try_from(rev.0 - fence.first_rev.0).ok()?)
    }
}
