//! A lower bound for services within limits, and where to look for a solution.
//!
//! The linear program chooses, for each service, a mix of covers (slices that carry its rate), and
//! GPUs cut by maximal patterns that hold them. Its prices, made whole numbers, give the bound: what
//! the cheapest covers cost at these prices, less what the GPUs can be worth at them. Any prices
//! give a valid bound, so must never use a float for more than choosing them.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::cover::{Need, Span, cheapest};
use super::simplex::{Column, Program};

/// Prices are kept in units of this part.
const SCALE: u64 = 1 << 16;
/// What a slice beyond the GPUs costs the program: more than any real slice could be worth.
const OVERFLOW: f64 = 1_000_000.0;
/// Rounds of new covers; the bound is good long before.
const ROUNDS: u32 = 400;

/// The sizes, services and patterns of one question.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    /// Compute slices of each size.
    pub(super) slices: Vec<u32>,
    /// The services.
    pub(super) needs: Vec<Need>,
    /// How many of each size a GPU holds at once; none of them holds less than another.
    pub(super) patterns: Vec<Vec<u32>>,
}

/// What is to be as little as possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aim {
    /// GPUs.
    Gpus,
    /// Compute slices, on at most so many GPUs.
    Slices {
        /// How many.
        gpus: u64,
    },
}

/// A fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ratio {
    pub(super) over: i128,
    pub(super) under: i128,
}

impl Ratio {
    /// The least whole number that is not below it; at least zero.
    pub(super) fn up(self) -> u64 {
        let over = self.over.max(0);
        u64::try_from((over + self.under - 1) / self.under).unwrap_or(u64::MAX)
    }

    fn is_below(self, other: Self) -> bool {
        self.over.saturating_mul(other.under) < other.over.saturating_mul(self.under)
    }
}

/// A cover and its share in the mix of a service.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mixed {
    pub(super) counts: Vec<u32>,
    pub(super) share: f64,
}

/// What a relaxation tells.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Relaxed {
    /// No solution is below this.
    pub(super) bound: Ratio,
    /// For each service, its covers in the mix, the largest share first.
    pub(super) mixes: Vec<Vec<Mixed>>,
    /// The prices of the best bound, by size, in parts of [`SCALE`].
    pub(super) prices: Vec<u64>,
}

/// Covers of each service that were of use before.
pub(super) type Pool = Vec<BTreeSet<Vec<u32>>>;

/// Relaxes; `None` if a service cannot be carried within its span. Ends as soon as the bound, as a
/// whole number, reaches `enough`.
pub(super) fn relax(
    frame: &Frame,
    aim: Aim,
    spans: &[Span],
    pool: &mut Pool,
    enough: u64,
) -> Option<Relaxed> {
    let mut master = Master::new(frame, aim, spans, pool)?;
    let mut best: Option<(Ratio, Vec<u64>)> = None;
    for _ in 0..ROUNDS {
        master.program.solve();
        let duals = master.program.prices();
        let prices: Vec<u64> = (0..frame.slices.len())
            .map(|size| (-duals[frame.needs.len() + size]).max(0.0) * SCALE as f64)
            .map(|price| (price + 0.5) as u64)
            .collect();
        let (bound, fresh) = bound(frame, aim, spans, &prices)?;
        if best.as_ref().is_none_or(|(known, _)| known.is_below(bound)) {
            best = Some((bound, prices));
        }
        let reached = best.as_ref().map_or(0, |(bound, _)| bound.up());
        // The program's cost is an upper limit of the bound: nothing more can be had.
        let ceiling = master.program.cost() - 1e-6;
        if reached >= enough || !master.extend(&fresh, &duals, pool) || ceiling <= reached as f64 {
            break;
        }
    }
    let (bound, prices) = best?;
    Some(Relaxed { bound, mixes: master.mixes(), prices })
}

/// The bound that prices give, and the cheapest covers at them.
fn bound(
    frame: &Frame,
    aim: Aim,
    spans: &[Span],
    prices: &[u64],
) -> Option<(Ratio, Vec<Vec<u32>>)> {
    let own = |slices: &u32| match aim {
        Aim::Gpus => 0,
        Aim::Slices { .. } => u64::from(*slices) * SCALE,
    };
    let weights: Vec<u64> = frame.slices.iter().zip(prices).map(|(s, p)| own(s) + p).collect();
    let mut total: i128 = 0;
    let mut covers = Vec::with_capacity(spans.len());
    for (need, span) in frame.needs.iter().zip(spans) {
        let cover = cheapest(need, span, &weights)?;
        total = total.saturating_add(i128::try_from(cover.lower).unwrap_or(i128::MAX));
        covers.push(cover.counts);
    }
    let worth = |pattern: &Vec<u32>| -> i128 {
        pattern.iter().zip(prices).map(|(n, price)| i128::from(*n) * i128::from(*price)).sum()
    };
    let worth = frame.patterns.iter().map(worth).max().unwrap_or(0);
    let ratio = match aim {
        // Without a price on any slice there is nothing to say.
        Aim::Gpus if worth == 0 => Ratio { over: 0, under: 1 },
        Aim::Gpus => Ratio { over: total, under: worth },
        Aim::Slices { gpus } => {
            Ratio { over: total - i128::from(gpus) * worth, under: i128::from(SCALE) }
        }
    };
    Some((ratio, covers))
}

/// The program and what its columns mean.
struct Master<'a> {
    frame: &'a Frame,
    aim: Aim,
    program: Program,
    /// Which service and which cover each column is; `None` for the others.
    covers: Vec<Option<(usize, Vec<u32>)>>,
    known: Pool,
}

impl<'a> Master<'a> {
    /// Rows: one for each service, one for each size, and one for the GPUs where they are limited.
    fn new(frame: &'a Frame, aim: Aim, spans: &[Span], pool: &mut Pool) -> Option<Self> {
        let (services, sizes) = (frame.needs.len(), frame.slices.len());
        let mut right = alloc::vec![1.0; services];
        right.extend(alloc::vec![0.0; sizes]);
        let gpu_cost = match aim {
            Aim::Gpus => 1.0,
            Aim::Slices { gpus } => {
                right.push(gpus as f64);
                0.0
            }
        };
        let gpu_row = services + sizes;
        let mut columns = Vec::new();
        for size in 0..sizes {
            let entries = Vec::from([(services + size, -1.0)]);
            columns.push(Column { cost: OVERFLOW, entries });
        }
        let mut basis: Vec<usize> = (0..sizes).collect();
        for size in 0..sizes {
            columns.push(Column { cost: 0.0, entries: Vec::from([(services + size, 1.0)]) });
        }
        for pattern in &frame.patterns {
            let held = pattern.iter().enumerate().filter(|(_, count)| **count > 0);
            let mut entries: Vec<(usize, f64)> =
                held.map(|(size, count)| (services + size, -f64::from(*count))).collect();
            if right.len() > gpu_row {
                entries.push((gpu_row, 1.0));
            }
            columns.push(Column { cost: gpu_cost, entries });
        }
        if right.len() > gpu_row {
            basis.push(columns.len());
            columns.push(Column { cost: 0.0, entries: Vec::from([(gpu_row, 1.0)]) });
        }
        let mut covers = alloc::vec![None; columns.len()];
        let plain: Vec<u64> = frame.slices.iter().map(|slices| u64::from(*slices)).collect();
        let mut known: Pool = Pool::new();
        let mut first = Vec::with_capacity(services);
        for (service, (need, span)) in frame.needs.iter().zip(spans).enumerate() {
            let start = cheapest(need, span, &plain)?.counts;
            pool[service].insert(start.clone());
            first.push(columns.len());
            known.push(pool[service].iter().filter(|c| span.contains(c)).cloned().collect());
            let others = known[service].iter().filter(|counts| **counts != start).cloned();
            for counts in core::iter::once(start.clone()).chain(others) {
                columns.push(of_cover(frame, aim, service, &counts));
                covers.push(Some((service, counts)));
            }
        }
        let basis: Vec<usize> = first.into_iter().chain(basis).collect();
        let program = Program::new(right, columns, basis)?;
        Some(Self { frame, aim, program, covers, known })
    }

    /// Adds the covers that are new and help; whether there were any.
    fn extend(&mut self, fresh: &[Vec<u32>], duals: &[f64], pool: &mut Pool) -> bool {
        let mut any = false;
        for (service, counts) in fresh.iter().enumerate() {
            let column = of_cover(self.frame, self.aim, service, counts);
            if Program::reduced(&column, duals) < -1e-7
                && self.known[service].insert(counts.clone())
            {
                self.program.add(column);
                self.covers.push(Some((service, counts.clone())));
                pool[service].insert(counts.clone());
                any = true;
            }
        }
        any
    }

    fn mixes(&self) -> Vec<Vec<Mixed>> {
        let mut mixes: Vec<Vec<Mixed>> = alloc::vec![Vec::new(); self.frame.needs.len()];
        for (column, share) in self.program.levels().filter(|(_, share)| *share > 1e-6) {
            if let Some(Some((service, counts))) = self.covers.get(column) {
                mixes[*service].push(Mixed { counts: counts.clone(), share });
            }
        }
        for mix in &mut mixes {
            mix.sort_by(|a, b| b.share.total_cmp(&a.share).then_with(|| a.counts.cmp(&b.counts)));
        }
        mixes
    }
}

fn of_cover(frame: &Frame, aim: Aim, service: usize, counts: &[u32]) -> Column {
    let held = counts.iter().enumerate().filter(|(_, count)| **count > 0);
    let of_size = |(size, count): (usize, &u32)| (frame.needs.len() + size, f64::from(*count));
    let entries = core::iter::once((service, 1.0)).chain(held.map(of_size)).collect();
    let slices: f64 =
        counts.iter().zip(&frame.slices).map(|(n, s)| f64::from(*n) * f64::from(*s)).sum();
    Column { cost: if aim == Aim::Gpus { 0.0 } else { slices }, entries }
}
