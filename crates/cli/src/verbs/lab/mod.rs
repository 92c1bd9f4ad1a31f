//! `migctl lab`: fleets that do not exist, in virtual time.
//!
//! Must never touch a machine, real or simulated, nor ask a daemon: it reads files, plays and writes.

mod options;
mod write;

use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, Subcommand};
use lab::fleet::mixes::{Demand, Mix};
use lab::fleet::read::{self, Format, Reading};
use lab::fleet::report::Heading;
use lab::fleet::{Contender, Plan, Source};

use crate::changing::ground::read_text;
use crate::{Context, Exit, Failure};

use options::{FillArgs, FleetArgs, MixesArgs, TraceArgs};

/// Options of `lab`.
#[derive(Debug, Args)]
#[command(
    about = "Play workloads on fleets of any size and compare policies",
    long_about = "Plays requests on a fleet that does not exist, in virtual time, through the same \
                  placement code that the daemon uses, and compares its policy with others: how much \
                  is accepted, what was rejected although a repacking would have had room, how full \
                  the fleet is, how long requests wait, how long a decision takes. No machine is \
                  touched, and the same seeds give the same figures everywhere (docs/lab.md).",
    after_help = "Examples:\n  \
        migctl lab mixes --gpus 100 --mix uniform --load 1.0 --seeds 20\n  \
        migctl lab fill --policy scar,first-fit,oracle\n  \
        migctl lab mixes --board a100-sxm4-80gb:60,h100-sxm5-80gb:40 --queue drain\n  \
        migctl history --since 7d --json > week.json\n  \
        migctl lab trace week.json --format history --board a100-sxm4-40gb --gpus 8 --queue drain\n  \
        migctl lab mixes --out report     # Markdown, CSV, JSON, charts, one HTML page"
)]
pub(crate) struct LabArgs {
    #[command(subcommand)]
    verb: LabVerb,
}

#[derive(Debug, Subcommand)]
enum LabVerb {
    /// Made-up demand that goes on for ever: mixes of profiles at a load
    ///
    /// One request comes in each slot of virtual time and holds its slice for a time drawn evenly
    /// from 1 to T slots; T follows from the load. After a warm-up of 2 T, 4 T are measured.
    #[command(after_help = "Examples:\n  \
        migctl lab mixes --gpus 100 --mix uniform,bimodal --load 0.85,1.0 --seeds 20\n  \
        migctl lab mixes --gpus 1000 --load 1.2 --queue drain --policy scar,first-fit")]
    Mixes(MixesArgs),
    /// Made-up demand from which nobody leaves, as much as the fleet has on average
    #[command(after_help = "Examples:\n  \
        migctl lab fill --gpus 100 --seeds 50\n  \
        migctl lab fill --to 1.2 --mix skew-small --policy scar,mfi,oracle")]
    Fill(FillArgs),
    /// Requests from a file: ours, a simple table, or others' traces
    ///
    /// Formats: csv (arrival_s,duration_s,profile,tenant,count), history (migctl history --json),
    /// openb (Alibaba's pods of 2023), migbench (id,arrival_ms,computeCoreMS,memoryMB), azure (an
    /// hour of LLM inference, as replicas of a service).
    #[command(after_help = "Examples:\n  \
        migctl lab trace jobs.csv --gpus 8 --queue drain\n  \
        migctl lab trace openb_pod_list_default.csv --format openb --gpus 48\n  \
        migctl lab trace AzureLLMInferenceTrace_conv.csv --format azure --replica 2g.20gb=2000")]
    Trace(TraceArgs),
    /// List the policies that can be compared, with their sources
    Policies,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: LabArgs) -> Result<ExitCode, Failure> {
    match args.verb {
        LabVerb::Mixes(args) => {
            let pairs = args.mixes.iter().flat_map(|mix| args.loads.iter().map(|l| (*mix, l.0)));
            let sources = pairs.map(|(mix, load)| Source::Mix(mix, Demand::Steady(load)));
            play(context, &args.fleet, sources.collect(), "Mixes at a steady load")
        }
        LabVerb::Fill(args) => {
            let source = |mix: &Mix| Source::Mix(*mix, Demand::Fill(args.to.0));
            let sources = args.mixes.iter().map(source).collect();
            play(context, &args.fleet, sources, "Filling a fleet")
        }
        LabVerb::Trace(args) => trace(context, &args),
        LabVerb::Policies => policies(context),
    }
}

fn trace(context: &Context, args: &TraceArgs) -> Result<ExitCode, Failure> {
    let name = args.file.display().to_string();
    let refused = |error: read::ReadError| {
        let words = format!("cannot use {name} as {}: {error}", args.format);
        Failure::new("E-TRACE", words).exit(Exit::Usage).hint(match args.format {
            Format::Csv => "docs/lab.md describes the columns; --format tells another form",
            Format::Openb | Format::Migbench | Format::Azure | Format::History => {
                "docs/lab.md describes the form; --format tells another one"
            }
        })
    };
    let text = read_text(&args.file)?;
    let read = read::read(args.format, &text, Reading { replica: args.replica.map(|r| r.0) });
    let trace = read.map_err(refused)?;
    let trace = if args.no_ends { trace.without_ends() } else { trace };
    let site = args.fleet.site()?;
    let title = args.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let work = trace.on(&site, &title).map_err(refused)?;
    play(context, &args.fleet, vec![Source::Trace(Box::new(work))], &title)
}

fn play(
    context: &Context,
    args: &FleetArgs,
    sources: Vec<Source>,
    title: &str,
) -> Result<ExitCode, Failure> {
    let plan = Plan {
        site: args.site()?,
        settings: args.settings(),
        contenders: args.contenders(),
        sources,
        seeds: (args.first_seed..).take(args.seeds as usize).collect(),
    };
    let begin = Instant::now();
    let watch = || begin.elapsed();
    let watched = context.output.is_watched();
    let progress = |done: usize, of: usize| {
        if watched {
            let text = if done < of { format!("{done} of {of} runs") } else { String::new() };
            context.output.say_over(&text);
        }
    };
    let study = plan.play(args.threads(), &watch, &progress);
    if let Some(folder) = &args.out {
        let heading = Heading { title: title.to_owned(), command: command_line() };
        write::files(context, &study, &heading, folder)?;
    }
    if context.json() {
        context.output.data(&lab::fleet::report::json(&study))?;
    } else {
        write::terminal(context, &study)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What was typed, so that a page can say how it was made.
fn command_line() -> String {
    let quoted = |word: String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            word
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    };
    let words = std::env::args_os().skip(1).map(|word| quoted(word.to_string_lossy().into_owned()));
    std::iter::once("migctl".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

fn policies(context: &Context) -> Result<ExitCode, Failure> {
    if context.json() {
        let all = Contender::all()
            .iter()
            .map(|c| serde_json::json!({"name": c.name, "title": c.title, "source": c.source}));
        context.output.data(&all.collect::<Vec<_>>())?;
    } else {
        write::policies(context)?;
    }
    Ok(ExitCode::SUCCESS)
}
