//! Openings against brute force, carried out through the checker.

use std::sync::Arc;

use checker::{InstanceProtection, Protected, check};
use model::{GpuInstanceProfileId, Layout, LeaseId, NodeSnapshot, PlacedProfile, Purpose};
use planner::{
    Choice, Fleet, Opening, Relocation, Spot, Tie, plan_grant, plan_relocation, plan_retire,
};
use proptest::prelude::*;

use crate::world::*;

/// What a move of the instance costs in these tests.
pub(super) fn price(gpu: usize, part: PlacedProfile) -> u64 {
    let start = u64::from(part.placement.start.get());
    1 + (gpu as u64 * 3 + start * 5 + u64::from(part.profile.get())) % 4
}

fn tie(gpu: usize, part: PlacedProfile, who: Who) -> Tie {
    match who {
        Who::Busy => Tie::Held,
        Who::Leased => Tie::Movable(price(gpu, part)),
        Who::Warm => Tie::Idle,
    }
}

pub(super) fn fleet(worlds: &[World]) -> Fleet {
    let mut boards: Vec<Arc<model::Geometry>> = Vec::new();
    for world in worlds {
        if !boards.contains(&world.geometry) {
            boards.push(Arc::clone(&world.geometry));
        }
    }
    let mut fleet = Fleet::new(boards.iter().map(|board| planner().tables(board)).collect());
    for world in worlds {
        let board = boards.iter().position(|board| *board == world.geometry).unwrap();
        let gpu = fleet.add(board);
        for (part, who) in &world.parts {
            assert!(fleet.put(Spot { gpu, part: *part }, tie(gpu, *part, *who)));
        }
    }
    fleet
}

/// The cheapest price and number of moves, by trying every set of instances and every place.
fn brute(worlds: &[World], profile: GpuInstanceProfileId, most: u32) -> Option<(u64, u32)> {
    let all = worlds.iter().enumerate().flat_map(|(gpu, world)| {
        let leased = world.parts.iter().filter(|(_, who)| *who == Who::Leased);
        leased.map(move |(part, _)| Spot { gpu, part: *part })
    });
    let all: Vec<Spot> = all.collect();
    let sets = (0..1u32 << all.len()).filter(|set| set.count_ones() <= most);
    let mut sets: Vec<((u64, u32), Vec<Spot>)> = sets
        .map(|set| {
            let gone = (0..all.len()).filter(|i| set >> i & 1 == 1).map(|i| all[i]);
            let gone: Vec<Spot> = gone.collect();
            (((gone.iter().map(|spot| price(spot.gpu, spot.part)).sum()), set.count_ones()), gone)
        })
        .collect();
    sets.sort();
    let found = sets.into_iter().find(|(_, gone)| {
        let layouts: Vec<Layout> = worlds
            .iter()
            .enumerate()
            .map(|(gpu, world)| {
                let left = |part| gone.contains(&Spot { gpu, part });
                let held = world.layout_of(false);
                held.placed().iter().filter(|p| left(**p)).fold(held.clone(), |l, p| l.without(*p))
            })
            .collect();
        let mut wanted: Vec<(Option<usize>, GpuInstanceProfileId)> = vec![(None, profile)];
        wanted.extend(gone.iter().map(|spot| (Some(spot.gpu), spot.part.profile)));
        all_go(worlds, &layouts, &wanted)
    });
    found.map(|(price, _)| price)
}

/// Whether all find a place; one that comes from a GPU stays on boards of its geometry.
fn all_go(
    worlds: &[World],
    layouts: &[Layout],
    wanted: &[(Option<usize>, GpuInstanceProfileId)],
) -> bool {
    let Some(((from, profile), rest)) = wanted.split_first() else { return true };
    (0..layouts.len()).any(|gpu| {
        let geometry = &worlds[gpu].geometry;
        let same = from.is_none_or(|from| worlds[from].geometry == *geometry);
        same && layouts[gpu].free_placements(geometry, *profile).into_iter().any(|placement| {
            let part = PlacedProfile { placement, profile: *profile };
            let mut next = layouts.to_vec();
            next[gpu] = layouts[gpu].with(geometry, part).unwrap();
            all_go(worlds, &next, rest)
        })
    })
}

/// Everything leased but what lies at these spots.
fn protected_but(worlds: &[World], machine: &NodeSnapshot, spots: &[Spot]) -> Protected {
    let mut protected = Protected::nothing();
    for (gpu, world) in worlds.iter().enumerate() {
        for instance in &machine.gpus[gpu].instances {
            let part = PlacedProfile { placement: instance.placement, profile: instance.profile };
            let warm = world.parts.contains(&(part, Who::Warm));
            if !warm && !spots.contains(&Spot { gpu, part }) {
                let why = InstanceProtection::Leased(LeaseId::new(1));
                let uuid = machine.gpus[gpu].uuid.clone();
                protected = protected.with_instance(uuid, instance.id, why);
            }
        }
    }
    protected
}

/// Carries out evictions and relocations on a machine, each step through the checker, with all that
/// does not move at that moment protected.
pub(super) fn carry_out(
    worlds: &[World],
    evict: &[Spot],
    moves: &[Relocation],
) -> Result<NodeSnapshot, TestCaseError> {
    let mut machine = node(worlds);
    for spot in evict {
        let gpu = &machine.gpus[spot.gpu];
        let id = gpu.instance_at(spot.part.placement).unwrap().id;
        let plan = plan_retire(gpu, &[id], Purpose::Retire).unwrap();
        let proof = check(&plan, &machine, &protected_but(worlds, &machine, &[]));
        prop_assert!(proof.is_ok(), "{proof:?}");
        machine = execute(&machine, &plan);
    }
    for step in moves {
        let (from, to) = match step {
            Relocation::MakeFirst { from, to } | Relocation::StopFirst { from, to } => (from, to),
            Relocation::Park { from } => (from, from),
            Relocation::Unpark { to, .. } => (to, to),
        };
        let (leaves, comes) = (&machine.gpus[from.gpu], &machine.gpus[to.gpu]);
        let plan = plan_relocation(step, leaves, comes, Purpose::Defragment).unwrap();
        let spots = [*from, *to];
        let proof = check(&plan, &machine, &protected_but(worlds, &machine, &spots));
        prop_assert!(proof.is_ok(), "{step:?}: {proof:?}");
        machine = execute(&machine, &plan);
        prop_assert_eq!(proof.unwrap().matches(&machine), Ok(()));
    }
    Ok(machine)
}

/// All but idle instances, as profiles by board, sorted.
pub(super) fn population(
    worlds: &[World],
    machine: &NodeSnapshot,
    evicted: &[Spot],
) -> Vec<(usize, u32)> {
    let first = |world: &World| worlds.iter().position(|w| w.geometry == world.geometry).unwrap();
    let mut all = Vec::new();
    for (gpu, world) in worlds.iter().enumerate() {
        let idle = |part| {
            world.parts.contains(&(part, Who::Warm)) && !evicted.contains(&Spot { gpu, part })
        };
        let staying = parts_of(&machine.gpus[gpu]).into_iter().filter(|part| !idle(*part));
        all.extend(staying.map(|part| (first(world), part.profile.get())));
    }
    all.sort_unstable();
    all
}

fn opening(worlds: &[World], profile: GpuInstanceProfileId, most: usize) -> Option<Opening> {
    let fleet = fleet(worlds);
    let boards = worlds.iter().enumerate().map(|(gpu, _)| fleet.board(gpu)).max().unwrap() + 1;
    let has = |board| fleet.tables(board).geometry().profile(profile).map(|found| found.id);
    fleet.opening(&(0..boards).map(has).collect::<Vec<_>>(), most)
}

/// The same from rooms as the broker has them.
fn from_rooms(worlds: &[World], profile: GpuInstanceProfileId, most: usize) -> Option<Opening> {
    let price = |gpu: usize, part| {
        let leased = worlds[gpu].parts.contains(&(part, Who::Leased));
        leased.then(|| price(gpu, part))
    };
    let fleet = Fleet::of_rooms(planner(), &rooms(worlds), &price);
    let last = (0..fleet.len()).map(|gpu| fleet.board(gpu)).max()?;
    let has = |board| fleet.tables(board).geometry().profile(profile).map(|found| found.id);
    fleet.opening(&(0..=last).map(has).collect::<Vec<_>>(), most)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// The cheapest set of at most two moves is found, and can be carried out.
    #[test]
    fn openings_are_the_cheapest_and_are_carried_out(
        worlds in worlds(3), index in 0usize..16, most in 0usize..3,
    ) {
        let (_, profile) = want(&worlds, index);
        let expected = brute(&worlds, profile, most as u32);
        let found = opening(&worlds, profile, most);
        prop_assert_eq!(&from_rooms(&worlds, profile, most), &found);
        let Some(found) = found else {
            prop_assert_eq!(None, expected);
            return Ok(());
        };
        let before = node(&worlds);
        let leavers = |step: &Relocation| match step {
            Relocation::MakeFirst { from, .. }
            | Relocation::StopFirst { from, .. }
            | Relocation::Park { from } => Some(*from),
            Relocation::Unpark { .. } => None,
        };
        let original = |spot: &Spot| before.gpus[spot.gpu].instance_at(spot.part.placement).is_some();
        let moved: Vec<Spot> = found.moves.iter().filter_map(leavers).filter(original).collect();
        prop_assert_eq!(Some((found.cost, moved.len() as u32)), expected);
        let paid: u64 = moved.iter().map(|spot| price(spot.gpu, spot.part)).sum();
        prop_assert_eq!(paid, found.cost);
        let machine = carry_out(&worlds, &found.evict, &found.moves)?;
        let left = population(&worlds, &machine, &found.evict);
        prop_assert_eq!(left, population(&worlds, &before, &[]));
        let Spot { gpu, part } = found.place;
        let choice = Choice { room: gpu, part, reuse: false, evict: Vec::new() };
        let plan = plan_grant(&machine.gpus[gpu], &choice, Purpose::Grant(LeaseId::new(7))).unwrap();
        let proof = check(&plan, &machine, &protected_but(&worlds, &machine, &[]));
        prop_assert!(proof.is_ok(), "{proof:?}");
    }
}

/// The pair that a 3g needs is held by a 2g, whose only other place is taken by a 1g that has one:
/// two moves in a row.
#[test]
fn a_move_may_make_room_for_another() {
    let small = |start| (part(ONE, start, 1), Who::Leased);
    let held = |start| (part(ONE, start, 1), Who::Busy);
    let worlds = [
        World::new(&a100(), &[(part(THREE, 0, 4), Who::Busy), (part(TWO, 4, 2), Who::Leased)]),
        World::new(&a100(), &[(part(FOUR, 0, 4), Who::Busy), small(4), held(6)]),
        World::new(&a100(), &[held(0), held(2), held(4), held(6), held(5), held(1)]),
    ];
    let profile = GpuInstanceProfileId::new(THREE);
    assert_eq!(opening(&worlds, profile, 1), None);
    let found = opening(&worlds, profile, 2).unwrap();
    let made_first = |step: &Relocation| match step {
        Relocation::MakeFirst { from, to } => Some((from.gpu, to.gpu)),
        Relocation::StopFirst { .. } | Relocation::Park { .. } | Relocation::Unpark { .. } => None,
    };
    let moved: Vec<_> = found.moves.iter().map(made_first).collect();
    assert_eq!(moved, [Some((1, 2)), Some((0, 1))]);
    assert_eq!(found.place, Spot { gpu: 0, part: part(THREE, 4, 4) });
}
