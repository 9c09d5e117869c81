//! What does a message take on disk, and how often is it written?
//!
//! Bytes with every index, while keys are in force and when they are forgotten, log files that are
//! kept for reuse apart; bytes that reach a device of the store's own, over what is left and over
//! what it was given; and what dropping a day takes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hansard_benches::suite::child::{self, Running};
use hansard_benches::suite::field::{self, Who, size_of};
use hansard_benches::suite::figures::{Better, Suite};
use hansard_benches::suite::hansard::{self, Compliance, Hansard, Retentions, Setup};
use hansard_benches::suite::machine;
use hansard_benches::suite::size::Size;
use hansard_benches::suite::volume::Volume;
use hansard_benches::suite::world::{self, World};
use hansard_benches::tournament::Outcome;
use hansard_peers::{Budget, CacheState, Durability, Quiet, Store};
use serde::{Deserialize, Serialize};
use zstd::bulk::Compressor;

const QUESTION: &str = "What does a message take on disk, and how often is it written?";
/// Messages of a group whose writes are counted.
const GROUP: usize = 64;
/// Bytes of a message beside its words that every store is given: a header as the peers store it,
/// the key and the digest.
const GIVEN_BYTES: u64 = 28 + 16 + 16;
/// What bounds the words of a store that reads a room's part of them alone: bytes that are
/// compressed together, and zstd's level.
const WORDS_BLOCK_BYTES: usize = 64 << 10;
const WORDS_LEVEL: i32 = 19;
/// A volume whose writes are counted: at least, and for each message.
const VOLUME_BYTES: u64 = 4 << 30;
const MESSAGE_BYTES: u64 = 4 << 10;
/// Stores that fill a file of their log with zeros before they first use it.
const ZERO_FILLED: [&str; 2] = [hansard::NAME, "postgres"];
/// How long a dropped day is waited for, the fill before it included; longer for larger sizes.
const DROP_MAX: Duration = Duration::from_secs(120);
/// Whose DELETE is compared.
const DELETES: &str = "postgres";

/// What a child is to do.
#[derive(Serialize, Deserialize)]
enum Task {
    /// Fill a store in groups.
    Fill { who: String, dir: PathBuf },
    /// Let retention take a day.
    Expire(PathBuf),
}

/// What it took.
#[derive(Serialize, Deserialize)]
struct Told {
    /// Bytes of the new store, and the zeros of its log's files.
    made: u64,
    /// Bytes of the full one.
    left: u64,
}

/// What retention took, and after how long.
#[derive(Serialize, Deserialize)]
struct Expired {
    entries: u64,
    rooms: u64,
    hidden_ms: f64,
    gone_ms: f64,
}

fn main() -> Outcome<()> {
    let size = Size::asked()?;
    let world = World::read(&world::logs(), size)?;
    match child::task()? {
        Some(Task::Fill { who, dir }) => return fill(&who, &dir, &world),
        Some(Task::Expire(dir)) => return expire(&dir, &world),
        None => {}
    }
    let who = Who::all()?;
    let mut suite = Suite::new("space", QUESTION, size, &who)?;
    suite
        .say("keys: 16 printable bytes and a digest of 16, which no store can compress, a message");
    suite.say(
        "keys in force: Hansard when nothing is pending, each key in catalog and pack; the peers \
               compacted by their own means",
    );
    bytes(&mut suite, &who, &world, size)?;
    forgotten(&mut suite, &who, &world, size)?;
    compliance(&mut suite, &world)?;
    amplification(&mut suite, &who, &world)?;
    drop_day(&mut suite, &who, &world, size)?;
    suite.leave()
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn per(bytes: u64, messages: u64) -> f64 {
    bytes as f64 / messages.max(1) as f64
}

fn bytes(suite: &mut Suite, who: &[Who], world: &World, size: Size) -> Outcome<()> {
    let (mut settled, mut in_force) = (Vec::new(), Vec::new());
    for who in who {
        let (_, filled) = who.filled(world, size)?;
        let name = who.name().to_owned();
        settled.push((name.clone(), per(filled.settled_bytes, filled.messages)));
        // Its last merges wait until keys are forgotten.
        let bytes = match who {
            Who::Hansard => filled.settled_bytes,
            Who::Peer(_) => filled.compacted_bytes,
        };
        in_force.push((name, per(bytes, filled.messages)));
    }
    let what = ("space-bytes", "bytes a message, keys in force, all included", "bytes");
    suite.given(what, Better::Less, in_force);
    let what = ("space-settled", "bytes a message when nothing was pending", "bytes");
    suite.given(what, Better::Less, settled);
    Ok(())
}

/// What Hansard's bytes are.
fn parts(suite: &mut Suite, dir: &Path, messages: u64) -> Outcome<()> {
    for part in ["packs", "catalog"] {
        let a_message = per(machine::on_disk(&dir.join(part), &[])?.bytes, messages);
        suite.say(format!("Hansard's {part} without keys: {a_message:.1} bytes a message"));
    }
    Ok(())
}

/// The same stores at rest when every key is past its window.
fn forgotten(suite: &mut Suite, who: &[Who], world: &World, size: Size) -> Outcome<()> {
    let mut values = Vec::new();
    for who in who {
        let (from, filled) = who.filled(world, size)?;
        if matches!(who, Who::Hansard) {
            values.push((who.name().to_owned(), per(filled.compacted_bytes, filled.messages)));
            parts(suite, &from, filled.messages)?;
            continue;
        }
        let dir = field::scratch()?;
        let to = dir.path().join(who.name());
        field::copy(&from, &to)?;
        let store = who.open(&to, world, Budget::of(CacheState::Warm))?;
        if store.forget_keys()? {
            store.rest(Quiet::Compacted)?;
            values.push((who.name().to_owned(), per(size_of(&*store)?.bytes, filled.messages)));
        }
        store.close()?;
    }
    values.push(("words alone".to_owned(), words_alone(world)?));
    suite.say(format!(
        "words alone: of each room what was said and nothing else, {} KiB at a time in zstd \
         {WORDS_LEVEL}: less than this takes another room's words",
        WORDS_BLOCK_BYTES >> 10
    ));
    suite.say(
        "without keys: Hansard two days later, its day merged; the peers with all keys removed and \
         compacted; raft-engine cannot list them",
    );
    let what = ("space-forgotten", "bytes a message at rest, keys past their window", "bytes");
    suite.given(what, Better::Less, values);
    Ok(())
}

/// Bytes a message of the words of each room, as small as zstd makes them without another room's:
/// no name, no time, no number, no index.
fn words_alone(world: &World) -> Outcome<f64> {
    let (mut stream, mut left, mut bytes) = (world.stream(), world.messages, 0);
    let mut compressor = Compressor::new(WORDS_LEVEL)?;
    let mut open: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    while left > 0 {
        let batch = stream.take(left.min(16 * 1024));
        left -= batch.len() as u64;
        for message in batch {
            let block = open.entry(message.room).or_default();
            let words: &[u8] = message.body.as_ref();
            if block.len() + words.len() > WORDS_BLOCK_BYTES {
                bytes += compressor.compress(block)?.len() as u64;
                block.clear();
            }
            block.extend_from_slice(words);
        }
    }
    for block in open.values().filter(|block| !block.is_empty()) {
        bytes += compressor.compress(block)?.len() as u64;
    }
    Ok(per(bytes, world.messages))
}

/// The same messages with compliance's own copy of each.
fn compliance(suite: &mut Suite, world: &World) -> Outcome<()> {
    let dir = field::scratch()?;
    let budget = Budget::of(CacheState::Warm);
    let setup = Setup { compliance: Compliance::On, ..Setup::usual(budget) };
    let store = Hansard::open(&dir.path().join(hansard::NAME), world, setup)?;
    pour(&store, world, 1024, Durability::Settle)?;
    store.rest(Quiet::Compacted)?;
    let a_message = per(size_of(&store)?.bytes, world.messages);
    Box::new(store).close()?;
    let what = ("space-compliance", "the same with compliance on", "bytes");
    suite.given(what, Better::Less, [(hansard::NAME.to_owned(), a_message)]);
    Ok(())
}

fn pour(store: &dyn Store, world: &World, group: usize, durability: Durability) -> Outcome<()> {
    let (mut stream, mut left) = (world.stream(), world.messages);
    while left > 0 {
        let batch = stream.take(left.min(16 * 1024));
        left -= batch.len() as u64;
        for group in batch.chunks(group) {
            store.commit(group, durability)?;
        }
    }
    Ok(())
}

fn amplification(suite: &mut Suite, who: &[Who], world: &World) -> Outcome<()> {
    let (mut over_given, mut over_left) = (Vec::new(), Vec::new());
    let given = given(world);
    for who in who {
        let dir = field::scratch()?;
        let volume = match Volume::new(dir.path(), VOLUME_BYTES + MESSAGE_BYTES * world.messages) {
            Ok(volume) => volume,
            Err(error) => {
                suite.say(format!("writes: not measured, no volume could be made: {error}"));
                return Ok(());
            }
        };
        let before = volume.written_bytes()?;
        let (name, dir) = (who.name().to_owned(), volume.path().join(who.name()));
        let task = Task::Fill { who: name.clone(), dir };
        let told: Told = Running::start(&task)?.said()?;
        let written = volume.written_bytes()? - before - told.made;
        over_given.push((name.clone(), per(written, given)));
        over_left.push((name, per(written, told.left)));
    }
    let each = per(given, world.messages);
    suite.say(format!(
        "a message was given as {each:.1} bytes: its words, 28 of header, 16 of key, 16 of digest"
    ));
    suite.say(format!(
        "writes: sectors that reached a device of the store's own (ext4 on a loop device), until \
         nothing was pending or owed; groups of {GROUP}; what a new store writes before its \
         first message is left out, and the zeros that files of a log are made of"
    ));
    suite.say(
        "over the bytes left a store looks worse the less it leaves: of Hansard two days later \
         keys and their rows are gone, its catalog compacted; the peers keep them",
    );
    let what = ("space-amplification", "bytes written over bytes left, groups of 64", "x");
    suite.given(what, Better::Less, over_left);
    let what = ("space-written-over-given", "the same over the bytes given", "x");
    suite.given(what, Better::Less, over_given);
    Ok(())
}

/// Bytes that every store is given for the messages of a world.
fn given(world: &World) -> u64 {
    let (mut stream, mut left, mut bytes) = (world.stream(), world.messages, 0);
    while left > 0 {
        let batch = stream.take(left.min(16 * 1024));
        left -= batch.len() as u64;
        bytes += batch.iter().map(|message| message.body.len() as u64 + GIVEN_BYTES).sum::<u64>();
    }
    bytes
}

/// A day of a third of the categories goes: by retention, and by PostgreSQL's DELETE.
fn drop_day(suite: &mut Suite, who: &[Who], world: &World, size: Size) -> Outcome<()> {
    let dir = field::scratch()?;
    let mut child = Running::start(&Task::Expire(dir.path().join(hansard::NAME)))?;
    let most = DROP_MAX * if size.name == Size::QUICK.name { 1 } else { 5 };
    let Some(Expired { entries, rooms, hidden_ms, gone_ms }) = child.said_within(most)? else {
        suite.say(format!("a day dropped: not over after {} s, the fill included", most.as_secs()));
        return Ok(());
    };
    let (mut hidden, mut gone) =
        (vec![(hansard::NAME.to_owned(), hidden_ms)], vec![(hansard::NAME.to_owned(), gone_ms)]);
    suite.say(format!(
        "a day dropped: {entries} entries of {rooms} rooms; hidden: durable, and no reader gets \
         them any more; off the disk: their packs written anew without them, what proofs need \
         kept. A DELETE hides rows too, and stands in both; what takes them off the disk is not \
         in it"
    ));
    let categories: Vec<u32> = (0..world.categories).filter(|c| c % 3 == 0).collect();
    for who in who.iter().filter(|who| who.name() == DELETES) {
        let to = dir.path().join(who.name());
        field::copy(&who.filled(world, size)?.0, &to)?;
        let store = who.open(&to, world, Budget::of(CacheState::Warm))?;
        let begun = Instant::now();
        let deleted = store.delete_before(&categories, world.end_us())?;
        let took = milliseconds(begun);
        hidden.push((who.name().to_owned(), took));
        gone.push((who.name().to_owned(), took));
        if deleted != Some(entries) {
            return Err(format!("{}: {deleted:?} gone of {entries}", who.name()).into());
        }
        store.close()?;
    }
    let what = ("space-hide-day", "a day of a third of the categories hidden", "ms");
    suite.given(what, Better::Less, hidden);
    let what = ("space-drop-day", "the same, off the disk", "ms");
    suite.given(what, Better::Less, gone);
    Ok(())
}

fn milliseconds(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e3
}

/// The child: retention takes a day. A child, because it may take longer than anyone waits.
fn expire(dir: &Path, world: &World) -> Outcome<()> {
    let setup = Setup::usual(Budget::of(CacheState::Warm));
    let store = Hansard::open(dir, world, Setup { retentions: Retentions::Three, ..setup })?;
    pour(&store, world, 1024, Durability::Settle)?;
    // Its clock stands two days later then, and the day is over for those that keep one.
    store.do_owed()?;
    let begun = Instant::now();
    let expired = store.engine.expire()?;
    store.rest(Quiet::Applied)?;
    let hidden_ms = milliseconds(begun);
    store.engine.purge(&mut |_| true)?;
    let gone_ms = milliseconds(begun);
    let (entries, rooms) = (expired.entries, expired.rooms);
    child::say(&Expired { entries, rooms, hidden_ms, gone_ms })?;
    Box::new(store).close()
}

/// The child: a store filled in durable groups, and brought to rest.
fn fill(who: &str, dir: &Path, world: &World) -> Outcome<()> {
    let who = Who::by_name(who)?;
    let store = who.open(dir, world, Budget::of(CacheState::Warm))?;
    let made = size_of(&*store)?.bytes;
    pour(&*store, world, GROUP, Durability::Group)?;
    store.rest(Quiet::Settled)?;
    store.do_owed()?;
    if who.name() == hansard::NAME {
        // Rows of forgotten keys go when RocksDB comes by: left to itself this run or the next.
        store.rest(Quiet::Compacted)?;
    }
    let _ = machine::Still::wait(Instant::now());
    let left = size_of(&*store)?.bytes;
    // What is written once in a store's life, however long that is.
    let zeros = if ZERO_FILLED.contains(&who.name()) { log_bytes(&*store)? } else { 0 };
    store.close()?;
    child::say(&Told { made: made + zeros, left })
}

fn log_bytes(store: &dyn Store) -> Outcome<u64> {
    let sizes = store.log_files().into_iter().map(|file| Ok(std::fs::metadata(file)?.len()));
    sizes.sum::<Outcome<u64>>()
}
