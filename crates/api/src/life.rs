//! The life of a lease on the wire: use, notices, holders, receipts, what was and what it cost.
//!
//! Must never tell "nothing was measured" as zero: absence is absence.

use model::LeaseId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::asked::AskedView;
use crate::v1::EndKind;
use crate::waiting::{PriorityKind, StartView};

/// What the evidence says about the use of a lease's slices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActivityKind {
    /// There is no evidence either way; unknown is never taken for idle.
    #[default]
    Unknown,
    /// Work was done on at least one of them lately.
    Busy,
    /// Nothing was done on any of them.
    Idle,
}

/// Why a lease was given notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// It is not used.
    Idle,
    /// Somebody with a better right needs the room.
    Preempted,
    /// Its GPU is to be emptied.
    Drained,
    /// A booking of its place begins.
    Booked,
    /// It would free a larger room elsewhere.
    Move,
}

/// A notice to the holder of a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NoticeView {
    /// Why.
    pub kind: NoticeKind,
    /// What it announces happens then, ms since the Unix epoch.
    pub until_ms: u64,
    /// One sentence.
    pub message: String,
    /// Whether the holder may agree (`POST /v1/leases/{id}/agree`) to be stopped and started anew
    /// on another slice.
    pub may_agree: bool,
}

/// Totals measured since the grant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MeteredView {
    /// The most memory its processes had at once, over all its slices; absent if nothing told.
    pub peak_memory_mib: Option<u64>,
    /// Time for which use was seen.
    pub busy_ms: u64,
    /// Time for which there was evidence; the rest is unknown.
    pub observed_ms: u64,
}

/// What a lease was, told when it is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReceiptView {
    /// Its slices by profile; empty for whole GPUs.
    pub profiles: Vec<String>,
    /// How many whole GPUs it had.
    pub whole_gpus: u32,
    /// Usable memory of all its slices together.
    pub memory_mib: u64,
    /// How long it was held.
    pub held_ms: u64,
    /// How long it had waited.
    pub waited_ms: u64,
    /// What it is charged: the time it was held times the share of a GPU that it took.
    pub gpu_ms: u64,
    /// What was measured.
    pub metered: MeteredView,
    /// A smaller profile that would have done, and why; absent where nothing tells.
    pub advice: Option<String>,
}

/// The part of a lease that changes while it runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct LifeView {
    /// What is known of its use.
    pub activity: ActivityKind,
    /// Since when it is idle, if it is.
    pub idle_since_ms: Option<u64>,
    /// After which idle time it is warned and then taken back; absent means never.
    pub idle_limit_ms: Option<u64>,
    /// What its holder was told to expect.
    pub notice: Option<NoticeView>,
    /// What was measured since its grant.
    pub metered: MeteredView,
    /// Whether its command may be stopped and started anew on another slice.
    pub restartable: bool,
    /// How long it outlives its holder.
    pub linger_ms: Option<u64>,
    /// Until when it waits for its next holder, if it does.
    pub lingers_until_ms: Option<u64>,
    /// How often it gave its slices up for others.
    pub displaced: u32,
    /// The container that holds it.
    pub container: Option<String>,
    /// Its rank.
    pub priority: PriorityKind,
    /// Whether it may be ended, after a notice, for somebody with a better right.
    pub preemptible: bool,
    /// What it was told of its start when it began to wait; compare with when it was granted.
    pub told_start: Option<StartView>,
    /// What it was, once it is over.
    pub receipt: Option<ReceiptView>,
    /// What was asked, and on what terms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<AskedView>,
}

/// A container that is to hold a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ContainerRef {
    /// Its full id, as its runtime names it; absent means the one the caller is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Pid of its first process, as its runtime tells; must be in a control group of that id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
}

/// A job of another engine that is to hold a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EngineRef {
    /// Which engine (`slurm`).
    pub kind: String,
    /// The job as the engine names it.
    pub job: String,
}

/// A lease that is over, or one that runs, as `GET /v1/history` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PastLease {
    /// Its id.
    #[schema(value_type = String)]
    pub id: LeaseId,
    /// Its name.
    pub name: Option<String>,
    /// Whom it was charged to.
    pub tenant: String,
    /// Whose it was.
    pub uid: u32,
    /// What was asked.
    pub wish: String,
    /// The command; told to its owner and administrators alone.
    pub command: Option<String>,
    /// When it was asked, ms since the Unix epoch.
    pub requested_at_ms: u64,
    /// When it was granted first, if ever.
    pub granted_at_ms: Option<u64>,
    /// When it was over.
    pub ended_at_ms: u64,
    /// Until when it was told to start at the latest, when that was first said.
    pub predicted_not_later_ms: Option<u64>,
    /// When it was told to start probably, when that was first said.
    pub predicted_likely_ms: Option<u64>,
    /// Why it was over.
    pub end: EndKind,
    /// The same in words.
    pub end_reason: String,
    /// How often it gave its slices up for others; each time is in its receipt.
    pub displaced: u32,
    /// What it was; absent if it was never granted.
    pub receipt: Option<ReceiptView>,
    /// What was asked, and on what terms; absent from daemons that did not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<AskedView>,
    /// The number of the event that ended it.
    pub seq: u64,
}

/// What somebody used: `GET /v1/usage`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UsageView {
    /// The tenant, the user or the day.
    pub who: String,
    /// Leases that ended in the time asked for.
    pub leases: u32,
    /// GPU time charged, running leases included.
    pub gpu_ms: u64,
    /// Its part of everybody's, in thousandths.
    pub share_permille: u32,
    /// GPU time for which there was evidence that it was not used.
    pub idle_gpu_ms: u64,
    /// GPU time for which there was evidence at all.
    pub observed_gpu_ms: u64,
    /// The mean wait of leases that were granted.
    pub mean_wait_ms: u64,
    /// The longest wait of leases that were granted.
    pub longest_wait_ms: u64,
}
