//! Several machines with a daemon each, and who sends a request where.
//!
//! Must never move a request: where it went, it waits. A daemon knows its own machine alone.

use std::collections::BTreeMap;

use broker::{Activity, Metered};
use model::{Millis, Timestamp};
use sim_nvml::{Aside, swap_thread};

use crate::play::column::{Blocked, Column, News, Trouble};
use crate::play::daemon::{Daemon, Tally};
use crate::play::work::Work;

/// The length of a job that nobody said anything about.
const UNKNOWN_LENGTH: Millis = Millis::from_secs(3600);

/// A job that is not over, as the dispatcher knows it.
#[derive(Debug, Clone, Copy)]
struct Sent {
    node: usize,
    units: u64,
    expected: Millis,
    granted: Option<Timestamp>,
}

/// The machines. A request goes to the one with the least work outstanding: units of the grid times
/// the time that is expected to be left, of whoever waits or runs there.
pub(crate) struct Nodes {
    /// With what binds this thread to their machines.
    daemons: Vec<(Daemon, Aside)>,
    sent: BTreeMap<usize, Sent>,
    now: Timestamp,
}

impl Nodes {
    /// The daemons, each with its machine put aside.
    pub(crate) fn new(daemons: Vec<(Daemon, Aside)>) -> Self {
        Self { daemons, sent: BTreeMap::new(), now: Timestamp::default() }
    }

    /// The end: what each daemon counted.
    pub(crate) fn finish(self) -> Vec<Tally> {
        let each = self.daemons.into_iter().map(|(daemon, machine)| {
            let other = swap_thread(machine);
            let tally = daemon.finish();
            swap_thread(other);
            tally
        });
        each.collect()
    }

    fn outstanding(&self, node: usize) -> u64 {
        let there = self.sent.values().filter(|sent| sent.node == node);
        let left = |sent: &Sent| {
            let gone = sent.granted.map_or(Millis::new(0), |at| self.now.since(at));
            sent.units * sent.expected.get().saturating_sub(gone.get())
        };
        there.map(left).sum()
    }

    fn on<R>(&mut self, node: usize, act: impl FnOnce(&mut Daemon) -> R) -> Option<R> {
        let (daemon, machine) = self.daemons.get_mut(node)?;
        let other = swap_thread(std::mem::take(machine));
        let done = act(daemon);
        *machine = swap_thread(other);
        Some(done)
    }

    fn of(&mut self, index: usize, act: impl FnOnce(&mut Daemon)) {
        if let Some(node) = self.sent.get(&index).map(|sent| sent.node) {
            self.on(node, act);
        }
    }
}

impl Column for Nodes {
    fn pass(&mut self, to: Timestamp) {
        self.now = to;
        for node in 0..self.daemons.len() {
            self.on(node, |daemon| daemon.pass(to));
        }
    }

    fn due(&self, now: Timestamp) -> Option<Timestamp> {
        self.daemons.iter().filter_map(|(daemon, _)| daemon.due(now)).min()
    }

    fn ask(&mut self, index: usize, work: &Work) -> (bool, Option<Blocked>) {
        let node = (0..self.daemons.len()).min_by_key(|node| (self.outstanding(*node), *node));
        let node = node.unwrap_or(0);
        let answer = self.on(node, |daemon| daemon.ask(index, work)).unwrap_or_default();
        if answer.0 {
            let expected = work.spec.expect.or(work.spec.time).unwrap_or(UNKNOWN_LENGTH);
            let units = u64::from(work.units);
            self.sent.insert(index, Sent { node, units, expected, granted: None });
        }
        answer
    }

    fn release(&mut self, index: usize) {
        self.of(index, |daemon| daemon.release(index));
        self.sent.remove(&index);
    }

    fn activity(&mut self, index: usize, activity: Activity, metered: Metered) {
        self.of(index, |daemon| daemon.activity(index, activity, metered));
    }

    fn trouble(&mut self, mut gpu: usize, trouble: Trouble) {
        for node in 0..self.daemons.len() {
            let count = self.daemons[node].0.room.bench.gpus().len();
            if gpu < count {
                self.on(node, |daemon| daemon.trouble(gpu, trouble));
                return;
            }
            gpu -= count;
        }
    }

    fn news(&mut self) -> Vec<(usize, News)> {
        let mut all = Vec::new();
        for node in 0..self.daemons.len() {
            all.extend(self.on(node, Daemon::news).unwrap_or_default());
        }
        for (index, news) in &all {
            match news {
                News::Granted(_) => {
                    if let Some(sent) = self.sent.get_mut(index) {
                        sent.granted = Some(self.now);
                    }
                }
                News::Moving => {
                    if let Some(sent) = self.sent.get_mut(index) {
                        sent.granted = None;
                    }
                }
                News::Ended(_) => {
                    self.sent.remove(index);
                }
            }
        }
        all
    }
}
