//! What was done and cannot be read back, and what is there and cannot be read.
//!
//! Must never accept an error that leaves the reader guessing whether something stands.

use driver::{DriverError, RetryClass};
use model::{GpuSnapshot, Health, MigMode, Placement};
use sim_gpu::{FaultEffect, Return};

use crate::machine::{Machine, compute, profile};

const UNKNOWN: FaultEffect = FaultEffect::Return(Return::Unknown);
const AT: Placement = Placement::new(4, 4);
const WHOLE: Option<Placement> = Some(Placement::new(0, 3));

fn failing(gpu: &GpuSnapshot) -> &str {
    let why = if let Health::Failing(why) = &gpu.health { Some(why.as_str()) } else { None };
    why.unwrap_or_else(|| unreachable!("the GPU is {:?}", gpu.health))
}

#[test]
fn a_bad_answer_or_two_do_not_undo_a_change() {
    let machine = Machine::with_mig("a100-sxm4-40gb:1");
    let gpu = machine.uuid(0);
    machine.faults("GpuInstanceGetInfo", None, 2, UNKNOWN);
    let id = machine.driver.create_gpu_instance(&gpu, profile(9), AT).unwrap();
    machine.faults("ComputeInstanceGetInfo_v2", None, 2, UNKNOWN);
    let made = machine.driver.create_compute_instance(&gpu, id, compute(2), WHOLE).unwrap();
    assert!(made.uuid.is_some());
    machine.faults("GpuInstanceGetComputeInstances", None, 2, UNKNOWN);
    machine.driver.destroy_compute_instance(&gpu, id, made.id).unwrap();
    machine.faults("DeviceGetGpuInstances", None, 2, UNKNOWN);
    machine.driver.destroy_gpu_instance(&gpu, id).unwrap();
    assert!(machine.gpu(0).instances.is_empty());
}

#[test]
fn what_cannot_be_read_back_is_destroyed_again_or_said_to_stand() {
    let machine = Machine::with_mig("a100-sxm4-40gb:1");
    let gpu = machine.uuid(0);
    // So that the geometry is known.
    assert!(machine.gpu(0).instances.is_empty());
    machine.faults("GpuInstanceGetInfo", None, u32::MAX, UNKNOWN);
    let error = machine.driver.create_gpu_instance(&gpu, profile(9), AT).unwrap_err();
    assert!(matches!(error, DriverError::Unverified { stands: false, .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        format!(
            "could not create a GPU instance of profile 9 at 4:4 on {gpu}: the GPU instance was \
             made, could not be read back (Unknown Error) and was destroyed again"
        )
    );
    assert_eq!(error.retry_class(), RetryClass::Retry);
    machine.mend();
    assert!(machine.gpu(0).instances.is_empty());

    machine.faults("GpuInstanceGetInfo", None, u32::MAX, UNKNOWN);
    machine.faults("GpuInstanceDestroy", None, 1, UNKNOWN);
    let error = machine.driver.create_gpu_instance(&gpu, profile(9), AT).unwrap_err();
    assert!(matches!(error, DriverError::Unverified { stands: true, .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.ends_with("could not be destroyed again (Unknown Error); it stands"), "{text}");
    assert_eq!((error.retry_class(), error.gpu()), (RetryClass::Quarantine, Some(&gpu)));
    machine.mend();
    let id = machine.gpu(0).instances[0].id;

    machine.faults("ComputeInstanceGetInfo_v2", None, u32::MAX, UNKNOWN);
    let error = machine.driver.create_compute_instance(&gpu, id, compute(2), WHOLE).unwrap_err();
    assert!(matches!(error, DriverError::Unverified { stands: false, .. }), "{error:?}");
    machine.mend();
    assert!(machine.gpu(0).instances[0].compute_instances.is_empty());
}

#[test]
fn a_destroy_or_a_mode_that_cannot_be_read_back_is_said_to_be_done() {
    let machine = Machine::with_mig("a100-sxm4-40gb:1");
    let gpu = machine.uuid(0);
    let id = machine.driver.create_gpu_instance(&gpu, profile(9), AT).unwrap();
    machine.faults("DeviceGetGpuInstances", None, u32::MAX, UNKNOWN);
    let error = machine.driver.destroy_gpu_instance(&gpu, id).unwrap_err();
    assert!(matches!(error, DriverError::Unverified { stands: true, .. }), "{error:?}");
    assert!(error.to_string().contains("the driver says it is done"), "{error}");
    machine.mend();
    assert!(machine.gpu(0).instances.is_empty());
    machine.faults("DeviceGetMigMode", None, u32::MAX, UNKNOWN);
    let error = machine.driver.set_mig_mode(&gpu, MigMode::Disabled).unwrap_err();
    assert!(matches!(error, DriverError::Unverified { stands: true, .. }), "{error:?}");
}

#[test]
fn a_slice_whose_uuid_cannot_be_read_counts_against_its_gpu() {
    const OLD: &[&str] = &["nvmlComputeInstanceGetInfo_v2"];
    for missing in [&[][..], OLD] {
        let machine = Machine::without("a100-sxm4-40gb:1", missing);
        let gpu = machine.uuid(0);
        machine.driver.set_mig_mode(&gpu, MigMode::Enabled).unwrap();
        let id = machine.driver.create_gpu_instance(&gpu, profile(9), AT).unwrap();
        machine.driver.create_compute_instance(&gpu, id, compute(2), WHOLE).unwrap();
        let uuid = |gpu: &GpuSnapshot| gpu.instances[0].compute_instances[0].uuid.clone();
        let call = if missing.is_empty() { "DeviceGetUUID" } else { "DeviceGetMaxMigDeviceCount" };
        let known = machine.driver.gpu_snapshot(&gpu).unwrap();
        assert_eq!((known.health == Health::Ok, uuid(&known).is_some()), (true, true));
        machine.faults(call, None, 1, UNKNOWN);
        let once = machine.driver.gpu_snapshot(&gpu).unwrap();
        assert_eq!((&once.health, uuid(&once)), (&Health::Ok, uuid(&known)), "{call}");
        // A code that says nothing about the GPU itself counts too.
        for effect in [UNKNOWN, FaultEffect::Return(Return::NoPermission)] {
            machine.faults(call, None, u32::MAX, effect);
            let ill = machine.driver.gpu_snapshot(&gpu).unwrap();
            assert!(failing(&ill).starts_with("cannot "), "{:?}", ill.health);
            assert_eq!(uuid(&ill), None);
            assert_eq!(ill.instances.len(), 1);
            machine.mend();
        }
        assert_eq!(machine.driver.gpu_snapshot(&gpu).unwrap(), known);
    }
}

#[test]
fn processes_that_nobody_can_list_count_against_their_gpu() {
    const LISTS: &str = "DeviceGetComputeRunningProcesses*";
    let machine = Machine::with_mig("a100-sxm4-40gb:2");
    let gpu = machine.uuid(1);
    let id = machine.driver.create_gpu_instance(&gpu, profile(9), AT).unwrap();
    machine.driver.create_compute_instance(&gpu, id, compute(2), WHOLE).unwrap();
    for (refusal, fine) in [(Return::NoPermission, false), (Return::NotSupported, true)] {
        machine.faults(LISTS, Some(1), u32::MAX, FaultEffect::Return(refusal));
        let seen = machine.driver.gpu_snapshot(&gpu).unwrap();
        if fine {
            assert_eq!(seen.health, Health::Ok);
        } else {
            let why = "cannot list the processes of the GPU: Insufficient Permissions";
            assert_eq!(failing(&seen), why);
        }
        assert_eq!(seen.instances.len(), 1, "what can be read is told");
        assert_eq!(machine.gpu(0).health, Health::Ok, "the other GPU is as it was");
        machine.mend();
    }
}
