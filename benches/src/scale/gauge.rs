//! What is measured of a process and of a directory: memory, handles, files, bytes.
//!
//! From `/proc` and the file system only; the engine is not asked. INVARIANT: what cannot be
//! measured is absent, never zero.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::tournament::Outcome;

/// Between two looks at a process.
const STEP: Duration = Duration::from_millis(50);

/// Files of one sort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    pub files: u64,
    pub bytes: u64,
}

/// The files of a data directory by their folder; those at its top are `other`.
pub type Kinds = BTreeMap<String, Files>;

/// What a phase took.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Mark {
    pub phase: String,
    pub seconds: f64,
    /// How many of what were done.
    pub count: u64,
    pub unit: String,
    /// How many a second in each tenth of them, if it was noted.
    pub tenths: Vec<f64>,
    /// The most memory resident at once during the phase, pages of mapped files among it.
    pub peak_bytes: Option<u64>,
    /// The most of it that is the process's own, and not pages of files, of looks 50 ms apart.
    pub own_peak_bytes: Option<u64>,
    /// Memory resident at its end.
    pub resident_bytes: Option<u64>,
    /// The most open file descriptors seen, and those at its end.
    pub handles_peak: Option<u64>,
    pub handles: Option<u64>,
    /// Bytes of pages that the process had made dirty, each time anew; so more than what reached
    /// the disk, where small writes share a page.
    pub written_bytes: Option<u64>,
    pub kinds: Kinds,
}

impl Mark {
    /// Done in a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        // A count is far below the numbers that a float cannot hold.
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let count = self.count as f64;
        count / self.seconds.max(1e-9)
    }
}

/// A field of `/proc/PID/status` that is in kB, in bytes.
#[must_use]
pub fn status_bytes(pid: u32, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Open file descriptors of a process.
#[must_use]
pub fn handles(pid: u32) -> Option<u64> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64)
}

fn written_bytes(pid: u32) -> Option<u64> {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok())
}

/// The files of a data directory.
///
/// # Errors
/// If it cannot be listed. A file that goes meanwhile is not counted.
pub fn kinds(data: &Path) -> Outcome<Kinds> {
    let mut kinds = Kinds::new();
    let mut count = |kind: &str, meta: &fs::Metadata| {
        let sum = kinds.entry(kind.to_owned()).or_default();
        sum.files += 1;
        sum.bytes += meta.len();
    };
    for entry in fs::read_dir(data)? {
        let path = entry?.path();
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        if !meta.is_dir() {
            count("other", &meta);
            continue;
        }
        let kind = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for entry in fs::read_dir(&path)? {
            if let Ok(meta) = entry.and_then(|entry| entry.metadata()) {
                count(&kind, &meta);
            }
        }
    }
    Ok(kinds)
}

/// Looks at a process until it is dropped.
pub struct Watch {
    pid: u32,
    begun: Instant,
    stop: Arc<AtomicBool>,
    peak: Arc<AtomicU64>,
    own_peak: Arc<AtomicU64>,
    handles: Arc<AtomicU64>,
    looks: Option<JoinHandle<()>>,
}

impl Watch {
    /// Begins a phase of a process; the kernel's own peak is set back if that is possible.
    #[must_use]
    pub fn begin(pid: u32) -> Self {
        // Without it the peak is that of the process so far, which is more and not less.
        let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
        let (stop, peak) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (most, own_peak) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let looks = std::thread::spawn({
            let (stop, peak, most) = (Arc::clone(&stop), Arc::clone(&peak), Arc::clone(&most));
            let own_peak = Arc::clone(&own_peak);
            move || {
                while !stop.load(Ordering::Relaxed) {
                    peak.fetch_max(status_bytes(pid, "VmHWM").unwrap_or(0), Ordering::Relaxed);
                    own_peak
                        .fetch_max(status_bytes(pid, "RssAnon").unwrap_or(0), Ordering::Relaxed);
                    most.fetch_max(handles(pid).unwrap_or(0), Ordering::Relaxed);
                    std::thread::park_timeout(STEP);
                }
            }
        });
        let looks = Some(looks);
        Self { pid, begun: Instant::now(), stop, peak, own_peak, handles: most, looks }
    }

    /// Ends the phase.
    ///
    /// # Errors
    /// If the directory cannot be listed.
    pub fn end(mut self, phase: &str, (count, unit): (u64, &str), data: &Path) -> Outcome<Mark> {
        let seconds = self.begun.elapsed().as_secs_f64();
        self.stop();
        // Before the peak: what other threads take meanwhile is not more than it.
        let resident_bytes = status_bytes(self.pid, "VmRSS");
        let peak = self.peak.load(Ordering::Relaxed);
        let (now, most) = (handles(self.pid), self.handles.load(Ordering::Relaxed));
        let (peak, most) =
            (peak.max(status_bytes(self.pid, "VmHWM").unwrap_or(0)), most.max(now.unwrap_or(0)));
        Ok(Mark {
            phase: phase.to_owned(),
            seconds,
            count,
            unit: unit.to_owned(),
            tenths: Vec::new(),
            peak_bytes: (peak > 0).then_some(peak),
            own_peak_bytes: Some(self.own_peak.load(Ordering::Relaxed)).filter(|own| *own > 0),
            resident_bytes,
            handles_peak: (most > 0).then_some(most),
            handles: now,
            written_bytes: written_bytes(self.pid),
            kinds: kinds(data)?,
        })
    }

    fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(looks) = self.looks.take() {
            looks.thread().unpark();
            // A look that panicked has nothing more to say.
            let _ = looks.join();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop();
    }
}

/// How fast something goes, tenth by tenth.
#[derive(Debug)]
pub struct Pace {
    all: u64,
    /// Where the current tenth begins.
    from: u64,
    since: Instant,
    tenths: Vec<f64>,
}

impl Pace {
    /// Begins with so many before it.
    #[must_use]
    pub fn of(all: u64) -> Self {
        Self { all, from: 0, since: Instant::now(), tenths: Vec::new() }
    }

    /// So many are done.
    pub fn at(&mut self, done: u64) {
        if done < self.all && (done - self.from) * 10 < self.all {
            return;
        }
        let mark = Mark {
            seconds: self.since.elapsed().as_secs_f64(),
            count: done - self.from,
            ..Mark::default()
        };
        self.tenths.push(mark.rate());
        (self.from, self.since) = (done, Instant::now());
    }

    /// What was noted.
    #[must_use]
    pub fn end(self) -> Vec<f64> {
        self.tenths
    }
}

/// How long single operations took.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<Duration>);

/// The same in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    pub count: u64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

impl Times {
    /// Does something and notes how long it took.
    pub fn of<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = work();
        self.0.push(begun.elapsed());
        done
    }

    /// In order.
    #[must_use]
    pub fn quantiles(mut self) -> Quantiles {
        self.0.sort_unstable();
        let at = |hundredths: usize| {
            let place = self.0.len().saturating_sub(1) * hundredths / 100;
            self.0.get(place).map_or(0.0, |took| took.as_secs_f64() * 1000.0)
        };
        Quantiles { count: self.0.len() as u64, p50_ms: at(50), p99_ms: at(99), max_ms: at(100) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_handles_and_files() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("packs")).unwrap();
        fs::write(dir.path().join("packs/1"), "abc").unwrap();
        fs::write(dir.path().join("VERSION"), "1").unwrap();
        let watch = Watch::begin(std::process::id());
        let mark = watch.end("test", (10, "things"), dir.path()).unwrap();
        assert!(mark.peak_bytes.unwrap() >= mark.resident_bytes.unwrap());
        assert!(mark.handles_peak.unwrap() >= 3 && mark.rate() > 0.0);
        assert_eq!(mark.kinds["packs"], Files { files: 1, bytes: 3 });
        assert_eq!(mark.kinds["other"], Files { files: 1, bytes: 1 });
    }

    #[test]
    fn every_tenth_has_its_pace() {
        let mut pace = Pace::of(100);
        (0..=100).step_by(5).for_each(|done| pace.at(done));
        assert_eq!(pace.end().len(), 10);
    }

    #[test]
    fn quantiles_are_of_all_times() {
        let times = Times((1..=100).rev().map(Duration::from_millis).collect());
        let found = times.quantiles();
        assert_eq!((found.count, found.p50_ms, found.p99_ms), (100, 50.0, 99.0));
        assert_eq!(found.max_ms, 100.0);
        assert_eq!(Times::default().quantiles(), Quantiles::default());
    }
}
