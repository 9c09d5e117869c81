//! Dictionaries for blocks: what many say in many rooms, and nothing else.
//!
//! A dictionary that is trained on chat holds whole messages of somebody. Here every byte is of a
//! short run that stands in at least 20 messages of 5 authors in 3 rooms of what was looked at,
//! each run counted as it stands in the dictionary. It is made of entries' texts alone: no name,
//! no address. Which rooms may be looked at is the caller's to say; see `merge`.
//!
//! INVARIANT: a run is in a dictionary only if it was counted, exactly, to be shared.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;

use crate::format::dictionary::RUN_END;
use crate::limits;
use crate::sync::give_way;
use crate::types::{PrincipalId, RoomId};

/// Messages that must have a run.
const MESSAGES: u32 = 20;
/// Authors of them.
const AUTHORS: usize = 5;
/// Rooms of them.
const ROOMS: usize = 3;
/// Lengths of runs, longest first: what a long one has is not looked for again.
const LENGTHS: [usize; 3] = [limits::DICTIONARY_RUN_BYTES_MAX, 12, 8];
/// Places of the table that says which runs are rare.
const SIEVE: usize = 1 << 22;

/// Messages that are counted before others may have the core.
const MESSAGES_A_PIECE: usize = 256;

/// A message that was looked at.
#[derive(Clone, Copy, Debug)]
struct Message {
    start: usize,
    end: usize,
    author: PrincipalId,
    room: RoomId,
}

/// Messages from which a dictionary is made.
#[derive(Debug, Default)]
pub struct Samples {
    texts: Vec<u8>,
    messages: Vec<Message>,
}

/// Who says a run, as far as the rule asks.
#[derive(Clone, Copy, Debug)]
struct Count {
    messages: u32,
    authors: u8,
    rooms: u8,
    /// The message that was counted last.
    last: usize,
    /// Where the run stands in the texts.
    start: usize,
    author: [PrincipalId; AUTHORS],
    room: [RoomId; ROOMS],
}

/// Notes one more, if it is not known and there is place. The places are few.
fn note<T: Copy + PartialEq>(known: &mut [T], count: &mut u8, one: T) {
    let at = usize::from(*count);
    if !known.iter().take(at).any(|known| *known == one)
        && let Some(place) = known.get_mut(at)
    {
        (*place, *count) = (one, *count + 1);
    }
}

impl Count {
    const fn new(start: usize) -> Self {
        let (author, room) = ([PrincipalId::NONE; AUTHORS], [RoomId::NONE; ROOMS]);
        Self { messages: 0, authors: 0, rooms: 0, last: usize::MAX, start, author, room }
    }

    fn add(&mut self, nth: usize, message: &Message) {
        if self.last == nth {
            return;
        }
        (self.messages, self.last) = (self.messages + 1, nth);
        note(&mut self.author, &mut self.authors, message.author);
        note(&mut self.room, &mut self.rooms, message.room);
    }

    const fn is_shared(&self) -> bool {
        self.messages >= MESSAGES
            && self.authors as usize >= AUTHORS
            && self.rooms as usize >= ROOMS
    }
}

impl Samples {
    /// Adds what an entry says; nothing once there is enough.
    pub fn add(&mut self, text: &[u8], author: PrincipalId, room: RoomId) {
        if !self.is_full() {
            let start = self.texts.len();
            self.texts.extend_from_slice(text);
            self.messages.push(Message { start, end: self.texts.len(), author, room });
        }
    }

    /// True if there is enough.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.texts.len() >= limits::DICTIONARY_SAMPLE_BYTES
    }

    /// A dictionary of at most so many bytes, the runs of most use last; none if too little is
    /// shared to be worth one.
    #[must_use]
    pub fn dictionary(&self, bytes: usize) -> Option<Vec<u8>> {
        let mut taken: Vec<(u64, &[u8])> = Vec::new();
        let mut known: HashSet<&[u8]> = HashSet::new();
        let mut size = 0;
        for (nth, length) in LENGTHS.into_iter().enumerate() {
            // Every length has its share, and what longer ones left.
            let most = bytes * (nth + 1) / LENGTHS.len();
            let half = LENGTHS.get(nth + 1).copied().unwrap_or(length);
            for (count, run) in self.shared(length) {
                if size + length + 1 > most {
                    break;
                }
                if run.windows(half).any(|part| known.contains(part)) {
                    continue;
                }
                size += length + 1;
                taken.push((u64::from(count) * length as u64, run));
                for smaller in LENGTHS.into_iter().skip(nth) {
                    known.extend(run.windows(smaller));
                }
            }
        }
        taken.sort_unstable();
        let ended = |run: &[u8]| [run, &[RUN_END]].concat();
        let found: Vec<u8> = taken.iter().flat_map(|(_, run)| ended(run)).collect();
        (found.len() >= limits::DICTIONARY_BYTES_MIN).then_some(found)
    }

    /// The runs of a length that are shared, those in most messages first.
    fn shared(&self, length: usize) -> Vec<(u32, &[u8])> {
        let mut sieve = vec![0u8; SIEVE];
        self.each_run(length, |_, _, _, run| {
            if let Some(count) = sieve.get_mut(place(run)) {
                *count = count.saturating_add(1);
            }
        });
        let mut counts: HashMap<u128, Count, RandomState> = HashMap::default();
        self.each_run(length, |nth, message, start, run| {
            if sieve.get(place(run)).is_some_and(|count| u32::from(*count) >= MESSAGES) {
                counts.entry(run).or_insert_with(|| Count::new(start)).add(nth, message);
            }
        });
        let text = |start: usize| self.texts.get(start..start + length).unwrap_or_default();
        let shared = counts.into_values().filter(Count::is_shared);
        let mut shared: Vec<(u32, &[u8])> = shared.map(|c| (c.messages, text(c.start))).collect();
        shared.sort_unstable_by(|a, b| b.cmp(a));
        shared
    }

    /// Visits the runs of a length: the number of the message, the message, where in the texts the
    /// run stands, and the run as a number, whose lowest byte is its first.
    fn each_run(&self, length: usize, mut visit: impl FnMut(usize, &Message, usize, u128)) {
        const { assert!(limits::DICTIONARY_RUN_BYTES_MAX <= size_of::<u128>()) };
        let last = 8 * (length - 1);
        for (nth, message) in self.messages.iter().enumerate() {
            if nth % MESSAGES_A_PIECE == 0 {
                give_way();
            }
            let mut run = 0;
            let text = self.texts.get(message.start..message.end).unwrap_or_default();
            for (at, byte) in text.iter().enumerate() {
                run = run >> 8 | u128::from(*byte) << last;
                if at + 1 >= length {
                    visit(nth, message, message.start + at + 1 - length, run);
                }
            }
        }
    }
}

/// A run's place in the sieve.
fn place(run: u128) -> usize {
    const { assert!(SIEVE.is_power_of_two() && SIEVE <= 1 << 32) };
    let low = u64::try_from(run & u128::from(u64::MAX)).unwrap_or_default();
    let high = (run >> 64) as u64;
    let hash = (low.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23) ^ high)
        .wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    (hash >> 32) as usize & (SIEVE - 1)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// What the rule says, word for word.
    fn counted(samples: &Samples, length: usize) -> Vec<(u32, &[u8])> {
        type Said = (BTreeSet<usize>, BTreeSet<PrincipalId>, BTreeSet<RoomId>);
        let mut all: BTreeMap<&[u8], Said> = BTreeMap::new();
        for (nth, message) in samples.messages.iter().enumerate() {
            for run in samples.texts[message.start..message.end].windows(length) {
                let said = all.entry(run).or_default();
                said.0.insert(nth);
                said.1.insert(message.author);
                said.2.insert(message.room);
            }
        }
        all.retain(|_, said| {
            said.0.len() >= MESSAGES as usize && said.1.len() >= AUTHORS && said.2.len() >= ROOMS
        });
        let count = |said: &Said| u32::try_from(said.0.len()).unwrap();
        let mut shared: Vec<_> = all.iter().map(|(run, said)| (count(said), *run)).collect();
        shared.sort_unstable_by(|a, b| b.cmp(a));
        shared
    }

    #[test]
    fn shared_runs_are_those_that_the_rule_names() {
        let mut samples = Samples::default();
        let words =
            ["sudo apt-get ", "install ", "no such file ", "\0\0\u{ff}", "thanks a lot ", "x"];
        let mut draw = 12_345_u64;
        let mut next = |below: u64| {
            draw = draw
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (draw >> 33) % below
        };
        for nth in 0..600 {
            let text: String =
                (0..next(6)).map(|_| words[usize::try_from(next(6)).unwrap()]).collect();
            // Some words are of few authors, some of few rooms.
            let author = if text.contains("lot") { next(AUTHORS as u64) } else { next(40) };
            let room = if text.starts_with("no") { next(ROOMS as u64) } else { next(9) };
            samples.add(text.as_bytes(), PrincipalId(author + 1), RoomId(room + 1 + nth % 2));
        }
        for length in LENGTHS {
            let shared = samples.shared(length);
            assert_eq!(shared, counted(&samples, length), "{length}");
            assert!(!shared.is_empty(), "{length}");
        }
    }
}
