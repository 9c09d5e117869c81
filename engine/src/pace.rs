//! The bell of a background thread: it sleeps until it is rung, until its time, or for its pace.
//!
//! INVARIANT: once stopped it never waits again.

use std::time::Duration;

use crate::sync::{Condvar, Mutex};

#[derive(Debug, Default)]
struct Calls {
    wanted: bool,
    stopped: bool,
}

/// Wakes, paces and ends one background thread.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    calls: Mutex<Calls>,
    bell: Condvar,
}

impl Bell {
    /// Asks for a round now.
    pub(crate) fn ring(&self) {
        self.calls.lock().wanted = true;
        self.bell.notify_all();
    }

    pub(crate) fn stop(&self) {
        self.calls.lock().stopped = true;
        self.bell.notify_all();
    }

    /// Waits to be rung, at most so long; false once stopped.
    pub(crate) fn wait(&self, most: Duration) -> bool {
        let mut calls = self.calls.lock();
        if !calls.wanted && !calls.stopped {
            self.bell.wait_for(&mut calls, most);
        }
        calls.wanted = false;
        !calls.stopped
    }

    /// Waits to be rung, however long; false once stopped.
    pub(crate) fn wait_rung(&self) -> bool {
        let mut calls = self.calls.lock();
        while !calls.wanted && !calls.stopped {
            self.bell.wait(&mut calls);
        }
        calls.wanted = false;
        !calls.stopped
    }

    /// Waits until `bytes` have taken as long as `rate` bytes a second say (0: no wait), of which
    /// `spent` has gone by; false once stopped.
    pub(crate) fn pace(&self, bytes: usize, rate: u64, spent: Duration) -> bool {
        let wanted = Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
        let mut calls = self.calls.lock();
        if let Some(rest) = wanted.checked_sub(spent)
            && !calls.stopped
            && rate > 0
        {
            self.bell.wait_for(&mut calls, rest);
        }
        !calls.stopped
    }
}
