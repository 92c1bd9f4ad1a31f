//! What a caller without rights sees.
//!
//! Must never run as a thread: rights are decided when NVML starts in a process.

use driver::{Driver, NvmlReturn, RetryClass, placement_is_known};
use model::{Health, Placement, Timestamp};

use crate::machine::{Machine, compute, profile, simulated};

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
        .args([
            "--exact",
            "rights::plain_users_see_mig_devices_without_their_places",
            "--nocapture",
        ])
        .env("MIGD_SIM_RIGHTS", "plain")
        .env(PLAIN_HOST, machine.host.dir())
        .output()
        .unwrap();
    let ran = String::from_utf8_lossy(&child.stdout).contains("1 passed");
    assert!(ran, "the child ran no test");
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
