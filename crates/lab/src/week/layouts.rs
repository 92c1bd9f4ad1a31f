//! The family of static layouts that is searched, and the search.
//!
//! Must never be narrowed where it would win.

use model::{NodeSnapshot, PlacedProfile, ProfileSelector};
use planner::Planner;

use super::GPUS;
use super::score::Score;
use crate::replay::lay_out;

/// Compute slices of the parts of one GPU, largest first.
pub(crate) type Pattern = &'static [u8];

/// The ways to cut one GPU, as multisets; every maximal layout is one of them.
const PATTERNS: [Pattern; 14] = [
    &[7],
    &[4, 3],
    &[3, 3],
    &[4, 2, 1],
    &[4, 1, 1, 1],
    &[3, 2, 2],
    &[3, 2, 1, 1],
    &[3, 1, 1, 1, 1],
    &[3, 2, 1],
    &[3, 1, 1, 1],
    &[2, 2, 2, 1],
    &[2, 2, 1, 1, 1],
    &[2, 1, 1, 1, 1, 1],
    &[1, 1, 1, 1, 1, 1, 1],
];

/// Where the search begins: how many GPUs of which pattern.
const BEGINNINGS: [&[(usize, usize)]; 12] = [
    &[(8, 1)],
    &[(8, 2)],
    &[(8, 3)],
    &[(8, 5)],
    &[(8, 10)],
    &[(8, 13)],
    &[(1, 0), (7, 5)],
    &[(1, 0), (3, 2), (4, 10)],
    &[(2, 0), (2, 2), (4, 10)],
    &[(2, 0), (3, 5), (3, 11)],
    &[(1, 0), (2, 1), (2, 5), (3, 10)],
    &[(3, 0), (2, 2), (3, 10)],
];

/// Rounds of exchanging one GPU's pattern for another.
const ROUNDS: usize = 8;

fn built(counts: &[usize]) -> Vec<Pattern> {
    let each = counts.iter().zip(PATTERNS);
    each.flat_map(|(count, pattern)| std::iter::repeat_n(pattern, *count)).take(GPUS).collect()
}

/// `2 x [3 2 2], 6 x [7]`.
pub(crate) fn in_words(patterns: &[Pattern]) -> String {
    let mut parts: Vec<(usize, Pattern)> = Vec::new();
    for pattern in patterns {
        match parts.last_mut() {
            Some((count, last)) if last == pattern => *count += 1,
            _ => parts.push((1, pattern)),
        }
    }
    let words = parts.iter().map(|(count, pattern)| {
        let slices: Vec<String> = pattern.iter().map(ToString::to_string).collect();
        format!("{count} x [{}]", slices.join(" "))
    });
    words.collect::<Vec<_>>().join(", ")
}

/// The layout with the shortest mean wait: of the beginnings the best, then one GPU after the other
/// cut otherwise as long as that helps. It is chosen knowing the week, which nobody does.
pub(crate) fn best(serve: &dyn Fn(&[Pattern]) -> Option<Score>) -> Option<Score> {
    let wait = |score: &Score| score.waits.get("all").map_or(f64::MAX, |waits| waits.mean);
    let beginnings = BEGINNINGS.iter().filter_map(|beginning| {
        let mut counts = [0; PATTERNS.len()];
        for (count, pattern) in *beginning {
            counts[*pattern] += count;
        }
        Some((counts, serve(&built(&counts))?))
    });
    let mut best = beginnings.min_by(|(_, a), (_, b)| wait(a).total_cmp(&wait(b)))?;
    for _ in 0..ROUNDS {
        let mut better = None;
        for from in 0..PATTERNS.len() {
            for to in (0..PATTERNS.len()).filter(|to| *to != from && best.0[from] > 0) {
                let mut counts = best.0;
                counts[from] -= 1;
                counts[to] += 1;
                let Some(score) = serve(&built(&counts)) else { continue };
                let known = better.as_ref().map_or(wait(&best.1), |(_, known)| wait(known));
                if wait(&score) < known {
                    better = Some((counts, score));
                }
            }
        }
        match better {
            Some(found) => best = found,
            None => break,
        }
    }
    Some(best.1)
}

/// Places for the parts of a pattern.
pub(crate) fn cut(
    observed: &NodeSnapshot,
    planner: &Planner,
    gpu: usize,
    pattern: Pattern,
) -> Option<Vec<PlacedProfile>> {
    let geometry = observed.gpus.get(gpu)?.geometry.as_ref()?;
    let part = |slices: &u8| {
        let profile = geometry.select(&ProfileSelector::Slices(*slices)).ok()?;
        Some((profile.id, None))
    };
    let parts: Option<Vec<_>> = pattern.iter().map(part).collect();
    lay_out(&planner.tables(geometry), &parts?)
}
