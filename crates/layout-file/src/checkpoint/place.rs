//! An instance of a checkpoint on the board at hand.
//!
//! Must never move anything: what cannot lie where it lay is refused.

use model::{
    ComputeInstanceProfile, DesiredCompute, DesiredInstance, Geometry, GpuInstanceProfile,
    Placement, ProfileName, ProfileSelector,
};

use crate::fault::{Findings, Mark};
use crate::fit::instance_holds;

/// How a checkpoint names a profile.
#[derive(Debug, Clone, Copy)]
pub(super) enum Named {
    /// By name, with the driver's id where two profiles have one name.
    Name(ProfileName, u32),
    /// By NVML's enum value, as mig-parted does.
    Enum(u32),
}

/// A compute instance as kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeptCompute {
    /// The driver's id (ours), or NVML's enum value (mig-parted's).
    pub(super) profile: u32,
    /// First compute slice; mig-parted does not keep it.
    pub(super) start: Option<u8>,
}

/// A GPU instance as kept.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) at: Mark,
    pub(super) profile: Named,
    pub(super) placement: Placement,
    pub(super) computes: Vec<KeptCompute>,
}

impl Kept {
    fn profile<'a>(&self, geometry: &'a Geometry) -> Option<&'a GpuInstanceProfile> {
        match self.profile {
            Named::Enum(number) => geometry.profiles.iter().find(|p| p.nvml_enum == number),
            Named::Name(name, id) => {
                let exact = geometry.profiles.iter().find(|p| p.id.get() == id && p.name == name);
                exact.or_else(|| geometry.select(&ProfileSelector::Name(name)).ok())
            }
        }
    }

    fn words(&self) -> String {
        match self.profile {
            Named::Name(name, _) => name.to_string(),
            Named::Enum(number) => format!("profile {number} of NVML"),
        }
    }

    /// What is wanted, if the board allows it; faults are in `findings`.
    pub(super) fn desired(
        &self,
        geometry: &Geometry,
        here: &str,
        findings: &mut Findings,
    ) -> Option<DesiredInstance> {
        let mut refuse = |what: String| {
            let instead = "the checkpoint is of another board or driver; write a file of layouts";
            findings.refuse(self.at, format!("{here}: {what}"), instead);
        };
        let Some(profile) = self.profile(geometry) else {
            refuse(format!("there is no {}", self.words()));
            return None;
        };
        if !profile.allows(self.placement) {
            refuse(format!("{} may not lie at {}", profile.name, self.placement));
            return None;
        }
        let mut found: Vec<(&ComputeInstanceProfile, Option<u8>)> = Vec::new();
        for kept in &self.computes {
            let fits = |compute: &&ComputeInstanceProfile| match self.profile {
                Named::Name(..) => compute.id.get() == kept.profile,
                Named::Enum(_) => compute.nvml_enum == kept.profile,
            };
            let Some(compute) = profile.compute_profiles.iter().find(fits) else {
                let number = kept.profile;
                refuse(format!("{} has no compute profile {number}", profile.name));
                return None;
            };
            found.push((compute, kept.start));
        }
        if !instance_holds(&found) {
            refuse(format!("the compute instances of {} do not fit into it", profile.name));
            return None;
        }
        let computes = found.iter().map(|(compute, start)| DesiredCompute {
            profile: compute.id,
            placement: start.map(|start| Placement::new(start, compute.slices)),
        });
        Some(DesiredInstance {
            profile: profile.id,
            placement: Some(self.placement),
            computes: computes.collect(),
        })
    }
}
