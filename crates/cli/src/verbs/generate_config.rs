//! `migctl generate-config`: the usual configurations for the boards of this machine.
//!
//! Must never offer a layout that a board does not hold.

use std::process::ExitCode;

use clap::Args;
use layout_file::{Schema, convert, generate_config, kinds};

use crate::changing::Ground;
use crate::verbs::export::{MadeArgs, Whose, written};
use crate::{Context, Failure};

/// Options of `generate-config`.
#[derive(Debug, Args)]
#[command(
    about = "Write a layout file with the usual configurations for these boards",
    long_about = "Writes a layout file with the usual configurations for the boards of this machine: \
                  all-disabled, all-enabled, all-<profile> with as many as fit, and all-balanced.",
    after_help = "Examples:\n  \
        migctl generate-config --output-file config.yaml\n  \
        migctl --simulate dgx-h100 generate-config --schema migd"
)]
pub(crate) struct GenerateConfigArgs {
    /// How
    #[command(flatten)]
    made: MadeArgs,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: &GenerateConfigArgs) -> Result<ExitCode, Failure> {
    let ground = Ground::read(context)?;
    let kinds = kinds(&ground.node);
    if kinds.is_empty() {
        return Err(Failure::new("E-NO-MIG", "no GPU here can do MIG")
            .hint("`migctl doctor` says why; --simulate HOST writes one for another machine"));
    }
    let theirs = generate_config(&kinds);
    // The document is mig-parted's; in ours the machine says what a name means.
    let made = convert(
        &theirs,
        Schema::from(args.made.schema.unwrap_or(Whose::MigParted)),
        Some(&ground.node),
    );
    written(context, &args.made, &made)
}
