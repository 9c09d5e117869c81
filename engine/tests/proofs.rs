//! Trees, salts and signed heads: what they say, and that nothing that becomes of packs, catalog or
//! words changes them.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "support/canary.rs"]
mod canary;
mod support;

use std::collections::BTreeMap;

use canary::files_with;
use hansard_engine::catalog::memory::MemoryCatalog;
use hansard_engine::catalog::rows::SaltRow;
use hansard_engine::catalog::{CatalogStore, Family, Go, Walk, keys};
use hansard_engine::format::payload::*;
use hansard_engine::format::wire::from_bytes;
use hansard_engine::notary::{HeadLog, KEY, KEYS, NEXT_KEY};
use hansard_engine::open::{Drive, Losses, open_on};
use hansard_engine::proof::leaf::record_leaf;
use hansard_engine::proof::note::{endorsement, open_note};
use hansard_engine::proof::salts::Salts;
use hansard_engine::proof::tree::{Hash, consistency, is_consistent, node_hash};
use hansard_engine::proof::{Tree, leaf};
use hansard_engine::remembered::comparable_rows;
use hansard_engine::storage::sim::Survivors;
use hansard_engine::storage::{Disk, join};
use hansard_engine::types::*;
use hansard_engine::{Engine, Health, OpenReport, Options};
use support::*;

/// A seed of salts for every 64 places.
fn small() -> Options {
    Options { salt_level: 6, ..options() }
}

fn open(world: &World) -> (Engine, OpenReport) {
    open_on(world.ground(), small(), Drive::Steps, Losses::Restrict).unwrap()
}

/// The leaves of every room, computed from records alone.
fn leaves(engine: &Engine, rooms: &[RoomId]) -> BTreeMap<RoomId, Vec<Hash>> {
    let all = |room: RoomId| {
        let (mut records, mut after) = (Vec::new(), Rev::ZERO);
        loop {
            let page = engine.changes(room, after, 500).unwrap();
            let Some(last) = page.records.last() else { return records };
            after = last.rev;
            records.extend(page.records);
        }
    };
    let salts: Vec<Salts> = all(RoomId::SYSTEM_SALTS)
        .into_iter()
        .filter_map(|record| match record.payload {
            Payload::Salts(salts) => Some(salts),
            _ => None,
        })
        .collect();
    let of = |lsn: Lsn| salts.iter().find_map(|salts| salts.of(lsn));
    let system = (1..=8).map(RoomId);
    rooms
        .iter()
        .copied()
        .chain(system)
        .map(|room| {
            let leaf = |record| record_leaf(&record, of(record.lsn).as_ref());
            (room, all(room).into_iter().map(leaf).collect())
        })
        .collect()
}

fn tree_of(leaves: &[Hash]) -> Tree {
    let mut tree = Tree::default();
    for leaf in leaves {
        tree.push(*leaf);
    }
    tree
}

/// Every room's tree is that of its records; gives all leaves.
fn check(engine: &Engine, rooms: &[RoomId], what: &str) -> BTreeMap<RoomId, Vec<Hash>> {
    let all = leaves(engine, rooms);
    for (room, leaves) in &all {
        assert_eq!(engine.tree(*room).unwrap(), tree_of(leaves), "{what}: {room}");
    }
    all
}

/// Three rooms with a few hundred records, in packs and not.
struct Desk {
    world: World,
    rooms: Vec<RoomId>,
    ann: PrincipalId,
}

impl Desk {
    fn new() -> (Self, Engine) {
        let world = World::new();
        let (engine, _) = open(&world);
        let category = make_category(&engine, "Desk");
        let rooms = (0..3).map(|n| make_room(&engine, category, &format!("room {n}"))).collect();
        let desk = Self { world, rooms, ann: make_user(&engine, "ann") };
        for n in 0..300 {
            // One room gets most.
            let room = desk.rooms[if n % 10 == 0 { 1 + n / 10 % 2 } else { 0 }];
            one(&engine, post(desk.ann, room, &format!("words {n}")));
            if n % 90 == 60 {
                engine.seal().unwrap();
            }
        }
        (desk, engine)
    }

    fn erase(&self, engine: &Engine, seq: u64) -> Vec<Lsn> {
        let (erased, expect) = engine.erasure(self.rooms[0], Seq(seq), "").unwrap().unwrap();
        let lsns = erased.records.iter().map(|record| record.lsn).collect();
        let mut draft = draft(self.ann, self.rooms[0], Payload::Erased(erased));
        draft.expect = Some(expect);
        one(engine, draft);
        engine.erase_owed().unwrap();
        lsns
    }

    /// The same directory whose catalog was lost, after a power cut.
    fn without_catalog(&self) -> World {
        let store = MemoryCatalog::default();
        World { store, ..self.world.crashed(Survivors::Everything) }
    }
}

#[test]
fn a_room_has_the_tree_of_its_records_whatever_becomes_of_packs_and_catalog() {
    let (desk, engine) = Desk::new();
    let before = check(&engine, &desk.rooms, "as it was said");
    assert!(before[&RoomId::SYSTEM_SALTS].len() >= 4, "a seed for every 64 places");
    engine.seal().unwrap();
    desk.world.clock.pass_us(40 * TimeUs::DAY_US);
    while engine.merge(&mut |_| true).unwrap().packs_in > 0 {}
    assert_eq!(check(&engine, &desk.rooms, "merged"), before);
    drop(engine);
    for (what, world) in [
        ("killed", desk.world.crashed(Survivors::Nothing)),
        ("without its catalog", desk.without_catalog()),
    ] {
        let (engine, report) = open(&world);
        assert_eq!(engine.health(), Health::Ready, "{report:?}");
        assert_eq!(check(&engine, &desk.rooms, what), before, "{what}");
        one(&engine, post(desk.ann, desk.rooms[0], "and on"));
        check(&engine, &desk.rooms, what);
    }
}

#[test]
fn nodes_of_sixty_four_leaves_are_rows() {
    let (desk, engine) = Desk::new();
    let leaves = check(&engine, &desk.rooms, "as it was said");
    let room = desk.rooms[0];
    let nodes: Vec<Hash> =
        leaves[&room].chunks_exact(64).map(|leaves| tree_of(leaves).root()).collect();
    assert!(nodes.len() > 3);
    let rows = desk.world.store.rows();
    for (index, node) in nodes.iter().enumerate() {
        let key = (Family::State, keys::tree_node(room, index as u64));
        assert_eq!(rows.get(&key).map(Vec::as_slice), Some(&node[..]), "{index}");
    }
    assert!(!rows.contains_key(&(Family::State, keys::tree_node(room, nodes.len() as u64))));
}

/// What is left of the salts, by the rows.
fn salt_rows(world: &World) -> Vec<SaltRow> {
    let mut rows = Vec::new();
    let (from, to) = (keys::SALTS, keys::after_prefix(keys::SALTS));
    world
        .store
        .range(Family::State, from, &to, Walk::Up, &mut |_, value| {
            rows.push(from_bytes::<SaltRow>(value, "row").unwrap());
            Ok(Go::On)
        })
        .unwrap();
    rows
}

#[test]
fn what_is_erased_leaves_the_tree_as_it_is_and_its_salts_nowhere() {
    for level in [6, 20] {
        let world = World::new();
        let options = || Options { salt_level: level, ..options() };
        let open = |world: &World| {
            open_on(world.ground(), options(), Drive::Steps, Losses::Restrict).unwrap().0
        };
        let engine = open(&world);
        let category = make_category(&engine, "Desk");
        let rooms = vec![make_room(&engine, category, "trades")];
        let desk = Desk { world, rooms, ann: make_user(&engine, "ann") };
        for n in 0..150 {
            one(&engine, post(desk.ann, desk.rooms[0], &format!("words {n}")));
        }
        let before = check(&engine, &desk.rooms, "before");
        let seeds = salt_rows(&desk.world);
        let mut gone = Vec::new();
        for seq in [3, 4, 100] {
            gone.extend(desk.erase(&engine, seq));
        }
        let rows = salt_rows(&desk.world);
        for lsn in (1..150).map(Lsn) {
            let known = rows.iter().any(|row| row.salts.of(lsn).is_some());
            assert_eq!(known, !gone.contains(&lsn), "level {level}: {lsn}");
        }
        // Nor do the seeds that gave them stand anywhere.
        for row in seeds.iter().filter(|row| gone.iter().any(|lsn| row.salts.of(*lsn).is_some())) {
            let seed = row.salts.nodes[0].seed;
            assert_eq!(files_with(&desk.world.sim, "", seed), [] as [String; 0], "level {level}");
            let rows = desk.world.store.rows();
            assert!(rows.values().all(|value| find(value, &seed).is_none()), "level {level}");
        }
        // Leaves that stood there still do.
        let room = desk.rooms[0];
        let tree = engine.tree(room).unwrap();
        let mut expected = before[&room].clone();
        let new = engine.changes(room, Rev(expected.len() as u64), 500).unwrap().records;
        let salts = |lsn| rows.iter().find_map(|row| row.salts.of(lsn));
        expected.extend(new.iter().map(|r| record_leaf(r, salts(r.lsn).as_ref())));
        assert_eq!(tree, tree_of(&expected), "level {level}");
        engine.close().unwrap();
        drop(engine);
        let copy = desk.without_catalog();
        let engine = open(&copy);
        assert_eq!(engine.tree(room).unwrap(), tree, "level {level}: rebuilt");
        engine.seal().unwrap();
        engine.close().unwrap();
        let [kept, rebuilt] = [&desk.world.store, &copy.store].map(|s| comparable_rows(s).unwrap());
        assert!(kept == rebuilt, "level {level}: rows differ");
    }
}

/// The newest heads of rooms, as they are recorded.
fn listed(engine: &Engine) -> BTreeMap<RoomId, RoomHead> {
    let (mut listed, mut after) = (BTreeMap::new(), Rev::ZERO);
    loop {
        let page = engine.changes(RoomId::SYSTEM_HEADS, after, 500).unwrap();
        let Some(last) = page.records.last() else { return listed };
        after = last.rev;
        for record in page.records {
            if let Payload::RoomHeads(heads) = record.payload {
                listed.extend(heads.heads.into_iter().map(|head| (head.room, head)));
            }
        }
    }
}

#[test]
fn a_signed_head_is_of_every_room_and_follows_from_the_one_before() {
    let (desk, engine) = Desk::new();
    assert_eq!(engine.newest_head().unwrap(), None);
    let first = engine.sign_heads().unwrap().unwrap();
    assert_eq!(engine.newest_head().unwrap().as_ref(), Some(&first));
    let keys = engine.head_keys().unwrap();
    assert_eq!(keys.len(), 1);
    let (checkpoint, _) = open_note(&first.note, &keys).unwrap();
    assert_eq!(checkpoint, first.checkpoint);
    let all = check(&engine, &desk.rooms, "signed");
    let heads = listed(&engine);
    for (room, leaves) in all.iter().filter(|(room, _)| **room != RoomId::SYSTEM_HEADS) {
        // The key is newer than what was listed, and nothing else is.
        let head = heads.get(room);
        let size = usize::try_from(head.map_or(0, |head| head.size)).unwrap();
        assert_eq!(size, leaves.len(), "{room}");
        assert_eq!(head.map(|h| h.root), (size > 0).then(|| tree_of(&leaves[..size]).root()));
    }
    // Nothing happened since.
    assert_eq!(engine.sign_heads().unwrap(), Some(first.clone()));
    one(&engine, post(desk.ann, desk.rooms[1], "one more"));
    let second = engine.sign_heads().unwrap().unwrap();
    assert_ne!(second, first);
    assert!(second.checkpoint.upto > first.checkpoint.upto);
    assert_eq!(listed(&engine)[&desk.rooms[1]].size, heads[&desk.rooms[1]].size + 1);
    let leaves = leaves(&engine, &[])[&RoomId::SYSTEM_HEADS].clone();
    let mut node = |level: u32, index: u64| -> Result<Hash, std::convert::Infallible> {
        let at = usize::try_from(index << level).unwrap();
        Ok(tree_of(&leaves[at..at + (1 << level)]).root())
    };
    let (old, new) = (&first.checkpoint, &second.checkpoint);
    let Ok(path) = consistency(old.size, new.size, &mut node);
    assert!(is_consistent((old.size, &old.root), (new.size, &new.root), &path));
    let other = node_hash(&old.root, &old.root);
    assert!(!is_consistent((old.size, &other), (new.size, &new.root), &path));
}

#[test]
fn a_start_signs_what_came_before_it_and_nothing_twice() {
    let (desk, engine) = Desk::new();
    let first = engine.sign_heads().unwrap().unwrap();
    engine.close().unwrap();
    drop(engine);
    let (engine, _) = open(&desk.world);
    assert_eq!(engine.sign_heads().unwrap().as_ref(), Some(&first), "nothing happened");
    // One of them in a pack, one in the journal.
    one(&engine, post(desk.ann, desk.rooms[1], "sealed"));
    engine.seal().unwrap();
    one(&engine, post(desk.ann, desk.rooms[2], "not sealed"));
    drop(engine);
    for world in [desk.world.crashed(Survivors::Nothing), desk.without_catalog()] {
        let (engine, _) = open(&world);
        let before = listed(&engine);
        let heads = engine.tree(RoomId::SYSTEM_HEADS).unwrap().size();
        let second = engine.sign_heads().unwrap().unwrap();
        assert!(second.checkpoint.upto > first.checkpoint.upto);
        let new = engine.changes(RoomId::SYSTEM_HEADS, Rev(heads), 10).unwrap().records;
        let Payload::RoomHeads(list) = &new[0].payload else { panic!("{new:?}") };
        assert_eq!((new.len(), list.heads.len()), (2, 2), "what did not grow is not listed again");
        let after = listed(&engine);
        let grown: Vec<RoomId> = after
            .values()
            .filter(|head| before.get(&head.room) != Some(head))
            .map(|h| h.room)
            .collect();
        assert_eq!(grown, [desk.rooms[1], desk.rooms[2]]);
        assert_eq!(engine.head_keys().unwrap().len(), 1, "the key is the one it was");
        check(&engine, &desk.rooms, "signed after a start");
    }
}

fn head_log(engine: &Engine) -> (HeadLog, Vec<SigningKey>) {
    let (mut log, mut keys) = (HeadLog::default(), Vec::new());
    for record in engine.changes(RoomId::SYSTEM_HEADS, Rev::ZERO, 500).unwrap().records {
        log.take(&record);
        if let Payload::SigningKey(key) = record.payload {
            keys.push(key);
        }
    }
    (log, keys)
}

#[test]
fn a_new_key_is_endorsed_by_the_one_before_and_a_lost_one_is_not() {
    let (desk, engine) = Desk::new();
    let first = engine.sign_heads().unwrap().unwrap();
    let key = engine.rotate_head_key().unwrap();
    assert_ne!(key, first.key);
    one(&engine, post(desk.ann, desk.rooms[1], "under the new key"));
    let second = engine.sign_heads().unwrap().unwrap();
    assert_eq!(second.key, key);
    let known = engine.head_keys().unwrap();
    assert_eq!(known, [first.key.clone(), key.clone()]);
    for head in [&first, &second] {
        assert_eq!(open_note(&head.note, &known).unwrap().0, head.checkpoint);
    }
    assert!(open_note(&second.note, &known[..1]).is_err());
    let (log, keys) = head_log(&engine);
    assert_eq!((log.name(), log.newest().as_ref()), (Some(first.key.name()), Some(&second)));
    assert_eq!(keys[0].endorsed, [0; 64]);
    let text = endorsement(key.name(), &key.public());
    assert!(first.key.verifies(&text, &keys[1].endorsed));
    engine.close().unwrap();
    drop(engine);

    // The file is the secret of the newest; a start that lost it makes another, which nobody
    // endorses.
    let disk = Disk::new(std::sync::Arc::new(desk.world.sim.clone()));
    assert_eq!(disk.list(KEYS).unwrap(), [KEY]);
    disk.remove_if_there(&join(KEYS, KEY)).unwrap();
    let (engine, _) = open(&desk.world);
    one(&engine, post(desk.ann, desk.rooms[1], "under a third key"));
    let third = engine.sign_heads().unwrap().unwrap();
    assert_ne!(third.key, second.key);
    assert_eq!(third.key.name(), second.key.name(), "the log is the same");
    assert_eq!(head_log(&engine).1[2].endorsed, [0; 64]);
    // A start that ended between the record and the renaming goes on.
    engine.close().unwrap();
    drop(engine);
    disk.rename_durably(KEYS, KEY, NEXT_KEY).unwrap();
    let (engine, _) = open(&desk.world);
    one(&engine, post(desk.ann, desk.rooms[1], "once more"));
    assert_eq!(engine.sign_heads().unwrap().unwrap().key, third.key);
    assert_eq!(disk.list(KEYS).unwrap(), [KEY]);
}

#[test]
fn a_lost_message_has_an_unknown_leaf_and_the_tree_goes_on() {
    let (mut world, room, ann) = {
        let world = World::new();
        let engine = world.open();
        let category = make_category(&engine, "Desk");
        let (room, ann) = (make_room(&engine, category, "trades"), make_user(&engine, "ann"));
        for n in 0..10 {
            one(&engine, post(ann, room, &format!("word number {n}")));
        }
        engine.idle();
        drop(engine);
        (world.crashed(Survivors::Everything), room, ann)
    };
    let (file, at) = journal_with(&world.sim, "word number 4").unwrap();
    let mut bytes = world.sim.bytes_of(&file).unwrap();
    bytes[at] ^= 1;
    world.sim.set_bytes(&file, bytes);
    world.store = MemoryCatalog::default();
    let (engine, report) = world.try_open(Losses::Restrict).unwrap();
    assert_eq!((engine.health(), report.lost_messages), (Health::Ready, 1));
    one(&engine, post(ann, room, "and on"));
    let mut tree = Tree::default();
    let salts = salt_rows(&world)[0].salts.clone();
    let mut records = engine.changes(room, Rev::ZERO, 100).unwrap().records.into_iter().peekable();
    while let Some(record) = records.next() {
        tree.push(record_leaf(&record, salts.of(record.lsn).as_ref()));
        if records.peek().is_some_and(|next| next.rev != record.rev.next()) {
            tree.push_unknown(record.rev.0 + 1);
        }
    }
    assert_eq!(tree.size(), 12);
    assert_eq!(engine.tree(room).unwrap(), tree);
}

#[test]
fn a_list_or_a_signature_that_is_lost_restricts_nothing_and_is_made_again() {
    for nth in 0..2 {
        for keeps_catalog in [true, false] {
            let (desk, engine) = Desk::new();
            engine.sign_heads().unwrap();
            engine.seal().unwrap();
            let before = engine.tree(RoomId::SYSTEM_HEADS).unwrap().size();
            one(&engine, post(desk.ann, desk.rooms[1], "one more"));
            engine.sign_heads().unwrap();
            engine.idle();
            let new = engine.changes(RoomId::SYSTEM_HEADS, Rev(before), 10).unwrap().records;
            let lost = new[nth].lsn;
            drop(engine);
            let mut world = desk.world.crashed(Survivors::Everything);
            if !keeps_catalog {
                world.store = MemoryCatalog::default();
            }
            spoil(&world, lost);
            let (engine, report) = open(&world);
            assert_eq!(engine.health(), Health::Ready, "{report:?}");
            assert_eq!((report.lost_messages, report.holes.len()), (0, 0), "{report:?}");
            one(&engine, post(desk.ann, desk.rooms[2], "and on"));
            let head = engine.sign_heads().unwrap().unwrap();
            assert!(open_note(&head.note, &engine.head_keys().unwrap()).is_ok());
            assert_eq!(head.checkpoint.size, before + 3, "its place is kept");
            assert_eq!(engine.tree(RoomId::SYSTEM_HEADS).unwrap().size(), before + 4);
            engine.seal().unwrap();
            engine.close().unwrap();
            drop(engine);
            let (engine, report) = open(&world);
            assert_eq!(engine.health(), Health::Ready, "{report:?}");
        }
    }
}

#[test]
fn a_restricted_engine_signs_nothing_and_makes_no_key() {
    let (desk, engine) = Desk::new();
    engine.seal().unwrap();
    let gone = MemberSet { principal: desk.ann, roles: Roles::MEMBER };
    let lost = one(&engine, draft(desk.ann, desk.rooms[0], Payload::MemberSet(gone)));
    engine.idle();
    drop(engine);
    let world = desk.world.crashed(Survivors::Everything);
    spoil(&world, lost.lsn);
    let (engine, _) = open(&world);
    assert!(matches!(engine.health(), Health::Restricted { .. }));
    assert!(engine.sign_heads().is_err() && engine.rotate_head_key().is_err());
    assert_eq!(engine.newest_head().unwrap(), None);
    engine.close().unwrap();
    let disk = Disk::new(std::sync::Arc::new(world.sim.clone()));
    assert_eq!(disk.list(KEYS).unwrap(), [] as [String; 0]);
}

#[test]
fn seeds_are_no_events_and_no_client_drafts_them() {
    let world = World::new();
    let engine = world.open();
    let ann = make_user(&engine, "ann");
    let on = Setting { key: "compliance".into(), value: "on".into() };
    one(&engine, draft(ann, RoomId::NONE, Payload::Setting(on)));
    engine.sign_heads().unwrap();
    let (events, _) = engine.events(Lsn::ZERO, 500).unwrap();
    let kinds: Vec<Kind> = events.iter().map(|record| record.payload.kind()).collect();
    assert_eq!(kinds, [Kind::Setting, Kind::SigningKey]);
    for payload in [
        Payload::Salts(Salts::rooted(Lsn(1 << 20), 20, [1; 16])),
        Payload::SigningKey(SigningKey { public: [0; 32], endorsed: [0; 64] }),
        Payload::RoomHeads(RoomHeads { heads: Vec::new() }),
        Payload::SignedHead(SignedHead {
            size: 0,
            root: leaf::heads_root(&[]),
            upto: Lsn(1),
            time: START,
            key: Rev(1),
            signature: [0; 64],
        }),
    ] {
        let ticket = engine.append(vec![draft(ann, RoomId::NONE, payload)]).unwrap();
        engine.step();
        assert!(ticket.wait().is_err());
    }
}
