//! `migctl assert`: whether the machine is as a layout file says.
//!
//! Must never change anything, and never say yes about what it did not look at.

use std::process::ExitCode;

use clap::Args;
use layout_file::{Differences, Scope, compare};
use serde::Serialize;

use crate::changing::file::FileArgs;
use crate::changing::{Ground, inherited};
use crate::draw::text::ranges;
use crate::{Context, Exit, Failure};

/// Options of `assert`.
#[derive(Debug, Args)]
#[command(
    about = "Say whether the GPUs are as a layout file says",
    long_about = "Says whether the GPUs that a layout file names are as it says, and where they \
                  differ. GPU instances without a compute instance count, too.",
    after_help = "Examples:\n  \
        migctl assert -f config.yaml -c all-balanced\n  \
        migctl export | migctl assert -f -\n\n\
        Exit codes: 0 they are, 1 they are not, 3 the file is wrong."
)]
pub(crate) struct AssertArgs {
    /// Which file
    #[command(flatten)]
    file: FileArgs,
    /// Only whether the file is right; no GPU is looked at (also: MIG_PARTED_VALID_CONFIG)
    #[arg(short = 'a', long)]
    valid_config: bool,
}

/// The answer as JSON.
#[derive(Debug, Serialize)]
struct Answer {
    holds: bool,
    config: String,
    /// Indices of the GPUs that were compared.
    compared: Vec<u32>,
    differences: Vec<String>,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: &AssertArgs) -> Result<ExitCode, Failure> {
    let layouts = args.file.read()?;
    if args.valid_config || inherited::flag("MIG_PARTED_VALID_CONFIG")? {
        layouts.warn(context, &layouts.document.warnings);
        let config = layouts.document.config(args.file.config().as_deref());
        let config = config.map_err(|error| layouts.refused(&error))?;
        context.output.say(&format!("migctl: the file is right, `{}` included", config.name));
        return Ok(ExitCode::SUCCESS);
    }
    let ground = Ground::read(context)?;
    let scope = if args.file.is_mode_only()? { Scope::Mode } else { Scope::Layout };
    let config = args.file.config();
    let found = compare(&layouts.document, config.as_deref(), &ground.node, scope);
    let found = found.map_err(|error| layouts.refused(&error))?;
    layouts.warn(context, &found.warnings);
    tell(context, &found)?;
    Ok(if found.is_equal() { ExitCode::SUCCESS } else { Exit::Negative.into() })
}

fn tell(context: &Context, found: &Differences) -> Result<(), Failure> {
    let compared: Vec<u32> = found.compared.iter().map(|index| index.get()).collect();
    let differences: Vec<String> = found.differences.iter().map(ToString::to_string).collect();
    if context.json() {
        let (holds, config) = (found.is_equal(), found.config.clone());
        return context.output.data(&Answer { holds, config, compared, differences });
    }
    for difference in &differences {
        context.output.line(difference)?;
    }
    let gpus = match compared.as_slice() {
        [] => String::from("no GPU here is named by it"),
        [one] => format!("GPU {one}"),
        several => format!("GPUs {}", ranges(several)),
    };
    let holds = if found.is_equal() { "holds" } else { "does not hold" };
    context.output.say(&format!("migctl: `{}` {holds} ({gpus})", found.config));
    Ok(())
}
