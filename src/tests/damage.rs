//! One flipped byte: found by name, isolated to what it hit, never served, and never a way in.
//!
//! The places come from `hansard-tool inspect --json`, as an examiner would find them. What may
//! have closed a door restricts the server; what was only said costs its own place.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use support::api::{Api, text};
use support::history::{forwards, number};
use support::mounts::{Mount, alone};
use support::reference::{self, Said};
use support::websocket::Stream;
use support::{PASSWORD, Server, Site, data_folder, done, fails, hansard, tool};

/// Messages of each room.
const MESSAGES: u64 = 10;

/// A directory whose server was killed: two rooms, one post a frame, and a revoked token.
struct Fallen {
    site: Site,
    rooms: [String; 2],
    /// The messages of the first room.
    ids: Vec<String>,
    admin: String,
    revoked: String,
    view: Value,
}

impl Fallen {
    fn new() -> Self {
        let site = Site::new();
        let server = site.serve();
        let admin = server.admin();
        let category = admin.category("c");
        let rooms = ["one", "two"].map(|name| admin.room(name, &category, "open"));
        let (thief, revoked) = admin.user("thief");
        let tokens = admin.get(&format!("/tokens?principal={thief}")).expect(200);
        let id = text(&tokens["tokens"][0]["id"]);
        admin.delete(&format!("/tokens/{id}")).expect(204);
        revoked.get("/me").problem(401, "unauthenticated");
        let say = |room: &str, n: u64| {
            let body = json!({ "body": format!("word {n}") });
            text(&admin.post(&format!("/rooms/{room}/messages"), &body).expect(201)["id"])
        };
        let mut ids = Vec::new();
        for n in 1..=MESSAGES {
            ids.push(say(&rooms[0], n));
            say(&rooms[1], n);
        }
        server.kill();
        let view = tool::done("inspect", &site.data());
        let token = |api: &Api| api.token.clone().expect("a token");
        Self { rooms, ids, admin: token(&admin), revoked: token(&revoked), view, site }
    }

    /// File, frame and record of the first record that is the one meant.
    #[track_caller]
    fn record(&self, meant: impl Fn(&Value) -> bool) -> (PathBuf, &Value, &Value) {
        let list = |value: &Value| value.as_array().expect("a list").len();
        for file in self.view["journal"].as_array().expect("files") {
            assert!(list(&file["frames"]) > 0, "{file}");
            for frame in file["frames"].as_array().expect("frames") {
                let records = frame["records"].as_array().expect("records");
                if let Some(record) = records.iter().find(|record| meant(record)) {
                    return (self.site.data().join(text(&file["file"])), frame, record);
                }
            }
        }
        panic!("no such record: {}", self.view);
    }

    /// The record of a message.
    #[track_caller]
    fn message(&self, room: &str, seq: u64) -> (PathBuf, &Value, &Value) {
        self.record(|record| record["room"] == room && record["seq"] == seq)
    }

    /// Starts the server, which must be restricted and say which records are lost.
    #[track_caller]
    fn restricted(&self, first: u64, last: u64) {
        let server = self.site.serve();
        let anonymous = server.anonymous();
        assert_eq!(anonymous.plain("/healthz").0, 200);
        assert_eq!(anonymous.plain("/metrics").0, 200);
        let (status, problem) = anonymous.plain("/readyz");
        let problem: Value = serde_json::from_str(&problem).expect("a problem");
        assert_eq!((status, &problem["code"]), (503, &json!("restricted")), "{problem}");
        assert_eq!(problem["holes"], json!([[first, last]]), "{problem}");
        for token in [&self.admin, &self.revoked] {
            anonymous.with_token(token).get("/me").problem(503, "restricted");
        }
        let body = json!({ "name": "admin", "password": PASSWORD });
        anonymous.post("/sessions", &body).problem(503, "restricted");
        anonymous.get("/rooms").problem(503, "restricted");
        fails(hansard().args(["accept-damage", "--data"]).arg(self.site.data()), 75);
        assert_eq!(server.stop().code(), Some(0));
    }

    /// Accepts the loss and starts the server; every token of before is dead, the link works.
    #[track_caller]
    fn accepted(&self, first: u64, last: u64) -> (Server, Api) {
        let said = done(hansard().args(["accept-damage", "--data"]).arg(self.site.data()));
        assert!(said.contains(&format!("lost records from={first} to={last}")), "{said}");
        // There is nothing left to accept.
        fails(hansard().args(["accept-damage", "--data"]).arg(self.site.data()), 65);
        let link = fs::read_to_string(self.site.data().join("sign-in-link")).expect("a link");
        let secret = link.trim().split_once("#link=").expect("a secret").1;
        let server = self.site.serve();
        let anonymous = server.anonymous();
        assert_eq!(anonymous.plain("/readyz").0, 200);
        for token in [&self.admin, &self.revoked] {
            anonymous.with_token(token).get("/me").problem(401, "unauthenticated");
        }
        let session = anonymous.post("/sessions", &json!({ "link": secret })).expect(201);
        let admin = anonymous.with_token(&text(&session["token"]));
        (server, admin)
    }
}

/// The gap of these entries, as pages show it.
fn gap(room: &str, from: u64, to: u64) -> Value {
    json!({ "room": room, "from_seq": from, "to_seq": to, "reason": "damaged" })
}

/// What `verify` says of the one damaged file: one finding, and exit 1.
#[track_caller]
fn named(site: &Site, path: &Path) -> Value {
    let (code, report, _) = tool::run("verify", &site.data());
    assert_eq!((code, &report["ok"]), (1, &json!(false)), "{report}");
    let [found] = report["damage"].as_array().expect("damage").as_slice() else {
        panic!("one place is damaged: {report}");
    };
    assert_eq!(Path::new(&text(&found["file"])), path, "{found}");
    found.clone()
}

/// The room shows all its messages but those of one gap.
#[track_caller]
fn missing(api: &Api, room: &str, last: u64, from: u64, to: u64) {
    let page = api.get(&format!("/rooms/{room}/messages?limit=50")).expect(200);
    assert_eq!(page["gaps"], json!([gap(room, from, to)]), "{page}");
    let messages = page["messages"].as_array().expect("messages");
    let seqs: Vec<_> = messages.iter().map(|message| number(message, "seq")).collect();
    let expected: Vec<_> = (1..=last).filter(|seq| !(from..=to).contains(seq)).collect();
    assert_eq!(seqs, expected);
    for message in messages.iter().filter(|message| number(message, "seq") <= MESSAGES) {
        assert_eq!(message["body"], format!("word {}", number(message, "seq")));
    }
    let strict = api.get(&format!("/rooms/{room}/messages?strict=true"));
    assert_eq!(strict.problem(500, "damaged")["gaps"], json!([gap(room, from, to)]));
}

#[test]
fn a_flip_in_a_journaled_message_costs_that_message_only() {
    let fallen = Fallen::new();
    let (path, _, record) = fallen.message(&fallen.rooms[0], 4);
    let (offset, bytes) = (number(record, "offset"), number(record, "bytes"));
    let count = usize::try_from(bytes).expect("few bytes");
    let at = tool::bytes(&path, offset, count).windows(6).position(|part| part == b"word 4");
    let at = offset + u64::try_from(at.expect("the body is in the record")).expect("near");
    tool::flip(&path, at);

    let found = named(&fallen.site, &path);
    assert_eq!((&found["room"], number(&found, "from_seq")), (&json!(fallen.rooms[0]), 4));
    assert_eq!(number(&found, "to_seq"), 4);
    let within = offset..offset + bytes;
    assert!(within.contains(&number(&found, "offset")), "{found} {within:?}");

    let server = fallen.site.serve();
    let api = server.anonymous().with_token(&fallen.admin);
    assert_eq!(server.anonymous().plain("/readyz").0, 200);
    let [one, two] = &fallen.rooms;
    missing(&api, one, MESSAGES, 4, 4);
    assert_eq!(forwards(&api, two, 0).len(), 10);
    served_by_no_door(&api, one, 4, &fallen.ids);
    assert!(fallen.site.log().contains("journal is damaged"), "{}", fallen.site.log());
    let next = api.post(&format!("/rooms/{one}/messages"), &json!({ "body": "on" })).expect(201);
    assert_eq!(number(&next, "seq"), MESSAGES + 1);
    export_with_a_hole(&fallen.site, &server, &api);

    // It is known for good: the same after a stop, a seal, and another start.
    assert_eq!(server.stop().code(), Some(0));
    tool::done("compact", &fallen.site.data());
    assert_eq!(tool::done("verify", &fallen.site.data())["ok"], true, "a loss that is known");
    let server = fallen.site.serve();
    let api = server.anonymous().with_token(&fallen.admin);
    missing(&api, one, MESSAGES + 1, 4, 4);
}

/// The entry is missing, and said to be, also where it is asked for in other ways.
#[track_caller]
fn served_by_no_door(api: &Api, room: &str, seq: u64, ids: &[String]) {
    let at = usize::try_from(seq - 1).expect("few");
    let entry = |at: usize| api.get(&format!("/rooms/{room}/messages/{}", ids[at]));
    entry(at).problem(500, "damaged");
    assert_eq!(number(&entry(at + 1).expect(200), "seq"), seq + 1);
    // The room's first change is the room itself.
    let rev = seq + 1;
    let changes = api.get(&format!("/rooms/{room}/changes?after=0")).expect(200);
    let revs = changes["changes"].as_array().expect("changes").iter();
    assert!(!revs.map(|change| number(change, "rev")).any(|found| found == rev));
    let hole = json!({ "from_rev": rev, "to_rev": rev, "reason": "damaged" });
    assert_eq!(changes["gaps"], json!([hole]));
    let mut stream = Stream::open(api);
    stream.expect("hello");
    stream.send(&json!({ "type": "subscribe", "room": room, "after": rev - 1 }));
    stream.expect("subscribed");
    let hole = json!({ "type": "gap", "room": room, "from_rev": rev, "to_rev": rev,
                       "reason": "damaged" });
    assert_eq!(stream.text(), hole);
    assert_eq!(number(&stream.expect("change"), "rev"), rev + 1);
}

/// An export names the hole, and comes back without it.
fn export_with_a_hole(site: &Site, server: &Server, api: &Api) {
    let file = site.path("one.jsonl");
    let mut export = server.command(api);
    done(export.args(["export", "jsonl", "--room", "one", "--output"]).arg(&file));
    let exported = fs::read_to_string(&file).expect("an export");
    assert_eq!(exported.lines().filter(|line| line.starts_with("{\"gap\"")).count(), 1);
    let mut import = server.command(api);
    import.args(["import", "jsonl", "--category", "c", "--room", "copy", "--json"]).arg(&file);
    let report: Value = serde_json::from_str(&done(&mut import)).expect("JSON");
    assert_eq!((number(&report, "messages"), &report["skipped"]), (10, &json!({ "gap": 1 })));
}

#[test]
fn a_flip_in_a_block_of_a_pack_costs_that_block_only() {
    let site = Site::new();
    let server = site.serve();
    let admin = server.admin();
    let log = data_folder().join("2008-04-27.log");
    let mut import = server.command(&admin);
    import.args(["import", "irc-log", "--category", "c", "--room", "ubuntu", "--date-of", "last"]);
    done(import.arg(&log));
    let other = admin.category("other");
    let other = admin.room("lobby", &other, "open");
    admin.post(&format!("/rooms/{other}/messages"), &json!({ "body": "x" })).expect(201);
    let rooms = admin.get("/rooms?name=ubuntu").expect(200);
    let room = text(&rooms["rooms"][0]["id"]);
    assert_eq!(server.stop().code(), Some(0));
    tool::done("compact", &site.data());
    assert_eq!(tool::done("verify", &site.data())["ok"], true);

    // A block in the middle of the imported room's first segment.
    let view = tool::done("inspect", &site.data());
    let packs = view["packs"].as_array().expect("packs");
    let (pack, segment) = packs
        .iter()
        .flat_map(|pack| {
            pack["segments"].as_array().expect("segments").iter().map(move |s| (pack, s))
        })
        .find(|(_, segment)| segment["room"] == room.as_str())
        .expect("the imported room is in a pack");
    let blocks = segment["blocks"].as_array().expect("blocks");
    assert!(blocks.len() > 4, "{segment}");
    let block = &blocks[blocks.len() / 2];
    let path = site.data().join(text(&pack["file"]));
    tool::flip(&path, number(block, "offset") + number(block, "bytes") / 2);
    let (from, to) = (number(block, "from_seq"), number(block, "to_seq"));

    let found = named(&site, &path);
    assert_eq!((&found["room"], number(&found, "offset")), (&json!(room), number(block, "offset")));
    assert_eq!((number(&found, "from_seq"), number(&found, "to_seq")), (from, to), "{found}");

    let server = site.serve();
    let api = server.anonymous().with_token(admin.token.as_deref().expect("a token"));
    assert_eq!(forwards(&api, &other, 0).len(), 1);
    let said = reference::read(&log).said;
    the_rest_is_there(&api, &room, &said, from, to);
    assert!(site.log().contains("block cannot be read"), "{}", site.log());
}

/// Every message outside the gap is as it was said; the pages name the gap and nothing else.
fn the_rest_is_there(api: &Api, room: &str, said: &[Said], from: u64, to: u64) {
    let mut path = format!("/rooms/{room}/messages?after=0&limit=500");
    let (mut seqs, mut gaps) = (Vec::new(), Vec::new());
    loop {
        let page = api.get(&path).expect(200);
        for message in page["messages"].as_array().expect("messages") {
            let seq = number(message, "seq");
            said[usize::try_from(seq - 1).expect("few")].check(message);
            seqs.push(seq);
        }
        gaps.extend(page["gaps"].as_array().expect("gaps").iter().cloned());
        let Some(newer) = page["newer"].as_str() else { break };
        path = format!("/rooms/{room}/messages?cursor={newer}&limit=500");
    }
    let all = 1..=u64::try_from(said.len()).expect("few");
    let expected: Vec<_> = all.filter(|seq| !(from..=to).contains(seq)).collect();
    assert_eq!(seqs, expected);
    gaps.dedup();
    assert_eq!(gaps, [gap(room, from, to)]);
}

/// Flips one byte of what holds a whole frame together, and accepts what that costs.
#[track_caller]
fn lose_frame(part: &str, place: impl Fn(&Value) -> u64) {
    let fallen = Fallen::new();
    let [one, two] = &fallen.rooms;
    let (path, frame, record) = fallen.message(one, 6);
    assert_eq!(frame["records"].as_array().map(Vec::len), Some(1), "one post a frame: {frame}");
    let lsn = number(record, "lsn");
    tool::flip(&path, place(frame));
    let found = named(&fallen.site, &path);
    assert_eq!(number(&found, "offset"), number(frame, "offset"), "{found}");
    assert!(text(&found["reason"]).contains(part), "{found}");
    fallen.restricted(lsn, lsn);
    let (server, admin) = fallen.accepted(lsn, lsn);
    // The room knows the place, not what stood there; everything else is served.
    missing(&admin, one, MESSAGES, 6, 6);
    assert_eq!(forwards(&admin, two, 0).len(), 10);
    let next = admin.post(&format!("/rooms/{one}/messages"), &json!({ "body": "on" })).expect(201);
    assert_eq!(number(&next, "seq"), MESSAGES + 1);
    assert_eq!(server.stop().code(), Some(0));
}

#[test]
fn a_flip_in_the_header_of_a_frame_restricts_until_the_loss_is_accepted() {
    lose_frame("header", |frame| number(frame, "offset") + 20);
}

#[test]
fn a_flip_in_the_directory_of_a_frame_restricts_until_the_loss_is_accepted() {
    lose_frame("directory", |frame| number(&frame["records"][0], "offset") - 8);
}

/// Loses the record that revoked a token, by one flip at `place` of its frame and itself. The
/// damage is found where `found` says: from and to which offset.
#[track_caller]
fn lose_revocation(
    place: impl Fn(&Value, &Value) -> u64,
    found: impl Fn(&Value, &Value) -> (u64, u64),
) {
    let fallen = Fallen::new();
    let (path, frame, record) = fallen.record(|record| record["kind"] == "token-revoked");
    assert_eq!(frame["records"].as_array().map(Vec::len), Some(1), "alone in its frame: {frame}");
    let lsn = number(record, "lsn");
    tool::flip(&path, place(frame, record));
    let (from, to) = found(frame, record);
    let found = named(&fallen.site, &path);
    assert!((from..to).contains(&number(&found, "offset")), "{found} {from} {to}");
    fallen.restricted(lsn, lsn);
    let (server, admin) = fallen.accepted(lsn, lsn);
    assert_eq!(forwards(&admin, &fallen.rooms[0], 0).len(), 10);
    // The password is no token: it still works, also after a kill.
    server.kill();
    let server = fallen.site.serve();
    server.anonymous().with_token(&fallen.revoked).get("/me").problem(401, "unauthenticated");
    server.admin().get("/me").expect(200);
}

#[test]
fn a_lost_revocation_never_gives_the_token_back() {
    let middle = |_: &Value, record: &Value| number(record, "offset") + number(record, "bytes") / 2;
    lose_revocation(middle, |_, record| {
        (number(record, "offset"), number(record, "offset") + number(record, "bytes"))
    });
}

#[test]
fn a_revocation_lost_with_its_frame_never_gives_the_token_back() {
    let start = |frame: &Value, _: &Value| (number(frame, "offset"), number(frame, "offset") + 1);
    lose_revocation(|frame, _| number(frame, "offset") + 20, start);
    lose_revocation(|_, record| number(record, "offset") - 8, start);
}

#[test]
fn looking_changes_nothing_and_works_on_a_read_only_directory() {
    alone("looking_changes_nothing_and_works_on_a_read_only_directory", || {
        let fallen = Fallen::new();
        let data = fallen.site.data();
        let before = tool::contents(&data);
        let view = fallen.site.path("view");
        let mount = Mount::read_only(&data, &view);
        let (inspected, verified) = (tool::run("inspect", &view), tool::run("verify", &view));
        mount.unmount();
        assert_eq!((inspected.0, &inspected.1["rooms"]), (0, &fallen.view["rooms"]));
        assert_eq!((verified.0, &verified.1["ok"]), (0, &json!(true)));
        assert_eq!(tool::contents(&data), before);

        // A directory in use is not looked at.
        let server = fallen.site.serve();
        for verb in ["inspect", "verify", "compact"] {
            let (code, _, said) = tool::run(verb, &data);
            assert_eq!(code, 3, "{verb} of a directory in use: {said}");
        }
        assert_eq!(server.stop().code(), Some(0));
    });
}
