//! Processes: who they are, whether they live, and how to end them without hitting another.
//!
//! Must never name a process by its pid alone: pids are used again, so everything here works on a
//! pid together with its start time.

mod describe;
mod pidfd;
mod search;
mod table;

use std::io;

use model::{BootId, ProcessId};
use procfs::process::{Process, Stat};

pub use describe::{Arguments, ProcessDescription, describe, escaped};
pub use pidfd::PidFd;
pub use rustix::process::Signal;
pub use search::{all, carries, descendants, group_members, with_environment};
pub(crate) use table::Brief;
pub use table::Table;

/// Why a process could not be watched, signalled or looked at.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It has ended; another may have its pid now.
    #[error("{0} has ended")]
    Gone(ProcessId),
    /// The system refused.
    #[error("cannot {operation} {process}")]
    Refused {
        /// What was tried: `watch`, `signal`.
        operation: &'static str,
        /// On which process.
        process: ProcessId,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// The kernel's id of this boot.
///
/// # Errors
/// Those of reading `/proc/sys/kernel/random/boot_id`.
pub fn boot_id() -> io::Result<BootId> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(BootId::new(text.trim()))
}

/// The process that has this pid now; `None` if none has, or it has ended and is only not yet
/// collected by its parent.
pub fn process_id(pid: u32) -> Option<ProcessId> {
    let stat = stat_of(pid)?;
    (!is_dead(&stat)).then(|| identity(&stat))
}

/// This process.
///
/// # Errors
/// When `/proc` is not there to be read.
pub fn myself() -> io::Result<ProcessId> {
    process_id(std::process::id())
        .ok_or_else(|| io::Error::other("/proc does not show this process"))
}

/// Whether `process` still runs. One that ended and is not yet collected (a zombie) is dead: it
/// holds nothing any more.
pub fn is_alive(process: ProcessId) -> bool {
    process_id(process.pid) == Some(process)
}

pub(crate) fn stat_of(pid: u32) -> Option<Stat> {
    Process::new(i32::try_from(pid).ok()?).ok()?.stat().ok()
}

pub(crate) fn identity(stat: &Stat) -> ProcessId {
    ProcessId { pid: stat.pid.unsigned_abs(), start_ticks: stat.starttime }
}

/// A process whose first thread has exited shows as a zombie while its other threads run on; it is
/// dead only when no other thread is left.
pub(crate) fn is_dead(stat: &Stat) -> bool {
    matches!(stat.state, 'Z' | 'X' | 'x') && stat.num_threads <= 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn this_process_is_alive_and_another_start_time_is_not_it() {
        let me = myself().unwrap();
        assert!(is_alive(me));
        assert_eq!(process_id(me.pid), Some(me));
        assert!(!is_alive(ProcessId { start_ticks: me.start_ticks + 1, ..me }));
        assert_eq!(process_id(u32::MAX), None);
    }

    #[test]
    fn a_zombie_is_dead_before_it_is_collected() {
        let mut child = Command::new("sleep").arg("100").spawn().unwrap();
        let process = process_id(child.id()).unwrap();
        assert!(is_alive(process));
        let watch = PidFd::watch(process).unwrap();
        child.kill().unwrap();
        watch.wait(model::Millis::from_secs(10)).unwrap();
        assert_eq!(stat_of(child.id()).map(|stat| stat.state), Some('Z'));
        assert!(!is_alive(process));
        child.wait().unwrap();
        assert!(!is_alive(process));
    }

    #[test]
    fn the_boot_id_is_a_uuid_and_stays() {
        let boot = boot_id().unwrap();
        assert_eq!(boot.as_str().len(), 36, "{boot}");
        assert_eq!(boot_id().unwrap(), boot);
    }
}
