//! `migctl convert`: a layout file in the words of the other format.
//!
//! Must never write less than was meant without saying so.

use std::process::ExitCode;

use clap::Args;
use layout_file::{Schema, convert};

use crate::changing::Ground;
use crate::changing::file::FileArgs;
use crate::verbs::export::{MadeArgs, Whose, written};
use crate::{Context, Failure};

/// Options of `convert`.
#[derive(Debug, Args)]
#[command(
    about = "Write a layout file in the other format",
    long_about = "Writes a layout file in nvidia-mig-parted's format or in migd's own. What the other \
                  format cannot say is left out whole and named. With a machine at hand more can be \
                  said: mig-parted knows GPUs by index alone.",
    after_help = "Examples:\n  \
        migctl convert -f config.yaml --schema migd > lab.yaml\n  \
        migctl convert -f lab.yaml --schema mig-parted --machine"
)]
pub(crate) struct ConvertArgs {
    /// Which file
    #[arg(short, long = "config-file", visible_alias = "file", value_name = "FILE")]
    file: std::path::PathBuf,
    /// Read this machine's GPUs, so that names and places can be translated
    #[arg(long)]
    machine: bool,
    /// How
    #[command(flatten)]
    made: MadeArgs,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: &ConvertArgs) -> Result<ExitCode, Failure> {
    let file = FileArgs { file: Some(args.file.clone()), config: None, mode_only: false };
    let layouts = file.read()?;
    layouts.warn(context, &layouts.document.warnings);
    let ground = args.machine.then(|| Ground::read(context)).transpose()?;
    let node = ground.as_ref().map(|ground| &ground.node);
    let other = match layouts.document.schema {
        Schema::MigParted => Whose::Migd,
        Schema::Own => Whose::MigParted,
    };
    let made = convert(&layouts.document, args.made.schema.unwrap_or(other).into(), node);
    written(context, &args.made, &made)
}
