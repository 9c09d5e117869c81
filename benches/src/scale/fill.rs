//! Fills a data directory: a category, the rooms, their messages, and what a server does meanwhile.
//!
//! It appends as an importer does, up to 1,024 drafts at once, with a few appends on their way. The
//! settings are a server's own. The clock stands some weeks back, so that a later merge finds the
//! day and the month of these records over and goes as far as it ever does.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hansard_engine::catalog::rocks::{RocksCatalog, RocksOptions};
use hansard_engine::draft::{Appended, Draft, Said, Ticket};
use hansard_engine::error::Error;
use hansard_engine::format::payload::{
    CategoryCreated, CategorySettings, ChangePolicy, EntryKind, ImportMark, ImportProgress,
    Invitations, Payload, Post, PrincipalCreated, PrincipalKind, PrincipalSettings, Privacy,
    Retention, RoomCreated, RoomKind, RoomSettings, Setting, TokenCreated,
};
use hansard_engine::format::record::{Actor, Door};
use hansard_engine::limits::APPEND_DRAFTS_MAX;
use hansard_engine::open::{Drive, Ground, Losses, open_on, system_actor};
use hansard_engine::storage::Disk;
use hansard_engine::storage::clock::{Clock, SystemClock};
use hansard_engine::storage::real::RealStorage;
use hansard_engine::types::{CategoryId, Lsn, PrincipalId, RoomId, Seq, TimeUs};
use hansard_engine::{Engine, Options};
use serde::{Deserialize, Serialize};

use super::batches::Batches;
use super::gauge::{Mark, Pace, Watch};
use super::world::{self, Message, World};
use crate::tournament::Outcome;

/// How far the clock stands back.
const DAYS_BACK: i64 = 40;
/// How often an append that is refused for now is tried again, and for how long at most.
const AGAIN: Duration = Duration::from_millis(2);
const AGAIN_MAX: Duration = Duration::from_secs(300);
/// How long merging may take until it is quiet.
const QUIET_MAX: Duration = Duration::from_secs(1800);
const SMALL_SOURCE: &str = "topics.log";
const BIG_SOURCE: &str = "everything.log";
/// What the category is called.
pub const CATEGORY: &str = "Community";

/// What was written, for the phases behind it to compare with.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Filled {
    pub marks: Vec<Mark>,
    /// Every record of the log.
    pub records: u64,
    pub authors: u64,
    pub category: u64,
    pub big_room: u64,
    /// Appends that were refused for now and tried again.
    pub waits: u64,
    /// Whether merging came to rest in time.
    pub quiet: bool,
    pub journal_written: u64,
    pub seals: u64,
    pub seal_written: u64,
    pub merges: u64,
    pub merge_written: u64,
}

struct Earlier;

impl Clock for Earlier {
    fn now(&self) -> TimeUs {
        SystemClock.now().saturating_add_us(-DAYS_BACK * TimeUs::DAY_US)
    }

    fn boot_us(&self) -> i64 {
        SystemClock.boot_us()
    }

    fn random(&self, bytes: &mut [u8]) -> hansard_engine::error::Result<()> {
        SystemClock.random(bytes)
    }
}

/// The engine with a server's settings, as [`Engine::open`] makes it but for the clock.
fn open_earlier(data: &Path) -> Outcome<Engine> {
    Engine::create(data)?;
    let options = Options::default();
    let rocks = RocksOptions { cache_bytes: options.catalog_cache_bytes, ..Default::default() };
    let ground = Ground {
        disk: Disk::new(Arc::new(RealStorage::new(data))),
        store: Arc::new(RocksCatalog::open(&data.join("catalog"), rocks)?),
        clock: Arc::new(Earlier),
    };
    let (engine, _) = open_on(ground, options, Drive::Threads, Losses::Restrict)?;
    Ok(engine)
}

struct Fill<'a> {
    engine: Engine,
    data: &'a Path,
    world: &'a World,
    importer: Actor,
    category: CategoryId,
    authors: Vec<PrincipalId>,
    /// Of the phase under way.
    tenths: Vec<f64>,
    filled: Filled,
}

/// Fills an absent directory.
///
/// # Errors
/// If the engine refuses anything for good.
pub fn fill(data: &Path, world: &World) -> Outcome<Filled> {
    let engine = open_earlier(data)?;
    let importer = system_actor();
    let mut fill = Fill {
        engine,
        data,
        world,
        importer,
        category: CategoryId::NONE,
        authors: Vec::new(),
        tenths: Vec::new(),
        filled: Filled::default(),
    };
    fill.first()?;
    fill.authors()?;
    let rooms = fill.phase("create rooms", (world.size.rooms, "rooms"), Fill::rooms)?;
    let small = (world.size.small(), "messages");
    fill.phase("import small rooms", small, |fill| fill.small(&rooms))?;
    drop(rooms);
    fill.phase("import big room", (world.size.big, "messages"), Fill::big)?;
    fill.phase("seal, merge to rest", (0, ""), Fill::rest)?;
    fill.phase("close", (0, ""), |fill| Ok(fill.engine.close()?))?;
    Ok(fill.filled)
}

impl Fill<'_> {
    fn phase<T>(
        &mut self,
        name: &str,
        count: (u64, &str),
        work: impl FnOnce(&mut Self) -> Outcome<T>,
    ) -> Outcome<T> {
        let watch = Watch::begin(std::process::id());
        let done = work(self)?;
        let mut mark = watch.end(name, count, self.data)?;
        mark.tenths = std::mem::take(&mut self.tenths);
        eprintln!("{name}: {:.1} s", mark.seconds);
        self.filled.marks.push(mark);
        Ok(done)
    }

    fn draft(&self, room: RoomId, payload: Payload) -> Draft {
        Draft {
            actor: self.importer.clone(),
            checked_at: self.engine.directory().applied(),
            room,
            said: Said::Now,
            idempotency: None,
            expect: None,
            payload,
        }
    }

    /// Queues an append, as often as it takes.
    fn append(&mut self, drafts: Vec<Draft>) -> Outcome<Ticket> {
        self.filled.records += drafts.len() as u64;
        let begun = Instant::now();
        loop {
            match self.engine.append(drafts.clone()) {
                Err(Error::Unavailable { .. }) if begun.elapsed() < AGAIN_MAX => {
                    self.filled.waits += 1;
                    std::thread::sleep(AGAIN);
                }
                ticket => return Ok(ticket?),
            }
        }
    }

    fn control(&mut self, payloads: Vec<Payload>) -> Outcome<Vec<Appended>> {
        let drafts = payloads.into_iter().map(|p| self.draft(RoomId::NONE, p)).collect();
        Ok(self.append(drafts)?.wait()?)
    }

    /// What `hansard init` writes, the importer with his token, and the category.
    fn first(&mut self) -> Outcome<()> {
        let compliance = Setting { key: "compliance".into(), value: "on".into() };
        let settings = principal(PrincipalKind::User, "importer", "");
        let created = Payload::PrincipalCreated(PrincipalCreated { settings });
        let made = self.control(vec![Payload::Setting(compliance), created])?;
        let id = made.last().ok_or("no importer")?.principal_id();
        let token = TokenCreated {
            principal: id,
            name: "import".into(),
            sha256: [7; 32],
            expires: TimeUs::CEILING,
            session: false,
            one_use: false,
        };
        let made = self.control(vec![Payload::TokenCreated(token)])?;
        self.importer = Actor {
            id,
            name: "importer".into(),
            door: Door::Import,
            address: "127.0.0.1".into(),
            session: made.last().ok_or("no token")?.token_id(),
        };
        let settings = CategorySettings {
            name: CATEGORY.into(),
            description: String::new(),
            allowed: vec![PrincipalId::EVERYONE],
            denied: Vec::new(),
            creators: Vec::new(),
            invitations: true,
            uploads: true,
            history: true,
            retention: Retention::ALL,
            edit: ChangePolicy::Nobody,
            redact: ChangePolicy::Managers,
            read_audit: false,
        };
        let made = self.control(vec![Payload::CategoryCreated(CategoryCreated { settings })])?;
        self.category = made.last().ok_or("no category")?.category_id();
        self.filled.category = self.category.0;
        Ok(())
    }

    fn authors(&mut self) -> Outcome<()> {
        for nicks in self.world.nicks.chunks(APPEND_DRAFTS_MAX) {
            let create = |nick: &String| {
                let settings = principal(PrincipalKind::Imported, nick, world::NETWORK);
                Payload::PrincipalCreated(PrincipalCreated { settings })
            };
            let made = self.control(nicks.iter().map(create).collect())?;
            self.authors.extend(made.iter().map(Appended::principal_id));
        }
        self.filled.authors = self.authors.len() as u64;
        Ok(())
    }

    fn room(&self, name: String) -> Payload {
        Payload::RoomCreated(RoomCreated {
            settings: RoomSettings {
                category: self.category,
                name,
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

    fn rooms(&mut self) -> Outcome<Vec<RoomId>> {
        let mut rooms = Vec::new();
        let (all, step) = (self.world.size.rooms, APPEND_DRAFTS_MAX as u64);
        let (mut first, mut pace) = (0, Pace::of(all));
        while first < all {
            let names = (first..all.min(first + step)).map(world::room_name);
            let created = names.map(|name| self.room(name)).collect();
            rooms.extend(self.control(created)?.iter().map(|made| made.room));
            first += step;
            pace.at(first.min(all));
        }
        self.tenths = pace.end();
        Ok(rooms)
    }

    fn post(&self, room: RoomId, message: Message<'_>, source: &str, checked_at: Lsn) -> Draft {
        let mark = ImportMark {
            source: source.to_owned(),
            format: world::FORMAT.to_owned(),
            importer: self.importer.id,
        };
        let post = Post {
            kind: EntryKind::Text,
            body: message.body.to_owned(),
            reply_to: Seq::ZERO,
            import: Some(mark),
        };
        let actor = Actor {
            id: self.authors[message.author],
            name: message.nick.to_owned(),
            ..self.importer.clone()
        };
        Draft {
            actor,
            checked_at,
            room,
            said: Said::At(message.time),
            idempotency: None,
            expect: None,
            payload: Payload::Post(post),
        }
    }

    fn small(&mut self, rooms: &[RoomId]) -> Outcome<()> {
        let world = self.world;
        let mut batches = Batches::new(world.size.small());
        while let Some(places) = batches.next(|place| {
            let message = world.small(world.size.small_at(place));
            message.body.len() + message.nick.len()
        }) {
            let checked_at = self.engine.directory().applied();
            let drafts = places.map(|place| {
                let small = world.size.small_at(place);
                let room = usize::try_from(small.room).ok().and_then(|at| rooms.get(at));
                let room = room.copied().unwrap_or(RoomId::NONE);
                self.post(room, world.small(small), SMALL_SOURCE, checked_at)
            });
            let ticket = self.append(drafts.collect())?;
            batches.wait_for(ticket)?;
        }
        self.tenths = batches.end()?;
        Ok(())
    }

    fn big(&mut self) -> Outcome<()> {
        let world = self.world;
        let made = self.control(vec![self.room(world::BIG_ROOM.to_owned())])?;
        let room = made.last().ok_or("no big room")?.room;
        self.filled.big_room = room.0;
        let mut batches = Batches::new(world.size.big);
        let mut bytes = 0;
        while let Some(places) = batches.next(|place| {
            let message = world.big(place);
            message.body.len() + message.nick.len()
        }) {
            let checked_at = self.engine.directory().applied();
            let done = places.end == world.size.big;
            let posts =
                places.map(|place| self.post(room, world.big(place), BIG_SOURCE, checked_at));
            let mut drafts: Vec<Draft> = posts.collect();
            let progress = ImportProgress {
                format: world::FORMAT.to_owned(),
                source: BIG_SOURCE.to_owned(),
                from: bytes,
                bytes: bytes + drafts.len() as u64,
                digest: [0; 32],
                done,
            };
            bytes = progress.bytes;
            drafts.push(self.draft(room, Payload::ImportProgress(progress)));
            let ticket = self.append(drafts)?;
            batches.wait_for(ticket)?;
        }
        self.tenths = batches.end()?;
        Ok(())
    }

    /// Seals what is there and waits until the merger finds nothing more to do.
    fn rest(&mut self) -> Outcome<()> {
        let (engine, begun) = (self.engine.clone(), Instant::now());
        engine.sign_heads()?;
        // Beside what was asked of it the engine lists rooms that grew, signs, and makes salts.
        let (asked, there) = (self.filled.records, engine.committed().0);
        let most = asked + self.world.size.rooms / 64 + 1000;
        if !(asked..most).contains(&there) {
            return Err(format!("{there} records of {asked} that were asked for").into());
        }
        self.filled.records = there;
        let committed = Lsn(engine.stats().committed_lsn.get());
        while engine.directory().applied() < committed {
            std::thread::sleep(AGAIN);
        }
        engine.seal()?;
        while engine.merge_due_bytes() > 0 && begun.elapsed() < QUIET_MAX {
            std::thread::sleep(Duration::from_millis(200));
        }
        self.filled.quiet = engine.merge_due_bytes() == 0;
        let stats = engine.stats();
        self.filled.journal_written = stats.journal_bytes.get();
        self.filled.seals = stats.seals.get();
        self.filled.seal_written = stats.seal_written_bytes.get();
        self.filled.merges = stats.merges.get();
        self.filled.merge_written = stats.merge_written_bytes.get();
        let failed = stats.seal_failures.get() + stats.merge_failures.get();
        if failed > 0 { Err(format!("{failed} seals or merges failed").into()) } else { Ok(()) }
    }
}

fn principal(kind: PrincipalKind, name: &str, source: &str) -> PrincipalSettings {
    PrincipalSettings {
        kind,
        name: name.to_owned(),
        source: source.to_owned(),
        password: None,
        administrator: kind == PrincipalKind::User,
        disabled: false,
    }
}
