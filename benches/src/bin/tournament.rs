//! The corruption tournament: `make tournament`, or `make tournament ARGS='--only redb --seed 2'`.
//!
//! This is its command line; `tournament` in the library is the rest. (After the observation in
//! RocksDB PR #6963 that a log which does not know its synced offset cannot tell a torn tail from
//! damage.)

use std::path::{Path, PathBuf};

use hansard_benches::tournament::child::{self, Task};
use hansard_benches::tournament::contestant::State;
use hansard_benches::tournament::faults::Fault;
use hansard_benches::tournament::run::{Plan, run};
use hansard_benches::tournament::{Outcome, table};
use serde_json::json;

const USAGE: &str = "\
usage: tournament [--seed N] [--trials N] [--messages N] [--only NAME]... [--state NAME]
                  [--fault NAME]... [--trial N] [--load-ms N] [--idle-ms N]
                  [--dir DIR] [--json]
  --trials N    of each fault on each contestant in each state (default 60)
  --only NAME   rocksdb, rocksdb-strict, sqlite, sqlite-strict, fjall, redb, redb-strict,
                raft-engine, raft-engine-strict, hansard
  --state NAME  log (as after a crash) or tables (at rest)
  --fault NAME  bit, zero, stale, swap, double, cut, remove, torn
  --trial N     only this trial of each, told in a line
  --load-ms N   over how long the messages are spread (default 2000)
  --idle-ms N   between the last acknowledgement and the copy (default 1000)
  --dir DIR     where the copies are made (default: memory, if there is a /dev/shm)
  --json        every trial as JSON instead of the tables";

/// How the result is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Tables,
    Json,
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, task] = &arguments[..]
        && command == "child"
    {
        return child::run(&serde_json::from_str::<Task>(task)?);
    }
    if arguments.iter().any(|argument| argument == "--help") {
        println!("{USAGE}");
        return Ok(());
    }
    // Faults are made by hand, so what a sync does is of no matter: memory is faster.
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    let (mut plan, shown) = parse(arguments, base).map_err(|wrong| format!("{wrong}\n{USAGE}"))?;
    let folder = tempfile::Builder::new().prefix("tournament-").tempdir_in(&plan.dir)?;
    plan.dir = folder.path().to_path_buf();
    let results = run(&plan)?;
    if shown == Shown::Json {
        let Plan { seed, trials, messages, .. } = plan;
        let all = json!({
            "seed": seed, "trials": trials, "messages": messages, "contestants": results,
        });
        println!("{all:#}");
        return Ok(());
    }
    if plan.trial.is_some() {
        for result in &results {
            for trial in &result.trials {
                println!("{}", table::line(&plan, result, trial));
            }
        }
        return Ok(());
    }
    print!("{}", table::report(&plan, &results));
    Ok(())
}

fn parse(arguments: Vec<String>, dir: PathBuf) -> Outcome<(Plan, Shown)> {
    let mut plan = Plan {
        seed: 1,
        trials: 60,
        messages: 2000,
        idle_ms: 1000,
        load_ms: 2000,
        only: Vec::new(),
        states: State::ALL.to_vec(),
        faults: Vec::new(),
        trial: None,
        dir,
    };
    let mut shown = Shown::Tables;
    let mut arguments = arguments.into_iter();
    while let Some(name) = arguments.next() {
        if name == "--json" {
            shown = Shown::Json;
            continue;
        }
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--seed" => plan.seed = value.parse()?,
            "--trials" => plan.trials = value.parse()?,
            "--idle-ms" => plan.idle_ms = value.parse()?,
            "--load-ms" => plan.load_ms = value.parse()?,
            "--messages" => plan.messages = value.parse()?,
            "--trial" => plan.trial = Some(value.parse()?),
            "--dir" => plan.dir = value.into(),
            "--only" => plan.only.push(value),
            "--state" => plan.states.retain(|state| state.name() == value),
            "--fault" => {
                let named = Fault::ALL.into_iter().find(|fault| fault.name() == value);
                plan.faults.push(named.ok_or_else(|| format!("no fault is called {value}"))?);
            }
            _ => return Err(format!("unknown argument {name}").into()),
        }
    }
    if plan.states.is_empty() {
        return Err("no such state".into());
    }
    if plan.faults.is_empty() {
        plan.faults = Fault::ALL.to_vec();
    }
    Ok((plan, shown))
}
