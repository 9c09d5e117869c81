//! A few threads over a list of jobs, where a job may make more jobs.
//!
//! Jobs that were made are taken before the list goes on, so that no more of the list is open than
//! there are threads, and nobody idles while a job is left.
//!
//! INVARIANT: the threads end when nothing is left to do, also when a job panics.

use std::sync::PoisonError;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread;

/// Threads at most, whatever the machine has.
const THREADS_MAX: usize = 16;

/// Threads that do the work: as many as the machine runs at once.
pub(crate) fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX)
}

struct Jobs<L, J> {
    list: L,
    made: Vec<J>,
    /// Threads in a job, which may make more.
    busy: usize,
}

/// What the threads share.
struct Shared<L, J> {
    jobs: Mutex<Jobs<L, J>>,
    changed: Condvar,
}

impl<J, L: Iterator<Item = J>> Shared<L, J> {
    fn lock(&self) -> MutexGuard<'_, Jobs<L, J>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job; none at the end of all.
    fn next(&self) -> Option<J> {
        let mut jobs = self.lock();
        loop {
            if let Some(job) = jobs.made.pop().or_else(|| jobs.list.next()) {
                jobs.busy += 1;
                return Some(job);
            }
            if jobs.busy == 0 {
                return None;
            }
            jobs = self.changed.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Says that a thread is in a job no longer, however it came out.
struct Busy<'a, J, L: Iterator<Item = J>>(&'a Shared<L, J>);

impl<J, L: Iterator<Item = J>> Drop for Busy<'_, J, L> {
    fn drop(&mut self) {
        self.0.lock().busy -= 1;
        self.0.changed.notify_all();
    }
}

/// Does the jobs of a list and those that they make, on `threads` threads. Jobs that one job makes
/// are begun in the order in which it gives them.
pub(crate) fn run<J: Send>(
    threads: usize,
    list: impl Iterator<Item = J> + Send,
    work: impl Fn(J) -> Vec<J> + Sync,
) {
    let jobs = Jobs { list, made: Vec::new(), busy: 0 };
    let shared = Shared { jobs: Mutex::new(jobs), changed: Condvar::new() };
    let thread = || {
        while let Some(job) = shared.next() {
            let busy = Busy(&shared);
            let mut made = work(job);
            made.reverse();
            shared.lock().made.append(&mut made);
            drop(busy);
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(thread);
        }
        thread();
    });
}

/// What `work` makes of each item, in the order of the items.
pub(crate) fn each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let done: Mutex<Vec<(usize, R)>> = Mutex::new(Vec::with_capacity(items.len()));
    run(threads(), items.iter().enumerate(), |(at, item)| {
        let made = work(item);
        done.lock().unwrap_or_else(PoisonError::into_inner).push((at, made));
        Vec::new()
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, made)| made).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn every_job_is_done_once_and_the_threads_end() {
        for threads in [1, 2, 7] {
            let done = AtomicUsize::new(0);
            // Each of 100 jobs makes two, and each of those one.
            run(threads, (0..100).map(|_| 2), |depth| {
                done.fetch_add(1, Ordering::Relaxed);
                (0..depth).map(|_| depth - 1).collect()
            });
            assert_eq!(done.into_inner(), 100 * (1 + 2 + 2));
        }
        run(3, std::iter::empty::<u8>(), |_| unreachable!());
    }

    #[test]
    fn results_stand_in_the_order_of_their_items() {
        let items: Vec<usize> = (0..1000).collect();
        assert_eq!(each(&items, |n| n * 2), (0..1000).map(|n| n * 2).collect::<Vec<_>>());
    }

    #[test]
    fn a_panic_ends_the_run_instead_of_leaving_it_waiting() {
        let ran = std::panic::catch_unwind(|| {
            run(3, 0..50, |n| {
                assert!(n != 20, "as meant");
                Vec::new()
            });
        });
        assert!(ran.is_err());
    }
}
