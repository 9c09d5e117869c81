//! A bundle: small blocks of several rooms, compressed together.
//!
//! What a room of three messages takes is mostly zstd's tables and a header of its own. So blocks
//! that are small go to the disk some at a time: their sections of numbers one behind the other in
//! one zstd frame, their words in another. Each is a block still, of one room, and is found by its
//! room and first rev; whoever reads one inflates all, and decodes the records of that one only.
//! The checksum of the bundle stands in the run of each.
//!
//! INVARIANT: inflating allocates no more than `limits::BLOCK_BYTES_MAX` a section, and a block of
//! a bundle is under the same bounds as one alone.

use std::borrow::Cow;
use std::ops::Range;

use super::block::{Block, BlockBuilder, Decoded, Sizes, decode_sections};
use super::codec::{DecodeError, Reader, put_varint};
use super::columns::MakersAs;
use super::dictionary::{Compressor, Decompressor, Dictionary, DictionaryKind};
use crate::limits;
use crate::types::{Rev, RoomId};

/// First bytes of a bundle.
pub const BUNDLE_MAGIC: [u8; 4] = *b"HnBb";

/// The words are not compressed.
const WORDS_AS_THEY_ARE: u8 = 2;
/// The numbers are not compressed.
const NUMBERS_AS_THEY_ARE: u8 = 8;

/// Appends a bundle of these blocks, which start anew. They are small, so all are columns.
///
/// # Errors
/// If zstd refuses, which it does for want of memory only.
pub fn finish(
    blocks: &mut [BlockBuilder],
    compressor: &mut Compressor,
    out: &mut Vec<u8>,
) -> std::io::Result<()> {
    let (mut numbers, mut words, mut own) = (Vec::new(), Vec::new(), Vec::new());
    for block in blocks.iter_mut() {
        let (sizes, own_numbers, own_words) = block.sections();
        sizes.put(&mut numbers);
        own.extend_from_slice(own_numbers);
        words.extend_from_slice(own_words);
        block.clear();
    }
    numbers.append(&mut own);
    let mut form = 0;
    let mut smaller = |plain, flag| -> std::io::Result<Cow<'_, [u8]>> {
        let compressed = compressor.if_smaller(plain)?;
        form |= if compressed.is_none() { flag } else { 0 };
        Ok(compressed.map_or(Cow::Borrowed(plain), Cow::Owned))
    };
    let stored_numbers = smaller(&numbers, NUMBERS_AS_THEY_ARE)?;
    let stored_words = smaller(&words, WORDS_AS_THEY_ARE)?;
    let dictionary = match form == NUMBERS_AS_THEY_ARE | WORDS_AS_THEY_ARE {
        true => DictionaryKind::None,
        false => compressor.kind(),
    };
    out.extend_from_slice(&BUNDLE_MAGIC);
    out.extend_from_slice(&[form, dictionary.code()]);
    for size in [blocks.len(), numbers.len(), stored_numbers.len(), words.len()] {
        put_varint(out, size as u64);
    }
    out.extend_from_slice(&stored_numbers);
    out.extend_from_slice(&stored_words);
    Ok(())
}

/// True if these bytes begin as those of a bundle do.
#[must_use]
pub fn is_bundle(bytes: &[u8]) -> bool {
    bytes.starts_with(&BUNDLE_MAGIC)
}

/// The dictionary that a bundle says it was compressed with.
///
/// # Errors
/// If it does not begin as a bundle does.
pub fn dictionary_of(bytes: &[u8]) -> Result<DictionaryKind, DecodeError> {
    Header::get(&mut Reader::new(bytes)).map(|header| header.dictionary)
}

/// What a bundle says of itself before its sections.
struct Header {
    form: u8,
    dictionary: DictionaryKind,
    blocks: usize,
    /// The section of numbers before it was compressed, and as it stands.
    numbers: (usize, usize),
    /// The section of words before it was compressed.
    words: usize,
}

impl Header {
    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if reader.array::<4>("bundle.magic")? != BUNDLE_MAGIC {
            return Err(DecodeError { what: "bundle.magic", at: 0 });
        }
        let form = reader.u8("bundle.form")?;
        if form & !(WORDS_AS_THEY_ARE | NUMBERS_AS_THEY_ARE) != 0 {
            return Err(DecodeError { what: "bundle.form", at: 4 });
        }
        let dictionary = DictionaryKind::of(reader.u8("bundle.dictionary")?)
            .ok_or(DecodeError { what: "bundle.dictionary", at: 5 })?;
        Ok(Self {
            form,
            dictionary,
            blocks: reader.count(limits::BUNDLE_BLOCKS_MAX, "bundle.blocks")?,
            numbers: (
                reader.count(limits::BLOCK_BYTES_MAX, "bundle.numbers")?,
                reader.count(limits::BLOCK_BYTES_MAX, "bundle.numbers")?,
            ),
            words: reader.count(limits::BLOCK_BYTES_MAX, "bundle.words")?,
        })
    }
}

/// A block of a bundle: whose it is, and where its sections stand.
#[derive(Clone, Debug)]
struct Member {
    room: RoomId,
    first_rev: Rev,
    sizes: Sizes,
    numbers: Range<usize>,
    words: Range<usize>,
}

/// A bundle that was inflated.
#[derive(Clone, Debug)]
pub struct Bundle {
    numbers: Vec<u8>,
    words: Vec<u8>,
    members: Vec<Member>,
}

impl Bundle {
    /// Inflates a bundle whose checksum was verified. `own` is the dictionary of its pack, which is
    /// needed only if its header says so.
    ///
    /// # Errors
    /// If the header, a section or a size is wrong, or it needs a dictionary that is not given.
    pub fn inflate(
        bytes: &[u8],
        own: Option<&Dictionary>,
        decompressor: &mut Decompressor,
    ) -> Result<Self, DecodeError> {
        let reader = &mut Reader::new(bytes);
        let header = Header::get(reader)?;
        let missing = DecodeError { what: "bundle.dictionary", at: 5 };
        let dictionary = header.dictionary.find(own, missing)?;
        let at = reader.position();
        let mut plain = |stored: &[u8], size: usize, flag, what| {
            let wrong = DecodeError { what, at };
            let plain = match header.form & flag {
                0 => decompressor.decompress(stored, size, dictionary).map_err(|_| wrong)?,
                _ => stored.to_vec(),
            };
            if plain.len() == size { Ok(plain) } else { Err(wrong) }
        };
        let (size, stored) = header.numbers;
        let stored = reader.take(stored, "bundle.numbers")?;
        let numbers = plain(stored, size, NUMBERS_AS_THEY_ARE, "bundle.numbers")?;
        let words = plain(reader.rest(), header.words, WORDS_AS_THEY_ARE, "bundle.words")?;
        // Where inside of the sections does not matter: they are checked as a whole.
        let members = members(&numbers, words.len(), header.blocks);
        let members = members.map_err(|e| DecodeError { at, ..e })?;
        Ok(Self { numbers, words, members })
    }

    /// The block of a room that begins with this rev.
    ///
    /// # Errors
    /// If it is not there, or is none.
    pub fn block(&self, room: RoomId, first_rev: Rev) -> Result<Block, DecodeError> {
        self.decode(room, first_rev)
    }

    /// The same as whatever is made of it.
    ///
    /// # Errors
    /// The same.
    pub(crate) fn decode<B: Decoded>(
        &self,
        room: RoomId,
        first_rev: Rev,
    ) -> Result<B, DecodeError> {
        let at = BUNDLE_MAGIC.len();
        let is = |member: &&Member| (member.room, member.first_rev) == (room, first_rev);
        let member = self.members.iter().find(is);
        let member = member.ok_or(DecodeError { what: "bundle.block", at })?;
        let numbers = self.numbers.get(member.numbers.clone()).unwrap_or_default();
        let words = self.words.get(member.words.clone()).unwrap_or_default();
        let block = decode_sections((numbers, words), MakersAs::Columns, member.sizes);
        block.map_err(|e| DecodeError { at, ..e })
    }

    /// The rooms whose blocks it holds, and the first rev of each.
    pub fn blocks(&self) -> impl Iterator<Item = (RoomId, Rev)> + '_ {
        self.members.iter().map(|member| (member.room, member.first_rev))
    }

    /// Memory it holds.
    #[must_use]
    pub fn weight(&self) -> usize {
        let members = self.members.len() * size_of::<Member>();
        self.numbers.len() + self.words.len() + members + size_of::<Self>()
    }
}

/// Where the blocks of a bundle stand in its sections, which they fill.
fn members(numbers: &[u8], words: usize, blocks: usize) -> Result<Vec<Member>, DecodeError> {
    let reader = &mut Reader::new(numbers);
    let mut all = Vec::with_capacity(blocks);
    for _ in 0..blocks {
        all.push(Sizes::get(reader)?);
    }
    let mut word_at = 0_usize;
    let mut members = Vec::with_capacity(blocks);
    for sizes in all {
        let start = reader.position();
        let own = reader.take(sizes.numbers, "bundle.numbers")?;
        let own = &mut Reader::new(own);
        let (room, first_rev) = (own.varint("block.room")?, own.varint("block.first_rev")?);
        let end = word_at.saturating_add(sizes.words);
        members.push(Member {
            room: RoomId(room),
            first_rev: Rev(first_rev),
            numbers: start..start + sizes.numbers,
            words: word_at..end,
            sizes,
        });
        word_at = end;
    }
    if word_at != words {
        return Err(reader.error("bundle.words"));
    }
    reader.end("bundle.numbers")?;
    Ok(members)
}

#[cfg(test)]
#[path = "bundle_tests.rs"]
mod tests;
