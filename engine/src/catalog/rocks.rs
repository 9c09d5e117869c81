//! The catalog in RocksDB.
//!
//! RocksDB's own log is off: the journal is the log. Therefore `atomic_flush` is on, so that all
//! families come back from the same moment; writes are neither pipelined nor unordered; a flush is
//! always over all families.
//!
//! What RocksDB reports as corruption is noted in the folder, so that the next start sets the whole
//! catalog aside and rebuilds it: it is a cache, and half of one is worth nothing.
//!
//! INVARIANT: after a crash the store equals the state after some batch, and never less than the
//! last flush that returned.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rocksdb::checkpoint::Checkpoint;
use rocksdb::properties::BACKGROUND_ERRORS;
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, BottommostLevelCompaction, Cache, ColumnFamily,
    ColumnFamilyDescriptor, CompactOptions, DB, DBCompressionType, Direction, FlushOptions,
    IteratorMode, Options, ReadOptions, WriteBatch, WriteOptions,
};

use super::framing::is_broken;
use super::{CatalogStore, Change, Family, Go, Visit, Walk};
use crate::error::{Error, Result};

/// What may differ between servers.
#[derive(Clone, Copy, Debug)]
pub struct RocksOptions {
    /// Bytes of the block cache.
    pub cache_bytes: usize,
    /// Bytes of one family's write buffer.
    pub write_buffer_bytes: usize,
}

impl Default for RocksOptions {
    fn default() -> Self {
        Self { cache_bytes: 64 * 1024 * 1024, write_buffer_bytes: 16 * 1024 * 1024 }
    }
}

/// Rows in RocksDB.
pub struct RocksCatalog {
    db: DB,
    path: PathBuf,
    /// The note about damage was tried.
    noted: AtomicBool,
}

/// The note in the catalog's folder that says it is damaged.
pub const DAMAGED: &str = "DAMAGED";
/// Why the catalog at `path` is not to be opened, if it can be seen from outside.
fn seen_damage(path: &Path) -> std::io::Result<Option<&'static str>> {
    let entries = match std::fs::read_dir(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    let (mut current, mut tables) = (false, false);
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        current |= name == "CURRENT";
        tables |= name.ends_with(".sst");
        if name == DAMAGED {
            return Ok(Some("catalog is noted as damaged"));
        }
        if name.starts_with("MANIFEST-") && is_broken(&std::fs::read(entry.path())?) {
            return Ok(Some("catalog manifest framing"));
        }
    }
    // RocksDB would make a new database over the tables of the old one.
    Ok((tables && !current).then_some("catalog has tables and no CURRENT"))
}

/// True if an error of opening or reading says that the catalog is not what was written.
#[must_use]
pub fn is_damage(error: &Error) -> bool {
    matches!(error, Error::Io { kind: std::io::ErrorKind::InvalidData, .. })
}

impl std::fmt::Debug for RocksCatalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RocksCatalog({:?})", self.path)
    }
}

fn damaged(op: &'static str, path: &Path, message: String) -> Error {
    Error::Io { op, path: path.to_path_buf(), kind: std::io::ErrorKind::InvalidData, message }
}

fn failed(op: &'static str, path: &Path, error: &rocksdb::Error) -> Error {
    use rocksdb::ErrorKind;
    let text = error.to_string();
    match error.kind() {
        ErrorKind::Corruption => damaged(op, path, text),
        // A file that is gone is damage too; a folder that may not be read is not.
        ErrorKind::IOError | ErrorKind::NotFound | ErrorKind::InvalidArgument
            if text.contains("No such file") || text.contains("does not exist") =>
        {
            damaged(op, path, text)
        }
        _ if text.contains("No space left") => {
            Error::NoSpace { what: op, path: path.to_path_buf() }
        }
        _ => Error::Io {
            op,
            path: path.to_path_buf(),
            kind: std::io::ErrorKind::Other,
            message: text,
        },
    }
}

fn options(settings: RocksOptions) -> Options {
    // Without locks: every look-up takes a few blocks from it.
    let cache = Cache::new_hyper_clock_cache(settings.cache_bytes, 0);
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&cache);
    blocks.set_bloom_filter(10.0, false);
    blocks.set_cache_index_and_filter_blocks(true);
    // In pieces: of a catalog of many rooms the filter of one table is larger than what a part of
    // the cache holds, and would be read again for every row.
    blocks.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    blocks.set_partition_filters(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_atomic_flush(true);
    options.set_paranoid_checks(true);
    options.set_block_based_table_factory(&blocks);
    options.set_write_buffer_size(settings.write_buffer_bytes);
    options.set_max_write_buffer_number(3);
    options.set_db_write_buffer_size(2 * settings.write_buffer_bytes);
    // Most keys that are looked up are not there: idempotency keys of new posts.
    options.set_memtable_whole_key_filtering(true);
    options.set_memtable_prefix_bloom_ratio(0.1);
    options.set_max_background_jobs(2);
    options.set_compression_type(DBCompressionType::None);
    options.set_bottommost_compression_type(DBCompressionType::Zstd);
    options.set_keep_log_file_num(4);
    options.set_max_open_files(256);
    options
}

/// The journal is the log.
fn without_log() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    options
}

fn families() -> Vec<ColumnFamilyDescriptor> {
    let descriptor = |family: Family| {
        ColumnFamilyDescriptor::new(family.name(), options(RocksOptions::default()))
    };
    Family::ALL.into_iter().map(descriptor).collect()
}

fn check_outside(path: &Path) -> Result<()> {
    match seen_damage(path) {
        Ok(None) => Ok(()),
        Ok(Some(what)) => Err(damaged("open catalog", path, what.to_owned())),
        Err(error) => Err(Error::io("open catalog", path, &error)),
    }
}

impl RocksCatalog {
    /// Opens or makes the database at `path`.
    ///
    /// # Errors
    /// `Io`; [`is_damage`] says whether it is to be rebuilt.
    pub fn open(path: &Path, settings: RocksOptions) -> Result<Self> {
        check_outside(path)?;
        let options = options(settings);
        let descriptor =
            |family: Family| ColumnFamilyDescriptor::new(family.name(), options.clone());
        let families = Family::ALL.into_iter().map(descriptor);
        let db = DB::open_cf_descriptors(&options, path, families)
            .map_err(|e| failed("open catalog", path, &e))?;
        Ok(Self { db, path: path.to_path_buf(), noted: AtomicBool::new(false) })
    }

    /// Opens the database at `path` for reading only: nothing in the directory changes.
    ///
    /// # Errors
    /// `Io`.
    pub fn open_read_only(path: &Path) -> Result<Self> {
        check_outside(path)?;
        let mut options = options(RocksOptions::default());
        options.create_if_missing(false);
        // Its log of messages would be a write.
        let scratch = std::env::temp_dir();
        options.set_db_log_dir(scratch);
        options.set_log_level(rocksdb::LogLevel::Fatal);
        let db = DB::open_cf_descriptors_read_only(&options, path, families(), false)
            .map_err(|e| failed("open catalog", path, &e))?;
        // Reading only, it writes no note either.
        Ok(Self { db, path: path.to_path_buf(), noted: AtomicBool::new(true) })
    }

    /// An error of RocksDB as ours; damage is noted for the next start.
    fn failed(&self, op: &'static str, error: &rocksdb::Error) -> Error {
        let error = failed(op, &self.path, error);
        if is_damage(&error) && !self.noted.swap(true, Ordering::Relaxed) {
            let note = std::fs::write(self.path.join(DAMAGED), format!("{error}\n"));
            let noted = note.is_ok();
            tracing::error!(%error, noted, "catalog is damaged: restart to rebuild it");
        }
        error
    }

    /// How many flushes and compactions failed since the database was opened. A compaction that is
    /// asked for returns nothing, so this is all that tells whether it did anything.
    fn background_errors(&self) -> Result<u64> {
        let count = self.db.property_int_value(BACKGROUND_ERRORS);
        count.map(Option::unwrap_or_default).map_err(|e| self.failed("ask catalog", &e))
    }

    fn family(&self, family: Family) -> Result<&ColumnFamily> {
        self.db
            .cf_handle(family.name())
            .ok_or_else(|| Error::corrupt("catalog family is missing", &self.path, 0, 1, 0))
    }
}

impl CatalogStore for RocksCatalog {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let handle = self.family(family)?;
        self.db.get_cf(handle, key).map_err(|e| self.failed("read catalog", &e))
    }

    fn get_many(&self, family: Family, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        let found = self.db.batched_multi_get_cf(self.family(family)?, keys.iter().copied(), true);
        let value = |row: std::result::Result<Option<rocksdb::DBPinnableSlice<'_>>, _>| match row {
            Ok(value) => Ok(value.map(|value| value.to_vec())),
            Err(error) => Err(self.failed("read catalog", &error)),
        };
        found.into_iter().map(value).collect()
    }

    fn range(
        &self,
        family: Family,
        from: &[u8],
        to: &[u8],
        walk: Walk,
        visit: Visit<'_>,
    ) -> Result<()> {
        if from >= to {
            return Ok(());
        }
        let mut read = ReadOptions::default();
        read.set_iterate_lower_bound(from);
        read.set_iterate_upper_bound(to);
        let start = match walk {
            Walk::Up => IteratorMode::From(from, Direction::Forward),
            Walk::Down => IteratorMode::End,
        };
        for row in self.db.iterator_cf_opt(self.family(family)?, read, start) {
            let (key, value) = row.map_err(|e| self.failed("read catalog", &e))?;
            if visit(&key, &value)? == Go::Stop {
                break;
            }
        }
        Ok(())
    }

    fn write(&self, changes: &[Change]) -> Result<()> {
        let mut batch = WriteBatch::default();
        for change in changes {
            let handle = self.family(change.family)?;
            match &change.value {
                Some(value) => batch.put_cf(handle, &change.key, value),
                None => batch.delete_cf(handle, &change.key),
            }
        }
        self.db.write_opt(batch, &without_log()).map_err(|e| self.failed("write catalog", &e))
    }

    fn remove_range(&self, family: Family, from: &[u8], to: &[u8]) -> Result<()> {
        let handle = self.family(family)?;
        let removed = self.db.delete_range_cf_opt(handle, from, to, &without_log());
        removed.map_err(|e| self.failed("write catalog", &e))?;
        // Files of nothing but such rows are given back now, and not when they are next compacted.
        let given_back = self.db.delete_file_in_range_cf(handle, from, to);
        given_back.map_err(|e| self.failed("remove catalog files", &e))
    }

    fn flush(&self) -> Result<()> {
        let handles: Vec<&ColumnFamily> =
            Family::ALL.into_iter().map(|f| self.family(f)).collect::<Result<_>>()?;
        let mut options = FlushOptions::default();
        options.set_wait(true);
        self.db.flush_cfs_opt(&handles, &options).map_err(|e| self.failed("flush catalog", &e))
    }

    fn checkpoint(&self, to: &Path) -> Result<()> {
        self.flush()?;
        let checkpoint =
            Checkpoint::new(&self.db).map_err(|e| self.failed("checkpoint catalog", &e))?;
        checkpoint.create_checkpoint(to).map_err(|e| failed("checkpoint catalog", to, &e))
    }

    fn erase_removed(&self, family: Family, from: &[u8], to: &[u8]) -> Result<()> {
        self.flush()?;
        let mut compact = CompactOptions::default();
        compact.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        compact.set_exclusive_manual_compaction(true);
        let handle = self.family(family)?;
        let before = self.background_errors()?;
        self.db.compact_range_cf_opt(handle, Some(from), Some(to), &compact);
        if self.background_errors()? == before {
            return Ok(());
        }
        Err(Error::Io {
            op: "compact catalog",
            path: self.path.clone(),
            kind: std::io::ErrorKind::Other,
            message: "a compaction failed; the newest file LOG beside it says why".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
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
        filled(dir.path());
        let store = RocksCatalog::open(dir.path(), RocksOptions::default()).unwrap();
        store.erase_removed(Family::State, &[0], &[9]).unwrap();
        store.write(&[put(3)]).unwrap();
        store.flush().unwrap();
        let files = std::fs::read_dir(dir.path()).unwrap().map(|f| f.unwrap().path());
        for table in files.filter(|f| f.extension().is_some_and(|e| e == "sst")) {
            let mut bytes = std::fs::read(&table).unwrap();
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
}
