//! What the profiles that a file names are on one board.
//!
//! Must never take something similar for what was named, but for the GB number, which drifts
//! between drivers; then it says so.

use model::{ComputeInstanceProfile, Geometry, GpuInstanceProfile, ProfileName, ProfileSelector};

use crate::document::{ComputeSize, Count, CountedName};
use crate::pack::Part;

/// Why a name means nothing on a board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unknown {
    /// What is wrong.
    pub(crate) what: String,
    /// What to write instead.
    pub(crate) instead: String,
}

/// The GPU instance profile that `selector` names.
pub(crate) fn instance<'a>(
    geometry: &'a Geometry,
    selector: &ProfileSelector,
) -> Result<&'a GpuInstanceProfile, Unknown> {
    geometry.select(selector).map_err(|_| Unknown {
        what: format!("no profile {selector}"),
        instead: nearest(&geometry.nearest(selector)),
    })
}

fn nearest(names: &[ProfileName]) -> String {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    if names.is_empty() {
        "it has no profiles at all".into()
    } else {
        format!("the nearest there are {}", names.join(", "))
    }
}

/// The MIG device that a line of `mig-devices` names.
pub(crate) fn counted<'a>(geometry: &'a Geometry, count: &Count) -> Result<Part<'a>, Unknown> {
    let name = match &count.name {
        CountedName::Possible(name) => *name,
        CountedName::Impossible { slices, why } => {
            let slices = u8::try_from(*slices).unwrap_or(u8::MAX);
            return Err(Unknown {
                what: format!("no profile {} ({why})", count.text),
                instead: nearest(&geometry.nearest(&ProfileSelector::Slices(slices))),
            });
        }
    };
    let instance = instance(geometry, &ProfileSelector::Name(name.gpu_instance()))?;
    let size = name.compute.filter(|compute| *compute < name.slices).map(ComputeSize::Slices);
    Ok(Part { instance, compute: compute(instance, size)? })
}

/// The compute instance profile of that size in a GPU instance; the whole one without a size.
pub(crate) fn compute(
    instance: &GpuInstanceProfile,
    size: Option<ComputeSize>,
) -> Result<&ComputeInstanceProfile, Unknown> {
    let mut all = instance.compute_profiles.iter();
    let (found, words) = match size {
        None => (instance.whole_compute_profile().or(all.max_by_key(|c| c.slices)), "whole".into()),
        Some(ComputeSize::Id(id)) => (all.find(|c| c.id.get() == id), format!("id:{id}")),
        Some(ComputeSize::Slices(slices)) => {
            let fitting = all.filter(|c| c.slices == slices);
            (fitting.min_by_key(|c| c.id), format!("{slices}c"))
        }
    };
    found.ok_or_else(|| {
        let mut sizes: Vec<u8> = instance.compute_profiles.iter().map(|c| c.slices).collect();
        sizes.sort_unstable();
        sizes.dedup();
        let sizes: Vec<String> = sizes.iter().map(|slices| format!("{slices}c")).collect();
        Unknown {
            what: format!("no compute instance {words} in {}", instance.name),
            instead: format!("it can be cut into {}", sizes.join(", ")),
        }
    })
}
