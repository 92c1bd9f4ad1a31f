//! How much memory a GPU or MIG device has and uses.
//!
//! Must never count a GPU instance twice: its compute instances share its memory.

use model::{ComputeInstanceId, GpuInstanceId, MemoryMib};

use crate::caller::{Caller, Rights};
use crate::clients::Target;
use crate::node::Node;
use crate::ret::Return;

/// `nvmlMemory_v2_t` in MiB. The first version of the query adds `reserved` to `used`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// All there is.
    pub total: MemoryMib,
    /// What the driver keeps for itself.
    pub reserved: MemoryMib,
    /// What is left.
    pub free: MemoryMib,
    /// What is taken.
    pub used: MemoryMib,
}

/// `nvmlBAR1Memory_t` in MiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bar1Use {
    /// All there is.
    pub total: MemoryMib,
    /// What is left.
    pub free: MemoryMib,
    /// What is taken.
    pub used: MemoryMib,
}

/// What an idle GPU instance uses, in MiB per whole GPU: logged on an A100-SXM4-40GB with
/// 580.126.09, where 4, 2 and 1 of 8 units use 142, 71 and 36.
const IDLE_PER_GPU: u64 = 284;

/// The part of the BAR1 aperture that GPU instances share, as logged on the same board: 24,423 of
/// 65,536 MiB, so that 4, 2 and 1 of 8 units have 12,211, 6,105 and 3,052.
const BAR1_SHARED: (u64, u64) = (24_423, 65_536);

/// What the driver keeps for itself on a GPU without MIG: one part in so many. By rule of thumb.
const RESERVED_PART: u64 = 64;

/// What an idle GPU without MIG uses, in MiB. By rule of thumb.
const IDLE_WITHOUT_MIG: u64 = 4;

/// BAR1 mapped by one context, in MiB. By rule of thumb.
const BAR1_PER_CONTEXT: u64 = 2;

/// The memory of a profile under a driver branch. Boards with 40 GiB gained 128 MiB in every size
/// but the smallest (20,096, 9,984, 4,864 MiB were logged with 580.126.09; 19,968, 9,856, 4,864
/// before). For other boards only one set is known.
pub(crate) fn in_branch(
    memory: MemoryMib,
    total: MemoryMib,
    architecture: u32,
    branch: u32,
) -> MemoryMib {
    /// The first branch with the new sizes; the exact one is not known.
    const NEW_SIZES: u32 = 570;
    const AMPERE: u32 = 7;
    let grown = matches!(memory.get(), 9856 | 19_968 | 40_192);
    if architecture == AMPERE && total.get() == 40_960 && branch >= NEW_SIZES && grown {
        memory.saturating_add(MemoryMib::new(128))
    } else {
        memory
    }
}

impl Node {
    /// What a whole GPU, a GPU instance or a MIG device has and uses. With MIG on, the GPU's use
    /// is the sum over its GPU instances.
    ///
    /// # Errors
    /// NO_PERMISSION for a whole GPU in MIG mode without the monitor right; INVALID_ARGUMENT if
    /// the instance does not exist; NOT_SUPPORTED where the memory is the host's.
    pub fn memory(&self, gpu: usize, target: Target, caller: Caller) -> Result<MemoryUse, Return> {
        self.working_gpu(gpu)?;
        self.may_see(gpu, target, caller)?;
        if self.board(gpu)?.shares_host_memory() {
            return Err(Return::NotSupported);
        }
        self.memory_of(gpu, target)
    }

    pub(crate) fn memory_of(&self, gpu: usize, target: Target) -> Result<MemoryUse, Return> {
        let found = self.gpu(gpu)?;
        let total = self.board(gpu)?.total_memory;
        match target.gpu_instance() {
            Some(id) => self.instance_memory(gpu, id),
            None if found.mig_on() => {
                let mut used = MemoryMib::default();
                for instance in &found.instances {
                    used = used.saturating_add(self.instance_memory(gpu, instance.id)?.used);
                }
                Ok(MemoryUse {
                    total,
                    reserved: MemoryMib::default(),
                    free: total.saturating_sub(used),
                    used,
                })
            }
            None => {
                let reserved = MemoryMib::new(total.get() / RESERVED_PART);
                let idle = MemoryMib::new(IDLE_WITHOUT_MIG.min(total.get()));
                let used = idle.saturating_add(self.context_memory(gpu, None));
                let free = total.saturating_sub(reserved).saturating_sub(used);
                Ok(MemoryUse { total, reserved, free, used })
            }
        }
    }

    /// Whether `memory` more fits where a context would be; the host's memory is not counted.
    pub(crate) fn has_room(
        &self,
        gpu: usize,
        target: Target,
        memory: MemoryMib,
    ) -> Result<bool, Return> {
        let shared = self.board(gpu)?.shares_host_memory();
        Ok(shared || memory <= self.memory_of(gpu, target)?.free)
    }

    fn instance_memory(&self, gpu: usize, id: GpuInstanceId) -> Result<MemoryUse, Return> {
        let instance = self.gpu(gpu)?.instance(id).ok_or(Return::InvalidArgument)?;
        let geometry = &self.board(gpu)?.geometry;
        let profile = geometry.profile(instance.profile).ok_or(Return::Unknown)?;
        let total = profile.memory;
        let (size, grid) =
            (u64::from(instance.placement.size.get()), u64::from(geometry.grid.get()));
        let idle = MemoryMib::new((size * IDLE_PER_GPU).div_ceil(grid.max(1)).min(total.get()));
        let used = idle.saturating_add(self.context_memory(gpu, Some(id)));
        let free = total.saturating_sub(used);
        Ok(MemoryUse { total, reserved: MemoryMib::default(), free, used })
    }

    fn context_memory(&self, gpu: usize, instance: Option<GpuInstanceId>) -> MemoryMib {
        self.contexts
            .iter()
            .filter(|context| context.gpu == gpu && context.target.gpu_instance() == instance)
            .fold(MemoryMib::default(), |sum, context| sum.saturating_add(context.memory))
    }

    /// What a whole GPU, a GPU instance or a MIG device has of the BAR1 aperture.
    ///
    /// # Errors
    /// As [`Self::memory`].
    pub fn bar1(&self, gpu: usize, target: Target, caller: Caller) -> Result<Bar1Use, Return> {
        self.working_gpu(gpu)?;
        self.may_see(gpu, target, caller)?;
        let board = self.board(gpu)?;
        if board.shares_host_memory() {
            return Err(Return::NotSupported);
        }
        let whole = board.total_memory.get().next_power_of_two();
        let total = match target.gpu_instance() {
            None => whole,
            Some(id) => {
                let instance = self.gpu(gpu)?.instance(id).ok_or(Return::InvalidArgument)?;
                let size = u64::from(instance.placement.size.get());
                let grid = u64::from(board.geometry.grid.get()).max(1);
                whole * size * BAR1_SHARED.0 / (BAR1_SHARED.1 * grid)
            }
        };
        let contexts = self.contexts.iter().filter(|context| {
            let inside = target.gpu_instance();
            context.gpu == gpu && (inside.is_none() || context.target.gpu_instance() == inside)
        });
        let used = (contexts.count() as u64 * BAR1_PER_CONTEXT).min(total);
        Ok(Bar1Use {
            total: MemoryMib::new(total),
            free: MemoryMib::new(total - used),
            used: MemoryMib::new(used),
        })
    }

    /// Whether `caller` may read what concerns `target`.
    pub(crate) fn may_see(&self, gpu: usize, target: Target, caller: Caller) -> Result<(), Return> {
        let found = self.gpu(gpu)?;
        let exists = |gi: GpuInstanceId, ci: Option<ComputeInstanceId>| {
            let instance = found.instance(gi).ok_or(Return::InvalidArgument)?;
            match ci {
                Some(ci) if !instance.compute.iter().any(|compute| compute.id == ci) => {
                    Err(Return::InvalidArgument)
                }
                Some(_) | None => Ok(()),
            }
        };
        match target {
            Target::Gpu if found.mig_on() && !self.knobs.monitor_for_all => {
                caller.require(Rights::MonitorCapable)
            }
            Target::Gpu => Ok(()),
            Target::Instance(gi) => exists(gi, None),
            Target::Compute(gi, ci) => exists(gi, Some(ci)),
        }
    }
}
