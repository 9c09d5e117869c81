//! Locks, atomics and threads: the real ones, or those of a scheduler that tries orders of steps.
//!
//! With the feature `shuttle` every lock, wait, atomic and thread of the commit path goes through
//! the crate shuttle, which runs a test under many schedules, and the same seed gives the same one.
//! It is not for servers. The shapes are parking_lot's in both cases.

#[cfg(not(feature = "shuttle"))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
#[cfg(not(feature = "shuttle"))]
pub(crate) use std::{sync::atomic, thread};

#[cfg(feature = "shuttle")]
pub(crate) use scheduled::{Condvar, Mutex, MutexGuard, RwLock};
#[cfg(feature = "shuttle")]
pub(crate) use shuttle::{sync::atomic, thread};

/// Lets whoever waits for this core have it, if this thread has worked for 0.3 ms since it last
/// did: to be called between pieces of work that nobody waits for. A thread that computes keeps
/// its core for a slice of the scheduler's, some milliseconds, and those who acknowledge wait
/// behind it. Not more often, for who computes as well gets a whole slice each time.
#[cfg(not(feature = "shuttle"))]
pub(crate) fn give_way() {
    use std::cell::Cell;
    use std::time::Duration;

    use crate::stats::Stopwatch;

    const AFTER: Duration = Duration::from_micros(300);
    thread_local! {
        static SINCE: Cell<Option<Stopwatch>> = const { Cell::new(None) };
    }
    let since = SINCE.get();
    if since.is_some_and(|since| since.elapsed() >= AFTER) {
        thread::yield_now();
        SINCE.set(Some(Stopwatch::start()));
    } else if since.is_none() {
        SINCE.set(Some(Stopwatch::start()));
    }
}

/// Under a scheduler that tries orders of steps this is none.
#[cfg(feature = "shuttle")]
pub(crate) const fn give_way() {}

#[cfg(feature = "shuttle")]
mod scheduled {
    use std::ops::{Deref, DerefMut};
    use std::time::Duration;

    use shuttle::sync;
    // Its locks return std's error.
    use std::sync::PoisonError;

    /// A lock under the scheduler. A panic ends the test, so poison is not passed on.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(sync::Mutex<T>);

    #[derive(Debug)]
    pub(crate) struct MutexGuard<'a, T>(Option<sync::MutexGuard<'a, T>>, &'a Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard(Some(self.inner()), self)
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            match self.0.try_lock() {
                Ok(inner) => Some(MutexGuard(Some(inner), self)),
                Err(std::sync::TryLockError::Poisoned(inner)) => {
                    Some(MutexGuard(Some(inner.into_inner()), self))
                }
                Err(std::sync::TryLockError::WouldBlock) => None,
            }
        }

        fn inner(&self) -> sync::MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    impl<T> MutexGuard<'_, T> {
        /// Unlocks; who gets the lock next is the scheduler's choice here.
        pub(crate) fn unlock_fair(guard: Self) {
            drop(guard);
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.0.as_ref().expect("taken only while waiting")
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().expect("taken only while waiting")
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct RwLock<T>(sync::RwLock<T>);

    impl<T> RwLock<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(sync::RwLock::new(value))
        }

        pub(crate) fn read(&self) -> sync::RwLockReadGuard<'_, T> {
            self.0.read().unwrap_or_else(PoisonError::into_inner)
        }

        pub(crate) fn write(&self) -> sync::RwLockWriteGuard<'_, T> {
            self.0.write().unwrap_or_else(PoisonError::into_inner)
        }
    }

    /// A condition under the scheduler. A wait with a limit ends by it as soon as anybody else has
    /// had a turn: time does not pass here, and what waits for it must not wait for ever.
    #[derive(Debug, Default)]
    pub(crate) struct Condvar(sync::Condvar);

    impl Condvar {
        pub(crate) const fn new() -> Self {
            Self(sync::Condvar::new())
        }

        pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            if let Some(inner) = guard.0.take() {
                let woken = self.0.wait(inner).unwrap_or_else(PoisonError::into_inner);
                guard.0 = Some(woken);
            }
        }

        pub(crate) fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, most: Duration) -> Timeout {
            let _ = most;
            drop(guard.0.take());
            shuttle::thread::yield_now();
            guard.0 = Some(guard.1.inner());
            Timeout(true)
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }

    /// Whether a wait ended by its limit.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Timeout(bool);

    impl Timeout {
        pub(crate) const fn timed_out(self) -> bool {
            self.0
        }
    }
}
