//! Resets on trees of files, with a tool that the test wrote.
//!
//! Must never reach a GPU.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use model::{GpuIndex, GpuMinor, GpuUuid, Health, MemoryMib, MigState};

use super::*;
use crate::pci::tests::add;

const PCI: PciAddress = PciAddress { domain: 0, bus: 0x0f, device: 0 };
const NAME: &str = "0000:0f:00.0";

fn gpu(compute_capability: (u32, u32)) -> GpuSnapshot {
    GpuSnapshot {
        uuid: GpuUuid::new("GPU-1"),
        index: GpuIndex::new(0),
        minor: GpuMinor::new(0),
        pci: PCI,
        name: "NVIDIA A100-SXM4-40GB".to_owned(),
        pci_device_id: 0x20B0_10DE,
        pci_subsystem_id: None,
        memory: MemoryMib::new(40960),
        compute_capability: Some(compute_capability),
        mig: MigState::Unsupported,
        geometry: None,
        instances: Vec::new(),
        processes: Vec::new(),
        health: Health::Ok,
    }
}

/// A machine with one GPU.
fn machine(folder: &Path) -> HostRoot {
    let root = HostRoot::at(folder);
    let functions = add(&root, NAME, "0x030200", Some("nvidia"));
    fs::write(functions.join("reset"), "").unwrap();
    root
}

fn tool(root: &HostRoot, script: &str) {
    let path = root.resolve("/usr/bin/nvidia-smi");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn without_the_tool_one_is_written_into_the_devices_file() {
    let folder = tempfile::tempdir().unwrap();
    let root = machine(folder.path());
    let reset = MachineReset::new(root);
    let file = reset.file(PCI);
    assert!(file.ends_with("sys/bus/pci/devices/0000:0f:00.0/reset"), "{}", file.display());
    reset.reset(&gpu((8, 0))).unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"1");
}

#[test]
fn a_device_without_reset_is_told_and_no_file_appears() {
    let folder = tempfile::tempdir().unwrap();
    let reset = MachineReset::new(machine(folder.path()));
    let file = reset.file(PCI);
    fs::remove_file(&file).unwrap();
    let error = reset.reset(&gpu((8, 0))).unwrap_err();
    assert!(matches!(error, ResetError::Unsupported { pci: PCI, .. }), "{error}");
    assert!(!file.exists());
}

#[test]
fn a_kernel_that_refuses_is_a_failure_with_its_cause() {
    // A full device answers every write with ENOSPC.
    let error = reset_at(PCI, PathBuf::from("/dev/full")).unwrap_err();
    let ResetError::Failed { source, .. } = error else { panic!("{error}") };
    assert!(source.to_string().contains("space"), "{source}");
}

#[test]
fn the_tool_is_told_the_one_gpu_and_nothing_of_our_environment() {
    let folder = tempfile::tempdir().unwrap();
    let root = machine(folder.path());
    tool(&root, "echo \"$* $HOME$CARGO_PKG_NAME\" > \"$0.told\"");
    let reset = MachineReset::new(root.clone());
    reset.reset(&gpu((8, 0))).unwrap();
    let told = fs::read_to_string(root.resolve("/usr/bin/nvidia-smi.told")).unwrap();
    assert_eq!(told.trim(), "--gpu-reset -i 0000:0f:00.0");
    assert!(fs::read(reset.file(PCI)).unwrap().is_empty(), "not reset twice");
}

#[test]
fn what_the_tool_says_is_the_cause_and_one_that_hangs_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let root = machine(folder.path());
    tool(&root, "echo 'GPU 00000000:0F:00.0 is currently in use by another process.'; exit 255");
    let error = MachineReset::new(root.clone()).reset(&gpu((8, 0))).unwrap_err();
    let ResetError::Failed { source, .. } = error else { panic!("{error}") };
    assert!(source.to_string().contains("in use by another process"), "{source}");
    tool(&root, "exec sleep 60");
    let path = root.resolve("/usr/bin/nvidia-smi");
    let error = smi::reset(&path, PCI, Duration::from_millis(50)).unwrap_err();
    let ResetError::Failed { source, .. } = error else { panic!("{error}") };
    assert!(source.to_string().contains("did not end"), "{source}");
}

/// An A100 on NVSwitches needs Fabric Manager to be reset alone; an H100 does not.
#[test]
fn a_gpu_on_switches_is_reset_alone_only_where_fabric_manager_runs() {
    let folder = tempfile::tempdir().unwrap();
    let root = machine(folder.path());
    add(&root, "0000:c4:00.0", "0x068000", Some("nvidia-nvswitch"));
    let reset = MachineReset::new(root.clone());
    let error = reset.reset(&gpu((8, 0))).unwrap_err();
    assert!(matches!(error, ResetError::NeedsFabricManager { pci: PCI }), "{error}");
    assert!(fs::read(reset.file(PCI)).unwrap().is_empty());
    reset.reset(&gpu((9, 0))).unwrap();
    let process = root.resolve("/proc/4711");
    fs::create_dir_all(&process).unwrap();
    fs::write(process.join("comm"), "nv-fabricmanage\n").unwrap();
    reset.reset(&gpu((8, 0))).unwrap();
}

#[test]
fn a_gpu_kept_for_a_virtual_machine_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let root = HostRoot::at(folder.path());
    let functions = add(&root, NAME, "0x030200", Some("vfio-pci"));
    fs::write(functions.join("reset"), "").unwrap();
    let reset = MachineReset::new(root);
    let error = reset.reset(&gpu((8, 0))).unwrap_err();
    assert!(matches!(&error, ResetError::NotOurs { .. }), "{error}");
    assert!(error.to_string().contains("vfio-pci"), "{error}");
    assert!(fs::read(reset.file(PCI)).unwrap().is_empty());
}
