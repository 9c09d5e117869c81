//! What is posted: real chat, resampled with a fixed seed to any size.
//!
//! Rooms speak by Zipf's law; a room's messages are stretches of consecutive lines of the logs. The
//! n-th message is the same in every run and for every store. Times rise evenly; the filled stores
//! span twenty hours, so that every idempotency key is within its window while they are filled.

use std::path::{Path, PathBuf};

use hansard_peers::{Message, Slice};

use super::size::Size;
use super::zipf::Zipf;
use crate::chat::Chat;
use crate::tournament::Outcome;
use crate::tournament::seed::Draw;

/// A folder of logs in place of the repository's own.
pub const VARIABLE: &str = "HANSARD_LOGS";
/// 2024-03-04T02:00:00Z, so that the span ends within the same day.
pub const FIRST_US: i64 = 1_709_517_600_000_000;
/// All messages of a filled store are said within so long.
pub const SPAN_US: i64 = 20 * 3_600 * 1_000_000;
/// Lines that stand together in the logs, too.
const STRETCH: u64 = 64;
const SEED: u64 = 20_260_101;
/// What a key is made of.
const PRINTABLE: &[u8; 64] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";

/// Everything that can be posted.
pub struct World {
    lines: Vec<(usize, Box<str>)>,
    nicks: Vec<String>,
    zipf: Zipf,
    pub rooms: u32,
    pub categories: u32,
    /// Of a filled store.
    pub messages: u64,
}

/// The messages in their order.
pub struct Stream<'a> {
    world: &'a World,
    next: u64,
    heads: Vec<u64>,
    /// Three in each room in turn, in place of Zipf's law.
    even: bool,
}

/// The folder of logs that is asked for.
#[must_use]
pub fn logs() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/tests/data");
    std::env::var_os(VARIABLE).map_or(own, PathBuf::from)
}

impl World {
    /// Reads the logs.
    ///
    /// # Errors
    /// If there is no chat in them.
    pub fn read(logs: &Path, size: Size) -> Outcome<Self> {
        let Chat { nicks, lines } = Chat::read(logs)?;
        let Size { rooms, categories, messages, .. } = size;
        Ok(Self { lines, nicks, zipf: Zipf::new(rooms), rooms, categories, messages })
    }

    /// The same with rooms of three messages each, talked in by turns.
    #[must_use]
    pub fn of_small_rooms(self, rooms: u32) -> Self {
        Self { zipf: Zipf::new(1), rooms, messages: 3 * u64::from(rooms), ..self }
    }

    /// The same with one room that says it all.
    #[must_use]
    pub fn of_one_room(self) -> Self {
        Self { zipf: Zipf::new(1), rooms: 1, ..self }
    }

    /// A room's category.
    #[must_use]
    pub fn category_of(&self, room: u32) -> u32 {
        let drawn = Draw::of(&[SEED, 3, u64::from(room)]).below(u64::from(self.categories));
        u32::try_from(drawn).unwrap_or(0)
    }

    /// From the first message, by Zipf's law.
    #[must_use]
    pub fn stream(&self) -> Stream<'_> {
        Stream { world: self, next: 0, heads: vec![0; self.rooms as usize], even: false }
    }

    /// From the first message, each room in turn.
    #[must_use]
    pub fn stream_evenly(&self) -> Stream<'_> {
        Stream { even: true, ..self.stream() }
    }

    /// When the n-th message is said.
    #[must_use]
    pub fn time_us(&self, number: u64) -> i64 {
        let step = SPAN_US / i64::try_from(self.messages.max(1)).unwrap_or(SPAN_US);
        FIRST_US + step.max(1) * i64::try_from(number).unwrap_or(0)
    }

    /// When the filled stores' last message is said.
    #[must_use]
    pub fn end_us(&self) -> i64 {
        self.time_us(self.messages)
    }

    /// A category's slice of so long from somewhere within the filled stores' span.
    pub fn slice(&self, draw: &mut Draw, category: u32, us: i64) -> Slice {
        let room = u64::try_from(SPAN_US - us).unwrap_or(0);
        let from_us = FIRST_US + i64::try_from(draw.below(room)).unwrap_or(0);
        Slice { category, from_us, to_us: from_us + us }
    }

    fn message(&self, number: u64, room: u32, seq: u64) -> Message<'_> {
        let start = Draw::of(&[SEED, 2, u64::from(room), seq / STRETCH]);
        let start = start.clone().below(self.lines.len() as u64);
        let at = usize::try_from((start + seq % STRETCH) % self.lines.len() as u64);
        let (author, body) = &self.lines[at.unwrap_or_default()];
        let (mut key, mut digest) = ([0; 16], [0; 16]);
        let mut draw = Draw::of(&[SEED, 4, number]);
        for part in key.chunks_mut(8).chain(digest.chunks_mut(8)) {
            part.copy_from_slice(&draw.below(u64::MAX).to_le_bytes());
        }
        for byte in &mut key {
            *byte = PRINTABLE[usize::from(*byte % 64)];
        }
        Message {
            room,
            seq,
            category: self.category_of(room),
            time_us: self.time_us(number),
            author: u32::try_from(*author).unwrap_or(u32::MAX),
            nick: &self.nicks[*author],
            key,
            digest,
            body,
        }
    }
}

impl<'a> Stream<'a> {
    /// The next messages.
    pub fn take(&mut self, count: u64) -> Vec<Message<'a>> {
        (0..count).map(|_| self.next()).collect()
    }

    /// The next messages for so many writers in turn, each with rooms of its own: a store whose
    /// rooms must be written in order is not written out of order by two of them.
    pub fn take_for(&mut self, writers: u32, count: u64) -> Vec<Message<'a>> {
        let of = |number: u64| u32::try_from(number % u64::from(writers)).unwrap_or(0);
        (0..count).map(|number| self.next_of(writers, of(number))).collect()
    }

    /// The next message of one of so many writers.
    pub fn next_of(&mut self, writers: u32, writer: u32) -> Message<'a> {
        let drawn = self.draw();
        let room = drawn / writers * writers + writer;
        self.next_in(if room < self.world.rooms { room } else { room - writers })
    }

    /// The next message in a room of the caller's choice.
    pub fn next_in(&mut self, room: u32) -> Message<'a> {
        let number = self.next;
        self.next += 1;
        let head = &mut self.heads[room as usize];
        *head += 1;
        self.world.message(number, room, *head)
    }

    fn draw(&self) -> u32 {
        if self.even {
            u32::try_from(self.next % u64::from(self.world.rooms)).unwrap_or(0)
        } else {
            self.world.zipf.draw(&mut Draw::of(&[SEED, 1, self.next]))
        }
    }

    fn next(&mut self) -> Message<'a> {
        self.next_in(self.draw())
    }

    /// Passes over messages that the stores have.
    pub fn skip(&mut self, count: u64) {
        for _ in 0..count {
            self.next();
        }
    }

    /// How many messages each room has.
    #[must_use]
    pub fn heads(&self) -> &[u64] {
        &self.heads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world() -> World {
        let logs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/tests/data");
        World::read(&logs, Size { messages: 20_000, ..Size::QUICK }).unwrap()
    }

    #[test]
    fn the_same_messages_come_in_every_run_however_they_are_taken() {
        let (world, again) = (world(), world());
        let whole = world.stream().take(3000);
        let mut parts = again.stream();
        parts.skip(1000);
        let behind = parts.take(2000);
        assert_eq!(whole[1000..], behind[..]);
        let mut keys: Vec<_> = whole.iter().map(|message| message.key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), whole.len());
        assert!(keys.iter().flatten().all(u8::is_ascii_graphic));
    }

    #[test]
    fn times_rise_and_rooms_count_without_a_gap() {
        let world = world();
        let mut heads = vec![0; world.rooms as usize];
        let mut last = 0;
        for message in world.stream().take(20_000) {
            heads[message.room as usize] += 1;
            assert_eq!(message.seq, heads[message.room as usize]);
            assert!(message.time_us > last && message.time_us < world.end_us());
            assert_eq!(message.category, world.category_of(message.room));
            last = message.time_us;
        }
        let day = |us: i64| us.div_euclid(86_400_000_000);
        assert_eq!(day(FIRST_US), day(world.end_us()), "one day");
        assert!(world.end_us() - FIRST_US < 24 * 3_600_000_000, "every key within its window");
    }

    #[test]
    fn each_writer_has_rooms_of_its_own() {
        let world = world();
        for (number, message) in world.stream().take_for(64, 5000).iter().enumerate() {
            assert_eq!(message.room as usize % 64, number % 64);
        }
    }

    #[test]
    fn small_rooms_have_three_messages_each() {
        let world = world().of_small_rooms(70);
        let mut stream = world.stream_evenly();
        stream.skip(world.messages);
        assert!(stream.heads().iter().all(|head| *head == 3));
    }
}
