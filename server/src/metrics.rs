//! The server's own counters, and `/metrics` as OpenMetrics text.
//!
//! The engine's numbers come from its `Stats`. No counter decides anything; names are `hansard_*`
//! in base units. INVARIANT: the label set is bounded by the route table and the statuses.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use hansard_engine::stats::{Counter, DURATION_BUCKETS_US, Durations, Stats};
use parking_lot::Mutex;
use tokio::time::Instant;

/// Everything the server counts.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<String, BTreeMap<u16, u64>>>,
    pub(crate) request_time: Durations,
    pub(crate) post_time: Durations,
    pub(crate) connections: Gauge,
    pub(crate) streams: Gauge,
    pub(crate) subscriptions: Gauge,
    pub(crate) deliveries: Counter,
    pub(crate) slow_readers: Counter,
    pub(crate) policy_retries: Counter,
    pub(crate) sign_ins: Counter,
    pub(crate) sign_in_failures: Counter,
    pub(crate) category_blocks: Counter,
    pub(crate) category_blocks_overlapping: Counter,
    pub(crate) fanout_reads: Counter,
    pub(crate) session_reads: Counter,
}

/// The time for measuring and for waiting: never for a record.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub(crate) struct Gauge(std::sync::atomic::AtomicI64);

impl Gauge {
    /// Moves it.
    pub(crate) fn add(&self, n: i64) {
        self.0.fetch_add(n, std::sync::atomic::Ordering::Relaxed);
    }

    /// The value.
    pub(crate) fn get(&self) -> i64 {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// The kinds of a family as OpenMetrics names them.
enum Sort {
    Counter,
    Gauge,
}

impl Metrics {
    /// One answered request of a route of the table.
    pub(crate) fn request(&self, route: &str, status: u16, took: Duration) {
        self.request_time.record(took);
        let mut requests = self.requests.lock();
        match requests.get_mut(route) {
            Some(statuses) => *statuses.entry(status).or_default() += 1,
            None => drop(requests.insert(route.to_owned(), BTreeMap::from([(status, 1)]))),
        }
    }

    /// The whole page.
    pub(crate) fn render(&self, stats: &Stats) -> String {
        let mut out = String::with_capacity(8 * 1024);
        engine_families(&mut out, stats);
        self.server_families(&mut out);
        out.push_str("# EOF\n");
        out
    }

    fn server_families(&self, out: &mut String) {
        let name = "hansard_http_requests";
        let _ = writeln!(out, "# HELP {name} Answered requests.\n# TYPE {name} counter");
        for (route, statuses) in self.requests.lock().iter() {
            let route = escape(route);
            for (status, count) in statuses {
                let labels = format!("route=\"{route}\",status=\"{status}\"");
                let _ = writeln!(out, "{name}_total{{{labels}}} {count}");
            }
        }
        let seconds = "hansard_http_request_seconds";
        histogram(out, seconds, "Time from a request's head to its answer.", &self.request_time);
        let seconds = "hansard_post_seconds";
        histogram(
            out,
            seconds,
            "Time from a post's check to its acknowledgement.",
            &self.post_time,
        );
        let gauges = [
            ("hansard_http_connections", "Open connections.", self.connections.get()),
            ("hansard_stream_connections", "Open streams.", self.streams.get()),
            ("hansard_stream_subscriptions", "Rooms of open streams.", self.subscriptions.get()),
        ];
        for (name, help, value) in gauges {
            family(out, name, help, Sort::Gauge, value);
        }
        for (name, help, counter) in [
            ("hansard_stream_deliveries", "Changes handed to streams.", &self.deliveries),
            ("hansard_stream_slow_readers", "Streams closed for not reading.", &self.slow_readers),
            (
                "hansard_stream_fanout_reads",
                "Reads shared by a room's streams.",
                &self.fanout_reads,
            ),
            ("hansard_stream_catch_up_reads", "Reads of one stream.", &self.session_reads),
            ("hansard_policy_retries", "Drafts checked again.", &self.policy_retries),
            ("hansard_sign_ins", "Sign-ins.", &self.sign_ins),
            ("hansard_sign_in_failures", "Failed sign-ins.", &self.sign_in_failures),
            (
                "hansard_category_blocks_read",
                "Blocks that category reads touched.",
                &self.category_blocks,
            ),
            (
                "hansard_category_blocks_overlapping",
                "Blocks that overlap the time asked for, of each page what is left of it.",
                &self.category_blocks_overlapping,
            ),
        ] {
            family(out, name, help, Sort::Counter, counter.get());
        }
    }
}

fn engine_families(out: &mut String, stats: &Stats) {
    for (name, help, counter) in [
        ("hansard_records", "Records committed.", &stats.records),
        ("hansard_commit_groups", "Groups made durable by one sync.", &stats.groups),
        ("hansard_journal_frames", "Frames written.", &stats.frames),
        ("hansard_journal_written_bytes", "Bytes written to the journal.", &stats.journal_bytes),
        ("hansard_drafts_refused", "Drafts that the order refused.", &stats.refused),
        ("hansard_seals", "Seals done.", &stats.seals),
        ("hansard_seal_failures", "Seals to be tried again.", &stats.seal_failures),
        (
            "hansard_seal_written_bytes",
            "Bytes of packs that seals wrote.",
            &stats.seal_written_bytes,
        ),
        ("hansard_expired_entries", "Entries that retention took.", &stats.expired_entries),
        ("hansard_dropped_records", "Records dropped from packs.", &stats.dropped_records),
        ("hansard_expired_events", "Compliance events let go.", &stats.expired_events),
        ("hansard_merges", "Merges of packs done.", &stats.merges),
        ("hansard_merge_failures", "Merges to be tried again.", &stats.merge_failures),
        ("hansard_merge_read_bytes", "Bytes of packs that merges read.", &stats.merge_read_bytes),
        (
            "hansard_merge_written_bytes",
            "Bytes of packs that merges wrote.",
            &stats.merge_written_bytes,
        ),
        ("hansard_heads_signed", "Heads that were signed.", &stats.heads_signed),
        ("hansard_head_failures", "Signatures to be tried again.", &stats.head_failures),
        ("hansard_block_reads", "Blocks read from packs.", &stats.block_reads),
        ("hansard_block_cache_hits", "Blocks found in the cache.", &stats.block_hits),
        ("hansard_block_damage", "Blocks that failed their checksum.", &stats.block_damage),
        ("hansard_scrub_read_bytes", "Bytes of packs that the scrub read.", &stats.scrub_bytes),
        ("hansard_scrub_passes", "Passes of the scrub over all packs.", &stats.scrub_passes),
    ] {
        family(out, name, help, Sort::Counter, counter.get());
    }
    for (name, help, counter) in [
        ("hansard_appends_queued", "Appends waiting for the commit.", &stats.queued),
        ("hansard_committed_lsn", "Newest committed record.", &stats.committed_lsn),
        ("hansard_applied_lsn", "Newest record in the catalog.", &stats.applied_lsn),
        ("hansard_sealed_lsn", "Newest sealed record.", &stats.sealed_lsn),
        ("hansard_head_lsn", "Newest record under a signature.", &stats.head_lsn),
        (
            "hansard_tail_bytes",
            "Records in memory: unsealed ones, and the last page of busy rooms.",
            &stats.tail_bytes,
        ),
        ("hansard_tail_rooms", "Rooms with a tail.", &stats.tail_rooms),
        ("hansard_packs", "Packs.", &stats.packs),
        ("hansard_pack_bytes", "Bytes of packs.", &stats.pack_bytes),
        (
            "hansard_block_cache_bytes",
            "Decompressed blocks and bundles in memory.",
            &stats.cache_bytes,
        ),
        ("hansard_journal_files", "Files of the journal in use.", &stats.journal_files),
        ("hansard_scrub_damage", "Damaged places the last scrub found.", &stats.scrub_damage),
        ("hansard_scrub_end_seconds", "When it ended, since 1970.", &stats.scrub_end_seconds),
    ] {
        family(out, name, help, Sort::Gauge, counter.get());
    }
    histogram(out, "hansard_journal_sync_seconds", "Write and sync of one group.", &stats.sync);
}

fn family(out: &mut String, name: &str, help: &str, sort: Sort, value: impl std::fmt::Display) {
    let (word, suffix) = match sort {
        Sort::Counter => ("counter", "_total"),
        Sort::Gauge => ("gauge", ""),
    };
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {word}\n{name}{suffix} {value}");
}

fn histogram(out: &mut String, name: &str, help: &str, durations: &Durations) {
    let (buckets, count, sum_us) = durations.cumulative();
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
    for (bound, value) in DURATION_BUCKETS_US.iter().zip(buckets) {
        let _ = writeln!(out, "{name}_bucket{{le=\"{}\"}} {value}", seconds(*bound));
    }
    let _ = writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {count}");
    let _ = writeln!(out, "{name}_sum {}\n{name}_count {count}", seconds(sum_us));
}

/// Microseconds as seconds, exactly.
fn seconds(us: u64) -> String {
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}

fn escape(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_openmetrics_with_base_units() {
        let metrics = Metrics::default();
        metrics.request("/api/v1/rooms/{id}", 200, Duration::from_micros(120));
        metrics.request("/api/v1/rooms/{id}", 200, Duration::from_micros(80));
        let stats = Stats::default();
        stats.sync.record(Duration::from_millis(3));
        let page = metrics.render(&stats);
        for line in [
            "hansard_http_requests_total{route=\"/api/v1/rooms/{id}\",status=\"200\"} 2",
            "hansard_http_request_seconds_bucket{le=\"0.000100\"} 1",
            "hansard_journal_sync_seconds_sum 0.003000",
            "hansard_journal_sync_seconds_bucket{le=\"+Inf\"} 1",
            "# TYPE hansard_records counter",
            "hansard_tail_bytes 0",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
        assert!(page.ends_with("# EOF\n"));
    }
}
