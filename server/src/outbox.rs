//! One stream connection's state that others touch: its rooms, cursors and what awaits it.
//!
//! No message is ever in it: a slow reader costs a cursor a room. The hub marks rooms, handlers
//! take rooms away, the session's own task does the writing. INVARIANT: a frame is handed to the
//! socket only under this lock and only while its room is subscribed, so that nothing of a room
//! leaves after `take_away` has returned.

use std::collections::{HashMap, VecDeque};

use hansard_engine::types::{PrincipalId, Rev, RoomId, TokenId};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::limits::SUBSCRIPTIONS_MAX;

/// A room of a connection.
#[derive(Debug)]
struct Cursor {
    /// The last rev that was handed over.
    after: Rev,
    /// The room's newest rev when it was subscribed: before it is handed over, none has caught up.
    head: Rev,
    /// Tells one subscription of a room from the next.
    generation: u64,
    /// It stands in the queue of rooms to look at.
    queued: bool,
    /// `caught-up` was sent.
    caught_up: bool,
}

/// What a connection's task does next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Say that a room was taken away.
    Removed(RoomId, &'static str),
    /// Look for changes of a room behind a rev.
    Look { room: RoomId, after: Rev, generation: u64, caught_up: bool },
    /// End the connection.
    Close(&'static str),
}

#[derive(Debug, Default)]
struct State {
    rooms: HashMap<RoomId, Cursor>,
    /// Each room at most once: bounded by the subscriptions.
    queue: VecDeque<RoomId>,
    /// At most one entry a subscription that was there.
    removed: VecDeque<(RoomId, &'static str)>,
    close: Option<&'static str>,
    generations: u64,
}

/// The state of one connection.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// Tells connections apart within this process.
    pub(crate) id: u64,
    /// Whose it is.
    pub(crate) principal: PrincipalId,
    /// The credential it was opened with.
    pub(crate) token: TokenId,
    state: Mutex<State>,
    wake: Notify,
}

impl Outbox {
    /// Without rooms.
    pub(crate) fn new(id: u64, principal: PrincipalId, token: TokenId) -> Self {
        Self { id, principal, token, state: Mutex::default(), wake: Notify::new() }
    }

    /// Takes a room in whose newest rev is `head`, or sets its cursor anew. False if the connection
    /// has too many.
    pub(crate) fn insert(&self, room: RoomId, after: Rev, head: Rev) -> bool {
        let mut state = self.state.lock();
        if !state.rooms.contains_key(&room) && state.rooms.len() >= SUBSCRIPTIONS_MAX {
            return false;
        }
        state.generations += 1;
        let generation = state.generations;
        let queued = state.rooms.get(&room).is_some_and(|cursor| cursor.queued);
        state.rooms.insert(room, Cursor { after, head, generation, queued, caught_up: false });
        true
    }

    /// The rooms.
    pub(crate) fn rooms(&self) -> Vec<RoomId> {
        self.state.lock().rooms.keys().copied().collect()
    }

    /// Puts a room on the queue of those to look at.
    pub(crate) fn mark(&self, room: RoomId) {
        let mut state = self.state.lock();
        let Some(cursor) = state.rooms.get_mut(&room) else { return };
        if cursor.queued {
            return;
        }
        cursor.queued = true;
        state.queue.push_back(room);
        drop(state);
        self.wake.notify_one();
    }

    /// Drops a room that the client asked to drop. True if it was there.
    pub(crate) fn remove(&self, room: RoomId) -> bool {
        self.state.lock().rooms.remove(&room).is_some()
    }

    /// Takes a room away, with a word to the client. Nothing of it is handed over after this.
    pub(crate) fn take_away(&self, room: RoomId, code: &'static str) -> bool {
        let mut state = self.state.lock();
        if state.rooms.remove(&room).is_none() {
            return false;
        }
        state.removed.push_back((room, code));
        drop(state);
        self.wake.notify_one();
        true
    }

    /// Ends the connection. Nothing of any room is handed over after this.
    pub(crate) fn close(&self, code: &'static str) {
        let mut state = self.state.lock();
        state.rooms.clear();
        state.queue.clear();
        state.removed.clear();
        state.close.get_or_insert(code);
        drop(state);
        self.wake.notify_one();
    }

    /// Runs `send` if the room is still the subscription meant and `rev` is news; then it counts as
    /// handed over. `None` if not.
    pub(crate) fn hand_over<T>(
        &self,
        room: RoomId,
        generation: u64,
        rev: Rev,
        send: impl FnOnce() -> T,
    ) -> Option<T> {
        let mut state = self.state.lock();
        let cursor = state.rooms.get_mut(&room).filter(|it| it.generation == generation)?;
        if rev <= cursor.after {
            return None;
        }
        let sent = send();
        cursor.after = rev;
        Some(sent)
    }

    /// True if not all was handed over that was there when the room was subscribed.
    pub(crate) fn is_behind(&self, room: RoomId, generation: u64) -> bool {
        let state = self.state.lock();
        let cursor = state.rooms.get(&room).filter(|it| it.generation == generation);
        cursor.is_some_and(|cursor| cursor.after < cursor.head)
    }

    /// Notes that `caught-up` goes out. False if it did before, if it is too early, or if the room
    /// is gone.
    pub(crate) fn catch_up(&self, room: RoomId, generation: u64) -> bool {
        let mut state = self.state.lock();
        let cursor = state.rooms.get_mut(&room).filter(|it| it.generation == generation);
        cursor
            .filter(|cursor| cursor.after >= cursor.head)
            .is_some_and(|cursor| !std::mem::replace(&mut cursor.caught_up, true))
    }

    /// What to do next; waits until there is something.
    ///
    /// # Cancel safety
    /// Safe: work is taken in the same poll that returns it.
    pub(crate) async fn next(&self) -> Work {
        loop {
            if let Some(work) = self.take() {
                return work;
            }
            self.wake.notified().await;
        }
    }

    fn take(&self) -> Option<Work> {
        let mut state = self.state.lock();
        if let Some(code) = state.close {
            return Some(Work::Close(code));
        }
        if let Some((room, code)) = state.removed.pop_front() {
            return Some(Work::Removed(room, code));
        }
        while let Some(room) = state.queue.pop_front() {
            if let Some(cursor) = state.rooms.get_mut(&room) {
                cursor.queued = false;
                let Cursor { after, generation, caught_up, .. } = *cursor;
                return Some(Work::Look { room, after, generation, caught_up });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: RoomId = RoomId(1 << 50);

    fn outbox() -> Outbox {
        Outbox::new(1, PrincipalId(9), TokenId(8))
    }

    fn generation(outbox: &Outbox) -> u64 {
        outbox.mark(ROOM);
        match outbox.take() {
            Some(Work::Look { generation, .. }) => generation,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_room_is_queued_once_however_often_it_is_marked() {
        let outbox = outbox();
        outbox.mark(ROOM);
        assert_eq!(outbox.take(), None);
        assert!(outbox.insert(ROOM, Rev(3), Rev(3)));
        for _ in 0..1000 {
            outbox.mark(ROOM);
        }
        assert_eq!(outbox.state.lock().queue.len(), 1);
        assert!(matches!(outbox.take(), Some(Work::Look { after: Rev(3), .. })));
        assert_eq!(outbox.take(), None);
        outbox.mark(ROOM);
        assert!(matches!(outbox.take(), Some(Work::Look { .. })));
    }

    #[test]
    fn nothing_is_handed_over_twice_or_after_the_room_was_taken_away() {
        let outbox = outbox();
        outbox.insert(ROOM, Rev(3), Rev(3));
        let generation = generation(&outbox);
        assert_eq!(outbox.hand_over(ROOM, generation, Rev(3), || ()), None);
        assert_eq!(outbox.hand_over(ROOM, generation, Rev(4), || ()), Some(()));
        assert_eq!(outbox.hand_over(ROOM, generation, Rev(4), || ()), None);
        assert!(outbox.take_away(ROOM, "no-rights"));
        assert_eq!(outbox.hand_over(ROOM, generation, Rev(5), || ()), None);
        assert_eq!(outbox.take(), Some(Work::Removed(ROOM, "no-rights")));
        outbox.insert(ROOM, Rev(3), Rev(3));
        assert_eq!(outbox.hand_over(ROOM, generation, Rev(5), || ()), None);
    }

    #[test]
    fn nobody_has_caught_up_before_all_was_handed_over_that_was_there() {
        let outbox = outbox();
        outbox.insert(ROOM, Rev(3), Rev(6));
        let generation = generation(&outbox);
        // What stood ready ended here, though 6 had been answered.
        outbox.hand_over(ROOM, generation, Rev(5), || ());
        assert!(outbox.is_behind(ROOM, generation));
        assert!(!outbox.catch_up(ROOM, generation));
        outbox.hand_over(ROOM, generation, Rev(7), || ());
        assert!(!outbox.is_behind(ROOM, generation));
        assert!(outbox.catch_up(ROOM, generation));
        assert!(!outbox.catch_up(ROOM, generation), "it is said once");
        assert!(!outbox.is_behind(ROOM, generation + 1), "of another subscription");
    }

    #[test]
    fn a_closed_connection_has_nothing_left_to_do() {
        let outbox = outbox();
        outbox.insert(ROOM, Rev(0), Rev(0));
        let generation = generation(&outbox);
        outbox.mark(ROOM);
        outbox.close("signed-out");
        outbox.close("stopping");
        assert_eq!(outbox.take(), Some(Work::Close("signed-out")));
        assert_eq!(outbox.hand_over(ROOM, generation, Rev(1), || ()), None);
    }

    #[test]
    fn subscriptions_are_bounded() {
        let outbox = outbox();
        for at in 0..SUBSCRIPTIONS_MAX {
            assert!(outbox.insert(RoomId((1 << 50) + at as u64), Rev(0), Rev(0)));
        }
        assert!(!outbox.insert(RoomId(1 << 51), Rev(0), Rev(0)));
        assert!(outbox.insert(ROOM, Rev(7), Rev(7)));
    }
}
