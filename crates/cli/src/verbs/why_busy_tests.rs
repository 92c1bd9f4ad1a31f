//! What can be asked about, and how holders are told.

use api::{ContainerView, HoldView};

use super::*;
use crate::draw::Glyphs;

fn holder(pid: u32) -> HolderView {
    HolderView {
        holds: vec![HoldView::Runs],
        how: vec!["runs on 1g.5gb (GPU instance 9)".into()],
        in_the_way: true,
        pid: Some(pid),
        user: Some("kim".into()),
        command: Some("python".into()),
        command_line: None,
        unit: None,
        container: None,
        lease: None,
        memory_mib: Some(2048),
        known_as: None,
        advice: "ask kim, or `kill 4711`".into(),
    }
}

fn busy(holders: Vec<HolderView>, unseen: &[&str]) -> String {
    let view = BusyView {
        what: "GPU 0 (NVIDIA A100)".into(),
        gpu: 0,
        gpu_instance: None,
        compute_instance: None,
        holders,
        unseen: unseen.iter().map(|gap| (*gap).to_owned()).collect(),
    };
    let text = lines(&[view], Page { width: 80, glyphs: Glyphs::Ascii }).join("\n");
    anstream::adapter::strip_str(&text).to_string()
}

#[test]
fn targets_are_understood_in_every_form() {
    let instance = |gpu_instance, compute_instance| Target::Instance {
        gpu: "0".into(),
        gpu_instance,
        compute_instance,
    };
    for (text, target) in [
        ("0", Target::Gpus("0".into())),
        ("00000000:07:00.0", Target::Gpus("00000000:07:00.0".into())),
        ("GPU-4f", Target::Gpus("GPU-4f".into())),
        ("07:00.0", Target::Gpus("07:00.0".into())),
        ("0:9", instance(9, None)),
        ("0:9:1", instance(9, Some(1))),
        ("0/9/1", instance(9, Some(1))),
        ("MIG-4F3e", Target::Uuid("mig-4f3e".into())),
        ("L7", Target::Lease(LeaseId::new(7))),
    ] {
        assert_eq!(Target::parse(text).unwrap(), target, "{text}");
    }
    assert_eq!(Target::parse("0/nine").unwrap_err().exit.code(), 3);
}

#[test]
fn holders_are_told_with_what_to_do() {
    let other = HolderView {
        holds: vec![HoldView::OpenDriver],
        how: vec!["has /dev/nvidiactl open (descriptor 3)".into()],
        in_the_way: false,
        command: Some("exporter".into()),
        command_line: Some("exporter --port 9100".into()),
        unit: Some("exporter.service".into()),
        container: Some(ContainerView { id: "0123456789ab".into(), engine: Some("podman".into()) }),
        memory_mib: None,
        advice: "`podman stop 0123456789ab`".into(),
        ..holder(4712)
    };
    assert_eq!(
        busy(vec![holder(4711), other], &["1 process of another user could not be looked into"]),
        "\
GPU 0 (NVIDIA A100) is held by 1; 1 more have the driver open
  pid 4711 python of kim, 2,048 MiB
    runs on 1g.5gb (GPU instance 9)
    -> ask kim, or `kill 4711`
  pid 4712 exporter of kim, exporter.service, podman container 0123456789ab
    has /dev/nvidiactl open (descriptor 3)
    runs as: exporter --port 9100
    -> not in the way; `podman stop 0123456789ab`
  not seen: 1 process of another user could not be looked into"
    );
}

#[test]
fn nobody_is_said_only_where_everybody_was_seen() {
    assert_eq!(busy(vec![], &[]), "nobody holds GPU 0 (NVIDIA A100)");
    assert!(busy(vec![], &["x"]).starts_with("nobody is seen to hold GPU 0"));
}

#[test]
fn names_cannot_speak_to_the_terminal() {
    let evil = HolderView { command: Some("a\u{1b}]0;x".into()), ..holder(1) };
    assert!(!busy(vec![evil], &[]).contains('\u{1b}'));
}
