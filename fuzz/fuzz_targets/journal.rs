//! The journal scan: whatever a file holds, the scan ends, and names what it finds.
//! The input is laid over a real journal, so that most of it is still sound.
#![no_main]

use std::sync::Arc;

use hansard_engine::format::frame::{DirEntry, FileHeader, FrameParts, encode_frame};
use hansard_engine::format::payload::Kind;
use hansard_engine::journal::scan::scan;
use hansard_engine::storage::sim::SimStorage;
use hansard_engine::storage::{Disk, Mode, Storage};
use hansard_engine::types::*;
use libfuzzer_sys::fuzz_target;

fn journal() -> Vec<u8> {
    let header = FileHeader {
        incarnation: 1,
        epoch: Epoch(1),
        first_lsn: Lsn(1),
        prev_frame_crc: 0,
        file_bytes: 64 * 1024,
        prev_incarnation: 0,
        prev_end: 0,
    };
    let mut file = header.to_sector();
    let mut prev_crc = 0;
    for n in 0..4u64 {
        let entry = |seq: u64| DirEntry {
            bytes: 5,
            kind: Kind::Post,
            room: RoomId(900),
            seq: Seq(seq),
            rev: Rev(seq),
        };
        let (frame, crc) = encode_frame(&FrameParts {
            prev_crc,
            incarnation: 1,
            offset: file.len() as u64,
            flags: 0,
            epoch: Epoch(1),
            first_lsn: Lsn(n * 2 + 1),
            synced: Lsn(n * 2),
            committed: Lsn(n * 2),
            recorded: TimeUs(0),
            entries: &[entry(n * 2 + 1), entry(n * 2 + 2)],
            records: b"firstother",
        });
        prev_crc = crc;
        file.extend(frame);
    }
    file.resize(64 * 1024, 0);
    file
}

fuzz_target!(|data: &[u8]| {
    let Some((place, patch)) = data.split_first_chunk::<2>() else { return };
    let mut bytes = journal();
    let at = usize::from(u16::from_le_bytes(*place)) % bytes.len();
    let end = (at + patch.len()).min(bytes.len());
    bytes[at..end].copy_from_slice(&patch[..end - at]);
    let sim = SimStorage::new();
    sim.create_dir("journal").expect("simulated");
    sim.open("journal/000000.journal", Mode::Create).expect("simulated");
    sim.set_bytes("journal/000000.journal", bytes);
    let found = scan(&Disk::new(Arc::new(sim)), Lsn(0), Lsn(0)).expect("no I/O error here");
    let lost: u64 = found.damage.iter().filter(|d| d.first_lost().is_some()).count() as u64;
    // Four frames promise the six records of the first three: each is found or named.
    let sound = found.frames.iter().flat_map(|f| f.slots.iter().flatten());
    let sound = sound.filter(|s| s.fault.is_none() && s.lsn <= found.promised).count();
    assert!(sound > 0 || lost > 0 || found.promised == Lsn(0));
});
