//! The processes NVML reports.
//!
//! Must never show a plain user the processes of a whole GPU while MIG is on.

use alloc::vec::Vec;

use model::{ComputeInstanceId, GpuInstanceId, MemoryMib};

use crate::caller::Caller;
use crate::clients::{ContextKind, Target};
use crate::node::Node;
use crate::ret::Return;

/// One row of NVML's process lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunningProcess {
    /// Its pid.
    pub pid: u32,
    /// Memory of all its contexts there.
    pub memory: MemoryMib,
    /// Its GPU instance; `None` (0xFFFFFFFF in NVML) on a GPU without MIG.
    pub gpu_instance: Option<GpuInstanceId>,
    /// Its compute instance.
    pub compute_instance: Option<ComputeInstanceId>,
}

impl Node {
    /// The processes of one kind on a GPU or MIG device, one row per process and device, ascending
    /// by instance and pid. Holders invented by a test do not appear: the real ones do not either
    /// (`nvml.md` §8 row 5).
    ///
    /// # Errors
    /// NO_PERMISSION for a whole GPU in MIG mode without the monitor right.
    pub fn processes(
        &self,
        gpu: usize,
        target: Target,
        kind: ContextKind,
        caller: Caller,
    ) -> Result<Vec<RunningProcess>, Return> {
        self.working_gpu(gpu)?;
        self.may_see(gpu, target, caller)?;
        let mut rows: Vec<RunningProcess> = Vec::new();
        for context in &self.contexts {
            let visible = target == Target::Gpu || context.target == target;
            if context.gpu != gpu || context.kind != kind || !visible {
                continue;
            }
            let row = RunningProcess {
                pid: context.process.pid,
                memory: context.memory,
                gpu_instance: context.target.gpu_instance(),
                compute_instance: context.target.compute_instance(),
            };
            let same = rows.iter_mut().find(|other| {
                (other.pid, other.gpu_instance, other.compute_instance)
                    == (row.pid, row.gpu_instance, row.compute_instance)
            });
            match same {
                Some(other) => other.memory = other.memory.saturating_add(row.memory),
                None => rows.push(row),
            }
        }
        rows.sort_by_key(|row| (row.gpu_instance, row.compute_instance, row.pid));
        Ok(rows)
    }
}
