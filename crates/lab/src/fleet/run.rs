//! One contender on one workload: events in the order of virtual time.
//!
//! Must never read a clock: the time that decisions take is read from the stopwatch it is lent.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use model::{Millis, Timestamp};
use serde::Serialize;

use super::contender::Contender;
use super::figures::Figures;
use super::keeper::Keeper;
use super::queue::{Discipline, LineKey, Queue, Waiting};
use super::site::Site;
use super::stats::percentile;
use super::tally::Tally;
use super::work::Workload;

/// A stopwatch of the rim: the time since some moment of its own.
pub type Watch<'a> = &'a (dyn Fn() -> Duration + Sync);

/// What is the same for all contenders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// What happens to a request that cannot start at once.
    pub discipline: Discipline,
    /// Whether the length of a request is known when it comes. It decides the order of a queue and
    /// who may use kept room; no policy looks at it.
    pub lengths_known: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { discipline: Discipline::Loss, lengths_known: true }
    }
}

/// The length of a request that nobody knows: the broker's, so that only age and size count.
const UNKNOWN_LENGTH: Millis = Millis::from_secs(3600);

/// The time that decisions took, in nanoseconds by the stopwatch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Pace {
    /// How many decisions.
    pub decisions: u64,
    /// Half of them took no longer.
    pub p50_ns: u64,
    /// 99 of 100 took no longer.
    pub p99_ns: u64,
    /// All of them together.
    pub total_ns: u64,
}

impl Pace {
    pub(crate) fn of(mut taken: Vec<u64>) -> Self {
        taken.sort_unstable();
        Self {
            decisions: taken.len() as u64,
            p50_ns: percentile(&taken, 0.50).unwrap_or(0),
            p99_ns: percentile(&taken, 0.99).unwrap_or(0),
            total_ns: taken.iter().sum(),
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The same whenever it is run again.
    pub figures: Figures,
    /// Every decision's time in nanoseconds, in order; different each time.
    pub taken: Vec<u64>,
}

/// Plays a workload on a fleet.
pub fn simulate(
    site: &Site,
    work: &Workload,
    contender: &Contender,
    settings: Settings,
    watch: Watch<'_>,
) -> Run {
    let mut course = Course::new(site, work, contender, settings, watch);
    while course.step() {}
    course.close()
}

/// The simulation while it goes on.
pub(crate) struct Course<'a> {
    work: &'a Workload,
    settings: Settings,
    watch: Watch<'a>,
    pub(crate) keeper: Keeper<'a>,
    queue: Queue,
    /// When requests end, the next on top.
    ends: BinaryHeap<Reverse<(Timestamp, usize)>>,
    /// The next request to come.
    next: usize,
    pub(crate) now: Timestamp,
    tally: Tally<'a>,
    taken: Vec<u64>,
    /// The smallest weight that anybody asks for: room is not kept for that.
    smallest: u64,
    /// When each that runs ends.
    end_of: Vec<Option<Timestamp>>,
}

impl<'a> Course<'a> {
    pub(crate) fn new(
        site: &'a Site,
        work: &'a Workload,
        contender: &Contender,
        settings: Settings,
        watch: Watch<'a>,
    ) -> Self {
        Self {
            work,
            settings,
            watch,
            keeper: Keeper::new(site, work, contender),
            queue: Queue::default(),
            ends: BinaryHeap::new(),
            next: 0,
            now: Timestamp::default(),
            tally: Tally::new(site, work),
            taken: Vec::with_capacity(work.requests.len()),
            smallest: work.kinds.iter().map(|kind| kind.weight).min().unwrap_or(0),
            end_of: vec![None; work.requests.len()],
        }
    }

    /// One moment: whatever ends or comes then, ends first. False when nothing is left.
    pub(crate) fn step(&mut self) -> bool {
        let arrival = self.work.requests.get(self.next).map(|request| request.arrival);
        let end = self.ends.peek().map(|Reverse((at, _))| *at);
        let Some(now) = arrival.into_iter().chain(end).min() else { return false };
        // Nothing after the last arrival bears on a loss system.
        if arrival.is_none() && self.settings.discipline == Discipline::Loss {
            return false;
        }
        self.now = now;
        let mut freed = false;
        while let Some(Reverse((at, request))) = self.ends.peek().copied() {
            if at > now {
                break;
            }
            self.ends.pop();
            self.tally.event(now);
            self.tally.over(now);
            self.keeper.leave(request);
            freed = true;
        }
        if freed && self.queue.len() > 0 {
            self.serve();
        }
        while let Some(request) = self.work.requests.get(self.next).filter(|r| r.arrival <= now) {
            let key = (request.kind, request.count);
            self.arrive(self.next, key);
            self.next += 1;
        }
        if self.tally.is_measured(now) {
            let level = self.keeper.level();
            self.tally.level(now, level);
        }
        true
    }

    fn arrive(&mut self, request: usize, key: LineKey) {
        self.tally.event(self.now);
        self.tally.asked(request);
        self.keeper.expect(key.0);
        if self.start(request, key) {
            return;
        }
        let avoidable = self.keeper.fits_repacked(key);
        self.tally.blocked(request, avoidable);
        if self.settings.discipline == Discipline::Loss || !self.keeper.could_ever(key) {
            self.tally.rejected(request);
            return;
        }
        let asked = &self.work.requests[request];
        let length = asked.holds.filter(|_| self.settings.lengths_known).unwrap_or(UNKNOWN_LENGTH);
        let weight = u128::from(self.work.weight(asked).max(1));
        let area = weight * u128::from(length.get().max(1));
        self.queue.push(key, Waiting { request, since: self.now, area });
        self.tally.queue(self.queue.len());
        self.keep_room();
    }

    /// Starts a request if there is room.
    fn start(&mut self, request: usize, key: LineKey) -> bool {
        let end = self.work.requests[request].holds.map(|length| self.now.plus(length));
        let before = (self.watch)();
        let known = end.filter(|_| self.settings.lengths_known);
        let started = self.keeper.start(request, key, known);
        let taken = (self.watch)().saturating_sub(before);
        self.taken.push(u64::try_from(taken.as_nanos()).unwrap_or(u64::MAX));
        if started {
            self.begin(request, end);
        }
        started
    }

    fn begin(&mut self, request: usize, end: Option<Timestamp>) {
        self.end_of[request] = end;
        if let Some(at) = end {
            self.ends.push(Reverse((at, request)));
        }
        self.tally.started(request, self.now);
    }

    /// Starts whoever is next and fits, until nobody does.
    fn serve(&mut self) {
        if let Some(request) = self.keeper.use_kept() {
            let asked = &self.work.requests[request];
            self.queue.remove((asked.kind, asked.count), request);
            self.begin(request, asked.holds.map(|length| self.now.plus(length)));
        }
        let (discipline, now) = (self.settings.discipline, self.now);
        let mut heads: Vec<(LineKey, Waiting)> = Vec::new();
        let may = |course: &Self, key: LineKey| {
            course.keeper.may_fit(key).then(|| course.queue.head(key, discipline, now)).flatten()
        };
        for key in self.queue.keys() {
            heads.extend(may(self, key).map(|waiting| (key, waiting)));
        }
        let order =
            |(_, a): &(LineKey, Waiting), (_, b): &(LineKey, Waiting)| a.order(b, discipline, now);
        while let Some((key, waiting)) = heads.iter().copied().min_by(order) {
            heads.retain(|(other, _)| *other != key);
            if self.start(waiting.request, key) {
                self.queue.remove(key, waiting.request);
                self.keeper.drop_kept_for(waiting.request);
                heads.extend(may(self, key).map(|next| (key, next)));
            }
        }
        self.keep_room();
    }

    /// Keeps room for the oldest large request, if it has waited long enough.
    fn keep_room(&mut self) {
        let Discipline::Area { drain: Some(after) } = self.settings.discipline else { return };
        if self.keeper.is_keeping() {
            return;
        }
        let (kinds, smallest) = (&self.work.kinds, self.smallest);
        let large = |(kind, count): LineKey| count == 1 && kinds[kind].weight > smallest;
        let Some(((kind, _), oldest)) = self.queue.oldest(large) else { return };
        if self.now.since(oldest.since) >= after {
            let known = self.settings.lengths_known;
            let ends = |request: usize| self.end_of[request].filter(|_| known);
            self.keeper.keep(kind, oldest.request, ends);
        }
    }

    pub(crate) fn close(self) -> Run {
        let mut figures = self.tally.close(self.now);
        (figures.moves, figures.moved_weight) = self.keeper.moved();
        Run { figures, taken: self.taken }
    }
}
