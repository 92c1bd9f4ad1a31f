//! Leases that nobody uses: evidence noted, holders warned, slices taken back.
//!
//! Must never take unknown for idle.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use model::{Health, LeaseId, Millis, Timestamp};

use crate::command::{Refusal, World};
use crate::decide::Draft;
use crate::endings::begin_end;
use crate::event::{EndReason, Event};
use crate::lifecycle::{Activity, Metered, Notice, NoticeReason};
use crate::moves;
use crate::policy::{Policy, TenantRules};
use crate::request::RequestSpec;
use crate::state::{Lease, Phase};
use crate::terms::IdleRule;

/// Whether the tenant's rules allow what a request says about idleness.
///
/// # Errors
/// [`Refusal::NotAllowed`].
pub(crate) fn admit(spec: &RequestSpec, policy: &Policy) -> Result<(), Refusal> {
    let rules = policy.tenant(&spec.tenant);
    if rules.may_stay_idle {
        return Ok(());
    }
    let refuse = |what: String| {
        let tenant = spec.tenant.to_string();
        Err(Refusal::NotAllowed { tenant, what })
    };
    match (spec.terms.idle, rules.idle_limit) {
        (IdleRule::Never, Some(_)) => refuse("keep a lease that is not used".into()),
        (IdleRule::After(span), Some(limit)) if span > limit => {
            refuse(alloc::format!("keep a lease that is not used for more than {limit}"))
        }
        (IdleRule::Tenant | IdleRule::Never | IdleRule::After(_), _) => Ok(()),
    }
}

/// After which idle time a lease is taken back; `None` means never. Rules that were made stricter
/// meanwhile hold for leases that are there.
pub fn idle_limit(policy: &Policy, lease: &Lease) -> Option<Millis> {
    let rules: &TenantRules = policy.tenant(&lease.spec.tenant);
    let asked = match lease.spec.terms.idle {
        IdleRule::Tenant => return rules.idle_limit,
        IdleRule::After(span) => Some(span),
        IdleRule::Never => None,
    };
    match (asked, rules.idle_limit) {
        (asked, _) if rules.may_stay_idle => asked,
        (Some(asked), Some(limit)) => Some(asked.min(limit)),
        (asked, limit) => asked.or(limit),
    }
}

/// A daemon took over: what its predecessor saw says nothing about the time in between.
pub(crate) fn started(draft: &mut Draft<'_>) {
    let known: Vec<LeaseId> = draft
        .state
        .leases
        .values()
        .filter(|lease| lease.activity != Activity::Unknown)
        .map(|lease| lease.id)
        .collect();
    for id in known {
        note_activity(draft, id, Activity::Unknown);
    }
}

/// What was measured of a lease.
pub(crate) fn measured(draft: &mut Draft<'_>, id: LeaseId, activity: Activity, metered: Metered) {
    let Some(lease) = draft.state.lease(id).filter(|lease| lease.holds_slices()) else { return };
    let totals = grown(lease.metered, metered);
    if totals != lease.metered {
        draft.emit(Event::Metered { lease: id, metered: totals });
    }
    note_activity(draft, id, activity);
}

/// Totals only grow, whatever a measurement says.
fn grown(known: Metered, new: Metered) -> Metered {
    Metered {
        peak_memory: known.peak_memory.max(new.peak_memory),
        busy: known.busy.max(new.busy),
        observed: known.observed.max(new.observed),
    }
}

/// Notes what the evidence says; a warning that it does not bear out any more is withdrawn.
fn note_activity(draft: &mut Draft<'_>, id: LeaseId, activity: Activity) {
    let Some(lease) = draft.state.lease(id) else { return };
    if lease.activity != activity {
        draft.emit(Event::ActivityChanged { lease: id, activity });
    }
    if let Some(warned) = warned(draft, id)
        && activity != (Activity::Idle { since: warned.0 })
    {
        draft.emit(Event::NoticeWithdrawn { lease: id });
    }
}

/// Since when a lease is said to be idle by the warning it was given, and until when.
fn warned(draft: &Draft<'_>, id: LeaseId) -> Option<(Timestamp, Timestamp)> {
    match draft.state.lease(id)?.notice {
        Some(Notice { reason: NoticeReason::Idle { since }, until }) => Some((since, until)),
        _ => None,
    }
}

/// Since when a lease is idle by evidence that still counts: what was last seen of a GPU that does
/// not answer any more is none.
fn idle_since(world: &World<'_>, lease: &Lease) -> Option<Timestamp> {
    let Activity::Idle { since } = lease.activity else { return None };
    let slices = lease.slices.iter().map(|slice| &slice.key.gpu);
    let mut gpus = slices.chain(&lease.whole);
    let well = |gpu| world.observed.gpu(gpu).is_some_and(|seen| seen.health == Health::Ok);
    gpus.all(well).then_some(since)
}

/// When a lease that is not used is taken back if that stays so; `None` for one that is used, or that
/// nobody takes now.
pub(crate) fn taken_at(world: &World<'_>, lease: &Lease) -> Option<Timestamp> {
    if let Some(Notice { reason: NoticeReason::Idle { .. }, until }) = lease.notice {
        return Some(until);
    }
    let limit = idle_limit(world.policy, lease).filter(|_| !world.protected)?;
    let since = idle_since(world, lease)?;
    Some(since.plus(limit).max(world.now).plus(world.policy.idle_warning))
}

/// Whether a lease will probably not be used again before it is taken back: it was idle for more
/// than half of the time that it may be.
pub(crate) fn is_probably_over(world: &World<'_>, lease: &Lease) -> bool {
    let limit = idle_limit(world.policy, lease);
    idle_since(world, lease)
        .zip(limit)
        .is_some_and(|(since, limit)| world.now.since(since).get() >= limit.get() / 2)
}

/// Time passed for an active lease: one that is idle too long is warned, then taken back.
pub(crate) fn tick(draft: &mut Draft<'_>, id: LeaseId) {
    let World { policy, now, protected, .. } = *draft.world;
    let Some(lease) = draft.state.lease(id) else { return };
    let due = idle_limit(policy, lease)
        .zip(idle_since(draft.world, lease))
        .filter(|(limit, since)| !protected && since.plus(*limit) <= now);
    // Told once that it ends, a lease is not told something milder in between: what it was told
    // would never come due.
    let weightier = lease.notice.as_ref().is_some_and(|notice| match notice.reason {
        NoticeReason::Preempted { .. } | NoticeReason::Booked { .. } => true,
        NoticeReason::Drained { .. } => lease.spec.terms.preemptible,
        NoticeReason::Idle { .. } | NoticeReason::Move { .. } => false,
    });
    match (due, warned(draft, id)) {
        (Some((_, since)), Some((_, until))) if until <= now => {
            begin_end(draft, id, EndReason::Idle { since });
        }
        (None, Some(_)) => draft.emit(Event::NoticeWithdrawn { lease: id }),
        (Some((_, since)), None) if !weightier && is_active(draft, id) => {
            let until = now.plus(policy.idle_warning);
            moves::notice(draft, id, Notice { reason: NoticeReason::Idle { since }, until });
        }
        (Some(_), Some(_)) | (_, None) => {}
    }
}

fn is_active(draft: &Draft<'_>, id: LeaseId) -> bool {
    draft.state.lease(id).is_some_and(|lease| matches!(lease.phase, Phase::Active { .. }))
}
