//! The guard over the wall clock.
//!
//! A wall clock that ran ahead would push every later record's time with it, for ever. So it is
//! compared with the boot clock, which nobody can set: while it is far ahead, posts are refused.
//!
//! INVARIANT: while refused, no record takes its time from the wall clock.

use std::sync::Arc;

use crate::sync::Mutex;

use crate::error::{Error, Result};
use crate::limits;
use crate::storage::clock::Clock;
use crate::types::TimeUs;

#[derive(Debug)]
struct Base {
    wall: TimeUs,
    boot_us: i64,
    /// Refused since the start, until the operator agrees.
    start_refused: bool,
    last_recorded: TimeUs,
}

/// The wall clock, compared with the boot clock.
pub(crate) struct ClockGuard {
    clock: Arc<dyn Clock>,
    base: Mutex<Base>,
}

impl ClockGuard {
    /// Starts to compare. `last_recorded` is the newest record's time.
    pub(crate) fn new(clock: Arc<dyn Clock>, last_recorded: TimeUs) -> Self {
        let (wall, boot_us) = (clock.now(), clock.boot_us());
        let ahead = wall.0.saturating_sub(last_recorded.0);
        let start_refused = last_recorded > TimeUs::MIN && ahead > limits::CLOCK_START_AHEAD_US_MAX;
        if start_refused {
            tracing::warn!(
                ahead_us = ahead,
                "wall clock is far beyond the last record: posts refused"
            );
        }
        Self { clock, base: Mutex::new(Base { wall, boot_us, start_refused, last_recorded }) }
    }

    /// The wall clock.
    pub(crate) fn now(&self) -> TimeUs {
        self.clock.now()
    }

    /// Random bytes that nobody can guess.
    pub(crate) fn random(&self, bytes: &mut [u8]) -> Result<()> {
        self.clock.random(bytes)
    }

    /// The wall clock, if it agrees with the boot clock.
    pub(crate) fn check(&self) -> Result<TimeUs> {
        let (now, boot_us) = (self.clock.now(), self.clock.boot_us());
        let base = self.base.lock();
        let passed = boot_us.saturating_sub(base.boot_us);
        let ahead = now.0.saturating_sub(base.wall.0).saturating_sub(passed);
        if base.start_refused || ahead > limits::CLOCK_AHEAD_US_MAX {
            return Err(Error::Unavailable { why: "the wall clock jumped ahead" });
        }
        Ok(now)
    }

    /// The wall clock, or while it is refused the newest record's time.
    pub(crate) fn now_or_floor(&self) -> TimeUs {
        self.check().unwrap_or_else(|_| self.base.lock().last_recorded)
    }

    /// The operator agrees with the wall clock as it is.
    pub(crate) fn accept(&self) {
        let mut base = self.base.lock();
        base.wall = self.clock.now();
        base.boot_us = self.clock.boot_us();
        base.start_refused = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::clock::SimClock;

    const DAY: i64 = TimeUs::DAY_US;

    #[test]
    fn a_clock_stepped_ahead_is_refused_until_it_agrees_or_is_accepted() {
        let clock = Arc::new(SimClock::at(TimeUs(1_000 * DAY)));
        let guard = ClockGuard::new(clock.clone(), TimeUs(999 * DAY));
        clock.pass_us(3 * DAY);
        assert!(guard.check().is_ok(), "time may pass");
        clock.step_us(3_650 * DAY);
        assert!(guard.check().is_err());
        assert_eq!(guard.now_or_floor(), TimeUs(999 * DAY));
        clock.step_us(-3_650 * DAY);
        assert!(guard.check().is_ok(), "it agrees again");
        clock.step_us(3_650 * DAY);
        guard.accept();
        assert!(guard.check().is_ok());
        clock.step_us(-5 * DAY);
        assert!(guard.check().is_ok(), "backwards is clamped by sequence, not refused");
    }

    #[test]
    fn a_start_far_beyond_the_last_record_is_refused_until_accepted() {
        let clock = Arc::new(SimClock::at(TimeUs(2_000 * DAY)));
        let guard = ClockGuard::new(clock.clone(), TimeUs(1_000 * DAY));
        assert!(guard.check().is_err());
        guard.accept();
        assert!(guard.check().is_ok());
        let fresh = ClockGuard::new(clock, TimeUs::MIN);
        assert!(fresh.check().is_ok(), "an empty log says nothing");
    }
}
