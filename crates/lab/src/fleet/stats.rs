//! Means over seeds with their intervals, and percentiles.
//!
//! Must never hide how many values a mean is made of.

use serde::Serialize;

/// A mean over seeds, with half the width of its 95 % confidence interval (Student's t).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// Half the width of the interval; absent for a single value.
    pub half: Option<f64>,
    /// Of how many values.
    pub count: usize,
}

/// The 0.975 quantile of Student's t for 1, 2, 3, … degrees of freedom (any table; Fisher and
/// Yates 1938). Beyond, the series below is closer than a thousandth.
const QUANTILES: [f64; 10] =
    [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];

/// The 0.975 quantile of the normal distribution.
const NORMAL: f64 = 1.959_964;

/// The 0.975 quantile of Student's t.
fn quantile(freedom: usize) -> f64 {
    let tabulated = freedom.checked_sub(1).and_then(|index| QUANTILES.get(index));
    tabulated.copied().unwrap_or_else(|| {
        // Cornish and Fisher's expansion in 1/n (Abramowitz and Stegun 26.7.5).
        let (z, n) = (NORMAL, freedom.max(1) as f64);
        let first = (z.powi(3) + z) / 4.0;
        let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
        z + first / n + second / (n * n)
    })
}

impl Estimate {
    /// Of these values.
    pub fn of(values: &[f64]) -> Self {
        let count = values.len();
        let mean = values.iter().sum::<f64>() / count.max(1) as f64;
        let half = (count > 1).then(|| {
            let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
            let freedom = count - 1;
            quantile(freedom) * (squares / freedom as f64 / count as f64).sqrt()
        });
        Self { mean, half, count }
    }

    /// The same times a factor.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        let half = self.half.map(|half| half * factor.abs());
        Self { mean: self.mean * factor, half, ..self }
    }

    /// Whether zero lies outside the interval: the sign of a difference is more than chance.
    pub fn is_clear(&self) -> bool {
        self.half.is_some_and(|half| self.mean.abs() > half)
    }
}

/// The value that a share of all do not exceed (nearest rank); `None` of nothing. The values are
/// ascending.
pub(crate) fn percentile<T: Copy>(ascending: &[T], share: f64) -> Option<T> {
    let rank = (ascending.len() as f64 * share).ceil() as usize;
    ascending.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_student() {
        let estimate = Estimate::of(&[1.0, 2.0, 3.0, 4.0]);
        assert!((estimate.mean - 2.5).abs() < 1e-12);
        // 3.182 * sqrt(5/3) / 2
        assert!((estimate.half.unwrap() - 2.054).abs() < 1e-3, "{estimate:?}");
        assert_eq!(Estimate::of(&[7.0]).half, None);
        assert!(estimate.is_clear() && !Estimate::of(&[-1.0, 1.0]).is_clear());
        for (freedom, value) in [(19, 2.093), (29, 2.045), (99, 1.984)] {
            assert!((quantile(freedom) - value).abs() < 1e-3, "{freedom}: {}", quantile(freedom));
        }
    }

    #[test]
    fn percentiles_are_values_that_occur() {
        let values: Vec<u32> = (1..=200).collect();
        assert_eq!(percentile(&values, 0.5), Some(100));
        assert_eq!(percentile(&values, 0.99), Some(198));
        assert_eq!(percentile(&values, 1.0), Some(200));
        assert_eq!(percentile(&values[..1], 0.01), Some(1));
        assert_eq!(percentile::<u32>(&[], 0.5), None);
    }
}
