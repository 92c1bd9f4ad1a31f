//! A hold on one process that stays true when its pid is used again.
//!
//! Must never be made from a pid alone.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use model::{Millis, ProcessId};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{ProcessError, is_alive};

/// A descriptor of one process; it becomes readable when the process has ended.
#[derive(Debug)]
pub struct PidFd {
    process: ProcessId,
    descriptor: OwnedFd,
}

impl PidFd {
    /// Takes hold of `process`.
    ///
    /// The start time is read after the descriptor is open: if it is the wanted one, the descriptor
    /// is the wanted process's too, since a pid is not used again while its process is in the table.
    ///
    /// # Errors
    /// [`ProcessError::Gone`] if it has ended, even if another process has its pid;
    /// [`ProcessError::Refused`] where the system has no descriptor left.
    pub fn watch(process: ProcessId) -> Result<Self, ProcessError> {
        let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(ProcessError::Gone(process))?;
        // Non-blocking, so that it can be handed to an event loop.
        let descriptor = pidfd_open(pid, PidfdFlags::NONBLOCK)
            .map_err(|errno| error("watch", process, errno))?;
        if is_alive(process) {
            Ok(Self { process, descriptor })
        } else {
            Err(ProcessError::Gone(process))
        }
    }

    /// Which process it holds.
    pub const fn process(&self) -> ProcessId {
        self.process
    }

    /// Sends `signal` to the process, and to no other.
    ///
    /// # Errors
    /// [`ProcessError::Gone`] if it has ended; [`ProcessError::Refused`] if it belongs to another
    /// user.
    pub fn signal(&self, signal: Signal) -> Result<(), ProcessError> {
        pidfd_send_signal(&self.descriptor, signal)
            .map_err(|errno| error("signal", self.process, errno))
    }

    /// Whether the process, all its threads included, has ended.
    ///
    /// # Errors
    /// Those of `poll`.
    pub fn has_ended(&self) -> io::Result<bool> {
        self.wait(Millis::new(0))
    }

    /// Waits until the process has ended, at most `limit`; whether it has. Blocks the thread.
    ///
    /// # Errors
    /// Those of `poll`.
    pub fn wait(&self, limit: Millis) -> io::Result<bool> {
        let until = crate::clock::boot_time().get().saturating_add(limit.get());
        loop {
            let left = until.saturating_sub(crate::clock::boot_time().get());
            let timeout = Timespec {
                tv_sec: i64::try_from(left / 1000).unwrap_or(i64::MAX),
                tv_nsec: i64::try_from(left % 1000).unwrap_or(0) * 1_000_000,
            };
            let mut set = [PollFd::new(&self.descriptor, PollFlags::IN)];
            match poll(&mut set, Some(&timeout)) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl AsRawFd for PidFd {
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }
}

fn error(operation: &'static str, process: ProcessId, errno: Errno) -> ProcessError {
    match errno {
        // EINVAL: the pid belongs to a thread that is not the first of its process.
        Errno::SRCH | Errno::INVAL => ProcessError::Gone(process),
        other => ProcessError::Refused { operation, process, source: other.into() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processes::process_id;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    #[test]
    fn a_watched_process_can_be_ended_and_its_end_is_seen() {
        let mut child = Command::new("sleep").arg("100").spawn().unwrap();
        let watch = PidFd::watch(process_id(child.id()).unwrap()).unwrap();
        assert!(!watch.has_ended().unwrap());
        assert!(!watch.wait(Millis::new(20)).unwrap());
        watch.signal(Signal::TERM).unwrap();
        assert!(watch.wait(Millis::from_secs(10)).unwrap());
        assert_eq!(child.wait().unwrap().signal(), Some(15));
        assert!(watch.has_ended().unwrap());
        assert!(matches!(watch.signal(Signal::KILL), Err(ProcessError::Gone(_))));
    }

    #[test]
    fn a_process_with_another_start_time_is_refused() {
        let me = crate::processes::myself().unwrap();
        let other = ProcessId { start_ticks: me.start_ticks + 1, ..me };
        assert!(matches!(PidFd::watch(other), Err(ProcessError::Gone(gone)) if gone == other));
        let nobody = ProcessId { pid: 0, start_ticks: 0 };
        assert!(matches!(PidFd::watch(nobody), Err(ProcessError::Gone(_))));
    }

    #[test]
    fn an_ended_process_cannot_be_watched() {
        let mut child = Command::new("sleep").arg("100").spawn().unwrap();
        let process = process_id(child.id()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(matches!(PidFd::watch(process), Err(ProcessError::Gone(_))));
    }
}
