//! `migctl run`: a command on a slice of its own.
//!
//! Must never leave a command without a lease, nor a lease without a command.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Args;

use crate::session::Manner;
use crate::session::wish::WishArgs;
use crate::{Context, Failure, session};

/// Options of `run`.
#[derive(Debug, Args)]
#[command(
    about = "Run a command on a slice of its own",
    long_about = "Waits for a slice, runs a command on it, and gives the slice back. The command \
                  finds CUDA_VISIBLE_DEVICES and NVIDIA_VISIBLE_DEVICES set to the slice's UUID and \
                  MIGD_LEASE to the lease; {uuid} in its arguments is replaced. Its exit status is \
                  passed on; 124 means that the wait expired, 125 that migctl failed, 126 and 127 \
                  that the command cannot be executed or found.",
    override_usage = "migctl run (--profile P | --gpu-mem M | --compute Ng) [OPTIONS] -- CMD...",
    after_help = "Examples:\n  \
        migctl run --gpu-mem 20g --time 2h -- python train.py\n  \
        migctl run --profile 1g.10gb --max-wait 10m -- ./bench --device {uuid}\n  \
        migctl run --profile 2g.20gb --name llm --linger 10m -- ./serve\n  \
        migctl run --private --profile 1g.10gb -- python serve.py --device 0\n  \
        migctl run --container --gpu-mem 10g -- podman run IMAGE"
)]
pub(crate) struct RunArgs {
    /// What is wanted
    #[command(flatten)]
    pub(crate) wish: WishArgs,
    /// The command is `docker run …` or `podman run …`: the lease follows its container
    #[arg(long)]
    pub(crate) container: bool,
    /// Show the command no device nodes but those of its slices (needs bubblewrap)
    ///
    /// In a /dev of its own: /dev/nvidiactl, /dev/nvidia-uvm, its GPUs, and of /dev/nvidia-caps the
    /// two nodes of each of its slices. For engines that do not take MIG UUIDs: CUDA's index 0 is
    /// then the first slice that it can open (not yet seen on hardware). What NVML lists stays the
    /// same. Programs that take
    /// another user's rights (sudo) do not work in it.
    #[arg(long, conflicts_with = "container")]
    pub(crate) private: bool,
    /// The command and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CMD"
    )]
    pub(crate) command: Vec<OsString>,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: RunArgs) -> Result<ExitCode, Failure> {
    let manner = match (args.container, args.private) {
        (true, _) => Manner::Container,
        (false, true) => Manner::Private,
        (false, false) => Manner::Plain,
    };
    session::run(context, &args.wish, &args.command, manner).map_err(Failure::under_run)
}
