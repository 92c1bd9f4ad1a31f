//! Files of layouts against machines made from the catalog of boards.

mod machine;
mod oddities;
mod round;
mod rows;
