//! The verb `release`.

use std::process::ExitCode;

use clap::Args;

use crate::{Context, Failure};

/// Options of `release`.
#[derive(Debug, Args)]
pub struct ReleaseArgs {}

/// Runs the verb.
pub(crate) fn run(context: &Context, _args: &ReleaseArgs) -> Result<ExitCode, Failure> {
    context.places().map(|_| ExitCode::SUCCESS)
}
