//! Clients' idempotency keys, as records are applied: gathered, written as runs, and gone once
//! their window has passed.
//!
//! Keys are gathered in memory until there are enough of them for a run, or somebody wants
//! everything in the catalog (a flush behind which the journal is trimmed, a copy, the end). What
//! is gathered is lost with the process: a start reads the journal from where every key stands in
//! a run (`kept_on_disk`), and of records that the catalog had applied takes the keys alone. A span
//! of time has a row that says where in the log its keys begin, and goes whole, by the removal of a
//! range, so that a key costs nothing when it goes.
//!
//! INVARIANT: which spans go, and when, follows from the log alone, so that every copy of the
//! catalog remembers the same keys.

use std::collections::BTreeSet;

use super::{Applier, decode_row};
use crate::catalog::keys::{KeyName, KeySpan};
use crate::catalog::rows::{KeyEntry, KeyPage, KeyRow};
use crate::catalog::{CatalogStore, Family, Go, keys, walk_prefix};
use crate::error::Result;
use crate::format::payload::{ErasedRecord, Payload};
use crate::format::record::{Idempotency, Record};
use crate::format::wire::to_bytes;
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
        // An earlier build that was here meanwhile lets the one go and leaves the other.
        walk_prefix(store, Family::State, keys::KEY_FILTERS, &mut |key, _| {
            known.insert(keys::span_at(key));
            Ok(Go::On)
        })?;
        Ok(Self { known, gone: Vec::new() })
    }
}

impl Applier {
    pub(super) fn remember_key(
        &mut self,
        record: &Record,
        idempotency: &Idempotency,
        name: Option<KeyName>,
    ) {
        let span = KeySpan::of(record.recorded);
        if self.spans.known.insert(span) {
            self.set(keys::first_key(span), &record.lsn);
        }
        let of = || KeyName::new(record.actor.id, record.room, &idempotency.key);
        let name = name.unwrap_or_else(of);
        self.gathered.add(span, name, KeyRow::of(record, &idempotency.digest));
    }

    /// Takes the keys, and only them, of a record that the catalog had applied before a start.
    pub(super) fn remember_again(&mut self, record: &Record) -> Result<()> {
        match &mut self.gathered_to {
            Some(to) if *to < record.lsn => *to = record.lsn,
            _ => return Ok(()),
        }
        let recorded = self.applied.recorded;
        if let Payload::Erased(erased) = &record.payload {
            for gone in &erased.records {
                self.forget_key(record.room, gone, recorded)?;
            }
        }
        match &record.idempotency {
            Some(key) if KeySpan::of(record.recorded) >= KeySpan::oldest(recorded) => {
                self.remember_key(record, key, None);
            }
            _ => {}
        }
        Ok(())
    }

    /// Removes the spans of which no key is within its window any more.
    pub(super) fn drop_old_keys(&mut self, recorded: TimeUs) {
        let oldest = KeySpan::oldest(recorded);
        while let Some(span) = self.spans.known.first().copied().filter(|span| *span < oldest) {
            self.spans.known.remove(&span);
            self.remove(keys::first_key(span));
            for from in keys::key_span(span) {
                let to = keys::after_prefix(&from);
                let range = (Family::State, from)..(Family::State, to);
                let pending: Vec<_> =
                    self.changes.range(range).map(|(key, _)| key.clone()).collect();
                for key in pending {
                    self.changes.remove(&key);
                }
            }
            self.gathered.forget_span(span);
            self.spans.gone.push(span);
        }
    }

    /// Removes the rows of spans that went. They are of no use to anyone already, so it matters
    /// not whether a crash keeps them and lets this be done again.
    pub(super) fn remove_spans(&mut self) -> Result<()> {
        for span in std::mem::take(&mut self.spans.gone) {
            self.remembered.forget(span);
            for from in keys::key_span(span) {
                self.store.remove_range(Family::State, &from, &keys::after_prefix(&from))?;
            }
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
        let name = KeyName::new(gone.actor, room, gone.key.as_bytes());
        self.gathered.forget(span, name, gone.lsn);
        for run in self.remembered.maybe(&name).iter().filter(|run| run.is_of(span)) {
            let Some((key, page)) = self.remembered.page(run, &name)? else { continue };
            // It may have been changed in this batch already.
            let pending = self.changes.get(&(Family::State, key.clone())).and_then(Option::as_ref);
            let page = pending.map_or(Ok(page), |page| decode_row(page, "key page"))?;
            let before = page.keys.len();
            // One used again after an erasure has a younger row under the same name.
            let stays = |e: &KeyEntry| e.name != name.0 || e.row.lsn > gone.lsn;
            let left: Vec<KeyEntry> = page.keys.into_iter().filter(stays).collect();
            if left.len() < before {
                self.put(Family::State, key, to_bytes(&KeyPage { keys: left }));
            }
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
