//! Finding GPUs and MIG devices, and what identifies them.
//!
//! Must never give a MIG device a top-level index.

use model::PciAddress;
use sim_gpu::{Gpu, Return, Virtualization};

use super::args::{Buffer, Out, Outcome, Text, fixed};
use super::figures;
use super::structs::{PciInfoExt, Uuid, fixed_version, sys};
use crate::call::{Call, mig_handle};
use crate::types::{AddressingMode, Device, PciInfo};

/// NVML's number of the NVIDIA (data centre) brand.
const BRAND_NVIDIA: u32 = 14;
/// NVML's number of the NVIDIA RTX brand.
const BRAND_NVIDIA_RTX: u32 = 12;

pub(crate) fn count(call: &Call, count: Out<u32>) -> Outcome {
    count.check()?;
    call.fault()?;
    count.put(call.node().gpus.len() as u32)
}

pub(crate) fn by_index(call: &Call, index: u32, device: Out<Device>) -> Outcome {
    device.check()?;
    call.node().gpu(index as usize)?;
    hand_out(call, index as usize, device)
}

fn hand_out(call: &Call, gpu: usize, device: Out<Device>) -> Outcome {
    let handle = call.gpu_handle(gpu)?;
    call.device(handle)?;
    call.node().working_gpu(gpu)?;
    device.put(handle)
}

pub(crate) fn by_serial(call: &Call, serial: Text, device: Out<Device>) -> Outcome {
    let serial = serial.get()?;
    device.check()?;
    let found = call.node().gpus.iter().position(|gpu| gpu.serial == serial);
    hand_out(call, found.ok_or(Return::NotFound)?, device)
}

pub(crate) fn by_uuid(call: &Call, uuid: Text, device: Out<Device>) -> Outcome {
    let uuid = uuid.get()?;
    device.check()?;
    find_uuid(call, &uuid, device)
}

fn find_uuid(call: &Call, uuid: &str, device: Out<Device>) -> Outcome {
    call.fault()?;
    let wait = call.node().knobs.latencies.uuid_lookup;
    if wait.get() > 0 {
        std::thread::sleep(std::time::Duration::from_millis(wait.get()));
    }
    if let Some(gpu) = call.node().gpus.iter().position(|gpu| gpu.uuid.as_str() == uuid) {
        return hand_out(call, gpu, device);
    }
    let (gpu, mig) = call.mig_by_uuid(uuid).ok_or(Return::NotFound)?;
    device.put(mig_handle(gpu, mig))
}

pub(crate) fn by_uuid_v(call: &Call, uuid: Out<Uuid>, device: Out<Device>) -> Outcome {
    let version = uuid.cast::<u32>().get()?;
    device.check()?;
    fixed_version::<Uuid>(version, 1)?;
    let asked = uuid.get()?;
    let bytes: Vec<u8> = asked.value.iter().map(|byte| byte.cast_unsigned()).collect();
    match asked.kind {
        1 => {
            let text: Vec<u8> = bytes.into_iter().take_while(|byte| *byte != 0).collect();
            find_uuid(call, &String::from_utf8_lossy(&text), device)
        }
        2 => {
            let text = hyphenated(&bytes[..16]);
            match find_uuid(call, &format!("GPU-{text}"), device) {
                Err(Return::NotFound) => find_uuid(call, &format!("MIG-{text}"), device),
                other => other,
            }
        }
        _ => Err(Return::InvalidArgument),
    }
}

fn hyphenated(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _written = write!(text, "{byte:02x}");
    }
    text
}

pub(crate) fn by_pci(call: &Call, bus_id: Text, device: Out<Device>) -> Outcome {
    let bus_id = bus_id.get()?;
    device.check()?;
    let address: PciAddress = bus_id.parse().map_err(|_| Return::InvalidArgument)?;
    hand_out(call, call.node().gpu_by_pci(address).ok_or(Return::NotFound)?, device)
}

pub(crate) fn name(call: &Call, device: Device, name: Buffer, length: u32) -> Outcome {
    let found = call.device(device)?;
    match found.mig {
        None => name.put_text(&call.node().board(found.gpu)?.name, length),
        Some(mig) => name.put_text(&call.node().mig_device(found.gpu, mig)?.name, length),
    }
}

pub(crate) fn brand(call: &Call, device: Device, brand: Out<u32>) -> Outcome {
    let found = call.device(device)?;
    let rtx = call.node().board(found.gpu)?.name.contains("RTX");
    brand.put(if rtx { BRAND_NVIDIA_RTX } else { BRAND_NVIDIA })
}

pub(crate) fn index(call: &Call, device: Device, index: Out<u32>) -> Outcome {
    let found = call.device(device)?;
    match found.mig {
        None => index.put(found.gpu as u32),
        Some(mig) => {
            let all = call.node().mig_devices(found.gpu)?;
            let position = all.iter().position(|other| *other == mig);
            index.put(position.ok_or(Return::NotFound)? as u32)
        }
    }
}

fn whole(call: &Call, device: Device) -> Outcome<(usize, &Gpu)> {
    let gpu = call.device(device)?.gpu_or(Return::NotSupported)?;
    Ok((gpu, call.node().working_gpu(gpu)?))
}

/// The GPU of a handle, or of the parent of a MIG device.
fn board_of(call: &Call, device: Device) -> Outcome<(usize, &Gpu)> {
    let gpu = call.device(device)?.gpu;
    Ok((gpu, call.node().working_gpu(gpu)?))
}

pub(crate) fn serial(call: &Call, device: Device, serial: Buffer, length: u32) -> Outcome {
    let (_, gpu) = board_of(call, device)?;
    serial.put_text(&gpu.serial, length)
}

pub(crate) fn uuid(call: &Call, device: Device, uuid: Buffer, length: u32) -> Outcome {
    let found = call.device(device)?;
    match found.mig {
        None => uuid.put_text(call.node().gpu(found.gpu)?.uuid.as_str(), length),
        Some(mig) => uuid.put_text(call.node().mig_uuid(found.gpu, mig)?.as_str(), length),
    }
}

pub(crate) fn minor(call: &Call, device: Device, minor: Out<u32>) -> Outcome {
    let (_, gpu) = board_of(call, device)?;
    minor.put(gpu.minor.get())
}

pub(crate) fn module_id(call: &Call, device: Device, id: Out<u32>) -> Outcome {
    let (gpu, _) = whole(call, device)?;
    id.put(gpu as u32 + 1)
}

pub(crate) fn board_id(call: &Call, device: Device, id: Out<u32>) -> Outcome {
    let (_, gpu) = whole(call, device)?;
    id.put(gpu.pci.domain << 16 | u32::from(gpu.pci.bus) << 8)
}

pub(crate) fn board_part_number(call: &Call, device: Device, part: Buffer, length: u32) -> Outcome {
    let (gpu, _) = whole(call, device)?;
    let id = call.node().board(gpu)?.pci_device_id >> 16;
    part.put_text(&format!("900-2{id:04X}-0000-000"), length)
}

pub(crate) fn vbios_version(call: &Call, device: Device, version: Buffer, length: u32) -> Outcome {
    let (gpu, _) = board_of(call, device)?;
    let architecture = call.node().board(gpu)?.architecture;
    version.put_text(&format!("{:02}.00.00.00.01", 85 + architecture), length)
}

pub(crate) fn inforom_image(call: &Call, device: Device, version: Buffer, length: u32) -> Outcome {
    let (gpu, _) = whole(call, device)?;
    let id = call.node().board(gpu)?.pci_device_id >> 16;
    version.put_text(&format!("G{:03X}.0200.00.01", id & 0xfff), length)
}

pub(crate) fn multi_gpu_board(call: &Call, device: Device, multi: Out<u32>) -> Outcome {
    whole(call, device)?;
    multi.put(0)
}

pub(crate) fn architecture(call: &Call, device: Device, arch: Out<u32>) -> Outcome {
    let (gpu, _) = board_of(call, device)?;
    arch.put(call.node().board(gpu)?.architecture)
}

pub(crate) fn compute_capability(
    call: &Call,
    device: Device,
    major: Out<i32>,
    minor: Out<i32>,
) -> Outcome {
    let (gpu, _) = board_of(call, device)?;
    major.check()?;
    minor.check()?;
    let (found_major, found_minor) = call.node().board(gpu)?.compute_capability;
    major.put(found_major.cast_signed())?;
    minor.put(found_minor.cast_signed())
}

/// The PCI description of a GPU.
pub(crate) fn pci_of(call: &Call, gpu: usize) -> Outcome<PciInfo> {
    let address = call.node().gpu(gpu)?.pci;
    let board = call.node().board(gpu)?;
    let short = format!("{:04X}:{:02X}:{:02X}.0", address.domain, address.bus, address.device);
    Ok(sys::nvmlPciInfo_t {
        busIdLegacy: fixed(&short),
        domain: address.domain,
        bus: u32::from(address.bus),
        device: u32::from(address.device),
        pciDeviceId: board.pci_device_id,
        pciSubSystemId: board.pci_subsystem_id,
        busId: fixed(&address.to_string()),
    })
}

pub(crate) fn pci_info(call: &Call, device: Device, pci: Out<PciInfo>) -> Outcome {
    let (gpu, _) = board_of(call, device)?;
    pci.put(pci_of(call, gpu)?)
}

pub(crate) fn pci_info_ext(call: &Call, device: Device, pci: Out<PciInfoExt>) -> Outcome {
    let (gpu, _) = board_of(call, device)?;
    let version = pci.cast::<u32>().get()?;
    fixed_version::<PciInfoExt>(version, 1)?;
    let plain = pci_of(call, gpu)?;
    pci.put(PciInfoExt {
        version,
        domain: plain.domain,
        bus: plain.bus,
        device: plain.device,
        pci_device: plain.pciDeviceId,
        pci_subsystem: plain.pciSubSystemId,
        base_class: 0x03,
        sub_class: 0x02,
        bus_id: plain.busId,
    })
}

pub(crate) fn core_count(call: &Call, device: Device, cores: Out<u32>) -> Outcome {
    let (gpu, state) = whole(call, device)?;
    cores.check()?;
    if state.mig_on() {
        return Err(Return::NotSupported);
    }
    let board = call.node().board(gpu)?;
    cores.put(board.multiprocessors * figures::of(board).cores_per_sm)
}

pub(crate) fn virtualization(call: &Call, device: Device, mode: Out<u32>) -> Outcome {
    let (_, gpu) = board_of(call, device)?;
    mode.put(match gpu.virtualization {
        Virtualization::BareMetal => 0,
        Virtualization::Passthrough => 1,
        Virtualization::VgpuGuest => 2,
        Virtualization::VgpuHost => 3,
    })
}

pub(crate) fn addressing_mode(call: &Call, device: Device, mode: Out<AddressingMode>) -> Outcome {
    board_of(call, device)?;
    let version = mode.cast::<u32>().get()?;
    fixed_version::<AddressingMode>(version, 1)?;
    mode.put(sys::nvmlDeviceAddressingMode_v1_t { version, value: 0 })
}

pub(crate) fn gsp_version(call: &Call, device: Device, version: Buffer) -> Outcome {
    whole(call, device)?;
    version.put_text(&call.node().driver.version, 64)
}

pub(crate) fn gsp_mode(
    call: &Call,
    device: Device,
    enabled: Out<u32>,
    default: Out<u32>,
) -> Outcome {
    whole(call, device)?;
    enabled.put(1)?;
    default.put(1)
}

pub(crate) fn on_same_board(call: &Call, first: Device, second: Device, same: Out<i32>) -> Outcome {
    let (first, second) = (call.device(first)?, call.device(second)?);
    same.put(i32::from(first.gpu == second.gpu))
}
