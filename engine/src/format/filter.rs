//! A filter over names of idempotency keys: what it does not hold is not in its run.
//!
//! A Bloom filter in blocks of 256 bits, so that a question touches one line of the cache: eight
//! bits of one block for each name. (F. Putze, P. Sanders, J. Singler, "Cache-, Hash- and
//! Space-Efficient Bloom Filters", 2007; the multipliers are those of the Apache Parquet format's
//! split block Bloom filter.) Names are bytes of a hash already and are not hashed again.
//!
//! INVARIANT: a name that was put in is always found.

use super::codec::DecodeError;
use crate::catalog::keys::KeyName;

/// Bits for each name: of a thousand names that are not there about one is thought to be.
const BITS_EACH: usize = 16;
/// The same for a sieve, which lets four of a thousand through.
const SIEVE_BITS_EACH: usize = 12;
/// Words of a block, and bits that a name sets.
const WORDS: usize = 8;
const BLOCK_BYTES: usize = WORDS * 4;
const MULTIPLIERS: [u32; WORDS] = [
    0x47b6_137b,
    0x4497_4d91,
    0x8824_ad5b,
    0xa2b7_289d,
    0x7054_95c7,
    0x2df1_424b,
    0x9efc_4947,
    0x5c6b_fb31,
];

type Block = [u32; WORDS];

/// A block of so many, and a bit in each word of it, by eight bytes of a name.
fn place(blocks: usize, [a, b, c, d, e, f, g, h]: [u8; 8]) -> (usize, Block) {
    let (high, low) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
    let at = (u64::from(high) * blocks as u64) >> 32;
    let bits = MULTIPLIERS.map(|by| 1 << (low.wrapping_mul(by) >> 27));
    (usize::try_from(at).unwrap_or(usize::MAX), bits)
}

fn set(blocks: &mut [Block], (at, bits): (usize, Block)) {
    if let Some(block) = blocks.get_mut(at) {
        block.iter_mut().zip(bits).for_each(|(word, bit)| *word |= bit);
    }
}

fn is_set(blocks: &[Block], (at, bits): (usize, Block)) -> bool {
    // All eight, also where the first says it: nobody guesses right when to stop.
    let missing =
        |block: &Block| block.iter().zip(bits).fold(0, |no, (word, bit)| no | (!word & bit));
    blocks.get(at).is_some_and(|block| missing(block) == 0)
}

/// Says of a name that it is not there, or may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    blocks: Box<[Block]>,
}

/// The same over the names of many runs, in memory only: what it does not let through is in none of
/// them. It goes by other bytes of a name, so that what slips through both is as rare as can be.
#[derive(Clone, Debug)]
pub struct Sieve {
    blocks: Box<[Block]>,
}

impl Sieve {
    /// With room for so many names.
    #[must_use]
    pub fn for_names(names: usize) -> Self {
        let count = (names * SIEVE_BITS_EACH).div_ceil(BLOCK_BYTES * 8).max(1);
        Self { blocks: vec![[0; WORDS]; count].into() }
    }

    fn place(&self, KeyName(name): &KeyName) -> (usize, Block) {
        let [first @ .., _, _, _, _] = *name;
        place(self.blocks.len(), first)
    }

    /// Puts a name in.
    pub fn put(&mut self, name: &KeyName) {
        let place = self.place(name);
        set(&mut self.blocks, place);
    }

    /// False if a name was not put in.
    #[must_use]
    pub fn may_hold(&self, name: &KeyName) -> bool {
        is_set(&self.blocks, self.place(name))
    }

    /// Bytes of memory.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.blocks.len() * BLOCK_BYTES
    }
}

impl Filter {
    /// Over these names.
    pub fn of<'a>(names: impl ExactSizeIterator<Item = &'a KeyName>) -> Self {
        let count = (names.len() * BITS_EACH).div_ceil(BLOCK_BYTES * 8).max(1);
        let mut filter = Self { blocks: vec![[0; WORDS]; count].into() };
        for name in names {
            let place = filter.place(name);
            set(&mut filter.blocks, place);
        }
        filter
    }

    fn place(&self, KeyName(name): &KeyName) -> (usize, Block) {
        // The first bytes order the names of a run; the last are as good and independent of them.
        let [_, _, _, _, last @ ..] = *name;
        place(self.blocks.len(), last)
    }

    /// False if a name is not there.
    #[must_use]
    pub fn may_hold(&self, name: &KeyName) -> bool {
        is_set(&self.blocks, self.place(name))
    }

    /// Bytes of memory, and on the disk.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.blocks.len() * BLOCK_BYTES
    }

    /// Its bytes: the words of the blocks, little-endian.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.blocks.iter().flatten().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Reads what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// If the bytes are none, or not of whole blocks.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (words, rest) = bytes.as_chunks::<4>();
        let (blocks, left) = words.as_chunks::<WORDS>();
        if blocks.is_empty() || !left.is_empty() || !rest.is_empty() {
            return Err(DecodeError { what: "key filter", at: bytes.len() });
        }
        Ok(Self { blocks: blocks.iter().map(|block| block.map(u32::from_le_bytes)).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{PrincipalId, RoomId};

    fn names(from: u64, count: u64) -> Vec<KeyName> {
        let name = |n: u64| KeyName::new(PrincipalId(7), RoomId(n % 5), &n.to_be_bytes());
        (from..from + count).map(name).collect()
    }

    #[test]
    fn what_is_in_it_is_found_and_hardly_anything_else() {
        for count in [0, 1, 15, 16, 17, 1_000, 40_000] {
            let own = names(0, count);
            let filter = Filter::of(own.iter());
            assert!(own.iter().all(|name| filter.may_hold(name)), "{count}");
            let others = names(1 << 40, 20_000);
            let wrong = others.iter().filter(|name| filter.may_hold(name)).count();
            assert!(wrong < 60, "{wrong} of 20000 beside {count}");
            assert!(filter.weight() <= 2 * own.len() + BLOCK_BYTES);
            assert_eq!(Filter::from_bytes(&filter.to_bytes()), Ok(filter));
        }
    }

    #[test]
    fn a_sieve_lets_what_was_put_in_through_and_little_else() {
        let mut sieve = Sieve::for_names(50_000);
        let own = names(0, 50_000);
        own.iter().for_each(|name| sieve.put(name));
        assert!(own.iter().all(|name| sieve.may_hold(name)));
        let others = names(1 << 40, 50_000);
        let wrong = |filter: &dyn Fn(&KeyName) -> bool| others.iter().filter(|n| filter(n)).count();
        let through = wrong(&|name| sieve.may_hold(name));
        assert!(through < 400, "{through} of 50000");
        assert!(sieve.weight() <= own.len() * 3 / 2 + BLOCK_BYTES);
        // What a run's filter is wrong about the sieve knows no worse than other names.
        let filter = Filter::of(own.iter());
        let both = wrong(&|name| filter.may_hold(name) && sieve.may_hold(name));
        assert!(both < 5, "{both} of 50000");
    }

    /// Worked out by hand, as FORMAT.md says it.
    #[test]
    fn the_bits_of_a_name_are_those_of_the_format() {
        let name = KeyName([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
        let bits = [22, 23, 7, 27, 28, 23, 24, 19];
        let expected: Vec<u8> = bits.iter().flat_map(|bit| (1_u32 << bit).to_le_bytes()).collect();
        assert_eq!(Filter::of([name].iter()).to_bytes(), expected);
        // Of three blocks, by 0x07060504 * 3 / 2^32 in the first.
        let three = Filter::of([name; 48].iter()).to_bytes();
        assert_eq!((three.len(), &three[..32]), (96, &expected[..]));
    }

    #[test]
    fn bytes_that_are_no_blocks_are_refused() {
        for len in [0, 1, 4, 31, 33, 36, 63] {
            let found = Filter::from_bytes(&vec![1; len]);
            assert_eq!(found, Err(DecodeError { what: "key filter", at: len }));
        }
    }
}
