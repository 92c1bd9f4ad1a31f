//! A daemon on a bench: the actor's order of things, executions act by act, effects, crashes.
//!
//! Must never decide what the broker decides, nor do a step that the executor does not do: it owns
//! only the order in which things happen, as threads and time do for a daemon.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use broker::event::Stamped;
use broker::{
    ChangeEvent, Command, Effect, Emptiness, Event, Fixed, Policy, Refusal, Reply, SliceKey, State,
    World, decide,
};
use executor::{Execution, Looks, Machine as _, Progress, look_or_distrust};
use model::{
    BootId, ChangeId, Geometry, GpuShape, GpuSnapshot, GpuUuid, Health, LeaseId, MemoryMib,
    NodeSnapshot, PlanId, ProcessId, Purpose, Timestamp,
};
use planner::{Forecast, Planner};

use crate::bench::{Bench, BenchError, Origin};
use crate::dst::laws;

/// Commands decided before one commit, as in the daemon.
const BATCH: usize = 64;

/// What lies in the actor's inbox.
#[derive(Debug)]
enum Letter {
    /// A command of the daemon's own; it is never given up.
    Own(Command),
    /// A step's outcome; its execution waits until it is written.
    Step(PlanId, Command),
    /// A GPU was looked at; the epoch is that of when the look began.
    Observed(u64, Box<GpuSnapshot>),
}

/// A plan in the executor's hands.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) execution: Execution,
    /// Whether it holds its GPUs.
    pub(crate) begun: bool,
    /// A step's outcome is not written yet.
    waits: bool,
    /// The driver call that is under way does not come back before this.
    pub(crate) stuck_until: Timestamp,
    /// What the call that did not come back has already done.
    withheld: Option<Progress>,
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotDone {
    /// The broker said no.
    Refused(Refusal),
    /// It could not be written down.
    DiskFull,
}

/// A unit that the system says it cannot stop.
pub(crate) const STUBBORN_UNIT: &str = "stubborn.service";

/// An event that nobody has looked at yet.
#[derive(Debug, Clone)]
pub struct Seen {
    /// When it was decided.
    pub at: Timestamp,
    /// Whether the hours were protected then.
    pub protected: bool,
    /// What happened.
    pub event: Event,
}

/// What an act broke: the law, and what was seen.
pub(crate) type Broken = (&'static str, String);

/// A daemon and its machine.
#[derive(Debug)]
pub struct Room {
    /// The machine.
    pub bench: Bench,
    /// The daemon's state.
    pub state: Arc<State>,
    /// Events since the last replay, oldest first.
    pub journal: Vec<Stamped>,
    /// The state at the start of `journal`.
    pub(crate) replayed: State,
    /// The daemon's picture of the machine.
    pub observed: NodeSnapshot,
    /// The owner's rules.
    pub policy: Policy,
    pub(crate) planner: Planner,
    /// What is likely to be asked for.
    pub forecast: Forecast,
    /// The time.
    pub now: Timestamp,
    /// When the daemon last looked at the clock.
    pub ticked: Timestamp,
    /// Whether the hours are protected, in which no idle lease is taken.
    pub protected: bool,
    pub(crate) boot: u32,
    /// Whether the journal takes nothing.
    pub disk_full: bool,
    pub(crate) running: Vec<Running>,
    pub(crate) due: VecDeque<Effect>,
    inbox: VecDeque<Letter>,
    /// Looks that are done and not told yet.
    pub(crate) late: Vec<(u64, GpuSnapshot)>,
    looks: Looks,
    /// Geometries as this daemon's driver read them, and the planner's own that equal them.
    geometries: Vec<(Arc<Geometry>, Arc<Geometry>)>,
    /// What every GPU that was ever seen offers, and its memory.
    pub(crate) boards: BTreeMap<GpuUuid, (Arc<Geometry>, MemoryMib)>,
    watched: BTreeSet<(LeaseId, ProcessId)>,
    pub(crate) alive: BTreeSet<ProcessId>,
    /// Leased slices that others destroyed, until the broker notices.
    pub(crate) stolen: BTreeSet<SliceKey>,
    /// GPUs as they were when an open plan of a change was made.
    pub(crate) shapes: BTreeMap<PlanId, GpuShape>,
    /// Units that changes stopped and did not start again.
    pub(crate) stopped: BTreeSet<String>,
    /// GPUs that do not answer.
    pub(crate) hung: BTreeSet<GpuUuid>,
    /// Broken laws that were seen in passing.
    pub(crate) broken: Vec<Broken>,
    /// Events ever written.
    pub events: u64,
    /// Events that nobody has looked at yet, oldest first; whoever does takes them out.
    pub fresh: Vec<Seen>,
}

impl Room {
    /// A daemon that has just started on a machine.
    ///
    /// # Errors
    /// If the machine's driver does not start.
    pub fn new(bench: Bench, policy: Policy, planner: Planner) -> Result<Self, BenchError> {
        let mut room = Self {
            bench,
            state: Arc::default(),
            journal: Vec::new(),
            replayed: State::default(),
            observed: empty_node(),
            policy,
            planner,
            forecast: Forecast::unknown(),
            now: Timestamp::from_millis(1_000_000),
            ticked: Timestamp::default(),
            protected: false,
            boot: 1,
            disk_full: false,
            running: Vec::new(),
            due: VecDeque::new(),
            inbox: VecDeque::new(),
            late: Vec::new(),
            looks: Looks::default(),
            geometries: Vec::new(),
            boards: BTreeMap::new(),
            watched: BTreeSet::new(),
            alive: BTreeSet::new(),
            stolen: BTreeSet::new(),
            shapes: BTreeMap::new(),
            stopped: BTreeSet::new(),
            hung: BTreeSet::new(),
            broken: Vec::new(),
            events: 0,
            fresh: Vec::new(),
        };
        room.bench.set_now(room.now);
        room.started()?;
        Ok(room)
    }

    /// The boot it runs in.
    pub fn boot_id(&self) -> BootId {
        BootId::new(format!("boot-{}", self.boot))
    }

    /// What a decision depends on.
    pub fn world(&self) -> World<'_> {
        World {
            observed: &self.observed,
            policy: &self.policy,
            planner: &self.planner,
            forecast: &self.forecast,
            now: self.now,
            protected: self.protected,
        }
    }

    /// A process that may hold a lease.
    pub fn new_process(&mut self) -> ProcessId {
        let process = self.bench.new_pid();
        self.alive.insert(process);
        process
    }

    /// Somebody asks the daemon for something and waits for the answer. What lies in the inbox
    /// already is decided before it.
    ///
    /// # Errors
    /// [`NotDone`]; then nothing changed.
    pub fn ask(&mut self, command: Command) -> Result<Reply, NotDone> {
        while self.inbox.len() >= BATCH {
            self.work();
        }
        self.work_and(Some(command)).unwrap_or(Err(NotDone::DiskFull))
    }

    /// The actor decides and commits what lies in its inbox, at most a batch of it. Whether there
    /// was anything.
    pub fn work(&mut self) -> bool {
        let any = !self.inbox.is_empty();
        self.work_and(None);
        any
    }

    fn work_and(&mut self, asked: Option<Command>) -> Option<Result<Reply, NotDone>> {
        let count = self.inbox.len().min(BATCH);
        let letters: Vec<Letter> = self.inbox.drain(..count).collect();
        let mut batch: Vec<(Command, Option<PlanId>)> = Vec::new();
        for letter in letters {
            match letter {
                Letter::Own(command) => batch.push((command, None)),
                Letter::Step(plan, command) => batch.push((command, Some(plan))),
                Letter::Observed(epoch, gpu) => {
                    if self.learn(epoch, *gpu) {
                        batch.push((Command::Observed, None));
                    }
                }
            }
        }
        if self.disk_full {
            // Decided and not committed: nothing changed, and the daemon's own part is tried again.
            let own = batch
                .into_iter()
                .filter(|(command, _)| !matches!(command, Command::Tick | Command::Observed));
            let again: Vec<Letter> = own
                .map(|(command, step)| match step {
                    Some(plan) => Letter::Step(plan, command),
                    None => Letter::Own(command),
                })
                .collect();
            for letter in again.into_iter().rev() {
                self.inbox.push_front(letter);
            }
            return asked.map(|_| Err(NotDone::DiskFull));
        }
        let mut effects: Vec<Effect> = Vec::new();
        let mut written = Vec::new();
        for (command, step) in batch {
            if let Err(refusal) = self.decide(command.clone(), &mut effects) {
                let text = format!("{command:?} was refused: {refusal}");
                self.broken.push(("the daemon's own commands are not refused", text));
            }
            written.extend(step);
        }
        let answer = asked.map(|command| self.decide(command, &mut effects));
        for plan in written {
            if let Some(running) = self.running.iter_mut().find(|r| r.execution.id() == plan) {
                running.waits = false;
            }
        }
        for effect in effects {
            self.run(effect);
        }
        answer.map(|answer| answer.map_err(NotDone::Refused))
    }

    fn decide(&mut self, command: Command, effects: &mut Vec<Effect>) -> Result<Reply, Refusal> {
        let world = World {
            observed: &self.observed,
            policy: &self.policy,
            planner: &self.planner,
            forecast: &self.forecast,
            now: self.now,
            protected: self.protected,
        };
        let ticks = matches!(command, Command::Tick);
        let decision = decide(Arc::make_mut(&mut self.state), &world, command)?;
        if ticks {
            self.ticked = self.now;
        }
        for event in decision.events {
            self.note(&event);
            self.events += 1;
            let (at, protected) = (self.now, self.protected);
            self.fresh.push(Seen { at, protected, event: event.clone() });
            self.journal.push(Stamped { at: self.now, event });
        }
        for effect in decision.effects {
            if !effects.contains(&effect) {
                effects.push(effect);
            }
        }
        Ok(decision.reply)
    }

    fn note(&mut self, event: &Event) {
        match event {
            Event::PlanOpened { steps, targets, whole, .. } => {
                let reused = targets.iter().map(|target| &target.key.gpu).chain(whole);
                self.looks.opened(steps.gpus().into_iter().chain(reused));
                if let Purpose::Grant(lease) = &steps.purpose {
                    self.count_demand(*lease);
                }
            }
            Event::PlanFinished { plan } | Event::PlanFailed { plan, .. } => {
                self.shapes.remove(plan);
                self.looks.ended(&self.state);
            }
            Event::PlanAbandoned { plan } => {
                self.shapes.remove(plan);
            }
            Event::Change(ChangeEvent::Opened { plan, before, .. }) => {
                self.shapes.insert(*plan, before.clone());
            }
            Event::Change(ChangeEvent::Fixed { gpu, fixed }) => self.taken_over(gpu, fixed),
            Event::SliceGone { key, .. } => {
                self.stolen.remove(key);
            }
            _ => {}
        }
    }

    /// What lies on a GPU when it is fixed is lent from here on, or when the GPU is handed back.
    fn taken_over(&mut self, gpu: &GpuUuid, fixed: &Fixed) {
        let on_it = self.bench.origins.values_mut().filter(|made| made.key.gpu == *gpu);
        for made in on_it.filter(|made| made.origin == Origin::Foreign) {
            if fixed.instances.iter().any(|there| there.placement == made.key.placement) {
                made.origin = Origin::Hand;
            }
        }
    }

    fn count_demand(&mut self, lease: LeaseId) {
        let Some(lease) = self.state.lease(lease) else { return };
        let geometries = self.observed.gpus.iter().filter_map(|gpu| gpu.geometry.as_deref());
        let names = geometries.filter_map(|geometry| lease.spec.wanted.on(geometry).ok());
        if let Some(profile) = names.map(|profile| profile.name).next() {
            self.forecast.count(profile);
        }
    }

    fn learn(&mut self, epoch: u64, mut gpu: GpuSnapshot) -> bool {
        if !self.looks.is_news(epoch, &gpu.uuid) {
            return false;
        }
        self.learn_geometry(&mut gpu);
        match self.observed.gpus.iter_mut().find(|known| known.uuid == gpu.uuid) {
            Some(known) if *known == gpu => return false,
            Some(known) => *known = gpu,
            None => {
                self.observed.gpus.push(gpu);
                self.observed.gpus.sort_by_key(|gpu| gpu.index);
            }
        }
        true
    }

    /// Has the planner learn the geometry of a GPU, and puts the planner's own in its place, so that
    /// later comparisons are done by address: every driver reads one of its own.
    fn learn_geometry(&mut self, gpu: &mut GpuSnapshot) {
        let Some(read) = gpu.geometry.as_mut() else { return };
        if let Some((_, known)) = self.geometries.iter().find(|(seen, _)| Arc::ptr_eq(seen, read)) {
            *read = Arc::clone(known);
        } else {
            self.planner.learn(read);
            if let Some(known) = self.planner.known(read) {
                self.geometries.push((Arc::clone(read), Arc::clone(known)));
                *read = Arc::clone(known);
            }
        }
        let known = self.boards.get(&gpu.uuid);
        if !known.is_some_and(|(known, memory)| Arc::ptr_eq(known, read) && *memory == gpu.memory) {
            self.boards.insert(gpu.uuid.clone(), (Arc::clone(read), gpu.memory));
        }
    }

    fn run(&mut self, effect: Effect) {
        match effect {
            Effect::Execute { id, plan } => self.running.push(Running {
                execution: Execution::new(id, plan, Arc::clone(&self.state)),
                begun: false,
                waits: false,
                stuck_until: Timestamp::default(),
                withheld: None,
            }),
            effect => {
                if !self.due.contains(&effect) {
                    self.due.push_back(effect);
                }
            }
        }
    }

    /// Whether the executor may work on this plan now: it holds its GPUs or nobody does, its last
    /// outcome is written, and no driver call of it hangs.
    pub(crate) fn may_advance(&self, at: usize) -> bool {
        let own = &self.running[at];
        if own.waits || own.stuck_until > self.now {
            return false;
        }
        let hangs = |gpu: &GpuUuid| self.hung.contains(gpu);
        if own.execution.gpus().iter().any(hangs) {
            return false;
        }
        own.begun
            || self.running.iter().enumerate().all(|(index, other)| {
                let apart = !own.execution.resets()
                    && !other.execution.resets()
                    && other.execution.gpus().iter().all(|gpu| !own.execution.gpus().contains(gpu));
                index == at || !other.begun || apart
            })
    }

    /// One act of the executor. `stuck` is how long its driver call does not come back.
    pub(crate) fn advance(&mut self, at: usize, stuck: Option<model::Millis>, maker: Origin) {
        let gpus: Vec<GpuUuid> = self.running[at].execution.gpus().to_vec();
        self.running[at].begun = true;
        let plan = self.running[at].execution.id();
        let by_hand = self.state.change_of(plan).map(|(change, _)| (change, plan));
        let maker = if by_hand.is_some() && maker == Origin::Ours { Origin::Hand } else { maker };
        if self.state.is_late(plan) && self.running[at].withheld.is_none() {
            let done = self.state.plans.get(&plan).map_or(0, |open| open.done.len());
            let step = u32::try_from(done).ok().and_then(|done| done.checked_sub(1));
            let error = "it came back too late".to_owned();
            self.end_plan(at, &gpus, Command::PlanFailed { plan, step, error });
            return;
        }
        let progress = if let Some(progress) = self.running[at].withheld.take() {
            progress
        } else {
            let next = self.next_step(at);
            let progress = self.running[at].execution.advance(&self.bench);
            self.attribute(&gpus, next.as_ref(), maker, by_hand);
            if let Progress::Finished(slices) = &progress {
                self.granted_as_it_stands(slices);
            }
            if let Some(stuck) = stuck {
                self.running[at].stuck_until = self.now.plus(stuck);
                self.running[at].withheld = Some(progress);
                return;
            }
            progress
        };
        let id = self.running[at].execution.id();
        match progress {
            Progress::Proven => {}
            Progress::Commit { step, outcome } => {
                self.running[at].waits = true;
                let command = Command::StepDone { plan: id, step, outcome };
                self.inbox.push_back(Letter::Step(id, command));
            }
            Progress::Finished(slices) => {
                self.end_plan(at, &gpus, Command::PlanFinished { plan: id, slices });
            }
            Progress::Failed { step, error } => {
                self.end_plan(at, &gpus, Command::PlanFailed { plan: id, step, error });
            }
        }
    }

    /// The step that the next act does, if it does one.
    pub(crate) fn next_step(&self, at: usize) -> Option<model::Step> {
        let running = &self.running[at];
        let done = self.state.plans.get(&running.execution.id())?.done.len();
        running.execution.has_begun().then(|| running.execution.plan().steps.get(done).cloned())?
    }

    fn end_plan(&mut self, at: usize, gpus: &[GpuUuid], command: Command) {
        self.running.remove(at);
        for gpu in gpus {
            if let Some(seen) = look_or_distrust(&self.bench, &self.observed, gpu) {
                self.inbox.push_back(Letter::Observed(u64::MAX, Box::new(seen)));
            }
        }
        self.inbox.push_back(Letter::Own(command));
    }

    /// Notes what an act of the executor made, and checks what it took away.
    fn attribute(
        &mut self,
        gpus: &[GpuUuid],
        step: Option<&model::Step>,
        maker: Origin,
        by_hand: Option<(ChangeId, PlanId)>,
    ) {
        for gpu in gpus {
            let Some(index) = self.bench.index(gpu) else { continue };
            let change = self.bench.attribute(index, maker);
            for key in &change.made {
                self.stolen.remove(key);
            }
            laws::on_act(self, step.filter(|step| step.gpu() == gpu), &change, by_hand);
        }
    }

    /// L5: what is reported as granted is exactly what stands.
    fn granted_as_it_stands(&mut self, slices: &[broker::GrantedSlice]) {
        for slice in slices {
            if !self.bench.exists(slice) {
                let text = format!("granted and not there: {slice:?}");
                self.broken.push(("L5: what is granted was read back", text));
            }
        }
    }

    /// Carries out one of the effects that are due.
    pub fn do_effect(&mut self, at: usize) {
        let Some(effect) = self.due.remove(at) else { return };
        match effect {
            Effect::Execute { .. } | Effect::Notify { .. } | Effect::WatchContainer { .. } => {}
            Effect::StopUnits { change, units } => {
                let (stay, stop): (Vec<String>, Vec<String>) =
                    units.into_iter().partition(|unit| unit == STUBBORN_UNIT);
                self.stopped.extend(stop);
                let trouble = stay.iter().map(|unit| format!("{unit} does not stop")).collect();
                self.inbox.push_back(Letter::Own(Command::UnitsStopped { change, trouble }));
            }
            Effect::StartUnits { change, units } => {
                self.stopped.retain(|unit| !units.contains(unit));
                let trouble = Vec::new();
                self.inbox.push_back(Letter::Own(Command::UnitsStarted { change, trouble }));
            }
            Effect::Watch { lease, process } => {
                self.watched.insert((lease, process));
                if !self.alive.contains(&process) {
                    self.report_exit(process);
                }
            }
            Effect::Signal { lease, stage } => {
                for pid in self.bench.signal(lease, stage) {
                    self.exited(pid);
                }
            }
            Effect::Look { lease } => self.look_for_holders(lease),
        }
    }

    fn look_for_holders(&mut self, id: LeaseId) {
        let Some(lease) = self.state.lease(id) else { return };
        let (slices, whole) = (lease.slices.clone(), lease.whole.clone());
        let mut held_by = self.bench.holders(id, &slices, &whole);
        for slice in &slices {
            let gpu = &slice.key.gpu;
            if self.hung.contains(gpu) {
                // The look does not come back either.
                return;
            }
            let epoch = self.looks.epoch();
            match self.bench.driver().gpu_snapshot(gpu) {
                Ok(seen) if seen.health == Health::Ok => {
                    let instance = seen.instance(slice.gpu_instance);
                    let computes = instance.iter().flat_map(|found| &found.compute_instances);
                    let here = computes.flat_map(|compute| &compute.processes);
                    held_by.extend(here.map(|process| format!("pid {}", process.pid)));
                    self.inbox.push_back(Letter::Observed(epoch, Box::new(seen)));
                }
                Ok(_) => held_by.push("the GPU is not well".to_owned()),
                Err(error) => held_by.push(format!("the driver cannot say: {error}")),
            }
        }
        for gpu in &whole {
            match self.bench.driver().gpu_snapshot(gpu) {
                Ok(seen) if seen.health == Health::Ok => {
                    held_by.extend(seen.processes.iter().map(|found| format!("pid {}", found.pid)));
                }
                Ok(_) => held_by.push("the GPU is not well".to_owned()),
                Err(error) => held_by.push(format!("the driver cannot say: {error}")),
            }
        }
        held_by.sort();
        held_by.dedup();
        let found = Emptiness { held_by };
        self.inbox.push_back(Letter::Own(Command::Looked { lease: id, found }));
    }

    fn exited(&mut self, pid: u32) {
        let process = ProcessId { pid, start_ticks: u64::from(pid) };
        self.alive.remove(&process);
        self.report_exit(process);
    }

    fn report_exit(&mut self, process: ProcessId) {
        let leases: Vec<LeaseId> =
            self.watched.iter().filter(|(_, p)| *p == process).map(|(lease, _)| *lease).collect();
        self.watched.retain(|(_, watched)| *watched != process);
        for lease in leases {
            self.inbox.push_back(Letter::Own(Command::HolderExited { lease, process }));
        }
    }

    /// A process ends.
    pub fn exit(&mut self, process: ProcessId) {
        self.bench.stop(process.pid);
        self.exited(process.pid);
    }

    /// The observer looks at a GPU; what it saw is told at once, or later.
    pub fn look(&mut self, gpu: &GpuUuid, late: bool) {
        if self.hung.contains(gpu) {
            return;
        }
        let epoch = self.looks.epoch();
        let Ok(seen) = self.bench.driver().gpu_snapshot(gpu) else { return };
        if late {
            self.late.push((epoch, seen));
        } else {
            self.inbox.push_back(Letter::Observed(epoch, Box::new(seen)));
        }
    }

    /// A look that was done a while ago is told.
    pub(crate) fn tell_late(&mut self, at: usize) {
        let (epoch, seen) = self.late.remove(at);
        self.inbox.push_back(Letter::Observed(epoch, Box::new(seen)));
    }

    /// The sentinel says that a GPU does not answer.
    pub(crate) fn silent(&mut self, gpu: &GpuUuid) {
        let Some(known) = self.observed.gpu(gpu) else { return };
        let health = Health::Failing("the driver does not answer for it".to_owned());
        let distrusted = GpuSnapshot { health, ..known.clone() };
        self.inbox.push_back(Letter::Observed(u64::MAX, Box::new(distrusted)));
    }

    /// Time passes.
    pub fn pass(&mut self, span: model::Millis) {
        self.now = self.now.plus(span);
        self.bench.set_now(self.now);
        self.inbox.push_back(Letter::Own(Command::Tick));
    }

    /// The daemon hears of something by itself.
    pub fn tell(&mut self, command: Command) {
        self.inbox.push_back(Letter::Own(command));
    }

    /// The daemon dies; another replays the journal and takes over. Calls that did not come back
    /// have done what they did.
    ///
    /// # Errors
    /// If the machine's driver does not start.
    pub fn crash(&mut self) -> Result<(), BenchError> {
        self.replay();
        self.doubt();
        self.running.clear();
        self.due.clear();
        self.inbox.clear();
        self.late.clear();
        self.watched.clear();
        self.looks = Looks::default();
        self.geometries.clear();
        self.disk_full = false;
        self.forecast = Forecast::unknown();
        self.bench.reopen()?;
        self.started()
    }

    /// What others made just where a step was under way cannot be told from ours after a crash.
    fn doubt(&mut self) {
        for open in self.state.plans.values() {
            let Some(step) = open.plan.steps.get(open.done.len()) else { continue };
            for made in self.bench.origins.values_mut() {
                let others = matches!(made.origin, Origin::Foreign | Origin::Hand);
                if step.names(&made.key.gpu, made.key.placement) && others {
                    made.origin = Origin::Doubtful;
                }
            }
        }
    }

    /// L7: the journal folded anew, each event read back from its JSON, is the state; and so is the
    /// state read back from its own.
    pub(crate) fn replay(&mut self) {
        let mut state = std::mem::take(&mut self.replayed);
        for stamped in &self.journal {
            match reread(stamped) {
                Some(back) if back == *stamped => state.apply(back.at, &back.event),
                other => {
                    let text = format!("{stamped:?} is read back as {other:?}");
                    self.broken.push(("L7: an event is read back as it was written", text));
                }
            }
        }
        if state != *self.state {
            let text = format!("replayed {state:?}\nbut it was {:?}", self.state);
            self.broken.push(("L7: the journal folds to the state", text));
        }
        match reread(&state) {
            Some(back) if back == state => self.replayed = back,
            other => {
                let text = format!("{state:?} is read back as {other:?}");
                self.broken.push(("L7: a state is read back as it was written", text));
                self.replayed.clone_from(&state);
            }
        }
        self.state = Arc::new(state);
        self.journal.clear();
    }

    /// The machine restarts, and the daemon with it.
    ///
    /// # Errors
    /// If the machine's driver does not start.
    pub fn reboot(&mut self) -> Result<(), BenchError> {
        self.rebooted()?;
        self.crash()
    }

    /// The machine restarts; the daemon is not up yet.
    pub(crate) fn rebooted(&mut self) -> Result<(), BenchError> {
        self.bench.reboot()?;
        self.alive.clear();
        self.stolen.clear();
        // Units that are enabled run.
        self.stopped.clear();
        self.hung.clear();
        self.boot += 1;
        Ok(())
    }

    fn started(&mut self) -> Result<(), BenchError> {
        let versions = self.bench.driver().versions()?;
        let mut gpus = Vec::new();
        for gpu in self.bench.driver().gpus()? {
            if !self.hung.contains(&gpu) {
                gpus.extend(self.bench.driver().gpu_snapshot(&gpu));
            }
        }
        for gpu in &mut gpus {
            self.learn_geometry(gpu);
        }
        self.observed = NodeSnapshot {
            taken_at: self.now,
            driver_version: versions.driver,
            cuda_version: versions.cuda,
            gpus,
        };
        let (version, boot) = ("0.1.0".to_owned(), self.boot_id());
        self.inbox.push_back(Letter::Own(Command::Started { version, boot, numbers_from: 1 }));
        self.work();
        Ok(())
    }

    /// Everything that is under way comes to rest while time stands still; false if it does not.
    pub fn settle(&mut self) -> bool {
        for _ in 0..20_000 {
            if self.work() {
                continue;
            }
            if !self.due.is_empty() {
                self.do_effect(0);
            } else if let Some(at) = (0..self.running.len()).find(|at| self.may_advance(*at)) {
                self.advance(at, None, Origin::Ours);
            } else if !self.look_at_what_changed() {
                return true;
            }
        }
        false
    }

    /// Looks at every GPU whose picture differs from what a look would show.
    fn look_at_what_changed(&mut self) -> bool {
        let gpus = self.bench.gpus().to_vec();
        let epoch = self.looks.epoch();
        let mut news = false;
        for gpu in gpus {
            if self.hung.contains(&gpu) || !self.looks.is_news(epoch, &gpu) {
                continue;
            }
            let Ok(mut seen) = self.bench.driver().gpu_snapshot(&gpu) else { continue };
            self.learn_geometry(&mut seen);
            if self.observed.gpu(&gpu) != Some(&seen) {
                news = true;
                self.inbox.push_back(Letter::Observed(epoch, Box::new(seen)));
            }
        }
        news
    }
}

fn reread<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> Option<T> {
    serde_json::from_slice(&serde_json::to_vec(value).ok()?).ok()
}

fn empty_node() -> NodeSnapshot {
    NodeSnapshot {
        taken_at: Timestamp::default(),
        driver_version: String::new(),
        cuda_version: None,
        gpus: Vec::new(),
    }
}
