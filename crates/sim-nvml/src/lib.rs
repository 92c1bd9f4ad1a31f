//! NVML's C ABI over sim-gpu, with state shared by every process on the host.
//!
//! Must never export a C symbol (that is `sim-nvml-so`'s part) and must never touch a real GPU.
//!
//! A simulated host is a folder ([`SimHost`]). A process that names it, by [`attach`] or by the
//! variable `MIGD_SIM_HOST`, finds NVML through [`symbol`], or through `libnvidia-ml.so.1` of
//! `sim-nvml-so`; both may be used in one process, since everything they share is in the folder.
//!
//! | file | what |
//! |---|---|
//! | `state` | header with a mapped generation word, and two slots with the encoded node |
//! | `lock`, `gpu-locks/N` | locks the kernel drops when their holder dies |
//! | `calls.jsonl` | the log of mutating calls; the state says how long it is |
//! | `units.toml` | its systemd units, if somebody invented some |
//! | `root/` | `/proc`, `/sys` and `/dev` of the host |

pub mod abi;
mod call;
mod calls;
mod cuda;
pub mod entry;
mod host;
mod lock;
mod private;
mod process;
mod session;
mod shared;
mod slot;
mod spec_file;
mod trees;
pub mod types;
mod units;

pub use calls::CallEntry;
pub use cuda::{CudaContext, CudaError, CudaRequest};
pub use entry::symbol;
pub use host::{HostOptions, SimError, SimHost};
pub use session::{Aside, HOST_VARIABLE, attach, attach_thread, swap_thread};
pub use shared::{SharedError, Version};
pub use spec_file::{SpecFileError, spec_from_text, spec_from_toml};
pub use units::{SimUnit, SimUnitManner, SimUnitState};
