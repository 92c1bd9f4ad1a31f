//! What goes beyond one slice: GPUs out of use, whole GPUs, bookings.
//!
//! Must never ask for what no administrator or user could.

use broker::{BookingSpec, Command, GpuSelector, Refusal, Wanted};
use model::{BookingId, GpuUuid, Millis, Tenant, Uid};

use super::World;
use crate::machine::{PEER_ADMIN, peer};

impl World {
    pub(super) fn rooms(&mut self) {
        match self.chance.below(6) {
            0 => {
                let (gpu, drain) = (self.some_gpu(), self.chance.one_in(2));
                let (why, by) = (String::new(), PEER_ADMIN);
                self.rig.command(Command::Cordon { gpu, drain, why, by }).expect("admin");
            }
            1..=2 => self.uncordon_all(),
            3 => self.ask_for_whole_gpus(),
            4 => self.book(),
            _ => self.use_a_booking(),
        }
    }

    fn uncordon_all(&mut self) {
        let gpus: Vec<GpuUuid> = self.rig.state.cordons.keys().cloned().collect();
        for gpu in gpus {
            self.rig.command(Command::Uncordon { gpu, by: PEER_ADMIN }).expect("admin");
        }
    }

    fn ask_for_whole_gpus(&mut self) {
        let mut spec = self.rig.spec(1 + self.chance.below(4) as u32, "1g");
        spec.wanted = Wanted::WholeGpu;
        spec.count = 1 + self.chance.below(2) as u32;
        if self.chance.one_in(2) {
            spec.time = Some(Millis::from_secs(1 + self.chance.below(90) as u64));
        }
        let refused = self.rig.request(spec).err();
        assert!(refused.is_none_or(|refusal| matches!(refusal, Refusal::TooManyWaiting(_))));
    }

    fn book(&mut self) {
        let uid = 1 + self.chance.below(4) as u32;
        let name = self.chance.pick(&self.profiles).expect("profiles").clone();
        let named = Wanted::Profile(name.parse().expect("a profile"));
        let from = self.rig.now.plus(Millis::from_secs(self.chance.below(600) as u64));
        let spec = BookingSpec {
            tenant: Tenant::new(format!("user{uid}")),
            uid: Uid::new(uid),
            wanted: if self.chance.one_in(3) { Wanted::WholeGpu } else { named },
            count: 1,
            gpu: GpuSelector::Any,
            from,
            until: from.plus(Millis::from_secs(60)),
            name: None,
            window: None,
        };
        let refused = self.rig.command(Command::Book { spec, by: peer(uid) }).err();
        assert!(refused.is_none_or(|refusal| matches!(refusal, Refusal::CannotBook(_))));
    }

    fn use_a_booking(&mut self) {
        let ids: Vec<BookingId> = self.rig.state.bookings.keys().copied().collect();
        let Some(id) = self.chance.pick(&ids).copied() else { return };
        let uid = self.rig.state.bookings[&id].spec.uid.get();
        let mut spec = self.rig.spec(uid, "1g");
        spec.terms.booking = Some(id);
        if let Err(refusal) = self.rig.request(spec) {
            let fair = matches!(
                refusal,
                Refusal::BookingInUse { .. } | Refusal::TooManyWaiting(_) | Refusal::NoSuchSlice(_)
            );
            assert!(fair, "{refusal}");
        }
    }

    /// Everything is in use again and nothing is booked.
    pub(super) fn rooms_are_open(&mut self) {
        self.uncordon_all();
        let ids: Vec<BookingId> = self.rig.state.bookings.keys().copied().collect();
        for booking in ids {
            let command = Command::CancelBooking { booking, by: PEER_ADMIN };
            self.rig.command(command).expect("admin");
        }
    }
}
