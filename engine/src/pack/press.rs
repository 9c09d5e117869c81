//! Filled blocks on their way to bytes: compressed by a thread beside the writer of a pack.
//!
//! A pack's writer fills blocks, which takes about as long as compressing them. Blocks that are
//! small wait for others to go into a bundle with. What is full is handed over some at a time and
//! comes back in that order, each time at the same place in the work, whether or not there is a
//! thread: where a pack ends depends on its bytes so far, and the same records must give the same
//! packs. A pack of a few blocks has no thread. The thread reads and writes nothing.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::format::block::{BlockBuilder, checksum};
use crate::format::bundle;
use crate::format::dictionary::Compressor;
use crate::limits;
use crate::sync::{give_way, thread};

/// What blocks that are handed over at once weigh together, about, and how many they are at most.
const BATCH_BYTES: usize = 64 * 1024;
const BATCH_BLOCKS: usize = 256;
/// Batches that are on their way at once: one being compressed, one that waits.
const BATCHES: usize = 2;
/// What a way to the thread and back takes: all that is on its way, and the last, so that nobody
/// waits there.
const CHANNEL: usize = BATCHES + 1;
/// Builders that are kept to be filled again.
const SPARE_BUILDERS: usize = BATCH_BLOCKS;

/// Blocks as the bytes that hold them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pressed {
    /// The numbers that they were given with, and what each takes of the bytes.
    pub blocks: Vec<(u64, u32)>,
    pub bytes: Vec<u8>,
    /// Its checksum.
    pub crc: u32,
}

/// Blocks that become bytes together: one, or those of a bundle, and the numbers of both.
#[derive(Debug, Default)]
struct Unit {
    numbers: Vec<u64>,
    filled: Vec<BlockBuilder>,
    weight: usize,
}

impl Unit {
    fn push(&mut self, number: u64, block: BlockBuilder) {
        self.weight += block.weight();
        self.numbers.push(number);
        self.filled.push(block);
    }

    /// True if a small block of this number and weight belongs to another bundle.
    fn is_full_for(&self, number: u64, weight: usize) -> bool {
        let is_far = |first: &u64| number - first >= limits::BUNDLE_SPAN as u64;
        self.weight + weight > limits::BUNDLE_BYTES_TARGET
            || self.numbers.first().is_some_and(is_far)
    }

    fn press(&mut self, compressor: &mut Compressor) -> io::Result<Pressed> {
        let mut bytes = Vec::new();
        let weights: Vec<usize> = self.filled.iter().map(BlockBuilder::weight).collect();
        match &mut *self.filled {
            [alone] => alone.finish(compressor, &mut bytes)?,
            many => bundle::finish(many, compressor, &mut bytes)?,
        }
        let crc = checksum(&bytes);
        let shares = shares(bytes.len(), &weights);
        let blocks = std::mem::take(&mut self.numbers).into_iter().zip(shares).collect();
        Ok(Pressed { blocks, bytes, crc })
    }
}

/// Parts of so many bytes by weight, which are all of them together.
fn shares(bytes: usize, weights: &[usize]) -> Vec<u32> {
    let all = weights.iter().sum::<usize>().max(1);
    let (mut before, mut weight) = (0, 0);
    let share = |own: &usize| {
        weight += own;
        let upto = bytes * weight / all;
        u32::try_from(upto - std::mem::replace(&mut before, upto)).unwrap_or(u32::MAX)
    };
    weights.iter().map(share).collect()
}

/// What is compressed at once.
#[derive(Debug, Default)]
struct Batch {
    units: Vec<Unit>,
    weight: usize,
    pressed: Vec<Pressed>,
}

impl Batch {
    fn press(&mut self, compressor: &mut Compressor) -> io::Result<()> {
        for unit in &mut self.units {
            self.pressed.push(unit.press(compressor)?);
            give_way();
        }
        Ok(())
    }
}

type Outcome = io::Result<Batch>;

/// The thread, and the way to it and back.
struct Helper {
    to: Option<SyncSender<Batch>>,
    from: Receiver<Outcome>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Helper {
    /// None where there is no thread to be had: then its work is done by the caller.
    fn start(compressor: Compressor) -> Result<Self, Compressor> {
        // The compressor must not be lost with a thread that did not start.
        let (to, work) = sync_channel::<Batch>(CHANNEL);
        let (done, from) = sync_channel::<Outcome>(CHANNEL);
        let (hand, own) = sync_channel::<Compressor>(1);
        let run = move || {
            let Ok(mut compressor) = own.recv() else { return };
            while let Ok(mut batch) = work.recv() {
                let outcome = batch.press(&mut compressor).map(|()| batch);
                if done.send(outcome).is_err() {
                    return;
                }
            }
        };
        let builder = thread::Builder::new().name("hansard-press".to_owned());
        match builder.spawn(run) {
            Ok(thread) => match hand.send(compressor) {
                Ok(()) => Ok(Self { to: Some(to), from, thread: Some(thread) }),
                Err(back) => Err(back.0),
            },
            Err(_) => Err(compressor),
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.to = None;
        if let Some(thread) = self.thread.take() {
            // It ends with what it has; a panic of it was told of where its answer was missing.
            drop(thread.join());
        }
    }
}

/// Who compresses.
enum Who {
    /// The caller.
    Caller(Compressor),
    Helper(Helper),
    /// Nobody any more: the thread is gone.
    Nobody,
}

/// A pack's blocks on their way.
pub(super) struct Press {
    who: Who,
    /// Starts a thread once a batch is full.
    alone: bool,
    open: Batch,
    /// Small blocks that wait for others.
    bundle: Unit,
    /// Batches that the caller has yet to compress, or that the thread has.
    under_way: VecDeque<Option<Batch>>,
    spare: Vec<BlockBuilder>,
}

impl Press {
    pub(super) fn new(compressor: Compressor) -> Self {
        Self {
            who: Who::Caller(compressor),
            alone: cfg!(feature = "shuttle"),
            open: Batch::default(),
            bundle: Unit::default(),
            under_way: VecDeque::new(),
            spare: Vec::new(),
        }
    }

    /// Takes a filled block and its number, which is above those before, and whether it may be in a
    /// bundle; gives an empty one in its place, and blocks that are bytes by now.
    ///
    /// # Errors
    /// If zstd refuses, which it does for want of memory only, or if the thread died.
    pub(super) fn push(
        &mut self,
        (number, bundled): (u64, bool),
        filled: &mut BlockBuilder,
    ) -> io::Result<Vec<Pressed>> {
        let empty = self.spare.pop().unwrap_or_default();
        let filled = std::mem::replace(filled, empty);
        let small = bundled && filled.is_small();
        if self.bundle.is_full_for(number, if small { filled.weight() } else { 0 }) {
            self.end_bundle();
        }
        if small {
            self.bundle.push(number, filled);
        } else {
            let mut alone = Unit::default();
            alone.push(number, filled);
            self.take(alone);
        }
        if self.open.weight < BATCH_BYTES && self.open.units.len() < BATCH_BLOCKS {
            return Ok(Vec::new());
        }
        let batch = std::mem::take(&mut self.open);
        let pressed = match self.under_way.len() < BATCHES {
            true => Vec::new(),
            false => self.next()?,
        };
        self.hand_over(batch)?;
        Ok(pressed)
    }

    fn take(&mut self, unit: Unit) {
        self.open.weight += unit.weight;
        self.open.units.push(unit);
    }

    fn end_bundle(&mut self) {
        let bundle = std::mem::take(&mut self.bundle);
        if !bundle.filled.is_empty() {
            self.take(bundle);
        }
    }

    /// The rest of the blocks.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub(super) fn finish(&mut self) -> io::Result<Vec<Pressed>> {
        self.end_bundle();
        let batch = std::mem::take(&mut self.open);
        let mut all = Vec::new();
        if !batch.units.is_empty() {
            match &mut self.who {
                Who::Helper(_) => self.hand_over(batch)?,
                _ => self.under_way.push_back(Some(batch)),
            }
        }
        while !self.under_way.is_empty() {
            all.extend(self.next()?);
        }
        Ok(all)
    }

    fn hand_over(&mut self, batch: Batch) -> io::Result<()> {
        if !self.alone && matches!(self.who, Who::Caller(_)) {
            self.who = match std::mem::replace(&mut self.who, Who::Nobody) {
                Who::Caller(compressor) => match Helper::start(compressor) {
                    Ok(helper) => Who::Helper(helper),
                    Err(compressor) => {
                        self.alone = true;
                        Who::Caller(compressor)
                    }
                },
                other => other,
            };
        }
        let kept = match &self.who {
            Who::Caller(_) => Some(batch),
            Who::Helper(Helper { to: Some(to), .. }) => {
                to.send(batch).map_err(|_| gone())?;
                None
            }
            Who::Helper(_) | Who::Nobody => return Err(gone()),
        };
        self.under_way.push_back(kept);
        Ok(())
    }

    /// The blocks of the oldest batch.
    fn next(&mut self) -> io::Result<Vec<Pressed>> {
        let oldest = self.under_way.pop_front().flatten();
        let mut batch = match (&mut self.who, oldest) {
            (Who::Caller(compressor), Some(mut batch)) => {
                batch.press(compressor)?;
                batch
            }
            (Who::Helper(helper), None) => helper.from.recv().map_err(|_| gone())??,
            _ => return Err(gone()),
        };
        let room = SPARE_BUILDERS.saturating_sub(self.spare.len());
        let filled = batch.units.drain(..).flat_map(|unit| unit.filled);
        self.spare.extend(filled.take(room));
        Ok(batch.pressed)
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread that compresses blocks is gone")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::bundle::is_bundle;
    use crate::format::codec::put_varint;
    use crate::format::record::{Record, tests::samples};
    use crate::types::{Rev, RoomId};

    /// Blocks of sizes that vary: of rows, and every third a small one of columns.
    fn fill(builder: &mut BlockBuilder, nth: usize) {
        for at in 0..=nth % 7 {
            if nth.is_multiple_of(3) {
                let (room, rev) = (RoomId(nth as u64), Rev(1 + at as u64));
                let sample = samples().swap_remove(at % 3);
                builder.push(&Record { room, rev, ..sample }.to_bytes());
                continue;
            }
            let mut record = Vec::new();
            put_varint(&mut record, (nth * 31 + at) as u64);
            record.extend(std::iter::repeat_n(b"word "[at % 5], nth * 13 % 900));
            builder.push(&record);
        }
    }

    fn all(alone: bool, blocks: usize) -> (Vec<Pressed>, Vec<usize>) {
        let mut press = Press::new(Compressor::generic(3).unwrap());
        press.alone = alone;
        let (mut found, mut when, mut builder) = (Vec::new(), Vec::new(), BlockBuilder::default());
        for nth in 0..blocks {
            fill(&mut builder, nth);
            let pressed = press.push((nth as u64, true), &mut builder).unwrap();
            assert!(builder.is_empty());
            when.push(pressed.len());
            found.extend(pressed);
        }
        assert_eq!(matches!(press.who, Who::Helper(_)), !alone && when.len() > 300);
        found.extend(press.finish().unwrap());
        assert!(press.finish().unwrap().is_empty());
        (found, when)
    }

    #[test]
    fn blocks_come_back_at_the_same_places_with_a_thread_and_without() {
        for blocks in [0, 1, 5, 2_000] {
            let (alone, helped) = (all(true, blocks), all(false, blocks));
            assert_eq!(alone, helped, "{blocks}");
            let mut numbers: Vec<u64> = Vec::new();
            for Pressed { blocks, bytes, crc } in &alone.0 {
                let mut compressor = Compressor::generic(3).unwrap();
                let mut filled = Vec::new();
                assert_eq!(
                    blocks.iter().map(|(_, share)| *share as usize).sum::<usize>(),
                    bytes.len()
                );
                for (nth, share) in blocks {
                    assert!(*share > 0);
                    let mut builder = BlockBuilder::default();
                    fill(&mut builder, usize::try_from(*nth).unwrap());
                    filled.push(builder);
                }
                assert!(filled.len() == 1 || filled.iter().all(BlockBuilder::is_small));
                let mut expected = Vec::new();
                match &mut *filled {
                    [one] => one.finish(&mut compressor, &mut expected).unwrap(),
                    many => bundle::finish(many, &mut compressor, &mut expected).unwrap(),
                }
                assert_eq!((bytes, *crc), (&expected, checksum(&expected)), "{blocks:?}");
                assert_eq!(is_bundle(bytes), blocks.len() > 1);
                numbers.extend(blocks.iter().map(|(number, _)| number));
            }
            assert!(blocks < 9 || alone.0.iter().any(|pressed| pressed.blocks.len() > 3));
            // Whatever is not small comes in order.
            let large = |n: &u64| !n.is_multiple_of(3);
            assert!(numbers.iter().filter(|n| large(n)).is_sorted());
            numbers.sort_unstable();
            assert_eq!(numbers, (0..blocks as u64).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_small_block_waits_for_no_more_than_so_many_others() {
        let mut press = Press::new(Compressor::generic(3).unwrap());
        press.alone = true;
        let mut builder = BlockBuilder::default();
        let (mut last, mut waited) = (0, 0);
        for nth in (0..2_000).map(|nth| if nth == 0 { 0 } else { 3 * nth + 1 }) {
            fill(&mut builder, nth);
            for pressed in press.push((nth as u64, true), &mut builder).unwrap() {
                let [(number, _)] = *pressed.blocks else { panic!("they are large") };
                waited = if number == 0 { last } else { waited };
                last = number;
            }
        }
        assert!((limits::BUNDLE_SPAN as u64 - 3..=limits::BUNDLE_SPAN as u64).contains(&waited));
    }

    #[test]
    fn one_that_is_let_go_of_ends_its_thread() {
        let mut press = Press::new(Compressor::generic(3).unwrap());
        let mut builder = BlockBuilder::default();
        for nth in 0..2_000 {
            fill(&mut builder, nth);
            press.push((nth as u64, true), &mut builder).unwrap();
        }
        assert!(!press.under_way.is_empty());
        drop(press);
    }
}
