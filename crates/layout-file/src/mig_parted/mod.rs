//! mig-parted's own formats: its configuration file, the names in it, its device filters.
//!
//! Must never be stricter than mig-parted where nothing is lost by it: what it takes in silence is
//! taken with a warning.

pub(crate) mod filter;
pub(crate) mod name;
pub(crate) mod read;
