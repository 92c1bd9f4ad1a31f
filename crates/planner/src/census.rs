//! A fleet counted by what its GPUs look like, so that a decision costs the same for a hundred
//! GPUs and for a million.
//!
//! Kept up to date by whoever owns the fleet: one call per change of a GPU. Must never scan GPUs.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use model::{Geometry, GpuInstanceProfileId, PlacedProfile, Timestamp};

use crate::forecast::Forecast;
use crate::lasting::Delay;
use crate::policy::Policy;
use crate::rank::{Candidate, Rank, Ranking};
use crate::room::Standing;
use crate::scar::Pool;
use crate::tables::{ClassId, GeometryTables};

/// Where a slice goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CensusChoice {
    /// The number of the GPU.
    pub gpu: usize,
    /// The slice: profile and placement.
    pub part: PlacedProfile,
}

/// GPUs of one or more geometries, without warm slices, grouped by class.
#[derive(Debug, Clone)]
pub struct Census {
    tables: Vec<Arc<GeometryTables>>,
    pools: Vec<Pool>,
    /// By board and class; no empty groups.
    groups: BTreeMap<(usize, ClassId), Group>,
    /// By number, where that is known: when the last of what lies on a GPU ends.
    ends: BTreeMap<usize, Timestamp>,
}

/// GPUs that look alike.
#[derive(Debug, Clone, Default)]
struct Group {
    gpus: BTreeSet<usize>,
    /// The lowest number, at hand: finding it in a large set takes longer than ranking it.
    lowest: usize,
    /// By end, those whose end is known.
    ends: BTreeSet<(Timestamp, usize)>,
}

impl Group {
    /// The first in turn, from number `begin` on and then from the lowest.
    fn first(&self, begin: usize) -> usize {
        if begin <= self.lowest {
            return self.lowest;
        }
        self.gpus.range(begin..).next().copied().unwrap_or(self.lowest)
    }

    /// The one that a slice until then keeps in use least longer, and its end: the first that ends no
    /// earlier, else one of those that end last.
    fn least_delayed(&self, until: Timestamp) -> Option<(Timestamp, usize)> {
        let later = self.ends.range((until, 0)..).next();
        let (end, _) = later.or_else(|| self.ends.last())?;
        // Of those that end together the lowest number.
        self.ends.range((*end, 0)..).next().copied()
    }

    fn settle(&mut self) {
        self.lowest = self.gpus.first().copied().unwrap_or_default();
    }
}

impl Census {
    /// A fleet without GPUs on boards of these geometries, with a forecast that holds until the
    /// next [`Census::expect`].
    pub fn new(tables: Vec<Arc<GeometryTables>>, forecast: &Forecast) -> Self {
        let pools = tables.iter().map(|tables| Pool::new(tables, forecast)).collect();
        Self { tables, pools, groups: BTreeMap::new(), ends: BTreeMap::new() }
    }

    /// Takes a new forecast; costs a pass over the groups.
    pub fn expect(&mut self, forecast: &Forecast) {
        self.pools = self.tables.iter().map(|tables| Pool::new(tables, forecast)).collect();
        for ((board, class), group) in &self.groups {
            self.pools[*board].add(&self.tables[*board], *class, group.gpus.len() as u32);
        }
    }

    /// The geometry of a board, by its index in the list given to [`Census::new`].
    pub fn geometry(&self, board: usize) -> &Arc<Geometry> {
        self.tables[board].geometry()
    }

    /// Adds GPU number `gpu` in a class.
    pub fn add(&mut self, gpu: usize, board: usize, class: ClassId) {
        let group = self.groups.entry((board, class)).or_default();
        if group.gpus.insert(gpu) {
            group.settle();
            self.pools[board].add(&self.tables[board], class, 1);
        }
    }

    /// The same for a GPU of which is known when the last of what lies there ends.
    pub fn add_until(&mut self, gpu: usize, board: usize, class: ClassId, end: Option<Timestamp>) {
        self.add(gpu, board, class);
        if let (Some(end), Some(group)) = (end, self.groups.get_mut(&(board, class))) {
            group.ends.insert((end, gpu));
            self.ends.insert(gpu, end);
        }
    }

    /// Takes GPU number `gpu` out of a class; nothing happens if it is not there.
    pub fn remove(&mut self, gpu: usize, board: usize, class: ClassId) {
        let Some(group) = self.groups.get_mut(&(board, class)) else { return };
        if group.gpus.remove(&gpu) {
            group.settle();
            if let Some(end) = self.ends.remove(&gpu) {
                group.ends.remove(&(end, gpu));
            }
            self.pools[board].remove(&self.tables[board], class);
        }
        if group.gpus.is_empty() {
            self.groups.remove(&(board, class));
        }
    }

    /// Number of groups in use.
    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// Where one more slice goes. `wanted[board]` is the profile that answers there. `None` when
    /// there is no free placement.
    pub fn choose(
        &self,
        policy: Policy,
        wanted: &[Option<GpuInstanceProfileId>],
    ) -> Option<CensusChoice> {
        self.choose_until(policy, wanted, None)
    }

    /// The same for a slice that ends at `until`: between places that are equally good it goes where it
    /// puts off least that the GPU becomes empty.
    pub fn choose_until(
        &self,
        policy: Policy,
        wanted: &[Option<GpuInstanceProfileId>],
        until: Option<Timestamp>,
    ) -> Option<CensusChoice> {
        let until = until.filter(|_| policy.goes_by_ends());
        let tables: Vec<&GeometryTables> = self.tables.iter().map(AsRef::as_ref).collect();
        let ranking = Ranking::new(policy, &self.pools, &tables);
        let mut best: Option<(Rank, PlacedProfile)> = None;
        for ((board, class), group) in &self.groups {
            let Some(profile) = wanted.get(*board).copied().flatten() else { continue };
            let least = until.and_then(|until| group.least_delayed(until));
            let room = least.map_or_else(|| group.first(policy.begin()), |(_, gpu)| gpu);
            let of = |until| Delay::of(until, least.map(|(end, _)| end));
            let delay = until.map_or_else(Delay::default, of);
            let (board, tables) = (*board, tables[*board]);
            let standing = Standing { held: *class, full: *class };
            for part in tables.parts_of(profile) {
                let Some(to) = tables.after(*class, part) else { continue };
                let candidate = Candidate { board, room, standing, part, to, evictions: 0, delay };
                let rank = ranking.of(tables, &candidate);
                if best.as_ref().is_none_or(|(known, _)| rank.order(known).is_lt()) {
                    best = Some((rank, tables.part(part)));
                }
            }
        }
        best.map(|(rank, part)| CensusChoice { gpu: rank.room(), part })
    }
}
