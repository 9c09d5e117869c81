//! Disks that fill up and disks that fail, under the real server on small file systems of its own.
//!
//! A ledger outside the server holds every acknowledgement. INVARIANT: whatever the disk does, what
//! was acknowledged is there after a repair and a start, once and in order. It mounts file systems
//! and therefore needs root.

mod support;

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use support::api::Api;
use support::history::{forwards, number};
use support::mounts::{Mount, alone, make_image, repair_image};
use support::{Server, Site, noise, tool};

const MIB: u64 = 1 << 20;
const POSTERS: usize = 16;
/// Exits of OPERATIONS.md: no room for an output, and a log that failed.
const NO_ROOM: i32 = 73;
const FAILED: i32 = 74;
const END_WAIT: Duration = Duration::from_secs(30);
/// How long a post is tried again on a failing disk.
const REFUSED_MAX: Duration = Duration::from_secs(15);

/// Checks what `/readyz` says.
#[track_caller]
fn ready(server: &Server, status: u16, code: &str) {
    let (found, body) = server.anonymous().plain("/readyz");
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((found, body["code"].as_str()), (status, Some(code)), "{body}");
    assert_eq!(server.anonymous().plain("/healthz").0, 200);
}

#[track_caller]
fn verified(site: &Site) {
    assert_eq!(tool::done("verify", &site.data())["ok"], true);
}

/// What is said at a seq in the tests of a full disk.
fn said(seq: u64) -> String {
    noise(seq, 48_000)
}

/// Posts until the disk is full: until many posts in a row are refused, as a seal or a compaction
/// may set a little room free meanwhile.
#[track_caller]
fn fill(api: &Api, room: &str, kept: &mut u64) {
    let mut refused = 0;
    while refused < 10 {
        let body = json!({ "body": said(*kept + 1) });
        let answer = api.post(&format!("/rooms/{room}/messages"), &body);
        match answer.status {
            201 => {
                *kept += 1;
                assert_eq!(number(&answer.body, "seq"), *kept);
                refused = 0;
            }
            // The journal has no room until the next seal: then the same again.
            503 => drop(answer.problem(503, "unavailable")),
            _ => {
                answer.problem(507, "no-space");
                refused += 1;
                thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

/// The room holds what was acknowledged and nothing else.
#[track_caller]
fn holds(api: &Api, room: &str, kept: u64) {
    let messages = forwards(api, room, 0);
    assert_eq!(messages.len(), usize::try_from(kept).expect("few"));
    for message in &messages {
        assert_eq!(message["body"], said(number(message, "seq")), "{}", message["seq"]);
    }
}

/// Posts until it is taken, refused meanwhile with this problem; returns the seq.
#[track_caller]
fn taken_again(api: &Api, path: &str, body: &str, (status, code): (u16, &str)) -> u64 {
    let begun = Instant::now();
    loop {
        let answer = api.post(path, &json!({ "body": body }));
        if answer.status == 201 || begun.elapsed() > END_WAIT {
            return number(&answer.expect(201), "seq");
        }
        answer.problem(status, code);
        thread::sleep(Duration::from_millis(100));
    }
}

/// Writes a file until the disk has no byte left.
#[track_caller]
fn take_the_rest(path: &Path) {
    let mut file = File::create_new(path).expect("a file");
    let full = loop {
        match file.write(&[0; 4096]) {
            Ok(count) => assert!(count > 0),
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
}

#[test]
fn a_full_disk_refuses_posts_and_loses_nothing() {
    alone("a_full_disk_refuses_posts_and_loses_nothing", || {
        let mut site = Site::empty();
        let disk = site.path("disk");
        let _mount = Mount::memory(&disk, 160 * MIB);
        site.put_data("disk/data");
        site.init();
        let (ballast, rest) = (disk.join("ballast"), disk.join("rest"));
        fs::write(&ballast, vec![1; 24 << 20]).expect("a file");
        let args = site.configure(
            "[engine]\ndisk_reserve_bytes = 16777216\njournal_file_bytes = 8388608\n\
             journal_bytes_max = 25165824\ntail_bytes_soft = 4194304\n",
        );
        let server = site.serve_with(&args);
        let admin = server.admin();
        let room = admin.room("lobby", &admin.category("c"), "open");
        let mut kept = 0;
        fill(&admin, &room, &mut kept);
        println!("{kept} posts until the disk was full");
        assert!(kept > 100, "{kept} posts");
        ready(&server, 507, "no-space");
        // Reading and signing in go on.
        holds(&server.admin(), &room, kept);

        server.kill();
        verified(&site);
        let server = site.serve_with(&args);
        let admin = server.admin();
        holds(&admin, &room, kept);
        fill(&admin, &room, &mut kept);
        ready(&server, 507, "no-space");

        // Somebody else takes what is left, the reserve included.
        take_the_rest(&rest);
        let post = || admin.post(&format!("/rooms/{room}/messages"), &json!({ "body": "x" }));
        post().problem(507, "no-space");
        holds(&admin, &room, kept);
        server.kill();
        let ended = site.try_serve(&args).err().expect("there is no room for a start");
        assert_eq!(ended.code(), Some(NO_ROOM), "{}", site.log());
        assert!(site.log().contains("no space left"), "{}", site.log());

        fs::remove_file(&rest).expect("it is there");
        fs::remove_file(&ballast).expect("it is there");
        verified(&site);
        let server = site.serve_with(&args);
        let admin = server.admin();
        assert_eq!(server.anonymous().plain("/readyz").0, 200);
        holds(&admin, &room, kept);
        let next =
            admin.post(&format!("/rooms/{room}/messages"), &json!({ "body": said(kept + 1) }));
        assert_eq!(number(&next.expect(201), "seq"), kept + 1);
        holds(&admin, &room, kept + 1);
        assert_eq!(server.stop().code(), Some(0));
        verified(&site);
        assert!(!site.log().contains("panicked"), "{}", site.log());
    });
}

#[test]
fn posts_go_on_by_themselves_when_there_is_room() {
    alone("posts_go_on_by_themselves_when_there_is_room", || {
        let mut site = Site::empty();
        let mount = Mount::memory(&site.path("disk"), 160 * MIB);
        site.put_data("disk/data");
        site.init();
        // The reserve of the default configuration is more than this disk has.
        let server = site.serve();
        let admin = server.admin();
        let room = admin.room("lobby", &admin.category("c"), "open");
        let path = format!("/rooms/{room}/messages");
        admin.post(&path, &json!({ "body": "x" })).problem(507, "no-space");
        ready(&server, 507, "no-space");
        mount.resize(1024 * MIB);
        assert_eq!(taken_again(&admin, &path, "x", (507, "no-space")), 1);
        assert_eq!(server.anonymous().plain("/readyz").0, 200);
        assert!(site.log().contains("disk has space again"), "{}", site.log());
        assert_eq!(server.stop().code(), Some(0));
    });
}

/// What the posters know.
#[derive(Default)]
struct Ledger {
    /// Acknowledged: the body at a seq.
    kept: BTreeMap<u64, String>,
    /// Sent, with its key, and the outcome is unknown.
    unknown: Vec<(String, String)>,
}

/// Posts under keys until the server says that its log has failed, or takes no post for long.
fn post_until_it_fails(api: &Api, path: &str, poster: usize, bytes: usize, ledger: &Mutex<Ledger>) {
    for n in 0.. {
        let key = format!("{poster} {n}");
        let seed = u64::try_from(poster * 1_000_000 + n).expect("few");
        let body = format!("{key} {}", noise(seed, bytes));
        let first = Instant::now();
        loop {
            let answer = api.try_post(path, &json!({ "body": body }), Some(&key));
            let code = answer.as_ref().map(|answer| answer.body["code"].as_str().unwrap_or(""));
            // `internal` if just now the next file of the journal cannot be opened: nothing of it
            // was recorded either. `timeout` if the disk takes long: the same key asks again.
            let refused = matches!(code, Some("unavailable" | "no-space" | "internal" | "timeout"));
            if refused && first.elapsed() < REFUSED_MAX {
                thread::sleep(Duration::from_millis(20));
                continue;
            }
            let mut ledger = ledger.lock().expect("nobody panics with it");
            if refused || matches!(code, None | Some("outcome-unknown" | "poisoned")) {
                ledger.unknown.push((key, body));
                return;
            }
            let message = answer.expect("an answer").expect(201);
            assert_eq!(ledger.kept.insert(number(&message, "seq"), body), None);
            break;
        }
    }
}

/// Starts the posters.
fn posters(
    api: &Api,
    room: &str,
    bytes: usize,
    ledger: &Arc<Mutex<Ledger>>,
) -> Vec<thread::JoinHandle<()>> {
    let poster = |at| {
        let (api, ledger) = (api.fresh(), Arc::clone(ledger));
        let path = format!("/rooms/{room}/messages");
        thread::spawn(move || post_until_it_fails(&api, &path, at, bytes, &ledger))
    };
    (0..POSTERS).map(poster).collect()
}

/// After the posters have ended: reads go on. If the log has failed, the server ends then. If the
/// journal is full and what would make room fails, the server waits and says so; it is ended here.
/// Returns whether the log had failed.
#[track_caller]
fn ends(site: &Site, mut server: Server, api: &Api, room: &str, ledger: &Ledger) -> bool {
    let (status, body) = server.anonymous().plain("/readyz");
    let poisoned = body.contains("poisoned");
    let full = body.contains("no-space") || body.contains("the journal is full");
    assert!(status >= 500 && (poisoned || full), "{body} {}", site.log());
    let messages = forwards(api, room, 0);
    // What is not acknowledged is not seen, though some of it may be on the disk.
    assert_eq!(messages.len(), ledger.kept.len());
    for message in &messages {
        assert_eq!(message["body"], ledger.kept[&number(message, "seq")]);
    }
    if !poisoned {
        let log = site.log();
        assert!(log.contains("nothing can be recorded now") && !log.contains("panicked"), "{log}");
        server.kill();
        return false;
    }
    let post = api.post(&format!("/rooms/{room}/messages"), &json!({ "body": "late" }));
    post.problem(503, "poisoned");
    let sign_in = json!({ "name": "admin", "password": support::PASSWORD });
    server.anonymous().post("/sessions", &sign_in).problem(503, "outcome-unknown");
    assert_eq!(server.ended(END_WAIT).code(), Some(FAILED), "{}", site.log());
    let log = site.log();
    for line in
        ["engine is poisoned: restart", "the log failed: reads go on, then the server exits"]
    {
        assert_eq!(log.lines().filter(|found| found.contains(line)).count(), 1, "{line}: {log}");
    }
    assert!(!log.contains("panicked"), "{log}");
    true
}

/// After the repair: what was acknowledged is in its place, the rest is there once.
#[track_caller]
fn recovers(site: &Site, args: &[String], token: &str, room: &str, ledger: &Ledger) {
    verified(site);
    let server = site.serve_with(args);
    let api = server.anonymous().with_token(token);
    assert_eq!(server.anonymous().plain("/readyz").0, 200);
    let path = format!("/rooms/{room}/messages");
    for (key, body) in &ledger.unknown {
        let post = || api.try_post(&path, &json!({ "body": body }), Some(key));
        let first = post().expect("an answer").expect(201);
        assert_eq!(post().expect("an answer").expect(201), first);
    }
    let messages = forwards(&api, room, 0);
    let bodies: HashSet<_> = messages.iter().map(|message| message["body"].as_str()).collect();
    assert_eq!(bodies.len(), messages.len(), "nothing is doubled");
    assert_eq!(messages.len(), ledger.kept.len() + ledger.unknown.len());
    for (seq, body) in &ledger.kept {
        let at = usize::try_from(*seq - 1).expect("few");
        assert_eq!(messages[at]["body"], *body, "seq {seq}");
    }
    assert_eq!(server.stop().code(), Some(0));
    verified(site);
}

#[test]
fn a_disk_that_takes_no_more_writes_ends_the_server_and_loses_nothing() {
    alone("a_disk_that_takes_no_more_writes_ends_the_server_and_loses_nothing", || {
        let mut site = Site::empty();
        let (image, disk) = (site.path("image"), site.path("disk"));
        make_image(&image, 256 * MIB);
        let mount = Mount::image(&image, &disk);
        site.put_data("disk/data");
        site.init();
        let args = site.configure(
            "[engine]\ndisk_reserve_bytes = 1048576\njournal_file_bytes = 8388608\n\
             journal_bytes_max = 33554432\npoison_linger_ms = 3000\n",
        );
        let server = site.serve_with(&args);
        let admin = server.admin();
        let room = admin.room("lobby", &admin.category("c"), "open");
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let posters = posters(&admin, &room, 100, &ledger);
        while ledger.lock().expect("nobody panics with it").kept.len() < 500 {
            thread::sleep(Duration::from_millis(5));
        }
        mount.fail();
        posters.into_iter().for_each(|poster| poster.join().expect("a poster ends"));
        let ledger = ledger.lock().expect("the posters have ended");
        assert_eq!(ledger.unknown.len(), POSTERS, "each of them waited for an answer");
        println!("{} posts before the disk failed", ledger.kept.len());
        assert!(ends(&site, server, &admin, &room, &ledger), "{}", site.log());
        mount.unmount();
        repair_image(&image);
        let _mount = Mount::image(&image, &disk);
        recovers(&site, &args, admin.token.as_deref().expect("a token"), &room, &ledger);
    });
}

#[test]
fn a_disk_that_loses_what_it_took_ends_the_server_and_loses_nothing() {
    alone("a_disk_that_loses_what_it_took_ends_the_server_and_loses_nothing", || {
        let mut site = Site::empty();
        let (below, disk) = (site.path("below"), site.path("disk"));
        // The disk says that it has 256 MiB; below it there is room for less. So writes succeed,
        // and their bytes are lost on the way: the sync says so, or nobody does.
        let thin = Mount::memory(&below, 72 * MIB);
        let image = below.join("image");
        make_image(&image, 256 * MIB);
        let mount = Mount::image(&image, &disk);
        site.put_data("disk/data");
        site.init();
        let args = site.configure(
            "[engine]\ndisk_reserve_bytes = 1048576\njournal_file_bytes = 8388608\n\
             journal_bytes_max = 33554432\ntail_bytes_soft = 4194304\npoison_linger_ms = 3000\n",
        );
        let server = site.serve_with(&args);
        let admin = server.admin();
        let room = admin.room("lobby", &admin.category("c"), "open");
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let posters = posters(&admin, &room, 30_000, &ledger);
        posters.into_iter().for_each(|poster| poster.join().expect("a poster ends"));
        let ledger = ledger.lock().expect("the posters have ended");
        println!("{} posts before the disk failed", ledger.kept.len());
        assert!(ledger.kept.len() > 50, "{} posts", ledger.kept.len());
        ends(&site, server, &admin, &room, &ledger);
        mount.unmount();
        thin.resize(300 * MIB);
        repair_image(&image);
        let _mount = Mount::image(&image, &disk);
        recovers(&site, &args, admin.token.as_deref().expect("a token"), &room, &ledger);
    });
}

/// One folder of the data directory takes no writes: posts are refused once the journal is full.
#[track_caller]
fn waits_for(name: &str, folder: &str, failure: &str) {
    alone(name, || {
        let site = Site::empty();
        site.init();
        let args = site.configure(
            "[engine]\ndisk_reserve_bytes = 1048576\njournal_file_bytes = 8388608\n\
             journal_bytes_max = 25165824\ntail_bytes_soft = 1048576\nseal_interval_ms = 1000\n",
        );
        let server = site.serve_with(&args);
        let admin = server.admin();
        let room = admin.room("lobby", &admin.category("c"), "open");
        let path = format!("/rooms/{room}/messages");
        let folder = site.data().join(folder);
        let broken = Mount::read_only(&folder, &folder);
        let mut kept = 0;
        let refused = loop {
            let answer = admin.post(&path, &json!({ "body": said(kept + 1) }));
            if answer.status != 201 {
                break answer;
            }
            kept += 1;
        };
        refused.problem(503, "unavailable");
        println!("{kept} posts until the journal was full");
        assert!(kept > 20, "{kept} posts");
        let (status, body) = server.anonymous().plain("/readyz");
        assert!(status == 503 && body.contains("the journal is full"), "{body}");
        assert_eq!(server.anonymous().plain("/healthz").0, 200);
        // Nobody waits for room that does not come, nor does each refusal have a line of the log.
        for _ in 0..20 {
            admin.post(&path, &json!({ "body": said(kept + 1) })).problem(503, "unavailable");
        }
        let log = site.log();
        for (line, count) in [(failure, 1..=100), ("nothing can be recorded now", 1..=1)] {
            let found = log.lines().filter(|found| found.contains(line)).count();
            assert!(count.contains(&found), "{line}: {log}");
        }
        holds(&admin, &room, kept);

        // Posts go on by themselves once packs can be written.
        broken.unmount();
        let seq = taken_again(&admin, &path, &said(kept + 1), (503, "unavailable"));
        assert_eq!(seq, kept + 1);
        assert_eq!(server.anonymous().plain("/readyz").0, 200);
        assert!(site.log().contains("records are taken again"), "{}", site.log());
        holds(&admin, &room, kept + 1);
        assert_eq!(server.stop().code(), Some(0));
        verified(&site);
    });
}

#[test]
fn a_journal_that_cannot_be_sealed_refuses_posts_and_says_why() {
    let name = "a_journal_that_cannot_be_sealed_refuses_posts_and_says_why";
    waits_for(name, "packs", "seal failed and will be tried again");
}

#[test]
fn a_journal_that_cannot_grow_refuses_posts_and_says_why() {
    let name = "a_journal_that_cannot_grow_refuses_posts_and_says_why";
    waits_for(name, "journal", "nothing can be recorded now");
}
