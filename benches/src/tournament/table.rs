//! The tournament's result as tables for people.
//!
//! Every number is counted by trials, so damage that several trials drew counts as often.

use std::fmt::Write;

use super::contestant::State;
use super::faults::Fault;
use super::run::{Plan, Score, Trial};
use super::verdict::{End, Readout, Verdict};

/// The lock file of this crate: which versions took part.
const LOCK: &str = include_str!("../../Cargo.lock");

impl Trial {
    fn times(&self) -> u64 {
        self.trials.len() as u64
    }

    fn readout(&self) -> Option<&Readout> {
        match &self.end {
            End::Read(readout) => Some(readout),
            End::Crash(_) => None,
        }
    }

    fn lost(&self) -> u64 {
        self.readout().map_or(0, Readout::lost)
    }
}

/// The version of a package that took part.
#[must_use]
pub fn version(package: &str) -> &'static str {
    let name = format!("name = \"{package}\"");
    let mut lines = LOCK.lines().skip_while(|line| *line != name);
    let version = lines.nth(1).and_then(|line| line.strip_prefix("version = "));
    version.map_or("?", |quoted| quoted.trim_matches('"'))
}

/// The whole report.
#[must_use]
pub fn report(plan: &Plan, results: &[Score]) -> String {
    let mut out = String::new();
    for state in &plan.states {
        summary(&mut out, plan, results, *state);
        by_fault(&mut out, plan, results, *state);
        worst(&mut out, plan, results, *state);
    }
    let _ = writeln!(out, "\nWho took part:\n");
    for result in results {
        let version = version(&result.package);
        let Score { title, package, settings, .. } = result;
        let _ = writeln!(out, "- {title} ({package} {version}): {settings}");
    }
    out
}

fn count(trials: &[&Trial], verdict: Verdict) -> u64 {
    trials.iter().filter(|t| t.verdict == verdict).map(|t| t.times()).sum()
}

fn in_state(result: &Score, state: State) -> Vec<&Trial> {
    result.trials.iter().filter(|trial| trial.state == state).collect()
}

/// A mean over trials, rounded; a dash if there are none.
fn mean(trials: &[&Trial], value: impl Fn(&Trial) -> u64) -> String {
    let times: u64 = trials.iter().map(|t| t.times()).sum();
    let sum: u64 = trials.iter().map(|t| t.times() * value(t)).sum();
    (sum + times / 2).checked_div(times).map_or_else(|| "-".into(), |mean| mean.to_string())
}

fn summary(out: &mut String, plan: &Plan, results: &[Score], state: State) {
    let what = match state {
        State::Log => "As after a crash: the messages are in the log",
        State::Tables => "At rest: the messages are in tables, closed cleanly",
    };
    let _ = writeln!(out, "\n### {what}\n");
    let _ = writeln!(
        out,
        "| of {} messages | trials | exact | reported | refused | silent | crash | \
         silently lost or changed, mean (worst) | readable after a found fault |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|",
        plan.messages
    );
    for result in results {
        if let Some((_, error)) = result.refuses_sound.iter().find(|(of, _)| *of == state) {
            let title = &result.title;
            let _ = writeln!(out, "| {title} | refuses without any fault: {error} | | | | | | | |");
            continue;
        }
        let trials = in_state(result, state);
        let all: u64 = trials.iter().map(|t| t.times()).sum();
        let _ = write!(out, "| {} | {all} |", result.title);
        for verdict in Verdict::ALL {
            let _ = write!(out, " {} |", count(&trials, verdict));
        }
        let with = |wanted: &[Verdict]| -> Vec<&Trial> {
            trials.iter().copied().filter(|t| wanted.contains(&t.verdict)).collect()
        };
        let silent = with(&[Verdict::Silent]);
        let worst = silent.iter().map(|t| t.lost()).max();
        let lost = worst.map_or_else(
            || "-".into(),
            |worst| format!("{} ({worst})", mean(&silent, Trial::lost)),
        );
        let found = with(&[Verdict::Reported, Verdict::Refused]);
        let readable = mean(&found, |t| t.readout().map_or(0, |readout| readout.equal));
        let _ = writeln!(out, " {lost} | {readable} |");
    }
}

/// Which faults were met with silence, and which with a crash.
fn by_fault(out: &mut String, plan: &Plan, results: &[Score], state: State) {
    let faults: Vec<Fault> =
        plan.faults.iter().copied().filter(|fault| fault.is_in(state)).collect();
    let names: Vec<&str> = faults.iter().map(|fault| fault.name()).collect();
    let _ = writeln!(out, "\nSilent + crashed, by fault ({} trials each):\n", plan.trials);
    let _ = writeln!(out, "| | {} |\n|---|{}", names.join(" | "), "--:|".repeat(faults.len()));
    for result in results {
        let trials = in_state(result, state);
        let _ = write!(out, "| {} |", result.title);
        for fault in &faults {
            let hit: Vec<&Trial> = trials.iter().copied().filter(|t| t.fault == *fault).collect();
            let silent = count(&hit, Verdict::Silent);
            let crashed = count(&hit, Verdict::Crash);
            let _ = match (silent, crashed) {
                (0, 0) => write!(out, " - |"),
                (silent, 0) => write!(out, " {silent} |"),
                (silent, crashed) => write!(out, " {silent} + {crashed} |"),
            };
        }
        let _ = writeln!(out);
    }
}

/// How to see the worst silent trial of each contestant again.
fn worst(out: &mut String, plan: &Plan, results: &[Score], state: State) {
    let _ = writeln!(out, "\nWorst silence of each:\n");
    for result in results {
        let trials = in_state(result, state);
        let silent = trials.iter().filter(|trial| trial.verdict == Verdict::Silent);
        let Some(worst) = silent.max_by_key(|trial| (trial.lost(), trial.fault)) else {
            continue;
        };
        let _ = writeln!(out, "- {}", line(plan, result, worst));
    }
}

/// One trial in a line: what was done, what came of it, and how to repeat it.
#[must_use]
pub fn line(plan: &Plan, result: &Score, trial: &Trial) -> String {
    let Trial { state, file, offset, damage, .. } = trial;
    let came = match &trial.end {
        End::Crash(how) => how.clone(),
        End::Read(readout) => {
            let mut came = format!("{} equal", readout.equal);
            let numbers = [
                ("named", readout.named),
                ("missing", readout.missing),
                ("changed", readout.changed),
                ("alien", readout.alien),
            ];
            for (word, number) in numbers.into_iter().filter(|(_, number)| *number > 0) {
                let _ = write!(came, ", {number} {word}");
            }
            let said = [&readout.open_error, &readout.read_error, &readout.complaint];
            for text in said.into_iter().flatten() {
                let _ = write!(came, "; {}", text.replace('\n', " "));
            }
            came
        }
    };
    let first = trial.trials.first().copied().unwrap_or_default();
    format!(
        "{} {}, {file} at {offset}: {damage}: {came}. `make tournament ARGS='--only {} \
         --state {state} --fault {} --trial {first} --seed {} --messages {}'`",
        result.title,
        trial.verdict.name(),
        result.key,
        trial.fault.name(),
        plan.seed,
        plan.messages,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(trials: &[u64], verdict: Verdict, missing: u64) -> Trial {
        Trial {
            state: State::Log,
            fault: Fault::Bit,
            trials: trials.to_vec(),
            file: "f".into(),
            offset: 7,
            damage: "bit 1 flipped".into(),
            end: End::Read(Readout { equal: 100 - missing, missing, ..Readout::default() }),
            verdict,
            took_ms: 1,
        }
    }

    #[test]
    fn trials_that_drew_the_same_damage_count_each() {
        let result = Score {
            key: "k".into(),
            title: "T".into(),
            package: "redb".into(),
            settings: "s".into(),
            refuses_sound: vec![],
            trials: vec![
                trial(&[0, 2, 3], Verdict::Silent, 10),
                trial(&[1], Verdict::Silent, 50),
                trial(&[4], Verdict::Exact, 0),
            ],
        };
        let plan = Plan {
            seed: 1,
            trials: 5,
            messages: 100,
            idle_ms: 0,
            load_ms: 0,
            only: vec![],
            states: vec![State::Log],
            faults: vec![Fault::Bit],
            trial: None,
            dir: "x".into(),
        };
        let text = report(&plan, &[result]);
        assert!(text.contains("| T | 5 | 1 | 0 | 0 | 4 | 0 | 20 (50) | - |"), "{text}");
        assert!(text.contains("| T | 4 |"), "{text}");
        assert!(text.contains("f at 7: bit 1 flipped: 50 equal, 50 missing"), "{text}");
        assert!(text.contains("--only k --state log --fault bit --trial 1 --seed 1"), "{text}");
    }

    #[test]
    fn versions_come_from_the_lock_file() {
        assert!(version("redb").starts_with(|c: char| c.is_ascii_digit()));
        assert_eq!(version("no such package"), "?");
    }
}
