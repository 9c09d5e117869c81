//! The suites' answers as text: criterion's estimates beside what the suites left.
//!
//! RESULTS.md is written anew but for what people wrote between its two marks. Ratios are Hansard's
//! advantage: above 1 it is better, below 1 it loses, and both stand there.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use super::figures::{Better, Figure, Suite};
use super::hansard;
use super::targets::{ALL, Need, Target, Verdict};
use crate::tournament::Outcome;

const BEGIN: &str = "<!-- tried: begin -->";
const END: &str = "<!-- tried: end -->";
/// The suites in the order of the report.
const ORDER: [&str; 8] =
    ["append", "history", "category", "recovery", "space", "limits", "service", "steady"];

/// Reads what the suites left and fills in what criterion found.
///
/// # Errors
/// If a file is there that cannot be read.
pub fn read(home: &Path) -> Outcome<Vec<Suite>> {
    let mut suites = Vec::new();
    for name in ORDER {
        let file = home.join("hansard").join(format!("{name}.json"));
        let Ok(text) = std::fs::read_to_string(file) else { continue };
        let mut suite: Suite = serde_json::from_str(&text)?;
        for figure in suite.figures.iter_mut().filter(|figure| figure.timed.is_some()) {
            estimates(home, figure)?;
        }
        suites.push(suite);
    }
    Ok(suites)
}

/// Takes the medians of criterion's group of the same name.
fn estimates(home: &Path, figure: &mut Figure) -> Outcome<()> {
    let Some(per) = figure.timed else { return Ok(()) };
    for entry in std::fs::read_dir(home.join(&figure.id))? {
        let folder = entry?.path().join("new");
        let (Ok(estimates), Ok(benchmark)) = (
            std::fs::read_to_string(folder.join("estimates.json")),
            std::fs::read_to_string(folder.join("benchmark.json")),
        ) else {
            continue;
        };
        let benchmark: Value = serde_json::from_str(&benchmark)?;
        let name = benchmark["function_id"].as_str().ok_or("a benchmark without a name")?;
        let ns = median_ns(&estimates)?;
        figure.values.insert(name.to_owned(), per.of_ns(ns));
    }
    Ok(())
}

/// The median in criterion's estimates.
///
/// # Errors
/// If there is none.
pub fn median_ns(estimates: &str) -> Outcome<f64> {
    let estimates: Value = serde_json::from_str(estimates)?;
    let median = &estimates["median"]["point_estimate"];
    Ok(median.as_f64().ok_or("criterion left no median")?)
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => {
            let digits = format!("{value:.0}");
            let mut grouped = String::new();
            for (at, digit) in digits.chars().enumerate() {
                if at > 0 && (digits.len() - at).is_multiple_of(3) {
                    grouped.push(',');
                }
                grouped.push(digit);
            }
            grouped
        }
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// How many times better Hansard is than another.
fn advantage(figure: &Figure, name: &str) -> Option<f64> {
    let (ours, theirs) = (figure.values.get(hansard::NAME)?, figure.values.get(name)?);
    Some(match figure.better {
        Better::More => ours / theirs,
        Better::Less => theirs / ours,
    })
}

fn table(out: &mut String, suite: &Suite) -> std::fmt::Result {
    let mut names: Vec<&str> = Vec::new();
    for figure in &suite.figures {
        for name in figure.values.keys().filter(|name| *name != hansard::NAME) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
    }
    names.sort_unstable();
    writeln!(out, "| figure | unit | hansard | {} |", names.join(" | "))?;
    writeln!(out, "|---|---|---|{}", "---|".repeat(names.len()))?;
    for figure in &suite.figures {
        let ours = figure.values.get(hansard::NAME).map_or_else(|| "-".into(), |v| number(*v));
        write!(out, "| {} | {} | {ours} |", figure.title, figure.unit)?;
        for name in &names {
            match (figure.values.get(*name), advantage(figure, name)) {
                (Some(value), Some(ratio)) => {
                    write!(out, " {} ({}x) |", number(*value), number(ratio))?;
                }
                (Some(value), None) => write!(out, " {} |", number(*value))?,
                (None, _) => write!(out, " - |")?,
            }
        }
        writeln!(out)?;
    }
    writeln!(out)
}

fn section(out: &mut String, suite: &Suite) -> std::fmt::Result {
    writeln!(out, "## {}: {}\n", suite.name, suite.question)?;
    writeln!(out, "In brackets: how many times better Hansard is; below 1 it loses.\n")?;
    table(out, suite)?;
    for condition in &suite.conditions {
        writeln!(out, "- {condition}")?;
    }
    let machine = suite.machine.iter().map(|(what, said)| format!("{what}: {said}"));
    let machine = machine.collect::<Vec<_>>().join("; ");
    writeln!(out, "- size: {}; {machine}\n", suite.size)
}

fn targets(out: &mut String, suites: &[Suite]) -> std::fmt::Result {
    writeln!(out, "## Targets\n")?;
    writeln!(out, "| # | figure | must | stretch | found | verdict |\n|---|---|---|---|---|---|")?;
    for target in &ALL {
        let Target { number: place, figure: id, must, stretch } = target;
        let figure = suites.iter().flat_map(|s| &s.figures).find(|figure| figure.id == *id);
        let title = figure.map_or(*id, |figure| figure.title.as_str());
        let need = must.or(*stretch);
        let found = figure.and_then(|figure| need?.found(figure));
        let found = found.map_or_else(|| "-".to_owned(), number);
        let wanted = |need: &Option<_>| need.map_or("-".into(), |need: Need| need.wanted(figure));
        let (must, stretch) = (wanted(must), wanted(stretch));
        let verdict = target.verdict(figure).word();
        writeln!(out, "| {place} | {title} | {must} | {stretch} | {found} | {verdict} |")?;
    }
    let count = |wanted: &[Verdict]| {
        let figure = |t: &Target| {
            suites.iter().flat_map(|s| &s.figures).find(|figure| figure.id == t.figure)
        };
        ALL.iter().filter(|t| wanted.contains(&t.verdict(figure(t)))).count()
    };
    let met = count(&[Verdict::Met, Verdict::Stretch]);
    let (missed, open) = (count(&[Verdict::Missed]), count(&[Verdict::NotMeasured]));
    writeln!(out, "\n{met} met, {missed} missed, {open} not measured.\n")
}

fn settings(out: &mut String, suites: &[Suite]) -> std::fmt::Result {
    writeln!(out, "## How each store is opened\n")?;
    let Some(suite) = suites.first() else { return Ok(()) };
    for (name, said) in &suite.settings {
        writeln!(out, "- {name}: {said}")?;
    }
    writeln!(out)
}

/// The report, with the hand-written part of the old one.
///
/// # Errors
/// If it cannot be put together.
pub fn write(suites: &[Suite], old: &str) -> Outcome<String> {
    let mut out = String::from(
        "# Hansard's engine beside its peers\n\nWritten by `make bench`; only what stands between \
         the two marks is kept. Absolute numbers are of one machine: compare ratios.\n\n",
    );
    targets(&mut out, suites)?;
    for suite in suites {
        section(&mut out, suite)?;
    }
    settings(&mut out, suites)?;
    writeln!(out, "## What was tried\n\n{BEGIN}{}{END}", kept(old))?;
    Ok(out)
}

/// What people wrote.
fn kept(old: &str) -> &str {
    let between = old.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END));
    between.map_or("\n", |(kept, _)| kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hand_written_part_stays() {
        let old = format!("# x\n{BEGIN}\n- a thing, it gave 3%\n{END}\n");
        let new = write(&[], &old).unwrap();
        assert!(new.contains("- a thing, it gave 3%"));
        assert_eq!(write(&[], &new).unwrap(), new);
        assert!(write(&[], "").unwrap().contains(BEGIN));
    }

    #[test]
    fn criterions_median_is_found() {
        let estimates = r#"{"mean":{"point_estimate":3.0},"median":{"point_estimate":2.5}}"#;
        assert_eq!(median_ns(estimates).unwrap(), 2.5);
        assert!(median_ns("{}").is_err());
    }

    #[test]
    fn numbers_are_for_people() {
        assert_eq!(number(1_234_567.0), "1,234,567");
        assert_eq!(number(999.94), "999.9");
        assert_eq!(number(0.304), "0.30");
    }
}
