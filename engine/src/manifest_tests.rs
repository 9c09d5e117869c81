//! The manifest: which copy counts, what is made anew, and that a long one can be read.
//!
//! Copies are put there as files, as a crash or a disk would leave them.

use std::sync::Arc;

use super::*;
use crate::storage::sim::SimStorage;
use crate::types::TimeUs;

fn disk() -> Disk {
    let disk = Disk::new(Arc::new(SimStorage::new()));
    disk.create_dir("").unwrap();
    Manifest::create(&disk).unwrap();
    disk
}

fn bytes(disk: &Disk, file: &str) -> Vec<u8> {
    disk.read_all(file, BYTES_MAX).unwrap()
}

fn set(disk: &Disk, file: &str, bytes: &[u8]) {
    disk.write_whole("", file, bytes).unwrap();
}

fn pack(id: u64) -> PackMeta {
    PackMeta {
        id,
        bytes: 0,
        sha256: [7; 32],
        class: 0,
        level: 0,
        day: TimeUs(0),
        first_lsn: Lsn(id),
        last_lsn: Lsn(id),
        records: 1,
        runs: 1,
        min_time: TimeUs(0),
        max_time: TimeUs(0),
        plain_bytes: 1,
        dropped: 0,
    }
}

/// An edit that adds packs and says how far they go.
fn seal(ids: std::ops::Range<u64>) -> Edit {
    let last = ids.end - 1;
    Edit {
        added: ids.map(pack).collect(),
        removed: Vec::new(),
        sealed: Lsn(last),
        epoch: Epoch::FIRST,
        next_pack: last + 1,
    }
}

/// A directory with these edits behind one another.
fn with(edits: &[Edit]) -> Disk {
    let disk = disk();
    let mut manifest = Manifest::open(&disk, load(&disk).unwrap()).unwrap();
    for edit in edits {
        manifest.commit(edit).unwrap();
    }
    disk
}

fn equal(disk: &Disk) -> bool {
    load(disk).unwrap().equal
}

#[test]
fn the_copy_that_goes_further_counts_and_the_other_is_made_anew() {
    let (less, more) = (with(&[seal(1..2)]), with(&[seal(1..2), seal(2..3)]));
    assert!(equal(&less) && equal(&more));
    for (behind, ahead) in [(FILE, COPY), (COPY, FILE)] {
        let disk = disk();
        set(&disk, behind, &bytes(&less, FILE));
        set(&disk, ahead, &bytes(&more, FILE));
        let loaded = load(&disk).unwrap();
        assert_eq!((loaded.state.sealed, loaded.state.next_pack), (Lsn(2), 3), "{ahead}");
        assert!(!loaded.equal && loaded.faults.is_empty(), "{loaded:?}");
        let mut manifest = Manifest::open(&disk, loaded).unwrap();
        assert_eq!(bytes(&disk, FILE), bytes(&disk, COPY));
        manifest.commit(&seal(3..4)).unwrap();
        let loaded = load(&disk).unwrap();
        assert!(loaded.equal, "{loaded:?}");
        assert_eq!(loaded.state.packs.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
    }
}

#[test]
fn copies_of_one_length_and_another_chain_are_not_written_on() {
    let (one, other) = (with(&[seal(1..2)]), with(&[seal(2..3)]));
    let disk = disk();
    set(&disk, FILE, &bytes(&one, FILE));
    set(&disk, COPY, &bytes(&other, FILE));
    assert_eq!(bytes(&disk, FILE).len(), bytes(&disk, COPY).len());
    let loaded = load(&disk).unwrap();
    assert!(!loaded.equal);
    assert_eq!(loaded.state.sealed, Lsn(2));
}

#[test]
fn of_copies_that_go_equally_far_the_one_that_is_written_first_counts() {
    let gone = Edit { added: Vec::new(), removed: vec![1], ..seal(2..3) };
    let (before, behind) = (with(&[seal(1..3)]), with(&[seal(1..3), gone]));
    let disk = disk();
    set(&disk, FILE, &bytes(&behind, FILE));
    set(&disk, COPY, &bytes(&before, FILE));
    let loaded = load(&disk).unwrap();
    assert!(!loaded.equal && loaded.faults.is_empty(), "{loaded:?}");
    assert_eq!(loaded.state.packs.keys().copied().collect::<Vec<_>>(), [2], "1 may have no file");
}

#[test]
fn every_fault_names_its_copy_and_its_place() {
    let sound = with(&[seal(1..2)]);
    let whole = bytes(&sound, FILE);
    let magic = MANIFEST_MAGIC.len() as u64;
    for (file, other) in [(FILE, COPY), (COPY, FILE)] {
        let faults = |change: &dyn Fn(&Disk)| {
            let disk = disk();
            set(&disk, FILE, &whole);
            set(&disk, COPY, &whole);
            change(&disk);
            let loaded = load(&disk).unwrap();
            assert_eq!(loaded.state.sealed, Lsn(1), "the other copy is sound");
            assert!(!loaded.equal);
            let [Fault { file: named, offset, reason }] = loaded.faults.as_slice() else {
                panic!("one fault: {loaded:?}");
            };
            assert_eq!(*named, file);
            let found = (*offset, *reason);
            Manifest::open(&disk, loaded).unwrap();
            assert_eq!(bytes(&disk, file), bytes(&disk, other), "made anew");
            assert!(equal(&disk));
            found
        };
        let last = faults(&|disk| set(disk, file, &whole[..whole.len() - 1]));
        assert!(last.0 > magic && last.0 < whole.len() as u64, "{last:?}");
        let first = faults(&|disk| set(disk, file, &whole[..MANIFEST_MAGIC.len() + 3]));
        assert_eq!(first.0, magic);
        assert_eq!(faults(&|disk| set(disk, file, b"no such")), (0, "manifest magic"));
        let gone = faults(&|disk| disk.remove_if_there(file).unwrap());
        assert_eq!(gone, (0, "manifest is missing"));
    }
    let disk = disk();
    set(&disk, FILE, b"");
    set(&disk, COPY, b"");
    assert!(matches!(load(&disk), Err(Error::Corrupt { what: "manifest magic", .. })));
}

#[test]
fn a_long_manifest_is_read_and_rewritten_and_a_short_one_stays() {
    let packs = 1..25_000;
    let drop_them =
        Edit { added: Vec::new(), removed: packs.clone().collect(), ..seal(packs.clone()) };
    let short = with(&[seal(1..100)]);
    let before = bytes(&short, FILE);
    assert!(before.len() > 2048);
    Manifest::open(&short, load(&short).unwrap()).unwrap();
    assert_eq!(bytes(&short, FILE), before, "nothing is written");

    let long = with(&[seal(1..25_000), drop_them, seal(25_000..25_001)]);
    let before = bytes(&long, FILE).len() as u64;
    assert!(before > 1024 * 1024 + 1024, "{before}");
    let loaded = load(&long).unwrap();
    assert_eq!((loaded.end, loaded.state.packs.len()), (before, 1));
    let mut manifest = Manifest::open(&long, loaded).unwrap();
    assert!(bytes(&long, FILE).len() < 4096, "it is rewritten");
    manifest.commit(&seal(25_001..25_002)).unwrap();
    let loaded = load(&long).unwrap();
    assert!(loaded.equal && loaded.faults.is_empty());
    assert_eq!(loaded.state.packs.keys().copied().collect::<Vec<_>>(), [25_000, 25_001]);
}

#[test]
fn a_manifest_of_the_length_that_is_rewritten_stays_up_to_the_last_byte() {
    for (more, stays) in [(0, true), (1, false)] {
        // A number below 128 is one byte of an edit.
        let removing = |count| with(&[Edit { removed: vec![0; count], ..seal(1..2) }]);
        let (limit, some) = (usize::try_from(REWRITE_BYTES).unwrap(), 1_000_000);
        let rest = limit - bytes(&removing(some), FILE).len();
        let disk = removing(some + rest + more);
        let before = bytes(&disk, FILE);
        assert_eq!(before.len(), limit + more);
        Manifest::open(&disk, load(&disk).unwrap()).unwrap();
        assert_eq!(bytes(&disk, FILE) == before, stays, "{more} bytes more");
    }
}

#[test]
fn many_packs_are_rewritten_in_edits_that_can_be_read() {
    let disk = with(&[seal(1..20_002), seal(20_002..20_003)]);
    let state = load(&disk).unwrap().state;
    Manifest::write_anew(&disk, &state).unwrap();
    let whole = bytes(&disk, FILE);
    let (mut chain, mut at, mut added) = (Chain::default(), MANIFEST_MAGIC.len(), Vec::new());
    while at < whole.len() {
        let (edit, len) = decode_edit(&whole[at..], &mut chain).unwrap();
        added.push(edit.added.len());
        at += len;
    }
    assert_eq!(added, [10_000, 10_000, 2]);
    // A copy that was cut between two of them does not count beside a whole one.
    let (_, first) = decode_edit(&whole[8..], &mut Chain::default()).unwrap();
    set(&disk, FILE, &whole[..8 + first]);
    let loaded = load(&disk).unwrap();
    assert_eq!((loaded.state.packs.len(), loaded.equal), (20_002, false));
    let mut manifest = Manifest::open(&disk, load(&disk).unwrap()).unwrap();
    manifest.commit(&seal(20_003..20_004)).unwrap();
    let loaded = load(&disk).unwrap();
    assert!(loaded.equal && loaded.faults.is_empty(), "{:?}", loaded.faults);
    assert_eq!(loaded.state.packs.len(), 20_003);
}

#[test]
fn a_manifest_that_is_only_looked_at_takes_no_edit() {
    let disk = with(&[seal(1..2)]);
    let before = bytes(&disk, FILE);
    let mut manifest = Manifest::look(load(&disk).unwrap());
    assert_eq!(manifest.state().sealed, Lsn(1));
    assert!(matches!(manifest.commit(&seal(2..3)), Err(Error::Poisoned { .. })));
    assert_eq!(bytes(&disk, FILE), before);
}
