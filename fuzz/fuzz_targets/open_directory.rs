//! A whole data directory, damaged and opened: it opens with exact bytes and named gaps, opens
//! restricted, or is refused with a reason. It never panics, hangs or takes memory by a length that
//! stands in a file.
//!
//! Half of the inputs are chance, and every promise is asked for; half are forged behind right
//! checksums, and only the bounds are.
#![no_main]

use hansard_engine::error::Error;
use hansard_engine::open::{Drive, Losses, accept, open_on};
use hansard_engine::types::*;
use hansard_engine::{Engine, Health, OpenReport};
use hansard_fuzz::damage::{Hand, Input, strike};
use hansard_fuzz::directory::{BASES, Base, base, options};
use hansard_fuzz::reading::{AFTERWARDS, Leave, bounded, exact};
use hansard_fuzz::support::{World, post};
use libfuzzer_sys::fuzz_target;

type Opened = Result<(Engine, OpenReport), Error>;

fn open(world: &World, losses: Losses) -> Opened {
    open_on(world.ground(), options(), Drive::Steps, losses)
}

/// The kinds of an error with which damage may be answered.
fn is_reason(error: &Error) -> bool {
    let version = |file: &std::path::Path| file.ends_with("VERSION");
    match error {
        Error::Corrupt { .. } | Error::NotFound { .. } => true,
        Error::Unsupported { file, .. } => version(file),
        _ => false,
    }
}

/// Opens what chance damaged; none if it is refused with a reason.
fn open_damaged(world: &World, base: &Base, told: bool) -> Option<(Engine, Leave)> {
    let what = "damaged by chance";
    match open(world, Losses::Restrict) {
        Ok((engine, report)) if engine.health() == Health::Ready => {
            assert!(report.holes.is_empty(), "{what}: {report:?}");
            let cut = report.last_lsn < base.last;
            assert!(!told || report.last_lsn >= base.protected, "{what}: {report:?}");
            let cut_after = cut.then_some(report.last_lsn);
            Some((engine, Leave { cut_after, anything: !told, ..Leave::default() }))
        }
        Ok((engine, report)) => {
            assert!(!report.holes.is_empty(), "{what}: {report:?}");
            drop(engine);
            let (engine, report) = open(world, Losses::Accept).expect(what);
            assert!(!report.holes.is_empty(), "{what}, to be accepted: {report:?}");
            let holes = report.holes.clone();
            accept(&engine, report.holes).expect(what);
            Some((engine, Leave { holes, cut_after: Some(base.protected), anything: !told }))
        }
        Err(error) => {
            assert!(is_reason(&error), "{what}: {error}");
            None
        }
    }
}

fn chance(world: &World, base: &Base, told: bool) {
    let Some((engine, leave)) = open_damaged(world, base, told) else { return };
    exact(&engine, base, &leave, "damaged by chance");
    let room = base.rooms[0].0;
    if engine.directory().room(room).expect("a sound catalog").is_some() {
        let said = post(PrincipalId::SYSTEM, room, AFTERWARDS);
        let said = engine.append_and_wait(vec![said]).expect("a ready engine").remove(0);
        let read = engine.entry(room, said.seq).expect("a sound catalog").expect("kept");
        assert_eq!(hansard_fuzz::support::body(&read), AFTERWARDS);
    }
    engine.seal().expect("a ready engine");
    exact(&engine, base, &leave, "damaged and sealed");
    engine.close().expect("a ready engine");
    drop(engine);
    let (engine, report) = open(world, Losses::Restrict).expect("what a start made good");
    assert!(report.holes.is_empty(), "once more: {report:?}");
    assert_eq!(engine.health(), Health::Ready, "once more");
    exact(&engine, base, &leave, "once more");
}

fn forged(world: &World, base: &Base) {
    for losses in [Losses::Restrict, Losses::Accept] {
        let Ok((engine, report)) = open(world, losses) else { continue };
        bounded(&engine, base);
        if losses == Losses::Accept {
            let _ = accept(&engine, report.holes);
        }
        let _ = engine.append(vec![post(PrincipalId::SYSTEM, base.rooms[0].0, AFTERWARDS)]);
        engine.step();
        let _ = engine.seal();
        let _ = engine.close();
        if engine.health() == Health::Ready {
            break;
        }
    }
    if let Ok((engine, _)) = open(world, Losses::Restrict) {
        bounded(&engine, base);
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let how = input.byte();
    let base = base(how % BASES);
    let mut world = base.copy();
    if how & 64 != 0 {
        world.store = Default::default();
    }
    if how & 128 == 0 {
        let touched = strike(&world.sim, &world.store, &mut input, &mut Hand::chance(data));
        // The end of the log stands in the journal and in the witness: both at once can lie.
        let witness = touched.iter().any(|name| name.ends_with("WITNESS"));
        let told = !witness || touched.len() == 1;
        chance(&world, base, told);
    } else {
        strike(&world.sim, &world.store, &mut input, &mut Hand::Forger);
        forged(&world, base);
    }
});
