//! Numbers drawn from a seed: the same seed gives the same messages and the same places.
//!
//! SplitMix64 (Steele, Lea, Flood 2014). Not for secrets.

/// A stream of numbers.
#[derive(Clone, Debug)]
pub struct Draw(u64);

impl Draw {
    /// The stream that belongs to these numbers, taken together.
    #[must_use]
    pub fn of(parts: &[u64]) -> Self {
        let mut draw = Self(0x4861_6E73_6172_6421);
        for part in parts {
            draw.0 ^= part.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            draw.0 = draw.next();
        }
        draw
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mixed(self.0)
    }

    /// A number below `end`; zero if there is none.
    pub fn below(&mut self, end: u64) -> u64 {
        let wide = u128::from(self.next()) * u128::from(end);
        u64::try_from(wide >> 64).unwrap_or_default()
    }

    /// One of `items`, or none if there are none. By their marks and not by their number: a store
    /// that is a little larger today still gives the same item, if it has it.
    pub fn one_of<'a, T>(
        &mut self,
        items: impl IntoIterator<Item = &'a T>,
        mark: impl Fn(&T) -> u64,
    ) -> Option<&'a T> {
        let wanted = self.next();
        items.into_iter().min_by_key(|item| mixed(mark(item) ^ wanted))
    }
}

const fn mixed(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

/// A mark of a name and a number, the same in every process.
#[must_use]
pub fn mark_of(name: &str, number: u64) -> u64 {
    let mut mark = mixed(number.wrapping_add(0x9E37_79B9_7F4A_7C15));
    for byte in name.bytes() {
        mark = mixed(mark ^ u64::from(byte)).wrapping_add(0x9E37_79B9_7F4A_7C15);
    }
    mark
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_parts_give_the_same_stream_and_others_another() {
        let take = |parts: &[u64]| {
            let mut draw = Draw::of(parts);
            (0..8).map(|_| draw.below(1_000_000)).collect::<Vec<_>>()
        };
        assert_eq!(take(&[1, 2, 3]), take(&[1, 2, 3]));
        assert_ne!(take(&[1, 2, 3]), take(&[1, 3, 2]));
        assert!(take(&[7]).iter().all(|n| *n < 1_000_000));
        assert_eq!(Draw::of(&[1]).below(0), 0);
    }

    #[test]
    fn an_item_is_drawn_evenly_and_stays_when_others_come_and_go() {
        let drawn = |items: &[u64]| -> Vec<u64> {
            let draw = |n| Draw::of(&[n]).one_of(items, |item| mark_of("file", *item)).copied();
            (0..4000).filter_map(draw).collect()
        };
        let before = drawn(&(0..40).collect::<Vec<_>>());
        let after = drawn(&(1..41).collect::<Vec<_>>());
        let moved = before.iter().zip(&after).filter(|(a, b)| a != b).count();
        assert!((100..320).contains(&moved), "{moved} of 4000, for two items of 41");
        let most = (0..40).map(|item| before.iter().filter(|b| **b == item).count()).max();
        assert!(most.unwrap() < 150, "{most:?} of 4000, where 100 are even");
        assert_eq!(Draw::of(&[1]).one_of(&[0_u64; 0], |item| *item), None);
    }
}
