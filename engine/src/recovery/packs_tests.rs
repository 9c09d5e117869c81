//! What a survey calls missing, and when it is nothing but messages.
//!
//! Whole surveys, over real packs, are in `engine/tests/recovery.rs`.

use super::*;
use crate::types::{CategoryId, Rev, Seq, TimeUs};

fn spans(list: &[(u64, u64)]) -> Vec<LsnSpan> {
    list.iter().map(|(first, last)| LsnSpan { first: Lsn(*first), last: Lsn(*last) }).collect()
}

fn missing(after: u64, upto: u64, seen: impl IntoIterator<Item = u64>) -> Vec<LsnSpan> {
    let mut all = Seen::new(Lsn(after), Lsn(upto));
    seen.into_iter().for_each(|lsn| all.add(Lsn(lsn)));
    all.missing()
}

#[test]
fn what_was_not_seen_is_missing_place_by_place() {
    assert_eq!(missing(10, 20, 11..=20), []);
    assert_eq!(missing(10, 20, []), spans(&[(11, 20)]));
    assert_eq!(missing(10, 20, [11, 13, 14, 19]), spans(&[(12, 12), (15, 18), (20, 20)]));
    // What is outside of the span counts as little as what is seen twice.
    assert_eq!(missing(10, 20, (0..=10).chain(12..=30).chain(12..=15)), spans(&[(11, 11)]));
    assert_eq!(missing(10, 20, [5]), spans(&[(11, 20)]));
    assert_eq!(missing(10, 20, [25]), spans(&[(11, 20)]));
    // Across words and parts, and with parts in which nothing was seen.
    let seen = (1..=63).chain(65..=4095).chain(4097..=8191).chain([3 * PART_BITS]);
    let expected = [(64, 64), (4096, 4096), (8192, 3 * PART_BITS - 1), (12_289, 20_000)];
    assert_eq!(missing(0, 20_000, seen), spans(&expected));
}

#[test]
fn the_last_of_too_many_spans_reaches_to_the_end() {
    let holes = limits::HOLES_MAX as u64;
    let every_other = |holes: u64| (1..=holes).map(|n| 2 * n);
    let exact = missing(0, 2 * holes, every_other(holes));
    assert_eq!(exact.len(), limits::HOLES_MAX);
    assert_eq!(exact.last(), spans(&[(2 * holes - 1, 2 * holes - 1)]).first());
    let more = missing(0, 2 * holes + 900, every_other(holes + 9));
    assert_eq!(more.len(), limits::HOLES_MAX);
    assert_eq!(more[..more.len() - 1], exact[..exact.len() - 1]);
    assert_eq!(more.last(), spans(&[(2 * holes - 1, 2 * holes + 900)]).first());
}

#[test]
fn spans_that_meet_are_one() {
    assert_eq!(union(Vec::new()), []);
    let joined = union(spans(&[(30, 40), (1, 3), (4, 5), (8, 9), (2, 2), (35, 36)]));
    assert_eq!(joined, spans(&[(1, 5), (8, 9), (30, 40)]));
}

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
