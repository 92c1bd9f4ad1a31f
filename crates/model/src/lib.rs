//! The nouns of MIG: units, ids, profiles, placements, layouts, boards, snapshots and plans.
//!
//! Pure: this crate must never read a clock, a file, the environment or a GPU. Everything it
//! knows about hardware comes in as an argument (a [`Geometry`] read from NVML) or from the
//! board [`catalog`].

#![no_std]

extern crate alloc;

pub mod catalog;
pub mod clients;
pub mod desire;
pub mod geometry;
pub mod ids;
pub mod layout;
mod nearest;
pub mod placement;
pub mod plan;
pub mod profile;
pub mod rate;
pub mod shape;
pub mod snapshot;
pub mod topology;
pub mod units;

pub use clients::{KnownClient, StopClients, UnitName};
pub use desire::{DesiredCompute, DesiredGpu, DesiredInstance, DesiredNode};
pub use geometry::{BoardRule, ComputeInstanceProfile, EngineCounts, Geometry, GpuInstanceProfile};
pub use ids::{
    BookingId, BootId, ChangeId, ComputeInstanceId, ComputeInstanceProfileId, GpuIndex,
    GpuInstanceId, GpuInstanceProfileId, GpuMinor, GpuUuid, LeaseId, MigUuid, PciAddress, PlanId,
    ProcessId, Tenant, Uid,
};
pub use layout::{Layout, LayoutError, PlacedProfile};
pub use nearest::nearest;
pub use placement::{Placement, SliceMask};
pub use plan::{Plan, Purpose, Step};
pub use profile::{Attributes, Media, ProfileName, ProfileSelector};
pub use rate::{Micros, Rate};
pub use shape::{ComputeShape, GpuShape, InstanceShape};
pub use snapshot::{
    ComputeInstance, GpuInstance, GpuProcess, GpuSnapshot, Health, MigMode, MigState, NodeSnapshot,
};
pub use units::{MemoryMib, MemoryRequest, Millis, NominalGb, SliceCount, SliceIndex, Timestamp};
