//! `migctl advise sharing`: which way to share a GPU suits a need.
//!
//! Must never decide by itself: [`crate::sharing`] does, from what is typed and what is there.

use std::process::ExitCode;

use api::{AdviceView, OptionView};
use clap::{Args, Subcommand, ValueEnum};
use model::{MemoryRequest, Timestamp, catalog};

use crate::draw::text::{clean, paragraph};
use crate::draw::{FAINT, HEADING, Page};
use crate::output::styled;
use crate::sharing::{self, Hardware, Need, Trust};
use crate::{Context, Failure, connect};

/// Options of `advise`.
#[derive(Debug, Args)]
#[command(
    about = "Recommend a way to share GPUs",
    long_about = "Recommends a way to share GPUs for a stated need, with the reasons for and against \
                  each, also where MIG is the wrong answer.",
    after_help = "Examples:\n  \
        migctl advise sharing --users strangers --processes 12 --memory 8g\n  \
        migctl advise sharing --users same --processes 20 --bursty"
)]
pub(crate) struct AdviseArgs {
    #[command(subcommand)]
    topic: AdviceTopic,
}

#[derive(Debug, Subcommand)]
enum AdviceTopic {
    /// MIG, MPS, MPS inside MIG, streams, a whole GPU, or taking turns
    ///
    /// Weighs them for the need that the options state, with the reasons for and against each, and
    /// says when MIG is the wrong answer. It looks at the GPUs of this machine if it has any.
    #[command(after_help = "Examples:\n  \
        migctl advise sharing --users strangers --processes 12 --memory 8g\n  \
        migctl advise sharing --users same --processes 20 --bursty\n  \
        migctl advise sharing --board h100-sxm5-80gb --latency --memory 20g --json")]
    Sharing(SharingArgs),
}

#[derive(Debug, Args)]
struct SharingArgs {
    /// Who shares: one user's processes, users who trust each other, or users who do not
    #[arg(long, value_enum, default_value = "trusted")]
    users: Users,
    /// How many processes run at the same time
    #[arg(long, value_name = "N", default_value = "2", value_parser = clap::value_parser!(u32).range(1..))]
    processes: u32,
    /// How much memory each needs: 20g as in profile names, 20480MiB to the byte
    #[arg(long, value_name = "M")]
    memory: Option<MemoryRequest>,
    /// Each must answer in time whatever the others do
    #[arg(long)]
    latency: bool,
    /// Each is idle most of the time
    #[arg(long)]
    bursty: bool,
    /// All of it is one program
    #[arg(long)]
    one_program: bool,
    /// It works on several GPUs at once
    #[arg(long)]
    multi_gpu: bool,
    /// Think of this board instead of this machine's GPUs (docs/boards.md lists them)
    #[arg(long, value_name = "ID")]
    board: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Users {
    /// The processes of one user
    Same,
    /// Users who trust each other
    Trusted,
    /// Users who do not trust each other
    Strangers,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: &AdviseArgs) -> Result<ExitCode, Failure> {
    let AdviceTopic::Sharing(args) = &args.topic;
    let hardware = match &args.board {
        Some(id) => Some(of_board(id)?),
        None => here(context),
    };
    let need = Need {
        trust: match args.users {
            Users::Same => Trust::SameUser,
            Users::Trusted => Trust::Trusted,
            Users::Strangers => Trust::Strangers,
        },
        processes: args.processes,
        memory: args.memory,
        latency: args.latency,
        bursty: args.bursty,
        one_program: args.one_program,
        multi_gpu: args.multi_gpu,
    };
    let advice = sharing::advise(&need, hardware.as_ref());
    if context.json() {
        context.output.data(&advice)?;
    } else {
        context.output.line(&lines(&advice, Page::current().width).join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn of_board(id: &str) -> Result<Hardware, Failure> {
    let board = catalog::board(id).ok_or_else(|| {
        Failure::usage(format!("no board `{id}` in the catalog"))
            .hint(format!("nearest: {}", catalog::nearest_ids(id).join(", ")))
    })?;
    Ok(Hardware {
        name: board.title.to_owned(),
        gpus: 1,
        memory_mib: board.total_memory().get(),
        profiles: board.geometry().profiles,
    })
}

/// The GPUs of this machine: those that it has most of. Without a driver the advice is general.
fn here(context: &Context) -> Option<Hardware> {
    if context.url().is_some() {
        return None;
    }
    let driver = daemon::open_driver(&connect::gpus(context).ok()?).ok()?;
    let snapshot = driver.snapshot(Timestamp::default()).ok()?;
    let alike = |name: &str| snapshot.gpus.iter().filter(|gpu| gpu.name == name).count();
    let most = snapshot.gpus.iter().max_by_key(|gpu| alike(&gpu.name))?;
    Some(Hardware {
        name: most.name.clone(),
        gpus: alike(&most.name) as u32,
        memory_mib: most.memory.get(),
        profiles: most
            .geometry
            .as_deref()
            .map(|geometry| geometry.profiles.clone())
            .unwrap_or_default(),
    })
}

fn lines(advice: &AdviceView, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for (at, option) in advice.options.iter().enumerate() {
        if at > 0 {
            lines.push(String::new());
        }
        lines.push(title(at, option));
        for (sign, reasons) in [("+", &option.pro), ("-", &option.contra)] {
            for reason in reasons {
                lines.extend(paragraph(
                    &format!("{sign} {}", clean(reason)),
                    columns,
                    "  ",
                    "    ",
                ));
            }
        }
        if at == 0 {
            lines.extend(advice.commands.iter().map(|command| format!("    {command}")));
        }
    }
    lines.push(String::new());
    let assumed = format!("assumed: {}", clean(&advice.assumed.join("; ")));
    lines.extend(paragraph(&assumed, columns, "", "  ").iter().map(|line| styled(FAINT, line)));
    lines
}

fn title(at: usize, option: &OptionView) -> String {
    match (at, option.possible) {
        (0, true) => styled(HEADING, &format!("Take {}", option.name)),
        (_, true) => styled(HEADING, &format!("Or {}", option.name)),
        (_, false) => styled(FAINT, &format!("Not {}", option.name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_comes_first_with_what_to_type() {
        let need = Need {
            trust: Trust::Strangers,
            processes: 4,
            memory: None,
            latency: true,
            bursty: false,
            one_program: false,
            multi_gpu: false,
        };
        let hardware = of_board("a100-sxm4-40gb").unwrap();
        let text = lines(&sharing::advise(&need, Some(&hardware)), 80).join("\n");
        let text = anstream::adapter::strip_str(&text).to_string();
        assert!(text.starts_with("Take a MIG slice for each process\n  + "), "{text}");
        assert!(text.contains("\n    migctl run --profile 1g.5gb -- ./program\n"), "{text}");
        assert!(text.contains("\nNot MPS on a whole GPU\n  - one server"), "{text}");
        assert!(of_board("a100").is_err());
    }
}
