//! Processes on GPUs and MIG devices: compute, graphics and MPS lists merged by pid.
//!
//! Must never turn a list that cannot be read into an empty one: unknown is not idle.

use std::collections::BTreeMap;

use model::{ComputeInstanceId, GpuInstanceId, GpuProcess, MemoryMib};
use nvml_wrapper_sys::bindings::nvmlProcessInfo_t;

use crate::process_lists::ProcessKind;
use crate::returns::NvmlReturn;
use crate::symbols::{Call, CallError, Device, Symbols};

/// The value NVML writes for "not told" in memory sizes and ids.
const NO_MEMORY: u64 = u64::MAX;
const NO_ID: u32 = u32::MAX;

/// Processes of one device and of its instances.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Processes {
    by_place: BTreeMap<(Option<GpuInstanceId>, Option<ComputeInstanceId>), Merged>,
}

type Merged = BTreeMap<u32, Option<MemoryMib>>;

impl Processes {
    /// Reads the three lists of a GPU or MIG device. Graphics and MPS lists the device does not have
    /// are left out; a compute list that cannot be read is an error.
    pub(crate) fn of(symbols: &Symbols, device: Device) -> Call<Self> {
        let mut processes = Self::default();
        for kind in [ProcessKind::Compute, ProcessKind::Graphics, ProcessKind::Mps] {
            match symbols.processes(device, kind) {
                Ok(list) => list.iter().for_each(|process| processes.add(process)),
                Err(
                    CallError::Missing(_)
                    | CallError::Returned(NvmlReturn::NotSupported | NvmlReturn::FunctionNotFound),
                ) if kind != ProcessKind::Compute => {}
                Err(error) => return Err(error),
            }
        }
        Ok(processes)
    }

    fn add(&mut self, process: &nvmlProcessInfo_t) {
        let id = |id: u32| (id != NO_ID).then_some(id);
        let place = (
            id(process.gpuInstanceId).map(GpuInstanceId::new),
            id(process.computeInstanceId).map(ComputeInstanceId::new),
        );
        let memory = (process.usedGpuMemory != NO_MEMORY)
            .then(|| MemoryMib::from_bytes(process.usedGpuMemory));
        let known = self.by_place.entry(place).or_default().entry(process.pid).or_default();
        // One process may be in two lists, each with all its memory.
        *known = (*known).max(memory);
    }

    /// All of them, ascending by pid.
    pub(crate) fn all(&self) -> Vec<GpuProcess> {
        let mut all = Merged::new();
        for (pid, memory) in self.by_place.values().flatten() {
            let known = all.entry(*pid).or_default();
            *known = (*known).max(*memory);
        }
        list(&all)
    }

    /// Those on no instance.
    pub(crate) fn on_whole_gpu(&self) -> Vec<GpuProcess> {
        self.by_place.get(&(None, None)).map(list).unwrap_or_default()
    }

    /// Those on one compute instance.
    pub(crate) fn on(
        &self,
        instance: GpuInstanceId,
        compute: ComputeInstanceId,
    ) -> Vec<GpuProcess> {
        self.by_place.get(&(Some(instance), Some(compute))).map(list).unwrap_or_default()
    }
}

fn list(merged: &Merged) -> Vec<GpuProcess> {
    merged.iter().map(|(pid, memory)| GpuProcess { pid: *pid, memory: *memory }).collect()
}

/// The processes of two readings of one place, each pid once.
pub(crate) fn joined(one: Vec<GpuProcess>, other: Vec<GpuProcess>) -> Vec<GpuProcess> {
    let mut all = Merged::new();
    for process in one.into_iter().chain(other) {
        let known = all.entry(process.pid).or_default();
        *known = (*known).max(process.memory);
    }
    list(&all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, bytes: u64, instance: u32, compute: u32) -> nvmlProcessInfo_t {
        nvmlProcessInfo_t {
            pid,
            usedGpuMemory: bytes,
            gpuInstanceId: instance,
            computeInstanceId: compute,
        }
    }

    #[test]
    fn processes_are_merged_by_pid_and_place() {
        let mut found = Processes::default();
        for process in [
            process(7, NO_MEMORY, 2, 0),
            process(7, 5 << 20, 2, 0),
            process(8, NO_MEMORY, NO_ID, NO_ID),
            process(9, 1 << 20, 3, 1),
        ] {
            found.add(&process);
        }
        let seven = GpuProcess { pid: 7, memory: Some(MemoryMib::new(5)) };
        assert_eq!(
            found.on(GpuInstanceId::new(2), ComputeInstanceId::new(0)),
            std::slice::from_ref(&seven)
        );
        assert_eq!(found.on_whole_gpu(), [GpuProcess { pid: 8, memory: None }]);
        assert_eq!(found.all().len(), 3);
        assert_eq!(joined(vec![seven.clone()], vec![seven.clone()]), [seven]);
    }
}
