//! A safe MIG layer over any NVML, real or simulated.
//!
//! Must never contain a simulated GPU of its own, and must never choose anything a plan left open:
//! the simulator lies below the C ABI and comes in as a [`Resolver`].
//!
//! Every call blocks, and NVML calls on a lost GPU may block for long. [`Driver`] is `Send + Sync`
//! and holds no lock across a call, so callers run it in one worker per GPU and a hung GPU freezes
//! only its own.

mod activity;
mod affinity;
mod answers;
mod change;
mod contents;
mod driver;
mod error;
mod events;
mod execute;
mod geometry;
mod instances;
mod library;
mod outcome;
mod persistence;
mod process_lists;
mod processes;
mod queries;
mod raw;
mod read_back;
mod returns;
mod session;
mod snapshot;
mod symbols;
mod topology;

pub use activity::{Activity, ActivitySample};
pub use answers::{
    DriverEvent, DriverEventKind, GpuExtras, GpuPath, MemoryUse, MigAttributes, MigDevice, Near,
    TopologyMatrix, Versions,
};
pub use contents::{UNKNOWN_START, placement_is_known};
pub use driver::Driver;
pub use error::DriverError;
pub use events::EventWatch;
pub use library::{Library, Resolver, TRUSTED_PATHS};
pub use outcome::{CreatedCompute, ModeChange, Outcome, undo};
pub use persistence::Virtualization;
pub use returns::{NvmlReturn, RetryClass};
