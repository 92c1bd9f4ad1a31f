//! Random questions, to see how often the answer is proven and what it costs.
//!
//! Must never leave out a question that turned out hard.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use lab::Chance;
use model::Rate;
use planner::pack::Packer;
use planner::size::{EFFORT, Load, LoadSlice, deploy};

/// Factors on the rates, each with as many questions.
const TIMES: [u64; 4] = [1, 10, 100, 1000];
const QUESTIONS: u64 = 500;

/// The table.
pub(super) fn table(packer: &Packer) -> anyhow::Result<String> {
    let mut text = format!(
        "### Random questions\n\n\
         {QUESTIONS} for each row: 1 to 20 services of up to 800 requests a second times the factor, \
         slices of every plain size that carry 10 to 100 a second for a 1g and scale with their size \
         to the power 0.6 to 1.2; one size in ten cannot serve.\n\n\
         | rates | GPUs, most | fewest GPUs proven | and fewest slices | most relaxations | median | slowest |\n\
         |---|---:|---:|---:|---:|---:|---:|\n"
    );
    for times in TIMES {
        let (mut most_gpus, mut fewest, mut smallest, mut nodes) = (0, 0, 0, 0);
        let mut spent: Vec<Duration> = Vec::new();
        for seed in 0..QUESTIONS {
            let loads = question(packer, Chance::new(seed, times), times);
            let begin = Instant::now();
            let found = deploy(packer, &loads, EFFORT)?;
            spent.push(begin.elapsed());
            most_gpus = most_gpus.max(found.gpus.len());
            fewest += u64::from(found.has_fewest_gpus());
            smallest += u64::from(found.is_smallest());
            nodes = nodes.max(found.nodes);
        }
        spent.sort_unstable();
        let millis = |at: usize| spent.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e3);
        let _ = writeln!(
            text,
            "| ×{times} | {most_gpus} | {fewest} | {smallest} | {nodes} | {:.1} ms | {:.1} ms |",
            millis(spent.len() / 2),
            millis(spent.len().saturating_sub(1)),
        );
    }
    text.push('\n');
    Ok(text)
}

fn question(packer: &Packer, mut chance: Chance, times: u64) -> Vec<Load> {
    let mut loads = Vec::new();
    for _ in 0..=chance.below(20) {
        let base = 10.0 + 90.0 * chance.unit();
        let mut slices = Vec::new();
        for profile in packer.geometry().plain_profiles() {
            let power = 0.6 + 0.6 * chance.unit();
            let carries = base * f64::from(profile.name.slices).powf(power);
            if !chance.one_in(10) {
                let carries = Rate::from_millionths((carries * 1e6) as u64);
                slices.push(LoadSlice { profile: profile.id, carries });
            }
        }
        let rate = Rate::from_millionths((800e6 * chance.unit()) as u64).times(times);
        if !slices.is_empty() {
            loads.push(Load { rate, slices });
        }
    }
    loads
}
