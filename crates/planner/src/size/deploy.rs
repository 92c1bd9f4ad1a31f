//! From rates and what slices carry to GPUs, their layouts, and whose each slice is.
//!
//! Must never place what the geometry does not hold: layouts are the packer's.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use model::{GpuInstanceProfileId, Layout, PlacedProfile, Rate};

use super::cover::Need;
use super::relax::Frame;
use super::search::{Counts, Found, search};
use crate::pack::{Demand, Packer};

/// Relaxations for each number of GPUs that is tried. Policy: seconds at the most; what was met
/// in practice took fewer than ten.
pub const EFFORT: u32 = 20_000;

/// A kind of slice that a service may run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadSlice {
    /// The profile.
    pub profile: GpuInstanceProfileId,
    /// What one of them carries.
    pub carries: Rate,
}

/// What a service has to carry, and what slices it may run on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// The rate, headroom included.
    pub rate: Rate,
    /// The slices, each profile once.
    pub slices: Vec<LoadSlice>,
}

/// Why there is no deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// A load has no slice that carries anything and that a GPU of this board holds.
    #[error("load {load} has no slice that this board holds and that carries anything")]
    NoSlice {
        /// Its index.
        load: usize,
    },
}

/// A slice of a GPU and the load that it serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// The slice.
    pub part: PlacedProfile,
    /// The index of the load.
    pub load: usize,
}

/// What no deployment can be below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floor {
    /// GPUs.
    pub gpus: u64,
    /// Compute slices of a deployment on as many GPUs as the one that was found.
    pub slices: u64,
    /// What the rates take of GPUs at the least before anything is rounded to whole GPUs, in
    /// thousandths, rounded down.
    pub share: u64,
}

/// A deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// For each load, how many slices of each profile, in the order of the geometry's profiles;
    /// none with a count of zero.
    pub counts: Vec<Vec<(GpuInstanceProfileId, u32)>>,
    /// For each GPU, its slices by placement.
    pub gpus: Vec<Vec<Seat>>,
    /// Compute slices of all slices together.
    pub slices: u64,
    /// What is proven.
    pub floor: Floor,
    /// For each load, what its slices take of GPUs at the prices that prove the floor, in
    /// thousandths of a GPU: where the GPUs go.
    pub shares: Vec<u64>,
    /// Relaxations that were solved.
    pub nodes: u32,
}

impl Deployment {
    /// Whether no deployment has fewer GPUs.
    pub fn has_fewest_gpus(&self) -> bool {
        self.floor.gpus == self.gpus.len() as u64
    }

    /// Whether, beside that, none on as many GPUs has fewer compute slices.
    pub fn is_smallest(&self) -> bool {
        self.has_fewest_gpus() && self.floor.slices == self.slices
    }

    /// What the slices of a load carry.
    pub fn carried(&self, load: usize, slices: &[LoadSlice]) -> Rate {
        let of = |(profile, count): &(GpuInstanceProfileId, u32)| {
            let slice = slices.iter().find(|slice| slice.profile == *profile);
            slice.map_or(Rate::ZERO, |slice| slice.carries.times(u64::from(*count)))
        };
        self.counts.get(load).map_or(Rate::ZERO, |counts| counts.iter().map(of).sum())
    }
}

/// The deployment with the fewest GPUs and, of those, the fewest compute slices that `effort`
/// relaxations for each number of GPUs find ([`EFFORT`]). The same question has the same answer on
/// every machine.
///
/// # Errors
/// [`SizeError`] where a load cannot be carried whatever the number of GPUs.
pub fn deploy(packer: &Packer, loads: &[Load], effort: u32) -> Result<Deployment, SizeError> {
    let question = Question::new(packer, loads);
    for (load, need) in question.frame.needs.iter().enumerate() {
        if need.rate > 0 && need.yields.iter().all(|carried| *carried == 0) {
            return Err(SizeError::NoSlice { load });
        }
    }
    let mut fits = |counts: &[u64], gpus| packer.fits(&question.demand(counts), gpus);
    let found = search(&question.frame, &mut fits, effort);
    let found = found.ok_or(SizeError::NoSlice { load: 0 })?;
    Ok(question.answer(&found))
}

/// The question in the words of the search: sizes are indices of the profiles in use.
struct Question<'a> {
    packer: &'a Packer,
    /// The geometry's index of each size.
    sizes: Vec<usize>,
    frame: Frame,
}

impl<'a> Question<'a> {
    fn new(packer: &'a Packer, loads: &[Load]) -> Self {
        let profiles = &packer.geometry().profiles;
        let used = |id: GpuInstanceProfileId| {
            let slices = loads.iter().flat_map(|load| &load.slices);
            slices.into_iter().any(|slice| slice.profile == id && slice.carries > Rate::ZERO)
        };
        let held = |profile: usize| {
            packer.patterns().maximal().iter().any(|pattern| pattern.counts[profile] > 0)
        };
        let sizes: Vec<usize> =
            (0..profiles.len()).filter(|at| used(profiles[*at].id) && held(*at)).collect();
        let carried = |load: &Load, size: &usize| {
            let slice = load.slices.iter().find(|slice| slice.profile == profiles[*size].id);
            slice.map_or(0, |slice| slice.carries.millionths())
        };
        let need = |load: &Load| Need {
            rate: load.rate.millionths(),
            yields: sizes.iter().map(|size| carried(load, size)).collect(),
        };
        let frame = Frame {
            slices: sizes.iter().map(|size| u32::from(profiles[*size].name.slices)).collect(),
            needs: loads.iter().map(need).collect(),
            patterns: patterns(packer, &sizes),
        };
        Self { packer, sizes, frame }
    }

    fn demand(&self, counts: &[u64]) -> Demand {
        let mut demand = Demand::none(self.packer.geometry());
        for (size, count) in self.sizes.iter().zip(counts) {
            demand.add(*size, *count);
        }
        demand
    }

    fn answer(&self, found: &Found) -> Deployment {
        let profiles = &self.packer.geometry().profiles;
        let of_load = |counts: &Vec<u32>| {
            let each = self.sizes.iter().zip(counts).filter(|(_, count)| **count > 0);
            each.map(|(size, count)| (profiles[*size].id, *count)).collect()
        };
        let floor = Floor {
            gpus: found.gpus_floor,
            slices: found.slices_floor,
            share: thousandths(found.share.over, found.share.under),
        };
        let share = |counts: &Vec<u32>| {
            let price: i128 = counts
                .iter()
                .zip(&found.prices)
                .map(|(count, price)| i128::from(*count) * i128::from(*price))
                .sum();
            thousandths(price, found.share.under)
        };
        Deployment {
            counts: found.counts.iter().map(of_load).collect(),
            gpus: self.seats(&found.counts, found.gpus),
            slices: found.slices,
            floor,
            shares: found.counts.iter().map(share).collect(),
            nodes: found.nodes,
        }
    }

    /// Whose each slice of the packed layouts is: on each GPU first those that have least there.
    fn seats(&self, counts: &Counts, gpus: u64) -> Vec<Vec<Seat>> {
        let mut sums = alloc::vec![0_u64; self.sizes.len()];
        for cover in counts {
            for (sum, count) in sums.iter_mut().zip(cover) {
                *sum += u64::from(*count);
            }
        }
        let packed = self.packer.witness(&self.demand(&sums), gpus).unwrap_or_default();
        let mut left = counts.clone();
        let layouts = packed.iter().flat_map(|(count, layout)| (0..*count).map(move |_| layout));
        layouts.map(|layout| self.seats_of(layout, &mut left)).collect()
    }

    fn seats_of(&self, layout: &Layout, left: &mut Counts) -> Vec<Seat> {
        let profiles = &self.packer.geometry().profiles;
        let mut here = alloc::vec![0_u32; left.len()];
        let mut seats = Vec::new();
        for part in layout.placed() {
            let Some(size) = self.sizes.iter().position(|at| profiles[*at].id == part.profile)
            else {
                continue;
            };
            let waiting = (0..left.len()).filter(|load| left[*load][size] > 0);
            let next =
                waiting.min_by_key(|load| (here[*load], u32::MAX - left[*load][size], *load));
            if let Some(load) = next {
                left[load][size] -= 1;
                here[load] += 1;
                seats.push(Seat { part: *part, load });
            }
        }
        seats
    }
}

/// The maximal patterns with the profiles in use alone, without those that another one covers.
fn patterns(packer: &Packer, sizes: &[usize]) -> Vec<Vec<u32>> {
    let all = packer.patterns().maximal().iter();
    let cut: BTreeSet<Vec<u32>> = all
        .map(|pattern| sizes.iter().map(|size| u32::from(pattern.counts[*size])).collect())
        .collect();
    let covers = |more: &Vec<u32>, less: &Vec<u32>| more.iter().zip(less).all(|(m, l)| m >= l);
    let covered =
        |pattern: &&Vec<u32>| cut.iter().any(|other| other != *pattern && covers(other, pattern));
    cut.iter().filter(|pattern| !covered(pattern)).cloned().collect()
}

fn thousandths(over: i128, under: i128) -> u64 {
    let parts = over.max(0).saturating_mul(1000).checked_div(under).unwrap_or(0);
    u64::try_from(parts).unwrap_or(u64::MAX)
}
