//! A column of numbers in few bits: limited-length Golomb-Rice codes, one parameter a column.
//!
//! Differences of places and times are distributed about geometrically, for which these codes are
//! near the optimum (R. F. Rice, "Some practical universal noiseless coding techniques", JPL 79-22,
//! 1979); the escape for rare large numbers is that of JPEG-LS (ITU-T T.87, A.5.3).
//!
//! Bytes: a descriptor, then what it asks for. Descriptor 0xc0: every number is 0. 0x80: every
//! number is the varint that follows. Else its low six bits are k, and with 0x40 a varint `unit`
//! of 2 or more follows, by which all numbers are divided. Then for each number v, bits from the
//! least significant one of each byte on: v >> k ones, a zero, and the low k bits of v; or, if v
//! >> k is 24 or more, 24 ones and the 64 bits of v. The last byte is filled up with zeros.
//!
//! INVARIANT: reading takes as many numbers as it is asked for, allocates for no more, and never
//! panics.

use super::codec::{DecodeError, Reader, put_varint};

const ALL_ZERO: u8 = 0xc0;
const ALL_EQUAL: u8 = 0x80;
const HAS_UNIT: u8 = 0x40;
const K_MASK: u8 = 0x3f;
/// Ones of the escape.
const ESCAPE: u32 = 24;

/// Appends a column.
pub fn put(out: &mut Vec<u8>, numbers: &[u64]) {
    let first = numbers.first().copied().unwrap_or(0);
    if numbers.iter().all(|n| *n == first) {
        if first == 0 {
            out.push(ALL_ZERO);
        } else {
            out.push(ALL_EQUAL);
            put_varint(out, first);
        }
        return;
    }
    let unit = common_divisor(numbers);
    let k = parameter(numbers, unit);
    if unit > 1 {
        out.push(k | HAS_UNIT);
        put_varint(out, unit);
    } else {
        out.push(k);
    }
    let mut bits = BitWriter { out, buffer: 0, used: 0 };
    let k = u32::from(k);
    for n in numbers {
        let n = n / unit;
        let high = n >> k;
        if high < u64::from(ESCAPE) {
            let ones = (1u64 << high) - 1;
            bits.put(ones, u32::try_from(high).unwrap_or(ESCAPE) + 1);
            bits.put(n & low_mask(k), k);
        } else {
            bits.put(low_mask(ESCAPE), ESCAPE);
            bits.put(n & low_mask(32), 32);
            bits.put(n >> 32, 32);
        }
    }
    bits.end();
}

/// Reads a column of `count` numbers.
///
/// # Errors
/// If the bytes are not a column, or end before it does.
pub fn get(
    reader: &mut Reader<'_>,
    count: usize,
    what: &'static str,
) -> Result<Vec<u64>, DecodeError> {
    let wrong = reader.error(what);
    let descriptor = reader.u8(what)?;
    match descriptor {
        ALL_ZERO => return Ok(vec![0; count]),
        ALL_EQUAL => return Ok(vec![reader.varint(what)?; count]),
        _ if descriptor & ALL_EQUAL != 0 => return Err(wrong),
        _ => {}
    }
    let k = u32::from(descriptor & K_MASK);
    let unit = if descriptor & HAS_UNIT == 0 { 1 } else { reader.varint(what)? };
    if descriptor & HAS_UNIT != 0 && unit < 2 {
        return Err(wrong);
    }
    let mut bits = BitReader { bytes: reader.rest(), at: 0, buffer: 0, have: 0 };
    let mut numbers = Vec::with_capacity(count);
    for _ in 0..count {
        let n = bits.number(k).ok_or(wrong)?;
        numbers.push(n.checked_mul(unit).ok_or(wrong)?);
    }
    let used = bits.end().ok_or(wrong)?;
    reader.take(used, what)?;
    Ok(numbers)
}

const fn low_mask(bits: u32) -> u64 {
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}

/// The largest number that divides all of them; at least 1.
fn common_divisor(numbers: &[u64]) -> u64 {
    let mut unit = 0;
    for n in numbers {
        let (mut a, mut b) = (unit, *n);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        unit = a;
        if unit == 1 {
            break;
        }
    }
    unit.max(1)
}

/// The parameter that takes about the fewest bits, judged by how wide the numbers are.
fn parameter(numbers: &[u64], unit: u64) -> u8 {
    let mut widths = [0u64; 65];
    for n in numbers {
        if let Some(count) = widths.get_mut((64 - (n / unit).leading_zeros()) as usize) {
            *count += 1;
        }
    }
    let there = (0..65u32).zip(widths).filter(|(_, count)| *count > 0);
    let there: Vec<(u32, u64)> = there.collect();
    let widest = there.last().map_or(0, |(width, _)| *width).min(u32::from(K_MASK));
    let bits = |k: u32| -> u64 {
        let each = there.iter().map(|(width, count)| {
            let high = match width.checked_sub(k + 1) {
                None => 0,
                // The middle of the numbers that are so wide.
                Some(over) if over < 5 => (3u64 << over) >> 1,
                Some(_) => u64::from(ESCAPE),
            };
            let escaped = high >= u64::from(ESCAPE);
            count * if escaped { u64::from(ESCAPE) + 64 } else { high + 1 + u64::from(k) }
        });
        each.sum()
    };
    let best = (0..=widest).min_by_key(|k| bits(*k)).unwrap_or(0);
    u8::try_from(best).unwrap_or(0)
}

struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    buffer: u64,
    /// Bits in the buffer: below 8 between two calls.
    used: u32,
}

impl BitWriter<'_> {
    /// Appends the low `bits` of `value`, at most 63; the others are zero.
    fn put(&mut self, value: u64, bits: u32) {
        let (mut value, mut bits) = (value, bits);
        while bits > 0 {
            let now = bits.min(56);
            self.buffer |= (value & low_mask(now)) << self.used;
            self.used += now;
            (value, bits) = (value >> now, bits - now);
            while self.used >= 8 {
                self.out.push(self.buffer.to_le_bytes()[0]);
                (self.buffer, self.used) = (self.buffer >> 8, self.used - 8);
            }
        }
    }

    fn end(self) {
        if self.used > 0 {
            self.out.push(self.buffer.to_le_bytes()[0]);
        }
    }
}

struct BitReader<'a> {
    bytes: &'a [u8],
    /// Bytes taken into the buffer.
    at: usize,
    buffer: u64,
    have: u32,
}

impl BitReader<'_> {
    /// Fills the buffer to more than 56 bits, or with all that is left.
    fn fill(&mut self) {
        if let Some(next) = self.bytes.get(self.at..self.at + 8)
            && let Ok(next) = next.try_into()
        {
            self.buffer |= u64::from_le_bytes(next) << self.have;
            let taken = (63 - self.have) / 8;
            self.at += taken as usize;
            self.have += taken * 8;
            return;
        }
        while self.have <= 56 {
            let Some(byte) = self.bytes.get(self.at) else { return };
            self.buffer |= u64::from(*byte) << self.have;
            (self.at, self.have) = (self.at + 1, self.have + 8);
        }
    }

    /// The next bits, at most 56.
    fn take(&mut self, bits: u32) -> Option<u64> {
        if self.have < bits {
            self.fill();
        }
        let value = self.buffer & low_mask(bits);
        self.drop(bits)?;
        Some(value)
    }

    fn drop(&mut self, bits: u32) -> Option<()> {
        self.have = self.have.checked_sub(bits)?;
        // Of a fast fill more may stand above `have` than was taken.
        self.buffer = (self.buffer >> bits) & low_mask(self.have);
        Some(())
    }

    fn number(&mut self, k: u32) -> Option<u64> {
        if self.have <= ESCAPE {
            self.fill();
        }
        let ones = self.buffer.trailing_ones().min(ESCAPE);
        if ones == ESCAPE {
            self.drop(ESCAPE)?;
            let low = self.take(32)?;
            return Some(low | self.take(32)? << 32);
        }
        self.drop(ones + 1)?;
        let low = match k {
            0..=56 => self.take(k)?,
            _ => self.take(32)? | self.take(k - 32)? << 32,
        };
        let high = u64::from(ones);
        (high <= u64::MAX >> k).then_some(high << k | low)
    }

    /// The bytes that were used; none if the rest of the last one is not zero.
    fn end(self) -> Option<usize> {
        let rest = self.have % 8;
        let whole = (self.have / 8) as usize;
        (self.buffer & low_mask(rest) == 0).then_some(self.at - whole)
    }
}

#[cfg(test)]
mod tests {
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
}
