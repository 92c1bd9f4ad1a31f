//! Each check of the driver and the GPUs, well and ill.

use api::{FindingView, Severity};

use super::super::gather::tests::{gpu, machine};
use super::*;

const RESET: &str = "sys/bus/pci/devices/0000:07:00.0/reset";

fn of(findings: &[FindingView], id: &str) -> (Severity, String) {
    let found = findings.iter().find(|finding| finding.id == id);
    let found = found.unwrap_or_else(|| panic!("no {id} in {findings:?}"));
    let text = format!("{} {}", found.evidence, found.mend.as_deref().unwrap_or(""));
    (found.severity, text)
}

fn severity(findings: &[FindingView], id: &str) -> Severity {
    of(findings, id).0
}

#[test]
fn a_machine_in_order_has_nothing_above_info() {
    let (_folder, evidence) = machine(&[(RESET, "")], vec![gpu("a100-sxm4-40gb")]);
    let findings = all(&evidence);
    for id in [
        "driver-loaded",
        "driver-version",
        "cuda-version",
        "mig-capable",
        "mig-mode",
        "persistence",
        "reset",
    ] {
        assert_eq!(severity(&findings, id), Fine, "{id}: {findings:?}");
    }
    assert_eq!(findings.len(), 7, "{findings:?}");
}

#[test]
fn without_a_driver_that_is_the_finding() {
    let (_folder, mut evidence) = machine(&[], vec![]);
    evidence.driver = Err("no library".into());
    let findings = all(&evidence);
    assert_eq!(severity(&findings, "driver-loaded"), Error);
    assert!(of(&findings, "driver-loaded").1.contains("modprobe"));
}

#[test]
fn each_board_has_its_own_first_driver() {
    let told = |board: &str, version: &str| {
        let (_folder, mut evidence) = machine(&[], vec![gpu(board)]);
        evidence.driver.as_mut().unwrap().versions.driver = version.into();
        of(&all(&evidence), "driver-version")
    };
    assert_eq!(told("a100-sxm4-40gb", "450.80.02").0, Fine);
    assert_eq!(told("a100-sxm4-40gb", "450.51.06").0, Error);
    assert_eq!(told("h100-sxm5-80gb", "525.85.12").0, Fine);
    let (severity, words) = told("h100-sxm5-80gb", "525.60.13");
    assert_eq!(severity, Error);
    assert!(words.contains("525.85.12"), "{words}");
    assert_eq!(first_of("R595 (JetPack 7.2)"), "595");
}

#[test]
fn cuda_before_11_is_too_old() {
    let told = |cuda| {
        let (_folder, mut evidence) = machine(&[], vec![gpu("a100-sxm4-40gb")]);
        evidence.driver.as_mut().unwrap().versions.cuda = cuda;
        severity(&all(&evidence), "cuda-version")
    };
    assert_eq!([told(Some(11_000)), told(Some(10_020)), told(None)], [Fine, Error, Info]);
}

#[test]
fn machines_without_mig_are_told() {
    let none = |gpus| severity(&all(&machine(&[], gpus).1), "mig-capable");
    let mut plain = gpu("a100-sxm4-40gb");
    plain.seen.mig = MigState::Unsupported;
    assert_eq!(none(vec![]), Error);
    assert_eq!(none(vec![plain.clone()]), Warn);
    assert_eq!(none(vec![plain, gpu("a100-sxm4-40gb")]), Info);
}

#[test]
fn a_pending_mode_is_a_warning_with_the_way_out() {
    let mut pending = gpu("a100-sxm4-40gb");
    pending.seen.mig =
        MigState::Supported { current: MigMode::Disabled, pending: MigMode::Enabled };
    let (_folder, evidence) = machine(&[(RESET, "")], vec![pending.clone()]);
    let (severity, words) = of(&all(&evidence), "mig-mode");
    assert_eq!(severity, Warn);
    assert!(words.contains("--gpu-reset -i 0"), "{words}");
    let (_folder, evidence) = machine(&[], vec![pending]);
    assert!(of(&all(&evidence), "mig-mode").1.contains("reboot"));
}

#[test]
fn persistence_matters_more_where_mig_mode_goes_with_the_driver() {
    let told = |board: &str| {
        let mut gpu = gpu(board);
        gpu.extras.persistence = Some(false);
        severity(&all(&machine(&[], vec![gpu]).1), "persistence")
    };
    assert_eq!(told("a100-sxm4-40gb"), Info);
    assert_eq!(told("h100-sxm5-80gb"), Warn);
}

#[test]
fn a_missing_reset_matters_where_mode_changes_need_one() {
    let told = |board: &str| severity(&all(&machine(&[], vec![gpu(board)]).1), "reset");
    assert_eq!(told("a100-sxm4-40gb"), Warn);
    assert_eq!(told("h100-sxm5-80gb"), Info);
}

#[test]
fn ill_gpus_and_virtual_ones_are_told() {
    let mut ill = gpu("a100-sxm4-40gb");
    ill.seen.health = Health::ResetRequired;
    assert_eq!(severity(&all(&machine(&[], vec![ill]).1), "gpu-health"), Error);
    let mut guest = gpu("a100-sxm4-40gb");
    guest.virtualization = Some(Virtualization::Passthrough);
    assert_eq!(severity(&all(&machine(&[], vec![guest]).1), "virtual"), Warn);
    let mut guest = gpu("h100-sxm5-80gb");
    guest.virtualization = Some(Virtualization::Passthrough);
    let (_folder, evidence) = machine(&[("sys/class/dmi/id/sys_vendor", "QEMU\n")], vec![guest]);
    assert!(all(&evidence).iter().filter(|finding| finding.id == "virtual").count() <= 1);
    let plain = vec![gpu("h100-sxm5-80gb")];
    let (_folder, evidence) = machine(&[("sys/class/dmi/id/sys_vendor", "QEMU\n")], plain);
    assert_eq!(severity(&all(&evidence), "virtual"), Info);
}

#[test]
fn gpus_that_others_have_are_found_on_the_bus() {
    let at = |driver: Option<&str>, vgpus: &str| {
        let base = "sys/bus/pci/devices/0000:0f:00.0";
        let files = [
            (format!("{base}/vendor"), "0x10de\n"),
            (format!("{base}/class"), "0x030200\n"),
            (format!("{base}/sriov_numvfs"), vgpus),
        ];
        let files: Vec<(&str, &str)> =
            files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        let (folder, evidence) = machine(&files, vec![gpu("a100-sxm4-40gb")]);
        if let Some(driver) = driver {
            let link = folder.path().join(base).join("driver");
            std::os::unix::fs::symlink(format!("../../drivers/{driver}"), link).unwrap();
        }
        others_gpus(&evidence.tree)
    };
    assert_eq!(at(Some("nvidia"), "0\n"), []);
    assert_eq!(severity(&at(Some("vfio-pci"), "0\n"), "passthrough"), Info);
    assert_eq!(severity(&at(Some("nouveau"), "0\n"), "passthrough"), Warn);
    assert_eq!(severity(&at(None, "0\n"), "passthrough"), Warn);
    assert_eq!(severity(&at(Some("nvidia"), "4\n"), "vgpu"), Warn);
}
