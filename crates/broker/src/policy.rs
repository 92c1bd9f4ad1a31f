//! The owner's rules, resolved: no time zones, no names of users, no files.
//!
//! Must never be consulted while events are folded: rules may change, history does not.

use alloc::collections::BTreeMap;

use model::{MemoryMib, Millis, Tenant};

use crate::terms::Priority;

/// An amount of slices and memory; a bound that is `None` does not bind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// GPU instances; a whole GPU counts as the most slices it could be cut into.
    pub slices: Option<u32>,
    /// Usable memory.
    pub memory: Option<MemoryMib>,
}

/// The rules of one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantRules {
    /// Its share of the machine when everybody wants more than there is, against the others'.
    pub weight: u32,
    /// What it gets back from borrowers when it wants it.
    pub guaranteed: Amount,
    /// What it never exceeds.
    pub cap: Amount,
    /// Hard limit of leases whose owner named none, so that ends are known.
    pub default_time: Option<Millis>,
    /// The longest hard limit it may ask for; with it, every lease has one.
    pub max_time: Option<Millis>,
    /// Estimate for leases whose owner named none.
    pub default_expect: Option<Millis>,
    /// The best rank its members may ask for.
    pub max_priority: Priority,
    /// After which idle time its leases are taken back; `None` means never.
    pub idle_limit: Option<Millis>,
    /// Whether its members may ask that an idle lease stays.
    pub may_stay_idle: bool,
    /// Whether its members may book.
    pub may_book: bool,
}

impl Default for TenantRules {
    fn default() -> Self {
        Self {
            weight: 1,
            guaranteed: Amount::default(),
            cap: Amount::default(),
            default_time: None,
            max_time: None,
            default_expect: None,
            max_priority: Priority::Normal,
            idle_limit: None,
            may_stay_idle: true,
            may_book: true,
        }
    }
}

/// The owner's rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Whether nothing happens by itself but the end of what is over: nothing is granted, made
    /// ready, made ahead, retired, rearranged or taken back. For a daemon that runs for the length
    /// of one command of an administrator.
    pub passive: bool,
    /// Whether MIG mode may be enabled on empty GPUs.
    pub auto_mig: bool,
    /// From TERM to KILL when a lease's processes must end. Long enough to write a checkpoint of
    /// ordinary size, short enough that a dead holder does not block a slice for minutes.
    pub grace: Millis,
    /// How long an idle slice stays for reuse before its room is given back. A slice that is asked
    /// for again within minutes is granted without the driver's creation cost (about a quarter of
    /// a second); longer would only show up as clutter, since idle slices yield to any request.
    pub warm_for: Millis,
    /// Life of a lease held by a token when its owner named none.
    pub token_life: Millis,
    /// Grants of one request that may fail in the driver before the request is given up.
    pub max_failures: u32,
    /// The most slices one request may name.
    pub max_count: u32,
    /// The most requests one user may have waiting.
    pub max_waiting_per_user: u32,
    /// The most bookings one user may have.
    pub max_bookings_per_user: u32,
    /// How far ahead a booking may begin.
    pub book_ahead: Millis,
    /// How long a booked place waits for its owner before it is given to others.
    pub no_show: Millis,
    /// After this time the charge for a use of the machine counts half in the fair share. A day:
    /// yesterday's crowd should feel it this morning, last week's should not.
    pub half_life: Millis,
    /// How long the oldest request must have been blocked before a GPU is kept free for it, at the
    /// least.
    pub drain_after: Millis,
    /// How many times as long as it will run a request for a whole GPU must have been blocked before
    /// one is kept free for it; four times that for half a GPU, sixteen times for a quarter. 0:
    /// `drain_after` says it all.
    pub drain_lengths: u32,
    /// From a notice of preemption, or of the emptying of a GPU, to what it announces.
    pub notice: Millis,
    /// From the warning of an idle lease to its end.
    pub idle_warning: Millis,
    /// The most rearrangements of idle room an hour.
    pub moves_per_hour: u32,
    /// How long a rearrangement must have looked worthwhile before it is begun, so that a passing
    /// wish does not move anything.
    pub hysteresis: Millis,
    /// The most idle slices made ahead of requests on one GPU.
    pub warm_ahead: u32,
    /// How free places are ranked. The default everywhere; others are for comparison.
    pub placement: planner::Policy,
    /// How long a GPU may fail to answer before its leases are ended.
    pub failing_for: Millis,
    /// Rules by tenant.
    pub tenants: BTreeMap<Tenant, TenantRules>,
    /// Rules of tenants that have none of their own.
    pub default_tenant: TenantRules,
}

impl Policy {
    /// The rules of a tenant.
    pub fn tenant(&self, tenant: &Tenant) -> &TenantRules {
        self.tenants.get(tenant).unwrap_or(&self.default_tenant)
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            passive: false,
            auto_mig: false,
            grace: Millis::from_secs(10),
            warm_for: Millis::from_secs(300),
            token_life: Millis::from_secs(8 * 3600),
            max_failures: 3,
            max_count: 512,
            max_waiting_per_user: 1000,
            max_bookings_per_user: 20,
            book_ahead: Millis::from_secs(90 * 24 * 3600),
            no_show: Millis::from_secs(15 * 60),
            half_life: Millis::from_secs(24 * 3600),
            drain_after: Millis::from_secs(60),
            drain_lengths: 1,
            notice: Millis::from_secs(60),
            idle_warning: Millis::from_secs(600),
            moves_per_hour: 12,
            hysteresis: Millis::from_secs(30),
            warm_ahead: 0,
            placement: planner::Policy::Scar,
            failing_for: Millis::from_secs(300),
            tenants: BTreeMap::new(),
            default_tenant: TenantRules::default(),
        }
    }
}
