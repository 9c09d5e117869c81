//! Packs: reading blocks and run indexes of those that exist.
//!
//! A pack never changes. Every block is verified on every read from the disk; what readers keep of
//! blocks is cached within a byte budget, and equal misses are read once. Who goes through all
//! records of a block gets them whole, and leaves nothing in that cache. Bundles are kept inflated,
//! in a cache of their own, for their other blocks. Writing a pack is in `writer`.
//!
//! INVARIANT: the cache answers with bytes that had the checksum which the run index names, also
//! where a pack has the number of one that is gone.

mod file;
mod press;
mod times;
mod writer;

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::block::{Block, Decoded};
use crate::format::bundle::Bundle;
use crate::format::cached::CachedBlock;
use crate::format::dictionary::Decompressor;
use crate::format::pack::{PackIndex, PackMeta, Places};
use crate::format::run::{BlockRef, Run};
use crate::limits;
use crate::stats::Stats;
use crate::storage::{Disk, join};
use crate::types::{Rev, RoomId, TimeUs};
use file::{BundleKey, Stored};
use parking_lot::Mutex;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use times::{Times, TimesWeight};

pub use file::{BlockReader, PackFile};
pub use writer::{PackKind, PackWriter, Written};

/// The folder of packs.
pub const DIR: &str = "packs";
/// Files kept open.
const FILES_OPEN_MAX: usize = 512;
/// Decompressors kept for the next readers.
const DECOMPRESSORS_MAX: usize = 8;
/// What the times of entries take of the budget of decoded blocks: a part of so many.
const TIMES_SHARE: usize = 16;
/// Inflated bundles take a part of so many of it.
const BUNDLES_SHARE: usize = 32;
/// Blocks of which work beside the readers wants a record here and there.
const ASIDE_CACHE_BYTES: usize = 1024 * 1024;
/// Bundles that it keeps: a merge goes through all its packs at once, and reads of each the bundle
/// that it read for the room before.
const ASIDE_BUNDLES_BYTES: usize = 4 * 1024 * 1024;

/// Removes what unfinished packs left behind.
///
/// # Errors
/// `Io`.
pub fn remove_unfinished(disk: &Disk) -> Result<()> {
    for name in disk.list(DIR)? {
        if name.ends_with(".tmp") {
            disk.remove_if_there(&join(DIR, &name))?;
        }
    }
    Ok(())
}

#[derive(Clone, Copy, Debug)]
struct BlockWeight;

#[derive(Clone, Copy, Debug)]
struct BundleWeight;

impl Weighter<BundleKey, Arc<Bundle>> for BundleWeight {
    fn weight(&self, _: &BundleKey, bundle: &Arc<Bundle>) -> u64 {
        bundle.weight() as u64
    }
}

/// Pack, room, first rev and checksum of a block.
type BlockKey = (u64, RoomId, Rev, u32);

const fn key_of(run: &Run, fence: &BlockRef) -> BlockKey {
    (run.pack, run.room, fence.first_rev, fence.crc)
}

impl Weighter<BlockKey, Arc<CachedBlock>> for BlockWeight {
    fn weight(&self, _: &BlockKey, block: &Arc<CachedBlock>) -> u64 {
        block.weight() as u64
    }
}

/// The packs that exist, for readers.
pub struct Packs {
    disk: Disk,
    files: Cache<u64, Arc<PackFile>>,
    blocks: Cache<BlockKey, Arc<CachedBlock>, BlockWeight>,
    bundles: Cache<BundleKey, Arc<Bundle>, BundleWeight>,
    times: Cache<BlockKey, Times, TimesWeight>,
    /// Those that nobody uses at the moment.
    decompressors: Mutex<Vec<Decompressor>>,
    stats: Arc<Stats>,
}

impl std::fmt::Debug for Packs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Packs({:?})", self.disk)
    }
}

impl Packs {
    /// Readers over the packs of a directory.
    #[must_use]
    pub fn new(disk: &Disk, cache_bytes: usize, stats: Arc<Stats>) -> Self {
        let of_bundles = cache_bytes / BUNDLES_SHARE;
        Self::with_budgets(disk, cache_bytes - of_bundles, of_bundles, stats)
    }

    /// The bundles' part is beside that of blocks.
    fn with_budgets(disk: &Disk, cache_bytes: usize, of_bundles: usize, stats: Arc<Stats>) -> Self {
        let of_times = cache_bytes / TIMES_SHARE;
        let of_blocks = cache_bytes - of_times;
        let bundles = (of_bundles / limits::BUNDLE_BYTES_TARGET).max(16);
        let items = (of_blocks / limits::BLOCK_BYTES_TARGET).max(16);
        let known = (of_times / times::TYPICAL_BYTES).max(16);
        Self {
            disk: disk.clone(),
            files: Cache::new(FILES_OPEN_MAX),
            blocks: Cache::with_weighter(items, of_blocks as u64, BlockWeight),
            bundles: Cache::with_weighter(bundles, of_bundles as u64, BundleWeight),
            times: Cache::with_weighter(known, of_times as u64, TimesWeight),
            decompressors: Mutex::default(),
            stats,
        }
    }

    /// Readers for work that passes over blocks about once, with a small cache and figures of its
    /// own.
    #[must_use]
    pub(crate) fn aside(disk: &Disk) -> Self {
        Self::with_budgets(disk, ASIDE_CACHE_BYTES, ASIDE_BUNDLES_BYTES, Arc::default())
    }

    /// Lets go of a pack that exists no longer.
    pub(crate) fn forget(&self, pack: u64) {
        self.files.remove(&pack);
    }

    /// An open pack.
    ///
    /// # Errors
    /// `Io`.
    pub fn file(&self, pack: u64) -> Result<Arc<PackFile>> {
        self.files.get_or_insert_with(&pack, || PackFile::open(&self.disk, pack).map(Arc::new))
    }

    /// A block of a run, verified, for those who want some of its records.
    ///
    /// # Errors
    /// `Io`, or `Corrupt` naming file and offset.
    pub fn block(&self, run: &Run, fence: &BlockRef) -> Result<Arc<CachedBlock>> {
        let mut missed = false;
        let found = self.blocks.get_or_insert_with(&key_of(run, fence), || {
            missed = true;
            self.read_block(run, fence).map(Arc::new)
        });
        if missed {
            self.stats.block_reads.add(1);
            self.stats.cache_bytes.set(self.blocks.weight() + self.bundles.weight());
        } else {
            self.stats.block_hits.add(1);
        }
        found.inspect_err(|error| self.damaged(error))
    }

    /// The same for those who go through all of its records: it is not kept.
    ///
    /// # Errors
    /// The same.
    pub fn whole(&self, run: &Run, fence: &BlockRef) -> Result<Block> {
        self.stats.block_reads.add(1);
        self.read_block(run, fence).inspect_err(|error| self.damaged(error))
    }

    fn damaged(&self, error: &Error) {
        self.stats.block_damage.add(1);
        tracing::error!(%error, "block cannot be read");
    }

    /// False if it is known that no entry of a block was said at or after `from` and before `to`.
    pub(crate) fn may_hold(&self, run: &Run, fence: &BlockRef, from: TimeUs, to: TimeUs) -> bool {
        let times = self.times.get(&key_of(run, fence));
        times.is_none_or(|times| times.meet(fence.time_base, from, to))
    }

    /// Keeps in mind when the entries of a block were said.
    pub(crate) fn learn_times(&self, run: &Run, fence: &BlockRef, block: &CachedBlock) {
        let key = key_of(run, fence);
        if self.times.peek(&key).is_none() {
            self.times.insert(key, Times::of(fence.time_base, block));
        }
    }

    fn read_block<B: Decoded>(&self, run: &Run, fence: &BlockRef) -> Result<B> {
        let file = self.file(run.pack)?;
        let key = file.key(fence);
        if let Some(bundle) = self.bundles.get(&key) {
            return file.within(&bundle, run.room, fence);
        }
        let bytes = file.read(fence)?;
        let spare = self.decompressors.lock().pop();
        let Some(mut decompressor) = spare.or_else(Decompressor::new) else {
            return Err(Error::Unavailable { why: "memory for reading a block is short" });
        };
        let stored = file.inflate(&bytes, fence, &mut decompressor);
        let spare = &mut *self.decompressors.lock();
        if spare.len() < DECOMPRESSORS_MAX {
            spare.push(decompressor);
        }
        match stored? {
            Stored::Alone(block) => Ok(block),
            Stored::Together(bundle) => {
                let block = file.within(&bundle, run.room, fence);
                self.bundles.insert(key, Arc::new(bundle));
                block
            }
        }
    }

    /// The runs of a pack.
    ///
    /// # Errors
    /// `Io`, or `Corrupt` naming file and offset.
    pub fn runs(&self, meta: &PackMeta) -> Result<Vec<Run>> {
        self.index(meta).map(|index| index.runs)
    }

    /// What a pack says of itself.
    ///
    /// # Errors
    /// `Io`, or `Corrupt` naming file and offset.
    pub fn index(&self, meta: &PackMeta) -> Result<PackIndex> {
        self.file(meta.id)?.index()
    }

    /// What a pack says of itself, the runs one by one: they count only if it returns well.
    ///
    /// # Errors
    /// `Io`, or `Corrupt` naming file and offset.
    pub fn visit_index(&self, meta: &PackMeta, visit: &mut dyn FnMut(Run)) -> Result<Places> {
        self.file(meta.id)?.visit_index(visit)
    }

    /// How long a pack's index is.
    ///
    /// # Errors
    /// `Io`, or `Corrupt` naming file and offset.
    pub(crate) fn index_bytes(&self, pack: u64) -> Result<u64> {
        self.file(pack)?.footer().map(|footer| footer.index_bytes)
    }
}
