//! The verb `lease`.

use std::process::ExitCode;

use clap::Args;

use crate::{Context, Failure};

/// Options of `lease`.
#[derive(Debug, Args)]
pub struct LeaseArgs {}

/// Runs the verb.
pub(crate) fn run(context: &Context, _args: LeaseArgs) -> Result<ExitCode, Failure> {
    context.places().map(|_| ExitCode::SUCCESS)
}
