//! `cargo xtask week`: the week on a DGX A100 in virtual time, as tables or JSON.
//!
//! Must never write a page that other seeds or options made.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, anyhow, bail};
use lab::week::{COLUMNS, Outcome, Scenario, markdown, run as live};

use crate::or_usage;
use crate::page::Page;

const USAGE: &str = "\
usage: cargo xtask week [OPTIONS]

  --seed N      this seed alone
  --seeds N     seeds 1 to N (default 10)
  --days N      so many days from Monday (default 7)
  --users N     so many users (default 60)
  --json        as JSON
  --write       write the tables into docs/week.md (default seeds, days and users only)
";

struct Options {
    seeds: Vec<u64>,
    days: u64,
    users: u32,
    json: bool,
    write: bool,
}

fn parse(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Option<Options>> {
    let mut options =
        Options { seeds: (1..=10).collect(), days: 7, users: 60, json: false, write: false };
    let mut plain = true;
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} wants a value"));
        match argument.as_str() {
            "--seed" => options.seeds = vec![value()?.parse()?],
            "--seeds" => options.seeds = (1..=value()?.parse()?).collect(),
            "--days" => options.days = value()?.parse()?,
            "--users" => options.users = value()?.parse()?,
            "--json" => options.json = true,
            "--write" => options.write = true,
            "--help" | "-h" => return Ok(None),
            other => bail!("`{other}` is no option of week"),
        }
        plain &= matches!(argument.as_str(), "--json" | "--write");
    }
    if options.write && !plain {
        bail!("--write takes the default seeds, days and users");
    }
    Ok(Some(options))
}

/// Lives through the weeks; the exit status is 1 if a law is broken.
pub(crate) fn run(arguments: impl Iterator<Item = String>) -> anyhow::Result<ExitCode> {
    let options = match or_usage(parse(arguments), USAGE)? {
        Ok(options) => options,
        Err(status) => return Ok(status),
    };
    let begun = Instant::now();
    let outcomes = all(&options)?;
    writeln!(io::stderr(), "{} weeks in {:.1} s", outcomes.len(), begun.elapsed().as_secs_f64())?;
    let mut out = io::stdout().lock();
    if options.json {
        serde_json::to_writer_pretty(&mut out, &outcomes)?;
        writeln!(out)?;
    } else if options.write {
        Page::new("week")?.put(&markdown(&outcomes))?;
        writeln!(out, "docs/week.md: written")?;
    } else {
        out.write_all(markdown(&outcomes).as_bytes())?;
    }
    let mut broken = false;
    for outcome in &outcomes {
        for (name, column) in COLUMNS.iter().zip(&outcome.columns) {
            for law in column.violations.iter().take(3) {
                writeln!(io::stderr(), "seed {}, {name}: {law}", outcome.seed)?;
                broken = true;
            }
        }
    }
    Ok(if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Each seed on a thread of its own, as many at once as there are processors.
fn all(options: &Options) -> anyhow::Result<Vec<Outcome>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut outcomes = Vec::new();
    for seeds in options.seeds.chunks(threads) {
        let done: Vec<anyhow::Result<Outcome>> = std::thread::scope(|scope| {
            let running: Vec<_> = seeds
                .iter()
                .map(|seed| {
                    let scenario =
                        Scenario { seed: *seed, days: options.days, users: options.users };
                    scope.spawn(move || live(&scenario).map_err(|error| anyhow!("{error}")))
                })
                .collect();
            let done = running.into_iter();
            done.map(|one| one.join().unwrap_or_else(|_| Err(anyhow!("a week panicked")))).collect()
        });
        for outcome in done {
            outcomes.push(outcome?);
        }
    }
    Ok(outcomes)
}
