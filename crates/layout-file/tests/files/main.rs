//! Files of layouts against machines made from the catalog of boards.

#[cfg(test)]
mod garbage;
#[cfg(test)]
mod kept;
#[cfg(test)]
mod machine;
#[cfg(test)]
mod made;
#[cfg(test)]
mod oddities;
#[cfg(test)]
mod own;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod round;
#[cfg(test)]
mod rows;
