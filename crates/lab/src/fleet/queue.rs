//! Who waits, and who is next.
//!
//! Must never look at GPUs.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use model::{Millis, Timestamp};

/// What happens to a request that cannot start at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discipline {
    /// It is rejected.
    Loss,
    /// It waits; whoever came first and fits starts.
    Fifo,
    /// It waits; whoever has waited longest for its area (share of a GPU times length) and fits
    /// starts. The formula is the broker's inside one tenant (`crates/broker/src/order.rs`); ranks,
    /// shares between tenants and quotas are not here. With `drain`, room is kept for the oldest
    /// request that is not of the smallest size, once it has waited so long.
    Area {
        /// After which wait room is kept; `None`: never.
        drain: Option<Millis>,
    },
}

impl fmt::Display for Discipline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loss => f.write_str("rejected at once"),
            Self::Fifo => f.write_str("queue, first come first served, skipping what does not fit"),
            Self::Area { drain: None } => f.write_str("queue, age over area"),
            Self::Area { drain: Some(after) } => {
                write!(f, "queue, age over area, one room kept after {after}")
            }
        }
    }
}

/// A request that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) request: usize,
    pub(crate) since: Timestamp,
    /// Weight times length.
    pub(crate) area: u128,
}

impl Waiting {
    /// Who is first: less is sooner.
    pub(crate) fn order(&self, other: &Self, discipline: Discipline, now: Timestamp) -> Ordering {
        let by_area = || {
            let age = |waiting: &Self| u128::from(now.since(waiting.since).get());
            let mine = age(self).saturating_mul(other.area);
            let its = age(other).saturating_mul(self.area);
            its.cmp(&mine)
        };
        let first = match discipline {
            Discipline::Area { .. } => by_area(),
            Discipline::Fifo | Discipline::Loss => Ordering::Equal,
        };
        first.then_with(|| self.request.cmp(&other.request))
    }
}

/// What is asked for: kind and count. All in one line fit or do not fit alike.
pub(crate) type LineKey = (usize, u32);

/// Everybody who waits, in lines of those who ask for the same.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    lines: BTreeMap<LineKey, Vec<Waiting>>,
    count: usize,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn keys(&self) -> Vec<LineKey> {
        self.lines.keys().copied().collect()
    }

    pub(crate) fn push(&mut self, key: LineKey, waiting: Waiting) {
        self.lines.entry(key).or_default().push(waiting);
        self.count += 1;
    }

    /// Who is first in a line.
    pub(crate) fn head(
        &self,
        key: LineKey,
        discipline: Discipline,
        now: Timestamp,
    ) -> Option<Waiting> {
        let line = self.lines.get(&key)?;
        match discipline {
            // Requests join a line in the order in which they come.
            Discipline::Fifo | Discipline::Loss => line.first().copied(),
            Discipline::Area { .. } => {
                line.iter().copied().min_by(|a, b| a.order(b, discipline, now))
            }
        }
    }

    pub(crate) fn remove(&mut self, key: LineKey, request: usize) {
        let Some(line) = self.lines.get_mut(&key) else { return };
        let before = line.len();
        line.retain(|waiting| waiting.request != request);
        self.count -= before - line.len();
        if line.is_empty() {
            self.lines.remove(&key);
        }
    }

    /// The one that has waited longest among those in lines that `of` allows.
    pub(crate) fn oldest(&self, of: impl Fn(LineKey) -> bool) -> Option<(LineKey, Waiting)> {
        let lines = self.lines.iter().filter(|(key, _)| of(**key));
        let all = lines.flat_map(|(key, line)| line.iter().map(|waiting| (*key, *waiting)));
        all.min_by_key(|(_, waiting)| (waiting.since, waiting.request))
    }
}
