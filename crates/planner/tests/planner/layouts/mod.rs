//! Planning one GPU, against searches that go the other way round: over all layouts of a geometry,
//! not over placements of what is wanted.

mod back;
mod computes;
mod hardware;
mod mig_parted;
mod oracle;
mod pairs;
mod words;
