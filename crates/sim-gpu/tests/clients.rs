//! Processes, their memory and activity, and what each kind of query answers.

mod common;

use common::{NOW, compute, create, create_at, host, mig, process, root};
use model::{MemoryMib, Millis};
use sim_gpu::{
    Activity, ActivityPoint, Caller, ComputeRef, ContextId, ContextKind, ContextRequest, EventKind,
    GpmSample, GpuHealth, HandleKind, Node, Query, RecoveryAction, Return, Rights, Target,
    supports,
};

fn target(device: ComputeRef) -> Target {
    Target::Compute(device.instance.id, device.id)
}

fn request(pid: u32, target: Target, mib: u64) -> ContextRequest {
    ContextRequest {
        process: process(pid),
        gpu: 0,
        target,
        memory: MemoryMib::new(mib),
        kind: ContextKind::Compute,
        activity: Activity::default(),
        now: NOW,
    }
}

fn open(node: &mut Node, pid: u32, target: Target, mib: u64) -> Result<ContextId, Return> {
    node.open_context(request(pid, target, mib))
}

/// An A100 with a 3g in one part and a 2g in two parts.
fn cut() -> (Node, [ComputeRef; 3]) {
    let mut node = mig("a100-sxm4-40gb");
    let three = create_at(&mut node, "3g", 4).expect("there is room");
    let two = create_at(&mut node, "2g", 0).expect("there is room");
    let devices = [
        compute(&mut node, three, 3).expect("there is room"),
        compute(&mut node, two, 1).expect("there is room"),
        compute(&mut node, two, 1).expect("there is room"),
    ];
    (node, devices)
}

#[test]
fn a_context_takes_memory_of_its_gpu_instance() {
    let (mut node, [three, left, right]) = cut();
    let free = |node: &Node, device| node.memory(0, target(device), root()).unwrap().free.get();
    assert_eq!(free(&node, left), 9984 - 71);
    open(&mut node, 1, target(left), 5000).unwrap();
    assert_eq!((free(&node, left), free(&node, right)), (4913, 4913), "its parts share memory");
    assert_eq!(free(&node, three), 20096 - 142);
    assert_eq!(open(&mut node, 2, target(right), 4914), Err(Return::Memory));
    let second = open(&mut node, 2, target(right), 4913).unwrap();
    assert_eq!(node.memory(0, Target::Gpu, root()).unwrap().used.get(), 142 + 9984);
    assert_eq!(node.resize_context(second, MemoryMib::new(4914)), Err(Return::Memory));
    node.resize_context(second, MemoryMib::new(1)).unwrap();
    assert_eq!(free(&node, left), 4912);
    assert!(node.close_context(second) && !node.close_context(second));
    assert_eq!(node.resize_context(second, MemoryMib::new(1)), Err(Return::NotFound));
    node.check_invariants().unwrap();
}

#[test]
fn contexts_go_where_cuda_could() {
    let (mut node, [three, ..]) = cut();
    assert_eq!(open(&mut node, 1, Target::Gpu, 1), Err(Return::NotSupported));
    let gi = three.instance.id;
    assert_eq!(open(&mut node, 1, Target::Instance(gi), 1), Err(Return::InvalidArgument));
    node.destroy_compute_instance(0, root(), three, NOW).unwrap();
    assert_eq!(open(&mut node, 1, target(three), 1), Err(Return::NotFound));
    let mut whole = host("a30:1");
    let first = open(&mut whole, 1, Target::Gpu, 20_000).unwrap();
    assert_eq!(open(&mut whole, 2, Target::Gpu, 20_000), Err(Return::Memory));
    let memory = whole.memory(0, Target::Gpu, Caller::plain(process(9))).unwrap();
    assert_eq!(memory.total.get(), memory.used.get() + memory.free.get() + memory.reserved.get());
    assert!(memory.used.get() >= 20_000 && whole.close_context(first));
}

#[test]
fn the_memory_of_an_integrated_gpu_is_the_hosts() {
    let mut node = mig("thor-igpu");
    let two = create(&mut node, "2g").unwrap();
    let device = compute(&mut node, two, 2).unwrap();
    assert_eq!(node.memory(0, target(device), root()), Err(Return::NotSupported));
    assert_eq!(node.bar1(0, Target::Gpu, root()), Err(Return::NotSupported));
    let id = open(&mut node, 1, target(device), 30_000).unwrap();
    assert_eq!(node.resize_context(id, MemoryMib::new(60_000)), Ok(()));
    assert_eq!(node.check_invariants(), Ok(()));
}

#[test]
fn processes_are_listed_by_device_and_kind() {
    let (mut node, [three, left, right]) = cut();
    open(&mut node, 1, target(left), 10).unwrap();
    open(&mut node, 1, target(left), 5).unwrap();
    open(&mut node, 2, target(right), 20).unwrap();
    open(&mut node, 1, target(three), 30).unwrap();
    node.open_context(ContextRequest { kind: ContextKind::Mps, ..request(3, target(three), 1) })
        .unwrap();
    let list = |node: &Node, at, kind, caller| {
        node.processes(0, at, kind, caller).map(|rows| {
            let row = |row: sim_gpu::RunningProcess| {
                let gi = row.gpu_instance.map(model::GpuInstanceId::get);
                (
                    row.pid,
                    row.memory.get(),
                    gi,
                    row.compute_instance.map(model::ComputeInstanceId::get),
                )
            };
            rows.into_iter().map(row).collect::<Vec<_>>()
        })
    };
    let plain = Caller::plain(process(9));
    let compute = ContextKind::Compute;
    let all = vec![(1, 30, Some(2), Some(0)), (1, 15, Some(3), Some(0)), (2, 20, Some(3), Some(1))];
    assert_eq!(list(&node, Target::Gpu, compute, root()), Ok(all.clone()));
    assert_eq!(list(&node, target(left), compute, plain), Ok(vec![all[1]]));
    let mps = list(&node, target(three), ContextKind::Mps, plain);
    assert_eq!(mps, Ok(vec![(3, 1, Some(2), Some(0))]));
    assert_eq!(list(&node, Target::Gpu, ContextKind::Graphics, root()), Ok(vec![]));
    assert_eq!(list(&node, Target::Gpu, compute, plain), Err(Return::NoPermission));
    assert_eq!(node.memory(0, Target::Gpu, plain), Err(Return::NoPermission));
    let monitor = Caller { rights: Rights::MonitorCapable, ..plain };
    assert_eq!(list(&node, Target::Gpu, compute, monitor), Ok(all.clone()));
    node.knobs.monitor_for_all = true;
    assert_eq!(list(&node, Target::Gpu, compute, plain), Ok(all));
    let mut whole = host("a30:1");
    open(&mut whole, 8, Target::Gpu, 7).unwrap();
    assert_eq!(list(&whole, Target::Gpu, compute, plain), Ok(vec![(8, 7, None, None)]));
}

#[test]
fn the_dead_leave_nothing() {
    let (mut node, [three, left, _]) = cut();
    open(&mut node, 1, target(three), 1).unwrap();
    open(&mut node, 2, target(left), 1).unwrap();
    node.open_session(process(1));
    node.open_session(process(1));
    node.open_session(process(3));
    let second_life = |process: model::ProcessId| process.start_ticks == 7;
    assert!(!node.has_dead(&second_life) && !node.forget_dead(&second_life));
    let alive = |process: model::ProcessId| process.pid != 1;
    assert!(node.has_dead(&alive) && node.forget_dead(&alive) && !node.has_dead(&alive));
    assert_eq!(node.contexts.iter().map(|c| c.process.pid).collect::<Vec<_>>(), [2]);
    assert_eq!(node.sessions.iter().map(|s| s.process.pid).collect::<Vec<_>>(), [3]);
    assert_eq!(node.destroy_compute_instance(0, root(), three, NOW), Ok(()));
    assert_eq!(node.destroy_compute_instance(0, root(), left, NOW), Err(Return::InUse));
}

#[test]
fn sessions_are_counted() {
    let mut node = host("a30:1");
    node.open_session(process(1));
    node.open_session(process(1));
    assert!(node.close_session(process(1)) && node.sessions.len() == 1);
    assert!(node.close_session(process(1)) && node.sessions.is_empty());
    assert!(!node.close_session(process(1)));
}

fn point(after: u64, sm_percent: u8, dram_percent: u8) -> ActivityPoint {
    ActivityPoint { after: Millis::new(after), sm_percent, dram_percent }
}

#[test]
fn activity_is_a_curve_of_steps_that_may_repeat() {
    let mut curve =
        Activity { points: vec![point(100, 50, 10), point(300, 90, 20)], ..Activity::default() };
    let at = |curve: &Activity, ms| curve.at(Millis::new(ms));
    assert_eq!([at(&curve, 0), at(&curve, 100), at(&curve, 299)], [(0, 0), (50, 10), (50, 10)]);
    assert_eq!(at(&curve, 100_000), (90, 20));
    curve.repeat_every = Millis::new(400);
    assert_eq!([at(&curve, 399), at(&curve, 400), at(&curve, 500)], [(90, 20), (0, 0), (50, 10)]);
    assert_eq!(Activity::constant(200, 3).at(Millis::new(5)), (100, 3));
}

#[test]
fn utilization_is_for_whole_gpus() {
    let mut node = host("a30:1");
    for pid in 1..3 {
        let activity = Activity::constant(60, 30);
        node.open_context(ContextRequest { activity, ..request(pid, Target::Gpu, 1) }).unwrap();
    }
    let used = node.utilization(0, NOW).unwrap();
    assert_eq!((used.gpu, used.memory), (100, 60));
    assert_eq!(mig("h100-sxm5-80gb").utilization(0, NOW), Err(Return::NotSupported));
    assert_eq!(node.gpm_sample(0, None, NOW), Err(Return::NotSupported), "Ampere has no GPM");
}

#[test]
fn gpm_averages_between_samples() {
    let mut node = mig("h100-sxm5-80gb");
    let three = create_at(&mut node, "3g", 4).unwrap();
    let whole = compute(&mut node, three, 3).unwrap();
    let one = create_at(&mut node, "1g", 0).unwrap();
    compute(&mut node, one, 1).unwrap();
    let points = vec![point(0, 80, 40), point(1000, 40, 0)];
    let activity = Activity { points, repeat_every: Millis::new(2000) };
    let id =
        node.open_context(ContextRequest { activity, ..request(1, target(whole), 1) }).unwrap();
    let sample = |node: &Node, gi, ms| node.gpm_sample(0, gi, NOW.plus(Millis::new(ms))).unwrap();
    let gi = Some(three.id);
    let first = sample(&node, gi, 500);
    let used = GpmSample::between(&first, &sample(&node, gi, 1500)).unwrap();
    assert!((used.sm - 60.0).abs() < 0.01 && (used.dram - 20.0).abs() < 0.01, "{used:?}");
    let used = GpmSample::between(&first, &sample(&node, gi, 4500)).unwrap();
    assert!((used.sm - 60.0).abs() < 0.01, "{used:?}");
    let board = GpmSample::between(&sample(&node, None, 0), &sample(&node, None, 1000)).unwrap();
    assert!((board.sm - 80.0 * 0.454).abs() < 0.1 && (board.dram - 20.0).abs() < 0.1, "{board:?}");
    assert!((board.graphics - 80.0).abs() < 0.01);
    let other = Some(one.id);
    let idle = GpmSample::between(&sample(&node, other, 0), &sample(&node, other, 9)).unwrap();
    assert_eq!((idle.sm, idle.dram), (0.0, 0.0));
    assert_eq!(GpmSample::between(&first, &first), Err(Return::InvalidArgument));
    let foreign = sample(&node, other, 900);
    assert_eq!(GpmSample::between(&first, &foreign), Err(Return::InvalidArgument));
    assert_eq!(
        node.gpm_sample(0, Some(model::GpuInstanceId::new(14)), NOW),
        Err(Return::InvalidArgument)
    );
    node.close_context(id);
    node.destroy_compute_instance(0, root(), whole, NOW).unwrap();
    node.destroy_gpu_instance(0, root(), three, NOW).unwrap();
    assert_eq!(create_at(&mut node, "3g", 4).unwrap().id, three.id);
    let again = sample(&node, gi, 5000);
    assert_eq!(
        GpmSample::between(&first, &again),
        Err(Return::InvalidArgument),
        "another instance with the same id"
    );
}

#[test]
fn queries_answer_as_the_table_says() {
    use HandleKind::{Gpu, Mig};
    const NO: Result<(), Return> = Err(Return::NotSupported);
    const YES: Result<(), Return> = Ok(());
    // Query, on a GPU with MIG off, with MIG on, on a MIG device.
    let table = [
        (Query::Identity, YES, YES, YES),
        (Query::Board, YES, YES, YES),
        (Query::Memory, YES, YES, YES),
        (Query::Processes, YES, YES, YES),
        (Query::Utilization, YES, NO, NO),
        (Query::Telemetry, YES, YES, NO),
        (Query::ComputeMode, YES, YES, YES),
        (Query::SetComputeMode, YES, NO, YES),
        (Query::Ecc, YES, YES, YES),
        (Query::RemappedRows, YES, NO, NO),
        (Query::CoreCount, YES, NO, NO),
        (Query::SetAccounting, YES, NO, NO),
        (Query::Events, YES, YES, NO),
        (Query::Attributes, NO, NO, YES),
        (Query::InstanceIds, NO, NO, YES),
        (Query::Links, YES, YES, NO),
        (Query::MigConfig, YES, YES, Err(Return::InvalidArgument)),
        (Query::Gpm, YES, YES, YES),
        (Query::Settings, YES, YES, NO),
    ];
    for (query, off, on, device) in table {
        assert_eq!(supports(query, Gpu, false), off, "{query:?} with MIG off");
        assert_eq!(supports(query, Gpu, true), on, "{query:?} with MIG on");
        assert_eq!(supports(query, Mig, true), device, "{query:?} on a MIG device");
    }
    let mut node = mig("a100-sxm4-40gb");
    assert_eq!(node.supports(0, Query::RemappedRows, Gpu), YES, "no instance yet");
    create(&mut node, "1g").unwrap();
    assert_eq!(node.supports(0, Query::RemappedRows, Gpu), NO);
    assert_eq!(node.supports(0, Query::Gpm, Mig), NO);
    assert_eq!(mig("b200").supports(0, Query::Gpm, Mig), YES);
}

#[test]
fn an_xid_names_its_instance_or_the_board() {
    let (mut node, [three, ..]) = cut();
    let start = node.last_event();
    node.inject_xid(0, 31, target(three), NOW).unwrap();
    node.inject_xid(0, 95, Target::Gpu, NOW).unwrap();
    node.inject_xid(0, 79, Target::Gpu, NOW).unwrap();
    let seen: Vec<_> = node
        .events_after(start)
        .map(|event| (event.kind, event.data, event.gpu_instance, event.compute_instance))
        .collect();
    assert_eq!(
        seen,
        [
            (EventKind::Xid, 31, Some(three.instance.id), Some(three.id)),
            (EventKind::Xid, 95, None, None),
            (EventKind::DoubleBitEcc, 0, None, None),
            (EventKind::RecoveryAction, 1, None, None),
            (EventKind::Xid, 79, None, None),
            (EventKind::Unavailable, 0, None, None),
            (EventKind::RecoveryAction, 2, None, None),
        ]
    );
    assert_eq!((node.gpus[0].health, node.gpus[0].ecc_uncorrected), (GpuHealth::Lost, 1));
    assert_eq!(node.gpus[0].recovery, RecoveryAction::NodeReboot);
    let nowhere = Target::Instance(model::GpuInstanceId::new(14));
    assert_eq!(node.inject_xid(0, 31, nowhere, NOW), Err(Return::InvalidArgument));
    assert_eq!(node.inject_xid(7, 31, Target::Gpu, NOW), Err(Return::InvalidArgument));
    assert_eq!(EventKind::supported(true), 0xc10b);
}
