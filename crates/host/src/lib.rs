//! The rest of the machine, a port each: processes, holders of device nodes, capability nodes and
//! the access to them, the clock, GPU reset, NVIDIA's PCI functions, systemd's units, user names, and where files belong.
//!
//! Must never decide anything: every function reads or does one thing and says what happened.
//! Nothing here starts a program but a reset, which may need NVIDIA's own tool, and no `unsafe` code is
//! needed.

pub mod access;
pub mod cdi;
pub mod cgroup;
pub mod cgroups;
pub mod clock;
pub mod groups;
mod holders;
pub mod modules;
pub mod nics;
pub mod nodes;
pub mod paths;
pub mod pci;
pub mod preflight;
pub mod processes;
pub mod reset;
pub mod root;
pub mod units;
pub mod users;

pub use clock::{ClockRecord, DaemonClock};
pub use groups::Groups;
pub use holders::{
    Holder, Holders, HoldersError, Incomplete, Seeker, holders_of, other_holders_of,
};
pub use paths::{Machine, MachineName, Places, Surroundings};
pub use processes::{PidFd, ProcessDescription, ProcessError};
pub use reset::{MachineReset, Reset, ResetError};
pub use root::HostRoot;
pub use units::{SystemdUnits, UnitError, Units};
pub use users::Users;
