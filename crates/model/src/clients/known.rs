//! The table of known clients: what each holds, and whether it may be stopped.
//!
//! Must never list a unit as one that may be stopped if the machine needs it to keep working.

use super::UnitName;

/// What a client keeps on a GPU while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// An NVML session and handles of MIG devices: in the way of mode changes, resets and (seen
    /// with DCGM) of destroying instances.
    Session,
    /// The driver's state of every GPU, as persistence mode does: in the way of resets alone.
    Persistence,
    /// A display or a graphics context: in the way of mode changes and resets.
    Display,
    /// The fabric between the GPUs: needed by them, not in their way.
    Fabric,
    /// CUDA contexts of its own: in the way of everything.
    Contexts,
}

/// Whether a client may be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopping {
    /// If the owner allows known clients to be stopped, or names it.
    IfAllowed,
    /// Only if the owner names it: others than its user depend on it.
    OnlyIfNamed,
    /// Never by migd.
    Never {
        /// Why.
        why: &'static str,
    },
}

/// A program that is known to hold GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownClient {
    /// What people call it.
    pub name: &'static str,
    /// Its units, with their kind; an entry that ends in `*` means every unit that begins so.
    pub units: &'static [&'static str],
    /// Names of its processes as `/proc/PID/comm` has them, 15 bytes at most.
    pub processes: &'static [&'static str],
    /// What it holds.
    pub holds: Holds,
    /// Whether it may be stopped.
    pub stopping: Stopping,
    /// What it is, and what to do about it, as a sentence.
    pub advice: &'static str,
}

const fn monitor(
    name: &'static str,
    units: &'static [&'static str],
    processes: &'static [&'static str],
    advice: &'static str,
) -> KnownClient {
    let (holds, stopping) = (Holds::Session, Stopping::IfAllowed);
    KnownClient { name, units, processes, holds, stopping, advice }
}

const DISPLAY: Stopping =
    Stopping::Never { why: "whoever sits at this machine would lose the session" };

/// Every client that is known. Order is that of stopping: who uses another comes before it.
pub const KNOWN_CLIENTS: &[KnownClient] = &[
    monitor(
        "dcgm-exporter",
        &["dcgm-exporter.service", "nvidia-dcgm-exporter.service"],
        &["dcgm-exporter"],
        "exports DCGM's figures to Prometheus; it must start again after a layout changed anyway, or it reports instances that are gone",
    ),
    monitor(
        "NVSM",
        &["nvsm.service", "nvsm-*"],
        &["nvsm_core", "nvsm"],
        "watches the health of a DGX; it asks NVML all the time",
    ),
    monitor(
        "DCGM",
        &["nvidia-dcgm.service", "dcgm.service", "nv-hostengine.service"],
        &["nv-hostengine"],
        "collects figures of the GPUs and watches their MIG devices; it must start again after a layout changed anyway",
    ),
    KnownClient {
        name: "nvidia-persistenced",
        units: &["nvidia-persistenced.service"],
        processes: &["nvidia-persiste"],
        holds: Holds::Persistence,
        stopping: Stopping::IfAllowed,
        advice: "keeps the driver's state of idle GPUs; migd turns persistence mode off on the one GPU that is reset and on again after, so it seldom needs to be stopped",
    },
    KnownClient {
        name: "kubelet",
        units: &["kubelet.service", "k3s.service", "k3s-agent.service", "rke2-agent.service"],
        processes: &["kubelet"],
        holds: Holds::Session,
        stopping: Stopping::OnlyIfNamed,
        advice: "older ones hold GPUs through cAdvisor; without it the node goes NotReady, so drain the node first",
    },
    KnownClient {
        name: "NVIDIA's device plugin",
        units: &[],
        processes: &["nvidia-device-p", "gpu-feature-dis", "gpu-kubelet-plu"],
        holds: Holds::Session,
        stopping: Stopping::Never { why: "it runs in a pod; move the pod off the node" },
        advice: "offers GPUs to Kubernetes; it must start again after a layout changed, or it offers devices that are gone",
    },
    KnownClient {
        name: "MPS",
        units: &["nvidia-cuda-mps.service", "nvidia-mps.service"],
        processes: &["nvidia-cuda-mps"],
        holds: Holds::Contexts,
        stopping: Stopping::OnlyIfNamed,
        advice: "shares a GPU between programs; `echo quit | nvidia-cuda-mps-control` ends it with them",
    },
    KnownClient {
        name: "Fabric Manager",
        units: &["nvidia-fabricmanager.service", "nvlsm.service"],
        processes: &["nv-fabricmanage", "nvlsm"],
        holds: Holds::Fabric,
        stopping: Stopping::Never {
            why: "GPUs on NVSwitches lose their links without it, and a reset of one needs it",
        },
        advice: "runs the NVSwitches; it is not in the way of anything",
    },
    KnownClient {
        name: "the display server",
        units: &[
            "display-manager.service",
            "gdm.service",
            "gdm3.service",
            "lightdm.service",
            "sddm.service",
            "xdm.service",
            "graphical.target",
        ],
        processes: &["Xorg", "Xwayland", "gnome-shell", "kwin_wayland"],
        holds: Holds::Display,
        stopping: DISPLAY,
        advice: "shows pictures with the GPU; log out and `systemctl isolate multi-user.target`, or give it another GPU",
    },
];

impl KnownClient {
    /// The known client that a unit is.
    pub fn of_unit(unit: &UnitName) -> Option<&'static Self> {
        KNOWN_CLIENTS.iter().find(|client| client.units.iter().any(|pattern| is(pattern, unit)))
    }
}

fn is(pattern: &str, unit: &UnitName) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => {
            unit.as_str().starts_with(beginning) && unit.as_str().ends_with(".service")
        }
        None => unit.as_str() == pattern,
    }
}

/// The known client that a process is, by its name in `/proc/PID/comm`, which the kernel cuts to 15
/// bytes.
pub fn known_client_of_process(comm: &str) -> Option<&'static KnownClient> {
    KNOWN_CLIENTS.iter().find(|client| client.processes.contains(&comm))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_well_formed() {
        for client in KNOWN_CLIENTS {
            for unit in client.units {
                let plain = unit.strip_suffix('*').unwrap_or(unit);
                assert!(plain == "nvsm-" || plain.parse::<UnitName>().unwrap().as_str() == plain);
            }
            for process in client.processes {
                assert!(process.len() <= 15, "{process} is never seen in /proc");
                assert_eq!(known_client_of_process(process), Some(client), "{process}");
            }
            assert!(!client.advice.is_empty() && !client.advice.ends_with('.'));
        }
    }

    #[test]
    fn units_are_known_by_name_and_by_their_beginning() {
        let of = |name: &str| KnownClient::of_unit(&name.parse().unwrap()).map(|known| known.name);
        assert_eq!(of("nvsm-api-gateway"), Some("NVSM"));
        assert_eq!(of("nvidia-dcgm"), Some("DCGM"));
        assert_eq!(of("nvsm-x.timer"), None);
        assert_eq!(of("sshd"), None);
    }
}
