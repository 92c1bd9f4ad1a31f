//! Goes through the queue in the order of service and grants what fits; who does not fit is
//! skipped.
//!
//! Must never grant places that are kept for somebody else, nor lead a tenant over its cap.

use alloc::collections::BTreeMap;
use alloc::string::ToString;
use alloc::vec::Vec;

use model::{BookingId, GpuUuid, LeaseId, PlacedProfile, Tenant, Timestamp};
use planner::{Arrangement, Choice, Lasting, Room, Want};

use crate::command::World;
use crate::decide::Draft;
use crate::endings::begin_end;
use crate::event::{EndReason, Event};
use crate::grant::open_grant;
use crate::keep::{self, Views};
use crate::order::Turns;
use crate::quota::{self, Stake};
use crate::request::{GpuSelector, RequestSpec, Wanted};
use crate::rooms::want;
use crate::state::{Lease, State};
use crate::{changes, ends, estimate, preempt, reserve, whole};

/// Why a request is not served now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Block {
    /// There is no room for it.
    Room,
    /// Its tenant has as much as it may.
    Cap,
    /// It uses a booking that has not begun, or that is not its own.
    Booking,
}

/// Where a request goes.
#[derive(Debug)]
pub(crate) enum Place {
    /// There, in the rooms of a view.
    Slices(usize, Vec<Choice>),
    /// These GPUs.
    Whole(Vec<GpuUuid>),
}

/// A request that was not served, in the order of service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Blocked {
    pub(crate) id: LeaseId,
    pub(crate) why: Block,
}

/// Serves whoever can be served, and then sees to those who cannot: room reserved, others asked to
/// leave.
pub(crate) fn schedule(draft: &mut Draft<'_>) {
    if draft.world.policy.passive {
        return;
    }
    end_impossible(draft);
    let blocked = if draft.state.queue().next().is_some() { serve(draft) } else { Vec::new() };
    reserve::update(draft, &blocked);
    preempt::update(draft, &blocked);
    estimate::tell(draft);
}

/// Ends requests for whole GPUs that turn out to be impossible; nobody waits for ever.
fn end_impossible(draft: &mut Draft<'_>) {
    let whole = |lease: &&Lease| lease.spec.wanted == Wanted::WholeGpu;
    let found = draft.state.queue().filter(whole).filter_map(|lease| {
        let refusal = whole::impossible(draft, &lease.spec)?;
        Some((lease.id, EndReason::Impossible(refusal.to_string())))
    });
    for (id, reason) in found.collect::<Vec<_>>() {
        begin_end(draft, id, reason);
    }
}

/// What is looked up once for all requests of a pass.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) views: Views,
    stakes: BTreeMap<Tenant, Stake>,
    wants: Vec<(Wanted, GpuSelector, Arrangement, Want)>,
    /// What found no room a moment ago finds none now: rooms only get fuller on the way.
    hopeless: Vec<(usize, Want, u32)>,
    /// By room: when the last lease there has probably left; worked out for the first that asks.
    ends: Option<Vec<Option<Timestamp>>>,
}

impl Pass {
    pub(crate) fn new(state: &State, world: &World<'_>) -> Self {
        let views = Views::new(state, world);
        let stakes = quota::stakes(state, world.observed);
        Self { views, stakes, wants: Vec::new(), hopeless: Vec::new(), ends: None }
    }

    /// What the tenant has.
    pub(crate) fn held(&self, tenant: &Tenant) -> Stake {
        self.stakes.get(tenant).copied().unwrap_or_default()
    }

    /// What a request wants, room by room.
    pub(crate) fn want(&mut self, world: &World<'_>, spec: &RequestSpec) -> Want {
        let arrangement = spec.terms.arrangement.into();
        let known = self.wants.iter().find(|(wanted, gpu, arranged, _)| {
            *wanted == spec.wanted && *gpu == spec.gpu && *arranged == arrangement
        });
        if let Some((.., want)) = known {
            return want.clone();
        }
        let found = want(spec, world, self.views.base());
        self.wants.push((spec.wanted, spec.gpu.clone(), arrangement, found.clone()));
        found
    }

    /// What a request wants where its tenant's cap holds it beside what the tenant has by now: room
    /// made or kept elsewhere would be for nothing.
    pub(crate) fn want_within_cap(&mut self, world: &World<'_>, spec: &RequestSpec) -> Want {
        let wish = self.want(world, spec);
        quota::within_cap(world, spec, self.held(&spec.tenant), &wish, self.views.base())
    }

    /// Where a request would go now, be it for slices or for whole GPUs, or why nowhere.
    pub(crate) fn place(
        &mut self,
        state: &State,
        world: &World<'_>,
        id: Option<LeaseId>,
        spec: &RequestSpec,
    ) -> Result<Place, Block> {
        if spec.wanted == Wanted::WholeGpu {
            let held = self.held(&spec.tenant);
            return whole::choose(state, world, id, spec, held).map(Place::Whole);
        }
        self.find(state, world, id, spec).map(|(view, choices)| Place::Slices(view, choices))
    }

    /// Where a request would go now, or why nowhere. `id` is its number, where it has one.
    pub(crate) fn find(
        &mut self,
        state: &State,
        world: &World<'_>,
        id: Option<LeaseId>,
        spec: &RequestSpec,
    ) -> Result<(usize, Vec<Choice>), Block> {
        let wish = self.want(world, spec);
        let wanted = self.want_within_cap(world, spec);
        if wanted != wish && wanted.profiles.iter().all(Option::is_none) {
            return Err(Block::Cap);
        }
        let view = self.views.of(state, world, id, spec);
        if let Some(booking) = spec.terms.booking {
            let rooms = self.views.rooms(view);
            let choices = booked(state, world, rooms, &wanted, spec, booking)?;
            return Ok((view, choices));
        }
        let full = |(of, other, less): &(usize, Want, u32)| {
            *of == view && *less <= spec.count && *other == wanted
        };
        if self.hopeless.iter().any(full) {
            return Err(Block::Room);
        }
        let rooms = self.views.rooms(view);
        let mut lent = changes::lent(state, world, rooms, &wanted, spec.count);
        let rest = spec.count - lent.len() as u32;
        if rest == 0 {
            return Ok((view, lent));
        }
        if matches!(wanted.arrangement, Arrangement::SameGpu | Arrangement::OtherGpu) {
            lent.clear();
        }
        let rest = spec.count - lent.len() as u32;
        let (policy, forecast) = (world.policy.placement, world.forecast);
        let lasting = ends::told_length(world.policy, spec).map(|length| {
            let end = |room| ends::of_room(state, world, room);
            let ends = self.ends.get_or_insert_with(|| rooms.iter().map(end).collect());
            Lasting { until: world.now.plus(length), ends }
        });
        let planner = world.planner;
        let found = planner.choose_many_lasting(policy, rooms, &wanted, rest, forecast, lasting);
        let found = found.map(|made| lent.into_iter().chain(made).collect());
        if found.is_none() {
            self.hopeless.push((view, wanted, spec.count));
        }
        found.map(|choices| (view, choices)).ok_or(Block::Room)
    }

    /// The request was granted these places.
    fn granted(
        &mut self,
        state: &State,
        world: &World<'_>,
        id: LeaseId,
        tenant: &Tenant,
        choices: &[Choice],
    ) {
        if let Some(lease) = state.lease(id) {
            let stake = quota::stake(state, world.observed, lease);
            let sum = self.held(tenant).plus(stake);
            self.stakes.insert(tenant.clone(), sum);
            let end = ends::likely(state, world, lease);
            for choice in choices {
                let known = self.ends.as_mut().and_then(|ends| ends.get_mut(choice.room));
                if let Some(last) = known {
                    *last = Some(last.map_or(end, |last| last.max(end)));
                }
            }
        }
        let kept = !state.bookings.is_empty() || state.reservation.is_some();
        if kept || choices.iter().any(|choice| !choice.evict.is_empty()) {
            // What is taken away stays beside what comes until the plan has ended.
            self.views = Views::new(state, world);
            self.hopeless.clear();
        } else {
            self.views.take(choices);
        }
    }
}

fn serve(draft: &mut Draft<'_>) -> Vec<Blocked> {
    let mut turns = Turns::new(draft.state, draft.world);
    let mut pass = Pass::new(draft.state, draft.world);
    let mut blocked = Vec::new();
    while let Some(id) = turns.next() {
        let Some(lease) = draft.state.lease(id) else { continue };
        let tenant = lease.spec.tenant.clone();
        match pass.place(draft.state, draft.world, Some(id), &lease.spec) {
            Ok(Place::Whole(gpus)) => {
                whole::open_grant(draft, id, gpus);
                turns.served();
                release_kept(draft, id);
                pass = Pass::new(draft.state, draft.world);
            }
            Ok(Place::Slices(view, choices)) => {
                if open_grant(draft, id, pass.views.rooms(view), &choices) {
                    turns.served();
                    release_kept(draft, id);
                    pass.granted(draft.state, draft.world, id, &tenant, &choices);
                } else {
                    // The snapshot is older than the records; the next one will do.
                    blocked.push(Blocked { id, why: Block::Room });
                }
            }
            Err(why) => blocked.push(Blocked { id, why }),
        }
    }
    blocked
}

/// What was kept for a request that is being served is open again.
fn release_kept(draft: &mut Draft<'_>, id: LeaseId) {
    if draft.state.reservation.as_ref().is_some_and(|kept| kept.lease == id) {
        draft.emit(Event::ReservationDropped);
    }
    preempt::drop_promise(draft, id);
}

/// The booked places that are free, as many as are asked for.
fn booked(
    state: &State,
    world: &World<'_>,
    rooms: &[Room],
    want: &Want,
    spec: &RequestSpec,
    id: BookingId,
) -> Result<Vec<Choice>, Block> {
    let booking = state.bookings.get(&id).filter(|_| keep::may_use(state, spec, id));
    let booking = booking.ok_or(Block::Booking)?;
    if world.now < booking.spec.from || world.now >= booking.spec.until {
        return Err(Block::Booking);
    }
    let mut rooms = rooms.to_vec();
    let mut choices = Vec::new();
    for place in &booking.places {
        let part = PlacedProfile { placement: place.key.placement, profile: place.profile };
        let Some(room) = rooms.iter().position(|room| room.gpu == place.key.gpu) else { continue };
        if want.profile(room) != Some(part.profile) || choices.len() as u32 == spec.count {
            continue;
        }
        if let Some(choice) = world.planner.choose_place(&rooms, room, part) {
            rooms[room].take(&choice);
            choices.push(choice);
        }
    }
    if choices.len() as u32 == spec.count { Ok(choices) } else { Err(Block::Room) }
}
