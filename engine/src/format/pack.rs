//! A pack file: header, its own dictionary if it has one, blocks, the dictionary again, run index,
//! footer.
//!
//! INVARIANT: header, run index and footer have a checksum of their own; each block is covered by
//! its checksum in the run index, and both copies of the dictionary by that in header and footer;
//! so every byte of a pack is covered.

use std::ops::Range;
use std::path::Path;

use super::codec::{DecodeError, Reader, put_varint};
use super::payload::LsnSpan;
use super::run::Run;
use super::run_before;
use super::runs::Runs;
use super::wire::{Wire, to_bytes, wire_struct};
use super::{LAYOUT, SECTOR_BYTES, reads};
use crate::error::{Error, Result};
use crate::limits::{DICTIONARY_BYTES_MAX, PACK_DROPPED_MAX, POSITION_MAX};
use crate::types::{Lsn, TimeUs};

/// First bytes of a pack.
pub const PACK_MAGIC: [u8; 4] = *b"HnPk";
/// Last bytes of a pack.
pub const FOOTER_MAGIC: [u8; 4] = *b"HnPe";
/// The header's bytes.
pub const PACK_HEADER_BYTES: usize = 28;
/// The footer's bytes.
pub const FOOTER_BYTES: usize = 72;

wire_struct! {
    /// What the manifest says of a pack.
    pub struct PackMeta {
        /// Its number, never used twice.
        pub id: u64,
        /// Its length.
        pub bytes: u64,
        /// SHA-256 of the whole file.
        pub sha256: [u8; 32],
        /// Its retention class.
        pub class: u32,
        /// How far it was merged: 0 as sealed, 1 parts of a day, 2 a day, 3 a month, 4 a year.
        pub level: u32,
        /// The first UTC day of `recorded` it belongs to, as a time.
        pub day: TimeUs,
        /// The smallest place in the log.
        pub first_lsn: Lsn,
        /// The largest place in the log.
        pub last_lsn: Lsn,
        /// Its records.
        pub records: u64,
        /// Its runs.
        pub runs: u64,
        /// The smallest time of an entry.
        pub min_time: TimeUs,
        /// The largest time of an entry.
        pub max_time: TimeUs,
        /// Its records' bytes before compression.
        pub plain_bytes: u64,
        /// Records that stood in its place and were dropped.
        pub dropped: u64,
    }
}

wire_struct! {
    /// What a pack says of itself.
    pub struct PackIndex {
        /// Its runs, sorted by category, room and first rev.
        pub runs: Vec<Run>,
        /// The places in the log of the records that were dropped, in order.
        pub dropped: Places,
    }
}

/// Places of the log as spans, in order and apart from each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places(pub Vec<LsnSpan>);

impl Places {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        let places = self.0.iter().map(|span| (span.last.0 - span.first.0).saturating_add(1));
        places.fold(0, u64::saturating_add)
    }
}

impl Wire for Places {
    const SHAPE: &'static str = "varint count; for each span a varint gap, counted from 0 at first \
         and then from two behind the one before; a varint length less 1";

    fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.0.len() as u64);
        let mut at = 0;
        for span in &self.0 {
            put_varint(out, span.first.0.saturating_sub(at));
            put_varint(out, span.last.0.saturating_sub(span.first.0));
            at = span.last.0.saturating_add(2);
        }
    }

    fn get(reader: &mut Reader<'_>, field: &'static str) -> std::result::Result<Self, DecodeError> {
        let count = reader.count(reader.remaining(), field)?;
        let mut spans = Vec::with_capacity(count.min(1024));
        let mut at: u64 = 0;
        for _ in 0..count {
            let wrong = reader.error(field);
            let first = at.checked_add(reader.varint(field)?).ok_or(wrong)?;
            let last =
                first.checked_add(reader.varint(field)?).filter(|last| *last <= POSITION_MAX);
            let last = last.ok_or(wrong)?;
            spans.push(LsnSpan { first: Lsn(first), last: Lsn(last) });
            at = last + 2;
        }
        let places = Self(spans);
        if places.count() > PACK_DROPPED_MAX {
            return Err(reader.error(field));
        }
        Ok(places)
    }
}

/// A pack's file name.
#[must_use]
pub fn pack_name(id: u64) -> String {
    format!("{id:08}.pack")
}

/// The number in a pack's file name.
#[must_use]
pub fn pack_number(name: &str) -> Option<u64> {
    let number = name.strip_suffix(".pack")?.parse().ok()?;
    (pack_name(number) == name).then_some(number)
}

/// What header and footer say of the pack's own dictionary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DictionaryMark {
    /// Its bytes; zero if there is none.
    pub bytes: u32,
    /// Its CRC-32.
    pub crc: u32,
}

impl DictionaryMark {
    /// What to say of a dictionary.
    #[must_use]
    pub fn of(dictionary: &[u8]) -> Self {
        let bytes = u32::try_from(dictionary.len()).unwrap_or(u32::MAX);
        Self { bytes, crc: crc32fast::hash(dictionary) }
    }

    /// True if it says that there is one.
    #[must_use]
    pub const fn is_some(self) -> bool {
        self.bytes > 0
    }

    fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes.to_le_bytes());
        out.extend_from_slice(&self.crc.to_le_bytes());
    }

    fn get(reader: &mut Reader<'_>) -> std::result::Result<Self, DecodeError> {
        let wrong = reader.error("pack.dictionary_bytes");
        let bytes = reader.u32("pack.dictionary_bytes")?;
        let crc = reader.u32("pack.dictionary_crc")?;
        let fits = bytes as usize <= DICTIONARY_BYTES_MAX && (bytes > 0 || crc == 0);
        if fits { Ok(Self { bytes, crc }) } else { Err(wrong) }
    }
}

/// What a header says beside its pack's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The layout that the pack was written in.
    pub layout: u32,
    /// Its own dictionary.
    pub dictionary: DictionaryMark,
}

/// The bytes of the header of a pack in a layout.
#[must_use]
pub fn header_of(id: u64, Header { layout, dictionary }: Header) -> Vec<u8> {
    let mut out = Vec::with_capacity(PACK_HEADER_BYTES);
    out.extend_from_slice(&PACK_MAGIC);
    out.extend_from_slice(&layout.to_le_bytes());
    out.extend_from_slice(&id.to_le_bytes());
    dictionary.put(&mut out);
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// The bytes of a new pack's header.
#[must_use]
pub fn header(id: u64, dictionary: DictionaryMark) -> Vec<u8> {
    header_of(id, Header { layout: LAYOUT, dictionary })
}

/// Checks a header, and gives what it says.
///
/// # Errors
/// If it is not the header of pack `id`.
pub fn check_header(bytes: &[u8], id: u64) -> std::result::Result<Header, DecodeError> {
    let wrong = DecodeError { what: "pack.header", at: 0 };
    let reader = &mut Reader::new(bytes);
    let mut get = || {
        reader.take(4, "pack.magic")?;
        let layout = reader.u32("pack.layout")?;
        reader.take(8, "pack.id")?;
        Ok(Header { layout, dictionary: DictionaryMark::get(reader)? })
    };
    let header = get().map_err(|_: DecodeError| wrong)?;
    let sound = reads(header.layout) && bytes == header_of(id, header);
    if sound { Ok(header) } else { Err(wrong) }
}

/// Where the run index stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    /// The layout that the pack was written in.
    pub layout: u32,
    /// The pack's number.
    pub id: u64,
    /// Where the run index starts.
    pub index_offset: u64,
    /// Its bytes.
    pub index_bytes: u64,
    /// Its CRC-32.
    pub index_crc: u32,
    /// Its runs.
    pub runs: u64,
    /// The records of all runs.
    pub records: u64,
    /// Its retention class.
    pub class: u32,
    /// How far it was merged.
    pub level: u32,
    /// Its own dictionary, of which one copy ends where the run index starts.
    pub dictionary: DictionaryMark,
}

impl Footer {
    /// The footer's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FOOTER_BYTES);
        out.extend_from_slice(&self.id.to_le_bytes());
        out.extend_from_slice(&self.index_offset.to_le_bytes());
        out.extend_from_slice(&self.index_bytes.to_le_bytes());
        out.extend_from_slice(&self.runs.to_le_bytes());
        out.extend_from_slice(&self.records.to_le_bytes());
        out.extend_from_slice(&self.index_crc.to_le_bytes());
        out.extend_from_slice(&self.layout.to_le_bytes());
        out.extend_from_slice(&self.class.to_le_bytes());
        out.extend_from_slice(&self.level.to_le_bytes());
        self.dictionary.put(&mut out);
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&FOOTER_MAGIC);
        out
    }

    /// Reads the footer of a pack of `file_bytes`.
    ///
    /// # Errors
    /// If it is not a footer, or points outside the file.
    pub fn parse(bytes: &[u8], file_bytes: u64) -> std::result::Result<Self, DecodeError> {
        let wrong = |what| DecodeError { what, at: 0 };
        let covered = bytes.get(..FOOTER_BYTES - 8).ok_or(wrong("pack.footer"))?;
        let tail = &mut Reader::new(bytes.get(FOOTER_BYTES - 8..).unwrap_or_default());
        let crc = tail.u32("pack.footer_crc")?;
        if tail.array::<4>("pack.footer_magic")? != FOOTER_MAGIC {
            return Err(wrong("pack.footer_magic"));
        }
        tail.end("pack.footer")?;
        if crc32fast::hash(covered) != crc {
            return Err(wrong("pack.footer_crc"));
        }
        let reader = &mut Reader::new(covered);
        let mut footer = Self {
            layout: 0,
            id: reader.u64("pack.id")?,
            index_offset: reader.u64("pack.index_offset")?,
            index_bytes: reader.u64("pack.index_bytes")?,
            runs: reader.u64("pack.runs")?,
            records: reader.u64("pack.records")?,
            index_crc: reader.u32("pack.index_crc")?,
            class: 0,
            level: 0,
            dictionary: DictionaryMark::default(),
        };
        footer.layout = reader.u32("pack.layout")?;
        footer.class = reader.u32("pack.class")?;
        footer.level = reader.u32("pack.level")?;
        footer.dictionary = DictionaryMark::get(reader)?;
        let end = footer.index_offset.checked_add(footer.index_bytes);
        let fits = end.and_then(|end| end.checked_add(FOOTER_BYTES as u64)) == Some(file_bytes)
            && footer.blocks_start() <= footer.blocks_end();
        if reads(footer.layout) && fits { Ok(footer) } else { Err(wrong("pack.footer_sizes")) }
    }
}

impl Footer {
    /// What the header must say.
    #[must_use]
    pub const fn header(&self) -> Header {
        Header { layout: self.layout, dictionary: self.dictionary }
    }

    /// Where the first block may stand.
    #[must_use]
    pub fn blocks_start(&self) -> u64 {
        PACK_HEADER_BYTES as u64 + u64::from(self.dictionary.bytes)
    }

    /// Where the last block ends at most, and the second copy of the dictionary stands.
    #[must_use]
    pub fn blocks_end(&self) -> u64 {
        self.index_offset.saturating_sub(u64::from(self.dictionary.bytes))
    }
}

/// The run index's bytes in a pack of a layout.
#[must_use]
pub fn encode_index(index: &PackIndex, layout: u32) -> Vec<u8> {
    if layout == LAYOUT {
        return to_bytes(index);
    }
    let mut out = Vec::new();
    put_varint(&mut out, index.runs.len() as u64);
    index.runs.iter().for_each(|run| run_before::put(run, &mut out));
    index.dropped.put(&mut out);
    out
}

/// The same of runs that are bytes already.
#[must_use]
pub fn encode_runs(runs: &Runs, dropped: &Places) -> Vec<u8> {
    let mut out = Vec::with_capacity(runs.bytes().len() + 32);
    put_varint(&mut out, runs.len());
    out.extend_from_slice(runs.bytes());
    dropped.put(&mut out);
    out
}

/// Reads a run index and checks it against the footer.
///
/// # Errors
/// `Corrupt` naming the file, if the checksum, the form or the counts are wrong.
pub fn decode_index(bytes: &[u8], footer: &Footer, file: &Path) -> Result<PackIndex> {
    let mut runs = Vec::new();
    let dropped = visit_index(bytes, footer, file, &mut |run| runs.push(run))?;
    Ok(PackIndex { runs, dropped })
}

/// As [`decode_index`], giving the runs one by one: they count only if it returns well.
///
/// # Errors
/// The same.
pub fn visit_index(
    bytes: &[u8],
    footer: &Footer,
    file: &Path,
    visit: &mut dyn FnMut(Run),
) -> Result<Places> {
    walk_index(bytes, footer, file, visit).map(|(_, dropped)| dropped)
}

/// As [`decode_index`], the runs staying as the bytes they are.
///
/// # Errors
/// The same.
pub fn take_index(bytes: Vec<u8>, footer: &Footer, file: &Path) -> Result<(Runs, Places)> {
    let (runs, dropped) = walk_index(&bytes, footer, file, &mut |_| {})?;
    Ok((Runs::within(bytes, runs, footer.runs), dropped))
}

/// Checks an index; where in it its runs stand, and what was dropped.
fn walk_index(
    bytes: &[u8],
    footer: &Footer,
    file: &Path,
    visit: &mut dyn FnMut(Run),
) -> Result<(Range<usize>, Places)> {
    let found = crc32fast::hash(bytes);
    let at = footer.index_offset;
    if found != footer.index_crc {
        let expected = u64::from(footer.index_crc);
        return Err(Error::corrupt("run index checksum", file, at, expected, u64::from(found)));
    }
    let inside = |run: &Run| {
        run.pack == footer.id
            && run.has_its_nodes()
            && run.blocks.iter().all(|b| {
                let end = b.offset.checked_add(u64::from(b.bytes));
                b.offset >= footer.blocks_start()
                    && end.is_some_and(|end| end <= footer.blocks_end())
            })
    };
    let (mut records, mut all_inside) = (0, true);
    let reader = &mut Reader::new(bytes);
    let wrong = |e: DecodeError| Error::corrupt(e.what, file, at + e.at as u64, 0, 0);
    let count = reader.count(reader.remaining(), "PackIndex.runs").map_err(wrong)?;
    let start = reader.position();
    for _ in 0..count {
        let run = Run::get(reader, "PackIndex.runs").map_err(wrong)?;
        records += run.blocks.iter().map(|block| u64::from(block.records)).sum::<u64>();
        all_inside &= inside(&run);
        visit(run);
    }
    let runs = start..reader.position();
    let dropped = Places::get(reader, "PackIndex.dropped").map_err(wrong)?;
    reader.end("pack.index").map_err(wrong)?;
    if count as u64 != footer.runs || records != footer.records {
        return Err(Error::corrupt("run index counts", file, at, footer.records, records));
    }
    if !all_inside {
        return Err(Error::corrupt("run index range", file, at, 0, 0));
    }
    Ok((runs, dropped))
}

const _: () = assert!(FOOTER_BYTES < SECTOR_BYTES && PACK_HEADER_BYTES < FOOTER_BYTES);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{FORMAT, layout_of};

    #[test]
    fn a_footer_round_trips_and_every_flip_is_seen() {
        let footer = Footer {
            layout: LAYOUT,
            id: 3,
            index_offset: 1000,
            index_bytes: 24,
            index_crc: 77,
            runs: 2,
            records: 9,
            class: 4,
            level: 2,
            dictionary: DictionaryMark { bytes: 100, crc: 5 },
        };
        let bytes = footer.to_bytes();
        assert_eq!(bytes.len(), FOOTER_BYTES);
        let file_bytes = 1024 + FOOTER_BYTES as u64;
        assert_eq!(Footer::parse(&bytes, file_bytes), Ok(footer));
        assert!(Footer::parse(&bytes, file_bytes + 1).is_err());
        for bytes in [0, 500, u32::MAX] {
            // None with a checksum, no place for two copies, and one that is too large.
            let dictionary = DictionaryMark { bytes, crc: 5 };
            assert!(
                Footer::parse(&Footer { dictionary, ..footer }.to_bytes(), file_bytes).is_err()
            );
        }
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 4;
            assert!(Footer::parse(&flipped, file_bytes).is_err(), "byte {at}");
        }
    }

    #[test]
    fn packs_of_the_format_before_are_read_and_no_others() {
        let dictionary = DictionaryMark { bytes: 100, crc: 5 };
        let footer = Footer {
            layout: 0,
            id: 0,
            index_offset: 0,
            index_bytes: 0,
            index_crc: 1,
            runs: 1,
            records: 1,
            class: 0,
            level: 0,
            dictionary,
        };
        for (format, read) in [(FORMAT - 2, false), (FORMAT - 1, true), (FORMAT, true)] {
            let layout = layout_of(format);
            let header = Header { layout, dictionary };
            assert_eq!(check_header(&header_of(9, header), 9).ok(), read.then_some(header));
            let (index_offset, index_bytes) = (1000, 24);
            let footer = Footer { layout, id: 9, index_offset, index_bytes, ..footer };
            let parsed = Footer::parse(&footer.to_bytes(), 1024 + FOOTER_BYTES as u64);
            assert_eq!(parsed.ok(), read.then_some(footer));
        }
    }
}
