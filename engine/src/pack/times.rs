//! When the entries of a block were said, to the second, in four bytes each.
//!
//! A quiet room's block spans days and holds nothing of most hours: whoever looks for an hour in
//! many rooms need not decode it to find that out. It is learned when a block is decoded for such a
//! look, and kept far longer than the block, which is many times as large.
//!
//! INVARIANT: no entry is passed over: what is unknown may hold anything, and a time that is
//! rounded is looked for rounded.

use std::sync::Arc;

use quick_cache::Weighter;

use super::BlockKey;
use crate::format::cached::CachedBlock;
use crate::types::TimeUs;

/// Bytes that the times of a block take, about.
pub(super) const TYPICAL_BYTES: usize = 256;
const SECOND_US: u64 = 1_000_000;

/// Seconds behind a block's first time in which it has an entry, in order.
#[derive(Clone, Debug)]
pub(super) struct Times(Arc<[u32]>);

#[derive(Clone, Copy, Debug)]
pub(super) struct TimesWeight;

impl Weighter<BlockKey, Times> for TimesWeight {
    fn weight(&self, _: &BlockKey, times: &Times) -> u64 {
        (96 + times.0.len() * 4) as u64
    }
}

/// The second of a time; those out of reach are the first or the last.
fn second(base: TimeUs, time: TimeUs) -> u32 {
    let behind = u64::try_from(time.0.saturating_sub(base.0)).unwrap_or(0);
    u32::try_from(behind / SECOND_US).unwrap_or(u32::MAX)
}

impl Times {
    /// Those of a block.
    pub(super) fn of(base: TimeUs, block: &CachedBlock) -> Self {
        // One that cannot be read is given to nobody.
        let places = (0..block.len()).filter_map(|at| block.place(at).ok().flatten());
        let mut seconds: Vec<u32> = places.map(|(_, time)| second(base, time)).collect();
        seconds.sort_unstable();
        seconds.dedup();
        Self(seconds.into())
    }

    /// True if an entry may have been said at or after `from` and before `to`.
    pub(super) fn meet(&self, base: TimeUs, from: TimeUs, to: TimeUs) -> bool {
        let (first, last) = (second(base, from), second(base, TimeUs(to.0.saturating_sub(1))));
        let at = self.0.partition_point(|second| *second < first);
        self.0.get(at).is_some_and(|second| *second <= last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_entry_is_passed_over_and_most_of_what_is_empty_is() {
        let base = TimeUs(-3_700_000);
        let said: Vec<i64> =
            vec![i64::MIN, -3_700_000, -3_000_001, 0, 1, 900_000_000, 900_000_001, 1 << 60];
        let mut seconds: Vec<u32> = said.iter().map(|time| second(base, TimeUs(*time))).collect();
        seconds.dedup();
        let times = Times(seconds.into());
        for from in said.iter().flat_map(|time| [time.saturating_sub(1), *time, time + 1]) {
            for width in [1, 2, 999_999, 5_000_000, 1 << 40] {
                let to = from.saturating_add(width);
                let holds = said.iter().any(|time| (from..to).contains(time));
                let met = times.meet(base, TimeUs(from), TimeUs(to));
                assert!(met || !holds, "{from} {width}");
            }
        }
        let minute = |nth: i64| (TimeUs(nth * 60_000_000), TimeUs((nth + 1) * 60_000_000));
        let met = (1..100).filter(|nth| times.meet(base, minute(*nth).0, minute(*nth).1));
        assert_eq!(met.collect::<Vec<_>>(), [14, 15], "900 seconds behind zero, rounded");
        assert!(!Times(Arc::new([])).meet(base, TimeUs::MIN, TimeUs::MAX), "a block without any");
    }
}
