//! The verb `run`.

use std::process::ExitCode;

use clap::Args;

use crate::{Context, Failure};

/// Options of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {}

/// Runs the verb.
pub(crate) fn run(context: &Context, _args: RunArgs) -> Result<ExitCode, Failure> {
    context.places().map(|_| ExitCode::SUCCESS)
}
