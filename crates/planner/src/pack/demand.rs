//! How many instances of each profile of one geometry are to be held.
//!
//! Must never tell where anything lies: that is what packing finds.

use alloc::vec::Vec;

use model::{Geometry, GpuInstanceProfileId, PlacedProfile};

/// Counts of instances by profile, in the order of [`Geometry::profiles`] of the geometry that it
/// was made for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Demand {
    counts: Vec<u64>,
}

impl Demand {
    /// No instance at all.
    pub fn none(geometry: &Geometry) -> Self {
        Self { counts: alloc::vec![0; geometry.profiles.len()] }
    }

    /// Counts that are already in the order of [`Geometry::profiles`]; what is missing at the end
    /// counts as zero when it is packed, what is too much is never met.
    pub const fn from_counts(counts: Vec<u64>) -> Self {
        Self { counts }
    }

    /// Counts by profile id; a profile named twice is added up. `None` if the geometry does not
    /// have one of them.
    pub fn of(
        geometry: &Geometry,
        counts: impl IntoIterator<Item = (GpuInstanceProfileId, u64)>,
    ) -> Option<Self> {
        let mut demand = Self::none(geometry);
        for (id, count) in counts {
            let index = geometry.profiles.iter().position(|profile| profile.id == id)?;
            demand.add(index, count);
        }
        Some(demand)
    }

    /// One for each of these parts. `None` if the geometry does not have one of their profiles.
    pub fn of_parts(
        geometry: &Geometry,
        parts: impl IntoIterator<Item = PlacedProfile>,
    ) -> Option<Self> {
        Self::of(geometry, parts.into_iter().map(|part| (part.profile, 1)))
    }

    /// The counts, by index of the profile.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// The count of one profile, by its index; zero for an index that is not there.
    pub fn count(&self, profile: usize) -> u64 {
        self.counts.get(profile).copied().unwrap_or(0)
    }

    /// Adds instances of a profile, by its index.
    pub fn add(&mut self, profile: usize, count: u64) {
        if self.counts.len() <= profile {
            self.counts.resize(profile + 1, 0);
        }
        self.counts[profile] = self.counts[profile].saturating_add(count);
    }

    /// Takes instances of a profile away, by its index; at most those that are there.
    pub fn take(&mut self, profile: usize, count: u64) {
        if let Some(known) = self.counts.get_mut(profile) {
            *known = known.saturating_sub(count);
        }
    }

    /// The number of all instances together.
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }
}
