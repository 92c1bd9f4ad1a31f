//! The linear inequalities that everything obeys that fits a number of GPUs.
//!
//! Must never leave out one that cuts: together they are the convex hull of the patterns.
//!
//! The hull is found by the double description method in whole numbers: the cone of all
//! `(capacity, weights)` with non-negative weights that no pattern exceeds is cut out inequality by
//! inequality, and its extreme rays are kept. Profiles that can stand in for each other in every
//! pattern are counted together first.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

/// `sum(weights[p] * count[p]) <= capacity * GPUs` for everything that fits that many GPUs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bound {
    /// The room that one GPU has.
    pub capacity: u64,
    /// The room that one instance of each profile takes, in the order of the geometry's profiles.
    pub weights: Vec<u64>,
}

impl Bound {
    /// The room that these instances take.
    pub fn load(&self, counts: &[u64]) -> u128 {
        let pairs = self.weights.iter().zip(counts);
        pairs.fold(0, |sum, (weight, count)| sum + u128::from(*weight) * u128::from(*count))
    }

    /// Whether these instances obey it on so many GPUs.
    pub fn admits(&self, counts: &[u64], gpus: u64) -> bool {
        self.load(counts) <= u128::from(self.capacity) * u128::from(gpus)
    }

    /// The fewest GPUs on which these instances obey it; `None` if none do.
    pub fn least_gpus(&self, counts: &[u64]) -> Option<u64> {
        match (self.load(counts), u128::from(self.capacity)) {
            (0, _) => Some(0),
            (_, 0) => None,
            (load, capacity) => Some(u64::try_from(load.div_ceil(capacity)).unwrap_or(u64::MAX)),
        }
    }
}

/// Beyond so many rays the hull is given up; boards have fewer than a hundred at any time.
const MOST_RAYS: usize = 4_000;

/// The bounds of maximal count vectors over `profiles` profiles. `None` where the hull is too
/// large to be worked out.
pub(super) fn bounds(maximal: &[&[u8]], profiles: usize) -> Option<Vec<Bound>> {
    let group = alike(maximal, profiles);
    let groups = group.iter().max().map_or(0, |last| last + 1);
    let mut merged: BTreeSet<Vec<i64>> = BTreeSet::new();
    for counts in maximal {
        let mut sums = alloc::vec![0i64; groups];
        for (profile, count) in counts.iter().enumerate() {
            sums[group[profile]] += i64::from(*count);
        }
        merged.insert(sums);
    }
    let bound = |ray: &Vec<i64>| Bound {
        capacity: ray[0].unsigned_abs(),
        weights: group.iter().map(|g| ray[g + 1].unsigned_abs()).collect(),
    };
    let mut bounds: Vec<Bound> = rays(&merged, groups)?.iter().map(bound).collect();
    bounds.retain(|bound| bound.weights.iter().any(|weight| *weight > 0));
    let all = bounds.clone();
    bounds.retain(|bound| !all.iter().any(|other| other != bound && implies(other, bound)));
    bounds.sort_unstable();
    Some(bounds)
}

/// Whether whatever obeys `strong` obeys `weak`, because each instance takes no less of it.
fn implies(strong: &Bound, weak: &Bound) -> bool {
    let pairs = strong.weights.iter().zip(&weak.weights);
    weak.capacity > 0
        && pairs.clone().all(|(strong_weight, weak_weight)| {
            weak_weight * strong.capacity <= strong_weight * weak.capacity
        })
}

/// For each profile the group of those that can stand in for it, numbered from zero.
fn alike(maximal: &[&[u8]], profiles: usize) -> Vec<usize> {
    let fits = |counts: &[u8]| {
        maximal.iter().any(|pattern| counts.iter().zip(*pattern).all(|(c, most)| c <= most))
    };
    let replaces = |one: usize, other: usize| {
        let mut having = maximal.iter().filter(|pattern| pattern[one] > 0);
        having.all(|pattern| {
            let mut counts = pattern.to_vec();
            counts[one] -= 1;
            counts[other] += 1;
            fits(&counts)
        })
    };
    let mut group: Vec<usize> = Vec::with_capacity(profiles);
    let mut groups = 0;
    for profile in 0..profiles {
        let same = (0..profile).find(|o| replaces(*o, profile) && replaces(profile, *o));
        group.push(same.map_or(groups, |other| group[other]));
        groups += usize::from(same.is_none());
    }
    group
}

/// A ray of the cone, with the inequalities that it meets exactly, as bits.
#[derive(Clone)]
struct Ray {
    at: Vec<i64>,
    tight: Vec<u64>,
}

impl Ray {
    fn new(at: Vec<i64>, cuts: &[Vec<i64>]) -> Self {
        let mut tight = alloc::vec![0u64; cuts.len().div_ceil(64)];
        for (index, cut) in cuts.iter().enumerate() {
            if dot(cut, &at) == 0 {
                tight[index / 64] |= 1 << (index % 64);
            }
        }
        Self { at, tight }
    }
}

fn dot(one: &[i64], other: &[i64]) -> i64 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

/// The extreme rays `(capacity, weights...)` of the cone of valid inequalities.
fn rays(patterns: &BTreeSet<Vec<i64>>, dimensions: usize) -> Option<Vec<Vec<i64>>> {
    let unit = |index: usize| (0..=dimensions).map(move |i| i64::from(i == index));
    let mut cuts: Vec<Vec<i64>> = (1..=dimensions).map(|index| unit(index).collect()).collect();
    let room = |pattern: &Vec<i64>| {
        core::iter::once(1).chain(pattern.iter().map(|count| -count)).collect::<Vec<i64>>()
    };
    cuts.extend(patterns.iter().map(room));
    let first = patterns.first()?;
    let mut starts = alloc::vec![unit(0).collect::<Vec<i64>>()];
    for (index, count) in first.iter().enumerate() {
        let mut ray: Vec<i64> = unit(index + 1).collect();
        ray[0] = *count;
        starts.push(ray);
    }
    let first = dimensions + 1;
    let mut rays: Vec<Ray> = starts.into_iter().map(|at| Ray::new(at, &cuts[..first])).collect();
    for (index, cut) in cuts.iter().enumerate().skip(first) {
        let split = |wanted: core::cmp::Ordering| {
            rays.iter().filter(move |ray| dot(cut, &ray.at).cmp(&0) == wanted)
        };
        let mut next: Vec<Vec<i64>> =
            rays.iter().filter(|ray| dot(cut, &ray.at) >= 0).map(|ray| ray.at.clone()).collect();
        for inside in split(core::cmp::Ordering::Greater) {
            for outside in split(core::cmp::Ordering::Less) {
                if adjacent(inside, outside, &rays) {
                    next.push(between(cut, inside, outside));
                }
            }
        }
        if next.len() > MOST_RAYS {
            return None;
        }
        rays = next.into_iter().map(|at| Ray::new(at, &cuts[..=index])).collect();
    }
    Some(rays.into_iter().map(|ray| ray.at).collect())
}

/// Whether no third ray meets every inequality that both of these meet: then they span a face.
fn adjacent(one: &Ray, other: &Ray, all: &[Ray]) -> bool {
    let both: Vec<u64> = one.tight.iter().zip(&other.tight).map(|(a, b)| a & b).collect();
    let meets = |ray: &&Ray| both.iter().zip(&ray.tight).all(|(both, tight)| both & tight == *both);
    all.iter().filter(meets).count() == 2
}

/// The ray on the face of two others that meets `cut`, in smallest whole numbers.
fn between(cut: &[i64], inside: &Ray, outside: &Ray) -> Vec<i64> {
    let (a, b) = (dot(cut, &inside.at), -dot(cut, &outside.at));
    let pairs = inside.at.iter().zip(&outside.at);
    let mut ray: Vec<i64> = pairs.map(|(i, o)| b * i + a * o).collect();
    let divisor = ray.iter().fold(0, |sofar, value| divisor(sofar, *value));
    for value in &mut ray {
        *value /= divisor.max(1);
    }
    ray
}

fn divisor(one: i64, other: i64) -> i64 {
    if other == 0 { one.abs() } else { divisor(other, one % other) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(maximal: &[&[u8]]) -> Vec<(u64, Vec<u64>)> {
        let bounds = bounds(maximal, maximal[0].len()).unwrap();
        bounds.into_iter().map(|bound| (bound.capacity, bound.weights)).collect()
    }

    #[test]
    fn a_buddy_tree_is_bounded_by_its_levels() {
        let four: [&[u8]; 4] = [&[4, 0, 0], &[2, 1, 0], &[0, 2, 0], &[0, 0, 1]];
        assert_eq!(found(&four), [(4, alloc::vec![1, 2, 4])]);
    }

    #[test]
    fn exclusion_and_stand_ins_show() {
        let pairs: [&[u8]; 3] = [&[2, 0, 0], &[1, 1, 0], &[0, 0, 1]];
        assert_eq!(
            found(&pairs),
            [(1, alloc::vec![0, 1, 1]), (2, alloc::vec![1, 1, 2])],
            "at most one of the second, and the third alone"
        );
        assert_eq!(alike(&[&[2, 0], &[1, 1], &[0, 2]], 2), [0, 0]);
        assert_eq!(alike(&pairs, 3), [0, 1, 2]);
    }

    #[test]
    fn a_profile_without_a_place_never_fits() {
        let bounds = bounds(&[&[1, 0]], 2).unwrap();
        assert!(bounds.iter().any(|bound| bound.least_gpus(&[0, 1]).is_none()));
        assert!(bounds.iter().all(|bound| bound.least_gpus(&[3, 0]).is_some_and(|g| g <= 3)));
    }
}
