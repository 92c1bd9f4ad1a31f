//! Free room as blocks: what is left of a GPU, cut along the places where profiles may lie.
//!
//! The places of a board nest: a whole GPU holds two halves, a half two pairs, and so on. Those that
//! offer the same profiles and hold the same smaller places are one *kind*. On an A100 the kinds are
//! the whole GPU, the left half (4g and 3g), the right half (3g), the pair (2g), the last pair (a
//! double-memory 1g or one 1g) and the single unit. They are read off the placements, never named.
//! Must never say that a block is free where the class admits nothing that lies exactly there.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use model::{Placement, SliceMask};

use crate::effects::Effects;
use crate::tables::{ClassId, GeometryTables, PartId};

/// The blocks of one geometry.
#[derive(Debug, Clone, Default)]
pub(crate) struct Blocks {
    kinds: usize,
    /// By class and kind, the free blocks that lie in no larger free one.
    free: Vec<u32>,
    /// What adding a part does to the free blocks, by kind.
    pub(super) changes: Effects<Vec<i32>>,
    /// The profiles in the order in which they are served, large before small.
    pub(super) served: Vec<Served>,
    /// By kind: the first served profile that it holds, by index in `served`; how many of them a block
    /// holds; and the most blocks of the kind that a placement leaves.
    first: Vec<(usize, u32, u32)>,
    /// Whether nothing is left of a block that is full of the first profile that it holds.
    exact: bool,
}

/// A profile and the kinds that hold it.
#[derive(Debug, Clone)]
pub(super) struct Served {
    /// Its index among the geometry's profiles.
    pub(super) profile: usize,
    /// What an instance counts for: its grid units.
    pub(super) weight: u32,
    /// From the smallest block to the largest.
    pub(super) from: Vec<Source>,
}

/// A kind of block that holds a profile.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) kind: usize,
    /// How many instances one block holds.
    pub(super) holds: u32,
    /// The blocks that are left of a full one.
    pub(super) full: Vec<(usize, u32)>,
    /// By number of instances placed, below `holds`: the blocks that are left.
    pub(super) left: Vec<Vec<(usize, u32)>>,
}

/// A place in the nest.
#[derive(Debug)]
struct Node {
    at: Placement,
    parts: Vec<PartId>,
    inside: Vec<usize>,
    kind: usize,
}

/// What makes places one kind: the profiles that lie exactly there, and the kinds inside.
type Signature = (Vec<usize>, Vec<usize>);

/// A kind in the making.
#[derive(Debug)]
struct Kind {
    own: Vec<usize>,
    inside: Vec<usize>,
    /// Units, then how many placements it offers: what is used up first.
    order: (u8, usize),
}

impl Blocks {
    pub(crate) fn new(tables: &GeometryTables) -> Self {
        let (nodes, kinds) = nest(tables);
        let free = tables.classes().flat_map(|class| free_blocks(tables, &nodes, &kinds, class));
        let free = free.collect();
        let served = serving_order(tables, &kinds);
        let mut blocks = Self { kinds: kinds.len(), free, served, ..Self::default() };
        blocks.changes = Effects::new(tables, |from, to| blocks.difference(from, to));
        blocks.find_first();
        blocks
    }

    fn find_first(&mut self) {
        self.exact = true;
        for kind in 0..self.kinds {
            let sources =
                self.served.iter().enumerate().flat_map(|(index, served)| {
                    served.from.iter().map(move |source| (index, source))
                });
            let found = sources.into_iter().find(|(_, source)| source.kind == kind);
            let most = self.changes.each().iter().map(|change| change[kind]).max().unwrap_or(0);
            let (index, holds) = found.map_or((0, 0), |(index, source)| (index, source.holds));
            self.exact &= found.is_some_and(|(_, source)| source.full.is_empty());
            self.first.push((index, holds, most.max(0) as u32));
        }
    }

    /// Whether a demand fills every block, now and after any placement, with the first profile that
    /// the block holds: then so does every larger demand.
    pub(super) fn fill(&self, free: &[u32], demand: &[u32]) -> bool {
        let mut left: Vec<i64> = demand.iter().map(|count| i64::from(*count)).collect();
        for ((index, holds, more), count) in self.first.iter().zip(free) {
            left[*index] -= i64::from(*holds) * (i64::from(*count) + i64::from(*more));
        }
        self.exact && left.iter().all(|left| *left >= 0)
    }

    /// The grid units that a change takes from what fits where everything is full.
    pub(super) fn lost_when_full(&self, change: &[i32]) -> i64 {
        let kinds = self.first.iter().zip(change);
        let lost = kinds.map(|((index, holds, _), more)| {
            let held = i64::from(self.served[*index].weight) * i64::from(*holds);
            -held * i64::from(*more)
        });
        lost.sum()
    }

    /// Number of kinds.
    pub(crate) const fn kinds(&self) -> usize {
        self.kinds
    }

    /// The free blocks of a GPU in a class, by kind.
    pub(crate) fn free(&self, class: ClassId) -> &[u32] {
        let from = usize::from(class.0) * self.kinds;
        &self.free[from..from + self.kinds]
    }

    /// Shares by profile of the geometry, in the order in which profiles are served.
    pub(crate) fn shares(&self, shares: &[f64]) -> Vec<f64> {
        self.served.iter().map(|served| shares[served.profile]).collect()
    }

    /// Bytes on the heap, about.
    pub(crate) fn bytes(&self) -> usize {
        let sources = self.served.iter().flat_map(|served| &served.from);
        let left =
            sources.map(|source| source.left.iter().map(|l| 40 + l.len() * 16).sum::<usize>());
        self.free.len() * 4 + self.changes.bytes(self.kinds * 4) + left.sum::<usize>()
    }

    fn difference(&self, from: ClassId, to: ClassId) -> Vec<i32> {
        let pairs = self.free(from).iter().zip(self.free(to));
        pairs.map(|(before, after)| after.cast_signed() - before.cast_signed()).collect()
    }
}

/// The places, each inside the smallest that holds it, and their kinds. A place that lies across
/// another is left out: no board of the catalog has one.
fn nest(tables: &GeometryTables) -> (Vec<Node>, Vec<Kind>) {
    let mut places: BTreeMap<(Reverse<u8>, u8), Vec<PartId>> = BTreeMap::new();
    for part in tables.part_ids() {
        let at = tables.part(part).placement;
        places.entry((Reverse(at.size.get()), at.start.get())).or_default().push(part);
    }
    let mut nodes: Vec<Node> = Vec::new();
    for ((Reverse(size), start), parts) in places {
        let at = Placement::new(start, size);
        let nested = |node: &Node| !node.at.overlaps(at) || node.at.mask().contains(at.mask());
        if !nodes.iter().all(nested) {
            continue;
        }
        let holder = nodes.iter().rposition(|node| node.at.overlaps(at));
        let index = nodes.len();
        nodes.push(Node { at, parts, inside: Vec::new(), kind: 0 });
        if let Some(holder) = holder {
            nodes[holder].inside.push(index);
        }
    }
    let mut known: BTreeMap<Signature, usize> = BTreeMap::new();
    let mut kinds: Vec<Kind> = Vec::new();
    for index in (0..nodes.len()).rev() {
        let signature = signature(tables, &nodes, index);
        let kind = *known.entry(signature.clone()).or_insert_with(|| {
            let offers: usize = signature.1.iter().map(|inside| kinds[*inside].order.1).sum();
            let order = (nodes[index].at.size.get(), offers + signature.0.len());
            kinds.push(Kind { own: signature.0, inside: signature.1, order });
            kinds.len() - 1
        });
        nodes[index].kind = kind;
    }
    (nodes, kinds)
}

fn signature(tables: &GeometryTables, nodes: &[Node], index: usize) -> Signature {
    let node = &nodes[index];
    let mut own: Vec<usize> = node.parts.iter().map(|part| tables.profile_index(*part)).collect();
    own.sort_unstable();
    let mut inside: Vec<usize> = node.inside.iter().map(|inner| nodes[*inner].kind).collect();
    inside.sort_unstable();
    (own, inside)
}

fn free_blocks(
    tables: &GeometryTables,
    nodes: &[Node],
    kinds: &[Kind],
    class: ClassId,
) -> Vec<u32> {
    let mut free = alloc::vec![0; kinds.len()];
    let mut counted = SliceMask::EMPTY;
    for node in nodes {
        let admitted = node.parts.iter().any(|part| tables.after(class, *part).is_some());
        let mask = node.at.mask();
        if admitted && !mask.intersects(tables.mask(class)) && !mask.intersects(counted) {
            free[node.kind] += 1;
            counted = counted.union(mask);
        }
    }
    free
}

/// The profiles large before small, those with the fewer kinds of places first; among equals those
/// without attributes.
fn serving_order(tables: &GeometryTables, kinds: &[Kind]) -> Vec<Served> {
    let mut served: Vec<Served> = Vec::new();
    for (profile, about) in tables.geometry().profiles.iter().enumerate() {
        let mut sources: Vec<Source> =
            (0..kinds.len()).filter_map(|kind| source(kinds, kind, profile)).collect();
        sources.sort_unstable_by_key(|source| (kinds[source.kind].order, source.kind));
        if !sources.is_empty() {
            let weight = u32::from(about.size.get());
            served.push(Served { profile, weight, from: sources });
        }
    }
    served.sort_by_key(|s| {
        let plain = tables.geometry().profiles[s.profile].name.attributes.is_plain();
        (Reverse(s.weight), s.from.len(), !plain, s.profile)
    });
    served
}

/// What placing a profile in a block leaves; `None` when it does not fit. It goes into the smallest
/// block inside that holds it.
fn place(kinds: &[Kind], kind: usize, profile: usize) -> Option<Vec<u32>> {
    if kinds[kind].own.contains(&profile) {
        return Some(alloc::vec![0; kinds.len()]);
    }
    let inside = &kinds[kind].inside;
    let fitting = inside.iter().filter_map(|inner| Some((inner, place(kinds, *inner, profile)?)));
    let (inner, mut left) = fitting.min_by_key(|(inner, _)| (kinds[**inner].order, **inner))?;
    for other in inside {
        left[*other] += 1;
    }
    left[*inner] -= 1;
    Some(left)
}

fn source(kinds: &[Kind], kind: usize, profile: usize) -> Option<Source> {
    place(kinds, kind, profile)?;
    let mut there = alloc::vec![0; kinds.len()];
    there[kind] = 1;
    let mut left = Vec::new();
    loop {
        left.push(there.clone());
        let holding = (0..kinds.len()).filter(|kind| there[*kind] > 0);
        let ways = holding.filter_map(|kind| Some((kind, place(kinds, kind, profile)?)));
        let best = ways.min_by_key(|(kind, _)| (kinds[*kind].order, *kind));
        let Some((used, then)) = best else { break };
        there[used] -= 1;
        there.iter_mut().zip(then).for_each(|(sum, more)| *sum += more);
    }
    let sparse =
        |counts: Vec<u32>| counts.into_iter().enumerate().filter(|(_, count)| *count > 0).collect();
    let full = sparse(left.pop()?);
    let left: Vec<_> = left.into_iter().map(sparse).collect();
    Some(Source { kind, holds: left.len() as u32, full, left })
}
