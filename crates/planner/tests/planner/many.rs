//! Several slices at once: all or none.

use std::sync::Arc;

use checker::check;
use model::{GpuInstanceProfileId, LeaseId, Purpose, SliceIndex};
use planner::{Forecast, Planner, Verdict, Want, plan_grant};
use proptest::prelude::*;

use crate::world::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// All are found exactly when the rooms can hold that many, counted on layouts; and the
    /// choices can be carried out one after the other.
    #[test]
    fn all_are_found_when_there_is_room_for_all(
        worlds in worlds(3), index in 0usize..16, count in 1u32..12,
    ) {
        let (want, profile) = want(&worlds, index);
        let rooms = rooms(&worlds);
        let held = |world: &World| world.layout_of(false).capacity(&world.geometry, profile);
        let room: u32 = worlds.iter().map(held).sum();
        let choices = planner().choose_many(&rooms, &want, count, &Forecast::unknown());
        prop_assert_eq!(choices.is_some(), room >= count);
        let verdict = planner().could_ever_fit(&rooms, &want, count);
        prop_assert_eq!(verdict == Verdict::Now, room >= count);
        let mut machine = node(&worlds);
        for (index, choice) in choices.iter().flatten().enumerate() {
            let earlier = &choices.as_ref().unwrap()[..index];
            prop_assert!(earlier.iter().all(|e| (e.room, e.part) != (choice.room, choice.part)));
            let purpose = Purpose::Grant(LeaseId::new(7));
            let plan = plan_grant(&machine.gpus[choice.room], choice, purpose).unwrap();
            let proof = check(&plan, &machine, &protected(&worlds)).unwrap();
            machine = execute(&machine, &plan);
            prop_assert_eq!(proof.matches(&machine), Ok(()));
        }
        for (index, choice) in choices.iter().flatten().enumerate() {
            let there = machine.gpus[choice.room].instance_at(choice.part.placement);
            prop_assert!(there.is_some(), "choice {} was destroyed by a later one", index);
        }
    }
}

/// No board of the catalog needs foresight, since the places of one profile never overlap there.
/// Here they do: what is asked for most lies at both ends, so that the middle would cost least,
/// and would leave no room for the second.
#[test]
fn the_first_choice_leaves_room_for_the_last() {
    let mut geometry = (*geometry("a30")).clone();
    geometry.profiles.retain(|profile| profile.name.attributes.is_plain());
    for profile in &mut geometry.profiles {
        match profile.name.slices {
            1 => profile.starts = [0, 3].map(SliceIndex::new).to_vec(),
            2 => profile.starts = [0, 1, 2].map(SliceIndex::new).to_vec(),
            _ => {}
        }
    }
    let mut ends = Forecast::unknown();
    for _ in 0..1000 {
        ends.count(model::ProfileName::plain(1, 6));
    }
    let worlds = [World::new(&Arc::new(geometry), &[])];
    let want = Want::of(vec![Some(GpuInstanceProfileId::new(5))]);
    let starts = |count| {
        let choices = Planner::new().choose_many(&rooms(&worlds), &want, count, &ends);
        let choices = choices.unwrap_or_default().into_iter();
        choices.map(|choice| choice.part.placement.start.get()).collect::<Vec<u8>>()
    };
    assert_eq!(starts(1), [1]);
    assert_eq!(starts(2), [0, 2]);
}
