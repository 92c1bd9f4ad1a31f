//! The hardware's rules as a pure state machine: MIG mode, instances, workloads, faults.
//!
//! Pure: this crate must never read a clock, a file, the environment or a GPU. Time, callers and
//! the list of living processes are arguments. `sim-nvml` puts NVML's C interface over it.
//!
//! The whole machine is one [`Node`]: plain data that serialises to a few kilobytes. Board facts
//! (geometry, names) are no part of that data: after decoding, [`Node::attach`] gives them back
//! from a [`BoardCache`]. Every call of the driver is a method of `Node`; the ones that change
//! something take a [`Caller`] and answer as NVML does, with a [`Return`] as the error.
//!
//! GPUs are named by their NVML index (`usize`), times are arguments (`now: Timestamp`):
//!
//! | area | methods of [`Node`] |
//! |---|---|
//! | life | `new(&HostSpec, &mut BoardCache)`, `attach(&mut BoardCache)`, `gpu(i)`, `board(i)`, `gpu_by_uuid`, `gpu_by_pci`, `check_invariants()` |
//! | mode | `set_mig_mode(i, caller, MigMode, now) -> ModeChange`, `mig_mode(i) -> (current, pending)`, `reset_gpu(i, caller, now)`, `reload_driver(caller, now)`, `reboot(now)`, `wipe(now)`, `set_persistence(i, caller, bool)` |
//! | GPU instances | `create_gpu_instance(i, caller, profile, Option<Placement>, now) -> InstanceRef`, `destroy_gpu_instance(i, caller, InstanceRef, now)`, `gpu_instances(i, caller, profile) -> Vec<InstanceRef>`, `gpu_instance_by_id(i, caller, id) -> InstanceRef`, `gpu_instance(i, InstanceRef) -> &GpuInstance`, `remaining_capacity(i, caller, profile) -> u32`, `possible_placements(i, caller, profile) -> Vec<Placement>`, `profile_by_enum(i, u32) -> &GpuInstanceProfile`, `profile_by_id(i, id)` |
//! | compute instances | `create_compute_instance(i, caller, ComputeInstanceRequest, now) -> ComputeRef`, `destroy_compute_instance(i, caller, ComputeRef, now)`, `compute_instances(i, caller, InstanceRef, profile) -> Vec<ComputeRef>`, `compute_instance_by_id(i, caller, InstanceRef, id) -> ComputeRef`, `compute_instance(i, ComputeRef) -> (&GpuInstance, &ComputeInstance)`, `compute_remaining_capacity(i, caller, InstanceRef, profile)`, `compute_possible_placements(…)`, `compute_profile_by_enum(i, InstanceRef, u32)` |
//! | MIG devices | `mig_devices(i) -> Vec<ComputeRef>`, `mig_device_by_index(i, index) -> ComputeRef`, `mig_device(i, ComputeRef) -> MigDevice`, `mig_device_by_uuid(&str) -> Option<(usize, ComputeRef)>`, `max_mig_devices(i) -> u32` |
//! | use | `memory(i, Target, caller) -> MemoryUse`, `bar1(i, Target, caller) -> Bar1Use`, `processes(i, Target, ContextKind, caller)`, `utilization(i, now)`, `gpm_sample(i, Option<GpuInstanceId>, now) -> GpmSample`, `GpmSample::between` |
//! | clients | `open_session(ProcessId)`, `close_session(ProcessId)`, `open_context(ContextRequest) -> ContextId`, `close_context(id)`, `resize_context(id, MemoryMib)`, `set_activity(id, Activity)`, `add_holder(Holder)`, `remove_holder(&str)`, `forget_dead(&dyn Fn(ProcessId) -> bool)` |
//! | events, faults | `inject_xid(i, xid, Target, now)`, `set_health(i, …)`, `events_after(sequence)`, `last_event()`, `add_fault(Fault)`, `clear_faults()`, `fault_for(call, Option<gpu>) -> Option<FaultEffect>` |
//! | host | `common_ancestor(a, b)`, `nvlink_count(i)`, `active_nvlinks(i)`, `nvlink_remote(i, link)`, `cpu_affinity(i)`, `capability_files() -> Vec<CapabilityFile>` |

#![no_std]

extern crate alloc;

mod activity;
mod board;
mod caller;
mod capability;
mod clients;
mod compute;
mod device;
mod event;
mod fault;
mod gpu;
mod host_spec;
mod identity;
mod instance;
mod invariant;
mod knobs;
mod memory;
mod mode;
mod node;
mod placement;
mod process;
mod ret;
mod support;
mod topology;

pub use activity::{Activity, ActivityPoint, GpmSample, GpmUse, Utilization};
pub use board::{BoardCache, BoardFacts, Boards};
pub use caller::{Caller, Rights};
pub use capability::{CapabilityFile, compute_instance_minor, gpu_instance_minor, mig_minors};
pub use clients::{
    Context, ContextId, ContextKind, ContextRequest, HoldKind, Holder, Session, Target,
};
pub use compute::ComputeInstanceRequest;
pub use device::MigDevice;
pub use event::{Event, EventKind};
pub use fault::{Fault, FaultEffect};
pub use gpu::{
    ChipKind, ComputeInstance, ComputeRef, Gpu, GpuHealth, GpuInstance, InstanceRef,
    RecoveryAction, Virtualization,
};
pub use host_spec::{GpuSpec, HostSpec, HostSpecError};
pub use identity::{gpu_instance_id, version_5};
pub use knobs::{Knobs, Latencies, PlacementPolicy, StaleHandles};
pub use memory::{Bar1Use, MemoryUse};
pub use mode::ModeChange;
pub use node::{Driver, Node};
pub use placement::default_placement;
pub use process::RunningProcess;
pub use ret::Return;
pub use support::{HandleKind, Query, supports};
pub use topology::{CpuRange, NvLinks};
