//! The hardware's rules as a pure state machine: MIG mode, instances, workloads, faults.
