//! Placements on a board's grid, and sets of grid units as bit masks.
//!
//! Must never assume a grid of eight: A30 has 4 units, RTX PRO 6000 has 12.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::units::{SliceCount, SliceIndex};

/// A run of grid units: where an instance starts and how many units it spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Placement {
    /// First unit.
    pub start: SliceIndex,
    /// Number of units.
    pub size: SliceCount,
}

impl Placement {
    /// The run of `size` units from `start`.
    pub const fn new(start: u8, size: u8) -> Self {
        Self { start: SliceIndex::new(start), size: SliceCount::new(size) }
    }

    /// The first unit after the run.
    pub const fn end(self) -> u8 {
        self.start.get().saturating_add(self.size.get())
    }

    /// The units of the run as a mask.
    pub const fn mask(self) -> SliceMask {
        let ones = if self.size.get() >= 32 { u32::MAX } else { (1u32 << self.size.get()) - 1 };
        SliceMask(match ones.checked_shl(self.start.get() as u32) {
            Some(bits) => bits,
            None => 0,
        })
    }

    /// Whether the two runs share a unit.
    pub const fn overlaps(self, other: Self) -> bool {
        self.mask().intersects(other.mask())
    }
}

impl fmt::Display for Placement {
    /// `start:size`, as `nvidia-smi mig -lgi` prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.start, self.size)
    }
}

/// A set of units of a grid of up to 32 units.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct SliceMask(u32);

impl SliceMask {
    /// No unit.
    pub const EMPTY: Self = Self(0);

    /// The set whose bit i stands for unit i.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Bit i stands for unit i.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether the two sets share a unit.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether every unit of `other` is in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Units in either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Units of this set that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Number of units.
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether the set has no unit.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_follow_placements() {
        assert_eq!(Placement::new(4, 4).mask().bits(), 0xf0);
        assert_eq!(Placement::new(0, 12).mask().bits(), 0xfff);
        assert!(Placement::new(3, 1).overlaps(Placement::new(0, 4)));
        assert!(!Placement::new(4, 1).overlaps(Placement::new(0, 4)));
    }
}
