//! The byte primitives every format is built from: little-endian integers, LEB128 varints, zigzag,
//! and length-prefixed bytes, with a reader that can only fail by a typed error.
//!
//! It knows no record, frame or block. INVARIANT: no input makes a reader panic, loop or allocate
//! more than the input's own length.

use crate::limits::POSITION_MAX;

/// Why bytes could not be decoded, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct DecodeError {
    /// What was expected.
    pub what: &'static str,
    /// The place in the slice given to the decoder.
    pub at: usize,
}

/// Appends an unsigned LEB128 varint (DWARF 5, section 7.6).
pub fn put_varint(out: &mut Vec<u8>, value: u64) {
    each_varint_byte(value, |byte| out.push(byte));
}

/// Gives the bytes of a varint, one after the other.
#[inline]
pub(super) fn each_varint_byte(mut value: u64, mut push: impl FnMut(u8)) {
    while value >= 0x80 {
        push(low_byte(value) | 0x80);
        value >>= 7;
    }
    push(low_byte(value));
}

const fn low_byte(value: u64) -> u8 {
    (value & 0x7f).to_le_bytes()[0]
}

/// Appends a signed integer as a zigzag varint.
pub fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, zigzag(value));
}

/// A signed integer as one that is small if it is near zero.
pub(super) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// Appends a varint length and the bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Bytes of a varint of 64 bits.
pub(super) const VARINT_BYTES_MAX: usize = 10;

/// A cursor over untrusted bytes.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from their start.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes were consumed.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.at
    }

    /// How many bytes are left.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// The bytes that are left, without taking them.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// The bytes taken since a place.
    #[must_use]
    pub fn since(&self, start: usize) -> &'a [u8] {
        self.bytes.get(start..self.at).unwrap_or_default()
    }

    /// The error of this place.
    #[must_use]
    pub const fn error(&self, what: &'static str) -> DecodeError {
        DecodeError { what, at: self.at }
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let end = self.at.checked_add(len).ok_or(self.error(what))?;
        let bytes = self.bytes.get(self.at..end).ok_or(self.error(what))?;
        self.at = end;
        Ok(bytes)
    }

    /// A fixed array.
    ///
    /// # Errors
    /// If fewer bytes are left.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let start = self.at;
        self.take(N, what)?.try_into().map_err(|_| DecodeError { what, at: start })
    }

    /// One byte.
    ///
    /// # Errors
    /// At the end.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        Ok(u8::from_le_bytes(self.array(what)?))
    }

    /// A little-endian `u16`.
    ///
    /// # Errors
    /// At the end.
    pub fn u16(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array(what)?))
    }

    /// A little-endian `u32`.
    ///
    /// # Errors
    /// At the end.
    pub fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    /// A little-endian `u64`.
    ///
    /// # Errors
    /// At the end.
    pub fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A little-endian `u64` that counts places: at most `POSITION_MAX`.
    ///
    /// # Errors
    /// At the end, or if it is larger.
    pub fn place(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let wrong = self.error(what);
        self.u64(what).and_then(|n| if n <= POSITION_MAX { Ok(n) } else { Err(wrong) })
    }

    /// An unsigned LEB128 varint in its shortest form.
    ///
    /// # Errors
    /// At the end, past 64 bits, or if a shorter form exists: a value has one spelling.
    #[inline]
    pub fn varint(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        // Most are of one byte.
        match self.bytes.get(self.at) {
            Some(byte) if *byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(what),
        }
    }

    fn long_varint(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let (rest, wrong) = (self.rest(), self.error(what));
        let mut value = 0u64;
        for (nth, byte) in rest.iter().take(VARINT_BYTES_MAX).enumerate() {
            let low = u64::from(byte & 0x7f);
            if nth == VARINT_BYTES_MAX - 1 && low > 1 {
                return Err(wrong);
            }
            value |= low << (7 * nth);
            if byte & 0x80 == 0 {
                self.at += nth + 1;
                return if *byte == 0 && nth > 0 { Err(wrong) } else { Ok(value) };
            }
        }
        let cut = rest.len() < VARINT_BYTES_MAX;
        Err(if cut { DecodeError { what, at: self.bytes.len() } } else { wrong })
    }

    /// A zigzag varint.
    ///
    /// # Errors
    /// As [`Self::varint`].
    pub fn signed(&mut self, what: &'static str) -> Result<i64, DecodeError> {
        let raw = self.varint(what)?;
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    /// A varint that must fit a `usize` and not pass `max`.
    ///
    /// # Errors
    /// If it does not.
    pub fn count(&mut self, max: usize, what: &'static str) -> Result<usize, DecodeError> {
        let start = self.at;
        let raw = self.varint(what)?;
        usize::try_from(raw).ok().filter(|n| *n <= max).ok_or(DecodeError { what, at: start })
    }

    /// Length-prefixed bytes of at most `max`.
    ///
    /// # Errors
    /// If the length is over `max` or over what is left.
    #[inline]
    pub fn bytes(&mut self, max: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let len = self.count(max, what)?;
        self.take(len, what)
    }

    /// Length-prefixed UTF-8 of at most `max` bytes.
    ///
    /// # Errors
    /// As [`Self::bytes`], and if it is not UTF-8.
    pub fn text(&mut self, max: usize, what: &'static str) -> Result<&'a str, DecodeError> {
        let start = self.at;
        let bytes = self.bytes(max, what)?;
        std::str::from_utf8(bytes).map_err(|_| DecodeError { what, at: start })
    }

    /// A byte that is 0 or 1.
    ///
    /// # Errors
    /// If it is neither.
    pub fn flag(&mut self, what: &'static str) -> Result<bool, DecodeError> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.error(what)),
        }
    }

    /// Nothing may be left.
    ///
    /// # Errors
    /// If something is.
    pub fn end(&self, what: &'static str) -> Result<(), DecodeError> {
        if self.remaining() == 0 { Ok(()) } else { Err(self.error(what)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_and_signed_numbers_round_trip_in_their_shortest_form() {
        for value in [0, 1, 127, 128, 300, 1 << 35, u64::MAX - 1, u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(Reader::new(&out).varint("v"), Ok(value));
            let mut out = Vec::new();
            put_signed(&mut out, value.cast_signed());
            assert_eq!(Reader::new(&out).signed("v"), Ok(value.cast_signed()));
        }
        assert!(Reader::new(&[0x80, 0x00]).varint("v").is_err(), "overlong");
        assert!(Reader::new(&[0xff; 11]).varint("v").is_err(), "past 64 bits");
        assert!(Reader::new(&[0x80]).varint("v").is_err(), "cut short");
    }

    /// A varint by its definition: the value and how long it is, or where it is wrong.
    fn by_hand(bytes: &[u8]) -> Result<(u64, usize), usize> {
        let mut value = 0u128;
        for at in 0..10 {
            let byte = *bytes.get(at).ok_or(at)?;
            value |= u128::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                let shortest = byte > 0 || at == 0;
                return u64::try_from(value)
                    .ok()
                    .filter(|_| shortest)
                    .map(|v| (v, at + 1))
                    .ok_or(0);
            }
        }
        Err(0)
    }

    #[test]
    fn varints_are_read_as_they_are_defined() {
        let mut random = crate::storage::sim::Random::new(3);
        let odd = [0, 1, 2, 0x7f, 0x80, 0x81, 0xff];
        for round in 0..20_000 {
            let bytes: Vec<u8> = (0..round % 13).map(|_| odd[random.below(odd.len())]).collect();
            let mut reader = Reader::new(&bytes);
            let read = reader.varint("v").map(|value| (value, reader.position()));
            assert_eq!(read.map_err(|e| e.at), by_hand(&bytes), "{bytes:x?}");
        }
    }

    #[test]
    fn a_length_beyond_the_input_is_an_error_before_any_allocation() {
        let mut out = Vec::new();
        put_varint(&mut out, u64::MAX);
        assert!(Reader::new(&out).bytes(usize::MAX, "b").is_err());
    }
}
