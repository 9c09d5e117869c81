//! Real history in and out: six logs imported, read back in every way, line by line.
//!
//! The other side of each comparison is `support::reference`, which shares no code with the
//! importer.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sha2::{Digest, Sha256};

use support::api::{Api, text};
use support::history::{backwards, forwards, number, span};
use support::reference::{self, Said};
use support::{Server, Site, data_folder, done, fails, logs, tool};

fn import(server: &Server, admin: &Api, files: &[PathBuf]) -> Command {
    let mut command = server.command(admin);
    command.args(["import", "irc-log", "--category", "Community", "--room", "ubuntu", "--json"]);
    command.args(["--date-of", "last"]).args(files);
    command
}

fn report(command: &mut Command) -> Value {
    serde_json::from_str(&done(command)).expect("one JSON document")
}

fn room(admin: &Api) -> String {
    let rooms = admin.get("/rooms?name=ubuntu").expect(200);
    text(&rooms["rooms"][0]["id"])
}

#[track_caller]
fn same(messages: &[Value], said: &[Said]) {
    assert_eq!(messages.len(), said.len());
    for (message, said) in messages.iter().zip(said) {
        said.check(message);
    }
}

/// lines = messages + events + repeated + skipped.
#[track_caller]
fn adds_up(report: &Value) {
    let skipped = report["skipped"].as_object().expect("reasons").values();
    let skipped: u64 = skipped.map(|lines| lines.as_u64().expect("a number")).sum();
    let sum = number(report, "messages")
        + number(report, "events")
        + number(report, "repeated")
        + skipped;
    assert_eq!(number(report, "lines"), sum, "{report}");
}

#[test]
fn six_logs_are_in_the_room_line_by_line() {
    let site = Site::new();
    let server = site.serve();
    let admin = server.admin();
    let files = logs(&data_folder());
    let contents: Vec<_> = files.iter().map(|path| reference::read(path)).collect();
    let said: Vec<Said> = contents.iter().flat_map(|file| file.said.iter().cloned()).collect();

    let first = report(&mut import(&server, &admin, &files));
    adds_up(&first);
    let lines: u64 = contents.iter().map(|file| file.lines).sum();
    let events = said.iter().filter(|said| said.kind == "event").count();
    assert_eq!(number(&first, "lines"), lines);
    assert_eq!(number(&first, "events"), u64::try_from(events).expect("few"));
    assert_eq!(number(&first, "repeated"), 0);
    assert_eq!(first["first"], said[0].time);
    assert_eq!(first["last"], said[said.len() - 1].time);
    let mut digest = Sha256::new();
    for path in &files {
        digest.update(fs::read(path).expect("a log"));
    }
    let digest: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(first["digest"], digest);

    let room = room(&admin);
    same(&forwards(&admin, &room, 0), &said);
    same(&backwards(&admin, &room, 37), &said);

    let newest = admin.get(&format!("/rooms/{room}/messages")).expect(200);
    same(newest["messages"].as_array().expect("a page"), &said[said.len() - 50..]);
    around(&admin, &room, &said);
    hour(&admin, &said);

    let again = report(&mut import(&server, &admin, &files));
    adds_up(&again);
    assert_eq!((number(&again, "messages"), number(&again, "events")), (0, 0));
    assert_eq!(number(&again, "repeated"), u64::try_from(said.len()).expect("few"));
    assert_eq!(again["digest"], first["digest"]);
    assert_eq!(forwards(&admin, &room, 0).len(), said.len());

    // The same from packs, which it is read from without touching more than overlaps the hour.
    assert_eq!(server.stop().code(), Some(0));
    tool::done("compact", &site.data());
    let server = site.serve();
    let admin = server.admin();
    hour(&admin, &said);
    let read = admin.metric("hansard_category_blocks_read_total");
    let overlapping = admin.metric("hansard_category_blocks_overlapping_total");
    println!("{read} blocks read, {overlapping} overlap the hour");
    assert!((1..=overlapping).contains(&read), "{read} of {overlapping}");
    same(&forwards(&admin, &room, 0), &said);
}

/// The 50 around a moment: half before it, the rest from it.
fn around(admin: &Api, room: &str, said: &[Said]) {
    const AT: &str = "2008-04-27T06:00:00Z";
    let from = said.partition_point(|said| said.time.as_str() < "2008-04-27T06:00:00.000000Z");
    let page = admin.get(&format!("/rooms/{room}/messages?around={AT}&limit=50")).expect(200);
    same(page["messages"].as_array().expect("a page"), &said[from - 25..from + 25]);
    let page = admin.get(&format!("/rooms/{room}/messages?at={AT}&limit=10")).expect(200);
    same(page["messages"].as_array().expect("a page"), &said[from..from + 10]);
}

/// One hour of the category, both ways.
fn hour(admin: &Api, said: &[Said]) {
    let categories = admin.get("/categories?name=Community").expect(200);
    let category = text(&categories["categories"][0]["id"]);
    let (from, to) = ("2008-04-27T05:00:00Z", "2008-04-27T06:00:00Z");
    let of_hour: Vec<_> =
        said.iter().filter(|said| said.time.starts_with("2008-04-27T05:")).cloned().collect();
    assert!(of_hour.len() > 500);
    let ascending = span(admin, &category, from, to, "asc");
    same(&ascending, &of_hour);
    let mut descending = span(admin, &category, from, to, "desc");
    descending.reverse();
    assert_eq!(descending, ascending);
}

#[test]
fn an_interrupted_import_goes_on_without_doubling() {
    let site = Site::new();
    let server = site.serve();
    let admin = server.admin();
    let files = logs(&data_folder());
    let said: Vec<Said> = files.iter().flat_map(|path| reference::read(path).said).collect();
    // Ctrl-C, then kill -9, each somewhere; and at last to the end.
    for (signal, wait) in [(Signal::INT, 150), (Signal::KILL, 150), (Signal::INT, 300)] {
        let mut child = import(&server, &admin, &files)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("import starts");
        thread::sleep(Duration::from_millis(wait));
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process");
        // It may have come to its end already: then there is nobody to be interrupted.
        let _ = kill_process(pid, signal);
        let code = child.wait().expect("import ends").code();
        assert!(matches!(code, Some(0 | 130) | None), "{code:?}");
    }
    adds_up(&report(&mut import(&server, &admin, &files)));
    same(&forwards(&admin, &room(&admin), 0), &said);
}

#[test]
fn an_import_outlives_a_restart_of_the_server() {
    let site = Site::new();
    let server = site.serve();
    let admin = server.admin();
    let address = server.url.strip_prefix("http://").expect("an address").to_owned();
    let files = logs(&data_folder());
    let said: Vec<Said> = files.iter().flat_map(|path| reference::read(path).said).collect();
    let mut command = import(&server, &admin, &files);
    let importer = thread::spawn(move || report(&mut command));
    thread::sleep(Duration::from_millis(200));
    server.kill();
    let server = site.serve_with_address(&address);
    let report = importer.join().expect("the importer ends well");
    assert_eq!(number(&report, "repeated"), 0);
    adds_up(&report);
    let admin = server.admin();
    same(&forwards(&admin, &room(&admin), 0), &said);
}

#[test]
fn what_contradicts_the_room_is_refused_with_file_and_line() {
    let site = Site::new();
    let server = site.serve();
    let admin = server.admin();
    let folder = site.path("logs");
    fs::create_dir(&folder).expect("a folder");
    let write = |name: &str, text: &str| -> PathBuf {
        fs::write(folder.join(name), text).expect("a file");
        folder.join(name)
    };
    let later = write("2008-04-27.log", "odd\n[06:00] <will> hi\n");
    done(&mut import(&server, &admin, &[later]));

    let earlier = write("2008-04-26.log", "odd\n=== a\n[06:00] <will> before\n");
    let said = fails(&mut import(&server, &admin, &[earlier]), 65);
    assert!(said.contains("2008-04-26.log") && said.contains("line=2"), "{said}");

    let changed = write("2008-04-27.log", "odd\n[06:00] <will> ho\n");
    let said = fails(&mut import(&server, &admin, &[changed]), 65);
    assert!(said.contains("does not begin with what was imported"), "{said}");

    let future = write("2999-01-01.log", "[06:00] <will> hi\n");
    let said = fails(&mut import(&server, &admin, &[future]), 65);
    assert!(said.contains("future") && said.contains("2999-01-01.log"), "{said}");
    let nameless = write("today.log", "[06:00] <will> hi\n");
    fails(&mut import(&server, &admin, &[nameless]), 65);
    fails(&mut import(&server, &admin, &[folder.join("none.log")]), 66);

    let grown = write("2008-04-27.log", "odd\n[06:00] <will> hi\n[06:01] <will> more\n");
    let report = report(&mut import(&server, &admin, &[grown]));
    assert_eq!((number(&report, "messages"), number(&report, "repeated")), (1, 1));
    let messages = forwards(&admin, &room(&admin), 0);
    let bodies: Vec<_> = messages.iter().map(|message| text(&message["body"])).collect();
    assert_eq!(bodies, ["hi", "more"]);

    fails(&mut import(&server, &server.anonymous().with_token("wrong"), &[]), 64);
    let log = [folder.join("2008-04-27.log")];
    fails(&mut import(&server, &server.anonymous().with_token("wrong"), &log), 77);
    assert_eq!(server.stop().code(), Some(0));
}

#[test]
fn an_export_comes_back_as_it_was() {
    let site = Site::new();
    let server = site.serve();
    let admin = server.admin();
    let log = data_folder().join("2008-04-27.log");
    done(&mut import(&server, &admin, std::slice::from_ref(&log)));
    let file = site.path("ubuntu.jsonl");
    let export = |room: &str, output: &Path| {
        let mut command = server.command(&admin);
        command.args(["export", "jsonl", "--room", room, "--output"]).arg(output);
        command
    };
    done(&mut export("ubuntu", &file));
    fails(&mut export("ubuntu", &file), 73);
    let exported = fs::read_to_string(&file).expect("an export");
    let said = reference::read(&log).said;
    assert_eq!(exported.lines().count(), said.len());

    let mut back = server.command(&admin);
    back.args(["import", "jsonl", "--category", "Community", "--room", "copy", "--json"]);
    adds_up(&report(back.arg(&file)));
    let rooms = admin.get("/rooms?name=copy").expect(200);
    same(&forwards(&admin, &text(&rooms["rooms"][0]["id"]), 0), &said);

    let mut part = server.command(&admin);
    part.args(["export", "jsonl", "--room", "ubuntu"]);
    part.args(["--from", "2008-04-27T05:00:00Z", "--to", "2008-04-27T05:10:00Z"]);
    let lines: Vec<Value> =
        done(&mut part).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let wanted: Vec<_> =
        said.into_iter().filter(|said| said.time.starts_with("2008-04-27T05:0")).collect();
    same(&lines, &wanted);
}
