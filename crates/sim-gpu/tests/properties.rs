//! Whatever is called in whatever order: layouts stay legal, capacities are what brute force
//! says, ids and UUIDs follow from places, and nothing that is used is destroyed.

mod common;

use common::{NOW, host_with, process, root};
use model::{
    GpuInstanceProfileId, Layout, MemoryMib, MigMode, PlacedProfile, Placement, Timestamp,
};
use proptest::prelude::*;
use sim_gpu::{
    Activity, BoardCache, ChipKind, ComputeInstanceRequest, ContextKind, ContextRequest, Node,
    PlacementPolicy, Return, StaleHandles, Target,
};

/// Something a client does; the numbers pick among what there is.
#[derive(Debug, Clone)]
enum Act {
    SetMode { gpu: usize, on: bool },
    Create { gpu: usize, profile: usize, placement: Option<usize> },
    Destroy { gpu: usize, nth: usize },
    CreateCompute { gpu: usize, nth: usize, profile: usize, placement: Option<usize> },
    DestroyCompute { gpu: usize, nth: usize, compute: usize },
    Open { gpu: usize, nth: Option<usize>, memory: u64, pid: u32 },
    Die { pid: u32 },
    Reset { gpu: usize },
    Reload,
    Reboot,
}

fn act() -> impl Strategy<Value = Act> {
    let gpu = 0..2usize;
    let few = 0..8usize;
    let place = proptest::option::of(0..8usize);
    prop_oneof![
        2 => (gpu.clone(), any::<bool>()).prop_map(|(gpu, on)| Act::SetMode { gpu, on }),
        12 => (gpu.clone(), 0..11usize, place.clone())
            .prop_map(|(gpu, profile, placement)| Act::Create { gpu, profile, placement }),
        5 => (gpu.clone(), few.clone()).prop_map(|(gpu, nth)| Act::Destroy { gpu, nth }),
        10 => (gpu.clone(), few.clone(), 0..5usize, place).prop_map(
            |(gpu, nth, profile, placement)| Act::CreateCompute { gpu, nth, profile, placement }
        ),
        6 => (gpu.clone(), few.clone(), 0..3usize)
            .prop_map(|(gpu, nth, compute)| Act::DestroyCompute { gpu, nth, compute }),
        5 => (gpu.clone(), proptest::option::of(few), 0..30_000u64, 1..4u32)
            .prop_map(|(gpu, nth, memory, pid)| Act::Open { gpu, nth, memory, pid }),
        4 => (1..4u32).prop_map(|pid| Act::Die { pid }),
        1 => gpu.prop_map(|gpu| Act::Reset { gpu }),
        1 => Just(Act::Reload),
        1 => Just(Act::Reboot),
    ]
}

fn nth<T>(list: &[T], at: usize) -> Option<&T> {
    if list.is_empty() { None } else { list.get(at % list.len()) }
}

/// Does it; what the node refuses is the node's business.
fn run(node: &mut Node, act: &Act, now: Timestamp) -> Result<(), Return> {
    match *act {
        Act::SetMode { gpu, on } => {
            let mode = if on { MigMode::Enabled } else { MigMode::Disabled };
            node.set_mig_mode(gpu, root(), mode, now).map(drop)
        }
        Act::Create { gpu, profile, placement } => {
            let profiles = &node.board(gpu)?.geometry.profiles;
            let profile = nth(profiles, profile).ok_or(Return::NotFound)?;
            let placements: Vec<Placement> = profile.placements().collect();
            let at = placement.and_then(|at| nth(&placements, at)).copied();
            let id = profile.id;
            create_checked(node, gpu, id, at, now)
        }
        Act::Destroy { gpu, nth: at } => {
            let found = nth(&node.gpu(gpu)?.instances, at).ok_or(Return::NotFound)?;
            let (reference, had_compute) = (found.reference(), !found.compute.is_empty());
            let result = node.destroy_gpu_instance(gpu, root(), reference, now);
            assert!(!had_compute || result.is_err(), "there is no cascade");
            result
        }
        Act::CreateCompute { gpu, nth: at, profile, placement } => {
            let found = nth(&node.gpu(gpu)?.instances, at).ok_or(Return::NotFound)?;
            let instance = found.reference();
            let profiles = &node.profile_by_id(gpu, found.profile)?.compute_profiles;
            let profile = nth(profiles, profile).ok_or(Return::NotFound)?;
            let place = placement.and_then(|at| nth(&profile.starts, at));
            let placement = place.map(|start| Placement::new(start.get(), profile.slices));
            let request = ComputeInstanceRequest { instance, profile: profile.id, placement };
            let room = node.compute_remaining_capacity(gpu, root(), instance, profile.id)?;
            let result = node.create_compute_instance(gpu, root(), request, now);
            if placement.is_none() {
                assert_eq!(result.is_ok(), room > 0, "capacity told {room}");
            }
            result.map(drop)
        }
        Act::DestroyCompute { gpu, nth: at, compute } => {
            let found = nth(&node.gpu(gpu)?.instances, at).ok_or(Return::NotFound)?;
            let compute = nth(&found.compute, compute).ok_or(Return::NotFound)?;
            let target = Target::Compute(found.id, compute.id);
            let reference = found.compute_reference(compute);
            let used = node.contexts.iter().any(|c| c.gpu == gpu && c.target == target);
            let result = node.destroy_compute_instance(gpu, root(), reference, now);
            assert_eq!(result.is_err(), used, "only use keeps it");
            result
        }
        Act::Open { gpu, nth: at, memory, pid } => {
            let device = at.and_then(|at| nth(&node.mig_devices(gpu).ok()?, at).copied());
            let target = device.map_or(Target::Gpu, |d| Target::Compute(d.instance.id, d.id));
            let request = ContextRequest {
                process: process(pid),
                gpu,
                target,
                memory: MemoryMib::new(memory),
                kind: ContextKind::Compute,
                activity: Activity::default(),
                now,
            };
            node.open_context(request).map(drop)
        }
        Act::Die { pid } => {
            node.forget_dead(&|process| process.pid != pid);
            Ok(())
        }
        Act::Reset { gpu } => node.reset_gpu(gpu, root(), now),
        Act::Reload => node.reload_driver(root(), now),
        Act::Reboot => {
            node.reboot(now);
            Ok(())
        }
    }
}

fn layout(node: &Node, gpu: usize) -> Layout {
    let parts = node.gpus[gpu]
        .instances
        .iter()
        .map(|instance| PlacedProfile { placement: instance.placement, profile: instance.profile });
    Layout::new(&node.board(gpu).expect("a GPU").geometry, parts).expect("a legal layout")
}

/// Creates, and checks the answer against the model's own idea of layouts.
fn create_checked(
    node: &mut Node,
    gpu: usize,
    profile: GpuInstanceProfileId,
    at: Option<Placement>,
    now: Timestamp,
) -> Result<(), Return> {
    let before = layout(node, gpu);
    let free = before.free_placements(&node.board(gpu)?.geometry, profile);
    let on = node.gpus[gpu].mig_on();
    let result = node.create_gpu_instance(gpu, root(), profile, at, now);
    let possible = at.map_or(!free.is_empty(), |at| free.contains(&at));
    assert_eq!(result.is_ok(), possible && on, "{result:?} for {profile} at {at:?}");
    let made = node.gpu_instance(gpu, result?)?;
    assert!(free.contains(&made.placement) && at.is_none_or(|at| at == made.placement));
    Ok(())
}

fn check_capacities(node: &Node) {
    for gpu in 0..node.gpus.len() {
        if !node.gpus[gpu].mig_on() {
            continue;
        }
        let geometry = &node.board(gpu).expect("a GPU").geometry;
        let layout = layout(node, gpu);
        for profile in &geometry.profiles {
            assert_eq!(
                node.remaining_capacity(gpu, root(), profile.id),
                Ok(layout.capacity(geometry, profile.id)),
                "{} beside {layout:?}",
                profile.name
            );
        }
    }
}

fn check_devices(node: &Node) {
    let mut uuids = std::collections::BTreeSet::new();
    for gpu in 0..node.gpus.len() {
        let devices = node.mig_devices(gpu).expect("a working GPU");
        assert!(
            devices.windows(2).all(|pair| {
                (pair[0].instance.id, pair[0].id) < (pair[1].instance.id, pair[1].id)
            })
        );
        for (index, reference) in devices.iter().enumerate() {
            assert_eq!(node.mig_device_by_index(gpu, index), Ok(*reference));
            let device = node.mig_device(gpu, *reference).expect("it exists");
            assert_eq!(device.index, index);
            assert_eq!(node.mig_device_by_uuid(device.uuid.as_str()), Some((gpu, *reference)));
            assert!(uuids.insert(device.uuid), "UUIDs are unique");
        }
        assert_eq!(node.mig_device_by_index(gpu, devices.len()), Err(Return::NotFound));
    }
}

fn boards() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        Just("a100-sxm4-40gb:2"),
        Just("h100-sxm5-80gb:2"),
        Just("a30:2"),
        Just("rtx-pro-6000-bse:2"),
        Just("rtx-pro-4500-32gb:2"),
        Just("thor-igpu:2"),
    ]
}

fn policies() -> impl Strategy<Value = PlacementPolicy> {
    prop_oneof![
        3 => Just(PlacementPolicy::MostOptions),
        1 => Just(PlacementPolicy::LowestStart),
        1 => Just(PlacementPolicy::HighestStart),
        1 => any::<u64>().prop_map(|seed| PlacementPolicy::Random { seed }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn nothing_a_client_does_breaks_the_node(
        kind in boards(),
        swapped: bool,
        policy in policies(),
        acts in proptest::collection::vec(act(), 1..60),
    ) {
        let chip = if swapped { ChipKind::Swapped } else { ChipKind::Plain };
        let mut node = host_with(kind, chip);
        node.knobs.placement = policy;
        for gpu in 0..2 {
            node.set_mig_mode(gpu, root(), MigMode::Enabled, NOW).unwrap();
        }
        let mut events = node.last_event();
        for (step, act) in acts.iter().enumerate() {
            let before = node.clone();
            let done = run(&mut node, act, NOW.plus(model::Millis::new(step as u64)));
            if done.is_err() {
                prop_assert_eq!(&node, &before, "a refused call changes nothing");
            }
            prop_assert_eq!(node.check_invariants(), Ok(()), "after {:?}", act);
            let instances_changed = (0..2).any(|g| node.gpus[g].instances != before.gpus[g].instances);
            prop_assert!(!instances_changed || node.last_event() > events);
            events = node.last_event();
        }
        check_capacities(&node);
        check_devices(&node);
    }

    #[test]
    fn the_same_instance_made_again_has_the_same_uuid_and_another_generation(
        kind in boards(),
        profile in 0..11usize,
        place in 0..8usize,
        stale in prop_oneof![Just(StaleHandles::Invalid), Just(StaleHandles::Reuse)],
    ) {
        let mut node = host_with(kind, ChipKind::Plain);
        node.knobs.stale_handles = stale;
        node.set_mig_mode(0, root(), MigMode::Enabled, NOW).unwrap();
        let found = nth(&node.board(0).unwrap().geometry.profiles, profile).unwrap().clone();
        let at = *nth(&found.placements().collect::<Vec<_>>(), place).unwrap();
        let whole = found.whole_compute_profile().unwrap().id;
        let mut made = Vec::new();
        for _ in 0..2 {
            let instance = node.create_gpu_instance(0, root(), found.id, Some(at), NOW).unwrap();
            let request = ComputeInstanceRequest { instance, profile: whole, placement: None };
            let compute = node.create_compute_instance(0, root(), request, NOW).unwrap();
            made.push((compute, node.mig_uuid(0, compute).unwrap()));
            if made.len() == 1 {
                node.destroy_compute_instance(0, root(), compute, NOW).unwrap();
                prop_assert_eq!(node.mig_uuid(0, compute), Err(Return::InvalidArgument));
                node.destroy_gpu_instance(0, root(), instance, NOW).unwrap();
                prop_assert_eq!(node.gpu_instance(0, instance), Err(Return::InvalidArgument));
            }
        }
        let ((old, first), (new, second)) = (made[0].clone(), made[1].clone());
        prop_assert_eq!(&first, &second);
        prop_assert_eq!(first.as_str().len(), 40);
        prop_assert_eq!(&first.as_str()[18..19], "5");
        prop_assert_eq!((old.instance.id, old.id), (new.instance.id, new.id));
        prop_assert_ne!(old.generation, new.generation);
        let reused = stale == StaleHandles::Reuse;
        prop_assert_eq!(node.compute_instance(0, old).is_ok(), reused);
        let gi = new.instance.id;
        let mut old_form = format!("MIG-{}/{gi}/{}", node.gpus[0].uuid, new.id);
        prop_assert_eq!(node.mig_device_by_uuid(&old_form), Some((0, new)));
        old_form.push('1');
        prop_assert_eq!(node.mig_device_by_uuid(&old_form), None);
    }

    #[test]
    fn encoding_keeps_everything(
        kind in boards(),
        acts in proptest::collection::vec(act(), 1..40),
    ) {
        let mut node = host_with(kind, ChipKind::Plain);
        for act in &acts {
            let _ = run(&mut node, act, NOW);
        }
        let bytes = postcard::to_allocvec(&node).unwrap();
        let mut back: Node = postcard::from_bytes(&bytes).unwrap();
        prop_assert_eq!(&back, &node);
        back.attach(&mut BoardCache::new()).unwrap();
        prop_assert_eq!(back.board(1), node.board(1));
        prop_assert!(back.board(1).is_ok());
    }
}
