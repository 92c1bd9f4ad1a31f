//! migctl, the one executable.
