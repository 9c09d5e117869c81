//! What was promised: each target a figure, whom it is compared with, and how much is enough.
//!
//! A target that no suite shows is not in the list; RESULTS.md names those it does not find.

use super::figures::{Better, Figure};
use super::limits::BARE;

/// How a target is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Need {
    /// Better than this contender by so many times, at least.
    Times(&'static str, f64),
    /// Of this contender's value at most (where less is better) or at least (where more is).
    Share(&'static str, f64),
    /// The value itself at most, or at least.
    Value(f64),
}

/// A promise about one figure.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub number: u8,
    pub figure: &'static str,
    /// None if there is only a stretch.
    pub must: Option<Need>,
    pub stretch: Option<Need>,
}

/// Whether Hansard keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Stretch,
    Met,
    Missed,
    /// There is no must, and the stretch is not reached.
    Short,
    NotMeasured,
}

impl Verdict {
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Stretch => "met, and the stretch",
            Self::Met => "met",
            Self::Missed => "MISSED",
            Self::Short => "stretch not reached",
            Self::NotMeasured => "not measured",
        }
    }
}

use Need::{Share, Times, Value};

const fn target(number: u8, figure: &'static str, must: Need, stretch: Option<Need>) -> Target {
    Target { number, figure, must: Some(must), stretch }
}

const fn stretch(number: u8, figure: &'static str, stretch: Need) -> Target {
    Target { number, figure, must: None, stretch: Some(stretch) }
}

/// All of them, in order of their numbers.
pub const ALL: [Target; 44] = [
    target(1, "append-writers-64", Times("raft-engine", 2.5), Some(Times("raft-engine", 4.0))),
    target(1, "append-writers-64", Times("rocksdb", 8.0), None),
    target(1, "append-writers-64", Times("postgres", 5.0), None),
    target(1, "append-writers-64", Times("sqlite", 15.0), None),
    target(1, "append-writers-64", Times("fjall", 15.0), None),
    stretch(1, "append-writers-256", Share(BARE, 0.9)),
    target(2, "append-writers-1-p50", Share(BARE, 1.25), Some(Share(BARE, 1.10))),
    target(3, "append-group-1024", Times("raft-engine", 3.0), None),
    target(3, "append-group-1024", Times("rocksdb", 5.0), Some(Value(1_500_000.0))),
    target(4, "append-bulk", Times("rocksdb", 1.0), Some(Times("rocksdb", 2.0))),
    target(4, "append-bulk", Times("rocksdb-dictionary", 1.0), None),
    target(4, "append-bulk", Times("fjall", 1.0), Some(Times("fjall", 2.0))),
    target(5, "space-bytes", Share("rocksdb", 0.5), Some(Share("rocksdb", 0.42))),
    target(5, "space-bytes", Share("rocksdb-dictionary", 0.8), None),
    target(5, "space-forgotten", Share("rocksdb", 0.5), Some(Share("rocksdb", 0.42))),
    target(5, "space-forgotten", Share("rocksdb-dictionary", 0.8), None),
    target(6, "history-last-cached-p50", Times("redb", 1.5), Some(Value(2.5))),
    target(6, "history-last-cached-p50", Times("rocksdb", 6.0), Some(Value(2.5))),
    target(6, "history-last-active-p50", Times("redb", 1.5), Some(Value(2.5))),
    target(6, "history-last-active-p50", Times("rocksdb", 6.0), Some(Value(2.5))),
    target(7, "history-last-decoded-p50", Times("rocksdb", 1.0), Some(Times("rocksdb", 1.5))),
    target(8, "history-before-time-p50", Times("rocksdb", 1.5), Some(Times("redb", 1.0))),
    target(9, "category-dense", Times("rocksdb", 3.0), Some(Value(0.3))),
    target(9, "category-sparse", Times("rocksdb", 0.5), None),
    target(9, "category-sparse-blocks", Value(1.0), None),
    target(10, "history-paging", Times("sqlite", 3.0), None),
    target(10, "history-paging", Times("postgres", 5.0), None),
    target(11, "recovery-reopen", Share("read and check", 1.5), None),
    target(11, "recovery-reopen-archive", Share("small archive", 1.2), None),
    target(12, "recovery-small-rooms-seconds", Value(30.0), Some(Value(10.0))),
    target(12, "recovery-small-rooms-bytes", Value(120.0), None),
    target(12, "recovery-small-rooms-files", Value(64.0), None),
    target(13, "recovery-idle-rooms", Value(128.0), Some(Value(64.0))),
    target(14, "space-amplification", Value(5.5), Some(Value(3.5))),
    target(14, "space-amplification", Share("rocksdb", 1.0), None),
    target(15, "space-hide-day", Value(100.0), Some(Times("postgres", 1000.0))),
    target(15, "space-drop-day", Value(100.0), Some(Times("postgres", 1000.0))),
    target(16, "append-acks-busy-p99", Share("idle", 3.0), Some(Share("idle", 1.5))),
    target(17, "append-proofs", Value(0.1), None),
    target(18, "history-writing-p99", Share("idle", 3.0), Some(Share("idle", 1.5))),
    target(19, "steady-owed", Share("first half", 1.5), None),
    target(20, "service-posts-64", Share("bare echo", 0.5), Some(Share("bare echo", 0.8))),
    target(21, "limits-verify-quick", Share("least limit", 0.7), None),
    target(21, "limits-verify", Share("least limit", 0.7), None),
];

/// What Hansard is called.
const OURS: &str = super::hansard::NAME;

impl Need {
    /// Whom it is compared with.
    #[must_use]
    pub const fn against(&self) -> Option<&'static str> {
        match self {
            Times(name, _) | Share(name, _) => Some(name),
            Value(_) => None,
        }
    }

    /// What was found, in the terms of the need; none if someone is missing.
    #[must_use]
    pub fn found(&self, figure: &Figure) -> Option<f64> {
        let ours = *figure.values.get(OURS)?;
        let Some(other) = self.against() else { return Some(ours) };
        let theirs = *figure.values.get(other)?;
        Some(match (self, figure.better) {
            (Times(..), Better::Less) => theirs / ours,
            _ => ours / theirs,
        })
    }

    /// Whether that is enough.
    #[must_use]
    pub fn is_met(&self, figure: &Figure) -> Option<bool> {
        let found = self.found(figure)?;
        Some(match self {
            Times(_, least) => found >= *least,
            Share(_, limit) | Value(limit) => match figure.better {
                Better::More => found >= *limit,
                Better::Less => found <= *limit,
            },
        })
    }

    /// As text: what is wanted.
    #[must_use]
    pub fn wanted(&self, figure: Option<&Figure>) -> String {
        let less = figure.is_none_or(|figure| figure.better == Better::Less);
        let word = if less { "at most" } else { "at least" };
        match self {
            Times(name, least) => format!("{least}x {name}"),
            Share(name, limit) => format!("{word} {limit}x {name}"),
            Value(limit) => format!("{word} {limit}"),
        }
    }
}

impl Target {
    /// What came of it.
    #[must_use]
    pub fn verdict(&self, figure: Option<&Figure>) -> Verdict {
        let met = |need: Need| figure.and_then(|figure| need.is_met(figure));
        match (self.must.map(met), self.stretch.and_then(met)) {
            (Some(None), _) | (None, None) => Verdict::NotMeasured,
            (Some(Some(false)), _) => Verdict::Missed,
            (_, Some(true)) => Verdict::Stretch,
            (Some(_), _) => Verdict::Met,
            (None, Some(false)) => Verdict::Short,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(better: Better, ours: f64, theirs: f64) -> Figure {
        Figure {
            id: "f".into(),
            title: String::new(),
            unit: String::new(),
            better,
            timed: None,
            values: [(OURS.to_owned(), ours), ("redb".to_owned(), theirs)].into(),
        }
    }

    #[test]
    fn ratios_are_of_what_is_better() {
        let rate = figure(Better::More, 300.0, 100.0);
        let time = figure(Better::Less, 2.0, 6.0);
        for figure in [&rate, &time] {
            assert_eq!(Times("redb", 1.0).found(figure), Some(3.0));
            assert_eq!(Times("redb", 3.1).is_met(figure), Some(false));
            assert_eq!(Times("nobody", 1.0).is_met(figure), None);
        }
        assert_eq!(Share("redb", 0.5).is_met(&time), Some(true), "a third, at most a half");
        assert_eq!(Share("redb", 4.0).is_met(&rate), Some(false), "three times, at least four");
        assert_eq!(Value(2.5).is_met(&time), Some(true));
    }

    #[test]
    fn a_verdict_says_must_and_stretch() {
        let target = target(1, "f", Times("redb", 2.0), Some(Times("redb", 4.0)));
        let verdict = |ours: f64| target.verdict(Some(&figure(Better::More, ours, 10.0)));
        assert_eq!(verdict(15.0), Verdict::Missed);
        assert_eq!(verdict(25.0), Verdict::Met);
        assert_eq!(verdict(45.0), Verdict::Stretch);
        assert_eq!(target.verdict(None), Verdict::NotMeasured);
    }
}
