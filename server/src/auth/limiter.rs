//! Failed sign-ins are counted by name and address, and by address alone; too many must wait.
//!
//! A bounded map of windows: beyond its bound the oldest window is forgotten. It counts failures
//! only, so people who know their password are not held up by themselves.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::limits::{
    SIGN_IN_ADDRESS_FAILURES_MAX, SIGN_IN_ENTRIES_MAX, SIGN_IN_FAILURES_MAX, SIGN_IN_WINDOW,
};
use crate::metrics::now;

/// What is counted: (name, address), or ("", address) for the address alone.
type Key = (String, String);

#[derive(Default)]
struct Windows {
    counts: HashMap<Key, (Instant, u32)>,
    order: VecDeque<(Instant, Key)>,
}

/// The failures of the last minutes.
#[derive(Default)]
pub(crate) struct Limiter(Mutex<Windows>);

impl Limiter {
    /// How long this name must wait at this address, if at all.
    pub(crate) fn wait(&self, name: &str, address: &str) -> Option<Duration> {
        self.wait_at(now(), name, address)
    }

    /// Counts a failure.
    pub(crate) fn failed(&self, name: &str, address: &str) {
        self.failed_at(now(), name, address);
    }

    fn wait_at(&self, now: Instant, name: &str, address: &str) -> Option<Duration> {
        let mut windows = self.0.lock();
        windows.forget(now);
        let over = |key: Key, max: u32| {
            let (since, count) = windows.counts.get(&key)?;
            (*count >= max).then(|| (*since + SIGN_IN_WINDOW).saturating_duration_since(now))
        };
        over((name.to_owned(), address.to_owned()), SIGN_IN_FAILURES_MAX)
            .or_else(|| over((String::new(), address.to_owned()), SIGN_IN_ADDRESS_FAILURES_MAX))
    }

    fn failed_at(&self, now: Instant, name: &str, address: &str) {
        let mut windows = self.0.lock();
        windows.forget(now);
        windows.count((name.to_owned(), address.to_owned()), now);
        windows.count((String::new(), address.to_owned()), now);
    }
}

impl Windows {
    fn count(&mut self, key: Key, now: Instant) {
        if let Some((_, count)) = self.counts.get_mut(&key) {
            *count = count.saturating_add(1);
            return;
        }
        while self.order.len() >= SIGN_IN_ENTRIES_MAX {
            self.forget_first();
        }
        self.order.push_back((now, key.clone()));
        self.counts.insert(key, (now, 1));
    }

    /// Drops windows that are over. Windows begin in order, so the first is the oldest.
    fn forget(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(since, _)| *since + SIGN_IN_WINDOW <= now) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, key)) = self.order.pop_front() {
            self.counts.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_failures_of_a_name_must_wait_and_others_need_not() {
        let (limiter, now) = (Limiter::default(), super::now());
        for _ in 0..SIGN_IN_FAILURES_MAX {
            assert_eq!(limiter.wait_at(now, "ann", "10.0.0.1"), None);
            limiter.failed_at(now, "ann", "10.0.0.1");
        }
        assert_eq!(limiter.wait_at(now, "ann", "10.0.0.1"), Some(SIGN_IN_WINDOW));
        assert_eq!(limiter.wait_at(now, "bob", "10.0.0.1"), None);
        assert_eq!(limiter.wait_at(now, "ann", "10.0.0.2"), None);
        assert_eq!(limiter.wait_at(now + SIGN_IN_WINDOW, "ann", "10.0.0.1"), None);
    }

    #[test]
    fn many_names_from_one_address_must_wait_and_memory_is_bounded() {
        let (limiter, now) = (Limiter::default(), super::now());
        for at in 0..SIGN_IN_ADDRESS_FAILURES_MAX {
            limiter.failed_at(now, &format!("name{at}"), "10.0.0.1");
        }
        assert!(limiter.wait_at(now, "fresh", "10.0.0.1").is_some());
        for at in 0..SIGN_IN_ENTRIES_MAX {
            limiter.failed_at(now, "x", &format!("a{at}"));
        }
        let windows = limiter.0.lock();
        assert!(windows.counts.len() <= SIGN_IN_ENTRIES_MAX);
        assert_eq!(windows.counts.len(), windows.order.len());
    }
}
