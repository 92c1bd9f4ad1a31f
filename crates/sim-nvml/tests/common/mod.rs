//! What the integration tests share: hosts, and a client that calls the C functions.
//!
//! Must never reach into the crate: it uses what foreign programs use.
#![allow(dead_code, unreachable_pub, reason = "each test program uses another part")]
#![allow(missing_docs, missing_debug_implementations, reason = "nobody else sees it")]
#![allow(clippy::unwrap_used, reason = "a test may fail in its helpers too")]

use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sim_nvml::entry;
use sim_nvml::types::{ComputeInstance, Device, GiPlacement, GpuInstance, In, Out};
use sim_nvml::{HostOptions, SimHost, spec_from_text};

/// NVML codes the tests name.
pub const OK: u32 = 0;
pub const UNINITIALIZED: u32 = 1;
pub const INVALID_ARGUMENT: u32 = 2;
pub const NOT_SUPPORTED: u32 = 3;
pub const NO_PERMISSION: u32 = 4;
pub const NOT_FOUND: u32 = 6;
pub const INSUFFICIENT_SIZE: u32 = 7;
pub const TIMEOUT: u32 = 10;
pub const IN_USE: u32 = 19;
pub const INSUFFICIENT_RESOURCES: u32 = 23;
pub const VERSION_MISMATCH: u32 = 25;

/// NVML is one per process; tests of one program take turns.
static TURN: Mutex<()> = Mutex::new(());

/// A fresh host to which this process is attached and initialised.
pub struct Bench {
    pub host: SimHost,
    _dir: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        while entry::nvmlSystemGetCudaDriverVersion(room().0) != UNINITIALIZED {
            entry::nvmlShutdown();
        }
    }
}

pub fn make(dir: &Path, text: &str) -> SimHost {
    let spec = spec_from_text("test", text).unwrap();
    let latencies = Some(sim_gpu::Latencies::ZERO);
    SimHost::create(dir, &spec, &HostOptions { latencies, shared: false }).unwrap()
}

pub fn bench(text: &str) -> Bench {
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    let host = make(dir.path(), text);
    sim_nvml::attach(host.dir()).unwrap();
    assert_eq!(entry::nvmlInit_v2(), OK);
    Bench { host, _dir: dir, _turn: turn }
}

/// A leaked place for a value, as a pointer and as a reference.
pub fn room<T: Copy + 'static>() -> (Out<T>, &'static MaybeUninit<T>) {
    let place: *mut MaybeUninit<T> = Box::into_raw(Box::new(MaybeUninit::uninit()));
    #[expect(unsafe_code, reason = "the C ABI answers through pointers")]
    // SAFETY: `place` was just made by Box, is never freed, and is valid as MaybeUninit whatever
    // it holds.
    let reference = unsafe { &*place };
    (Out::new(place.cast()), reference)
}

/// Calls with a place for one answer.
pub fn ask<T: Copy + 'static>(call: impl FnOnce(Out<T>) -> u32) -> Result<T, u32> {
    let (out, _) = room();
    match call(out) {
        OK => Ok(out.get().unwrap()),
        code => Err(code),
    }
}

/// Calls with a text buffer.
pub fn text(call: impl FnOnce(Out<i8>, u32) -> u32) -> Result<String, u32> {
    let mut buffer = vec![0i8; 96];
    match call(Out::new(buffer.as_mut_ptr()), 96) {
        OK => {
            let bytes = buffer.into_iter().map(i8::cast_unsigned).take_while(|byte| *byte != 0);
            Ok(String::from_utf8(bytes.collect()).unwrap())
        }
        code => Err(code),
    }
}

pub fn gpu(index: u32) -> Device {
    ask(|out| entry::nvmlDeviceGetHandleByIndex_v2(index, out)).unwrap()
}

pub fn mig_on(device: Device) {
    assert_eq!(ask(|out| entry::nvmlDeviceSetMigMode(device, 1, out)), Ok(OK));
}

pub fn create(device: Device, profile: u32) -> Result<GpuInstance, u32> {
    ask(|out| entry::nvmlDeviceCreateGpuInstance(device, profile, out))
}

pub fn create_at(device: Device, profile: u32, start: u32, size: u32) -> Result<GpuInstance, u32> {
    let placement = Box::leak(Box::new(GiPlacement { start, size }));
    ask(|out| {
        let placement = In::new(&raw const *placement);
        entry::nvmlDeviceCreateGpuInstanceWithPlacement(device, profile, placement, out)
    })
}

pub fn create_compute(instance: GpuInstance, profile: u32) -> Result<ComputeInstance, u32> {
    ask(|out| entry::nvmlGpuInstanceCreateComputeInstance(instance, profile, out))
}

/// Id, start and size of a GPU instance.
pub fn place(instance: GpuInstance) -> (u32, u32, u32) {
    let info = ask(|out| entry::nvmlGpuInstanceGetInfo(instance, out)).unwrap();
    (info.id, info.placement.start, info.placement.size)
}

pub fn capacity(device: Device, profile: u32) -> Result<u32, u32> {
    ask(|out| entry::nvmlDeviceGetGpuInstanceRemainingCapacity(device, profile, out))
}

pub fn mig_device(device: Device, index: u32) -> Result<Device, u32> {
    ask(|out| entry::nvmlDeviceGetMigDeviceHandleByIndex(device, index, out))
}
