//! Places cut into appends, and the appends on their way.
//!
//! An append has as many entries as the engine takes with the importer's progress beside them. It
//! builds no draft. INVARIANT: every place is in exactly one batch, in order.

use std::collections::VecDeque;
use std::ops::Range;

use hansard_engine::draft::Ticket;
use hansard_engine::limits::{APPEND_BYTES_MAX, APPEND_DRAFTS_MAX};

use super::gauge::Pace;
use crate::tournament::Outcome;

/// Appends on their way.
const APPENDS: usize = 4;
/// What an entry weighs in an append beside its words: more than the engine counts.
const ENTRY_BYTES: usize = 384;

/// Places that are appended one batch after the other, and the appends on their way.
pub struct Batches {
    next: u64,
    end: u64,
    tickets: VecDeque<Ticket>,
    pace: Pace,
}

impl Batches {
    /// All places below `end`.
    #[must_use]
    pub fn new(end: u64) -> Self {
        Self { next: 0, end, tickets: VecDeque::new(), pace: Pace::of(end) }
    }

    /// The next batch, with room for the importer's progress; none at the end.
    pub fn next(&mut self, bytes_of: impl Fn(u64) -> usize) -> Option<Range<u64>> {
        let first = self.next;
        let mut bytes = ENTRY_BYTES;
        while self.next < self.end && self.next - first + 1 < APPEND_DRAFTS_MAX as u64 {
            bytes += bytes_of(self.next) + ENTRY_BYTES;
            if bytes > APPEND_BYTES_MAX && self.next > first {
                break;
            }
            self.next += 1;
        }
        (first < self.next).then_some(first..self.next)
    }

    /// Takes an append that is on its way, and waits for the oldest if there are enough.
    ///
    /// # Errors
    /// What an append failed with.
    pub fn wait_for(&mut self, ticket: Ticket) -> Outcome<()> {
        self.tickets.push_back(ticket);
        while self.tickets.len() > APPENDS - 1 {
            self.tickets.pop_front().map_or(Ok(Vec::new()), Ticket::wait)?;
        }
        self.pace.at(self.next);
        Ok(())
    }

    /// Waits for all, and tells the pace of each tenth.
    ///
    /// # Errors
    /// What an append failed with.
    pub fn end(self) -> Outcome<Vec<f64>> {
        self.tickets.into_iter().try_for_each(|ticket| ticket.wait().map(drop))?;
        Ok(self.pace.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_hold_every_place_once_and_fit_an_append() {
        for (end, bytes) in [(1, 10), (1023, 10), (5000, 10), (5000, 2000), (3, 60 * 1024)] {
            let (mut batches, mut next) = (Batches::new(end), 0);
            while let Some(places) = batches.next(|_| bytes) {
                assert_eq!(places.start, next);
                next = places.end;
                let count = usize::try_from(places.end - places.start).unwrap();
                assert!(count < APPEND_DRAFTS_MAX, "{count}");
                assert!(count * (bytes + ENTRY_BYTES) <= APPEND_BYTES_MAX, "{count}");
            }
            assert_eq!(next, end);
        }
    }
}
