//! Packs under `verify`: every byte, every block, every record, on all cores.
//!
//! A pack is read twice at the same time: from end to end for its digest, and run by run. The
//! second reading mostly finds in memory what the first fetched. Large packs are cut at runs, so
//! that one of them does not keep the others waiting.
//!
//! INVARIANT: what is found, and its order, does not depend on the threads.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hansard_engine::catalog::{CatalogStore, Family, keys};
use hansard_engine::error::{Error, Result};
use hansard_engine::format::block::Block;
use hansard_engine::format::pack::{PackMeta, pack_name};
use hansard_engine::format::record::Outline;
use hansard_engine::format::run::{BlockRef, Run};
use hansard_engine::format::runs::Runs;
use hansard_engine::format::wire::from_bytes;
use hansard_engine::pack::{self, BlockReader, PackFile};
use hansard_engine::storage::{Disk, DiskFile, Mode, join};
use hansard_engine::types::{Rev, RoomId, Seq};
use sha2::{Digest, Sha256};

use super::pool;
use super::progress::Progress;
use super::seen::{RoomSpan, Seen};
use super::{Finding, finding, of_error};

/// Bytes of blocks that one job checks, at least if there are so many.
const CHUNK_BYTES: u64 = 4 * 1024 * 1024;
/// Rows of runs that are looked for at once.
const ROWS: usize = 1024;
/// Bytes read at once for a digest.
const PIECE_BYTES: usize = 1024 * 1024;

/// What packs are checked against, and what is kept of what they hold.
pub(super) struct Look<'a> {
    pub disk: &'a Disk,
    pub catalog: Option<&'a dyn CatalogStore>,
    pub progress: &'a Progress,
    /// Whether to look into packs whose digest is the one wanted.
    pub depth: Depth,
    /// Whether to collect what was seen.
    pub collect: bool,
}

/// How far packs are looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Every block and every record in it.
    Records,
    /// Every byte against the digest in the manifest, and every run against the catalog; blocks
    /// only where the digest differs.
    Digests,
}

/// The outcome for one pack, or for a part of one.
#[derive(Debug, Default)]
pub(super) struct PackCheck {
    pub damage: Vec<Finding>,
    pub packs: u64,
    pub blocks: u64,
    pub records: u64,
    pub dropped: u64,
    pub bytes: u64,
    pub seen: Seen,
}

impl PackCheck {
    fn add(&mut self, other: Self) {
        self.damage.extend(other.damage);
        self.packs += other.packs;
        self.blocks += other.blocks;
        self.records += other.records;
        self.dropped += other.dropped;
        self.bytes += other.bytes;
        self.seen.absorb(other.seen);
    }
}

/// A pack being checked.
struct Open {
    /// Its place among the packs.
    place: usize,
    file: PackFile,
    bytes: u64,
    expected: [u8; 32],
    runs: Runs,
    parts: Mutex<Parts>,
}

/// What is known of it so far.
struct Parts {
    /// What was found before its blocks were looked at.
    first: PackCheck,
    digest: Option<Result<[u8; 32]>>,
    chunks: BTreeMap<usize, PackCheck>,
    /// Jobs that are not done.
    left: usize,
}

enum Job {
    Pack(usize),
    Digest(Arc<Open>),
    /// The catalog's rows of its runs.
    Rows(Arc<Open>),
    Chunk(Arc<Open>, Range<usize>),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Checks packs; the outcomes stand in the order of `metas`.
pub(super) fn check(look: &Look<'_>, metas: &[PackMeta]) -> Vec<PackCheck> {
    let done: Mutex<BTreeMap<usize, PackCheck>> = Mutex::new(BTreeMap::new());
    let finish = |place, check| {
        lock(&done).insert(place, check);
    };
    pool::run(pool::threads(), (0..metas.len()).map(Job::Pack), |job| match job {
        Job::Pack(place) => {
            let Some(meta) = metas.get(place) else { return Vec::new() };
            look.open(place, meta).unwrap_or_else(|check| {
                look.progress.add(meta.bytes);
                finish(place, *check);
                Vec::new()
            })
        }
        Job::Digest(open) => look.digest(&open, &finish),
        Job::Rows(open) => {
            let rows = look.rows(&open);
            open.done(|parts| parts.first.add(rows), &finish);
            Vec::new()
        }
        Job::Chunk(open, runs) => {
            let at = runs.start;
            let chunk = look.chunk(&open, runs);
            open.done(|parts| drop(parts.chunks.insert(at, chunk)), &finish);
            Vec::new()
        }
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

/// SHA-256 of a whole file.
///
/// # Errors
/// `Io`.
pub(crate) fn digest(file: &DiskFile, each: impl Fn(u64)) -> Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    let mut piece = vec![0; PIECE_BYTES];
    let mut at = 0;
    loop {
        let got = file.read_some(at, &mut piece)?;
        if got == 0 {
            return Ok(hasher.finalize().into());
        }
        hasher.update(piece.get(..got).unwrap_or_default());
        at += got as u64;
        each(got as u64);
    }
}

/// Where the runs of a pack are cut into jobs.
fn chunks(runs: &Runs) -> Vec<Range<usize>> {
    let mut chunks = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (at, run) in runs.placed() {
        if bytes >= CHUNK_BYTES {
            chunks.push(start..at);
            (start, bytes) = (at, 0);
        }
        bytes += run.blocks.iter().map(|b| u64::from(b.share)).sum::<u64>();
    }
    chunks.extend((!runs.is_empty()).then(|| start..runs.bytes().len()));
    chunks
}

impl Open {
    /// Notes what a job found; the last one puts all of it together, in the order of the pack.
    fn done(&self, note: impl FnOnce(&mut Parts), finish: &impl Fn(usize, PackCheck)) {
        let mut parts = lock(&self.parts);
        note(&mut parts);
        parts.left -= 1;
        if parts.left > 0 {
            return;
        }
        let mut whole = std::mem::take(&mut parts.first);
        let before = whole.damage.len();
        let chunks = std::mem::take(&mut parts.chunks);
        chunks.into_values().for_each(|chunk| whole.add(chunk));
        // Whatever lies between the blocks is covered by the digest of the whole only.
        if whole.damage.len() == before {
            match &parts.digest {
                Some(Ok(digest)) if *digest == self.expected => {}
                Some(Err(error)) => whole.damage.push(of_error(error, self.file.file().path())),
                _ => whole.damage.push(finding(
                    self.file.file().path(),
                    0,
                    self.bytes,
                    "pack digest mismatch",
                )),
            }
        }
        drop(parts);
        finish(self.place, whole);
    }
}

impl Look<'_> {
    /// The jobs of a pack, or the outcome if it cannot be read as one.
    fn open(&self, place: usize, meta: &PackMeta) -> std::result::Result<Vec<Job>, Box<PackCheck>> {
        let name = join(pack::DIR, &pack_name(meta.id));
        let path = self.disk.full(&name);
        let mut first = PackCheck::default();
        match self.open_file(&name, meta, &mut first) {
            Ok((file, bytes, runs)) => {
                let indexed = self.catalog.is_some_and(|catalog| {
                    let row = catalog.get(Family::Index, &keys::pack_indexed(meta.id));
                    // Rows that a crash took away are written again at the next start.
                    matches!(row, Ok(Some(_)))
                });
                let chunks = if self.depth == Depth::Records { chunks(&runs) } else { Vec::new() };
                let left = 1 + usize::from(indexed) + chunks.len();
                let parts = Parts { first, digest: None, chunks: BTreeMap::new(), left };
                let parts = Mutex::new(parts);
                let expected = meta.sha256;
                let open = Arc::new(Open { place, file, bytes, expected, runs, parts });
                let mut jobs = vec![Job::Digest(Arc::clone(&open))];
                jobs.extend(indexed.then(|| Job::Rows(Arc::clone(&open))));
                jobs.extend(chunks.into_iter().map(|runs| Job::Chunk(Arc::clone(&open), runs)));
                Ok(jobs)
            }
            Err(error) => {
                first.damage.push(of_error(&error, &path));
                Err(Box::new(first))
            }
        }
    }

    fn open_file(
        &self,
        name: &str,
        meta: &PackMeta,
        check: &mut PackCheck,
    ) -> Result<(PackFile, u64, Runs)> {
        let pack = PackFile::new(self.disk.open(name, Mode::Read)?, meta.id);
        let file = pack.file();
        let bytes = file.len()?;
        check.packs += 1;
        check.bytes += bytes;
        if bytes != meta.bytes {
            let text = format!("pack length expected={} found={bytes}", meta.bytes);
            check.damage.push(finding(file.path(), 0, bytes, text));
        }
        let (runs, dropped) = pack.take_index()?;
        let copies = pack.dictionary_damage()?;
        check.damage.extend(copies.iter().map(|error| of_error(error, file.path())));
        if dropped.count() != meta.dropped {
            let (expected, found) = (meta.dropped, dropped.count());
            let text = format!("dropped records expected={expected} found={found}");
            check.damage.push(finding(file.path(), 0, bytes, text));
        }
        check.dropped += meta.dropped;
        if self.collect {
            check.seen.lsns.insert_all(&dropped);
        }
        Ok((pack, bytes, runs))
    }

    fn digest(&self, open: &Arc<Open>, finish: &impl Fn(usize, PackCheck)) -> Vec<Job> {
        let part = if self.depth == Depth::Records { 2 } else { 1 };
        let digest = digest(open.file.file(), |bytes| self.progress.add(bytes / part));
        let sound = matches!(digest, Ok(digest) if digest == open.expected);
        let more =
            if self.depth == Depth::Digests && !sound { chunks(&open.runs) } else { Vec::new() };
        let note = |parts: &mut Parts| {
            parts.left += more.len();
            parts.digest = Some(digest);
        };
        open.done(note, finish);
        more.into_iter().map(|runs| Job::Chunk(Arc::clone(open), runs)).collect()
    }

    /// The catalog's rows of all its runs.
    fn rows(&self, open: &Open) -> PackCheck {
        let mut check = PackCheck::default();
        let Some(catalog) = self.catalog else { return check };
        // The pack is in order of categories, the rows are in order of rooms, and read as they
        // stand.
        let mut places: Vec<(RoomId, Rev, usize)> =
            open.runs.placed().map(|(place, run)| (run.room, run.first_rev, place)).collect();
        places.sort_unstable();
        let mut wrong = Vec::new();
        for some in places.chunks(ROWS) {
            let keys: Vec<Vec<u8>> =
                some.iter().map(|(room, first_rev, _)| keys::run(*room, *first_rev)).collect();
            let agrees = |row: &[u8], place: usize| {
                let row = from_bytes::<Run>(row, "run row").ok();
                row.is_some() && row == open.runs.at(place)
            };
            let rows = catalog.get_many(Family::Index, &keys);
            // One that cannot be read is not all of them.
            let alone = || keys.iter().map(|key| catalog.get(Family::Index, key).ok().flatten());
            let rows = rows.unwrap_or_else(|_| alone().collect());
            for (row, (.., place)) in rows.into_iter().zip(some) {
                let agrees = row.is_some_and(|row| agrees(&row, *place));
                wrong.extend((!agrees).then_some(*place));
            }
        }
        wrong.sort_unstable();
        let path = open.file.file().path();
        let wrong = wrong.into_iter().filter_map(|place| open.runs.at(place));
        check.damage.extend(wrong.map(|run| Finding {
            room: Some(run.room.to_string()),
            from_seq: Some(run.seq_base.0 + 1),
            to_seq: Some(run.last_seq.0),
            ..finding(path, 0, 0, "catalog row does not agree with the run index")
        }));
        check
    }

    fn chunk(&self, open: &Open, runs: Range<usize>) -> PackCheck {
        let mut check = PackCheck::default();
        let mut reader = Blocks::new(&open.file);
        for (_, run) in open.runs.between(runs) {
            self.run(open, &run, &mut reader, &mut check);
        }
        check
    }

    fn run(&self, open: &Open, run: &Run, reader: &mut Blocks<'_>, check: &mut PackCheck) {
        let path = open.file.file().path();
        reader.fetch(run);
        if self.collect {
            check.seen.spans.push(RoomSpan::from(run));
        }
        let mut rev = run.first_rev;
        let mut seq = run.seq_base;
        for (index, fence) in run.blocks.iter().enumerate() {
            check.blocks += 1;
            let damage = |reason: String| Finding {
                room: Some(run.room.to_string()),
                from_seq: Some(fence.seq_base.0 + 1),
                to_seq: Some(run.block_last_seq(index).0),
                ..finding(path, fence.offset, u64::from(fence.bytes), reason)
            };
            if fence.first_rev != rev || fence.seq_base != seq {
                check.damage.push(damage("run index does not follow itself".to_owned()));
            }
            let read = reader.block(run.room, fence);
            match read.and_then(|block| self.records(&block, run, fence, check)) {
                Ok((last_rev, last_seq)) => {
                    if last_rev != run.block_last_rev(index)
                        || last_seq != run.block_last_seq(index)
                    {
                        let text = "run index does not agree with its block";
                        check.damage.push(damage(text.to_owned()));
                    }
                }
                Err(reason) => check.damage.push(damage(reason)),
            }
            rev = run.block_last_rev(index).next();
            seq = run.block_last_seq(index);
            self.progress.add(u64::from(fence.share).div_ceil(2));
        }
    }

    /// Every record of a block: of this room, dense in rev and seq.
    fn records(
        &self,
        block: &Block,
        run: &Run,
        fence: &BlockRef,
        check: &mut PackCheck,
    ) -> std::result::Result<(Rev, Seq), String> {
        let mut rev = Rev(fence.first_rev.0.saturating_sub(1));
        let mut seq = fence.seq_base;
        for at in 0..block.len() {
            let bytes = block.record(at).ok_or("block record")?;
            let record = Outline::from_bytes(&bytes).map_err(|e| e.what)?;
            check.records += 1;
            if self.collect {
                check.seen.take(&record, &bytes);
            }
            rev = rev.next();
            if record.seq > Seq::ZERO {
                seq = seq.next();
                if record.seq != seq {
                    return Err("record seq is not the next".to_owned());
                }
            }
            if record.room != run.room || record.rev != rev {
                return Err("record is not of this room or not the next".to_owned());
            }
            if record.lsn < run.first_lsn || record.lsn > run.last_lsn {
                return Err("record lsn is outside its run".to_owned());
            }
        }
        Ok((rev, seq))
    }
}

/// Reads blocks of one pack, a run at a time where they stand side by side.
pub(crate) struct Blocks<'a> {
    pack: &'a PackFile,
    reader: Option<BlockReader>,
    start: u64,
    window: Vec<u8>,
}

impl<'a> Blocks<'a> {
    /// A reader of a pack's blocks.
    pub(crate) fn new(pack: &'a PackFile) -> Self {
        Self { pack, reader: BlockReader::new(), start: 0, window: Vec::new() }
    }

    /// Fetches what holds the blocks of a run, if they stand side by side and can be read at once.
    pub(crate) fn fetch(&mut self, run: &Run) {
        let (Some(first), Some(last)) = (run.blocks.first(), run.blocks.last()) else { return };
        let sum: u64 = run.blocks.iter().map(|b| u64::from(b.bytes)).sum();
        let end = last.offset.saturating_add(u64::from(last.bytes));
        let held = self.start..self.start.saturating_add(self.window.len() as u64);
        if held.start <= first.offset && end <= held.end {
            // The room before has a block in the same bundle.
            return;
        }
        self.window.clear();
        if end.checked_sub(first.offset) != Some(sum) {
            return;
        }
        self.start = first.offset;
        self.window.resize(usize::try_from(sum).unwrap_or(0), 0);
        let got = self.pack.file().read_some(self.start, &mut self.window).unwrap_or(0);
        self.window.truncate(got);
    }

    /// A block, verified and decoded.
    ///
    /// # Errors
    /// Which check failed, in words.
    pub(crate) fn block(
        &mut self,
        room: RoomId,
        fence: &BlockRef,
    ) -> std::result::Result<Block, String> {
        let start = fence.offset.checked_sub(self.start).and_then(|at| usize::try_from(at).ok());
        let fetched =
            start.and_then(|at| self.window.get(at..at.checked_add(fence.bytes as usize)?));
        let own;
        let bytes = match fetched {
            Some(bytes) => bytes,
            None => {
                own = self.pack.file().read(fence.offset, fence.bytes as usize).map_err(words)?;
                &own
            }
        };
        let reader = self.reader.as_mut().ok_or("memory for reading is short")?;
        self.pack.decode(bytes, room, fence, reader).map_err(words)
    }
}

/// What a finding says of an error that has a place of its own.
fn words(error: Error) -> String {
    match error {
        Error::Corrupt { what, .. } => what.to_owned(),
        other => other.to_string(),
    }
}
