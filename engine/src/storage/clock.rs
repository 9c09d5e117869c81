//! The door to the clocks, and to chance: what is no function of the log.
//!
//! The wall clock says when something was said; the boot clock, which nobody can set, says whether
//! the wall clock jumped. Nothing else in the engine reads a clock.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{Error, Result};
use crate::types::TimeUs;

/// Both clocks, and chance.
pub trait Clock: Send + Sync {
    /// The wall clock.
    fn now(&self) -> TimeUs;

    /// Microseconds since the machine started, suspend included; never goes back.
    fn boot_us(&self) -> i64;

    /// Random bytes that nobody can guess.
    ///
    /// # Errors
    /// `Unavailable` if the system has none.
    fn random(&self, bytes: &mut [u8]) -> Result<()>;
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

    fn random(&self, bytes: &mut [u8]) -> Result<()> {
        let none = Error::Unavailable { why: "the system gives no random bytes" };
        getrandom::fill(bytes).map_err(|_| none)
    }
}

/// Clocks that a test sets.
#[derive(Debug, Default)]
pub struct SimClock {
    wall: AtomicI64,
    boot: AtomicI64,
    drawn: AtomicU64,
}

impl SimClock {
    /// Clocks that stand at `wall`.
    #[must_use]
    pub fn at(wall: TimeUs) -> Self {
        let (wall, boot) = (AtomicI64::new(wall.0), AtomicI64::new(0));
        Self { wall, boot, drawn: AtomicU64::new(0) }
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

    /// Numbers that differ, and are the same in every run (splitmix64).
    fn random(&self, bytes: &mut [u8]) -> Result<()> {
        for part in bytes.chunks_mut(8) {
            let drawn = self.drawn.fetch_add(1, Ordering::SeqCst).wrapping_add(1);
            let mut mixed = drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let mixed = (mixed ^ (mixed >> 31)).to_le_bytes();
            part.iter_mut().zip(mixed).for_each(|(byte, mixed)| *byte = mixed);
        }
        Ok(())
    }
}
