//! Making and opening a data directory, step by step.
//!
//! Lock, version, what recovery finds, replay, index, then the parts are put together. What was
//! found decides how it opens: whole, with gaps, or restricted.
//!
//! INVARIANT: a lost record that may have closed a door never opens one: the engine is then
//! restricted until the loss is accepted.

use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
#[cfg(feature = "rocksdb")]
use std::path::Path;
use std::sync::Arc;

use crate::sync::{Mutex, RwLock};

use crate::apply::{Applier, take_over, take_over_trees};
use crate::catalog::{CatalogStore, Family, Go, keys, walk_prefix};
use crate::clock::ClockGuard;
use crate::commit::{Encoder, Progress, Salter, own_draft};
use crate::directory::Gate;
use crate::engine::{Engine, Inner, OpenReport, Options};
use crate::error::{Error, Result};
use crate::format::manifest::Edit;
use crate::format::payload::{LsnSpan, Payload};
use crate::format::record::{Actor, Door};
use crate::format::{FORMAT, LAYOUT, layout_of, reads};
use crate::history::History;
use crate::index;
use crate::journal::witness::WitnessFile;
use crate::journal::{self, EndMark, JournalEnd, JournalPool, Wait};
use crate::keeper::Keeper;
use crate::lane::Lane;
use crate::leftover;
use crate::limits;
use crate::lists::RunLists;
use crate::manifest::Manifest;
use crate::notary::head_log;
use crate::pack::{self, Packs};
use crate::proof::book::salted_to;
use crate::proof::salts::SPAN_LEVEL;
use crate::recovery::mend::{quarantine, sync_found, wipe_cut};
use crate::recovery::replay::Replay;
use crate::recovery::{Findings, find, report_damage};
use crate::seal;
use crate::sequence::SeqState;
use crate::stats::Stats;
use crate::storage::clock::Clock;
use crate::storage::{Disk, Exclusive, Mode};
use crate::tail::Tails;
use crate::types::{Epoch, Lsn, PrincipalId, TokenId};
use crate::views::Views;

/// The lock file.
pub const LOCK: &str = "LOCK";
/// The file that says the layout.
pub const VERSION: &str = "VERSION";
/// Its first line; the second names the format.
const VERSION_TITLE: &str = "hansard data directory";
/// The folder of damaged files that are kept for people to look at.
pub const QUARANTINE: &str = "quarantine";
/// Folders of a data directory.
pub const FOLDERS: [&str; 7] =
    ["journal", "packs", "catalog", "files", "index", "keys", QUARANTINE];

/// Everything an engine stands on, so that tests can put twins there.
pub struct Ground {
    /// The file system.
    pub disk: Disk,
    /// The catalog.
    pub store: Arc<dyn CatalogStore>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
}

/// How an engine is driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drive {
    /// By its own threads.
    Threads,
    /// By calls of [`Engine::step`]: for simulation.
    Steps,
}

/// What to do about records that are lost and not accepted as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Losses {
    /// Open restricted.
    Restrict,
    /// Go on behind them: the operator has seen the list.
    Accept,
}

/// Makes the files of a new data directory in an empty folder.
///
/// # Errors
/// `Conflict`-like `Invalid` if it is not empty; `NoSpace` or `Io`.
pub fn lay_out(disk: &Disk) -> Result<()> {
    let there = disk.list("")?;
    if let Some(name) = there.iter().find(|name| name.as_str() != LOCK) {
        let path = disk.full(name);
        return Err(Error::invalid(format!("data directory is not empty found={path:?}")));
    }
    for folder in FOLDERS {
        disk.create_dir(folder)?;
    }
    disk.sync_dir("")?;
    Manifest::create(disk)?;
    WitnessFile::create(disk)?;
    // ORDERING: VERSION comes last, so a directory that has one is complete.
    write_version(disk)
}

/// Writes the file that makes a directory complete.
///
/// # Errors
/// `NoSpace` or `Io`.
pub fn write_version(disk: &Disk) -> Result<()> {
    disk.write_whole("", VERSION, format!("{VERSION_TITLE}\nformat {FORMAT}\n").as_bytes())
}

/// The layout that a directory says it is of. Refuses one that this build does not read.
///
/// # Errors
/// `Unsupported`, `Io`, or `NotFound` if there is none.
pub fn check_version(disk: &Disk) -> Result<u32> {
    if !disk.exists(VERSION)? {
        return Err(Error::NotFound { what: "data directory (no VERSION file)" });
    }
    let bytes = disk.read_all(VERSION, 4096)?;
    let text = String::from_utf8_lossy(&bytes);
    let number = |word: &str| -> Option<u16> {
        let mut found = text.lines().filter_map(|line| line.strip_prefix(word));
        found.next().and_then(|number| number.trim().parse().ok())
    };
    // Directories of before format 1 name a layout.
    let found = number("format ").map(layout_of).or(number("layout ").map(u32::from));
    match found {
        Some(layout) if reads(layout) => Ok(layout),
        found => Err(Error::Unsupported { file: disk.full(VERSION), found: found.unwrap_or(0) }),
    }
}

/// Makes a directory of the format before one of this build's, before anything is written that the
/// program of that format could not read: from here on it refuses the directory.
fn take_over_format(disk: &Disk) -> Result<()> {
    if check_version(disk)? != LAYOUT {
        write_version(disk)?;
        tracing::info!(format = FORMAT, "directory is taken over from the format before");
    }
    Ok(())
}

#[cfg(feature = "rocksdb")]
impl Engine {
    /// Makes a new data directory at `path`, readable by its owner only.
    ///
    /// # Errors
    /// `Invalid` if something is there, `NoSpace` or `Io`.
    pub fn create(path: &Path) -> Result<()> {
        let disk = real_disk(path);
        disk.create_dir("")?;
        let _lock = disk.lock(LOCK, Exclusive::Yes)?;
        lay_out(&disk)?;
        disk.sync_own_name()
    }

    /// Opens the data directory at `path`.
    ///
    /// # Errors
    /// `Locked`, `Unsupported`, `NotFound`, `Corrupt`, `NoSpace` or `Io`.
    pub fn open(path: &Path, options: Options) -> Result<(Self, OpenReport)> {
        open_real(path, options, Losses::Restrict)
    }
}

#[cfg(feature = "rocksdb")]
fn real_disk(path: &Path) -> Disk {
    Disk::new(Arc::new(crate::storage::real::RealStorage::new(path)))
}

#[cfg(feature = "rocksdb")]
fn open_real(path: &Path, options: Options, losses: Losses) -> Result<(Engine, OpenReport)> {
    use crate::catalog::rocks::{RocksCatalog, RocksOptions, is_damage};
    let disk = real_disk(path);
    // ORDERING: version and lock before RocksDB, which would write into a foreign directory.
    check_version(&disk)?;
    let lock = disk.lock(LOCK, Exclusive::Yes)?;
    let rocks = RocksOptions { cache_bytes: options.catalog_cache_bytes, ..Default::default() };
    let catalog = path.join("catalog");
    let store = match RocksCatalog::open(&catalog, rocks) {
        Err(error) if is_damage(&error) => {
            tracing::error!(%error, "catalog is damaged: set aside and rebuilt");
            crate::recovery::mend::set_catalog_aside(&disk)?;
            RocksCatalog::open(&catalog, rocks)?
        }
        opened => opened?,
    };
    let store = Arc::new(store);
    let clock = Arc::new(crate::storage::clock::SystemClock);
    let ground = Ground { disk, store, clock };
    open_locked(ground, options, Drive::Threads, losses, lock)
}

/// What accepting a loss did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LossReport {
    /// The places of the log that are lost.
    pub holes: Vec<LsnSpan>,
    /// The epoch from now on.
    pub epoch: Epoch,
}

/// Accepts the loss of records in the directory at `path`, which no server may have open: writes
/// the accepting record, which voids every earlier session and token, and raises the epoch.
///
/// # Errors
/// As [`Engine::open`]; `Invalid` if nothing is lost.
#[cfg(feature = "rocksdb")]
pub fn accept_damage(path: &Path, options: Options) -> Result<LossReport> {
    let (engine, report) = open_real(path, options, Losses::Accept)?;
    let done = accept(&engine, report.holes);
    engine.close()?;
    done
}

/// Writes the accepting record into an engine opened with [`Losses::Accept`].
///
/// # Errors
/// `Invalid` if nothing is lost; else as an append.
pub fn accept(engine: &Engine, holes: Vec<LsnSpan>) -> Result<LossReport> {
    if holes.is_empty() {
        return Err(Error::invalid("nothing is lost in this data directory"));
    }
    let accepted = crate::format::payload::LossAccepted { holes: holes.clone() };
    engine.append_and_wait(vec![own_draft(Payload::LossAccepted(accepted))])?;
    Ok(LossReport { holes, epoch: engine.epoch() })
}

/// The server itself as an actor.
#[must_use]
pub fn system_actor() -> Actor {
    Actor {
        id: PrincipalId::SYSTEM,
        name: "hansard".into(),
        door: Door::System,
        address: String::new(),
        session: TokenId::NONE,
    }
}

/// Opens an engine on whatever ground.
///
/// # Errors
/// As [`Engine::open`].
pub fn open_on(
    ground: Ground,
    options: Options,
    drive: Drive,
    losses: Losses,
) -> Result<(Engine, OpenReport)> {
    check_version(&ground.disk)?;
    let lock = ground.disk.lock(LOCK, Exclusive::Yes)?;
    open_locked(ground, options, drive, losses, lock)
}

fn open_locked(
    ground: Ground,
    options: Options,
    drive: Drive,
    losses: Losses,
    lock: Box<dyn crate::storage::Lock>,
) -> Result<(Engine, OpenReport)> {
    let findings = find(&ground, losses)?;
    report_damage(&findings);
    let restricted = losses == Losses::Restrict && !findings.holes.is_empty();
    let mut report = OpenReport {
        cut_bytes: findings.scan.torn.as_ref().map_or(0, |t| t.2),
        holes: findings.holes.clone(),
        clean: findings.scan.clean,
        last_lsn: Lsn(findings.end.next_lsn.0.saturating_sub(1)),
        ..OpenReport::default()
    };
    let stats = Arc::new(Stats::default());
    let tails = Arc::new(Tails::default());
    let cache = options.cache_bytes;
    let packs = Arc::new(Packs::new(&ground.disk, cache / 4 * 3, Arc::clone(&stats)));
    if !restricted {
        take_over_format(&ground.disk)?;
        let trees = take_over_trees(&*ground.store)?;
        if trees > 0 {
            tracing::info!(trees, "trees of rooms are taken over from the format before");
        }
        let keys = take_over(&*ground.store)?;
        if keys > 0 {
            tracing::info!(keys, "idempotency keys of an earlier build are taken over");
        }
    }
    let mut applier = Applier::new(Arc::clone(&ground.store))?;
    let mut holed = findings.accepted;
    // ORDERING: first of all the manifest is durable as it was found. A start before this one may
    // have left an edit of which the disk knows nothing: no row may follow from it, and no pack or
    // journal file may go, that a power cut would want back.
    let manifest = match restricted {
        true => Manifest::look(findings.manifest.clone()),
        false => Manifest::open(&ground.disk, findings.manifest.clone())?,
    };
    let sealed = manifest.state().sealed;
    if !restricted {
        pack::remove_unfinished(&ground.disk)?;
        // ORDERING: the catalog knows of the holes before its position passes them, so that an
        // acceptance that is cut off leaves them to be accepted again.
        applier.note_holes(&findings.holes)?;
        quarantine(&ground.disk, &findings.scan);
        wipe_cut(&ground.disk, &findings.scan)?;
        sync_found(&ground.disk, &findings.scan)?;
        let named = &manifest.state().packs;
        if findings.stale_rows {
            let rows = index::remove_stale(&*ground.store, named)?;
            tracing::info!(rows, "rows of packs that were merged away are removed");
        }
        let metas = named.values().cloned();
        let (reindexed, failed) = index::write_missing(&ground.store, &packs, metas)?;
        report.reindexed = reindexed;
        let known = leftover::Known {
            store: &*ground.store,
            packs: Packs::aside(&ground.disk),
            named,
            sealed,
            journal: (findings.scan.damage.is_empty() && findings.holes.is_empty())
                .then_some(report.last_lsn),
        };
        leftover::remove(&ground.disk, &known)?;
        holed |= failed > 0;
        let (tails, report) = (&tails, &mut report);
        let mut replay = Replay { tails, applier: &mut applier, sealed, report };
        replay.packs(&packs, &findings)?;
        replay.all(&findings.scan.frames, findings.floor)?;
        applier.commit_all()?;
        // What was read again says nothing of what grew; the notary finds that out by itself.
        applier.take_grown();
        walk_prefix(&*ground.store, Family::State, keys::LOST, &mut |_, _| {
            holed = true;
            Ok(Go::Stop)
        })?;
    }
    let runs = RunLists::new(Arc::clone(&ground.store), (cache / 4) as u64, holed);
    let views = Views::new(&ground.disk, &packs);
    let history = History { store: Arc::clone(&ground.store), tails, packs, runs, views, holed };
    let parts = Parts { findings, manifest, applier, history, stats, lock, restricted };
    let engine = assemble(ground, options, drive, losses, parts)?;
    Ok((engine, report))
}

struct Parts {
    findings: Findings,
    manifest: Manifest,
    applier: Applier,
    history: History,
    stats: Arc<Stats>,
    lock: Box<dyn crate::storage::Lock>,
    restricted: bool,
}

fn assemble(
    ground: Ground,
    options: Options,
    drive: Drive,
    losses: Losses,
    parts: Parts,
) -> Result<Engine> {
    let Parts { findings, mut manifest, applier, history, stats, lock, restricted } = parts;
    let Findings { scan, end, witness, last_recorded, holes, applied: flushed, .. } = findings;
    let last_recorded = last_recorded.max(applier.recorded());
    let mut epoch = end.epoch.max(manifest.state().epoch);
    let last = Lsn(end.next_lsn.0.saturating_sub(1));
    if losses == Losses::Accept && !holes.is_empty() {
        epoch = Epoch(epoch.0.saturating_add(1));
        let (sealed, next_pack) = (manifest.state().sealed, manifest.state().next_pack);
        let (added, removed) = (Vec::new(), Vec::new());
        manifest.commit(&Edit { added, removed, sealed, epoch, next_pack })?;
    }
    let pool = Arc::new(JournalPool::new(
        &ground.disk,
        options.journal_file_bytes,
        options.journal_bytes_max,
        scan.live,
        usable(&ground.disk, &options, scan.free, restricted)?,
        scan.numbers,
    ));
    let incarnation = end.incarnation;
    let witness = match restricted {
        true => None,
        false => Some(WitnessFile::open(&ground.disk, &witness, incarnation, last)?),
    };
    let encoder = if restricted {
        None
    } else {
        // What this replay wrote into the catalog is not flushed yet: it must not set a file free.
        let floor = manifest.state().sealed.min(flushed);
        pool.trim(floor);
        let end = EndMark { epoch, ..end };
        // A file that holds nothing above the floor is free as soon as its successor begins.
        let wait = if drive == Drive::Threads { Wait::ForTrim } else { Wait::No };
        let end = JournalEnd::start(&pool, end, Wait::Grow)?;
        let state = SeqState::new(
            Arc::clone(&ground.store),
            applier.remembered(),
            epoch,
            last,
            last_recorded,
        );
        let (clock, level) = (Arc::clone(&ground.clock), options.salt_level.min(SPAN_LEVEL));
        let salter = Salter { clock, level, salted: salted_to(&*ground.store)? };
        Some(Encoder { state, end, wait, promised: last, salter })
    };
    stats.packs.set(manifest.state().packs.len() as u64);
    stats.pack_bytes.set(manifest.state().packs.values().map(|p| p.bytes).sum());
    stats.sealed_lsn.set(manifest.state().sealed.0);
    stats.head_lsn.set(head_log(&*ground.store).map_or(0, |log| log.upto().0));
    let applied = applier.applied();
    let numbers = seal::PackNumbers::from(manifest.state().next_pack);
    let to_applier = Arc::new(Lane::new(limits::APPLY_LAG_RECORDS_MAX));
    let inner = Arc::new(Inner {
        clock: ClockGuard::new(ground.clock, last_recorded),
        disk: ground.disk,
        store: ground.store,
        epoch,
        queue: Lane::new(limits::QUEUE_BYTES_MAX),
        to_writer: Lane::new(1),
        gather_rest: AtomicUsize::new(0),
        gather_pause: AtomicUsize::new(1),
        writing: AtomicUsize::new(0),
        last_appends: AtomicUsize::new(0),
        resting: AtomicBool::new(true),
        to_applier: Arc::clone(&to_applier),
        encoder: Mutex::new(encoder),
        witness: Mutex::new(witness),
        durable_incarnation: AtomicU64::new(incarnation),
        applier: Mutex::new(applier),
        manifest: Mutex::new(manifest),
        pool,
        progress: Progress::at(last),
        gate: Gate::at(applied, to_applier),
        known: Arc::default(),
        history,
        stats,
        listeners: RwLock::new(Vec::new()),
        no_space: AtomicBool::new(false),
        unwatched_bytes: AtomicU64::new(0),
        refusing: Mutex::new(None),
        closing: AtomicBool::new(false),
        restricted: if restricted { holes } else { Vec::new() },
        keeper: Keeper::default(),
        scrub: crate::scrub::Scrub::default(),
        merger: crate::merge::Merger::default(),
        expirer: crate::expire::Expirer::default(),
        notary: crate::notary::Notary::default(),
        eraser: crate::erase::Eraser::default(),
        numbers,
        threads: Mutex::new(Vec::new()),
        threaded: drive == Drive::Threads && !restricted,
        options,
        _lock: lock,
    });
    inner.watch_disk();
    if inner.threaded {
        crate::stages::start(&inner)?;
    }
    Ok(Engine(inner))
}

/// The free files that have the configured length; others are removed, for they hold nothing.
fn usable(disk: &Disk, options: &Options, free: Vec<u32>, restricted: bool) -> Result<Vec<u32>> {
    let mut usable = Vec::new();
    for number in free {
        let path = crate::storage::join(journal::DIR, &journal::file_name(number));
        if disk.open(&path, Mode::Read)?.len()? == options.journal_file_bytes {
            usable.push(number);
        } else if !restricted {
            disk.remove_if_there(&path)?;
        }
    }
    Ok(usable)
}
