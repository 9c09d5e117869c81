//! Merges with the real binary: in the background of a busy server, through kills, and offline.
//!
//! What a merge does byte by byte is held by the engine's tests; here history is what the API says.

mod support;

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use support::api::{Api, text};
use support::history::{forwards, number};
use support::{Site, data_folder, done, tool};

/// A seal for nearly every post.
const SEALS: &str = "[engine]\nseal_interval_ms = 10\n";

/// A room and what is posted into it, each post sealed into a pack of its own.
fn posts(api: &Api, packs: u64) -> (String, Vec<Value>) {
    let category = api.category("trading");
    let room = api.room("desk", &category, "open");
    let path = format!("/rooms/{room}/messages");
    let mut posted = Vec::new();
    while posted.len() < 200 && api.metric("hansard_seals_total") < packs {
        let body = json!({ "body": format!("word {}", posted.len()) });
        posted.push(api.post(&path, &body).expect(201));
        thread::sleep(Duration::from_millis(60));
    }
    (room, posted)
}

fn bodies(messages: &[Value]) -> Vec<(u64, String)> {
    messages.iter().map(|m| (number(m, "seq"), text(&m["body"]))).collect()
}

#[test]
fn a_server_merges_while_it_serves_and_a_kill_loses_nothing() {
    let site = Site::new();
    let config = site.configure(&format!("{SEALS}merge_interval_ms = 500\n"));
    let server = site.serve_with(&config);
    let admin = server.admin();
    let (room, posted) = posts(&admin, 30);
    for _ in 0..100 {
        if admin.metric("hansard_merges_total") > 0 {
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    assert!(admin.metric("hansard_merges_total") > 0, "{}", site.log());
    assert_eq!(admin.metric("hansard_merge_failures_total"), 0, "{}", site.log());
    let (seals, packs) = (admin.metric("hansard_seals_total"), admin.metric("hansard_packs"));
    assert!(packs < seals, "{packs} packs of {seals} seals");
    let read = admin.metric("hansard_merge_read_bytes_total");
    assert!(read > admin.metric("hansard_merge_written_bytes_total"));
    assert!(read <= admin.metric("hansard_seal_written_bytes_total"));
    assert_eq!(bodies(&forwards(&admin, &room, 0)), bodies(&posted));
    server.kill();

    let verified = tool::done("verify", &site.data());
    assert_eq!(verified["ok"], true, "{verified}");
    let server = site.serve_with(&config);
    assert_eq!(bodies(&forwards(&server.admin(), &room, 0)), bodies(&posted));
    assert_eq!(server.stop().code(), Some(0));
    // What a kill left behind of a merge is gone after the start, which may seal more itself.
    let view = tool::done("inspect", &site.data());
    let named = view["packs"].as_array().expect("a list").len();
    let files = std::fs::read_dir(site.data().join("packs")).expect("a folder").count();
    assert_eq!(files, named, "{}", site.log());
}

#[test]
fn compact_merges_offline_and_says_what_it_did() {
    let site = Site::new();
    let config = site.configure(&format!("{SEALS}merge_interval_ms = 0\n"));
    let server = site.serve_with(&config);
    let admin = server.admin();
    let mut import = server.command(&admin);
    import.args(["import", "irc-log", "--category", "c", "--room", "ubuntu", "--date-of", "last"]);
    done(import.arg(data_folder().join("2008-04-27.log")));
    let (room, posted) = posts(&admin, 12);
    let rooms = admin.get("/rooms?name=ubuntu").expect(200);
    let imported = text(&rooms["rooms"][0]["id"]);
    let history = forwards(&admin, &imported, 0);
    assert_eq!(admin.metric("hansard_merges_total"), 0);
    assert_eq!(server.stop().code(), Some(0));

    let before = tool::done("inspect", &site.data())["packs"].as_array().expect("a list").len();
    assert!(before >= 8, "{before} packs");
    let mut compact = tool::tool();
    let compacted = compact.args(["compact", "--json", "--progress"]).arg(site.data()).output();
    let compacted = compacted.expect("the tool runs");
    assert_eq!(compacted.status.code(), Some(0));
    let said = support::text(&compacted.stderr);
    assert!(said.contains("merge: ") && said.contains("100%"), "{said}");
    let report: Value = serde_json::from_slice(&compacted.stdout).expect("one document");
    assert_eq!(number(&report, "merges"), 1, "{report}");
    let (merged, written) = (number(&report, "packs_merged"), number(&report, "packs_written"));
    assert!(merged >= before as u64 && written == 1, "{report}");
    let tables = std::fs::read_dir(site.data().join("catalog")).expect("a folder").flatten();
    let tables = tables.filter(|file| file.path().extension().is_some_and(|end| end == "sst"));
    let sizes = tables.map(|file| file.metadata().expect("its size").len());
    assert_eq!(number(&report, "catalog_table_bytes"), sizes.sum::<u64>(), "{report}");
    assert!(number(&report, "catalog_table_bytes_before") > 0, "{report}");
    let view = tool::done("inspect", &site.data());
    let packs = view["packs"].as_array().expect("a list");
    assert_eq!(packs.len() as u64, number(&report, "packs"));
    let files = std::fs::read_dir(site.data().join("packs")).expect("a folder").count();
    assert_eq!(files, packs.len(), "nothing is left of what was merged");
    assert_eq!(tool::done("verify", &site.data())["ok"], true);
    let again = tool::done("compact", &site.data());
    assert_eq!(number(&again, "merges"), 0, "{again}");

    let server = site.serve_with(&config);
    let admin = server.admin();
    assert_eq!(bodies(&forwards(&admin, &room, 0)), bodies(&posted));
    assert_eq!(forwards(&admin, &imported, 0), history);
    assert_eq!(server.stop().code(), Some(0));
}
