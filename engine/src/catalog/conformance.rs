//! One suite that every catalog store passes: rows, ranges, order of changes, flush, erasure.
//!
//! What the engine relies on stands here, so that the twin and RocksDB cannot differ in it.

use super::memory::MemoryCatalog;
use super::*;
use crate::error::Error;

fn put(key: &[u8], value: &[u8]) -> Change {
    Change { family: Family::State, key: key.to_vec(), value: Some(value.to_vec()) }
}

fn keys(store: &dyn CatalogStore, from: &[u8], to: &[u8], walk: Walk, most: usize) -> Vec<Vec<u8>> {
    let mut seen = Vec::new();
    let mut visit = |key: &[u8], _: &[u8]| {
        seen.push(key.to_vec());
        Ok(if seen.len() < most { Go::On } else { Go::Stop })
    };
    store.range(Family::State, from, to, walk, &mut visit).unwrap();
    seen
}

fn conforms(store: &dyn CatalogStore) {
    store.write(&[put(b"a", b"1"), put(b"b", b"2"), put(b"c", b"3")]).unwrap();
    assert_eq!(store.get(Family::State, b"b").unwrap().as_deref(), Some(&b"2"[..]));
    assert_eq!(store.get(Family::Index, b"b").unwrap(), None, "families are apart");
    let many = |keys: &[&[u8]]| {
        let keys: Vec<Vec<u8>> = keys.iter().map(|key| key.to_vec()).collect();
        let found = store.get_many(Family::State, &keys).unwrap();
        found.into_iter().map(|row| row.map_or(0, |row| row[0] - b'0')).collect::<Vec<u8>>()
    };
    assert_eq!(many(&[]), [0; 0]);
    assert_eq!(many(&[b"a", b"aa", b"b", b"c", b"d"]), [1, 0, 2, 3, 0]);
    assert_eq!(many(&[b"d", b"c", b"a", b"c", b""]), [0, 3, 1, 3, 0], "in any order, twice too");
    assert_eq!(keys(store, b"a", b"c", Walk::Up, 9), [b"a", b"b"], "the end is excluded");
    assert_eq!(keys(store, b"a", b"d", Walk::Down, 2), [b"c", b"b"]);
    assert_eq!(keys(store, b"d", b"a", Walk::Up, 9), Vec::<Vec<u8>>::new());
    let gone = Change { family: Family::State, key: b"b".to_vec(), value: None };
    store.write(&[put(b"b", b"9"), gone]).unwrap();
    assert_eq!(store.get(Family::State, b"b").unwrap(), None, "the later change counts");
    store.flush().unwrap();
    store.erase_removed(Family::State, b"a", b"c").unwrap();
    assert_eq!(keys(store, b"a", b"z", Walk::Up, 9), [b"a", b"c"], "only what was removed goes");
    removes_ranges(store);
    walks_prefixes(store);
}

/// Rows between prefixes are few or many, some prefixes have none, and some walks stop early.
fn walks_prefixes(store: &dyn CatalogStore) {
    let row = |group: u8, row: u8| put(&[b'w', group, row], &[group, row]);
    let rows: Vec<Change> = (0..40).flat_map(|g| (0..g % 11).map(move |r| row(g, r))).collect();
    let (older, newer) = rows.split_at(rows.len() / 2);
    store.write(older).unwrap();
    store.flush().unwrap();
    store.write(newer).unwrap();
    for groups in [vec![], vec![0], vec![39], (0..40).collect(), vec![1, 3, 9, 20, 21, 22, 38]] {
        let prefixes: Vec<Vec<u8>> = groups.iter().map(|group| vec![b'w', *group]).collect();
        for most in [1, 2, 99] {
            let (mut seen, mut of) = (Vec::new(), vec![0; prefixes.len()]);
            let mut visit = |at: usize, key: &[u8], value: &[u8]| {
                seen.push((at, key.to_vec(), value.to_vec()));
                of[at] += 1;
                Ok(if of[at] < most { Go::On } else { Go::Stop })
            };
            store.prefixes(Family::State, &prefixes, &mut visit).unwrap();
            let expected = groups.iter().enumerate().flat_map(|(at, group)| {
                let some = (0..group % 11).take(most);
                some.map(move |row| (at, vec![b'w', *group, row], vec![*group, row]))
            });
            assert_eq!(seen, expected.collect::<Vec<_>>(), "{groups:?}, at most {most}");
        }
    }
    let mut visit = |_, _: &[u8], _: &[u8]| Err(Error::Unavailable { why: "enough" });
    let failed = store.prefixes(Family::State, &[b"w".to_vec()], &mut visit);
    assert!(matches!(failed, Err(Error::Unavailable { .. })), "what the visitor says");
}

fn removes_ranges(store: &dyn CatalogStore) {
    let elsewhere = Change { family: Family::Index, key: b"m1".to_vec(), value: Some(vec![1]) };
    store.write(&[put(b"m0", b"1"), put(b"m1", b"2")]).unwrap();
    store.flush().unwrap();
    store.write(&[put(b"m2", b"3"), put(b"m3", b"4"), elsewhere]).unwrap();
    store.remove_range(Family::State, b"m1", b"m3").unwrap();
    assert_eq!(keys(store, b"m", b"n", Walk::Up, 9), [b"m0", b"m3"], "the end is excluded");
    assert_eq!([b"m1", b"m2"].map(|key| store.get(Family::State, key).unwrap()), [None, None]);
    assert!(store.get(Family::Index, b"m1").unwrap().is_some(), "families are apart");
    store.write(&[put(b"m2", b"5")]).unwrap();
    store.flush().unwrap();
    assert_eq!(keys(store, b"m", b"n", Walk::Up, 9), [b"m0", b"m2", b"m3"], "it was before");
}

#[test]
fn the_map_conforms() {
    let store = MemoryCatalog::default();
    conforms(&store);
    store.write(&[put(b"later", b"1")]).unwrap();
    assert_eq!(store.crash().get(Family::State, b"later").unwrap(), None);
    assert!(store.crash().get(Family::State, b"c").unwrap().is_some());
}

#[cfg(feature = "rocksdb")]
#[test]
fn rocksdb_conforms() {
    use super::rocks::{RocksCatalog, RocksOptions};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog");
    {
        let store = RocksCatalog::open(&path, RocksOptions::default()).unwrap();
        conforms(&store);
        store.write(&[put(b"later", b"1")]).unwrap();
        store.checkpoint(&dir.path().join("copy")).unwrap();
    }
    let copy = RocksCatalog::open_read_only(&dir.path().join("copy")).unwrap();
    assert!(copy.get(Family::State, b"later").unwrap().is_some());
    assert!(copy.write(&[put(b"x", b"1")]).is_err(), "read-only");
}
