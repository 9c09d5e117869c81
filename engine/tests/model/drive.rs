//! Lives of an engine: operations, faults, ends, and what is found again.
//!
//! Every choice comes from the scenario's source, so that the same source does the same.

use std::fmt::Write as _;
use std::sync::Arc;

use hansard_engine::catalog::CatalogStore;
use hansard_engine::catalog::memory::{MemoryCatalog, Rows};
use hansard_engine::error::Error;
use hansard_engine::format::payload::*;
use hansard_engine::open::{Drive, Losses, open_on};
use hansard_engine::remembered::comparable_rows;
use hansard_engine::storage::clock::{Clock, SimClock};
use hansard_engine::storage::sim::{ReadTrouble, SimStorage, Survivors, Trouble};
use hansard_engine::types::*;
use hansard_engine::{Engine, Health, OpenReport, Options};

use super::check::{self, Leave};
use super::choices::Choices;
use super::damage;
use super::facts::{Effect, Facts};
use super::think::repeated;
use crate::support::{self, World, draft, post};

/// What a campaign counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub operations: u64,
    pub lives: u64,
    pub kills: u64,
    pub power_cuts: u64,
    pub faults: u64,
    pub failed_starts: u64,
    pub damages: u64,
    pub restricted: u64,
    pub refused: u64,
    pub lost_named: u64,
    pub rebuilds: u64,
    pub checkpoints: u64,
    pub merges: u64,
    pub expiries: u64,
    pub dropped: u64,
    pub erasures: u64,
    pub signed: u64,
    pub messages: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, o: Self) {
        self.operations += o.operations;
        self.lives += o.lives;
        self.kills += o.kills;
        self.power_cuts += o.power_cuts;
        self.faults += o.faults;
        self.failed_starts += o.failed_starts;
        self.damages += o.damages;
        self.restricted += o.restricted;
        self.refused += o.refused;
        self.lost_named += o.lost_named;
        self.rebuilds += o.rebuilds;
        self.checkpoints += o.checkpoints;
        self.merges += o.merges;
        self.expiries += o.expiries;
        self.dropped += o.dropped;
        self.erasures += o.erasures;
        self.signed += o.signed;
        self.messages += o.messages;
    }
}

/// A scenario under way.
pub struct Scenario {
    pub(super) choices: Choices,
    pub(super) world: World,
    pub(super) facts: Facts,
    options: Options,
    pub(super) tally: Tally,
    /// The disk as it was some time before.
    older: SimStorage,
    /// Compliance keeps its events for a day.
    pub(super) events_for_a_day: bool,
    trace: String,
    /// The trace is also printed as it grows.
    aloud: bool,
}

/// Runs a scenario; its trace says everything that was done and found.
///
/// # Panics
/// If the engine's answer is not the model's.
pub fn run(choices: Choices) -> (Tally, String) {
    scenario(choices, End::AsChosen)
}

/// Runs a scenario that ends without damage, and compares its rows with those of a second engine
/// that reads the same records under other settings, another clock and no catalog.
///
/// # Panics
/// As [`run`], and if a row differs.
pub fn run_to_equal_rows(choices: Choices) -> (Tally, String) {
    scenario(choices, End::EqualRows)
}

/// How a scenario ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    AsChosen,
    EqualRows,
}

fn scenario(choices: Choices, end: End) -> (Tally, String) {
    let mut scenario = Scenario::new(choices);
    let lives = 2 + scenario.choices.below(5);
    let mut engine = scenario.open_well("the first start");
    scenario.set_up(&engine);
    for life in 0..lives {
        scenario.tally.lives += 1;
        scenario.live(&engine);
        if life + 1 == lives || scenario.choices.ended() {
            break;
        }
        engine = scenario.end_and_start(engine);
    }
    scenario.last_of_all(engine, end);
    let messages = scenario.facts.rooms.iter().map(|r| r.entries.len() as u64).sum();
    scenario.tally.messages = messages;
    (scenario.tally, scenario.trace)
}

fn some_options(choices: &mut Choices) -> Options {
    Options {
        journal_file_bytes: choices.pick(&[64, 128, 256]) * 1024,
        tail_bytes_soft: choices.pick(&[0, 16 << 10, 1 << 20]),
        cache_bytes: choices.pick(&[64 << 10, 1 << 20]),
        merge_runs: choices.pick(&[2, 5, 250_000]),
        ..support::options()
    }
}

impl Scenario {
    fn new(mut choices: Choices) -> Self {
        let world = World::new();
        let options = some_options(&mut choices);
        let facts = Facts {
            epoch: Epoch::FIRST,
            next: Lsn(1),
            rooms: Vec::new(),
            names: Default::default(),
            users: Vec::new(),
            categories: Vec::new(),
            retained: Default::default(),
            holds: Vec::new(),
            tokens: Vec::new(),
            keys: Default::default(),
            protected: Lsn::ZERO,
            compliance: None,
            unknown: Vec::new(),
            own: Default::default(),
            own_unknown: false,
        };
        let older = world.sim.crash(Survivors::Everything);
        let aloud = std::env::var_os("HANSARD_SIM_ALOUD").is_some();
        Self {
            aloud,
            choices,
            world,
            facts,
            options,
            tally: Tally::default(),
            older,
            events_for_a_day: false,
            trace: String::new(),
        }
    }

    pub(super) fn note(&mut self, text: &str) {
        if self.aloud {
            eprintln!("{} {text}", self.world.sim.operations());
        }
        writeln!(self.trace, "{} {text}", self.world.sim.operations()).unwrap();
    }

    fn start(&self, losses: Losses) -> hansard_engine::error::Result<(Engine, OpenReport)> {
        open_on(self.world.ground(), self.options.clone(), Drive::Steps, losses)
    }

    fn open_well(&mut self, what: &str) -> Engine {
        let (engine, report) = self.start(Losses::Restrict).expect(what);
        assert!(report.holes.is_empty(), "{what}: {report:?}");
        assert_eq!(report.lost_messages, 0, "{what}: {report:?}");
        assert_eq!(engine.health(), Health::Ready, "{what}");
        self.tally.rebuilds += u64::from(report.rebuilt > 0);
        self.facts.resolve(report.last_lsn, what);
        self.note(&format!("opened {report:?}"));
        check::signed(&engine, what);
        engine
    }

    fn set_up(&mut self, engine: &Engine) {
        // The first place is the engine's own: a seed of salts.
        self.facts.take_own(Lsn(1));
        for name in ["General", "Trading"] {
            let id = support::make_category(engine, name);
            self.facts.take(&Effect::Other);
            self.facts.categories.push(id);
        }
        for name in ["ann", "bob", "eve"] {
            let id = support::make_user(engine, name);
            self.facts.take(&Effect::Other);
            self.facts.users.push(id);
        }
        if self.choices.one_in(2) {
            let on = Setting { key: "compliance".into(), value: "on".into() };
            let done = support::one(
                engine,
                draft(self.facts.users[0], RoomId::NONE, Payload::Setting(on)),
            );
            self.facts.take(&Effect::Other);
            self.facts.compliance = Some(done.lsn);
            if self.choices.one_in(2) {
                let day = Setting { key: "compliance-days".into(), value: "1".into() };
                let by = self.facts.users[0];
                support::one(engine, draft(by, RoomId::NONE, Payload::Setting(day)));
                self.facts.take(&Effect::Other);
                self.events_for_a_day = true;
            }
        }
    }

    /// Random operations until the life is over or the engine fails.
    fn live(&mut self, engine: &Engine) {
        if self.choices.one_in(3) {
            let at = 1 + self.choices.below(80) as u64;
            let kinds = [
                Trouble::Stop,
                Trouble::Once,
                Trouble::ForEver,
                Trouble::Full,
                Trouble::SyncLost,
                Trouble::ShortWrite,
            ];
            let trouble = self.choices.pick(&kinds);
            self.world.sim.arrange(at, trouble);
            self.tally.faults += 1;
            self.note(&format!("{trouble:?} in {at} operations"));
        }
        let many = self.choices.pick(&[5, 20, 60, 150]);
        for _ in 0..many {
            if self.choices.ended() || matches!(engine.health(), Health::Poisoned { .. }) {
                return;
            }
            self.operation(engine);
            self.tally.operations += 1;
        }
    }

    fn operation(&mut self, engine: &Engine) {
        self.world.clock.pass_us(1 + self.choices.below(3_000_000) as i64);
        match self.choices.below(25) {
            24 => self.sign(engine),
            23 => self.erase(engine),
            20 => self.expire(engine),
            21 => self.expire_events(engine),
            22 => self.purge(engine),
            0 => {
                engine.idle();
                self.protect(engine);
            }
            1 => {
                let sealed = engine.seal();
                self.note(&format!("sealed {}", sealed.is_ok()));
            }
            2 => {
                // RocksDB flushes when it likes, all families together.
                let _ = self.world.store.flush();
            }
            3 if self.choices.one_in(4) => {
                self.older = self.world.sim.crash(Survivors::Everything);
            }
            4 => self.world.clock.step_us(-(self.choices.below(5_000_000) as i64)),
            5 if self.choices.one_in(8) => {
                self.world.store.break_down();
                self.note("catalog breaks");
            }
            6..=9 => {
                check::one_read(engine, &self.facts, &mut self.choices, "a read");
            }
            10 => self.unreadable_for_a_while(engine),
            11 if self.choices.one_in(4) => self.checkpoint(engine),
            12 => self.merge(engine),
            13 if self.choices.one_in(4) => self.pass_days(),
            _ => self.appends(engine),
        }
    }

    /// Days must end for their packs to merge.
    fn pass_days(&mut self) {
        let days = self.choices.pick(&[1, 1, 2, 31]);
        // An hour more than the keys live, by however much the wall clock was stepped back.
        self.world.clock.pass_us(days * TimeUs::DAY_US + 3_600_000_000);
        self.facts.keys.clear();
        self.note(&format!("{days} days pass"));
    }

    /// Merges what is due, or only begins to, or is cut off.
    fn merge(&mut self, engine: &Engine) {
        if engine.merge_due_bytes() > 0 && self.choices.one_in(3) {
            let at = 1 + self.choices.below(30) as u64;
            let trouble = self.choices.pick(&[Trouble::Stop, Trouble::Once, Trouble::Full]);
            self.world.sim.arrange(at, trouble);
            self.tally.faults += 1;
            self.note(&format!("{trouble:?} in {at} operations of a merge"));
        }
        let mut left = self.choices.pick(&[0, 1, 3, usize::MAX]);
        let done = engine.merge(&mut |_| {
            left = left.saturating_sub(1);
            left > 0
        });
        if let Ok(report) = &done {
            self.tally.merges += report.merges;
        }
        self.note(&format!("merged {done:?}"));
    }

    /// What is acknowledged now stands under a promise, if that could be written.
    fn protect(&mut self, engine: &Engine) {
        let calm = !matches!(engine.health(), Health::Poisoned { .. });
        if calm && self.facts.unknown.is_empty() {
            self.facts.protected = Lsn(self.facts.next.0 - 1);
        }
    }

    /// A pack that cannot be read for a while makes gaps, and no gap outlives it.
    fn unreadable_for_a_while(&mut self, engine: &Engine) {
        if self.facts.rooms.is_empty() {
            return;
        }
        let trouble = self.choices.pick(&[ReadTrouble::Once, ReadTrouble::File]);
        self.world.sim.arrange_read(1 + self.choices.below(3) as u64, trouble);
        let room = &self.facts.rooms[self.choices.below(self.facts.rooms.len())];
        if let Ok(page) = engine.page(room.id, hansard_engine::reads::Anchor::At(Seq(1)), 500) {
            let missing: u64 = page.gaps.iter().map(|g| g.to_seq.0 - g.from_seq.0 + 1).sum();
            let newest = page.newer.map_or(room.entries.len() as u64, |seq| seq.0);
            assert_eq!(page.records.len() as u64 + missing, newest, "an unreadable pack");
        }
        self.world.sim.calm_reads();
        check::one_read(engine, &self.facts, &mut self.choices, "a read after the disk came back");
    }

    /// A copy, and a power cut at once: it opens with everything acknowledged, or it does not open
    /// and was not called done.
    fn checkpoint(&mut self, engine: &Engine) {
        let place = std::path::PathBuf::from(format!("copy {}", self.world.sim.operations()));
        let done = engine.checkpoint(&place);
        let seed = self.choices.number();
        let modes = [Survivors::Nothing, Survivors::Prefix(seed), Survivors::Sectors(seed)];
        let survivors = self.choices.pick(&modes);
        self.note(&format!("checkpoint {} {survivors:?}", done.is_ok()));
        let sim = self.world.sim.next_to(&place);
        let copy = World {
            sim: sim.crash(survivors),
            store: self.world.store.copy_at(&place.join("catalog")).unwrap_or_default(),
            clock: Arc::new(SimClock::at(self.world.clock.now())),
        };
        for file in sim.files() {
            sim.take_away(&file);
        }
        let options = some_options(&mut self.choices);
        match open_on(copy.ground(), options, Drive::Steps, Losses::Restrict) {
            Ok((engine, report)) => {
                assert_eq!(engine.health(), Health::Ready, "a checkpoint: {report:?}");
                assert!(report.holes.is_empty() && report.lost_messages == 0, "{report:?}");
                let mut facts = self.facts.clone();
                facts.resolve(report.last_lsn, "a checkpoint");
                check::everything(
                    &engine,
                    &mut facts,
                    &Leave::default(),
                    &mut self.choices,
                    "a checkpoint",
                );
                self.tally.checkpoints += 1;
            }
            Err(Error::NotFound { .. } | Error::Unsupported { .. }) => {
                done.expect_err("a checkpoint that is done opens");
            }
            Err(error) => panic!("a checkpoint: {error}"),
        }
    }

    /// A few appends in one group.
    fn appends(&mut self, engine: &Engine) {
        let count = 1 + self.choices.below(3);
        let mut given = Vec::new();
        // Each is predicted behind those before it.
        let mut ahead = self.facts.clone();
        for _ in 0..count {
            let Some((drafts, effects)) = self.think(&ahead) else { continue };
            let repeated = repeated(&ahead, &effects);
            match engine.append(drafts) {
                Ok(ticket) => {
                    if repeated.is_none() {
                        for effect in &effects {
                            ahead.take(effect);
                        }
                    }
                    given.push((ticket, effects, repeated));
                }
                Err(Error::Poisoned { .. }) => {
                    self.facts.unknown.push(effects);
                    return;
                }
                Err(error) => self.note(&format!("refused {error}")),
            }
        }
        engine.step();
        for (ticket, effects, repeated) in given {
            match (ticket.wait(), repeated) {
                (Ok(answers), Some((place, same))) => {
                    assert!(same, "a key was taken for another body");
                    assert!(answers[0].replayed, "a key was forgotten");
                    assert_eq!((answers[0].lsn, answers[0].seq), (place.lsn, place.seq));
                }
                (Ok(answers), None) => self.facts.acknowledged(&effects, &answers, "an append"),
                (Err(Error::Poisoned { .. }), Some(_)) => {}
                (Err(Error::Poisoned { .. }), None) => self.facts.unknown.push(effects),
                (Err(Error::Conflict { .. }), Some((_, same))) => assert!(!same, "same body"),
                (Err(Error::Conflict { what, .. }), None) => {
                    panic!("an append: {what} {effects:?} {:?}", self.facts.keys)
                }
                (Err(error @ (Error::NoSpace { .. } | Error::Unavailable { .. })), _) => {
                    self.note(&format!("refused {error}"));
                }
                (Err(Error::Io { .. }), _) => self.note("no room in the journal"),
                (Err(error), _) => panic!("an append: {error}"),
            }
        }
    }

    /// Ends a life by a stop, a kill or a power cut, starts the next and compares.
    fn end_and_start(&mut self, engine: Engine) -> Engine {
        self.world.sim.calm();
        let settled = engine.health() == Health::Ready && self.facts.unknown.is_empty();
        if settled && self.choices.one_in(2) {
            // With whatever the caches hold by now.
            let (facts, choices) = (&mut self.facts, &mut self.choices);
            check::everything(&engine, facts, &Leave::default(), choices, "in a life");
        }
        match self.choices.below(3) {
            0 => {
                let closed = engine.close().is_ok();
                self.note(&format!("closed {closed}"));
                drop(engine);
                self.world.store = self.world.store.crash();
            }
            1 => {
                self.note("killed");
                self.tally.kills += 1;
                drop(engine);
                self.world.store = self.world.store.crash();
            }
            _ => {
                drop(engine);
                self.cut_power();
            }
        }
        if self.choices.one_in(6) {
            self.note("catalog removed");
            self.world.store = MemoryCatalog::default();
        }
        self.options = some_options(&mut self.choices);
        if self.choices.one_in(4) {
            self.start_badly();
        }
        let engine = self.open_well("a start");
        check::everything(
            &engine,
            &mut self.facts,
            &Leave::default(),
            &mut self.choices,
            "after a start",
        );
        engine
    }

    fn cut_power(&mut self) {
        let seed = self.choices.number();
        let modes = [
            Survivors::Nothing,
            Survivors::Everything,
            Survivors::Prefix(seed),
            Survivors::Sectors(seed),
        ];
        let survivors = self.choices.pick(&modes);
        self.note(&format!("power cut {survivors:?}"));
        self.tally.power_cuts += 1;
        self.world.sim = self.world.sim.crash(survivors);
        self.world.store = self.world.store.crash();
    }

    /// A start that is itself cut off, or meets an error.
    fn start_badly(&mut self) {
        let at = 1 + self.choices.below(30) as u64;
        let kinds = [Trouble::Stop, Trouble::Once, Trouble::Full, Trouble::SyncLost];
        let trouble = self.choices.pick(&kinds);
        self.world.sim.arrange(at, trouble);
        if self.choices.one_in(3) {
            self.world.sim.arrange_read(1 + self.choices.below(40) as u64, ReadTrouble::Once);
        }
        self.tally.faults += 1;
        match self.start(Losses::Restrict) {
            Ok((engine, _)) => drop(engine),
            Err(error) => {
                self.tally.failed_starts += 1;
                self.note(&format!("start failed: {error}"));
            }
        }
        self.world.sim.calm();
        if self.choices.one_in(2) {
            self.cut_power();
        } else {
            self.world.store = self.world.store.crash();
        }
    }

    /// The end of a scenario: rows that equal rebuilt rows, or damage and what it costs.
    fn last_of_all(&mut self, engine: Engine, end: End) {
        self.world.sim.calm();
        if end == End::EqualRows || self.choices.one_in(3) {
            drop(engine);
            self.world.store = self.world.store.crash();
            let engine = self.open_well("the last start");
            self.rebuilt_rows_are_equal(engine);
            return;
        }
        if self.choices.below(4) > 0 && !matches!(engine.health(), Health::Poisoned { .. }) {
            engine.idle();
            self.protect(&engine);
        }
        if self.choices.one_in(4) && engine.close().is_ok() {
            self.protect(&engine);
        }
        let broken = self.world.store.is_broken();
        drop(engine);
        self.world.store = match self.choices.below(4) {
            0 => MemoryCatalog::default(),
            1 if !broken => self.world.store.clone(),
            _ => self.world.store.crash(),
        };
        self.show_journal();
        // The end of the log stands in two places. Losing both at once is no longer seen.
        let strikes = 1 + self.choices.below(2);
        let spare = if strikes > 1 { "WITNESS" } else { "LOCK" };
        for _ in 0..strikes {
            let (sim, older) = (&self.world.sim, &self.older);
            if let Some(done) = damage::strike(sim, older, spare, &mut self.choices) {
                self.tally.damages += 1;
                self.note(&format!("damage to {}: {}", done.file, done.text));
            }
        }
        self.damaged_start();
    }

    fn rebuilt_rows_are_equal(&mut self, engine: Engine) {
        engine.seal().unwrap();
        engine.close().unwrap();
        drop(engine);
        let kept = comparable_rows(&self.world.store).unwrap();
        let copy = World {
            sim: self.world.sim.crash(Survivors::Everything),
            store: MemoryCatalog::default(),
            clock: Arc::new(SimClock::at(TimeUs(support::START.0 + 77_000_000))),
        };
        let options = some_options(&mut self.choices);
        let (engine, report) =
            open_on(copy.ground(), options, Drive::Steps, Losses::Restrict).unwrap();
        assert!(report.holes.is_empty(), "{report:?}");
        engine.seal().unwrap();
        engine.close().unwrap();
        same_rows(&kept, &comparable_rows(&copy.store).unwrap());
        self.tally.rebuilds += 1;
        self.note("rebuilt rows are equal");
    }

    /// The frames that stand in the journal's files, for a person who reads the trace.
    fn show_journal(&self) {
        use hansard_engine::format::frame::{FileHeader, FrameHeader};
        for name in self.world.sim.files().iter().filter(|_| self.aloud) {
            let bytes = self.world.sim.bytes_of(name).unwrap();
            let sectors = bytes.chunks(4096).enumerate();
            for (n, sector) in sectors.filter(|_| name.ends_with(".journal")) {
                if let (0, Ok(Some(h))) = (n, FileHeader::parse(sector)) {
                    eprintln!(
                        "{name} use {} from {} prev_end {}",
                        h.incarnation, h.first_lsn, h.prev_end
                    );
                }
                if let Ok(f) = FrameHeader::parse_any(sector) {
                    let (first, last) = (f.first_lsn, f.last_lsn());
                    eprintln!(
                        "  {:6} use {} {first}..{last} synced {}",
                        n * 4096,
                        f.incarnation,
                        f.synced
                    );
                }
            }
        }
    }

    /// A start over damage: it opens and answers exact bytes or a named gap, or it says why not.
    fn damaged_start(&mut self) {
        let what = "after damage";
        let before = self.facts.clone();
        let (engine, leave) = match self.start(Losses::Restrict) {
            Ok((engine, report)) if engine.health() == Health::Ready => {
                assert!(report.holes.is_empty(), "{what}: {report:?}");
                let leave = self.found(&report);
                (engine, leave)
            }
            Ok((engine, report)) => {
                assert!(!report.holes.is_empty(), "{what}: {report:?}");
                self.tally.restricted += 1;
                self.note(&format!("restricted {:?}", report.holes));
                drop(engine);
                self.accepted()
            }
            Err(Error::Unsupported { file, .. }) => {
                assert!(file.ends_with("VERSION"), "{what}: {file:?}");
                self.note("another version");
                return;
            }
            Err(Error::NotFound { .. }) => {
                self.note("no version");
                return;
            }
            Err(error @ Error::Corrupt { .. }) => {
                self.tally.refused += 1;
                self.note(&format!("refused {error}"));
                match self.start(Losses::Accept) {
                    Err(again) => {
                        // Both copies of the manifest, or packs that it lacks: repair's work.
                        self.note(&format!("not to be accepted {again}"));
                        return;
                    }
                    Ok((engine, _)) => drop(engine),
                }
                self.facts = before;
                self.accepted()
            }
            Err(error) => panic!("{what}: {error}"),
        };
        check::everything(&engine, &mut self.facts, &leave, &mut self.choices, what);
        engine.seal().unwrap();
        check::everything(&engine, &mut self.facts, &leave, &mut self.choices, "damage, sealed");
        let room = self.facts.rooms.first().map(|r| r.id);
        if let Some(room) = room.filter(|room| engine.directory().room(*room).unwrap().is_some()) {
            let said = support::one(&engine, post(PrincipalId::SYSTEM, room, "it goes on"));
            let read = engine.entry(room, said.seq).unwrap().expect(what);
            assert_eq!(support::body(&read), "it goes on");
            if !leave.accepted {
                let effect = Effect::Post { room: 0, body: "it goes on".into(), key: None };
                self.facts.acknowledged(&[effect], &[said], what);
            }
        }
        if leave.accepted {
            return;
        }
        engine.close().unwrap();
        drop(engine);
        let (engine, report) = self.start(Losses::Restrict).unwrap();
        assert!(report.holes.is_empty(), "{what}, once more: {report:?}");
        check::everything(&engine, &mut self.facts, &leave, &mut self.choices, "once more");
    }

    /// What the end of the log says, where damage may have taken a part nobody had promised.
    fn found(&mut self, report: &OpenReport) -> Leave {
        let mut leave = Leave { gaps: true, ..Leave::default() };
        self.tally.lost_named += report.lost_messages;
        self.note(&format!("opened with damage {report:?}"));
        if report.last_lsn.next() < self.facts.next {
            let protected = self.facts.protected;
            assert!(
                report.last_lsn >= protected,
                "the log ends with {} and {protected} was promised",
                report.last_lsn
            );
            self.facts.forget_behind(report.last_lsn);
            leave.unprotected_after = Some(protected);
            // A change of a room or of a right may be among what is gone.
            leave.accepted = true;
        } else {
            self.facts.resolve(report.last_lsn, "after damage");
        }
        leave
    }

    fn accepted(&mut self) -> (Engine, Leave) {
        let what = "accepting a loss";
        let (engine, report) = self.start(Losses::Accept).expect(what);
        let holes: Vec<_> = report.holes.iter().map(|s| (s.first, s.last)).collect();
        // A hole at the end of the log has a length that nobody knows.
        let last = self.facts.last_before(report.last_lsn, &holes);
        if last.next() < self.facts.next {
            self.facts.unknown.clear();
        } else {
            self.facts.resolve(last, what);
        }
        let done = hansard_engine::open::accept(&engine, report.holes).expect(what);
        assert!(done.epoch > Epoch::FIRST, "{what}");
        engine.close().expect(what);
        drop(engine);
        let (engine, report) = self.start(Losses::Restrict).expect(what);
        assert!(report.holes.is_empty(), "{what}: {report:?}");
        assert_eq!(engine.health(), Health::Ready, "{what}");
        for token in &self.facts.tokens {
            let row = engine.directory().token(&token.sha256).unwrap();
            assert!(row.is_none(), "{what}: token {} still works", token.id);
        }
        // What was promised must be there, or be named; what was unanswered may be.
        let unprotected_after = Some(self.facts.protected);
        (engine, Leave { gaps: true, holes, unprotected_after, accepted: true })
    }
}

fn same_rows(kept: &Rows, rebuilt: &Rows) {
    for (key, value) in kept {
        assert_eq!(rebuilt.get(key), Some(value), "rebuilt row {key:?}");
    }
    for key in rebuilt.keys() {
        assert!(kept.contains_key(key), "row {key:?} is new");
    }
}
