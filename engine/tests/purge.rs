//! What retention took leaves the packs: the words are gone, all else is as it was.
//!
//! Packs are looked through as an examiner would: every byte, and every block decompressed. The
//! simulation mixes purges with everything else; here each case stands alone.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "support/canary.rs"]
mod canary;
mod support;

use std::sync::Arc;

use canary::files_with;
use hansard_engine::catalog::memory::MemoryCatalog;
use hansard_engine::catalog::{CatalogStore, Family, Go, Walk, keys};
use hansard_engine::draft::{Draft, Said};
use hansard_engine::format::pack::PackMeta;
use hansard_engine::format::payload::*;
use hansard_engine::merge::MergeReport;
use hansard_engine::open::{Drive, Losses, open_on};
use hansard_engine::pack::PackFile;
use hansard_engine::reads::{Anchor, Gap, GapReason};
use hansard_engine::remembered::comparable_rows;
use hansard_engine::storage::Disk;
use hansard_engine::storage::sim::{Survivors, Trouble};
use hansard_engine::types::*;
use hansard_engine::{Engine, Health, manifest};
use support::*;

const DAY: i64 = TimeUs::DAY_US;
/// Long enough to be told from anything else, in every entry and edit that is to go.
const CANARY: &str = "zx-canary-7f3a9";

/// Two rooms of one category that keeps ten days, and one of a category that keeps everything.
struct Desk {
    world: World,
    categories: [CategoryId; 2],
    rooms: [RoomId; 3],
    ann: PrincipalId,
}

impl Desk {
    /// An entry a day in each room, 20 days long, and an edit of each tenth; a seal a day. Entries
    /// of the first ten days have the canary in the two rooms that keep ten days.
    fn new() -> (Self, Engine) {
        let world = World::new();
        let engine = world.open();
        let categories = [make_category(&engine, "Desk"), make_category(&engine, "Archive")];
        let room = |n: usize| make_room(&engine, categories[n / 2], &format!("room {n}"));
        let (rooms, ann) = ([room(0), room(1), room(2)], make_user(&engine, "ann"));
        let desk = Self { world, categories, rooms, ann };
        desk.keep_days(&engine, 10);
        for day in 0..20 {
            for (n, room) in rooms.iter().enumerate() {
                let canary = if day < 10 && n < 2 { CANARY } else { "nothing" };
                let done = one(&engine, post(ann, *room, &format!("day {day} {n} {canary}")));
                if day % 10 == 3 {
                    let body = format!("day {day} {n} mended {canary}");
                    let edited = Edited { seq: done.seq, body };
                    one(&engine, draft(ann, *room, Payload::Edited(edited)));
                }
            }
            if day == 5 {
                let set = MemberSet { principal: ann, roles: Roles::MEMBER };
                one(&engine, draft(ann, rooms[0], Payload::MemberSet(set)));
            }
            engine.seal().unwrap();
            desk.world.clock.pass_us(DAY);
        }
        (desk, engine)
    }

    fn keep_days(&self, engine: &Engine, days: u32) {
        let mut settings = category_settings("Desk");
        settings.retention.days = days;
        let category = self.categories[0];
        let changed = Payload::CategoryChanged(CategoryChanged { category, settings });
        one(engine, draft(self.ann, RoomId::NONE, changed));
    }

    fn set(&self, engine: &Engine, key: &str, value: &str) {
        let setting = Payload::Setting(Setting { key: key.into(), value: value.into() });
        one(engine, draft(self.ann, RoomId::NONE, setting));
    }

    /// What the two rooms still have of the 20 entries, and the third.
    fn check(&self, engine: &Engine, kept: &[u64]) {
        for (n, room) in self.rooms.iter().enumerate() {
            let kept: Vec<u64> = if n < 2 { kept.to_vec() } else { (1..=20).collect() };
            let page = engine.page(*room, Anchor::At(Seq(1)), 500).unwrap();
            assert!(page.records.iter().map(|record| record.seq.0).eq(kept.iter().copied()));
            let to_seq = Seq(20 - kept.len() as u64);
            let gap = Gap { room: *room, from_seq: Seq(1), to_seq, reason: GapReason::Expired };
            assert_eq!(page.gaps, if n < 2 && to_seq > Seq::ZERO { vec![gap] } else { Vec::new() });
            let changes = engine.changes(*room, Rev::ZERO, 500).unwrap();
            assert_eq!(changes.holes, []);
            let told: u64 = changes.expired.iter().map(|(a, b)| b.0 - a.0 + 1).sum();
            assert_eq!(told + changes.records.len() as u64, changes.head.0, "room {n}");
        }
    }
}

/// What an engine's directory says exists.
fn packs(world: &World) -> Vec<PackMeta> {
    let disk = Disk::new(Arc::new(world.sim.clone()));
    manifest::load(&disk).unwrap().state.packs.into_values().collect()
}

fn with_canary(world: &World, folder: &str) -> Vec<String> {
    files_with(&world.sim, folder, CANARY)
}

fn purge(engine: &Engine) -> MergeReport {
    engine.purge(&mut |_| true).unwrap()
}

/// A catalog rebuilt from packs and journal has the rows of the one that was kept.
fn check_rebuilt(desk: &Desk) {
    let (kept, report) = desk.world.try_open(Losses::Restrict).unwrap();
    assert!(report.holes.is_empty() && report.lost_messages == 0, "{report:?}");
    kept.seal().unwrap();
    kept.close().unwrap();
    let copy =
        World { store: MemoryCatalog::default(), ..desk.world.crashed(Survivors::Everything) };
    let (engine, report) =
        open_on(copy.ground(), options(), Drive::Steps, Losses::Restrict).unwrap();
    assert_eq!(engine.health(), Health::Ready);
    assert!(report.holes.is_empty() && report.lost_messages == 0, "{report:?}");
    assert!(report.rebuilt > 0);
    engine.seal().unwrap();
    engine.close().unwrap();
    let [kept, rebuilt] = [&desk.world.store, &copy.store].map(|s| comparable_rows(s).unwrap());
    assert!(kept == rebuilt, "rows differ");
}

#[test]
fn what_retention_took_leaves_the_packs_and_the_rooms_go_on() {
    let (desk, engine) = Desk::new();
    assert!(with_canary(&desk.world, "packs").len() >= 10);
    let before: u64 = packs(&desk.world).iter().map(|meta| meta.bytes).sum();
    assert_eq!(engine.expire().unwrap().entries, 20);
    // What is not sealed yet does not count: the engine seals first.
    assert_eq!(engine.purge_due_bytes(), 0);
    engine.seal().unwrap();
    let due = engine.purge_due_bytes();
    let mut told = 0;
    let report = engine.purge(&mut |bytes| {
        told += bytes as u64;
        true
    });
    let report = report.unwrap();
    assert!(told > 0 && told <= due, "{told} of {due}");
    // Ten entries and one edit in each of two rooms.
    assert_eq!(report.dropped, 22);
    desk.check(&engine, &(11..=20).collect::<Vec<_>>());
    assert_eq!(with_canary(&desk.world, "packs"), [] as [String; 0]);
    assert_eq!(purge(&engine), MergeReport::default(), "nothing is left to do");
    while engine.merge_next(&mut |_| true).unwrap().is_some() {}
    desk.check(&engine, &(11..=20).collect::<Vec<_>>());
    let metas = packs(&desk.world);
    assert_eq!(metas.iter().map(|meta| meta.dropped).sum::<u64>(), 22);
    assert!(metas.iter().map(|meta| meta.bytes).sum::<u64>() < before);
    let all: u64 = metas.iter().map(|meta| meta.records + meta.dropped).sum();
    assert_eq!(all, last_sealed(&desk.world), "each place of the log stands in one pack");
    let said = one(&engine, post(desk.ann, desk.rooms[0], "and on"));
    assert_eq!(said.seq, Seq(21));
    engine.close().unwrap();
    drop(engine);
    check_rebuilt(&desk);
}

fn last_sealed(world: &World) -> u64 {
    manifest::load(&Disk::new(Arc::new(world.sim.clone()))).unwrap().state.sealed.0
}

#[test]
fn a_room_of_which_everything_was_dropped_does_not_give_a_place_again() {
    let (desk, engine) = Desk::new();
    desk.world.clock.pass_us(30 * DAY);
    // The last record of the room is an edit of an entry that is about to go.
    let edited = Edited { seq: Seq(20), body: format!("late {CANARY}") };
    one(&engine, draft(desk.ann, desk.rooms[1], Payload::Edited(edited)));
    assert_eq!(engine.expire().unwrap().entries, 40);
    assert!(purge(&engine).dropped > 40);
    assert_eq!(with_canary(&desk.world, "packs"), [] as [String; 0]);
    desk.check(&engine, &[]);
    let heads: Vec<_> = desk.rooms.iter().map(|room| engine.head(*room).unwrap()).collect();
    engine.close().unwrap();
    drop(engine);
    check_rebuilt(&desk);
    let rebuilt = World { store: MemoryCatalog::default(), ..desk.world };
    let engine = rebuilt.open();
    for (room, head) in desk.rooms.iter().zip(heads) {
        assert_eq!(engine.head(*room).unwrap(), head);
    }
    assert_eq!(one(&engine, post(desk.ann, desk.rooms[1], "anew")).seq, Seq(21));
}

#[test]
fn a_key_that_is_remembered_keeps_its_record() {
    let (desk, engine) = Desk::new();
    let sent = || keyed(post(desk.ann, desk.rooms[0], &format!("keyed {CANARY}")), "again", 1);
    // An import says what was said long ago; the key is of today.
    let old = Draft { said: Said::At(TimeUs(START.0 + 19 * DAY + DAY / 4)), ..sent() };
    let first = one(&engine, old.clone());
    desk.world.clock.pass_us(DAY / 2);
    desk.keep_days(&engine, 1);
    assert_eq!(engine.expire().unwrap().entries, 41);
    purge(&engine);
    assert_eq!(one(&engine, old).lsn, first.lsn);
    assert_eq!(with_canary(&desk.world, "packs").len(), 1);
    // A look at retention a day later finds that the key is no longer needed.
    one(&engine, post(desk.ann, desk.rooms[1], "another"));
    desk.world.clock.pass_us(2 * DAY);
    assert_eq!(engine.expire().unwrap().entries, 1);
    purge(&engine);
    assert_eq!(with_canary(&desk.world, "packs"), [] as [String; 0]);
}

#[test]
fn a_key_leaves_also_with_a_pack_that_is_alone_in_its_day() {
    let (desk, engine) = Desk::new();
    merge(&engine);
    let key = "key-77ac10e4";
    one(&engine, keyed(post(desk.ann, desk.rooms[2], "with a key"), key, 7));
    engine.seal().unwrap();
    desk.world.clock.pass_us(3 * DAY);
    one(&engine, post(desk.ann, desk.rooms[0], "a record behind its window"));
    assert!(!files_with(&desk.world.sim, "packs", key).is_empty());
    let merged = merge(&engine);
    assert_eq!((merged.merges, merged.packs_in, merged.dropped), (1, 1, 0));
    assert_eq!(files_with(&desk.world.sim, "packs", key), [] as [String; 0]);
    assert_eq!(merge(&engine).merges, 0, "and it stays as it is then");
    drop(engine);
    check_rebuilt(&desk);
}

#[test]
fn a_key_that_nobody_remembers_leaves_with_the_next_merge() {
    for (compliance, pause) in [("off", 3), ("off", 0), ("on", 3)] {
        let (desk, engine) = Desk::new();
        desk.set(&engine, "compliance", compliance);
        let (room, key) = (desk.rooms[2], "key-9f31c07a");
        one(&engine, keyed(post(desk.ann, room, "with a key"), key, 7));
        engine.seal().unwrap();
        // Enough is recorded for the row of the key to go, if its window is over.
        desk.world.clock.pass_us(pause * DAY);
        for n in 0..11 {
            let posts = (0..100).map(|m| post(desk.ann, desk.rooms[0], &format!("later {n} {m}")));
            engine.append_and_wait(posts.collect()).unwrap();
        }
        engine.seal().unwrap();
        // The month is over: its packs merge.
        desk.world.clock.pass_us(40 * DAY);
        merge(&engine);
        if pause == 0 {
            // It waits for keys that are remembered.
            assert!(!files_with(&desk.world.sim, "packs", key).is_empty());
            one(&engine, post(desk.ann, desk.rooms[0], "a record behind their window"));
            assert!(merge(&engine).merges > 0);
        }
        let page = engine.page(room, Anchor::Last, 1).unwrap();
        // A compliance event repeats the record, key and all, so the record keeps it as well.
        let left = compliance == "off";
        assert_eq!(page.records[0].idempotency.is_none(), left, "{compliance} {pause}");
        assert_eq!(files_with(&desk.world.sim, "packs", key).is_empty(), left);
        drop(engine);
        check_rebuilt(&desk);
    }
}

fn merge(engine: &Engine) -> MergeReport {
    engine.merge(&mut |_| true).unwrap()
}

/// The events that compliance has.
fn events(world: &World) -> Vec<Lsn> {
    let (from, to) = (keys::event(Lsn::ZERO), keys::event(Lsn(u64::MAX)));
    let mut events = Vec::new();
    let all = &mut |key: &[u8], _: &[u8]| {
        events.push(Lsn(keys::number_at(key, 0)));
        Ok(Go::On)
    };
    world.store.range(Family::Compliance, &from, &to, Walk::Up, all).unwrap();
    events
}

#[test]
fn compliance_keeps_its_copy_for_its_own_time() {
    let (desk, engine) = Desk::new();
    desk.set(&engine, "compliance", "on");
    let from = events(&desk.world)[0];
    for day in 0..10 {
        one(&engine, post(desk.ann, desk.rooms[0], &format!("examined {day} {CANARY}")));
        desk.world.clock.pass_us(DAY);
    }
    desk.world.clock.pass_us(20 * DAY);
    assert_eq!(engine.expire().unwrap().entries, 50);
    // What was said before there were events goes, what has one stays.
    assert!(purge(&engine).dropped > 40);
    assert_eq!(events(&desk.world)[0], from);
    assert_eq!(with_canary(&desk.world, "packs").len(), 10, "a pack a day");
    // A hold from a time on keeps the events from there on.
    desk.set(&engine, "compliance-days", "25");
    let settings = HoldSettings { from: TimeUs(START.0 + 22 * DAY), ..hold_settings() };
    let placed =
        one(&engine, draft(desk.ann, RoomId::NONE, Payload::HoldPlaced(HoldPlaced { settings })));
    assert_eq!(engine.expire_events().unwrap(), 3, "compliance on, and two days");
    assert_eq!(purge(&engine).dropped, 2);
    let hold = HoldId::new(placed.epoch, placed.lsn);
    let settings = HoldSettings { from: TimeUs(START.0 + 22 * DAY), ..hold_settings() };
    let released = Payload::HoldReleased(HoldReleased { hold, settings });
    one(&engine, draft(desk.ann, RoomId::NONE, released));
    assert_eq!(engine.expire_events().unwrap(), 3, "the days up to the fifth");
    desk.world.clock.pass_us(40 * DAY);
    engine.expire_events().unwrap();
    assert_eq!(purge(&engine).dropped, 8);
    assert_eq!(with_canary(&desk.world, "packs"), [] as [String; 0]);
    engine.close().unwrap();
    drop(engine);
    check_rebuilt(&desk);
}

#[test]
fn packs_of_one_retention_class_stay_together_and_what_stays_for_ever_leaves_them() {
    let (desk, engine) = Desk::new();
    desk.world.clock.pass_us(2 * DAY);
    while engine.merge_next(&mut |_| true).unwrap().is_some() {}
    let disk = Disk::new(Arc::new(desk.world.sim.clone()));
    let rooms = |meta: &PackMeta| {
        let runs = PackFile::open(&disk, meta.id).unwrap().index().unwrap().runs;
        runs.into_iter().map(|run| run.room).collect::<Vec<_>>()
    };
    for meta in packs(&desk.world) {
        let brief = rooms(&meta).iter().any(|room| desk.rooms[..2].contains(room));
        let for_ever = rooms(&meta).iter().any(|room| !desk.rooms[..2].contains(room));
        match meta.class {
            10 => assert!(!for_ever && meta.level <= 2, "{meta:?}"),
            0 => assert!(!brief || meta.day.day() == START.day(), "rooms come to be: {meta:?}"),
            other => panic!("class {other}"),
        }
    }
    desk.world.clock.pass_us(40 * DAY);
    engine.expire().unwrap();
    purge(&engine);
    while engine.merge_next(&mut |_| true).unwrap().is_some() {}
    assert!(packs(&desk.world).iter().all(|meta| meta.class == 0));
    desk.check(&engine, &[]);
}

#[test]
fn a_purge_that_is_cut_off_anywhere_is_done_by_the_next() {
    let (desk, engine) = Desk::new();
    engine.expire().unwrap();
    engine.close().unwrap();
    drop(engine);
    let mut operation = 0;
    loop {
        operation += 1;
        let world = World {
            sim: desk.world.sim.crash(Survivors::Everything),
            store: desk.world.store.crash(),
            clock: Arc::clone(&desk.world.clock),
        };
        let engine = world.open();
        world.sim.arrange(operation, Trouble::Stop);
        let done = engine.purge(&mut |_| true);
        drop(engine);
        world.sim.calm();
        let mode = [Survivors::Nothing, Survivors::Everything, Survivors::Sectors(operation)];
        let survivors = mode[usize::try_from(operation % 3).unwrap()];
        let store = match operation % 4 {
            0 => MemoryCatalog::default(),
            _ => world.store.crash(),
        };
        let world = World { sim: world.sim.crash(survivors), store, clock: world.clock };
        let (engine, report) = world.try_open(Losses::Restrict).unwrap();
        assert!(report.holes.is_empty() && report.lost_messages == 0, "{operation}: {report:?}");
        let Desk { categories, rooms, ann, .. } = desk;
        let again = Desk { world, categories, rooms, ann };
        again.check(&engine, &(11..=20).collect::<Vec<_>>());
        purge(&engine);
        again.check(&engine, &(11..=20).collect::<Vec<_>>());
        assert_eq!(with_canary(&again.world, "packs"), [] as [String; 0], "{operation}");
        if done.is_ok() {
            break;
        }
    }
    assert!(operation > 60, "only {operation} operations");
}
