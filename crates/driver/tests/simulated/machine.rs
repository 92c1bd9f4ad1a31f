//! A simulated machine for a test, and what tests of it share.
//!
//! Must never be two at once: the simulated NVML belongs to the process, so tests take turns.

use core::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use driver::{Driver, ModeChange, Resolver};
use model::{
    ComputeInstanceProfileId, Geometry, GpuInstanceProfileId, GpuSnapshot, GpuUuid, MigMode,
    Timestamp,
};
use sim_gpu::{Fault, FaultEffect, HostSpec, Latencies};
use sim_nvml::{HostOptions, SimHost};

static TURN: Mutex<()> = Mutex::new(());

pub(crate) fn simulated() -> Resolver {
    Arc::new(|name: &str| sim_nvml::symbol(name).and_then(|found| NonNull::new(found.cast_mut())))
}

/// A simulated machine and a driver on it, for one test at a time.
pub(crate) struct Machine {
    pub(crate) driver: Driver,
    pub(crate) host: SimHost,
    _dir: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Machine {
    pub(crate) fn new(kind: &str) -> Self {
        Self::without(kind, &[])
    }

    /// A machine whose NVML lacks some functions, as old drivers do.
    pub(crate) fn without(kind: &str, missing: &'static [&'static str]) -> Self {
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
    pub(crate) fn with_mig(kind: &str) -> Self {
        let machine = Self::new(kind);
        for gpu in machine.driver.gpus().unwrap() {
            let change = machine.driver.set_mig_mode(&gpu, MigMode::Enabled).unwrap();
            assert_eq!(change, ModeChange::Active);
        }
        machine
    }

    pub(crate) fn gpu(&self, index: usize) -> GpuSnapshot {
        let snapshot = self.driver.snapshot(Timestamp::from_millis(1)).unwrap();
        snapshot.gpus[index].clone()
    }

    pub(crate) fn uuid(&self, index: usize) -> GpuUuid {
        self.driver.gpus().unwrap()[index].clone()
    }

    pub(crate) fn fault(&self, call: &str, gpu: Option<usize>, effect: FaultEffect) {
        self.faults(call, gpu, 1, effect);
    }

    /// As [`Machine::fault`], for so many calls.
    pub(crate) fn faults(&self, call: &str, gpu: Option<usize>, times: u32, effect: FaultEffect) {
        let fault = Fault { call: call.into(), gpu, skip: 0, times, effect };
        self.host.inject_fault(fault).unwrap();
    }

    /// Takes every fault away.
    pub(crate) fn mend(&self) {
        self.host.change(|node, _| node.clear_faults()).unwrap();
    }
}

/// Asserts that two geometries are equal but for memory, which drifts with the driver by a percent
/// or two.
pub(crate) fn assert_alike(read: &Geometry, expected: &Geometry, board: &str) {
    let mut read = read.clone();
    for (read, expected) in read.profiles.iter_mut().zip(&expected.profiles) {
        let drift = read.memory.get().abs_diff(expected.memory.get());
        assert!(drift * 32 < expected.memory.get(), "{board}: {} has {}", read.name, read.memory);
        read.memory = expected.memory;
        assert_eq!(read, expected, "{board}");
    }
    assert_eq!(read, *expected, "{board}");
}

pub(crate) fn profile(id: u32) -> GpuInstanceProfileId {
    GpuInstanceProfileId::new(id)
}

pub(crate) fn compute(id: u32) -> ComputeInstanceProfileId {
    ComputeInstanceProfileId::new(id)
}
