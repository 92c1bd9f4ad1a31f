//! Leases that are over, and who used how much, from what the journal says.
//!
//! Must never show one user another's commands.

use std::collections::BTreeMap;

use api::{PastLease, UsageView};
use broker::{Event, Lease, Peer, Receipt, RequestSpec, StartEstimate};
use host::Users;
use jiff::tz::TimeZone;
use model::{LeaseId, Millis, NodeSnapshot, Timestamp};
use store::Closed;

use crate::views::{self, life};

const MS_PER_DAY: u64 = 86_400_000;

/// What the journal says of a lease that is over.
#[derive(Debug)]
pub(crate) struct Story<'a> {
    closed: &'a Closed,
    lease: LeaseId,
    pub(crate) spec: &'a RequestSpec,
    requested_at: Timestamp,
    granted_at: Option<Timestamp>,
    predicted: Option<StartEstimate>,
    /// Receipts of each time it had slices, oldest first, with when that was over.
    stints: Vec<(Timestamp, &'a Receipt)>,
    displaced: u32,
}

impl<'a> Story<'a> {
    /// Reads it; `None` if its request is not in the journal.
    pub(crate) fn of(closed: &'a Closed) -> Option<Self> {
        let first = closed.life.first()?;
        let Event::Requested { lease, spec, .. } = &first.event else { return None };
        let mut story = Self {
            closed,
            lease: *lease,
            spec,
            requested_at: first.at,
            granted_at: None,
            predicted: None,
            stints: Vec::new(),
            displaced: 0,
        };
        for event in closed.life.iter().chain([&closed.end]) {
            story.take(event.at, &event.event);
        }
        Some(story)
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "the reader brings these kinds alone")]
    fn take(&mut self, at: Timestamp, event: &'a Event) {
        match event {
            Event::Granted { .. } | Event::GrantedWhole { .. } => {
                self.granted_at.get_or_insert(at);
            }
            // What was said first is what is held against the start.
            Event::Predicted { start, .. } => {
                self.predicted.get_or_insert(*start);
            }
            Event::Displaced { receipt, .. } => {
                self.displaced += 1;
                self.stints.extend(receipt.as_ref().map(|receipt| (at, receipt)));
            }
            Event::Ended { receipt, .. } => {
                self.stints.extend(receipt.as_ref().map(|receipt| (at, receipt)));
            }
            _ => {}
        }
    }

    /// The lease as the wire shows it.
    pub(crate) fn view(&self, observed: &NodeSnapshot, by: Peer) -> Option<PastLease> {
        let Event::Ended { reason, .. } = &self.closed.end.event else { return None };
        let spec = self.spec;
        let own = by.admin || by.uid == spec.uid;
        let estimate = self.predicted.unwrap_or_default();
        let receipt = self.stints.last().map(|(_, last)| life::receipt(observed, spec, last));
        Some(PastLease {
            id: self.lease,
            name: spec.name.clone(),
            tenant: spec.tenant.to_string(),
            uid: spec.uid.get(),
            wish: spec.wish(),
            command: spec.command.clone().filter(|_| own),
            requested_at_ms: self.requested_at.as_millis(),
            granted_at_ms: self.granted_at.map(Timestamp::as_millis),
            ended_at_ms: self.closed.end.at.as_millis(),
            predicted_not_later_ms: estimate.not_later_than.map(Timestamp::as_millis),
            predicted_likely_ms: estimate.likely.map(Timestamp::as_millis),
            end: views::end_kind(reason),
            end_reason: reason.to_string(),
            displaced: self.displaced,
            receipt,
            asked: Some(views::asked::of(spec)),
            seq: self.closed.end.seq,
        })
    }
}

/// By what use is added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum By {
    /// Whom it is charged to.
    #[default]
    Tenant,
    /// Whose it was.
    User,
    /// When it was, by the days of the daemon's time zone.
    Day,
}

/// Adds up use since a moment.
#[derive(Debug)]
pub(crate) struct Sums {
    by: By,
    since: Timestamp,
    users: Users,
    zone: TimeZone,
    sums: BTreeMap<String, Sum>,
}

#[derive(Debug, Default)]
struct Sum {
    leases: u32,
    gpu: u64,
    idle: u64,
    observed: u64,
    waits: Vec<u64>,
}

impl Sums {
    pub(crate) fn new(by: By, since: Timestamp, zone: TimeZone) -> Self {
        Self { by, since, users: Users::load(), zone, sums: BTreeMap::new() }
    }

    /// Adds a lease that is over.
    pub(crate) fn add(&mut self, story: &Story<'_>) {
        for (until, receipt) in &story.stints {
            self.add_stint(story.spec, *until, receipt);
        }
        let key = self.key(story.spec, story.closed.end.at);
        let sum = self.sums.entry(key).or_default();
        sum.leases += 1;
        if let Some((_, receipt)) = story.stints.first() {
            sum.waits.push(receipt.waited.get());
        }
    }

    /// Adds a lease that runs.
    pub(crate) fn add_running(&mut self, observed: &NodeSnapshot, lease: &Lease, now: Timestamp) {
        if let Some(receipt) = broker::receipt::receipt(observed, lease, now) {
            self.add_stint(&lease.spec, now, &receipt);
        }
    }

    /// The time a lease had its slices, as far as it lies in the time asked for.
    fn add_stint(&mut self, spec: &RequestSpec, until: Timestamp, receipt: &Receipt) {
        let from = receipt.granted_at.max(self.since);
        let held = receipt.held.get().max(1);
        let parts = match self.by {
            By::Tenant | By::User => vec![(from, until)],
            By::Day => self.days(from, until),
        };
        for (from, until) in parts {
            let within = until.since(from);
            let part = |of: Millis| scaled(of, within, held);
            let gpu = part(receipt.gpu_time);
            let measured = receipt.metered;
            let idle = Millis::new(measured.observed.get().saturating_sub(measured.busy.get()));
            let key = self.key(spec, from);
            let sum = self.sums.entry(key).or_default();
            sum.gpu += gpu;
            sum.observed += scaled(measured.observed, Millis::new(gpu), held);
            sum.idle += scaled(idle, Millis::new(gpu), held);
        }
    }

    /// A time cut at midnights.
    fn days(&self, from: Timestamp, until: Timestamp) -> Vec<(Timestamp, Timestamp)> {
        let mut parts = Vec::new();
        let mut begin = from;
        while begin < until {
            let end = self.midnight_after(begin).min(until);
            parts.push((begin, end));
            begin = end;
        }
        parts
    }

    fn midnight_after(&self, at: Timestamp) -> Timestamp {
        let later = Timestamp::from_millis((at.as_millis() / MS_PER_DAY + 1) * MS_PER_DAY);
        let midnight = zoned(at, &self.zone).and_then(|at| {
            let next = at.tomorrow().ok()?.start_of_day().ok()?;
            u64::try_from(next.timestamp().as_millisecond()).ok()
        });
        midnight.map_or(later, Timestamp::from_millis).max(at.plus(Millis::new(1)))
    }

    fn key(&self, spec: &RequestSpec, at: Timestamp) -> String {
        match self.by {
            By::Tenant => spec.tenant.to_string(),
            By::User => self.users.label(spec.uid),
            By::Day => zoned(at, &self.zone)
                .map_or_else(String::new, |at| at.strftime("%Y-%m-%d").to_string()),
        }
    }

    /// The sums: by tenant and user the largest first, by day the oldest first.
    pub(crate) fn views(self) -> Vec<UsageView> {
        let all: u64 = self.sums.values().map(|sum| sum.gpu).sum();
        let view = |(who, sum): (String, Sum)| UsageView {
            who,
            leases: sum.leases,
            gpu_ms: sum.gpu,
            share_permille: scaled(Millis::new(1000), Millis::new(sum.gpu), all.max(1)) as u32,
            idle_gpu_ms: sum.idle,
            observed_gpu_ms: sum.observed,
            mean_wait_ms: sum.waits.iter().sum::<u64>() / (sum.waits.len() as u64).max(1),
            longest_wait_ms: sum.waits.iter().copied().max().unwrap_or(0),
        };
        let mut views: Vec<UsageView> = self.sums.into_iter().map(view).collect();
        if self.by != By::Day {
            views.sort_by(|one, other| other.gpu_ms.cmp(&one.gpu_ms).then(one.who.cmp(&other.who)));
        }
        views
    }
}

/// `of` times `part` through `whole`.
fn scaled(of: Millis, part: Millis, whole: u64) -> u64 {
    (u128::from(of.get()) * u128::from(part.get()) / u128::from(whole)) as u64
}

fn zoned(at: Timestamp, zone: &TimeZone) -> Option<jiff::Zoned> {
    let at = i64::try_from(at.as_millis()).ok()?;
    Some(jiff::Timestamp::from_millisecond(at).ok()?.to_zoned(zone.clone()))
}

#[cfg(test)]
mod tests {
    use broker::{EndReason, GpuSelector, Holder, Metered, Patience, Terms, Wanted};
    use model::{MemoryMib, Tenant, Uid};
    use store::Recorded;

    use super::*;

    const HOUR: u64 = 3_600_000;

    fn spec(uid: u32) -> RequestSpec {
        RequestSpec {
            tenant: Tenant::new(if uid < 10 { "vision" } else { "speech" }),
            uid: Uid::new(uid),
            wanted: Wanted::Profile("1g.5gb".parse().unwrap()),
            count: 1,
            gpu: GpuSelector::Any,
            time: None,
            expect: None,
            patience: Patience::Forever,
            name: None,
            holder: Holder::Token { life: Millis::from_secs(1) },
            command: Some("python secret.py".into()),
            terms: Terms::default(),
        }
    }

    const fn at(hours: u64) -> Timestamp {
        Timestamp::from_millis(hours * HOUR)
    }

    fn receipt(from: u64, held: u64, busy: u64, observed: u64) -> Receipt {
        Receipt {
            profiles: vec!["1g.5gb".parse().unwrap()],
            whole_gpus: 0,
            memory: MemoryMib::new(4864),
            granted_at: at(from),
            held: Millis::new(held * HOUR),
            waited: Millis::new(HOUR),
            gpu_time: Millis::new(held * HOUR / 8),
            metered: Metered {
                peak_memory: None,
                busy: Millis::new(busy * HOUR),
                observed: Millis::new(observed * HOUR),
            },
        }
    }

    fn closed(uid: u32, from: u64, held: u64) -> Closed {
        let lease = LeaseId::new(7);
        let event = |seq, hour, event| Recorded { seq, at: at(hour), event };
        let requested = Event::Requested { lease, spec: spec(uid), counts_as: None };
        let start = StartEstimate { not_later_than: Some(at(from + 1)), likely: None };
        let (reason, receipt) =
            (EndReason::Released, Some(receipt(from, held, held / 4, held / 2)));
        Closed {
            life: vec![
                event(1, from - 1, requested),
                event(2, from - 1, Event::Predicted { lease, start }),
                event(3, from, Event::Granted { lease, slices: vec![] }),
            ],
            end: event(9, from + held, Event::Ended { lease, reason, receipt }),
        }
    }

    fn sums(by: By, since: u64, all: &[Closed]) -> Vec<UsageView> {
        let mut sums = Sums::new(by, at(since), TimeZone::UTC);
        for closed in all {
            sums.add(&Story::of(closed).unwrap());
        }
        sums.views()
    }

    #[test]
    fn a_story_tells_what_was_promised_and_hides_others_commands() {
        let closed = closed(1, 10, 8);
        let observed = NodeSnapshot {
            taken_at: at(0),
            driver_version: String::new(),
            cuda_version: None,
            gpus: vec![],
        };
        let own = Peer { uid: Uid::new(1), admin: false };
        let view = Story::of(&closed).unwrap().view(&observed, own).unwrap();
        assert_eq!(view.granted_at_ms, Some(10 * HOUR));
        assert_eq!(view.predicted_not_later_ms, Some(11 * HOUR));
        assert_eq!((view.ended_at_ms, view.seq), (18 * HOUR, 9));
        assert_eq!(view.receipt.unwrap().gpu_ms, HOUR);
        assert!(view.command.is_some());
        let other = Peer { uid: Uid::new(2), admin: false };
        assert_eq!(Story::of(&closed).unwrap().view(&observed, other).unwrap().command, None);
    }

    #[test]
    fn use_is_added_up_and_cut_at_the_beginning() {
        let all = [closed(1, 10, 8), closed(2, 10, 16), closed(11, 10, 8)];
        let views = sums(By::Tenant, 0, &all);
        let found: Vec<_> =
            views.iter().map(|v| (v.who.as_str(), v.leases, v.gpu_ms, v.share_permille)).collect();
        assert_eq!(found, [("vision", 2, 3 * HOUR, 750), ("speech", 1, HOUR, 250)]);
        assert_eq!((views[1].observed_gpu_ms, views[1].idle_gpu_ms), (HOUR / 2, HOUR / 4));
        assert_eq!((views[0].mean_wait_ms, views[0].longest_wait_ms), (HOUR, HOUR));
        let late = sums(By::Tenant, 14, &all[..1]);
        assert_eq!(
            (late[0].gpu_ms, late[0].observed_gpu_ms),
            (HOUR / 2, HOUR / 4),
            "from 14 to 18"
        );
    }

    #[test]
    fn days_are_cut_at_midnight() {
        let views = sums(By::Day, 0, &[closed(1, 20, 16)]);
        let found: Vec<_> = views.iter().map(|v| (v.who.as_str(), v.leases, v.gpu_ms)).collect();
        assert_eq!(found, [("1970-01-01", 0, HOUR / 2), ("1970-01-02", 1, HOUR * 3 / 2)]);
    }
}
