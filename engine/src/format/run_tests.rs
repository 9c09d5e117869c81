//! Runs: every one comes back, whatever its numbers are, in few bytes, and those of format 1 are
//! read.

use super::*;
use crate::format::run_before;
use crate::format::wire::{from_bytes, to_bytes};

fn in_format_1(run: &Run) -> Vec<u8> {
    let mut out = Vec::new();
    run_before::put(run, &mut out);
    out
}

fn block(at: u64) -> BlockRef {
    BlockRef {
        offset: 1000 * at,
        bytes: 900,
        crc: 0xdead_beef,
        share: 900,
        records: 30,
        first_rev: Rev(30 * at + 1),
        seq_base: Seq(25 * at),
        time_base: TimeUs(1_600_000_000_000_000 + 7_000_000 * i64::try_from(at).unwrap()),
    }
}

fn run(blocks: u64) -> Run {
    Run {
        pack: 7,
        room: RoomId((1 << 48) + 70_000),
        category: CategoryId((1 << 48) + 300),
        first_rev: Rev(1),
        last_rev: Rev(30 * blocks),
        seq_base: Seq::ZERO,
        last_seq: Seq(25 * blocks),
        first_time: TimeUs(1_600_000_000_000_000),
        last_time: TimeUs(1_600_000_060_000_000),
        first_lsn: Lsn(1_000_000),
        last_lsn: Lsn(1_000_900),
        amended_from: Seq::ZERO,
        amended_to: Seq::ZERO,
        blocks: (0..blocks).map(block).collect(),
        nodes: Vec::new(),
    }
}

/// Runs of every form, sensible and not.
fn all() -> Vec<Run> {
    let one = run(1);
    let with = |change: &dyn Fn(&mut BlockRef)| {
        let mut run = run(1);
        run.blocks.iter_mut().for_each(change);
        run
    };
    vec![
        run(0),
        run(2),
        run(64),
        Run { nodes: vec![[3; 32]; 5], ..run(0) },
        Run { amended_from: Seq(4), amended_to: Seq(9), ..run(3) },
        Run { amended_from: Seq(9), amended_to: Seq::ZERO, ..run(3) },
        Run { first_time: TimeUs::MAX, last_time: TimeUs::MIN, ..run(2) },
        Run { last_rev: Rev(u64::MAX), first_rev: Rev::ZERO, ..run(1) },
        Run { last_rev: Rev::ZERO, first_rev: Rev(u64::MAX), last_seq: Seq::ZERO, ..run(2) },
        Run { pack: u64::MAX, room: RoomId(u64::MAX), first_lsn: Lsn(u64::MAX), ..run(1) },
        with(&|block| block.share = 90),
        with(&|block| block.records = 29),
        with(&|block| (block.bytes, block.share) = (u32::MAX, 0)),
        with(&|block| (block.offset, block.records) = (u64::MAX, u32::MAX)),
        with(&|block| (block.seq_base, block.time_base) = (Seq(u64::MAX), TimeUs::MIN)),
        one,
    ]
}

#[test]
fn every_run_comes_back_and_has_one_form() {
    for run in all() {
        let bytes = to_bytes(&run);
        assert_eq!(from_bytes::<Run>(&bytes, "run"), Ok(run.clone()));
        for end in 0..bytes.len() {
            assert!(from_bytes::<Run>(&bytes[..end], "run").is_err(), "{end} of {run:?}");
        }
        for flag in 0..8 {
            let mut other = bytes.clone();
            other[1] ^= 1 << flag;
            let read = from_bytes::<Run>(&other, "run");
            assert!(read.is_err(), "{flag} of {run:?}");
        }
    }
}

#[test]
fn runs_of_format_1_are_read() {
    for mut run in all() {
        run.blocks.iter_mut().for_each(|block| block.share = block.bytes);
        let bytes = in_format_1(&run);
        assert_eq!(from_bytes::<Run>(&bytes, "run"), Ok(run));
        for end in 0..bytes.len() {
            assert!(from_bytes::<Run>(&bytes[..end], "run").is_err());
        }
    }
}

#[test]
fn most_runs_are_short() {
    let small = Run { blocks: vec![BlockRef { share: 90, ..block(0) }], ..run(1) };
    let (before, now) = (in_format_1(&small).len(), to_bytes(&small).len());
    assert_eq!((before, now), (64, 39));
    let fences = |bytes: &dyn Fn(&Run) -> usize| (bytes(&run(64)) - bytes(&run(1))) / 63;
    assert_eq!(fences(&|run| in_format_1(run).len()), 22);
    assert_eq!(fences(&|run| to_bytes(run).len()), 15);
}
