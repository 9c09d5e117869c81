//! The offline tool beside the real server: what it refuses, what it leaves alone, what it finds.
//!
//! Places of damage come from `inspect`, as an operator would look for them.

mod support;

use serde_json::{Value, json};

use support::history::number;
use support::tool::{contents, done, flip, run};
use support::{Site, fails, hansard};

/// A site with a room of ten messages, killed: (site, token, room).
fn killed() -> (Site, String, String) {
    let site = Site::new();
    let server = site.serve();
    let admin = server.admin();
    let room = admin.room("one", &admin.category("c"), "open");
    for n in 1..=10 {
        let path = format!("/rooms/{room}/messages");
        admin.post(&path, &json!({ "body": format!("message {n}") })).expect(201);
    }
    let token = admin.token.clone().expect("a token");
    server.kill();
    (site, token, room)
}

#[test]
fn looking_changes_nothing_and_a_directory_in_use_is_refused() {
    let (site, _, _) = killed();
    let before = contents(&site.data());
    let shown = done("inspect", &site.data());
    assert_eq!(done("verify", &site.data())["ok"], true);
    assert_eq!(contents(&site.data()), before, "after a kill");
    let files = shown["journal"].as_array().expect("files");
    let frames = files.iter().map(|file| file["frames"].as_array().map_or(0, Vec::len));
    assert!(frames.sum::<usize>() > 10, "{shown}");
    done("compact", &site.data());
    let before = contents(&site.data());
    let shown = done("inspect", &site.data());
    assert_eq!(done("verify", &site.data())["ok"], true);
    assert_eq!(contents(&site.data()), before, "sealed");
    assert_eq!(shown["sealed_lsn"], shown["packs"][0]["last_lsn"]);
    let server = site.serve();
    for verb in ["inspect", "verify", "compact"] {
        let (code, _, said) = run(verb, &site.data());
        assert_eq!(code, 3, "{verb}");
        assert!(said.contains("in use"), "{said}");
    }
    assert_eq!(server.stop().code(), Some(0));
    assert_eq!(run("verify", &site.path("nowhere")).0, 3);
}

/// The file and offset of the frame that holds the room's fifth message.
fn frame_of_five(shown: &Value, room: &str) -> (String, u64) {
    for file in shown["journal"].as_array().expect("files") {
        for frame in file["frames"].as_array().expect("frames") {
            let records = frame["records"].as_array().expect("records");
            if records.iter().any(|r| r["room"] == room && r["seq"] == 5) {
                let name = file["file"].as_str().expect("a name").to_owned();
                return (name, number(frame, "offset"));
            }
        }
    }
    panic!("no frame holds it");
}

#[test]
fn damage_to_a_frame_itself_restricts_until_it_is_accepted() {
    for (what, distance) in [("header", 40), ("directory", 96 + 9)] {
        let (site, token, room) = killed();
        let (file, offset) = frame_of_five(&done("inspect", &site.data()), &room);
        flip(&site.data().join(&file), offset + distance);
        let (code, report, _) = run("verify", &site.data());
        assert_eq!(code, 1, "{what}");
        let found = &report["damage"][0];
        assert!(found["file"].as_str().is_some_and(|name| name.ends_with(&file)), "{found}");
        assert_eq!(found["offset"], offset, "{what}: {found}");

        let server = site.serve();
        let (status, problem) = server.anonymous().plain("/readyz");
        assert!(status == 503 && problem.contains("restricted"), "{what}: {problem}");
        server.anonymous().with_token(&token).get("/rooms").problem(503, "restricted");
        assert_eq!(server.stop().code(), Some(0));

        let mut accept = hansard();
        support::done(accept.args(["accept-damage", "--data"]).arg(site.data()));
        let server = site.serve();
        server.anonymous().with_token(&token).get("/rooms").problem(401, "unauthenticated");
        let page = server.admin().get(&format!("/rooms/{room}/messages")).expect(200);
        let gap = json!({ "room": room, "from_seq": 5, "to_seq": 5, "reason": "damaged" });
        assert_eq!(page["gaps"], json!([gap]), "{what}");
        assert_eq!(page["messages"].as_array().map(Vec::len), Some(9), "{what}");
        assert_eq!(server.stop().code(), Some(0));
        fails(hansard().args(["accept-damage", "--data"]).arg(site.data()), 65);
    }
}
