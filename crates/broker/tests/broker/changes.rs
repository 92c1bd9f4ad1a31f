//! Changes that an administrator asks for: all of it or back to before, whatever happens.

use broker::{
    Change, ChangeRefusal, ChangeSpec, Command, GpuChangeSpec, Planned, Progress, Refusal, Reply,
    SliceKey, Turn, UnitsState, changes,
};
use model::{
    ChangeId, DesiredCompute, DesiredGpu, DesiredInstance, GpuProcess, GpuShape, GpuUuid, Health,
    MigMode, Millis, PlacedProfile, Placement, Purpose,
};
use planner::Rules;

use crate::machine::{Advance, Machine, Origin, PEER_ADMIN, Rig, mode, peer};

pub(crate) fn uuid(at: u32) -> GpuUuid {
    GpuUuid::new(format!("GPU-{at}"))
}

impl Rig {
    /// Whole slices of these profiles, each where it may lie or where it is said to.
    pub(crate) fn exactly(&self, gpu: &GpuUuid, wanted: &[(&str, Option<u8>)]) -> DesiredGpu {
        let geometry = self.machine.gpu(gpu).geometry.clone().expect("a MIG board");
        let instance = |(name, start): &(&str, Option<u8>)| {
            let profile = geometry.profiles.iter().find(|p| p.name.to_string() == *name);
            let profile = profile.expect("a profile of the board");
            let whole = profile.whole_compute_profile().expect("a whole compute profile").id;
            DesiredInstance {
                profile: profile.id,
                placement: start.map(|start| Placement::new(start, profile.size.get())),
                computes: vec![DesiredCompute { profile: whole, placement: None }],
            }
        };
        DesiredGpu::Exactly(wanted.iter().map(instance).collect())
    }

    /// What is asked for on one GPU, planned on what the broker knows.
    pub(crate) fn part(&self, gpu: &GpuUuid, desired: DesiredGpu) -> GpuChangeSpec {
        let seen = self.observed.gpu(gpu).expect("a GPU");
        let (rules, purpose) = (Rules::default(), Purpose::Apply("test".into()));
        let planned = changes::planned(&self.state, &self.world(), seen, &desired, &rules, purpose);
        let steps = match planned {
            Planned::Steps(plan, _) => plan.steps,
            Planned::Blocked { .. } => Vec::new(),
        };
        GpuChangeSpec { gpu: gpu.clone(), desired, before: GpuShape::of(seen), steps, fix: None }
    }

    pub(crate) fn change_of_gpus(gpus: Vec<GpuChangeSpec>) -> ChangeSpec {
        let words = "apply -f lab.yaml".into();
        let (units, leaving) = (Vec::new(), Vec::new());
        ChangeSpec { words, gpus, units, leaving, reset: true, wait_idle: false }
    }

    pub(crate) fn change(&mut self, spec: ChangeSpec) -> Result<ChangeId, Refusal> {
        match self.command(Command::Change { spec, by: PEER_ADMIN })?.reply {
            Reply::Change(id) => Ok(id),
            Reply::Lease(_) | Reply::Booking(_) | Reply::Done => panic!("answered with its change"),
        }
    }

    /// Asks for exactly these slices on one GPU, and begins.
    fn asked(&mut self, gpu: u32, wanted: &[(&str, Option<u8>)]) -> ChangeId {
        let desired = self.exactly(&uuid(gpu), wanted);
        let part = self.part(&uuid(gpu), desired);
        let spec = Self::change_of_gpus(vec![part]);
        self.change(spec).expect("accepted")
    }

    fn the(&self, id: ChangeId) -> &Change {
        &self.state.changes[&id]
    }

    fn is_done(&self, id: ChangeId) -> bool {
        self.the(id).end.as_ref().is_some_and(|end| end.turned.is_none())
    }

    fn names(&self, gpu: u32) -> Vec<String> {
        let gpu = self.machine.gpu(&uuid(gpu));
        let geometry = gpu.geometry.as_ref().expect("a MIG board");
        let mut names: Vec<String> = gpu
            .instances
            .iter()
            .map(|i| format!("{} at {}", geometry.profile(i.profile).unwrap().name, i.placement))
            .collect();
        names.sort();
        names
    }

    /// Time and work go on until nothing is open.
    fn run_out(&mut self) {
        for _ in 0..20 {
            self.settle();
            if self.state.changes.values().all(|change| !change.is_open()) {
                return;
            }
            self.tick(Millis::from_secs(10));
        }
        panic!("a change does not end: {:?}", self.state.changes);
    }
}

#[test]
fn all_gpus_are_changed_side_by_side_and_read_back() {
    let mut rig = Rig::new(&["a100-sxm4-40gb", "a30"]);
    let one = rig.exactly(&uuid(0), &[("3g.20gb", None), ("2g.10gb", None), ("1g.5gb", None)]);
    let two = rig.exactly(&uuid(1), &[("2g.12gb", None), ("2g.12gb", None)]);
    let parts = vec![rig.part(&uuid(0), one), rig.part(&uuid(1), two)];
    let spec = Rig::change_of_gpus(parts);
    let id = rig.change(spec).unwrap();
    assert_eq!(rig.running.len(), 2, "both at once");
    rig.settle();
    assert!(rig.is_done(id));
    assert_eq!((rig.names(0).len(), rig.names(1).len()), (3, 2));
    // They are foreign to the broker: nobody gets them, and they never go by themselves.
    rig.tick(Millis::from_secs(10_000));
    rig.settle();
    assert_eq!((rig.names(0).len(), rig.state.slices.len()), (3, 0));
    assert!(rig.state.costs.values().all(|cost| cost.count > 0) && !rig.state.costs.is_empty());
}

#[test]
fn siblings_of_a_leased_slice_come_and_go_and_it_stays() {
    let mut rig = Rig::new(&["a100-sxm4-40gb"]);
    let lease = rig.ask(1, "3g.20gb");
    let slice = rig.lease(lease).slices[0].clone();
    let start = slice.key.placement.start.get();
    let other = if start == 0 { 4 } else { 0 };
    let id = rig.asked(0, &[("3g.20gb", Some(start)), ("2g.10gb", Some(other))]);
    assert!(!rig.running.is_empty());
    rig.settle();
    assert!(rig.is_done(id) && rig.machine.exists(&slice));
    let id = rig.asked(0, &[("3g.20gb", Some(start))]);
    rig.settle();
    assert!(rig.is_done(id) && rig.machine.exists(&slice) && rig.is_active(lease));
    assert_eq!(rig.names(0).len(), 1);
}

#[test]
fn what_is_in_the_way_is_refused_before_anything_happens() {
    let mut rig = Rig::new(&["a100-sxm4-40gb"]);
    let lease = rig.ask(1, "3g.20gb");
    let desired = rig.exactly(&uuid(0), &[("7g.40gb", None)]);
    let part = rig.part(&uuid(0), desired);
    let spec = Rig::change_of_gpus(vec![part]);
    let refused = rig.change(spec.clone());
    let Err(Refusal::Change(ChangeRefusal::Busy(words))) = refused else { panic!("{refused:?}") };
    assert!(words.contains(&lease.to_string()), "{words}");
    // Nobody but an administrator.
    let refused = rig.command(Command::Change { spec, by: peer(1) });
    assert!(matches!(refused, Err(Refusal::AdminsOnly(_))));
}

#[test]
fn a_plan_for_another_machine_than_there_is_now_is_refused() {
    let mut rig = Rig::new(&["a100-sxm4-40gb"]);
    let desired = rig.exactly(&uuid(0), &[("7g.40gb", None)]);
    let part = rig.part(&uuid(0), desired);
    let spec = Rig::change_of_gpus(vec![part]);
    rig.ask(1, "1g.5gb");
    let refused = rig.change(spec);
    let Err(Refusal::Change(error)) = refused else { panic!("{refused:?}") };
    assert_eq!(error.code(), "E-MACHINE-CHANGED");
    assert!(error.to_string().contains("now 1g.5gb"), "{error}");
}

#[test]
fn one_change_at_a_time_on_a_gpu_and_nobody_new_meanwhile() {
    let mut rig = Rig::new(&["a100-sxm4-40gb"]);
    let id = rig.asked(0, &[("2g.10gb", None)]);
    let desired = rig.exactly(&uuid(0), &[]);
    let part = rig.part(&uuid(0), desired);
    let spec = Rig::change_of_gpus(vec![part]);
    let refused = rig.change(spec);
    assert!(matches!(refused, Err(Refusal::Change(ChangeRefusal::Busy(_)))), "{refused:?}");
    let request = rig.spec(1, "1g.5gb");
    let lease = rig.request(request).unwrap();
    assert!(rig.is_queued(lease));
    assert_eq!(rig.why(lease), format!("GPU 0 to be changed ({id}: apply -f lab.yaml)"));
    rig.settle();
    assert!(rig.is_done(id) && rig.is_active(lease));
}

/// At every step of a change of two GPUs, the driver refuses once: everything is as before.
#[test]
fn a_refusal_at_any_step_leads_back_to_before() {
    for at in 0..64 {
        let mut rig = Rig::new(&["a100-sxm4-40gb", "a30"]);
        let warm = rig.ask(1, "3g.20gb");
        let client = rig.client(warm);
        rig.exit(client);
        rig.settle();
        assert_eq!(rig.state.slices.len(), 1, "an idle slice of ours");
        rig.asked(1, &[("1g.6gb", Some(0)), ("2g.12gb", Some(2))]);
        rig.settle();
        let before: Vec<GpuShape> = rig.machine.node.gpus.iter().map(GpuShape::of).collect();
        let one = rig.exactly(&uuid(0), &[("2g.10gb", Some(4)), ("1g.5gb", Some(0))]);
        let two = rig.exactly(&uuid(1), &[("1g.6gb", Some(1)), ("1g.6gb", Some(2))]);
        let parts = vec![rig.part(&uuid(0), one), rig.part(&uuid(1), two)];
        let total: usize = parts.iter().map(|part| part.steps.len()).sum();
        let spec = Rig::change_of_gpus(parts);
        let id = rig.change(spec).unwrap();
        // Both plans are proven, then their steps come in turn.
        rig.advance(0, Advance::Well);
        rig.advance(1, Advance::Well);
        for step in 0..at {
            if !rig.running.is_empty() {
                rig.advance(step % rig.running.len(), Advance::Well);
            }
        }
        let steps_left =
            |running: &crate::machine::Running| running.done < running.plan.steps.len();
        let Some(next) = rig.running.iter().position(steps_left) else {
            assert!(at >= total, "{at} of {total}");
            return;
        };
        rig.advance(next, Advance::Refused);
        rig.run_out();
        let change = rig.the(id);
        assert!(matches!(change.turned, Some(Turn::Failed(_))), "{change:?}");
        for (gpu, part) in &change.gpus {
            assert_eq!(part.progress, Progress::Undone, "{gpu} at {at}");
        }
        for (gpu, shape) in rig.machine.node.gpus.iter().zip(&before) {
            assert!(GpuShape::of(gpu).is_like(shape), "at {at}: {gpu:?}, not {shape:?}");
        }
        assert_eq!(rig.state.slices.len(), 1, "our idle slice is ours again, at {at}");
    }
    panic!("more steps than expected");
}

/// The daemon dies at every point of a change, with and without a step that nobody heard of.
#[test]
fn a_crash_at_any_point_leads_back_to_before() {
    for at in 0..40 {
        for unheard in [false, true] {
            let mut rig = Rig::new(&["a100-sxm4-40gb"]);
            rig.asked(0, &[("3g.20gb", Some(0)), ("1g.5gb", Some(4))]);
            rig.settle();
            let before = GpuShape::of(rig.machine.gpu(&uuid(0)));
            let id =
                rig.asked(0, &[("1g.5gb", Some(0)), ("1g.5gb", Some(1)), ("3g.20gb", Some(4))]);
            for _ in 0..at {
                if !rig.running.is_empty() {
                    rig.advance(0, Advance::Well);
                }
            }
            let Some(running) = rig.running.first() else { return };
            if unheard && running.proof.is_some() && running.done < running.plan.steps.len() {
                rig.advance(0, Advance::Unheard);
            }
            rig.crash();
            rig.run_out();
            let change = rig.the(id);
            assert_eq!(change.turned, Some(Turn::Interrupted));
            let now = GpuShape::of(rig.machine.gpu(&uuid(0)));
            assert!(now.is_like(&before), "at {at}: {now:?}");
            assert!(rig.state.orphans.is_empty() && rig.state.slices.is_empty());
        }
    }
    panic!("it never ends");
}

#[test]
fn what_cannot_be_taken_back_is_told_as_it_is() {
    let mut rig = Rig::new(&["a100-sxm4-40gb", "a30"]);
    let one = rig.exactly(&uuid(0), &[("3g.20gb", Some(0))]);
    let two = rig.exactly(&uuid(1), &[("2g.12gb", Some(0))]);
    let parts = vec![rig.part(&uuid(0), one), rig.part(&uuid(1), two)];
    let spec = Rig::change_of_gpus(parts);
    let id = rig.change(spec).unwrap();
    // GPU 0 is done, and somebody is quick to use it; then GPU 1 fails.
    for _ in 0..4 {
        rig.advance(0, Advance::Well);
    }
    assert_eq!(rig.the(id).gpus[&uuid(0)].progress, Progress::Done);
    let key = SliceKey { gpu: uuid(0), placement: Placement::new(0, 4) };
    rig.stranger_on(&key);
    rig.advance(0, Advance::Well);
    rig.advance(0, Advance::Refused);
    rig.run_out();
    let Progress::Stands { found } = &rig.the(id).gpus[&uuid(0)].progress else {
        panic!("{:?}", rig.the(id))
    };
    assert!(found.contains("it has MIG on, 3g.20gb at 0:4"), "{found}");
    assert!(found.contains("process"), "{found}");
    assert_eq!(rig.the(id).gpus[&uuid(1)].progress, Progress::Undone);
    assert_eq!(rig.names(0).len(), 1);
}

#[test]
fn a_cancelled_change_is_taken_back_once_its_plan_has_ended() {
    let mut rig = Rig::new(&["a30"]);
    let id = rig.asked(0, &[("2g.12gb", None)]);
    rig.advance(0, Advance::Well);
    rig.advance(0, Advance::Well);
    let cancel = Command::CancelChange { change: id, by: PEER_ADMIN };
    rig.command(cancel.clone()).unwrap();
    rig.run_out();
    assert!(matches!(rig.the(id).turned, Some(Turn::Cancelled { .. })));
    assert!(rig.names(0).is_empty());
    let refused = rig.command(cancel);
    assert!(matches!(refused, Err(Refusal::Change(ChangeRefusal::Over { .. }))), "{refused:?}");
}

/// A step on one GPU does not come back: the other GPU is as before and back in use at once, the one that
/// hangs when the step has come back, and nothing more of its plan is done.
#[test]
fn a_step_that_does_not_come_back_holds_up_its_own_gpu_alone() {
    let mut rig = Rig::new(&["a30", "a30"]);
    let wanted = [("2g.12gb", Some(0)), ("2g.12gb", Some(2))];
    let parts = [0, 1].map(|at| rig.part(&uuid(at), rig.exactly(&uuid(at), &wanted)));
    let id = rig.change(Rig::change_of_gpus(parts.to_vec())).unwrap();
    let plan = rig.running[0].id;
    rig.advance(0, Advance::Well);
    rig.advance(0, Advance::Well);
    // The other one is done.
    while rig.the(id).gpus[&uuid(1)].progress != Progress::Done {
        rig.advance(1, Advance::Well);
    }
    let words = String::from("GPU 0: \"create 2g.12gb at 2:2\" does not come back");
    rig.command(Command::PlanLate { plan, words: words.clone() }).unwrap();
    while rig.running.len() > 1 {
        rig.advance(1, Advance::Well);
    }
    assert_eq!(rig.the(id).turned, Some(Turn::Failed(words.clone())));
    assert_eq!(rig.the(id).gpus[&uuid(1)].progress, Progress::Undone);
    assert!(rig.names(1).is_empty());
    assert!(rig.the(id).is_open() && rig.state.is_given_up(plan));
    assert!(rig.state.change_on(&uuid(0)).is_some() && rig.state.change_on(&uuid(1)).is_none());
    // Heard of again, it makes no difference.
    rig.command(Command::PlanLate { plan, words }).unwrap();
    let spec = rig.spec(1000, "4g.24gb");
    let lease = rig.request(spec).unwrap();
    assert!(rig.state.plans.values().any(|open| open.gpus().any(|gpu| *gpu == uuid(1))), "{lease}");
    rig.run_out();
    assert_eq!(rig.the(id).gpus[&uuid(0)].progress, Progress::Undone);
    assert!(!rig.the(id).is_open() && rig.names(0).is_empty());
}

#[test]
fn it_waits_for_what_is_in_the_way_and_does_what_is_free_now() {
    let mut rig = Rig::new(&["a100-sxm4-40gb", "a30"]);
    let lease = rig.ask(1, "3g.20gb");
    let start = rig.lease(lease).slices[0].key.placement.start.get();
    let one =
        rig.exactly(&uuid(0), &[("4g.20gb", Some(0)), ("2g.10gb", Some(4)), ("1g.5gb", Some(6))]);
    assert_eq!(start, 4, "in the way of the last two alone");
    let two = rig.exactly(&uuid(1), &[("4g.24gb", None)]);
    let parts = vec![rig.part(&uuid(0), one), rig.part(&uuid(1), two)];
    let spec = ChangeSpec { wait_idle: true, ..Rig::change_of_gpus(parts) };
    let id = rig.change(spec).unwrap();
    rig.settle();
    assert_eq!(rig.names(1), ["4g.24gb at 0:4"], "free, so it is done");
    assert_eq!(rig.names(0), ["3g.20gb at 4:4", "4g.20gb at 0:4"], "as far as it goes");
    let waits = changes::waits_for(&rig.state, &rig.world(), rig.the(id), &uuid(0)).unwrap();
    assert!(waits.contains(&lease.to_string()), "{waits}");
    // A daemon that takes over goes on waiting, and the lease is not hurried.
    rig.crash();
    rig.tick(Millis::from_secs(3600));
    rig.settle();
    assert!(rig.the(id).is_open() && rig.is_active(lease));
    let client = rig.client(lease);
    rig.exit(client);
    rig.settle();
    assert!(rig.is_done(id), "{:?}", rig.the(id));
    assert_eq!(rig.names(0), ["1g.5gb at 6:1", "2g.10gb at 4:2", "4g.20gb at 0:4"]);
}

#[test]
fn a_part_that_is_done_is_taken_back_with_the_rest() {
    let mut rig = Rig::new(&["a100-sxm4-40gb"]);
    rig.ask(1, "3g.20gb");
    let before = GpuShape::of(rig.machine.gpu(&uuid(0)));
    let desired = rig.exactly(&uuid(0), &[("4g.20gb", Some(0)), ("2g.10gb", Some(4))]);
    let part = rig.part(&uuid(0), desired);
    let spec = ChangeSpec { wait_idle: true, ..Rig::change_of_gpus(vec![part]) };
    let id = rig.change(spec).unwrap();
    rig.settle();
    assert_eq!((rig.names(0).len(), &rig.the(id).gpus[&uuid(0)].progress), (2, &Progress::Waiting));
    rig.command(Command::CancelChange { change: id, by: PEER_ADMIN }).unwrap();
    rig.run_out();
    assert!(GpuShape::of(rig.machine.gpu(&uuid(0))).is_like(&before));
}

/// One of two goes at once and the other when its lease has ended; what is gone is not asked for
/// again, and an id that another instance got meanwhile is not meant.
#[test]
fn what_was_to_go_is_known_by_more_than_its_id() {
    let mut rig = Rig::new(&["a30"]);
    let (idle, used) = (rig.ask(1, "2g.12gb"), rig.ask(2, "2g.12gb"));
    rig.release(idle);
    rig.settle();
    let ids: Vec<_> = rig.machine.gpu(&uuid(0)).instances.iter().map(|i| i.id).collect();
    let without = DesiredGpu::Without { instances: ids.clone(), computes: Vec::new() };
    let part = rig.part(&uuid(0), without.clone());
    let spec = ChangeSpec { wait_idle: true, ..Rig::change_of_gpus(vec![part.clone()]) };
    let id = rig.change(spec).unwrap();
    rig.settle();
    assert_eq!(rig.names(0).len(), 1, "the idle one is gone");
    assert!(rig.the(id).is_open() && rig.is_active(used));
    let client = rig.client(used);
    rig.exit(client);
    rig.settle();
    assert!(rig.is_done(id), "{:?}", rig.the(id));
    assert!(rig.names(0).is_empty());
    // The plan of then, once other instances have these ids.
    let lease = rig.ask(3, "1g.6gb");
    assert!(
        rig.machine
            .gpu(&uuid(0))
            .instances
            .iter()
            .all(|i| i.profile != part.before.instances[0].profile)
    );
    let taken = rig.machine.gpu(&uuid(0)).instances[0].id;
    let mut old = part;
    old.before.instances[0].id = taken;
    old.desired = DesiredGpu::Without { instances: vec![taken], computes: Vec::new() };
    let spec = ChangeSpec { wait_idle: true, ..Rig::change_of_gpus(vec![old]) };
    let refused = rig.change(spec).unwrap_err();
    assert_eq!(refused.code(), "E-MACHINE-CHANGED", "{refused}");
    assert!(rig.is_active(lease));
}

#[test]
fn leases_that_may_be_preempted_are_asked_to_leave() {
    let mut rig = Rig::new(&["a100-sxm4-40gb"]);
    let mut asked = rig.spec(1, "3g.20gb");
    asked.terms.preemptible = true;
    let lease = rig.request(asked).unwrap();
    rig.settle();
    let desired = rig.exactly(&uuid(0), &[("7g.40gb", None)]);
    let part = rig.part(&uuid(0), desired);
    let spec = ChangeSpec { wait_idle: true, ..Rig::change_of_gpus(vec![part]) };
    let id = rig.change(spec).unwrap();
    assert!(rig.lease(lease).notice.is_some() && rig.is_active(lease));
    rig.tick(Millis::from_secs(61));
    rig.run_out();
    assert!(rig.is_done(id) && rig.state.lease(lease).is_none());
}

#[test]
fn a_mode_change_takes_the_gpu_out_of_use_and_resets_where_it_must() {
    for resets in [false, true] {
        let mut machine = Machine::new(&["a100-sxm4-40gb"]);
        machine.node.gpus[0].mig = mode(MigMode::Disabled);
        machine.node.gpus[0].compute_capability = Some(if resets { (8, 0) } else { (9, 0) });
        if resets {
            machine.resets_for_mode.insert(uuid(0));
        }
        let mut rig = Rig::with(machine, broker::Policy::default());
        let id = rig.asked(0, &[("3g.20gb", Some(0))]);
        assert!(rig.state.maintenance.contains(&uuid(0)));
        assert_eq!(rig.running[0].plan.steps.len(), if resets { 4 } else { 3 });
        rig.run_out();
        assert!(rig.is_done(id) && rig.state.maintenance.is_empty());
        assert_eq!(rig.names(0), ["3g.20gb at 0:4"]);
        // And back: instances go first, then the mode.
        let part = rig.part(&uuid(0), DesiredGpu::Whole);
        let spec = Rig::change_of_gpus(vec![part]);
        let id = rig.change(spec).unwrap();
        rig.run_out();
        assert!(rig.is_done(id) && !rig.machine.gpu(&uuid(0)).mig.is_enabled());
    }
}

#[test]
fn units_are_stopped_before_and_run_again_after_whatever_happens() {
    for how in ["well", "refused", "crash", "reboot"] {
        let mut rig = Rig::new(&["a30"]);
        let desired = rig.exactly(&uuid(0), &[("2g.12gb", None)]);
        let part = rig.part(&uuid(0), desired);
        let units = vec!["nvidia-dcgm.service".to_string()];
        let spec = ChangeSpec { units, ..Rig::change_of_gpus(vec![part]) };
        let id = rig.change(spec).unwrap();
        assert!(rig.running.is_empty(), "not before they are stopped");
        rig.do_effect(0);
        assert_eq!((rig.stopped.len(), rig.running.len()), (1, 1));
        rig.advance(0, Advance::Well);
        match how {
            "refused" => rig.advance(0, Advance::Refused),
            "crash" => rig.crash(),
            "reboot" => rig.reboot(),
            _ => {}
        }
        rig.run_out();
        assert!(rig.stopped.is_empty(), "{how}");
        assert_eq!(rig.the(id).units.state, UnitsState::Started, "{how}");
        assert_eq!(rig.is_done(id), how == "well");
    }
}

/// A service must not stand still for as long as somebody keeps a change waiting.
/// A service that is started again while a change waits has other processes; they are its own all the same.
#[test]
fn a_unit_that_was_started_again_while_a_change_waits_is_not_in_the_way() {
    let mut machine = Machine::new(&["a30"]);
    machine.node.gpus[0].mig = mode(MigMode::Disabled);
    let held_by = |rig: &mut Rig, pids: &[u32]| {
        let process = |pid: &u32| GpuProcess { pid: *pid, memory: None };
        rig.machine.node.gpus[0].processes = pids.iter().map(process).collect();
        rig.observe();
    };
    let mut rig = Rig::with(machine, broker::Policy::default());
    held_by(&mut rig, &[40, 7]);
    let spec = Rig::change_of_gpus(vec![rig.part(&uuid(0), DesiredGpu::Sliced)]);
    let units = vec!["nvidia-dcgm.service".to_string()];
    let id = rig.change(ChangeSpec { units, leaving: vec![40], wait_idle: true, ..spec }).unwrap();
    assert_eq!(rig.the(id).units.state, UnitsState::Untouched, "7 is in the way");
    held_by(&mut rig, &[41]);
    assert_eq!(
        rig.the(id).units.state,
        UnitsState::Untouched,
        "and so is 41, for all that is known"
    );
    rig.command(Command::UnitsRunAs { change: id, leaving: vec![41] }).unwrap();
    assert_eq!(rig.the(id).units.state, UnitsState::Stopping);
    // While they are being stopped nobody's word changes what was decided.
    rig.command(Command::UnitsRunAs { change: id, leaving: vec![42] }).unwrap();
    assert_eq!(rig.the(id).leaving, [41]);
}

#[test]
fn units_run_on_while_a_change_waits_for_somebody() {
    let mut rig = Rig::new(&["a100-sxm4-40gb", "a30"]);
    let lease = rig.ask(1, "3g.20gb");
    let one = rig.exactly(&uuid(0), &[("4g.20gb", Some(0)), ("2g.10gb", Some(4))]);
    let two = rig.exactly(&uuid(1), &[("4g.24gb", None)]);
    let parts = vec![rig.part(&uuid(0), one), rig.part(&uuid(1), two)];
    let units = vec!["nvidia-dcgm.service".to_string()];
    let spec = ChangeSpec { units, wait_idle: true, ..Rig::change_of_gpus(parts) };
    let id = rig.change(spec).unwrap();
    rig.settle();
    rig.tick(Millis::from_secs(60));
    rig.settle();
    assert!(rig.stopped.is_empty() && rig.the(id).units.state == UnitsState::Untouched);
    assert_eq!(
        rig.names(0),
        ["3g.20gb at 4:4", "4g.20gb at 0:4"],
        "what they are not in the way of"
    );
    let client = rig.client(lease);
    rig.exit(client);
    rig.settle();
    rig.run_out();
    assert!(rig.is_done(id) && rig.stopped.is_empty(), "{:?}", rig.the(id));
    assert_eq!(rig.the(id).units.state, UnitsState::Started);
    assert_eq!(rig.names(1), ["4g.24gb at 0:4"]);
}

#[test]
fn a_crash_between_stopping_and_starting_loses_no_unit() {
    for after_stop in [false, true] {
        let mut rig = Rig::new(&["a30"]);
        let desired = rig.exactly(&uuid(0), &[("2g.12gb", None)]);
        let part = rig.part(&uuid(0), desired);
        let units = vec!["nvidia-dcgm.service".to_string()];
        let spec = ChangeSpec { units, ..Rig::change_of_gpus(vec![part]) };
        let id = rig.change(spec).unwrap();
        if after_stop {
            rig.do_effect(0);
        } else {
            // They were stopped, and nobody heard of it.
            rig.stopped.insert("nvidia-dcgm.service".into());
        }
        rig.crash();
        rig.run_out();
        assert!(rig.stopped.is_empty() && !rig.the(id).is_open());
    }
}

#[test]
fn a_unit_that_does_not_stop_ends_the_change_before_it_begins() {
    let mut rig = Rig::new(&["a30"]);
    let desired = rig.exactly(&uuid(0), &[("2g.12gb", None)]);
    let part = rig.part(&uuid(0), desired);
    let spec = ChangeSpec { units: vec!["x.service".into()], ..Rig::change_of_gpus(vec![part]) };
    let id = rig.change(spec).unwrap();
    rig.due.clear();
    let trouble = vec!["x.service did not stop within 30 s".to_string()];
    rig.own(Command::UnitsStopped { change: id, trouble });
    rig.run_out();
    assert!(rig.names(0).is_empty());
    let Some(Turn::Failed(words)) = &rig.the(id).turned else { panic!("{:?}", rig.the(id)) };
    assert!(words.contains("did not stop"));
}

#[test]
fn a_fixed_gpu_is_nobodys_or_lends_what_lies_there() {
    for lend in [false, true] {
        let mut rig = Rig::new(&["a30"]);
        let desired = rig.exactly(&uuid(0), &[("2g.12gb", None), ("1g.6gb", None)]);
        let part = GpuChangeSpec { fix: Some(lend), ..rig.part(&uuid(0), desired) };
        let spec = Rig::change_of_gpus(vec![part]);
        let id = rig.change(spec).unwrap();
        rig.run_out();
        assert!(rig.is_done(id));
        let two = rig.ask(1, "2g.12gb");
        assert_eq!(rig.is_active(two), lend);
        // There would be room for it, but not without cutting.
        let three = rig.ask(2, "1g.6gb");
        let four = rig.ask(2, "1g.6gb");
        assert_eq!((rig.is_active(three), rig.is_active(four)), (lend, false));
        assert!(rig.why(four).contains("fixed by apply -f lab.yaml"), "{}", rig.why(four));
        rig.tick(Millis::from_secs(10_000));
        rig.settle();
        assert_eq!(rig.names(0).len(), 2, "nothing is retired");
        let back = Command::HandBack { gpu: uuid(0), by: PEER_ADMIN };
        rig.command(back.clone()).unwrap();
        rig.settle();
        assert!(rig.is_active(four) && rig.is_active(two));
        let refused = rig.command(back);
        assert!(matches!(refused, Err(Refusal::Change(ChangeRefusal::NotFixed(_)))));
    }
}

#[test]
fn what_lies_on_a_fixed_gpu_after_a_restart_of_the_machine_stays_its_makers() {
    let mut rig = Rig::new(&["a30"]);
    let desired = rig.exactly(&uuid(0), &[("4g.24gb", None)]);
    let part = GpuChangeSpec { fix: Some(false), ..rig.part(&uuid(0), desired) };
    let spec = Rig::change_of_gpus(vec![part]);
    let id = rig.change(spec).expect("accepted");
    rig.run_out();
    assert!(rig.is_done(id));
    let made = rig.machine.gpu(&uuid(0)).instances[0].clone();
    rig.machine.reboot();
    let part = PlacedProfile { placement: made.placement, profile: made.profile };
    rig.machine.foreign_create(&uuid(0), part, Origin::Foreign).unwrap();
    assert_eq!(rig.machine.gpu(&uuid(0)).instances[0].id, made.id, "it looks the same");
    rig.restarted();
    rig.command(Command::HandBack { gpu: uuid(0), by: PEER_ADMIN }).unwrap();
    rig.settle();
    rig.tick(Millis::from_secs(400));
    rig.settle();
    assert!(rig.state.slices.is_empty(), "{:?}", rig.state.slices);
    assert_eq!(rig.names(0).len(), 1);
}

#[test]
fn what_is_booked_is_not_lent_on_a_gpu_that_was_fixed_since() {
    let mut rig = Rig::new(&["a30"]);
    let from = rig.now.plus(Millis::from_secs(3600));
    let spec = broker::BookingSpec {
        tenant: model::Tenant::new("user2"),
        uid: model::Uid::new(2),
        wanted: broker::Wanted::Profile("4g.24gb".parse().unwrap()),
        count: 1,
        gpu: broker::GpuSelector::Any,
        from,
        until: from.plus(Millis::from_secs(3600)),
        name: None,
        window: None,
    };
    rig.command(Command::Book { spec, by: peer(2) }).expect("booked");
    let desired = rig.exactly(&uuid(0), &[("2g.12gb", None), ("2g.12gb", None)]);
    let part = GpuChangeSpec { fix: Some(true), ..rig.part(&uuid(0), desired) };
    rig.change(Rig::change_of_gpus(vec![part])).expect("accepted");
    rig.run_out();
    let endless = rig.ask(1, "2g.12gb");
    let mut short = rig.spec(3, "2g.12gb");
    short.time = Some(Millis::from_secs(600));
    let short = rig.request(short).expect("accepted");
    rig.settle();
    assert!(rig.is_queued(endless) && rig.is_active(short), "{}", rig.why(short));
}

#[test]
fn a_change_that_waited_does_not_build_over_a_lease_whose_slice_is_gone() {
    let mut rig = Rig::new(&["a30"]);
    let robbed = rig.ask(1, "2g.12gb");
    let mut limited = rig.spec(2, "2g.12gb");
    limited.time = Some(Millis::from_secs(60));
    rig.request(limited).expect("accepted");
    rig.settle();
    let key = rig.lease(robbed).slices[0].key.clone();
    let start = key.placement.start.get();
    let desired = rig.exactly(&uuid(0), &[("2g.12gb", Some(start)), ("1g.6gb", None)]);
    let part = rig.part(&uuid(0), desired);
    let spec = ChangeSpec { wait_idle: true, ..Rig::change_of_gpus(vec![part]) };
    let id = rig.change(spec).expect("accepted");
    rig.settle();
    // The GPU was looked at; before that is told, the time of the other lease is over.
    rig.machine.foreign_destroy(&key).unwrap();
    rig.stolen.insert(key);
    rig.disturb(&uuid(0));
    rig.observed.gpus[0] = rig.machine.gpu(&uuid(0)).clone();
    rig.now = rig.now.plus(Millis::from_secs(61));
    rig.own(Command::Tick);
    assert!(matches!(rig.ended(robbed), Some(broker::EndReason::SliceLost(_))));
    rig.run_out();
    assert!(rig.is_done(id), "{:?}", rig.the(id));
}

#[test]
fn the_mode_does_not_go_back_over_what_a_stranger_made_meanwhile() {
    let mut machine = Machine::new(&["a100-sxm4-40gb"]);
    machine.node.gpus[0].mig = mode(MigMode::Disabled);
    machine.node.gpus[0].compute_capability = Some((9, 0));
    let mut rig = Rig::with(machine, broker::Policy::default());
    let id = rig.asked(0, &[("3g.20gb", Some(0))]);
    rig.do_steps(1);
    let geometry = rig.machine.gpu(&uuid(0)).geometry.clone().unwrap();
    let named = |p: &&model::GpuInstanceProfile| p.name.to_string() == "1g.5gb";
    let profile = geometry.profiles.iter().find(named).unwrap().id;
    let part = PlacedProfile { placement: Placement::new(4, 1), profile };
    rig.machine.foreign_create(&uuid(0), part, Origin::Foreign).unwrap();
    rig.disturb(&uuid(0));
    rig.advance(0, Advance::Refused);
    rig.run_out();
    let Progress::Stands { found } = &rig.the(id).gpus[&uuid(0)].progress else {
        panic!("{:?}", rig.the(id))
    };
    assert!(found.contains("somebody else made an instance there"), "{found}");
    assert_eq!(rig.names(0), ["1g.5gb at 4:1"]);
}

#[test]
fn a_slice_of_ours_on_a_gpu_that_falls_silent_when_it_is_taken_back_is_not_forgotten() {
    let mut rig = Rig::new(&["a30"]);
    let idle = rig.ask(1, "2g.12gb");
    let key = rig.lease(idle).slices[0].key.clone();
    rig.release(idle);
    let id = rig.asked(0, &[]);
    rig.do_steps(1);
    rig.advance(0, Advance::Refused);
    rig.do_steps(1);
    let plan = rig.running.remove(0).id;
    rig.observed.gpus[0].health = Health::Failing("it cannot be read".into());
    rig.own(Command::PlanFinished { plan, slices: Vec::new() });
    assert!(!rig.the(id).is_open() && !rig.state.slices.contains_key(&key));
    rig.observe();
    rig.settle();
    assert!(rig.state.slices.contains_key(&key), "{:?}", rig.state.orphans);
}

#[test]
fn what_a_stranger_made_meanwhile_stays() {
    let mut rig = Rig::new(&["a100-sxm4-40gb"]);
    let id = rig.asked(0, &[("3g.20gb", Some(4)), ("1g.5gb", Some(0))]);
    for _ in 0..3 {
        rig.advance(0, Advance::Well);
    }
    let geometry = rig.machine.gpu(&uuid(0)).geometry.clone().unwrap();
    let named = |p: &&model::GpuInstanceProfile| p.name.to_string() == "1g.5gb";
    let profile = geometry.profiles.iter().find(named).unwrap().id;
    let placement = Placement::new(2, 1);
    let part = PlacedProfile { placement, profile };
    rig.machine.foreign_create(&uuid(0), part, Origin::Foreign).unwrap();
    rig.disturb(&uuid(0));
    rig.advance(0, Advance::Refused);
    rig.run_out();
    assert_eq!(rig.the(id).gpus[&uuid(0)].progress, Progress::Undone);
    assert_eq!(rig.names(0), ["1g.5gb at 2:1"]);
}

#[test]
fn a_gpu_that_is_lost_meanwhile_is_reported_as_unknown() {
    let mut rig = Rig::new(&["a30"]);
    let id = rig.asked(0, &[("2g.12gb", None)]);
    rig.advance(0, Advance::Well);
    rig.advance(0, Advance::Well);
    rig.machine.gpu_mut(&uuid(0)).health = Health::ResetRequired;
    rig.disturb(&uuid(0));
    rig.advance(0, Advance::Refused);
    rig.run_out();
    let Progress::Stands { found } = &rig.the(id).gpus[&uuid(0)].progress else {
        panic!("{:?}", rig.the(id))
    };
    assert!(found.contains("not known"), "{found}");
}

#[test]
fn processes_on_the_gpu_are_in_the_way_of_its_mode_and_nothing_is_tried() {
    let mut machine = Machine::new(&["a30"]);
    machine.node.gpus[0].mig = mode(MigMode::Disabled);
    machine.node.gpus[0].processes = vec![GpuProcess { pid: 7, memory: None }];
    let mut rig = Rig::with(machine, broker::Policy::default());
    let part = rig.part(&uuid(0), DesiredGpu::Sliced);
    let spec = Rig::change_of_gpus(vec![part]);
    let refused = rig.change(spec);
    let Err(Refusal::Change(ChangeRefusal::Busy(words))) = refused else { panic!("{refused:?}") };
    assert!(words.contains("process 7"), "{words}");
}
