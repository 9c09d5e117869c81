//! Which blocks suit real chat: size, level, form and dictionary, measured on the records of a
//! directory with the engine's own encoder.
//!
//! Records are taken from packs as they stand and put into rooms of different lengths.
//! Dictionaries are made of one half and tried on the other. Times are shown as ratios to the
//! first line, because the machine is shared. Nothing here decides; the table is what FORMAT.md's
//! choice rests on.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hansard_engine::dictionary::Samples;
use hansard_engine::format::block::{Block, BlockBuilder};
use hansard_engine::format::dictionary::{Compressor, Decompressor, Dictionary};
use hansard_engine::format::payload::Payload;
use hansard_engine::format::record::Record;
use hansard_engine::limits::DICTIONARY_BYTES_MAX;
use hansard_engine::manifest;
use hansard_engine::pack::{BlockReader, PackFile};
use hansard_engine::storage::Disk;
use hansard_engine::storage::real::RealStorage;
use hansard_engine::types::{PrincipalId, Rev, RoomId, Seq};

use crate::tournament::Outcome;

/// A post with what a dictionary's rule asks of it.
pub struct Sample {
    /// The record.
    pub record: Record,
    /// What it says.
    pub body: Vec<u8>,
    /// Who wrote it.
    pub author: PrincipalId,
    /// The log it came from, which stands for a room.
    pub source: u32,
    /// The name of that log.
    pub name: Arc<str>,
}

/// The posts of a directory's packs, in order of their rooms.
///
/// # Errors
/// If the directory cannot be read.
pub fn samples(data: &Path) -> Outcome<Vec<Sample>> {
    let disk = Disk::new(Arc::new(RealStorage::new(data)));
    let mut samples = Vec::new();
    let mut sources: BTreeMap<Arc<str>, u32> = BTreeMap::new();
    let mut reader = BlockReader::new().ok_or("memory is short")?;
    for id in manifest::load(&disk)?.state.packs.keys() {
        let pack = PackFile::open(&disk, *id)?;
        for run in pack.index()?.runs {
            for fence in &run.blocks {
                let block = pack.block(run.room, fence, &mut reader)?;
                for bytes in (0..block.len()).filter_map(|at| block.record(at)) {
                    let record = Record::from_bytes(&bytes).map_err(|wrong| wrong.to_string())?;
                    let Payload::Post(post) = &record.payload else { continue };
                    let name = post.import.as_ref().map_or("", |mark| &mark.source);
                    let name: Arc<str> = name.into();
                    let next = u32::try_from(sources.len())?;
                    let source = *sources.entry(Arc::clone(&name)).or_insert(next);
                    let author = record.actor.id;
                    let body = post.body.clone().into_bytes();
                    samples.push(Sample { record, body, author, source, name });
                }
            }
        }
    }
    Ok(samples)
}

/// A dictionary of what these have in common.
#[must_use]
pub fn learn<'a>(samples: impl Iterator<Item = &'a Sample>, bytes: usize) -> Option<Vec<u8>> {
    let mut learned = Samples::default();
    for sample in samples {
        let room = RoomId(64 + u64::from(sample.source));
        learned.add(&sample.body, sample.author, room);
    }
    learned.dictionary(bytes)
}

/// What is tried.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Messages of a room.
    pub room: usize,
    /// Bytes of a block before compression.
    pub block: usize,
    /// zstd's level.
    pub level: i32,
    /// Records as they are, one behind the other.
    pub rows: bool,
    /// The dictionary.
    pub dictionary: With,
}

/// A dictionary and what it is called.
#[derive(Clone, Debug)]
pub enum With {
    /// None.
    Nothing,
    /// The one that comes with the program.
    Generic,
    /// One that was made of the other half.
    Own(String, Arc<Dictionary>),
}

impl With {
    fn name(&self) -> &str {
        match self {
            Self::Nothing => "none",
            Self::Generic => "generic",
            Self::Own(name, _) => name,
        }
    }

    fn compressor(&self, level: i32) -> Outcome<Compressor> {
        let made = match self {
            Self::Nothing => Compressor::plain(level),
            Self::Generic => Compressor::generic(level),
            Self::Own(_, dictionary) => Compressor::own(level, dictionary),
        };
        Ok(made.ok_or("memory is short")?)
    }

    fn own(&self) -> Option<&Dictionary> {
        match self {
            Self::Own(_, dictionary) => Some(dictionary),
            Self::Nothing | Self::Generic => None,
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Bytes of the records.
    pub plain: u64,
    /// Bytes of the blocks, and about what their fences take.
    pub packed: u64,
    /// Blocks.
    pub blocks: u64,
    /// Time to make all of them.
    pub encode: Duration,
    /// Time to read all of them.
    pub decode: Duration,
}

/// About the bytes of a block's fence in the run index.
const FENCE: u64 = 24;

/// Makes blocks of all records and reads them again, as an engine would.
///
/// # Errors
/// If memory is short, or a block does not come back.
pub fn measure(records: &[Vec<u8>], trial: &Trial) -> Outcome<Figures> {
    let mut compressor = trial.dictionary.compressor(trial.level)?;
    let mut decompressor = Decompressor::new().ok_or("memory is short")?;
    let empty = || if trial.rows { BlockBuilder::of_rows() } else { BlockBuilder::default() };
    let mut blocks = Vec::new();
    let begun = Instant::now();
    for room in records.chunks(trial.room) {
        let mut builder = empty();
        for record in room {
            if !builder.is_empty() && builder.weight() + record.len() > trial.block {
                let mut block = Vec::new();
                builder.finish(&mut compressor, &mut block)?;
                blocks.push(block);
                builder = empty();
            }
            builder.push(record);
        }
        let mut block = Vec::new();
        builder.finish(&mut compressor, &mut block)?;
        blocks.push(block);
    }
    let encode = begun.elapsed();
    let begun = Instant::now();
    let mut bytes = 0;
    for block in &blocks {
        let block = Block::decode(block, trial.dictionary.own(), &mut decompressor)
            .map_err(|wrong| wrong.to_string())?;
        bytes += block.record_bytes();
    }
    let decode = begun.elapsed();
    let plain: usize = records.iter().map(Vec::len).sum();
    if bytes != plain {
        return Err("the records did not come back".into());
    }
    let packed = blocks.iter().map(|block| block.len() as u64 + FENCE).sum();
    let (plain, blocks) = (plain as u64, blocks.len() as u64);
    Ok(Figures { plain, packed, blocks, encode, decode })
}

/// The records of these, in rooms of so many.
fn in_rooms(samples: &[Sample], size: usize) -> Vec<Vec<u8>> {
    let rooms = samples.chunks(size).zip(64..);
    let records = rooms.flat_map(|(room, id)| {
        room.iter().zip(1..).map(move |(sample, nth)| {
            let (room, rev, seq) = (RoomId(1 << 48 | id), Rev(nth), Seq(nth));
            Record { room, rev, seq, ..sample.record.clone() }.to_bytes()
        })
    });
    records.collect()
}

fn trials(learned: &[Sample]) -> Outcome<Vec<Trial>> {
    let mut own = Vec::new();
    for bytes in [16 * 1024, 32 * 1024, DICTIONARY_BYTES_MAX] {
        let made = learn(learned.iter(), bytes).ok_or("too little is shared")?;
        let made = Dictionary::new(made).map_err(|wrong| wrong.to_string())?;
        own.push(With::Own(format!("own {} KiB", bytes / 1024), Arc::new(made)));
    }
    let usual =
        |room| Trial { room, block: 8 * 1024, level: 3, rows: false, dictionary: With::Generic };
    let mut trials = Vec::new();
    for room in [100_000, 50, 5] {
        trials.push(Trial { rows: true, dictionary: With::Nothing, ..usual(room) });
        trials.push(Trial { dictionary: With::Nothing, ..usual(room) });
        trials.push(usual(room));
        trials.extend(own.iter().map(|own| Trial { dictionary: own.clone(), ..usual(room) }));
    }
    for block in [2, 4, 16, 32, 64] {
        trials.push(Trial { block: block * 1024, ..usual(100_000) });
    }
    for level in [1, 6, 9, 15, 19] {
        trials.push(Trial { level, ..usual(100_000) });
    }
    Ok(trials)
}

/// Prints the table.
///
/// # Errors
/// If the directory cannot be read.
pub fn run(data: &Path) -> Outcome<()> {
    let samples = samples(data)?;
    if samples.len() < 10_000 {
        return Err("there are too few posts in packs: import real logs and compact first".into());
    }
    let (learned, tried) = samples.split_at(samples.len() / 2);
    let bytes = |len: &dyn Fn(&Sample) -> usize| tried.iter().map(len).sum::<usize>() / tried.len();
    println!(
        "{} posts, {} of them tried; mean record {} bytes, mean body {}",
        samples.len(),
        tried.len(),
        bytes(&|sample| sample.record.to_bytes().len()),
        bytes(&|sample| sample.body.len())
    );
    println!();
    let columns = "room of | block | level | form | dictionary | bytes a message | times smaller";
    println!("| {columns} | blocks | encode | decode |");
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let mut first: Option<Figures> = None;
    for trial in trials(learned)? {
        let records = in_rooms(tried, trial.room);
        let found = measure(&records, &trial)?;
        let base = *first.get_or_insert(found);
        let ratio = |a: Duration, b: Duration| a.as_secs_f64() / b.as_secs_f64();
        println!(
            "| {} | {} KiB | {} | {} | {} | {:.1} | {:.2} | {} | {:.2} | {:.2} |",
            trial.room,
            trial.block / 1024,
            trial.level,
            if trial.rows { "rows" } else { "columns" },
            trial.dictionary.name(),
            found.packed as f64 / tried.len() as f64,
            found.plain as f64 / found.packed as f64,
            found.blocks,
            ratio(found.encode, base.encode),
            ratio(found.decode, base.decode)
        );
    }
    Ok(())
}

/// Writes the dictionary that comes with the program: of the posts whose log is named by a year
/// up to 2009.
///
/// # Errors
/// If the directory cannot be read, has too little, or the file cannot be written.
pub fn write_generic(data: &Path, to: &Path) -> Outcome<()> {
    let samples = samples(data)?;
    let year = |sample: &&Sample| sample.name.get(..4).and_then(|year| year.parse().ok());
    let old = samples.iter().filter(|sample| year(sample).is_some_and(|year: u32| year <= 2009));
    let made = learn(old, hansard_engine::limits::DICTIONARY_BYTES_TARGET);
    let made = made.ok_or("too little is shared")?;
    println!("{} bytes", made.len());
    std::fs::write(to, made)?;
    Ok(())
}
