//! Who is found, on a machine that is simulated.

use std::fs::{self, File};
use std::sync::Arc;

use host::processes::myself;
use model::catalog::board;
use model::{
    ComputeInstance, ComputeInstanceProfileId, GpuIndex, GpuInstanceProfileId, GpuMinor,
    GpuProcess, Health, MemoryMib, MigMode, MigState, Placement,
};

use super::*;

const PCI: PciAddress = PciAddress { domain: 0, bus: 7, device: 0 };

/// GPU instance 1 (`3g.20gb`) with two compute instances, the second with this process on it.
fn observed(pid: u32) -> NodeSnapshot {
    let part = |id, processes| ComputeInstance {
        id: ComputeInstanceId::new(id),
        profile: ComputeInstanceProfileId::new(0),
        placement: Placement::new(id as u8, 1),
        uuid: None,
        processes,
    };
    let process = GpuProcess { pid, memory: Some(MemoryMib::new(5)) };
    let mode = MigMode::Enabled;
    NodeSnapshot {
        taken_at: Timestamp::default(),
        driver_version: "580".into(),
        cuda_version: None,
        gpus: vec![GpuSnapshot {
            uuid: GpuUuid::new("GPU-a"),
            index: GpuIndex::new(0),
            minor: GpuMinor::new(0),
            pci: PCI,
            name: "NVIDIA A100".into(),
            pci_device_id: 0,
            pci_subsystem_id: None,
            memory: MemoryMib::new(40_960),
            compute_capability: None,
            mig: MigState::Supported { current: mode, pending: mode },
            geometry: Some(Arc::new(board("a100-sxm4-40gb").unwrap().geometry())),
            instances: vec![GpuInstance {
                id: GpuInstanceId::new(1),
                profile: GpuInstanceProfileId::new(9),
                placement: Placement::new(4, 4),
                compute_instances: vec![part(0, vec![]), part(1, vec![process])],
            }],
            processes: Vec::new(),
            health: Health::Ok,
        }],
    }
}

struct Machine {
    folder: tempfile::TempDir,
    root: HostRoot,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = HostRoot::at(folder.path());
        for name in ["nvidiactl", "nvidia0", "nvidia-caps/nvidia-cap12", "nvidia-caps/nvidia-cap13"]
        {
            let path = folder.path().join("dev").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        Self { folder, root }
    }

    fn open(&self, name: &str) -> File {
        File::open(self.folder.path().join("dev").join(name)).unwrap()
    }

    fn look(&self, pid: u32, part: Option<u32>, invented: &[Invented]) -> BusyView {
        let scene = Scene {
            observed: &observed(pid),
            state: &State::default(),
            root: &self.root,
            invented,
            by: Peer { uid: Uid::new(4242), admin: false },
        };
        let place = BusyPlace {
            gpu: GpuUuid::new("GPU-a"),
            gpu_instance: part.map(|_| GpuInstanceId::new(1)),
            compute_instance: part.map(ComputeInstanceId::new),
        };
        look(&scene, &place).unwrap()
    }
}

/// A process of another program that holds what this one hands to it.
struct Child(std::process::Child);

impl Child {
    fn with(file: File) -> Self {
        let child = std::process::Command::new("sleep").arg("100").stdin(file).spawn();
        Self(child.unwrap())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn who_runs_there_is_found_on_its_part_alone() {
    let machine = Machine::new();
    let child = Child::with(machine.open("nvidia-caps/nvidia-cap13"));
    let pid = child.0.id();
    let view = machine.look(pid, Some(1), &[]);
    assert_eq!(view.what, "1c.3g.20gb on GPU 0 (GPU instance 1, compute instance 1)");
    let [one] = view.holders.as_slice() else { panic!("{view:?}") };
    assert_eq!(one.pid, Some(pid));
    assert_eq!(one.memory_mib, Some(5));
    assert_eq!(one.command.as_deref(), Some("sleep"));
    assert!(one.in_the_way && one.holds == [HoldView::Runs]);
    // Somebody else's arguments.
    assert_eq!(one.command_line, None);
    let view = machine.look(pid, Some(0), &[]);
    let [one] = view.holders.as_slice() else { panic!("{view:?}") };
    // nvidia-cap13 is the node of compute instance 0.
    assert_eq!(one.holds, [HoldView::OpenSlice]);
    assert!(one.how[0].starts_with("has /dev/nvidia-caps/nvidia-cap13 open"), "{one:?}");
    let view = machine.look(pid, None, &[]);
    assert_eq!(view.holders[0].holds, [HoldView::Runs, HoldView::OpenSlice]);
}

#[test]
fn whoever_has_the_gpu_open_is_in_the_way_of_the_gpu_and_not_of_a_slice() {
    let machine = Machine::new();
    let child = Child::with(machine.open("nvidia0"));
    let nobody = u32::MAX;
    let of = |view: BusyView| {
        let mine = view.holders.into_iter().find(|holder| holder.pid == Some(child.0.id()));
        mine.unwrap().in_the_way
    };
    assert!(of(machine.look(nobody, None, &[])));
    assert!(!of(machine.look(nobody, Some(0), &[])));
}

#[test]
fn whoever_looks_is_no_holder() {
    let machine = Machine::new();
    let _open = machine.open("nvidia0");
    let me = myself().unwrap().pid;
    let view = machine.look(u32::MAX, Some(0), &[]);
    assert!(view.holders.iter().all(|holder| holder.pid != Some(me)), "{view:?}");
}

#[test]
fn invented_holders_are_shown_where_they_hold() {
    let machine = Machine::new();
    let invented = |gpu, instance: Option<u32>| Invented {
        name: "dcgm".into(),
        gpu,
        gpu_instance: instance.map(GpuInstanceId::new),
        compute_instance: None,
    };
    let found = |one: Invented, part| {
        let view = machine.look(u32::MAX, part, &[one]);
        view.holders.iter().any(|holder| holder.command.as_deref() == Some("dcgm"))
    };
    assert!(found(invented(None, None), Some(0)));
    assert!(found(invented(Some(0), Some(1)), Some(0)));
    assert!(found(invented(Some(0), Some(1)), None));
    assert!(!found(invented(Some(0), Some(2)), Some(0)));
    assert!(!found(invented(Some(1), None), None));
}

#[test]
fn modules_in_use_hold_gpus_and_not_slices() {
    let machine = Machine::new();
    fs::create_dir_all(machine.folder.path().join("proc")).unwrap();
    let text = "nvidia_drm 1 4 - Live 0x0\nnvidia_uvm 1 2 - Live 0x0\n";
    fs::write(machine.folder.path().join("proc/modules"), text).unwrap();
    let modules = |part| {
        let view = machine.look(u32::MAX, part, &[]);
        let found = view.holders.into_iter().filter(|one| one.holds == [HoldView::Module]);
        found.filter_map(|one| one.command).collect::<Vec<_>>()
    };
    assert_eq!(modules(None), ["nvidia_drm"]);
    assert_eq!(modules(Some(0)), [""; 0]);
}

#[test]
fn a_gpu_of_a_virtual_machine_is_told_though_no_driver_sees_it() {
    let machine = Machine::new();
    assert_eq!(busy_passthrough(&machine.root, PCI), None);
    let device = machine.folder.path().join("sys/bus/pci/devices/0000:07:00.0");
    fs::create_dir_all(&device).unwrap();
    fs::write(device.join("vendor"), "0x10de\n").unwrap();
    fs::write(device.join("class"), "0x030200\n").unwrap();
    let link = |name: &str, to: &str| std::os::unix::fs::symlink(to, device.join(name)).unwrap();
    link("driver", "../../drivers/vfio-pci");
    link("iommu_group", "../../kernel/iommu_groups/42");
    let view = busy_passthrough(&machine.root, PCI).unwrap();
    assert!(view.holders[0].how[0].contains("bound to vfio-pci"), "{view:?}");
    fs::create_dir_all(machine.folder.path().join("dev/vfio")).unwrap();
    fs::write(machine.folder.path().join("dev/vfio/42"), "").unwrap();
    let child = Child::with(machine.open("vfio/42"));
    let view = busy_passthrough(&machine.root, PCI).unwrap();
    assert_eq!(view.holders[0].pid, Some(child.0.id()));
    assert_eq!(view.holders[0].holds, [HoldView::Passthrough]);
}

#[test]
fn what_does_not_exist_is_said() {
    let machine = Machine::new();
    let place = |gpu: &str, instance, part| BusyPlace {
        gpu: GpuUuid::new(gpu),
        gpu_instance: Some(GpuInstanceId::new(instance)),
        compute_instance: Some(ComputeInstanceId::new(part)),
    };
    let scene = Scene {
        observed: &observed(1),
        state: &State::default(),
        root: &machine.root,
        invented: &[],
        by: Peer { uid: Uid::new(0), admin: true },
    };
    let said = |place| look(&scene, &place).unwrap_err().to_string();
    assert_eq!(said(place("GPU-b", 1, 0)), "there is no GPU GPU-b here");
    assert_eq!(said(place("GPU-a", 2, 0)), "GPU 0 has no GPU instance 2");
    assert!(said(place("GPU-a", 1, 7)).contains("compute instance 7"));
}
