//! The course of a tournament: stores are filled once, then damaged copies are opened by children.
//!
//! Equal damage is tried once and counted as often as it was drawn. INVARIANT: no store is ever
//! opened in this process.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Outcome;
use super::child::{OLDER, STORE, Task};
use super::contestant::{Contestant, State};
use super::contestants;
use super::faults::{Damage, Fault, Ground};
use super::image::Image;
use super::seed::Draw;
use super::verdict::{End, Readout, Verdict, judge};

/// A child that takes longer hangs.
const CHILD_TIME_MAX: Duration = Duration::from_secs(20);
/// Filling may take longer: it syncs hundreds of times.
const FILL_TIME_MAX: Duration = Duration::from_secs(300);

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What everything is drawn from.
    pub seed: u64,
    /// Trials of each fault on each contestant in each state.
    pub trials: u64,
    /// Messages each contestant stores.
    pub messages: usize,
    /// How long a filled store is left alone before its copy, in milliseconds.
    pub idle_ms: u64,
    /// Over how long the messages are spread, in milliseconds.
    pub load_ms: u64,
    /// The contestants, by their names on the command line; empty is all.
    pub only: Vec<String>,
    /// The states.
    pub states: Vec<State>,
    /// The faults.
    pub faults: Vec<Fault>,
    /// One trial of each, instead of all.
    pub trial: Option<u64>,
    /// The folder for the copies.
    pub dir: PathBuf,
}

/// One damaged copy and what became of it.
#[derive(Clone, Debug, Serialize)]
pub struct Trial {
    /// The state.
    pub state: State,
    /// The fault.
    pub fault: Fault,
    /// Which trials drew this very damage; the first repeats it.
    pub trials: Vec<u64>,
    /// The file hit.
    pub file: String,
    /// Where, in bytes.
    pub offset: u64,
    /// What was done there.
    pub damage: String,
    /// How the child ended.
    pub end: End,
    /// The verdict.
    pub verdict: Verdict,
    /// How long the child took, in milliseconds.
    pub took_ms: u64,
}

/// All trials of a contestant.
#[derive(Clone, Debug, Serialize)]
pub struct Score {
    /// Its name on the command line.
    pub key: String,
    /// Its name in the table.
    pub title: String,
    /// The crate that brings it.
    pub package: String,
    /// How it writes and reads.
    pub settings: String,
    /// The states in which it refuses a copy without any fault, and what it says.
    pub refuses_sound: Vec<(State, String)>,
    /// The trials.
    pub trials: Vec<Trial>,
}

/// A filled store of a contestant, ready to be damaged.
struct Filled {
    who: usize,
    state: State,
    ground: Ground,
    rooms: Vec<u64>,
    /// What it says when it refuses a copy without a fault; then there are no trials.
    refused: Option<String>,
}

/// A child that is to be started.
struct Job {
    filled: usize,
    fault: Fault,
    damage: Damage,
    trials: Vec<u64>,
}

/// Holds the whole tournament.
///
/// # Errors
/// If a contestant is unknown, cannot be filled, or cannot read an undamaged copy.
pub fn run(plan: &Plan) -> Outcome<Vec<Score>> {
    let everybody = contestants::all();
    for key in &plan.only {
        contestants::by_key(key)?;
    }
    let asked =
        |who: &dyn Contestant| plan.only.is_empty() || plan.only.iter().any(|k| k == who.key());
    let who: Vec<_> = everybody.into_iter().filter(|who| asked(&**who)).collect();
    let wanted: Vec<(usize, State)> =
        (0..who.len()).flat_map(|w| plan.states.iter().map(move |s| (w, *s))).collect();
    let filled = spread(wanted.len(), "filled", &|n| {
        let (index, state) = wanted.get(n).copied().ok_or("no such store")?;
        let store = who.get(index).ok_or("no such contestant")?;
        fill(plan, &**store, index, state)
    })?;
    let jobs = draw(plan, &filled);
    let trials = spread(jobs.len(), "damaged", &|n| {
        let job = jobs.get(n).ok_or("no such trial")?;
        let store = filled.get(job.filled).ok_or("no such store")?;
        let contestant = who.get(store.who).ok_or("no such contestant")?;
        Ok((store.who, trial(plan, &**contestant, store, job)?))
    })?;
    let mut results: Vec<Score> = who.iter().map(|who| empty(&**who)).collect();
    for store in filled {
        if let (Some(error), Some(result)) = (store.refused, results.get_mut(store.who)) {
            result.refuses_sound.push((store.state, error));
        }
    }
    for (index, trial) in trials {
        if let Some(result) = results.get_mut(index) {
            result.trials.push(trial);
        }
    }
    Ok(results)
}

fn empty(who: &dyn Contestant) -> Score {
    Score {
        key: who.key().into(),
        title: who.title().into(),
        package: who.package().into(),
        settings: who.settings().into(),
        refuses_sound: Vec::new(),
        trials: Vec::new(),
    }
}

/// Does `count` things on as many threads as there are cores; results in order.
fn spread<T: Send>(
    count: usize,
    what: &str,
    work: &(dyn Fn(usize) -> Outcome<T> + Sync),
) -> Outcome<Vec<T>> {
    let next = AtomicUsize::new(0);
    let done: Mutex<BTreeMap<usize, Outcome<T>>> = Mutex::new(BTreeMap::new());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= count {
                        return;
                    }
                    let result = work(n);
                    let Ok(mut done) = done.lock() else { return };
                    if result.is_err() {
                        next.store(count, Ordering::Relaxed);
                    }
                    done.insert(n, result);
                    if done.len() % 250 == 0 {
                        let seconds = began.elapsed().as_secs();
                        eprintln!("{} of {count} copies {what}, {seconds} s", done.len());
                    }
                }
            });
        }
    });
    done.into_inner().unwrap_or_default().into_values().collect()
}

/// Lets a child fill a store, reads its folder, and sees that it reads back whole.
fn fill(plan: &Plan, who: &dyn Contestant, index: usize, state: State) -> Outcome<Filled> {
    let dir = plan.dir.join(format!("{}-{state}", who.key()));
    let task = task(plan, who, Some(state), &dir, &[]);
    let said = match start(&task, &dir, FILL_TIME_MAX)? {
        Ok(said) => said,
        Err(how) => return Err(format!("{} could not be filled: {how}", who.key()).into()),
    };
    let rooms: Vec<u64> = serde_json::from_str(&said)?;
    let image = Image::read(&dir.join(STORE))?;
    let older = Image::read(&dir.join(OLDER))?;
    fs::remove_dir_all(&dir)?;
    let ground = Ground::new(image, older, state, |path| who.role(path));
    let mut filled = Filled { who: index, state, ground, rooms, refused: None };
    let (end, _) = open(plan, who, &filled, None, &dir)?;
    match (judge(&end), end) {
        (Verdict::Exact, _) => {}
        (Verdict::Refused, End::Read(readout)) => {
            filled.refused = readout.open_error.or(readout.read_error);
        }
        (_, end) => {
            return Err(format!("{} reads {end:?} from a copy without a fault", who.key()).into());
        }
    }
    let (files, live) = (filled.ground.image.files.len(), filled.ground.live_sectors());
    eprintln!("{} ({state}): {files} files, {live} sectors to hit", who.key());
    Ok(filled)
}

/// Draws the damage of every trial; equal damage becomes one job.
fn draw(plan: &Plan, filled: &[Filled]) -> Vec<Job> {
    let mut jobs = Vec::new();
    for (index, store) in filled.iter().enumerate().filter(|(_, s)| s.refused.is_none()) {
        for fault in plan.faults.iter().filter(|fault| fault.is_in(store.state)) {
            let mut drawn: BTreeMap<Damage, Vec<u64>> = BTreeMap::new();
            for trial in plan.trial.map_or(0..plan.trials, |trial| trial..trial + 1) {
                let mut draw = Draw::of(&[plan.seed, store.state as u64, *fault as u64, trial]);
                match store.ground.place(*fault, &mut draw) {
                    Some(damage) => drawn.entry(damage).or_default().push(trial),
                    None => eprintln!("no place for {} in this store", fault.name()),
                }
            }
            jobs.extend(drawn.into_iter().map(|(damage, trials)| Job {
                filled: index,
                fault: *fault,
                damage,
                trials,
            }));
        }
    }
    jobs
}

fn trial(plan: &Plan, who: &dyn Contestant, store: &Filled, job: &Job) -> Outcome<Trial> {
    let first = job.trials.first().copied().unwrap_or_default();
    let name = format!("{}-{}-{}-{first}", who.key(), store.state, job.fault.name());
    let (end, took) = open(plan, who, store, Some(&job.damage), &plan.dir.join(name))?;
    Ok(Trial {
        state: store.state,
        fault: job.fault,
        trials: job.trials.clone(),
        file: job.damage.file.clone(),
        offset: job.damage.offset,
        damage: job.damage.text.clone(),
        verdict: judge(&end),
        end,
        took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    })
}

/// Writes a copy, damages it, and lets a child open and read it.
fn open(
    plan: &Plan,
    who: &dyn Contestant,
    store: &Filled,
    damage: Option<&Damage>,
    dir: &Path,
) -> Outcome<(End, Duration)> {
    let folder = dir.join(STORE);
    store.ground.image.write(&folder)?;
    if let Some(damage) = damage {
        damage.make(&folder)?;
    }
    let task = task(plan, who, None, dir, &store.rooms);
    let began = Instant::now();
    let end = match start(&task, dir, CHILD_TIME_MAX)? {
        Ok(said) => End::Read(serde_json::from_str::<Readout>(&said)?),
        Err(how) => End::Crash(how),
    };
    let took = began.elapsed();
    fs::remove_dir_all(dir)?;
    Ok((end, took))
}

fn task(plan: &Plan, who: &dyn Contestant, fill: Option<State>, dir: &Path, rooms: &[u64]) -> Task {
    Task {
        contestant: who.key().into(),
        fill,
        dir: dir.to_path_buf(),
        rooms: rooms.to_vec(),
        seed: plan.seed,
        messages: plan.messages,
        idle_ms: plan.idle_ms,
        load_ms: plan.load_ms,
    }
}

/// Runs a child: the line it said, or how it crashed before it said any.
fn start(task: &Task, dir: &Path, most: Duration) -> Outcome<Result<String, String>> {
    fs::create_dir_all(dir)?;
    let (out, err) = (dir.join("stdout"), dir.join("stderr"));
    let mut child = Command::new(std::env::current_exe()?)
        .arg("child")
        .arg(serde_json::to_string(task)?)
        .stdin(Stdio::null())
        .stdout(File::create(&out)?)
        .stderr(File::create(&err)?)
        .spawn()?;
    let Some(status) = wait(&mut child, most)? else {
        child.kill()?;
        child.wait()?;
        return Ok(Err(format!("hung for {} s", most.as_secs())));
    };
    let line = String::from_utf8_lossy(&fs::read(&out)?).into_owned();
    if line.ends_with('\n') {
        return Ok(Ok(line));
    }
    let said = String::from_utf8_lossy(&fs::read(&err)?).into_owned();
    Ok(Err(how(status, &said)))
}

fn wait(child: &mut Child, most: Duration) -> Outcome<Option<ExitStatus>> {
    let began = Instant::now();
    while began.elapsed() < most {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(None)
}

/// How a child crashed: its signal or exit, and the place and message of a panic.
fn how(status: ExitStatus, said: &str) -> String {
    let end = match (status.signal(), status.code()) {
        (Some(signal), _) => format!("signal {signal}"),
        (None, code) => format!("exit {}", code.unwrap_or_default()),
    };
    let lines: Vec<&str> = said.lines().collect();
    let panic = lines.iter().position(|line| line.contains("panicked at"));
    let from = panic.unwrap_or(lines.len().saturating_sub(1));
    let text = lines.get(from..).unwrap_or_default().iter().take(2).copied();
    let text = text.collect::<Vec<_>>().join(" ");
    format!("{end}: {text}").trim_end_matches([':', ' ']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_spread_and_comes_back_in_order() {
        let squares = spread(100, "squared", &|n| Ok(n * n)).unwrap();
        assert_eq!(squares, (0..100).map(|n| n * n).collect::<Vec<_>>());
        assert!(spread(10, "failed", &|_| Err::<(), _>("no".into())).is_err());
    }

    #[test]
    fn a_crash_is_told_by_its_signal_and_its_panic() {
        let killed = ExitStatus::from_raw(7);
        assert_eq!(how(killed, ""), "signal 7");
        let exited = ExitStatus::from_raw(101 << 8);
        let said = "noise\nthread 'main' panicked at src/a.rs:1:2:\nindex out of range\nnote: x\n";
        let expected = "exit 101: thread 'main' panicked at src/a.rs:1:2: index out of range";
        assert_eq!(how(exited, said), expected);
    }
}
