//! What is examined, read once.
//!
//! Must never stop because one source cannot be read: that one is named among the unseen.

use std::path::PathBuf;

use api::{ChangeView, NodeView};
use daemon::Unfinished;
use driver::{GpuExtras, Versions, Virtualization};
use host::HostRoot;
use model::{GpuSnapshot, Timestamp};

use crate::context::Machine;
use crate::failure::chain;
use crate::{Context, Failure, connect};

/// A GPU as its driver tells.
#[derive(Debug, Clone)]
pub(crate) struct Gpu {
    pub(crate) seen: GpuSnapshot,
    pub(crate) extras: GpuExtras,
    pub(crate) virtualization: Option<Virtualization>,
}

/// What the driver tells.
#[derive(Debug, Clone)]
pub(crate) struct Driver {
    pub(crate) versions: Versions,
    pub(crate) gpus: Vec<Gpu>,
}

/// The daemon of the machine.
#[derive(Debug, Clone)]
pub(crate) enum Daemon {
    /// Nobody listens.
    Absent,
    /// It answers.
    Answers(Box<NodeView>),
    /// Somebody listens who cannot be talked to; why.
    Silent(String),
}

/// Where the daemon keeps its things.
#[derive(Debug, Clone)]
pub(crate) struct House {
    pub(crate) state_dir: PathBuf,
    pub(crate) socket: PathBuf,
    pub(crate) admin_socket: PathBuf,
}

/// Everything that is examined.
#[derive(Debug, Clone)]
pub(crate) struct Evidence {
    /// The name of the simulated machine, if it is one.
    pub(crate) simulated: Option<String>,
    /// What the driver tells, or why it does not.
    pub(crate) driver: Result<Driver, String>,
    /// Where the device and kernel trees of the GPUs are.
    pub(crate) tree: HostRoot,
    /// The system that manages the GPUs: packages, units, containers. A simulated machine has none.
    pub(crate) system: Option<HostRoot>,
    /// The system this program runs on.
    pub(crate) own: HostRoot,
    pub(crate) uid: u32,
    pub(crate) daemon: Daemon,
    /// Changes of layout and mode that are under way in it.
    pub(crate) changes: Vec<ChangeView>,
    /// What the last daemon left in the middle, where none runs.
    pub(crate) unfinished: Vec<Unfinished>,
    pub(crate) house: House,
    /// What `nvidia-ctk --version` says.
    pub(crate) toolkit: Option<String>,
    /// What could not be looked at, and why.
    pub(crate) unseen: Vec<String>,
}

/// Looks at the machine.
///
/// # Errors
/// [`Failure`] when the machine itself makes no sense.
pub(crate) fn gather(context: &Context) -> Result<Evidence, Failure> {
    let places = context.places()?;
    let simulated = match context.machine()? {
        Machine::Real => None,
        Machine::Simulated(host) => Some(host.name),
    };
    let (daemon, changes) = daemon(context)?;
    let unfinished = match &daemon {
        Daemon::Absent => crate::cut_off::found(context),
        Daemon::Answers(_) | Daemon::Silent(_) => Vec::new(),
    };
    let driver = driver(context);
    let mut unseen = Vec::new();
    let system = if simulated.is_some() {
        unseen.push(String::from(
            "packages, containers, units and CDI: a simulated machine has none of its own",
        ));
        None
    } else {
        Some(HostRoot::real())
    };
    if system.is_some() && context.uid() != 0 {
        unseen.push(String::from(
            "images of containers and processes of others: run it as root to see them",
        ));
    }
    Ok(Evidence {
        tree: places.host_root(),
        toolkit: system.as_ref().and_then(toolkit),
        system,
        own: HostRoot::real(),
        uid: context.uid(),
        daemon,
        changes,
        unfinished,
        driver,
        house: House {
            state_dir: places.state_dir().to_path_buf(),
            socket: context.socket()?,
            admin_socket: places.admin_socket(),
        },
        simulated,
        unseen,
    })
}

fn daemon(context: &Context) -> Result<(Daemon, Vec<ChangeView>), Failure> {
    let asked = connect::runtime()?.block_on(async {
        match connect::existing(context).await {
            Ok(Some(client)) => {
                let view = client.node().await.map_err(|error| chain(&error))?;
                let mut changes = client.changes().await.unwrap_or_default();
                changes.retain(|change| !change.state.is_over());
                Ok(Some((view, changes)))
            }
            Ok(None) => Ok(None),
            Err(failure) => Err(failure.message),
        }
    });
    Ok(match asked {
        Ok(Some((view, changes))) => (Daemon::Answers(Box::new(view)), changes),
        Ok(None) => (Daemon::Absent, Vec::new()),
        Err(why) => (Daemon::Silent(why), Vec::new()),
    })
}

fn driver(context: &Context) -> Result<Driver, String> {
    let source = connect::gpus_here(context, "doctor").map_err(|failure| failure.message)?;
    let driver = daemon::open_driver(&source).map_err(|error| chain(&error))?;
    let versions = driver.versions().map_err(|error| chain(&error))?;
    let snapshot = driver.snapshot(Timestamp::default()).map_err(|error| chain(&error))?;
    let gpu = |seen: GpuSnapshot| Gpu {
        // What one GPU does not tell is not known of it; its health says why.
        extras: driver.gpu_extras(&seen.uuid).unwrap_or_default(),
        virtualization: driver.virtualization(&seen.uuid).ok().flatten(),
        seen,
    };
    Ok(Driver { versions, gpus: snapshot.gpus.into_iter().map(gpu).collect() })
}

/// What the container toolkit says of its version, by its absolute path.
fn toolkit(root: &HostRoot) -> Option<String> {
    let paths = ["/usr/bin/nvidia-ctk", "/usr/local/bin/nvidia-ctk"];
    let program = paths.iter().map(|path| root.resolve(path)).find(|path| path.exists())?;
    let mut command = std::process::Command::new(program);
    let output = command.arg("--version").env_clear().stdin(std::process::Stdio::null()).output();
    let output = output.ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use model::catalog::board;
    use model::{GpuIndex, GpuMinor, GpuUuid, Health, MemoryMib, MigMode, MigState, PciAddress};

    use super::*;

    /// A GPU of the catalog with everything in order.
    pub(crate) fn gpu(id: &str) -> Gpu {
        let board = board(id).unwrap();
        let mode = MigMode::Enabled;
        Gpu {
            seen: GpuSnapshot {
                uuid: GpuUuid::new("GPU-a"),
                index: GpuIndex::new(0),
                minor: GpuMinor::new(0),
                pci: PciAddress { domain: 0, bus: 7, device: 0 },
                name: board.nvml_names[0].to_owned(),
                pci_device_id: board.pci[0].device_and_vendor,
                pci_subsystem_id: None,
                memory: MemoryMib::new(40_960),
                compute_capability: Some((8, 0)),
                mig: MigState::Supported { current: mode, pending: mode },
                geometry: Some(Arc::new(board.geometry())),
                instances: Vec::new(),
                processes: Vec::new(),
                health: Health::Ok,
            },
            extras: GpuExtras {
                architecture: Some(board.architecture.nvml_value()),
                persistence: Some(true),
                ..GpuExtras::default()
            },
            virtualization: Some(Virtualization::None),
        }
    }

    /// A machine on which nothing is wrong, with these files and GPUs.
    pub(crate) fn machine(files: &[(&str, &str)], gpus: Vec<Gpu>) -> (tempfile::TempDir, Evidence) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let root = HostRoot::at(folder.path());
        let state_dir = folder.path().join("state");
        let evidence = Evidence {
            simulated: None,
            driver: Ok(Driver {
                versions: Versions { driver: "580.126.09".into(), nvml: None, cuda: Some(13_000) },
                gpus,
            }),
            tree: root.clone(),
            system: Some(root.clone()),
            own: root,
            uid: 0,
            daemon: Daemon::Absent,
            changes: Vec::new(),
            unfinished: Vec::new(),
            house: House {
                socket: state_dir.join("run/migd.sock"),
                admin_socket: state_dir.join("run/admin.sock"),
                state_dir,
            },
            toolkit: None,
            unseen: Vec::new(),
        };
        (folder, evidence)
    }
}
