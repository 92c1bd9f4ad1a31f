//! The verb `status`.

use std::process::ExitCode;

use clap::Args;

use crate::{Context, Failure};

/// Options of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {}

/// Runs the verb.
pub(crate) fn run(context: &Context, _args: &StatusArgs) -> Result<ExitCode, Failure> {
    context.places().map(|_| ExitCode::SUCCESS)
}
