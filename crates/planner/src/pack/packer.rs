//! The answers: whether a multiset fits, how many GPUs it needs, and how it lies there.
//!
//! Must never depend on the name of a board: everything follows from the geometry's layouts.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use model::{Geometry, Layout};

use super::bounds::{Bound, bounds};
use super::demand::Demand;
use super::patterns::Patterns;
use super::peel::peel;
use super::proof::decomposes;

/// Packs instances on GPUs of one geometry, exactly.
#[derive(Debug, Clone)]
pub struct Packer {
    geometry: Arc<Geometry>,
    patterns: Patterns,
    bounds: Vec<Bound>,
    sufficient: bool,
}

impl Packer {
    /// Enumerates the patterns of a geometry, works out the bounds and proves whether they are
    /// sufficient. Tens of milliseconds for the largest boards; keep it.
    pub fn new(geometry: &Arc<Geometry>) -> Self {
        let patterns = Patterns::new(geometry);
        let maximal = vectors(&patterns);
        let whole = bounds(&maximal, geometry.profiles.len());
        let sufficient = whole.as_ref().is_some_and(|bounds| decomposes(&maximal, bounds));
        let single = || singles(&maximal, geometry.profiles.len());
        let bounds = whole.unwrap_or_else(single);
        Self { geometry: Arc::clone(geometry), patterns, bounds, sufficient }
    }

    /// The geometry it packs.
    pub const fn geometry(&self) -> &Arc<Geometry> {
        &self.geometry
    }

    /// The maximal ways to fill one GPU.
    pub const fn patterns(&self) -> &Patterns {
        &self.patterns
    }

    /// What everything that fits obeys. Any linear question (how much of a profile still fits
    /// beside others, a relaxation of a larger problem) can be asked of these.
    pub fn bounds(&self) -> &[Bound] {
        &self.bounds
    }

    /// Whether [`Packer::bounds`] are proved sufficient: then [`Packer::fits`] and
    /// [`Packer::min_gpus`] cost a few multiplications whatever the counts. Otherwise every answer
    /// is searched for, exact all the same, but at a cost that may grow with the counts. It is true
    /// of every board of the catalog.
    pub const fn is_closed(&self) -> bool {
        self.sufficient
    }

    /// Whether these instances fit so many GPUs, laid out anew. A profile that the geometry does not
    /// have, or has no place for, does not fit.
    pub fn fits(&self, demand: &Demand, gpus: u64) -> bool {
        let Some(counts) = self.known(demand) else { return false };
        let obeyed = self.bounds.iter().all(|bound| bound.admits(counts, gpus));
        obeyed && (self.sufficient || self.filled(counts, gpus).is_some())
    }

    /// The fewest GPUs that these instances fit; `None` where one of them fits no GPU at all.
    pub fn min_gpus(&self, demand: &Demand) -> Option<u64> {
        let counts = self.known(demand)?;
        let least = self
            .bounds
            .iter()
            .try_fold(0, |most: u64, bound| bound.least_gpus(counts).map(|gpus| most.max(gpus)))?;
        if self.sufficient {
            return Some(least);
        }
        (least..=u64::MAX).find(|gpus| self.filled(counts, *gpus).is_some())
    }

    /// Layouts that hold exactly these instances on the fewest GPUs, grouped: so many GPUs with each
    /// layout, ascending by layout; GPUs that stay empty are not listed. `None` if they do not fit
    /// `gpus` GPUs.
    pub fn witness(&self, demand: &Demand, gpus: u64) -> Option<Vec<(u64, Layout)>> {
        let least = self.min_gpus(demand).filter(|least| *least <= gpus)?;
        let filled = self.filled(self.known(demand)?, least)?;
        let mut groups: BTreeMap<Layout, u64> = BTreeMap::new();
        for (count, counts) in filled {
            *groups.entry(self.layout(&counts)?).or_insert(0) += count;
        }
        Some(groups.into_iter().map(|(layout, count)| (count, layout)).collect())
    }

    /// The counts of the geometry's profiles; `None` if there is something else.
    fn known<'a>(&self, demand: &'a Demand) -> Option<&'a [u64]> {
        let (known, other) = demand
            .counts()
            .split_at_checked(self.geometry.profiles.len())
            .unwrap_or((demand.counts(), &[]));
        other.iter().all(|count| *count == 0).then_some(known)
    }

    fn filled(&self, counts: &[u64], gpus: u64) -> Option<Vec<(u64, Vec<u64>)>> {
        peel(&vectors(&self.patterns), &self.bounds, counts, gpus)
    }

    /// A layout with exactly these instances: of a pattern that has them, without what is too much.
    fn layout(&self, counts: &[u64]) -> Option<Layout> {
        let holds = |pattern: &[u8]| pattern.iter().zip(counts).all(|(p, c)| u64::from(*p) >= *c);
        let pattern = self.patterns.maximal().iter().find(|pattern| holds(&pattern.counts))?;
        let mut left: Vec<u64> = counts.to_vec();
        let mut layout = pattern.layout.clone();
        for part in pattern.layout.placed() {
            let profile = self.geometry.profiles.iter().position(|p| p.id == part.profile)?;
            match left.get_mut(profile).filter(|left| **left > 0) {
                Some(left) => *left -= 1,
                None => layout = layout.without(*part),
            }
        }
        Some(layout)
    }
}

fn vectors(patterns: &Patterns) -> Vec<&[u8]> {
    patterns.maximal().iter().map(|pattern| pattern.counts.as_slice()).collect()
}

/// Bounds that hold in any case: no more of one profile than a GPU holds of it alone.
fn singles(maximal: &[&[u8]], profiles: usize) -> Vec<Bound> {
    let bound = |profile: usize| Bound {
        capacity: maximal.iter().map(|pattern| u64::from(pattern[profile])).max().unwrap_or(0),
        weights: (0..profiles).map(|other| u64::from(other == profile)).collect(),
    };
    (0..profiles).map(bound).collect()
}
