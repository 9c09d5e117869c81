//! What writers side by side could have at best: a log that does nothing but share its syncs.
//!
//! Each writer leaves as many bytes as a message has in the engine's frames and waits; whoever
//! finds nobody writing writes what all have left, padded to sectors, over the bare loop's file,
//! syncs, and wakes the others. Nothing is encoded, looked up, ordered or indexed: what is left is
//! the threads' own cost. (Group commit with a leader, as in D. DeWitt et al., "Implementation
//! Techniques for Main Memory Database Systems", 1984, and LevelDB's writers' queue.)

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::limits::Bare;
use super::turns::Lap;
use super::writers::side_by_side;
use crate::tournament::Outcome;

/// Its name in tables.
pub const SHARED: &str = "bare writers";

#[derive(Debug, Default)]
struct State {
    /// Messages that were left so far.
    left: u64,
    /// Messages that are durable.
    durable: u64,
    writing: bool,
    failed: bool,
}

/// A log of many writers.
pub struct Shared<'a> {
    bare: Mutex<&'a mut Bare>,
    state: Mutex<State>,
    changed: Condvar,
    /// Bytes of a message.
    each: f64,
}

impl<'a> Shared<'a> {
    /// Over the bare loop's file, with so many bytes a message.
    pub fn new(bare: &'a mut Bare, each: f64) -> Self {
        Self { bare: Mutex::new(bare), state: Mutex::default(), changed: Condvar::new(), each }
    }

    /// Leaves a message and waits until it is durable.
    fn commit(&self) -> Outcome<()> {
        let mut state = self.state.lock();
        state.left += 1;
        let own = state.left;
        while state.durable < own && !state.failed {
            if state.writing {
                self.changed.wait(&mut state);
                continue;
            }
            state.writing = true;
            let (from, upto) = (state.durable, state.left);
            drop(state);
            let done = self.write(upto - from);
            state = self.state.lock();
            (state.writing, state.durable) = (false, upto);
            state.failed |= done.is_err();
            self.changed.notify_all();
            done?;
        }
        if state.failed { Err("the shared log failed".into()) } else { Ok(()) }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "positive and far below 2^53"
    )]
    fn write(&self, messages: u64) -> Outcome<()> {
        let mut bare = self.bare.lock();
        bare.set_bytes((self.each * messages as f64) as usize);
        bare.write()
    }

    /// So many messages by so many writers; each acknowledgement is noted.
    ///
    /// # Errors
    /// If a write fails.
    pub fn lap(&self, messages: u64, writers: u64) -> Outcome<Lap> {
        let share = messages.div_ceil(writers);
        let write = || -> Outcome<Vec<Duration>> {
            let mut each = Vec::new();
            for _ in 0..share {
                let begun = Instant::now();
                self.commit()?;
                each.push(begun.elapsed());
            }
            Ok(each)
        };
        let (took, each) = side_by_side((0..writers).map(|_| write).collect(), || Ok(()))?;
        Ok(Lap { took, count: share * writers, each })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_writer_is_answered_and_the_messages_share_their_syncs() {
        let dir = tempfile::tempdir().unwrap();
        let mut bare = Bare::new(dir.path()).unwrap();
        let shared = Shared::new(&mut bare, 150.0);
        let lap = shared.lap(1_000, 16).unwrap();
        assert_eq!((lap.count, lap.each.len()), (1_008, 1_008));
        let state = shared.state.lock();
        assert_eq!((state.left, state.durable, state.writing), (1_008, 1_008, false));
    }
}
