//! Numbers behind right checksums that no log can have: what damage does not make, and a defect or
//! a forger might. They are refused or named, and cost neither memory nor an overflow.
//!
//! What the fuzz target `open_directory` looks for, kept as cases.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use hansard_engine::catalog::memory::MemoryCatalog;
use hansard_engine::format::frame::{FileHeader, FrameHeader, FrameParts, encode_frame};
use hansard_engine::format::manifest::{Chain, Edit, decode_edit, encode_edit};
use hansard_engine::format::witness::Witness;
use hansard_engine::open::Losses;
use hansard_engine::reads::Anchor;
use hansard_engine::storage::{Disk, Mode, Storage};
use hansard_engine::types::*;
use hansard_engine::{Health, manifest};
use support::*;

/// A closed directory with a few messages of one room.
fn closed() -> (World, RoomId) {
    let world = World::new();
    let engine = world.open();
    let category = make_category(&engine, "General");
    let room = make_room(&engine, category, "lobby");
    for n in 0..5 {
        one(&engine, post(PrincipalId::SYSTEM, room, &format!("message {n}")));
    }
    engine.close().unwrap();
    (world, room)
}

#[test]
fn a_seal_that_no_log_reached_is_a_hole_and_takes_no_memory() {
    let (mut world, _) = closed();
    let disk = Disk::new(std::sync::Arc::new(world.sim.clone()));
    let mut bytes = world.sim.bytes_of(manifest::FILE).unwrap();
    let mut read = manifest::read(&disk, &bytes).unwrap();
    let sealed = Lsn(1 << 47);
    let edit = Edit { added: vec![], removed: vec![], sealed, epoch: Epoch(1), next_pack: 9 };
    bytes.extend(encode_edit(&edit, &mut read.chain));
    world.sim.set_bytes(manifest::FILE, bytes);
    world.store = MemoryCatalog::default();
    let (engine, report) = world.try_open(Losses::Restrict).unwrap();
    assert!(matches!(engine.health(), Health::Restricted { .. }), "{report:?}");
    assert_eq!(report.holes.last().unwrap().last, sealed);
}

#[test]
fn a_position_that_no_log_reaches_is_no_value_of_a_file() {
    for number in [u64::MAX, u64::MAX - 1, (u64::MAX >> 1) + 1] {
        let sector = FileHeader {
            incarnation: number,
            epoch: Epoch(1),
            first_lsn: Lsn(1),
            prev_frame_crc: 0,
            file_bytes: 1 << 20,
            prev_incarnation: 0,
            prev_end: 0,
        };
        assert!(FileHeader::parse(&sector.to_sector()).is_err(), "{number}");
        let witness = Witness { generation: number, incarnation: 1, lsn: Lsn(1) };
        assert!(Witness::parse(&witness.to_sector(), witness.offset()).is_err(), "{number}");
        let (frame, _) = encode_frame(&FrameParts {
            prev_crc: 0,
            incarnation: 1,
            offset: 4096,
            flags: 0,
            epoch: Epoch(1),
            first_lsn: Lsn(number.min(u64::MAX - 9)),
            synced: Lsn(0),
            committed: Lsn(0),
            recorded: TimeUs(0),
            entries: &[],
            records: b"",
        });
        assert!(FrameHeader::parse_any(&frame).is_err(), "{number}");
        let edit = Edit {
            added: vec![],
            removed: vec![],
            sealed: Lsn::ZERO,
            epoch: Epoch(1),
            next_pack: number,
        };
        let bytes = encode_edit(&edit, &mut Chain::default());
        assert!(decode_edit(&bytes, &mut Chain::default()).is_err(), "{number}");
    }
}

#[test]
fn a_strangers_file_in_the_journal_folder_hides_none_of_ours() {
    let (world, room) = closed();
    for name in ["999999", "900000", "000001", "+00001", "0000001", "-00001"] {
        let file = world.sim.open(&format!("journal/{name}.journal"), Mode::Create).unwrap();
        file.write_at(b"notes", 0).unwrap();
    }
    for round in 0..3 {
        let engine = world.open();
        // More than a file holds.
        for n in 0..7 {
            let body = format!("round {round}.{n} {}", "word ".repeat(5_000));
            one(&engine, post(PrincipalId::SYSTEM, room, &body));
        }
        engine.close().unwrap();
        drop(engine);
    }
    let engine = world.open();
    let page = engine.page(room, Anchor::Last, 100).unwrap();
    assert_eq!((page.records.len(), page.gaps.len()), (26, 0));
}
