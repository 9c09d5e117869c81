//! A queue between two stages, bounded by weight.
//!
//! The giver waits while the lane is full, the taker while it is empty. A taker that is not yet
//! ready says from how much on it is to be woken, for a thread that wakes to find nothing to do
//! costs more than what it was woken for. INVARIANT: an item heavier than the bound passes alone;
//! nothing is dropped, also after `close`.

use std::collections::VecDeque;
use std::time::Duration;

use crate::sync::{Condvar, Mutex};

#[derive(Debug)]
struct State<T> {
    items: VecDeque<(T, usize)>,
    weight: usize,
    closed: bool,
    /// What the taker took is not done with yet.
    in_hand: bool,
    /// A taker that waits without limit is to look up.
    poked: bool,
    wake: Wake,
}

/// Pauses in which nothing came before a taker that comes later goes to sleep.
const EMPTY_PAUSES: usize = 8;

/// From how much on a giver wakes the taker.
#[derive(Clone, Copy, Debug)]
struct Wake {
    items: usize,
    weight: usize,
}

impl Wake {
    /// By the first item.
    const FIRST: Self = Self { items: 1, weight: usize::MAX };
}

impl<T> State<T> {
    fn push(&mut self, item: T, weight: usize) -> bool {
        self.items.push_back((item, weight));
        self.weight += weight;
        self.items.len() >= self.wake.items || self.weight >= self.wake.weight
    }
}

/// A bounded queue.
#[derive(Debug)]
pub(crate) struct Lane<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    max: usize,
}

/// What a taker found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken<T> {
    /// Items, oldest first.
    Items(Vec<T>),
    /// Nothing came in time.
    Nothing,
    /// Nothing will ever come.
    Closed,
}

impl<T> Lane<T> {
    /// A lane that holds up to `max`.
    pub(crate) fn new(max: usize) -> Self {
        let state = State {
            items: VecDeque::new(),
            weight: 0,
            closed: false,
            in_hand: false,
            poked: false,
            wake: Wake::FIRST,
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), max }
    }

    /// Puts an item in, waiting for room; gives it back if the lane is closed.
    pub(crate) fn give(&self, item: T, weight: usize) -> Result<(), T> {
        let mut state = self.state.lock();
        while !state.closed && !state.items.is_empty() && state.weight + weight > self.max {
            self.changed.wait(&mut state);
        }
        if state.closed {
            return Err(item);
        }
        let wake = state.push(item, weight);
        drop(state);
        if wake {
            self.changed.notify_all();
        }
        Ok(())
    }

    /// Puts an item in if there is room; gives it back otherwise.
    pub(crate) fn try_give(&self, item: T, weight: usize) -> Result<(), T> {
        let mut state = self.state.lock();
        let full = !state.items.is_empty() && state.weight + weight > self.max;
        if state.closed || full {
            return Err(item);
        }
        let wake = state.push(item, weight);
        drop(state);
        if wake {
            self.changed.notify_all();
        }
        Ok(())
    }

    /// As [`Self::try_give`] of each, and the taker is woken once. Those that do not fit come back.
    pub(crate) fn try_give_all(&self, items: Vec<T>, weigh: impl Fn(&T) -> usize) -> Vec<T> {
        let (mut refused, mut wake) = (Vec::new(), false);
        let mut state = self.state.lock();
        for item in items {
            let weight = weigh(&item);
            let full = !state.items.is_empty() && state.weight + weight > self.max;
            if state.closed || full {
                refused.push(item);
            } else {
                wake |= state.push(item, weight);
            }
        }
        drop(state);
        if wake {
            self.changed.notify_all();
        }
        refused
    }

    /// Takes items up to `weight` (at least one), waiting for the first one up to `wait`.
    pub(crate) fn take(&self, weight: usize, wait: Option<Duration>) -> Taken<T> {
        self.take_when(weight, wait, usize::MAX, || true)
    }

    /// As [`Self::take`], but from when the first item came waits for `pause` in all, for more of
    /// them; not if `enough` weight is inside or a giver hurries.
    pub(crate) fn take_later(&self, weight: usize, pause: Duration, enough: usize) -> Taken<T> {
        let mut state = self.state.lock();
        let mut empty = 0;
        while !(state.closed || state.poked || state.weight >= enough) {
            // A taker that is asleep is woken by the first item; one that looks up by itself soon
            // is not.
            let asleep = state.items.is_empty() && empty >= EMPTY_PAUSES;
            state.wake =
                if asleep { Wake::FIRST } else { Wake { items: usize::MAX, weight: enough } };
            if asleep {
                self.changed.wait(&mut state);
                empty = 0;
            } else if self.changed.wait_for(&mut state, pause).timed_out() {
                if !state.items.is_empty() {
                    break;
                }
                empty += 1;
            }
        }
        state.poked = false;
        drop(state);
        self.take(weight, None)
    }

    /// As [`Self::give`]; somebody waits for what becomes of it.
    pub(crate) fn give_now(&self, item: T, weight: usize) -> Result<(), T> {
        self.give(item, weight)?;
        self.poke();
        Ok(())
    }

    /// Waits until `items` or `weight` are inside, as long as more come within each `pause` and at
    /// most for so many pauses. Returns how many came, and how many are inside.
    pub(crate) fn gather(
        &self,
        (items, weight): (usize, usize),
        pause: Duration,
        pauses: usize,
    ) -> (usize, usize) {
        let mut state = self.state.lock();
        let first = state.items.len();
        for _ in 0..pauses {
            let before = state.items.len();
            if before >= items || state.weight >= weight || state.closed {
                break;
            }
            state.wake = Wake { items, weight };
            // A nudge is nobody coming, and no reason to give up either.
            let over = self.changed.wait_for(&mut state, pause).timed_out();
            if over && state.items.len() == before {
                break;
            }
        }
        state.wake = Wake::FIRST;
        (state.items.len().saturating_sub(first), state.items.len())
    }

    /// Lets a taker that was not ready look at its condition again, if there is something to take.
    pub(crate) fn nudge(&self) {
        // The lock makes sure that no taker is between looking and waiting.
        let mut state = self.state.lock();
        state.wake = Wake::FIRST;
        let some = !state.items.is_empty();
        drop(state);
        if some {
            self.changed.notify_all();
        }
    }

    /// Lets a taker for whom there is nothing look up: it takes `Nothing`.
    pub(crate) fn poke(&self) {
        self.state.lock().poked = true;
        self.changed.notify_all();
    }

    /// As [`Self::take`], but takes nothing before `ready` says so or `eager` weight is inside.
    /// Whoever makes it ready nudges.
    pub(crate) fn take_when(
        &self,
        weight: usize,
        wait: Option<Duration>,
        eager: usize,
        ready: impl Fn() -> bool,
    ) -> Taken<T> {
        let mut state = self.state.lock();
        loop {
            let is_ready = ready();
            let enough = is_ready || state.closed || state.weight >= eager;
            if !state.items.is_empty() && enough {
                break;
            }
            if state.closed {
                return Taken::Closed;
            }
            if state.items.is_empty() && std::mem::take(&mut state.poked) {
                return Taken::Nothing;
            }
            state.wake =
                if is_ready { Wake::FIRST } else { Wake { items: usize::MAX, weight: eager } };
            match wait.filter(|_| state.items.is_empty()) {
                None => self.changed.wait(&mut state),
                Some(wait) => {
                    if self.changed.wait_for(&mut state, wait).timed_out() && state.items.is_empty()
                    {
                        state.wake = Wake::FIRST;
                        return if state.closed { Taken::Closed } else { Taken::Nothing };
                    }
                }
            }
        }
        state.wake = Wake::FIRST;
        let mut items = Vec::new();
        let mut taken = 0;
        while let Some((_, next)) = state.items.front() {
            if !items.is_empty() && taken + next > weight {
                break;
            }
            if let Some((item, own)) = state.items.pop_front() {
                taken += own;
                state.weight -= own;
                items.push(item);
            }
        }
        state.in_hand = true;
        drop(state);
        self.changed.notify_all();
        Taken::Items(items)
    }

    /// Nothing more comes in; what is in can still be taken.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }

    /// What was taken has its place: whoever comes now comes behind it.
    pub(crate) fn done(&self) {
        self.state.lock().in_hand = false;
    }

    /// True if nothing is inside or in the taker's hands, and something may still come.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.items.is_empty() && !state.in_hand && !state.closed
    }

    /// Items inside.
    pub(crate) fn len(&self) -> usize {
        self.state.lock().items.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gathering_ends_when_nothing_more_comes_and_when_there_is_enough() {
        let lane = Lane::new(100);
        assert_eq!(lane.gather((3, usize::MAX), Duration::from_millis(1), 5), (0, 0));
        assert_eq!(lane.try_give(1, 1), Ok(()));
        assert_eq!(
            lane.gather((1, usize::MAX), Duration::from_secs(60), 5),
            (0, 1),
            "enough is inside"
        );
        assert_eq!(lane.gather((9, 1), Duration::from_secs(60), 5), (0, 1), "or it is heavy");
        assert_eq!(lane.take(9, None), Taken::Items(vec![1]));
        std::thread::scope(|scope| {
            let gather = |enough| lane.gather(enough, Duration::from_secs(60), 1);
            let gatherer = scope.spawn(move || gather((2, usize::MAX)));
            assert!(lane.try_give(2, 1).is_ok() && lane.try_give(3, 1).is_ok());
            assert_eq!(gatherer.join().unwrap().1, 2, "woken by the number");
            let gatherer = scope.spawn(move || gather((9, 5)));
            assert_eq!(lane.try_give(4, 3), Ok(()));
            assert_eq!(gatherer.join().unwrap().1, 3, "woken by the weight");
        });
    }

    #[test]
    fn a_lane_is_idle_again_when_what_was_taken_is_done_with() {
        let lane = Lane::new(10);
        assert!(lane.is_idle());
        let weigh = |item: &usize| 10 - item;
        assert_eq!(lane.try_give_all(vec![2, 3, 8], weigh), [3], "no room for it");
        assert!(!lane.is_idle());
        assert_eq!(lane.take(100, None), Taken::Items(vec![2, 8]));
        assert!(!lane.is_idle(), "they are in the taker's hands");
        lane.done();
        assert!(lane.is_idle());
        lane.close();
        assert!(!lane.is_idle(), "nothing comes any more");
    }

    #[test]
    fn a_taker_that_is_not_ready_is_woken_by_a_nudge_or_by_enough() {
        let (lane, busy) = (Lane::new(100), std::sync::atomic::AtomicBool::new(true));
        let order = std::sync::atomic::Ordering::SeqCst;
        std::thread::scope(|scope| {
            let take = || lane.take_when(100, None, 10, || !busy.load(order));
            let taker = scope.spawn(take);
            assert_eq!(lane.try_give(1, 9), Ok(()));
            assert_eq!(lane.try_give(2, 1), Ok(()));
            assert_eq!(taker.join().unwrap(), Taken::Items(vec![1, 2]), "woken by the weight");
            let taker = scope.spawn(take);
            assert_eq!(lane.try_give(3, 1), Ok(()));
            std::thread::sleep(Duration::from_millis(2));
            assert!(!taker.is_finished(), "taken while not ready");
            busy.store(false, order);
            lane.nudge();
            assert_eq!(taker.join().unwrap(), Taken::Items(vec![3]));
            let taker = scope.spawn(take);
            lane.poke();
            assert_eq!(taker.join().unwrap(), Taken::Nothing);
            let taker = scope.spawn(take);
            lane.nudge();
            assert_eq!(lane.try_give(4, 1), Ok(()));
            assert_eq!(taker.join().unwrap(), Taken::Items(vec![4]));
        });
    }

    #[test]
    fn a_lane_is_bounded_and_gives_everything_back_after_close() {
        let lane = Lane::new(10);
        assert_eq!(lane.try_give(1, 8), Ok(()));
        assert_eq!(lane.try_give(2, 8), Err(2));
        assert_eq!(lane.take(100, None), Taken::Items(vec![1]));
        assert_eq!(lane.try_give(3, 80), Ok(()), "a heavy item passes alone");
        lane.close();
        assert_eq!(lane.give(4, 1), Err(4));
        assert_eq!(lane.take(1, None), Taken::Items(vec![3]));
        assert_eq!(lane.take(1, None), Taken::Closed);
    }
}
