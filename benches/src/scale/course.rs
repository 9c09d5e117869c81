//! The phases in their order, each in a child process, and the offline tool between them.
//!
//! INVARIANT: no child outlives the trial, and a phase that fails or finds something wrong ends it
//! with what was wrong.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde::Serialize;
use serde_json::Value;

use super::catalog::{Families, families};
use super::fill::Filled;
use super::gauge::{Mark, Watch, kinds};
use super::phase::{Phase, Task, Told};
use super::reads::Read;
use super::world::Size;
use crate::tournament::Outcome;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Plan {
    pub size: Size,
    pub data: PathBuf,
    pub logs: PathBuf,
    /// The folder of `hansard-tool`.
    pub programs: PathBuf,
    /// For what children say.
    pub folder: PathBuf,
}

/// Everything that was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub marks: Vec<Mark>,
    pub filled: Filled,
    /// Memory that the trial itself held while it filled.
    pub own_bytes: Option<u64>,
    /// Memory of an engine on an empty directory, and on the full one with all rooms idle: before
    /// and after the merge.
    pub empty_bytes: Option<u64>,
    pub idle_bytes: [Option<u64>; 2],
    pub replayed: [u64; 2],
    /// The catalog by families.
    pub families: [Families; 2],
    /// The same reads before and after the merge.
    pub reads: [Vec<Read>; 2],
    /// What the tool's commands said.
    pub compacted: Value,
    pub verified: Value,
    pub stats: Value,
    /// What was wrong.
    pub wrong: Vec<String>,
}

/// A child that is killed if nobody waits for it.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // One that has ended cannot be killed, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the phases.
///
/// # Errors
/// If a phase cannot be run. What is wrong with the answers is in the report.
pub fn run(plan: &Plan) -> Outcome<Report> {
    let mut report = Report::default();
    let empty = plan.folder.join("empty");
    let told = child(plan, Phase::Open, &empty, &mut report, "empty directory")?;
    report.empty_bytes = told.marks.first().and_then(|mark| mark.resident_bytes);

    let told = child(plan, Phase::Fill, &plan.data, &mut report, "fill")?;
    report.own_bytes = told.own_bytes;
    report.filled = told.filled.ok_or("the filling child said nothing")?;
    let marks = std::mem::take(&mut report.filled.marks);
    report.marks.extend(marks);
    if !report.filled.quiet {
        report.wrong.push("merging did not come to rest in time".to_owned());
    }
    reads(plan, &mut report, 0)?;
    report.compacted = tool(plan, "compact", &mut report)?;
    report.verified = tool(plan, "verify", &mut report)?;
    report.stats = tool(plan, "stats", &mut report)?;
    reads(plan, &mut report, 1)?;
    compare(plan, &mut report);
    Ok(report)
}

/// Opens the directory once for its memory and once for reads.
fn reads(plan: &Plan, report: &mut Report, at: usize) -> Outcome<()> {
    let when = ["before merge", "after merge"][at];
    let told = child(plan, Phase::Open, &plan.data, report, when)?;
    report.idle_bytes[at] = told.marks.first().and_then(|mark| mark.resident_bytes);
    report.replayed[at] = told.replayed;
    let told = child(plan, Phase::Read, &plan.data, report, when)?;
    let found = told.readings.ok_or("the reading child said nothing")?;
    if found.mistakes > 0 {
        report.wrong.push(format!("{} mistakes in reads {when}", found.mistakes));
        report.wrong.extend(found.told);
    }
    report.reads[at] = found.reads;
    report.families[at] = families(&plan.data)?;
    Ok(())
}

/// What OPERATIONS.md advises for RocksDB's part of the memory, and `make serve` sets.
const MALLOC: [(&str, &str); 3] = [
    ("MALLOC_ARENA_MAX", "2"),
    ("MALLOC_MMAP_THRESHOLD_", "131072"),
    ("MALLOC_TRIM_THRESHOLD_", "1048576"),
];

/// Runs a phase of the trial in a process of its own.
fn child(plan: &Plan, phase: Phase, data: &Path, report: &mut Report, when: &str) -> Outcome<Told> {
    let (data, logs) = (data.to_owned(), plan.logs.clone());
    let task = Task { phase, data, logs, size: plan.size };
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["child", &serde_json::to_string(&task)?]);
    let (said, _) = watched(plan, command, when, &task.data)?;
    let told: Told = serde_json::from_str(&said)?;
    for mark in &told.marks {
        let phase = format!("{}, {when}", mark.phase);
        report.marks.push(Mark { phase, ..mark.clone() });
    }
    Ok(told)
}

/// Runs a command of the offline tool on the directory.
fn tool(plan: &Plan, name: &str, report: &mut Report) -> Outcome<Value> {
    let mut command = Command::new(plan.programs.join("hansard-tool"));
    command.arg(name).arg(&plan.data).arg("--json");
    let (said, mut mark) = watched(plan, command, name, &plan.data)?;
    let said: Value = serde_json::from_str(&said)?;
    let moved = if name == "compact" { &said["records_moved"] } else { &said["records"] };
    (mark.count, mark.unit) = (moved.as_u64().unwrap_or(0), "records".to_owned());
    eprintln!("{name}: {:.1} s", mark.seconds);
    report.marks.push(mark);
    Ok(said)
}

/// Runs a program to its end: what it printed, and what it took.
fn watched(plan: &Plan, mut command: Command, name: &str, data: &Path) -> Outcome<(String, Mark)> {
    let out = plan.folder.join("said");
    command.stdin(Stdio::null()).stdout(File::create(&out)?).envs(MALLOC);
    let mut child = Guard(command.spawn()?);
    let watch = Watch::begin(child.0.id());
    let status = child.0.wait()?;
    // A phase that failed before it made the directory has none to look at.
    let mark = watch.end(name, (0, ""), if data.exists() { data } else { &plan.folder })?;
    let said = std::fs::read_to_string(&out)?;
    if !status.success() {
        return Err(format!("{name}: {status}\n{command:?}\n{}", said.trim_end()).into());
    }
    Ok((said, Mark { kinds: kinds(data)?, ..mark }))
}

/// The offline tool counts what was written.
fn compare(plan: &Plan, report: &mut Report) {
    let Size { rooms, .. } = plan.size;
    let filled = &report.filled;
    let mut wrong = Vec::new();
    let mut equal = |what: &str, found: &Value, expected: u64| {
        if found.as_u64() != Some(expected) {
            wrong.push(format!("{what}: expected={expected} found={found}"));
        }
    };
    let live = report.stats["live_records"].as_u64().unwrap_or(0);
    equal("records of packs", &report.stats["records"], filled.records);
    equal("records that verify read", &report.verified["records"], filled.records + live);
    equal("messages", &report.stats["messages"], plan.size.messages());
    equal("messages in packs", &report.stats["packed_messages"], plan.size.messages());
    equal("rooms", &report.stats["rooms"], rooms + 1);
    equal("messages lost", &report.compacted["lost_messages"], 0);
    if report.verified["ok"] != true {
        wrong.push(format!("verify: {}", report.verified["damage"]));
    }
    if report.stats["unread"].as_array().is_none_or(|unread| !unread.is_empty()) {
        wrong.push(format!("stats: unread={}", report.stats["unread"]));
    }
    report.wrong.extend(wrong);
}
