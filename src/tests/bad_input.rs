//! Bad input: each gets a clear error of its own, nothing is lost, nothing panics.
//!
//! The list of issue A. What needs a simulated clock or disk stands in the engine's tests.

mod support;

use std::fs;

use serde_json::{Value, json};

use support::api::Api;
use support::history::forwards;
use support::{Server, Site, done, fails, hansard};

/// A server with one room that holds one message.
struct Lobby {
    site: Site,
    server: Server,
    admin: Api,
    room: String,
    path: String,
}

fn lobby() -> Lobby {
    let site = Site::new();
    let server = site.serve();
    let admin = server.admin();
    let room = admin.room("lobby", &admin.category("c"), "open");
    let path = format!("/rooms/{room}/messages");
    admin.post(&path, &json!({ "body": "first" })).expect(201);
    Lobby { site, server, admin, room, path }
}

impl Lobby {
    /// Whatever came, the room is as it was, and takes the next post.
    #[track_caller]
    fn unharmed(self) {
        let messages = forwards(&self.admin, &self.room, 0);
        assert_eq!(messages.len(), 1, "{messages:?}");
        self.admin.post(&self.path, &json!({ "body": "second" })).expect(201);
        assert_eq!(self.server.stop().code(), Some(0));
        let log = self.site.log();
        assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
    }
}

#[test]
fn bodies() {
    let lobby = lobby();
    let (admin, path) = (&lobby.admin, &lobby.path);
    let send = |bytes: &[u8]| admin.send("POST", path, bytes, None).expect("an answer");
    send(b"{\"body\": \"\xff\xfe\"}").problem(400, "bad-json");
    send(b"{\"body\": \"x\"").problem(400, "bad-json");
    send(b"").problem(400, "bad-json");
    send(b"[]").problem(422, "invalid");
    send(b"{\"body\": 3}").problem(422, "invalid");
    send(b"{\"body\": \"x\", \"colour\": \"red\"}").problem(422, "invalid");
    send(b"{\"body\": \"x\", \"kind\": \"event\"}").problem(422, "invalid");
    send(b"{\"body\": \"\\ud800\"}").problem(400, "bad-json");
    let empty = admin.post(path, &json!({ "body": "" })).problem(422, "invalid");
    assert_eq!(empty["field"], "body");
    let of = |bytes: usize| json!({ "body": "x".repeat(bytes) });
    admin.post(path, &of(64 * 1024 + 1)).problem(413, "too-large");
    admin.post(path, &of(400 * 1024)).problem(413, "too-large");
    admin.post(path, &of(600 * 1024)).problem(413, "too-large");
    admin.post(path, &json!({ "body": "x", "reply_to": 99 })).problem(422, "invalid");
    lobby.unharmed();

    // The longest body is kept, byte for byte, whatever is in it.
    let lobby = self::lobby();
    let long = json!({ "body": "\u{1}é\"\\".repeat(64 * 1024 / 5) });
    lobby.admin.post(&lobby.path, &long).expect(201);
    assert_eq!(forwards(&lobby.admin, &lobby.room, 1)[0]["body"], long["body"]);
}

#[test]
fn places_and_limits() {
    let lobby = lobby();
    let (admin, path) = (&lobby.admin, &lobby.path);
    for wrong in [
        "limit=0",
        "limit=501",
        "limit=x",
        "limit=-1",
        "before=x",
        "before=2008-04-27T06:00:00Z",
        "at=yesterday",
        "at=2008-04-27",
        "around=2008-13-01T00:00:00Z",
        "before=1&after=1",
        "colour=red",
    ] {
        admin.get(&format!("{path}?{wrong}")).problem(400, "bad-query");
    }
    admin.get(&format!("{path}?cursor=x")).problem(400, "bad-cursor");
    for room in ["r1-999999", "r9-1", "r1-1", "lobby", "..", "r1-1%2F", "%00", "c1-1"] {
        admin.get(&format!("/rooms/{room}/messages")).problem(404, "not-found");
        admin
            .post(&format!("/rooms/{room}/messages"), &json!({ "body": "x" }))
            .problem(404, "not-found");
    }
    let category = admin.get("/categories").expect(200)["categories"][0]["id"].clone();
    let category = category.as_str().expect("an id");
    for wrong in ["from=x", "to=2008", "order=up", "limit=0"] {
        admin.get(&format!("/categories/{category}/messages?{wrong}")).problem(400, "bad-query");
    }
    admin.get("/nothing").problem(404, "not-found");
    admin.put("/rooms", &json!({})).problem(405, "method-not-allowed");
    lobby.unharmed();
}

#[test]
fn credentials_and_keys() {
    let lobby = lobby();
    let (admin, path) = (&lobby.admin, &lobby.path);
    let post = |api: &Api| api.post(path, &json!({ "body": "x" }));
    post(&lobby.server.anonymous()).problem(401, "unauthenticated");
    for wrong in ["wrong", "", "a b", &"x".repeat(4000)] {
        post(&lobby.server.anonymous().with_token(wrong)).problem(401, "unauthenticated");
    }
    let long = "x".repeat(129);
    for wrong in ["", &long, "\u{e9}"] {
        let body = json!({ "body": "x" });
        if let Some(answer) = admin.try_post(path, &body, Some(wrong)) {
            answer.problem(400, "bad-header");
        }
    }
    let (_, stranger) = admin.user("stranger");
    let secret = admin.room("secret", &text(&admin.get("/categories").expect(200)), "secret");
    // Denied and absent answer alike, byte for byte.
    let absent = stranger.get("/rooms/r1-999999/messages").problem(404, "not-found");
    let denied = stranger.get(&format!("/rooms/{secret}/messages")).problem(404, "not-found");
    assert_eq!(absent, denied);
    stranger.post("/users", &json!({ "name": "x" })).problem(403, "forbidden");
    for wrong in ["", " x", "x\n", &"x".repeat(257)] {
        admin.post("/users", &json!({ "name": wrong })).problem(422, "invalid");
    }
    lobby.unharmed();
}

fn text(categories: &Value) -> String {
    categories["categories"][0]["id"].as_str().expect("an id").to_owned()
}

#[test]
fn a_disk_below_its_reserve_refuses_posts_and_goes_on_reading() {
    let lobby = lobby();
    assert_eq!(lobby.server.stop().code(), Some(0));
    // More than any disk of a test has free: the same as a full one.
    let args = lobby.site.configure("[engine]\ndisk_reserve_bytes = 1099511627776\n");
    let server = lobby.site.serve_with(&args);
    let api = server.anonymous().with_token(lobby.admin.token.as_deref().expect("a token"));
    api.post(&lobby.path, &json!({ "body": "x" })).problem(507, "no-space");
    assert_eq!(server.anonymous().plain("/readyz").0, 507);
    assert_eq!(server.anonymous().plain("/healthz").0, 200);
    assert_eq!(forwards(&api, &lobby.room, 0).len(), 1);
    assert_eq!(server.stop().code(), Some(0));

    let server = lobby.site.serve();
    let api = server.anonymous().with_token(lobby.admin.token.as_deref().expect("a token"));
    api.post(&lobby.path, &json!({ "body": "second" })).expect(201);
    assert_eq!(forwards(&api, &lobby.room, 0).len(), 2);
}

#[test]
fn commands() {
    fails(&mut hansard(), 64);
    fails(hansard().args(["serve", "--colour", "red"]), 64);
    fails(hansard().args(["import", "xml", "--category", "c", "--room", "r", "f"]), 64);
    fails(hansard().args(["admin", "room", "list"]), 77);
    let mut nobody = hansard();
    nobody.env("HANSARD_TOKEN", "x").env("HANSARD_URL", "http://127.0.0.1:1");
    assert!(fails(nobody.args(["admin", "room", "list"]), 69).contains("127.0.0.1:1"));
    fails(hansard().args(["check-config", "no-such-file.toml"]), 78);
    done(hansard().arg("--version"));
    done(hansard().args(["admin", "room", "--help"]));
}

#[test]
fn administration_by_command_line() {
    let lobby = lobby();
    let hansard = |args: &[&str]| {
        let mut command = lobby.server.command(&lobby.admin);
        command.arg("admin").args(args);
        command
    };
    let json = |args: &[&str]| -> Value {
        serde_json::from_str(&done(hansard(args).arg("--json"))).expect("JSON")
    };
    let password = lobby.site.path("password");
    let password = password.to_str().expect("a path");
    let session = &["session", "create", "--name", "admin", "--password-file", password];
    let token = done(&mut hansard(session));
    lobby.server.anonymous().with_token(token.trim()).get("/me").expect(200);
    fs::write(lobby.site.path("token"), &token).expect("a file");

    json(&["user", "create", "ann", "--password-file", password]);
    lobby.server.anonymous().signed_in("ann", support::PASSWORD);
    assert_eq!(json(&["user", "promote", "ann"])["administrator"], true);
    assert_eq!(json(&["user", "demote", "ann"])["administrator"], false);
    assert_eq!(json(&["user", "disable", "ann"])["disabled"], true);
    assert_eq!(json(&["user", "enable", "ann"])["disabled"], false);
    json(&["user", "reset-password", "ann", "--password-file", password]);
    assert_eq!(json(&["user", "list"])["users"].as_array().map(Vec::len), Some(2));
    assert!(done(&mut hansard(&["user", "list"])).contains("ann"));
    fails(&mut hansard(&["user", "disable", "nobody"]), 66);

    json(&["category", "create", "Desk", "--allow", "ann", "--allow", "admin"]);
    json(&["category", "change", "Desk", "--name", "Desks", "--description", "d"]);
    fails(&mut hansard(&["category", "change", "Desks"]), 64);
    json(&["room", "create", "fx", "--category", "Desks", "--privacy", "secret"]);
    assert_eq!(json(&["room", "change", "fx", "--topic", "rates"])["topic"], "rates");
    assert_eq!(json(&["room", "show", "fx"])["privacy"], "secret");
    let listed = json(&["room", "list", "--category", "Desks"]);
    assert_eq!(listed["rooms"].as_array().map(Vec::len), Some(1));
    json(&["member", "add", "fx", "ann", "--role", "manager"]);
    let members = json(&["member", "list", "fx"]);
    assert_eq!(members["members"].as_array().map(Vec::len), Some(2), "{members}");
    json(&["member", "remove", "fx", "ann"]);
    fails(&mut hansard(&["category", "delete", "Desks"]), 65);
    json(&["room", "delete", "fx"]);

    let made = json(&["token", "create", "robot", "--principal", "ann"]);
    let id = made["id"].as_str().expect("an id");
    let robot = lobby.server.anonymous().with_token(made["token"].as_str().expect("a token"));
    robot.get("/me").expect(200);
    json(&["token", "revoke", id]);
    robot.get("/me").problem(401, "unauthenticated");

    let events = json(&["event", "list"]);
    let kinds: Vec<_> =
        events["events"].as_array().expect("events").iter().map(|event| &event["kind"]).collect();
    for kind in ["principal-created", "room-created", "member-removed", "token-revoked", "post"] {
        assert!(kinds.iter().any(|found| **found == kind), "{kind}: {kinds:?}");
    }
    let few = json(&["event", "list", "--limit", "3"]);
    assert_eq!(few["events"].as_array().map(Vec::len), Some(3));
    let next = few["next"].as_str().expect("there is more");
    assert_eq!(json(&["event", "list", "--after", next])["events"][0], events["events"][3]);
    lobby.unharmed();
}

#[test]
fn a_checkpoint_is_a_data_directory_that_serves() {
    let lobby = lobby();
    let copy = lobby.site.path("copy");
    let checkpoint = |dir: &std::path::Path| {
        let mut command = lobby.server.command(&lobby.admin);
        command.args(["admin", "checkpoint"]).arg(dir);
        command
    };
    done(&mut checkpoint(&copy));
    // /proc is another file system wherever it is mounted.
    let inside = lobby.site.data().join("inside");
    let nowhere = lobby.site.path("nowhere").join("copy");
    for (dir, why) in [
        (copy.as_path(), "exists"),
        (inside.as_path(), "within the data directory"),
        (nowhere.as_path(), "folder above does not exist"),
        (std::path::Path::new("/proc/copy"), "another file system"),
    ] {
        let said = fails(&mut checkpoint(dir), 65);
        assert!(said.contains(why) && said.contains(&format!("{dir:?}")), "{said}");
    }
    assert!(!inside.exists() && !nowhere.exists(), "nothing is left to remove");
    lobby.admin.post(&lobby.path, &json!({ "body": "after" })).expect(201);

    let restored = Site::empty();
    fs::rename(&copy, restored.data()).expect("a folder can be moved");
    let server = restored.serve();
    let messages = forwards(&server.admin(), &lobby.room, 0);
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0]["body"], "first");
    server.admin().post(&lobby.path, &json!({ "body": "elsewhere" })).expect(201);
    assert_eq!(forwards(&lobby.admin, &lobby.room, 0)[1]["body"], "after");
}
