//! What readers keep of a block says the same as its records, whatever they are: odd numbers, other
//! kinds, other heads one behind the other. `block_tests` holds each block of its own against it.

use super::*;
use crate::format::block::{self, BlockBuilder};
use crate::format::dictionary::{Compressor, Decompressor};
use crate::format::payload::Payload;
use crate::format::record::{Record, tests::samples};
use crate::storage::sim::Random;
use crate::types::{Lsn, Rev, RoomId};

/// What readers keep of a block whose records these are says the same as they do.
pub(in crate::format) fn assert_same(cached: &CachedBlock, block: &Block) {
    assert_eq!((cached.len(), cached.is_empty()), (block.len(), block.is_empty()));
    let end = block.len();
    assert!(cached.record(end).is_none() && cached.words(end).is_none());
    assert!(!cached.takes_seq(end) && !cached.is_post(end) && cached.place(end) == Ok(None));
    assert!(cached.records().eq((0..end).map_while(|at| block.bytes(at).map(<[u8]>::to_vec))));
    for at in 0..end {
        let bytes = block.bytes(at).unwrap();
        assert_eq!(cached.takes_seq(at), kind_of(bytes).is_some_and(Kind::takes_seq));
        let Ok(record) = Record::from_bytes(bytes) else {
            assert!(!cached.post(at).is_ok_and(|post| post.is_some()));
            continue;
        };
        let Payload::Post(post) = &record.payload else {
            assert!(!cached.is_post(at) && cached.words(at).is_none());
            assert_eq!((cached.place(at), cached.post(at)), (Ok(None), Ok(None)));
            continue;
        };
        assert_eq!(cached.post(at).unwrap().as_ref(), Some(&record));
        assert!(cached.is_post(at));
        assert_eq!(cached.place(at), Ok(Some((record.seq, record.time))));
        assert_eq!(cached.words(at), Some(post.body.as_bytes()));
    }
}

/// Both forms of a block of these records.
fn both(records: &[Record]) -> (Block, CachedBlock) {
    let mut builder = BlockBuilder::default();
    records.iter().for_each(|record| builder.push(&record.to_bytes()));
    let (mut bytes, mut decompressor) = (Vec::new(), Decompressor::new().unwrap());
    builder.finish(&mut Compressor::generic(3).unwrap(), &mut bytes).unwrap();
    let block = Block::decode(&bytes, None, &mut decompressor).unwrap();
    (block, block::decode(&bytes, None, &mut decompressor).unwrap())
}

/// Records of one room, of which each part is now like that before, now far from it.
fn odd(random: &mut Random, count: u64) -> Vec<Record> {
    let samples = samples();
    let mut number = |near: u64| match random.below(4) {
        0 => random.next(),
        1 => [0, 1, u64::MAX, 1 << 63][random.below(4)],
        _ => near.wrapping_add(random.next() % 9),
    };
    let records = (1..=count).map(|rev| {
        let mut record =
            samples[usize::try_from(number(rev) % samples.len() as u64).unwrap()].clone();
        let seq = Seq(number(rev).max(1));
        (record.room, record.rev) = (RoomId(900), Rev(rev));
        record.seq = if record.seq == Seq::ZERO { Seq::ZERO } else { seq };
        (record.lsn, record.policy) = (Lsn(number(rev)), Lsn(number(rev)));
        record.recorded = TimeUs(number(rev).cast_signed());
        record.time = match number(0) % 3 {
            0 => TimeUs(number(rev).cast_signed()),
            _ => record.recorded,
        };
        if let (Payload::Post(post), 0) = (&mut record.payload, number(0) % 2) {
            post.reply_to = Seq(number(0));
        }
        record
    });
    records.collect()
}

#[test]
fn whatever_records_are_of_their_parts_come_back() {
    let mut random = Random::new(20_261_201);
    for count in (0..40).chain([300]) {
        let records = odd(&mut random, count);
        let (block, cached) = both(&records);
        assert!(matches!(cached.0, Form::Columns(_)), "{count}");
        assert_same(&cached, &block);
        for (at, record) in records.iter().enumerate() {
            assert_eq!(cached.record(at), Some(record.to_bytes()));
        }
    }
    let gap = odd(&mut random, 3).into_iter().filter(|record| record.rev != Rev(2));
    let (block, cached) = both(&gap.collect::<Vec<_>>());
    assert!(matches!(cached.0, Form::Rows(_)));
    assert_same(&cached, &block);
}

#[test]
fn numbers_of_any_width_come_back() {
    let mut random = Random::new(3);
    for bits in 0..=u64::BITS {
        for count in [1, 2, 3, 9, 70] {
            let most = u64::MAX.checked_shr(u64::BITS - bits).unwrap_or(0);
            let least = random.next() & !most;
            let mut numbers: Vec<u64> =
                (0..count).map(|_| least.wrapping_add(random.next() & most)).collect();
            if count > 1 {
                (numbers[0], numbers[1]) = (least, least.wrapping_add(most));
            }
            // Behind something, and before something that is none of it.
            let mut bytes = vec![0xff; 3];
            let mut used = bytes.len();
            let column = Column::of(&numbers, &mut used);
            column.put(&numbers, &mut bytes);
            assert_eq!(bytes.len(), used);
            bytes.extend([0xff; PADDING]);
            assert!(count == 1 || column.bits == bits);
            assert_eq!(used - 3, (column.bits as usize * numbers.len()).div_ceil(8));
            for (nth, number) in numbers.iter().enumerate() {
                assert_eq!(column.get(&bytes, nth), *number, "{bits} bits, {nth} of {count}");
            }
        }
    }
}

#[test]
fn times_are_numbers_in_their_order() {
    let times = [i64::MIN, i64::MIN + 1, -1, 0, 1, 1 << 50, i64::MAX];
    assert!(times.is_sorted_by_key(|time| in_order(*time)));
    assert!(times.iter().all(|time| time_of(in_order(*time)) == *time));
}

#[test]
fn it_takes_less_memory_than_the_records() {
    let said = "how do I see which of the disks is mounted where, and as what?";
    let mut post = samples().swap_remove(1);
    post.idempotency = None;
    let records = (1..=100_u64).map(|rev| {
        let mut record = Record { rev: Rev(rev), seq: Seq(rev), ..post.clone() };
        (record.lsn, record.policy) = (Lsn(70_000 + rev * 37), Lsn(70_000));
        record.recorded = TimeUs(1_700_000_000_000_000 + rev.cast_signed() * 7_300_000);
        record.time = record.recorded;
        if let Payload::Post(post) = &mut record.payload {
            post.body = said.into();
        }
        record
    });
    let (block, cached) = both(&records.collect::<Vec<_>>());
    assert!(cached.weight() * 4 < block.weight() * 3, "{} {}", cached.weight(), block.weight());
}
