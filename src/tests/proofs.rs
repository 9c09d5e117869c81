//! Proofs with the real binary: real history, two implementations of the check, and attackers.
//!
//! What trees and salts are is held by the engine's tests. INVARIANT: the check in Python shares
//! nothing with ours but FORMAT.md.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use hansard_engine::draft::{Draft, Said};
use hansard_engine::format::pack::pack_name;
use hansard_engine::format::payload::{EntryKind, Payload, Post, RoomHead, RoomHeads};
use hansard_engine::format::record::Record;
use hansard_engine::manifest::{self, Manifest};
use hansard_engine::pack::{BlockReader, PackFile, PackKind, PackWriter};
use hansard_engine::storage::real::RealStorage;
use hansard_engine::storage::{Disk, join};
use hansard_engine::tail::TailEntry;
use hansard_engine::types::{Lsn, RoomId, Seq};
use hansard_engine::{Engine, Options, system_actor};
use serde_json::{Value, json};

use support::api::{Api, text};
use support::history::{forwards, number};
use support::mounts::{Mount, alone};
use support::{Server, Site, data_folder, done, fails, text as utf8, tool};

fn admin(server: &Server, admin: &Api, args: &[&str]) -> String {
    done(server.command(admin).arg("admin").args(args))
}

/// A directory with real history, an edit, a redaction and a signature; and what to keep of it
/// elsewhere.
struct Archive {
    site: Site,
    room: String,
    messages: Vec<Value>,
    note: String,
    key: String,
}

fn import(server: &Server, api: &Api, logs: &[&str]) {
    let mut import = server.command(api);
    import.args(["import", "irc-log", "--category", "c", "--room", "ubuntu"]);
    import.args(["--date-of", "last"]);
    done(import.args(logs.iter().map(|log| data_folder().join(log))));
}

impl Archive {
    fn new() -> Self {
        let site = Site::new();
        let config = site.configure("[engine]\nhead_interval_seconds = 0\n");
        let server = site.serve_with(&config);
        let api = server.admin();
        import(&server, &api, &["2006-12-06.log", "2008-04-27.log"]);
        let rooms = api.get("/rooms?name=ubuntu").expect(200);
        let room = text(&rooms["rooms"][0]["id"]);
        let path = format!("/rooms/{room}/messages");
        for n in 0..20 {
            api.post(&path, &json!({ "body": format!("said {n}, häufig <b>") })).expect(201);
        }
        assert_eq!(server.stop().code(), Some(0));
        tool::done("compact", &site.data());
        let server = site.serve_with(&config);
        let api = server.admin();
        for n in 20..40 {
            api.post(&path, &json!({ "body": format!("not sealed {n}") })).expect(201);
        }
        assert!(admin(&server, &api, &["head", "show"]).contains("no head is signed yet"));
        let note = admin(&server, &api, &["head", "sign"]) + "\n";
        assert_eq!(admin(&server, &api, &["head", "show"]) + "\n", note);
        let key = admin(&server, &api, &["head", "keys"]);
        let messages = forwards(&api, &room, 0);
        assert_eq!(server.stop().code(), Some(0));
        Self { site, room, messages, note, key }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.site.data().with_file_name(name);
        fs::write(&path, text).expect("a file");
        path
    }

    fn prove(&self, args: &[&str]) -> String {
        let mut prove = tool::tool();
        prove.arg("prove").arg(self.site.data());
        done(prove.args(["--room", &self.room]).args(args))
    }

    /// What our check and the other one say of each proof of a file.
    fn check(&self, proofs: &str) -> (Vec<Option<Value>>, Vec<Option<Value>>) {
        let file = self.write("proofs.jsonl", proofs);
        let mut check = tool::tool();
        let ours = check.args(["check-proof", "--json", "--key", &self.key]).arg(&file).output();
        let ours = ours.expect("the tool runs");
        assert_eq!(utf8(&ours.stderr), "");
        let ours = utf8(&ours.stdout);
        let ours = ours.lines().map(|line| {
            let said: Value = serde_json::from_str(line).expect("JSON");
            (said["ok"] == true).then(|| said["proved"].clone())
        });
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tests/proofs/check_proof.py");
        let theirs = Command::new("python3").arg(script).arg(&self.key).arg(&file).output();
        let theirs = theirs.expect("python3 is there: make deps");
        assert_eq!(utf8(&theirs.stderr), "");
        let theirs = utf8(&theirs.stdout);
        let theirs = theirs.lines().map(|line| serde_json::from_str(line).ok());
        (ours.collect(), theirs.collect())
    }

    fn verify(&self, args: &[&str]) -> (i32, Value) {
        let mut verify = tool::tool();
        let output = verify.args(["verify", "--json"]).args(args).arg(self.site.data()).output();
        let output = output.expect("the tool runs");
        let code = output.status.code().expect("it exits");
        (code, serde_json::from_slice(&output.stdout).unwrap_or_default())
    }
}

/// Numbers that are the same in every run (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).expect("below a usize")
    }
}

/// Every string and number of a document, by the way to it.
fn places(value: &Value, way: &str, out: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| places(value, &format!("{way}/{name}"), out));
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(nth, value)| places(value, &format!("{way}/{nth}"), out));
        }
        Value::String(_) | Value::Number(_) => out.push(way.to_owned()),
        _ => {}
    }
}

/// The proof with one thing of it changed; where, too.
fn mutated(proof: &Value, random: &mut Random) -> (Value, String) {
    let mut all = Vec::new();
    places(proof, "", &mut all);
    let way = all.swap_remove(random.below(all.len()));
    let mut proof = proof.clone();
    let value = proof.pointer_mut(&way).expect("it is there");
    match value {
        Value::String(old) => {
            let mut chars: Vec<char> = old.chars().collect();
            if chars.is_empty() {
                chars.push('0');
            } else {
                let at = random.below(chars.len());
                let other = ['0', '1', 'a', 'f', 'Q', '\n'];
                let new = other.into_iter().cycle().skip(random.below(6));
                let new = new.take(6).find(|new| *new != chars[at]).expect("another");
                chars[at] = new;
            }
            *old = chars.into_iter().collect();
        }
        number => {
            let old = number.as_u64().expect("a number");
            let bit = 1 << random.below(20);
            *number = json!(old ^ bit);
        }
    }
    (proof, way)
}

#[test]
fn thousands_of_proofs_hold_for_two_checkers_and_no_mutated_one_does() {
    let archive = Archive::new();
    let all = archive.prove(&[]);
    let proofs: Vec<Value> =
        all.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(proofs.len(), archive.messages.len());
    assert!(proofs.len() > 3000, "{}", proofs.len());
    let (ours, theirs) = archive.check(&all);
    assert_eq!(ours, theirs);
    for (proved, message) in ours.iter().zip(&archive.messages) {
        let proved = proved.as_ref().expect("it is proved");
        for field in ["room", "seq", "time", "recorded", "kind", "body"] {
            assert_eq!(proved[field], message[field], "{field}");
        }
        assert_eq!(proved["author"]["id"], message["author"]["id"]);
        assert_eq!(proved["author"]["name"], message["author"]["name"]);
    }
    // Without words, and with where it came from.
    let bare = archive.prove(&["--seq", "7-9", "--seq", "100", "--without-words"]);
    let (ours, theirs) = archive.check(&bare);
    assert_eq!(ours, theirs);
    assert!(ours.len() == 4 && !bare.contains("\"body\""), "{bare}");
    let (ours, theirs) = archive.check(&archive.prove(&["--seq", "7", "--with-origin"]));
    assert_eq!(ours, theirs);
    assert_eq!(ours[0].as_ref().expect("proved")["address"], "127.0.0.1");

    let mut random = Random(7);
    let mut ways = Vec::new();
    let changed: String = (0..3000)
        .map(|_| {
            let (proof, way) = mutated(&proofs[random.below(proofs.len())], &mut random);
            ways.push(way);
            format!("{proof}\n")
        })
        .collect();
    let (ours, theirs) = archive.check(&changed);
    assert_eq!((ours.len(), theirs.len()), (ways.len(), ways.len()));
    for (nth, way) in ways.iter().enumerate() {
        assert_eq!((&ours[nth], &theirs[nth]), (&None, &None), "{way} was changed");
    }
}

#[test]
fn what_leaves_the_machine_holds_the_record() {
    let archive = Archive::new();
    let head = archive.write("head.note", &archive.note);
    let head = head.to_str().expect("a path");
    let (code, report) = archive.verify(&["--head", head, "--key", &archive.key]);
    assert_eq!((code, &report["proofs"]["against"]), (0, &json!("head")), "{report}");
    assert!(number(&report["proofs"], "leaves") > 3000, "{report}");
    assert_eq!(archive.verify(&[]).1["proofs"]["against"], "self");
    let mut prove = tool::tool();
    let printed = done(prove.args(["prove", "--head"]).arg(archive.site.data()));
    assert_eq!(printed.trim_end(), archive.note.trim_end());

    // It goes on, under a new key; the later head follows from the earlier.
    let server = archive.site.serve();
    let api = server.admin();
    let path = format!("/rooms/{}/messages", archive.room);
    let message = text(&api.post(&path, &json!({ "body": "one more" })).expect(201)["id"]);
    let said = admin(&server, &api, &["head", "rotate"]);
    let keys = admin(&server, &api, &["head", "keys"]);
    assert!(said.trim_end().ends_with(keys.lines().last().expect("a key")), "{said}");
    let later = admin(&server, &api, &["head", "sign"]);
    api.patch(&format!("{path}/{message}"), &json!({ "body": "one more, mended" }));
    assert_eq!(server.stop().code(), Some(0));
    let (code, report) = archive.verify(&["--head", head, "--key", &archive.key]);
    assert_eq!(code, 0, "the first key endorsed the second: {report}");
    let mut prove = tool::tool();
    let proof = done(prove.args(["prove", "--since", head]).arg(archive.site.data()));
    let file = archive.write("consistency.json", &proof);
    let keys = archive.write("keys", &keys);
    let mut check = tool::tool();
    let said = done(check.arg("check-proof").arg(&file).arg("--key").arg(&keys));
    assert!(said.starts_with("proved ") && said.contains("upto_lsn"), "{said}");
    assert_ne!(later.trim_end(), archive.note.trim_end());
    let file = archive.write("other.json", &proof.replacen("\"path\":[\"", "\"path\":[\"0", 1));
    let mut check = tool::tool();
    let said = fails(check.arg("check-proof").arg(&file).arg("--key").arg(&keys), 1);
    assert!(said.is_empty(), "{said}");
    // A stop may come between the record of a new key and its file's new name.
    let own = archive.site.data().join("keys/head.key");
    fs::rename(&own, own.with_file_name("head.key.next")).expect("a new name");
    assert_eq!(archive.verify(&[]).0, 0);
    fs::rename(own.with_file_name("head.key.next"), &own).expect("the old name");
    // A foreign key is no key of this log's, nor is it the one that it goes on with.
    let foreign = fs::read(Archive::new().site.data().join("keys/head.key")).expect("a key");
    let kept = fs::read(&own).expect("a key");
    fs::write(&own, foreign).expect("space");
    let (code, report) = archive.verify(&[]);
    assert_eq!((code, report["damage"].as_array().map(Vec::len)), (1, Some(1)), "{report}");
    fs::write(&own, kept).expect("space");
    let other = Archive::new();
    let (code, report) = archive.verify(&["--key", &other.key]);
    assert_eq!(code, 1, "{report}");
}

/// Writes every pack anew with one message changed, as somebody would who knows the format: every
/// checksum and digest is right, and the catalog, a cache, is gone.
fn attack(data: &Path, from: &str, to: &str) {
    let disk = Disk::new(Arc::new(RealStorage::new(data)));
    let mut state = manifest::load(&disk).expect("a manifest").state;
    let mut changed = 0;
    for (id, meta) in state.packs.clone() {
        let file = PackFile::open(&disk, id).expect("a pack");
        let index = file.index().expect("an index");
        let kind = PackKind { class: meta.class, level: meta.level, day: meta.day.day() };
        let new = state.next_pack;
        state.next_pack += 1;
        let mut writer = PackWriter::create(&disk, new, kind, None).expect("a pack");
        writer.absorb(&index.dropped);
        for run in &index.runs {
            let (mut seq_at, mut time_at) = (run.seq_base, run.first_time);
            for fence in &run.blocks {
                let mut reader = BlockReader::new().expect("memory");
                let block = file.block(run.room, fence, &mut reader).expect("a block");
                for at in 0..block.len() {
                    let bytes = block.record(at).expect("a record");
                    let mut record = Record::from_bytes(&bytes).expect("a record");
                    if let Payload::Post(post) = &mut record.payload
                        && post.body == from
                    {
                        post.body = to.to_owned();
                        changed += 1;
                    }
                    let kind = record.payload.kind();
                    if kind.is_entry() {
                        (seq_at, time_at) = (record.seq, record.time);
                    }
                    let (lsn, rev, bytes) = (record.lsn, record.rev, record.to_bytes().into());
                    let entry = TailEntry { lsn, rev, seq_at, time_at, kind, bytes, words: 0 };
                    writer.add(run.room, run.category, &entry).expect("space");
                }
            }
            writer.end_run().expect("space");
        }
        let meta = writer.finish().expect("space").meta;
        state.packs.remove(&id);
        state.packs.insert(new, meta);
        disk.remove_if_there(&join("packs", &pack_name(id))).expect("the pack");
    }
    assert_eq!(changed, 1, "the message stands in a pack, once");
    Manifest::write_anew(&disk, &state).expect("space");
    fs::remove_dir_all(data.join("catalog")).expect("the catalog");
    fs::create_dir(data.join("catalog")).expect("a folder");
}

#[test]
fn an_attacker_without_the_key_is_found_and_one_with_it_by_what_left() {
    let archive = Archive::new();
    tool::done("compact", &archive.site.data());
    let (mut quiet, config) = (tool::tool(), "[engine]\nhead_interval_seconds = 0\n");
    assert_eq!(
        quiet.arg("verify").arg(archive.site.data()).output().unwrap().status.code(),
        Some(0)
    );
    attack(&archive.site.data(), "said 7, häufig <b>", "said 8, häufig <b>");
    // The catalog is made again of what stands there now, so that nothing else disagrees.
    let config = archive.site.configure(config);
    let server = archive.site.serve_with(&config);
    let bodies = forwards(&server.admin(), &archive.room, 0);
    assert!(bodies.iter().all(|message| message["body"] != "said 7, häufig <b>"));
    assert_eq!(server.stop().code(), Some(0));
    let (code, report) = archive.verify(&[]);
    assert_eq!(code, 1, "{report}");
    let damage = report["damage"].as_array().expect("a list");
    assert!(!damage.is_empty());
    for found in damage {
        let reason = text(&found["reason"]);
        assert!(reason.starts_with("records are not those that were signed"), "{report}");
        assert_eq!(found["room"], archive.room.as_str());
    }
    // Signing what stands there now makes no proof of it either.
    let mut prove = tool::tool();
    prove.args(["prove", "--room", &archive.room, "--seq", "5"]).arg(archive.site.data());
    assert!(fails(&mut prove, 1).contains("not those that were signed"));

    // The operator himself: he goes back to a copy, says something else, and signs that.
    let archive = Archive::new();
    let (site, data) = (&archive.site, archive.site.data());
    let copy = data.with_file_name("copy");
    let copied = Command::new("cp").arg("-a").arg(&data).arg(&copy).status().expect("cp");
    assert!(copied.success());
    let say = |words: &str| {
        let server = site.serve_with(&config);
        let api = server.admin();
        let path = format!("/rooms/{}/messages", archive.room);
        api.post(&path, &json!({ "body": words })).expect(201);
        let note = admin(&server, &api, &["head", "sign"]) + "\n";
        assert_eq!(server.stop().code(), Some(0));
        note
    };
    let left = archive.write("left.note", &say("I said so"));
    fs::remove_dir_all(&data).expect("the directory");
    fs::rename(&copy, &data).expect("the copy");
    say("I never said so");
    assert_eq!(archive.verify(&[]).0, 0, "it agrees with itself");
    let first = archive.write("first.note", &archive.note);
    assert_eq!(archive.verify(&["--head", first.to_str().expect("a path")]).0, 0);
    let (code, report) = archive.verify(&["--head", left.to_str().expect("a path")]);
    assert_eq!(code, 1, "{report}");
}

/// The same records were listed with two roots, and both were signed: one of them is of others.
#[test]
fn two_roots_of_one_size_are_found() {
    let archive = Archive::new();
    let room: RoomId = archive.room.parse().expect("an id");
    let (engine, _) = Engine::open(&archive.site.data(), Options::default().quiet()).expect("open");
    let say = |room, payload| {
        let draft = Draft {
            actor: system_actor(),
            checked_at: Lsn(u64::MAX),
            room,
            said: Said::Now,
            idempotency: None,
            expect: None,
            payload,
        };
        engine.append_and_wait(vec![draft]).expect("an append").remove(0)
    };
    let (body, kind) = ("one more".to_owned(), EntryKind::Text);
    let post = Post { kind, body, reply_to: Seq::ZERO, import: None };
    let size = say(room, Payload::Post(post)).rev.0;
    let wrong = RoomHead { room, size, root: [9; 32] };
    say(RoomId::NONE, Payload::RoomHeads(RoomHeads { heads: vec![wrong] }));
    engine.sign_heads().expect("a signature").expect("a head");
    engine.close().expect("a stop");
    drop(engine);
    let (code, report) = archive.verify(&[]);
    let found = &report["damage"][0];
    let reason = text(&found["reason"]);
    assert!(reason.starts_with("records are not those that were signed"), "{code} {report}");
    assert_eq!((code, found["room"].as_str()), (1, Some(archive.room.as_str())), "{report}");
}

#[test]
fn proofs_come_from_a_read_only_mount_and_from_a_checkpoint_as_well() {
    alone("proofs_come_from_a_read_only_mount_and_from_a_checkpoint_as_well", || {
        let archive = Archive::new();
        let proofs = archive.prove(&["--seq", "1-50"]);
        let before = tool::contents(&archive.site.data());
        let from = |data: &Path| {
            let mut prove = tool::tool();
            prove.arg("prove").arg(data).args(["--room", &archive.room, "--seq", "1-50"]);
            let mut verify = tool::tool();
            done(verify.args(["verify", "--key", &archive.key]).arg(data));
            done(&mut prove)
        };
        let view = archive.site.path("view");
        let mount = Mount::read_only(&archive.site.data(), &view);
        assert_eq!(from(&view), proofs);
        mount.unmount();
        assert_eq!(tool::contents(&archive.site.data()), before);

        let server = archive.site.serve();
        let api = server.admin();
        let copy = archive.site.path("copy");
        done(server.command(&api).args(["admin", "checkpoint"]).arg(&copy));
        assert_eq!(server.stop().code(), Some(0));
        assert!(!copy.join("keys/head.key").exists(), "a copy holds no key");
        assert_eq!(from(&copy), proofs);
    });
}

#[test]
fn what_is_erased_is_proved_no_more_and_everything_else_is() {
    let archive = Archive::new();
    let server = archive.site.serve();
    let api = server.admin();
    let erased = &archive.messages[5];
    let id = text(&erased["id"]);
    let args = ["erase", "--room", &archive.room, &id, "--reason", "asked to"];
    admin(&server, &api, &args);
    admin(&server, &api, &["head", "sign"]);
    assert_eq!(server.stop().code(), Some(0));
    let head = archive.write("head.note", &archive.note);
    let (code, report) = archive.verify(&["--head", head.to_str().expect("a path")]);
    assert_eq!(code, 0, "{report}");
    let gone = number(erased, "seq");
    let mut prove = tool::tool();
    prove.arg("prove").arg(archive.site.data()).args(["--room", &archive.room, "--seq", "1-20"]);
    let output = prove.output().expect("the tool runs");
    let said = utf8(&output.stderr);
    assert!(said.contains(&format!("not proved seq={gone}..{gone}: erased")), "{said}");
    let (ours, theirs) = archive.check(&utf8(&output.stdout));
    assert_eq!(ours, theirs);
    let proved = ours.iter().map(|proved| proved.as_ref().expect("proved"));
    let seqs = proved.clone().filter_map(|proved| proved["seq"].as_u64());
    assert!(seqs.eq((1..=20).filter(|seq| *seq != gone)));
    // That it was erased, why and by whom, is proved in its place.
    let erasures: Vec<&Value> = proved.filter(|proved| proved["erases"] == gone).collect();
    assert_eq!(erasures.len(), 1);
    assert_eq!(erasures[0]["reason"], "asked to");
}
