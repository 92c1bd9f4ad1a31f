//! Made-up demand: four mixes of profiles, steady or until the fleet is full.
//!
//! Must never draw anything but from the seed.
//!
//! The mixes are those of Zambianco, Fasol and Doriguzzi-Corin, "An Online Fragmentation-Aware
//! GPU Scheduler for Multi-Tenant MIG-based Clouds" (arXiv 2511.18906), with their probabilities
//! written down from memory of the paper. How they normalise demand could not be verified, so both
//! readings are here: [`Demand::Steady`] and [`Demand::Fill`].

use std::fmt;
use std::str::FromStr;

use model::{Millis, ProfileSelector, Timestamp};

use super::site::Site;
use super::work::{Names, Request, Span, Wish, Workload};
use crate::Chance;

/// Virtual time between two requests. One request comes in each slot, as in the paper; only the
/// ratio of lifetimes to it matters.
const SLOT: Millis = Millis::from_secs(1);

/// Which profiles are asked for how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mix {
    /// Every profile alike.
    Uniform,
    /// Mostly small ones.
    SkewSmall,
    /// Mostly large ones.
    SkewBig,
    /// The largest and the smallest.
    Bimodal,
}

impl Mix {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Uniform, Self::SkewSmall, Self::SkewBig, Self::Bimodal];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::SkewSmall => "skew-small",
            Self::SkewBig => "skew-big",
            Self::Bimodal => "bimodal",
        }
    }

    /// Hundredths of each of [`WISHES`].
    const fn weights(self) -> [u32; 6] {
        match self {
            Self::Uniform => [1, 1, 1, 1, 1, 1],
            Self::SkewSmall => [5, 10, 10, 20, 25, 30],
            Self::SkewBig => [30, 25, 20, 10, 10, 5],
            Self::Bimodal => [30, 15, 5, 5, 15, 30],
        }
    }
}

/// What the mixes are made of, on an A100 with 80 GB: 7g.80gb, 4g.40gb, 3g.40gb, 2g.20gb, 1g.20gb,
/// 1g.10gb. A board has the nearest it has; what no board has is left out.
const WISHES: [Wish; 6] = [
    Wish::WholeGpu,
    Wish::Profile(ProfileSelector::Slices(4)),
    Wish::Profile(ProfileSelector::Slices(3)),
    Wish::Profile(ProfileSelector::Slices(2)),
    Wish::DoubleMemory(1),
    Wish::Profile(ProfileSelector::Slices(1)),
];

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// No mix is called that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no mix; there are uniform, skew-small, skew-big, bimodal")]
pub struct MixError(pub String);

impl FromStr for Mix {
    type Err = MixError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|mix| mix.name() == text.trim());
        found.ok_or_else(|| MixError(text.into()))
    }
}

/// How much is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Demand {
    /// For ever as much as this share of the fleet: lifetimes are drawn evenly from 1 to T slots,
    /// where T follows from the load. Warm-up 2 T, then 4 T are measured.
    Steady(f64),
    /// Nobody leaves, and as many requests come as on average make up this share of the fleet: a
    /// seed may ask for a little more than there is, or for less.
    Fill(f64),
}

impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steady(load) => write!(f, "steady, load {load:.2}"),
            Self::Fill(share) => write!(f, "fill to {:.0} %", share * 100.0),
        }
    }
}

/// The mix on a fleet: kinds with their weights.
struct Urn<'a> {
    names: Names<'a>,
    /// Kind and its weight.
    balls: Vec<(usize, u32)>,
    notes: Vec<String>,
}

impl<'a> Urn<'a> {
    fn new(site: &'a Site, mix: Mix) -> Self {
        let mut names = Names::new(site);
        let mut balls: Vec<(usize, u32)> = Vec::new();
        let mut notes = Vec::new();
        for (wish, weight) in WISHES.into_iter().zip(mix.weights()) {
            match names.kind(wish) {
                Ok(kind) => match balls.iter_mut().find(|(known, _)| *known == kind) {
                    Some((_, sum)) => *sum += weight,
                    None => balls.push((kind, weight)),
                },
                Err(error) => notes.push(format!("{error}: left out of the mix")),
            }
        }
        Self { names, balls, notes }
    }

    fn total(&self) -> u32 {
        self.balls.iter().map(|(_, weight)| *weight).sum()
    }

    /// What a request weighs on average.
    fn mean_weight(&self) -> f64 {
        let of = |(kind, weight): &(usize, u32)| {
            self.names.kinds[*kind].weight as f64 * f64::from(*weight)
        };
        self.balls.iter().map(of).sum::<f64>() / f64::from(self.total())
    }

    fn draw(&self, chance: &mut Chance) -> usize {
        let mut at = chance.below(self.total() as usize) as u32;
        for (kind, weight) in &self.balls {
            if at < *weight {
                return *kind;
            }
            at -= weight;
        }
        0
    }

    fn workload(mut self, name: String, requests: Vec<Request>, measured: Span) -> Workload {
        self.names.tenant("all");
        let Names { kinds, tenants, .. } = self.names;
        let (room, notes) = (measured, self.notes);
        Workload { name, requests, kinds, tenants, measured, room, notes }
    }
}

/// Requests by a mix. The same seed gives the same requests for every contender.
pub fn workload(site: &Site, mix: Mix, demand: Demand, seed: u64) -> Workload {
    let urn = Urn::new(site, mix);
    let mut chance = Chance::new(seed, 0x4d49_5800 + mix as u64);
    let name = format!("{mix}, {demand}");
    match demand {
        Demand::Steady(load) => steady(site, urn, load, name, &mut chance),
        Demand::Fill(share) => fill(site, urn, share, name, &mut chance),
    }
}

fn at(slot: u64) -> Timestamp {
    Timestamp::from_millis(slot * SLOT.get())
}

fn steady(site: &Site, urn: Urn<'_>, load: f64, name: String, chance: &mut Chance) -> Workload {
    let mean_life = load * site.weight() as f64 / urn.mean_weight();
    let longest = ((2.0 * mean_life - 1.0).round() as u64).max(1);
    let slots = 6 * longest;
    let requests = (0..slots).map(|slot| {
        let kind = urn.draw(chance);
        let life = 1 + chance.below(longest as usize) as u64;
        let holds = Some(Millis::new(life * SLOT.get()));
        Request { arrival: at(slot), holds, kind, count: 1, tenant: 0 }
    });
    let requests = requests.collect();
    urn.workload(name, requests, Span { from: at(2 * longest), to: at(slots) })
}

fn fill(site: &Site, urn: Urn<'_>, share: f64, name: String, chance: &mut Chance) -> Workload {
    let count = (share * site.weight() as f64 / urn.mean_weight()).round() as u64;
    let request = |slot| Request {
        arrival: at(slot),
        holds: None,
        kind: urn.draw(chance),
        count: 1,
        tenant: 0,
    };
    let requests = (0..count).map(request).collect();
    let mut work = urn.workload(name, requests, Span { from: at(0), to: at(count) });
    // What matters is how full it is in the end.
    work.room.from = at(count.saturating_sub(1));
    work
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> Site {
        Site::of("a100-sxm4-80gb", 10).unwrap()
    }

    #[test]
    fn steady_demand_is_the_load_that_was_asked_for() {
        let site = site();
        for mix in Mix::ALL {
            let mut shares = Vec::new();
            for seed in 0..8 {
                let work = workload(&site, mix, Demand::Steady(0.85), seed);
                let area = |r: &Request| work.weight(r) * r.holds.unwrap().as_secs();
                let sum: u64 = work.requests.iter().map(area).sum();
                shares.push(sum as f64 / (site.weight() * work.requests.len() as u64) as f64);
            }
            let mean = shares.iter().sum::<f64>() / shares.len() as f64;
            assert!((mean - 0.85).abs() < 0.06, "{mix}: {mean}");
        }
    }

    #[test]
    fn fill_asks_for_the_whole_fleet_and_nobody_leaves() {
        let site = site();
        let mut shares = Vec::new();
        for seed in 0..40 {
            let work = workload(&site, Mix::SkewSmall, Demand::Fill(1.0), seed);
            let sum: u64 = work.requests.iter().map(|r| work.weight(r)).sum();
            assert!(work.requests.iter().all(|request| request.holds.is_none()));
            shares.push(sum as f64 / site.weight() as f64);
        }
        let mean = shares.iter().sum::<f64>() / shares.len() as f64;
        assert!((mean - 1.0).abs() < 0.05, "{mean}");
        assert!(shares.iter().any(|s| *s > 1.0) && shares.iter().any(|s| *s < 1.0));
    }

    #[test]
    fn a_mix_is_drawn_as_it_says_and_the_same_from_the_same_seed() {
        let site = Site::of("a100-sxm4-80gb", 400).unwrap();
        let draw = |seed| workload(&site, Mix::Bimodal, Demand::Fill(1.0), seed).requests;
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let work = workload(&site, Mix::Bimodal, Demand::Fill(1.0), 1);
        let names: Vec<&str> = work.kinds.iter().map(|kind| kind.name.as_str()).collect();
        assert_eq!(names, ["7g.80gb", "4g.40gb", "3g.40gb", "2g.20gb", "1g.20gb", "1g.10gb"]);
        let share = |kind: usize| {
            let of = work.requests.iter().filter(|request| request.kind == kind).count();
            of as f64 / work.requests.len() as f64
        };
        assert!((share(0) - 0.30).abs() < 0.06 && (share(2) - 0.05).abs() < 0.03);
    }

    #[test]
    fn boards_without_some_sizes_get_the_rest_of_the_mix() {
        let site = Site::of("a30", 4).unwrap();
        let work = workload(&site, Mix::Uniform, Demand::Fill(1.0), 1);
        let names: Vec<&str> = work.kinds.iter().map(|kind| kind.name.as_str()).collect();
        assert_eq!(names, ["4g.24gb", "2g.12gb", "1g.6gb"]);
        assert_eq!(work.notes.len(), 2, "{:?}", work.notes);
        assert!("huge".parse::<Mix>().unwrap_err().to_string().contains("skew-big"));
    }
}
