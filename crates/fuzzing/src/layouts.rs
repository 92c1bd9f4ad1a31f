//! Files of layouts, checkpoints and hooks, on a machine with three kinds of GPU.
//!
//! Must never ask whether a layout is a good one.

use std::sync::Arc;

use layout_file::{Schema, Scope, Syntax, TableForm};
use model::{
    GpuIndex, GpuMinor, GpuSnapshot, GpuUuid, Health, MemoryMib, MigMode, MigState, NodeSnapshot,
    PciAddress, Timestamp, catalog,
};

/// Feeds the readers of everything that says how GPUs are cut. What is read resolves or is
/// refused, and what is written reads as the same.
pub fn layouts(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let node = node();
    if let Err(faults) = layout_file::read_hooks(text) {
        assert!(!faults.to_string().is_empty());
    }
    if let Err(faults) = layout_file::read_checkpoint(text, &node) {
        assert!(!faults.0.is_empty());
    }
    services(text);
    let document = match layout_file::read(text) {
        Ok(document) => document,
        Err(faults) => {
            assert!(!faults.0.is_empty());
            return;
        }
    };
    for config in &document.configs {
        let name = Some(config.name.as_str());
        let resolved = layout_file::resolve(&document, name, &node);
        let compared = layout_file::compare(&document, name, &node, Scope::Layout);
        assert_eq!(resolved.is_ok(), compared.is_ok());
    }
    for schema in [Schema::MigParted, Schema::Own] {
        let converted = layout_file::convert(&document, schema, Some(&node)).document;
        if converted.configs.is_empty() {
            continue;
        }
        for syntax in [Syntax::Yaml, Syntax::Json] {
            let written = layout_file::write(&converted, syntax);
            let again = match layout_file::read(&written) {
                Ok(again) => again,
                Err(faults) => panic!("`{written}` does not read: {faults}"),
            };
            assert_eq!(layout_file::write(&again, syntax), written);
        }
    }
}

/// Feeds the readers of services and of profile tables; a table that is written reads as the same.
fn services(text: &str) {
    if let Err(faults) = layout_file::read_services(text) {
        assert!(!faults.0.is_empty());
    }
    for form in [TableForm::Csv, TableForm::Yaml] {
        let table = match layout_file::read_profile_table(text, form) {
            Ok(table) => table,
            Err(faults) => {
                assert!(!faults.0.is_empty());
                continue;
            }
        };
        let written = layout_file::write_profile_table(&table, "");
        let again = layout_file::read_profile_table(&written, TableForm::Csv);
        let again = again.map(|table| layout_file::write_profile_table(&table, ""));
        assert_eq!(again.as_ref(), Ok(&written));
    }
}

fn node() -> NodeSnapshot {
    let boards = ["a100-sxm4-40gb", "a30", "rtx-pro-6000-bse"];
    let gpu = |(index, board): (u32, &str)| {
        let board = catalog::board(board).unwrap();
        let mode = MigMode::Enabled;
        GpuSnapshot {
            uuid: GpuUuid::new(format!("GPU-{index}")),
            index: GpuIndex::new(index),
            minor: GpuMinor::new(index),
            pci: PciAddress { domain: 0, bus: 7 + index as u8, device: 0 },
            name: board.title.into(),
            pci_device_id: board.pci.first().map_or(0, |pci| pci.device_and_vendor),
            pci_subsystem_id: None,
            memory: MemoryMib::new(40960),
            compute_capability: None,
            mig: MigState::Supported { current: mode, pending: mode },
            geometry: Some(Arc::new(board.geometry())),
            instances: Vec::new(),
            processes: Vec::new(),
            health: Health::Ok,
        }
    };
    NodeSnapshot {
        taken_at: Timestamp::default(),
        driver_version: String::new(),
        cuda_version: None,
        gpus: (0..).zip(boards).map(gpu).collect(),
    }
}
