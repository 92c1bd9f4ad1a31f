//! `SetMigMode` row by row, and what survives reset, driver reload and reboot.

mod common;

use common::{NOW, create, host, host_with, mig, process, root};
use model::MigMode::{self, Disabled, Enabled};
use model::{MemoryMib, ProcessId};
use sim_gpu::{
    Activity, Caller, ChipKind, ContextKind, ContextRequest, GpuHealth, HoldKind, Holder, Node,
    Return, Rights, Target, Virtualization,
};

fn set(node: &mut Node, caller: Caller, mode: MigMode) -> Result<Return, Return> {
    node.set_mig_mode(0, caller, mode, NOW).map(|change| change.activation)
}

fn occupy(node: &mut Node, pid: u32) -> sim_gpu::ContextId {
    let request = ContextRequest {
        process: process(pid),
        gpu: 0,
        target: Target::Gpu,
        memory: MemoryMib::new(100),
        kind: ContextKind::Compute,
        activity: Activity::default(),
        now: NOW,
    };
    node.open_context(request).expect("there is room")
}

fn holder(kind: HoldKind) -> Holder {
    Holder { name: "dcgm".into(), pid: 4242, gpu: Some(0), target: Target::Gpu, kind }
}

#[test]
fn only_root_changes_the_mode() {
    for kind in ["a30:1", "h100-sxm5-80gb:1"] {
        for rights in [Rights::Plain, Rights::MonitorCapable, Rights::ConfigCapable] {
            let mut node = host(kind);
            let caller = Caller { process: process(9), rights };
            assert_eq!(set(&mut node, caller, Enabled), Err(Return::NoPermission));
            assert_eq!(node.mig_mode(0), Ok((Disabled, Disabled)));
        }
    }
}

#[test]
fn a_gpu_without_mig_does_not_support_it() {
    let mut node = host("rtx-pro-6000-ws:1");
    node.gpus[0].mig_refused = true;
    assert_eq!(set(&mut node, Caller::plain(process(9)), Enabled), Err(Return::NotSupported));
    assert_eq!(node.mig_mode(0), Err(Return::NotSupported));
    assert_eq!(node.max_mig_devices(0), Ok(0));
    assert_eq!(node.profile_by_enum(0, 0), Err(Return::NotSupported));
}

#[test]
fn a_guest_may_not() {
    let mut node = host("a30:1");
    node.gpus[0].virtualization = Virtualization::VgpuGuest;
    assert_eq!(set(&mut node, root(), Enabled), Err(Return::NoPermission));
}

#[test]
fn the_mode_that_is_in_force_is_accepted() {
    for mut node in [host("a30:1"), host("h100-sxm5-80gb:1")] {
        let events = node.last_event();
        assert_eq!(set(&mut node, root(), Disabled), Ok(Return::Success));
        assert_eq!((node.mig_mode(0), node.last_event()), (Ok((Disabled, Disabled)), events));
    }
}

#[test]
fn an_idle_gpu_changes_at_once() {
    for mut node in [host("a30:1"), host("h100-sxm5-80gb:1")] {
        assert_eq!(set(&mut node, root(), Enabled), Ok(Return::Success));
        assert_eq!(node.mig_mode(0), Ok((Enabled, Enabled)));
        assert_eq!(set(&mut node, root(), Disabled), Ok(Return::Success));
        assert_eq!(node.mig_mode(0), Ok((Disabled, Disabled)));
    }
}

#[test]
fn a_held_ampere_gpu_stays_pending_until_it_is_free_and_reset() {
    for hold in [None, Some(HoldKind::Client), Some(HoldKind::Session)] {
        let mut node = host("a30:1");
        let context = match hold {
            None => Some(occupy(&mut node, 7)),
            Some(kind) => {
                node.add_holder(holder(kind));
                None
            }
        };
        assert_eq!(set(&mut node, root(), Enabled), Ok(Return::InUse));
        assert_eq!(node.mig_mode(0), Ok((Disabled, Enabled)));
        assert_eq!(node.reset_gpu(0, root(), NOW), Err(Return::InUse));
        match context {
            Some(id) => assert!(node.close_context(id)),
            None => assert!(node.remove_holder("dcgm")),
        }
        assert_eq!(node.reset_gpu(0, root(), NOW), Ok(()));
        assert_eq!(node.mig_mode(0), Ok((Enabled, Enabled)));
    }
}

#[test]
fn a_pending_wish_can_be_taken_back_or_repeated() {
    let mut node = host("a30:1");
    node.add_holder(holder(HoldKind::Client));
    assert_eq!(set(&mut node, root(), Enabled), Ok(Return::InUse));
    assert_eq!(set(&mut node, root(), Disabled), Ok(Return::Success));
    assert_eq!(node.mig_mode(0), Ok((Disabled, Disabled)));
    assert_eq!(set(&mut node, root(), Enabled), Ok(Return::InUse));
    node.remove_holder("dcgm");
    assert_eq!(set(&mut node, root(), Enabled), Ok(Return::Success));
    assert_eq!(node.mig_mode(0), Ok((Enabled, Enabled)));
}

#[test]
fn the_callers_own_session_is_not_in_its_way_and_others_are_where_the_knob_says() {
    for (blocks, pid, expected) in
        [(true, 100, Return::Success), (true, 5, Return::InUse), (false, 5, Return::Success)]
    {
        let mut node = host("a30:1");
        node.knobs.sessions_block_mode = blocks;
        node.open_session(process(pid));
        assert_eq!(set(&mut node, root(), Enabled), Ok(expected), "{blocks} {pid}");
    }
    let mut hopper = host("h100-sxm5-80gb:1");
    hopper.open_session(process(5));
    assert_eq!(set(&mut hopper, root(), Enabled), Ok(Return::Success));
}

#[test]
fn passthrough_waits_for_a_reboot() {
    let mut node = host("a30:1");
    node.gpus[0].virtualization = Virtualization::Passthrough;
    assert_eq!(set(&mut node, root(), Enabled), Ok(Return::ResetRequired));
    assert_eq!(node.mig_mode(0), Ok((Disabled, Enabled)));
    assert_eq!(node.reset_gpu(0, root(), NOW), Err(Return::NotSupported));
    node.reboot(NOW);
    assert_eq!(node.mig_mode(0), Ok((Enabled, Enabled)));
    let mut hopper = host("h100-sxm5-80gb:1");
    hopper.gpus[0].virtualization = Virtualization::Passthrough;
    assert_eq!(set(&mut hopper, root(), Enabled), Ok(Return::Success));
}

#[test]
fn instances_keep_the_mode_on() {
    for board in ["a30", "h100-sxm5-80gb"] {
        let mut node = mig(board);
        let made = create(&mut node, "1g").unwrap();
        assert_eq!(set(&mut node, root(), Disabled), Err(Return::InUse));
        assert_eq!(node.mig_mode(0), Ok((Enabled, Enabled)));
        node.destroy_gpu_instance(0, root(), made, NOW).unwrap();
        assert_eq!(set(&mut node, root(), Disabled), Ok(Return::Success));
    }
}

#[test]
fn the_architecture_can_be_overridden() {
    let mut node = host("a30:1");
    node.gpus[0].resetless = Some(true);
    node.open_session(process(5));
    assert_eq!(set(&mut node, root(), Enabled), Ok(Return::Success));
    assert_eq!(node.mode_change_needs_reset(0), Ok(false));
    let mut node = host("h100-sxm5-80gb:1");
    node.gpus[0].resetless = Some(false);
    node.open_session(process(5));
    assert_eq!(set(&mut node, root(), Enabled), Ok(Return::InUse));
}

fn alone(_: ProcessId) -> bool {
    false
}

#[test]
fn the_persistence_matrix() {
    type Event = fn(&mut Node);
    let client_exit: Event = |node| {
        node.open_session(process(5));
        assert!(node.forget_dead(&alone));
    };
    let reset: Event = |node| node.reset_gpu(0, root(), NOW).expect("nobody is there");
    let reload: Event = |node| node.reload_driver(root(), NOW).expect("nobody is there");
    let reboot: Event = |node| node.reboot(NOW);
    let wipe: Event = |node| node.wipe(NOW);
    for (name, event, ampere, hopper, instances) in [
        ("client exit", client_exit, Enabled, Enabled, 1),
        ("reset", reset, Enabled, Enabled, 0),
        ("driver reload", reload, Enabled, Disabled, 0),
        ("reboot", reboot, Enabled, Disabled, 0),
        ("wipe", wipe, Disabled, Disabled, 0),
    ] {
        for (board, mode) in
            [("a100-sxm4-80gb", ampere), ("h200-sxm-141gb", hopper), ("b200", hopper)]
        {
            let mut node = mig(board);
            create(&mut node, "2g").unwrap();
            event(&mut node);
            assert_eq!(node.mig_mode(0), Ok((mode, mode)), "{name} on {board}");
            assert_eq!(node.gpus[0].instances.len(), instances, "{name} on {board}");
            node.check_invariants().unwrap();
        }
    }
}

#[test]
fn persistence_mode_keeps_a_gpu_from_being_reset() {
    let mut node = host("dgx-a100");
    node.set_persistence(0, root(), true).unwrap();
    assert_eq!(node.reset_gpu(0, root(), NOW), Err(Return::InUse));
    assert_eq!(node.reset_gpu(1, root(), NOW), Ok(()), "another GPU is not concerned");
    node.set_persistence(0, root(), false).unwrap();
    assert_eq!(node.reset_gpu(0, root(), NOW), Ok(()));
}

#[test]
fn reset_and_reload_want_root_and_an_unused_machine() {
    let mut node = host("dgx-a100");
    let plain = Caller { process: process(9), rights: Rights::ConfigCapable };
    assert_eq!(node.reset_gpu(0, plain, NOW), Err(Return::NoPermission));
    assert_eq!(node.reload_driver(plain, NOW), Err(Return::NoPermission));
    let context = occupy(&mut node, 7);
    assert_eq!(node.reset_gpu(0, root(), NOW), Err(Return::InUse));
    assert_eq!(node.reset_gpu(1, root(), NOW), Ok(()), "another GPU is not concerned");
    assert_eq!(node.reload_driver(root(), NOW), Err(Return::InUse));
    node.close_context(context);
    assert_eq!(node.reload_driver(root(), NOW), Ok(()));
    node.set_health(0, GpuHealth::ResetRequired, sim_gpu::RecoveryAction::GpuReset, NOW).unwrap();
    assert_eq!(node.mig_mode(0), Err(Return::ResetRequired));
    assert_eq!(node.reset_gpu(0, root(), NOW), Ok(()));
    assert_eq!(node.mig_mode(0), Ok((Disabled, Disabled)));
    node.inject_xid(0, 79, Target::Gpu, NOW).unwrap();
    assert_eq!(node.mig_mode(0), Err(Return::GpuIsLost));
    assert_eq!(node.reset_gpu(0, root(), NOW), Err(Return::GpuIsLost));
    node.reboot(NOW);
    assert_eq!(node.mig_mode(0), Ok((Disabled, Disabled)));
}

#[test]
fn a_reset_makes_old_handles_dead() {
    let mut node = host_with("a100-sxm4-40gb:1", ChipKind::Plain);
    set(&mut node, root(), Enabled).unwrap();
    let generation = node.gpus[0].generation;
    let old = create(&mut node, "7g").unwrap();
    node.reset_gpu(0, root(), NOW).unwrap();
    let new = create(&mut node, "7g").unwrap();
    assert_ne!(node.gpus[0].generation, generation);
    assert_eq!(node.gpu_instance(0, old), Err(Return::InvalidArgument));
    assert!(node.gpu_instance(0, new).is_ok());
}
