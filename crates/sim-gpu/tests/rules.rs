//! Rights, order rules and errors of making and destroying instances.

mod common;

use common::{NOW, compute, create, create_at, host, mig, process, profile, root};
use model::{ComputeInstanceId, GpuInstanceId, GpuInstanceProfileId, MigMode, Placement};
use sim_gpu::{
    Caller, ComputeInstanceRequest, EventKind, HoldKind, Holder, InstanceRef, Node, Return, Rights,
    StaleHandles, Target, Virtualization,
};

fn plain() -> Caller {
    Caller::plain(process(9))
}

fn configurer() -> Caller {
    Caller { process: process(9), rights: Rights::ConfigCapable }
}

/// Every call that wants the configuration right, made by `caller` on GPU 0 with a 2g instance.
fn privileged_calls(node: &mut Node, caller: Caller, instance: InstanceRef) -> Vec<Option<Return>> {
    let small = profile(node, "1g");
    let part = node.compute_profile_by_enum(0, instance, 0).map(|profile| profile.id);
    let part = part.unwrap_or(model::ComputeInstanceProfileId::new(0));
    let request = ComputeInstanceRequest { instance, profile: part, placement: None };
    let made = node.create_compute_instance(0, caller, request, NOW);
    let mut answers = vec![
        node.create_gpu_instance(0, caller, small, None, NOW).err(),
        node.gpu_instances(0, caller, small).err(),
        node.gpu_instance_by_id(0, caller, instance.id).err(),
        node.remaining_capacity(0, caller, small).err(),
        made.err(),
        node.compute_instances(0, caller, instance, part).err(),
        node.compute_remaining_capacity(0, caller, instance, part).err(),
        node.compute_possible_placements(0, caller, instance, part).err(),
    ];
    if let Ok(made) = made {
        answers.push(node.compute_instance_by_id(0, caller, instance, made.id).err());
        answers.push(node.destroy_compute_instance(0, caller, made, NOW).err());
    }
    answers.push(node.destroy_gpu_instance(0, caller, instance, NOW).err());
    answers
}

#[test]
fn plain_users_change_nothing_and_see_devices() {
    let mut node = mig("a30");
    let instance = create(&mut node, "2g").unwrap();
    let device = compute(&mut node, instance, 2).unwrap();
    let before = node.clone();
    let answers = privileged_calls(&mut node, plain(), instance);
    assert!(answers.iter().all(|answer| *answer == Some(Return::NoPermission)), "{answers:?}");
    let small = profile(&node, "1g");
    assert_eq!(node.possible_placements(0, plain(), small), Err(Return::NoPermission));
    assert_eq!(node, before);
    assert_eq!(node.mig_device_by_index(0, 0), Ok(device));
    assert!(node.gpu_instance(0, instance).is_ok() && node.mig_device(0, device).is_ok());
    assert!(node.profile_by_enum(0, 0).is_ok());
    node.destroy_compute_instance(0, root(), device, NOW).unwrap();
    let answers = privileged_calls(&mut node, configurer(), instance);
    assert_eq!(answers, [None; 11]);
    assert_eq!(
        node.set_mig_mode(0, configurer(), MigMode::Disabled, NOW),
        Err(Return::NoPermission)
    );
}

#[test]
fn with_mig_off_instances_are_not_supported() {
    let mut node = host("a30:1");
    let ghost = InstanceRef { id: GpuInstanceId::new(3), generation: 1 };
    let answers = privileged_calls(&mut node, root(), ghost);
    assert!(answers.iter().all(|answer| *answer == Some(Return::NotSupported)), "{answers:?}");
    assert_eq!(node.max_mig_devices(0), Ok(0));
    assert_eq!(node.mig_device_by_index(0, 0), Err(Return::NotFound));
    let small = profile(&node, "1g");
    assert_eq!(node.possible_placements(0, root(), small).unwrap().len(), 4);
    assert!(node.profile_by_enum(0, 0).is_ok());
    node.knobs.profiles_with_mig_off = false;
    assert_eq!(node.profile_by_enum(0, 0), Err(Return::NotSupported));
}

#[test]
fn profiles_are_enumerated_until_invalid_argument() {
    let node = mig("rtx-pro-6000-bse");
    let answers: Vec<Result<u32, Return>> =
        (0..20).map(|number| node.profile_by_enum(0, number).map(|p| p.id.get())).collect();
    let known: Vec<u32> = answers.iter().filter_map(|answer| answer.ok()).collect();
    assert_eq!(known, [14, 5, 0, 21, 47, 35, 32, 67, 66, 65, 64]);
    assert_eq!(answers[2], Err(Return::NotSupported));
    assert_eq!(answers[0x11], Err(Return::NotSupported));
    assert_eq!(answers[0x12], Err(Return::InvalidArgument));
    assert_eq!(node.profile_by_id(0, GpuInstanceProfileId::new(19)), Err(Return::InvalidArgument));
    assert_eq!(node.max_mig_devices(0), Ok(4));
    assert_eq!(node.max_mig_devices(1), Err(Return::InvalidArgument));
}

#[test]
fn placements_are_legal_free_or_refused() {
    let mut node = mig("a100-sxm4-80gb");
    let three = profile(&node, "3g");
    assert_eq!(
        node.possible_placements(0, root(), three),
        Ok(vec![Placement::new(0, 4), Placement::new(4, 4)])
    );
    for illegal in [Placement::new(1, 4), Placement::new(0, 3), Placement::new(4, 8)] {
        let made = node.create_gpu_instance(0, root(), three, Some(illegal), NOW);
        assert_eq!(made, Err(Return::InvalidArgument), "{illegal}");
    }
    create_at(&mut node, "3g", 4).unwrap();
    assert_eq!(create_at(&mut node, "3g", 4), Err(Return::InsufficientResources));
    assert_eq!(create_at(&mut node, "1g", 5), Err(Return::InsufficientResources));
    assert_eq!(create(&mut node, "7g"), Err(Return::InsufficientResources));
    create_at(&mut node, "1g.10gb+me", 0).unwrap();
    let media = profile(&node, "1g.10gb+me");
    assert_eq!(node.remaining_capacity(0, root(), media), Ok(0));
    assert_eq!(create_at(&mut node, "1g.10gb+me", 1), Err(Return::InsufficientResources));
    let listed = node.gpu_instances(0, root(), media).unwrap();
    assert_eq!(listed.iter().map(|i| i.id.get()).collect::<Vec<_>>(), [7]);
}

#[test]
fn engines_limit_what_overlap_allows() {
    let mut node = mig("a30");
    create_at(&mut node, "1g.6gb+me", 0).unwrap();
    assert_eq!(create_at(&mut node, "2g.12gb+me", 2), Err(Return::InsufficientResources));
    assert!(create_at(&mut node, "2g", 2).is_ok());
    let mut node = mig("rtx-pro-6000-bse");
    create_at(&mut node, "1g.24gb+me.all", 0).unwrap();
    assert_eq!(create(&mut node, "1g"), Err(Return::InsufficientResources));
    for _ in 0..3 {
        create(&mut node, "1g.24gb-me").unwrap();
    }
    let mut node = mig("thor-igpu");
    create(&mut node, "2g").unwrap();
    assert_eq!(create(&mut node, "1g"), Err(Return::InsufficientResources));
    assert!(create(&mut node, "1g.0gb+gfx").is_ok());
}

#[test]
fn a_guest_makes_no_instances() {
    let mut node = mig("a30");
    node.gpus[0].virtualization = Virtualization::VgpuGuest;
    assert_eq!(create(&mut node, "1g"), Err(Return::NotSupported));
}

fn holder(target: Target, kind: HoldKind) -> Holder {
    Holder { name: "mps".into(), pid: 4242, gpu: Some(0), target, kind }
}

#[test]
fn the_first_instance_wants_an_idle_gpu() {
    let mut node = mig("a100-sxm4-40gb");
    node.add_holder(holder(Target::Gpu, HoldKind::Session));
    let first = create(&mut node, "1g").unwrap();
    node.destroy_gpu_instance(0, root(), first, NOW).unwrap();
    node.add_holder(holder(Target::Gpu, HoldKind::Client));
    assert_eq!(create(&mut node, "1g"), Err(Return::InUse));
    node.remove_holder("mps");
    create(&mut node, "1g").unwrap();
    node.add_holder(holder(Target::Gpu, HoldKind::Client));
    assert!(create(&mut node, "1g").is_ok(), "only the first one is refused");
}

#[test]
fn there_is_no_cascade() {
    let mut node = mig("a100-sxm4-40gb");
    let instance = create(&mut node, "2g").unwrap();
    let parts =
        [compute(&mut node, instance, 1).unwrap(), compute(&mut node, instance, 1).unwrap()];
    for part in parts {
        assert_eq!(node.destroy_gpu_instance(0, root(), instance, NOW), Err(Return::InUse));
        node.destroy_compute_instance(0, root(), part, NOW).unwrap();
    }
    assert_eq!(node.destroy_gpu_instance(0, root(), instance, NOW), Ok(()));
    assert_eq!(node.destroy_gpu_instance(0, root(), instance, NOW), Err(Return::InvalidArgument));
    assert_eq!(node.gpu_instance_by_id(0, root(), instance.id), Err(Return::NotFound));
}

#[test]
fn holders_keep_what_they_hold() {
    let mut node = mig("a100-sxm4-40gb");
    let instance = create(&mut node, "2g").unwrap();
    let part = compute(&mut node, instance, 2).unwrap();
    let (gi, ci) = (instance.id, part.id);
    node.add_holder(holder(Target::Compute(gi, ci), HoldKind::Session));
    node.add_holder(holder(Target::Compute(gi, ci), HoldKind::Client));
    assert_eq!(node.holders.len(), 1, "a name stands for one holder");
    assert_eq!(node.destroy_compute_instance(0, root(), part, NOW), Err(Return::InUse));
    node.add_holder(holder(Target::Instance(gi), HoldKind::Client));
    assert_eq!(node.destroy_compute_instance(0, root(), part, NOW), Ok(()));
    assert_eq!(node.destroy_gpu_instance(0, root(), instance, NOW), Err(Return::InUse));
    node.add_holder(holder(Target::Instance(gi), HoldKind::Session));
    assert_eq!(node.destroy_gpu_instance(0, root(), instance, NOW), Ok(()));
}

#[test]
fn sessions_keep_instances_only_where_the_knob_says() {
    for (blocks, expected) in [(false, Ok(())), (true, Err(Return::InUse))] {
        let mut node = mig("a30");
        node.knobs.sessions_block_destroy = blocks;
        let instance = create(&mut node, "1g").unwrap();
        let part = compute(&mut node, instance, 1).unwrap();
        node.open_session(root().process);
        node.open_session(process(5));
        assert_eq!(node.destroy_compute_instance(0, root(), part, NOW), expected);
        node.close_session(process(5));
        if blocks {
            assert_eq!(node.destroy_compute_instance(0, root(), part, NOW), Ok(()));
        }
        assert_eq!(node.destroy_gpu_instance(0, root(), instance, NOW), Ok(()));
    }
}

#[test]
fn compute_instances_take_slots_and_slices() {
    let mut node = mig("a100-sxm4-40gb");
    let instance = create(&mut node, "2g").unwrap();
    let enums = (0..10).map(|n| node.compute_profile_by_enum(0, instance, n).map(|p| p.slices));
    let enums: Vec<Result<u8, Return>> = enums.collect();
    assert_eq!(enums[..3], [Ok(1), Ok(2), Err(Return::NotSupported)]);
    assert_eq!(enums[9], Err(Return::InvalidArgument));
    let (one, two) = (
        node.compute_profile_by_enum(0, instance, 0).unwrap().id,
        node.compute_profile_by_enum(0, instance, 1).unwrap().id,
    );
    let left = |node: &Node| {
        [one, two].map(|id| node.compute_remaining_capacity(0, root(), instance, id).unwrap())
    };
    assert_eq!(left(&node), [2, 1]);
    let first = compute(&mut node, instance, 1).unwrap();
    assert_eq!(left(&node), [1, 0]);
    assert_eq!(compute(&mut node, instance, 2), Err(Return::InsufficientResources));
    let second = compute(&mut node, instance, 1).unwrap();
    assert_eq!(left(&node), [0, 0]);
    let lies = |node: &Node, part| node.compute_instance(0, part).unwrap().1.placement;
    assert_eq!((first.id.get(), lies(&node, first)), (0, Placement::new(0, 1)));
    assert_eq!((second.id.get(), lies(&node, second)), (1, Placement::new(1, 1)));
    node.destroy_compute_instance(0, root(), first, NOW).unwrap();
    let request = |start| ComputeInstanceRequest {
        instance,
        profile: one,
        placement: Some(Placement::new(start, 1)),
    };
    let make =
        |node: &mut Node, start| node.create_compute_instance(0, root(), request(start), NOW);
    assert_eq!(make(&mut node, 1), Err(Return::InUse));
    assert_eq!(make(&mut node, 2), Err(Return::InvalidArgument));
    assert_eq!(make(&mut node, 0).unwrap().id, ComputeInstanceId::new(0));
    let wrong = ComputeInstanceRequest {
        instance,
        profile: model::ComputeInstanceProfileId::new(4),
        placement: None,
    };
    assert_eq!(node.create_compute_instance(0, root(), wrong, NOW), Err(Return::NotSupported));
}

#[test]
fn a_whole_compute_instance_leaves_nothing() {
    let mut node = mig("h100-sxm5-80gb");
    let instance = create(&mut node, "7g").unwrap();
    let profiles = node.board(0).unwrap().geometry.profile(profile(&node, "7g")).unwrap().clone();
    let empty: Vec<u32> = profiles.compute_profiles.iter().map(|p| p.max_count).collect();
    let left = |node: &Node| -> Vec<u32> {
        let ids = profiles.compute_profiles.iter().map(|p| p.id);
        ids.map(|id| node.compute_remaining_capacity(0, root(), instance, id).unwrap()).collect()
    };
    assert_eq!(left(&node), empty);
    compute(&mut node, instance, 7).unwrap();
    assert!(left(&node).iter().all(|count| *count == 0));
}

#[test]
fn dead_handles_answer_as_the_knob_says() {
    for (policy, alive) in
        [(StaleHandles::Invalid, false), (StaleHandles::Reuse, true), (StaleHandles::Cached, true)]
    {
        let mut node = mig("a30");
        node.knobs.stale_handles = policy;
        let old = create_at(&mut node, "1g", 0).unwrap();
        node.destroy_gpu_instance(0, root(), old, NOW).unwrap();
        assert_eq!(node.gpu_instance(0, old), Err(Return::InvalidArgument));
        let new = create_at(&mut node, "1g", 0).unwrap();
        assert_eq!((old.id, old.generation == new.generation), (new.id, false));
        assert_eq!(node.gpu_instance(0, old).is_ok(), alive, "{policy:?}");
        assert_eq!(node.destroy_gpu_instance(0, root(), old, NOW).is_ok(), alive, "{policy:?}");
    }
}

#[test]
fn indexes_shift_and_have_no_gaps() {
    let mut node = mig("a100-sxm4-40gb");
    let high = create_at(&mut node, "1g", 6).unwrap();
    let high = compute(&mut node, high, 1).unwrap();
    create_at(&mut node, "1g", 5).unwrap();
    assert_eq!(node.mig_devices(0), Ok(vec![high]), "no device without a compute instance");
    let low = create_at(&mut node, "4g", 0).unwrap();
    let low = compute(&mut node, low, 4).unwrap();
    assert_eq!(node.mig_devices(0), Ok(vec![low, high]));
    assert_eq!(node.mig_device(0, high).unwrap().index, 1);
    node.destroy_compute_instance(0, root(), low, NOW).unwrap();
    assert_eq!(node.mig_device(0, high).unwrap().index, 0);
    assert_eq!(node.mig_device_by_index(0, 1), Err(Return::NotFound));
}

#[test]
fn a_device_has_the_attributes_of_its_parts() {
    let mut node = mig("a100-sxm4-40gb");
    let instance = create(&mut node, "3g").unwrap();
    let part = compute(&mut node, instance, 2).unwrap();
    let device = node.mig_device(0, part).unwrap();
    assert_eq!(device.profile.to_string(), "2c.3g.20gb");
    assert_eq!((device.gpu_instance_slices, device.compute_instance_slices), (3, 2));
    assert_eq!((device.multiprocessors, device.memory.get()), (28, 20096));
    assert_eq!((device.engines.copy, device.engines.decoders), (3, 2));
}

#[test]
fn every_change_is_an_event_with_its_instance() {
    let mut node = mig("a30");
    let start = node.last_event();
    let instance = create(&mut node, "1g").unwrap();
    let part = compute(&mut node, instance, 1).unwrap();
    node.destroy_compute_instance(0, root(), part, NOW).unwrap();
    node.destroy_gpu_instance(0, root(), instance, NOW).unwrap();
    let gi = Some(instance.id);
    let ci = Some(part.id);
    let seen: Vec<_> = node
        .events_after(start)
        .map(|event| (event.kind, event.gpu, event.gpu_instance, event.compute_instance))
        .collect();
    let change = EventKind::MigConfigChange;
    assert_eq!(
        seen,
        [(change, 0, gi, None), (change, 0, gi, ci), (change, 0, gi, ci), (change, 0, gi, None)]
    );
    for _ in 0..100 {
        node.inject_xid(0, 31, Target::Gpu, NOW).unwrap();
    }
    assert_eq!(node.last_event(), start + 104);
    assert!(node.events_after(start).count() <= 64);
    assert_eq!(node.events_after(node.last_event()).count(), 0);
    assert_eq!(node.check_invariants(), Ok(()));
}
