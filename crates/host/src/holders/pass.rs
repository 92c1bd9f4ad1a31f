//! One pass over the descriptors of every process.
//!
//! Must never skip a process because looking at it failed: it is named as a gap instead.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use model::ProcessId;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir, StatxFlags, openat, statx};
use rustix::io::Errno;

use super::{Holder, Holders, Identity, identity_from};
use crate::processes::Brief;

/// Room for the names of a folder: some thousand entries a call.
const NAMES: usize = 32 * 1024;
/// How often processes that came during the pass are looked at, too. Each is a child of one that was
/// there before; a machine that forks without end must not keep the pass from ending.
const LATECOMERS: usize = 4;

/// A pass in progress, with the buffers that it uses again and again.
pub(super) struct Pass<'a> {
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
    ) -> io::Result<Holders> {
        let mut pass = Self {
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
        self.path.clear();
        let _ = write!(self.path, "/proc/{pid}/fd");
        let listed = match open_folder(&self.path) {
            Ok(folder) => self.descriptors(pid, folder),
            Err(error) => Err(error),
        };
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
            match folder.and_then(|folder| self.descriptors(pid, folder)) {
                Ok(_) => {}
                Err(error) => ended_or(error)?,
            }
        }
        Ok(())
    }

    /// Looks at each descriptor in a folder.
    fn descriptors(&mut self, pid: u32, folder: OwnedFd) -> io::Result<Listed> {
        let mut listed = Listed::default();
        let mut process = None;
        let mut entries = RawDir::new(folder.as_fd(), &mut self.names);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let Some(descriptor) = number_of(entry.file_name().to_bytes()) else { continue };
            // Not synchronised: a descriptor on a network file system whose server is away must not
            // hang the search.
            let flags = AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
            let fields = StatxFlags::TYPE | StatxFlags::INO;
            let status = match statx(&folder, entry.file_name(), flags, fields) {
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
