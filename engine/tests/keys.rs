//! Idempotency keys over time: how long they are remembered, across restarts, and what is left.
//!
//! Hour by hour, against the spans that `catalog::keys` cuts time into. INVARIANT: a key answers
//! for 24 hours of `recorded` time, wherever a span ends.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::sync::Arc;

use hansard_engine::apply::Applier;
use hansard_engine::catalog::keys::{self, KeySpan};
use hansard_engine::catalog::memory::MemoryCatalog;
use hansard_engine::catalog::{CatalogStore, Change, Family, Go, walk_prefix};
use hansard_engine::error::{ConflictCode, Error};
use hansard_engine::format::payload::{EntryKind, Payload, Post};
use hansard_engine::format::record::{Idempotency, Record};
use hansard_engine::open::{Drive, Losses, open_on};
use hansard_engine::remembered::every_key;
use hansard_engine::types::{Epoch, Lsn, PrincipalId, Rev, RoomId, Seq};
use hansard_engine::{Engine, Options};
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
fn rows(world: &World, engine: &Engine) -> (usize, Vec<u64>) {
    engine.seal().unwrap();
    let mut firsts = Vec::new();
    walk_prefix(&world.store, Family::State, keys::FIRST_KEYS, &mut |_, value| {
        let first: Lsn = hansard_engine::format::wire::from_bytes(value, "first").unwrap();
        firsts.push(first.0);
        Ok(Go::On)
    })
    .unwrap();
    (every_key(&world.store).unwrap().len(), firsts)
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
        assert_eq!(rows(&world, &engine), (sent.len(), firsts), "hour {hour}");
        assert!((1..=37).contains(&sent.len()));
    }
}

/// More keys than are gathered at once, and a kill: those in a run and those in none.
#[test]
fn keys_are_found_in_runs_and_out_of_the_journal_after_a_kill() {
    let world = World::new();
    let open = || {
        let large = Options {
            journal_file_bytes: 1 << 20,
            journal_bytes_max: 1 << 26,
            tail_bytes_hard: 1 << 26,
            ..options()
        };
        open_on(world.ground(), large, Drive::Steps, Losses::Restrict).unwrap().0
    };
    let engine = open();
    let (user, room) = lobby(&engine);
    let gathered = hansard_engine::limits::KEY_RUN_KEYS;
    // So many behind the run that `sequence` lets go of what is applied meanwhile.
    let count = gathered + 6_000;
    let key = |n: usize| format!("key {n}");
    for some in (0..count).collect::<Vec<_>>().chunks(512) {
        let drafts = some.iter().map(|n| keyed(post(user, room, "said"), &key(*n), 1));
        let all: Vec<_> = drafts.map(|draft| vec![draft]).collect();
        let tickets = engine.append_each(all);
        engine.step();
        tickets.into_iter().for_each(|ticket| drop(ticket.wait().unwrap()));
    }
    let at_rest = every_key(&world.store).unwrap().len();
    assert!((gathered..count).contains(&at_rest), "{at_rest} of {count} are in a run");
    for n in [0, gathered - 1, gathered + 100, gathered + 4_000, count - 1] {
        assert!(send(&engine, user, room, &key(n)).1, "{n}, before the kill");
    }
    // In one group keys of a run, of none, and one that is new, each of them twice.
    let twice = [key(0), key(gathered + 100), "new".to_owned()];
    let group = |digest| {
        let all =
            twice.iter().chain(&twice).map(|key| keyed(post(user, room, "said"), key, digest));
        let tickets = engine.append_each(all.map(|draft| vec![draft]).collect());
        engine.step();
        tickets.into_iter().map(|ticket| ticket.wait().map(|done| done[0].clone()))
    };
    let done: Vec<_> = group(1).map(Result::unwrap).collect();
    let replayed: Vec<bool> = done.iter().map(|done| done.replayed).collect();
    assert_eq!(replayed, [true, true, false, true, true, true]);
    let places: Vec<Lsn> = done.iter().map(|done| done.lsn).collect();
    assert_eq!(places[..3], places[3..]);
    for refused in group(2) {
        let reused = matches!(refused, Err(Error::Conflict { code: ConflictCode::KeyReused, .. }));
        assert!(reused, "{refused:?}");
    }
    drop(engine);
    // The rows are as they were written, flushed or not.
    let engine = open();
    assert_eq!(every_key(&world.store).unwrap().len(), count + 1);
    for n in [0, 1, gathered - 1, gathered, count - 1] {
        assert!(send(&engine, user, room, &key(n)).1, "{n}");
    }
    assert!(!send(&engine, user, room, &key(count)).1);
}

/// Takes every run out of a catalog, which says so.
fn forget_runs(store: &MemoryCatalog) {
    let of_keys = store.rows().into_keys().filter(|(_, key)| keys::is_of_keys(key));
    let mut changes: Vec<Change> =
        of_keys.map(|(family, key)| Change { family, key, value: None }).collect();
    let kept = hansard_engine::format::wire::to_bytes(&Lsn::ZERO);
    let (family, key) = (Family::State, keys::KEYS_KEPT.to_vec());
    changes.push(Change { family, key, value: Some(kept) });
    store.write(&changes).unwrap();
}

/// As after an earlier build, which knows no runs, was here and trimmed the journal.
#[test]
fn keys_that_are_in_no_run_are_read_again_out_of_packs() {
    let world = World::new();
    let engine = world.open();
    let (user, room) = lobby(&engine);
    let before = rows(&world, &engine);
    for n in 0..300 {
        send(&engine, user, room, &format!("key {n}"));
        if n % 70 == 0 {
            engine.seal().unwrap();
        }
    }
    let (count, firsts) = rows(&world, &engine);
    assert_eq!((before.0, count), (0, 300));
    engine.close().unwrap();
    drop(engine);
    forget_runs(&world.store);
    world.store.flush().unwrap();
    let engine = world.open();
    assert_eq!(rows(&world, &engine), (count, firsts));
    for n in 0..300 {
        assert!(send(&engine, user, room, &format!("key {n}")).1, "{n}");
    }
}

/// Where keys alone are read again, no row tells that it is time to write them.
#[test]
fn keys_that_are_read_again_are_written_a_run_at_a_time() {
    let store = MemoryCatalog::default();
    let open = || Applier::new(Arc::new(store.clone())).unwrap();
    let record = |n: u64| {
        let (kind, body) = (EntryKind::Text, "said".to_owned());
        let payload = Payload::Post(Post { kind, body, reply_to: Seq::ZERO, import: None });
        let idempotency = Some(Idempotency { key: n.to_string().into_bytes(), digest: [7; 16] });
        let (actor, policy, time) = (hansard_engine::system_actor(), Lsn::ZERO, START);
        let (lsn, seq, rev, room) = (Lsn(n), Seq(n), Rev(n), RoomId(900));
        let epoch = Epoch::FIRST;
        let recorded = time;
        Record { epoch, lsn, recorded, time, room, seq, rev, actor, policy, idempotency, payload }
    };
    let run = hansard_engine::limits::KEY_RUN_KEYS;
    let records: Vec<Record> = (1..=run as u64 + 10).map(record).collect();
    let mut applier = open();
    records.iter().for_each(|r| applier.apply(r, &r.to_bytes()).unwrap());
    applier.commit_all().unwrap();
    forget_runs(&store);
    let mut applier = open();
    for record in &records {
        applier.apply(record, &record.to_bytes()).unwrap();
        applier.commit_if_full().unwrap();
    }
    assert_eq!(every_key(&store).unwrap().len(), run);
    applier.commit_all().unwrap();
    assert_eq!(every_key(&store).unwrap().len(), records.len());
}

#[test]
fn a_key_whose_span_went_is_not_taken_again_by_a_start() {
    let world = World::new();
    let engine = world.open();
    let (user, room) = lobby(&engine);
    send(&engine, user, room, "key");
    world.clock.pass_us(40 * HOUR);
    one(&engine, post(user, room, "a day and a half later"));
    // Its record is in the journal yet, and in no run.
    drop(engine);
    let engine = world.open();
    assert_eq!(rows(&world, &engine), (0, Vec::new()));
}
