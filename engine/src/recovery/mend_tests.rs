//! Which sectors of the journal recovery writes, byte by byte.
//!
//! What comes of it after crashes is in `engine/tests/found.rs` and the simulation.

use std::sync::Arc;

use super::*;
use crate::format::frame::{DirEntry, FrameParts, encode_frame};
use crate::format::payload::Kind;
use crate::journal::{EndMark, LiveFile};
use crate::storage::sim::SimStorage;
use crate::types::{Epoch, Lsn, Rev, RoomId, Seq, TimeUs};

const SECTOR: u64 = SECTOR_BYTES as u64;
const FILE: &str = "journal/000007.journal";
const NEWEST: LiveFile =
    LiveFile { number: 7, incarnation: 9, first_lsn: Lsn(1), file_bytes: 20 * SECTOR };

/// A frame of one sector, of `records` records.
fn frame(incarnation: u64, sector: u64, first: u64, records: usize) -> FoundFrame {
    let entry =
        DirEntry { bytes: 4, kind: Kind::Post, room: RoomId(70), seq: Seq(first), rev: Rev(first) };
    let (bytes, _) = encode_frame(&FrameParts {
        prev_crc: 0,
        incarnation,
        offset: sector * SECTOR,
        flags: 0,
        epoch: Epoch(1),
        first_lsn: Lsn(first),
        synced: Lsn::ZERO,
        committed: Lsn::ZERO,
        recorded: TimeUs(0),
        entries: &vec![entry; records],
        records: &b"text".repeat(records),
    });
    let header = FrameHeader::parse_any(&bytes).unwrap();
    FoundFrame { file: 7, header, bytes: bytes.into(), slots: None }
}

/// A journal of one file in which these frames stand, of 20 sectors and a bit.
fn journal(frames: &[FoundFrame]) -> (SimStorage, Disk) {
    let sim = SimStorage::new();
    let disk = Disk::new(Arc::new(sim.clone()));
    for folder in ["", journal::DIR, pack::DIR] {
        disk.create_dir(folder).unwrap();
    }
    let mut bytes = vec![0xA5; 20 * SECTOR_BYTES + 100];
    for frame in frames {
        let at = usize::try_from(frame.header.offset).unwrap();
        bytes[at..at + SECTOR_BYTES].copy_from_slice(&frame.bytes);
    }
    disk.write_whole(journal::DIR, "000007.journal", &bytes).unwrap();
    (sim, disk)
}

/// The sectors in which two states of the file differ.
fn changed(before: &[u8], after: &[u8]) -> Vec<usize> {
    assert_eq!(before.len(), after.len());
    let pairs = before.chunks(SECTOR_BYTES).zip(after.chunks(SECTOR_BYTES)).enumerate();
    pairs.filter(|(_, (before, after))| before != after).map(|(at, _)| at).collect()
}

#[test]
fn every_cut_frame_of_this_use_is_wiped_and_nothing_else() {
    let frames = [
        frame(9, 4, 1, 1),
        frame(9, 5, 2, 1),
        frame(8, 6, 2, 1),
        frame(9, 7, 3, 1),
        frame(9, 19, 4, 1),
    ];
    let (sim, disk) = journal(&frames);
    let before = sim.bytes_of(FILE).unwrap();
    let end =
        EndMark { incarnation: 9, end: 5 * SECTOR, prev_crc: 0, next_lsn: Lsn(2), epoch: Epoch(1) };
    let torn = Some((disk.full(FILE), 5 * SECTOR, SECTOR));
    let scan = Scan { live: vec![NEWEST], end: Some(end), torn, ..Scan::default() };
    // Without a torn tail nothing stands there that is ours.
    let whole =
        Scan { torn: None, live: vec![NEWEST], ..Scan { end: Some(end), ..Scan::default() } };
    wipe_cut(&disk, &whole).unwrap();
    assert_eq!(changed(&before, &sim.bytes_of(FILE).unwrap()), []);
    wipe_cut(&disk, &scan).unwrap();
    let after = sim.bytes_of(FILE).unwrap();
    assert_eq!(changed(&before, &after), [5, 7, 19]);
    for sector in [5, 7, 19] {
        assert!(after[sector * SECTOR_BYTES..][..SECTOR_BYTES].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn what_no_promise_covers_is_written_again_and_nothing_else() {
    let found = [frame(9, 2, 1, 2), frame(9, 3, 3, 1), frame(9, 4, 4, 0), frame(9, 5, 4, 1)];
    let (sim, disk) = journal(&[]);
    let before = sim.bytes_of(FILE).unwrap();
    let mut scan = Scan { live: vec![NEWEST], promised: Lsn(3), ..Scan::default() };
    scan.frames.extend(found);
    // As if it stood in another file.
    scan.frames.push(FoundFrame { file: 6, ..frame(9, 6, 5, 1) });
    sync_found(&disk, &scan).unwrap();
    let after = sim.bytes_of(FILE).unwrap();
    assert_eq!(changed(&before, &after), [4, 5]);
    assert_eq!(
        after[4 * SECTOR_BYTES..6 * SECTOR_BYTES],
        [&scan.frames[2].bytes[..], &scan.frames[3].bytes].concat()
    );
    // Every frame promised: the file stays as it is.
    sim.set_bytes(FILE, before.clone());
    scan.promised = Lsn(9);
    scan.frames.retain(|frame| !frame.header.is_empty());
    sync_found(&disk, &scan).unwrap();
    assert_eq!(changed(&before, &sim.bytes_of(FILE).unwrap()), []);
}
