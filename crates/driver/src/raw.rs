//! Calls with buffers, lists and versioned structs, made safe.
//!
//! Must never trust a count that comes back: NVML is not told the size of most arrays, so buffers
//! are generous and counts are cut to them.

#![allow(unsafe_code, reason = "hands buffers to NVML")]

use core::ffi::{CStr, c_char, c_uint};
use core::mem::size_of;

use nvml_wrapper_sys::bindings::{
    nvmlComputeInstanceInfo_t, nvmlComputeInstancePlacement_t, nvmlComputeInstanceProfileInfo_t,
    nvmlDeviceAttributes_t, nvmlEventData_t, nvmlFieldValue_t, nvmlGpmSupport_t,
    nvmlGpuInstanceInfo_t, nvmlGpuInstancePlacement_t, nvmlGpuInstanceProfileInfo_t,
    nvmlGpuInstanceProfileInfo_v2_t, nvmlGpuInstanceProfileInfo_v3_t, nvmlMemory_t, nvmlPciInfo_t,
    nvmlProcessInfo_t, nvmlProcessInfo_v1_t, nvmlUtilization_t,
};

use crate::returns::NvmlReturn;
use crate::symbols::{
    Call, CallError, ComputeInstanceHandle, Device, GpmSampleHandle, GpuInstanceHandle, Symbols,
    succeeded,
};

/// Room for lists whose size NVML is not told: no GPU has more than 15 instances, 8 compute
/// instances in one, or 12 placements of a profile.
const LIST_ROOM: usize = 128;

/// Room for texts; the longest of nvml.h is 96.
const TEXT_ROOM: usize = 256;

/// A struct of the C ABI for which all zero bytes are a value.
///
/// # Safety
/// Every field must allow zero.
pub(crate) unsafe trait Plain: Copy {
    /// All zero.
    fn zeroed() -> Self {
        // SAFETY: implementors promise that zero bytes are a value.
        unsafe { core::mem::zeroed() }
    }
}

macro_rules! plain {
    ($($name:ty = $size:literal),* $(,)?) => {
        $(
            const _: () = assert!(size_of::<$name>() == $size);
            // SAFETY: integers, arrays of integers, unions of numbers and raw pointers allow zero.
            unsafe impl Plain for $name {}
        )*
    };
}

plain! {
    nvmlComputeInstanceInfo_t = 32,
    nvmlComputeInstancePlacement_t = 8,
    nvmlComputeInstanceProfileInfo_t = 36,
    nvmlDeviceAttributes_t = 40,
    nvmlEventData_t = 32,
    nvmlFieldValue_t = 40,
    nvmlGpuInstanceInfo_t = 24,
    nvmlGpuInstancePlacement_t = 8,
    nvmlGpuInstanceProfileInfo_t = 48,
    nvmlGpuInstanceProfileInfo_v2_t = 152,
    nvmlGpuInstanceProfileInfo_v3_t = 152,
    nvmlMemory_t = 24,
    nvmlPciInfo_t = 68,
    nvmlGpmSupport_t = 8,
    nvmlProcessInfo_t = 24,
    nvmlProcessInfo_v1_t = 16,
    nvmlUtilization_t = 8,
    Device = 8,
    GpuInstanceHandle = 8,
    ComputeInstanceHandle = 8,
}

/// The version word of a versioned struct.
const fn version_word<T>(version: u32) -> c_uint {
    size_of::<T>() as c_uint | version << 24
}

/// The metrics asked for: graphics utilisation, SM utilisation, SM occupancy, memory bandwidth
/// (`NVML_GPM_METRIC_*`).
pub(crate) const GPM_METRICS: [c_uint; 4] = [1, 2, 3, 10];

/// One metric of a request (`nvmlGpmMetric_t`).
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct GpmMetric {
    id: c_uint,
    pub(crate) result: c_uint,
    pub(crate) value: f64,
    texts: [usize; 3],
}

/// `nvmlGpmMetricsGet_t` with the largest array any header gave it: the bound grew from 98 to 333
/// while the version stayed 1, and a library may clear all of its own.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct GpmMetricsRequest {
    version: c_uint,
    count: c_uint,
    earlier: GpmSampleHandle,
    later: GpmSampleHandle,
    pub(crate) metrics: [GpmMetric; 333],
}

const _: () = assert!(size_of::<GpmMetric>() == 40);
const _: () = assert!(size_of::<GpmMetricsRequest>() == 13_344);

impl GpmMetricsRequest {
    /// Asks for [`GPM_METRICS`] between two samples.
    pub(crate) fn new(earlier: GpmSampleHandle, later: GpmSampleHandle) -> Box<Self> {
        let none = GpmMetric { id: 0, result: 0, value: 0.0, texts: [0; 3] };
        let mut metrics = [none; 333];
        for (metric, id) in metrics.iter_mut().zip(GPM_METRICS) {
            metric.id = id;
        }
        Box::new(Self { version: 1, count: GPM_METRICS.len() as c_uint, earlier, later, metrics })
    }
}

/// The text in a C buffer, up to its NUL or its end.
pub(crate) fn text_in(buffer: &[c_char]) -> String {
    let bytes: Vec<u8> =
        buffer.iter().take_while(|byte| **byte != 0).map(|byte| *byte as u8).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn text(call: impl FnOnce(*mut c_char, c_uint) -> Call<()>) -> Call<String> {
    let mut buffer = [0; TEXT_ROOM];
    call(buffer.as_mut_ptr(), TEXT_ROOM as c_uint)?;
    Ok(text_in(&buffer))
}

fn list<T: Plain>(room: usize, call: impl FnOnce(*mut T, &mut c_uint) -> Call<()>) -> Call<Vec<T>> {
    let mut items = vec![T::zeroed(); room];
    // Some functions read the count as the room there is, others only write it.
    let mut count = room as c_uint;
    call(items.as_mut_ptr(), &mut count)?;
    items.truncate(count as usize);
    Ok(items)
}

/// The first answer that is not a reason to try an older form of the call. If none is, the error is
/// what the newest form present returned.
pub(crate) fn newest<T>(forms: &[&dyn Fn() -> Call<T>]) -> Call<T> {
    let mut failed: Option<CallError> = None;
    for form in forms {
        match form() {
            Ok(value) => return Ok(value),
            Err(error) if !error.wants_older_form() => return Err(error),
            Err(error) => {
                failed = match (failed, error) {
                    (None | Some(CallError::Missing(_)), CallError::Returned(_))
                    | (None, CallError::Missing(_)) => Some(error),
                    (earlier, _) => earlier,
                };
            }
        }
    }
    Err(failed.unwrap_or(CallError::Returned(NvmlReturn::FunctionNotFound)))
}

impl Symbols {
    pub(crate) fn driver_version(&self) -> Call<String> {
        // SAFETY: the buffer has the length given.
        text(|buffer, length| unsafe { self.nvmlSystemGetDriverVersion(buffer, length) })
    }

    pub(crate) fn nvml_version(&self) -> Call<String> {
        // SAFETY: the buffer has the length given.
        text(|buffer, length| unsafe { self.nvmlSystemGetNVMLVersion(buffer, length) })
    }

    pub(crate) fn uuid(&self, device: Device) -> Call<String> {
        // SAFETY: the buffer has the length given.
        text(|buffer, length| unsafe { self.nvmlDeviceGetUUID(device, buffer, length) })
    }

    pub(crate) fn name(&self, device: Device) -> Call<String> {
        // SAFETY: the buffer has the length given.
        text(|buffer, length| unsafe { self.nvmlDeviceGetName(device, buffer, length) })
    }

    pub(crate) fn serial(&self, device: Device) -> Call<String> {
        // SAFETY: the buffer has the length given.
        text(|buffer, length| unsafe { self.nvmlDeviceGetSerial(device, buffer, length) })
    }

    pub(crate) fn handle_by_uuid(&self, uuid: &CStr) -> Call<Device> {
        let mut device = Device::NONE;
        // SAFETY: the text ends with NUL and lives through the call.
        unsafe { self.nvmlDeviceGetHandleByUUID(uuid.as_ptr(), &mut device) }?;
        Ok(device)
    }

    /// The `u32` value of one field, if the driver has it.
    pub(crate) fn field(&self, device: Device, field: u32) -> Call<u32> {
        let mut value = nvmlFieldValue_t::zeroed();
        value.fieldId = field;
        // SAFETY: one value is given and the count says so.
        unsafe { self.nvmlDeviceGetFieldValues(device, 1, &raw mut value) }?;
        succeeded(value.nvmlReturn)?;
        // SAFETY: any bytes are a number, and those NVML did not write are zero.
        Ok(unsafe { value.value.uiVal })
    }

    /// Computes the metrics of a request.
    pub(crate) fn gpm_metrics(&self, request: &mut GpmMetricsRequest) -> Call<()> {
        // SAFETY: the request is laid out as nvmlGpmMetricsGet_t, at least as long as any version of
        // it, and its samples are alive.
        unsafe { self.nvmlGpmMetricsGet((&raw mut *request).cast()) }
    }

    /// A profile with name and capabilities; INVALID_ARGUMENT beyond the last enum value.
    pub(crate) fn profile_v3(
        &self,
        device: Device,
        profile: c_uint,
    ) -> Call<nvmlGpuInstanceProfileInfo_v3_t> {
        let mut info = nvmlGpuInstanceProfileInfo_v3_t::zeroed();
        info.version = version_word::<nvmlGpuInstanceProfileInfo_v3_t>(3);
        // SAFETY: the version word tells NVML that the struct is the v3 one, which it writes.
        unsafe {
            self.nvmlDeviceGetGpuInstanceProfileInfoV(device, profile, (&raw mut info).cast())
        }?;
        Ok(info)
    }

    /// A profile with name.
    pub(crate) fn profile_v2(
        &self,
        device: Device,
        profile: c_uint,
    ) -> Call<nvmlGpuInstanceProfileInfo_v2_t> {
        let mut info = nvmlGpuInstanceProfileInfo_v2_t::zeroed();
        info.version = version_word::<nvmlGpuInstanceProfileInfo_v2_t>(2);
        // SAFETY: the struct is the one the version word names.
        unsafe { self.nvmlDeviceGetGpuInstanceProfileInfoV(device, profile, &raw mut info) }?;
        Ok(info)
    }

    /// Every legal placement of a profile, free or not.
    pub(crate) fn placements(
        &self,
        device: Device,
        profile_id: c_uint,
    ) -> Call<Vec<nvmlGpuInstancePlacement_t>> {
        let mut count = 0;
        // SAFETY: NULL asks for the count alone.
        let counted = unsafe {
            self.nvmlDeviceGetGpuInstancePossiblePlacements_v2(
                device,
                profile_id,
                core::ptr::null_mut(),
                &mut count,
            )
        };
        counted?;
        list(LIST_ROOM.max(count as usize), |buffer, count| {
            // SAFETY: the buffer has room for more than NVML said there are.
            unsafe {
                self.nvmlDeviceGetGpuInstancePossiblePlacements_v2(
                    device, profile_id, buffer, count,
                )
            }
        })
    }

    /// Every legal placement of a compute instance profile.
    pub(crate) fn compute_placements(
        &self,
        instance: GpuInstanceHandle,
        profile_id: c_uint,
    ) -> Call<Vec<nvmlComputeInstancePlacement_t>> {
        list(LIST_ROOM, |buffer, count| {
            // SAFETY: no GPU instance has as many placements as the buffer has room for.
            unsafe {
                self.nvmlGpuInstanceGetComputeInstancePossiblePlacements(
                    instance, profile_id, buffer, count,
                )
            }
        })
    }

    /// The GPU instances of one profile.
    pub(crate) fn gpu_instances(
        &self,
        device: Device,
        profile_id: c_uint,
    ) -> Call<Vec<GpuInstanceHandle>> {
        list(LIST_ROOM, |buffer, count| {
            // SAFETY: no GPU has as many instances as the buffer has room for.
            unsafe { self.nvmlDeviceGetGpuInstances(device, profile_id, buffer, count) }
        })
    }

    /// The compute instances of one profile.
    pub(crate) fn compute_instances(
        &self,
        instance: GpuInstanceHandle,
        profile_id: c_uint,
    ) -> Call<Vec<ComputeInstanceHandle>> {
        list(LIST_ROOM, |buffer, count| {
            // SAFETY: no GPU instance has as many compute instances as the buffer has room for.
            unsafe { self.nvmlGpuInstanceGetComputeInstances(instance, profile_id, buffer, count) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_form_that_answers_counts() {
        let missing = || Err(CallError::Missing("new"));
        let returned = |result| move || Err(CallError::Returned(result));
        let refuses = returned(NvmlReturn::InvalidArgument);
        let lost = returned(NvmlReturn::GpuIsLost);
        assert_eq!(newest(&[&missing, &|| Ok(1)]), Ok(1));
        assert_eq!(newest::<u32>(&[&refuses, &missing]), refuses());
        assert_eq!(newest::<u32>(&[&missing, &refuses]), refuses());
        assert_eq!(newest(&[&lost, &|| Ok(1)]), lost());
        assert_eq!(newest::<u32>(&[&missing, &missing]), missing());
    }

    #[test]
    fn version_words_are_those_of_the_header() {
        assert_eq!(version_word::<nvmlGpuInstanceProfileInfo_v2_t>(2), 0x0200_0098);
        assert_eq!(version_word::<nvmlGpuInstanceProfileInfo_v3_t>(3), 0x0300_0098);
    }

    #[test]
    fn lists_are_cut_to_what_was_told_and_never_beyond_the_room() {
        let told = |count: u32| {
            list::<nvmlGpuInstancePlacement_t>(4, |_, out| {
                *out = count;
                Ok(())
            })
        };
        assert_eq!(told(3).unwrap().len(), 3);
        assert_eq!(told(1000).unwrap().len(), 4);
    }
}
