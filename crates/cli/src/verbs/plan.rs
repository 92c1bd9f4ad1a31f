//! `migctl plan`: what `apply` would do.
//!
//! Must never change anything but the file that was asked for.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::changing::file::FileArgs;
use crate::changing::hooks::{Hooks, HooksArgs};
use crate::changing::{ChangeArgs, Ground, show};
use crate::{Context, Failure};

/// Options of `plan`.
#[derive(Debug, Args)]
#[command(
    about = "Show what a layout file would change",
    long_about = "Shows what a layout file would change, GPU by GPU: what stays, goes and comes, the \
                  driver calls in order, what is in the way and whose it is, how long it takes, and \
                  which services would be stopped. Reads nvidia-mig-parted's files and migd's own. \
                  Exit code 5 when something is in the way.",
    after_help = "Examples:\n  \
        migctl plan -f config.yaml -c all-balanced\n  \
        migctl plan -f lab.yaml -o lab.plan && migctl apply lab.plan"
)]
pub(crate) struct PlanArgs {
    /// Which file
    #[command(flatten)]
    file: FileArgs,
    /// A hooks file of nvidia-mig-parted; its programs are shown (also: MIG_PARTED_HOOKS_FILE)
    #[arg(short = 'k', long, value_name = "FILE")]
    hooks_file: Option<PathBuf>,
    /// Write the plan here; `migctl apply FILE` carries out exactly it
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Plan for `apply --no-fix`
    #[arg(long)]
    no_fix: bool,
    /// Plan for `apply --wait-idle`
    #[arg(long)]
    wait_idle: bool,
    /// Plan for `apply --skip-reset`
    #[arg(long)]
    skip_reset: bool,
    /// Plan for `apply --stop-clients`
    #[arg(long)]
    stop_clients: bool,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: &PlanArgs) -> Result<ExitCode, Failure> {
    Hooks::read(context, &HooksArgs::shown(args.hooks_file.clone()))?;
    let ground = Ground::read(context)?;
    let wish = args.file.wish(context, &ground, "apply", !args.no_fix)?;
    let change = ChangeArgs {
        wait_idle: args.wait_idle,
        skip_reset: args.skip_reset,
        stop_clients: args.stop_clients,
        ..ChangeArgs::default()
    };
    show(context, &ground, wish, &change, args.out.as_deref())
}
