//! The salts of all of the log's places, for threads that each go through rooms.
//!
//! A room's records stand all over the log. So a chunk of the log is opened once, when the first of
//! them is met, and stays open while memory lasts.
//!
//! INVARIANT: memory grows with the places that are asked for, up to a limit, never with the
//! numbers that records state.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use hansard_engine::proof::salts::{CHUNK_LEVEL, Chunk, PlaceSalts, SPAN_LEVEL, Salts, Steps};
use hansard_engine::types::Lsn;

/// Bytes of open chunks at most.
const OPEN_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Places that share a seed that is kept, at least, as a power of two.
const STEP_LEVEL_MIN: u8 = 3;
/// Maps of open chunks, each with a lock, so that threads seldom meet.
const SHARDS: u64 = 64;

/// Salts by place.
#[derive(Default)]
pub(super) struct LogSalts {
    /// In order of their first places, none of which is wider than a span.
    spans: Vec<Salts>,
    /// That of the seeds that are kept.
    level: u8,
    shards: Vec<Mutex<HashMap<Lsn, Arc<Steps>>>>,
    shard_max: usize,
}

impl LogSalts {
    /// Those of these spans, for a log of about so many records.
    pub(super) fn new(mut spans: Vec<Salts>, records: u64) -> Self {
        spans.sort_by_key(|span| (span.first, span.level));
        let chunks = usize::try_from(records >> CHUNK_LEVEL).unwrap_or(usize::MAX);
        let fits = |level: &u8| chunks.saturating_mul(Steps::weight(*level)) <= OPEN_BYTES_MAX;
        let level = (STEP_LEVEL_MIN..CHUNK_LEVEL).find(fits).unwrap_or(CHUNK_LEVEL);
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect::<Vec<_>>();
        let shard_max = OPEN_BYTES_MAX / Steps::weight(level) / shards.len();
        Self { spans, level, shards, shard_max }
    }

    /// The salts of a place, unless they are forgotten or lost.
    pub(super) fn of(&self, place: Lsn) -> Option<PlaceSalts> {
        let first = Chunk::first_of(place);
        let shard = usize::try_from((first.0 >> CHUNK_LEVEL) % SHARDS).ok()?;
        let shard = self.shards.get(shard)?;
        let mut open = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= self.shard_max && !open.contains_key(&first) {
            open.clear();
        }
        let steps = open
            .entry(first)
            .or_insert_with(|| Arc::new(Steps::of(first, self.near(first), self.level)));
        let steps = Arc::clone(steps);
        drop(open);
        steps.get(place)
    }

    /// The spans that may have seeds for a chunk.
    fn near(&self, first: Lsn) -> &[Salts] {
        let from = first.0 >> SPAN_LEVEL << SPAN_LEVEL;
        let to = first.0.saturating_add(1 << CHUNK_LEVEL);
        let begin = self.spans.partition_point(|span| span.first.0 < from);
        let end = self.spans.partition_point(|span| span.first.0 < to);
        self.spans.get(begin..end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_has_the_salts_that_its_spans_give_however_little_memory_there_is() {
        let wide = Salts::rooted(Lsn(0), SPAN_LEVEL, [1; 16]);
        let mut spans = wide.without(&[Lsn(5), Lsn(70_000)]);
        spans.push(Salts::rooted(Lsn(1 << SPAN_LEVEL), 12, [2; 16]));
        spans.push(Salts::rooted(Lsn(3 << SPAN_LEVEL), SPAN_LEVEL, [3; 16]));
        let of = |place: u64| {
            let narrowest = spans.iter().filter(|span| span.of(Lsn(place)).is_some());
            narrowest.min_by_key(|span| span.level).and_then(|span| span.of(Lsn(place)))
        };
        for records in [0, 1 << 20, 1 << 28, 1 << 40] {
            let salts = LogSalts { shard_max: 2, ..LogSalts::new(spans.clone(), records) };
            // Over a shard and back, so that chunks are closed in between.
            for place in (0..5_u64 << SPAN_LEVEL).step_by(60_001).chain([5, 6, 70_000, u64::MAX]) {
                assert_eq!(salts.of(Lsn(place)), of(place), "place {place} of {records}");
            }
            let open = salts.shards.iter().map(|shard| shard.lock().unwrap().len());
            assert!(open.max() <= Some(2));
        }
    }

    #[test]
    fn the_seeds_of_a_log_are_within_memory() {
        for records in [0, 1 << 10, 1 << 20, 1 << 25, 1 << 30, 1 << 36, u64::MAX] {
            let salts = LogSalts::new(Vec::new(), records);
            let most = salts.shard_max * salts.shards.len();
            assert!(most * Steps::weight(salts.level) <= OPEN_BYTES_MAX && salts.shard_max > 0);
            assert!(most as u64 >= (records >> CHUNK_LEVEL) / 2 || salts.level == CHUNK_LEVEL);
        }
    }
}
