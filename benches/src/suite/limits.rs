//! What the machine can do at best: the bare loop of writes and syncs, and one core's speeds.
//!
//! The bare loop writes as many bytes at once as the engine's mean frame, in turn over a file that
//! was written once before, and syncs each: nothing that keeps a log can be faster and safe. It
//! writes past the page cache where the system can, which is the faster way.

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Instant;

use super::turns::Lap;
use crate::tournament::Outcome;

/// Its name in tables.
pub const BARE: &str = "bare loop";
const FILE_BYTES: usize = 16 * 1024 * 1024;
const SECTOR_BYTES: usize = 4096;

/// A file that is written over and over.
pub struct Bare {
    file: File,
    at: usize,
    /// Bytes of a write; they stand in `memory` where a sector begins.
    bytes: usize,
    memory: Vec<u8>,
}

impl Bare {
    /// Makes the file below `dir`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn new(dir: &Path) -> Outcome<Self> {
        let path = dir.join("bare");
        let file = File::options().create_new(true).write(true).open(&path)?;
        file.write_all_at(&vec![0; FILE_BYTES], 0)?;
        file.sync_all()?;
        let flags = i32::try_from(rustix::fs::OFlags::DIRECT.bits())?;
        let direct = File::options().write(true).custom_flags(flags).open(&path);
        let mut bare = Self { file: direct.unwrap_or(file), at: 0, bytes: 0, memory: Vec::new() };
        bare.set_bytes(SECTOR_BYTES);
        Ok(bare)
    }

    /// Writes so many bytes at once from now on, rounded up to whole sectors.
    pub fn set_bytes(&mut self, bytes: usize) {
        self.bytes = bytes.clamp(1, FILE_BYTES).next_multiple_of(SECTOR_BYTES);
        if self.memory.len() < self.bytes + SECTOR_BYTES {
            self.memory = vec![0x5a; self.bytes + SECTOR_BYTES];
        }
    }

    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// One write and one sync.
    ///
    /// # Errors
    /// If either fails.
    pub fn write(&mut self) -> Outcome<()> {
        if self.at + self.bytes > FILE_BYTES {
            self.at = 0;
        }
        let start = self.memory.as_ptr().align_offset(SECTOR_BYTES);
        self.file.write_all_at(&self.memory[start..][..self.bytes], self.at as u64)?;
        self.file.sync_data()?;
        self.at += self.bytes;
        Ok(())
    }

    /// So many writes, each noted.
    ///
    /// # Errors
    /// If one fails.
    pub fn lap(&mut self, writes: u64) -> Outcome<Lap> {
        let begun = Instant::now();
        let (mut each, mut since) = (Vec::new(), begun);
        for _ in 0..writes {
            self.write()?;
            let now = Instant::now();
            each.push(now - since);
            since = now;
        }
        Ok(Lap { took: since - begun, count: writes, each })
    }
}

/// Bytes that a pass of a memory speed takes: so many operations of a MiB.
pub const PASS_MIB: u64 = 8;
const MIB: usize = 1024 * 1024;
pub const PASS_BYTES: usize = 8 * MIB;

/// Copies memory.
#[must_use]
pub fn copy(from: &[u8], to: &mut [u8]) -> Lap {
    let begun = Instant::now();
    to.copy_from_slice(black_box(from));
    black_box(&to);
    lap(begun, from.len())
}

/// The checksum of everything on disk.
#[must_use]
pub fn checksum(bytes: &[u8]) -> Lap {
    let begun = Instant::now();
    black_box(crc32fast::hash(black_box(bytes)));
    lap(begun, bytes.len())
}

/// Blocks of 8 KiB of text, compressed as packs are.
pub struct Blocks {
    plain: Vec<Vec<u8>>,
    packed: Vec<Vec<u8>>,
    bytes: usize,
}

/// The level of a pack's blocks.
const LEVEL: i32 = 3;
const BLOCK_BYTES: usize = 8 * 1024;

impl Blocks {
    /// Cuts a text.
    ///
    /// # Errors
    /// If zstd fails.
    pub fn of(text: &[u8]) -> Outcome<Self> {
        let plain: Vec<Vec<u8>> = text.chunks(BLOCK_BYTES).map(<[u8]>::to_vec).collect();
        let packed: Result<_, _> = plain.iter().map(|b| zstd::bulk::compress(b, LEVEL)).collect();
        Ok(Self { plain, packed: packed?, bytes: text.len() })
    }

    /// Compresses all.
    ///
    /// # Errors
    /// If zstd fails.
    pub fn compress(&self) -> Outcome<Lap> {
        let mut zstd = zstd::bulk::Compressor::new(LEVEL)?;
        let begun = Instant::now();
        for block in &self.plain {
            black_box(zstd.compress(block)?);
        }
        Ok(lap(begun, self.bytes))
    }

    /// Decompresses all.
    ///
    /// # Errors
    /// If zstd fails.
    pub fn decompress(&self) -> Outcome<Lap> {
        let mut zstd = zstd::bulk::Decompressor::new()?;
        let begun = Instant::now();
        for block in &self.packed {
            black_box(zstd.decompress(block, BLOCK_BYTES)?);
        }
        Ok(lap(begun, self.bytes))
    }
}

fn lap(begun: Instant, bytes: usize) -> Lap {
    Lap { took: begun.elapsed(), count: (bytes / MIB) as u64, each: Vec::new() }
}
