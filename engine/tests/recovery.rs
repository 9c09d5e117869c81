//! What a start decides before it writes: which evidence counts, and where it reads again.
//!
//! Each test gives a start one piece of evidence too few or too many. What damage and crashes do
//! in general is in `crash.rs`, `matrix.rs` and `simulation.rs`.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::sync::Arc;

use hansard_engine::Health;
use hansard_engine::catalog::CatalogStore;
use hansard_engine::draft::Draft;
use hansard_engine::error::Error;
use hansard_engine::format::payload::*;
use hansard_engine::format::run::Run;
use hansard_engine::manifest::{self, Manifest};
use hansard_engine::open::{Drive, Losses, accept, open_on};
use hansard_engine::pack::Packs;
use hansard_engine::reads::Anchor;
use hansard_engine::storage::Disk;
use hansard_engine::storage::sim::Survivors;
use hansard_engine::types::*;
use hansard_engine::{Engine, Options};
use support::*;

/// Journal files that are never full here, so that a seal trims none.
fn roomy() -> Options {
    Options { journal_file_bytes: 1024 * 1024, ..options() }
}

fn start(world: &World) -> (Engine, hansard_engine::OpenReport) {
    open_on(world.ground(), roomy(), Drive::Steps, Losses::Restrict).unwrap()
}

fn room_with(engine: &Engine, posts: u64) -> (PrincipalId, RoomId) {
    let category = make_category(engine, "General");
    let room = make_room(engine, category, "lobby");
    let user = make_user(engine, "ann");
    for n in 1..=posts {
        one(engine, post(user, room, &format!("word {n}")));
    }
    (user, room)
}

fn seqs(engine: &Engine, room: RoomId) -> Vec<u64> {
    let page = engine.page(room, Anchor::At(Seq(1)), 100).unwrap();
    assert!(page.gaps.is_empty(), "{:?}", page.gaps);
    page.records.iter().map(|r| r.seq.0).collect()
}

fn disk(world: &World) -> Disk {
    Disk::new(Arc::new(world.sim.clone()))
}

#[test]
fn what_the_journal_still_has_is_not_read_from_packs() {
    let mut world = World::new();
    let (engine, _) = start(&world);
    let (_, room) = room_with(&engine, 9);
    engine.seal().unwrap();
    drop(engine);
    // A catalog that was gone: everything comes from the journal, which was not trimmed.
    world.sim = world.sim.crash(Survivors::Everything);
    world.store = Default::default();
    let (engine, report) = start(&world);
    assert_eq!((report.rebuilt, report.replayed), (0, 13), "{report:?}");
    assert_eq!(report.reapplied, 13, "the catalog lacked all of it");
    let stats = engine.stats();
    assert_eq!((stats.tail_rooms.get(), stats.tail_bytes.get()), (0, 0), "packs hold all of it");
    assert_eq!(seqs(&engine, room), (1..=9).collect::<Vec<_>>());
}

#[test]
fn what_packs_and_catalog_hold_is_not_read_again() {
    let world = World::new();
    let (engine, _) = start(&world);
    let (user, room) = room_with(&engine, 9);
    engine.seal().unwrap();
    for n in 10..=12 {
        one(&engine, post(user, room, &format!("word {n}")));
    }
    drop(engine);
    let world = world.crashed(Survivors::Everything);
    let (engine, report) = start(&world);
    assert_eq!((report.rebuilt, report.replayed), (0, 3), "{report:?}");
    assert_eq!(report.reapplied, 3, "the catalog lost what it had not flushed");
    assert_eq!(seqs(&engine, room), (1..=12).collect::<Vec<_>>());
    drop(engine);
    let (engine, report) = start(&world);
    assert_eq!((report.replayed, report.reapplied), (3, 0), "it has what was not flushed");
    assert_eq!(seqs(&engine, room), (1..=12).collect::<Vec<_>>());
}

#[test]
fn a_pack_that_the_catalog_knows_and_the_manifest_lacks_is_refused() {
    let mut world = World::new();
    let (engine, _) = start(&world);
    room_with(&engine, 9);
    engine.seal().unwrap();
    engine.close().unwrap();
    drop(engine);
    world.sim = world.sim.crash(Survivors::Everything);
    let mut state = manifest::load(&disk(&world)).unwrap().state;
    assert_eq!(state.packs.len(), 1);
    state.packs.clear();
    Manifest::write_anew(&disk(&world), &state).unwrap();
    for losses in [Losses::Restrict, Losses::Accept] {
        let refused = open_on(world.ground(), roomy(), Drive::Steps, losses).map(|_| ());
        let Err(Error::Corrupt { what, found, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(what, "manifest lacks a pack that the catalog knows");
        assert_eq!(found, state.next_pack);
    }
}

/// A directory whose loss of a right was accepted, and the place of the accepting record's bytes:
/// a token's name stands in it that nothing else has.
fn accepted() -> (World, RoomId) {
    let mut world = World::new();
    let (engine, _) = start(&world);
    let (user, room) = room_with(&engine, 3);
    let gone = MemberRemoved { principal: user };
    let lost = one(&engine, draft(user, room, Payload::MemberRemoved(gone)));
    one(&engine, post(user, room, "behind"));
    engine.idle();
    drop(engine);
    world.sim = world.sim.crash(Survivors::Everything);
    world.store = Default::default();
    spoil(&world, lost.lsn);
    let (engine, report) = start(&world);
    assert!(matches!(engine.health(), Health::Restricted { .. }));
    assert_eq!(report.holes, [LsnSpan { first: lost.lsn, last: lost.lsn }]);
    drop(engine);
    let (engine, report) = open_on(world.ground(), roomy(), Drive::Steps, Losses::Accept).unwrap();
    accept(&engine, report.holes).unwrap();
    engine.idle();
    drop(engine);
    world.sim = world.sim.crash(Survivors::Everything);
    (world, room)
}

#[test]
fn an_acceptance_counts_that_only_the_journal_tells_of() {
    let (mut world, room) = accepted();
    world.store = Default::default();
    let (engine, report) = start(&world);
    assert_eq!(engine.health(), Health::Ready, "{report:?}");
    assert_eq!(seqs(&engine, room), [1, 2, 3, 4]);
    // Nothing stands in for a right that is lost: its place is a hole, and it was no message.
    assert_eq!((report.replayed, report.lost_messages), (9, 0), "{report:?}");
    let changes = engine.changes(room, Rev::ZERO, 100).unwrap();
    let revs: Vec<u64> = changes.records.iter().map(|record| record.rev.0).collect();
    assert_eq!((revs, changes.holes), (vec![1, 2, 3, 4, 6], vec![(Rev(5), Rev(5))]));
}

#[test]
fn a_right_stays_though_one_behind_it_is_lost_that_the_catalog_has() {
    let world = World::new();
    let (engine, _) = start(&world);
    let (user, room) = room_with(&engine, 3);
    engine.seal().unwrap();
    let set = MemberSet { principal: user, roles: Roles::MEMBER };
    let kept = one(&engine, draft(user, room, Payload::MemberSet(set)));
    let removed = MemberRemoved { principal: user };
    let lost = one(&engine, draft(user, room, Payload::MemberRemoved(removed)));
    engine.idle();
    world.store.flush().unwrap();
    drop(engine);
    let world = world.crashed(Survivors::Everything);
    spoil(&world, lost.lsn);
    // No record that can be read says where in the room's timeline the first of them stands.
    let (engine, report) = open_on(world.ground(), roomy(), Drive::Steps, Losses::Accept).unwrap();
    accept(&engine, report.holes).unwrap();
    for round in ["from the tail", "from packs"] {
        let changes = engine.changes(room, Rev(4), 100).unwrap();
        let found: Vec<Lsn> = changes.records.iter().map(|record| record.lsn).collect();
        assert_eq!((found, changes.holes), (vec![kept.lsn], vec![(Rev(6), Rev(6))]), "{round}");
        engine.seal().unwrap();
    }
}

#[test]
fn an_acceptance_that_is_damaged_itself_is_asked_for_again() {
    let (mut world, _) = accepted();
    world.store = Default::default();
    let journal = {
        use hansard_engine::journal::scan::scan;
        scan(&disk(&world), Lsn::ZERO, Lsn::ZERO).unwrap()
    };
    let slots = journal.frames.iter().flat_map(|f| f.slots.iter().flatten());
    let accepting = slots.filter(|s| s.entry.kind == Kind::LossAccepted).map(|s| s.lsn);
    let accepting: Vec<Lsn> = accepting.collect();
    assert_eq!(accepting.len(), 1);
    spoil(&world, accepting[0]);
    let (engine, report) = start(&world);
    assert!(matches!(engine.health(), Health::Restricted { .. }), "{report:?}");
    assert_eq!(report.holes.len(), 2, "the first loss, and that of its acceptance: {report:?}");
}

/// Two rooms sealed into packs, and a journal that no longer has them: a room of posts, whose later
/// blocks hold nothing else, and a room with a right taken in its first block.
struct Archive {
    world: World,
    user: PrincipalId,
    room: RoomId,
    posts: u64,
}

impl Archive {
    fn new() -> Self {
        let mut world = World::new();
        let engine = world.open();
        let (user, room) = room_with(&engine, 1);
        let posts = 60;
        for n in 2..=posts {
            // Each of its own bytes, so that nothing compresses into one block.
            one(&engine, post(user, room, &format!("{n} {}", n.to_string().repeat(1500))));
        }
        engine.seal().unwrap();
        // The files behind the seal are free, and hold other records soon.
        let other = make_room(&engine, make_category(&engine, "Other"), "other");
        for n in 0..80 {
            one(&engine, post(user, other, &format!("{n} {}", "x".repeat(6_000))));
        }
        engine.seal().unwrap();
        engine.close().unwrap();
        drop(engine);
        world.sim = world.sim.crash(Survivors::Everything);
        world.store = Default::default();
        Self { world, user, room, posts }
    }

    /// The runs of all packs.
    fn runs(&self) -> Vec<Run> {
        let disk = disk(&self.world);
        let packs = Packs::new(&disk, 0, Arc::default());
        let state = manifest::load(&disk).unwrap().state;
        state.packs.values().flat_map(|meta| packs.runs(meta).unwrap()).collect()
    }

    fn spoil_block(&self, run: &Run, index: usize) {
        self.spoil_pack(run.pack, |_| run.blocks[index].offset + 40);
    }

    fn spoil_pack(&self, pack: u64, at: impl Fn(usize) -> u64) {
        let name = format!("packs/{pack:08}.pack");
        let mut bytes = self.world.sim.bytes_of(&name).unwrap();
        let at = usize::try_from(at(bytes.len())).unwrap();
        bytes[at] ^= 1;
        self.world.sim.set_bytes(&name, bytes);
    }
}

#[test]
fn a_catalog_that_is_gone_is_read_back_from_sound_packs() {
    let archive = Archive::new();
    let (engine, report) = archive.world.try_open(Losses::Restrict).unwrap();
    assert_eq!(engine.health(), Health::Ready);
    assert!(report.rebuilt > archive.posts, "{report:?}");
    assert_eq!((report.lost_messages, report.holes.len()), (0, 0));
    assert_eq!(seqs(&engine, archive.room), (1..=archive.posts).collect::<Vec<_>>());
}

#[test]
fn a_lost_block_of_messages_costs_those_and_no_door() {
    let archive = Archive::new();
    let runs = archive.runs();
    let run = runs.iter().find(|r| r.room == archive.room && r.blocks.len() > 3).unwrap();
    let (first, last) = (run.blocks[1].seq_base.0 + 1, run.block_last_seq(1).0);
    assert_eq!(last - first + 1, u64::from(run.blocks[1].records), "nothing but messages");
    archive.spoil_block(run, 1);
    let (engine, report) = archive.world.try_open(Losses::Restrict).unwrap();
    assert_eq!(engine.health(), Health::Ready, "{report:?}");
    assert_eq!(report.lost_messages, last - first + 1);
    let page = engine.page(archive.room, Anchor::At(Seq(1)), 100).unwrap();
    let gaps: Vec<_> = page.gaps.iter().map(|g| (g.from_seq.0, g.to_seq.0)).collect();
    assert_eq!(gaps, [(first, last)]);
    assert_eq!(page.records.len() as u64, archive.posts - (last - first + 1));
    let next = one(&engine, post(archive.user, archive.room, "it goes on"));
    assert_eq!(next.seq.0, archive.posts + 1, "no number is given twice");
}

#[test]
fn the_last_block_of_a_room_takes_its_numbers_with_it_and_no_other_gets_them() {
    let archive = Archive::new();
    let runs = archive.runs();
    let run = runs.iter().rfind(|r| r.room == archive.room && r.has_entries()).unwrap();
    archive.spoil_block(run, run.blocks.len() - 1);
    let (engine, report) = archive.world.try_open(Losses::Restrict).unwrap();
    assert_eq!(engine.health(), Health::Ready, "{report:?}");
    let next = one(&engine, post(archive.user, archive.room, "it goes on"));
    assert_eq!(next.seq.0, archive.posts + 1);
}

#[test]
fn a_lost_block_that_may_have_closed_a_door_restricts_and_names_its_places() {
    let archive = Archive::new();
    // Where users, rooms and categories are made.
    let runs = archive.runs();
    let run = runs.iter().find(|r| r.room.is_system()).unwrap();
    archive.spoil_block(run, 0);
    let (engine, report) = archive.world.try_open(Losses::Restrict).unwrap();
    assert!(matches!(engine.health(), Health::Restricted { .. }), "{report:?}");
    let lost: u64 = report.holes.iter().map(|hole| hole.last.0 - hole.first.0 + 1).sum();
    assert_eq!(lost, u64::from(run.blocks[0].records), "{report:?}");
    assert!(
        report.holes.iter().all(|hole| run.first_lsn <= hole.first && hole.last <= run.last_lsn)
    );
}

#[test]
fn a_pack_without_its_run_index_restricts_and_names_its_places() {
    let archive = Archive::new();
    let state = manifest::load(&disk(&archive.world)).unwrap().state;
    let meta = state.packs.values().next().unwrap();
    // It stands before the footer of 64 bytes.
    archive.spoil_pack(meta.id, |len| len as u64 - 64 - 8);
    let (engine, report) = archive.world.try_open(Losses::Restrict).unwrap();
    assert!(matches!(engine.health(), Health::Restricted { .. }), "{report:?}");
    assert_eq!(report.holes, [LsnSpan { first: meta.first_lsn, last: meta.last_lsn }]);
}

/// A room with a message, a frame of two, which may get lost, and behind it a change that takes no
/// place.
fn changed_behind_two(engine: &Engine) -> (PrincipalId, RoomId, Draft) {
    let (user, room) = room_with(engine, 1);
    let lost = ["lost 2", "lost 3"].map(|body| post(user, room, body));
    engine.append_and_wait(lost.to_vec()).unwrap();
    let set = MemberSet { principal: user, roles: Roles::MEMBER };
    let set = draft(user, room, Payload::MemberSet(set));
    one(engine, set.clone());
    (user, room, set)
}

/// Nothing is left of the journal's frame that these words stand in.
fn lose_frame(world: &World, words: &str) {
    let (name, at) = journal_with(&world.sim, words).unwrap();
    let mut bytes = world.sim.bytes_of(&name).unwrap();
    let frame = at / 4096 * 4096;
    bytes[frame..frame + 4096].fill(0);
    world.sim.set_bytes(&name, bytes);
}

/// Nothing is left of a frame of two messages; behind it stands a change that takes no place.
#[test]
fn a_change_behind_lost_messages_moves_none_of_those_behind_it() {
    for (sealed, catalog) in [(false, true), (true, true), (true, false)] {
        let mut world = World::new();
        let engine = world.open();
        let (user, room, _) = changed_behind_two(&engine);
        for body in ["kept 4", "kept 5"] {
            one(&engine, post(user, room, body));
        }
        drop(engine);
        world.sim = world.sim.crash(Survivors::Everything);
        world.store = if catalog { world.store.crash() } else { Default::default() };
        lose_frame(&world, "lost 2");
        let (mut engine, report) = world.try_open(Losses::Accept).unwrap();
        assert!(!report.holes.is_empty(), "{report:?}");
        if sealed {
            engine.seal().unwrap();
            engine.close().unwrap();
            drop(engine);
            engine = world.open();
        }
        let page = engine.page(room, Anchor::At(Seq(1)), 100).unwrap();
        let seqs: Vec<u64> = page.records.iter().map(|record| record.seq.0).collect();
        assert_eq!(seqs, [1, 4, 5], "{sealed} {catalog}");
        // By their places in block and tail it is the same.
        let raw = engine.entries(room, Anchor::At(Seq(1)), 100).unwrap();
        assert!(raw.entries.iter().map(|entry| entry.seq.0).eq(seqs), "{sealed} {catalog}");
        let gaps: Vec<_> = raw.gaps.iter().map(|gap| (gap.from_seq.0, gap.to_seq.0)).collect();
        assert_eq!(gaps, [(2, 3)], "{sealed} {catalog}");
    }
}

/// The catalog goes when the loss was accepted long ago: a change is all that tells how far it was.
#[test]
fn what_was_lost_and_accepted_keeps_its_places_when_the_catalog_is_made_anew() {
    for goes_on in [false, true] {
        let mut world = World::new();
        let engine = world.open();
        let (user, room, set) = changed_behind_two(&engine);
        // What the catalog knows of the lost is durable.
        world.store.flush().unwrap();
        drop(engine);
        world.sim = world.sim.crash(Survivors::Everything);
        lose_frame(&world, "lost 2");
        let (engine, report) = world.try_open(Losses::Accept).unwrap();
        assert!(!report.holes.is_empty(), "{report:?}");
        let accepted = Payload::LossAccepted(LossAccepted { holes: report.holes });
        one(&engine, draft(PrincipalId::SYSTEM, RoomId::NONE, accepted));
        engine.seal().unwrap();
        if goes_on {
            one(&engine, set);
            assert_eq!(one(&engine, post(user, room, "kept 4")).seq, Seq(4));
        }
        drop(engine);
        world.sim = world.sim.crash(Survivors::Everything);
        world.store = Default::default();
        let engine = world.open();
        let next = one(&engine, post(user, room, "it goes on")).seq.0;
        assert_eq!(next, if goes_on { 5 } else { 4 }, "no place is given twice");
        engine.seal().unwrap();
        engine.close().unwrap();
        drop(engine);
        let engine = world.open();
        let raw = engine.entries(room, Anchor::At(Seq(1)), 100).unwrap();
        let seqs: Vec<u64> = raw.entries.iter().map(|entry| entry.seq.0).collect();
        assert_eq!(seqs, if goes_on { vec![1, 4, 5] } else { vec![1, 4] });
    }
}

#[test]
fn a_place_that_a_redaction_names_is_not_given_again_when_its_entry_is_lost() {
    let mut world = World::new();
    let engine = world.open();
    let (user, room) = room_with(&engine, 1);
    engine.seal().unwrap();
    for n in 2..=5 {
        one(&engine, post(user, room, &format!("word {n}")));
    }
    engine.seal().unwrap();
    let redacted = Redacted { seq: Seq(5), reason: String::new() };
    one(&engine, draft(user, room, Payload::Redacted(redacted)));
    engine.seal().unwrap();
    let other = make_room(&engine, make_category(&engine, "Other"), "other");
    for n in 0..160 {
        one(&engine, post(user, other, &format!("{n} {}", "x".repeat(6_000))));
        if n % 40 == 0 {
            engine.seal().unwrap();
        }
    }
    engine.seal().unwrap();
    engine.close().unwrap();
    drop(engine);
    // The catalog is gone, and of the pack with the entry nothing can be read.
    world.sim = world.sim.crash(Survivors::Everything);
    world.store = Default::default();
    world.sim.set_bytes("packs/00000002.pack", vec![0; 64]);
    let (engine, report) = world.try_open(Losses::Accept).unwrap();
    assert!(!report.holes.is_empty());
    accept(&engine, report.holes).unwrap();
    let next = one(&engine, post(user, room, "it goes on"));
    assert_eq!(next.seq, Seq(6));
    let read = engine.entry(room, next.seq).unwrap().unwrap();
    assert_eq!(body(&read), "it goes on");
}
