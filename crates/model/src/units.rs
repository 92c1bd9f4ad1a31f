//! Units as types, so that a GiB is never added to a slice.
//!
//! Must never hold a value whose unit is a matter of convention.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

/// An amount of memory in MiB (2^20 bytes).
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct MemoryMib(u64);

impl MemoryMib {
    /// Wraps a count of MiB.
    pub const fn new(mib: u64) -> Self {
        Self(mib)
    }

    /// The whole MiB in `bytes`, rounded down.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes >> 20)
    }

    /// The count of MiB.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The same amount in bytes; saturates at `u64::MAX`.
    pub const fn bytes(self) -> u64 {
        self.0.saturating_mul(1 << 20)
    }

    /// The difference, or zero if `other` is larger.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The sum; saturates.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// `19,968 MiB`: digits in groups of three, as in the vendor's tables.
impl fmt::Display for MemoryMib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut unit = 1;
        while self.0 / unit >= 1000 {
            unit *= 1000;
        }
        write!(f, "{}", self.0 / unit)?;
        while unit > 1 {
            unit /= 1000;
            write!(f, ",{:03}", self.0 / unit % 1000)?;
        }
        f.write_str(" MiB")
    }
}

/// The GB number inside a profile name (`1g.5gb` has 5). It is a rounded label, not a size:
/// compare [`MemoryMib`] when real bytes matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NominalGb(u32);

impl NominalGb {
    /// Wraps the number of a profile name.
    pub const fn new(gb: u32) -> Self {
        Self(gb)
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The number NVIDIA prints for `fraction_numerator/fraction_denominator` of a GPU with
    /// `total_gib` GiB: `round-half-up(total x fraction)` (go-nvlib `getMigMemorySizeGB`).
    pub const fn of_fraction(total_gib: u32, numerator: u32, denominator: u32) -> Self {
        Self((total_gib * numerator * 2 + denominator) / (denominator * 2))
    }
}

impl fmt::Display for NominalGb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// How much memory somebody asks for: by the number in profile names (`20g`) or strictly in
/// usable bytes (`20480MiB`, `20GiB`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryRequest {
    /// A slice whose name promises at least this many GB.
    Nominal(NominalGb),
    /// A slice with at least this many usable MiB.
    Strict(MemoryMib),
}

/// Why a memory request did not parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{input}` is not an amount of GPU memory: {reason}")]
pub struct MemoryRequestError {
    /// What was typed.
    pub input: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl FromStr for MemoryRequest {
    type Err = MemoryRequestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |reason| MemoryRequestError { input: text.into(), reason };
        let trimmed = text.trim();
        let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = trimmed.split_at(digits);
        if number.is_empty() {
            return Err(error("write a whole number and a unit, such as 20g or 20480MiB"));
        }
        let number: u32 = number.parse().map_err(|_| error("the number is too large"))?;
        if number == 0 {
            return Err(error("it must be more than zero"));
        }
        let strict = |mib_per_unit: u64| {
            Self::Strict(MemoryMib::new(u64::from(number).saturating_mul(mib_per_unit)))
        };
        match unit.trim().to_ascii_lowercase().as_str() {
            "g" | "gb" => Ok(Self::Nominal(NominalGb::new(number))),
            "gib" => Ok(strict(1024)),
            "mib" => Ok(strict(1)),
            "tib" => Ok(strict(1024 * 1024)),
            "" => Err(error("it has no unit; write 20g (as in profile names) or 20GiB (strict)")),
            _ => Err(error("the unit must be g (as in profile names), MiB or GiB (strict)")),
        }
    }
}

impl fmt::Display for MemoryRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nominal(gb) => write!(f, "{gb}g"),
            Self::Strict(mib) if mib.get() % 1024 == 0 => write!(f, "{}GiB", mib.get() / 1024),
            Self::Strict(mib) => write!(f, "{}MiB", mib.get()),
        }
    }
}

/// A position on a board's placement grid.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct SliceIndex(u8);

impl SliceIndex {
    /// Wraps a grid position.
    pub const fn new(index: u8) -> Self {
        Self(index)
    }

    /// The grid position.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for SliceIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A number of units of a board's placement grid (8 on A100, 4 on A30, 12 on RTX PRO 6000), or of
/// compute slices inside a GPU instance.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct SliceCount(u8);

impl SliceCount {
    /// Wraps a count.
    pub const fn new(count: u8) -> Self {
        Self(count)
    }

    /// The count.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for SliceCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A length of time in milliseconds.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Millis(u64);

impl Millis {
    /// Wraps a count of milliseconds.
    pub const fn new(milliseconds: u64) -> Self {
        Self(milliseconds)
    }

    /// Wraps whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// The count of milliseconds.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Whole seconds, rounded down.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.as_secs();
        let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
        match (days, hours, minutes) {
            (0, 0, 0) if self.0 < 1000 => write!(f, "{}ms", self.0),
            (0, 0, 0) => write!(f, "{seconds}s"),
            (0, 0, _) => write!(f, "{minutes}m{:02}s", seconds % 60),
            (0, _, _) => write!(f, "{hours}h{minutes:02}m"),
            _ => write!(f, "{days}d{hours:02}h"),
        }
    }
}

/// Why a length of time did not parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{input}` is not a length of time; write 90s, 15m, 2h, 1d or 1h30m")]
pub struct MillisError {
    /// What was typed.
    pub input: String,
}

impl FromStr for Millis {
    type Err = MillisError;

    /// Parses `90s`, `15m`, `2h`, `1d`, `500ms` and sums such as `1h30m`; zero is refused.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || MillisError { input: text.into() };
        let mut rest = text.trim();
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, after) = rest.split_at(digits);
            let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
            let (unit, remainder) = after.split_at(letters);
            let number: u64 = number.parse().map_err(|_| error())?;
            let factor = match unit {
                "ms" => 1,
                "s" => 1000,
                "m" | "min" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return Err(error()),
            };
            let part = number.checked_mul(factor).ok_or_else(error)?;
            total = total.checked_add(part).ok_or_else(error)?;
            rest = remainder;
        }
        if total == 0 { Err(error()) } else { Ok(Self(total)) }
    }
}

/// A moment, in milliseconds since the Unix epoch as the daemon's clock tells it.
///
/// The daemon's clock never runs backwards: it advances with the boot-time clock and is corrected
/// forwards only, so two timestamps of one journal compare in the order of its events.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Wraps milliseconds since the Unix epoch.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(milliseconds)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The moment `span` later; saturates.
    #[must_use]
    pub const fn plus(self, span: Millis) -> Self {
        Self(self.0.saturating_add(span.get()))
    }

    /// The time that passed since `earlier`, or zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Millis {
        Millis::new(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use alloc::string::ToString;

    #[test]
    fn memory_is_written_in_groups_of_three() {
        for (mib, text) in [
            (0, "0 MiB"),
            (999, "999 MiB"),
            (1000, "1,000 MiB"),
            (40_320, "40,320 MiB"),
            (1_000_005, "1,000,005 MiB"),
            (u64::MAX, "18,446,744,073,709,551,615 MiB"),
        ] {
            assert_eq!(MemoryMib::new(mib).to_string(), text);
        }
    }

    #[test]
    fn nominal_and_strict_memory_are_told_apart() {
        assert_eq!("20g".parse(), Ok(MemoryRequest::Nominal(NominalGb::new(20))));
        assert_eq!("20GB".parse(), Ok(MemoryRequest::Nominal(NominalGb::new(20))));
        assert_eq!("20GiB".parse(), Ok(MemoryRequest::Strict(MemoryMib::new(20480))));
        assert_eq!("20480MiB".parse(), Ok(MemoryRequest::Strict(MemoryMib::new(20480))));
        for bad in ["", "g", "0g", "-3g", "20", "1.5g", "20parsecs", "99999999999g"] {
            assert!(bad.parse::<MemoryRequest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn spans_parse_and_print() {
        assert_eq!("1h30m".parse(), Ok(Millis::from_secs(5400)));
        assert_eq!("500ms".parse(), Ok(Millis::new(500)));
        assert_eq!(Millis::from_secs(5400).to_string(), "1h30m");
        assert_eq!(Millis::from_secs(61).to_string(), "1m01s");
        for bad in ["", "5", "0s", "-5s", "1y", "h", "99999999999999999999s"] {
            assert!(bad.parse::<Millis>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_round_half_up() {
        assert_eq!(NominalGb::of_fraction(141, 1, 8).get(), 18);
        assert_eq!(NominalGb::of_fraction(141, 1, 4).get(), 35);
        assert_eq!(NominalGb::of_fraction(141, 1, 2).get(), 71);
        assert_eq!(NominalGb::of_fraction(79, 1, 1).get(), 79);
    }
}
