//! Merges: what they leave is what was there, whatever cuts them off.
//!
//! An engine without merges is the model: every answer about every room must be the same before a
//! merge, after it, and after any start that follows a cut. The simulation mixes merges with
//! everything else; here each case stands alone.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use hansard_engine::catalog::memory::MemoryCatalog;
use hansard_engine::catalog::{CatalogStore, Family, keys};
use hansard_engine::error::Error;
use hansard_engine::format::pack::pack_number;
use hansard_engine::format::payload::*;
use hansard_engine::format::run::Run;
use hansard_engine::format::wire::from_bytes;
use hansard_engine::manifest;
use hansard_engine::merge::MergeReport;
use hansard_engine::open::{Drive, Losses, open_on};
use hansard_engine::pack::Packs;
use hansard_engine::reads::{Anchor, CategoryRequest, Gap, Order};
use hansard_engine::remembered::comparable_rows;
use hansard_engine::storage::Disk;
use hansard_engine::storage::clock::{Clock, SimClock};
use hansard_engine::storage::sim::{ReadTrouble, Survivors, Trouble};
use hansard_engine::types::*;
use hansard_engine::{Engine, Health, Options};
use support::*;

/// Three rooms in two categories, with posts on several days, a pack a seal.
struct Archive {
    world: World,
    user: PrincipalId,
    rooms: Vec<RoomId>,
    categories: Vec<CategoryId>,
}

impl Archive {
    /// So many seals on each of so many days, and then another day.
    fn new(days: u64, seals: u64) -> (Self, Engine) {
        Self::saying(days, seals, 0)
    }

    /// As `new`, with other words and the same places of rooms and log for each number.
    fn saying(days: u64, seals: u64, words: u64) -> (Self, Engine) {
        let world = World::new();
        let engine = world.open();
        let categories = vec![make_category(&engine, "General"), make_category(&engine, "Other")];
        let rooms: Vec<RoomId> =
            (0..3).map(|n| make_room(&engine, categories[n / 2], &format!("room {n}"))).collect();
        let user = make_user(&engine, "ann");
        let archive = Self { world, user, rooms, categories };
        for day in 0..days {
            for seal in 0..seals {
                archive.posts(&engine, words + day * seals + seal);
                engine.seal().unwrap();
                archive.world.clock.pass_us(3_600_000_000);
            }
            archive.pass_days(1);
        }
        (archive, engine)
    }

    fn pass_days(&self, days: i64) {
        self.world.clock.pass_us(days * TimeUs::DAY_US);
    }

    /// A few posts and a change in each room.
    fn posts(&self, engine: &Engine, round: u64) {
        for (n, room) in self.rooms.iter().enumerate() {
            for word in 0..=n {
                let text = format!("{round} {n} {word} {}", "text ".repeat(40 * word));
                one(engine, post(self.user, *room, &text));
            }
            let set = MemberSet { principal: self.user, roles: Roles::MEMBER };
            one(engine, draft(self.user, *room, Payload::MemberSet(set)));
        }
    }

    /// Everything that can be asked.
    fn answers(&self, engine: &Engine) -> Answers {
        let mut answers = Answers::default();
        for room in &self.rooms {
            let mut at = Anchor::At(Seq(1));
            loop {
                let page = engine.page(*room, at, 7).unwrap();
                answers.records.extend(page.records.iter().map(|r| format!("{r:?}")));
                answers.gaps.extend(page.gaps);
                match page.newer {
                    Some(seq) => at = Anchor::After(seq),
                    None => break,
                }
            }
            let newest = engine.page(*room, Anchor::Last, 5).unwrap();
            answers.records.extend(newest.records.iter().map(|r| format!("{r:?}")));
            let mut rev = Rev::ZERO;
            loop {
                let changes = engine.changes(*room, rev, 9).unwrap();
                answers.records.extend(changes.records.iter().map(|r| format!("{r:?}")));
                answers.holes.extend(changes.holes.iter().map(|hole| (*room, *hole)));
                rev = changes.through;
                if rev >= changes.head {
                    break;
                }
            }
        }
        for category in &self.categories {
            for order in [Order::Ascending, Order::Descending] {
                let mut request = CategoryRequest { order, limit: 11, ..whole(*category) };
                loop {
                    let page = engine.category_page(&request, &mut |_| true).unwrap();
                    answers.records.extend(page.records.iter().map(|r| format!("{r:?}")));
                    let Some(next) = page.next else { break };
                    request.cursor = Some(next);
                }
            }
        }
        answers
    }

    /// The numbers of packs that have a file, and those that the manifest names.
    fn packs(world: &World) -> (Vec<u64>, Vec<u64>) {
        let name = |file: &String| pack_number(file.strip_prefix("packs/")?);
        let mut files: Vec<u64> = world.sim.files().iter().filter_map(name).collect();
        files.sort_unstable();
        let disk = Disk::new(Arc::new(world.sim.clone()));
        let named = manifest::load(&disk).unwrap().state.packs.keys().copied().collect();
        (files, named)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Answers {
    records: Vec<String>,
    gaps: Vec<Gap>,
    holes: Vec<(RoomId, (Rev, Rev))>,
}

/// All of a category.
fn whole(category: CategoryId) -> CategoryRequest {
    CategoryRequest {
        category,
        from: TimeUs::MIN,
        to: TimeUs::MAX,
        order: Order::Ascending,
        cursor: None,
        limit: 500,
    }
}

/// An engine whose merges hold about so many runs at once.
fn open_with(world: &World, merge_runs: u64) -> Engine {
    let options = Options { merge_runs, ..options() };
    open_on(world.ground(), options, Drive::Steps, Losses::Restrict).unwrap().0
}

fn merge(engine: &Engine) -> MergeReport {
    engine.merge(&mut |_| true).unwrap()
}

/// The machine after the end of its process or power.
fn after(world: &World, survivors: Survivors) -> World {
    world.sim.calm();
    let clock = Arc::new(SimClock::at(world.clock.now()));
    World { store: world.store.crash(), clock, ..world.crashed(survivors) }
}

#[test]
fn merged_packs_answer_as_those_that_they_replace() {
    let (archive, engine) = Archive::new(3, 4);
    let before = archive.answers(&engine);
    assert_eq!(before.gaps, []);
    let named = Archive::packs(&archive.world).1;
    assert_eq!(named, (1..=12).collect::<Vec<_>>());
    let report = merge(&engine);
    assert_eq!((report.merges, report.packs_in, report.packs_out), (3, 12, 3));
    assert!(report.bytes_out < report.bytes_in, "{report:?}");
    assert_eq!(Archive::packs(&archive.world), (vec![13, 14, 15], vec![13, 14, 15]));
    assert_eq!(archive.answers(&engine), before);
    assert_eq!(merge(&engine), MergeReport::default(), "nothing more is due");
    // The month ends, then the year.
    for (days, packs) in [(31, vec![16]), (366, vec![16])] {
        archive.pass_days(days);
        merge(&engine);
        assert_eq!(Archive::packs(&archive.world), (packs.clone(), packs));
        assert_eq!(archive.answers(&engine), before);
    }
    let disk = Disk::new(Arc::new(archive.world.sim.clone()));
    let state = manifest::load(&disk).unwrap().state;
    let meta = &state.packs[&16];
    assert_eq!((meta.level, meta.first_lsn, meta.last_lsn), (3, Lsn(1), state.sealed));
    assert_eq!(meta.records, state.sealed.0, "every record, and each once");
    assert_eq!(engine.stats().pack_bytes.get(), meta.bytes);
    assert_eq!(engine.stats().packs.get(), 1);
    // Runs are as long as they can be: one for each room, the system's among them.
    assert!(meta.runs <= 6, "{meta:?}");
    engine.close().unwrap();
    drop(engine);
    let engine = after(&archive.world, Survivors::Nothing).open();
    assert_eq!(archive.answers(&engine), before);
}

#[test]
fn what_has_many_runs_is_merged_a_share_of_its_rooms_at_a_time() {
    let (archive, engine) = Archive::new(2, 4);
    let before = archive.answers(&engine);
    engine.close().unwrap();
    drop(engine);
    let disk = Disk::new(Arc::new(archive.world.sim.clone()));
    let metas = |first: u64| {
        let packs = manifest::load(&disk).unwrap().state.packs;
        packs.into_values().filter(move |meta| meta.id >= first).collect::<Vec<_>>()
    };
    let runs: u64 = metas(1).iter().map(|meta| meta.runs).sum();
    // A share for each two or three runs of a day; a pack of none is not written.
    let engine = open_with(&archive.world, 2);
    let report = merge(&engine);
    assert_eq!((report.merges, report.packs_in), (2, 8));
    assert!(report.packs_out > 4, "{report:?} of {runs} runs");
    assert_eq!(archive.answers(&engine), before);
    let (files, named) = Archive::packs(&archive.world);
    assert_eq!((files.len() as u64, &files), (report.packs_out, &named));
    // A room is in one pack of a day, in one run.
    let packs = Packs::new(&disk, 0, Default::default());
    let mut of_rooms = BTreeSet::new();
    for meta in metas(9) {
        let index = packs.index(&meta).unwrap();
        assert!(index.runs.iter().all(|run| of_rooms.insert((meta.day, run.room))), "{meta:?}");
    }
    let merged: u64 = metas(9).iter().map(|meta| meta.runs).sum();
    assert_eq!((merged, merged < runs / 2), (of_rooms.len() as u64, true));
    assert_eq!(merge(&engine), MergeReport::default(), "nothing more is due");
    // The month's merge reads what shares wrote, in other shares.
    archive.pass_days(31);
    engine.close().unwrap();
    drop(engine);
    let engine = open_with(&archive.world, 7);
    assert_eq!(merge(&engine).packs_in, report.packs_out);
    assert_eq!(archive.answers(&engine), before);
    engine.close().unwrap();
    drop(engine);
    let world = World { store: Default::default(), ..after(&archive.world, Survivors::Nothing) };
    assert_eq!(archive.answers(&world.open()), before, "from the packs alone");
}

#[test]
fn a_catalog_that_is_gone_is_rebuilt_from_merged_packs_to_equal_rows() {
    let (archive, engine) = Archive::new(3, 4);
    let before = archive.answers(&engine);
    merge(&engine);
    archive.posts(&engine, 1_000);
    engine.seal().unwrap();
    let whole = archive.answers(&engine);
    assert!(whole.records.len() > before.records.len());
    engine.close().unwrap();
    drop(engine);
    let rows = |store: &MemoryCatalog| {
        let mut rows = comparable_rows(store).unwrap();
        // It says how far a seal had come when it was written, too.
        rows.remove(&(Family::State, keys::APPLIED.to_vec()));
        rows
    };
    let kept = rows(&archive.world.store);
    let world = World { store: Default::default(), ..after(&archive.world, Survivors::Nothing) };
    for file in world.sim.files().iter().filter(|f| f.ends_with(".journal")) {
        world.sim.take_away(file);
    }
    world.sim.take_away("journal/WITNESS");
    let engine = world.open();
    assert_eq!(archive.answers(&engine), whole);
    engine.close().unwrap();
    assert!(rows(&world.store) == kept);
}

#[test]
fn a_merge_that_is_cut_off_anywhere_loses_nothing_and_leaves_nothing_behind() {
    cut_off_anywhere(250_000);
}

#[test]
fn a_merge_by_shares_that_is_cut_off_anywhere_loses_nothing_and_leaves_nothing_behind() {
    cut_off_anywhere(4);
}

fn cut_off_anywhere(merge_runs: u64) {
    let (archive, engine) = Archive::new(2, 3);
    engine.idle();
    let before = archive.answers(&engine);
    drop(engine);
    let start = after(&archive.world, Survivors::Everything);
    let (steps, packs) = {
        let world = after(&start, Survivors::Everything);
        let engine = open_with(&world, merge_runs);
        let begun = world.sim.operations();
        assert_eq!(merge(&engine).merges, 2);
        (world.sim.operations() - begun, Archive::packs(&world).0.len())
    };
    assert!(steps > 20, "{steps}");
    assert_eq!(packs > 2, merge_runs < 250_000, "{packs}");
    for step in 1..=steps {
        let world = after(&start, Survivors::Everything);
        let engine = open_with(&world, merge_runs);
        world.sim.arrange(step, Trouble::Stop);
        let flush = step % 3 == 0;
        let done = engine.merge(&mut |_| true);
        if flush {
            // RocksDB flushes when it likes.
            let _ = world.store.flush();
        }
        // A pack that could only not be unlinked is not a failure.
        assert!(done.is_err() || Archive::packs(&world).0.len() > packs, "step {step}: {done:?}");
        drop(engine);
        let modes = [
            Survivors::Nothing,
            Survivors::Everything,
            Survivors::Prefix(step),
            Survivors::Sectors(step),
        ];
        for survivors in modes {
            let world = after(&world, survivors);
            let engine = open_with(&world, merge_runs);
            let what = format!("step {step} flush={flush} {survivors:?}");
            assert_eq!(archive.answers(&engine), before, "{what}");
            let (files, named) = Archive::packs(&world);
            assert_eq!(files, named, "{what}: nothing is left behind");
            merge(&engine);
            assert_eq!(archive.answers(&engine), before, "{what}: merged again");
            let (files, named) = Archive::packs(&world);
            assert_eq!((files.len(), files), (packs, named), "{what}");
        }
    }
}

#[test]
fn a_merge_that_fails_leaves_everything_as_it_was() {
    let (archive, engine) = Archive::new(1, 3);
    engine.idle();
    let before = archive.answers(&engine);
    drop(engine);
    let start = after(&archive.world, Survivors::Everything);
    let files = start.sim.files();
    let mut poisoned = 0;
    for step in 1.. {
        let world = after(&start, Survivors::Everything);
        let engine = world.open();
        let trouble = if step % 2 == 0 { Trouble::Full } else { Trouble::Once };
        world.sim.arrange(step, trouble);
        let done = engine.merge(&mut |_| true);
        world.sim.calm();
        assert_eq!(archive.answers(&engine), before, "step {step}");
        match done {
            // What could only not be unlinked, the next start unlinks.
            Ok(report) => {
                assert_eq!(report.merges, 1);
                if Archive::packs(&world).0.len() == 1 {
                    break;
                }
            }
            Err(_) if engine.append(vec![]).is_err() => poisoned += 1,
            Err(error) => {
                assert!(matches!(error, Error::Io { .. } | Error::NoSpace { .. }), "{error}");
                assert_eq!(world.sim.files(), files, "step {step}");
                assert_eq!(merge(&engine).merges, 1, "step {step}: it is done the next time");
                assert_eq!(archive.answers(&engine), before);
            }
        }
    }
    assert!(poisoned > 0, "a manifest that cannot be written ends everything");
}

#[test]
fn a_manifest_and_packs_from_before_a_merge_are_refused_beside_the_catalog_behind_it() {
    let (archive, engine) = Archive::new(1, 3);
    let older: Vec<(String, Vec<u8>)> = archive
        .world
        .sim
        .files()
        .into_iter()
        .filter(|file| file.starts_with("packs/") || file.starts_with("MANIFEST"))
        .map(|file| (file.clone(), archive.world.sim.bytes_of(&file).unwrap()))
        .collect();
    assert_eq!(older.len(), 5);
    assert_eq!(merge(&engine).merges, 1);
    engine.close().unwrap();
    drop(engine);
    let world = after(&archive.world, Survivors::Everything);
    let disk = Disk::new(Arc::new(world.sim.clone()));
    for (file, bytes) in older {
        let (dir, name) = file.split_once('/').unwrap_or(("", &file));
        disk.write_whole(dir, name, &bytes).unwrap();
    }
    // Every record stands in a pack that the manifest names. But its numbers for packs are behind:
    // it would give one again that the catalog has rows of.
    for losses in [Losses::Restrict, Losses::Accept] {
        let refused = world.try_open(losses).map(|_| ());
        let Err(Error::Corrupt { what, expected, found, .. }) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(what, "manifest lacks a pack that the catalog knows");
        assert_eq!((expected, found), (4, 4));
    }
}

#[test]
fn a_start_acts_on_no_edit_of_the_manifest_that_a_power_cut_would_take_back() {
    let (archive, engine) = Archive::new(1, 3);
    engine.idle();
    let before = archive.answers(&engine);
    drop(engine);
    let start = after(&archive.world, Survivors::Everything);
    let mut poisoned = 0;
    for (step, at) in (1..40).flat_map(|step| (1..40).map(move |at| (step, at))) {
        let world = after(&start, Survivors::Everything);
        let engine = world.open();
        world.sim.arrange(step, Trouble::Once);
        let _ = engine.merge(&mut |_| true);
        world.sim.calm();
        if !matches!(engine.health(), Health::Poisoned { .. }) {
            continue;
        }
        poisoned += 1;
        drop(engine);
        // The process ends, not the machine: what was written and not synced is still shown.
        let world = World { store: world.store.crash(), ..world };
        world.sim.arrange(at, Trouble::Full);
        drop(world.try_open(Losses::Restrict));
        for seed in 0..8 {
            // Of names and bytes some reached the disk.
            let cut = after(&world, Survivors::Prefix(seed));
            let what = format!("step {step}, disk full at {at} of the start, cut {seed}");
            assert_eq!(archive.answers(&cut.open()), before, "{what}");
        }
    }
    assert!(poisoned >= 78, "{poisoned}");
}

#[test]
fn a_change_before_a_rooms_next_entry_hides_no_gap_when_the_pack_before_it_is_lost() {
    let (archive, engine) = Archive::new(1, 2);
    let (room, last) = (archive.rooms[0], engine.head(archive.rooms[0]).unwrap().seq);
    // Behind the seal a change, then an entry; the catalog on disk knows of both.
    let set = MemberSet { principal: archive.user, roles: Roles::MEMBER };
    one(&engine, draft(archive.user, room, Payload::MemberSet(set)));
    let said = one(&engine, post(archive.user, room, "behind"));
    engine.idle();
    archive.world.store.flush().unwrap();
    assert_eq!(merge(&engine).merges, 1);
    drop(engine);
    let world = after(&archive.world, Survivors::Everything);
    world.sim.take_away("packs/00000003.pack");
    let engine = world.open();
    for sealed in [false, true] {
        let page = engine.category_page(&whole(archive.categories[0]), &mut |_| true).unwrap();
        let gaps: Vec<_> = page.gaps.iter().filter(|gap| gap.room == room).collect();
        let named: Vec<_> = gaps.iter().map(|gap| (gap.from_seq, gap.to_seq)).collect();
        assert_eq!(named, [(Seq(1), last)], "sealed={sealed}");
        assert!(page.records.iter().any(|r| r.room == room && r.seq == said.seq));
        engine.seal().unwrap();
    }
}

#[test]
fn a_merge_that_is_stopped_changes_nothing() {
    let (archive, engine) = Archive::new(1, 3);
    let files = archive.world.sim.files();
    for blocks in 0..5 {
        let mut left = blocks;
        let stopped = engine.merge(&mut |bytes| {
            assert!(bytes > 0);
            left -= 1;
            left >= 0
        });
        assert!(matches!(stopped, Err(Error::Unavailable { .. })), "{stopped:?}");
        assert_eq!(archive.world.sim.files(), files);
    }
    assert_eq!(merge(&engine).merges, 1);
}

#[test]
fn a_damaged_pack_is_passed_over_and_its_damage_stays_named() {
    let (archive, engine) = Archive::new(1, 4);
    let room = archive.rooms[2];
    engine.close().unwrap();
    drop(engine);
    let world = after(&archive.world, Survivors::Nothing);
    let name = "packs/00000002.pack";
    let mut bytes = world.sim.bytes_of(name).unwrap();
    bytes[60] ^= 1;
    world.sim.set_bytes(name, bytes);
    let engine = world.open();
    let before = archive.answers(&engine);
    assert!(!before.gaps.is_empty() || !before.holes.is_empty());
    let report = merge(&engine);
    assert_eq!((report.merges, report.packs_in, report.packs_out), (1, 3, 1));
    let (files, named) = Archive::packs(&world);
    assert_eq!((files.clone(), named), (files.clone(), files));
    assert!(world.sim.bytes_of(name).is_some(), "it stays, for a repair");
    assert_eq!(archive.answers(&engine), before);
    one(&engine, post(archive.user, room, "it goes on"));
    drop(engine);
    let world = after(&world, Survivors::Everything);
    let (engine, report) = world.try_open(Losses::Restrict).unwrap();
    assert_eq!((report.lost_messages, report.holes.len()), (0, 0), "{report:?}");
    assert_eq!(archive.answers(&engine).gaps, before.gaps);
}

#[test]
fn a_pack_that_cannot_be_read_for_a_while_keeps_no_other_from_being_merged() {
    let (archive, engine) = Archive::new(1, 4);
    let before = archive.answers(&engine);
    archive.world.sim.arrange_read(1, ReadTrouble::File);
    let report = merge(&engine);
    archive.world.sim.calm_reads();
    assert_eq!((report.merges, report.packs_in, report.packs_out), (1, 3, 1));
    assert_eq!(engine.stats().merge_failures.get(), 1);
    assert_eq!(archive.answers(&engine), before);
    drop(engine);
    // The next start tries it again.
    let world = after(&archive.world, Survivors::Everything);
    let engine = world.open();
    assert_eq!(merge(&engine).packs_in, 2);
    assert_eq!(archive.answers(&engine), before);
}

#[test]
fn a_pack_that_nobody_names_goes_only_if_each_of_its_records_stands_elsewhere() {
    let name = "00000001.pack";
    let path = format!("packs/{name}");
    let (archive, engine) = Archive::new(1, 2);
    let own = archive.world.sim.bytes_of(&path).unwrap();
    let before = archive.answers(&engine);
    merge(&engine);
    engine.close().unwrap();
    drop(engine);
    let put_back = |bytes: &[u8], damage: bool| {
        let world = after(&archive.world, Survivors::Everything);
        Disk::new(Arc::new(world.sim.clone())).write_whole("packs", name, bytes).unwrap();
        if damage {
            let merged = "packs/00000003.pack";
            let mut bytes = world.sim.bytes_of(merged).unwrap();
            bytes[60] ^= 1;
            world.sim.set_bytes(merged, bytes);
        }
        let engine = world.open();
        (archive.answers(&engine), world.sim.bytes_of(&path))
    };
    // What a merge did not come to remove.
    assert_eq!(put_back(&own, false), (before.clone(), None));
    // The pack that took its place is damaged: this may be the only copy.
    let (_, left) = put_back(&own, true);
    assert_eq!(left.as_ref(), Some(&own));
    // Another history at the same places.
    let (stranger, engine) = Archive::saying(1, 2, 500);
    drop(engine);
    let other = stranger.world.sim.bytes_of(&path).unwrap();
    assert_eq!(put_back(&other, false), (before.clone(), Some(other)));
    // One that cannot be read.
    let torn = own[..own.len() / 2].to_vec();
    assert_eq!(put_back(&torn, false), (before, Some(torn)));
}

#[test]
fn a_pack_with_the_number_of_one_that_a_start_removed_answers_with_its_own_records() {
    let (archive, engine) = Archive::new(1, 4);
    merge(&engine);
    let merged = archive.world.sim.bytes_of("packs/00000005.pack").unwrap();
    drop(engine);
    // As the merge leaves it if it is cut off before its edit.
    let (archive, engine) = Archive::new(1, 4);
    engine.close().unwrap();
    drop(engine);
    let world = after(&archive.world, Survivors::Everything);
    let disk = Disk::new(Arc::new(world.sim.clone()));
    disk.write_whole("packs", "00000005.pack", &merged).unwrap();
    let options = Options { tail_bytes_soft: 0, ..options() };
    let engine = open_on(world.ground(), options, Drive::Steps, Losses::Restrict).unwrap().0;
    assert_eq!(Archive::packs(&world).0, [1, 2, 3, 4]);
    archive.posts(&engine, 77);
    let before = archive.answers(&engine);
    engine.seal().unwrap();
    assert_eq!(Archive::packs(&world).0, [1, 2, 3, 4, 5]);
    assert_eq!(archive.answers(&engine), before);
}

#[test]
fn a_room_that_moved_is_found_in_its_new_category_by_merged_rows() {
    let (archive, engine) = Archive::new(1, 3);
    let [from, to] = [archive.categories[0], archive.categories[1]];
    let moved = RoomChanged { settings: room_settings(to, "room 0") };
    one(&engine, draft(archive.user, archive.rooms[0], Payload::RoomChanged(moved)));
    let before = archive.answers(&engine);
    archive.pass_days(1);
    engine.seal().unwrap();
    archive.pass_days(1);
    assert!(merge(&engine).merges > 0);
    assert_eq!(archive.answers(&engine), before);
    let disk = Disk::new(Arc::new(archive.world.sim.clone()));
    let state = manifest::load(&disk).unwrap().state;
    let packs = hansard_engine::pack::Packs::new(&disk, 0, Arc::default());
    let runs = state.packs.values().flat_map(|meta| packs.runs(meta).unwrap());
    let of_room: Vec<CategoryId> =
        runs.filter(|run| run.room == archive.rooms[0]).map(|run| run.category).collect();
    assert!(of_room.contains(&to) && !of_room.contains(&from), "{of_room:?}");
}

#[test]
fn readers_and_posters_go_on_through_seals_and_merges() {
    use hansard_engine::open::{Drive, open_on};
    use std::sync::atomic::{AtomicBool, Ordering};
    let (archive, engine) = Archive::new(0, 0);
    drop(engine);
    let world = after(&archive.world, Survivors::Everything);
    let options = Options { merge_runs: 4, ..options() };
    let (engine, _) = open_on(world.ground(), options, Drive::Threads, Losses::Restrict).unwrap();
    let whole = whole(archive.categories[0]);
    let (room, ended) = (archive.rooms[0], AtomicBool::new(false));
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..4)
            .map(|n| {
                let (engine, ended, whole) = (engine.clone(), &ended, &whole);
                scope.spawn(move || {
                    let mut reads = 0u64;
                    while !ended.load(Ordering::Relaxed) || reads == 0 {
                        let head = engine.head(room).unwrap().seq;
                        if n == 3 {
                            let page = engine.category_page(whole, &mut |_| true).unwrap();
                            let seqs = page.records.iter().map(|r| r.seq.0).collect::<Vec<_>>();
                            assert!(page.gaps.is_empty() && seqs.len() as u64 >= head.0);
                            assert!(seqs.iter().zip(1..).all(|(seq, n)| *seq == n), "{seqs:?}");
                            reads += 1;
                            continue;
                        }
                        let page = match n {
                            0 => engine.page(room, Anchor::At(Seq(1)), 500).unwrap(),
                            1 => engine.page(room, Anchor::Before(head.next()), 500).unwrap(),
                            _ => engine.page(room, Anchor::Around(Seq(head.0 / 2)), 40).unwrap(),
                        };
                        assert_eq!(page.gaps, [], "a merge is no gap");
                        let seqs = page.records.iter().map(|r| r.seq.0).collect::<Vec<_>>();
                        assert!(seqs.windows(2).all(|w| w[0] + 1 == w[1]), "{seqs:?}");
                        reads += 1;
                    }
                    reads
                })
            })
            .collect();
        for round in 0..120 {
            let said = post(archive.user, room, &format!("{round}"));
            let done = engine.append_and_wait(vec![said]).unwrap();
            // A seal takes what is applied.
            while engine.stats().applied_lsn.get() < done[0].lsn.0 {
                std::thread::yield_now();
            }
            engine.seal().unwrap();
            if round % 3 == 0 {
                world.clock.pass_us(TimeUs::DAY_US);
            }
            merge(&engine);
        }
        ended.store(true, Ordering::Relaxed);
        let reads: u64 = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
        assert!(reads > 3);
    });
    engine.close().unwrap();
    let (files, named) = Archive::packs(&world);
    assert_eq!(files, named, "the last reader unlinked what was merged away");
    assert!(engine.stats().merges.get() >= 40);
}

#[test]
fn checkpoints_beside_seals_and_merges_have_rows_of_the_packs_that_they_name() {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    let (archive, engine) = Archive::new(0, 0);
    drop(engine);
    let world = after(&archive.world, Survivors::Everything);
    let options = Options { merge_runs: 2, ..options() };
    let (engine, _) = open_on(world.ground(), options, Drive::Threads, Losses::Restrict).unwrap();
    let (ended, copies) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let (engine, ended, copies, world) = (engine.clone(), &ended, &copies, &world);
        let sealer = {
            let engine = engine.clone();
            scope.spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    engine.seal().unwrap();
                }
            })
        };
        let copier = {
            let engine = engine.clone();
            scope.spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    let number = copies.fetch_add(1, Ordering::Relaxed);
                    let place = std::path::PathBuf::from(format!("copy {number}"));
                    engine.checkpoint(&place).unwrap();
                    let copy = Disk::new(Arc::new(world.sim.next_to(&place)));
                    let named = manifest::load(&copy).unwrap().state.packs;
                    let rows = world.store.copy_at(&place.join("catalog")).unwrap();
                    for ((_, key), value) in rows.rows() {
                        if key.first() == Some(&b'R') {
                            let run: Run = from_bytes(&value, "run row").unwrap();
                            assert!(named.contains_key(&run.pack), "{number}: {run:?}");
                        }
                    }
                }
            })
        };
        // Bounded: a copier that failed makes no more copies.
        for round in 0..2_000 {
            let enough = engine.stats().merges.get() > 30 && copies.load(Ordering::Relaxed) > 20;
            if enough {
                break;
            }
            for room in &archive.rooms {
                let said = post(archive.user, *room, &format!("{round}"));
                engine.append_and_wait(vec![said]).unwrap();
            }
            if round % 3 == 0 {
                world.clock.pass_us(TimeUs::DAY_US);
            }
            merge(&engine);
        }
        ended.store(true, Ordering::Relaxed);
        sealer.join().unwrap();
        copier.join().unwrap();
    });
    assert!(copies.into_inner() > 20);
    assert!(engine.stats().merges.get() > 30);
    let (packs, bytes) = (engine.stats().packs.get(), engine.stats().pack_bytes.get());
    let disk = Disk::new(Arc::new(world.sim.clone()));
    let named = manifest::load(&disk).unwrap().state.packs;
    let sum: u64 = named.values().map(|meta| meta.bytes).sum();
    assert_eq!((packs, bytes), (named.len() as u64, sum));
    engine.close().unwrap();
}
