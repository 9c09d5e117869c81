//! Idempotency keys over time: how long they are remembered, across restarts, and what is left.
//!
//! Hour by hour, against the spans that `catalog::keys` cuts time into. INVARIANT: a key answers
//! for 24 hours of `recorded` time, wherever a span ends.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use hansard_engine::Engine;
use hansard_engine::catalog::keys::{self, KeySpan};
use hansard_engine::catalog::{Family, Go, walk_prefix};
use hansard_engine::types::{Lsn, PrincipalId, RoomId};
use support::*;

const HOUR: i64 = 3_600 * 1_000_000;

fn lobby(engine: &Engine) -> (PrincipalId, RoomId) {
    let general = make_category(engine, "General");
    (make_user(engine, "ann"), make_room(engine, general, "lobby"))
}

fn send(engine: &Engine, who: PrincipalId, room: RoomId, key: &str) -> (Lsn, bool) {
    let done = one(engine, keyed(post(who, room, "said"), key, 1));
    (done.lsn, done.replayed)
}

/// Keys at rest, and where in the log each of their spans begins.
fn rows(world: &World) -> (usize, Vec<u64>) {
    let (mut count, mut firsts) = (0, Vec::new());
    let all = (&[b'q'][..], keys::FIRST_KEYS);
    walk_prefix(&world.store, Family::State, all.0, &mut |_, _| {
        count += 1;
        Ok(Go::On)
    })
    .unwrap();
    walk_prefix(&world.store, Family::State, all.1, &mut |_, value| {
        let first: Lsn = hansard_engine::format::wire::from_bytes(value, "first").unwrap();
        firsts.push(first.0);
        Ok(Go::On)
    })
    .unwrap();
    (count, firsts)
}

#[test]
fn a_key_answers_for_a_day_wherever_its_span_ends_and_then_no_more() {
    for restarts in [false, true] {
        let world = World::new();
        let mut engine = world.open();
        let (user, room) = lobby(&engine);
        let mut firsts = Vec::new();
        for hour in 0..60 {
            // One key an hour, and each of those before again.
            for (then, lsn) in firsts.iter().enumerate() {
                let age = hour - then;
                if age == 23 || age == 1 {
                    let again = send(&engine, user, room, &format!("key {then}"));
                    assert_eq!(again, (*lsn, true), "{age} hours later, hour {hour}");
                }
                if age == 25 {
                    let anew = send(&engine, user, room, &format!("key {then}"));
                    assert!(!anew.1 && anew.0 > *lsn, "a day later, hour {hour}");
                }
            }
            let (lsn, replayed) = send(&engine, user, room, &format!("key {hour}"));
            assert!(!replayed, "hour {hour}");
            firsts.push(lsn);
            world.clock.pass_us(HOUR);
            if restarts && hour % 5 == 4 {
                drop(engine);
                engine = world.open();
            }
        }
    }
}

#[test]
fn spans_go_whole_and_what_is_left_begins_where_it_says() {
    let world = World::new();
    let engine = world.open();
    let (user, room) = lobby(&engine);
    let mut sent = Vec::new();
    for hour in 0..100 {
        let key = format!("key {hour}");
        let done = one(&engine, keyed(post(user, room, "said"), &key, 1));
        sent.push((KeySpan::of(done.recorded), done.lsn.0));
        world.clock.pass_us(HOUR);
        let oldest = KeySpan::oldest(done.recorded);
        sent.retain(|(span, _)| *span >= oldest);
        let mut firsts = sent.clone();
        firsts.dedup_by_key(|(span, _)| *span);
        let firsts = firsts.into_iter().map(|(_, lsn)| lsn).collect::<Vec<_>>();
        assert_eq!(rows(&world), (sent.len(), firsts), "hour {hour}");
        assert!((1..=37).contains(&sent.len()));
    }
}
