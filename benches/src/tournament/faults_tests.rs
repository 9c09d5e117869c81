//! Where faults hit, on folders made up for it.
//!
//! What a store makes of them is not tested here.

use std::time::{Duration, SystemTime};

use super::*;

fn file(sectors: u8, spare: u64, written: u64) -> FileImage {
    let bytes: Vec<u8> = (1..=sectors).flat_map(|n| vec![n; 512]).collect();
    let len = bytes.len() as u64 + spare;
    FileImage::new(bytes, len, SystemTime::UNIX_EPOCH + Duration::from_secs(written))
}

fn folder(files: &[(&str, FileImage)]) -> Image {
    let mut image = Image::default();
    image.files.extend(files.iter().map(|(name, file)| ((*name).to_owned(), file.clone())));
    image
}

fn role(path: &str) -> Role {
    match path {
        "LOCK" => Role::Aside,
        path if path.ends_with(".log") => Role::Log,
        _ => Role::Table,
    }
}

fn ground(state: State) -> Ground {
    let now = [
        ("table", file(32, 0, 1)),
        ("old.log", file(16, 0, 2)),
        ("new.log", file(16, 50_000, 3)),
        ("LOCK", file(1, 0, 9)),
    ];
    let then = [("table", file(24, 0, 1)), ("old.log", file(16, 0, 2))];
    Ground::new(folder(&now), folder(&then), state, role)
}

/// The folder after a fault, read from disk.
fn after(ground: &Ground, damage: &Damage) -> Image {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("store");
    ground.image.write(&dir).unwrap();
    damage.make(&dir).unwrap();
    Image::read(&dir).unwrap()
}

fn changed_bytes(before: &FileImage, after: &FileImage) -> Vec<u64> {
    let len = before.len.max(after.len);
    let mut old = before.range(0, len);
    let mut new = after.range(0, len);
    old.resize(usize::try_from(len).unwrap(), 0);
    new.resize(usize::try_from(len).unwrap(), 0);
    (0..).zip(old.iter().zip(&new)).filter(|(_, (a, b))| a != b).map(|(at, _)| at).collect()
}

fn draws(ground: &Ground, fault: Fault) -> Vec<Damage> {
    (0..64).map(|n| ground.place(fault, &mut Draw::of(&[5, n])).unwrap()).collect()
}

#[test]
fn the_same_seed_gives_the_same_places() {
    for fault in Fault::ALL {
        let ground = ground(State::Log);
        assert_eq!(draws(&ground, fault), draws(&ground, fault), "{fault:?}");
        let places: std::collections::BTreeSet<_> = draws(&ground, fault).into_iter().collect();
        assert!(places.len() > 2, "{fault:?} hits one place only");
    }
}

#[test]
fn every_fault_changes_one_file_and_never_one_that_holds_no_data() {
    let ground = ground(State::Log);
    for fault in Fault::ALL {
        for damage in draws(&ground, fault) {
            let found = after(&ground, &damage);
            for (name, before) in &ground.image.files {
                let same = found
                    .files
                    .get(name)
                    .is_some_and(|after| after.len == before.len && after.bytes == before.bytes);
                assert_eq!(same, *name != damage.file, "{damage:?}");
            }
            assert_ne!(damage.file, "LOCK");
        }
    }
}

#[test]
fn a_flipped_bit_is_one_bit_of_a_live_sector() {
    let ground = ground(State::Log);
    for damage in draws(&ground, Fault::Bit) {
        let found = after(&ground, &damage);
        let (before, after) = (&ground.image.files[&damage.file], &found.files[&damage.file]);
        assert_eq!(changed_bytes(before, after), [damage.offset]);
        let differ = before.range(damage.offset, 1)[0] ^ after.range(damage.offset, 1)[0];
        assert_eq!(differ.count_ones(), 1);
        assert!(damage.offset < before.bytes.len() as u64);
    }
}

#[test]
fn sector_faults_stay_in_aligned_sectors_of_either_size() {
    let ground = ground(State::Log);
    let mut sizes = std::collections::BTreeSet::new();
    for fault in [Fault::Zero, Fault::Stale, Fault::Double] {
        for damage in draws(&ground, fault) {
            let found = after(&ground, &damage);
            let (before, after) = (&ground.image.files[&damage.file], &found.files[&damage.file]);
            let bytes = changed_bytes(before, after);
            let (first, last) = (bytes[0], bytes[bytes.len() - 1]);
            assert!(first / 4096 == last / 4096, "{damage:?}");
            assert_eq!(damage.offset % 512, 0);
            assert_eq!(before.len, after.len);
            sizes.insert(bytes.len());
        }
    }
    assert!(sizes.contains(&512) && sizes.contains(&4096), "{sizes:?}");
}

#[test]
fn a_stale_sector_is_what_the_earlier_copy_had_there() {
    let ground = ground(State::Log);
    for damage in draws(&ground, Fault::Stale) {
        assert_ne!(damage.file, "old.log", "it did not change");
        let found = after(&ground, &damage);
        let now = found.files[&damage.file].range(damage.offset, 512);
        let then = ground.older.files.get(&damage.file);
        let then = then.map_or(vec![0; 512], |file| file.range(damage.offset, 512));
        assert!(now == then || (then.is_empty() && now == vec![0; 512]), "{damage:?}");
    }
}

#[test]
fn swapped_sectors_keep_all_bytes_of_the_file() {
    let ground = ground(State::Log);
    for damage in draws(&ground, Fault::Swap) {
        let found = after(&ground, &damage);
        let sorted = |image: &Image| {
            let file = &image.files[&damage.file];
            let mut sectors: Vec<_> = file.range(0, file.len).chunks(512).map(Vec::from).collect();
            sectors.sort();
            sectors
        };
        assert_eq!(sorted(&ground.image), sorted(&found), "{damage:?}");
    }
}

#[test]
fn a_torn_tail_is_of_the_log_written_last_and_keeps_allocated_space() {
    let ground = ground(State::Log);
    for damage in draws(&ground, Fault::Torn) {
        assert_eq!(damage.file, "new.log");
        let found = after(&ground, &damage);
        let (before, after) = (&ground.image.files["new.log"], &found.files["new.log"]);
        assert_eq!(before.len, after.len);
        assert!(before.bytes.starts_with(&after.bytes));
        let lost = before.bytes.len() as u64 - after.bytes.len() as u64;
        assert!((1..=TAIL_BYTES_MAX).contains(&lost));
    }
}

#[test]
fn at_rest_sectors_of_the_log_are_not_hit_but_it_can_be_removed() {
    let ground = ground(State::Tables);
    for fault in [Fault::Bit, Fault::Zero, Fault::Stale, Fault::Swap, Fault::Double, Fault::Cut] {
        assert!(draws(&ground, fault).iter().all(|damage| damage.file == "table"), "{fault:?}");
    }
    let removed: std::collections::BTreeSet<_> =
        draws(&ground, Fault::Remove).into_iter().map(|damage| damage.file).collect();
    assert_eq!(removed.into_iter().collect::<Vec<_>>(), ["new.log", "old.log", "table"]);
    assert!(!Fault::Torn.is_in(State::Tables));
}

#[test]
fn a_folder_without_a_place_for_a_fault_says_so() {
    let one = folder(&[("table", file(1, 0, 1))]);
    let ground = Ground::new(one.clone(), one, State::Log, role);
    for fault in [Fault::Stale, Fault::Swap, Fault::Double] {
        assert_eq!(ground.place(fault, &mut Draw::of(&[1])), None, "{fault:?}");
    }
}
