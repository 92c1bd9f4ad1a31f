//! `device-filter`: PCI ids as mig-parted writes and compares them.
//!
//! Must never take what is no PCI id for one: such a filter fits no GPU.

use std::fmt;

use model::GpuSnapshot;

use crate::document::{DeviceFilter, DeviceId};
use crate::fault::{Findings, Mark};
use crate::scalar::integer;

impl DeviceId {
    /// The id of a GPU, with its subsystem where the driver tells it.
    pub fn of(gpu: &GpuSnapshot) -> Self {
        Self { device: gpu.pci_device_id, subsystem: gpu.pci_subsystem_id }
    }

    /// What a filter says: `0x20B210DE` or `0x20B210DE:0x134F10DE`, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let device = number(parts.next()?)?;
        let subsystem = match parts.next() {
            None => None,
            Some(part) => Some(number(part)?),
        };
        parts.next().is_none().then_some(Self { device, subsystem })
    }

    /// Whether a filter with this id fits a GPU with `other`.
    pub fn fits(self, other: Self) -> bool {
        self.device == other.device
            && self.subsystem.is_none_or(|subsystem| other.subsystem == Some(subsystem))
    }
}

/// Go's `ParseInt(text, 0, 32)`: no sign bit is left for the device.
fn number(text: &str) -> Option<u32> {
    let number = integer(text).filter(|_| !text.is_empty())?;
    i32::try_from(number).ok().map(i32::cast_unsigned)
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:08X}", self.device)?;
        self.subsystem.map_or(Ok(()), |subsystem| write!(f, ":0x{subsystem:08X}"))
    }
}

impl DeviceFilter {
    /// Whether it fits `gpu`.
    pub(crate) fn fits(&self, gpu: &GpuSnapshot) -> bool {
        self.id.is_some_and(|id| id.fits(DeviceId::of(gpu)))
    }
}

/// A filter as written; what is no PCI id is warned of.
pub(crate) fn read(text: &str, at: Mark, findings: &mut Findings) -> DeviceFilter {
    let id = DeviceId::parse(text);
    if id.is_none() {
        findings.warn(
            at,
            format!("the device-filter \"{text}\" is no PCI id and fits no GPU"),
            "write the device and vendor, such as \"0x20B210DE\", or leave the filter out",
        );
    }
    DeviceFilter { at, text: text.into(), id }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_mig_parted_reads_them() {
        let plain = DeviceId { device: 0x20B2_10DE, subsystem: None };
        for text in ["0x20B210DE", "0x20b210de", "0X20B210DE", "548540638"] {
            assert_eq!(DeviceId::parse(text), Some(plain), "{text}");
        }
        let full = DeviceId { subsystem: Some(0x134F_10DE), ..plain };
        assert_eq!(DeviceId::parse("0x20B210DE:0x134F10DE"), Some(full));
        assert_eq!(full.to_string(), "0x20B210DE:0x134F10DE");
        for text in ["", "A100-SXM4-40GB", "20B210DE", "0x20B210DE:", "0x1:0x2:0x3", "0x920B210DE"]
        {
            assert_eq!(DeviceId::parse(text), None, "{text}");
        }
        assert!(plain.fits(full) && full.fits(full) && !full.fits(plain));
    }
}
