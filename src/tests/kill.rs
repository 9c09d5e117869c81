//! kill -9 under 64 posters, ten times or as often as `HANSARD_KILL_ROUNDS` says: what was
//! acknowledged is there, once and in order.
//!
//! A ledger outside the server holds every acknowledgement. Posts whose answer was lost are sent
//! again with their key: each is there once, whether it had been kept or not.

mod support;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use support::api::Api;
use support::history::{forwards, number};
use support::{Server, Site, done, tool};

const POSTERS: usize = 64;
const ROOMS: usize = 8;

/// What the posters know.
#[derive(Default)]
struct Ledger {
    /// Acknowledged: the body at a room and seq.
    kept: HashMap<(String, u64), String>,
    /// Sent without an answer: room, body and the poster's number.
    unknown: Vec<(String, String, usize)>,
}

#[test]
fn no_acknowledged_post_is_missing_doubled_or_out_of_order() {
    let acknowledged = kill_often("", rounds(10), Duration::from_millis(700));
    println!("{acknowledged} posts acknowledged across {} kills", rounds(10));
}

#[test]
fn a_kill_in_the_middle_of_a_seal_or_a_merge_costs_nothing() {
    // Seals and merges all the time, and starts that replay, trim, take the next file of the
    // journal and clear up what a merge left.
    let config = "[engine]\nseal_interval_ms = 10\nmerge_interval_ms = 10\n";
    let acknowledged = kill_often(config, rounds(40), Duration::from_millis(120));
    println!("{acknowledged} posts acknowledged across {} kills among seals", rounds(40));
}

/// How often a server is killed.
fn rounds(plain: usize) -> usize {
    std::env::var("HANSARD_KILL_ROUNDS").map_or(plain, |text| text.parse().expect("a number"))
}

/// Kills a server under 64 posters so often, each time after a while, and checks everything that it
/// acknowledged. Gives their number.
fn kill_often(config: &str, rounds: usize, after: Duration) -> usize {
    let site = Site::new();
    let args = site.configure(config);
    let mut server = site.serve_with(&args);
    let admin = server.admin();
    let category = admin.category("c");
    let rooms: Vec<_> =
        (0..ROOMS).map(|at| admin.room(&format!("room {at}"), &category, "open")).collect();
    let users: Vec<_> = (0..POSTERS)
        .map(|at| {
            let (id, api) = admin.user(&format!("poster {at}"));
            admin.join(&rooms[at % ROOMS], &id);
            api.token.expect("a token")
        })
        .collect();
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    for round in 0..rounds {
        let stop = Arc::new(AtomicBool::new(false));
        let posters: Vec<_> = users
            .iter()
            .enumerate()
            .map(|(at, token)| {
                let api = server.anonymous().with_token(token);
                let (room, ledger) = (rooms[at % ROOMS].clone(), Arc::clone(&ledger));
                let stop = Arc::clone(&stop);
                thread::spawn(move || post_until_cut(&api, &room, at, round, &ledger, &stop))
            })
            .collect();
        thread::sleep(after);
        server.kill();
        stop.store(true, Ordering::Relaxed);
        for poster in posters {
            poster.join().expect("a poster ends");
        }
        let verified = tool::done("verify", &site.data());
        assert_eq!(verified["ok"], true, "after kill {round}: {verified}");
        server = site.serve_with(&args);
        let api = server.anonymous();
        assert_eq!(api.plain("/readyz").0, 200, "after kill {round}: {}", site.log());
        resend(&api, &users, &ledger);
    }
    let ledger = ledger.lock().expect("the posters have ended");
    let admin = server.admin();
    for room in &rooms {
        check(&forwards(&admin, room, 0), room, &ledger);
    }
    events(&server, &admin, &ledger);
    assert!(ledger.kept.len() > rounds * POSTERS, "the posters did little");
    assert!(!site.log().contains("panicked"), "{}", site.log());
    assert_eq!(server.stop().code(), Some(0));
    if config.contains("merge_interval_ms") {
        let stats = tool::done("stats", &site.data());
        let merged = |group: &Value| number(group, "number") > 0;
        assert!(stats["levels"].as_array().expect("a list").iter().any(merged), "{stats}");
    }
    ledger.kept.len()
}

/// Posts `poster round n` for growing n until the connection is lost.
fn post_until_cut(
    api: &Api,
    room: &str,
    poster: usize,
    round: usize,
    ledger: &Mutex<Ledger>,
    stop: &AtomicBool,
) {
    for n in 0.. {
        let body = format!("{poster} {round} {n}");
        let path = format!("/rooms/{room}/messages");
        let answer = api.try_post(&path, &json!({ "body": body }), Some(&body));
        let mut ledger = ledger.lock().expect("nobody panics with it");
        match answer {
            Some(answer) if answer.status == 201 => {
                acknowledged(&mut ledger, room, &body, &answer.body);
            }
            Some(answer) if answer.status == 503 => {}
            Some(answer) => panic!("{}: {}", answer.status, answer.body),
            None => {
                ledger.unknown.push((room.to_owned(), body, poster));
                return;
            }
        }
        if stop.load(Ordering::Relaxed) {
            return;
        }
    }
}

fn acknowledged(ledger: &mut Ledger, room: &str, body: &str, answer: &Value) {
    assert_eq!(answer["body"], body);
    let place = (room.to_owned(), number(answer, "seq"));
    let before = ledger.kept.insert(place, body.to_owned());
    assert_eq!(before, None, "one place was acknowledged twice");
}

/// Sends again, with its key, everything whose answer was lost.
fn resend(api: &Api, users: &[String], ledger: &Mutex<Ledger>) {
    let mut ledger = ledger.lock().expect("the posters have ended");
    for (room, body, poster) in std::mem::take(&mut ledger.unknown) {
        let api = api.with_token(&users[poster]);
        let path = format!("/rooms/{room}/messages");
        let post = || api.try_post(&path, &json!({ "body": body }), Some(&body));
        let first = post().expect("the server is back").expect(201);
        let second = post().expect("the server is back");
        assert_eq!(second.headers["idempotent-replayed"], "true");
        assert_eq!(second.expect(201), first);
        acknowledged(&mut ledger, &room, &body, &first);
    }
}

/// The compliance events tell of every post once, in log order, with its body.
fn events(server: &Server, admin: &Api, ledger: &Ledger) {
    let (mut told, mut newest, mut next) = (HashSet::new(), 0, None);
    loop {
        let mut list = server.command(admin);
        list.args(["admin", "event", "list", "--json", "--limit", "500"]);
        list.args(next.iter().flat_map(|next: &String| ["--after", next.as_str()]));
        let page: Value = serde_json::from_str(&done(&mut list)).expect("JSON");
        for event in page["events"].as_array().expect("events") {
            let lsn = number(event, "lsn");
            assert!(lsn > newest, "out of order: {event}");
            newest = lsn;
            if event["kind"] == "post" {
                let room = event["room"].as_str().expect("a room").to_owned();
                let place = (room, number(event, "seq"));
                let said = ledger.kept.get(&place).map(String::as_str);
                assert_eq!(event["data"]["body"].as_str(), said, "{event}");
                assert!(told.insert(place), "told twice: {event}");
            }
        }
        next = page["next"].as_str().map(str::to_owned);
        if next.is_none() {
            break;
        }
    }
    assert_eq!(told.len(), ledger.kept.len(), "posts without an event");
}

fn check(history: &[Value], room: &str, ledger: &Ledger) {
    let mut seen = HashSet::new();
    let mut newest: HashMap<String, (u64, u64)> = HashMap::new();
    for message in history {
        let body = message["body"].as_str().expect("a body");
        assert!(seen.insert(body), "doubled: {body}");
        let place = (room.to_owned(), number(message, "seq"));
        // Everything without an answer was sent again, so everything is acknowledged by now.
        assert_eq!(ledger.kept.get(&place).map(String::as_str), Some(body), "{message}");
        let mut words = body.split(' ');
        let poster = words.next().expect("a poster").to_owned();
        let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
        let order = (number().expect("a round"), number().expect("a number"));
        let before = newest.insert(poster, order);
        assert!(before < Some(order), "out of order: {body}");
    }
    let kept = ledger.kept.keys().filter(|(of, _)| of == room).count();
    assert_eq!(history.len(), kept, "acknowledged posts are missing");
}
