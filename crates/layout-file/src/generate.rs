//! A file with the usual configurations for the boards at hand.
//!
//! Must never offer a layout that a board does not hold.

use std::collections::BTreeMap;

use model::{Geometry, GpuInstanceProfile, Layout, NodeSnapshot, ProfileName};

use crate::document::{
    Config, Count, CountedName, DeviceFilter, DeviceId, Devices, Document, Entry, GpuSelector,
    Schema, Wish,
};
use crate::fault::Mark;
use crate::fit::{Wanted, board_holds};
use crate::select::capable;

/// A kind of GPU.
#[derive(Debug, Clone)]
pub struct Kind<'a> {
    /// How its device-filter is written.
    pub device: DeviceId,
    /// What it can be cut into.
    pub geometry: &'a Geometry,
}

/// The kinds of GPU of a machine that can do MIG, each once. The subsystem is told where two kinds
/// share a device id (RTX PRO 5000 with 48 and with 72 GB).
pub fn kinds(node: &NodeSnapshot) -> Vec<Kind<'_>> {
    let mut kinds: Vec<Kind<'_>> = Vec::new();
    for gpu in node.gpus.iter().filter(|gpu| capable(gpu)) {
        let Some(geometry) = gpu.geometry.as_deref() else { continue };
        let known =
            |kind: &Kind<'_>| kind.device.device == gpu.pci_device_id && kind.geometry == geometry;
        if !kinds.iter().any(known) {
            kinds.push(Kind { device: DeviceId::of(gpu), geometry });
        }
    }
    let devices: Vec<u32> = kinds.iter().map(|kind| kind.device.device).collect();
    for kind in &mut kinds {
        if devices.iter().filter(|device| **device == kind.device.device).count() == 1 {
            kind.device.subsystem = None;
        }
    }
    kinds.sort_by_key(|kind| kind.device);
    kinds
}

/// The configurations that mig-parted's `generate-config` makes, for any board: `all-disabled`,
/// `all-enabled`, `all-<profile>` with as many as fit (`+` becomes `.` in the name), and
/// `all-balanced`. A device-filter stands there only for several kinds of GPU.
pub fn generate_config(kinds: &[Kind<'_>]) -> Document {
    let all = |wish| vec![entry(Vec::new(), wish)];
    let mut configs = vec![
        config("all-disabled", all(Wish::Off)),
        config("all-enabled", all(Wish::Counts(Vec::new()))),
    ];
    let mut profiles: BTreeMap<String, BTreeMap<u32, Vec<(DeviceId, ProfileName)>>> =
        BTreeMap::new();
    for kind in kinds {
        for profile in &kind.geometry.profiles {
            let count = Layout::empty().capacity(kind.geometry, profile.id);
            if count > 0 {
                let counts = profiles.entry(profile.name.to_string()).or_default();
                let devices = counts.entry(count).or_default();
                if !devices.iter().any(|(device, _)| *device == kind.device) {
                    devices.push((kind.device, profile.name));
                }
            }
        }
    }
    for (name, counts) in profiles {
        let entries = counts.into_iter().filter_map(|(count, devices)| {
            let (_, profile) = *devices.first()?;
            let devices = devices.into_iter().map(|(device, _)| device).collect();
            Some(entry(filter(kinds, devices), Wish::Counts(vec![counted(profile, count)])))
        });
        configs.push(config(&format!("all-{}", name.replace('+', ".")), entries.collect()));
    }
    let balanced: Vec<Entry> = kinds
        .iter()
        .filter_map(|kind| {
            let counts = balanced(kind.geometry)?;
            Some(entry(filter(kinds, vec![kind.device]), Wish::Counts(counts)))
        })
        .collect();
    if !balanced.is_empty() {
        configs.push(config("all-balanced", balanced));
    }
    Document { schema: Schema::MigParted, configs, warnings: Vec::new() }
}

fn config(name: &str, entries: Vec<Entry>) -> Config {
    Config { name: name.into(), at: Mark::START, entries }
}

fn entry(filter: Vec<DeviceFilter>, wish: Wish) -> Entry {
    let gpus = GpuSelector { filter, devices: Devices::All, at: Mark::START };
    Entry { at: Mark::START, gpus, wish, lend: false }
}

fn filter(kinds: &[Kind<'_>], devices: Vec<DeviceId>) -> Vec<DeviceFilter> {
    if kinds.len() < 2 {
        return Vec::new();
    }
    let one = |id: DeviceId| DeviceFilter { at: Mark::START, text: id.to_string(), id: Some(id) };
    devices.into_iter().map(one).collect()
}

fn counted(name: ProfileName, count: u32) -> Count {
    let text = name.to_string();
    Count { at: Mark::START, text, name: CountedName::Possible(name), count }
}

/// Two small ones, one of twice and one of three times the compute, as far as the board holds it:
/// on boards of seven slices 2 x 1g + 2g + 3g, on those of four 2 x 1g + 2g.
fn balanced(geometry: &Geometry) -> Option<Vec<Count>> {
    let plain = |slices: u8| {
        let of = geometry.plain_profiles().filter(|profile| profile.name.slices == slices);
        of.min_by_key(|profile| profile.size)
    };
    let one = plain(1)?;
    let mut wanted: Vec<(&GpuInstanceProfile, u32)> = vec![(one, 2)];
    for larger in [plain(2), plain(3)].into_iter().flatten() {
        wanted.push((larger, 1));
        if !fits(geometry, &wanted) {
            wanted.pop();
        }
    }
    let more_than_one_size = wanted.len() > 1 && fits(geometry, &wanted);
    more_than_one_size
        .then(|| wanted.iter().map(|(profile, count)| counted(profile.name, *count)).collect())
}

fn fits(geometry: &Geometry, wanted: &[(&GpuInstanceProfile, u32)]) -> bool {
    let all: Vec<Wanted<'_>> =
        wanted.iter().flat_map(|(profile, count)| (0..*count).map(|_| (*profile, None))).collect();
    board_holds(geometry, &all)
}
