//! Filled blocks on their way to bytes: compressed by a thread beside the writer of a pack.
//!
//! A pack's writer fills blocks, which takes about as long as compressing them. Blocks are handed
//! over some at a time and come back in the order in which they were filled, each time at the same
//! place in the work, whether or not there is a thread: where a pack ends depends on its bytes so
//! far, and the same records must give the same packs. A pack of a few blocks has no thread. The
//! thread reads and writes nothing.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::format::block::{BlockBuilder, checksum};
use crate::format::dictionary::Compressor;
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

/// A block as bytes.
#[derive(Debug)]
pub(super) struct Pressed {
    pub bytes: Vec<u8>,
    /// Its checksum.
    pub crc: u32,
}

/// Blocks that are compressed together.
#[derive(Debug, Default)]
struct Batch {
    filled: Vec<BlockBuilder>,
    weight: usize,
    pressed: Vec<Pressed>,
}

impl Batch {
    fn press(&mut self, compressor: &mut Compressor) -> io::Result<()> {
        for builder in &mut self.filled {
            let mut bytes = Vec::new();
            builder.finish(compressor, &mut bytes)?;
            let crc = checksum(&bytes);
            self.pressed.push(Pressed { bytes, crc });
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
            under_way: VecDeque::new(),
            spare: Vec::new(),
        }
    }

    /// Takes a filled block, gives an empty one in its place, and blocks that are bytes by now.
    ///
    /// # Errors
    /// If zstd refuses, which it does for want of memory only, or if the thread died.
    pub(super) fn push(&mut self, filled: &mut BlockBuilder) -> io::Result<Vec<Pressed>> {
        let empty = self.spare.pop().unwrap_or_default();
        self.open.weight += filled.weight();
        self.open.filled.push(std::mem::replace(filled, empty));
        if self.open.weight < BATCH_BYTES && self.open.filled.len() < BATCH_BLOCKS {
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

    /// The rest of the blocks.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub(super) fn finish(&mut self) -> io::Result<Vec<Pressed>> {
        let batch = std::mem::take(&mut self.open);
        let mut all = Vec::new();
        if !batch.filled.is_empty() {
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
        self.spare.extend(batch.filled.drain(..).take(room));
        Ok(batch.pressed)
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread that compresses blocks is gone")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::codec::put_varint;

    /// Blocks of sizes that vary, each of rows.
    fn fill(builder: &mut BlockBuilder, nth: usize) {
        for at in 0..=nth % 7 {
            let mut record = Vec::new();
            put_varint(&mut record, (nth * 31 + at) as u64);
            record.extend(std::iter::repeat_n(b"word "[at % 5], nth * 13 % 900));
            builder.push(&record);
        }
    }

    fn all(alone: bool, blocks: usize) -> (Vec<(Vec<u8>, u32)>, Vec<usize>) {
        let mut press = Press::new(Compressor::generic(3).unwrap());
        press.alone = alone;
        let (mut found, mut when, mut builder) = (Vec::new(), Vec::new(), BlockBuilder::default());
        for nth in 0..blocks {
            fill(&mut builder, nth);
            let pressed = press.push(&mut builder).unwrap();
            assert!(builder.is_empty());
            when.push(pressed.len());
            found.extend(pressed);
        }
        assert_eq!(matches!(press.who, Who::Helper(_)), !alone && when.len() > 300);
        found.extend(press.finish().unwrap());
        assert!(press.finish().unwrap().is_empty());
        (found.into_iter().map(|Pressed { bytes, crc }| (bytes, crc)).collect(), when)
    }

    #[test]
    fn blocks_come_back_in_order_at_the_same_places_with_a_thread_and_without() {
        for blocks in [0, 1, 5, 2_000] {
            let (alone, helped) = (all(true, blocks), all(false, blocks));
            assert_eq!(alone, helped, "{blocks}");
            let mut compressor = Compressor::generic(3).unwrap();
            let mut builder = BlockBuilder::default();
            for (nth, (bytes, crc)) in alone.0.iter().enumerate() {
                fill(&mut builder, nth);
                let mut expected = Vec::new();
                builder.finish(&mut compressor, &mut expected).unwrap();
                assert_eq!((bytes, *crc), (&expected, checksum(&expected)), "block {nth}");
            }
            assert_eq!(alone.0.len(), blocks);
        }
    }

    #[test]
    fn one_that_is_let_go_of_ends_its_thread() {
        let mut press = Press::new(Compressor::generic(3).unwrap());
        let mut builder = BlockBuilder::default();
        for nth in 0..2_000 {
            fill(&mut builder, nth);
            press.push(&mut builder).unwrap();
        }
        assert!(!press.under_way.is_empty());
        drop(press);
    }
}
