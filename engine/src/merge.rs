//! Merging: many small packs become few large ones, and a room's runs long ones.
//!
//! Packs of one retention class and one period merge: parts of the day that is, days that are over,
//! then months and years whose packs are still small. A period waits until nobody remembers its
//! idempotency keys, so that its merge leaves them behind; and parts of a day merge to packs that
//! are small still, so that there is such a merge. A pack that is alone in its day is written anew
//! for that, and because a seal compresses less. A merge writes new packs, reads them back,
//! commits them to the manifest in the place of the old ones, and lets the last reader unlink
//! those. Every record is moved as it is, or dropped because retention took it; and a pack of which
//! much is to be dropped is written anew for that alone. What has more runs than memory is to hold
//! is read and written a share of its rooms at a time; it is one merge all the same.
//!
//! INVARIANT: a pack leaves the manifest in the edit that names packs with all its records, but for
//! those that they name as dropped.
//!
//! ORDERING: new packs durable and read back, then the manifest's edit durable, then the rows of
//! runs replaced, then the old packs unlinked. A start finishes what was cut off between.

mod learn;
mod purge;
mod rewrite;
mod share;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::apply::first_key;
use crate::catalog::Family;
use crate::engine::{Engine, Inner};
use crate::error::{Error, Result};
use crate::format::pack::{PackMeta, pack_name};
use crate::format::runs::Runs;
use crate::index;
use crate::limits;
use crate::pace::Bell;
use crate::pack::{self, PackKind, Packs};
use crate::seal::{self, CLASS_KEPT};
use crate::stats::Stopwatch;
use crate::storage::join;
use crate::sync::Mutex;
use crate::types::{Lsn, TimeUs};
use purge::Purge;
use rewrite::{Failed, Made, Rewrite, Tools};
use share::Share;

/// Parts of a day.
const LEVEL_PARTS: u32 = 1;
/// A day.
pub(crate) const LEVEL_DAY: u32 = 2;
/// A month.
const LEVEL_MONTH: u32 = 3;
/// A year.
const LEVEL_YEAR: u32 = 4;

/// A pack's period is at most this part of the time that its entries are kept, so that all of them
/// go at about the same time.
const PERIODS_KEPT: u32 = 8;
/// Packs are looked through for what retention took at least so often.
const LOOK_EVERY: Duration = Duration::from_secs(3600);
/// A pack is written anew once this part of it may go.
const DEAD_PART: u64 = 2;
/// Where less may go of a pack, it goes after so many days, or after this part of its class.
const DEAD_DAYS_MAX: i64 = 7;
const DEAD_CLASS_PART: i64 = 64;

/// The pause after a merge that failed.
const PAUSE: Duration = Duration::from_secs(60);

/// Packs that shall become one, or a few large ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    pub inputs: Vec<PackMeta>,
    pub kind: PackKind,
    /// It is done to let go of what is in them, and makes room: also from the reserve.
    pub frees: bool,
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
    /// Records dropped.
    pub dropped: u64,
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

/// How far packs of a retention class merge.
const fn level_max(class: u32) -> u32 {
    match class / PERIODS_KEPT {
        _ if class == CLASS_KEPT => LEVEL_YEAR,
        366.. => LEVEL_YEAR,
        31.. => LEVEL_MONTH,
        _ => LEVEL_DAY,
    }
}

/// When packs are looked at.
#[derive(Clone, Copy)]
pub(crate) struct Due {
    /// The day since 1970.
    pub today: i64,
    /// Where in the log the first idempotency key is that is remembered.
    pub first_key: Lsn,
}

/// The next packs to merge, or none if all is as it should be. It ends: each merge leaves fewer
/// packs of the levels below its own.
pub(crate) fn pick(
    packs: &BTreeMap<u64, PackMeta>,
    due: Due,
    passed_over: &BTreeSet<u64>,
) -> Option<Job> {
    (LEVEL_PARTS..=LEVEL_YEAR).find_map(|level| {
        let mut groups: BTreeMap<_, Vec<&PackMeta>> = BTreeMap::new();
        let worth = |meta: &&PackMeta| {
            // What a seal wrote has its keys yet, and of small rooms a run for every message.
            let sealed = meta.level == 0 && level > LEVEL_PARTS;
            (sealed || meta.bytes < limits::PACK_BYTES_SMALL) && !passed_over.contains(&meta.id)
        };
        let reaches = |meta: &&PackMeta| match level {
            LEVEL_PARTS => meta.level == 0,
            _ => meta.level <= level && level <= level_max(meta.class),
        };
        for meta in packs.values().filter(worth).filter(reaches) {
            if let Some(period) = period(level, meta.day.day(), due.today) {
                groups.entry((meta.class, period)).or_default().push(meta);
            }
        }
        let has_keys = |group: &[&PackMeta]| {
            level > LEVEL_PARTS && group.iter().any(|meta| meta.last_lsn >= due.first_key)
        };
        let mut groups = groups.into_iter().filter(|(_, group)| !has_keys(group));
        groups.find_map(|((class, _), group)| job(group, class, level))
    })
}

/// As many of a group's packs as one merge may read, those merged least first.
fn job(mut group: Vec<&PackMeta>, class: u32, level: u32) -> Option<Job> {
    let (least, bytes_max) = match level {
        LEVEL_PARTS => (limits::MERGE_FAN, limits::PACK_BYTES_SMALL - 1),
        // Also of one alone the keys go.
        LEVEL_DAY => (1, limits::MERGE_BYTES_MAX),
        _ => (2, limits::MERGE_BYTES_MAX),
    };
    group.sort_by_key(|meta| (meta.level, meta.first_lsn));
    let (mut inputs, mut bytes, mut runs, mut dropped) = (Vec::new(), 0, 0, 0);
    for meta in group {
        // One that does not fit does not keep the others from it.
        if bytes + meta.bytes <= bytes_max
            && runs + meta.runs <= limits::MERGE_RUNS_MAX
            && dropped + meta.dropped + meta.records <= limits::PACK_DROPPED_MAX
        {
            (bytes, runs) = (bytes + meta.bytes, runs + meta.runs);
            dropped += meta.dropped + meta.records;
            inputs.push(meta.clone());
        }
    }
    let lower = inputs.iter().any(|meta: &PackMeta| meta.level < level);
    let day = inputs.iter().map(|meta| meta.day.day()).min()?;
    let enough = inputs.len() >= least && lower;
    enough.then_some(Job { inputs, kind: PackKind { class, level, day }, frees: false })
}

/// What of packs may go.
#[derive(Debug, Default)]
struct Dead {
    /// When that was looked for, unless it is to be looked for again.
    looked: Option<Stopwatch>,
    /// Bytes of each pack, and when they were first seen.
    packs: BTreeMap<u64, (u64, TimeUs)>,
}

/// The merger's bell, and what only it knows.
#[derive(Debug, Default)]
pub(crate) struct Merger {
    pub bell: Bell,
    /// One merge at a time.
    merging: Mutex<()>,
    /// Held from the edit of the manifest until the rows of runs say the same: a copy that is made
    /// meanwhile would have either. Take it before seals are held.
    pub rows: Mutex<()>,
    /// Packs that could not be read: they stay as they are until the next start, or for a repair.
    passed_over: Mutex<BTreeSet<u64>>,
    dead: Mutex<Dead>,
}

impl Merger {
    /// Retention took something: what of packs may go is looked for again.
    pub(crate) fn look_again(&self) {
        self.dead.lock().looked = None;
        self.bell.ring();
    }
}

/// When a pack is written anew only for what may go of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// Once it is worth it.
    Worth,
    /// At once.
    Now,
}

impl std::ops::AddAssign for MergeReport {
    fn add_assign(&mut self, other: Self) {
        self.merges += other.merges;
        self.packs_in += other.packs_in;
        self.packs_out += other.packs_out;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.records += other.records;
        self.dropped += other.dropped;
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
        self.0.merge_one(told, When::Worth)
    }

    /// Seals, and takes what retention took out of every pack, however little it is of one. What
    /// compliance keeps stays.
    ///
    /// # Errors
    /// As [`Self::merge_next`], and of a seal.
    pub fn purge(&self, told: &mut dyn FnMut(usize) -> bool) -> Result<MergeReport> {
        self.seal()?;
        self.0.merger.dead.lock().looked = None;
        let mut report = MergeReport::default();
        while let Some(done) = self.0.merge_one(told, When::Now)? {
            report += done;
        }
        Ok(report)
    }

    /// Has all tables of the catalog written anew, without the rows that were removed. Reads and
    /// appends go on meanwhile; the disk holds both copies.
    ///
    /// # Errors
    /// `Io` or `NoSpace`.
    pub fn compact_catalog(&self) -> Result<()> {
        let end = [u8::MAX; 32];
        Family::ALL.into_iter().try_for_each(|of| self.0.store.erase_removed(of, &[], &end))
    }

    /// Bytes of packs that [`Self::purge`] would read, as far as all is sealed, and read back: at
    /// most so many it tells of.
    #[must_use]
    pub fn purge_due_bytes(&self) -> u64 {
        self.0.purge_due_bytes()
    }

    /// Bytes of packs that merges have yet to read until nothing is due, as things stand: what they
    /// owe. What retention took is not counted.
    ///
    /// # Errors
    /// `Io` or `Corrupt` of the catalog.
    pub fn merge_owed_bytes(&self) -> Result<u64> {
        let inner = &*self.0;
        let due =
            Due { today: inner.clock.now_or_floor().day(), first_key: first_key(&*inner.store)? };
        let packs = inner.manifest.lock().state().packs.clone();
        Ok(owed(packs, due, &inner.merger.passed_over.lock()))
    }

    /// Bytes of packs that [`Self::merge_next`] would read, as things stand, and read back: about
    /// so many it tells of.
    #[must_use]
    pub fn merge_due_bytes(&self) -> u64 {
        self.0.next_merge(When::Worth).map_or(0, |job| self.0.due_bytes(&job.inputs))
    }
}

/// Bytes of packs that merges read until nothing is due. What one writes counts as being as large
/// as what it read.
fn owed(mut packs: BTreeMap<u64, PackMeta>, due: Due, passed_over: &BTreeSet<u64>) -> u64 {
    let mut bytes: u64 = 0;
    while let Some(Job { inputs, kind, .. }) = pick(&packs, due, passed_over) {
        let whole = inputs.iter().cloned().reduce(|whole, meta| PackMeta {
            bytes: whole.bytes.saturating_add(meta.bytes),
            records: whole.records.saturating_add(meta.records),
            runs: whole.runs.saturating_add(meta.runs),
            dropped: whole.dropped.saturating_add(meta.dropped),
            last_lsn: whole.last_lsn.max(meta.last_lsn),
            ..whole
        });
        packs.retain(|id, _| inputs.iter().all(|meta| meta.id != *id));
        let Some(whole) = whole else { break };
        bytes = bytes.saturating_add(whole.bytes);
        packs.insert(whole.id, PackMeta { level: kind.level, ..whole });
    }
    bytes
}

impl Inner {
    pub(crate) fn run_merger(&self) {
        let interval = Duration::from_millis(self.options.merge_interval_ms);
        let mut wait = interval;
        while self.merger.bell.wait(wait) {
            wait = interval;
            if let Err(error) = self.erase_owed() {
                tracing::warn!(%error, "erased words are still on the disk: it is tried again");
            }
            let rate = self.options.merge_bytes_per_second;
            let mut watch = Stopwatch::start();
            let mut pace = |bytes: usize| {
                let go_on = self.merger.bell.pace(bytes, rate, watch.elapsed());
                watch = Stopwatch::start();
                go_on
            };
            match self.merge_one(&mut pace, When::Worth) {
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

    fn next_merge(&self, when: When) -> Option<Job> {
        let now = self.clock.now_or_floor();
        if when == When::Worth {
            match first_key(&*self.store) {
                Ok(first_key) => {
                    let manifest = self.manifest.lock();
                    let passed_over = self.merger.passed_over.lock();
                    let due = Due { today: now.day(), first_key };
                    let job = pick(&manifest.state().packs, due, &passed_over);
                    if job.is_some() {
                        return job;
                    }
                }
                Err(error) => tracing::warn!(%error, "which packs are to merge is not known"),
            }
        }
        let found = self.look_for_dead(now);
        if let Err(error) = found {
            tracing::warn!(%error, "what of packs may go is not known");
            return None;
        }
        let dead = self.merger.dead.lock();
        let manifest = self.manifest.lock();
        let passed_over = self.merger.passed_over.lock();
        let due = |id: &u64, (bytes, since): &(u64, TimeUs)| {
            let meta = manifest.state().packs.get(id).filter(|_| !passed_over.contains(id))?;
            let days = DEAD_DAYS_MAX.max(i64::from(meta.class) / DEAD_CLASS_PART);
            let old = since.saturating_add_us(days.saturating_mul(TimeUs::DAY_US)) <= now;
            let worth = bytes.saturating_mul(DEAD_PART) >= meta.bytes;
            (when == When::Now || old || worth).then(|| meta.clone())
        };
        let meta = dead.packs.iter().find_map(|(id, bytes)| due(id, bytes))?;
        let kind = PackKind { class: meta.class, level: meta.level, day: meta.day.day() };
        Some(Job { inputs: vec![meta], kind, frees: true })
    }

    fn purge_due_bytes(&self) -> u64 {
        self.merger.dead.lock().looked = None;
        if let Err(error) = self.look_for_dead(self.clock.now_or_floor()) {
            tracing::warn!(%error, "what of packs may go is not known");
        }
        let metas: Vec<PackMeta> = {
            let dead = self.merger.dead.lock();
            let manifest = self.manifest.lock();
            dead.packs.keys().filter_map(|id| manifest.state().packs.get(id).cloned()).collect()
        };
        // Each is written anew alone.
        metas.iter().map(|meta| self.due_bytes(std::slice::from_ref(meta))).sum()
    }

    /// Looks for what of packs may go, if that is not known.
    fn look_for_dead(&self, now: TimeUs) -> Result<()> {
        let mut dead = self.merger.dead.lock();
        if dead.looked.as_ref().is_some_and(|looked| looked.elapsed() < LOOK_EVERY) {
            return Ok(());
        }
        let sealed = self.manifest.lock().state().sealed;
        let mut purge = Purge::new(&*self.store, sealed)?;
        let found = purge.dead()?;
        let since = |id| dead.packs.get(id).map_or(now, |(_, since)| *since);
        dead.packs = found.iter().map(|(id, bytes)| (*id, (*bytes, since(id)))).collect();
        // A floor counts once it is sealed.
        dead.looked = (!purge.waits).then(Stopwatch::start);
        Ok(())
    }

    /// One merge; none if nothing is due.
    fn merge_one(
        &self,
        pace: &mut dyn FnMut(usize) -> bool,
        when: When,
    ) -> Result<Option<MergeReport>> {
        let _one_at_a_time = self.merger.merging.lock();
        if !self.restricted.is_empty() {
            return Ok(None);
        }
        if let Some(poisoned) = self.progress.poison.get() {
            return Err(poisoned);
        }
        match self.next_merge(when) {
            Some(job) => self.do_job(&job, pace).map(Some),
            None => Ok(None),
        }
    }

    /// Writes packs anew. Merges must stand still.
    fn do_job(&self, job: &Job, pace: &mut dyn FnMut(usize) -> bool) -> Result<MergeReport> {
        let bytes_in = sum(&job.inputs);
        self.space_for(bytes_in, job.frees)?;
        // ORDERING: how far is sealed first: what is below it stands in packs by now.
        let sealed = self.manifest.lock().state().sealed;
        let purge = Purge::new(&*self.store, sealed)?;
        let (disk, store, numbers) = (&self.disk, &*self.store, &self.numbers);
        let tools = Tools { disk, store, numbers, purge, pace };
        let mut rewrite = Rewrite::new(tools, job.kind);
        let made = match rewrite.run(job, self.options.merge_runs) {
            Ok(made) => made,
            Err(Failed { error, pack }) => {
                seal::discard(&self.disk, &rewrite.taken);
                if let Some(pack) = pack {
                    // It must not keep the others from being merged.
                    self.stats.merge_failures.add(1);
                    tracing::error!(%error, pack, "pack that cannot be read is not merged");
                    self.merger.passed_over.lock().insert(pack);
                    return Ok(MergeReport::default());
                }
                return Err(error);
            }
        };
        let report = MergeReport {
            merges: 1,
            packs_in: job.inputs.len() as u64,
            packs_out: made.packs.len() as u64,
            bytes_in,
            bytes_out: made.bytes(),
            records: made.records,
            dropped: made.dropped,
        };
        self.commit_merge(job, &made, &rewrite.packs)?;
        self.stats.merges.add(1);
        self.stats.merge_read_bytes.add(bytes_in);
        self.stats.merge_written_bytes.add(report.bytes_out);
        self.stats.dropped_records.add(made.dropped);
        Ok(report)
    }

    /// Writes these packs anew, one by one, those that are still there. `Corrupt` if one cannot be
    /// read.
    pub(crate) fn rewrite_packs(&self, ids: &BTreeSet<u64>) -> Result<MergeReport> {
        let _one_at_a_time = self.merger.merging.lock();
        let mut report = MergeReport::default();
        for id in ids {
            let found = self.manifest.lock().state().packs.get(id).cloned();
            let Some(meta) = found else { continue };
            let kind = PackKind { class: meta.class, level: meta.level, day: meta.day.day() };
            let done =
                self.do_job(&Job { inputs: vec![meta], kind, frees: true }, &mut |_| true)?;
            if done == MergeReport::default() {
                let path = self.disk.full(&join(pack::DIR, &pack_name(*id)));
                return Err(Error::corrupt("pack cannot be written anew", &path, 0, *id, 0));
            }
            report += done;
        }
        Ok(report)
    }

    /// A merge must not take the space that is reserved for what was acknowledged, unless it makes
    /// room.
    fn space_for(&self, bytes: u64, frees: bool) -> Result<()> {
        let reserve = self.options.disk_reserve_bytes;
        let kept = if frees { 0 } else { reserve };
        if reserve > 0 && self.disk.free_bytes()? < kept.saturating_add(bytes) {
            let path = self.disk.root().to_path_buf();
            return Err(Error::NoSpace { what: "a merge: the reserve would be touched", path });
        }
        Ok(())
    }

    /// `packs` has the files that were read.
    fn commit_merge(&self, job: &Job, made: &Made, packs: &Packs) -> Result<()> {
        let gone: Vec<u64> = job.inputs.iter().map(|meta| meta.id).collect();
        let added: Vec<PackMeta> = made.packs.iter().map(|pack| pack.meta.clone()).collect();
        let (was, is) = (sum(&job.inputs), made.bytes());
        let _rows = self.merger.rows.lock();
        let seals = self.keeper.hold();
        if let Some(poisoned) = self.progress.poison.get() {
            let ids: Vec<u64> = added.iter().map(|meta| meta.id).collect();
            seal::discard(&self.disk, &ids);
            return Err(poisoned);
        }
        let sealed = self.manifest.lock().state().sealed;
        self.commit_packs(added, gone.clone(), sealed)?;
        // A seal adds to them.
        self.stats.packs.set(self.manifest.lock().state().packs.len() as u64);
        self.stats.pack_bytes.set((self.stats.pack_bytes.get() + is).saturating_sub(was));
        // What seals meet from here on is what they meet after a start that follows a cut.
        drop(seals);
        let replaced = self.replace_rows(job, made, packs, &gone);
        replaced.inspect_err(|e| self.progress.poison.set(e))?;
        self.merger.dead.lock().packs.retain(|id, _| !gone.contains(id));
        tracing::info!(
            packs = gone.len(),
            into = made.packs.len(),
            records = made.records,
            dropped = made.dropped,
            bytes = was,
            written = is,
            level = job.kind.level,
            "merged packs"
        );
        // ORDERING: no run list names them any more.
        self.history.views.retire(gone);
        Ok(())
    }

    /// Replaces the rows of runs, a share of the rooms at a time. Between two of them rows name old
    /// packs and new ones; those of one room name either.
    fn replace_rows(&self, job: &Job, made: &Made, packs: &Packs, gone: &[u64]) -> Result<()> {
        for share in Share::of(&job.inputs, self.options.merge_runs) {
            let (mut old, mut new) = (Runs::default(), Runs::default());
            for meta in &job.inputs {
                share.visit(packs, meta, &mut |run| _ = old.push(&run))?;
            }
            let of_share = || made.packs.iter().filter(|pack| pack.share == share);
            for pack in of_share() {
                packs.visit_index(&pack.meta, &mut |run| _ = new.push(&run))?;
            }
            let marks = of_share().map(|pack| (pack.meta.id, &pack.dropped));
            let write = || index::replace(&*self.store, &old, &new, marks);
            self.history.runs.replace(old.iter().map(|run| run.room), write)?;
        }
        index::forget(&*self.store, gone)
    }

    /// About how many bytes a merge of these packs reads, and reads back: every share but the first
    /// reads the indexes once more.
    fn due_bytes(&self, inputs: &[PackMeta]) -> u64 {
        let again = Share::of(inputs, self.options.merge_runs).skip(1).count() as u64;
        let packs = Packs::aside(&self.disk);
        // One that cannot be read is passed over.
        let index = |meta: &PackMeta| packs.index_bytes(meta.id).unwrap_or_default();
        let indexes: u64 = if again > 0 { inputs.iter().map(index).sum() } else { 0 };
        2 * sum(inputs) + again * indexes
    }
}

fn sum(metas: &[PackMeta]) -> u64 {
    metas.iter().map(|meta| meta.bytes).sum()
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
