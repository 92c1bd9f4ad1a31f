//! How good a placement is under a policy: the one place where policies differ.
//!
//! Shared by the census and the rooms. Must never look at anything but classes and forecasts.

use core::cmp::Ordering;

use crate::flp::Lookahead;
use crate::lasting::Delay;
use crate::policy::Policy;
use crate::room::Standing;
use crate::scar::{Pool, Prices};
use crate::tables::{ClassId, GeometryTables, PartId};

/// How good a candidate is; less is better.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rank {
    pub(crate) evictions: usize,
    score: Score,
    /// What it does to the time at which the GPU becomes empty, where that counts.
    delay: Delay,
    /// Whether its turn is past, and its number.
    turn: (bool, usize),
    start: u8,
}

impl Rank {
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        let (one, two) = (&self.score, &other.score);
        self.evictions
            .cmp(&other.evictions)
            .then_with(|| one.cost.total_cmp(&two.cost))
            .then_with(|| one.fullness.cmp(&two.fullness))
            .then_with(|| self.delay.cmp(&other.delay))
            .then_with(|| self.turn.cmp(&other.turn))
            .then_with(|| one.place.cmp(&two.place))
            .then_with(|| self.start.cmp(&other.start))
    }

    /// The number of the room or GPU.
    pub(crate) const fn room(&self) -> usize {
        self.turn.1
    }
}

/// What a policy says of a placement; less is better.
#[derive(Debug, Clone, Copy, Default)]
struct Score {
    cost: f64,
    /// Between those of equal cost, before the number of the GPU.
    fullness: (u32, u32),
    /// Which start on one GPU.
    place: (u32, u32),
}

/// A candidate as a policy sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    pub(crate) board: usize,
    pub(crate) room: usize,
    pub(crate) standing: Standing,
    pub(crate) part: PartId,
    /// The class of what is held with the part.
    pub(crate) to: ClassId,
    pub(crate) evictions: usize,
    /// What it does to the time at which the GPU becomes empty, where that counts.
    pub(crate) delay: Delay,
}

/// Ranks the placements of one decision.
#[derive(Debug)]
pub(crate) struct Ranking {
    policy: Policy,
    /// Empty where the policy needs none.
    prices: Prices,
    lookahead: Option<Lookahead>,
}

impl Ranking {
    /// For fleets counted in pools, one per board.
    pub(crate) fn new(policy: Policy, pools: &[Pool], tables: &[&GeometryTables]) -> Self {
        let priced = policy == Policy::Scar;
        let prices = if priced { Prices::new(pools, tables) } else { Prices::default() };
        let lookahead = (policy == Policy::Flp).then(|| Lookahead::new(pools, tables));
        Self { policy, prices, lookahead }
    }

    pub(crate) fn of(&self, tables: &GeometryTables, candidate: &Candidate) -> Rank {
        let Candidate { room, part, evictions, delay, .. } = *candidate;
        let score = self.score(tables, candidate);
        let start = tables.part(part).placement.start.get();
        Rank { evictions, score, delay, turn: (room < self.policy.begin(), room), start }
    }

    fn score(&self, tables: &GeometryTables, candidate: &Candidate) -> Score {
        let Candidate { board, standing, part, to, .. } = *candidate;
        let (from, shapes) = (standing.held, tables.shapes());
        let fullest = || (tables.freedom(from), tables.freedom(standing.full));
        let tightest = || {
            let left = tables.freedom(from);
            (left, left - tables.freedom(to).min(left))
        };
        let plain = Score::default();
        match self.policy {
            Policy::Scar => Score {
                cost: self.prices.cost(board, tables, from, part),
                fullness: fullest(),
                ..plain
            },
            Policy::Flp => {
                let ahead = self.lookahead.as_ref();
                let cost = ahead.map_or(0.0, |ahead| ahead.cost(board, tables, from, part));
                Score { cost, fullness: tightest(), ..plain }
            }
            Policy::FirstFit | Policy::RoundRobin { .. } => plain,
            Policy::BestFit => Score { fullness: tightest(), ..plain },
            Policy::BestIndex | Policy::WorstFit => {
                let free = shapes.free_units(from);
                let most = if self.policy == Policy::WorstFit { u32::MAX - free } else { free };
                Score { fullness: (most, 0), place: (shapes.preference(part), 0), ..plain }
            }
            Policy::Mfi => {
                let (before, after) = (shapes.fragmentation(from), shapes.fragmentation(to));
                Score { cost: f64::from(after) - f64::from(before), ..plain }
            }
            Policy::Hami => {
                let (run, left) = (shapes.longest_run(to), shapes.freedom(to));
                let place = (u32::MAX - run, u32::MAX - left);
                Score { fullness: (shapes.free_units(from), 0), place, ..plain }
            }
        }
    }
}
