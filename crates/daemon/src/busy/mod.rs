//! Who holds a GPU or a slice: the driver's lists, open device nodes, leases, virtual machines and
//! kernel modules, put together.
//!
//! Must never let "could not look" pass for "nobody", and never tell a process's arguments to
//! anybody but its user and administrators.

mod find;
mod words;

use std::path::Path;

use api::{BusyView, HoldView, HolderView};
use broker::{Peer, State};
use host::HostRoot;
use model::{
    ComputeInstanceId, GpuInstance, GpuInstanceId, GpuSnapshot, GpuUuid, LeaseId, NodeSnapshot,
    PciAddress, Timestamp, Uid,
};

use crate::machine::Machine;
use crate::options::{DaemonError, GpuSource};

pub(crate) use find::{Invented, invented};

/// What is asked about: a GPU, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusyPlace {
    /// The GPU.
    pub gpu: GpuUuid,
    /// A GPU instance of it.
    pub gpu_instance: Option<GpuInstanceId>,
    /// A compute instance in that.
    pub compute_instance: Option<ComputeInstanceId>,
}

/// What is known when somebody asks.
pub(crate) struct Scene<'a> {
    pub(crate) observed: &'a NodeSnapshot,
    pub(crate) state: &'a State,
    pub(crate) root: &'a HostRoot,
    pub(crate) invented: &'a [Invented],
    /// Who asks: arguments are told to their own users and to administrators.
    pub(crate) by: Peer,
}

/// Why nobody can say who holds a place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BusyError {
    /// There is no such GPU.
    #[error("there is no GPU {0} here")]
    NoGpu(GpuUuid),
    /// There is no such instance.
    #[error("GPU {gpu} has no {what}")]
    NoInstance {
        /// Index of the GPU.
        gpu: u32,
        /// Which instance, in words.
        what: String,
    },
}

/// A place that exists.
pub(crate) struct Spot<'a> {
    pub(crate) gpu: &'a GpuSnapshot,
    pub(crate) instance: Option<&'a GpuInstance>,
    pub(crate) compute: Option<ComputeInstanceId>,
}

impl<'a> Spot<'a> {
    fn of(observed: &'a NodeSnapshot, place: &BusyPlace) -> Result<Self, BusyError> {
        let gpu = observed.gpu(&place.gpu).ok_or_else(|| BusyError::NoGpu(place.gpu.clone()))?;
        let index = gpu.index.get();
        let missing = |what: String| BusyError::NoInstance { gpu: index, what };
        let instance = place
            .gpu_instance
            .map(|id| gpu.instance(id).ok_or_else(|| missing(format!("GPU instance {id}"))))
            .transpose()?;
        if let (Some(instance), Some(id)) = (instance, place.compute_instance) {
            let mut parts = instance.compute_instances.iter();
            if !parts.any(|part| part.id == id) {
                let what = format!("compute instance {id} in GPU instance {}", instance.id);
                return Err(missing(what));
            }
        }
        Ok(Self { gpu, instance, compute: place.compute_instance })
    }

    /// Whether an instance of the GPU, or a part of one, lies in this place.
    fn holds(&self, id: GpuInstanceId, compute: Option<ComputeInstanceId>) -> bool {
        let whole = self.instance.is_none_or(|own| own.id == id);
        whole && self.compute.is_none_or(|own| compute.is_none_or(|other| other == own))
    }

    fn in_words(&self) -> String {
        let gpu = self.gpu.index;
        let Some(instance) = self.instance else {
            return format!("GPU {gpu} ({})", self.gpu.name);
        };
        let name = name_of(self.gpu, instance, self.compute);
        match self.compute {
            None => format!("{name} on GPU {gpu} (GPU instance {})", instance.id),
            Some(id) => {
                format!("{name} on GPU {gpu} (GPU instance {}, compute instance {id})", instance.id)
            }
        }
    }
}

/// The name of an instance, or of a part of it.
fn name_of(gpu: &GpuSnapshot, instance: &GpuInstance, part: Option<ComputeInstanceId>) -> String {
    let geometry = gpu.geometry.as_deref();
    let Some(profile) = geometry.and_then(|geometry| geometry.profile(instance.profile)) else {
        return format!("profile {}", instance.profile);
    };
    let part = instance.compute_instances.iter().find(|compute| Some(compute.id) == part);
    part.map_or_else(
        || profile.name.to_string(),
        |part| profile.compute_name(part.profile).to_string(),
    )
}

/// Says who holds a place.
///
/// # Errors
/// [`BusyError`] if there is no such place.
pub(crate) fn look(scene: &Scene<'_>, place: &BusyPlace) -> Result<BusyView, BusyError> {
    let spot = Spot::of(scene.observed, place)?;
    let (mut holders, unseen) = find::all(scene, &spot);
    holders.sort_by_key(|holder| (!holder.in_the_way, holder.holds.first().copied(), holder.pid));
    Ok(BusyView {
        what: spot.in_words(),
        gpu: spot.gpu.index.get(),
        gpu_instance: place.gpu_instance.map(GpuInstanceId::get),
        compute_instance: place.compute_instance.map(ComputeInstanceId::get),
        holders,
        unseen,
    })
}

/// Says who holds places, where no daemon runs.
///
/// # Errors
/// [`DaemonError`] if the driver cannot be read; in the list, [`BusyError`] for a place that does
/// not exist.
pub fn busy_without_daemon(
    source: &GpuSource,
    places: &[BusyPlace],
) -> Result<Vec<Result<BusyView, BusyError>>, DaemonError> {
    let machine = Machine::open(source)?;
    let observed = machine.driver.snapshot(Timestamp::default())?;
    let uid = Uid::new(rustix::process::geteuid().as_raw());
    let scene = Scene {
        observed: &observed,
        state: &State::default(),
        root: &machine.root,
        invented: &invented(source.folder())?,
        by: Peer { uid, admin: uid.get() == 0 },
    };
    Ok(places.iter().map(|place| look(&scene, place)).collect())
}

/// Who holds a GPU that the driver of this machine does not see, because a virtual machine has it;
/// `None` if there is no such GPU at this address.
pub fn busy_passthrough(root: &HostRoot, pci: PciAddress) -> Option<BusyView> {
    let (holders, unseen) = find::passthrough(root, pci)?;
    Some(BusyView {
        what: format!("the GPU at {pci}, which no driver of this machine has"),
        gpu: u32::MAX,
        gpu_instance: None,
        compute_instance: None,
        holders,
        unseen,
    })
}

/// A holder of which nothing is known yet.
fn holder(hold: HoldView, how: String) -> HolderView {
    HolderView {
        holds: vec![hold],
        how: vec![how],
        in_the_way: true,
        pid: None,
        user: None,
        command: None,
        command_line: None,
        unit: None,
        container: None,
        lease: None,
        memory_mib: None,
        known_as: None,
        advice: String::new(),
    }
}

/// The lease that has an instance, or the whole GPU.
fn lease_of(state: &State, gpu: &GpuSnapshot, id: GpuInstanceId) -> Option<LeaseId> {
    let uses = broker::uses(state, gpu);
    let mut both = gpu.instances.iter().zip(uses);
    let (_, used) = both.find(|(instance, _)| instance.id == id)?;
    match used {
        broker::Use::Leased(lease) | broker::Use::Ending(lease) => Some(lease),
        broker::Use::Warm | broker::Use::Changing | broker::Use::Foreign => None,
    }
}

impl GpuSource {
    /// The folder of a simulated machine.
    fn folder(&self) -> Option<&Path> {
        match self {
            Self::Real => None,
            Self::Simulated { dir, .. } => Some(dir),
        }
    }
}

#[cfg(test)]
mod tests;
