//! Which runs the packs hold of the rooms that are wanted, and the records of one run.
//!
//! Of each run only an outline is kept, with its place in the pack's index; its blocks are looked
//! up again when its turn comes. Where a pack's index cannot be read the catalog's rows stand in.
//!
//! INVARIANT: memory grows with the runs, never with blocks or records.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::rc::Rc;

use hansard_engine::catalog::{Family, Go, keys, walk_prefix};
use hansard_engine::error::{Error, Result};
use hansard_engine::format::block::Block;
use hansard_engine::format::pack::{PackMeta, pack_name};
use hansard_engine::format::record::Record;
use hansard_engine::format::run::{BlockRef, Run};
use hansard_engine::format::runs::Runs;
use hansard_engine::format::wire::{from_bytes, to_bytes};
use hansard_engine::pack::{self, PackFile};
use hansard_engine::storage::join;
use hansard_engine::types::{Rev, RoomId, Seq};

use super::follow::{Follow, Found, Times};
use super::out::{EXPIRED, Gap, Out, Place, Step};
use crate::open::Directory;
use crate::verify::{Blocks, Progress};

/// What the keys of runs begin with.
const RUNS: &[u8] = b"R";
/// Packs kept open.
const FILES_OPEN_MAX: usize = 64;
/// Bytes of a run's entry in an index at most, so that a forged length costs no memory.
const RUN_BYTES_MAX: usize = 64 * 1024;

/// Where a run stands.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// In its pack's index: offset in the file and length.
    Index(u64, usize),
    /// In the catalog.
    Row,
}

/// A run without its blocks.
#[derive(Clone, Debug)]
pub(super) struct RunOutline {
    pub room: RoomId,
    pack: u64,
    first_rev: Rev,
    last_rev: Rev,
    seq_base: Seq,
    last_seq: Seq,
    /// Its records were dropped.
    dropped: bool,
    source: Source,
}

impl RunOutline {
    fn new(run: &Run, source: Source) -> Self {
        let Run { room, pack, first_rev, last_rev, seq_base, last_seq, .. } = *run;
        let dropped = run.is_dropped();
        Self { room, pack, first_rev, last_rev, seq_base, last_seq, dropped, source }
    }

    fn is_of(&self, run: &Run) -> bool {
        self.room == run.room && self.first_rev == run.first_rev && self.last_rev == run.last_rev
    }
}

/// What packs hold of the rooms that are wanted.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// In order of room and rev.
    pub runs: Vec<RunOutline>,
    /// Bytes of their blocks.
    pub bytes: u64,
    /// Packs of which it is not known what they held.
    pub gaps: Vec<Gap>,
    /// An index cannot be read, be it that the catalog stands in.
    pub damaged: bool,
}

/// What an error says of a place that is named beside it.
pub(super) fn words(error: &Error) -> String {
    match error {
        Error::Corrupt { what, .. } => (*what).to_owned(),
        Error::Io { op, message, .. } => format!("{op} failed: {message}"),
        other => other.to_string(),
    }
}

fn name_of(pack: u64) -> String {
    join(pack::DIR, &pack_name(pack))
}

fn bytes_of(run: &Run) -> u64 {
    run.blocks.iter().map(|block| u64::from(block.share)).sum()
}

/// Looks at the indexes of all packs.
pub(super) fn held(directory: &Directory, wanted: impl Fn(RoomId) -> bool) -> Held {
    let mut held = Held::default();
    let mut unread: BTreeMap<u64, (&PackMeta, Error)> = BTreeMap::new();
    for meta in directory.manifest.state.packs.values() {
        let taken = index(directory, meta.id).map(|(runs, start)| {
            let mut placed = runs.placed().peekable();
            while let Some((at, run)) = placed.next() {
                if wanted(run.room) {
                    let end = placed.peek().map_or(runs.bytes().len(), |(next, _)| *next);
                    let source = Source::Index(start.saturating_add(at as u64), end - at);
                    held.bytes += bytes_of(&run);
                    held.runs.push(RunOutline::new(&run, source));
                }
            }
        });
        if let Err(error) = taken {
            unread.insert(meta.id, (meta, error));
        }
    }
    from_catalog(directory, wanted, unread, &mut held);
    held.runs.sort_by_key(|run| (run.room, run.first_rev, run.last_rev));
    held
}

/// A pack's runs, and where the first of them stands.
fn index(directory: &Directory, pack: u64) -> Result<(Runs, u64)> {
    let file = PackFile::open(&directory.disk, pack)?;
    let (runs, _) = file.take_index()?;
    let footer = file.footer()?;
    // The list's count stands before it.
    let count = to_bytes(&runs.len()).len() as u64;
    Ok((runs, footer.index_offset.saturating_add(count)))
}

/// The catalog's rows of packs whose index cannot be read.
fn from_catalog(
    directory: &Directory,
    wanted: impl Fn(RoomId) -> bool,
    unread: BTreeMap<u64, (&PackMeta, Error)>,
    held: &mut Held,
) {
    if unread.is_empty() {
        return;
    }
    held.damaged = true;
    let mut rows: BTreeMap<u64, u64> = BTreeMap::new();
    let walked = directory.catalog().and_then(|catalog| {
        walk_prefix(catalog, Family::Index, RUNS, &mut |_, value| {
            let Ok(run) = from_bytes::<Run>(value, "run row") else { return Ok(Go::On) };
            if unread.contains_key(&run.pack) {
                *rows.entry(run.pack).or_default() += 1;
                if wanted(run.room) {
                    held.bytes += bytes_of(&run);
                    held.runs.push(RunOutline::new(&run, Source::Row));
                }
            }
            Ok(Go::On)
        })
    });
    for (id, (meta, error)) in unread {
        let known = walked.is_ok() && rows.get(&id) == Some(&meta.runs);
        eprintln!("hansard-tool: {error}");
        if !known {
            let offset = match &error {
                Error::Corrupt { offset, .. } => *offset,
                _ => 0,
            };
            let place = Place { file: name_of(id), offset };
            let gap = Gap::new(words(&error), Some(place));
            held.gaps.push(gap.lsns((meta.first_lsn.0, meta.last_lsn.0)));
        }
    }
}

/// Reads runs, one after the other.
pub(super) struct Reader<'a> {
    directory: &'a Directory,
    progress: &'a Progress,
    times: Times,
    files: BTreeMap<u64, Rc<PackFile>>,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(
        directory: &'a Directory,
        progress: &'a Progress,
        times: Times,
    ) -> Self {
        Self { directory, progress, times, files: BTreeMap::new() }
    }

    fn file(&mut self, pack: u64) -> Result<Rc<PackFile>> {
        if let Some(file) = self.files.get(&pack) {
            return Ok(Rc::clone(file));
        }
        if self.files.len() >= FILES_OPEN_MAX {
            self.files.clear();
        }
        let file = Rc::new(PackFile::open(&self.directory.disk, pack)?);
        self.files.insert(pack, Rc::clone(&file));
        Ok(file)
    }

    /// The run of an outline, with its blocks.
    fn run(&self, outline: &RunOutline, file: &PackFile) -> Result<Option<Run>> {
        let bytes = match outline.source {
            Source::Index(at, bytes) => Some(file.file().read(at, bytes.min(RUN_BYTES_MAX))?),
            Source::Row => {
                let key = keys::run(outline.room, outline.first_rev);
                self.directory.catalog()?.get(Family::Index, &key)?
            }
        };
        let run = bytes.and_then(|bytes| from_bytes::<Run>(&bytes, "run").ok());
        Ok(run.filter(|run| outline.is_of(run)))
    }

    /// Gives the records of a run.
    pub(super) fn give<W: Write>(
        &mut self,
        outline: &RunOutline,
        follow: &mut Follow,
        out: &mut Out<W>,
    ) -> Step {
        if outline.last_rev <= follow.rev() {
            return Ok(());
        }
        follow.upto((Rev(outline.first_rev.0.saturating_sub(1)), outline.seq_base), out)?;
        if outline.dropped {
            return follow.lacks((outline.last_rev, outline.last_seq), EXPIRED, None, out);
        }
        let read = self.file(outline.pack).and_then(|file| {
            let run = self.run(outline, &file)?;
            Ok((file, run))
        });
        let end = (outline.last_rev, outline.last_seq);
        let place = |offset| Some(Place { file: name_of(outline.pack), offset });
        match read {
            Ok((file, Some(run))) => self.blocks(&run, &file, follow, out),
            Ok((_, None)) => follow.lacks(end, "run index has changed", place(0), out),
            Err(error) => follow.lacks(end, &words(&error), place(0), out),
        }
    }

    fn blocks<W: Write>(
        &self,
        run: &Run,
        file: &PackFile,
        follow: &mut Follow,
        out: &mut Out<W>,
    ) -> Step {
        let unwanted: BTreeSet<usize> =
            (0..run.blocks.len()).filter(|index| self.is_outside(run, *index)).collect();
        let mut blocks = Blocks::new(file);
        if unwanted.len() < run.blocks.len() {
            blocks.fetch(run);
        }
        for (index, fence) in run.blocks.iter().enumerate() {
            self.progress.add(u64::from(fence.share));
            let end = (run.block_last_rev(index), run.block_last_seq(index));
            if end.0 <= follow.rev() {
                continue;
            }
            follow.upto((Rev(fence.first_rev.0.saturating_sub(1)), fence.seq_base), out)?;
            if unwanted.contains(&index) {
                follow.skip(end, out)?;
                continue;
            }
            let place = Place { file: name_of(run.pack), offset: fence.offset };
            match blocks.block(run.room, fence) {
                Ok(block) => {
                    follow.take(&records(&block, run, fence, &place), Some(end.1), out)?;
                    follow.lacks(end, "block has too few records", Some(place), out)?;
                }
                Err(reason) => follow.lacks(end, &reason, Some(place), out)?,
            }
        }
        Ok(())
    }

    /// Nothing of a block is wanted, as the index alone says: every record of it is an entry, and
    /// entries are in order of time.
    fn is_outside(&self, run: &Run, index: usize) -> bool {
        let Some(fence) = run.blocks.get(index) else { return false };
        let entries = run.block_last_seq(index).0.saturating_sub(fence.seq_base.0);
        let outside =
            run.block_last_time(index) < self.times.from || fence.time_base >= self.times.to;
        outside && entries == u64::from(fence.records)
    }
}

/// What stands in a block.
fn records(block: &Block, run: &Run, fence: &BlockRef, place: &Place) -> Vec<Found> {
    let revs = (0..).map(|nth| Rev(fence.first_rev.0.saturating_add(nth)));
    let found = |(at, rev): (usize, Rev)| {
        let bytes = block.record(at).unwrap_or_default();
        let record = match Record::from_bytes(&bytes) {
            Ok(record) if record.room == run.room && record.rev == rev => Ok(record),
            Ok(_) => Err("record is not of this room or not the next".to_owned()),
            Err(wrong) => Err(wrong.what.to_owned()),
        };
        let seq = record.as_ref().ok().map(|record| record.seq);
        Found { rev, seq, record, place: place.clone() }
    };
    (0..block.len()).zip(revs).map(found).collect()
}
