//! How several slices lie to each other, and places kept for later.

use std::collections::BTreeSet;

use model::{GpuInstanceProfileId, Layout, PlacedProfile};
use planner::{Arrangement, Forecast, Room, Verdict, Want};
use proptest::prelude::*;

use crate::world::*;

const ALL: [Arrangement; 5] = [
    Arrangement::Any,
    Arrangement::Pack,
    Arrangement::Spread,
    Arrangement::SameGpu,
    Arrangement::OtherGpu,
];

/// The most slices that capacities allow under an arrangement.
fn together(arrangement: Arrangement, capacities: &[u32]) -> u32 {
    match arrangement {
        Arrangement::Any | Arrangement::Pack | Arrangement::Spread => capacities.iter().sum(),
        Arrangement::SameGpu => capacities.iter().copied().max().unwrap_or(0),
        Arrangement::OtherGpu => capacities.iter().filter(|c| **c > 0).count() as u32,
    }
}

/// The fewest GPUs whose capacities add up to a count.
fn fewest(capacities: &[u32], count: u32) -> usize {
    let mut sorted = capacities.to_vec();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    let mut sum = 0;
    sorted
        .iter()
        .take_while(|capacity| {
            let go = sum < count;
            sum += **capacity;
            go
        })
        .count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_arrangement_is_found_when_there_is_room_for_it(
        worlds in worlds(3), index in 0usize..16, count in 1u32..8, which in 0usize..5,
    ) {
        let (mut want, profile) = want(&worlds, index);
        want.arrangement = ALL[which];
        let rooms = rooms(&worlds);
        let capacity = |world: &World| world.layout_of(false).capacity(&world.geometry, profile);
        let capacities: Vec<u32> = worlds.iter().map(capacity).collect();
        let fits = together(want.arrangement, &capacities) >= count;
        let choices = planner().choose_many(&rooms, &want, count, &Forecast::unknown());
        prop_assert_eq!(choices.is_some(), fits);
        let verdict = planner().could_ever_fit(&rooms, &want, count);
        prop_assert_eq!(verdict == Verdict::Now, fits);
        let blockers = planner().blockers(&rooms, &want, count);
        prop_assert_eq!(blockers == Some(Vec::new()), fits);
        let Some(choices) = choices else { return Ok(()) };
        let used: BTreeSet<usize> = choices.iter().map(|choice| choice.room).collect();
        let most = capacities.iter().filter(|capacity| **capacity > 0).count();
        match want.arrangement {
            Arrangement::Any => {}
            Arrangement::Pack => prop_assert_eq!(used.len(), fewest(&capacities, count)),
            Arrangement::Spread => prop_assert_eq!(used.len(), most.min(count as usize)),
            Arrangement::SameGpu => prop_assert_eq!(used.len(), 1),
            Arrangement::OtherGpu => prop_assert_eq!(used.len(), count as usize),
        }
    }

    /// What ends of the blockers leave room for is laid out as asked.
    #[test]
    fn blockers_make_room_for_the_arrangement(
        worlds in worlds(2), index in 0usize..16, count in 2u32..5, which in 3usize..5,
    ) {
        let (mut want, _) = want(&worlds, index);
        want.arrangement = ALL[which];
        let mut rooms = rooms(&worlds);
        let Some(blockers) = planner().blockers(&rooms, &want, count) else {
            let verdict = planner().could_ever_fit(&rooms, &want, count);
            let never = matches!(verdict, Verdict::Never { .. });
            prop_assert!(never);
            return Ok(());
        };
        for (index, room) in rooms.iter_mut().enumerate() {
            let gone = |part| blockers.iter().any(|b| (b.room, b.part) == (index, part));
            room.occupants.retain(|occupant| !gone(occupant.part));
        }
        let found = planner().choose_many(&rooms, &want, count, &Forecast::unknown());
        prop_assert!(found.is_some());
    }

    /// Whatever is put somewhere can lie beside what is held now, and beside the places kept for
    /// later; and as many as possible are found.
    #[test]
    fn kept_places_stay_possible(
        worlds in worlds(1), index in 0usize..16, at in 0usize..64, count in 1u32..5,
    ) {
        let (want, profile) = want(&worlds, index);
        let world = &worlds[0];
        let parts = placed(&world.geometry);
        let kept = parts[at % parts.len()];
        let rooms = [Room { promised: vec![vec![kept]], ..world.room(0) }];
        let held: Vec<PlacedProfile> =
            world.parts.iter().filter(|(_, who)| *who != Who::Warm).map(|(p, _)| *p).collect();
        let mut later: Vec<PlacedProfile> =
            held.iter().filter(|p| !p.placement.overlaps(kept.placement)).copied().collect();
        later.push(kept);
        let legal = |base: &[PlacedProfile], more: &[PlacedProfile]| {
            Layout::new(&world.geometry, base.iter().chain(more).copied()).is_ok()
        };
        prop_assume!(legal(&later, &[]));
        let both = |more: &[PlacedProfile]| legal(&held, more) && legal(&later, more);
        let places: Vec<PlacedProfile> =
            parts.iter().filter(|part| part.profile == profile).copied().collect();
        let sets = (0..1u32 << places.len().min(12)).filter(|set| {
            let chosen = (0..places.len()).filter(|i| set >> i & 1 == 1).map(|i| places[i]);
            both(&chosen.collect::<Vec<_>>())
        });
        let most = sets.map(u32::count_ones).max().unwrap_or(0);
        let choices = planner().choose_many(&rooms, &want, count, &Forecast::unknown());
        prop_assert_eq!(choices.is_some(), most >= count);
        let chosen: Vec<PlacedProfile> = choices.iter().flatten().map(|c| c.part).collect();
        prop_assert!(both(&chosen));
    }
}

fn placed(geometry: &model::Geometry) -> Vec<PlacedProfile> {
    let of = |p: &model::GpuInstanceProfile| {
        let profile = p.id;
        p.placements()
            .map(move |placement| PlacedProfile { placement, profile })
            .collect::<Vec<_>>()
    };
    geometry.profiles.iter().flat_map(of).collect()
}

#[test]
fn a_kept_half_leaves_the_other_half() {
    let worlds = [World::new(&a100(), &[])];
    let mut rooms = rooms(&worlds);
    rooms[0].promised = vec![vec![part(THREE, 4, 4)]];
    let want = |profile| Want::of(vec![Some(GpuInstanceProfileId::new(profile))]);
    let choose =
        |profile, count| planner().choose_many(&rooms, &want(profile), count, &Forecast::unknown());
    assert_eq!(choose(SEVEN, 1), None);
    assert_eq!(choose(THREE, 2), None);
    let three = choose(THREE, 1).expect("the other half");
    assert_eq!(three[0].part, part(THREE, 0, 4));
    assert_eq!(choose(ONE, 4).map(|choices| choices.len()), Some(4));
    assert_eq!(choose(ONE, 5), None);
}
