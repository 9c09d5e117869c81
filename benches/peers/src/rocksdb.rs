//! RocksDB: a column family each for messages, for the index of categories and for keys.
//!
//! Once as its wiki advises in "Basic operations and tuning": dynamic levels, LZ4 above and zstd at
//! the bottom, two background jobs a core, pending bytes synced as they are written, format version
//! as new as the library's, Bloom filters. Once tuned for small text: zstd everywhere with a
//! dictionary of 16 KiB trained at the bottom, blocks of 16 KiB. A flush takes all memtables.

use std::path::{Path, PathBuf};

use rocksdb::{
    BlockBasedOptions, BottommostLevelCompaction, BoundColumnFamily, Cache, ColumnFamilyDescriptor,
    CompactOptions, DBCompressionType, DBWithThreadMode, Direction, FlushOptions, IteratorMode,
    MultiThreaded, Options, ReadOptions, WaitForCompactOptions, WriteBatch, WriteOptions,
};

use crate::rows::{
    add_row, category_key, first_at, key_row, message_key, message_row, place_of, seq_of,
    slice_keys, time_of,
};
use crate::store::{Budget, Durability, Message, Outcome, Quiet, Slice, Store, Sum, Tally};
use std::sync::Arc;

const MESSAGES: &str = "messages";
const CATEGORIES: &str = "categories";
const KEYS: &str = "keys";
const FAMILIES: [&str; 3] = [MESSAGES, CATEGORIES, KEYS];
const DICTIONARY_BYTES: i32 = 16 * 1024;
/// zstd's default window, level and strategy, as the C++ struct has them.
const WINDOW_BITS: i32 = -14;
const LEVEL_DEFAULT: i32 = 32_767;

/// Which configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tuning {
    /// As the wiki advises.
    Advised,
    /// zstd with a dictionary.
    Dictionary,
}

impl Tuning {
    pub const fn settings(self) -> &'static str {
        match self {
            Self::Advised => {
                "level_compaction_dynamic_level_bytes, LZ4, zstd bottommost, 16 KiB blocks, \
                 max_background_jobs 4, bytes_per_sync 1 MiB, Bloom 10 bits; WriteOptions::sync; \
                 3 column families"
            }
            Self::Dictionary => {
                "as above, but zstd on every level with a 16 KiB dictionary trained on 1.6 MiB a \
                 file (bottommost too)"
            }
        }
    }
}

type Db = DBWithThreadMode<MultiThreaded>;

pub struct Rocks {
    db: Db,
    folder: PathBuf,
}

fn options(tuning: Tuning, budget: Budget) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_max_background_jobs(4);
    options.set_bytes_per_sync(1024 * 1024);
    options.set_db_write_buffer_size(budget.write_bytes);
    match tuning {
        Tuning::Advised => {
            options.set_compression_type(DBCompressionType::Lz4);
            options.set_bottommost_compression_type(DBCompressionType::Zstd);
        }
        Tuning::Dictionary => {
            let train_bytes = 100 * DICTIONARY_BYTES;
            options.set_compression_type(DBCompressionType::Zstd);
            options.set_compression_options(WINDOW_BITS, LEVEL_DEFAULT, 0, DICTIONARY_BYTES);
            options.set_zstd_max_train_bytes(train_bytes);
            options.set_bottommost_compression_type(DBCompressionType::Zstd);
            let (window, level) = (WINDOW_BITS, LEVEL_DEFAULT);
            options.set_bottommost_compression_options(window, level, 0, DICTIONARY_BYTES, true);
            options.set_bottommost_zstd_max_train_bytes(train_bytes, true);
        }
    }
    options
}

impl Rocks {
    pub fn open(dir: &Path, tuning: Tuning, budget: Budget) -> Outcome<Self> {
        if tuning == Tuning::Advised && cfg!(not(feature = "lz4")) {
            return Err("RocksDB was built without LZ4: build with --features lz4".into());
        }
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&Cache::new_lru_cache(budget.cache_bytes));
        table.set_block_size(16 * 1024);
        table.set_format_version(6);
        table.set_cache_index_and_filter_blocks(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        table.set_bloom_filter(10.0, false);
        let mut options = options(tuning, budget);
        options.set_block_based_table_factory(&table);
        let families = FAMILIES.map(|name| ColumnFamilyDescriptor::new(name, options.clone()));
        let db = Db::open_cf_descriptors(&options, dir, families)?;
        Ok(Self { db, folder: dir.to_owned() })
    }

    fn family(&self, name: &str) -> Outcome<Arc<BoundColumnFamily<'_>>> {
        Ok(self.db.cf_handle(name).ok_or("a column family is missing")?)
    }

    fn last_seq(&self, messages: &Arc<BoundColumnFamily<'_>>, room: u32) -> Outcome<u64> {
        let end = message_key(room, u64::MAX);
        let mut rows = self.db.iterator_cf(messages, IteratorMode::From(&end, Direction::Reverse));
        Ok(rows.next().transpose()?.and_then(|(key, _)| seq_of(&key, room)).unwrap_or(0))
    }
}

impl Store for Rocks {
    fn commit(&self, group: &[Message<'_>], durability: Durability) -> Outcome<Tally> {
        let (messages, categories) = (self.family(MESSAGES)?, self.family(CATEGORIES)?);
        let keys = self.family(KEYS)?;
        let mut tally = Tally::default();
        let (mut batch, mut row) = (WriteBatch::default(), Vec::new());
        let known =
            self.db.batched_multi_get_cf(&keys, group.iter().map(|message| &message.key), false);
        for (message, known) in group.iter().zip(known) {
            if known?.is_some() {
                tally.repeated += 1;
                continue;
            }
            message_row(message, &mut row);
            let Message { room, seq, category, time_us, .. } = *message;
            batch.put_cf(&messages, message_key(room, seq), &row);
            batch.put_cf(&categories, category_key(category, time_us, room, seq), b"");
            batch.put_cf(&keys, message.key, key_row(message));
            tally.stored += 1;
        }
        let mut write = WriteOptions::default();
        write.set_sync(durability == Durability::Group);
        self.db.write_opt(batch, &write)?;
        Ok(tally)
    }

    fn rest(&self, quiet: Quiet) -> Outcome<()> {
        if quiet == Quiet::Applied {
            return Ok(());
        }
        let families = [self.family(MESSAGES)?, self.family(CATEGORIES)?, self.family(KEYS)?];
        let all: Vec<_> = families.iter().collect();
        self.db.flush_cfs_opt(&all, &FlushOptions::default())?;
        self.db.wait_for_compact(&WaitForCompactOptions::default())?;
        if quiet == Quiet::Compacted {
            let mut options = CompactOptions::default();
            options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
            for family in &families {
                self.db.compact_range_cf_opt(family, None::<&[u8]>, None::<&[u8]>, &options);
            }
            self.db.wait_for_compact(&WaitForCompactOptions::default())?;
        }
        Ok(())
    }

    fn before(&self, room: u32, below: u64, count: usize) -> Outcome<Sum> {
        let messages = self.family(MESSAGES)?;
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(message_key(room, 0));
        let mut sum = Sum::default();
        let mut rows = self.db.raw_iterator_cf_opt(&messages, options);
        rows.seek_for_prev(message_key(room, below.saturating_sub(1)));
        for _ in 0..count {
            let Some(row) = rows.value() else { break };
            add_row(&mut sum, row)?;
            rows.prev();
        }
        rows.status()?;
        Ok(sum)
    }

    fn before_time(&self, room: u32, time_us: i64, count: usize) -> Outcome<Sum> {
        let messages = self.family(MESSAGES)?;
        let last = self.last_seq(&messages, room)?;
        let found = first_at(1, last + 1, time_us, |seq| {
            let row = self.db.get_pinned_cf(&messages, message_key(room, seq))?;
            time_of(&row.ok_or("a message is missing")?)
        })?;
        self.before(room, found, count)
    }

    fn category(&self, slice: Slice) -> Outcome<Option<Sum>> {
        let (messages, categories) = (self.family(MESSAGES)?, self.family(CATEGORIES)?);
        let (from, end) = slice_keys(slice);
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(end);
        let mut places = Vec::new();
        let mut entries = self.db.raw_iterator_cf_opt(&categories, options);
        entries.seek(from);
        while let Some(key) = entries.key() {
            places.push(place_of(key)?);
            entries.next();
        }
        entries.status()?;
        let mut sum = Sum::default();
        for row in self.db.batched_multi_get_cf(&messages, &places, false) {
            add_row(&mut sum, &row?.ok_or("a message is missing")?)?;
        }
        Ok(Some(sum))
    }

    fn forget_keys(&self) -> Outcome<bool> {
        let (first, end) = ([0; 16], [0xff; 17]);
        let mut write = WriteOptions::default();
        write.set_sync(true);
        self.db.delete_range_cf_opt(&self.family(KEYS)?, &first[..], &end[..], &write)?;
        Ok(true)
    }

    fn folder(&self) -> &Path {
        &self.folder
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        self.db.flush_wal(true)?;
        self.db.cancel_all_background_work(true);
        Ok(())
    }
}
