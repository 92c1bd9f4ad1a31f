//! Branch and bound over how many slices of each size each service gets.
//!
//! Must never call something proven that a bound in whole numbers does not prove, nor give a
//! different answer for the same question: nodes are taken by bound, depth and number.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::cmp::Reverse;

use super::cover::{Need, Span};
use super::relax::{Aim, Frame, Mixed, Pool, Ratio, Relaxed, relax};

/// How near to a whole number counts as one; only where to branch depends on it.
const NEAR: f64 = 1e-6;
/// The most roundings of one relaxation that are looked at.
const ROUNDINGS: usize = 256;
/// The most covers of one service among them.
const CHOICES: usize = 3;

/// Counts of slices by service and size.
pub(super) type Counts = Vec<Vec<u32>>;

/// What was found, and what is proven of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    pub(super) counts: Counts,
    /// GPUs that hold them.
    pub(super) gpus: u64,
    /// Compute slices of them all.
    pub(super) slices: u64,
    /// No solution has fewer GPUs.
    pub(super) gpus_floor: u64,
    /// No solution on as many GPUs has fewer compute slices.
    pub(super) slices_floor: u64,
    /// What the rates take of GPUs at the least, before they are rounded.
    pub(super) share: Ratio,
    /// Prices of slices in GPUs that prove it, by size.
    pub(super) prices: Vec<u64>,
    /// Relaxations that were solved.
    pub(super) nodes: u32,
}

/// Whether slices, counted by size, fit a number of GPUs.
pub(super) type Fits<'a> = dyn FnMut(&[u64], u64) -> bool + 'a;

/// The fewest GPUs and, among those, compute slices. `effort` is the most relaxations for each
/// number of GPUs that is tried. `None` if a service cannot be carried at all.
pub(super) fn search(frame: &Frame, fits: &mut Fits<'_>, effort: u32) -> Option<Found> {
    let free: Vec<Span> = frame.needs.iter().map(|_| Span::free(frame.slices.len())).collect();
    let mut pool: Pool = frame.needs.iter().map(|_| BTreeSet::new()).collect();
    let root = relax(frame, Aim::Gpus, &free, &mut pool, u64::MAX)?;
    let (mut gpus, mut floor, mut nodes) = (root.bound.up(), root.bound.up(), 1);
    loop {
        let mut tree = Tree::new(frame, gpus, fits, pool);
        let ended = tree.grow(&free, effort);
        nodes += tree.nodes;
        if let Some((counts, slices)) = tree.best.take() {
            let slices_floor = ended.unwrap_or(slices);
            let (share, prices) = (root.bound, root.prices);
            let gpus_floor = floor;
            return Some(Found {
                counts,
                gpus,
                slices,
                gpus_floor,
                slices_floor,
                share,
                prices,
                nodes,
            });
        }
        // Nothing found and nothing left to look at: so many GPUs do not suffice.
        if ended.is_none() && floor == gpus {
            floor += 1;
        }
        pool = tree.pool;
        gpus += 1;
    }
}

/// A node that waits: what it allows, and what its relaxation says.
struct Node {
    spans: Vec<Span>,
    relaxed: Relaxed,
}

struct Tree<'a, 'f, 'p> {
    frame: &'a Frame,
    gpus: u64,
    fits: &'f mut Fits<'p>,
    pool: Pool,
    /// By bound, depth (the deepest first) and number.
    open: BTreeMap<(u64, Reverse<u32>, u32), Node>,
    /// No solution has as many slices, or more, or it is of no interest.
    limit: u64,
    best: Option<(Counts, u64)>,
    nodes: u32,
}

impl<'a, 'f, 'p> Tree<'a, 'f, 'p> {
    fn new(frame: &'a Frame, gpus: u64, fits: &'f mut Fits<'p>, pool: Pool) -> Self {
        let slices_of = |pattern: &Vec<u32>| -> u64 {
            pattern.iter().zip(&frame.slices).map(|(n, s)| u64::from(*n) * u64::from(*s)).sum()
        };
        let most = frame.patterns.iter().map(slices_of).max().unwrap_or(0);
        let limit = most.saturating_mul(gpus).saturating_add(1);
        Self { frame, gpus, fits, pool, open: BTreeMap::new(), limit, best: None, nodes: 0 }
    }

    /// Searches; `None` when there is nothing left to look at, else the least that could be found.
    fn grow(&mut self, root: &[Span], effort: u32) -> Option<u64> {
        self.look_at(root.to_vec(), 0);
        while let Some(((bound, Reverse(depth), _), node)) = self.open.pop_first() {
            if bound >= self.limit {
                return None;
            }
            if self.nodes >= effort {
                return Some(bound);
            }
            for spans in self.children(&node) {
                self.look_at(spans, depth + 1);
            }
        }
        None
    }

    /// Relaxes, tries what lies near, and keeps the node if something better may lie below.
    fn look_at(&mut self, spans: Vec<Span>, depth: u32) {
        self.nodes += 1;
        let aim = Aim::Slices { gpus: self.gpus };
        let Some(relaxed) = relax(self.frame, aim, &spans, &mut self.pool, self.limit) else {
            return;
        };
        let bound = relaxed.bound.up();
        if bound >= self.limit {
            return;
        }
        self.round(&relaxed.mixes);
        self.take_whole(&relaxed.mixes);
        if bound < self.limit {
            self.open.insert((bound, Reverse(depth), self.nodes), Node { spans, relaxed });
        }
    }

    /// Takes one cover of each service's mix, in several ways.
    fn round(&mut self, mixes: &[Vec<Mixed>]) {
        let choices: Vec<&[Mixed]> =
            mixes.iter().map(|mix| &mix[..mix.len().min(CHOICES)]).collect();
        let ways = choices.iter().fold(1_usize, |ways, mix| ways.saturating_mul(mix.len()));
        for way in 0..ways.min(ROUNDINGS) {
            let mut rest = way;
            let mut counts = Counts::with_capacity(choices.len());
            for mix in &choices {
                counts.push(mix[rest % mix.len()].counts.clone());
                rest /= mix.len();
            }
            self.consider(counts);
        }
    }

    /// Takes the means of the mixes where they are whole: they carry what each of their covers does.
    fn take_whole(&mut self, mixes: &[Vec<Mixed>]) {
        let means: Vec<Vec<f64>> = mixes.iter().map(|mix| self.mean(mix)).collect();
        if self.most_divided(&means).is_some() {
            return;
        }
        let whole = |mean: &Vec<f64>| mean.iter().map(|count| (count + 0.5) as u32).collect();
        let counts: Counts = means.iter().map(whole).collect();
        let carries = |(need, cover): (&Need, &Vec<u32>)| need.is_carried_by(cover);
        if self.frame.needs.iter().zip(&counts).all(carries) {
            self.consider(counts);
        }
    }

    /// Keeps the counts if they fit and are better than what is known.
    fn consider(&mut self, counts: Counts) {
        let mut sums = alloc::vec![0_u64; self.frame.slices.len()];
        for cover in &counts {
            for (sum, count) in sums.iter_mut().zip(cover) {
                *sum += u64::from(*count);
            }
        }
        let slices = sums.iter().zip(&self.frame.slices).map(|(n, s)| n * u64::from(*s)).sum();
        if slices < self.limit && (self.fits)(&sums, self.gpus) {
            self.limit = slices;
            self.best = Some((counts, slices));
        }
    }

    /// The node's spans in two parts, or three, that leave out no whole numbers.
    fn children(&self, node: &Node) -> Vec<Vec<Span>> {
        let with = |service: usize, size: usize, low: Option<u32>, high: Option<u32>| {
            let mut spans = node.spans.clone();
            let span = &mut spans[service];
            span.low[size] = low.unwrap_or(span.low[size]);
            span.high[size] = high.unwrap_or(span.high[size]);
            spans
        };
        let mixed = node.relaxed.mixes.iter().map(|mix| self.mean(mix)).collect::<Vec<_>>();
        if let Some((service, size)) = self.most_divided(&mixed) {
            let below = mixed[service][size] as u32;
            return Vec::from([
                with(service, size, None, Some(below)),
                with(service, size, Some(below + 1), None),
            ]);
        }
        // All whole, and still not the end: this very choice does not fit the GPUs.
        for (service, span) in node.spans.iter().enumerate() {
            for (size, (low, high)) in span.low.iter().zip(&span.high).enumerate() {
                if low < high {
                    let at = ((mixed[service][size] + 0.5) as u32).clamp(*low, *high);
                    let mut parts = Vec::from([with(service, size, Some(at), Some(at))]);
                    if at > *low {
                        parts.push(with(service, size, None, Some(at - 1)));
                    }
                    if at < *high {
                        parts.push(with(service, size, Some(at + 1), None));
                    }
                    return parts;
                }
            }
        }
        Vec::new()
    }

    fn mean(&self, mix: &[Mixed]) -> Vec<f64> {
        let mut mean = alloc::vec![0.0; self.frame.slices.len()];
        for mixed in mix {
            for (sum, count) in mean.iter_mut().zip(&mixed.counts) {
                *sum += mixed.share * f64::from(*count);
            }
        }
        mean
    }

    /// The service and size whose number is furthest from whole; of several the largest size.
    fn most_divided(&self, mixed: &[Vec<f64>]) -> Option<(usize, usize)> {
        let mut best: Option<(f64, u32, usize, usize)> = None;
        for (service, sizes) in mixed.iter().enumerate() {
            for (size, value) in sizes.iter().enumerate() {
                let part = value - (*value as u64) as f64;
                let distance = part.min(1.0 - part);
                let slices = self.frame.slices[size];
                let further = best.is_none_or(|(known, large, ..)| {
                    distance > known + NEAR || distance > known - NEAR && slices > large
                });
                if distance > NEAR && further {
                    best = Some((distance, slices, service, size));
                }
            }
        }
        best.map(|(.., service, size)| (service, size))
    }
}
