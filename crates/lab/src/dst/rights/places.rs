//! Places that are kept for somebody, and who has to leave for them.
//!
//! Must never reckon by the broker's own functions.

use broker::{SliceKey, SliceTarget};
use model::{GpuInstanceProfileId, GpuUuid, Layout, NodeSnapshot, PlacedProfile};

/// Some places and whole GPUs.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    pub(super) places: Vec<SliceTarget>,
    pub(super) whole: Vec<GpuUuid>,
}

impl Places {
    pub(super) fn of(places: &[SliceTarget], whole: &[GpuUuid]) -> Self {
        Self { places: places.to_vec(), whole: whole.to_vec() }
    }

    /// Whether somebody who has these slices and GPUs has to leave for them.
    pub(super) fn are_taken_by(
        &self,
        seen: &NodeSnapshot,
        slices: &[Slice],
        whole: &[GpuUuid],
    ) -> bool {
        let over = |slice: &Slice| {
            self.whole.contains(&slice.0.gpu)
                || self.places.iter().any(|place| excludes(seen, place, slice))
        };
        let all = |gpu: &GpuUuid| {
            self.whole.contains(gpu) || self.places.iter().any(|place| place.key.gpu == *gpu)
        };
        slices.iter().any(over) || whole.iter().any(all)
    }
}

/// A slice and its profile.
pub(super) type Slice = (SliceKey, GpuInstanceProfileId);

/// Whether a place cannot be had beside a slice: they overlap, or the board has what both of them
/// want too few times.
fn excludes(seen: &NodeSnapshot, place: &SliceTarget, (key, profile): &Slice) -> bool {
    if place.key.gpu != key.gpu {
        return false;
    }
    let overlap = place.key.placement.overlaps(key.placement);
    let geometry = seen.gpu(&key.gpu).and_then(|gpu| gpu.geometry.as_deref());
    let Some(geometry) = geometry.filter(|_| !overlap) else { return overlap };
    let wanted = PlacedProfile { placement: place.key.placement, profile: place.profile };
    let there = PlacedProfile { placement: key.placement, profile: *profile };
    Layout::new(geometry, [wanted, there]).is_err()
}

/// Whether a place and a slice of one GPU both draw on what the board has more than once, and yet
/// not as often as somebody may want it: then it takes the others to tell whether one is in the
/// way.
pub(super) fn may_exclude(
    seen: &NodeSnapshot,
    place: &SliceTarget,
    (key, profile): &Slice,
) -> bool {
    let geometry = seen.gpu(&key.gpu).and_then(|gpu| gpu.geometry.as_deref());
    let attributes = |id| geometry?.profile(id).map(|profile| profile.name.attributes);
    let both = attributes(place.profile).zip(attributes(*profile));
    place.key.gpu == key.gpu && both.is_some_and(|(one, other)| one.graphics && other.graphics)
}
