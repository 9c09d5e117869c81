//! Runs kept as their bytes: what many of them take in memory is about what they take on disk.
//!
//! A merge, a seal and the offline tool hold the run indexes of many packs at once, and a run of a
//! small room is a third as large as bytes. It is no file's format: `pack` says what stands where.
//!
//! INVARIANT: the bytes are of runs that were values before, or were each read as one, so they are
//! runs again.

use std::ops::Range;

use super::codec::Reader;
use super::run::Run;
use super::wire::Wire;

/// Runs in the order in which they were added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    bytes: Vec<u8>,
    count: u64,
}

impl Runs {
    /// None, with room for so many bytes of them.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), count: 0 }
    }

    /// Those that stand end to end in a part of `bytes`: `count` of them, which were looked at.
    pub(super) fn within(mut bytes: Vec<u8>, part: Range<usize>, count: u64) -> Self {
        bytes.truncate(part.end);
        bytes.drain(..part.start.min(part.end));
        Self { bytes, count }
    }

    /// Adds a run; the place at which [`Self::at`] finds it.
    pub fn push(&mut self, run: &Run) -> usize {
        let at = self.bytes.len();
        run.put(&mut self.bytes);
        self.count += 1;
        at
    }

    /// The run at a place that `push` or `placed` gave.
    #[must_use]
    pub fn at(&self, place: usize) -> Option<Run> {
        Run::get(&mut self.reader(place), "run").ok()
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.count
    }

    /// True if there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Their bytes, end to end.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Run> + '_ {
        self.placed().map(|(_, run)| run)
    }

    /// All of them, in order, each with its place.
    pub fn placed(&self) -> impl Iterator<Item = (usize, Run)> + '_ {
        self.between(0..self.bytes.len())
    }

    /// Those that begin between two places.
    pub fn between(&self, places: Range<usize>) -> impl Iterator<Item = (usize, Run)> + '_ {
        let mut reader = self.reader(places.start);
        let mut at = places.start;
        std::iter::from_fn(move || {
            if at >= places.end {
                return None;
            }
            let (begun, left) = (at, reader.remaining());
            let run = Run::get(&mut reader, "run").ok()?;
            at += left - reader.remaining();
            Some((begun, run))
        })
    }

    fn reader(&self, place: usize) -> Reader<'_> {
        let mut reader = Reader::new(&self.bytes);
        // A place beyond the end leaves nothing to read, and `get` says so.
        if reader.take(place, "run").is_err() {
            reader = Reader::new(&[]);
        }
        reader
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::run::BlockRef;
    use crate::types::{CategoryId, Lsn, Rev, RoomId, Seq, TimeUs};

    fn run(n: u64) -> Run {
        let block = |at: u64| BlockRef {
            offset: at,
            bytes: 90,
            crc: u32::MAX,
            share: 0,
            records: 3,
            first_rev: Rev(at),
            seq_base: Seq(at),
            time_base: TimeUs::MIN,
        };
        Run {
            pack: 7,
            room: RoomId(n),
            category: CategoryId(u64::MAX),
            first_rev: Rev(n),
            last_rev: Rev(n + 1),
            seq_base: Seq(n),
            last_seq: Seq(u64::MAX),
            first_time: TimeUs::MAX,
            last_time: TimeUs::MIN,
            first_lsn: Lsn(1),
            last_lsn: Lsn(n),
            amended_from: Seq::ZERO,
            amended_to: Seq(n),
            blocks: (0..n).map(block).collect(),
            nodes: vec![[3; 32]; usize::try_from(n % 2).unwrap()],
        }
    }

    #[test]
    fn runs_come_back_in_order_and_by_their_places() {
        let all: Vec<Run> = (0..5).map(run).collect();
        let mut runs = Runs::default();
        assert!(runs.is_empty() && runs.iter().next().is_none());
        let places: Vec<usize> = all.iter().map(|run| runs.push(run)).collect();
        assert_eq!(runs.len(), 5);
        assert_eq!(runs.iter().collect::<Vec<_>>(), all);
        assert_eq!(runs.placed().map(|(at, _)| at).collect::<Vec<_>>(), places);
        for (at, run) in places.iter().zip(&all) {
            assert_eq!(runs.at(*at).as_ref(), Some(run));
        }
        let middle: Vec<Run> = runs.between(places[1]..places[3]).map(|(_, run)| run).collect();
        assert_eq!(middle, all[1..3]);
        assert_eq!(runs.at(runs.bytes().len()), None);
        assert_eq!(runs.at(usize::MAX), None);
    }
}
