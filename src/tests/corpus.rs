//! A whole folder of logs, in and out: those that come with the repository, or HANSARD_CORPUS.
//!
//! `make test-corpus CORPUS=DIR` runs it on the real thing.

mod support;

use std::path::PathBuf;
use std::time::Instant;

use serde_json::Value;

use support::api::text;
use support::history::{forwards, number};
use support::reference::{self, Said};
use support::{Site, data_folder, done, logs};

#[test]
fn every_line_of_the_corpus_is_in_the_room_or_counted() {
    let folder = std::env::var_os("HANSARD_CORPUS").map_or_else(data_folder, PathBuf::from);
    let files = logs(&folder);
    let site = Site::new();
    let server = site.serve();
    let admin = server.admin();
    let mut import = server.command(&admin);
    import.args(["import", "irc-log", "--category", "Community", "--room", "ubuntu", "--json"]);
    import.args(["--date-of", "last"]).args(&files);
    let begun = Instant::now();
    let report: Value = serde_json::from_str(&done(&mut import)).expect("one JSON document");
    let (imported, lines) = (begun.elapsed(), number(&report, "lines"));

    let contents: Vec<_> = files.iter().map(|path| reference::read(path)).collect();
    assert_eq!(lines, contents.iter().map(|file| file.lines).sum::<u64>());
    let skipped = report["skipped"].as_object().expect("reasons").values();
    let skipped: u64 = skipped.map(|lines| lines.as_u64().expect("a number")).sum();
    assert_eq!(skipped, contents.iter().map(|file| file.skipped).sum::<u64>(), "{report}");
    let said: Vec<&Said> = contents.iter().flat_map(|file| &file.said).collect();

    server.kill();
    let begun = Instant::now();
    let server = site.serve();
    let opened = begun.elapsed();
    let admin = server.admin();
    let rooms = admin.get("/rooms?name=ubuntu").expect(200);
    let begun = Instant::now();
    let messages = forwards(&admin, &text(&rooms["rooms"][0]["id"]), 0);
    let read = begun.elapsed();
    assert_eq!(messages.len(), said.len());
    for (message, said) in messages.iter().zip(said) {
        said.check(message);
    }
    let files = files.len();
    println!("{files} files, {lines} lines: import {imported:?}, open {opened:?}, read {read:?}");
}
