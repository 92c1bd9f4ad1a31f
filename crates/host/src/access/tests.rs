use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use model::{ComputeInstanceId, GpuInstanceId};
use tempfile::TempDir;

use super::*;
use crate::nodes::Access;

const NOBODY: Uid = Uid::new(65534);

fn me() -> Uid {
    Uid::new(rustix::process::geteuid().as_raw())
}

fn is_root(test: &str) -> bool {
    let root = me().get() == 0;
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(root || !ci, "{test} must run in CI, as root");
    root
}

fn gi(gpu: u32, instance: u32) -> InstancePath {
    InstancePath {
        gpu: GpuMinor::new(gpu),
        gpu_instance: GpuInstanceId::new(instance),
        compute_instance: None,
    }
}

fn ci(gpu: u32, instance: u32) -> InstancePath {
    InstancePath { compute_instance: Some(ComputeInstanceId::new(0)), ..gi(gpu, instance) }
}

/// A machine with the files of these instances as the driver's tools make them.
fn machine(instances: &[InstancePath]) -> (TempDir, HostRoot) {
    let folder = tempfile::tempdir().unwrap();
    let root = HostRoot::at(folder.path());
    for instance in instances {
        let minor = instance.minor();
        let file = instance.access_file(&root);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let text =
            format!("DeviceFileMinor: {}\nDeviceFileMode: 292\nDeviceFileModify: 1\n", minor.get());
        std::fs::write(file, text).unwrap();
        let node = minor.node(&root);
        std::fs::create_dir_all(node.parent().unwrap()).unwrap();
        std::fs::write(&node, "node").unwrap();
        std::fs::set_permissions(&node, std::fs::Permissions::from_mode(0o444)).unwrap();
    }
    (folder, root)
}

fn state(root: &HostRoot, instance: InstancePath) -> (u32, u32, bool) {
    let node = crate::nodes::node(&instance.minor().node(root)).unwrap().unwrap();
    let access = Access::read(root, instance).unwrap().unwrap();
    assert_eq!((access.minor, access.mode), (instance.minor(), MODE_STOCK));
    (node.owner.get(), node.mode, access.modify)
}

#[test]
fn a_node_is_closed_opened_and_given_back() {
    let instance = gi(0, 2);
    let (_folder, root) = machine(&[instance]);
    let own = me().get();
    let change = set(&root, instance, Wanted::Closed).unwrap().unwrap();
    assert_eq!(change.found.unwrap().mode, 0o444);
    assert_eq!(change.found_modify, Some(true));
    assert_eq!(state(&root, instance), (own, 0, false));
    assert_eq!(set(&root, instance, Wanted::Closed).unwrap(), None, "it is so already");
    set(&root, instance, Wanted::OpenFor(me())).unwrap().unwrap();
    assert_eq!(state(&root, instance), (own, 0o400, false));
    assert_eq!(set(&root, instance, Wanted::OpenFor(me())).unwrap(), None);
    set(&root, instance, Wanted::Stock).unwrap().unwrap();
    assert_eq!(state(&root, instance), (own, 0o444, true));
    assert_eq!(set(&root, instance, Wanted::Stock).unwrap(), None);
}

#[test]
fn a_node_goes_from_one_user_to_another_and_back_to_root() {
    if !is_root("a_node_goes_from_one_user_to_another_and_back_to_root") {
        return;
    }
    let instance = ci(1, 9);
    let (_folder, root) = machine(&[instance]);
    set(&root, instance, Wanted::OpenFor(NOBODY)).unwrap().unwrap();
    assert_eq!(state(&root, instance), (65534, 0o400, false));
    set(&root, instance, Wanted::OpenFor(Uid::new(12345))).unwrap().unwrap();
    assert_eq!(state(&root, instance), (12345, 0o400, false));
    set(&root, instance, Wanted::Closed).unwrap().unwrap();
    assert_eq!(state(&root, instance), (0, 0, false));
}

/// Whatever was cut off where: the next call brings it to what is wanted.
#[test]
fn every_unfinished_state_is_mended() {
    let instance = gi(0, 3);
    for wanted in [Wanted::Closed, Wanted::OpenFor(me()), Wanted::Stock] {
        for mode in [0, 0o400, 0o444, 0o666] {
            for modify in ["0\n", "1\n", "", "\n"] {
                let (_folder, root) = machine(&[instance]);
                let node = instance.minor().node(&root);
                std::fs::set_permissions(&node, std::fs::Permissions::from_mode(mode)).unwrap();
                let text =
                    format!("DeviceFileMinor: 30\nDeviceFileMode: 292\nDeviceFileModify: {modify}");
                std::fs::write(instance.access_file(&root), text).unwrap();
                set(&root, instance, wanted).unwrap();
                let right = (me().get(), wanted.mode(), wanted.modify());
                assert_eq!(state(&root, instance), right, "{wanted:?} {mode:o} {modify:?}");
            }
        }
    }
}

#[test]
fn a_missing_node_is_made_closed_and_then_opened() {
    let instance = gi(0, 1);
    let (_folder, root) = machine(&[instance]);
    std::fs::remove_file(instance.minor().node(&root)).unwrap();
    let change = set(&root, instance, Wanted::OpenFor(me())).unwrap().unwrap();
    assert_eq!(change.found, None);
    assert_eq!(state(&root, instance), (me().get(), 0o400, false));
}

#[test]
fn nothing_is_made_for_an_instance_that_does_not_exist() {
    let (_folder, root) = machine(&[gi(0, 1)]);
    assert_eq!(set(&root, gi(0, 2), Wanted::Closed).unwrap(), None);
    assert!(!gi(0, 2).minor().node(&root).exists());
    assert!(!gi(0, 2).access_file(&root).exists());
}

/// Somebody who may write the folder must not have a file of their choice given away.
#[test]
fn links_and_files_of_several_names_are_refused() {
    let instance = gi(0, 1);
    let (folder, root) = machine(&[instance]);
    let treasure = folder.path().join("treasure");
    std::fs::write(&treasure, "x").unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o7777;
    let before = mode(&treasure);
    let node = instance.minor().node(&root);
    std::fs::remove_file(&node).unwrap();
    std::os::unix::fs::symlink(&treasure, &node).unwrap();
    let error = set(&root, instance, Wanted::Closed).unwrap_err().to_string();
    assert!(error.contains("is a link"), "{error}");
    std::fs::remove_file(&node).unwrap();
    std::fs::hard_link(&treasure, &node).unwrap();
    let error = set(&root, instance, Wanted::Closed).unwrap_err().to_string();
    assert!(error.contains("several names"), "{error}");
    std::fs::remove_file(&node).unwrap();
    std::fs::create_dir(&node).unwrap();
    assert!(set(&root, instance, Wanted::Closed).is_err());
    assert_eq!(mode(&treasure), before);
}

#[test]
fn what_fails_for_one_node_is_reported_and_the_others_go_on() {
    let (_folder, root) = machine(&[gi(0, 1), gi(0, 2), gi(0, 3)]);
    let bad = gi(0, 2).minor().node(&root);
    std::fs::remove_file(&bad).unwrap();
    std::fs::create_dir(&bad).unwrap();
    let all = [gi(0, 1), gi(0, 2), gi(0, 3)].map(|instance| (instance, Wanted::Closed));
    let report = reconcile(&root, all);
    assert_eq!(report.changes.len(), 2);
    assert_eq!(report.failures.len(), 1);
    assert_eq!(report.failures[0].0, gi(0, 2));
    assert!(reconcile(&root, [(gi(0, 1), Wanted::Closed)]).changes.is_empty());
}

#[test]
fn stock_comes_back_for_every_node_or_for_those_of_one_gpu() {
    let all = [gi(0, 1), ci(0, 1), gi(3, 2), ci(3, 2)];
    let (_folder, root) = machine(&all);
    reconcile(&root, all.map(|instance| (instance, Wanted::Closed)));
    // The instances of GPU 3 go; their nodes stay.
    std::fs::remove_dir_all(root.resolve("/proc/driver/nvidia/capabilities/gpu3")).unwrap();
    assert_eq!(instances(&root).unwrap(), [gi(0, 1), ci(0, 1)]);
    assert_eq!(nodes(&root).unwrap(), all);
    let report = restore_stock(&root, Some(GpuMinor::new(0))).unwrap();
    assert_eq!((report.changes.len(), report.failures.len()), (2, 0));
    let mode = |instance: InstancePath| {
        crate::nodes::node(&instance.minor().node(&root)).unwrap().unwrap().mode
    };
    assert_eq!(all.map(mode), [0o444, 0o444, 0, 0]);
    assert_eq!(survey(&root).unwrap()[1].access.unwrap().minor, ci(0, 1).minor());
    restore_stock(&root, None).unwrap();
    assert_eq!(all.map(mode), [0o444; 4]);
    assert!(restore_stock(&root, None).unwrap().changes.is_empty());
    let empty = tempfile::tempdir().unwrap();
    assert!(restore_stock(&HostRoot::at(empty.path()), None).unwrap().changes.is_empty());
}
