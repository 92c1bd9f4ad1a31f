//! `migctl man`: the manual pages, for packages.
//!
//! Must never touch a machine.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory};

use crate::args::Cli;
use crate::{Context, Failure};

/// Options of `man`.
#[derive(Debug, Args)]
#[command(about = "Write the manual pages")]
pub(crate) struct ManArgs {
    /// The folder to write them to; it is created
    pub(crate) dir: PathBuf,
}

/// Writes a page per verb.
pub(crate) fn run(context: &Context, args: &ManArgs) -> Result<ExitCode, Failure> {
    let what = format!("cannot write manual pages to {}", args.dir.display());
    let failed = |error: std::io::Error| Failure::caused("E-MAN", &what, &error);
    std::fs::create_dir_all(&args.dir).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), &args.dir).map_err(failed)?;
    context.output.say(&format!("wrote the manual pages to {}", args.dir.display()));
    Ok(ExitCode::SUCCESS)
}
