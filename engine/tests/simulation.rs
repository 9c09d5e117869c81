//! The simulation: seeds in CI, a campaign when asked.
//!
//! `HANSARD_SIM_FROM` and `HANSARD_SIM_SEEDS` say which seeds; a seed that fails is printed with
//! the command that repeats it and prints its trace.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod model;
mod support;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use model::{Choices, Tally, run, run_to_equal_rows};

/// Seeds of a plain run.
const SEEDS: u64 = 200;
/// Scenarios whose rows are compared in a plain run.
const ROWS_SEEDS: u64 = 1000;
/// Failures after which a campaign stops.
const FAILURES_MAX: usize = 5;

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")),
        Err(_) => default,
    }
}

fn campaign(from: u64, count: u64, test: &str, one: impl Fn(Choices) -> Tally + Sync) {
    let next = AtomicU64::new(from);
    let total = Mutex::new(Tally::default());
    let failed = Mutex::new(Vec::new());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= from + count || failed.lock().unwrap().len() >= FAILURES_MAX {
                return;
            }
            let one = std::panic::AssertUnwindSafe(|| one(Choices::of_seed(seed)));
            match std::panic::catch_unwind(one) {
                Ok(tally) => *total.lock().unwrap() += tally,
                Err(_) => failed.lock().unwrap().push(seed),
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    for seed in failed.lock().unwrap().iter() {
        eprintln!(
            "seed {seed} failed; repeat it with\n  HANSARD_SIM_FROM={seed} HANSARD_SIM_SEEDS=1 \
             HANSARD_SIM_ALOUD=1 \\\n  cargo test -p hansard-engine --test simulation {test} -- \
             --nocapture"
        );
    }
    println!("{count} seeds from {from}: {:#?}", total.lock().unwrap());
    assert!(failed.lock().unwrap().is_empty(), "seeds failed: {:?}", failed.lock().unwrap());
}

#[test]
fn every_seed_keeps_what_was_acknowledged_or_names_the_loss() {
    let (from, count) = (number("HANSARD_SIM_FROM", 0), number("HANSARD_SIM_SEEDS", SEEDS));
    campaign(from, count, "every_seed", |choices| run(choices).0);
}

#[test]
fn the_same_records_under_other_settings_and_clocks_end_with_equal_rows() {
    let (from, count) = (number("HANSARD_SIM_FROM", 0), number("HANSARD_ROWS_SEEDS", ROWS_SEEDS));
    campaign(from, count, "the_same_records", |choices| run_to_equal_rows(choices).0);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [3, 14, 15, 92, 65] {
        let (_, first) = run(Choices::of_seed(seed));
        let (_, second) = run(Choices::of_seed(seed));
        assert!(first.lines().count() > 3, "seed {seed} did nothing");
        assert_eq!(first, second, "seed {seed}");
    }
}
