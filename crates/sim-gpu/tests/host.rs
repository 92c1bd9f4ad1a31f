//! Hosts: presets, identities, topology, faults, latencies, and the size of the encoded state.

mod common;

use common::{NOW, host, host_with, root};
use model::topology::TopologyLevel;
use model::{GpuMinor, GpuUuid, MigMode, Millis, PciAddress, catalog};
use sim_gpu::{
    BoardCache, ChipKind, CpuRange, Fault, FaultEffect, GpuSpec, HostSpec, HostSpecError,
    Latencies, Node, NvLinks, Return,
};

fn build(spec: &HostSpec) -> Result<Node, HostSpecError> {
    Node::new(spec, &mut BoardCache::new())
}

#[test]
fn every_preset_and_every_board_makes_a_host() {
    for (kind, count, board) in [
        ("dgx-a100", 8, "a100-sxm4-40gb"),
        ("dgx-a100-80", 8, "a100-sxm4-80gb"),
        ("dgx-h100", 8, "h100-sxm5-80gb"),
        ("hgx-h200", 8, "h200-sxm-141gb"),
        ("dgx-b200", 8, "b200"),
        ("a30x4", 4, "a30"),
        ("rtx-pro-6000x8", 8, "rtx-pro-6000-bse"),
        ("h100-pcie-80gb:32", 32, "h100-pcie-80gb"),
    ] {
        let node = host(kind);
        assert_eq!(node.gpus.len(), count, "{kind}");
        assert!(node.gpus.iter().all(|gpu| gpu.board == board && !gpu.mig_on()), "{kind}");
        assert_eq!(node.check_invariants(), Ok(()), "{kind}");
    }
    assert_eq!(HostSpec::PRESETS.len(), 7);
    for board in catalog::boards() {
        let node = host(&format!("{}:2", board.id));
        assert!(node.mig_capable(0).unwrap(), "{}", board.id);
        for profile in &node.board(0).unwrap().geometry.profiles {
            assert!(profile.whole_compute_profile().is_some(), "{} {}", board.id, profile.name);
        }
    }
}

#[test]
fn a_host_that_cannot_be_is_named() {
    let named = |kind: &str| HostSpec::named("test", kind).map(|spec| spec.gpus.len());
    let nearest = match named("a100-sxm-40gb:1") {
        Err(HostSpecError::UnknownBoard { nearest, .. }) => nearest,
        other => panic!("{other:?}"),
    };
    assert_eq!(nearest[0], "a100-sxm4-40gb");
    assert_eq!(named("a30:0"), Err(HostSpecError::Count(0)));
    assert_eq!(named("a30:33"), Err(HostSpecError::Count(33)));
    for kind in ["dgx", "a30", "a30:", "a30:x", "a30:-1", ""] {
        assert!(matches!(named(kind), Err(HostSpecError::UnknownHost { .. })), "{kind}");
    }
    assert!(named("dgx").unwrap_err().to_string().contains("dgx-a100-80"));
    let mut spec = HostSpec::default();
    assert_eq!(build(&spec), Err(HostSpecError::Count(0)));
    let pci = Some(PciAddress { domain: 0, bus: 7, device: 0 });
    spec.add(&GpuSpec { pci, ..GpuSpec::new("a30") }, 1);
    spec.add(&GpuSpec { pci, ..GpuSpec::new("a30") }, 1);
    assert_eq!(build(&spec), Err(HostSpecError::Duplicate("PCI address")));
}

#[test]
fn identities_follow_from_host_and_position() {
    let node = host("dgx-a100");
    assert_eq!(node.gpus, host("dgx-a100").gpus);
    let other = HostSpec::named("other", "dgx-a100").unwrap();
    let other = build(&other).unwrap();
    let mut uuids: Vec<&GpuUuid> =
        node.gpus.iter().chain(&other.gpus).map(|gpu| &gpu.uuid).collect();
    uuids.sort();
    uuids.dedup();
    assert_eq!(uuids.len(), 16);
    for (index, gpu) in node.gpus.iter().enumerate() {
        assert_eq!((gpu.uuid.as_str().len(), &gpu.uuid.as_str()[..4]), (40, "GPU-"));
        assert!(gpu.serial.len() == 13 && gpu.serial.bytes().all(|byte| byte.is_ascii_digit()));
        assert_eq!(gpu.minor, GpuMinor::new(index as u32));
        assert_eq!(node.gpu_by_uuid(&gpu.uuid), Some(index));
        assert_eq!(node.gpu_by_pci(gpu.pci), Some(index));
    }
    let buses: Vec<u8> = node.gpus.iter().map(|gpu| gpu.pci.bus).collect();
    assert_eq!(buses, [0x07, 0x0f, 0x47, 0x4e, 0x87, 0x90, 0xb7, 0xbd]);
    assert_eq!(node.board(0).unwrap().pci_device_id, 0x20b0_10de);
    assert_eq!(node.driver.nvml_version(), "13.580.126.09");
}

#[test]
fn mixed_hosts_are_sorted_by_pci_address() {
    let mut spec = HostSpec { host: "mixed".into(), ..HostSpec::default() };
    spec.add(
        &GpuSpec {
            pci: Some(PciAddress { domain: 0, bus: 0xf0, device: 0 }),
            minor: Some(GpuMinor::new(5)),
            chip: ChipKind::Swapped,
            ..GpuSpec::new("a100-pcie-40gb")
        },
        1,
    );
    spec.add(&GpuSpec::new("a30"), 2);
    let node = build(&spec).unwrap();
    let seen: Vec<(&str, u8, u32)> =
        node.gpus.iter().map(|gpu| (gpu.board.as_str(), gpu.pci.bus, gpu.minor.get())).collect();
    assert_eq!(seen, [("a30", 0x17, 0), ("a30", 0x2a, 1), ("a100-pcie-40gb", 0xf0, 5)]);
    assert_eq!(node.gpus[2].chip, ChipKind::Swapped);
    assert_eq!(node.board(2).unwrap().name, "NVIDIA A100-PCIE-40GB");
}

#[test]
fn topology_is_that_of_the_machine() {
    use TopologyLevel::{Internal, Multiple, Node as SameNode, System};
    let mut node = host("dgx-a100");
    let row: Vec<TopologyLevel> =
        (0..8).map(|other| node.common_ancestor(0, other).unwrap()).collect();
    assert_eq!(row, [Internal, Multiple, System, System, System, System, System, System]);
    assert_eq!(node.nvlinks, NvLinks::Switched(12));
    assert_eq!(node.active_nvlinks(0), Ok(12));
    assert_ne!(node.nvlink_remote(0, 0), node.nvlink_remote(0, 1));
    assert_eq!(node.nvlink_remote(0, 12), Err(Return::InvalidArgument));
    assert_eq!(node.cpu_affinity(0).unwrap().len(), 32);
    assert_eq!(node.gpus[0].cpus[0], CpuRange { first: 48, last: 63 });
    node.set_mig_mode(0, root(), MigMode::Enabled, NOW).unwrap();
    assert_eq!((node.active_nvlinks(0), node.nvlink_count(0)), (Ok(0), Ok(12)));
    assert_eq!(node.common_ancestor(0, 8), Err(Return::InvalidArgument));
    let hopper = host("dgx-h100");
    assert_eq!(hopper.active_nvlinks(3), Ok(18));
    assert_eq!(hopper.common_ancestor(0, 3), Ok(SameNode));
    assert_eq!(hopper.common_ancestor(0, 4), Ok(System));
    let cards = host("a30x4");
    assert_eq!(cards.active_nvlinks(0), Ok(0));
    assert_eq!(cards.nvlink_remote(0, 0), Err(Return::NotSupported));
    let nodes: Vec<u8> = cards.gpus.iter().map(|gpu| gpu.numa_node).collect();
    assert_eq!(nodes, [0, 0, 1, 1]);
}

fn fault(call: &str, gpu: Option<usize>, skip: u32, times: u32) -> Fault {
    Fault { call: call.into(), gpu, skip, times, effect: FaultEffect::Lie }
}

#[test]
fn faults_wait_for_their_call() {
    let mut node = host("a30:2");
    node.add_fault(fault("GpuInstanceCreate*", Some(1), 2, 2));
    let create = "nvmlGpuInstanceCreateComputeInstance";
    assert!(node.has_fault_for(create, Some(1)) && !node.has_fault_for(create, None));
    assert_eq!(node.fault_for("nvmlGpuInstanceDestroy", Some(1)), None);
    assert_eq!(node.fault_for(create, Some(0)), None, "another GPU");
    assert_eq!(node.fault_for(create, Some(1)), None, "skipped");
    assert_eq!(node.fault_for(create, Some(1)), None, "skipped too");
    assert_eq!(node.fault_for(create, Some(1)), Some(FaultEffect::Lie));
    assert_eq!(node.fault_for(create, Some(1)), Some(FaultEffect::Lie));
    assert_eq!(node.fault_for(create, Some(1)), None, "used up");
    assert!(node.faults.is_empty());
    node.add_fault(fault("*", None, 0, 1));
    assert_eq!(node.fault_for("nvmlInit_v2", None), Some(FaultEffect::Lie));
    for (pattern, call, matches) in [
        ("nvmlDeviceSetMigMode", "nvmlDeviceSetMigMode", true),
        ("DeviceSetMigMode", "nvmlDeviceSetMigMode", true),
        ("*Destroy", "nvmlGpuInstanceDestroy", true),
        ("*Instance*Info*", "nvmlComputeInstanceGetInfo_v2", true),
        ("DeviceSet", "nvmlDeviceSetMigMode", false),
        ("", "nvmlInit", false),
    ] {
        node.clear_faults();
        node.add_fault(fault(pattern, None, 0, 1));
        assert_eq!(node.fault_for(call, Some(0)).is_some(), matches, "{pattern} {call}");
    }
    node.add_fault(fault("*", None, 0, 0));
    node.wipe(NOW);
    assert!(node.faults.is_empty());
}

#[test]
fn calls_take_the_time_the_knobs_say() {
    let usual = Latencies::default();
    assert_eq!(usual.of("nvmlDeviceCreateGpuInstanceWithPlacement"), Millis::new(250));
    let down = usual.of("nvmlGpuInstanceDestroy").get() + usual.of("ComputeInstanceDestroy").get();
    assert_eq!(down, 1000, "one second for a GPU instance and its compute instance");
    assert_eq!(usual.of("nvmlDeviceGetName"), Millis::new(0));
    assert_eq!(Latencies::ZERO.of("nvmlGpuInstanceDestroy"), Millis::new(0));
}

#[test]
fn return_codes_and_texts_are_those_of_nvml() {
    for (value, code, text) in [
        (Return::Success, 0, "Success"),
        (Return::NoPermission, 4, "Insufficient Permissions"),
        (Return::InUse, 19, "In use by another client"),
        (Return::InsufficientResources, 23, "Insufficient Resources"),
        (Return::GpuNotFound, 28, "No supported GPUs were found"),
        (Return::InvalidState, 29, "Resource not in correct state to perform requested operation"),
        (Return::ResetTypeNotSupported, 30, "Reset type not supported"),
        (Return::Unknown, 999, "Unknown Error"),
    ] {
        assert_eq!((value.code(), value.text()), (code, text));
    }
    for (at, value) in Return::ALL.into_iter().enumerate() {
        assert_eq!(Return::from_code(value.code()), Some(value));
        assert_eq!(Return::from_name(value.name()), Some(value));
        assert!(value == Return::Unknown || value.code() as usize == at);
    }
    assert_eq!(Return::from_code(31), None);
    assert_eq!(Return::from_name("nvml_error_in_use"), Some(Return::InUse));
    assert_eq!(Return::InvalidState.text_in(535), "Unknown Error");
    assert_eq!(Return::InvalidState.text_in(550), Return::InvalidState.text());
    assert_eq!(Return::ResetTypeNotSupported.text_in(550), "Unknown Error");
    assert_eq!(Return::InUse.text_in(535), Return::InUse.text());
}

#[test]
fn a_full_host_encodes_to_a_few_kilobytes() {
    let mut node = host_with("dgx-a100", ChipKind::Swapped);
    for gpu in 0..8 {
        node.set_mig_mode(gpu, root(), MigMode::Enabled, NOW).unwrap();
        for _ in 0..7 {
            let instance = node
                .create_gpu_instance(gpu, root(), model::GpuInstanceProfileId::new(19), None, NOW)
                .unwrap();
            let request = sim_gpu::ComputeInstanceRequest {
                instance,
                profile: model::ComputeInstanceProfileId::new(0),
                placement: None,
            };
            node.create_compute_instance(gpu, root(), request, NOW).unwrap();
        }
    }
    assert_eq!(node.mig_devices(7).unwrap().len(), 7);
    let size = postcard::to_allocvec(&node).unwrap().len();
    assert!(size < 4096, "{size} bytes");
}
