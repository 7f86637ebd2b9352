//! Order statistics of samples.

use std::time::Duration;

use serde::Serialize;

/// What is told of a set of samples, in microseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Summary {
    /// How many samples.
    pub(crate) count: usize,
    /// The least.
    pub(crate) min: f64,
    /// The 5th percentile.
    pub(crate) p5: f64,
    /// The middle.
    pub(crate) median: f64,
    /// The 95th percentile.
    pub(crate) p95: f64,
    /// The 99th percentile.
    pub(crate) p99: f64,
    /// The greatest.
    pub(crate) max: f64,
}

impl Summary {
    /// Sorts and reads off; `None` of no samples.
    pub(crate) fn of(samples: &[Duration]) -> Option<Self> {
        let mut sorted: Vec<f64> = samples.iter().map(|s| s.as_secs_f64() * 1e6).collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let at = |q| quantile(&sorted, q);
        Some(Self {
            count: sorted.len(),
            min,
            p5: at(0.05),
            median: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            max,
        })
    }
}

/// By nearest rank: always a sample that was seen.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples() {
        let samples: Vec<Duration> = (1..=100).rev().map(Duration::from_micros).collect();
        let summary = Summary::of(&samples).expect("samples");
        assert_eq!((summary.min, summary.max), (1.0, 100.0));
        assert_eq!((summary.p5, summary.median, summary.p99), (5.0, 50.0, 99.0));
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(Summary::of(&samples[..1]).map(|s| s.p99), Some(100.0));
    }
}
