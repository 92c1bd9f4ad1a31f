//! Azure's hour of LLM requests as the load of two services, minute by minute.
//!
//! Must never let a deployment know a minute before it was seen, but where a row says so.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use model::{Micros, Rate};
use planner::pack::Packer;
use planner::size::{EFFORT, Follow, Load, LoadSlice, Served, deploy, follow};

use super::parva::Data;

/// The traces and the objective of a unit of their work, in ms.
const TRACES: [(&str, &str, u64); 2] = [
    ("code", "AzureLLMInferenceTrace_code.csv", 200),
    ("conversation", "AzureLLMInferenceTrace_conv.csv", 400),
];
/// The model whose profile stands in for the one that Azure does not tell of.
const MODEL: &str = "bert";
/// Tokens, read and written, that count as one of its inputs.
const TOKENS: u64 = 128;
/// So many such hours at once, so that there is a fleet to size.
const TIMES: u64 = 20;
const MINUTES: usize = 58;
const PROCESSES: u32 = 3;

/// The table of the hour.
pub(super) fn tables(folder: &Path, data: &Data, packer: &Packer) -> anyhow::Result<String> {
    let mut slices: Vec<Vec<LoadSlice>> = Vec::new();
    let mut per_service: Vec<Vec<Rate>> = Vec::new();
    let mut requests = 0;
    for (_, file, objective) in TRACES {
        let path = folder.join(file);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let (units, count) = minutes(&text)?;
        requests += count;
        per_service.push(units.into_iter().map(rate).collect());
        let objective = Micros::new(objective * 1000);
        slices.push(data.load(MODEL, Rate::ZERO, objective, PROCESSES)?.slices);
    }
    let rates: Vec<Vec<Rate>> = (0..MINUTES)
        .map(|minute| per_service.iter().map(|rates| rates[minute]).collect())
        .collect();
    let mut text = format!(
        "### Azure's hour\n\n\
         {requests} requests of {MINUTES} minutes, {TIMES} times over, as inputs of {TOKENS} tokens to {MODEL}; \
         at most {PROCESSES} processes on a slice. Short: what arrived beyond what was carried, of all \
         that arrived, and in how many minutes.\n\n\
         | provisioning | GPU minutes | of static | GPUs, least to most | compute slice minutes | changes | \
         short | minutes short |\n|---|---:|---:|---:|---:|---:|---:|---:|\n"
    );
    let peak = statically(packer, &slices, &rates)?;
    let known = each_minute(packer, &slices, &rates)?;
    let base: u64 = peak.iter().map(|interval| interval.gpus).sum();
    row(&mut text, "static, for the peak (knows the hour)", &peak, &rates, base);
    for (headroom, memory) in [(10, 5), (25, 5), (25, 10), (50, 10)] {
        let how = Follow { headroom, memory, effort: EFFORT };
        let served = follow(packer, &slices, &rates, how)?;
        let name = format!("sized for the last {memory} minutes and {headroom} %");
        row(&mut text, &name, &served, &rates, base);
    }
    row(&mut text, "each minute exactly (knows it)", &known, &rates, base);
    text.push('\n');
    Ok(text)
}

/// Work of each whole minute since the first request, in inputs, and the requests in them.
fn minutes(text: &str) -> anyhow::Result<(Vec<u64>, u64)> {
    let mut units = vec![0; MINUTES];
    let (mut first, mut requests) = (None, 0);
    for line in text.lines().skip(1).filter(|line| !line.trim().is_empty()) {
        let mut cells = line.split(',').map(str::trim);
        let (Some(time), Some(read), Some(written)) = (cells.next(), cells.next(), cells.next())
        else {
            return Err(anyhow!("`{line}` has not three cells"));
        };
        let second = second(time).with_context(|| format!("`{time}` is no time"))?;
        let begin = *first.get_or_insert(second);
        let minute = usize::try_from((second - begin) / 60)?;
        let tokens = read.parse::<u64>()? + written.parse::<u64>()?;
        if let Some(units) = units.get_mut(minute) {
            *units += tokens.div_ceil(TOKENS);
            requests += 1;
        }
    }
    Ok((units, requests))
}

/// The second of the day of `2023-11-16 18:17:03.9799600`.
fn second(time: &str) -> Option<u64> {
    let clock = time.split_once(' ')?.1;
    let mut parts = clock.split(':');
    let mut next = || parts.next()?.split('.').next()?.parse::<u64>().ok();
    Some(next()? * 3600 + next()? * 60 + next()?)
}

fn rate(units_per_minute: u64) -> Rate {
    Rate::from_millionths(units_per_minute * TIMES * 1_000_000 / 60)
}

/// One deployment for the highest rate of each service.
fn statically(
    packer: &Packer,
    slices: &[Vec<LoadSlice>],
    rates: &[Vec<Rate>],
) -> anyhow::Result<Vec<Served>> {
    let highest = |load: usize| rates.iter().map(|rates| rates[load]).max().unwrap_or_default();
    let peak: Vec<Rate> = (0..slices.len()).map(highest).collect();
    let served = served(packer, slices, &peak)?;
    Ok(vec![served; rates.len()])
}

/// The smallest deployment of each minute, known beforehand.
fn each_minute(
    packer: &Packer,
    slices: &[Vec<LoadSlice>],
    rates: &[Vec<Rate>],
) -> anyhow::Result<Vec<Served>> {
    let mut all: Vec<Served> = Vec::new();
    for rates in rates {
        let next = served(packer, slices, rates)?;
        let changed = all.last().is_some_and(|last| last.carried != next.carried);
        all.push(Served { changed, ..next });
    }
    Ok(all)
}

fn served(packer: &Packer, slices: &[Vec<LoadSlice>], rates: &[Rate]) -> anyhow::Result<Served> {
    let load =
        |(rate, slices): (&Rate, &Vec<LoadSlice>)| Load { rate: *rate, slices: slices.clone() };
    let loads: Vec<Load> = rates.iter().zip(slices).map(load).collect();
    let found = deploy(packer, &loads, EFFORT)?;
    let carried = |(load, slices): (usize, &Vec<LoadSlice>)| found.carried(load, slices);
    Ok(Served {
        gpus: found.gpus.len() as u64,
        slices: found.slices,
        carried: slices.iter().enumerate().map(carried).collect(),
        changed: false,
    })
}

fn row(text: &mut String, name: &str, served: &[Served], rates: &[Vec<Rate>], base: u64) {
    let gpus: u64 = served.iter().map(|interval| interval.gpus).sum();
    let slices: u64 = served.iter().map(|interval| interval.slices).sum();
    let least = served.iter().map(|interval| interval.gpus).min().unwrap_or(0);
    let most = served.iter().map(|interval| interval.gpus).max().unwrap_or(0);
    let changes = served.iter().filter(|interval| interval.changed).count();
    let missed = |interval: &Served, rates: &[Rate]| -> u64 {
        let each = rates.iter().zip(&interval.carried);
        each.map(|(rate, carried)| rate.millionths().saturating_sub(carried.millionths())).sum()
    };
    let short: Vec<u64> = served.iter().zip(rates).map(|(s, rates)| missed(s, rates)).collect();
    let arrived: u64 = rates.iter().flatten().map(|rate| rate.millionths()).sum();
    let _ = writeln!(
        text,
        "| {name} | {gpus} | {:.0} % | {least} to {most} | {slices} | {changes} | {:.2} % | {} |",
        100.0 * gpus as f64 / base as f64,
        100.0 * short.iter().sum::<u64>() as f64 / arrived as f64,
        short.iter().filter(|missed| **missed > 0).count(),
    );
}
