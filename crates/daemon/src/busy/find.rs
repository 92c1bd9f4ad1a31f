//! The sources of holders, one after the other.
//!
//! Must never stop at the first source that cannot be read: the others are told, and the gap.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use api::{HoldView, HolderView};
use broker::State;
use host::nodes::{InstancePath, gpu_node};
use host::processes::{Arguments, describe};
use host::{HostRoot, Users, holders_of, modules};
use model::{ComputeInstanceId, GpuInstanceId, GpuProcess, LeaseId, MemoryMib, PciAddress};
use sim_nvml::SimHost;

use super::{Scene, Spot, holder, lease_of, name_of, words};
use crate::options::DaemonError;

/// What was found of one process.
#[derive(Debug, Default)]
struct Found {
    holds: BTreeSet<HoldView>,
    how: Vec<String>,
    memory: Option<MemoryMib>,
    leases: BTreeSet<LeaseId>,
}

/// A holder that was invented on a simulated machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invented {
    /// Its name.
    pub(crate) name: String,
    /// Index of the GPU; all without one.
    pub(crate) gpu: Option<usize>,
    /// The GPU instance it holds; all of the GPU without one.
    pub(crate) gpu_instance: Option<GpuInstanceId>,
    /// The compute instance it holds.
    pub(crate) compute_instance: Option<ComputeInstanceId>,
}

type ByPid = BTreeMap<u32, Found>;

/// Everybody who holds a place, and why somebody may not have been seen.
pub(super) fn all(scene: &Scene<'_>, spot: &Spot<'_>) -> (Vec<HolderView>, Vec<String>) {
    let mut found = ByPid::new();
    let mut unseen = Vec::new();
    driver_says(scene, spot, &mut found);
    if spot.gpu.health != model::Health::Ok {
        unseen.push(format!("the driver may not see everybody: the GPU is {}", spot.gpu.health));
    }
    open_nodes(scene, spot, &mut found, &mut unseen);
    // Whoever looks has the driver open only to look.
    found.remove(&std::process::id());
    let users = Users::load();
    let mut holders: Vec<HolderView> =
        found.into_iter().map(|(pid, found)| process(scene, spot, &users, pid, found)).collect();
    leases(scene, spot, &mut holders);
    holders.extend(scene.invented.iter().filter(|one| is_meant(one, spot)).map(pretended));
    if spot.instance.is_none() {
        holders.extend(module_holders(scene.root));
        if let Some((more, gaps)) = passthrough(scene.root, spot.gpu.pci) {
            holders.extend(more);
            unseen.extend(gaps);
        }
    }
    (holders, unseen)
}

/// The processes that the driver lists.
fn driver_says(scene: &Scene<'_>, spot: &Spot<'_>, found: &mut ByPid) {
    let mut note = |process: &GpuProcess, how: String, lease: Option<LeaseId>| {
        let known = found.entry(process.pid).or_default();
        known.holds.insert(HoldView::Runs);
        known.how.push(how);
        known.leases.extend(lease);
        known.memory = known.memory.max(process.memory);
    };
    if spot.instance.is_none() {
        let lease = scene.state.whole_lease(&spot.gpu.uuid);
        for process in &spot.gpu.processes {
            note(process, String::from("runs on the GPU"), lease);
        }
    }
    for instance in &spot.gpu.instances {
        let lease = lease_of(scene.state, spot.gpu, instance.id);
        for part in &instance.compute_instances {
            if !spot.holds(instance.id, Some(part.id)) {
                continue;
            }
            let name = name_of(spot.gpu, instance, Some(part.id));
            for process in &part.processes {
                let how = format!("runs on {name} (GPU instance {})", instance.id);
                note(process, how, lease);
            }
        }
    }
}

/// The nodes worth looking for, and what an open one means.
fn nodes(scene: &Scene<'_>, spot: &Spot<'_>) -> BTreeMap<PathBuf, (HoldView, Option<LeaseId>)> {
    let mut nodes = BTreeMap::new();
    for name in ["/dev/nvidiactl", "/dev/nvidia-uvm"] {
        nodes.insert(scene.root.resolve(name), (HoldView::OpenDriver, None));
    }
    let lease = scene.state.whole_lease(&spot.gpu.uuid);
    nodes.insert(gpu_node(scene.root, spot.gpu.minor), (HoldView::OpenGpu, lease));
    for instance in &spot.gpu.instances {
        let lease = lease_of(scene.state, spot.gpu, instance.id);
        let parts = instance.compute_instances.iter().map(|part| Some(part.id));
        for part in parts.chain([None]) {
            if spot.holds(instance.id, part) {
                let path = InstancePath {
                    gpu: spot.gpu.minor,
                    gpu_instance: instance.id,
                    compute_instance: part,
                };
                nodes.insert(path.minor().node(scene.root), (HoldView::OpenSlice, lease));
            }
        }
    }
    nodes
}

fn open_nodes(scene: &Scene<'_>, spot: &Spot<'_>, found: &mut ByPid, unseen: &mut Vec<String>) {
    let nodes = nodes(scene, spot);
    let paths: Vec<PathBuf> = nodes.keys().cloned().collect();
    let searched = match holders_of(&paths) {
        Ok(searched) => searched,
        Err(error) => {
            unseen.push(format!("open device nodes are not known: {error}: {}", error.source));
            return;
        }
    };
    let mut opened: BTreeMap<(u32, &Path), Vec<u32>> = BTreeMap::new();
    for one in &searched.holders {
        opened.entry((one.process.pid, &one.path)).or_default().push(one.descriptor);
    }
    for ((pid, path), descriptors) in opened {
        let Some((hold, lease)) = nodes.get(path) else { continue };
        let known = found.entry(pid).or_default();
        known.holds.insert(*hold);
        known.leases.extend(*lease);
        let numbers: Vec<String> = descriptors.iter().map(u32::to_string).collect();
        let name = words::shown(scene.root, path);
        known.how.push(format!("has {name} open (descriptor {})", numbers.join(", ")));
    }
    unseen.extend(words::gaps(&searched.incomplete));
}

fn process(
    scene: &Scene<'_>,
    spot: &Spot<'_>,
    users: &Users,
    pid: u32,
    found: Found,
) -> HolderView {
    let known = describe(pid, users, Arguments::Shown);
    let mut view = holder(HoldView::Runs, String::new());
    view.holds = found.holds.into_iter().collect();
    view.how = found.how;
    view.pid = Some(pid);
    view.memory_mib = found.memory.map(MemoryMib::get);
    view.lease = found.leases.first().copied();
    if let Some(known) = known {
        let own = scene.by.admin || scene.by.uid == known.uid;
        view.user = Some(known.user);
        view.command_line = known.command_line.filter(|_| own);
        view.unit = known.unit;
        view.container = words::container(pid);
        view.command = Some(known.command);
    }
    let client = words::client(&view);
    view.known_as = client.map(|client| client.name.to_owned());
    view.in_the_way = words::in_the_way(&view.holds, spot.instance.is_some(), client);
    view.advice = if view.holds == [HoldView::OpenDriver] && client.is_none() {
        String::from("leave it: it has the driver open, and nothing of this GPU")
    } else {
        words::advice(&view, client)
    };
    view
}

/// Leases of which no process was seen: whoever has one may come back at any moment.
fn leases(scene: &Scene<'_>, spot: &Spot<'_>, holders: &mut Vec<HolderView>) {
    let state: &State = scene.state;
    let mut there: BTreeSet<LeaseId> = BTreeSet::new();
    if spot.instance.is_none() {
        there.extend(state.whole_lease(&spot.gpu.uuid));
    }
    let instances = spot.gpu.instances.iter().filter(|one| spot.holds(one.id, None));
    there.extend(instances.filter_map(|one| lease_of(state, spot.gpu, one.id)));
    for id in there {
        if holders.iter().any(|holder| holder.lease == Some(id)) {
            continue;
        }
        let mut view = holder(HoldView::Lease, format!("{id} has it, without a process on it"));
        view.lease = Some(id);
        view.user = state.lease(id).map(|lease| lease.spec.tenant.to_string());
        view.advice = words::advice(&view, None);
        holders.push(view);
    }
}

/// The holders that were invented on a simulated machine.
///
/// # Errors
/// [`DaemonError::Simulated`].
pub(crate) fn invented(folder: Option<&Path>) -> Result<Vec<Invented>, DaemonError> {
    let Some(folder) = folder else { return Ok(Vec::new()) };
    let node = SimHost::open(folder)?.node()?;
    let holders = node.value.holders.iter().map(|holder| Invented {
        name: holder.name.clone(),
        gpu: holder.gpu,
        gpu_instance: holder.target.gpu_instance(),
        compute_instance: holder.target.compute_instance(),
    });
    Ok(holders.collect())
}

fn is_meant(one: &Invented, spot: &Spot<'_>) -> bool {
    let here = one.gpu.is_none_or(|gpu| gpu == spot.gpu.index.get() as usize);
    // One that holds all of a GPU holds each slice of it.
    here && one.gpu_instance.is_none_or(|id| spot.holds(id, one.compute_instance))
}

fn pretended(one: &Invented) -> HolderView {
    let mut view =
        holder(HoldView::Invented, String::from("was invented on this simulated machine"));
    view.command = Some(one.name.clone());
    view.advice = format!("`migctl sim holder remove {}`", one.name);
    view
}

/// The kernel modules that use the driver's.
fn module_holders(root: &HostRoot) -> Vec<HolderView> {
    let mut found = Vec::new();
    for module in modules::loaded(root) {
        let Some(advice) = words::module(&module) else { continue };
        let times = match module.references {
            1 => String::from("once"),
            count => format!("{count} times"),
        };
        let how = format!("is a kernel module on the driver, in use {times}");
        let mut view = holder(HoldView::Module, how);
        view.command = Some(module.name);
        view.advice = advice;
        found.push(view);
    }
    found
}

/// Whoever has a GPU that is bound to a driver for virtual machines; `None` if it is not.
pub(super) fn passthrough(
    root: &HostRoot,
    pci: PciAddress,
) -> Option<(Vec<HolderView>, Vec<String>)> {
    let function = host::pci::function(root, pci)?;
    let driver = function.driver.filter(|driver| driver != "nvidia")?;
    let mut holders = Vec::new();
    let mut unseen = Vec::new();
    let group = function.iommu_group;
    let node = group.map(|group| root.resolve(format!("/dev/vfio/{group}")));
    let searched = node.as_ref().map(|node| holders_of(std::slice::from_ref(node)));
    let users = Users::load();
    match searched {
        Some(Ok(searched)) => {
            for one in searched.processes() {
                let path = words::shown(root, node.as_deref().unwrap_or(Path::new("/dev/vfio")));
                let mut view = holder(HoldView::Passthrough, format!("has {path} open"));
                let known = describe(one.pid, &users, Arguments::Hidden);
                view.pid = Some(one.pid);
                view.user = known.as_ref().map(|known| known.user.clone());
                view.unit = known.as_ref().and_then(|known| known.unit.clone());
                view.command = known.map(|known| known.command);
                view.advice =
                    String::from("shut the virtual machine down, or take the GPU from it");
                holders.push(view);
            }
            unseen.extend(words::gaps(&searched.incomplete));
        }
        Some(Err(error)) => unseen.push(error.to_string()),
        None => {}
    }
    if holders.is_empty() {
        let mut view = holder(
            HoldView::Passthrough,
            format!("the GPU is bound to {driver}, not to NVIDIA's driver"),
        );
        view.command = Some(driver);
        view.advice = words::rebind(pci);
        holders.push(view);
    }
    Some((holders, unseen))
}
