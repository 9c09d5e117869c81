//! Edits, redactions, retention and holds with the real binary and the real catalog.
//!
//! What each does is held by the engine's and the server's tests; here they go through the command
//! line, a kill and a start, and the offline tool shows what stands on disk.

mod support;

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use support::api::{Api, text};
use support::history::{forwards, number};
use support::{Server, Site, data_folder, done, fails, tool, wall};

fn admin(server: &Server, admin: &Api, args: &[&str]) -> String {
    done(server.command(admin).arg("admin").args(args))
}

/// An import of the logs of 2004 to 2012 into a room whose category keeps ten years.
fn import(server: &Server, api: &Api) -> Command {
    let mut import = server.command(api);
    import.args(["import", "irc-log", "--category", "desk", "--room", "ubuntu"]);
    import.args(["--date-of", "last"]);
    let mut logs: Vec<_> = fs::read_dir(data_folder()).expect("the logs").flatten().collect();
    logs.sort_by_key(std::fs::DirEntry::file_name);
    let logs = logs.iter().map(std::fs::DirEntry::path);
    import.args(logs.filter(|path| path.extension().is_some_and(|end| end == "log")));
    import
}

#[test]
fn what_retention_took_stays_gone_through_a_kill_and_what_is_held_stays() {
    let site = Site::new();
    let server = site.serve();
    let api = server.admin();
    admin(&server, &api, &["category", "create", "desk", "--retention-days", "3650"]);
    // It would be gone at once: the importer hears of it, and which line it is.
    let said = fails(&mut import(&server, &api), 65);
    assert!(
        said.contains("--allow-expired") && said.contains(r#"file="2004-11-15_03.log" line=1"#)
    );
    done(import(&server, &api).arg("--allow-expired"));
    let room = text(&api.get("/rooms").expect(200)["rooms"][0]["id"]);
    let all = forwards(&api, &room, 0);
    let placed = admin(
        &server,
        &api,
        &[
            "hold",
            "create",
            "case 7",
            "--room",
            "ubuntu",
            "--from",
            "2012-01-01T00:00:00Z",
            "--json",
        ],
    );
    let hold: Value = serde_json::from_str(&placed).expect("JSON");
    let report = admin(&server, &api, &["retention", "run"]);
    assert!(report.contains("rooms=1 events=0, rooms with a hold on some=1"), "{report}");
    let kept: Vec<Value> =
        all.iter().filter(|m| text(&m["time"]).as_str() >= "2012").cloned().collect();
    assert!(!kept.is_empty() && kept.len() < all.len());
    let floor = number(&kept[0], "seq") - 1;
    let first = api.get(&format!("/rooms/{room}/messages?at=1&limit=1")).expect(200);
    let gap = json!({ "room": room, "from_seq": 1, "to_seq": floor, "reason": "expired" });
    assert_eq!((&first["messages"][0], &first["gaps"]), (&kept[0], &json!([gap])));
    assert_eq!(forwards(&api, &room, floor), kept);
    assert_eq!(api.metric("hansard_expired_entries_total"), floor);
    // Nothing that was said before is in an export.
    let export = done(server.command(&api).args(["export", "jsonl", "--room", "ubuntu"]));
    let lines: Vec<Value> =
        export.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines[0]["gap"]["to_seq"], floor);
    assert_eq!(lines.len(), kept.len() + 1);
    server.kill();

    let view = tool::done("inspect", &site.data());
    let rooms = view["rooms"].as_array().expect("rooms");
    let seen = rooms.iter().find(|seen| seen["id"] == room.as_str()).expect("the room");
    assert_eq!(number(seen, "floor"), floor);
    let server = site.serve();
    let api = server.admin();
    assert_eq!(forwards(&api, &room, floor), kept);
    let id = text(&hold["id"]);
    admin(&server, &api, &["hold", "release", &id]);
    admin(&server, &api, &["retention", "run"]);
    let page = api.get(&format!("/rooms/{room}/messages")).expect(200);
    assert_eq!((&page["messages"], &page["older"]), (&json!([]), &Value::Null));
    assert_eq!(page["gaps"][0]["to_seq"], all.len());
    let said = json!({ "body": "it goes on" });
    let next = api.post(&format!("/rooms/{room}/messages"), &said).expect(201);
    assert_eq!(number(&next, "seq"), all.len() as u64 + 1);
    assert_eq!(server.stop().code(), Some(0));
    assert_eq!(tool::done("verify", &site.data())["ok"], true);
}

#[test]
fn edits_and_redactions_outlive_a_kill_and_the_catalog() {
    let site = Site::new();
    let server = site.serve();
    let api = server.admin();
    let create = ["category", "create", "desk", "--edit", "authors", "--redact", "authors"];
    admin(&server, &api, &create);
    let category = text(&api.get("/categories").expect(200)["categories"][0]["id"]);
    let room = api.room("trades", &category, "open");
    let path = format!("/rooms/{room}/messages");
    let post = |body: &str| {
        let said = api.post(&path, &json!({ "body": body })).expect(201);
        format!("{path}/{}", text(&said["id"]))
    };
    let (edited, redacted) = (post("helo"), post("a slip"));
    api.patch(&edited, &json!({ "body": "hello" })).expect(200);
    api.delete(&redacted).expect(204);
    let seen = forwards(&api, &room, 0);
    assert_eq!((&seen[0]["body"], &seen[1]["body"]), (&json!("hello"), &json!("")));
    let dump = |site: &Site| {
        let dump = tool::tool().arg("dump").arg(site.data()).args(["--room", &room]).output();
        support::text(&dump.expect("a dump").stdout)
    };
    server.kill();
    // The tool shows what stands on disk, redacted or not.
    assert!(dump(&site).contains("a slip") && dump(&site).contains(r#""kind":"redacted""#));
    for forget in [false, true] {
        if forget {
            fs::remove_dir_all(site.data().join("catalog")).expect("a catalog");
            fs::create_dir(site.data().join("catalog")).expect("its folder");
        }
        let server = site.serve();
        let api = server.admin();
        assert_eq!(forwards(&api, &room, 0), seen, "forget={forget}");
        let versions = api.get(&format!("{redacted}/versions")).expect(200);
        assert_eq!(versions["versions"][0]["body"], "a slip");
        server.kill();
    }
}

/// The bytes of a folder's files.
fn bytes_of(site: &Site, folder: &str) -> u64 {
    let files = fs::read_dir(site.data().join(folder)).expect("a folder").flatten();
    files.map(|file| file.metadata().expect("a file").len()).sum()
}

#[test]
fn what_retention_took_leaves_the_packs_once_compliance_lets_it_go() {
    const CANARY: &str = "zx-canary-41c7";
    let site = wall::site();
    let server = site.serve();
    let api = server.admin();
    let create = ["category", "create", "desk", "--retention-days", "1", "--edit", "authors"];
    admin(&server, &api, &create);
    let category = text(&api.get("/categories").expect(200)["categories"][0]["id"]);
    let room = api.room("trades", &category, "open");
    let path = format!("/rooms/{room}/messages");
    for n in 0..60 {
        // Each is a text of its own, which does not compress away.
        let word = |k: u64| (n * 1009 + k).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31);
        let words: String = (0..200).map(|k| format!("{:x} ", word(k))).collect();
        let said = json!({ "body": format!("{n} {CANARY} {words}") });
        let said = api.post(&path, &said).expect(201);
        if n % 20 == 0 {
            let edit = json!({ "body": format!("mended {CANARY}") });
            api.patch(&format!("{path}/{}", text(&said["id"])), &edit).expect(200);
        }
    }
    assert_eq!(server.stop().code(), Some(0));
    // What the journal has is sealed.
    done(tool::tool().arg("compact").arg(site.data()));
    let before = bytes_of(&site, "packs");
    let dump = |site: &Site| done(tool::tool().arg("dump").arg(site.data()));
    assert!(dump(&site).contains(CANARY));

    wall::set(&site, "+3d");
    let server = site.serve();
    let api = server.admin();
    let purge = ["retention", "run", "--purge"];
    let said = admin(&server, &api, &purge);
    assert!(said.contains("entries=60 rooms=1 events=0"), "{said}");
    // Compliance keeps its copy.
    assert!(said.contains("dropped from packs by this call records=0"), "{said}");
    let said = admin(&server, &api, &["compliance", "show"]);
    assert_eq!(said.trim(), "compliance on=true days=0 locked=false");
    admin(&server, &api, &["compliance", "set", "--days", "2"]);
    let said = admin(&server, &api, &purge);
    assert!(!said.contains("events=0"), "{said}");
    // 60 entries and 3 edits of them: dropped by then, be it by the server on its own.
    assert_eq!(api.metric("hansard_dropped_records_total"), 63);
    let gap = json!([{ "room": room, "from_seq": 1, "to_seq": 60, "reason": "expired" }]);
    assert_eq!(api.get(&path).expect(200)["gaps"], gap);
    let next = api.post(&path, &json!({ "body": "it goes on" })).expect(201);
    assert_eq!(number(&next, "seq"), 61);
    assert_eq!(server.stop().code(), Some(0));

    let shown = dump(&site);
    assert!(!shown.contains(CANARY) && shown.contains(r#""reason":"expired""#), "{shown}");
    let verified = tool::done("verify", &site.data());
    assert_eq!((&verified["ok"], &verified["dropped"]), (&json!(true), &json!(63)));
    let after = bytes_of(&site, "packs");
    assert!(after * 2 < before, "the space is back: {before} then, {after} now");
    fs::remove_dir_all(site.data().join("catalog")).expect("a catalog");
    fs::create_dir(site.data().join("catalog")).expect("its folder");
    let server = site.serve();
    let api = server.admin();
    let page = api.get(&path).expect(200);
    assert_eq!((&page["gaps"], &page["messages"]), (&gap, &json!([next])));
    server.kill();
}

/// Files of the data directory in which a word stands, and what a dump says of it.
fn with_word(site: &Site, word: &str) -> Vec<String> {
    let mut folders = vec![site.data()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = fs::read(&path).expect("a file");
            if bytes.windows(word.len()).any(|part| part == word.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
    let dump = done(tool::tool().arg("dump").arg(site.data()));
    found.extend(dump.contains(word).then(|| "the dump".to_owned()));
    found
}

#[test]
fn erased_words_are_in_no_file_whatever_they_stood_in() {
    // Nothing in it repeats, so that it stands as it is also where it is compressed.
    const CANARY: &str = "qzXw7-Kv2pJ9";
    let site = Site::new();
    let server = site.serve();
    let api = server.admin();
    admin(&server, &api, &["category", "create", "desk", "--edit", "authors"]);
    let category = text(&api.get("/categories").expect(200)["categories"][0]["id"]);
    let room = api.room("trades", &category, "open");
    let path = format!("/rooms/{room}/messages");
    let post = |body: &str| text(&api.post(&path, &json!({ "body": body })).expect(201)["id"]);
    let (first, old) = (post("stays"), post(&format!("old {CANARY}")));
    api.patch(&format!("{path}/{old}"), &json!({ "body": format!("mended {CANARY}") })).expect(200);
    assert_eq!(server.stop().code(), Some(0));
    done(tool::tool().arg("compact").arg(site.data()));
    let found = with_word(&site, CANARY);
    for place in ["journal/", "catalog/", "the dump"] {
        assert!(found.iter().any(|file| file.contains(place)), "{place}: {found:?}");
    }

    let server = site.serve();
    let api = server.admin();
    let new = text(&api.post(&path, &json!({ "body": format!("new {CANARY}") })).expect(201)["id"]);
    let hold = ["hold", "create", "case 7", "--room", "trades", "--json"];
    let hold: Value = serde_json::from_str(&admin(&server, &api, &hold)).expect("JSON");
    let hold = text(&hold["id"]);
    let erase = ["admin", "erase", "--room", "trades", "--reason", "asked to", &old, &new];
    let said = fails(server.command(&api).args(erase), 65);
    assert!(said.contains(&hold), "{said}");
    admin(&server, &api, &["hold", "release", &hold]);
    admin(&server, &api, &["compliance", "set", "--locked", "true"]);
    let said = fails(server.command(&api).args(erase), 65);
    assert!(said.contains("locked"), "{said}");
    admin(&server, &api, &["compliance", "set", "--locked", "false"]);
    let said = done(server.command(&api).args(erase));
    assert!(said.starts_with("erased messages=2 records=3"), "{said}");
    let page = api.get(&path).expect(200);
    assert_eq!(page["messages"].as_array().map(Vec::len), Some(1), "{page}");
    assert_eq!(
        (&page["messages"][0]["id"], &page["gaps"][0]["reason"]),
        (&json!(first), &json!("erased"))
    );
    api.get(&format!("{path}/{old}")).problem(404, "not-found");
    assert!(!api.get("/events").expect(200).to_string().contains(CANARY));
    let again = done(server.command(&api).args(erase));
    assert!(again.starts_with("erased messages=0"), "{again}");
    server.kill();
    assert_eq!(with_word(&site, CANARY), [] as [String; 0]);
    assert_eq!(tool::done("verify", &site.data())["ok"], true);
    let server = site.serve();
    let api = server.admin();
    assert_eq!(api.get(&path).expect(200)["gaps"], page["gaps"]);
    assert_eq!(server.stop().code(), Some(0));
    assert_eq!(with_word(&site, CANARY), [] as [String; 0]);
}
