//! The broker on a symbolic machine: journal, executor, watches and looks, one small act at a time.
//!
//! Must never help the broker along: effects are carried out as the daemon does and no further.

use std::collections::BTreeSet;

use broker::event::Stamped;
use broker::{
    ChangeEvent, Command, Decision, Effect, Emptiness, Event, Peer, Policy, Refusal, SliceKey,
    State, World, decide,
};
use model::{BootId, GpuUuid, LeaseId, Millis, NodeSnapshot, ProcessId, Timestamp, Uid};
use planner::{Forecast, Planner};

use super::executor::{Running, gpus_of};
use super::{Advance, FIRST_PID, Machine, Origin, check};

pub(crate) const PEER_ADMIN: Peer = Peer { uid: Uid::new(0), admin: true };

pub(crate) const fn peer(uid: u32) -> Peer {
    Peer { uid: Uid::new(uid), admin: false }
}

/// Broker, journal, machine.
pub(crate) struct Rig {
    pub(crate) state: State,
    /// The journal folded a second time, each event read back from its JSON.
    pub(crate) shadow: State,
    pub(crate) journal: Vec<Stamped>,
    pub(crate) machine: Machine,
    pub(crate) observed: NodeSnapshot,
    pub(crate) policy: Policy,
    pub(crate) planner: Planner,
    pub(crate) forecast: Forecast,
    pub(crate) now: Timestamp,
    pub(crate) boot: u32,
    pub(crate) running: Vec<Running>,
    /// Effects other than plans that were not carried out yet.
    pub(crate) due: Vec<Effect>,
    pub(crate) watched: BTreeSet<(LeaseId, ProcessId)>,
    pub(crate) alive: BTreeSet<ProcessId>,
    /// Every signal ever sent.
    pub(crate) signals: Vec<(LeaseId, broker::Stage)>,
    /// GPUs that others touched since they were last looked at.
    pub(crate) stale: BTreeSet<GpuUuid>,
    /// Leased slices others destroyed, until the broker notices.
    pub(crate) stolen: BTreeSet<SliceKey>,
    pub(crate) next_pid: u32,
    /// Whether now is an hour in which idle leases are left alone.
    pub(crate) protected: bool,
    /// Notices sent to processes, in order.
    pub(crate) notified: Vec<(LeaseId, broker::NoticeSignal)>,
    /// Units that were stopped and not started again.
    pub(crate) stopped: BTreeSet<String>,
}

impl Rig {
    pub(crate) fn new(boards: &[&str]) -> Self {
        Self::with(Machine::new(boards), Policy { drain_lengths: 0, ..Policy::default() })
    }

    /// A daemon that has just started on a machine.
    pub(crate) fn with(machine: Machine, policy: Policy) -> Self {
        let mut planner = Planner::new();
        for gpu in &machine.node.gpus {
            if let Some(geometry) = &gpu.geometry {
                planner.learn(geometry);
            }
        }
        Self::with_planner(machine, policy, planner)
    }

    pub(crate) fn with_planner(machine: Machine, policy: Policy, planner: Planner) -> Self {
        let mut rig = Self {
            state: State::default(),
            shadow: State::default(),
            journal: Vec::new(),
            observed: machine.node.clone(),
            machine,
            policy,
            planner,
            forecast: Forecast::unknown(),
            now: Timestamp::from_millis(1_000_000),
            boot: 1,
            running: Vec::new(),
            due: Vec::new(),
            watched: BTreeSet::new(),
            alive: BTreeSet::new(),
            signals: Vec::new(),
            stale: BTreeSet::new(),
            stolen: BTreeSet::new(),
            next_pid: FIRST_PID,
            protected: false,
            notified: Vec::new(),
            stopped: BTreeSet::new(),
        };
        rig.started();
        rig
    }

    pub(crate) fn world(&self) -> World<'_> {
        World {
            observed: &self.observed,
            policy: &self.policy,
            planner: &self.planner,
            forecast: &self.forecast,
            now: self.now,
            protected: self.protected,
        }
    }

    pub(crate) fn boot_id(&self) -> BootId {
        BootId::new(format!("boot-{}", self.boot))
    }

    pub(crate) fn new_process(&mut self) -> ProcessId {
        self.next_pid += 1;
        let process = ProcessId { pid: self.next_pid, start_ticks: u64::from(self.next_pid) };
        self.alive.insert(process);
        process
    }

    /// A command of the daemon itself, which is never refused.
    pub(crate) fn own(&mut self, command: Command) {
        self.command(command).expect("the daemon's own commands are not refused");
    }

    /// Decides, journals, takes the effects, and checks what must hold after every event.
    pub(crate) fn command(&mut self, command: Command) -> Result<Decision, Refusal> {
        // The shadow stands for the state before the command: they were equal.
        let mut state = std::mem::take(&mut self.state);
        let result = decide(&mut state, &self.world(), command);
        self.state = state;
        match &result {
            Ok(decision) => {
                for event in &decision.events {
                    self.record(Stamped { at: self.now, event: event.clone() });
                }
                assert_eq!(self.shadow, self.state, "the journal folds to another state");
                for effect in &decision.effects {
                    self.take(effect.clone());
                }
            }
            Err(refusal) => {
                assert_eq!(self.shadow, self.state, "a refused command left a trace: {refusal}");
            }
        }
        check(self);
        result
    }

    fn record(&mut self, stamped: Stamped) {
        let text = serde_json::to_string(&stamped).expect("events are JSON");
        let back: Stamped = serde_json::from_str(&text).expect("events are read back");
        assert_eq!(back, stamped, "{text}");
        if let Event::SliceGone { key, .. } = &back.event {
            self.stolen.remove(key);
        }
        if let Event::SliceAdopted { slice } = &back.event {
            self.adopt(&slice.key);
        }
        if let Event::Change(ChangeEvent::Stands { gpu, .. }) = &back.event {
            self.disown(gpu);
        }
        self.shadow.apply(back.at, &back.event);
        self.journal.push(stamped);
        if self.journal.len().is_multiple_of(64) {
            let text = serde_json::to_string(&self.shadow).expect("a state is JSON");
            let back: State = serde_json::from_str(&text).expect("a state is read back");
            assert_eq!(back, self.shadow);
        }
    }

    /// What a change made, or what lay on a GPU that was fixed or handed back, is ours from here on.
    fn adopt(&mut self, key: &SliceKey) {
        let mut earlier = self.journal.iter().rev().map(|stamped| &stamped.event);
        let first = earlier.find(|event| !matches!(event, Event::SliceAdopted { .. }));
        let given = matches!(first, Some(Event::Change(
            ChangeEvent::Fixed { gpu, .. } | ChangeEvent::HandedBack { gpu }
        )) if *gpu == key.gpu);
        if let Some(origin) = self.machine.origins.get_mut(key)
            && (given || *origin == Origin::Hand)
        {
            *origin = Origin::Ours;
        }
    }

    /// What a change left where it was not wanted is told of, and nobody's any more.
    fn disown(&mut self, gpu: &GpuUuid) {
        let orphan = |key: &SliceKey| self.state.orphans.iter().any(|left| left.key == *key);
        let known = |key: &SliceKey| self.state.slices.contains_key(key) || orphan(key);
        for (key, origin) in &mut self.machine.origins {
            if key.gpu == *gpu && *origin == Origin::Ours && !known(key) {
                *origin = Origin::Hand;
            }
        }
    }

    fn take(&mut self, effect: Effect) {
        let Effect::Execute { id, plan } = effect else {
            self.due.push(effect);
            return;
        };
        let open = self.state.plans.get(&id);
        let open = open.map(|open| (open.targets.clone(), open.whole.clone()));
        let (targets, whole) = open.unwrap_or_default();
        let disturbed = gpus_of(&plan, &targets, &whole).iter().any(|gpu| self.stale.contains(gpu));
        self.running.push(Running { id, plan, targets, whole, proof: None, done: 0, disturbed });
    }

    /// An event that a command of another kind would have led to.
    pub(crate) fn inject(&mut self, event: Event) {
        self.state.apply(self.now, &event);
        self.record(Stamped { at: self.now, event });
    }

    /// Somebody else touched a GPU.
    pub(crate) fn disturb(&mut self, gpu: &GpuUuid) {
        self.stale.insert(gpu.clone());
        for running in &mut self.running {
            running.disturbed |= running.gpus().contains(gpu);
        }
    }

    /// Carries out one of the due effects.
    pub(crate) fn do_effect(&mut self, at: usize) {
        match self.due.remove(at) {
            Effect::Execute { .. } | Effect::WatchContainer { .. } => {}
            Effect::StopUnits { change, units } => {
                self.stopped.extend(units);
                self.own(Command::UnitsStopped { change, trouble: Vec::new() });
            }
            Effect::StartUnits { change, units } => {
                self.stopped.retain(|unit| !units.contains(unit));
                self.own(Command::UnitsStarted { change, trouble: Vec::new() });
            }
            Effect::Watch { lease, process } => {
                self.watched.insert((lease, process));
                if !self.alive.contains(&process) {
                    self.report_exit(process);
                }
            }
            Effect::Notify { lease, signal } => self.notified.push((lease, signal)),
            Effect::Signal { lease, stage } => {
                self.signals.push((lease, stage));
                let gpus: Vec<GpuUuid> =
                    self.machine.node.gpus.iter().map(|gpu| gpu.uuid.clone()).collect();
                self.machine.signal(lease, stage);
                self.stale.extend(gpus);
            }
            Effect::Look { lease } => {
                let Some(held) = self.state.lease(lease) else { return };
                let found = Emptiness { held_by: self.machine.holders(held) };
                self.own(Command::Looked { lease, found });
            }
        }
    }

    fn report_exit(&mut self, process: ProcessId) {
        let leases: Vec<LeaseId> =
            self.watched.iter().filter(|(_, p)| *p == process).map(|(lease, _)| *lease).collect();
        self.watched.retain(|(_, watched)| *watched != process);
        for lease in leases {
            self.own(Command::HolderExited { lease, process });
        }
    }

    /// A process that holds a lease ends.
    pub(crate) fn exit(&mut self, process: ProcessId) {
        self.alive.remove(&process);
        self.machine.stop(process.pid);
        self.report_exit(process);
    }

    /// GPUs whose looks count: those no plan is at work on.
    pub(crate) fn look_at(&mut self, only: Option<&[GpuUuid]>) -> bool {
        let open = self.state.plans.values();
        let busy: BTreeSet<GpuUuid> =
            open.flat_map(|open| gpus_of(&open.plan, &open.targets, &open.whole)).collect();
        let mut news = false;
        for known in &mut self.observed.gpus {
            let meant = only.is_none_or(|only| only.contains(&known.uuid));
            if !meant || (only.is_none() && busy.contains(&known.uuid)) {
                continue;
            }
            let real = self.machine.node.gpu(&known.uuid).expect("the same GPUs");
            news |= known != real;
            known.clone_from(real);
            self.stale.remove(&known.uuid);
        }
        news
    }

    /// The observer looks at every GPU.
    pub(crate) fn observe(&mut self) {
        if self.look_at(None) {
            self.own(Command::Observed);
        }
    }

    pub(crate) fn tick(&mut self, span: Millis) {
        self.now = self.now.plus(span);
        self.own(Command::Tick);
    }

    /// The daemon dies and another takes over.
    pub(crate) fn crash(&mut self) {
        let mut state = State::default();
        for stamped in &self.journal {
            state.apply(stamped.at, &stamped.event);
        }
        assert_eq!(state, self.state, "replay differs");
        self.doubt();
        self.state = state;
        self.running.clear();
        self.due.clear();
        self.watched.clear();
        self.started();
    }

    /// What others made just where a step was under way cannot be told from ours after a crash.
    fn doubt(&mut self) {
        for open in self.state.plans.values() {
            let under_way = open.plan.steps.get(open.done.len());
            for (key, origin) in &mut self.machine.origins {
                if *origin == Origin::Foreign
                    && under_way.is_some_and(|step| step.names(&key.gpu, key.placement))
                {
                    *origin = Origin::Doubtful;
                }
            }
        }
    }

    /// The machine restarts.
    pub(crate) fn reboot(&mut self) {
        self.machine.reboot();
        self.restarted();
    }

    /// The daemon starts after a restart of the machine.
    pub(crate) fn restarted(&mut self) {
        self.stolen.clear();
        self.alive.clear();
        self.boot += 1;
        self.crash();
    }

    fn started(&mut self) {
        self.observed = self.machine.node.clone();
        self.stale.clear();
        let (version, boot) = ("0.1.0".into(), self.boot_id());
        self.own(Command::Started { version, boot, numbers_from: 1 });
    }

    /// Everything that is under way comes to rest; time stands still.
    pub(crate) fn settle(&mut self) {
        for _ in 0..10_000 {
            if !self.due.is_empty() {
                self.do_effect(0);
            } else if let Some(at) = (0..self.running.len()).find(|at| self.may_advance(*at)) {
                self.advance(at, Advance::Well);
            } else if self.look_at(None) {
                self.own(Command::Observed);
            } else {
                return;
            }
        }
        panic!("nothing comes to rest: {:?}", self.state);
    }
}
