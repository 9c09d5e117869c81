//! When what a survey misses is nothing but messages, and where rooms stand behind it; what the log
//! read back from packs does with records that this build cannot read.
//!
//! Whole surveys, over the packs of an engine, are in `engine/tests/recovery.rs`.

use std::sync::Arc;

use super::*;
use crate::format::pack::FOOTER_BYTES;
use crate::format::payload::{Edited, EntryKind, Erased, ErasedRecord, Expired, Kind, Post};
use crate::format::record::{Actor, Door};
use crate::open::FOLDERS;
use crate::pack::{PackKind, PackWriter, Packs};
use crate::stats::Stats;
use crate::storage::Disk;
use crate::storage::sim::SimStorage;
use crate::tail::TailEntry;
use crate::types::{CategoryId, Epoch, PrincipalId, Rev, Seq, TimeUs, TokenId};

const PACK: &str = "packs/00000001.pack";

/// A run of two blocks: three places of the timeline, then two.
fn run(room: RoomId) -> Run {
    let block = |records, first_rev, seq_base, time_base| BlockRef {
        offset: 0,
        bytes: 0,
        crc: 0,
        share: 0,
        records,
        first_rev: Rev(first_rev),
        seq_base: Seq(seq_base),
        time_base: TimeUs(time_base),
    };
    Run {
        pack: 1,
        room,
        category: CategoryId(1),
        first_rev: Rev(21),
        last_rev: Rev(26),
        seq_base: Seq(10),
        last_seq: Seq(15),
        first_time: TimeUs(100),
        last_time: TimeUs(160),
        first_lsn: Lsn(50),
        last_lsn: Lsn(60),
        amended_from: Seq::ZERO,
        amended_to: Seq::ZERO,
        blocks: vec![block(3, 21, 10, 100), block(3, 24, 13, 130)],
        nodes: Vec::new(),
    }
}

#[test]
fn a_block_with_a_place_for_each_record_holds_only_messages() {
    let run = run(RoomId(1 << 20));
    assert!(holds_only_messages(&run, 0, &run.blocks[0]));
    assert!(!holds_only_messages(&run, 1, &run.blocks[1]), "three records, two places");
    let system = self::run(RoomId::NONE);
    assert!(!holds_only_messages(&system, 0, &system.blocks[0]), "what closes doors stands there");
}

#[test]
fn a_room_stands_behind_a_lost_block_where_the_next_one_begins() {
    let run = run(RoomId(1 << 20));
    let (first, last) = (head_after(&run, 0), head_after(&run, 1));
    assert_eq!((first.seq, first.rev, first.time), (Seq(13), Rev(23), TimeUs(130)));
    assert_eq!((last.seq, last.rev, last.time), (Seq(15), Rev(26), TimeUs(160)));
}

/// A record of the room at these places of log and room, whose text fills a good part of a block.
fn entry(room: RoomId, lsn: u64, rev: u64) -> TailEntry {
    let (time, text) = (TimeUs(100), lsn.to_string().repeat(900));
    let record = Record {
        epoch: Epoch(1),
        lsn: Lsn(lsn),
        recorded: time,
        time,
        room,
        seq: Seq(rev),
        rev: Rev(rev),
        actor: Actor {
            id: PrincipalId(1),
            name: "ann".into(),
            door: Door::Http,
            address: String::new(),
            session: TokenId::NONE,
        },
        policy: Lsn::ZERO,
        idempotency: None,
        payload: Payload::Post(Post {
            kind: EntryKind::Text,
            body: text,
            reply_to: Seq::ZERO,
            import: None,
        }),
    };
    TailEntry {
        lsn: record.lsn,
        rev: record.rev,
        seq_at: record.seq,
        time_at: time,
        kind: Kind::Post,
        bytes: record.to_bytes().into(),
        words: 0,
    }
}

/// As `entry`, but of a version of records that this build does not read.
fn unknown(room: RoomId, lsn: u64, rev: u64) -> TailEntry {
    let entry = entry(room, lsn, rev);
    let mut bytes = entry.bytes.to_vec();
    bytes[0] = u8::MAX;
    TailEntry { bytes: bytes.into(), ..entry }
}

/// Flips a bit of the pack's byte.
fn flip(sim: &SimStorage, at: u64) {
    let mut bytes = sim.bytes_of(PACK).unwrap();
    bytes[usize::try_from(at).unwrap()] ^= 1;
    sim.set_bytes(PACK, bytes);
}

/// A directory of one pack of these rooms.
fn packed(rooms: &[(RoomId, &[TailEntry])]) -> (SimStorage, Packs, PackMeta, Vec<Run>) {
    packed_without(rooms, &[])
}

/// The same, of which the records at these places of the log are dropped.
fn packed_without(
    rooms: &[(RoomId, &[TailEntry])],
    gone: &[u64],
) -> (SimStorage, Packs, PackMeta, Vec<Run>) {
    let sim = SimStorage::new();
    let disk = Disk::new(Arc::new(sim.clone()));
    for folder in FOLDERS {
        disk.create_dir(folder).unwrap();
    }
    let kind = PackKind { class: 0, level: 0, day: 0 };
    let mut writer = PackWriter::create(&disk, 1, kind, None).unwrap();
    for (room, entries) in rooms {
        for entry in *entries {
            match gone.contains(&entry.lsn.0) {
                true => writer.drop_record(*room, CategoryId(1), entry, [7; 32]).unwrap(),
                false => writer.add(*room, CategoryId(1), entry).unwrap(),
            }
        }
    }
    let written = writer.finish().unwrap();
    let runs = written.runs.iter().collect();
    (sim, Packs::new(&disk, 0, Arc::default()), written.meta, runs)
}

/// A record that takes no place behind `seq`.
fn change(room: RoomId, lsn: u64, rev: u64, seq: u64, payload: Payload) -> TailEntry {
    let post = entry(room, lsn, rev);
    let record = Record { seq: Seq::ZERO, payload, ..decode_record(&post.bytes).unwrap() };
    let (kind, bytes) = (record.payload.kind(), record.to_bytes().into());
    TailEntry { seq_at: Seq(seq), kind, bytes, ..post }
}

/// The entry may be there, as it was first said, where the record that let its change go is not.
#[test]
fn a_change_that_was_dropped_is_named_if_what_let_it_go_may_be_missing() {
    let [room, other] = [RoomId(1 << 20), RoomId(2 << 20)];
    let edit = |lsn, rev| {
        let edited = Edited { seq: Seq(1), body: "anew".into() };
        change(room, lsn, rev, 2, Payload::Edited(edited))
    };
    let expired = |floor| {
        let expired = Expired { floor: Seq(floor), time: TimeUs(100) };
        change(room, 7, 4, 2, Payload::Expired(expired))
    };
    let erased = ErasedRecord {
        lsn: Lsn(4),
        recorded: TimeUs(100),
        actor: PrincipalId(1),
        key: String::new(),
    };
    let erased = Payload::Erased(Erased {
        seq: Seq(1),
        time: TimeUs(100),
        author: PrincipalId(1),
        reason: String::new(),
        records: vec![erased],
    });
    // Of the room the second post and an edit of the first are dropped. At 3 there is another's.
    let missing = |last: TailEntry, upto| {
        let of_room = [entry(room, 1, 1), entry(room, 2, 2), edit(4, 3), last];
        let of_other = [entry(other, 3, 1)];
        let rooms: [(RoomId, &[TailEntry]); 2] = [(room, &of_room), (other, &of_other)];
        let (_, packs, meta, _) = packed_without(&rooms, &[2, 4]);
        let survey = survey(&packs, std::iter::once(&meta), Lsn::ZERO, Lsn(upto));
        survey.missing.iter().map(|span| (span.first.0, span.last.0)).collect::<Vec<_>>()
    };
    // Nothing stands at 5 and 6; an expiry at 7 is there, or one that says too little.
    assert_eq!(missing(expired(2), 7), [(5, 6)]);
    assert_eq!(missing(expired(1), 7), [(2, 2), (4, 6)]);
    // Nobody says why anything went.
    assert_eq!(missing(entry(room, 5, 4), 5), [], "but nothing is missing that may say it");
    assert_eq!(missing(entry(room, 5, 4), 6), [(2, 2), (4, 4), (6, 6)]);
    // An erasure says it of the edit, and not of the post that a gap stands for.
    assert_eq!(missing(change(room, 5, 4, 2, erased), 6), [(2, 2), (6, 6)]);
}

#[test]
fn records_that_cannot_be_read_are_passed_over_and_named() {
    let room = RoomId(1 << 20);
    // The second to the last of one block, the first of the next, and the last of all.
    let mut entries: Vec<TailEntry> = (1..=10).map(|n| entry(room, 10 + n, n)).collect();
    for at in [1, 2, 3, 4, 9] {
        entries[at] = unknown(room, 11 + at as u64, at as u64 + 1);
    }
    let (_, packs, meta, runs) = packed(&[(room, &entries)]);
    let records: Vec<u32> = runs[0].blocks.iter().map(|block| block.records).collect();
    assert_eq!(records, [4, 4, 2], "they stand in blocks");
    let log = PackLog::new(&packs, std::iter::once(&meta), Lsn(10), Lsn(20));
    let found: Vec<u64> = log.map(|(record, _)| record.lsn.0).collect();
    assert_eq!(found, [11, 16, 17, 18, 19]);
    let survey = survey(&packs, std::iter::once(&meta), Lsn(10), Lsn(20));
    assert!(!survey.only_messages, "nobody knows what they do");
    let missing: Vec<_> = survey.missing.iter().map(|s| (s.first.0, s.last.0)).collect();
    assert_eq!(missing, [(12, 15), (20, 20)]);
}

#[test]
fn the_log_is_read_between_two_places_and_each_record_once() {
    let [first, second] = [RoomId(1 << 20), RoomId(2 << 20)];
    let of_first: Vec<TailEntry> = (1..=6).map(|n| entry(first, 2 * n, n)).collect();
    let of_second: Vec<TailEntry> = (1..=6).map(|n| entry(second, 2 * n + 1, n)).collect();
    // The first room stands twice, as while one pack takes the place of another.
    let rooms: [(RoomId, &[TailEntry]); 3] =
        [(first, &of_first), (first, &of_first), (second, &of_second)];
    let (_, packs, meta, runs) = packed(&rooms);
    assert_eq!(runs.iter().filter(|run| run.room == first).count(), 2);
    let read = |after, upto| -> Vec<u64> {
        let log = PackLog::new(&packs, std::iter::once(&meta), Lsn(after), Lsn(upto));
        log.map(|(record, _)| record.lsn.0).collect()
    };
    assert_eq!(read(0, 99), (2..=13).collect::<Vec<_>>());
    assert_eq!(read(4, 9), [5, 6, 7, 8, 9]);
    assert_eq!((read(13, 99), read(0, 1), read(6, 7)), (vec![], vec![], vec![7]));
}

#[test]
fn damage_outside_the_places_asked_for_is_not_met() {
    let [first, second] = [RoomId::NONE, RoomId(1 << 20)];
    let of_first = [entry(first, 1, 1), entry(first, 2, 2)];
    let of_second = [entry(second, 3, 1), entry(second, 4, 2)];
    let (sim, _, meta, runs) = packed(&[(first, &of_first), (second, &of_second)]);
    let stats = Arc::<Stats>::default();
    let packs = Packs::new(&Disk::new(Arc::new(sim.clone())), 0, Arc::clone(&stats));
    let look = |after, upto| {
        let survey = survey(&packs, std::iter::once(&meta), Lsn(after), Lsn(upto));
        (survey.missing, survey.heads.len(), survey.only_messages)
    };
    let lost = runs.iter().find(|run| run.room == first).unwrap();
    flip(&sim, lost.blocks[0].offset + 20);
    assert_eq!(look(2, 4), (vec![], 0, true), "it stands in the run before");
    let log = PackLog::new(&packs, std::iter::once(&meta), Lsn(2), Lsn(4));
    assert_eq!(log.map(|(record, _)| record.lsn.0).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(stats.block_damage.get(), 0, "the log does not read that run either");
    // Of a pack that ends before, or begins behind, not even the index of its runs is read.
    flip(&sim, meta.bytes - FOOTER_BYTES as u64 - 8);
    assert_eq!((look(4, 4), look(0, 0)), ((vec![], 0, true), (vec![], 0, true)));
    assert!(!look(3, 4).2, "it cannot be read");
}

#[test]
fn a_hole_that_reaches_past_the_lost_blocks_may_be_more_than_messages() {
    let [first, second] = [RoomId(1 << 20), RoomId(2 << 20)];
    let of_first = [entry(first, 1, 1), entry(first, 2, 2)];
    let of_second = [entry(second, 5, 1), entry(second, 6, 2)];
    let (sim, packs, meta, runs) = packed(&[(first, &of_first), (second, &of_second)]);
    let look = |upto| survey(&packs, std::iter::once(&meta), Lsn::ZERO, Lsn(upto));
    let lost = runs.iter().find(|run| run.room == second).unwrap();
    flip(&sim, lost.blocks[0].offset + 20);
    let missing = |survey: &Survey| -> Vec<(u64, u64)> {
        survey.missing.iter().map(|s| (s.first.0, s.last.0)).collect()
    };
    // Nothing ever stood at 3 and 4, and the block does not explain them.
    let whole = look(6);
    assert_eq!((missing(&whole), whole.only_messages), (vec![(3, 6)], false));
    // Nor what is behind it.
    let (sim, packs, meta, runs) = packed(&[(second, &of_second)]);
    flip(&sim, runs[0].blocks[0].offset + 20);
    let look = |upto| survey(&packs, std::iter::once(&meta), Lsn(4), Lsn(upto));
    let (just, more) = (look(6), look(7));
    assert_eq!((missing(&just), just.only_messages), (vec![(5, 6)], true));
    assert_eq!((missing(&more), more.only_messages), (vec![(5, 7)], false));
}
