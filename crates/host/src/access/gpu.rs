//! Who may open the node of a whole GPU: closed, open for one user, or as the driver made it.
//!
//! Must never be used on a GPU in MIG mode: everybody who has a slice there needs its node. Must never
//! make a node: the driver's tools do, with the driver's own permissions.

use std::path::PathBuf;

use model::{GpuMinor, Uid};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};

use super::change::{Owner, change_node, node_of, refused};
use super::{AccessError, Wanted};
use crate::nodes::{Node, NodeError, gpu_node};
use crate::root::HostRoot;

/// Permission bits of a GPU's node that one user may open: computing takes reading and writing.
pub const GPU_MODE_OPEN: u32 = 0o600;
/// Permission bits of a GPU's node where the driver's parameters say nothing else.
pub const GPU_MODE_STOCK: u32 = 0o666;

/// A GPU's node that was not as wanted, and is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuChange {
    /// Whose node.
    pub gpu: GpuMinor,
    /// Where it is.
    pub path: PathBuf,
    /// What it is now.
    pub wanted: Wanted,
    /// What was found.
    pub found: Node,
}

/// The driver's parameters for nodes (`NVreg_DeviceFileUID`, `-GID`, `-Mode`, `NVreg_ModifyDeviceFiles`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stock {
    /// Their owner.
    pub uid: Uid,
    /// Their group.
    pub gid: u32,
    /// Their permission bits.
    pub mode: u32,
    /// Whether the driver's tools set nodes back to these whenever they come by.
    pub resets: bool,
}

/// What the driver's tools make of the nodes of GPUs.
///
/// # Errors
/// [`AccessError`] if the folder of the machine cannot be looked at.
pub fn stock(root: &HostRoot) -> Result<Stock, AccessError> {
    let owner = Owner::of_stock(root)?;
    let path = root.resolve("/proc/driver/nvidia/params");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    Ok(parse(&text, Stock { uid: owner.uid, gid: owner.gid, mode: GPU_MODE_STOCK, resets: true }))
}

fn parse(text: &str, usual: Stock) -> Stock {
    let number = |name: &str| -> Option<u32> {
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| key.trim() == name)?.1.trim().parse().ok()
    };
    Stock {
        uid: number("DeviceFileUID").map_or(usual.uid, Uid::new),
        gid: number("DeviceFileGID").unwrap_or(usual.gid),
        mode: number("DeviceFileMode").unwrap_or(usual.mode) & 0o777,
        resets: number("ModifyDeviceFiles").map_or(usual.resets, |number| number != 0),
    }
}

/// Brings the node of a GPU to what is wanted; `None` if it was so already, or if there is no node.
///
/// # Errors
/// [`AccessError`]; the node is then no more open than it was, or than wanted.
pub fn set_gpu(
    root: &HostRoot,
    gpu: GpuMinor,
    wanted: Wanted,
) -> Result<Option<GpuChange>, AccessError> {
    let path = gpu_node(root, gpu);
    let stock = stock(root)?;
    let (owner, mode) = match wanted {
        Wanted::Closed => (Owner { uid: stock.uid, gid: stock.gid }, 0),
        Wanted::OpenFor(uid) => (Owner { uid, gid: stock.gid }, GPU_MODE_OPEN),
        Wanted::Stock => (Owner { uid: stock.uid, gid: stock.gid }, stock.mode),
    };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = match open(&path, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(refused("look at", &path)(error)),
    };
    let stat = fstat(&fd).map_err(refused("look at", &path))?;
    // A second name of a regular file could be a file of any user, put here to have it given away.
    let is_node = match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice => true,
        FileType::RegularFile => !root.is_real() && stat.st_nlink == 1,
        FileType::Symlink
        | FileType::Directory
        | FileType::BlockDevice
        | FileType::Fifo
        | FileType::Socket
        | FileType::Unknown => false,
    };
    if !is_node {
        return Err(AccessError::NotANode { path, found: "of another kind" });
    }
    let found = node_of(&stat);
    if found.owner == owner.uid && found.mode == mode {
        return Ok(None);
    }
    change_node(&fd, &path, Some(found), owner, mode)?;
    Ok(Some(GpuChange { gpu, path, wanted, found }))
}

/// Gives back what an enforcing daemon closed or opened for one user; a node that is otherwise is
/// left as somebody else wants it.
///
/// # Errors
/// [`AccessError`] as [`set_gpu`].
pub fn restore_gpu(root: &HostRoot, gpu: GpuMinor) -> Result<Option<GpuChange>, AccessError> {
    let path = gpu_node(root, gpu);
    let found = crate::nodes::node(&path)?;
    let ours = found.is_some_and(|node| matches!(node.mode, 0 | GPU_MODE_OPEN));
    if ours { set_gpu(root, gpu, Wanted::Stock) } else { Ok(None) }
}

/// The GPUs whose nodes are in the device folder, ascending.
///
/// # Errors
/// [`NodeError::Unreadable`] if the folder is there and cannot be listed.
pub fn gpu_nodes(root: &HostRoot) -> Result<Vec<GpuMinor>, NodeError> {
    let all = super::survey::numbered(&root.resolve("/dev"), "nvidia")?;
    let mut gpus: Vec<GpuMinor> = all.into_iter().map(|(minor, _)| GpuMinor::new(minor)).collect();
    gpus.sort();
    Ok(gpus)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::*;

    fn machine(mode: u32) -> (tempfile::TempDir, HostRoot) {
        let folder = tempfile::tempdir().unwrap();
        let root = HostRoot::at(folder.path());
        std::fs::create_dir_all(root.resolve("/dev/nvidia-caps")).unwrap();
        for name in ["nvidia3", "nvidiactl", "nvidia-uvm"] {
            let path = root.resolve(format!("/dev/{name}"));
            std::fs::write(&path, "node").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        (folder, root)
    }

    fn rights(root: &HostRoot) -> (u32, u32) {
        let found = std::fs::metadata(root.resolve("/dev/nvidia3")).unwrap();
        (found.uid(), found.mode() & 0o7777)
    }

    #[test]
    fn a_gpu_is_closed_opened_for_one_and_given_back() {
        let (_folder, root) = machine(0o666);
        let (gpu, me) = (GpuMinor::new(3), rustix::process::geteuid().as_raw());
        assert_eq!(gpu_nodes(&root).unwrap(), [gpu]);
        let change = set_gpu(&root, gpu, Wanted::Closed).unwrap().unwrap();
        assert_eq!((change.found.mode, rights(&root)), (0o666, (me, 0)));
        assert_eq!(set_gpu(&root, gpu, Wanted::Closed).unwrap(), None, "it is so already");
        set_gpu(&root, gpu, Wanted::OpenFor(Uid::new(me))).unwrap().unwrap();
        assert_eq!(rights(&root), (me, 0o600));
        if me == 0 {
            set_gpu(&root, gpu, Wanted::OpenFor(Uid::new(4711))).unwrap().unwrap();
            assert_eq!(rights(&root), (4711, 0o600));
        }
        restore_gpu(&root, gpu).unwrap().unwrap();
        assert_eq!(rights(&root), (me, 0o666));
        assert_eq!(restore_gpu(&root, gpu).unwrap(), None);
        assert_eq!(set_gpu(&root, GpuMinor::new(4), Wanted::Closed).unwrap(), None, "no node");
    }

    /// What an administrator made of a node is not what migd leaves behind.
    #[test]
    fn only_what_was_ours_is_given_back() {
        let (_folder, root) = machine(0o660);
        assert_eq!(restore_gpu(&root, GpuMinor::new(3)).unwrap(), None);
        assert_eq!(rights(&root).1, 0o660);
    }

    #[test]
    fn the_drivers_parameters_say_what_stock_is() {
        let (_folder, root) = machine(0o666);
        assert_eq!(stock(&root).unwrap().mode, 0o666);
        let params = root.resolve("/proc/driver/nvidia/params");
        std::fs::create_dir_all(params.parent().unwrap()).unwrap();
        let me = rustix::process::geteuid().as_raw();
        let text = format!("ModifyDeviceFiles: 0\nDeviceFileUID: {me}\nDeviceFileMode: 432\n");
        std::fs::write(params, text).unwrap();
        let said = stock(&root).unwrap();
        assert_eq!((said.mode, said.resets), (0o660, false));
        set_gpu(&root, GpuMinor::new(3), Wanted::Closed).unwrap().unwrap();
        restore_gpu(&root, GpuMinor::new(3)).unwrap().unwrap();
        assert_eq!(rights(&root), (me, 0o660));
    }

    #[test]
    fn links_are_not_followed() {
        let (folder, root) = machine(0o666);
        let treasure = folder.path().join("treasure");
        std::fs::write(&treasure, "x").unwrap();
        std::os::unix::fs::symlink(&treasure, root.resolve("/dev/nvidia5")).unwrap();
        assert!(set_gpu(&root, GpuMinor::new(5), Wanted::Closed).is_err());
        assert_ne!(std::fs::metadata(&treasure).unwrap().mode() & 0o777, 0);
    }
}
