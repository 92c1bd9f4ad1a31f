//! The verb `shell`.

use std::process::ExitCode;

use clap::Args;

use crate::{Context, Failure};

/// Options of `shell`.
#[derive(Debug, Args)]
pub struct ShellArgs {}

/// Runs the verb.
pub(crate) fn run(context: &Context, _args: ShellArgs) -> Result<ExitCode, Failure> {
    context.places().map(|_| ExitCode::SUCCESS)
}
