//! Processes, events, activity, capacity and hangs.
//!
//! Must never depend on how fast the machine is but for hangs, whose length is known.

use std::time::{Duration, Instant};

use driver::{DriverError, DriverEventKind, NvmlReturn, RetryClass};
use model::{MemoryMib, Millis, Placement};
use sim_gpu::{Activity, ContextKind, ContextRequest, FaultEffect, Target};

use crate::machine::{Machine, compute, profile};

#[test]
fn what_the_driver_has_room_for_is_told() {
    let machine = Machine::with_mig("a100-sxm4-40gb:1");
    let gpu = machine.uuid(0);
    let room = |id| machine.driver.remaining_capacity(&gpu, profile(id)).unwrap();
    assert_eq!([19, 20, 15, 14, 9, 5, 0].map(room), [7, 1, 4, 3, 2, 1, 1]);
    machine.driver.create_gpu_instance(&gpu, profile(5), Placement::new(0, 4)).unwrap();
    assert_eq!([19, 20, 15, 14, 9, 5, 0].map(room), [3, 1, 2, 1, 1, 0, 0]);
    let taken = machine.driver.create_gpu_instance(&gpu, profile(19), Placement::new(0, 1));
    let error = taken.unwrap_err();
    assert_eq!(error.nvml_return(), Some(NvmlReturn::InsufficientResources));
    assert_eq!(error.retry_class(), RetryClass::Retry);
}

#[test]
fn processes_are_seen_on_their_slice_and_hold_it() {
    let machine = Machine::with_mig("a100-sxm4-40gb:1");
    let gpu = machine.uuid(0);
    let id = machine.driver.create_gpu_instance(&gpu, profile(9), Placement::new(0, 4)).unwrap();
    let made = machine
        .driver
        .create_compute_instance(&gpu, id, compute(2), Some(Placement::new(0, 3)))
        .unwrap();
    let request = |target, now| ContextRequest {
        process: machine.host.caller().process,
        gpu: 0,
        target,
        memory: MemoryMib::new(1000),
        kind: ContextKind::Compute,
        activity: Activity::default(),
        now,
    };
    let context = machine
        .host
        .change(|node, now| node.open_context(request(Target::Compute(id, made.id), now)))
        .unwrap()
        .unwrap();
    let seen = machine.gpu(0);
    assert!(seen.instances[0].is_busy());
    let processes = &seen.instances[0].compute_instances[0].processes;
    assert_eq!(processes.len(), 1);
    assert_eq!(processes[0].pid, std::process::id());
    assert_eq!(processes[0].memory, Some(MemoryMib::new(1000)));
    assert!(seen.processes.is_empty(), "nothing runs on the GPU as a whole");
    let error = machine.driver.destroy_compute_instance(&gpu, id, made.id).unwrap_err();
    assert_eq!(error.nvml_return(), Some(NvmlReturn::InUse));
    assert_eq!(error.code(), "E-NVML-IN-USE");
    machine.host.end_context(context).unwrap();
    assert!(!machine.gpu(0).instances[0].is_busy());
    let error = machine.driver.destroy_gpu_instance(&gpu, id).unwrap_err();
    assert_eq!(error.nvml_return(), Some(NvmlReturn::InUse), "there is no cascade");
    machine.driver.destroy_compute_instance(&gpu, id, made.id).unwrap();
    machine.driver.destroy_gpu_instance(&gpu, id).unwrap();
}

#[test]
fn changes_are_told_as_events() {
    let machine = Machine::with_mig("a100-sxm4-40gb:2");
    let gpus = machine.driver.gpus().unwrap();
    let watch = machine.driver.watch(&gpus).unwrap();
    assert_eq!(watch.gpus().count(), 2);
    assert_eq!(watch.wait(Duration::from_millis(1)).unwrap(), None);
    machine.driver.create_gpu_instance(&gpus[1], profile(9), Placement::new(0, 4)).unwrap();
    let event = watch.wait(Duration::from_secs(5)).unwrap().unwrap();
    assert_eq!(
        (event.gpu.as_ref(), event.kind),
        (Some(&gpus[1]), DriverEventKind::MigConfigChanged)
    );
    machine.host.inject_xid(0, 79, Target::Gpu).unwrap();
    let event = watch.wait(Duration::from_secs(5)).unwrap().unwrap();
    assert_eq!((event.gpu.as_ref(), event.kind), (Some(&gpus[0]), DriverEventKind::Xid(79)));
    assert_eq!(event.gpu_instance, None);
    assert!(matches!(machine.driver.close(), Err(DriverError::SessionInUse { .. })));
    drop(watch);
    machine.driver.reopen().unwrap();
}

#[test]
fn boards_that_measure_themselves_tell_activity() {
    let machine = Machine::with_mig("h100-sxm5-80gb:1");
    let gpu = machine.uuid(0);
    let id = machine.driver.create_gpu_instance(&gpu, profile(9), Placement::new(0, 4)).unwrap();
    let made = machine
        .driver
        .create_compute_instance(&gpu, id, compute(2), Some(Placement::new(0, 3)))
        .unwrap();
    machine
        .host
        .change(|node, now| {
            node.open_context(ContextRequest {
                process: machine.host.caller().process,
                gpu: 0,
                target: Target::Compute(id, made.id),
                memory: MemoryMib::new(10),
                kind: ContextKind::Compute,
                activity: Activity::constant(80, 30),
                now,
            })
        })
        .unwrap()
        .unwrap();
    let earlier = machine.driver.activity_sample(&gpu, Some(id)).unwrap().unwrap();
    std::thread::sleep(Duration::from_millis(150));
    let later = machine.driver.activity_sample(&gpu, Some(id)).unwrap().unwrap();
    let activity = later.since(&earlier).unwrap();
    assert!(activity.sm_percent.is_some_and(|busy| busy > 10.0 && busy <= 100.0), "{activity:?}");
    assert!(activity.dram_percent.is_some_and(|busy| busy > 1.0), "{activity:?}");
    let whole = machine.driver.activity_sample(&gpu, None).unwrap().unwrap();
    assert_eq!(whole.since(&earlier).unwrap_err().code(), "E-INSTANCE-CHANGED");
}

#[test]
fn ampere_does_not_measure_itself() {
    let machine = Machine::new("a100-sxm4-40gb:1");
    assert!(machine.driver.activity_sample(&machine.uuid(0), None).unwrap().is_none());
}

/// No lock of the driver is held across a call: a GPU that hangs freezes its own worker only.
#[test]
fn a_hung_gpu_freezes_no_other() {
    const HANG: Duration = Duration::from_secs(2);
    let machine = Machine::with_mig("a100-sxm4-40gb:2");
    let (first, second) = (machine.uuid(0), machine.uuid(1));
    let driver = &machine.driver;
    let hang = FaultEffect::Hang(Millis::new(HANG.as_millis() as u64));
    machine.fault("DeviceCreateGpuInstanceWithPlacement", Some(1), hang);
    let at = Placement::new(0, 4);
    std::thread::scope(|scope| {
        let started = Instant::now();
        let hung = scope.spawn(|| driver.create_gpu_instance(&second, profile(9), at).unwrap());
        std::thread::sleep(Duration::from_millis(100));
        driver.create_gpu_instance(&first, profile(9), at).unwrap();
        assert_eq!(driver.gpu_snapshot(&first).unwrap().instances.len(), 1);
        assert!(matches!(driver.close(), Err(DriverError::SessionInUse { .. })));
        driver.reopen().unwrap();
        assert_eq!(driver.gpu_snapshot(&first).unwrap().instances.len(), 1);
        assert!(!hung.is_finished(), "the hang was over after {:?}", started.elapsed());
        hung.join().unwrap();
        assert!(started.elapsed() >= HANG);
    });
    assert_eq!(driver.gpu_snapshot(&second).unwrap().instances.len(), 1);
}
