//! Dictionaries for blocks: what many say in many rooms, and nothing else.
//!
//! A dictionary that is trained on chat holds whole messages of somebody. Here every byte is of a
//! short run that stands in at least 20 messages of 5 authors in 3 rooms of what was looked at,
//! each run counted as it stands in the dictionary. It is made of entries' texts alone: no name,
//! no address. Which rooms may be looked at is the caller's to say; see `merge`.
//!
//! INVARIANT: a run is in a dictionary only if it was counted, exactly, to be shared.

use std::collections::{HashMap, HashSet};

use crate::format::dictionary::RUN_END;
use crate::limits;
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
#[derive(Clone, Debug)]
struct Count {
    messages: u32,
    last: usize,
    authors: Vec<PrincipalId>,
    rooms: Vec<RoomId>,
}

impl Count {
    const fn new() -> Self {
        Self { messages: 0, last: usize::MAX, authors: Vec::new(), rooms: Vec::new() }
    }

    fn add(&mut self, nth: usize, message: Message) {
        if self.last == nth {
            return;
        }
        (self.messages, self.last) = (self.messages + 1, nth);
        if self.authors.len() < AUTHORS && !self.authors.contains(&message.author) {
            self.authors.push(message.author);
        }
        if self.rooms.len() < ROOMS && !self.rooms.contains(&message.room) {
            self.rooms.push(message.room);
        }
    }

    const fn is_shared(&self) -> bool {
        self.messages >= MESSAGES && self.authors.len() >= AUTHORS && self.rooms.len() >= ROOMS
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
        for (_, _, run) in self.runs(length) {
            if let Some(count) = sieve.get_mut(place(run)) {
                *count = count.saturating_add(1);
            }
        }
        let mut counts: HashMap<&[u8], Count> = HashMap::new();
        for (nth, message, run) in self.runs(length) {
            if sieve.get(place(run)).is_some_and(|count| u32::from(*count) >= MESSAGES) {
                counts.entry(run).or_insert_with(Count::new).add(nth, message);
            }
        }
        let shared = counts.into_iter().filter(|(_, count)| count.is_shared());
        let mut shared: Vec<(u32, &[u8])> = shared.map(|(run, c)| (c.messages, run)).collect();
        shared.sort_unstable_by(|a, b| b.cmp(a));
        shared
    }

    fn runs(&self, length: usize) -> impl Iterator<Item = (usize, Message, &[u8])> {
        self.messages.iter().enumerate().flat_map(move |(nth, message)| {
            let text = self.texts.get(message.start..message.end).unwrap_or_default();
            text.windows(length).map(move |run| (nth, *message, run))
        })
    }
}

/// A run's place in the sieve.
fn place(run: &[u8]) -> usize {
    let mut hash = 0u64;
    for part in run.chunks(8) {
        let mut word = [0; 8];
        word.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
        hash =
            (hash.rotate_left(23) ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    usize::try_from((hash >> 32) % SIEVE as u64).unwrap_or(0)
}
