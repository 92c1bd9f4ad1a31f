//! The verb `profiles`.

use std::process::ExitCode;

use clap::Args;

use crate::{Context, Failure};

/// Options of `profiles`.
#[derive(Debug, Args)]
pub struct ProfilesArgs {}

/// Runs the verb.
pub(crate) fn run(context: &Context, _args: &ProfilesArgs) -> Result<ExitCode, Failure> {
    context.places().map(|_| ExitCode::SUCCESS)
}
