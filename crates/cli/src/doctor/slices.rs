//! The slices: instances nobody can use, who may open them, specifications for containers, and
//! programs that hold GPUs without working on them.
//!
//! Must never call a slice idle because its processes cannot be seen.

use std::collections::BTreeSet;
use std::path::Path;

use api::Severity::{Info, Ok as Fine, Warn};
use host::{HostRoot, access, preflight};
use model::clients::{Stopping, known_client_of_process};

use super::gather::{Driver, Evidence};
use super::{Findings, More as _, finding};

pub(super) fn all(evidence: &Evidence) -> Findings {
    let mut findings = Findings::new();
    if let Ok(driver) = &evidence.driver {
        findings.extend(without_compute(driver));
        if let Some(system) = &evidence.system {
            findings.extend(stale_cdi(system, &evidence.tree, &slices_of(driver)));
        }
    }
    findings.extend(open_nodes(&evidence.tree));
    findings.extend(evidence.system.as_ref().map(holders));
    findings
}

/// GPU instances without a compute instance: they take room, and nobody can use them.
fn without_compute(driver: &Driver) -> Findings {
    let mut findings = Findings::new();
    for gpu in &driver.gpus {
        let index = gpu.seen.index.get();
        let empty = gpu.seen.instances.iter().filter(|one| one.compute_instances.is_empty());
        for instance in empty {
            let id = instance.id;
            let words = format!(
                "GPU instance {id} of GPU {index} has no compute instance: nobody can use it"
            );
            let profile = gpu.seen.geometry.as_deref();
            let profile = profile.and_then(|geometry| geometry.profile(instance.profile));
            let slices = profile.map_or(1, |profile| profile.name.slices);
            let mend = format!(
                "`migctl create --in {index}:{id} {slices}c` gives it one, `migctl destroy {index}:{id}` \
                 frees the room"
            );
            findings.push(finding("gi-without-ci", Warn, words).mend(mend).on(index));
        }
    }
    if findings.is_empty() {
        findings.push(finding("gi-without-ci", Fine, "every GPU instance has a compute instance"));
    }
    findings
}

/// UUIDs of the slices there are, in lower case.
fn slices_of(driver: &Driver) -> BTreeSet<String> {
    let instances = driver.gpus.iter().flat_map(|gpu| &gpu.seen.instances);
    let parts = instances.flat_map(|instance| &instance.compute_instances);
    parts.filter_map(|part| Some(part.uuid.as_ref()?.as_str().to_ascii_lowercase())).collect()
}

/// Specifications that name nodes or slices which do not exist: containers that ask for them fail.
fn stale_cdi(system: &HostRoot, tree: &HostRoot, slices: &BTreeSet<String>) -> Findings {
    let specs = preflight::cdi_specs(system);
    if specs.is_empty() {
        return vec![finding("cdi", Info, "no CDI specification names NVIDIA's devices")];
    }
    let mut findings = Findings::new();
    for spec in specs {
        let gone = |node: &&Path| !tree.resolve(node).exists();
        let nodes = spec.nodes.iter().map(AsRef::as_ref).filter(gone);
        let nodes = nodes.map(|node| node.display().to_string());
        let uuids = spec.slices.iter().filter(|uuid| !slices.contains(&uuid.to_ascii_lowercase()));
        let missing: Vec<String> = nodes.chain(uuids.cloned()).collect();
        let Some(first) = missing.first() else { continue };
        let path = spec.path.display();
        let more = match missing.len() {
            1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        findings.push(
            finding("cdi", Warn, format!("{path} names {first}{more}, which do not exist")).mend(
                format!("`nvidia-ctk cdi generate --output={path}`, after every change of layout"),
            ),
        );
    }
    if findings.is_empty() {
        findings.push(finding("cdi", Fine, "CDI specifications name what is there"));
    }
    findings
}

/// Nodes of instances that everybody may open, as the driver makes them.
fn open_nodes(tree: &HostRoot) -> Findings {
    const OTHERS: u32 = 0o006;
    let surveyed = match access::survey(tree) {
        Ok(surveyed) => surveyed,
        Err(error) => {
            let words = format!("who may open the slices cannot be told: {error}");
            return vec![finding("open-nodes", Info, words)];
        }
    };
    let is_open = |one: &&access::Surveyed| one.node.is_some_and(|node| node.mode & OTHERS != 0);
    let open = surveyed.iter().filter(is_open).count();
    let words = match (open, surveyed.len()) {
        (_, 0) => return vec![finding("open-nodes", Fine, "there are no slices")],
        (0, all) => {
            return vec![finding(
                "open-nodes",
                Fine,
                format!("none of {all} nodes of slices is open to everybody"),
            )];
        }
        (open, all) => {
            format!("every user of this machine may open {open} of {all} nodes of slices")
        }
    };
    vec![finding("open-nodes", Warn, words).mend(
        "`migctl daemon --enforce on` (or access.enforce = \"on\"); `migctl access show` lists them",
    )]
}

/// Programs that are known to hold GPUs, and run.
fn holders(system: &HostRoot) -> api::FindingView {
    let running = preflight::programs(system);
    let known: BTreeSet<&'static str> = running
        .iter()
        .filter_map(|name| known_client_of_process(name))
        .filter(|client| !matches!(client.holds, model::clients::Holds::Fabric))
        .map(|client| client.name)
        .collect();
    if known.is_empty() {
        return finding("holders", Fine, "no program runs that is known to hold GPUs");
    }
    let stoppable = running.iter().filter_map(|name| known_client_of_process(name));
    let stoppable = stoppable.filter(|client| client.stopping == Stopping::IfAllowed).count();
    let names: Vec<&str> = known.into_iter().collect();
    let words = format!("these hold GPUs while they run: {}", names.join(", "));
    let found = finding("holders", Info, words);
    if stoppable == 0 {
        return found;
    }
    found.mend("they are in the way of mode changes and resets: `migctl why-busy` says what to do")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use model::{
        ComputeInstance, ComputeInstanceId, ComputeInstanceProfileId, GpuInstance, GpuInstanceId,
        GpuInstanceProfileId, MigUuid, Placement,
    };

    use super::super::gather::tests::{gpu, machine};
    use super::*;

    const UUID: &str = "MIG-4f3e1c7a-0123-5678-9abc-def012345678";

    fn with_instance(parts: u32) -> super::super::gather::Gpu {
        let mut gpu = gpu("a100-sxm4-40gb");
        let part = |id| ComputeInstance {
            id: ComputeInstanceId::new(id),
            profile: ComputeInstanceProfileId::new(0),
            placement: Placement::new(0, 1),
            uuid: Some(MigUuid::new(UUID)),
            processes: Vec::new(),
        };
        gpu.seen.instances.push(GpuInstance {
            id: GpuInstanceId::new(1),
            profile: GpuInstanceProfileId::new(9),
            placement: Placement::new(4, 4),
            compute_instances: (0..parts).map(part).collect(),
        });
        gpu
    }

    fn severity(findings: &[api::FindingView], id: &str) -> api::Severity {
        findings.iter().find(|finding| finding.id == id).unwrap().severity
    }

    #[test]
    fn an_instance_that_nobody_can_use_is_a_warning() {
        let told = |parts| {
            let (_folder, evidence) = machine(&[], vec![with_instance(parts)]);
            let findings = all(&evidence);
            let found = findings.iter().find(|one| one.id == "gi-without-ci").unwrap();
            (found.severity, found.mend.clone())
        };
        assert_eq!(told(1), (Fine, None));
        let (severity, mend) = told(0);
        assert_eq!(severity, Warn);
        assert!(mend.unwrap().contains("`migctl create --in 0:1 3c`"));
    }

    #[test]
    fn specifications_are_stale_where_their_nodes_or_slices_are_gone() {
        let spec = |text: &str, more: &[(&str, &str)]| {
            let files = [&[("etc/cdi/nvidia.yaml", text)], more].concat();
            let (_folder, evidence) = machine(&files, vec![with_instance(1)]);
            severity(&all(&evidence), "cdi")
        };
        let node = "path: /dev/nvidia-caps/nvidia-cap12\n";
        assert_eq!(spec(node, &[]), Warn);
        assert_eq!(spec(node, &[("dev/nvidia-caps/nvidia-cap12", "")]), Fine);
        assert_eq!(spec(&format!("name: {UUID}\n"), &[]), Fine);
        assert_eq!(spec(&format!("name: {}\n", UUID.replace('4', "5")), &[]), Warn);
        assert_eq!(spec("nothing of ours", &[]), Info);
    }

    #[test]
    fn nodes_that_are_open_to_everybody_are_a_warning() {
        let told = |mode: u32| {
            let access = "DeviceFileMinor: 12\nDeviceFileMode: 292\nDeviceFileModify: 1\n";
            let (folder, evidence) = machine(
                &[
                    ("proc/driver/nvidia/capabilities/gpu0/mig/gi1/access", access),
                    ("dev/nvidia-caps/nvidia-cap12", ""),
                ],
                vec![],
            );
            let node = folder.path().join("dev/nvidia-caps/nvidia-cap12");
            std::fs::set_permissions(node, std::fs::Permissions::from_mode(mode)).unwrap();
            severity(&all(&evidence), "open-nodes")
        };
        assert_eq!([told(0o444), told(0o400), told(0)], [Warn, Fine, Fine]);
        let (_folder, evidence) = machine(&[], vec![]);
        assert_eq!(severity(&all(&evidence), "open-nodes"), Fine);
    }

    #[test]
    fn programs_that_hold_gpus_are_named() {
        let told = |name: &str| {
            let text = format!("{name}\n");
            let (_folder, evidence) = machine(&[("proc/7/comm", text.as_str())], vec![]);
            let findings = all(&evidence);
            let found = findings.into_iter().find(|one| one.id == "holders").unwrap();
            (found.severity, found.evidence)
        };
        assert_eq!(told("bash").0, Fine);
        assert_eq!(told("nv-fabricmanage").0, Fine);
        let (severity, words) = told("nv-hostengine");
        assert_eq!(severity, Info);
        assert!(words.contains("DCGM"), "{words}");
    }
}
