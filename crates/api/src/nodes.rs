//! The shapes of who may open what: `GET /v1/access` and its two commands.
//!
//! Must never tell a process's arguments.

use model::LeaseId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Who may open the machine's slices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccessView {
    /// `off`, `observe` or `on`; `none` where no daemon was asked.
    pub enforce: String,
    /// Indices of the GPUs to whose slices an administrator gave everybody access.
    pub stock_gpus: Vec<u32>,
    /// How processes of one user are kept apart, in a sentence.
    pub filter: String,
    /// The capability nodes of instances.
    pub nodes: Vec<NodeAccessView>,
    /// What an administrator should know.
    pub warnings: Vec<String>,
}

/// A capability node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeAccessView {
    /// The N of the GPU's `/dev/nvidiaN`.
    pub gpu_minor: u32,
    /// GPU instance id.
    pub gpu_instance: u32,
    /// Compute instance id; absent for the GPU instance's own node.
    pub compute_instance: Option<u32>,
    /// Where the node is.
    pub path: String,
    /// Its owner; absent if there is no node.
    pub owner: Option<String>,
    /// Its permission bits in octal (`0400`).
    pub mode: Option<String>,
    /// Whether the driver's tools may set its permissions back.
    pub modify: bool,
    /// What it should be: `closed`, `open for kim`, `open for everybody`; absent for instances that
    /// migd did not make.
    pub wanted: Option<String>,
    /// Whether it is as it should be.
    pub as_wanted: bool,
    /// The lease it belongs to.
    #[schema(value_type = Option<String>)]
    pub lease: Option<LeaseId>,
    /// Who has it open, by pid, command and user.
    pub open_by: Vec<String>,
}

/// The body of `POST /v1/access/stock`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StockRequest {
    /// Which GPU (index, UUID or PCI address); absent: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
}
