//! A block: consecutive records of one room, compressed together.
//!
//! Bytes: a header (magic, form, dictionary, counts), the section of numbers, and the section of
//! words, a zstd frame or the words as they are. Records that fit stand as columns (see `columns`),
//! others as rows: each as varint length and record, all of them words. The checksum stands in the
//! run index.
//!
//! INVARIANT: decoding never allocates more than `limits::BLOCK_BYTES_MAX` a section.

use bytes::Bytes;

use super::codec::{DecodeError, Reader, put_bytes, put_varint};
use super::columns::{Columns, MakersAs, Sections, Span};
use super::dictionary::{Compressor, Decompressor, Dictionary, DictionaryKind};
use crate::limits;

/// First bytes of a block.
pub const BLOCK_MAGIC: [u8; 4] = *b"HnBk";
/// The bytes before the sections, at most.
pub const BLOCK_HEADER_BYTES_MAX: usize = 6 + 4 * 5;

/// The records stand as columns.
const AS_COLUMNS: u8 = 1;
/// The words are not compressed.
const WORDS_AS_THEY_ARE: u8 = 2;
/// The makers stand as columns; with columns only.
const MAKERS_AS_COLUMNS: u8 = 4;

/// The checksum of a block, which stands in its run.
#[must_use]
pub fn checksum(block: &[u8]) -> u32 {
    crc32fast::hash(block)
}

/// How much a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Its records.
    pub records: usize,
    /// The bytes of its records.
    pub record_bytes: usize,
    /// The section of numbers.
    pub(super) numbers: usize,
    /// The section of words before it was compressed.
    pub(super) words: usize,
}

impl Sizes {
    pub(super) fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            records: reader.count(limits::BLOCK_RECORDS_MAX, "block.records")?,
            record_bytes: reader.count(limits::BLOCK_BYTES_MAX, "block.record_bytes")?,
            numbers: reader.count(limits::BLOCK_BYTES_MAX, "block.numbers")?,
            words: reader.count(limits::BLOCK_BYTES_MAX, "block.words")?,
        })
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        for size in [self.records, self.record_bytes, self.numbers, self.words] {
            put_varint(out, size as u64);
        }
    }
}

/// What a block says of itself before its sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    form: u8,
    /// The dictionary its words were compressed with.
    pub dictionary: DictionaryKind,
    /// How much it holds.
    pub sizes: Sizes,
}

impl BlockHeader {
    /// Reads a block's header.
    ///
    /// # Errors
    /// If it is none, or says more than a block may hold.
    pub fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if reader.array::<4>("block.magic")? != BLOCK_MAGIC {
            return Err(DecodeError { what: "block.magic", at: 0 });
        }
        let form = reader.u8("block.form")?;
        let known = form & !(AS_COLUMNS | WORDS_AS_THEY_ARE | MAKERS_AS_COLUMNS) == 0;
        if !known || form & (AS_COLUMNS | MAKERS_AS_COLUMNS) == MAKERS_AS_COLUMNS {
            return Err(DecodeError { what: "block.form", at: 4 });
        }
        let dictionary = DictionaryKind::of(reader.u8("block.dictionary")?)
            .ok_or(DecodeError { what: "block.dictionary", at: 5 })?;
        Ok(Self { form, dictionary, sizes: Sizes::get(reader)? })
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&BLOCK_MAGIC);
        out.extend_from_slice(&[self.form, self.dictionary.code()]);
        self.sizes.put(out);
    }
}

/// Collects the records of a block.
#[derive(Debug, Default)]
pub struct BlockBuilder {
    /// As rows, in case one of them does not fit columns.
    rows: Vec<u8>,
    columns: Columns,
    /// One does not.
    unfit: bool,
    records: usize,
    record_bytes: usize,
    numbers: Vec<u8>,
    words: Vec<u8>,
}

impl BlockBuilder {
    /// Adds a record.
    pub fn push(&mut self, record: &[u8]) {
        put_bytes(&mut self.rows, record);
        self.unfit = self.unfit || !self.columns.push(record);
        self.records += 1;
        self.record_bytes += record.len();
    }

    /// One that keeps its records as rows whatever they are: for comparison.
    #[must_use]
    pub fn of_rows() -> Self {
        Self { unfit: true, ..Self::default() }
    }

    /// About the bytes of the block before it is compressed.
    #[must_use]
    pub fn weight(&self) -> usize {
        if self.unfit { self.rows.len() } else { self.columns.weight() }
    }

    /// True if so many more bytes should stand in another block.
    #[must_use]
    pub fn is_full_for(&self, record: usize) -> bool {
        !self.is_empty()
            && (self.weight() + record > limits::BLOCK_BYTES_TARGET
                || self.rows.len() + record > limits::BLOCK_ROWS_TARGET
                || self.records >= limits::BLOCK_RECORDS_TARGET)
    }

    /// Bytes of the records so far.
    #[must_use]
    pub const fn record_bytes(&self) -> usize {
        self.record_bytes
    }

    /// True if it holds nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Records so far.
    #[must_use]
    pub const fn records(&self) -> usize {
        self.records
    }

    /// True if it is so small that it is better off in a bundle.
    #[must_use]
    pub fn is_small(&self) -> bool {
        !self.unfit && self.weight() <= limits::BUNDLED_BYTES_MAX
    }

    /// What was collected as sections of numbers and words, and their sizes.
    pub(super) fn sections(&mut self) -> (Sizes, &[u8], &[u8]) {
        let words = if self.unfit {
            &self.rows
        } else {
            self.columns.put(&mut self.numbers, &mut self.words);
            &self.words
        };
        let sizes = Sizes {
            records: self.records,
            record_bytes: self.record_bytes,
            numbers: self.numbers.len(),
            words: words.len(),
        };
        (sizes, &self.numbers, words)
    }

    /// Starts anew, with the memory it had.
    pub(super) fn clear(&mut self) {
        for bytes in [&mut self.rows, &mut self.numbers, &mut self.words] {
            bytes.clear();
        }
        self.columns.clear();
        (self.unfit, self.records, self.record_bytes) = (false, 0, 0);
    }

    /// Compresses what was collected, appends the block to `out` and starts anew.
    ///
    /// # Errors
    /// If zstd refuses, which it does for want of memory only.
    pub fn finish(
        &mut self,
        compressor: &mut Compressor,
        out: &mut Vec<u8>,
    ) -> std::io::Result<()> {
        let mut form = if self.unfit { 0 } else { AS_COLUMNS | MAKERS_AS_COLUMNS };
        let (sizes, numbers, words) = self.sections();
        let compressed = compressor.if_smaller(words)?;
        let (body, dictionary) = match &compressed {
            Some(compressed) => (&**compressed, compressor.kind()),
            None => {
                form |= WORDS_AS_THEY_ARE;
                (words, DictionaryKind::None)
            }
        };
        BlockHeader { form, dictionary, sizes }.put(out);
        out.extend_from_slice(numbers);
        out.extend_from_slice(body);
        self.clear();
        Ok(())
    }
}

/// What becomes of a block's bytes: records one behind the other, or what readers keep of them.
pub(crate) trait Decoded: Sized {
    /// Of columns, which were read.
    fn of_sections(sections: Sections<'_>, sizes: Sizes) -> Result<Self, DecodeError>;

    /// Of rows, which are records as they are.
    fn of_rows(rows: Block) -> Self;

    /// How many records it holds.
    fn len(&self) -> usize;
}

/// Decodes a block whose checksum was verified. `own` is the dictionary of its pack, which is
/// needed only if its header says so.
///
/// # Errors
/// If the header, a section or the records are wrong, or it needs a dictionary that is not given.
pub(crate) fn decode<B: Decoded>(
    bytes: &[u8],
    own: Option<&Dictionary>,
    decompressor: &mut Decompressor,
) -> Result<B, DecodeError> {
    let reader = &mut Reader::new(bytes);
    let header = BlockHeader::get(reader)?;
    let numbers = reader.take(header.sizes.numbers, "block.numbers")?;
    let at = reader.position();
    let inflated;
    let words = if header.form & WORDS_AS_THEY_ARE == 0 {
        let missing = DecodeError { what: "block.dictionary", at: 5 };
        let dictionary = header.dictionary.find(own, missing)?;
        inflated = decompressor
            .decompress(reader.rest(), header.sizes.words, dictionary)
            .map_err(|_| DecodeError { what: "block.zstd", at })?;
        &*inflated
    } else {
        reader.rest()
    };
    if words.len() != header.sizes.words {
        return Err(DecodeError { what: "block.words", at });
    }
    // Where inside of the sections does not matter: they are checked as a whole.
    let wrong = |e: DecodeError| DecodeError { at, ..e };
    if header.form & AS_COLUMNS == 0 {
        return Block::of_rows(words, numbers, header.sizes).map(B::of_rows).map_err(wrong);
    }
    let makers_as = match header.form & MAKERS_AS_COLUMNS {
        0 => MakersAs::Whole,
        _ => MakersAs::Columns,
    };
    decode_sections((numbers, words), makers_as, header.sizes).map_err(wrong)
}

/// Decodes the sections of a block of columns.
///
/// # Errors
/// If they are not of so many records and bytes.
pub(super) fn decode_sections<B: Decoded>(
    sections: (&[u8], &[u8]),
    makers_as: MakersAs,
    sizes: Sizes,
) -> Result<B, DecodeError> {
    let sections = Sections::get(sections, makers_as, sizes.records, sizes.record_bytes)?;
    B::of_sections(sections, sizes)
}

/// A decoded block: its records' shared bytes and where each ends in them.
#[derive(Clone, Debug)]
pub struct Block {
    plain: Bytes,
    spans: Vec<Span>,
}

impl Decoded for Block {
    fn of_sections(sections: Sections<'_>, sizes: Sizes) -> Result<Self, DecodeError> {
        let (plain, spans) = sections.whole(sizes.record_bytes)?;
        if plain.len() != sizes.record_bytes {
            return Err(DecodeError { what: "block.record_bytes", at: 0 });
        }
        Ok(Self { spans, plain: Bytes::from(plain) })
    }

    fn of_rows(rows: Block) -> Self {
        rows
    }

    fn len(&self) -> usize {
        self.spans.len()
    }
}

impl Block {
    /// Decodes a block whose checksum was verified. `own` is the dictionary of its pack, which is
    /// needed only if its header says so.
    ///
    /// # Errors
    /// If the header, a section or the records are wrong, or it needs a dictionary that is not
    /// given.
    pub fn decode(
        bytes: &[u8],
        own: Option<&Dictionary>,
        decompressor: &mut Decompressor,
    ) -> Result<Self, DecodeError> {
        decode(bytes, own, decompressor)
    }

    fn of_rows(words: &[u8], numbers: &[u8], sizes: Sizes) -> Result<Self, DecodeError> {
        let mut spans = Vec::with_capacity(sizes.records);
        let walk = &mut Reader::new(words);
        let mut bytes = 0;
        for _ in 0..sizes.records {
            let record = walk.bytes(limits::RECORD_BYTES_MAX, "block.record")?;
            let start = walk.position() - record.len();
            let to_u32 = |n| u32::try_from(n).unwrap_or(u32::MAX);
            spans.push(Span { start: to_u32(start), bytes: to_u32(record.len()) });
            bytes += record.len();
        }
        walk.end("block.end")?;
        if !numbers.is_empty() || bytes != sizes.record_bytes {
            return Err(walk.error("block.record_bytes"));
        }
        Ok(Self { plain: Bytes::copy_from_slice(words), spans })
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
        let Span { start, bytes } = *self.spans.get(index)?;
        Some(self.plain.slice(start as usize..start as usize + bytes as usize))
    }

    /// The same without sharing them.
    #[must_use]
    pub fn bytes(&self, index: usize) -> Option<&[u8]> {
        let Span { start, bytes } = *self.spans.get(index)?;
        self.plain.get(start as usize..start as usize + bytes as usize)
    }

    /// Bytes of its records.
    #[must_use]
    pub fn record_bytes(&self) -> usize {
        self.spans.iter().map(|span| span.bytes as usize).sum()
    }

    /// Memory it holds.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.plain.len() + self.spans.len() * size_of::<Span>() + size_of::<Self>()
    }
}

#[cfg(test)]
#[path = "block_tests.rs"]
mod tests;
