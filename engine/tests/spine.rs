//! The engine's path, end to end on the simulated ground: append, read, seal, reopen.
//!
//! Reads are compared before and after sealing, reopening and mixing both: the answer must not
//! depend on where a record stands.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use hansard_engine::catalog::rows::HeadRow;
use hansard_engine::error::{ConflictCode, Error};
use hansard_engine::format::payload::*;
use hansard_engine::reads::{Anchor, CategoryCursor, CategoryRequest, Order, Page};
use hansard_engine::storage::clock::Clock;
use hansard_engine::types::*;
use hansard_engine::{Engine, Health};
use support::*;

const LONG: &str = "a text long enough to fill blocks soon, for then there are several of them";

fn bodies(page: &Page) -> Vec<String> {
    page.records.iter().map(|r| body(r).to_owned()).collect()
}

fn numbers(from: u64, to: u64) -> Vec<String> {
    (from..=to).map(|n| format!("{n} {LONG}")).collect()
}

/// 300 posts: sealed, then in the tail, with a member change between.
fn filled() -> (World, Engine, RoomId) {
    let world = World::new();
    let engine = world.open();
    let category = make_category(&engine, "General");
    let room = make_room(&engine, category, "Lobby");
    let ann = make_user(&engine, "ann");
    for n in 1..=300u64 {
        world.clock.pass_us(1_000_000);
        one(&engine, post(ann, room, &format!("{n} {LONG}")));
        if n % 50 == 0 {
            let set = MemberSet { principal: ann, roles: Roles::MEMBER };
            one(&engine, draft(ann, room, Payload::MemberSet(set)));
        }
        if n == 100 || n == 220 {
            engine.seal().unwrap();
        }
    }
    (world, engine, room)
}

fn check_reads(engine: &Engine, room: RoomId) {
    let page = |at, limit| {
        let page = engine.page(room, at, limit).unwrap();
        let entries = engine.entries(room, at, limit).unwrap();
        let words = entries.entries.iter().map(|entry| entry.body().unwrap().to_owned());
        assert!(words.eq(bodies(&page)), "{at:?}");
        page
    };
    let last = page(Anchor::Last, 50);
    assert_eq!(bodies(&last), numbers(251, 300));
    assert_eq!((last.older, last.newer), (Some(Seq(251)), None));
    assert_eq!(bodies(&page(Anchor::Before(Seq(251)), 200)), numbers(51, 250));
    assert_eq!(page(Anchor::Before(Seq(1)), 5), Page { newer: Some(Seq(0)), ..Page::default() });
    assert_eq!(bodies(&page(Anchor::After(Seq(95)), 10)), numbers(96, 105));
    assert_eq!(bodies(&page(Anchor::At(Seq(215)), 10)), numbers(215, 224));
    assert_eq!(bodies(&page(Anchor::Around(Seq(100)), 10)), numbers(95, 104));
    assert_eq!(bodies(&page(Anchor::Between(Seq(98), Seq(103)), 100)), numbers(98, 103));
    for n in [1u64, 2, 99, 100, 101, 150, 220, 221, 300] {
        let time = TimeUs(START.0 + i64::try_from(n).unwrap() * 1_000_000);
        let first = page(Anchor::AtTime(time), 1);
        assert_eq!(bodies(&first), numbers(n, n), "at the time of {n}");
        let first = page(Anchor::AtTime(TimeUs(time.0 - 999_999)), 1);
        assert_eq!(bodies(&first), numbers(n, n), "just behind the time of {}", n - 1);
        assert_eq!(engine.entry(room, Seq(n)).unwrap().map(|r| r.seq), Some(Seq(n)));
    }
    let none = page(Anchor::AtTime(TimeUs::CEILING), 5);
    assert!(none.records.is_empty() && none.gaps.is_empty());
    assert_eq!(none.newer, None);
    assert_eq!(engine.entry(room, Seq(301)).unwrap(), None);
    check_walks(engine, room);
}

fn check_walks(engine: &Engine, room: RoomId) {
    let mut seen = Vec::new();
    let mut at = Anchor::Last;
    loop {
        let page = engine.page(room, at, 37).unwrap();
        assert!(page.gaps.is_empty(), "{:?}", page.gaps);
        seen.extend(page.records.iter().rev().map(|r| r.seq.0));
        match page.older {
            Some(seq) => at = Anchor::Before(seq),
            None => break,
        }
    }
    assert_eq!(seen, (1..=300).rev().collect::<Vec<_>>(), "backwards, each once");
    let mut revs = Vec::new();
    let mut after = Rev::ZERO;
    loop {
        let changes = engine.changes(room, after, 33).unwrap();
        assert!(changes.holes.is_empty(), "{:?}", changes.holes);
        revs.extend(changes.records.iter().map(|r| r.rev.0));
        after = changes.through;
        if after == changes.head {
            break;
        }
    }
    assert_eq!(revs, (1..=307).collect::<Vec<_>>(), "creation, posts and members, each once");
}

#[test]
fn reads_do_not_depend_on_where_a_record_stands() {
    let (world, engine, room) = filled();
    check_reads(&engine, room);
    engine.seal().unwrap();
    check_reads(&engine, room);
    engine.close().unwrap();
    drop(engine);
    let engine = world.open();
    check_reads(&engine, room);
}

/// Entries said at one moment, moments without any, and blocks of nothing but changes.
#[test]
fn a_moment_is_found_wherever_it_stands() {
    let world = World::new();
    let engine = world.open();
    let category = make_category(&engine, "General");
    let room = make_room(&engine, category, "Lobby");
    let ann = make_user(&engine, "ann");
    let mut times = Vec::new();
    for turn in 0..40 {
        world.clock.pass_us(10);
        let posts = (0..1 + turn * 7 % 5).map(|n| post(ann, room, &format!("{turn} {n} {LONG}")));
        engine.append_and_wait(posts.clone().collect()).unwrap();
        times.extend(posts.map(|_| world.clock.now()));
        // More than a block of them now and then.
        for _ in 0..if turn % 10 == 9 { 20 } else { turn % 3 } {
            let set = Payload::MemberSet(MemberSet { principal: ann, roles: Roles::MEMBER });
            engine.append_and_wait(vec![draft(ann, room, set); 50]).unwrap();
        }
    }
    let end = world.clock.now();
    let check = || {
        for moment in START.0 - 1..=end.0 + 1 {
            let page = engine.page(room, Anchor::AtTime(TimeUs(moment)), 1).unwrap();
            let found = page.records.first().map(|record| record.seq.0);
            let at = times.iter().position(|time| time.0 >= moment);
            assert_eq!(found, at.map(|at| at as u64 + 1), "{moment}");
        }
    };
    check();
    engine.seal().unwrap();
    assert_eq!(engine.stats().seals.get(), 1, "all but the last page in blocks");
    check();
}

#[test]
fn a_rooms_head_does_not_depend_on_where_its_records_stand() {
    let world = World::new();
    let engine = world.open();
    let category = make_category(&engine, "General");
    let ann = make_user(&engine, "ann");
    let rooms = ["empty", "posts", "posts and a change", "a change in a pack of its own"];
    let rooms = rooms.map(|name| make_room(&engine, category, name));
    let change = |room| {
        let set = MemberSet { principal: ann, roles: Roles::MEMBER };
        one(&engine, draft(ann, room, Payload::MemberSet(set)));
    };
    for n in 1..=40_u64 {
        for room in rooms.into_iter().skip(1) {
            world.clock.pass_us(1_000_000);
            one(&engine, post(ann, room, &format!("{n} {LONG}")));
        }
    }
    change(rooms[2]);
    engine.seal().unwrap();
    change(rooms[3]);
    let heads = |engine: &Engine| rooms.map(|room| engine.head(room).unwrap());
    let said = heads(&engine);
    let last = |head: &HeadRow| (head.seq.0, head.rev.0);
    assert_eq!(said.each_ref().map(last), [(0, 1), (40, 41), (40, 42), (40, 42)]);
    assert!(said[1].time < said[2].time && said[2].time < said[3].time, "{said:?}");
    engine.seal().unwrap();
    assert_eq!(heads(&engine), said, "sealed");
    engine.close().unwrap();
    drop(engine);
    assert_eq!(heads(&world.open()), said, "opened again");
}

#[test]
fn an_unclosed_engine_reopens_from_its_journal() {
    let (world, engine, room) = filled();
    drop(engine);
    let store = world.store.crash();
    let world = World { store, ..world };
    let (engine, report) = world.try_open(hansard_engine::open::Losses::Restrict).unwrap();
    assert!(report.replayed > 0 && !report.clean && report.holes.is_empty());
    check_reads(&engine, room);
    let more = one(&engine, post(PrincipalId::SYSTEM, room, "after"));
    assert_eq!(more.seq, Seq(301));
}

#[test]
fn a_closed_engine_says_so_and_its_journal_is_trimmed_by_seals() {
    let (world, engine, _) = filled();
    engine.seal().unwrap();
    engine.close().unwrap();
    drop(engine);
    let (_, report) = world.try_open(hansard_engine::open::Losses::Restrict).unwrap();
    assert!(report.clean);
    assert_eq!(report.replayed, 0);
    let journal = world.sim.files().iter().filter(|f| f.ends_with(".journal")).count();
    assert!(journal <= 8, "{journal} files");
}

#[test]
fn names_keys_and_imports_are_decided_in_log_order() {
    let world = World::new();
    let engine = world.open();
    let category = make_category(&engine, "General");
    let room = make_room(&engine, category, "Lobby");
    let create = |name: &str| {
        let settings = room_settings(category, name);
        let payload = Payload::RoomCreated(RoomCreated { settings });
        engine.append_and_wait(vec![draft(PrincipalId::SYSTEM, RoomId::NONE, payload)])
    };
    let taken = create("LOBBY").unwrap_err();
    assert!(matches!(taken, Error::Conflict { code: ConflictCode::NameUnavailable, .. }));
    let ann = make_user(&engine, "ann");
    let first = one(&engine, keyed(post(ann, room, "x"), "k", 1));
    let again = one(&engine, keyed(post(ann, room, "x"), "k", 1));
    assert_eq!((again.lsn, again.replayed), (first.lsn, true));
    let other = engine.append_and_wait(vec![keyed(post(ann, room, "y"), "k", 2)]);
    assert!(matches!(other, Err(Error::Conflict { code: ConflictCode::KeyReused, .. })));
    let progress = |from, bytes| {
        Payload::ImportProgress(ImportProgress {
            format: "irc-log".into(),
            source: "a.log".into(),
            from,
            bytes,
            digest: [0; 32],
            done: false,
        })
    };
    one(&engine, draft(ann, room, progress(0, 10)));
    let repeated = engine.append_and_wait(vec![draft(ann, room, progress(0, 20))]);
    assert!(matches!(repeated, Err(Error::Conflict { code: ConflictCode::ImportProgress, .. })));
    one(&engine, draft(ann, room, progress(10, 20)));
    let mut old = post(ann, room, "old");
    old.said = hansard_engine::draft::Said::At(TimeUs(5));
    let backwards = engine.append_and_wait(vec![post(ann, room, "fine"), old]);
    assert!(matches!(backwards, Err(Error::Conflict { code: ConflictCode::TimeBackwards, .. })));
    assert_eq!(engine.head(room).unwrap().seq, Seq(1), "all or nothing");
    drop(engine);
    let world = World { store: world.store.crash(), ..world };
    let engine = world.open();
    let replay = one(&engine, keyed(post(ann, room, "x"), "k", 1));
    assert_eq!((replay.lsn, replay.replayed), (first.lsn, true), "also after a crash");
}

#[test]
fn a_draft_checked_before_a_change_of_rights_is_sent_back() {
    let world = World::new();
    let engine = world.open();
    let category = make_category(&engine, "General");
    let room = make_room(&engine, category, "Lobby");
    let ann = make_user(&engine, "ann");
    let checked = engine.directory().applied();
    let removal = Payload::MemberRemoved(MemberRemoved { principal: ann });
    let removed = one(&engine, draft(PrincipalId::SYSTEM, room, removal));
    let mut late = post(ann, room, "still here?");
    late.checked_at = checked;
    match engine.append_and_wait(vec![late.clone()]) {
        Err(Error::PolicyChanged { changed }) => assert_eq!(changed, removed.lsn),
        other => panic!("{other:?}"),
    }
    late.checked_at = engine.directory().applied();
    assert!(engine.append_and_wait(vec![late]).is_ok());
}

#[test]
fn a_category_by_time_is_that_of_the_rooms_it_has_now() {
    let world = World::new();
    let engine = world.open();
    let (here, there) = (make_category(&engine, "Here"), make_category(&engine, "There"));
    let rooms: Vec<RoomId> =
        (0..5).map(|n| make_room(&engine, here, &format!("room {n}"))).collect();
    let ann = make_user(&engine, "ann");
    for n in 0..400i64 {
        world.clock.pass_us(60_000_000);
        let room = rooms[usize::try_from(n * 7 % 5).unwrap()];
        one(&engine, post(ann, room, &format!("{n} {LONG}")));
        if n == 150 || n == 300 {
            engine.seal().unwrap();
        }
        if n == 200 {
            let settings = room_settings(there, "room 2");
            let change = Payload::RoomChanged(RoomChanged { settings });
            one(&engine, draft(PrincipalId::SYSTEM, rooms[2], change));
        }
    }
    let expect = |in_there: bool, from: i64, to: i64| -> Vec<i64> {
        (from..to).filter(|n| (n * 7 % 5 == 2) == in_there).collect()
    };
    let at = |n: i64| TimeUs(START.0 + (n + 1) * 60_000_000);
    for (category, in_there) in [(here, false), (there, true)] {
        for (from, to) in [(0, 400), (10, 60), (140, 160), (190, 310), (399, 400), (5, 5)] {
            for order in [Order::Ascending, Order::Descending] {
                let got = walk_category(&engine, category, at(from), at(to), order);
                let mut want = expect(in_there, from, to);
                if order == Order::Descending {
                    want.reverse();
                }
                assert_eq!(got, want, "{category} {from}..{to} {order:?}");
            }
        }
        stand_anywhere(&engine, category, (at(190), at(310)));
    }
}

/// A cursor is text that anybody can make up.
fn stand_anywhere(engine: &Engine, category: CategoryId, (from, to): (TimeUs, TimeUs)) {
    for order in [Order::Ascending, Order::Descending] {
        let all = walk_category(engine, category, from, to, order).len();
        assert!(all > 0);
        for time in [i64::MIN, from.0 - 1, to.0, to.0 + 1, i64::MAX].map(TimeUs) {
            let (room, seq, limit) = (RoomId(u64::MAX), Seq(u64::MAX), all + 1);
            let cursor = Some(CategoryCursor { time, room, seq });
            let request = CategoryRequest { category, from, to, order, cursor, limit };
            let page = engine.category_page(&request, &mut |_| true).unwrap();
            let behind = (time >= to) == (order == Order::Ascending);
            let expected = if behind { 0 } else { all };
            assert_eq!((page.records.len(), page.next), (expected, None), "{request:?}");
        }
    }
}

fn walk_category(
    engine: &Engine,
    category: CategoryId,
    from: TimeUs,
    to: TimeUs,
    order: Order,
) -> Vec<i64> {
    let mut request = CategoryRequest { category, from, to, order, cursor: None, limit: 23 };
    let mut got = Vec::new();
    loop {
        let page = engine.category_page(&request, &mut |_| true).unwrap();
        assert!(page.gaps.is_empty());
        assert!(page.blocks <= page.blocks_overlapping, "{page:?}");
        let number = |r| body(r).split(' ').next().unwrap().parse::<i64>().unwrap();
        got.extend(page.records.iter().map(number));
        match page.next {
            Some(next) => request.cursor = Some(next),
            None => return got,
        }
    }
}

#[test]
fn a_clock_ten_years_ahead_refuses_posts_and_spoils_nothing() {
    let world = World::new();
    let engine = world.open();
    let category = make_category(&engine, "General");
    let room = make_room(&engine, category, "Lobby");
    let ann = make_user(&engine, "ann");
    one(&engine, post(ann, room, "before"));
    world.clock.step_us(3_650 * TimeUs::DAY_US);
    assert_eq!(engine.health(), Health::ClockRefused);
    let refused = engine.append_and_wait(vec![post(ann, room, "in the future")]);
    assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
    make_user(&engine, "bob");
    world.clock.step_us(-3_650 * TimeUs::DAY_US);
    let after = one(&engine, post(ann, room, "after"));
    assert!(after.recorded < TimeUs(START.0 + TimeUs::DAY_US), "{after:?}");
    assert_eq!(engine.health(), Health::Ready);
}

#[test]
fn compliance_events_are_every_record_since_it_was_turned_on() {
    let world = World::new();
    let engine = world.open();
    let on = Setting { key: "compliance".into(), value: "on".into() };
    one(&engine, draft(PrincipalId::SYSTEM, RoomId::NONE, Payload::Setting(on)));
    let category = make_category(&engine, "General");
    let room = make_room(&engine, category, "Lobby");
    one(&engine, post(PrincipalId::SYSTEM, room, "noted"));
    let kinds = |engine: &Engine| -> Vec<&'static str> {
        let (events, next) = engine.events(Lsn::ZERO, 100).unwrap();
        assert_eq!(next, None);
        events.iter().map(|r| r.payload.kind().as_str()).collect()
    };
    let want = ["setting", "category-created", "room-created", "post"];
    assert_eq!(kinds(&engine), want);
    drop(engine);
    let world = World { store: world.store.crash(), ..world };
    assert_eq!(kinds(&world.open()), want, "also after a crash");
}
