//! When what a survey misses is nothing but messages, and where rooms stand behind it.
//!
//! Whole surveys, over real packs, are in `engine/tests/recovery.rs`.

use super::*;
use crate::types::{CategoryId, Rev, Seq, TimeUs};

/// A run of two blocks: three places of the timeline, then two.
fn run(room: RoomId) -> Run {
    let block = |records, first_rev, seq_base, time_base| BlockRef {
        offset: 0,
        bytes: 0,
        crc: 0,
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
        blocks: vec![block(3, 21, 10, 100), block(3, 24, 13, 130)],
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
