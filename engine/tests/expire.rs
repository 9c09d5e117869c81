//! Retention and legal holds: what expires, what a hold keeps, and who is told of what.
//!
//! The simulation mixes both with everything else; here each case stands alone.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use hansard_engine::apply::Applier;
use hansard_engine::catalog::memory::MemoryCatalog;
use hansard_engine::catalog::{CatalogStore, Family, Go, Visit, keys, walk_prefix};
use hansard_engine::draft::Draft;
use hansard_engine::error::{ConflictCode, Error};
use hansard_engine::expire::ExpireReport;
use hansard_engine::format::payload::*;
use hansard_engine::format::record::Record;
use hansard_engine::format::run::BlockRef;
use hansard_engine::manifest;
use hansard_engine::open::{Drive, Losses, open_on, system_actor};
use hansard_engine::pack::PackFile;
use hansard_engine::reads::{Anchor, CategoryRequest, Gap, GapReason, Order};
use hansard_engine::storage::Disk;
use hansard_engine::storage::clock::{Clock, SimClock};
use hansard_engine::storage::sim::Survivors;
use hansard_engine::types::*;
use hansard_engine::{Engine, Options};
use support::*;

const DAY: i64 = TimeUs::DAY_US;

/// A room whose category keeps ten days: an entry a day of 20 days, in turn by two authors.
struct Desk {
    world: World,
    category: CategoryId,
    room: RoomId,
    ann: PrincipalId,
    bob: PrincipalId,
    first: TimeUs,
}

impl Desk {
    fn new() -> (Self, Engine) {
        let world = World::new();
        let engine = world.open();
        let category = make_category(&engine, "Desk");
        let room = make_room(&engine, category, "trades");
        let (ann, bob) = (make_user(&engine, "ann"), make_user(&engine, "bob"));
        let first = world.clock.now();
        for day in 0..20 {
            let author = if day % 2 == 0 { ann } else { bob };
            one(&engine, post(author, room, &format!("day {day}")));
            world.clock.pass_us(DAY);
        }
        (Self { world, category, room, ann, bob, first }, engine)
    }

    fn keep_days(&self, engine: &Engine, days: u32) {
        self.keep(engine, Retention { days, ..Retention::ALL });
    }

    /// The room says itself how much is kept, or nothing.
    fn keep_of_room(&self, engine: &Engine, retention: Option<Retention>) {
        let settings = RoomSettings { retention, ..room_settings(self.category, "trades") };
        one(engine, draft(self.ann, self.room, Payload::RoomChanged(RoomChanged { settings })));
    }

    fn keep(&self, engine: &Engine, retention: Retention) {
        let mut settings = category_settings("Desk");
        settings.retention = retention;
        let changed = CategoryChanged { category: self.category, settings };
        one(engine, draft(self.ann, RoomId::NONE, Payload::CategoryChanged(changed)));
    }

    fn hold(&self, engine: &Engine, change: impl FnOnce(&mut HoldSettings)) -> HoldId {
        let mut settings = hold_settings();
        change(&mut settings);
        let placed = Payload::HoldPlaced(HoldPlaced { settings });
        let done = one(engine, draft(self.ann, RoomId::NONE, placed));
        HoldId::new(done.epoch, done.lsn)
    }

    fn release(&self, engine: &Engine, hold: HoldId) {
        let settings =
            engine.holds().unwrap().into_iter().find(|row| row.id == hold).unwrap().settings;
        let released = Payload::HoldReleased(HoldReleased { hold, settings });
        one(engine, draft(self.ann, RoomId::NONE, released));
    }

    /// The entries there are, by every way to read them, which must agree.
    fn there(&self, engine: &Engine) -> Vec<u64> {
        let page = engine.page(self.room, Anchor::At(Seq(1)), 500).unwrap();
        let found: Vec<u64> = page.records.iter().map(|record| record.seq.0).collect();
        let floor = found.first().map_or(20, |first| first - 1);
        let gone = Gap {
            room: self.room,
            from_seq: Seq(1),
            to_seq: Seq(floor),
            reason: GapReason::Expired,
        };
        let gone = if floor > 0 { vec![gone] } else { Vec::new() };
        assert_eq!(page.gaps, gone);
        let last = engine.page(self.room, Anchor::Last, 500).unwrap();
        assert_eq!((&last.records, &last.gaps), (&page.records, &gone));
        let around = engine.page(self.room, Anchor::Around(Seq(8)), 500).unwrap();
        assert_eq!((&around.records, &around.gaps), (&page.records, &gone));
        let by_time = engine.page(self.room, Anchor::AtTime(TimeUs::FLOOR), 500).unwrap();
        assert_eq!(by_time.records, page.records);
        let before = engine.page(self.room, Anchor::Before(Seq(floor + 1)), 5).unwrap();
        assert_eq!((before.records.len(), before.older), (0, None));
        let changes = engine.changes(self.room, Rev::ZERO, 500).unwrap();
        let posts = changes.records.iter().filter(|record| record.seq > Seq::ZERO);
        assert!(posts.map(|record| record.seq.0).eq(found.iter().copied()));
        assert!(changes.holes.is_empty());
        for order in [Order::Ascending, Order::Descending] {
            let request = CategoryRequest {
                category: self.category,
                from: TimeUs::MIN,
                to: TimeUs::MAX,
                order,
                cursor: None,
                limit: 500,
            };
            let mut page = engine.category_page(&request, &mut |_| true).unwrap();
            page.records.sort_by_key(|record| record.seq);
            assert_eq!(page.records, last.records, "{order:?}");
        }
        for seq in 1..=20 {
            assert_eq!(engine.entry(self.room, Seq(seq)).unwrap().is_some(), found.contains(&seq));
            assert_eq!(
                engine.versions(self.room, Seq(seq)).unwrap().is_some(),
                found.contains(&seq)
            );
        }
        found
    }
}

fn from(seq: u64) -> Vec<u64> {
    (seq..=20).collect()
}

#[test]
fn entries_that_are_too_many_expire() {
    for sealed in [false, true] {
        let (desk, engine) = Desk::new();
        if sealed {
            engine.seal().unwrap();
        }
        desk.keep(&engine, Retention { entries: 20, ..Retention::ALL });
        assert_eq!(engine.expire().unwrap(), ExpireReport::default());
        desk.keep(&engine, Retention { entries: 7, ..Retention::ALL });
        assert_eq!(engine.expire().unwrap(), ExpireReport { rooms: 1, entries: 13, held: 0 });
        assert_eq!(desk.there(&engine), from(14));
        // Whichever takes more counts; a day has passed since the newest.
        desk.keep(&engine, Retention { days: 5, entries: 7, bytes: 0 });
        assert_eq!(engine.expire().unwrap().entries, 2);
        assert_eq!(desk.there(&engine), from(16));
        one(&engine, post(desk.ann, desk.room, "one more"));
        desk.keep(&engine, Retention { entries: 3, ..Retention::ALL });
        assert_eq!(engine.expire().unwrap().entries, 3);
        let page = engine.page(desk.room, Anchor::Last, 50).unwrap();
        assert_eq!(page.records.iter().map(|r| r.seq.0).collect::<Vec<_>>(), [19, 20, 21]);
    }
}

#[test]
fn blocks_that_take_too_many_bytes_expire() {
    let (desk, engine) = Desk::new();
    // Text that no dictionary has: three entries make a block.
    let noise = |nth: u32| {
        let words =
            (0..400u32).map(|at| format!("{:08x}", (nth * 1000 + at).wrapping_mul(0x9e37_79b1)));
        words.collect::<String>()
    };
    for nth in 0..30 {
        one(&engine, post(desk.bob, desk.room, &noise(nth)));
    }
    desk.keep(&engine, Retention { bytes: 1, ..Retention::ALL });
    assert_eq!(engine.expire().unwrap().rooms, 0, "what is in no pack does not count");
    engine.seal().unwrap();
    desk.keep(&engine, Retention { bytes: 1 << 20, ..Retention::ALL });
    assert_eq!(engine.expire().unwrap().rooms, 0);
    let disk = Disk::new(Arc::new(desk.world.sim.clone()));
    let ends = || {
        let packs = manifest::load(&disk).unwrap().state.packs;
        let runs =
            packs.keys().flat_map(|id| PackFile::open(&disk, *id).unwrap().index().unwrap().runs);
        let own: Vec<_> = runs.filter(|run| run.room == desk.room).collect();
        let blocks = own.iter().flat_map(|run| {
            let end = |at: usize| (run.block_last_seq(at).0, u64::from(run.blocks[at].bytes));
            (0..run.blocks.len()).map(end).collect::<Vec<_>>()
        });
        blocks.collect::<Vec<_>>()
    };
    let blocks = ends();
    assert!(blocks.len() > 5, "{blocks:?}");
    let newest: u64 = blocks.iter().rev().take(3).map(|(_, bytes)| bytes).sum();
    desk.keep(&engine, Retention { bytes: newest, ..Retention::ALL });
    let floor = blocks[blocks.len() - 4].0;
    assert_eq!(engine.expire().unwrap().entries, floor);
    let page = engine.page(desk.room, Anchor::At(Seq(1)), 500).unwrap();
    assert_eq!(page.records[0].seq.0, floor + 1);
    assert_eq!(engine.expire().unwrap(), ExpireReport::default());
    // However little is kept, the newest block is.
    desk.keep(&engine, Retention { bytes: 1, ..Retention::ALL });
    engine.expire().unwrap();
    let page = engine.page(desk.room, Anchor::Last, 500).unwrap();
    assert_eq!(page.records[0].seq.0, blocks[blocks.len() - 2].0 + 1);
}

/// Of a bundle a room has its part, and not what the others said.
#[test]
fn what_small_rooms_take_is_counted_without_their_neighbours() {
    let (desk, engine) = Desk::new();
    engine.seal().unwrap();
    let others: Vec<RoomId> =
        (0..6).map(|nth| make_room(&engine, desk.category, &format!("next door {nth}"))).collect();
    for nth in 0..5 {
        for room in others.iter().chain([&desk.room]) {
            one(&engine, post(desk.bob, *room, &format!("said {nth} there")));
        }
        engine.seal().unwrap();
    }
    let disk = Disk::new(Arc::new(desk.world.sim.clone()));
    let packs = manifest::load(&disk).unwrap().state.packs;
    let runs =
        packs.keys().flat_map(|id| PackFile::open(&disk, *id).unwrap().index().unwrap().runs);
    let own: Vec<_> = runs.filter(|run| run.room == desk.room).flat_map(|run| run.blocks).collect();
    let sum = |of: fn(&BlockRef) -> u32| own.iter().map(|block| u64::from(of(block))).sum::<u64>();
    let (share, bytes) = (sum(|block| block.share), sum(|block| block.bytes));
    assert!(own.len() > 5 && bytes > share, "{share} of {bytes}");
    desk.keep(&engine, Retention { bytes: share, ..Retention::ALL });
    assert_eq!(engine.expire().unwrap().entries, 0);
    desk.keep(&engine, Retention { bytes: share - 1, ..Retention::ALL });
    assert!(engine.expire().unwrap().entries > 0);
}

#[test]
fn what_a_room_says_counts_in_the_place_of_its_category() {
    let (desk, engine) = Desk::new();
    desk.keep_days(&engine, 10);
    desk.keep_of_room(&engine, Some(Retention::ALL));
    assert_eq!(engine.expire().unwrap(), ExpireReport::default(), "it keeps all");
    desk.keep_of_room(&engine, Some(Retention { days: 15, ..Retention::ALL }));
    assert_eq!(engine.expire().unwrap().entries, 5);
    assert_eq!(desk.there(&engine), from(6));
    // Sealed, it has the class of what it says; and goes on with its category when it says nothing.
    engine.seal().unwrap();
    let disk = Disk::new(Arc::new(desk.world.sim.clone()));
    let classes = || {
        let packs = manifest::load(&disk).unwrap().state.packs;
        packs.values().map(|meta| meta.class).collect::<BTreeSet<_>>()
    };
    assert!(classes().contains(&15) && !classes().contains(&10), "{:?}", classes());
    desk.keep_of_room(&engine, None);
    assert_eq!(engine.expire().unwrap().entries, 5);
    assert_eq!(desk.there(&engine), from(11));
    desk.keep_days(&engine, 0);
    desk.keep_of_room(&engine, Some(Retention { entries: 2, ..Retention::ALL }));
    assert_eq!(engine.expire().unwrap().entries, 8);
    assert_eq!(desk.there(&engine), from(19));
}

#[test]
fn what_is_older_than_the_category_keeps_expires_and_nothing_else() {
    for sealed in [false, true] {
        let (desk, engine) = Desk::new();
        if sealed {
            engine.seal().unwrap();
        }
        let edited = Edited { seq: Seq(3), body: "day 2, again".into() };
        one(&engine, draft(desk.ann, desk.room, Payload::Edited(edited)));
        let other = make_category(&engine, "Other");
        let apart = make_room(&engine, other, "apart");
        one(&engine, post(desk.ann, apart, "kept for ever"));
        assert_eq!(engine.expire().unwrap(), ExpireReport::default(), "no category says so");
        assert_eq!(desk.there(&engine), from(1));
        desk.keep_days(&engine, 10);
        assert_eq!(engine.expire().unwrap(), ExpireReport { rooms: 1, entries: 10, held: 0 });
        assert_eq!(desk.there(&engine), from(11));
        assert_eq!(engine.expire().unwrap(), ExpireReport::default(), "once");
        desk.world.clock.pass_us(3 * DAY);
        assert_eq!(engine.expire().unwrap().entries, 3);
        // An edit of what is gone is refused, as of what never was.
        for seq in [13, 21] {
            let edited = Edited { seq: Seq(seq), body: "x".into() };
            let refused =
                engine.append_and_wait(vec![draft(desk.ann, desk.room, Payload::Edited(edited))]);
            assert!(matches!(refused, Err(Error::NotFound { what: "entry" })), "{refused:?}");
        }
        // After a kill, a power cut, and with the catalog gone.
        let rebuilt = |world: &World, forget: bool| World {
            sim: world.sim.crash(Survivors::Nothing),
            store: if forget { MemoryCatalog::default() } else { world.store.crash() },
            clock: Arc::new(SimClock::at(world.clock.now())),
        };
        engine.seal().unwrap();
        drop(engine);
        for forget in [false, true] {
            let world = rebuilt(&desk.world, forget);
            let engine = world.open();
            assert_eq!(desk.there(&engine), from(14), "sealed={sealed} forget={forget}");
            let next = one(&engine, post(desk.ann, desk.room, "on"));
            assert_eq!(next.seq, Seq(21), "places are not given again");
        }
    }
}

#[test]
fn a_room_of_which_everything_is_gone_goes_on_where_it_was() {
    let (desk, engine) = Desk::new();
    desk.keep_days(&engine, 1);
    desk.world.clock.pass_us(2 * DAY);
    assert_eq!(engine.expire().unwrap().entries, 20);
    let page = engine.page(desk.room, Anchor::Last, 50).unwrap();
    assert_eq!((page.records.len(), page.older, page.newer), (0, None, None));
    assert_eq!((page.gaps[0].to_seq, page.gaps[0].reason), (Seq(20), GapReason::Expired));
    assert_eq!(one(&engine, post(desk.ann, desk.room, "on")).seq, Seq(21));
    let page = engine.page(desk.room, Anchor::Last, 50).unwrap();
    assert_eq!(page.records.len(), 1);
}

#[test]
fn a_hold_keeps_what_it_names_and_what_is_behind_it() {
    // Ten days are kept of twenty: 1 to 10 are due. Entry n was said on day n - 1.
    type Change = fn(&Desk, &mut HoldSettings);
    let day = |desk: &Desk, day: i64| desk.first.saturating_add_us(day * DAY);
    let holds: [(&str, Change, u64); 9] = [
        ("everything", |_, _| {}, 1),
        ("the room", |desk, hold| hold.room = desk.room, 1),
        ("the category", |desk, hold| hold.category = desk.category, 1),
        ("an author", |desk, hold| hold.principal = desk.bob, 2),
        (
            "an author in the room",
            |desk, hold| (hold.room, hold.principal) = (desk.room, desk.bob),
            2,
        ),
        ("from a time on", |desk, hold| hold.from = desk.first.saturating_add_us(4 * DAY), 5),
        (
            "an author in a span",
            |desk, hold| {
                hold.principal = desk.ann;
                hold.from = desk.first.saturating_add_us(5 * DAY);
                hold.to = desk.first.saturating_add_us(9 * DAY);
            },
            7,
        ),
        (
            "a span that is not due",
            |desk, hold| hold.from = desk.first.saturating_add_us(15 * DAY),
            11,
        ),
        (
            "a span in which nothing was said",
            |desk, hold| {
                hold.from = desk.first.saturating_add_us(3 * DAY + DAY / 4);
                hold.to = desk.first.saturating_add_us(3 * DAY + DAY / 2);
            },
            11,
        ),
    ];
    for (what, change, first) in holds {
        let (desk, engine) = Desk::new();
        let hold = desk.hold(&engine, |hold| change(&desk, hold));
        desk.keep_days(&engine, 10);
        let report = engine.expire().unwrap();
        assert_eq!((report.entries, report.held), (first - 1, u64::from(first < 11)), "{what}");
        assert_eq!(desk.there(&engine), from(first), "{what}");
        assert_eq!(engine.holds().unwrap().len(), 1);
        desk.release(&engine, hold);
        assert_eq!(engine.expire().unwrap().entries, 11 - first, "{what}: released");
        assert_eq!(desk.there(&engine), from(11), "{what}");
    }
    // Of two holds the one that keeps more counts; another room's does not.
    let (desk, engine) = Desk::new();
    let other = make_room(&engine, desk.category, "other");
    desk.hold(&engine, |hold| hold.room = other);
    desk.hold(&engine, |hold| hold.from = day(&desk, 7));
    desk.hold(&engine, |hold| hold.from = day(&desk, 5));
    desk.keep_days(&engine, 10);
    engine.expire().unwrap();
    assert_eq!(desk.there(&engine), from(6));
}

/// More rooms than are looked at, or recorded, at once: every one loses what is due and no more.
#[test]
fn entries_of_very_many_rooms_expire() {
    const ROOMS: usize = 1_300;
    let world = World::new();
    // An append of as many records as retention makes at once stands in a file of it.
    let options = Options { journal_file_bytes: 1 << 20, ..options() };
    let engine = open_on(world.ground(), options, Drive::Steps, Losses::Restrict).unwrap().0;
    let category = make_category(&engine, "Desk");
    let ann = make_user(&engine, "ann");
    let append = |drafts: Vec<Draft>| -> Vec<RoomId> {
        let parts = drafts.chunks(50).map(<[Draft]>::to_vec);
        let appended = parts.flat_map(|part| engine.append_and_wait(part).unwrap());
        appended.map(|one| one.room).collect()
    };
    let made = |at| {
        let settings = room_settings(category, &format!("room {at}"));
        draft(ann, RoomId::NONE, Payload::RoomCreated(RoomCreated { settings }))
    };
    let rooms = append((0..ROOMS).map(made).collect());
    let (mut said, mut entries) = (vec![0; ROOMS], 0);
    for (skipped, sealed) in [(5, true), (7, false)] {
        let mut posts = Vec::new();
        for (at, room) in rooms.iter().enumerate().filter(|(at, _)| at % skipped > 0) {
            posts.extend((0..=at % 3).map(|n| post(ann, *room, &format!("{n} of {at}"))));
            said[at] += 1 + at % 3;
        }
        entries += append(posts).len();
        if sealed {
            engine.seal().unwrap();
        }
    }
    world.clock.pass_us(DAY + 1);
    let young: Vec<usize> = (0..ROOMS).filter(|at| at % 4 == 0).collect();
    append(young.iter().map(|at| post(ann, rooms[*at], "young")).collect());
    let mut settings = category_settings("Desk");
    settings.retention = Retention { days: 1, ..Retention::ALL };
    let changed = Payload::CategoryChanged(CategoryChanged { category, settings });
    one(&engine, draft(ann, RoomId::NONE, changed));
    let of_rooms = said.iter().filter(|said| **said > 0).count() as u64;
    assert!(of_rooms > 1_024 && of_rooms < ROOMS as u64);
    let report = engine.expire().unwrap();
    assert_eq!(report, ExpireReport { rooms: of_rooms, entries: entries as u64, held: 0 });
    assert_eq!(engine.expire().unwrap(), ExpireReport::default());
    for (at, room) in rooms.iter().enumerate() {
        let page = engine.page(*room, Anchor::Last, 50).unwrap();
        let left: Vec<u64> = page.records.iter().map(|record| record.seq.0).collect();
        let young = young.contains(&at).then_some(said[at] as u64 + 1);
        assert_eq!(left, young.into_iter().collect::<Vec<_>>(), "room {at}");
    }
}

#[test]
fn a_hold_that_is_placed_after_the_look_sends_the_record_back() {
    let (desk, engine) = Desk::new();
    desk.keep_days(&engine, 10);
    let seen = engine.directory().applied();
    let due = engine.due_to_expire().unwrap().remove(0).expired.unwrap();
    desk.hold(&engine, |hold| hold.room = desk.room);
    let mut late = draft(PrincipalId::SYSTEM, desk.room, Payload::Expired(due.clone()));
    late.checked_at = seen;
    let refused = engine.append_and_wait(vec![late.clone()]);
    assert!(matches!(refused, Err(Error::PolicyChanged { .. })), "{refused:?}");
    // And nobody but the server takes anything away.
    late.actor.id = desk.ann;
    late.checked_at = engine.directory().applied();
    let refused = engine.append_and_wait(vec![late]);
    assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
    assert_eq!(desk.there(&engine), from(1));
}

#[test]
fn a_room_does_not_move_out_of_a_hold() {
    let (desk, engine) = Desk::new();
    let hold = desk.hold(&engine, |hold| hold.category = desk.category);
    let other = make_category(&engine, "Other");
    let moved = |engine: &Engine| {
        let settings = room_settings(other, "trades");
        let moved = Payload::RoomChanged(RoomChanged { settings });
        engine.append_and_wait(vec![draft(desk.ann, desk.room, moved)])
    };
    let refused = moved(&engine);
    let held = matches!(refused, Err(Error::Conflict { code: ConflictCode::Held, .. }));
    assert!(held, "{refused:?}");
    desk.release(&engine, hold);
    moved(&engine).unwrap();
}

#[test]
fn nothing_expires_while_the_clock_is_in_doubt() {
    let (desk, engine) = Desk::new();
    desk.keep_days(&engine, 365);
    desk.world.clock.step_us(4_000 * DAY);
    let refused = engine.expire();
    assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
    desk.world.clock.step_us(-4_000 * DAY);
    assert_eq!(engine.expire().unwrap(), ExpireReport::default());
    assert_eq!(desk.there(&engine), from(1));
}

/// The first record of a room that says so.
fn at(lsn: u64, seq: u64, payload: Payload) -> Record {
    Record {
        epoch: Epoch::FIRST,
        lsn: Lsn(lsn),
        recorded: TimeUs(5),
        time: TimeUs(5),
        room: RoomId(900),
        seq: Seq(seq),
        rev: Rev(lsn),
        actor: system_actor(),
        policy: Lsn::ZERO,
        idempotency: None,
        payload,
    }
}

#[test]
fn what_is_noted_as_lost_goes_with_the_entries_also_after_a_restart() {
    for restarted in [false, true] {
        let store = Arc::new(MemoryCatalog::default());
        let applier = || Applier::new(Arc::clone(&store) as Arc<dyn CatalogStore>).unwrap();
        let lost = |at: &Arc<MemoryCatalog>| {
            let mut rows = 0;
            let count: Visit<'_> = &mut |_, _| {
                rows += 1;
                Ok(Go::On)
            };
            walk_prefix(&**at, Family::State, keys::LOST, count).unwrap();
            rows
        };
        let mut now = applier();
        let apply = |applier: &mut Applier, record: &Record| {
            applier.apply(record, &record.to_bytes()).unwrap();
            applier.commit_all().unwrap();
        };
        for n in 1..=3 {
            apply(&mut now, &at(n, n, Payload::Lost(Lost { kind: 0 })));
        }
        assert_eq!(lost(&store), 3);
        if restarted {
            now = applier();
        }
        let expired = Expired { floor: Seq(2), time: TimeUs(5) };
        apply(&mut now, &at(4, 0, Payload::Expired(expired)));
        assert_eq!(lost(&store), 1, "restarted={restarted}");
    }
}
