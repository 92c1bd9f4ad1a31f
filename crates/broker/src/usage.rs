//! What tenants used, by the hour, and what was asked for, by the day.
//!
//! Must never weigh or forget by a rule of the owner: whoever decides does that with these figures.
//! What is older than [`KEPT_HOURS`] is dropped, whatever the rules.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use model::{Millis, ProfileName, Tenant, Timestamp};
use serde::{Deserialize, Serialize};

/// Two weeks: long enough that a weekly rhythm is seen twice.
pub const KEPT_HOURS: u64 = 14 * 24;
const MS_PER_HOUR: u64 = 3_600_000;
const HOURS_PER_DAY: u64 = 24;

/// Hours since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hour(u64);

impl Hour {
    /// The hour in which `at` lies.
    pub const fn of(at: Timestamp) -> Self {
        Self(at.as_millis() / MS_PER_HOUR)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// When it begins.
    pub const fn begin(self) -> Timestamp {
        Timestamp::from_millis(self.0 * MS_PER_HOUR)
    }
}

/// Charges and demand of the last two weeks. Shared between copies of the state: it is large and
/// changes only when a lease begins or ends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage(Arc<Figures>);

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Figures {
    charges: BTreeMap<Tenant, Arc<BTreeMap<Hour, Millis>>>,
    demand: BTreeMap<u64, BTreeMap<ProfileName, u32>>,
}

impl Usage {
    /// Charges `gpu_time` to a tenant, spread evenly from `from` to `to`.
    pub fn charge(&mut self, tenant: &Tenant, from: Timestamp, to: Timestamp, gpu_time: Millis) {
        let figures = Arc::make_mut(&mut self.0);
        let oldest = Hour::of(to).0.saturating_sub(KEPT_HOURS);
        let hours = Arc::make_mut(figures.charges.entry(tenant.clone()).or_default());
        let held = u128::from(to.since(from).get().max(1));
        for hour in Hour::of(from).0.max(oldest)..=Hour::of(to).0 {
            let (begin, end) = (hour * MS_PER_HOUR, (hour + 1) * MS_PER_HOUR);
            let within = to.as_millis().min(end).saturating_sub(from.as_millis().max(begin));
            // A lease of no length lies in one hour altogether.
            let part = if from == to { held } else { u128::from(within) };
            let share = (u128::from(gpu_time.get()) * part / held) as u64;
            let charge = hours.entry(Hour(hour)).or_insert(Millis::new(0));
            *charge = Millis::new(charge.get().saturating_add(share));
        }
        let aged = |hours: &&mut Arc<BTreeMap<Hour, Millis>>| {
            hours.first_key_value().is_some_and(|(hour, _)| hour.0 < oldest)
        };
        for hours in figures.charges.values_mut().filter(aged) {
            Arc::make_mut(hours).retain(|hour, _| hour.0 >= oldest);
        }
        figures.charges.retain(|_, hours| !hours.is_empty());
    }

    /// Counts a request.
    pub fn count(&mut self, at: Timestamp, profile: ProfileName) {
        let figures = Arc::make_mut(&mut self.0);
        let day = Hour::of(at).0 / HOURS_PER_DAY;
        let count = figures.demand.entry(day).or_default().entry(profile).or_insert(0);
        *count = count.saturating_add(1);
        let oldest = day.saturating_sub(KEPT_HOURS / HOURS_PER_DAY);
        figures.demand.retain(|day, _| *day >= oldest);
    }

    /// GPU time charged to a tenant, by the hour, oldest first. Leases that have not ended are not
    /// in it.
    pub fn of(&self, tenant: &Tenant) -> impl Iterator<Item = (Hour, Millis)> + '_ {
        let hours = self.0.charges.get(tenant).map(AsRef::as_ref);
        hours.into_iter().flatten().map(|(hour, charge)| (*hour, *charge))
    }

    /// Tenants that were charged lately.
    pub fn tenants(&self) -> impl Iterator<Item = &Tenant> {
        self.0.charges.keys()
    }

    /// Requests counted by profile, day by day: days before the day of `now`, and the counts.
    pub fn demand(&self, now: Timestamp) -> impl Iterator<Item = (u64, ProfileName, u32)> + '_ {
        let today = Hour::of(now).0 / HOURS_PER_DAY;
        self.0.demand.iter().flat_map(move |(day, counts)| {
            counts.iter().map(move |(name, count)| (today.saturating_sub(*day), *name, *count))
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn hours(count: u64) -> Timestamp {
        Timestamp::from_millis(count * MS_PER_HOUR)
    }

    #[test]
    fn a_charge_is_spread_over_the_hours_it_was_held() {
        let (mut usage, ann) = (Usage::default(), Tenant::new("ann"));
        let from = Timestamp::from_millis(100 * MS_PER_HOUR + MS_PER_HOUR / 2);
        usage.charge(&ann, from, hours(102), Millis::new(3_000));
        let found: Vec<(u64, u64)> = usage.of(&ann).map(|(h, c)| (h.get(), c.get())).collect();
        assert_eq!(found, [(100, 1_000), (101, 2_000), (102, 0)]);
        usage.charge(&ann, hours(100), hours(100), Millis::new(7));
        assert_eq!(usage.of(&ann).next(), Some((Hour(100), Millis::new(1_007))));
    }

    #[test]
    fn what_is_older_than_two_weeks_is_dropped() {
        let (mut usage, ann, bob) = (Usage::default(), Tenant::new("ann"), Tenant::new("bob"));
        usage.charge(&ann, hours(10), hours(11), Millis::new(5));
        usage.charge(&bob, hours(10), hours(1_000), Millis::new(990_000));
        assert_eq!(usage.tenants().collect::<Vec<_>>(), [&bob]);
        assert_eq!(usage.of(&bob).count() as u64, KEPT_HOURS + 1);
        let profile: ProfileName = "1g.5gb".parse().unwrap();
        usage.count(hours(24), profile);
        usage.count(hours(24 * 10), profile);
        let found: Vec<_> = usage.demand(hours(24 * 11)).collect();
        assert_eq!(found, [(10, profile, 1), (1, profile, 1)]);
        usage.count(hours(24 * 20), profile);
        assert_eq!(usage.demand(hours(24 * 20)).count(), 2);
    }
}
