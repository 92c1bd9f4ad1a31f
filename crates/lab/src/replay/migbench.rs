//! MIGBench's "off" trace, regenerated for any seed, and migd in the place of its schedulers.
//!
//! Must never give migd what the benchmark's own adapters do not have, but where a row says so.
//!
//! The benchmark is FouoF/MIG-scheduler-benchmark; its trace is drawn with Go's `math/rand/v2`, which
//! is why Go's generator and its two ziggurats are here.

mod go;
mod rows;
mod table;
mod trace;

pub use rows::{Entry, LONG, Row, Sizing, Told, Where, Who, jobs_of, play};
pub use table::markdown;
pub use trace::{BENCH_SEED, TraceError, TraceJob, generate, read_csv};
