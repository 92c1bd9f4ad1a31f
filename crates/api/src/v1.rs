//! The shapes of API version 1.
//!
//! Amounts carry their unit in the field name. Must never lose a field without a new version;
//! unknown fields are ignored by readers, so fields may be added.

use model::{BookingId, ChangeId, GpuUuid, LeaseId, MigMode, MigState, MigUuid};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::changes::FixedView;
use crate::life::{ContainerRef, EngineRef, LifeView};
use crate::rooms::{ArrangementKind, CordonView, WholeGpuView};
use crate::waiting::PriorityKind;

/// The version of the wire format.
pub const API_VERSION: u32 = 1;

/// Who answers: `GET /v1/version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VersionView {
    /// Version of the daemon.
    pub version: String,
    /// [`API_VERSION`] of the daemon.
    pub api: u32,
    /// The daemon's pid.
    pub pid: u32,
    /// Name of the simulated host, if the GPUs are simulated.
    pub simulated: Option<String>,
}

/// The life a lease follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HolderKind {
    /// The process at the other end of the socket.
    Process,
    /// Nobody: until released, or not renewed in time.
    Token,
    /// A container: its control group.
    Container,
    /// Another engine, which tells when its job ends.
    Engine,
}

/// A request for slices or whole GPUs: the body of `POST /v1/leases`. One of `profile`, `gpu_mem`,
/// `compute`, `whole_gpu` and `booking` must be there; `gpu_mem` and `compute` go together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaseRequest {
    /// A profile in any form (`1g.10gb`, `7g`, `19`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Memory (`20g` nominal, `20480MiB` strict).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_mem: Option<String>,
    /// Compute slices (`3g`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute: Option<String>,
    /// How many slices, all or none.
    #[serde(default = "one")]
    pub count: u32,
    /// Which GPU (index, UUID, PCI address, model).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    /// Hard limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_ms: Option<u64>,
    /// Estimate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_ms: Option<u64>,
    /// Longest wait; zero means not at all, absent means for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_wait_ms: Option<u64>,
    /// A name of the caller's choice, unique among the tenant's leases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The life the lease follows.
    pub holder: HolderKind,
    /// Life of a token between renewals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_life_ms: Option<u64>,
    /// The command it is for, for listings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Whether one process is to use all slices, which old drivers cannot do.
    #[serde(default)]
    pub one_process: bool,
    /// After how long without use it is warned and taken back; absent means as its tenant's rules
    /// say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_limit_ms: Option<u64>,
    /// Whether it stays however long it is not used, where its tenant's rules allow that.
    #[serde(default)]
    pub stay_idle: bool,
    /// Whether its command may be stopped and started anew on another slice.
    #[serde(default)]
    pub restartable: bool,
    /// How long it outlives its holder, so that a service can be restarted; takes a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linger_ms: Option<u64>,
    /// The signal that its processes get with a notice: `USR1`, `USR2`, `TERM` or `INT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice_signal: Option<String>,
    /// Whole GPUs instead of slices.
    #[serde(default)]
    pub whole_gpu: bool,
    /// How several slices lie to each other; absent means as it suits the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrangement: Option<ArrangementKind>,
    /// Whether it may be ended for somebody with a better right, after a notice.
    #[serde(default)]
    pub preemptible: bool,
    /// The booking it makes use of (`B3`, or its name).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub booking: Option<String>,
    /// Its rank; a tenant's rules say who may ask for a high one.
    #[serde(default)]
    pub priority: PriorityKind,
    /// The container that holds it, with the holder `container`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerRef>,
    /// The job that holds it, with the holder `engine`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineRef>,
}

impl LeaseRequest {
    /// A request that names nothing yet.
    pub const fn of(holder: HolderKind) -> Self {
        Self {
            profile: None,
            gpu_mem: None,
            compute: None,
            count: 1,
            gpu: None,
            time_ms: None,
            expect_ms: None,
            max_wait_ms: None,
            name: None,
            holder,
            token_life_ms: None,
            command: None,
            one_process: false,
            idle_limit_ms: None,
            stay_idle: false,
            restartable: false,
            linger_ms: None,
            notice_signal: None,
            whole_gpu: false,
            arrangement: None,
            preemptible: false,
            priority: PriorityKind::Normal,
            booking: None,
            container: None,
            engine: None,
        }
    }
}

const fn one() -> u32 {
    1
}

/// Where a request or lease stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeaseState {
    /// It waits.
    Queued,
    /// Its slices are being made.
    Granting,
    /// It has its slices.
    Active,
    /// It must end; processes may still be on its slices.
    Ending,
    /// It is over.
    Ended,
}

/// Why a lease ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndKind {
    /// Given back.
    Released,
    /// The holder died.
    HolderDied,
    /// Its `--time` was over.
    TimeLimit,
    /// Its token was not renewed.
    NotRenewed,
    /// Ended by somebody else with the right to.
    Revoked,
    /// Cancelled while it waited.
    Cancelled,
    /// It waited long enough.
    WaitExpired,
    /// Its slice disappeared.
    SliceLost,
    /// The driver refused.
    GrantFailed,
    /// The machine was restarted.
    Rebooted,
    /// It was not used.
    Idle,
    /// Somebody with a better right needed the room.
    Preempted,
    /// Its GPU is lost or failing.
    GpuLost,
    /// Its GPU was emptied.
    Drained,
    /// The booking it used is over.
    BookingOver,
    /// It moves to another slice.
    Moving,
}

/// A slice as its holder needs to know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SliceView {
    /// UUID for `CUDA_VISIBLE_DEVICES`.
    #[schema(value_type = String)]
    pub uuid: MigUuid,
    /// Its profile.
    pub profile: String,
    /// Usable memory.
    pub memory_mib: u64,
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// NVML index of its GPU.
    pub gpu_index: u32,
    /// UUID of its GPU.
    #[schema(value_type = String)]
    pub gpu_uuid: GpuUuid,
    /// Product name of its GPU.
    pub gpu_name: String,
    /// First unit on the GPU's placement grid.
    pub start: u8,
    /// Units on the grid.
    pub size: u8,
    /// GPU instance id.
    pub gpu_instance: u32,
    /// Compute instance id.
    pub compute_instance: u32,
}

/// A request or lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeaseView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: LeaseId,
    /// Its name.
    pub name: Option<String>,
    /// Whom it is charged to.
    pub tenant: String,
    /// Whose it is.
    pub uid: u32,
    /// Where it stands.
    pub state: LeaseState,
    /// What was asked, in words (`2 x 1g.10gb`).
    pub wish: String,
    /// On which GPU, in words.
    pub gpu: String,
    /// How many slices.
    pub count: u32,
    /// When it was asked, ms since the Unix epoch.
    pub requested_at_ms: u64,
    /// When it was granted.
    pub granted_at_ms: Option<u64>,
    /// When its hard limit strikes.
    pub deadline_ms: Option<u64>,
    /// When its token expires.
    pub expires_at_ms: Option<u64>,
    /// Its slices.
    pub slices: Vec<SliceView>,
    /// Its whole GPUs.
    #[serde(default)]
    pub whole_gpus: Vec<WholeGpuView>,
    /// The booking it uses.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub booking: Option<BookingId>,
    /// How its life is followed.
    pub holder: HolderKind,
    /// Pid of the process that asked.
    pub client_pid: Option<u32>,
    /// Pid of the command.
    pub command_pid: Option<u32>,
    /// The command; told to its owner and administrators alone.
    pub command: Option<String>,
    /// Its place in the queue, from 1.
    pub queue_position: Option<u32>,
    /// What it waits for, one sentence.
    pub waits_for: Option<String>,
    /// Why it ends or ended.
    pub end: Option<EndKind>,
    /// The same in words.
    pub end_reason: Option<String>,
    /// Who still uses the slice of an ending lease, in words.
    pub held_by: Vec<String>,
    /// The driver's last refusal while it was being granted.
    pub last_failure: Option<String>,
    /// Grows with every change of this lease.
    pub revision: u64,
    /// The daemon's clock now, ms since the Unix epoch: compare deadlines with this.
    pub now_ms: u64,
    /// A remark for whoever asked, such as a smaller slice that nearly had enough memory.
    pub note: Option<String>,
    /// What changes while it runs.
    #[serde(flatten)]
    pub life: LifeView,
}

/// The body of `POST /v1/leases/{id}/command`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AttachCommand {
    /// Pid of the command; a child of the calling process.
    pub pid: u32,
}

/// What an instance is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InstanceUse {
    /// A lease has it.
    Leased,
    /// A lease that must end still has it.
    Ending,
    /// Nobody; kept for reuse, yields to any request.
    Warm,
    /// Being made or taken away.
    Changing,
    /// Not made by migd: shown, never destroyed.
    Foreign,
}

/// A process on an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProcessView {
    /// Its pid.
    pub pid: u32,
    /// Its user.
    pub user: Option<String>,
    /// Its name (not its arguments).
    pub command: Option<String>,
    /// Memory it uses.
    pub memory_mib: Option<u64>,
}

/// A compute instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ComputeInstanceView {
    /// Its id.
    pub id: u32,
    /// Its name (`1c.3g.20gb` for a part).
    pub profile: String,
    /// UUID of the MIG device.
    #[schema(value_type = Option<String>)]
    pub uuid: Option<MigUuid>,
    /// Processes on it.
    pub processes: Vec<ProcessView>,
}

/// A GPU instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InstanceView {
    /// Its id.
    pub id: u32,
    /// Its profile.
    pub profile: String,
    /// First unit on the grid.
    pub start: u8,
    /// Units on the grid.
    pub size: u8,
    /// Usable memory.
    pub memory_mib: u64,
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// What it is for.
    pub used: InstanceUse,
    /// Its lease.
    #[schema(value_type = Option<String>)]
    pub lease: Option<LeaseId>,
    /// The lease's name.
    pub lease_name: Option<String>,
    /// Whom the lease is charged to.
    pub tenant: Option<String>,
    /// Its compute instances.
    pub compute_instances: Vec<ComputeInstanceView>,
}

/// How many more slices of a profile a GPU could hold now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RoomView {
    /// The profile.
    pub profile: String,
    /// How many at once.
    pub count: u32,
}

/// MIG mode in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MigView {
    /// Cut into slices.
    Enabled,
    /// One whole GPU.
    Disabled,
    /// On after a reset.
    EnablePending,
    /// Off after a reset.
    DisablePending,
    /// Cannot do MIG.
    Unsupported,
}

impl From<MigState> for MigView {
    fn from(state: MigState) -> Self {
        match state {
            MigState::Unsupported => Self::Unsupported,
            MigState::Supported { current, pending } => match (current, pending) {
                (MigMode::Enabled, MigMode::Enabled) => Self::Enabled,
                (MigMode::Disabled, MigMode::Disabled) => Self::Disabled,
                (MigMode::Disabled, MigMode::Enabled) => Self::EnablePending,
                (MigMode::Enabled, MigMode::Disabled) => Self::DisablePending,
            },
        }
    }
}

/// A GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GpuView {
    /// NVML index.
    pub index: u32,
    /// UUID.
    #[schema(value_type = String)]
    pub uuid: GpuUuid,
    /// Product name.
    pub name: String,
    /// PCI address.
    pub pci: String,
    /// Total memory.
    pub memory_mib: u64,
    /// MIG mode.
    pub mig: MigView,
    /// Units of the placement grid; zero without MIG.
    pub grid: u8,
    /// `ok`, or what is wrong in words.
    pub health: String,
    /// Whether it is taken out of use for a change of its mode.
    pub maintenance: bool,
    /// How an administrator took it out of use.
    #[serde(default)]
    pub cordon: Option<CordonView>,
    /// Why it is kept out of use until it is well again.
    #[serde(default)]
    pub quarantine: Option<String>,
    /// The lease that has all of it.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub whole_lease: Option<LeaseId>,
    /// Whether it stays as a file made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed: Option<FixedView>,
    /// The change that is under way there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub change: Option<ChangeId>,
    /// Its instances.
    pub instances: Vec<InstanceView>,
    /// Processes on the whole GPU.
    pub processes: Vec<ProcessView>,
    /// What else would fit, idle slices counted as room.
    pub room: Vec<RoomView>,
}

/// The machine: `GET /v1/node`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeView {
    /// Host name.
    pub host: String,
    /// Name of the simulated host, if the GPUs are simulated.
    pub simulated: Option<String>,
    /// Version of the daemon; absent when the view was read without one.
    pub daemon_version: Option<String>,
    /// Driver version.
    pub driver_version: String,
    /// CUDA version of the driver (`12.8`).
    pub cuda_version: Option<String>,
    /// Its GPUs.
    pub gpus: Vec<GpuView>,
    /// Live requests and leases, by id.
    pub leases: Vec<LeaseView>,
    /// Things an administrator should know, such as a journal that was set aside.
    pub warnings: Vec<String>,
    /// The daemon's configuration; absent when the view was read without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<ConfigurationView>,
}

/// The configuration that a daemon follows, and what became of the newest reading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfigurationView {
    /// Its file; absent where there is none and the defaults hold.
    pub file: Option<String>,
    /// How often it was read since the daemon started.
    pub loads: u64,
    /// What was wrong with the newest reading: the one before is in force.
    pub problems: Vec<String>,
    /// Keys whose change waits for a restart of the daemon.
    pub restart: Vec<String>,
}

/// One event of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EventView {
    /// Its number.
    pub seq: u64,
    /// When, ms since the Unix epoch.
    pub at_ms: u64,
    /// What kind (`granted`).
    pub kind: String,
    /// The lease it is about.
    #[schema(value_type = Option<String>)]
    pub lease: Option<LeaseId>,
    /// One sentence.
    pub message: String,
}

/// A problem (RFC 9457): the body of every error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A stable URI of the kind of problem, made from its code.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// HTTP status.
    pub status: u16,
    /// A stable code (`E-PROFILE-UNKNOWN`); `docs/errors.md` lists all.
    pub code: String,
    /// What is wrong, for all of this status.
    pub title: String,
    /// What failed, where and why.
    pub detail: String,
    /// The path of the call that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Problem {
    /// A problem without a hint.
    pub fn new(status: u16, code: &str, title: &str, detail: impl Into<String>) -> Self {
        let name = code.strip_prefix("E-").unwrap_or(code).to_lowercase();
        Self {
            kind: format!("https://migd.dev/problems/{name}"),
            status,
            code: code.to_owned(),
            title: title.to_owned(),
            detail: detail.into(),
            instance: None,
            hint: None,
        }
    }
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// The `cursor` of the next page; absent on the last one.
    #[serde(default)]
    pub next: Option<String>,
}
