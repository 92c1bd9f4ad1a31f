//! What is done about many users: cordons, bookings, evidence of use, agreements, protected hours;
//! and the laws of rights, which are about what happens and not only about what is.
//!
//! Must never expect a right that the policy does not give.

use std::collections::{BTreeMap, BTreeSet};

use broker::{
    Activity, Amount, BookingSpec, Command, EndReason, Event, GpuSelector, Holder, IdleRule, Lease,
    Metered, Peer, Phase, Policy, RequestSpec, TenantRules, Wanted,
};
use model::{BookingId, GpuUuid, LeaseId, Millis, Purpose, Tenant, Uid};

use super::users::ADMIN;
use super::world::World;

/// The tenant with a cap, and its cap.
const CAPPED: (&str, u32) = ("tenant1", 4);

/// The owner's rules of every seed: one tenant is capped, one has a guarantee.
pub(super) fn rules(policy: &mut Policy) {
    let open = TenantRules {
        max_priority: broker::Priority::High,
        idle_limit: Some(Millis::from_secs(900)),
        ..TenantRules::default()
    };
    let slices = |count| Amount { slices: Some(count), memory: None };
    let capped = TenantRules { cap: slices(CAPPED.1), ..open.clone() };
    let guaranteed = TenantRules { guaranteed: slices(3), ..open.clone() };
    policy.tenants.insert(Tenant::new(CAPPED.0), capped);
    policy.tenants.insert(Tenant::new("tenant2"), guaranteed);
    policy.default_tenant = open;
}

/// What is remembered of events for the laws of rights.
#[derive(Debug, Default)]
pub(crate) struct Rights {
    cordoned: BTreeSet<GpuUuid>,
    specs: BTreeMap<LeaseId, RequestSpec>,
}

impl Rights {
    /// What one event breaks, if it breaks a right.
    pub(super) fn broken_by(&mut self, event: &Event) -> Option<(&'static str, String)> {
        match event {
            Event::Requested { lease, spec, .. } => {
                self.specs.insert(*lease, spec.clone());
            }
            Event::Cordoned { gpu, .. } => {
                self.cordoned.insert(gpu.clone());
            }
            Event::Uncordoned { gpu } => {
                self.cordoned.remove(gpu);
            }
            Event::PlanOpened { steps, targets, whole, .. }
                if matches!(steps.purpose, Purpose::Grant(_)) =>
            {
                let gpus = targets.iter().map(|target| &target.key.gpu).chain(whole);
                let closed = gpus.into_iter().find(|gpu| self.cordoned.contains(*gpu));
                if let Some(gpu) = closed {
                    let text = format!("{:?} on {gpu}", steps.purpose);
                    return Some(("L6: a cordoned GPU gets nothing new", text));
                }
            }
            Event::Ended { lease, reason, .. } => {
                let spec = self.specs.remove(lease)?;
                return ended_against_rights(&spec, reason);
            }
            _ => {}
        }
        None
    }
}

/// Preemption takes only the preemptible, and idleness nobody who is exempt from it.
fn ended_against_rights(spec: &RequestSpec, reason: &EndReason) -> Option<(&'static str, String)> {
    match reason {
        EndReason::Preempted { .. } if !spec.terms.preemptible => {
            Some(("L6: only the preemptible are preempted", format!("{reason:?}: {spec:?}")))
        }
        EndReason::Idle { .. } if spec.terms.idle == IdleRule::Never => {
            Some(("L6: who may stay idle is not reclaimed", format!("{reason:?}: {spec:?}")))
        }
        _ => None,
    }
}

/// A tenant never holds more than its cap.
pub(super) fn caps_hold(leases: &BTreeMap<LeaseId, Lease>) -> Result<(), String> {
    let capped = |lease: &&Lease| {
        lease.spec.tenant.as_str() == CAPPED.0
            && (lease.holds_slices() || matches!(lease.phase, Phase::Granting { .. }))
    };
    let held: u32 = leases
        .values()
        .filter(capped)
        .map(|lease| match lease.spec.wanted {
            // What a whole GPU counts for is the board's affair; at least one.
            Wanted::WholeGpu => 1,
            _ if lease.holds_slices() => lease.slices.len() as u32,
            _ => lease.spec.count,
        })
        .sum();
    if held > CAPPED.1 {
        return Err(format!("{} holds {held} slices of {}", CAPPED.0, CAPPED.1));
    }
    Ok(())
}

impl World {
    /// One act of administrators, planners-ahead and meters.
    pub(super) fn office(&mut self) {
        match self.chance.below(10) {
            0 => self.cordon(),
            1 => {
                let cordoned: Vec<GpuUuid> = self.room.state.cordons.keys().cloned().collect();
                if let Some(gpu) = self.chance.pick(&cordoned).cloned() {
                    let _ = self.room.ask(Command::Uncordon { gpu, by: ADMIN });
                }
            }
            2 => self.book(),
            3 => {
                let booked: Vec<BookingId> = self.room.state.bookings.keys().copied().collect();
                if let Some(booking) = self.chance.pick(&booked).copied() {
                    let _ = self.room.ask(Command::CancelBooking { booking, by: ADMIN });
                }
            }
            4..=6 => self.measure(),
            7 => {
                let asked = self.leases(|lease| lease.notice.is_some());
                let Some(lease) = self.chance.pick(&asked).copied() else { return };
                let uid = self.room.state.lease(lease).map(|lease| lease.spec.uid);
                let Some(uid) = uid else { return };
                let _ = self.room.ask(Command::Agree { lease, by: Peer { uid, admin: false } });
            }
            8 => self.room.protected = !self.room.protected,
            _ => {
                let contained =
                    self.leases(|lease| matches!(lease.spec.holder, Holder::Container { .. }));
                let Some(lease) = self.chance.pick(&contained).copied() else { return };
                self.room.tell(Command::HolderGone { lease });
            }
        }
        self.room.work();
    }

    fn cordon(&mut self) {
        let Some((_, gpu)) = self.some_gpu() else { return };
        let (drain, why) = (self.chance.one_in(2), "works on the cooling".to_owned());
        let _ = self.room.ask(Command::Cordon { gpu, drain, why, by: ADMIN });
    }

    fn book(&mut self) {
        let uid = Uid::new(1 + self.chance.below(5) as u32);
        let Some(name) = self.chance.pick(&self.profiles).cloned() else { return };
        let Ok(selector) = name.parse() else { return };
        let from = self.room.now.plus(Millis::from_secs(30 + self.chance.below(900) as u64));
        let spec = BookingSpec {
            tenant: Tenant::new(format!("tenant{}", uid.get() % 3)),
            uid,
            wanted: Wanted::Profile(selector),
            count: 1,
            gpu: GpuSelector::Any,
            from,
            until: from.plus(Millis::from_secs(60 + self.chance.below(1200) as u64)),
            name: None,
            window: None,
        };
        let by = Peer { uid, admin: false };
        let _ = self.room.ask(Command::Book { spec, by });
    }

    fn measure(&mut self) {
        let active = self.leases(|lease| matches!(lease.phase, Phase::Active { .. }));
        let Some(lease) = self.chance.pick(&active).copied() else { return };
        let since = self.room.state.lease(lease).and_then(|lease| lease.granted_at);
        let activity = match self.chance.below(4) {
            0 => Activity::Unknown,
            1 => Activity::Busy,
            _ => Activity::Idle { since: since.unwrap_or(self.room.now) },
        };
        let metered = Metered::default();
        self.room.tell(Command::Measured { lease, activity, metered });
    }

    /// Nothing keeps GPUs from anybody any more.
    pub(super) fn office_closes(&mut self) {
        let cordoned: Vec<GpuUuid> = self.room.state.cordons.keys().cloned().collect();
        for gpu in cordoned {
            let _ = self.room.ask(Command::Uncordon { gpu, by: ADMIN });
        }
        let booked: Vec<BookingId> = self.room.state.bookings.keys().copied().collect();
        for booking in booked {
            let _ = self.room.ask(Command::CancelBooking { booking, by: ADMIN });
        }
        self.room.protected = false;
    }
}
