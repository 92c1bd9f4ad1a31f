//! What the scarcity-weighted policy prefers.

use planner::{Forecast, Policy, Want};

use crate::world::*;

fn start(worlds: &[World], profile: u32) -> (usize, u8) {
    start_with(worlds, profile, &Forecast::unknown())
}

fn start_with(worlds: &[World], profile: u32, forecast: &Forecast) -> (usize, u8) {
    let id = model::GpuInstanceProfileId::new(profile);
    let want = Want::of(vec![Some(id); worlds.len()]);
    let choice = planner().choose(&rooms(worlds), &want, forecast).unwrap();
    (choice.room, choice.part.placement.start.get())
}

fn world(parts: &[(u32, u8, u8)], who: Who) -> World {
    let parts: Vec<_> =
        parts.iter().map(|(p, start, size)| (part(*p, *start, *size), who)).collect();
    World::new(&a100(), &parts)
}

#[test]
fn small_slices_start_where_they_cost_least() {
    let empty = [world(&[], Who::Busy)];
    assert_eq!(start(&empty, ONE), (0, 6));
    assert_eq!(start(&empty, TWO), (0, 4));
    assert_eq!(start(&empty, THREE), (0, 4));
    // The other half of the pair that is broken already.
    assert_eq!(start(&[world(&[(ONE, 6, 1), (ONE, 4, 1)], Who::Busy)], ONE), (0, 5));
    // The right half is broken, so the 2g goes there and the left stays whole.
    assert_eq!(start(&[world(&[(ONE, 6, 1)], Who::Busy)], TWO), (0, 4));
}

#[test]
fn used_gpus_come_before_empty_ones() {
    let empty = || world(&[], Who::Busy);
    let used = || world(&[(ONE, 6, 1)], Who::Busy);
    assert_eq!(start(&[empty(), used(), empty()], ONE).0, 1);
    assert_eq!(start(&[empty(), used(), empty()], TWO).0, 1);
    assert_eq!(start(&[empty(), world(&[(FOUR, 0, 4)], Who::Busy)], THREE), (1, 4));
    // Of equals the one that is fuller of warm slices, then the first.
    assert_eq!(start(&[empty(), world(&[(TWO, 0, 2)], Who::Warm), empty()], ONE), (1, 6));
    assert_eq!(start(&[empty(), empty()], SEVEN).0, 0);
}

#[test]
fn what_is_asked_for_most_is_kept_free() {
    // GPU 0 has its left half free, GPU 1 three quarters. A 2g takes the place of a 4g or 3g on
    // GPU 0; on GPU 1 it takes one of three pairs beside a broken half.
    let worlds =
        [world(&[(THREE, 4, 4)], Who::Busy), world(&[(ONE, 0, 1), (ONE, 6, 1)], Who::Busy)];
    let mut large = Forecast::unknown();
    let mut small = Forecast::unknown();
    for _ in 0..100 {
        large.count(model::ProfileName::plain(4, 20));
        small.count(model::ProfileName::plain(2, 10));
    }
    assert_eq!(start_with(&worlds, ONE, &large).0, 1);
    assert_eq!(start_with(&worlds, TWO, &large).0, 1);
    assert_eq!(start_with(&worlds, ONE, &small), (1, 1));
}

#[test]
fn warm_slices_count_as_free_room_but_are_spared() {
    // A warm 2g lies at 4; a 1g goes where an empty GPU would want it, and the 2g stays.
    let warm = [world(&[(TWO, 4, 2)], Who::Warm)];
    assert_eq!(start(&warm, ONE), (0, 6));
    // A 3g could lie at 4 only over the warm 2g; at 0 it destroys nothing, though it costs the 4g.
    assert_eq!(start(&warm, THREE), (0, 0));
    // The warm 1g at 6 is used before the one at 0, which breaks the left half.
    assert_eq!(start(&[world(&[(ONE, 0, 1), (ONE, 6, 1)], Who::Warm)], ONE), (0, 6));
}

/// Among very many GPUs every loss is tiny; the order of the losses must survive that.
#[test]
fn the_order_survives_a_million_gpus() {
    let tables = planner().tables(&a100());
    let forecast = Forecast::unknown();
    let mut census = planner::Census::new(vec![tables.clone()], &forecast);
    let used = tables.class_of([part(ONE, 6, 1)]).unwrap();
    for gpu in 0..1_000_000 {
        census.add(gpu, 0, if gpu == 777_777 { used } else { tables.empty() });
    }
    let want = |profile| [Some(model::GpuInstanceProfileId::new(profile))];
    let choose = |profile| census.choose(Policy::Scar, &want(profile)).unwrap();
    assert_eq!((choose(TWO).gpu, choose(TWO).part.placement.start.get()), (777_777, 4));
    assert_eq!((choose(SEVEN).gpu, census.group_count()), (0, 2));
}

/// Only whole GPUs are asked for, and these are none any more: what a 2g costs there is far below
/// what a double can hold beside the price of a whole GPU. It still has its order.
#[test]
fn the_order_survives_underflow() {
    let tables = planner().tables(&a100());
    let mut whole = Forecast::unknown();
    for _ in 0..100_000 {
        whole.count(model::ProfileName::plain(7, 40));
    }
    let mut census = planner::Census::new(vec![tables.clone()], &whole);
    let used = tables.class_of([part(ONE, 6, 1)]).unwrap();
    for gpu in 0..100_000 {
        census.add(gpu, 0, used);
    }
    let two = [Some(model::GpuInstanceProfileId::new(TWO))];
    let choice = census.choose(Policy::Scar, &two).unwrap();
    assert_eq!((choice.gpu, choice.part.placement.start.get()), (0, 4));
}

#[test]
fn baselines_do_what_their_names_say() {
    let worlds = [
        world(&[], Who::Busy),
        world(&[(FOUR, 0, 4), (ONE, 4, 1)], Who::Busy),
        world(&[(THREE, 4, 4)], Who::Busy),
    ];
    let want = Want::of(vec![Some(model::GpuInstanceProfileId::new(ONE)); 3]);
    let by = |policy| {
        let unknown = Forecast::unknown();
        let choice = planner().choose_by(policy, &rooms(&worlds), &want, &unknown).unwrap();
        (choice.room, choice.part.placement.start.get())
    };
    assert_eq!(by(Policy::FirstFit), (0, 0));
    // The pair at 4 is broken already; 5 leaves the single at 6 and room for a double-memory 1g.
    assert_eq!(by(Policy::BestFit), (1, 5));
}

/// The census and the rooms are two ways to the same choice.
#[test]
fn census_and_rooms_agree() {
    let tables = planner().tables(&a100());
    let forecast = Forecast::unknown();
    let mut census = planner::Census::new(vec![tables.clone()], &forecast);
    let mut worlds = vec![world(&[], Who::Busy); 5];
    for gpu in 0..5 {
        census.add(gpu, 0, tables.empty());
    }
    for profile in [ONE, TWO, THREE, ONE, FOUR, TWO, ONE, THREE, SEVEN, ONE, TWO, THREE, ONE] {
        let id = model::GpuInstanceProfileId::new(profile);
        let want = Want::of(vec![Some(id); worlds.len()]);
        let by_rooms = planner().choose(&rooms(&worlds), &want, &forecast).unwrap();
        let by_census = census.choose(Policy::Scar, &[Some(id)]).unwrap();
        assert_eq!((by_census.gpu, by_census.part), (by_rooms.room, by_rooms.part));
        let class = |world: &World| tables.class_of(world.parts.iter().map(|(p, _)| *p)).unwrap();
        census.remove(by_rooms.room, 0, class(&worlds[by_rooms.room]));
        worlds[by_rooms.room].parts.push((by_rooms.part, Who::Busy));
        census.add(by_rooms.room, 0, class(&worlds[by_rooms.room]));
    }
}
