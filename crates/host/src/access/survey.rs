//! What is there: the instances the driver knows and the nodes in the device folder.
//!
//! Must never take a node for an instance: nodes stay when instances go.

use std::io;
use std::path::{Path, PathBuf};

use model::{ComputeInstanceId, GpuInstanceId, GpuMinor};

use crate::nodes::{
    Access, COMPUTE_INSTANCE_SLOTS, CapabilityMinor, GPU_INSTANCE_SLOTS, InstancePath, Node,
    NodeError, node,
};
use crate::root::HostRoot;

/// A capability as the kernel and the file system have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surveyed {
    /// Whose it is.
    pub instance: InstancePath,
    /// Where its node is, or would be.
    pub path: PathBuf,
    /// Its node.
    pub node: Option<Node>,
    /// What the kernel says of it; `None` if the instance does not exist.
    pub access: Option<Access>,
}

/// The living instances, by the kernel's tree of capabilities; ascending.
///
/// # Errors
/// [`NodeError::Unreadable`] if a folder is there and cannot be listed.
pub fn instances(root: &HostRoot) -> Result<Vec<InstancePath>, NodeError> {
    let top = root.resolve("/proc/driver/nvidia/capabilities");
    let mut found = Vec::new();
    for (gpu, folder) in numbered(&top, "gpu")? {
        let gpu = GpuMinor::new(gpu);
        for (gi, folder) in numbered(&folder.join("mig"), "gi")? {
            let gpu_instance = GpuInstanceId::new(gi);
            found.push(InstancePath { gpu, gpu_instance, compute_instance: None });
            for (ci, _) in numbered(&folder, "ci")? {
                let compute_instance = Some(ComputeInstanceId::new(ci));
                found.push(InstancePath { gpu, gpu_instance, compute_instance });
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Whose capabilities the nodes in the device folder are, whether those instances exist or not;
/// ascending. Nodes that belong to no instance (the driver's own) are left out.
///
/// # Errors
/// [`NodeError::Unreadable`] if the folder is there and cannot be listed.
pub fn nodes(root: &HostRoot) -> Result<Vec<InstancePath>, NodeError> {
    let folder = root.resolve("/dev/nvidia-caps");
    let minors = numbered(&folder, "nvidia-cap")?.into_iter();
    let mut found: Vec<_> =
        minors.filter_map(|(minor, _)| instance_of(CapabilityMinor::new(minor))).collect();
    found.sort();
    Ok(found)
}

/// Everything there is to know of each living instance's capability.
///
/// # Errors
/// [`NodeError`] if something cannot be read or understood.
pub fn survey(root: &HostRoot) -> Result<Vec<Surveyed>, NodeError> {
    let look = |instance: InstancePath| {
        let path = instance.minor().node(root);
        Ok(Surveyed { instance, node: node(&path)?, path, access: Access::read(root, instance)? })
    };
    instances(root)?.into_iter().map(look).collect()
}

/// Whose capability has this minor, by the formula of [`CapabilityMinor`].
fn instance_of(minor: CapabilityMinor) -> Option<InstancePath> {
    let per_instance = 1 + COMPUTE_INSTANCE_SLOTS;
    let slot = minor.get().checked_sub(3)?;
    let (gpu, rest) =
        (slot / (GPU_INSTANCE_SLOTS * per_instance), slot % (GPU_INSTANCE_SLOTS * per_instance));
    let compute = rest % per_instance;
    Some(InstancePath {
        gpu: GpuMinor::new(gpu),
        gpu_instance: GpuInstanceId::new(rest / per_instance),
        compute_instance: compute.checked_sub(1).map(ComputeInstanceId::new),
    })
}

/// The entries `PREFIX<n>` of a folder; none if there is no such folder.
pub(super) fn numbered(folder: &Path, prefix: &str) -> Result<Vec<(u32, PathBuf)>, NodeError> {
    let unreadable = |source| NodeError::Unreadable { path: folder.to_path_buf(), source };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(prefix)?.parse().ok());
        found.extend(number.map(|number| (number, entry.path())));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_minor_leads_back_to_its_instance() {
        for minor in (3..4323).map(CapabilityMinor::new) {
            let instance = instance_of(minor).unwrap();
            assert_eq!(instance.minor(), minor);
        }
        for driver in 0..3 {
            assert_eq!(instance_of(CapabilityMinor::new(driver)), None);
        }
    }
}
