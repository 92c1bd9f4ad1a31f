//! What is done about many users: cordons, bookings, evidence of use, agreements, protected hours,
//! and the rules of tenants.
//!
//! Must never reckon what a tenant has by the broker's own functions.

use broker::{
    Activity, Amount, BookingSpec, Command, GpuSelector, Holder, Lease, Metered, Peer, Phase,
    Policy, TenantRules, Wanted,
};
use model::{BookingId, GpuInstanceProfileId, GpuUuid, MemoryMib, Millis, Tenant, Uid};

use super::users::ADMIN;
use super::world::World;
use crate::room::Room;

/// The tenant with a cap, and its cap: slices, and memory that is less than four of some boards'.
const CAPPED: (&str, u32, MemoryMib) = ("tenant1", 4, MemoryMib::new(60_000));

/// The owner's rules of every seed: one tenant is capped, one has a guarantee.
pub(super) fn rules(policy: &mut Policy) {
    let open = TenantRules {
        max_priority: broker::Priority::High,
        idle_limit: Some(Millis::from_secs(900)),
        ..TenantRules::default()
    };
    let slices = |count| Amount { slices: Some(count), memory: None };
    let cap = Amount { slices: Some(CAPPED.1), memory: Some(CAPPED.2) };
    let capped = TenantRules { cap, ..open.clone() };
    let guaranteed = TenantRules { guaranteed: slices(3), ..open.clone() };
    policy.tenants.insert(Tenant::new(CAPPED.0), capped);
    policy.tenants.insert(Tenant::new("tenant2"), guaranteed);
    policy.default_tenant = open;
    // Leases last seconds here, and room is to be kept often.
    policy.drain_lengths = 0;
}

/// What a tenant with a cap has, and what is being made for it, in the measures of its cap.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    slices: u32,
    memory: u64,
}

impl Held {
    /// A slice; its GPU may be out of sight by now.
    fn of_slice(room: &Room, gpu: &GpuUuid, profile: GpuInstanceProfileId) -> Self {
        let geometry = room.boards.get(gpu).map(|(geometry, _)| geometry);
        let found = geometry.and_then(|geometry| geometry.profile(profile));
        Self { slices: 1, memory: found.map_or(0, |profile| profile.memory.get()) }
    }

    /// A whole GPU counts as the most it could be cut into.
    fn of_gpu(room: &Room, gpu: &GpuUuid) -> Self {
        let Some((geometry, memory)) = room.boards.get(gpu) else {
            return Self { slices: 1, memory: 0 };
        };
        let most = geometry.plain_profiles().map(|profile| profile.max_instances).max();
        Self { slices: most.unwrap_or(1).max(1), memory: memory.get() }
    }

    fn of(room: &Room, lease: &Lease) -> Vec<Self> {
        if lease.holds_slices() {
            let slices = lease.slices.iter();
            let slices = slices.map(|slice| Self::of_slice(room, &slice.key.gpu, slice.profile));
            return slices.chain(lease.whole.iter().map(|gpu| Self::of_gpu(room, gpu))).collect();
        }
        let Phase::Granting { plan } = lease.phase else { return Vec::new() };
        let Some(open) = room.state.plans.get(&plan) else { return Vec::new() };
        let coming = open.targets.iter();
        let coming = coming.map(|target| Self::of_slice(room, &target.key.gpu, target.profile));
        coming.chain(open.whole.iter().map(|gpu| Self::of_gpu(room, gpu))).collect()
    }
}

/// A tenant never holds more than its cap, what is being made for it included.
pub(super) fn caps_hold(room: &Room) -> Result<(), String> {
    for (tenant, rules) in &room.policy.tenants {
        let leases = room.state.leases.values().filter(|lease| lease.spec.tenant == *tenant);
        let held =
            leases.flat_map(|lease| Held::of(room, lease)).fold(Held::default(), |sum, more| {
                Held { slices: sum.slices + more.slices, memory: sum.memory + more.memory }
            });
        let within = rules.cap.slices.is_none_or(|most| held.slices <= most)
            && rules.cap.memory.is_none_or(|most| held.memory <= most.get());
        if !within {
            return Err(format!("{tenant} holds {held:?}, and may have {:?}", rules.cap));
        }
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
            8 => {
                self.coverage.count("hours: protected");
                self.room.protected = !self.room.protected;
            }
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
