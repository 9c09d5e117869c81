//! What the engine's tests share: a simulated ground, drafts, and a small community of rooms.
//!
//! The engine runs without threads here, so that every run of a test is the same run.

#![allow(dead_code)]

use std::sync::Arc;

use hansard_engine::catalog::memory::MemoryCatalog;
use hansard_engine::draft::{Appended, Draft, Said};
use hansard_engine::error::Result;
use hansard_engine::format::payload::*;
use hansard_engine::format::record::{Actor, Door, Idempotency, Record};
use hansard_engine::journal::scan::scan;
use hansard_engine::open::{Drive, Ground, Losses, lay_out, open_on};
use hansard_engine::storage::Disk;
use hansard_engine::storage::clock::SimClock;
use hansard_engine::storage::sim::{SimStorage, Survivors};
use hansard_engine::types::*;
use hansard_engine::{Engine, OpenReport, Options};

/// Noon of 2026-01-01.
pub const START: TimeUs = TimeUs(1_767_268_800_000_000);

/// Small files, so that tests turn over many.
pub fn options() -> Options {
    Options {
        journal_file_bytes: 128 * 1024,
        journal_bytes_max: 4 * 1024 * 1024,
        tail_bytes_soft: 1 << 20,
        tail_bytes_hard: 1 << 24,
        cache_bytes: 1 << 20,
        seal_interval_ms: 600_000,
        disk_reserve_bytes: 0,
        catalog_cache_bytes: 1 << 20,
        scrub_bytes_per_second: 0,
        scrub_interval_ms: 0,
        merge_bytes_per_second: 0,
        merge_interval_ms: 0,
        merge_runs: 250_000,
        expire_interval_ms: 0,
        head_interval_ms: 0,
        salt_level: 20,
    }
}

/// A simulated machine.
pub struct World {
    pub sim: SimStorage,
    pub store: MemoryCatalog,
    pub clock: Arc<SimClock>,
}

impl World {
    pub fn new() -> Self {
        let sim = SimStorage::new();
        lay_out(&Disk::new(Arc::new(sim.clone()))).unwrap();
        Self { sim, store: MemoryCatalog::default(), clock: Arc::new(SimClock::at(START)) }
    }

    pub fn ground(&self) -> Ground {
        Ground {
            disk: Disk::new(Arc::new(self.sim.clone())),
            store: Arc::new(self.store.clone()),
            clock: self.clock.clone(),
        }
    }

    pub fn try_open(&self, losses: Losses) -> Result<(Engine, OpenReport)> {
        open_on(self.ground(), options(), Drive::Steps, losses)
    }

    pub fn open(&self) -> Engine {
        self.try_open(Losses::Restrict).unwrap().0
    }

    /// The machine after a power cut, an hour after it was first started; this one stays.
    pub fn crashed(&self, survivors: Survivors) -> Self {
        Self {
            sim: self.sim.crash(survivors),
            store: self.store.crash(),
            clock: Arc::new(SimClock::at(TimeUs(START.0 + 3_600_000_000))),
        }
    }
}

pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}

/// The journal file in which bytes stand, and where.
pub fn journal_with(sim: &SimStorage, needle: impl AsRef<[u8]>) -> Option<(String, usize)> {
    let mut journals = sim.files().into_iter().filter(|f| f.ends_with(".journal"));
    journals.find_map(|f| find(&sim.bytes_of(&f)?, needle.as_ref()).map(|at| (f, at)))
}

/// Flips a bit of a record in the journal.
pub fn spoil(world: &World, lsn: Lsn) {
    let found = scan(&Disk::new(Arc::new(world.sim.clone())), Lsn::ZERO, Lsn::ZERO).unwrap();
    let slots = found.frames.iter().flat_map(|f| f.slots.iter().flatten().map(move |s| (f, s)));
    let (frame, slot) = slots.into_iter().find(|(_, s)| s.lsn == lsn).expect("it is there");
    let name = format!("journal/{:06}.journal", frame.file);
    let at = usize::try_from(frame.header.offset).unwrap() + slot.start;
    let mut bytes = world.sim.bytes_of(&name).unwrap();
    bytes[at + slot.entry.bytes as usize / 2] ^= 4;
    world.sim.set_bytes(&name, bytes);
}

pub fn actor(id: PrincipalId) -> Actor {
    Actor {
        id,
        name: format!("user {id}"),
        door: Door::Http,
        address: "127.0.0.1".into(),
        session: TokenId::NONE,
    }
}

pub fn draft(by: PrincipalId, room: RoomId, payload: Payload) -> Draft {
    Draft {
        actor: actor(by),
        checked_at: Lsn(u64::MAX),
        room,
        said: Said::Now,
        idempotency: None,
        expect: None,
        payload,
    }
}

pub fn post(by: PrincipalId, room: RoomId, body: &str) -> Draft {
    let post = Post { kind: EntryKind::Text, body: body.into(), reply_to: Seq::ZERO, import: None };
    draft(by, room, Payload::Post(post))
}

pub fn keyed(mut draft: Draft, key: &str, digest: u8) -> Draft {
    draft.idempotency = Some(Idempotency { key: key.into(), digest: [digest; 16] });
    draft
}

pub fn one(engine: &Engine, draft: Draft) -> Appended {
    engine.append_and_wait(vec![draft]).unwrap().remove(0)
}

pub fn category_settings(name: &str) -> CategorySettings {
    CategorySettings {
        name: name.into(),
        description: String::new(),
        allowed: vec![PrincipalId::EVERYONE],
        denied: vec![],
        creators: vec![],
        invitations: true,
        uploads: true,
        history: true,
        retention: Retention::ALL,
        edit: ChangePolicy::Nobody,
        redact: ChangePolicy::Managers,
        read_audit: false,
    }
}

pub fn room_settings(category: CategoryId, name: &str) -> RoomSettings {
    RoomSettings {
        category,
        name: name.into(),
        description: String::new(),
        topic: String::new(),
        kind: RoomKind::Normal,
        privacy: Privacy::Open,
        invitations: Invitations::Inherit,
        disabled: false,
        continues: RoomId::NONE,
        retention: None,
    }
}

pub fn make_user(engine: &Engine, name: &str) -> PrincipalId {
    let settings = PrincipalSettings {
        kind: PrincipalKind::User,
        name: name.into(),
        source: String::new(),
        password: None,
        administrator: false,
        disabled: false,
    };
    let payload = Payload::PrincipalCreated(PrincipalCreated { settings });
    one(engine, draft(PrincipalId::SYSTEM, RoomId::NONE, payload)).principal_id()
}

/// A hold on everything.
pub fn hold_settings() -> HoldSettings {
    HoldSettings {
        name: "a case".into(),
        reason: String::new(),
        room: RoomId::NONE,
        category: CategoryId::NONE,
        principal: PrincipalId::NONE,
        from: TimeUs::MIN,
        to: TimeUs::MAX,
    }
}

pub fn make_category(engine: &Engine, name: &str) -> CategoryId {
    let payload = Payload::CategoryCreated(CategoryCreated { settings: category_settings(name) });
    one(engine, draft(PrincipalId::SYSTEM, RoomId::NONE, payload)).category_id()
}

pub fn make_room(engine: &Engine, category: CategoryId, name: &str) -> RoomId {
    let payload = Payload::RoomCreated(RoomCreated { settings: room_settings(category, name) });
    one(engine, draft(PrincipalId::SYSTEM, RoomId::NONE, payload)).room
}

pub fn body(record: &Record) -> &str {
    match &record.payload {
        Payload::Post(post) => &post.body,
        other => panic!("not a post: {other:?}"),
    }
}
