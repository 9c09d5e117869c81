//! Rows of idempotency keys as the first builds of format 1 wrote them, and their taking over.
//!
//! They were two for a key: `x`, by its name, and `y`, by its age. A start turns what is left of
//! them into what this build writes, so that a key that was given before an upgrade answers behind
//! it. Nothing else reads or writes them.
//!
//! INVARIANT: the rows of today are durable before those that they replace go.

use std::collections::BTreeMap;

use super::{applied_row, decode_row};
use crate::catalog::keys::{KeyName, KeySpan, after_prefix, first_key, idempotency, number_at};
use crate::catalog::rows::KeyRow;
use crate::catalog::{CatalogStore, Change, Family, Go, Walk};
use crate::error::Result;
use crate::format::wire::{to_bytes, wire_struct};
use crate::types::{Epoch, Lsn, PrincipalId, Rev, RoomId, Seq, TimeUs};

const KEYS: &[u8] = b"x";
const AGES: &[u8] = b"y";
/// Where the client's key begins in a row's key, behind letter, principal and room.
const CLIENT_KEY_AT: usize = 17;
/// Rows turned at once.
const CHUNK: usize = 4096;

wire_struct! {
    /// The first result under a key.
    pub struct OldKeyRow {
        /// The digest of what was sent.
        pub digest: [u8; 16],
        /// The record's place in the log.
        pub lsn: Lsn,
        /// Its room.
        pub room: RoomId,
        /// Its place in the timeline.
        pub seq: Seq,
        /// Its rev.
        pub rev: Rev,
        /// Its time.
        pub time: TimeUs,
        /// When it was recorded.
        pub recorded: TimeUs,
        /// Its epoch.
        pub epoch: Epoch,
    }
}

impl OldKeyRow {
    fn turned(&self) -> KeyRow {
        let Self { lsn, seq, rev, epoch, .. } = *self;
        KeyRow { lsn, seq, rev, epoch, ..KeyRow::at(self.recorded, self.time, &self.digest) }
    }
}

/// Takes over the rows that are left of the first builds; how many keys are still remembered.
///
/// # Errors
/// `Io`, `NoSpace` or `Corrupt`; it begins anew with the next start.
pub(crate) fn take_over(store: &dyn CatalogStore) -> Result<u64> {
    let ends = [KEYS, AGES].map(after_prefix);
    let mut any = false;
    for (from, to) in [KEYS, AGES].into_iter().zip(&ends) {
        store.range(Family::State, from, to, Walk::Up, &mut |_, _| {
            any = true;
            Ok(Go::Stop)
        })?;
    }
    if !any {
        return Ok(0);
    }
    let oldest = KeySpan::oldest(applied_row(store)?.recorded);
    let mut firsts: BTreeMap<KeySpan, Lsn> = BTreeMap::new();
    let (mut next, mut taken) = (KEYS.to_vec(), 0);
    loop {
        let (mut seen, mut changes) = (0, Vec::new());
        store.range(Family::State, &next.clone(), &ends[0], Walk::Up, &mut |key, value| {
            let row: OldKeyRow = decode_row(value, "key row of an earlier build")?;
            let span = KeySpan::of(row.recorded);
            if span >= oldest {
                let client_key = key.get(CLIENT_KEY_AT..).unwrap_or_default();
                let name = KeyName::new(PrincipalId(number_at(key, 1)), row.room, client_key);
                let (key, value) = (idempotency(span, &name), Some(to_bytes(&row.turned())));
                changes.push(Change { family: Family::State, key, value });
                let first = firsts.entry(span).or_insert(row.lsn);
                *first = row.lsn.min(*first);
                taken += 1;
            }
            next = [key, &[0]].concat();
            seen += 1;
            Ok(if seen < CHUNK { Go::On } else { Go::Stop })
        })?;
        store.write(&changes)?;
        if seen < CHUNK {
            break;
        }
    }
    let firsts = firsts.into_iter().map(|(span, lsn)| Change {
        family: Family::State,
        key: first_key(span),
        value: Some(to_bytes(&lsn)),
    });
    store.write(&firsts.collect::<Vec<_>>())?;
    // ORDERING: nothing goes before what stands for it is on the disk.
    store.flush()?;
    for (from, to) in [KEYS, AGES].into_iter().zip(&ends) {
        store.remove_range(Family::State, from, to)?;
    }
    store.flush()?;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::memory::MemoryCatalog;
    use crate::catalog::rows::AppliedRow;
    use crate::catalog::{keys, walk_prefix};

    const HOUR: i64 = 3_600 * 1_000_000;

    fn old(room: u64, lsn: u64, recorded: i64) -> OldKeyRow {
        OldKeyRow {
            digest: [7; 16],
            lsn: Lsn(lsn),
            room: RoomId(room),
            seq: Seq(lsn),
            rev: Rev(lsn + 1),
            time: TimeUs(recorded - HOUR),
            recorded: TimeUs(recorded),
            epoch: Epoch(3),
        }
    }

    fn put(key: Vec<u8>, value: Vec<u8>) -> Change {
        Change { family: Family::State, key, value: Some(value) }
    }

    #[test]
    fn keys_of_earlier_builds_are_remembered_and_their_rows_go() {
        let store = MemoryCatalog::default();
        let now = TimeUs(1000 * HOUR);
        let applied = AppliedRow { lsn: Lsn(9000), recorded: now, sealed: Lsn::ZERO };
        let mut changes = vec![put(keys::APPLIED.to_vec(), to_bytes(&applied))];
        // More than a chunk; every third key is too old.
        for lsn in 0..5000_u64 {
            let age = if lsn % 3 == 0 { 60 } else { 1 + (lsn % 20).cast_signed() };
            let mut key = [KEYS, &7_u64.to_be_bytes(), &8_u64.to_be_bytes()].concat();
            key.extend_from_slice(format!("key {lsn}").as_bytes());
            changes.push(put(key, to_bytes(&old(8, lsn, now.0 - age * HOUR))));
            changes.push(put([AGES, &lsn.to_be_bytes()].concat(), vec![1]));
        }
        changes.push(put(vec![b'z', 1], vec![2]));
        store.write(&changes).unwrap();
        assert_eq!(take_over(&store).unwrap(), 3333);
        let mut letters: BTreeMap<u8, usize> = BTreeMap::new();
        walk_prefix(&store, Family::State, b"", &mut |key, _| {
            *letters.entry(key[0]).or_default() += 1;
            Ok(Go::On)
        })
        .unwrap();
        assert_eq!(letters.remove(&b'a'), Some(1));
        assert_eq!(letters.remove(&b'z'), Some(1), "the next letter's rows stay");
        assert_eq!(letters.remove(&b'q'), Some(3333));
        assert!(letters.remove(&b'Q').is_some_and(|spans| spans > 1));
        assert!(letters.is_empty(), "{letters:?}");
        let recorded = now.0 - (1 + 4) * HOUR;
        let span = KeySpan::of(TimeUs(recorded));
        let name = KeyName::new(PrincipalId(7), RoomId(8), b"key 4");
        let row = store.get(Family::State, &idempotency(span, &name)).unwrap().unwrap();
        let row: KeyRow = decode_row(&row, "key row").unwrap();
        assert_eq!((row.lsn, row.seq, row.rev, row.epoch), (Lsn(4), Seq(4), Rev(5), Epoch(3)));
        let times = (TimeUs(recorded), TimeUs(recorded - HOUR));
        assert_eq!((row.recorded(span), row.time(span)), times);
        assert!(row.is_of(&[7; 16]) && !row.is_of(&[8; 16]));
        assert_eq!(take_over(&store).unwrap(), 0, "once");
    }
}
