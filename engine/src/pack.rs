//! Packs: reading blocks and run indexes of those that exist.
//!
//! A pack never changes. Every block is verified on every read from the disk; decoded blocks are
//! cached within a byte budget and equal misses are read once. Writing one is in `writer`.
//!
//! INVARIANT: the cache answers with bytes that had the checksum which the run index names, also
//! where a pack has the number of one that is gone.

mod writer;

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::block::{Block, checksum};
use crate::format::pack::{
    FOOTER_BYTES, Footer, PACK_HEADER_BYTES, PackIndex, PackMeta, check_header, decode_index,
    pack_name,
};
use crate::format::run::{BlockRef, Run};
use crate::limits;
use crate::stats::Stats;
use crate::storage::{Disk, DiskFile, Mode, join};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

pub(crate) use writer::takes_seq;
pub use writer::{PackKind, PackWriter};

/// The folder of packs.
pub const DIR: &str = "packs";
/// Files kept open.
const FILES_OPEN_MAX: usize = 512;
/// Decoded blocks that work beside the readers keeps.
const ASIDE_CACHE_BYTES: usize = 1024 * 1024;

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

/// Pack, offset and checksum of a block.
type BlockKey = (u64, u64, u32);

impl Weighter<BlockKey, Arc<Block>> for BlockWeight {
    fn weight(&self, _: &BlockKey, block: &Arc<Block>) -> u64 {
        block.weight() as u64
    }
}

/// The packs that exist, for readers.
pub struct Packs {
    disk: Disk,
    files: Cache<u64, Arc<DiskFile>>,
    blocks: Cache<BlockKey, Arc<Block>, BlockWeight>,
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
        let items = (cache_bytes / limits::BLOCK_BYTES_TARGET).max(16);
        Self {
            disk: disk.clone(),
            files: Cache::new(FILES_OPEN_MAX),
            blocks: Cache::with_weighter(items, cache_bytes as u64, BlockWeight),
            stats,
        }
    }

    /// Readers for work that passes over blocks about once, with a small cache and figures of its
    /// own.
    #[must_use]
    pub(crate) fn aside(disk: &Disk) -> Self {
        Self::new(disk, ASIDE_CACHE_BYTES, Arc::default())
    }

    /// Lets go of a pack that exists no longer.
    pub(crate) fn forget(&self, pack: u64) {
        self.files.remove(&pack);
    }

    fn file(&self, pack: u64) -> Result<Arc<DiskFile>> {
        let open = || {
            let path = join(DIR, &pack_name(pack));
            self.disk.open(&path, Mode::Read).map(Arc::new)
        };
        self.files.get_or_insert_with(&pack, open)
    }

    /// A block, verified.
    ///
    /// # Errors
    /// `Io`, or `Corrupt` naming file and offset.
    pub fn block(&self, pack: u64, block: &BlockRef) -> Result<Arc<Block>> {
        let key = (pack, block.offset, block.crc);
        let mut missed = false;
        let found = self.blocks.get_or_insert_with(&key, || {
            missed = true;
            self.read_block(pack, block).map(Arc::new)
        });
        if missed {
            self.stats.block_reads.add(1);
            self.stats.cache_bytes.set(self.blocks.weight());
        } else {
            self.stats.block_hits.add(1);
        }
        found.inspect_err(|error| {
            self.stats.block_damage.add(1);
            tracing::error!(%error, "block cannot be read");
        })
    }

    fn read_block(&self, pack: u64, block: &BlockRef) -> Result<Block> {
        let file = self.file(pack)?;
        let bytes = file.read(block.offset, block.bytes as usize)?;
        check_block(&bytes, block, &file)
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
        read_index(&*self.file(meta.id)?, meta.id)
    }
}

/// Verifies and decodes a block's bytes.
///
/// # Errors
/// `Corrupt` naming file and offset.
pub fn check_block(bytes: &[u8], block: &BlockRef, file: &DiskFile) -> Result<Block> {
    let found = checksum(bytes);
    if found != block.crc {
        let (expected, found) = (u64::from(block.crc), u64::from(found));
        let what = "block checksum mismatch";
        return Err(Error::corrupt(what, file.path(), block.offset, expected, found));
    }
    let decoded = Block::decode(bytes)
        .map_err(|e| Error::corrupt(e.what, file.path(), block.offset + e.at as u64, 0, 0))?;
    if decoded.len() != block.records as usize {
        let (expected, found) = (u64::from(block.records), decoded.len() as u64);
        return Err(Error::corrupt("block records", file.path(), block.offset, expected, found));
    }
    Ok(decoded)
}

/// The runs of an open pack file; header and footer are verified too.
///
/// # Errors
/// `Io`, or `Corrupt` naming file and offset.
pub fn read_runs(file: &DiskFile, id: u64) -> Result<Vec<Run>> {
    read_index(file, id).map(|index| index.runs)
}

/// What an open pack file says of itself; header and footer are verified too.
///
/// # Errors
/// `Io`, or `Corrupt` naming file and offset.
pub fn read_index(file: &DiskFile, id: u64) -> Result<PackIndex> {
    let len = file.len()?;
    let wrong = |e: crate::format::codec::DecodeError, at: u64| {
        Error::corrupt(e.what, file.path(), at + e.at as u64, 0, 0)
    };
    check_header(&file.read(0, PACK_HEADER_BYTES)?, id).map_err(|e| wrong(e, 0))?;
    let at = len.saturating_sub(FOOTER_BYTES as u64);
    let footer = Footer::parse(&file.read(at, FOOTER_BYTES)?, len).map_err(|e| wrong(e, at))?;
    if footer.id != id {
        return Err(Error::corrupt("pack number", file.path(), at, id, footer.id));
    }
    let bytes = usize::try_from(footer.index_bytes).unwrap_or(usize::MAX);
    decode_index(&file.read(footer.index_offset, bytes)?, &footer, file.path())
}
