//! Who places: the planner's policies by name, and perfect repacking as the bound of all of them.
//!
//! Must never rank a placement itself: that is the planner's.

use std::fmt;

use planner::Policy;

/// What a contender does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Places it by a policy of the planner.
    Place(Policy),
    /// The same; where there is no place, at most so many running slices are moved to make one.
    Open(Policy, usize),
    /// Lays everything anew for every request, at no cost: accepts if any packing fits.
    Repack,
}

/// One column of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contender {
    /// Its name, as options and files have it.
    pub name: &'static str,
    /// What it does, in a few words.
    pub title: &'static str,
    /// Where it comes from.
    pub source: &'static str,
    pub(crate) rule: Rule,
}

/// No contender is called that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{asked}` is no policy; there are {known}")]
pub struct UnknownContender {
    /// What was written.
    pub asked: String,
    /// All there are.
    pub known: String,
}

const fn placing(policy: Policy, title: &'static str, source: &'static str) -> Contender {
    Contender { name: policy.name(), title, source, rule: Rule::Place(policy) }
}

const ALL: &[Contender] = &[
    placing(
        Policy::Scar,
        "scarcity-weighted capacity loss, forecast from past requests",
        "migd's own",
    ),
    placing(
        Policy::Flp,
        "forecast-lookahead packing: what a placement keeps from likely requests to come",
        "migd's own",
    ),
    placing(
        Policy::FirstFit,
        "the first GPU with room, its lowest start",
        "what kube-scheduler's DRA allocator does: NVIDIA k8s-dra-driver-gpu, issue 932",
    ),
    placing(
        Policy::RoundRobin { next: 0 },
        "the next GPU with room in turn, its lowest start",
        "baseline RR of arXiv 2511.18906",
    ),
    placing(
        Policy::BestFit,
        "the fullest GPU with room, there the start that leaves most placements",
        "a careful allocator without a forecast",
    ),
    placing(
        Policy::BestIndex,
        "the GPU with the fewest free units, there the best index",
        "Turkkan et al., arXiv 2409.06646; BF-BI of arXiv 2511.18906",
    ),
    placing(
        Policy::WorstFit,
        "the GPU with the most free units, there the best index",
        "WF-BI of arXiv 2511.18906",
    ),
    placing(
        Policy::Mfi,
        "minimum fragmentation increment",
        "Zambianco, Fasol, Doriguzzi-Corin, arXiv 2511.18906",
    ),
    placing(
        Policy::Hami,
        "the GPU with the fewest free units, there the longest free run left",
        "the rule of HAMi pull request 2855, with GPUs filled one after another",
    ),
    Contender {
        name: "flp+1",
        title: "flp, and where it finds no place, one running slice moved",
        source: "migd's own; every slice may move",
        rule: Rule::Open(Policy::Flp, 1),
    },
    Contender {
        name: "scar+1",
        title: "scar, and where it finds no place, one running slice moved",
        source: "migd's own; every slice may move",
        rule: Rule::Open(Policy::Scar, 1),
    },
    Contender {
        name: "scar+2",
        title: "scar, and where it finds no place, up to two running slices moved",
        source: "migd's own; every slice may move",
        rule: Rule::Open(Policy::Scar, 2),
    },
    Contender {
        name: "oracle",
        title: "lays everything anew for each request, at no cost: no policy, but a bound on what \
                fragmentation costs",
        source: "exact packability, planner::pack",
        rule: Rule::Repack,
    },
];

impl Contender {
    /// All there are, ours first, the oracle last.
    pub const fn all() -> &'static [Self] {
        ALL
    }

    /// The one of this name.
    ///
    /// # Errors
    /// [`UnknownContender`] with all the names.
    pub fn named(name: &str) -> Result<Self, UnknownContender> {
        let found = ALL.iter().find(|contender| contender.name == name.trim()).copied();
        found.ok_or_else(|| {
            let known: Vec<&str> = ALL.iter().map(|contender| contender.name).collect();
            UnknownContender { asked: name.into(), known: known.join(", ") }
        })
    }

    /// Whether it moves anything that runs.
    pub const fn moves(&self) -> bool {
        matches!(self.rule, Rule::Open(..) | Rule::Repack)
    }

    /// Whether it moves everything that runs at no cost, which no machine can.
    pub fn is_oracle(&self) -> bool {
        self.rule == Rule::Repack
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}
