//! Hosts in memory: one per thread, their clocks set by hand, their processes invented.
#![allow(clippy::unwrap_used, reason = "a test may fail in its helpers too")]

use std::sync::Arc;

use model::{MigMode, Timestamp};
use sim_gpu::{Fault, FaultEffect, HostSpec, Latencies, Return};
use sim_nvml::types::Out;
use sim_nvml::{HostOptions, SimHost, attach_thread, entry};

fn attached(kind: &str) -> Arc<SimHost> {
    let spec = HostSpec::named("private", kind).unwrap();
    let options = HostOptions { latencies: Some(Latencies::ZERO), shared: false };
    let host = Arc::new(SimHost::in_memory(&spec, &options).unwrap());
    attach_thread(Some(Arc::clone(&host)));
    assert_eq!(entry::nvmlInit_v2(), 0);
    host
}

fn count() -> u32 {
    let mut count = 0;
    assert_eq!(entry::nvmlDeviceGetCount_v2(Out::new(&raw mut count)), 0);
    count
}

fn set_mode() -> u32 {
    let mut device = sim_nvml::types::Device::from_bits(0);
    assert_eq!(entry::nvmlDeviceGetHandleByIndex_v2(0, Out::new(&raw mut device)), 0);
    let mut activation = 0;
    entry::nvmlDeviceSetMigMode(device, 1, Out::new(&raw mut activation))
}

#[test]
fn each_thread_has_its_own() {
    let _here = attached("a30:2");
    let there = std::thread::spawn(|| {
        let _host = attached("a30:4");
        count()
    });
    assert_eq!((count(), there.join().unwrap()), (2, 4));
    attach_thread(None);
    assert_eq!(entry::nvmlShutdown(), 0);
    let mut count = 0;
    assert_ne!(entry::nvmlDeviceGetCount_v2(Out::new(&raw mut count)), 0);
}

#[test]
fn its_clock_stands_until_it_is_set() {
    let host = attached("a30:1");
    let now = Timestamp::from_millis(77_000);
    host.set_now(now);
    assert_eq!(host.change(|_, now| now).unwrap(), now);
    assert_eq!(host.change(|_, now| now).unwrap(), now);
}

/// A driver that gives up waiting and works on.
#[test]
fn a_call_may_fail_after_it_changed_everything() {
    let host = attached("h100-sxm5-80gb:1");
    let effect = FaultEffect::ReturnAfter(Return::Timeout);
    let call = "DeviceSetMigMode".to_owned();
    host.inject_fault(Fault { call, gpu: None, skip: 0, times: 1, effect }).unwrap();
    assert_eq!(set_mode(), Return::Timeout.code());
    assert_eq!(host.node().unwrap().value.gpus[0].pending, MigMode::Enabled);
    assert_eq!(set_mode(), 0);
}
