//! NVML's C ABI over sim-gpu, with state shared by every process on the host.
