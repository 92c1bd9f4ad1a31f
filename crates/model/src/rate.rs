//! Rates of requests and latencies as whole numbers, so that no rounding reaches a decision.
//!
//! Must never be made from a float: text becomes digits, digits become millionths.

use core::fmt;
use core::iter::Sum;
use core::str::FromStr;

/// Requests per second, in millionths: `0.25` is 250,000.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(u64);

/// Microseconds from a request's start on the GPU to its result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(u64);

const UNIT: u64 = 1_000_000;

/// Why a number did not parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// Not digits with at most one point.
    #[error("write it in digits, such as 12 or 12.5")]
    Form,
    /// More than fits.
    #[error("it is too large")]
    Range,
    /// A time without a unit, or with another one.
    #[error("write a number and ms or s, such as 200ms or 1.5s")]
    Unit,
}

impl Rate {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Wraps millionths of a request per second.
    pub const fn from_millionths(millionths: u64) -> Self {
        Self(millionths)
    }

    /// Millionths of a request per second.
    pub const fn millionths(self) -> u64 {
        self.0
    }

    /// So many times the rate; saturates.
    #[must_use]
    pub const fn times(self, count: u64) -> Self {
        Self(self.0.saturating_mul(count))
    }

    /// The rate with `percent` more, rounded up; saturates.
    #[must_use]
    pub fn with_headroom(self, percent: u32) -> Self {
        self.percent(percent.saturating_add(100))
    }

    /// So many percent of the rate, rounded up; saturates.
    #[must_use]
    pub fn percent(self, percent: u32) -> Self {
        let part = (u128::from(self.0) * u128::from(percent)).div_ceil(100);
        Self(u64::try_from(part).unwrap_or(u64::MAX))
    }

    /// How many percent `self` is more than `rate`, rounded down; `None` against a rate of zero.
    pub fn percent_over(self, rate: Self) -> Option<u64> {
        let over = u128::from(self.0.saturating_sub(rate.0)) * 100;
        over.checked_div(u128::from(rate.0)).and_then(|percent| u64::try_from(percent).ok())
    }

    /// The sum; saturates.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for Rate {
    fn sum<I: Iterator<Item = Self>>(rates: I) -> Self {
        rates.fold(Self::ZERO, Self::plus)
    }
}

impl FromStr for Rate {
    type Err = NumberError;

    /// Digits beyond the sixth after the point are dropped.
    fn from_str(text: &str) -> Result<Self, NumberError> {
        millionths(text).map(Self)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        decimal(self.0, f)
    }
}

impl Micros {
    /// Wraps microseconds.
    pub const fn new(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// A share of it in thousandths, rounded down.
    #[must_use]
    pub fn share(self, thousandths: u32) -> Self {
        let part = u128::from(self.0) * u128::from(thousandths) / 1000;
        Self(u64::try_from(part).unwrap_or(u64::MAX))
    }

    /// The shortest time of which `thousandths` is more than this one; `None` for a share of zero.
    #[must_use]
    pub fn whole_of(self, thousandths: u32) -> Option<Self> {
        let whole = (u128::from(self.0) + 1) * 1000;
        let whole = whole.div_ceil(u128::from(core::num::NonZeroU32::new(thousandths)?.get()));
        Some(Self(u64::try_from(whole).unwrap_or(u64::MAX)))
    }

    /// Reads milliseconds, `13` or `13.5`; what is less than a microsecond rounds up.
    ///
    /// # Errors
    /// [`NumberError`].
    pub fn from_millis_text(text: &str) -> Result<Self, NumberError> {
        millionths(text).map(|nanos| Self(nanos.div_ceil(1000)))
    }

    /// Reads a time with its unit: `13.5ms`, `2s`, `800us`.
    ///
    /// # Errors
    /// [`NumberError::Unit`] without one, else as [`Micros::from_millis_text`].
    pub fn from_text(text: &str) -> Result<Self, NumberError> {
        let text = text.trim();
        let number = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let parts = millionths(number)?;
        let nanos = match text.get(number.len()..).unwrap_or("") {
            "us" => parts.div_ceil(1000),
            "ms" => parts,
            "s" => parts.checked_mul(1000).ok_or(NumberError::Range)?,
            _ => return Err(NumberError::Unit),
        };
        Ok(Self(nanos.div_ceil(1000)))
    }
}

/// Milliseconds: `13.5`.
impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        decimal(self.0.saturating_mul(1000), f)
    }
}

/// Millionths as a decimal number without zeros at its end.
fn decimal(value: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (whole, rest) = (value / UNIT, value % UNIT);
    if rest == 0 {
        return f.pad(&alloc::format!("{whole}"));
    }
    let text = alloc::format!("{whole}.{rest:06}");
    f.pad(text.trim_end_matches('0'))
}

fn millionths(text: &str) -> Result<u64, NumberError> {
    let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || whole.is_empty() && fraction.is_empty() {
        return Err(NumberError::Form);
    }
    let number = |digits: &str| {
        digits
            .bytes()
            .try_fold(0_u64, |sum, digit| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
    };
    let kept = fraction.get(..6).unwrap_or(fraction);
    let scale = (kept.len()..6).fold(1, |scale, _| scale * 10);
    let parts = number(whole)
        .and_then(|whole| whole.checked_mul(UNIT))
        .zip(number(kept))
        .and_then(|(whole, part)| whole.checked_add(part * scale));
    parts.ok_or(NumberError::Range)
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;

    use super::*;

    #[test]
    fn rates_are_read_to_the_millionth_and_written_back() {
        for (text, millionths) in [
            ("0", 0),
            ("12", 12_000_000),
            ("0.25", 250_000),
            (".5", 500_000),
            ("3.", 3_000_000),
            ("74.4089999", 74_408_999),
            (" 1.000001 ", 1_000_001),
        ] {
            assert_eq!(text.parse(), Ok(Rate::from_millionths(millionths)), "{text}");
        }
        for text in ["0.25", "12", "74.408", "1.000001"] {
            assert_eq!(text.parse::<Rate>().map(|rate| rate.to_string()), Ok(text.into()));
        }
        for bad in ["", ".", "-1", "1e3", "1,5", "NaN", "1.2.3"] {
            assert_eq!(bad.parse::<Rate>(), Err(NumberError::Form), "{bad}");
        }
        assert_eq!("99999999999999999999".parse::<Rate>(), Err(NumberError::Range));
        assert_eq!("18446744073710".parse::<Rate>(), Err(NumberError::Range));
    }

    #[test]
    fn headroom_rounds_against_whoever_asks_for_it() {
        assert_eq!(Rate::from_millionths(3).with_headroom(10), Rate::from_millionths(4));
        assert_eq!(Rate::from_millionths(100).with_headroom(0), Rate::from_millionths(100));
        assert_eq!(Rate::from_millionths(119).percent_over(Rate::from_millionths(100)), Some(19));
        assert_eq!(Rate::from_millionths(1).percent_over(Rate::ZERO), None);
    }

    #[test]
    fn shares_of_a_latency_and_back() {
        let slo = Micros::new(30_000);
        assert_eq!(slo.share(450), Micros::new(13_500));
        // A latency of 13.5 ms is not under 45 % of 30 ms, and is under that of what is said here.
        let enough = Micros::new(13_500).whole_of(450).unwrap();
        assert!(enough > slo && Micros::new(13_500) < enough.share(450));
        assert!(Micros::new(13_500) >= Micros::new(enough.get() - 3).share(450));
        assert_eq!(Micros::from_millis_text("13.5"), Ok(Micros::new(13_500)));
        assert_eq!(Micros::new(13_500).to_string(), "13.5");
        assert_eq!(slo.whole_of(0), None);
    }

    #[test]
    fn times_have_units() {
        for (text, micros) in [("200ms", 200_000), ("1.5s", 1_500_000), ("2us", 2), ("0.5us", 1)] {
            assert_eq!(Micros::from_text(text), Ok(Micros::new(micros)), "{text}");
        }
        for (text, error) in [
            ("200", NumberError::Unit),
            ("2h", NumberError::Unit),
            ("ms", NumberError::Form),
            ("99999999999999s", NumberError::Range),
        ] {
            assert_eq!(Micros::from_text(text), Err(error), "{text}");
        }
    }
}
