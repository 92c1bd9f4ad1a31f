//! Everything at once, by seed: users, executor, time, faults, strangers, crashes and restarts.
//!
//! A failing seed prints itself; `MIGD_SEED=N cargo test -p broker` runs it alone, and
//! `MIGD_SOAK=N` makes every campaign N times as long. Must never depend on anything but the seed.

mod chance;
mod changes;
mod rooms;
mod trouble;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use broker::{
    Command, Effect, Holder, Lease, Patience, Peer, Phase, Policy, Refusal, RequestSpec, SliceKey,
    Stage, Wanted,
};
use model::geometry::Need;
use model::{
    Health, LeaseId, MemoryRequest, MigMode, Millis, NominalGb, ProcessId, ProfileSelector,
};
use planner::Planner;

use crate::machine::{Advance, Machine, Origin, PEER_ADMIN, Rig, mode, peer};
use chance::Chance;

/// What a run covers.
#[derive(Clone, Copy)]
struct Course {
    boards: &'static [&'static str],
    auto_mig: bool,
    /// Strangers make and destroy instances, and run on them.
    strangers: bool,
    /// Steps fail, GPUs fall ill, the daemon dies, the machine restarts.
    faults: bool,
    /// GPUs are cordoned and emptied, leased as a whole, and room is booked.
    rooms: bool,
    /// Administrators change layouts and modes by hand and by file.
    changes: bool,
}

struct World {
    rig: Rig,
    chance: Chance,
    course: Course,
    profiles: Vec<String>,
    names: u32,
}

impl World {
    fn new(seed: u64, course: Course, planner: &Planner) -> Self {
        let mut machine = Machine::new(course.boards);
        if course.auto_mig {
            let first = machine.node.gpus[0].uuid.clone();
            machine.resets_for_mode.insert(first);
            for gpu in &mut machine.node.gpus {
                gpu.mig = mode(MigMode::Disabled);
            }
        }
        let mut profiles: Vec<String> = Vec::new();
        for gpu in &machine.node.gpus {
            let geometry = gpu.geometry.as_ref().expect("MIG boards");
            profiles.extend(geometry.profiles.iter().map(|profile| profile.name.to_string()));
        }
        profiles.sort();
        profiles.dedup();
        let auto_mig = course.auto_mig;
        let policy = Policy { auto_mig, max_waiting_per_user: 4, ..Policy::default() };
        let rig = Rig::with_planner(machine, policy, planner.clone());
        Self { rig, chance: Chance::new(seed), course, profiles, names: 0 }
    }

    fn run(&mut self, acts: usize) {
        for _ in 0..acts {
            self.act();
        }
        self.drain();
    }

    fn act(&mut self) {
        match self.chance.below(100) {
            0..=13 => self.request(),
            14..=51 => self.execute(),
            52..=67 => self.effect(),
            68..=75 => self.pass_time(),
            76..=81 => self.rig.observe(),
            82..=86 => self.holder_starts_something(),
            87..=91 => self.holder_leaves(),
            92..=93 => self.process_ends(),
            94 => self.somebody_ends_a_lease(),
            95 if self.course.rooms => self.rooms(),
            95..=96 if self.course.changes => self.changes(),
            95..=97 => {
                if self.course.strangers {
                    self.stranger();
                }
            }
            _ => {
                if self.course.faults {
                    self.fault();
                }
            }
        }
    }

    fn request(&mut self) {
        let uid = 1 + self.chance.below(4) as u32;
        let name = self.chance.pick(&self.profiles).expect("profiles").clone();
        let mut spec = self.rig.spec(uid, &name);
        spec.wanted = self.wanted(spec.wanted);
        spec.count = if self.chance.one_in(4) { 1 + self.chance.below(9) as u32 } else { 1 };
        spec.patience = match self.chance.below(5) {
            0 => Patience::Immediate,
            1 => Patience::AtMost(Millis::from_secs(20)),
            _ => Patience::Forever,
        };
        if self.chance.one_in(3) {
            spec.time = Some(Millis::from_secs(1 + self.chance.below(90) as u64));
        }
        if self.chance.one_in(4) {
            spec.holder = Holder::Token { life: Millis::from_secs(60) };
        }
        if self.chance.one_in(6) {
            self.names += 1;
            spec.name = Some(format!("job{}", self.names % 5));
        }
        let asked: RequestSpec = spec.clone();
        if let Err(refusal) = self.rig.request(spec) {
            let fair = matches!(
                refusal,
                Refusal::NeverFits { .. }
                    | Refusal::NoRoomNow { .. }
                    | Refusal::NameTaken { .. }
                    | Refusal::TooManyWaiting(_)
            );
            assert!(fair, "{refusal}: {asked:?}");
            let immediate = asked.patience == Patience::Immediate;
            assert!(immediate || !matches!(refusal, Refusal::NoRoomNow { .. }));
        }
    }

    fn wanted(&mut self, named: Wanted) -> Wanted {
        match self.chance.below(4) {
            0 => {
                let gb = [5, 10, 20, 24][self.chance.below(4)];
                let memory = Some(MemoryRequest::Nominal(NominalGb::new(gb)));
                Wanted::Need(Need { memory, compute_slices: None })
            }
            1 => Wanted::Profile(ProfileSelector::Slices(1 + self.chance.below(2) as u8)),
            _ => named,
        }
    }

    fn execute(&mut self) {
        let ready: Vec<usize> =
            (0..self.rig.running.len()).filter(|at| self.rig.may_advance(*at)).collect();
        let Some(at) = self.chance.pick(&ready).copied() else { return };
        let refused = self.course.faults && self.chance.one_in(60);
        self.rig.advance(at, if refused { Advance::Refused } else { Advance::Well });
    }

    fn effect(&mut self) {
        // Time passes between a decision and its effect, so they are done in any order.
        if !self.rig.due.is_empty() {
            let at = self.chance.below(self.rig.due.len());
            self.rig.do_effect(at);
        }
    }

    fn pass_time(&mut self) {
        let span = match self.chance.below(12) {
            0 => Millis::from_secs(400),
            1..=2 => Millis::from_secs(31),
            3..=5 => Millis::from_secs(5),
            _ => Millis::new(200),
        };
        self.rig.tick(span);
    }

    fn leases(&self, which: impl Fn(&Lease) -> bool) -> Vec<LeaseId> {
        self.rig.state.leases.values().filter(|lease| which(lease)).map(|lease| lease.id).collect()
    }

    fn holder_starts_something(&mut self) {
        let active = self.leases(|lease| matches!(lease.phase, Phase::Active { .. }));
        let Some(id) = self.chance.pick(&active).copied() else { return };
        let dies_of = match self.chance.below(8) {
            0 => None,
            1..=2 => Some(Stage::Kill),
            _ => Some(Stage::Term),
        };
        let listed = !self.chance.one_in(3);
        let lease = self.rig.lease(id);
        let (uid, token) = (lease.spec.uid, matches!(lease.spec.holder, Holder::Token { .. }));
        if lease.slices.iter().any(|slice| !self.rig.machine.exists(slice)) {
            return;
        }
        let process = self.rig.run_on(id, listed, dies_of);
        let by = Peer { uid, admin: false };
        if token {
            self.rig.command(Command::Renew { lease: id, by }).expect("renewed");
        } else {
            let command = process;
            self.rig.command(Command::Attach { lease: id, by, command }).expect("attached");
            let other = peer(99);
            let refused = self.rig.command(Command::Attach { lease: id, by: other, command });
            assert_eq!(refused.map(|_| ()), Err(Refusal::NotYours(id)));
        }
    }

    fn holder_leaves(&mut self) {
        let any = self.leases(|_| true);
        let Some(id) = self.chance.pick(&any).copied() else { return };
        let lease = self.rig.lease(id);
        let by = Peer { uid: lease.spec.uid, admin: false };
        let client = match &lease.spec.holder {
            Holder::Process { client, .. } => Some(*client),
            _ => None,
        };
        if self.chance.one_in(2) {
            self.rig.command(Command::End { lease: id, by, holder: true }).expect("its own");
        }
        if let Some(client) = client {
            self.rig.exit(client);
        }
    }

    fn process_ends(&mut self) {
        let pids: Vec<u32> = self.rig.machine.processes.iter().map(|p| p.pid).collect();
        let Some(pid) = self.chance.pick(&pids).copied() else { return };
        self.rig.exit(ProcessId { pid, start_ticks: u64::from(pid) });
    }

    fn somebody_ends_a_lease(&mut self) {
        let any = self.leases(|_| true);
        let Some(id) = self.chance.pick(&any).copied() else { return };
        let refused = self.rig.command(Command::End { lease: id, by: peer(99), holder: false });
        assert_eq!(refused.map(|_| ()), Err(Refusal::NotYours(id)));
        self.rig.command(Command::End { lease: id, by: PEER_ADMIN, holder: false }).expect("admin");
    }

    /// L4 and L6: faults stop, everybody leaves, and everybody who waits is served.
    fn drain(&mut self) {
        self.rooms_are_open();
        for at in 0..self.rig.machine.node.gpus.len() {
            let uuid = self.rig.machine.node.gpus[at].uuid.clone();
            self.rig.machine.gpu_mut(&uuid).health = Health::Ok;
            self.rig.disturb(&uuid);
        }
        self.changes_are_over();
        let foreign = self.rig.machine.origins.iter().filter(|(_, o)| **o != Origin::Ours);
        let foreign: Vec<SliceKey> = foreign.map(|(key, _)| key.clone()).collect();
        self.rig.machine.processes.clear();
        self.rig.machine.stop(0);
        for key in &foreign {
            self.stranger_destroys(key);
        }
        self.rest();
        for _ in 0..2_000 {
            let before = self.rig.state.leases.len();
            let holding = self.leases(Lease::holds_slices);
            for id in &holding {
                self.rig.command(Command::End { lease: *id, by: PEER_ADMIN, holder: false }).ok();
            }
            self.rest();
            if self.rig.state.leases.is_empty() {
                break;
            }
            let served = self.rig.state.leases.len() < before
                || self.rig.state.leases.values().any(Lease::holds_slices);
            assert!(served, "nobody is served: {}", self.picture());
        }
        self.nothing_is_left();
    }

    /// Who waits for what, and what lies where.
    fn picture(&self) -> String {
        let rig = &self.rig;
        let why = |lease: &Lease| {
            format!("{} waits for {}", lease.id, broker::explain(&rig.state, &rig.world(), lease))
        };
        let waiting: Vec<String> = rig.state.queue().map(why).collect();
        let gpus = rig.machine.node.gpus.iter();
        let there: Vec<_> = gpus.map(|gpu| (&gpu.mig, &gpu.health, &gpu.instances)).collect();
        format!("{waiting:?}; {:?}; {there:?}; {:?}", rig.state.slices, rig.machine.origins)
    }

    fn rest(&mut self) {
        for _ in 0..6 {
            self.rig.settle();
            self.rig.tick(Millis::from_secs(31));
            self.rig.settle();
        }
    }

    fn nothing_is_left(&mut self) {
        assert!(self.rig.state.leases.is_empty(), "{:?}", self.rig.state.leases);
        assert!(self.rig.state.plans.is_empty() && self.rig.state.orphans.is_empty());
        self.rig.tick(Millis::from_secs(400));
        self.rig.settle();
        assert!(self.rig.state.slices.is_empty(), "idle slices stay: {:?}", self.rig.state.slices);
        let left: Vec<_> = self.rig.machine.origins.keys().collect();
        assert!(left.is_empty(), "instances stay: {left:?}");
        assert!(!self.rig.due.iter().any(|effect| matches!(effect, Effect::Signal { .. })));
    }
}

/// Runs seeds until so many events were checked.
fn campaign(course: Course, first_seed: u64, events: usize) {
    let mut planner = Planner::new();
    for gpu in &Machine::new(course.boards).node.gpus {
        planner.learn(gpu.geometry.as_ref().expect("MIG boards"));
    }
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let wanted = number("MIGD_SEED");
    let events = events * number("MIGD_SOAK").unwrap_or(1) as usize;
    let mut checked = 0;
    let mut seed = wanted.unwrap_or(first_seed);
    while checked < events {
        let mut world = World::new(seed, course, &planner);
        let result = catch_unwind(AssertUnwindSafe(|| world.run(1_500)));
        if let Err(cause) = result {
            let tail = world.rig.journal.iter().rev().take(12).rev();
            for stamped in tail {
                eprintln!("{:?}", stamped.event);
            }
            eprintln!("seed {seed} of {:?} fails after {} events", course.boards, {
                world.rig.journal.len()
            });
            resume_unwind(cause);
        }
        checked += world.rig.journal.len();
        if wanted.is_some() {
            return;
        }
        seed += 1;
    }
}

const ALL: Course = Course {
    boards: &["a100-sxm4-40gb"],
    auto_mig: false,
    strangers: true,
    faults: true,
    rooms: false,
    changes: false,
};

#[test]
fn one_a100() {
    campaign(ALL, 1_000, 30_000);
}

#[test]
fn a30s() {
    campaign(Course { boards: &["a30", "a30"], ..ALL }, 2_000, 40_000);
}

#[test]
fn rtx_pro_6000() {
    campaign(Course { boards: &["rtx-pro-6000-bse"], ..ALL }, 3_000, 30_000);
}

#[test]
fn mixed_host() {
    let boards = &["a100-sxm4-40gb", "a30", "h100-sxm5-80gb"];
    campaign(Course { boards, ..ALL }, 4_000, 40_000);
}

#[test]
fn mig_enabled_by_the_daemon() {
    let boards = &["a30", "a100-sxm4-40gb"];
    campaign(Course { boards, auto_mig: true, ..ALL }, 5_000, 20_000);
}

/// GPUs out of use, whole GPUs and bookings beside everything else.
#[test]
fn rooms_beyond_one_slice() {
    let boards = &["a30", "a30", "a100-sxm4-40gb"];
    let course = Course { boards, auto_mig: true, strangers: false, rooms: true, ..ALL };
    campaign(course, 7_000, 30_000);
}

/// Layouts and modes changed by hand and by file beside everything else.
#[test]
fn changes_by_hand_and_by_file() {
    let boards = &["a30", "a30", "a100-sxm4-40gb"];
    campaign(Course { boards, changes: true, ..ALL }, 8_000, 30_000);
}

/// The same where modes change by themselves, too.
#[test]
fn changes_where_modes_change() {
    let boards = &["a30", "a100-sxm4-40gb"];
    let course = Course { boards, changes: true, auto_mig: true, strangers: false, ..ALL };
    campaign(course, 9_000, 20_000);
}

/// Nobody interferes and nothing fails, so nothing may fail.
#[test]
fn a_quiet_machine_has_no_failed_plan() {
    let boards = &["a100-sxm4-40gb", "a30"];
    let course = Course { boards, strangers: false, faults: false, ..ALL };
    campaign(course, 6_000, 40_000);
}
