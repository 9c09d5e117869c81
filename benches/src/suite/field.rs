//! Everyone who takes part: opened on a folder each, and filled once for all suites of a run.
//!
//! A filled store is kept below the run's folder, so that `history` reads what `append` wrote. The
//! fill is the bulk figure: groups of 1,024 until nothing is pending.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use hansard_peers::{Budget, Durability, Kind, Peer, Quiet, Store};
use serde::{Deserialize, Serialize};

use super::hansard::{self, Hansard, Setup};
use super::machine::{self, Still};
use super::size::Size;
use super::world::World;
use crate::tournament::Outcome;

/// Where the stores stand.
pub const VARIABLE: &str = "HANSARD_BENCH_DIR";
/// Who takes part beside Hansard, separated by commas; everyone if it is not set.
pub const PEERS: &str = "HANSARD_PEERS";
/// Messages of a group in bulk.
pub const BULK_GROUP: u64 = 1024;

/// Someone who takes part.
#[derive(Clone, Copy, Debug)]
pub enum Who {
    Hansard,
    Peer(Peer),
}

/// What a fill took and left.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Filled {
    pub messages: u64,
    /// Until nothing was pending, and nothing owed for later.
    pub seconds: f64,
    /// The processor time of this process until then, less what making the messages took.
    pub cpu_seconds: f64,
    /// What the store has on disk when nothing is pending, but for a log that is kept for reuse.
    pub settled_bytes: u64,
    /// And as small as its own means make it.
    pub compacted_bytes: u64,
    pub files: u64,
}

impl Who {
    /// Hansard, and the peers that are asked for.
    ///
    /// # Errors
    /// If a peer is asked for that does not exist.
    pub fn all() -> Outcome<Vec<Self>> {
        let mut all = vec![Self::Hansard];
        match std::env::var(PEERS) {
            Err(_) => all.extend(hansard_peers::all().iter().copied().map(Self::Peer)),
            Ok(names) => {
                for name in names.split(',').filter(|name| !name.is_empty()) {
                    all.push(Self::Peer(hansard_peers::by_name(name)?));
                }
            }
        }
        Ok(all)
    }

    /// The one with this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn by_name(name: &str) -> Outcome<Self> {
        if name == hansard::NAME {
            return Ok(Self::Hansard);
        }
        hansard_peers::by_name(name).map(Self::Peer)
    }

    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Hansard => hansard::NAME,
            Self::Peer(peer) => peer.name,
        }
    }

    #[must_use]
    pub const fn settings(&self) -> &'static str {
        match self {
            Self::Hansard => hansard::SETTINGS,
            Self::Peer(peer) => peer.settings,
        }
    }

    /// Whether it does all of the work.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Hansard) || matches!(self, Self::Peer(peer) if peer.kind == Kind::Full)
    }

    /// Opens its store.
    ///
    /// # Errors
    /// Whatever the store says.
    pub fn open(&self, dir: &Path, world: &World, budget: Budget) -> Outcome<Box<dyn Store>> {
        match self {
            Self::Hansard => Ok(Box::new(Hansard::open(dir, world, Setup::usual(budget))?)),
            Self::Peer(peer) => peer.open(dir, budget),
        }
    }

    /// Its filled store's folder, and what the fill took: now, or in an earlier suite of the run.
    ///
    /// # Errors
    /// Whatever the store says.
    pub fn filled(&self, world: &World, size: Size) -> Outcome<(PathBuf, Filled)> {
        let dir = root()?.join(size.name).join(self.name());
        let told = dir.with_extension("filled.json");
        if let Ok(text) = std::fs::read_to_string(&told) {
            let filled: Filled = serde_json::from_str(&text)?;
            if filled.messages == world.messages {
                return Ok((dir, filled));
            }
        }
        if dir.exists() {
            std::fs::remove_dir_all(&dir)?;
        }
        std::fs::create_dir_all(dir.parent().ok_or("no folder")?)?;
        let filled = self.fill(&dir, world)?;
        std::fs::write(told, serde_json::to_string(&filled)?)?;
        Ok((dir, filled))
    }

    /// A new store in `dir` with all messages of a world, at rest.
    ///
    /// # Errors
    /// Whatever the store says.
    pub fn fill(&self, dir: &Path, world: &World) -> Outcome<Filled> {
        let store = self.open(dir, world, Budget::of(hansard_peers::CacheState::Warm))?;
        let mut stream = world.stream();
        let (mut left, mut took) = (world.messages, Duration::ZERO);
        let (before, mut making) = (machine::cpu_seconds(), 0.0);
        while left > 0 {
            // Messages are made outside of the time.
            let begun = Instant::now();
            let batch = stream.take(left.min(BULK_GROUP * 16));
            making += begun.elapsed().as_secs_f64();
            left -= batch.len() as u64;
            let begun = Instant::now();
            for group in batch.chunks(usize::try_from(BULK_GROUP)?) {
                store.commit(group, Durability::Settle)?;
            }
            took += begun.elapsed();
        }
        let begun = Instant::now();
        store.rest(Quiet::Settled)?;
        // Threads of its own that nobody is told of: until the process stands still.
        let still = Still::wait(begun);
        took += still;
        let settled_bytes = size_of(&*store)?.bytes;
        let begun = Instant::now();
        store.do_owed()?;
        took += begun.elapsed();
        let cpu_seconds = machine::cpu_seconds() - before - making;
        store.rest(Quiet::Compacted)?;
        let on_disk = size_of(&*store)?;
        store.close()?;
        eprintln!("{}: {} messages in {:.2} s", self.name(), world.messages, took.as_secs_f64());
        Ok(Filled {
            messages: world.messages,
            seconds: took.as_secs_f64(),
            cpu_seconds,
            settled_bytes,
            compacted_bytes: on_disk.bytes,
            files: on_disk.files,
        })
    }
}

/// Files and bytes that a store has on disk, but for a log that is kept for reuse.
///
/// # Errors
/// If its folder cannot be listed.
pub fn size_of(store: &dyn Store) -> Outcome<machine::OnDisk> {
    machine::on_disk(store.folder(), &store.log_files())
}

/// Copies a filled store's folder to one that may be written to.
///
/// # Errors
/// If `cp` fails.
pub fn copy(from: &Path, to: &Path) -> Outcome<()> {
    let copied = Command::new("cp").args(["-a", "--reflink=auto"]).arg(from).arg(to).status()?;
    if copied.success() { Ok(()) } else { Err(format!("cp: {copied}").into()) }
}

/// The folder of the run.
///
/// # Errors
/// If it cannot be made.
pub fn root() -> Outcome<PathBuf> {
    let own = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/data");
    let root = std::env::var_os(VARIABLE).map_or_else(own, PathBuf::from);
    std::fs::create_dir_all(&root)?;
    Ok(root)
}

/// A folder for one measurement, gone with the handle.
///
/// # Errors
/// If it cannot be made.
pub fn scratch() -> Outcome<tempfile::TempDir> {
    // PostgreSQL's user must get through.
    let open = std::fs::Permissions::from_mode(0o755);
    Ok(tempfile::Builder::new().permissions(open).tempdir_in(root()?)?)
}
