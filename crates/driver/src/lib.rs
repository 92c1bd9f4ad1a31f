//! A safe MIG layer over any NVML, real or simulated.
