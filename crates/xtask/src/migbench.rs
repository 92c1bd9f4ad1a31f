//! `cargo xtask migbench`: MIGBench's trace through migd, as tables or JSON.
//!
//! Must never write a page that other seeds or options made.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, anyhow, bail, ensure};
use lab::replay::migbench::{BENCH_SEED, Entry, Row, TraceJob, generate, markdown, play, read_csv};
use serde_json::json;

use crate::or_usage;
use crate::page::Page;

const USAGE: &str = "\
usage: cargo xtask migbench [OPTIONS]

  --data FILE   the published trace from a file (id,arrival_ms,computeCoreMS,memoryMB), which must
                be the one that comes out of its seed
  --seeds N     so many other seeds after the published one (default 10)
  --seed N      this seed alone, in place of all others
  --json        as JSON
  --write       write the tables into docs/migbench.md (default seeds only)
";

struct Options {
    data: Option<PathBuf>,
    seeds: Vec<u64>,
    published: bool,
    json: bool,
    write: bool,
}

fn parse(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Option<Options>> {
    let others = |count: u64| (1..=count).map(|number| BENCH_SEED + number).collect();
    let mut options =
        Options { data: None, seeds: others(10), published: true, json: false, write: false };
    let mut plain = true;
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} wants a value"));
        match argument.as_str() {
            "--data" => options.data = Some(value()?.into()),
            "--seeds" => options.seeds = others(value()?.parse()?),
            "--seed" => (options.seeds, options.published) = (vec![value()?.parse()?], false),
            "--json" => options.json = true,
            "--write" => options.write = true,
            "--help" | "-h" => return Ok(None),
            other => bail!("`{other}` is no option of migbench"),
        }
        plain &= matches!(argument.as_str(), "--json" | "--write" | "--data");
    }
    if options.write && !plain {
        bail!("--write takes the default seeds");
    }
    Ok(Some(options))
}

/// Plays the traces; the exit status is 1 if a law is broken or a job is left.
pub(crate) fn run(arguments: impl Iterator<Item = String>) -> anyhow::Result<ExitCode> {
    let options = match or_usage(parse(arguments), USAGE)? {
        Ok(options) => options,
        Err(status) => return Ok(status),
    };
    let begun = Instant::now();
    let mut traces: Vec<(u64, Vec<TraceJob>)> = Vec::new();
    if options.published {
        let trace = generate(BENCH_SEED);
        if let Some(file) = &options.data {
            ensure!(read_csv(file)? == trace, "{} is another trace", file.display());
            writeln!(io::stderr(), "the trace of the file is that of the seed, job by job")?;
        }
        traces.push((BENCH_SEED, trace));
    }
    traces.extend(options.seeds.iter().map(|seed| (*seed, generate(*seed))));
    let mut rows = all(&traces)?;
    writeln!(io::stderr(), "{} traces in {:.1} s", rows.len(), begun.elapsed().as_secs_f64())?;
    let sound = complaints(&rows)?;
    let published = if options.published { rows.remove(0).1 } else { Vec::new() };
    let mut out = io::stdout().lock();
    if options.json {
        let seeds: Vec<_> =
            rows.iter().map(|(seed, rows)| json!({ "seed": seed, "rows": rows })).collect();
        let all = json!({ "published_seed": published, "seeds": seeds });
        writeln!(out, "{}", serde_json::to_string_pretty(&all)?)?;
    } else if options.write {
        Page::new("migbench")?.put(&markdown(&published, &rows))?;
        writeln!(out, "docs/migbench.md: written")?;
    } else {
        out.write_all(markdown(&published, &rows).as_bytes())?;
    }
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Says what went wrong in any row; whether nothing did.
fn complaints(rows: &[(u64, Vec<Row>)]) -> anyhow::Result<bool> {
    let mut sound = true;
    for (seed, rows) in rows {
        for row in rows {
            let name = row.entry.name();
            if row.done < row.waits.count as usize {
                writeln!(io::stderr(), "seed {seed}, {name}: only {} jobs are done", row.done)?;
                sound = false;
            }
            for law in row.violations.iter().take(3) {
                writeln!(io::stderr(), "seed {seed}, {name}: {law}")?;
                sound = false;
            }
        }
    }
    Ok(sound)
}

/// Each trace on a thread of its own, as many at once as there are processors.
fn all(traces: &[(u64, Vec<TraceJob>)]) -> anyhow::Result<Vec<(u64, Vec<Row>)>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut rows = Vec::new();
    let one = |trace: &[TraceJob]| -> anyhow::Result<Vec<Row>> {
        let entries = Entry::ALL.iter();
        entries.map(|entry| play(entry, trace).map_err(|error| anyhow!("{error}"))).collect()
    };
    for some in traces.chunks(threads) {
        let done: Vec<anyhow::Result<(u64, Vec<Row>)>> = std::thread::scope(|scope| {
            let running: Vec<_> = some
                .iter()
                .map(|(seed, trace)| scope.spawn(move || Ok((*seed, one(trace)?))))
                .collect();
            let done = running.into_iter();
            done.map(|one| one.join().unwrap_or_else(|_| Err(anyhow!("a replay panicked"))))
                .collect()
        });
        for trace in done {
            rows.push(trace?);
        }
    }
    Ok(rows)
}
