//! `migctl daemon`: the daemon, in the foreground.
//!
//! Must never follow the environment of root to a simulated machine on a server with GPUs.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use ::config::{Sockets, Sources};
use ::daemon::{GpuSource, Options};
use clap::Args;
use host::paths::Reach;
use model::Millis;

use crate::context::{Machine, SIMULATE};
use crate::{Context, Exit, Failure, autostart, configuration, connect};

/// Names of the sockets of a daemon that runs for one command.
pub(crate) const SOCKET: &str = "migd.sock";
const ADMIN_SOCKET: &str = "admin.sock";

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
    /// The configuration; without it /etc/migd/migd.toml for root, ~/.config/migd/migd.toml for
    /// others, and none for a simulated machine
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// From TERM to KILL when a lease's processes must end [default: 10s]
    #[arg(long, value_name = "T")]
    pub(crate) grace: Option<Millis>,
    /// How long an idle slice stays for reuse [default: 5m]
    #[arg(long, value_name = "T")]
    pub(crate) warm_for: Option<Millis>,
    /// Listen at this address, too; beyond this machine it needs tcp.certificate and tcp.key
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<std::net::SocketAddr>,
    /// What to do about users who open slices that are not theirs [default: observe]
    ///
    /// off looks away, observe changes nothing and reports who would be refused, on lets only the
    /// user of a lease open its slice (takes root).
    #[arg(long, value_name = "off|observe|on", value_parser = ["off", "observe", "on"])]
    pub(crate) enforce: Option<String>,
    /// Leave after so long without leases, queue or callers
    #[arg(long, value_name = "T", hide = true)]
    pub(crate) leave_when_idle: Option<Millis>,
    /// Run for one command, with sockets in this folder, until standard input ends
    #[arg(long, value_name = "DIR", hide = true)]
    pub(crate) passive: Option<PathBuf>,
    /// Leave the session of the terminal first
    #[arg(long, hide = true)]
    pub(crate) detached: bool,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: &DaemonArgs) -> Result<ExitCode, Failure> {
    if args.detached {
        autostart::leave_parent();
    }
    refuse_inherited_machine(context)?;
    let sources = sources(context, args)?;
    let config = configuration::load(&sources)?;
    let gpus = connect::gpus(context)?;
    let simulated = matches!(gpus, GpuSource::Simulated { .. });
    // Ordinary users are let in by default where there is something to lend.
    let shared = config.config.daemon.shared.unwrap_or(!simulated && context.uid() == 0);
    let places = context.places()?;
    let reach = if shared { Reach::Everybody } else { Reach::Owner };
    places.prepare(reach).map_err(|error| {
        let failure = Failure::caused("E-PLACES", "cannot prepare the daemon's folders", &error);
        if context.uid() == 0 { failure } else { failure.exit(Exit::Permission) }
    })?;
    if simulated {
        // Now, by its owner: other users of a shared machine may not write there.
        context.library()?;
    }
    let keys = &config.config.daemon;
    let sockets = match &args.passive {
        Some(folder) => {
            Sockets { users: Some(folder.join(SOCKET)), admins: Some(folder.join(ADMIN_SOCKET)) }
        }
        None => Sockets { users: keys.socket.clone(), admins: keys.admin_socket.clone() },
    };
    let admin_socket = sockets.beside().unwrap_or_else(|| places.admin_socket());
    let options = Options {
        gpus,
        state_dir: places.state_dir().to_path_buf(),
        socket: sockets.users.unwrap_or_else(|| places.socket()),
        admin_socket,
        shared: shared && args.passive.is_none(),
        passive: args.passive.is_some(),
        leave_when_idle: args.leave_when_idle.map(span),
        config,
        sources,
    };
    ::daemon::run(&options).map_err(|error| super::of_daemon("cannot run the daemon", &error))?;
    Ok(ExitCode::SUCCESS)
}

/// Whoever sets root's environment must not choose what root's daemon manages: a unit or an option
/// says so, or it is the machine itself.
fn refuse_inherited_machine(context: &Context) -> Result<(), Failure> {
    if context.uid() != 0 || context.options.simulate.is_some() {
        return Ok(());
    }
    if matches!(context.machine()?, Machine::Simulated(_)) {
        return Err(Failure::usage(format!(
            "root's daemon does not follow the environment, and {SIMULATE} is set"
        ))
        .hint("say --simulate HOST, or unset the variable"));
    }
    Ok(())
}

/// The file and the environment, with the options of this command on top.
fn sources(context: &Context, args: &DaemonArgs) -> Result<Sources, Failure> {
    let mut sources = Sources::default();
    if args.auto_mig {
        sources.flag("--auto-mig", "daemon.auto_mig", "true".to_owned());
    } else if args.passive.is_none() && matches!(context.machine()?, Machine::Simulated(_)) {
        sources.flag("--simulate", "daemon.auto_mig", "true".to_owned());
    }
    if context.options.shared {
        sources.flag("--shared", "daemon.shared", "true".to_owned());
    }
    if let Some(socket) = context.named_socket() {
        sources.flag("--socket", "daemon.socket", socket.display().to_string());
    }
    if let Some(mode) = &args.enforce {
        sources.flag("--enforce", "access.enforce", mode.clone());
    }
    if let Some(address) = args.listen {
        sources.flag("--listen", "tcp.listen", address.to_string());
    }
    let spans =
        [("--grace", "daemon.grace", args.grace), ("--warm-for", "daemon.warm_for", args.warm_for)];
    for (flag, key, value) in spans {
        if let Some(value) = value {
            sources.flag(flag, key, format!("{}ms", value.get()));
        }
    }
    let below = configuration::sources(context, args.config.as_deref())?;
    sources.overrides.extend(below.overrides);
    Ok(Sources { overrides: sources.overrides, ..below })
}

const fn span(millis: Millis) -> Duration {
    Duration::from_millis(millis.get())
}
