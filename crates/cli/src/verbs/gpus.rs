//! The verb `gpus`.

use std::process::ExitCode;

use clap::Args;

use crate::{Context, Failure};

/// Options of `gpus`.
#[derive(Debug, Args)]
pub struct GpusArgs {}

/// Runs the verb.
pub(crate) fn run(context: &Context, _args: &GpusArgs) -> Result<ExitCode, Failure> {
    context.places().map(|_| ExitCode::SUCCESS)
}
