//! Every multiset that one, two or three GPUs can hold, and every one that they just cannot.
//!
//! Must never ask the packer for what it is compared with: what fits is summed up from layouts.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::layout::enumerate;
use model::{Geometry, Layout};
use planner::pack::{Demand, Packer};

use super::packers;

type Counts = Vec<u64>;

/// The count vectors of every layout.
fn vectors(geometry: &Geometry) -> BTreeSet<Counts> {
    enumerate(geometry, |_| true).iter().map(|layout| counts(geometry, layout)).collect()
}

fn counts(geometry: &Geometry, layout: &Layout) -> Counts {
    let of = |id| layout.placed().iter().filter(|part| part.profile == id).count() as u64;
    geometry.profiles.iter().map(|profile| of(profile.id)).collect()
}

fn sum(one: &[u64], other: &[u64]) -> Counts {
    one.iter().zip(other).map(|(a, b)| a + b).collect()
}

/// What fits one GPU more than `fitting` does; `one` is what fits a single one.
fn and_one_more(fitting: &BTreeSet<Counts>, one: &BTreeSet<Counts>) -> BTreeSet<Counts> {
    fitting.iter().flat_map(|a| one.iter().map(move |b| sum(a, b))).collect()
}

/// Holds the packer against all sets that fit up to `most` GPUs: of each the fewest GPUs, and that
/// one instance more of anything needs as many as it should.
fn all_up_to(packer: &Packer, most: u64) -> usize {
    let one = vectors(packer.geometry());
    let mut fitting = vec![BTreeSet::from([vec![0; packer.geometry().profiles.len()]])];
    for gpus in 0..most as usize {
        let next = and_one_more(&fitting[gpus], &one);
        fitting.push(next);
    }
    let least = |counts: &Counts| fitting.iter().position(|set| set.contains(counts));
    let last = fitting.last().unwrap();
    for counts in last {
        let demand = Demand::from_counts(counts.clone());
        let expected = least(counts).unwrap() as u64;
        assert_eq!(packer.min_gpus(&demand), Some(expected), "{counts:?}");
        for gpus in 0..=most {
            assert_eq!(packer.fits(&demand, gpus), gpus >= expected, "{counts:?} on {gpus}");
        }
        for profile in 0..counts.len() {
            let mut more = demand.clone();
            more.add(profile, 1);
            let fits = last.contains(more.counts());
            assert_eq!(packer.fits(&more, most), fits, "{:?} on {most}", more.counts());
        }
    }
    last.len()
}

#[test]
fn every_multiset_of_a_few_gpus_is_told_apart() {
    for (board, packer) in packers() {
        let most = if vectors(packer.geometry()).len() > 100 { 2 } else { 3 };
        let checked = all_up_to(packer, most);
        assert!(checked > 40, "{board}: {checked}");
    }
}

#[test]
fn a_witness_holds_exactly_what_was_asked_for_on_the_fewest_gpus() {
    for (board, packer) in packers() {
        let geometry = packer.geometry();
        let one = vectors(geometry);
        for counts in and_one_more(&one, &one).iter().step_by(7) {
            let demand = Demand::from_counts(counts.clone());
            let least = packer.min_gpus(&demand).unwrap();
            assert_eq!(packer.witness(&demand, least.saturating_sub(1)).is_some(), least == 0);
            let groups = packer.witness(&demand, 9).unwrap();
            assert_eq!(groups.iter().map(|(gpus, _)| gpus).sum::<u64>(), least, "{board}");
            let nothing = vec![0; counts.len()];
            let held = groups.iter().fold(nothing, |held, (gpus, layout)| {
                let again = Layout::new(geometry, layout.placed().iter().copied()).unwrap();
                (0..*gpus).fold(held, |held, _| sum(&held, &self::counts(geometry, &again)))
            });
            assert_eq!(&held, counts, "{board}");
        }
    }
}

/// The bounds are proved sufficient on every board.
#[test]
fn every_board_is_closed() {
    for (board, packer) in packers() {
        assert!(packer.is_closed(), "{board}");
    }
}

#[test]
fn what_a_board_does_not_have_does_not_fit() {
    let (_, packer) = &packers()[0];
    let geometry = packer.geometry();
    let mut demand = Demand::none(geometry);
    assert_eq!(packer.min_gpus(&demand), Some(0));
    assert_eq!(packer.witness(&demand, 0), Some(Vec::new()));
    demand.add(geometry.profiles.len(), 1);
    assert!(!packer.fits(&demand, 1000));
    assert_eq!(packer.min_gpus(&demand), None);
    let without = Geometry { profiles: Vec::new(), ..(**geometry).clone() };
    let none = Packer::new(&Arc::new(without));
    assert_eq!(none.min_gpus(&Demand::from_counts(vec![0, 1])), None);
}
