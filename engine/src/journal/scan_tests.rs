//! The table of recovery's judgements, case by case, over journals written by hand.
//!
//! Each case is a journal with one thing wrong, and says exactly what is found: the frames, the
//! damage with its place and its records, the end, what is torn, which files are needed and which
//! are free. Whole starts over such journals are in `engine/tests`.

use std::sync::Arc;

use super::*;
use crate::format::frame::{FLAG_CLOSING, FLAG_PROMISE, FrameParts, encode_frame};
use crate::format::payload::Kind;
use crate::journal::file_name;
use crate::storage::sim::SimStorage;
use crate::types::{Rev, RoomId, Seq, TimeUs};

const SECTOR: u64 = SECTOR_BYTES as u64;
const RECORD: usize = 8;

/// A journal that is written frame by frame, each frame a sector of its own.
#[derive(Clone, Default)]
struct Log {
    files: Vec<(u32, FileHeader, Vec<u8>)>,
    /// Where the next frame goes.
    at: u64,
    crc: u32,
    lsn: u64,
}

impl Log {
    fn new() -> Self {
        Self { lsn: 1, crc: 77, ..Self::default() }
    }

    /// Begins the next use, in file `number` of so many sectors.
    fn file(mut self, number: u32, sectors: u64) -> Self {
        let prev = self.files.last().map(|(_, header, _)| header.incarnation);
        let header = FileHeader {
            incarnation: prev.unwrap_or(4) + 1,
            epoch: Epoch(1),
            first_lsn: Lsn(self.lsn),
            prev_frame_crc: self.crc,
            file_bytes: sectors * SECTOR,
            prev_incarnation: prev.unwrap_or(0),
            prev_end: if prev.is_some() { self.at } else { 0 },
        };
        let mut bytes = header.to_sector();
        bytes.resize(usize::try_from(sectors * SECTOR).unwrap(), 0);
        self.files.push((number, header, bytes));
        self.at = SECTOR;
        self
    }

    /// A frame of so many records, which promises what is on disk up to `synced`.
    fn frame(self, records: usize, synced: u64) -> Self {
        self.flagged(records, synced, 0, Epoch(1))
    }

    fn flagged(mut self, records: usize, synced: u64, flags: u32, epoch: Epoch) -> Self {
        let (_, header, file) = self.files.last_mut().unwrap();
        let entry = |n: usize| DirEntry {
            bytes: u32::try_from(RECORD).unwrap(),
            kind: Kind::Post,
            room: RoomId(70),
            seq: Seq(self.lsn + n as u64),
            rev: Rev(self.lsn + n as u64),
        };
        let (bytes, crc) = encode_frame(&FrameParts {
            prev_crc: self.crc,
            incarnation: header.incarnation,
            offset: self.at,
            flags,
            epoch,
            first_lsn: Lsn(self.lsn),
            synced: Lsn(synced),
            committed: Lsn(synced),
            recorded: TimeUs(0),
            entries: &(0..records).map(entry).collect::<Vec<_>>(),
            records: &b"a record".repeat(records),
        });
        let at = usize::try_from(self.at).unwrap();
        file[at..at + bytes.len()].copy_from_slice(&bytes);
        (self.at, self.crc) = (self.at + bytes.len() as u64, crc);
        self.lsn += records as u64;
        self
    }

    /// Flips a bit of a file's byte in a sector.
    fn flip(mut self, file: usize, sector: u64, byte: usize) -> Self {
        let at = usize::try_from(sector * SECTOR).unwrap() + byte;
        self.files[file].2[at] ^= 4;
        self
    }

    /// Puts other bytes over a file's sector.
    fn put(mut self, file: usize, sector: u64, bytes: &[u8]) -> Self {
        let at = usize::try_from(sector * SECTOR).unwrap();
        self.files[file].2[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn without(mut self, file: usize) -> Self {
        self.files.remove(file);
        self
    }

    fn cut(mut self, file: usize, sectors: u64) -> Self {
        self.files[file].2.truncate(usize::try_from(sectors * SECTOR).unwrap());
        self
    }

    /// The bytes of one sector.
    fn sector(&self, file: usize, sector: u64) -> Vec<u8> {
        let at = usize::try_from(sector * SECTOR).unwrap();
        self.files[file].2[at..at + SECTOR_BYTES].to_vec()
    }

    fn disk(&self) -> Disk {
        let disk = Disk::new(Arc::new(SimStorage::new()));
        disk.create_dir("").unwrap();
        disk.create_dir(DIR).unwrap();
        for (number, _, bytes) in &self.files {
            disk.write_whole(DIR, &file_name(*number), bytes).unwrap();
        }
        disk
    }

    fn scan(&self, floor: u64, witness: u64) -> Scan {
        scan(&self.disk(), Lsn(floor), Lsn(witness)).unwrap()
    }
}

/// The first place of every frame found.
fn frames(found: &Scan) -> Vec<u64> {
    found.frames.iter().map(|frame| frame.header.first_lsn.0).collect()
}

/// The damage found: file, sector, offset in it, bytes, reason, records lost.
type Wrong = (String, u64, u64, u64, &'static str, Option<(u64, u64)>);

fn damage(found: &Scan) -> Vec<Wrong> {
    let name = |d: &Damage| d.file.file_name().unwrap().to_str().unwrap()[..6].to_owned();
    let lost = |d: &Damage| match d.lost {
        Lost::Nothing => None,
        Lost::Record(lsn, _) => Some((lsn.0, lsn.0)),
        Lost::Unknown(first, last) => Some((first.0, last.0)),
    };
    let each =
        |d: &Damage| (name(d), d.offset / SECTOR, d.offset % SECTOR, d.bytes, d.reason, lost(d));
    found.damage.iter().map(each).collect()
}

/// Where the log ends: file use, sector, next record.
fn end(found: &Scan) -> (u64, u64, u64) {
    let end = found.end.unwrap();
    (end.incarnation, end.end / SECTOR, end.next_lsn.0)
}

fn torn(found: &Scan) -> Option<(u64, u64)> {
    found.torn.as_ref().map(|(_, offset, bytes)| (offset / SECTOR, *bytes))
}

fn live(found: &Scan) -> Vec<u32> {
    found.live.iter().map(|file| file.number).collect()
}

const HEADER: &str = "frame header checksum mismatch";

/// Two files: records 1 to 3 and 4 to 6 in the first, 7 to 9 and 10 in the second.
fn two() -> Log {
    let first = Log::new().file(1, 8).frame(3, 0).frame(3, 3);
    first.file(2, 8).frame(3, 6).frame(1, 9)
}

#[test]
fn a_sound_journal_is_read_to_its_end() {
    let found = two().scan(0, 0);
    assert_eq!((frames(&found), damage(&found)), (vec![1, 4, 7, 10], vec![]));
    assert_eq!((end(&found), torn(&found), found.clean), ((6, 3, 11), None, false));
    assert_eq!((found.promised, live(&found), &found.free), (Lsn(9), vec![1, 2], &vec![]));
    assert_eq!(found.end.unwrap().prev_crc, two().crc);
    assert_eq!(found.end.unwrap().epoch, Epoch(1));
    let slots = found.frames[0].slots.as_ref().unwrap();
    assert_eq!(&found.frames[0].record(&slots[1])[..], b"a record");
    assert_eq!(found.frames.iter().map(|f| f.file).collect::<Vec<_>>(), [1, 1, 2, 2]);

    let closed = two().flagged(0, 10, FLAG_CLOSING | FLAG_PROMISE, Epoch(3));
    let found = closed.scan(0, 0);
    assert_eq!((frames(&found), found.clean), (vec![1, 4, 7, 10, 11], true));
    assert_eq!((end(&found), found.promised), ((6, 4, 11), Lsn(10)));
    assert_eq!(found.end.unwrap().epoch, Epoch(3));
    // A close that another start followed says nothing of the end.
    assert!(!closed.file(3, 8).scan(0, 0).clean);
    let found = Log::new().scan(0, 5);
    assert_eq!((found.end, found.promised, live(&found)), (None, Lsn(5), vec![]));
}

#[test]
fn files_whose_records_all_lie_below_the_floor_are_free() {
    for (floor, needed, free) in [(5, vec![1, 2], vec![]), (6, vec![2], vec![1])] {
        let found = two().scan(floor, 0);
        assert_eq!((live(&found), &found.free), (needed, &free), "{floor}");
        assert_eq!(damage(&found), []);
        assert_eq!(found.promised, Lsn(9));
    }
    let found = two().scan(40, 0);
    assert_eq!((live(&found), end(&found), found.promised), (vec![2], (6, 3, 11), Lsn(40)));
    assert_eq!(two().scan(0, 30).promised, Lsn(30));
}

#[test]
fn files_that_are_not_the_journals_are_left_alone() {
    let disk = two().disk();
    for name in [witness::NAME, "1.journal", "000003.journal.tmp", "notes"] {
        disk.write_whole(DIR, name, b"?").unwrap();
    }
    let mut found = scan(&disk, Lsn::ZERO, Lsn::ZERO).unwrap();
    found.strangers.sort();
    assert_eq!(
        found.strangers,
        ["journal/000003.journal.tmp", "journal/1.journal", "journal/notes"]
    );
    assert_eq!((frames(&found), found.numbers), (vec![1, 4, 7, 10], BTreeSet::from([1, 2])));
}

#[test]
fn a_file_that_was_never_used_is_free_and_so_is_one_that_says_nothing() {
    let empty = Log::new().file(9, 4).put(0, 0, &[0; SECTOR_BYTES]);
    let mut unused = two();
    unused.files.push(empty.files[0].clone());
    let found = unused.scan(0, 0);
    assert_eq!((live(&found), &found.free, &found.headless), (vec![1, 2], &vec![9], &vec![]));
    // Rubbish in place of a header, and no frame: a use that never began.
    let mut rubbish = two();
    rubbish.files.push(Log::new().file(9, 4).flip(0, 0, 40).files[0].clone());
    let found = rubbish.scan(0, 0);
    assert_eq!((live(&found), &found.free, &found.headless), (vec![1, 2], &vec![9], &vec![]));
    assert_eq!(damage(&found), []);
    // While a file is missing it may be that one: nobody writes into it.
    let mut log = two().file(3, 8).frame(1, 10);
    log.files.remove(1);
    log.files.push(Log::new().file(9, 4).flip(0, 0, 40).files[0].clone());
    let empty = Log::new().file(8, 4).put(0, 0, &[0; SECTOR_BYTES]);
    log.files.push(empty.files[0].clone());
    let found = log.scan(0, 0);
    assert_eq!((&found.free, &found.headless), (&vec![8], &vec![9]), "zeros tell of nothing");
    assert_eq!(damage(&found), [("000003".into(), 0, 0, 0, FILE_MISSING, Some((7, 10)))]);
}

#[test]
fn a_header_that_is_lost_is_made_up_from_the_frames_behind_it() {
    let reason = |log: &Log, reason| {
        let found = log.scan(0, 0);
        assert_eq!(frames(&found), [1, 4, 7, 10], "{reason}");
        assert_eq!(damage(&found), [("000002".into(), 0, 0, SECTOR, reason, None)]);
        assert_eq!((end(&found), live(&found)), ((6, 3, 11), vec![1, 2]));
        assert_eq!((found.headless.len(), found.free.len()), (0, 0));
    };
    reason(&two().flip(1, 0, 40), "journal.header_crc");
    reason(&two().flip(1, 0, 0), "journal.magic");
    reason(&two().put(1, 0, &[0; SECTOR_BYTES]), HEADER_STALE);
    // An older header put back, as of the file before.
    let older = two().sector(0, 0);
    reason(&two().put(1, 0, &older), HEADER_STALE);
    // The first file's: what came before it is not known, and need not be.
    let found = two().flip(0, 0, 40).scan(0, 0);
    assert_eq!((frames(&found), end(&found)), (vec![1, 4, 7, 10], (6, 3, 11)));
    assert_eq!(damage(&found).len(), 1);
}

#[test]
fn a_file_in_its_second_use_may_hold_frames_of_the_first() {
    // Frames 1 and 4 of use 5 stand behind the new header and the one frame of use 7.
    let old = two();
    let log =
        two().file(3, 8).frame(1, 10).put(2, 2, &old.sector(0, 1)).put(2, 3, &old.sector(0, 2));
    let found = log.scan(0, 0);
    assert_eq!((frames(&found), end(&found)), (vec![1, 4, 7, 10, 11], (7, 2, 12)));
    assert_eq!((damage(&found), torn(&found)), (vec![], None));
    // A new use whose first frame never came: what stands there is of an older one.
    let log = two().file(3, 8).put(2, 1, &old.sector(0, 1));
    let found = log.scan(0, 0);
    assert_eq!((end(&found), damage(&found), torn(&found)), ((7, 1, 11), vec![], None));
    // Without its header the newest use counts, wherever its first frame stands.
    let lost = two().file(3, 8).frame(1, 10).flip(2, 0, 40);
    let moved = |at: u64| {
        let mut bytes = Log::new().file(3, 8);
        bytes.files[0].1.incarnation = 3;
        bytes.at = at * SECTOR;
        let older = bytes.frame(1, 0).sector(0, at);
        lost.clone().put(2, at, &older)
    };
    for at in [2, 7] {
        let found = moved(at).scan(0, 0);
        assert_eq!((frames(&found), end(&found)), (vec![1, 4, 7, 10, 11], (7, 2, 12)), "{at}");
    }
    // The newest one in the last sector of the file.
    let mut last = two().file(3, 3).frame(1, 0);
    last.at = 2 * SECTOR;
    let last = last.frame(2, 11).flip(2, 0, 40).put(2, 1, &[0; SECTOR_BYTES]);
    assert_eq!(frames(&last.scan(0, 0)), [1, 4, 7, 10, 12]);
}

#[test]
fn a_use_of_which_two_files_tell_is_read_once() {
    // A copy of the second file under another number, its header lost.
    let mut log = two();
    let (_, header, bytes) = log.files[1].clone();
    log.files.push((9, header, bytes));
    let found = log.flip(2, 0, 40).scan(0, 0);
    assert_eq!((frames(&found), live(&found)), (vec![1, 4, 7, 10], vec![1, 2]));
    assert_eq!((damage(&found), &found.free), (vec![], &vec![9]));
}

#[test]
fn a_file_that_is_missing_costs_what_stood_in_it() {
    let three = two().file(3, 8).frame(2, 10);
    let found = three.clone().without(1).scan(0, 0);
    assert_eq!(frames(&found), [1, 4, 11]);
    assert_eq!(damage(&found), [("000003".into(), 0, 0, 0, FILE_MISSING, Some((7, 10)))]);
    assert_eq!((found.promised, end(&found)), (Lsn(10), (7, 2, 13)));
    // Above the floor only.
    let found = three.clone().without(1).scan(8, 0);
    assert_eq!(damage(&found), [("000003".into(), 0, 0, 0, FILE_MISSING, Some((9, 10)))]);
    let found = three.clone().without(0).scan(0, 0);
    assert_eq!(frames(&found), [7, 10, 11]);
    assert_eq!(damage(&found), [("000002".into(), 0, 0, 0, FILE_MISSING, Some((1, 6)))]);
    let found = three.clone().without(0).scan(6, 0);
    assert_eq!((frames(&found), damage(&found)), (vec![7, 10, 11], vec![]));
    assert_eq!(damage(&three.clone().without(0).scan(5, 0))[0].5, Some((6, 6)));
    // One that never held a record is not missed.
    let empty = two().file(3, 8).file(4, 8).frame(1, 10).without(2);
    assert_eq!(
        (damage(&empty.scan(0, 0)), frames(&empty.scan(0, 0))),
        (vec![], vec![1, 4, 7, 10, 11])
    );
}

#[test]
fn a_frame_whose_header_is_damaged_costs_its_records_and_no_other() {
    let found = two().flip(0, 2, 30).scan(0, 0);
    assert_eq!(frames(&found), [1, 7, 10]);
    assert_eq!(damage(&found), [("000001".into(), 2, 0, SECTOR, HEADER, Some((4, 6)))]);
    let found = two().flip(0, 1, 30).scan(0, 0);
    assert_eq!(frames(&found), [4, 7, 10]);
    assert_eq!(damage(&found), [("000001".into(), 1, 0, SECTOR, HEADER, Some((1, 3)))]);
    // Below the floor it costs nothing, and what it costs begins above the floor.
    assert_eq!(damage(&two().flip(0, 1, 30).scan(3, 0)), []);
    assert_eq!(damage(&two().flip(0, 1, 30).scan(2, 0))[0].5, Some((3, 3)));
    // A frame that says nothing new: an empty one.
    let log = Log::new().file(1, 8).frame(2, 0).flagged(0, 2, FLAG_PROMISE, Epoch(1)).frame(1, 2);
    let found = log.clone().flip(0, 2, 30).scan(0, 0);
    assert_eq!((frames(&found), end(&found)), (vec![1, 3], (5, 4, 4)));
    assert_eq!(damage(&found), [("000001".into(), 2, 0, SECTOR, HEADER, None)]);
}

#[test]
fn a_frame_of_another_chain_or_place_is_not_read() {
    // The frame of records 4 to 6 stands twice, and its second place is not its own.
    let log = Log::new().file(1, 8).frame(3, 0).frame(3, 3).frame(1, 6);
    let twice = log.sector(0, 2);
    let found = log.clone().put(0, 4, &twice).scan(0, 0);
    assert_eq!((frames(&found), damage(&found)), (vec![1, 4, 7], vec![]));
    assert_eq!(torn(&found), Some((4, SECTOR)), "it is of this use, and will be wiped");
    // A frame that was written behind another one than stands before it.
    let other = Log::new().file(1, 8).frame(2, 0).frame(3, 2).frame(2, 5);
    let found = log.clone().put(0, 2, &other.sector(0, 2)).scan(0, 0);
    assert_eq!(frames(&found), [1, 7]);
    assert_eq!(damage(&found), [("000001".into(), 2, 0, SECTOR, HEADER, Some((4, 6)))]);
    // Of the right place in the log, and of another chain.
    let mut chain = Log::new().file(1, 8).frame(3, 0);
    chain.crc ^= 1;
    let found = log.clone().put(0, 2, &chain.frame(3, 3).sector(0, 2)).scan(0, 0);
    assert_eq!((frames(&found), damage(&found)[0].5), (vec![1, 7], Some((4, 6))));
    // Records are gone, and the frame behind them stands where they stood.
    let mut gone = Log::new().file(1, 8).frame(3, 0);
    gone.lsn = 6;
    let found = gone.frame(1, 5).scan(0, 0);
    assert_eq!((frames(&found), end(&found)), (vec![1, 6], (5, 3, 7)));
    assert_eq!(damage(&found), [("000001".into(), 2, 0, 0, HEADER, Some((4, 5)))]);
    // Behind a hole a frame with a later place is taken, of whatever chain.
    let found = log.clone().put(0, 1, &[0; SECTOR_BYTES]).scan(0, 0);
    assert_eq!((frames(&found), damage(&found)[0].5), (vec![4, 7], Some((1, 3))));
    // A frame is looked for as far as the file goes.
    let far = Log::new().file(1, 200).frame(1, 0);
    let mut far = far.clone();
    (far.at, far.lsn) = (199 * SECTOR, 9);
    let found = far.frame(1, 8).scan(0, 0);
    assert_eq!((frames(&found), end(&found)), (vec![1, 9], (5, 200, 10)));
    assert_eq!(damage(&found), [("000001".into(), 2, 0, 197 * SECTOR, HEADER, Some((2, 8)))]);
}

#[test]
fn what_stands_behind_the_end_that_the_next_file_names_does_not_count() {
    // A frame that was cut, then another start.
    let mut cut = Log::new().file(1, 8).frame(3, 0).frame(2, 3);
    (cut.at, cut.lsn) = (2 * SECTOR, 4);
    let first = Log::new().file(1, 8).frame(3, 0);
    cut.crc = first.crc;
    let log = cut.file(2, 8).frame(1, 3);
    let found = log.scan(0, 0);
    assert_eq!((frames(&found), damage(&found), end(&found)), (vec![1, 4], vec![], (6, 2, 5)));
    // Records that the next file says were there, and are not.
    let mut gone = Log::new().file(1, 8).frame(3, 0);
    gone.lsn = 6;
    let log = gone.file(2, 8).frame(1, 5);
    let found = log.scan(0, 0);
    assert_eq!((frames(&found), end(&found)), (vec![1, 6], (6, 2, 7)));
    assert_eq!(damage(&found), [("000001".into(), 2, 0, 0, HEADER, Some((4, 5)))]);
    // A next file of another use's past says nothing of this one's end.
    let log = two().file(3, 8).frame(1, 10).without(1).scan(0, 0);
    assert_eq!(frames(&log), [1, 4, 11]);
}

/// Records 1 to 3, then 4 and 5 of which nothing promises anything.
fn unpromised() -> Log {
    Log::new().file(1, 8).frame(3, 0).frame(2, 3)
}

#[test]
fn the_last_frame_is_cut_if_it_is_not_whole_and_no_promise_covers_it() {
    let first = Log::new().file(1, 8).frame(3, 0);
    let record = usize::try_from(96 + 2 * 32).unwrap();
    for (what, byte, bytes) in
        [("directory", 100, SECTOR), ("record", record, SECTOR), ("second", record + 12, SECTOR)]
    {
        let log = unpromised().flip(0, 2, byte);
        let found = log.scan(0, 0);
        assert_eq!((frames(&found), damage(&found), found.promised), (vec![1], vec![], Lsn(3)));
        assert_eq!((end(&found), torn(&found), found.clean), ((5, 2, 4), Some((2, bytes)), false));
        assert_eq!(found.end.unwrap().prev_crc, first.crc, "{what}");
        // The same under a promise is damage.
        let found = log.scan(0, 5);
        assert_eq!((frames(&found), torn(&found), end(&found)), (vec![1, 4], None, (5, 3, 6)));
        assert_eq!(found.damage.len(), 1, "{what}");
        assert_eq!(damage(&found)[0].5.unwrap().1, if what == "record" { 4 } else { 5 });
    }
    // A promise of the first of its records promises all: they were one write.
    let found = unpromised().flip(0, 2, record + 12).scan(0, 4);
    assert_eq!(
        (frames(&found), end(&found), torn(&found)),
        (vec![1], (5, 2, 4), Some((2, SECTOR)))
    );
    // A header that was not written whole: nothing says that there was a frame, but its use.
    let found = unpromised().flip(0, 2, 90).scan(0, 0);
    assert_eq!((frames(&found), damage(&found)), (vec![1], vec![]));
    assert_eq!((end(&found), torn(&found)), ((5, 2, 4), Some((2, SECTOR))));
    let found = unpromised().put(0, 2, &[0; SECTOR_BYTES]).scan(0, 0);
    assert_eq!((frames(&found), end(&found), torn(&found)), (vec![1], (5, 2, 4), None));
    // The first frame of the newest file.
    let found = two().file(3, 8).frame(1, 10).flip(2, 1, 100).scan(0, 0);
    assert_eq!((frames(&found), end(&found)), (vec![1, 4, 7, 10], (7, 1, 11)));
    assert_eq!(found.end.unwrap().prev_crc, two().crc);
    assert_eq!((torn(&found), live(&found)), (Some((1, SECTOR)), vec![1, 2, 3]));
}

#[test]
fn a_cut_takes_what_stands_behind_it_and_no_promised_frame_before_it() {
    // An empty frame behind the damaged one promises nothing of it.
    let log = unpromised().flagged(0, 3, FLAG_PROMISE, Epoch(1)).flip(0, 2, 100);
    let found = log.scan(0, 0);
    assert_eq!(
        (frames(&found), end(&found), torn(&found)),
        (vec![1], (5, 2, 4), Some((2, SECTOR)))
    );
    // Empty frames before the cut stay; the epoch is theirs.
    let base = Log::new().file(1, 8).frame(3, 0).flagged(0, 3, FLAG_PROMISE, Epoch(2));
    let found = base.clone().frame(2, 3).flip(0, 3, 100).scan(0, 0);
    assert_eq!((frames(&found), end(&found)), (vec![1, 4], (5, 3, 4)));
    assert_eq!((found.end.unwrap().prev_crc, found.end.unwrap().epoch), (base.crc, Epoch(2)));
    // A hole above every promise, with a frame behind it.
    let log = unpromised().frame(1, 3).flip(0, 2, 90);
    let found = log.scan(0, 0);
    assert_eq!((frames(&found), damage(&found)), (vec![1], vec![]));
    assert_eq!((end(&found), torn(&found)), ((5, 2, 4), Some((2, SECTOR))));
    // Damage before it stays, in this file and in older ones, and stays named.
    let found = unpromised().flip(0, 1, 4_000).flip(0, 2, 100).scan(0, 0);
    assert_eq!(damage(&found), [("000001".into(), 1, 4_000, 1, PADDING, None)]);
    assert_eq!((frames(&found), torn(&found)), (vec![1], Some((2, SECTOR))));
    let found = two().file(3, 8).frame(1, 10).flip(0, 1, 100).flip(2, 1, 100).scan(0, 0);
    assert_eq!(frames(&found), [1, 4, 7, 10]);
    assert_eq!(damage(&found), [("000001".into(), 1, 0, SECTOR, "directory.crc", Some((1, 3)))]);
    assert_eq!((end(&found), torn(&found)), ((7, 1, 11), Some((1, SECTOR))));
}

#[test]
fn damage_below_a_promise_is_kept_with_its_place_and_its_records() {
    let record = 96 + 3 * 32;
    let found = two().flip(0, 2, record + 12 + 1).scan(0, 0);
    let expected =
        ("000001".into(), 2, record as u64 + 12, 8, "record checksum mismatch", Some((5, 5)));
    assert_eq!((frames(&found), damage(&found)), (vec![1, 4, 7, 10], vec![expected]));
    let slots = found.frames[1].slots.as_ref().unwrap();
    assert_eq!(slots.iter().map(|s| s.fault.is_some()).collect::<Vec<_>>(), [false, true, false]);
    for (floor, kept) in [(4, 1), (5, 0)] {
        assert_eq!(two().flip(0, 2, record + 12).scan(floor, 0).damage.len(), kept, "{floor}");
    }
    let found = two().flip(0, 2, 100).scan(0, 0);
    assert_eq!(damage(&found), [("000001".into(), 2, 0, SECTOR, "directory.crc", Some((4, 6)))]);
    assert!(found.frames[1].slots.is_none());
    assert_eq!(damage(&two().flip(0, 2, 100).scan(4, 0))[0].5, Some((5, 6)));
    assert_eq!(damage(&two().flip(0, 2, 100).scan(5, 0))[0].5, Some((6, 6)));
}

#[test]
fn padding_that_is_not_zero_is_damage_under_a_promise_and_else_a_write_cut_short() {
    let found = two().flip(0, 2, 4_000).scan(0, 0);
    assert_eq!(frames(&found), [1, 4, 7, 10]);
    assert_eq!(damage(&found), [("000001".into(), 2, 4_000, 1, PADDING, None)]);
    assert_eq!(found.frames[1].bytes[4_000], 4, "it is shown as it stands");
    let log = unpromised().flip(0, 2, 4_000);
    let found = log.scan(0, 0);
    assert_eq!((frames(&found), damage(&found), torn(&found)), (vec![1, 4], vec![], None));
    assert_eq!((end(&found), found.frames[1].bytes[4_000]), ((5, 3, 6), 0));
    assert_eq!(&found.frames[1].bytes[..], &unpromised().sector(0, 2)[..]);
    let found = log.scan(0, 5);
    assert_eq!(damage(&found), [("000001".into(), 2, 4_000, 1, PADDING, None)]);
    // What stands elsewhere at the same place is named all the same.
    let log = two().flip(0, 2, 4_000).flip(1, 2, 4_000);
    assert_eq!(damage(&log.scan(0, 0)), [("000001".into(), 2, 4_000, 1, PADDING, None)]);
    let log = unpromised().flip(0, 1, 4_000).flip(0, 2, 4_000);
    assert_eq!(damage(&log.scan(0, 0)), [("000001".into(), 1, 4_000, 1, PADDING, None)]);
    // An empty frame promises nothing of itself.
    let log = unpromised().flagged(0, 5, FLAG_PROMISE, Epoch(1)).flip(0, 3, 4_000);
    let found = log.scan(0, 0);
    assert_eq!((frames(&found), damage(&found), found.promised), (vec![1, 4, 6], vec![], Lsn(5)));
}

#[test]
fn a_file_cut_short_may_have_held_more_unless_something_says_how_much() {
    const SHORT: &str = "journal file is shorter than its header says";
    // The newest: nobody knows what stood there.
    let found = unpromised().cut(0, 4).scan(0, 0);
    assert_eq!(damage(&found), [("000001".into(), 4, 0, 4 * SECTOR, SHORT, Some((6, 6)))]);
    assert_eq!((frames(&found), end(&found), found.promised), (vec![1, 4], (5, 3, 6), Lsn(6)));
    // It was closed, or another begins where it ended.
    let closed = unpromised().flagged(0, 5, FLAG_CLOSING | FLAG_PROMISE, Epoch(1));
    let found = closed.cut(0, 4).scan(0, 0);
    assert_eq!(damage(&found), [("000001".into(), 4, 0, 4 * SECTOR, SHORT, None)]);
    assert_eq!(found.promised, Lsn(5));
    let found = two().cut(0, 4).scan(0, 0);
    assert_eq!(damage(&found), [("000001".into(), 4, 0, 4 * SECTOR, SHORT, None)]);
    // With frames of it gone.
    let found = two().cut(0, 2).scan(0, 0);
    assert_eq!((frames(&found), found.promised), (vec![1, 7, 10], Lsn(9)));
    let gone = ("000001".into(), 2, 0, SECTOR, HEADER, Some((4, 6)));
    assert_eq!(damage(&found), [gone, ("000001".into(), 2, 0, 6 * SECTOR, SHORT, None)]);
    // A frame that is there in part is not there.
    let mut long = Log::new().file(1, 8).frame(3, 0);
    long = long.frame(200, 3).cut(0, 3);
    assert_eq!(frames(&long.scan(0, 0)), [1]);
    // A file without its header says nothing of its length.
    let found = two().flip(1, 0, 40).cut(1, 4).scan(0, 0);
    assert_eq!(damage(&found).iter().map(|d| d.4).collect::<Vec<_>>(), ["journal.header_crc"]);
}

#[test]
fn the_log_ends_where_its_furthest_evidence_says() {
    let found = unpromised().scan(0, 0);
    assert_eq!(end_of(&found, Lsn(0), Lsn(0), Epoch(9)).next_lsn, Lsn(6));
    assert_eq!(end_of(&found, Lsn(0), Lsn(5), Epoch(9)).next_lsn, Lsn(6));
    assert_eq!(end_of(&found, Lsn(0), Lsn(6), Epoch(9)).next_lsn, Lsn(7));
    let none = Log::new().scan(4, 0);
    let end = end_of(&none, Lsn(4), Lsn(2), Epoch(9));
    assert_eq!((end.incarnation, end.end, end.next_lsn, end.epoch), (0, 0, Lsn(5), Epoch(9)));

    let disk = unpromised().disk();
    let end = end_of(&found, Lsn(0), Lsn(0), Epoch(1));
    assert!(check_witness(&disk, end, Lsn(5)).is_ok());
    let missing = check_witness(&disk, end, Lsn(6)).unwrap_err();
    let Error::Corrupt { file, offset, expected, found: last, .. } = missing else { panic!() };
    assert!(file.ends_with(DIR));
    assert_eq!((offset, expected, last), (3 * SECTOR, 6, 5));

    assert!(!is_short(&found, Lsn(5)) && is_short(&found, Lsn(6)));
    assert!(is_short(&none, Lsn(4)));
    let damaged = two().flip(0, 2, 30).scan(0, 0);
    assert!(is_short(&damaged, Lsn(4)) && !is_short(&damaged, Lsn(3)));
}
