//! The software around the GPUs: distribution, container toolkit, Kubernetes, rivals, and what the
//! kernel lets migd do.
//!
//! Must never take a package that cannot be seen for one that is missing.

use std::collections::BTreeSet;

use api::FindingView;
use api::Severity::{Info, Ok as Fine, Warn};
use host::{HostRoot, preflight};

use super::gather::Evidence;
use super::{Findings, More as _, finding, version};

pub(super) fn all(evidence: &Evidence) -> Findings {
    let mut findings = Findings::new();
    if let Some(system) = &evidence.system {
        findings.push(distribution(system));
        findings.push(toolkit(system, evidence.toolkit.as_deref()));
        let images = preflight::images(system);
        findings.extend(kubernetes(&images));
        findings.push(rivals(system, &images));
    }
    findings.push(rights(evidence));
    findings.push(control_groups(&evidence.own));
    findings.push(namespaces(&evidence.own));
    findings
}

/// Distributions that NVIDIA's driver and CUDA name as supported, with their first version.
const DISTRIBUTIONS: [(&str, &str); 13] = [
    ("ubuntu", "20.04"),
    ("debian", "11"),
    ("rhel", "8"),
    ("rocky", "8"),
    ("almalinux", "8"),
    ("ol", "8"),
    ("centos", "8"),
    ("fedora", "39"),
    ("sles", "15"),
    ("opensuse-leap", "15"),
    ("amzn", "2023"),
    ("azurelinux", "3"),
    ("kylin", "10"),
];

fn distribution(system: &HostRoot) -> FindingView {
    let Some(found) = preflight::distribution(system) else {
        return finding("distribution", Info, "the machine does not say which distribution it is");
    };
    let known = |id: &str| DISTRIBUTIONS.iter().find(|(name, _)| *name == id);
    let first = known(&found.id).or_else(|| found.like.iter().find_map(|id| known(id)));
    let own = found.version.as_deref().map(version);
    match (first, own) {
        (Some((_, first)), Some(own)) if own < version(first) => finding(
            "distribution",
            Warn,
            format!("{} is older than what NVIDIA supports ({first})", found.name),
        )
        .mend("upgrade the distribution before the driver"),
        (Some(_), _) => finding("distribution", Fine, format!("{} is supported", found.name)),
        (None, _) => finding(
            "distribution",
            Info,
            format!("{} is not among the distributions that NVIDIA names", found.name),
        ),
    }
}

/// The first toolkit whose nvidia-ctk writes CDI specifications, and the first nvidia-docker2 with
/// MIG.
const TOOLKIT_CDI: &str = "1.12.0";
const DOCKER2: &str = "2.5.0";

fn toolkit(system: &HostRoot, told: Option<&str>) -> FindingView {
    const ID: &str = "container-toolkit";
    let package = ["nvidia-container-toolkit-base", "nvidia-container-toolkit"];
    let word = |text: &str| {
        let mut words = text.split_whitespace();
        words.find(|word| version(word).len() > 1).map(str::to_owned)
    };
    let new = package.iter().find_map(|name| preflight::debian_package(system, name));
    let new = told.and_then(word).or(new);
    let old = preflight::debian_package(system, "nvidia-docker2");
    let engine =
        preflight::installed(system, &["docker", "podman", "containerd", "crio", "nerdctl"]);
    let install = "install nvidia-container-toolkit, then `nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`";
    match (new, old, engine) {
        (Some(found), _, _) if version(&found) >= version(TOOLKIT_CDI) => finding(
            ID,
            Fine,
            format!("NVIDIA Container Toolkit {found}; {TOOLKIT_CDI} is needed for CDI"),
        ),
        (_, Some(found), _) if version(&found) >= version(DOCKER2) => {
            finding(ID, Info, format!("nvidia-docker2 {found} knows MIG, but not CDI"))
                .mend(install)
        }
        (Some(found), _, _) => finding(
            ID,
            Warn,
            format!("NVIDIA Container Toolkit {found} is older than {TOOLKIT_CDI}: no CDI"),
        )
        .mend(install),
        (None, Some(found), _) => {
            finding(ID, Warn, format!("nvidia-docker2 {found} is older than {DOCKER2}: no MIG"))
                .mend(install)
        }
        (None, None, Some(engine)) => finding(
            ID,
            Info,
            format!(
                "{engine} is here without NVIDIA's toolkit; migd's own CDI names work without it"
            ),
        )
        .mend(install),
        (None, None, None) => finding(ID, Fine, "no container engine is here"),
    }
}

/// Software of NVIDIA's for Kubernetes, by a part of its image, and the first version that knows MIG.
const KUBERNETES: [(&str, &str, &str, &str); 2] = [
    ("device-plugin", "k8s-device-plugin", "NVIDIA's device plugin", "0.7.0"),
    ("feature-discovery", "gpu-feature-discovery", "GPU Feature Discovery", "0.2.0"),
];

fn kubernetes(images: &BTreeSet<String>) -> Findings {
    let mut findings = Findings::new();
    for (id, part, name, first) in KUBERNETES {
        for image in images.iter().filter(|image| image.contains(part)) {
            let tag = image.rsplit_once(':').map_or("", |(_, tag)| tag);
            let found = version(tag);
            findings.push(if found.is_empty() {
                finding(id, Info, format!("{name} runs; its version is not told ({image})"))
            } else if found < version(first) {
                finding(id, Warn, format!("{name} {tag} does not know MIG; {first} does"))
                    .mend(format!("upgrade it to {first} or newer"))
            } else {
                finding(id, Fine, format!("{name} {tag}; {first} is needed"))
            });
        }
    }
    findings
}

/// Others that cut GPUs, and what they do: by a part of their image, their unit or their program.
const RIVALS: [(&str, &str, &str, &str, &str); 9] = [
    (
        "nvidia-mig-manager",
        "k8s-mig-manager",
        "nvidia-mig-manager.service",
        "",
        "sets the layout of every boot and clears GPUs for any difference",
    ),
    (
        "NVIDIA's DRA driver",
        "dra-driver",
        "",
        "gpu-kubelet-plu",
        "destroys every slice that is not in its records when it starts",
    ),
    ("HAMi", "hami", "", "", "resets GPUs that look idle when it starts, in its MIG mode"),
    (
        "GPUStack",
        "gpustack",
        "",
        "",
        "takes instances that it did not make for orphans and destroys them",
    ),
    ("InstaSlice", "instaslice", "", "", "cuts GPUs for pods"),
    ("TensorFusion", "tensor-fusion", "", "", "cuts GPUs for pods"),
    ("nos", "nebuly-nos", "", "", "deletes and recreates idle slices"),
    ("Volcano's vGPU plugin", "volcano-vgpu", "", "", "cuts GPUs for pods"),
    (
        "NVIDIA's device plugin",
        "k8s-device-plugin",
        "",
        "nvidia-device-p",
        "offers the slices it saw at its start to pods, also those that migd lends",
    ),
];

fn rivals(system: &HostRoot, images: &BTreeSet<String>) -> FindingView {
    let units = preflight::enabled_units(system);
    let programs = preflight::programs(system);
    let mut found = Vec::new();
    for (name, image, unit, program, does) in RIVALS {
        let by_image = images.iter().any(|one| one.contains(image));
        let by_unit = !unit.is_empty() && units.contains(unit);
        let by_program = !program.is_empty() && programs.contains(program);
        if by_image || by_unit || by_program {
            found.push(format!("{name} ({does})"));
        }
    }
    if found.is_empty() {
        return finding("rivals", Fine, "nobody else manages the slices of this machine");
    }
    let mend = "let one of them own the GPUs: `systemctl disable --now nvidia-mig-manager`, or take this \
                node out of the other's reach; `migctl gpu cordon` keeps migd off a GPU";
    finding("rivals", Warn, format!("others manage GPUs here, too: {}", found.join("; ")))
        .mend(mend)
}

/// CAP_SYS_ADMIN: what the driver asks of whoever changes a layout.
const SYS_ADMIN: u64 = 1 << 21;

fn rights(evidence: &Evidence) -> FindingView {
    let bits = preflight::capabilities(&evidence.own);
    let admin = bits.is_none_or(|bits| bits & SYS_ADMIN != 0);
    match (evidence.simulated.is_some(), evidence.uid, admin) {
        (true, _, _) => finding("rights", Fine, "a simulated machine asks for no rights"),
        (false, 0, true) => finding("rights", Fine, "root, with the right to change layouts"),
        (false, 0, false) => finding(
            "rights",
            Warn,
            "root without CAP_SYS_ADMIN: the driver refuses changes of layout",
        )
        .mend("give this container or unit CAP_SYS_ADMIN, or run it outside"),
        (false, _, _) => finding(
            "rights",
            Info,
            "an ordinary user: changes of layout are the daemon's, or root's",
        ),
    }
}

fn control_groups(own: &HostRoot) -> FindingView {
    const ID: &str = "control-groups";
    match preflight::control_groups(own) {
        None => finding(ID, Info, "how control groups are mounted cannot be read"),
        Some(found) if found.devices => {
            finding(ID, Fine, "the devices controller is here: commands of one user are kept apart")
        }
        Some(found) if found.unified => finding(
            ID,
            Info,
            "control groups are version 2 alone: users are kept apart, but not two commands of one user",
        )
        .mend("docs/threat-model.md says what that means"),
        Some(_) => finding(ID, Warn, "no control groups are mounted: leases cannot follow containers")
            .mend("mount cgroup2 at /sys/fs/cgroup"),
    }
}

fn namespaces(own: &HostRoot) -> FindingView {
    const ID: &str = "user-namespaces";
    let found = preflight::user_namespaces(own);
    let refused = match (found.most, found.allowed, found.restricted) {
        (Some(0), _, _) => {
            Some(("user.max_user_namespaces is 0", "`sysctl -w user.max_user_namespaces=15000`"))
        }
        (_, Some(false), _) => Some((
            "kernel.unprivileged_userns_clone is 0",
            "`sysctl -w kernel.unprivileged_userns_clone=1`",
        )),
        (_, _, Some(true)) => Some((
            "AppArmor takes rights away in user namespaces",
            "an AppArmor profile for bwrap with `userns,`, or `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`",
        )),
        (_, _, _) => None,
    };
    if let Some((why, mend)) = refused {
        let words = format!("`run --private` does not work for ordinary users: {why}");
        return finding(ID, Info, words).mend(mend);
    }
    if preflight::installed(own, &["bwrap"]).is_none() {
        return finding(ID, Info, "`run --private` needs bubblewrap, which is not here")
            .mend("install the package bubblewrap");
    }
    finding(ID, Fine, "`run --private` works")
}

#[cfg(test)]
#[path = "software_tests.rs"]
mod tests;
