//! The rows of what was measured on mig-parted (`peers` §3.3): where it lost data or never found a
//! machine equal, and what happens here.

use layout_file::{ResolveError, Schema, Scope, Syntax, compare, export, read, resolve, write};
use model::{DesiredGpu, MigMode};

use crate::machine::{a100s, gpu, mode, node, plain_gpu, put, put_whole};

fn file(devices: &str) -> layout_file::Document {
    let text = format!(
        "version: v1\nmig-configs:\n  it:\n    - devices: all\n      mig-enabled: true\n      \
         mig-devices: {devices}\n"
    );
    read(&text).unwrap()
}

/// An A100 with a 3g and a 2g.
fn busy_node() -> model::NodeSnapshot {
    let mut node = a100s(1);
    put_whole(&mut node.gpus[0], &[("3g.20gb", 4), ("2g.10gb", 0)]);
    node
}

/// mig-parted empties the GPU and ends with success for each of these.
#[test]
fn names_that_the_gpu_does_not_have_refuse_everything() {
    for (devices, words) in [
        (
            "{1g.5gb: 2, 1g.6gb: 1}",
            "6:32: GPU 0 (NVIDIA A100-SXM4-40GB): no profile 1g.6gb; the nearest there are 1g.5gb",
        ),
        (
            "{3g.40gb: 2}",
            "6:21: GPU 0 (NVIDIA A100-SXM4-40GB): no profile 3g.40gb; the nearest there are",
        ),
        (
            "{2g.10gb: 1, 1g.5gb+fast: 1}",
            "6:33: GPU 0 (NVIDIA A100-SXM4-40GB): no profile 1g.5gb+fast",
        ),
    ] {
        let error = resolve(&file(devices), None, &busy_node()).unwrap_err();
        assert!(matches!(error, ResolveError::Machine(_)));
        assert_eq!(error.code(), "E-LAYOUT-MACHINE");
        assert!(error.to_string().starts_with(words), "{error}");
    }
}

/// A GPU instance without compute instance equals "empty" to mig-parted.
#[test]
fn a_gpu_instance_without_compute_instance_is_seen() {
    let mut node = a100s(1);
    let seven = node.gpus[0].geometry.as_ref().unwrap().full_profile().unwrap().id;
    put(&mut node.gpus[0], seven, 0, &[]);
    let found = compare(&file("{}"), None, &node, Scope::Layout).unwrap();
    let words: Vec<String> = found.differences.iter().map(ToString::to_string).collect();
    assert_eq!(words, ["GPU 0: 1 x 7g.40gb@0 without compute instance too many"]);
    let made = export(&node, "now", Schema::MigParted);
    assert_eq!(made.notes.len(), 1, "{made:?}");
}

/// mig-parted never finds a machine equal to these.
#[test]
fn zero_counts_and_whole_parts_compare_equal() {
    let mut node = a100s(1);
    put_whole(&mut node.gpus[0], &[("1g.5gb", 3)]);
    for devices in ["{1g.5gb: 1, 2g.10gb: 0}", "{1c.1g.5gb: 1}"] {
        let found = compare(&file(devices), None, &node, Scope::Layout).unwrap();
        assert!(found.is_equal(), "{found:?}");
        assert_eq!(found.warnings.len(), 1, "{devices}");
    }
}

/// A configuration for one GPU of several can hold.
#[test]
fn only_named_gpus_are_compared() {
    let mut node = a100s(8);
    put_whole(&mut node.gpus[4], &[("7g.40gb", 0)]);
    let text = "version: v1\nmig-configs:\n  it:\n  - devices: [4]\n    mig-enabled: true\n    \
                mig-devices: {7g.40gb: 1}\n";
    let document = read(text).unwrap();
    let found = compare(&document, None, &node, Scope::Layout).unwrap();
    assert!(found.is_equal());
    assert_eq!(found.compared.len(), 1);
    node.gpus[4].mig = mode(MigMode::Disabled);
    let found = compare(&document, Some("it"), &node, Scope::Mode).unwrap();
    assert_eq!(found.differences[0].to_string(), "GPU 4: MIG mode should be on and is off");
}

#[test]
fn a_file_that_fits_no_gpu_is_held_by_none() {
    let text = "version: v1\nmig-configs:\n  it:\n  - {devices: [9], mig-enabled: false}\n";
    let found = compare(&read(text).unwrap(), None, &a100s(1), Scope::Layout).unwrap();
    assert!(found.differences.is_empty() && !found.is_equal());
}

/// The shape of what is wanted: compute slices inside each GPU instance.
fn shape(devices: &str) -> Vec<(String, Vec<u8>)> {
    let node = a100s(1);
    let geometry = node.gpus[0].geometry.clone().unwrap();
    let resolved = resolve(&file(devices), None, &node).unwrap();
    let DesiredGpu::Exactly(instances) = resolved.desired.values().next().unwrap() else {
        panic!("not exactly")
    };
    let inside = |instance: &model::DesiredInstance| {
        let profile = geometry.profile(instance.profile).unwrap();
        let slices = |id| profile.compute_profiles.iter().find(|c| c.id == id).unwrap().slices;
        let computes = instance.computes.iter().map(|compute| slices(compute.profile)).collect();
        (profile.name.to_string(), computes)
    };
    instances.iter().map(inside).collect()
}

#[test]
fn compute_instances_are_packed_as_mig_parted_packs_them() {
    let three = |inside: &[&[u8]]| -> Vec<(String, Vec<u8>)> {
        inside.iter().map(|list| ("3g.20gb".to_owned(), list.to_vec())).collect()
    };
    assert_eq!(shape("{1c.3g.20gb: 3}"), three(&[&[1, 1, 1]]));
    assert_eq!(shape("{1c.3g.20gb: 4}"), three(&[&[1, 1, 1], &[1]]));
    assert_eq!(shape("{1c.3g.20gb: 2, 2c.3g.20gb: 1}"), three(&[&[2, 1], &[1]]));
    assert_eq!(shape("{3g.20gb: 1, 1c.3g.20gb: 1}"), three(&[&[3], &[1]]));
    // In the first order three would be needed: 2, 2+1, 1. The board has two.
    assert_eq!(shape("{1c.3g.20gb: 2, 2c.3g.20gb: 2}"), three(&[&[2, 1], &[2, 1]]));
    let mixed = shape("{1g.5gb: 2, 2g.10gb: 1, 1c.3g.20gb: 2}");
    let names: Vec<&str> = mixed.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["3g.20gb", "2g.10gb", "1g.5gb", "1g.5gb"]);
}

#[test]
fn the_later_of_two_entries_counts_and_is_told() {
    let text = "version: v1\nmig-configs:\n  it:\n  - {devices: all, mig-enabled: true, mig-devices: \
                {1g.5gb: 7}}\n  - {devices: [1], mig-enabled: false}\n";
    let node = a100s(2);
    let resolved = resolve(&read(text).unwrap(), None, &node).unwrap();
    assert_eq!(resolved.desired[&node.gpus[1].uuid], DesiredGpu::Whole);
    assert!(matches!(resolved.desired[&node.gpus[0].uuid], DesiredGpu::Exactly(_)));
    assert_eq!(
        resolved.warnings[0].to_string(),
        "5:5: the entry at line 4 is about GPU 1 (NVIDIA A100-SXM4-40GB) as well; this later one \
         counts: name each GPU once"
    );
    assert!(resolved.lend.values().all(|lend| !lend));
    let mode_only = resolved.mode_only();
    assert_eq!(mode_only.desired[&node.gpus[0].uuid], DesiredGpu::Sliced);
    assert_eq!(mode_only.desired[&node.gpus[1].uuid], DesiredGpu::Whole);
}

#[test]
fn gpus_without_mig_are_passed_over_and_refused_by_index() {
    let node = node(vec![gpu("a100-sxm4-40gb", 0), plain_gpu(1)]);
    let all = resolve(&file("{1g.5gb: 1}"), None, &node).unwrap();
    assert_eq!((all.desired.len(), all.warnings.len()), (1, 0));
    let text = "version: v1\nmig-configs:\n  it:\n  - {devices: [1], mig-enabled: true, mig-devices: {}}\n";
    let error = resolve(&read(text).unwrap(), None, &node).unwrap_err();
    assert_eq!(error.to_string(), "4:15: GPU 1 (NVIDIA L4) cannot do MIG; leave it out");
}

#[test]
fn configurations_are_chosen_by_name() {
    let text = "version: v1\nmig-configs:\n  all-1g.5gb: [{devices: all, mig-enabled: false}]\n  \
                all-2g.10gb: [{devices: all, mig-enabled: false}]\n";
    let document = read(text).unwrap();
    let node = a100s(1);
    let error = |name| resolve(&document, name, &node).unwrap_err().to_string();
    assert_eq!(
        error(None),
        "the file has several configurations: all-1g.5gb, all-2g.10gb; choose one with -c"
    );
    assert_eq!(
        error(Some("all-1g.5g")),
        "the file has no configuration `all-1g.5g`; did you mean `all-1g.5gb`?"
    );
    assert!(error(Some("x")).ends_with("there are: all-1g.5gb, all-2g.10gb"));
    assert!(resolve(&document, Some("all-2g.10gb"), &node).is_ok());
    let none = read("version: v1").unwrap();
    assert_eq!(resolve(&none, None, &node).unwrap_err(), ResolveError::NoConfigs);
}

#[test]
fn exports_for_mig_parted_merge_and_filter_as_it_does() {
    let mut gpus: Vec<_> = (0..4).map(|index| gpu("a100-sxm4-40gb", index)).collect();
    for gpu in &mut gpus[..3] {
        put_whole(gpu, &[("3g.20gb", 0), ("3g.20gb", 4)]);
    }
    gpus[3].mig = mode(MigMode::Disabled);
    let text = write(&export(&node(gpus.clone()), "now", Schema::MigParted).document, Syntax::Yaml);
    assert_eq!(
        text,
        "version: v1\nmig-configs:\n  now:\n    - devices: [0, 1, 2]\n      mig-enabled: true\n      \
         mig-devices:\n        3g.20gb: 2\n    - devices: [3]\n      mig-enabled: false\n"
    );
    gpus.push(gpu("a30", 4));
    gpus[3] = gpus[2].clone();
    gpus[3].index = model::GpuIndex::new(3);
    let text = write(&export(&node(gpus), "now", Schema::MigParted).document, Syntax::Yaml);
    assert_eq!(
        text,
        "version: v1\nmig-configs:\n  now:\n    - device-filter: \"0x20B010DE\"\n      devices: all\n      \
         mig-enabled: true\n      mig-devices:\n        3g.20gb: 2\n    - device-filter: \
         \"0x20B710DE\"\n      devices: all\n      mig-enabled: true\n      mig-devices: {}\n"
    );
}
