//! Small data directories that were really written by an engine, and what was said in them.
//!
//! A few fixed workloads, each run once a process: rooms, posts, a member, a token, seals, ends by
//! a stop or by a kill. Every input damages a copy of one of them.

use std::sync::OnceLock;

use hansard_engine::catalog::CatalogStore;
use hansard_engine::catalog::memory::MemoryCatalog;
use hansard_engine::format::payload::{MemberSet, Payload, Roles, TokenCreated};
use hansard_engine::storage::sim::{SimStorage, Survivors};
use hansard_engine::types::*;
use hansard_engine::{Engine, Options};

use crate::support::{self, World, draft, one, post};

/// An entry that was acknowledged.
#[derive(Clone, Debug)]
pub struct Said {
    pub lsn: Lsn,
    pub rev: Rev,
    pub body: String,
}

/// A directory and what it must answer.
pub struct Base {
    pub sim: SimStorage,
    pub store: MemoryCatalog,
    pub category: CategoryId,
    /// Entries by room, in order of seq from 1.
    pub rooms: Vec<(RoomId, Vec<Said>)>,
    pub token: [u8; 32],
    /// The newest record.
    pub last: Lsn,
    /// Records up to here stand under a promise and in the witness.
    pub protected: Lsn,
}

/// How many bases there are.
pub const BASES: usize = 5;

/// Small files, so that little is copied for an input and the journal turns over.
pub fn options() -> Options {
    Options {
        journal_file_bytes: 64 * 1024,
        journal_bytes_max: 1 << 20,
        tail_bytes_soft: 0,
        cache_bytes: 64 * 1024,
        ..support::options()
    }
}

/// One of the bases.
pub fn base(which: usize) -> &'static Base {
    static ALL: OnceLock<Vec<Base>> = OnceLock::new();
    let all = ALL.get_or_init(|| (0..BASES).map(make).collect());
    &all[which % BASES]
}

impl Base {
    /// The same directory for another input.
    pub fn copy(&self) -> World {
        let fresh = World::new();
        let sim = self.sim.crash(Survivors::Everything);
        World { sim, store: self.store.crash(), clock: fresh.clock }
    }
}

fn open(world: &World) -> Engine {
    let drive = hansard_engine::open::Drive::Steps;
    let losses = hansard_engine::open::Losses::Restrict;
    let opened = hansard_engine::open::open_on(world.ground(), options(), drive, losses);
    opened.expect("an undamaged directory").0
}

fn make(which: usize) -> Base {
    let world = World::new();
    let engine = open(&world);
    let category = support::make_category(&engine, "General");
    let ann = support::make_user(&engine, "ann");
    let names = ["one", "two", "three"];
    let mut base = Base {
        sim: world.sim.clone(),
        store: world.store.clone(),
        category,
        rooms: names.map(|name| (support::make_room(&engine, category, name), vec![])).to_vec(),
        token: [7; 32],
        last: Lsn::ZERO,
        protected: Lsn::ZERO,
    };
    let member = MemberSet { principal: ann, roles: Roles::MEMBER };
    one(&engine, draft(ann, base.rooms[0].0, Payload::MemberSet(member)));
    let token = TokenCreated {
        principal: ann,
        name: "laptop".into(),
        sha256: base.token,
        expires: TimeUs::CEILING,
        session: false,
        one_use: false,
    };
    one(&engine, draft(ann, RoomId::NONE, Payload::TokenCreated(token)));
    base.say(&engine, ann, 9, 40);
    let seals = [0, 1, 1, 3, 3][which];
    for round in 0..seals {
        engine.seal().expect("simulated");
        // Enough for a second and a third journal file where there are several seals.
        base.say(&engine, ann, 12, if seals > 1 { 4_000 } else { 300 * (round + 1) });
    }
    base.end(&engine, ann, which);
    drop(engine);
    base.sim = world.sim.crash(Survivors::Everything);
    base.store = match which {
        // What was flushed, what was written, and nothing: the journal fills the catalog again.
        0 => MemoryCatalog::default(),
        2 => world.store.clone(),
        _ => world.store.crash(),
    };
    base
}

impl Base {
    fn say(&mut self, engine: &Engine, by: PrincipalId, count: usize, long: usize) {
        for n in 0..count {
            let at = n % self.rooms.len();
            let (room, said) = &mut self.rooms[at];
            let body = format!("{at}.{} {}", said.len() + 1, "word ".repeat(long / 5));
            let answer = one(engine, post(by, *room, &body));
            assert_eq!(answer.seq.0, said.len() as u64 + 1);
            said.push(Said { lsn: answer.lsn, rev: answer.rev, body });
            self.last = answer.lsn;
        }
    }

    /// A stop, or a kill behind messages that no promise covers yet.
    fn end(&mut self, engine: &Engine, by: PrincipalId, which: usize) {
        engine.idle();
        self.protected = self.last;
        match which {
            1 | 3 => engine.close().expect("simulated"),
            2 => self.store.flush().expect("in memory"),
            _ => self.say(engine, by, 4, 60),
        }
    }
}
