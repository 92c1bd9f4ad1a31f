//! Checkpoints and hooks.

use layout_file::{read_checkpoint, read_hooks, write_checkpoint};
use model::{DesiredGpu, Geometry, GpuInstance, GpuSnapshot, MigMode, MigState, catalog};

use crate::machine::{a100s, node, plain_gpu, put_whole};
use crate::round::{Chance, random_gpu};

fn meets(gpu: &GpuSnapshot, wanted: &DesiredGpu, computes_placed: bool) {
    let DesiredGpu::Exactly(wanted) = wanted else {
        assert_eq!(*wanted, DesiredGpu::Whole);
        assert!(matches!(gpu.mig, MigState::Supported { current: MigMode::Disabled, .. }));
        return;
    };
    assert_eq!(wanted.len(), gpu.instances.len());
    for (wanted, found) in wanted.iter().zip(&gpu.instances) {
        assert_eq!((wanted.profile, wanted.placement), (found.profile, Some(found.placement)));
        assert_eq!(wanted.computes.len(), found.compute_instances.len());
        for (wanted, found) in wanted.computes.iter().zip(&found.compute_instances) {
            assert_eq!(wanted.profile, found.profile);
            assert_eq!(wanted.placement, computes_placed.then_some(found.placement));
        }
    }
}

#[test]
fn a_checkpoint_restores_every_place_on_every_board() {
    let mut chance = Chance(9);
    for board in catalog::boards() {
        for _ in 0..20 {
            let gpus = (0..2).map(|index| random_gpu(board.id, index, &mut chance, true));
            let mut node = node(gpus.collect());
            node.gpus.push(plain_gpu(2));
            let (text, notes) = write_checkpoint(&node);
            assert_eq!(notes, [""; 0]);
            let _: serde_json::Value = serde_json::from_str(&text).unwrap();
            node.gpus.reverse();
            let restored = read_checkpoint(&text, &node)
                .unwrap_or_else(|faults| panic!("{}\n{text}\n{faults}", board.id));
            assert_eq!(restored.warnings, []);
            assert_eq!(restored.desired.len(), 2);
            for gpu in node.gpus.iter().filter(|gpu| gpu.mig != MigState::Unsupported) {
                meets(gpu, &restored.desired[&gpu.uuid], true);
            }
        }
    }
}

/// What mig-parted's `checkpoint` writes: enum values, capitals, null for no list.
fn mig_parted_checkpoint(gpus: &[GpuSnapshot]) -> String {
    let instance = |geometry: &Geometry, instance: &GpuInstance| {
        let profile = geometry.profile(instance.profile).unwrap();
        let compute = |id| profile.compute_profiles.iter().find(|c| c.id == id).unwrap().nvml_enum;
        let computes: Vec<_> = instance
            .compute_instances
            .iter()
            .map(|c| serde_json::json!({"ProfileID": compute(c.profile), "EngProfileID": 0}))
            .collect();
        serde_json::json!({
            "ProfileID": profile.nvml_enum,
            "Placement": {"Start": instance.placement.start.get(), "Size": instance.placement.size.get()},
            "ComputeInstances": if computes.is_empty() { serde_json::Value::Null } else { computes.into() },
        })
    };
    let devices: Vec<_> = gpus
        .iter()
        .map(|gpu| {
            let on = gpu.mig.is_enabled();
            let geometry = gpu.geometry.as_ref().unwrap();
            let list: Vec<_> = gpu.instances.iter().map(|i| instance(geometry, i)).collect();
            serde_json::json!({
                "UUID": gpu.uuid, "MigMode": u32::from(on),
                "GpuInstances": if on { list.into() } else { serde_json::Value::Null },
            })
        })
        .collect();
    serde_json::json!({"Version": "v1", "MigState": {"Devices": devices}}).to_string()
}

#[test]
fn checkpoints_of_mig_parted_are_read() {
    let mut chance = Chance(10);
    for board in catalog::boards() {
        for _ in 0..20 {
            let gpus: Vec<GpuSnapshot> =
                (0..2).map(|index| random_gpu(board.id, index, &mut chance, true)).collect();
            let text = mig_parted_checkpoint(&gpus);
            let node = node(gpus);
            let restored = read_checkpoint(&text, &node)
                .unwrap_or_else(|faults| panic!("{}\n{text}\n{faults}", board.id));
            for gpu in &node.gpus {
                meets(gpu, &restored.desired[&gpu.uuid], false);
            }
        }
    }
}

#[test]
fn a_checkpoint_of_something_else_is_refused() {
    let mut node = a100s(1);
    put_whole(&mut node.gpus[0], &[("3g.20gb", 4)]);
    let (text, _) = write_checkpoint(&node);
    let refused = |text: &str| read_checkpoint(text, &node).unwrap_err().to_string();
    assert!(
        refused(&text.replace("\"start\": 4", "\"start\": 2"))
            .contains("3g.20gb may not lie at 2:4")
    );
    assert!(refused(&text.replace("3g.20gb", "3g.40gb")).contains("there is no 3g.40gb"));
    assert!(refused(&text.replace("GPU-0", "GPU-1")).contains("no GPU of this machine"));
    assert!(
        refused(&text.replace("migd/checkpoint/v1", "migd/v1")).contains("2:13: the schema is")
    );
    assert!(refused(&text.replace("\"uuid\"", "\"id\"")).contains("`uuid` is missing"));
    assert!(refused("version: v1\nmig-configs: {}\n").contains("this is no checkpoint"));
    assert!(refused("{\"Version\": \"v2\", \"MigState\": {}}").contains("the version is not v1"));
    let two = a100s(2);
    let (text, _) = write_checkpoint(&two);
    let restored = read_checkpoint(&text, &node).unwrap();
    assert_eq!((restored.desired.len(), restored.warnings.len()), (1, 1));
}

#[test]
fn hooks_are_read_as_mig_parted_reads_them() {
    let text = "version: v1\nhooks:\n  apply-start:\n  - workdir: /etc/nvidia-mig-manager\n    command: /bin/bash\n    \
                args: [\"-x\", \"-c\", \"source hooks.sh; persist-config ${MIG_PARTED_SELECTED_CONFIG}\"]\n    \
                envs: {DEPTH: 3, SAFE: yes}\n  pre-apply-mode: []\n  pre-apply-config:\n  - command: true-it\n  \
                apply_exit:\n  - command: /bin/true\n  apply-exit: null\n";
    let hooks = read_hooks(text).unwrap();
    let start = &hooks.apply_start[0];
    assert_eq!((start.at.line, start.command.as_str()), (4, "/bin/bash"));
    assert_eq!(start.args.len(), 3);
    assert_eq!(start.envs, [("DEPTH".into(), "3".into()), ("SAFE".into(), "yes".into())]);
    assert_eq!(start.workdir.as_deref(), Some("/etc/nvidia-mig-manager"));
    assert_eq!(hooks.pre_apply_config.len(), 1);
    assert!(hooks.pre_apply_mode.is_empty() && hooks.apply_exit.is_empty());
    let warnings: Vec<String> = hooks.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "10:5: `true-it` has no path; hooks get no PATH of their own: write the whole path",
            "11:3: no hook is called `apply_exit`: it never runs; did you mean `apply-exit`?",
        ]
    );
    let odd = read_hooks(
        "Version: v7\nHOOKS: {apply-exit: [{Command: /bin/true, when: now}]}\nmore: 1\n",
    );
    let odd = odd.unwrap();
    assert_eq!((odd.apply_exit.len(), odd.warnings.len()), (1, 3), "{odd:?}");
    for (text, words) in [
        ("hooks: 7", "1:8: `hooks` is the number 7"),
        ("hooks: {apply-exit: 7}", "1:21: `apply-exit` is the number 7"),
        ("hooks: {apply-exit: [7]}", "1:22: a hook is the number 7"),
        ("hooks: {apply-exit: [{args: [a]}]}", "the hook has no `command`"),
        ("hooks: {apply-exit: [{command: /a, args: b}]}", "1:42: `args` is the text \"b\""),
        ("- hooks", "the hooks file holds a list"),
    ] {
        let faults = read_hooks(text).unwrap_err().to_string();
        assert!(faults.contains(words), "{text}\n{faults}");
    }
}
