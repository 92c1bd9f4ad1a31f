//! Processes: who we are, who still lives, and what the caller may do.
//!
//! Must never end or change a process; the one exception is a fault that a test asked for, which
//! kills the caller itself.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use model::{ProcessId, Timestamp};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use sim_gpu::{Caller, Rights};

/// The moment now, in wall-clock milliseconds.
pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp::from_millis(since.map_or(0, |since| since.as_millis() as u64))
}

/// Start time of `pid` in clock ticks since boot, if it lives. A zombie does not: the kernel has
/// closed its descriptors.
pub(crate) fn start_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name may hold spaces and brackets; fields are counted after the last bracket.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    match fields.next()? {
        "Z" | "X" => None,
        _ => fields.nth(18)?.parse().ok(),
    }
}

/// Whether this very process still lives.
pub(crate) fn is_alive(process: ProcessId) -> bool {
    start_ticks(process.pid) == Some(process.start_ticks)
}

/// Descriptors of the processes that were alive at the last look. A look at all of them is one
/// system call, where reading `/proc` would be one per process.
static WATCHED: Mutex<BTreeMap<ProcessId, OwnedFd>> = Mutex::new(BTreeMap::new());

/// Those of `processes` that live.
pub(crate) fn living(processes: &BTreeSet<ProcessId>) -> BTreeSet<ProcessId> {
    let mut watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
    watched.retain(|process, _| processes.contains(process));
    let mut living = BTreeSet::new();
    for process in processes {
        if process.pid == std::process::id() {
            living.insert(*process);
        } else if !watched.contains_key(process) && is_alive(*process) {
            living.insert(*process);
            let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
            let opened = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
            // The pid may have been given anew between the two looks.
            if let Some(descriptor) = opened.filter(|_| is_alive(*process)) {
                watched.insert(*process, descriptor);
            }
        }
    }
    let (known, descriptors): (Vec<_>, Vec<_>) = watched.iter().unzip();
    let mut polled: Vec<PollFd<'_>> =
        descriptors.into_iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    // A descriptor becomes readable when its process ends. If the look fails, all count as alive
    // until the next one.
    let _ready = poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    let ended: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
    let known: Vec<ProcessId> = known.into_iter().copied().collect();
    for (process, ended) in known.into_iter().zip(ended) {
        if ended {
            watched.remove(&process);
            living.remove(&process);
        } else {
            living.insert(process);
        }
    }
    living
}

/// This process.
pub(crate) fn this() -> ProcessId {
    let pid = std::process::id();
    ProcessId { pid, start_ticks: start_ticks(pid).unwrap_or(0) }
}

/// Name of the executable of `pid`, as `nvmlSystemGetProcessName` gives it.
pub(crate) fn name(pid: u32) -> Option<String> {
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let first = command.split(|byte| *byte == 0).next().unwrap_or_default();
    if !first.is_empty() {
        return Some(String::from_utf8_lossy(first).into_owned());
    }
    let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(comm.trim_end().to_owned())
}

/// This process with its rights on the simulated host in `dir`. Whoever owns the host is its
/// root; `MIGD_SIM_RIGHTS=plain|monitor|config` lowers that. Others have the capabilities whose
/// files they can read, as on a real machine.
pub(crate) fn caller(dir: &Path, root: &Path) -> Caller {
    Caller { process: this(), rights: rights(dir, root) }
}

fn rights(dir: &Path, root: &Path) -> Rights {
    use std::os::unix::fs::MetadataExt;
    let lowered = match std::env::var("MIGD_SIM_RIGHTS").as_deref() {
        Ok("plain") => Rights::Plain,
        Ok("monitor") => Rights::MonitorCapable,
        Ok("config") => Rights::ConfigCapable,
        Ok(_) | Err(_) => Rights::Root,
    };
    let uid = rustix::process::geteuid();
    let owner = std::fs::metadata(dir).map_or(u32::MAX, |found| found.uid());
    if uid.is_root() || uid.as_raw() == owner {
        return lowered;
    }
    let readable = |name: &str| {
        let path = root.join("proc/driver/nvidia/capabilities/mig").join(name);
        std::fs::File::open(path).is_ok()
    };
    let found = if readable("config") {
        Rights::ConfigCapable
    } else if readable("monitor") {
        Rights::MonitorCapable
    } else {
        Rights::Plain
    };
    found.min(lowered)
}

/// Kills this process at once, as a crash would: no destructor, no handler, no flushing.
pub(crate) fn die() -> ! {
    let _sent =
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dead_are_told_from_the_living() {
        let own = this();
        assert!(own.start_ticks > 0);
        assert!(is_alive(own));
        assert!(!is_alive(ProcessId { pid: own.pid, start_ticks: own.start_ticks + 1 }));
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let process = ProcessId { pid: child.id(), start_ticks: start_ticks(child.id()).unwrap() };
        assert!(is_alive(process));
        let both = BTreeSet::from([own, process]);
        assert_eq!(living(&both), both);
        assert_eq!(living(&both), both);
        child.kill().unwrap();
        // Not yet waited for: a zombie holds nothing.
        while start_ticks(child.id()).is_some() {
            std::thread::yield_now();
        }
        assert!(!is_alive(process));
        assert_eq!(living(&both), BTreeSet::from([own]));
        child.wait().unwrap();
        assert_eq!(living(&both), BTreeSet::from([own]));
    }
}
