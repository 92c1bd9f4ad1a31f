//! `nvmlDeviceGetFieldValues`: many small questions in one call.
//!
//! Must never fail the whole call for one unknown field: each value has its own return code.

use sim_gpu::{Query, Return};

use super::args::{Out, Outcome};
use super::figures;
use super::structs::sys;
use super::utilization::VALUE_UNSIGNED_INT;
use crate::call::Call;
use crate::types::{Device, FieldValue};

/// `NVML_FI_DEV_ECC_CURRENT`.
const ECC_CURRENT: u32 = 1;
/// `NVML_FI_DEV_ECC_PENDING`.
const ECC_PENDING: u32 = 2;
/// `NVML_FI_DEV_MEMORY_TEMP`.
const MEMORY_TEMPERATURE: u32 = 82;
/// `NVML_FI_DEV_NVLINK_LINK_COUNT`.
const NVLINK_LINK_COUNT: u32 = 91;
/// `NVML_FI_DEV_IS_RESETLESS_MIG_SUPPORTED`.
const RESETLESS_MIG: u32 = 184;
/// `NVML_FI_DEV_POWER_INSTANT`.
const POWER_INSTANT: u32 = 186;
/// `NVML_FI_DEV_POWER_REQUESTED_LIMIT`.
const POWER_LIMIT: u32 = 187;
/// `NVML_FI_DEV_IS_MIG_MODE_INDEPENDENT_MIG_QUERY_CAPABLE`.
const MIG_QUERY_WITHOUT_MODE: u32 = 199;
/// `NVML_FI_DEV_GET_GPU_RECOVERY_ACTION`.
const RECOVERY_ACTION: u32 = 230;
/// The most values one call may ask for.
const MOST: i32 = 4096;

pub(crate) fn get(call: &Call, device: Device, count: i32, values: Out<FieldValue>) -> Outcome {
    let found = call.device(device)?;
    values.check()?;
    if !(1..=MOST).contains(&count) {
        return Err(Return::InvalidArgument);
    }
    for index in 0..count.cast_unsigned() as usize {
        let place = values.at(index);
        let mut value = place.get()?;
        value.timestamp = crate::process::now().as_millis().cast_signed() * 1000;
        value.latencyUsec = 0;
        value.valueType = VALUE_UNSIGNED_INT;
        let answer = if found.mig.is_some() {
            Err(Return::NotSupported)
        } else {
            answer(call, found.gpu, value.fieldId)
        };
        value.nvmlReturn = answer.err().unwrap_or(Return::Success).code();
        value.value = sys::nvmlValue_t { ullVal: u64::from(answer.unwrap_or(0)) };
        place.put(value)?;
    }
    Ok(())
}

fn answer(call: &Call, gpu: usize, field: u32) -> Outcome<u32> {
    let node = call.node();
    match field {
        ECC_CURRENT | ECC_PENDING => Ok(1),
        MEMORY_TEMPERATURE => {
            node.supports(gpu, Query::Telemetry, sim_gpu::HandleKind::Gpu)?;
            Ok(40)
        }
        NVLINK_LINK_COUNT => match node.nvlink_count(gpu)? {
            0 => Err(Return::NotSupported),
            count => Ok(u32::from(count)),
        },
        RESETLESS_MIG if node.mig_capable(gpu)? => {
            Ok(u32::from(!node.mode_change_needs_reset(gpu)?))
        }
        POWER_INSTANT => Ok(figures::of(node.board(gpu)?).idle_w * 1000),
        POWER_LIMIT => Ok(figures::of(node.board(gpu)?).limit_w * 1000),
        MIG_QUERY_WITHOUT_MODE if node.mig_capable(gpu)? => {
            Ok(u32::from(node.knobs.profiles_with_mig_off))
        }
        // Answers even where the GPU does not work: that is when it is asked.
        RECOVERY_ACTION => Ok(node.gpu(gpu)?.recovery.nvml_value()),
        _ => Err(Return::NotSupported),
    }
}
