//! The rank of a request, as options.
//!
//! Must never promise what a tenant's rules may refuse: the daemon decides.

use api::PriorityKind;
use clap::{Args, ValueEnum};

/// The rank of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Rank")]
pub(crate) struct RankArgs {
    /// low: after everybody else; high: before others, where the rules allow that
    #[arg(long, value_name = "RANK", value_enum, default_value_t = Rank::Normal)]
    pub(crate) priority: Rank,
}

/// A rank by its name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Rank {
    Low,
    #[default]
    Normal,
    High,
}

impl From<Rank> for PriorityKind {
    fn from(rank: Rank) -> Self {
        match rank {
            Rank::Low => Self::Low,
            Rank::Normal => Self::Normal,
            Rank::High => Self::High,
        }
    }
}
