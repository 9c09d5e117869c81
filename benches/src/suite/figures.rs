//! What a suite leaves for the report: its question, its figures, and under which conditions.
//!
//! A figure that criterion timed names criterion's group, and the report takes the estimates from
//! there; others bring their values. INVARIANT: a figure says which way is better.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hansard_peers::{Budget, CacheState};
use serde::{Deserialize, Serialize};

use super::field::{self, Who};
use super::machine;
use super::size::Size;
use super::turns::Samples;
use crate::tournament::Outcome;

/// Where criterion leaves what it found, and the suites beside it.
pub const VARIABLE: &str = "CRITERION_HOME";

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Better {
    More,
    Less,
}

/// How nanoseconds an operation become a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Per {
    /// Operations a second.
    Second,
    /// Microseconds an operation.
    Operation,
    /// An operation is a MiB: those a second.
    MibSecond,
}

impl Per {
    /// Of nanoseconds an operation.
    #[must_use]
    pub fn of_ns(self, ns: f64) -> f64 {
        match self {
            Self::Second => 1e9 / ns.max(1e-9),
            Self::Operation => ns / 1e3,
            Self::MibSecond => 1e9 / ns.max(1e-9),
        }
    }

    const fn unit(self) -> (&'static str, Better) {
        match self {
            Self::Second => ("msgs/s", Better::More),
            Self::Operation => ("us", Better::Less),
            Self::MibSecond => ("MiB/s", Better::More),
        }
    }
}

/// One figure of everyone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    pub id: String,
    pub title: String,
    pub unit: String,
    pub better: Better,
    /// Criterion's group, if criterion timed it.
    pub timed: Option<Per>,
    pub values: BTreeMap<String, f64>,
}

/// What a suite leaves.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Suite {
    pub name: String,
    pub question: String,
    pub size: String,
    pub machine: BTreeMap<String, String>,
    /// Durability, cache state, budgets, the texts.
    pub conditions: Vec<String>,
    pub settings: BTreeMap<String, String>,
    pub figures: Vec<Figure>,
}

/// The folder of criterion's results.
#[must_use]
pub fn home() -> PathBuf {
    let own = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/criterion");
    std::env::var_os(VARIABLE).map_or_else(own, PathBuf::from)
}

/// Where the suites leave theirs.
#[must_use]
pub fn folder() -> PathBuf {
    home().join("hansard")
}

fn mib(bytes: usize) -> usize {
    bytes / 1_048_576
}

/// Who allocates.
const ALLOCATOR: &str = if cfg!(feature = "malloc") {
    "allocator: jemalloc, for engines in C and C++ too"
} else {
    "allocator: jemalloc in Rust, malloc elsewhere"
};

impl Suite {
    /// Of the machine and the budgets as they are.
    ///
    /// # Errors
    /// If the run's folder cannot be made.
    pub fn new(name: &str, question: &str, size: Size, who: &[Who]) -> Outcome<Self> {
        let (warm, starved) = (Budget::of(CacheState::Warm), Budget::of(CacheState::Starved));
        let settings = who.iter().map(|who| (who.name().to_owned(), who.settings().to_owned()));
        let budgets = format!(
            "budgets of each engine: {} MiB of caches ({} MiB where starved) and {} MiB of writes",
            mib(warm.cache_bytes),
            mib(starved.cache_bytes),
            mib(warm.write_bytes)
        );
        Ok(Self {
            name: name.to_owned(),
            question: question.to_owned(),
            size: size.name.to_owned(),
            machine: machine::describe(&field::root()?),
            conditions: vec![budgets, ALLOCATOR.to_owned()],
            settings: settings.collect(),
            figures: Vec::new(),
        })
    }

    /// Says a condition.
    pub fn say(&mut self, condition: impl Into<String>) {
        self.conditions.push(condition.into());
    }

    /// A figure that criterion timed in the group of the same name.
    pub fn timed(&mut self, id: &str, title: &str, per: Per) {
        let (unit, better) = per.unit();
        self.figures.push(Figure {
            id: id.to_owned(),
            title: title.to_owned(),
            unit: unit.to_owned(),
            better,
            timed: Some(per),
            values: BTreeMap::new(),
        });
    }

    /// A figure with its values.
    pub fn given(
        &mut self,
        (id, title, unit): (&str, &str, &str),
        better: Better,
        values: impl IntoIterator<Item = (String, f64)>,
    ) {
        self.figures.push(Figure {
            id: id.to_owned(),
            title: title.to_owned(),
            unit: unit.to_owned(),
            better,
            timed: None,
            values: values.into_iter().collect(),
        });
    }

    /// Percentiles of everyone's single operations, where those were noted.
    pub fn percentiles(&mut self, (id, title): (&str, &str), samples: &Samples, of: &[usize]) {
        for percent in of {
            let values = samples
                .iter()
                .filter_map(|(name, taken)| Some((name.clone(), taken.quantile_us(*percent)?)));
            let (id, title) = (format!("{id}-p{percent}"), format!("{title}, p{percent}"));
            self.given((&id, &title, "us"), Better::Less, values);
        }
    }

    /// Leaves it for the report.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn leave(&self) -> Outcome<()> {
        std::fs::create_dir_all(folder())?;
        let file = folder().join(format!("{}.json", self.name));
        std::fs::write(file, serde_json::to_string_pretty(self)?)?;
        Ok(())
    }
}
