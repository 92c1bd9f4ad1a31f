//! One pass over the descriptors of every process.
//!
//! Must never skip a process because looking at it failed: it is named as a gap instead.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use model::ProcessId;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir, SeekFrom, StatxFlags, openat, seek, statx};
use rustix::io::Errno;

use super::{Holder, Holders, Identity, identity_from};
use crate::processes::Brief;

/// Room for the names of a folder: some thousand entries a call.
const NAMES: usize = 32 * 1024;
/// How often processes that came during the pass are looked at, too. Each is a child of one that was
/// there before; a machine that forks without end must not keep the pass from ending.
const LATECOMERS: usize = 4;

/// The most folders of descriptors that stay open between passes.
const KEPT: usize = 256;

/// Folders of descriptors, by process, that one pass leaves open for the next: to open one costs more
/// than to list it. Such a folder belongs to its process, not to the pid; when the process is gone,
/// listing it fails, whoever has the pid then.
#[derive(Debug, Default)]
pub(super) struct Folders(BTreeMap<u32, OwnedFd>);

/// A pass in progress, with the buffers that it uses again and again.
pub(super) struct Pass<'a> {
    folders: &'a mut Folders,
    wanted: &'a BTreeMap<Identity, Vec<&'a Path>>,
    found: Holders,
    names: Vec<MaybeUninit<u8>>,
    path: String,
    stat: Vec<u8>,
}

/// What looking through one folder of descriptors came to.
#[derive(Default)]
struct Listed {
    /// Descriptors seen.
    any: bool,
    /// Whether one went away between its listing and the look at it.
    some_gone: bool,
}

impl<'a> Pass<'a> {
    /// Looks at every process once, but for `passed_over`.
    ///
    /// # Errors
    /// When `/proc` cannot be listed.
    pub(super) fn make(
        wanted: &'a BTreeMap<Identity, Vec<&'a Path>>,
        passed_over: Option<u32>,
        folders: &'a mut Folders,
    ) -> io::Result<Holders> {
        let mut pass = Self {
            folders,
            wanted,
            found: Holders::default(),
            names: vec![MaybeUninit::uninit(); NAMES],
            path: String::new(),
            stat: Vec::new(),
        };
        let mut seen: Vec<u32> = Vec::new();
        for _ in 0..LATECOMERS {
            let present = pass.pids()?;
            let is_new = |pid: &u32| seen.binary_search(pid).is_err() && Some(*pid) != passed_over;
            let new: Vec<u32> = present.iter().copied().filter(is_new).collect();
            if new.is_empty() {
                break;
            }
            for pid in new {
                if pass.look_into(pid).is_err() {
                    pass.found.incomplete.unreadable.push(pid);
                }
            }
            seen = present;
        }
        pass.folders.0.retain(|pid, _| seen.binary_search(pid).is_ok());
        Ok(pass.found)
    }

    /// The pids there are now, ascending.
    fn pids(&mut self) -> io::Result<Vec<u32>> {
        let proc = open_folder("/proc")?;
        let mut pids = Vec::new();
        let mut entries = RawDir::new(proc, &mut self.names);
        while let Some(entry) = entries.next() {
            pids.extend(number_of(entry?.file_name().to_bytes()));
        }
        pids.sort_unstable();
        Ok(pids)
    }

    /// Looks at one process. Its stat is read only where its descriptors leave a question: reading
    /// it costs as much as looking at several descriptors, and half of a machine's processes are the
    /// kernel's, which have none.
    fn look_into(&mut self, pid: u32) -> io::Result<()> {
        let listed = self.listed(pid);
        if matches!(listed, Ok(Listed { any: true, some_gone: false })) {
            return Ok(());
        }
        // Nothing to see may mean that it has ended, that it is the kernel's, that it has nothing
        // open, or that only its first thread is gone, which takes another thread.
        if matches!(listed, Ok(Listed { any: false, some_gone: false })) && self.is_alone(pid) {
            return Ok(());
        }
        let Some(brief) = Brief::read(pid, &mut self.stat) else { return Ok(()) };
        if brief.is_dead() || brief.is_kernel_thread() {
            return Ok(());
        }
        if brief.is_headless() {
            return self.threads(pid);
        }
        match listed {
            Err(error) if !is_gone(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Looks through the descriptors of a process, by a folder that is open already if there is one.
    fn listed(&mut self, pid: u32) -> io::Result<Listed> {
        if let Some(folder) = self.folders.0.remove(&pid)
            && seek(&folder, SeekFrom::Start(0)).is_ok()
            && let Ok(listed) = self.descriptors(pid, folder.as_fd())
        {
            self.folders.0.insert(pid, folder);
            return Ok(listed);
        }
        // There was none, or its process is gone and the pid may be another's.
        self.path.clear();
        let _ = write!(self.path, "/proc/{pid}/fd");
        let folder = open_folder(&self.path)?;
        let listed = self.descriptors(pid, folder.as_fd())?;
        if self.folders.0.len() < KEPT {
            self.folders.0.insert(pid, folder);
        }
        Ok(listed)
    }

    /// Whether a process has no thread beside its first one: the folder of its threads has two
    /// links and one for each of them (`proc_task_getattr` of the kernel's `fs/proc/base.c`). A thread
    /// counts until it is gone, the first one as long as there is another.
    fn is_alone(&mut self, pid: u32) -> bool {
        self.path.clear();
        let _ = write!(self.path, "/proc/{pid}/task");
        let found = statx(CWD, &self.path, AtFlags::NO_AUTOMOUNT, StatxFlags::NLINK);
        found.is_ok_and(|found| found.stx_nlink == 2 + 1)
    }

    /// Looks at the descriptors of a process by its threads.
    fn threads(&mut self, pid: u32) -> io::Result<()> {
        let threads = match std::fs::read_dir(format!("/proc/{pid}/task")) {
            Ok(threads) => threads,
            Err(error) => return ended_or(error),
        };
        for thread in threads {
            let folder = match thread {
                Ok(thread) => open_folder(thread.path().join("fd")),
                Err(error) => Err(error),
            };
            match folder.and_then(|folder| self.descriptors(pid, folder.as_fd())) {
                Ok(_) => {}
                Err(error) => ended_or(error)?,
            }
        }
        Ok(())
    }

    /// Looks at each descriptor in a folder.
    fn descriptors(&mut self, pid: u32, folder: BorrowedFd<'_>) -> io::Result<Listed> {
        let mut listed = Listed::default();
        let mut process = None;
        let mut entries = RawDir::new(folder, &mut self.names);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let Some(descriptor) = number_of(entry.file_name().to_bytes()) else { continue };
            // Not synchronised: a descriptor on a network file system whose server is away must not
            // hang the search.
            let flags = AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
            let fields = StatxFlags::TYPE | StatxFlags::INO;
            let status = match statx(folder, entry.file_name(), flags, fields) {
                Ok(status) => status,
                Err(Errno::NOENT | Errno::SRCH) => {
                    listed.some_gone = true;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            listed.any = true;
            let Some(paths) = self.wanted.get(&identity_from(&status)) else { continue };
            // One that ended right now may have handed its descriptor on: it still counts.
            let process = *process.get_or_insert_with(|| {
                let ended = ProcessId { pid, start_ticks: 0 };
                Brief::read(pid, &mut self.stat).map_or(ended, |brief| brief.process)
            });
            self.found.holders.extend(paths.iter().map(|path| Holder {
                process,
                path: path.to_path_buf(),
                descriptor,
            }));
        }
        Ok(listed)
    }
}

fn open_folder(path: impl rustix::path::Arg) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty())?)
}

fn number_of(name: &[u8]) -> Option<u32> {
    std::str::from_utf8(name).ok()?.parse().ok()
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}

/// A process or descriptor that went away while it was looked at holds nothing.
fn ended_or(error: io::Error) -> io::Result<()> {
    if is_gone(&error) { Ok(()) } else { Err(error) }
}
