//! `migctl completions`: completions for a shell.
//!
//! Must never touch a machine.

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::args::Cli;
use crate::{Context, Failure};

/// Options of `completions`.
#[derive(Debug, Args)]
#[command(
    about = "Print completions for a shell",
    long_about = "Prints a script that completes migctl's verbs and options in a shell.",
    after_help = "Examples:\n  \
        migctl completions bash > /etc/bash_completion.d/migctl\n  \
        migctl completions zsh > ~/.zfunc/_migctl"
)]
pub(crate) struct CompletionsArgs {
    /// Which shell
    pub(crate) shell: Shell,
}

/// Prints the script.
pub(crate) fn run(context: &Context, args: &CompletionsArgs) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "migctl", &mut script);
    context.output.print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
