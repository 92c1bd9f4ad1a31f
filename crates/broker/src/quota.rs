//! What tenants have of the machine, and what their rules let them have.
//!
//! Must never let a tenant exceed its cap at any moment: grants under way count as granted.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use model::{GpuInstanceProfileId, GpuSnapshot, GpuUuid, LeaseId, MemoryMib, NodeSnapshot, Tenant};
use planner::{Room, Verdict, Want};

use crate::command::{Refusal, World};
use crate::policy::{Amount, TenantRules};
use crate::request::{RequestSpec, Wanted};
use crate::state::{Lease, Phase, State};
use crate::terms::Priority;
use crate::whole;

/// A whole GPU in the measure of [`Stake::share`].
pub(crate) const WHOLE: u64 = 1000;

/// A part of the machine, in the measures that rules use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stake {
    /// GPU instances; a whole GPU counts as the most it could be cut into.
    pub(crate) slices: u32,
    /// Usable memory.
    pub(crate) memory: MemoryMib,
    /// Thousandths of a GPU, by the placement grid: what nobody else can have meanwhile.
    pub(crate) share: u64,
}

impl Stake {
    pub(crate) const fn plus(self, other: Self) -> Self {
        Self {
            slices: self.slices.saturating_add(other.slices),
            memory: self.memory.saturating_add(other.memory),
            share: self.share.saturating_add(other.share),
        }
    }

    pub(crate) const fn times(self, count: u32) -> Self {
        Self {
            slices: self.slices.saturating_mul(count),
            memory: MemoryMib::new(self.memory.get().saturating_mul(count as u64)),
            share: self.share.saturating_mul(count as u64),
        }
    }

    /// A slice of this profile; nothing if the GPU does not offer it.
    pub(crate) fn of_slice(gpu: &GpuSnapshot, profile: GpuInstanceProfileId) -> Self {
        let Some(geometry) = gpu.geometry.as_deref() else { return Self::default() };
        let Some(profile) = geometry.profile(profile) else { return Self::default() };
        let grid = u64::from(geometry.grid.get().max(1));
        let share = WHOLE * u64::from(profile.size.get()) / grid;
        Self { slices: 1, memory: profile.memory, share }
    }

    /// The same with memory that nobody knows, which is too much for every bound.
    const fn of_unknown_memory(self) -> Self {
        Self { memory: MemoryMib::new(u64::MAX), ..self }
    }

    /// A whole GPU.
    pub(crate) fn of_gpu(gpu: &GpuSnapshot) -> Self {
        let most = gpu.geometry.as_deref().and_then(|geometry| {
            geometry.plain_profiles().map(|profile| profile.max_instances).max()
        });
        Self { slices: most.unwrap_or(1).max(1), memory: gpu.memory, share: WHOLE }
    }
}

/// What a lease has or is about to get; nothing for a request that waits.
pub(crate) fn stake(state: &State, observed: &NodeSnapshot, lease: &Lease) -> Stake {
    // A GPU that does not answer after a restart is not in the snapshot; what lies there is held
    // all the same, and counts as it would on another GPU of the machine. Only its memory is not
    // known: on another board the same profile has another.
    let slice = |gpu: &GpuUuid, profile| {
        let own = observed.gpu(gpu).map(|seen| Stake::of_slice(seen, profile));
        if let Some(known) = own.filter(|stake| stake.slices > 0) {
            return known;
        }
        let mut stakes = observed.gpus.iter().map(|gpu| Stake::of_slice(gpu, profile));
        let like = stakes.find(|stake| stake.slices > 0);
        like.unwrap_or(Stake { slices: 1, ..Stake::default() }).of_unknown_memory()
    };
    let whole = |gpus: &[GpuUuid]| {
        let stakes = gpus.iter().map(|gpu| match (observed.gpu(gpu), observed.gpus.first()) {
            (Some(seen), _) => Stake::of_gpu(seen),
            (None, Some(other)) => Stake::of_gpu(other).of_unknown_memory(),
            (None, None) => {
                Stake { slices: 1, share: WHOLE, ..Stake::default() }.of_unknown_memory()
            }
        });
        stakes.fold(Stake::default(), Stake::plus)
    };
    match &lease.phase {
        Phase::Queued => Stake::default(),
        Phase::Granting { plan } => {
            let Some(open) = state.plans.get(plan) else { return Stake::default() };
            let targets = open.targets.iter().map(|t| slice(&t.key.gpu, t.profile));
            targets.fold(whole(&open.whole), Stake::plus)
        }
        Phase::Active { .. } | Phase::Ending { .. } => {
            let slices = lease.slices.iter().map(|s| slice(&s.key.gpu, s.profile));
            slices.fold(whole(&lease.whole), Stake::plus)
        }
    }
}

/// What each tenant has, grants under way included.
pub(crate) fn stakes(state: &State, observed: &NodeSnapshot) -> BTreeMap<Tenant, Stake> {
    let mut stakes: BTreeMap<Tenant, Stake> = BTreeMap::new();
    for lease in state.leases.values().filter(|lease| lease.phase != Phase::Queued) {
        let stake = stake(state, observed, lease);
        match stakes.get_mut(&lease.spec.tenant) {
            Some(sum) => *sum = sum.plus(stake),
            None => {
                stakes.insert(lease.spec.tenant.clone(), stake);
            }
        }
    }
    stakes
}

/// What a request would take at most and at least, by the rooms it may go to.
pub(crate) fn asked(world: &World<'_>, spec: &RequestSpec, want: &Want, rooms: &[Room]) -> Asked {
    let slices = rooms.iter().enumerate().filter_map(|(index, room)| {
        Some(Stake::of_slice(world.observed.gpu(&room.gpu)?, want.profile(index)?))
    });
    let whole = spec.wanted == Wanted::WholeGpu;
    let gpus = world.observed.gpus.iter().filter(|gpu| whole && spec.gpu.matches(gpu));
    let each: Vec<Stake> = slices.chain(gpus.map(Stake::of_gpu)).collect();
    let by_memory = |stake: &&Stake| stake.memory;
    let least = each.iter().min_by_key(by_memory).copied().unwrap_or_default();
    let most = each.iter().max_by_key(by_memory).copied().unwrap_or_default();
    Asked { least: least.times(spec.count), most: most.times(spec.count) }
}

/// The range of what a request would take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) least: Stake,
    pub(crate) most: Stake,
}

/// Whether `stake` lies within every bound that binds.
pub(crate) fn within(amount: &Amount, stake: Stake) -> bool {
    amount.slices.is_none_or(|most| stake.slices <= most)
        && amount.memory.is_none_or(|most| stake.memory <= most)
}

const fn binds(amount: &Amount) -> bool {
    amount.slices.is_some() || amount.memory.is_some()
}

/// Whether a tenant has a guarantee.
pub(crate) const fn has_guarantee(rules: &TenantRules) -> bool {
    binds(&rules.guaranteed)
}

/// Whether a tenant that has `held` and asks for `more` asks for no more than it is guaranteed.
pub(crate) fn is_guaranteed(rules: &TenantRules, held: Stake, more: Stake) -> bool {
    binds(&rules.guaranteed) && within(&rules.guaranteed, held.plus(more))
}

/// The leases that lie within what their tenants are guaranteed, the oldest first. Nobody of
/// another tenant may drive these out: their holders would have a right to the room again at once.
pub(crate) fn covered(state: &State, world: &World<'_>) -> BTreeSet<LeaseId> {
    let mut covered = BTreeSet::new();
    let mut sums: BTreeMap<&Tenant, Stake> = BTreeMap::new();
    let held = state.leases.values().filter(|lease| {
        !matches!(lease.phase, Phase::Queued | Phase::Ending { .. })
            && has_guarantee(world.policy.tenant(&lease.spec.tenant))
    });
    let mut held: Vec<&Lease> = held.collect();
    held.sort_by_key(|lease| (lease.granted_at.unwrap_or(world.now), lease.id));
    for lease in held {
        let sum = sums.entry(&lease.spec.tenant).or_default();
        let with = sum.plus(stake(state, world.observed, lease));
        if within(&world.policy.tenant(&lease.spec.tenant).guaranteed, with) {
            *sum = with;
            covered.insert(lease.id);
        }
    }
    covered
}

/// Whether a tenant would exceed its cap.
pub(crate) fn over_cap(rules: &TenantRules, held: Stake, more: Stake) -> bool {
    binds(&rules.cap) && !within(&rules.cap, held.plus(more))
}

/// A bound in words: `4 slices`, `40,320 MiB`, `4 slices and 40,320 MiB`.
pub(crate) fn in_words(amount: &Amount) -> String {
    let slices = amount.slices.map(|count| match count {
        1 => "1 slice".to_string(),
        _ => alloc::format!("{count} slices"),
    });
    let memory = amount.memory.map(|memory| memory.to_string());
    let parts: Vec<String> = slices.into_iter().chain(memory).collect();
    parts.join(" and ")
}

/// Fills in what the tenant's rules say about a request, or refuses what they forbid.
pub(crate) fn resolve(world: &World<'_>, spec: &mut RequestSpec) -> Result<(), Refusal> {
    let rules = world.policy.tenant(&spec.tenant);
    let refuse = |what: String| Err(Refusal::NotAllowed { tenant: spec.tenant.to_string(), what });
    if spec.terms.priority > rules.max_priority {
        return refuse(alloc::format!("ask for {} priority", rank_word(spec.terms.priority)));
    }
    if let (Some(asked), Some(most)) = (spec.time, rules.max_time)
        && asked > most
    {
        return refuse(alloc::format!("ask for {asked}; the longest is {most}"));
    }
    let default = match (rules.default_time, rules.max_time) {
        (Some(default), Some(most)) => Some(default.min(most)),
        (default, most) => default.or(most),
    };
    spec.time = spec.time.or(default);
    spec.expect = spec.expect.or(rules.default_expect);
    if let (Some(expect), Some(time)) = (spec.expect, spec.time) {
        spec.expect = Some(expect.min(time));
    }
    Ok(())
}

/// Refuses a request that its tenant's cap can never hold: on a machine of several boards what it
/// takes depends on where it goes, and where it may go may have too little room.
pub(crate) fn refuse_over_cap(
    world: &World<'_>,
    spec: &RequestSpec,
    want: &Want,
    rooms: &[Room],
) -> Result<(), Refusal> {
    let rules = world.policy.tenant(&spec.tenant);
    if !binds(&rules.cap) {
        return Ok(());
    }
    let least = asked(world, spec, want, rooms).least;
    let has_room = || {
        let allowed = within_cap(world, spec, Stake::default(), want, rooms);
        match spec.wanted {
            Wanted::WholeGpu => whole::affordable(world, spec).len() >= spec.count as usize,
            Wanted::Profile(_) | Wanted::Need(_) => {
                let verdict = world.planner.could_ever_fit(rooms, &allowed, spec.count);
                !matches!(verdict, Verdict::Never { .. })
            }
        }
    };
    if over_cap(rules, Stake::default(), least) || !has_room() {
        return Err(Refusal::OverCap {
            asked: spec.wish(),
            tenant: spec.tenant.to_string(),
            cap: in_words(&rules.cap),
        });
    }
    Ok(())
}

/// The rank as people write it.
pub(crate) const fn rank_word(rank: Priority) -> &'static str {
    match rank {
        Priority::Low => "low",
        Priority::Normal => "normal",
        Priority::High => "high",
    }
}

/// The wish without the rooms whose profile would lead over what is left of the tenant's cap.
pub(crate) fn within_cap(
    world: &World<'_>,
    spec: &RequestSpec,
    held: Stake,
    want: &Want,
    rooms: &[Room],
) -> Want {
    let rules = world.policy.tenant(&spec.tenant);
    if !binds(&rules.cap) {
        return want.clone();
    }
    let profiles = rooms.iter().enumerate().map(|(index, room)| {
        let profile = want.profile(index)?;
        let more = Stake::of_slice(world.observed.gpu(&room.gpu)?, profile).times(spec.count);
        (!over_cap(rules, held, more)).then_some(profile)
    });
    Want { profiles: profiles.collect(), arrangement: want.arrangement }
}
