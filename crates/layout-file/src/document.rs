//! What a file of layouts says: named configurations of entries, each for some GPUs.
//!
//! Must never know a machine: which GPUs are meant and what a profile is there comes later.

use model::{PciAddress, ProfileName, ProfileSelector};

use crate::fault::{Mark, Warning};
use crate::resolve::ResolveError;
use model::nearest;

/// Whose format a file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Schema {
    /// `version: v1` with `mig-configs`, as nvidia-mig-parted reads and writes it.
    MigParted,
    /// `schema: migd/v1` with `layouts`: ours.
    Own,
}

/// A file as read: checked as far as that goes without a machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Whose format it is.
    pub schema: Schema,
    /// Its configurations, in the order of the file; names differ.
    pub configs: Vec<Config>,
    /// What is odd about it.
    pub warnings: Vec<Warning>,
}

/// A named configuration of a machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Its name (`-c`).
    pub name: String,
    /// Where it stands.
    pub at: Mark,
    /// What it says, in the order of the file: where two entries name one GPU, the later counts.
    pub entries: Vec<Entry>,
}

/// What a configuration says of some GPUs.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Where it stands.
    pub at: Mark,
    /// Which GPUs.
    pub gpus: GpuSelector,
    /// What is wanted of each.
    pub wish: Wish,
    /// Whether idle slices there may be lent to leases. mig-parted's format has no such word:
    /// always `false` there.
    pub lend: bool,
}

/// The GPUs an entry is about: those that pass the filter and are named.
#[derive(Debug, Clone, PartialEq)]
pub struct GpuSelector {
    /// PCI ids of which one must fit; empty for any GPU.
    pub filter: Vec<DeviceFilter>,
    /// Which of those.
    pub devices: Devices,
    /// Where the names stand.
    pub at: Mark,
}

/// Which GPUs are named.
#[derive(Debug, Clone, PartialEq)]
pub enum Devices {
    /// Every GPU that can do MIG.
    All,
    /// These.
    Listed(Vec<NamedGpu>),
}

/// A GPU as a file names it.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedGpu {
    /// Where it stands.
    pub at: Mark,
    /// How it is named.
    pub name: GpuName,
}

/// A way to name a GPU, or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GpuName {
    /// Every GPU that can do MIG.
    All,
    /// By NVML index. Anything may stand in mig-parted's files, so it is signed and wide.
    Index(i64),
    /// By UUID or the beginning of one, in lower case.
    Uuid(String),
    /// By PCI address.
    Pci(PciAddress),
    /// By PCI device id: every GPU of that kind that can do MIG.
    Device(DeviceId),
    /// By product name, in lower case: a part of it, or all of it with `*` for any letters.
    Model(String),
}

/// A PCI id that mig-parted's `device-filter` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceFilter {
    /// Where it stands.
    pub at: Mark,
    /// As written.
    pub text: String,
    /// What it means; `None` for what is no PCI id and fits no GPU.
    pub id: Option<DeviceId>,
}

/// A PCI device as mig-parted writes it: `0x20B210DE`, with `:0x134F10DE` for the subsystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId {
    /// Device and vendor, packed as NVML packs them.
    pub device: u32,
    /// Subsystem device and vendor, likewise; `None` where any will do.
    pub subsystem: Option<u32>,
}

/// What is wanted of a GPU.
#[derive(Debug, Clone, PartialEq)]
pub enum Wish {
    /// MIG mode off.
    Off,
    /// MIG mode on; what lies there stays.
    On,
    /// MIG mode on and exactly these.
    Instances(Vec<Item>),
    /// MIG mode on and these, by mig-parted's names and counts, packed by mig-parted's rules.
    Counts(Vec<Count>),
}

/// GPU instances that are wanted, each with the same inside.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Where it stands.
    pub at: Mark,
    /// Which profile.
    pub profile: ProfileSelector,
    /// How many; more than one only without `start`.
    pub count: u32,
    /// First unit on the board's grid; `None` where any place will do.
    pub start: Option<u8>,
    /// What lies inside.
    pub computes: Computes,
}

/// The compute instances of a GPU instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Computes {
    /// One that takes all of it.
    Whole,
    /// These; none at all for a GPU instance that nobody can use yet.
    Parts(Vec<ComputeItem>),
}

/// A compute instance that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComputeItem {
    /// Where it stands in the file.
    pub at: Mark,
    /// How large it is.
    pub size: ComputeSize,
    /// First compute slice inside the GPU instance; `None` where any place will do.
    pub start: Option<u8>,
}

/// How a compute instance is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComputeSize {
    /// By compute slices: `2c`. Of several such profiles the one with the lowest id.
    Slices(u8),
    /// By the driver's profile id: `id:7`.
    Id(u32),
}

/// A MIG device of mig-parted's `mig-devices`, and how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// Where the name stands.
    pub at: Mark,
    /// The name as written.
    pub text: String,
    /// What it says.
    pub name: CountedName,
    /// How many; may be zero.
    pub count: u32,
}

/// A name of mig-parted's grammar, which is wider than what any board has (`9c.2g.10gb`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CountedName {
    /// A name that a board may have.
    Possible(ProfileName),
    /// Well formed, and on no board.
    Impossible {
        /// The g number, for finding the nearest.
        slices: u32,
        /// Why.
        why: &'static str,
    },
}

impl Document {
    /// The configuration of that name, or the only one.
    ///
    /// # Errors
    /// [`ResolveError::NoSuchConfig`] and [`ResolveError::WhichConfig`], with the names there are.
    pub fn config(&self, name: Option<&str>) -> Result<&Config, ResolveError> {
        let names = || self.configs.iter().map(|config| config.name.clone()).collect::<Vec<_>>();
        match (name, self.configs.as_slice()) {
            (_, []) => Err(ResolveError::NoConfigs),
            (None, [only]) => Ok(only),
            (None, _) => Err(ResolveError::WhichConfig { names: names() }),
            (Some(name), configs) => {
                configs.iter().find(|config| config.name == name).ok_or_else(|| {
                    let all = configs.iter().map(|config| config.name.as_str());
                    let nearest = nearest(name, all).map(str::to_owned);
                    ResolveError::NoSuchConfig { name: name.into(), nearest, names: names() }
                })
            }
        }
    }
}
