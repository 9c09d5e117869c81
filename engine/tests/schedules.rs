//! The engine's threads under many orders of steps.
//!
//! Posters, a reader, a sealer and the engine's own four threads run under the scheduler of the
//! crate shuttle: queue, ticket, publish, the hand-over from tail to pack and the swap of run lists
//! meet in every order it finds. `HANSARD_SCHEDULES` says how many orders; a failure prints the
//! schedule that repeats it.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::sync::Arc;

use hansard_engine::error::Error;
use hansard_engine::open::{Drive, Losses, open_on};
use hansard_engine::reads::{Anchor, CategoryRequest, Order};
use hansard_engine::types::*;
use hansard_engine::{CommitListener, Engine, Options};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner, thread};
use support::*;

const SCHEDULES: usize = 400;

fn schedules() -> usize {
    std::env::var("HANSARD_SCHEDULES").map_or(SCHEDULES, |text| text.parse().unwrap())
}

fn under(scheduler: impl Scheduler + 'static, test: fn()) {
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    config.failure_persistence = shuttle::FailurePersistence::Print;
    Runner::new(scheduler, config).run(test);
}

/// Half of the schedules at random, half by priorities (PCT, Burckhardt et al. 2010).
fn explore(test: fn()) {
    under(RandomScheduler::new(schedules() / 2), test);
    under(PctScheduler::new(3, schedules() / 2), test);
}

fn start(options: Options) -> (World, Engine) {
    let world = World::new();
    let (engine, _) = open_on(world.ground(), options, Drive::Threads, Losses::Restrict).unwrap();
    (world, engine)
}

/// Everything a room's reader may rely on at any moment.
fn check_room(engine: &Engine, room: RoomId, least: Seq) {
    let page = engine.page(room, Anchor::At(Seq(1)), 100).unwrap();
    assert!(page.gaps.is_empty(), "a gap without damage: {:?}", page.gaps);
    let seqs: Vec<u64> = page.records.iter().map(|r| r.seq.0).collect();
    assert!(seqs.iter().copied().eq(1..=seqs.len() as u64), "not dense: {seqs:?}");
    assert!(seqs.len() as u64 >= least.0, "acknowledged and not visible: {seqs:?} < {least}");
    let last = engine.page(room, Anchor::Last, 2).unwrap();
    assert!(last.gaps.is_empty(), "{:?}", last.gaps);
    assert!(last.records.last().map_or(Seq::ZERO, |r| r.seq) >= Seq(seqs.len() as u64));
    let changes = engine.changes(room, Rev::ZERO, 100).unwrap();
    assert!(changes.holes.is_empty(), "a hole without damage: {:?}", changes.holes);
    let revs: Vec<u64> = changes.records.iter().map(|r| r.rev.0).collect();
    assert!(revs.iter().copied().eq(1..=revs.len() as u64), "not dense: {revs:?}");
}

/// A category's page holds at least so many entries, each once, and no gap.
fn check_category(engine: &Engine, category: CategoryId, least: usize) {
    let (from, to) = (TimeUs::MIN, TimeUs::MAX);
    let (order, cursor, limit) = (Order::Ascending, None, 100);
    let request = CategoryRequest { category, from, to, order, cursor, limit };
    let page = engine.category_page(&request, &mut |_| true).unwrap();
    let seqs: Vec<u64> = page.records.iter().map(|r| r.seq.0).collect();
    assert!(seqs.len() >= least && page.gaps.is_empty(), "{seqs:?} {:?}", page.gaps);
    assert!(seqs.iter().copied().eq(1..=seqs.len() as u64), "{seqs:?}");
}

#[test]
fn what_is_acknowledged_is_visible_in_every_order_of_posts_reads_and_seals() {
    explore(|| {
        // No room keeps what is sealed, so every hand-over to a pack is seen.
        let (_world, engine) = start(Options { tail_bytes_soft: 1, ..options() });
        let category = make_category(&engine, "General");
        let room = make_room(&engine, category, "room");
        let user = make_user(&engine, "ann");
        let posters: Vec<_> = (0..2)
            .map(|n| {
                let engine = engine.clone();
                thread::spawn(move || {
                    for i in 0..3 {
                        let said = one(&engine, post(user, room, &format!("{n}.{i}")));
                        check_room(&engine, room, said.seq);
                    }
                })
            })
            .collect();
        let sealer = {
            let engine = engine.clone();
            thread::spawn(move || {
                engine.seal().unwrap();
                engine.seal().unwrap();
            })
        };
        check_room(&engine, room, Seq::ZERO);
        check_room(&engine, room, Seq::ZERO);
        for poster in posters {
            poster.join().unwrap();
        }
        sealer.join().unwrap();
        check_room(&engine, room, Seq(6));
        engine.close().unwrap();
    });
}

#[test]
fn what_is_merged_is_read_in_every_order_of_reads_posts_seals_and_merges() {
    explore(|| {
        let (world, engine) = start(Options { tail_bytes_soft: 1, ..options() });
        let category = make_category(&engine, "General");
        let room = make_room(&engine, category, "room");
        let user = make_user(&engine, "ann");
        for n in 0..2 {
            one(&engine, post(user, room, &format!("old {n}")));
            engine.seal().unwrap();
        }
        world.clock.pass_us(TimeUs::DAY_US);
        let merger = {
            let engine = engine.clone();
            thread::spawn(move || engine.merge(&mut |_| true).unwrap())
        };
        let reader = {
            let engine = engine.clone();
            thread::spawn(move || {
                check_room(&engine, room, Seq(2));
                check_category(&engine, category, 2);
                check_room(&engine, room, Seq(2));
            })
        };
        let said = one(&engine, post(user, room, "new"));
        engine.seal().unwrap();
        check_room(&engine, room, said.seq);
        merger.join().unwrap();
        reader.join().unwrap();
        engine.merge(&mut |_| true).unwrap();
        check_room(&engine, room, Seq(3));
        engine.close().unwrap();
        let packs = world.sim.files().iter().filter(|file| file.ends_with(".pack")).count();
        assert_eq!(packs as u64, engine.stats().packs.get(), "what is merged away is gone");
    });
}

#[test]
fn every_ticket_is_answered_in_every_order_of_posts_and_close() {
    explore(|| {
        let (world, engine) = start(options());
        let category = make_category(&engine, "General");
        let room = make_room(&engine, category, "room");
        let user = make_user(&engine, "ann");
        let posters: Vec<_> = (0..2)
            .map(|n| {
                let engine = engine.clone();
                thread::spawn(move || {
                    let mut kept = 0;
                    for i in 0..3 {
                        match engine.append_and_wait(vec![post(user, room, &format!("{n}.{i}"))]) {
                            Ok(_) => kept += 1,
                            Err(Error::Unavailable { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                    kept
                })
            })
            .collect();
        engine.close().unwrap();
        let kept: u64 = posters.into_iter().map(|p| p.join().unwrap()).sum();
        assert_eq!(engine.head(room).unwrap().seq, Seq(kept));
        drop(engine);
        let (again, _) =
            open_on(world.ground(), options(), Drive::Steps, Losses::Restrict).unwrap();
        assert_eq!(again.head(room).unwrap().seq, Seq(kept), "after a restart");
    });
}

/// Counts what it is told.
struct Told(shuttle::sync::Mutex<u64>, RoomId);

impl CommitListener for Told {
    fn committed(&self, rooms: &[RoomId]) {
        *self.0.lock().unwrap() += u64::from(rooms.contains(&self.1));
    }
}

#[test]
fn a_follower_that_reads_after_every_notice_misses_nothing() {
    explore(|| {
        let (_world, engine) = start(options());
        let category = make_category(&engine, "General");
        let room = make_room(&engine, category, "room");
        let user = make_user(&engine, "ann");
        let told = Arc::new(Told(shuttle::sync::Mutex::new(0), room));
        engine.listen(Arc::clone(&told) as Arc<dyn CommitListener>);
        let poster = {
            let engine = engine.clone();
            thread::spawn(move || {
                for i in 0..4 {
                    one(&engine, post(user, room, &format!("{i}")));
                    if i == 1 {
                        engine.seal().unwrap();
                    }
                }
            })
        };
        let mut after = Rev(1);
        let mut heard = 0;
        while after < Rev(5) {
            let now = *told.0.lock().unwrap();
            if now == heard {
                thread::yield_now();
                continue;
            }
            heard = now;
            let news = engine.changes(room, after, 100).unwrap();
            assert!(news.holes.is_empty(), "{:?}", news.holes);
            assert!(news.through >= after, "what was read is gone");
            after = news.through;
        }
        poster.join().unwrap();
        engine.close().unwrap();
    });
}
