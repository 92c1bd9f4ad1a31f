//! Who has a device node open.
//!
//! Must never let "could not look" pass for "nobody": every process that could not be looked into
//! is named.

mod pass;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use model::ProcessId;
use rustix::fs::{AtFlags, CWD, FileType, Statx, StatxFlags, statx};

use pass::{Folders, Pass};

/// An open descriptor of a device node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    /// Whose it is.
    pub process: ProcessId,
    /// Which of the paths asked for.
    pub path: PathBuf,
    /// The descriptor's number.
    pub descriptor: u32,
}

/// What the search could not see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Incomplete {
    /// Pids of processes whose descriptors this user may not read, ascending.
    pub unreadable: Vec<u32>,
    /// `/proc` is mounted so that other users' processes do not show at all (`hidepid`).
    pub hides_processes: bool,
}

impl Incomplete {
    /// Whether everything was seen.
    pub fn is_complete(&self) -> bool {
        self.unreadable.is_empty() && !self.hides_processes
    }
}

/// The answer of a search for holders.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holders {
    /// Open descriptors found, ascending.
    pub holders: Vec<Holder>,
    /// What could not be seen.
    pub incomplete: Incomplete,
}

impl Holders {
    /// The processes among the holders, each once, ascending.
    pub fn processes(&self) -> Vec<ProcessId> {
        let set: BTreeSet<ProcessId> = self.holders.iter().map(|holder| holder.process).collect();
        set.into_iter().collect()
    }

    /// Whether it is certain that nobody holds any of the paths.
    pub fn is_nobody(&self) -> bool {
        self.holders.is_empty() && self.incomplete.is_complete()
    }
}

/// Why a search could not be made at all.
#[derive(Debug, thiserror::Error)]
#[error("cannot look for holders: {} cannot be read", path.display())]
pub struct HoldersError {
    /// What could not be read: `/proc`, or a path asked for.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// What makes two open files the same: the device number for a device node, which a container may
/// see under another path and inode, and the inode otherwise (the simulator's nodes are regular
/// files where device nodes cannot be made).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Identity {
    Device { block: bool, major: u32, minor: u32 },
    File { major: u32, minor: u32, inode: u64 },
}

/// Who has any of `paths` open, by `/proc/*/fd`. A path that does not exist has no holders that
/// could be found by it.
///
/// Sees neither descriptors on their way through a socket nor memory mapped from a node whose
/// descriptor was closed; the driver's own process list is the other half of the proof. It is no
/// snapshot either: a process that hands its descriptor to another one and ends while the search
/// runs can be missed, so a proof of emptiness takes two searches in a row that find nobody. One
/// search serves as many paths as are asked for at the cost of one.
///
/// # Errors
/// [`HoldersError`] when `/proc` or one of the paths cannot be looked at; nothing is known then.
pub fn holders_of(paths: &[PathBuf]) -> Result<Holders, HoldersError> {
    search(paths, None, &mut Folders::default())
}

/// A search that is made again and again, for the holders among all other processes. This one is not
/// looked into: of a daemon with many connections that would be most of the work, and what it has open
/// it knows. What a search may leave open for the next one, at most some hundred descriptors, it closes
/// when it is dropped.
#[derive(Debug, Default)]
pub struct Seeker {
    folders: Folders,
}

impl Seeker {
    /// Who else has any of `paths` open: as [`holders_of`].
    ///
    /// # Errors
    /// As [`holders_of`]; also when `/proc` does not show this process.
    pub fn search(&mut self, paths: &[PathBuf]) -> Result<Holders, HoldersError> {
        // The number that this `/proc` shows it by, which may be that of another pid namespace.
        let me = std::fs::read_link("/proc/self").and_then(|link| {
            let pid = link.to_str().and_then(|text| text.parse().ok());
            pid.ok_or_else(|| io::Error::other("/proc does not show this process"))
        });
        let me = me.map_err(|source| HoldersError { path: PathBuf::from("/proc/self"), source })?;
        search(paths, Some(me), &mut self.folders)
    }
}

/// As [`Seeker::search`], for once.
///
/// # Errors
/// As [`Seeker::search`].
pub fn other_holders_of(paths: &[PathBuf]) -> Result<Holders, HoldersError> {
    Seeker::default().search(paths)
}

fn search(
    paths: &[PathBuf],
    passed_over: Option<u32>,
    folders: &mut Folders,
) -> Result<Holders, HoldersError> {
    let mut wanted: BTreeMap<Identity, Vec<&Path>> = BTreeMap::new();
    for path in paths {
        match identity_of(path) {
            Ok(identity) => {
                let same = wanted.entry(identity).or_default();
                if !same.contains(&path.as_path()) {
                    same.push(path);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(HoldersError { path: path.clone(), source }),
        }
    }
    if wanted.is_empty() {
        return Ok(Holders::default());
    }
    let made = Pass::make(&wanted, passed_over, folders);
    let mut found = made.map_err(|source| HoldersError { path: PathBuf::from("/proc"), source })?;
    found.holders.sort();
    found.holders.dedup();
    found.incomplete.unreadable.sort_unstable();
    found.incomplete.hides_processes = proc_hides_processes();
    Ok(found)
}

fn identity_of(path: &Path) -> io::Result<Identity> {
    // Not synchronised: a descriptor on a network file system whose server is away must not hang
    // the search.
    let status = statx(
        CWD,
        path,
        AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT,
        StatxFlags::TYPE | StatxFlags::INO,
    )?;
    Ok(identity_from(&status))
}

fn identity_from(status: &Statx) -> Identity {
    let kind = FileType::from_raw_mode(u32::from(status.stx_mode));
    if kind.is_char_device() || kind.is_block_device() {
        Identity::Device {
            block: kind.is_block_device(),
            major: status.stx_rdev_major,
            minor: status.stx_rdev_minor,
        }
    } else {
        Identity::File {
            major: status.stx_dev_major,
            minor: status.stx_dev_minor,
            inode: status.stx_ino,
        }
    }
}

fn proc_hides_processes() -> bool {
    if rustix::process::geteuid().is_root() {
        return false;
    }
    std::fs::read_to_string("/proc/self/mountinfo").is_ok_and(|text| mounts_hide_processes(&text))
}

/// Whether the mount table shows a `/proc` with `hidepid` (`invisible`, `ptraceable` or their
/// numbers 2 and 4).
fn mounts_hide_processes(mountinfo: &str) -> bool {
    let hidden = ["hidepid=2", "hidepid=4", "hidepid=invisible", "hidepid=ptraceable"];
    mountinfo.lines().any(|line| {
        let is_proc = line.split(' ').nth(4) == Some("/proc");
        is_proc && line.split([' ', ',']).any(|option| hidden.contains(&option))
    })
}

#[cfg(test)]
mod tests;
