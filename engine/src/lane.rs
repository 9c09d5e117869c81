//! A queue between two stages, bounded by weight.
//!
//! The giver waits while the lane is full, the taker while it is empty. INVARIANT: an item heavier
//! than the bound passes alone; nothing is dropped, also after `close`.

use std::collections::VecDeque;
use std::time::Duration;

use crate::sync::{Condvar, Mutex};

#[derive(Debug)]
struct State<T> {
    items: VecDeque<(T, usize)>,
    weight: usize,
    closed: bool,
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
        let state = State { items: VecDeque::new(), weight: 0, closed: false };
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
        state.items.push_back((item, weight));
        state.weight += weight;
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// Puts an item in if there is room; gives it back otherwise.
    pub(crate) fn try_give(&self, item: T, weight: usize) -> Result<(), T> {
        let mut state = self.state.lock();
        let full = !state.items.is_empty() && state.weight + weight > self.max;
        if state.closed || full {
            return Err(item);
        }
        state.items.push_back((item, weight));
        state.weight += weight;
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// Takes items up to `weight` (at least one), waiting for the first one up to `wait`.
    pub(crate) fn take(&self, weight: usize, wait: Option<Duration>) -> Taken<T> {
        self.take_when(weight, wait, |_| true)
    }

    /// Waits until `items` are inside, as long as another one comes within each `pause` and at most
    /// for so many pauses. Returns how many came.
    pub(crate) fn gather(&self, items: usize, pause: Duration, pauses: usize) -> usize {
        let mut state = self.state.lock();
        let first = state.items.len();
        for _ in 0..pauses {
            let before = state.items.len();
            if before >= items || state.closed {
                break;
            }
            // A nudge is nobody coming, and no reason to give up either.
            let over = self.changed.wait_for(&mut state, pause).timed_out();
            if over && state.items.len() == before {
                break;
            }
        }
        state.items.len().saturating_sub(first)
    }

    /// Lets takers look at their condition again.
    pub(crate) fn nudge(&self) {
        // The lock makes sure that no taker is between looking and waiting.
        drop(self.state.lock());
        self.changed.notify_all();
    }

    /// As [`Self::take`], but takes nothing before `ready`, given the weight inside, says so.
    pub(crate) fn take_when(
        &self,
        weight: usize,
        wait: Option<Duration>,
        ready: impl Fn(usize) -> bool,
    ) -> Taken<T> {
        let mut state = self.state.lock();
        while state.items.is_empty() || !(state.closed || ready(state.weight)) {
            if state.closed {
                return Taken::Closed;
            }
            match wait.filter(|_| state.items.is_empty()) {
                None => self.changed.wait(&mut state),
                Some(wait) => {
                    if self.changed.wait_for(&mut state, wait).timed_out() && state.items.is_empty()
                    {
                        return if state.closed { Taken::Closed } else { Taken::Nothing };
                    }
                }
            }
        }
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
        drop(state);
        self.changed.notify_all();
        Taken::Items(items)
    }

    /// Nothing more comes in; what is in can still be taken.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
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
        assert_eq!(lane.gather(3, Duration::from_millis(1), 5), 0);
        assert_eq!(lane.try_give(1, 1), Ok(()));
        assert_eq!(lane.gather(1, Duration::from_secs(60), 5), 0, "enough is inside");
        assert_eq!(lane.take(9, None), Taken::Items(vec![1]));
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
