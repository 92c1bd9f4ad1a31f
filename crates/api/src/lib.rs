//! Wire types v1 and the client over the unix socket.
//!
//! Must never hold a rule of the broker: these are shapes, and a caller that carries them.

pub mod access;
pub mod asked;
mod calls;
pub mod changes;
pub mod client;
pub mod doctor;
pub mod holders;
pub mod instances;
pub mod life;
pub mod nodes;
pub mod remote;
pub mod rooms;
pub mod sharing;
pub mod topology;
pub mod v1;
pub mod waiting;

pub use access::{AuditView, Role, TokenMade, TokenRequest, TokenView};
pub use asked::AskedView;
pub use changes::{
    BlockedView, ChangeState, ChangeView, FixRequest, FixedView, GpuChangeState, GpuChangeView,
    GpuPlan, InTheWay, MachineIdentity, PLAN_FORMAT, PartView, Permissions, PlanDocument,
    PlanRequest, UnitStop,
};
pub use client::{Client, ClientError, EventStream};
pub use doctor::{DoctorView, FindingView, Severity};
pub use holders::{BusyView, ContainerView, HoldView, HolderView};
pub use instances::{
    BoardProfileView, BoardView, CapabilityView, ComputePartView, ComputeProfileView, EnginesView,
    GpuInstancesView, GpuRowView, WholeInstanceView,
};
pub use life::{
    ActivityKind, ContainerRef, EngineRef, LifeView, MeteredView, NoticeKind, NoticeView,
    PastLease, ReceiptView, UsageView,
};
pub use nodes::{AccessView, NodeAccessView, StockRequest};
pub use remote::{Remote, RemoteError};
pub use rooms::{
    ArrangementKind, BookingRequest, BookingView, CordonRequest, CordonView, PlaceView,
    WholeGpuView,
};
pub use sharing::{AdviceView, ComparisonView, OptionView, TopicView, TradeView};
pub use topology::{LinkView, MarkView, TopologyDeviceView, TopologyKind, TopologyView};
pub use v1::*;
pub use waiting::{BlockerView, PriorityKind, StartView, WhyView};
