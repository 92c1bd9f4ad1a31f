//! The policies: what all have in common, and the published rules against their formulas.

use model::{GpuInstanceProfileId, PlacedProfile, Timestamp};
use planner::{Census, Forecast, Lasting, Policy, Want};
use proptest::prelude::*;

use crate::world::*;

/// The double-memory 1g of an A100.
const ONE_LARGE: u32 = 15;

/// Profile, units, starts and, for the published rules, the order of starts (arXiv 2409.06646).
const PLACES: [(u32, usize, &[u8], &[u8]); 6] = [
    (SEVEN, 8, &[0], &[0]),
    (FOUR, 4, &[0], &[0]),
    (THREE, 4, &[0, 4], &[4, 0]),
    (TWO, 2, &[0, 2, 4], &[4, 0, 2]),
    (ONE_LARGE, 2, &[0, 2, 4, 6], &[6, 4, 0, 2]),
    (ONE, 1, &[0, 1, 2, 3, 4, 5, 6], &[6, 4, 5, 0, 1, 2, 3]),
];

/// An A100 as eight units, taken or not.
type Units = [bool; 8];

fn with(mut gpu: Units, start: u8, size: usize) -> Option<Units> {
    let place = &mut gpu[usize::from(start)..usize::from(start) + size];
    if place.contains(&true) {
        return None;
    }
    place.fill(true);
    Some(gpu)
}

fn free(gpu: Units) -> usize {
    gpu.iter().filter(|taken| !**taken).count()
}

/// F of arXiv 2511.18906, on units.
fn fragmentation(gpu: Units) -> isize {
    let mut sum = 0;
    for (_, size, starts, _) in PLACES {
        if size <= free(gpu) {
            let blocked = starts.iter().filter(|start| with(gpu, **start, size).is_none());
            sum += size.cast_signed() * blocked.count().cast_signed();
        }
    }
    sum
}

fn longest_run(gpu: Units) -> usize {
    gpu.split(|taken| *taken).map(<[bool]>::len).max().unwrap_or(0)
}

fn places_left(gpu: Units) -> usize {
    let each = PLACES.iter().flat_map(|(_, size, starts, _)| starts.iter().map(|s| (*s, *size)));
    each.filter(|(start, size)| with(gpu, *start, *size).is_some()).count()
}

/// What each published rule minimises over GPUs and starts, read off its text.
fn judged(policy: Policy, gpus: &[Units], profile: u32) -> Option<(usize, u8)> {
    let (_, size, starts, order) = PLACES.into_iter().find(|place| place.0 == profile)?;
    let index = |start: u8| order.iter().position(|other| *other == start).unwrap();
    let mut best: Option<([isize; 5], (usize, u8))> = None;
    for (number, gpu) in gpus.iter().enumerate() {
        for start in starts {
            let Some(after) = with(*gpu, *start, size) else { continue };
            let (room, turn, fullness) =
                (number.cast_signed(), isize::from(*start), free(*gpu).cast_signed());
            let key = match policy {
                Policy::FirstFit => [room, turn, 0, 0, 0],
                Policy::RoundRobin { next } => [isize::from(number < next), room, turn, 0, 0],
                Policy::BestIndex => [fullness, room, index(*start).cast_signed(), 0, 0],
                Policy::WorstFit => [-fullness, room, index(*start).cast_signed(), 0, 0],
                Policy::Mfi => [fragmentation(after) - fragmentation(*gpu), room, turn, 0, 0],
                Policy::Hami => {
                    let (run, left) =
                        (longest_run(after).cast_signed(), places_left(after).cast_signed());
                    [fullness, room, -run, -left, turn]
                }
                Policy::Scar | Policy::Flp | Policy::BestFit => {
                    unreachable!("not a published rule")
                }
            };
            if best.is_none_or(|(known, _)| key < known) {
                best = Some((key, (number, *start)));
            }
        }
    }
    best.map(|(_, place)| place)
}

/// Legal layouts of A100s without attributes, by picks that are skipped where they do not fit.
fn a100s() -> impl Strategy<Value = Vec<(Units, World)>> {
    let gpu = proptest::collection::vec((0usize..6, any::<prop::sample::Index>()), 0..7);
    proptest::collection::vec(gpu, 1..6).prop_map(|gpus| {
        let each = gpus.into_iter().map(|picks| {
            let (mut units, mut parts) = ([false; 8], Vec::new());
            for (which, start) in picks {
                let (profile, size, starts, _) = PLACES[which];
                let start = *start.get(starts);
                if let Some(next) = with(units, start, size) {
                    units = next;
                    parts.push((part(profile, start, size as u8), Who::Busy));
                }
            }
            (units, World::new(&a100(), &parts))
        });
        each.collect()
    })
}

fn chosen(policy: Policy, worlds: &[World], profile: u32) -> Option<(usize, PlacedProfile)> {
    let want = Want::of(vec![Some(GpuInstanceProfileId::new(profile)); worlds.len()]);
    let choice = planner().choose_by(policy, &rooms(worlds), &want, &Forecast::unknown())?;
    Some((choice.room, choice.part))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn published_rules_choose_as_their_formulas_do(
        gpus in a100s(), which in 0usize..6, next in 0usize..7,
    ) {
        let profile = PLACES[which].0;
        let (units, worlds): (Vec<Units>, Vec<World>) = gpus.into_iter().unzip();
        let ours = [
            Policy::FirstFit,
            Policy::RoundRobin { next },
            Policy::BestIndex,
            Policy::WorstFit,
            Policy::Mfi,
            Policy::Hami,
        ];
        for policy in ours {
            let found = chosen(policy, &worlds, profile);
            let found = found.map(|(room, part)| (room, part.placement.start.get()));
            prop_assert_eq!(found, judged(policy, &units, profile), "{}", policy);
        }
    }

    /// The census and the rooms are two ways to the same choice, whatever the boards and whatever
    /// the order in which the census met the GPUs.
    #[test]
    fn census_and_rooms_agree(
        mut worlds in worlds(6), index in 0usize..16, turns in 0usize..7, asked in 0u32..30,
        ends in proptest::collection::vec(proptest::option::of(0u64..5), 6), until in 0u64..5,
    ) {
        let ends: Vec<_> = ends.into_iter().map(|end| end.map(Timestamp::from_millis)).collect();
        let lasting = Lasting { until: Timestamp::from_millis(until), ends: &ends };
        for world in &mut worlds {
            world.parts.iter_mut().for_each(|(_, who)| *who = Who::Busy);
        }
        let (want, profile) = want(&worlds, index);
        let mut forecast = Forecast::unknown();
        (0..asked).for_each(|_| forecast.count(worlds[0].geometry.profile(profile).unwrap().name));
        let rooms = rooms(&worlds);
        let mut boards: Vec<_> = worlds.iter().map(|world| world.geometry.clone()).collect();
        boards.dedup();
        let mut known: Vec<std::sync::Arc<model::Geometry>> = Vec::new();
        for board in boards {
            if !known.contains(&board) {
                known.push(board);
            }
        }
        let tables: Vec<_> = known.iter().map(|board| planner().tables(board)).collect();
        let has = |board: &std::sync::Arc<model::Geometry>| Some(board.profile(profile)?.id);
        let wanted: Vec<_> = known.iter().map(has).collect();
        let mut census = Census::new(tables.clone(), &Forecast::unknown());
        for (gpu, world) in worlds.iter().enumerate().rev() {
            let board = known.iter().position(|board| *board == world.geometry).unwrap();
            let parts = world.parts.iter().map(|(part, _)| *part);
            let class = tables[board].class_of(parts).unwrap();
            census.add_until(gpu, board, class, lasting.ends[gpu]);
        }
        census.expect(&forecast);
        for policy in Policy::ALL {
            let policy = if turns > 0 { policy.after(turns - 1) } else { policy };
            let by_rooms = planner().choose_by(policy, &rooms, &want, &forecast);
            let by_rooms = by_rooms.map(|choice| (choice.room, choice.part));
            let by_census = census.choose(policy, &wanted).map(|choice| (choice.gpu, choice.part));
            prop_assert_eq!(by_census, by_rooms, "{}", policy);
            let choices =
                planner().choose_many_lasting(policy, &rooms, &want, 1, &forecast, Some(lasting));
            let by_rooms = choices.map(|choices| (choices[0].room, choices[0].part));
            let by_census = census.choose_until(policy, &wanted, Some(lasting.until));
            let by_census = by_census.map(|choice| (choice.gpu, choice.part));
            prop_assert_eq!(by_census, by_rooms, "{} by ends", policy);
        }
    }
}

/// Of GPUs that look alike the one that stays in use least longer; the rules of others do not go by ends, and no end
/// outweighs a better place.
#[test]
fn between_equals_the_end_decides() {
    let half = || busy(&[(THREE, 0, 4)]);
    let worlds = [half(), half(), half(), busy(&[(THREE, 4, 4)])];
    let rooms = rooms(&worlds);
    let want = Want::of(vec![Some(GpuInstanceProfileId::new(THREE)); 4]);
    let at = |hours: u64| Timestamp::from_millis(hours * 3_600_000);
    let ends = vec![Some(at(9)), Some(at(2)), None, Some(at(5))];
    let unknown = Forecast::unknown();
    let goes = |policy, until| {
        let lasting = Lasting { until: at(until), ends: &ends };
        let choices =
            planner().choose_many_lasting(policy, &rooms, &want, 1, &unknown, Some(lasting));
        choices.unwrap()[0].room
    };
    // A 3g beside a 3g at the right lies where a 4g could; the first three are better.
    for policy in [Policy::Scar, Policy::Flp] {
        assert_eq!([1, 4, 6, 20].map(|until| goes(policy, until)), [1, 0, 0, 0], "{policy}");
    }
    assert_eq!([1, 20].map(|until| goes(Policy::FirstFit, until)), [0, 0]);
}

fn busy(parts: &[(u32, u8, u8)]) -> World {
    let parts: Vec<_> = parts.iter().map(|(p, s, n)| (part(*p, *s, *n), Who::Busy)).collect();
    World::new(&a100(), &parts)
}

/// Small cases worked out on paper.
#[test]
fn each_rule_by_hand() {
    // Free units: 8, 3, 4.
    let worlds = [busy(&[]), busy(&[(FOUR, 0, 4), (ONE, 4, 1)]), busy(&[(THREE, 4, 4)])];
    let start = |policy, profile| {
        let (room, part) = chosen(policy, &worlds, profile).unwrap();
        (room, part.placement.start.get())
    };
    assert_eq!(start(Policy::FirstFit, ONE), (0, 0));
    assert_eq!(start(Policy::RoundRobin { next: 2 }, ONE), (2, 0));
    assert_eq!(start(Policy::RoundRobin { next: 3 }, ONE), (0, 0));
    assert_eq!(start(Policy::BestIndex, ONE), (1, 6));
    assert_eq!(start(Policy::WorstFit, ONE), (0, 6));
    assert_eq!(start(Policy::BestIndex, THREE), (2, 0));
    assert_eq!(start(Policy::WorstFit, THREE), (0, 4));
    // A 1g at 5 of GPU 1 leaves the pair at 6, at 6 it leaves the unit at 5 and one that no 1g may
    // take: the longest run decides.
    assert_eq!(start(Policy::Hami, ONE), (1, 5));
    // F of GPU 1 is 17: a 1g is blocked at five starts, a double 1g and a 2g at three each, and larger
    // profiles do not count while three units are free. A 1g at 5 adds one; so does one at 0 of GPU 2.
    assert_eq!(start(Policy::Mfi, ONE), (1, 5));
    // Fullest means fewest places left: GPU 1 has 1g at 5 and 6 and a double 1g at 6.
    assert_eq!(start(Policy::BestFit, ONE), (1, 5));
}

#[test]
fn several_go_round_in_turn() {
    let worlds = [busy(&[]), busy(&[]), busy(&[(SEVEN, 0, 8)]), busy(&[])];
    let want = Want::of(vec![Some(GpuInstanceProfileId::new(THREE)); 4]);
    let policy = Policy::RoundRobin { next: 1 };
    let unknown = Forecast::unknown();
    let choices = planner().choose_many_by(policy, &rooms(&worlds), &want, 5, &unknown).unwrap();
    let places: Vec<_> = choices.iter().map(|c| (c.room, c.part.placement.start.get())).collect();
    assert_eq!(places, [(1, 0), (3, 0), (0, 0), (1, 4), (3, 4)]);
}

#[test]
fn names_lead_back_to_their_policies() {
    for policy in Policy::ALL {
        assert_eq!(Policy::named(policy.name()), Some(policy));
    }
    assert_eq!(Policy::named("first_fit"), None);
    assert_eq!(Policy::Scar.after(7), Policy::Scar);
}
