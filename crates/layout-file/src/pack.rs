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
