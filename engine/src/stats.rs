//! Counters of the engine: read by `/metrics`, written with relaxed atomics.
//!
//! No counter decides anything. INVARIANT: reading them takes no lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// One counter or gauge.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Sets a gauge.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the duration buckets, in microseconds.
pub const DURATION_BUCKETS_US: [u64; 12] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 1_000_000, 10_000_000];

/// A histogram of durations.
#[derive(Debug, Default)]
pub struct Durations {
    buckets: [Counter; 12],
    count: Counter,
    sum_us: Counter,
}

impl Durations {
    /// Records one.
    pub fn record(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        if let Some(at) = DURATION_BUCKETS_US.iter().position(|bound| us <= *bound)
            && let Some(bucket) = self.buckets.get(at)
        {
            bucket.add(1);
        }
        self.count.add(1);
        self.sum_us.add(us);
    }

    /// (count at or below each bound, count of all, sum in microseconds).
    #[must_use]
    pub fn cumulative(&self) -> ([u64; 12], u64, u64) {
        let mut out = [0; 12];
        let mut sum = 0;
        for (slot, bucket) in out.iter_mut().zip(&self.buckets) {
            sum += bucket.get();
            *slot = sum;
        }
        (out, self.count.get(), self.sum_us.get())
    }
}

/// A running measurement.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Everything the engine counts.
#[derive(Debug, Default)]
pub struct Stats {
    /// Records committed.
    pub records: Counter,
    /// Fsync groups committed.
    pub groups: Counter,
    /// Frames written.
    pub frames: Counter,
    /// Bytes written to the journal.
    pub journal_bytes: Counter,
    /// Write and sync of one group.
    pub sync: Durations,
    /// Drafts refused by `sequence`.
    pub refused: Counter,
    /// Appends waiting now.
    pub queued: Counter,
    /// The newest committed record.
    pub committed_lsn: Counter,
    /// The newest record applied to the catalog.
    pub applied_lsn: Counter,
    /// The newest sealed record.
    pub sealed_lsn: Counter,
    /// Heads that were signed.
    pub heads_signed: Counter,
    /// Tries to sign heads that failed.
    pub head_failures: Counter,
    /// The last place in the log that a signed head covers.
    pub head_lsn: Counter,
    /// Bytes of unsealed records in memory.
    pub tail_bytes: Counter,
    /// Rooms with a tail.
    pub tail_rooms: Counter,
    /// Packs.
    pub packs: Counter,
    /// Bytes of packs.
    pub pack_bytes: Counter,
    /// Seals done.
    pub seals: Counter,
    /// Seals that failed and will be tried again.
    pub seal_failures: Counter,
    /// Blocks read from packs.
    pub block_reads: Counter,
    /// Blocks found in the cache.
    pub block_hits: Counter,
    /// Blocks that failed their checksum.
    pub block_damage: Counter,
    /// Bytes of cached blocks.
    pub cache_bytes: Counter,
    /// Bytes of packs that seals wrote.
    pub seal_written_bytes: Counter,
    /// Merges done.
    pub merges: Counter,
    /// Merges that failed and will be tried again.
    pub merge_failures: Counter,
    /// Bytes of packs that merges read.
    pub merge_read_bytes: Counter,
    /// Bytes of packs that merges wrote.
    pub merge_written_bytes: Counter,
    /// Entries that retention took.
    pub expired_entries: Counter,
    /// Records that were dropped from packs because retention took them.
    pub dropped_records: Counter,
    /// Compliance events whose own time was over.
    pub expired_events: Counter,
    /// Bytes of packs that the scrub read.
    pub scrub_bytes: Counter,
    /// Passes of the scrub.
    pub scrub_passes: Counter,
    /// Damaged places that its last pass found.
    pub scrub_damage: Counter,
    /// When its last pass ended, in seconds since 1970.
    pub scrub_end_seconds: Counter,
    /// Files of the journal in use.
    pub journal_files: Counter,
}
