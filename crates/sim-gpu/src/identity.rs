//! UUIDs, serial numbers and GPU instance ids: all of them follow from names and positions.
//!
//! Must never use chance: the same host always has the same GPUs, and the same instance always
//! has the same UUID.

use alloc::string::String;

use model::{ComputeInstanceId, GpuInstanceId, GpuUuid, MigUuid, Placement};
use sha1::{Digest, Sha1};

use crate::gpu::ChipKind;

/// The name space of every UUID made here; any fixed 16 bytes do.
const NAMESPACE: [u8; 16] = *b"sim-gpu identity";

/// The 16 bytes of the version-5 UUID (RFC 4122 §4.3) of the name that `parts` make up.
fn bytes(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Sha1::new().chain_update(NAMESPACE);
    for part in parts {
        hash.update(part);
    }
    let mut bytes = [0u8; 16];
    for (to, from) in bytes.iter_mut().zip(hash.finalize().iter()) {
        *to = *from;
    }
    bytes[6] = bytes[6] & 0x0f | 0x50;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}

/// `8-4-4-4-12`, after `prefix`.
fn text(prefix: &str, bytes: [u8; 16]) -> String {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let mut text = String::with_capacity(prefix.len() + 36);
    text.push_str(prefix);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for digit in [byte >> 4, byte & 0x0f] {
            text.push(char::from(DIGITS[usize::from(digit)]));
        }
    }
    text
}

/// The version-5 UUID (RFC 4122 §4.3) of `name`, in the usual text form.
pub fn version_5(name: &str) -> String {
    text("", bytes(&[name.as_bytes()]))
}

/// The bytes of a UUID in its usual text form, upper or lower case.
pub(crate) fn parse(uuid: &str) -> Option<[u8; 16]> {
    let dashes = uuid.bytes().enumerate().filter(|(_, byte)| *byte == b'-').map(|(at, _)| at);
    if uuid.len() != 36 || !dashes.eq([8, 13, 18, 23]) {
        return None;
    }
    let mut digits = uuid.bytes().filter(|byte| *byte != b'-');
    let mut digit = || char::from(digits.next()?).to_digit(16);
    let mut bytes = [0u8; 16];
    for byte in &mut bytes {
        *byte = (digit()? * 16 + digit()?) as u8;
    }
    Some(bytes)
}

/// The UUID of the `index`th GPU of `host`.
pub(crate) fn gpu_uuid(host: &str, index: usize) -> GpuUuid {
    GpuUuid::new(alloc::format!("GPU-{}", version_5(&alloc::format!("{host}/gpu/{index}"))))
}

/// The serial number of the `index`th GPU of `host`: 13 digits, as on boards of the data centre.
pub(crate) fn serial(host: &str, index: usize) -> String {
    let uuid = version_5(&alloc::format!("{host}/serial/{index}"));
    let number = uuid
        .bytes()
        .filter_map(|byte| (byte as char).to_digit(16))
        .take(10)
        .fold(0u64, |sum, digit| sum * 16 + u64::from(digit));
    alloc::format!("1{:012}", number % 1_000_000_000_000)
}

/// The UUID of a MIG device. The driver makes a version-5 UUID of the chip's id, "SMC", the GPU
/// instance id and the engine slot (open kernel driver 595.45.04), so the same instance has the
/// same UUID when it is made again.
pub(crate) fn mig_uuid(gpu: &GpuUuid, gi: GpuInstanceId, slot: ComputeInstanceId) -> MigUuid {
    MigUuid::new(text("MIG-", mig_bytes(gpu, gi, slot)))
}

/// The bytes of [`mig_uuid`].
pub(crate) fn mig_bytes(gpu: &GpuUuid, gi: GpuInstanceId, slot: ComputeInstanceId) -> [u8; 16] {
    let place = [gi.get() as u8, slot.get() as u8];
    bytes(&[gpu.as_str().as_bytes(), b"SMC", &place])
}

/// The id of a GPU instance at `placement` on a grid of `grid` units: 0 for the whole GPU, then
/// halves 1 and 2, quarters 3 to 6, eighths 7 to 14 (open kernel driver 595.45.04,
/// `kmigmgr_ga100.c`). A swapped chip of the 8-grid has its halves exchanged. Thor, whose grid has
/// three units, has 1 for the first part and 2 for the rest.
pub fn gpu_instance_id(chip: ChipKind, grid: u8, placement: Placement) -> GpuInstanceId {
    let (start, size) = (placement.start.get(), placement.size.get());
    if size >= grid {
        return GpuInstanceId::new(0);
    }
    let start = match chip {
        ChipKind::Swapped if grid == 8 => (start + grid / 2) % grid,
        ChipKind::Swapped | ChipKind::Plain => start,
    };
    let parts = (1..=3).map(|level| 1u8 << level).find(|parts| size * parts == grid);
    let id = match parts {
        Some(parts) => parts - 1 + start / size,
        None => 1 + u8::from(start > 0),
    };
    GpuInstanceId::new(u32::from(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_those_of_rfc_4122() {
        // Python: uuid.uuid5(uuid.UUID(bytes=b'sim-gpu identity'), 'dgx/gpu/0')
        let known = "d2fa4605-433e-526d-9ed4-4402c3785544";
        assert_eq!(version_5("dgx/gpu/0"), known);
        assert_eq!(parse(known), Some(bytes(&[b"dgx/", b"gpu/0"])));
        assert_eq!(parse(&known.to_uppercase()), parse(known));
        for bad in ["", "x", &known[1..], &known.replace('-', "_"), &known.replace('-', "0")] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(parse("zzzzzzzz-zzzz-zzzz-zzzz-zzzzzzzzzzzz"), None);
    }
}
