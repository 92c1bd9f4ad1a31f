//! Capability minors, and the files under `/proc` that exist for the present state.
//!
//! Must never write a file; it says what would be in it. Source: `nv-caps.c` of the open kernel
//! driver 595.45.04 and logs.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use model::{ComputeInstanceId, GpuInstanceId, GpuMinor};

use crate::gpu::Gpu;
use crate::node::Node;

/// GPU instance slots per GPU in the numbering.
const INSTANCES: u32 = 15;
/// Compute instance slots per GPU instance in the numbering.
const COMPUTE: u32 = 8;
/// Minor of `mig/config`.
const CONFIG: u32 = 1;
/// Minor of `mig/monitor`.
const MONITOR: u32 = 2;
/// Minor of the first GPU instance.
const FIRST: u32 = 3;

/// The N of `/dev/nvidia-caps/nvidia-capN` of a GPU instance.
pub const fn gpu_instance_minor(gpu: GpuMinor, gi: GpuInstanceId) -> u32 {
    FIRST + gpu.get() * INSTANCES * (COMPUTE + 1) + gi.get() * (COMPUTE + 1)
}

/// The N of `/dev/nvidia-caps/nvidia-capN` of a compute instance.
pub const fn compute_instance_minor(
    gpu: GpuMinor,
    gi: GpuInstanceId,
    ci: ComputeInstanceId,
) -> u32 {
    gpu_instance_minor(gpu, gi) + 1 + ci.get()
}

/// A file of the capability tree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CapabilityFile {
    /// Its path below `/proc`.
    pub path: String,
    /// What it says.
    pub contents: String,
    /// The minor of the device node that belongs to it.
    pub minor: u32,
    /// Permission bits of the file and of its device node: 0400 or 0444.
    pub mode: u32,
}

impl CapabilityFile {
    fn new(path: String, minor: u32, mode: u32) -> Self {
        let contents = alloc::format!(
            "DeviceFileMinor: {minor}\nDeviceFileMode: {mode}\nDeviceFileModify: 1\n"
        );
        Self { path, contents, minor, mode }
    }
}

/// `/proc/driver/nvidia-caps/mig-minors`: every possible minor of the GPUs with minor numbers
/// below `gpus` (32 on a real machine), whether the instance exists or not.
pub fn mig_minors(gpus: u32) -> String {
    let mut text = alloc::format!("config {CONFIG}\nmonitor {MONITOR}\n");
    for gpu in (0..gpus).map(GpuMinor::new) {
        for gi in (0..INSTANCES).map(GpuInstanceId::new) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "gpu{gpu}/gi{gi}/access {}", gpu_instance_minor(gpu, gi));
            for ci in (0..COMPUTE).map(ComputeInstanceId::new) {
                let minor = compute_instance_minor(gpu, gi, ci);
                let _ = writeln!(text, "gpu{gpu}/gi{gi}/ci{ci}/access {minor}");
            }
        }
    }
    text
}

impl Node {
    /// The capability files that exist now: the two fixed ones and those of living instances,
    /// ascending by minor.
    pub fn capability_files(&self) -> Vec<CapabilityFile> {
        const ROOT: &str = "driver/nvidia/capabilities";
        let fixed = [
            CapabilityFile::new(alloc::format!("{ROOT}/mig/config"), CONFIG, 0o400),
            CapabilityFile::new(alloc::format!("{ROOT}/mig/monitor"), MONITOR, 0o444),
        ];
        let mut files = Vec::from(fixed);
        for Gpu { minor, instances, .. } in &self.gpus {
            for instance in instances {
                let folder = alloc::format!("{ROOT}/gpu{minor}/mig/gi{}", instance.id);
                let own = gpu_instance_minor(*minor, instance.id);
                files.push(CapabilityFile::new(alloc::format!("{folder}/access"), own, 0o444));
                for compute in &instance.compute {
                    let own = compute_instance_minor(*minor, instance.id, compute.id);
                    let path = alloc::format!("{folder}/ci{}/access", compute.id);
                    files.push(CapabilityFile::new(path, own, 0o444));
                }
            }
        }
        files.sort_by_key(|file| file.minor);
        files
    }
}
