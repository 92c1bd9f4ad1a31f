//! Boards are found by what NVML and people call them, and names of profiles follow one rule.

use std::collections::BTreeSet;

use model::catalog::{self, Architecture, Confidence};
use model::{Geometry, MemoryMib, NominalGb};

#[test]
fn every_board_is_found_by_its_id_and_its_names() {
    let ids: BTreeSet<&str> = catalog::boards().map(|board| board.id).collect();
    assert_eq!(ids.len(), 42);
    for board in catalog::boards() {
        assert_eq!(catalog::board(board.id).map(|b| b.id), Some(board.id));
        assert_eq!(catalog::board(&board.id.to_uppercase()).map(|b| b.id), Some(board.id));
        for name in board.nvml_names {
            let bare = name.strip_prefix("NVIDIA ").expect("the driver names the vendor");
            for spelling in [name, bare, &*name.to_lowercase()] {
                let found = catalog::by_nvml_name(spelling).map(|board| board.id);
                assert_eq!(found, Some(board.id), "{spelling}");
            }
        }
    }
    for stranger in ["", "NVIDIA", "NVIDIA GeForce RTX 4090", "NVIDIA H100 PCIe 2"] {
        assert!(catalog::by_nvml_name(stranger).is_none(), "{stranger}");
    }
    assert!(catalog::board("a100").is_none());
}

#[test]
fn a_name_is_not_taken_for_a_longer_one() {
    let id = |name| catalog::by_nvml_name(name).map(|board| board.id);
    assert_eq!(id("NVIDIA H100"), Some("h100-sxm5-94gb"));
    assert_eq!(id("NVIDIA H100 PCIe"), Some("h100-pcie-80gb"));
    assert_eq!(id("NVIDIA H100 80GB HBM3"), Some("h100-sxm5-80gb"));
    assert_eq!(id("A100 80GB PCIe"), Some("a100-pcie-80gb"));
}

#[test]
fn every_board_is_found_by_its_pci_ids() {
    for board in catalog::boards() {
        for pci in board.pci {
            assert_eq!(pci.device_and_vendor & 0xFFFF, 0x10DE, "{}", board.id);
            let subsystem = pci.subsystem.map(u32::from);
            let found = catalog::by_pci(pci.device_and_vendor, subsystem);
            assert_eq!(found.map(|board| board.id), Some(board.id));
        }
    }
    let id = |device, subsystem| catalog::by_pci(device, subsystem).map(|board| board.id);
    assert_eq!(id(0x20B0_10DE, Some(0x134F_10DE)), Some("a100-sxm4-40gb"));
    assert_eq!(id(0x20B0_8086, None), None);
    assert_eq!(id(0x2684_10DE, None), None);
}

#[test]
fn one_device_id_of_two_products_needs_the_subsystem() {
    let id = |subsystem| catalog::by_pci(0x2BB3_10DE, subsystem).map(|board| board.id);
    assert_eq!(id(None), None);
    assert_eq!(catalog::all_by_pci(0x2BB3_10DE, None).count(), 2);
    assert_eq!(id(Some(0x204D_10DE)), Some("rtx-pro-5000-48gb"));
    assert_eq!(id(Some(0x204D)), Some("rtx-pro-5000-48gb"));
    assert_eq!(id(Some(0x227A_10DE)), Some("rtx-pro-5000-72gb"));
    assert_eq!(id(Some(0x1111_10DE)), None);
}

#[test]
fn a_mistyped_id_gives_the_nearest() {
    for (typed, nearest) in [
        ("a100-sxm4-40g", "a100-sxm4-40gb"),
        ("a100-sxm-40gb", "a100-sxm4-40gb"),
        ("A300", "a30"),
        ("h200", "h200-sxm-141gb"),
        ("h100-pcie", "h100-pcie-80gb"),
        ("thor", "thor-igpu"),
        ("b20", "b200"),
    ] {
        let found = catalog::nearest_ids(typed);
        assert_eq!((found[0], found.len()), (nearest, 3), "{typed}: {found:?}");
    }
    assert_eq!(catalog::nearest_ids("").len(), 3);
}

#[test]
fn only_ampere_resets_to_change_the_mode() {
    for board in catalog::boards() {
        let ampere = board.architecture == Architecture::Ampere;
        assert_eq!(board.mig_toggle_needs_reset(), ampere, "{}", board.id);
        assert_eq!(board.compute_capability.0 == 8, ampere, "{}", board.id);
    }
    assert_eq!(Architecture::Ampere.nvml_value(), 7);
    assert_eq!(Architecture::Hopper.nvml_value(), 9);
    assert_eq!(Architecture::Blackwell.nvml_value(), 10);
}

/// gb = the total in whole GiB, rounded up, times the share, rounded half up.
#[test]
fn the_naming_rule_gives_every_name() {
    let mut names = 0;
    for board in catalog::boards() {
        let total = board.total_memory();
        if board.nominal_gib > 0 {
            assert_eq!(total.get().div_ceil(1024), u64::from(board.nominal_gib), "{}", board.id);
        }
        for (facts, profile) in board.profiles().iter().zip(board.geometry().profiles) {
            assert_eq!(facts.name, profile.name);
            let name = profile.name.memory;
            let what = format!("{} {}", board.id, profile.name);
            match facts.share {
                Some(share) => {
                    let named = NominalGb::of_fraction(board.nominal_gib, 1, u32::from(share.of));
                    assert_eq!(named, name, "{what}");
                }
                None => assert_eq!(name.get(), 0, "{what}"),
            }
            assert_eq!(Geometry::nominal_gb(profile.memory, total), name, "{what}");
            names += 1;
        }
    }
    assert_eq!(names, 301);
}

/// The usable sizes that other drivers showed carry the same names.
#[test]
fn the_naming_rule_holds_for_every_size_seen() {
    for board in catalog::boards() {
        for profile in board.profiles() {
            for memory in profile.memory_elsewhere {
                let name = Geometry::nominal_gb(memory, board.total_memory());
                assert_eq!(name, profile.name.memory, "{} {memory}", board.id);
            }
        }
    }
}

#[test]
fn names_shift_with_the_total_that_the_driver_reports() {
    // A100 80 GB of which a driver reports a little less than 79 GiB: 7g.79gb.
    let total = MemoryMib::new(80_800);
    assert_eq!(NominalGb::of_fraction(79, 1, 1).get(), 79);
    assert_eq!(Geometry::nominal_gb(MemoryMib::new(80_384), total).get(), 79);
    assert_eq!(Geometry::nominal_gb(MemoryMib::new(40_192), total).get(), 40);
    // GB200: 186 GiB or 189 GiB.
    for (total, family) in [(186, [23, 47, 93, 186]), (189, [24, 47, 95, 189])] {
        let shares = [8, 4, 2, 1].map(|of| NominalGb::of_fraction(total, 1, of).get());
        assert_eq!(shares, family);
    }
}

#[test]
fn what_nobody_published_is_unknown() {
    let b200 = catalog::board("b200").expect("a board").profiles();
    let three = b200.iter().find(|profile| profile.name.slices == 3).expect("3g");
    assert_eq!(three.memory.value, None);
    assert_eq!(three.multiprocessors.value, None);
    assert_eq!(three.memory.confidence, Confidence::Unknown);
    let a100 = catalog::board("a100-sxm4-40gb").expect("a board").profiles();
    for profile in &a100 {
        assert_eq!(profile.memory.confidence, Confidence::Verified);
        assert!(profile.memory.value.is_some() && profile.multiprocessors.value.is_some());
    }
    let rtx = catalog::board("rtx-pro-5000-48gb").expect("a board").profiles();
    assert!(rtx.iter().all(|profile| profile.id.value.is_none()));
}
