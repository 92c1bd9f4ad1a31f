//! The verb `cancel`.

use std::process::ExitCode;

use clap::Args;

use crate::{Context, Failure};

/// Options of `cancel`.
#[derive(Debug, Args)]
pub struct CancelArgs {}

/// Runs the verb.
pub(crate) fn run(context: &Context, _args: &CancelArgs) -> Result<ExitCode, Failure> {
    context.places().map(|_| ExitCode::SUCCESS)
}
