//! One file per verb.
//!
//! Must never hold more than the dispatch.

pub(crate) mod access;
pub(crate) mod advise;
pub(crate) mod apply;
pub(crate) mod assert;
pub(crate) mod audit;
pub(crate) mod bench;
pub(crate) mod book;
pub(crate) mod cancel;
pub(crate) mod change;
pub(crate) mod checkpoint;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod convert;
pub(crate) mod create;
pub(crate) mod daemon;
pub(crate) mod destroy;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod export;
pub(crate) mod generate_config;
pub(crate) mod gpu;
pub(crate) mod gpus;
pub(crate) mod held;
pub(crate) mod history;
pub(crate) mod instances;
pub(crate) mod lab;
pub(crate) mod lease;
pub(crate) mod man;
pub(crate) mod mode;
pub(crate) mod openapi;
pub(crate) mod plan;
pub(crate) mod profiles;
pub(crate) mod queue;
pub(crate) mod release;
pub(crate) mod renew;
pub(crate) mod run;
pub(crate) mod shell;
pub(crate) mod size;
pub(crate) mod status;
pub(crate) mod token;
pub(crate) mod topo;
pub(crate) mod uninstall;
pub(crate) mod usage;
pub(crate) mod whatif;
pub(crate) mod why;
pub(crate) mod why_busy;

use std::process::ExitCode;

use crate::args::Command;
use crate::{Context, Failure};

/// Runs a verb.
///
/// # Errors
/// [`Failure`], printed by the caller.
pub(crate) fn dispatch(context: &Context, command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Status(args) => status::run(context, &args),
        Command::Gpus(args) => gpus::run(context, &args),
        Command::Gpu(args) => gpu::run(context, args),
        Command::Mode(args) => mode::run(context, &args),
        Command::Create(args) => create::run(context, &args),
        Command::Destroy(args) => destroy::run(context, &args),
        Command::Plan(args) => plan::run(context, &args),
        Command::Apply(args) => apply::run(context, &args),
        Command::Change(args) => change::run(context, &args),
        Command::Assert(args) => assert::run(context, &args),
        Command::Export(args) => export::run(context, &args),
        Command::Checkpoint(args) => checkpoint::keep(context, &args),
        Command::Restore(args) => checkpoint::restore(context, &args),
        Command::GenerateConfig(args) => generate_config::run(context, &args),
        Command::Convert(args) => convert::run(context, &args),
        Command::Profiles(args) => profiles::run(context, &args),
        Command::Instances(args) => instances::run(context, &args),
        Command::Topo(args) => topo::run(context, &args),
        Command::Run(args) => run::run(context, args),
        Command::Shell(args) => shell::run(context, args),
        Command::Lease(args) => lease::run(context, args),
        Command::Release(args) => release::run(context, &args),
        Command::Renew(args) => renew::run(context, &args),
        Command::Queue(args) => queue::run(context, &args),
        Command::Cancel(args) => cancel::run(context, &args),
        Command::Book(args) => book::run(context, &args),
        Command::Why(args) => why::run(context, &args),
        Command::WhyBusy(args) => why_busy::run(context, &args),
        Command::Doctor(args) => doctor::run(context, &args),
        Command::Size(args) => size::run(context, &args),
        Command::Bench(args) => bench::run(context, &args),
        Command::BenchSlice(args) => bench::on_slice(context, &args),
        Command::Explain(args) => explain::run(context, &args),
        Command::Advise(args) => advise::run(context, &args),
        Command::Events(args) => events::run(context, &args),
        Command::History(args) => history::run(context, &args),
        Command::Usage(args) => usage::run(context, &args),
        Command::Whatif(args) => whatif::run(context, &args),
        Command::Token(args) => token::run(context, args),
        Command::Audit(args) => audit::run(context, &args),
        Command::Access(args) => access::run(context, &args),
        Command::Daemon(args) => daemon::run(context, &args),
        Command::Config(args) => config::run(context, &args),
        Command::Uninstall(args) => uninstall::run(context, &args),
        Command::Lab(args) => lab::run(context, args),
        Command::Sim(args) => crate::sim::run(context, args),
        Command::Completions(args) => completions::run(context, &args),
        Command::Held(args) => held::run(context, &args),
        Command::Man(args) => man::run(context, &args),
        Command::Openapi(args) => openapi::run(context, &args),
    }
}

/// The failure for what the daemon's crate says of a driver or a state folder.
pub(crate) fn of_daemon(what: &str, error: &::daemon::DaemonError) -> Failure {
    match error {
        ::daemon::DaemonError::Driver(driver::DriverError::LibraryNotFound { .. }) => {
            crate::connect::no_driver()
        }
        ::daemon::DaemonError::Driver(error) => Failure::of_driver(what, error),
        ::daemon::DaemonError::AlreadyRunning(_) => Failure::caused("E-DAEMON-RUNS", what, error)
            .exit(crate::Exit::Busy)
            .hint("`migctl status` talks to it"),
        ::daemon::DaemonError::File { .. }
        | ::daemon::DaemonError::Simulated(_)
        | ::daemon::DaemonError::Store(_)
        | ::daemon::DaemonError::Network { .. }
        | ::daemon::DaemonError::System { .. } => Failure::caused("E-DAEMON", what, error),
    }
}
