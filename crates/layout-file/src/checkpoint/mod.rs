//! What stands on a machine, kept for later: our own checkpoints, and mig-parted's.
//!
//! Must never restore a GPU to something that its board does not allow.

mod place;
mod read;
mod write;

pub use read::{Restored, read_checkpoint};
pub use write::write_checkpoint;

/// What marks a checkpoint of ours.
const MARKER: &str = "migd/checkpoint/v1";
