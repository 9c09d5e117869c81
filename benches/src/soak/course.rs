//! The course of a soak: two jobs at a time, the suite that is furthest behind first.
//!
//! A batch begins only if it can end before the deadline; what still runs then is ended. INVARIANT:
//! every job has a process group of its own, which is gone when the job is.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::programs::Programs;
use super::suites::{Job, Often, SUITES, Suite, Tried};
use crate::tournament::Outcome;

const JOBS_AT_ONCE: usize = 2;
/// What a job may run over the deadline.
const GRACE: Duration = Duration::from_secs(10);
/// Lines of its complaint that are shown of a failed batch; the whole is kept.
const WORDS_LINES: usize = 4;
const STEP: Duration = Duration::from_millis(50);

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub time: Duration,
    /// Only these suites; empty is all.
    pub only: Vec<String>,
    /// For what runs, gone at the end.
    pub folder: PathBuf,
    /// For what failed batches leave.
    pub keep: PathBuf,
    /// Set when the soak is told to end before its time.
    pub stop: Arc<AtomicBool>,
}

/// A batch that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    pub suite: &'static str,
    pub why: String,
    pub repeat: String,
    pub kept: PathBuf,
}

/// What came of a suite.
#[derive(Clone, Debug, Default)]
pub struct Score {
    begun: u64,
    pub ended: u64,
    pub cut_short: u64,
    pub failed: u64,
    pub took: Duration,
    longest: Duration,
    pub tried: Tried,
}

/// What came of all.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order of the suites.
    pub scores: Vec<Score>,
    pub failures: Vec<Failure>,
    pub took: Duration,
}

enum End {
    Ended(ExitStatus),
    /// The time was over.
    Cut,
}

/// Runs it all.
///
/// # Errors
/// If a job cannot be started at all.
pub fn run(plan: &Plan, programs: &Programs) -> Outcome<Report> {
    let begun = Instant::now();
    let report = Report { scores: vec![Score::default(); SUITES.len()], ..Report::default() };
    let report = Mutex::new(report);
    let work = || -> Outcome<()> {
        while let Some((at, batch)) = next(plan, &report, begun) {
            one(plan, programs, &report, (at, batch), begun)?;
        }
        Ok(())
    };
    let ends: Vec<Outcome<()>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..JOBS_AT_ONCE).map(|_| scope.spawn(work)).collect();
        let ended = |worker: thread::ScopedJoinHandle<'_, Outcome<()>>| {
            worker.join().unwrap_or_else(|_| Err("a runner panicked".into()))
        };
        workers.into_iter().map(ended).collect()
    });
    ends.into_iter().collect::<Outcome<()>>()?;
    let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.took = begun.elapsed();
    Ok(report)
}

/// The suite whose turn it is, among those that end in time.
fn next(plan: &Plan, report: &Mutex<Report>, begun: Instant) -> Option<(usize, u64)> {
    if plan.stop.load(Ordering::Relaxed) {
        return None;
    }
    let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
    let left = plan.time.saturating_sub(begun.elapsed());
    let fits = |at: usize| {
        let score = &report.scores[at];
        let expected = if score.longest.is_zero() { SUITES[at].about } else { score.longest };
        expected <= left
    };
    let able = |(at, suite): &(usize, &Suite)| {
        let asked = plan.only.is_empty() || plan.only.iter().any(|name| name == suite.name);
        let again = suite.often == Often::Again || report.scores[*at].begun == 0;
        let other = suite.instead_of.and_then(|name| SUITES.iter().position(|s| s.name == name));
        let instead = other.is_none_or(|other| report.scores[other].begun == 0 && !fits(other));
        asked && again && instead && fits(*at)
    };
    let behind = |(at, suite): &(usize, &Suite)| {
        let score = &report.scores[*at];
        // One that runs now has used its share already.
        let running = score.begun.saturating_sub(score.ended + score.cut_short);
        let used = score.took + suite.about * u32::try_from(running).unwrap_or(u32::MAX);
        used.as_millis() / u128::from(suite.share)
    };
    let (at, _) = SUITES.iter().enumerate().filter(able).min_by_key(behind)?;
    let batch = report.scores[at].begun;
    report.scores[at].begun += 1;
    Some((at, batch))
}

fn one(
    plan: &Plan,
    programs: &Programs,
    report: &Mutex<Report>,
    (at, batch): (usize, u64),
    begun: Instant,
) -> Outcome<()> {
    let suite = &SUITES[at];
    let job = suite.job(programs, plan.seed, batch)?;
    let folder = plan.folder.join(format!("{}-{batch}", suite.name.replace([',', ' '], "-")));
    fs::create_dir_all(&folder)?;
    let started = Instant::now();
    let end = end(&job, &folder, begun + plan.time + GRACE, &plan.stop)?;
    let took = started.elapsed();
    let said = fs::read_to_string(folder.join("out")).unwrap_or_default();
    let (tried, wrong) = suite.read(&said);
    let why = match end {
        End::Ended(status) if !status.success() => {
            Some(format!("{status}; {}", last_words(&folder)))
        }
        End::Ended(_) => wrong,
        End::Cut => None,
    };
    let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
    let score = &mut report.scores[at];
    score.took += took;
    for (name, count) in tried {
        *score.tried.entry(name).or_default() += count;
    }
    match end {
        End::Ended(_) => score.ended += 1,
        End::Cut => score.cut_short += 1,
    }
    score.longest = score.longest.max(took);
    score.failed += u64::from(why.is_some());
    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    let (name, took) = (suite.name, took.as_secs());
    let outcome = match (&end, &why) {
        (_, Some(why)) => why,
        (End::Cut, None) => "cut short",
        (End::Ended(_), None) => "fine",
    };
    println!("{minutes:5.1} min  {name}, batch {batch}: {outcome} ({took} s)");
    if let Some(why) = why {
        let kept = plan.keep.join(folder.file_name().unwrap_or_default());
        keep(&folder, &kept)?;
        report.failures.push(Failure { suite: suite.name, why, repeat: job.repeat, kept });
    }
    drop(report);
    let _ = fs::remove_dir_all(folder);
    Ok(())
}

/// The end of what a batch complained of.
fn last_words(folder: &Path) -> String {
    let said = fs::read_to_string(folder.join("err")).unwrap_or_default();
    // What a backtrace adds helps nobody in a table.
    let frame = |line: &&str| {
        line.starts_with("at ") || line.split(':').next().is_some_and(|n| n.parse::<u32>().is_ok())
    };
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !frame(line)).collect();
    lines[lines.len().saturating_sub(WORDS_LINES)..].join(" / ")
}

/// Keeps all that a batch left; from another file system only its words.
fn keep(folder: &Path, kept: &Path) -> Outcome<()> {
    fs::create_dir_all(kept)?;
    if fs::rename(folder, kept).is_err() {
        for name in ["out", "err"] {
            fs::copy(folder.join(name), kept.join(name))?;
        }
    }
    Ok(())
}

fn end(job: &Job, folder: &Path, deadline: Instant, stop: &AtomicBool) -> Outcome<End> {
    let temporary = folder.join("tmp");
    fs::create_dir_all(&temporary)?;
    let mut command = Command::new(&job.program);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HANSARD_")) {
        command.env_remove(name);
    }
    command.args(&job.arguments).envs(job.environment.iter().map(|(name, value)| (name, value)));
    command.env("RUST_BACKTRACE", "0");
    let package = job.environment.iter().find(|(name, _)| *name == "CARGO_MANIFEST_DIR");
    command.current_dir(package.map_or(".", |(_, folder)| folder)).env("TMPDIR", temporary);
    command.stdin(Stdio::null()).stdout(File::create(folder.join("out"))?);
    command.stderr(File::create(folder.join("err"))?).process_group(0);
    let mut child = command.spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or("no process id")?;
    // ORDERING: its number is given back only behind the end of its group, so that no stranger who
    // got it meanwhile is ended.
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    loop {
        let ended = waitid(WaitId::Pid(pid), look)?.is_some();
        let over = Instant::now() > deadline || stop.load(Ordering::Relaxed);
        if ended || over {
            // What the job left behind; mostly there is nothing.
            let _ = kill_process_group(pid, Signal::KILL);
            let status = child.wait()?;
            return Ok(if ended { End::Ended(status) } else { End::Cut });
        }
        thread::sleep(STEP);
    }
}
