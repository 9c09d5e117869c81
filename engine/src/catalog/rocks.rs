//! The catalog in RocksDB.
//!
//! RocksDB's own log is off: the journal is the log. Therefore `atomic_flush` is on, so that all
//! families come back from the same moment; writes are neither pipelined nor unordered; a flush is
//! always over all families.
//!
//! INVARIANT: after a crash the store equals the state after some batch, and never less than the
//! last flush that returned.

use std::path::{Path, PathBuf};

use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BlockBasedOptions, BottommostLevelCompaction, Cache, ColumnFamily, ColumnFamilyDescriptor,
    CompactOptions, DB, DBCompressionType, Direction, FlushOptions, IteratorMode, Options,
    ReadOptions, WriteBatch, WriteOptions,
};

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
}

impl std::fmt::Debug for RocksCatalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RocksCatalog({:?})", self.path)
    }
}

fn failed(op: &'static str, path: &Path, error: &rocksdb::Error) -> Error {
    use rocksdb::ErrorKind;
    let text = error.to_string();
    match error.kind() {
        ErrorKind::Corruption => Error::Io {
            op,
            path: path.to_path_buf(),
            kind: std::io::ErrorKind::InvalidData,
            message: text,
        },
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
    let cache = Cache::new_lru_cache(settings.cache_bytes);
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&cache);
    blocks.set_bloom_filter(10.0, false);
    blocks.set_cache_index_and_filter_blocks(true);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_atomic_flush(true);
    options.set_paranoid_checks(true);
    options.set_block_based_table_factory(&blocks);
    options.set_write_buffer_size(settings.write_buffer_bytes);
    options.set_max_write_buffer_number(3);
    options.set_db_write_buffer_size(2 * settings.write_buffer_bytes);
    options.set_max_background_jobs(2);
    options.set_compression_type(DBCompressionType::None);
    options.set_bottommost_compression_type(DBCompressionType::Zstd);
    options.set_keep_log_file_num(4);
    options.set_max_open_files(256);
    options
}

fn families() -> Vec<ColumnFamilyDescriptor> {
    let descriptor = |family: Family| {
        ColumnFamilyDescriptor::new(family.name(), options(RocksOptions::default()))
    };
    Family::ALL.into_iter().map(descriptor).collect()
}

impl RocksCatalog {
    /// Opens or makes the database at `path`.
    ///
    /// # Errors
    /// `Io`.
    pub fn open(path: &Path, settings: RocksOptions) -> Result<Self> {
        let options = options(settings);
        let descriptor =
            |family: Family| ColumnFamilyDescriptor::new(family.name(), options.clone());
        let families = Family::ALL.into_iter().map(descriptor);
        let db = DB::open_cf_descriptors(&options, path, families)
            .map_err(|e| failed("open catalog", path, &e))?;
        Ok(Self { db, path: path.to_path_buf() })
    }

    /// Opens the database at `path` for reading only: nothing in the directory changes.
    ///
    /// # Errors
    /// `Io`.
    pub fn open_read_only(path: &Path) -> Result<Self> {
        let mut options = options(RocksOptions::default());
        options.create_if_missing(false);
        // Its log of messages would be a write.
        let scratch = std::env::temp_dir();
        options.set_db_log_dir(scratch);
        options.set_log_level(rocksdb::LogLevel::Fatal);
        let db = DB::open_cf_descriptors_read_only(&options, path, families(), false)
            .map_err(|e| failed("open catalog", path, &e))?;
        Ok(Self { db, path: path.to_path_buf() })
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
        self.db.get_cf(handle, key).map_err(|e| failed("read catalog", &self.path, &e))
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
            let (key, value) = row.map_err(|e| failed("read catalog", &self.path, &e))?;
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
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.db.write_opt(batch, &options).map_err(|e| failed("write catalog", &self.path, &e))
    }

    fn flush(&self) -> Result<()> {
        let handles: Vec<&ColumnFamily> =
            Family::ALL.into_iter().map(|f| self.family(f)).collect::<Result<_>>()?;
        let mut options = FlushOptions::default();
        options.set_wait(true);
        self.db
            .flush_cfs_opt(&handles, &options)
            .map_err(|e| failed("flush catalog", &self.path, &e))
    }

    fn checkpoint(&self, to: &Path) -> Result<()> {
        self.flush()?;
        let checkpoint =
            Checkpoint::new(&self.db).map_err(|e| failed("checkpoint catalog", &self.path, &e))?;
        checkpoint.create_checkpoint(to).map_err(|e| failed("checkpoint catalog", to, &e))
    }

    fn erase_range(&self, family: Family, from: &[u8], to: &[u8]) -> Result<()> {
        let handle = self.family(family)?;
        let mut batch = WriteBatch::default();
        batch.delete_range_cf(handle, from, to);
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.db.write_opt(batch, &options).map_err(|e| failed("write catalog", &self.path, &e))?;
        self.flush()?;
        let mut compact = CompactOptions::default();
        compact.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        self.db.compact_range_cf_opt(handle, Some(from), Some(to), &compact);
        Ok(())
    }
}
