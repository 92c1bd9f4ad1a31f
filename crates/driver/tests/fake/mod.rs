//! A handful of C functions that answer as a test says: NVML as an error would have it.
//!
//! Must never grow into a simulated GPU; the simulator is below the C ABI in `sim-nvml`.

#![allow(clippy::cast_possible_wrap, reason = "texts are ASCII, and `c_char` differs by machine")]
#![allow(unsafe_code, reason = "C functions write through the pointers they are given")]

use core::ffi::{CStr, c_char, c_void};
use core::ptr::NonNull;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use driver::{Driver, DriverError, Resolver};

/// What the functions answer; one per thread, so tests do not disturb each other.
#[derive(Debug, Clone)]
pub(crate) struct World {
    /// Return value of a function, by name; success where there is none.
    pub(crate) returns: BTreeMap<&'static str, u32>,
    /// What SetMigMode writes as activation.
    pub(crate) activation: u32,
    /// MIG mode: current, pending.
    pub(crate) mode: (u32, u32),
    /// Whether SetMigMode changes (current, pending).
    pub(crate) obeys: (bool, bool),
    /// GPUs.
    pub(crate) gpus: u32,
    /// A GPU that is lost.
    pub(crate) lost: Option<u32>,
    /// GPU instances: id, profile, start, size.
    pub(crate) instances: Vec<(u32, u32, u32, u32)>,
    /// What a new GPU instance becomes.
    pub(crate) made: (u32, u32, u32, u32),
    /// Whether destroying does anything.
    pub(crate) destroys: bool,
    /// Pids on each GPU.
    pub(crate) pids: u32,
    /// Calls of nvmlInit and nvmlShutdown.
    pub(crate) inits: u32,
    pub(crate) shutdowns: u32,
}

impl Default for World {
    fn default() -> Self {
        Self {
            returns: BTreeMap::new(),
            activation: 0,
            mode: (1, 1),
            obeys: (true, true),
            gpus: 1,
            lost: None,
            instances: Vec::new(),
            made: (2, 9, 4, 4),
            destroys: true,
            pids: 0,
            inits: 0,
            shutdowns: 0,
        }
    }
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::new(World::default());
}

pub(crate) fn with<T>(change: impl FnOnce(&mut World) -> T) -> T {
    WORLD.with_borrow_mut(change)
}

fn answer(name: &str) -> u32 {
    with(|world| world.returns.get(name).copied().unwrap_or(0))
}

unsafe fn write_text(text: &str, to: *mut c_char) {
    for (at, byte) in text.bytes().chain([0]).enumerate() {
        // SAFETY: every buffer of the driver is longer than the texts below.
        let place = unsafe { to.add(at) };
        // SAFETY: as above.
        unsafe { place.write(byte as c_char) };
    }
}

extern "C" fn init() -> u32 {
    with(|world| world.inits += 1);
    answer("nvmlInit_v2")
}
extern "C" fn shutdown() -> u32 {
    with(|world| world.shutdowns += 1);
    0
}
extern "C" fn error_string(code: u32) -> *const c_char {
    let text: &CStr =
        if code == 9 { c"Driver Not Loaded, says the fake" } else { c"as the fake says" };
    text.as_ptr()
}
extern "C" fn driver_version(to: *mut c_char, _: u32) -> u32 {
    // SAFETY: the driver gives a buffer of 256 bytes.
    unsafe { write_text("580.126.09", to) };
    answer("nvmlSystemGetDriverVersion")
}
extern "C" fn count(count: &mut u32) -> u32 {
    *count = with(|world| world.gpus);
    0
}
extern "C" fn by_index(index: u32, device: &mut usize) -> u32 {
    if with(|world| world.lost) == Some(index) {
        return 15;
    }
    *device = index as usize + 1;
    0
}
extern "C" fn by_uuid(uuid: *const c_char, device: &mut usize) -> u32 {
    // SAFETY: the driver gives a NUL-terminated text.
    let text = unsafe { CStr::from_ptr(uuid) }.to_string_lossy();
    match text.strip_prefix("GPU-").and_then(|number| number.parse::<usize>().ok()) {
        Some(number) => {
            *device = number + 1;
            0
        }
        None => 6,
    }
}
extern "C" fn uuid(device: usize, to: *mut c_char, _: u32) -> u32 {
    // SAFETY: the driver gives a buffer of 256 bytes.
    unsafe { write_text(&format!("GPU-{}", device - 1), to) };
    0
}
extern "C" fn get_mode(_: usize, current: &mut u32, pending: &mut u32) -> u32 {
    (*current, *pending) = with(|world| world.mode);
    answer("nvmlDeviceGetMigMode")
}
extern "C" fn set_mode(_: usize, mode: u32, activation: &mut u32) -> u32 {
    let code = answer("nvmlDeviceSetMigMode");
    with(|world| {
        *activation = world.activation;
        if code == 0 && world.obeys.0 {
            world.mode.0 = mode;
        }
        if code == 0 && world.obeys.1 {
            world.mode.1 = mode;
        }
    });
    code
}
extern "C" fn create(_: usize, _: u32, _: *const [u32; 2], handle: &mut usize) -> u32 {
    let code = answer("nvmlDeviceCreateGpuInstanceWithPlacement");
    if code == 0 {
        with(|world| world.instances.push(world.made));
        *handle = with(|world| world.made.0) as usize + 1;
    }
    code
}
extern "C" fn destroy(handle: usize) -> u32 {
    let code = answer("nvmlGpuInstanceDestroy");
    if code == 0 && with(|world| world.destroys) {
        with(|world| world.instances.retain(|made| made.0 as usize + 1 != handle));
    }
    code
}
extern "C" fn by_id(_: usize, id: u32, handle: &mut usize) -> u32 {
    if with(|world| world.instances.iter().any(|made| made.0 == id)) {
        *handle = id as usize + 1;
        0
    } else {
        6
    }
}
extern "C" fn list(_: usize, profile: u32, handles: *mut usize, count: &mut u32) -> u32 {
    let found: Vec<usize> = with(|world| {
        let mine = world.instances.iter().filter(|made| made.1 == profile);
        mine.map(|made| made.0 as usize + 1).collect()
    });
    *count = found.len() as u32;
    for (at, handle) in found.into_iter().enumerate() {
        // SAFETY: the driver's buffer is longer than any list here.
        let place = unsafe { handles.add(at) };
        // SAFETY: as above.
        unsafe { place.write(handle) };
    }
    0
}
#[repr(C)]
pub(crate) struct InstanceInfo {
    device: usize,
    id: u32,
    profile: u32,
    start: u32,
    size: u32,
}
extern "C" fn info(handle: usize, info: &mut InstanceInfo) -> u32 {
    let found = with(|world| world.instances.iter().find(|m| m.0 as usize + 1 == handle).copied());
    let Some((id, profile, start, size)) = found else { return 2 };
    *info = InstanceInfo { device: 1, id, profile, start, size };
    0
}
extern "C" fn processes_v3(_: usize, count: &mut u32, to: *mut [u32; 6]) -> u32 {
    let pids = with(|world| world.pids);
    let room = core::mem::replace(count, pids);
    if room < pids {
        return 7;
    }
    for pid in 0..pids {
        // SAFETY: there is room for that many.
        let place = unsafe { to.add(pid as usize) };
        // SAFETY: as above.
        unsafe { place.write([pid + 100, 0, 3 << 20, 0, u32::MAX, u32::MAX]) };
    }
    0
}
extern "C" fn processes_v1(_: usize, count: &mut u32, to: *mut [u32; 4]) -> u32 {
    *count = 1;
    // SAFETY: the driver never gives room for none.
    unsafe { to.write([55, 0, u32::MAX, u32::MAX]) };
    0
}
extern "C" fn event_set(set: &mut usize) -> u32 {
    *set = 1;
    0
}
extern "C" fn event_set_free(_: usize) -> u32 {
    0
}

/// The functions the fake has.
pub(crate) fn functions() -> BTreeMap<&'static str, *const c_void> {
    BTreeMap::from([
        ("nvmlInit_v2", init as *const c_void),
        ("nvmlShutdown", shutdown as *const c_void),
        ("nvmlErrorString", error_string as *const c_void),
        ("nvmlSystemGetDriverVersion", driver_version as *const c_void),
        ("nvmlDeviceGetCount_v2", count as *const c_void),
        ("nvmlDeviceGetHandleByIndex_v2", by_index as *const c_void),
        ("nvmlDeviceGetHandleByUUID", by_uuid as *const c_void),
        ("nvmlDeviceGetUUID", uuid as *const c_void),
        ("nvmlDeviceGetMigMode", get_mode as *const c_void),
        ("nvmlDeviceSetMigMode", set_mode as *const c_void),
        ("nvmlDeviceCreateGpuInstanceWithPlacement", create as *const c_void),
        ("nvmlGpuInstanceDestroy", destroy as *const c_void),
        ("nvmlDeviceGetGpuInstanceById", by_id as *const c_void),
        ("nvmlDeviceGetGpuInstances", list as *const c_void),
        ("nvmlGpuInstanceGetInfo", info as *const c_void),
        ("nvmlDeviceGetComputeRunningProcesses_v3", processes_v3 as *const c_void),
        ("nvmlEventSetCreate", event_set as *const c_void),
        ("nvmlEventSetFree", event_set_free as *const c_void),
    ])
}

/// The old process list, for drivers that have nothing newer.
pub(crate) const OLD_PROCESSES: (&str, *const c_void) =
    ("nvmlDeviceGetComputeRunningProcesses", processes_v1 as *const c_void);

/// A resolver over some functions.
pub(crate) fn resolver(functions: BTreeMap<&'static str, *const c_void>) -> Resolver {
    let addresses: BTreeMap<&'static str, usize> =
        functions.into_iter().map(|(name, address)| (name, address as usize)).collect();
    Arc::new(move |name: &str| {
        addresses.get(name).and_then(|address| NonNull::new(*address as *mut c_void))
    })
}

/// A driver over every function of the fake.
pub(crate) fn open() -> Result<Driver, DriverError> {
    Driver::open(resolver(functions()))
}
