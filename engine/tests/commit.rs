//! Who commits: a caller that is alone leads, others share the encoder's groups. On simulated
//! storage with the engine's own threads; orders of their steps are for `schedules`.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::thread;
use std::time::{Duration, Instant};

use hansard_engine::Engine;
use hansard_engine::draft::Ticket;
use hansard_engine::error::Error;
use hansard_engine::open::{Drive, Losses, open_on};
use hansard_engine::reads::Anchor;
use hansard_engine::types::*;
use support::*;

/// Far above what anything here takes: only a hang is found by it.
const PATIENCE: Duration = Duration::from_secs(60);

/// An engine with its own threads, and a room.
fn start() -> (World, Engine, RoomId) {
    let world = World::new();
    let (engine, _) = open_on(world.ground(), options(), Drive::Threads, Losses::Restrict).unwrap();
    let category = make_category(&engine, "General");
    let room = make_room(&engine, category, "room");
    (world, engine, room)
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_a_lone_caller_commits_gets_its_promise_once_it_rests() {
    let (_world, engine, room) = start();
    for round in 0..3 {
        // The encoder has nothing to do by then, and waits for appends without limit.
        let frames = || engine.stats().frames.get();
        one(&engine, post(PrincipalId(9), room, &format!("{round}")));
        let before = frames();
        until("no promise was written", || frames() > before);
        let resting = frames();
        thread::sleep(Duration::from_millis(200));
        assert_eq!(frames(), resting, "one promise is enough");
    }
    engine.close().unwrap();
}

#[test]
fn callers_that_lead_and_callers_that_queue_keep_one_order() {
    const CALLERS: u64 = 6;
    const EACH: u64 = 200;
    let (_world, engine, room) = start();
    thread::scope(|scope| {
        for caller in 0..CALLERS {
            let engine = &engine;
            scope.spawn(move || {
                let mut last = Seq::ZERO;
                for n in 0..EACH {
                    let draft = post(PrincipalId(5_000 + caller), room, &format!("{caller}.{n}"));
                    let done = match n % 3 {
                        0 => engine.append(vec![draft]).unwrap().wait().unwrap().remove(0),
                        _ => one(engine, draft),
                    };
                    assert!(done.seq > last, "a caller's own appends are in order");
                    last = done.seq;
                    // Now and then a caller is alone.
                    if n % 50 == caller {
                        thread::sleep(Duration::from_millis(3));
                    }
                }
            });
        }
    });
    let mut next = Seq(1);
    while next.0 <= CALLERS * EACH {
        let page = engine.page(room, Anchor::At(next), 500).unwrap();
        assert!(page.gaps.is_empty() && !page.records.is_empty());
        for record in &page.records {
            assert_eq!(record.seq, next);
            next = next.next();
        }
    }
    engine.close().unwrap();
}

#[test]
fn what_a_caller_queued_is_recorded_before_what_it_then_waits_for() {
    let (_world, engine, room) = start();
    for n in 0..2_000 {
        let queued = engine.append(vec![post(PrincipalId(9), room, "queued")]).unwrap();
        // On its way through the encoder, which may have taken it from the queue by now.
        (0..n % 40 * 50).for_each(|_| std::hint::spin_loop());
        let waited = one(&engine, post(PrincipalId(9), room, "waited for"));
        let queued = queued.wait().unwrap().remove(0);
        assert!(queued.seq < waited.seq, "{} after {}", queued.seq, waited.seq);
    }
    engine.close().unwrap();
}

#[test]
fn appends_handed_in_together_are_each_recorded_or_refused_by_themselves() {
    let (_world, engine, room) = start();
    let user = PrincipalId(9);
    let appends = || {
        vec![
            vec![keyed(post(user, room, "first"), "one", 1)],
            vec![post(user, RoomId(77), "nowhere")],
            vec![],
            vec![post(user, room, "second"), post(user, room, "third")],
        ]
    };
    let frames = engine.stats().frames.get();
    let done = engine.append_each_and_wait(appends());
    assert_eq!(engine.stats().frames.get(), frames + 1, "one frame for all of them");
    let seqs = |at: usize| {
        let made: &Vec<_> = done[at].as_ref().unwrap();
        made.iter().map(|made| made.seq.0).collect::<Vec<_>>()
    };
    assert_eq!((seqs(0), seqs(3)), (vec![1], vec![2, 3]));
    assert!(matches!(done[1], Err(Error::NotFound { what: "room" })), "{:?}", done[1]);
    assert!(matches!(done[2], Err(Error::Invalid { .. })), "{:?}", done[2]);
    let again: Vec<_> = engine.append_each(appends()).into_iter().map(Ticket::wait).collect();
    assert!(again[0].as_ref().unwrap()[0].replayed, "its key was seen");
    assert_eq!(engine.head(room).unwrap().seq, Seq(5));
    engine.close().unwrap();
    let closed = engine.append_each_and_wait(appends());
    assert!(closed.iter().all(|outcome| matches!(outcome, Err(Error::Unavailable { .. }))));
}
