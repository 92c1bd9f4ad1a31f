//! The proof that the bounds are sufficient: that patterns have the integer decomposition property.
//!
//! Must never take a sample for a proof. A budget limits the work; beyond it nothing is proved.
//!
//! Let P be the hull of all count vectors of one GPU, in d dimensions. If, for k = 1 … d−1, every
//! whole point of kP is a vector of one GPU plus a whole point of (k−1)P, then so is every whole
//! point of kP for all k, and by induction the whole points of kP are exactly what fits k GPUs.
//! For k ≥ d it always holds: triangulate P into simplices without whole points but their corners,
//! and write the point as `sum(l[i] * corner[i])` over one of them, with `sum(l) = k`. If some
//! `l[i] >= 1`, that corner can be taken out. Otherwise `k < d + 1`, so k = d, and
//! `sum((1 - l[i]) * corner[i])` is a whole point of the simplex that is none of its corners.
//! Points below others need no check, for one GPU that may hold more may hold less.

use alloc::vec::Vec;

use super::bounds::Bound;

/// Points looked at before the proof is given up; the largest board needs 250 thousand.
const BUDGET: usize = 4_000_000;

/// Whether `bounds` (the whole hull) are sufficient for any number of GPUs.
pub(super) fn decomposes(maximal: &[&[u8]], bounds: &[Bound]) -> bool {
    let Some(first) = bounds.first() else { return maximal.iter().all(|p| p.is_empty()) };
    // A profile that fills a GPU by itself only takes GPUs away; one without a place has none.
    let alone = |profile: usize| {
        let having = maximal.iter().filter(|pattern| pattern[profile] > 0);
        having.map(|pattern| pattern.iter().map(|c| u32::from(*c)).sum::<u32>()).all(|sum| sum == 1)
    };
    // Profiles with equal weights in every bound stand in for each other: one of them will do.
    let twin = |profile: usize| {
        let same = |other: usize| bounds.iter().all(|b| b.weights[other] == b.weights[profile]);
        (0..profile).any(same)
    };
    let kept: Vec<usize> =
        (0..first.weights.len()).filter(|profile| !alone(*profile) && !twin(*profile)).collect();
    let mut search = Search {
        patterns: maximal.iter().map(|pattern| project(pattern, bounds, &kept)).collect(),
        capacities: bounds.iter().map(|bound| bound.capacity.cast_signed()).collect(),
        weights: kept
            .iter()
            .map(|p| bounds.iter().map(|b| b.weights[*p].cast_signed()).collect())
            .collect(),
        point: alloc::vec![0; kept.len()],
        gpus: 0,
        left: BUDGET,
    };
    search.patterns.sort_unstable();
    search.patterns.dedup();
    let most = i64::try_from(kept.len()).unwrap_or(i64::MAX);
    (1..most.max(2)).all(|gpus| search.all_decompose(gpus))
}

/// Counts of the kept profiles, each with those of its twins.
fn project(pattern: &[u8], bounds: &[Bound], kept: &[usize]) -> Vec<i64> {
    let of = |profile: &usize| {
        let same = |o: &usize| bounds.iter().all(|b| b.weights[*o] == b.weights[*profile]);
        (0..pattern.len()).filter(same).map(|other| i64::from(pattern[other])).sum()
    };
    kept.iter().map(of).collect()
}

struct Search {
    patterns: Vec<Vec<i64>>,
    capacities: Vec<i64>,
    /// By kept profile, then by bound.
    weights: Vec<Vec<i64>>,
    point: Vec<i64>,
    gpus: i64,
    left: usize,
}

impl Search {
    /// Whether every whole point that obeys the bounds on so many GPUs leaves, without some
    /// pattern, one that obeys them on one GPU less.
    fn all_decompose(&mut self, gpus: i64) -> bool {
        self.gpus = gpus;
        let slack: Vec<i64> = self.capacities.iter().map(|capacity| capacity * gpus).collect();
        self.go(0, &slack)
    }

    fn go(&mut self, profile: usize, slack: &[i64]) -> bool {
        if profile == self.weights.len() {
            self.left = self.left.saturating_sub(1);
            return self.left > 0 && (self.is_below_another(slack) || self.splits());
        }
        let most = most(slack, &self.weights[profile]);
        // The last profile as often as it fits: fewer is below that.
        let from = if profile + 1 == self.weights.len() { most } else { 0 };
        (from..=most).all(|count| {
            self.point[profile] = count;
            let weights = self.weights[profile].iter();
            let slack: Vec<i64> = slack.iter().zip(weights).map(|(s, w)| s - w * count).collect();
            self.go(profile + 1, &slack)
        })
    }

    fn is_below_another(&self, slack: &[i64]) -> bool {
        self.weights.iter().any(|weights| most(slack, weights) > 0)
    }

    fn splits(&self) -> bool {
        self.patterns.iter().any(|pattern| {
            let rest = |p: usize| (self.point[p] - pattern[p]).max(0);
            let load = |b: usize| -> i64 {
                self.weights.iter().enumerate().map(|(p, weights)| weights[b] * rest(p)).sum()
            };
            let mut capacities = self.capacities.iter().enumerate();
            capacities.all(|(b, capacity)| load(b) <= capacity * (self.gpus - 1))
        })
    }
}

/// How often an instance with these weights fits into the slack.
fn most(slack: &[i64], weights: &[i64]) -> i64 {
    let pairs = slack.iter().zip(weights).filter(|(_, weight)| **weight > 0);
    pairs.map(|(slack, weight)| slack / weight).min().unwrap_or(0)
}
