//! How soon is a store back, and what do many small rooms cost?
//!
//! The engine is killed with a full journal and opened again, with a small archive and a large one,
//! beside reading and checking the journal's bytes. Then rooms of three messages: the time to make
//! and fill them, their bytes and files, and the memory of an engine in which all of them are idle.

use std::path::{Path, PathBuf};
use std::time::Instant;

use hansard_benches::scale::gauge::status_bytes;
use hansard_benches::suite::child::{self, Running};
use hansard_benches::suite::field::{self, Who, size_of};
use hansard_benches::suite::figures::{Better, Suite};
use hansard_benches::suite::hansard::{self, Hansard, Setup};
use hansard_benches::suite::machine;
use hansard_benches::suite::size::Size;
use hansard_benches::suite::world::{self, World};
use hansard_benches::tournament::Outcome;
use hansard_peers::{Budget, CacheState, Durability, Quiet, Store};
use serde::{Deserialize, Serialize};

const QUESTION: &str = "How soon is a killed server back, and what do many small rooms cost?";
/// Tails that do not seal before: nearly what an engine takes without refusing.
const TAILS: usize = 240 * 1024 * 1024;
/// Bytes of tails at which the child stops: a seal is near.
const TAILS_FULL: u64 = 210 * 1024 * 1024;
/// A journal is sealed when more than half of its files are in use: this is less than seven of
/// sixteen.
const JOURNAL_FULL_BYTES: u64 = 100 * 1024 * 1024;
/// Bytes of the journal at which the catalog writes its tables.
const CATALOG_FLUSHED_BYTES: u64 = JOURNAL_FULL_BYTES / 10 * 8;
/// How often each is opened.
const OPENS: usize = 7;

/// What a child is to do in a directory.
#[derive(Serialize, Deserialize)]
enum Task {
    /// Write until the journal is full, and wait to be killed.
    Fill(PathBuf),
    /// Open it with small rooms, and tell the memory.
    Idle(PathBuf),
}

/// What it says.
#[derive(Serialize, Deserialize)]
struct Told {
    bytes: u64,
}

fn main() -> Outcome<()> {
    let size = Size::asked()?;
    let world = World::read(&world::logs(), size)?;
    match child::task()? {
        Some(Task::Fill(dir)) => return fill(&dir, &world),
        Some(Task::Idle(dir)) => return idle(&dir, world, size),
        None => {}
    }
    let mut suite = Suite::new("recovery", QUESTION, size, &[Who::Hansard])?;
    reopen(&mut suite, &world, size)?;
    small_rooms(&mut suite, world, size)?;
    suite.leave()
}

fn setup() -> Setup {
    let budget = Budget { write_bytes: TAILS, ..Budget::of(CacheState::Warm) };
    Setup::usual(budget)
}

/// The child: posts behind what is there until the journal is nearly full.
fn fill(dir: &Path, world: &World) -> Outcome<()> {
    let store = Hansard::open(dir, world, setup())?;
    let mut stream = world.stream();
    stream.skip(world.messages);
    store.rest(Quiet::Settled)?;
    let stats = store.engine.stats();
    let (bytes, seals) = (stats.journal_bytes.get(), stats.seals.get());
    let written = || stats.journal_bytes.get() - bytes;
    for most in [CATALOG_FLUSHED_BYTES, JOURNAL_FULL_BYTES] {
        while written() < most && stats.tail_bytes.get() < TAILS_FULL {
            store.commit(&stream.take(1024), Durability::Group)?;
        }
        store.rest(Quiet::Applied)?;
        if most == CATALOG_FLUSHED_BYTES {
            // With or without an archive a start then lacks as many records: left to itself the
            // catalog writes its tables sooner or later, and the time of a start hangs on that.
            store.engine.compact_catalog()?;
        }
    }
    if stats.seals.get() > seals {
        return Err("the journal was sealed while it was filled".into());
    }
    child::say(&Told { bytes: written() })?;
    loop {
        std::thread::park();
    }
}

fn milliseconds(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e3
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Kills an engine with a full journal; opens copies of what it left, each cold.
fn reopen(suite: &mut Suite, world: &World, size: Size) -> Outcome<()> {
    let root = field::scratch()?;
    let (archive, _) = Who::Hansard.filled(world, size)?;
    let (small, large) = (root.path().join("small"), root.path().join("large"));
    field::copy(&archive, &large)?;
    let (mut reads, mut bytes) = (Vec::new(), 0);
    let mut opens = [(Vec::new(), 0), (Vec::new(), 0)];
    for dir in [&small, &large] {
        let mut child = Running::start(&Task::Fill(dir.clone()))?;
        bytes = child.said::<Told>()?.bytes;
        child.kill()?;
    }
    // In turns: the machine's other work comes and goes.
    for number in 0..OPENS {
        for (dir, opens) in [&small, &large].into_iter().zip(&mut opens) {
            let left = root.path().join(format!("left-{number}"));
            field::copy(dir, &left)?;
            reads.push(read_and_check(&left, bytes)?);
            if !machine::sync_and_drop() {
                suite.say("the kernel's cache could not be dropped: reopened warm");
            }
            let (took, lacked) = open_once(&left, world)?;
            opens.0.push(took);
            opens.1 = lacked;
            std::fs::remove_dir_all(&left)?;
        }
    }
    let [small, large] = opens;
    suite.say(format!(
        "of the journal's records the catalog lacked {} beside the large archive and {} beside the \
         small one",
        large.1, small.1
    ));
    let (small, large) = (median(small.0), median(large.0));
    suite.say(format!(
        "reopened after kill -9 with {} MiB of journal, page cache dropped, median of {OPENS}; \
         large archive: {} messages",
        bytes / 1_048_576,
        world.messages
    ));
    let named = |values: [(&str, f64); 2]| values.map(|(name, value)| (name.to_owned(), value));
    let what = ("recovery-reopen", "reopen with a full journal, large archive", "ms");
    let values = named([(hansard::NAME, large), ("read and check", median(reads))]);
    suite.given(what, Better::Less, values);
    let what = ("recovery-reopen-archive", "the same beside a small archive", "ms");
    suite.given(what, Better::Less, named([(hansard::NAME, large), ("small archive", small)]));
    Ok(())
}

/// Reads the journal's files and takes the checksum of their bytes, cold: the limit, for as many
/// bytes as were written. Files that are free have bytes of before, which no start reads.
fn read_and_check(dir: &Path, written: u64) -> Outcome<f64> {
    let _ = machine::sync_and_drop();
    let (begun, mut read) = (Instant::now(), 0);
    for file in std::fs::read_dir(dir.join("journal"))? {
        let path = file?.path();
        if path.is_file() {
            let bytes = std::fs::read(path)?;
            std::hint::black_box(crc32fast::hash(&bytes));
            read += bytes.len();
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "files are far below 2^53 bytes")]
    let part = written as f64 / read.max(1) as f64;
    Ok(milliseconds(begun) * part.min(1.0))
}

/// Until the engine answers; and how many records the catalog lacked.
fn open_once(dir: &Path, world: &World) -> Outcome<(f64, u64)> {
    let begun = Instant::now();
    let opened = Hansard::open_only(dir, world, setup())?;
    let took = milliseconds(begun);
    if opened.report.replayed == 0 {
        return Err("nothing was in the journal".into());
    }
    let reapplied = opened.report.reapplied;
    Box::new(opened).close()?;
    Ok((took, reapplied))
}

fn small_rooms(suite: &mut Suite, world: World, size: Size) -> Outcome<()> {
    let world = world.of_small_rooms(size.small_rooms);
    let root = field::scratch()?;
    let dir = root.path().join(hansard::NAME);
    let begun = Instant::now();
    let store = Hansard::open(&dir, &world, Setup::usual(Budget::of(CacheState::Warm)))?;
    let made = begun.elapsed().as_secs_f64();
    let (mut stream, mut left) = (world.stream_evenly(), world.messages);
    while left > 0 {
        let group = stream.take(left.min(1024));
        left -= group.len() as u64;
        store.commit(&group, Durability::Settle)?;
    }
    store.rest(Quiet::Applied)?;
    let durable = begun.elapsed().as_secs_f64();
    store.rest(Quiet::Compacted)?;
    let at_rest = begun.elapsed().as_secs_f64();
    let found = size_of(&store)?;
    Box::new(store).close()?;
    let packs = machine::on_disk(&dir.join("packs"), &[])?;
    suite.say(format!(
        "{} rooms of three: rooms made in {made:.1} s, all durable and applied after {durable:.1} \
         s, at rest, as two days later without keys, after {at_rest:.1} s; of the files {} are \
         packs; bytes are of rooms and messages together",
        world.rooms, packs.files
    ));
    let ours = |value: f64| [(hansard::NAME.to_owned(), value)];
    let suffix = if size.small_rooms == Size::STANDARD.small_rooms { "" } else { "-fewer" };
    let mut figure = |id: &str, title: &str, unit: &str, value: f64| {
        let id = format!("recovery-small-rooms-{id}{suffix}");
        suite.given((&id, title, unit), Better::Less, ours(value));
    };
    figure("seconds", "rooms of three made and filled, durable", "s", durable);
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    let (bytes, files) = (found.bytes as f64 / world.messages as f64, found.files as f64);
    figure("bytes", "rooms of three, bytes a message", "bytes", bytes);
    figure("files", "rooms of three, files", "files", files);
    let mut full = Running::start(&Task::Idle(dir))?;
    let full = full.said::<Told>()?.bytes;
    let mut empty = Running::start(&Task::Idle(root.path().join("empty")))?;
    let empty = empty.said::<Told>()?.bytes;
    #[expect(clippy::cast_precision_loss, reason = "memory is far below 2^53")]
    let more = full.saturating_sub(empty) as f64 / 1_048_576.0;
    let what = (format!("recovery-idle-rooms{suffix}"), "idle rooms, memory more than none");
    suite.given((&what.0, what.1, "MiB"), Better::Less, ours(more));
    Ok(())
}

/// The child: an engine in which nobody speaks.
fn idle(dir: &Path, world: World, size: Size) -> Outcome<()> {
    let world = world.of_small_rooms(size.small_rooms);
    let store = Hansard::open_only(dir, &world, Setup::usual(Budget::of(CacheState::Warm)))?;
    let bytes = status_bytes(std::process::id(), "RssAnon").ok_or("memory is not told here")?;
    child::say(&Told { bytes })?;
    Box::new(store).close()
}
