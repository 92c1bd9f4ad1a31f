//! The optimum by brute force: every legal layout of a geometry, as bits over its parts.

use std::collections::BTreeMap;
use std::sync::Arc;

use checker::check;
use model::layout::enumerate;
use model::{
    DesiredGpu, DesiredInstance, Geometry, GpuInstanceProfileId, Layout, PlacedProfile, Purpose,
};
use planner::{Fate, GpuReport, Impossible, Planner, Rules};

use crate::world::*;

/// A layout as bits over [`Board::parts`].
pub(crate) type Bits = u64;

type Counts = BTreeMap<GpuInstanceProfileId, u32>;

/// A geometry with all its layouts.
pub(crate) struct Board {
    pub(crate) geometry: Arc<Geometry>,
    planner: Planner,
    pub(crate) parts: Vec<PlacedProfile>,
    pub(crate) layouts: Vec<Bits>,
    alike: BTreeMap<Counts, Vec<Bits>>,
}

/// What brute force says of one desire.
#[derive(Debug, PartialEq, Eq)]
struct Least {
    /// Held instances that would have to end.
    against: u32,
    /// Instances destroyed when that many end.
    destroyed: u32,
}

/// What lies on a GPU, and what is wanted of it: parts with or without their places.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) there: Vec<(usize, Who)>,
    pub(crate) wanted: Vec<(usize, bool)>,
}

fn ones(bits: Bits) -> impl Iterator<Item = usize> {
    (0..64).filter(move |bit| bits >> bit & 1 == 1)
}

impl Board {
    pub(crate) fn new(geometry: Geometry) -> Self {
        let geometry = Arc::new(geometry);
        let layouts = enumerate(&geometry, |_| true);
        let mut parts: Vec<PlacedProfile> =
            layouts.iter().flat_map(|layout| layout.placed().iter().copied()).collect();
        parts.sort_unstable();
        parts.dedup();
        assert!(parts.len() <= 64);
        let bits = |layout: &Layout| {
            let bit = |part| 1 << parts.binary_search(part).unwrap();
            layout.placed().iter().map(bit).fold(0, |bits: Bits, bit: Bits| bits | bit)
        };
        let all: Vec<Bits> = layouts.iter().map(bits).collect();
        let mut alike: BTreeMap<Counts, Vec<Bits>> = BTreeMap::new();
        for layout in &all {
            alike.entry(counts(&parts, *layout)).or_default().push(*layout);
        }
        let mut planner = Planner::new();
        planner.learn(&geometry);
        Self { geometry, planner, parts, layouts: all, alike }
    }

    pub(crate) fn of(id: &str) -> Self {
        Self::new((*geometry(id)).clone())
    }

    pub(crate) fn plain(id: &str) -> Self {
        let mut geometry = (*geometry(id)).clone();
        let plain: Vec<_> = geometry.plain_profiles().map(|profile| profile.id).collect();
        geometry.profiles.retain(|profile| plain.contains(&profile.id));
        Self::new(geometry)
    }

    /// A layout with chosen holders, and another with chosen pins.
    pub(crate) fn case(
        &self,
        from: Bits,
        to: Bits,
        mut who: impl FnMut() -> Who,
        mut pinned: impl FnMut() -> bool,
    ) -> Case {
        Case {
            there: ones(from).map(|part| (part, who())).collect(),
            wanted: ones(to).map(|part| (part, pinned())).collect(),
        }
    }

    fn least(&self, case: &Case) -> Least {
        let bits =
            |parts: &mut dyn Iterator<Item = usize>| parts.fold(0, |all, part| all | 1 << part);
        let there: Bits = bits(&mut case.there.iter().map(|(part, _)| *part));
        let held: Bits = bits(
            &mut case.there.iter().filter(|(_, who)| *who != Who::Warm).map(|(part, _)| *part),
        );
        let pinned: Bits =
            bits(&mut case.wanted.iter().filter(|(_, pinned)| *pinned).map(|(part, _)| *part));
        let wanted: Bits = bits(&mut case.wanted.iter().map(|(part, _)| *part));
        let alike = &self.alike[&counts(&self.parts, wanted)];
        let fits = alike.iter().filter(|layout| **layout & pinned == pinned);
        let cost = |layout: &Bits| ((held & !layout).count_ones(), (there & !layout).count_ones());
        let (against, destroyed) = fits.map(cost).min().unwrap();
        Least { against, destroyed }
    }

    /// Plans a case, holds the answer against brute force, has the checker prove the plan, and
    /// executes it.
    pub(crate) fn judge(&self, case: &Case) {
        let there = case.there.iter().map(|(part, who)| (self.parts[*part], *who));
        let worlds = [World::new(&self.geometry, &there.collect::<Vec<_>>())];
        let machine = node(&worlds);
        let wanted = case.wanted.iter().map(|(part, at_its_place)| {
            let wanted = if *at_its_place { pinned } else { anywhere };
            wanted(&self.geometry, self.parts[*part])
        });
        let wanted: Vec<DesiredInstance> = wanted.collect();
        let desired = DesiredGpu::Exactly(wanted.clone());
        let purpose = Purpose::Apply("test".into());
        let (gpu, rules) = (&machine.gpus[0], Rules::default());
        let found = self.planner.plan_gpu(gpu, &worlds[0].why(), &desired, &rules, purpose);
        let least = self.least(case);
        match found {
            Ok((plan, report)) => {
                assert_eq!(least.against, 0, "{case:?} {report:?}");
                assert_eq!(report.destroyed().count() as u32, least.destroyed, "{case:?}");
                let stays = case.there.len() - report.destroyed().count();
                assert_eq!(report.created().count(), wanted.len() - stays, "{case:?}");
                untouched(&worlds[0], &report);
                let proof = check(&plan, &machine, &protected(&worlds)).unwrap();
                let after = execute(&machine, &plan);
                assert_eq!(proof.matches(&after), Ok(()));
                self.met(case, &parts_of(&after.gpus[0]));
            }
            Err(Impossible::Blocked { blockers, best, .. }) => {
                assert_ne!(least.against, 0, "{case:?} {blockers:?}");
                assert_eq!(blockers.len() as u32, least.against, "{case:?} {blockers:?}");
                for blocker in &blockers {
                    let id = blocker.instance.unwrap().get() as usize;
                    assert_ne!(case.there[id - 1].1, Who::Warm, "{case:?} {blockers:?}");
                    assert!(!blocker.held.is_nobody());
                }
                let missing: u32 = best.missing.iter().map(|missing| missing.count).sum();
                assert!(missing > 0 || !blockers.is_empty());
                assert!(Layout::new(&self.geometry, best.target.iter().copied()).is_ok());
            }
            Err(error) => panic!("{case:?}: {error:?}"),
        }
    }

    fn met(&self, case: &Case, after: &[PlacedProfile]) {
        let wanted = case.wanted.iter().fold(0, |all, (part, _)| all | 1 << part);
        let found = after.iter().fold(0, |all: Bits, part| {
            all | 1 << self.parts.binary_search(part).expect("a part of the geometry")
        });
        assert_eq!(counts(&self.parts, found), counts(&self.parts, wanted), "{case:?}");
        for (part, pinned) in &case.wanted {
            assert!(!pinned || found >> part & 1 == 1, "{case:?}");
        }
    }
}

fn counts(parts: &[PlacedProfile], layout: Bits) -> Counts {
    ones(layout).fold(Counts::new(), |mut counts, part| {
        *counts.entry(parts[part].profile).or_insert(0) += 1;
        counts
    })
}

/// Whatever is held stays as it is, and the report says so.
fn untouched(world: &World, report: &GpuReport) {
    for (instance, (part, who)) in report.instances.iter().zip(&world.parts) {
        assert_eq!(instance.part(), *part);
        assert_eq!(instance.held.is_some(), *who != Who::Warm);
        assert!(*who == Who::Warm || instance.is_untouched());
        assert_ne!(instance.fate, Fate::Comes);
    }
}

/// Numbers by a seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, sides: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let high = (self.0 >> 32) as usize;
        high % sides
    }

    pub(crate) fn who(&mut self) -> Who {
        match self.below(5) {
            0 => Who::Busy,
            1 => Who::Leased,
            _ => Who::Warm,
        }
    }
}
