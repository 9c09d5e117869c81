//! Turn by turn: what is compared is measured in rounds, so that drift of the machine hits all
//! alike, and the samples are then handed to criterion.
//!
//! Criterion runs a benchmark to its end before the next. So the samples are taken here, one of
//! each contender a round, and `iter_custom` plays them back: its estimates and intervals are
//! those of the samples. INVARIANT: every sample of a group is of the same number of operations.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode};
use hansard_peers::Outcome;

use super::size::Size;

/// Longer than criterion's warm-up and short beside everything else.
const PLAYBACK: Duration = Duration::from_micros(300);
const WARM_UP: Duration = Duration::from_micros(100);
const MEASUREMENT: Duration = Duration::from_millis(3);
/// Operations of one turn at most.
const COUNT_MAX: u64 = 1 << 20;

/// What a turn took.
#[derive(Clone, Debug, Default)]
pub struct Lap {
    pub took: Duration,
    /// Operations that were done.
    pub count: u64,
    /// How long single operations took, where that was noted.
    pub each: Vec<Duration>,
}

/// A contender: its name, and a turn of about so many operations.
pub struct Turn<'a> {
    pub name: String,
    pub work: Box<dyn FnMut(u64) -> Outcome<Lap> + 'a>,
}

impl<'a> Turn<'a> {
    pub fn new(name: &str, work: impl FnMut(u64) -> Outcome<Lap> + 'a) -> Self {
        Self { name: name.to_owned(), work: Box::new(work) }
    }

    /// Does an operation as often as asked, each noted by itself.
    pub fn each(name: &str, mut operation: impl FnMut() -> Outcome<()> + 'a) -> Self {
        Self::new(name, move |count| {
            let mut each = Vec::with_capacity(usize::try_from(count)?);
            let begun = Instant::now();
            let mut since = begun;
            for _ in 0..count {
                operation()?;
                let now = Instant::now();
                each.push(now - since);
                since = now;
            }
            Ok(Lap { took: since - begun, count, each })
        })
    }
}

/// What was taken of a contender.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// Nanoseconds an operation, of each round.
    pub samples: Vec<f64>,
    each: Vec<Duration>,
}

impl Taken {
    /// A percentile of single operations in microseconds; none if they were not noted.
    #[must_use]
    pub fn quantile_us(&self, percent: usize) -> Option<f64> {
        quantile_us(&mut self.each.clone(), percent)
    }
}

/// A percentile of what was noted, in microseconds; none of nothing.
#[must_use]
pub fn quantile_us(each: &mut [Duration], percent: usize) -> Option<f64> {
    each.sort_unstable();
    let at = each.len().checked_sub(1)? * percent / 100;
    each.get(at).map(|took| took.as_secs_f64() * 1e6)
}

/// Everyone's samples by name.
pub type Samples = BTreeMap<String, Taken>;

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn per_operation(lap: &Lap) -> f64 {
    lap.took.as_secs_f64() * 1e9 / (lap.count.max(1) as f64)
}

/// Operations that fill a turn, found by doing more and more of them.
fn calibrate(turn: &mut Turn<'_>, least: u64, wanted: Duration) -> Outcome<u64> {
    let mut count = least;
    loop {
        let lap = (turn.work)(count)?;
        if lap.took * 5 >= wanted || count >= COUNT_MAX {
            let factor = wanted.as_secs_f64() / lap.took.as_secs_f64().max(1e-9);
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "counts are positive and far below 2^53"
            )]
            let filled = (lap.count as f64 * factor) as u64;
            return Ok((filled / least * least).clamp(least, COUNT_MAX.max(least)));
        }
        count *= 4;
    }
}

/// Measures all contenders in rounds and hands the samples to criterion as `group`.
///
/// A turn has at least `least` operations, and a multiple of it.
///
/// # Errors
/// What a contender fails with.
pub fn compare(
    criterion: &mut Criterion,
    group: &str,
    size: Size,
    least: u64,
    mut turns: Vec<Turn<'_>>,
) -> Outcome<Samples> {
    let (mut counts, mut samples) = (Vec::new(), Samples::new());
    for turn in &mut turns {
        let count = calibrate(turn, least, size.turn);
        counts.push(count.map_err(|error| format!("{}: {error}", turn.name))?);
    }
    for _ in 0..size.rounds {
        for (turn, count) in turns.iter_mut().zip(&counts) {
            let lap = (turn.work)(*count).map_err(|error| format!("{}: {error}", turn.name))?;
            let taken = samples.entry(turn.name.clone()).or_default();
            taken.samples.push(per_operation(&lap));
            taken.each.extend(lap.each);
        }
    }
    let order = turns.iter().map(|turn| turn.name.clone()).collect::<Vec<_>>();
    play(criterion, group, &order, &samples);
    Ok(samples)
}

/// Hands samples to criterion.
fn play(criterion: &mut Criterion, group: &str, order: &[String], samples: &Samples) {
    let mut played = criterion.benchmark_group(group);
    played.sampling_mode(SamplingMode::Flat).sample_size(10);
    played.warm_up_time(WARM_UP).measurement_time(MEASUREMENT);
    for name in order {
        let taken = samples.get(name).map(|taken| taken.samples.as_slice()).unwrap_or_default();
        let mut next = taken.iter().cycle();
        played.bench_function(name.as_str(), |bencher| {
            bencher.iter_custom(|operations| {
                std::thread::sleep(PLAYBACK);
                let ns = next.next().copied().unwrap_or_default();
                #[expect(clippy::cast_precision_loss, reason = "a handful")]
                Duration::from_secs_f64(ns * operations as f64 / 1e9)
            });
        });
    }
    played.finish();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_filled_with_operations() {
        let mut calls = 0;
        let mut turn = Turn::new("a", |count| {
            calls += 1;
            let took = Duration::from_micros(10) * u32::try_from(count)?;
            Ok(Lap { took, count, each: Vec::new() })
        });
        let count = calibrate(&mut turn, 4, Duration::from_millis(1)).unwrap();
        drop(turn);
        assert_eq!((count, calls), (100, 3), "4, 16, 64 operations, and then known");
    }

    #[test]
    fn quantiles_are_of_single_operations() {
        let each = (1..=101).map(Duration::from_micros).collect();
        let taken = Taken { samples: vec![], each };
        assert_eq!(taken.quantile_us(50), Some(51.0));
        assert_eq!(taken.quantile_us(99), Some(100.0));
        assert_eq!(Taken::default().quantile_us(50), None);
    }
}
