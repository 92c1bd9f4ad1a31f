//! `migctl daemon`: the daemon, in the foreground.
//!
//! Must never follow the environment of root to a simulated machine on a server with GPUs.

use std::process::ExitCode;
use std::time::Duration;

use ::daemon::{GpuSource, Options};
use clap::Args;
use model::Millis;

use crate::{Context, Exit, Failure, autostart, connect};

/// Options of `daemon`.
#[derive(Debug, Args)]
#[command(
    about = "Run the daemon",
    long_about = "Runs the daemon that owns the machine's MIG slices, until it is told to stop \
                  (SIGTERM, SIGINT). Leases live on without it and are found again. On a simulated \
                  machine it enables MIG on every empty GPU as soon as it runs; on a real one only \
                  with --auto-mig.",
    after_help = "Examples:\n  \
        migctl daemon --grace 30s\n  \
        migctl --simulate dgx-a100 daemon"
)]
pub(crate) struct DaemonArgs {
    /// Enable MIG mode on every GPU that is empty, as soon as the daemon runs
    #[arg(long)]
    pub(crate) auto_mig: bool,
    /// From TERM to KILL when a lease's processes must end
    #[arg(long, value_name = "T", default_value = "10s")]
    pub(crate) grace: Millis,
    /// How long an idle slice stays for reuse
    #[arg(long, value_name = "T", default_value = "5m")]
    pub(crate) warm_for: Millis,
    /// Leave after so long without leases, queue or callers
    #[arg(long, value_name = "T", hide = true)]
    pub(crate) leave_when_idle: Option<Millis>,
    /// Leave the session of the terminal first
    #[arg(long, hide = true)]
    pub(crate) detached: bool,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: &DaemonArgs) -> Result<ExitCode, Failure> {
    if args.detached {
        autostart::leave_parent();
    }
    let gpus = connect::gpus(context)?;
    let places = context.places()?;
    places.prepare(context.reach()).map_err(|error| {
        let failure = Failure::caused("E-PLACES", "cannot prepare the daemon's folders", &error);
        if context.uid() == 0 { failure } else { failure.exit(Exit::Permission) }
    })?;
    let simulated = matches!(gpus, GpuSource::Simulated { .. });
    if simulated {
        // Now, by its owner: other users of a shared machine may not write there.
        context.library()?;
    }
    let options = Options {
        gpus,
        state_dir: places.state_dir().to_path_buf(),
        socket: places.socket(),
        admin_socket: places.admin_socket(),
        shared: context.options.shared,
        auto_mig: args.auto_mig || simulated,
        leave_when_idle: args.leave_when_idle.map(span),
        grace: span(args.grace),
        warm_for: span(args.warm_for),
        edge: ::daemon::Edge::default(),
    };
    ::daemon::run(&options).map_err(|error| super::of_daemon("cannot run the daemon", &error))?;
    Ok(ExitCode::SUCCESS)
}

const fn span(millis: Millis) -> Duration {
    Duration::from_millis(millis.get())
}
