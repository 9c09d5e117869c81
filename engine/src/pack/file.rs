//! An open pack: its index, its own dictionary, and blocks that were checked.
//!
//! INVARIANT: a block that is given was accepted by the checksum in its run, and so was its pack's
//! dictionary by the one in header or footer.

use std::sync::OnceLock;

use super::DIR;
use crate::error::{Error, Result};
use crate::format::block::{self, Block, BlockHeader, Decoded, checksum};
use crate::format::bundle::{self, Bundle};
use crate::format::codec::{DecodeError, Reader};
use crate::format::dictionary::{Decompressor, Dictionary, DictionaryKind};
use crate::format::pack::{
    DictionaryMark, FOOTER_BYTES, Footer, Header, PACK_HEADER_BYTES, PackIndex, Places,
    check_header, decode_index, pack_name, take_index, visit_index,
};
use crate::format::run::{BlockRef, Run};
use crate::format::runs::Runs;
use crate::storage::{Disk, DiskFile, Mode, join};
use crate::types::RoomId;

/// What stands where a fence says.
#[derive(Debug)]
pub(super) enum Stored<B> {
    /// The block.
    Alone(B),
    /// It and others.
    Together(Bundle),
}

/// Pack, offset and checksum of a bundle.
pub(super) type BundleKey = (u64, u64, u32);

/// What reading blocks needs beside their pack. Of one pack, for blocks that follow each other are
/// often of one bundle, and it keeps the last.
#[derive(Debug)]
pub struct BlockReader {
    decompressor: Decompressor,
    last: Option<(BundleKey, Bundle)>,
}

impl BlockReader {
    /// A reader; none for want of memory.
    #[must_use]
    pub fn new() -> Option<Self> {
        Decompressor::new().map(|decompressor| Self { decompressor, last: None })
    }
}

/// An open pack.
#[derive(Debug)]
pub struct PackFile {
    file: DiskFile,
    id: u64,
    /// Its own dictionary, once a block needed it.
    own: OnceLock<Dictionary>,
}

impl PackFile {
    /// Opens a pack of a directory; nothing is read yet.
    ///
    /// # Errors
    /// `Io`.
    pub fn open(disk: &Disk, id: u64) -> Result<Self> {
        disk.open(&join(DIR, &pack_name(id)), Mode::Read).map(|file| Self::new(file, id))
    }

    /// The open file of a pack.
    #[must_use]
    pub const fn new(file: DiskFile, id: u64) -> Self {
        Self { file, id, own: OnceLock::new() }
    }

    /// The file.
    #[must_use]
    pub const fn file(&self) -> &DiskFile {
        &self.file
    }

    fn wrong(&self, error: DecodeError, at: u64) -> Error {
        Error::corrupt(error.what, self.file.path(), at + error.at as u64, 0, 0)
    }

    /// What the header says, if it is that of this pack.
    ///
    /// # Errors
    /// `Io`, or `Corrupt` naming the file.
    pub fn header(&self) -> Result<Header> {
        let bytes = self.file.read(0, PACK_HEADER_BYTES)?;
        check_header(&bytes, self.id).map_err(|error| self.wrong(error, 0))
    }

    /// The footer, which must be of this pack.
    ///
    /// # Errors
    /// `Io`, or `Corrupt` naming file and offset.
    pub fn footer(&self) -> Result<Footer> {
        let len = self.file.len()?;
        let at = len.saturating_sub(FOOTER_BYTES as u64);
        let footer = Footer::parse(&self.file.read(at, FOOTER_BYTES)?, len)
            .map_err(|error| self.wrong(error, at))?;
        if footer.id != self.id {
            let path = self.file.path();
            return Err(Error::corrupt("pack number", path, at, self.id, footer.id));
        }
        Ok(footer)
    }

    /// The run index that a footer tells of.
    ///
    /// # Errors
    /// `Io`, or `Corrupt` naming file and offset.
    pub fn index_of(&self, footer: &Footer) -> Result<PackIndex> {
        decode_index(&self.index_bytes(footer)?, footer, self.file.path())
    }

    fn index_bytes(&self, footer: &Footer) -> Result<Vec<u8>> {
        let bytes = usize::try_from(footer.index_bytes).unwrap_or(usize::MAX);
        self.file.read(footer.index_offset, bytes)
    }

    /// What the pack says of itself; header and footer are verified too.
    ///
    /// # Errors
    /// `Io`, or `Corrupt` naming file and offset.
    pub fn index(&self) -> Result<PackIndex> {
        self.index_of(&self.checked_footer()?)
    }

    /// As [`Self::index`], giving the runs one by one: they count only if it returns well.
    ///
    /// # Errors
    /// The same.
    pub fn visit_index(&self, visit: &mut dyn FnMut(Run)) -> Result<Places> {
        let footer = self.checked_footer()?;
        visit_index(&self.index_bytes(&footer)?, &footer, self.file.path(), visit)
    }

    /// As [`Self::index`], the runs staying as the bytes they are.
    ///
    /// # Errors
    /// The same.
    pub fn take_index(&self) -> Result<(Runs, Places)> {
        let footer = self.checked_footer()?;
        take_index(self.index_bytes(&footer)?, &footer, self.file.path())
    }

    fn checked_footer(&self) -> Result<Footer> {
        let (header, footer) = (self.header()?, self.footer()?);
        let expected = footer.header();
        if header == expected {
            return Ok(footer);
        }
        let (what, at, expected, found) = match header.layout == expected.layout {
            true => {
                let (expected, found) = (expected.dictionary.crc, header.dictionary.crc);
                ("pack header and footer name two dictionaries", 16, expected, found)
            }
            false => ("pack header and footer name two formats", 4, expected.layout, header.layout),
        };
        Err(Error::corrupt(what, self.file.path(), at, expected.into(), found.into()))
    }

    /// The copy of its dictionary at a place, if it is what `mark` says.
    ///
    /// # Errors
    /// `Io`, or `Corrupt` naming file and offset.
    pub fn dictionary_at(&self, at: u64, mark: DictionaryMark) -> Result<Vec<u8>> {
        let bytes = self.file.read(at, mark.bytes as usize)?;
        let found = DictionaryMark::of(&bytes);
        if found == mark {
            return Ok(bytes);
        }
        let (expected, found) = (u64::from(mark.crc), u64::from(found.crc));
        Err(Error::corrupt("dictionary checksum mismatch", self.file.path(), at, expected, found))
    }

    /// What is wrong with the copies of its dictionary.
    ///
    /// # Errors
    /// As [`Self::footer`].
    pub fn dictionary_damage(&self) -> Result<Vec<Error>> {
        let footer = self.footer()?;
        let places = [PACK_HEADER_BYTES as u64, footer.blocks_end()];
        let copies = places.map(|at| self.dictionary_at(at, footer.dictionary));
        Ok(copies.into_iter().filter_map(Result::err).collect())
    }

    /// The pack's own dictionary, from whichever copy is sound.
    ///
    /// # Errors
    /// `Io`, or `Corrupt` naming file and offset.
    pub fn dictionary(&self) -> Result<&Dictionary> {
        if let Some(own) = self.own.get() {
            return Ok(own);
        }
        let start = PACK_HEADER_BYTES as u64;
        let first = self.header().and_then(|said| self.dictionary_at(start, said.dictionary));
        let bytes = first.or_else(|error| {
            let footer = self.footer().map_err(|_| error)?;
            self.dictionary_at(footer.blocks_end(), footer.dictionary)
        })?;
        let own = Dictionary::new(bytes).map_err(|error| self.wrong(error, start))?;
        Ok(self.own.get_or_init(|| own))
    }

    /// Reads, verifies and decodes a block of a room.
    ///
    /// # Errors
    /// `Io`, or `Corrupt` naming file and offset.
    pub fn block(&self, room: RoomId, fence: &BlockRef, reader: &mut BlockReader) -> Result<Block> {
        match &reader.last {
            Some((key, bundle)) if *key == self.key(fence) => self.within(bundle, room, fence),
            _ => self.decode(&self.read(fence)?, room, fence, reader),
        }
    }

    /// Verifies and decodes a block's bytes.
    ///
    /// # Errors
    /// `Corrupt` naming file and offset; `Io` of the dictionary.
    pub fn decode(
        &self,
        bytes: &[u8],
        room: RoomId,
        fence: &BlockRef,
        reader: &mut BlockReader,
    ) -> Result<Block> {
        if let Some((key, bundle)) = &reader.last
            && *key == self.key(fence)
            && checksum(bytes) == fence.crc
        {
            return self.within(bundle, room, fence);
        }
        match self.inflate(bytes, fence, &mut reader.decompressor)? {
            Stored::Alone(block) => Ok(block),
            Stored::Together(bundle) => {
                let block = self.within(&bundle, room, fence);
                reader.last = Some((self.key(fence), bundle));
                block
            }
        }
    }

    /// The bytes that a fence tells of, unverified.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn read(&self, fence: &BlockRef) -> Result<Vec<u8>> {
        self.file.read(fence.offset, fence.bytes as usize)
    }

    /// Names the bytes that a fence tells of.
    pub(super) const fn key(&self, fence: &BlockRef) -> BundleKey {
        (self.id, fence.offset, fence.crc)
    }

    /// Verifies and decodes the bytes that a fence tells of, a bundle but for its records.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub(super) fn inflate<B: Decoded>(
        &self,
        bytes: &[u8],
        fence: &BlockRef,
        decompressor: &mut Decompressor,
    ) -> Result<Stored<B>> {
        let found = checksum(bytes);
        if found != fence.crc {
            return Err(self.unlike(fence, "block checksum mismatch", fence.crc, found));
        }
        let wrong = |error| self.wrong(error, fence.offset);
        let together = bundle::is_bundle(bytes);
        let kind = match together {
            true => bundle::dictionary_of(bytes).map_err(wrong)?,
            false => BlockHeader::get(&mut Reader::new(bytes)).map_err(wrong)?.dictionary,
        };
        let own = match kind {
            DictionaryKind::Own => Some(self.dictionary()?),
            DictionaryKind::None | DictionaryKind::Generic => None,
        };
        if together {
            return Bundle::inflate(bytes, own, decompressor).map(Stored::Together).map_err(wrong);
        }
        let block = block::decode(bytes, own, decompressor).map_err(wrong)?;
        self.counted(block, fence).map(Stored::Alone)
    }

    /// The block of a bundle that a fence tells of.
    ///
    /// # Errors
    /// `Corrupt` naming file and offset.
    pub(super) fn within<B: Decoded>(
        &self,
        bundle: &Bundle,
        room: RoomId,
        fence: &BlockRef,
    ) -> Result<B> {
        let block = bundle.decode(room, fence.first_rev);
        self.counted(block.map_err(|error| self.wrong(error, fence.offset))?, fence)
    }

    fn counted<B: Decoded>(&self, block: B, fence: &BlockRef) -> Result<B> {
        if block.len() == fence.records as usize {
            return Ok(block);
        }
        let found = u32::try_from(block.len()).unwrap_or(u32::MAX);
        Err(self.unlike(fence, "block records", fence.records, found))
    }

    fn unlike(&self, fence: &BlockRef, what: &'static str, expected: u32, found: u32) -> Error {
        let (expected, found) = (u64::from(expected), u64::from(found));
        Error::corrupt(what, self.file.path(), fence.offset, expected, found)
    }
}
