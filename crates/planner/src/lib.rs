//! Turns a snapshot and a desire into a plan, and chooses placements.
