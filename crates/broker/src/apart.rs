//! Whether a place can be had beside what others have on its GPU.
//!
//! Must never go by place alone: boards have some engines once, and whoever has them is in the way
//! wherever he is.

use model::{Geometry, Layout, LayoutError, PlacedProfile};

use crate::command::World;
use crate::event::{GrantedSlice, SliceTarget};
use crate::state::Lease;

impl SliceTarget {
    /// Whether this place cannot be had while `part` of the same GPU is there.
    pub(crate) fn excludes(&self, world: &World<'_>, part: PlacedProfile) -> bool {
        let own = PlacedProfile { placement: self.key.placement, profile: self.profile };
        let geometry = world.observed.gpu(&self.key.gpu).and_then(|gpu| gpu.geometry.as_deref());
        match geometry {
            Some(geometry) => !go_together(geometry, own, part),
            None => own.placement.overlaps(part.placement),
        }
    }

    /// Whether this place cannot be had while a lease has what it has.
    pub(crate) fn is_kept_from(&self, world: &World<'_>, lease: &Lease) -> bool {
        let in_the_way = |slice: &GrantedSlice| {
            let part = PlacedProfile { placement: slice.key.placement, profile: slice.profile };
            slice.key.gpu == self.key.gpu && self.excludes(world, part)
        };
        lease.whole.contains(&self.key.gpu) || lease.slices.iter().any(in_the_way)
    }
}

/// Whether a board allows two parts at once. Of parts that it does not know their places tell alone.
pub(crate) fn go_together(geometry: &Geometry, one: PlacedProfile, other: PlacedProfile) -> bool {
    if one.placement.overlaps(other.placement) {
        return false;
    }
    match Layout::new(geometry, [one, other]) {
        Ok(_) | Err(LayoutError::UnknownProfile(_) | LayoutError::IllegalPlacement(..)) => true,
        Err(
            LayoutError::Overlap(..)
            | LayoutError::TooMany(..)
            | LayoutError::EnginesTaken(_)
            | LayoutError::BoardRule(..),
        ) => false,
    }
}
