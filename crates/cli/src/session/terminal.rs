//! The terminal, handed to the command and taken back.
//!
//! Must never take the terminal from a process that is not ours.

use std::io::{self, IsTerminal as _};

use nix::sys::signal::{SigSet, Signal as Number};
use rustix::process::{Pid, getpgrp, getpid};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr, tcsetpgrp};

/// The controlling terminal on stdin.
#[derive(Debug)]
pub(crate) struct Terminal {
    saved: Option<Termios>,
    given_to: Option<Pid>,
}

impl Terminal {
    /// The terminal on stdin, if there is one and it controls this session.
    pub(crate) fn of_stdin() -> Option<Self> {
        let stdin = io::stdin();
        if !stdin.is_terminal() || tcgetpgrp(&stdin).is_err() {
            return None;
        }
        Some(Self { saved: tcgetattr(&stdin).ok(), given_to: None })
    }

    /// Whether the terminal is this process group's, or was handed on by it.
    pub(crate) fn is_ours(&self) -> bool {
        let front = tcgetpgrp(io::stdin()).ok();
        front == Some(getpgrp()) || (front.is_some() && front == self.given_to)
    }

    /// Makes `group` the one that reads keys and gets their signals.
    pub(crate) fn give(&mut self, group: Pid) {
        if self.is_ours() && set_front(group) {
            self.given_to = Some(group);
        }
    }

    /// Takes the terminal back, if the command still has it.
    pub(crate) fn take_back(&mut self) {
        if let Some(group) = self.given_to.take()
            && tcgetpgrp(io::stdin()) == Ok(group)
        {
            set_front(getpgrp());
        }
    }

    /// Restores the modes of the terminal: a command that was killed cannot.
    pub(crate) fn restore_modes(&self) {
        if let Some(saved) = &self.saved
            && self.is_ours()
        {
            let _ = tcsetattr(io::stdin(), OptionalActions::Drain, saved);
        }
    }
}

/// A background group that sets the front group is stopped by SIGTTOU unless it blocks it.
fn set_front(group: Pid) -> bool {
    let mut blocked = SigSet::empty();
    blocked.add(Number::SIGTTOU);
    let masked = blocked.thread_block().is_ok();
    let done = masked && tcsetpgrp(io::stdin(), group).is_ok();
    if masked {
        let _ = blocked.thread_unblock();
    }
    done
}

/// Whether other processes share this group, as the other parts of a pipeline do. Handing the
/// terminal on would take it from them.
pub(crate) fn is_part_of_pipeline() -> bool {
    let group = u32::try_from(getpgrp().as_raw_nonzero().get()).unwrap_or(0);
    let me = u32::try_from(getpid().as_raw_nonzero().get()).unwrap_or(0);
    host::processes::group_members(group, None).iter().any(|process| process.pid != me)
}
