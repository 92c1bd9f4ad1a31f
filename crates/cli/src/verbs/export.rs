//! `migctl export`: the layouts of the machine as a file.
//!
//! Must never leave something out without saying so.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use layout_file::{Made, Schema, Syntax, export, write};

use crate::changing::ground::write_whole;
use crate::changing::{Ground, inherited};
use crate::{Context, Failure};

/// Options of `export`.
#[derive(Debug, Args)]
#[command(
    about = "Write the GPUs' layouts as a file",
    long_about = "Writes the layouts of the GPUs as a file that `migctl apply` reads, and, in the \
                  format it takes by default, nvidia-mig-parted, too. That one counts by profile; \
                  migd's own keeps every place, compute instances and empty GPU instances, and is \
                  taken where mig-parted's cannot say all that stands.",
    after_help = "Examples:\n  \
        migctl export > now.yaml\n  \
        migctl export --schema migd --output-file now.yaml -l night"
)]
pub(crate) struct ExportArgs {
    /// How
    #[command(flatten)]
    pub(crate) made: MadeArgs,
    /// Name of the configuration [default: current] (also: MIG_PARTED_CONFIG_LABEL)
    #[arg(short = 'l', long, value_name = "NAME")]
    config_label: Option<String>,
}

/// Options of verbs that write a file of layouts.
#[derive(Debug, Clone, Args)]
pub(crate) struct MadeArgs {
    /// Whose format [default: mig-parted's, of export ours where that cannot say all; of convert, the other one]
    #[arg(long, value_name = "WHOSE")]
    pub(crate) schema: Option<Whose>,
    /// yaml or json [default: yaml] (also: MIG_PARTED_OUTPUT_FORMAT)
    #[arg(short = 'o', long, value_name = "FORMAT")]
    output_format: Option<Form>,
    /// Write here instead of to stdout (also: MIG_PARTED_OUTPUT_FILE)
    #[arg(long, value_name = "FILE")]
    output_file: Option<PathBuf>,
}

/// Whose format a file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Whose {
    /// nvidia-mig-parted's, version v1
    MigParted,
    /// migd's own, with places
    Migd,
}

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// For people
    Yaml,
    /// For programs
    Json,
}

impl From<Whose> for Schema {
    fn from(whose: Whose) -> Self {
        match whose {
            Whose::MigParted => Self::MigParted,
            Whose::Migd => Self::Own,
        }
    }
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: &ExportArgs) -> Result<ExitCode, Failure> {
    let ground = Ground::read(context)?;
    let label = args.config_label.clone().or_else(|| inherited::text("MIG_PARTED_CONFIG_LABEL"));
    let label = label.as_deref().unwrap_or("current");
    let of = |whose: Whose| export(&ground.node, label, whose.into());
    let made = match args.made.schema {
        Some(whose) => of(whose),
        None => whole(context, of(Whose::MigParted), || of(Whose::Migd)),
    };
    written(context, &args.made, &made)
}

/// What says all that stands: in mig-parted's format if that can, else in ours. A file that leaves an
/// instance out takes it away where it is applied.
fn whole(context: &Context, theirs: Made, ours: impl FnOnce() -> Made) -> Made {
    if theirs.notes.is_empty() {
        return theirs;
    }
    let ours = ours();
    if ours.notes.len() >= theirs.notes.len() {
        return theirs;
    }
    for note in theirs.notes.iter().filter(|note| !ours.notes.contains(note)) {
        context.output.warn(&format!("migctl: {note}"));
    }
    context.output.warn(
        "migctl: so this is in migd's own format; --schema mig-parted writes what that format can say",
    );
    ours
}

/// Writes a document where it shall be, and says what it cannot say.
///
/// # Errors
/// [`Failure`] when it cannot be written.
pub(crate) fn written(
    context: &Context,
    args: &MadeArgs,
    made: &Made,
) -> Result<ExitCode, Failure> {
    for note in &made.notes {
        context.output.warn(&format!("migctl: {note}"));
    }
    let text = write(&made.document, syntax(context, args)?);
    let file = args.output_file.clone();
    match file.or_else(|| inherited::text("MIG_PARTED_OUTPUT_FILE").map(PathBuf::from)) {
        Some(path) if path.as_os_str() != "-" => write_whole(&path, &text)?,
        Some(_) | None => context.output.print(&text)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn syntax(context: &Context, args: &MadeArgs) -> Result<Syntax, Failure> {
    let inherited = match inherited::text("MIG_PARTED_OUTPUT_FORMAT").as_deref() {
        None => None,
        Some("yaml") => Some(Form::Yaml),
        Some("json") => Some(Form::Json),
        Some(other) => {
            return Err(Failure::usage(format!("MIG_PARTED_OUTPUT_FORMAT is `{other}`"))
                .hint("write yaml or json, or unset it"));
        }
    };
    let json = context.json().then_some(Form::Json);
    Ok(match args.output_format.or(json).or(inherited).unwrap_or(Form::Yaml) {
        Form::Yaml => Syntax::Yaml,
        Form::Json => Syntax::Json,
    })
}
