//! The driver over simulated machines: what it reads equals what the machine is, and what it
//! changes is there.
//!
//! The simulated NVML belongs to the process, so the tests of this file take turns.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use core::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use driver::{
    Driver, DriverError, DriverEventKind, ModeChange, NvmlReturn, Outcome, Resolver, RetryClass,
    placement_is_known, undo,
};
use model::{
    ComputeInstanceProfileId, Geometry, GpuInstanceProfileId, GpuSnapshot, GpuUuid, Health,
    MemoryMib, MigMode, MigState, Millis, Placement, Step, Timestamp, catalog,
};
use sim_gpu::{
    Activity, ContextKind, ContextRequest, Fault, FaultEffect, HostSpec, Latencies, Return, Target,
};
use sim_nvml::{HostOptions, SimHost};

static TURN: Mutex<()> = Mutex::new(());

fn simulated() -> Resolver {
    Arc::new(|name: &str| sim_nvml::symbol(name).and_then(|found| NonNull::new(found.cast_mut())))
}

/// A simulated machine and a driver on it, for one test at a time.
struct Machine {
    driver: Driver,
    host: SimHost,
    _dir: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Machine {
    fn new(kind: &str) -> Self {
        Self::without(kind, &[])
    }

    /// A machine whose NVML lacks some functions, as old drivers do.
    fn without(kind: &str, missing: &'static [&'static str]) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = tempfile::tempdir().unwrap();
        let spec = HostSpec::named("test", kind).unwrap();
        let options = HostOptions { latencies: Some(Latencies::ZERO), ..HostOptions::default() };
        let host = SimHost::create(&dir.path().join("host"), &spec, &options).unwrap();
        sim_nvml::attach(host.dir()).unwrap();
        let all = simulated();
        let some = move |name: &str| if missing.contains(&name) { None } else { all(name) };
        let driver = Driver::open(Arc::new(some)).unwrap();
        Self { driver, host, _dir: dir, _turn: turn }
    }

    /// The machine with MIG on on every GPU.
    fn with_mig(kind: &str) -> Self {
        let machine = Self::new(kind);
        for gpu in machine.driver.gpus().unwrap() {
            let change = machine.driver.set_mig_mode(&gpu, MigMode::Enabled).unwrap();
            assert_eq!(change, ModeChange::Active);
        }
        machine
    }

    fn gpu(&self, index: usize) -> GpuSnapshot {
        let snapshot = self.driver.snapshot(Timestamp::from_millis(1)).unwrap();
        snapshot.gpus[index].clone()
    }

    fn uuid(&self, index: usize) -> GpuUuid {
        self.driver.gpus().unwrap()[index].clone()
    }

    fn fault(&self, call: &str, gpu: Option<usize>, effect: FaultEffect) {
        let fault = Fault { call: call.into(), gpu, skip: 0, times: 1, effect };
        self.host.inject_fault(fault).unwrap();
    }
}

/// Asserts that two geometries are equal but for memory, which drifts with the driver by a percent
/// or two.
fn assert_alike(read: &Geometry, expected: &Geometry, board: &str) {
    let mut read = read.clone();
    for (read, expected) in read.profiles.iter_mut().zip(&expected.profiles) {
        let drift = read.memory.get().abs_diff(expected.memory.get());
        assert!(drift * 32 < expected.memory.get(), "{board}: {} has {}", read.name, read.memory);
        read.memory = expected.memory;
        assert_eq!(read, expected, "{board}");
    }
    assert_eq!(read, *expected, "{board}");
}

fn profile(id: u32) -> GpuInstanceProfileId {
    GpuInstanceProfileId::new(id)
}

fn compute(id: u32) -> ComputeInstanceProfileId {
    ComputeInstanceProfileId::new(id)
}

#[test]
fn a_dgx_a100_is_read_as_it_is() {
    let machine = Machine::new("dgx-a100");
    let snapshot = machine.driver.snapshot(Timestamp::from_millis(42)).unwrap();
    assert_eq!(snapshot.taken_at, Timestamp::from_millis(42));
    assert_eq!(snapshot.gpus.len(), 8);
    assert_eq!(machine.driver.versions().unwrap().driver, snapshot.driver_version);
    for (index, gpu) in snapshot.gpus.iter().enumerate() {
        assert_eq!(gpu.index.get() as usize, index);
        assert_eq!(gpu.name, "NVIDIA A100-SXM4-40GB");
        assert_eq!(gpu.pci_device_id, 0x20B0_10DE);
        assert_eq!(gpu.memory.get(), 40960);
        assert_eq!(gpu.compute_capability, Some((8, 0)));
        assert_eq!(gpu.health, Health::Ok);
        let (current, pending) = (MigMode::Disabled, MigMode::Disabled);
        assert_eq!(gpu.mig, MigState::Supported { current, pending });
        assert!(gpu.instances.is_empty());
        assert_eq!(machine.driver.gpu_snapshot(&gpu.uuid).unwrap(), *gpu);
    }
    assert_eq!(snapshot.gpus[1].pci.to_string(), "00000000:0F:00.0");
}

/// With MIG off some drivers tell v1 profiles, some nothing: either way the board is known.
#[test]
fn geometry_is_known_with_mig_off() {
    let machine = Machine::new("a100-sxm4-40gb:2");
    let expected = catalog::board("a100-sxm4-40gb").unwrap().geometry();
    assert_alike(&machine.gpu(0).geometry.unwrap(), &expected, "v1");
    machine.host.set_knobs(|knobs| knobs.profiles_with_mig_off = false).unwrap();
    machine.driver.refresh_geometry(&machine.uuid(0));
    let gpu = machine.gpu(0);
    assert_eq!(gpu.health, Health::Ok);
    assert_eq!(*gpu.geometry.unwrap(), expected);
}

#[test]
fn geometry_read_from_nvml_equals_the_catalogs() {
    for board in
        ["a100-sxm4-80gb", "a30", "h100-sxm5-80gb", "h200-sxm-141gb", "b200", "rtx-pro-6000-bse"]
    {
        let machine = Machine::with_mig(&format!("{board}:1"));
        let expected = catalog::board(board).unwrap().geometry();
        assert_alike(&machine.gpu(0).geometry.unwrap(), &expected, board);
    }
}

/// Compute profiles are read from living instances; the catalog must have been right.
#[test]
fn compute_profiles_of_living_instances_equal_the_catalogs() {
    for board in ["a100-sxm4-40gb", "a30", "h100-sxm5-80gb", "rtx-pro-6000-bse"] {
        let machine = Machine::with_mig(&format!("{board}:1"));
        let expected = catalog::board(board).unwrap().geometry();
        let uuid = machine.uuid(0);
        for kind in &expected.profiles {
            let place = kind.placements().next().unwrap();
            let id = machine.driver.create_gpu_instance(&uuid, kind.id, place).unwrap();
            assert_alike(&machine.gpu(0).geometry.unwrap(), &expected, board);
            machine.driver.destroy_gpu_instance(&uuid, id).unwrap();
        }
    }
}

#[test]
fn a_slice_is_made_seen_used_and_removed() {
    let machine = Machine::with_mig("a100-sxm4-40gb:2");
    let uuid = machine.uuid(1);
    let at = Placement::new(4, 4);
    let id = machine.driver.create_gpu_instance(&uuid, profile(9), at).unwrap();
    // A GPU instance alone has no MIG device, and yet it is there.
    let gpu = machine.gpu(1);
    assert_eq!(gpu.instances.len(), 1);
    assert_eq!((gpu.instances[0].id, gpu.instances[0].placement), (id, at));
    assert_eq!(gpu.instances[0].profile, profile(9));
    assert!(gpu.instances[0].compute_instances.is_empty());
    assert!(machine.gpu(0).instances.is_empty());

    let whole = Placement::new(0, 3);
    let made = machine.driver.create_compute_instance(&uuid, id, compute(2), Some(whole)).unwrap();
    let mig = made.uuid.clone().unwrap();
    assert!(mig.as_str().starts_with("MIG-"), "{mig}");
    let gpu = machine.gpu(1);
    let seen = &gpu.instances[0].compute_instances[0];
    assert_eq!((seen.id, seen.profile, seen.placement), (made.id, compute(2), whole));
    assert_eq!(seen.uuid, Some(mig.clone()));

    let device = machine.driver.mig_device(&mig).unwrap();
    assert_eq!(
        (device.gpu, device.gpu_instance, device.compute_instance),
        (uuid.clone(), id, made.id)
    );
    let attributes = device.attributes.unwrap();
    assert_eq!((attributes.gpu_slices, attributes.compute_slices), (3, 3));
    assert_eq!(attributes.multiprocessors, 42);
    assert!(device.memory.unwrap().total.get() > 19_000);

    machine.driver.destroy_compute_instance(&uuid, id, made.id).unwrap();
    machine.driver.destroy_gpu_instance(&uuid, id).unwrap();
    assert!(machine.gpu(1).instances.is_empty());
    let error = machine.driver.mig_device(&mig).unwrap_err();
    assert_eq!(error.nvml_return(), Some(NvmlReturn::NotFound));
}

/// What the drivers of 2021 did not have yet, and more.
const NEWER: &[&str] = &[
    "nvmlInit_v2",
    "nvmlDeviceGetCount_v2",
    "nvmlDeviceGetHandleByIndex_v2",
    "nvmlDeviceGetHandleByUUID",
    "nvmlDeviceGetPciInfo_v3",
    "nvmlDeviceGetFieldValues",
    "nvmlDeviceGetGpuInstanceProfileInfoV",
    "nvmlDeviceGetGpuInstanceById",
    "nvmlGpuInstanceGetComputeInstanceById",
    "nvmlGpuInstanceCreateComputeInstanceWithPlacement",
    "nvmlComputeInstanceGetInfo_v2",
    "nvmlDeviceGetComputeRunningProcesses_v3",
    "nvmlSystemGetCudaDriverVersion_v2",
];

#[test]
fn old_drivers_serve_by_their_old_functions() {
    let machine = Machine::without("a100-sxm4-40gb:2", NEWER);
    let gpu = machine.uuid(1);
    machine.driver.set_mig_mode(&gpu, MigMode::Enabled).unwrap();
    let expected = catalog::board("a100-sxm4-40gb").unwrap().geometry();
    let read = machine.gpu(1);
    assert_eq!(read.pci.to_string(), "00000000:2A:00.0");
    assert_alike(&read.geometry.unwrap(), &expected, "v1");
    let at = Placement::new(4, 4);
    let id = machine.driver.create_gpu_instance(&gpu, profile(9), at).unwrap();
    // A part at a place is beyond them; the whole has one place only.
    let part = Some(Placement::new(1, 1));
    let error = machine.driver.create_compute_instance(&gpu, id, compute(0), part).unwrap_err();
    assert!(matches!(error, DriverError::MissingSymbol { .. }), "{error:?}");
    let whole = Some(Placement::new(0, 3));
    let made = machine.driver.create_compute_instance(&gpu, id, compute(2), whole).unwrap();
    assert!(made.uuid.is_some());
    let seen = machine.gpu(1);
    assert_eq!(seen.instances[0].compute_instances[0].uuid, made.uuid);
    machine.driver.destroy_compute_instance(&gpu, id, made.id).unwrap();
    machine.driver.destroy_gpu_instance(&gpu, id).unwrap();
    let error = machine.driver.destroy_gpu_instance(&gpu, id).unwrap_err();
    assert_eq!(error.nvml_return(), Some(NvmlReturn::NotFound));
}

#[test]
fn a_plan_is_executed_and_undone() {
    let machine = Machine::with_mig("a100-sxm4-40gb:1");
    let gpu = machine.uuid(0);
    let before = machine.gpu(0);
    let create = |id, start, size| Step::CreateGpuInstance {
        gpu: gpu.clone(),
        profile: profile(id),
        placement: Placement::new(start, size),
    };
    let part = |at: Placement, id, start, size| Step::CreateComputeInstance {
        gpu: gpu.clone(),
        at,
        profile: compute(id),
        placement: Placement::new(start, size),
    };
    let at = Placement::new(4, 2);
    let steps = [
        create(5, 0, 4),
        part(Placement::new(0, 4), 3, 0, 4),
        create(14, 4, 2),
        part(at, 0, 0, 1),
        part(at, 0, 1, 1),
    ];
    let done: Vec<Outcome> =
        steps.iter().map(|step| machine.driver.execute(step).unwrap()).collect();
    let now = machine.gpu(0);
    assert_eq!(now.instance_at(at).unwrap().compute_instances.len(), 2);
    let uuids: Vec<_> = now
        .instances
        .iter()
        .flat_map(|instance| &instance.compute_instances)
        .map(|compute| compute.uuid.clone().unwrap())
        .collect();
    assert_eq!(uuids.len(), 3);
    for outcome in &done {
        if let Outcome::ComputeInstanceCreated { uuid, .. } = outcome {
            assert!(uuids.contains(uuid.as_ref().unwrap()));
        }
    }
    let wire = serde_json::to_string(&done).unwrap();
    assert_eq!(serde_json::from_str::<Vec<Outcome>>(&wire).unwrap(), done);
    for (step, outcome) in steps.iter().zip(&done).rev() {
        machine.driver.execute(&undo(step, outcome).unwrap()).unwrap();
    }
    assert_eq!(machine.gpu(0).instances, before.instances);
}

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
fn faults_are_told_with_the_gpu_they_hit() {
    let machine = Machine::with_mig("a100-sxm4-40gb:2");
    let (first, second) = (machine.uuid(0), machine.uuid(1));
    let at = Placement::new(0, 4);
    machine.fault(
        "DeviceCreateGpuInstanceWithPlacement",
        Some(1),
        FaultEffect::Return(Return::Unknown),
    );
    let id = machine.driver.create_gpu_instance(&first, profile(9), at).unwrap();
    let error = machine.driver.create_gpu_instance(&second, profile(9), at).unwrap_err();
    assert_eq!(error.nvml_return(), Some(NvmlReturn::Unknown));
    assert_eq!(error.gpu(), Some(&second));
    assert_eq!(error.retry_class(), RetryClass::Quarantine);

    machine.fault("GpuInstanceDestroy", Some(0), FaultEffect::Lie);
    let error = machine.driver.destroy_gpu_instance(&first, id).unwrap_err();
    assert!(matches!(error, DriverError::NotAsReported { .. }), "{error:?}");
    machine.driver.destroy_gpu_instance(&first, id).unwrap();

    machine.fault("DeviceSetMigMode", Some(0), FaultEffect::Lie);
    let error = machine.driver.set_mig_mode(&first, MigMode::Disabled).unwrap_err();
    assert!(matches!(error, DriverError::NotAsReported { .. }), "{error:?}");

    machine.fault("DeviceGetMigMode", Some(1), FaultEffect::Return(Return::GpuIsLost));
    let snapshot = machine.driver.snapshot(Timestamp::from_millis(1)).unwrap();
    assert_eq!(snapshot.gpus[0].health, Health::Ok);
    assert_eq!((&snapshot.gpus[1].uuid, &snapshot.gpus[1].health), (&second, &Health::Lost));
    assert_eq!(machine.gpu(1).health, Health::Ok);
}

#[test]
fn a_pending_mode_waits_for_the_reset() {
    let machine = Machine::new("a100-sxm4-40gb:1");
    let gpu = machine.uuid(0);
    machine
        .host
        .change(|node, now| {
            node.open_context(ContextRequest {
                process: machine.host.caller().process,
                gpu: 0,
                target: Target::Gpu,
                memory: MemoryMib::new(10),
                kind: ContextKind::Compute,
                activity: Activity::default(),
                now,
            })
        })
        .unwrap()
        .unwrap();
    assert_eq!(machine.gpu(0).processes.len(), 1);
    let step = Step::SetMigMode { gpu: gpu.clone(), mode: MigMode::Enabled };
    let outcome = machine.driver.execute(&step).unwrap();
    let pending = ModeChange::Pending { reason: NvmlReturn::InUse };
    assert_eq!(outcome, Outcome::MigMode { before: MigMode::Disabled, change: pending });
    assert!(machine.gpu(0).mig.needs_reset());
    machine.driver.close().unwrap();
    machine.host.change(|node, _| node.contexts.clear()).unwrap();
    machine.host.reset_gpu(0).unwrap();
    machine.driver.reopen().unwrap();
    assert!(machine.gpu(0).mig.is_enabled());
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
fn links_and_telemetry_are_read() {
    let machine = Machine::new("dgx-a100");
    let matrix = machine.driver.topology().unwrap();
    assert_eq!(matrix.gpus.len(), 8);
    for (row, paths) in matrix.paths.iter().enumerate() {
        for (column, path) in paths.iter().enumerate() {
            assert_eq!(path.is_none(), row == column);
            if let Some(path) = path {
                assert_eq!(path.nvlinks, 12);
                assert!(path.level.is_some());
                assert_eq!(matrix.paths[column][row], Some(*path));
            }
        }
    }
    let extras = machine.driver.gpu_extras(&matrix.gpus[0]).unwrap();
    assert_eq!(extras.architecture, Some(7));
    assert!(extras.serial.is_some() && extras.power_milliwatts.is_some());
    assert!(extras.temperature_celsius.is_some());
    assert_eq!(extras.memory.unwrap().total.get(), 40960);
    assert_eq!(extras.mode_change_needs_reset(), Some(true));
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

const PLAIN_HOST: &str = "DRIVER_TEST_PLAIN_HOST";

/// Rights are decided when NVML starts, so an unprivileged caller is a process of its own.
#[test]
fn plain_users_see_mig_devices_without_their_places() {
    if let Some(dir) = std::env::var_os(PLAIN_HOST) {
        see_as_plain_user(dir.as_ref());
        return;
    }
    let machine = Machine::with_mig("a100-sxm4-40gb:1");
    let gpu = machine.uuid(0);
    for (id, at, part, size) in [(9, Placement::new(4, 4), 2, 3), (5, Placement::new(0, 4), 3, 4)] {
        let made = machine.driver.create_gpu_instance(&gpu, profile(id), at).unwrap();
        machine
            .driver
            .create_compute_instance(&gpu, made, compute(part), Some(Placement::new(0, size)))
            .unwrap();
    }
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "plain_users_see_mig_devices_without_their_places", "--nocapture"])
        .env("MIGD_SIM_RIGHTS", "plain")
        .env(PLAIN_HOST, machine.host.dir())
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
}

fn see_as_plain_user(dir: &std::path::Path) {
    sim_nvml::attach(dir).unwrap();
    let driver = Driver::open(simulated()).unwrap();
    let snapshot = driver.snapshot(Timestamp::from_millis(1)).unwrap();
    let gpu = &snapshot.gpus[0];
    assert_eq!(gpu.health, Health::Ok);
    assert_eq!(gpu.memory.get(), 40960);
    let mut profiles: Vec<u32> = gpu.instances.iter().map(|i| i.profile.get()).collect();
    profiles.sort_unstable();
    assert_eq!(profiles, [5, 9]);
    for instance in &gpu.instances {
        assert!(instance.compute_instances[0].uuid.is_some());
        // 4g can lie in one place only; 3g in two, and nobody says in which.
        assert_eq!(placement_is_known(instance.placement), instance.profile.get() == 5);
    }
    let error =
        driver.create_gpu_instance(&gpu.uuid, profile(19), Placement::new(4, 1)).unwrap_err();
    assert_eq!(error.nvml_return(), Some(NvmlReturn::NoPermission));
    assert_eq!(error.retry_class(), RetryClass::Stop);
}
