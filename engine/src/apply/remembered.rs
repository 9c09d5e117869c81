//! Clients' idempotency keys: remembered with their records, removed once their window has passed.
//!
//! A key has a row by its name and one by its age. INVARIANT: which keys go, and when, follows from
//! the log alone, so that every copy of the catalog has the same rows.

use super::{Applier, decode_row};
use crate::catalog::rows::KeyRow;
use crate::catalog::{Family, keys};
use crate::error::Result;
use crate::format::record::Record;
use crate::limits;
use crate::sequence::key_row;
use crate::types::{Lsn, TimeUs};

/// How often expired idempotency keys are removed, in records: by position, so that every copy does
/// it at the same place.
pub(super) const PRUNE_EVERY: u64 = 1024;
/// Expired keys removed at once.
const PRUNE_MAX: usize = 4096;
impl Applier {
    pub(super) fn remember_key(&mut self, record: &Record, client_key: &[u8], digest: [u8; 16]) {
        let key = keys::idempotency(record.actor.id, record.room, client_key);
        let age = keys::idempotency_age(record.recorded, record.lsn);
        if age < self.pruned {
            self.pruned.clone_from(&age);
        }
        self.put(Family::State, age, key.clone());
        self.set(key, &key_row(record, digest));
    }

    /// Removes keys whose window has passed, oldest first.
    pub(super) fn prune_keys(&mut self, recorded: TimeUs) -> Result<()> {
        let limit = recorded.saturating_add_us(-limits::IDEMPOTENCY_WINDOW_US);
        let end = keys::idempotency_age(limit, Lsn::ZERO);
        if end <= self.pruned {
            return Ok(());
        }
        let old = self.rows_between(&self.pruned, &end, PRUNE_MAX)?;
        let next = if old.len() < PRUNE_MAX { Some(&end) } else { old.keys().next_back() };
        if let Some(next) = next.filter(|next| **next > self.pruned) {
            self.pruned.clone_from(next);
        }
        let mut gone: Vec<Vec<u8>> = Vec::with_capacity(old.len());
        for (age, key) in old {
            self.remove(age);
            gone.push(key);
        }
        gone.sort_unstable();
        gone.dedup();
        let names: Vec<&[u8]> = gone.iter().map(Vec::as_slice).collect();
        let rows = self.store.get_many(Family::State, &names)?;
        for (key, row) in gone.into_iter().zip(rows) {
            let row = match self.changes.get(&(Family::State, key.clone())) {
                Some(pending) => pending.clone(),
                None => row,
            };
            let row: Option<KeyRow> = row.map(|row| decode_row(&row, "key row")).transpose()?;
            // A key used again has a younger row under the same name.
            if row.is_some_and(|row| row.recorded < limit) {
                self.remove(key);
            }
        }
        Ok(())
    }
}
