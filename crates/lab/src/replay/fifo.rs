//! First come, first served: what a scheduler does that keeps a list and looks for the first hole.
//!
//! Must never be slower than its rule makes it: driver calls of one GPU take as long as elsewhere,
//! and the list is gone through whenever something is free.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use broker::{Activity, Metered, Patience, RequestSpec};
use model::{NodeSnapshot, PlacedProfile, Timestamp};
use planner::{Forecast, Hold, Occupant, Planner, Policy, Room, Want};
use sim_gpu::Latencies;

use crate::play::column::{Blocked, Column, News, Trouble, Why};
use crate::play::daemon::Tally;
use crate::play::work::Work;

/// What the driver will have done by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Done {
    Destroyed(usize, PlacedProfile),
    Made(usize),
}

/// The GPUs and the list.
pub(crate) struct Fifo<'a> {
    observed: &'a NodeSnapshot,
    planner: &'a Planner,
    latencies: Latencies,
    rooms: Vec<Room>,
    /// In the order of asking.
    waiting: Vec<(usize, RequestSpec, Timestamp)>,
    has: BTreeMap<usize, Vec<(usize, PlacedProfile)>>,
    limits: BTreeMap<usize, Timestamp>,
    ahead: BinaryHeap<Reverse<(Timestamp, Done)>>,
    now: Timestamp,
    news: Vec<(usize, News)>,
    stale: bool,
    tally: Tally,
}

impl<'a> Fifo<'a> {
    pub(crate) fn new(
        observed: &'a NodeSnapshot,
        planner: &'a Planner,
        latencies: Latencies,
    ) -> Self {
        let rooms = observed.gpus.iter().filter_map(|gpu| {
            Some(Room {
                gpu: gpu.uuid.clone(),
                geometry: gpu.geometry.clone()?,
                occupants: Vec::new(),
                usable: true,
                promised: Vec::new(),
            })
        });
        Self {
            observed,
            planner,
            latencies,
            rooms: rooms.collect(),
            waiting: Vec::new(),
            has: BTreeMap::new(),
            limits: BTreeMap::new(),
            ahead: BinaryHeap::new(),
            now: Timestamp::default(),
            news: Vec::new(),
            stale: false,
            tally: Tally::default(),
        }
    }

    pub(crate) fn tally(self) -> Tally {
        self.tally
    }

    fn want(&self, spec: &RequestSpec) -> Want {
        let profiles = self.rooms.iter().map(|room| {
            let meant = self.observed.gpu(&room.gpu).is_some_and(|gpu| spec.gpu.matches(gpu));
            let profile = spec.wanted.on(&room.geometry).ok().filter(|_| meant);
            profile.map(|profile| profile.id)
        });
        Want { profiles: profiles.collect(), arrangement: spec.terms.arrangement.into() }
    }

    /// Takes the first holes for a request.
    fn place(&mut self, index: usize, spec: &RequestSpec) -> bool {
        let (want, forecast) = (self.want(spec), Forecast::unknown());
        let found = self.planner.choose_many_by(
            Policy::FirstFit,
            &self.rooms,
            &want,
            spec.count,
            &forecast,
        );
        let Some(choices) = found else { return false };
        let mut parts = Vec::new();
        for choice in &choices {
            self.rooms[choice.room].take(choice);
            parts.push((choice.room, choice.part));
        }
        let each =
            self.latencies.create_gpu_instance.get() + self.latencies.create_compute_instance.get();
        let made = self.now.plus(model::Millis::new(each * parts.len() as u64));
        self.tally.made += parts.len() as u64;
        self.has.insert(index, parts);
        self.ahead.push(Reverse((made, Done::Made(index))));
        if let Some(time) = spec.time {
            self.limits.insert(index, made.plus(time));
        }
        true
    }

    fn serve(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        let mut full: Vec<Want> = Vec::new();
        for (index, spec, since) in waiting {
            let want = self.want(&spec);
            if full.contains(&want) || !self.place(index, &spec) {
                // Whoever wants the same of a full machine finds as little.
                if spec.count == 1 {
                    full.push(want);
                }
                self.waiting.push((index, spec, since));
            }
        }
    }

    fn leave(&mut self, index: usize) {
        self.waiting.retain(|(other, ..)| *other != index);
        self.limits.remove(&index);
        let each = self.latencies.destroy_gpu_instance.get()
            + self.latencies.destroy_compute_instance.get();
        for (count, (room, part)) in self.has.remove(&index).into_iter().flatten().enumerate() {
            let gone = self.now.plus(model::Millis::new(each * (count as u64 + 1)));
            self.tally.destroyed += 1;
            self.ahead.push(Reverse((gone, Done::Destroyed(room, part))));
        }
        self.catch_up();
    }

    /// What the driver has done by now.
    fn catch_up(&mut self) {
        while let Some(Reverse((at, done))) = self.ahead.peek().copied() {
            if at > self.now {
                break;
            }
            self.ahead.pop();
            match done {
                Done::Destroyed(room, part) => {
                    let held = Occupant { part, hold: Hold::Held };
                    self.rooms[room].occupants.retain(|occupant| *occupant != held);
                    self.stale = true;
                }
                Done::Made(index) => {
                    let parts = self.has.get(&index).into_iter().flatten();
                    let units = parts.map(|(_, part)| u32::from(part.placement.size.get())).sum();
                    self.news.push((index, News::Granted(units)));
                }
            }
        }
    }

    fn expire(&mut self) {
        let over = |(index, spec, since): &(usize, RequestSpec, Timestamp)| match spec.patience {
            Patience::AtMost(span) if since.plus(span) <= self.now => Some(*index),
            Patience::AtMost(_) | Patience::Forever | Patience::Immediate => None,
        };
        let over: Vec<usize> = self.waiting.iter().filter_map(over).collect();
        for index in over {
            self.leave(index);
            self.news.push((index, News::Ended(Why::WaitExpired)));
        }
        let limits = self.limits.iter().filter(|(_, at)| **at <= self.now);
        let limits: Vec<usize> = limits.map(|(index, _)| *index).collect();
        for index in limits {
            self.leave(index);
            self.news.push((index, News::Ended(Why::TimeLimit)));
        }
    }
}

impl Column for Fifo<'_> {
    fn pass(&mut self, to: Timestamp) {
        self.now = to;
        self.catch_up();
        self.expire();
    }

    fn due(&self, now: Timestamp) -> Option<Timestamp> {
        let ahead = self.ahead.peek().map(|Reverse((at, _))| *at);
        let waits = self.waiting.iter().filter_map(|(_, spec, since)| match spec.patience {
            Patience::AtMost(span) => Some(since.plus(span)),
            Patience::Forever | Patience::Immediate => None,
        });
        let limits = self.limits.values().copied();
        ahead.into_iter().chain(waits).chain(limits).filter(|at| *at > now).min()
    }

    fn ask(&mut self, index: usize, work: &Work) -> (bool, Option<Blocked>) {
        let spec = work.spec.clone();
        if self.want(&spec).profiles.iter().all(Option::is_none) {
            return (false, None);
        }
        if spec.patience == Patience::Immediate {
            let placed = self.place(index, &spec);
            return (placed, (!placed).then(Blocked::default));
        }
        self.waiting.push((index, spec, self.now));
        self.stale = true;
        (true, None)
    }

    fn release(&mut self, index: usize) {
        self.leave(index);
    }

    fn activity(&mut self, _: usize, _: Activity, _: Metered) {}

    fn trouble(&mut self, _: usize, _: Trouble) {}

    fn news(&mut self) -> Vec<(usize, News)> {
        if std::mem::take(&mut self.stale) {
            self.serve();
            self.catch_up();
        }
        std::mem::take(&mut self.news)
    }
}
