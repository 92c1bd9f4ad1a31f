//! What the next requests may be: a few possible futures, at growing lengths.
//!
//! The futures are drawn from the forecast with numbers that are the same in every decision, so that
//! two placements are compared on the same luck, and so that the same forecast always gives the same
//! answer. Must never take chance from anywhere but [`SEED`].

use alloc::vec::Vec;

/// Where the chance begins. Any number does; a fixed one makes decisions repeatable.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// How many futures are looked at. A power of two. Policy: more do not measure better.
pub(super) const FUTURES: usize = 16;

/// Requests drawn one by one; longer futures add whole steps at once, by mean and spread.
const SINGLY: u32 = 64;

/// Possible demands, by length and future.
#[derive(Debug, Clone)]
pub(crate) struct Outlook {
    /// In requests, ascending.
    horizons: Vec<u32>,
    /// `demand[(horizon * FUTURES + future) * profiles + profile]`; grows with the horizon.
    demand: Vec<u32>,
    profiles: usize,
}

impl Outlook {
    /// Futures of up to `longest` requests, which ask for each profile by its share.
    pub(crate) fn new(shares: &[f64], longest: u32) -> Self {
        let horizons = lengths(longest);
        let mut outlook = Self { horizons, demand: Vec::new(), profiles: shares.len() };
        let mut bounds = Vec::with_capacity(shares.len());
        let mut sum = 0.0;
        for share in shares {
            sum += share;
            bounds.push(sum);
        }
        let mut futures = alloc::vec![0u32; FUTURES * shares.len()];
        let mut drift = alloc::vec![0.0f64; FUTURES * shares.len()];
        let mut reached = 0;
        for index in 0..outlook.horizons.len() {
            let horizon = outlook.horizons[index];
            if horizon <= SINGLY {
                (reached..horizon).for_each(|request| one_by_one(&bounds, request, &mut futures));
            } else {
                at_once(shares, horizon - reached, horizon, &mut drift, &mut futures);
            }
            reached = horizon;
            outlook.demand.extend_from_slice(&futures);
        }
        outlook
    }

    /// The lengths, in requests.
    pub(super) fn horizons(&self) -> &[u32] {
        &self.horizons
    }

    /// The demands of every future at one length.
    pub(super) fn futures(&self, horizon: usize) -> impl Iterator<Item = &[u32]> {
        let all = FUTURES * self.profiles;
        self.demand[horizon * all..(horizon + 1) * all].chunks_exact(self.profiles.max(1))
    }
}

/// Growing by half each, from one request to `longest`.
fn lengths(longest: u32) -> Vec<u32> {
    let mut lengths = Vec::new();
    let mut length = 1u32;
    while length <= longest.max(1) {
        lengths.push(length);
        length += length.div_ceil(2);
    }
    lengths
}

/// One request more in every future. Of `FUTURES` equal parts of the unit interval each future draws
/// from another, so that together they ask for nearly the mix.
fn one_by_one(bounds: &[f64], request: u32, futures: &mut [u32]) {
    let profiles = bounds.len();
    let chance = mixed(SEED ^ u64::from(request) << 32);
    let (stride, offset) = ((chance | 1) as usize, (chance >> 32) as usize);
    for future in 0..FUTURES {
        let part = (future.wrapping_mul(stride).wrapping_add(offset)) % FUTURES;
        let inside = unit(mixed(chance ^ (future as u64 + 1)));
        let drawn = (part as f64 + inside) / FUTURES as f64 * bounds[profiles - 1];
        let profile = bounds.iter().position(|bound| drawn < *bound).unwrap_or(profiles - 1);
        futures[future * profiles + profile] += 1;
    }
}

/// `more` requests more in every future.
fn at_once(shares: &[f64], more: u32, horizon: u32, drift: &mut [f64], futures: &mut [u32]) {
    let total: f64 = shares.iter().sum();
    for (index, (count, drift)) in futures.iter_mut().zip(drift).enumerate() {
        let share = shares[index % shares.len()] / total;
        let mean = f64::from(more) * share;
        let spread = libm::sqrt(mean * (1.0 - share));
        let chance = mixed(SEED ^ mixed(u64::from(horizon) << 20 ^ index as u64));
        // The number of ones among 64 fair bits is normal for our purpose: mean 32, spread 4.
        let normal = (f64::from(chance.count_ones()) - 32.0) / 4.0;
        *drift += mean + spread * normal;
        let whole = libm::floor(drift.max(0.0));
        *count += whole as u32;
        *drift -= whole;
    }
}

/// A number in [0, 1).
fn unit(chance: u64) -> f64 {
    (chance >> 11) as f64 / (1u64 << 53) as f64
}

/// SplitMix64's finaliser (Steele, Lea and Flood, 2014).
const fn mixed(chance: u64) -> u64 {
    let chance = (chance ^ (chance >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let chance = (chance ^ (chance >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    chance ^ (chance >> 31)
}
