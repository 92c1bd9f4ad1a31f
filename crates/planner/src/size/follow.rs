//! Deployments that follow rates over time, without changing at every turn.
//!
//! Each deployment is made from what was seen before it: must never look at the rates that it will
//! meet.

use alloc::vec::Vec;

use model::Rate;

use super::deploy::{Deployment, Load, LoadSlice, SizeError, deploy};
use crate::pack::Packer;

/// How rates are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Follow {
    /// What is added to every rate, in percent.
    pub headroom: u32,
    /// A deployment is made for the highest rates of so many intervals; it is given up for a
    /// smaller one only when those would be carried by fewer GPUs. At least one.
    pub memory: usize,
    /// How hard each deployment is searched for.
    pub effort: u32,
}

/// One interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// GPUs in use.
    pub gpus: u64,
    /// Compute slices in use.
    pub slices: u64,
    /// What each load has for it.
    pub carried: Vec<Rate>,
    /// Whether the deployment is another than in the interval before.
    pub changed: bool,
}

/// Deployments for each interval after the first: `rates[interval][load]` is what arrived, and the
/// deployment of an interval knows only the rates of those before it. The first one is served by
/// a deployment for its own rates, as whoever starts has to know something.
///
/// # Errors
/// [`SizeError`] where a load cannot be carried.
pub fn follow(
    packer: &Packer,
    slices: &[Vec<LoadSlice>],
    rates: &[Vec<Rate>],
    how: Follow,
) -> Result<Vec<Served>, SizeError> {
    let mut served: Vec<Served> = Vec::with_capacity(rates.len());
    let mut current: Option<Deployment> = None;
    for interval in 0..rates.len() {
        let seen = &rates[interval.saturating_sub(how.memory.max(1))..interval.max(1)];
        let loads: Vec<Load> = slices
            .iter()
            .enumerate()
            .map(|(load, slices)| {
                let highest = seen.iter().filter_map(|rates| rates.get(load)).max();
                let rate = highest.copied().unwrap_or(Rate::ZERO).with_headroom(how.headroom);
                Load { rate, slices: slices.clone() }
            })
            .collect();
        let kept = current.take().filter(|deployment| {
            let carries =
                |(load, of): (usize, &Load)| deployment.carried(load, &of.slices) >= of.rate;
            loads.iter().enumerate().all(carries)
        });
        let (deployment, changed) = match kept {
            None => (deploy(packer, &loads, how.effort)?, true),
            Some(kept) => {
                let fresh = deploy(packer, &loads, how.effort)?;
                let fewer = fresh.gpus.len() < kept.gpus.len();
                if fewer { (fresh, true) } else { (kept, false) }
            }
        };
        let carried = |(load, of): (usize, &Load)| deployment.carried(load, &of.slices);
        served.push(Served {
            gpus: deployment.gpus.len() as u64,
            slices: deployment.slices,
            carried: loads.iter().enumerate().map(carried).collect(),
            changed: changed && interval > 0,
        });
        current = Some(deployment);
    }
    Ok(served)
}
