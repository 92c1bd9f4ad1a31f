//! The golden values of real machines (`nvml.md` §9.3.1), through the C functions.

mod common;

use common::{
    IN_USE, INSUFFICIENT_RESOURCES, OK, ask, bench, capacity, create, create_at, create_compute,
    gpu, mig_device, mig_on, place, text,
};
use sim_nvml::entry;

const G1: u32 = 19;
const G1_ME: u32 = 20;
const G1_DOUBLE: u32 = 15;
const G2: u32 = 14;
const G3: u32 = 9;
const G4: u32 = 5;
const G7: u32 = 0;

#[test]
fn remaining_capacity_of_an_a100_is_as_logged() {
    let _bench = bench("a100-sxm4-40gb:1");
    let device = gpu(0);
    mig_on(device);
    let row = || [G1, G1_ME, G1_DOUBLE, G2, G3, G4, G7].map(|id| capacity(device, id).unwrap());
    assert_eq!(row(), [7, 1, 4, 3, 2, 1, 1]);
    create(device, G4).unwrap();
    assert_eq!(row(), [3, 1, 2, 1, 1, 0, 0]);
    create(device, G2).unwrap();
    assert_eq!(row(), [1, 1, 1, 0, 0, 0, 0]);
    create(device, G1).unwrap();
    assert_eq!(row(), [0; 7]);
}

/// Profiles in order, then ids and starts as logged; a failure ends the list.
type Sequence = (&'static [u32], &'static [u32], &'static [u32]);

fn replay(chip: &str, sequences: &[Sequence]) {
    for (profiles, ids, starts) in sequences {
        let text = format!("[[gpu]]\nboard = \"a100-sxm4-40gb\"\nchip = \"{chip}\"\n");
        let _bench = bench(&text);
        let device = gpu(0);
        mig_on(device);
        let mut made = Vec::new();
        for profile in *profiles {
            match create(device, *profile) {
                Ok(instance) => made.push(place(instance)),
                Err(code) => assert_eq!(code, INSUFFICIENT_RESOURCES),
            }
        }
        let found: Vec<u32> = made.iter().map(|place| place.0).collect();
        assert_eq!(found, *ids, "ids after {profiles:?} on a {chip} chip");
        let found: Vec<u32> = made.iter().map(|place| place.1).collect();
        assert_eq!(found, *starts, "starts after {profiles:?} on a {chip} chip");
    }
}

#[test]
fn the_driver_places_as_logged_on_plain_chips() {
    replay(
        "plain",
        &[
            (&[G1; 7], &[13, 11, 12, 7, 8, 9, 10], &[6, 4, 5, 0, 1, 2, 3]),
            (&[G1, G2, G4], &[13, 5, 1], &[6, 4, 0]),
            (&[G1, G1, G2, G3], &[13, 11, 3], &[6, 4, 0]),
            (&[G3, G1, G2, G1], &[2, 7, 4, 8], &[4, 0, 2, 1]),
            (&[G3, G2, G1, G1], &[2, 3, 9, 10], &[4, 0, 2, 3]),
            (&[G2, G2, G2, G1_ME], &[5, 3, 4, 13], &[4, 0, 2, 6]),
            (&[G2, G1, G1, G1, G1, G1], &[5, 13, 7, 8, 9, 10], &[4, 6, 0, 1, 2, 3]),
            (&[G3, G3], &[2, 1], &[4, 0]),
            (&[G3, G4], &[2, 1], &[4, 0]),
        ],
    );
}

#[test]
fn the_driver_places_as_logged_on_swapped_chips() {
    replay(
        "swapped",
        &[
            (&[G1; 7], &[9, 7, 8, 11, 12, 13, 14], &[6, 4, 5, 0, 1, 2, 3]),
            (&[G3, G1, G2, G1], &[1, 11, 6, 12], &[4, 0, 2, 1]),
            (&[G3, G2, G1], &[1, 5, 13], &[4, 0, 2]),
            (&[G2, G2, G1], &[3, 5, 9], &[4, 0, 6]),
            (&[G3, G3], &[1, 2], &[4, 0]),
            (&[G4, G2, G1], &[2, 3, 9], &[0, 4, 6]),
        ],
    );
}

#[test]
fn memory_of_the_parent_is_the_sum_over_its_instances() {
    let _bench = bench("[[gpu]]\nboard = \"a100-sxm4-40gb\"\nchip = \"swapped\"\n");
    let device = gpu(0);
    mig_on(device);
    let four = create(device, G4).unwrap();
    create_compute(four, 3).unwrap();
    let two = create(device, G2).unwrap();
    create_compute(two, 0).unwrap();
    create_compute(two, 0).unwrap();
    let one = create(device, G1).unwrap();
    create_compute(one, 0).unwrap();
    let mib = |bytes: u64| bytes >> 20;
    let devices: Vec<_> = (0..4).map(|index| mig_device(device, index).unwrap()).collect();
    let memory: Vec<_> = devices
        .iter()
        .map(|mig| ask(|out| entry::nvmlDeviceGetMemoryInfo(*mig, out)).unwrap())
        .collect();
    let totals: Vec<u64> = memory.iter().map(|memory| mib(memory.total)).collect();
    assert_eq!(totals, [20096, 9984, 9984, 4864]);
    let used: Vec<u64> = memory.iter().map(|memory| mib(memory.used)).collect();
    assert_eq!(used, [142, 71, 71, 36]);
    let bar1: Vec<u64> = devices
        .iter()
        .map(|mig| mib(ask(|out| entry::nvmlDeviceGetBAR1MemoryInfo(*mig, out)).unwrap().bar1Total))
        .collect();
    assert_eq!(bar1, [12211, 6105, 6105, 3052]);
    let parent = ask(|out| entry::nvmlDeviceGetMemoryInfo(device, out)).unwrap();
    assert_eq!((mib(parent.total), mib(parent.used)), (40960, 142 + 71 + 36));
}

#[test]
fn capability_minors_are_those_of_the_kernel() {
    let bench = bench("[[gpu]]\nboard = \"a100-sxm4-40gb\"\nchip = \"swapped\"\n");
    let device = gpu(0);
    mig_on(device);
    for profile in [G4, G2, G1] {
        let instance = create(device, profile).unwrap();
        create_compute(instance, if profile == G4 { 3 } else { 0 }).unwrap();
    }
    let root = bench.host.root();
    let minors = std::fs::read_to_string(root.join("proc/driver/nvidia-caps/mig-minors")).unwrap();
    assert!(minors.starts_with("config 1\nmonitor 2\ngpu0/gi0/access 3\n"));
    assert!(minors.ends_with("gpu31/gi14/ci7/access 4322\n"));
    for (gi, gi_minor, ci_minor) in [(2, 21, 22), (3, 30, 31), (9, 84, 85)] {
        assert!(minors.contains(&format!("\ngpu0/gi{gi}/access {gi_minor}\n")));
        assert!(minors.contains(&format!("\ngpu0/gi{gi}/ci0/access {ci_minor}\n")));
        for (file, minor) in
            [(format!("gi{gi}/access"), gi_minor), (format!("gi{gi}/ci0/access"), ci_minor)]
        {
            let path = root.join("proc/driver/nvidia/capabilities/gpu0/mig").join(file);
            let access = std::fs::read_to_string(path).unwrap();
            let wanted =
                format!("DeviceFileMinor: {minor}\nDeviceFileMode: 292\nDeviceFileModify: 1\n");
            assert_eq!(access, wanted);
            assert!(root.join(format!("dev/nvidia-caps/nvidia-cap{minor}")).exists());
        }
    }
}

#[test]
fn names_uuids_and_indexes_of_mig_devices() {
    let _bench = bench("a100-sxm4-40gb:1");
    let device = gpu(0);
    mig_on(device);
    let high = create_at(device, G2, 4, 2).unwrap();
    create_compute(high, 0).unwrap();
    let name = |device| text(|out, length| entry::nvmlDeviceGetName(device, out, length)).unwrap();
    let uuid = |device| text(|out, length| entry::nvmlDeviceGetUUID(device, out, length)).unwrap();
    let first = mig_device(device, 0).unwrap();
    assert_eq!(name(first), "NVIDIA A100-SXM4-40GB MIG 1c.2g.10gb");
    let first_uuid = uuid(first);
    assert!(first_uuid.starts_with("MIG-"));
    assert_eq!(&first_uuid[18..19], "5", "a version 5 UUID: {first_uuid}");
    // An instance with a lower id takes index 0.
    let low = create_at(device, G3, 0, 4).unwrap();
    create_compute(low, 2).unwrap();
    assert_eq!(name(mig_device(device, 0).unwrap()), "NVIDIA A100-SXM4-40GB MIG 3g.20gb");
    assert_eq!(uuid(mig_device(device, 1).unwrap()), first_uuid);
    assert_eq!(mig_device(device, 2), Err(common::NOT_FOUND));
    // The same instance made again has the same UUID, but the old handle is dead.
    let compute = ask(|out| entry::nvmlGpuInstanceGetComputeInstanceById(high, 0, out)).unwrap();
    assert_eq!(entry::nvmlGpuInstanceDestroy(high), IN_USE);
    assert_eq!(entry::nvmlComputeInstanceDestroy(compute), OK);
    assert_eq!(entry::nvmlGpuInstanceDestroy(high), OK);
    let again = create_at(device, G2, 4, 2).unwrap();
    create_compute(again, 0).unwrap();
    assert_eq!(uuid(mig_device(device, 1).unwrap()), first_uuid);
    let dead = ask::<u32>(|out| entry::nvmlDeviceGetComputeInstanceId(first, out));
    assert_eq!(dead, Err(common::INVALID_ARGUMENT));
    assert_eq!(entry::nvmlGpuInstanceDestroy(high), common::INVALID_ARGUMENT);
}
