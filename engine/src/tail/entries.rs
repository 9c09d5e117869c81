//! The entries of one room's tail, in order: a queue that grows by pieces.
//!
//! A ring that doubles has place for up to twice what stands in it, and for three times while it
//! moves: tens of MiB of the one big room of an import, which nobody counts. Here what stands in
//! pieces never moves. A small room has no piece and costs what a ring costs.
//!
//! INVARIANT: every piece but the last is full, so that an index finds its piece by a division.

use std::collections::VecDeque;

use super::TailEntry;

/// Entries of a piece: 64 KiB, which allocators have a size for.
const PIECE: usize = 64 * 1024 / size_of::<TailEntry>();

#[derive(Debug, Default)]
pub(super) struct Entries {
    /// The oldest: at most a piece's worth.
    front: VecDeque<TailEntry>,
    /// Those behind them.
    pieces: VecDeque<Vec<TailEntry>>,
}

impl Entries {
    pub(super) fn len(&self) -> usize {
        let pieces = self.pieces.len().saturating_sub(1) * PIECE;
        self.front.len() + pieces + self.pieces.back().map_or(0, Vec::len)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.front.is_empty() && self.pieces.is_empty()
    }

    pub(super) fn push_back(&mut self, entry: TailEntry) {
        if self.pieces.is_empty() && self.front.len() < PIECE {
            self.front.push_back(entry);
            return;
        }
        match self.pieces.back_mut().filter(|piece| piece.len() < PIECE) {
            Some(piece) => piece.push(entry),
            None => {
                let mut piece = Vec::with_capacity(PIECE);
                piece.push(entry);
                self.pieces.push_back(piece);
            }
        }
    }

    pub(super) fn get(&self, at: usize) -> Option<&TailEntry> {
        match at.checked_sub(self.front.len()) {
            None => self.front.get(at),
            Some(behind) => self.pieces.get(behind / PIECE)?.get(behind % PIECE),
        }
    }

    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut TailEntry> {
        match at.checked_sub(self.front.len()) {
            None => self.front.get_mut(at),
            Some(behind) => self.pieces.get_mut(behind / PIECE)?.get_mut(behind % PIECE),
        }
    }

    pub(super) fn front(&self) -> Option<&TailEntry> {
        self.get(0)
    }

    pub(super) fn back(&self) -> Option<&TailEntry> {
        self.pieces.back().map_or_else(|| self.front.back(), |piece| piece.last())
    }

    /// Those from `from` on, before `to`.
    pub(super) fn range(
        &self,
        from: usize,
        to: usize,
    ) -> impl DoubleEndedIterator<Item = &TailEntry> + Clone {
        (from..to.min(self.len())).filter_map(|at| self.get(at))
    }

    /// How many stand before the first that `is_before` does not hold for; it holds for none
    /// behind that.
    pub(super) fn partition_point(&self, is_before: impl Fn(&TailEntry) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.get(middle).is_some_and(&is_before) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Lets go of the oldest `count`, and of memory that is much more than is left.
    pub(super) fn drop_front(&mut self, count: usize, least: usize) {
        let mut left = count;
        while left >= self.front.len() && !self.pieces.is_empty() {
            left -= self.front.len();
            self.front = self.pieces.pop_front().unwrap_or_default().into();
        }
        self.front.drain(..left.min(self.front.len()));
        if self.front.capacity() > least.max(self.front.len() * 4) {
            self.front.shrink_to(least.max(self.front.len() * 2));
        }
        if self.pieces.is_empty() {
            self.pieces = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::format::payload::Kind;
    use crate::storage::sim::Random;
    use crate::types::{Lsn, Rev, Seq, TimeUs};

    fn entry(n: u64) -> TailEntry {
        TailEntry {
            lsn: Lsn(n),
            rev: Rev(n),
            seq_at: Seq(n),
            time_at: TimeUs::MIN,
            kind: Kind::Post,
            bytes: Bytes::new(),
            words: 0,
        }
    }

    fn places<'a>(entries: impl Iterator<Item = &'a TailEntry>) -> Vec<u64> {
        entries.map(|entry| entry.lsn.0).collect()
    }

    /// Whatever is pushed and dropped, it holds what a plain queue holds.
    #[test]
    fn it_is_a_queue() {
        let mut random = Random::new(20_261_129);
        for _ in 0..40 {
            let (mut entries, mut queue, mut next) = (Entries::default(), VecDeque::new(), 0);
            for _ in 0..20 {
                for _ in 0..random.below(3 * PIECE) {
                    next += 1;
                    entries.push_back(entry(next));
                    queue.push_back(next);
                }
                // Often all, and often just to the end of a piece.
                let count = match random.below(4) {
                    0 => queue.len(),
                    1 => queue.len().min(PIECE),
                    _ => random.below(queue.len() + 1),
                };
                entries.drop_front(count, 50);
                queue.drain(..count);
                assert_eq!(entries.len(), queue.len());
                assert_eq!(entries.is_empty(), queue.is_empty());
                assert_eq!(entries.front().map(|e| e.lsn.0), queue.front().copied());
                assert_eq!(entries.back().map(|e| e.lsn.0), queue.back().copied());
                let (from, to) = (random.below(queue.len() + 1), random.below(queue.len() + 10));
                let (low, high) = (from, to.clamp(from, queue.len()));
                let expected: Vec<u64> = queue.range(low..high).copied().collect();
                assert_eq!(places(entries.range(from, to)), expected);
                let mut back = places(entries.range(from, to).rev());
                back.reverse();
                assert_eq!(back, expected);
                let at = next.saturating_sub(random.below(queue.len() + 2) as u64);
                let point = entries.partition_point(|e| e.lsn.0 < at);
                assert_eq!(point, queue.partition_point(|n| *n < at));
                if let Some(found) = entries.get_mut(point) {
                    assert_eq!(Some(found.lsn.0), queue.get(point).copied());
                }
                assert!(entries.pieces.iter().all(|piece| piece.capacity() == PIECE));
            }
        }
    }

    #[test]
    fn what_is_dropped_gives_its_memory_back() {
        let mut entries = Entries::default();
        (0..5 * PIECE as u64).for_each(|n| entries.push_back(entry(n)));
        entries.drop_front(5 * PIECE - 3, 50);
        assert_eq!((entries.len(), entries.pieces.len()), (3, 0));
        assert!(entries.front.capacity() <= 50);
        entries.drop_front(3, 50);
        assert!(entries.is_empty());
    }
}
