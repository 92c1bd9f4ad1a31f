//! A command that begins when its parent says so: the first half of what `run` starts.
//!
//! Must never let the command begin before its lease knows it, nor without its parent.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::ExitCode;

use clap::Args;
use rustix::process::{Signal, getpid, getppid, kill_process, set_parent_process_death_signal};

use crate::session::private;
use crate::{Context, Exit, Failure};

/// Options of the hidden verb.
#[derive(Debug, Args)]
#[command(about = "Become a command once the parent says so")]
pub(crate) struct HeldArgs {
    /// Who says so
    #[arg(long)]
    pub(crate) parent: i32,
    /// The process whose view of the machine the command gets
    #[arg(long)]
    pub(crate) view: Option<i32>,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<OsString>,
}

/// Stops until it is continued, then becomes the command. It dies with its parent until then.
pub(crate) fn run(_context: &Context, args: &HeldArgs) -> Result<ExitCode, Failure> {
    let lost = |error: rustix::io::Errno| {
        Failure::caused("E-HOLD", "cannot hold the command", &io::Error::from(error)).under_run()
    };
    if let Some(keeper) = args.view {
        private::enter(keeper)?;
        // A change of rights makes the kernel forget who the parent is, and hides this process.
        return private::reenter(args.parent, &args.command);
    }
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(lost)?;
    if getppid().map(|pid| pid.as_raw_nonzero().get()) != Some(args.parent) {
        return Err(Failure::new("E-HOLD", "whoever started this is gone").exit(Exit::Ours));
    }
    kill_process(getpid(), Signal::STOP).map_err(lost)?;
    set_parent_process_death_signal(None).map_err(lost)?;
    let [program, words @ ..] = args.command.as_slice() else {
        return Err(Failure::usage("a command is needed").under_run());
    };
    let error = std::process::Command::new(program).args(words).exec();
    let what = format!("cannot execute {}", program.to_string_lossy());
    let missing = error.kind() == io::ErrorKind::NotFound;
    let exit = if missing { Exit::NotFound } else { Exit::CannotExecute };
    Err(Failure::caused("E-EXECUTE", &what, &error).exit(exit))
}
