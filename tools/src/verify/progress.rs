//! How far a long look at packs has come, on standard error, once a second.
//!
//! It counts bytes and decides nothing. INVARIANT: without a terminal it says nothing unless asked.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use hansard_engine::stats::Stopwatch;

/// The pause between two lines.
const PAUSE: Duration = Duration::from_secs(1);
const MIB: u64 = 1024 * 1024;

/// Whether to say how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// On a terminal only.
    OnTerminal,
    /// Always.
    Always,
}

impl Show {
    /// From a flag of the command line.
    #[must_use]
    pub const fn asked(asked: bool) -> Self {
        if asked { Self::Always } else { Self::OnTerminal }
    }
}

/// Bytes done, of how many.
#[derive(Debug)]
pub(crate) struct Progress {
    what: &'static str,
    total: u64,
    done: AtomicU64,
    ended: Mutex<bool>,
    bell: Condvar,
}

impl Progress {
    /// Nothing of `total` bytes is done.
    pub(crate) const fn new(what: &'static str, total: u64) -> Self {
        let (done, ended, bell) = (AtomicU64::new(0), Mutex::new(false), Condvar::new());
        Self { what, total, done, ended, bell }
    }

    /// So many more are done.
    pub(crate) fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Does `work` and says meanwhile how far it is.
    pub(crate) fn during<T>(&self, show: Show, work: impl FnOnce() -> T) -> T {
        let terminal = std::io::stderr().is_terminal();
        if show == Show::OnTerminal && !terminal {
            return work();
        }
        thread::scope(|scope| {
            scope.spawn(|| self.tell(terminal));
            let end = End(self);
            let made = work();
            // Indexes, and halves that were rounded, are not counted one by one.
            self.done.store(self.total, Ordering::Relaxed);
            drop(end);
            made
        })
    }

    fn tell(&self, terminal: bool) {
        let watch = Stopwatch::start();
        // A terminal shows one line that changes.
        let end = if terminal { "\x1b[K\r" } else { "\n" };
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        while !*ended {
            let waited = self.bell.wait_timeout(ended, PAUSE);
            ended = waited.unwrap_or_else(PoisonError::into_inner).0;
            if !*ended {
                eprint!("{}{end}", self.line(watch.elapsed()));
            }
        }
        eprintln!("{}", self.line(watch.elapsed()));
    }

    fn line(&self, spent: Duration) -> String {
        let done = self.done.load(Ordering::Relaxed).min(self.total);
        let percent = (done * 100).checked_div(self.total).unwrap_or(100);
        let millis = u64::try_from(spent.as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = done.saturating_mul(1000) / millis / MIB;
        let Self { what, total, .. } = self;
        format!("{what}: {done} of {total} bytes, {percent}%, {rate} MiB/s")
    }
}

/// Ends the telling, also when the work panics.
struct End<'a>(&'a Progress);

impl Drop for End<'_> {
    fn drop(&mut self) {
        *self.0.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.bell.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_bytes_percent_and_rate() {
        let progress = Progress::new("verify", 200 * MIB);
        progress.add(50 * MIB);
        let line = progress.line(Duration::from_secs(2));
        assert_eq!(line, "verify: 52428800 of 209715200 bytes, 25%, 25 MiB/s");
        let nothing = Progress::new("verify", 0);
        assert!(nothing.line(Duration::ZERO).contains("100%"));
    }

    #[test]
    fn telling_ends_with_the_work() {
        let progress = Progress::new("test", 1);
        assert_eq!(progress.during(Show::Always, || 7), 7);
    }
}
