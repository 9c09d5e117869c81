//! Rows as format 1 had them, and their taking over.
//!
//! Trees of rooms had a row of their own, beside those of how far the rooms had come. Of
//! idempotency keys the first builds wrote two for a key: `x`, by its name, and `y`, by its age;
//! later ones `q`, by its span and its name's hash. A start turns what is left of all of them into
//! what this build writes, so that a key that was given before an upgrade answers behind it.
//! Nothing else writes them, and nothing but the offline tool reads them.
//!
//! INVARIANT: the rows of today are durable before those that they replace go.

use std::collections::BTreeMap;
use std::path::Path;

use super::{applied_row, decode_row};
use crate::catalog::keys::{self, KeyName, KeySpan, after_prefix, number_at, span_at};
use crate::catalog::rows::{KeyRow, TipRow};
use crate::catalog::{CatalogStore, Change, Family, Go, walk_prefix};
use crate::error::{Error, Result};
use crate::format::wire::{to_bytes, wire_struct};
use crate::limits;
use crate::remembered::{Gathered, kept_on_disk};
use crate::types::{Epoch, Lsn, PrincipalId, Rev, RoomId, Seq, TimeUs};

const KEYS: &[u8] = b"x";
const AGES: &[u8] = b"y";
const ROWS: &[u8] = b"q";
const OLD: [&[u8]; 3] = [KEYS, AGES, ROWS];
/// Where the client's key begins in the key of a row `x`, behind letter, principal and room.
const CLIENT_KEY_AT: usize = 17;
/// Where the name stands in the key of a row `q`, behind letter and span.
const NAME_AT: usize = 5;

/// What a row says.
type Turn = fn(&[u8], &[u8]) -> Result<(KeySpan, KeyName, KeyRow)>;

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

/// A row `x`.
fn turned(key: &[u8], value: &[u8]) -> Result<(KeySpan, KeyName, KeyRow)> {
    let row: OldKeyRow = decode_row(value, "key row of an earlier build")?;
    let client_key = key.get(CLIENT_KEY_AT..).unwrap_or_default();
    let name = KeyName::new(PrincipalId(number_at(key, 1)), row.room, client_key);
    let OldKeyRow { lsn, seq, rev, epoch, .. } = row;
    let at = KeyRow::at(row.recorded, row.time, &row.digest);
    Ok((KeySpan::of(row.recorded), name, KeyRow { lsn, seq, rev, epoch, ..at }))
}

/// A row `q`.
fn of_span(key: &[u8], value: &[u8]) -> Result<(KeySpan, KeyName, KeyRow)> {
    let name = key.get(NAME_AT..).and_then(|name| name.try_into().ok());
    let wrong =
        || Error::corrupt("key of a key row", Path::new("catalog"), 0, 17, key.len() as u64);
    Ok((span_at(key), KeyName(name.ok_or_else(wrong)?), decode_row(value, "key row")?))
}

/// Rows written at once.
const BATCH_ROWS: usize = 4096;

/// Puts trees of rooms that have a row of their own into those of the rooms' tips; how many.
///
/// # Errors
/// `Io`, `NoSpace` or `Corrupt`; it begins anew with the next start.
pub(crate) fn take_over_trees(store: &dyn CatalogStore) -> Result<u64> {
    let (mut changes, mut trees) = (Vec::new(), 0);
    walk_prefix(store, Family::State, keys::OLD_TREES, &mut |key, value| {
        trees += 1;
        let key = keys::tip(RoomId(number_at(key, 1)));
        let row = store.get(Family::State, &key)?;
        let mut tip: TipRow = row.map_or(Ok(TipRow::empty()), |row| decode_row(&row, "tip row"))?;
        // One that has a tree was taken over before, and went on.
        if tip.tree.size() == 0 {
            tip.tree = decode_row(value, "tree row")?;
            let value = Some(to_bytes(&tip));
            changes.push(Change { family: Family::State, key, value });
        }
        if changes.len() >= BATCH_ROWS {
            store.write(&std::mem::take(&mut changes))?;
        }
        Ok(Go::On)
    })?;
    if trees > 0 {
        store.write(&changes)?;
        // ORDERING: nothing goes before what stands for it is on the disk.
        store.flush()?;
        store.remove_range(Family::State, keys::OLD_TREES, &after_prefix(keys::OLD_TREES))?;
        store.flush()?;
    }
    Ok(trees)
}

/// Takes over the rows of keys that are left of earlier builds; how many keys are still remembered.
///
/// # Errors
/// `Io`, `NoSpace` or `Corrupt`; it begins anew with the next start.
pub(crate) fn take_over(store: &dyn CatalogStore) -> Result<u64> {
    let mut any = false;
    for letter in OLD {
        walk_prefix(store, Family::State, letter, &mut |_, _| {
            any = true;
            Ok(Go::Stop)
        })?;
    }
    if !any {
        return Ok(0);
    }
    let applied = applied_row(store)?;
    let oldest = KeySpan::oldest(applied.recorded);
    let (mut firsts, mut gathered) = (BTreeMap::new(), Gathered::default());
    let mut taken = 0;
    for (letter, turn) in [(KEYS, turned as Turn), (ROWS, of_span)] {
        walk_prefix(store, Family::State, letter, &mut |key, value| {
            let (span, name, row) = turn(key, value)?;
            if span >= oldest {
                let first = firsts.entry(span).or_insert(row.lsn);
                *first = row.lsn.min(*first);
                gathered.add(span, name, row);
                taken += 1;
            }
            if gathered.len() >= limits::KEY_RUN_KEYS {
                store.write(&gathered.changes().1)?;
            }
            Ok(Go::On)
        })?;
    }
    store.write(&gathered.changes().1)?;
    let mut rows = Vec::new();
    // Where a build like this one was here before, what it had gathered is still to be read again.
    if kept_on_disk(store)?.is_none() {
        rows.push((keys::KEYS_KEPT.to_vec(), to_bytes(&applied.lsn)));
    }
    for (span, first) in firsts {
        // Where an erased record began a span the row that says so stays.
        let key = keys::first_key(span);
        if store.get(Family::State, &key)?.is_none() {
            rows.push((key, to_bytes(&first)));
        }
    }
    let rows = rows.into_iter().map(|(key, value)| Change {
        family: Family::State,
        key,
        value: Some(value),
    });
    store.write(&rows.collect::<Vec<_>>())?;
    // ORDERING: nothing goes before what stands for it is on the disk.
    store.flush()?;
    for letter in OLD {
        store.remove_range(Family::State, letter, &after_prefix(letter))?;
    }
    store.flush()?;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::catalog::memory::MemoryCatalog;
    use crate::catalog::rows::AppliedRow;
    use crate::remembered::{First, Remembered, every_key};

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
    fn trees_join_their_rooms_tips_also_after_a_cut() {
        use crate::catalog::rows::HeadRow;
        use crate::proof::Tree;

        let store = MemoryCatalog::default();
        let tree = |leaves: u8| {
            let mut tree = Tree::default();
            for leaf in 0..leaves {
                tree.push([leaf; 32]);
            }
            tree
        };
        let head = |rev: u64| HeadRow { rev: Rev(rev), ..HeadRow::EMPTY };
        let mut changes = Vec::new();
        for room in 1..=9_000_u64 {
            let leaves = u8::try_from(room % 7).unwrap();
            changes.push(put(keys::tip(RoomId(room)), to_bytes(&head(leaves.into()))));
            changes.push(put(keys::old_tree(RoomId(room)), to_bytes(&tree(leaves))));
        }
        // Taken over by a start that was cut off, and gone on since.
        let newer = TipRow { head: head(20), tree: tree(20) };
        changes.push(put(keys::tip(RoomId(3)), to_bytes(&newer)));
        store.write(&changes).unwrap();
        assert_eq!(take_over_trees(&store).unwrap(), 9_000);
        for room in 1..=9_000_u64 {
            let row = store.get(Family::State, &keys::tip(RoomId(room))).unwrap().unwrap();
            let leaves = u8::try_from(room % 7).unwrap();
            let taken = TipRow { head: head(leaves.into()), tree: tree(leaves) };
            let expected = if room == 3 { &newer } else { &taken };
            assert_eq!(&decode_row::<TipRow>(&row, "tip").unwrap(), expected);
            assert_eq!(store.get(Family::State, &keys::old_tree(RoomId(room))).unwrap(), None);
        }
        assert_eq!(take_over_trees(&store).unwrap(), 0, "once");
        let zero = [to_bytes(&head(1)), vec![0]].concat();
        assert!(decode_row::<TipRow>(&zero, "tip").is_err(), "a tree without a leaf is not told");
    }

    #[test]
    fn keys_of_earlier_builds_are_remembered_and_their_rows_go() {
        let store = MemoryCatalog::default();
        let now = TimeUs(1000 * HOUR);
        let applied = AppliedRow { lsn: Lsn(9000), recorded: now, sealed: Lsn::ZERO };
        let mut changes = vec![put(keys::APPLIED.to_vec(), to_bytes(&applied))];
        // Every third key is too old.
        for lsn in 0..5000_u64 {
            let age = if lsn % 3 == 0 { 60 } else { 1 + (lsn % 20).cast_signed() };
            let mut key = [KEYS, &7_u64.to_be_bytes(), &8_u64.to_be_bytes()].concat();
            key.extend_from_slice(format!("key {lsn}").as_bytes());
            changes.push(put(key, to_bytes(&old(8, lsn, now.0 - age * HOUR))));
            changes.push(put([AGES, &lsn.to_be_bytes()].concat(), vec![1]));
        }
        changes.push(put(vec![b'z', 1], vec![2]));
        // Keys of a later build, one of them too old, and one of a record that an erasure took
        // from the beginning of its span.
        for (lsn, age) in [(6_000, 2), (6_001, 60)] {
            let at = KeyRow::at(TimeUs(now.0 - age * HOUR), now, &[9; 16]);
            let row = KeyRow { lsn: Lsn(lsn), ..at };
            let mut key = [ROWS, &KeySpan::of(TimeUs(now.0 - age * HOUR)).0.to_be_bytes()].concat();
            key.extend_from_slice(
                &KeyName::new(PrincipalId(1), RoomId(1), &[age.to_le_bytes()[0]]).0,
            );
            changes.push(put(key, to_bytes(&row)));
        }
        let newest = KeySpan::of(TimeUs(now.0 - HOUR));
        changes.push(put(keys::first_key(newest), to_bytes(&Lsn(1))));
        store.write(&changes).unwrap();
        assert_eq!(take_over(&store).unwrap(), 3334);
        let mut letters: BTreeMap<u8, usize> = BTreeMap::new();
        walk_prefix(&store, Family::State, b"", &mut |key, _| {
            *letters.entry(key[0]).or_default() += 1;
            Ok(Go::On)
        })
        .unwrap();
        assert_eq!(letters.remove(&b'a'), Some(1));
        assert_eq!(letters.remove(&b'z'), Some(1), "the next letter's rows stay");
        assert!(letters.remove(&b'Q').is_some_and(|spans| spans > 1));
        for letter in [keys::KEYS_KEPT, keys::KEY_FILTERS, keys::KEY_PAGES] {
            assert!(letters.remove(&letter[0]).is_some());
        }
        assert!(letters.is_empty(), "{letters:?}");
        assert_eq!(every_key(&store).unwrap().len(), 3334);
        let first = store.get(Family::State, &keys::first_key(newest)).unwrap().unwrap();
        assert_eq!(decode_row::<Lsn>(&first, "first").unwrap(), Lsn(1), "it stays");
        let known = Remembered::read(Arc::new(store.clone())).unwrap();
        assert_eq!(known.kept(), Lsn(9000));
        let recorded = now.0 - (1 + 4) * HOUR;
        let name = KeyName::new(PrincipalId(7), RoomId(8), b"key 4");
        let First { span, row } = known.find(&name).unwrap().unwrap();
        assert_eq!((row.lsn, row.seq, row.rev, row.epoch), (Lsn(4), Seq(4), Rev(5), Epoch(3)));
        let times = (TimeUs(recorded), TimeUs(recorded - HOUR));
        assert_eq!((row.recorded(span), row.time(span)), times);
        assert!(row.is_of(&[7; 16]) && !row.is_of(&[8; 16]));
        let later = known.find(&KeyName::new(PrincipalId(1), RoomId(1), &[2])).unwrap().unwrap();
        assert_eq!(later.row.lsn, Lsn(6_000));
        assert_eq!(take_over(&store).unwrap(), 0, "once");
    }
}
