//! MIG mode: enabled by the daemon where nothing is, if it may, and with the GPU out of use.

use broker::{Effect, Policy};
use model::{GpuProcess, Health, MigMode, Millis, Purpose, Step};

use crate::machine::{Machine, Rig, mode};

fn machine(boards: &[&str]) -> Machine {
    let mut machine = Machine::new(boards);
    for gpu in &mut machine.node.gpus {
        gpu.mig = mode(MigMode::Disabled);
    }
    machine
}

fn may_enable() -> Policy {
    Policy { auto_mig: true, ..Policy::default() }
}

#[test]
fn only_empty_gpus_without_mig_are_prepared() {
    let mut machine = machine(&["a30", "a30", "a30", "a30"]);
    machine.node.gpus[1].processes = vec![GpuProcess { pid: 7, memory: None }];
    machine.node.gpus[2].mig = mode(MigMode::Enabled);
    machine.node.gpus[3].health = Health::ResetRequired;
    let first = machine.node.gpus[0].uuid.clone();
    let mut rig = Rig::with(machine, may_enable());
    assert_eq!(rig.running.len(), 1);
    assert_eq!(rig.running[0].plan.purpose, Purpose::Prepare);
    let enable = Step::SetMigMode { gpu: first.clone(), mode: MigMode::Enabled };
    assert_eq!(rig.running[0].plan.steps, [enable]);
    rig.settle();
    assert!(rig.machine.gpu(&first).mig.is_enabled());
    // The process leaves: now that GPU is empty, too.
    rig.machine.node.gpus[1].processes.clear();
    rig.settle();
    assert!(rig.machine.node.gpus[1].mig.is_enabled());
}

#[test]
fn a_gpu_under_preparation_is_nobodys() {
    let mut rig = Rig::with(machine(&["a30"]), may_enable());
    let gpu = rig.machine.node.gpus[0].uuid.clone();
    assert!(rig.state.maintenance.contains(&gpu));
    let spec = rig.spec(1, "1g.6gb");
    let id = rig.request(spec).unwrap();
    assert!(rig.is_queued(id));
    assert_eq!(rig.why(id), "GPU 0 to be made ready for slices");
    rig.settle();
    assert!(rig.state.maintenance.is_empty() && rig.is_active(id));
}

#[test]
fn nothing_is_prepared_unless_the_owner_allows_it() {
    let mut rig = Rig::with(machine(&["a30"]), Policy::default());
    rig.tick(Millis::from_secs(100));
    rig.settle();
    assert!(rig.journal.len() == 1 && !rig.machine.node.gpus[0].mig.is_enabled());
}

#[test]
fn a_mode_that_waits_for_a_reset_is_brought_into_force() {
    let mut machine = machine(&["a100-sxm4-40gb"]);
    let gpu = machine.node.gpus[0].uuid.clone();
    machine.resets_for_mode.insert(gpu.clone());
    let mut rig = Rig::with(machine, may_enable());
    let spec = rig.spec(1, "1g.5gb");
    let id = rig.request(spec).unwrap();
    rig.settle();
    assert!(rig.machine.gpu(&gpu).mig.needs_reset() && rig.state.maintenance.is_empty());
    assert_eq!(rig.why(id), "GPU 0 to be reset, so that its MIG mode comes into force");
    rig.tick(Millis::new(1999));
    assert!(rig.running.is_empty(), "it is not hammered");
    rig.tick(Millis::new(1));
    assert_eq!(rig.running[0].plan.steps, [Step::ResetGpu { gpu }]);
    rig.settle();
    assert!(rig.is_active(id));
}

#[test]
fn a_restart_during_preparation_ends_the_maintenance() {
    let mut rig = Rig::with(machine(&["a30"]), may_enable());
    rig.crash();
    assert!(rig.state.maintenance.is_empty());
    rig.settle();
    rig.tick(Millis::from_secs(30));
    rig.settle();
    assert!(rig.machine.node.gpus[0].mig.is_enabled());
    assert!(!rig.due.iter().any(|effect| matches!(effect, Effect::Signal { .. })));
}
