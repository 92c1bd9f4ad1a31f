//! What plans are at in the driver, and since when, so that a call that does not come back is told of
//! instead of waited for.
//!
//! Must never give a plan up: whether anybody goes on without one is the broker's decision.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use broker::Command;
use model::{Millis, Plan, PlanId, Step};

use crate::hands::{Hands, lock};
use crate::planning;
use crate::published::Published;

/// A reset takes about ten times as long as the next slowest step, and ends a GPU's silence rather than
/// being one: it gets so many times the limit.
const RESET_FACTOR: u32 = 5;

/// How far a plan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// It waits until nobody else is at work on its GPUs.
    Line,
    /// It looks at its GPUs.
    Look,
    /// It does one of its steps.
    Step(u32),
}

/// Something that is under way in the driver.
#[derive(Debug, Clone)]
struct AtWork {
    words: String,
    since: Instant,
    limit: Duration,
    told: bool,
}

/// What is under way in the driver, by plan.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    at_work: Mutex<BTreeMap<PlanId, AtWork>>,
    news: Condvar,
}

/// How long something has been under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lasting {
    /// So long.
    pub(crate) span: Duration,
    /// Whether it should have come back by now.
    pub(crate) late: bool,
}

impl Steps {
    /// Notes what a plan is about to do.
    pub(crate) fn begin(&self, published: &Published, id: PlanId, plan: &Plan, at: At) {
        let step = match at {
            At::Line | At::Look => None,
            At::Step(index) => plan.steps.get(index as usize),
        };
        let limit = Duration::from_millis(published.settings.config.daemon.step_limit.get());
        let limit =
            if matches!(step, Some(Step::ResetGpu { .. })) { limit * RESET_FACTOR } else { limit };
        let words = in_words(published, plan, at, step);
        let at_work = AtWork { words, since: Instant::now(), limit, told: false };
        lock(&self.at_work).insert(id, at_work);
        self.news.notify_all();
    }

    /// Forgets a plan that has ended.
    pub(crate) fn end(&self, id: PlanId) {
        lock(&self.at_work).remove(&id);
    }

    /// How long a plan has been at what it does now.
    pub(crate) fn lasting(&self, id: PlanId) -> Option<Lasting> {
        let at_work = lock(&self.at_work);
        let span = at_work.get(&id)?.since.elapsed();
        Some(Lasting { span, late: span >= at_work.get(&id)?.limit })
    }

    /// Waits until something is late that nobody has been told of; each with what to say of it.
    fn wait(&self) -> Vec<(PlanId, String)> {
        let mut at_work = lock(&self.at_work);
        loop {
            let mut late = Vec::new();
            for (id, work) in at_work.iter_mut().filter(|(_, work)| !work.told) {
                if work.since.elapsed() >= work.limit {
                    work.told = true;
                    let limit = Millis::new(work.limit.as_millis() as u64);
                    late.push((
                        *id,
                        format!("{} does not come back from the driver within {limit}", work.words),
                    ));
                }
            }
            if !late.is_empty() {
                return late;
            }
            let untold = at_work.values().filter(|work| !work.told);
            let next = untold.map(|work| work.limit.saturating_sub(work.since.elapsed())).min();
            at_work = match next {
                None => self.news.wait(at_work).unwrap_or_else(PoisonError::into_inner),
                Some(pause) => {
                    let waited = self.news.wait_timeout(at_work, pause);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

/// A step on its GPU: `GPU 0: "create 3g.20gb at 4:4"`.
fn in_words(published: &Published, plan: &Plan, at: At, step: Option<&Step>) -> String {
    let gpu = step.map(Step::gpu).or_else(|| plan.gpus().into_iter().next());
    let seen = gpu.and_then(|gpu| published.observed.gpu(gpu));
    let what = match (step, seen) {
        (Some(step), Some(seen)) => format!("\"{}\"", planning::words(seen, step)),
        (Some(_), None) => "a step".to_owned(),
        (None, _) if at == At::Line => "what was begun there before".to_owned(),
        (None, _) => "looking at it".to_owned(),
    };
    match seen {
        Some(seen) => format!("GPU {}: {what}", seen.index),
        None => what,
    }
}

/// Starts the thread that tells the actor of steps that do not come back.
///
/// # Errors
/// If the system has no thread left.
pub(crate) fn watch(hands: Hands) -> io::Result<()> {
    let work = move || {
        loop {
            for (plan, words) in hands.steps.wait() {
                tracing::error!(%plan, "{words}");
                hands.tell(Command::PlanLate { plan, words });
            }
        }
    };
    std::thread::Builder::new().name("steps".to_owned()).spawn(work).map(drop)
}
