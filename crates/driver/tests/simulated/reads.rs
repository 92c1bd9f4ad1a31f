//! What is read of a simulated machine equals what the machine is.
//!
//! Must never compare memory for equality: it drifts with the driver.

use model::{Health, MigMode, MigState, Timestamp, catalog};

use crate::machine::{Machine, assert_alike};

#[test]
fn a_dgx_a100_is_read_as_it_is() {
    let machine = Machine::new("dgx-a100");
    let snapshot = machine.driver.snapshot(Timestamp::from_millis(42)).unwrap();
    assert_eq!(snapshot.taken_at, Timestamp::from_millis(42));
    assert_eq!(snapshot.gpus.len(), 8);
    assert_eq!(machine.driver.versions().unwrap().driver, snapshot.driver_version);
    for (index, gpu) in snapshot.gpus.iter().enumerate() {
        assert_eq!(gpu.index.get() as usize, index);
        assert_eq!(gpu.name, "NVIDIA A100-SXM4-40GB");
        assert_eq!(gpu.pci_device_id, 0x20B0_10DE);
        // The catalog has no subsystem for this board; the driver's 0 is no id.
        assert_eq!(gpu.pci_subsystem_id, None);
        assert_eq!(gpu.memory.get(), 40960);
        assert_eq!(gpu.compute_capability, Some((8, 0)));
        assert_eq!(gpu.health, Health::Ok);
        let (current, pending) = (MigMode::Disabled, MigMode::Disabled);
        assert_eq!(gpu.mig, MigState::Supported { current, pending });
        assert!(gpu.instances.is_empty());
        assert_eq!(machine.driver.gpu_snapshot(&gpu.uuid).unwrap(), *gpu);
    }
    assert_eq!(snapshot.gpus[1].pci.to_string(), "00000000:0F:00.0");
}

/// With MIG off some drivers tell v1 profiles, some nothing: either way the board is known.
#[test]
fn geometry_is_known_with_mig_off() {
    let machine = Machine::new("a100-sxm4-40gb:2");
    let expected = catalog::board("a100-sxm4-40gb").unwrap().geometry();
    assert_alike(&machine.gpu(0).geometry.unwrap(), &expected, "v1");
    machine.host.set_knobs(|knobs| knobs.profiles_with_mig_off = false).unwrap();
    machine.driver.refresh_geometry(&machine.uuid(0));
    let gpu = machine.gpu(0);
    assert_eq!(gpu.health, Health::Ok);
    assert_eq!(*gpu.geometry.unwrap(), expected);
}

#[test]
fn geometry_read_from_nvml_equals_the_catalogs() {
    for board in
        ["a100-sxm4-80gb", "a30", "h100-sxm5-80gb", "h200-sxm-141gb", "b200", "rtx-pro-6000-bse"]
    {
        let machine = Machine::with_mig(&format!("{board}:1"));
        let expected = catalog::board(board).unwrap().geometry();
        assert_alike(&machine.gpu(0).geometry.unwrap(), &expected, board);
    }
}

/// Compute profiles are read from living instances; the catalog must have been right.
#[test]
fn compute_profiles_of_living_instances_equal_the_catalogs() {
    for board in ["a100-sxm4-40gb", "a30", "h100-sxm5-80gb", "rtx-pro-6000-bse"] {
        let machine = Machine::with_mig(&format!("{board}:1"));
        let expected = catalog::board(board).unwrap().geometry();
        let uuid = machine.uuid(0);
        for kind in &expected.profiles {
            let place = kind.placements().next().unwrap();
            let id = machine.driver.create_gpu_instance(&uuid, kind.id, place).unwrap();
            assert_alike(&machine.gpu(0).geometry.unwrap(), &expected, board);
            machine.driver.destroy_gpu_instance(&uuid, id).unwrap();
        }
    }
}

#[test]
fn links_and_telemetry_are_read() {
    let machine = Machine::new("dgx-a100");
    let matrix = machine.driver.topology().unwrap();
    assert_eq!(matrix.gpus.len(), 8);
    for (row, paths) in matrix.paths.iter().enumerate() {
        for (column, path) in paths.iter().enumerate() {
            assert_eq!(path.is_none(), row == column);
            if let Some(path) = path {
                assert_eq!(path.nvlinks, 12);
                assert!(path.level.is_some());
                assert_eq!(matrix.paths[column][row], Some(*path));
            }
        }
    }
    // The simulator tells processors and memory that the machine really has.
    assert_eq!(matrix.near.len(), 8);
    for near in &matrix.near {
        assert!(near.cpus.as_ref().is_some_and(|cpus| cpus.is_sorted()), "{near:?}");
        assert_eq!(near.memory_nodes.as_ref().map(Vec::len), Some(1));
        assert_eq!(near.own_node, None);
    }
    let extras = machine.driver.gpu_extras(&matrix.gpus[0]).unwrap();
    assert_eq!(extras.architecture, Some(7));
    assert!(extras.serial.is_some() && extras.power_milliwatts.is_some());
    assert!(extras.temperature_celsius.is_some());
    assert_eq!(extras.memory.unwrap().total.get(), 40960);
    assert_eq!(extras.mode_change_needs_reset(), Some(true));
}

#[test]
fn what_stands_in_the_way_of_a_reset_is_told_and_taken_away() {
    use driver::Virtualization;
    let machine = Machine::new("a30:1");
    let gpu = machine.uuid(0);
    assert_eq!(machine.driver.persistence(&gpu).unwrap(), Some(false));
    machine.driver.set_persistence(&gpu, true).unwrap();
    assert_eq!(machine.driver.persistence(&gpu).unwrap(), Some(true));
    assert!(machine.host.reset_gpu(0).is_err(), "persistence mode holds the GPU");
    machine.driver.set_persistence(&gpu, false).unwrap();
    machine.driver.close().unwrap();
    machine.host.reset_gpu(0).unwrap();
    machine.driver.reopen().unwrap();
    for (set, told, speaks_against) in [
        (sim_gpu::Virtualization::BareMetal, Virtualization::None, false),
        (sim_gpu::Virtualization::Passthrough, Virtualization::Passthrough, true),
        (sim_gpu::Virtualization::VgpuGuest, Virtualization::VgpuGuest, true),
        (sim_gpu::Virtualization::VgpuHost, Virtualization::VgpuHost, true),
    ] {
        machine.host.change(|node, _| node.gpus[0].virtualization = set).unwrap();
        assert_eq!(machine.driver.virtualization(&gpu).unwrap(), Some(told));
        assert_eq!(told.against_mode_change(true).is_some(), speaks_against, "{told:?}");
    }
    // Hopper and later change their mode without a reset.
    assert_eq!(Virtualization::Passthrough.against_mode_change(false), None);
    drop(machine);
    let old = ["nvmlDeviceGetVirtualizationMode", "nvmlDeviceSetPersistenceMode"];
    let machine = Machine::without("a30:1", Box::leak(Box::new(old)));
    assert_eq!(machine.driver.virtualization(&machine.uuid(0)).unwrap(), None);
    let error = machine.driver.set_persistence(&machine.uuid(0), true).unwrap_err();
    assert!(matches!(error, driver::DriverError::MissingSymbol { .. }), "{error}");
}
