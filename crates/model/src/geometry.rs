//! The legal shapes of one board: its profiles, where each may start, and its engine counts.
//!
//! On a live machine a geometry is read from NVML; the [`crate::catalog`] supplies one for the
//! simulator and for planning offline. Must never assume what the driver can tell.

use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Reverse;

use serde::{Deserialize, Serialize};

use crate::ids::{ComputeInstanceProfileId, GpuInstanceProfileId};
use crate::placement::Placement;
use crate::profile::{ProfileName, ProfileSelector};
use crate::units::{MemoryMib, MemoryRequest, NominalGb, SliceCount, SliceIndex};

/// Numbers of the engines beside the SMs.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct EngineCounts {
    /// Copy engines (shared by compute instances; no limit on coexistence).
    pub copy: u32,
    /// Video decoders (NVDEC).
    pub decoders: u32,
    /// Video encoders (NVENC).
    pub encoders: u32,
    /// JPEG decoders.
    pub jpeg: u32,
    /// Optical flow accelerators.
    pub ofa: u32,
}

impl EngineCounts {
    /// The counts added up; saturates.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            copy: self.copy.saturating_add(other.copy),
            decoders: self.decoders.saturating_add(other.decoders),
            encoders: self.encoders.saturating_add(other.encoders),
            jpeg: self.jpeg.saturating_add(other.jpeg),
            ofa: self.ofa.saturating_add(other.ofa),
        }
    }

    /// Whether the engines that cannot be shared (decoders, encoders, JPEG, OFA) fit in `capacity`.
    /// Copy engines are left out: their sum exceeds the GPU's on real boards.
    pub const fn fit_in(self, capacity: Self) -> bool {
        self.decoders <= capacity.decoders
            && self.encoders <= capacity.encoders
            && self.jpeg <= capacity.jpeg
            && self.ofa <= capacity.ofa
    }
}

/// A way to make a compute instance inside a GPU instance of one profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComputeInstanceProfile {
    /// The id the driver takes.
    pub id: ComputeInstanceProfileId,
    /// NVML's enum value, the argument of the profile query.
    pub nvml_enum: u32,
    /// Compute slices of the GPU instance it takes.
    pub slices: u8,
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// How many fit in an empty GPU instance.
    pub max_count: u32,
    /// Legal starts in compute slices of the GPU instance, ascending.
    pub starts: Vec<SliceIndex>,
}

/// A way to make a GPU instance on one board.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuInstanceProfile {
    /// The id the driver takes (19 = `1g.5gb` on A100).
    pub id: GpuInstanceProfileId,
    /// NVML's enum value, the argument of the profile query.
    pub nvml_enum: u32,
    /// Its name on this board with this driver.
    pub name: ProfileName,
    /// Usable memory.
    pub memory: MemoryMib,
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Engines.
    pub engines: EngineCounts,
    /// Grid units one instance spans.
    pub size: SliceCount,
    /// Legal starts on the grid, ascending.
    pub starts: Vec<SliceIndex>,
    /// The most instances that may exist at once.
    pub max_instances: u32,
    /// Whether peer-to-peer works inside.
    pub p2p: bool,
    /// Its compute instance profiles, the whole-instance one included.
    pub compute_profiles: Vec<ComputeInstanceProfile>,
}

impl GpuInstanceProfile {
    /// Legal placements, ascending by start.
    pub fn placements(&self) -> impl Iterator<Item = Placement> + '_ {
        self.starts.iter().map(|start| Placement { start: *start, size: self.size })
    }

    /// Whether `placement` is one of the legal ones.
    pub fn allows(&self, placement: Placement) -> bool {
        placement.size == self.size && self.starts.contains(&placement.start)
    }

    /// The name of a compute instance of this profile: `1c.3g.20gb` for a part, `3g.20gb` for the
    /// whole GPU instance or a profile that is not known.
    pub fn compute_name(&self, id: ComputeInstanceProfileId) -> ProfileName {
        let found = self.compute_profiles.iter().find(|compute| compute.id == id);
        let part = found.filter(|compute| compute.slices < self.name.slices);
        ProfileName { compute: part.map(|compute| compute.slices), ..self.name }
    }

    /// The compute instance profile that takes the whole GPU instance. Where several do (A100's
    /// `7_SLICE` and `7_SLICE_NVL`) the one with the lowest id: creation with NVL failed in the
    /// field (dra-driver-nvidia-gpu issue 1480).
    pub fn whole_compute_profile(&self) -> Option<&ComputeInstanceProfile> {
        self.compute_profiles
            .iter()
            .filter(|compute| compute.slices == self.name.slices)
            .min_by_key(|compute| compute.id)
    }

    /// The name of the MIG device that a compute instance makes here, without the vendor's `MIG `:
    /// the GPU instance's own where it has all compute slices (`3g.20gb`), else with its share in
    /// front (`1c.3g.20gb`).
    pub fn device_name(&self, compute: &ComputeInstanceProfile) -> ProfileName {
        let part = (compute.slices < self.name.slices).then_some(compute.slices);
        ProfileName { compute: part, ..self.name }
    }
}

/// A rule of one board that overlap, maxima and engine sums do not express.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BoardRule {
    /// Jetson Thor: at most one instance with graphics and one without.
    OneComputeOneGraphics,
}

/// The legal shapes of one board.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Geometry {
    /// Units of the placement grid: 8 on A100/H100/B200, 4 on A30, 12 on RTX PRO 6000.
    pub grid: SliceCount,
    /// Every GPU instance profile, ascending by NVML enum value.
    pub profiles: Vec<GpuInstanceProfile>,
    /// What the engines of coexisting instances may add up to.
    pub engine_capacity: EngineCounts,
    /// Rules beyond overlap, maxima and engines.
    pub rules: Vec<BoardRule>,
}

/// From this GB number on, a name that differs by one is the same profile under another driver:
/// `3g.39gb` and `3g.40gb`, `7g.79gb` and `7g.80gb`, `1g.23gb` and `1g.24gb` were all seen.
const DRIFT_FROM_GB: u32 = 20;

/// Why no profile of a board answers a selector or a need.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// Nothing of that name, size or id; the nearest ones are named.
    #[error("no profile {asked} here; {}", nearest_sentence(nearest))]
    Unknown {
        /// What was asked for, as typed.
        asked: String,
        /// Names of the most similar profiles, best first.
        nearest: Vec<ProfileName>,
    },
    /// A compute instance was named where a whole slice is wanted.
    #[error("{0} names a part of a GPU instance; a lease is a whole one ({1})")]
    ComputePart(ProfileName, ProfileName),
    /// No profile has that much memory and compute.
    #[error("no slice has {asked}; the largest, {largest}, has {memory}")]
    TooLarge {
        /// What was asked for.
        asked: String,
        /// The board's largest profile.
        largest: ProfileName,
        /// Its usable memory.
        memory: MemoryMib,
    },
    /// The board has no profiles at all.
    #[error("this GPU offers no MIG profiles")]
    NoProfiles,
}

fn nearest_sentence(nearest: &[ProfileName]) -> String {
    let names: Vec<String> = nearest.iter().map(|name| alloc::format!("{name}")).collect();
    if names.is_empty() {
        "the GPU offers no MIG profiles".into()
    } else {
        alloc::format!("nearest: {}", names.join(", "))
    }
}

/// A slice described by need instead of by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Need {
    /// Memory wanted.
    pub memory: Option<MemoryRequest>,
    /// Compute slices wanted (`--compute 3g`).
    pub compute_slices: Option<u8>,
}

impl Need {
    /// Whether `profile` satisfies it.
    pub fn met_by(&self, profile: &GpuInstanceProfile) -> bool {
        self.memory_met_by(profile)
            && self.compute_slices.is_none_or(|slices| profile.name.slices >= slices)
    }

    fn memory_met_by(&self, profile: &GpuInstanceProfile) -> bool {
        match self.memory {
            None => true,
            Some(MemoryRequest::Nominal(gb)) => profile.name.memory >= gb,
            Some(MemoryRequest::Strict(mib)) => profile.memory >= mib,
        }
    }
}

impl core::fmt::Display for Need {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match (self.memory, self.compute_slices) {
            (Some(memory), Some(slices)) => {
                write!(f, "{memory} of memory and {slices}g of compute")
            }
            (Some(memory), None) => write!(f, "{memory} of memory"),
            (None, Some(slices)) => write!(f, "{slices}g of compute"),
            (None, None) => f.write_str("any size"),
        }
    }
}

impl Geometry {
    /// The profile with this driver id.
    pub fn profile(&self, id: GpuInstanceProfileId) -> Option<&GpuInstanceProfile> {
        self.profiles.iter().find(|profile| profile.id == id)
    }

    /// The profile that takes the whole GPU: the plain one that spans the grid.
    pub fn full_profile(&self) -> Option<&GpuInstanceProfile> {
        self.profiles
            .iter()
            .filter(|profile| profile.name.attributes.is_plain())
            .max_by_key(|profile| (profile.size, profile.name.slices))
    }

    /// The grid of a board whose profiles are `profiles`: the end of its furthest placement.
    pub fn grid_of(profiles: &[GpuInstanceProfile]) -> SliceCount {
        let end =
            profiles.iter().flat_map(GpuInstanceProfile::placements).map(Placement::end).max();
        SliceCount::new(end.unwrap_or(0))
    }

    /// Plain profiles whose memory is the share of their compute size: no attributes and not the
    /// double-memory 1g.
    pub fn plain_profiles(&self) -> impl Iterator<Item = &GpuInstanceProfile> {
        self.profiles
            .iter()
            .filter(|profile| profile.name.attributes.is_plain() && !self.is_double_memory(profile))
    }

    /// Whether a plain profile has a sibling with the same compute and less memory (`1g.10gb`
    /// beside `1g.5gb`).
    pub fn is_double_memory(&self, profile: &GpuInstanceProfile) -> bool {
        self.profiles.iter().any(|other| {
            other.name.attributes == profile.name.attributes
                && other.name.slices == profile.name.slices
                && other.size < profile.size
        })
    }

    /// The profile `selector` names on this board.
    ///
    /// A name matches by slices, attributes and memory fraction: when the GB text differs from this
    /// driver's by one (`3g.39gb` against `3g.40gb`) it still matches if it is unambiguous.
    ///
    /// # Errors
    /// [`SelectError::Unknown`] with the nearest names, [`SelectError::ComputePart`] for `1c.…`.
    pub fn select(&self, selector: &ProfileSelector) -> Result<&GpuInstanceProfile, SelectError> {
        if self.profiles.is_empty() {
            return Err(SelectError::NoProfiles);
        }
        let found = match selector {
            ProfileSelector::Id(id) => self.profile(*id),
            ProfileSelector::Slices(slices) => {
                self.plain_profiles().find(|profile| profile.name.slices == *slices)
            }
            ProfileSelector::Name(name) => {
                if name.compute.is_some_and(|compute| compute < name.slices) {
                    return Err(SelectError::ComputePart(*name, name.gpu_instance()));
                }
                self.by_name(name.gpu_instance())
            }
        };
        found.ok_or_else(|| SelectError::Unknown {
            asked: alloc::format!("{selector}"),
            nearest: self.nearest(selector),
        })
    }

    fn by_name(&self, name: ProfileName) -> Option<&GpuInstanceProfile> {
        let exact = self.profiles.iter().find(|profile| profile.name == name);
        // Drift is a matter of rounding the total, so it shows in large numbers only: `1g.6gb` is
        // another board's profile where there is a `1g.5gb`.
        let drifts = |profile: &&GpuInstanceProfile| {
            profile.name.memory.get().abs_diff(name.memory.get()) <= 1
                && name.memory.get() >= DRIFT_FROM_GB
        };
        exact.or_else(|| {
            let mut close = self
                .profiles
                .iter()
                .filter(|profile| {
                    profile.name.slices == name.slices && profile.name.attributes == name.attributes
                })
                .filter(drifts);
            let first = close.next();
            if close.next().is_some() { None } else { first }
        })
    }

    /// The names most like `selector`, best first, at most three.
    pub fn nearest(&self, selector: &ProfileSelector) -> Vec<ProfileName> {
        let distance = |profile: &GpuInstanceProfile| -> u32 {
            let attributes = u32::from(!profile.name.attributes.is_plain());
            match selector {
                ProfileSelector::Name(name) => {
                    let gb = profile.name.memory.get().abs_diff(name.memory.get());
                    let slices = u32::from(profile.name.slices.abs_diff(name.slices));
                    let same = u32::from(profile.name.attributes != name.attributes);
                    gb * 2 + slices * 10 + same * 5
                }
                ProfileSelector::Slices(slices) => {
                    u32::from(profile.name.slices.abs_diff(*slices)) * 10 + attributes
                }
                ProfileSelector::Id(id) => profile.id.get().abs_diff(id.get()) + attributes,
            }
        };
        let mut profiles: Vec<&GpuInstanceProfile> = self.profiles.iter().collect();
        profiles.sort_by_key(|profile| (distance(profile), profile.nvml_enum));
        profiles.into_iter().take(3).map(|profile| profile.name).collect()
    }

    /// The smallest profile that meets `need`: fewest grid units, then fewest compute slices, then
    /// the lowest enum value. Only profiles without attributes are considered.
    ///
    /// # Errors
    /// [`SelectError::TooLarge`] when no slice of this board is large enough.
    pub fn smallest_for(&self, need: &Need) -> Result<&GpuInstanceProfile, SelectError> {
        let plain = self.profiles.iter().filter(|profile| profile.name.attributes.is_plain());
        let fitting = plain.clone().filter(|profile| need.met_by(profile));
        let best = fitting.min_by_key(|p| (p.size, p.name.slices, p.nvml_enum));
        best.ok_or_else(|| match plain.max_by_key(|profile| (profile.memory, profile.size)) {
            Some(largest) => SelectError::TooLarge {
                asked: alloc::format!("{need}"),
                largest: largest.name,
                memory: largest.memory,
            },
            None => SelectError::NoProfiles,
        })
    }

    /// A smaller profile that misses the strict memory of `need` by at most a tenth, if one does:
    /// worth telling whoever asked (`3g.20gb has 19,968 MiB`). Of several with as much memory, the
    /// one with the fewest compute slices.
    pub fn near_miss(&self, need: &Need) -> Option<&GpuInstanceProfile> {
        let Some(MemoryRequest::Strict(mib)) = need.memory else { return None };
        let chosen = self.smallest_for(need).ok();
        self.profiles
            .iter()
            .filter(|profile| profile.name.attributes.is_plain())
            .filter(|profile| need.compute_slices.is_none_or(|n| profile.name.slices >= n))
            .filter(|profile| profile.memory < mib)
            .filter(|profile| profile.memory.get() * 10 >= mib.get() * 9)
            .filter(|profile| chosen.is_none_or(|chosen| profile.size < chosen.size))
            .min_by_key(|profile| (Reverse(profile.memory), profile.name.slices, profile.nvml_enum))
    }

    /// The GB number this board would print for `memory` of a GPU with `total` memory: the rule of
    /// go-nvlib, eighths of the total rounded up, times the total in whole GiB.
    pub fn nominal_gb(memory: MemoryMib, total: MemoryMib) -> NominalGb {
        let total_mib = total.get().max(1);
        let eighths = (memory.get() * 8).div_ceil(total_mib).max(1);
        let total_gib = total_mib.div_ceil(1024);
        NominalGb::new(((total_gib * eighths * 2 + 8) / 16) as u32)
    }
}
