//! The files that tools read beside NVML: `/proc`, `/sys` and `/dev` of the simulated host, as
//! regular files under a root folder.
//!
//! Must never be the source of anything: the tree follows the state, and is mended from it.

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use model::{GpuMinor, PciAddress};
use sim_gpu::{Gpu, Node, Virtualization, compute_instance_minor, gpu_instance_minor, mig_minors};

/// Number of GPUs in the static list of capability minors.
const GPUS_IN_MINORS: u32 = 32;
/// Major number of the GPU nodes (fixed by NVIDIA).
const MAJOR_GPU: u32 = 195;
/// Major number of the unified memory nodes, as logged; it varies on real machines.
const MAJOR_UVM: u32 = 510;
/// Major number of the capability nodes, as logged; it varies on real machines.
const MAJOR_CAPS: u32 = 240;
/// The capability folder below the root.
const CAPABILITIES: &str = "proc/driver/nvidia/capabilities";
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
    let spares = root.with_file_name("spare");
    make_folder(&spares)
        .and_then(|()| std::fs::set_permissions(&spares, std::fs::Permissions::from_mode(mode)))
        .map_err(|error| (spares, error))?;
    mend(root, node)
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
    let end = base + window - 1;
    let memory = format!("0x{base:016x} 0x{end:016x} 0x000000000014220c\n");
    text.push_str(&memory);
    for _ in 2..13 {
        text.push_str("0x0000000000000000 0x0000000000000000 0x0000000000000000\n");
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

/// A folder of the capability tree: a GPU instance's or a compute instance's.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Folder {
    /// Path below the capability folder: `gpu0/mig/gi13` or `gpu0/mig/gi13/ci0`.
    path: String,
    /// Minor of its device node.
    minor: u32,
    /// Number of the creation of its instance.
    generation: u32,
}

/// The folders of a GPU's instances, each GPU instance before its compute instances.
fn folders(gpu: &Gpu) -> Vec<Folder> {
    let mut folders = Vec::new();
    for instance in &gpu.instances {
        let path = format!("gpu{}/mig/gi{}", gpu.minor, instance.id);
        let minor = gpu_instance_minor(gpu.minor, instance.id);
        let compute = instance.compute.iter().map(|compute| Folder {
            path: format!("{path}/ci{}", compute.id),
            minor: compute_instance_minor(gpu.minor, instance.id, compute.id),
            generation: compute.generation,
        });
        let compute: Vec<Folder> = compute.collect();
        folders.push(Folder { path, minor, generation: instance.generation });
        folders.extend(compute);
    }
    folders
}

/// Brings the capability files and nodes from `before` to `after`. If what is there may not agree
/// with `before`, because somebody died while changing it, that is mended first. Files of
/// instances that stay are left alone, with what an administrator wrote into them.
///
/// Device nodes of instances that went stay, as real ones do: nothing removes them. They get their
/// stock owner and permissions back when an instance with their minor is made.
pub(crate) fn follow(
    root: &Path,
    before: &Node,
    after: &Node,
    up_to_date: bool,
) -> Result<(), Failed> {
    if !up_to_date {
        mend(root, before)?;
    }
    for (old, new) in before.gpus.iter().zip(&after.gpus) {
        if old.instances == new.instances {
            continue;
        }
        let (went, came) = (folders(old), folders(new));
        for folder in went.iter().rev().filter(|folder| !came.contains(folder)) {
            retire(root, &folder.path)?;
        }
        for folder in came.iter().filter(|folder| !went.contains(folder)) {
            make(root, folder)?;
        }
    }
    Ok(())
}

/// Makes the tree agree with `node`, whatever is there.
fn mend(root: &Path, node: &Node) -> Result<(), Failed> {
    let fixed = [("config", 1, 0o400), ("monitor", 2, 0o444)];
    for (name, minor, mode) in fixed {
        let access = root.join(CAPABILITIES).join("mig").join(name);
        if !access.exists() || !capability_node(root, minor).exists() {
            write(access, &access_text(minor, mode), mode)?;
            write(capability_node(root, minor), &device_text(MAJOR_CAPS, minor), mode)?;
        }
    }
    for gpu in &node.gpus {
        let wanted = folders(gpu);
        let known = |path: &str| wanted.iter().any(|folder| folder.path == path);
        let below = format!("gpu{}/mig", gpu.minor);
        let home = root.join(CAPABILITIES).join(&below);
        make_folder(&home).map_err(|error| (home, error))?;
        for instance in names(root, &below) {
            let path = format!("{below}/{instance}");
            for compute in names(root, &path).iter().filter(|name| name.starts_with("ci")) {
                let path = format!("{path}/{compute}");
                if !known(&path) {
                    remove(root, &path)?;
                }
            }
            if !known(&path) {
                remove(root, &path)?;
            }
        }
        for folder in &wanted {
            // Whoever died may have come as far as the one and not the other.
            let access = root.join(CAPABILITIES).join(&folder.path).join("access");
            if !access.exists() || !capability_node(root, folder.minor).exists() {
                make(root, folder)?;
            }
        }
    }
    Ok(())
}

fn names(root: &Path, below: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(root.join(CAPABILITIES).join(below)) else {
        return Vec::new();
    };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn remove(root: &Path, path: &str) -> Result<(), Failed> {
    let full = root.join(CAPABILITIES).join(path);
    match std::fs::remove_dir_all(&full) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err((full, error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Where the folder of an instance that went waits to be used again. Renaming a folder is some
/// twenty times cheaper than making and removing one on a journalling file system, and it appears
/// and goes as a whole.
fn spare(root: &Path, path: &str) -> PathBuf {
    root.with_file_name("spare").join(path.replace('/', "-"))
}

fn retire(root: &Path, path: &str) -> Result<(), Failed> {
    let full = root.join(CAPABILITIES).join(path);
    let _earlier = std::fs::rename(&full, spare(root, path));
    // No spare place, or one that is taken: then it is removed after all.
    if full.exists() { remove(root, path) } else { Ok(()) }
}

fn access_text(minor: u32, mode: u32) -> String {
    format!("DeviceFileMinor: {minor}\nDeviceFileMode: {mode}\nDeviceFileModify: 1\n")
}

fn make(root: &Path, folder: &Folder) -> Result<(), Failed> {
    const MODE: u32 = 0o444;
    let full = root.join(CAPABILITIES).join(&folder.path);
    let text = access_text(folder.minor, MODE);
    if !reuse(root, &folder.path, &full, &text) {
        // On a real machine root writes to these in spite of their mode; whoever owns a simulated
        // host is its root, so the owner may write.
        write(full.join("access"), &text, MODE | 0o200)?;
    }
    let node = capability_node(root, folder.minor);
    match stock(root, &node, MODE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            write(node, &device_text(MAJOR_CAPS, folder.minor), MODE)
        }
        other => other.map_err(|error| (node, error)),
    }
}

/// Takes a spare folder back into use; false if there is none.
fn reuse(root: &Path, path: &str, full: &Path, text: &str) -> bool {
    let spare = spare(root, path);
    let refresh = || -> io::Result<()> {
        let access = std::fs::File::options().write(true).open(spare.join("access"))?;
        // In place: truncating would make the file system write the file out at once.
        std::os::unix::fs::FileExt::write_all_at(&access, text.as_bytes(), 0)?;
        access.set_len(text.len() as u64)?;
        access.set_permissions(std::fs::Permissions::from_mode(0o644))
    };
    refresh().is_ok() && std::fs::rename(&spare, full).is_ok()
}

/// Gives a device node its stock owner and permissions.
fn stock(root: &Path, node: &Path, mode: u32) -> io::Result<()> {
    let (owner, now) = (std::fs::metadata(root)?, std::fs::metadata(node)?);
    let owned = (owner.uid(), owner.gid()) == (now.uid(), now.gid());
    if owned && now.permissions().mode() & 0o7777 == mode {
        return Ok(());
    }
    if !owned {
        std::os::unix::fs::chown(node, Some(owner.uid()), Some(owner.gid()))?;
    }
    std::fs::set_permissions(node, std::fs::Permissions::from_mode(mode))
}

/// What `nvidia-modprobe` does whenever a program begins to use a slice: the node gets its stock
/// permissions back, unless the instance's `access` file says that they are somebody else's. The
/// real one is root by its file mode; this one has the rights of the program.
pub(crate) fn modprobe(root: &Path, gpu: GpuMinor, mig: sim_gpu::ComputeRef, minor: u32) {
    const MODE: u32 = 0o444;
    let instance = mig.instance.id;
    let mut folder = root.join(CAPABILITIES).join(format!("gpu{gpu}/mig/gi{instance}"));
    if minor != gpu_instance_minor(gpu, instance) {
        folder.push(format!("ci{}", mig.id));
    }
    let text = std::fs::read_to_string(folder.join("access")).unwrap_or_default();
    if text.contains("DeviceFileModify: 1") {
        let _not_ours = stock(root, &capability_node(root, minor), MODE);
    }
}
