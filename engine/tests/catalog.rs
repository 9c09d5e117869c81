//! What the engine asks of its catalog, and of `apply`: rows that follow from the records alone.
//!
//! Every kind of record applied twice, the twin crashed between flushes, RocksDB killed between
//! flushes, and a catalog that is deleted and rebuilt.

#![cfg(feature = "rocksdb")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hansard_engine::apply::{Applier, applied_row};
use hansard_engine::catalog::memory::{MemoryCatalog, Rows};
use hansard_engine::catalog::rocks::{RocksCatalog, RocksOptions};
use hansard_engine::catalog::rows::AppliedRow;
use hansard_engine::catalog::{CatalogStore, Change, Family, Visit, Walk, keys};
use hansard_engine::error::Result;
use hansard_engine::format::payload::*;
use hansard_engine::format::record::Record;
use hansard_engine::format::wire::to_bytes;
use hansard_engine::remembered::comparable_rows;
use hansard_engine::storage::sim::Random;
use hansard_engine::types::*;
use hansard_engine::{Engine, Options};
use support::*;

/// Where the child of the kill test works; its presence makes a test run the child.
const CHILD: &str = "HANSARD_CATALOG_CHILD";
/// Crashes of the twin in a plain run, and kills of a process; `HANSARD_CATALOG_ROUNDS` and
/// `HANSARD_CATALOG_KILLS` say others: 200 kills are part of `make soak`.
const ROUNDS: u64 = 10_000;
const KILLS: u64 = 20;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

/// A log in which every kind of record stands, with names, members and keys that change.
fn log(posts: usize) -> Vec<Record> {
    let world = World::new();
    let engine = world.open();
    let system = PrincipalId::SYSTEM;
    let say = |payload| one(&engine, draft(system, RoomId::NONE, payload));
    say(Payload::Setting(Setting { key: "compliance".into(), value: "on".into() }));
    let (general, other) = (make_category(&engine, "General"), make_category(&engine, "Other"));
    let users: Vec<_> = (0..4).map(|n| make_user(&engine, &format!("user {n}"))).collect();
    let rooms: Vec<_> = (0..5).map(|n| make_room(&engine, general, &format!("room {n}"))).collect();
    let mut random = Random::new(5);
    for n in 0..posts {
        world.clock.pass_us(60_000_000);
        if n % 500 == 499 {
            engine.seal().unwrap();
        }
        let (room, user) = (rooms[random.below(5)], users[random.below(4)]);
        let at = |payload| one(&engine, draft(user, room, payload));
        match n % 17 {
            3 => {
                let to = if n % 2 == 0 { general } else { other };
                let settings = room_settings(to, &format!("renamed {n}"));
                at(Payload::RoomChanged(RoomChanged { settings }));
            }
            5 => drop(at(Payload::MemberSet(MemberSet { principal: user, roles: Roles::MEMBER }))),
            6 => drop(at(Payload::MemberRemoved(MemberRemoved { principal: user }))),
            8 => token(&engine, user, u8::try_from(n % 251).unwrap()),
            11 => {
                let mut settings = category_settings(&format!("Other {n}"));
                settings.denied = vec![users[n % 4]];
                let changed = CategoryChanged { category: other, settings };
                say(Payload::CategoryChanged(changed));
            }
            13 => rename(&engine, users[n % 4], &format!("user {n}")),
            15 => {
                let what = AuditKind::ALL[n % AuditKind::ALL.len()];
                let audit = Audit { what, principal: user, room, detail: String::new() };
                say(Payload::Audit(audit));
            }
            _ => drop(one(&engine, keyed(post(user, room, "said"), &format!("key {n}"), 1))),
        }
    }
    rare_kinds(&engine, rooms[4]);
    let mut records = Vec::new();
    let mut after = Lsn::ZERO;
    while let (more, Some(next)) = engine.events(after, 500).unwrap() {
        records.extend(more);
        after = next;
    }
    records.extend(engine.events(after, 500).unwrap().0);
    // What only proves the others is no event.
    for room in [RoomId::SYSTEM_SALTS, RoomId::SYSTEM_HEADS] {
        records.extend(engine.changes(room, Rev::ZERO, 500).unwrap().records);
    }
    records.sort_by_key(|record| record.lsn);
    records.dedup_by_key(|record| record.lsn);
    assert!(records.iter().zip(1..).all(|(record, lsn)| record.lsn.0 == lsn), "all of the log");
    records
}

fn token(engine: &Engine, user: PrincipalId, n: u8) {
    let made = TokenCreated {
        principal: user,
        name: "laptop".into(),
        sha256: [n; 32],
        expires: TimeUs::CEILING,
        session: false,
        one_use: false,
    };
    let made = one(engine, draft(user, RoomId::NONE, Payload::TokenCreated(made)));
    if n.is_multiple_of(3) {
        let gone = TokenRevoked { token: made.token_id(), principal: user, sha256: [n; 32] };
        one(engine, draft(user, RoomId::NONE, Payload::TokenRevoked(gone)));
    }
}

fn rename(engine: &Engine, principal: PrincipalId, name: &str) {
    let settings = PrincipalSettings {
        kind: PrincipalKind::User,
        name: name.into(),
        source: String::new(),
        password: None,
        administrator: false,
        disabled: false,
    };
    let changed = PrincipalChanged { principal, settings };
    one(engine, draft(PrincipalId::SYSTEM, RoomId::NONE, Payload::PrincipalChanged(changed)));
}

/// One each of the kinds that happen seldom.
fn rare_kinds(engine: &Engine, room: RoomId) {
    let system = PrincipalId::SYSTEM;
    let empty = make_category(engine, "Empty");
    let gone = CategoryDeleted { category: empty, name: "Empty".into() };
    one(engine, draft(system, RoomId::NONE, Payload::CategoryDeleted(gone)));
    one(engine, post(system, room, "said"));
    for body in ["said better", "said well"] {
        let edited = Edited { seq: Seq(1), body: body.into() };
        one(engine, draft(system, room, Payload::Edited(edited)));
    }
    let redacted = Redacted { seq: Seq(1), reason: "a slip".into() };
    one(engine, draft(system, room, Payload::Redacted(redacted)));
    one(engine, post(system, room, "said, and erased"));
    // Without its records: what the compliance family loses would be missing in this log.
    let (reason, records) = ("asked to".into(), Vec::new());
    let erased = Erased { seq: Seq(2), time: START, author: system, reason, records };
    one(engine, draft(system, room, Payload::Erased(erased)));
    let none = ComplianceExpired { upto: Lsn::ZERO };
    one(engine, draft(system, RoomId::NONE, Payload::ComplianceExpired(none)));
    let expired = Expired { floor: Seq(1), time: START };
    one(engine, draft(system, room, Payload::Expired(expired)));
    let settings = HoldSettings { room, ..hold_settings() };
    let placed = HoldPlaced { settings: settings.clone() };
    let placed = one(engine, draft(system, RoomId::NONE, Payload::HoldPlaced(placed)));
    let hold = HoldId::new(placed.epoch, placed.lsn);
    let released = HoldReleased { hold, settings };
    one(engine, draft(system, RoomId::NONE, Payload::HoldReleased(released)));
    let progress = ImportProgress {
        format: "irc-log".into(),
        source: "a.log".into(),
        from: 0,
        bytes: 10,
        digest: [3; 32],
        done: true,
    };
    one(engine, draft(system, room, Payload::ImportProgress(progress)));
    let settings = engine.directory().room(room).unwrap().unwrap().settings.clone();
    one(engine, draft(system, room, Payload::RoomDeleted(RoomDeleted { settings })));
    engine.sign_heads().unwrap();
    let accepted = LossAccepted { holes: vec![LsnSpan { first: Lsn(1), last: Lsn(2) }] };
    one(engine, draft(system, RoomId::NONE, Payload::LossAccepted(accepted)));
}

fn applier(store: &Arc<dyn CatalogStore>) -> Applier {
    Applier::new(Arc::clone(store)).unwrap()
}

fn apply(applier: &mut Applier, records: &[Record]) {
    for record in records {
        applier.apply(record, &record.to_bytes()).unwrap();
    }
    applier.commit_all().unwrap();
}

/// What of a log a catalog may lack, keys that were gathered and are in no run included.
fn rest<'a>(applier: &Applier, records: &'a [Record]) -> &'a [Record] {
    let kept = applier.remembered().kept().min(applier.applied());
    &records[usize::try_from(kept.0).unwrap()..]
}

/// The rows that a log leaves.
fn rows_of(records: &[Record]) -> Rows {
    let twin = MemoryCatalog::default();
    let store: Arc<dyn CatalogStore> = Arc::new(twin.clone());
    apply(&mut applier(&store), records);
    rows_in(&twin)
}

fn same(found: &Rows, expected: &Rows, what: &str) {
    for (key, value) in expected {
        assert_eq!(found.get(key), Some(value), "{what}: row {key:?}");
    }
    assert_eq!(found.len(), expected.len(), "{what}: more rows than there should be");
}

#[test]
fn every_kind_of_record_applied_twice_leaves_the_rows_of_once() {
    let records = log(200);
    let kinds: BTreeSet<u8> = records.iter().map(|r| r.payload.kind().code()).collect();
    for kind in Kind::ALL {
        // A loss stands in a pack in place of a record; it is never appended.
        assert!(kinds.contains(&kind.code()) || *kind == Kind::Lost, "{kind:?} is not in the log");
    }
    let (twice, once) = (MemoryCatalog::default(), MemoryCatalog::default());
    let store: Arc<dyn CatalogStore> = Arc::new(twice.clone());
    let mut only = applier(&(Arc::new(once.clone()) as Arc<dyn CatalogStore>));
    for record in &records {
        apply(&mut only, std::slice::from_ref(record));
        apply(&mut applier(&store), std::slice::from_ref(record));
        let row = AppliedRow { lsn: Lsn(record.lsn.0 - 1), ..applied_row(&*store).unwrap() };
        let (family, key) = (Family::State, keys::APPLIED.to_vec());
        store.write(&[Change { family, key, value: Some(to_bytes(&row)) }]).unwrap();
        apply(&mut applier(&store), std::slice::from_ref(record));
        let what = format!("{:?} at {}", record.payload.kind(), record.lsn);
        same(&rows_in(&twice), &rows_in(&once), &what);
    }
}

/// A store that counts what is written to it.
struct Counting(MemoryCatalog, AtomicU64, AtomicU64);

impl CatalogStore for Counting {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.0.get(family, key)
    }

    fn range(&self, f: Family, from: &[u8], to: &[u8], walk: Walk, see: Visit<'_>) -> Result<()> {
        self.0.range(f, from, to, walk, see)
    }

    fn write(&self, changes: &[Change]) -> Result<()> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.write(changes)
    }

    fn remove_range(&self, family: Family, from: &[u8], to: &[u8]) -> Result<()> {
        self.2.fetch_add(1, Ordering::Relaxed);
        self.0.remove_range(family, from, to)
    }

    fn flush(&self) -> Result<()> {
        self.0.flush()
    }

    fn checkpoint(&self, to: &Path) -> Result<()> {
        self.0.checkpoint(to)
    }

    fn erase_removed(&self, family: Family, from: &[u8], to: &[u8]) -> Result<()> {
        self.0.erase_removed(family, from, to)
    }
}

#[test]
fn a_record_is_applied_in_one_batch_or_not_at_all() {
    let counting =
        Arc::new(Counting(MemoryCatalog::default(), AtomicU64::new(0), AtomicU64::new(0)));
    let store: Arc<dyn CatalogStore> = Arc::clone(&counting) as Arc<dyn CatalogStore>;
    let mut applier = applier(&store);
    // Long enough that expired keys are removed on the way.
    for record in log(2_600) {
        let before = counting.1.load(Ordering::Relaxed);
        apply(&mut applier, std::slice::from_ref(&record));
        let writes = counting.1.load(Ordering::Relaxed) - before;
        assert_eq!(writes, 1, "{:?} at {}", record.payload.kind(), record.lsn);
    }
    assert!(counting.2.load(Ordering::Relaxed) > 0, "no keys went on the way");
}

#[test]
fn a_catalog_that_crashes_between_flushes_ends_with_the_rows_of_the_log() {
    let records = log(60);
    let expected = rows_of(&records);
    let mut random = Random::new(11);
    let mut crashes = 0;
    while crashes < number("HANSARD_CATALOG_ROUNDS", ROUNDS) {
        let mut twin = MemoryCatalog::default();
        loop {
            let store: Arc<dyn CatalogStore> = Arc::new(twin.clone());
            let mut applier = applier(&store);
            let mut rest = rest(&applier, &records);
            let mut crashed = false;
            while !rest.is_empty() && !crashed {
                let (now, then) = rest.split_at(rest.len().min(1 + random.below(8)));
                for record in now {
                    applier.apply(record, &record.to_bytes()).unwrap();
                }
                rest = then;
                // As the keeper does it, whose flush is not the only one.
                if random.below(4) == 0 && applier.applied() == now.last().unwrap().lsn {
                    applier.commit_all().unwrap();
                } else {
                    applier.commit().unwrap();
                }
                if random.below(3) == 0 {
                    store.flush().unwrap();
                }
                crashed = random.below(12) == 0;
            }
            if !crashed {
                applier.commit_all().unwrap();
                break;
            }
            twin = twin.crash();
            crashes += 1;
        }
        same(&rows_in(&twin), &expected, "after the last crash");
    }
}

fn rows_in(store: &dyn CatalogStore) -> Rows {
    comparable_rows(store).unwrap()
}

/// RocksDB with buffers so small that it flushes all the time.
fn tiny() -> RocksOptions {
    RocksOptions { cache_bytes: 1 << 20, write_buffer_bytes: 4096 }
}

/// What the killed process does: it goes on applying where the catalog stands.
fn child(dir: &Path) {
    let store: Arc<dyn CatalogStore> = Arc::new(RocksCatalog::open(dir, tiny()).unwrap());
    let records = log(CHILD_POSTS);
    let mut applier = applier(&store);
    let from = usize::try_from(applier.applied().0).unwrap();
    println!("applying");
    for batch in records[from..].chunks(7) {
        apply(&mut applier, batch);
    }
    println!("done");
    std::thread::sleep(Duration::from_secs(60));
}

const CHILD_POSTS: usize = 2_000;

#[test]
fn rocksdb_killed_between_flushes_holds_the_rows_of_a_prefix() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return child(Path::new(&dir));
    }
    let records = log(CHILD_POSTS);
    let mut random = Random::new(3);
    let (mut kills, mut flushed) = (0, BTreeSet::new());
    while kills < number("HANSARD_CATALOG_KILLS", KILLS) {
        let dir = tempfile::tempdir().unwrap();
        loop {
            let mut process = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "rocksdb_killed_between_flushes_holds_the_rows_of_a_prefix"])
                .args(["--nocapture"])
                .env(CHILD, dir.path())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut said = std::io::BufReader::new(process.stdout.take().unwrap());
            let mut line = String::new();
            while !line.starts_with("applying") {
                line.clear();
                assert!(std::io::BufRead::read_line(&mut said, &mut line).unwrap() > 0);
            }
            std::thread::sleep(Duration::from_micros(random.below(25_000) as u64));
            process.kill().unwrap();
            process.wait().unwrap();
            kills += 1;
            let store = RocksCatalog::open(dir.path(), tiny()).unwrap();
            let applied = applied_row(&store).unwrap().lsn;
            let prefix = &records[..usize::try_from(applied.0).unwrap()];
            let rows = rows_in(&store);
            // Before the first flush there is nothing at all.
            if !(rows.is_empty() && prefix.is_empty()) {
                same(&rows, &rows_of(prefix), &format!("kill {kills}, applied {applied}"));
            }
            flushed.insert(applied);
            let whole = prefix.len() == records.len();
            if whole || kills >= number("HANSARD_CATALOG_KILLS", KILLS) {
                break;
            }
        }
    }
    println!("{kills} kills, {} different positions", flushed.len());
    assert!(flushed.len() > 3, "every kill found the same position: {flushed:?}");
}

#[test]
fn a_deleted_catalog_is_rebuilt_to_equal_rows_from_packs_and_journal() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    Engine::create(&path).unwrap();
    let options = || {
        Options { journal_file_bytes: 256 * 1024, disk_reserve_bytes: 0, ..Options::default() }
            .quiet()
    };
    let (engine, _) = Engine::open(&path, options()).unwrap();
    let on = Setting { key: "compliance".into(), value: "on".into() };
    one(&engine, draft(PrincipalId::SYSTEM, RoomId::NONE, Payload::Setting(on)));
    let category = make_category(&engine, "General");
    let user = make_user(&engine, "ann");
    let rooms: Vec<_> =
        (0..20).map(|n| make_room(&engine, category, &format!("room {n}"))).collect();
    for n in 0..600 {
        let drafts = (0..8).map(|i| post(user, rooms[(n * 7 + i) % 20], &format!("{n}.{i}")));
        engine.append_and_wait(drafts.collect()).unwrap();
        if n % 150 == 149 {
            engine.seal().unwrap();
        }
    }
    // A seal takes what is applied, and the row of the position says how far it came.
    while engine.stats().applied_lsn.get() < engine.stats().committed_lsn.get() {
        std::thread::yield_now();
    }
    engine.seal().unwrap();
    engine.close().unwrap();
    drop(engine);
    let kept = rows_in(&RocksCatalog::open_read_only(&path.join("catalog")).unwrap());
    std::fs::remove_dir_all(path.join("catalog")).unwrap();
    let (engine, report) = Engine::open(&path, options()).unwrap();
    assert!(report.rebuilt > 4_000, "the journal was not trimmed: {report:?}");
    assert!(report.holes.is_empty(), "{report:?}");
    engine.seal().unwrap();
    engine.close().unwrap();
    drop(engine);
    let rebuilt = rows_in(&RocksCatalog::open_read_only(&path.join("catalog")).unwrap());
    same(&rebuilt, &kept, "rebuilt");
}

/// A closed data directory with packs, the journal behind them trimmed.
fn closed_directory(path: &Path) -> Rows {
    Engine::create(path).unwrap();
    let (engine, _) = Engine::open(path, small()).unwrap();
    let category = make_category(&engine, "General");
    let (room, user) = (make_room(&engine, category, "lobby"), make_user(&engine, "ann"));
    for n in 0..60 {
        let drafts = (0..8).map(|i| post(user, room, &format!("{n}.{i}")));
        engine.append_and_wait(drafts.collect()).unwrap();
        if n % 20 == 19 {
            // Only what is applied is sealed, and lets journal files be written over: a start that
            // found all of the log there would have no need of packs.
            while engine.directory().applied() < engine.committed() {
                std::thread::sleep(Duration::from_millis(1));
            }
            engine.seal().unwrap();
        }
    }
    engine.close().unwrap();
    drop(engine);
    // What was posted last is applied now, and sealed.
    let (engine, _) = Engine::open(path, small()).unwrap();
    engine.seal().unwrap();
    engine.close().unwrap();
    drop(engine);
    rows_in(&RocksCatalog::open_read_only(&path.join("catalog")).unwrap())
}

fn small() -> Options {
    Options { journal_file_bytes: 64 * 1024, disk_reserve_bytes: 0, ..Options::default() }.quiet()
}

/// Starts over a damaged catalog and checks that it was set aside and made again.
fn set_aside_and_rebuilt(path: &Path, kept: &Rows, what: &str) {
    let own = path.to_path_buf();
    // On a thread, so that a start that does not end is a failed test.
    let (said, heard) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || said.send(Engine::open(&own, small())));
    let (engine, report) = heard
        .recv_timeout(Duration::from_secs(60))
        .expect(what)
        .unwrap_or_else(|e| panic!("{what}: {e}"));
    assert!(report.holes.is_empty() && report.rebuilt > 400, "{what}: {report:?}");
    assert!(path.join("quarantine/catalog").exists(), "{what}: it is kept for people");
    engine.seal().unwrap();
    engine.close().unwrap();
    drop(engine);
    let rebuilt = rows_in(&RocksCatalog::open_read_only(&path.join("catalog")).unwrap());
    same(&rebuilt, kept, what);
}

fn file_named(folder: &Path, is_it: impl Fn(&str) -> bool) -> PathBuf {
    let files = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path());
    files.filter(|f| is_it(&f.file_name().unwrap().to_string_lossy())).max().unwrap()
}

#[test]
fn a_start_over_a_catalog_that_would_hang_rocksdb_ends_and_rebuilds_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    let kept = closed_directory(&path);
    let file = file_named(&path.join("catalog"), |name| name.starts_with("MANIFEST-"));
    let mut bytes = std::fs::read(&file).unwrap();
    // The type of the second record, 1, becomes 5: that of a recycled log.
    let place = 7 + usize::from(u16::from_le_bytes([bytes[4], bytes[5]])) + 6;
    assert_eq!(bytes[place], 1);
    bytes[place] ^= 4;
    std::fs::write(&file, bytes).unwrap();
    set_aside_and_rebuilt(&path, &kept, "a type of a recycled log");
}

#[test]
fn a_start_over_a_corrupt_catalog_sets_it_aside_and_rebuilds_it() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 4] = [
        ("a flipped bit of its manifest", |catalog| {
            let file = file_named(catalog, |name| name.starts_with("MANIFEST-"));
            let mut bytes = std::fs::read(&file).unwrap();
            bytes[20] ^= 1;
            std::fs::write(file, bytes).unwrap();
        }),
        ("a CURRENT of something else", |catalog| {
            std::fs::write(catalog.join("CURRENT"), "nothing\n").unwrap();
        }),
        ("no CURRENT", |catalog| std::fs::remove_file(catalog.join("CURRENT")).unwrap()),
        ("a table that is gone", |catalog| {
            std::fs::remove_file(file_named(catalog, |name| name.ends_with(".sst"))).unwrap();
        }),
    ];
    for (what, damage) in damages {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let kept = closed_directory(&path);
        damage(&path.join("catalog"));
        set_aside_and_rebuilt(&path, &kept, what);
        // Also once more, when one is in quarantine already.
        damage(&path.join("catalog"));
        set_aside_and_rebuilt(&path, &kept, what);
    }
}
