//! Packs: writing one, and reading blocks and run indexes of those that exist.
//!
//! A pack is written once, durable under its name before the manifest knows it, and never changed.
//! Every block is verified on every read from the disk; decoded blocks are cached within a byte
//! budget and equal misses are read once.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::format::block::{Block, BlockBuilder, checksum};
use crate::format::pack::{
    FOOTER_BYTES, Footer, PACK_HEADER_BYTES, PackMeta, check_header, decode_index, encode_index,
    header, pack_name,
};
use crate::format::payload::Kind;
use crate::format::run::{BlockRef, Run};
use crate::limits;
use crate::stats::Stats;
use crate::storage::{Disk, DiskFile, Mode, join};
use crate::tail::TailEntry;
use crate::types::{CategoryId, Lsn, RoomId, Seq, TimeUs};

/// The folder of packs.
pub const DIR: &str = "packs";
/// zstd's level for blocks.
const LEVEL: i32 = 3;
/// Bytes gathered before a write.
const BUFFER_BYTES: usize = 1024 * 1024;
/// Files kept open.
const FILES_OPEN_MAX: usize = 512;

/// Writes one pack.
pub struct PackWriter {
    disk: Disk,
    file: DiskFile,
    name: String,
    compressor: zstd::bulk::Compressor<'static>,
    hasher: Sha256,
    buffer: Vec<u8>,
    written: u64,
    runs: Vec<Run>,
    meta: PackMeta,
}

impl std::fmt::Debug for PackWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackWriter({:?} bytes={})", self.name, self.bytes())
    }
}

impl PackWriter {
    /// Starts pack `id` under a temporary name.
    ///
    /// # Errors
    /// `NoSpace` or `Io`.
    pub fn create(disk: &Disk, id: u64, day: i64) -> Result<Self> {
        let name = pack_name(id);
        let path = join(DIR, &format!("{name}.tmp"));
        disk.remove_if_there(&path)?;
        let file = disk.open(&path, Mode::Create)?;
        let compressor =
            zstd::bulk::Compressor::new(LEVEL).map_err(|e| Error::io("zstd", file.path(), &e))?;
        let meta = PackMeta {
            id,
            bytes: 0,
            sha256: [0; 32],
            class: 0,
            day: TimeUs(day.saturating_mul(TimeUs::DAY_US)),
            first_lsn: Lsn(u64::MAX),
            last_lsn: Lsn::ZERO,
            records: 0,
            runs: 0,
            min_time: TimeUs::MAX,
            max_time: TimeUs::MIN,
            plain_bytes: 0,
        };
        let mut writer = Self {
            disk: disk.clone(),
            file,
            name,
            compressor,
            hasher: Sha256::new(),
            buffer: Vec::with_capacity(BUFFER_BYTES * 2),
            written: 0,
            runs: Vec::new(),
            meta,
        };
        writer.buffer.extend(header(id));
        Ok(writer)
    }

    /// Bytes so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Adds records of one room, in order of rev.
    ///
    /// # Errors
    /// `NoSpace` or `Io`.
    pub fn add_room(
        &mut self,
        room: RoomId,
        category: CategoryId,
        entries: &[TailEntry],
    ) -> Result<()> {
        let mut rest = entries;
        while !rest.is_empty() {
            rest = self.add_run(room, category, rest)?;
        }
        Ok(())
    }

    /// Adds one run; returns what did not fit into it.
    fn add_run<'a>(
        &mut self,
        room: RoomId,
        category: CategoryId,
        entries: &'a [TailEntry],
    ) -> Result<&'a [TailEntry]> {
        let Some(first) = entries.first() else { return Ok(entries) };
        let own = u64::from(takes_seq(first.kind));
        let first_time = entries.iter().find(|e| e.kind.is_entry()).map(|e| e.time_at);
        let mut run = Run {
            pack: self.meta.id,
            room,
            category,
            first_rev: first.rev,
            last_rev: first.rev,
            seq_base: Seq(first.seq_at.0.saturating_sub(own)),
            last_seq: Seq(first.seq_at.0.saturating_sub(own)),
            first_time: TimeUs::MAX,
            last_time: TimeUs::MIN,
            first_lsn: first.lsn,
            last_lsn: first.lsn,
            blocks: Vec::new(),
        };
        let mut taken = 0;
        let mut time_base = first_time.unwrap_or(TimeUs::MIN);
        while run.blocks.len() < limits::RUN_BLOCKS_MAX {
            let rest = entries.get(taken..).unwrap_or_default();
            let Some(next) = rest.first() else { break };
            if taken > 0 && next.rev != run.last_rev.next() {
                break;
            }
            taken += self.add_block(&mut run, rest, time_base)?;
            time_base = if run.last_time == TimeUs::MIN { time_base } else { run.last_time };
        }
        self.meta.min_time = self.meta.min_time.min(run.first_time);
        self.meta.max_time = self.meta.max_time.max(run.last_time);
        self.meta.first_lsn = self.meta.first_lsn.min(run.first_lsn);
        self.meta.last_lsn = self.meta.last_lsn.max(run.last_lsn);
        self.runs.push(run);
        Ok(entries.get(taken..).unwrap_or_default())
    }

    /// Fills one block; returns how many records it took.
    fn add_block(
        &mut self,
        run: &mut Run,
        entries: &[TailEntry],
        time_base: TimeUs,
    ) -> Result<usize> {
        let mut builder = BlockBuilder::default();
        let seq_base = run.last_seq;
        let first_rev = entries.first().map_or(run.last_rev, |e| e.rev);
        let mut rev = first_rev;
        let mut taken = 0;
        for entry in entries {
            let full = builder.len() + entry.bytes.len() > limits::BLOCK_BYTES_TARGET;
            if entry.rev != rev || (full && !builder.is_empty()) {
                break;
            }
            builder.push(&entry.bytes);
            rev = rev.next();
            taken += 1;
            run.last_rev = entry.rev;
            run.last_seq = entry.seq_at;
            run.first_lsn = run.first_lsn.min(entry.lsn);
            run.last_lsn = run.last_lsn.max(entry.lsn);
            if entry.kind.is_entry() {
                run.first_time = run.first_time.min(entry.time_at);
                run.last_time = run.last_time.max(entry.time_at);
            }
        }
        self.meta.plain_bytes += builder.len() as u64;
        self.meta.records += taken as u64;
        let records = builder.records();
        let start = self.buffer.len();
        builder
            .finish(&mut self.compressor, &mut self.buffer)
            .map_err(|e| Error::io("zstd", self.file.path(), &e))?;
        let block = self.buffer.get(start..).unwrap_or_default();
        run.blocks.push(BlockRef {
            offset: self.written + start as u64,
            bytes: u32::try_from(block.len()).unwrap_or(u32::MAX),
            crc: checksum(block),
            records,
            first_rev,
            seq_base,
            time_base,
        });
        if self.buffer.len() >= BUFFER_BYTES {
            self.spill()?;
        }
        Ok(taken)
    }

    fn spill(&mut self) -> Result<()> {
        self.hasher.update(&self.buffer);
        self.file.write(self.written, &self.buffer)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes run index and footer and makes the pack durable under its name.
    ///
    /// # Errors
    /// `NoSpace` or `Io`; the temporary file is left for [`remove_unfinished`].
    pub fn finish(mut self) -> Result<(PackMeta, Vec<Run>)> {
        self.runs.sort_by_key(|r| (r.category, r.room, r.first_rev));
        let index = encode_index(&self.runs);
        let footer = Footer {
            id: self.meta.id,
            index_offset: self.bytes(),
            index_bytes: index.len() as u64,
            index_crc: crc32fast::hash(&index),
            runs: self.runs.len() as u64,
            records: self.meta.records,
        };
        self.buffer.extend(index);
        self.buffer.extend(footer.to_bytes());
        self.spill()?;
        self.file.sync()?;
        self.meta.bytes = self.written;
        self.meta.runs = self.runs.len() as u64;
        self.meta.sha256.copy_from_slice(&self.hasher.finalize());
        // ORDERING: the pack is durable under its name before the manifest may name it.
        self.disk.rename_durably(DIR, &format!("{}.tmp", self.name), &self.name)?;
        Ok((self.meta, self.runs))
    }
}

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

const fn takes_seq(kind: Kind) -> bool {
    kind.is_entry() || matches!(kind, Kind::Lost)
}

#[derive(Clone, Copy, Debug)]
struct BlockWeight;

impl Weighter<(u64, u64), Arc<Block>> for BlockWeight {
    fn weight(&self, _: &(u64, u64), block: &Arc<Block>) -> u64 {
        block.weight() as u64
    }
}

/// The packs that exist, for readers.
pub struct Packs {
    disk: Disk,
    files: Cache<u64, Arc<DiskFile>>,
    blocks: Cache<(u64, u64), Arc<Block>, BlockWeight>,
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
        let key = (pack, block.offset);
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

    /// The run index of a pack.
    ///
    /// # Errors
    /// `Io`, or `Corrupt` naming file and offset.
    pub fn runs(&self, meta: &PackMeta) -> Result<Vec<Run>> {
        read_runs(&*self.file(meta.id)?, meta.id)
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

/// The run index of an open pack file; header and footer are verified too.
///
/// # Errors
/// `Io`, or `Corrupt` naming file and offset.
pub fn read_runs(file: &DiskFile, id: u64) -> Result<Vec<Run>> {
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
