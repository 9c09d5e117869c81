//! Makers come back as they were, whatever they are; what is none of them is refused.
//!
//! No bytes make the reader panic, or allocate more than it was told to expect.

use super::*;
use crate::storage::sim::Random;

const ROOM: u64 = (1 << 48) + 9;

fn maker(actor: u64, name: &str, door: u8, address: &str, session: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_varint(&mut bytes, actor);
    put_bytes(&mut bytes, name.as_bytes());
    bytes.push(door);
    put_bytes(&mut bytes, address.as_bytes());
    put_varint(&mut bytes, session);
    bytes
}

/// Both sections of these makers, each once.
fn sections(all: &[Vec<u8>]) -> (Vec<u8>, Vec<u8>) {
    let mut makers = Makers::default();
    for (nth, maker) in all.iter().enumerate() {
        assert_eq!(makers.number(maker), Some(nth as u64));
    }
    for (nth, maker) in all.iter().enumerate() {
        assert_eq!(makers.number(maker), Some(nth as u64), "one that was met");
    }
    assert_eq!(makers.len(), all.len());
    let (mut numbers, mut words) = (Vec::new(), Vec::new());
    makers.put_numbers(ROOM, &mut numbers);
    makers.put_words(&mut words);
    (numbers, words)
}

fn read(numbers: &[u8], words: &[u8], count: usize, bytes: usize) -> Result<Made, DecodeError> {
    let (numbers, words) = (&mut Reader::new(numbers), &mut Reader::new(words));
    let made = Made::get(numbers, words, ROOM, (count, bytes))?;
    numbers.end("numbers")?;
    words.end("words")?;
    Ok(made)
}

fn some(random: &mut Random, count: u64) -> Vec<Vec<u8>> {
    let some = (0..count).map(|nth| {
        let (id, session) = (random.below(1 << 20) as u64, random.below(1 << 20) as u64);
        let high = if random.below(8) == 0 { 0 } else { 1 << 48 };
        let session = if random.below(4) == 0 { 0 } else { high + session };
        let name = format!("{nth}{}", "näme".repeat(random.below(4)));
        let (door, host) = (random.below(3), random.below(3));
        maker(high + id, &name, u8::try_from(door).unwrap(), &format!("192.0.2.{host}"), session)
    });
    some.collect()
}

#[test]
fn makers_come_back_byte_for_byte() {
    let mut random = Random::new(20_261_130);
    for count in [0, 1, 2, 3, 40, 200] {
        let mut all = some(&mut random, count);
        if count > 1 {
            all[0] = maker(u64::MAX, "", 0, "", u64::MAX);
            all[1] = maker(0, "", 255, &"x".repeat(limits::ADDRESS_BYTES_MAX), 0);
        }
        let (numbers, words) = sections(&all);
        let bytes = all.iter().map(Vec::len).sum();
        let made = read(&numbers, &words, all.len(), bytes).unwrap();
        for (nth, maker) in all.iter().enumerate() {
            assert_eq!(made.at(nth), Some(maker.as_slice()));
        }
        assert_eq!(made.at(all.len()), None);
        let less =
            bytes.checked_sub(1).map(|less| read(&numbers, &words, all.len(), less).is_err());
        assert_ne!(less, Some(false), "no more than records hold");
        assert!(read(&numbers, &words, all.len() + 1, usize::MAX).is_err() || count < 2);
    }
}

#[test]
fn what_is_shared_stands_once_and_numbers_take_few_bytes() {
    let all: Vec<Vec<u8>> = (0..100)
        .map(|nth| maker((1 << 48) + nth * 7, "ann", 2, "192.0.2.17", (1 << 48) + nth * 9))
        .collect();
    let (numbers, words) = sections(&all);
    assert_eq!(words.len(), 300 + 12, "the names, and one place");
    assert!(numbers.len() < 400, "{}", numbers.len());
}

#[test]
fn what_is_no_maker_is_not_taken() {
    let whole = maker(7, "ann", 2, "192.0.2.17", 9);
    let mut makers = Makers::default();
    for end in 0..whole.len() {
        assert_eq!(makers.number(&whole[..end]), None, "cut at {end}");
    }
    assert_eq!(makers.number(&[&whole[..], &[0]].concat()), None, "something behind it");
    assert_eq!((makers.len(), makers.number(&whole)), (0, Some(0)));
}

#[test]
fn a_place_that_was_not_met_is_refused() {
    let (numbers, words) = sections(&[maker(7, "a", 2, "b", 9), maker(8, "c", 2, "b", 9)]);
    // Two makers, the second from the place of the first: the column 0, 1.
    let (at, _) = numbers.iter().enumerate().next_back().unwrap();
    for later in [2, 3, 200] {
        let mut column = Vec::new();
        rice::put(&mut column, &[0, 1]);
        let mut wrong = numbers[..=at - column.len()].to_vec();
        rice::put(&mut wrong, &[0, later]);
        assert_eq!(read(&wrong, &words, 2, usize::MAX).map(drop).unwrap_err().what, "block.places");
    }
}

#[test]
fn no_mutation_panics() {
    let (numbers, words) = sections(&some(&mut Random::new(7), 5));
    for at in 0..numbers.len() {
        for bit in 0..8 {
            let mut mutated = numbers.clone();
            mutated[at] ^= 1 << bit;
            let _ = read(&mutated, &words, 5, 10_000);
        }
        assert!(read(&numbers[..at], &words, 5, 10_000).is_err(), "cut at {at}");
    }
    for at in 0..words.len() {
        assert!(read(&numbers, &words[..at], 5, 10_000).is_err(), "cut at {at}");
    }
}
