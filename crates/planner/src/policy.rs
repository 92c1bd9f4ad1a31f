//! The ways to choose among free placements.
//!
//! Must never reach the legality of a placement: policies rank, they do not admit. Must never keep
//! anything from one decision to the next: what a policy remembers is in its value.

use core::fmt;

/// How free placements are ranked. `docs/placement.md` compares them.
///
/// Every policy ranks one GPU of each class, so a decision costs the same for a hundred GPUs and
/// for a million. [`crate::Census`] and [`crate::Planner`] rank by the same code.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Policy {
    /// Scarcity-weighted capacity loss: what costs the fleet least of what it is short of.
    #[default]
    Scar,
    /// Forecast-lookahead packing: what leaves the next requests with the least unmet demand, by size,
    /// over many lengths of "next"; between equals best fit.
    Flp,
    /// The first GPU with room, its lowest start. What kube-scheduler's allocator of dynamic
    /// resources does (NVIDIA k8s-dra-driver-gpu, issue 932); kept for comparison.
    FirstFit,
    /// The next GPU with room in turn, its lowest start. A baseline of Zambianco, Fasol and
    /// Doriguzzi-Corin (arXiv 2511.18906); kept for comparison.
    RoundRobin {
        /// The number of the GPU whose turn it is; [`Policy::after`] tells the one after a choice.
        next: usize,
    },
    /// The fullest GPU with room, there the start that leaves most placements. What a careful
    /// allocator without a forecast does; kept for comparison.
    BestFit,
    /// The GPU with the fewest free units, there the start that spoils fewest placements of an empty
    /// GPU: the order of Turkkan et al. (arXiv 2409.06646); "BF-BI" of arXiv 2511.18906.
    BestIndex,
    /// The GPU with the most free units, there the same start: "WF-BI" of arXiv 2511.18906.
    WorstFit,
    /// Minimum fragmentation increment of Zambianco, Fasol and Doriguzzi-Corin (arXiv 2511.18906):
    /// the GPU and start that add least to the units of placements that something blocks.
    Mfi,
    /// The rule of HAMi's pull request 2855, with GPUs filled one after another: the GPU with the
    /// fewest free units, there the start that leaves the longest free run, then most placements.
    Hami,
}

impl Policy {
    /// Every policy, round robin beginning with the first GPU.
    pub const ALL: [Self; 9] = [
        Self::Scar,
        Self::Flp,
        Self::FirstFit,
        Self::RoundRobin { next: 0 },
        Self::BestFit,
        Self::BestIndex,
        Self::WorstFit,
        Self::Mfi,
        Self::Hami,
    ];

    /// The word for it in configuration files and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scar => "scar",
            Self::Flp => "flp",
            Self::FirstFit => "first-fit",
            Self::RoundRobin { .. } => "round-robin",
            Self::BestFit => "best-fit",
            Self::BestIndex => "best-index",
            Self::WorstFit => "worst-fit",
            Self::Mfi => "mfi",
            Self::Hami => "hami",
        }
    }

    /// The policy of that name; `None` for any other word.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }

    /// The policy for the decision after one that chose GPU number `gpu`: round robin goes on behind
    /// it, every other policy is the same.
    #[must_use]
    pub const fn after(self, gpu: usize) -> Self {
        match self {
            Self::RoundRobin { .. } => Self::RoundRobin { next: gpu + 1 },
            Self::Scar
            | Self::Flp
            | Self::FirstFit
            | Self::BestFit
            | Self::BestIndex
            | Self::WorstFit
            | Self::Mfi
            | Self::Hami => self,
        }
    }

    /// Whether it goes by lengths between places that are equally good.
    pub(crate) const fn goes_by_ends(self) -> bool {
        matches!(self, Self::Scar | Self::Flp)
    }

    /// The number of the GPU to begin with.
    pub(crate) const fn begin(self) -> usize {
        match self {
            Self::RoundRobin { next } => next,
            Self::Scar
            | Self::Flp
            | Self::FirstFit
            | Self::BestFit
            | Self::BestIndex
            | Self::WorstFit
            | Self::Mfi
            | Self::Hami => 0,
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
