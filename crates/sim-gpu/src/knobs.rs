//! The knobs of a simulated node: what real drivers leave open, and how long calls take.
//!
//! Must never change a rule that is known: a knob exists only where the facts say "not verified"
//! or where a test needs the other behaviour.

use model::Millis;
use serde::{Deserialize, Serialize};

/// How the driver places an instance that names no placement.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum PlacementPolicy {
    /// The one that leaves the most options; reproduces every logged sequence of real boards.
    #[default]
    MostOptions,
    /// The lowest free start.
    LowestStart,
    /// The highest free start.
    HighestStart,
    /// Any free start, by a sequence that follows from this seed.
    Random {
        /// Seed of the sequence.
        seed: u64,
    },
}

/// What a call on a handle whose instance is gone answers.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum StaleHandles {
    /// INVALID_ARGUMENT.
    #[default]
    Invalid,
    /// The handle means whatever instance has the same ids now.
    Reuse,
    /// As `Reuse` for changes; for reads the caller's process may keep answering from what it saw
    /// before (`sim-nvml` does), as libcudacxx#224 reported.
    Cached,
}

/// How long the mutating calls take, in milliseconds. `sim-nvml` sleeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Latencies {
    /// `nvmlDeviceCreateGpuInstance[WithPlacement]`.
    pub create_gpu_instance: Millis,
    /// `nvmlGpuInstanceDestroy`.
    pub destroy_gpu_instance: Millis,
    /// `nvmlGpuInstanceCreateComputeInstance[WithPlacement]`.
    pub create_compute_instance: Millis,
    /// `nvmlComputeInstanceDestroy`.
    pub destroy_compute_instance: Millis,
    /// `nvmlDeviceSetMigMode` when it takes effect at once.
    pub set_mig_mode: Millis,
    /// A GPU reset.
    pub reset: Millis,
    /// `nvmlDeviceGetHandleByUUID` (up to 10 s were measured on big machines).
    pub uuid_lookup: Millis,
}

impl Latencies {
    /// No call takes time.
    pub const ZERO: Self = Self {
        create_gpu_instance: Millis::new(0),
        destroy_gpu_instance: Millis::new(0),
        create_compute_instance: Millis::new(0),
        destroy_compute_instance: Millis::new(0),
        set_mig_mode: Millis::new(0),
        reset: Millis::new(0),
        uuid_lookup: Millis::new(0),
    };

    /// How long the NVML function `call` takes; zero for calls without a figure.
    pub fn of(&self, call: &str) -> Millis {
        match call.strip_prefix("nvml").unwrap_or(call) {
            "DeviceCreateGpuInstance" | "DeviceCreateGpuInstanceWithPlacement" => {
                self.create_gpu_instance
            }
            "GpuInstanceDestroy" => self.destroy_gpu_instance,
            "GpuInstanceCreateComputeInstance"
            | "GpuInstanceCreateComputeInstanceWithPlacement" => self.create_compute_instance,
            "ComputeInstanceDestroy" => self.destroy_compute_instance,
            "DeviceSetMigMode" => self.set_mig_mode,
            "reset" => self.reset,
            "DeviceGetHandleByUUID" | "DeviceGetHandleByUUIDV" => self.uuid_lookup,
            _ => Millis::new(0),
        }
    }
}

impl Default for Latencies {
    /// Creation about a quarter of a second; tearing down a GPU instance with its compute instance
    /// about one second together (DRA logs); mode change and reset by rule of thumb.
    fn default() -> Self {
        Self {
            create_gpu_instance: Millis::new(250),
            destroy_gpu_instance: Millis::new(900),
            create_compute_instance: Millis::new(20),
            destroy_compute_instance: Millis::new(100),
            set_mig_mode: Millis::new(2000),
            reset: Millis::new(5000),
            uuid_lookup: Millis::new(0),
        }
    }
}

/// Everything that can be turned on a simulated node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Knobs {
    /// The driver's own choice of placements.
    pub placement: PlacementPolicy,
    /// What dead handles answer.
    pub stale_handles: StaleHandles,
    /// Whether an NVML session of another process keeps a mode change or a reset of an Ampere GPU
    /// from taking effect. Seen with DCGM, the device plugin and cAdvisor; on by default.
    pub sessions_block_mode: bool,
    /// Whether an NVML session of another process keeps an instance from being destroyed. Unknown
    /// on real drivers; off by default.
    pub sessions_block_destroy: bool,
    /// Whether profile queries work while MIG is off. Newer drivers answer.
    pub profiles_with_mig_off: bool,
    /// Whether everybody may read the whole GPU while MIG is on (the monitor capability's node is
    /// world-readable on logged machines). Off by default: the header calls it privileged.
    pub monitor_for_all: bool,
    /// How long calls take.
    pub latencies: Latencies,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            placement: PlacementPolicy::default(),
            stale_handles: StaleHandles::default(),
            sessions_block_mode: true,
            sessions_block_destroy: false,
            profiles_with_mig_off: true,
            monitor_for_all: false,
            latencies: Latencies::default(),
        }
    }
}
