//! What was applied, written to the catalog at once.
//!
//! INVARIANT: rows and the position they are of go in one batch.

use super::{Applier, BATCH_ROWS};
use crate::catalog::{Change, Family, keys};
use crate::directory::known::is_kept;
use crate::error::Result;
use crate::format::wire::to_bytes;
use crate::limits;
use crate::remembered::kept_on_disk;
use crate::types::Lsn;

impl Applier {
    /// Writes what was applied since the last call, at once; idempotency keys once they are enough
    /// for a run.
    ///
    /// # Errors
    /// `Io` or `NoSpace`: the catalog must not be used any more.
    pub fn commit(&mut self) -> Result<Lsn> {
        self.commit_with(self.gathered.len() >= limits::KEY_RUN_KEYS)
    }

    /// The same, idempotency keys included: behind a flush the log up to here is not needed. Not
    /// before a start has read again what there is to read.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub fn commit_all(&mut self) -> Result<Lsn> {
        self.gathered_to = None;
        self.commit_with(true)
    }

    fn commit_with(&mut self, with_keys: bool) -> Result<Lsn> {
        self.remove_spans()?;
        let put = |key, value| Change { family: Family::State, key, value };
        let mut changes: Vec<Change> = std::mem::take(&mut self.changes)
            .into_iter()
            .map(|((family, key), value)| Change { family, key, value })
            .collect();
        if let Some(written) = &mut self.written {
            let kept = |change: &&Change| change.family == Family::State && is_kept(&change.key);
            written.extend(changes.iter().filter(kept).map(|change| change.key.clone()));
        }
        self.written.take_if(|written| written.len() > BATCH_ROWS);
        self.rooms.write(&mut |key, row| changes.push(put(key, Some(row))));
        let kept = self.gathered_to.unwrap_or(self.applied.lsn);
        let mut runs = Vec::new();
        if with_keys {
            runs = self.gathered.runs(&mut |key, row| changes.push(put(key, Some(row))));
            if kept_on_disk(&*self.store)? != Some(kept) {
                changes.push(put(keys::KEYS_KEPT.to_vec(), Some(to_bytes(&kept))));
            }
        }
        if !changes.is_empty() {
            changes.push(put(keys::APPLIED.to_vec(), Some(to_bytes(&self.applied))));
            self.store.write(&changes)?;
        }
        if self.gathered.len() == 0 {
            self.remembered.take(runs, kept);
        }
        Ok(self.applied.lsn)
    }

    /// As `commit`, once a batch's worth of rows is pending or a run of keys: a long replay stays
    /// within memory.
    ///
    /// # Errors
    /// As `commit`.
    pub fn commit_if_full(&mut self) -> Result<()> {
        let rows = self.changes.len() + self.rooms.pending();
        if rows >= BATCH_ROWS || self.gathered.len() >= limits::KEY_RUN_KEYS {
            self.commit()?;
        }
        Ok(())
    }
}
