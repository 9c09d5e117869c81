//! Crashes at every storage operation, and damage in every place, on the simulated ground.
//!
//! A mixed workload runs until the n-th operation of the disk stops the machine; then each survivor
//! mode decides what of the unsynced is found again. What was acknowledged must be there, and what
//! is there must be a prefix of what was written.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use hansard_engine::catalog::memory::MemoryCatalog;
use hansard_engine::error::Error;
use hansard_engine::format::payload::*;
use hansard_engine::open::{Drive, Losses, open_on};
use hansard_engine::reads::{Anchor, CategoryPage, CategoryRequest, GapReason, Order};
use hansard_engine::storage::clock::SimClock;
use hansard_engine::storage::sim::{Random, SimStorage, Survivors, Trouble};
use hansard_engine::types::*;
use hansard_engine::{Engine, Health};
use support::*;

const ROOMS: usize = 3;

/// What the outside world knows.
#[derive(Default)]
struct Ledger {
    /// Bodies posted to each room, in order; only the first `acked` were acknowledged.
    posted: [Vec<String>; ROOMS],
    acked: [usize; ROOMS],
    rooms: Vec<RoomId>,
    user: PrincipalId,
}

impl Ledger {
    fn set_up(engine: &Engine) -> Self {
        let category = make_category(engine, "General");
        let rooms = (0..ROOMS).map(|n| make_room(engine, category, &format!("room {n}"))).collect();
        Self { rooms, user: make_user(engine, "ann"), ..Self::default() }
    }

    /// Posts to a room; false once the engine fails.
    fn post(&mut self, engine: &Engine, room: usize, bodies: &[String]) -> bool {
        self.posted[room].extend(bodies.iter().cloned());
        let drafts = bodies.iter().map(|b| post(self.user, self.rooms[room], b)).collect();
        let ok = engine.append_and_wait(drafts).is_ok();
        if ok {
            self.acked[room] = self.posted[room].len();
        }
        ok
    }

    /// Every room holds what was acknowledged and nothing that was not posted.
    fn check(&self, engine: &Engine, what: &str) {
        for room in 0..ROOMS {
            let found = all_bodies(engine, self.rooms[room], what);
            assert!(
                found.len() >= self.acked[room],
                "{what}: room {room} lost acknowledged posts: {} of {}",
                found.len(),
                self.acked[room]
            );
            assert_eq!(found, self.posted[room][..found.len()], "{what}: not a prefix");
        }
    }

    /// Forgets what was posted and not found, so that the run can go on.
    fn settle(&mut self, engine: &Engine) {
        for room in 0..ROOMS {
            let found = all_bodies(engine, self.rooms[room], "settle").len();
            self.posted[room].truncate(found);
            self.acked[room] = found;
        }
    }
}

fn all_bodies(engine: &Engine, room: RoomId, what: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut at = Anchor::At(Seq(1));
    loop {
        let page = engine.page(room, at, 100).unwrap();
        assert!(page.gaps.is_empty(), "{what}: {:?}", page.gaps);
        found.extend(page.records.iter().map(|r| body(r).to_owned()));
        match page.newer {
            Some(seq) => at = Anchor::After(seq),
            None => return found,
        }
    }
}

/// Posts, seals, idles and reopens, until something fails.
fn work(world: &World, engine: Engine, ledger: &mut Ledger, seed: u64) {
    let mut random = Random::new(seed);
    let mut engine = engine;
    for n in 0..48u64 {
        world.clock.pass_us(1_000);
        let room = random.below(ROOMS);
        let count = 1 + random.below(4);
        let body = |i: usize| format!("{n}.{i} {}", "x".repeat(i * 700));
        let bodies: Vec<String> = (0..count).map(body).collect();
        if !ledger.post(&engine, room, &bodies) {
            return;
        }
        match n % 8 {
            3 => engine.idle(),
            5 if engine.seal().is_err() => return,
            7 => {
                let closed = engine.close();
                drop(engine);
                if closed.is_err() {
                    return;
                }
                match world.try_open(Losses::Restrict) {
                    Ok((again, _)) => engine = again,
                    Err(_) => return,
                }
            }
            _ => {}
        }
    }
}

fn copy_of(sim: &SimStorage, store: &MemoryCatalog) -> World {
    World {
        sim: sim.crash(Survivors::Everything),
        store: store.clone(),
        clock: Arc::new(SimClock::at(START)),
    }
}

#[test]
fn a_crash_at_any_operation_keeps_what_was_acknowledged() {
    let count = {
        let world = World::new();
        let engine = world.open();
        let mut ledger = Ledger::set_up(&engine);
        let before = world.sim.operations();
        work(&world, engine, &mut ledger, 7);
        world.sim.operations() - before
    };
    assert!(count > 100, "the workload has only {count} operations");
    let mut crashes = 0;
    for at in 1..=count {
        let world = World::new();
        let engine = world.open();
        let mut ledger = Ledger::set_up(&engine);
        world.sim.arrange(at, Trouble::Stop);
        work(&world, engine, &mut ledger, 7);
        let modes = [
            Survivors::Nothing,
            Survivors::Everything,
            Survivors::Prefix(at),
            Survivors::Sectors(at),
            Survivors::Sectors(at ^ 0xffff),
        ];
        for survivors in modes {
            let what = format!("stop at operation {at} of {count}, {survivors:?}");
            let after = world.crashed(survivors);
            let (engine, report) = after.try_open(Losses::Restrict).expect(&what);
            assert!(report.holes.is_empty(), "{what}: {report:?}");
            assert_eq!(engine.health(), Health::Ready, "{what}");
            ledger.check(&engine, &what);
            go_on(&after, engine, &ledger, &what);
            crashes += 1;
        }
    }
    println!("{crashes} crashes over {count} operations");
}

/// A recovered engine takes posts, and a second crash loses nothing of both lives.
fn go_on(world: &World, engine: Engine, ledger: &Ledger, what: &str) {
    let mut second = Ledger {
        posted: ledger.posted.clone(),
        rooms: ledger.rooms.clone(),
        user: ledger.user,
        ..Ledger::default()
    };
    second.settle(&engine);
    for room in 0..ROOMS {
        assert!(second.post(&engine, room, &["second life".to_owned()]), "{what}");
    }
    drop(engine);
    let again = world.crashed(Survivors::Nothing);
    second.check(&again.open(), &format!("{what}, second life"));
}

#[test]
fn an_error_at_any_operation_poisons_or_is_survived() {
    for trouble in [Trouble::Once, Trouble::ForEver, Trouble::Full] {
        for at in 1..=160 {
            let world = World::new();
            let engine = world.open();
            let mut ledger = Ledger::set_up(&engine);
            world.sim.arrange(at, trouble);
            work(&world, engine, &mut ledger, 11);
            for survivors in [Survivors::Nothing, Survivors::Sectors(at)] {
                let what = format!("{trouble:?} at operation {at}, {survivors:?}");
                let after = world.crashed(survivors);
                let (engine, report) = after.try_open(Losses::Restrict).expect(&what);
                assert!(report.holes.is_empty(), "{what}: {report:?}");
                ledger.check(&engine, &what);
            }
        }
    }
}

/// A journal with 60 posts in 30 frames, crashed and not yet sealed.
fn journal_of_posts() -> (World, Ledger) {
    let world = World::new();
    let engine = world.open();
    let mut ledger = Ledger::set_up(&engine);
    for n in 0..30 {
        let bodies = [format!("first of {n}"), format!("second of {n}")];
        assert!(ledger.post(&engine, n % ROOMS, &bodies));
    }
    engine.idle();
    drop(engine);
    (world.crashed(Survivors::Everything), ledger)
}

fn journal_file(world: &World, needle: &[u8]) -> (String, usize) {
    journal_with(&world.sim, needle).expect("no journal file holds the text")
}

fn flip(world: &World, file: &str, at: usize) {
    let mut bytes = world.sim.bytes_of(file).unwrap();
    bytes[at] ^= 0x20;
    world.sim.set_bytes(file, bytes);
}

#[test]
fn a_flipped_bit_in_a_message_costs_that_message_and_names_it() {
    let (world, ledger) = journal_of_posts();
    let (file, at) = journal_file(&world, b"first of 9");
    flip(&world, &file, at);
    let (engine, report) = world.try_open(Losses::Restrict).unwrap();
    assert_eq!((report.lost_messages, report.holes.len()), (1, 0), "{report:?}");
    for round in ["from the journal", "from packs", "after a restart"] {
        for room in 1..ROOMS {
            let found = all_bodies(&engine, ledger.rooms[room], round);
            assert_eq!(found, ledger.posted[room], "{round}: other rooms are whole");
        }
        let page = engine.page(ledger.rooms[0], Anchor::Last, 100).unwrap();
        let [gap] = &page.gaps[..] else { panic!("{round}: {:?}", page.gaps) };
        assert_eq!(gap.reason, GapReason::Damaged);
        assert_eq!((gap.from_seq, gap.to_seq), (Seq(7), Seq(7)), "{round}");
        assert_eq!(page.records.len(), 19, "{round}");
        engine.seal().unwrap();
    }
    let next = one(&engine, post(ledger.user, ledger.rooms[0], "next"));
    assert_eq!(next.seq, Seq(21), "the place is not used again");
}

/// All of the category of every room.
fn category(engine: &Engine, order: Order) -> CategoryPage {
    let category = engine.directory().category_by_name("General").unwrap().unwrap().id;
    let (from, to, limit) = (TimeUs::FLOOR, TimeUs::CEILING, 500);
    let request = CategoryRequest { category, from, to, order, cursor: None, limit };
    engine.category_page(&request, &mut |_| true).unwrap()
}

#[test]
fn damage_to_what_may_be_a_right_restricts_until_it_is_accepted() {
    for (what, distance) in [("frame header", None), ("directory", Some(96 + 3))] {
        let (world, ledger) = journal_of_posts();
        let (file, at) = journal_file(&world, b"first of 9");
        let frame = at / 4096 * 4096;
        flip(&world, &file, distance.map_or(frame + 40, |d| frame + d));
        let (engine, report) = world.try_open(Losses::Restrict).unwrap();
        assert_eq!(report.holes.len(), 1, "{what}: {report:?}");
        assert!(matches!(engine.health(), Health::Restricted { .. }), "{what}");
        let refused = engine.append_and_wait(vec![post(ledger.user, ledger.rooms[1], "no")]);
        assert!(refused.is_err(), "{what}");
        drop(engine);
        let (engine, report) = world.try_open(Losses::Accept).unwrap();
        let unaccepted = category(&engine, Order::Ascending);
        let accepted = hansard_engine::open::accept(&engine, report.holes).unwrap();
        assert_eq!(accepted.epoch, Epoch(2), "{what}");
        engine.close().unwrap();
        drop(engine);
        let (engine, report) = world.try_open(Losses::Restrict).unwrap();
        assert!(report.holes.is_empty(), "{what}: {report:?}");
        assert_eq!(engine.health(), Health::Ready, "{what}");
        assert_eq!(all_bodies(&engine, ledger.rooms[1], what), ledger.posted[1]);
        let page = engine.page(ledger.rooms[0], Anchor::Last, 100).unwrap();
        assert_eq!(page.records.len() + 2, 20, "{what}: {:?}", page.gaps);
        assert_eq!(unaccepted.gaps, page.gaps, "{what}, before it is accepted");
        for round in ["from the tail", "from packs"] {
            for order in [Order::Ascending, Order::Descending] {
                let found = category(&engine, order);
                assert_eq!(found.records.len() + 2, 60, "{what}, {round}");
                assert_eq!(found.gaps, page.gaps, "{what}, {round}");
            }
            engine.seal().unwrap();
        }
    }
}

#[test]
fn a_lost_revocation_opens_no_door() {
    let world = World::new();
    let engine = world.open();
    let mut ledger = Ledger::set_up(&engine);
    let sha256 = [0xab; 32];
    let made = TokenCreated {
        principal: ledger.user,
        name: "laptop".into(),
        sha256,
        expires: TimeUs::CEILING,
        session: false,
        one_use: false,
    };
    let made = one(&engine, draft(ledger.user, RoomId::NONE, Payload::TokenCreated(made)));
    assert!(engine.directory().token(&sha256).unwrap().is_some());
    let token = made.token_id();
    let gone = TokenRevoked { token, principal: ledger.user, sha256 };
    let revoked = one(&engine, draft(ledger.user, RoomId::NONE, Payload::TokenRevoked(gone)));
    assert!(engine.directory().token(&sha256).unwrap().is_none());
    assert!(ledger.post(&engine, 0, &["behind".to_owned()]));
    engine.idle();
    drop(engine);
    let world = world.crashed(Survivors::Everything);
    // The revocation is the second record with this hash.
    let (file, first) = journal_file(&world, &sha256);
    let bytes = world.sim.bytes_of(&file).unwrap();
    let second = first + 32 + find(&bytes[first + 32..], &sha256).unwrap();
    flip(&world, &file, second);
    let (engine, report) = world.try_open(Losses::Restrict).unwrap();
    assert_eq!(report.holes[0].first, revoked.lsn);
    assert!(matches!(engine.health(), Health::Restricted { .. }));
    drop(engine);
    let (engine, report) = world.try_open(Losses::Accept).unwrap();
    hansard_engine::open::accept(&engine, report.holes).unwrap();
    engine.close().unwrap();
    drop(engine);
    let engine = world.open();
    assert!(engine.directory().token(&sha256).unwrap().is_none(), "every earlier token is void");
}

#[test]
fn every_flipped_byte_of_a_journal_is_found_or_harmless() {
    let (world, ledger) = journal_of_posts();
    let (file, at) = journal_file(&world, b"first of 9");
    let frame = at / 4096 * 4096;
    // The file's header, a whole frame's used part and some of its padding.
    let places = (0..80).chain(frame..frame + 900).chain((frame + 900..frame + 4096).step_by(97));
    for place in places {
        let copy = copy_of(&world.sim, &world.store);
        flip(&copy, &file, place);
        let (engine, report) = copy.try_open(Losses::Restrict).unwrap();
        if !report.holes.is_empty() {
            continue;
        }
        let mut missing = 0;
        for room in 0..ROOMS {
            let page = engine.page(ledger.rooms[room], Anchor::Last, 100).unwrap();
            for record in &page.records {
                let index = usize::try_from(record.seq.0 - 1).unwrap();
                assert_eq!(body(record), ledger.posted[room][index], "byte {place}");
            }
            missing += ledger.posted[room].len() - page.records.len();
            let named: u64 = page.gaps.iter().map(|g| g.to_seq.0 - g.from_seq.0 + 1).sum();
            assert_eq!(named, ledger.posted[room].len() as u64 - page.records.len() as u64);
        }
        assert_eq!(missing as u64, report.lost_messages, "byte {place}: {report:?}");
    }
}

#[test]
fn a_write_torn_within_its_last_sector_is_no_damage() {
    let kept = |world: &World| world.sim.files().iter().any(|f| f.starts_with("quarantine/"));
    for (needle, promised) in [("last of all", false), ("first of 9", true)] {
        let world = World::new();
        let engine = world.open();
        let mut ledger = Ledger::set_up(&engine);
        for n in 0..30 {
            assert!(ledger.post(&engine, n % ROOMS, &[format!("first of {n}")]));
        }
        assert!(ledger.post(&engine, 0, &["last of all".into()]));
        drop(engine);
        let world = world.crashed(Survivors::Everything);
        let (file, at) = journal_file(&world, needle.as_bytes());
        let padding = at / 4096 * 4096 + 4096 - 512;
        let mut bytes = world.sim.bytes_of(&file).unwrap();
        bytes[padding..padding + 512].fill(0xaa);
        world.sim.set_bytes(&file, bytes);

        let (engine, report) = world.try_open(Losses::Restrict).unwrap();
        assert!(report.holes.is_empty(), "{report:?}");
        ledger.check(&engine, needle);
        assert_eq!(kept(&world), promised, "{needle}: a copy of what was damaged");
        if !promised {
            let bytes = world.sim.bytes_of(&file).unwrap();
            assert!(bytes[padding..padding + 512].iter().all(|b| *b == 0), "written again");
        }
    }
}

#[test]
fn a_damaged_block_costs_its_entries_and_no_other() {
    let world = World::new();
    let engine = world.open();
    let mut ledger = Ledger::set_up(&engine);
    for n in 0..60 {
        let bodies = [format!("{n} {}", "words ".repeat(n % 7 * 100))];
        assert!(ledger.post(&engine, n % ROOMS, &bodies));
    }
    engine.seal().unwrap();
    engine.close().unwrap();
    drop(engine);
    let pack = world.sim.files().into_iter().find(|f| f.ends_with(".pack")).unwrap();
    let len = world.sim.bytes_of(&pack).unwrap().len();
    let mut damaged = 0;
    for place in (0..len).step_by(23) {
        let copy = copy_of(&world.sim, &world.store);
        flip(&copy, &pack, place);
        let engine = copy.open();
        for room in 0..ROOMS {
            let page = engine.page(ledger.rooms[room], Anchor::Last, 100).unwrap();
            for record in &page.records {
                let index = usize::try_from(record.seq.0 - 1).unwrap();
                assert_eq!(body(record), ledger.posted[room][index], "byte {place}");
            }
            let named: u64 = page.gaps.iter().map(|g| g.to_seq.0 - g.from_seq.0 + 1).sum();
            let missing = ledger.posted[room].len() - page.records.len();
            assert_eq!(named, missing as u64, "byte {place}: {:?}", page.gaps);
            damaged += missing;
        }
    }
    assert!(damaged > 0, "no flip hit a block");
}

#[test]
fn a_scrub_names_every_damaged_block_and_nothing_else() {
    let world = World::new();
    let engine = world.open();
    let mut ledger = Ledger::set_up(&engine);
    for n in 0..90 {
        let bodies = [format!("{n} {}", "words ".repeat(n % 7 * 100))];
        assert!(ledger.post(&engine, n % ROOMS, &bodies));
        if n % 30 == 29 {
            engine.seal().unwrap();
        }
    }
    let clean = engine.scrub_now().unwrap();
    assert_eq!((clean.passes, clean.packs, clean.findings.len()), (1, 3, 0), "{clean:?}");
    let packs = world.sim.files().into_iter().filter(|f| f.ends_with(".pack"));
    let bytes: usize = packs.clone().map(|f| world.sim.bytes_of(&f).unwrap().len()).sum();
    assert_eq!(clean.bytes, bytes as u64, "every byte is read");
    // Without the engine's caches: a damaged place is a gap exactly where the scrub says so.
    for pack in packs {
        let whole = world.sim.bytes_of(&pack).unwrap();
        for at in (0..whole.len()).step_by(29) {
            let mut flipped = whole.clone();
            flipped[at] ^= 8;
            world.sim.set_bytes(&pack, flipped);
            let found = engine.scrub_now().unwrap().findings;
            assert!(!found.is_empty(), "{pack}: byte {at} is not found");
            for place in &found {
                assert_eq!(place.file, pack, "byte {at}");
                let inside = place.offset <= at as u64;
                let end = place.offset + place.bytes;
                assert!(place.room.is_none() || inside && (at as u64) < end, "{place:?} {at}");
            }
        }
        world.sim.set_bytes(&pack, whole);
    }
    assert!(engine.scrub_now().unwrap().findings.is_empty(), "what is mended is found no more");
}

#[test]
fn a_pass_is_made_when_it_is_asked_for_though_none_is_due_by_itself() {
    let world = World::new();
    let (engine, _) = open_on(world.ground(), options(), Drive::Threads, Losses::Restrict).unwrap();
    let passes = |wanted: u64| {
        let begun = Instant::now();
        while engine.scrub_report().passes < wanted {
            assert!(begun.elapsed() < Duration::from_secs(60), "no pass {wanted}");
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    for wanted in 1..=2 {
        engine.scrub_soon();
        passes(wanted);
    }
    engine.close().unwrap();
}

#[test]
fn a_version_file_that_is_too_long_is_damage_and_no_failed_read() {
    let world = World::new();
    world.sim.set_bytes("VERSION", b"layout 2\n".repeat(1000));
    let refused = world.try_open(Losses::Restrict).unwrap_err();
    assert!(matches!(refused, Error::Corrupt { .. }), "{refused}");
}
