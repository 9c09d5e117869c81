//! RocksDB as the catalog's store: what it gives back, what damage it tells of, and when it is not
//! opened at all.
//!
//! What every store must do is in `conformance`.

use super::*;
use crate::catalog::CatalogStore;

fn put(n: u8) -> Change {
    Change { family: Family::State, key: vec![n; 40], value: Some(vec![n; 400]) }
}

/// A catalog with a few tables.
fn filled(path: &Path) {
    let store = RocksCatalog::open(path, RocksOptions::default()).unwrap();
    for n in 0..20 {
        store.write(&[put(n)]).unwrap();
        store.flush().unwrap();
    }
}

fn manifest(path: &Path) -> PathBuf {
    let files = std::fs::read_dir(path).unwrap().map(|f| f.unwrap().path());
    files.filter(|f| f.to_string_lossy().contains("MANIFEST-")).max().unwrap()
}

/// True if bytes stand in a file of the catalog.
fn holds(path: &Path, bytes: &[u8]) -> bool {
    let files = std::fs::read_dir(path).unwrap().flatten();
    let mut texts = files.filter_map(|file| match std::fs::read(file.path()) {
        // A table that is not needed any more may go between the listing and the reading.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        read => Some(read.unwrap()),
    });
    texts.any(|text| text.windows(bytes.len()).any(|part| part == bytes))
}

#[test]
fn the_bytes_of_removed_rows_leave_the_tables() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog");
    filled(&path);
    let store = RocksCatalog::open(&path, RocksOptions::default()).unwrap();
    let (key, canary) = (vec![7; 40], b"zx-canary-5e1f".to_vec());
    let change = |value| Change { family: Family::State, key: key.clone(), value };
    store.write(&[change(Some(canary.clone()))]).unwrap();
    store.flush().unwrap();
    assert!(holds(&path, &canary), "or it could not be found either way");
    store.write(&[change(None)]).unwrap();
    store.flush().unwrap();
    store.erase_removed(Family::State, &key, &[8]).unwrap();
    // Tables that are no longer needed are removed behind the compaction.
    let gone = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        !holds(&path, &canary)
    });
    assert!(gone, "the bytes stay");
    assert!(store.get(Family::State, &[6; 40]).unwrap().is_some());
}

#[test]
fn a_compaction_that_fails_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let store = RocksCatalog::open(dir.path(), RocksOptions::default()).unwrap();
    // Two tables: too few for a compaction that nobody asked for.
    store.write(&[put(3)]).unwrap();
    store.flush().unwrap();
    store.erase_removed(Family::State, &[0], &[9]).unwrap();
    store.write(&[put(3)]).unwrap();
    store.flush().unwrap();
    let files = std::fs::read_dir(dir.path()).unwrap().map(|f| f.unwrap().path());
    for table in files.filter(|f| f.extension().is_some_and(|e| e == "sst")) {
        // One that was compacted may go meanwhile.
        let Ok(mut bytes) = std::fs::read(&table) else { continue };
        bytes[20] ^= 1;
        std::fs::write(&table, bytes).unwrap();
    }
    let told = store.erase_removed(Family::State, &[0], &[9]).unwrap_err();
    assert!(told.to_string().contains("compact catalog"), "{told}");
}

#[test]
fn a_range_that_is_removed_gives_its_tables_back_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog");
    let store = RocksCatalog::open(&path, RocksOptions::default()).unwrap();
    // Bytes that no compression hides.
    let mut random = crate::storage::sim::Random::new(1);
    let canary: Vec<u8> = (0..50).flat_map(|_| random.next().to_le_bytes()).collect();
    let row = |first: u8, n: u8| Change {
        family: Family::State,
        key: vec![first, n],
        value: Some(if first == 5 { canary.clone() } else { b"kept".to_vec() }),
    };
    store.write(&[row(5, 0), row(5, 50)]).unwrap();
    // Into the last level: files of the first may not go alone.
    store.erase_removed(Family::State, &[5], &[6]).unwrap();
    store.write(&[row(4, 0), row(6, 0)]).unwrap();
    assert!(holds(&path, &canary));
    store.remove_range(Family::State, &[5], &[6]).unwrap();
    assert_eq!(store.get(Family::State, &[5, 50]).unwrap(), None);
    let gone = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        !holds(&path, &canary)
    });
    assert!(gone, "without a compaction");
    for kept in [[4, 0], [6, 0]] {
        assert!(store.get(Family::State, &kept).unwrap().is_some());
    }
}

#[test]
fn a_manifest_that_would_hang_rocksdb_is_refused_before_it_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let file = manifest(dir.path());
    let whole = std::fs::read(&file).unwrap();
    assert!(!is_broken(&whole));
    // The second record's type: 1 becomes 5, a record of a recycled log.
    let first = usize::from(u16::from_le_bytes([whole[4], whole[5]]));
    let place = super::super::framing::HEADER_BYTES + first + 6;
    let mut flipped = whole.clone();
    flipped[place] ^= 4;
    std::fs::write(&file, &flipped).unwrap();
    let error = RocksCatalog::open(dir.path(), RocksOptions::default()).unwrap_err();
    assert!(is_damage(&error), "{error}");
    std::fs::write(&file, whole).unwrap();
    RocksCatalog::open(dir.path(), RocksOptions::default()).unwrap();
}

#[test]
fn damage_met_by_a_read_is_noted_and_refuses_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let files = std::fs::read_dir(dir.path()).unwrap().map(|f| f.unwrap().path());
    for table in files.filter(|f| f.extension().is_some_and(|e| e == "sst")) {
        let mut bytes = std::fs::read(&table).unwrap();
        bytes[20] ^= 1;
        std::fs::write(&table, bytes).unwrap();
    }
    let Ok(store) = RocksCatalog::open(dir.path(), RocksOptions::default()) else { return };
    let read = store.get(Family::State, &[7; 40]);
    assert!(read.is_err_and(|e| is_damage(&e)), "a flipped bit was answered");
    drop(store);
    assert!(dir.path().join(DAMAGED).exists());
    let error = RocksCatalog::open(dir.path(), RocksOptions::default()).unwrap_err();
    assert!(is_damage(&error), "{error}");
}

#[test]
fn tables_without_current_are_not_made_a_new_database() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    std::fs::remove_file(dir.path().join("CURRENT")).unwrap();
    let error = RocksCatalog::open(dir.path(), RocksOptions::default()).unwrap_err();
    assert!(is_damage(&error), "{error}");
}
