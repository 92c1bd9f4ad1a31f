//! Whole-GPU targets against a search that goes the other way round: over all layouts of the
//! geometry, not over placements of what is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use checker::check;
use model::layout::enumerate;
use model::{Geometry, GpuInstanceId, GpuInstanceProfileId, Layout, PlacedProfile, Purpose};
use planner::{Desired, Impossible, Planner, Report};
use proptest::prelude::*;

use crate::world::*;

type Counts = BTreeMap<GpuInstanceProfileId, u32>;

fn counts(parts: &[PlacedProfile]) -> Counts {
    parts.iter().fold(Counts::new(), |mut counts, part| {
        *counts.entry(part.profile).or_insert(0) += 1;
        counts
    })
}

fn purpose() -> Purpose {
    Purpose::Apply("test".into())
}

/// The layouts of a geometry by what they hold.
struct Shapes {
    geometry: Arc<Geometry>,
    planner: Planner,
    layouts: Vec<Layout>,
    by_counts: BTreeMap<Counts, Vec<Layout>>,
}

impl Shapes {
    fn new(geometry: Geometry) -> Self {
        let geometry = Arc::new(geometry);
        let layouts = enumerate(&geometry, |_| true);
        let mut by_counts: BTreeMap<Counts, Vec<Layout>> = BTreeMap::new();
        for layout in &layouts {
            by_counts.entry(counts(layout.placed())).or_default().push(layout.clone());
        }
        let mut planner = Planner::new();
        planner.learn(&geometry);
        Self { geometry, planner, layouts, by_counts }
    }

    fn a30() -> Self {
        Self::new((*geometry("a30")).clone())
    }

    fn plain_eight() -> Self {
        let mut geometry = (*a100()).clone();
        let plain: Vec<_> = geometry.plain_profiles().map(|profile| profile.id).collect();
        geometry.profiles.retain(|profile| plain.contains(&profile.id));
        Self::new(geometry)
    }

    /// The least that must be destroyed and created, over all layouts; `None` when none will do.
    fn least<'a>(
        &'a self,
        world: &World,
        desired: &Counts,
    ) -> Option<(usize, usize, Vec<&'a Layout>)> {
        let there: BTreeSet<PlacedProfile> = world.parts.iter().map(|(part, _)| *part).collect();
        let fixed: Vec<PlacedProfile> = world.layout_of(false).placed().to_vec();
        let cost = |layout: &&Layout| {
            let target: BTreeSet<PlacedProfile> = layout.placed().iter().copied().collect();
            (there.difference(&target).count(), target.difference(&there).count())
        };
        let fits = |layout: &&Layout| fixed.iter().all(|part| layout.placed().contains(part));
        let all: Vec<&Layout> = self.by_counts.get(desired)?.iter().filter(fits).collect();
        let (destroyed, created) = all.iter().map(cost).min()?;
        Some((
            destroyed,
            created,
            all.into_iter().filter(|l| cost(l) == (destroyed, created)).collect(),
        ))
    }

    fn judge(&self, world: &World, desired: &Counts) {
        let worlds = [world.clone()];
        let machine = node(&worlds);
        let wish = Desired::Counts(desired.clone());
        let found = self.planner.plan_target(&machine.gpus[0], &world.leased(), &wish, purpose());
        let least = self.least(world, desired);
        match (found, least) {
            (Ok((plan, report)), Some((destroyed, created, ties))) => {
                assert_eq!(report.destroyed.len(), destroyed, "{world:?} {desired:?} {report:?}");
                assert_eq!(report.created.len(), created, "{world:?} {desired:?} {report:?}");
                assert_eq!(&counts(&report.target), desired);
                let proof = check(&plan, &machine, &protected(&worlds)).unwrap();
                let after = execute(&machine, &plan);
                assert_eq!(proof.matches(&after), Ok(()));
                assert_eq!(parts_of(&after.gpus[0]), report.target);
                self.no_tie_leaves_more(&report, &ties);
            }
            (Err(Impossible::Blocked { blockers, .. }), None) => {
                assert!(self.by_counts.contains_key(desired));
                assert!(blockers.iter().all(|id| world.fixed().contains(id)));
                assert_eq!(blockers.len(), self.fewest_blockers(world, desired));
            }
            (Err(Impossible::TooMuch { .. }), None) => {
                assert!(!self.by_counts.contains_key(desired));
            }
            (found, least) => panic!("{world:?} {desired:?}: {found:?}, not {least:?}"),
        }
    }

    /// No target of the same cost leaves room for more of every profile, or for as many of each
    /// and more of one.
    fn no_tie_leaves_more(&self, report: &Report, ties: &[&Layout]) {
        let capacities = |layout: &Layout| -> Vec<u32> {
            let profiles = self.geometry.profiles.iter();
            profiles.map(|profile| layout.capacity(&self.geometry, profile.id)).collect()
        };
        let chosen = Layout::new(&self.geometry, report.target.iter().copied()).unwrap();
        let chosen = capacities(&chosen);
        for tie in ties {
            let other = capacities(tie);
            let dominated = other != chosen && other.iter().zip(&chosen).all(|(o, c)| o >= c);
            assert!(!dominated, "{report:?} leaves less than {tie:?}");
        }
    }

    /// The fewest untouchable instances that must end, by trying every set of them.
    fn fewest_blockers(&self, world: &World, desired: &Counts) -> usize {
        let fixed: Vec<usize> =
            (0..world.parts.len()).filter(|i| world.parts[*i].1 != Who::Warm).collect();
        let sets = (0..1u32 << fixed.len()).filter(|set| {
            let mut freed = world.clone();
            for (bit, index) in fixed.iter().enumerate() {
                if set >> bit & 1 == 1 {
                    freed.parts[*index].1 = Who::Warm;
                }
            }
            self.least(&freed, desired).is_some()
        });
        sets.map(|set| set.count_ones() as usize).min().unwrap()
    }
}

fn who(bits: u32, index: usize) -> Who {
    match bits >> (2 * index) & 3 {
        0 => Who::Busy,
        1 => Who::Leased,
        _ => Who::Warm,
    }
}

/// Every layout of the A30, every set of untouchable instances on it, every desire.
#[test]
fn a30_is_planned_with_the_least_disruption() {
    let shapes = Shapes::a30();
    for layout in &shapes.layouts {
        let parts = layout.placed();
        for fixed in 0..1u32 << parts.len() {
            let holder = |i: usize| if fixed >> i & 1 == 1 { Who::Leased } else { Who::Warm };
            let parts: Vec<_> =
                parts.iter().enumerate().map(|(i, part)| (*part, holder(i))).collect();
            let world = World::new(&shapes.geometry, &parts);
            for desired in shapes.by_counts.keys() {
                shapes.judge(&world, desired);
            }
        }
    }
}

/// Every pair of plain layouts of the eight-unit grid, with one seeded set of holders for each.
#[test]
fn the_eight_grid_is_planned_with_the_least_disruption() {
    let shapes = Shapes::plain_eight();
    assert_eq!((shapes.layouts.len(), shapes.by_counts.len()), (298, 38));
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for layout in &shapes.layouts {
        for desired in shapes.by_counts.keys() {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let bits = (seed >> 40) as u32;
            let parts = layout.placed().iter().enumerate();
            let parts: Vec<_> = parts.map(|(i, part)| (*part, who(bits, i))).collect();
            shapes.judge(&World::new(&shapes.geometry, &parts), desired);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// On every geometry: a desire by exact places is met as it stands or the ones in the way are
    /// exactly the untouchable ones outside it.
    #[test]
    fn exact_places_are_met_or_blocked(worlds in worlds(2)) {
        let world = &worlds[0];
        let other = &worlds[worlds.len() - 1];
        prop_assume!(Arc::ptr_eq(&world.geometry, &other.geometry));
        let desired: BTreeSet<PlacedProfile> = other.parts.iter().map(|(part, _)| *part).collect();
        let machine = node(&worlds);
        let wish = Desired::Exact(desired.clone());
        let found =
            planner().plan_target(&machine.gpus[0], &world.leased(), &wish, purpose());
        let outside: Vec<GpuInstanceId> = world
            .fixed()
            .into_iter()
            .filter(|id| !desired.contains(&world.parts[id.get() as usize - 1].0))
            .collect();
        match found {
            Ok((plan, report)) => {
                prop_assert!(outside.is_empty());
                prop_assert_eq!(report.target, desired.into_iter().collect::<Vec<_>>());
                prop_assert!(check(&plan, &machine, &protected(&worlds)).is_ok());
                let expected = parts_of(&World::snapshot(other, 0));
                prop_assert_eq!(parts_of(&execute(&machine, &plan).gpus[0]), expected);
            }
            Err(Impossible::Blocked { blockers, best, .. }) => {
                prop_assert_eq!(blockers, outside);
                let fixed = world.layout_of(false);
                prop_assert!(fixed.placed().iter().all(|part| best.target.contains(part)));
                prop_assert!(Layout::new(&world.geometry, best.target.iter().copied()).is_ok());
                let reached = best.target.iter().filter(|part| desired.contains(part)).count();
                let missing: u32 = best.missing.values().sum();
                prop_assert_eq!(reached + missing as usize, desired.len());
            }
            Err(error) => return Err(TestCaseError::fail(format!("{error:?}"))),
        }
    }

    /// Room is made by destroying as few idle instances as possible, and nothing is created.
    #[test]
    fn room_is_made_with_the_fewest_destroyed(
        worlds in worlds(1), index in 0usize..16, count in 1u32..4,
    ) {
        let world = &worlds[0];
        let (_, profile) = want(&worlds, index);
        let machine = node(&worlds);
        let wish = Desired::Room { profile, count };
        let found = planner().plan_target(&machine.gpus[0], &world.leased(), &wish, purpose());
        let warm: Vec<PlacedProfile> =
            world.parts.iter().filter(|(_, who)| *who == Who::Warm).map(|(p, _)| *p).collect();
        let fewest = (0..1u32 << warm.len())
            .filter(|gone| {
                let layout = warm.iter().enumerate().filter(|(i, _)| gone >> i & 1 == 1);
                let layout = layout.fold(world.layout_of(true), |all, (_, part)| all.without(*part));
                layout.capacity(&world.geometry, profile) >= count
            })
            .map(u32::count_ones)
            .min();
        match found {
            Ok((plan, report)) => {
                prop_assert_eq!(Some(report.destroyed.len() as u32), fewest);
                prop_assert!(report.created.is_empty());
                prop_assert!(check(&plan, &machine, &protected(&worlds)).is_ok());
                prop_assert_eq!(parts_of(&execute(&machine, &plan).gpus[0]), report.target);
            }
            Err(Impossible::Blocked { blockers, .. }) => {
                prop_assert_eq!(fewest, None);
                prop_assert!(blockers.iter().all(|id| world.fixed().contains(id)));
            }
            Err(Impossible::TooMuch { .. }) => {
                let empty = Layout::empty().capacity(&world.geometry, profile);
                prop_assert!(empty < count);
            }
            Err(error) => return Err(TestCaseError::fail(format!("{error:?}"))),
        }
    }
}

#[test]
fn a_blocked_desire_names_who_blocks_and_the_best() {
    let world = World::new(&a100(), &[(part(ONE, 1, 1), Who::Busy), (part(ONE, 6, 1), Who::Warm)]);
    let machine = node(std::slice::from_ref(&world));
    let wish = Desired::Counts(Counts::from([(GpuInstanceProfileId::new(THREE), 2)]));
    let error =
        planner().plan_target(&machine.gpus[0], &BTreeSet::new(), &wish, purpose()).unwrap_err();
    assert_eq!(error.to_string(), "GPU instance 1 on GPU-0 is in use and in the way");
    let Impossible::Blocked { blockers, best, .. } = error else { panic!("{error:?}") };
    assert_eq!(blockers, [GpuInstanceId::new(1)]);
    assert_eq!(best.target, [part(ONE, 1, 1), part(THREE, 4, 4)]);
    assert_eq!(best.missing, Counts::from([(GpuInstanceProfileId::new(THREE), 1)]));
}

#[test]
fn what_the_board_cannot_do_is_told_apart() {
    let machine = node(&[World::new(&a100(), &[])]);
    let plan =
        |gpu: &_, wish| planner().plan_target(gpu, &BTreeSet::new(), &wish, purpose()).unwrap_err();
    let of = |profile, count| {
        Desired::Counts(Counts::from([(GpuInstanceProfileId::new(profile), count)]))
    };
    assert!(matches!(plan(&machine.gpus[0], of(THREE, 3)), Impossible::TooMuch { .. }));
    assert!(matches!(plan(&machine.gpus[0], of(77, 1)), Impossible::Plan(_)));
    let nowhere = Desired::Exact(BTreeSet::from([part(TWO, 1, 2)]));
    assert!(matches!(plan(&machine.gpus[0], nowhere), Impossible::IllegalPart { .. }));
    let mut off = machine.gpus[0].clone();
    off.mig = model::MigState::Supported {
        current: model::MigMode::Disabled,
        pending: model::MigMode::Enabled,
    };
    assert!(matches!(plan(&off, of(ONE, 1)), Impossible::ModeOff(_)));
    off.geometry = None;
    assert!(matches!(plan(&off, of(ONE, 1)), Impossible::Plan(_)));
}

/// A kept instance without a compute instance is no slice yet: the plan completes it.
#[test]
fn a_bare_instance_is_completed() {
    let mut machine = node(&[World::new(&a100(), &[(part(TWO, 2, 2), Who::Warm)])]);
    machine.gpus[0].instances[0].compute_instances.clear();
    let wish = Desired::Counts(Counts::from([(GpuInstanceProfileId::new(TWO), 1)]));
    let (plan, report) =
        planner().plan_target(&machine.gpus[0], &BTreeSet::new(), &wish, purpose()).unwrap();
    assert_eq!((plan.steps.len(), report.created.len(), report.destroyed.len()), (1, 0, 0));
    assert!(check(&plan, &machine, &checker::Protected::nothing()).is_ok());
}
