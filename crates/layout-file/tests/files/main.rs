//! Files of layouts against machines made from the catalog of boards.

mod kept;
mod machine;
mod made;
mod oddities;
mod own;
mod round;
mod rows;
