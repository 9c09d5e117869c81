//! The corruption matrix: a small store, damaged in every place and in every way, one at a time.
//!
//! Every byte flipped; every sector zeroed, swapped with its neighbour, doubled over it, put back
//! as it was; every file cut at every sector, put back as it was, and removed. Each time it must
//! open and answer exact bytes or a named gap, or say what is lost and open once that is accepted.
//! A plain run flips every byte that is not zero, and some that are; `HANSARD_MATRIX=full` all.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hansard_engine::catalog::memory::MemoryCatalog;
use hansard_engine::error::Error;
use hansard_engine::format::payload::*;
use hansard_engine::open::{Drive, Losses, accept, open_on};
use hansard_engine::reads::Anchor;
use hansard_engine::storage::clock::SimClock;
use hansard_engine::storage::sim::{SimStorage, Survivors};
use hansard_engine::types::*;
use hansard_engine::{Engine, Health, Options};
use support::*;

const SECTORS: [usize; 2] = [512, 4096];
/// Of bytes that are zero, a plain run flips one in so many.
const ZEROS_STRIDE: usize = 211;

/// What was said in each room: place in the log and body, by seq from 1.
type Said = Vec<(RoomId, Vec<(Lsn, String)>)>;

fn small() -> Options {
    Options { journal_file_bytes: 32 * 1024, ..options() }
}

struct Store {
    sim: SimStorage,
    /// The disk as it was halfway.
    older: SimStorage,
    rows: MemoryCatalog,
    said: Said,
    token: [u8; 32],
}

fn say(engine: &Engine, said: &mut Said, user: PrincipalId, from: usize, to: usize) {
    for n in from..to {
        let (room, entries) = &mut said[n % 3];
        let body = format!("{n} {}", "something was said ".repeat(n % 5 * 4));
        let done = one(engine, post(user, *room, &body));
        entries.push((done.lsn, body));
    }
}

/// Three rooms, a pack of two that were merged and one as it was sealed, a journal of two files, a
/// revoked token, an idle engine that was killed.
fn store() -> Store {
    let mut world = World::new();
    let open =
        |world: &World| open_on(world.ground(), small(), Drive::Steps, Losses::Restrict).unwrap().0;
    let engine = open(&world);
    let category = make_category(&engine, "General");
    let user = make_user(&engine, "ann");
    let mut said: Said =
        (0..3).map(|n| (make_room(&engine, category, &format!("room {n}")), Vec::new())).collect();
    for (from, to) in [(0, 12), (12, 20)] {
        say(&engine, &mut said, user, from, to);
        engine.seal().unwrap();
    }
    let token = [0xcd; 32];
    let made = TokenCreated {
        principal: user,
        name: "laptop".into(),
        sha256: token,
        expires: TimeUs::CEILING,
        session: false,
        one_use: false,
    };
    let made = one(&engine, draft(user, RoomId::NONE, Payload::TokenCreated(made)));
    engine.close().unwrap();
    drop(engine);
    let older = world.sim.crash(Survivors::Everything);
    world.clock.pass_us(TimeUs::DAY_US);
    let engine = open(&world);
    assert_eq!(engine.merge(&mut |_| true).unwrap().merges, 1);
    say(&engine, &mut said, user, 20, 30);
    engine.seal().unwrap();
    let gone = TokenRevoked { token: made.token_id(), principal: user, sha256: token };
    one(&engine, draft(user, RoomId::NONE, Payload::TokenRevoked(gone)));
    say(&engine, &mut said, user, 30, 42);
    engine.idle();
    drop(engine);
    world.sim = world.sim.crash(Survivors::Everything);
    Store { sim: world.sim, older, rows: world.store.crash(), said, token }
}

/// How a damaged store answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Answer {
    Exact,
    Gaps,
    Accepted,
    OtherVersion,
}

impl Store {
    fn with(&self, rows: &MemoryCatalog) -> World {
        World {
            sim: self.sim.crash(Survivors::Everything),
            store: rows.crash(),
            clock: Arc::new(SimClock::at(START)),
        }
    }

    fn examine(&self, world: &World, what: &str) -> Answer {
        let start = |losses| open_on(world.ground(), small(), Drive::Steps, losses);
        let mut holes = Vec::new();
        // A restricted engine is dropped here, and with it its lock.
        let first = start(Losses::Restrict)
            .map(|(engine, _)| if engine.health() == Health::Ready { Some(engine) } else { None });
        let engine = match first {
            Ok(Some(engine)) => engine,
            Ok(None) | Err(Error::Corrupt { .. }) => {
                let (engine, report) = start(Losses::Accept).expect(what);
                holes.clone_from(&report.holes);
                accept(&engine, report.holes).expect(what);
                engine.close().expect(what);
                drop(engine);
                let engine = start(Losses::Restrict).expect(what).0;
                assert_eq!(engine.health(), Health::Ready, "{what}");
                engine
            }
            Err(Error::Unsupported { .. } | Error::NotFound { .. }) => {
                assert!(what.contains("VERSION"), "{what}");
                return Answer::OtherVersion;
            }
            Err(error) => panic!("{what}: {error}"),
        };
        let token = engine.directory().token(&self.token).unwrap();
        assert!(token.is_none(), "{what}: a revoked token works");
        let named = |lsn: Lsn| holes.iter().any(|h| h.first <= lsn && lsn <= h.last);
        let mut gaps = 0;
        for (room, entries) in &self.said {
            let page = engine.page(*room, Anchor::At(Seq(1)), 500).unwrap();
            let missing: BTreeSet<u64> =
                page.gaps.iter().flat_map(|g| g.from_seq.0..=g.to_seq.0).collect();
            let found: BTreeMap<u64, &str> =
                page.records.iter().map(|r| (r.seq.0, body(r))).collect();
            assert_eq!(found.len(), page.records.len(), "{what}: twice");
            for (at, (lsn, said)) in entries.iter().enumerate() {
                let seq = at as u64 + 1;
                match found.get(&seq) {
                    Some(body) => assert_eq!(body, said, "{what}: {room} {seq}"),
                    None => {
                        let said_so = missing.contains(&seq) || named(*lsn);
                        assert!(said_so, "{what}: {room} {seq} is missing and nothing says so");
                        gaps += 1;
                    }
                }
            }
            assert!(found.len() <= entries.len(), "{what}: {room} holds what nobody said");
        }
        match (holes.is_empty(), gaps) {
            (false, _) => Answer::Accepted,
            (true, 0) => Answer::Exact,
            (true, _) => Answer::Gaps,
        }
    }
}

/// What becomes of a file's bytes. A description, so that all of them fit in little memory.
enum Change {
    /// These bytes stand at these places.
    Patch(Vec<(usize, Vec<u8>)>),
    Cut(usize),
    Older(Vec<u8>),
    Gone,
}

impl Change {
    /// The file's bytes after it; none if it is gone.
    fn apply(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut after = bytes.to_vec();
        match self {
            Self::Patch(patches) => {
                for (at, patch) in patches {
                    after[*at..*at + patch.len()].copy_from_slice(patch);
                }
            }
            Self::Cut(at) => after.truncate(*at),
            Self::Older(older) => after.clone_from(older),
            Self::Gone => return None,
        }
        Some(after)
    }
}

/// One way to damage one file, and its name.
struct Fault {
    file: String,
    text: String,
    change: Change,
}

fn flips(file: &str, bytes: &[u8], faults: &mut Vec<Fault>) {
    let full = std::env::var("HANSARD_MATRIX").is_ok_and(|v| v == "full");
    for (at, byte) in bytes.iter().enumerate() {
        if *byte == 0 && !full && !at.is_multiple_of(ZEROS_STRIDE) {
            continue;
        }
        let change = Change::Patch(vec![(at, vec![byte ^ (1 << (at % 8))])]);
        faults.push(Fault { file: file.to_owned(), text: format!("byte {at} flipped"), change });
    }
}

fn sectors(file: &str, bytes: &[u8], older: Option<&[u8]>, size: usize, faults: &mut Vec<Fault>) {
    let mut add = |text: String, patches: Vec<(usize, Vec<u8>)>| {
        if patches.iter().any(|(at, patch)| bytes[*at..*at + patch.len()] != *patch) {
            let change = Change::Patch(patches);
            faults.push(Fault { file: file.to_owned(), text, change });
        }
    };
    for at in (0..bytes.len()).step_by(size) {
        let end = (at + size).min(bytes.len());
        add(format!("{size} bytes at {at} zeroed"), vec![(at, vec![0; end - at])]);
        if let Some(old) = older.and_then(|o| o.get(at..end)) {
            add(format!("{size} bytes at {at} as they were"), vec![(at, old.to_vec())]);
        }
        // With the next sector that holds something.
        let filled =
            |from: &usize| bytes[*from..(*from + size).min(bytes.len())].iter().any(|b| *b != 0);
        let Some(next) = (end..bytes.len().saturating_sub(size) + 1).step_by(size).find(filled)
        else {
            continue;
        };
        let (here, there) = (bytes[at..end].to_vec(), bytes[next..next + size].to_vec());
        let swap = vec![(at, there), (next, here.clone())];
        add(format!("{size} bytes at {at} and {next} swapped"), swap);
        add(format!("{size} bytes at {at} also at {next}"), vec![(next, here)]);
    }
    for at in (0..bytes.len()).step_by(size) {
        let (text, change) = (format!("cut to {at}"), Change::Cut(at));
        faults.push(Fault { file: file.to_owned(), text, change });
    }
}

fn faults_of(store: &Store) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in store.sim.files().into_iter().filter(|f| !f.ends_with("LOCK")) {
        let bytes = store.sim.bytes_of(&file).unwrap();
        let older = store.older.bytes_of(&file);
        flips(&file, &bytes, &mut faults);
        for size in SECTORS {
            sectors(&file, &bytes, older.as_deref(), size, &mut faults);
        }
        if let Some(older) = older.filter(|older| *older != bytes) {
            let (text, change) = ("put back as it was".to_owned(), Change::Older(older));
            faults.push(Fault { file: file.clone(), text, change });
        }
        faults.push(Fault { file, text: "removed".to_owned(), change: Change::Gone });
    }
    faults
}

fn run(catalog_removed: bool) {
    let store = store();
    let rows = if catalog_removed { MemoryCatalog::default() } else { store.rows.clone() };
    let whole = store.examine(&store.with(&rows), "undamaged");
    assert_eq!(whole, Answer::Exact);
    let faults = faults_of(&store);
    let next = AtomicUsize::new(0);
    let answers: Mutex<BTreeMap<Answer, u64>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(Fault { file, text, change }) =
                    faults.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let world = store.with(&rows);
                    match change.apply(&store.sim.bytes_of(file).unwrap()) {
                        Some(bytes) => world.sim.set_bytes(file, bytes),
                        None => world.sim.take_away(file),
                    }
                    let answer = store.examine(&world, &format!("{file}: {text}"));
                    *answers.lock().unwrap().entry(answer).or_default() += 1;
                }
            });
        }
    });
    println!("{} faults: {:?}", faults.len(), answers.lock().unwrap());
    assert!(faults.len() > 8_500, "only {} faults", faults.len());
}

#[test]
fn one_damage_anywhere_is_answered_with_exact_bytes_or_a_named_loss() {
    run(false);
}

#[test]
fn one_damage_anywhere_and_no_catalog_is_answered_with_exact_bytes_or_a_named_loss() {
    run(true);
}
