//! Compute instances into GPU instances, as mig-parted does it.
//!
//! mig-parted sorts what is wanted by G, then C, then attributes, all descending, and gives each
//! compute instance to the GPU instance made last if that has the same profile and room, else makes
//! a new one. Where the board does not take the outcome it goes through other orders; so the
//! tightest packing is the second choice here. Must never place anything.

use model::{
    ComputeInstanceProfile, DesiredCompute, DesiredInstance, Geometry, GpuInstanceProfile,
};

use crate::fit::{Wanted, board_holds, instance_holds};

/// A MIG device that is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part<'a> {
    pub(crate) instance: &'a GpuInstanceProfile,
    pub(crate) compute: &'a ComputeInstanceProfile,
}

/// How the parts were packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    /// In the order that mig-parted tries first.
    First,
    /// Tighter: the board does not hold the first one.
    Tight,
    /// In the first order; the board holds no packing of them.
    TooMuch,
}

/// A GPU instance under way.
struct Bin<'a> {
    instance: &'a GpuInstanceProfile,
    computes: Vec<&'a ComputeInstanceProfile>,
}

impl<'a> Bin<'a> {
    fn takes(&self, part: Part<'a>) -> bool {
        let joined = self.computes.iter().copied().chain([part.compute]);
        self.instance.id == part.instance.id
            && instance_holds(&joined.map(|compute| (compute, None)).collect::<Vec<_>>())
    }
}

/// The GPU instances that hold `parts`.
pub(crate) fn pack(
    geometry: &Geometry,
    mut parts: Vec<Part<'_>>,
) -> (Vec<DesiredInstance>, Packing) {
    parts.sort_by_key(|part| {
        let attributes = part.instance.name.attributes.to_string();
        std::cmp::Reverse((
            part.instance.name.slices,
            part.compute.slices,
            attributes,
            part.instance.id,
        ))
    });
    let first = fill(&parts, |bins| bins.len().saturating_sub(1)..bins.len());
    if holds(geometry, &first) {
        return (desired(&first), Packing::First);
    }
    let tight = fill(&parts, |bins| 0..bins.len());
    if tight.len() < first.len() && holds(geometry, &tight) {
        return (desired(&tight), Packing::Tight);
    }
    (desired(&first), Packing::TooMuch)
}

fn fill<'a>(
    parts: &[Part<'a>],
    open: impl Fn(&[Bin<'a>]) -> std::ops::Range<usize>,
) -> Vec<Bin<'a>> {
    let mut bins: Vec<Bin<'a>> = Vec::new();
    for part in parts {
        let range = open(&bins);
        match bins[range].iter_mut().find(|bin| bin.takes(*part)) {
            Some(bin) => bin.computes.push(part.compute),
            None => bins.push(Bin { instance: part.instance, computes: vec![part.compute] }),
        }
    }
    bins
}

fn holds(geometry: &Geometry, bins: &[Bin<'_>]) -> bool {
    let wanted: Vec<Wanted<'_>> = bins.iter().map(|bin| (bin.instance, None)).collect();
    board_holds(geometry, &wanted)
}

fn desired(bins: &[Bin<'_>]) -> Vec<DesiredInstance> {
    let instance = |bin: &Bin<'_>| DesiredInstance {
        profile: bin.instance.id,
        placement: None,
        computes: bin
            .computes
            .iter()
            .map(|compute| DesiredCompute { profile: compute.id, placement: None })
            .collect(),
    };
    bins.iter().map(instance).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The bins of the first order of `parts` that the board holds, as mig-parted finds it: unique
    /// permutations by swapping, each filled with no look back beyond the last GPU instance.
    fn by_trial<'a>(
        geometry: &Geometry,
        parts: &mut Vec<Part<'a>>,
        at: usize,
    ) -> Option<Vec<Bin<'a>>> {
        if at == parts.len() {
            let bins = fill(parts, |bins| bins.len().saturating_sub(1)..bins.len());
            return holds(geometry, &bins).then_some(bins);
        }
        let mut tried = BTreeSet::new();
        for other in at..parts.len() {
            if tried.insert((parts[other].instance.id, parts[other].compute.id)) {
                parts.swap(at, other);
                let found = by_trial(geometry, parts, at + 1);
                parts.swap(at, other);
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    #[test]
    fn what_mig_parted_can_reach_by_trial_is_reached() {
        let mut seed = 3_u64;
        let mut below = |bound: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as usize % bound
        };
        let (mut first, mut tight, mut too_much) = (0, 0, 0);
        for id in ["a100-sxm4-40gb", "a30", "rtx-pro-6000-bse", "h100-sxm5-80gb"] {
            let geometry = model::catalog::board(id).unwrap().geometry();
            for _ in 0..300 {
                let mut parts: Vec<Part<'_>> = Vec::new();
                let kinds = [below(geometry.profiles.len()), below(geometry.profiles.len())];
                for _ in 0..=below(5) {
                    let instance = &geometry.profiles[kinds[below(2)]];
                    let lowest = |compute: &&ComputeInstanceProfile| {
                        let same = instance.compute_profiles.iter();
                        let same = same.filter(|other| other.slices == compute.slices);
                        same.map(|other| other.id).min() == Some(compute.id)
                    };
                    let computes: Vec<_> =
                        instance.compute_profiles.iter().filter(lowest).collect();
                    parts.push(Part { instance, compute: computes[below(computes.len())] });
                }
                let (instances, packing) = pack(&geometry, parts.clone());
                let reached = by_trial(&geometry, &mut parts, 0);
                assert_eq!(reached.is_some(), packing != Packing::TooMuch, "{id} {parts:#?}");
                match packing {
                    Packing::First => first += 1,
                    Packing::Tight => tight += 1,
                    Packing::TooMuch => too_much += 1,
                }
                if packing == Packing::Tight {
                    assert!(reached.is_some_and(|bins| bins.len() >= instances.len()));
                }
            }
        }
        assert!(first > 200 && tight > 0 && too_much > 50, "{first} {tight} {too_much}");
    }
}
