//! What is known of the use of one lease: readings of its slices, added up.
//!
//! Must never read a clock or a driver, and never take silence for idleness.

use std::collections::BTreeMap;

use broker::{Activity, Metered};
use model::{MemoryMib, Millis, Timestamp};

/// How old a reading may be. Slices are looked at every two seconds; one that was not looked at for
/// so long is one of which nothing is known.
const STALE: Millis = Millis::from_secs(15);
/// How long a lease must have been idle, or of unknown use, until that is told. A program pauses for
/// seconds all the time, and every change stays in the journal.
const SETTLED: Millis = Millis::from_secs(30);
/// How often totals are told that changed.
const TOTALS_EVERY: Millis = Millis::from_secs(600);
/// By which part of itself the peak must have grown to be told at once: a twentieth.
const PEAK_PART: u64 = 20;

/// What a look at one slice said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// Nothing either way.
    Unknown,
    /// Work was done.
    Busy,
    /// Nothing was done.
    Idle,
}

/// A look at one slice or whole GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) evidence: Evidence,
    /// Memory of its processes, if that is told.
    pub(crate) memory: Option<MemoryMib>,
}

/// What the broker is told.
pub(crate) type News = (Activity, Metered);

/// The readings of one lease since its grant.
#[derive(Debug)]
pub(crate) struct Tally {
    granted_at: Timestamp,
    parts: usize,
    readings: BTreeMap<usize, (Timestamp, Reading)>,
    /// Until when time was added up.
    counted: Timestamp,
    /// What the readings say, and since when they have.
    verdict: (Evidence, Timestamp),
    metered: Metered,
    told: Activity,
    told_totals: (Metered, Timestamp),
}

impl Tally {
    /// The tally of a lease of `parts` slices, which goes on from what is known of it.
    pub(crate) fn new(
        now: Timestamp,
        granted_at: Timestamp,
        parts: usize,
        metered: Metered,
    ) -> Self {
        Self {
            granted_at,
            parts,
            readings: BTreeMap::new(),
            counted: now,
            verdict: (Evidence::Unknown, now),
            metered,
            told: Activity::Unknown,
            told_totals: (metered, now),
        }
    }

    /// Whether it is of this grant: a lease that moved has other slices and begins anew.
    pub(crate) fn is_of(&self, granted_at: Timestamp, parts: usize) -> bool {
        self.granted_at == granted_at && self.parts == parts
    }

    /// Takes in a look at one part.
    pub(crate) fn note(&mut self, now: Timestamp, part: usize, reading: Reading) {
        self.readings.insert(part, (now, reading));
        let verdict = self.judge(now);
        let span = now.since(self.counted);
        self.counted = now;
        if span <= STALE && verdict != Evidence::Unknown {
            self.metered.observed = plus(self.metered.observed, span);
            if verdict == Evidence::Busy {
                self.metered.busy = plus(self.metered.busy, span);
            }
        }
        if verdict != self.verdict.0 {
            self.verdict = (verdict, now);
        }
        let fresh = self.fresh(now);
        let memory: Vec<MemoryMib> = fresh.filter_map(|reading| reading.memory).collect();
        if !memory.is_empty() {
            let sum = memory.into_iter().fold(MemoryMib::new(0), MemoryMib::saturating_add);
            self.metered.peak_memory = self.metered.peak_memory.max(Some(sum));
        }
    }

    fn fresh(&self, now: Timestamp) -> impl Iterator<Item = &Reading> {
        let fresh = self.readings.values().filter(move |(at, _)| now.since(*at) <= STALE);
        fresh.map(|(_, reading)| reading)
    }

    fn judge(&self, now: Timestamp) -> Evidence {
        let mut idle = 0;
        for reading in self.fresh(now) {
            match reading.evidence {
                Evidence::Busy => return Evidence::Busy,
                Evidence::Idle => idle += 1,
                Evidence::Unknown => {}
            }
        }
        if idle == self.parts { Evidence::Idle } else { Evidence::Unknown }
    }

    /// What the broker should hear now, if anything; `limit` is the idle limit of the lease.
    pub(crate) fn news(&mut self, now: Timestamp, limit: Option<Millis>) -> Option<News> {
        let half = limit.map_or(SETTLED, |limit| Millis::new(limit.get() / 2));
        let settled = now.since(self.verdict.1) >= SETTLED.min(half);
        let was_idle = matches!(self.told, Activity::Idle { .. });
        let activity = match self.verdict {
            (Evidence::Busy, _) => Activity::Busy,
            (Evidence::Idle, since) if settled => Activity::Idle { since },
            // What was said to be idle is not any more; that must not wait.
            (Evidence::Unknown, _) if settled || was_idle => Activity::Unknown,
            (Evidence::Idle, _) if was_idle => Activity::Unknown,
            (Evidence::Idle | Evidence::Unknown, _) => self.told,
        };
        let (totals, at) = self.told_totals;
        let due = now.since(at) >= TOTALS_EVERY && totals != self.metered;
        if activity == self.told && !due && !self.peak_grew() {
            return None;
        }
        self.told = activity;
        self.told_totals = (self.metered, now);
        Some((activity, self.metered))
    }

    fn peak_grew(&self) -> bool {
        match (self.told_totals.0.peak_memory, self.metered.peak_memory) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(told), Some(now)) => now.get() > told.get() + told.get() / PEAK_PART,
        }
    }

    /// The totals as they stand, for the receipt; what was told of its use stays.
    pub(crate) fn last_words(&self) -> News {
        (self.told, self.metered)
    }
}

fn plus(sum: Millis, span: Millis) -> Millis {
    Millis::new(sum.get().saturating_add(span.get()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + seconds * 1000)
    }

    const fn seen(evidence: Evidence) -> Reading {
        Reading { evidence, memory: None }
    }

    fn tally(parts: usize) -> Tally {
        Tally::new(at(0), at(0), parts, Metered::default())
    }

    /// Readings of a lease of one slice, every two seconds, and what was told.
    fn told(readings: impl IntoIterator<Item = Evidence>) -> Vec<(u64, Activity)> {
        let mut tally = tally(1);
        let mut all = Vec::new();
        for (index, evidence) in readings.into_iter().enumerate() {
            let second = 2 * (index as u64 + 1);
            tally.note(at(second), 0, seen(evidence));
            if let Some((activity, _)) = tally.news(at(second), None) {
                all.push((second, activity));
            }
        }
        all
    }

    #[test]
    fn pauses_are_not_told_and_use_is_told_at_once() {
        use Evidence::{Busy, Idle};
        let flapping = (0..200).map(|n| if n % 5 == 0 { Busy } else { Idle });
        assert_eq!(told(flapping), [(2, Activity::Busy)]);
        let idle_then_busy = [Idle; 20].into_iter().chain([Busy]);
        assert_eq!(
            told(idle_then_busy),
            [(32, Activity::Idle { since: at(2) }), (42, Activity::Busy)]
        );
    }

    #[test]
    fn lost_evidence_ends_idleness_at_once() {
        use Evidence::{Idle, Unknown};
        let lost = [Idle; 20].into_iter().chain([Unknown]).chain([Idle; 17]);
        assert_eq!(
            told(lost),
            [
                (32, Activity::Idle { since: at(2) }),
                (42, Activity::Unknown),
                (74, Activity::Idle { since: at(44) }),
            ]
        );
    }

    #[test]
    fn a_lease_is_idle_only_if_every_slice_is_and_busy_if_one_is() {
        let mut tally = tally(2);
        tally.note(at(2), 0, seen(Evidence::Idle));
        assert_eq!(tally.judge(at(2)), Evidence::Unknown, "the other was not looked at");
        tally.note(at(3), 1, seen(Evidence::Idle));
        assert_eq!(tally.judge(at(3)), Evidence::Idle);
        tally.note(at(4), 1, seen(Evidence::Busy));
        assert_eq!(tally.judge(at(4)), Evidence::Busy);
        tally.note(at(5), 1, seen(Evidence::Unknown));
        assert_eq!(tally.judge(at(5)), Evidence::Unknown);
        tally.note(at(6), 1, seen(Evidence::Idle));
        assert_eq!(tally.judge(at(30)), Evidence::Unknown, "old readings say nothing");
    }

    #[test]
    fn time_is_added_up_where_there_was_evidence() {
        let mut tally = tally(1);
        for (second, evidence) in [
            (2, Evidence::Busy),
            (4, Evidence::Busy),
            (6, Evidence::Idle),
            (8, Evidence::Unknown),
            (10, Evidence::Idle),
            // The GPU did not answer for a while.
            (60, Evidence::Busy),
        ] {
            tally.note(at(second), 0, seen(evidence));
        }
        let metered = tally.last_words().1;
        assert_eq!((metered.busy, metered.observed), (Millis::from_secs(4), Millis::from_secs(8)));
    }

    #[test]
    fn the_peak_is_of_all_slices_together_and_told_when_it_grew() {
        let mut tally = tally(2);
        let with =
            |memory| Reading { evidence: Evidence::Unknown, memory: Some(MemoryMib::new(memory)) };
        tally.note(at(2), 0, with(1000));
        tally.note(at(3), 1, with(500));
        assert_eq!(tally.news(at(3), None).unwrap().1.peak_memory, Some(MemoryMib::new(1500)));
        tally.note(at(4), 0, with(1070));
        assert_eq!(tally.news(at(4), None), None, "less than a twentieth more");
        tally.note(at(5), 0, with(1200));
        assert_eq!(tally.news(at(5), None).unwrap().1.peak_memory, Some(MemoryMib::new(1700)));
        tally.note(at(6), 0, with(0));
        assert_eq!(tally.news(at(6), None), None);
        assert_eq!(tally.last_words().1.peak_memory, Some(MemoryMib::new(1700)));
    }

    #[test]
    fn totals_are_told_every_ten_minutes_and_short_limits_are_not_slept_through() {
        let mut tally = tally(1);
        for second in (2..700).step_by(2) {
            tally.note(at(second), 0, seen(Evidence::Busy));
            let news = tally.news(at(second), None);
            assert_eq!(news.is_some(), second == 2 || second == 602, "{second}");
        }
        tally.note(at(702), 0, seen(Evidence::Idle));
        assert_eq!(tally.news(at(702), Some(Millis::from_secs(4))), None);
        tally.note(at(704), 0, seen(Evidence::Idle));
        let news = tally.news(at(704), Some(Millis::from_secs(4)));
        assert_eq!(news.map(|news| news.0), Some(Activity::Idle { since: at(702) }));
    }
}
