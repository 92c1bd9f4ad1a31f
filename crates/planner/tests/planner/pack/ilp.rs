//! Large random multisets against an integer program over the patterns, and the closed form that was
//! published for boards with eighths.

use good_lp::{Expression, ProblemVariables, Solution, SolverModel, WithMipGap, microlp, variable};
use planner::pack::{Demand, Packer};

use super::packers;

/// The fewest GPUs by a program over the patterns: so many GPUs with each, enough of every profile.
/// In whole numbers, the answer is proved to within less than one GPU of the best.
fn by_program(packer: &Packer, counts: &[u64], whole: Option<f32>) -> f64 {
    let mut variables = ProblemVariables::new();
    let patterns = packer.patterns().maximal();
    let kind = if whole.is_some() { variable().integer() } else { variable() };
    let gpus = variables.add_vector(kind.min(0), patterns.len());
    let all: Expression = gpus.iter().sum();
    let mut problem = variables.minimise(all.clone()).using(microlp);
    for (profile, count) in counts.iter().enumerate() {
        let pairs = gpus.iter().zip(patterns);
        let held: Expression =
            pairs.map(|(gpus, pattern)| f64::from(pattern.counts[profile]) * *gpus).sum();
        problem = problem.with(held.geq(*count as f64));
    }
    let problem = problem.with_mip_gap(whole.unwrap_or(0.0)).unwrap();
    problem.solve().unwrap().eval(all)
}

/// A reproducible stream of numbers.
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, most: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most.max(1)
    }
}

#[test]
fn large_multisets_need_what_an_integer_program_needs() {
    let mut draw = Draw::new(1);
    for (board, packer) in packers() {
        let profiles = packer.geometry().profiles.len();
        for round in 0..6u32 {
            let most = 10u64.pow(1 + round % 3);
            let counts: Vec<u64> = (0..profiles).map(|_| draw.below(most)).collect();
            let found = packer.min_gpus(&Demand::from_counts(counts.clone()));
            let relaxed = by_program(packer, &counts, None);
            let within = (0.9 / (relaxed + 2.0)) as f32;
            let least = by_program(packer, &counts, Some(within)).round() as u64;
            assert_eq!(found, Some(least), "{board} {counts:?}");
        }
    }
}

/// The published inequalities for 7g, 4g, 3g, 2g, double-memory 1g and 1g, word for word.
fn published([n7, n4, n3, n2, n20, n10]: [i64; 6], gpus: i64) -> bool {
    let left = gpus - n7;
    let (over, right) = ((n3 - left).max(0), (left - n3).max(0));
    let halves = left - n4 - over;
    let pairs = 2 * halves + right - n2 - (n20 - n20.min(right));
    left >= 0 && halves >= 0 && pairs >= 0 && n10 <= 2 * pairs + (right - n20.min(right))
}

/// What was published for boards with eighths is what follows from their layouts.
#[test]
fn the_published_closed_form_is_found_again() {
    let (_, packer) = packers().iter().find(|(board, _)| *board == "a100-sxm4-40gb").unwrap();
    let index = |name: &str| {
        let mut profiles = packer.geometry().profiles.iter();
        profiles.position(|p| p.name.to_string() == name).unwrap()
    };
    let order = ["7g.40gb", "4g.20gb", "3g.20gb", "2g.10gb", "1g.10gb", "1g.5gb"].map(index);
    let mut draw = Draw::new(2);
    let (mut fitting, mut tested) = (0, 0);
    for _ in 0..40_000 {
        let gpus = 1 + draw.below(1000);
        // Near the edge of what fits: shares of a load that is about all there is.
        let mut counts = [0u64; 6];
        for (slot, size) in counts.iter_mut().zip([8, 4, 4, 2, 2, 1]) {
            *slot = draw.below(2 * gpus * 8 / size / 5 + 2);
        }
        let mut demand = Demand::none(packer.geometry());
        order.iter().zip(counts).for_each(|(index, count)| demand.add(*index, count));
        let expected = published(counts.map(u64::cast_signed), gpus.cast_signed());
        assert_eq!(packer.fits(&demand, gpus), expected, "{counts:?} on {gpus}");
        fitting += u32::from(expected);
        tested += 1;
    }
    assert!(fitting > tested / 20 && fitting < tested - tested / 20, "{fitting} of {tested}");
}
