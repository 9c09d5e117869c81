//! What the soak runs: how, how long about, and what its words mean.
//!
//! Every batch of a suite has numbers of its own, so none repeats another.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::programs::{Programs, top};
use crate::tournament::Outcome;

/// How often a suite may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Often {
    Once,
    Again,
}

/// One kind of trial.
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    pub name: &'static str,
    /// Its part of the time, beside those of the others.
    pub share: u64,
    /// How long a batch takes, before one was seen.
    pub about: Duration,
    pub often: Often,
    /// It runs only if this one, which says more, has no time.
    pub instead_of: Option<&'static str>,
    program: &'static str,
    batch: fn(seed: u64, batch: u64) -> Batch,
}

/// What distinguishes one batch from the others.
struct Batch {
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
    /// The command that repeats it, behind its environment.
    repeat: &'static str,
}

/// A program to run.
#[derive(Clone, Debug)]
pub struct Job {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub environment: Vec<(&'static str, String)>,
    pub repeat: String,
}

/// What was tried, by what it is called.
pub type Tried = BTreeMap<String, u64>;

const SIM_SEEDS: u64 = 2000;
const ROWS_SEEDS: u64 = 1000;
const SCHEDULES: u64 = 5000;
const TRIALS: u64 = 20;

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// Seeds far from those of plain runs, and of a seed of their own.
const fn from(seed: u64, batch: u64, each: u64) -> u64 {
    (seed % 1_000_000_000) * 1_000_000 + batch * each
}

/// All suites.
pub const SUITES: &[Suite] = &[
    Suite {
        name: "simulation",
        share: 4,
        about: seconds(60),
        often: Often::Again,
        instead_of: None,
        program: "test simulation",
        batch: |seed, batch| Batch {
            arguments: words(
                "--exact every_seed_keeps_what_was_acknowledged_or_names_the_loss --nocapture",
            ),
            environment: vec![
                ("HANSARD_SIM_FROM", from(seed, batch, SIM_SEEDS).to_string()),
                ("HANSARD_SIM_SEEDS", SIM_SEEDS.to_string()),
            ],
            repeat: "cargo test -p hansard-engine --test simulation every_seed -- --nocapture",
        },
    },
    Suite {
        name: "rows",
        share: 1,
        about: seconds(30),
        often: Often::Again,
        instead_of: None,
        program: "test simulation",
        batch: |seed, batch| Batch {
            arguments: words(
                "--exact the_same_records_under_other_settings_and_clocks_end_with_equal_rows \
                 --nocapture",
            ),
            environment: vec![
                ("HANSARD_SIM_FROM", from(seed, batch, ROWS_SEEDS).to_string()),
                ("HANSARD_ROWS_SEEDS", ROWS_SEEDS.to_string()),
            ],
            repeat: "cargo test -p hansard-engine --test simulation the_same_records -- \
                     --nocapture",
        },
    },
    Suite {
        name: "matrix, full",
        share: 8,
        about: seconds(300),
        often: Often::Once,
        instead_of: None,
        program: "test matrix",
        batch: |_, _| Batch {
            arguments: words("--nocapture"),
            environment: vec![("HANSARD_MATRIX", "full".to_owned())],
            repeat: "cargo test -p hansard-engine --test matrix -- --nocapture",
        },
    },
    Suite {
        name: "matrix, plain",
        share: 8,
        about: seconds(60),
        often: Often::Once,
        instead_of: Some("matrix, full"),
        program: "test matrix",
        batch: |_, _| Batch {
            arguments: words("--nocapture"),
            environment: Vec::new(),
            repeat: "cargo test -p hansard-engine --test matrix -- --nocapture",
        },
    },
    Suite {
        name: "schedules",
        share: 1,
        about: seconds(30),
        often: Often::Again,
        instead_of: None,
        program: "test schedules",
        batch: |_, _| Batch {
            arguments: words("--nocapture"),
            environment: vec![("HANSARD_SCHEDULES", SCHEDULES.to_string())],
            repeat: "cargo test -p hansard-engine --no-default-features --features shuttle --test \
                     schedules -- --nocapture",
        },
    },
    Suite {
        name: "catalog",
        share: 1,
        about: seconds(40),
        often: Often::Again,
        instead_of: None,
        program: "test catalog",
        batch: |_, _| Batch {
            arguments: words("--nocapture"),
            environment: vec![
                ("HANSARD_CATALOG_KILLS", "100".to_owned()),
                ("HANSARD_CATALOG_ROUNDS", "10000".to_owned()),
            ],
            repeat: "cargo test -p hansard-engine --test catalog -- --nocapture",
        },
    },
    Suite {
        name: "kills",
        share: 3,
        about: seconds(40),
        often: Often::Again,
        instead_of: None,
        program: "test kill",
        batch: |_, _| Batch {
            arguments: words("--nocapture --test-threads=1"),
            environment: vec![
                ("HANSARD_KILL_ROUNDS", "12".to_owned()),
                ("HANSARD_TEST_KEEP", "1".to_owned()),
            ],
            repeat: "cargo test --workspace --test kill -- --nocapture",
        },
    },
    Suite {
        name: "power cuts",
        share: 3,
        about: seconds(40),
        often: Often::Again,
        instead_of: None,
        program: "powercut",
        batch: |seed, batch| Batch {
            arguments: words(&format!("--rounds 16 --seconds 90 --seed {}", seed + batch)),
            environment: Vec::new(),
            repeat: "make powercut ARGS=",
        },
    },
    Suite {
        name: "tournament",
        share: 1,
        about: seconds(60),
        often: Often::Once,
        instead_of: None,
        program: "tournament",
        batch: |seed, _| Batch {
            arguments: words(&format!("--only hansard --trials {TRIALS} --json --seed {seed}")),
            environment: Vec::new(),
            repeat: "make tournament ARGS=",
        },
    },
];

impl Suite {
    /// The program of a batch.
    ///
    /// # Errors
    /// If it was not built.
    pub fn job(&self, programs: &Programs, seed: u64, batch: u64) -> Outcome<Job> {
        let Batch { arguments, mut environment, repeat } = (self.batch)(seed, batch);
        let program = programs.get(self.program);
        let program = program.ok_or_else(|| format!("cargo built no {}", self.program))?.clone();
        let mut line: String =
            environment.iter().map(|(name, value)| format!("{name}={value} ")).collect();
        line.push_str(repeat);
        if repeat.ends_with('=') {
            line.push_str(&format!("'{}'", arguments.join(" ")));
        }
        // What cargo says to its tests.
        let package = if self.program == "test kill" { top() } else { top().join("engine") };
        environment.push(("CARGO_MANIFEST_DIR", package.display().to_string()));
        Ok(Job { program, arguments, environment, repeat: line })
    }

    /// What a batch says that it tried, and what it found wrong although it ended well.
    #[must_use]
    pub fn read(&self, said: &str) -> (Tried, Option<String>) {
        if self.name == "tournament" {
            return verdicts(said);
        }
        let mut tried = counts(said);
        // Its tests say nothing of themselves; each makes so many.
        if self.name == "schedules" {
            let tests = said.lines().filter(|line| line.ends_with("... ok")).count() as u64;
            tried.insert("schedules".to_owned(), tests * SCHEDULES);
        }
        (tried, None)
    }
}

/// `N words`, `name: N` and `name=N` of the lines that count something.
fn counts(said: &str) -> Tried {
    let mut tried = Tried::new();
    let mut add = |name: &str, count: u64| *tried.entry(name.to_owned()).or_default() += count;
    for line in said.lines() {
        if let Some(tally) = line.strip_prefix("tally ") {
            for (name, count) in tally.split(' ').filter_map(|word| word.split_once('=')) {
                add(&name.replace('_', " "), count.parse().unwrap_or_default());
            }
        } else if let Some((name, count)) =
            line.strip_prefix("    ").and_then(|rest| rest.strip_suffix(',')?.split_once(": "))
        {
            if let Ok(count) = count.parse() {
                add(&name.replace('_', " "), count);
            }
        } else {
            for pair in line.split([' ', ',', ':']).collect::<Vec<_>>().windows(2) {
                let named = ["seeds", "kills", "posts", "crashes", "faults"];
                if let (Ok(count), true) = (pair[0].parse(), named.contains(&pair[1])) {
                    add(pair[1], count);
                }
            }
        }
    }
    tried
}

fn verdicts(said: &str) -> (Tried, Option<String>) {
    let mut tried = Tried::new();
    let said: Value = serde_json::from_str(said).unwrap_or_default();
    let trials = said["contestants"][0]["trials"].as_array().cloned().unwrap_or_default();
    for trial in &trials {
        let count = trial["trials"].as_array().map_or(1, Vec::len) as u64;
        *tried.entry("faults".to_owned()).or_default() += count;
        let verdict = trial["verdict"].as_str().unwrap_or_default().to_owned();
        *tried.entry(verdict).or_default() += count;
    }
    let wrong = tried.contains_key("silent") || tried.contains_key("crash");
    let wrong = wrong.then(|| "a fault passed in silence or ended in a crash".to_owned());
    let none = trials.is_empty().then(|| "no trial was made".to_owned());
    (tried, wrong.or(none))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_suites_say_is_counted() {
        let said = "400 seeds from 7: Tally {\n    power_cuts: 12,\n    faults: 3,\n}\n\
                    tally cuts=5 posts=10\n90 posts acknowledged across 2 kills";
        let tried = counts(said);
        let expected = [
            ("seeds", 400),
            ("power cuts", 12),
            ("faults", 3),
            ("cuts", 5),
            ("posts", 100),
            ("kills", 2),
        ];
        assert_eq!(tried, expected.map(|(name, count)| (name.to_owned(), count)).into());
    }

    #[test]
    fn a_silent_verdict_is_a_failure_and_no_trial_is_one() {
        let trial = r#"{"trials": [0, 3], "verdict": "silent"}"#;
        let said = format!(r#"{{"contestants": [{{"trials": [{trial}]}}]}}"#);
        assert_eq!(verdicts(&said).0["silent"], 2);
        assert!(verdicts(&said).1.is_some());
        assert!(verdicts(&said.replace("silent", "exact")).1.is_none());
        assert!(verdicts("").1.is_some());
    }
}
