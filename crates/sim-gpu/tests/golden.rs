//! Every golden value of `nvml.md` §9.3.1: capacities, creation sequences, memory, minors.

mod common;

use common::{NOW, compute, create, create_at, host, mig, mig_with, profile, root, start_of};
use model::{ComputeInstanceId, GpuInstanceId, GpuMinor, MemoryMib};
use sim_gpu::{
    ChipKind, Node, Return, Target, compute_instance_minor, gpu_instance_minor, mig_minors,
};

const SEVEN: [&str; 7] = ["1g", "1g.5gb+me", "1g.10gb", "2g", "3g", "4g", "7g"];

fn capacities(node: &Node) -> [u32; 7] {
    SEVEN.map(|name| node.remaining_capacity(0, root(), profile(node, name)).expect("MIG is on"))
}

#[test]
fn the_21_logged_capacities_of_an_a100() {
    // The logged board is a swapped one: 4g has id 2 there.
    let mut node = mig_with("a100-sxm4-40gb", ChipKind::Swapped);
    let maxima = SEVEN.map(|name| {
        let id = profile(&node, name);
        node.profile_by_id(0, id).unwrap().max_instances
    });
    assert_eq!(maxima, [7, 1, 4, 3, 2, 1, 1]);
    assert_eq!(capacities(&node), [7, 1, 4, 3, 2, 1, 1]);
    for (name, start, id, left) in [
        ("4g", 0, 2, [3, 1, 2, 1, 1, 0, 0]),
        ("2g", 4, 3, [1, 1, 1, 0, 0, 0, 0]),
        ("1g", 6, 9, [0, 0, 0, 0, 0, 0, 0]),
    ] {
        assert_eq!(create_at(&mut node, name, start).unwrap().id, GpuInstanceId::new(id));
        assert_eq!(capacities(&node), left, "after {name}");
    }
}

/// One logged row: profiles in order, then the ids and the starts, `None` where creation failed.
struct Row {
    chips: &'static [(ChipKind, &'static [u32])],
    profiles: &'static [&'static str],
    starts: &'static [u8],
    fails: bool,
}

const ROWS: &[Row] = &[
    Row {
        profiles: &["1g"; 7],
        chips: &[
            (ChipKind::Plain, &[13, 11, 12, 7, 8, 9, 10]),
            (ChipKind::Swapped, &[9, 7, 8, 11, 12, 13, 14]),
        ],
        starts: &[6, 4, 5, 0, 1, 2, 3],
        fails: false,
    },
    Row {
        profiles: &["1g", "2g", "4g"],
        chips: &[(ChipKind::Plain, &[13, 5, 1])],
        starts: &[6, 4, 0],
        fails: false,
    },
    Row {
        profiles: &["1g", "1g", "2g", "3g"],
        chips: &[(ChipKind::Plain, &[13, 11, 3])],
        starts: &[6, 4, 0],
        fails: true,
    },
    Row {
        profiles: &["3g", "1g", "2g", "1g"],
        chips: &[(ChipKind::Plain, &[2, 7, 4, 8]), (ChipKind::Swapped, &[1, 11, 6, 12])],
        starts: &[4, 0, 2, 1],
        fails: false,
    },
    Row {
        profiles: &["3g", "2g", "1g"],
        chips: &[(ChipKind::Plain, &[2, 3, 9]), (ChipKind::Swapped, &[1, 5, 13])],
        starts: &[4, 0, 2],
        fails: false,
    },
    Row {
        profiles: &["3g", "2g", "1g", "1g"],
        chips: &[(ChipKind::Plain, &[2, 3, 9, 10])],
        starts: &[4, 0, 2, 3],
        fails: false,
    },
    Row {
        profiles: &["2g", "2g", "2g", "1g.5gb+me"],
        chips: &[(ChipKind::Plain, &[5, 3, 4, 13])],
        starts: &[4, 0, 2, 6],
        fails: false,
    },
    Row {
        profiles: &["2g", "2g", "1g"],
        chips: &[(ChipKind::Swapped, &[3, 5, 9])],
        starts: &[4, 0, 6],
        fails: false,
    },
    Row {
        profiles: &["2g", "1g", "1g", "1g", "1g", "1g"],
        chips: &[(ChipKind::Plain, &[5, 13, 7, 8, 9, 10])],
        starts: &[4, 6, 0, 1, 2, 3],
        fails: false,
    },
    Row {
        profiles: &["3g", "3g"],
        chips: &[(ChipKind::Plain, &[2, 1]), (ChipKind::Swapped, &[1, 2])],
        starts: &[4, 0],
        fails: false,
    },
    Row {
        profiles: &["3g", "4g"],
        chips: &[(ChipKind::Plain, &[2, 1]), (ChipKind::Swapped, &[1, 2])],
        starts: &[4, 0],
        fails: false,
    },
    Row {
        profiles: &["4g", "2g", "1g"],
        chips: &[(ChipKind::Swapped, &[2, 3, 9])],
        starts: &[0, 4, 6],
        fails: false,
    },
    Row { profiles: &["1g.10gb"], chips: &[(ChipKind::Plain, &[6])], starts: &[6], fails: false },
    Row {
        profiles: &["1g", "1g.10gb", "1g.10gb", "1g.10gb"],
        chips: &[(ChipKind::Plain, &[13, 5, 3, 4])],
        starts: &[6, 4, 0, 2],
        fails: false,
    },
];

#[test]
fn the_logged_creation_sequences_on_both_kinds_of_chip() {
    let mut sequences = 0;
    for row in ROWS {
        for (chip, ids) in row.chips {
            let mut node = mig_with("a100-sxm4-40gb", *chip);
            let made: Vec<Result<InstanceIdAndStart, Return>> = row
                .profiles
                .iter()
                .map(|name| {
                    let id = create(&mut node, name)?.id;
                    Ok((id.get(), start_of(&node, id)))
                })
                .collect();
            let mut expected: Vec<Result<InstanceIdAndStart, Return>> =
                ids.iter().zip(row.starts).map(|(id, start)| Ok((*id, *start))).collect();
            if row.fails {
                expected.push(Err(Return::InsufficientResources));
            }
            assert_eq!(made, expected, "{:?} on {chip:?}", row.profiles);
            node.check_invariants().unwrap();
            sequences += 1;
        }
    }
    assert_eq!(sequences, 19);
}

type InstanceIdAndStart = (u32, u8);

#[test]
fn other_trees_number_as_logged() {
    for (board, wanted) in [
        ("a30", &[("1g", 3, 0), ("1g", 4, 1), ("2g", 2, 2)][..]),
        ("rtx-pro-6000-bse", &[("1g", 3, 0), ("1g", 4, 3), ("1g", 5, 6), ("1g", 6, 9)][..]),
        ("rtx-pro-6000-bse", &[("2g", 1, 0), ("1g", 5, 6), ("1g", 6, 9)][..]),
        ("rtx-pro-5000-48gb", &[("1g", 1, 0), ("1g", 2, 1)][..]),
        ("thor-igpu", &[("2g", 1, 0), ("1g.0gb+gfx", 2, 2)][..]),
    ] {
        let mut node = mig(board);
        for (name, id, start) in wanted {
            let made = create(&mut node, name).unwrap().id;
            assert_eq!((made.get(), start_of(&node, made)), (*id, *start), "{name} on {board}");
        }
        node.check_invariants().unwrap();
    }
    for board in ["a30", "a100-sxm4-40gb", "rtx-pro-6000-bse", "rtx-pro-4500-32gb", "thor-igpu"] {
        let mut node = mig(board);
        let full = node.board(0).unwrap().geometry.full_profile().unwrap().id;
        let made = node.create_gpu_instance(0, root(), full, None, NOW).unwrap();
        assert_eq!(made.id, GpuInstanceId::new(0), "{board}");
    }
}

#[test]
fn the_logged_memory_of_an_a100_with_580() {
    let mut node = mig_with("a100-sxm4-40gb", ChipKind::Swapped);
    let four = create_at(&mut node, "4g", 0).unwrap();
    let two = create_at(&mut node, "2g", 4).unwrap();
    let one = create_at(&mut node, "1g", 6).unwrap();
    compute(&mut node, four, 4).unwrap();
    compute(&mut node, two, 1).unwrap();
    compute(&mut node, two, 1).unwrap();
    compute(&mut node, one, 1).unwrap();
    let devices = node.mig_devices(0).unwrap();
    let ids: Vec<(u32, u32)> =
        devices.iter().map(|device| (device.instance.id.get(), device.id.get())).collect();
    assert_eq!(ids, [(2, 0), (3, 0), (3, 1), (9, 0)]);
    let memory: Vec<(u64, u64, u64)> = devices
        .iter()
        .map(|device| {
            let target = Target::Compute(device.instance.id, device.id);
            let memory = node.memory(0, target, root()).unwrap();
            let bar1 = node.bar1(0, target, root()).unwrap();
            (memory.total.get(), memory.used.get(), bar1.total.get())
        })
        .collect();
    assert_eq!(memory, [(20096, 142, 12211), (9984, 71, 6105), (9984, 71, 6105), (4864, 36, 3052)]);
    let parent = node.memory(0, Target::Gpu, root()).unwrap();
    assert_eq!((parent.used, parent.total), (MemoryMib::new(249), MemoryMib::new(40960)));
    let names: Vec<String> =
        devices.iter().map(|device| node.mig_device(0, *device).unwrap().name).collect();
    assert_eq!(
        names,
        [
            "NVIDIA A100-SXM4-40GB MIG 4g.20gb",
            "NVIDIA A100-SXM4-40GB MIG 1c.2g.10gb",
            "NVIDIA A100-SXM4-40GB MIG 1c.2g.10gb",
            "NVIDIA A100-SXM4-40GB MIG 1g.5gb",
        ]
    );
}

#[test]
fn an_older_driver_has_smaller_instances() {
    let mut spec = sim_gpu::HostSpec::named("test", "a100-sxm4-40gb:1").unwrap();
    spec.driver = sim_gpu::Driver { version: "535.261.03".into(), cuda: 12020 };
    let node = Node::new(&spec, &mut sim_gpu::BoardCache::new()).unwrap();
    let memory = ["4g", "2g", "1g"]
        .map(|name| node.profile_by_id(0, profile(&node, name)).unwrap().memory.get());
    assert_eq!(memory, [19968, 9856, 4864]);
    assert_eq!(node.driver.nvml_version(), "12.535.261.03");
    spec.driver = sim_gpu::Driver { version: "460.73.01".into(), cuda: 11020 };
    let oldest = Node::new(&spec, &mut sim_gpu::BoardCache::new()).unwrap();
    let profiles = |node: &Node| node.board(0).unwrap().geometry.profiles.len();
    assert_eq!((profiles(&node), profiles(&oldest)), (7, 5), "+me and double memory came later");
}

#[test]
fn the_logged_capability_minors() {
    let gpu = GpuMinor::new(0);
    let gi = GpuInstanceId::new;
    let ci = ComputeInstanceId::new(0);
    let minors = [2, 3, 9]
        .map(|id| [gpu_instance_minor(gpu, gi(id)), compute_instance_minor(gpu, gi(id), ci)]);
    assert_eq!(minors, [[21, 22], [30, 31], [84, 85]]);
    let second = compute_instance_minor(gpu, gi(3), ComputeInstanceId::new(1));
    assert_eq!(second, 32);
    let last = compute_instance_minor(GpuMinor::new(31), gi(14), ComputeInstanceId::new(7));
    assert_eq!(last, 4322);
    let text = mig_minors(32);
    for line in ["config 1", "monitor 2", "gpu0/gi2/access 21", "gpu0/gi2/ci0/access 22"] {
        assert!(text.lines().any(|known| known == line), "{line}");
    }
    assert_eq!(text.lines().last(), Some("gpu31/gi14/ci7/access 4322"));
    assert_eq!(text.lines().count(), 2 + 32 * 15 * 9);
}

#[test]
fn capability_files_follow_the_instances() {
    let mut node = host("a30:2");
    assert_eq!(node.capability_files().len(), 2);
    node.set_mig_mode(1, root(), model::MigMode::Enabled, NOW).unwrap();
    let small = profile(&node, "1g");
    let made = node.create_gpu_instance(1, root(), small, None, NOW).unwrap();
    let paths: Vec<(String, u32)> =
        node.capability_files().into_iter().map(|file| (file.path, file.minor)).collect();
    let gi = made.id;
    assert_eq!(gi.get(), 3);
    assert_eq!(
        paths[2],
        ("driver/nvidia/capabilities/gpu1/mig/gi3/access".into(), 3 + 135 + 9 * 3)
    );
    assert_eq!(paths.len(), 3);
    assert_eq!(
        node.capability_files()[0].contents,
        "DeviceFileMinor: 1\nDeviceFileMode: 256\nDeviceFileModify: 1\n"
    );
}
