//! The corruption tournament: the same faults in the logs of Hansard, RocksDB and SQLite.
//!
//! Each contestant commits messages one by one, each durable before the next, in a child process
//! that ends without closing. One fault is made in the log, the store is opened again, and what it
//! says and what it still has is printed. (The experiment of shared evidence on acknowledged loss,
//! after the observation in RocksDB PR #6963 that a log which does not know its synced offset
//! cannot tell a torn tail from damage.)

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hansard_engine::draft::{Draft, Said};
use hansard_engine::format::payload::*;
use hansard_engine::reads::Anchor;
use hansard_engine::types::*;
use hansard_engine::{Engine, Health, Options, system_actor};

type Outcome<T> = Result<T, Box<dyn Error>>;

const MESSAGES: u64 = 2_000;
const HIT: u64 = 1_000;

fn body(n: u64) -> String {
    format!("message-{n:05} and some words that make it as long as people write")
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Body,
    Header,
    Sector,
}

const FAULTS: [(Fault, &str); 3] = [
    (Fault::Body, "one bit in a message"),
    (Fault::Header, "one bit in a record's header"),
    (Fault::Sector, "a 512-byte sector zeroed"),
];

/// What a store says and has after a fault.
struct Verdict {
    opens: String,
    kept: u64,
    said: String,
}

trait Contestant {
    fn name(&self) -> &'static str;
    fn write(&self, dir: &Path) -> Outcome<()>;
    /// The byte that a flipped header bit hits, given where the message's text stands in the log.
    fn header_of(&self, file: &[u8], text_at: usize) -> usize;
    fn is_log(&self, path: &Path) -> bool;
    fn read(&self, dir: &Path) -> Verdict;
}

struct Hansard;

fn draft(room: RoomId, payload: Payload) -> Draft {
    Draft {
        actor: system_actor(),
        checked_at: Lsn(u64::MAX),
        room,
        said: Said::Now,
        idempotency: None,
        expect: None,
        payload,
    }
}

fn hansard_settings() -> (CategorySettings, RoomSettings) {
    let category = CategorySettings {
        name: "c".into(),
        description: String::new(),
        allowed: vec![PrincipalId::EVERYONE],
        denied: vec![],
        creators: vec![],
        invitations: false,
        uploads: false,
        history: true,
        retention_days: 0,
        edit: ChangePolicy::Nobody,
        redact: ChangePolicy::Nobody,
        read_audit: false,
    };
    let room = RoomSettings {
        category: CategoryId::NONE,
        name: "r".into(),
        description: String::new(),
        topic: String::new(),
        kind: RoomKind::Normal,
        privacy: Privacy::Open,
        invitations: Invitations::Off,
        disabled: false,
        continues: RoomId::NONE,
    };
    (category, room)
}

impl Contestant for Hansard {
    fn name(&self) -> &'static str {
        "Hansard"
    }

    fn write(&self, dir: &Path) -> Outcome<()> {
        Engine::create(dir)?;
        let options = Options { disk_reserve_bytes: 0, ..Options::default() };
        let (engine, _) = Engine::open(dir, options)?;
        let (category, mut room) = hansard_settings();
        let made = Payload::CategoryCreated(CategoryCreated { settings: category });
        let made = engine.append_and_wait(vec![draft(RoomId::NONE, made)])?;
        room.category = made[0].category_id();
        let made = Payload::RoomCreated(RoomCreated { settings: room });
        let room = engine.append_and_wait(vec![draft(RoomId::NONE, made)])?[0].room;
        fs::write(dir.join("files/room"), room.0.to_string())?;
        for n in 0..MESSAGES {
            let post =
                Post { kind: EntryKind::Text, body: body(n), reply_to: Seq::ZERO, import: None };
            engine.append_and_wait(vec![draft(room, Payload::Post(post))])?;
        }
        std::process::exit(0)
    }

    fn header_of(&self, _: &[u8], text_at: usize) -> usize {
        text_at / 4096 * 4096 + 40
    }

    fn is_log(&self, path: &Path) -> bool {
        path.extension().is_some_and(|e| e == "journal")
    }

    fn read(&self, dir: &Path) -> Verdict {
        let options = Options { disk_reserve_bytes: 0, ..Options::default() };
        let (engine, report) = match Engine::open(dir, options) {
            Ok(opened) => opened,
            Err(e) => return Verdict { opens: "refuses".into(), kept: 0, said: e.to_string() },
        };
        if let Health::Restricted { holes } = engine.health() {
            let lost: u64 = holes.iter().map(|h| h.last.0 - h.first.0 + 1).sum();
            let said = format!("names log positions {holes:?}; accept-damage goes on");
            return Verdict { opens: "restricted".into(), kept: MESSAGES - lost, said };
        }
        let room: u64 = fs::read_to_string(dir.join("files/room"))
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        let (mut kept, mut gaps, mut at) = (0, Vec::new(), Anchor::At(Seq(1)));
        while let Ok(page) = engine.page(RoomId(room), at, 500) {
            kept += page.records.len() as u64;
            gaps.extend(page.gaps.iter().map(|g| (g.from_seq.0, g.to_seq.0)));
            match page.newer {
                Some(seq) => at = Anchor::After(seq),
                None => break,
            }
        }
        let said = format!("{} damaged, named as seq {gaps:?}", report.lost_messages);
        Verdict { opens: "opens".into(), kept, said }
    }
}

struct Rocks;

impl Contestant for Rocks {
    fn name(&self) -> &'static str {
        "RocksDB"
    }

    fn write(&self, dir: &Path) -> Outcome<()> {
        let db = rocksdb::DB::open_default(dir)?;
        let mut durable = rocksdb::WriteOptions::default();
        durable.set_sync(true);
        for n in 0..MESSAGES {
            db.put_opt(n.to_be_bytes(), body(n), &durable)?;
        }
        std::process::exit(0)
    }

    fn header_of(&self, _: &[u8], text_at: usize) -> usize {
        // A log record: 7 bytes header, 12 bytes batch header, tag, key length, key, value length.
        text_at - (7 + 12 + 1 + 1 + 8 + 1) + 4
    }

    fn is_log(&self, path: &Path) -> bool {
        path.extension().is_some_and(|e| e == "log")
    }

    fn read(&self, dir: &Path) -> Verdict {
        match rocksdb::DB::open_default(dir) {
            Err(e) => Verdict { opens: "refuses".into(), kept: 0, said: e.to_string() },
            Ok(db) => {
                let rows = db.iterator(rocksdb::IteratorMode::Start).filter_map(Result::ok).count();
                Verdict { opens: "opens".into(), kept: rows as u64, said: "nothing".into() }
            }
        }
    }
}

struct Sqlite;

impl Sqlite {
    fn open(dir: &Path) -> rusqlite::Result<rusqlite::Connection> {
        let db = rusqlite::Connection::open(dir.join("db"))?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "FULL")?;
        db.pragma_update(None, "wal_autocheckpoint", 1_000_000)?;
        Ok(db)
    }
}

impl Contestant for Sqlite {
    fn name(&self) -> &'static str {
        "SQLite (WAL, FULL)"
    }

    fn write(&self, dir: &Path) -> Outcome<()> {
        fs::create_dir_all(dir)?;
        let db = Self::open(dir)?;
        db.execute("create table m (id integer primary key, body text)", [])?;
        for n in 0..MESSAGES {
            let row = rusqlite::params![n.cast_signed(), body(n)];
            db.execute("insert into m values (?1, ?2)", row)?;
        }
        std::process::exit(0)
    }

    fn header_of(&self, _: &[u8], text_at: usize) -> usize {
        (text_at - 32) / (24 + 4096) * (24 + 4096) + 32 + 4
    }

    fn is_log(&self, path: &Path) -> bool {
        path.to_string_lossy().ends_with("-wal")
    }

    fn read(&self, dir: &Path) -> Verdict {
        let count = Self::open(dir)
            .and_then(|db| db.query_row("select count(*) from m", [], |row| row.get::<_, i64>(0)));
        match count {
            Ok(n) => {
                let kept = n.cast_unsigned();
                Verdict { opens: "opens".into(), kept, said: "nothing".into() }
            }
            Err(e) => Verdict { opens: "refuses".into(), kept: 0, said: e.to_string() },
        }
    }
}

fn contestants() -> Vec<Box<dyn Contestant>> {
    vec![Box::new(Hansard), Box::new(Rocks), Box::new(Sqlite)]
}

/// Every file below a folder.
fn files(dir: &Path) -> Outcome<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() { found.extend(files(&path)?) } else { found.push(path) }
    }
    Ok(found)
}

/// Makes the fault where the message stands for the first time in the log.
fn damage(who: &dyn Contestant, dir: &Path, fault: Fault) -> Outcome<()> {
    let needle = body(HIT);
    for path in files(dir)?.into_iter().filter(|p| who.is_log(p)) {
        let mut bytes = fs::read(&path)?;
        let found = bytes.windows(needle.len()).position(|w| w == needle.as_bytes());
        let Some(at) = found else { continue };
        match fault {
            Fault::Body => bytes[at + 3] ^= 0x10,
            Fault::Header => {
                let place = who.header_of(&bytes, at);
                bytes[place] ^= 0x10;
            }
            Fault::Sector => {
                let start = at / 512 * 512;
                let end = (start + 512).min(bytes.len());
                bytes[start..end].fill(0);
            }
        }
        fs::write(&path, bytes)?;
        return Ok(());
    }
    Err("the message is in no log file".into())
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, command, index, dir] = &arguments[..] {
        if command == "write" {
            let index: usize = index.parse()?;
            return contestants()[index].write(Path::new(dir));
        }
    }
    println!("{MESSAGES} messages, each durable before the next; the fault hits message {HIT}.\n");
    println!("| store | fault | after it | messages kept | what it says |\n|---|---|---|---|---|");
    for (index, who) in contestants().iter().enumerate() {
        for (fault, text) in FAULTS {
            let folder = tempfile::tempdir()?;
            let dir = folder.path().join("store");
            let child = Command::new(std::env::current_exe()?)
                .args(["write", &index.to_string()])
                .arg(&dir)
                .status()?;
            if !child.success() {
                return Err(format!("{} could not write: {child}", who.name()).into());
            }
            damage(&**who, &dir, fault)?;
            let Verdict { opens, kept, said } = who.read(&dir);
            println!("| {} | {text} | {opens} | {kept} of {MESSAGES} | {said} |", who.name());
        }
    }
    Ok(())
}
