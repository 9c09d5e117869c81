//! Columns of numbers come back, take as few bits as they should, and are read as they are defined,
//! whatever bytes there are.

use super::*;

fn bytes_of(numbers: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, numbers);
    out
}

fn comes_back(numbers: &[u64]) -> usize {
    let mut bytes = bytes_of(numbers);
    let len = bytes.len();
    bytes.extend([0xff; 9]);
    let reader = &mut Reader::new(&bytes);
    assert_eq!(get(reader, numbers.len(), "n").as_deref(), Ok(numbers));
    assert_eq!(reader.position(), len);
    assert_eq!(get(&mut Reader::new(&bytes[..len]), numbers.len(), "n").unwrap(), numbers);
    len
}

#[test]
fn columns_come_back_and_stop_where_they_end() {
    let mut seed = 7u64;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        seed ^ seed >> 29
    };
    for width in 0..=64u32 {
        for count in [1, 2, 3, 7, 64, 300] {
            let all: Vec<u64> = (0..count)
                .map(|nth| next() & low_mask(if nth % 9 == 8 { 64 } else { width }))
                .collect();
            comes_back(&all);
            let even: Vec<u64> = all.iter().map(|n| (n >> 20) * 60_000).collect();
            comes_back(&even);
        }
    }
    for numbers in [&[][..], &[0; 5], &[u64::MAX; 3], &[u64::MAX, 0, 1], &[u64::MAX, 1 << 63]] {
        comes_back(numbers);
    }
}

/// The parameter by its definition, each width asked for each k.
fn parameter_by_hand(numbers: &[u64]) -> u8 {
    let width = |n: &u64| 64 - n.leading_zeros();
    let widest = numbers.iter().map(width).max().unwrap_or(0).min(u32::from(K_MASK));
    let bits = |k: u32, width: u32| match width.checked_sub(k + 1) {
        None => u64::from(1 + k),
        Some(over) if over < 4 => ((3u64 << over) >> 1) + u64::from(1 + k),
        Some(_) => u64::from(ESCAPE) + 64,
    };
    let all = |k: &u32| -> u64 { numbers.iter().map(|n| bits(*k, width(n))).sum() };
    u8::try_from((0..=widest).min_by_key(all).unwrap_or(0)).unwrap()
}

#[test]
fn the_parameter_is_the_first_of_those_that_take_the_fewest_bits() {
    let mut random = crate::storage::sim::Random::new(11);
    for round in 0..2_000_u64 {
        let (count, most) = (1 + random.below(40), 1 + random.below(64));
        let one = |random: &mut crate::storage::sim::Random| {
            (1 << random.below(most)) - 1 + random.below(3) as u64
        };
        let mut numbers: Vec<u64> = (0..count).map(|_| one(&mut random)).collect();
        if round % 7 == 0 {
            numbers.push(u64::MAX);
        }
        assert_eq!(parameter(&numbers), parameter_by_hand(&numbers), "{numbers:?}");
    }
}

/// A column by its definition, bit by bit, and how many bytes it takes.
fn by_hand(bytes: &[u8], count: usize) -> Option<(Vec<u64>, usize)> {
    let reader = &mut Reader::new(bytes);
    let descriptor = reader.u8("n").ok()?;
    if descriptor & ALL_EQUAL != 0 {
        let same = match descriptor {
            ALL_ZERO => 0,
            ALL_EQUAL => reader.varint("n").ok()?,
            _ => return None,
        };
        return Some((vec![same; count], reader.position()));
    }
    let has_unit = descriptor & HAS_UNIT != 0;
    let unit = if has_unit { reader.varint("n").ok().filter(|unit| *unit > 1)? } else { 1 };
    let start = reader.position();
    let bit = |at: usize| bytes.get(start + at / 8).map(|byte| u128::from(byte >> (at % 8) & 1));
    let (mut at, mut numbers) = (0, Vec::new());
    for _ in 0..count {
        let mut ones = 0;
        while ones < ESCAPE && bit(at)? == 1 {
            (at, ones) = (at + 1, ones + 1);
        }
        let (high, bits) = match ones {
            ESCAPE => (0, 64),
            _ => (u128::from(ones), usize::from(descriptor & K_MASK)),
        };
        at += usize::from(ones < ESCAPE);
        let low = (0..bits).try_fold(0, |low, nth| Some(low | bit(at + nth)? << nth))?;
        at += bits;
        let number = u64::try_from(high << bits | low).ok()?;
        numbers.push(number.checked_mul(unit)?);
    }
    let used = at.div_ceil(8);
    let padding = (at..used * 8).all(|at| bit(at) == Some(0));
    padding.then_some((numbers, start + used))
}

#[test]
fn whatever_bytes_there_are_are_read_as_they_are_defined() {
    let mut random = crate::storage::sim::Random::new(5);
    let odd = [0, 0, 1, 2, 7, 0x0f, 0x3f, 0x40, 0x80, 0xc0, 0xfe, 0xff, 0xff, 0xff];
    let mut columns = 0;
    for round in 0..60_000 {
        let length = random.below(40);
        let mut bytes: Vec<u8> = (0..length).map(|_| odd[random.below(odd.len())]).collect();
        if let Some(first) = bytes.first_mut() {
            *first = u8::try_from(random.below(256)).unwrap();
        }
        // Zeros behind it end whatever the bits began.
        bytes.extend(vec![0; if round % 2 == 0 { 0 } else { 24 }]);
        let count = random.below(12);
        let reader = &mut Reader::new(&bytes);
        let read = get(reader, count, "n").ok().map(|numbers| (numbers, reader.position()));
        assert_eq!(read, by_hand(&bytes, count), "{count} of {bytes:x?}");
        columns += usize::from(read.is_some());
    }
    assert!(columns > 10_000, "{columns}");
}

#[test]
fn equal_numbers_and_common_units_take_few_bytes() {
    assert_eq!(comes_back(&[0; 800]), 1);
    assert_eq!(comes_back(&[5; 800]), 2);
    // Minutes in microseconds: a descriptor, a unit of 4 bytes, and about two bits each.
    let minutes: Vec<u64> = (0..100).map(|n| (n % 3) * 60_000_000).collect();
    assert!(comes_back(&minutes) <= 5 + 28, "{}", comes_back(&minutes));
}

#[test]
fn what_is_not_a_column_is_refused() {
    for (bytes, what) in [
        (&[][..], "nothing"),
        (&[0x81, 0], "an unknown descriptor"),
        (&[0x40, 1, 0], "a unit of one"),
        (&[0x40, 0x80], "a unit cut short"),
        (&[3, 0x07], "bits cut short"),
        (&[0, 0b1010_0000], "padding that is not zero"),
        (&[63, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "numbers beyond 64 bits"),
    ] {
        assert!(get(&mut Reader::new(bytes), 2, "n").is_err(), "{what}");
    }
    let bytes = bytes_of(&[9, 1 << 60, 17, 3, 1000]);
    for at in 0..bytes.len() {
        assert!(get(&mut Reader::new(&bytes[..at]), 5, "n").is_err(), "cut at {at}");
        for bit in 0..8 {
            let mut mutated = bytes.clone();
            mutated[at] ^= 1 << bit;
            // A flip may give other numbers; it must only not panic.
            let _ = get(&mut Reader::new(&mutated), 5, "n");
        }
    }
}
