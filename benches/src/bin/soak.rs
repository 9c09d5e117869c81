//! The soak: `make soak`, or `make soak SOAK_MINUTES=10 ARGS='--seed 7'`. Needs root, as power cuts
//! mount a file system.
//!
//! This is its command line; `soak` in the library is the rest. The time begins when everything is
//! built. It exits with 1 if anything failed, and with 130 if it was ended before its time.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use hansard_benches::soak::course::{Plan, run};
use hansard_benches::soak::suites::SUITES;
use hansard_benches::soak::{programs, table};
use hansard_benches::tournament::Outcome;
use signal_hook::consts::{SIGINT, SIGTERM};

const USAGE: &str = "\
usage: soak [--minutes N] [--seed N] [--only SUITE]... [--keep DIR]
  --minutes N   how long (default 60), building not counted
  --seed N      where the seeds of all suites begin (default: from the clock)
  --only SUITE  one of the suites of the table
  --keep DIR    where failed batches are kept (default: in the temporary folder)";

fn main() -> Outcome<()> {
    let folder = tempfile::Builder::new().prefix("soak-").tempdir()?;
    let plan = parse(folder.path().to_path_buf())?;
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&plan.stop))?;
    }
    let begun = Instant::now();
    let programs = programs::build()?;
    println!("built in {} s", begun.elapsed().as_secs());
    println!("seed {}, {} minutes", plan.seed, plan.time.as_secs() / 60);
    let report = run(&plan, &programs)?;
    print!("{}", table::report(&plan, &report));
    drop(folder);
    let stopped = plan.stop.load(Ordering::Relaxed);
    if stopped {
        println!("\nit was told to end before its time");
    }
    std::process::exit(if stopped { 130 } else { i32::from(!report.failures.is_empty()) });
}

fn parse(folder: PathBuf) -> Outcome<Plan> {
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    let mut plan = Plan {
        seed: clock,
        time: Duration::from_secs(60 * 60),
        only: Vec::new(),
        folder,
        keep: PathBuf::new(),
        stop: Arc::default(),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        if name == "--help" {
            println!("{USAGE}");
            std::process::exit(0);
        }
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value\n{USAGE}"))?;
        match name.as_str() {
            "--minutes" => plan.time = Duration::from_secs(60 * value.parse::<u64>()?),
            "--seed" => plan.seed = value.parse()?,
            "--keep" => plan.keep = value.into(),
            "--only" if SUITES.iter().any(|suite| suite.name == value) => plan.only.push(value),
            _ => return Err(format!("unknown argument {name} {value}\n{USAGE}").into()),
        }
    }
    if plan.keep.as_os_str().is_empty() {
        plan.keep = std::env::temp_dir().join(format!("soak-failed-{}", plan.seed));
    }
    Ok(plan)
}
