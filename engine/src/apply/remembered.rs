//! Clients' idempotency keys: remembered with their records, removed once their window has passed.
//!
//! A key has one row, of few bytes, under the twelve hours in which it was recorded; each such span
//! has a row that says where in the log its keys begin. Spans go whole, by one removal of a range,
//! so that a key costs nothing when it goes, however many there are.
//!
//! INVARIANT: which spans go, and when, follows from the log alone, so that every copy of the
//! catalog has the same rows.

use std::collections::BTreeSet;

use super::{Applier, decode_row};
use crate::catalog::keys::{KeyName, KeySpan};
use crate::catalog::rows::KeyRow;
use crate::catalog::{CatalogStore, Family, Go, keys, walk_prefix};
use crate::error::Result;
use crate::format::payload::ErasedRecord;
use crate::format::record::Record;
use crate::types::{Lsn, RoomId, TimeUs};

/// Spans that hold keys.
#[derive(Debug, Default)]
pub(super) struct Spans {
    /// Those with a row, written or pending.
    known: BTreeSet<KeySpan>,
    /// Those that go with the next batch.
    gone: Vec<KeySpan>,
}

impl Spans {
    /// Those of a catalog.
    pub(super) fn read(store: &dyn CatalogStore) -> Result<Self> {
        let mut known = BTreeSet::new();
        walk_prefix(store, Family::State, keys::FIRST_KEYS, &mut |key, _| {
            known.insert(keys::span_at(key));
            Ok(Go::On)
        })?;
        Ok(Self { known, gone: Vec::new() })
    }
}

impl Applier {
    pub(super) fn remember_key(&mut self, record: &Record, client_key: &[u8], digest: &[u8; 16]) {
        let span = KeySpan::of(record.recorded);
        if self.spans.known.insert(span) {
            self.set(keys::first_key(span), &record.lsn);
        }
        let name = KeyName::new(record.actor.id, record.room, client_key);
        self.set(keys::idempotency(span, &name), &KeyRow::of(record, digest));
    }

    /// Removes the spans of which no key is within its window any more.
    pub(super) fn drop_old_keys(&mut self, recorded: TimeUs) {
        let oldest = KeySpan::oldest(recorded);
        while let Some(span) = self.spans.known.first().copied().filter(|span| *span < oldest) {
            self.spans.known.remove(&span);
            self.remove(keys::first_key(span));
            let from = (Family::State, keys::idempotency_span(span));
            let to = (Family::State, keys::idempotency_span(span.next()));
            let pending: Vec<_> =
                self.changes.range(from..to).map(|(key, _)| key.clone()).collect();
            for key in pending {
                self.changes.remove(&key);
            }
            self.spans.gone.push(span);
        }
    }

    /// Removes the rows of spans that went. They are of no use to anyone already, so it matters
    /// not whether a crash keeps them and lets this be done again.
    pub(super) fn remove_spans(&mut self) -> Result<()> {
        for span in std::mem::take(&mut self.spans.gone) {
            let (from, to) = (keys::idempotency_span(span), keys::idempotency_span(span.next()));
            self.store.remove_range(Family::State, &from, &to)?;
        }
        Ok(())
    }

    /// Forgets the key of a record that was erased, and keeps where the keys of its span begin: the
    /// record may not be there when the log is read again.
    pub(super) fn forget_key(
        &mut self,
        room: RoomId,
        gone: &ErasedRecord,
        recorded: TimeUs,
    ) -> Result<()> {
        let span = KeySpan::of(gone.recorded);
        if gone.key.is_empty() || span < KeySpan::oldest(recorded) {
            return Ok(());
        }
        let begins = keys::first_key(span);
        if self.get::<Lsn>(&begins, "first key")?.is_none_or(|first| gone.lsn < first) {
            self.spans.known.insert(span);
            self.set(begins, &gone.lsn);
        }
        let key = keys::idempotency(span, &KeyName::new(gone.actor, room, gone.key.as_bytes()));
        let row: Option<KeyRow> = self.get(&key, "key row")?;
        // One used again after an erasure has a younger row under the same name.
        if row.is_some_and(|row| row.lsn <= gone.lsn) {
            self.remove(key);
        }
        Ok(())
    }
}

/// Where in the log the first key is that is remembered; the end of all places if none is.
///
/// # Errors
/// `Io` or `Corrupt`.
pub(crate) fn first_key(store: &dyn CatalogStore) -> Result<Lsn> {
    let mut first = Lsn(u64::MAX);
    walk_prefix(store, Family::State, keys::FIRST_KEYS, &mut |_, value| {
        first = first.min(decode_row(value, "first key")?);
        Ok(Go::On)
    })?;
    Ok(first)
}
