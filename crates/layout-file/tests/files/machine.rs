//! Machines made from the catalog.

use std::sync::Arc;

use model::catalog;
use model::{
    ComputeInstance, ComputeInstanceId, ComputeInstanceProfileId, Geometry, GpuIndex, GpuInstance,
    GpuInstanceId, GpuInstanceProfileId, GpuMinor, GpuSnapshot, GpuUuid, Health, MemoryMib,
    MigMode, MigState, NodeSnapshot, PciAddress, Placement, Timestamp,
};

/// MIG mode on or off, none pending.
pub(crate) fn mode(mode: MigMode) -> MigState {
    MigState::Supported { current: mode, pending: mode }
}

/// An empty GPU of this board, in MIG mode.
pub(crate) fn gpu(board: &str, index: u32) -> GpuSnapshot {
    let board = catalog::board(board).unwrap();
    GpuSnapshot {
        uuid: GpuUuid::new(format!("GPU-{index:08x}-0000-0000-0000-000000000000")),
        index: GpuIndex::new(index),
        minor: GpuMinor::new(index),
        pci: PciAddress { domain: 0, bus: 7 + index as u8, device: 0 },
        name: board.nvml_names.first().unwrap_or(&board.title).to_string(),
        pci_device_id: board.pci.first().map_or(0, |pci| pci.device_and_vendor),
        pci_subsystem_id: Some(0x134F_10DE),
        memory: MemoryMib::new(40960),
        compute_capability: Some((8, 0)),
        mig: mode(MigMode::Enabled),
        geometry: Some(Arc::new(board.geometry())),
        instances: Vec::new(),
        processes: Vec::new(),
        health: Health::Ok,
    }
}

/// A GPU that cannot do MIG.
pub(crate) fn plain_gpu(index: u32) -> GpuSnapshot {
    GpuSnapshot {
        name: "NVIDIA L4".into(),
        pci_device_id: 0x27B8_10DE,
        mig: MigState::Unsupported,
        geometry: None,
        ..gpu("a100-sxm4-40gb", index)
    }
}

pub(crate) fn node(gpus: Vec<GpuSnapshot>) -> NodeSnapshot {
    NodeSnapshot {
        taken_at: Timestamp::from_millis(0),
        driver_version: "550.54.15".into(),
        cuda_version: None,
        gpus,
    }
}

/// `count` GPUs of one board.
pub(crate) fn alike(board: &str, count: u32) -> NodeSnapshot {
    node((0..count).map(|index| gpu(board, index)).collect())
}

/// A100s of 40 GB.
pub(crate) fn a100s(count: u32) -> NodeSnapshot {
    alike("a100-sxm4-40gb", count)
}

/// Puts an instance on a GPU: profile, start, and compute instances as profile and start.
pub(crate) fn put(
    gpu: &mut GpuSnapshot,
    profile: GpuInstanceProfileId,
    start: u8,
    computes: &[(ComputeInstanceProfileId, u8)],
) {
    let geometry: Arc<Geometry> = gpu.geometry.clone().unwrap();
    let found = geometry.profile(profile).unwrap();
    let id = GpuInstanceId::new(gpu.instances.len() as u32 + 1);
    let compute = |(number, (profile, start)): (usize, &(ComputeInstanceProfileId, u8))| {
        let slices = found.compute_profiles.iter().find(|c| c.id == *profile).unwrap().slices;
        ComputeInstance {
            id: ComputeInstanceId::new(number as u32),
            profile: *profile,
            placement: Placement::new(*start, slices),
            uuid: None,
            processes: Vec::new(),
        }
    };
    gpu.instances.push(GpuInstance {
        id,
        profile,
        placement: Placement::new(start, found.size.get()),
        compute_instances: computes.iter().enumerate().map(compute).collect(),
    });
}

/// Puts instances by name, each at a start, whole: `[("3g.20gb", 0)]`.
pub(crate) fn put_whole(gpu: &mut GpuSnapshot, instances: &[(&str, u8)]) {
    for (name, start) in instances {
        let geometry = gpu.geometry.clone().unwrap();
        let profile = geometry.select(&name.parse().unwrap()).unwrap();
        let whole = profile.whole_compute_profile().unwrap().id;
        put(gpu, profile.id, *start, &[(whole, 0)]);
    }
}
