//! Files about services that are to be sized: what is asked of them, and what slices were measured
//! to do.
//!
//! Must never know a board, nor say how many slices anything needs.

mod ask;
mod cells;
mod table;
mod words;

pub use ask::{Ask, Asked, Model, Named, read_services};
pub use table::{
    Measured, ProfileTable, Source, Spread, TableForm, read_profile_table, write_profile_table,
};
