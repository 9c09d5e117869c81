//! Which blocks suit real chat: size, level and dictionary, measured on the records of a directory.
//!
//! Records are taken from packs as they stand, put into rooms of different lengths, cut into blocks
//! and compressed. Times are shown as ratios to the first line, because the machine is shared.
//! Nothing here decides; the table is what FORMAT.md's choice rests on.

mod dictionary;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hansard_engine::format::codec::put_bytes;
use hansard_engine::format::pack::pack_name;
use hansard_engine::format::payload::Payload;
use hansard_engine::format::record::Record;
use hansard_engine::pack::{check_block, read_index};
use hansard_engine::storage::real::RealStorage;
use hansard_engine::storage::{Disk, Mode, join};
use hansard_engine::types::PrincipalId;
use hansard_engine::{manifest, pack};

use crate::tournament::Outcome;

/// A record with what a dictionary's rule asks of it.
pub struct Sample {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What it says.
    pub body: Vec<u8>,
    /// Who wrote it.
    pub author: PrincipalId,
    /// The log it came from, which stands for a room.
    pub source: u32,
}

/// The posts of a directory's packs, in order of their rooms.
///
/// # Errors
/// If the directory cannot be read.
pub fn samples(data: &Path) -> Outcome<Vec<Sample>> {
    let disk = Disk::new(Arc::new(RealStorage::new(data)));
    let mut samples = Vec::new();
    let mut sources: BTreeMap<String, u32> = BTreeMap::new();
    for id in manifest::load(&disk)?.state.packs.keys() {
        let file = disk.open(&join(pack::DIR, &pack_name(*id)), Mode::Read)?;
        for run in read_index(&file, *id)?.runs {
            for fence in &run.blocks {
                let bytes = file.read(fence.offset, fence.bytes as usize)?;
                let block = check_block(&bytes, fence, &file)?;
                for bytes in (0..block.len()).filter_map(|at| block.record(at)) {
                    let record = Record::from_bytes(&bytes).map_err(|wrong| wrong.to_string())?;
                    let Payload::Post(post) = record.payload else { continue };
                    let name = post.import.map(|mark| mark.source).unwrap_or_default();
                    let next = u32::try_from(sources.len())?;
                    let source = *sources.entry(name).or_insert(next);
                    let author = record.actor.id;
                    let body = post.body.into_bytes();
                    samples.push(Sample { bytes: bytes.to_vec(), body, author, source });
                }
            }
        }
    }
    Ok(samples)
}

/// How records are laid out before they are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One behind the other, as they are.
    Rows,
    /// What is said behind all of the rest.
    BodiesApart,
}

/// What is tried.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Bytes of a block before compression.
    pub block: usize,
    /// zstd's level.
    pub level: i32,
    /// The layout.
    pub layout: Layout,
    /// The dictionary and what it is called.
    pub dictionary: Option<(&'static str, Arc<Vec<u8>>)>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Bytes before.
    pub plain: u64,
    /// Bytes after, headers of blocks included.
    pub packed: u64,
    /// Blocks.
    pub blocks: u64,
    /// Time to compress all of them.
    pub compress: Duration,
    /// Time to decompress all of them.
    pub decompress: Duration,
}

/// Bytes of a block beside the compressed ones: its header, and its fence in the run index.
const BLOCK_OVERHEAD: u64 = 16 + 24;

fn plain(records: &[Sample], layout: Layout) -> Vec<u8> {
    let mut out = Vec::new();
    match layout {
        Layout::Rows => records.iter().for_each(|record| put_bytes(&mut out, &record.bytes)),
        Layout::BodiesApart => {
            let mut bodies = Vec::new();
            for record in records {
                let at =
                    record.bytes.windows(record.body.len().max(1)).position(|w| w == record.body);
                let at = at.unwrap_or(0);
                put_bytes(&mut out, &record.bytes[..at]);
                put_bytes(&mut out, &record.bytes[at + record.body.len()..]);
                bodies.extend(&record.body);
                bodies.push(0);
            }
            out.extend(bodies);
        }
    }
    out
}

/// The records of rooms of so many each, cut into blocks.
fn blocks(samples: &[Sample], room: usize, trial: &Trial) -> Vec<Vec<u8>> {
    let mut blocks = Vec::new();
    for room in samples.chunks(room) {
        let (mut start, mut bytes) = (0, 0);
        for (at, record) in room.iter().enumerate() {
            if bytes > 0 && bytes + record.bytes.len() > trial.block {
                blocks.push(plain(&room[start..at], trial.layout));
                (start, bytes) = (at, 0);
            }
            bytes += record.bytes.len() + 2;
        }
        blocks.push(plain(&room[start..], trial.layout));
    }
    blocks
}

/// Compresses and decompresses all of it, as an engine would: one context for all blocks.
///
/// # Errors
/// If zstd fails.
pub fn measure(samples: &[Sample], room: usize, trial: &Trial) -> Outcome<Figures> {
    let blocks = blocks(samples, room, trial);
    let (mut compressor, mut decompressor) = match &trial.dictionary {
        Some((_, dictionary)) => (
            zstd::bulk::Compressor::with_dictionary(trial.level, dictionary)?,
            zstd::bulk::Decompressor::with_dictionary(dictionary)?,
        ),
        None => (zstd::bulk::Compressor::new(trial.level)?, zstd::bulk::Decompressor::new()?),
    };
    let begun = Instant::now();
    let packed = blocks.iter().map(|block| compressor.compress(block));
    let packed: Vec<Vec<u8>> = packed.collect::<Result<_, _>>()?;
    let compress = begun.elapsed();
    let begun = Instant::now();
    for (packed, block) in packed.iter().zip(&blocks) {
        if decompressor.decompress(packed, block.len())?.len() != block.len() {
            return Err("a block came back with another length".into());
        }
    }
    let decompress = begun.elapsed();
    let bytes = packed.iter().map(|packed| packed.len() as u64 + BLOCK_OVERHEAD);
    Ok(Figures {
        plain: blocks.iter().map(|block| block.len() as u64).sum(),
        packed: bytes.sum(),
        blocks: blocks.len() as u64,
        compress,
        decompress,
    })
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
    // Dictionaries are made of one half and tried on the other.
    let (learned, tried) = samples.split_at(samples.len() / 2);
    println!(
        "{} posts, {} of them tried; mean record {} bytes, mean body {}",
        samples.len(),
        tried.len(),
        tried.iter().map(|s| s.bytes.len()).sum::<usize>() / tried.len(),
        tried.iter().map(|s| s.body.len()).sum::<usize>() / tried.len()
    );
    let rows: Vec<&[u8]> = learned.iter().map(|sample| &*sample.bytes).collect();
    let trained = |bytes: usize| Ok::<_, std::io::Error>(zstd::dict::from_samples(&rows, bytes)?);
    let mut dictionaries = vec![None];
    for bytes in [16 * 1024, 64 * 1024] {
        let name = if bytes == 16 * 1024 { "trained 16 KiB" } else { "trained 64 KiB" };
        dictionaries.push(Some((name, Arc::new(trained(bytes)?))));
        let shared = dictionary::of_shared_runs(learned, bytes);
        let name = match bytes == 16 * 1024 {
            true => "shared runs 16 KiB",
            false => "shared runs 64 KiB",
        };
        println!("{name}: {} bytes found", shared.len());
        dictionaries.push(Some((name, Arc::new(shared))));
    }
    let columns = "room of | block | level | layout | dictionary | bytes a message | x smaller";
    println!("\n| {columns} | blocks | compress | decompress |");
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let mut first: Option<Figures> = None;
    let rows = |block, level| Trial { block, level, layout: Layout::Rows, dictionary: None };
    let mut trials: Vec<(usize, Trial)> = Vec::new();
    for room in [100_000, 300, 50, 5] {
        trials.push((room, rows(8 * 1024, 3)));
        for dictionary in dictionaries.iter().flatten() {
            trials
                .push((room, Trial { dictionary: Some(dictionary.clone()), ..rows(8 * 1024, 3) }));
        }
    }
    for block in [2, 4, 16, 32, 64] {
        trials.push((100_000, rows(block * 1024, 3)));
    }
    for level in [1, 6, 9, 15, 19] {
        trials.push((100_000, rows(8 * 1024, level)));
    }
    for block in [8, 16] {
        let trial = Trial { layout: Layout::BodiesApart, ..rows(block * 1024, 3) };
        trials.push((100_000, trial));
    }
    for (room, trial) in trials {
        let found = measure(tried, room, &trial)?;
        let base = *first.get_or_insert(found);
        let ratio = |a: Duration, b: Duration| a.as_secs_f64() / b.as_secs_f64();
        println!(
            "| {room} | {} KiB | {} | {:?} | {} | {:.1} | {:.2} | {} | {:.2} | {:.2} |",
            trial.block / 1024,
            trial.level,
            trial.layout,
            trial.dictionary.as_ref().map_or("none", |(name, _)| *name),
            found.packed as f64 / tried.len() as f64,
            found.plain as f64 / found.packed as f64,
            found.blocks,
            ratio(found.compress, base.compress),
            ratio(found.decompress, base.decompress)
        );
    }
    Ok(())
}
