//! The way down from a multiset to layouts: GPU after GPU is filled so that the rest still obeys the
//! bounds on the GPUs that are left.
//!
//! Must never leave a way out: where the bounds are not proved sufficient it goes back and tries the
//! next, so that a no is a no.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::bounds::Bound;

/// So many GPUs with these counts.
pub(super) type Filled = (u64, Vec<u64>);

/// What is still to be packed on how many GPUs, and the ways to go on that were not tried.
struct Frame {
    rest: Vec<u64>,
    gpus: u64,
    ways: Vec<Filled>,
    taken: Option<Filled>,
}

/// Fills at most `gpus` GPUs with exactly these counts; `None` if they do not fit. Where the bounds
/// are sufficient the first way always leads to the end.
pub(super) fn peel(
    maximal: &[&[u8]],
    bounds: &[Bound],
    counts: &[u64],
    gpus: u64,
) -> Option<Vec<Filled>> {
    if !bounds.iter().all(|bound| bound.admits(counts, gpus)) {
        return None;
    }
    let mut dead: BTreeSet<(u64, Vec<u64>)> = BTreeSet::new();
    let frame = |rest: Vec<u64>, gpus: u64| {
        let ways = ways(maximal, bounds, &rest, gpus);
        Frame { rest, gpus, ways, taken: None }
    };
    let mut stack = alloc::vec![frame(counts.to_vec(), gpus)];
    while let Some(top) = stack.last_mut() {
        if top.rest.iter().all(|count| *count == 0) {
            return Some(stack.into_iter().filter_map(|frame| frame.taken).collect());
        }
        let Some(way) = top.ways.pop() else {
            dead.insert((top.gpus, core::mem::take(&mut top.rest)));
            stack.pop();
            continue;
        };
        let left = top.rest.iter().zip(&way.1).map(|(rest, count)| rest - way.0 * count).collect();
        let gpus = top.gpus - way.0;
        top.taken = Some(way);
        let next = (gpus, left);
        if !dead.contains(&next) {
            stack.push(frame(next.1, gpus));
        }
    }
    None
}

/// The ways to fill some GPUs alike so that the rest obeys the bounds on the others; the one that
/// fills most last. Some GPU must hold an instance of the first profile that is left, so only
/// patterns that have it are tried; each once for as many GPUs as it is good for, and once for one.
fn ways(maximal: &[&[u8]], bounds: &[Bound], rest: &[u64], gpus: u64) -> Vec<Filled> {
    let Some(first) = rest.iter().position(|count| *count > 0) else { return Vec::new() };
    let mut ways: Vec<Filled> = Vec::new();
    for pattern in maximal.iter().filter(|pattern| pattern[first] > 0) {
        let cut: Vec<u64> =
            rest.iter().zip(*pattern).map(|(rest, most)| (*rest).min(u64::from(*most))).collect();
        let there = rest.iter().zip(&cut).filter(|(_, count)| **count > 0);
        let many = there.map(|(rest, count)| rest / count).min().unwrap_or(0);
        let good = bounds.iter().map(|bound| good_for(bound, rest, &cut, gpus)).min();
        let times = many.min(good.unwrap_or(0)).min(gpus);
        if times > 1 {
            ways.push((times, cut.clone()));
        }
        if times > 0 {
            ways.push((1, cut));
        }
    }
    ways.sort_unstable_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    ways.dedup();
    ways
}

/// On how many GPUs `cut` may lie so that the rest obeys a bound on the others; the rest obeys it now.
fn good_for(bound: &Bound, rest: &[u64], cut: &[u64], gpus: u64) -> u64 {
    let unused = u128::from(bound.capacity).saturating_sub(bound.load(cut));
    let spare = (u128::from(bound.capacity) * u128::from(gpus)).saturating_sub(bound.load(rest));
    spare.checked_div(unused).map_or(gpus, |times| u64::try_from(times).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::bounds::bounds;
    use super::super::proof::decomposes;
    use super::*;

    /// The smallest known stock that is cut worse than its relaxation says: rods of 132 cut to 44, 33
    /// and 12. Two, three and six pieces take 1.96 rods, and no two rods give them.
    #[test]
    fn where_bounds_do_not_suffice_every_way_is_tried() {
        let fits =
            |a: u8, b: u8, c: u8| u32::from(a) * 44 + u32::from(b) * 33 + u32::from(c) * 12 <= 132;
        let mut rods = Vec::new();
        for (a, b) in (0..=3).flat_map(|a| (0..=4).map(move |b| (a, b))) {
            if let Some(c) = (0..=11).rev().find(|c| fits(a, b, *c)) {
                rods.push([a, b, c]);
            }
        }
        let rods: Vec<&[u8]> = rods.iter().map(<[u8; 3]>::as_slice).collect();
        let bounds = bounds(&rods, 3).unwrap();
        assert!(!decomposes(&rods, &bounds));
        let pieces = [2, 3, 6];
        assert_eq!(bounds.iter().filter_map(|bound| bound.least_gpus(&pieces)).max(), Some(2));
        assert_eq!(peel(&rods, &bounds, &pieces, 2), None);
        let three = peel(&rods, &bounds, &pieces, 3).unwrap();
        let held = |piece: usize| three.iter().map(|(rods, cut)| rods * cut[piece]).sum::<u64>();
        assert_eq!([held(0), held(1), held(2)], pieces);
        assert!(three.iter().map(|(rods, _)| rods).sum::<u64>() <= 3);
    }
}
