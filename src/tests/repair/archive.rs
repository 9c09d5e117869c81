//! The directory that the tests of the repair damage, and what its server shows afterwards.
//!
//! It is made by the real server and the real tool: three packs, and posts that only the journal
//! has.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::api::{Api, text};
use crate::support::history::number;
use crate::support::{Server, Site, data_folder, done, hansard, text as utf8, tool};

/// No repair of such a small directory takes longer; one that opens a damaged RocksDB never ends.
const REPAIR_WAIT: Duration = Duration::from_secs(120);

/// A room as its pages show it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shown {
    pub messages: BTreeMap<u64, Value>,
    /// First and last entry of each.
    pub gaps: Vec<(u64, u64)>,
}

impl Shown {
    #[track_caller]
    pub fn of(api: &Api, room: &str) -> Self {
        let mut shown = Self::default();
        let mut path = format!("/rooms/{room}/messages?after=0&limit=500");
        loop {
            let page = api.get(&path).expect(200);
            for message in page["messages"].as_array().expect("messages") {
                shown.messages.insert(number(message, "seq"), message.clone());
            }
            for gap in page["gaps"].as_array().expect("gaps") {
                assert_eq!(gap["reason"], "damaged", "{gap}");
                shown.gaps.push((number(gap, "from_seq"), number(gap, "to_seq")));
            }
            let Some(newer) = page["newer"].as_str() else { break };
            path = format!("/rooms/{room}/messages?cursor={newer}&limit=500");
        }
        shown.gaps.sort_unstable();
        // Pages that meet within a gap name it twice.
        shown.gaps.dedup_by(|next, before| {
            let joins = next.0 <= before.1 + 1;
            before.1 = if joins { before.1.max(next.1) } else { before.1 };
            joins
        });
        shown
    }

    /// The same room without these entries, which are gaps.
    pub fn without(&self, gaps: &[(u64, u64)]) -> Self {
        let mut less = self.clone();
        less.messages.retain(|seq, _| !gaps.iter().any(|gap| (gap.0..=gap.1).contains(seq)));
        less.gaps = gaps.to_vec();
        less
    }
}

/// A stopped directory: a pack with users and a room, a pack with a long room, a pack with both,
/// and posts that only the journal has. Beside it a copy of it.
pub struct Archive {
    pub site: Site,
    /// A short room and a long one.
    pub rooms: [String; 2],
    pub token: String,
    pub shown: [Shown; 2],
    pub view: Value,
}

impl Archive {
    /// As long operation leaves it: what is sealed is in packs only.
    pub fn new() -> Self {
        let archive = Self::with_old_journal();
        remove_free_files(&archive.data(), &archive.view);
        assert_eq!(tool::done("verify", &archive.data())["ok"], true);
        copy_folder(&archive.data(), &archive.copy());
        archive
    }

    pub fn with_old_journal() -> Self {
        let (site, rooms, token) = Self::sealed_packs();
        let server = site.serve();
        let api = server.anonymous().with_token(&token);
        say(&api, &rooms[0], 8..=10);
        Self::stopped(site, rooms, token, server)
    }

    /// Everything is sealed, and the journal still has the newest pack's records.
    pub fn just_sealed() -> Self {
        let (site, rooms, token) = Self::sealed_packs();
        let copy = site.path("to read");
        copy_folder(&site.data(), &copy);
        let mut reader = Site::empty();
        reader.put_data(copy.to_str().expect("a path"));
        let server = reader.serve();
        let api = server.anonymous().with_token(&token);
        let shown = [0, 1].map(|room: usize| Shown::of(&api, &rooms[room]));
        assert_eq!(server.stop().code(), Some(0));
        let view = tool::done("inspect", &site.data());
        Self { site, rooms, token, shown, view }
    }

    pub fn sealed_packs() -> (Site, [String; 2], String) {
        let site = Site::new();
        let server = site.serve();
        let admin = server.admin();
        let category = admin.category("c");
        let lobby = admin.room("lobby", &category, "open");
        let long = admin.room("long", &category, "open");
        say(&admin, &lobby, 1..=5);
        seal(&site, server);

        let server = site.serve();
        let token = admin.token.clone().expect("a token");
        let api = server.anonymous().with_token(&token);
        let log = data_folder().join("2008-04-27.log");
        let mut import = server.command(&api);
        import.args([
            "import",
            "irc-log",
            "--category",
            "c",
            "--room",
            "long",
            "--date-of",
            "last",
        ]);
        done(import.arg(log));
        seal(&site, server);

        let server = site.serve();
        say(&server.anonymous().with_token(&token), &lobby, 6..=7);
        seal(&site, server);
        (site, [lobby, long], token)
    }

    pub fn stopped(site: Site, rooms: [String; 2], token: String, server: Server) -> Self {
        let api = server.anonymous().with_token(&token);
        let shown = [0, 1].map(|room: usize| Shown::of(&api, &rooms[room]));
        assert!(shown[1].messages.len() > 500 && shown.iter().all(|room| room.gaps.is_empty()));
        assert_eq!(server.stop().code(), Some(0));
        let view = tool::done("inspect", &site.data());
        assert_eq!(view["packs"].as_array().map(Vec::len), Some(3), "{}", view["packs"]);
        Self { site, rooms, token, shown, view }
    }

    pub fn data(&self) -> PathBuf {
        self.site.data()
    }

    pub fn copy(&self) -> PathBuf {
        self.site.path("copy")
    }

    pub fn new_one(&self) -> PathBuf {
        self.site.path("data.repaired")
    }

    /// A pack's file.
    pub fn pack(&self, at: usize) -> PathBuf {
        self.data().join(text(&self.view["packs"][at]["file"]))
    }

    /// A block in the middle of the long room.
    pub fn block(&self) -> (u64, u64, u64, u64) {
        let segments = self.view["packs"][1]["segments"].as_array().expect("segments");
        let long = segments.iter().find(|segment| segment["room"] == self.rooms[1].as_str());
        let blocks = long.expect("the room is there")["blocks"].as_array().expect("blocks");
        let block = &blocks[blocks.len() / 2];
        let field = |field| number(block, field);
        (field("offset"), field("bytes"), field("from_seq"), field("to_seq"))
    }

    /// Repairs beside the original, which must not change, and checks what the server then shows.
    /// The report, if it is the only one that may come.
    #[track_caller]
    pub fn beside(&self, from: Option<&Path>, exit: i32) -> Value {
        let before = tool::contents(&self.data());
        let mut args = vec![];
        if let Some(from) = from {
            args = vec!["--from", from.to_str().expect("a path")];
        }
        let (code, report, said) = repair(&self.data(), &args);
        assert_eq!((code, said.as_str()), (exit, ""), "{report}");
        assert_eq!(tool::contents(&self.data()), before, "the original is as it was");
        assert_eq!(report["target"], self.new_one().display().to_string());
        assert_eq!(report["ok"], json!(exit == 0), "{report}");
        report
    }

    /// The result of a repair beside, or in place, as a site of its own.
    pub fn result(&self, path: &Path) -> Site {
        let mut site = Site::empty();
        site.put_data(path.to_str().expect("a path"));
        site
    }

    /// The directory is sound and shows everything as it was.
    #[track_caller]
    pub fn whole(&self, path: &Path) {
        assert_eq!(tool::done("verify", path), tool::done("verify", path));
        assert_eq!(tool::done("verify", path)["ok"], true);
        self.shows(path, &[&[], &[]]);
    }

    /// The server shows everything but these gaps of the two rooms, and goes on.
    #[track_caller]
    pub fn shows(&self, path: &Path, gaps: &[&[(u64, u64)]; 2]) {
        let site = self.result(path);
        let server = site.serve();
        self.served(&server.anonymous().with_token(&self.token), gaps);
        assert_eq!(server.stop().code(), Some(0));
    }

    #[track_caller]
    pub fn served(&self, api: &Api, gaps: &[&[(u64, u64)]; 2]) {
        for ((room, shown), gaps) in self.rooms.iter().zip(&self.shown).zip(gaps) {
            let found = Shown::of(api, room);
            assert_eq!(found.gaps, *gaps, "gaps of {room}");
            assert!(found == shown.without(gaps), "the rest of {room} is as it was");
        }
        let last = self.shown[0].messages.len() as u64;
        let body = json!({ "body": "on" });
        let posted = api.post(&format!("/rooms/{}/messages", self.rooms[0]), &body).expect(201);
        assert_eq!(number(&posted, "seq"), last + 1);
    }

    /// The server opens the directory restricted; once the loss is accepted it shows everything but
    /// these gaps.
    #[track_caller]
    pub fn accepted(&self, path: &Path, gaps: &[&[(u64, u64)]; 2]) {
        let (server, api) = self.accept(path);
        self.served(&api, gaps);
        assert_eq!(server.stop().code(), Some(0));
    }

    /// The server opens the directory restricted; starts it once the loss is accepted.
    #[track_caller]
    pub fn accept(&self, path: &Path) -> (Server, Api) {
        let site = self.result(path);
        // A server that is not restricted gives out the document that answers are checked with.
        let other = Site::new();
        let server = other.serve();
        server.anonymous().document();
        drop(server);
        let server = site.serve();
        server.anonymous().with_token(&self.token).get("/me").problem(503, "restricted");
        assert_eq!(server.stop().code(), Some(0));
        done(hansard().args(["accept-damage", "--data"]).arg(path));
        let link = fs::read_to_string(path.join("sign-in-link")).expect("a link");
        let secret = link.trim().split_once("#link=").expect("a secret").1;
        let server = site.serve();
        let anonymous = server.anonymous();
        let session = anonymous.post("/sessions", &json!({ "link": secret })).expect(201);
        (server, anonymous.with_token(&text(&session["token"])))
    }
}

/// Removes the files of a journal that hold nothing which packs have not.
#[track_caller]
pub fn remove_free_files(data: &Path, view: &Value) {
    for entry in fs::read_dir(data.join("journal")).expect("a journal") {
        let path = entry.expect("its files").path();
        let is_live = |file: &Value| data.join(text(&file["file"])) == path;
        let live = view["journal"].as_array().expect("files").iter().any(is_live);
        if path.extension().is_some_and(|end| end == "journal") && !live {
            fs::remove_file(path).expect("a free file can be removed");
        }
    }
}

#[track_caller]
pub fn say(api: &Api, room: &str, numbers: std::ops::RangeInclusive<u64>) {
    for n in numbers {
        let body = json!({ "body": format!("word {n}") });
        api.post(&format!("/rooms/{room}/messages"), &body).expect(201);
    }
}

/// Stops a server and seals what it took into a pack.
#[track_caller]
pub fn seal(site: &Site, server: Server) {
    assert_eq!(server.stop().code(), Some(0));
    tool::done("compact", &site.data());
}

/// A copy that shares no file with the original, unlike a checkpoint on the same file system.
#[track_caller]
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a new folder");
    for entry in fs::read_dir(from).expect("the folder can be read") {
        let entry = entry.expect("its entries can be read");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("a file can be copied");
        }
    }
}

/// Runs the repair, which must end in time: exit, report, complaints.
#[track_caller]
pub fn repair(dir: &Path, args: &[&str]) -> (i32, Value, String) {
    let mut command = tool::tool();
    command.args(["repair", "--json"]).arg(dir).args(args);
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the tool runs");
    let begun = Instant::now();
    while child.try_wait().expect("a child can be waited for").is_none() {
        if begun.elapsed() > REPAIR_WAIT {
            child.kill().expect("it can be killed");
            panic!("the repair does not end");
        }
        thread::sleep(Duration::from_millis(5));
    }
    let Output { status, stdout, stderr } = child.wait_with_output().expect("it has ended");
    let said = utf8(&stderr);
    assert!(!said.contains("panicked"), "{said}");
    let report = serde_json::from_slice(&stdout).unwrap_or_default();
    (status.code().expect("it exits"), report, said)
}
