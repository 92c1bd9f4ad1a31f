//! Names of MIG devices: the vendor's tables (MIG User Guide, "MIG Device Names"), and every board.

#![cfg(test)]

use model::{Geometry, GpuInstanceProfile, ProfileName, ProfileSelector, catalog};

fn geometry(board: &str) -> Geometry {
    catalog::board(board).unwrap().geometry()
}

/// The plain profile with so many compute slices.
fn gpu_instance(geometry: &Geometry, slices: u8) -> &GpuInstanceProfile {
    geometry.select(&ProfileSelector::Slices(slices)).unwrap()
}

/// The name of a device: GPU instance of so many compute slices, compute instance of so many.
fn name(geometry: &Geometry, gpu_instance_slices: u8, compute_slices: u8) -> String {
    let profile = gpu_instance(geometry, gpu_instance_slices);
    let compute = profile.compute_profiles.iter().find(|c| c.slices == compute_slices).unwrap();
    profile.device_name(compute).to_string()
}

/// "Device names when using a single CI": memory, GPU instance, compute instance, MIG device.
#[test]
fn a_single_compute_instance_is_implied() {
    let geometry = geometry("a100-sxm4-40gb");
    let table = [("20gb", 3, 3, "3g.20gb"), ("10gb", 2, 2, "2g.10gb"), ("5gb", 1, 1, "1g.5gb")];
    for (memory, gpu_instance, compute, device) in table {
        assert_eq!(name(&geometry, gpu_instance, compute), device);
        assert!(device.ends_with(memory));
    }
}

/// "Device names when using multiple CIs": a 3g.20gb divided in three, and in two and one.
#[test]
fn several_compute_instances_are_named_by_their_share() {
    let geometry = geometry("a100-sxm4-40gb");
    let table = [
        ([1, 1, 1].as_slice(), ["1c.3g.20gb", "1c.3g.20gb", "1c.3g.20gb"].as_slice()),
        (&[2, 1], &["2c.3g.20gb", "1c.3g.20gb"]),
    ];
    for (computes, devices) in table {
        let names: Vec<String> =
            computes.iter().map(|slices| name(&geometry, 3, *slices)).collect();
        assert_eq!(names, devices);
        assert_eq!(computes.iter().sum::<u8>(), 3);
    }
}

/// The guide's note: on the 80 GB card the names follow the memory.
#[test]
fn the_same_names_follow_the_memory_of_the_card() {
    let geometry = geometry("a100-sxm4-80gb");
    let names: Vec<String> =
        [1, 2, 3, 4, 7].iter().map(|slices| name(&geometry, *slices, *slices)).collect();
    assert_eq!(names, ["1g.10gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb"]);
    assert_eq!(name(&geometry, 7, 3), "3c.7g.80gb");
}

/// On every board a device's name says its GPU instance, and a part says so.
#[test]
fn names_lead_back_to_what_they_name() {
    for board in catalog::boards() {
        let geometry = board.geometry();
        for profile in &geometry.profiles {
            for compute in &profile.compute_profiles {
                let name = profile.device_name(compute);
                let parsed: ProfileName = name.to_string().parse().unwrap();
                assert_eq!(parsed, name, "{}", board.id);
                assert_eq!(parsed.gpu_instance(), profile.name, "{}", board.id);
                assert_eq!(parsed.compute.unwrap_or(profile.name.slices), compute.slices);
            }
        }
    }
}
