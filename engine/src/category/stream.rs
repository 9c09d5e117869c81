//! Entries of one room in a category's merge: those of a block or of a tail that are still to be
//! given out, one after the other, in the order asked for.
//!
//! Nothing of an entry is decoded but where it stands, before somebody wants more of it.

use std::sync::Arc;

use super::Give;
use crate::error::Error;
use crate::format::cached::CachedBlock;
use crate::reads::{CategoryCursor, CategoryRequest, Order};
use crate::tail::TailEntry;
use crate::types::{RoomId, Seq, TimeUs};

/// The place of an entry in a category, which is that of a cursor behind it.
pub(super) type Place = CategoryCursor;

/// A place in the order asked for: smaller comes first.
pub(super) type Key = (i64, u64, u64);

/// What is still to be given out, in which order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) order: Order,
    /// The first time, included.
    pub(super) from: TimeUs,
    /// The last time, excluded.
    pub(super) to: TimeUs,
    /// What was given out before: all up to this place.
    pub(super) after: Option<Key>,
}

impl Span {
    /// What a request leaves: where its cursor stands it begins.
    pub(super) fn of(request: &CategoryRequest) -> Self {
        let CategoryRequest { order, from, to, cursor, .. } = *request;
        let mut span = Self { order, from, to, after: None };
        if let Some(at) = cursor {
            span.after = Some(span.key(at));
            match order {
                Order::Ascending => span.from = from.max(at.time),
                Order::Descending => span.to = to.min(TimeUs(at.time.0.saturating_add(1))),
            }
        }
        span
    }

    pub(super) const fn key(&self, Place { time, room, seq }: Place) -> Key {
        match self.order {
            Order::Ascending => (time.0, room.0, seq.0),
            // The complement of a number is the smaller the greater it is.
            Order::Descending => (!time.0, !room.0, !seq.0),
        }
    }

    /// True if a place was not given out before.
    pub(super) fn is_after(&self, key: Key) -> bool {
        self.after.is_none_or(|after| key > after)
    }

    fn holds(&self, place: Place) -> bool {
        place.time >= self.from && place.time < self.to && self.is_after(self.key(place))
    }
}

/// Where its entries stand.
enum Entries {
    Block(Arc<CachedBlock>),
    Tail(Vec<TailEntry>),
}

impl Entries {
    fn len(&self) -> usize {
        match self {
            Self::Block(block) => block.len(),
            Self::Tail(entries) => entries.len(),
        }
    }

    /// Where the record `at` stands, if it is an entry; damage that no checksum showed is told of.
    fn place(&self, at: usize) -> Option<Place> {
        match self {
            Self::Block(block) => {
                let place = block.place(at).map_err(Error::undecodable);
                let told = |error: &Error| tracing::error!(%error, "record cannot be decoded");
                place.inspect_err(told).ok()?.map(|(seq, time)| Place {
                    time,
                    room: RoomId::NONE,
                    seq,
                })
            }
            Self::Tail(entries) => {
                let entry = entries.get(at)?;
                Some(Place { time: entry.time_at, room: RoomId::NONE, seq: entry.seq_at })
            }
        }
    }

    /// The first record behind all entries before `time`: a room's entries are in order of time.
    fn first_at(&self, time: TimeUs) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let entry = (middle..high).find_map(|at| Some((at, self.place(at)?)));
            match entry {
                Some((at, place)) if place.time < time => low = at + 1,
                _ => high = middle,
            }
        }
        low
    }
}

/// The entries of a room that are left.
pub(super) struct Stream {
    room: RoomId,
    /// The last entry of the room that retention took.
    floor: Seq,
    entries: Entries,
    /// The records that are left, ends excluded.
    left: (usize, usize),
    /// The record it has gone to, and where that stands.
    at: usize,
    place: Option<Place>,
}

impl Stream {
    /// Those of a block. `within`: all of them are in the span, as far as times go.
    pub(super) fn of_block(
        (room, floor): (RoomId, Seq),
        block: Arc<CachedBlock>,
        within: bool,
        span: &Span,
    ) -> Self {
        let entries = Entries::Block(block);
        let left = match within {
            true => (0, entries.len()),
            false => (entries.first_at(span.from), entries.first_at(span.to)),
        };
        Self { room, floor, entries, left, at: 0, place: None }
    }

    /// Those of a tail.
    pub(super) const fn of_tail((room, floor): (RoomId, Seq), entries: Vec<TailEntry>) -> Self {
        let left = (0, entries.len());
        Self { room, floor, entries: Entries::Tail(entries), left, at: 0, place: None }
    }

    /// Where the entry stands that it has gone to.
    pub(super) const fn place(&self) -> Option<Place> {
        self.place
    }

    /// Goes on to the next entry that is to be given out; none at the end.
    pub(super) fn advance(&mut self, span: &Span) -> Option<Place> {
        self.place = None;
        while self.left.0 < self.left.1 {
            match span.order {
                Order::Ascending => {
                    self.at = self.left.0;
                    self.left.0 += 1;
                }
                Order::Descending => {
                    self.left.1 -= 1;
                    self.at = self.left.1;
                }
            }
            let place = self.entries.place(self.at).map(|place| Place { room: self.room, ..place });
            self.place = place.filter(|place| place.seq > self.floor && span.holds(*place));
            if self.place.is_some() {
                break;
            }
        }
        self.place
    }

    /// What the caller gets of the entry it has gone to; none if it cannot be read.
    pub(super) fn give<T: Give>(&self, place: Place) -> Option<T> {
        match &self.entries {
            Entries::Block(block) => T::of_block(place, block, self.at),
            Entries::Tail(entries) => {
                let entry = entries.get(self.at)?;
                T::of_bytes(place, &entry.bytes, entry.words)
            }
        }
    }
}
