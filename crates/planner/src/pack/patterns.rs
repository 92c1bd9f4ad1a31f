//! The ways to fill one GPU: count vectors to which nothing can be added.
//!
//! Must never leave a legal layout out: whatever [`Layout`] admits is considered, engines and rules
//! of the board included.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use model::{Geometry, Layout, layout::enumerate};

/// A way to fill one GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// Instances by profile, in the order of [`Geometry::profiles`].
    pub counts: Vec<u8>,
    /// One layout that has exactly these, the first of them in their order.
    pub layout: Layout,
}

/// The maximal patterns of a geometry: a multiset fits one GPU if and only if one of them has at
/// least as many of each profile, for what a GPU admits it also admits less of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patterns {
    maximal: Vec<Pattern>,
    layouts: usize,
    vectors: usize,
}

impl Patterns {
    /// Enumerates every layout; milliseconds for the largest boards.
    pub fn new(geometry: &Geometry) -> Self {
        let layouts = enumerate(geometry, |_| true);
        let count = layouts.len();
        let mut first: BTreeMap<Vec<u8>, Layout> = BTreeMap::new();
        for layout in layouts {
            first.entry(counts_of(geometry, &layout)).or_insert(layout);
        }
        let vectors = first.len();
        // A vector is maximal if no vector has one instance more: the set is closed downwards.
        let more = |counts: &[u8], index: usize| {
            let mut counts = counts.to_vec();
            counts[index] += 1;
            counts
        };
        let is_maximal = |counts: &[u8]| {
            (0..counts.len()).all(|index| !first.contains_key(&more(counts, index)))
        };
        let maximal = first.iter().filter(|(counts, _)| is_maximal(counts));
        let pattern = |(counts, layout): (&Vec<u8>, &Layout)| Pattern {
            counts: counts.clone(),
            layout: layout.clone(),
        };
        Self { maximal: maximal.map(pattern).collect(), layouts: count, vectors }
    }

    /// The maximal patterns, ascending by their counts.
    pub fn maximal(&self) -> &[Pattern] {
        &self.maximal
    }

    /// How many layouts the geometry has, the empty one included.
    pub const fn layout_count(&self) -> usize {
        self.layouts
    }

    /// How many different count vectors these layouts have, the empty one included.
    pub const fn vector_count(&self) -> usize {
        self.vectors
    }
}

/// Instances of each profile in a layout.
pub(super) fn counts_of(geometry: &Geometry, layout: &Layout) -> Vec<u8> {
    let of = |profile: &model::GpuInstanceProfile| {
        layout.placed().iter().filter(|part| part.profile == profile.id).count() as u8
    };
    geometry.profiles.iter().map(of).collect()
}
