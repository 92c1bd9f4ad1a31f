//! What a study came to, for people and programs: grids, charts and files.
//!
//! Must never leave out where a figure comes from: fleet, seeds, queue and command are on every page.

mod chart;
mod data;
mod grid;
mod page;

pub use chart::{Chart, charts};
pub use data::{csv, json};
pub use grid::{Grid, grids};
pub use page::{Heading, html, markdown};
