//! Each check of the software, well and ill.

use api::Severity;

use super::super::gather::tests::machine;
use super::*;

fn check(files: &[(&str, &str)], id: &str) -> (Severity, String) {
    let (_folder, evidence) = machine(files, vec![]);
    of(&all(&evidence), id)
}

fn of(findings: &[FindingView], id: &str) -> (Severity, String) {
    let found = findings.iter().find(|finding| finding.id == id);
    let found = found.unwrap_or_else(|| panic!("no {id} in {findings:?}"));
    (found.severity, found.evidence.clone())
}

fn package(name: &str, version: &str) -> String {
    format!("Package: {name}\nStatus: install ok installed\nVersion: {version}\n\n")
}

#[test]
fn distributions_are_known_by_themselves_or_by_what_they_are_like() {
    let told = |text: &str| check(&[("etc/os-release", text)], "distribution").0;
    assert_eq!(told("ID=ubuntu\nVERSION_ID=\"22.04\"\n"), Fine);
    assert_eq!(told("ID=ubuntu\nVERSION_ID=\"18.04\"\n"), Warn);
    assert_eq!(told("ID=mint\nID_LIKE=\"ubuntu debian\"\nVERSION_ID=\"22\"\n"), Fine);
    assert_eq!(told("ID=gentoo\n"), Info);
    assert_eq!(check(&[], "distribution").0, Info);
}

#[test]
fn the_toolkit_is_judged_by_what_it_can() {
    let told = |name: &str, version: &str| {
        let status = package(name, version);
        check(&[("var/lib/dpkg/status", &status)], "container-toolkit").0
    };
    assert_eq!(told("nvidia-container-toolkit", "1.17.4-1"), Fine);
    assert_eq!(told("nvidia-container-toolkit-base", "1.12.0"), Fine);
    assert_eq!(told("nvidia-container-toolkit", "1.9.0-1"), Warn);
    assert_eq!(told("nvidia-docker2", "2.6.0-1"), Info);
    assert_eq!(told("nvidia-docker2", "2.4.0-1"), Warn);
    let without = check(&[("usr/bin/docker", "")], "container-toolkit");
    assert_eq!(without.0, Info);
    assert_eq!(check(&[], "container-toolkit").0, Fine);
}

#[test]
fn the_toolkits_own_word_goes_before_packages() {
    let status = package("nvidia-container-toolkit", "1.9.0");
    let (_folder, mut evidence) = machine(&[("var/lib/dpkg/status", &status)], vec![]);
    evidence.toolkit = Some("NVIDIA Container Toolkit CLI version 1.18.0\ncommit: abc\n".into());
    let (severity, words) = of(&all(&evidence), "container-toolkit");
    assert_eq!(severity, Fine);
    assert!(words.contains("1.18.0"), "{words}");
}

fn pod(image: &str) -> (String, String) {
    let path = "run/containerd/io.containerd.runtime.v2.task/k8s.io/abc/config.json";
    let text = format!(r#"{{"annotations":{{"io.kubernetes.cri.image-name":"{image}"}}}}"#);
    (path.to_owned(), text)
}

#[test]
fn software_of_kubernetes_is_judged_by_its_image() {
    let told = |image: &str, id: &str| {
        let (path, text) = pod(image);
        check(&[(&path, &text)], id).0
    };
    assert_eq!(told("nvcr.io/nvidia/k8s-device-plugin:v0.17.0", "device-plugin"), Fine);
    assert_eq!(told("nvcr.io/nvidia/k8s-device-plugin:v0.6.0", "device-plugin"), Warn);
    assert_eq!(told("nvcr.io/nvidia/k8s-device-plugin:latest", "device-plugin"), Info);
    assert_eq!(told("nvcr.io/nvidia/gpu-feature-discovery:v0.1.0", "feature-discovery"), Warn);
    assert_eq!(told("nvcr.io/nvidia/gpu-feature-discovery:v0.8.2", "feature-discovery"), Fine);
}

#[test]
fn rivals_are_found_by_unit_image_and_program() {
    assert_eq!(check(&[], "rivals").0, Fine);
    let unit = "etc/systemd/system/multi-user.target.wants/nvidia-mig-manager.service";
    let (severity, words) = check(&[(unit, "")], "rivals");
    assert_eq!(severity, Warn);
    assert!(words.contains("nvidia-mig-manager"), "{words}");
    for (image, name) in [
        ("registry/k8s-dra-driver-gpu:v25", "DRA"),
        ("projecthami/hami:v2.10", "HAMi"),
        ("gpustack/gpustack-operator:0.8", "GPUStack"),
        ("nvcr.io/nvidia/k8s-device-plugin:v0.17.0", "device plugin"),
        ("nvcr.io/nvidia/cloud-native/k8s-mig-manager:v0.12", "mig-manager"),
    ] {
        let (path, text) = pod(image);
        let (severity, words) = check(&[(&path, &text)], "rivals");
        assert_eq!(severity, Warn, "{image}");
        assert!(words.contains(name), "{image}: {words}");
    }
    assert_eq!(check(&[("proc/9/comm", "gpu-kubelet-plu\n")], "rivals").0, Warn);
}

#[test]
fn rights_are_those_of_the_caller() {
    let with = |bits: &str, uid: u32, simulated: bool| {
        let status = format!("CapEff:\t{bits}\n");
        let (_folder, mut evidence) = machine(&[("proc/self/status", &status)], vec![]);
        evidence.uid = uid;
        evidence.simulated = simulated.then(|| "dgx-a100".into());
        of(&all(&evidence), "rights").0
    };
    assert_eq!(with("000001ffffffffff", 0, false), Fine);
    assert_eq!(with("00000000a80425fb", 0, false), Warn);
    assert_eq!(with("0000000000000000", 1000, false), Info);
    assert_eq!(with("0000000000000000", 1000, true), Fine);
}

#[test]
fn control_groups_decide_who_is_kept_apart() {
    let v1 = "35 30 0:30 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices\n";
    let v2 = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    let told = |text: &str| check(&[("proc/self/mountinfo", text)], "control-groups").0;
    assert_eq!([told(v1), told(v2), told("")], [Fine, Info, Warn]);
}

#[test]
fn a_private_view_needs_namespaces_and_bubblewrap() {
    let told = |files: &[(&str, &str)]| check(files, "user-namespaces");
    assert_eq!(told(&[("usr/bin/bwrap", "")]).0, Fine);
    assert!(told(&[]).1.contains("bubblewrap"));
    for (switch, value, why) in [
        ("proc/sys/user/max_user_namespaces", "0\n", "max_user_namespaces"),
        ("proc/sys/kernel/unprivileged_userns_clone", "0\n", "userns_clone"),
        ("proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n", "AppArmor"),
    ] {
        let (severity, words) = told(&[("usr/bin/bwrap", ""), (switch, value)]);
        assert_eq!(severity, Info);
        assert!(words.contains(why), "{words}");
    }
}
