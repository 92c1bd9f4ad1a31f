//! Boards that can do MIG, with what is known of each and how well.
