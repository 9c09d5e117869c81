//! Rounds of load, power cut, start and check.
//!
//! The instant of a cut is a change of the disk drawn from the seed: the server stands still there
//! and is killed. INVARIANT: after every cut the server is ready, everything acknowledged is there
//! once and in order, what was unknown is there at most once, and an ended token stays ended.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::Client;
use super::disk::{Bytes, Disk, Lost, Names, ROOT};
use super::ledger::{Ledger, Room};
use super::load::{Load, Poster, open};
use super::mount::{Machine, When};
use super::server::{Mounted, PASSWORD, Server, Site, Start};
use crate::tournament::Outcome;
use crate::tournament::seed::Draw;

const ROOMS: usize = 4;
const CUT_WAIT: Duration = Duration::from_secs(2);
/// What a server that is not poisoned at once may take to notice a failed sync, and to end.
const POISON_WAIT: Duration = Duration::from_secs(20);
/// What OPERATIONS.md says of a server whose log failed.
const FAILED: i32 = 74;
/// All history is read after so many rounds; in the others, what is new.
const WHOLE_EVERY: u64 = 10;
const VERIFY_EVERY: u64 = 5;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub rounds: u64,
    pub posters: usize,
    /// No round begins after so long.
    pub within: Duration,
    pub programs: PathBuf,
    /// The logs that are imported now and then.
    pub logs: PathBuf,
    /// Where mount, log and configuration are.
    pub folder: PathBuf,
    pub aloud: bool,
    /// Syncs of the journal do nothing: the rounds must then fail.
    pub lie: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Broken promises that did not end the rounds.
    pub failures: Vec<String>,
    pub rounds: u64,
    pub cuts: u64,
    /// Cuts by what survived: bytes, names.
    pub modes: BTreeMap<String, u64>,
    pub cuts_in_starts: u64,
    pub failed_syncs: u64,
    pub verified: u64,
    pub imports: u64,
    pub acknowledged: u64,
    /// Posts whose answer was lost and that were found kept.
    pub found_later: u64,
    pub resent: u64,
    pub tokens: usize,
    pub lost: Lost,
    pub disk_changes: u64,
    pub disk_syncs: u64,
    pub slowest_start: Duration,
}

/// A world with its server.
pub struct Rounds {
    plan: Plan,
    site: Site,
    machine: Machine,
    mounted: Option<Mounted>,
    server: Option<Server>,
    admin: Client,
    user: String,
    posters: Vec<Poster>,
    ledger: Arc<Mutex<Ledger>>,
    /// How far each room was checked.
    checked: Vec<u64>,
    tokens_checked: usize,
    pub tally: Tally,
    /// The disk after the newest cut.
    pub image: Disk,
}

/// What is drawn for a round.
struct Drawn {
    bytes: Bytes,
    names: Names,
    load: Duration,
    changes: u64,
    when: When,
    failing_sync: bool,
    cuts_in_start: u64,
    import: bool,
}

fn pick<T: Copy>(draw: &mut Draw, items: &[T]) -> T {
    items[usize::try_from(draw.below(items.len() as u64)).unwrap_or_default()]
}

impl Drawn {
    fn of(seed: u64, round: u64) -> Self {
        let mut draw = Draw::of(&[seed, round]);
        // Every pair of modes comes equally often; the order differs by seed.
        let mode = usize::try_from((round + seed) % 16).unwrap_or_default();
        Self {
            bytes: Bytes::ALL[mode % 4],
            names: Names::ALL[mode / 4],
            load: Duration::from_millis(100 + draw.below(700)),
            changes: 1 + draw.below(300),
            when: pick(&mut draw, &[When::Before, When::After]),
            failing_sync: round % 8 == 7,
            cuts_in_start: [0, 0, 1, 2][usize::try_from(draw.below(4)).unwrap_or_default()],
            import: draw.below(5) == 0,
        }
    }
}

fn settings(draw: &mut Draw) -> String {
    let seal = pick(draw, &[10, 10, 10, 50, 250, 600_000]);
    let merge = pick(draw, &[10, 10, 60_000]);
    format!(
        "[engine]\nseal_interval_ms = {seal}\njournal_file_bytes = 8388608\n\
         journal_bytes_max = 25165824\ntail_bytes_soft = 1048576\npoison_linger_ms = 200\n\
         disk_reserve_bytes = 1048576\nscrub_interval_seconds = 1\n\
         merge_interval_ms = {merge}\n"
    )
}

impl Rounds {
    /// Makes a data directory on the disk, with people and rooms.
    ///
    /// # Errors
    /// If something does not go as it does on every disk.
    pub fn new(plan: Plan) -> Outcome<Self> {
        let site = Site {
            programs: plan.programs.clone(),
            data: plan.folder.join("mount/data"),
            outside: plan.folder.clone(),
        };
        std::fs::create_dir_all(plan.folder.join("mount"))?;
        let machine = Machine::new(Draw::of(&[plan.seed, u64::MAX]));
        let mounted = Mounted::new(&machine, &plan.folder.join("mount"))?;
        site.init()?;
        let mut rounds = Self {
            site,
            mounted: Some(mounted),
            server: None,
            admin: Client::new("", None),
            user: String::new(),
            posters: Vec::new(),
            ledger: Arc::default(),
            checked: vec![0; ROOMS],
            tokens_checked: 0,
            tally: Tally::default(),
            image: machine.snapshot(),
            machine,
            plan,
        };
        // `init` said that it was done: a cut that keeps nothing unsynced takes nothing of it.
        rounds.unmount()?;
        rounds.lose(Bytes::Nothing, Names::Nothing)?;
        if !rounds.site.data.join("VERSION").exists() {
            let what = "`hansard init` had ended well, and after a cut its directory is not there";
            rounds.tally.failures.push(what.to_owned());
            // The rounds go on as if it had synced the folder that it made the directory in.
            rounds.site.init()?;
            let keep = |disk: &mut Disk, _: &mut Draw| {
                disk.sync_folder(ROOT).map_or_else(|_| Lost::default(), |()| Lost::default())
            };
            rounds.machine.lose(keep);
        }
        rounds.start(&mut Draw::of(&[rounds.plan.seed, u64::MAX - 1]))?;
        rounds.people()?;
        if rounds.plan.lie {
            rounds.machine.lie();
        }
        Ok(rounds)
    }

    fn url(&self) -> Outcome<String> {
        Ok(self.server.as_ref().ok_or("no server")?.url.clone())
    }

    fn people(&mut self) -> Outcome<()> {
        self.admin = Client::signed_in(&self.url()?, "admin", PASSWORD)?;
        let admin = &self.admin;
        let category = admin.make("/categories", &json!({ "name": "c" }), "id")?;
        for at in 0..ROOMS {
            let settings =
                json!({ "name": format!("room {at}"), "category": category, "privacy": "open" });
            let id = admin.make("/rooms", &settings, "id")?;
            open(&self.ledger).rooms.push(Room::new(id));
        }
        let user = |name: &str| -> Outcome<(String, String)> {
            let id = admin.make("/users", &json!({ "name": name }), "id")?;
            let token = json!({ "name": "test", "principal": id });
            Ok((id, admin.make("/tokens", &token, "token")?))
        };
        for at in 0..self.plan.posters {
            let (id, token) = user(&format!("poster {at}"))?;
            let room = at % ROOMS;
            let path = format!("/rooms/{}/members/{id}", open(&self.ledger).rooms[room].id);
            match admin.put(&path, &json!({})) {
                Some((204, _)) => {}
                other => return Err(format!("PUT {path}: {other:?}").into()),
            }
            self.posters.push(Poster { room, token, next: Arc::new(AtomicU64::new(1)) });
        }
        self.user = user("keys")?.0;
        Ok(())
    }

    fn unmount(&mut self) -> Outcome<()> {
        self.mounted.take().map_or(Ok(()), Mounted::unmount)
    }

    /// Loses what the cut takes, and mounts what is left.
    fn lose(&mut self, bytes: Bytes, names: Names) -> Outcome<()> {
        let lost = self.machine.lose(|disk, draw| disk.cut(bytes, names, draw));
        self.tally.lost += lost;
        self.tally.cuts += 1;
        *self.tally.modes.entry(format!("bytes {bytes:?}, names {names:?}")).or_default() += 1;
        self.image = self.machine.snapshot();
        self.mounted = Some(Mounted::new(&self.machine, &self.plan.folder.join("mount"))?);
        if self.plan.aloud {
            println!("  cut: bytes {bytes:?}, names {names:?}, {lost:?}");
        }
        Ok(())
    }

    /// Starts the server; it must become ready.
    fn start(&mut self, draw: &mut Draw) -> Outcome<()> {
        let begun = Instant::now();
        match self.site.start(&settings(draw), &self.machine)? {
            Start::Up(server) => self.server = Some(server),
            Start::Cut(_) => return Err("a start was cut that should not".into()),
            Start::Ended(status) => return Err(format!("the start ended with {status}").into()),
        }
        self.tally.slowest_start = self.tally.slowest_start.max(begun.elapsed());
        let url = self.url()?;
        match Client::new(&url, None).get("/readyz") {
            Some((200, _)) => {}
            other => return Err(format!("not ready after a cut: {other:?}").into()),
        }
        self.admin = Client::new(&url, Some(self.admin.token()));
        Ok(())
    }

    /// A round.
    ///
    /// # Errors
    /// If a promise is broken.
    pub fn round(&mut self, round: u64) -> Outcome<()> {
        let drawn = Drawn::of(self.plan.seed, round);
        let mut draw = Draw::of(&[self.plan.seed, round, 1]);
        let load = Load::start(&self.posters, &self.admin, &self.user, &self.ledger);
        let import = if drawn.import { Some(self.import()?) } else { None };
        thread::sleep(drawn.load);
        let cut = if drawn.failing_sync {
            self.machine.arrange_failing_sync(draw.below(40));
            self.fail()?;
            draw.below(2) == 0
        } else {
            self.machine.arrange_cut(drawn.changes, drawn.when);
            self.machine.await_cut(CUT_WAIT);
            self.server.take().ok_or("no server")?.kill(&self.machine)?;
            true
        };
        // It would wait a minute for the server.
        if let Some(mut import) = import {
            import.kill()?;
            import.wait()?;
        }
        load.end()?;
        if cut {
            self.unmount()?;
            self.lose(drawn.bytes, drawn.names)?;
        }
        for _ in 0..drawn.cuts_in_start {
            self.cut_in_start(&mut draw)?;
        }
        self.start(&mut draw)?;
        let whole = round % WHOLE_EVERY == WHOLE_EVERY - 1 || round + 1 == self.plan.rounds;
        self.check(whole)?;
        self.resend(&mut draw)?;
        self.check(false)?;
        if round % VERIFY_EVERY == VERIFY_EVERY - 1 || round + 1 == self.plan.rounds {
            self.verify(&mut draw)?;
        }
        self.tally.rounds += 1;
        Ok(())
    }

    /// A sync of the journal fails: the server says so and ends.
    fn fail(&mut self) -> Outcome<()> {
        let mut server = self.server.take().ok_or("no server")?;
        let ended = server.ended(POISON_WAIT);
        let failed = !self.machine.calm();
        match ended {
            Some(status) if failed && status.code() == Some(FAILED) => {}
            Some(status) => return Err(format!("after a failed sync: {status}").into()),
            None => return Err("a server whose sync failed goes on".into()),
        }
        self.tally.failed_syncs += 1;
        Ok(())
    }

    /// The power goes again while the server recovers.
    fn cut_in_start(&mut self, draw: &mut Draw) -> Outcome<()> {
        let when = pick(draw, &[When::Before, When::After]);
        self.machine.arrange_cut(1 + draw.below(60), when);
        match self.site.start(&settings(draw), &self.machine)? {
            Start::Cut(server) => {
                self.tally.cuts_in_starts += 1;
                server.kill(&self.machine)?;
            }
            Start::Up(server) => {
                self.machine.await_cut(Duration::ZERO);
                server.kill(&self.machine)?;
            }
            Start::Ended(status) => return Err(format!("the start ended with {status}").into()),
        }
        self.machine.calm();
        self.unmount()?;
        self.lose(pick(draw, &Bytes::ALL), pick(draw, &Names::ALL))
    }

    fn check(&mut self, whole: bool) -> Outcome<()> {
        let rooms: Vec<String> =
            open(&self.ledger).rooms.iter().map(|room| room.id.clone()).collect();
        for (at, id) in rooms.iter().enumerate() {
            let after = if whole { 0 } else { self.checked[at] };
            let messages = self.admin.messages(id, after)?;
            self.checked[at] = open(&self.ledger).check(at, after, &messages)?;
        }
        let first = if whole { 0 } else { self.tokens_checked };
        let tokens: Vec<(String, bool)> = open(&self.ledger).tokens[first..]
            .iter()
            .filter_map(|token| Some((token.secret.clone(), token.good?)))
            .collect();
        for (secret, good) in tokens {
            let status = Client::new(self.admin.url(), Some(&secret)).get("/api/v1/me");
            let status = status.ok_or("the connection was lost")?.0;
            if status != if good { 200 } else { 401 } {
                let what = if good { "that was made" } else { "that was ended" };
                return Err(format!("a token {what} gives {status}").into());
            }
        }
        let ledger = open(&self.ledger);
        self.tokens_checked = ledger.tokens.len();
        self.tally.tokens = ledger.tokens.len();
        self.tally.acknowledged = ledger.acknowledged;
        self.tally.found_later = ledger.found_later;
        drop(ledger);
        let counts = self.machine.counts();
        (self.tally.disk_changes, self.tally.disk_syncs) = (counts.changes, counts.syncs);
        Ok(())
    }

    /// Sends half of what had no answer again: it must be taken once. The rest is never sent again.
    fn resend(&mut self, draw: &mut Draw) -> Outcome<()> {
        let unknown = open(&self.ledger).open();
        for (room, post) in unknown {
            // Not behind later ones of the same poster.
            let newest = self.posters[post.poster].next.load(std::sync::atomic::Ordering::Relaxed);
            if post.number + 1 != newest || draw.below(2) == 0 {
                continue;
            }
            let id = open(&self.ledger).rooms[room].id.clone();
            let client = Client::new(self.admin.url(), Some(&self.posters[post.poster].token));
            let (path, key) = (format!("/rooms/{id}/messages"), post.key());
            let send = || -> Outcome<Value> {
                match client.post(&path, &json!({ "body": post.body() }), Some(&key)) {
                    Some((201, answer)) => Ok(answer),
                    other => Err(format!("sent again: {other:?}").into()),
                }
            };
            let (first, second) = (send()?, send()?);
            if first != second {
                return Err(format!("one key, two posts: {first} and {second}").into());
            }
            open(&self.ledger).kept(room, post, &first)?;
            self.tally.resent += 1;
        }
        Ok(())
    }

    /// Stops, lets the offline tool look, and starts again.
    fn verify(&mut self, draw: &mut Draw) -> Outcome<()> {
        self.server.take().ok_or("no server")?.stop()?;
        self.site.verify()?;
        self.tally.verified += 1;
        self.start(draw)
    }

    fn import(&mut self) -> Outcome<Child> {
        self.tally.imports += 1;
        Ok(self.importer()?.stdout(Stdio::null()).spawn()?)
    }

    fn importer(&self) -> Outcome<std::process::Command> {
        let mut logs = std::fs::read_dir(&self.plan.logs)?
            .map(|entry| Ok(entry?.path()))
            .collect::<Outcome<Vec<_>>>()?;
        logs.retain(|path| path.extension().is_some_and(|end| end == "log"));
        logs.sort();
        let mut import = self.site.command("hansard");
        import.args(["import", "irc-log", "--category", "Community", "--room", "ubuntu", "--json"]);
        import.args(["--date-of", "last"]).args(logs);
        import.env("HANSARD_URL", self.admin.url()).env("HANSARD_TOKEN", self.admin.token());
        import.stderr(File::options().append(true).create(true).open(self.site.log())?);
        Ok(import)
    }

    /// Finishes the import that was cut so often: everything is there, nothing twice.
    ///
    /// # Errors
    /// If not.
    pub fn end(&mut self) -> Outcome<()> {
        self.check(true)?;
        // This disk damages nothing that was synced.
        let log = std::fs::read_to_string(self.site.log())?;
        for word in ["journal is damaged", "panicked"] {
            let lines: Vec<&str> = log.lines().filter(|line| line.contains(word)).collect();
            if let Some(first) = lines.first() {
                let what = format!("{} lines of the log say so, the first: {first}", lines.len());
                self.tally.failures.push(what);
            }
        }
        let output = self.importer()?.stdout(Stdio::piped()).output()?;
        let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        if !output.status.success() {
            return Err(format!("the last import: {} {said}", output.status).into());
        }
        let number = |field: &str| said[field].as_u64().unwrap_or_default();
        let entries = number("messages") + number("events") + number("repeated");
        let listed = self.admin.get("/api/v1/rooms").ok_or("the connection was lost")?.1;
        let found = listed["rooms"].as_array().into_iter().flatten();
        let room = found.into_iter().find(|room| room["name"] == "ubuntu");
        let room = room.and_then(|room| room["id"].as_str()).ok_or("no room of the import")?;
        let there = self.admin.messages(room, 0)?.len() as u64;
        if there != entries {
            return Err(format!("imported are {there} entries of {entries}: {said}").into());
        }
        self.verify(&mut Draw::of(&[self.plan.seed, u64::MAX - 2]))?;
        self.server.take().ok_or("no server")?.stop()
    }

    /// Keeps what is needed to look at a failure.
    ///
    /// # Errors
    /// The system's.
    pub fn keep(&mut self, to: &std::path::Path) -> Outcome<()> {
        if let Some(server) = self.server.take() {
            drop(server.kill(&self.machine));
        }
        std::fs::create_dir_all(to)?;
        self.image.write_out(ROOT, &to.join("after-the-cut"))?;
        self.machine.snapshot().write_out(ROOT, &to.join("at-the-end"))?;
        std::fs::copy(self.site.log(), to.join("log"))?;
        Ok(())
    }

    #[must_use]
    pub const fn within(&self) -> Duration {
        self.plan.within
    }
}
