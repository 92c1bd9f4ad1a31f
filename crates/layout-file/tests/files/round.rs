//! What is exported is what stands: random layouts on every board of the catalog.

use layout_file::{Schema, Scope, Syntax, compare, export, read, resolve, write};
use model::{
    ComputeInstanceProfileId, DesiredGpu, GpuInstanceProfile, GpuSnapshot, Layout, MigMode,
    PlacedProfile, Placement, SliceMask, catalog,
};

use crate::machine::{gpu, mode, node, plain_gpu, put};

/// Numbers from a seed (an LCG with the constants of Knuth's MMIX).
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % bound.max(1)
    }
}

/// Machines of three GPUs for each board: a hundred layouts.
const ROUNDS: usize = 34;

/// Compute instances for a GPU instance: all of it, none, or parts at their places.
fn inside(
    profile: &GpuInstanceProfile,
    chance: &mut Chance,
    empty: bool,
) -> Vec<(ComputeInstanceProfileId, u8)> {
    let whole = profile.whole_compute_profile().unwrap().id;
    match chance.below(3) {
        0 if empty => Vec::new(),
        1 => {
            let mut taken = SliceMask::EMPTY;
            let mut parts = Vec::new();
            for _ in 0..=chance.below(8) {
                let compute =
                    &profile.compute_profiles[chance.below(profile.compute_profiles.len())];
                let start = compute.starts[chance.below(compute.starts.len())].get();
                let place = Placement::new(start, compute.slices).mask();
                let same = parts.iter().filter(|(id, _)| *id == compute.id).count() as u32;
                if !place.intersects(taken) && same < compute.max_count {
                    taken = taken.union(place);
                    parts.push((compute.id, start));
                }
            }
            parts
        }
        _ => vec![(whole, 0)],
    }
}

/// A GPU of this board with a random legal layout on it.
pub(crate) fn random_gpu(board: &str, index: u32, chance: &mut Chance, empty: bool) -> GpuSnapshot {
    let mut gpu = gpu(board, index);
    if chance.below(8) == 0 {
        gpu.mig = mode(MigMode::Disabled);
        return gpu;
    }
    let geometry = gpu.geometry.clone().unwrap();
    let mut layout = Layout::empty();
    for _ in 0..chance.below(9) {
        let profile = &geometry.profiles[chance.below(geometry.profiles.len())];
        let free = layout.free_placements(&geometry, profile.id);
        if free.is_empty() {
            continue;
        }
        let placement = free[chance.below(free.len())];
        layout = layout.with(&geometry, PlacedProfile { placement, profile: profile.id }).unwrap();
        put(&mut gpu, profile.id, placement.start.get(), &inside(profile, chance, empty));
    }
    gpu
}

#[test]
fn our_own_export_says_every_place_of_every_board() {
    let mut chance = Chance(4);
    for board in catalog::boards() {
        for round in 0..ROUNDS {
            let mut gpus: Vec<GpuSnapshot> =
                (0..3).map(|index| random_gpu(board.id, index, &mut chance, true)).collect();
            if round % 3 == 0 {
                gpus[1].instances = gpus[0].instances.clone();
                gpus[1].mig = gpus[0].mig;
            }
            gpus.push(plain_gpu(3));
            let node = node(gpus);
            let made = export(&node, "now", Schema::Own);
            assert_eq!(made.notes, [""; 0]);
            let syntax = if round % 2 == 0 { Syntax::Yaml } else { Syntax::Json };
            let text = write(&made.document, syntax);
            let document = read(&text).unwrap_or_else(|faults| panic!("{text}\n{faults}"));
            assert_eq!(write(&document, syntax), text);
            let found = compare(&document, None, &node, Scope::Layout)
                .unwrap_or_else(|error| panic!("{}\n{text}\n{error}", board.id));
            assert!(found.is_equal(), "{}\n{text}\n{found:#?}", board.id);
            assert_eq!(found.compared.len(), 3);
            assert_eq!(found.warnings, [], "{text}");
            exact(&document, &node);
        }
    }
}

/// Every instance is wanted at the place where it stands.
fn exact(document: &layout_file::Document, node: &model::NodeSnapshot) {
    let resolved = resolve(document, None, node).unwrap();
    for gpu in &node.gpus {
        let Some(DesiredGpu::Exactly(wanted)) = resolved.desired.get(&gpu.uuid) else { continue };
        assert_eq!(wanted.len(), gpu.instances.len());
        for wanted in wanted {
            let place = wanted.placement.unwrap();
            let found = gpu.instance_at(place).unwrap();
            assert_eq!(found.profile, wanted.profile);
            assert_eq!(found.compute_instances.len(), wanted.computes.len());
        }
    }
}

#[test]
fn an_export_for_mig_parted_counts_every_device_of_every_board() {
    let mut chance = Chance(5);
    for board in catalog::boards() {
        for round in 0..ROUNDS {
            let mut gpus: Vec<GpuSnapshot> =
                (0..3).map(|index| random_gpu(board.id, index, &mut chance, false)).collect();
            gpus.push(plain_gpu(3));
            let node = node(gpus);
            let made = export(&node, "now", Schema::MigParted);
            let syntax = if round % 2 == 0 { Syntax::Yaml } else { Syntax::Json };
            let text = write(&made.document, syntax);
            let document = read(&text).unwrap_or_else(|faults| panic!("{text}\n{faults}"));
            assert_eq!(write(&document, syntax), text);
            let found = compare(&document, None, &node, Scope::Layout)
                .unwrap_or_else(|error| panic!("{}\n{text}\n{error}", board.id));
            assert!(found.is_equal(), "{}\n{text}\n{found:#?}", board.id);
            assert_eq!(found.compared.len(), 3);
        }
    }
}

#[test]
fn a_change_of_any_instance_shows() {
    let mut chance = Chance(6);
    for board in catalog::boards() {
        for _ in 0..20 {
            let before = node(vec![random_gpu(board.id, 0, &mut chance, true)]);
            if before.gpus[0].instances.is_empty() {
                continue;
            }
            let own = export(&before, "now", Schema::Own).document;
            let mut after = before.clone();
            let which = chance.below(after.gpus[0].instances.len());
            if chance.below(2) == 0 {
                after.gpus[0].instances.remove(which);
            } else {
                let instance = &mut after.gpus[0].instances[which];
                if instance.compute_instances.pop().is_none() {
                    instance.placement.start = model::SliceIndex::new(31);
                }
            }
            let found = compare(&own, None, &after, Scope::Layout).unwrap();
            assert!(!found.is_equal());
            assert!(compare(&own, None, &after, Scope::Mode).unwrap().is_equal());
        }
    }
}
