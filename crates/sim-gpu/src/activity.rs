//! How busy contexts keep the hardware, as functions of virtual time, and what the driver's
//! sampling makes of it.
//!
//! Must never read a clock: the time is an argument.

use alloc::vec::Vec;

use model::{GpuInstanceId, Millis, Timestamp};
use serde::{Deserialize, Serialize};

use crate::clients::{Context, Target};
use crate::gpu::InstanceRef;
use crate::node::Node;
use crate::ret::Return;

/// From this moment on the context is that busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ActivityPoint {
    /// Time since the context began.
    pub after: Millis,
    /// Share of its multiprocessors that work, 0 to 100.
    pub sm_percent: u8,
    /// Share of its memory bandwidth in use, 0 to 100.
    pub dram_percent: u8,
}

/// A curve of steps. Before the first point the context is idle.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Activity {
    /// The steps, ascending by time.
    pub points: Vec<ActivityPoint>,
    /// The curve begins again after this time; zero = never.
    #[serde(default)]
    pub repeat_every: Millis,
}

impl Activity {
    /// Busy like this all the time.
    pub fn constant(sm_percent: u8, dram_percent: u8) -> Self {
        let after = Millis::default();
        let points = alloc::vec![ActivityPoint { after, sm_percent, dram_percent }];
        Self { points, repeat_every: Millis::default() }
    }

    /// How busy it is after `elapsed`: shares of multiprocessors and of memory bandwidth, 0 to 100.
    pub fn at(&self, elapsed: Millis) -> (u8, u8) {
        let elapsed = match self.repeat_every.get() {
            0 => elapsed.get(),
            period => elapsed.get() % period,
        };
        let point = self.points.iter().rev().find(|point| point.after.get() <= elapsed);
        point.map_or((0, 0), |p| (p.sm_percent.min(100), p.dram_percent.min(100)))
    }

    /// Percent-milliseconds of both shares in the first `elapsed`.
    fn integral(&self, elapsed: Millis) -> (u64, u64) {
        let period = self.repeat_every.get();
        if period == 0 {
            return self.once(elapsed.get());
        }
        let (sm, dram) = self.once(period);
        let (rest_sm, rest_dram) = self.once(elapsed.get() % period);
        let rounds = elapsed.get() / period;
        (sm * rounds + rest_sm, dram * rounds + rest_dram)
    }

    fn once(&self, until: u64) -> (u64, u64) {
        let mut sum = (0, 0);
        for (index, point) in self.points.iter().enumerate() {
            let end = self.points.get(index + 1).map_or(until, |next| next.after.get().min(until));
            let span = end.saturating_sub(point.after.get());
            sum.0 += span * u64::from(point.sm_percent.min(100));
            sum.1 += span * u64::from(point.dram_percent.min(100));
        }
        sum
    }
}

/// `nvmlUtilization_t`, in percent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Utilization {
    /// Share of time in which something ran.
    pub gpu: u32,
    /// Share of time in which memory was read or written.
    pub memory: u32,
}

/// One context as a GPM sample sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Load {
    activity: Activity,
    started_at: Timestamp,
    /// Its multiprocessors in parts per thousand of the sampled whole.
    share: u64,
    /// Its memory slices in parts per thousand of the sampled whole.
    memory_share: u64,
}

/// What `nvmlGpmSampleGet` takes: enough to compute averages between two of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpmSample {
    /// When it was taken.
    pub at: Timestamp,
    /// Index of the GPU.
    pub gpu: usize,
    /// The instance; `None` = the whole GPU.
    pub instance: Option<InstanceRef>,
    loads: Vec<Load>,
}

/// Averages between two samples, in percent.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct GpmUse {
    /// Graphics engine: time in which any context of the sample computed.
    pub graphics: f64,
    /// Multiprocessors with work.
    pub sm: f64,
    /// Memory bandwidth.
    pub dram: f64,
}

impl GpmSample {
    /// The averages from `earlier` to `later`. Contexts that ended in between do not count.
    ///
    /// # Errors
    /// INVALID_ARGUMENT if the samples are not of the same thing or not in order.
    pub fn between(earlier: &Self, later: &Self) -> Result<GpmUse, Return> {
        let same = (earlier.gpu, earlier.instance) == (later.gpu, later.instance);
        let window = later.at.since(earlier.at).get();
        if !same || window == 0 {
            return Err(Return::InvalidArgument);
        }
        let mut sum = GpmUse::default();
        for load in &later.loads {
            let end = load.activity.integral(later.at.since(load.started_at));
            let begin = load.activity.integral(earlier.at.since(load.started_at));
            let sm = (end.0 - begin.0) as f64 / window as f64;
            let dram = (end.1 - begin.1) as f64 / window as f64;
            sum.graphics = sum.graphics.max(sm);
            sum.sm += sm * load.share as f64 / 1000.0;
            sum.dram += dram * load.memory_share as f64 / 1000.0;
        }
        let (sm, dram) = (sum.sm.min(100.0), sum.dram.min(100.0));
        Ok(GpmUse { sm, dram, ..sum })
    }
}

impl Node {
    /// The utilisation of a GPU without MIG: the busiest moment of its contexts taken together.
    ///
    /// # Errors
    /// NOT_SUPPORTED in MIG mode, for the GPU and for its MIG devices.
    pub fn utilization(&self, gpu: usize, now: Timestamp) -> Result<Utilization, Return> {
        if self.working_gpu(gpu)?.mig_on() {
            return Err(Return::NotSupported);
        }
        let contexts = self.contexts.iter().filter(|context| context.gpu == gpu);
        let sum = contexts.fold(Utilization::default(), |sum, context| {
            let (sm, dram) = context.activity.at(now.since(context.started_at));
            Utilization { gpu: sum.gpu + u32::from(sm), memory: sum.memory + u32::from(dram) }
        });
        Ok(Utilization { gpu: sum.gpu.min(100), memory: sum.memory.min(100) })
    }

    /// A GPM sample of a GPU or, with MIG on, of one GPU instance.
    ///
    /// # Errors
    /// NOT_SUPPORTED before Hopper; INVALID_ARGUMENT if there is no such instance.
    pub fn gpm_sample(
        &self,
        gpu: usize,
        instance: Option<GpuInstanceId>,
        now: Timestamp,
    ) -> Result<GpmSample, Return> {
        let found = self.working_gpu(gpu)?;
        if !self.board(gpu)?.gpm {
            return Err(Return::NotSupported);
        }
        let reference = match instance {
            Some(id) => Some(found.instance(id).ok_or(Return::InvalidArgument)?.reference()),
            None => None,
        };
        let contexts = self.contexts.iter().filter(|context| {
            let inside = instance.is_none() || context.target.gpu_instance() == instance;
            context.gpu == gpu && inside
        });
        let loads: Result<Vec<Load>, Return> =
            contexts.map(|context| self.load(gpu, context, instance.is_some())).collect();
        Ok(GpmSample { at: now, gpu, instance: reference, loads: loads? })
    }

    fn load(&self, gpu: usize, context: &Context, of_instance: bool) -> Result<Load, Return> {
        let board = self.board(gpu)?;
        let (mut share, mut memory_share) = (1000, 1000);
        if let Target::Compute(gi, ci) = context.target {
            let instance = self.gpu(gpu)?.instance(gi).ok_or(Return::Unknown)?;
            let profile = board.geometry.profile(instance.profile).ok_or(Return::Unknown)?;
            let compute = instance.compute.iter().find(|compute| compute.id == ci);
            let compute = compute.ok_or(Return::Unknown)?;
            let own = profile
                .compute_profiles
                .iter()
                .find(|known| known.id == compute.profile)
                .map_or(profile.multiprocessors, |known| known.multiprocessors);
            let whole = if of_instance { profile.multiprocessors } else { board.multiprocessors };
            share = u64::from(own) * 1000 / u64::from(whole.max(1));
            if !of_instance {
                let (size, grid) = (profile.size.get(), board.geometry.grid.get().max(1));
                memory_share = u64::from(size) * 1000 / u64::from(grid);
            }
        }
        let (activity, started_at) = (context.activity.clone(), context.started_at);
        Ok(Load { activity, started_at, share, memory_share })
    }
}
