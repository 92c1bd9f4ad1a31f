//! What the driver makes of answers that no healthy GPU gives, over a fake of a few functions.

mod fake;

use driver::{Driver, DriverError, ModeChange, NvmlReturn, RetryClass};
use model::{
    GpuInstanceId, GpuInstanceProfileId, GpuUuid, Health, MemoryMib, MigMode, MigState, Placement,
    Step, Timestamp,
};

const PROFILE: GpuInstanceProfileId = GpuInstanceProfileId::new(9);
const AT: Placement = Placement::new(4, 4);

fn gpu() -> GpuUuid {
    GpuUuid::new("GPU-0")
}

#[test]
fn a_library_without_init_is_named() {
    let mut functions = fake::functions();
    functions.remove("nvmlInit_v2");
    let error = Driver::open(fake::resolver(functions)).unwrap_err();
    assert!(matches!(error, DriverError::MissingSymbol { name: "nvmlInit_v2" }), "{error:?}");
    assert_eq!(error.code(), "E-NVML-MISSING-SYMBOL");
}

#[test]
fn a_start_that_fails_carries_the_librarys_words() {
    fake::with(|world| world.returns.insert("nvmlInit_v2", 9));
    let error = fake::open().unwrap_err();
    assert_eq!(error.to_string(), "cannot initialise NVML: Driver Not Loaded, says the fake");
    assert_eq!(error.code(), "E-NVML-DRIVER-NOT-LOADED");
    assert_eq!(fake::with(|world| world.shutdowns), 0, "nothing was started");
}

#[test]
fn refusals_name_the_operation_the_gpu_and_what_to_do() {
    let driver = fake::open().unwrap();
    for (code, result, class) in [
        (19, NvmlReturn::InUse, RetryClass::Retry),
        (4, NvmlReturn::NoPermission, RetryClass::Stop),
        (15, NvmlReturn::GpuIsLost, RetryClass::Quarantine),
        (77, NvmlReturn::Other(77), RetryClass::Stop),
    ] {
        fake::with(|w| w.returns.insert("nvmlDeviceCreateGpuInstanceWithPlacement", code));
        let error = driver.create_gpu_instance(&gpu(), PROFILE, AT).unwrap_err();
        assert_eq!(error.nvml_return(), Some(result));
        assert_eq!(error.retry_class(), class);
        assert_eq!(error.gpu(), Some(&gpu()));
        assert!(!error.hint().is_empty());
        assert_eq!(
            error.to_string(),
            "cannot create a GPU instance of profile 9 at 4:4 on GPU-0: as the fake says"
        );
    }
}

#[test]
fn a_missing_function_fails_that_operation_alone() {
    let mut functions = fake::functions();
    functions.remove("nvmlDeviceCreateGpuInstanceWithPlacement");
    let driver = Driver::open(fake::resolver(functions)).unwrap();
    let error = driver.create_gpu_instance(&gpu(), PROFILE, AT).unwrap_err();
    assert_eq!(error.to_string(), "this NVML has no nvmlDeviceCreateGpuInstanceWithPlacement");
    assert_eq!(driver.gpus().unwrap(), [gpu()]);
}

#[test]
fn what_was_made_elsewhere_is_not_taken_for_what_was_asked() {
    let driver = fake::open().unwrap();
    assert_eq!(driver.create_gpu_instance(&gpu(), PROFILE, AT).unwrap().get(), 2);
    fake::with(|world| world.made = (1, 9, 0, 4));
    let error = driver.create_gpu_instance(&gpu(), PROFILE, AT).unwrap_err();
    assert_eq!(error.code(), "E-DRIVER-NOT-AS-REPORTED");
    assert!(error.to_string().contains("GPU instance 1 of profile 9 at 0:4"), "{error}");
}

#[test]
fn destroying_that_leaves_remnants_is_an_error() {
    let driver = fake::open().unwrap();
    let id = driver.create_gpu_instance(&gpu(), PROFILE, AT).unwrap();
    fake::with(|world| world.destroys = false);
    let error = driver.destroy_gpu_instance(&gpu(), id).unwrap_err();
    assert!(matches!(error, DriverError::NotAsReported { .. }), "{error:?}");
    fake::with(|world| world.destroys = true);
    driver.destroy_gpu_instance(&gpu(), id).unwrap();
    let error = driver.destroy_gpu_instance(&gpu(), id).unwrap_err();
    assert_eq!(error.nvml_return(), Some(NvmlReturn::NotFound));
}

#[test]
fn a_step_is_refused_when_the_id_was_reused() {
    let driver = fake::open().unwrap();
    let id = driver.create_gpu_instance(&gpu(), PROFILE, AT).unwrap();
    let step = |placement| Step::DestroyGpuInstance {
        gpu: gpu(),
        gpu_instance: id,
        profile: PROFILE,
        placement,
    };
    let error = driver.execute(&step(Placement::new(0, 4))).unwrap_err();
    assert_eq!(error.code(), "E-INSTANCE-CHANGED");
    assert_eq!(
        error.to_string(),
        "refused to destroy GPU instance 2 at 0:4 on GPU-0: \
         GPU instance 2 is now of profile 9 at 4:4"
    );
    assert_eq!(fake::with(|world| world.instances.len()), 1, "nothing was destroyed");
    driver.execute(&step(AT)).unwrap();
    assert!(fake::with(|world| world.instances.is_empty()));
    let gone = Step::DestroyGpuInstance {
        gpu: gpu(),
        gpu_instance: GpuInstanceId::new(5),
        profile: PROFILE,
        placement: AT,
    };
    assert_eq!(driver.execute(&gone).unwrap_err().nvml_return(), Some(NvmlReturn::NotFound));
}

#[test]
fn a_reset_is_not_nvmls_part() {
    let driver = fake::open().unwrap();
    let error = driver.execute(&Step::ResetGpu { gpu: gpu() }).unwrap_err();
    assert!(matches!(error, DriverError::NotNvml { .. }), "{error:?}");
}

#[test]
fn mode_changes_are_told_by_reading_back() {
    let driver = fake::open().unwrap();
    fake::with(|world| world.mode = (0, 0));
    assert_eq!(driver.set_mig_mode(&gpu(), MigMode::Enabled).unwrap(), ModeChange::Active);
    fake::with(|world| {
        world.obeys = (false, true);
        world.activation = 19;
    });
    assert_eq!(
        driver.set_mig_mode(&gpu(), MigMode::Disabled).unwrap(),
        ModeChange::Pending { reason: NvmlReturn::InUse }
    );
    // Success and success, yet MIG stays on.
    fake::with(|world| world.activation = 0);
    let error = driver.set_mig_mode(&gpu(), MigMode::Disabled).unwrap_err();
    assert!(matches!(error, DriverError::NotAsReported { .. }), "{error:?}");
    fake::with(|world| {
        world.mode = (1, 1);
        world.obeys = (false, false);
    });
    let error = driver.set_mig_mode(&gpu(), MigMode::Disabled).unwrap_err();
    assert!(matches!(error, DriverError::NotAsReported { .. }), "{error:?}");
    fake::with(|world| world.returns.insert("nvmlDeviceSetMigMode", 19));
    let error = driver.set_mig_mode(&gpu(), MigMode::Disabled).unwrap_err();
    assert_eq!(error.nvml_return(), Some(NvmlReturn::InUse));
}

#[test]
fn long_process_lists_are_read_whole() {
    fake::with(|world| {
        world.mode = (0, 0);
        world.pids = 500;
    });
    let driver = fake::open().unwrap();
    let snapshot = driver.snapshot(Timestamp::from_millis(1)).unwrap();
    let processes = &snapshot.gpus[0].processes;
    assert_eq!(processes.len(), 500);
    assert_eq!((processes[499].pid, processes[499].memory), (599, Some(MemoryMib::new(3))));
    assert_eq!(snapshot.gpus[0].health, Health::Ok);
}

#[test]
fn old_drivers_are_asked_for_old_process_lists() {
    fake::with(|world| world.mode = (0, 0));
    let mut functions = fake::functions();
    functions.remove("nvmlDeviceGetComputeRunningProcesses_v3");
    functions.insert(fake::OLD_PROCESSES.0, fake::OLD_PROCESSES.1);
    let driver = Driver::open(fake::resolver(functions)).unwrap();
    let gpu = driver.gpu_snapshot(&gpu()).unwrap();
    assert_eq!(gpu.processes.len(), 1);
    assert_eq!((gpu.processes[0].pid, gpu.processes[0].memory), (55, None));
}

#[test]
fn a_lost_gpu_keeps_its_name_and_spoils_no_other() {
    fake::with(|world| world.gpus = 2);
    let driver = fake::open().unwrap();
    let now = Timestamp::from_millis(7);
    assert!(driver.snapshot(now).unwrap().gpus.iter().all(|gpu| gpu.health == Health::Ok));
    fake::with(|world| world.lost = Some(1));
    let snapshot = driver.snapshot(now).unwrap();
    assert_eq!(snapshot.gpus[0].health, Health::Ok);
    assert_eq!(snapshot.gpus[1].uuid, GpuUuid::new("GPU-1"));
    assert_eq!(snapshot.gpus[1].health, Health::Lost);
    assert_eq!(driver.gpus().unwrap().len(), 2);
    let stranger = fake::open().unwrap().snapshot(now).unwrap();
    assert_eq!(stranger.gpus[1].uuid, GpuUuid::new("GPU-unknown-1"));
    assert_eq!(stranger.gpus[1].health, Health::Lost);
}

#[test]
fn ill_answers_become_health() {
    let driver = fake::open().unwrap();
    for (code, health) in [
        (16, Health::ResetRequired),
        (15, Health::Lost),
        (999, Health::Failing("Unknown Error".into())),
    ] {
        fake::with(|world| world.returns.insert("nvmlDeviceGetMigMode", code));
        assert_eq!(driver.gpu_snapshot(&gpu()).unwrap().health, health);
    }
    fake::with(|world| world.returns.insert("nvmlDeviceGetMigMode", 3));
    let fine = driver.gpu_snapshot(&gpu()).unwrap();
    assert_eq!((fine.health, fine.mig), (Health::Ok, MigState::Unsupported));
}

#[test]
fn unknown_gpus_are_told_apart_from_failures() {
    let driver = fake::open().unwrap();
    for text in ["GPU-x", "MIG-0", "", "GPU-0\0"] {
        let error = driver.gpu_snapshot(&GpuUuid::new(text)).unwrap_err();
        assert!(matches!(error, DriverError::UnknownGpu { .. }), "{text}: {error:?}");
    }
}

#[test]
fn a_closed_driver_refuses_until_it_is_reopened() {
    let driver = fake::open().unwrap();
    driver.close().unwrap();
    driver.close().unwrap();
    assert_eq!(fake::with(|world| (world.inits, world.shutdowns)), (1, 1));
    assert!(matches!(driver.gpus().unwrap_err(), DriverError::Closed));
    driver.reopen().unwrap();
    assert_eq!(driver.gpus().unwrap(), [gpu()]);
    drop(driver);
    assert_eq!(fake::with(|world| (world.inits, world.shutdowns)), (2, 2));
}

#[test]
fn an_event_watch_keeps_the_session_until_it_is_dropped() {
    let driver = fake::open().unwrap();
    let watch = driver.watch(&[gpu()]).unwrap();
    assert_eq!(watch.gpus().count(), 0, "the fake supports no events");
    assert!(matches!(driver.close().unwrap_err(), DriverError::SessionInUse { users: 1 }));
    assert_eq!(fake::with(|world| world.shutdowns), 0);
    drop(watch);
    assert_eq!(fake::with(|world| world.shutdowns), 1);
}

#[test]
fn the_library_is_never_searched_for() {
    for path in ["libnvidia-ml.so.1", "/nonexistent/libnvidia-ml.so.1"] {
        let error = Driver::load_path(path.as_ref()).unwrap_err();
        assert!(matches!(error, DriverError::LibraryNotFound { .. }), "{error:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("libnvidia-ml.so.1");
    std::fs::write(&file, "no library").unwrap();
    let error = Driver::load_path(&file).unwrap_err();
    assert_eq!(error.code(), "E-DRIVER-LIBRARY-LOAD");
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn drivers_cross_threads() {
    fn sendable<T: Send + Sync>(_: &T) {}
    sendable(&fake::open().unwrap());
}
