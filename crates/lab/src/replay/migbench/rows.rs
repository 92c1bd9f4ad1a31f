//! The rows: who schedules, where, knowing what, and what came of it.
//!
//! Must never score a row otherwise than the benchmark scores its own.

use broker::{GpuSelector, Holder, Patience, Policy, RequestSpec, Terms, Wanted};
use model::{Millis, ProfileSelector, Tenant, Timestamp, Uid};
use serde::Serialize;
use sim_gpu::{GpuSpec, HostSpec, Latencies};

use super::trace::{BenchProfile, PROFILES, TraceJob};
use crate::replay::{Job, JobOutcome, Outcome, ReplayError, Served, Setting, Site, Waits, replay};

/// When a trace begins; any moment does.
const BEGIN: Timestamp = Timestamp::from_millis(1_000_000_000_000);

/// What a hard limit has more than the length, so that no job is cut off for a driver call's time.
const SPARE: Millis = Millis::from_secs(60);

/// Longer than any wait.
const NEVER: Millis = Millis::new(u64::MAX / 4);

/// The benchmark measures use from here on.
const MEASURED_FROM: Millis = Millis::from_secs(30);

/// Who schedules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// migd: broker, executor and driver.
    Migd,
    /// First come, first served, passing by what does not fit; first hole.
    FirstFit,
}

/// On what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Where {
    /// Two machines of four GPUs with a daemon each. A job is sent to the one with the least work
    /// outstanding when it arrives, and waits there.
    TwoMachines,
    /// One machine of eight GPUs, and one queue.
    OneMachine,
}

/// What the requests say of their lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// An estimate and a hard limit, made from the job's work.
    Length,
    /// Nothing.
    Nothing,
}

/// Which profile is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sizing {
    /// The smallest whose memory holds the job.
    Smallest,
    /// The smallest that is also done in so long; the largest, if none is.
    DoneWithin(Millis),
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Who schedules.
    pub who: Who,
    /// On what.
    pub place: Where,
    /// What it is told.
    pub told: Told,
    /// Which profiles are asked for.
    pub sizing: Sizing,
    /// Whether room is kept for a large request that has waited, as migd does by default.
    pub keeps_room: bool,
}

/// After this a larger profile is asked for, where a row does: the prototype's 4,000 s.
pub const LONG: Millis = Millis::from_secs(4000);

const fn migd(place: Where, told: Told, sizing: Sizing) -> Entry {
    Entry { who: Who::Migd, place, told, sizing, keeps_room: true }
}

const fn first_fit(sizing: Sizing) -> Entry {
    let (who, place, told) = (Who::FirstFit, Where::OneMachine, Told::Nothing);
    Entry { who, place, told, sizing, keeps_room: false }
}

impl Entry {
    /// The rows, in the table's order. The first is what the others are compared with.
    pub const ALL: [Self; 10] = [
        first_fit(Sizing::Smallest),
        migd(Where::TwoMachines, Told::Nothing, Sizing::Smallest),
        migd(Where::TwoMachines, Told::Length, Sizing::Smallest),
        migd(Where::TwoMachines, Told::Length, Sizing::Smallest).without_room(),
        migd(Where::TwoMachines, Told::Length, Sizing::DoneWithin(LONG)),
        migd(Where::OneMachine, Told::Nothing, Sizing::Smallest),
        migd(Where::OneMachine, Told::Length, Sizing::Smallest),
        migd(Where::OneMachine, Told::Length, Sizing::Smallest).without_room(),
        migd(Where::OneMachine, Told::Length, Sizing::DoneWithin(LONG)),
        first_fit(Sizing::DoneWithin(LONG)),
    ];

    /// The same, but that no room is kept for large requests that have waited.
    const fn without_room(self) -> Self {
        Self { keeps_room: false, ..self }
    }

    /// The row's name.
    pub fn name(&self) -> String {
        let who = match (self.who, self.place) {
            (Who::FirstFit, _) => "first fit, first come first served, one queue",
            (Who::Migd, Where::TwoMachines) => "migd, a daemon on each machine",
            (Who::Migd, Where::OneMachine) => "migd, one machine of eight GPUs",
        };
        let told = match (self.who, self.told) {
            (Who::FirstFit, _) => "",
            (Who::Migd, Told::Length) => ", lengths told",
            (Who::Migd, Told::Nothing) => ", lengths not told",
        };
        let sizing =
            if self.sizing == Sizing::Smallest { "" } else { ", larger slices for long jobs" };
        let room = if self.keeps_room || self.who == Who::FirstFit { "" } else { ", no room kept" };
        format!("{who}{told}{sizing}{room}")
    }

    const fn profile(&self, job: &TraceJob) -> Option<&'static BenchProfile> {
        let mut chosen = None;
        let mut at = 0;
        while at < PROFILES.len() {
            let profile = &PROFILES[at];
            at += 1;
            if profile.gib * 1024 < job.memory_mib {
                continue;
            }
            chosen = Some(profile);
            let enough = match self.sizing {
                Sizing::Smallest => true,
                Sizing::DoneWithin(span) => profile.run_ms(job.compute_core_ms) <= span.get(),
            };
            if enough {
                break;
            }
        }
        chosen
    }
}

/// The requests of a row.
pub fn jobs_of(entry: &Entry, trace: &[TraceJob]) -> Vec<Job> {
    let jobs = trace.iter().filter_map(|job| {
        let profile = entry.profile(job)?;
        let run = Millis::new(profile.run_ms(job.compute_core_ms));
        let told = entry.told == Told::Length;
        let spec = RequestSpec {
            tenant: Tenant::new("bench"),
            uid: Uid::new(1000),
            wanted: Wanted::Profile(ProfileSelector::Slices(profile.gpcs)),
            count: 1,
            gpu: GpuSelector::Any,
            time: told.then(|| Millis::new(run.get() + SPARE.get())),
            expect: told.then_some(run),
            patience: Patience::Forever,
            name: None,
            holder: Holder::Token { life: run },
            command: None,
            terms: Terms::default(),
        };
        Some(Job { asked_at: BEGIN.plus(Millis::new(job.arrival_ms)), spec, run })
    });
    jobs.collect()
}

/// What a row came to, as the benchmark scores it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Who and how.
    pub entry: Entry,
    /// From the first moment of the trace to the end of its last job.
    pub makespan_ms: u64,
    /// All waits, from arrival to start.
    pub waits: Waits,
    /// Mean waits by compute slices of the smallest profile that holds the job.
    pub mean_wait_ms: Vec<(u8, f64)>,
    /// Compute slices in use, from thirty seconds on to the last arrival, of all.
    pub gpc_use: f64,
    /// Jobs that were done.
    pub done: usize,
    /// GPU instances made.
    pub made: u64,
    /// Laws that were broken.
    pub violations: Vec<String>,
}

fn sites(place: Where) -> Vec<Site> {
    let (machines, gpus) = match place {
        Where::TwoMachines => (2, 4),
        Where::OneMachine => (1, 8),
    };
    let site = |number: usize| {
        let mut spec = HostSpec { host: format!("node{number}"), ..HostSpec::default() };
        spec.add(&GpuSpec::new("h100-sxm5-80gb"), gpus);
        let latencies = Latencies {
            create_gpu_instance: Millis::new(250),
            destroy_gpu_instance: Millis::new(100),
            ..Latencies::ZERO
        };
        Site { latencies, ..Site::new(spec) }
    };
    (0..machines).map(site).collect()
}

/// Plays a trace in a row's way, with the default rules of migd but where the row says otherwise.
///
/// # Errors
/// [`ReplayError`].
pub fn play(entry: &Entry, trace: &[TraceJob]) -> Result<Row, ReplayError> {
    let served = match entry.who {
        Who::Migd => Served::Daemons,
        Who::FirstFit => Served::FirstFit,
    };
    let default = Policy::default();
    let drain_after = if entry.keeps_room { default.drain_after } else { NEVER };
    let (sites, policy) = (sites(entry.place), Policy { drain_after, ..default });
    let setting = Setting { sites, policy, served, laws_at_every_act: false };
    let outcome = replay(&setting, &jobs_of(entry, trace))?;
    Ok(score(*entry, trace, outcome))
}

fn score(entry: Entry, trace: &[TraceJob], outcome: Outcome) -> Row {
    let end = outcome.jobs.iter().filter_map(JobOutcome::ended_at).max().unwrap_or(BEGIN);
    let last = outcome.jobs.last().map_or(BEGIN, |job| job.asked_at);
    let from = BEGIN.plus(MEASURED_FROM);
    let gpcs = |job: &JobOutcome| match job.spec.wanted {
        Wanted::Profile(ProfileSelector::Slices(slices)) => u64::from(slices),
        Wanted::Profile(_) | Wanted::Need(_) | Wanted::WholeGpu => 0,
    };
    let used: u64 =
        outcome.jobs.iter().map(|job| job.held_between(from, last).get() * gpcs(job)).sum();
    let mut by_size: Vec<(u8, Vec<u64>)> = PROFILES.map(|p| (p.gpcs, Vec::new())).to_vec();
    for (job, traced) in outcome.jobs.iter().zip(trace) {
        let size = traced.feasible().next().map(|profile| profile.gpcs);
        if let Some((_, waits)) = by_size.iter_mut().find(|(gpcs, _)| Some(*gpcs) == size) {
            waits.push(job.waited.get());
        }
    }
    Row {
        entry,
        makespan_ms: end.since(BEGIN).get(),
        waits: Waits::of(outcome.jobs.iter().map(|job| job.waited.get()).collect()),
        mean_wait_ms: by_size.into_iter().map(|(g, w)| (g, Waits::of(w).mean_ms)).collect(),
        gpc_use: used as f64 / (56 * last.since(from).get()).max(1) as f64,
        done: outcome.ended(crate::replay::JobEnd::Done),
        made: outcome.made,
        violations: outcome.violations,
    }
}
