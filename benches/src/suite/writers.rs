//! Writers side by side: each stores one message at a time and waits until it is durable.
//!
//! They begin together, and a lap ends with the last answer of all of them.

use std::time::{Duration, Instant};

use hansard_peers::{Durability, Message, Quiet, Store};

use super::turns::Lap;
use crate::tournament::Outcome;

/// What one writer does: its messages one by one.
fn write(store: &dyn Store, messages: &[&Message<'_>]) -> Outcome<Vec<Duration>> {
    let mut each = Vec::with_capacity(messages.len());
    for message in messages {
        let begun = Instant::now();
        let tally = store.commit(&[**message], Durability::Group)?;
        each.push(begun.elapsed());
        if tally.stored != 1 {
            return Err("a message was not stored".into());
        }
    }
    Ok(each)
}

/// Lets so many writers store the messages, one each in turn.
///
/// # Errors
/// What the store fails with.
pub fn singles(store: &dyn Store, messages: &[Message<'_>], writers: usize) -> Outcome<Lap> {
    let shares: Vec<Vec<&Message<'_>>> =
        (0..writers).map(|first| messages.iter().skip(first).step_by(writers).collect()).collect();
    if let [only] = shares.as_slice() {
        let begun = Instant::now();
        let each = write(store, only)?;
        store.rest(Quiet::Applied)?;
        return Ok(Lap { took: begun.elapsed(), count: messages.len() as u64, each });
    }
    let work = shares.iter().map(|share| || write(store, share)).collect();
    let (took, each) = side_by_side(work, || store.rest(Quiet::Applied))?;
    Ok(Lap { took, count: messages.len() as u64, each })
}

/// Lets threads work that begin together; how long it took until all of them and then `rest` were
/// done, and what they noted.
///
/// # Errors
/// What one of them fails with.
pub fn side_by_side<W: FnOnce() -> Outcome<Vec<Duration>> + Send>(
    work: Vec<W>,
    rest: impl FnOnce() -> Outcome<()>,
) -> Outcome<(Duration, Vec<Duration>)> {
    let barrier = &std::sync::Barrier::new(work.len() + 1);
    std::thread::scope(|scope| {
        let begin = |work: W| {
            scope.spawn(move || {
                barrier.wait();
                work()
            })
        };
        let threads: Vec<_> = work.into_iter().map(begin).collect();
        barrier.wait();
        let begun = Instant::now();
        let mut each = Vec::new();
        for thread in threads {
            each.extend(thread.join().map_err(|_| "a writer panicked")??);
        }
        rest()?;
        Ok((begun.elapsed(), each))
    })
}

/// Stores the messages in groups, one caller.
///
/// # Errors
/// What the store fails with.
pub fn groups(store: &dyn Store, messages: &[Message<'_>], size: usize) -> Outcome<Lap> {
    let begun = Instant::now();
    for group in messages.chunks(size) {
        let tally = store.commit(group, Durability::Group)?;
        if tally.stored != group.len() as u64 {
            return Err("a message was not stored".into());
        }
    }
    store.rest(Quiet::Applied)?;
    Ok(Lap { took: begun.elapsed(), count: messages.len() as u64, each: Vec::new() })
}
