//! ParvaGPU's profiles, scenarios and published deployments, and their tables.
//!
//! Must never take a point that its own latency rule forbids.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, anyhow, ensure};
use model::{GpuInstanceProfileId, Micros, ProfileSelector, Rate};
use planner::pack::{Demand, Packer};
use planner::size::{EFFORT, Limits, Load, LoadSlice, Point, best, deploy};

use super::greedy;

/// The models in the order of the columns of the SLO files.
const MODELS: [&str; 11] = [
    "bert",
    "densenet121",
    "densenet169",
    "densenet201",
    "inceptionv3",
    "mobilenetv2",
    "resnet101",
    "resnet152",
    "resnet50",
    "vgg16",
    "vgg19",
];
/// Nine tenths of half the objective, as in ParvaGPU's configurator, in thousandths.
pub(super) const SHARE: u32 = 450;
/// Limits on the processes of a slice: ParvaGPU's header says three; the published deployments have
/// up to five.
const PROCESSES: [u32; 2] = [3, 5];
/// Factors on every rate.
const TIMES: [u64; 4] = [1, 10, 100, 1000];

/// What was read.
pub(super) struct Data {
    /// The points of each model.
    points: BTreeMap<&'static str, Vec<Point>>,
    scenarios: Vec<Scenario>,
}

struct Scenario {
    /// Model, requests per second, objective.
    services: Vec<(&'static str, Rate, Micros)>,
    published: Published,
}

/// The published deployment of a scenario.
struct Published {
    gpus: usize,
    slices: u64,
    /// Services whose rate the deployment does not carry with these profiles.
    short: usize,
}

/// A line of a file without quotes as its cells.
fn cells(line: &str) -> Vec<&str> {
    line.split(',').map(str::trim).collect()
}

fn text(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// A profile by its compute slices.
fn profile(packer: &Packer, slices: &str) -> anyhow::Result<GpuInstanceProfileId> {
    let selector = ProfileSelector::Slices(slices.parse()?);
    Ok(packer.geometry().select(&selector).map_err(|error| anyhow!("{error}"))?.id)
}

impl Data {
    /// Reads the folder.
    pub(super) fn read(folder: &Path, packer: &Packer) -> anyhow::Result<Self> {
        let mut points = BTreeMap::new();
        for model in MODELS {
            let table = text(&folder.join("prof_data").join(format!("{model}.csv")))?;
            let rows = table.lines().skip(1).map(|line| point(line, packer));
            points.insert(model, rows.collect::<anyhow::Result<Vec<Point>>>()?);
        }
        let rates = text(&folder.join("SLO/SLO_req_rate.csv"))?;
        let latencies = text(&folder.join("SLO/SLO_latency.csv"))?;
        let mut data = Self { points, scenarios: Vec::new() };
        for (number, (rates, latencies)) in rates.lines().zip(latencies.lines()).enumerate() {
            let services = services(rates, latencies)?;
            let name = format!("SLO{}", number + 1);
            let path = folder.join("deployment").join(&name);
            let path = path.join(format!("{name}_ParvaGPU_deploy.csv"));
            let published = data.published(&text(&path)?, &services, packer)?;
            data.scenarios.push(Scenario { services, published });
        }
        Ok(data)
    }

    /// The loads of services with a limit on processes.
    pub(super) fn load(
        &self,
        model: &str,
        rate: Rate,
        objective: Micros,
        processes: u32,
    ) -> anyhow::Result<Load> {
        let points = self.points.get(model).with_context(|| format!("no model {model}"))?;
        let limits =
            Limits { latency: objective.share(SHARE), processes: Some(processes), profiles: None };
        let slice = |point: &Point| LoadSlice { profile: point.profile, carries: point.throughput };
        Ok(Load { rate, slices: best(points, &limits).iter().map(slice).collect() })
    }

    fn loads(&self, scenario: &Scenario, times: u64, processes: u32) -> anyhow::Result<Vec<Load>> {
        let services = scenario.services.iter();
        services
            .map(|(model, rate, objective)| {
                self.load(model, rate.times(times), *objective, processes)
            })
            .collect()
    }

    fn published(
        &self,
        table: &str,
        services: &[(&'static str, Rate, Micros)],
        packer: &Packer,
    ) -> anyhow::Result<Published> {
        let mut gpus: BTreeMap<(String, String), Demand> = BTreeMap::new();
        let mut carried: BTreeMap<String, Rate> = BTreeMap::new();
        let mut slices = 0;
        for line in table.lines().skip(1) {
            let [node, gpu, model, _, size, batch, processes] = cells(line)[..] else {
                return Err(anyhow!("`{line}` has not seven cells"));
            };
            let profile = profile(packer, size)?;
            let demand = gpus
                .entry((node.to_owned(), gpu.to_owned()))
                .or_insert_with(|| Demand::none(packer.geometry()));
            let index = packer.geometry().profiles.iter().position(|p| p.id == profile);
            demand.add(index.context("no such profile")?, 1);
            slices += size.parse::<u64>()?;
            let (batch, processes) = (batch.parse::<u32>()?, processes.parse::<u32>()?);
            let point = self.points.get(model).into_iter().flatten().find(|point| {
                (point.profile, point.batch, point.processes) == (profile, batch, processes)
            });
            let sum = carried.entry(model.to_owned()).or_default();
            *sum = sum.plus(point.with_context(|| format!("no row for `{line}`"))?.throughput);
        }
        for (gpu, demand) in &gpus {
            ensure!(packer.fits(demand, 1), "GPU {gpu:?} of the published deployment is not legal");
        }
        let short = services
            .iter()
            .filter(|(model, rate, _)| carried.get(*model).is_none_or(|sum| sum < rate))
            .count();
        Ok(Published { gpus: gpus.len(), slices, short })
    }
}

/// `Mig instance,Batch size,Workload Number,Throughput,Latency`: throughput of one process, and
/// seconds.
fn point(line: &str, packer: &Packer) -> anyhow::Result<Point> {
    let [size, batch, processes, throughput, latency] = cells(line)[..] else {
        return Err(anyhow!("`{line}` has not five cells"));
    };
    let processes: u32 = processes.parse()?;
    Ok(Point {
        profile: profile(packer, size)?,
        batch: batch.parse()?,
        processes,
        throughput: throughput.parse::<Rate>()?.times(u64::from(processes)),
        latency: Micros::from_text(&format!("{latency}s"))?,
    })
}

/// One scenario; its rates and objectives are whole numbers to ParvaGPU, which cuts 418.5 ms to 418.
fn services(rates: &str, latencies: &str) -> anyhow::Result<Vec<(&'static str, Rate, Micros)>> {
    let each = MODELS.iter().zip(cells(rates)).zip(cells(latencies));
    each.filter(|((_, rate), latency)| *rate != "N/A" && *latency != "N/A")
        .map(|((model, rate), latency)| {
            let whole = latency.split('.').next().unwrap_or(latency);
            Ok((*model, rate.parse::<Rate>()?, Micros::from_millis_text(whole)?))
        })
        .collect()
}

/// The tables of all scenarios.
pub(super) fn tables(data: &Data, packer: &Packer) -> anyhow::Result<String> {
    let mut text = String::from(
        "### The published scenarios\n\n\
         GPUs / compute slices; A100-80GB. *Published* is ParvaGPU's own deployment file; *greedy* is its \
         method as described, run here. The bound is what the rates take of GPUs before anything is \
         rounded.\n\n\
         | scenario | services | published | greedy, ≤ 3 processes | migctl, ≤ 3 | bound | greedy, ≤ 5 | \
         migctl, ≤ 5 | bound | proven |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---|\n",
    );
    let mut totals = [(0, 0); 5];
    for (number, scenario) in data.scenarios.iter().enumerate() {
        let published = &scenario.published;
        ensure!(published.short == 0, "scenario {} is published short of its rates", number + 1);
        let mut row = vec![(published.gpus, published.slices)];
        let mut cells = Vec::new();
        let mut proven = true;
        for processes in PROCESSES {
            let loads = data.loads(scenario, 1, processes)?;
            let simple = greedy::deploy(packer, &loads)?;
            let exact = deploy(packer, &loads, EFFORT)?;
            proven &= exact.is_smallest();
            let found = (exact.gpus.len(), exact.slices);
            cells.push(format!("{}/{}", simple.0, simple.1));
            cells.push(format!("**{}/{}**", found.0, found.1));
            cells.push(thousandths(exact.floor.share));
            row.extend([simple, found]);
        }
        for (total, (gpus, slices)) in totals.iter_mut().zip(&row) {
            *total = (total.0 + gpus, total.1 + slices);
        }
        let _ = writeln!(
            text,
            "| {} | {} | {}/{} | {} | {} |",
            number + 1,
            scenario.services.len(),
            published.gpus,
            published.slices,
            cells.join(" | "),
            if proven { "yes" } else { "no" }
        );
    }
    let [published, greedy3, exact3, greedy5, exact5] = totals.map(|(g, s)| format!("{g}/{s}"));
    let _ = writeln!(
        text,
        "| all | | {published} | {greedy3} | **{exact3}** | | {greedy5} | **{exact5}** | | |\n"
    );
    scaled(data, packer, &mut text)?;
    Ok(text)
}

/// The scenarios with every rate so many times as high.
fn scaled(data: &Data, packer: &Packer, text: &mut String) -> anyhow::Result<()> {
    text.push_str(
        "### Every rate so many times as high (≤ 5 processes), against the greedy\n\n\
         | scenario | rates | greedy | migctl | GPUs | compute slices | bound | proven | time |\n\
         |---|---:|---:|---:|---:|---:|---:|---|---:|\n",
    );
    for (number, scenario) in data.scenarios.iter().enumerate() {
        for times in TIMES {
            let loads = data.loads(scenario, times, PROCESSES[1])?;
            let simple = greedy::deploy(packer, &loads)?;
            let begin = Instant::now();
            let exact = deploy(packer, &loads, EFFORT)?;
            let time = begin.elapsed();
            let against = |ours: u64, theirs: u64| {
                format!("{:+.1} %", 100.0 * (ours as f64 / theirs as f64 - 1.0))
            };
            let proven = match (exact.has_fewest_gpus(), exact.is_smallest()) {
                (_, true) => String::from("yes"),
                (true, false) => format!("GPUs; slices ≥ {}", exact.floor.slices),
                (false, _) => format!("no; GPUs ≥ {}", exact.floor.gpus),
            };
            let _ = writeln!(
                text,
                "| {} | ×{times} | {}/{} | **{}/{}** | {} | {} | {} | {proven} | {:.1} ms |",
                number + 1,
                simple.0,
                simple.1,
                exact.gpus.len(),
                exact.slices,
                against(exact.gpus.len() as u64, simple.0 as u64),
                against(exact.slices, simple.1),
                thousandths(exact.floor.share),
                time.as_secs_f64() * 1e3,
            );
        }
    }
    text.push('\n');
    Ok(())
}

/// `1429` as `1.43`, rounded up.
pub(super) fn thousandths(parts: u64) -> String {
    format!("{:.2}", parts.div_ceil(10) as f64 / 100.0)
}
