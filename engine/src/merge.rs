//! Merging: many small packs become few large ones, and a room's runs long ones.
//!
//! Packs of one retention class and one period merge: parts of the day that is, days that are over,
//! then months and years whose packs are still small. A merge writes new packs, reads them back,
//! commits them to the manifest in the place of the old ones, and lets the last reader unlink
//! those. Every record is moved as it is: a merge adds nothing, drops nothing and changes nothing.
//!
//! INVARIANT: a pack leaves the manifest in the edit that names a pack with all its records.
//!
//! ORDERING: new packs durable and read back, then the manifest's edit durable, then the rows of
//! runs replaced, then the old packs unlinked. A start finishes what was cut off between.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::catalog::CatalogStore;
use crate::engine::{Engine, Inner};
use crate::error::{Error, Result};
use crate::format::pack::PackMeta;
use crate::format::record::Outline;
use crate::format::run::{BlockRef, Run};
use crate::index;
use crate::limits;
use crate::pace::Bell;
use crate::pack::{self, PackKind, PackWriter, Packs, takes_seq};
use crate::seal::{self, PackNumbers};
use crate::stats::Stopwatch;
use crate::storage::Disk;
use crate::sync::Mutex;
use crate::tail::TailEntry;
use crate::types::{CategoryId, RoomId, TimeUs};

/// Parts of a day.
const LEVEL_PARTS: u32 = 1;
/// A day.
const LEVEL_DAY: u32 = 2;
/// A month.
const LEVEL_MONTH: u32 = 3;
/// A year.
const LEVEL_YEAR: u32 = 4;

/// The pause after a merge that failed.
const PAUSE: Duration = Duration::from_secs(60);

/// Packs that shall become one, or a few large ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    pub inputs: Vec<PackMeta>,
    pub kind: PackKind,
}

/// What merges did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MergeReport {
    /// Merges done.
    pub merges: u64,
    /// Packs that were replaced.
    pub packs_in: u64,
    /// Packs that took their place.
    pub packs_out: u64,
    /// Bytes of those replaced.
    pub bytes_in: u64,
    /// Bytes of those written.
    pub bytes_out: u64,
    /// Records moved.
    pub records: u64,
}

/// The year and the month of a day since 1970. (H. Hinnant, "chrono-compatible low-level date
/// algorithms", `civil_from_days`.)
const fn month_of(day: i64) -> (i64, i64) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + (month <= 2) as i64, month)
}

/// The period that a pack of this day is merged in at a level, if it is over.
fn period(level: u32, day: i64, today: i64) -> Option<(i64, i64, i64)> {
    let ((year, month), (this_year, this_month)) = (month_of(day), month_of(today));
    match level {
        LEVEL_PARTS => Some((year, month, day)),
        LEVEL_DAY => (day < today).then_some((year, month, day)),
        LEVEL_MONTH => ((year, month) < (this_year, this_month)).then_some((year, month, 0)),
        _ => (year < this_year).then_some((year, 0, 0)),
    }
}

/// The next packs to merge, or none if all is as it should be. It ends: each merge leaves fewer
/// packs of the levels below its own.
pub(crate) fn pick(
    packs: &BTreeMap<u64, PackMeta>,
    today: i64,
    passed_over: &BTreeSet<u64>,
) -> Option<Job> {
    (LEVEL_PARTS..=LEVEL_YEAR).find_map(|level| {
        let mut groups: BTreeMap<_, Vec<&PackMeta>> = BTreeMap::new();
        let small = |meta: &&PackMeta| {
            meta.bytes < limits::PACK_BYTES_SMALL && !passed_over.contains(&meta.id)
        };
        let reaches = |meta: &&PackMeta| match level {
            LEVEL_PARTS => meta.level == 0,
            _ => meta.level <= level,
        };
        for meta in packs.values().filter(small).filter(reaches) {
            if let Some(period) = period(level, meta.day.day(), today) {
                groups.entry((meta.class, period)).or_default().push(meta);
            }
        }
        let least = if level == LEVEL_PARTS { limits::MERGE_FAN } else { 2 };
        groups.into_iter().find_map(|((class, _), group)| job(group, class, level, least))
    })
}

/// As many of a group's packs as one merge may read, those merged least first.
fn job(mut group: Vec<&PackMeta>, class: u32, level: u32, least: usize) -> Option<Job> {
    group.sort_by_key(|meta| (meta.level, meta.first_lsn));
    let (mut inputs, mut bytes, mut runs) = (Vec::new(), 0, 0);
    for meta in group {
        // One that does not fit does not keep the others from it.
        if bytes + meta.bytes <= limits::MERGE_BYTES_MAX
            && runs + meta.runs <= limits::MERGE_RUNS_MAX
        {
            (bytes, runs) = (bytes + meta.bytes, runs + meta.runs);
            inputs.push(meta.clone());
        }
    }
    let lower = inputs.iter().any(|meta: &PackMeta| meta.level < level);
    let day = inputs.iter().map(|meta| meta.day.day()).min()?;
    let enough = inputs.len() >= least && lower;
    enough.then_some(Job { inputs, kind: PackKind { class, level, day } })
}

/// Packs written in the place of others.
struct Merged {
    metas: Vec<PackMeta>,
    runs: Vec<Run>,
    records: u64,
    /// The runs whose place they take.
    old: Vec<Run>,
}

/// Why a merge failed, and the pack that cannot be read, if it is one.
struct Failed {
    error: Error,
    pack: Option<u64>,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, pack: None }
    }
}

/// One merge under way.
struct Rewrite<'a> {
    disk: &'a Disk,
    store: &'a dyn CatalogStore,
    numbers: &'a PackNumbers,
    /// Told of bytes read; false ends the merge.
    pace: &'a mut dyn FnMut(usize) -> bool,
    kind: PackKind,
    writer: Option<PackWriter>,
    made: seal::Sealed,
    taken: Vec<u64>,
    /// Over every record in the order of writing.
    digest: crc32fast::Hasher,
    records: u64,
}

impl Rewrite<'_> {
    fn run(&mut self, job: &Job) -> std::result::Result<Vec<Run>, Failed> {
        let packs = Packs::aside(self.disk);
        let mut old = Vec::new();
        for meta in &job.inputs {
            let runs = packs.runs(meta);
            old.extend(runs.map_err(|error| Failed { error, pack: Some(meta.id) })?);
        }
        // Rooms in order of the category they are in now, as in a seal.
        let mut rooms: BTreeMap<RoomId, (CategoryId, u64)> = BTreeMap::new();
        for run in &old {
            let bytes: u64 = run.blocks.iter().map(|block| u64::from(block.bytes)).sum();
            if let Some((_, sum)) = rooms.get_mut(&run.room) {
                *sum += bytes;
            } else {
                let category = seal::category_of(self.store, run.room)?;
                rooms.insert(run.room, (category, bytes));
            }
        }
        let of = |room: &RoomId| rooms.get(room).copied().unwrap_or((CategoryId::NONE, 0));
        old.sort_by_key(|run| (of(&run.room).0, run.room, run.first_rev));
        for runs in old.chunk_by(|a, b| a.room == b.room) {
            let Some(room) = runs.first().map(|run| run.room) else { continue };
            let (category, bytes) = of(&room);
            // A big room fills packs alone.
            let alone = bytes >= limits::PACK_BYTES_TARGET;
            if alone {
                self.end_pack()?;
            }
            self.room(&packs, room, category, runs)?;
            if alone {
                self.end_pack()?;
            }
        }
        self.end_pack()?;
        Ok(old)
    }

    /// Moves the records of a room.
    fn room(
        &mut self,
        packs: &Packs,
        room: RoomId,
        category: CategoryId,
        runs: &[Run],
    ) -> std::result::Result<(), Failed> {
        let (mut time_at, mut last_rev) = (TimeUs::FLOOR, None);
        for run in runs {
            let mut seq_at = run.seq_base;
            for fence in &run.blocks {
                let bad = |error| Failed { error, pack: Some(run.pack) };
                let block = packs.block(run.pack, fence).map_err(bad)?;
                self.told(fence)?;
                for bytes in (0..block.len()).filter_map(|at| block.record(at)) {
                    let wrong = |what, at| {
                        let file = self.disk.full(pack::DIR);
                        bad(Error::corrupt(what, &file, fence.offset + at, room.0, 0))
                    };
                    let found = Outline::from_bytes(&bytes);
                    let outline = found.map_err(|e| wrong(e.what, e.at as u64))?;
                    if outline.room != room {
                        return Err(wrong("record of another room", 0));
                    }
                    // Beside the merge's own order, what stands twice must be looked at by people.
                    if last_rev.is_some_and(|last| outline.rev <= last) {
                        return Err(wrong("record stands in two packs", 0));
                    }
                    last_rev = Some(outline.rev);
                    if takes_seq(outline.kind) {
                        seq_at = outline.seq;
                    }
                    if outline.kind.is_entry() {
                        time_at = outline.time;
                    }
                    let (lsn, rev, kind) = (outline.lsn, outline.rev, outline.kind);
                    self.add(
                        room,
                        category,
                        &TailEntry { lsn, rev, seq_at, time_at, kind, bytes },
                    )?;
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, room: RoomId, category: CategoryId, entry: &TailEntry) -> Result<()> {
        if self.writer.as_ref().is_some_and(|open| open.bytes() >= limits::PACK_BYTES_TARGET) {
            self.end_pack()?;
        }
        let open = match &mut self.writer {
            Some(open) => open,
            None => {
                let id = self.numbers.take(self.disk)?;
                self.taken.push(id);
                self.writer.insert(PackWriter::create(self.disk, id, self.kind)?)
            }
        };
        open.add(room, category, entry)?;
        self.digest.update(&entry.bytes);
        self.records += 1;
        Ok(())
    }

    /// Tells of bytes that were read.
    fn told(&mut self, fence: &BlockRef) -> Result<()> {
        let ended = Error::Unavailable { why: "the merge was ended" };
        if (self.pace)(fence.bytes as usize) { Ok(()) } else { Err(ended) }
    }

    fn end_pack(&mut self) -> Result<()> {
        seal::finish(self.writer.take(), &mut self.made)
    }

    /// Reads what was written, from the file: the same records in the same order.
    fn check(&mut self) -> Result<()> {
        let packs = Packs::aside(self.disk);
        let (mut digest, mut records) = (crc32fast::Hasher::new(), 0);
        for meta in self.made.metas.clone() {
            for run in packs.runs(&meta)? {
                for fence in &run.blocks {
                    let block = packs.block(run.pack, fence)?;
                    self.told(fence)?;
                    for bytes in (0..block.len()).filter_map(|at| block.record(at)) {
                        digest.update(&bytes);
                        records += 1;
                    }
                }
            }
        }
        let (expected, found) = (self.digest.clone().finalize(), digest.finalize());
        if (expected, self.records) == (found, records) {
            return Ok(());
        }
        let (expected, found) = (u64::from(expected), u64::from(found));
        let what = "merged packs do not hold what was merged";
        Err(Error::corrupt(what, &self.disk.full(pack::DIR), 0, expected, found))
    }
}

/// The merger's bell, and what only it knows.
#[derive(Debug, Default)]
pub(crate) struct Merger {
    pub bell: Bell,
    /// One merge at a time.
    merging: Mutex<()>,
    /// Packs that could not be read: they stay as they are until the next start, or for a repair.
    passed_over: Mutex<BTreeSet<u64>>,
}

impl std::ops::AddAssign for MergeReport {
    fn add_assign(&mut self, other: Self) {
        self.merges += other.merges;
        self.packs_in += other.packs_in;
        self.packs_out += other.packs_out;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.records += other.records;
    }
}

impl Engine {
    /// Merges whatever is due, as fast as the disk allows. `told` hears of bytes read, and ends the
    /// work by answering false: what was merged by then stays merged.
    ///
    /// # Errors
    /// As [`Self::merge_next`].
    pub fn merge(&self, told: &mut dyn FnMut(usize) -> bool) -> Result<MergeReport> {
        let mut report = MergeReport::default();
        while let Some(done) = self.merge_next(told)? {
            report += done;
        }
        Ok(report)
    }

    /// Does the next merge; none if nothing is due. A pack that cannot be read is passed over from
    /// then on, and the report is empty.
    ///
    /// # Errors
    /// `NoSpace` or `Io`; `Unavailable` if the engine closes or `told` ended it; `Poisoned`.
    pub fn merge_next(&self, told: &mut dyn FnMut(usize) -> bool) -> Result<Option<MergeReport>> {
        self.0.merge_one(told)
    }

    /// Bytes of packs that [`Self::merge_next`] would read, as things stand, and read back: about
    /// so many it tells of.
    #[must_use]
    pub fn merge_due_bytes(&self) -> u64 {
        self.0.next_merge().map_or(0, |job| 2 * sum(&job.inputs))
    }
}

impl Inner {
    pub(crate) fn run_merger(&self) {
        let interval = Duration::from_millis(self.options.merge_interval_ms);
        let mut wait = interval;
        while self.merger.bell.wait(wait) {
            wait = interval;
            let rate = self.options.merge_bytes_per_second;
            let mut watch = Stopwatch::start();
            let mut pace = |bytes: usize| {
                let go_on = self.merger.bell.pace(bytes, rate, watch.elapsed());
                watch = Stopwatch::start();
                go_on
            };
            match self.merge_one(&mut pace) {
                // There may be more to do.
                Ok(Some(_)) => wait = Duration::ZERO,
                Ok(None) => {}
                Err(Error::Unavailable { .. }) => {}
                Err(error) => {
                    self.stats.merge_failures.add(1);
                    tracing::warn!(%error, "merge failed and will be tried again");
                    wait = PAUSE.max(interval);
                }
            }
        }
    }

    fn next_merge(&self) -> Option<Job> {
        let manifest = self.manifest.lock();
        let passed_over = self.merger.passed_over.lock();
        pick(&manifest.state().packs, self.clock.now_or_floor().day(), &passed_over)
    }

    /// One merge; none if nothing is due.
    fn merge_one(&self, pace: &mut dyn FnMut(usize) -> bool) -> Result<Option<MergeReport>> {
        let _one_at_a_time = self.merger.merging.lock();
        if !self.restricted.is_empty() {
            return Ok(None);
        }
        if let Some(poisoned) = self.progress.poison.get() {
            return Err(poisoned);
        }
        let Some(job) = self.next_merge() else { return Ok(None) };
        let bytes_in = sum(&job.inputs);
        self.space_for(bytes_in)?;
        let mut rewrite = Rewrite {
            disk: &self.disk,
            store: &*self.store,
            numbers: &self.numbers,
            pace,
            kind: job.kind,
            writer: None,
            made: seal::Sealed::default(),
            taken: Vec::new(),
            digest: crc32fast::Hasher::new(),
            records: 0,
        };
        let done = rewrite.run(&job).and_then(|old| {
            rewrite.check()?;
            Ok(old)
        });
        let Rewrite { made: seal::Sealed { metas, runs }, taken, records, .. } = rewrite;
        let old = match done {
            Ok(old) => old,
            Err(Failed { error, pack }) => {
                seal::discard(&self.disk, &taken);
                if let Some(pack) = pack {
                    // It must not keep the others from being merged.
                    self.stats.merge_failures.add(1);
                    tracing::error!(%error, pack, "pack that cannot be read is not merged");
                    self.merger.passed_over.lock().insert(pack);
                    return Ok(Some(MergeReport::default()));
                }
                return Err(error);
            }
        };
        let bytes_out = sum(&metas);
        let report = MergeReport {
            merges: 1,
            packs_in: job.inputs.len() as u64,
            packs_out: metas.len() as u64,
            bytes_in,
            bytes_out,
            records,
        };
        self.commit_merge(&job, Merged { metas, runs, records, old })?;
        self.stats.merges.add(1);
        self.stats.merge_read_bytes.add(bytes_in);
        self.stats.merge_written_bytes.add(bytes_out);
        Ok(Some(report))
    }

    /// A merge must not take the space that is reserved for what was acknowledged.
    fn space_for(&self, bytes: u64) -> Result<()> {
        let reserve = self.options.disk_reserve_bytes;
        if reserve > 0 && self.disk.free_bytes()? < reserve.saturating_add(bytes) {
            let path = self.disk.root().to_path_buf();
            return Err(Error::NoSpace { what: "a merge: the reserve would be touched", path });
        }
        Ok(())
    }

    fn commit_merge(&self, job: &Job, merged: Merged) -> Result<()> {
        let Merged { metas, runs, records, old } = merged;
        let gone: Vec<u64> = job.inputs.iter().map(|meta| meta.id).collect();
        let _seals = self.keeper.hold();
        if let Some(poisoned) = self.progress.poison.get() {
            seal::discard(&self.disk, &metas.iter().map(|meta| meta.id).collect::<Vec<_>>());
            return Err(poisoned);
        }
        let sealed = self.manifest.lock().state().sealed;
        self.commit_packs(&metas, gone.clone(), sealed)?;
        self.history.runs.begin_replacing();
        let replaced = index::replace(&*self.store, &old, &runs, &gone, &metas);
        self.history.runs.end_replacing();
        replaced.inspect_err(|e| self.progress.poison.set(e))?;
        self.history.runs.forget(old.iter().map(|run| run.room));
        // ORDERING: no run list names them any more.
        let state = self.manifest.lock().state().packs.len() as u64;
        self.stats.packs.set(state);
        let (was, is) = (sum(&job.inputs), sum(&metas));
        self.stats.pack_bytes.set((self.stats.pack_bytes.get() + is).saturating_sub(was));
        tracing::info!(
            packs = gone.len(),
            into = metas.len(),
            records,
            bytes = was,
            written = is,
            level = job.kind.level,
            "merged packs"
        );
        self.history.views.retire(gone);
        Ok(())
    }
}

fn sum(metas: &[PackMeta]) -> u64 {
    metas.iter().map(|meta| meta.bytes).sum()
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
