//! The verb `events`.

use std::process::ExitCode;

use clap::Args;

use crate::{Context, Failure};

/// Options of `events`.
#[derive(Debug, Args)]
pub struct EventsArgs {}

/// Runs the verb.
pub(crate) fn run(context: &Context, _args: &EventsArgs) -> Result<ExitCode, Failure> {
    context.places().map(|_| ExitCode::SUCCESS)
}
