//! Shapes about changes of layout and mode that an administrator asks for, by hand or by file.
//!
//! Must never lose a field without a new version of the plan document; unknown fields are ignored by
//! readers.

use std::collections::BTreeMap;

use model::{ChangeId, DesiredGpu, DesiredNode, GpuShape, GpuUuid, Step};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The version of [`PlanDocument`] that this code writes, and the newest that it reads.
pub const PLAN_FORMAT: u32 = 1;

/// That a GPU stays as it is made, by a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FixRequest {
    /// Whether its idle slices are lent to leases, as they are.
    #[serde(default)]
    pub lend: bool,
}

/// What a change may do beside making and destroying instances.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Permissions {
    /// Whether GPUs may be reset, where their mode needs it.
    #[serde(default)]
    pub reset: bool,
    /// Which units that hold a GPU (monitors, the persistence daemon) may be stopped before and
    /// started again after: `none`, `known`, or names between commas. Absent means as the daemon's
    /// configuration says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_units: Option<String>,
}

/// What is wanted of the machine: the body of `POST /v1/changes/plan`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// What is wanted of each GPU, by UUID; GPUs that are not named stay as they are.
    #[schema(value_type = Object)]
    pub desired: DesiredNode,
    /// The words of whoever asks, for the journal and for whoever looks (`apply -f lab.yaml`).
    pub words: String,
    /// GPUs that stay as they are made: nothing there is cut, retired or rearranged by itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Object)]
    pub fix: BTreeMap<GpuUuid, FixRequest>,
    /// What else it may do.
    #[serde(default)]
    pub allow: Permissions,
    /// Whether it waits for what is in the way: no new lease goes to these GPUs meanwhile.
    #[serde(default)]
    pub wait_idle: bool,
}

/// The machine a plan was made for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MachineIdentity {
    /// Its host name.
    pub host: String,
    /// Name of the simulated host, if it is one.
    pub simulated: Option<String>,
    /// Version of its driver.
    pub driver: String,
}

/// One GPU instance in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PartView {
    /// Its profile.
    pub profile: String,
    /// First unit on the grid.
    pub start: u8,
    /// Units on the grid.
    pub size: u8,
    /// Its id, if it is there already.
    pub gpu_instance: Option<u32>,
    /// The profiles of its compute instances, in the order of their places; of one that stays, as
    /// they are afterwards.
    pub computes: Vec<String>,
    /// Those that it has now, where that is something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub computes_before: Option<Vec<String>>,
    /// Who uses it, or what else there is to know (`L7 of ana`, `pid 4711`, `idle`).
    pub note: Option<String>,
}

/// Something that is in the way of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InTheWay {
    /// The GPU instance that is used; absent where all of the GPU is.
    pub gpu_instance: Option<u32>,
    /// By whom, in words.
    pub by: String,
    /// The lease, if it is one.
    #[schema(value_type = Option<String>)]
    pub lease: Option<model::LeaseId>,
}

/// Why the wish for a GPU cannot be met now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BlockedView {
    /// In one sentence.
    pub sentence: String,
    /// What is in the way; empty where no end of anything would help.
    pub by: Vec<InTheWay>,
    /// Whether it can be met once all that has ended.
    pub passes: bool,
    /// Whether the GPU can never hold it, whatever ends or is destroyed there.
    #[serde(default)]
    pub never: bool,
}

/// What is to be done on one GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GpuPlan {
    /// Which.
    #[schema(value_type = String)]
    pub gpu: GpuUuid,
    /// Its NVML index.
    pub index: u32,
    /// Its product name.
    pub name: String,
    /// What is wanted of it.
    #[schema(value_type = Object)]
    pub desired: DesiredGpu,
    /// The GPU as it was when this was planned: the plan holds only for it.
    #[schema(value_type = Object)]
    pub before: GpuShape,
    /// The driver calls, in order; none where the wish is met already.
    #[schema(value_type = Vec<Object>)]
    pub steps: Vec<Step>,
    /// The same in words.
    pub words: Vec<String>,
    /// Instances that stay untouched.
    pub stays: Vec<PartView>,
    /// Instances that go.
    pub goes: Vec<PartView>,
    /// Instances that come.
    pub comes: Vec<PartView>,
    /// What else there is to know, in sentences.
    pub notes: Vec<String>,
    /// Why it cannot be done now; then `steps` is empty.
    pub blocked: Option<BlockedView>,
    /// Whether it stays as it is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<FixRequest>,
    /// How long it takes, about.
    pub estimate_ms: u64,
}

/// A unit that holds GPUs and is stopped before and started again after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnitStop {
    /// Its name (`nvidia-dcgm.service`).
    pub unit: String,
    /// Why, in words.
    pub why: String,
}

/// A plan as data, to be looked at and then carried out exactly: the answer of
/// `POST /v1/changes/plan` and the body of `POST /v1/changes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanDocument {
    /// [`PLAN_FORMAT`].
    pub format: u32,
    /// When it was made, ms since the Unix epoch.
    pub made_at_ms: u64,
    /// For which machine.
    pub machine: MachineIdentity,
    /// The words of whoever asked.
    pub words: String,
    /// What else it may do.
    pub allow: Permissions,
    /// Whether it waits for what is in the way.
    pub wait_idle: bool,
    /// What is to be done, GPU by GPU, by index.
    pub gpus: Vec<GpuPlan>,
    /// Units that are stopped before and started again after.
    pub units: Vec<UnitStop>,
    /// How long it takes, about: GPUs are changed side by side.
    pub estimate_ms: u64,
    /// Whether the estimate comes from what such steps took on this machine.
    pub measured: bool,
}

impl PlanDocument {
    /// Whether nothing needs to be done.
    pub fn is_nothing(&self) -> bool {
        self.gpus.iter().all(|gpu| gpu.steps.is_empty() && gpu.blocked.is_none())
    }

    /// Whether something is in the way.
    pub fn is_blocked(&self) -> bool {
        self.gpus.iter().any(|gpu| gpu.blocked.is_some())
    }

    /// Whether somebody or something is in the way, and not only a rule or the state of a GPU.
    pub fn has_obstacles(&self) -> bool {
        self.gpus
            .iter()
            .filter_map(|gpu| gpu.blocked.as_ref())
            .any(|blocked| !blocked.by.is_empty())
    }

    /// Whether it can never be carried out: some GPU can never hold what is wanted of it.
    pub fn is_for_never(&self) -> bool {
        self.gpus.iter().any(|gpu| gpu.blocked.as_ref().is_some_and(|blocked| blocked.never))
    }
}

/// Where a change stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeState {
    /// It waits for what is in the way.
    Waiting,
    /// Units that hold its GPUs are being stopped.
    StoppingUnits,
    /// GPUs are being changed.
    Running,
    /// What was done is being taken back.
    RollingBack,
    /// All of it is done and was read back.
    Done,
    /// It failed; the report says what stands.
    Failed,
    /// It was cancelled; the report says what stands.
    Cancelled,
}

impl ChangeState {
    /// Whether nothing more will happen.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

/// Where a change stands on one GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GpuChangeState {
    /// Not begun.
    Waiting,
    /// Steps are being done.
    Running,
    /// As wanted.
    Done,
    /// What was done is being taken back.
    Undoing,
    /// As before.
    Undone,
    /// It could not be taken back; `stands` says what is there.
    Stands,
}

/// A change on one GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GpuChangeView {
    /// Which.
    #[schema(value_type = String)]
    pub gpu: GpuUuid,
    /// Its NVML index, if it is there.
    pub index: Option<u32>,
    /// Where it stands.
    pub state: GpuChangeState,
    /// Steps done of the plan that is under way or was the last one.
    pub steps_done: u32,
    /// Steps of that plan.
    pub steps_total: u32,
    /// The step that is being done, in words.
    pub step: Option<String>,
    /// How long that step has been under way, in ms.
    #[serde(default)]
    pub step_ms: Option<u64>,
    /// Whether that step does not come back from the driver within `daemon.step_limit`.
    #[serde(default)]
    pub late: bool,
    /// What it waits for, in words.
    pub waits_for: Option<String>,
    /// What stands there and was not so before, in words.
    pub stands: Option<String>,
}

/// A change: the answer of `POST /v1/changes` and `GET /v1/changes/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangeView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: ChangeId,
    /// The words of whoever asked.
    pub words: String,
    /// Who asked.
    pub by: String,
    /// Where it stands.
    pub state: ChangeState,
    /// Whether it waits for what is in the way.
    pub wait_idle: bool,
    /// When it began, ms since the Unix epoch.
    pub began_ms: u64,
    /// When it ended.
    pub ended_ms: Option<u64>,
    /// Its GPUs, by index.
    pub gpus: Vec<GpuChangeView>,
    /// Units that it stops and starts again.
    pub units: Vec<String>,
    /// Whether they are stopped now.
    pub units_stopped: bool,
    /// Why it failed or what else there is to know.
    pub error: Option<String>,
    /// After a failure: what stands, GPU by GPU, in sentences. Exact: it was read back.
    pub report: Vec<String>,
    /// Grows with everything that happens to it; ask with `after` for what comes next.
    pub revision: u64,
}

/// A GPU that stays as a file made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FixedView {
    /// By what, in words (`all-balanced of lab.yaml`).
    pub by: String,
    /// Whether its idle slices are lent to leases, as they are.
    pub lend: bool,
    /// Since when, ms since the Unix epoch.
    pub since_ms: u64,
}
