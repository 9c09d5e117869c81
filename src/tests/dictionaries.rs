//! A pack's own dictionary with the real binary and the real tool: made by `compact`, checked by
//! `verify`, made good by `repair`.
//!
//! What may be in one is held by the engine's tests; here it is what an operator sees.

mod support;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::api::text;
use support::history::{forwards, number};
use support::{Site, done, noise, tool};

/// Where a pack's first copy stands.
const FIRST_COPY: u64 = 28;
const ROOMS: u64 = 5;

/// A room's log: long lines of seven people, with phrases that all of them use.
fn log(room: u64) -> String {
    let mut log = String::new();
    for nth in 0..900 {
        let minute = nth / 15;
        write!(log, "[12:{minute:02}] <user{}> ", nth % 7).expect("memory");
        for part in 0..12 {
            write!(log, "{} ", noise((1 << 40) + (nth * 31 + part * 7) % 300, 24)).expect("memory");
        }
        writeln!(log, "{}", noise(room * 1000 + nth, 1400)).expect("memory");
    }
    log
}

struct Archive {
    site: Site,
    rooms: Vec<String>,
    history: Vec<Vec<Value>>,
    token: String,
}

impl Archive {
    fn new() -> Self {
        let site = Site::new();
        let config = site.configure("[engine]\nseal_interval_ms = 10\nmerge_interval_ms = 0\n");
        let server = site.serve_with(&config);
        let admin = server.admin();
        for room in 0..ROOMS {
            let file = site.path(&format!("2020-01-0{}.log", room + 1));
            fs::write(&file, log(room)).expect("space");
            let name = format!("room{room}");
            let mut import = server.command(&admin);
            import.args(["import", "irc-log", "--category", "c", "--room", &name]);
            done(import.arg(file));
        }
        let rooms = admin.get("/rooms").expect(200);
        let rooms = rooms["rooms"].as_array().expect("a list").iter();
        let rooms: Vec<String> = rooms.map(|room| text(&room["id"])).collect();
        let history = rooms.iter().map(|room| forwards(&admin, room, 0)).collect();
        let token = admin.token.clone().expect("a token");
        assert_eq!(server.stop().code(), Some(0));
        tool::done("compact", &site.data());
        Self { site, rooms, history, token }
    }

    /// The pack that has a dictionary of its own: its file, and where the second copy stands.
    fn pack(&self) -> (PathBuf, u64) {
        let view = tool::done("inspect", &self.site.data());
        let packs = view["packs"].as_array().expect("a list");
        let own = packs.iter().find(|pack| number(pack, "dictionary_bytes") > 0);
        let own = own.expect("a pack has one");
        let segments = own["segments"].as_array().expect("a list").iter();
        let blocks = segments.flat_map(|segment| segment["blocks"].as_array().expect("a list"));
        let end = blocks.map(|block| number(block, "offset") + number(block, "bytes")).max();
        (self.site.data().join(text(&own["file"])), end.expect("blocks"))
    }

    /// Verify and the server say that all is well.
    fn is_whole(&self) {
        assert_eq!(tool::done("verify", &self.site.data())["ok"], true);
        let server = self.site.serve();
        let api = server.anonymous().with_token(&self.token);
        for (room, before) in self.rooms.iter().zip(&self.history) {
            assert_eq!(&forwards(&api, room, 0), before, "{room}");
        }
        assert_eq!(server.stop().code(), Some(0));
    }

    fn repair(&self, from: Option<&Path>) -> (i32, Value) {
        let mut command = tool::tool();
        command.args(["repair", "--json", "--in-place"]);
        if let Some(from) = from {
            command.arg("--from").arg(from);
        }
        let output = command.arg(self.site.data()).output().expect("the tool runs");
        let report = serde_json::from_slice(&output.stdout).expect("a report");
        (output.status.code().expect("it exits"), report)
    }
}

/// What `verify` finds: the reasons, each once.
fn findings(data: &Path) -> Vec<String> {
    let (code, report, _) = tool::run("verify", data);
    assert_eq!(code, 1, "{report}");
    let found = report["damage"].as_array().expect("a list").iter();
    let mut found: Vec<String> = found.map(|finding| text(&finding["reason"])).collect();
    found.sort();
    found.dedup();
    found
}

#[test]
fn a_damaged_dictionary_is_found_and_made_good() {
    let archive = Archive::new();
    let data = archive.site.data();
    archive.is_whole();
    let (file, second) = archive.pack();
    let copy = archive.site.path("copy");
    let copied = std::process::Command::new("cp").arg("-r").arg(&data).arg(&copy).status();
    assert!(copied.expect("cp runs").success());
    let sound = fs::read(&file).expect("the pack");
    for place in [FIRST_COPY, second] {
        tool::flip(&file, place + 10);
        assert_eq!(findings(&data), ["dictionary checksum mismatch", "pack digest mismatch"]);
        let (code, report) = archive.repair(None);
        assert_eq!((code, &report["lost"]), (0, &serde_json::json!([])), "{report}");
        let healed = report["healed"].as_array().expect("a list").iter();
        let healed: Vec<_> = healed.filter(|found| found["file"] != "catalog").collect();
        let [healed] = healed.as_slice() else { panic!("{report}") };
        assert_eq!(number(healed, "offset"), place, "{report}");
        assert_eq!(healed["from"], "the pack's other copy");
        assert!(fs::read(&file).expect("the pack") == sound, "from the other copy");
    }
    archive.is_whole();
    // The run index is made again of the catalog's rows, and says where the dictionary is.
    let end = sound.len() as u64;
    tool::flip(&file, end - 100);
    let (code, report) = archive.repair(None);
    assert_eq!((code, &report["lost"]), (0, &serde_json::json!([])), "{report}");
    assert!(fs::read(&file).expect("the pack") == sound, "with its dictionary");
    // Neither copy: without another directory nothing of the pack can be read, with one everything.
    tool::flip(&file, FIRST_COPY + 10);
    tool::flip(&file, second + 10);
    assert!(findings(&data).contains(&"dictionary checksum mismatch".to_owned()));
    let (code, report) = archive.repair(Some(&copy));
    assert_eq!((code, &report["lost"]), (0, &serde_json::json!([])), "{report}");
    assert!(fs::read(&file).expect("the pack") == sound, "from the copy");
    archive.is_whole();
}
