//! Counts what happens to requests while a run goes on.
//!
//! Must never decide anything.

use model::Timestamp;

use super::figures::{Figures, KindFigures, Waits};
use super::site::Site;
use super::work::Workload;

/// How full the fleet is at a moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Level {
    pub(crate) held: u64,
    pub(crate) compute: u64,
    pub(crate) active: u64,
    pub(crate) fragmentation: f64,
}

/// What became of the requests of one group.
#[derive(Debug, Clone, Default)]
struct Group {
    asked: u64,
    avoidable: u64,
    waits: Vec<f64>,
}

/// The counts of a run.
#[derive(Debug)]
pub(crate) struct Tally<'a> {
    site: &'a Site,
    work: &'a Workload,
    kinds: Vec<Group>,
    tenants: Vec<Group>,
    figures: Figures,
    /// Sums over the span in which room is measured: held, compute, active, fragmentation; times milliseconds.
    areas: [f64; 4],
    level: Level,
    since: Timestamp,
    begun: Option<Timestamp>,
    ended: Timestamp,
}

impl<'a> Tally<'a> {
    pub(crate) fn new(site: &'a Site, work: &'a Workload) -> Self {
        Self {
            site,
            work,
            kinds: vec![Group::default(); work.kinds.len()],
            tenants: vec![Group::default(); work.tenants.len()],
            figures: Figures::default(),
            areas: [0.0; 4],
            level: Level::default(),
            since: Timestamp::default(),
            begun: None,
            ended: Timestamp::default(),
        }
    }

    fn counts(&self, request: usize) -> bool {
        self.work.measured.has(self.work.requests[request].arrival)
    }

    /// Whether the level matters at a moment.
    pub(crate) fn is_measured(&self, now: Timestamp) -> bool {
        now < self.work.room.to
    }

    /// The fleet is so full from now on.
    pub(crate) fn level(&mut self, now: Timestamp, level: Level) {
        let span = self.work.room;
        let (from, to) = (self.since.max(span.from), now.min(span.to));
        let time = to.since(from).get() as f64;
        let held = &self.level;
        let values =
            [held.held as f64, held.compute as f64, held.active as f64, held.fragmentation];
        for (area, value) in self.areas.iter_mut().zip(values) {
            *area += value * time;
        }
        (self.level, self.since) = (level, now);
    }

    pub(crate) fn event(&mut self, now: Timestamp) {
        self.figures.events += 1;
        self.begun.get_or_insert(now);
    }

    /// A request came.
    pub(crate) fn asked(&mut self, request: usize) {
        if !self.counts(request) {
            return;
        }
        let asked = &self.work.requests[request];
        self.figures.asked += 1;
        self.figures.asked_weight += self.work.weight(asked);
        self.kinds[asked.kind].asked += 1;
        self.tenants[asked.tenant].asked += 1;
    }

    /// It has what it asked for.
    pub(crate) fn started(&mut self, request: usize, now: Timestamp) {
        if !self.counts(request) {
            return;
        }
        let asked = &self.work.requests[request];
        self.figures.accepted += 1;
        self.figures.accepted_weight += self.work.weight(asked);
        let seconds = now.since(asked.arrival).get() as f64 / 1000.0;
        self.kinds[asked.kind].waits.push(seconds);
        self.tenants[asked.tenant].waits.push(seconds);
    }

    /// It was sent away.
    pub(crate) fn rejected(&mut self, request: usize) {
        self.figures.rejected += u64::from(self.counts(request));
    }

    /// It could not start at once; `avoidable`: a repacking would have had room.
    pub(crate) fn blocked(&mut self, request: usize, avoidable: bool) {
        if avoidable && self.counts(request) {
            let asked = &self.work.requests[request];
            self.figures.avoidable += 1;
            self.kinds[asked.kind].avoidable += 1;
            self.tenants[asked.tenant].avoidable += 1;
        }
    }

    /// So many wait now.
    pub(crate) fn queue(&mut self, length: usize) {
        self.figures.longest_queue = self.figures.longest_queue.max(length as u64);
    }

    /// A request was over.
    pub(crate) fn over(&mut self, now: Timestamp) {
        self.ended = self.ended.max(now);
    }

    /// The sums; nothing happens after it.
    pub(crate) fn close(mut self, now: Timestamp) -> Figures {
        self.level(now.max(self.work.room.to), self.level);
        let mut figures = self.figures;
        let span = self.work.room.to.since(self.work.room.from).get().max(1) as f64;
        let all = self.site.weight() as f64;
        let [held, compute, active, fragmentation] = self.areas.map(|area| area / span);
        (figures.used, figures.used_compute) = (held / all, compute / all);
        (figures.active_gpus, figures.fragmentation) = (active, fragmentation);
        figures.waiting = figures.asked - figures.accepted - figures.rejected;
        let begun = self.begun.unwrap_or_default();
        figures.makespan = self.ended.since(begun).get() as f64 / 1000.0;
        let all = self.kinds.iter().flat_map(|group| group.waits.iter().copied()).collect();
        figures.waits = Waits::of(all);
        let close = |(name, group): (&str, Group)| KindFigures {
            name: name.to_owned(),
            asked: group.asked,
            accepted: group.waits.len() as u64,
            avoidable: group.avoidable,
            waits: Waits::of(group.waits),
        };
        let kinds = self.work.kinds.iter().map(|kind| kind.name.as_str());
        figures.kinds = kinds.zip(self.kinds).map(close).collect();
        let tenants = self.work.tenants.iter().map(String::as_str);
        figures.tenants = tenants.zip(self.tenants).map(close).collect();
        figures
    }
}
