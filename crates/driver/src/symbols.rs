//! The functions of NVML this crate calls, each looked up by name and each optional.
//!
//! Must never hold a function under a signature `nvml.h` does not give it: the types below are the
//! only place where addresses become functions.

#![allow(unsafe_code, reason = "turns addresses into functions and calls them")]
#![allow(non_snake_case, reason = "the names are NVML's own")]

use core::ffi::{CStr, c_char, c_uint, c_ulong, c_ulonglong, c_void};
use core::fmt;
use core::ptr::NonNull;

use nvml_wrapper_sys::bindings::{
    nvmlComputeInstance_t, nvmlComputeInstanceInfo_t, nvmlComputeInstancePlacement_t,
    nvmlComputeInstanceProfileInfo_t, nvmlDevice_t, nvmlDeviceAttributes_t, nvmlEventData_t,
    nvmlEventSet_t, nvmlFieldValue_t, nvmlGpmMetricsGet_t, nvmlGpmSample_t, nvmlGpmSupport_t,
    nvmlGpuInstance_t, nvmlGpuInstanceInfo_t, nvmlGpuInstancePlacement_t,
    nvmlGpuInstanceProfileInfo_t, nvmlGpuInstanceProfileInfo_v2_t, nvmlMemory_t, nvmlPciInfo_t,
    nvmlProcessInfo_t, nvmlProcessInfo_v1_t, nvmlReturn_t, nvmlUtilization_t,
};

use crate::library::Resolver;
use crate::returns::NvmlReturn;

/// Why a single call gave nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallError {
    /// The library has no such function.
    Missing(&'static str),
    /// It returned something other than success.
    Returned(NvmlReturn),
}

impl CallError {
    /// Whether the call returned `result`.
    pub(crate) fn is(self, result: NvmlReturn) -> bool {
        self == Self::Returned(result)
    }

    /// Whether another form of the call may work: the function is missing or says it is not meant
    /// for this driver.
    pub(crate) fn wants_older_form(self) -> bool {
        matches!(
            self,
            Self::Missing(_)
                | Self::Returned(
                    NvmlReturn::FunctionNotFound
                        | NvmlReturn::ArgumentVersionMismatch
                        | NvmlReturn::NotSupported
                        | NvmlReturn::Deprecated
                        | NvmlReturn::InvalidArgument
                )
        )
    }
}

/// A call's result.
pub(crate) type Call<T> = Result<T, CallError>;

macro_rules! handles {
    ($($(#[$doc:meta])* $name:ident($raw:ty);)*) => {
        $(
            $(#[$doc])*
            #[repr(transparent)]
            #[derive(Debug, Clone, Copy, PartialEq, Eq)]
            pub(crate) struct $name($raw);

            // SAFETY: a handle is an opaque token that this crate never dereferences, and NVML's
            // functions may be called from any thread (nvml.h: "The NVML library is thread-safe").
            unsafe impl Send for $name {}
            // SAFETY: as for `Send`.
            unsafe impl Sync for $name {}

            impl $name {
                /// No handle; NVML answers it with INVALID_ARGUMENT.
                pub(crate) const NONE: Self = Self(core::ptr::null_mut());
            }
        )*
    };
}

handles! {
    /// A GPU or a MIG device.
    Device(nvmlDevice_t);
    /// A GPU instance.
    GpuInstanceHandle(nvmlGpuInstance_t);
    /// A compute instance.
    ComputeInstanceHandle(nvmlComputeInstance_t);
    /// A set of events.
    EventSet(nvmlEventSet_t);
    /// Counters at one moment.
    GpmSampleHandle(nvmlGpmSample_t);
}

impl Device {
    /// Wraps the handle a struct of NVML carries.
    pub(crate) const fn from_raw(raw: nvmlDevice_t) -> Self {
        Self(raw)
    }
}

macro_rules! symbols {
    (
        safe { $(fn $safe:ident($($safe_arg:ident: $safe_ty:ty),* $(,)?);)* }
        raw { $(fn $raw:ident($($raw_arg:ident: $raw_ty:ty),* $(,)?);)* }
    ) => {
        /// What a resolver found of NVML.
        pub(crate) struct Symbols {
            /// Keeps the library loaded as long as its functions may be called.
            _resolver: Resolver,
            error_string: Option<unsafe extern "C" fn(nvmlReturn_t) -> *const c_char>,
            $($safe: Option<unsafe extern "C" fn($($safe_ty),*) -> nvmlReturn_t>,)*
            $($raw: Option<unsafe extern "C" fn($($raw_ty),*) -> nvmlReturn_t>,)*
        }

        impl Symbols {
            /// Looks every function up once.
            pub(crate) fn resolve(resolver: Resolver) -> Self {
                $(
                    let $safe = resolver(stringify!($safe)).map(|address| {
                        // SAFETY: by the resolver's contract the address is that of a C function of
                        // this name, whose signature in nvml.h is the one written here; a reference
                        // is passed like the non-null pointer the function expects.
                        unsafe {
                            core::mem::transmute::<
                                NonNull<c_void>,
                                unsafe extern "C" fn($($safe_ty),*) -> nvmlReturn_t,
                            >(address)
                        }
                    });
                )*
                $(
                    let $raw = resolver(stringify!($raw)).map(|address| {
                        // SAFETY: as above.
                        unsafe {
                            core::mem::transmute::<
                                NonNull<c_void>,
                                unsafe extern "C" fn($($raw_ty),*) -> nvmlReturn_t,
                            >(address)
                        }
                    });
                )*
                let error_string = resolver("nvmlErrorString").map(|address| {
                    // SAFETY: as above.
                    unsafe {
                        core::mem::transmute::<
                            NonNull<c_void>,
                            unsafe extern "C" fn(nvmlReturn_t) -> *const c_char,
                        >(address)
                    }
                });
                Self { _resolver: resolver, error_string, $($safe,)* $($raw,)* }
            }

            $(
                pub(crate) fn $safe(&self, $($safe_arg: $safe_ty),*) -> Call<()> {
                    let function = self.$safe.ok_or(CallError::Missing(stringify!($safe)))?;
                    // SAFETY: the function has this signature (see `resolve`), handles are tokens it
                    // checks itself, and references are valid for the length of the call.
                    succeeded(unsafe { function($($safe_arg),*) })
                }
            )*
            $(
                /// # Safety
                /// Pointers must be valid for what nvml.h says the function reads and writes.
                pub(crate) unsafe fn $raw(&self, $($raw_arg: $raw_ty),*) -> Call<()> {
                    let function = self.$raw.ok_or(CallError::Missing(stringify!($raw)))?;
                    // SAFETY: the function has this signature; the caller vouches for the pointers.
                    succeeded(unsafe { function($($raw_arg),*) })
                }
            )*
        }
    };
}

/// Success, or what else a code means.
pub(crate) fn succeeded(code: nvmlReturn_t) -> Call<()> {
    let result = NvmlReturn::from(code);
    if result == NvmlReturn::Success { Ok(()) } else { Err(CallError::Returned(result)) }
}

impl Symbols {
    /// NVML's words for a return value; our own where the library has none.
    pub(crate) fn text_of(&self, result: NvmlReturn) -> String {
        let Some(function) = self.error_string else { return result.text().into() };
        // SAFETY: the function takes any number and returns a static text or NULL.
        let text = unsafe { function(result.code()) };
        if text.is_null() {
            return result.text().into();
        }
        // SAFETY: not null, and nvml.h says the text is a NUL-terminated string never freed.
        let text = unsafe { CStr::from_ptr(text) };
        text.to_string_lossy().into_owned()
    }
}

impl fmt::Debug for Symbols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Symbols").finish_non_exhaustive()
    }
}

symbols! {
    safe {
        fn nvmlInit_v2();
        fn nvmlInit();
        fn nvmlShutdown();
        fn nvmlSystemGetCudaDriverVersion_v2(version: &mut i32);
        fn nvmlSystemGetCudaDriverVersion(version: &mut i32);
        fn nvmlDeviceGetCount_v2(count: &mut c_uint);
        fn nvmlDeviceGetCount(count: &mut c_uint);
        fn nvmlDeviceGetHandleByIndex_v2(index: c_uint, device: &mut Device);
        fn nvmlDeviceGetHandleByIndex(index: c_uint, device: &mut Device);
        fn nvmlDeviceGetIndex(device: Device, index: &mut c_uint);
        fn nvmlDeviceGetMinorNumber(device: Device, minor: &mut c_uint);
        fn nvmlDeviceGetPciInfo_v3(device: Device, pci: &mut nvmlPciInfo_t);
        fn nvmlDeviceGetPciInfo_v2(device: Device, pci: &mut nvmlPciInfo_t);
        fn nvmlDeviceGetCudaComputeCapability(device: Device, major: &mut i32, minor: &mut i32);
        fn nvmlDeviceGetMemoryInfo(device: Device, memory: &mut nvmlMemory_t);
        fn nvmlDeviceGetArchitecture(device: Device, architecture: &mut c_uint);
        fn nvmlDeviceGetPowerUsage(device: Device, milliwatts: &mut c_uint);
        fn nvmlDeviceGetEnforcedPowerLimit(device: Device, milliwatts: &mut c_uint);
        fn nvmlDeviceGetTemperature(device: Device, sensor: c_uint, celsius: &mut c_uint);
        fn nvmlDeviceGetUtilizationRates(device: Device, rates: &mut nvmlUtilization_t);
        fn nvmlDeviceSetPersistenceMode(device: Device, mode: c_uint);
        fn nvmlDeviceGetVirtualizationMode(device: Device, mode: &mut c_uint);
        fn nvmlDeviceGetPersistenceMode(device: Device, mode: &mut c_uint);
        fn nvmlDeviceGetMigMode(device: Device, current: &mut c_uint, pending: &mut c_uint);
        fn nvmlDeviceSetMigMode(device: Device, mode: c_uint, activation: &mut nvmlReturn_t);
        fn nvmlDeviceGetMaxMigDeviceCount(device: Device, count: &mut c_uint);
        fn nvmlDeviceGetMigDeviceHandleByIndex(
            device: Device, index: c_uint, mig: &mut Device,
        );
        fn nvmlDeviceGetDeviceHandleFromMigDeviceHandle(mig: Device, device: &mut Device);
        fn nvmlDeviceGetGpuInstanceId(mig: Device, id: &mut c_uint);
        fn nvmlDeviceGetComputeInstanceId(mig: Device, id: &mut c_uint);
        fn nvmlDeviceGetAttributes_v2(mig: Device, attributes: &mut nvmlDeviceAttributes_t);
        fn nvmlDeviceGetGpuInstanceProfileInfo(
            device: Device, profile: c_uint, info: &mut nvmlGpuInstanceProfileInfo_t,
        );
        fn nvmlDeviceGetGpuInstanceRemainingCapacity(
            device: Device, profile_id: c_uint, count: &mut c_uint,
        );
        fn nvmlDeviceCreateGpuInstanceWithPlacement(
            device: Device, profile_id: c_uint, placement: &nvmlGpuInstancePlacement_t,
            instance: &mut GpuInstanceHandle,
        );
        fn nvmlDeviceGetGpuInstanceById(
            device: Device, id: c_uint, instance: &mut GpuInstanceHandle,
        );
        fn nvmlGpuInstanceGetInfo(instance: GpuInstanceHandle, info: &mut nvmlGpuInstanceInfo_t);
        fn nvmlGpuInstanceDestroy(instance: GpuInstanceHandle);
        fn nvmlGpuInstanceGetComputeInstanceProfileInfo(
            instance: GpuInstanceHandle, profile: c_uint, engine_profile: c_uint,
            info: &mut nvmlComputeInstanceProfileInfo_t,
        );
        fn nvmlGpuInstanceCreateComputeInstanceWithPlacement(
            instance: GpuInstanceHandle, profile_id: c_uint,
            placement: &nvmlComputeInstancePlacement_t, compute: &mut ComputeInstanceHandle,
        );
        fn nvmlGpuInstanceCreateComputeInstance(
            instance: GpuInstanceHandle, profile_id: c_uint, compute: &mut ComputeInstanceHandle,
        );
        fn nvmlGpuInstanceGetComputeInstanceById(
            instance: GpuInstanceHandle, id: c_uint, compute: &mut ComputeInstanceHandle,
        );
        fn nvmlComputeInstanceGetInfo_v2(
            compute: ComputeInstanceHandle, info: &mut nvmlComputeInstanceInfo_t,
        );
        fn nvmlComputeInstanceGetInfo(
            compute: ComputeInstanceHandle, info: &mut nvmlComputeInstanceInfo_t,
        );
        fn nvmlComputeInstanceDestroy(compute: ComputeInstanceHandle);
        fn nvmlDeviceGetTopologyCommonAncestor(a: Device, b: Device, level: &mut c_uint);
        fn nvmlDeviceGetNumaNodeId(device: Device, node: &mut c_uint);
        fn nvmlDeviceGetNvLinkState(device: Device, link: c_uint, active: &mut c_uint);
        fn nvmlDeviceGetNvLinkRemotePciInfo_v2(
            device: Device, link: c_uint, pci: &mut nvmlPciInfo_t,
        );
        fn nvmlDeviceGetNvLinkRemoteDeviceType(
            device: Device, link: c_uint, kind: &mut c_uint,
        );
        fn nvmlDeviceGetSupportedEventTypes(device: Device, types: &mut c_ulonglong);
        fn nvmlDeviceRegisterEvents(device: Device, types: c_ulonglong, set: EventSet);
        fn nvmlEventSetCreate(set: &mut EventSet);
        fn nvmlEventSetWait_v2(set: EventSet, data: &mut nvmlEventData_t, milliseconds: c_uint);
        fn nvmlEventSetFree(set: EventSet);
        fn nvmlGpmQueryDeviceSupport(device: Device, support: &mut nvmlGpmSupport_t);
        fn nvmlGpmSampleAlloc(sample: &mut GpmSampleHandle);
        fn nvmlGpmSampleFree(sample: GpmSampleHandle);
        fn nvmlGpmSampleGet(device: Device, sample: GpmSampleHandle);
        fn nvmlGpmMigSampleGet(device: Device, instance_id: c_uint, sample: GpmSampleHandle);
    }
    raw {
        fn nvmlSystemGetDriverVersion(text: *mut c_char, length: c_uint);
        fn nvmlSystemGetNVMLVersion(text: *mut c_char, length: c_uint);
        fn nvmlDeviceGetHandleByUUID(uuid: *const c_char, device: &mut Device);
        fn nvmlDeviceGetUUID(device: Device, text: *mut c_char, length: c_uint);
        fn nvmlDeviceGetName(device: Device, text: *mut c_char, length: c_uint);
        fn nvmlDeviceGetSerial(device: Device, text: *mut c_char, length: c_uint);
        fn nvmlDeviceGetCpuAffinityWithinScope(
            device: Device, words: c_uint, set: *mut c_ulong, scope: c_uint,
        );
        fn nvmlDeviceGetCpuAffinity(device: Device, words: c_uint, set: *mut c_ulong);
        fn nvmlDeviceGetMemoryAffinity(
            device: Device, words: c_uint, set: *mut c_ulong, scope: c_uint,
        );
        fn nvmlGpmMetricsGet(request: *mut nvmlGpmMetricsGet_t);
        fn nvmlDeviceGetFieldValues(device: Device, count: i32, values: *mut nvmlFieldValue_t);
        fn nvmlDeviceGetGpuInstanceProfileInfoV(
            device: Device, profile: c_uint, info: *mut nvmlGpuInstanceProfileInfo_v2_t,
        );
        fn nvmlDeviceGetGpuInstancePossiblePlacements_v2(
            device: Device, profile_id: c_uint, placements: *mut nvmlGpuInstancePlacement_t,
            count: &mut c_uint,
        );
        fn nvmlDeviceGetGpuInstances(
            device: Device, profile_id: c_uint, instances: *mut GpuInstanceHandle,
            count: &mut c_uint,
        );
        fn nvmlGpuInstanceGetComputeInstancePossiblePlacements(
            instance: GpuInstanceHandle, profile_id: c_uint,
            placements: *mut nvmlComputeInstancePlacement_t, count: &mut c_uint,
        );
        fn nvmlGpuInstanceGetComputeInstances(
            instance: GpuInstanceHandle, profile_id: c_uint,
            instances: *mut ComputeInstanceHandle, count: &mut c_uint,
        );
        fn nvmlDeviceGetComputeRunningProcesses_v3(
            device: Device, count: &mut c_uint, processes: *mut nvmlProcessInfo_t,
        );
        fn nvmlDeviceGetComputeRunningProcesses_v2(
            device: Device, count: &mut c_uint, processes: *mut nvmlProcessInfo_t,
        );
        fn nvmlDeviceGetComputeRunningProcesses(
            device: Device, count: &mut c_uint, processes: *mut nvmlProcessInfo_v1_t,
        );
        fn nvmlDeviceGetGraphicsRunningProcesses_v3(
            device: Device, count: &mut c_uint, processes: *mut nvmlProcessInfo_t,
        );
        fn nvmlDeviceGetGraphicsRunningProcesses_v2(
            device: Device, count: &mut c_uint, processes: *mut nvmlProcessInfo_t,
        );
        fn nvmlDeviceGetGraphicsRunningProcesses(
            device: Device, count: &mut c_uint, processes: *mut nvmlProcessInfo_v1_t,
        );
        fn nvmlDeviceGetMPSComputeRunningProcesses_v3(
            device: Device, count: &mut c_uint, processes: *mut nvmlProcessInfo_t,
        );
        fn nvmlDeviceGetMPSComputeRunningProcesses_v2(
            device: Device, count: &mut c_uint, processes: *mut nvmlProcessInfo_t,
        );
        fn nvmlDeviceGetMPSComputeRunningProcesses(
            device: Device, count: &mut c_uint, processes: *mut nvmlProcessInfo_v1_t,
        );
    }
}
