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

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rocksdb::checkpoint::Checkpoint;
use rocksdb::properties::BACKGROUND_ERRORS;
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, BottommostLevelCompaction, Cache, ColumnFamily,
    ColumnFamilyDescriptor, CompactOptions, DB, DBCompressionType, DBPinnableSlice, Direction,
    FlushOptions, IteratorMode, Options, ReadOptions, WriteBatch, WriteOptions,
};

use super::framing::is_broken;
use super::{CatalogStore, Change, Family, Go, Visit, VisitOf, Walk, keys};
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

/// New tables of the family `State` that are compacted together. Most of its bytes are heads and
/// trees of busy rooms, which are written anew all the time, and idempotency keys, which are gone
/// after a day: the fewer times they are written until then the better, though a look-up asks the
/// filters of so many tables. RocksDB's own is 4.
const STATE_TABLES: i32 = 8;
/// Rows that are passed over one by one on the way to the next prefix: of more it is looked for.
const STEPS_MAX: usize = 8;
/// Bytes of tables that are asked for at a start: they share the disk with the journal.
const WARM_BYTES_MAX: usize = 32 * 1024 * 1024;
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

/// Asks the system to read the newest tables of rooms' rows meanwhile, up to a bound. A start reads
/// the row of each room in the journal, from all over these tables, and each block that is not in
/// memory would be waited for alone. It is a hint: nothing depends on it.
fn ask_for_rows(db: &DB, path: &Path) {
    let mut tables = db.live_files().unwrap_or_default();
    tables.retain(|table| table.column_family_name == Family::State.name());
    tables.sort_by_key(|table| table.level);
    let mut left = WARM_BYTES_MAX;
    for table in tables {
        let Some(part) = NonZeroU64::new(table.size.min(left) as u64) else { break };
        left = left.saturating_sub(table.size);
        if let Ok(file) = std::fs::File::open(path.join(table.name.trim_start_matches('/'))) {
            let _ = rustix::fs::fadvise(&file, 0, Some(part), rustix::fs::Advice::WillNeed);
        }
    }
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

/// One for all families. Without locks: every look-up takes a few blocks from it.
fn cache(settings: RocksOptions) -> Cache {
    Cache::new_hyper_clock_cache(settings.cache_bytes, 0)
}

fn options(settings: RocksOptions, cache: &Cache, family: Family) -> Options {
    // Events of compliance are read in order, and never looked up: filters over them serve nobody.
    let looked_up = family != Family::Compliance;
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    if looked_up {
        blocks.set_bloom_filter(10.0, false);
    }
    blocks.set_cache_index_and_filter_blocks(true);
    // In pieces: of a catalog of many rooms the filter of one table is larger than what a part of
    // the cache holds, and would be read again for every row.
    blocks.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    blocks.set_partition_filters(looked_up);
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
    if looked_up {
        // Much that is looked up is not there: what became of an entry, a name that is free.
        options.set_memtable_whole_key_filtering(true);
        options.set_memtable_prefix_bloom_ratio(0.1);
    }
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

fn families(settings: RocksOptions, cache: &Cache) -> Vec<ColumnFamilyDescriptor> {
    let descriptor = |family: Family| {
        let mut options = options(settings, cache, family);
        if family == Family::State {
            options.set_level_zero_file_num_compaction_trigger(STATE_TABLES);
        }
        ColumnFamilyDescriptor::new(family.name(), options)
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
        let cache = cache(settings);
        let families = families(settings, &cache);
        let options = options(settings, &cache, Family::State);
        let db = DB::open_cf_descriptors(&options, path, families)
            .map_err(|e| failed("open catalog", path, &e))?;
        ask_for_rows(&db, path);
        Ok(Self { db, path: path.to_path_buf(), noted: AtomicBool::new(false) })
    }

    /// Opens the database at `path` for reading only: nothing in the directory changes.
    ///
    /// # Errors
    /// `Io`.
    pub fn open_read_only(path: &Path) -> Result<Self> {
        check_outside(path)?;
        let settings = RocksOptions::default();
        let cache = cache(settings);
        let mut options = options(settings, &cache, Family::State);
        options.create_if_missing(false);
        // Its log of messages would be a write.
        let scratch = std::env::temp_dir();
        options.set_db_log_dir(scratch);
        options.set_log_level(rocksdb::LogLevel::Fatal);
        let db =
            DB::open_cf_descriptors_read_only(&options, path, families(settings, &cache), false)
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

    fn get_many(&self, family: Family, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>> {
        let handle = self.family(family)?;
        let rows = self.db.batched_multi_get_cf(handle, keys, keys.is_sorted());
        let value = |row: std::result::Result<Option<DBPinnableSlice<'_>>, _>| {
            let row = row.map_err(|e| self.failed("read catalog", &e))?;
            Ok(row.map(|bytes| bytes.to_vec()))
        };
        rows.into_iter().map(value).collect()
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

    fn prefixes(&self, family: Family, prefixes: &[Vec<u8>], visit: VisitOf<'_>) -> Result<()> {
        let (Some(first), Some(last)) = (prefixes.first(), prefixes.last()) else { return Ok(()) };
        // One for all: to make it costs more than to move it.
        let mut read = ReadOptions::default();
        read.set_iterate_lower_bound(first.as_slice());
        read.set_iterate_upper_bound(keys::after_prefix(last));
        let mut rows = self.db.raw_iterator_cf_opt(self.family(family)?, read);
        rows.seek(first);
        for (at, prefix) in prefixes.iter().enumerate() {
            for _ in 0..STEPS_MAX {
                if rows.key().is_none_or(|key| key >= prefix.as_slice()) {
                    break;
                }
                rows.next();
            }
            if rows.key().is_some_and(|key| key < prefix.as_slice()) {
                rows.seek(prefix);
            }
            while let Some((key, value)) = rows.item().filter(|(key, _)| key.starts_with(prefix)) {
                if visit(at, key, value)? == Go::Stop {
                    break;
                }
                rows.next();
            }
        }
        rows.status().map_err(|e| self.failed("read catalog", &e))
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
        // Files of nothing but such rows are given back now, and not when they are next compacted;
        // but not new ones, which RocksDB leaves alone: their compaction drops the rows.
        if let Err(error) = self.db.delete_file_in_range_cf(handle, from, to) {
            let error = self.failed("remove catalog files", &error);
            tracing::warn!(%error, "tables of forgotten rows stay until they are compacted");
        }
        Ok(())
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
#[path = "rocks_tests.rs"]
mod tests;
