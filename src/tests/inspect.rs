//! `hansard-tool inspect`: the JSON keeps its contract, says what the API said, and the table for
//! people says the same.
//!
//! On a directory with packs and with a live journal, as a killed server leaves it. And `verify`,
//! whatever its depth, names a run that the catalog lacks.

mod support;

use hansard_engine::catalog::rocks::{RocksCatalog, RocksOptions};
use hansard_engine::catalog::{CatalogStore, Change, Family, Go, keys, walk_prefix};
use hansard_engine::types::{Rev, RoomId};
use serde_json::{Value, json};

use support::api::text;
use support::history::{forwards, number};
use support::{Site, data_folder, done, text as utf8, tool};

/// The words of every row that begins with this one.
fn rows(table: &str, first: &str) -> Vec<Vec<String>> {
    let rows = table.lines().map(|line| line.split_whitespace().map(str::to_owned).collect());
    rows.filter(|row: &Vec<String>| row.first().is_some_and(|word| word == first)).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("a list: {value}"))
}

/// Microseconds as the API writes them.
fn moment(us: &Value) -> String {
    let time = us.as_i64().and_then(|us| jiff::Timestamp::from_microsecond(us).ok());
    format!("{:.6}", time.unwrap_or_else(|| panic!("a time: {us}")))
}

/// The words that a row shows for a span of time.
fn span(first: &Value, last: &Value) -> Vec<String> {
    match (first.is_null(), first == last) {
        (true, _) => vec!["-".to_owned()],
        (false, true) => vec![moment(first)],
        (false, false) => vec![moment(first), "..".to_owned(), moment(last)],
    }
}

#[test]
fn people_and_programs_are_shown_the_same() {
    let site = Site::new();
    let server = site.serve();
    let admin = server.admin();
    let mut import = server.command(&admin);
    import.args(["import", "irc-log", "--category", "c", "--room", "ubuntu", "--date-of", "last"]);
    done(import.arg(data_folder().join("2008-04-27.log")));
    assert_eq!(server.stop().code(), Some(0));
    tool::done("compact", &site.data());

    let server = site.serve();
    let admin = server.admin();
    let rooms = admin.get("/rooms?name=ubuntu").expect(200);
    let imported = text(&rooms["rooms"][0]["id"]);
    let history = forwards(&admin, &imported, 0);
    let room = admin.room("lobby", &text(&rooms["rooms"][0]["category"]), "open");
    let post = |n: u64| {
        let path = format!("/rooms/{room}/messages");
        admin.post(&path, &json!({ "body": format!("word {n}") })).expect(201)
    };
    let posted: Vec<_> = (1..=5).map(post).collect();
    server.kill();

    let view = tool::done("inspect", &site.data());
    let shown = tool::tool().arg("inspect").arg(site.data()).output().expect("the tool runs");
    assert_eq!((shown.status.code(), utf8(&shown.stderr).as_str()), (Some(0), ""));
    let table = utf8(&shown.stdout);
    println!("{table}");
    for key in ["format", "epoch", "last_lsn"] {
        number(&view, key);
    }
    journal(&view, &table, &room, &posted);
    packs(&view, &table, &imported, &history);
    let lobby = rows(&table, &room);
    assert_eq!((lobby.len(), lobby[0].last().map(String::as_str)), (1, Some("\"lobby\"")));
    let entry = list(&view["rooms"]).iter().find(|entry| entry["id"] == room.as_str());
    let entry = entry.expect("the room is listed");
    // The catalog lost the room with the kill; the journal has it.
    assert_eq!((&entry["name"], number(entry, "seq")), (&json!("lobby"), 5));
    assert_eq!(entry["category"], rooms["rooms"][0]["category"]);
    assert_eq!(moment(&entry["last_time_us"]), text(&posted[4]["time"]));
}

/// Every live frame has a row, with what the frame holds and when that was recorded.
fn journal(view: &Value, table: &str, room: &str, posted: &[Value]) {
    let mut found = 0;
    for file in list(&view["journal"]) {
        let frames = list(&file["frames"]);
        let rows = rows(table, &text(&file["file"]));
        assert_eq!(rows.len(), frames.len(), "{table}");
        for (row, frame) in rows.iter().zip(frames) {
            let records = list(&frame["records"]);
            let numbers = [
                number(frame, "offset"),
                number(frame, "bytes"),
                u64::try_from(records.len()).expect("few"),
                number(frame, "first_lsn"),
            ];
            assert_eq!(row[1..5], numbers.map(|n| n.to_string()));
            assert_eq!(row[5..], span(&frame["first_recorded_us"], &frame["last_recorded_us"]));
            for (lsn, record) in (number(frame, "first_lsn")..).zip(records) {
                assert_eq!(number(record, "lsn"), lsn);
                let (offset, bytes) = (number(record, "offset"), number(record, "bytes"));
                let end = number(frame, "offset") + number(frame, "bytes");
                assert!(offset > number(frame, "offset") && offset + bytes <= end, "{record}");
                assert!(record["kind"].is_string() && record["rev"].is_u64(), "{record}");
                if record["room"] != room || number(record, "seq") == 0 {
                    continue;
                }
                let message = &posted[found];
                assert_eq!(record["seq"], message["seq"]);
                // One post a frame: each was answered before the next was sent.
                assert_eq!(moment(&frame["first_recorded_us"]), text(&message["recorded"]));
                found += 1;
            }
        }
    }
    assert_eq!(found, posted.len(), "every post is in a live frame");
}

/// Every pack and segment has a row, with its sizes, its compression and its time.
fn packs(view: &Value, table: &str, imported: &str, history: &[Value]) {
    let packs = list(&view["packs"]);
    assert!(!packs.is_empty(), "{view}");
    let mut times = Vec::new();
    for pack in packs {
        let segments = list(&pack["segments"]);
        let mut rows = rows(table, &text(&pack["file"])).into_iter();
        let sum = |field: &str| segments.iter().map(|segment| number(segment, field)).sum::<u64>();
        assert_eq!(sum("records"), number(pack, "records"));
        assert_eq!(sum("plain_bytes"), number(pack, "plain_bytes"));
        assert!(sum("bytes") < number(pack, "bytes"), "index and footer take some");
        let row = rows.next().expect("the pack has a row");
        let sizes = ["level", "runs", "records", "bytes", "plain_bytes"];
        assert_eq!(row[1..6], sizes.map(|field| number(pack, field).to_string()));
        assert_eq!(row[6], ratio(pack));
        assert_eq!(row[7..], span(&pack["min_time_us"], &pack["max_time_us"]));
        for segment in segments {
            let row = rows.next().expect("the segment has a row");
            let blocks = u64::try_from(list(&segment["blocks"]).len()).expect("few");
            let [records, bytes, plain] =
                ["records", "bytes", "plain_bytes"].map(|field| number(segment, field));
            assert_eq!(row[1], text(&segment["room"]));
            assert_eq!(row[3..7], [records, blocks, bytes, plain].map(|n| n.to_string()));
            assert_eq!(row[7], ratio(segment));
            assert_eq!(row[8..], span(&segment["first_time_us"], &segment["last_time_us"]));
            if segment["room"] == imported && number(segment, "to_seq") > 0 {
                times.push((segment["first_time_us"].clone(), segment["last_time_us"].clone()));
            }
        }
        assert_eq!(rows.next(), None);
    }
    let (first, last) = (&times[0].0, &times[times.len() - 1].1);
    assert_eq!(moment(first), text(&history[0]["time"]));
    assert_eq!(moment(last), text(&history[history.len() - 1]["time"]));
}

fn ratio(of: &Value) -> String {
    let hundredths = number(of, "plain_bytes") * 100 / number(of, "bytes");
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

#[test]
fn a_run_that_the_catalog_lacks_is_named_by_both_depths_of_verify() {
    let site = Site::new();
    let server = site.serve();
    let admin = server.admin();
    let category = admin.category("c");
    let room = admin.room("lobby", &category, "open");
    admin.post(&format!("/rooms/{room}/messages"), &json!({ "body": "word" })).expect(201);
    assert_eq!(server.stop().code(), Some(0));
    tool::done("compact", &site.data());
    let verify = |args: &[&str]| {
        let run = tool::tool().args(["verify", "--json"]).args(args).arg(site.data()).output();
        let run = run.expect("the tool runs");
        let report = serde_json::from_slice::<Value>(&run.stdout).expect("JSON");
        (run.status.code(), list(&report["damage"]).to_vec())
    };
    assert_eq!(verify(&["--quick"]), (Some(0), Vec::new()));

    let catalog = RocksCatalog::open(&site.data().join("catalog"), RocksOptions::default());
    let (catalog, mut rows) = (catalog.expect("a catalog"), Vec::new());
    let runs = &keys::run(RoomId::NONE, Rev::ZERO)[..1];
    walk_prefix(&catalog, Family::Index, runs, &mut |key, _| {
        rows.push(key.to_vec());
        Ok(Go::On)
    })
    .expect("rows of runs");
    let (family, key) = (Family::Index, rows.pop().expect("a run"));
    catalog.write(&[Change { family, key, value: None }]).expect("it is removed");
    catalog.flush().expect("it is flushed");
    drop(catalog);
    for args in [&[][..], &["--quick"]] {
        let (code, damage) = verify(args);
        assert_eq!((code, damage.len()), (Some(1), 1), "{args:?} {damage:?}");
        let reason = "catalog row does not agree with the run index";
        assert_eq!(damage[0]["reason"], reason, "{args:?} {damage:?}");
    }
}
