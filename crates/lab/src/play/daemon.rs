//! migd itself: the room with its daemon, told what people do, and watched at every act.
//!
//! Must never spare the laws: they are checked after each act of the daemon.

use std::collections::BTreeMap;

use broker::{
    Activity, Command, EndReason, Event, Holder, Lease, Metered, NoticeReason, Peer, Phase, Reply,
    RequestSpec, SliceUse, StartEstimate, Wanted,
};
use model::{GpuUuid, Health, LeaseId, Millis, PlanId, ProcessId, Step, Timestamp};
use planner::{Room as Space, Verdict, Want};
use sim_gpu::{GpuHealth, Latencies, RecoveryAction};

use super::column::{Blocked, Column, News, Trouble, Why};
use super::packing::Packing;
use super::work::{Work, answer};
use crate::bench::Origin;
use crate::dst::laws;
use crate::processes::Habits;
use crate::room::Room;

/// How often the broker is told that time passed when nothing is due: while somebody waits, and
/// otherwise. What is due is due at its moment.
const TICKS: (Millis, Millis) = (Millis::from_secs(60), Millis::from_secs(300));

/// How often a lease that must end is looked at.
const LOOKS: Millis = Millis::from_secs(5);

/// Acts of daemon and executor after which the machine should have come to rest at one moment. A
/// grant takes some ten; a day's leases ending at once, a thousand.
const MOST_ACTS: usize = 20_000;

/// How many of the last of them are shown if it has not.
const SHOWN: usize = 200;

/// How the daemon is watched, and how fast its driver is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watch {
    /// Whether the laws are checked after every act, and not at the end alone.
    pub(crate) every_act: bool,
    /// How long driver calls take.
    pub(crate) latencies: Latencies,
}

impl Watch {
    /// Driver calls take no time; the laws are checked after every act.
    pub(crate) const CLOSELY: Self = Self { every_act: true, latencies: Latencies::ZERO };
}

/// What the daemon did, in numbers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) made: u64,
    pub(crate) destroyed: u64,
    pub(crate) plans_failed: u64,
    pub(crate) preempted: u64,
    pub(crate) moved: u64,
    pub(crate) reserved: u64,
    pub(crate) warned: u64,
    pub(crate) reclaimed: u64,
    pub(crate) events: u64,
    pub(crate) acts: u64,
    pub(crate) crashes: u32,
    pub(crate) laws_checked: u64,
    pub(crate) violations: Vec<String>,
    /// What waiting requests were told first, when they asked, and when they started.
    pub(crate) promises: Vec<Promise>,
}

impl Tally {
    /// Both together.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.made += other.made;
        self.destroyed += other.destroyed;
        self.plans_failed += other.plans_failed;
        self.preempted += other.preempted;
        self.moved += other.moved;
        self.reserved += other.reserved;
        self.warned += other.warned;
        self.reclaimed += other.reclaimed;
        self.events += other.events;
        self.acts += other.acts;
        self.crashes += other.crashes;
        self.laws_checked += other.laws_checked;
        self.violations.extend(other.violations);
        self.promises.extend(other.promises);
        self
    }
}

/// What a request was told when it began to wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Promise {
    pub(crate) told_at: Timestamp,
    pub(crate) told: StartEstimate,
    /// `None` if it never started.
    pub(crate) started: Option<Timestamp>,
}

/// A lease as its owner knows it.
struct Live {
    index: usize,
    client: ProcessId,
    commands: Vec<ProcessId>,
    promise: Option<Promise>,
    seen: Option<(Activity, Metered)>,
    gone: bool,
}

/// The room, and who has what in it.
pub(crate) struct Daemon {
    pub(crate) room: Room,
    /// Whether people agree to be stopped for others.
    stops: bool,
    watch: Watch,
    crashes: Vec<Timestamp>,
    live: BTreeMap<LeaseId, Live>,
    by_work: BTreeMap<usize, LeaseId>,
    /// The steps of plans that are open.
    plans: BTreeMap<PlanId, Vec<Step>>,
    looked: Timestamp,
    packing: Option<Packing>,
    /// It did not come to rest once; nothing more is asked of it.
    restless: bool,
    ill: Vec<usize>,
    news: Vec<(usize, News)>,
    /// Where new names come from: a name of a lease that must still end is taken.
    again: u32,
    pub(crate) tally: Tally,
}

impl Daemon {
    pub(crate) fn new(room: Room, stops: bool, watch: Watch, mut crashes: Vec<Timestamp>) -> Self {
        crashes.reverse();
        let looked = room.now;
        let packing = Packing::of(&room.observed);
        let tally = Tally::default();
        Self {
            room,
            stops,
            watch,
            crashes,
            live: BTreeMap::new(),
            by_work: BTreeMap::new(),
            plans: BTreeMap::new(),
            looked,
            packing,
            restless: false,
            ill: Vec::new(),
            news: Vec::new(),
            again: 0,
            tally,
        }
    }

    /// The end of the week: the last replay, and what was promised to those that still wait.
    pub(crate) fn finish(mut self) -> Tally {
        self.settle();
        self.room.replay();
        self.check();
        let left = self.live.into_values().filter_map(|live| live.promise);
        self.tally.promises.extend(left);
        self.tally.events = self.room.events;
        self.tally
    }

    fn check(&mut self) {
        self.tally.laws_checked += 1;
        while let Some((law, text)) = laws::broken(&mut self.room) {
            if self.tally.violations.len() < 100 {
                self.tally.violations.push(format!("{law}: {text}"));
            }
            if self.room.broken.is_empty() {
                break;
            }
        }
    }

    /// Everything that is under way comes to its end, one act after the other.
    fn settle(&mut self) {
        if self.restless {
            return;
        }
        let mut last: Vec<String> = Vec::new();
        for turn in 0..MOST_ACTS {
            if self.room.work() {
                self.tally.acts += 1;
            } else if !self.room.due.is_empty() {
                self.room.do_effect(0);
                self.tally.acts += 1;
            } else if let Some(at) =
                (0..self.room.running.len()).find(|at| self.room.may_advance(*at))
            {
                let takes = self.takes(at);
                self.room.advance(at, takes, Origin::Ours);
                self.tally.acts += 1;
                // The worst moment: a driver call was made and its record was not.
                if self.crashes.last().is_some_and(|at| *at <= self.room.now)
                    && self.room.running.iter().any(|running| running.execution.has_begun())
                {
                    self.crashes.pop();
                    self.crash();
                }
            } else {
                return;
            }
            if turn + SHOWN > MOST_ACTS {
                last.extend(self.room.fresh.iter().map(|seen| format!("{:?}", seen.event)));
            }
            self.hear();
            if self.watch.every_act {
                self.check();
            }
        }
        let text = "L6: what is left alone comes to rest: these events repeat themselves:\n  ";
        self.tally.violations.push(format!("{text}{}", last.join("\n  ")));
        self.restless = true;
    }

    /// How long the driver call takes that a plan makes next, if it makes one that takes time.
    fn takes(&self, at: usize) -> Option<Millis> {
        let latencies = &self.watch.latencies;
        let span = match self.room.next_step(at)? {
            Step::CreateGpuInstance { .. } => latencies.create_gpu_instance,
            Step::DestroyGpuInstance { .. } => latencies.destroy_gpu_instance,
            Step::CreateComputeInstance { .. } => latencies.create_compute_instance,
            Step::DestroyComputeInstance { .. } => latencies.destroy_compute_instance,
            Step::SetMigMode { .. } => latencies.set_mig_mode,
            Step::ResetGpu { .. } => latencies.reset,
        };
        (span.get() > 0).then_some(span)
    }

    fn crash(&mut self) {
        self.hear();
        self.tally.crashes += 1;
        if let Err(error) = self.room.crash() {
            self.tally.violations.push(format!("a daemon does not start again: {error}"));
        }
        let forgotten = self.live.keys().find(|id| self.room.state.lease(**id).is_none());
        if let Some(lease) = forgotten {
            let text = format!("L2: what was acknowledged survives a crash: {lease} is forgotten");
            self.tally.violations.push(text);
        }
        // The new daemon looks at the use of leases itself.
        let seen: Vec<_> =
            self.live.iter().filter_map(|(id, live)| Some((*id, live.seen?))).collect();
        for (lease, (activity, metered)) in seen {
            self.room.tell(Command::Measured { lease, activity, metered });
        }
    }

    fn hear(&mut self) {
        // Whoever answers what he hears makes news.
        while !self.room.fresh.is_empty() {
            for seen in std::mem::take(&mut self.room.fresh) {
                self.event(seen.event);
            }
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::PlanOpened { plan, steps, .. } => {
                self.plans.insert(plan, steps.steps);
            }
            Event::StepDone { plan, step, .. } => {
                match self.plans.get(&plan).and_then(|steps| steps.get(step as usize)) {
                    Some(Step::CreateGpuInstance { .. }) => self.tally.made += 1,
                    Some(Step::DestroyGpuInstance { .. }) => self.tally.destroyed += 1,
                    _ => {}
                }
            }
            Event::PlanFinished { plan } | Event::PlanAbandoned { plan } => {
                self.plans.remove(&plan);
            }
            Event::PlanFailed { plan, .. } => {
                self.plans.remove(&plan);
                self.tally.plans_failed += 1;
            }
            Event::Granted { lease, .. } | Event::GrantedWhole { lease, .. } => self.granted(lease),
            Event::Predicted { lease, start } => {
                let now = self.room.now;
                if let Some(live) = self.live.get_mut(&lease)
                    && live.promise.is_none()
                {
                    live.promise = Some(Promise { told_at: now, told: start, started: None });
                }
            }
            Event::Reserved { .. } => self.tally.reserved += 1,
            Event::Noticed { lease, notice } => {
                if matches!(notice.reason, NoticeReason::Idle { .. }) {
                    self.tally.warned += 1;
                } else {
                    self.agree(lease);
                }
            }
            Event::Ending { lease, reason } => self.ending(lease, &reason),
            Event::Displaced { lease, .. } => {
                self.tally.moved += 1;
                self.leave(lease);
            }
            Event::Ended { lease, reason, .. } => self.ended(lease, &reason),
            _ => {}
        }
    }

    fn agree(&mut self, id: LeaseId) {
        let Some(lease) = self.room.state.lease(id) else { return };
        if lease.spec.terms.restartable {
            let by = Peer { uid: lease.spec.uid, admin: false };
            // Refused if the notice was withdrawn meanwhile.
            let _ = self.room.ask(Command::Agree { lease: id, by });
        }
    }

    fn granted(&mut self, id: LeaseId) {
        let now = self.room.now;
        let Some(lease) = self.room.state.lease(id) else { return };
        let sizes = lease.slices.iter().map(|slice| u32::from(slice.key.placement.size.get()));
        let held = sizes.sum::<u32>() + lease.whole.iter().map(|gpu| self.grid(gpu)).sum::<u32>();
        let Some(live) = self.live.get_mut(&id) else { return };
        if let Some(mut promise) = live.promise.take() {
            promise.started = Some(now);
            self.tally.promises.push(promise);
        }
        let index = |gpu: &GpuUuid| self.room.bench.index(gpu);
        let slices = lease.slices.iter();
        let mut on: Vec<_> = slices
            .filter_map(|slice| Some((index(&slice.key.gpu)?, Some(slice.gpu_instance))))
            .collect();
        on.extend(lease.whole.iter().filter_map(|gpu| Some((index(gpu)?, None))));
        let work = live.index;
        let by = Peer { uid: lease.spec.uid, admin: false };
        let habits = Habits { listed: true, dies_of: Some(broker::Stage::Term) };
        if let Some(process) = self.room.bench.start(Some(id), &on, habits) {
            live.commands.push(process);
            self.room.alive.insert(process);
            self.room.tell(Command::Attach { lease: id, by, command: process });
        }
        self.news.push((work, News::Granted(held)));
    }

    /// Units of a GPU's grid.
    fn grid(&self, gpu: &GpuUuid) -> u32 {
        let geometry = self.room.observed.gpu(gpu).and_then(|seen| seen.geometry.as_deref());
        geometry.map_or(8, |geometry| u32::from(geometry.grid.get()))
    }

    /// The processes of a lease leave its slices.
    fn leave(&mut self, id: LeaseId) {
        let Some(live) = self.live.get_mut(&id) else { return };
        live.seen = None;
        for process in std::mem::take(&mut live.commands) {
            self.room.bench.stop(process.pid);
            self.room.alive.remove(&process);
        }
    }

    fn ending(&mut self, id: LeaseId, reason: &EndReason) {
        let Some(live) = self.live.get_mut(&id) else { return };
        let index = live.index;
        let news = match reason {
            EndReason::Released => return,
            EndReason::Moving(_) => News::Moving,
            EndReason::Idle { .. } => {
                self.tally.reclaimed += 1;
                News::Ended(Why::Idle)
            }
            EndReason::Preempted { .. } => {
                self.tally.preempted += 1;
                News::Ended(Why::Preempted)
            }
            other => News::Ended(why(other)),
        };
        if matches!(news, News::Ended(_)) {
            live.gone = true;
            self.by_work.remove(&index);
        }
        self.news.push((index, news));
    }

    fn ended(&mut self, id: LeaseId, reason: &EndReason) {
        self.leave(id);
        let Some(live) = self.live.remove(&id) else { return };
        self.room.exit(live.client);
        self.tally.promises.extend(live.promise);
        if !live.gone && *reason != EndReason::Released {
            self.by_work.remove(&live.index);
            self.news.push((live.index, News::Ended(why(reason))));
        }
    }

    fn look_everywhere(&mut self) {
        for gpu in self.room.bench.gpus().to_vec() {
            self.room.look(&gpu, false);
        }
        self.looked = self.room.now;
    }

    /// The room that nobody has, whoever it is kept for, and whether a request fits there.
    fn fits_idle_room(&self, spec: &RequestSpec) -> bool {
        let (state, observed) = (&self.room.state, &self.room.observed);
        let meant = |gpu: &GpuUuid| observed.gpu(gpu).is_some_and(|seen| spec.gpu.matches(seen));
        if spec.wanted == Wanted::WholeGpu {
            let free = observed.gpus.iter().filter(|gpu| {
                gpu.health == Health::Ok
                    && meant(&gpu.uuid)
                    && !state.quarantine.contains_key(&gpu.uuid)
                    && state.leases.values().all(|lease| !lease.is_on(&gpu.uuid))
                    && state.plans.values().all(|open| open.gpus().all(|on| *on != gpu.uuid))
            });
            return free.count() >= spec.count as usize;
        }
        let rooms: Vec<Space> = broker::rooms(state, observed);
        let select = |room: &Space| {
            let profile = spec.wanted.on(&room.geometry).ok().filter(|_| meant(&room.gpu));
            profile.map(|profile| profile.id)
        };
        let profiles = rooms.iter().map(select).collect();
        let want = Want { profiles, arrangement: spec.terms.arrangement.into() };
        self.room.planner.could_ever_fit(&rooms, &want, spec.count) == Verdict::Now
    }

    fn fits_anyhow(&self, spec: &RequestSpec) -> Option<bool> {
        let there = self.live.iter().filter(|(_, live)| !live.gone);
        let there = there.filter_map(|(id, _)| self.room.state.lease(*id));
        let there = there.filter(|lease| lease.phase != Phase::Queued).map(|lease| &lease.spec);
        let gpus = self.room.bench.gpus().len() - self.ill.len();
        self.packing.as_ref()?.fits(there.chain([spec]), gpus)
    }

    /// Whether the tenant's cap alone keeps a request waiting.
    fn is_over_cap(&self, spec: &RequestSpec) -> bool {
        let Some(cap) = self.room.policy.tenant(&spec.tenant).cap.memory else { return false };
        let state = &self.room.state;
        let geometry = self.room.observed.gpus.iter().find_map(|gpu| gpu.geometry.as_deref());
        let of = |spec: &RequestSpec| {
            let profile = geometry.and_then(|geometry| answer(&spec.wanted, geometry));
            profile.map_or(0, |profile| profile.memory.get()) * u64::from(spec.count)
        };
        let has = |lease: &&Lease| lease.spec.tenant == spec.tenant && lease.phase != Phase::Queued;
        let leases = self.live.keys().filter_map(|id| state.lease(*id)).filter(has);
        leases.map(|lease| of(&lease.spec)).sum::<u64>() + of(spec) > cap.get()
    }

    fn blocked(&self, spec: &RequestSpec) -> Blocked {
        Blocked {
            cap: self.is_over_cap(spec),
            idle_room: self.fits_idle_room(spec),
            packing: self.fits_anyhow(spec),
        }
    }

    /// What is due of one lease.
    fn due_of(&self, lease: &Lease, now: Timestamp) -> Vec<Option<Timestamp>> {
        let policy = &self.room.policy;
        match &lease.phase {
            Phase::Queued => vec![
                match lease.spec.patience {
                    broker::Patience::AtMost(span) => Some(lease.requested_at.plus(span)),
                    broker::Patience::Forever | broker::Patience::Immediate => None,
                },
                Some(lease.requested_at.plus(policy.drain_after)),
                Some(broker::room_is_due_at(policy, &self.room.observed, lease)),
            ],
            Phase::Granting { .. } => Vec::new(),
            Phase::Active { .. } => {
                let idle = match lease.activity {
                    Activity::Idle { since } => {
                        broker::idle_limit(policy, lease).map(|limit| since.plus(limit))
                    }
                    Activity::Busy | Activity::Unknown => None,
                };
                let notice = lease.notice.as_ref().map(|notice| notice.until);
                vec![lease.deadline(), notice, idle, lease.lingering_until]
            }
            Phase::Ending { since, .. } => {
                let soon = since.plus(policy.grace).plus(policy.grace) > now;
                vec![Some(now.plus(if soon { LOOKS } else { TICKS.0 }))]
            }
        }
    }
}

fn why(reason: &EndReason) -> Why {
    match reason {
        EndReason::Idle { .. } => Why::Idle,
        EndReason::Preempted { .. } => Why::Preempted,
        EndReason::TimeLimit => Why::TimeLimit,
        EndReason::GpuLost(_) | EndReason::SliceLost(_) | EndReason::HolderDied => Why::GpuLost,
        EndReason::WaitExpired => Why::WaitExpired,
        _ => Why::Other,
    }
}

impl Column for Daemon {
    fn pass(&mut self, to: Timestamp) {
        self.room.pass(to.since(self.room.now));
        if self.room.now.since(self.looked) >= TICKS.1 {
            self.look_everywhere();
        }
        self.settle();
    }

    fn due(&self, now: Timestamp) -> Option<Timestamp> {
        let state = &self.room.state;
        let waiting = state.queue().next().is_some();
        let mut due = vec![Some(now.plus(if waiting { TICKS.0 } else { TICKS.1 }))];
        due.extend(self.room.running.iter().map(|running| Some(running.stuck_until)));
        for lease in state.leases.values() {
            due.extend(self.due_of(lease, now));
        }
        for record in state.slices.values() {
            if let SliceUse::Warm { since } = record.used {
                due.push(Some(since.plus(self.room.policy.warm_for)));
            }
        }
        let attempts = state.prepared.values().chain(state.refusals.values());
        due.extend(attempts.map(|attempts| Some(attempts.due())));
        due.into_iter().flatten().filter(|at| *at > now).min()
    }

    fn ask(&mut self, index: usize, work: &Work) -> (bool, Option<Blocked>) {
        let client = self.room.new_process();
        let boot = self.room.boot_id();
        let holder = Holder::Process { boot, client, command: None };
        let mut spec = RequestSpec { holder, ..work.spec.clone() };
        spec.terms.preemptible &= self.stops;
        spec.terms.restartable &= self.stops;
        if let Some(name) = &spec.name {
            let taken =
                self.room.state.leases.values().any(|lease| lease.spec.name.as_ref() == Some(name));
            if taken {
                self.again += 1;
                spec.name = Some(format!("{name}-again{}", self.again));
            }
        }
        let blocked = self.blocked(&spec);
        match self.room.ask(Command::Request(spec)) {
            Ok(Reply::Lease(lease)) => {
                self.live.insert(
                    lease,
                    Live {
                        index,
                        client,
                        commands: Vec::new(),
                        promise: None,
                        seen: None,
                        gone: false,
                    },
                );
                self.by_work.insert(index, lease);
                self.settle();
                let waits =
                    self.room.state.lease(lease).is_some_and(|lease| lease.phase == Phase::Queued);
                (true, waits.then_some(blocked))
            }
            Ok(Reply::Done | Reply::Booking(_) | Reply::Change(_)) | Err(_) => {
                self.room.exit(client);
                (false, Some(blocked))
            }
        }
    }

    fn release(&mut self, index: usize) {
        let Some(id) = self.by_work.remove(&index) else { return };
        let Some(lease) = self.room.state.lease(id) else { return };
        let by = Peer { uid: lease.spec.uid, admin: false };
        self.leave(id);
        if let Err(error) = self.room.ask(Command::End { lease: id, by, holder: true }) {
            self.tally.violations.push(format!("{id} could not be released: {error:?}"));
        }
        if let Some(live) = self.live.get(&id) {
            let client = live.client;
            self.room.exit(client);
        }
        self.settle();
    }

    fn activity(&mut self, index: usize, activity: Activity, metered: Metered) {
        let Some(lease) = self.by_work.get(&index).copied() else { return };
        if let Some(live) = self.live.get_mut(&lease) {
            live.seen = Some((activity, metered));
        }
        self.room.tell(Command::Measured { lease, activity, metered });
        self.settle();
    }

    fn trouble(&mut self, gpu: usize, trouble: Trouble) {
        let (health, recovery) = match trouble {
            Trouble::Lost => (GpuHealth::Lost, RecoveryAction::NodeReboot),
            Trouble::Fails => (GpuHealth::ResetRequired, RecoveryAction::GpuReset),
            Trouble::Mended => (GpuHealth::Ok, RecoveryAction::None),
        };
        let Some(uuid) = self.room.bench.gpus().get(gpu).cloned() else { return };
        // Whoever is on it gets errors and ends.
        let state = &self.room.state;
        let hit = state.leases.values().filter(|lease| lease.is_on(&uuid)).map(|lease| lease.id);
        let hit: Vec<LeaseId> = hit.collect();
        for lease in hit {
            self.leave(lease);
        }
        let _ = self.room.bench.operate(|node, now| node.set_health(gpu, health, recovery, now));
        if trouble == Trouble::Mended {
            self.ill.retain(|ill| *ill != gpu);
            let held = self.room.state.leases.values().flat_map(|lease| &lease.slices);
            let gone: Vec<_> =
                held.filter(|s| s.key.gpu == uuid).map(|slice| slice.key.clone()).collect();
            if self.room.bench.host.reset_gpu(gpu).is_ok() {
                self.room.bench.attribute(gpu, Origin::Foreign);
                self.room.stolen.extend(gone);
            }
        } else {
            self.ill.push(gpu);
        }
        self.look_everywhere();
        self.settle();
    }

    fn news(&mut self) -> Vec<(usize, News)> {
        self.settle();
        std::mem::take(&mut self.news)
    }
}
