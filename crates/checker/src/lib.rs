//! Proves a plan against a snapshot, sharing nothing with the planner.
