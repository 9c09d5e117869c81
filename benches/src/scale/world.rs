//! What is posted: every message is a function of the seed and of its place.
//!
//! So any message that is read can be checked without a copy of what was written. The words are
//! lines of real chat. Small rooms are talked in some thousands at a time, in turns, so that no two
//! messages of one stand side by side; the big room is told in stretches of consecutive lines.
//!
//! INVARIANT: no two messages have the same time.

use std::path::Path;

use hansard_engine::types::TimeUs;
use serde::{Deserialize, Serialize};

use crate::chat::Chat;
use crate::tournament::Outcome;
use crate::tournament::seed::Draw;

/// Messages of a small room.
pub const SMALL_MESSAGES: u64 = 3;
/// The network that authors are said to come from.
pub const NETWORK: &str = "irc-log";
/// The format that messages are said to be imported from.
pub const FORMAT: &str = "irc-log";
/// 2021-01-01T00:00:00Z.
const FIRST_TIME: i64 = 1_609_459_200_000_000;
/// All messages are said within four years.
const SPAN_US: u64 = 4 * 365 * 86_400 * 1_000_000;
/// Lines of the big room that stand together in the logs, too.
const STRETCH: u64 = 64;

/// How much there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Small rooms.
    pub rooms: u64,
    /// Messages of the big room.
    pub big: u64,
    /// Small rooms that are talked in at the same time.
    pub window: u64,
    pub seed: u64,
}

/// A message of a small room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Small {
    /// Which room, from 0.
    pub room: u64,
    /// Which of its messages, from 0.
    pub at: u64,
}

/// What was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    pub time: TimeUs,
    /// The author's place among the nicks.
    pub author: usize,
    pub nick: &'a str,
    pub body: &'a str,
}

/// A span of time, and what was said in it.
#[derive(Clone, Debug)]
pub struct Slice {
    pub from: TimeUs,
    pub to: TimeUs,
    /// In order of time.
    pub small: Vec<Small>,
    /// Places of the big room, from 0.
    pub big: std::ops::Range<u64>,
}

/// Everything that is posted.
pub struct World {
    pub size: Size,
    pub nicks: Vec<String>,
    lines: Vec<(usize, Box<str>)>,
}

/// The name of a small room.
#[must_use]
pub fn room_name(room: u64) -> String {
    format!("topic {room:07}")
}

/// The name of the big room.
pub const BIG_ROOM: &str = "everything";

impl World {
    /// Reads the lines of every log of a folder.
    ///
    /// # Errors
    /// If there are none.
    pub fn read(logs: &Path, size: Size) -> Outcome<Self> {
        let Chat { nicks, lines } = Chat::read(logs)?;
        Ok(Self { size, nicks, lines })
    }

    fn line(&self, place: u64) -> (usize, &str, &str) {
        let at = usize::try_from(place % self.lines.len() as u64).unwrap_or_default();
        let (author, body) = &self.lines[at];
        (*author, &self.nicks[*author], body)
    }

    fn start(&self, stream: u64, number: u64) -> u64 {
        Draw::of(&[self.size.seed, stream, number]).below(self.lines.len() as u64)
    }

    /// A message of a small room.
    #[must_use]
    pub fn small(&self, small: Small) -> Message<'_> {
        let (author, nick, body) = self.line(self.start(1, small.room) + small.at);
        let place = self.size.place_of(small);
        Message { time: self.size.small_time(place), author, nick, body }
    }

    /// A message of the big room, from 0.
    #[must_use]
    pub fn big(&self, place: u64) -> Message<'_> {
        let start = self.start(2, place / STRETCH);
        let (author, nick, body) = self.line(start + place % STRETCH);
        Message { time: self.size.big_time(place), author, nick, body }
    }
}

fn at(us: u64) -> TimeUs {
    TimeUs(FIRST_TIME).saturating_add_us(i64::try_from(us).unwrap_or(i64::MAX))
}

impl Size {
    /// Messages of all small rooms.
    #[must_use]
    pub const fn small(&self) -> u64 {
        self.rooms * SMALL_MESSAGES
    }

    /// Messages of all rooms.
    #[must_use]
    pub const fn messages(&self) -> u64 {
        self.small() + self.big
    }

    /// Microseconds between two messages; even, so that small rooms have even times and the big
    /// one odd ones.
    const fn step(count: u64) -> u64 {
        let step = SPAN_US / if count == 0 { 1 } else { count };
        if step < 2 { 2 } else { step - step % 2 }
    }

    fn small_time(&self, place: u64) -> TimeUs {
        at(place * Self::step(self.small()))
    }

    fn big_time(&self, place: u64) -> TimeUs {
        at(place * Self::step(self.big) + 1)
    }

    /// Where a window of rooms begins, and how many there are in it.
    fn window_of(&self, room: u64) -> (u64, u64) {
        let first = room / self.window * self.window;
        (first, self.window.min(self.rooms - first))
    }

    /// How much later in the window each turn begins, but never with the room that ended the last.
    const fn shift(rooms: u64) -> u64 {
        if 7920_u64.is_multiple_of(rooms) { 0 } else { 7919 % rooms }
    }

    /// What is said at a place in the order of all messages of small rooms.
    #[must_use]
    pub fn small_at(&self, place: u64) -> Small {
        let (first, rooms) = self.window_of(place / SMALL_MESSAGES);
        let within = place - first * SMALL_MESSAGES;
        let at = within / rooms;
        Small { room: first + (within + at * Self::shift(rooms)) % rooms, at }
    }

    /// The place of a message in that order.
    #[must_use]
    pub fn place_of(&self, small: Small) -> u64 {
        let (first, rooms) = self.window_of(small.room);
        let begun = small.at * Self::shift(rooms) % rooms;
        let turn = (small.room - first + rooms - begun) % rooms;
        first * SMALL_MESSAGES + small.at * rooms + turn
    }

    /// What is said within `[from, from + us)`, counted from the first message on.
    #[must_use]
    pub fn slice(&self, from: u64, us: u64) -> Slice {
        let first = |step: u64, offset: u64, time: u64, count: u64| {
            time.saturating_sub(offset).div_ceil(step).min(count)
        };
        let (small, big) = (Self::step(self.small()), Self::step(self.big));
        let to = from + us;
        let places = first(small, 0, from, self.small())..first(small, 0, to, self.small());
        let big = first(big, 1, from, self.big)..first(big, 1, to, self.big);
        let small = places.map(|place| self.small_at(place)).collect();
        Slice { from: at(from), to: at(to), small, big }
    }

    /// A place in time from which a slice of about so many messages lasts so long, both counted in
    /// microseconds from the first message on.
    pub fn any_slice(&self, draw: &mut Draw, messages: u64) -> (u64, u64) {
        let us = SPAN_US / self.messages().max(1) * messages;
        (draw.below(SPAN_US.saturating_sub(us)), us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(rooms: u64, window: u64) -> Size {
        Size { rooms, big: 5000, window, seed: 1 }
    }

    fn world(size: Size) -> World {
        let logs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/tests/data");
        World::read(&logs, size).unwrap()
    }

    #[test]
    fn every_small_message_has_one_place_and_rooms_speak_in_order() {
        for size in [size(1, 4), size(10, 4), size(1000, 4096), size(9000, 4096)] {
            let mut heads = vec![0; usize::try_from(size.rooms).unwrap()];
            let mut last = None;
            for place in 0..size.small() {
                let small = size.small_at(place);
                assert_eq!(size.place_of(small), place, "{size:?}");
                let head = &mut heads[usize::try_from(small.room).unwrap()];
                assert_eq!(small.at, *head, "{size:?}");
                *head += 1;
                assert!(size.rooms < 2 || last != Some(small.room), "{size:?} {place}");
                last = Some(small.room);
            }
            assert!(heads.iter().all(|head| *head == SMALL_MESSAGES), "{size:?}");
        }
    }

    #[test]
    fn a_slice_holds_what_was_said_in_it_and_nothing_else() {
        let world = world(size(500, 64));
        let mut draw = Draw::of(&[3]);
        for _ in 0..50 {
            let (from, us) = world.size.any_slice(&mut draw, 200);
            let slice = world.size.slice(from, us);
            let within = |time: TimeUs| time >= slice.from && time < slice.to;
            let small = (0..world.size.small()).map(|place| world.size.small_at(place));
            let expected: Vec<_> = small.filter(|s| within(world.small(*s).time)).collect();
            assert_eq!(slice.small, expected);
            let expected = (0..world.size.big).filter(|p| within(world.big(*p).time));
            assert!(expected.eq(slice.big.clone()));
            assert!((100..300).contains(&(slice.small.len() as u64 + slice.big.count() as u64)));
        }
    }

    #[test]
    fn messages_come_out_the_same_again() {
        let world = world(size(9, 4));
        assert!(world.nicks.len() > 100 && world.lines.len() > 5000);
        assert_eq!(world.big(3), world.big(3));
    }
}
