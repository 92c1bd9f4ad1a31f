//! The rest of the machine: process holders, device nodes, reset, each behind a port.
