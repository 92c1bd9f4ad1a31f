//! Our own format: what it takes, what it refuses, and what it means.

use layout_file::{Schema, read, resolve};
use model::{DesiredGpu, MigMode};

use crate::machine::{a100s, alike, gpu, mode, node, plain_gpu};

fn layout(entry: &str) -> String {
    let lines: Vec<String> = entry.lines().map(|line| format!("      {line}")).collect();
    format!("schema: migd/v1\nlayouts:\n  day:\n    -{}\n", &lines.join("\n")[5..])
}

/// What is refused, with its place.
fn refused(text: &str) -> String {
    match read(text) {
        Err(faults) => faults.to_string(),
        Ok(document) => resolve(&document, None, &a100s(2)).unwrap_err().to_string(),
    }
}

#[test]
fn mistakes_are_refused_with_their_place_and_what_to_write() {
    for (text, words) in [
        ("schema: migd/v2\nlayouts: {}\n".into(), "1:9: the schema is the text \"migd/v2\""),
        ("schema: migd/v1\nlayouts: {}\n".into(), "2:10: `layouts` holds no layout"),
        ("schema: migd/v1\n".into(), "1:1: the file has no layouts"),
        ("layouts:\n  a: []\n".into(), "1:1: the file has no schema"),
        ("schema: migd/v1\nversion: v1\n".into(), "2:1: `schema` is of our format and `version`"),
        (
            "schema: migd/v1\nlayout: {}\n".into(),
            "2:1: there is no key `layout` here; did you mean `layouts`?",
        ),
        (
            "schema: migd/v1\nwindows: []\nlayouts: {a: [{gpus: all, mig: on}]}\n".into(),
            "2:1: `windows` is reserved",
        ),
        (layout("gpus: all\nwindows: []"), "5:7: `windows` is reserved"),
        (
            layout("gpus: all\ninstance: []"),
            "5:7: there is no key `instance` here; did you mean `instances`?",
        ),
        (layout("gpus: all"), "4:7: the entry wants nothing"),
        (layout("mig: true"), "4:7: the entry names no GPUs"),
        (layout("gpus: []\nmig: true"), "4:13: `gpus` is empty"),
        (layout("gpus: [-1]\nmig: true"), "4:14: the number -1 names no GPU"),
        (layout("gpus: {}\nmig: true"), "4:13: a map of keys names no GPU"),
        (layout("gpus: \"0xZZ\"\nmig: true"), "4:13: the text \"0xZZ\" names no GPU"),
        (layout("gpus: all\nmig: \"on\""), "5:12: `mig` is the text \"on\""),
        (
            layout("gpus: all\nmig: false\ninstances: []"),
            "4:7: instances are wanted while MIG is off",
        ),
        (layout("gpus: all\ninstances: 7"), "5:18: `instances` is the number 7"),
        (
            layout("gpus: all\ninstances: [3g.20gb@x]"),
            "5:19: \"3g.20gb@x\" has no place behind its @",
        ),
        (layout("gpus: all\ninstances: [large]"), "5:19: \"large\" is no profile"),
        (
            layout("gpus: all\ninstances: [1c.3g.20gb]"),
            "5:19: 1c.3g.20gb is a part of a GPU instance; write `profile: 3g.20gb` and `compute: [1c]`",
        ),
        (layout("gpus: all\ninstances: {1g.5gb: 0}"), "5:27: a count is the number 0"),
        (
            layout("gpus: all\ninstances: {1g.5gb@0: 2}"),
            "5:19: 2 instances cannot lie at one place",
        ),
        (
            layout("gpus: all\ninstances: [{profile: 1g.5gb, at: 1}]"),
            "5:37: there is no key `at` here; there are: profile, count, start, compute",
        ),
        (layout("gpus: all\ninstances: [{count: 1}]"), "5:19: the instance has no `profile`"),
        (
            layout("gpus: all\ninstances: [{profile: 3g.20gb@4, start: 4}]"),
            "5:19: the place is written twice",
        ),
        (
            layout("gpus: all\ninstances: [{profile: 3g.20gb, start: 300}]"),
            "5:45: `start` is the number 300",
        ),
        (
            layout("gpus: all\ninstances: [{profile: 3g.20gb, compute: 1c}]"),
            "5:47: `compute` is the text \"1c\"",
        ),
        (
            layout("gpus: all\ninstances: [{profile: 3g.20gb, compute: [c]}]"),
            "5:48: a compute instance is the text \"c\"",
        ),
        (
            layout("gpus: all\nmig: on\nmig: off"),
            "6:7: `mig` stands here and at line 5 of the same map",
        ),
        (layout("gpus: all\nmig: on") + "---\nschema: migd/v1\n", "6:1: a second YAML document"),
        // What takes a machine.
        (
            layout("gpus: all\ninstances: [3g.20gb@1]"),
            "5:19: GPU 0-1 (NVIDIA A100-SXM4-40GB): 3g.20gb cannot lie there: profile 9 may not lie at 1:4; it may begin at 0, 4",
        ),
        (
            layout("gpus: all\ninstances: [3g.20gb@0, 1g.5gb@3]"),
            "5:30: GPU 0-1 (NVIDIA A100-SXM4-40GB): 1g.5gb cannot lie there: 3:1 overlaps 0:4",
        ),
        (
            layout("gpus: all\ninstances: [4g.24gb]"),
            "no profile 4g.24gb; the nearest there are 4g.20gb",
        ),
        (
            layout("gpus: all\ninstances: [{profile: 3g.20gb, compute: [2c, 2c]}]"),
            "do not fit into one 3g.20gb",
        ),
        (
            layout("gpus: all\ninstances: [{profile: 3g.20gb, compute: [4c]}]"),
            "no compute instance 4c in 3g.20gb; it can be cut into 1c, 2c, 3c",
        ),
        (
            layout("gpus: all\ninstances: [{profile: 3g.20gb, compute: [\"id:5\"]}]"),
            "no compute instance id:5",
        ),
        (
            layout("gpus: all\ninstances: {1g.5gb: 4000000000}"),
            "4000000000 instances of 1g.5gb are wanted; ask for less",
        ),
    ] {
        let found = refused(&text);
        assert!(found.contains(words), "{text}\nexpected {words}\n{found}");
    }
}

#[test]
fn gpus_are_named_in_many_ways() {
    let mut gpus =
        vec![gpu("a100-sxm4-40gb", 0), gpu("a100-sxm4-40gb", 1), gpu("a30", 2), plain_gpu(3)];
    gpus[1].pci_subsystem_id = Some(0x1463_10DE);
    let node = node(gpus);
    for (name, indices) in [
        ("all", vec![0, 1, 2]),
        ("0", vec![0]),
        ("[0, 2]", vec![0, 2]),
        ("\"1\"", vec![1]),
        ("GPU-00000001", vec![1]),
        ("gpu-00000002", vec![2]),
        ("0000:08:00.0", vec![1]),
        ("09:00.0", vec![2]),
        ("a100", vec![0, 1]),
        ("nvidia a30", vec![2]),
        ("\"*A100*\"", vec![0, 1]),
        ("\"0x20B010DE\"", vec![0, 1]),
        ("0x20B010DE", vec![0, 1]),
        ("\"0x20B010DE:0x146310DE\"", vec![1]),
        ("[a100, 2]", vec![0, 1, 2]),
        ("l4", vec![]),
        ("h100", vec![]),
        ("9", vec![]),
    ] {
        let document = read(&layout(&format!("gpus: {name}\nmig: on"))).unwrap();
        let resolved = resolve(&document, None, &node).unwrap();
        let found: Vec<u32> = node
            .gpus
            .iter()
            .filter(|gpu| resolved.desired.contains_key(&gpu.uuid))
            .map(|gpu| gpu.index.get())
            .collect();
        assert_eq!(found, indices, "{name}");
        assert_eq!(resolved.warnings.is_empty(), !indices.is_empty(), "{name}: {resolved:?}");
    }
    let document = read(&layout("gpus: [3]\nmig: on")).unwrap();
    assert!(resolve(&document, None, &node).unwrap_err().to_string().contains("cannot do MIG"));
    let document = read(&layout("gpus: GPU-0000\nmig: on")).unwrap();
    let error = resolve(&document, None, &node).unwrap_err().to_string();
    assert!(error.contains("the UUIDs of GPU 0-3"), "{error}");
}

#[test]
fn an_entry_means_what_it_says() {
    let text = "schema: migd/v1\nlayouts:\n  day:\n  - gpus: 0\n    lend: true\n    instances:\n    - 3g.20gb@4\n    \
                - {profile: 3g, start: 0, compute: [1c@2, 2c@0]}\n  - gpus: 1\n    mig: false\n  - gpus: 2\n    \
                mig: true\n  - gpus: 3\n    instances: {19: 2, 2g.10gb: 1, 1g.5gb@6: 1}\n  - gpus: 4\n    \
                instances:\n    - {profile: 7g, compute: []}\n";
    let document = read(text).unwrap();
    assert_eq!(document.schema, Schema::Own);
    let mut node = a100s(5);
    node.gpus[0].mig = mode(MigMode::Disabled);
    let resolved = resolve(&document, Some("day"), &node).unwrap();
    assert_eq!(resolved.warnings, []);
    let of = |index: usize| &resolved.desired[&node.gpus[index].uuid];
    assert_eq!(of(1), &DesiredGpu::Whole);
    assert_eq!(of(2), &DesiredGpu::Sliced);
    let DesiredGpu::Exactly(first) = of(0) else { panic!() };
    let places: Vec<String> = first.iter().map(|i| i.placement.unwrap().to_string()).collect();
    assert_eq!(places, ["4:4", "0:4"]);
    let inside: Vec<String> =
        first[1].computes.iter().map(|c| c.placement.unwrap().to_string()).collect();
    assert_eq!(inside, ["2:1", "0:2"]);
    assert_eq!(first[0].computes.len(), 1);
    let DesiredGpu::Exactly(fourth) = of(3) else { panic!() };
    assert_eq!(fourth.len(), 4);
    let DesiredGpu::Exactly(fifth) = of(4) else { panic!() };
    assert!(fifth[0].computes.is_empty());
    let lent: Vec<bool> = node.gpus.iter().map(|gpu| resolved.lend[&gpu.uuid]).collect();
    assert_eq!(lent, [true, false, false, false, false]);
}

#[test]
fn what_never_fits_is_told() {
    let document = read(&layout("gpus: all\ninstances: {3g.20gb: 2, 1g.5gb: 1}")).unwrap();
    let resolved = resolve(&document, None, &a100s(1)).unwrap();
    assert!(resolved.warnings[0].what.contains("can never hold"), "{resolved:?}");
    let document = read(&layout("gpus: all\ninstances: [3g.40gb]")).unwrap();
    assert!(resolve(&document, None, &alike("h100-sxm5-80gb", 1)).unwrap().warnings.is_empty());
}
