//! Device and capability nodes of GPUs and their instances.
//!
//! Must never infer an instance from a node: nodes and minors outlive instances and are used again;
//! only the driver says what exists. The layout is that of `nv-caps.c` in NVIDIA's open kernel
//! modules.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use model::{ComputeInstanceId, GpuInstanceId, GpuMinor, Uid};
use rustix::fs::{FileType, Mode, major, minor, stat};

use crate::root::HostRoot;

/// GPU instances a GPU can have at once: 15 ids, 0 to 14.
pub const GPU_INSTANCE_SLOTS: u32 = 15;

/// Compute instances a GPU instance can have at once: 8 ids, 0 to 7.
pub const COMPUTE_INSTANCE_SLOTS: u32 = 8;

/// Minor of the capability to configure MIG.
pub const CONFIG: CapabilityMinor = CapabilityMinor(1);

/// Minor of the capability to watch a whole GPU in MIG mode.
pub const MONITOR: CapabilityMinor = CapabilityMinor(2);

/// The N of `/dev/nvidia-caps/nvidia-capN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CapabilityMinor(u32);

impl CapabilityMinor {
    /// Wraps a minor number.
    pub const fn new(minor: u32) -> Self {
        Self(minor)
    }

    /// The minor number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The capability of a GPU instance: 3 + 135 G + 9 i, where G is the GPU's device minor (not
    /// its NVML index). Each GPU has 15 GPU instance slots of one minor and eight for compute.
    pub const fn of_gpu_instance(gpu: GpuMinor, instance: GpuInstanceId) -> Self {
        let per_instance = 1 + COMPUTE_INSTANCE_SLOTS;
        Self(3 + GPU_INSTANCE_SLOTS * per_instance * gpu.get() + per_instance * instance.get())
    }

    /// The capability of a compute instance: its GPU instance's plus 1 plus its id.
    pub const fn of_compute_instance(
        gpu: GpuMinor,
        instance: GpuInstanceId,
        compute: ComputeInstanceId,
    ) -> Self {
        Self(Self::of_gpu_instance(gpu, instance).0 + 1 + compute.get())
    }

    /// Its node on the machine at `root`.
    pub fn node(self, root: &HostRoot) -> PathBuf {
        root.resolve(format!("/dev/nvidia-caps/nvidia-cap{}", self.0))
    }
}

/// An instance whose capability is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstancePath {
    /// The N of the GPU's `/dev/nvidiaN`.
    pub gpu: GpuMinor,
    /// The GPU instance.
    pub gpu_instance: GpuInstanceId,
    /// The compute instance in it; `None` for the GPU instance itself.
    pub compute_instance: Option<ComputeInstanceId>,
}

impl InstancePath {
    /// The minor of its capability by the formula; [`mig_minors`] is what a kernel says.
    pub const fn minor(self) -> CapabilityMinor {
        match self.compute_instance {
            None => CapabilityMinor::of_gpu_instance(self.gpu, self.gpu_instance),
            Some(compute) => {
                CapabilityMinor::of_compute_instance(self.gpu, self.gpu_instance, compute)
            }
        }
    }

    /// Its `access` file on the machine at `root`; there only while the instance exists.
    pub fn access_file(self, root: &HostRoot) -> PathBuf {
        let Self { gpu, gpu_instance, compute_instance } = self;
        let folder = match compute_instance {
            None => format!("gpu{gpu}/mig/gi{gpu_instance}"),
            Some(compute) => format!("gpu{gpu}/mig/gi{gpu_instance}/ci{compute}"),
        };
        root.resolve("/proc/driver/nvidia/capabilities").join(folder).join("access")
    }
}

/// Node of a whole GPU, `/dev/nvidiaN`.
pub fn gpu_node(root: &HostRoot, gpu: GpuMinor) -> PathBuf {
    root.resolve(format!("/dev/nvidia{gpu}"))
}

/// The nodes that whoever uses a slice has open: the capability nodes of its GPU instance and of
/// its compute instance. The GPU's own node is shared by all slices and is left out.
pub fn slice_nodes(
    root: &HostRoot,
    gpu: GpuMinor,
    gpu_instance: GpuInstanceId,
    compute_instance: ComputeInstanceId,
) -> [PathBuf; 2] {
    [
        CapabilityMinor::of_gpu_instance(gpu, gpu_instance).node(root),
        CapabilityMinor::of_compute_instance(gpu, gpu_instance, compute_instance).node(root),
    ]
}

/// Why a kernel file or a node was not understood.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// It could not be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It says something else than expected.
    #[error("{}: {reason}: `{found}`", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
        /// The text.
        found: String,
    },
}

/// What an `access` file says about the node of a capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// The node's minor.
    pub minor: CapabilityMinor,
    /// Permission bits with which the driver's tools make the node.
    pub mode: u32,
    /// Whether those tools may set the node's permissions back; 0 in the file means no, so that an
    /// owner and mode set by somebody else stay.
    pub modify: bool,
}

impl Access {
    /// Parses an `access` file; `path` is for the message.
    ///
    /// # Errors
    /// [`NodeError::Malformed`] if one of the three numbers is missing or is no number.
    pub fn parse(text: &str, path: &Path) -> Result<Self, NodeError> {
        let malformed = |reason| NodeError::Malformed {
            path: path.to_path_buf(),
            reason,
            found: text.trim().to_owned(),
        };
        let number = |name: &str| {
            let field = |line: &str| {
                line.split_once(':')
                    .filter(|(key, _)| key.trim() == name)
                    .and_then(|(_, value)| value.trim().parse::<u32>().ok())
            };
            text.lines().find_map(field)
        };
        Ok(Self {
            minor: CapabilityMinor(
                number("DeviceFileMinor").ok_or_else(|| malformed("no DeviceFileMinor"))?,
            ),
            // Printed in decimal: 292 is 0444.
            mode: number("DeviceFileMode").ok_or_else(|| malformed("no DeviceFileMode"))?,
            modify: number("DeviceFileModify").ok_or_else(|| malformed("no DeviceFileModify"))?
                != 0,
        })
    }

    /// Reads the `access` file of an instance; `None` if the instance does not exist.
    ///
    /// # Errors
    /// [`NodeError`] if the file is there and cannot be read or understood.
    pub fn read(root: &HostRoot, instance: InstancePath) -> Result<Option<Self>, NodeError> {
        let path = instance.access_file(root);
        read_if_there(&path)?.map(|text| Self::parse(&text, &path)).transpose()
    }
}

/// The static list of capabilities and their minors, by the names of `mig-minors` without
/// `/access` (`config`, `gpu0/gi2`, `gpu0/gi2/ci0`); `None` if the machine has no such file.
///
/// # Errors
/// [`NodeError`] if the file is there and cannot be read or understood.
pub fn mig_minors(root: &HostRoot) -> Result<Option<BTreeMap<String, CapabilityMinor>>, NodeError> {
    let path = root.resolve("/proc/driver/nvidia-caps/mig-minors");
    read_if_there(&path)?.map(|text| parse_mig_minors(&text, &path)).transpose()
}

fn parse_mig_minors(
    text: &str,
    path: &Path,
) -> Result<BTreeMap<String, CapabilityMinor>, NodeError> {
    let line_of = |line: &str| {
        let (name, minor) = line.split_once(' ')?;
        let minor = CapabilityMinor(minor.trim().parse().ok()?);
        Some((name.strip_suffix("/access").unwrap_or(name).to_owned(), minor))
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| {
            line_of(line).ok_or_else(|| NodeError::Malformed {
                path: path.to_path_buf(),
                reason: "not a capability and its minor",
                found: line.to_owned(),
            })
        })
        .collect()
}

/// The device minors of the driver's GPUs by their UUIDs, as `/proc/driver/nvidia/gpus` tells them;
/// empty if the driver is not loaded.
///
/// # Errors
/// [`NodeError::Unreadable`] if a file is there and cannot be read.
pub fn gpu_minors(root: &HostRoot) -> Result<BTreeMap<String, GpuMinor>, NodeError> {
    let folder = root.resolve("/proc/driver/nvidia/gpus");
    let unreadable = |source| NodeError::Unreadable { path: folder.clone(), source };
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(source) => return Err(unreadable(source)),
    };
    let mut minors = BTreeMap::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path().join("information");
        let text = read_if_there(&path)?.unwrap_or_default();
        minors.extend(parse_gpu_information(&text));
    }
    Ok(minors)
}

fn parse_gpu_information(text: &str) -> Option<(String, GpuMinor)> {
    let field = |name: &str| {
        let mut fields = text.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
    };
    let minor = field("Device Minor")?.parse().ok()?;
    Some((field("GPU UUID")?.to_owned(), GpuMinor::new(minor)))
}

/// The major number of capability nodes (`nvidia-caps` in `/proc/devices`); `None` if the driver is
/// not loaded.
///
/// # Errors
/// [`NodeError::Unreadable`] if the file is there and cannot be read.
pub fn capability_major(root: &HostRoot) -> Result<Option<u32>, NodeError> {
    let text = read_if_there(&root.resolve("/proc/devices"))?;
    Ok(text.as_deref().and_then(parse_capability_major))
}

fn parse_capability_major(text: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let (number, name) = line.trim().split_once(' ')?;
        (name == "nvidia-caps").then(|| number.parse().ok())?
    })
}

/// A node as the file system has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// Major and minor; `None` for a regular file that stands for a device on a simulated machine.
    pub device: Option<(u32, u32)>,
    /// Its owner.
    pub owner: Uid,
    /// Its permission bits.
    pub mode: u32,
}

/// Looks at a node; `None` if there is none.
///
/// # Errors
/// [`NodeError::Unreadable`] if it cannot be looked at.
pub fn node(path: &Path) -> Result<Option<Node>, NodeError> {
    let found = match stat(path) {
        Ok(found) => found,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(errno) => {
            return Err(NodeError::Unreadable { path: path.to_path_buf(), source: errno.into() });
        }
    };
    let is_device = FileType::from_raw_mode(found.st_mode).is_char_device();
    Ok(Some(Node {
        device: is_device.then(|| (major(found.st_rdev), minor(found.st_rdev))),
        owner: Uid::new(found.st_uid),
        mode: Mode::from_raw_mode(found.st_mode).bits(),
    }))
}

fn read_if_there(path: &Path) -> Result<Option<String>, NodeError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(NodeError::Unreadable { path: path.to_path_buf(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gi(gpu: u32, instance: u32) -> u32 {
        CapabilityMinor::of_gpu_instance(GpuMinor::new(gpu), GpuInstanceId::new(instance)).get()
    }

    fn ci(gpu: u32, instance: u32, compute: u32) -> u32 {
        CapabilityMinor::of_compute_instance(
            GpuMinor::new(gpu),
            GpuInstanceId::new(instance),
            ComputeInstanceId::new(compute),
        )
        .get()
    }

    #[test]
    fn minors_are_those_of_a_logged_machine() {
        // GPU instances 2, 3 and 9 with their compute instances, as on a real A100.
        assert_eq!([gi(0, 2), ci(0, 2, 0)], [21, 22]);
        assert_eq!([gi(0, 3), ci(0, 3, 0), ci(0, 3, 1)], [30, 31, 32]);
        assert_eq!([gi(0, 9), ci(0, 9, 0)], [84, 85]);
        assert_eq!(ci(31, 14, 7), 4322);
    }

    #[test]
    fn paths_lie_under_the_root() {
        let root = HostRoot::at("/r");
        let slice =
            slice_nodes(&root, GpuMinor::new(0), GpuInstanceId::new(2), ComputeInstanceId::new(0));
        assert_eq!(slice[0], Path::new("/r/dev/nvidia-caps/nvidia-cap21"));
        assert_eq!(slice[1], Path::new("/r/dev/nvidia-caps/nvidia-cap22"));
        assert_eq!(gpu_node(&root, GpuMinor::new(3)), Path::new("/r/dev/nvidia3"));
        let instance = InstancePath {
            gpu: GpuMinor::new(0),
            gpu_instance: GpuInstanceId::new(2),
            compute_instance: Some(ComputeInstanceId::new(0)),
        };
        assert_eq!(
            instance.access_file(&root),
            Path::new("/r/proc/driver/nvidia/capabilities/gpu0/mig/gi2/ci0/access")
        );
        assert_eq!(instance.minor().get(), 22);
    }

    #[test]
    fn access_files_are_read_where_the_instance_exists() {
        let folder = tempfile::tempdir().unwrap();
        let root = HostRoot::at(folder.path());
        let instance = InstancePath {
            gpu: GpuMinor::new(1),
            gpu_instance: GpuInstanceId::new(9),
            compute_instance: None,
        };
        assert_eq!(Access::read(&root, instance).unwrap(), None);
        let file = instance.access_file(&root);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "DeviceFileMinor: 219\nDeviceFileMode: 292\nDeviceFileModify: 1\n")
            .unwrap();
        let access = Access::read(&root, instance).unwrap().unwrap();
        assert_eq!(access, Access { minor: instance.minor(), mode: 0o444, modify: true });
        std::fs::write(&file, "DeviceFileMinor: x\n").unwrap();
        let error = Access::read(&root, instance).unwrap_err().to_string();
        assert!(error.contains("no DeviceFileMinor"), "{error}");
    }

    #[test]
    fn the_list_of_minors_agrees_with_the_formula() {
        let text = "config 1\nmonitor 2\ngpu0/gi2/access 21\ngpu0/gi2/ci0/access 22\n";
        let minors = parse_mig_minors(text, Path::new("mig-minors")).unwrap();
        assert_eq!(minors["config"], CONFIG);
        assert_eq!(minors["monitor"], MONITOR);
        assert_eq!(minors["gpu0/gi2"].get(), gi(0, 2));
        assert_eq!(minors["gpu0/gi2/ci0"].get(), ci(0, 2, 0));
        assert!(parse_mig_minors("config one\n", Path::new("mig-minors")).is_err());
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(mig_minors(&HostRoot::at(empty.path())).unwrap(), None);
    }

    #[test]
    fn the_major_is_read_from_the_list_of_devices() {
        let text = "Character devices:\n  1 mem\n195 nvidia\n242 nvidia-caps\n\nBlock devices:\n";
        assert_eq!(parse_capability_major(text), Some(242));
        assert_eq!(parse_capability_major("Character devices:\n  1 mem\n"), None);
    }

    #[test]
    fn the_minor_of_a_gpu_is_read_from_what_the_driver_says_of_it() {
        let text = "Model: \t\t NVIDIA A100\nGPU UUID: \t GPU-a-b\nBus Location: \t 0000:07:00.0\n\
                    Device Minor: \t 3\n";
        let minor = GpuMinor::new(3);
        assert_eq!(parse_gpu_information(text), Some((String::from("GPU-a-b"), minor)));
        assert_eq!(parse_gpu_information("GPU UUID: GPU-a\n"), None);
        let folder = tempfile::tempdir().unwrap();
        let root = HostRoot::at(folder.path());
        assert_eq!(gpu_minors(&root).unwrap(), BTreeMap::new());
        let path = root.resolve("/proc/driver/nvidia/gpus/0000:07:00.0");
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("information"), text).unwrap();
        assert_eq!(gpu_minors(&root).unwrap(), BTreeMap::from([(String::from("GPU-a-b"), minor)]));
    }

    #[test]
    fn nodes_are_seen_as_they_are() {
        assert_eq!(node(Path::new("/dev/null")).unwrap().unwrap().device, Some((1, 3)));
        let file = tempfile::NamedTempFile::new().unwrap();
        let seen = node(file.path()).unwrap().unwrap();
        assert_eq!((seen.device, seen.mode), (None, 0o600));
        assert_eq!(seen.owner.get(), rustix::process::geteuid().as_raw());
        assert_eq!(node(Path::new("/nonexistent")).unwrap(), None);
    }
}
