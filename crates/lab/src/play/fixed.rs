//! A machine whose layout is never changed, for comparison: whole GPUs, or slices cut beforehand.
//!
//! Must never be worse than its layout makes it: who waits is served in migd's own order, every
//! free slice is tried, the smallest that holds what is asked first, and a large slice holds several
//! small ones of one job.

use std::collections::BTreeMap;

use broker::event::Event;
use broker::{
    Activity, EndReason, GrantedSlice, Metered, Patience, Policy, RequestSpec, SliceKey, State,
    Wanted, World,
};
use model::{
    ComputeInstanceId, GpuInstanceId, GpuInstanceProfile, GpuInstanceProfileId, LeaseId, MemoryMib,
    MigUuid, NodeSnapshot, PlacedProfile, ProfileSelector, Timestamp,
};
use planner::{Forecast, Hold, Occupant, Planner, Room, Verdict, Want};

use super::column::{Blocked, Column, News, Trouble, Why};
use super::packing::Packing;
use super::work::{Work, answer};

/// What a profile takes, or is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    id: GpuInstanceProfileId,
    units: u32,
    slices: u32,
    plain: bool,
    memory: MemoryMib,
}

impl Shape {
    fn of(profile: &GpuInstanceProfile) -> Self {
        Self {
            id: profile.id,
            units: u32::from(profile.size.get()),
            slices: u32::from(profile.name.slices),
            plain: profile.name.attributes.is_plain(),
            memory: profile.memory,
        }
    }

    /// How many slices of another shape a part of this one holds.
    fn holds(&self, other: &Self) -> u32 {
        if self.id == other.id {
            return 1;
        }
        let by_size = (self.units / other.units.max(1)).min(self.slices / other.slices.max(1));
        if other.plain { by_size } else { 0 }
    }
}

#[derive(Debug, Clone)]
struct Part {
    gpu: usize,
    shape: Shape,
    granted: GrantedSlice,
    used_by: Option<usize>,
}

/// A request, and what it wants of each GPU.
#[derive(Debug, Clone)]
struct Asked {
    spec: RequestSpec,
    each: Vec<Option<Shape>>,
}

/// The machine and who waits.
pub(crate) struct Fixed<'a> {
    observed: &'a NodeSnapshot,
    packing: Option<Packing>,
    policy: &'a Policy,
    planner: &'a Planner,
    state: State,
    parts: Vec<Part>,
    ill: Vec<usize>,
    now: Timestamp,
    /// Requests and leases that are not over.
    live: BTreeMap<usize, (LeaseId, Asked)>,
    by_lease: BTreeMap<LeaseId, usize>,
    /// Whether what the layout never holds is refused, and not left to wait.
    refuses: bool,
    next: u64,
    news: Vec<(usize, News)>,
    stale: bool,
}

impl<'a> Fixed<'a> {
    /// The machine cut as the layouts say, one for each GPU; `None` if a profile is none of its
    /// GPU's.
    pub(crate) fn new(
        observed: &'a NodeSnapshot,
        policy: &'a Policy,
        planner: &'a Planner,
        layouts: &[Vec<PlacedProfile>],
        refuses: bool,
    ) -> Option<Self> {
        let mut parts = Vec::new();
        for (gpu, layout) in layouts.iter().enumerate() {
            let seen = observed.gpus.get(gpu)?;
            for (number, part) in layout.iter().enumerate() {
                let shape = Shape::of(seen.geometry.as_deref()?.profile(part.profile)?);
                let key = SliceKey { gpu: seen.uuid.clone(), placement: part.placement };
                let granted = GrantedSlice {
                    key,
                    profile: part.profile,
                    gpu_instance: GpuInstanceId::new(number as u32),
                    compute_instance: ComputeInstanceId::new(0),
                    uuid: MigUuid::new(format!("MIG-{gpu}-{number}")),
                };
                parts.push(Part { gpu, shape, granted, used_by: None });
            }
        }
        Some(Self {
            observed,
            packing: Packing::of(observed),
            policy,
            planner,
            state: State::default(),
            parts,
            ill: Vec::new(),
            now: Timestamp::default(),
            live: BTreeMap::new(),
            by_lease: BTreeMap::new(),
            refuses,
            next: 1,
            news: Vec::new(),
            stale: false,
        })
    }

    fn apply(&mut self, event: &Event) {
        self.state.apply(self.now, event);
    }

    fn waits(&self, index: usize) -> bool {
        let lease = self.live.get(&index).and_then(|(id, _)| self.state.lease(*id));
        lease.is_some_and(|lease| lease.granted_at.is_none())
    }

    fn end(&mut self, index: usize, reason: EndReason) {
        let Some((lease, _)) = self.live.remove(&index) else { return };
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
    fn place(&self, asked: &Asked) -> Option<Vec<usize>> {
        let count = asked.spec.count;
        let free = self
            .parts
            .iter()
            .enumerate()
            .filter(|(_, part)| part.used_by.is_none() && !self.ill.contains(&part.gpu));
        let mut fitting: Vec<(u32, usize)> = free
            .filter_map(|(at, part)| Some((part.shape.holds(asked.each[part.gpu].as_ref()?), at)))
            .filter(|(holds, _)| *holds > 0)
            .collect();
        fitting.sort_by_key(|(_, part)| {
            let shape = &self.parts[*part].shape;
            (shape.units, shape.slices, *part)
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
        let memory = |part: &Part| part.shape.memory.get();
        let has = |part: &&Part| {
            let user = part.used_by.and_then(|index| self.live.get(&index));
            user.is_some_and(|(_, asked)| asked.spec.tenant == *tenant)
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
            let Some((_, asked)) = self.live.get(&index) else { continue };
            let Some(parts) = self.place(asked) else { continue };
            if self.is_over_cap(&asked.spec.tenant, &parts) {
                continue;
            }
            let granted = parts.iter().map(|part| self.parts[*part].granted.clone()).collect();
            let held = parts.iter().map(|part| self.parts[*part].shape.units).sum();
            for part in parts {
                self.parts[part].used_by = Some(index);
            }
            self.apply(&Event::Granted { lease, slices: granted });
            self.news.push((index, News::Granted(held)));
        }
    }

    /// Whether what nobody has could be cut such that a request fits.
    fn fits_idle_room(&self, asked: &Asked) -> bool {
        let mut wanted = Vec::new();
        let rooms: Vec<Room> = (0..self.observed.gpus.len())
            .filter_map(|gpu| {
                let seen = &self.observed.gpus[gpu];
                let geometry = seen.geometry.clone()?;
                wanted.push(asked.each[gpu].map(|shape| shape.id));
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
        self.planner.could_ever_fit(&rooms, &Want::of(wanted), asked.spec.count) == Verdict::Now
    }

    fn fits_anyhow(&self, asked: &Asked) -> Option<bool> {
        let there = self.live.iter().filter(|(index, _)| !self.waits(**index));
        let there = there.map(|(_, (_, other))| &other.spec);
        let gpus = self.observed.gpus.len() - self.ill.len();
        self.packing.as_ref()?.fits(there.chain([&asked.spec]), gpus)
    }

    /// Whether the layout has enough that answers a request, whoever has it now.
    fn could_ever(&self, asked: &Asked) -> bool {
        let each = self
            .parts
            .iter()
            .filter_map(|part| Some(part.shape.holds(asked.each[part.gpu].as_ref()?)));
        each.sum::<u32>() >= asked.spec.count
    }

    /// What a request wants of each GPU. A whole GPU is the largest slice there is.
    fn asked(&self, mut spec: RequestSpec) -> Asked {
        let each = self.observed.gpus.iter().map(|gpu| {
            let meant = spec.gpu.matches(gpu);
            let geometry = gpu.geometry.as_deref().filter(|_| meant)?;
            answer(&spec.wanted, geometry).map(Shape::of)
        });
        let each: Vec<Option<Shape>> = each.collect();
        if spec.wanted == Wanted::WholeGpu
            && let Some(shape) = each.iter().flatten().next()
        {
            spec.wanted = Wanted::Profile(ProfileSelector::Id(shape.id));
        }
        Asked { spec, each }
    }
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
        let mut spec = work.spec.clone();
        let rules = self.policy.tenant(&spec.tenant);
        spec.time = spec.time.or(rules.default_time);
        spec.expect = spec.expect.or(rules.default_expect);
        self.serve_if_stale();
        let asked = self.asked(spec);
        let spec = asked.spec.clone();
        if self.refuses && !self.could_ever(&asked) {
            return (false, None);
        }
        let place = self.place(&asked);
        let cap = place.as_ref().is_some_and(|parts| self.is_over_cap(&spec.tenant, parts));
        let blocked = (cap || place.is_none()).then(|| Blocked {
            cap,
            idle_room: self.fits_idle_room(&asked),
            packing: self.fits_anyhow(&asked),
        });
        if blocked.is_some() && spec.patience == Patience::Immediate {
            return (false, blocked);
        }
        let lease = LeaseId::new(self.next);
        self.next += 1;
        self.live.insert(index, (lease, asked));
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
