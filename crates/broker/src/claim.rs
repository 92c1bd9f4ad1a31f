//! Who leaves for the request that room is kept for.
//!
//! Must never let two leases drive each other out in turns: a guarantee goes before rank, and rank
//! before the room that is kept.

use alloc::collections::BTreeSet;

use model::{LeaseId, Timestamp};

use crate::command::World;
use crate::quota;
use crate::request::RequestSpec;
use crate::state::{Lease, State};

/// What a request may demand for which room is kept, or would be.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    asker: &'a Lease,
    /// Since when room is kept for it.
    since: Timestamp,
    covered: BTreeSet<LeaseId>,
}

impl<'a> Claim<'a> {
    pub(crate) fn new(state: &State, world: &World<'_>, asker: &'a Lease) -> Self {
        let kept = state.reservation.as_ref().filter(|kept| kept.lease == asker.id);
        let since = kept.map_or(world.now, |kept| kept.since);
        Self { asker, since, covered: quota::covered(state, world) }
    }

    /// Whether a lease is told to leave when everybody else is about to have left: of lower rank,
    /// or, for somebody who may not be preempted himself, of the same, or come later.
    pub(crate) fn drives_out(&self, lease: &Lease) -> bool {
        let (mine, its) = (&self.asker.spec.terms, &lease.spec.terms);
        // Two that may be preempted would drive each other out for ever.
        let later = lease.granted_at.is_some_and(|at| at >= self.since);
        let may = its.priority < mine.priority
            || (!mine.preemptible && (later || its.priority == mine.priority));
        let covered =
            self.covered.contains(&lease.id) && lease.spec.tenant != self.asker.spec.tenant;
        its.preemptible && may && !covered
    }
}

/// Whether a request that is let into the room kept for another is sure to leave for it.
pub(crate) fn yields(world: &World<'_>, spec: &RequestSpec, asker: &Lease) -> bool {
    let (its, terms) = (&asker.spec.terms, &spec.terms);
    let may_be_covered =
        spec.tenant != asker.spec.tenant && quota::has_guarantee(world.policy.tenant(&spec.tenant));
    terms.preemptible && (!its.preemptible || terms.priority < its.priority) && !may_be_covered
}
