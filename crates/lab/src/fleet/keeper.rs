//! What holds the fleet for a contender: GPUs with places, or mere counts for one that repacks.
//!
//! Must never order requests.

use model::{GpuInstanceProfileId, Timestamp};
use planner::Policy;
use planner::open::Spot;

use super::contender::{Contender, Rule};
use super::ground::Ground;
use super::opening::Mover;
use super::packing::Packing;
use super::queue::LineKey;
use super::site::{Site, WHOLE};
use super::tally::Level;
use super::work::{Kind, Workload};

/// How a request is held that has no place.
type Held = (usize, GpuInstanceProfileId, u32);

#[derive(Debug)]
enum Holder<'a> {
    /// Slices have places.
    Placed {
        ground: Box<Ground<'a>>,
        policy: Policy,
        /// Makes room by moves, for a contender that does.
        mover: Option<Mover>,
    },
    /// Slices are counted; by request, what it holds.
    Counted(Vec<Option<Held>>),
}

/// The fleet of one run.
#[derive(Debug)]
pub(crate) struct Keeper<'a> {
    site: &'a Site,
    kinds: &'a [Kind],
    holder: Holder<'a>,
    packing: Packing,
    /// The fleet without anything on it.
    empty: Packing,
    held: u64,
    compute: u64,
    shares: Vec<f64>,
}

/// How often each kind is asked for, adding up to one.
fn shares(work: &Workload) -> Vec<f64> {
    let mut counts = vec![0.0; work.kinds.len()];
    for request in &work.requests {
        counts[request.kind] += 1.0;
    }
    let all = work.requests.len().max(1) as f64;
    counts.into_iter().map(|count: f64| count / all).collect()
}

impl<'a> Keeper<'a> {
    pub(crate) fn new(site: &'a Site, work: &'a Workload, contender: &Contender) -> Self {
        let holder = match contender.rule {
            Rule::Place(policy) => {
                let ground = Box::new(Ground::new(site, work));
                Holder::Placed { ground, policy, mover: None }
            }
            Rule::Open(policy, most) => {
                let ground = Box::new(Ground::new(site, work));
                Holder::Placed { ground, policy, mover: Some(Mover::new(site, most)) }
            }
            Rule::Repack => Holder::Counted(vec![None; work.requests.len()]),
        };
        let (packing, empty) = (Packing::new(site), Packing::new(site));
        let (kinds, shares) = (work.kinds.as_slice(), shares(work));
        Self { site, kinds, holder, packing, empty, held: 0, compute: 0, shares }
    }

    /// Counts a request for the forecast.
    pub(crate) fn expect(&mut self, kind: usize) {
        if let Holder::Placed { ground, .. } = &mut self.holder {
            ground.expect(kind);
        }
    }

    /// Whether a request may fit now; no is certain.
    pub(crate) fn may_fit(&self, (kind, count): LineKey) -> bool {
        match &self.holder {
            Holder::Placed { ground, mover: None, .. } => ground.may_fit(kind, count),
            Holder::Placed { mover: Some(_), .. } | Holder::Counted(_) => {
                self.packing.room(&self.kinds[kind], count).is_some()
            }
        }
    }

    /// Whether it fits beside all that runs, if all were laid anew.
    pub(crate) fn fits_repacked(&self, (kind, count): LineKey) -> bool {
        self.packing.room(&self.kinds[kind], count).is_some()
    }

    /// Whether it fits the empty fleet.
    pub(crate) fn could_ever(&self, (kind, count): LineKey) -> bool {
        self.empty.room(&self.kinds[kind], count).is_some()
    }

    /// Starts a request, all of it or nothing. `until` is when it ends, where that is known.
    pub(crate) fn start(
        &mut self,
        request: usize,
        (kind, count): LineKey,
        until: Option<Timestamp>,
    ) -> bool {
        match &mut self.holder {
            Holder::Placed { ground, policy, mover } => {
                let wanted = &self.kinds[kind].wanted;
                ground.lasts(request, until);
                for _ in 0..count {
                    let before = ground.places(request).len();
                    let mut placed = ground
                        .place(policy, kind, request)
                        .or_else(|| ground.place_beside(wanted, request, until));
                    match (mover.as_mut(), ground.places(request).get(before)) {
                        (Some(mover), Some((gpu, part))) => {
                            mover.put(Spot { gpu: *gpu, part: *part });
                        }
                        (Some(mover), None) => {
                            placed = mover.open(ground, self.site, wanted, request);
                        }
                        (None, _) => {}
                    }
                    if placed.is_none() {
                        for (gpu, part) in ground.leave(request) {
                            if let Some(mover) = mover.as_mut() {
                                mover.take(Spot { gpu, part });
                            }
                        }
                        return false;
                    }
                }
                for (gpu, part) in ground.places(request) {
                    self.packing.add(ground.gpus[*gpu].board, part.profile, 1);
                }
                true
            }
            Holder::Counted(held) => {
                let found = self.packing.room(&self.kinds[kind], count);
                let Some(board) = found else { return false };
                let Some(profile) = self.kinds[kind].wanted[board] else { return false };
                held[request] = Some((board, profile, count));
                self.packing.add(board, profile, count);
                self.weigh(board, profile, count, true);
                true
            }
        }
    }

    /// Takes away all that a request has.
    pub(crate) fn leave(&mut self, request: usize) {
        match &mut self.holder {
            Holder::Placed { ground, mover, .. } => {
                for (gpu, part) in ground.leave(request) {
                    self.packing.take(ground.gpus[gpu].board, part.profile, 1);
                    if let Some(mover) = mover.as_mut() {
                        mover.take(Spot { gpu, part });
                    }
                }
            }
            Holder::Counted(held) => {
                if let Some((board, profile, count)) = held[request].take() {
                    self.packing.take(board, profile, count);
                    self.weigh(board, profile, count, false);
                }
            }
        }
    }

    fn weigh(&mut self, board: usize, profile: GpuInstanceProfileId, count: u32, comes: bool) {
        let weights = self.site.boards()[board].weights(profile);
        let (weight, compute) = (weights.0 * u64::from(count), weights.1 * u64::from(count));
        if comes {
            (self.held, self.compute) = (self.held + weight, self.compute + compute);
        } else {
            (self.held, self.compute) = (self.held - weight, self.compute - compute);
        }
    }

    /// How full the fleet is. One that repacks has no fragments, and on how many GPUs its slices
    /// lie says nothing; the least that could hold them is told.
    pub(crate) fn level(&self) -> Level {
        match &self.holder {
            Holder::Placed { ground, .. } => Level {
                held: ground.held(),
                compute: ground.compute(),
                active: ground.active(),
                fragmentation: ground.fragmentation(&self.shares),
            },
            Holder::Counted(_) => Level {
                held: self.held,
                compute: self.compute,
                active: self.held.div_ceil(WHOLE),
                fragmentation: 0.0,
            },
        }
    }

    /// Running slices that were started elsewhere, and their weight.
    pub(crate) fn moved(&self) -> (u64, u64) {
        match &self.holder {
            Holder::Placed { mover: Some(mover), .. } => mover.moved,
            Holder::Placed { mover: None, .. } | Holder::Counted(_) => (0, 0),
        }
    }

    /// Whether room is kept for somebody.
    pub(crate) fn is_keeping(&self) -> bool {
        matches!(&self.holder, Holder::Placed { ground, .. } if ground.seal.is_some())
    }

    /// Keeps room for a request; see [`Ground::keep`].
    pub(crate) fn keep(
        &mut self,
        kind: usize,
        request: usize,
        ends: impl Fn(usize) -> Option<Timestamp>,
    ) {
        // Whoever moves others makes its room instead of waiting for it.
        if let Holder::Placed { ground, mover: None, .. } = &mut self.holder {
            ground.keep(&self.kinds[kind].wanted, request, ends);
        }
    }

    /// Starts the request that room is kept for, if it is free; which it was.
    pub(crate) fn use_kept(&mut self) -> Option<usize> {
        let Holder::Placed { ground, .. } = &mut self.holder else { return None };
        let request = ground.use_kept()?;
        for (gpu, part) in ground.places(request) {
            self.packing.add(ground.gpus[*gpu].board, part.profile, 1);
        }
        Some(request)
    }

    /// Gives kept room back, if it was kept for this request.
    pub(crate) fn drop_kept_for(&mut self, request: usize) {
        if let Holder::Placed { ground, .. } = &mut self.holder
            && ground.seal.is_some_and(|seal| seal.owner == request)
        {
            ground.unseal();
        }
    }

    /// The GPUs, where slices have places.
    #[cfg(test)]
    pub(crate) fn ground(&self) -> Option<&Ground<'a>> {
        match &self.holder {
            Holder::Placed { ground, .. } => Some(ground),
            Holder::Counted(_) => None,
        }
    }
}
