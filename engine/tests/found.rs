//! Bugs that random search found, each kept as one case and named after what must hold.
//!
//! Simulation, power cuts and review met them by chance; here no seed has to be lucky. What was
//! found by fuzzing the bytes of a directory stands in `forged.rs`.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hansard_engine::apply::SETTING_TOKENS_FLOOR;
use hansard_engine::catalog::memory::MemoryCatalog;
use hansard_engine::catalog::{CatalogStore, Change, Family, Visit, Walk};
use hansard_engine::error::{Error, Result};
use hansard_engine::format::frame::FileHeader;
use hansard_engine::format::payload::*;
use hansard_engine::manifest;
use hansard_engine::open::{Drive, Ground, Losses, VERSION, accept, open_on};
use hansard_engine::reads::{Anchor, CategoryRequest, Gap, GapReason, Order};
use hansard_engine::storage::clock::SimClock;
use hansard_engine::storage::sim::{SimStorage, Survivors, Trouble};
use hansard_engine::types::*;
use hansard_engine::{Engine, Health, Options};
use support::*;

const SECTOR: usize = 4096;
/// The unit in which a write is torn.
const TEAR: usize = 512;

/// A category, a room in it and a user.
struct Lobby {
    category: CategoryId,
    room: RoomId,
    user: PrincipalId,
}

impl Lobby {
    fn make(engine: &Engine) -> Self {
        let category = make_category(engine, "General");
        let room = make_room(engine, category, "lobby");
        Self { category, room, user: make_user(engine, "ann") }
    }

    /// Posts in one append; true if it was acknowledged.
    fn say(&self, engine: &Engine, bodies: &[&str]) -> bool {
        let drafts = bodies.iter().map(|body| post(self.user, self.room, body));
        engine.append_and_wait(drafts.collect()).is_ok()
    }

    /// Posts `from..to`, each in a frame of its own, a second apart.
    fn count(&self, world: &World, engine: &Engine, from: u64, to: u64) {
        for n in from..to {
            world.clock.pass_us(1_000_000);
            assert!(self.say(engine, &[&format!("number {n}")]));
        }
    }

    /// Everything that the room shows: no gap, and nothing twice.
    fn said(&self, engine: &Engine, what: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut at = Anchor::At(Seq(1));
        loop {
            let page = engine.page(self.room, at, 100).unwrap();
            assert!(page.gaps.is_empty(), "{what}: {:?}", page.gaps);
            found.extend(page.records.iter().map(|r| body(r).to_owned()));
            match page.newer {
                Some(seq) => at = Anchor::After(seq),
                None => return found,
            }
        }
    }
}

fn numbers(from: u64, to: u64) -> Vec<String> {
    (from..to).map(|n| format!("number {n}")).collect()
}

/// The machine after the end of the process: what was written and not synced is still shown.
fn killed(world: World) -> World {
    world.sim.calm();
    World { store: world.store.crash(), ..world }
}

/// An equal machine that shares nothing with this one.
fn copy_of(world: &World) -> World {
    world.crashed(Survivors::Everything)
}

fn journals(sim: &SimStorage) -> Vec<String> {
    sim.files().into_iter().filter(|f| f.ends_with(".journal")).collect()
}

/// Changes a file's bytes behind the engine's back.
fn change(sim: &SimStorage, file: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = sim.bytes_of(file).unwrap();
    change(&mut bytes);
    sim.set_bytes(file, bytes);
}

fn open_as(world: &World, options: Options) -> Engine {
    let (engine, report) =
        open_on(world.ground(), options, Drive::Steps, Losses::Restrict).unwrap();
    assert!(report.holes.is_empty() && report.lost_messages == 0, "{report:?}");
    engine
}

/// A catalog that keeps every batch that it takes, and takes only so many.
#[derive(Clone)]
struct Batches {
    rows: MemoryCatalog,
    left: Arc<AtomicU64>,
}

impl Batches {
    fn open(world: &World) -> (Self, Engine) {
        let store = Self { rows: world.store.clone(), left: Arc::new(AtomicU64::new(u64::MAX)) };
        let ground = Ground { store: Arc::new(store.clone()), ..world.ground() };
        let (engine, _) = open_on(ground, options(), Drive::Steps, Losses::Restrict).unwrap();
        (store, engine)
    }
}

impl CatalogStore for Batches {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.rows.get(family, key)
    }

    fn range(&self, f: Family, from: &[u8], to: &[u8], walk: Walk, see: Visit<'_>) -> Result<()> {
        self.rows.range(f, from, to, walk, see)
    }

    fn write(&self, changes: &[Change]) -> Result<()> {
        if self.left.load(Ordering::Relaxed) == 0 {
            self.rows.break_down();
        }
        self.left.fetch_sub(1, Ordering::Relaxed);
        self.rows.write(changes)?;
        self.rows.flush()
    }

    fn remove_range(&self, family: Family, from: &[u8], to: &[u8]) -> Result<()> {
        self.rows.remove_range(family, from, to)
    }

    fn flush(&self) -> Result<()> {
        self.rows.flush()
    }

    fn checkpoint(&self, to: &Path) -> Result<()> {
        self.rows.checkpoint(to)
    }

    fn erase_removed(&self, family: Family, from: &[u8], to: &[u8]) -> Result<()> {
        self.rows.erase_removed(family, from, to)
    }
}

#[test]
fn a_room_moved_behind_a_wall_keeps_no_outsider_wherever_the_move_is_cut_off() {
    for batches in 0..3 {
        let what = format!("after {batches} batches");
        let world = World::new();
        let engine = world.open();
        let lobby = Lobby::make(&engine);
        let bob = make_user(&engine, "bob");
        for principal in [lobby.user, bob] {
            let set = MemberSet { principal, roles: Roles::MEMBER };
            one(&engine, draft(PrincipalId::SYSTEM, lobby.room, Payload::MemberSet(set)));
        }
        let settings = CategorySettings { denied: vec![bob], ..category_settings("Walled") };
        let made = Payload::CategoryCreated(CategoryCreated { settings });
        let walled = one(&engine, draft(PrincipalId::SYSTEM, RoomId::NONE, made)).category_id();
        engine.close().unwrap();
        drop(engine);

        let (store, engine) = Batches::open(&world);
        store.left.store(batches, Ordering::Relaxed);
        let settings = room_settings(walled, "lobby");
        let moved = Payload::RoomChanged(RoomChanged { settings });
        let moved = engine.append_and_wait(vec![draft(lobby.user, lobby.room, moved)]);
        assert!(batches != 0 || moved.is_err(), "{what}: nothing was cut off");
        assert!(batches != 2 || moved.is_ok(), "{what}: it is not cut off any more");
        drop(engine);

        let after = copy_of(&world);
        let engine = after.open();
        let directory = engine.directory();
        let row = directory.room(lobby.room).unwrap().unwrap();
        assert_eq!(row.settings.category, walled, "{what}: the journal has the move");
        assert_eq!(directory.member(lobby.room, bob).unwrap(), None, "{what}");
        assert_eq!(directory.member(lobby.room, lobby.user).unwrap(), Some(Roles::MEMBER));
    }
}

#[test]
fn a_journal_file_made_by_a_start_that_failed_is_not_lost_by_a_later_power_cut() {
    let world = World::new();
    let engine = world.open();
    let lobby = Lobby::make(&engine);
    assert!(lobby.say(&engine, &["before"]));
    engine.close().unwrap();
    drop(engine);
    let whole = copy_of(&world);
    drop(whole.open());
    let mut unsynced = 0;
    for at in 1..=whole.sim.operations() {
        let what = format!("a start that failed at operation {at}");
        let world = copy_of(&world);
        world.sim.arrange(at, Trouble::Once);
        if world.try_open(Losses::Restrict).is_ok() {
            continue;
        }
        let durable = journals(&world.sim.crash(Survivors::Nothing));
        unsynced += journals(&world.sim).iter().filter(|f| !durable.contains(f)).count();
        let world = killed(world);
        let engine = world.open();
        assert!(lobby.say(&engine, &["behind"]), "{what}");
        drop(engine);
        let engine = world.crashed(Survivors::Nothing).open();
        assert_eq!(lobby.said(&engine, &what), ["before", "behind"], "{what}");
    }
    assert!(unsynced > 0, "no failed start left a name that was not synced");
}

/// A machine that has cut a frame of ten records, "cut 0" to "cut 9", behind one that says "kept".
fn cut() -> (World, Engine, Lobby, String) {
    let world = World::new();
    let engine = world.open();
    let lobby = Lobby::make(&engine);
    assert!(lobby.say(&engine, &["kept"]));
    // Of the write of many sectors the last one does not reach the disk.
    world.sim.arrange(1, Trouble::Once);
    let bodies: Vec<String> = (0..10).map(|n| format!("cut {n} {}", "x".repeat(600))).collect();
    assert!(!lobby.say(&engine, &bodies.iter().map(String::as_str).collect::<Vec<_>>()));
    drop(engine);
    let world = copy_of(&world);
    let (torn, at) = journal_with(&world.sim, "cut 9").unwrap();
    change(&world.sim, &torn, |bytes| bytes[at / TEAR * TEAR..][..TEAR].fill(0));
    let (engine, report) = world.try_open(Losses::Restrict).unwrap();
    assert!(report.cut_bytes > 0 && report.holes.is_empty(), "{report:?}");
    assert_eq!(lobby.said(&engine, "cut"), ["kept"]);
    (world, engine, lobby, torn)
}

#[test]
fn a_frame_that_was_cut_never_comes_back_when_the_file_behind_it_is_lost() {
    // Fewer records than were cut take their places, or as many.
    for taken in [1, 10] {
        let (world, engine, lobby, torn) = cut();
        assert!(lobby.say(&engine, &vec!["in its place"; taken]));
        drop(engine);
        let world = world.crashed(Survivors::Nothing);
        let (file, _) = journal_with(&world.sim, "in its place").unwrap();
        assert_ne!(file, torn, "nothing is appended behind a cut");
        world.sim.take_away(&file);

        let refused = world.try_open(Losses::Restrict);
        assert!(matches!(refused, Err(Error::Corrupt { .. })), "{taken} lost: {refused:?}");
        let (engine, report) = world.try_open(Losses::Accept).unwrap();
        accept(&engine, report.holes).unwrap();
        engine.close().unwrap();
        drop(engine);
        let page = world.open().page(lobby.room, Anchor::Last, 100).unwrap();
        assert_eq!(page.records.iter().map(body).collect::<Vec<_>>(), ["kept"]);
    }
}

#[test]
fn what_a_start_shows_is_not_lost_by_the_next_power_cut() {
    let mut only_cached = 0;
    for trouble in [Trouble::Once, Trouble::Stop, Trouble::SyncLost] {
        // A frame alone, and one that begins a file and comes with its header.
        for first in [true, false] {
            for at in 1..=3 {
                let what = format!("{trouble:?} at operation {at}, first in its file: {first}");
                let world = World::new();
                let engine = world.open();
                let lobby = Lobby::make(&engine);
                engine.close().unwrap();
                drop(engine);
                let engine = world.open();
                assert!(first || lobby.say(&engine, &["sure"]));
                world.sim.arrange(at, trouble);
                let acknowledged = lobby.say(&engine, &["unsure"]);
                drop(engine);
                let durable = journal_with(&world.sim.crash(Survivors::Nothing), "unsure");
                assert!(!acknowledged || durable.is_some(), "{what}");

                let world = killed(world);
                let engine = world.open();
                let shown = lobby.said(&engine, &what);
                only_cached += u32::from(durable.is_none() && shown.contains(&"unsure".into()));
                assert!(lobby.say(&engine, &["next"]), "{what}");
                drop(engine);
                let engine = world.crashed(Survivors::Nothing).open();
                let found = lobby.said(&engine, &what);
                assert_eq!(found, [shown, vec!["next".to_owned()]].concat(), "{what}");
            }
        }
    }
    assert!(only_cached >= 6, "only {only_cached} starts met a frame that was never synced");
}

#[test]
fn an_acceptance_of_damage_that_is_cut_off_anywhere_is_asked_for_again() {
    let world = World::new();
    let engine = world.open();
    let lobby = Lobby::make(&engine);
    lobby.count(&world, &engine, 0, 20);
    engine.idle();
    drop(engine);
    let world = copy_of(&world);
    let (file, at) = journal_with(&world.sim, "number 9").unwrap();
    change(&world.sim, &file, |bytes| bytes[at / SECTOR * SECTOR + 40] ^= 1);
    let (_, report) = copy_of(&world).try_open(Losses::Restrict).unwrap();
    let holes = report.holes;
    assert_eq!(holes.len(), 1);

    // The housekeeper may seal before the accepting record is written.
    let accepting = |world: &World| -> Result<()> {
        let (engine, report) = world.try_open(Losses::Accept)?;
        engine.seal()?;
        accept(&engine, report.holes)?;
        engine.close()
    };
    let whole = copy_of(&world);
    accepting(&whole).unwrap();
    let (mut asked, mut accepted) = (0, 0);
    for at in 1..=whole.sim.operations() {
        for survivors in [Survivors::Nothing, Survivors::Everything] {
            let what = format!("stopped at operation {at}, {survivors:?}");
            let world = copy_of(&world);
            world.sim.arrange(at, Trouble::Stop);
            let done = accepting(&world).is_ok();
            let (engine, report) =
                world.crashed(survivors).try_open(Losses::Restrict).expect(&what);
            let floor = engine.directory().setting(SETTING_TOKENS_FLOOR);
            match engine.health() {
                Health::Restricted { .. } => {
                    assert!(!done, "{what}: accepted and forgotten");
                    assert_eq!(report.holes, holes, "{what}");
                    asked += 1;
                }
                health => {
                    assert_eq!(health, Health::Ready, "{what}");
                    assert!(floor.unwrap().is_some(), "{what}: no accepting record, no question");
                    accepted += 1;
                }
            }
        }
    }
    assert!(asked > 20 && accepted > 0, "asked {asked} times, accepted {accepted} times");
}

/// How a directory over whose manifest an older one was put is answered.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Refused,
    Exact,
}

/// Asserts that a room answers so many numbers, and each record once.
fn each_once(engine: &Engine, lobby: &Lobby, numbered: u64, what: &str) {
    assert_eq!(lobby.said(engine, what), numbers(0, numbered), "{what}");
    let changes = engine.changes(lobby.room, Rev::ZERO, 100).unwrap();
    let revs: Vec<u64> = changes.records.iter().map(|r| r.rev.0).collect();
    assert_eq!(revs, (1..=changes.head.0).collect::<Vec<_>>(), "{what}: changes");
}

fn refused_or_exact(world: &World, lobby: &Lobby, numbered: u64, what: &str) -> Answer {
    let engine = match world.try_open(Losses::Restrict) {
        Err(Error::Corrupt { .. }) => return Answer::Refused,
        Err(error) => panic!("{what}: {error}"),
        Ok((engine, _)) if engine.health() == Health::Ready => engine,
        Ok(_) => return Answer::Refused,
    };
    each_once(&engine, lobby, numbered, what);
    drop(engine);
    // It may not go wrong later either, when numbers of packs are given again: behind a seal that
    // is cut off before the catalog has its rows, behind whole seals, and from packs alone.
    let (store, engine) = Batches::open(world);
    lobby.count(world, &engine, numbered, numbered + 1);
    store.left.store(0, Ordering::Relaxed);
    assert!(engine.seal().is_err(), "{what}");
    drop(engine);
    let world = &copy_of(world);
    let engine = world.open();
    for more in numbered + 1..numbered + 3 {
        each_once(&engine, lobby, more, what);
        lobby.count(world, &engine, more, more + 1);
        engine.seal().unwrap();
    }
    engine.close().unwrap();
    drop(engine);
    each_once(&world.open(), lobby, numbered + 3, what);
    Answer::Exact
}

#[test]
fn an_older_manifest_put_back_is_refused_or_answered_exactly() {
    let both = [manifest::FILE, manifest::COPY];
    let world = World::new();
    let engine = world.open();
    let lobby = Lobby::make(&engine);
    lobby.count(&world, &engine, 0, 5);
    engine.seal().unwrap();
    let older = world.sim.bytes_of(manifest::FILE).unwrap();
    for n in 5..9 {
        lobby.count(&world, &engine, n, n + 1);
        engine.seal().unwrap();
    }
    engine.close().unwrap();
    drop(engine);
    let put_back = |world: &World, files: &[&str]| {
        files.iter().for_each(|file| world.sim.set_bytes(file, older.clone()));
    };
    for file in both {
        let world = copy_of(&world);
        put_back(&world, &[file]);
        assert_eq!(refused_or_exact(&world, &lobby, 9, file), Answer::Exact);
    }
    let known = copy_of(&world);
    put_back(&known, &both);
    assert_eq!(refused_or_exact(&known, &lobby, 9, "both copies"), Answer::Refused);
    let unknown = World { store: MemoryCatalog::default(), ..copy_of(&world) };
    put_back(&unknown, &both);
    refused_or_exact(&unknown, &lobby, 9, "both copies, and no catalog");
}

#[test]
fn an_older_manifest_put_back_over_a_seal_that_was_cut_off_is_refused() {
    let world = World::new();
    let engine = world.open();
    let lobby = Lobby::make(&engine);
    lobby.count(&world, &engine, 0, 5);
    engine.seal().unwrap();
    engine.close().unwrap();
    drop(engine);
    let older = world.sim.bytes_of(manifest::FILE).unwrap();
    let (store, engine) = Batches::open(&world);
    lobby.count(&world, &engine, 5, 9);
    // The pack's rows are written, and the row that says how far is sealed is not.
    store.left.store(1, Ordering::Relaxed);
    assert!(engine.seal().is_err());
    drop(engine);
    let whole = copy_of(&world);
    assert_eq!(refused_or_exact(&whole, &lobby, 9, "undamaged"), Answer::Exact);
    let world = copy_of(&world);
    for file in [manifest::FILE, manifest::COPY] {
        assert_ne!(world.sim.bytes_of(file).unwrap(), older, "{file}");
        world.sim.set_bytes(file, older.clone());
    }
    assert_eq!(refused_or_exact(&world, &lobby, 9, "both copies"), Answer::Refused);
}

#[test]
fn a_witness_that_could_not_be_written_once_tells_of_a_lost_end_all_the_same() {
    let begin = || {
        let world = World::new();
        let engine = world.open();
        let lobby = Lobby::make(&engine);
        assert!(lobby.say(&engine, &["first"]));
        (world, engine, lobby)
    };
    let (world, engine, _) = begin();
    let before = world.sim.operations();
    engine.idle();
    let operations = world.sim.operations() - before;
    let mut survived = 0;
    for trouble in [Trouble::Once, Trouble::ForEver] {
        for at in 1..=operations {
            let (world, engine, lobby) = begin();
            world.sim.arrange(at, trouble);
            engine.idle();
            world.sim.calm();
            if engine.health() != Health::Ready {
                continue;
            }
            assert!(lobby.say(&engine, &["last"]));
            engine.idle();
            drop(engine);
            let world = copy_of(&world);
            let (file, place) = journal_with(&world.sim, "last").unwrap();
            change(&world.sim, &file, |bytes| bytes[place / SECTOR * SECTOR..].fill(0));
            let opened = world.try_open(Losses::Restrict);
            let refused = matches!(opened, Err(Error::Corrupt { .. }));
            assert!(refused, "{trouble:?} at operation {at}: {opened:?}");
            survived += 1;
        }
    }
    assert!(survived >= 4, "only {survived} failures were survived");
}

/// A machine with many journal files, some of them used before, and their first sectors then.
fn used_again() -> (World, Lobby, Vec<(String, Vec<u8>)>) {
    let small = || Options { journal_file_bytes: 8 * SECTOR as u64, ..options() };
    let world = World::new();
    let engine = open_as(&world, small());
    let lobby = Lobby::make(&engine);
    let headers = |sim: &SimStorage| {
        let header = |file: String| {
            let sector = sim.bytes_of(&file).unwrap()[..SECTOR].to_vec();
            FileHeader::parse(&sector).unwrap().map(|_| (file, sector))
        };
        journals(sim).into_iter().filter_map(header).collect::<Vec<_>>()
    };
    lobby.count(&world, &engine, 0, 30);
    let older = headers(&world.sim);
    engine.seal().unwrap();
    lobby.count(&world, &engine, 30, 60);
    drop(engine);
    let now = headers(&world.sim);
    assert!(older.len() > 3 && now.len() >= older.len());
    (copy_of(&world), lobby, older)
}

#[test]
fn a_journal_file_header_of_zeros_hides_no_frame_behind_it() {
    let (world, lobby, _) = used_again();
    let files = journals(&world.sim);
    assert!(files.len() > 3);
    for file in files {
        let world = copy_of(&world);
        change(&world.sim, &file, |bytes| bytes[..SECTOR].fill(0));
        let engine = open_as(&world, options());
        assert_eq!(lobby.said(&engine, &file), numbers(0, 60), "{file}");
        assert_eq!(engine.health(), Health::Ready, "{file}");
    }
}

#[test]
fn an_older_journal_file_header_put_back_hides_no_frame_behind_it() {
    let (world, lobby, older) = used_again();
    let mut other = 0;
    for (file, header) in older {
        let world = copy_of(&world);
        change(&world.sim, &file, |bytes| {
            other += u32::from(bytes[..SECTOR] != header);
            bytes[..SECTOR].copy_from_slice(&header);
        });
        let engine = open_as(&world, options());
        assert_eq!(lobby.said(&engine, &file), numbers(0, 60), "{file}");
        assert_eq!(engine.health(), Health::Ready, "{file}");
    }
    assert!(other > 2, "only {other} files were used again");
}

#[test]
fn a_journal_file_of_a_length_that_was_configured_before_is_never_used_again() {
    let of = |kib: u64| Options { journal_file_bytes: kib * 1024, ..options() };
    for (before, after) in [(32, 64), (64, 32)] {
        for free_at_the_start in [true, false] {
            let what = format!("from {before} KiB to {after} KiB, {free_at_the_start}");
            let world = World::new();
            let engine = open_as(&world, of(before));
            let lobby = Lobby::make(&engine);
            lobby.count(&world, &engine, 0, 40);
            if free_at_the_start {
                engine.seal().unwrap();
            }
            drop(engine);
            let world = copy_of(&world);
            let engine = open_as(&world, of(after));
            engine.seal().unwrap();
            lobby.count(&world, &engine, 40, 120);
            drop(engine);
            let world = copy_of(&world);
            let files = journals(&world.sim);
            assert!(files.len() > 4, "{what}: {files:?}");
            for file in files {
                let len = world.sim.bytes_of(&file).unwrap().len() as u64;
                assert_eq!(len, after * 1024, "{what}: {file}");
            }
            let engine = open_as(&world, of(after));
            assert_eq!(engine.health(), Health::Ready, "{what}");
            assert_eq!(lobby.said(&engine, &what), numbers(0, 120), "{what}");
        }
    }
}

/// A category's entries and gaps between two times, in pages of `limit`.
fn walk(engine: &Engine, mut request: CategoryRequest) -> (Vec<String>, Vec<Gap>) {
    let (mut found, mut gaps) = (Vec::new(), Vec::new());
    loop {
        let page = engine.category_page(&request, &mut |_| true).unwrap();
        found.extend(page.records.iter().map(|r| body(r).to_owned()));
        gaps.extend(page.gaps);
        match page.next {
            Some(next) => request.cursor = Some(next),
            None => break,
        }
    }
    if request.order == Order::Descending {
        found.reverse();
    }
    (found, gaps)
}

#[test]
fn a_lost_message_is_a_gap_of_its_category_too() {
    let world = World::new();
    let engine = world.open();
    let lobby = Lobby::make(&engine);
    lobby.count(&world, &engine, 0, 12);
    engine.idle();
    drop(engine);
    let world = copy_of(&world);
    let (file, at) = journal_with(&world.sim, "number 4").unwrap();
    change(&world.sim, &file, |bytes| bytes[at] ^= 0x20);
    let (mut engine, report) = world.try_open(Losses::Restrict).unwrap();
    assert_eq!((report.lost_messages, report.holes.len()), (1, 0), "{report:?}");
    let (room, place, reason) = (lobby.room, Seq(5), GapReason::Damaged);
    let lost = vec![Gap { room, from_seq: place, to_seq: place, reason }];
    // Number n was said so many seconds after the start, and one.
    let at = |n: i64| TimeUs(START.0 + (n + 1) * 1_000_000);
    for round in ["from the journal", "from packs", "after a restart"] {
        for order in [Order::Ascending, Order::Descending] {
            for limit in [1, 3, 500] {
                let what = format!("{round}, {order:?}, pages of {limit}");
                let ask = |from, to| {
                    let (category, cursor) = (lobby.category, None);
                    walk(&engine, CategoryRequest { category, from, to, order, cursor, limit })
                };
                let (found, gaps) = ask(TimeUs::FLOOR, TimeUs::CEILING);
                assert_eq!(found, [numbers(0, 4), numbers(5, 12)].concat(), "{what}");
                assert_eq!(gaps, lost, "{what}");
                // Nobody knows when between its neighbours it was said.
                assert_eq!(ask(at(4), at(5)), (vec![], lost.clone()), "{what}");
                assert_eq!(ask(at(6), at(9)), (numbers(6, 9), vec![]), "{what}");
            }
        }
        engine.seal().unwrap();
        if round == "from packs" {
            engine.close().unwrap();
            drop(engine);
            engine = world.open();
        }
    }
}

#[test]
fn a_checkpoint_has_its_version_only_when_everything_else_is_durable() {
    let place = Path::new("copy");
    let begin = || {
        let world = World::new();
        let engine = world.open();
        let lobby = Lobby::make(&engine);
        lobby.count(&world, &engine, 0, 5);
        engine.seal().unwrap();
        lobby.count(&world, &engine, 5, 9);
        (world, engine, lobby)
    };
    let (world, engine, _) = begin();
    let before = world.sim.operations();
    engine.checkpoint(place).unwrap();
    let operations = world.sim.operations() - before;
    let whole = world.sim.next_to(place);
    let mut files = whole.files();
    files.retain(|file| file != VERSION);
    assert!(files.iter().any(|f| f.ends_with(".pack")) && files.len() > 5, "{files:?}");
    let (mut opened, mut refused) = (0, 0);
    for at in 1..=operations + 1 {
        let (world, engine, lobby) = begin();
        world.sim.arrange(at, Trouble::Stop);
        let done = engine.checkpoint(place).is_ok();
        drop(engine);
        let copy = world.sim.next_to(place);
        // Names of different folders become durable in any order.
        let durable = copy.crash(Survivors::Nothing);
        for file in files.iter().filter(|_| copy.bytes_of(VERSION).is_some()) {
            let what = format!("stopped at operation {at}: {file}");
            assert_eq!(durable.bytes_of(file), whole.bytes_of(file), "{what}");
        }
        for survivors in [Survivors::Nothing, Survivors::Everything] {
            let what = format!("stopped at operation {at}, {survivors:?}");
            let store = world.store.copy_at(&place.join("catalog")).unwrap_or_default();
            let clock = Arc::new(SimClock::at(START));
            let copy = World { sim: copy.crash(survivors), store, clock };
            match copy.try_open(Losses::Restrict) {
                Ok((engine, report)) => {
                    assert!(report.holes.is_empty(), "{what}: {report:?}");
                    assert_eq!(lobby.said(&engine, &what), numbers(0, 9), "{what}");
                    opened += 1;
                }
                Err(Error::NotFound { .. } | Error::Unsupported { .. }) => {
                    assert!(!done, "{what}: a checkpoint that is done opens");
                    refused += 1;
                }
                Err(error) => panic!("{what}: {error}"),
            }
        }
    }
    assert!(opened >= 2 && refused > 20, "opened {opened} times, refused {refused} times");
}
