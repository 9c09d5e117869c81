//! The life of a server: made, started, used, stopped, started again; and every way in which a
//! start is refused.
//!
//! What is kept across a stop is read back through the API.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use support::history::forwards;
use support::{STOP_WAIT, Site, done, fails, hansard};

#[test]
fn what_is_posted_is_there_after_a_graceful_stop() {
    let site = Site::new();
    let server = site.serve();
    let admin = server.admin();
    assert_eq!(server.anonymous().plain("/healthz").0, 200);
    assert_eq!(server.anonymous().plain("/readyz").0, 200);
    let category = admin.category("Community");
    let room = admin.room("lobby", &category, "open");
    let posted = admin.post(&format!("/rooms/{room}/messages"), &json!({ "body": "héllo" }));
    let posted = posted.expect(201);
    assert_eq!((&posted["seq"], &posted["body"]), (&json!(1), &json!("héllo")));
    assert_eq!(forwards(&admin, &room, 0), std::slice::from_ref(&posted));

    let begun = Instant::now();
    assert_eq!(server.stop().code(), Some(0));
    assert!(begun.elapsed() < STOP_WAIT);

    let server = site.serve();
    let again = server.anonymous().with_token(admin.token.as_deref().expect("a token"));
    assert_eq!(forwards(&again, &room, 0), [posted]);
    let next = again.post(&format!("/rooms/{room}/messages"), &json!({ "body": "2" })).expect(201);
    assert_eq!(next["seq"], 2);
    assert!(!site.log().contains("panicked"), "{}", site.log());
}

#[test]
fn a_stop_lets_requests_finish_and_a_second_signal_does_not_wait() {
    let site = Site::new();
    let server = site.serve();
    let admin = server.admin();
    let room = admin.room("lobby", &admin.category("c"), "open");
    let posters: Vec<_> = (0..8)
        .map(|_| {
            let (api, path) = (admin.fresh(), format!("/rooms/{room}/messages"));
            thread::spawn(move || {
                let post = || api.try_post(&path, &json!({ "body": "x" }), None);
                std::iter::from_fn(post).filter(|answer| answer.status == 201).count()
            })
        })
        .collect();
    thread::sleep(Duration::from_millis(300));
    assert_eq!(server.stop().code(), Some(0));
    let acknowledged: usize = posters.into_iter().map(|poster| poster.join().expect("ends")).sum();
    assert!(acknowledged > 0);

    let mut server = site.serve();
    // Nobody resends, so what is there is what was acknowledged.
    assert_eq!(forwards(&server.admin(), &room, 0).len(), acknowledged);
    server.signal(Signal::INT);
    server.signal(Signal::TERM);
    let code = server.ended(STOP_WAIT).code();
    // Between two signals an idle server may have stopped well already.
    assert!(matches!(code, Some(0 | 1)), "{code:?}");
}

#[test]
fn a_wrong_password_is_refused_without_a_reason() {
    let site = Site::new();
    let server = site.serve();
    let sign_in = |name: &str, password: &str| {
        let body = json!({ "name": name, "password": password });
        server.anonymous().post("/sessions", &body).problem(401, "sign-in-failed")
    };
    assert_eq!(sign_in("admin", "wrong"), sign_in("nobody", "wrong"));
    server.anonymous().get("/me").problem(401, "unauthenticated");
    server.anonymous().with_token("wrong").get("/me").problem(401, "unauthenticated");
}

#[test]
fn without_a_data_directory_serve_makes_one_and_a_link_that_works_once() {
    let site = Site::empty();
    let server = site.serve();
    let path = site.data().join("sign-in-link");
    let link = fs::read_to_string(&path).expect("a link, as nobody sits at a terminal");
    let mode =
        |path: &std::path::Path| fs::metadata(path).expect("it is there").permissions().mode();
    assert_eq!(mode(&path) & 0o777, 0o600);
    assert_eq!(mode(&site.data()) & 0o777, 0o700);
    let secret = link.trim().strip_prefix(&format!("{}/#link=", server.url)).expect("a link");
    let link = json!({ "link": secret });
    let session = server.anonymous().post("/sessions", &link).expect(201);
    let admin = server.anonymous().with_token(session["token"].as_str().expect("a token"));
    let me = admin.get("/me").expect(200);
    assert_eq!((&me["name"], &me["administrator"]), (&json!("admin"), &json!(true)));
    server.anonymous().post("/sessions", &link).problem(401, "sign-in-failed");
    assert_eq!(server.stop().code(), Some(0));
    assert!(!site.log().contains(secret), "a secret is in the log");

    // Somebody can sign in now: the next start makes no new link.
    fs::remove_file(&path).expect("it was there");
    drop(site.serve());
    assert!(!path.exists());
}

#[test]
fn whoever_missed_the_link_gets_another_one_at_the_next_start() {
    let site = Site::empty();
    drop(site.serve());
    let path = site.data().join("sign-in-link");
    let first = fs::read_to_string(&path).expect("a link");
    let server = site.serve();
    let second = fs::read_to_string(&path).expect("a link");
    assert_ne!(first.split('#').nth(1), second.split('#').nth(1));
    let secret = second.trim().split_once("#link=").expect("a secret").1;
    server.anonymous().post("/sessions", &json!({ "link": secret })).expect(201);
}

#[test]
fn a_second_server_on_a_directory_is_told_to_try_again() {
    let site = Site::new();
    let server = site.serve();
    let mut second = hansard();
    second.args(["serve", "--http", "127.0.0.1:0", "--data"]).arg(site.data());
    let said = fails(&mut second, 75);
    assert!(said.contains("in use"), "{said}");
    let mut init = hansard();
    init.args(["init", "--admin", "x", "--data"]).arg(site.data());
    fails(&mut init, 75);

    let address = server.url.strip_prefix("http://").expect("an address");
    let other = Site::new();
    let mut third = hansard();
    third.args(["serve", "--http", address, "--data"]).arg(other.data());
    let said = fails(&mut third, 69);
    assert!(said.contains("cannot listen") && said.contains(address), "{said}");
    assert_eq!(server.anonymous().plain("/readyz").0, 200);
}

#[test]
fn init_hashes_the_password_at_the_cost_that_its_configuration_says() {
    let site = Site::empty();
    let config = site.configure("[auth]\npassword_memory_kib = 8192\npassword_passes = 3\n");
    let mut init = hansard();
    init.args(["init", "--admin", "admin", "--data"]).arg(site.data());
    init.arg("--password-file").arg(site.path("password")).args(config);
    done(&mut init);
    let mut journal = fs::read_dir(site.data().join("journal")).expect("a journal");
    // Nothing is compressed there.
    let hashed = b"$argon2id$v=19$m=8192,t=3,p=1$";
    let found = journal.any(|file| {
        let bytes = fs::read(file.expect("a file").path()).expect("its bytes");
        bytes.windows(hashed.len()).any(|window| window == hashed)
    });
    assert!(found, "no hash of that cost");
}

#[test]
fn a_directory_of_another_layout_is_refused() {
    let site = Site::new();
    let version = site.data().join("VERSION");
    let kept = fs::read(&version).expect("a version");
    fs::write(&version, "hansard layout 999999\n").expect("it can be changed");
    let mut serve = hansard();
    serve.args(["serve", "--http", "127.0.0.1:0", "--data"]).arg(site.data());
    let said = fails(&mut serve, 65);
    assert!(said.contains("VERSION"), "{said}");
    fs::write(&version, kept).expect("it can be changed back");
    drop(site.serve());

    let foreign = Site::empty();
    fs::create_dir(foreign.data()).expect("a folder");
    fs::write(foreign.data().join("letter"), "dear").expect("a file");
    let mut serve = hansard();
    serve.args(["serve", "--http", "127.0.0.1:0", "--data"]).arg(foreign.data());
    let output = serve.output().expect("serve runs");
    assert!(matches!(output.status.code(), Some(65 | 66 | 73)), "{output:?}");
    assert_eq!(fs::read_dir(foreign.data()).expect("it is there").count(), 1);
}

#[test]
fn an_unknown_key_names_key_file_and_line_before_anything_is_made() {
    let site = Site::empty();
    let file = site.path("hansard.toml");
    fs::write(&file, "[http]\n# the door\nlistne = \"127.0.0.1:1\"\n").expect("a file");
    let mut serve = hansard();
    serve.args(["serve", "--data"]).arg(site.data()).arg("--config").arg(&file);
    let said = fails(&mut serve, 78);
    for word in ["http.listne", "hansard.toml", "line=3"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(!site.data().exists());
    fails(hansard().arg("check-config").arg(&file), 78);

    let mut variable = hansard();
    variable.env("HANSARD_HTTP__LISTNE", "x").args(["serve", "--data"]).arg(site.data());
    assert!(fails(&mut variable, 78).contains("HANSARD_HTTP__LISTNE"));
    assert!(!site.data().exists());

    fs::write(&file, done(hansard().args(["serve", "--print-default-config"]))).expect("a file");
    done(hansard().arg("check-config").arg(&file));
}

#[test]
fn the_doors_of_later_builds_are_named_once_in_the_log() {
    let site = Site::new();
    let server = site.serve_with(&["--irc", "127.0.0.1:0", "--peer", "127.0.0.1:0"]);
    assert_eq!(server.stop().code(), Some(0));
    let log = site.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("irc")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(lines[0].contains("INFO") && lines[0].contains("peer"), "{log}");
}

#[test]
fn the_log_can_be_json_and_the_start_says_what_runs_where() {
    let site = Site::new();
    let server = site.serve_with(&site.configure("[log]\nformat = \"json\"\n"));
    let url = server.url.clone();
    assert_eq!(server.stop().code(), Some(0));
    let log = site.log();
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let start = lines.iter().find(|line| line["message"] == "hansard serves");
    let start = start.expect("a line about the start");
    assert_eq!(start["http"], url.strip_prefix("http://").expect("an address"));
    assert!(start["records"].is_number() && start["data"].is_string(), "{start}");
}
