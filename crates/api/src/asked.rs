//! What was asked, and on what terms, of a request that was made.
//!
//! Must never leave out what decides when and where a request is served: whoever reads this can
//! make the request again.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::rooms::ArrangementKind;
use crate::waiting::PriorityKind;

/// What was asked, and on what terms, as it counts: limits that the tenant's rules give are filled in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct AskedView {
    /// A profile, in the form it was asked for (`1g.10gb`, `7g`, `19`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Memory (`20g` nominal, `20480MiB` strict).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_mem: Option<String>,
    /// Compute slices (`3g`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compute: Option<String>,
    /// Whether whole GPUs were asked for.
    pub whole_gpu: bool,
    /// How many.
    pub count: u32,
    /// On which GPU (index, UUID, PCI address, model); absent means on any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    /// How several slices lie to each other; absent means as it suits the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arrangement: Option<ArrangementKind>,
    /// Hard limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_ms: Option<u64>,
    /// Estimate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect_ms: Option<u64>,
    /// Longest wait; zero means not at all, absent means for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_wait_ms: Option<u64>,
    /// Its rank.
    pub priority: PriorityKind,
    /// Whether it may be ended, after a notice, for somebody with a better right.
    pub preemptible: bool,
    /// Whether its command may be stopped and started anew on another slice.
    pub restartable: bool,
}
