//! A machine whose layout is never changed, for comparison: whole GPUs, or slices cut beforehand.
//!
//! Must never be worse than its layout makes it: who waits is served in migd's own order, every
//! free slice is tried, the smallest that holds what is asked first, and a large slice holds several
//! small ones of one job.

use std::collections::BTreeMap;

use broker::event::Event;
use broker::{
    Activity, EndReason, GrantedSlice, Holder, Metered, Patience, Policy, RequestSpec, SliceKey,
    State, Wanted, World,
};
use model::{
    ComputeInstanceId, GpuInstanceId, LeaseId, MigUuid, NodeSnapshot, PlacedProfile,
    ProfileSelector, Timestamp,
};
use planner::{Forecast, Hold, Occupant, Planner, Room, Verdict, Want};

use super::column::{Blocked, Column, News, Trouble, Why};
use super::daemon::spec_of;
use super::packing::Sizes;
use super::work::{Work, units};

/// Compute slices of the parts of one GPU, largest first.
pub(crate) type Pattern = &'static [u8];

#[derive(Debug, Clone)]
struct Part {
    gpu: usize,
    slices: u8,
    granted: GrantedSlice,
    used_by: Option<usize>,
}

/// The machine and who waits.
pub(crate) struct Fixed<'a> {
    observed: &'a NodeSnapshot,
    policy: &'a Policy,
    planner: &'a Planner,
    state: State,
    parts: Vec<Part>,
    ill: Vec<usize>,
    now: Timestamp,
    /// Requests and leases that are not over.
    live: BTreeMap<usize, (LeaseId, RequestSpec, u8)>,
    by_lease: BTreeMap<LeaseId, usize>,
    next: u64,
    news: Vec<(usize, News)>,
    stale: bool,
}

impl<'a> Fixed<'a> {
    /// The machine cut as the patterns say, one for each GPU; `None` if a pattern is no layout.
    pub(crate) fn new(
        observed: &'a NodeSnapshot,
        policy: &'a Policy,
        planner: &'a Planner,
        patterns: &[Pattern],
    ) -> Option<Self> {
        let mut parts = Vec::new();
        for (gpu, pattern) in patterns.iter().enumerate() {
            for (number, (slices, part)) in
                layout(observed, planner, gpu, pattern)?.iter().enumerate()
            {
                let key =
                    SliceKey { gpu: observed.gpus[gpu].uuid.clone(), placement: part.placement };
                let granted = GrantedSlice {
                    key,
                    profile: part.profile,
                    gpu_instance: GpuInstanceId::new(number as u32),
                    compute_instance: ComputeInstanceId::new(0),
                    uuid: MigUuid::new(format!("MIG-{gpu}-{number}")),
                };
                parts.push(Part { gpu, slices: *slices, granted, used_by: None });
            }
        }
        Some(Self {
            observed,
            policy,
            planner,
            state: State::default(),
            parts,
            ill: Vec::new(),
            now: super::work::MONDAY,
            live: BTreeMap::new(),
            by_lease: BTreeMap::new(),
            next: 1,
            news: Vec::new(),
            stale: false,
        })
    }

    fn apply(&mut self, event: &Event) {
        self.state.apply(self.now, event);
    }

    fn waits(&self, index: usize) -> bool {
        let lease = self.live.get(&index).and_then(|(id, ..)| self.state.lease(*id));
        lease.is_some_and(|lease| lease.granted_at.is_none())
    }

    fn end(&mut self, index: usize, reason: EndReason) {
        let Some((lease, ..)) = self.live.remove(&index) else { return };
        self.by_lease.remove(&lease);
        let found = self.state.lease(lease);
        let receipt =
            found.and_then(|found| broker::receipt::receipt(self.observed, found, self.now));
        self.apply(&Event::Ended { lease, reason, receipt });
        for part in self.parts.iter_mut().filter(|part| part.used_by == Some(index)) {
            part.used_by = None;
        }
        self.stale = true;
    }

    /// The slices a request gets now: one that holds all of it, the smallest, or several.
    fn place(&self, slices: u8, count: u32) -> Option<Vec<usize>> {
        let free = |part: &&usize| {
            let part = &self.parts[**part];
            part.used_by.is_none() && !self.ill.contains(&part.gpu)
        };
        let all: Vec<usize> = (0..self.parts.len()).collect();
        let mut fitting: Vec<(u32, usize)> = all
            .iter()
            .filter(free)
            .map(|part| (holds(self.parts[*part].slices, slices), *part))
            .filter(|(holds, _)| *holds > 0)
            .collect();
        fitting.sort_by_key(|(_, part)| {
            let slices = self.parts[*part].slices;
            (units(slices), slices, *part)
        });
        if let Some((_, part)) = fitting.iter().find(|(holds, _)| *holds >= count) {
            return Some(vec![*part]);
        }
        let (mut chosen, mut left) = (Vec::new(), count);
        for (holds, part) in fitting {
            if left == 0 {
                break;
            }
            chosen.push(part);
            left = left.saturating_sub(holds);
        }
        (left == 0).then_some(chosen)
    }

    fn is_over_cap(&self, tenant: &model::Tenant, parts: &[usize]) -> bool {
        let Some(cap) = self.policy.tenant(tenant).cap.memory else { return false };
        let memory = |part: &Part| {
            let geometry = self.observed.gpus[part.gpu].geometry.as_deref();
            geometry.and_then(|g| g.profile(part.granted.profile)).map_or(0, |p| p.memory.get())
        };
        let has = |part: &&Part| {
            let user = part.used_by.and_then(|index| self.live.get(&index));
            user.is_some_and(|(_, spec, _)| spec.tenant == *tenant)
        };
        let held: u64 = self.parts.iter().filter(has).map(memory).sum();
        held + parts.iter().map(|part| memory(&self.parts[*part])).sum::<u64>() > cap.get()
    }

    fn serve(&mut self) {
        let forecast = Forecast::unknown();
        let world = World {
            observed: self.observed,
            policy: self.policy,
            planner: self.planner,
            forecast: &forecast,
            now: self.now,
            protected: false,
        };
        for lease in broker::queue(&self.state, &world) {
            let Some(index) = self.by_lease.get(&lease).copied() else { continue };
            let Some((_, spec, slices)) = self.live.get(&index) else { continue };
            let Some(parts) = self.place(*slices, spec.count) else { continue };
            if self.is_over_cap(&spec.tenant, &parts) {
                continue;
            }
            let granted = parts.iter().map(|part| self.parts[*part].granted.clone()).collect();
            let held = parts.iter().map(|part| units(self.parts[*part].slices)).sum();
            for part in parts {
                self.parts[part].used_by = Some(index);
            }
            self.apply(&Event::Granted { lease, slices: granted });
            self.news.push((index, News::Granted(held)));
        }
    }

    /// Whether what nobody has could be cut such that a request fits.
    fn fits_idle_room(&self, slices: u8, count: u32) -> bool {
        let mut wanted = Vec::new();
        let rooms: Vec<Room> = (0..self.observed.gpus.len())
            .filter_map(|gpu| {
                let seen = &self.observed.gpus[gpu];
                let geometry = seen.geometry.clone()?;
                let select = geometry.select(&ProfileSelector::Slices(slices));
                wanted.push(select.ok().map(|profile| profile.id));
                let held = self.parts.iter().filter(|p| p.gpu == gpu && p.used_by.is_some());
                let occupants = held.map(|part| Occupant {
                    part: PlacedProfile {
                        placement: part.granted.key.placement,
                        profile: part.granted.profile,
                    },
                    hold: Hold::Held,
                });
                Some(Room {
                    gpu: seen.uuid.clone(),
                    occupants: occupants.collect(),
                    usable: !self.ill.contains(&gpu),
                    geometry,
                    promised: Vec::new(),
                })
            })
            .collect();
        self.planner.could_ever_fit(&rooms, &Want::of(wanted), count) == Verdict::Now
    }

    fn fits_anyhow(&self, slices: u8, count: u32) -> bool {
        let mut sizes = Sizes::default();
        sizes.add(slices, count);
        for (index, (_, spec, slices)) in &self.live {
            if !self.waits(*index) {
                sizes.add(*slices, spec.count);
            }
        }
        sizes.fit_on((self.observed.gpus.len() - self.ill.len()) as u32)
    }
}

/// How many slices of one size a part holds.
const fn holds(part: u8, slices: u8) -> u32 {
    let (by_memory, by_compute) = (units(part) / units(slices), part / slices);
    if by_memory < by_compute as u32 { by_memory } else { by_compute as u32 }
}

/// Places for the parts of a pattern.
fn layout(
    observed: &NodeSnapshot,
    planner: &Planner,
    gpu: usize,
    pattern: Pattern,
) -> Option<Vec<(u8, PlacedProfile)>> {
    let geometry = observed.gpus.get(gpu)?.geometry.as_ref()?;
    let tables = planner.tables(geometry);
    let mut ways = vec![(tables.empty(), Vec::new())];
    for slices in pattern {
        let profile = geometry.select(&ProfileSelector::Slices(*slices)).ok()?.id;
        ways = ways
            .iter()
            .flat_map(|(class, parts)| {
                let tables = &tables;
                tables.parts_of(profile).filter_map(move |part| {
                    let next = tables.after(*class, part)?;
                    let mut parts: Vec<(u8, PlacedProfile)> = parts.clone();
                    parts.push((*slices, tables.part(part)));
                    Some((next, parts))
                })
            })
            .collect();
        ways.sort_by_key(|(class, _)| *class);
        ways.dedup_by_key(|(class, _)| *class);
    }
    ways.into_iter().next().map(|(_, parts)| parts)
}

impl Column for Fixed<'_> {
    fn pass(&mut self, to: Timestamp) {
        self.now = to;
        let over = |lease: &broker::Lease| match lease.spec.patience {
            Patience::AtMost(span) if lease.granted_at.is_none() => {
                (lease.requested_at.plus(span) <= to).then_some(Why::WaitExpired)
            }
            _ => lease.deadline().filter(|at| *at <= to).map(|_| Why::TimeLimit),
        };
        let leases = self.live.iter();
        let ended: Vec<(usize, Why)> = leases
            .filter_map(|(index, (id, ..))| Some((*index, over(self.state.lease(*id)?)?)))
            .collect();
        for (index, why) in ended {
            self.end(index, EndReason::TimeLimit);
            self.news.push((index, News::Ended(why)));
        }
    }

    fn due(&self, now: Timestamp) -> Option<Timestamp> {
        let limits = self.state.leases.values().filter_map(|lease| match lease.spec.patience {
            Patience::AtMost(span) if lease.granted_at.is_none() => {
                Some(lease.requested_at.plus(span))
            }
            _ => lease.deadline(),
        });
        limits.filter(|at| *at > now).min()
    }

    fn ask(&mut self, index: usize, work: &Work) -> (bool, Option<Blocked>) {
        let holder = Holder::Token { life: model::Millis::new(u64::MAX / 4) };
        let mut spec = spec_of(work, holder, true);
        if spec.wanted == Wanted::WholeGpu {
            spec.wanted = Wanted::Profile(ProfileSelector::Slices(7));
        }
        let rules = self.policy.tenant(&spec.tenant);
        spec.time = spec.time.or(rules.default_time);
        spec.expect = spec.expect.or(rules.default_expect);
        self.serve_if_stale();
        let place = self.place(work.slices, work.count);
        let cap = place.as_ref().is_some_and(|parts| self.is_over_cap(&spec.tenant, parts));
        let blocked = (cap || place.is_none()).then(|| Blocked {
            cap,
            idle_room: self.fits_idle_room(work.slices, work.count),
            packing: self.fits_anyhow(work.slices, work.count),
        });
        if blocked.is_some() && spec.patience == Patience::Immediate {
            return (false, blocked);
        }
        let lease = LeaseId::new(self.next);
        self.next += 1;
        self.live.insert(index, (lease, spec.clone(), work.slices));
        self.by_lease.insert(lease, index);
        self.apply(&Event::Requested { lease, spec, counts_as: None });
        self.stale = true;
        (true, blocked)
    }

    fn release(&mut self, index: usize) {
        self.end(index, EndReason::Released);
    }

    fn activity(&mut self, _: usize, _: Activity, _: Metered) {}

    fn trouble(&mut self, gpu: usize, trouble: Trouble) {
        self.stale = true;
        if trouble == Trouble::Mended {
            self.ill.retain(|ill| *ill != gpu);
            return;
        }
        self.ill.push(gpu);
        let hit = self.parts.iter().filter(|part| part.gpu == gpu).filter_map(|part| part.used_by);
        let mut hit: Vec<usize> = hit.collect();
        hit.sort_unstable();
        hit.dedup();
        for index in hit {
            self.end(index, EndReason::GpuLost(String::new()));
            self.news.push((index, News::Ended(Why::GpuLost)));
        }
    }

    fn news(&mut self) -> Vec<(usize, News)> {
        self.serve_if_stale();
        std::mem::take(&mut self.news)
    }
}

impl Fixed<'_> {
    fn serve_if_stale(&mut self) {
        if std::mem::take(&mut self.stale) {
            self.serve();
        }
    }
}
