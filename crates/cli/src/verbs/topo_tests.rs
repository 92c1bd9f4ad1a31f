//! The matrix, its cards and what MIG does to it.

use std::os::unix::fs::symlink;

use driver::GpuPath;
use model::{GpuIndex, GpuMinor, GpuUuid, Health, MemoryMib, MigMode, MigState};

use super::*;

fn snapshot(index: u32, bus: u8, mig: MigMode) -> GpuSnapshot {
    GpuSnapshot {
        uuid: GpuUuid::new(format!("GPU-{index}")),
        index: GpuIndex::new(index),
        minor: GpuMinor::new(index),
        pci: PciAddress { domain: 0, bus, device: 0 },
        name: "NVIDIA A100".into(),
        pci_device_id: 0,
        pci_subsystem_id: None,
        memory: MemoryMib::new(40_960),
        compute_capability: None,
        mig: MigState::Supported { current: mig, pending: mig },
        geometry: None,
        instances: Vec::new(),
        processes: Vec::new(),
        health: Health::Ok,
    }
}

fn matrix_of(gpus: &[GpuSnapshot], nvlinks: u32, level: Option<TopologyLevel>) -> TopologyMatrix {
    let path = |from: usize, to: usize| (from != to).then_some(GpuPath { level, nvlinks });
    let count = gpus.len();
    let near = Near { cpus: Some(vec![0, 1, 2, 3]), memory_nodes: Some(vec![0]), own_node: None };
    TopologyMatrix {
        gpus: gpus.iter().map(|gpu| gpu.uuid.clone()).collect(),
        paths: (0..count).map(|from| (0..count).map(|to| path(from, to)).collect()).collect(),
        near: vec![near; count],
    }
}

/// A machine with a GPU at bus 17 and a card behind the same switch.
fn machine() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let sys = folder.path().join("sys");
    let below = "pci0000:16/0000:16:02.0/0000:17:00.0";
    let gpu = format!("{below}/0000:18:00.0/0000:1a:00.0");
    let card = format!("{below}/0000:18:10.0/0000:1b:00.0");
    for path in [&gpu, &card] {
        let full = sys.join("devices").join(path);
        std::fs::create_dir_all(&full).unwrap();
        std::fs::write(full.join("numa_node"), "0\n").unwrap();
    }
    std::fs::create_dir_all(sys.join("bus/pci/devices")).unwrap();
    let link = |to: &str, at: &str| {
        let at = sys.join(at);
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        symlink(sys.join("devices").join(to), at).unwrap();
    };
    link(&gpu, "bus/pci/devices/0000:1a:00.0");
    link(&card, "class/infiniband/mlx5_0/device");
    link(&card, "class/net/ens1f0/device");
    folder
}

#[test]
fn gpus_and_cards_make_one_matrix() {
    let folder = machine();
    let gpus = [snapshot(0, 0x1a, MigMode::Disabled), snapshot(1, 0x2a, MigMode::Enabled)];
    let matrix = matrix_of(&gpus, 0, Some(TopologyLevel::System));
    let view = view(&HostRoot::at(folder.path()), &gpus, &matrix);
    let text = lines(&view, 80).join("\n");
    let text = anstream::adapter::strip_str(&text).to_string();
    // A continued line of a literal loses its indent.
    let text = text.trim_start();
    assert!(
        text.starts_with(
            "\
             GPU0  GPU1  NIC0  CPU AFFINITY  NUMA  GPU NUMA
GPU0  X     SYS   PIX   0-3           0     -
GPU1  SYS   X     ?     0-3           0     -
NIC0  PIX   ?     X     -             0     -

  NIC0: mlx5_0 ens1f0 (0000:1b:00.0)
"
        ),
        "{text}"
    );
    assert!(text.contains("  PIX  at most one PCIe switch\n"), "{text}");
    assert!(text.contains("MIG is on on GPU 1: NVLink is off there"), "{text}");
    assert!(text.contains("For work on several GPUs: GPU 0"), "{text}");
    assert!(text.lines().all(|line| width(line) <= 80), "{text}");
}

#[test]
fn nvlinks_stand_before_pcie_and_wide_matrices_are_parted() {
    let gpus: Vec<GpuSnapshot> =
        (0..8).map(|index| snapshot(index, index as u8, MigMode::Disabled)).collect();
    let matrix = matrix_of(&gpus, 12, Some(TopologyLevel::Multiple));
    let folder = tempfile::tempdir().unwrap();
    let view = view(&HostRoot::at(folder.path()), &gpus, &matrix);
    let first = &view.links[0][1];
    assert_eq!((first.mark.as_str(), first.nvlinks), ("NV12", 12));
    assert_eq!(first.pcie.as_deref(), Some("PXB"));
    assert_eq!(view.links[3][3].mark, "X");
    let text = lines(&view, 60).join("\n");
    let text = anstream::adapter::strip_str(&text).to_string();
    assert!(text.contains("\n      CPU AFFINITY  NUMA  GPU NUMA\n"), "{text}");
    assert!(text.contains("MIG is off on every GPU"), "{text}");
}
