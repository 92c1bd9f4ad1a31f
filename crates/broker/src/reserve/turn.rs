//! Whose turn it is to have room kept: when a request has waited long enough for it, and who comes
//! first of those that have.
//!
//! Must never let a request wait longer for having said nothing of its length than for having said
//! little, nor make it worth much to say nothing.

use alloc::vec::Vec;

use model::{GpuUuid, LeaseId, Millis, NodeSnapshot, Tenant, Timestamp};

use super::{Spot, Wait, best};
use crate::claim::Claim;
use crate::command::World;
use crate::ends;
use crate::policy::Policy;
use crate::quota::{self, Stake};
use crate::request::{GpuSelector, RequestSpec, Wanted};
use crate::serve::{Block, Blocked};
use crate::state::{Lease, Phase, State};

/// Tenants for whose requests places are looked for in one decision at most.
const TRIES: usize = 4;

/// A request that says it lasts longer waits no longer for that.
const LONGEST: Millis = Millis::from_secs(3600);

/// What counts as the length of a request that says nothing about it.
const UNTOLD: Millis = Millis::from_secs(1800);

/// No request waits longer than this before room may be kept for it.
const MOST: Millis = Millis::from_secs(4 * 3600);

/// How long a request must have been blocked before room is kept for it.
///
/// Room that is kept stands empty until the last of those in it has left, so that whoever has it
/// kept should have waited in proportion to what he wants: as long as he says he will run if he
/// wants a whole GPU, four times as long for half of one, sixteen times for a quarter. A part of a
/// GPU comes free by itself time and again; a whole one hardly ever does. Measured against other
/// rules in `docs/migbench.md`.
fn patience(policy: &Policy, spec: &RequestSpec, share: u64) -> Millis {
    let told = ends::told_length(policy, spec).map_or(UNTOLD, |length| length.min(LONGEST));
    let share = u128::from(share.clamp(1, quota::WHOLE));
    let whole = u128::from(quota::WHOLE);
    let length = u128::from(told.get()) * u128::from(policy.drain_lengths);
    let asked = length * whole * whole / (share * share);
    let most = u128::from(MOST.get());
    let asked = u64::try_from(asked.min(most)).map_or(MOST, Millis::new);
    asked.max(policy.drain_after)
}

/// From when on a request that waits may have room kept for it, whoever is in the way.
pub fn room_is_due_at(policy: &Policy, observed: &NodeSnapshot, lease: &Lease) -> Timestamp {
    let share = Sizes::default().of(observed, lease);
    lease.requested_at.plus(patience(policy, &lease.spec, share))
}

/// How far a request is on its way to having room kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// It may have room that is free as soon as those have left whom it may ask to leave.
    ByAsking,
    /// It may have any.
    Patiently,
}

/// The request that room is kept for next: the oldest large one of the tenant whose turn it is. A
/// tenant whose turn it is not may have room kept where nobody before it could go.
pub(super) fn next(
    state: &State,
    world: &World<'_>,
    blocked: &[Blocked],
) -> Option<(LeaseId, Spot)> {
    let waiting: Vec<&Lease> = blocked
        .iter()
        .filter(|blocked| blocked.why == Block::Room)
        .filter_map(|blocked| state.lease(blocked.id))
        .collect();
    let mut tenants: Vec<&Tenant> = Vec::new();
    let mut due: Vec<(usize, Due, &Lease)> = Vec::new();
    let mut sizes = Sizes::default();
    let smallest = sizes.smallest(state, world.observed);
    let may_ask = state.leases.values().any(|lease| lease.spec.terms.preemptible);
    for lease in &waiting {
        let tenant = &lease.spec.tenant;
        let known = tenants.iter().rposition(|known| *known == tenant);
        let turn = known.unwrap_or_else(|| {
            tenants.push(tenant);
            tenants.len() - 1
        });
        let share = sizes.of(world.observed, lease);
        let waited = world.now.since(lease.requested_at);
        let patience = patience(world.policy, &lease.spec, share);
        let how = if waited >= patience
            || waited >= world.policy.drain_after && was_told(lease, patience)
        {
            Due::Patiently
        } else if may_ask && waited >= world.policy.drain_after {
            Due::ByAsking
        } else {
            continue;
        };
        let has_none = lease.promised.is_empty()
            && lease.promised_whole.is_empty()
            && lease.spec.terms.booking.is_none();
        if !has_none || share <= smallest {
            continue;
        }
        let age = |how: Due, lease: &Lease| (core::cmp::Reverse(how), lease.requested_at, lease.id);
        match due.iter_mut().find(|(of, ..)| *of == turn) {
            Some((_, known, oldest)) if age(how, lease) < age(*known, oldest) => {
                (*known, *oldest) = (how, lease);
            }
            None => due.push((turn, how, lease)),
            Some(_) => {}
        }
    }
    due.into_iter().take(TRIES).find_map(|(turn, how, lease)| {
        let ((places, gpus), wait) = best(state, world, lease)?;
        if how == Due::ByAsking && !is_free_by_asking(state, world, lease, wait) {
            return None;
        }
        let mut on = places.iter().map(|place| &place.key.gpu).chain(&gpus);
        let before = |other: &&&Lease| tenants[..turn].contains(&&other.spec.tenant);
        let before: Vec<&&Lease> = waiting.iter().filter(before).collect();
        let wanted = on.any(|gpu| before.iter().any(|other| may_go_to(world, other, gpu)));
        (!wanted).then_some((lease.id, (places, gpus)))
    })
}

/// Whether a request was told that it starts before it would have room kept for it.
fn was_told(lease: &Lease, patience: Millis) -> bool {
    let told = lease.predicted.and_then(|start| start.not_later_than);
    told.is_some_and(|at| at <= lease.requested_at.plus(patience))
}

/// Whether room is free no later than those are gone who can be asked to leave for a request.
fn is_free_by_asking(state: &State, world: &World<'_>, asker: &Lease, wait: Wait) -> bool {
    let claim = Claim::new(state, world, asker);
    let asked = world.policy.notice.get() + ends::out(world).get();
    wait.unlimited == 0
        && wait.until <= world.now.plus(Millis::new(asked))
        && state.leases.values().any(|lease| claim.drives_out(lease))
}

/// Whether a request could be served by a GPU.
fn may_go_to(world: &World<'_>, lease: &Lease, gpu: &GpuUuid) -> bool {
    world.observed.gpu(gpu).is_some_and(|gpu| {
        let cut = || gpu.geometry.as_deref().is_some_and(|g| lease.spec.wanted.on(g).is_ok());
        lease.spec.gpu.matches(gpu) && (lease.spec.wanted == Wanted::WholeGpu || cut())
    })
}

/// The shares of a GPU that requests take, each wish looked up once.
#[derive(Debug, Default)]
struct Sizes(Vec<(Wanted, GpuSelector, u64)>);

impl Sizes {
    fn of(&mut self, observed: &NodeSnapshot, lease: &Lease) -> u64 {
        let spec = &lease.spec;
        let known =
            self.0.iter().find(|(wanted, gpu, _)| *wanted == spec.wanted && *gpu == spec.gpu);
        let each = known.map(|(.., share)| *share);
        let each = each.unwrap_or_else(|| {
            let gpus = observed.gpus.iter().filter(|gpu| spec.gpu.matches(gpu));
            let each = gpus.filter_map(|gpu| {
                if spec.wanted == Wanted::WholeGpu {
                    return Some(quota::WHOLE);
                }
                let profile = spec.wanted.on(gpu.geometry.as_deref()?).ok()?;
                Some(Stake::of_slice(gpu, profile.id).share)
            });
            let share = each.min().unwrap_or(0);
            self.0.push((spec.wanted, spec.gpu.clone(), share));
            share
        });
        each.saturating_mul(u64::from(spec.count))
    }

    /// The least share that anybody has or asks for: whoever asks for no more is not passed by.
    fn smallest(&mut self, state: &State, observed: &NodeSnapshot) -> u64 {
        let shares = state.leases.values().map(|lease| match lease.phase {
            Phase::Queued => self.of(observed, lease),
            Phase::Granting { .. } | Phase::Active { .. } | Phase::Ending { .. } => {
                quota::stake(state, observed, lease).share
            }
        });
        shares.filter(|share| *share > 0).min().unwrap_or(0)
    }
}
