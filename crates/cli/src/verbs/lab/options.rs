//! The options of `migctl lab`.
//!
//! Must never play anything.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use lab::fleet::mixes::Mix;
use lab::fleet::read::{Format, Replica};
use lab::fleet::{Contender, Discipline, Settings, Site};
use model::{Millis, ProfileSelector};

use crate::Failure;

/// The fleet and how it is played.
#[derive(Debug, Args)]
pub(super) struct FleetArgs {
    /// How many GPUs, if --board does not say
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    gpus: u32,
    /// Which board (docs/boards.md lists them), or several with numbers:
    /// a100-sxm4-80gb:60,h100-sxm5-80gb:40
    #[arg(long, value_name = "BOARDS", default_value = "a100-sxm4-80gb")]
    board: String,
    /// Policies to compare, or `all`; differences are to the first
    #[arg(long = "policy", value_name = "NAMES", value_delimiter = ',', default_value = "all", value_parser = policy)]
    policies: Vec<Policies>,
    /// How many seeds; each is played by every policy
    #[arg(long, value_name = "N", default_value = "20", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) seeds: u32,
    /// The first seed
    #[arg(long, value_name = "N", default_value = "1")]
    pub(super) first_seed: u64,
    /// What becomes of a request that cannot start
    #[arg(long, value_enum, value_name = "RULE", default_value = "reject")]
    queue: QueueRule,
    /// With --queue drain: after which wait room is kept for a large request
    #[arg(long, value_name = "T", default_value = "60s")]
    drain_after: Millis,
    /// Do not let the queue know how long requests will run
    #[arg(long)]
    unknown_lengths: bool,
    /// How many threads [default: all cores]; the figures do not depend on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Write report.md, report.html, data.json, runs.csv and charts into this folder
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
}

/// What becomes of a request that cannot start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum QueueRule {
    /// It is rejected
    Reject,
    /// It waits; first come, first served, skipping what does not fit
    Fifo,
    /// It waits; highest age for its area first
    Area,
    /// The same, with room kept for one large request at a time
    Drain,
}

/// Options of `lab mixes`.
#[derive(Debug, Args)]
pub(super) struct MixesArgs {
    /// Which mixes: uniform, skew-small, skew-big, bimodal
    #[arg(long = "mix", value_name = "NAMES", value_delimiter = ',', default_values = ["uniform", "skew-small", "skew-big", "bimodal"])]
    pub(super) mixes: Vec<Mix>,
    /// How much is asked for, of what the fleet has: 1.0 is all of it, all the time
    #[arg(long = "load", value_name = "SHARES", value_delimiter = ',', default_values = ["0.85", "1.0"])]
    pub(super) loads: Vec<Share>,
    #[command(flatten)]
    pub(super) fleet: FleetArgs,
}

/// Options of `lab fill`.
#[derive(Debug, Args)]
pub(super) struct FillArgs {
    /// Which mixes: uniform, skew-small, skew-big, bimodal
    #[arg(long = "mix", value_name = "NAMES", value_delimiter = ',', default_values = ["uniform", "skew-small", "skew-big", "bimodal"])]
    pub(super) mixes: Vec<Mix>,
    /// How much is asked for in all, of what the fleet has
    #[arg(long, value_name = "SHARE", default_value = "1.0")]
    pub(super) to: Share,
    #[command(flatten)]
    pub(super) fleet: FleetArgs,
}

/// Options of `lab trace`.
#[derive(Debug, Args)]
pub(super) struct TraceArgs {
    /// The file; - is stdin
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// Its form: csv, openb, migbench, azure, history
    #[arg(long, value_name = "FORM", default_value = "csv")]
    pub(super) format: Format,
    /// Nobody leaves: how full does the fleet get
    #[arg(long)]
    pub(super) no_ends: bool,
    /// What one replica of a service is and does, in tokens per second (for azure)
    #[arg(long, value_name = "PROFILE=N")]
    pub(super) replica: Option<ReplicaWord>,
    #[command(flatten)]
    pub(super) fleet: FleetArgs,
}

/// A share of the fleet, above zero.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share(pub(super) f64);

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number: Option<f64> = text.trim().parse().ok();
        let legal = number.filter(|share| (0.01..=100.0).contains(share));
        legal
            .map(Self)
            .ok_or_else(|| format!("`{text}` is no share from 0.01 to 100, such as 0.85"))
    }
}

/// `2g.20gb=2000`.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReplicaWord(pub(super) Replica);

impl FromStr for ReplicaWord {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.split_once('=').and_then(|(profile, tokens)| {
            let profile: ProfileSelector = profile.parse().ok()?;
            let tokens_per_second = tokens.parse().ok().filter(|tokens| *tokens > 0)?;
            Some(Self(Replica { profile, tokens_per_second }))
        });
        parsed.ok_or_else(|| format!("`{text}` is no replica; write 2g.20gb=2000"))
    }
}

/// One policy, or all of them.
#[derive(Debug, Clone, Copy)]
enum Policies {
    All,
    One(Contender),
}

fn policy(text: &str) -> Result<Policies, lab::fleet::UnknownContender> {
    if text.trim() == "all" { Ok(Policies::All) } else { Contender::named(text).map(Policies::One) }
}

impl FleetArgs {
    /// The fleet.
    pub(super) fn site(&self) -> Result<Site, Failure> {
        Site::parse(&self.board, self.gpus).map_err(|error| {
            Failure::usage(error.to_string()).hint("docs/boards.md lists the boards")
        })
    }

    /// Who is compared, each once.
    pub(super) fn contenders(&self) -> Vec<Contender> {
        let mut chosen: Vec<Contender> = Vec::new();
        for policies in &self.policies {
            let more = match policies {
                Policies::All => Contender::all(),
                Policies::One(one) => std::slice::from_ref(one),
            };
            let new: Vec<Contender> =
                more.iter().filter(|m| !chosen.contains(m)).copied().collect();
            chosen.extend(new);
        }
        chosen
    }

    /// What is the same for all.
    pub(super) fn settings(&self) -> Settings {
        let discipline = match self.queue {
            QueueRule::Reject => Discipline::Loss,
            QueueRule::Fifo => Discipline::Fifo,
            QueueRule::Area => Discipline::Area { drain: None },
            QueueRule::Drain => Discipline::Area { drain: Some(self.drain_after) },
        };
        Settings { discipline, lengths_known: !self.unknown_lengths }
    }

    /// On how many threads.
    pub(super) fn threads(&self) -> usize {
        let all = || std::thread::available_parallelism().map_or(1, usize::from);
        self.threads.map_or_else(all, usize::from)
    }
}
