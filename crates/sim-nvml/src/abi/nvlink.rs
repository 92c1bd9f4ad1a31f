//! NVLinks and the fabric.
//!
//! Must never show an active link of a GPU in MIG mode.

use sim_gpu::{Query, Return};

use super::args::{Out, Outcome, fixed};
use super::structs::{FabricInfoV3, sys, version_of};
use crate::call::Call;
use crate::types::{Device, FabricInfo, PciInfo};

/// `NVML_NVLINK_DEVICE_TYPE_SWITCH`.
const REMOTE_SWITCH: u32 = 2;
/// PCI id of an NVSwitch of the DGX A100.
const SWITCH_PCI_ID: u32 = 0x1AF1_10DE;
/// `NVML_GPU_FABRIC_STATE_NOT_SUPPORTED`.
const FABRIC_NOT_SUPPORTED: u8 = 0;

/// The GPU of a link that exists. "Does not exist" is NOT_SUPPORTED on GPUs without links and
/// INVALID_ARGUMENT beyond the last one.
fn link_of(call: &Call, device: Device, link: u32) -> Outcome<(usize, u8)> {
    let gpu = call.query(device, Query::Links)?;
    let link = u8::try_from(link).map_err(|_| Return::InvalidArgument)?;
    call.node().nvlink_remote(gpu, link)?;
    Ok((gpu, link))
}

pub(crate) fn state(call: &Call, device: Device, link: u32, active: Out<u32>) -> Outcome {
    let (gpu, link) = link_of(call, device, link)?;
    active.put(u32::from(link < call.node().active_nvlinks(gpu)?))
}

pub(crate) fn version(call: &Call, device: Device, link: u32, version: Out<u32>) -> Outcome {
    let (gpu, _) = link_of(call, device, link)?;
    // NVLink 3 on Ampere, 4 on Hopper, 5 on Blackwell, in NVML's numbering.
    version.put(match call.node().board(gpu)?.architecture {
        ..=8 => 5,
        9 => 6,
        _ => 7,
    })
}

pub(crate) fn capability(
    call: &Call,
    device: Device,
    link: u32,
    capability: u32,
    result: Out<u32>,
) -> Outcome {
    link_of(call, device, link)?;
    result.check()?;
    if capability > 5 { Err(Return::InvalidArgument) } else { result.put(1) }
}

pub(crate) fn remote_pci(call: &Call, device: Device, link: u32, pci: Out<PciInfo>) -> Outcome {
    let (gpu, link) = link_of(call, device, link)?;
    pci.check()?;
    let address = call.node().nvlink_remote(gpu, link)?;
    let short = format!("{:04X}:{:02X}:{:02X}.0", address.domain, address.bus, address.device);
    pci.put(sys::nvmlPciInfo_t {
        busIdLegacy: fixed(&short),
        domain: address.domain,
        bus: u32::from(address.bus),
        device: u32::from(address.device),
        pciDeviceId: SWITCH_PCI_ID,
        pciSubSystemId: 0,
        busId: fixed(&address.to_string()),
    })
}

pub(crate) fn remote_type(call: &Call, device: Device, link: u32, kind: Out<u32>) -> Outcome {
    link_of(call, device, link)?;
    kind.put(REMOTE_SWITCH)
}

pub(crate) fn errors(
    call: &Call,
    device: Device,
    link: u32,
    counter: u32,
    value: Out<u64>,
) -> Outcome {
    link_of(call, device, link)?;
    value.check()?;
    if counter > 4 { Err(Return::InvalidArgument) } else { value.put(0) }
}

/// No fabric manager is simulated: the fabric is "not supported", which is an answer.
pub(crate) fn fabric(call: &Call, device: Device, info: Out<FabricInfo>) -> Outcome {
    call.query(device, Query::Links)?;
    info.put(sys::nvmlGpuFabricInfo_t {
        clusterUuid: [0; 16],
        status: Return::Success.code(),
        cliqueId: 0,
        state: FABRIC_NOT_SUPPORTED,
    })
}

pub(crate) fn fabric_v(call: &Call, device: Device, info: Out<u32>) -> Outcome {
    call.query(device, Query::Links)?;
    let version = info.get()?;
    if version == version_of::<sys::nvmlGpuFabricInfo_v2_t>(2) {
        return info.cast().put(sys::nvmlGpuFabricInfo_v2_t {
            version,
            clusterUuid: [0; 16],
            status: Return::Success.code(),
            cliqueId: 0,
            state: FABRIC_NOT_SUPPORTED,
            healthMask: 0,
        });
    }
    if version == version_of::<FabricInfoV3>(3) {
        return info.cast().put(FabricInfoV3 {
            version,
            cluster_uuid: [0; 16],
            status: Return::Success.code(),
            clique_id: 0,
            state: FABRIC_NOT_SUPPORTED,
            health_mask: 0,
            health_summary: 0,
        });
    }
    Err(Return::ArgumentVersionMismatch)
}
