//! Whether a set of slices fits on so many A100s at all, however they lie.
//!
//! Must never be asked about a board whose shapes are not those of the eight-unit grid.

use broker::RequestSpec;
use model::{Geometry, NodeSnapshot};

use super::work::answer;

/// The geometry of every GPU of a machine, if they are all of one board.
pub(crate) fn one_geometry(observed: &NodeSnapshot) -> Option<&Geometry> {
    let mut all = observed.gpus.iter().map(|gpu| gpu.geometry.as_deref());
    let first = all.next()??;
    all.all(|other| other == Some(first)).then_some(first)
}

/// How many of each are wanted: 7g, 4g, 3g, 2g, 1g.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    counts: [u32; 5],
}

impl Sizes {
    /// What a request asks for, more; `None` if this board is not of the shape, or the profile not
    /// one of the five.
    pub(crate) fn with(mut self, spec: &RequestSpec, geometry: &Geometry) -> Option<Self> {
        let profile = answer(&spec.wanted, geometry)?;
        let (slices, size) = (profile.name.slices, profile.size.get());
        let known = matches!((slices, size), (1, 1) | (2, 2) | (3 | 4, 4) | (7, 8));
        if geometry.grid.get() != 8 || !known || !profile.name.attributes.is_plain() {
            return None;
        }
        self.add(slices, spec.count);
        Some(self)
    }

    /// So many more with so many compute slices.
    pub(crate) const fn add(&mut self, slices: u8, count: u32) {
        let index = match slices {
            1 => 4,
            2 => 3,
            3 => 2,
            4 => 1,
            _ => 0,
        };
        self.counts[index] += count;
    }

    /// Whether they fit on so many GPUs. Exact: a 3g takes a right half first, since a left half
    /// holds whatever a right one does and a 4g beside; a right half holds a 2g and one 1g more
    /// than a second 2g would leave (seven compute slices, so the last unit is of no use but to
    /// memory).
    pub(crate) const fn fit_on(&self, gpus: u32) -> bool {
        let [n7, n4, n3, n2, n1] = self.counts;
        let Some(cut) = gpus.checked_sub(n7) else { return false };
        let right = cut.saturating_sub(n3);
        let Some(left) = cut.checked_sub(n4 + n3.saturating_sub(cut)) else { return false };
        let pairs = 2 * left + right;
        let Some(pairs_left) = pairs.checked_sub(n2) else { return false };
        n1 <= 2 * pairs_left + right
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use model::ProfileSelector;
    use planner::{ClassId, GeometryTables};

    use super::*;

    /// Every count vector that one or two GPUs can hold, by the tables of the geometry.
    #[test]
    fn the_closed_form_is_what_the_geometry_allows() {
        let geometry =
            Arc::new(model::catalog::board("a100-sxm4-40gb").expect("a known board").geometry());
        let tables = GeometryTables::new(&geometry);
        let ids: Vec<_> = [7, 4, 3, 2, 1]
            .map(|n| geometry.select(&ProfileSelector::Slices(n)).expect("a profile").id)
            .to_vec();
        let mut one: BTreeSet<[u32; 5]> = BTreeSet::new();
        let mut edge: Vec<(ClassId, [u32; 5])> = vec![(tables.empty(), [0; 5])];
        let mut seen = BTreeSet::new();
        while let Some((class, counts)) = edge.pop() {
            if !seen.insert((class, counts)) {
                continue;
            }
            one.insert(counts);
            for (index, id) in ids.iter().enumerate() {
                for part in tables.parts_of(*id) {
                    if let Some(next) = tables.after(class, part) {
                        let mut more = counts;
                        more[index] += 1;
                        edge.push((next, more));
                    }
                }
            }
        }
        let sum = |a: &[u32; 5], b: &[u32; 5]| std::array::from_fn(|i| a[i] + b[i]);
        let two: BTreeSet<[u32; 5]> =
            one.iter().flat_map(|a| one.iter().map(move |b| sum(a, b))).collect();
        for (gpus, legal, most) in [(1, &one, 8), (2, &two, 15)] {
            for n7 in 0..=gpus + 1 {
                for n4 in 0..=gpus + 1 {
                    for n3 in 0..=2 * gpus + 1 {
                        for n2 in 0..=3 * gpus + 1 {
                            for n1 in 0..=most {
                                let counts = [n7, n4, n3, n2, n1];
                                let fits = Sizes { counts }.fit_on(gpus);
                                assert_eq!(fits, legal.contains(&counts), "{counts:?} on {gpus}");
                            }
                        }
                    }
                }
            }
        }
    }
}
