//! What a holder is, whether it is in the way, and what to do about it.
//!
//! Must never advise to kill what can be asked to stop.

use std::path::Path;

use api::{ContainerView, HoldView, HolderView};
use host::modules::Module;
use host::{HostRoot, Incomplete, cgroups};
use model::PciAddress;
use model::clients::{Holds, KnownClient, Stopping, known_client_of_process};

/// Digits of a container's id that engines show.
const SHORT_ID: usize = 12;

/// The client that a process is known as, by its unit or its name.
pub(super) fn client(view: &HolderView) -> Option<&'static KnownClient> {
    let unit = view.unit.as_deref().and_then(|unit| unit.parse().ok());
    let by_unit = unit.as_ref().and_then(KnownClient::of_unit);
    by_unit.or_else(|| known_client_of_process(view.command.as_deref()?))
}

/// Whether a process keeps a GPU, or one slice of it, from being changed. Whoever only has the
/// driver open is not in the way of a single GPU; whoever has the GPU open is in the way of a slice
/// only if it is known to hold slices.
pub(super) fn in_the_way(
    holds: &[HoldView],
    slice: bool,
    client: Option<&'static KnownClient>,
) -> bool {
    let known = client.map(|client| client.holds);
    if known == Some(Holds::Fabric) {
        return false;
    }
    holds.iter().any(|hold| match hold {
        HoldView::OpenDriver => false,
        HoldView::OpenGpu if slice => matches!(known, Some(Holds::Session | Holds::Contexts)),
        HoldView::Runs
        | HoldView::OpenSlice
        | HoldView::OpenGpu
        | HoldView::Passthrough
        | HoldView::Module
        | HoldView::Lease
        | HoldView::Invented => true,
    })
}

/// What to do about a holder.
pub(super) fn advice(view: &HolderView, client: Option<&'static KnownClient>) -> String {
    if let Some(lease) = view.lease {
        return format!("it is of lease {lease}: `migctl release {lease}` ends it");
    }
    if let Some(client) = client {
        return known(view, client);
    }
    if let Some(ContainerView { id, engine }) = &view.container {
        return match engine.as_deref() {
            Some("docker") => format!("`docker stop {id}`"),
            Some("podman") => format!("`podman stop {id}`"),
            Some("containerd" | "cri-o") => {
                format!("it is of a pod: drain it, or `crictl stop {id}`")
            }
            Some(_) | None => format!("stop container {id}"),
        };
    }
    if let Some(unit) = view.unit.as_deref().filter(|unit| is_service(unit)) {
        return format!("`systemctl stop {unit}`");
    }
    match (view.pid, view.user.as_deref()) {
        (Some(pid), Some(user)) => format!("ask {user}, or `kill {pid}`"),
        (Some(pid), None) => format!("`kill {pid}`"),
        (None, _) => String::from("ask whoever looks after this machine"),
    }
}

fn known(view: &HolderView, client: &KnownClient) -> String {
    let unit = view.unit.as_deref().filter(|unit| is_service(unit));
    let stop = match (client.stopping, unit) {
        (Stopping::Never { why }, _) => return format!("{}; leave it alone: {why}", client.advice),
        (Stopping::IfAllowed, Some(unit)) => format!(
            "a change with --stop-clients stops it and starts it again; by hand `systemctl stop {unit}`"
        ),
        (Stopping::OnlyIfNamed, Some(unit)) => format!("`systemctl stop {unit}`"),
        (Stopping::IfAllowed | Stopping::OnlyIfNamed, None) => match view.pid {
            Some(pid) => format!("`kill {pid}`"),
            None => return client.advice.to_owned(),
        },
    };
    format!("{}: {stop}", client.advice)
}

/// A session, or a user's own manager, is no service of the machine.
fn is_service(unit: &str) -> bool {
    unit.ends_with(".service") && !unit.starts_with("user@")
}

/// The container a process is in, as its engine shows it.
pub(super) fn container(pid: u32) -> Option<ContainerView> {
    let found = cgroups::container_of(pid, None)?;
    let id: String = found.id.chars().take(SHORT_ID).collect();
    Some(ContainerView { id, engine: engine_of(&found.cgroup).map(str::to_owned) })
}

/// The engine that names control groups so.
fn engine_of(cgroup: &str) -> Option<&'static str> {
    const ENGINES: [(&str, &str); 4] = [
        ("cri-containerd", "containerd"),
        ("crio", "cri-o"),
        ("libpod", "podman"),
        ("docker", "docker"),
    ];
    ENGINES.iter().find(|(mark, _)| cgroup.contains(mark)).map(|(_, engine)| *engine)
}

/// What to do about a module on the driver that is in the way; `None` for one that is not in use, or
/// whose users are processes that are found by themselves (`nvidia_uvm`).
pub(super) fn module(module: &Module) -> Option<String> {
    if module.references == 0 {
        return None;
    }
    let advice = match module.name.as_str() {
        "nvidia_drm" => {
            "a console or a display server draws with it: log out, `systemctl isolate \
             multi-user.target`, and boot with nvidia_drm.modeset=0 where it is not needed"
        }
        "nvidia_peermem" | "nv_peer_mem" => {
            "network cards reach the GPU's memory through it: end what uses RDMA"
        }
        "nvidia_fs" => {
            "storage reaches the GPU's memory through it: end what uses GPUDirect Storage"
        }
        "gdrdrv" => "programs map the GPU's memory through it: end what uses GDRCopy",
        "nvidia_vgpu_vfio" => "virtual machines have parts of a GPU: shut them down",
        _ => return None,
    };
    Some(advice.to_owned())
}

/// How to give a GPU back to NVIDIA's driver.
pub(super) fn rebind(pci: PciAddress) -> String {
    let PciAddress { domain, bus, device } = pci;
    let address = format!("{domain:04x}:{bus:02x}:{device:02x}.0");
    format!("to have it back: `driverctl unset-override {address}`, or bind it by hand")
}

/// A path as the machine has it, wherever its root is.
pub(super) fn shown(root: &HostRoot, path: &Path) -> String {
    let below = path.strip_prefix(root.as_path()).unwrap_or(path);
    Path::new("/").join(below).display().to_string()
}

/// Why somebody may not have been seen.
pub(super) fn gaps(incomplete: &Incomplete) -> Option<String> {
    let hidden = match incomplete.unreadable.len() {
        0 if incomplete.hides_processes => String::from("processes of other users are hidden here"),
        0 => return None,
        1 => String::from("1 process of another user could not be looked into"),
        count => format!("{count} processes of other users could not be looked into"),
    };
    Some(format!("{hidden}: ask as root, or where migd runs as root"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn view(holds: &[HoldView]) -> HolderView {
        let mut view = super::super::holder(HoldView::Runs, String::new());
        view.holds = holds.to_vec();
        view.pid = Some(7);
        view.user = Some("kim".into());
        view
    }

    #[test]
    fn advice_asks_before_it_kills() {
        let plain = view(&[HoldView::Runs]);
        assert_eq!(advice(&plain, None), "ask kim, or `kill 7`");
        let session = HolderView { unit: Some("session-2.scope".into()), ..plain.clone() };
        assert_eq!(advice(&session, None), "ask kim, or `kill 7`");
        let service = HolderView { unit: Some("jupyter.service".into()), ..plain.clone() };
        assert_eq!(advice(&service, None), "`systemctl stop jupyter.service`");
        let container = |engine: &str| {
            let engine = Some(engine.to_owned());
            let container = Some(ContainerView { id: "0123456789ab".into(), engine });
            HolderView { container, ..service.clone() }
        };
        assert_eq!(advice(&container("podman"), None), "`podman stop 0123456789ab`");
        assert!(advice(&container("containerd"), None).contains("crictl stop"));
        let leased = HolderView { lease: Some(model::LeaseId::new(3)), ..container("docker") };
        assert!(advice(&leased, None).contains("`migctl release L3`"));
    }

    #[test]
    fn known_clients_are_named_and_told_by_what_they_are_for() {
        let unit = |unit: &str, command: &str| HolderView {
            unit: Some(unit.into()),
            command: Some(command.into()),
            ..view(&[HoldView::OpenGpu])
        };
        let dcgm = unit("nvidia-dcgm.service", "nv-hostengine");
        let found = client(&dcgm).unwrap();
        assert_eq!(found.name, "DCGM");
        assert!(advice(&dcgm, Some(found)).contains("`systemctl stop nvidia-dcgm.service`"));
        assert!(in_the_way(&dcgm.holds, true, Some(found)));
        let manager = unit("x.service", "nv-fabricmanage");
        let found = client(&manager).unwrap();
        assert!(!in_the_way(&manager.holds, false, Some(found)));
        assert!(advice(&manager, Some(found)).contains("leave it alone"));
    }

    #[test]
    fn who_only_looks_at_the_gpu_is_not_in_the_way_of_a_slice() {
        assert!(in_the_way(&[HoldView::OpenGpu], false, None));
        assert!(!in_the_way(&[HoldView::OpenGpu], true, None));
        assert!(!in_the_way(&[HoldView::OpenDriver], false, None));
        assert!(in_the_way(&[HoldView::OpenDriver, HoldView::OpenSlice], true, None));
    }

    #[test]
    fn engines_are_told_by_their_groups() {
        assert_eq!(engine_of("/docker/0123"), Some("docker"));
        assert_eq!(engine_of("/machine.slice/libpod-0123.scope"), Some("podman"));
        assert_eq!(engine_of("/kubepods/cri-containerd-0123.scope"), Some("containerd"));
        assert_eq!(engine_of("/kubepods/crio-0123.scope"), Some("cri-o"));
        assert_eq!(engine_of("/other/0123"), None);
    }

    #[test]
    fn modules_in_use_are_named_and_idle_ones_are_not() {
        let of = |name: &str, references| {
            module(&Module { name: name.into(), references, users: Vec::new() })
        };
        assert!(of("nvidia_drm", 2).unwrap().contains("multi-user.target"));
        assert_eq!(of("nvidia_drm", 0), None);
        assert_eq!(of("nvidia_uvm", 4), None);
        assert_eq!(of("ext4", 4), None);
    }

    #[test]
    fn gaps_are_said_and_none_is_nothing() {
        assert_eq!(gaps(&Incomplete::default()), None);
        let hidden = Incomplete { unreadable: vec![1, 2], hides_processes: false };
        assert!(gaps(&hidden).unwrap().starts_with("2 processes of other users"));
    }
}
