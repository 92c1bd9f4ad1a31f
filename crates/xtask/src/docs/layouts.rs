//! How many layouts a geometry has, counted by building each of them.
//!
//! Must never hold a number: every one printed is counted while the page is made.

use std::collections::BTreeSet;

use model::layout::{self, Layout};
use model::{Geometry, GpuInstanceProfile, GpuInstanceProfileId};

/// Layouts over a selection of profiles, the empty one included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    /// Which profile at which place.
    pub(super) placed: usize,
    /// Those of them to which nothing can be added.
    pub(super) maximal: usize,
    /// Which profiles how often, places left out of account.
    pub(super) multisets: usize,
    /// Those of which some placement is maximal.
    pub(super) maximal_multisets: usize,
}

/// Counts the layouts over the profiles `allowed` accepts.
pub(super) fn count(geometry: &Geometry, allowed: impl Fn(&GpuInstanceProfile) -> bool) -> Counts {
    let layouts = layout::enumerate(geometry, &allowed);
    let joinable: Vec<_> = geometry.profiles.iter().filter(|profile| allowed(profile)).collect();
    let is_full = |layout: &&Layout| {
        joinable.iter().all(|profile| layout.free_placements(geometry, profile.id).is_empty())
    };
    let maximal: Vec<&Layout> = layouts.iter().filter(is_full).collect();
    let distinct = |layouts: &mut dyn Iterator<Item = &Layout>| {
        layouts.map(multiset).collect::<BTreeSet<_>>().len()
    };
    Counts {
        placed: layouts.len(),
        maximal: maximal.len(),
        multisets: distinct(&mut layouts.iter()),
        maximal_multisets: distinct(&mut maximal.iter().copied()),
    }
}

fn multiset(layout: &Layout) -> Vec<GpuInstanceProfileId> {
    let mut profiles: Vec<_> = layout.placed().iter().map(|part| part.profile).collect();
    profiles.sort_unstable();
    profiles
}
