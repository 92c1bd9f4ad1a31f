//! The driver's own choice of a placement.
//!
//! Must never look at engines to score: the model that reproduces every logged sequence counts
//! placements only (`nvml.md` §3.6).

use alloc::vec::Vec;

use model::{Geometry, GpuInstanceProfile, Placement, SliceMask};

use crate::knobs::PlacementPolicy;

/// How many placements of plain profiles would be left if `used` were taken.
fn options_left(geometry: &Geometry, used: SliceMask) -> usize {
    geometry
        .profiles
        .iter()
        .filter(|profile| profile.name.attributes.is_plain())
        .flat_map(GpuInstanceProfile::placements)
        .filter(|placement| !placement.mask().intersects(used))
        .count()
}

/// Where the driver puts an instance, given the free legal `candidates` (ascending by start) and
/// the units in use. `salt` varies [`PlacementPolicy::Random`]. `None` if there is no candidate.
pub fn default_placement(
    geometry: &Geometry,
    used: SliceMask,
    candidates: &[Placement],
    policy: PlacementPolicy,
    salt: u64,
) -> Option<Placement> {
    match policy {
        PlacementPolicy::LowestStart => candidates.first().copied(),
        PlacementPolicy::HighestStart => candidates.last().copied(),
        PlacementPolicy::Random { seed } => {
            let count = u64::try_from(candidates.len()).ok().filter(|count| *count > 0)?;
            let pick = mix(seed ^ mix(salt)) % count;
            candidates.get(pick as usize).copied()
        }
        PlacementPolicy::MostOptions => {
            let scored: Vec<(usize, Placement)> = candidates
                .iter()
                .map(|at| (options_left(geometry, used.union(at.mask())), *at))
                .collect();
            let best = scored.iter().map(|(score, _)| *score).max()?;
            scored.into_iter().find(|(score, _)| *score == best).map(|(_, at)| at)
        }
    }
}

/// SplitMix64's finisher: a seeded number without state.
const fn mix(seed: u64) -> u64 {
    let a = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let b = (a ^ (a >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let c = (b ^ (b >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    c ^ (c >> 31)
}
