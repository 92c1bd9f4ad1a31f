//! Shapes about rooms beyond one slice: whole GPUs, arrangements, GPUs out of use, bookings.
//!
//! Must never lose a field without a new version; unknown fields are ignored by readers.

use model::{BookingId, GpuUuid, LeaseId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How several slices lie to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ArrangementKind {
    /// On as few GPUs as there is room for.
    Pack,
    /// On as many GPUs as there is room for.
    Spread,
    /// All on one GPU, or not at all.
    SameGpu,
    /// Each on a GPU of its own, or not at all.
    OtherGpu,
}

/// A GPU that a lease has all of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WholeGpuView {
    /// NVML index.
    pub index: u32,
    /// UUID for `CUDA_VISIBLE_DEVICES`.
    #[schema(value_type = String)]
    pub uuid: GpuUuid,
    /// Product name.
    pub name: String,
    /// Its memory.
    pub memory_mib: u64,
}

/// Why a GPU is taken out of use: the body of `POST /v1/gpus/{gpu}/cordon` and `…/drain`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CordonRequest {
    /// Why, for whoever looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// How a GPU is taken out of use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CordonView {
    /// Whether leases that are there are asked to leave.
    pub drain: bool,
    /// Whether nothing of migd's is left there.
    pub drained: bool,
    /// Why, in the words of whoever did it.
    pub why: String,
    /// Who did it.
    pub by: String,
    /// Since when, ms since the Unix epoch.
    pub since_ms: u64,
    /// Leases that are still there.
    #[schema(value_type = Vec<String>)]
    pub leases: Vec<LeaseId>,
}

/// Room to be booked: the body of `POST /v1/bookings`. One of `profile`, `gpu_mem`, `compute` and
/// `whole_gpu` must be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BookingRequest {
    /// A profile in any form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Memory (`20g` nominal, `20480MiB` strict).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_mem: Option<String>,
    /// Compute slices (`3g`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute: Option<String>,
    /// Whole GPUs.
    #[serde(default)]
    pub whole_gpu: bool,
    /// How many, all or none.
    #[serde(default = "one")]
    pub count: u32,
    /// Which GPU (index, UUID, PCI address, model).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    /// From when, ms since the Unix epoch.
    pub from_ms: u64,
    /// Until when.
    pub until_ms: u64,
    /// A name of the caller's choice, unique among the tenant's bookings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

const fn one() -> u32 {
    1
}

/// A place that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlaceView {
    /// NVML index of its GPU.
    pub gpu_index: u32,
    /// The profile of the slice.
    pub profile: String,
    /// First unit on the grid.
    pub start: u8,
    /// Units on the grid.
    pub size: u8,
}

/// A booking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BookingView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: BookingId,
    /// Its name.
    pub name: Option<String>,
    /// Whom it is charged to.
    pub tenant: String,
    /// Whose it is.
    pub uid: u32,
    /// What is booked, in words.
    pub wish: String,
    /// On which GPU, in words.
    pub gpu: String,
    /// From when, ms since the Unix epoch.
    pub from_ms: u64,
    /// Until when.
    pub until_ms: u64,
    /// The places kept for it.
    pub places: Vec<PlaceView>,
    /// Indices of the whole GPUs kept for it.
    pub whole_gpus: Vec<u32>,
    /// The request or lease that uses it.
    #[schema(value_type = Option<String>)]
    pub lease: Option<LeaseId>,
    /// The window of the configuration it comes from.
    pub window: Option<String>,
    /// The daemon's clock now: compare the times with this.
    pub now_ms: u64,
}
