//! `migctl bench`: measures the profile table that `migctl size` reads.
//!
//! Must never disturb anybody: each slice is a lease of low rank, waited for like everybody's. Must
//! never let a figure of a simulated GPU pass for one of hardware.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser};
use layout_file::{Mark, Measured, ProfileTable, Source, write_profile_table};
use model::{Millis, ProfileName, ProfileSelector};

use crate::changing::ground::write_whole;
use crate::context::Machine;
use crate::session::wish::WishArgs;
use crate::session::{self, Manner};
use crate::sizing::{Board, Spec, Step, read_table, steps, summary};
use crate::{Context, Failure};

/// What is said at the head of a table.
const COMMENT: &str = "Made by `migctl bench`: means of `runs` runs and their standard deviations.\n\
                       throughput: requests per second of all processes of a slice; latency_ms: of \
                       one batch,\nof the slowest process. Rows with the source `simulated` say \
                       nothing about hardware.";

/// Options of `bench`.
#[derive(Debug, Args)]
#[command(
    about = "Measure what slices of each size do, for migctl size",
    long_about = "Runs a command on a slice of each size with each batch and number of processes, \
                  several times, and writes the profile table that `migctl size` reads. Each size is \
                  a lease of low rank, as `migctl run --priority low` makes it: it waits for a free \
                  slice. {batch}, {processes}, {process}, {profile}, {model} and {uuid} in the \
                  command are replaced, and stand in MIGD_BENCH_BATCH and so on. The last line that \
                  the command prints with throughput=N (requests per second) and latency_ms=N (one \
                  batch), or both as a JSON object, is its figure; with --count-runs each run is one \
                  batch and is timed. A setting at which the command fails, for lack of memory say, or \
                  takes longer than --run-limit gets no row.",
    override_usage = "migctl bench --model NAME [OPTIONS] -- CMD...",
    after_help = "Examples:\n  \
        migctl bench --model bert --batch 1,8,32 --processes 1,2 -o bert.csv -- ./serve --bench -b {batch}\n  \
        migctl bench --model etl --profile 1g,2g --count-runs 20s -- python one_batch.py\n  \
        migctl --simulate a30:1 bench --model demo -- sh -c 'echo throughput=$MIGD_BENCH_BATCH latency_ms=5'"
)]
pub(crate) struct BenchArgs {
    /// The name of the model in the table
    #[arg(long, value_name = "NAME", value_parser = model_name)]
    model: String,
    /// On slices of these profiles (1g,2g.20gb) [default: each plain one of this machine's GPUs]
    #[arg(long, value_name = "P", value_delimiter = ',')]
    profile: Vec<ProfileSelector>,
    /// Batch sizes
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    batch: Vec<u32>,
    /// Numbers of processes on one slice at once
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u32).range(1..=64))]
    processes: Vec<u32>,
    /// Runs of each setting that count
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeat: u32,
    /// Runs of each setting before those
    #[arg(long, value_name = "N", default_value = "0", value_parser = clap::value_parser!(u32).range(0..=1000))]
    warm_up: u32,
    /// Take each run of the command for one batch and count them for so long
    #[arg(long, value_name = "T")]
    count_runs: Option<Millis>,
    /// End a run that takes longer; its setting gets no row
    #[arg(long, value_name = "T")]
    run_limit: Option<Millis>,
    /// Write the table here [default: stdout]; rows that are there already for other settings stay
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// On which GPU (index, UUID, PCI address or model)
    #[arg(long, value_name = "SEL", value_parser = session::wish::gpu_text)]
    gpu: Option<String>,
    /// Wait at most so long for each slice
    #[arg(long, value_name = "T")]
    max_wait: Option<Millis>,
    /// The command and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CMD"
    )]
    command: Vec<String>,
}

/// Options of the hidden verb.
#[derive(Debug, Args)]
#[command(about = "Measure on the slice of the lease that this runs under")]
pub(crate) struct BenchSliceArgs {
    /// What to measure
    spec: PathBuf,
}

fn model_name(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(String::from("a name must have letters and no control characters"));
    }
    Ok(text.to_owned())
}

/// Measures on the slice of the lease.
pub(crate) fn on_slice(context: &Context, args: &BenchSliceArgs) -> Result<ExitCode, Failure> {
    Spec::read(&args.spec)?.measure(context)?;
    Ok(ExitCode::SUCCESS)
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: &BenchArgs) -> Result<ExitCode, Failure> {
    let known = known_rows(args.output.as_deref())?;
    let source = match context.machine()? {
        Machine::Real => Source::Measured,
        Machine::Simulated(_) => Source::Simulated,
    };
    let folder = tempfile::tempdir()
        .map_err(|error| Failure::caused("E-BENCH", "cannot make a folder", &error))?;
    let mut rows: Vec<Measured> = Vec::new();
    let mut stopped = None;
    for profile in profiles(context, args)? {
        let (measured, code) = measure(context, args, profile, folder.path())?;
        rows.extend(measured.into_iter().map(|row| Measured { source, ..row }));
        if code.is_some() {
            stopped = code;
            break;
        }
    }
    if rows.is_empty() && stopped.is_none() {
        return Err(Failure::new("E-BENCH", "the command failed at every setting")
            .hint("try it on a slice of its own: migctl run --profile 1g -- CMD"));
    }
    if source == Source::Simulated && !rows.is_empty() {
        context.output.warn(
            "migctl: measured on a simulated GPU: the rows are marked so, and say nothing about \
             hardware",
        );
    }
    write(context, args, known, rows)?;
    Ok(stopped.unwrap_or(ExitCode::SUCCESS))
}

/// The profiles to measure on, by their names on this machine.
fn profiles(context: &Context, args: &BenchArgs) -> Result<Vec<ProfileName>, Failure> {
    let board = Board::find(context, None, None)?;
    if args.profile.is_empty() {
        let mut names: Vec<ProfileName> =
            board.geometry.plain_profiles().map(|profile| profile.name).collect();
        names.sort_by_key(|name| (name.slices, name.memory));
        return Ok(names);
    }
    let name = |selector: &ProfileSelector| {
        let found = board.geometry.select(selector);
        found.map(|profile| profile.name).map_err(|error| Failure::usage(error.to_string()))
    };
    args.profile.iter().map(name).collect()
}

/// The wish of `migctl run --priority low --profile P`.
#[derive(Debug, Parser)]
struct Low {
    #[command(flatten)]
    wish: WishArgs,
}

/// The rows of one profile, and how the command was ended if it did not get to its end.
fn measure(
    context: &Context,
    args: &BenchArgs,
    profile: ProfileName,
    folder: &Path,
) -> Result<(Vec<Measured>, Option<ExitCode>), Failure> {
    let failed =
        |error: &dyn std::error::Error| Failure::caused("E-BENCH", "cannot prepare a run", error);
    let spec = Spec {
        model: args.model.clone(),
        profile: profile.to_string(),
        command: args.command.clone(),
        batches: args.batch.clone(),
        processes: args.processes.clone(),
        warm_up: args.warm_up,
        repeat: args.repeat,
        count_runs_ms: args.count_runs.map(Millis::get),
        run_limit_ms: args.run_limit.map(Millis::get),
        results: folder.join(format!("{profile}.results")),
    };
    let path = folder.join(format!("{profile}.json"));
    let text = serde_json::to_vec(&spec).map_err(|error| failed(&error))?;
    std::fs::write(&path, text).map_err(|error| failed(&error))?;
    let name = profile.to_string();
    let mut words = vec!["bench", "--priority", "low", "--profile", &name];
    words.extend(args.gpu.iter().flat_map(|gpu| ["--gpu", gpu.as_str()]));
    let mut wish =
        Low::try_parse_from(words).map_err(|error| Failure::usage(error.to_string()))?.wish;
    wish.max_wait = args.max_wait;
    let program = std::env::current_exe().map_err(|error| failed(&error))?;
    let mut command = vec![program.into_os_string()];
    command.extend((0..context.options.quiet).map(|_| "-q".into()));
    command.extend(["bench-slice".into(), path.into_os_string()]);
    let code = session::run(context, &wish, &command, Manner::Plain)?;
    let steps = steps(&spec.results);
    if let Some(Step::Broken { why }) = steps.last() {
        return Err(Failure::new("E-BENCH", format!("cannot measure: {why}")).hint(
            "let the command print `throughput=N latency_ms=N`, or time its runs with --count-runs",
        ));
    }
    let ended = steps.last() == Some(&Step::Done);
    let rows = steps.iter().filter_map(|step| row(args, profile, step)).collect();
    Ok((rows, (!ended).then_some(code)))
}

fn row(args: &BenchArgs, profile: ProfileName, step: &Step) -> Option<Measured> {
    let Step::Measured { batch, processes, runs } = step else { return None };
    let (throughput, latency, spread) = summary(runs)?;
    Some(Measured {
        at: Mark::START,
        model: args.model.clone(),
        profile: ProfileSelector::Name(profile),
        batch: *batch,
        processes: *processes,
        throughput,
        latency,
        spread: Some(spread),
        source: Source::Given,
    })
}

/// The rows of the file that is written to; read before anything is measured, so that a file that
/// cannot be used costs no time.
fn known_rows(output: Option<&Path>) -> Result<Vec<Measured>, Failure> {
    match output {
        Some(path) if path.as_os_str() != "-" && path.exists() => {
            read_table(path).map(|table| table.rows)
        }
        Some(_) | None => Ok(Vec::new()),
    }
}

/// Writes the table: rows that were measured take the place of those for the same setting.
fn write(
    context: &Context,
    args: &BenchArgs,
    known: Vec<Measured>,
    rows: Vec<Measured>,
) -> Result<(), Failure> {
    let same = |a: &Measured, b: &Measured| {
        (&a.model, a.profile, a.batch, a.processes) == (&b.model, b.profile, b.batch, b.processes)
    };
    let kept = known.into_iter().filter(|old| !rows.iter().any(|new| same(old, new)));
    let rows: Vec<Measured> = kept.chain(rows.iter().cloned()).collect();
    let text = write_profile_table(&ProfileTable { rows, warnings: Vec::new() }, COMMENT);
    match args.output.as_deref().filter(|path| path.as_os_str() != "-") {
        Some(path) => {
            write_whole(path, &text)?;
            context.output.say(&format!("migctl: wrote {}", path.display()));
            Ok(())
        }
        None => context.output.print(&text),
    }
}
