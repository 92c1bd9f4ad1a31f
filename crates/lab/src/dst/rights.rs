//! The laws of rights, which are about what happens and not only about what is: who is told to
//! leave, for whom, with how much notice; who is ended; what is kept for bookings.
//!
//! Must never expect a right that the policy does not give, nor take the broker's word for what was
//! said before: what is remembered here comes from the events alone.

mod places;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use broker::{
    Activity, BookingSpec, EndReason, Event, IdleRule, Notice, NoticeReason, Phase, Policy,
    Priority, RequestSpec, Reservation,
};
use model::{BookingId, GpuUuid, LeaseId, Millis, NodeSnapshot, Purpose, Timestamp};

use self::places::{Places, Slice, may_exclude};
use crate::room::{Broken, Room, Seen};

/// What is remembered of a request or lease.
#[derive(Debug)]
struct Known {
    spec: RequestSpec,
    slices: Vec<Slice>,
    whole: Vec<GpuUuid>,
    granted_at: Option<Timestamp>,
    told: Option<Notice>,
    agreed: bool,
    activity: Activity,
    /// It was said already that it ends.
    ends: bool,
}

impl Known {
    fn of(spec: &RequestSpec) -> Self {
        Self {
            spec: spec.clone(),
            slices: Vec::new(),
            whole: Vec::new(),
            granted_at: None,
            told: None,
            agreed: false,
            activity: Activity::Unknown,
            ends: false,
        }
    }

    fn give_up(&mut self) {
        *self = Self::of(&self.spec);
    }
}

/// A booking that was accepted.
#[derive(Debug)]
struct Booked {
    spec: BookingSpec,
    kept: Places,
}

/// What is remembered of events for the laws of rights.
#[derive(Debug)]
pub(crate) struct Rights {
    policy: Policy,
    cordoned: BTreeSet<GpuUuid>,
    leases: BTreeMap<LeaseId, Known>,
    promised: BTreeMap<LeaseId, Places>,
    reserved: Option<Reservation>,
    bookings: BTreeMap<BookingId, Booked>,
}

impl Rights {
    pub(super) fn new(policy: &Policy) -> Self {
        Self {
            policy: policy.clone(),
            cordoned: BTreeSet::new(),
            leases: BTreeMap::new(),
            promised: BTreeMap::new(),
            reserved: None,
            bookings: BTreeMap::new(),
        }
    }

    /// What one event breaks, if it breaks a right.
    pub(super) fn broken_by(&mut self, node: &NodeSnapshot, seen: &Seen) -> Option<Broken> {
        let broken = self.judge(node, seen);
        self.remember(seen);
        broken
    }

    fn judge(&self, node: &NodeSnapshot, seen: &Seen) -> Option<Broken> {
        match &seen.event {
            Event::PlanOpened { steps, targets, whole, .. } => {
                let Purpose::Grant(lease) = steps.purpose else { return None };
                self.grant_is_allowed(node, seen.at, lease, &Places::of(targets, whole))
            }
            Event::Noticed { lease, notice } => self.notice_is_due(node, seen, *lease, notice),
            Event::Ending { lease, reason } => self.end_is_due(seen, *lease, reason),
            Event::Ended { lease, reason, .. } => {
                let known = self.leases.get(lease)?;
                if known.ends { None } else { self.end_is_due(seen, *lease, reason) }
            }
            _ => None,
        }
    }

    /// A cordoned GPU gets nothing new, and a booked place nobody who might still be there.
    fn grant_is_allowed(
        &self,
        node: &NodeSnapshot,
        at: Timestamp,
        lease: LeaseId,
        new: &Places,
    ) -> Option<Broken> {
        let gpus = new.places.iter().map(|target| &target.key.gpu).chain(&new.whole);
        if let Some(gpu) = gpus.into_iter().find(|gpu| self.cordoned.contains(*gpu)) {
            return Some(("L6: a cordoned GPU gets nothing new", format!("{lease} on {gpu}")));
        }
        let known = self.leases.get(&lease)?;
        let slices = new.places.iter().map(|target| (target.key.clone(), target.profile));
        let slices: Vec<Slice> = slices.collect();
        let used = known.spec.terms.booking.and_then(|id| self.bookings.get(&id));
        let over = used.map(|booked| booked.spec.until);
        let end = known.spec.time.map(|time| at.plus(time)).into_iter().chain(over).min();
        let gone = end.map(|end| end.plus(self.policy.grace));
        let lost = self.bookings.iter().find(|(id, booked)| {
            known.spec.terms.booking != Some(**id)
                && booked.spec.until > at
                && gone.is_none_or(|gone| gone > booked.spec.from)
                && booked.kept.are_taken_by(node, &slices, &new.whole)
        });
        let (id, booked) = lost?;
        let text = format!("{lease} with {:?} gets a place of {id}: {booked:?}", known.spec.time);
        Some(("L6: a booked place gets nobody who might still be there", text))
    }

    /// Nobody is told to leave without need, without the right, or at too short notice.
    fn notice_is_due(
        &self,
        node: &NodeSnapshot,
        seen: &Seen,
        id: LeaseId,
        notice: &Notice,
    ) -> Option<Broken> {
        let known = self.leases.get(&id)?;
        let terms = &known.spec.terms;
        let text = || format!("{id} at {:?}: {notice:?}; {known:?}", seen.at);
        // A daemon that takes over tells again what was told, be a GPU out of sight or not.
        let again = known.told.as_ref().is_some_and(|told| told.reason == notice.reason);
        let least = match &notice.reason {
            NoticeReason::Preempted { for_lease } => {
                if !terms.preemptible {
                    return Some(("L6: only the preemptible are preempted", text()));
                }
                if !again && !self.has_better_right(node, *for_lease, known) {
                    let law = "L6: who is told to leave is in the way of a better right";
                    return Some((law, text()));
                }
                seen.at.plus(self.policy.notice)
            }
            NoticeReason::Booked { booking } => {
                let booked = self.bookings.get(booking);
                let needed = booked.filter(|booked| {
                    again || booked.kept.are_taken_by(node, &known.slices, &known.whole)
                });
                let Some(booked) = needed.filter(|_| terms.preemptible) else {
                    return Some(("L6: only who is preemptible leaves for a booking", text()));
                };
                let grace = self.policy.grace.get() * 2;
                let last = booked.spec.from.as_millis().saturating_sub(grace);
                seen.at.plus(self.policy.notice).min(Timestamp::from_millis(last)).max(seen.at)
            }
            NoticeReason::Idle { since } => {
                if seen.protected {
                    return Some(("L6: protected hours leave idle leases alone", text()));
                }
                if known.activity != (Activity::Idle { since: *since }) {
                    return Some(("L6: only what is known to be idle is called so", text()));
                }
                let limit = self.idle_limit(&known.spec);
                if limit.is_none_or(|limit| since.plus(limit) > seen.at) {
                    return Some(("L6: nobody is warned before his idle time is over", text()));
                }
                seen.at.plus(self.policy.idle_warning)
            }
            NoticeReason::Drained { gpu } => {
                let there = known.whole.contains(gpu)
                    || known.slices.iter().any(|(key, _)| key.gpu == *gpu);
                if !there || !(terms.preemptible || terms.restartable) {
                    return Some(("L6: only who may be asked is asked to leave a GPU", text()));
                }
                seen.at.plus(self.policy.notice)
            }
            NoticeReason::Move { .. } => {
                if !terms.restartable {
                    return Some(("L6: only the restartable are asked to move", text()));
                }
                seen.at.plus(self.policy.notice)
            }
        };
        if notice.until < least {
            return Some(("L6: whoever is told to leave has the time that the rules give", text()));
        }
        None
    }

    /// Whether a request is kept room where somebody stands, and may have him told to leave.
    fn has_better_right(&self, node: &NodeSnapshot, asker: LeaseId, victim: &Known) -> bool {
        let Some(asking) = self.leases.get(&asker) else { return false };
        let (mine, its) = (&asking.spec.terms, &victim.spec.terms);
        let stands_on = |kept: &Places| {
            let may = |place| victim.slices.iter().any(|slice| may_exclude(node, place, slice));
            kept.are_taken_by(node, &victim.slices, &victim.whole) || kept.places.iter().any(may)
        };
        let promised = self.promised.get(&asker).is_some_and(stands_on);
        let by_rank = mine.priority == Priority::High && its.priority == Priority::Low;
        let rules = self.policy.tenant(&asking.spec.tenant);
        let guaranteed = (rules.guaranteed.slices.is_some() || rules.guaranteed.memory.is_some())
            && asking.spec.tenant != victim.spec.tenant;
        if promised && (by_rank || guaranteed) {
            return true;
        }
        let kept = self.reserved.as_ref().filter(|kept| kept.lease == asker);
        let reserved = kept.is_some_and(|kept| stands_on(&Places::of(&kept.places, &kept.whole)));
        reserved && (its.priority < mine.priority || !mine.preemptible)
    }

    fn idle_limit(&self, spec: &RequestSpec) -> Option<Millis> {
        match spec.terms.idle {
            IdleRule::Never => None,
            IdleRule::After(span) => Some(span),
            IdleRule::Tenant => self.policy.tenant(&spec.tenant).idle_limit,
        }
    }

    /// Nobody's lease is ended for others but as he was told, when he was told.
    fn end_is_due(&self, seen: &Seen, id: LeaseId, reason: &EndReason) -> Option<Broken> {
        let known = self.leases.get(&id)?;
        let text = || format!("{id} ends at {:?}: {reason:?}; {known:?}", seen.at);
        let told = known.told.as_ref().filter(|told| told.until <= seen.at);
        let told = told.map(|told| &told.reason);
        let due = match (reason, told) {
            (EndReason::Preempted { for_lease }, told) => {
                told == Some(&NoticeReason::Preempted { for_lease: *for_lease })
            }
            (EndReason::BookingBegins { booking }, told) => {
                told == Some(&NoticeReason::Booked { booking: *booking })
            }
            (EndReason::Idle { since }, told) => {
                if seen.protected {
                    return Some(("L6: protected hours leave idle leases alone", text()));
                }
                told == Some(&NoticeReason::Idle { since: *since })
            }
            (EndReason::Drained, Some(NoticeReason::Drained { .. })) => {
                known.spec.terms.preemptible
            }
            (EndReason::Drained, _) => false,
            (EndReason::Moving(_), _) => known.agreed && known.spec.terms.restartable,
            (EndReason::TimeLimit, _) => {
                let end = known.granted_at.zip(known.spec.time).map(|(at, time)| at.plus(time));
                end.is_some_and(|end| end <= seen.at)
            }
            _ => true,
        };
        (!due).then(|| ("L6: nobody is ended for others but as he was told", text()))
    }

    fn remember(&mut self, seen: &Seen) {
        let known = match seen.event.lease() {
            Some(id) => self.leases.get_mut(&id),
            None => None,
        };
        match (&seen.event, known) {
            (Event::Requested { lease, spec, .. }, _) => {
                self.leases.insert(*lease, Known::of(spec));
            }
            (Event::Granted { slices, .. }, Some(known)) => {
                known.slices =
                    slices.iter().map(|slice| (slice.key.clone(), slice.profile)).collect();
                known.granted_at = Some(seen.at);
            }
            (Event::GrantedWhole { gpus, .. }, Some(known)) => {
                known.whole.clone_from(gpus);
                known.granted_at = Some(seen.at);
            }
            (Event::Noticed { notice, .. }, Some(known)) => {
                known.told = Some(notice.clone());
                known.agreed = false;
            }
            (Event::NoticeWithdrawn { .. }, Some(known)) => known.told = None,
            (Event::Agreed { .. }, Some(known)) => known.agreed = true,
            (Event::ActivityChanged { activity, .. }, Some(known)) => known.activity = *activity,
            (Event::Ending { .. }, Some(known)) => known.ends = true,
            (Event::Displaced { .. }, Some(known)) => known.give_up(),
            (Event::RoomPromised { lease, places, whole }, _) => {
                self.promised.insert(*lease, Places::of(places, whole));
            }
            (Event::Reserved { reservation, .. }, _) => self.reserved = Some(reservation.clone()),
            (Event::Ended { lease, .. }, _) => {
                self.leases.remove(lease);
                self.promised.remove(lease);
            }
            (event, _) => self.remember_rest(event),
        }
    }

    fn remember_rest(&mut self, event: &Event) {
        match event {
            Event::ReservationDropped => self.reserved = None,
            Event::SliceGone { key, .. } => {
                for known in self.leases.values_mut() {
                    known.slices.retain(|(slice, _)| slice != key);
                }
            }
            Event::Cordoned { gpu, .. } => {
                self.cordoned.insert(gpu.clone());
            }
            Event::Uncordoned { gpu } => {
                self.cordoned.remove(gpu);
            }
            Event::Booked { booking, spec, places, whole } => {
                let (spec, kept) = (spec.clone(), Places::of(places, whole));
                self.bookings.insert(*booking, Booked { spec, kept });
            }
            Event::BookingMoved { booking, places, whole } => {
                if let Some(booked) = self.bookings.get_mut(booking) {
                    booked.kept = Places::of(places, whole);
                }
            }
            Event::BookingEnded { booking, .. } => {
                self.bookings.remove(booking);
            }
            _ => {}
        }
    }

    /// What the state as it is after an act breaks, if it breaks a right.
    pub(super) fn broken_in(&self, room: &Room) -> Option<Broken> {
        self.told_for_nobody(room).or_else(|| self.booked_place_is_taken(room))
    }

    /// Whoever is told to leave for somebody is so only while that one waits.
    fn told_for_nobody(&self, room: &Room) -> Option<Broken> {
        let told = self.leases.iter().find(|(_, known)| {
            let Some(Notice { reason: NoticeReason::Preempted { for_lease }, .. }) = &known.told
            else {
                return false;
            };
            let waits = room.state.lease(*for_lease).is_some_and(|l| l.phase == Phase::Queued);
            !known.ends && !waits
        });
        let (id, known) = told?;
        Some(("L6: nobody stays told to leave for who does not wait", format!("{id}: {known:?}")))
    }

    /// From its start on a booked place has nobody else, but who is leaving: the daemon has looked
    /// at the clock since.
    fn booked_place_is_taken(&self, room: &Room) -> Option<Broken> {
        let begun = |booked: &Booked| {
            let (from, until) = (booked.spec.from, booked.spec.until);
            from <= room.ticked && room.ticked == room.now && room.now < until
        };
        for (id, booked) in self.bookings.iter().filter(|(_, booked)| begun(booked)) {
            let taken = self.leases.iter().find(|(_, known)| {
                let leaves = known.ends
                    || matches!(&known.told, Some(Notice { reason: NoticeReason::Booked { booking }, .. })
                        if booking == id);
                known.spec.terms.booking != Some(*id)
                    && !leaves
                    && booked.kept.are_taken_by(&room.observed, &known.slices, &known.whole)
            });
            if let Some((lease, known)) = taken {
                let text = format!("{lease} is on a place of {id}: {known:?}, {booked:?}");
                return Some(("L6: a booked place is free at its start", text));
            }
        }
        None
    }
}
