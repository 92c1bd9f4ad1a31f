//! Whether wanted things fit together: GPU instances on a board, compute instances in one of them.
//!
//! Must never choose a place: that is the planner's part. This only says that there is one.

use model::{
    ComputeInstanceProfile, Geometry, GpuInstanceProfile, Layout, LayoutError, PlacedProfile,
    Placement, SliceMask,
};

/// A GPU instance that is wanted, with its place if it has one.
pub(crate) type Wanted<'a> = (&'a GpuInstanceProfile, Option<Placement>);

/// Whether the board can hold all of them at once.
pub(crate) fn board_holds(geometry: &Geometry, wanted: &[Wanted<'_>]) -> bool {
    let Ok(placed) = fixed(geometry, wanted) else { return false };
    let mut free: Vec<&GpuInstanceProfile> =
        wanted.iter().filter(|(_, place)| place.is_none()).map(|(profile, _)| *profile).collect();
    free.sort_by_key(|profile| (std::cmp::Reverse(profile.size), profile.id));
    let too_many = |profile: &&GpuInstanceProfile| {
        let same = free.iter().filter(|other| other.id == profile.id).count();
        u32::try_from(same).is_ok_and(|same| same > profile.max_instances)
    };
    let units: u32 = wanted.iter().map(|(profile, _)| u32::from(profile.size.get())).sum();
    units <= u32::from(geometry.grid.get())
        && !free.iter().any(too_many)
        && place_all(geometry, &placed, &free, 0)
}

/// The layout of those that have a place.
///
/// # Errors
/// Why they cannot lie so.
pub(crate) fn fixed(geometry: &Geometry, wanted: &[Wanted<'_>]) -> Result<Layout, LayoutError> {
    let placed = wanted.iter().filter_map(|(profile, place)| {
        Some(PlacedProfile { placement: (*place)?, profile: profile.id })
    });
    Layout::new(geometry, placed)
}

/// Places the first of `free` from unit `from` on, and then the rest; those of one profile ascend.
fn place_all(geometry: &Geometry, layout: &Layout, free: &[&GpuInstanceProfile], from: u8) -> bool {
    let Some((first, rest)) = free.split_first() else { return true };
    layout.free_placements(geometry, first.id).into_iter().any(|placement| {
        if placement.start.get() < from {
            return false;
        }
        let part = PlacedProfile { placement, profile: first.id };
        let Ok(next) = layout.with(geometry, part) else { return false };
        let same = rest.first().is_some_and(|other| other.id == first.id);
        place_all(geometry, &next, rest, if same { placement.end() } else { 0 })
    })
}

/// A compute instance that is wanted, with its first slice if it has one.
pub(crate) type WantedCompute<'a> = (&'a ComputeInstanceProfile, Option<u8>);

/// Whether one GPU instance can hold all of them at once.
pub(crate) fn instance_holds(wanted: &[WantedCompute<'_>]) -> bool {
    let mut order = wanted.to_vec();
    order.sort_by_key(|(profile, start)| {
        (start.is_none(), std::cmp::Reverse(profile.slices), profile.id)
    });
    let too_many = |(profile, _): &WantedCompute<'_>| {
        let same = order.iter().filter(|(other, _)| other.id == profile.id).count();
        u32::try_from(same).map_or(true, |same| same > profile.max_count)
    };
    !order.iter().any(too_many) && slices_hold(&order, SliceMask::EMPTY, 0)
}

fn slices_hold(wanted: &[WantedCompute<'_>], taken: SliceMask, from: u8) -> bool {
    let Some(((profile, start), rest)) = wanted.split_first() else { return true };
    profile.starts.iter().any(|at| {
        let at = at.get();
        let place = Placement::new(at, profile.slices);
        let wrong = start.is_some_and(|start| start != at) || (start.is_none() && at < from);
        if wrong || place.mask().intersects(taken) {
            return false;
        }
        let same =
            rest.first().is_some_and(|(other, next)| other.id == profile.id && next.is_none());
        let from = if same && start.is_none() { place.end() } else { 0 };
        slices_hold(rest, taken.union(place.mask()), from)
    })
}
