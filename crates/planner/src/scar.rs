//! Scarcity-weighted capacity loss (SCAR): what a placement costs the fleet's future.
//!
//! For every profile q the fleet can hold N more instances. Losing D of them costs
//! `w * (exp(-(N-D)/s) - exp(-N/s))` with the forecast weight w and `s = K * w * M / 10 + 1/2` for M
//! GPUs: nothing while there is plenty, everything when the last place goes. Must never rank by
//! anything but that; ties are the caller's.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::{OnceCell, RefCell};

use crate::flp::Outlook;
use crate::forecast::Forecast;
use crate::tables::{ClassId, GeometryTables, PartId};

/// The width of "scarce", K above. Policy: acceptance is flat between 0.3 and 5.
const WIDTH: f64 = 1.0;

/// Below this the plain sum has lost digits to underflow, and its logarithm is used instead.
const TINY: f64 = 1e-280;

/// GPUs of one geometry, taken together.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    gpus: u32,
    /// For each profile, how many more instances all of them together can hold.
    capacity: Vec<u64>,
    /// For each profile, its share of what is asked for; they add up to one.
    shares: Vec<f64>,
    /// Free blocks of all of them together, by kind.
    blocks: Vec<u32>,
    /// Possible futures, drawn when first asked for, and for how many GPUs they reach.
    outlook: OnceCell<Arc<Outlook>>,
    reach: u32,
}

impl Pool {
    /// No GPUs yet.
    pub(crate) fn new(tables: &GeometryTables, forecast: &Forecast) -> Self {
        let geometry = tables.geometry();
        let profiles = geometry.profiles.iter();
        let weights: Vec<f64> = profiles.map(|p| forecast.weight(geometry, p)).collect();
        let sum: f64 = weights.iter().sum();
        let shares = weights.iter().map(|weight| weight / sum).collect();
        Self {
            gpus: 0,
            capacity: alloc::vec![0; weights.len()],
            shares,
            blocks: alloc::vec![0; tables.blocks().kinds()],
            outlook: OnceCell::new(),
            reach: 8,
        }
    }

    /// Adds `gpus` GPUs whose untouchable occupants form `held`.
    pub(crate) fn add(&mut self, tables: &GeometryTables, held: ClassId, gpus: u32) {
        self.gpus += gpus;
        for (sum, more) in self.capacity.iter_mut().zip(tables.capacities(held)) {
            *sum += u64::from(*more) * u64::from(gpus);
        }
        for (sum, more) in self.blocks.iter_mut().zip(tables.blocks().free(held)) {
            *sum += more * gpus;
        }
        if self.gpus > self.reach {
            self.reach = self.gpus.next_power_of_two();
            self.outlook = OnceCell::new();
        }
    }

    /// Takes a GPU away that was added with the same class.
    pub(crate) fn remove(&mut self, tables: &GeometryTables, held: ClassId) {
        self.gpus -= 1;
        for (sum, less) in self.capacity.iter_mut().zip(tables.capacities(held)) {
            *sum -= u64::from(*less);
        }
        for (sum, less) in self.blocks.iter_mut().zip(tables.blocks().free(held)) {
            *sum -= less;
        }
    }

    /// Free blocks of all GPUs together, by kind.
    pub(crate) fn blocks(&self) -> &[u32] {
        &self.blocks
    }

    /// The number of requests that would fill the empty GPUs.
    pub(crate) fn longest(&self, tables: &GeometryTables) -> u32 {
        self.requests(tables, self.gpus)
    }

    fn requests(&self, tables: &GeometryTables, gpus: u32) -> u32 {
        let profiles = tables.geometry().profiles.iter().zip(&self.shares);
        let mean: f64 = profiles.map(|(p, share)| share * f64::from(p.size.get())).sum();
        let units = f64::from(gpus) * f64::from(tables.geometry().grid.get());
        libm::ceil(units / mean.max(1.0)) as u32
    }

    /// Possible futures, at least as long as [`Pool::longest`].
    pub(crate) fn outlook(&self, tables: &GeometryTables) -> Arc<Outlook> {
        let outlook = self.outlook.get_or_init(|| {
            let shares = tables.blocks().shares(&self.shares);
            Arc::new(Outlook::new(&shares, self.requests(tables, self.reach)))
        });
        Arc::clone(outlook)
    }

    /// `(ln w - N/s, 1/s)` of one profile.
    fn exponent(&self, profile: usize) -> (f64, f64) {
        let share = self.shares[profile];
        let width = WIDTH * share * f64::from(self.gpus) / 10.0 + 0.5;
        (libm::log(share) - self.capacity[profile] as f64 / width, 1.0 / width)
    }
}

/// Prices of one decision: what losing capacity of a profile costs, tabulated.
#[derive(Debug, Default)]
pub(crate) struct Prices {
    boards: Vec<BoardPrices>,
}

#[derive(Debug)]
struct BoardPrices {
    /// For each profile `(ln w - N/s, 1/s)`, less the common base.
    exponents: Vec<(f64, f64)>,
    /// `loss[profile * stride + lost]`.
    loss: Vec<f64>,
    stride: usize,
    /// By loss, what it costs.
    known: RefCell<Vec<Option<f64>>>,
}

impl Prices {
    /// The prices for pools, one per board; they share one scale.
    pub(crate) fn new(pools: &[Pool], tables: &[&GeometryTables]) -> Self {
        let exponents: Vec<Vec<(f64, f64)>> = pools
            .iter()
            .map(|pool| (0..pool.shares.len()).map(|profile| pool.exponent(profile)).collect())
            .collect();
        let all = exponents.iter().flatten().map(|(exponent, _)| *exponent);
        let base = all.fold(f64::NEG_INFINITY, f64::max);
        let boards = exponents.into_iter().zip(tables).map(|(exponents, tables)| {
            BoardPrices::new(exponents.into_iter().map(|(e, r)| (e - base, r)).collect(), tables)
        });
        Self { boards: boards.collect() }
    }

    /// The cost of adding a part to a class on a board. Comparable by `total_cmp` between boards of
    /// one decision; negative infinity when nothing is lost.
    pub(crate) fn cost(
        &self,
        board: usize,
        tables: &GeometryTables,
        from: ClassId,
        part: PartId,
    ) -> f64 {
        let (prices, losses) = (&self.boards[board], tables.losses());
        let loss = losses.of(from, part);
        let known = prices.known.borrow()[loss];
        known.unwrap_or_else(|| {
            let cost = prices.cost(&losses.each()[loss]);
            prices.known.borrow_mut()[loss] = Some(cost);
            cost
        })
    }
}

impl BoardPrices {
    fn new(exponents: Vec<(f64, f64)>, tables: &GeometryTables) -> Self {
        let most = tables.capacities(tables.empty()).iter().max().copied().unwrap_or(0);
        let stride = usize::from(most) + 1;
        let mut loss = alloc::vec![0.0; exponents.len() * stride];
        for (profile, (exponent, rate)) in exponents.iter().enumerate() {
            let scale = libm::exp(*exponent);
            let one = libm::expm1(*rate);
            let mut grown = 0.0;
            for slot in &mut loss[profile * stride + 1..(profile + 1) * stride] {
                grown += one + one * grown;
                *slot = scale * grown;
            }
        }
        let known = RefCell::new(alloc::vec![None; tables.losses().each().len()]);
        Self { exponents, loss, stride, known }
    }

    fn cost(&self, lost: &[u8]) -> f64 {
        let lost = || lost.iter().copied().enumerate();
        let sum: f64 = lost()
            .map(|(profile, lost)| self.loss[profile * self.stride + usize::from(lost)])
            .sum();
        if sum >= TINY { sum } else { self.log_cost(lost()) }
    }

    /// The logarithm of the same sum, for when it underflows. Always far below zero, so that it
    /// sorts below every sum that did not.
    fn log_cost(&self, lost: impl Iterator<Item = (usize, u8)>) -> f64 {
        let terms: Vec<f64> = lost
            .filter(|(_, lost)| *lost > 0)
            .map(|(profile, lost)| {
                let (exponent, rate) = self.exponents[profile];
                exponent + libm::log(libm::expm1(f64::from(lost) * rate))
            })
            .collect();
        let top = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if top == f64::NEG_INFINITY {
            return top;
        }
        top + libm::log(terms.iter().map(|term| libm::exp(term - top)).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{PlacedProfile, catalog};

    /// The formula of the module, term by term, where nothing underflows.
    fn direct(pool: &Pool, tables: &GeometryTables, from: ClassId, to: ClassId) -> f64 {
        let pairs = tables.capacities(from).iter().zip(tables.capacities(to)).enumerate();
        let loss = pairs.map(|(profile, (before, after))| {
            let share = pool.shares[profile];
            let width = WIDTH * share * f64::from(pool.gpus) / 10.0 + 0.5;
            let plenty = pool.capacity[profile] as f64;
            let left = plenty - f64::from(before - after);
            share * (libm::exp(-left / width) - libm::exp(-plenty / width))
        });
        loss.sum()
    }

    #[test]
    fn tabulated_prices_are_the_formula_up_to_one_factor() {
        let geometry = Arc::new(catalog::board("a100-sxm4-40gb").unwrap().geometry());
        let tables = GeometryTables::new(&geometry);
        for gpus in [1, 3, 40] {
            let mut pool = Pool::new(&tables, &Forecast::unknown());
            pool.add(&tables, tables.empty(), gpus);
            let prices = Prices::new(core::slice::from_ref(&pool), &[&tables]);
            let factors: Vec<f64> = tables
                .parts()
                .iter()
                .map(|part: &PlacedProfile| {
                    let id = tables.part_id(*part).unwrap();
                    let to = tables.after(tables.empty(), id).unwrap();
                    let cost = prices.cost(0, &tables, tables.empty(), id);
                    cost / direct(&pool, &tables, tables.empty(), to)
                })
                .collect();
            for factor in &factors {
                assert!((factor / factors[0] - 1.0).abs() < 1e-6, "{gpus}: {factors:?}");
            }
        }
    }

    #[test]
    fn losing_nothing_is_cheaper_than_any_loss() {
        let geometry = Arc::new(catalog::board("a100-sxm4-40gb").unwrap().geometry());
        let tables = GeometryTables::new(&geometry);
        let mut pool = Pool::new(&tables, &Forecast::unknown());
        pool.add(&tables, tables.empty(), 1_000_000);
        let prices = Prices::new(&[pool], &[&tables]);
        let nothing = prices.boards[0].cost(&alloc::vec![0; geometry.profiles.len()]);
        let part = tables.part_id(tables.parts()[0]).unwrap();
        let something = prices.cost(0, &tables, tables.empty(), part);
        assert_eq!(nothing.total_cmp(&something), core::cmp::Ordering::Less);
    }
}
