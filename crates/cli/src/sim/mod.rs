//! The verbs about simulated machines.

use std::process::ExitCode;

use clap::Args;

use crate::{Context, Failure};

/// Show and steer a simulated machine.
#[derive(Debug, Args)]
pub struct SimArgs {}

/// Runs the verb.
///
/// # Errors
/// [`Failure`].
pub fn run(context: &Context, _args: SimArgs) -> Result<ExitCode, Failure> {
    context.simulated().map(|_| ExitCode::SUCCESS)
}
