//! The optimum by brute force: every legal layout of a geometry, as bits over its parts.

use std::collections::BTreeMap;
use std::sync::Arc;

use checker::{Protected, check};
use model::layout::enumerate;
use model::{
    DesiredGpu, Geometry, GpuInstanceProfileId, Layout, NodeSnapshot, PlacedProfile, Plan, Purpose,
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

fn apply() -> Purpose {
    Purpose::Apply("test".into())
}

fn bits(parts: impl Iterator<Item = usize>) -> Bits {
    parts.fold(0, |all, part| all | 1 << part)
}

impl Case {
    /// Held instances that would have to end for a layout, and instances destroyed.
    fn cost(&self, layout: Bits) -> (u32, u32) {
        let there = bits(self.there.iter().map(|(part, _)| *part));
        let held = bits(self.there.iter().filter(|(_, w)| *w != Who::Warm).map(|(p, _)| *p));
        ((held & !layout).count_ones(), (there & !layout).count_ones())
    }

    /// A layout with chosen holders, and another with chosen pins.
    pub(crate) fn new(
        from: Bits,
        to: Bits,
        mut who: impl FnMut() -> Who,
        mut pinned: impl FnMut() -> bool,
    ) -> Self {
        Self {
            there: ones(from).map(|part| (part, who())).collect(),
            wanted: ones(to).map(|part| (part, pinned())).collect(),
        }
    }
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

    fn least(&self, case: &Case) -> Least {
        let cost = |layout: &Bits| case.cost(*layout);
        let (against, destroyed) = self.meeting(case).map(|layout| cost(&layout)).min().unwrap();
        Least { against, destroyed }
    }

    /// Every layout that holds what is wanted.
    fn meeting<'a>(&'a self, case: &'a Case) -> impl Iterator<Item = Bits> + 'a {
        let pinned = bits(case.wanted.iter().filter(|(_, pinned)| *pinned).map(|(part, _)| *part));
        let wanted = bits(case.wanted.iter().map(|(part, _)| *part));
        let alike = &self.alike[&counts(&self.parts, wanted)];
        alike.iter().copied().filter(move |layout| layout & pinned == pinned)
    }

    /// Of the layouts that cost as little, none leaves room for as many of every profile and for
    /// more of one.
    pub(crate) fn no_tie_leaves_more(&self, case: &Case) {
        let least = self.least(case);
        if least.against > 0 {
            return;
        }
        let there = case.there.iter().map(|(part, who)| (self.parts[*part], *who));
        let world = World::new(&self.geometry, &there.collect::<Vec<_>>());
        let machine = node(std::slice::from_ref(&world));
        let (plan, _) = self.plan(&machine, &world, case).unwrap();
        let capacities = |layout: &Layout| -> Vec<u32> {
            let profiles = self.geometry.profiles.iter();
            profiles.map(|profile| layout.capacity(&self.geometry, profile.id)).collect()
        };
        let chosen = execute(&machine, &plan);
        let chosen = Layout::of_gpu(&self.geometry, &chosen.gpus[0]).unwrap();
        let chosen = capacities(&chosen);
        let ties = self.meeting(case).filter(|layout| case.cost(*layout) == (0, least.destroyed));
        for tie in ties {
            let parts = ones(tie).map(|part| self.parts[part]);
            let other = capacities(&Layout::new(&self.geometry, parts).unwrap());
            let dominated = other != chosen && other.iter().zip(&chosen).all(|(o, c)| o >= c);
            assert!(!dominated, "{case:?} {plan:?}: {other:?} is more than {chosen:?}");
        }
    }

    fn plan(
        &self,
        machine: &NodeSnapshot,
        world: &World,
        case: &Case,
    ) -> Result<(Plan, GpuReport), Impossible> {
        let (desired, rules) = (self.desired(case), Rules::default());
        self.planner.plan_gpu(&machine.gpus[0], &world.why(), &desired, &rules, apply())
    }

    fn desired(&self, case: &Case) -> DesiredGpu {
        let wanted = case.wanted.iter().map(|(part, at_its_place)| {
            let wanted = if *at_its_place { pinned } else { anywhere };
            wanted(&self.geometry, self.parts[*part])
        });
        DesiredGpu::Exactly(wanted.collect())
    }

    /// Plans a case, holds the answer against brute force, has the checker prove the plan, and
    /// executes it.
    pub(crate) fn judge(&self, case: &Case) {
        let there = case.there.iter().map(|(part, who)| (self.parts[*part], *who));
        let worlds = [World::new(&self.geometry, &there.collect::<Vec<_>>())];
        let machine = node(&worlds);
        let found = self.plan(&machine, &worlds[0], case);
        let least = self.least(case);
        match found {
            Ok((plan, report)) => {
                assert_eq!(least.against, 0, "{case:?} {report:?}");
                assert_eq!(report.destroyed().count() as u32, least.destroyed, "{case:?}");
                let stays = case.there.len() - report.destroyed().count();
                assert_eq!(report.created().count(), case.wanted.len() - stays, "{case:?}");
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
                // One case in four is enough.
                if case.there.iter().map(|(part, _)| part).sum::<usize>().is_multiple_of(4) {
                    self.done_in_parts(case, &worlds, blockers.len());
                }
            }
            Err(error) => panic!("{case:?}: {error:?}"),
        }
    }

    /// What can be done at once is done, and the rest when those in the way are gone.
    fn done_in_parts(&self, case: &Case, worlds: &[World; 1], in_the_way: usize) {
        let machine = node(worlds);
        let (desired, rules) = (self.desired(case), Rules::default());
        let held = worlds[0].why();
        let now = self.planner.plan_part(&machine.gpus[0], &held, &desired, &rules, apply());
        let now = now.unwrap();
        assert_eq!(now.rest.len(), in_the_way);
        untouched(&worlds[0], &now.report);
        let proof = check(&now.plan, &machine, &protected(worlds)).unwrap();
        let mut half = execute(&machine, &now.plan);
        assert_eq!(proof.matches(&half), Ok(()));
        for compute in half.gpus[0].instances.iter_mut().flat_map(|i| &mut i.compute_instances) {
            compute.processes.clear();
        }
        let idle = BTreeMap::new();
        let rest = self.planner.plan_gpu(&half.gpus[0], &idle, &desired, &rules, apply());
        let (plan, report) = rest.unwrap();
        assert!(report.destroyed().count() <= in_the_way, "{case:?} {:?} {plan:?}", now.plan);
        assert!(check(&plan, &half, &Protected::nothing()).is_ok());
        self.met(case, &parts_of(&execute(&half, &plan).gpus[0]));
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
