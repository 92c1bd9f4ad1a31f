//! Waiting on the wire: ranks, estimates, and why a request waits.
//!
//! Must never tell an unknown moment as one that is known.

use model::LeaseId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The rank of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PriorityKind {
    /// After everybody else.
    Low,
    /// As most.
    #[default]
    Normal,
    /// Before others, where the rules of the tenant allow it.
    High,
}

/// When a request starts, as known when it was said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StartView {
    /// No later than this, ms since the Unix epoch, if hard limits hold and nobody with a better
    /// right comes; absent where somebody in the way has no limit.
    pub not_later_than_ms: Option<u64>,
    /// Probably then, by the estimates of owners.
    pub likely_ms: Option<u64>,
}

/// A lease that must end before a request can start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BlockerView {
    /// Which.
    #[schema(value_type = String)]
    pub lease: LeaseId,
    /// Whose.
    pub tenant: String,
    /// The profile of its slice that is in the way; absent for a whole GPU.
    pub profile: Option<String>,
    /// NVML index of the GPU.
    pub gpu: u32,
    /// When it has left at the latest, if that is known.
    pub ends_at_ms: Option<u64>,
    /// When it is taken back, if it is not used before.
    #[serde(default)]
    pub taken_at_ms: Option<u64>,
}

/// Why a request waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhyView {
    /// Which request.
    #[schema(value_type = String)]
    pub id: LeaseId,
    /// What it waits for, as the end of a sentence that begins "it waits for".
    pub sentence: String,
    /// It starts no later than this, by what is known now.
    pub not_later_than_ms: Option<u64>,
    /// It probably starts then.
    pub likely_ms: Option<u64>,
    /// Its place in the order of service, from 1.
    pub position: u32,
    /// The leases that must end first, where leases are what it waits for.
    pub blockers: Vec<BlockerView>,
    /// What it was told when it began to wait, or when that could no longer be kept.
    pub said_before: Option<StartView>,
    /// The daemon's clock now, ms since the Unix epoch.
    pub now_ms: u64,
}
