//! Requests, leases and their order: decide turns commands into events, apply folds them.
