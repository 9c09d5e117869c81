//! Journal files and frames as bytes.
//!
//! A file is a header sector and frames; a frame is a header, a directory, records with their
//! checksums, and zero padding to the sector. Which frames are torn and which are damaged is
//! `recovery`'s judgement; this module only says which bytes are what they claim to be.
//!
//! INVARIANT: every checksum covers the file's incarnation and the place, so a stale or misdirected
//! sector never validates.

use super::codec::{DecodeError, Reader};
use super::payload::Kind;
use super::{LAYOUT, SECTOR_BYTES, reads};
use crate::limits;
use crate::types::{Epoch, Lsn, Rev, RoomId, Seq, TimeUs};

/// First bytes of a journal file.
pub const FILE_MAGIC: [u8; 4] = *b"HnJf";
/// First bytes of a frame.
pub const FRAME_MAGIC: [u8; 4] = *b"HnFr";
/// A frame header's bytes.
pub const HEADER_BYTES: usize = 96;
/// A directory entry's bytes.
pub const ENTRY_BYTES: usize = 32;
/// The checksum behind each record.
pub const RECORD_CRC_BYTES: usize = 4;

/// The frame only carries promises.
pub const FLAG_PROMISE: u32 = 1;
/// The frame closes the log: a clean stop.
pub const FLAG_CLOSING: u32 = 2;

/// The header sector of a journal file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// Which use of this file it is; rises by one with every use of any file.
    pub incarnation: u64,
    /// The epoch at that time.
    pub epoch: Epoch,
    /// The first record the file can hold.
    pub first_lsn: Lsn,
    /// The header checksum of the frame before the first, in the previous file.
    pub prev_frame_crc: u32,
    /// The file's length, fixed for its life.
    pub file_bytes: u64,
    /// The use before this one; 0 for the first.
    pub prev_incarnation: u64,
    /// Where that use's frames end: bytes behind are not part of the log.
    pub prev_end: u64,
}

impl FileHeader {
    /// The header's sector.
    #[must_use]
    pub fn to_sector(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SECTOR_BYTES);
        out.extend_from_slice(&FILE_MAGIC);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&LAYOUT.to_le_bytes());
        out.extend_from_slice(&u32::from(self.epoch.0).to_le_bytes());
        out.extend_from_slice(&self.incarnation.to_le_bytes());
        out.extend_from_slice(&self.first_lsn.0.to_le_bytes());
        out.extend_from_slice(&self.file_bytes.to_le_bytes());
        out.extend_from_slice(&self.prev_incarnation.to_le_bytes());
        out.extend_from_slice(&self.prev_end.to_le_bytes());
        out.extend_from_slice(&self.prev_frame_crc.to_le_bytes());
        out.resize(SECTOR_BYTES, 0);
        let crc = crc32fast::hash(&out[8..]);
        out[4..8].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a header sector. `Ok(None)` is a file that was never used (all zero).
    ///
    /// # Errors
    /// If the sector is neither zero nor a header of this layout.
    pub fn parse(sector: &[u8]) -> Result<Option<Self>, DecodeError> {
        let reader = &mut Reader::new(sector);
        let magic: [u8; 4] = reader.array("journal.magic")?;
        if magic != FILE_MAGIC {
            let zero = sector.len() == SECTOR_BYTES && sector.iter().all(|b| *b == 0);
            return if zero { Ok(None) } else { Err(DecodeError { what: "journal.magic", at: 0 }) };
        }
        let crc = reader.u32("journal.header_crc")?;
        let covered = sector.get(8..SECTOR_BYTES).ok_or(reader.error("journal.header"))?;
        if crc32fast::hash(covered) != crc {
            return Err(DecodeError { what: "journal.header_crc", at: 4 });
        }
        if !reads(reader.u32("journal.layout")?) {
            return Err(DecodeError { what: "journal.layout", at: 8 });
        }
        Ok(Some(Self {
            epoch: get_epoch(reader)?,
            incarnation: reader.place("journal.incarnation")?,
            first_lsn: Lsn(reader.place("journal.first_lsn")?),
            file_bytes: reader.u64("journal.file_bytes")?,
            prev_incarnation: reader.u64("journal.prev_incarnation")?,
            prev_end: reader.u64("journal.prev_end")?,
            prev_frame_crc: reader.u32("journal.prev_frame_crc")?,
        }))
    }
}

fn get_epoch(reader: &mut Reader<'_>) -> Result<Epoch, DecodeError> {
    let wrong = reader.error("epoch");
    u16::try_from(reader.u32("epoch")?).map(Epoch).map_err(|_| wrong)
}

/// The header of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// This header's checksum; the next frame repeats it.
    pub crc: u32,
    /// The header checksum of the frame before, across files.
    pub prev_crc: u32,
    /// The use of the file it was written in.
    pub incarnation: u64,
    /// Where in the file it stands.
    pub offset: u64,
    /// `FLAG_PROMISE`, `FLAG_CLOSING`.
    pub flags: u32,
    /// The epoch of its records.
    pub epoch: Epoch,
    /// Its first record; for an empty frame the one that comes next.
    pub first_lsn: Lsn,
    /// How many records it holds.
    pub count: u32,
    /// Everything up to here was on disk before this frame was written.
    pub synced: Lsn,
    /// Everything up to here was committed before this frame was written.
    pub committed: Lsn,
    /// The newest `recorded` time.
    pub recorded: TimeUs,
    /// The checksum of the directory.
    pub dir_crc: u32,
    /// The bytes of all records with their checksums.
    pub records_bytes: u32,
    /// The whole frame, padding included.
    pub total_bytes: u32,
}

impl FrameHeader {
    /// The last record of the frame, or the one before its place if it is empty.
    #[must_use]
    pub const fn last_lsn(&self) -> Lsn {
        Lsn(self.first_lsn.0.saturating_add(self.count as u64).saturating_sub(1))
    }

    /// The bytes of the directory.
    #[must_use]
    pub const fn dir_bytes(&self) -> usize {
        self.count as usize * ENTRY_BYTES
    }

    /// The frame's length as the file counts.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.total_bytes as u64
    }

    /// True if it holds no record.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn put(&self, out: &mut Vec<u8>) -> u32 {
        let start = out.len();
        out.extend_from_slice(&FRAME_MAGIC);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.prev_crc.to_le_bytes());
        out.extend_from_slice(&self.flags.to_le_bytes());
        out.extend_from_slice(&self.incarnation.to_le_bytes());
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.first_lsn.0.to_le_bytes());
        out.extend_from_slice(&self.synced.0.to_le_bytes());
        out.extend_from_slice(&self.committed.0.to_le_bytes());
        out.extend_from_slice(&self.recorded.0.to_le_bytes());
        out.extend_from_slice(&u32::from(self.epoch.0).to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.dir_crc.to_le_bytes());
        out.extend_from_slice(&self.records_bytes.to_le_bytes());
        out.extend_from_slice(&self.total_bytes.to_le_bytes());
        out.resize(start + HEADER_BYTES, 0);
        let crc = crc32fast::hash(&out[start + 8..]);
        out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
        crc
    }

    /// Reads the header at the start of `bytes` and checks that it belongs to `incarnation` and
    /// stands at `offset`.
    ///
    /// # Errors
    /// If it is not such a header.
    pub fn parse(bytes: &[u8], incarnation: u64, offset: u64) -> Result<Self, DecodeError> {
        let header = Self::parse_any(bytes)?;
        if header.incarnation != incarnation {
            return Err(DecodeError { what: "frame.incarnation", at: 16 });
        }
        if header.offset != offset {
            return Err(DecodeError { what: "frame.offset", at: 24 });
        }
        Ok(header)
    }

    /// Reads the header at the start of `bytes`, of whatever use and place.
    ///
    /// # Errors
    /// If it is not a frame header.
    pub fn parse_any(bytes: &[u8]) -> Result<Self, DecodeError> {
        let bytes = bytes.get(..HEADER_BYTES).ok_or(DecodeError { what: "frame.header", at: 0 })?;
        let reader = &mut Reader::new(bytes);
        if reader.array::<4>("frame.magic")? != FRAME_MAGIC {
            return Err(DecodeError { what: "frame.magic", at: 0 });
        }
        let crc = reader.u32("frame.header_crc")?;
        if bytes.get(8..).map(crc32fast::hash) != Some(crc) {
            return Err(DecodeError { what: "frame.header_crc", at: 4 });
        }
        let header = Self {
            crc,
            prev_crc: reader.u32("frame.prev_crc")?,
            flags: reader.u32("frame.flags")?,
            incarnation: reader.place("frame.incarnation")?,
            offset: reader.u64("frame.offset")?,
            first_lsn: Lsn(reader.place("frame.first_lsn")?),
            synced: Lsn(reader.place("frame.synced")?),
            committed: Lsn(reader.place("frame.committed")?),
            recorded: TimeUs(reader.u64("frame.recorded")?.cast_signed()),
            epoch: get_epoch(reader)?,
            count: reader.u32("frame.count")?,
            dir_crc: reader.u32("frame.dir_crc")?,
            records_bytes: reader.u32("frame.records_bytes")?,
            total_bytes: reader.u32("frame.total_bytes")?,
        };
        header.check_sizes()?;
        Ok(header)
    }

    fn check_sizes(&self) -> Result<(), DecodeError> {
        let count = self.count as usize;
        let total = self.total_bytes as usize;
        let used = HEADER_BYTES + self.dir_bytes() + self.records_bytes as usize;
        let sane = count <= limits::FRAME_RECORDS_MAX
            && total <= limits::FRAME_BYTES_MAX
            && total == used.next_multiple_of(SECTOR_BYTES)
            && self.first_lsn > Lsn::ZERO;
        if sane { Ok(()) } else { Err(DecodeError { what: "frame.sizes", at: 0 }) }
    }
}

/// What the directory says of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The record's bytes, without its checksum.
    pub bytes: u32,
    /// The record's kind.
    pub kind: Kind,
    /// Its room.
    pub room: RoomId,
    /// Its seq, or zero.
    pub seq: Seq,
    /// Its rev.
    pub rev: Rev,
}

impl DirEntry {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes.to_le_bytes());
        out.extend_from_slice(&[self.kind.code(), 0, 0, 0]);
        out.extend_from_slice(&self.room.0.to_le_bytes());
        out.extend_from_slice(&self.seq.0.to_le_bytes());
        out.extend_from_slice(&self.rev.0.to_le_bytes());
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let bytes = reader.u32("directory.bytes")?;
        let wrong = reader.error("directory.kind");
        let kind = Kind::from_code(reader.u8("directory.kind")?).ok_or(wrong)?;
        if reader.array::<3>("directory.reserved")? != [0; 3] {
            return Err(wrong);
        }
        Ok(Self {
            bytes,
            kind,
            room: RoomId(reader.u64("directory.room")?),
            seq: Seq(reader.u64("directory.seq")?),
            rev: Rev(reader.u64("directory.rev")?),
        })
    }
}

/// What a frame is made from.
#[derive(Clone, Copy, Debug)]
pub struct FrameParts<'a> {
    /// The checksum of the frame before.
    pub prev_crc: u32,
    /// The use of the file.
    pub incarnation: u64,
    /// Where it will stand.
    pub offset: u64,
    /// `FLAG_PROMISE`, `FLAG_CLOSING`.
    pub flags: u32,
    /// The epoch.
    pub epoch: Epoch,
    /// The first record, or the next one for an empty frame.
    pub first_lsn: Lsn,
    /// The promise of durability.
    pub synced: Lsn,
    /// The promise of commitment.
    pub committed: Lsn,
    /// The newest `recorded` time.
    pub recorded: TimeUs,
    /// What the directory says.
    pub entries: &'a [DirEntry],
    /// The records' bytes, end to end, in the same order.
    pub records: &'a [u8],
}

/// The checksum behind a record.
#[must_use]
pub fn record_crc(incarnation: u64, lsn: Lsn, record: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&incarnation.to_le_bytes());
    hasher.update(&lsn.0.to_le_bytes());
    hasher.update(record);
    hasher.finalize()
}

/// Bytes a frame of these sizes takes, padding included.
#[must_use]
pub const fn frame_bytes(records: usize, record_bytes: usize) -> usize {
    (HEADER_BYTES + records * (ENTRY_BYTES + RECORD_CRC_BYTES) + record_bytes)
        .next_multiple_of(SECTOR_BYTES)
}

/// Encodes a frame; returns its bytes and its header's checksum.
///
/// # Panics
/// If the entries' lengths do not add up to the records' bytes, or the frame is over the limits:
/// both are computed by this process.
#[must_use]
pub fn encode_frame(parts: &FrameParts<'_>) -> (Vec<u8>, u32) {
    let total = frame_bytes(parts.entries.len(), parts.records.len());
    assert!(total <= limits::FRAME_BYTES_MAX && parts.entries.len() <= limits::FRAME_RECORDS_MAX);
    let mut dir = Vec::with_capacity(parts.entries.len() * ENTRY_BYTES);
    for entry in parts.entries {
        entry.put(&mut dir);
    }
    let to_u32 = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let header = FrameHeader {
        crc: 0,
        prev_crc: parts.prev_crc,
        incarnation: parts.incarnation,
        offset: parts.offset,
        flags: parts.flags,
        epoch: parts.epoch,
        first_lsn: parts.first_lsn,
        count: to_u32(parts.entries.len()),
        synced: parts.synced,
        committed: parts.committed,
        recorded: parts.recorded,
        dir_crc: dir_crc(parts.incarnation, parts.first_lsn, &dir),
        records_bytes: to_u32(parts.records.len() + parts.entries.len() * RECORD_CRC_BYTES),
        total_bytes: to_u32(total),
    };
    let mut out = Vec::with_capacity(total);
    let crc = header.put(&mut out);
    out.extend_from_slice(&dir);
    let mut rest = parts.records;
    for (lsn, entry) in (parts.first_lsn.0..).zip(parts.entries) {
        let (record, behind) = rest.split_at(entry.bytes as usize);
        out.extend_from_slice(record);
        out.extend_from_slice(&record_crc(parts.incarnation, Lsn(lsn), record).to_le_bytes());
        rest = behind;
    }
    assert!(rest.is_empty(), "directory lengths do not cover the records");
    out.resize(total, 0);
    (out, crc)
}

fn dir_crc(incarnation: u64, first: Lsn, dir: &[u8]) -> u32 {
    record_crc(incarnation, first, dir)
}

/// A frame's directory.
///
/// # Errors
/// If its checksum or its lengths are wrong.
pub fn read_directory(header: &FrameHeader, frame: &[u8]) -> Result<Vec<DirEntry>, DecodeError> {
    let end = HEADER_BYTES + header.dir_bytes();
    let wrong = |what| DecodeError { what, at: HEADER_BYTES };
    let dir = frame.get(HEADER_BYTES..end).ok_or(wrong("directory"))?;
    if dir_crc(header.incarnation, header.first_lsn, dir) != header.dir_crc {
        return Err(wrong("directory.crc"));
    }
    let reader = &mut Reader::new(dir);
    let mut entries = Vec::with_capacity(header.count as usize);
    let mut bytes = 0usize;
    for _ in 0..header.count {
        let entry = DirEntry::get(reader)?;
        bytes = bytes.saturating_add(entry.bytes as usize).saturating_add(RECORD_CRC_BYTES);
        entries.push(entry);
    }
    if bytes == header.records_bytes as usize { Ok(entries) } else { Err(wrong("directory.bytes")) }
}

/// One record's place in a frame, and whether its bytes are what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordSlot {
    /// Its place in the log.
    pub lsn: Lsn,
    /// What the directory says of it.
    pub entry: DirEntry,
    /// Where its bytes stand, from the start of the frame.
    pub start: usize,
    /// The checksum found and the one computed, if they differ.
    pub fault: Option<(u32, u32)>,
}

/// Walks the records of a frame whose directory is sound.
#[must_use]
pub fn read_records(header: &FrameHeader, entries: &[DirEntry], frame: &[u8]) -> Vec<RecordSlot> {
    let mut at = HEADER_BYTES + header.dir_bytes();
    let mut slots = Vec::with_capacity(entries.len());
    for (lsn, entry) in (header.first_lsn.0..).zip(entries) {
        let end = at + entry.bytes as usize;
        let record = frame.get(at..end).unwrap_or_default();
        let stored = frame.get(end..end + RECORD_CRC_BYTES).unwrap_or_default();
        let stored = stored.try_into().map(u32::from_le_bytes).unwrap_or_default();
        let computed = record_crc(header.incarnation, Lsn(lsn), record);
        let fault = (stored != computed).then_some((stored, computed));
        slots.push(RecordSlot { lsn: Lsn(lsn), entry: *entry, start: at, fault });
        at = end + RECORD_CRC_BYTES;
    }
    slots
}

/// The offset of the first padding byte that is not zero.
#[must_use]
pub fn bad_padding(header: &FrameHeader, frame: &[u8]) -> Option<usize> {
    let used = HEADER_BYTES + header.dir_bytes() + header.records_bytes as usize;
    let padding = frame.get(used..header.total_bytes as usize)?;
    padding.iter().position(|b| *b != 0).map(|at| used + at)
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
