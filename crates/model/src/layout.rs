//! Layouts: sets of placed profiles, legal by construction.
//!
//! A [`Layout`] that exists obeys its geometry. Must never be built by any way around
//! [`Layout::with`].

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::geometry::{BoardRule, EngineCounts, Geometry, GpuInstanceProfile};
use crate::ids::GpuInstanceProfileId;
use crate::placement::{Placement, SliceMask};
use crate::snapshot::GpuSnapshot;

/// A profile at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PlacedProfile {
    /// Where on the grid.
    pub placement: Placement,
    /// Which profile.
    pub profile: GpuInstanceProfileId,
}

/// Why a placed profile cannot join a layout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The board has no such profile.
    #[error("the board has no profile with id {0}")]
    UnknownProfile(GpuInstanceProfileId),
    /// The profile may not lie there.
    #[error("profile {0} may not lie at {1}")]
    IllegalPlacement(GpuInstanceProfileId, Placement),
    /// Something lies there already.
    #[error("{0} overlaps {1}, which is taken")]
    Overlap(Placement, Placement),
    /// The board allows no further instance of the profile.
    #[error("no more than {1} instances of profile {0} may exist")]
    TooMany(GpuInstanceProfileId, u32),
    /// The media engines do not suffice.
    #[error("profile {0} needs media engines that other instances hold")]
    EnginesTaken(GpuInstanceProfileId),
    /// A rule of the board forbids it.
    #[error("profile {0} is excluded by a rule of the board: {1:?}")]
    BoardRule(GpuInstanceProfileId, BoardRule),
}

/// A legal set of placed profiles, sorted by placement.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Layout {
    placed: Vec<PlacedProfile>,
}

impl Layout {
    /// The empty GPU.
    pub const fn empty() -> Self {
        Self { placed: Vec::new() }
    }

    /// Builds a layout from its parts, in any order.
    ///
    /// # Errors
    /// The first [`LayoutError`] met.
    pub fn new(
        geometry: &Geometry,
        parts: impl IntoIterator<Item = PlacedProfile>,
    ) -> Result<Self, LayoutError> {
        parts.into_iter().try_fold(Self::empty(), |layout, part| layout.with(geometry, part))
    }

    /// The layout of the instances that exist on a GPU.
    ///
    /// # Errors
    /// A [`LayoutError`] if the driver reports something its own geometry forbids.
    pub fn of_gpu(geometry: &Geometry, gpu: &GpuSnapshot) -> Result<Self, LayoutError> {
        let parts = gpu.instances.iter();
        Self::new(
            geometry,
            parts.map(|i| PlacedProfile { placement: i.placement, profile: i.profile }),
        )
    }

    /// This layout with one more placed profile.
    ///
    /// # Errors
    /// Why the part cannot join.
    pub fn with(&self, geometry: &Geometry, part: PlacedProfile) -> Result<Self, LayoutError> {
        self.admits(geometry, part)?;
        let mut placed = self.placed.clone();
        let at = placed.binary_search(&part).unwrap_or_else(|at| at);
        placed.insert(at, part);
        Ok(Self { placed })
    }

    /// This layout without `part`; unchanged if it is not in it. Taking away is always legal.
    #[must_use]
    pub fn without(&self, part: PlacedProfile) -> Self {
        Self { placed: self.placed.iter().copied().filter(|other| *other != part).collect() }
    }

    /// Whether `part` may join.
    ///
    /// # Errors
    /// Why it may not.
    pub fn admits(&self, geometry: &Geometry, part: PlacedProfile) -> Result<(), LayoutError> {
        let profile =
            geometry.profile(part.profile).ok_or(LayoutError::UnknownProfile(part.profile))?;
        if !profile.allows(part.placement) {
            return Err(LayoutError::IllegalPlacement(part.profile, part.placement));
        }
        if let Some(other) = self.placed.iter().find(|o| o.placement.overlaps(part.placement)) {
            return Err(LayoutError::Overlap(part.placement, other.placement));
        }
        let same = self.placed.iter().filter(|other| other.profile == part.profile).count();
        if same as u32 >= profile.max_instances {
            return Err(LayoutError::TooMany(part.profile, profile.max_instances));
        }
        if !self.engines(geometry).plus(profile.engines).fit_in(geometry.engine_capacity) {
            return Err(LayoutError::EnginesTaken(part.profile));
        }
        geometry.rules.iter().try_for_each(|rule| self.obeys(geometry, *rule, profile))
    }

    fn obeys(
        &self,
        geometry: &Geometry,
        rule: BoardRule,
        joining: &GpuInstanceProfile,
    ) -> Result<(), LayoutError> {
        match rule {
            BoardRule::OneComputeOneGraphics => {
                let kind = joining.name.attributes.graphics;
                let taken =
                    self.profiles(geometry).any(|profile| profile.name.attributes.graphics == kind);
                if taken { Err(LayoutError::BoardRule(joining.id, rule)) } else { Ok(()) }
            }
        }
    }

    fn profiles<'a>(
        &'a self,
        geometry: &'a Geometry,
    ) -> impl Iterator<Item = &'a GpuInstanceProfile> + 'a {
        self.placed.iter().filter_map(|part| geometry.profile(part.profile))
    }

    /// What the instances' engines add up to.
    pub fn engines(&self, geometry: &Geometry) -> EngineCounts {
        self.profiles(geometry).fold(EngineCounts::default(), |sum, p| sum.plus(p.engines))
    }

    /// Its parts, sorted by placement.
    pub fn placed(&self) -> &[PlacedProfile] {
        &self.placed
    }

    /// Grid units taken.
    pub fn mask(&self) -> SliceMask {
        self.placed.iter().fold(SliceMask::EMPTY, |mask, part| mask.union(part.placement.mask()))
    }

    /// Where one more instance of `profile` could lie, ascending by start. There may be more places
    /// than instances that fit (`+me` has seven places on an empty A100 and a maximum of one): the
    /// driver's remaining capacity is [`Self::capacity`].
    pub fn free_placements(
        &self,
        geometry: &Geometry,
        profile: GpuInstanceProfileId,
    ) -> Vec<Placement> {
        let Some(found) = geometry.profile(profile) else { return Vec::new() };
        found
            .placements()
            .filter(|placement| {
                self.admits(geometry, PlacedProfile { placement: *placement, profile }).is_ok()
            })
            .collect()
    }

    /// The most instances of `profile` that can still be added at once.
    pub fn capacity(&self, geometry: &Geometry, profile: GpuInstanceProfileId) -> u32 {
        fn deepest(
            layout: &Layout,
            geometry: &Geometry,
            profile: GpuInstanceProfileId,
            from: u8,
        ) -> u32 {
            layout
                .free_placements(geometry, profile)
                .into_iter()
                .filter(|placement| placement.start.get() >= from)
                .filter_map(|placement| {
                    let next = layout.with(geometry, PlacedProfile { placement, profile }).ok()?;
                    Some(1 + deepest(&next, geometry, profile, placement.end()))
                })
                .max()
                .unwrap_or(0)
        }
        deepest(self, geometry, profile, 0)
    }
}

/// Every legal layout over the profiles `allowed` accepts, the empty one included, each once,
/// sorted.
pub fn enumerate(
    geometry: &Geometry,
    allowed: impl Fn(&GpuInstanceProfile) -> bool,
) -> Vec<Layout> {
    let mut parts: Vec<PlacedProfile> = geometry
        .profiles
        .iter()
        .filter(|profile| allowed(profile))
        .flat_map(|p| p.placements().map(|placement| PlacedProfile { placement, profile: p.id }))
        .collect();
    parts.sort_unstable();
    let mut found = Vec::new();
    extend(geometry, &parts, Layout::empty(), &mut found);
    found.sort();
    found
}

fn extend(geometry: &Geometry, parts: &[PlacedProfile], layout: Layout, found: &mut Vec<Layout>) {
    for (index, part) in parts.iter().enumerate() {
        if let Ok(next) = layout.with(geometry, *part) {
            extend(geometry, &parts[index + 1..], next, found);
        }
    }
    found.push(layout);
}
