//! Several compute instances in a GPU instance: random ones, random holders and random desires,
//! against every layout, every way to hand out what is wanted, and every set of compute instances.

use std::collections::BTreeMap;

use checker::{InstanceProtection, Protected, check};
use model::layout::enumerate;
use model::{
    ComputeInstance, ComputeInstanceId, ComputeInstanceProfileId, DesiredCompute, DesiredGpu,
    DesiredInstance, Geometry, GpuInstanceId, GpuInstanceProfile, GpuProcess, GpuSnapshot, Layout,
    LeaseId, NodeSnapshot, PlacedProfile, Placement, Purpose,
};
use planner::{Fate, Impossible, Rules, Why};

use super::oracle::Dice;
use crate::world::*;

/// A compute instance at a place.
type Part = (ComputeInstanceProfileId, Placement);

/// Every legal set of compute instances in a GPU instance, each sorted.
fn sets(profile: &GpuInstanceProfile) -> Vec<Vec<Part>> {
    let mut parts: Vec<Part> = Vec::new();
    for compute in &profile.compute_profiles {
        for start in &compute.starts {
            let placement = Placement::new(start.get(), compute.slices);
            if placement.end() <= profile.name.slices {
                parts.push((compute.id, placement));
            }
        }
    }
    parts.sort_unstable();
    let mut all = vec![Vec::new()];
    for part in parts {
        let most = profile.compute_profiles.iter().find(|c| c.id == part.0).unwrap().max_count;
        for index in 0..all.len() {
            let set: &Vec<Part> = &all[index];
            let same = set.iter().filter(|other| other.0 == part.0).count() as u32;
            if same < most && set.iter().all(|other| !other.1.overlaps(part.1)) {
                let mut more = set.clone();
                more.push(part);
                all.push(more);
            }
        }
    }
    all
}

/// A geometry with all its layouts and all sets of compute instances.
pub(crate) struct Board {
    pub(crate) geometry: Geometry,
    layouts: Vec<Layout>,
    sets: BTreeMap<u32, Vec<Vec<Part>>>,
}

impl Board {
    pub(crate) fn of(id: &str) -> Self {
        let geometry = (*geometry(id)).clone();
        // More than five instances have too many ways to be handed out.
        let mut layouts = enumerate(&geometry, |_| true);
        layouts.retain(|layout| layout.placed().len() <= 5);
        let sets = geometry.profiles.iter().map(|p| (p.id.get(), sets(p))).collect();
        Self { geometry, layouts, sets }
    }

    fn sets(&self, part: PlacedProfile) -> &[Vec<Part>] {
        &self.sets[&part.profile.get()]
    }

    /// A GPU with random compute instances, some of them busy, some GPU instances leased.
    fn machine(&self, dice: &mut Dice) -> (NodeSnapshot, BTreeMap<GpuInstanceId, Why>) {
        let layout = &self.layouts[dice.below(self.layouts.len())];
        let parts: Vec<_> = layout.placed().iter().map(|part| (*part, Who::Warm)).collect();
        let geometry = std::sync::Arc::new(self.geometry.clone());
        let mut machine = node(&[World { geometry, parts }]);
        let mut held = BTreeMap::new();
        for instance in &mut machine.gpus[0].instances {
            let part = PlacedProfile { placement: instance.placement, profile: instance.profile };
            let sets = self.sets(part);
            let set = &sets[dice.below(sets.len())];
            let computes = set.iter().enumerate().map(|(index, (profile, placement))| {
                let busy = dice.below(6) == 0;
                let process = GpuProcess { pid: 1000 + index as u32, memory: None };
                ComputeInstance {
                    id: ComputeInstanceId::new(index as u32),
                    profile: *profile,
                    placement: *placement,
                    uuid: None,
                    processes: if busy { vec![process] } else { Vec::new() },
                }
            });
            instance.compute_instances = computes.collect();
            if dice.below(6) == 0 {
                held.insert(instance.id, Why::new("lease L1 of alice"));
            }
        }
        (machine, held)
    }

    /// A desire near what is there or far from it, some of it at given places.
    pub(crate) fn wanted(&self, there: &GpuSnapshot, dice: &mut Dice) -> Vec<DesiredInstance> {
        let near = dice.below(3) > 0;
        let layout = if near {
            Layout::of_gpu(&self.geometry, there).unwrap()
        } else {
            self.layouts[dice.below(self.layouts.len())].clone()
        };
        let mut one = |part: &PlacedProfile| {
            let sets = self.sets(*part);
            let kept = there.instance_at(part.placement).filter(|_| near && dice.below(2) == 0);
            let set: Vec<Part> = match kept {
                Some(kept) => {
                    kept.compute_instances.iter().map(|c| (c.profile, c.placement)).collect()
                }
                None => sets[dice.below(sets.len())].clone(),
            };
            let mut at = |placement| (dice.below(3) == 0).then_some(placement);
            let placement = at(part.placement);
            let computes = set.into_iter().map(|(profile, placement)| {
                let placement = at(placement);
                DesiredCompute { profile, placement }
            });
            DesiredInstance { profile: part.profile, placement, computes: computes.collect() }
        };
        layout.placed().iter().map(&mut one).collect()
    }
}

/// What it takes; less is better: held instances that end, GPU instances destroyed, compute
/// instances destroyed in those that stay, GPU instances created, compute instances created.
type Cost = [usize; 5];

/// How many compute instances of a GPU instance are destroyed and created at least so that `wanted`
/// lies there; `None` where it would take something from somebody.
fn inside(
    sets: &[Vec<Part>],
    there: &[(Part, bool)],
    leased: bool,
    wanted: &[DesiredCompute],
) -> Option<(usize, usize)> {
    let meets = |set: &&Vec<Part>| {
        let mut profiles: Vec<_> = set.iter().map(|part| part.0).collect();
        let mut asked: Vec<_> = wanted.iter().map(|one| one.profile).collect();
        profiles.sort_unstable();
        asked.sort_unstable();
        let pinned =
            |one: &DesiredCompute| one.placement.is_none_or(|at| set.contains(&(one.profile, at)));
        profiles == asked && wanted.iter().all(pinned)
    };
    let stays = |set: &&Vec<Part>| {
        let all = there.iter().all(|(part, busy)| !(*busy || leased) || set.contains(part));
        all && (!leased || set.len() == there.len())
    };
    let cost = |set: &Vec<Part>| {
        let kept = there.iter().filter(|(part, _)| set.contains(part)).count();
        (there.len() - kept, set.len() - kept)
    };
    sets.iter().filter(meets).filter(stays).map(cost).min()
}

/// The least cost over all ways to hand out `wanted` to the places of one layout.
struct Hands<'a> {
    board: &'a Board,
    gpu: &'a GpuSnapshot,
    held: &'a BTreeMap<GpuInstanceId, Why>,
    places: &'a [PlacedProfile],
    wanted: &'a [DesiredInstance],
    known: &'a mut BTreeMap<(GpuInstanceId, DesiredInstance), Cost>,
}

impl Hands<'_> {
    fn least(&mut self, index: usize, left: &mut Vec<usize>, cost: Cost, best: &mut Option<Cost>) {
        let Some(place) = self.places.get(index).copied() else {
            if best.is_none_or(|best| cost < best) {
                *best = Some(cost);
            }
            return;
        };
        let mut tried: Vec<&DesiredInstance> = Vec::new();
        for position in 0..left.len() {
            let one = &self.wanted[left[position]];
            let fits = one.profile == place.profile
                && one.placement.is_none_or(|at| at == place.placement);
            if !fits || tried.contains(&one) {
                continue;
            }
            tried.push(one);
            let more = self.of(place, one);
            let kind = left.remove(position);
            let sum = core::array::from_fn(|i| cost[i] + more[i]);
            self.least(index + 1, left, sum, best);
            left.insert(position, kind);
        }
    }

    fn of(&mut self, place: PlacedProfile, one: &DesiredInstance) -> Cost {
        let there = self.gpu.instance_at(place.placement);
        let Some(instance) = there.filter(|there| there.profile == place.profile) else {
            return [0, 0, 0, 1, one.computes.len()];
        };
        if let Some(known) = self.known.get(&(instance.id, one.clone())) {
            return *known;
        }
        let lying: Vec<(Part, bool)> = instance
            .compute_instances
            .iter()
            .map(|c| ((c.profile, c.placement), !c.processes.is_empty()))
            .collect();
        let sets = self.board.sets(place);
        let leased = self.held.contains_key(&instance.id);
        let cost = if let Some((gone, made)) = inside(sets, &lying, leased, &one.computes) {
            [0, 0, gone, 0, made]
        } else {
            let idle: Vec<(Part, bool)> = lying.iter().map(|(part, _)| (*part, false)).collect();
            let (gone, made) = inside(sets, &idle, false, &one.computes).unwrap();
            [1, 0, gone, 0, made]
        };
        self.known.insert((instance.id, one.clone()), cost);
        cost
    }
}

/// The least it takes over all layouts; `None` when no layout holds it.
fn least(
    board: &Board,
    gpu: &GpuSnapshot,
    held: &BTreeMap<GpuInstanceId, Why>,
    wanted: &[DesiredInstance],
) -> Option<Cost> {
    let mut asked: Vec<_> = wanted.iter().map(|one| one.profile).collect();
    asked.sort_unstable();
    let (mut best, mut known) = (None, BTreeMap::new());
    for layout in &board.layouts {
        let mut profiles: Vec<_> = layout.placed().iter().map(|part| part.profile).collect();
        profiles.sort_unstable();
        if profiles != asked {
            continue;
        }
        let gone = gpu.instances.iter().filter(|instance| {
            let part = PlacedProfile { placement: instance.placement, profile: instance.profile };
            !layout.placed().contains(&part)
        });
        let mut cost: Cost = [0; 5];
        for instance in gone {
            cost[0] += usize::from(instance.is_busy() || held.contains_key(&instance.id));
            cost[1] += 1;
        }
        let mut hands =
            Hands { board, gpu, held, places: layout.placed(), wanted, known: &mut known };
        hands.least(0, &mut (0..wanted.len()).collect(), cost, &mut best);
    }
    best
}

/// Whether the compute instances of each GPU instance are what some of the wanted ones say.
pub(crate) fn meets(gpu: &GpuSnapshot, wanted: &[DesiredInstance]) -> bool {
    fn hand(gpu: &GpuSnapshot, index: usize, wanted: &mut Vec<DesiredInstance>) -> bool {
        let Some(instance) = gpu.instances.get(index) else { return wanted.is_empty() };
        let there: Vec<Part> =
            instance.compute_instances.iter().map(|c| (c.profile, c.placement)).collect();
        (0..wanted.len()).any(|position| {
            let one = wanted.remove(position);
            let fits = one.profile == instance.profile
                && one.placement.is_none_or(|at| at == instance.placement)
                && inside(std::slice::from_ref(&sorted(&there)), &[], false, &one.computes)
                    .is_some();
            let found = fits && hand(gpu, index + 1, wanted);
            wanted.insert(position, one);
            found
        })
    }
    hand(gpu, 0, &mut wanted.to_vec())
}

fn sorted(parts: &[Part]) -> Vec<Part> {
    let mut parts = parts.to_vec();
    parts.sort_unstable();
    parts
}

fn judge(board: &Board, dice: &mut Dice) {
    let (machine, held) = board.machine(dice);
    let gpu = &machine.gpus[0];
    let wanted = board.wanted(gpu, dice);
    let protected = held.keys().fold(Protected::nothing(), |all, id| {
        all.with_instance(gpu.uuid.clone(), *id, InstanceProtection::Leased(LeaseId::new(1)))
    });
    let desired = DesiredGpu::Exactly(wanted.clone());
    let purpose = Purpose::Apply("test".into());
    let found = planner().plan_gpu(gpu, &held, &desired, &Rules::default(), purpose);
    let least = least(board, gpu, &held, &wanted).expect("made from a layout");
    match found {
        Ok((plan, report)) => {
            let inner = |fate| {
                let stays = report.with_fate(Fate::Stays);
                stays.flat_map(|i| &i.computes).filter(|c| c.fate == fate).count()
            };
            let created = report.with_fate(Fate::Comes).map(|i| i.computes.len());
            let cost = [
                0,
                report.destroyed().count(),
                inner(Fate::Goes),
                report.created().count(),
                inner(Fate::Comes) + created.sum::<usize>(),
            ];
            assert_eq!(cost, least, "{gpu:?} {wanted:?} {report:?}");
            let proof = check(&plan, &machine, &protected).unwrap();
            let after = execute(&machine, &plan);
            assert_eq!(proof.matches(&after), Ok(()));
            assert!(meets(&after.gpus[0], &wanted), "{plan:?} {wanted:?}");
            for instance in &gpu.instances {
                let now = after.gpus[0].instance_at(instance.placement);
                assert!(!held.contains_key(&instance.id) || now == Some(instance));
                for busy in instance.compute_instances.iter().filter(|c| !c.processes.is_empty()) {
                    assert!(now.unwrap().compute_instances.contains(busy));
                }
            }
        }
        Err(Impossible::Blocked { blockers, .. }) => {
            assert_eq!(blockers.len(), least[0], "{gpu:?} {wanted:?} {blockers:?}");
            assert!(blockers.iter().all(|blocker| !blocker.held.is_nobody()));
        }
        Err(error) => panic!("{gpu:?} {wanted:?}: {error:?}"),
    }
}

fn seeded(id: &str, cases: u64) {
    let board = Board::of(id);
    for seed in 0..cases {
        judge(&board, &mut Dice(seed));
    }
}

#[test]
fn compute_instances_of_a100() {
    seeded("a100-sxm4-40gb", 4000);
}

#[test]
fn compute_instances_of_h100() {
    seeded("h100-sxm5-80gb", 4000);
}

#[test]
fn compute_instances_of_the_rest() {
    for (id, _) in geometries() {
        if !matches!(*id, "a100-sxm4-40gb" | "h100-sxm5-80gb") {
            seeded(id, 800);
        }
    }
}
