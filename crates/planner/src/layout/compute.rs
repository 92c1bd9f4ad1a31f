//! Which compute instances of a GPU instance stay, go and come, so that what is wanted lies there.
//!
//! Exhaustive over the places of what is wanted. Must never move a compute instance that stays.

use alloc::vec::Vec;
use core::cmp::Reverse;

use model::{
    ComputeInstanceProfile, ComputeInstanceProfileId, DesiredCompute, GpuInstanceProfile, Placement,
};

/// A compute instance at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PlacedCompute {
    pub(super) placement: Placement,
    pub(super) profile: ComputeInstanceProfileId,
}

/// A compute instance that is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lying {
    pub(super) place: PlacedCompute,
    /// Whether it must not go.
    pub(super) stays: bool,
}

/// What becomes of the compute instances of one GPU instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fit {
    /// For each that is there, whether it stays.
    pub(super) kept: Vec<bool>,
    /// Those that come, sorted by place.
    pub(super) made: Vec<PlacedCompute>,
}

impl Fit {
    /// What is there stays, and nothing comes.
    pub(super) fn as_it_is(count: usize) -> Self {
        Self { kept: alloc::vec![true; count], made: Vec::new() }
    }

    pub(super) fn destroyed(&self) -> usize {
        self.kept.iter().filter(|kept| !**kept).count()
    }
}

/// The best way to have exactly `wanted` in a GPU instance in which `lying` is: the most stay, then
/// the most places are left for others, then the largest lie lowest. `None` where no way keeps
/// what must stay.
pub(super) fn fit(
    profile: &GpuInstanceProfile,
    lying: &[Lying],
    wanted: &[DesiredCompute],
) -> Option<Fit> {
    let mut sorted: Vec<DesiredCompute> = wanted.to_vec();
    // Those with a given place first: they leave no choice.
    sorted.sort_unstable_by_key(|w| (w.placement.is_none(), *w));
    let mut search =
        Search { profile, lying, wanted: &sorted, stack: Vec::with_capacity(8), best: None };
    search.place(0);
    let (_, chosen) = search.best?;
    let kept: Vec<bool> = lying.iter().map(|one| chosen.contains(&one.place)).collect();
    let there = |place: &PlacedCompute| lying.iter().any(|one| one.place == *place);
    let mut made: Vec<PlacedCompute> = chosen.into_iter().filter(|p| !there(p)).collect();
    made.sort_unstable();
    Some(Fit { kept, made })
}

/// How good a set of places is; less is better.
type Order = (Reverse<usize>, Reverse<u32>);

struct Search<'a> {
    profile: &'a GpuInstanceProfile,
    lying: &'a [Lying],
    wanted: &'a [DesiredCompute],
    stack: Vec<PlacedCompute>,
    best: Option<(Order, Vec<PlacedCompute>)>,
}

impl Search<'_> {
    fn place(&mut self, index: usize) {
        let Some(wanted) = self.wanted.get(index) else { return self.keep_better() };
        let Some(profile) = compute_profile(self.profile, wanted.profile) else { return };
        let same = self.stack.iter().filter(|place| place.profile == profile.id).count();
        if same as u32 >= profile.max_count {
            return;
        }
        // Of equals each set of places is tried once.
        let after = match index.checked_sub(1).map(|before| self.wanted[before]) {
            Some(before) if before == *wanted => self.stack.last().map(|place| place.placement),
            _ => None,
        };
        for placement in placements(self.profile, profile) {
            let place = PlacedCompute { placement, profile: profile.id };
            let asked = wanted.placement.is_none_or(|asked| asked == placement);
            if asked && after.is_none_or(|after| placement > after) && self.is_free(place) {
                self.stack.push(place);
                self.place(index + 1);
                self.stack.pop();
            }
        }
    }

    fn is_free(&self, place: PlacedCompute) -> bool {
        let overlaps = |other: Placement| other.overlaps(place.placement);
        !self.stack.iter().any(|other| overlaps(other.placement))
            && !self
                .lying
                .iter()
                .any(|one| one.stays && one.place != place && overlaps(one.place.placement))
    }

    fn keep_better(&mut self) {
        let kept = |one: &&Lying| self.stack.contains(&one.place);
        if !self.lying.iter().filter(|one| one.stays).all(|one| kept(&one)) {
            return;
        }
        let count = self.lying.iter().filter(kept).count();
        let order = (Reverse(count), Reverse(self.freedom()));
        let mut chosen = self.stack.clone();
        // The large ones lie lowest: aligned, as every driver takes them.
        let size = |place: &PlacedCompute| Reverse(place.placement.size);
        chosen.sort_unstable_by_key(|place| (size(place), place.placement.start, place.profile));
        let rank = |chosen: &[PlacedCompute]| -> Vec<_> {
            let places = chosen.iter();
            places.map(|p| (size(p), p.placement.start, p.profile)).collect()
        };
        let better = |best: &(Order, Vec<PlacedCompute>)| {
            order < best.0 || order == best.0 && rank(&chosen) < rank(&best.1)
        };
        if self.best.as_ref().is_none_or(better) {
            self.best = Some((order, chosen));
        }
    }

    /// Compute slices of all places that are left, each place counted for itself.
    fn freedom(&self) -> u32 {
        let free = |profile: &ComputeInstanceProfile| -> u32 {
            let same = self.stack.iter().filter(|place| place.profile == profile.id).count();
            if same as u32 >= profile.max_count {
                return 0;
            }
            let left = placements(self.profile, profile).filter(|placement| {
                !self.stack.iter().any(|place| place.placement.overlaps(*placement))
            });
            left.count() as u32 * u32::from(profile.slices)
        };
        self.profile.compute_profiles.iter().map(free).sum()
    }
}

/// The compute instance profile with this id.
pub(super) fn compute_profile(
    profile: &GpuInstanceProfile,
    id: ComputeInstanceProfileId,
) -> Option<&ComputeInstanceProfile> {
    profile.compute_profiles.iter().find(|compute| compute.id == id)
}

/// The legal places of a compute instance profile, ascending.
fn placements<'a>(
    within: &'a GpuInstanceProfile,
    profile: &'a ComputeInstanceProfile,
) -> impl Iterator<Item = Placement> + 'a {
    profile
        .starts
        .iter()
        .map(|start| Placement::new(start.get(), profile.slices))
        .filter(|placement| placement.end() <= within.name.slices)
}
