//! `migctl size`: the fewest GPUs and slices that carry services.
//!
//! Must never change anything, nor call an answer the smallest that is not proven.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::changing::ground::write_whole;
use crate::draw::Page;
use crate::sizing::{SizeView, Sizing, UnmetView, layout_text, lines, unmet_lines};
use crate::{Context, Exit, Failure};

/// Options of `size`.
#[derive(Debug, Args)]
#[command(
    about = "Find the fewest GPUs and slices that carry services",
    long_about = "Finds the fewest GPUs, and on those the fewest compute slices, that carry services \
                  at their rates and within their latencies, from a table of what slices of each size \
                  were measured to do (`migctl bench` measures one). It says what is proven of the \
                  answer, and which service cannot be met. Nothing is changed. Exit status 1 if a \
                  service cannot be met, or if there are too few GPUs.",
    after_help = "Examples:\n  \
        migctl size -f services.yaml --board a100-sxm4-80gb\n  \
        migctl size -f services.yaml --gpus 8 -o layout.yaml && migctl apply -f layout.yaml\n  \
        migctl --simulate dgx-a100-80 size -f services.yaml --json"
)]
pub(crate) struct SizeArgs {
    /// The services; - is stdin (docs/sizing.md has the format)
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// For this board instead of this machine's GPUs or the file's (docs/boards.md lists them)
    #[arg(long, value_name = "ID")]
    board: Option<String>,
    /// There are so many GPUs [default: the file's `gpus`, or those of this machine]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    gpus: Option<u32>,
    /// Write the layouts here, as a file that `migctl apply` takes; - is stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: &SizeArgs) -> Result<ExitCode, Failure> {
    let sizing = Sizing::read(context, &args.file, args.board.as_deref(), args.gpus)?;
    if sizing.is_simulated() {
        context.output.warn(
            "migctl: figures of the table were measured on a simulated GPU: they say nothing about \
             hardware",
        );
    }
    let unmet = sizing.unmet();
    if !unmet.is_empty() {
        if context.json() {
            let views: Vec<UnmetView> = unmet.iter().map(|s| UnmetView::of(&sizing, s)).collect();
            context.output.data(&serde_json::json!({ "unmet": views }))?;
        } else {
            let told = unmet.iter().flat_map(|s| unmet_lines(&sizing, s, Page::current()));
            context.output.line(&told.collect::<Vec<_>>().join("\n"))?;
        }
        return Ok(Exit::Negative.into());
    }
    let deployment = sizing.deploy()?;
    let to_stdout = args.output.as_ref().is_some_and(|path| path.as_os_str() == "-");
    if context.json() && !to_stdout {
        context.output.data(&SizeView::of(&sizing, &deployment))?;
    } else if !to_stdout {
        let lines = lines(&sizing, &deployment, Page::current());
        context.output.line(&lines.join("\n"))?;
    }
    let (needed, most) = (deployment.gpus.len(), sizing.board.most);
    if let Some(most) = most.filter(|most| needed > *most as usize) {
        let carried = sizing.percent_on(most);
        context.output.warn(&format!(
            "migctl: {needed} GPUs are needed and {most} are there; they carry {carried} % of every \
             rate"
        ));
        return Ok(Exit::Negative.into());
    }
    if let Some(path) = &args.output {
        write_whole(path, &layout_text(&sizing, &deployment))?;
        if !to_stdout {
            context.output.say(&format!(
                "migctl: wrote {0}; `migctl plan -f {0}` shows what it would change",
                path.display()
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}
