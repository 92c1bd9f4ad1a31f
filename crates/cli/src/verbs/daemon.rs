//! The verb `daemon`.

use std::process::ExitCode;

use clap::Args;

use crate::{Context, Failure};

/// Options of `daemon`.
#[derive(Debug, Args)]
pub struct DaemonArgs {}

/// Runs the verb.
pub(crate) fn run(context: &Context, _args: &DaemonArgs) -> Result<ExitCode, Failure> {
    context.places().map(|_| ExitCode::SUCCESS)
}
