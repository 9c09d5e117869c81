//! `hansard-tool repair` on real directories, and what the real server answers afterwards: the
//! history as it was, or exactly the gaps that the report names.
//!
//! INVARIANT: of each damage the exit, the JSON and the served history are compared, not one alone.

#[path = "repair/archive.rs"]
mod archive;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use archive::{Archive, Shown, copy_folder, remove_free_files, repair, say, seal};
use support::api::{Api, text};
use support::history::number;
use support::{Site, done, fails, hansard, text as utf8, tool};

/// The files that a list of the report names.
fn files(list: &Value) -> Vec<String> {
    list.as_array().expect("a list").iter().map(|entry| text(&entry["file"])).collect()
}

/// What the report says is lost of a room.
fn lost_of(report: &Value, room: &str) -> Vec<(u64, u64)> {
    let lost = report["lost"].as_array().expect("a list").iter();
    let lost = lost.filter(|found| found["room"] == room && !found["from_seq"].is_null());
    lost.map(|found| (number(found, "from_seq"), number(found, "to_seq"))).collect()
}

/// Overwrites bytes of a file; a hard link to it would change as well.
#[track_caller]
fn spoil(path: &Path, from: u64, count: usize) {
    let mut bytes = fs::read(path).expect("the file can be read");
    let from = usize::try_from(from).expect("a small file");
    for byte in &mut bytes[from..from + count] {
        *byte ^= 0x5a;
    }
    fs::write(path, bytes).expect("the file can be written");
}

#[track_caller]
fn length(path: &Path) -> u64 {
    fs::metadata(path).expect("the file is there").len()
}

#[test]
fn a_lost_version_is_proved_by_the_rest() {
    let archive = Archive::new();
    let version = archive.data().join("VERSION");
    let text = fs::read_to_string(&version).expect("a version");
    let other = text.replace("format ", "format 1");
    for damage in [None, Some("format 7 or so"), Some(other.as_str()), Some("")] {
        match damage {
            None => fs::remove_file(&version).expect("it can be removed"),
            Some(text) => fs::write(&version, text).expect("it can be written"),
        }
        let report = archive.beside(None, 0);
        assert_eq!(files(&report["healed"]), ["VERSION", "catalog"]);
        for list in ["quarantined", "lost", "holes", "notes"] {
            assert_eq!(report[list], json!([]), "{list}");
        }
        assert_eq!(report["restricted"], false);
        assert_eq!(fs::read_to_string(archive.new_one().join("VERSION")).ok(), Some(text.clone()));
        archive.whole(&archive.new_one());
        fs::remove_dir_all(archive.new_one()).expect("it can be removed");
    }
}

#[test]
fn a_manifest_is_written_again_from_the_packs() {
    let archive = Archive::new();
    for file in ["MANIFEST", "MANIFEST.copy"] {
        fs::remove_file(archive.data().join(file)).expect("it can be removed");
    }
    let report = archive.beside(None, 0);
    assert_eq!(files(&report["healed"]), ["MANIFEST", "MANIFEST.copy", "catalog"]);
    // Every number that it held is found again.
    let view = tool::done("inspect", &archive.new_one());
    for field in ["packs", "sealed_lsn", "epoch", "last_lsn"] {
        assert_eq!(view[field], archive.view[field], "{field}");
    }
    archive.whole(&archive.new_one());
    fs::remove_dir_all(archive.new_one()).expect("it can be removed");

    // Damaged to nothing is as good as gone. With a pack gone and one unreadable too, the manifest
    // of a copy says which they were: it is a copy of the same server, as a third pack shows.
    for file in ["MANIFEST", "MANIFEST.copy"] {
        fs::write(archive.data().join(file), "what is this").expect("it can be written");
    }
    let path = archive.pack(1);
    let whole = fs::read(&path).expect("it can be read");
    tool::flip(&path, length(&path) - 80);
    fs::remove_file(archive.pack(2)).expect("it can be removed");
    let report = archive.beside(Some(&archive.copy()), 0);
    let packs: Vec<_> = [1, 2].map(|at: usize| text(&archive.view["packs"][at]["file"])).into();
    assert_eq!(files(&report["healed"])[3..], packs, "{report}");
    let view = tool::done("inspect", &archive.new_one());
    assert_eq!(view["packs"], archive.view["packs"]);
    archive.whole(&archive.new_one());
    fs::remove_dir_all(archive.new_one()).expect("it can be removed");

    // Another server's directory says nothing about ours.
    let stranger = Archive::new();
    let report = archive.beside(Some(&stranger.data()), 1);
    assert_eq!(files(&report["healed"]), ["MANIFEST", "MANIFEST.copy", "catalog"], "{report}");
    fs::remove_dir_all(archive.new_one()).expect("it can be removed");

    // Without a copy the loss is named.
    fs::write(&path, whole).expect("it can be written");
    let report = archive.beside(None, 1);
    assert_eq!(lost_of(&report, &archive.rooms[0]), [(6, 7)], "{report}");
    assert_eq!(report["restricted"], true);
    archive.accepted(&archive.new_one(), &[&[(6, 7)], &[]]);
}

#[test]
fn one_damaged_copy_of_the_manifest_is_healed_from_the_other() {
    let archive = Archive::new();
    for (file, other) in [("MANIFEST", "MANIFEST.copy"), ("MANIFEST.copy", "MANIFEST")] {
        let path = archive.data().join(file);
        let whole = fs::read(&path).expect("it can be read");
        spoil(&path, length(&path) - 10, 4);
        let report = archive.beside(None, 0);
        assert_eq!(files(&report["healed"]), [file, "catalog"]);
        assert_eq!(report["healed"][0]["from"], other);
        archive.whole(&archive.new_one());
        fs::remove_dir_all(archive.new_one()).expect("it can be removed");
        fs::write(&path, whole).expect("it can be written");
    }
}

#[test]
fn a_damaged_block_is_taken_from_a_copy() {
    let archive = Archive::new();
    let (offset, bytes, from, to) = archive.block();
    let (path, room) = (archive.pack(1), &archive.rooms[1]);
    let whole = fs::read(&path).expect("it can be read");
    tool::flip(&path, offset + bytes / 2);
    let name = text(&archive.view["packs"][1]["file"]);
    let copied = archive.copy().join(&name);
    let healed = json!({ "file": name, "offset": offset, "bytes": bytes, "room": room,
        "from_seq": from, "to_seq": to, "from": copied.display().to_string() });

    let report = archive.beside(Some(&archive.copy()), 0);
    assert_eq!(report["healed"][1], healed, "{report}");
    assert_eq!(fs::read(archive.new_one().join(&name)).expect("a pack"), whole);
    archive.whole(&archive.new_one());
    fs::remove_dir_all(archive.new_one()).expect("it can be removed");

    // A copy with another damage still has the block; one with the same damage has not.
    let footer = length(&copied) - 30;
    tool::flip(&copied, footer);
    let report = archive.beside(Some(&archive.copy()), 0);
    assert_eq!(report["healed"][1], healed, "{report}");
    assert_eq!(fs::read(archive.new_one().join(&name)).expect("a pack"), whole);
    archive.whole(&archive.new_one());
    fs::remove_dir_all(archive.new_one()).expect("it can be removed");
    tool::flip(&copied, footer);
    tool::flip(&copied, offset + bytes - 1);
    let report = archive.beside(Some(&archive.copy()), 1);
    assert_eq!(lost_of(&report, room), [(from, to)], "{report}");
    archive.shows(&archive.new_one(), &[&[], &[(from, to)]]);
}

#[test]
fn a_damaged_block_without_a_copy_is_named_and_stays_a_gap() {
    let archive = Archive::new();
    let (offset, bytes, from, to) = archive.block();
    tool::flip(&archive.pack(1), offset);
    let report = archive.beside(None, 1);
    let file = text(&archive.view["packs"][1]["file"]);
    let lost = json!({ "file": file, "offset": offset, "bytes": bytes, "room": archive.rooms[1],
        "from_seq": from, "to_seq": to, "reason": "block checksum mismatch" });
    let lost = json!([lost]);
    assert_eq!((&report["lost"], &report["restricted"]), (&lost, &json!(false)));
    // As many places of the log as entries of the room, and one for how far the import had come.
    let holes = report["holes"].as_array().expect("holes");
    let places = holes.iter().map(|h| number(h, "last_lsn") - number(h, "first_lsn") + 1);
    assert_eq!(places.sum::<u64>(), to - from + 2, "{report}");
    assert!(!files(&report["healed"]).contains(&"catalog".to_owned()), "the catalog is kept");
    let (code, verified, _) = tool::run("verify", &archive.new_one());
    assert_eq!((code, verified["damage"].as_array().map(Vec::len)), (1, Some(1)), "{verified}");
    archive.shows(&archive.new_one(), &[&[], &[(from, to)]]);
    fs::remove_dir_all(archive.new_one()).expect("it can be removed");

    // With the catalog goes the knowledge that nothing else stood there.
    fs::remove_dir_all(archive.data().join("catalog")).expect("it can be removed");
    let report = archive.beside(None, 1);
    assert_eq!((&report["lost"], &report["restricted"]), (&lost, &json!(true)));
    archive.accepted(&archive.new_one(), &[&[], &[(from, to)]]);
}

#[test]
fn a_missing_pack_is_taken_from_a_copy() {
    let archive = Archive::new();
    for at in 0..3 {
        let path = archive.pack(at);
        let whole = fs::read(&path).expect("it can be read");
        fs::remove_file(&path).expect("it can be removed");
        let report = archive.beside(Some(&archive.copy()), 0);
        let file = text(&archive.view["packs"][at]["file"]);
        assert_eq!(files(&report["healed"]), ["catalog", &file]);
        assert_eq!(number(&report["healed"][1], "bytes"), whole.len() as u64);
        assert_eq!(fs::read(archive.new_one().join(&file)).expect("a pack"), whole);
        archive.whole(&archive.new_one());
        fs::remove_dir_all(archive.new_one()).expect("it can be removed");
        fs::write(&path, whole).expect("it can be written");
    }
}

#[test]
fn a_missing_pack_without_a_copy_is_named_room_by_room() {
    let archive = Archive::new();
    let pack = &archive.view["packs"][1];
    fs::remove_file(archive.pack(1)).expect("it can be removed");
    let report = archive.beside(None, 1);
    let last = archive.shown[1].messages.len() as u64;
    let span = json!([{ "first_lsn": pack["first_lsn"], "last_lsn": pack["last_lsn"] }]);
    assert_eq!((&report["holes"], &report["restricted"]), (&span, &json!(false)));
    let lost = report["lost"].as_array().expect("a list");
    assert!(lost.iter().all(|found| found["file"] == pack["file"]), "{report}");
    assert!(lost.iter().all(|found| found["reason"] == "pack is missing"), "{report}");
    // The old catalog knows how far the room had come, and so does the result.
    assert_eq!(lost_of(&report, &archive.rooms[1]), [(1, last)]);
    assert_eq!(lost_of(&report, &archive.rooms[0]), []);
    archive.shows(&archive.new_one(), &[&[], &[(1, last)]]);
    fs::remove_dir_all(archive.new_one()).expect("it can be removed");

    // Without it the places of the log are all that is known.
    fs::remove_dir_all(archive.data().join("catalog")).expect("it can be removed");
    let report = archive.beside(None, 1);
    assert_eq!((&report["holes"], &report["restricted"]), (&span, &json!(true)));
    // And what the log says of heads behind it: that there were others.
    let lost = report["lost"].as_array().expect("a list");
    assert!(!lost.is_empty() && lost.iter().all(|found| found["file"] == pack["file"]), "{report}");
    assert!(lost.iter().all(|found| found["room"].is_null() || found["room"] == "r0-8"));
    let mut table = tool::tool();
    table.arg("repair").arg(archive.data()).arg("--to").arg(archive.site.path("again"));
    let table = table.output().expect("the tool runs");
    assert_eq!(table.status.code(), Some(1));
    let next = format!("hansard accept-damage --data {}", archive.site.path("again").display());
    assert!(utf8(&table.stdout).contains(&next), "{}", utf8(&table.stdout));
    let (server, api) = archive.accept(&archive.new_one());
    // Nothing says any more that the room had come further than being made.
    let [lobby, long] = [0, 1].map(|at: usize| Shown::of(&api, &archive.rooms[at]));
    assert!(lobby == archive.shown[0] && long == Shown::default());
    assert_eq!(server.stop().code(), Some(0));
}

#[test]
fn a_pack_between_two_others_is_named_by_what_stands_around_it() {
    let archive = Archive::new();
    // The short room is in the first and in the third pack; its middle is lost with the third.
    fs::remove_file(archive.pack(2)).expect("it can be removed");
    fs::remove_dir_all(archive.data().join("catalog")).expect("it can be removed");
    let report = archive.beside(None, 1);
    assert_eq!(lost_of(&report, &archive.rooms[0]), [(6, 7)], "{report}");
    archive.accepted(&archive.new_one(), &[&[(6, 7)], &[]]);
}

#[test]
fn the_newest_entries_of_a_room_stay_a_gap_and_are_never_given_again() {
    let archive = Archive::new();
    let room = &archive.rooms[1];
    let next = archive.shown[1].messages.len() as u64 + 1;
    fs::remove_file(archive.pack(1)).expect("it can be removed");
    let goes_on = |api: &Api| {
        assert_eq!(Shown::of(api, room).gaps, [(1, next - 1)]);
        let body = json!({ "body": "on" });
        let posted = api.post(&format!("/rooms/{room}/messages"), &body).expect(201);
        assert_eq!(number(&posted, "seq"), next);
    };
    archive.beside(None, 1);
    let path = archive.new_one();
    let server = archive.result(&path).serve();
    goes_on(&server.anonymous().with_token(&archive.token));
    assert_eq!(server.stop().code(), Some(0));
    fs::remove_dir_all(&path).expect("it can be removed");

    // Not the catalog alone knows it: a pack without a block says how far the room had come.
    archive.beside(None, 1);
    fs::remove_dir_all(path.join("catalog")).expect("it can be removed");
    let (server, api) = archive.accept(&path);
    goes_on(&api);
    assert_eq!(server.stop().code(), Some(0));
}

#[test]
fn a_journal_that_is_gone_with_its_witness_is_known_to_a_sound_catalog() {
    let archive = Archive::new();
    let room = &archive.rooms[0];
    fs::remove_dir_all(archive.data().join("journal")).expect("it can be removed");
    let report = archive.beside(None, 1);
    let (first, last) =
        (number(&archive.view, "sealed_lsn") + 1, number(&archive.view, "last_lsn"));
    let holes = json!([{ "first_lsn": first, "last_lsn": last }]);
    assert_eq!((&report["holes"], &report["restricted"]), (&holes, &json!(true)), "{report}");
    assert_eq!(lost_of(&report, room), [(8, 10)], "{report}");
    assert!(files(&report["lost"]).iter().all(|file| file == "journal"), "{report}");
    let path = archive.new_one();
    done(hansard().args(["accept-damage", "--data"]).arg(&path));
    let server = archive.result(&path).serve();
    archive.served(&server.admin(), &[&[(8, 10)], &[]]);
    assert_eq!(server.stop().code(), Some(0));
}

#[test]
fn what_the_journal_still_has_heals_a_pack_that_is_lost() {
    let archive = Archive::just_sealed();
    let path = archive.pack(2);
    let name = text(&archive.view["packs"][2]["file"]);
    let whole = fs::read(&path).expect("it can be read");
    let gone: [(&str, &dyn Fn()); 4] = [
        ("missing", &|| fs::remove_file(&path).expect("it can be removed")),
        ("block", &|| tool::flip(&path, 30)),
        ("all", &|| spoil(&path, 0, whole.len())),
        ("index", &|| {
            fs::remove_dir_all(archive.data().join("catalog")).expect("it can be removed");
            tool::flip(&path, whole.len() as u64 - 70);
        }),
    ];
    for (what, damage) in gone {
        damage();
        let report = archive.beside(None, 0);
        let healed = report["healed"].as_array().expect("a list");
        assert!(
            healed.iter().any(|h| h["file"] == *name && h["from"] == "journal"),
            "{what}: {report}"
        );
        archive.whole(&archive.new_one());
        fs::remove_dir_all(archive.new_one()).expect("it can be removed");
        fs::write(&path, &whole).expect("it can be written");
    }
}

#[test]
fn a_pack_whose_index_is_destroyed_goes_to_quarantine_or_is_healed() {
    let archive = Archive::new();
    let (path, name) = (archive.pack(2), text(&archive.view["packs"][2]["file"]));
    let (whole, len) = (fs::read(&path).expect("it can be read"), length(&path));
    spoil(&path, len - 64 - 40, 60);
    let spoilt = fs::read(&path).expect("it can be read");
    let report = archive.beside(Some(&archive.copy()), 0);
    assert_eq!(files(&report["healed"]), ["catalog", &name]);
    assert_eq!(fs::read(archive.new_one().join(&name)).expect("a pack"), whole);
    archive.whole(&archive.new_one());
    fs::remove_dir_all(archive.new_one()).expect("it can be removed");

    // Index from the copy, whose blocks are damaged; blocks from here.
    let copied = archive.copy().join(&name);
    tool::flip(&copied, 40);
    let report = archive.beside(Some(&archive.copy()), 0);
    assert_eq!(fs::read(archive.new_one().join(&name)).expect("a pack"), whole, "{report}");
    archive.whole(&archive.new_one());
    fs::remove_dir_all(archive.new_one()).expect("it can be removed");

    // The catalog has the rows of its runs; the digest proves that nothing is amiss.
    let report = archive.beside(None, 0);
    assert_eq!(files(&report["healed"]), ["catalog", &name]);
    assert_eq!(report["healed"][1]["from"], "catalog");
    assert_eq!(fs::read(archive.new_one().join(&name)).expect("a pack"), whole);
    archive.whole(&archive.new_one());
    fs::remove_dir_all(archive.new_one()).expect("it can be removed");

    fs::remove_dir_all(archive.data().join("catalog")).expect("it can be removed");
    let report = archive.beside(None, 1);
    let kept = format!("quarantine/{}", Path::new(&name).file_name().expect("a name").display());
    assert_eq!(report["quarantined"][0]["file"], *name);
    assert_eq!(report["quarantined"][0]["to"], *kept);
    assert_eq!(fs::read(archive.new_one().join(&kept)).expect("a file"), spoilt);
    assert!(!archive.new_one().join(&name).exists());
    assert_eq!(lost_of(&report, &archive.rooms[0]), [(6, 7)], "{report}");
    archive.accepted(&archive.new_one(), &[&[(6, 7)], &[]]);
}

#[test]
fn the_header_of_a_pack_is_known_without_a_copy() {
    let archive = Archive::new();
    spoil(&archive.pack(1), 0, 24);
    let report = archive.beside(None, 0);
    let file = text(&archive.view["packs"][1]["file"]);
    assert_eq!(files(&report["healed"]), ["catalog", &file]);
    archive.whole(&archive.new_one());
}

/// RocksDB's manifest, and the offsets of its records' type bytes.
fn catalog_manifest(data: &Path) -> (PathBuf, Vec<u64>) {
    let files = fs::read_dir(data.join("catalog")).expect("a catalog");
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    files.retain(|path| path.display().to_string().contains("MANIFEST-"));
    let path = files.pop().expect("RocksDB has a manifest");
    let bytes = fs::read(&path).expect("it can be read");
    let (mut at, mut types) = (0, Vec::new());
    while let Some(header) = bytes.get(at..at + 7).filter(|header| header[6] != 0) {
        assert!(at < 32 * 1024, "the first of its blocks is enough");
        types.push(at as u64 + 6);
        at += 7 + usize::from(u16::from_le_bytes([header[4], header[5]]));
    }
    assert!(types.len() > 1);
    (path, types)
}

#[test]
fn a_lost_or_damaged_catalog_is_rebuilt_and_never_opened() {
    let archive = Archive::new();
    let (path, types) = catalog_manifest(&archive.data());
    let whole = fs::read(&path).expect("it can be read");
    for at in [types[0], types[1], types[types.len() - 1]] {
        let mut bytes = whole.clone();
        // A type that makes RocksDB 11.8.1 read the same place for ever.
        bytes[usize::try_from(at).expect("near")] ^= 4;
        fs::write(&path, bytes).expect("it can be written");
        let report = archive.beside(None, 0);
        assert_eq!(files(&report["healed"]), ["catalog"], "{report}");
        archive.whole(&archive.new_one());
        fs::remove_dir_all(archive.new_one()).expect("it can be removed");
    }
    fs::remove_dir_all(archive.data().join("catalog")).expect("it can be removed");
    let report = archive.beside(None, 0);
    assert_eq!(files(&report["healed"]), ["catalog"], "{report}");
    archive.whole(&archive.new_one());
    for verb in ["verify", "inspect"] {
        tool::run(verb, &archive.data());
        assert!(!archive.data().join("catalog").exists(), "{verb} makes nothing");
    }
}

/// Blocks of small rooms are in one bundle: what helps one helps all, and what costs one costs all.
#[test]
fn a_damaged_bundle_is_healed_for_all_its_rooms_or_lost_to_all() {
    let site = Site::new();
    let server = site.serve();
    let admin = server.admin();
    let category = admin.category("c");
    let rooms: Vec<String> =
        (1..=4).map(|nth| admin.room(&format!("room {nth}"), &category, "open")).collect();
    rooms.iter().for_each(|room| say(&admin, room, 1..=3));
    let token = admin.token.clone().expect("a token");
    seal(&site, server);
    let server = site.serve();
    let api = server.anonymous().with_token(&token);
    let shown: Vec<Shown> = rooms.iter().map(|room| Shown::of(&api, room)).collect();
    assert_eq!(server.stop().code(), Some(0));
    let (data, copy) = (site.data(), site.path("copy"));
    let view = tool::done("inspect", &data);
    remove_free_files(&data, &view);
    copy_folder(&data, &copy);
    let segments = view["packs"][0]["segments"].as_array().expect("segments");
    let block_of = |room: &String| {
        let segment = segments.iter().find(|segment| segment["room"] == room.as_str());
        let block = &segment.expect("the room is there")["blocks"][0];
        (number(block, "offset"), number(block, "bytes"))
    };
    let (offset, bytes) = block_of(&rooms[0]);
    assert!(rooms.iter().all(|room| block_of(room) == (offset, bytes)), "{view}");
    let own: u64 = segments
        .iter()
        .filter(|segment| rooms.iter().any(|room| segment["room"] == room.as_str()))
        .map(|segment| number(segment, "bytes"))
        .sum();
    assert_eq!(own, bytes, "a room has its part of it");
    let name = text(&view["packs"][0]["file"]);
    let path = data.join(&name);
    let whole = fs::read(&path).expect("it can be read");
    let target = site.path("data.repaired");
    let served = |site: &Site, lost: bool| {
        let server = site.serve();
        let api = server.anonymous().with_token(&token);
        for (room, shown) in rooms.iter().zip(&shown) {
            let gaps: &[(u64, u64)] = if lost { &[(1, 3)] } else { &[] };
            assert!(Shown::of(&api, room) == shown.without(gaps), "{room}");
        }
        assert_eq!(server.stop().code(), Some(0));
    };
    let target_site = || {
        let mut site = Site::empty();
        site.put_data(target.to_str().expect("a path"));
        site
    };

    tool::flip(&path, offset + bytes / 2);
    let (code, report, _) = repair(&data, &["--from", copy.to_str().expect("a path")]);
    assert_eq!(code, 0, "{report}");
    let healed = report["healed"].as_array().expect("a list").iter();
    let mut named: Vec<String> =
        healed.filter_map(|of| of["room"].as_str().map(Into::into)).collect();
    named.sort();
    let mut all = rooms.clone();
    all.sort();
    assert_eq!(named, all, "{report}");
    assert_eq!(fs::read(target.join(&name)).expect("a pack"), whole);
    served(&target_site(), false);
    fs::remove_dir_all(&target).expect("it can be removed");

    // Where the run index is lost it is made again of the catalog's rows, byte by byte.
    fs::write(&path, &whole).expect("it can be written");
    tool::flip(&path, whole.len() as u64 - 90);
    let (code, report, _) = repair(&data, &[]);
    assert_eq!(code, 0, "{report}");
    assert_eq!(fs::read(target.join(&name)).expect("a pack"), whole);
    fs::remove_dir_all(&target).expect("it can be removed");

    fs::write(&path, &whole).expect("it can be written");
    tool::flip(&path, offset + bytes / 2);
    let (code, report, _) = repair(&data, &[]);
    assert_eq!(code, 1, "{report}");
    for room in &rooms {
        assert_eq!(lost_of(&report, room), [(1, 3)], "{report}");
    }
    served(&target_site(), true);
}

#[test]
fn in_place_keeps_what_it_replaces_and_overwrites_nothing_there() {
    let archive = Archive::new();
    let (data, name) = (archive.data(), text(&archive.view["packs"][1]["file"]));
    let (offset, ..) = archive.block();
    tool::flip(&archive.pack(1), offset + 20);
    let damaged = fs::read(archive.pack(1)).expect("it can be read");
    let manifest = data.join("MANIFEST");
    spoil(&manifest, 0, 8);
    let spoilt = fs::read(&manifest).expect("it can be read");
    let (path, types) = catalog_manifest(&data);
    tool::flip(&path, types[1]);
    fs::write(data.join("quarantine/MANIFEST"), "of an earlier repair").expect("a file");

    let copy = archive.copy();
    let args = ["--in-place", "--from", copy.to_str().expect("a path")];
    let (code, report, said) = repair(&data, &args);
    assert_eq!((code, said.as_str()), (0, ""), "{report}");
    assert_eq!(report["target"], data.display().to_string());
    assert_eq!(files(&report["healed"]), ["MANIFEST", "catalog", &name]);
    let kept = |file: &str| fs::read(data.join("quarantine").join(file)).expect("it is kept");
    assert_eq!(kept("MANIFEST"), b"of an earlier repair");
    assert_eq!(kept("MANIFEST.1"), spoilt);
    assert_eq!(kept(name.strip_prefix("packs/").expect("a pack")), damaged);
    assert!(data.join("quarantine/catalog/CURRENT").exists());
    let list = ["VERSION", "catalog", &name, "MANIFEST", "MANIFEST.copy"];
    assert_eq!(files(&report["quarantined"]), list);
    archive.whole(&data);

    // What cannot be healed goes there as well.
    let path = archive.pack(2);
    spoil(&path, length(&path) - 64, 64);
    fs::remove_dir_all(data.join("catalog")).expect("it can be removed");
    let (code, report, _) = repair(&data, &["--in-place"]);
    assert_eq!((code, &report["restricted"]), (1, &json!(true)), "{report}");
    assert!(!path.exists());
    // Its message of the served check is in the journal, or sealed, and not lost.
    assert_eq!(lost_of(&report, &archive.rooms[0]), [(6, 7)], "{report}");
}

#[test]
fn a_repair_in_place_that_is_killed_can_be_done_again() {
    let archive = Archive::new();
    let data = archive.data();
    tool::flip(&archive.pack(1), archive.block().0);
    spoil(&data.join("MANIFEST"), 0, 8);
    let copy = archive.copy();
    let mut kills = 0;
    for pause in (0..390).step_by(15).map(Duration::from_millis) {
        let mut command = tool::tool();
        command.args(["repair", "--json", "--in-place", "--from"]).arg(&copy).arg(&data);
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
        thread::sleep(pause);
        kills += u32::from(child.try_wait().expect("a child can be waited for").is_none());
        child.kill().expect("it can be killed, or has ended");
        child.wait().expect("it has ended");
        if !data.join("VERSION").exists() {
            // Nothing opens what is half done.
            assert_eq!(tool::run("verify", &data).0, 3);
            fails(hansard().args(["accept-damage", "--data"]).arg(&data), 66);
        }
    }
    assert!(kills > 2, "only {kills} of them were cut short");
    let args = ["--in-place", "--from", copy.to_str().expect("a path")];
    let (code, report, said) = repair(&data, &args);
    assert_eq!((code, said.as_str()), (0, ""), "{report}");
    archive.whole(&data);
}

#[test]
fn damage_of_the_journal_is_named_and_left_to_recovery() {
    let archive = Archive::new();
    let room = &archive.rooms[0];
    let files = archive.view["journal"].as_array().expect("files").iter();
    let frames = files.flat_map(|file| {
        file["frames"].as_array().expect("frames").iter().map(move |frame| (file, frame))
    });
    let is_meant = |record: &Value| record["room"] == room.as_str() && record["seq"] == 9;
    let (file, frame) = frames
        .into_iter()
        .find(|(_, frame)| frame["records"].as_array().is_some_and(|r| r.iter().any(is_meant)))
        .expect("the message is in the journal");
    let path = archive.data().join(text(&file["file"]));
    let record = &frame["records"][0];
    let whole = fs::read(&path).expect("it can be read");

    // A message: its place is known.
    tool::flip(&path, number(record, "offset") + number(record, "bytes") / 2);
    let report = archive.beside(Some(&archive.copy()), 1);
    assert_eq!(lost_of(&report, room), [(9, 9)], "{report}");
    assert_eq!(report["holes"], json!([{ "first_lsn": record["lsn"], "last_lsn": record["lsn"] }]));
    assert!(report["notes"].to_string().contains("not filled from a copy"), "{report}");
    assert_eq!(tool::done("verify", &archive.new_one())["ok"], true);
    archive.shows(&archive.new_one(), &[&[(9, 9)], &[]]);
    fs::remove_dir_all(archive.new_one()).expect("it can be removed");

    // A frame: nothing says what it held but what stands around it.
    fs::write(&path, &whole).expect("it can be written");
    tool::flip(&path, number(frame, "offset") + 20);
    let report = archive.beside(None, 1);
    assert_eq!(report["restricted"], true, "{report}");
    assert_eq!(lost_of(&report, room), [(9, 9)], "{report}");
    archive.accepted(&archive.new_one(), &[&[(9, 9)], &[]]);
    fs::remove_dir_all(archive.new_one()).expect("it can be removed");

    // All of it: the witness says how far it went.
    fs::remove_file(&path).expect("it can be removed");
    let report = archive.beside(None, 1);
    assert_eq!(report["restricted"], true, "{report}");
    assert!(number(&report["holes"][0], "last_lsn") >= number(&archive.view, "last_lsn"));
}

#[test]
fn packs_that_the_manifest_does_not_name() {
    let archive = Archive::new();
    // As of a seal that was cut off before its manifest: nothing lacks it.
    let foreign = archive.data().join("packs/00000099.pack");
    fs::copy(archive.pack(0), &foreign).expect("it can be copied");
    let report = archive.beside(None, 0);
    assert_eq!(files(&report["quarantined"]), ["packs/00000099.pack"], "{report}");
    assert!(archive.new_one().join("quarantine/00000099.pack").exists());
    archive.whole(&archive.new_one());
    fs::remove_dir_all(archive.new_one()).expect("it can be removed");
    fs::remove_file(foreign).expect("it can be removed");

    // A manifest that fell back to an older self: the journal was trimmed since.
    let manifest = fs::read(archive.data().join("MANIFEST")).expect("it can be read");
    let older = older(&manifest);
    for file in ["MANIFEST", "MANIFEST.copy"] {
        fs::write(archive.data().join(file), &older).expect("it can be written");
    }
    archive.beside(None, 0);
    let view = tool::done("inspect", &archive.new_one());
    assert_eq!(view["packs"], archive.view["packs"]);
    archive.whole(&archive.new_one());
}

/// A manifest without its last edit.
fn older(manifest: &[u8]) -> Vec<u8> {
    let (mut at, mut before) = (8, 8);
    while let Some(length) = manifest.get(at..at + 4) {
        before = at;
        let length = u32::from_le_bytes(length.try_into().expect("four bytes"));
        at += 24 + usize::try_from(length).expect("a small edit");
    }
    assert!(before > 8, "the manifest has several edits");
    manifest[..before].to_vec()
}

#[test]
fn what_cannot_be_repaired_is_refused_and_stays_as_it_is() {
    let archive = Archive::new();
    let data = archive.data();
    let before = tool::contents(&data);
    // In use.
    let server = archive.site.serve();
    for args in [&[][..], &["--in-place"]] {
        let (code, _, said) = repair(&data, args);
        assert_eq!(code, 3, "{said}");
        assert!(said.contains("in use"), "{said}");
    }
    let (code, _, said) = repair(&archive.copy(), &["--from", data.to_str().expect("a path")]);
    assert_eq!(code, 3, "a copy in use: {said}");
    server.kill();
    assert!(!archive.new_one().exists());
    drop(before);

    // Something stands where the result would go, or it would be within the original, by whatever
    // way; or the copy is the original.
    let before = tool::contents(&data);
    fs::create_dir(archive.new_one()).expect("a folder");
    let link = archive.site.path("link");
    std::os::unix::fs::symlink(&data, &link).expect("a link");
    let within = [data.join("packs/new"), link.join("new"), archive.copy().join("../data/new")];
    let within = within.each_ref().map(|path| path.to_str().expect("a path"));
    let copy = ["--to", "x", "--from", link.to_str().expect("a path")];
    let [plain, linked, round] = within.map(|path| ["--to", path]);
    for args in [&[][..], &plain, &linked, &round, &copy] {
        let (code, _, said) = repair(&data, args);
        assert_eq!(code, 3, "{args:?}: {said}");
    }
    assert_eq!(fs::read_dir(archive.new_one()).expect("a folder").count(), 0);
    let both = repair(&data, &["--in-place", "--to", "x"]);
    assert_eq!(both.0, 2);
    assert_eq!(tool::contents(&data), before);

    // Nothing proves that it is ours.
    let folder = archive.site.path("stranger");
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("MANIFEST"), "mine").expect("a file");
    for args in [&[][..], &["--in-place"]] {
        assert_eq!(repair(&folder, args).0, 3);
    }
    assert_eq!(tool::contents(&folder).len(), 1, "nothing was made");
    assert_eq!(repair(&archive.site.path("absent"), &["--in-place"]).0, 3);
    let folder = folder.to_str().expect("a path");
    let (code, _, said) = repair(&data, &["--to", "y", "--from", folder]);
    assert!(code == 3 && said.contains(folder), "it says which of them: {said}");
}

#[test]
fn a_reader_that_goes_away_early_and_a_full_disk_are_no_panic() {
    let archive = Archive::new();
    for verb in ["inspect", "verify", "compact"] {
        for json in [&["--json"][..], &[]] {
            let mut command = tool::tool();
            command.arg(verb).args(json).arg(archive.data());
            let (reader, writer) = std::io::pipe().expect("a pipe");
            drop(reader);
            let output = command.stdout(writer).output().expect("the tool runs");
            assert_eq!((output.status.code(), utf8(&output.stderr)), (Some(0), String::new()));
            let full = fs::File::options().write(true).open("/dev/full").expect("a full device");
            let output = command.stdout(full).output().expect("the tool runs");
            let said = utf8(&output.stderr);
            assert_eq!(output.status.code(), Some(3), "{said}");
            assert!(said.starts_with("hansard-tool: write failed"), "{said}");
        }
    }
}

#[test]
fn verify_finds_the_same_on_one_core_and_on_all() {
    let archive = Archive::new();
    let (offset, ..) = archive.block();
    let (path, last) = (archive.pack(1), archive.pack(2));
    for at in [30, offset, offset + 5000] {
        tool::flip(&path, at);
    }
    tool::flip(&archive.pack(0), 40);
    tool::flip(&last, length(&last) - 10);
    let (code, report, _) = tool::run("verify", &archive.data());
    assert_eq!((code, report["ok"].as_bool()), (1, Some(false)));
    let found: Vec<_> = files(&report["damage"]);
    assert_eq!(found.len(), 5, "{report}");
    assert!(found.is_sorted(), "{report}");
    let verify = |program: &str, args: &[&str]| {
        let tool = tool::tool();
        let mut command = std::process::Command::new(program);
        let run = if program == "env" { &mut command } else { command.args(["-c", "0"]) };
        let run = run.arg(tool.get_program()).args(["verify", "--json"]).args(args);
        let output = run.arg(archive.data()).output().expect("it runs");
        assert_eq!(output.status.code(), Some(1));
        (serde_json::from_slice::<Value>(&output.stdout).expect("JSON"), utf8(&output.stderr))
    };
    assert_eq!(verify("taskset", &[]), (report.clone(), String::new()));
    let (told, said) = verify("env", &["--progress"]);
    assert_eq!(told, report);
    assert!(said.starts_with("verify: ") && said.contains(" 100%, "), "{said}");
    // Digests are enough to see where to look.
    let (quick, _) = verify("env", &["--quick"]);
    assert_eq!(quick["damage"], report["damage"]);
}
