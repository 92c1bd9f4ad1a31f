//! The broker's rules as an owner writes them: names of users, hours, amounts.
//!
//! Must never mean something else than `docs/config.md` says of the key of the same name.

use broker::{GpuSelector, TenantRules};
use model::{Millis, ProfileName};

use crate::calendar::Hours;

/// `[requests]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requests {
    /// The most slices one request may name.
    pub max_count: u32,
    /// Grants of one request that may fail in the driver before it is given up.
    pub max_failures: u32,
    /// Life of a lease held by a token when its owner named none.
    pub token_life: Millis,
}

impl Default for Requests {
    fn default() -> Self {
        Self { max_count: 512, max_failures: 3, token_life: Millis::from_secs(8 * 3600) }
    }
}

/// `[fair_share]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FairShare {
    /// After this time a use of the machine counts half.
    pub half_life: Millis,
}

impl Default for FairShare {
    fn default() -> Self {
        Self { half_life: Millis::from_secs(24 * 3600) }
    }
}

/// `[queue]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// How long the oldest request must have been blocked before room is kept free for it, at the
    /// least.
    pub drain_after: Millis,
    /// How many times its own length a request for a whole GPU must have been blocked; four times
    /// that for half of one.
    pub drain_lengths: u32,
    /// How long a booked place waits for its owner.
    pub no_show: Millis,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            drain_after: Millis::from_secs(60),
            drain_lengths: 1,
            no_show: Millis::from_secs(15 * 60),
        }
    }
}

/// `[reclaim]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reclaim {
    /// After which idle time a lease is warned; `None`: never.
    pub idle_after: Option<Millis>,
    /// From the warning to the end.
    pub warn_for: Millis,
    /// Hours in which nothing idle is taken.
    pub protected: Vec<Hours>,
}

impl Default for Reclaim {
    fn default() -> Self {
        Self { idle_after: None, warn_for: Millis::from_secs(600), protected: Vec::new() }
    }
}

/// `[preemption]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preemption {
    /// From the notice to what it announces.
    pub notice: Millis,
}

impl Default for Preemption {
    fn default() -> Self {
        Self { notice: Millis::from_secs(60) }
    }
}

/// `[placement]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Placement {
    /// How free places are ranked.
    pub policy: planner::Policy,
}

/// `[repartition]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repartition {
    /// The most rearrangements of idle room an hour.
    pub per_hour: u32,
    /// How long one must have looked worthwhile before it is begun.
    pub hysteresis: Millis,
    /// The most idle slices made ahead of requests on one GPU.
    pub warm_ahead: u32,
}

impl Default for Repartition {
    fn default() -> Self {
        Self { per_hour: 12, hysteresis: Millis::from_secs(30), warm_ahead: 0 }
    }
}

/// `[tenants.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its name.
    pub name: String,
    /// Names of users who belong to it.
    pub users: Vec<String>,
    /// Names of groups whose members belong to it.
    pub groups: Vec<String>,
    /// What holds for it.
    pub rules: TenantRules,
}

/// `[[window]]`: room kept for a tenant by the week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Its name; no other window has it.
    pub name: String,
    /// Whom it is kept for.
    pub tenant: String,
    /// Which slices.
    pub profile: ProfileName,
    /// How many.
    pub count: u32,
    /// On which GPUs.
    pub gpu: GpuSelector,
    /// When.
    pub hours: Hours,
}
