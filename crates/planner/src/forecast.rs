//! Which slices are likely to be asked for next.
//!
//! Must never decay by itself: whoever counts requests decides how fast they are forgotten.

use alloc::collections::BTreeMap;

use model::{Geometry, GpuInstanceProfile, ProfileName};

/// Requests counted per profile name, in any unit (only their ratio matters).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forecast {
    /// How much each profile was asked for.
    pub demand: BTreeMap<ProfileName, u32>,
}

/// What one profile weighs before anybody asked for anything, in requests.
///
/// Policy: plain profiles are what people ask for. The double-memory 1g is asked for by name only,
/// and profiles with attributes only when asked for explicitly, so room for them is worth little
/// until somebody does. The values are small, so that a few tens of real requests outweigh them.
const PRIOR_PLAIN: f64 = 1.0;
const PRIOR_DOUBLE_MEMORY: f64 = 0.25;
const PRIOR_ATTRIBUTES: f64 = 0.05;

impl Forecast {
    /// No knowledge: every plain profile alike.
    pub const fn unknown() -> Self {
        Self { demand: BTreeMap::new() }
    }

    /// Counts one more request; saturates.
    pub fn count(&mut self, name: ProfileName) {
        let demand = self.demand.entry(name).or_insert(0);
        *demand = demand.saturating_add(1);
    }

    /// The weight of a profile, above zero; not normalised.
    pub(crate) fn weight(&self, geometry: &Geometry, profile: &GpuInstanceProfile) -> f64 {
        let prior = if !profile.name.attributes.is_plain() {
            PRIOR_ATTRIBUTES
        } else if geometry.is_double_memory(profile) {
            PRIOR_DOUBLE_MEMORY
        } else {
            PRIOR_PLAIN
        };
        prior + f64::from(self.demand.get(&profile.name).copied().unwrap_or(0))
    }
}
