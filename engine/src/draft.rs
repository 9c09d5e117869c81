//! What a door hands in and what it gets back.
//!
//! A draft carries everything that is not a function of the log. It names no position: only
//! `sequence` gives those. INVARIANT: a ticket resolves exactly once, also when the engine fails.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::sync::{Condvar, Mutex};

use crate::error::{Error, Result};
use crate::format::payload::Payload;
use crate::format::record::{Actor, Idempotency};
use crate::types::{
    CategoryId, Epoch, Lsn, MessageId, PrincipalId, Rev, RoomId, Seq, TimeUs, TokenId,
};

/// When a draft was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Now; a clock that stepped back is clamped to the room's newest time.
    Now,
    /// At this time, by an import; earlier than the room's newest time is a `Conflict`.
    At(TimeUs),
}

/// What a door asks for.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Who asks.
    pub actor: Actor,
    /// The catalog position (`Directory::applied`) that the access check saw.
    pub checked_at: Lsn,
    /// The room; `NONE` for what creates a room or belongs to a system room.
    pub room: RoomId,
    /// When it was said.
    pub said: Said,
    /// The client's key.
    pub idempotency: Option<Idempotency>,
    /// `If-Match`: the object's `changed` position that the caller saw.
    pub expect: Option<Lsn>,
    /// What it says.
    pub payload: Payload,
}

/// Where a draft stands in the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The epoch.
    pub epoch: Epoch,
    /// Its place in the log.
    pub lsn: Lsn,
    /// Its room, also for a room just made.
    pub room: RoomId,
    /// Its place in the timeline, or zero.
    pub seq: Seq,
    /// Its place among the room's changes.
    pub rev: Rev,
    /// When it was said.
    pub time: TimeUs,
    /// When the log took it.
    pub recorded: TimeUs,
    /// The key was seen before: this is the first result, and nothing new was recorded.
    pub replayed: bool,
}

impl Appended {
    /// The identifier of the category this record created.
    #[must_use]
    pub const fn category_id(&self) -> CategoryId {
        CategoryId::new(self.epoch, self.lsn)
    }

    /// The identifier of the principal this record created.
    #[must_use]
    pub const fn principal_id(&self) -> PrincipalId {
        PrincipalId::new(self.epoch, self.lsn)
    }

    /// The identifier of the token this record created.
    #[must_use]
    pub const fn token_id(&self) -> TokenId {
        TokenId::new(self.epoch, self.lsn)
    }

    /// The identifier of the message, if this is one.
    #[must_use]
    pub const fn message_id(&self) -> MessageId {
        MessageId { room: self.room, epoch: self.epoch, seq: self.seq }
    }
}

#[derive(Debug, Default)]
struct Slot {
    filled: bool,
    /// Until it is taken.
    result: Option<Result<Vec<Appended>>>,
    waker: Option<Waker>,
}

impl Slot {
    /// The outcome, once it is there: it is given once.
    fn take(&mut self) -> Result<Vec<Appended>> {
        self.result.take().unwrap_or_else(|| Err(Error::invalid("the outcome was taken before")))
    }
}

#[derive(Debug, Default)]
struct Shared {
    slot: Mutex<Slot>,
    filled: Condvar,
}

/// The outcome of an append, to come. A plain future: await it, or block with [`Ticket::wait`].
///
/// # Cancel safety
/// Dropping it does not withdraw the append.
#[derive(Debug)]
pub struct Ticket(Arc<Shared>);

/// The other end of a ticket. Dropped without a result it says `Poisoned`.
#[derive(Debug)]
pub(crate) struct Promise(Arc<Shared>);

/// A ticket and its other end.
pub(crate) fn ticket() -> (Promise, Ticket) {
    let shared = Arc::new(Shared::default());
    (Promise(Arc::clone(&shared)), Ticket(shared))
}

impl Promise {
    /// Gives the outcome; the first one counts.
    pub(crate) fn fill(&self, result: Result<Vec<Appended>>) {
        let mut slot = self.0.slot.lock();
        if slot.filled {
            return;
        }
        (slot.filled, slot.result) = (true, Some(result));
        let waker = slot.waker.take();
        drop(slot);
        self.0.filled.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if self.0.slot.lock().filled {
            return;
        }
        self.fill(Err(Error::Poisoned { first: "the commit ended before an answer".into() }));
    }
}

impl Ticket {
    /// Blocks until the outcome is known, and leaves it there.
    pub(crate) fn settled(&self) {
        let mut slot = self.0.slot.lock();
        while !slot.filled {
            self.0.filled.wait(&mut slot);
        }
    }

    /// Blocks until the outcome is known.
    ///
    /// # Errors
    /// What the append failed with; `Poisoned` means the outcome is unknown.
    pub fn wait(self) -> Result<Vec<Appended>> {
        self.settled();
        self.0.slot.lock().take()
    }
}

impl Future for Ticket {
    type Output = Result<Vec<Appended>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = self.0.slot.lock();
        if slot.filled {
            return Poll::Ready(slot.take());
        }
        slot.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
