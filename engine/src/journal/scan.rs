//! Reading the journal: which frames there are, which are torn, and which are damaged.
//!
//! It reads and judges, and writes nothing. The judgement rests on promises: a frame says how far
//! the log was on disk before it was written, so a bad place below a promise is damage and a bad
//! place above every promise is a tail that was never acknowledged. (The idea of Pebble's sync
//! offset, cockroachdb/pebble record.go, and of TigerBeetle's journal recovery table.)
//!
//! INVARIANT: only bytes above every promise, at the end of the newest file, are called torn.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bytes::Bytes;

use super::{DIR, EndMark, LiveFile, file_number, witness};
use crate::error::{Error, Result};
use crate::format::SECTOR_BYTES;
use crate::format::frame::{
    DirEntry, FLAG_CLOSING, FileHeader, FrameHeader, RecordSlot, bad_padding, read_directory,
    read_records,
};
use crate::limits;
use crate::storage::{Disk, DiskFile, Mode, join};
use crate::types::{Epoch, Lsn};

/// A frame that was found.
#[derive(Clone, Debug)]
pub struct FoundFrame {
    /// The file's number.
    pub file: u32,
    /// Its header.
    pub header: FrameHeader,
    /// The whole frame.
    pub bytes: Bytes,
    /// Its records; none if the directory is damaged.
    pub slots: Option<Vec<RecordSlot>>,
}

impl FoundFrame {
    /// The bytes of a record.
    #[must_use]
    pub fn record(&self, slot: &RecordSlot) -> Bytes {
        let end = (slot.start + slot.entry.bytes as usize).min(self.bytes.len());
        self.bytes.slice(slot.start.min(end)..end)
    }
}

/// Bytes that are not what was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// Where.
    pub offset: u64,
    /// How many bytes are concerned.
    pub bytes: u64,
    /// Which check failed.
    pub reason: &'static str,
    /// The records lost; none if only redundant bytes are damaged.
    pub lost: Lost,
}

/// Which records a damage costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// None: the bytes were redundant.
    Nothing,
    /// One, and the directory still says which.
    Record(Lsn, DirEntry),
    /// These places of the log, and nothing says what stood there.
    Unknown(Lsn, Lsn),
}

/// What the journal holds.
#[derive(Debug, Default)]
pub struct Scan {
    /// Frames in order, down to the one that holds the record behind the floor.
    pub frames: Vec<FoundFrame>,
    /// What is damaged.
    pub damage: Vec<Damage>,
    /// Files that are needed.
    pub live: Vec<LiveFile>,
    /// Files of full length that are not needed.
    pub free: Vec<u32>,
    /// Every number that a file has, ours or not.
    pub numbers: BTreeSet<u32>,
    /// The end of the log; none if there is no journal at all.
    pub end: Option<EndMark>,
    /// Bytes of an unfinished tail: (file, offset, bytes).
    pub torn: Option<(PathBuf, u64, u64)>,
    /// The log was closed.
    pub clean: bool,
    /// The newest promise of durability.
    pub promised: Lsn,
    /// Names that are not the journal's.
    pub strangers: Vec<String>,
    /// Files that hold neither a header nor a frame, while something is missing.
    pub headless: Vec<u32>,
}

const HEADER_STALE: &str = "journal file header is older than its frames";
const FILE_MISSING: &str = "the journal file before this one is missing";
const PADDING: &str = "frame padding is not zero";

struct OpenFile {
    number: u32,
    file: DiskFile,
    len: u64,
    header: FileHeader,
}

/// Reads the journal from the record behind `floor` on. `witness` is the newest record that
/// anything else in the directory says was durable.
///
/// # Errors
/// `Io`; damage is not an error but a finding.
pub fn scan(disk: &Disk, floor: Lsn, witness: Lsn) -> Result<Scan> {
    let mut found = Scan { promised: witness.max(floor), ..Scan::default() };
    let mut files = open_files(disk, &mut found)?;
    let needed = files.partition_point(|f| {
        // A file whose successor starts at or below the floor holds nothing that is needed.
        f.header.first_lsn <= floor.next()
    });
    let keep = files.split_off(needed.saturating_sub(1));
    found.free.extend(files.iter().map(|f| f.number));
    for (index, file) in keep.iter().enumerate() {
        let next = keep.get(index + 1).map(|f| &f.header);
        let prev = index.checked_sub(1).and_then(|i| keep.get(i)).map(|f| &f.header);
        check_chain(disk, prev, file, floor, &mut found);
        read_file(file, next, &mut found)?;
    }
    judge(&keep, floor, &mut found);
    let missing = found.damage.iter().any(|d| d.reason == FILE_MISSING);
    if !missing {
        // Nothing is missing, so a file that says nothing never held anything that counts.
        let numbers = found.headless.drain(..);
        found.free.extend(numbers);
    }
    Ok(found)
}

/// Opens every file and sorts those in use by their use.
fn open_files(disk: &Disk, found: &mut Scan) -> Result<Vec<OpenFile>> {
    let mut files = BTreeMap::new();
    let mut headless = Vec::new();
    for name in disk.list(DIR)? {
        let Some(number) = file_number(&name) else {
            if name != witness::NAME {
                found.strangers.push(join(DIR, &name));
            }
            continue;
        };
        found.numbers.insert(number);
        let file = disk.open(&join(DIR, &name), Mode::Read)?;
        let len = file.len()?;
        let mut sector = vec![0; SECTOR_BYTES];
        let got = file.read_some(0, &mut sector)?;
        sector.truncate(got);
        let parsed = FileHeader::parse(&sector);
        // A header that is older than its frames was lost, or put back; so was one of zeros.
        let newer = first_frame(&file)?.map(|frame| frame.incarnation);
        match parsed {
            Ok(None) if newer.is_none() => found.free.push(number),
            Ok(None) => headless.push((number, file, len, HEADER_STALE)),
            Ok(Some(header)) if newer.is_some_and(|n| n > header.incarnation) => {
                headless.push((number, file, len, HEADER_STALE));
            }
            Ok(Some(header)) => {
                files.insert(header.incarnation, OpenFile { number, file, len, header });
            }
            Err(wrong) => headless.push((number, file, len, wrong.what)),
        }
    }
    for (number, file, len, reason) in headless {
        behead(number, file, len, reason, &mut files, found)?;
    }
    Ok(files.into_values().collect())
}

/// The frame behind a file's header, of whatever use.
fn first_frame(file: &DiskFile) -> Result<Option<FrameHeader>> {
    let at = SECTOR_BYTES as u64;
    let mut sector = vec![0; SECTOR_BYTES];
    let got = file.read_some(at, &mut sector)?;
    let parsed = FrameHeader::parse_any(sector.get(..got).unwrap_or_default());
    Ok(parsed.ok().filter(|frame| frame.offset == at))
}

/// A file whose header is unreadable: its frames still say which use it is, if it has any.
fn behead(
    number: u32,
    file: DiskFile,
    len: u64,
    reason: &'static str,
    files: &mut BTreeMap<u64, OpenFile>,
    found: &mut Scan,
) -> Result<()> {
    match newest_frame(&file, len)? {
        Some(first) if !files.contains_key(&first.incarnation) => {
            found.damage.push(Damage {
                file: file.path().to_path_buf(),
                offset: 0,
                bytes: SECTOR_BYTES as u64,
                reason,
                lost: Lost::Nothing,
            });
            let header = FileHeader {
                incarnation: first.incarnation,
                epoch: first.epoch,
                first_lsn: first.first_lsn,
                prev_frame_crc: first.prev_crc,
                file_bytes: len,
                prev_incarnation: first.incarnation.saturating_sub(1),
                prev_end: 0,
            };
            files.insert(first.incarnation, OpenFile { number, file, len, header });
        }
        // Neither header nor frame: a use that never began, or one that is lost whole. The chain of
        // the others tells which.
        _ => found.headless.push(number),
    }
    Ok(())
}

/// The first frame of the newest use in a file without a header.
fn newest_frame(file: &DiskFile, len: u64) -> Result<Option<FrameHeader>> {
    let mut newest: Option<FrameHeader> = None;
    let mut sector = vec![0; SECTOR_BYTES];
    for at in (SECTOR_BYTES as u64..len).step_by(SECTOR_BYTES) {
        let got = file.read_some(at, &mut sector)?;
        if let Ok(header) = FrameHeader::parse_any(sector.get(..got).unwrap_or_default()) {
            let newer = newest.as_ref().is_none_or(|n| header.incarnation > n.incarnation);
            if header.offset == at && newer {
                newest = Some(header);
            }
        }
    }
    Ok(newest)
}

/// A file that is missing between two others, or before the first, costs what it held.
fn check_chain(
    disk: &Disk,
    prev: Option<&FileHeader>,
    file: &OpenFile,
    floor: Lsn,
    found: &mut Scan,
) {
    let first = file.header.first_lsn;
    let expected = match prev {
        Some(prev) if prev.incarnation == file.header.prev_incarnation => return,
        Some(_) => found.frames.last().map_or(floor.next(), |f| f.header.last_lsn().next()),
        None => floor.next(),
    };
    if first > expected {
        let last = Lsn(first.0 - 1);
        found.damage.push(Damage {
            file: disk.full(&join(DIR, &super::file_name(file.number))),
            offset: 0,
            bytes: 0,
            reason: FILE_MISSING,
            lost: Lost::Unknown(expected, last),
        });
        found.promised = found.promised.max(last);
    }
}

/// Reads one file's frames. Bad places are noted with what they would cost; whether they are torn
/// is decided at the end, when every promise is known.
fn read_file(file: &OpenFile, next: Option<&FileHeader>, found: &mut Scan) -> Result<()> {
    let incarnation = file.header.incarnation;
    let newest = next.is_none();
    let next = next.filter(|n| n.prev_incarnation == incarnation);
    let mut at = SECTOR_BYTES as u64;
    let mut expected = file.header.first_lsn;
    found.promised = found.promised.max(Lsn(expected.0.saturating_sub(1)));
    let mut prev_crc = Some(file.header.prev_frame_crc);
    let end = next.map_or(file.len, |n| if n.prev_end == 0 { file.len } else { n.prev_end });
    while at < end.min(file.len) {
        let here = frame_at(file, at)?;
        let sound = |h: &FrameHeader| {
            h.first_lsn == expected && prev_crc.is_none_or(|crc| crc == h.prev_crc)
        };
        match here.filter(sound) {
            Some(header) => {
                at += header.len();
                expected = header.last_lsn().next();
                prev_crc = Some(header.crc);
                take_frame(file, header, found)?;
            }
            None => match resume(file, incarnation, at, end, expected)? {
                Some(later) => {
                    note_hole(file, at, later.offset - at, expected, later.first_lsn, found);
                    at = later.offset;
                    expected = later.first_lsn;
                    prev_crc = None;
                }
                None => break,
            },
        }
    }
    if let Some(next) = next
        && expected < next.first_lsn
    {
        note_hole(file, at, end.saturating_sub(at), expected, next.first_lsn, found);
    }
    if newest {
        found.live_end(file, at, prev_crc, expected);
    }
    if file.len < file.header.file_bytes {
        // Nothing says how many frames stood in the part that is gone, unless the log was closed
        // before it, or another file begins where it must have ended.
        let lost = match newest && !found.clean {
            true => Lost::Unknown(expected, expected),
            false => Lost::Nothing,
        };
        found.promised = found.promised.max(lost.first().unwrap_or(Lsn::ZERO));
        found.damage.push(Damage {
            file: file.file.path().to_path_buf(),
            offset: file.len,
            bytes: file.header.file_bytes - file.len,
            reason: "journal file is shorter than its header says",
            lost,
        });
    }
    Ok(())
}

impl Scan {
    fn live_end(&mut self, file: &OpenFile, at: u64, prev_crc: Option<u32>, expected: Lsn) {
        let last = self.frames.last();
        self.clean =
            last.is_some_and(|f| f.header.flags & FLAG_CLOSING != 0 && f.file == file.number);
        self.end = Some(EndMark {
            incarnation: file.header.incarnation,
            end: at,
            prev_crc: prev_crc.unwrap_or_default(),
            next_lsn: expected,
            epoch: last.map_or(file.header.epoch, |f| f.header.epoch),
        });
    }
}

fn frame_at(file: &OpenFile, at: u64) -> Result<Option<FrameHeader>> {
    let mut sector = vec![0; SECTOR_BYTES];
    let got = file.file.read_some(at, &mut sector)?;
    let parsed =
        FrameHeader::parse(sector.get(..got).unwrap_or_default(), file.header.incarnation, at);
    Ok(parsed.ok().filter(|h| at.checked_add(h.len()).is_some_and(|end| end <= file.len)))
}

/// The next frame of this use behind a bad place.
fn resume(
    file: &OpenFile,
    incarnation: u64,
    bad: u64,
    end: u64,
    expected: Lsn,
) -> Result<Option<FrameHeader>> {
    let mut chunk = vec![0; 64 * SECTOR_BYTES];
    for at in (bad..end.min(file.len)).step_by(chunk.len()) {
        let got = file.file.read_some(at, &mut chunk)?;
        let sectors = chunk.get(..got).unwrap_or_default().chunks_exact(SECTOR_BYTES);
        for (index, sector) in sectors.enumerate() {
            let offset = at + (index * SECTOR_BYTES) as u64;
            match FrameHeader::parse(sector, incarnation, offset) {
                // The frame at the bad place itself may be there, but for another chain.
                Ok(header)
                    if header.first_lsn >= expected
                        && offset >= bad
                        && (offset > bad || header.first_lsn > expected) =>
                {
                    return Ok(Some(header));
                }
                _ => {}
            }
        }
    }
    Ok(None)
}

fn note_hole(file: &OpenFile, at: u64, bytes: u64, from: Lsn, to: Lsn, found: &mut Scan) {
    let lost = if from < to { Lost::Unknown(from, Lsn(to.0 - 1)) } else { Lost::Nothing };
    found.damage.push(Damage {
        file: file.file.path().to_path_buf(),
        offset: at,
        bytes,
        reason: "frame header checksum mismatch",
        lost,
    });
}

fn take_frame(file: &OpenFile, header: FrameHeader, found: &mut Scan) -> Result<()> {
    found.promised = found.promised.max(header.synced);
    let len = usize::try_from(header.len()).unwrap_or(limits::FRAME_BYTES_MAX);
    let bytes = Bytes::from(file.file.read(header.offset, len)?);
    let path = || file.file.path().to_path_buf();
    let slots = match read_directory(&header, &bytes) {
        Ok(entries) => Some(read_records(&header, &entries, &bytes)),
        Err(wrong) => {
            found.damage.push(Damage {
                file: path(),
                offset: header.offset,
                bytes: header.len(),
                reason: wrong.what,
                lost: Lost::Unknown(header.first_lsn, header.last_lsn()),
            });
            None
        }
    };
    for slot in slots.iter().flatten().filter(|s| s.fault.is_some()) {
        found.damage.push(Damage {
            file: path(),
            offset: header.offset + slot.start as u64,
            bytes: u64::from(slot.entry.bytes),
            reason: "record checksum mismatch",
            lost: Lost::Record(slot.lsn, slot.entry),
        });
    }
    if let Some(at) = bad_padding(&header, &bytes) {
        found.damage.push(Damage {
            file: path(),
            offset: header.offset + at as u64,
            bytes: 1,
            reason: PADDING,
            lost: Lost::Nothing,
        });
    }
    found.frames.push(FoundFrame { file: file.number, header, bytes, slots });
    Ok(())
}

impl Lost {
    /// The first record lost, or none.
    #[must_use]
    pub const fn first(&self) -> Option<Lsn> {
        match self {
            Self::Nothing => None,
            Self::Record(lsn, _) | Self::Unknown(lsn, _) => Some(*lsn),
        }
    }
}

impl Damage {
    /// The first record it costs, or none.
    #[must_use]
    pub const fn first_lost(&self) -> Option<Lsn> {
        self.lost.first()
    }
}

/// Cuts what no promise covers, and keeps every other finding.
fn judge(keep: &[OpenFile], floor: Lsn, found: &mut Scan) {
    found.live = keep
        .iter()
        .map(|f| LiveFile {
            number: f.number,
            incarnation: f.header.incarnation,
            first_lsn: f.header.first_lsn,
            file_bytes: f.len,
        })
        .collect();
    let promised = found.promised;
    let torn = found.damage.iter().filter_map(Damage::first_lost).filter(|l| *l > promised).min();
    if let (Some(cut), Some(newest)) = (torn, keep.last()) {
        cut_at(cut, newest, found);
    }
    forgive_padding(found);
    found.damage.retain(|d| match d.lost {
        Lost::Nothing => true,
        Lost::Record(lsn, _) => lsn > floor && lsn <= promised,
        Lost::Unknown(first, last) => last > floor && first <= promised,
    });
    for damage in &mut found.damage {
        // What stands at or below the floor is in packs and in the catalog.
        if let Lost::Unknown(first, _) = &mut damage.lost {
            *first = (*first).max(floor.next());
        }
    }
    if found.torn.is_none()
        && let (Some(newest), Some(end)) = (keep.last(), found.end)
    {
        found.torn = unfinished(newest, end.end);
    }
}

/// Padding that is not zero in the log's last frame, under no promise: a write that was cut short
/// within its last sectors. Every record of it is whole; the frame as it was meant takes its place,
/// for recovery to write again.
fn forgive_padding(found: &mut Scan) {
    let promised = found.promised;
    let Some(last) = found.frames.last_mut() else { return };
    let Some(at) = bad_padding(&last.header, &last.bytes) else { return };
    if !last.header.is_empty() && last.header.last_lsn() <= promised {
        return;
    }
    let mut bytes = last.bytes.to_vec();
    if let Some(padding) = bytes.get_mut(at..) {
        padding.fill(0);
    }
    last.bytes = Bytes::from(bytes);
    let (file, offset) = (last.file, last.header.offset + at as u64);
    let name = super::file_name(file);
    found.damage.retain(|d| {
        d.reason != PADDING || d.offset != offset || d.file.file_name() != Some(name.as_ref())
    });
}

/// Ends the log before the frame that holds record `cut`.
fn cut_at(cut: Lsn, newest: &OpenFile, found: &mut Scan) {
    let first = found.frames.partition_point(|f| match f.header.is_empty() {
        true => f.header.first_lsn <= cut,
        false => f.header.last_lsn() < cut,
    });
    let offset = found
        .frames
        .get(first)
        .filter(|f| f.file == newest.number && f.header.first_lsn <= cut)
        .map(|f| f.header.offset)
        .or_else(|| found.damage.iter().find(|d| d.first_lost() == Some(cut)).map(|d| d.offset));
    found.frames.truncate(first);
    let offset = offset.unwrap_or(SECTOR_BYTES as u64);
    found.damage.retain(|d| d.file != newest.file.path() || d.offset < offset);
    let last = found.frames.last().filter(|f| f.file == newest.number);
    let next_lsn = last.map_or(newest.header.first_lsn, |f| f.header.last_lsn().next());
    found.clean = false;
    found.end = Some(EndMark {
        incarnation: newest.header.incarnation,
        end: offset,
        prev_crc: last.map_or(newest.header.prev_frame_crc, |f| f.header.crc),
        next_lsn,
        epoch: last.map_or(newest.header.epoch, |f| f.header.epoch),
    });
    found.torn = unfinished(newest, offset);
}

/// The bytes of this use behind the end of the log, if there are any: a write that was cut short.
fn unfinished(file: &OpenFile, end: u64) -> Option<(PathBuf, u64, u64)> {
    let mut sector = vec![0; SECTOR_BYTES];
    let got = file.file.read_some(end, &mut sector).unwrap_or(0);
    let here = sector.get(..got).unwrap_or_default();
    let ours = FrameHeader::parse(here, file.header.incarnation, end);
    let begun = here.get(16..24) == Some(&file.header.incarnation.to_le_bytes()[..]);
    match ours {
        Ok(header) => Some((file.file.path().to_path_buf(), end, header.len())),
        Err(_) if begun => Some((file.file.path().to_path_buf(), end, SECTOR_BYTES as u64)),
        Err(_) => None,
    }
}

/// An end for a log without any file.
const fn empty_end(floor: Lsn, epoch: Epoch) -> EndMark {
    EndMark { incarnation: 0, end: 0, prev_crc: 0, next_lsn: floor.next(), epoch }
}

/// True if the journal does not have every record from its floor up to `sealed`: packs do.
#[must_use]
pub fn is_short(found: &Scan, sealed: Lsn) -> bool {
    let damaged = found.damage.iter().filter_map(Damage::first_lost).any(|lsn| lsn <= sealed);
    damaged || found.end.is_none_or(|end| end.next_lsn <= sealed)
}

/// Where the log ends: behind the journal's last record, or behind the last sealed one where packs
/// reach further. A file is set free, or removed, as soon as packs hold what it holds, and the next
/// one may not have begun on disk.
#[must_use]
pub fn end_of(found: &Scan, floor: Lsn, sealed: Lsn, epoch: Epoch) -> EndMark {
    let mut end = found.end.unwrap_or_else(|| empty_end(floor, epoch));
    end.next_lsn = end.next_lsn.max(sealed.next());
    end
}

/// A witness beyond the end means that acknowledged records are missing.
///
/// # Errors
/// `Corrupt` naming the journal.
pub fn check_witness(disk: &Disk, end: EndMark, witness: Lsn) -> Result<()> {
    let last = end.next_lsn.0.saturating_sub(1);
    if witness.0 > last {
        let file = disk.full(DIR);
        let what = "the journal ends before a record that was acknowledged";
        return Err(Error::corrupt(what, &file, end.end, witness.0, last));
    }
    Ok(())
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
