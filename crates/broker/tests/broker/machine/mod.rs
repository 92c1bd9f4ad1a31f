//! A symbolic machine: a snapshot changed by one plan step at a time, with processes on its slices.
//!
//! Must never accept what a driver refuses: its tests would prove nothing.

mod executor;
mod invariants;
mod rig;
mod shorthand;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use broker::{GrantedSlice, Lease, SliceKey, Stage, StepOutcome};
use model::{
    ComputeInstance, ComputeInstanceId, Geometry, GpuIndex, GpuInstance, GpuInstanceId, GpuMinor,
    GpuProcess, GpuSnapshot, GpuUuid, Health, Layout, LeaseId, MemoryMib, MigMode, MigState,
    MigUuid, NodeSnapshot, PciAddress, PlacedProfile, Step, Timestamp, catalog,
};

pub(crate) use executor::{Advance, Running};
pub(crate) use invariants::check;
pub(crate) use rig::{PEER_ADMIN, Rig, peer};

/// Pids above this one are of processes that the machine keeps track of.
pub(crate) const FIRST_PID: u32 = 100;

/// Who made an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A step of one of our plans.
    Ours,
    /// Somebody else.
    Foreign,
    /// Somebody else, but just where and what an open intent of ours names, so that nobody can
    /// tell.
    Doubtful,
    /// A change that an administrator asked for.
    Hand,
}

/// A process on slices.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// The lease it inherited; `None` for a stranger.
    pub(crate) lease: Option<LeaseId>,
    pub(crate) on: Vec<SliceKey>,
    /// GPUs that it uses as a whole.
    pub(crate) whole: Vec<GpuUuid>,
    /// Whether NVML lists it; otherwise it has the device open and no context yet.
    pub(crate) listed: bool,
    /// The first measure that ends it; `None` for one that nothing ends.
    pub(crate) dies_of: Option<Stage>,
}

/// Hardware and processes.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) node: NodeSnapshot,
    pub(crate) origins: BTreeMap<SliceKey, Origin>,
    pub(crate) processes: Vec<Process>,
    /// GPUs on which a mode change waits for a reset, as on Ampere.
    pub(crate) resets_for_mode: BTreeSet<GpuUuid>,
}

/// A GPU of a catalog board with MIG on.
pub(crate) fn gpu(index: u32, board: &str) -> GpuSnapshot {
    let known = catalog::board(board).expect("a board of the catalog");
    GpuSnapshot {
        uuid: GpuUuid::new(format!("GPU-{index}")),
        index: GpuIndex::new(index),
        minor: GpuMinor::new(index),
        pci: PciAddress { domain: 0, bus: index as u8 + 1, device: 0 },
        name: format!("NVIDIA {}", board.to_uppercase()),
        pci_device_id: 0x20B0_10DE,
        pci_subsystem_id: None,
        memory: MemoryMib::new(40960),
        compute_capability: None,
        mig: mode(MigMode::Enabled),
        geometry: Some(Arc::new(known.geometry())),
        instances: Vec::new(),
        processes: Vec::new(),
        health: Health::Ok,
    }
}

pub(crate) const fn mode(mode: MigMode) -> MigState {
    MigState::Supported { current: mode, pending: mode }
}

impl Machine {
    pub(crate) fn new(boards: &[&str]) -> Self {
        let gpus = (0u32..).zip(boards).map(|(index, board)| gpu(index, board)).collect();
        let node = NodeSnapshot {
            taken_at: Timestamp::default(),
            driver_version: "580.65.06".into(),
            cuda_version: None,
            gpus,
        };
        let (origins, processes) = (BTreeMap::new(), Vec::new());
        Self { node, origins, processes, resets_for_mode: BTreeSet::new() }
    }

    pub(crate) fn gpu(&self, uuid: &GpuUuid) -> &GpuSnapshot {
        self.node.gpu(uuid).expect("a GPU of this machine")
    }

    pub(crate) fn gpu_mut(&mut self, uuid: &GpuUuid) -> &mut GpuSnapshot {
        self.node.gpus.iter_mut().find(|gpu| gpu.uuid == *uuid).expect("a GPU of this machine")
    }

    pub(crate) fn exists(&self, slice: &GrantedSlice) -> bool {
        let instance = self.gpu(&slice.key.gpu).instance_at(slice.key.placement);
        instance.is_some_and(|instance| {
            instance.id == slice.gpu_instance
                && instance.profile == slice.profile
                && instance.compute_instances.iter().any(|compute| {
                    compute.id == slice.compute_instance
                        && compute.uuid.as_ref() == Some(&slice.uuid)
                })
        })
    }

    /// Does one step, or says why a driver would refuse it.
    pub(crate) fn perform(&mut self, step: &Step) -> Result<StepOutcome, String> {
        let uuid = step.gpu().clone();
        let waits = self.resets_for_mode.contains(&uuid);
        let gpu = self.gpu_mut(&uuid);
        if gpu.health != Health::Ok && !matches!(step, Step::ResetGpu { .. }) {
            return Err("GPU is lost".into());
        }
        match step {
            Step::SetMigMode { mode: wanted, .. } => set_mode(gpu, *wanted, waits),
            Step::ResetGpu { .. } => reset(gpu),
            Step::CreateGpuInstance { profile, placement, .. } => {
                let part = PlacedProfile { placement: *placement, profile: *profile };
                let outcome = create(gpu, part)?;
                let key = SliceKey { gpu: uuid, placement: *placement };
                self.origins.insert(key, Origin::Ours);
                Ok(outcome)
            }
            Step::CreateComputeInstance { at, profile, placement, .. } => {
                let geometry = enabled(gpu)?;
                let instance = gpu.instances.iter_mut().find(|i| i.placement == *at);
                let instance = instance.ok_or("no GPU instance there")?;
                let parent = geometry.profile(instance.profile).ok_or("unknown profile")?;
                let known = parent.compute_profiles.iter().find(|c| c.id == *profile);
                let known = known.ok_or("no such compute profile")?;
                let there = &instance.compute_instances;
                let taken = there.iter().any(|c| c.placement.overlaps(*placement));
                if taken || known.slices != placement.size.get() {
                    return Err("insufficient resources".into());
                }
                let mut ids = (0..).map(ComputeInstanceId::new);
                let id = ids.find(|id| there.iter().all(|c| c.id != *id)).ok_or("no id left")?;
                // The same instance made again has the same UUID, as with the real driver.
                let uuid = MigUuid::new(format!("MIG-{uuid}-{}-{id}-{}", instance.id, parent.id));
                instance.compute_instances.push(ComputeInstance {
                    id,
                    profile: *profile,
                    placement: *placement,
                    uuid: Some(uuid.clone()),
                    processes: Vec::new(),
                });
                Ok(StepOutcome::ComputeInstanceCreated { id, uuid })
            }
            Step::DestroyComputeInstance { gpu_instance, compute_instance, .. } => {
                let instance = gpu.instances.iter_mut().find(|i| i.id == *gpu_instance);
                let instance = instance.ok_or("no such GPU instance")?;
                let on = |c: &&ComputeInstance| c.id == *compute_instance;
                let found = instance.compute_instances.iter().find(on);
                if found.is_some_and(|compute| !compute.processes.is_empty()) {
                    return Err("in use by another client".into());
                }
                let before = instance.compute_instances.len();
                instance.compute_instances.retain(|compute| compute.id != *compute_instance);
                if instance.compute_instances.len() == before {
                    return Err("no such compute instance".into());
                }
                Ok(StepOutcome::Destroyed)
            }
            Step::DestroyGpuInstance { gpu_instance, .. } => {
                let instance = gpu.instance(*gpu_instance).ok_or("no such GPU instance")?;
                if !instance.compute_instances.is_empty() {
                    return Err("in use by another client".into());
                }
                let key = SliceKey { gpu: uuid, placement: instance.placement };
                gpu.instances.retain(|instance| instance.id != *gpu_instance);
                self.forget(&key);
                Ok(StepOutcome::Destroyed)
            }
        }
    }

    fn forget(&mut self, key: &SliceKey) {
        self.origins.remove(key);
        for process in &mut self.processes {
            process.on.retain(|on| on != key);
        }
        self.list();
    }

    /// Makes a whole slice as `nvidia-smi mig -cgi … -C` would.
    pub(crate) fn foreign_create(
        &mut self,
        uuid: &GpuUuid,
        part: PlacedProfile,
        origin: Origin,
    ) -> Result<(), String> {
        let (gpu, at) = (uuid.clone(), part.placement);
        self.perform(&Step::CreateGpuInstance { gpu, profile: part.profile, placement: at })?;
        let geometry = self.gpu(uuid).geometry.clone().ok_or("no MIG")?;
        let whole = geometry.profile(part.profile).and_then(|p| p.whole_compute_profile());
        let whole = whole.ok_or("no whole compute profile")?;
        let placement = model::Placement::new(0, whole.slices);
        let (gpu, profile) = (uuid.clone(), whole.id);
        self.perform(&Step::CreateComputeInstance { gpu, at, profile, placement })?;
        self.origins.insert(SliceKey { gpu: uuid.clone(), placement: at }, origin);
        Ok(())
    }

    /// Destroys an idle instance as somebody with root could.
    pub(crate) fn foreign_destroy(&mut self, key: &SliceKey) -> Result<(), String> {
        let gpu = self.gpu_mut(&key.gpu);
        let instance = gpu.instance_at(key.placement).ok_or("nothing there")?;
        if instance.is_busy() {
            return Err("in use by another client".into());
        }
        let id = instance.id;
        gpu.instances.retain(|instance| instance.id != id);
        self.forget(key);
        Ok(())
    }

    /// A restart: instances and processes are gone.
    pub(crate) fn reboot(&mut self) {
        for gpu in &mut self.node.gpus {
            gpu.instances.clear();
            gpu.processes.clear();
        }
        self.origins.clear();
        self.processes.clear();
    }

    pub(crate) fn start(&mut self, process: Process) {
        self.processes.push(process);
        self.list();
    }

    pub(crate) fn stop(&mut self, pid: u32) {
        self.processes.retain(|process| process.pid != pid);
        self.list();
    }

    pub(crate) fn is_running(&self, pid: u32) -> bool {
        self.processes.iter().any(|process| process.pid == pid)
    }

    /// Signals what belongs to a lease.
    pub(crate) fn signal(&mut self, lease: LeaseId, stage: Stage) {
        self.processes.retain(|process| {
            process.lease != Some(lease) || process.dies_of.is_none_or(|dies| stage < dies)
        });
        self.list();
    }

    /// Everybody who uses slices or GPUs of a lease or inherited it, in words.
    pub(crate) fn holders(&self, lease: &Lease) -> Vec<String> {
        let slices = &lease.slices;
        let holds = |process: &&Process| {
            let on = slices.iter().any(|slice| process.on.contains(&slice.key));
            let whole = process.whole.iter().any(|gpu| lease.whole.contains(gpu));
            on || whole || process.lease == Some(lease.id)
        };
        self.processes.iter().filter(holds).map(|p| format!("pid {}", p.pid)).collect()
    }

    /// Writes the processes into the snapshot as NVML lists them.
    fn list(&mut self) {
        for gpu in &mut self.node.gpus {
            let tracked = |pid: u32| pid > FIRST_PID;
            gpu.processes.retain(|process| !tracked(process.pid));
            let whole = self.processes.iter().filter(|p| p.listed && p.whole.contains(&gpu.uuid));
            gpu.processes.extend(whole.map(|p| GpuProcess { pid: p.pid, memory: None }));
            for instance in &mut gpu.instances {
                let key = SliceKey { gpu: gpu.uuid.clone(), placement: instance.placement };
                let here = self.processes.iter().filter(|p| p.listed && p.on.contains(&key));
                let here: Vec<GpuProcess> =
                    here.map(|p| GpuProcess { pid: p.pid, memory: None }).collect();
                for compute in &mut instance.compute_instances {
                    compute.processes.clone_from(&here);
                }
            }
        }
    }
}

fn enabled(gpu: &GpuSnapshot) -> Result<Arc<Geometry>, String> {
    if gpu.mig.is_enabled() {
        gpu.geometry.clone().ok_or_else(|| "not supported".into())
    } else {
        Err("MIG mode is off or pending".into())
    }
}

fn set_mode(gpu: &mut GpuSnapshot, wanted: MigMode, waits: bool) -> Result<StepOutcome, String> {
    let MigState::Supported { current, .. } = gpu.mig else { return Err("not supported".into()) };
    if !gpu.instances.is_empty() || !gpu.processes.is_empty() {
        return Err("in use by another client".into());
    }
    if waits {
        gpu.mig = MigState::Supported { current, pending: wanted };
        return Err("the mode is accepted but not in force; the GPU must be reset".into());
    }
    gpu.mig = mode(wanted);
    Ok(StepOutcome::ModeSet(wanted))
}

fn reset(gpu: &mut GpuSnapshot) -> Result<StepOutcome, String> {
    if !gpu.instances.is_empty() || !gpu.processes.is_empty() {
        return Err("in use by another client".into());
    }
    if let MigState::Supported { pending, .. } = gpu.mig {
        gpu.mig = mode(pending);
    }
    gpu.health = Health::Ok;
    Ok(StepOutcome::Reset)
}

fn create(gpu: &mut GpuSnapshot, part: PlacedProfile) -> Result<StepOutcome, String> {
    let geometry = enabled(gpu)?;
    let layout = Layout::of_gpu(&geometry, gpu).map_err(|error| error.to_string())?;
    layout.admits(&geometry, part).map_err(|error| format!("insufficient resources: {error}"))?;
    // Ids are positions in a tree: larger instances have smaller ones. They are reused at once.
    let first = match geometry.grid.get() / part.placement.size.get() {
        0 | 1 => 0,
        2 | 3 => 1,
        4 | 5 => 3,
        _ => 7,
    };
    let free = (first..32).map(GpuInstanceId::new).find(|id| gpu.instance(*id).is_none());
    let id = free.ok_or("no id left")?;
    let compute_instances = Vec::new();
    let instance =
        GpuInstance { id, profile: part.profile, placement: part.placement, compute_instances };
    gpu.instances.push(instance);
    gpu.instances.sort_by_key(|instance| instance.id);
    Ok(StepOutcome::GpuInstanceCreated(id))
}
