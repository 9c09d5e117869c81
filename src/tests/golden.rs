//! Directories that earlier programs wrote: this one reads those of its format and of the one
//! before as they were meant, and leaves alone those of any other.
//!
//! `src/tests/golden/format-N.tar.gz` holds a directory as a killed server left it, with a signed
//! head and its key; `format-N.jsonl` what `hansard-tool dump` of the program that wrote it said.
//! They are made once for each format, and never again.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use support::api::{Api, text};
use support::history::number;
use support::{Server, Site, done, fails, hansard, tool};

/// The formats that this program reads; it writes the last.
const READ: [u32; 2] = [1, 2];

const VERSION_2: &str = "hansard data directory\nformat 2\n";

fn version(data: &Path) -> String {
    fs::read_to_string(data.join("VERSION")).expect("a version")
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tests/golden").join(name)
}

/// The directory of a format, unpacked as the site's own.
fn unpacked(format: u32) -> Site {
    let site = Site::empty();
    let archive = golden(&format!("format-{format}.tar.gz"));
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(archive).arg("-C").arg(site.path(""));
    done(&mut tar);
    site
}

fn dump(data: &Path) -> Vec<String> {
    let said = done(tool::tool().arg("dump").arg(data));
    said.lines().map(str::to_owned).collect()
}

fn admin(server: &Server, api: &Api, args: &[&str]) -> String {
    done(server.command(api).arg("admin").args(args))
}

/// Something of everything a directory can hold, sealed and not.
fn fill(site: &Site) {
    let server = site.serve();
    let root = server.admin();
    let (_, ann) = root.user("ann");
    let category = root.category("desk");
    let room = root.room("trades", &category, "open");
    let secret = root.room("merger", &category, "secret");
    let gone = root.room("gone", &category, "open");
    let path = format!("/rooms/{room}/messages");
    let posted: Vec<Value> = (1..=40)
        .map(|nth| {
            let body =
                json!({ "body": format!("message {nth}: grüße, 你好, {}", "x".repeat(nth)) });
            ann.send("POST", &path, body.to_string().as_bytes(), Some(&format!("key {nth}")))
                .expect("an answer")
                .expect(201)
        })
        .collect();
    let reply = json!({ "body": "a reply", "reply_to": posted[3]["seq"] });
    ann.post(&path, &reply).expect(201);
    root.post(&format!("/rooms/{secret}/messages"), &json!({ "body": "hush" })).expect(201);
    root.delete(&format!("/rooms/{gone}")).expect(204);
    admin(&server, &root, &["category", "change", "desk", "--edit", "authors"]);
    let message = |nth: usize| format!("{path}/{}", text(&posted[nth]["id"]));
    ann.patch(&message(5), &json!({ "body": "said otherwise" })).expect(200);
    root.delete(&message(6)).expect(204);
    let erase = json!({ "messages": [posted[7]["id"]], "reason": "asked for" });
    root.post(&format!("/rooms/{room}/erasures"), &erase).expect(200);
    admin(&server, &root, &["hold", "create", "case 7", "--room", "merger"]);
    let lines = (0..240).map(|nth| {
        let (minute, nick, word) = (nth / 4, nth % 7, "why does it not start ".repeat(nth % 5));
        format!("[12:{minute:02}] <nick{nick}> {nth} {word}\n")
    });
    let log = site.path("2008-04-27.log");
    fs::write(&log, lines.collect::<String>()).expect("space");
    let mut import = server.command(&root);
    import.args(["import", "irc-log", "--category", "logs", "--room", "ubuntu"]);
    done(import.arg(log));
    assert_eq!(server.stop().code(), Some(0));
    tool::done("compact", &site.data());

    let server = site.serve();
    let root = server.admin();
    admin(&server, &root, &["room", "change", "ubuntu", "--retention-entries", "100"]);
    admin(&server, &root, &["retention", "run", "--purge"]);
    for nth in 1..=20 {
        root.post(&path, &json!({ "body": format!("unsealed {nth}") })).expect(201);
    }
    let note = admin(&server, &root, &["head", "sign"]) + "\n";
    fs::write(site.path("head.note"), note).expect("space");
    let key = admin(&server, &root, &["head", "keys"]);
    fs::write(site.path("head.keys"), key + "\n").expect("space");
    root.post(&path, &json!({ "body": "the last before the kill" })).expect(201);
    server.kill();
}

/// What was recorded in rooms, in the order in which a dump has it.
fn said(lines: &[impl AsRef<str>]) -> Vec<Value> {
    let lines = lines.iter().map(|line| serde_json::from_str(line.as_ref()).expect("a line"));
    lines.map(|line: Value| json!([line["kind"], line["seq"], line["body"]])).collect()
}

/// What is done here makes the same as it did once. With HANSARD_GOLDEN=N it becomes the golden
/// directory of format N, which is done once for each format.
#[test]
fn what_the_golden_directory_was_made_by_still_makes_the_like() {
    let site = Site::new();
    fill(&site);
    let lines = dump(&site.data());
    if let Ok(format) = std::env::var("HANSARD_GOLDEN") {
        let mut tar = Command::new("tar");
        // What RocksDB notes for people names the machine.
        tar.args(["--exclude=data/catalog/LOG*", "--exclude=data/catalog/OPTIONS*"]);
        tar.args(["--owner=0", "--group=0"]);
        tar.arg("-czf").arg(golden(&format!("format-{format}.tar.gz")));
        done(tar.arg("-C").arg(site.path("")).args(["data", "head.note", "head.keys"]));
        let file = golden(&format!("format-{format}.jsonl"));
        fs::write(file, lines.join("\n") + "\n").expect("space");
    }
    for format in READ {
        let file = golden(&format!("format-{format}.jsonl"));
        let meant = fs::read_to_string(file).expect("what it held");
        assert_eq!(said(&lines), said(&meant.lines().collect::<Vec<_>>()));
    }
}

/// Every command that takes a directory, and how it exits with one that it does not read.
fn refusals(data: &Path) -> Vec<String> {
    let mut said = Vec::new();
    let mut serve = hansard();
    serve.args(["serve", "--http", "127.0.0.1:0", "--data"]).arg(data);
    said.push(fails(&mut serve, 65));
    let mut accept = hansard();
    said.push(fails(accept.args(["accept-damage", "--data"]).arg(data), 65));
    for verb in ["inspect", "stats", "verify", "dump", "compact", "repair"] {
        said.push(fails(tool::tool().arg(verb).arg(data), 3));
    }
    said
}

#[test]
fn a_directory_of_before_format_1_is_left_alone() {
    let site = unpacked(0);
    let before = tool::contents(&site.data());
    for said in refusals(&site.data()) {
        assert!(said.contains("made before format 1 (layout 8)"), "{said}");
        assert!(said.contains("export its rooms with the program that made it"), "{said}");
    }
    assert_eq!(tool::contents(&site.data()), before);
    // Also where only the files say so.
    fs::remove_file(site.data().join("VERSION")).expect("it is there");
    let said = fails(tool::tool().arg("repair").arg(site.data()), 3);
    assert!(said.contains("journal") && said.contains("(layout 8)"), "{said}");
}

/// CRC-32 as everything on disk has it, a bit at a time.
fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 0 { crc >> 1 } else { (crc >> 1) ^ 0xedb8_8320 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

/// Makes every sector of a witness state a format.
fn state(witness: &Path, format: u32) {
    let mut bytes = fs::read(witness).expect("a witness");
    for sector in bytes.chunks_exact_mut(4096) {
        sector[8..12].copy_from_slice(&(format << 16).to_le_bytes());
        let crc = crc(&sector[8..]);
        sector[4..8].copy_from_slice(&crc.to_le_bytes());
    }
    fs::write(witness, bytes).expect("it can be changed");
}

#[test]
fn a_directory_of_a_later_format_is_left_alone() {
    let site = unpacked(2);
    let version = site.data().join("VERSION");
    let kept = fs::read_to_string(&version).expect("a version");
    assert_eq!(kept, VERSION_2);
    for later in [3, 4, 65_535] {
        let text = kept.replace("format 2", &format!("format {later}"));
        fs::write(&version, text).expect("it can be changed");
        // A later program has also written its own witness: no repair takes VERSION for damaged.
        state(&site.data().join("journal/WITNESS"), later);
        let before = tool::contents(&site.data());
        for said in refusals(&site.data()) {
            let words = format!("made by a later program (format {later})");
            assert!(said.contains(&words), "{said}");
        }
        assert_eq!(tool::contents(&site.data()), before);
    }
    for (text, words) in [
        ("hansard data directory\nformat 65536\n", "no format is named"),
        ("hansard data directory\nformat one\n", "no format is named"),
        ("", "no format is named"),
    ] {
        fs::write(&version, text).expect("it can be changed");
        let mut serve = hansard();
        serve.args(["serve", "--http", "127.0.0.1:0", "--data"]).arg(site.data());
        let said = fails(&mut serve, 65);
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn a_directory_of_a_format_that_is_read_is_read_as_it_was_meant() {
    READ.iter().for_each(|format| read_as_meant(*format));
}

/// The layouts that sectors of the witness, and the headers of files in a folder, state.
fn stated(data: &Path, folder: &str) -> Vec<u32> {
    let mut stated = Vec::new();
    for file in fs::read_dir(data.join(folder)).expect("a folder") {
        let path = file.expect("a file").path();
        let bytes = fs::read(&path).expect("it can be read");
        let at = if bytes.starts_with(b"HnPk") { 4 } else { 8 };
        let sectors = if path.ends_with("WITNESS") { 4 } else { 1 };
        for sector in bytes.chunks(4096).take(sectors).filter(|sector| sector.starts_with(b"Hn")) {
            stated.push(u32::from_le_bytes(sector[at..at + 4].try_into().expect("four")));
        }
    }
    stated.sort_unstable();
    stated.dedup();
    stated
}

/// Reading changes nothing; the first start makes it one of this format, which every file that is
/// written from then on states.
#[test]
fn a_directory_of_the_format_before_is_taken_over_by_the_first_start() {
    let site = unpacked(1);
    let data = site.data();
    let before = tool::contents(&data);
    for verb in ["inspect", "stats", "verify", "dump"] {
        done(tool::tool().arg(verb).arg(&data));
    }
    for verb in ["inspect", "stats"] {
        assert_eq!(tool::done(verb, &data)["format"], 1, "{verb}");
    }
    assert_eq!(tool::contents(&data), before);
    assert_eq!(stated(&data, "packs"), [1 << 16]);

    // Where a start was cut off behind its first step, the next one goes on.
    let cut = unpacked(1);
    fs::write(cut.data().join("VERSION"), VERSION_2).expect("it can be written");
    for site in [&cut, &site] {
        let data = site.data();
        let server = site.serve();
        assert_eq!(version(&data), VERSION_2);
        server.kill();
        assert_eq!(stated(&data, "packs"), [1 << 16], "packs stay as they are");
        let witness = fs::read(data.join("journal/WITNESS")).expect("a witness");
        let layout = (2u32 << 16).to_le_bytes();
        assert!(witness.chunks(4096).all(|sector| sector[8..12] == layout), "the witness is anew");
        let server = site.serve();
        assert_eq!(server.stop().code(), Some(0));
        assert_eq!(tool::done("verify", &data)["ok"], true);
    }
    assert!(stated(&data, "journal").contains(&(2 << 16)), "a journal file was begun");
    // Also without the file that says so.
    fs::remove_file(data.join("VERSION")).expect("it is there");
    let repaired = tool::done("repair", &data);
    let repaired = Path::new(text(&repaired["target"]).as_str()).to_owned();
    assert_eq!(version(&repaired), VERSION_2);
    assert_eq!(tool::done("verify", &repaired)["ok"], true);
    tool::done("compact", &repaired);
    assert!(stated(&repaired, "packs").contains(&(2 << 16)), "new packs are of this format");
    assert_eq!(tool::done("verify", &repaired)["ok"], true);
}

/// A start that is restricted writes nothing: neither does it take a directory over.
#[test]
fn a_loss_is_accepted_before_a_directory_is_taken_over() {
    // A restricted server does not give out the document by which answers are checked.
    let any = Site::new();
    let server = any.serve();
    server.anonymous().document();
    assert_eq!(server.stop().code(), Some(0));
    let site = unpacked(1);
    let data = site.data();
    // The directory of a frame, behind its header, of which others follow: nobody knows any more
    // what stood there.
    let files = fs::read_dir(data.join("journal")).expect("a folder");
    let mut frames = Vec::new();
    for path in files.map(|file| file.expect("a file").path()) {
        let bytes = fs::read(&path).expect("it can be read");
        let sectors = bytes.chunks(4096).enumerate();
        for (nth, sector) in sectors.filter(|(_, it)| it.starts_with(b"HnFr") && it[68] > 0) {
            let lsn = u64::from_le_bytes(sector[32..40].try_into().expect("eight"));
            frames.push((lsn, path.clone(), nth as u64 * 4096));
        }
    }
    frames.sort();
    let (_, path, at) = &frames[frames.len() - 3];
    tool::flip(path, at + 96);
    let server = site.serve();
    assert_eq!(server.anonymous().plain("/readyz").0, 503);
    assert_eq!(server.stop().code(), Some(0));
    assert_eq!(version(&data), "hansard data directory\nformat 1\n");
    done(hansard().args(["accept-damage", "--data"]).arg(&data));
    assert_eq!(version(&data), VERSION_2);
    let server = site.serve();
    assert_eq!(server.anonymous().plain("/readyz").0, 200);
    assert_eq!(server.stop().code(), Some(0));
}

/// Its header is known from its footer, which says of which format it is; its run index is made
/// again of the catalog's rows in the form that it had, also where no header says which.
#[test]
fn a_pack_of_the_format_before_is_made_good_as_it_was() {
    let site = unpacked(1);
    let packs = fs::read_dir(site.data().join("packs")).expect("a folder");
    let pack = packs.map(|file| file.expect("a file").path()).max().expect("a pack");
    let before = fs::read(&pack).expect("it can be read");
    let index = before.len() as u64 - 80;
    for damage in [&[4][..], &[6], &[9], &[index], &[index, 4]] {
        damage.iter().for_each(|at| tool::flip(&pack, *at));
        let report = tool::done("repair", &site.data());
        let target = Path::new(text(&report["target"]).as_str()).to_owned();
        let name = pack.file_name().expect("a name");
        assert_eq!(fs::read(target.join("packs").join(name)).expect("a pack"), before);
        assert_eq!(tool::done("verify", &target)["ok"], true);
        fs::remove_dir_all(target).expect("it can be removed");
        damage.iter().for_each(|at| tool::flip(&pack, *at));
    }
}

fn read_as_meant(format: u32) {
    let site = unpacked(format);
    let data = site.data();
    let meant = fs::read_to_string(golden(&format!("format-{format}.jsonl")));
    let meant = meant.expect("what it held");
    let meant: Vec<&str> = meant.lines().collect();
    assert!(meant.len() > 200);
    assert_eq!(dump(&data), meant);
    let mut verify = tool::tool();
    verify.args(["verify", "--json", "--head"]).arg(site.path("head.note"));
    let report = done(verify.arg("--key").arg(site.path("head.keys")).arg(&data));
    let report: Value = serde_json::from_str(&report).expect("a report");
    assert_eq!((&report["ok"], &report["proofs"]["against"]), (&json!(true), &json!("head")));

    // Without its catalog everything is there as well.
    for catalog in [true, false] {
        let site = unpacked(format);
        if !catalog {
            fs::remove_dir_all(site.data().join("catalog")).expect("it can go");
        }
        check_served(&site, &meant);
    }
}

/// The server shows what the dump says, goes on, and what is written then is read too.
fn check_served(site: &Site, meant: &[&str]) {
    let server = site.serve();
    let root = server.admin();
    let meant: Vec<Value> =
        meant.iter().map(|line| serde_json::from_str(line).expect("a line")).collect();
    let rooms = root.get("/rooms").expect(200);
    let rooms = rooms["rooms"].as_array().expect("a list");
    assert!(rooms.len() >= 3);
    let mut entries = 0;
    for room in rooms {
        let id = text(&room["id"]);
        let path = format!("/rooms/{id}/messages?after=0&limit=500");
        let page = root.get(&path).expect(200);
        for message in page["messages"].as_array().expect("a list") {
            let is_it =
                |line: &&Value| line["room"] == id.as_str() && line["seq"] == message["seq"];
            let line = meant.iter().find(is_it).expect("the dump has it");
            let changed = message.get("edited").is_some() || message.get("redacted").is_some();
            assert!(changed || line["body"] == message["body"], "{line} {message}");
            entries += 1;
        }
    }
    assert!(entries > 150, "{entries}");
    let room = root.get("/rooms?name=trades").expect(200);
    let room = text(&room["rooms"][0]["id"]);
    let path = format!("/rooms/{room}/messages");
    let last = |api: &Api| api.get(&format!("{path}?limit=1")).expect(200)["messages"][0].clone();
    let before = number(&last(&root), "seq");
    root.post(&path, &json!({ "body": "years later" })).expect(201);
    let posted = last(&root);
    assert_eq!((number(&posted, "seq"), text(&posted["body"])), (before + 1, "years later".into()));
    assert_eq!(server.stop().code(), Some(0));
    tool::done("compact", &site.data());
    assert_eq!(tool::done("verify", &site.data())["ok"], true);
}
