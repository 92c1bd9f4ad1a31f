//! The order in which waiting requests are served.
//!
//! Rank first; of one rank, whoever asks for no more than its tenant is guaranteed; between tenants
//! the one that had the least of the machine lately for its weight; inside a tenant the highest age
//! for its size. Must never use a float: the order is
//! the same on every machine.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cmp::{Ordering, Reverse};

use model::{LeaseId, Millis, Tenant};

use crate::command::World;
use crate::policy::TenantRules;
use crate::quota::{self, Stake, WHOLE};
use crate::request::{RequestSpec, Wanted};
use crate::state::{Lease, Phase, State};
use crate::terms::Priority;

/// Charged in advance for every lease that is held or about to be, so that grants of one moment go
/// round between tenants instead of all to the one that had a second less. Long against the time
/// between two decisions, short against a working day.
const ADVANCE: Millis = Millis::from_secs(300);

/// The length of a request whose owner gave none. All requests without an estimate get the same,
/// so that among them only age and size count.
const UNKNOWN_LENGTH: Millis = Millis::from_secs(3600);

/// After this time a request counts one rank better, so that low rank means late and not never.
const RISES_AFTER: Millis = Millis::from_secs(24 * 3600);

/// A waiting request in its tenant's line.
#[derive(Debug)]
struct Place {
    id: LeaseId,
    age: u64,
    area: u128,
    /// What it asks for.
    stake: Stake,
}

impl Place {
    /// Highest age over area first; then the older one.
    fn order(&self, other: &Self) -> Ordering {
        let (mine, its) = (
            u128::from(self.age).saturating_mul(other.area),
            u128::from(other.age).saturating_mul(self.area),
        );
        its.cmp(&mine).then_with(|| self.id.cmp(&other.id))
    }
}

#[derive(Debug)]
struct Line {
    /// Which account.
    account: usize,
    /// The last is the next.
    waiting: Vec<Place>,
}

#[derive(Debug)]
struct Account<'a> {
    rules: &'a TenantRules,
    /// What the tenant has now.
    held: Stake,
    /// Thousandths of a GPU, times milliseconds.
    charged: u128,
}

impl Account<'_> {
    fn weight(&self) -> u128 {
        u128::from(self.rules.weight.max(1))
    }

    /// Whose turn it is of two tenants with these requests at the head of their lines.
    fn order(&self, head: &Place, other: &Self, others: &Place) -> Ordering {
        let owed = |account: &Self, head: &Place| {
            quota::is_guaranteed(account.rules, account.held, head.stake)
        };
        owed(other, others)
            .cmp(&owed(self, head))
            .then_with(|| {
                let (mine, its) = (self.charged, other.charged);
                mine.saturating_mul(other.weight()).cmp(&its.saturating_mul(self.weight()))
            })
            .then_with(|| (Reverse(head.age), head.id).cmp(&(Reverse(others.age), others.id)))
    }
}

/// The queue in the order of service, one request after the other.
#[derive(Debug)]
pub(crate) struct Turns<'a> {
    /// By rank, the best last.
    ranks: Vec<Vec<Line>>,
    accounts: Vec<Account<'a>>,
    last: Option<(usize, Stake)>,
}

impl<'a> Turns<'a> {
    /// Everybody who waits.
    pub(crate) fn new(state: &State, world: &World<'a>) -> Self {
        let mut ranks: BTreeMap<Priority, BTreeMap<usize, Vec<Place>>> = BTreeMap::new();
        let mut known: BTreeMap<&Tenant, usize> = BTreeMap::new();
        let mut accounts = Vec::new();
        let mut sizes: Vec<(Wanted, Stake)> = Vec::new();
        for lease in state.queue() {
            let tenant = &lease.spec.tenant;
            let stake = size(world, &lease.spec, &mut sizes);
            let number = *known.entry(tenant).or_insert_with(|| {
                accounts.push(account(state, world, tenant));
                accounts.len() - 1
            });
            let lines = ranks.entry(rank(lease, world)).or_default();
            lines.entry(number).or_default().push(place(lease, world, stake));
        }
        charge_running(state, world, &known, &mut accounts);
        let lines = |lines: BTreeMap<usize, Vec<Place>>| {
            let lines = lines.into_iter().map(|(account, mut waiting)| {
                waiting.sort_unstable_by(|a, b| b.order(a));
                Line { account, waiting }
            });
            lines.collect()
        };
        Self { ranks: ranks.into_values().map(lines).collect(), accounts, last: None }
    }

    /// Who is next.
    pub(crate) fn next(&mut self) -> Option<LeaseId> {
        while self.ranks.last().is_some_and(Vec::is_empty) {
            self.ranks.pop();
        }
        let lines = self.ranks.last_mut()?;
        let accounts = &self.accounts;
        let next = (0..lines.len()).min_by(|a, b| {
            let head = |line: &'_ usize| {
                let line = &lines[*line];
                accounts.get(line.account).zip(line.waiting.last())
            };
            match (head(a), head(b)) {
                (Some((a, mine)), Some((b, its))) => a.order(mine, b, its),
                _ => Ordering::Equal,
            }
        })?;
        let place = lines[next].waiting.pop()?;
        self.last = Some((lines[next].account, place.stake));
        if lines[next].waiting.is_empty() {
            lines.remove(next);
        }
        Some(place.id)
    }

    /// The one that was next got what it asked for, which changes whose turn it is.
    pub(crate) fn served(&mut self) {
        let Some((account, stake)) = self.last.take() else { return };
        if let Some(account) = self.accounts.get_mut(account) {
            account.held = account.held.plus(stake);
            account.charged += u128::from(stake.share) * u128::from(ADVANCE.get());
        }
    }
}

/// Waiting requests in the order of service, as if each were granted at its turn.
pub fn queue(state: &State, world: &World<'_>) -> Vec<LeaseId> {
    let mut turns = Turns::new(state, world);
    let mut order = Vec::new();
    while let Some(id) = turns.next() {
        turns.served();
        order.push(id);
    }
    order
}

/// The rank that counts: the one asked for, one better for each day of waiting.
fn rank(lease: &Lease, world: &World<'_>) -> Priority {
    let days = world.now.since(lease.requested_at).get() / RISES_AFTER.get();
    match (lease.spec.terms.priority, days) {
        (Priority::Low, 0) => Priority::Low,
        (Priority::Low, 1) | (Priority::Normal, 0) => Priority::Normal,
        (Priority::Low | Priority::Normal | Priority::High, _) => Priority::High,
    }
}

fn place(lease: &Lease, world: &World<'_>, stake: Stake) -> Place {
    let length = lease.spec.expect.or(lease.spec.time).unwrap_or(UNKNOWN_LENGTH);
    Place {
        id: lease.id,
        age: world.now.since(lease.requested_at).get(),
        area: u128::from(stake.share.max(1)).saturating_mul(u128::from(length.get().max(1))),
        stake,
    }
}

/// What a request takes on the first board that answers it.
fn size(world: &World<'_>, spec: &RequestSpec, known: &mut Vec<(Wanted, Stake)>) -> Stake {
    let found = known.iter().find(|(wanted, _)| *wanted == spec.wanted).map(|(_, stake)| *stake);
    let each = found.unwrap_or_else(|| {
        let mut gpus = world.observed.gpus.iter();
        let stake = gpus.find_map(|gpu| match spec.wanted {
            Wanted::WholeGpu => Some(Stake::of_gpu(gpu)),
            Wanted::Profile(_) | Wanted::Need(_) => {
                let profile = spec.wanted.on(gpu.geometry.as_deref()?).ok()?;
                Some(Stake::of_slice(gpu, profile.id))
            }
        });
        let stake = stake.unwrap_or_default();
        known.push((spec.wanted, stake));
        stake
    });
    each.times(spec.count)
}

/// What a tenant is charged for leases that have ended: each hour's charge counts half after a
/// half-life, a quarter after two.
fn account<'a>(state: &State, world: &World<'a>, tenant: &Tenant) -> Account<'a> {
    let half_life = world.policy.half_life;
    let past = state.usage.of(tenant).map(|(hour, charge)| {
        let age = world.now.since(hour.begin());
        u128::from(decayed(charge.get(), age, half_life)) * u128::from(WHOLE)
    });
    let rules = world.policy.tenant(tenant);
    Account { rules, held: Stake::default(), charged: past.sum() }
}

/// Adds what is charged for leases that are held, up to now and in advance.
fn charge_running(
    state: &State,
    world: &World<'_>,
    known: &BTreeMap<&Tenant, usize>,
    accounts: &mut [Account<'_>],
) {
    for lease in state.leases.values().filter(|lease| lease.phase != Phase::Queued) {
        let account = known.get(&lease.spec.tenant).and_then(|number| accounts.get_mut(*number));
        let Some(account) = account else { continue };
        let stake = quota::stake(state, world.observed, lease);
        let held = lease.granted_at.map_or(0, |at| {
            decayed_span(world.now.since(at).get(), world.policy.half_life.get().max(1))
        });
        account.held = account.held.plus(stake);
        account.charged += u128::from(stake.share) * u128::from(held.saturating_add(ADVANCE.get()));
    }
}

/// `charge` after `age`. Between whole half-lives along a straight line, which is at most 6 % above
/// the exponential.
fn decayed(charge: u64, age: Millis, half_life: Millis) -> u64 {
    let half_life = half_life.get().max(1);
    let (whole, part) = (age.get() / half_life, age.get() % half_life);
    if whole >= 64 {
        return 0;
    }
    let halved = u128::from(charge >> whole);
    (halved - halved * u128::from(part) / u128::from(half_life) / 2) as u64
}

/// The time from `held` ago until now, each moment of it counted as [`decayed`] would.
fn decayed_span(held: u64, half_life: u64) -> u64 {
    let (mut rest, mut sum, mut halvings) = (held, 0u64, 0);
    while rest > 0 && halvings < 32 {
        let span = rest.min(half_life);
        let lost = (u128::from(span) * u128::from(span) / (4 * u128::from(half_life))) as u64;
        sum = sum.saturating_add((span - lost) >> halvings);
        (rest, halvings) = (rest - span, halvings + 1);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_counts_half_after_a_half_life() {
        let day = Millis::from_secs(86_400);
        let after = |hours: u64| decayed(1_000_000, Millis::from_secs(hours * 3600), day);
        assert_eq!((after(0), after(24), after(48)), (1_000_000, 500_000, 250_000));
        assert!(after(12) > 707_000 && after(12) <= 750_000);
        assert_eq!(decayed(u64::MAX, Millis::from_secs(86_400 * 100), day), 0);
        assert_eq!(decayed(8, Millis::new(5), Millis::new(0)), 0);
    }

    #[test]
    fn a_running_lease_is_charged_like_its_hours_would_be() {
        let (hour, day) = (3_600_000u64, 86_400_000u64);
        let by_hours = |hours: u64| -> u64 {
            let half_life = Millis::new(day);
            (0..hours).map(|ago| decayed(hour, Millis::new(ago * hour + hour / 2), half_life)).sum()
        };
        for hours in [1, 23, 24, 25, 100, 336] {
            let (span, sum) = (decayed_span(hours * hour, day), by_hours(hours));
            assert!(span.abs_diff(sum) <= sum / 500, "{hours} h: {span} against {sum}");
        }
    }
}
