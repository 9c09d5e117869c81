//! A wall clock that is years ahead: posts are refused until the clock is right or is accepted.
//!
//! The real server under libfaketime, which gives it another wall clock and leaves the boot clock
//! alone. INVARIANT: while the clock is refused, no record takes its time from it.

mod support;

use serde_json::{Value, json};

use support::api::Api;
use support::history::forwards;
use support::{Server, Site, done, wall};

/// A site whose servers have the clock that is set, and the server that made a room there.
fn site() -> (Site, Server, Api, String) {
    let site = wall::site();
    let server = site.serve();
    let admin = server.admin();
    let room = admin.room("lobby", &admin.category("c"), "open");
    say(&admin, &room, "before").expect(201);
    (site, server, admin, room)
}

fn say(api: &Api, room: &str, body: &str) -> support::api::Answer {
    api.post(&format!("/rooms/{room}/messages"), &json!({ "body": body }))
}

#[track_caller]
fn refused(server: &Server, api: &Api, room: &str) {
    let (status, problem) = server.anonymous().plain("/readyz");
    let problem: Value = serde_json::from_str(&problem).expect("a problem");
    assert_eq!((status, problem["code"].as_str()), (503, Some("clock-refused")), "{problem}");
    assert_eq!(server.anonymous().plain("/healthz").0, 200);
    say(api, room, "refused").problem(503, "clock-refused");
}

/// The years of all that was recorded, in order, each once.
fn years(server: &Server, api: &Api) -> Vec<i16> {
    let listed = done(server.command(api).args(["admin", "event", "list", "--json"]));
    let events: Value = serde_json::from_str(&listed).expect("JSON");
    let events = events["events"].as_array().expect("events");
    let mut years: Vec<i16> = events
        .iter()
        .map(|event| {
            let recorded = event["recorded"].as_str().expect("a time");
            recorded.get(..4).and_then(|year| year.parse().ok()).expect("a year")
        })
        .collect();
    years.dedup();
    years
}

fn bodies(api: &Api, room: &str) -> Vec<String> {
    let text = |message: &Value| message["body"].as_str().expect("a body").to_owned();
    forwards(api, room, 0).iter().map(text).collect()
}

#[test]
fn a_start_ten_years_later_refuses_posts_until_the_clock_is_accepted() {
    let (site, server, admin, room) = site();
    let this_year = years(&server, &admin);
    assert_eq!(server.stop().code(), Some(0));
    wall::set(&site, "+10y");
    let server = site.serve();
    // A session of ten years ago has expired by this clock; the password still works.
    server
        .anonymous()
        .with_token(admin.token.as_deref().expect("a token"))
        .get("/me")
        .problem(401, "unauthenticated");
    let admin = server.admin();
    refused(&server, &admin, &room);
    assert!(site.log().contains("wall clock is far beyond the last record"), "{}", site.log());
    assert_eq!(bodies(&admin, &room), ["before"]);
    // What is recorded meanwhile, as this, keeps the time of the newest record.
    admin.user("ann");
    assert_eq!(years(&server, &admin), this_year);

    let (_, ann) = admin.user("bob");
    let mut strange = server.command(&ann);
    support::fails(strange.args(["admin", "clock", "accept"]), 77);
    refused(&server, &admin, &room);
    done(server.command(&admin).args(["admin", "clock", "accept"]));
    assert_eq!(server.anonymous().plain("/readyz").0, 200);
    let later = say(&admin, &room, "after").expect(201);
    let year: i16 = later["time"].as_str().and_then(|t| t.get(..4)?.parse().ok()).expect("a year");
    // Ten years of 365 days may end in the year before.
    assert!((9..=10).contains(&(year - this_year[this_year.len() - 1])), "{later}");

    // It stays accepted: the newest record is of this time now.
    server.kill();
    let server = site.serve();
    let admin = server.admin();
    say(&admin, &room, "and on").expect(201);
    assert_eq!(server.stop().code(), Some(0));

    // Set back, the clock is harmless: times do not fall.
    wall::set(&site, "+0");
    let server = site.serve();
    let admin = server.admin();
    say(&admin, &room, "back").expect(201);
    assert_eq!(bodies(&admin, &room), ["before", "after", "and on", "back"]);
    let messages = forwards(&admin, &room, 0);
    let times: Vec<_> = messages.iter().map(|message| message["time"].as_str()).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert!(!site.log().contains("panicked"), "{}", site.log());
}

#[test]
fn a_clock_that_jumps_refuses_posts_until_it_agrees_again() {
    let (site, server, admin, room) = site();
    let this_year = years(&server, &admin);
    wall::set(&site, "+20s");
    refused(&server, &admin, &room);
    wall::set(&site, "+10y");
    // The session is too old by this clock, and a new one is recorded in the old time.
    let late = server.admin();
    refused(&server, &late, &room);
    assert_eq!(years(&server, &late), this_year);
    wall::set(&site, "+0");
    assert_eq!(server.anonymous().plain("/readyz").0, 200);
    say(&admin, &room, "again").expect(201);
    wall::set(&site, "+20s");
    refused(&server, &admin, &room);
    done(server.command(&admin).args(["admin", "clock", "accept"]));
    say(&admin, &room, "accepted").expect(201);
    assert_eq!(bodies(&admin, &room), ["before", "again", "accepted"]);
    assert_eq!(server.stop().code(), Some(0));
}
