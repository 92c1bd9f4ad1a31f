//! Sizing against trying every deployment, against an integer program, and what every deployment must
//! be.
//!
//! Must never ask the search for what it is compared with.

use std::collections::BTreeSet;
use std::sync::Arc;

use good_lp::{Expression, ProblemVariables, Solution, SolverModel, WithMipGap, microlp, variable};
use model::{Geometry, GpuInstanceProfileId, Layout, Rate, catalog};
use planner::pack::{Demand, Packer};
use planner::size::{Deployment, EFFORT, Follow, Load, LoadSlice, Seat, SizeError, deploy, follow};
use proptest::prelude::*;

use crate::pack::Draw;

fn packer(board: &str) -> Packer {
    Packer::new(&Arc::new(catalog::board(board).unwrap().geometry()))
}

/// The plain profiles of a board, the double-memory one included.
fn profiles(geometry: &Geometry) -> Vec<GpuInstanceProfileId> {
    let plain = geometry.profiles.iter().filter(|profile| profile.name.attributes.is_plain());
    plain.map(|profile| profile.id).collect()
}

fn rate(units: u64) -> Rate {
    Rate::from_millionths(units * 1_000_000)
}

/// A load by its rate and what one slice of each profile carries; zero for one it may not have.
fn load(packer: &Packer, units: u64, carries: &[u64]) -> Load {
    let slices =
        profiles(packer.geometry()).into_iter().zip(carries).filter(|(_, units)| **units > 0);
    let slice = |(profile, units): (GpuInstanceProfileId, &u64)| LoadSlice {
        profile,
        carries: rate(*units),
    };
    Load { rate: rate(units), slices: slices.map(slice).collect() }
}

/// GPUs and compute slices of the smallest deployment, by trying all counts up to what suffices.
fn by_force(packer: &Packer, loads: &[Load]) -> Option<(u64, u64)> {
    let mut sums: BTreeSet<Vec<u64>> = BTreeSet::from([vec![0; packer.geometry().profiles.len()]]);
    for load in loads {
        let mut covers = Vec::new();
        all_covers(
            packer.geometry(),
            load,
            0,
            load.rate.millionths(),
            &mut Vec::new(),
            &mut covers,
        );
        sums = sums
            .iter()
            .flat_map(|sum| {
                covers.iter().map(|cover| sum.iter().zip(cover).map(|(a, b)| a + b).collect())
            })
            .collect();
    }
    let slices = |counts: &Vec<u64>| -> u64 {
        let each = packer.geometry().profiles.iter().zip(counts);
        each.map(|(profile, count)| u64::from(profile.name.slices) * count).sum()
    };
    let sizes = sums.iter().filter_map(|counts| {
        Some((packer.min_gpus(&Demand::from_counts(counts.clone()))?, slices(counts)))
    });
    sizes.min()
}

fn all_covers(
    geometry: &Geometry,
    load: &Load,
    from: usize,
    rest: u64,
    counts: &mut Vec<u64>,
    covers: &mut Vec<Vec<u64>>,
) {
    let Some(slice) = load.slices.get(from) else {
        if rest == 0 {
            let mut cover = vec![0; geometry.profiles.len()];
            for (slice, count) in load.slices.iter().zip(counts.iter()) {
                cover[geometry.profiles.iter().position(|p| p.id == slice.profile).unwrap()] =
                    *count;
            }
            covers.push(cover);
        }
        return;
    };
    for count in 0..=rest.div_ceil(slice.carries.millionths()) {
        counts.push(count);
        let left = rest.saturating_sub(count * slice.carries.millionths());
        all_covers(geometry, load, from + 1, left, counts, covers);
        counts.pop();
    }
}

/// What every deployment must be: it carries the rates, its layouts are legal, its numbers are those
/// of its seats, and nothing is below the floor.
fn is_sound(packer: &Packer, loads: &[Load], deployment: &Deployment) {
    let geometry = packer.geometry();
    let seats: Vec<&Seat> = deployment.gpus.iter().flatten().collect();
    for (index, load) in loads.iter().enumerate() {
        let carried = deployment.carried(index, &load.slices);
        assert!(carried >= load.rate, "load {index}: {carried} of {}", load.rate);
        for (profile, count) in &deployment.counts[index] {
            let own = |seat: &&&Seat| seat.load == index && seat.part.profile == *profile;
            assert_eq!(seats.iter().filter(own).count(), *count as usize);
        }
        let all: u32 = deployment.counts[index].iter().map(|(_, count)| count).sum();
        assert_eq!(seats.iter().filter(|seat| seat.load == index).count(), all as usize);
    }
    for gpu in &deployment.gpus {
        assert!(!gpu.is_empty());
        Layout::new(geometry, gpu.iter().map(|seat| seat.part)).expect("a legal layout");
    }
    let slices: u64 = seats
        .iter()
        .map(|seat| u64::from(geometry.profile(seat.part.profile).unwrap().name.slices))
        .sum();
    assert_eq!(deployment.slices, slices);
    assert!(deployment.floor.gpus <= deployment.gpus.len() as u64);
    assert!(deployment.floor.slices <= slices);
    assert!(deployment.floor.share <= 1000 * deployment.floor.gpus);
}

/// Three loads on up to so many profiles, of which each may be missing.
fn loads(most: u64) -> impl Strategy<Value = Vec<(u64, Vec<u64>)>> {
    let carries = proptest::collection::vec(0_u64..9, 6);
    proptest::collection::vec((0..most, carries), 1..4)
}

fn against_force(packer: &Packer, specs: &[(u64, Vec<u64>)]) {
    let loads: Vec<Load> = specs.iter().map(|(units, c)| load(packer, *units, c)).collect();
    match (deploy(packer, &loads, EFFORT), by_force(packer, &loads)) {
        (Ok(found), Some(least)) => {
            is_sound(packer, &loads, &found);
            assert_eq!((found.gpus.len() as u64, found.slices), least, "{specs:?}");
            assert!(found.is_smallest(), "{specs:?}: {:?}", found.floor);
        }
        (Err(SizeError::NoSlice { load }), None) => assert!(loads[load].slices.is_empty()),
        (found, least) => panic!("{found:?} where {least:?} was found, for {specs:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn small_questions_have_the_answer_that_trying_everything_finds(specs in loads(12)) {
        against_force(&packer("a100-sxm4-80gb"), &specs);
    }

    #[test]
    fn so_do_they_on_a_board_of_four(specs in loads(20)) {
        against_force(&packer("a30"), &specs);
    }
}

/// What is to be as little as possible in [`by_program`].
enum Least {
    Gpus,
    /// Compute slices on at most so many GPUs.
    Slices(u64),
}

/// The program that sizing answers, as the literature writes it: slices of each load and GPUs with
/// each pattern. In whole numbers where `gap` says how near to the best the answer must be.
fn by_program(packer: &Packer, loads: &[Load], least: &Least, gap: Option<f32>) -> f64 {
    let geometry = packer.geometry();
    let patterns = packer.patterns().maximal();
    let mut variables = ProblemVariables::new();
    let kind = || if gap.is_some() { variable().integer() } else { variable() };
    let gpus = variables.add_vector(kind().min(0), patterns.len());
    let counts: Vec<Vec<_>> =
        loads.iter().map(|load| variables.add_vector(kind().min(0), load.slices.len())).collect();
    let each = || {
        let pairs = loads.iter().zip(&counts);
        pairs.flat_map(|(load, counts)| load.slices.iter().zip(counts))
    };
    let used: Expression = gpus.iter().sum();
    let of = |slice: &LoadSlice| f64::from(geometry.profile(slice.profile).unwrap().name.slices);
    let slices: Expression = each().map(|(slice, count)| of(slice) * *count).sum();
    let goal = match least {
        Least::Gpus => used.clone(),
        Least::Slices(_) => slices,
    };
    let mut problem = variables.minimise(goal.clone()).using(microlp);
    if let Least::Slices(most) = least {
        problem = problem.with(used.leq(*most as f64));
    }
    for (load, counts) in loads.iter().zip(&counts) {
        let units = |slice: &LoadSlice| slice.carries.millionths() as f64 / 1e6;
        let pairs = load.slices.iter().zip(counts);
        let carried: Expression = pairs.map(|(slice, count)| units(slice) * *count).sum();
        problem = problem.with(carried.geq(load.rate.millionths() as f64 / 1e6));
    }
    for (at, profile) in geometry.profiles.iter().enumerate() {
        let own = each().filter(|(slice, _)| slice.profile == profile.id);
        let needed: Expression = own.map(|(_, count)| 1.0 * *count).sum();
        let held: Expression =
            gpus.iter().zip(patterns).map(|(gpus, p)| f64::from(p.counts[at]) * *gpus).sum();
        problem = problem.with((held - needed).geq(0.0));
    }
    problem.with_mip_gap(gap.unwrap_or(0.0)).unwrap().solve().unwrap().eval(goal)
}

#[test]
fn larger_questions_have_the_answer_of_an_integer_program() {
    let mut draw = Draw::new(5);
    for round in 0..8_u64 {
        let packer = packer(["a100-sxm4-80gb", "a30"][(round % 2) as usize]);
        let times = [1, 4, 12, 40][(round / 2) as usize];
        let loads: Vec<Load> = (0..3 + round % 3)
            .map(|_| {
                let base = 20 + draw.below(60);
                let carries =
                    [1, 1, 2, 3, 4, 7].map(|size| size * base * (60 + draw.below(60)) / 100);
                load(&packer, (50 + draw.below(400)) * times, &carries)
            })
            .collect();
        let found = deploy(&packer, &loads, EFFORT).unwrap();
        is_sound(&packer, &loads, &found);
        // Near enough that only one whole number is left.
        let whole = |least: &Least| {
            let relaxed = by_program(&packer, &loads, least, None);
            by_program(&packer, &loads, least, Some((0.9 / (relaxed + 2.0)) as f32)).round() as u64
        };
        let gpus = whole(&Least::Gpus);
        let slices = whole(&Least::Slices(gpus));
        assert_eq!((found.gpus.len() as u64, found.slices), (gpus, slices), "round {round}");
        assert!(found.is_smallest(), "round {round}");
    }
}

#[test]
fn ten_thousand_times_the_rate_is_proven_too() {
    let packer = packer("a100-sxm4-80gb");
    // 1g, 1g with twice the memory, 2g, 3g, 4g, 7g of three services that scale differently.
    let specs: [(u64, &[u64]); 3] = [
        (641, &[74, 80, 151, 226, 300, 520]),
        (997, &[0, 31, 59, 96, 120, 233]),
        (353, &[0, 0, 0, 43, 61, 104]),
    ];
    for times in [1, 10, 100, 10_000] {
        let loads: Vec<Load> =
            specs.iter().map(|(units, carries)| load(&packer, units * times, carries)).collect();
        let found = deploy(&packer, &loads, EFFORT).unwrap();
        is_sound(&packer, &loads, &found);
        assert!(found.is_smallest(), "x{times}: {:?} of {:?}", found.floor, found.slices);
        let shares: u64 = found.shares.iter().sum();
        assert!(shares + specs.len() as u64 >= found.floor.share, "the shares add up to the load");
    }
}

#[test]
fn what_cannot_be_proven_is_not_called_the_smallest() {
    let packer = packer("a100-sxm4-80gb");
    let specs: Vec<(u64, Vec<u64>)> =
        (0..8).map(|n| (97 + 13 * n, vec![5 + n % 3, 0, 11 + n % 4, 17, 22 + n % 5, 41])).collect();
    let loads: Vec<Load> = specs.iter().map(|(units, c)| load(&packer, *units, c)).collect();
    let full = deploy(&packer, &loads, EFFORT).unwrap();
    // One relaxation a number of GPUs: whatever it finds, its floor must hold for the full search.
    let hasty = deploy(&packer, &loads, 1).unwrap();
    is_sound(&packer, &loads, &hasty);
    assert!(hasty.floor.gpus <= full.gpus.len() as u64);
    assert!((hasty.gpus.len(), hasty.slices) >= (full.gpus.len(), full.slices));
    if hasty.is_smallest() {
        assert_eq!((hasty.gpus.len(), hasty.slices), (full.gpus.len(), full.slices));
    }
}

#[test]
fn a_load_without_a_slice_is_named_and_one_without_a_rate_gets_none() {
    let packer = packer("a30");
    let loads = [load(&packer, 5, &[3, 0, 7, 9]), load(&packer, 1, &[])];
    assert_eq!(deploy(&packer, &loads, EFFORT), Err(SizeError::NoSlice { load: 1 }));
    let idle = [load(&packer, 0, &[3, 0, 7, 9]), load(&packer, 0, &[])];
    let nothing = deploy(&packer, &idle, EFFORT).unwrap();
    assert!(nothing.gpus.is_empty() && nothing.is_smallest());
}

#[test]
fn what_follows_rates_knows_only_the_past_and_shrinks_after_its_memory() {
    let packer = packer("a30");
    let slices = vec![load(&packer, 0, &[10, 0, 20, 40]).slices];
    let rates: Vec<Vec<Rate>> =
        [10, 40, 90, 10, 10, 10, 10].iter().map(|units| vec![rate(*units)]).collect();
    let how = Follow { headroom: 0, memory: 2, effort: EFFORT };
    let served = follow(&packer, &slices, &rates, how).unwrap();
    let gpus: Vec<u64> = served.iter().map(|interval| interval.gpus).collect();
    // The second interval is served by what the first one needed, and so on; the peak is kept for
    // two intervals after it was seen.
    assert_eq!(gpus, [1, 1, 1, 3, 3, 1, 1]);
    let changes: Vec<bool> = served.iter().map(|interval| interval.changed).collect();
    assert_eq!(changes, [false, false, true, true, false, true, false]);
    assert_eq!(served[2].carried, [rate(40)], "less than the 90 that came");
}
