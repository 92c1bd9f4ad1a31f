//! The cheapest slices that carry one service, at given prices: a knapsack cover, exact.
//!
//! Must never give a lower bound that a cover undercuts: the proofs of the search stand on it.

use alloc::vec::Vec;

/// No upper limit on the number of slices of a size.
pub(super) const FREE: u32 = u32::MAX;
/// Replacements by the best size are looked for up to so many slices.
const EXCHANGE: u64 = 64;
/// After so many steps the answer is a bound. Policy: milliseconds; with a handful of sizes the
/// search ends after some dozens.
const PATIENCE: u32 = 200_000;

/// The sizes that one service may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Need {
    /// What is to be carried, in millionths of a request per second.
    pub(super) rate: u64,
    /// What a slice of each size carries, likewise; zero for a size that cannot serve.
    pub(super) yields: Vec<u64>,
}

impl Need {
    /// Whether so many slices of each size carry it.
    pub(super) fn is_carried_by(&self, counts: &[u32]) -> bool {
        let each = counts.iter().zip(&self.yields);
        let carried: u128 = each.map(|(n, y)| u128::from(*n) * u128::from(*y)).sum();
        carried >= u128::from(self.rate)
    }
}

/// How many slices of each size there must and may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) low: Vec<u32>,
    pub(super) high: Vec<u32>,
}

impl Span {
    /// Any number of each of so many sizes.
    pub(super) fn free(sizes: usize) -> Self {
        Self { low: alloc::vec![0; sizes], high: alloc::vec![FREE; sizes] }
    }

    /// Whether these counts lie in it.
    pub(super) fn contains(&self, counts: &[u32]) -> bool {
        let within = |((count, low), high): ((&u32, &u32), &u32)| low <= count && count <= high;
        counts.iter().zip(&self.low).zip(&self.high).all(within)
    }
}

/// The cheapest cover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cover {
    /// Slices by size.
    pub(super) counts: Vec<u32>,
    /// No cover costs less.
    pub(super) lower: u128,
}

/// A size in the order of the search.
struct Item {
    size: usize,
    weight: u128,
    yields: u128,
    most: u128,
}

/// The cheapest counts in `span` that carry the rate, where a slice of size `s` costs `weights[s]`;
/// `None` if none in the span does.
pub(super) fn cheapest(need: &Need, span: &Span, weights: &[u64]) -> Option<Cover> {
    let carried: u128 =
        need.yields.iter().zip(&span.low).map(|(y, n)| u128::from(*y) * u128::from(*n)).sum();
    let paid: u128 =
        weights.iter().zip(&span.low).map(|(w, n)| u128::from(*w) * u128::from(*n)).sum();
    let rest = u128::from(need.rate).saturating_sub(carried);
    let items = items(need, span, weights);
    let floor = match (rest, items.first()) {
        (0, _) => 0,
        (_, Some(best)) => (rest * best.weight).div_ceil(best.yields),
        (_, None) => return None,
    };
    let mut search =
        Search { items: &items, counts: alloc::vec![0; items.len()], best: None, steps: 0 };
    search.descend(0, rest, 0);
    let ended = search.steps < PATIENCE;
    let (cost, found) = search.best?;
    let mut counts = span.low.clone();
    for (item, count) in items.iter().zip(found) {
        counts[item.size] = counts[item.size].saturating_add(u32::try_from(count).unwrap_or(FREE));
    }
    Some(Cover { counts, lower: paid + if ended { cost } else { floor } })
}

/// The sizes that serve, by price per request, with the most of each that can be of use.
fn items(need: &Need, span: &Span, weights: &[u64]) -> Vec<Item> {
    let mut items: Vec<Item> = (0..need.yields.len())
        .filter(|size| need.yields[*size] > 0 && span.high[*size] > span.low[*size])
        .map(|size| {
            let yields = u128::from(need.yields[size]);
            let room = match span.high[size] {
                FREE => u128::MAX,
                high => u128::from(high - span.low[size]),
            };
            Item { size, weight: u128::from(weights[size]), yields, most: room }
        })
        .collect();
    // The same price per request: the larger size first, which needs fewer slices.
    items.sort_by(|a, b| {
        (a.weight * b.yields)
            .cmp(&(b.weight * a.yields))
            .then(b.yields.cmp(&a.yields))
            .then(a.size.cmp(&b.size))
    });
    let Some((best, others)) = items.split_first_mut() else { return items };
    if best.most == u128::MAX {
        for item in others {
            // So many of this size give way to some of the best that cost no more and carry as much.
            let gives_way = (1..=u128::from(EXCHANGE)).find(|count| {
                (count * item.yields).div_ceil(best.yields) * best.weight <= count * item.weight
            });
            item.most = item.most.min(gives_way.map_or(u128::MAX, |count| count - 1));
        }
    }
    items
}

struct Search<'a> {
    items: &'a [Item],
    counts: Vec<u128>,
    best: Option<(u128, Vec<u128>)>,
    steps: u32,
}

impl Search<'_> {
    fn is_beaten(&self, cost: u128) -> bool {
        self.best.as_ref().is_some_and(|(best, _)| *best <= cost)
    }

    /// Counts for the items from `level` on, which must carry `rest`.
    fn descend(&mut self, level: usize, rest: u128, cost: u128) {
        if rest == 0 {
            if !self.is_beaten(cost) {
                let mut counts = self.counts.clone();
                counts[level..].fill(0);
                self.best = Some((cost, counts));
            }
            return;
        }
        let Some(item) = self.items.get(level) else { return };
        if self.is_beaten(cost + (rest * item.weight).div_ceil(item.yields)) {
            return;
        }
        let enough = rest.div_ceil(item.yields);
        let mut count = enough.min(item.most);
        loop {
            self.steps += 1;
            let left = rest.saturating_sub(count * item.yields);
            let spent = cost + count * item.weight;
            let next = self.items.get(level + 1);
            let more = match (left, next) {
                (0, _) => Some(0),
                (_, Some(next)) => Some((left * next.weight).div_ceil(next.yields)),
                (_, None) => None,
            };
            // With fewer of this size, all that follows only costs more.
            let Some(more) = more else { return };
            let hopeless = self.is_beaten(spent + more);
            if !hopeless {
                self.counts[level] = count;
                self.descend(level + 1, left, spent);
            } else if left > 0 {
                return;
            }
            if count == 0 || self.steps >= PATIENCE {
                return;
            }
            count -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every count up to what suffices alone.
    fn by_force(need: &Need, span: &Span, weights: &[u64]) -> Option<u128> {
        fn go(need: &Need, span: &Span, weights: &[u64], size: usize, rest: i128) -> Option<u128> {
            if size == weights.len() {
                return (rest <= 0).then_some(0);
            }
            let yields = i128::from(need.yields[size]);
            let enough = if yields == 0 { 0 } else { (rest.max(0) + yields - 1) / yields };
            let most = u32::try_from(enough).unwrap_or(0).max(span.low[size]);
            (span.low[size]..=most.min(span.high[size]))
                .filter_map(|count| {
                    let left = rest - i128::from(count) * yields;
                    let below = go(need, span, weights, size + 1, left)?;
                    Some(below + u128::from(count) * u128::from(weights[size]))
                })
                .min()
        }
        go(need, span, weights, 0, i128::from(need.rate))
    }

    proptest! {
        #[test]
        fn the_cheapest_is_what_trying_everything_finds(
            rate in 0_u64..60,
            sizes in proptest::collection::vec((0_u64..12, 0_u64..9, 0_u32..3, 0_u32..9), 1..5),
        ) {
            let need = Need { rate, yields: sizes.iter().map(|size| size.0).collect() };
            let weights: Vec<u64> = sizes.iter().map(|size| size.1).collect();
            let high = |size: &(u64, u64, u32, u32)| if size.3 > 6 { FREE } else { size.2 + size.3 };
            let span = Span {
                low: sizes.iter().map(|size| size.2).collect(),
                high: sizes.iter().map(high).collect(),
            };
            let found = cheapest(&need, &span, &weights);
            prop_assert_eq!(found.as_ref().map(|c| c.lower), by_force(&need, &span, &weights));
            if let Some(cover) = found {
                prop_assert!(span.contains(&cover.counts));
                let sum = |of: &[u64]| -> u64 {
                    cover.counts.iter().zip(of).map(|(n, x)| u64::from(*n) * x).sum()
                };
                prop_assert_eq!(u128::from(sum(&weights)), cover.lower);
                prop_assert!(sum(&need.yields) >= rate);
            }
        }
    }

    #[test]
    fn thousands_of_slices_are_no_more_work_than_a_few() {
        let yields = Vec::from([74_408_000, 151_000_000, 226_001_000, 301_500_000, 520_000_000]);
        let need = Need { rate: 2_318_000_000_000, yields };
        let weights = [1 << 20, 2 << 20, 3 << 20, 4 << 20, 7 << 20];
        let cover = cheapest(&need, &Span::free(5), &weights).unwrap();
        let carried: u64 =
            cover.counts.iter().zip(&need.yields).map(|(n, y)| u64::from(*n) * y).sum();
        assert!(carried >= need.rate);
        let cost: u64 = cover.counts.iter().zip(weights).map(|(n, w)| u64::from(*n) * w).sum();
        assert_eq!(u128::from(cost), cover.lower, "proven, not given up");
    }
}
