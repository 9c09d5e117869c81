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
    if unit == 1 {
        put_bits(out, 0, None, numbers);
    } else {
        let units: Vec<u64> = numbers.iter().map(|n| n / unit).collect();
        put_bits(out, HAS_UNIT, Some(unit), &units);
    }
}

/// Appends a descriptor with this flag, what numbers were divided by, and the numbers.
fn put_bits(out: &mut Vec<u8>, flag: u8, unit: Option<u64>, numbers: &[u64]) {
    let k = parameter(numbers);
    out.push(k | flag);
    if let Some(unit) = unit {
        put_varint(out, unit);
    }
    let mut bits = BitWriter::new(out);
    numbers.iter().for_each(|n| bits.number(*n, u32::from(k)));
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
    let mut bits = BitReader { bytes: reader.rest(), at: 0 };
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
        if unit > 0 && n % unit == 0 {
            continue;
        }
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
fn parameter(numbers: &[u64]) -> u8 {
    let mut widths = [0u64; 65];
    for n in numbers {
        if let Some(count) = widths.get_mut((64 - n.leading_zeros()) as usize) {
            *count += 1;
        }
    }
    let widest = widths.iter().rposition(|count| *count > 0).unwrap_or(0);
    let all = numbers.len() as u64;
    // Of each k the bits of all numbers: those up to k wide take no ones, those wider the middle of
    // what so wide numbers take, and those that are wider by five and more escape.
    let of = |width: usize| widths.get(width).copied().unwrap_or(0);
    let (mut best, mut least) = (0, u64::MAX);
    let mut plain: u64 = (0..4).map(of).sum();
    for k in 0..=widest.min(usize::from(K_MASK)) {
        plain += of(k + 4);
        let ones = of(k + 1) + 3 * of(k + 2) + 6 * of(k + 3) + 12 * of(k + 4);
        let bits = plain * (1 + k as u64) + ones + (all - plain) * (u64::from(ESCAPE) + 64);
        if bits < least {
            (best, least) = (k, bits);
        }
    }
    u8::try_from(best).unwrap_or(0)
}

/// Appends bits, from the lowest of each byte on.
pub(super) struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    buffer: u64,
    /// Bits in the buffer: below 64 between two calls.
    used: u32,
}

impl<'a> BitWriter<'a> {
    /// Begins behind what is there.
    pub(super) const fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, buffer: 0, used: 0 }
    }

    /// Appends a number.
    fn number(&mut self, n: u64, k: u32) {
        let high = n >> k;
        if high >= u64::from(ESCAPE) {
            self.put(low_mask(ESCAPE), ESCAPE);
            self.put(n & low_mask(32), 32);
            self.put(n >> 32, 32);
            return;
        }
        // Below the escape it fits.
        let ones = u32::try_from(high).unwrap_or(ESCAPE);
        let low = n & low_mask(k);
        if ones + 1 + k < 64 {
            self.put(low_mask(ones) | low << (ones + 1), ones + 1 + k);
        } else {
            self.put(low_mask(ones), ones + 1);
            self.put(low, k);
        }
    }

    /// Appends the low `bits` of `value`, at most 63; the others are zero.
    pub(super) fn put(&mut self, value: u64, bits: u32) {
        self.buffer |= value << self.used;
        let after = self.used + bits;
        if after < 64 {
            self.used = after;
            return;
        }
        self.out.extend_from_slice(&self.buffer.to_le_bytes());
        // What had no place in it. Something stood there before: these bits alone fill none.
        self.buffer = value >> (64 - self.used);
        self.used = after - 64;
    }

    /// Fills the last byte up with zeros.
    pub(super) fn end(self) {
        let bytes = self.used.div_ceil(8) as usize;
        self.out.extend(self.buffer.to_le_bytes().into_iter().take(bytes));
    }
}

/// Bits of a word that are there wherever in a byte it begins.
const SURE_BITS: u32 = 57;

struct BitReader<'a> {
    bytes: &'a [u8],
    /// The next bit.
    at: usize,
}

impl BitReader<'_> {
    /// The bits from the next one on, `SURE_BITS` or more of them: zeros behind the last byte.
    #[inline]
    fn word(&self) -> u64 {
        let (byte, bit) = (self.at / 8, self.at % 8);
        let next = self.bytes.get(byte..byte + 8).and_then(|next| next.try_into().ok());
        next.map_or_else(|| self.last_word(byte), u64::from_le_bytes) >> bit
    }

    /// The same near the end.
    fn last_word(&self, byte: usize) -> u64 {
        let left = self.bytes.get(byte..).unwrap_or_default();
        left.iter().take(8).rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
    }

    /// The next bits, at most 63.
    fn take(&mut self, bits: u32) -> u64 {
        if bits > SURE_BITS {
            return self.take(32) | self.take(bits - 32) << 32;
        }
        let value = self.word() & low_mask(bits);
        self.at += bits as usize;
        value
    }

    /// The next number, of zeros behind the last byte: `end` tells.
    #[inline]
    fn number(&mut self, k: u32) -> Option<u64> {
        let word = self.word();
        let ones = word.trailing_ones();
        if ones + 1 + k <= SURE_BITS && ones < ESCAPE {
            self.at += (ones + 1 + k) as usize;
            // The ones have five bits, and k is 56 at most: no bit is lost.
            return Some(u64::from(ones) << k | (word >> (ones + 1)) & low_mask(k));
        }
        self.long_number(ones, k)
    }

    fn long_number(&mut self, ones: u32, k: u32) -> Option<u64> {
        if ones >= ESCAPE {
            self.at += ESCAPE as usize;
            return Some(self.take(32) | self.take(32) << 32);
        }
        self.at += ones as usize + 1;
        let (high, low) = (u64::from(ones), self.take(k));
        (high <= u64::MAX >> k).then_some(high << k | low)
    }

    /// The bytes that were used; none if there were not so many, or if the rest of the last one is
    /// not zero.
    fn end(self) -> Option<usize> {
        let (used, rest) = (self.at.div_ceil(8), self.at % 8);
        let used_bytes = self.bytes.get(..used)?;
        let last = used_bytes.last().filter(|_| rest > 0);
        last.is_none_or(|last| last >> rest == 0).then_some(used)
    }
}

#[cfg(test)]
#[path = "rice_tests.rs"]
mod tests;
