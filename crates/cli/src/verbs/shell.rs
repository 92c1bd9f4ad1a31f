//! `migctl shell`: a shell on a slice of its own.
//!
//! Must never differ from `run` in anything but the command.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Args;

use crate::session::Manner;
use crate::session::wish::WishArgs;
use crate::{Context, Failure, session};

/// Options of `shell`.
#[derive(Debug, Args)]
#[command(
    about = "Open a shell on a slice of its own",
    long_about = "Waits for a slice and opens $SHELL on it. The slice is given back when the shell \
                  ends.",
    override_usage = "migctl shell (--profile P | --gpu-mem M | --compute Ng) [OPTIONS]",
    after_help = "Examples:\n  \
        migctl shell --profile 1g.10gb\n  \
        migctl shell --gpu-mem 20g --time 2h --name debug"
)]
pub(crate) struct ShellArgs {
    /// What is wanted
    #[command(flatten)]
    pub(crate) wish: WishArgs,
    /// Show the shell no device nodes but those of its slices; see `migctl run --help`
    #[arg(long)]
    pub(crate) private: bool,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: ShellArgs) -> Result<ExitCode, Failure> {
    let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty());
    let shell = shell.unwrap_or_else(|| OsString::from("/bin/sh"));
    let manner = if args.private { Manner::Private } else { Manner::Plain };
    session::run(context, &args.wish, &[shell], manner).map_err(Failure::under_run)
}
