//! Zipf's law over rooms: the n-th most popular is talked in 1/n as often as the first.
//!
//! Which room a draw gives is a function of the draw alone, so a workload comes out the same again.

use crate::tournament::seed::Draw;

/// Fractions of a draw: 2^53, which a float holds exactly.
const STEPS: u64 = 1 << 53;

/// Ranks from 0, drawn by popularity.
#[derive(Clone, Debug)]
pub struct Zipf {
    /// The share of each rank and of those before it, times that of the first.
    sums: Vec<f64>,
}

impl Zipf {
    /// Of so many ranks.
    #[must_use]
    pub fn new(ranks: u32) -> Self {
        let mut sum = 0.0;
        let share = |rank: u32| {
            sum += 1.0 / f64::from(rank);
            sum
        };
        Self { sums: (1..=ranks.max(1)).map(share).collect() }
    }

    /// A rank.
    #[expect(clippy::cast_precision_loss, reason = "below 2^53 nothing is lost")]
    pub fn draw(&self, draw: &mut Draw) -> u32 {
        let all = self.sums.last().copied().unwrap_or(1.0);
        let wanted = draw.below(STEPS) as f64 / STEPS as f64 * all;
        let rank = self.sums.partition_point(|sum| *sum <= wanted);
        u32::try_from(rank.min(self.sums.len() - 1)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn popularity_falls_with_the_rank() {
        let zipf = Zipf::new(1000);
        let mut counts = vec![0_u32; 1000];
        let mut draw = Draw::of(&[5]);
        for _ in 0..100_000 {
            counts[zipf.draw(&mut draw) as usize] += 1;
        }
        let first = f64::from(counts[0]);
        assert!((first / 100_000.0 - 1.0 / 7.485).abs() < 0.01, "{first}");
        assert!((first / f64::from(counts[9]) - 10.0).abs() < 1.5, "{}", counts[9]);
        assert!(counts.iter().filter(|count| **count > 0).count() > 950);
    }

    #[test]
    fn one_rank_is_always_drawn() {
        assert_eq!(Zipf::new(1).draw(&mut Draw::of(&[1])), 0);
        assert_eq!(Zipf::new(0).draw(&mut Draw::of(&[1])), 0);
    }
}
