//! The meter: evidence of use from every look at a GPU, told to the broker when it changes.
//!
//! Whether work was done is what the GPU measures of itself (GPM, Hopper and later); without that,
//! a slice that no process is on and whose device nodes nobody has open is idle, and a process says
//! nothing either way: an open CUDA context is neither use nor a proof of idleness.
//!
//! Must never cost a machine at rest more than some looks: it adds to those the observer makes.

mod sample;
mod tally;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use broker::{Command, Lease, Phase, SliceKey, State};
use model::{GpuProcess, GpuSnapshot, GpuUuid, Health, LeaseId, MemoryMib};
use tokio::sync::watch;

use crate::hands::{Hands, lock};
use crate::published::Published;
use sample::Samples;
use tally::{Evidence, News, Reading, Tally};

/// How often it is searched who has the nodes of slices open on which no process is: a search goes
/// through the descriptors of every process of the machine.
const SEARCH_EVERY: Duration = Duration::from_secs(60);
/// How soon such a search follows another one when a slice lost its last process.
const SEARCH_AGAIN: Duration = Duration::from_secs(10);

/// Adds up the use of every lease.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    published: OnceLock<watch::Receiver<Published>>,
    tallies: Mutex<BTreeMap<LeaseId, Tally>>,
    samples: Samples,
    searched: Mutex<BTreeMap<GpuUuid, Search>>,
}

/// The newest search for open nodes on a GPU.
#[derive(Debug)]
struct Search {
    at: Instant,
    /// Parts nobody had open.
    closed: Vec<Part>,
}

/// What a lease has on one GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Slice(SliceKey, model::GpuInstanceId, model::ComputeInstanceId),
    Whole,
}

/// A part with its owner.
#[derive(Debug)]
struct Leased<'a> {
    lease: &'a Lease,
    /// Its place among the parts of its lease.
    place: usize,
    part: Part,
}

impl Meter {
    /// Learns of leases from here on.
    pub(crate) fn follow(&self, published: watch::Receiver<Published>) {
        let _ = self.published.set(published);
    }

    /// Lets go of everything that keeps a session with the driver open.
    pub(crate) fn let_go(&self) {
        self.samples.forget_all();
    }

    /// The newest totals of a lease that is about to be over.
    pub(crate) fn last_words(&self, lease: LeaseId) -> Option<Command> {
        let (activity, metered) = lock(&self.tallies).get(&lease)?.last_words();
        Some(Command::Measured { lease, activity, metered })
    }

    /// A GPU was looked at.
    pub(crate) fn looked(&self, hands: &Hands, seen: &GpuSnapshot) {
        let Some((state, policy)) = self.published.get().map(|published| {
            let now = published.borrow();
            (Arc::clone(&now.state), Arc::clone(&now.policy))
        }) else {
            return;
        };
        let leased = leased_on(&state, &seen.uuid);
        self.samples.keep_only(&seen.uuid, &leased);
        let closed = self.closed(hands, seen, &leased);
        let now = hands.clock.now();
        let mut news: Vec<(LeaseId, News)> = Vec::new();
        for part in &leased {
            let reading = self.read(hands, seen, &part.part, &closed);
            let mut tallies = lock(&self.tallies);
            let (granted, parts) = (part.lease.granted_at.unwrap_or(now), parts_of(part.lease));
            let tally = tallies
                .entry(part.lease.id)
                .or_insert_with(|| Tally::new(now, granted, parts, part.lease.metered));
            if !tally.is_of(granted, parts) {
                *tally = Tally::new(now, granted, parts, part.lease.metered);
            }
            tally.note(now, part.place, reading);
            if matches!(part.lease.phase, Phase::Active { .. })
                && let Some(found) = tally.news(now, broker::idle_limit(&policy, part.lease))
            {
                news.push((part.lease.id, found));
            }
        }
        lock(&self.tallies).retain(|lease, _| state.lease(*lease).is_some());
        for (lease, (activity, metered)) in news {
            hands.tell(Command::Measured { lease, activity, metered });
        }
    }

    fn read(&self, hands: &Hands, seen: &GpuSnapshot, part: &Part, closed: &[Part]) -> Reading {
        let unknown = Reading { evidence: Evidence::Unknown, memory: None };
        if seen.health != Health::Ok {
            return unknown;
        }
        let Some(processes) = processes(seen, part) else { return unknown };
        let evidence = if processes.is_empty() && closed.contains(part) {
            Evidence::Idle
        } else {
            self.samples.evidence(hands, seen, part)
        };
        Reading { evidence, memory: memory(processes) }
    }

    /// Parts without a process whose nodes nobody has open.
    fn closed(&self, hands: &Hands, seen: &GpuSnapshot, leased: &[Leased<'_>]) -> Vec<Part> {
        let empty: Vec<&Part> = leased
            .iter()
            .map(|leased| &leased.part)
            .filter(|part| processes(seen, part).is_some_and(<[_]>::is_empty))
            .collect();
        let mut searched = lock(&self.searched);
        if empty.is_empty() {
            searched.remove(&seen.uuid);
            return Vec::new();
        }
        let known = searched.get(&seen.uuid);
        let age = known.map(|search| search.at.elapsed());
        let covers =
            known.is_some_and(|search| empty.iter().all(|part| search.closed.contains(part)));
        let due = match age {
            None => true,
            Some(age) => age >= SEARCH_EVERY || (!covers && age >= SEARCH_AGAIN),
        };
        if due {
            // What has a process now is found with it, and searched for anew when it is gone.
            let found = search(hands, seen, &empty);
            searched.insert(seen.uuid.clone(), Search { at: Instant::now(), closed: found });
        }
        let Some(search) = searched.get_mut(&seen.uuid) else { return Vec::new() };
        search.closed.retain(|part| empty.contains(&part));
        search.closed.clone()
    }
}

/// Which of `parts` nobody has open, as far as that can be told.
fn search(hands: &Hands, seen: &GpuSnapshot, parts: &[&Part]) -> Vec<Part> {
    let nodes: Vec<Vec<std::path::PathBuf>> =
        parts.iter().map(|part| nodes(hands, seen, part)).collect();
    let all: Vec<_> = nodes.iter().flatten().cloned().collect();
    let Ok(found) = host::other_holders_of(&all) else { return Vec::new() };
    if hands.others && !found.incomplete.is_complete() {
        return Vec::new();
    }
    let open = |paths: &[std::path::PathBuf]| {
        found.holders.iter().any(|holder| paths.contains(&holder.path))
    };
    let closed = parts.iter().zip(&nodes).filter(|(_, paths)| !open(paths));
    closed.map(|(part, _)| (*part).clone()).collect()
}

fn nodes(hands: &Hands, seen: &GpuSnapshot, part: &Part) -> Vec<std::path::PathBuf> {
    match part {
        Part::Slice(_, instance, compute) => {
            let root = &hands.machine.root;
            host::nodes::slice_nodes(root, seen.minor, *instance, *compute).to_vec()
        }
        Part::Whole => vec![hands.machine.root.resolve(format!("/dev/nvidia{}", seen.minor.get()))],
    }
}

/// Processes on a part; `None` if the part is not there.
fn processes<'s>(seen: &'s GpuSnapshot, part: &Part) -> Option<&'s [GpuProcess]> {
    match part {
        Part::Slice(_, instance, compute) => {
            let instance = seen.instance(*instance)?;
            let found = instance.compute_instances.iter().find(|found| found.id == *compute)?;
            Some(&found.processes)
        }
        Part::Whole => Some(&seen.processes),
    }
}

/// Memory of processes; `None` if the driver tells it of none of them.
fn memory(processes: &[GpuProcess]) -> Option<MemoryMib> {
    let known: Vec<MemoryMib> = processes.iter().filter_map(|process| process.memory).collect();
    if known.is_empty() && !processes.is_empty() {
        return None;
    }
    Some(known.into_iter().fold(MemoryMib::new(0), MemoryMib::saturating_add))
}

fn parts_of(lease: &Lease) -> usize {
    lease.slices.len() + lease.whole.len()
}

/// What leases have on a GPU.
fn leased_on<'s>(state: &'s State, gpu: &GpuUuid) -> Vec<Leased<'s>> {
    let mut found = Vec::new();
    for lease in state.leases.values().filter(|lease| lease.holds_slices()) {
        for (place, slice) in lease.slices.iter().enumerate() {
            if slice.key.gpu == *gpu {
                let (instance, compute) = (slice.gpu_instance, slice.compute_instance);
                let part = Part::Slice(slice.key.clone(), instance, compute);
                found.push(Leased { lease, place, part });
            }
        }
        for (place, whole) in lease.whole.iter().enumerate() {
            if whole == gpu {
                found.push(Leased { lease, place: lease.slices.len() + place, part: Part::Whole });
            }
        }
    }
    found
}
