//! What the driver changes is there, and what fails is told.
//!
//! Must never leave a simulated machine that another test reads.

use driver::{DriverError, ModeChange, NvmlReturn, Outcome, RetryClass, undo};
use model::{Health, MemoryMib, MigMode, Placement, Step, Timestamp, catalog};
use sim_gpu::{Activity, ContextKind, ContextRequest, FaultEffect, Return, Target};

use crate::machine::{Machine, assert_alike, compute, profile};

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
