//! A machine to check plans against: two A100 with MIG on, and steps written short.

use std::sync::Arc;

use model::{
    ComputeInstance, ComputeInstanceId, ComputeInstanceProfileId, Geometry, GpuIndex, GpuInstance,
    GpuInstanceId, GpuInstanceProfileId, GpuMinor, GpuProcess, GpuSnapshot, GpuUuid, Health,
    MemoryMib, MigMode, MigState, NodeSnapshot, Placement, Plan, Purpose, Step, Timestamp, catalog,
};

pub(crate) const ONE: u32 = 19;
pub(crate) const ONE_MEDIA: u32 = 20;
pub(crate) const TWO: u32 = 14;
pub(crate) const THREE: u32 = 9;

pub(crate) const ON: MigState =
    MigState::Supported { current: MigMode::Enabled, pending: MigMode::Enabled };
pub(crate) const OFF: MigState =
    MigState::Supported { current: MigMode::Disabled, pending: MigMode::Disabled };
pub(crate) const LEAVING: MigState =
    MigState::Supported { current: MigMode::Enabled, pending: MigMode::Disabled };
pub(crate) const PENDING: MigState =
    MigState::Supported { current: MigMode::Disabled, pending: MigMode::Enabled };

pub(crate) fn uuid() -> GpuUuid {
    GpuUuid::new("GPU-a")
}

pub(crate) fn a100() -> Arc<Geometry> {
    Arc::new(catalog::board("a100-sxm4-40gb").unwrap().geometry())
}

pub(crate) fn whole(profile: u32) -> (ComputeInstanceProfileId, Placement) {
    let geometry = a100();
    let compute = geometry.profile(GpuInstanceProfileId::new(profile)).unwrap();
    let compute = compute.whole_compute_profile().unwrap();
    (compute.id, Placement::new(0, compute.slices))
}

pub(crate) fn instance(id: u32, profile: u32, start: u8, size: u8, pids: &[u32]) -> GpuInstance {
    let (compute, placement) = whole(profile);
    GpuInstance {
        id: GpuInstanceId::new(id),
        profile: GpuInstanceProfileId::new(profile),
        placement: Placement::new(start, size),
        compute_instances: vec![ComputeInstance {
            id: ComputeInstanceId::new(0),
            profile: compute,
            placement,
            uuid: None,
            processes: pids.iter().map(|pid| GpuProcess { pid: *pid, memory: None }).collect(),
        }],
    }
}

pub(crate) fn bare(id: u32, profile: u32, start: u8, size: u8) -> GpuInstance {
    GpuInstance { compute_instances: Vec::new(), ..instance(id, profile, start, size, &[]) }
}

pub(crate) fn node(mig: MigState, instances: Vec<GpuInstance>) -> NodeSnapshot {
    let gpu = |name: &str, index: u32, instances| GpuSnapshot {
        uuid: GpuUuid::new(name),
        index: GpuIndex::new(index),
        minor: GpuMinor::new(index),
        pci: "00000000:07:00.0".parse().unwrap(),
        name: "NVIDIA A100-SXM4-40GB".into(),
        pci_device_id: 0x20B0_10DE,
        pci_subsystem_id: None,
        memory: MemoryMib::new(40_960),
        compute_capability: Some((8, 0)),
        mig,
        geometry: Some(a100()),
        instances,
        processes: Vec::new(),
        health: Health::Ok,
    };
    NodeSnapshot {
        taken_at: Timestamp::from_millis(0),
        driver_version: "550".into(),
        cuda_version: None,
        gpus: vec![gpu("GPU-a", 0, instances), gpu("GPU-b", 1, Vec::new())],
    }
}

pub(crate) fn plan(steps: Vec<Step>) -> Plan {
    Plan { purpose: Purpose::Retire, steps }
}

pub(crate) fn create(profile: u32, start: u8, size: u8) -> Step {
    Step::CreateGpuInstance {
        gpu: uuid(),
        profile: GpuInstanceProfileId::new(profile),
        placement: Placement::new(start, size),
    }
}

pub(crate) fn create_compute(at: (u8, u8), profile: u32, start: u8, size: u8) -> Step {
    Step::CreateComputeInstance {
        gpu: uuid(),
        at: Placement::new(at.0, at.1),
        profile: ComputeInstanceProfileId::new(profile),
        placement: Placement::new(start, size),
    }
}

pub(crate) fn destroy(of: &GpuInstance) -> Step {
    Step::DestroyGpuInstance {
        gpu: uuid(),
        gpu_instance: of.id,
        profile: of.profile,
        placement: of.placement,
    }
}

pub(crate) fn destroy_compute(of: &GpuInstance) -> Step {
    let compute = &of.compute_instances[0];
    Step::DestroyComputeInstance {
        gpu: uuid(),
        gpu_instance: of.id,
        at: of.placement,
        compute_instance: compute.id,
        profile: compute.profile,
        placement: compute.placement,
    }
}

pub(crate) fn set_mode(mode: MigMode) -> Step {
    Step::SetMigMode { gpu: uuid(), mode }
}

pub(crate) fn reset() -> Step {
    Step::ResetGpu { gpu: uuid() }
}
