//! `migctl openapi`: the description of the API, for `docs/openapi.json`.
//!
//! Must never need a daemon: it is made from the program.

use std::process::ExitCode;

use clap::Args;

use crate::{Context, Failure};

/// Options of `openapi`.
#[derive(Debug, Args)]
#[command(
    about = "Print the description of the API",
    long_about = "Prints the description of the daemon's HTTP interface (OpenAPI 3.1), as it \
                  serves it at /v1/openapi.json."
)]
pub(crate) struct OpenapiArgs {}

/// Runs the verb.
pub(crate) fn run(context: &Context, _args: &OpenapiArgs) -> Result<ExitCode, Failure> {
    context.output.line(::daemon::openapi().trim_end())?;
    Ok(ExitCode::SUCCESS)
}
