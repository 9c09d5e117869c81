//! What a child process of the trial does: one phase, told as one line of JSON.
//!
//! A process of its own has a memory of its own. The parent watches it from outside, too.

use std::path::PathBuf;

use hansard_engine::{Engine, Health, Options};
use serde::{Deserialize, Serialize};

use super::fill::{Filled, fill};
use super::gauge::{Mark, Watch, status_bytes};
use super::reads::{Readings, read};
use super::world::{Size, World};
use crate::tournament::Outcome;

/// What a child is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Make the directory and fill it.
    Fill,
    /// Make an empty directory if it is absent, open it, and close it.
    Open,
    /// Open it, read and compare.
    Read,
}

/// The same, as it is handed over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    pub phase: Phase,
    pub data: PathBuf,
    /// The folder of the logs.
    pub logs: PathBuf,
    pub size: Size,
}

/// What a child found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Told {
    /// Memory resident before the engine was touched: the trial's own.
    pub own_bytes: Option<u64>,
    pub marks: Vec<Mark>,
    pub filled: Option<Filled>,
    pub readings: Option<Readings>,
    /// Records that the start read again from the journal.
    pub replayed: u64,
    /// Rooms whose newest messages are in memory.
    pub tail_rooms: u64,
}

/// Does a task and prints what it found.
///
/// # Errors
/// If the engine cannot be opened, refuses, or cannot read.
pub fn run(task: &Task) -> Outcome<()> {
    let mut told = Told::default();
    match task.phase {
        Phase::Fill => {
            let world = World::read(&task.logs, task.size)?;
            told.own_bytes = own_bytes();
            told.filled = Some(fill(&task.data, &world)?);
        }
        Phase::Open => {
            if !task.data.exists() {
                Engine::create(&task.data)?;
            }
            open(task, &mut told)?.close()?;
        }
        Phase::Read => {
            let world = World::read(&task.logs, task.size)?;
            let engine = open(task, &mut told)?;
            let watch = Watch::begin(std::process::id());
            let readings = read(&engine, &world)?;
            let messages = readings.reads.iter().map(|read| read.messages).sum();
            told.marks.push(watch.end("read", (messages, "messages"), &task.data)?);
            told.readings = Some(readings);
            engine.close()?;
        }
    }
    println!("{}", serde_json::to_string(&told)?);
    Ok(())
}

fn own_bytes() -> Option<u64> {
    status_bytes(std::process::id(), "VmRSS")
}

/// Opens the directory with a server's settings, but that nothing happens by itself.
fn open(task: &Task, told: &mut Told) -> Outcome<Engine> {
    told.own_bytes = own_bytes();
    let watch = Watch::begin(std::process::id());
    let (engine, report) = Engine::open(&task.data, Options::default().quiet())?;
    told.marks.push(watch.end("open", (0, ""), &task.data)?);
    told.replayed = report.replayed;
    told.tail_rooms = engine.stats().tail_rooms.get();
    if engine.health() != Health::Ready {
        return Err(format!("the engine is not ready: {:?}", engine.health()).into());
    }
    Ok(engine)
}
