//! One seed's world: the room, its users, and what happens next.
//!
//! Must never act otherwise than by the chance of the act's own number.

use std::collections::{BTreeMap, VecDeque};

use broker::{Event, Lease, Policy};
use model::{LeaseId, Millis, Timestamp, Uid};

use super::course::Course;
use super::coverage::Coverage;
use super::laws;
use super::office::rules;
use super::rights::Rights;
use crate::bench::{BenchError, Origin};
use crate::chance::Chance;
use crate::room::{Broken, Room, Seen};

pub(super) type Act = Result<(), Broken>;

/// A room with its users.
#[derive(Debug)]
pub(crate) struct World {
    seed: u64,
    /// The act under way.
    pub(super) at: u64,
    /// The newest events, each with its act.
    pub(super) newest: VecDeque<(u64, Seen)>,
    /// How many of them are kept.
    tail: usize,
    pub(crate) room: Room,
    pub(crate) chance: Chance,
    pub(crate) course: Course,
    pub(crate) coverage: Coverage,
    pub(crate) profiles: Vec<String>,
    /// Requests that were acknowledged and whose end nobody was told.
    pub(crate) acknowledged: BTreeMap<LeaseId, Uid>,
    pub(crate) names: u32,
    /// For the laws of rights.
    pub(super) rights: Rights,
    /// Until when the disk is full.
    pub(crate) disk_full_until: Timestamp,
    /// Until when GPUs do not answer.
    pub(crate) hung_until: Vec<(model::GpuUuid, Timestamp)>,
}

impl World {
    pub(crate) fn new(seed: u64, tail: usize) -> Result<Self, BenchError> {
        let mut chance = Chance::new(seed, u64::MAX);
        let (machine, course) = Course::of(&mut chance);
        let mut policy =
            Policy { auto_mig: course.auto_mig, max_waiting_per_user: 4, ..Policy::default() };
        rules(&mut policy);
        let room = course.room(machine, policy)?;
        let geometries = room.observed.gpus.iter().filter_map(|gpu| gpu.geometry.as_ref());
        let mut profiles: Vec<String> = geometries
            .flat_map(|geometry| geometry.profiles.iter().map(|profile| profile.name.to_string()))
            .collect();
        profiles.sort();
        profiles.dedup();
        let rights = Rights::new(&room.policy);
        let mut world = Self {
            seed,
            at: 0,
            newest: VecDeque::new(),
            tail,
            room,
            chance,
            course,
            coverage: Coverage::default(),
            profiles,
            acknowledged: BTreeMap::new(),
            names: 0,
            rights,
            disk_full_until: Timestamp::default(),
            hung_until: Vec::new(),
        };
        world.take_note();
        Ok(world)
    }

    /// One act, and then every law.
    pub(crate) fn act(&mut self, act: u64) -> Act {
        self.at = act;
        self.chance = Chance::new(self.seed, act);
        match self.chance.below(100) {
            0..=10 => self.request(),
            11 => self.change(),
            12..=47 => self.execute(),
            48..=57 => {
                self.room.work();
            }
            58..=68 => self.effect(),
            69..=75 => self.pass_time(),
            76..=78 => self.look(),
            79..=80 => self.office(),
            81..=86 => self.holder_starts_something(),
            87..=91 => self.holder_leaves(),
            92..=93 => self.process_ends(),
            94 => self.somebody_ends_a_lease(),
            95..=97 => self.stranger(),
            _ => self.fault()?,
        }
        self.check()
    }

    /// Every law, and what is noted of the events that came.
    pub(crate) fn check(&mut self) -> Act {
        self.take_note();
        match laws::broken(&mut self.room).or_else(|| self.rights.broken_in(&self.room)) {
            Some(broken) => Err(broken),
            None => Ok(()),
        }
    }

    pub(super) fn take_note(&mut self) {
        for seen in std::mem::take(&mut self.room.fresh) {
            self.coverage.event(&seen.event);
            self.room.broken.extend(self.rights.broken_by(&self.room.observed, &seen));
            if let Event::Ended { lease, .. } = &seen.event {
                self.acknowledged.remove(lease);
            }
            if self.newest.len() >= self.tail {
                self.newest.pop_front();
            }
            self.newest.push_back((self.at, seen));
        }
    }

    /// One act of some execution, perhaps with a fault in its driver call.
    pub(super) fn execute(&mut self) {
        let ready: Vec<usize> =
            (0..self.room.running.len()).filter(|at| self.room.may_advance(*at)).collect();
        let Some(at) = self.chance.pick(&ready).copied() else {
            self.room.work();
            return;
        };
        let slow = self.course.faults && self.chance.one_in(50);
        let stuck = slow.then(|| Millis::from_secs(1 + self.chance.below(60) as u64));
        let maker = if self.course.faults { self.plant_fault(at) } else { Origin::Ours };
        let step = self.step_under_way(at);
        self.room.advance(at, stuck, maker);
        if let (Origin::Doubtful, Some(step)) = (maker, step) {
            self.doubt(&step);
        }
        if slow {
            self.coverage.count("fault: slow call");
        }
        self.room.bench.operate(|node, _| node.clear_faults());
        // Mostly the actor hears at once.
        if !self.chance.one_in(4) {
            self.room.work();
        }
    }

    /// What a driver did while it said that it did nothing cannot be told from what others did.
    fn doubt(&mut self, step: &model::Step) {
        for made in self.room.bench.origins.values_mut() {
            if step.names(&made.key.gpu, made.key.placement) {
                made.origin = Origin::Doubtful;
            }
        }
    }

    fn effect(&mut self) {
        // Time passes between a decision and its effect, so they are done in any order.
        let due = self.room.due.len();
        if due > 0 {
            let at = self.chance.below(due);
            self.room.do_effect(at);
        }
        if !self.chance.one_in(3) {
            self.room.work();
        }
    }

    fn pass_time(&mut self) {
        let span = match self.chance.below(40) {
            0 if self.course.faults => {
                self.coverage.count("fault: clock jump");
                Millis::from_secs(3600 * (1 + self.chance.below(72) as u64))
            }
            0..=3 => Millis::from_secs(400),
            4..=9 => Millis::from_secs(31),
            10..=19 => Millis::from_secs(5),
            _ => Millis::new(200),
        };
        self.room.pass(span);
        self.troubles_end();
        self.room.work();
    }

    fn look(&mut self) {
        let Some(gpu) = self.chance.pick(self.room.bench.gpus()).cloned() else { return };
        if !self.room.late.is_empty() && self.chance.one_in(2) {
            self.coverage.count("fault: late look");
            self.room.tell_late(0);
        } else {
            let late = self.chance.one_in(5);
            self.room.look(&gpu, late);
        }
        self.room.work();
    }

    pub(crate) fn leases(&self, which: impl Fn(&Lease) -> bool) -> Vec<LeaseId> {
        self.room.state.leases.values().filter(|lease| which(lease)).map(|l| l.id).collect()
    }

    /// L2: whatever was acknowledged and has not ended is known to the daemon that takes over.
    pub(crate) fn acknowledged_is_known(&mut self) -> Act {
        self.take_note();
        for lease in self.acknowledged.keys() {
            if self.room.state.lease(*lease).is_none() {
                let text = format!("{lease} was acknowledged and is forgotten");
                return Err(("L2: what was acknowledged survives a crash", text));
            }
        }
        Ok(())
    }
}
