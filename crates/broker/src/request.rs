//! What somebody asks for, and who holds it.
//!
//! Must never hold a choice of the broker: a request is what was typed, resolved by no one yet.

use alloc::string::{String, ToString};
use core::fmt;
use core::str::FromStr;

use model::geometry::{Need, SelectError};
use model::{
    BootId, Geometry, GpuInstanceProfile, GpuSnapshot, Millis, PciAddress, ProcessId,
    ProfileSelector, Tenant, Uid,
};
use serde::{Deserialize, Serialize};

use crate::terms::Terms;

/// A slice by name or by need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// Exactly this profile.
    Profile(ProfileSelector),
    /// The smallest profile that satisfies the need.
    Need(Need),
    /// A GPU with MIG off, or one that cannot do MIG.
    WholeGpu,
}

impl Wanted {
    /// The profile that answers the wish on a board.
    ///
    /// # Errors
    /// Why the board has none, with the nearest names; no slice answers a wish for a whole GPU.
    pub fn on<'g>(&self, geometry: &'g Geometry) -> Result<&'g GpuInstanceProfile, SelectError> {
        match self {
            Self::Profile(selector) => geometry.select(selector),
            Self::Need(need) => geometry.smallest_for(need),
            Self::WholeGpu => Err(SelectError::NoProfiles),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Profile(selector) => selector.fmt(f),
            Self::Need(need) => need.fmt(f),
            Self::WholeGpu => f.pad("whole GPU"),
        }
    }
}

/// Which GPUs may serve a request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GpuSelector {
    /// Any.
    #[default]
    Any,
    /// The GPU with this NVML index at the time of the request.
    Index(u32),
    /// The GPU with this UUID, or the only one whose UUID begins so.
    Uuid(String),
    /// The GPU at this address.
    Pci(PciAddress),
    /// GPUs whose product name contains this, ignoring case (`a100`).
    Model(String),
}

impl GpuSelector {
    /// Whether `gpu` is meant.
    pub fn matches(&self, gpu: &GpuSnapshot) -> bool {
        match self {
            Self::Any => true,
            Self::Index(index) => gpu.index.get() == *index,
            Self::Uuid(prefix) => gpu.uuid.as_str().to_ascii_lowercase().starts_with(prefix),
            Self::Pci(address) => gpu.pci == *address,
            Self::Model(part) => gpu.name.to_ascii_lowercase().contains(part),
        }
    }
}

/// Why a GPU selector did not parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no GPU; write an index (0), a UUID (GPU-…), a PCI address or a model (a100)")]
pub struct GpuSelectorError(pub String);

impl FromStr for GpuSelector {
    type Err = GpuSelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.is_empty() || text.starts_with('-') {
            return Err(GpuSelectorError(text.into()));
        }
        if let Ok(index) = text.parse() {
            return Ok(Self::Index(index));
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Pci(address));
        }
        let lower = text.to_ascii_lowercase();
        if lower == "any" {
            Ok(Self::Any)
        } else if lower.starts_with("gpu-") {
            Ok(Self::Uuid(lower))
        } else {
            Ok(Self::Model(lower))
        }
    }
}

impl fmt::Display for GpuSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Any => "any GPU".to_string(),
            Self::Index(index) => alloc::format!("GPU {index}"),
            Self::Uuid(uuid) => uuid.clone(),
            Self::Pci(address) => address.to_string(),
            Self::Model(part) => alloc::format!("GPU of model {part}"),
        };
        f.write_str(&text)
    }
}

/// How long a request may wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Patience {
    /// As long as it takes.
    #[default]
    Forever,
    /// Not at all.
    Immediate,
    /// At most so long.
    AtMost(Millis),
}

/// Whose life a lease follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holder {
    /// A process that asked (`migctl run`) and the command it started.
    Process {
        /// The boot in which the pids below mean something.
        boot: BootId,
        /// The process that asked; its pid comes from the socket, never from a body.
        client: ProcessId,
        /// The command it started, once it told.
        command: Option<ProcessId>,
    },
    /// Nobody in particular: the lease lives until it is released or not renewed in time.
    Token {
        /// Life after the grant and after each renewal.
        life: Millis,
    },
    /// A container: the lease lives as long as its control group has processes.
    Container {
        /// The container's id, as its runtime names it.
        id: String,
        /// Its control group, from the root of the hierarchy.
        cgroup: String,
    },
    /// Another engine that tells when its job ends (a Slurm job, a pod's claim).
    Engine {
        /// Which engine.
        kind: String,
        /// The job as the engine names it.
        job: String,
    },
}

/// A request as accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestSpec {
    /// Whom it is charged to.
    pub tenant: Tenant,
    /// The user id of the peer that asked.
    pub uid: Uid,
    /// What is wanted.
    pub wanted: Wanted,
    /// How many slices, all or none.
    pub count: u32,
    /// On which GPUs.
    pub gpu: GpuSelector,
    /// Hard limit of the lease's life.
    pub time: Option<Millis>,
    /// How long its owner thinks it will take.
    pub expect: Option<Millis>,
    /// How long it may wait.
    pub patience: Patience,
    /// A name of its own.
    pub name: Option<String>,
    /// Whose life it follows.
    pub holder: Holder,
    /// The command it is for, as its owner sees it in listings.
    pub command: Option<String>,
    /// What its owner agreed to beside.
    #[serde(default)]
    pub terms: Terms,
}

impl RequestSpec {
    /// `2 x 1g.10gb`, or `1g.10gb` for one.
    pub fn wish(&self) -> String {
        if self.count == 1 {
            self.wanted.to_string()
        } else {
            alloc::format!("{} x {}", self.count, self.wanted)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpu_selectors_take_every_form() {
        let pci = PciAddress { domain: 0, bus: 7, device: 0 };
        for (text, selector) in [
            ("any", GpuSelector::Any),
            (" 3 ", GpuSelector::Index(3)),
            ("GPU-4aB1", GpuSelector::Uuid("gpu-4ab1".into())),
            ("0000:07:00.0", GpuSelector::Pci(pci)),
            ("A100", GpuSelector::Model("a100".into())),
        ] {
            assert_eq!(text.parse(), Ok(selector), "{text}");
        }
        for bad in ["", "  ", "-1"] {
            let error = bad.parse::<GpuSelector>().unwrap_err();
            assert_eq!(error, GpuSelectorError(bad.trim().into()));
        }
    }

    #[test]
    fn wishes_read_as_typed() {
        let spec = |count| RequestSpec {
            tenant: Tenant::new("ann"),
            uid: Uid::new(1),
            wanted: Wanted::Profile("1g.5gb".parse().unwrap()),
            count,
            gpu: GpuSelector::Any,
            time: None,
            expect: None,
            patience: Patience::Forever,
            name: None,
            holder: Holder::Token { life: Millis::from_secs(1) },
            command: None,
            terms: Terms::default(),
        };
        assert_eq!((spec(1).wish(), spec(2).wish()), ("1g.5gb".into(), "2 x 1g.5gb".into()));
    }
}
