//! The engine's door: append, read, follow, close.
//!
//! It owns the stages and hands out cheap clones. It decides nothing about rights and knows no
//! network. INVARIANT: nothing a reader can reach here was not durable before.

use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::sync::thread::JoinHandle;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::sync::{Mutex, RwLock};

use crate::apply::Applier;
use crate::catalog::rows::HeadRow;
use crate::catalog::{CatalogStore, Family, Go, Walk, keys};
use crate::clock::ClockGuard;
use crate::commit::{Encoder, Group, Incoming, Progress, estimate};
use crate::directory::known::Known;
use crate::directory::{Directory, Gate};
use crate::draft::{Appended, Draft, Ticket, ticket};
use crate::error::{Error, Result};
use crate::format::payload::LsnSpan;
use crate::format::record::Record;
use crate::history::{History, decode_record};
use crate::journal::JournalPool;
use crate::journal::witness::WitnessFile;
use crate::lane::Lane;
use crate::limits;
use crate::manifest::Manifest;
use crate::proof::salts::SPAN_LEVEL;
use crate::reads::{
    Anchor, CategoryEntries, CategoryPage, CategoryRequest, Changes, Entries, Page, Versions,
};
use crate::stages::Work;
use crate::stats::Stats;
use crate::storage::{Disk, Lock};
use crate::types::{Epoch, Lsn, Rev, RoomId, Seq, TimeUs};

/// Hears which rooms a commit changed. Called on the commit path: it must not block.
pub trait CommitListener: Send + Sync {
    /// These rooms have new records, visible from now on.
    fn committed(&self, rooms: &[RoomId]);
}

/// What the engine can do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Everything.
    Ready,
    /// Records were lost that may have closed a door: nothing, until they are healed or accepted.
    Restricted {
        /// Which.
        holes: Vec<LsnSpan>,
    },
    /// A write failed: reads only, until a restart.
    Poisoned {
        /// The failure.
        first: String,
    },
    /// The disk is below its reserve: no posts. Or the journal is full and finds no space: nothing.
    NoSpace,
    /// The journal is full, and what would make room fails, for something else than space:
    /// nothing is recorded.
    Stalled {
        /// The failure.
        why: String,
    },
    /// The wall clock jumped ahead: no posts.
    ClockRefused,
}

/// What may differ between servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// One journal file.
    pub journal_file_bytes: u64,
    /// All journal files: bounds what a start replays.
    pub journal_bytes_max: u64,
    /// Unsealed records in memory at which a seal starts.
    pub tail_bytes_soft: usize,
    /// Unsealed records in memory at which appends are refused.
    pub tail_bytes_hard: usize,
    /// Decoded blocks and run lists in memory.
    pub cache_bytes: usize,
    /// A seal starts after so long, if there is anything to seal.
    pub seal_interval_ms: u64,
    /// Free space below which posts are refused (0: never), beside what tails and catalog still
    /// have to write.
    pub disk_reserve_bytes: u64,
    /// The catalog's own cache.
    pub catalog_cache_bytes: usize,
    /// Bytes of packs a second that the scrub reads (0: as fast as it can).
    pub scrub_bytes_per_second: u64,
    /// The pause between passes of the scrub (0: none but those asked for).
    pub scrub_interval_ms: u64,
    /// Bytes of packs a second that merges read (0: as fast as they can).
    pub merge_bytes_per_second: u64,
    /// How often it is looked whether packs should be merged (0: only when asked).
    pub merge_interval_ms: u64,
    /// Runs that a merge has in memory at once, about: more are merged a share of the rooms at a
    /// time.
    pub merge_runs: u64,
    /// How often it is looked what retention takes (0: only when asked).
    pub expire_interval_ms: u64,
    /// How often rooms' heads are signed, if there are new records (0: only when asked).
    pub head_interval_ms: u64,
    /// One seed of salts is for 2^n places of the log, at most 20.
    pub salt_level: u8,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            journal_file_bytes: 16 * 1024 * 1024,
            journal_bytes_max: 256 * 1024 * 1024,
            tail_bytes_soft: 64 * 1024 * 1024,
            tail_bytes_hard: 256 * 1024 * 1024,
            cache_bytes: 128 * 1024 * 1024,
            seal_interval_ms: 600_000,
            disk_reserve_bytes: 256 * 1024 * 1024,
            catalog_cache_bytes: 64 * 1024 * 1024,
            scrub_bytes_per_second: 8 * 1024 * 1024,
            scrub_interval_ms: 24 * 3_600_000,
            merge_bytes_per_second: 16 * 1024 * 1024,
            merge_interval_ms: 60_000,
            merge_runs: limits::MERGE_SHARE_RUNS,
            expire_interval_ms: 3_600_000,
            head_interval_ms: 60_000,
            salt_level: SPAN_LEVEL,
        }
    }
}

impl Options {
    /// Nothing happens by itself: no pass of the scrub, no merge, no look at retention, no
    /// signature.
    #[must_use]
    pub fn quiet(self) -> Self {
        Self {
            scrub_interval_ms: 0,
            merge_interval_ms: 0,
            expire_interval_ms: 0,
            head_interval_ms: 0,
            ..self
        }
    }
}

/// What a start found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Records read again from the journal.
    pub replayed: u64,
    /// Those of them of which the catalog lacked rows or keys: they were applied again.
    pub reapplied: u64,
    /// Bytes of an unfinished tail that were cut.
    pub cut_bytes: u64,
    /// Places of the log whose records are lost and not accepted as such.
    pub holes: Vec<LsnSpan>,
    /// Messages whose bytes are damaged; their places are gaps.
    pub lost_messages: u64,
    /// The log had been closed.
    pub clean: bool,
    /// The newest record.
    pub last_lsn: Lsn,
    /// Packs whose rows were written again.
    pub reindexed: u64,
    /// Records read again from packs, because the catalog was gone or far behind.
    pub rebuilt: u64,
}

/// Everything the stages share.
pub(crate) struct Inner {
    pub disk: Disk,
    pub options: Options,
    pub store: Arc<dyn CatalogStore>,
    pub stats: Arc<Stats>,
    pub epoch: Epoch,
    pub queue: Lane<Incoming>,
    pub to_writer: Lane<Group>,
    /// Groups that are still not to wait for more appends.
    pub gather_rest: AtomicUsize,
    /// How many that will be after the next group for which nobody comes.
    pub gather_pause: AtomicUsize,
    /// Groups made and not yet published.
    pub writing: AtomicUsize,
    /// How many appends the last group was made of.
    pub last_appends: AtomicUsize,
    /// The encoder owes no promise, and waits for appends without limit.
    pub resting: AtomicBool,
    pub to_applier: Arc<Lane<Work>>,
    pub encoder: Mutex<Option<Encoder>>,
    /// What the journal must at least hold, said outside of it; none if restricted.
    pub witness: Mutex<Option<WitnessFile>>,
    /// The newest use of a journal file that holds a durable frame.
    pub durable_incarnation: AtomicU64,
    pub applier: Mutex<Applier>,
    pub manifest: Mutex<Manifest>,
    pub pool: Arc<JournalPool>,
    pub progress: Arc<Progress>,
    pub gate: Arc<Gate>,
    /// What the directory keeps in memory.
    pub known: Arc<Known>,
    pub history: History,
    pub listeners: RwLock<Vec<Arc<dyn CommitListener>>>,
    pub clock: ClockGuard,
    pub no_space: AtomicBool,
    /// Journal bytes written since the disk was looked at.
    pub unwatched_bytes: AtomicU64,
    /// Why the last group found no room in the journal, if it did not.
    pub refusing: Mutex<Option<Error>>,
    pub closing: AtomicBool,
    pub restricted: Vec<LsnSpan>,
    pub keeper: crate::keeper::Keeper,
    pub scrub: crate::scrub::Scrub,
    pub merger: crate::merge::Merger,
    pub expirer: crate::expire::Expirer,
    pub eraser: crate::erase::Eraser,
    pub notary: crate::notary::Notary,
    /// Numbers for new packs.
    pub numbers: crate::seal::PackNumbers,
    pub threads: Mutex<Vec<JoinHandle<()>>>,
    pub threaded: bool,
    pub _lock: Box<dyn Lock>,
}

/// An open data directory. Close it: dropping the last handle leaves its threads and its lock.
#[derive(Clone)]
pub struct Engine(pub(crate) Arc<Inner>);

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Engine({:?})", self.0.disk)
    }
}

impl Engine {
    /// Queues drafts: all of them are recorded in one frame, in order, or none. Never blocks.
    ///
    /// # Errors
    /// At once: `Unavailable` (queue or tails full, closing, restricted, clock), `NoSpace`,
    /// `Invalid` or `Poisoned`. By the ticket: what `sequence` refuses, or `Poisoned` if the
    /// outcome is unknown.
    pub fn append(&self, drafts: Vec<Draft>) -> Result<Ticket> {
        self.0.append(drafts)
    }

    /// Appends drafts and waits for the outcome. Where nobody else appends, the caller's own thread
    /// writes and syncs, which saves the way through two others.
    ///
    /// # Errors
    /// As [`Self::append`] and its ticket.
    pub fn append_and_wait(&self, drafts: Vec<Draft>) -> Result<Vec<Appended>> {
        self.0.append_and_wait(drafts)
    }

    /// Queues many appends at once, each of which is recorded or refused by itself, as by
    /// [`Self::append`]: mostly in one frame and with one sync. What is refused at once is said by
    /// its ticket too.
    #[must_use]
    pub fn append_each(&self, appends: Vec<Vec<Draft>>) -> Vec<Ticket> {
        let (items, tickets) = self.0.incoming_each(appends);
        self.0.enqueue_each(items);
        tickets
    }

    /// As [`Self::append_each`], and waits for all outcomes, which stand in the order of the
    /// appends. As in [`Self::append_and_wait`] the caller's own thread may write and sync.
    #[must_use]
    pub fn append_each_and_wait(&self, appends: Vec<Vec<Draft>>) -> Vec<Result<Vec<Appended>>> {
        self.0.append_each_and_wait(appends)
    }

    /// Reads of rooms, members, categories, principals and tokens.
    #[must_use]
    pub fn directory(&self) -> Directory {
        let Inner { store, gate, known, .. } = &*self.0;
        Directory::new(Arc::clone(store), Arc::clone(gate), Arc::clone(known))
    }

    /// How far a room has come, committed records included.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    pub fn head(&self, room: RoomId) -> Result<HeadRow> {
        self.0.history.head(room)
    }

    /// A page of a room's timeline. Damage becomes gaps.
    ///
    /// # Errors
    /// `Io` or `Corrupt` of the catalog.
    pub fn page(&self, room: RoomId, at: Anchor, limit: usize) -> Result<Page> {
        self.0.history.page(room, at, limit)
    }

    /// A page of a room's timeline as stored bytes: the same entries as [`Self::page`], of which
    /// only what is asked for is decoded.
    ///
    /// # Errors
    /// `Io` or `Corrupt` of the catalog.
    pub fn entries(&self, room: RoomId, at: Anchor, limit: usize) -> Result<Entries> {
        self.0.history.entries(room, at, limit)
    }

    /// One timeline entry; none if it does not exist or is damaged.
    ///
    /// # Errors
    /// `Io` or `Corrupt` of the catalog.
    pub fn entry(&self, room: RoomId, seq: Seq) -> Result<Option<Record>> {
        self.0.history.entry(room, seq)
    }

    /// All that an entry ever said, also what is redacted: for callers who may see that. None if
    /// there is no such entry, or if it is damaged.
    ///
    /// # Errors
    /// `Io` or `Corrupt` of the catalog.
    pub fn versions(&self, room: RoomId, seq: Seq) -> Result<Option<Versions>> {
        self.0.history.versions(room, seq)
    }

    /// Everything that happened to a room after `after`: history joined to the tail, without gap or
    /// duplicate.
    ///
    /// # Errors
    /// `Io` or `Corrupt` of the catalog.
    pub fn changes(&self, room: RoomId, after: Rev, limit: usize) -> Result<Changes> {
        self.0.history.changes(room, after, limit)
    }

    /// A category's entries by time. `see` says whether the caller may read a room; it is asked
    /// once for each room that has something in the span.
    ///
    /// # Errors
    /// `Io` or `Corrupt` of the catalog.
    pub fn category_page(
        &self,
        request: &CategoryRequest,
        see: &mut dyn FnMut(RoomId) -> bool,
    ) -> Result<CategoryPage> {
        self.0.history.category_page(request, see)
    }

    /// The same page as stored bytes, undecoded: for who reads much and wants the words only.
    ///
    /// # Errors
    /// As [`Self::category_page`].
    pub fn category_entries(
        &self,
        request: &CategoryRequest,
        see: &mut dyn FnMut(RoomId) -> bool,
    ) -> Result<CategoryEntries> {
        self.0.history.category_entries(request, see)
    }

    /// Compliance events after `after`, and where to go on; none at the end.
    ///
    /// # Errors
    /// `Io` or `Corrupt` of the catalog.
    pub fn events(&self, after: Lsn, limit: usize) -> Result<(Vec<Record>, Option<Lsn>)> {
        let mut records = Vec::new();
        let from = keys::event(after.next());
        let to = [u8::MAX; 9];
        let limit = limit.clamp(1, limits::PAGE_MESSAGES_MAX);
        let store = &self.0.store;
        store.range(Family::Compliance, &from, &to, Walk::Up, &mut |_, value| {
            records.push(decode_record(value)?);
            Ok(if records.len() < limit { Go::On } else { Go::Stop })
        })?;
        let full = records.len() >= limit;
        let next = records.last().map(|r| r.lsn).filter(|_| full);
        Ok((records, next))
    }

    /// Tells `listener` of every commit from now on.
    pub fn listen(&self, listener: Arc<dyn CommitListener>) {
        self.0.listeners.write().push(listener);
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        let (inner, stats) = (&self.0, &self.0.stats);
        stats.queued.set(inner.queue.len() as u64);
        stats.committed_lsn.set(inner.progress.committed.get().0);
        stats.applied_lsn.set(inner.gate.get().0);
        stats.tail_bytes.set(inner.history.tails.bytes() as u64);
        stats.tail_rooms.set(inner.history.tails.rooms() as u64);
        stats.journal_files.set(inner.pool.usage().0 as u64);
        stats
    }

    /// True where [`Self::health`] says `Restricted`, without asking for more.
    #[must_use]
    pub fn is_restricted(&self) -> bool {
        !self.0.restricted.is_empty()
    }

    /// True where [`Self::health`] says `Poisoned`, without asking for more.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        !self.is_restricted() && self.0.progress.poison.get().is_some()
    }

    /// What the engine can do now.
    #[must_use]
    pub fn health(&self) -> Health {
        let inner = &self.0;
        if !inner.restricted.is_empty() {
            return Health::Restricted { holes: inner.restricted.clone() };
        }
        if let Some(Error::Poisoned { first }) = inner.progress.poison.get() {
            return Health::Poisoned { first };
        }
        // While the newest journal file has room, a next one that cannot be had keeps nobody out.
        let refusing = inner.refusing.lock().is_some();
        match inner.pool.hindrance().filter(|_| refusing) {
            _ if inner.no_space.load(Ordering::Relaxed) => return Health::NoSpace,
            Some(Error::NoSpace { .. }) => return Health::NoSpace,
            Some(error) => return Health::Stalled { why: error.to_string() },
            None => {}
        }
        if inner.clock.check().is_err() {
            return Health::ClockRefused;
        }
        Health::Ready
    }

    /// The epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.0.epoch
    }

    /// The wall clock.
    #[must_use]
    pub fn now(&self) -> TimeUs {
        self.0.clock.now()
    }

    /// The newest record that is committed.
    #[must_use]
    pub fn committed(&self) -> Lsn {
        self.0.progress.committed.get()
    }

    /// The operator agrees with the wall clock.
    pub fn accept_clock(&self) {
        self.0.clock.accept();
    }

    /// Where the data directory is.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.0.disk.root().to_path_buf()
    }

    /// Makes a consistent hard-linked copy in the absent directory `to`, on the same file system.
    ///
    /// # Errors
    /// At once, with nothing made: `Invalid` if `to` exists, lies within the data directory or on
    /// another file system, or if the folder above it does not exist. `Io` or `NoSpace`: what was
    /// made of the copy is left for the operator to remove.
    pub fn checkpoint(&self, to: &Path) -> Result<()> {
        crate::checkpoint::checkpoint(&self.0, to)
    }

    /// Seals everything applied so far into packs and trims the journal. The catalog follows what
    /// is committed by moments: see [`Directory::wait_applied`].
    ///
    /// # Errors
    /// `NoSpace` or `Io`.
    pub fn seal(&self) -> Result<()> {
        self.0.seal_all()
    }

    /// Refuses further appends, finishes those that wait, writes the closing frame and flushes.
    /// Safe to call twice.
    ///
    /// # Errors
    /// `Poisoned`, `NoSpace` or `Io`.
    pub fn close(&self) -> Result<()> {
        self.0.close()
    }
}

const TOO_MANY: &str = "too many appends are waiting";

impl Inner {
    fn append(&self, drafts: Vec<Draft>) -> Result<Ticket> {
        let checked = self.check_append(drafts)?;
        let (promise, ticket) = ticket();
        self.enqueue(Incoming::of(checked, promise))?;
        Ok(ticket)
    }

    pub(crate) fn append_and_wait(&self, drafts: Vec<Draft>) -> Result<Vec<Appended>> {
        let checked = self.check_append(drafts)?;
        let (promise, ticket) = ticket();
        if let Some(incoming) = self.lead(vec![Incoming::of(checked, promise)]).pop() {
            self.enqueue(incoming)?;
        }
        if !self.threaded {
            self.step();
        }
        ticket.wait()
    }

    fn append_each_and_wait(&self, appends: Vec<Vec<Draft>>) -> Vec<Result<Vec<Appended>>> {
        let (items, tickets) = self.incoming_each(appends);
        self.enqueue_each(self.lead(items));
        if !self.threaded {
            self.step();
        }
        // Answers come in the order of the appends: whoever waits for the last is woken once.
        if let Some(last) = tickets.last() {
            last.settled();
        }
        tickets.into_iter().map(Ticket::wait).collect()
    }

    /// What is to be appended of each, and the tickets of all.
    fn incoming_each(&self, appends: Vec<Vec<Draft>>) -> (Vec<Incoming>, Vec<Ticket>) {
        let mut items = Vec::with_capacity(appends.len());
        let take = |drafts| {
            let (promise, ticket) = ticket();
            match self.check_append(drafts) {
                Ok(checked) => items.push(Incoming::of(checked, promise)),
                Err(error) => promise.fill(Err(error)),
            }
            ticket
        };
        let tickets = appends.into_iter().map(take).collect();
        (items, tickets)
    }

    fn enqueue_each(&self, items: Vec<Incoming>) {
        for refused in self.queue.try_give_all(items, |incoming| incoming.bytes) {
            refused.promise.fill(Err(Error::Unavailable { why: TOO_MANY }));
        }
    }

    /// What is to be appended, if it may be now, the time, and its bytes in a frame at most.
    fn check_append(&self, drafts: Vec<Draft>) -> Result<(Vec<Draft>, TimeUs, usize)> {
        let posts = drafts.iter().any(|d| d.payload.kind().is_said());
        self.may_append(posts)?;
        let now = if posts { self.clock.check()? } else { self.clock.now_or_floor() };
        let weight: usize = drafts.iter().map(estimate).sum();
        let frame_max = self.options.journal_file_bytes.min(limits::FRAME_BYTES_MAX as u64) / 4;
        if weight as u64 > frame_max {
            let found = drafts.len();
            return Err(Error::invalid(format!(
                "append is too large drafts={found} bytes={weight}"
            )));
        }
        Ok((drafts, now, weight))
    }

    fn enqueue(&self, incoming: Incoming) -> Result<()> {
        let weight = incoming.bytes;
        self.queue.try_give(incoming, weight).map_err(|refused| {
            let error = Error::Unavailable { why: TOO_MANY };
            refused.promise.fill(Err(error.clone()));
            error
        })
    }

    fn may_append(&self, posts: bool) -> Result<()> {
        if !self.restricted.is_empty() {
            return Err(Error::Unavailable { why: "restricted: records were lost" });
        }
        if let Some(poisoned) = self.progress.poison.get() {
            return Err(poisoned);
        }
        if self.closing.load(Ordering::Acquire) {
            return Err(Error::Unavailable { why: "the engine is closing" });
        }
        if posts && self.no_space.load(Ordering::Relaxed) {
            let path = self.disk.root().to_path_buf();
            return Err(Error::NoSpace { what: "posts: the reserve is reached", path });
        }
        if self.history.tails.bytes() > self.options.tail_bytes_hard {
            self.keeper.wake();
            return Err(Error::Unavailable { why: "too much is waiting to be sealed" });
        }
        Ok(())
    }
}
