//! `migctl whatif`: what the last days would have looked like with other GPUs, layouts or rules.
//!
//! Must never change anything, nor show a guess without the model's own error beside it.

mod alter;
mod past;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;

use api::{LeaseView, PastLease};
use broker::Policy;
use clap::Args;
use lab::replay::{Outcome, Setting, Summary, replay};
use model::{Millis, NodeSnapshot, Timestamp};
use serde::Serialize;

use crate::changing::Ground;
use crate::changing::ground::read_text;
use crate::failure::Exit;
use crate::verbs::history::{now_ms, since};
use crate::{Context, Failure, configuration, connect};
use alter::{Addition, Alteration, Quota};
use past::Trace;

/// A week: what is replayed unless told.
const WEEK: Millis = Millis::from_secs(7 * 86_400);

/// Options of `whatif`.
#[derive(Debug, Args)]
#[command(
    about = "Replay the last days with other GPUs, layouts or rules",
    long_about = "Makes the requests of the last days again, in virtual time, through the same broker, \
                  planner and executor on a simulated copy of this machine, and shows beside what \
                  really happened: the same machine as it is (how far the model is off), and each \
                  change that was asked for. Several of --add, --policy and --quota are also tried \
                  together. Leases last as long as they did; what is assumed beside is printed. Run it as an \
                  administrator: the history of others is not shown to users. Changes nothing.",
    after_help = "Examples:\n  \
        migctl whatif --add a100-80gb=2\n  \
        migctl whatif --history 30d --layout balanced.yaml --policy new.toml\n  \
        migctl whatif --quota vision.cap=80g --quota nlp.weight=3\n  \
        migctl history --since 7d --json > week.json && migctl whatif --from week.json --add a30=4"
)]
pub(crate) struct WhatifArgs {
    /// How far back [default: 7d, or all of --from]
    #[arg(long, value_name = "T")]
    history: Option<Millis>,
    /// Take the requests from this file, written by `migctl history --json`; - is stdin
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// With so many more GPUs of a board (a100-80gb=2); may be given several times
    #[arg(long, value_name = "BOARD=N", value_parser = alter::addition)]
    add: Vec<Addition>,
    /// With this layout, which nobody changes
    #[arg(long, value_name = "FILE")]
    layout: Option<PathBuf>,
    /// Which configuration of the layout file; needed if it has several
    #[arg(short = 'c', long, value_name = "NAME", requires = "layout")]
    config: Option<String>,
    /// With the rules of this configuration file
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// With another rule of a tenant: cap or guaranteed (80g, 4 for slices, none), or weight (3)
    #[arg(long, value_name = "TENANT.RULE=VALUE", value_parser = alter::quota)]
    quota: Vec<Quota>,
}

/// A column of the answer.
#[derive(Debug, Serialize)]
struct Column {
    name: String,
    summary: Summary,
}

/// The answer.
#[derive(Debug, Serialize)]
struct Answer {
    from_ms: u64,
    to_ms: u64,
    gpus: Vec<String>,
    columns: Vec<Column>,
    assumed: Vec<String>,
}

/// Where the requests come from.
struct Source {
    past: Vec<PastLease>,
    live: Vec<LeaseView>,
    node: NodeSnapshot,
    policy: Policy,
    from: Timestamp,
    to: Timestamp,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: &WhatifArgs) -> Result<ExitCode, Failure> {
    let source = source(context, args)?;
    let trace = Trace::new(&source);
    if trace.requests() == 0 {
        return Err(Failure::new("E-NO-HISTORY", "no request of this time is known")
            .exit(Exit::Negative)
            .hint("look further back with --history 30d; users see their own requests alone"));
    }
    let base = alter::Base::new(&source.node, &source.policy)?;
    let alterations = base.alterations(context, args)?;
    let really = Column {
        name: String::from("really"),
        summary: Summary::of(&trace.really(&source.node), source.from, source.to),
    };
    let mut columns = vec![really];
    let outcomes = all(&alterations, &trace)?;
    for (alteration, outcome) in alterations.iter().zip(&outcomes) {
        let summary = Summary::of(outcome, source.from, source.to);
        columns.push(Column { name: alteration.name.clone(), summary });
    }
    let answer = Answer {
        from_ms: source.from.as_millis(),
        to_ms: source.to.as_millis(),
        gpus: source.node.gpus.iter().map(|gpu| gpu.name.clone()).collect(),
        columns,
        assumed: trace.assumed(&alterations),
    };
    if context.json() {
        context.output.data(&answer)?;
    } else {
        context.output.line(&show::lines(&answer).join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Each alteration on a thread of its own: a simulated machine belongs to its thread.
fn all(alterations: &[Alteration], trace: &Trace) -> Result<Vec<Outcome>, Failure> {
    let one = |setting: &Setting| {
        let outcome = replay(setting, &trace.jobs).map_err(|error| {
            Failure::new("E-REPLAY", format!("the requests cannot be made again: {error}"))
        })?;
        match outcome.violations.first() {
            Some(law) => Err(Failure::new("E-REPLAY", format!("the replay broke a law: {law}"))
                .hint("this is a defect of migd; please report it")),
            None => Ok(outcome),
        }
    };
    let one = &one;
    std::thread::scope(|scope| {
        let started = alterations.iter().map(|of| scope.spawn(move || one(&of.setting)));
        let running: Vec<_> = started.collect();
        let panicked = || Err(Failure::new("E-REPLAY", "the replay ended early"));
        running.into_iter().map(|one| one.join().unwrap_or_else(|_| panicked())).collect()
    })
}

fn source(context: &Context, args: &WhatifArgs) -> Result<Source, Failure> {
    let node = Ground::read(context)?.node;
    if let Some(file) = &args.from {
        let past = from_file(file)?;
        let policy = rules(context, None)?;
        let to = past.iter().map(|lease| lease.ended_at_ms).max().unwrap_or(0) + 1;
        let first = past.iter().map(|lease| lease.requested_at_ms).min().unwrap_or(0);
        let from = args.history.map_or(first, |span| to.saturating_sub(span.get()));
        let (from, to) = (Timestamp::from_millis(from), Timestamp::from_millis(to));
        return Ok(Source { past, live: Vec::new(), node, policy, from, to });
    }
    let to = now_ms();
    let from = to.saturating_sub(args.history.unwrap_or(WEEK).get());
    let (past, view) = connect::runtime()?.block_on(async {
        let client = connect::required(context).await?;
        let past = since(&client, from).await?;
        let view = client.node().await;
        let view = view.map_err(|error| Failure::of_client("cannot read the machine", &error))?;
        Ok::<_, Failure>((past, view))
    })?;
    let file = view.configuration.as_ref().and_then(|found| found.file.clone());
    let policy = rules(context, file.map(PathBuf::from).as_deref())?;
    let (from, to) = (Timestamp::from_millis(from), Timestamp::from_millis(to));
    Ok(Source { past, live: view.leases, node, policy, from, to })
}

/// The rules in force: of the daemon's file, or of the one that a daemon started here would read.
fn rules(context: &Context, file: Option<&std::path::Path>) -> Result<Policy, Failure> {
    let sources = configuration::sources(context, file.filter(|file| file.exists()))?;
    Ok(daemon::policy(&configuration::load(&sources)?.config, false))
}

fn from_file(file: &std::path::Path) -> Result<Vec<PastLease>, Failure> {
    let text = read_text(file)?;
    serde_json::from_str(&text).map_err(|error| {
        let what = format!("{} is not what `migctl history --json` writes", file.display());
        Failure::caused("E-FILE", &what, &error).exit(Exit::Usage)
    })
}
