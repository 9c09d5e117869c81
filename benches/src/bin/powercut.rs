//! Power cuts: `make powercut`, or `make powercut ARGS='--rounds 10 --seed 7'`. Needs root.
//!
//! This is its command line; `powercut` in the library is the rest. It runs in mounts of its own,
//! so that nothing it mounts is seen outside or outlives it.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use hansard_benches::powercut::round::{Plan, Rounds, Tally};
use hansard_benches::tournament::Outcome;

const USAGE: &str = "\
usage: powercut [--rounds N] [--seed N] [--posters N] [--seconds N] [--programs DIR] [--keep DIR]
                [--aloud] [--lie]
  --rounds N      cuts under load (default 50); a start after one may be cut, too
  --seed N        what is cut when, and what survives (default: from the clock)
  --seconds N     no round begins after so long (default 600)
  --programs DIR  the folder of hansard and hansard-tool (default: that of this program)
  --keep DIR      where the disk of a failed round is kept (default: the temporary folder)
  --aloud         a line for each cut
  --lie           the disk says that the journal is synced and it is not: must fail";
/// Set in the process that has mounts of its own.
const INNER: &str = "POWERCUT_INNER";

fn main() -> Outcome<()> {
    if !rustix::process::geteuid().is_root() {
        return Err("powercut mounts a file system: run it as root".into());
    }
    if std::env::var_os(INNER).is_none() {
        let mut inner = Command::new("unshare");
        inner.args(["--mount", "--propagation", "private"]).arg(std::env::current_exe()?);
        let status = inner.args(std::env::args_os().skip(1)).env(INNER, "1").status()?;
        std::process::exit(status.code().unwrap_or(1));
    }
    let folder = tempfile::Builder::new().prefix("powercut-").tempdir()?;
    let (plan, keep) = parse(folder.path().to_path_buf())?;
    let (seed, begun) = (plan.seed, Instant::now());
    println!("seed {seed}, {} rounds", plan.rounds);
    let mut rounds = Rounds::new(plan.clone()).map_err(|error| {
        let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        format!("seed {seed}: the first start failed: {error}\n{log}")
    })?;
    let failed = run(&mut rounds, &plan, begun);
    print(&rounds.tally, begun.elapsed());
    for failure in &rounds.tally.failures {
        eprintln!("seed {seed}: {failure}");
    }
    let Err((at, error)) = failed else {
        let failed = !rounds.tally.failures.is_empty();
        drop((rounds, folder));
        std::process::exit(i32::from(failed));
    };
    let keep = keep.join(format!("powercut-failed-{seed}-{at}"));
    rounds.keep(&keep)?;
    eprintln!(
        "seed {seed}, round {at} failed: {error}\n  the disk and the log are in {keep:?}\n  repeat \
         it with\n  make powercut ARGS='--seed {seed} --rounds {}'",
        plan.rounds
    );
    drop((rounds, folder));
    std::process::exit(1);
}

fn run(rounds: &mut Rounds, plan: &Plan, begun: Instant) -> Result<(), (String, String)> {
    for round in 0..plan.rounds {
        if begun.elapsed() > plan.within {
            println!("time is over after {round} rounds");
            break;
        }
        rounds.round(round).map_err(|error| (round.to_string(), error.to_string()))?;
        if plan.aloud {
            println!("round {round}: {} acknowledged", rounds.tally.acknowledged);
        }
    }
    rounds.end().map_err(|error| ("end".to_owned(), error.to_string()))
}

fn print(tally: &Tally, took: Duration) {
    println!(
        "{} rounds in {:.0} s: {} power cuts, {} of them during a start; {} failed syncs; \
         {} imports cut; verify clean {} times",
        tally.rounds,
        took.as_secs_f64(),
        tally.cuts,
        tally.cuts_in_starts,
        tally.failed_syncs,
        tally.imports,
        tally.verified
    );
    println!(
        "{} posts acknowledged, {} without an answer found kept, {} sent again, {} tokens; \
         slowest start {:.1} s",
        tally.acknowledged,
        tally.found_later,
        tally.resent,
        tally.tokens,
        tally.slowest_start.as_secs_f64()
    );
    let lost = tally.lost;
    println!(
        "disk: {} changes, {} syncs; at the cuts {} unsynced writes ({} lost or torn), {} unsynced \
         names ({} lost)",
        tally.disk_changes,
        tally.disk_syncs,
        lost.writes,
        lost.writes_lost,
        lost.names,
        lost.names_lost
    );
    println!(
        "tally cuts={} cuts_in_starts={} failed_syncs={} posts={}",
        tally.cuts, tally.cuts_in_starts, tally.failed_syncs, tally.acknowledged
    );
    for (mode, count) in &tally.modes {
        println!("  {count:3} cuts with {mode}");
    }
}

fn parse(folder: PathBuf) -> Outcome<(Plan, PathBuf)> {
    let programs = std::env::current_exe()?.parent().ok_or("no folder of programs")?.to_owned();
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    let mut keep = std::env::temp_dir();
    let mut plan = Plan {
        seed: clock,
        rounds: 50,
        posters: 16,
        within: Duration::from_secs(600),
        programs,
        logs: PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../server/tests/data"),
        folder,
        aloud: false,
        lie: false,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        if name == "--help" {
            println!("{USAGE}");
            std::process::exit(0);
        }
        if name == "--aloud" {
            plan.aloud = true;
            continue;
        }
        if name == "--lie" {
            plan.lie = true;
            continue;
        }
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value\n{USAGE}"))?;
        match name.as_str() {
            "--rounds" => plan.rounds = value.parse()?,
            "--seed" => plan.seed = value.parse()?,
            "--posters" => plan.posters = value.parse()?,
            "--seconds" => plan.within = Duration::from_secs(value.parse()?),
            "--programs" => plan.programs = value.into(),
            "--keep" => keep = value.into(),
            _ => return Err(format!("unknown argument {name}\n{USAGE}").into()),
        }
    }
    Ok((plan, keep))
}
