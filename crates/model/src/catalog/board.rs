//! One product: who it is, how to recognise it, and its profiles as far as they are known.
//!
//! Must never fill in what no source tells; that is `derive`'s part, which says so.

use alloc::vec::Vec;

use super::compute::{self, ComputeFacts};
use super::fact::{Confidence, Fact, Trust};
use super::family::{Family, Shape, Share, Size};
use crate::geometry::EngineCounts;
use crate::ids::GpuInstanceProfileId;
use crate::placement::Placement;
use crate::profile::ProfileName;
use crate::units::{MemoryMib, NominalGb};

/// A GPU generation that has MIG.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Architecture {
    /// GA100.
    Ampere,
    /// GH100.
    Hopper,
    /// GB100, GB110, GB202, GB203, GB10B.
    Blackwell,
}

impl Architecture {
    /// NVML's number for it (`NVML_DEVICE_ARCH_*`).
    pub const fn nvml_value(self) -> u32 {
        match self {
            Self::Ampere => 7,
            Self::Hopper => 9,
            Self::Blackwell => 10,
        }
    }

    /// Whether a change of MIG mode takes effect only after a GPU reset: on Ampere alone
    /// (`supportsMIGModeToggle` and the comments of NVIDIA's DRA driver).
    pub const fn mig_toggle_needs_reset(self) -> bool {
        matches!(self, Self::Ampere)
    }
}

/// How the PCI bus names a board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciId {
    /// Device and vendor as NVML packs them: `0x20B010DE`.
    pub device_and_vendor: u32,
    /// Subsystem device, where another board has the same device id.
    pub subsystem: Option<u16>,
}

impl PciId {
    /// Whether a device with these numbers is the board; `subsystem` may be packed with its vendor
    /// as NVML does or be the bare device. An unknown subsystem fits every board of the device.
    pub const fn is(self, device_and_vendor: u32, subsystem: Option<u32>) -> bool {
        if self.device_and_vendor != device_and_vendor {
            return false;
        }
        match (self.subsystem, subsystem) {
            (Some(own), Some(other)) if other > 0xFFFF => own as u32 == other >> 16,
            (Some(own), Some(other)) => own as u32 == other,
            (_, _) => true,
        }
    }
}

/// NVIDIA's device with this id.
pub(crate) const fn nvidia(device: u16) -> PciId {
    PciId { device_and_vendor: (device as u32) << 16 | 0x10DE, subsystem: None }
}

/// NVIDIA's device with this id and this subsystem.
pub(crate) const fn nvidia_subsystem(device: u16, subsystem: u16) -> PciId {
    PciId { subsystem: Some(subsystem), ..nvidia(device) }
}

/// A share of a board's memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Portion {
    /// The number in profile names.
    pub(crate) gb: u32,
    /// Usable MiB.
    pub(crate) mib: Option<u32>,
    /// Usable MiB that other drivers or boards showed.
    pub(crate) others: &'static [u32],
}

/// A share of which the usable MiB were seen: with this driver, and with others.
pub(crate) const fn seen(gb: u32, mib: u32, others: &'static [u32]) -> Portion {
    Portion { gb, mib: Some(mib), others }
}

/// A share of which only the name is known.
pub(crate) const fn named(gb: u32) -> Portion {
    Portion { gb, mib: None, others: &[] }
}

/// Streaming multiprocessors of a size.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sm {
    /// From a source.
    Known(u32),
    /// Somebody's recollection or arithmetic: a better filling than a rule, but no fact.
    Hint(u32),
    /// Not known.
    Unknown,
}

impl Sm {
    pub(crate) const fn known(self) -> Option<u32> {
        match self {
            Self::Known(count) => Some(count),
            Self::Hint(_) | Self::Unknown => None,
        }
    }
}

/// A product that can do MIG.
#[derive(Debug, Clone, Copy)]
pub struct Board {
    /// The catalog's name for it: `a100-sxm4-40gb`.
    pub id: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// The names NVML gives it; empty where no driver table has one.
    pub nvml_names: &'static [&'static str],
    /// Its generation.
    pub architecture: Architecture,
    /// The chip.
    pub chip: &'static str,
    /// CUDA compute capability, major and minor.
    pub compute_capability: (u8, u8),
    /// Module, card or part of a superchip.
    pub form_factor: &'static str,
    /// Its PCI ids; none on an integrated GPU.
    pub pci: &'static [PciId],
    /// The total in whole GiB that profile names are made from; 0 where memory is the host's.
    pub nominal_gib: u32,
    /// Total memory as NVML reports it, in MiB.
    pub total_mib: Option<u32>,
    /// Streaming multiprocessors of the whole GPU.
    pub multiprocessors: Option<u32>,
    /// The first driver for MIG on it.
    pub min_driver: Option<&'static str>,
    /// The first CUDA release for MIG on it.
    pub min_cuda: Option<&'static str>,
    /// The first video BIOS for MIG on it, where one is stated.
    pub min_vbios: Option<&'static str>,
    /// How well the product as a whole is known.
    pub confidence: Confidence,
    /// Its shape.
    pub family: &'static Family,
    pub(crate) portions: &'static [Portion],
    pub(crate) sms: &'static [Sm],
    pub(crate) trust: Trust,
    /// Profiles, by NVML enum value, whose columns are trusted otherwise.
    pub(crate) except: &'static [(&'static [u32], Trust)],
    /// The board whose values stand in for those that are missing.
    pub(crate) sister: Option<&'static str>,
}

/// What is known of a GPU instance profile on one board.
#[derive(Debug, Clone, PartialEq)]
pub struct ProfileFacts {
    /// Its name.
    pub name: ProfileName,
    /// NVML's enum value.
    pub nvml_enum: u32,
    /// The driver's id.
    pub id: Fact<GpuInstanceProfileId>,
    /// Its share of the memory; `None` where the GPU has no memory of its own.
    pub share: Option<Share>,
    /// Legal placements, ascending by start.
    pub placements: Fact<Vec<Placement>>,
    /// The most instances at once.
    pub max_instances: Fact<u32>,
    /// Usable memory. It depends on driver and ECC state: never compare for equality.
    pub memory: Fact<MemoryMib>,
    /// Usable memory seen with other drivers on a profile of the same share.
    pub memory_elsewhere: Vec<MemoryMib>,
    /// Streaming multiprocessors.
    pub multiprocessors: Fact<u32>,
    /// Engines.
    pub engines: Fact<EngineCounts>,
    /// Whether peer-to-peer works inside: `No` in every real table seen.
    pub p2p: bool,
    /// Driver branch that brought the profile, where later than the board's first (470 for `+me`
    /// on Ampere).
    pub since_branch: Option<u32>,
    /// Its compute instance profiles.
    pub compute: Vec<ComputeFacts>,
}

impl Board {
    /// Whether a change of MIG mode needs a GPU reset.
    pub const fn mig_toggle_needs_reset(&self) -> bool {
        self.architecture.mig_toggle_needs_reset()
    }

    /// The first driver branch for MIG on it: 450 where [`Self::min_driver`] begins with `R450`.
    pub fn min_branch(&self) -> Option<u32> {
        let digits = self.min_driver?.strip_prefix('R')?;
        digits.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
    }

    /// What is known of its profiles, ascending by NVML enum value; holes stay holes.
    pub fn profiles(&self) -> Vec<ProfileFacts> {
        let mut profiles: Vec<ProfileFacts> =
            self.family.shapes.iter().map(|shape| self.facts(shape)).collect();
        profiles.sort_by_key(|profile| profile.nvml_enum);
        profiles
    }

    fn facts(&self, shape: &Shape) -> ProfileFacts {
        let size = &self.family.sizes[shape.size];
        let portion = &self.portions[size.portion];
        let trust = self.trust_in(shape.nvml_enum);
        let mib = |mib: u32| MemoryMib::new(u64::from(mib));
        ProfileFacts {
            name: self.name(shape),
            nvml_enum: shape.nvml_enum,
            id: Fact::new(shape.id.map(GpuInstanceProfileId::new), trust.id),
            share: self.family.shares[size.portion],
            placements: Fact::new(Some(placements(size)), trust.placements),
            max_instances: Fact::new(Some(shape.max_instances), trust.max_instances),
            memory: Fact::new(portion.mib.map(mib), trust.memory),
            memory_elsewhere: portion.others.iter().copied().map(mib).collect(),
            multiprocessors: Fact::new(self.sms[shape.size].known(), trust.multiprocessors),
            engines: Fact::new(Some(shape.engines), trust.engines),
            p2p: false,
            since_branch: shape.since,
            compute: compute::facts(self, shape.size),
        }
    }

    pub(crate) fn name(&self, shape: &Shape) -> ProfileName {
        let size = &self.family.sizes[shape.size];
        ProfileName {
            compute: None,
            slices: size.slices,
            memory: NominalGb::new(self.portions[size.portion].gb),
            attributes: shape.attributes,
        }
    }

    fn trust_in(&self, nvml_enum: u32) -> Trust {
        let exception = self.except.iter().find(|(enums, _)| enums.contains(&nvml_enum));
        exception.map_or(self.trust, |(_, trust)| *trust)
    }
}

fn placements(size: &Size) -> Vec<Placement> {
    size.starts.iter().map(|start| Placement::new(*start, size.span)).collect()
}
