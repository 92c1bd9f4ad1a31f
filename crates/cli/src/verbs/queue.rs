//! The verb `queue`.

use std::process::ExitCode;

use clap::Args;

use crate::{Context, Failure};

/// Options of `queue`.
#[derive(Debug, Args)]
pub struct QueueArgs {}

/// Runs the verb.
pub(crate) fn run(context: &Context, _args: &QueueArgs) -> Result<ExitCode, Failure> {
    context.places().map(|_| ExitCode::SUCCESS)
}
