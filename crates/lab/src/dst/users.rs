//! People and services: they ask, start programs, renew, leave, crash and forget.
//!
//! Must never expect an answer that the broker did not give.

use broker::{
    Arrangement, Command, GpuSelector, Holder, IdleRule, Patience, Peer, Phase, Priority, Refusal,
    Reply, RequestSpec, Stage, Terms, Wanted,
};
use model::geometry::Need;
use model::{
    BookingId, Health, LeaseId, MemoryRequest, Millis, NominalGb, ProcessId, ProfileSelector,
    Tenant, Uid,
};

use super::world::World;
use crate::processes::Habits;
use crate::room::NotDone;

pub(super) const ADMIN: Peer = Peer { uid: Uid::new(0), admin: true };

const fn peer(uid: u32) -> Peer {
    Peer { uid: Uid::new(uid), admin: false }
}

impl World {
    pub(super) fn request(&mut self) {
        let Some(spec) = self.wish() else { return };
        let immediate = spec.patience == Patience::Immediate;
        let uid = spec.uid;
        match self.room.ask(Command::Request(spec.clone())) {
            Ok(Reply::Lease(lease)) => {
                self.acknowledged.insert(lease, uid);
            }
            Ok(Reply::Done | Reply::Booking(_) | Reply::Change(_)) => {
                self.break_law("a request is answered with its lease", format!("{spec:?}"));
            }
            Err(NotDone::DiskFull) => {}
            Err(NotDone::Refused(refusal)) => {
                let fair = match &refusal {
                    Refusal::NoRoomNow { .. } => immediate,
                    Refusal::NeverFits { .. }
                    | Refusal::NameTaken { .. }
                    | Refusal::TooManyWaiting(_)
                    | Refusal::OverCap { .. }
                    | Refusal::MigOn(_) => true,
                    Refusal::NoSuchBooking(_) | Refusal::BookingInUse { .. } => {
                        spec.terms.booking.is_some()
                    }
                    // Only a machine that is not all there lacks a GPU or a board.
                    Refusal::NoSuchGpu { .. } | Refusal::NoSuchSlice(_) => !self.all_there(),
                    Refusal::MigOff(_) => self.course.faults,
                    _ => false,
                };
                if !fair {
                    let text = format!("{refusal}: {spec:?}");
                    self.break_law("a fair request is not refused", text);
                }
            }
        }
    }

    fn all_there(&self) -> bool {
        let seen = &self.room.observed.gpus;
        seen.len() == self.room.bench.gpus().len()
            && seen.iter().all(|gpu| gpu.health == Health::Ok && gpu.geometry.is_some())
    }

    pub(super) fn break_law(&mut self, law: &'static str, text: String) {
        self.room.broken.push((law, text));
    }

    fn wish(&mut self) -> Option<RequestSpec> {
        let uid = 1 + self.chance.below(5) as u32;
        let name = self.chance.pick(&self.profiles)?.clone();
        let selector: ProfileSelector = name.parse().ok()?;
        let holder = if self.chance.one_in(12) {
            self.names += 1;
            let id = format!("box{}", self.names);
            Holder::Container { cgroup: format!("/boxes/{id}"), id }
        } else if self.chance.one_in(4) {
            Holder::Token { life: Millis::from_secs(60) }
        } else {
            let client = self.room.new_process();
            Holder::Process { boot: self.room.boot_id(), client, command: None }
        };
        let count = if self.chance.one_in(4) { 1 + self.chance.below(9) as u32 } else { 1 };
        let patience = match self.chance.below(5) {
            0 => Patience::Immediate,
            1 => Patience::AtMost(Millis::from_secs(20)),
            _ => Patience::Forever,
        };
        let time =
            self.chance.one_in(3).then(|| Millis::from_secs(1 + self.chance.below(90) as u64));
        self.names += u32::from(self.chance.one_in(6));
        let named = self.chance.one_in(6).then(|| format!("job{}", self.names % 5));
        let gpu = match self.chance.below(12) {
            0 => GpuSelector::Index(self.chance.below(self.room.bench.gpus().len()) as u32),
            _ => GpuSelector::Any,
        };
        let wanted = if gpu == GpuSelector::Any {
            self.wanted(Wanted::Profile(selector))
        } else {
            // Any board has one.
            Wanted::Profile(ProfileSelector::Slices(1))
        };
        let mut terms = self.terms();
        if self.chance.one_in(6) {
            let mine = self.room.state.bookings.values().filter(|b| b.spec.uid.get() == uid);
            let mine: Vec<BookingId> = mine.map(|booking| booking.id).collect();
            terms.booking = self.chance.pick(&mine).copied();
        }
        Some(RequestSpec {
            tenant: Tenant::new(format!("tenant{}", uid % 3)),
            uid: Uid::new(uid),
            wanted,
            count,
            gpu,
            time,
            expect: None,
            patience,
            name: named,
            holder,
            command: None,
            terms,
        })
    }

    fn terms(&mut self) -> Terms {
        let priority = match self.chance.below(6) {
            0 => Priority::Low,
            1 => Priority::High,
            _ => Priority::Normal,
        };
        let arrangement = match self.chance.below(10) {
            0 => Arrangement::Pack,
            1 => Arrangement::Spread,
            _ => Arrangement::Any,
        };
        let idle = match self.chance.below(4) {
            0 => IdleRule::Never,
            1 => IdleRule::After(Millis::from_secs(20)),
            _ => IdleRule::Tenant,
        };
        Terms {
            priority,
            arrangement,
            idle,
            preemptible: self.chance.one_in(3),
            restartable: self.chance.one_in(4),
            linger: self.chance.one_in(8).then(|| Millis::from_secs(30)),
            ..Terms::default()
        }
    }

    fn wanted(&mut self, named: Wanted) -> Wanted {
        if self.chance.one_in(12) {
            return Wanted::WholeGpu;
        }
        match self.chance.below(4) {
            0 => {
                let gb = [5, 10, 20, 24][self.chance.below(4)];
                let memory = Some(MemoryRequest::Nominal(NominalGb::new(gb)));
                Wanted::Need(Need { memory, compute_slices: None })
            }
            1 => Wanted::Profile(ProfileSelector::Slices(1 + self.chance.below(2) as u8)),
            _ => named,
        }
    }

    pub(super) fn holder_starts_something(&mut self) {
        let active = self.leases(|lease| matches!(lease.phase, Phase::Active { .. }));
        let Some(id) = self.chance.pick(&active).copied() else { return };
        let dies_of = match self.chance.below(8) {
            0 => None,
            1..=2 => Some(Stage::Kill),
            _ => Some(Stage::Term),
        };
        let listed = !self.chance.one_in(3);
        let Some(lease) = self.room.state.lease(id) else { return };
        let (uid, token) = (lease.spec.uid, matches!(lease.spec.holder, Holder::Token { .. }));
        if lease.slices.iter().any(|slice| !self.room.bench.exists(slice)) {
            return;
        }
        let index = |gpu| self.room.bench.index(gpu);
        let slices = lease.slices.iter();
        let mut on: Vec<_> = slices
            .filter_map(|slice| Some((index(&slice.key.gpu)?, Some(slice.gpu_instance))))
            .collect();
        on.extend(lease.whole.iter().filter_map(|gpu| Some((index(gpu)?, None))));
        let Some(process) = self.room.bench.start(Some(id), &on, Habits { listed, dies_of }) else {
            return;
        };
        self.room.alive.insert(process);
        let by = Peer { uid, admin: false };
        if token {
            self.expect(Command::Renew { lease: id, by });
        } else {
            let command = process;
            self.expect(Command::Attach { lease: id, by, command });
            let other = self.room.ask(Command::Attach { lease: id, by: peer(99), command });
            self.not_yours(id, other);
        }
    }

    /// What must succeed while the lease is as it was; it may have ended by what lay in the inbox.
    fn expect(&mut self, command: Command) {
        match self.room.ask(command.clone()) {
            Ok(_)
            | Err(
                NotDone::DiskFull
                | NotDone::Refused(Refusal::NoSuchLease(_) | Refusal::WrongPhase { .. }),
            ) => {}
            Err(NotDone::Refused(refusal)) => {
                self.break_law("a holder may do what is his", format!("{refusal}: {command:?}"));
            }
        }
    }

    fn not_yours(&mut self, id: LeaseId, answer: Result<Reply, NotDone>) {
        match answer {
            Err(
                NotDone::DiskFull
                | NotDone::Refused(Refusal::NotYours(_) | Refusal::NoSuchLease(_)),
            ) => {}
            other => {
                let text = format!("{id}: a stranger was answered {other:?}");
                self.break_law("nobody touches what is another's", text);
            }
        }
    }

    pub(super) fn holder_leaves(&mut self) {
        let any = self.leases(|_| true);
        let Some(id) = self.chance.pick(&any).copied() else { return };
        let Some(lease) = self.room.state.lease(id) else { return };
        let by = Peer { uid: lease.spec.uid, admin: false };
        let client = match &lease.spec.holder {
            Holder::Process { client, .. } => Some(*client),
            Holder::Token { .. } | Holder::Container { .. } | Holder::Engine { .. } => None,
        };
        if self.chance.one_in(2) {
            self.expect(Command::End { lease: id, by, holder: true });
        }
        if let Some(client) = client {
            self.room.exit(client);
        }
    }

    pub(super) fn process_ends(&mut self) {
        let pids: Vec<u32> = self.room.bench.processes.keys().copied().collect();
        let Some(pid) = self.chance.pick(&pids).copied() else { return };
        self.room.exit(ProcessId { pid, start_ticks: u64::from(pid) });
    }

    pub(super) fn somebody_ends_a_lease(&mut self) {
        let any = self.leases(|_| true);
        let Some(id) = self.chance.pick(&any).copied() else { return };
        let answer = self.room.ask(Command::End { lease: id, by: peer(99), holder: false });
        self.not_yours(id, answer);
        self.expect(Command::End { lease: id, by: ADMIN, holder: false });
    }
}
