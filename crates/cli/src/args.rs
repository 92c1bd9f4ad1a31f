//! The command line: verbs and their options, parsed into types that cannot hold a bad value.
//!
//! Must never read the world: a test parses any command line without one.

use std::path::PathBuf;

use clap::{ArgAction, Args, ColorChoice, Parser, Subcommand};

use crate::sim::SimArgs;
use crate::verbs;

/// migctl.
#[derive(Debug, Parser)]
#[command(
    name = "migctl",
    version,
    about = "Slices of NVIDIA GPUs on request",
    long_about = "Slices of NVIDIA GPUs (MIG) on request: ask, get a slice that is yours alone, \
                  run, give it back.",
    after_long_help = "Examples:\n  \
        migctl run --gpu-mem 20g -- python train.py\n  \
        migctl --simulate dgx-a100 run --profile 2g.10gb -- migctl sim workload\n\n\
        Exit codes: 0 done, 1 the answer is no, 2 failure, 3 usage, 4 permission, 5 busy or retry.\n\
        Under run and shell: the program's own; 124 wait expired, 125 migctl failed, 126 and 127\n\
        the program cannot be executed or found.",
    max_term_width = 100
)]
pub struct Cli {
    /// Options of every verb.
    #[command(flatten)]
    pub global: GlobalOptions,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every verb.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalOptions {
    /// Use a simulated machine instead of this one's GPUs
    ///
    /// A preset (dgx-a100, dgx-a100-80, dgx-h100, hgx-h200, dgx-b200, a30x4, rtx-pro-6000x8), a
    /// board and a count (a30:4), or the path of a TOML file. Also: MIGD_SIMULATE.
    #[arg(long, global = true, value_name = "HOST")]
    pub simulate: Option<String>,

    /// Keep state here (also: MIGD_STATE_DIR)
    ///
    /// The default is /var/lib/migd for root and ~/.local/state/migd for others.
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// The daemon's socket (also: MIGD_DAEMON_SOCKET, and daemon.socket in its configuration)
    #[arg(long, global = true, value_name = "PATH", conflicts_with = "url")]
    pub socket: Option<PathBuf>,

    /// Let other users of this machine in
    #[arg(long, global = true)]
    pub shared: bool,

    /// Call a daemon over the network (https://HOST:PORT; also: MIGD_URL)
    #[arg(long, global = true, value_name = "URL", conflicts_with_all = ["simulate", "state_dir"])]
    pub url: Option<String>,

    /// The file that holds the token for --url (also: MIGD_TOKEN_FILE)
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// The certificates that vouch for the daemon at --url (also: MIGD_CA)
    #[arg(long, global = true, value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// Print data as JSON
    #[arg(long, global = true)]
    pub json: bool,

    /// Say less on stderr
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "verbose")]
    pub quiet: u8,

    /// Say more on stderr
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,

    /// When to use colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: ColorChoice,
}

impl GlobalOptions {
    /// -v counts up, -q down.
    pub fn verbosity(&self) -> i8 {
        let count = |n: u8| i8::try_from(n).unwrap_or(i8::MAX);
        count(self.verbose).saturating_sub(count(self.quiet))
    }
}

/// The verbs; what each is for stands with its options.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Status(verbs::status::StatusArgs),
    Gpus(verbs::gpus::GpusArgs),
    Profiles(verbs::profiles::ProfilesArgs),
    Instances(verbs::instances::InstancesArgs),
    Topo(verbs::topo::TopoArgs),
    Gpu(verbs::gpu::GpuArgs),
    Mode(verbs::mode::ModeArgs),
    Create(verbs::create::CreateArgs),
    Destroy(verbs::destroy::DestroyArgs),
    Plan(verbs::plan::PlanArgs),
    Apply(verbs::apply::ApplyArgs),
    Change(verbs::change::ChangeVerbArgs),
    Assert(verbs::assert::AssertArgs),
    Export(verbs::export::ExportArgs),
    Checkpoint(verbs::checkpoint::CheckpointArgs),
    Restore(verbs::checkpoint::RestoreArgs),
    GenerateConfig(verbs::generate_config::GenerateConfigArgs),
    Convert(verbs::convert::ConvertArgs),
    Run(verbs::run::RunArgs),
    Shell(verbs::shell::ShellArgs),
    Lease(verbs::lease::LeaseArgs),
    Release(verbs::release::ReleaseArgs),
    Renew(verbs::renew::RenewArgs),
    Queue(verbs::queue::QueueArgs),
    Cancel(verbs::cancel::CancelArgs),
    Book(verbs::book::BookArgs),
    Why(verbs::why::WhyArgs),
    WhyBusy(verbs::why_busy::WhyBusyArgs),
    Doctor(verbs::doctor::DoctorArgs),
    Size(verbs::size::SizeArgs),
    Bench(verbs::bench::BenchArgs),
    Explain(verbs::explain::ExplainArgs),
    Advise(verbs::advise::AdviseArgs),
    Events(verbs::events::EventsArgs),
    History(verbs::history::HistoryArgs),
    Usage(verbs::usage::UsageArgs),
    Whatif(verbs::whatif::WhatifArgs),
    Token(verbs::token::TokenArgs),
    Audit(verbs::audit::AuditArgs),
    Access(verbs::access::AccessArgs),
    Daemon(verbs::daemon::DaemonArgs),
    Config(verbs::config::ConfigArgs),
    Uninstall(verbs::uninstall::UninstallArgs),
    Lab(verbs::lab::LabArgs),
    Sim(SimArgs),
    Completions(verbs::completions::CompletionsArgs),
    #[command(hide = true)]
    BenchSlice(verbs::bench::BenchSliceArgs),
    #[command(hide = true)]
    Held(verbs::held::HeldArgs),
    #[command(hide = true)]
    Man(verbs::man::ManArgs),
    #[command(hide = true)]
    Openapi(verbs::openapi::OpenapiArgs),
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
