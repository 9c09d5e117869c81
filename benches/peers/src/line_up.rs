//! Who takes part, in the order of the tables.
//!
//! A peer is opened here and nowhere else, so that every suite opens it with the same settings.

use std::path::Path;

use crate::rocksdb::{Rocks, Tuning};
use crate::store::{Budget, Kind, Outcome, Store};
use crate::{fjall, postgres, raft_engine, redb, sqlite};

/// A store that takes part.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its name in tables and on command lines.
    pub name: &'static str,
    pub kind: Kind,
    /// How it is opened.
    pub settings: &'static str,
    open: fn(&Path, Budget) -> Outcome<Box<dyn Store>>,
}

impl Peer {
    /// Opens the store in `dir`, made first if it is absent.
    ///
    /// # Errors
    /// Whatever the store says.
    pub fn open(&self, dir: &Path, budget: Budget) -> Outcome<Box<dyn Store>> {
        (self.open)(dir, budget)
    }
}

fn boxed<S: Store + 'static>(store: Outcome<S>) -> Outcome<Box<dyn Store>> {
    Ok(Box::new(store?))
}

/// All of them.
pub const ALL: [Peer; 7] = [
    Peer {
        name: "rocksdb",
        kind: Kind::Full,
        settings: Tuning::Advised.settings(),
        open: |dir, budget| boxed(Rocks::open(dir, Tuning::Advised, budget)),
    },
    Peer {
        name: "rocksdb-dictionary",
        kind: Kind::Full,
        settings: Tuning::Dictionary.settings(),
        open: |dir, budget| boxed(Rocks::open(dir, Tuning::Dictionary, budget)),
    },
    Peer {
        name: "fjall",
        kind: Kind::Full,
        settings: fjall::SETTINGS,
        open: |dir, budget| boxed(fjall::Fjall::open(dir, budget)),
    },
    Peer {
        name: "redb",
        kind: Kind::Full,
        settings: redb::SETTINGS,
        open: |dir, budget| boxed(redb::Redb::open(dir, budget)),
    },
    Peer {
        name: "raft-engine",
        kind: Kind::Log,
        settings: raft_engine::SETTINGS,
        open: |dir, budget| boxed(raft_engine::Raft::open(dir, budget)),
    },
    Peer {
        name: "sqlite",
        kind: Kind::Full,
        settings: sqlite::SETTINGS,
        open: |dir, budget| boxed(sqlite::Sqlite::open(dir, budget)),
    },
    Peer {
        name: "postgres",
        kind: Kind::Full,
        settings: postgres::SETTINGS,
        open: |dir, budget| boxed(postgres::Postgres::open(dir, budget)),
    },
];

/// All of them.
#[must_use]
pub const fn all() -> &'static [Peer] {
    &ALL
}

/// The one with this name.
///
/// # Errors
/// If there is none.
pub fn by_name(name: &str) -> Outcome<Peer> {
    let found = ALL.iter().find(|peer| peer.name == name).copied();
    found.ok_or_else(|| format!("no peer is called {name}").into())
}
