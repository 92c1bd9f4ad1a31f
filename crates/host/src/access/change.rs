//! One capability node brought to what is wanted.
//!
//! Must never follow a link, and must never leave a node open for a user before it is that user's:
//! a node is closed first, then changes its owner, then opens.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use model::Uid;
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, chmodat, chownat, fstat, major, makedev,
    minor, mknodat, open,
};

use super::{AccessError, Change, MODE_CLOSED, MODE_STOCK, Wanted};
use crate::nodes::{Access, InstancePath, Node, NodeError, capability_major};
use crate::root::HostRoot;

/// Brings the node of an instance to what is wanted; `None` if it was so already.
///
/// The driver's tools are told to keep off before the node is touched, and allowed again only after
/// it is as they make it. A node that is missing is made, closed. Of an instance that does not exist
/// only a node that is there is changed: a capability without an instance opens nothing.
///
/// # Errors
/// [`AccessError`]; the node is then no more open than it was, or than wanted.
pub fn set(
    root: &HostRoot,
    instance: InstancePath,
    wanted: Wanted,
) -> Result<Option<Change>, AccessError> {
    let setting = match Access::read(root, instance) {
        // Cut off while it was written, which only a simulated one can be.
        Err(NodeError::Malformed { .. }) if !root.is_real() => Some(None),
        other => other?.map(|access| Some(access.modify)),
    };
    let path = instance.minor().node(root);
    let stock_owner = Owner::of_stock(root)?;
    let (fd, found) = match open_node(root, instance, &path)? {
        Some((fd, stat)) => (Some(fd), Some(node_of(&stat))),
        None => (None, None),
    };
    if setting.is_none() && found.is_none() {
        return Ok(None);
    }
    let owner = match wanted {
        Wanted::OpenFor(uid) => Owner { uid, gid: stock_owner.gid },
        Wanted::Closed | Wanted::Stock => stock_owner,
    };
    let right_node =
        found.is_some_and(|node| node.owner == owner.uid && node.mode == wanted.mode());
    let right_setting = setting.is_none_or(|modify| modify == Some(wanted.modify()));
    if right_node && right_setting {
        return Ok(None);
    }
    if !right_setting && !wanted.modify() {
        write_modify(root, instance, false)?;
    }
    if !right_node {
        let fd = match fd {
            Some(fd) => fd,
            None => make_node(root, instance, &path)?,
        };
        change_node(&fd, &path, found, owner, wanted.mode())?;
    }
    if !right_setting && wanted.modify() {
        write_modify(root, instance, true)?;
    }
    let found_modify = setting.map(|modify| modify.unwrap_or(true));
    Ok(Some(Change { instance, path, wanted, found, found_modify }))
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    pub(super) uid: Uid,
    pub(super) gid: u32,
}

impl Owner {
    /// Root, who owns `/`; on a simulated machine whoever owns its root folder is its root.
    pub(super) fn of_stock(root: &HostRoot) -> Result<Self, AccessError> {
        let found = std::fs::metadata(root.as_path()).map_err(|source| AccessError::Refused {
            what: "look at",
            path: root.as_path().to_path_buf(),
            source,
        })?;
        let owner = if root.is_real() { (0, 0) } else { (found.uid(), found.gid()) };
        Ok(Self { uid: Uid::new(owner.0), gid: owner.1 })
    }
}

pub(super) fn refused<E: Into<io::Error>>(
    what: &'static str,
    path: &Path,
) -> impl FnOnce(E) -> AccessError {
    let path = path.to_path_buf();
    move |source| AccessError::Refused { what, path, source: source.into() }
}

pub(super) fn node_of(stat: &Stat) -> Node {
    let is_device = FileType::from_raw_mode(stat.st_mode).is_char_device();
    Node {
        device: is_device.then(|| (major(stat.st_rdev), minor(stat.st_rdev))),
        owner: Uid::new(stat.st_uid),
        mode: Mode::from_raw_mode(stat.st_mode).bits(),
    }
}

/// Takes hold of the node without opening the device; `None` if there is none. A character device
/// of another number is removed: it lets nobody in, and hides the right one.
fn open_node(
    root: &HostRoot,
    instance: InstancePath,
    path: &Path,
) -> Result<Option<(OwnedFd, Stat)>, AccessError> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = match open(path, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(refused("look at", path)(error)),
    };
    let stat = fstat(&fd).map_err(refused("look at", path))?;
    let not_a_node = |found| AccessError::NotANode { path: path.to_path_buf(), found };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice if root.is_real() => {
            let device = (major(stat.st_rdev), minor(stat.st_rdev));
            let right = capability_major(root)?.map(|major| (major, instance.minor().get()));
            if right.is_some_and(|right| right != device) {
                rustix::fs::unlink(path).map_err(refused("remove", path))?;
                return Ok(None);
            }
            Ok(Some((fd, stat)))
        }
        FileType::CharacterDevice => Ok(Some((fd, stat))),
        // A second name could be a file of any user, put here to have it given away.
        FileType::RegularFile if !root.is_real() && stat.st_nlink == 1 => Ok(Some((fd, stat))),
        FileType::RegularFile if !root.is_real() => Err(not_a_node("a file of several names")),
        FileType::RegularFile => Err(not_a_node("a regular file")),
        FileType::Symlink => Err(not_a_node("a link")),
        FileType::Directory
        | FileType::BlockDevice
        | FileType::Fifo
        | FileType::Socket
        | FileType::Unknown => Err(not_a_node("of another kind")),
    }
}

/// Makes a missing node, closed: a device, or on a simulated machine a file that stands for one.
fn make_node(root: &HostRoot, instance: InstancePath, path: &Path) -> Result<OwnedFd, AccessError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(refused("make the folder", folder))?;
    }
    let (kind, device) = if root.is_real() {
        let major = capability_major(root)?
            .ok_or_else(|| AccessError::NoMajor { path: path.to_path_buf() })?;
        (FileType::CharacterDevice, makedev(major, instance.minor().get()))
    } else {
        (FileType::RegularFile, 0)
    };
    match mknodat(CWD, path, kind, Mode::from_raw_mode(MODE_CLOSED), device) {
        // Somebody else, such as nvidia-modprobe, was quicker.
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(refused("make", path)(error)),
    }
    match open_node(root, instance, path)? {
        Some((fd, _)) => Ok(fd),
        None => Err(refused("make", path)(io::Error::from(io::ErrorKind::NotFound))),
    }
}

/// Closes the node unless it is closed, gives it to its owner, opens it as wanted.
pub(super) fn change_node(
    fd: &OwnedFd,
    path: &Path,
    found: Option<Node>,
    owner: Owner,
    mode: u32,
) -> Result<(), AccessError> {
    let set_mode = |mode: u32, what| {
        // The magic link leads to this very file, whatever lies at the path by now.
        let link = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        chmodat(CWD, &link, Mode::from_raw_mode(mode), AtFlags::empty())
            .map_err(refused(what, path))
    };
    let stays = found.is_some_and(|node| node.owner == owner.uid);
    if !stays {
        if found.is_some_and(|node| node.mode != MODE_CLOSED) {
            set_mode(MODE_CLOSED, "close")?;
        }
        let uid = rustix::fs::Uid::from_raw(owner.uid.get());
        let gid = Gid::from_raw(owner.gid);
        chownat(fd, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
            .map_err(refused("change the owner of", path))?;
    }
    set_mode(mode, if mode == MODE_CLOSED { "close" } else { "open" })
}

/// Says whether the driver's tools may set the permissions of the node. An instance that went away
/// meanwhile has nothing to be said of.
fn write_modify(root: &HostRoot, instance: InstancePath, may: bool) -> Result<(), AccessError> {
    let path = instance.access_file(root);
    let line = format!("DeviceFileModify: {}\n", u8::from(may));
    let text = if root.is_real() {
        // The kernel takes this line and keeps the others.
        line
    } else {
        let minor = instance.minor().get();
        format!("DeviceFileMinor: {minor}\nDeviceFileMode: {MODE_STOCK}\n{line}")
    };
    let written = std::fs::File::options()
        .write(true)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(&path)
        .and_then(|file| {
            file.write_all_at(text.as_bytes(), 0)?;
            if root.is_real() { Ok(()) } else { file.set_len(text.len() as u64) }
        });
    match written {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(refused("write", &path)),
    }
}
