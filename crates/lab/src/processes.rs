//! Virtual processes: who runs on which slice, and what ends them.
//!
//! Must never leave a process on hardware that could not carry it.

use broker::{GrantedSlice, Stage};
use model::{GpuInstanceId, GpuUuid, LeaseId, MemoryMib, ProcessId};
use sim_gpu::{Activity, ContextId, ContextKind, ContextRequest, HoldKind, Holder, Node, Target};

use crate::bench::{Bench, Spot};

/// A process on slices.
#[derive(Debug, Clone)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// The lease it inherited; `None` for a stranger.
    pub lease: Option<LeaseId>,
    /// The instances it is on.
    pub on: Vec<Spot>,
    /// The GPUs it is on as a whole.
    pub on_whole: Vec<usize>,
    /// Its contexts, which NVML lists; without any it has the device open and no context.
    pub contexts: Vec<ContextId>,
    /// The first measure that ends it; `None` for one that nothing ends.
    pub dies_of: Option<Stage>,
}

/// What a process does on a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Habits {
    /// Whether NVML lists it.
    pub(crate) listed: bool,
    pub(crate) dies_of: Option<Stage>,
}

const fn identity(pid: u32) -> ProcessId {
    ProcessId { pid, start_ticks: pid as u64 }
}

fn holder_name(pid: u32, gpu: usize, generation: u32) -> String {
    format!("pid{pid} on {gpu}/{generation}")
}

impl Bench {
    /// A number for a process to be.
    pub(crate) const fn new_pid(&mut self) -> ProcessId {
        self.next_pid += 1;
        identity(self.next_pid)
    }

    /// Starts a process on the compute instances of these GPU instances, or on whole GPUs; `None` if
    /// one of them does not carry it.
    pub(crate) fn start(
        &mut self,
        lease: Option<LeaseId>,
        on: &[(usize, Option<GpuInstanceId>)],
        habits: Habits,
    ) -> Option<ProcessId> {
        let process = self.new_pid();
        let pid = process.pid;
        let dies_of = habits.dies_of;
        let (spots, on_whole, contexts) = (Vec::new(), Vec::new(), Vec::new());
        let mut started = Process { pid, lease, on: spots, on_whole, contexts, dies_of };
        let mut carried = 0;
        for (gpu, instance) in on {
            let gpu = *gpu;
            let Some((generation, target)) = self.target(gpu, *instance) else { break };
            let Some(contexts) = self.occupy(process, gpu, target, generation, habits) else {
                break;
            };
            match instance {
                Some(_) => started.on.push(Spot { gpu, generation }),
                None => started.on_whole.push(gpu),
            }
            started.contexts.extend(contexts);
            carried += 1;
        }
        self.processes.insert(pid, started);
        if carried < on.len() {
            self.stop(pid);
            return None;
        }
        Some(process)
    }

    fn target(&self, gpu: usize, instance: Option<GpuInstanceId>) -> Option<(u32, Target)> {
        let Some(id) = instance else { return Some((0, Target::Gpu)) };
        self.with(|node| {
            let found = node.working_gpu(gpu).ok()?.instance(id)?;
            Some((found.generation, Target::Compute(id, found.compute.first()?.id)))
        })?
    }

    /// The contexts, where NVML lists the process; `None` if the hardware refuses.
    fn occupy(
        &self,
        process: ProcessId,
        gpu: usize,
        target: Target,
        generation: u32,
        habits: Habits,
    ) -> Option<Vec<ContextId>> {
        let pid = process.pid;
        self.operate(|node, now| {
            if habits.listed {
                let (memory, kind) = (MemoryMib::new(1), ContextKind::Compute);
                let activity = Activity::default();
                let request = ContextRequest { process, gpu, target, memory, kind, activity, now };
                node.open_context(request).ok().map(|context| vec![context])
            } else {
                let name = holder_name(pid, gpu, generation);
                let (gpu, kind) = (Some(gpu), HoldKind::Client);
                node.add_holder(Holder { name, pid, gpu, target, kind });
                Some(Vec::new())
            }
        })?
    }

    /// A process ends.
    pub(crate) fn stop(&mut self, pid: u32) {
        let Some(process) = self.processes.remove(&pid) else { return };
        self.operate(|node: &mut Node, _| {
            for context in &process.contexts {
                node.close_context(*context);
            }
            for spot in &process.on {
                node.remove_holder(&holder_name(pid, spot.gpu, spot.generation));
            }
            for gpu in &process.on_whole {
                node.remove_holder(&holder_name(pid, *gpu, 0));
            }
        });
    }

    /// Signals what belongs to a lease; returns whom that ended.
    pub(crate) fn signal(&mut self, lease: LeaseId, stage: Stage) -> Vec<u32> {
        let told = |process: &&Process| {
            process.lease == Some(lease) && process.dies_of.is_some_and(|dies| dies <= stage)
        };
        let ended: Vec<u32> = self.processes.values().filter(told).map(|p| p.pid).collect();
        for pid in &ended {
            self.stop(*pid);
        }
        ended
    }

    /// Everybody who has a device of these slices open or inherited the lease, in words.
    pub(crate) fn holders(
        &self,
        lease: LeaseId,
        slices: &[GrantedSlice],
        whole: &[GpuUuid],
    ) -> Vec<String> {
        let whole: Vec<usize> = whole.iter().filter_map(|gpu| self.index(gpu)).collect();
        let mut spots: Vec<Spot> = Vec::new();
        for slice in slices {
            let gpu = self.index(&slice.key.gpu);
            let found = gpu.and_then(|gpu| Some((gpu, self.at(gpu, slice.key.placement)?)));
            spots.extend(found.map(|(gpu, found)| Spot { gpu, generation: found.generation }));
        }
        let holds = |process: &&Process| {
            process.lease == Some(lease)
                || process.on.iter().any(|on| spots.contains(on))
                || process.on_whole.iter().any(|on| whole.contains(on))
        };
        self.processes.values().filter(holds).map(|p| format!("pid {}", p.pid)).collect()
    }
}
