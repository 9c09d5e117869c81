//! A dictionary of what many say: byte runs that stand in at least 20 messages, of 5 authors, in 3
//! rooms. Nothing that one person wrote, or that one room knows, is in it.
//!
//! Windows of a few bytes are counted; where neighbours are all common they make a longer run.

use std::collections::{HashMap, HashSet};

use super::Sample;

/// Bytes of a window.
const WINDOW: usize = 8;
/// Messages that must have a run.
const MESSAGES: u32 = 20;
/// Authors of them.
const AUTHORS: usize = 5;
/// Rooms of them.
const ROOMS: usize = 3;

#[derive(Default)]
struct Count {
    messages: u32,
    last: usize,
    authors: HashSet<u64>,
    rooms: HashSet<u32>,
}

/// The most useful shared runs, the best last, as zstd wants it.
pub fn of_shared_runs(samples: &[Sample], bytes: usize) -> Vec<u8> {
    let mut counts: HashMap<[u8; WINDOW], Count> = HashMap::new();
    for (nth, sample) in samples.iter().enumerate() {
        for window in sample.bytes.windows(WINDOW) {
            let key: [u8; WINDOW] = window.try_into().unwrap_or_default();
            let count = counts.entry(key).or_default();
            if count.messages > 0 && count.last == nth {
                continue;
            }
            (count.messages, count.last) = (count.messages + 1, nth);
            if count.authors.len() < AUTHORS {
                count.authors.insert(sample.author.0);
            }
            if count.rooms.len() < ROOMS {
                count.rooms.insert(sample.source);
            }
        }
    }
    counts.retain(|_, count| {
        count.messages >= MESSAGES && count.authors.len() >= AUTHORS && count.rooms.len() >= ROOMS
    });
    // Whole runs between windows that are not shared; each run must be shared as a whole, too.
    let mut runs: HashMap<Vec<u8>, Count> = HashMap::new();
    for (nth, sample) in samples.iter().enumerate() {
        let mut start: Option<usize> = None;
        let last = sample.bytes.len().saturating_sub(WINDOW);
        for at in 0..=last + 1 {
            let shared = sample.bytes.get(at..at + WINDOW).is_some_and(|w| counts.contains_key(w));
            match (shared, start) {
                (true, None) => start = Some(at),
                (false, Some(from)) => {
                    let run = sample.bytes[from..at + WINDOW - 1].to_vec();
                    let count = runs.entry(run).or_default();
                    if count.messages == 0 || count.last != nth {
                        (count.messages, count.last) = (count.messages + 1, nth);
                        count.authors.insert(sample.author.0);
                        count.rooms.insert(sample.source);
                    }
                    start = None;
                }
                _ => {}
            }
        }
    }
    let mut best: Vec<(u64, Vec<u8>)> = runs
        .into_iter()
        .filter(|(_, count)| {
            count.messages >= MESSAGES
                && count.authors.len() >= AUTHORS
                && count.rooms.len() >= ROOMS
        })
        .map(|(run, count)| (u64::from(count.messages) * run.len() as u64, run))
        .collect();
    best.sort_unstable_by(|a, b| b.cmp(a));
    let (mut taken, mut size) = (Vec::new(), 0);
    for (_, run) in best {
        if size + run.len() > bytes {
            break;
        }
        size += run.len();
        taken.push(run);
    }
    taken.into_iter().rev().flatten().collect()
}
