//! A block: consecutive records of one room, compressed together.
//!
//! Bytes: header (magic, dictionary, plain length, record count) and a zstd frame. Plain bytes:
//! each record as varint length and record. The checksum stands in the run index.
//!
//! INVARIANT: decoding never allocates more than `limits::BLOCK_BYTES_MAX`.

use bytes::Bytes;

use super::codec::{DecodeError, Reader, put_bytes};
use crate::limits;

/// First bytes of a block.
pub const BLOCK_MAGIC: [u8; 4] = *b"HnBk";
/// The bytes before the compressed part.
pub const BLOCK_HEADER_BYTES: usize = 16;
/// The dictionary of a block that uses none.
pub const NO_DICTIONARY: u32 = 0;

/// The checksum of a block, which stands in its run.
#[must_use]
pub fn checksum(block: &[u8]) -> u32 {
    crc32fast::hash(block)
}

/// A compressor for blocks; none for want of memory.
#[must_use]
pub fn compressor(level: i32) -> Option<zstd::bulk::Compressor<'static>> {
    zstd::bulk::Compressor::new(level).ok()
}

/// Collects records into a block's plain bytes.
#[derive(Debug, Default)]
pub struct BlockBuilder {
    plain: Vec<u8>,
    records: u32,
}

impl BlockBuilder {
    /// Adds a record.
    pub fn push(&mut self, record: &[u8]) {
        put_bytes(&mut self.plain, record);
        self.records += 1;
    }

    /// Plain bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.plain.len()
    }

    /// True if it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Records so far.
    #[must_use]
    pub const fn records(&self) -> u32 {
        self.records
    }

    /// Compresses what was collected, appends the block to `out` and starts anew.
    ///
    /// # Errors
    /// If zstd refuses, which it does for want of memory only.
    pub fn finish(
        &mut self,
        compressor: &mut zstd::bulk::Compressor<'_>,
        out: &mut Vec<u8>,
    ) -> std::io::Result<()> {
        let compressed = compressor.compress(&self.plain)?;
        out.extend_from_slice(&BLOCK_MAGIC);
        out.extend_from_slice(&NO_DICTIONARY.to_le_bytes());
        let plain_bytes = u32::try_from(self.plain.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&plain_bytes.to_le_bytes());
        out.extend_from_slice(&self.records.to_le_bytes());
        out.extend_from_slice(&compressed);
        self.plain.clear();
        self.records = 0;
        Ok(())
    }
}

/// A decoded block: shared plain bytes and where each record stands in them.
#[derive(Clone, Debug)]
pub struct Block {
    plain: Bytes,
    spans: Vec<(u32, u32)>,
}

/// Decodes blocks one after another with one decompressor: making one takes as long as using it.
pub struct BlockDecoder(zstd::bulk::Decompressor<'static>);

impl std::fmt::Debug for BlockDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BlockDecoder")
    }
}

impl BlockDecoder {
    /// A decoder; none for want of memory.
    #[must_use]
    pub fn new() -> Option<Self> {
        zstd::bulk::Decompressor::new().ok().map(Self)
    }

    /// Decodes a block whose checksum was verified.
    ///
    /// # Errors
    /// As [`Block::decode`].
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Block, DecodeError> {
        Block::decode_by(bytes, |compressed, most| self.0.decompress(compressed, most))
    }
}

impl Block {
    /// Decodes a block whose checksum was verified.
    ///
    /// # Errors
    /// If the header, the compressed part or the record lengths are wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::decode_by(bytes, zstd::bulk::decompress)
    }

    fn decode_by(
        bytes: &[u8],
        decompress: impl FnOnce(&[u8], usize) -> std::io::Result<Vec<u8>>,
    ) -> Result<Self, DecodeError> {
        let reader = &mut Reader::new(bytes);
        if reader.array::<4>("block.magic")? != BLOCK_MAGIC {
            return Err(DecodeError { what: "block.magic", at: 0 });
        }
        if reader.u32("block.dictionary")? != NO_DICTIONARY {
            return Err(DecodeError { what: "block.dictionary", at: 4 });
        }
        let plain_bytes = reader.u32("block.plain_bytes")? as usize;
        let records = reader.u32("block.records")?;
        if plain_bytes > limits::BLOCK_BYTES_MAX || records as usize > plain_bytes {
            return Err(DecodeError { what: "block.sizes", at: 8 });
        }
        let compressed = bytes.get(BLOCK_HEADER_BYTES..).unwrap_or_default();
        let plain = decompress(compressed, plain_bytes)
            .map_err(|_| DecodeError { what: "block.zstd", at: BLOCK_HEADER_BYTES })?;
        if plain.len() != plain_bytes {
            return Err(DecodeError { what: "block.plain_bytes", at: 8 });
        }
        let mut spans = Vec::with_capacity(records as usize);
        let walk = &mut Reader::new(&plain);
        for _ in 0..records {
            let record = walk.bytes(limits::RECORD_BYTES_MAX, "block.record")?;
            let start = walk.position() - record.len();
            let to_u32 = |n| u32::try_from(n).unwrap_or(u32::MAX);
            spans.push((to_u32(start), to_u32(record.len())));
        }
        walk.end("block.end")?;
        Ok(Self { plain: Bytes::from(plain), spans })
    }

    /// How many records it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// True if it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The bytes of record `index`, shared with the block.
    #[must_use]
    pub fn record(&self, index: usize) -> Option<Bytes> {
        let (start, len) = *self.spans.get(index)?;
        Some(self.plain.slice(start as usize..start as usize + len as usize))
    }

    /// Bytes of its records with their lengths, before compression.
    #[must_use]
    pub fn plain_bytes(&self) -> usize {
        self.plain.len()
    }

    /// Memory it holds.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.plain.len() + self.spans.len() * size_of::<(u32, u32)>() + size_of::<Self>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut builder = BlockBuilder::default();
        for record in [&b"one"[..], b"", &[5; 2000]] {
            builder.push(record);
        }
        let mut out = Vec::new();
        let mut compressor = zstd::bulk::Compressor::new(3).unwrap();
        builder.finish(&mut compressor, &mut out).unwrap();
        assert!(builder.is_empty());
        out
    }

    #[test]
    fn a_block_gives_back_its_records() {
        let block = Block::decode(&sample()).unwrap();
        let mut decoder = BlockDecoder::new().unwrap();
        for _ in 0..2 {
            assert_eq!(decoder.decode(&sample()).unwrap().plain, block.plain);
        }
        assert_eq!(block.len(), 3);
        assert_eq!(block.record(0).unwrap(), &b"one"[..]);
        assert_eq!(block.record(2).unwrap().len(), 2000);
        assert_eq!(block.record(3), None);
    }

    #[test]
    fn no_mutation_of_a_block_panics() {
        let bytes = sample();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut mutated = bytes.clone();
                mutated[at] ^= 1 << bit;
                // Without its checksum a flip may decode; it must only not panic.
                let _ = Block::decode(&mutated);
            }
            assert!(Block::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }
}
