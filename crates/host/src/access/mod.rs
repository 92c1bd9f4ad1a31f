//! Who may open an instance's capability node: closed, open for one user, or as the driver left it.
//!
//! Must never decide who gets what: whoever calls says it for each instance, and hears what was
//! found different. Every call may be repeated, and may be cut off at any point: the order of its
//! steps leaves a node closed too long rather than open too early.

mod change;
mod gpu;
mod survey;

use std::io;
use std::path::PathBuf;

use model::{GpuMinor, Uid};

pub use change::set;
pub use gpu::{
    GPU_MODE_OPEN, GPU_MODE_STOCK, GpuChange, Stock, gpu_nodes, restore_gpu, set_gpu, stock,
};
pub use survey::{Surveyed, instances, nodes, survey};

use crate::nodes::{InstancePath, Node, NodeError};
use crate::root::HostRoot;

/// Permission bits of a closed node.
pub const MODE_CLOSED: u32 = 0;
/// Permission bits of a node that one user may open.
pub const MODE_OPEN: u32 = 0o400;
/// Permission bits that the driver's tools give the nodes of instances: everybody may open them.
pub const MODE_STOCK: u32 = 0o444;

/// Who may open a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// Nobody but root.
    Closed,
    /// This user, and root.
    OpenFor(Uid),
    /// Everybody, as the driver's tools make it; they may set it back at any time.
    Stock,
}

impl Wanted {
    /// The permission bits of a node that is so.
    pub const fn mode(self) -> u32 {
        match self {
            Self::Closed => MODE_CLOSED,
            Self::OpenFor(_) => MODE_OPEN,
            Self::Stock => MODE_STOCK,
        }
    }

    /// Whether the driver's tools may set the node's permissions.
    pub const fn modify(self) -> bool {
        matches!(self, Self::Stock)
    }
}

/// A node that was not as wanted, and is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Whose capability.
    pub instance: InstancePath,
    /// Its node.
    pub path: PathBuf,
    /// What it is now.
    pub wanted: Wanted,
    /// What was found; `None` if there was no node.
    pub found: Option<Node>,
    /// Whether the driver's tools were allowed to set its permissions; `None` if the instance does
    /// not exist, so that there is no such setting.
    pub found_modify: Option<bool>,
}

/// Why the access to an instance could not be set.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A kernel file or the node cannot be read or understood.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// What lies at the node's path is no node.
    #[error("{} is {found}, not the node of a capability", path.display())]
    NotANode {
        /// Where.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// The driver does not tell the major number of capability nodes.
    #[error("/proc/devices names no nvidia-caps, so {} cannot be made", path.display())]
    NoMajor {
        /// The node that is missing.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot {what} {}", path.display())]
    Refused {
        /// What was to be done.
        what: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl AccessError {
    /// Whether it takes root to do this.
    pub fn is_permission(&self) -> bool {
        matches!(self, Self::Refused { source, .. }
            if source.kind() == io::ErrorKind::PermissionDenied)
    }
}

/// What bringing many nodes to what is wanted came to.
#[derive(Debug, Default)]
pub struct Report {
    /// Nodes that were different.
    pub changes: Vec<Change>,
    /// Nodes that could not be brought to what is wanted, or looked at.
    pub failures: Vec<(InstancePath, AccessError)>,
    /// Nodes of whole GPUs that were different.
    pub gpus: Vec<GpuChange>,
    /// Nodes of whole GPUs that could not be brought to what is wanted.
    pub gpu_failures: Vec<(GpuMinor, AccessError)>,
}

impl Report {
    /// How many nodes were different.
    pub fn changed(&self) -> usize {
        self.changes.len() + self.gpus.len()
    }

    /// What could not be done.
    pub fn errors(&self) -> impl Iterator<Item = &AccessError> {
        let instances = self.failures.iter().map(|(_, error)| error);
        instances.chain(self.gpu_failures.iter().map(|(_, error)| error))
    }
}

/// Brings the nodes of these instances to what is wanted, goes on where one fails, and reports all.
pub fn reconcile(
    root: &HostRoot,
    wanted: impl IntoIterator<Item = (InstancePath, Wanted)>,
) -> Report {
    let mut report = Report::default();
    for (instance, wanted) in wanted {
        match set(root, instance, wanted) {
            Ok(change) => report.changes.extend(change),
            Err(error) => report.failures.push((instance, error)),
        }
    }
    report
}

/// Gives back what the driver's tools made: every node of an instance, of one GPU or of all, also
/// of instances that exist no more, and the nodes of GPUs that were closed or opened for one user.
///
/// # Errors
/// [`NodeError`] if the folders cannot be listed; what fails for one node is in the report.
pub fn restore_stock(root: &HostRoot, gpu: Option<GpuMinor>) -> Result<Report, NodeError> {
    let mut all = nodes(root)?;
    all.extend(instances(root)?);
    all.sort();
    all.dedup();
    let meant = all.into_iter().filter(|instance| gpu.is_none_or(|gpu| instance.gpu == gpu));
    let mut report = reconcile(root, meant.map(|instance| (instance, Wanted::Stock)));
    for minor in gpu_nodes(root)?.into_iter().filter(|minor| gpu.is_none_or(|gpu| *minor == gpu)) {
        match restore_gpu(root, minor) {
            Ok(change) => report.gpus.extend(change),
            Err(error) => report.gpu_failures.push((minor, error)),
        }
    }
    Ok(report)
}

#[cfg(test)]
mod tests;
