//! Our own format: `schema: migd/v1`.
//!
//! Must never let a mistake pass: unlike mig-parted's, this format has no files from before.

mod item;
pub(crate) mod read;

pub(crate) use read::MARKER;
