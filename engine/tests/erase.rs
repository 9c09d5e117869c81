//! Erasure: the words of an entry leave every file, and everything else is as it was.
//!
//! Files are looked through as an examiner would: every byte, and every block decompressed.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "support/canary.rs"]
mod canary;
mod support;

use std::sync::Arc;

use canary::files_with;
use hansard_engine::catalog::memory::MemoryCatalog;
use hansard_engine::draft::Appended;
use hansard_engine::erase::{EraseReport, NOTE, Owed};
use hansard_engine::error::{ConflictCode, Error, Result};
use hansard_engine::format::payload::*;
use hansard_engine::format::wire::to_bytes;
use hansard_engine::journal::scan::scan;
use hansard_engine::open::Losses;
use hansard_engine::reads::{Anchor, CategoryRequest, Gap, GapReason, Order};
use hansard_engine::remembered::comparable_rows;
use hansard_engine::storage::Disk;
use hansard_engine::storage::sim::{Survivors, Trouble};
use hansard_engine::types::*;
use hansard_engine::{Engine, manifest};
use support::*;

/// In every version of what is to be erased, and nowhere else.
const CANARY: &str = "zx-canary-93b1";

/// A room of twelve entries; those to be erased have the canary.
struct Desk {
    world: World,
    category: CategoryId,
    room: RoomId,
    ann: PrincipalId,
}

impl Desk {
    fn new(compliance: bool) -> (Self, Engine) {
        let world = World::new();
        let engine = world.open();
        let category = make_category(&engine, "Desk");
        let (room, ann) = (make_room(&engine, category, "trades"), make_user(&engine, "ann"));
        let desk = Self { world, category, room, ann };
        if compliance {
            desk.set(&engine, "compliance", "on");
        }
        for n in 1..=12 {
            let words = if n == 4 || n == 12 { CANARY } else { "nothing" };
            let sent = post(ann, room, &format!("entry {n} {words}"));
            one(&engine, if n == 4 { keyed(sent, "a key", 1) } else { sent });
            if n == 6 {
                let body = format!("mended {CANARY}");
                one(&engine, draft(ann, room, Payload::Edited(Edited { seq: Seq(4), body })));
                let slip = Redacted { seq: Seq(4), reason: format!("a slip {CANARY}") };
                one(&engine, draft(ann, room, Payload::Redacted(slip)));
                engine.seal().unwrap();
            }
            desk.world.clock.pass_us(TimeUs::DAY_US / 8);
        }
        (desk, engine)
    }

    fn set(&self, engine: &Engine, key: &str, value: &str) {
        let setting = Payload::Setting(Setting { key: key.into(), value: value.into() });
        one(engine, draft(self.ann, RoomId::NONE, setting));
    }

    fn record(&self, engine: &Engine, seq: u64) -> Result<Appended> {
        let (erased, expect) = engine.erasure(self.room, Seq(seq), "asked to")?.unwrap();
        let mut draft = draft(self.ann, self.room, Payload::Erased(erased));
        draft.expect = Some(expect);
        let ticket = engine.append(vec![draft])?;
        engine.step();
        ticket.wait().map(|mut done| done.remove(0))
    }

    fn erase(&self, engine: &Engine, seq: u64) -> EraseReport {
        self.record(engine, seq).unwrap();
        engine.erase_owed().unwrap()
    }

    /// What is there, by every way to read it.
    fn check(&self, engine: &Engine, erased: &[u64], what: &str) {
        let left: Vec<u64> = (1..=12).filter(|seq| !erased.contains(seq)).collect();
        let gap = |seq: &u64| {
            let (seq, reason) = (Seq(*seq), GapReason::Erased);
            Gap { room: self.room, from_seq: seq, to_seq: seq, reason }
        };
        let gaps: Vec<Gap> = erased.iter().map(gap).collect();
        for anchor in [Anchor::At(Seq(1)), Anchor::Last, Anchor::Around(Seq(6))] {
            let page = engine.page(self.room, anchor, 500).unwrap();
            assert!(page.records.iter().map(|r| r.seq.0).eq(left.iter().copied()), "{what}");
            assert_eq!(page.gaps, gaps, "{what} {anchor:?}");
        }
        let changes = engine.changes(self.room, Rev::ZERO, 500).unwrap();
        assert_eq!(changes.holes, [], "{what}");
        let told: u64 = changes.expired.iter().map(|(a, b)| b.0 - a.0 + 1).sum();
        assert_eq!(told + changes.records.len() as u64, changes.head.0, "{what}");
        for order in [Order::Ascending, Order::Descending] {
            let (category, from, to) = (self.category, TimeUs::MIN, TimeUs::MAX);
            let (cursor, limit) = (None, 500);
            let request = CategoryRequest { category, from, to, order, cursor, limit };
            let page = engine.category_page(&request, &mut |_| true).unwrap();
            assert_eq!(page.records.len(), left.len(), "{what}");
        }
        for seq in 1..=12 {
            let there = engine.versions(self.room, Seq(seq)).unwrap().is_some();
            assert_eq!(there, !erased.contains(&seq), "{what} {seq}");
        }
        let all = format!("{:?} {:?}", changes.records, engine.events(Lsn::ZERO, 1000).unwrap());
        assert_eq!(all.contains(CANARY), erased.len() < 2, "{what}");
    }
}

fn with_canary(world: &World) -> Vec<String> {
    files_with(&world.sim, "", CANARY)
}

fn in_rows(world: &World) -> usize {
    let rows = world.store.rows();
    rows.values().filter(|value| find(value, CANARY.as_bytes()).is_some()).count()
}

#[test]
fn what_is_erased_leaves_every_file_and_every_row() {
    for compliance in [false, true] {
        let (desk, engine) = Desk::new(compliance);
        let disk = Disk::new(Arc::new(desk.world.sim.clone()));
        disk.create_dir("quarantine").unwrap();
        disk.write_whole("quarantine", "000003.journal.7", CANARY.as_bytes()).unwrap();
        desk.check(&engine, &[], "before");
        let before = with_canary(&desk.world);
        assert!(before.iter().any(|file| file.starts_with("packs")), "{before:?}");
        assert!(before.iter().any(|file| file.starts_with("journal")), "{before:?}");
        assert_eq!(in_rows(&desk.world), if compliance { 4 } else { 0 });
        desk.record(&engine, 4).unwrap();
        desk.record(&engine, 12).unwrap();
        // From the answer on nobody reads it; the bytes are still owed.
        desk.check(&engine, &[4, 12], "recorded");
        assert_eq!(in_rows(&desk.world), 0);
        let report = engine.erase_owed().unwrap();
        assert_eq!((report.entries, report.records, report.quarantined), (2, 4, 1), "{report:?}");
        assert!(report.journal_files > 0);
        assert_eq!(with_canary(&desk.world), [] as [String; 0]);
        assert_eq!(engine.erase_owed().unwrap(), EraseReport::default());
        desk.check(&engine, &[4, 12], "erased");
        assert_eq!(one(&engine, post(desk.ann, desk.room, "and on")).seq, Seq(13));
        // The key that it had is forgotten with it.
        let again = keyed(post(desk.ann, desk.room, "again"), "a key", 2);
        assert!(!one(&engine, again).replayed);
        engine.seal().unwrap();
        engine.close().unwrap();
        drop(engine);
        check_rebuilt(&desk);
    }
}

/// A catalog rebuilt from packs and journal has the rows of the one that was kept.
fn check_rebuilt(desk: &Desk) {
    let store = MemoryCatalog::default();
    let copy = World { store, ..desk.world.crashed(Survivors::Everything) };
    let (engine, report) = copy.try_open(Losses::Restrict).unwrap();
    assert!(report.holes.is_empty() && report.rebuilt > 0, "{report:?}");
    engine.seal().unwrap();
    engine.close().unwrap();
    let [kept, rebuilt] = [&desk.world.store, &copy.store].map(|s| comparable_rows(s).unwrap());
    let differs = kept.iter().find(|(key, row)| rebuilt.get(key) != Some(row));
    assert_eq!((differs, kept.len()), (None, rebuilt.len()), "rows differ");
}

#[test]
fn an_erasure_that_is_cut_off_anywhere_is_gone_on_with() {
    let (desk, engine) = Desk::new(true);
    let seeds = engine.changes(RoomId::SYSTEM_SALTS, Rev::ZERO, 9).unwrap().records.remove(0);
    let Payload::Salts(seeds) = seeds.payload else { panic!("{seeds:?}") };
    let seed = seeds.nodes[0].seed;
    assert_ne!(files_with(&desk.world.sim, "", seed), [] as [String; 0]);
    engine.close().unwrap();
    drop(engine);
    for operation in 1.. {
        let Desk { category, room, ann, .. } = desk;
        let world = World {
            sim: desk.world.sim.crash(Survivors::Everything),
            store: desk.world.store.crash(),
            clock: Arc::clone(&desk.world.clock),
        };
        let desk = Desk { world, category, room, ann };
        let engine = desk.world.open();
        desk.world.sim.arrange(operation, Trouble::Stop);
        let recorded = desk.record(&engine, 4).is_ok();
        let also = recorded && desk.record(&engine, 12).is_ok();
        let done = also && engine.erase_owed().is_ok();
        drop(engine);
        desk.world.sim.calm();
        let modes = [Survivors::Nothing, Survivors::Everything, Survivors::Sectors(operation)];
        let survivors = modes[usize::try_from(operation % 3).unwrap()];
        let store = match operation % 4 {
            0 => MemoryCatalog::default(),
            _ => desk.world.store.crash(),
        };
        let sim = desk.world.sim.crash(survivors);
        let desk = Desk { world: World { sim, store, clock: desk.world.clock }, ..desk };
        let what = format!("operation {operation}");
        let (engine, report) = desk.world.try_open(Losses::Restrict).unwrap();
        assert!(report.holes.is_empty() && report.lost_messages == 0, "{what}: {report:?}");
        let gone = |seq| engine.versions(desk.room, Seq(seq)).unwrap().is_none();
        assert!((gone(4) || !recorded) && (gone(12) || !also), "{what}");
        engine.erase_owed().unwrap();
        for seq in [4, 12] {
            if !gone(seq) {
                desk.record(&engine, seq).unwrap();
            }
        }
        engine.erase_owed().unwrap();
        desk.check(&engine, &[4, 12], &what);
        assert_eq!(with_canary(&desk.world), [] as [String; 0], "{what}");
        // Nor what the salts of the words could be made of again.
        assert_eq!(files_with(&desk.world.sim, "", seed), [] as [String; 0], "{what}");
        assert!(!desk.world.sim.files().iter().any(|file| file == NOTE), "{what}");
        if done {
            assert!(operation > 40, "only {what}");
            return;
        }
    }
}

/// A note whose writing failed may be seen and yet not be on the disk.
#[test]
fn an_erasure_tried_again_owes_what_it_says_also_behind_a_power_cut() {
    for operation in 1.. {
        let (desk, engine) = Desk::new(true);
        desk.world.sim.arrange(operation, Trouble::Once);
        let tried = engine.erasure(desk.room, Seq(4), "asked to");
        desk.world.sim.calm();
        desk.record(&engine, 4).unwrap();
        drop(engine);
        let (sim, store) = (desk.world.sim.crash(Survivors::Nothing), desk.world.store.crash());
        let desk = Desk { world: World { sim, store, clock: desk.world.clock }, ..desk };
        let engine = desk.world.open();
        engine.erase_owed().unwrap();
        let what = format!("operation {operation}");
        desk.check(&engine, &[4], &what);
        let kept = files_with(&desk.world.sim, "", format!("mended {CANARY}"));
        assert_eq!(kept, [] as [String; 0], "{what}");
        if tried.is_ok() {
            assert!(operation > 3, "only {what}");
            return;
        }
    }
}

fn refused(done: Result<Appended>) -> String {
    match done {
        Err(Error::Conflict { code: ConflictCode::Held, what }) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_hold_or_a_locked_compliance_record_refuses_and_says_so() {
    let (desk, engine) = Desk::new(true);
    let settings = HoldSettings { principal: desk.ann, room: desk.room, ..hold_settings() };
    let placed = Payload::HoldPlaced(HoldPlaced { settings: settings.clone() });
    let placed = one(&engine, draft(desk.ann, RoomId::NONE, placed));
    let hold = HoldId::new(placed.epoch, placed.lsn);
    assert!(refused(desk.record(&engine, 4)).contains(&hold.to_string()));
    assert_eq!(engine.erase_owed().unwrap(), EraseReport::default());
    desk.check(&engine, &[], "held");
    // Two asked at once, and one takes it back.
    assert!(engine.erasure(desk.room, Seq(4), "").unwrap().is_some());
    let noted = || desk.world.sim.files().iter().any(|file| file == NOTE);
    engine.withdraw_erasure(desk.room, Seq(4)).unwrap();
    assert!(noted());
    engine.withdraw_erasure(desk.room, Seq(4)).unwrap();
    assert!(!noted());
    one(
        &engine,
        draft(desk.ann, RoomId::NONE, Payload::HoldReleased(HoldReleased { hold, settings })),
    );
    desk.set(&engine, "compliance-locked", "on");
    assert!(refused(desk.record(&engine, 4)).contains("locked"));
    desk.set(&engine, "compliance-locked", "off");
    assert_eq!(desk.erase(&engine, 4).entries, 1);
    // What is gone is not edited, redacted or erased again.
    assert!(engine.erasure(desk.room, Seq(4), "").unwrap().is_none());
    let edit = Payload::Edited(Edited { seq: Seq(4), body: "back".into() });
    let ticket = engine.append(vec![draft(desk.ann, desk.room, edit)]).unwrap();
    engine.step();
    assert!(matches!(ticket.wait(), Err(Error::NotFound { .. })));
}

#[test]
fn an_edit_between_the_look_and_the_record_sends_the_erasure_back() {
    let (desk, engine) = Desk::new(false);
    let (erased, expect) = engine.erasure(desk.room, Seq(12), "").unwrap().unwrap();
    desk.edit(&engine, 12, &format!("later {CANARY}"));
    assert!(desk.is_late(&engine, erased, expect));
    desk.erase(&engine, 12);
    desk.erase(&engine, 4);
    assert_eq!(with_canary(&desk.world), [] as [String; 0]);
}

impl Desk {
    /// Its category keeps so many entries of a room from now on.
    fn keep(&self, engine: &Engine, entries: u64) {
        let mut settings = category_settings("Desk");
        settings.retention = Retention { entries, ..Retention::ALL };
        let changed = CategoryChanged { category: self.category, settings };
        one(engine, draft(self.ann, RoomId::NONE, Payload::CategoryChanged(changed)));
    }

    /// True if the record of an erasure is sent back: something changed since the look.
    fn is_late(&self, engine: &Engine, erased: Erased, expect: Lsn) -> bool {
        let mut late = draft(self.ann, self.room, Payload::Erased(erased));
        late.expect = Some(expect);
        let ticket = engine.append(vec![late]).unwrap();
        engine.step();
        matches!(ticket.wait(), Err(Error::Conflict { code: ConflictCode::Stale, .. }))
    }

    /// An entry says something else.
    fn edit(&self, engine: &Engine, seq: u64, body: &str) {
        let edited = Edited { seq: Seq(seq), body: body.into() };
        one(engine, draft(self.ann, self.room, Payload::Edited(edited)));
    }
}

/// The edit has a pack of its own, which a merge writes anew, and the entry stays in a large one.
#[test]
fn an_entry_whose_edit_left_the_disk_before_it_is_erased() {
    let (desk, engine) = Desk::new(false);
    engine.seal().unwrap();
    desk.world.clock.pass_us(2 * TimeUs::DAY_US);
    make_room(&engine, desk.category, "of a later day");
    assert!(engine.merge(&mut |_| true).unwrap().merges > 0, "the day's");
    // Most of its pack, however little the rest of one is.
    let long: String =
        (0..800u32).map(|n| format!("{:08x}", n.wrapping_mul(0x9e37_79b1))).collect();
    desk.edit(&engine, 2, &long);
    engine.seal().unwrap();
    desk.keep(&engine, 10);
    assert_eq!(engine.expire().unwrap().entries, 2);
    engine.seal().unwrap();
    // Its tail keeps a page until a seal finds the room idle.
    make_room(&engine, desk.category, "elsewhere");
    engine.seal().unwrap();
    assert_eq!(engine.merge(&mut |_| true).unwrap().dropped, 1, "the edit");
    let (erased, _) = engine.erasure(desk.room, Seq(2), "").unwrap().unwrap();
    assert_eq!(erased.records.len(), 1, "the entry");
    engine.withdraw_erasure(desk.room, Seq(2)).unwrap();
    assert_eq!(files_with(&desk.world.sim, "packs", "entry 2 ").len(), 1);
    desk.erase(&engine, 2);
    assert_eq!(files_with(&desk.world.sim, "", "entry 2 "), [] as [String; 0]);
}

#[test]
fn an_expiry_between_the_look_and_the_record_sends_the_erasure_back() {
    let (desk, engine) = Desk::new(false);
    let (erased, expect) = engine.erasure(desk.room, Seq(2), "").unwrap().unwrap();
    // Of an edit that the look did not see no row is left then.
    desk.edit(&engine, 2, "said better");
    desk.keep(&engine, 10);
    assert_eq!(engine.expire().unwrap().entries, 2);
    assert!(desk.is_late(&engine, erased, expect));
    desk.erase(&engine, 2);
    for words in ["entry 2 ", "said better"] {
        assert_eq!(files_with(&desk.world.sim, "", words), [] as [String; 0]);
    }
}

#[test]
fn a_copy_made_while_bytes_are_owed_owes_them_too() {
    let (desk, engine) = Desk::new(true);
    desk.record(&engine, 4).unwrap();
    desk.record(&engine, 12).unwrap();
    let place = std::path::PathBuf::from("copy");
    engine.checkpoint(&place).unwrap();
    let copy = World {
        sim: desk.world.sim.next_to(&place).crash(Survivors::Everything),
        store: desk.world.store.copy_at(&place.join("catalog")).unwrap(),
        clock: Arc::clone(&desk.world.clock),
    };
    let Desk { category, room, ann, .. } = desk;
    let copied = Desk { world: copy, category, room, ann };
    let engine = copied.world.open();
    assert!(!with_canary(&copied.world).is_empty());
    assert_eq!(engine.erase_owed().unwrap().entries, 2);
    copied.check(&engine, &[4, 12], "a copy");
    assert_eq!(with_canary(&copied.world), [] as [String; 0]);
}

#[test]
fn what_retention_took_is_erased_too_while_the_disk_has_it() {
    for sealed in [false, true] {
        let (desk, engine) = Desk::new(true);
        desk.keep(&engine, 7);
        assert_eq!(engine.expire().unwrap().entries, 5);
        if sealed {
            // The edit and the redaction went with it, and compliance still keeps all three.
            engine.purge(&mut |_| true).unwrap();
        }
        assert!(engine.versions(desk.room, Seq(4)).unwrap().is_none());
        assert!(engine.entry(desk.room, Seq(4)).unwrap().is_none());
        assert_eq!(engine.epoch_of(desk.room, Seq(4)).unwrap(), Some(engine.epoch()));
        let (erased, _) = engine.erasure(desk.room, Seq(4), "").unwrap().unwrap();
        assert_eq!(erased.records.len(), 3, "entry, edit and redaction");
        engine.withdraw_erasure(desk.room, Seq(4)).unwrap();
        desk.set(&engine, "compliance-locked", "on");
        assert!(refused(desk.record(&engine, 4)).contains("locked"));
        desk.set(&engine, "compliance-locked", "off");
        desk.erase(&engine, 4);
        desk.erase(&engine, 12);
        assert_eq!(with_canary(&desk.world), [] as [String; 0], "sealed {sealed}");
        assert_eq!(in_rows(&desk.world), 0, "sealed {sealed}");
        assert!(engine.erasure(desk.room, Seq(4), "").unwrap().is_none(), "it is gone");
        engine.seal().unwrap();
        engine.close().unwrap();
        drop(engine);
        check_rebuilt(&desk);
    }
}

#[test]
fn a_damaged_note_costs_time_and_nothing_else() {
    let (desk, engine) = Desk::new(true);
    let disk = Disk::new(Arc::new(desk.world.sim.clone()));
    disk.write_whole("", NOTE, b"rubbish").unwrap();
    assert_eq!(engine.erase_owed().unwrap(), EraseReport::default());
    assert!(!desk.world.sim.files().iter().any(|file| file == NOTE), "nothing is erased");
    desk.record(&engine, 4).unwrap();
    desk.record(&engine, 12).unwrap();
    drop(engine);
    let mut bytes = desk.world.sim.bytes_of(NOTE).unwrap();
    bytes[6] ^= 1;
    desk.world.sim.set_bytes(NOTE, bytes);
    let engine = desk.world.open();
    assert_eq!(engine.erase_owed().unwrap().entries, 2);
    desk.check(&engine, &[4, 12], "a damaged note");
    assert_eq!(with_canary(&desk.world), [] as [String; 0]);
}

#[test]
fn a_start_that_only_goes_on_with_an_erasure_is_followed_by_one_that_misses_nothing() {
    let (desk, engine) = Desk::new(true);
    desk.record(&engine, 4).unwrap();
    desk.record(&engine, 12).unwrap();
    drop(engine);
    for end in ["killed", "closed", "killed again"] {
        let (engine, report) = desk.world.try_open(Losses::Restrict).unwrap();
        assert!(report.holes.is_empty() && report.lost_messages == 0, "{end}: {report:?}");
        // Nothing is written to the journal's file of this start before it turns from it.
        engine.erase_owed().unwrap();
        desk.check(&engine, &[4, 12], end);
        assert_eq!(with_canary(&desk.world), [] as [String; 0], "{end}");
        if end == "closed" {
            engine.close().unwrap();
        }
        drop(engine);
        let disk = Disk::new(Arc::new(desk.world.sim.clone()));
        let sealed = manifest::load(&disk).unwrap().state.sealed;
        assert_eq!(scan(&disk, sealed, sealed).unwrap().damage, [], "{end}");
        if end == "killed" {
            // The note is put back: the next start has the same to do.
            let (mut bytes, owed) = (Vec::new(), vec![(desk.room, 4), (desk.room, 12)]);
            let owed: Vec<Owed> = owed
                .into_iter()
                .map(|(room, seq)| Owed { room, seq: Seq(seq), lsns: vec![Lsn(9)] })
                .collect();
            let body = to_bytes(&owed);
            bytes.extend(crc32fast::hash(&body).to_le_bytes());
            bytes.extend(body);
            disk.write_whole("", NOTE, &bytes).unwrap();
        }
    }
    let world = desk.world.crashed(Survivors::Nothing);
    let (_, report) = world.try_open(Losses::Restrict).unwrap();
    assert!(report.holes.is_empty() && report.lost_messages == 0, "{report:?}");
}

#[test]
fn a_start_that_is_cut_off_while_it_goes_on_leaves_it_to_the_next() {
    let (desk, engine) = Desk::new(true);
    desk.record(&engine, 4).unwrap();
    desk.record(&engine, 12).unwrap();
    drop(engine);
    for operation in 1.. {
        let Desk { category, room, ann, .. } = desk;
        let world = desk.world.crashed(Survivors::Everything);
        let engine = world.open();
        world.sim.arrange(operation, Trouble::Stop);
        let done = engine.erase_owed().is_ok();
        drop(engine);
        world.sim.calm();
        let modes = [Survivors::Nothing, Survivors::Everything, Survivors::Sectors(operation)];
        let cut = Desk {
            world: world.crashed(modes[usize::try_from(operation % 3).unwrap()]),
            category,
            room,
            ann,
        };
        let what = format!("operation {operation}");
        let (engine, report) = cut.world.try_open(Losses::Restrict).unwrap();
        assert!(report.holes.is_empty() && report.lost_messages == 0, "{what}: {report:?}");
        engine.erase_owed().unwrap();
        cut.check(&engine, &[4, 12], &what);
        assert_eq!(with_canary(&cut.world), [] as [String; 0], "{what}");
        if done {
            assert!(operation > 40, "only {what}");
            return;
        }
    }
}
