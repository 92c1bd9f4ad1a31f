//! Several slices at once: all or none.

use checker::check;
use model::{LeaseId, Purpose};
use planner::{Forecast, Verdict, plan_grant};
use proptest::prelude::*;

use crate::world::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(700))]

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
