//! `migctl checkpoint` and `migctl restore`: exactly what stands, kept and brought back.
//!
//! Must never restore anything over what is leased or in use.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use layout_file::{read_checkpoint, write_checkpoint};

use model::Timestamp;

use crate::changing::ground::{read_text, write_whole};
use crate::changing::{ChangeArgs, Ground, Wish, carry_out, inherited};
use crate::{Context, Exit, Failure};

/// Options of `checkpoint`.
#[derive(Debug, Args)]
#[command(
    about = "Keep the GPUs' layouts in a file, every place included",
    long_about = "Keeps MIG modes, GPU instances and compute instances with their places in a file \
                  that `migctl restore` brings back. The file is there whole or not at all.",
    after_help = "Examples:\n  \
        migctl checkpoint -f before.json\n  \
        migctl checkpoint -f - | ssh other migctl restore -f - --dry-run"
)]
pub(crate) struct CheckpointArgs {
    /// The file; - is stdout (also: MIG_PARTED_CHECKPOINT_FILE)
    #[arg(short = 'f', long = "checkpoint-file", visible_alias = "file", value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Options of `restore`.
#[derive(Debug, Args)]
#[command(
    about = "Bring back what a checkpoint kept",
    long_about = "Brings MIG modes, GPU instances and compute instances back to what a checkpoint \
                  kept, each at its place. What is right already stays; what is leased or in use is \
                  never touched. Reads nvidia-mig-parted's checkpoints, too. For administrators.",
    after_help = "Examples:\n  \
        migctl restore -f before.json --dry-run\n  \
        migctl restore -f before.json --yes"
)]
pub(crate) struct RestoreArgs {
    /// The file; - is stdin (also: MIG_PARTED_CHECKPOINT_FILE)
    #[arg(short = 'f', long = "checkpoint-file", visible_alias = "file", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Only the MIG modes; what lies on the GPUs stays (also: MIG_PARTED_MODE_CHANGE_ONLY)
    #[arg(short, long)]
    mode_only: bool,
    /// How
    #[command(flatten)]
    change: ChangeArgs,
}

fn path(file: Option<&PathBuf>) -> Result<PathBuf, Failure> {
    let said = || inherited::text("MIG_PARTED_CHECKPOINT_FILE").map(PathBuf::from);
    file.cloned().or_else(said).ok_or_else(|| Failure::usage("say which file: -f FILE"))
}

/// Runs `checkpoint`.
pub(crate) fn keep(context: &Context, args: &CheckpointArgs) -> Result<ExitCode, Failure> {
    let path = path(args.file.as_ref())?;
    let mut ground = Ground::read(context)?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    ground.node.taken_at = Timestamp::from_millis(since.as_millis() as u64);
    let (text, notes) = write_checkpoint(&ground.node);
    for note in notes {
        context.output.warn(&format!("migctl: {note}"));
    }
    write_whole(&path, &text)?;
    context.output.say(&format!("migctl: kept {} GPUs", ground.node.gpus.len()));
    Ok(ExitCode::SUCCESS)
}

/// Runs `restore`.
pub(crate) fn restore(context: &Context, args: &RestoreArgs) -> Result<ExitCode, Failure> {
    let path = path(args.file.as_ref())?;
    let name = path.display().to_string();
    let text = read_text(&path)?;
    let ground = Ground::read(context)?;
    let restored = read_checkpoint(&text, &ground.node).map_err(|faults| {
        Failure::new("E-CHECKPOINT", format!("it cannot be restored\n{}", faults.in_file(&name)))
            .exit(Exit::Usage)
            .hint("nothing was changed")
    })?;
    for warning in &restored.warnings {
        context.output.warn(&format!("{name}:{warning}"));
    }
    let mut desired = restored.desired;
    if args.mode_only || inherited::flag("MIG_PARTED_MODE_CHANGE_ONLY")? {
        desired = layout_file::modes_of(desired);
    }
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let wish = Wish { desired, words: format!("restore -f {file}"), fix: BTreeMap::new() };
    carry_out(context, &ground, wish, &args.change)
}
