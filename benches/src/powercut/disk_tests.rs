//! The disk forgets what was not synced, and nothing else.
//!
//! A model that is too kind would make every power cut pass, so its unkindness is tested here.

use super::*;

const MODES: [(Bytes, Names); 4] = [
    (Bytes::Nothing, Names::Nothing),
    (Bytes::Everything, Names::Everything),
    (Bytes::Prefix, Names::Prefix),
    (Bytes::Sectors, Names::Any),
];

fn name(text: &str) -> &OsStr {
    OsStr::new(text)
}

fn bytes(disk: &Disk, file: &str) -> Option<Vec<u8>> {
    let ino = disk.lookup(ROOT, name(file)).ok()?;
    Some(disk.read(ino, 0, usize::MAX / 2).unwrap().to_vec())
}

#[test]
fn what_was_synced_survives_every_cut_and_what_was_not_only_some() {
    for (kept, names) in MODES {
        let mut seen = HashSet::new();
        for seed in 0..64 {
            let mut disk = Disk::default();
            let ino = disk.make_file(ROOT, name("a"), 0o600).unwrap();
            disk.write(ino, 0, &[1; 2048]).unwrap();
            disk.sync(ino).unwrap();
            disk.sync_folder(ROOT).unwrap();
            disk.write(ino, 1024, &[2; 2048]).unwrap();
            disk.make_file(ROOT, name("b"), 0o600).unwrap();
            let lost = disk.cut(kept, names, &mut Draw::of(&[seed]));
            assert_eq!((lost.writes, lost.names), (1, 1));
            let found = bytes(&disk, "a").expect("its name was synced");
            assert_eq!(found[..1024], [1; 1024]);
            assert!(found[1024..].iter().all(|byte| *byte <= 2));
            seen.insert((found, disk.lookup(ROOT, name("b")).is_ok()));
        }
        let expected =
            if matches!(kept, Bytes::Nothing | Bytes::Everything) { 1..=1 } else { 3..=64 };
        assert!(expected.contains(&seen.len()), "{kept:?}: {} outcomes", seen.len());
    }
}

#[test]
fn a_file_without_a_synced_name_is_gone_though_its_bytes_were_synced() {
    let mut disk = Disk::default();
    let ino = disk.make_file(ROOT, name("a"), 0o600).unwrap();
    disk.write(ino, 0, b"x").unwrap();
    disk.sync(ino).unwrap();
    disk.cut(Bytes::Everything, Names::Nothing, &mut Draw::of(&[1]));
    assert_eq!(bytes(&disk, "a"), None);
}

#[test]
fn a_rename_leaves_the_old_or_the_new_and_never_neither() {
    for seed in 0..64 {
        let mut disk = Disk::default();
        let folder = disk.make_folder(ROOT, name("f"), 0o700).unwrap();
        let old = disk.make_file(ROOT, name("a"), 0o600).unwrap();
        disk.write(old, 0, b"old").unwrap();
        disk.sync_all();
        let new = disk.make_file(folder, name("a.tmp"), 0o600).unwrap();
        disk.write(new, 0, b"new").unwrap();
        disk.sync(new).unwrap();
        disk.rename((folder, name("a.tmp")), (ROOT, name("a"))).unwrap();
        let before = disk.clone();
        disk.cut(Bytes::Sectors, Names::Any, &mut Draw::of(&[seed]));
        let found = bytes(&disk, "a").unwrap();
        assert!([&b"old"[..], b"new"].contains(&&found[..]), "{found:?}");
        let mut disk = before;
        disk.sync_folder(folder).unwrap();
        disk.cut(Bytes::Nothing, Names::Nothing, &mut Draw::of(&[seed]));
        assert_eq!(bytes(&disk, "a").unwrap(), b"new", "the folder it came from was synced");
        assert!(disk.lookup(folder, name("a.tmp")).is_err());
    }
}

#[test]
fn a_failed_sync_shows_the_bytes_and_does_not_keep_them() {
    let mut lost = 0;
    for seed in 0..32 {
        let mut disk = Disk::default();
        let ino = disk.make_file(ROOT, name("a"), 0o600).unwrap();
        disk.sync_all();
        disk.write(ino, 0, b"x").unwrap();
        disk.fail_sync(ino, &mut Draw::of(&[seed])).unwrap();
        assert_eq!(bytes(&disk, "a").unwrap(), b"x");
        disk.sync(ino).unwrap();
        disk.cut(Bytes::Nothing, Names::Nothing, &mut Draw::of(&[seed]));
        lost += u64::from(bytes(&disk, "a").unwrap().is_empty());
    }
    assert!((8..=24).contains(&lost), "{lost}");
}
