//! Hansard behind the peers' door.
//!
//! The engine runs with a server's options. A message is an append of its own with its idempotency
//! key, as the engine wants it; a group is that many appends, handed in at once and waited for. Its
//! clock is set by the messages' times: all of them are of one day, which is not over when they are
//! settled, and their keys are in force, in catalog and packs. What the day owes is done two days
//! later: a record ends the window of its keys, and its packs merge and leave them behind.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use hansard_engine::catalog::rocks::{RocksCatalog, RocksOptions};
use hansard_engine::draft::{Appended, Draft, Said, Ticket};
use hansard_engine::error::Error;
use hansard_engine::format::payload::{
    CategoryCreated, CategorySettings, ChangePolicy, EntryKind, Invitations, Payload, Post,
    Privacy, Retention, RoomCreated, RoomKind, RoomSettings, Setting,
};
use hansard_engine::format::record::{Actor, Door, Idempotency};
use hansard_engine::limits::{APPEND_DRAFTS_MAX, PAGE_MESSAGES_MAX};
use hansard_engine::open::{Drive, Ground, Losses, open_on, system_actor};
use hansard_engine::reads::{Anchor, CategoryRequest, Order};
use hansard_engine::storage::Disk;
use hansard_engine::storage::clock::{Clock, SystemClock};
use hansard_engine::storage::real::RealStorage;
use hansard_engine::types::{CategoryId, Epoch, Lsn, PrincipalId, RoomId, Seq, TimeUs, TokenId};
use hansard_engine::{Engine, OpenReport, Options};
use hansard_peers::{Budget, Durability, Message, Quiet, Slice, Store, Sum, Tally};
use parking_lot::Mutex;

use super::world::World;
use crate::tournament::Outcome;

/// Its name in tables.
pub const NAME: &str = "hansard";
/// The same with a group as one append and without keys, as an importer writes.
pub const UNKEYED: &str = "hansard-unkeyed";
/// How it is opened.
pub const SETTINGS: &str = "a server's defaults; caches: 2/3 blocks and runs, 1/3 catalog; tails \
                            seal at the write budget; every group synced, in bulk too, frames up \
                            to 64 KiB past the page cache (O_DIRECT); a keyed append a message; \
                            proofs on; compliance off unless said";
/// Appends on their way in bulk.
const APPENDS: usize = 8 * 1024;
const AGAIN: Duration = Duration::from_millis(1);
const AGAIN_MAX: Duration = Duration::from_secs(300);
/// How much later its clock stands when the day's merge is made.
const LATER_US: i64 = 2 * TimeUs::DAY_US;

/// A clock that the messages set.
struct Told(AtomicI64);

impl Told {
    fn at_least(&self, us: i64) {
        self.0.fetch_max(us, Ordering::Relaxed);
    }
}

impl Clock for Told {
    fn now(&self) -> TimeUs {
        TimeUs(self.0.load(Ordering::Relaxed))
    }

    fn boot_us(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    fn random(&self, bytes: &mut [u8]) -> hansard_engine::error::Result<()> {
        SystemClock.random(bytes)
    }
}

/// How messages are handed to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// A message is an append with its key.
    Each,
    /// A group is one append and has none.
    None,
}

/// Whether compliance keeps its own copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compliance {
    Off,
    On,
}

/// How long categories keep what is said in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retentions {
    /// All of them for ever.
    One,
    /// A third of them a day, a third a month, a third for ever.
    Three,
}

impl Retentions {
    const fn of(self, category: u32) -> Retention {
        let days = match (self, category % 3) {
            (Self::Three, 0) => 1,
            (Self::Three, 1) => 30,
            _ => 0,
        };
        Retention { days, ..Retention::ALL }
    }
}

/// What its directory is like.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub budget: Budget,
    pub keys: Keys,
    pub compliance: Compliance,
    pub retentions: Retentions,
    /// How often it seals, and looks for packs to merge; none for a server's own pace.
    pub housekeeping: Option<Duration>,
}

impl Setup {
    /// As it takes part in the suites.
    #[must_use]
    pub const fn usual(budget: Budget) -> Self {
        let (keys, compliance, retentions) = (Keys::Each, Compliance::Off, Retentions::One);
        Self { budget, keys, compliance, retentions, housekeeping: None }
    }
}

/// An open engine.
pub struct Hansard {
    pub engine: Engine,
    pub report: OpenReport,
    clock: Arc<Told>,
    end_us: i64,
    keys: Keys,
    categories: Vec<CategoryId>,
    rooms: Vec<RoomId>,
    /// In bulk: appends on their way.
    tickets: Mutex<VecDeque<Ticket>>,
    folder: PathBuf,
}

fn room_name(room: u32) -> String {
    format!("room {room:07}")
}

fn category_name(category: u32) -> String {
    format!("category {category:03}")
}

fn control(payload: Payload) -> Draft {
    Draft {
        actor: system_actor(),
        checked_at: Lsn(u64::MAX),
        room: RoomId::NONE,
        said: Said::Now,
        idempotency: None,
        expect: None,
        payload,
    }
}

fn category(number: u32, retention: Retention) -> Payload {
    Payload::CategoryCreated(CategoryCreated {
        settings: CategorySettings {
            name: category_name(number),
            description: String::new(),
            allowed: vec![PrincipalId::EVERYONE],
            denied: Vec::new(),
            creators: Vec::new(),
            invitations: true,
            uploads: true,
            history: true,
            retention,
            edit: ChangePolicy::Nobody,
            redact: ChangePolicy::Managers,
            read_audit: false,
        },
    })
}

fn room(number: u32, category: CategoryId) -> Payload {
    Payload::RoomCreated(RoomCreated {
        settings: RoomSettings {
            category,
            name: room_name(number),
            description: String::new(),
            topic: String::new(),
            kind: RoomKind::Normal,
            privacy: Privacy::Open,
            invitations: Invitations::Inherit,
            disabled: false,
            continues: RoomId::NONE,
            retention: None,
        },
    })
}

impl Hansard {
    /// Opens the directory, made first with its rooms if it is absent.
    ///
    /// # Errors
    /// Whatever the engine says.
    pub fn open(dir: &Path, world: &World, setup: Setup) -> Outcome<Self> {
        let is_new = !dir.join("VERSION").exists();
        let mut store = Self::open_only(dir, world, setup)?;
        if is_new {
            store.make(world, setup)?
        } else {
            store.find(world)?
        }
        Ok(store)
    }

    /// The same without its rooms: none can be written or read.
    ///
    /// # Errors
    /// Whatever the engine says.
    pub fn open_only(dir: &Path, world: &World, setup: Setup) -> Outcome<Self> {
        let is_new = !dir.join("VERSION").exists();
        if is_new {
            Engine::create(dir)?;
        }
        let begun_us = if is_new { super::world::FIRST_US } else { world.end_us() + LATER_US };
        let clock = Arc::new(Told(AtomicI64::new(begun_us)));
        let Budget { cache_bytes, write_bytes } = setup.budget;
        let defaults = Options::default();
        let every = setup.housekeeping.and_then(|every| u64::try_from(every.as_millis()).ok());
        let options = Options {
            seal_interval_ms: every.unwrap_or(defaults.seal_interval_ms),
            merge_interval_ms: every.unwrap_or(defaults.merge_interval_ms),
            cache_bytes: cache_bytes / 3 * 2,
            catalog_cache_bytes: cache_bytes / 3,
            tail_bytes_soft: write_bytes,
            ..defaults
        };
        let rocks = RocksOptions { cache_bytes: options.catalog_cache_bytes, ..Default::default() };
        let ground = Ground {
            disk: Disk::new(Arc::new(RealStorage::new(dir))),
            store: Arc::new(RocksCatalog::open(&dir.join("catalog"), rocks)?),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
        };
        let (engine, report) = open_on(ground, options, Drive::Threads, Losses::Restrict)?;
        Ok(Self {
            engine,
            report,
            clock,
            end_us: world.end_us(),
            keys: setup.keys,
            categories: Vec::new(),
            rooms: Vec::new(),
            tickets: Mutex::default(),
            folder: dir.to_owned(),
        })
    }

    fn make(&mut self, world: &World, setup: Setup) -> Outcome<()> {
        if setup.compliance == Compliance::On {
            let setting = Setting { key: "compliance".into(), value: "on".into() };
            self.engine.append_and_wait(vec![control(Payload::Setting(setting))])?;
        }
        let created = |number| control(category(number, setup.retentions.of(number)));
        let made = self.engine.append_and_wait((0..world.categories).map(created).collect())?;
        self.categories = made.iter().map(Appended::category_id).collect();
        let rooms: Vec<u32> = (0..world.rooms).collect();
        for rooms in rooms.chunks(APPEND_DRAFTS_MAX) {
            let created = |number: &u32| {
                let category = self.categories.get(world.category_of(*number) as usize);
                control(room(*number, category.copied().unwrap_or(CategoryId::NONE)))
            };
            // Tails may be full: rooms are made faster than a slow disk takes what seals write.
            let begun = Instant::now();
            let made = loop {
                match self.engine.append_and_wait(rooms.iter().map(created).collect()) {
                    Ok(made) => break made,
                    Err(refused) => Self::again(begun, refused)?,
                }
            };
            self.rooms.extend(made.iter().map(|made| made.room));
        }
        Ok(())
    }

    fn find(&mut self, world: &World) -> Outcome<()> {
        let directory = self.engine.directory();
        for number in 0..world.categories {
            let row = directory.category_by_name(&category_name(number))?;
            self.categories.push(row.ok_or("a category is missing")?.id);
        }
        for number in 0..world.rooms {
            let row = directory.room_by_name(&room_name(number))?;
            self.rooms.push(row.ok_or("a room is missing")?.id);
        }
        Ok(())
    }

    fn room(&self, number: u32) -> Outcome<RoomId> {
        Ok(*self.rooms.get(number as usize).ok_or("no such room")?)
    }

    fn draft(&self, message: &Message<'_>) -> Outcome<Draft> {
        let idempotency = (self.keys == Keys::Each)
            .then(|| Idempotency { key: message.key.to_vec(), digest: message.digest });
        let post = Post {
            kind: EntryKind::Text,
            body: message.body.to_owned(),
            reply_to: Seq::ZERO,
            import: None,
        };
        Ok(Draft {
            actor: Actor {
                id: PrincipalId::new(Epoch::FIRST, Lsn(1_000_000 + u64::from(message.author))),
                name: message.nick.to_owned(),
                door: Door::Http,
                address: "192.0.2.17".into(),
                session: TokenId::new(Epoch::FIRST, Lsn(2_000_000 + u64::from(message.author))),
            },
            checked_at: self.engine.directory().applied(),
            room: self.room(message.room)?,
            said: Said::Now,
            idempotency,
            expect: None,
            payload: Payload::Post(post),
        })
    }

    /// An append: one message with its key, or many without.
    fn drafts(&self, part: &[Message<'_>]) -> Outcome<Vec<Draft>> {
        if let Some(last) = part.last() {
            self.clock.at_least(last.time_us);
        }
        part.iter().map(|message| self.draft(message)).collect()
    }

    const fn append_size(&self) -> usize {
        match self.keys {
            Keys::Each => 1,
            Keys::None => APPEND_DRAFTS_MAX,
        }
    }

    /// Waits until tails and queue have room again.
    fn again(begun: Instant, refused: Error) -> Outcome<()> {
        match refused {
            Error::Unavailable { .. } if begun.elapsed() < AGAIN_MAX => {
                std::thread::sleep(AGAIN);
                Ok(())
            }
            other => Err(other.into()),
        }
    }

    fn drain(&self, left: usize) -> Outcome<()> {
        loop {
            let mut tickets = self.tickets.lock();
            let oldest = if tickets.len() > left { tickets.pop_front() } else { None };
            drop(tickets);
            match oldest {
                Some(ticket) => ticket.wait()?,
                None => return Ok(()),
            };
        }
    }

    fn applied(&self) -> Outcome<()> {
        self.drain(0)?;
        let directory = self.engine.directory();
        let upto = self.engine.committed();
        until(pin!(directory.wait_applied(upto)));
        if directory.applied() < upto { Err("the catalog has stopped".into()) } else { Ok(()) }
    }

    fn page(&self, room: RoomId, at: Anchor, count: usize, sum: &mut Sum) -> Outcome<()> {
        let page = self.engine.entries(room, at, count)?;
        if !page.gaps.is_empty() {
            return Err(format!("gaps in history: {:?}", page.gaps).into());
        }
        for entry in &page.entries {
            // As the peers: bytes, at which nobody has looked.
            sum.add(entry.words()?);
        }
        sum.blocks += page.blocks;
        Ok(())
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future on this thread.
fn until(mut future: Pin<&mut impl Future<Output = ()>>) {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    while future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        std::thread::park();
    }
}

fn tally(made: &[Appended]) -> Tally {
    let repeated = made.iter().filter(|appended| appended.replayed).count() as u64;
    Tally { stored: made.len() as u64 - repeated, repeated }
}

impl Store for Hansard {
    fn commit(&self, group: &[Message<'_>], durability: Durability) -> Outcome<Tally> {
        let (begun, size) = (Instant::now(), self.append_size());
        if durability == Durability::Settle {
            for part in group.chunks(size) {
                let ticket = loop {
                    match self.engine.append(self.drafts(part)?) {
                        Ok(ticket) => break ticket,
                        Err(refused) => Self::again(begun, refused)?,
                    }
                };
                self.tickets.lock().push_back(ticket);
            }
            self.drain(APPENDS)?;
            return Ok(Tally { stored: group.len() as u64, repeated: 0 });
        }
        let mut sum = Tally::default();
        let mut left: Vec<&[Message<'_>]> = group.chunks(size).collect();
        while !left.is_empty() {
            let appends = left.iter().map(|part| self.drafts(part)).collect::<Outcome<_>>()?;
            let mut refused = Vec::new();
            for (part, outcome) in left.into_iter().zip(self.engine.append_each_and_wait(appends)) {
                match outcome {
                    Ok(made) => {
                        let Tally { stored, repeated } = tally(&made);
                        sum.stored += stored;
                        sum.repeated += repeated;
                    }
                    Err(error) => {
                        Self::again(begun, error)?;
                        refused.push(part);
                    }
                }
            }
            left = refused;
        }
        Ok(sum)
    }

    fn rest(&self, quiet: Quiet) -> Outcome<()> {
        self.applied()?;
        if quiet == Quiet::Applied {
            return Ok(());
        }
        self.engine.sign_heads()?;
        self.applied()?;
        self.engine.seal()?;
        self.engine.merge(&mut |_| true)?;
        if quiet == Quiet::Compacted {
            self.do_owed()?;
            // As `hansard-tool compact` does.
            self.engine.compact_catalog()?;
        }
        let stats = self.engine.stats();
        let failed = stats.seal_failures.get() + stats.merge_failures.get();
        if failed > 0 { Err(format!("{failed} seals or merges failed").into()) } else { Ok(()) }
    }

    fn before(&self, room: u32, below: u64, count: usize) -> Outcome<Sum> {
        let mut sum = Sum::default();
        self.page(self.room(room)?, Anchor::Before(Seq(below)), count, &mut sum)?;
        Ok(sum)
    }

    fn before_time(&self, room: u32, time_us: i64, count: usize) -> Outcome<Sum> {
        // There is no anchor before a time: the first entry from then on, and what is before it.
        let (room, mut sum) = (self.room(room)?, Sum::default());
        let page = self.engine.entries(room, Anchor::AtTime(TimeUs(time_us)), 1)?;
        let at = page.entries.get(0).map_or(Anchor::Last, |next| Anchor::Before(next.seq));
        self.page(room, at, count, &mut sum)?;
        Ok(sum)
    }

    fn category(&self, slice: Slice) -> Outcome<Option<Sum>> {
        let category = self.categories.get(slice.category as usize).ok_or("no such category")?;
        let mut request = CategoryRequest {
            category: *category,
            from: TimeUs(slice.from_us),
            to: TimeUs(slice.to_us),
            order: Order::Ascending,
            cursor: None,
            limit: PAGE_MESSAGES_MAX,
        };
        let mut sum = Sum::default();
        loop {
            let page = self.engine.category_entries(&request, &mut |_| true)?;
            if !page.gaps.is_empty() {
                return Err(format!("gaps in history: {:?}", page.gaps).into());
            }
            for found in &page.entries {
                sum.add(found.entry.words()?);
            }
            sum.blocks += page.blocks;
            match page.next {
                Some(next) => request.cursor = Some(next),
                None => return Ok(Some(sum)),
            }
        }
    }

    fn last(&self, room: u32, count: usize) -> Outcome<Sum> {
        let mut sum = Sum::default();
        self.page(self.room(room)?, Anchor::Last, count, &mut sum)?;
        Ok(sum)
    }

    fn do_owed(&self) -> Outcome<()> {
        let later = self.end_us + LATER_US;
        if self.clock.now() >= TimeUs(later) {
            return Ok(());
        }
        self.clock.at_least(later);
        // Any record of the day.
        let made = control(category(u32::MAX, Retention::ALL));
        self.engine.append_and_wait(vec![made])?;
        self.rest(Quiet::Settled)
    }

    fn folder(&self) -> &Path {
        &self.folder
    }

    fn log_files(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.folder.join("journal")).into_iter().flatten();
        files.filter_map(|file| Some(file.ok()?.path())).collect()
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        self.drain(0)?;
        Ok(self.engine.close()?)
    }
}
