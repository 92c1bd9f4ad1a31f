//! The end of a seed: troubles stop, everybody leaves, and everybody who waits is served.
//!
//! Must never help the broker along: it ends leases and lets time pass, nothing else.

use broker::{Command, Lease, SliceKey};
use model::Millis;
use sim_gpu::{GpuHealth, RecoveryAction};

use super::users::ADMIN;
use super::world::{Act, World};
use crate::bench::Origin;

impl World {
    /// L4, L6 and L7 at the end.
    pub(crate) fn drain(&mut self) -> Act {
        self.troubles_stop();
        self.changes_are_over()?;
        self.strangers_leave();
        self.rest()?;
        let (mut idle, mut rounds) = (0, 0);
        while !self.room.state.leases.is_empty() {
            rounds += 1;
            let before = self.room.state.leases.len();
            for id in self.leases(Lease::holds_slices) {
                let _ = self.room.ask(Command::End { lease: id, by: ADMIN, holder: false });
            }
            self.rest()?;
            let served = self.room.state.leases.len() < before
                || self.room.state.leases.values().any(Lease::holds_slices);
            idle = if served { 0 } else { idle + 1 };
            if idle > 3 || rounds > 200 {
                let text = format!("nobody is served: {}", self.picture());
                return Err(("L6: when every lease ends, every request is served", text));
            }
        }
        self.nothing_is_left()?;
        self.room.replay();
        self.check()
    }

    fn troubles_stop(&mut self) {
        self.room.disk_full = false;
        self.office_closes();
        self.room.hung.clear();
        self.hung_until.clear();
        for gpu in 0..self.room.bench.gpus().len() {
            self.room.bench.operate(|node, now| {
                node.clear_faults();
                node.set_health(gpu, GpuHealth::Ok, RecoveryAction::None, now)
            });
        }
        if !self.course.auto_mig {
            self.room.bench.enable_mig();
        }
        let pids: Vec<u32> = self.room.bench.processes.keys().copied().collect();
        for pid in pids {
            self.room.bench.stop(pid);
        }
    }

    /// Whatever is not ours goes: what strangers made, and what changes made for others.
    fn strangers_leave(&mut self) {
        let others = self.room.bench.origins.values().filter(|made| made.origin != Origin::Ours);
        let others: Vec<SliceKey> = others.map(|made| made.key.clone()).collect();
        for key in others {
            self.stranger_destroys(&key);
        }
    }

    pub(super) fn rest(&mut self) -> Act {
        for _ in 0..6 {
            if !self.room.settle() {
                let text = self.picture();
                return Err(("what is left alone comes to rest", text));
            }
            self.check()?;
            self.room.pass(Millis::from_secs(31));
        }
        if !self.room.settle() {
            return Err(("what is left alone comes to rest", self.picture()));
        }
        self.check()
    }

    /// Who waits for what, and what lies where.
    fn picture(&self) -> String {
        let room = &self.room;
        let why = |lease: &Lease| {
            let waits = broker::explain(&room.state, &room.world(), lease);
            format!("{} ({}) waits for {waits}", lease.id, lease.spec.wish())
        };
        let waiting: Vec<String> = room.state.queue().map(why).collect();
        let there = room.bench.with(|node| {
            let gpus = node.gpus.iter();
            gpus.map(|gpu| format!("{:?} {:?}", gpu.current, gpu.instances)).collect::<Vec<_>>()
        });
        format!(
            "{waiting:?}\nrecords {:?}\nplans {:?}\nmachine {there:?}\nseen {:?}\nto do {:?}",
            room.state.slices,
            room.state.plans,
            room.observed.gpus.iter().map(|gpu| (&gpu.health, &gpu.instances)).collect::<Vec<_>>(),
            room.due
        )
    }

    fn nothing_is_left(&mut self) -> Act {
        for _ in 0..3 {
            self.room.pass(Millis::from_secs(400));
            self.rest()?;
        }
        let state = &self.room.state;
        let clean = state.leases.is_empty()
            && state.plans.is_empty()
            && state.orphans.is_empty()
            && state.slices.is_empty();
        let left = self.room.bench.origins.values().find(|made| made.origin == Origin::Ours);
        if !clean || left.is_some() {
            let text = format!("{left:?} {state:?}");
            return Err(("L4: when everybody has left nothing stays", text));
        }
        Ok(())
    }
}
