//! Every command of `hansard-tool` that looks at a directory, where it cannot be written to and on
//! a checkpoint: each finds all of it or says why it will not.
//!
//! What each of them finds is held by a file of its own.

mod support;

use std::path::Path;

use serde_json::{Value, json};

use support::mounts::{Mount, alone};
use support::{Site, data_folder, done, fails, tool};

/// What the commands that only look say, and the records that are dumped.
fn looks(data: &Path) -> (Vec<Value>, String) {
    let mut looked: Vec<Value> =
        ["inspect", "stats", "verify"].iter().map(|verb| tool::done(verb, data)).collect();
    assert_eq!(looked[2]["ok"], json!(true), "{}", looked[2]);
    // It says where the directory is, and how long a part of it took.
    looked[2] = looked[2]["records"].clone();
    (looked, done(tool::tool().arg("dump").arg("--system").arg(data)))
}

#[test]
fn every_verb_works_on_a_read_only_mount_and_on_a_checkpoint() {
    alone("every_verb_works_on_a_read_only_mount_and_on_a_checkpoint", || {
        let site = Site::new();
        let server = site.serve();
        let admin = server.admin();
        let mut import = server.command(&admin);
        import.args(["import", "irc-log", "--category", "c", "--room", "ubuntu"]);
        done(import.args(["--date-of", "last"]).arg(data_folder().join("2008-04-27.log")));
        done(server.command(&admin).args(["admin", "head", "sign"]));
        let copy = site.path("copy");
        done(server.command(&admin).args(["admin", "checkpoint"]).arg(&copy));
        server.kill();
        for (name, data) in [("data", site.data()), ("copy", copy)] {
            let before = tool::contents(&data);
            let (view, result) = (site.path("view"), site.path(&format!("{name} repaired")));
            let mount = Mount::read_only(&data, &view);
            let there = looks(&view);
            let head = done(tool::tool().args(["prove", "--head"]).arg(&view));
            let said = fails(tool::tool().arg("compact").arg(&view), 3);
            assert!(said.contains("Read-only file system"), "{said}");
            let said = fails(tool::tool().args(["repair", "--in-place"]).arg(&view), 3);
            assert!(said.contains("Read-only file system"), "{said}");
            done(tool::tool().arg("repair").arg(&view).arg("--to").arg(&result));
            mount.unmount();
            assert_eq!(tool::contents(&data), before, "{name}");
            assert_eq!(looks(&data), there, "{name}");
            assert_eq!(looks(&result).1, there.1, "{name}: what repair made of it");
            tool::done("compact", &data);
            assert_eq!(looks(&data).1, there.1, "{name}: compacted");
            assert_eq!(done(tool::tool().args(["prove", "--head"]).arg(&data)), head);
        }
    });
}
