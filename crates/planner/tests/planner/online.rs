//! One slice more: choice, plan, proof and execution on any reachable machine.

use std::collections::BTreeSet;

use checker::check;
use model::{Layout, LeaseId, PlacedProfile, Purpose};
use planner::{Choice, Forecast, Policy, plan_grant};
use proptest::prelude::*;

use crate::world::*;

const PURPOSE: Purpose = Purpose::Grant(LeaseId::new(7));

/// The fewest warm slices that must go for `part`, by trying every set of them on layouts.
fn fewest(world: &World, part: PlacedProfile) -> Option<usize> {
    let warm: Vec<PlacedProfile> =
        world.parts.iter().filter(|(_, who)| *who == Who::Warm).map(|(part, _)| *part).collect();
    let sets = (0..1u32 << warm.len()).filter(|gone| {
        let stays = warm.iter().enumerate().filter(|(i, _)| gone >> i & 1 == 0);
        let held = world.layout_of(false);
        let parts = held.placed().iter().copied().chain(stays.map(|(_, part)| *part)).chain([part]);
        Layout::new(&world.geometry, parts).is_ok()
    });
    sets.map(|gone| gone.count_ones() as usize).min()
}

/// What a choice must be, given every possibility on every GPU.
fn judge(worlds: &[World], profile: model::GpuInstanceProfileId, choice: Option<&Choice>) {
    let warm = |w: &World| w.parts.iter().any(|(p, who)| *who == Who::Warm && p.profile == profile);
    let fewest_anywhere = worlds
        .iter()
        .filter_map(|world| Some((world, world.geometry.profile(profile)?)))
        .flat_map(|(world, p)| {
            p.placements()
                .filter_map(|placement| fewest(world, PlacedProfile { placement, profile }))
        })
        .min();
    let Some(choice) = choice else {
        assert_eq!(fewest_anywhere, None, "room was overlooked");
        return;
    };
    assert_eq!(choice.part.profile, profile);
    let world = &worlds[choice.room];
    if worlds.iter().any(warm) {
        assert!(choice.reuse && choice.evict.is_empty(), "a warm slice was overlooked");
        assert!(world.parts.contains(&(choice.part, Who::Warm)));
        return;
    }
    assert!(!choice.reuse);
    assert_eq!(Some(choice.evict.len()), fewest_anywhere, "more warm slices go than must");
    for evicted in &choice.evict {
        assert!(world.parts.contains(&(*evicted, Who::Warm)), "{evicted:?} is not warm");
    }
}

/// Plans, proves and executes a choice, and compares the machine after it with what it must be.
fn carry_out(worlds: &[World], choice: &Choice) {
    let before = node(worlds);
    let plan = plan_grant(&before.gpus[choice.room], choice, PURPOSE).unwrap();
    assert_eq!(plan.steps.is_empty(), choice.reuse);
    let proof = check(&plan, &before, &protected(worlds)).unwrap();
    let after = execute(&before, &plan);
    assert_eq!(proof.matches(&after), Ok(()));
    for (index, world) in worlds.iter().enumerate() {
        let mut expected: BTreeSet<PlacedProfile> = world.parts.iter().map(|(p, _)| *p).collect();
        if index == choice.room {
            expected.retain(|part| !choice.evict.contains(part));
            expected.insert(choice.part);
        }
        assert_eq!(parts_of(&after.gpus[index]), expected.into_iter().collect::<Vec<_>>());
        for (instance, (part, who)) in before.gpus[index].instances.iter().zip(&world.parts) {
            if *who != Who::Warm {
                assert_eq!(after.gpus[index].instance_at(part.placement), Some(instance));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn every_choice_is_right_and_can_be_carried_out(worlds in worlds(3), index in 0usize..16) {
        let (want, profile) = want(&worlds, index);
        for policy in Policy::ALL {
            let choice =
                planner().choose_by(policy, &rooms(&worlds), &want, &Forecast::unknown());
            judge(&worlds, profile, choice.as_ref());
            if let Some(choice) = choice {
                carry_out(&worlds, &choice);
            }
        }
    }

    #[test]
    fn free_room_is_the_capacity_beside_what_is_held(worlds in worlds(1)) {
        let room = worlds[0].room(0);
        for (name, count) in planner().free_room(&room) {
            let profile = worlds[0].geometry.profiles.iter().find(|p| p.name == name).unwrap();
            let held = worlds[0].layout_of(false);
            prop_assert_eq!(count, held.capacity(&worlds[0].geometry, profile.id));
        }
    }
}

proptest! {
    // Few, since every case builds tables.
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// The tables are a cache: a planner without them answers the same.
    #[test]
    fn an_ignorant_planner_chooses_the_same(worlds in worlds(2), index in 0usize..16) {
        let (want, _) = want(&worlds[..1], index);
        let (rooms, unknown) = (rooms(&worlds[..1]), Forecast::unknown());
        let small = worlds[0].geometry.profiles.len() < 8;
        prop_assume!(small);
        let fresh = planner::Planner::new().choose(&rooms, &want, &unknown);
        prop_assert_eq!(fresh, planner().choose(&rooms, &want, &unknown));
    }
}

#[test]
fn rooms_that_are_not_usable_or_not_wanted_are_left_alone() {
    let worlds = [World::new(&a100(), &[]), World::new(&a100(), &[])];
    let (mut want, _) = want(&worlds, 0);
    let mut rooms = rooms(&worlds);
    rooms[0].usable = false;
    let choose = |rooms: &[_], want: &_| {
        planner().choose(rooms, want, &Forecast::unknown()).map(|choice| choice.room)
    };
    assert_eq!(choose(&rooms, &want), Some(1));
    assert!(planner().free_room(&rooms[0]).is_empty());
    want.profiles[1] = None;
    assert_eq!(choose(&rooms, &want), None);
    want.profiles.clear();
    assert_eq!(choose(&rooms, &want), None);
}

#[test]
fn a_gpu_that_contradicts_its_geometry_gets_nothing_new() {
    let mut room = World::new(&a100(), &[(part(ONE, 0, 1), Who::Busy)]).room(0);
    room.occupants.push(room.occupants[0]);
    let (want, _) = want(&[World::new(&a100(), &[])], 0);
    assert_eq!(planner().choose(&[room.clone()], &want, &Forecast::unknown()), None);
    assert!(planner().free_room(&room).is_empty());
}
