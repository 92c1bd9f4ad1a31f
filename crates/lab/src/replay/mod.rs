//! Requests that were made somewhere, made again: through the real broker, executor and driver on
//! any machine, in virtual time, with driver calls that take as long as real ones.
//!
//! Must never know what a job will do before it asked for it: a column sees requests, and no trace.

mod fifo;
mod layout;
pub mod migbench;
mod nodes;
mod outcome;
mod summary;

use broker::{Policy, RequestSpec};
use model::{GpuSnapshot, Millis, NodeSnapshot, PlacedProfile, Timestamp};
use planner::Planner;
use sim_gpu::{HostSpec, Latencies};
use sim_nvml::{Aside, swap_thread};

pub(crate) use layout::lay_out;
pub use layout::lay_out_on;
pub use outcome::{JobEnd, JobOutcome, Outcome, Waits, quantile};

pub use summary::{Summary, size};

use crate::bench::{Bench, BenchError};
use crate::play::column::Column;
use crate::play::daemon::{Daemon, Tally, Watch};
use crate::play::fixed::Fixed;
use crate::play::work::{Course, Work, answer};
use crate::play::{Play, Record, Term};
use crate::room::Room;
use fifo::Fifo;
use nodes::Nodes;

/// A request, and how long its slices are worked on once it has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// When it is made.
    pub asked_at: Timestamp,
    /// What is asked. Its holder is not looked at: a process of the replay holds the lease.
    pub spec: RequestSpec,
    /// How long it works, if nothing stops it.
    pub run: Millis,
}

/// A machine to replay on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Its GPUs.
    pub spec: HostSpec,
    /// GPUs, by index, on which MIG is off at the start.
    pub mig_off: Vec<usize>,
    /// How long its driver calls take.
    pub latencies: Latencies,
}

impl Site {
    /// A machine with MIG on everywhere, and driver calls as long as real ones.
    pub fn new(spec: HostSpec) -> Self {
        Self { spec, mig_off: Vec::new(), latencies: Latencies::default() }
    }
}

/// Who serves the requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Served {
    /// A daemon on each machine. Of several machines, a request goes to the one with the least
    /// work outstanding, and stays there.
    Daemons,
    /// A layout that nobody changes, of each GPU of the one machine. Whoever waits is served in the
    /// daemon's order; a request takes the smallest free slices that hold it.
    Fixed(Vec<Vec<PlacedProfile>>),
    /// First come, first served on the one machine, passing by what does not fit; the first GPU with
    /// room, there the lowest start. For comparison.
    FirstFit,
}

/// How requests are replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Where.
    pub sites: Vec<Site>,
    /// The owner's rules.
    pub policy: Policy,
    /// By whom.
    pub served: Served,
    /// Whether the laws of the simulation are checked after every act of the daemons, and not at the
    /// end alone.
    pub laws_at_every_act: bool,
}

impl Setting {
    /// A daemon on one machine.
    pub fn new(site: Site, policy: Policy) -> Self {
        Self { sites: vec![site], policy, served: Served::Daemons, laws_at_every_act: false }
    }
}

/// Why requests cannot be replayed.
#[derive(Debug)]
pub enum ReplayError {
    /// The simulated machine cannot be built.
    Machine(BenchError),
    /// A layout names what its GPU does not have.
    Layout,
    /// It takes exactly one machine.
    Machines(usize),
}

impl std::fmt::Display for ReplayError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Machine(error) => write!(f, "the simulated machine cannot be built: {error}"),
            Self::Layout => f.write_str("the layout names a profile that its GPU does not have"),
            Self::Machines(count) => write!(f, "this takes one machine, not {count}"),
        }
    }
}

impl std::error::Error for ReplayError {}

impl From<BenchError> for ReplayError {
    fn from(error: BenchError) -> Self {
        Self::Machine(error)
    }
}

/// Makes the requests again. The same setting and jobs give the same outcome, on any machine.
///
/// # Errors
/// [`ReplayError`].
pub fn replay(setting: &Setting, jobs: &[Job]) -> Result<Outcome, ReplayError> {
    let mut jobs: Vec<&Job> = jobs.iter().collect();
    jobs.sort_by_key(|job| job.asked_at);
    let begin = jobs.first().map_or(Timestamp::default(), |job| job.asked_at);
    let (mut benches, mut asides) = (Vec::new(), Vec::new());
    for site in &setting.sites {
        let room = room(site, setting.policy.clone(), begin)?;
        benches.push(room);
        asides.push(swap_thread(Aside::default()));
    }
    let units: Vec<u32> = benches.iter().map(|room| grid_of(&room.observed)).collect();
    let gpus: Vec<GpuSnapshot> =
        benches.iter().flat_map(|room| room.observed.gpus.iter().cloned()).collect();
    let works: Vec<Work> = jobs.iter().map(|job| work(job, &gpus)).collect();
    let term = Term { begin, end: None, default_time: Millis::new(u64::MAX / 4) };
    let (records, tallies) = match &setting.served {
        Served::Daemons => {
            let watch = setting.sites.iter().map(|site| Watch {
                every_act: setting.laws_at_every_act,
                latencies: site.latencies,
            });
            let daemons = benches.into_iter().zip(watch);
            let daemons = daemons.map(|(room, watch)| Daemon::new(room, true, watch, Vec::new()));
            let mut nodes = Nodes::new(daemons.zip(asides).collect());
            let records = play(&mut nodes, &works, term);
            (records, nodes.finish())
        }
        Served::Fixed(layouts) => {
            let [room] = benches.as_slice() else {
                return Err(ReplayError::Machines(benches.len()));
            };
            let (observed, planner) = (&room.observed, &room.planner);
            let fixed = Fixed::new(observed, &setting.policy, planner, layouts, true);
            let mut fixed = fixed.ok_or(ReplayError::Layout)?;
            (play(&mut fixed, &works, term), Vec::new())
        }
        Served::FirstFit => {
            let ([room], [site]) = (benches.as_slice(), setting.sites.as_slice()) else {
                return Err(ReplayError::Machines(benches.len()));
            };
            let mut fifo = Fifo::new(&room.observed, &room.planner, site.latencies);
            let records = play(&mut fifo, &works, term);
            (records, vec![fifo.tally()])
        }
    };
    Ok(Outcome::of(&works, &records, tallies, units.iter().sum()))
}

fn play<C: Column>(column: &mut C, works: &[Work], term: Term) -> Vec<Record> {
    column.pass(term.begin);
    Play::new(column, works, &[], term).run().0
}

/// A daemon that has just started there.
fn room(site: &Site, policy: Policy, begin: Timestamp) -> Result<Room, BenchError> {
    let bench = Bench::new(&site.spec)?;
    bench.enable_mig_but(&site.mig_off);
    let mut room = Room::new(bench, policy, Planner::default())?;
    room.pass(begin.since(room.now));
    Ok(room)
}

/// Units of the placement grids of a machine's GPUs.
pub fn grid_of(observed: &NodeSnapshot) -> u32 {
    let grids = observed.gpus.iter().map(|gpu| gpu.geometry.as_ref().map_or(8, |g| g.grid.get()));
    grids.map(u32::from).sum()
}

/// Units of the placement grid that a request takes on the first of these GPUs that answers it.
pub fn units_of(spec: &RequestSpec, gpus: &[GpuSnapshot]) -> u32 {
    let geometries = gpus.iter().filter(|gpu| spec.gpu.matches(gpu));
    let mut sizes = geometries
        .filter_map(|gpu| answer(&spec.wanted, gpu.geometry.as_deref()?))
        .map(|profile| u32::from(profile.size.get()));
    sizes.next().unwrap_or(1) * spec.count
}

fn work(job: &Job, gpus: &[GpuSnapshot]) -> Work {
    let units = units_of(&job.spec, gpus);
    let course = Course::Labour(job.run);
    Work { asked_at: job.asked_at, spec: job.spec.clone(), course, units }
}

/// Sums of what several daemons counted.
fn sum(tallies: Vec<Tally>) -> Tally {
    tallies.into_iter().reduce(Tally::and).unwrap_or_default()
}
