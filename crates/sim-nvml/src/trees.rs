//! The files that tools read beside NVML: `/proc`, `/sys` and `/dev` of the simulated host, as
//! regular files under a root folder.
//!
//! Must never be the source of anything: the tree follows the state, and is mended from it.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use model::{GpuMinor, PciAddress};
use sim_gpu::{CapabilityFile, Gpu, Node, Virtualization, mig_minors};

/// Number of GPUs in the static list of capability minors.
const GPUS_IN_MINORS: u32 = 32;
/// Major number of the GPU nodes (fixed by NVIDIA).
const MAJOR_GPU: u32 = 195;
/// Major number of the unified memory nodes, as logged; it varies on real machines.
const MAJOR_UVM: u32 = 510;
/// Major number of the capability nodes, as logged; it varies on real machines.
const MAJOR_CAPS: u32 = 240;
/// Everybody may use it.
const MODE_ALL: u32 = 0o666;

/// An operation that failed, with its path.
pub(crate) type Failed = (PathBuf, io::Error);

fn write(path: PathBuf, text: &str, mode: u32) -> Result<(), Failed> {
    let attempt = || -> io::Result<()> {
        if let Some(parent) = path.parent() {
            make_folder(parent)?;
        }
        // A file that may not be written (mode 0444) is replaced as a whole.
        match std::fs::write(&path, text) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                std::fs::remove_file(&path)?;
                std::fs::write(&path, text)?;
            }
            other => other?,
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))
    };
    attempt().map_err(|error| (path.clone(), error))
}

/// Makes a folder and its parents, each with the permissions of the one above it.
fn make_folder(path: &Path) -> io::Result<()> {
    match std::fs::create_dir(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(parent) = path.parent() {
                make_folder(parent)?;
            }
            std::fs::create_dir(path)?;
        }
        Err(error) => return Err(error),
    }
    let above = path.parent().map(std::fs::metadata).transpose()?;
    match above {
        Some(above) => std::fs::set_permissions(path, above.permissions()),
        None => Ok(()),
    }
}

/// Writes the whole tree of a new host.
pub(crate) fn create(root: &Path, node: &Node, shared: bool) -> Result<(), Failed> {
    std::fs::create_dir_all(root).map_err(|error| (root.to_owned(), error))?;
    let mode = if shared { 0o777 } else { 0o755 };
    std::fs::set_permissions(root, std::fs::Permissions::from_mode(mode))
        .map_err(|error| (root.to_owned(), error))?;
    create_proc(root, node)?;
    for gpu in &node.gpus {
        create_pci(root, node, gpu)?;
    }
    create_dev(root, node)?;
    follow(root, None, node)
}

fn create_proc(root: &Path, node: &Node) -> Result<(), Failed> {
    let proc = root.join("proc");
    let caps = proc.join("driver/nvidia-caps");
    write(caps.join("mig-minors"), &mig_minors(GPUS_IN_MINORS), 0o444)?;
    write(caps.join("nvlink-minors"), "fabric-mgmt 0\n", 0o444)?;
    write(caps.join("sys-minors"), "", 0o444)?;
    let version = &node.driver.version;
    let text = format!(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {version}  Release Build\n\
         GCC version:  simulated\n"
    );
    write(proc.join("driver/nvidia/version"), &text, 0o444)?;
    let modules = "nvidia_uvm 2158592 0 - Live 0x0000000000000000 (OE)\n\
                   nvidia_modeset 1880064 0 - Live 0x0000000000000000 (OE)\n\
                   nvidia 14381056 2 nvidia_uvm,nvidia_modeset, Live 0x0000000000000000 (OE)\n";
    write(proc.join("modules"), modules, 0o444)?;
    let devices = format!(
        "Character devices:\n  1 mem\n  5 /dev/tty\n{MAJOR_GPU} nvidia\n{MAJOR_GPU} nvidiactl\n\
         {MAJOR_CAPS} nvidia-caps\n{MAJOR_UVM} nvidia-uvm\n\nBlock devices:\n  8 sd\n"
    );
    write(proc.join("devices"), &devices, 0o444)
}

/// The address as `/sys` and `/proc` write it: `0000:07:00.0`.
fn short_address(pci: PciAddress) -> String {
    format!("{:04x}:{:02x}:{:02x}.0", pci.domain, pci.bus, pci.device)
}

fn create_pci(root: &Path, node: &Node, gpu: &Gpu) -> Result<(), Failed> {
    let address = short_address(gpu.pci);
    let index = node.gpus.iter().position(|other| other.uuid == gpu.uuid).unwrap_or(0);
    let Ok(board) = node.board(index) else { return Ok(()) };
    let information = format!(
        "Model: \t\t {}\nIRQ:   \t\t {}\nGPU UUID: \t {}\nVideo BIOS: \t {:02}.00.00.00.01\n\
         Bus Type: \t PCIe\nDMA Size: \t 47 bits\nDMA Mask: \t 0x7fffffffffff\n\
         Bus Location: \t {address}\nDevice Minor: \t {}\nGPU Excluded:\t No\n",
        board.name,
        100 + index,
        gpu.uuid,
        85 + board.architecture,
        gpu.minor,
    );
    let path = root.join("proc/driver/nvidia/gpus").join(&address).join("information");
    write(path, &information, 0o444)?;

    let folder = root.join("sys/bus/pci/devices").join(&address);
    let (device, subsystem) = (board.pci_device_id >> 16, board.pci_subsystem_id >> 16);
    let cpus: Vec<String> =
        gpu.cpus.iter().map(|range| format!("{}-{}", range.first, range.last)).collect();
    let files = [
        ("class", "0x030200\n".to_owned()),
        ("vendor", "0x10de\n".to_owned()),
        ("device", format!("0x{device:04x}\n")),
        ("subsystem_vendor", "0x10de\n".to_owned()),
        ("subsystem_device", format!("0x{subsystem:04x}\n")),
        ("numa_node", format!("{}\n", gpu.numa_node)),
        ("local_cpulist", format!("{}\n", cpus.join(","))),
        ("enable", "1\n".to_owned()),
        ("resource", bars(board.total_memory.bytes())),
        (
            "uevent",
            format!(
                "DRIVER=nvidia\nPCI_CLASS=30200\nPCI_ID=10DE:{device:04X}\n\
                 PCI_SUBSYS_ID=10DE:{subsystem:04X}\nPCI_SLOT_NAME={address}\n"
            ),
        ),
    ];
    for (name, text) in files {
        write(folder.join(name), &text, 0o444)?;
    }
    // A guest cannot reset a GPU that was passed through to it.
    if gpu.virtualization == Virtualization::BareMetal {
        write(folder.join("reset"), "", 0o200)?;
    }
    let driver = root.join("sys/bus/pci/drivers/nvidia");
    make_folder(&driver).map_err(|error| (driver.clone(), error))?;
    let link = folder.join("driver");
    let _earlier = std::fs::remove_file(&link);
    std::os::unix::fs::symlink("../../drivers/nvidia", &link).map_err(|error| (link, error))
}

/// The lines of a PCI `resource` file: registers, memory window, and nothing else.
fn bars(memory: u64) -> String {
    let window = memory.max(1 << 28).next_power_of_two();
    let mut text = String::from("0x00000000e0000000 0x00000000e0ffffff 0x0000000000040200\n");
    let base = 1u64 << 46;
    text += &format!("0x{base:016x} 0x{:016x} 0x000000000014220c\n", base + window - 1);
    for _ in 2..13 {
        text += "0x0000000000000000 0x0000000000000000 0x0000000000000000\n";
    }
    text
}

fn create_dev(root: &Path, node: &Node) -> Result<(), Failed> {
    let dev = root.join("dev");
    let node_file = |name: String, major: u32, minor: u32| {
        write(dev.join(name), &device_text(major, minor), MODE_ALL)
    };
    node_file("nvidiactl".into(), MAJOR_GPU, 255)?;
    node_file("nvidia-uvm".into(), MAJOR_UVM, 0)?;
    node_file("nvidia-uvm-tools".into(), MAJOR_UVM, 1)?;
    for gpu in &node.gpus {
        node_file(format!("nvidia{}", gpu.minor), MAJOR_GPU, gpu.minor.get())?;
    }
    write(dev.join("nvidia-caps/nvidia-cap0"), &device_text(MAJOR_CAPS, 0), 0o400)
}

/// What a regular file says that stands for a device node.
fn device_text(major: u32, minor: u32) -> String {
    format!("simulated character device {major}:{minor}\n")
}

/// Path of the device node of a capability.
pub(crate) fn capability_node(root: &Path, minor: u32) -> PathBuf {
    root.join(format!("dev/nvidia-caps/nvidia-cap{minor}"))
}

/// Path of the device node of a GPU.
pub(crate) fn gpu_node(root: &Path, minor: GpuMinor) -> PathBuf {
    root.join(format!("dev/nvidia{minor}"))
}

/// Brings the capability files and nodes from `before`, or from whatever is there, to `after`.
/// Files of instances that stay are left alone, with what an administrator wrote into them.
///
/// Device nodes of instances that went stay, as real ones do: nothing removes them. They get their
/// stock owner and permissions back when an instance with their minor is made.
pub(crate) fn follow(root: &Path, before: Option<&Node>, after: &Node) -> Result<(), Failed> {
    if before.is_some_and(|before| same_instances(before, after)) {
        return Ok(());
    }
    let wanted = after.capability_files();
    let present: BTreeMap<String, Option<u64>> = match before {
        Some(before) => known(before),
        None => on_disk(&root.join("proc"), "driver/nvidia/capabilities"),
    };
    let now = known(after);
    for path in present.keys().rev() {
        if !now.contains_key(path) {
            remove(&root.join("proc"), path)?;
        }
    }
    for file in wanted {
        // The same path may stand for another making of the instance.
        let kept = present.get(&file.path).is_some_and(|was| {
            was.is_none() || now.get(&file.path).is_some_and(|generation| generation == was)
        });
        if !kept {
            make(root, &file)?;
        }
    }
    Ok(())
}

fn same_instances(before: &Node, after: &Node) -> bool {
    before.gpus.len() == after.gpus.len()
        && before.gpus.iter().zip(&after.gpus).all(|(old, new)| old.instances == new.instances)
}

/// The capability files of a state, each with the generation of the instance it stands for.
fn known(node: &Node) -> BTreeMap<String, Option<u64>> {
    const ROOT: &str = "driver/nvidia/capabilities";
    let mut files = BTreeMap::new();
    files.insert(format!("{ROOT}/mig/config"), Some(0));
    files.insert(format!("{ROOT}/mig/monitor"), Some(0));
    for gpu in &node.gpus {
        for instance in &gpu.instances {
            let folder = format!("{ROOT}/gpu{}/mig/gi{}", gpu.minor, instance.id);
            files.insert(format!("{folder}/access"), Some(u64::from(instance.generation)));
            for compute in &instance.compute {
                let path = format!("{folder}/ci{}/access", compute.id);
                files.insert(path, Some(u64::from(compute.generation)));
            }
        }
    }
    files
}

/// The capability files that are there, their generations unknown.
fn on_disk(proc: &Path, below: &str) -> BTreeMap<String, Option<u64>> {
    let mut files = BTreeMap::new();
    let Ok(entries) = std::fs::read_dir(proc.join(below)) else { return files };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = format!("{below}/{name}");
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            files.extend(on_disk(proc, &path));
        } else {
            files.insert(path, None);
        }
    }
    files
}

/// Removes a file and the folders above it that became empty.
fn remove(proc: &Path, path: &str) -> Result<(), Failed> {
    let full = proc.join(path);
    match std::fs::remove_file(&full) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err((full, error)),
        Ok(()) | Err(_) => {}
    }
    let mut folder = full.parent();
    while let Some(empty) = folder {
        let kept = empty.ends_with("capabilities") || std::fs::remove_dir(empty).is_err();
        if kept {
            break;
        }
        folder = empty.parent();
    }
    Ok(())
}

fn make(root: &Path, file: &CapabilityFile) -> Result<(), Failed> {
    // On a real machine root writes to these in spite of their mode; whoever owns a simulated
    // host is its root, so the owner may write.
    write(root.join("proc").join(&file.path), &file.contents, file.mode | 0o200)?;
    let node = capability_node(root, file.minor);
    if !node.exists() {
        return write(node, &device_text(MAJOR_CAPS, file.minor), file.mode);
    }
    stock(root, &node, file.mode).map_err(|error| (node, error))
}

/// Gives a device node its stock owner and permissions.
fn stock(root: &Path, node: &Path, mode: u32) -> io::Result<()> {
    let (owner, now) = (std::fs::metadata(root)?, std::fs::metadata(node)?);
    if (owner.uid(), owner.gid()) != (now.uid(), now.gid()) {
        std::os::unix::fs::chown(node, Some(owner.uid()), Some(owner.gid()))?;
    }
    std::fs::set_permissions(node, std::fs::Permissions::from_mode(mode))
}
