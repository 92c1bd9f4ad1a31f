//! Handles: NVML's opaque pointers as numbers that say what they point at.
//!
//! Must never be dereferenced. A handle names one making of an instance; what a dead one answers
//! is the node's decision.
//!
//! Layout, from the top of a 47-bit user address: tag (7 bits), kind (3), GPU (8), GPU instance
//! (4), compute instance (4), generation (21). The tag keeps handles out of every range where
//! programs keep memory, so that garbage collectors of other languages leave them alone.

use sim_gpu::Return;

use super::args::Outcome;

const TAG: u64 = 0x2D;
const GENERATION_BITS: u32 = 21;
const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;

/// What a handle is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A GPU.
    Gpu,
    /// A MIG device.
    Mig,
    /// A GPU instance.
    GpuInstance,
    /// A compute instance.
    ComputeInstance,
    /// An event set.
    EventSet,
    /// A GPM sample.
    GpmSample,
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::Gpu,
        Self::Mig,
        Self::GpuInstance,
        Self::ComputeInstance,
        Self::EventSet,
        Self::GpmSample,
    ];
}

/// The parts of a handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// What it is for.
    pub kind: Kind,
    /// Index of the GPU.
    pub gpu: usize,
    /// GPU instance id; 0 where it does not apply.
    pub gpu_instance: u32,
    /// Compute instance id; 0 where it does not apply.
    pub compute_instance: u32,
    /// The low bits of the generation, or of a number in the process.
    pub generation: u32,
}

impl Parts {
    const fn pack(self) -> u64 {
        let kind = self.kind as u64 + 1;
        TAG << 40
            | kind << 37
            | (self.gpu as u64 & 0xff) << 29
            | (self.gpu_instance as u64 & 0xf) << 25
            | (self.compute_instance as u64 & 0xf) << 21
            | (self.generation & GENERATION_MASK) as u64
    }

    fn unpack(bits: u64) -> Option<Self> {
        if bits >> 40 != TAG {
            return None;
        }
        let kind = (bits >> 37 & 7) as usize;
        Some(Self {
            kind: *Kind::ALL.get(kind.checked_sub(1)?)?,
            gpu: (bits >> 29 & 0xff) as usize,
            gpu_instance: (bits >> 25 & 0xf) as u32,
            compute_instance: (bits >> 21 & 0xf) as u32,
            generation: bits as u32 & GENERATION_MASK,
        })
    }

    /// Whether the handle was made for `generation`.
    pub const fn is_of(self, generation: u32) -> bool {
        self.generation == generation & GENERATION_MASK
    }
}

macro_rules! handle {
    ($(#[$doc:meta])* $name:ident: $($kind:ident)|+) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(transparent)]
        pub struct $name(u64);

        impl $name {
            /// Makes the handle.
            pub const fn of(parts: Parts) -> Self {
                Self(parts.pack())
            }

            /// The handle that a struct holds as a number.
            pub const fn from_bits(bits: u64) -> Self {
                Self(bits)
            }

            /// The handle as the pointer that a struct holds.
            pub const fn pointer<T>(self) -> *mut T {
                std::ptr::without_provenance_mut(self.0 as usize)
            }

            /// What it says.
            ///
            /// # Errors
            /// [`Return::InvalidArgument`] for NULL, garbage and handles of another type.
            pub fn parts(self) -> Outcome<Parts> {
                match Parts::unpack(self.0) {
                    Some(parts) if matches!(parts.kind, $(Kind::$kind)|+) => Ok(parts),
                    Some(_) | None => Err(Return::InvalidArgument),
                }
            }
        }
    };
}

handle!(
    /// `nvmlDevice_t`: a GPU or a MIG device.
    Device: Gpu | Mig
);
handle!(
    /// `nvmlGpuInstance_t`.
    GpuInstance: GpuInstance
);
handle!(
    /// `nvmlComputeInstance_t`.
    ComputeInstance: ComputeInstance
);
handle!(
    /// `nvmlEventSet_t`.
    EventSet: EventSet
);
handle!(
    /// `nvmlGpmSample_t`.
    GpmSample: GpmSample
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn handles_carry_what_they_were_made_of(gpu in 0usize..256, gi in 0u32..16, ci in 0u32..16, generation: u32) {
            let parts = Parts { kind: Kind::Mig, gpu, gpu_instance: gi, compute_instance: ci, generation };
            let read = Device::of(parts).parts().unwrap();
            prop_assert_eq!((read.gpu, read.gpu_instance, read.compute_instance), (gpu, gi, ci));
            prop_assert!(read.is_of(generation));
            prop_assert!(Device::of(parts).0 < 1 << 47);
            prop_assert!(GpuInstance(parts.pack()).parts().is_err());
        }

        #[test]
        fn garbage_is_refused(bits: u64) {
            prop_assume!(bits >> 40 != TAG);
            prop_assert_eq!(Device(bits).parts(), Err(Return::InvalidArgument));
        }
    }
}
