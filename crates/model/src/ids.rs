//! Ids as types, so that a GPU instance id is never taken for a profile id.
//!
//! Must never give meaning to the order or the size of an id: GPU instance ids are positions in a
//! tree that differs per chip, and MIG UUIDs repeat when an instance is made again.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name($inner);

        impl $name {
            /// Wraps the number.
            pub const fn new(id: $inner) -> Self {
                Self(id)
            }

            /// The number.
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Copies share the text: records and snapshots are copied far more often than made.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps the text.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into().into())
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

number_id!(
    /// NVML's index of a GPU: its order by PCI address at the time of asking. For display and
    /// selection only; a GPU is identified by its [`GpuUuid`].
    GpuIndex,
    u32
);
number_id!(
    /// The N of `/dev/nvidiaN`. Not the NVML index; capability minors are computed from it.
    GpuMinor,
    u32
);
number_id!(
    /// Id of a GPU instance on its GPU (0 to 14). Reused at once after destruction, and never a
    /// statement about placement.
    GpuInstanceId,
    u32
);
number_id!(
    /// Id of a compute instance inside its GPU instance (0 to 7).
    ComputeInstanceId,
    u32
);
number_id!(
    /// Id of a GPU instance profile as the driver takes it (19 = `1g.5gb` on A100). Not the NVML
    /// enum value.
    GpuInstanceProfileId,
    u32
);
number_id!(
    /// Id of a compute instance profile as the driver takes it.
    ComputeInstanceProfileId,
    u32
);
number_id!(
    /// A user id of the operating system.
    Uid,
    u32
);
number_id!(
    /// Number of a plan in the journal.
    PlanId,
    u64
);
text_id!(
    /// UUID of a physical GPU, `GPU-…`.
    GpuUuid
);
text_id!(
    /// UUID of a MIG device, `MIG-…`. It repeats when the same instance is made again, so it is
    /// never the identity of a lease.
    MigUuid
);
text_id!(
    /// Whom a lease is charged to; by default the user name of the peer.
    Tenant
);
text_id!(
    /// The kernel's id of the present boot (`/proc/sys/kernel/random/boot_id`).
    BootId
);

/// An id that people type: a letter and a number, written and parsed as such.
macro_rules! spoken_id {
    ($(#[$doc:meta])* $name:ident, $error:ident, $upper:literal, $lower:literal, $what:literal, $see:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// Wraps the number.
            pub const fn new(id: u64) -> Self {
                Self(id)
            }

            /// The number.
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&alloc::format!("{}{}", $upper, self.0))
            }
        }

        #[doc = concat!("Why a ", $what, " id did not parse.")]
        #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
        #[error("`{0}` is not a {what} id; {what} ids look like {letter}17 (see `{see}`)", what = $what, letter = $upper, see = $see)]
        pub struct $error(pub String);

        impl FromStr for $name {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let digits = text.strip_prefix([$upper, $lower]).unwrap_or(text);
                digits.parse().map(Self).map_err(|_| $error(text.into()))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

spoken_id!(
    /// A request, and the lease it becomes: `L17`.
    LeaseId, LeaseIdError, 'L', 'l', "lease", "migctl status"
);
spoken_id!(
    /// Room kept for somebody for a time: `B3`.
    BookingId, BookingIdError, 'B', 'b', "booking", "migctl book --list"
);
spoken_id!(
    /// A change of layout or mode that an administrator asked for: `C4`.
    ChangeId, ChangeIdError, 'C', 'c', "change", "migctl change list"
);

/// One process for the length of its life: its pid and the moment it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProcessId {
    /// Process id in the daemon's pid namespace.
    pub pid: u32,
    /// Start time in clock ticks since boot (`/proc/PID/stat` field 22): tells a reused pid apart.
    pub start_ticks: u64,
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}", self.pid)
    }
}

/// A PCI address; the function of a GPU is always 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PciAddress {
    /// PCI domain (segment).
    pub domain: u32,
    /// Bus number.
    pub bus: u8,
    /// Device number on the bus.
    pub device: u8,
}

impl fmt::Display for PciAddress {
    /// The long form NVML uses: `00000000:07:00.0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08X}:{:02X}:{:02X}.0", self.domain, self.bus, self.device)
    }
}

/// Why a PCI address did not parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a PCI address such as 00000000:07:00.0")]
pub struct PciAddressError(pub String);

impl FromStr for PciAddress {
    type Err = PciAddressError;

    /// Accepts the long, the legacy (`0000:07:00.0`) and the short (`07:00.0`) form.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || PciAddressError(text.into());
        let (rest, function) = text.rsplit_once('.').ok_or_else(error)?;
        if function != "0" {
            return Err(error());
        }
        let (rest, device) = rest.rsplit_once(':').ok_or_else(error)?;
        let (domain, bus) = rest.rsplit_once(':').unwrap_or(("0", rest));
        let hex = |part: &str| u32::from_str_radix(part, 16).map_err(|_| error());
        let byte = |part: &str| u8::from_str_radix(part, 16).map_err(|_| error());
        Ok(Self { domain: hex(domain)?, bus: byte(bus)?, device: byte(device)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn pci_addresses_parse_in_every_form() {
        let address = PciAddress { domain: 0, bus: 7, device: 0 };
        for text in ["00000000:07:00.0", "0000:07:00.0", "07:00.0"] {
            assert_eq!(text.parse(), Ok(address));
        }
        assert_eq!(address.to_string(), "00000000:07:00.0");
        for bad in ["", "07:00", "07:00.1", "zz:00.0", "0000:107:00.0"] {
            assert!(bad.parse::<PciAddress>().is_err(), "{bad}");
        }
    }

    #[test]
    fn lease_ids_parse_as_shown() {
        assert_eq!("L17".parse(), Ok(LeaseId::new(17)));
        assert_eq!("17".parse(), Ok(LeaseId::new(17)));
        assert_eq!(LeaseId::new(17).to_string(), "L17");
        assert!("lease".parse::<LeaseId>().is_err());
    }
}
