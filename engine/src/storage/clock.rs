//! The door to the clocks.
//!
//! The wall clock says when something was said; the boot clock, which nobody can set, says whether
//! the wall clock jumped. Nothing else in the engine reads a clock.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::types::TimeUs;

/// Both clocks.
pub trait Clock: Send + Sync {
    /// The wall clock.
    fn now(&self) -> TimeUs;

    /// Microseconds since the machine started, suspend included; never goes back.
    fn boot_us(&self) -> i64;
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> TimeUs {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        TimeUs(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    fn boot_us(&self) -> i64 {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1_000)
    }
}

/// Clocks that a test sets.
#[derive(Debug, Default)]
pub struct SimClock {
    wall: AtomicI64,
    boot: AtomicI64,
}

impl SimClock {
    /// Clocks that stand at `wall`.
    #[must_use]
    pub fn at(wall: TimeUs) -> Self {
        Self { wall: AtomicI64::new(wall.0), boot: AtomicI64::new(0) }
    }

    /// Lets time pass on both clocks.
    pub fn pass_us(&self, us: i64) {
        self.wall.fetch_add(us, Ordering::SeqCst);
        self.boot.fetch_add(us, Ordering::SeqCst);
    }

    /// Steps the wall clock alone, as a wrong time server would.
    pub fn step_us(&self, us: i64) {
        self.wall.fetch_add(us, Ordering::SeqCst);
    }
}

impl Clock for SimClock {
    fn now(&self) -> TimeUs {
        TimeUs(self.wall.load(Ordering::SeqCst))
    }

    fn boot_us(&self) -> i64 {
        self.boot.load(Ordering::SeqCst)
    }
}
