//! Why a request waits: whom or what for, since when it was said, how long still.
//!
//! Must never decide: it looks at the same rooms, in the same order, as whoever serves.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use model::{GpuIndex, LeaseId, PlacedProfile, ProfileName, Tenant, Timestamp};

use crate::command::World;
use crate::ends::{self, Owner};
use crate::keep::Whose;
use crate::lifecycle::{Activity, NoticeReason, StartEstimate};
use crate::quota;
use crate::reclaim;
use crate::request::RequestSpec;
use crate::rooms::{explain, join};
use crate::serve::{Block, Pass};
use crate::state::{Lease, Phase, State};
use crate::{estimate, order};

/// Why a request waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// What it waits for, as the end of a sentence that begins "it waits for".
    pub sentence: String,
    /// Requests before it in the order of service.
    pub before: usize,
    /// Leases that must end before it can start; empty where it waits for something else.
    pub blockers: Vec<Blocking>,
    /// When it starts by what is known now.
    pub start: StartEstimate,
    /// What it was told when it began to wait, or when that could no longer be kept.
    pub said: Option<StartEstimate>,
}

/// A lease that must end before a request can start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocking {
    /// Which.
    pub lease: LeaseId,
    /// Whose.
    pub tenant: Tenant,
    /// The profile of what is in the way; `None` for a whole GPU.
    pub profile: Option<ProfileName>,
    /// On which GPU.
    pub gpu: GpuIndex,
    /// When it has left at the latest, if that is known.
    pub ends_at: Option<Timestamp>,
    /// When it is taken back, if it stays unused until then.
    pub taken_at: Option<Timestamp>,
}

/// Everything there is to say about a waiting request; `None` if it does not wait.
pub fn why(state: &State, world: &World<'_>, id: LeaseId) -> Option<Why> {
    let lease = state.lease(id).filter(|lease| lease.phase == Phase::Queued)?;
    let before = order::queue(state, world).iter().position(|other| *other == id)?;
    Some(Why {
        sentence: explain(state, world, lease),
        before,
        blockers: blockers(state, world, lease),
        start: estimate::start(state, world, lease),
        said: lease.predicted,
    })
}

/// The leases in the way, where leases are what it waits for.
fn blockers(state: &State, world: &World<'_>, lease: &Lease) -> Vec<Blocking> {
    let mut pass = Pass::new(state, world);
    if pass.find(state, world, Some(lease.id), &lease.spec).err() == Some(Block::Cap) {
        let own = state
            .leases
            .values()
            .filter(|other| other.spec.tenant == lease.spec.tenant && other.phase != Phase::Queued);
        let of = |other: &Lease| -> Option<Blocking> {
            let slice = other.slices.first()?;
            let part = PlacedProfile { placement: slice.key.placement, profile: slice.profile };
            let gpu = world.observed.gpu(&slice.key.gpu)?;
            Some(blocking(state, world, other, Some(part), gpu))
        };
        return own.filter_map(of).collect();
    }
    let view = pass.views.of(state, world, Some(lease.id), &lease.spec);
    let want = pass.want(world, &lease.spec);
    let rooms = pass.views.rooms(view);
    let found = world.planner.blockers(rooms, &want, lease.spec.count).unwrap_or_default();
    let found = found.iter().filter_map(|b| {
        let gpu = world.observed.gpu(&rooms[b.room].gpu)?;
        match ends::owner(state, &gpu.uuid, b.part) {
            Owner::Lease(id) => Some(blocking(state, world, state.lease(id)?, Some(b.part), gpu)),
            Owner::Change | Owner::Visitor { .. } | Owner::Stranger => None,
        }
    });
    let mut once: Vec<Blocking> = Vec::new();
    for blocking in found {
        if once.iter().all(|known| known.lease != blocking.lease) {
            once.push(blocking);
        }
    }
    once
}

fn blocking(
    state: &State,
    world: &World<'_>,
    lease: &Lease,
    part: Option<PlacedProfile>,
    gpu: &model::GpuSnapshot,
) -> Blocking {
    let name = |part: PlacedProfile| gpu.geometry.as_deref()?.profile(part.profile);
    Blocking {
        lease: lease.id,
        tenant: lease.spec.tenant.clone(),
        profile: part.and_then(name).map(|profile| profile.name),
        gpu: gpu.index,
        ends_at: ends::latest(state, world, lease),
        taken_at: reclaim::taken_at(world, lease),
    }
}

/// `, idle for 2h00m`, where a lease is.
pub(crate) fn idle_words(lease: &Lease, now: Timestamp) -> String {
    match lease.activity {
        Activity::Idle { since } => alloc::format!(", idle for {}", now.since(since)),
        Activity::Unknown | Activity::Busy => String::new(),
    }
}

/// What a request waits for beside leases that end by themselves: its tenant's cap, those who were
/// told to leave for it, what is kept for others.
pub(crate) fn cause(
    state: &State,
    world: &World<'_>,
    id: Option<LeaseId>,
    spec: &RequestSpec,
) -> Option<String> {
    let mut pass = Pass::new(state, world);
    match pass.find(state, world, id, spec) {
        Err(Block::Cap) => return Some(cap_words(world, spec)),
        Err(Block::Booking) => return Some("the time of its booking".to_string()),
        Ok(_) | Err(Block::Room) => {}
    }
    if let Some(words) = id.and_then(|id| told_words(state, world, id)) {
        return Some(words);
    }
    let want = pass.want(world, spec);
    let free = world.planner.choose_many_by(
        world.policy.placement,
        pass.views.base(),
        &want,
        spec.count,
        world.forecast,
    );
    free.and_then(|_| kept_words(state, world, &pass, id, spec))
}

fn cap_words(world: &World<'_>, spec: &RequestSpec) -> String {
    let cap = quota::in_words(&world.policy.tenant(&spec.tenant).cap);
    alloc::format!("one of its own tenant's {cap} to end, which is all it may have")
}

/// Those who were told to leave for it.
fn told_words(state: &State, world: &World<'_>, id: LeaseId) -> Option<String> {
    let mut told = Vec::new();
    for lease in state.leases.values() {
        let notice = lease.notice.as_ref();
        let Some((NoticeReason::Preempted { for_lease }, until)) =
            notice.map(|notice| (&notice.reason, notice.until))
        else {
            continue;
        };
        if *for_lease == id {
            let rest = until.since(world.now);
            told.push(alloc::format!(
                "{} of {}, which must leave in {rest}",
                lease.id,
                lease.spec.tenant
            ));
        }
    }
    (!told.is_empty()).then(|| join(&told))
}

/// For whom the room is kept that it could have otherwise.
fn kept_words(
    state: &State,
    world: &World<'_>,
    pass: &Pass,
    id: Option<LeaseId>,
    spec: &RequestSpec,
) -> Option<String> {
    let closed = pass.views.kept().iter().filter(|kept| kept.closed_to(state, world, id, spec));
    let words = closed.map(|kept| {
        let of = |lease: LeaseId| match state.lease(lease) {
            Some(found) => alloc::format!("{lease} of {}", found.spec.tenant),
            None => lease.to_string(),
        };
        match kept.whose {
            Whose::Reserved(lease) => {
                alloc::format!("{}, which has waited longer, to be served", of(lease))
            }
            Whose::Promised(lease) => {
                alloc::format!("{}, for which others leave, to be served", of(lease))
            }
            Whose::Booked(booking) => {
                let begins = kept.from.map(|from| from.since(world.now));
                let when = match begins {
                    Some(begins) if begins.get() > 0 => alloc::format!("begins in {begins}"),
                    _ => "has begun".to_string(),
                };
                alloc::format!("booking {booking} to be over, which {when}")
            }
        }
    });
    let mut words: Vec<String> = words.collect();
    words.dedup();
    (!words.is_empty()).then(|| join(&words))
}
