//! Where a scenario's choices come from: a seed, or the bytes of a fuzzer.
//!
//! INVARIANT: nothing else decides anything, so the same source gives the same scenario.

use hansard_engine::storage::sim::Random;

enum Source {
    Seed(Random),
    Bytes(Vec<u8>, usize),
}

/// The choices of one scenario.
pub struct Choices(Source);

impl Choices {
    /// As many choices as wanted, from a seed.
    pub fn of_seed(seed: u64) -> Self {
        Self(Source::Seed(Random::new(seed)))
    }

    /// Choices from bytes; when they end, every choice is the first.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(Source::Bytes(bytes.to_vec(), 0))
    }

    /// True if a fuzzer's bytes are used up.
    pub fn ended(&self) -> bool {
        matches!(&self.0, Source::Bytes(bytes, at) if *at >= bytes.len())
    }

    /// A number.
    pub fn number(&mut self) -> u64 {
        match &mut self.0 {
            Source::Seed(random) => random.next(),
            Source::Bytes(bytes, at) => {
                let mut number = 0;
                for byte in bytes.iter().skip(*at).take(2) {
                    number = number << 8 | u64::from(*byte);
                }
                *at += 2;
                number
            }
        }
    }

    /// A number below `bound`, 0 for a bound of 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let number = self.number() % (bound as u64).max(1);
        usize::try_from(number).unwrap()
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    /// One of a list.
    pub fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
}
