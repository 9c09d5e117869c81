//! Clients' idempotency keys at rest: runs of rows in the catalog, and a filter in memory for each.
//!
//! A run holds the keys of some thousand records of one span of time in the order of their names,
//! in pages of some kilobytes, and is written once. Of the keys that posts bring nearly all are
//! new: the runs' filters say so, and no row is read. A key that may be there costs a look at one
//! page for each run whose filter says so. Runs that this process wrote stand in groups, each with
//! a sieve over all of its names: most questions end there.
//!
//! The applier makes runs of what it has gathered (`apply/remembered`); what is gathered and not
//! yet written `sequence` knows by itself. This module decides nothing about windows of time.
//!
//! INVARIANT: every key of a record up to `kept` stands in a run here, or went with its span, or
//! was erased with its record.

use std::sync::Arc;

use crate::apply::{applied_row, decode_row};
use crate::catalog::keys::{self, KeyName, KeySpan};
use crate::catalog::memory::Rows;
use crate::catalog::rows::{KeyEntry, KeyPage, KeyRow};
use crate::catalog::{CatalogStore, Change, Family, Go, Walk, walk_prefix};
use crate::error::Result;
use crate::format::filter::{Filter, Sieve};
use crate::format::wire::to_bytes;
use crate::limits;
use crate::sync::RwLock;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::types::Lsn;

/// Keys of one page.
const PAGE_KEYS: usize = 128;
/// Names that the runs of a group have together.
const GROUP_KEYS: usize = if cfg!(test) { 1_000 } else { 8 * limits::KEY_RUN_KEYS };

/// The first result under a client's key, and the span in which it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct First {
    /// The span.
    pub span: KeySpan,
    /// What is remembered.
    pub row: KeyRow,
}

/// A run, by its span and its first place in the log.
#[derive(Debug)]
pub(crate) struct KeyRun {
    span: KeySpan,
    first: Lsn,
    /// None where memory had no more room for it, or its row is damaged: its pages are asked each
    /// time.
    filter: Option<Filter>,
}

impl KeyRun {
    pub(crate) fn is_of(&self, span: KeySpan) -> bool {
        self.span == span
    }

    fn may_hold(&self, name: &KeyName) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.may_hold(name))
    }

    fn weight(&self) -> usize {
        self.filter.as_ref().map_or(0, Filter::weight)
    }
}

/// A run that was just made, with what stands in it.
#[derive(Debug)]
pub(crate) struct NewRun {
    run: KeyRun,
    names: Vec<KeyName>,
}

/// Runs that were written one after the other.
#[derive(Debug, Default)]
struct Group {
    /// Over the names of all of them; none where they are not known, as of those that a start
    /// found, or where memory had no more room.
    sieve: Option<Sieve>,
    /// Names in it.
    names: usize,
    runs: Vec<Arc<KeyRun>>,
}

impl Group {
    fn may_hold(&self, name: &KeyName) -> bool {
        self.sieve.as_ref().is_none_or(|sieve| sieve.may_hold(name))
    }

    fn weight(&self) -> usize {
        let runs: usize = self.runs.iter().map(|run| run.weight()).sum();
        runs + self.sieve.as_ref().map_or(0, Sieve::weight)
    }
}

/// Runs in memory.
#[derive(Debug, Default)]
struct Runs {
    groups: Vec<Group>,
    /// Bytes of their filters and sieves.
    weight: usize,
}

impl Runs {
    fn has_room_for(&self, bytes: usize) -> bool {
        self.weight + bytes <= limits::KEY_FILTERS_BYTES_MAX
    }

    /// Puts a run into the newest group, or into one of its own behind it.
    fn add(&mut self, mut run: KeyRun, names: Option<&[KeyName]>) {
        if !self.has_room_for(run.weight()) {
            run.filter = None;
        }
        self.weight += run.weight();
        let count = names.map_or(0, <[_]>::len);
        let fits = |group: &&mut Group| {
            group.sieve.is_some() == names.is_some() && group.names + count <= GROUP_KEYS
        };
        let group = match self.groups.last_mut().filter(fits) {
            Some(_) => self.groups.last_mut(),
            None => {
                let sieve = names.map(|names| Sieve::for_names(names.len().max(GROUP_KEYS)));
                let sieve = sieve.filter(|sieve| self.has_room_for(sieve.weight()));
                self.weight += sieve.as_ref().map_or(0, Sieve::weight);
                self.groups.push(Group { sieve, ..Group::default() });
                self.groups.last_mut()
            }
        };
        let Some(group) = group else { return };
        if let Some((sieve, names)) = group.sieve.as_mut().zip(names) {
            names.iter().for_each(|name| sieve.put(name));
        }
        group.names += count;
        group.runs.push(Arc::new(run));
    }

    fn forget(&mut self, span: KeySpan) {
        for group in &mut self.groups {
            group.runs.retain(|run| run.span != span);
        }
        self.groups.retain(|group| !group.runs.is_empty());
        self.weight = self.groups.iter().map(Group::weight).sum();
    }
}

/// The keys at rest.
pub struct Remembered {
    store: Arc<dyn CatalogStore>,
    runs: RwLock<Runs>,
    kept: AtomicU64,
}

impl std::fmt::Debug for Remembered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let runs: usize = self.runs.read().groups.iter().map(|group| group.runs.len()).sum();
        write!(f, "Remembered({runs} runs, kept={})", self.kept())
    }
}

/// Up to where every key stands in a run on the disk, which may be less than what is applied: what
/// was gathered is lost with the process, and read again. None of a catalog of an earlier build, of
/// which all keys stand in rows of their own.
///
/// # Errors
/// `Io` or `Corrupt`.
pub(crate) fn kept_on_disk(store: &dyn CatalogStore) -> Result<Option<Lsn>> {
    let row = store.get(Family::State, keys::KEYS_KEPT)?;
    row.map(|row| decode_row(&row, "keys kept")).transpose()
}

impl Remembered {
    /// Those of a catalog.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    pub fn read(store: Arc<dyn CatalogStore>) -> Result<Self> {
        let mut runs = Runs::default();
        walk_prefix(&*store, Family::State, keys::KEY_FILTERS, &mut |key, value| {
            let (span, first) = (keys::span_at(key), Lsn(keys::number_at(key, keys::KEY_FIRST_AT)));
            // Without a filter the run's pages say the same.
            let filter = Filter::from_bytes(value);
            if let Err(error) = &filter {
                let what = error.what;
                tracing::warn!(what, ?span, %first, "filter of keys is damaged: pages are asked");
            }
            runs.add(KeyRun { span, first, filter: filter.ok() }, None);
            Ok(Go::On)
        })?;
        let applied = applied_row(&*store)?.lsn;
        let kept = AtomicU64::new(kept_on_disk(&*store)?.unwrap_or(applied).0);
        Ok(Self { store, runs: RwLock::new(runs), kept })
    }

    /// Every key of a record up to here is found.
    #[must_use]
    pub fn kept(&self) -> Lsn {
        // ORDERING: whoever sees it sees the runs it stands for.
        Lsn(self.kept.load(Ordering::Acquire))
    }

    /// The first result under a key; of more than one, which an erasure leaves behind, the newest.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    pub fn find(&self, name: &KeyName) -> Result<Option<First>> {
        for run in self.maybe(name) {
            let found = self.page(&run, name)?.and_then(|(_, page)| {
                page.keys.into_iter().find(|entry| entry.name == name.0).map(|entry| entry.row)
            });
            if let Some(row) = found {
                return Ok(Some(First { span: run.span, row }));
            }
        }
        Ok(None)
    }

    /// Of each of these keys whether a run may hold it. What must come from memory for one of them
    /// is waited for with that of the others.
    pub(crate) fn may_hold(&self, names: &[KeyName]) -> Vec<bool> {
        let mut may = vec![false; names.len()];
        if !names.is_empty() {
            for group in &self.runs.read().groups {
                may.iter_mut().zip(names).for_each(|(may, name)| *may |= group.may_hold(name));
            }
        }
        may
    }

    /// The runs that may hold a key, the newest first.
    pub(crate) fn maybe(&self, name: &KeyName) -> Vec<Arc<KeyRun>> {
        let runs = self.runs.read();
        let groups = runs.groups.iter().filter(|group| group.may_hold(name));
        let all = groups.flat_map(|group| &group.runs).filter(|run| run.may_hold(name));
        let mut found: Vec<Arc<KeyRun>> = all.cloned().collect();
        found.sort_unstable_by_key(|run| std::cmp::Reverse((run.span, run.first)));
        found
    }

    /// The page of a run in which a key stands, if it stands in this run, and the page's own key.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    pub(crate) fn page(&self, run: &KeyRun, name: &KeyName) -> Result<Option<(Vec<u8>, KeyPage)>> {
        let from = keys::key_pages(run.span, run.first);
        // Up to the page that begins with the key itself.
        let to = [&*keys::key_page(run.span, run.first, name), &[0]].concat();
        let mut found = None;
        self.store.range(Family::State, &from, &to, Walk::Down, &mut |key, value| {
            found = Some((key.to_vec(), decode_row(value, "key page")?));
            Ok(Go::Stop)
        })?;
        Ok(found)
    }

    /// Runs were written, and every key up to `kept` stands in one.
    pub(crate) fn take(&self, new: Vec<NewRun>, kept: Lsn) {
        if !new.is_empty() {
            let mut runs = self.runs.write();
            new.into_iter().for_each(|NewRun { run, names }| runs.add(run, Some(&names)));
        }
        // ORDERING: the runs first: `sequence` forgets what it sees here.
        self.kept.fetch_max(kept.0, Ordering::Release);
    }

    /// The runs of a span go.
    pub(crate) fn forget(&self, span: KeySpan) {
        self.runs.write().forget(span);
    }
}

/// A run of keys of one span; `put` gets its rows. None of no keys. Of two under one name the
/// younger counts.
pub(crate) fn run_of(
    span: KeySpan,
    mut all: Vec<KeyEntry>,
    put: &mut dyn FnMut(Vec<u8>, Vec<u8>),
) -> Option<NewRun> {
    let first = all.iter().map(|entry| entry.row.lsn).min()?;
    all.sort_unstable_by_key(|entry| (entry.name, std::cmp::Reverse(entry.row.lsn)));
    all.dedup_by_key(|entry| entry.name);
    let names: Vec<KeyName> = all.iter().map(|entry| KeyName(entry.name)).collect();
    let filter = Filter::of(names.iter());
    put(keys::key_filter(span, first), filter.to_bytes());
    let mut rest = all.into_iter().peekable();
    while let Some(entry) = rest.peek() {
        let key = keys::key_page(span, first, &KeyName(entry.name));
        let page = KeyPage { keys: rest.by_ref().take(PAGE_KEYS).collect() };
        put(key, to_bytes(&page));
    }
    Some(NewRun { run: KeyRun { span, first, filter: Some(filter) }, names })
}

/// Every key at rest, by span and name, whatever runs they stand in.
///
/// # Errors
/// `Io` or `Corrupt`.
pub fn every_key(store: &dyn CatalogStore) -> Result<Vec<((KeySpan, KeyName), KeyRow)>> {
    let mut all = Vec::new();
    walk_prefix(store, Family::State, keys::KEY_PAGES, &mut |key, value| {
        let span = keys::span_at(key);
        let page: KeyPage = decode_row(value, "key page")?;
        all.extend(page.keys.into_iter().map(|e| ((span, KeyName(e.name)), e.row)));
        Ok(Go::On)
    })?;
    // In the order of their runs, and the younger of two counts.
    all.sort_by_key(|(place, row)| (*place, std::cmp::Reverse(row.lsn)));
    all.dedup_by_key(|(place, _)| *place);
    Ok(all)
}

/// All rows of a catalog, for comparisons: of idempotency keys one each, by its span and name, for
/// to which runs those of a log were gathered is chance.
///
/// # Errors
/// `Io` or `Corrupt`.
pub fn comparable_rows(store: &dyn CatalogStore) -> Result<Rows> {
    let mut rows = Rows::new();
    for family in Family::ALL {
        store.range(family, &[], &[u8::MAX; 16], Walk::Up, &mut |key, value| {
            if family != Family::State || !keys::is_of_keys(key) {
                rows.insert((family, key.to_vec()), value.to_vec());
            }
            Ok(Go::On)
        })?;
    }
    rows.extend(every_key(store)?.into_iter().map(|((span, name), row)| {
        ((Family::State, keys::key_page(span, Lsn::ZERO, &name)), to_bytes(&row))
    }));
    Ok(rows)
}

/// Gathers keys of spans and writes them as runs of at most so many.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    spans: std::collections::BTreeMap<KeySpan, Vec<KeyEntry>>,
    count: usize,
}

impl Gathered {
    /// Keys gathered.
    pub(crate) const fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn add(&mut self, span: KeySpan, name: KeyName, row: KeyRow) {
        self.spans.entry(span).or_default().push(KeyEntry { name: name.0, row });
        self.count += 1;
    }

    /// Lets go of a span.
    pub(crate) fn forget_span(&mut self, span: KeySpan) {
        self.count -= self.spans.remove(&span).map_or(0, |gone| gone.len());
    }

    /// Lets go of a key, unless it is of a later record.
    pub(crate) fn forget(&mut self, span: KeySpan, name: KeyName, upto: Lsn) {
        if let Some(all) = self.spans.get_mut(&span) {
            let before = all.len();
            all.retain(|entry| entry.name != name.0 || entry.row.lsn > upto);
            self.count -= before - all.len();
        }
    }

    /// Makes runs of all of them.
    pub(crate) fn runs(&mut self, put: &mut dyn FnMut(Vec<u8>, Vec<u8>)) -> Vec<NewRun> {
        self.count = 0;
        let spans = std::mem::take(&mut self.spans).into_iter();
        spans.filter_map(|(span, all)| run_of(span, all, put)).collect()
    }

    /// The same, as changes of the catalog.
    pub(crate) fn changes(&mut self) -> (Vec<NewRun>, Vec<Change>) {
        let mut changes = Vec::new();
        let runs = self.runs(&mut |key, value| {
            changes.push(Change { family: Family::State, key, value: Some(value) });
        });
        (runs, changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::memory::MemoryCatalog;
    use crate::types::{Epoch, PrincipalId, Rev, RoomId, Seq, TimeUs};

    fn name(n: u64) -> KeyName {
        KeyName::new(PrincipalId(1), RoomId(2), &n.to_be_bytes())
    }

    fn row(n: u64) -> KeyRow {
        let at = KeyRow::at(TimeUs(5), TimeUs(5), &[7; 16]);
        KeyRow { lsn: Lsn(n), seq: Seq(n), rev: Rev(n), epoch: Epoch(1), ..at }
    }

    fn written(store: &MemoryCatalog, keys: &Remembered, span: u32, from: u64, to: u64) {
        let mut gathered = Gathered::default();
        (from..to).for_each(|n| gathered.add(KeySpan(span), name(n), row(n)));
        assert_eq!(gathered.len() as u64, to - from);
        let (runs, changes) = gathered.changes();
        store.write(&changes).unwrap();
        keys.take(runs, Lsn(to - 1));
        assert_eq!((gathered.len(), keys.kept()), (0, Lsn(to - 1)));
    }

    fn all_found(keys: &Remembered, span: u32, from: u64, to: u64, there: bool) {
        for n in from..to {
            let first = there.then(|| First { span: KeySpan(span), row: row(n) });
            assert_eq!(keys.find(&name(n)).unwrap(), first, "key {n}");
        }
    }

    #[test]
    fn keys_are_found_in_their_runs_also_when_they_are_read_again_and_go_with_their_span() {
        let store = MemoryCatalog::default();
        let keys = Remembered::read(Arc::new(store.clone())).unwrap();
        // Less than a page, more than one, one key.
        written(&store, &keys, 9, 1, 100);
        written(&store, &keys, 9, 100, 1_000);
        written(&store, &keys, 10, 1_000, 1_001);
        let again = Remembered::read(Arc::new(store.clone())).unwrap();
        for keys in [&keys, &again] {
            all_found(keys, 9, 1, 1_000, true);
            all_found(keys, 10, 1_000, 1_001, true);
            all_found(keys, 9, 2_000, 4_000, false);
        }
        assert_eq!(every_key(&store).unwrap().len(), 1_000);
        keys.forget(KeySpan(9));
        all_found(&keys, 9, 1, 1_000, false);
        all_found(&keys, 10, 1_000, 1_001, true);
    }

    #[test]
    fn groups_of_runs_are_asked_whatever_they_hold_and_go_with_their_runs() {
        let store = MemoryCatalog::default();
        let keys = Remembered::read(Arc::new(store.clone())).unwrap();
        // Two to a group, one larger than a group, one of the next span in a group with one before.
        for (span, from, to) in [(9, 1, 400), (9, 400, 900), (9, 900, 2_500), (9, 2_500, 2_900)] {
            written(&store, &keys, span, from, to);
        }
        written(&store, &keys, 10, 2_900, 3_000);
        let groups = |keys: &Remembered| -> Vec<usize> {
            keys.runs.read().groups.iter().map(|group| group.runs.len()).collect()
        };
        assert_eq!(groups(&keys), [2, 1, 2]);
        // A start knows no names, and writes on.
        let again = Remembered::read(Arc::new(store.clone())).unwrap();
        written(&store, &again, 10, 3_000, 3_100);
        assert_eq!(groups(&again), [5, 1]);
        for keys in [&keys, &again] {
            all_found(keys, 9, 1, 2_900, true);
            all_found(keys, 10, 2_900, 3_000, true);
            all_found(keys, 10, 5_000, 9_000, false);
        }
        all_found(&again, 10, 3_000, 3_100, true);
        keys.forget(KeySpan(9));
        assert_eq!(groups(&keys), [1]);
        all_found(&keys, 9, 1, 2_900, false);
        all_found(&keys, 10, 2_900, 3_000, true);
        keys.forget(KeySpan(10));
        assert_eq!((groups(&keys), keys.runs.read().weight), (vec![], 0));
    }

    #[test]
    fn a_filter_that_is_damaged_costs_time_and_no_key() {
        let store = MemoryCatalog::default();
        let keys = Remembered::read(Arc::new(store.clone())).unwrap();
        written(&store, &keys, 9, 1, 400);
        written(&store, &keys, 9, 400, 800);
        let key = keys::key_filter(KeySpan(9), Lsn(400));
        for damaged in [&[][..], b"no filter of a whole number of blocks"] {
            let value = Some(damaged.to_vec());
            store.write(&[Change { family: Family::State, key: key.clone(), value }]).unwrap();
            let again = Remembered::read(Arc::new(store.clone())).unwrap();
            assert_eq!(again.maybe(&name(5_000)).len(), 1, "the run of which nothing is known");
            all_found(&again, 9, 1, 800, true);
            all_found(&again, 9, 2_000, 3_000, false);
        }
    }

    #[test]
    fn a_run_without_a_filter_is_asked_and_the_younger_of_two_counts() {
        let store = MemoryCatalog::default();
        let keys = Remembered::read(Arc::new(store.clone())).unwrap();
        written(&store, &keys, 9, 1, 300);
        let bare = KeyRun { span: KeySpan(9), first: Lsn(1), filter: None };
        keys.runs.write().groups = vec![Group { runs: vec![Arc::new(bare)], ..Group::default() }];
        all_found(&keys, 9, 1, 300, true);
        all_found(&keys, 9, 300, 400, false);
        let mut gathered = Gathered::default();
        for lsn in [500, 700, 600] {
            gathered.add(KeySpan(9), name(3), row(lsn));
        }
        gathered.forget(KeySpan(9), name(3), Lsn(500));
        assert_eq!(gathered.len(), 2);
        let (runs, changes) = gathered.changes();
        store.write(&changes).unwrap();
        keys.take(runs, Lsn(700));
        assert_eq!(keys.find(&name(3)).unwrap().unwrap().row, row(700));
        assert_eq!(every_key(&store).unwrap().len(), 299);
    }
}
