//! What the soak says at its end.
//!
//! A suite that had no time says so: nothing is left out in silence.

use std::fmt::Write;

use super::course::{Plan, Report};
use super::suites::SUITES;

/// The table, and how to repeat what failed.
#[must_use]
pub fn report(plan: &Plan, report: &Report) -> String {
    let mut text = String::new();
    let minutes = report.took.as_secs_f64() / 60.0;
    // Writing into a string does not fail.
    let _ = writeln!(text, "\nseed {}, {minutes:.1} minutes\n", plan.seed);
    text.push_str("| suite | runs | tried | failures | seconds |\n|---|---|---|---|---|\n");
    for (suite, score) in SUITES.iter().zip(&report.scores) {
        let asked = plan.only.is_empty() || plan.only.iter().any(|name| name == suite.name);
        let full = suite.instead_of.is_some() && score.ended + score.cut_short == 0;
        if !asked || full {
            continue;
        }
        let mut runs = score.ended.to_string();
        if score.cut_short > 0 {
            let _ = write!(runs, " and {} cut short", score.cut_short);
        }
        let tried: Vec<String> =
            score.tried.iter().map(|(name, count)| format!("{count} {name}")).collect();
        let tried = match (score.ended + score.cut_short, tried.is_empty()) {
            (0, _) => format!("not run: it takes about {} s", suite.about.as_secs()),
            (_, true) => "see the suite".to_owned(),
            _ => tried.join(", "),
        };
        let (failed, took) = (score.failed, score.took.as_secs());
        let _ = writeln!(text, "| {} | {runs} | {tried} | {failed} | {took} |", suite.name);
    }
    for failure in &report.failures {
        let (suite, why) = (failure.suite, &failure.why);
        let (repeat, kept) = (&failure.repeat, failure.kept.display());
        let _ = writeln!(text, "\n{suite} failed: {why}\n  repeat: {repeat}\n  its words: {kept}");
    }
    text
}
