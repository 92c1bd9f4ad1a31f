//! The command of a lease: started but held, let go, watched, signalled.
//!
//! Must never reap a process it did not start.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, waitid,
};

use crate::failure::{Exit, Failure};
use crate::session::private::View;

/// What became of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// It stopped, by a signal of this number.
    Stopped(i32),
    /// It ended.
    Ended(Exited),
}

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exited {
    /// By itself, with this status.
    Status(u8),
    /// By a signal of this number.
    Signal(u8),
}

impl Exited {
    /// The exit code that tells the same: 128 and the number for a signal.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Status(code) => code,
            Self::Signal(number) => Exit::Signal(number).code(),
        }
    }
}

/// A command in a process group of its own.
#[derive(Debug)]
pub(crate) struct Held {
    pid: Pid,
    ended: Option<Exited>,
}

impl Held {
    /// Starts `command` in a process group of its own and holds it before its first instruction:
    /// this executable takes its place until [`Held::let_go`], and dies if this process does. With
    /// a view it has entered it by then.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be started.
    pub(crate) fn start(
        command: &[OsString],
        environment: &[(String, OsString)],
        view: Option<&View>,
    ) -> Result<Self, Failure> {
        let failed = |error: io::Error| {
            Failure::caused("E-EXECUTE", "cannot start the command", &error).exit(Exit::Ours)
        };
        let me = rustix::process::getpid().as_raw_nonzero();
        let child = Command::new("/proc/self/exe")
            .arg0("migctl")
            .args(["--color", "never", "held", "--parent", &me.to_string()])
            .args(view.map(|view| format!("--view={}", view.keeper())))
            .arg("--")
            .args(command)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let gone = || failed(io::Error::other("it has no process id"));
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
        let mut held = Self { pid, ended: None };
        held.wait_until_held().map_err(failed)?;
        Ok(held)
    }

    fn wait_until_held(&mut self) -> io::Result<()> {
        let options = WaitIdOptions::STOPPED | WaitIdOptions::CONTINUED | WaitIdOptions::EXITED;
        loop {
            match waitid(WaitId::Pid(self.pid), options) {
                Ok(Some(status)) => {
                    self.ended = exited(&status);
                    return Ok(());
                }
                Ok(None) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Its process id, which is its group's too.
    pub(crate) const fn pid(&self) -> Pid {
        self.pid
    }

    /// Lets it begin, or go on.
    pub(crate) fn let_go(&self) {
        self.signal(Signal::CONT);
    }

    /// Sends a signal to its whole group; a group that has ended needs none.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = kill_process_group(self.pid, signal);
    }

    /// What happened since the last call, if anything did.
    pub(crate) fn news(&mut self) -> Option<News> {
        if let Some(ended) = self.ended {
            return Some(News::Ended(ended));
        }
        let options = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        match waitid(WaitId::Pid(self.pid), options) {
            Ok(Some(status)) => {
                if let Some(number) = status.stopping_signal() {
                    return Some(News::Stopped(number));
                }
                self.ended = exited(&status);
                self.ended.map(News::Ended)
            }
            Ok(None) | Err(_) => None,
        }
    }
}

fn exited(status: &WaitIdStatus) -> Option<Exited> {
    let low = |number: i32| u8::try_from(number & 0xff).unwrap_or(u8::MAX);
    let by_itself = status.exit_status().map(|code| Exited::Status(low(code)));
    by_itself.or_else(|| status.terminating_signal().map(|number| Exited::Signal(low(number))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_become_codes_above_128() {
        assert_eq!(Exited::Status(7).code(), 7);
        assert_eq!(Exited::Signal(15).code(), 143);
        assert_eq!(Exited::Signal(9).code(), 137);
    }
}
