//! Now, later or never; and who is in the way.

use model::{Layout, PlacedProfile};
use planner::{Verdict, Want};
use proptest::prelude::*;

use crate::world::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// No smaller set of held occupants than the one named makes room; the one named does.
    #[test]
    fn blockers_suffice_and_are_fewest(
        worlds in worlds(2), index in 0usize..16, count in 1u32..5,
    ) {
        let (want, profile) = want(&worlds, index);
        let rooms = rooms(&worlds);
        let held: Vec<(usize, PlacedProfile)> = worlds
            .iter()
            .enumerate()
            .flat_map(|(room, world)| {
                let held = world.parts.iter().filter(|(_, who)| *who != Who::Warm);
                held.map(move |(part, _)| (room, *part))
            })
            .collect();
        let room_without = |gone: &dyn Fn(usize, PlacedProfile) -> bool| -> u32 {
            let capacity = |(room, world): (usize, &World)| {
                let stays = held.iter().filter(|(of, part)| *of == room && !gone(room, *part));
                let layout = Layout::new(&world.geometry, stays.map(|(_, part)| *part)).unwrap();
                layout.capacity(&world.geometry, profile)
            };
            worlds.iter().enumerate().map(capacity).sum()
        };
        let sets = (0..1u32 << held.len()).filter(|set| {
            let at = |room, part| held.iter().position(|h| *h == (room, part)).unwrap();
            room_without(&|room, part| set >> at(room, part) & 1 == 1) >= count
        });
        prop_assume!(held.len() <= 9);
        let fewest = sets.map(u32::count_ones).min();
        let blockers = planner().blockers(&rooms, &want, count);
        prop_assert_eq!(blockers.as_ref().map(|b| b.len() as u32), fewest);
        if let Some(blockers) = blockers {
            let gone = |room, part| blockers.iter().any(|b| (b.room, b.part) == (room, part));
            prop_assert!(room_without(&gone) >= count);
        }
        let most = room_without(&|_, _| true);
        let expected = match fewest {
            Some(0) => Verdict::Now,
            Some(_) => Verdict::Later,
            None => Verdict::Never { most },
        };
        prop_assert_eq!(planner().could_ever_fit(&rooms, &want, count), expected);
    }
}

#[test]
fn a_gpu_that_is_not_usable_is_worth_waiting_for() {
    let worlds = [World::new(&a100(), &[])];
    let mut rooms = rooms(&worlds);
    rooms[0].usable = false;
    let want = Want::of(vec![Some(model::GpuInstanceProfileId::new(SEVEN))]);
    assert_eq!(planner().could_ever_fit(&rooms, &want, 1), Verdict::Later);
    assert_eq!(planner().could_ever_fit(&rooms, &want, 2), Verdict::Never { most: 1 });
    assert_eq!(planner().blockers(&rooms, &want, 1), None);
    // A count beyond all reason is refused without work in proportion to it.
    let most = Verdict::Never { most: 1 };
    assert_eq!(planner().could_ever_fit(&rooms, &want, u32::MAX), most);
    assert_eq!(planner().blockers(&rooms, &want, u32::MAX), None);
    let choices = planner().choose_many(&rooms, &want, u32::MAX, &planner::Forecast::unknown());
    assert_eq!(choices, None);
}

#[test]
fn the_smallest_obstacle_is_named() {
    // GPU 0 is full of small ones, GPU 1 has one 3g on each half: one of those suffices.
    let ones: Vec<_> = (0..7).map(|start| (part(ONE, start, 1), Who::Busy)).collect();
    let threes = [(part(THREE, 0, 4), Who::Leased), (part(THREE, 4, 4), Who::Busy)];
    let worlds = [World::new(&a100(), &ones), World::new(&a100(), &threes)];
    let want = Want::of(vec![Some(model::GpuInstanceProfileId::new(THREE)); 2]);
    let blockers = planner().blockers(&rooms(&worlds), &want, 1).unwrap();
    assert_eq!(blockers.len(), 1);
    assert_eq!((blockers[0].room, blockers[0].part), (1, part(THREE, 0, 4)));
    // Two of them: both 3g, rather than a 3g and the four small ones of a half.
    let blockers = planner().blockers(&rooms(&worlds), &want, 2).unwrap();
    assert_eq!(blockers.iter().map(|b| b.room).collect::<Vec<_>>(), [1, 1]);
}
