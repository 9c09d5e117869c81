//! `hansard-tool dump` and `stats`: a directory without a server gives what the API gave, and says
//! what it cannot give.
//!
//! On real history in packs and on posts, edits of members and a room's change in the journal of a
//! killed server. INVARIANT: what is expected comes from the API or from `inspect`.

mod support;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use support::api::text;
use support::history::{changes, forwards, number};
use support::mounts::{Mount, alone};
use support::{Site, data_folder, done, fails, hansard, text as utf8, tool};

/// A directory of a server that was killed, and what its API had said.
struct Archive {
    site: Site,
    /// The rooms in order of id, each with its messages and its changes.
    rooms: Vec<Paged>,
    /// The administrator's tokens.
    tokens: Vec<String>,
}

struct Paged {
    room: String,
    category: String,
    messages: Vec<Value>,
    changes: Vec<Value>,
}

impl Archive {
    /// A day of `#ubuntu` in packs, words behind it and a second room in the journal.
    fn new() -> Self {
        let site = Site::new();
        let server = site.serve();
        let mut tokens = Vec::new();
        let admin = server.admin();
        tokens.extend(admin.token.clone());
        let mut import = server.command(&admin);
        import.args(["import", "irc-log", "--category", "c", "--room", "ubuntu"]);
        done(import.args(["--date-of", "last"]).arg(data_folder().join("2008-04-27.log")));
        assert_eq!(server.stop().code(), Some(0));
        tool::done("compact", &site.data());

        let server = site.serve();
        let admin = server.admin();
        tokens.extend(admin.token.clone());
        let rooms = admin.get("/rooms?name=ubuntu").expect(200);
        let ubuntu = text(&rooms["rooms"][0]["id"]);
        let imported = text(&rooms["rooms"][0]["category"]);
        let category = admin.category("desks");
        let lobby = admin.room("lobby", &category, "open");
        let (ann, _) = admin.user("ann");
        let post = |room: &str, body: Value| {
            admin.post(&format!("/rooms/{room}/messages"), &body).expect(201)
        };
        for n in 1..=5 {
            post(&lobby, json!({ "body": format!("word {n}"), "kind": "text" }));
            post(&ubuntu, json!({ "body": format!("\u{1f980} \"later\" {n}\n") }));
        }
        admin.join(&lobby, &ann);
        admin
            .put(&format!("/rooms/{lobby}/members/{ann}"), &json!({ "roles": ["manager"] }))
            .expect(204);
        post(&lobby, json!({ "body": "an answer", "reply_to": 2, "kind": "action" }));
        admin.delete(&format!("/rooms/{lobby}/members/{ann}")).expect(204);
        let paged = |(room, category): (&String, &String)| Paged {
            room: room.clone(),
            category: category.clone(),
            messages: forwards(&admin, room, 0),
            changes: changes(&admin, room, 0),
        };
        let rooms = [(&ubuntu, &imported), (&lobby, &category)].map(paged).into();
        server.kill();
        Self { site, rooms, tokens }
    }

    fn data(&self) -> PathBuf {
        self.site.data()
    }

    /// The messages that the API gave of all rooms.
    fn messages(&self) -> Vec<&Value> {
        self.rooms.iter().flat_map(|paged| &paged.messages).collect()
    }
}

/// Runs a dump: its exit, its lines, what it complained of.
#[track_caller]
fn dump(data: &Path, args: &[&str]) -> (i32, Vec<Value>, String) {
    let output = tool::tool().arg("dump").args(args).arg(data).output().expect("the tool runs");
    let said = utf8(&output.stderr);
    assert!(!said.contains("panicked"), "{said}");
    let lines = utf8(&output.stdout);
    assert!(lines.is_empty() || lines.ends_with('\n'), "a line ends");
    let lines = lines.lines().map(|line| serde_json::from_str(line).expect("a line is JSON"));
    (output.status.code().expect("the tool exits"), lines.collect(), said)
}

/// Runs a dump that must find nothing wrong.
#[track_caller]
fn whole(data: &Path, args: &[&str]) -> Vec<Value> {
    let (code, lines, said) = dump(data, args);
    assert_eq!((code, said.as_str()), (0, ""));
    lines
}

/// The messages among lines, as the API shows them.
fn messages(lines: &[Value]) -> Vec<Value> {
    let of_api = |line: &Value| {
        let mut line = line.as_object().expect("a line is an object").clone();
        let more = ["epoch", "lsn", "door"].map(|field| line.remove(field));
        assert!(more.iter().all(Option::is_some), "{line:?}");
        Value::Object(line)
    };
    lines.iter().filter(|line| line.get("id").is_some()).map(of_api).collect()
}

/// Lines and changes of the API say the same.
fn same_changes(lines: &[Value], changes: &[Value]) {
    assert_eq!(lines.len(), changes.len());
    for (line, change) in lines.iter().zip(changes) {
        assert_eq!(line["rev"], change["rev"]);
        assert_eq!(line.get("seq"), change.get("seq"), "{line}");
        assert_eq!((&line["recorded"], &line["author"]), (&change["recorded"], &change["actor"]));
        match change.get("message") {
            Some(message) => assert_eq!(&messages(std::slice::from_ref(line))[0], message),
            None => assert_eq!(line["kind"], change["kind"]),
        }
        for (field, value) in change["data"].as_object().into_iter().flatten() {
            assert_eq!(&line[field], value, "{field} of {line}");
        }
    }
}

/// The gaps among lines.
fn gaps(lines: &[Value]) -> Vec<Value> {
    lines.iter().filter_map(|line| line.get("gap").cloned()).collect()
}

fn named<'a>(list: &'a Value, field: &str) -> &'a [Value] {
    list[field].as_array().unwrap_or_else(|| panic!("{field} of {list}"))
}

#[test]
fn a_dump_is_what_the_api_gave() {
    let archive = Archive::new();
    let (data, rooms) = (archive.data(), &archive.rooms);
    let all = whole(&data, &[]);
    assert!(messages(&all).iter().eq(archive.messages()), "every message, in order, once");
    let mut rest = all.as_slice();
    for Paged { room, changes, .. } in rooms {
        let (of_room, behind) = rest.split_at(changes.len());
        assert!(of_room.iter().all(|line| line["room"] == room.as_str()));
        same_changes(of_room, changes);
        rest = behind;
    }
    assert_eq!(rest.len(), 0);
    let kinds: Vec<_> = all.iter().map(|line| text(&line["kind"])).collect();
    for kind in ["room-created", "import-progress", "member-set", "member-removed", "event"] {
        assert!(kinds.iter().any(|k| k == kind), "no {kind}");
    }

    let [ubuntu, lobby] = rooms.as_slice() else { panic!("two rooms") };
    let of = |room: &str| -> Vec<Value> {
        all.iter().filter(|line| line["room"] == room).cloned().collect()
    };
    assert_eq!(whole(&data, &["--room", &lobby.room]), of(&lobby.room));
    assert_eq!(whole(&data, &["--room", &lobby.room, "--room", &ubuntu.room]), all);
    // The room came to be in the journal; the catalog that a kill leaves knows nothing of it.
    assert_eq!(whole(&data, &["--category", &lobby.category]), of(&lobby.room));
    assert_eq!(whole(&data, &["--category", &ubuntu.category]), of(&ubuntu.room));
    for (from, to) in [(500, 1500), (0, 1), (1200, 1201), (3, ubuntu.messages.len() - 3)] {
        let [from, to] = [from, to].map(|at| text(&ubuntu.messages[at]["time"]));
        let got = whole(&data, &["--from", &from, "--to", &to, "--room", &ubuntu.room]);
        let within = |m: &&Value| (from.as_str()..to.as_str()).contains(&text(&m["time"]).as_str());
        assert!(messages(&got).iter().eq(ubuntu.messages.iter().filter(within)), "{from} {to}");
        let expected: Vec<_> = of(&ubuntu.room).into_iter().filter(|m| within(&m)).collect();
        assert_eq!(got, expected, "records that are no messages, too");
    }
    for (args, why) in
        [(["--room", "r9-9"], "no such room room=r9-9"), (["--category", "c9-9"], "category=c9-9")]
    {
        let said = fails(tool::tool().arg("dump").args(args).arg(&data), 3);
        assert!(said.contains(why), "{said}");
    }
    let said = fails(tool::tool().args(["dump", "--from", "yesterday"]).arg(&data), 2);
    assert!(said.contains("not a time like"), "{said}");
    let (code, lines, said) = dump(&data, &["--progress", "--room", &ubuntu.room]);
    assert_eq!((code, lines), (0, of(&ubuntu.room)));
    assert!(said.starts_with("dump: ") && said.ends_with("MiB/s\n"), "{said}");
}

#[test]
fn the_journal_and_the_system_rooms_are_given_when_asked_for() {
    let archive = Archive::new();
    let (data, lobby) = (archive.data(), &archive.rooms[1]);
    let view = tool::done("inspect", &data);
    let sealed = number(&view, "sealed_lsn");
    let journal = whole(&data, &["--journal"]);
    let lsns: Vec<_> = journal.iter().map(|line| number(line, "lsn")).collect();
    assert_eq!(lsns, (sealed + 1..=number(&view, "last_lsn")).collect::<Vec<_>>());
    let all = whole(&data, &[]);
    let live: Vec<_> = all.iter().filter(|line| number(line, "lsn") > sealed).collect();
    let is_system = |line: &Value| text(&line["room"]).starts_with("r0-");
    let mut of_rooms: Vec<_> = journal.iter().filter(|line| !is_system(line)).collect();
    assert!(of_rooms.len() < journal.len(), "a user and a category stand in system rooms");
    let of_lobby: Vec<_> = of_rooms.iter().filter(|l| l["room"] == lobby.room.as_str()).collect();
    let args = ["--journal", "--room", &lobby.room];
    assert!(whole(&data, &args).iter().eq(of_lobby.into_iter().copied()));
    of_rooms.sort_by_key(|line| (text(&line["room"]), number(line, "rev")));
    let mut live = live;
    live.sort_by_key(|line| (text(&line["room"]), number(line, "rev")));
    assert_eq!(of_rooms, live);

    assert!(!all.iter().any(is_system));
    let with = whole(&data, &["--system"]);
    let (system, rooms): (Vec<_>, Vec<_>) = with.into_iter().partition(is_system);
    assert_eq!(rooms, all);
    for kind in ["principal-created", "token-created", "category-created", "setting", "audit"] {
        assert!(system.iter().any(|line| line["kind"] == kind), "no {kind}");
    }
    let with_password = |line: &Value| line["has_password"] == true && line["name"] == "admin";
    assert!(system.iter().any(with_password));
    let shown: String = system.iter().chain(&journal).map(ToString::to_string).collect();
    for secret in ["argon2", "sha256\"", support::PASSWORD] {
        assert!(!shown.contains(secret), "{secret}");
    }
    assert!(!archive.tokens.is_empty());
    for token in &archive.tokens {
        let hash = Sha256::digest(token.as_bytes());
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let list: Vec<_> = hash.iter().map(ToString::to_string).collect();
        for secret in [token, &hex, &list.join(",")] {
            assert!(!shown.contains(secret), "{secret}");
        }
    }
}

#[test]
fn what_is_damaged_is_a_gap_with_its_entries() {
    let archive = Archive::new();
    let (data, all) = (archive.data(), whole(&archive.data(), &[]));
    let view = tool::done("inspect", &data);
    let [ubuntu, lobby] = archive.rooms.as_slice() else { panic!("two rooms") };
    let packs = named(&view, "packs").iter();
    let mut blocks = packs.flat_map(|pack| {
        let segments = named(pack, "segments").iter();
        let own = segments.filter(|segment| segment["room"] == ubuntu.room.as_str());
        own.flat_map(|s| named(s, "blocks")).map(|block| (text(&pack["file"]), block))
    });
    let (file, block) = blocks.nth(3).expect("a day has many blocks");
    let (from, to) = (number(block, "from_seq"), number(block, "to_seq"));
    let offset = number(block, "offset");
    tool::flip(&data.join(&file), offset + 40);
    let (code, lines, said) = dump(&data, &[]);
    assert_eq!((code, said.as_str()), (1, ""));
    let gap = &gaps(&lines)[0];
    assert_eq!(gaps(&lines).len(), 1);
    let is_lost = |line: &Value| {
        line["room"] == ubuntu.room.as_str()
            && (from..=to).contains(&line["seq"].as_u64().unwrap_or(0))
    };
    assert!(from < to);
    let lost: Vec<_> = all.iter().filter(|line| is_lost(line)).collect();
    let expected = json!({
        "room": ubuntu.room, "from_seq": from, "to_seq": to,
        "from_rev": lost[0]["rev"], "to_rev": lost[lost.len() - 1]["rev"],
        "reason": "block checksum mismatch", "file": file, "offset": offset,
    });
    assert_eq!(gap, &expected);
    let place = lines.iter().position(|line| line.get("gap").is_some()).expect("it is there");
    assert_eq!(number(&lines[place - 1], "rev") + 1, number(gap, "from_rev"), "at its place");
    let records = |lines: Vec<Value>| -> Vec<Value> {
        lines.into_iter().filter(|line| line.get("gap").is_none()).collect()
    };
    assert!(records(lines).iter().eq(all.iter().filter(|line| !is_lost(line))));
    // Where the block is not asked for it is no gap.
    assert_eq!(whole(&data, &["--room", &lobby.room]).len(), lobby.changes.len());
    tool::flip(&data.join(&file), offset + 40);

    // A message in the journal, in both orders.
    let frames = named(&view, "journal").iter().flat_map(|file| named(file, "frames"));
    let mut slots = frames.flat_map(|frame| named(frame, "records"));
    let is_third = |slot: &&Value| slot["room"] == lobby.room.as_str() && number(slot, "seq") == 3;
    let slot = slots.find(is_third).expect("the post is in the journal");
    let journal = text(&named(&view, "journal")[0]["file"]);
    tool::flip(&data.join(&journal), number(slot, "offset") + 5);
    let place = json!({ "room": lobby.room, "from_seq": 3, "to_seq": 3, "from_rev": slot["rev"],
        "to_rev": slot["rev"], "reason": "record checksum mismatch", "file": journal,
        "offset": slot["offset"] });
    let (code, lines, _) = dump(&data, &[]);
    assert_eq!((code, gaps(&lines)), (1, vec![place.clone()]));
    assert_eq!(records(lines).len(), all.len() - 1);
    let (code, lines, _) = dump(&data, &["--journal"]);
    let mut at = place;
    (at["from_lsn"], at["to_lsn"]) = (slot["lsn"].clone(), slot["lsn"].clone());
    assert_eq!((code, gaps(&lines)), (1, vec![at]));
    tool::flip(&data.join(&journal), number(slot, "offset") + 5);

    // The catalog's rows stand in for the index of a pack; not for its blocks.
    let length = fs::metadata(data.join(&file)).expect("the pack is there").len();
    tool::flip(&data.join(&file), length - 90);
    let (code, lines, said) = dump(&data, &[]);
    assert!(said.contains("run index checksum"), "{said}");
    assert_eq!((code, &lines), (1, &all), "{said}");
    fs::remove_file(data.join(&file)).expect("the pack can go");
    let (code, lines, _) = dump(&data, &["--room", &ubuntu.room]);
    let packed = ubuntu.messages.len() as u64 - 5;
    assert_eq!((code, number(&gaps(&lines)[0], "to_seq")), (1, packed), "{:?}", gaps(&lines));
    assert!(messages(&records(lines)).iter().eq(&ubuntu.messages[ubuntu.messages.len() - 5..]));
    // And without a catalog nothing says which rooms it held.
    fs::remove_dir_all(data.join("catalog")).expect("the catalog can go");
    let (code, lines, said) = dump(&data, &[]);
    assert!(code == 1 && said.contains("catalog cannot be read"), "{said}");
    let nameless = gaps(&lines).into_iter().find(|gap| gap.get("room").is_none());
    assert_eq!(nameless.expect("the pack is named")["file"], file.as_str());
}

#[test]
fn it_only_reads_and_refuses_what_a_server_has() {
    alone("it_only_reads_and_refuses_what_a_server_has", || {
        let archive = Archive::new();
        let data = archive.data();
        let (all, before) = (whole(&data, &["--system"]), tool::contents(&data));
        let view = archive.site.path("view");
        let mount = Mount::read_only(&data, &view);
        assert_eq!(whole(&view, &["--system"]), all);
        assert_eq!(tool::done("stats", &view)["unread"], json!([]));
        mount.unmount();
        assert_eq!(tool::contents(&data), before);

        let server = archive.site.serve();
        for verb in ["dump", "stats"] {
            let said = fails(tool::tool().arg(verb).arg(&data), 3);
            assert!(said.contains("in use"), "{verb}: {said}");
        }
        let copy = archive.site.path("copy");
        let mut checkpoint = server.command(&server.admin());
        done(checkpoint.args(["admin", "checkpoint"]).arg(&copy));
        assert!(messages(&whole(&copy, &[])).iter().eq(archive.messages()));
        assert_eq!(server.stop().code(), Some(0));
        assert!(messages(&whole(&data, &[])).iter().eq(archive.messages()));
    });
}

#[test]
fn a_reader_may_go_and_a_full_disk_is_told() {
    let archive = Archive::new();
    let mut dump = tool::tool();
    dump.arg("dump").arg(archive.data());
    let mut child = dump.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut line = String::new();
    let mut out = BufReader::with_capacity(64, child.stdout.take().expect("its output"));
    out.read_line(&mut line).expect("a line comes");
    drop(out);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), utf8(&output.stderr).as_str()), (Some(0), ""));
    assert!(line.starts_with('{'), "{line}");

    let full = File::options().write(true).open("/dev/full").expect("the device is there");
    let mut dump = tool::tool();
    let output = dump.arg("dump").arg(archive.data()).stdout(full).output().expect("it runs");
    assert_eq!(output.status.code(), Some(3), "{}", utf8(&output.stderr));
    assert!(utf8(&output.stderr).contains("standard output"), "{}", utf8(&output.stderr));
}

#[test]
fn figures_are_those_of_inspect() {
    let archive = Archive::new();
    let view = tool::done("inspect", &archive.data());
    let stats = tool::done("stats", &archive.data());
    let packs = named(&view, "packs");
    let sum = |field: &str| packs.iter().map(|pack| number(pack, field)).sum::<u64>();
    for field in ["bytes", "plain_bytes", "records", "runs"] {
        assert_eq!(number(&stats, field), sum(field), "{field}");
    }
    let count = |list: &[Value]| u64::try_from(list.len()).expect("few");
    let segments = || packs.iter().flat_map(|pack| named(pack, "segments"));
    let blocks: u64 = segments().map(|segment| count(named(segment, "blocks"))).sum();
    let packed: u64 = segments().map(|s| number(s, "to_seq") + 1 - number(s, "from_seq")).sum();
    let frames = named(&view, "journal").iter().map(|file| count(named(file, "frames"))).sum();
    let mut rooms: Vec<_> = named(&view, "rooms").iter().collect();
    rooms.retain(|room| !text(&room["id"]).starts_with("r0-"));
    let messages = rooms.iter().map(|room| number(room, "seq")).sum();
    for (field, expected) in [
        ("packs", count(packs)),
        ("blocks", blocks),
        ("packed_messages", packed),
        ("live_frames", frames),
        ("messages", messages),
        ("rooms", 2),
    ] {
        assert_eq!(number(&stats, field), expected, "{field}");
    }
    let groups =
        |field: &str, what| named(&stats, field).iter().map(|g| number(g, what)).sum::<u64>();
    for field in ["levels", "classes"] {
        assert_eq!(groups(field, "packs"), count(packs));
        assert_eq!(groups(field, "bytes"), sum("bytes"));
    }
    rooms.sort_by_key(|room| std::cmp::Reverse(number(room, "packed_bytes")));
    let expected = rooms.iter().map(|room| {
        json!({ "id": room["id"], "name": room["name"], "packed_bytes": room["packed_bytes"],
            "messages": room["seq"] })
    });
    assert_eq!(named(&stats, "largest_rooms"), expected.collect::<Vec<_>>());
    let size = |folder: &str| -> u64 {
        let files = fs::read_dir(archive.data().join(folder)).expect("a folder");
        files.map(|file| file.and_then(|f| f.metadata()).expect("a file").len()).sum()
    };
    assert_eq!(number(&stats, "catalog_bytes"), size("catalog"));
    assert_eq!(number(&stats, "journal_bytes"), size("journal"));
    let hundredths = number(&stats, "bytes") * 100 / number(&stats, "packed_messages");
    let a_message = stats["bytes_per_message"].as_f64().expect("a number");
    assert_eq!(
        format!("{:.2}", a_message),
        format!("{}.{:02}", hundredths / 100, hundredths % 100)
    );
    let table = done(tool::tool().arg("stats").arg(archive.data()));
    println!("{table}");
    for figure in [&stats["records"], &stats["bytes_per_message"], &json!("ubuntu")] {
        assert!(table.contains(&figure.to_string()), "{figure}");
    }
}

#[test]
fn completions_and_pages_know_every_command() {
    let folder = tempfile::tempdir().expect("a folder");
    done(tool::tool().arg("man").arg(folder.path()));
    let pages = fs::read_dir(folder.path()).expect("a folder");
    let pages = pages.map(|page| page.expect("a page").file_name());
    let pages: Vec<_> = pages.map(|page| page.into_string().expect("a name")).collect();
    for verb in ["", "-inspect", "-stats", "-verify", "-dump", "-repair", "-compact", "-man"] {
        assert!(pages.contains(&format!("hansard-tool{verb}.1")), "{verb}: {pages:?}");
    }
    assert!(!pages.iter().any(|page| page.contains("check-catalog")), "{pages:?}");
    let page = fs::read_to_string(folder.path().join("hansard-tool-dump.1")).expect("a page");
    assert!(page.contains("journal") && page.contains("category"), "{page}");
    for shell in ["bash", "zsh", "fish"] {
        let script = done(tool::tool().args(["completions", shell]));
        assert!(script.contains("hansard-tool") && script.contains("dump"), "{script}");
    }
    fails(tool::tool().args(["man", "/nowhere/at/all"]), 3);
    done(hansard().arg("man").arg(folder.path()));
    for page in ["hansard", "hansard-serve", "hansard-admin", "hansard-admin-hold-create"] {
        let page = folder.path().join(format!("{page}.1"));
        assert!(page.is_file(), "{page:?}");
    }
    let script = done(hansard().args(["completions", "bash"]));
    assert!(
        script.contains("accept-damage") && script.contains("print-default-config"),
        "{script}"
    );
    fails(hansard().args(["man", "/nowhere/at/all"]), 66);
}
