//! Machines to plan on: every geometry of the catalog, any layout on it, any holders; and a driver
//! that does what a plan says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use checker::{InstanceProtection, Protected};
use model::{
    ComputeInstance, ComputeInstanceId, DesiredCompute, DesiredInstance, Geometry, GpuIndex,
    GpuInstance, GpuInstanceId, GpuInstanceProfileId, GpuMinor, GpuProcess, GpuSnapshot, GpuUuid,
    Health, Layout, LeaseId, MemoryMib, MigMode, MigState, NodeSnapshot, PlacedProfile, Placement,
    Plan, Step, Timestamp, catalog,
};
use planner::{Hold, Occupant, Planner, Room, Want, Why};
use proptest::prelude::*;

/// Every geometry of the catalog that differs from the ones before in its shapes.
pub(crate) fn geometries() -> &'static [(&'static str, Arc<Geometry>)] {
    static ALL: OnceLock<Vec<(&'static str, Arc<Geometry>)>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut shapes = BTreeSet::new();
        let boards = catalog::boards().map(|board| (board.id, Arc::new(board.geometry())));
        boards.filter(|(_, geometry)| shapes.insert(shape(geometry))).collect()
    })
}

/// What decides legality, as text.
fn shape(geometry: &Geometry) -> String {
    let profiles = geometry.profiles.iter().map(|p| {
        let compute: Vec<_> = p.compute_profiles.iter().map(|c| (c.slices, &c.starts)).collect();
        format!("{} {:?} {} {:?} {compute:?}", p.size, p.starts, p.max_instances, p.engines)
    });
    let profiles: Vec<String> = profiles.collect();
    format!("{} {profiles:?} {:?} {:?}", geometry.grid, geometry.engine_capacity, geometry.rules)
}

pub(crate) fn geometry(board: &str) -> Arc<Geometry> {
    Arc::new(catalog::board(board).unwrap().geometry())
}

pub(crate) fn a100() -> Arc<Geometry> {
    let found = geometries().iter().find(|(id, _)| *id == "a100-sxm4-40gb");
    found.map_or_else(|| geometry("a100-sxm4-40gb"), |(_, geometry)| Arc::clone(geometry))
}

/// A planner that knows all geometries.
pub(crate) fn planner() -> &'static Planner {
    static PLANNER: OnceLock<Planner> = OnceLock::new();
    PLANNER.get_or_init(|| {
        let mut planner = Planner::new();
        for (_, geometry) in geometries() {
            planner.learn(geometry);
        }
        planner.learn(&a100());
        planner
    })
}

pub(crate) const ONE: u32 = 19;
pub(crate) const TWO: u32 = 14;
pub(crate) const THREE: u32 = 9;
pub(crate) const FOUR: u32 = 5;
pub(crate) const SEVEN: u32 = 0;

pub(crate) fn part(profile: u32, start: u8, size: u8) -> PlacedProfile {
    PlacedProfile {
        placement: Placement::new(start, size),
        profile: GpuInstanceProfileId::new(profile),
    }
}

/// Why an instance is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Busy,
    Leased,
    Warm,
}

/// A GPU with instances on it, as records and driver see it together.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) geometry: Arc<Geometry>,
    pub(crate) parts: Vec<(PlacedProfile, Who)>,
}

impl World {
    pub(crate) fn new(geometry: &Arc<Geometry>, parts: &[(PlacedProfile, Who)]) -> Self {
        Self { geometry: Arc::clone(geometry), parts: parts.to_vec() }
    }

    fn uuid(index: usize) -> GpuUuid {
        GpuUuid::new(format!("GPU-{index}"))
    }

    pub(crate) fn room(&self, index: usize) -> Room {
        let hold = |who| if who == Who::Warm { Hold::Warm } else { Hold::Held };
        let occupants =
            self.parts.iter().map(|(part, who)| Occupant { part: *part, hold: hold(*who) });
        Room {
            gpu: Self::uuid(index),
            geometry: Arc::clone(&self.geometry),
            occupants: occupants.collect(),
            usable: true,
            promised: Vec::new(),
        }
    }

    pub(crate) fn layout_of(&self, with_warm: bool) -> Layout {
        let parts = self.parts.iter().filter(|(_, who)| with_warm || *who != Who::Warm);
        Layout::new(&self.geometry, parts.map(|(part, _)| *part)).unwrap()
    }

    pub(crate) fn snapshot(&self, index: usize) -> GpuSnapshot {
        let instances = self.parts.iter().enumerate().map(|(i, (part, who))| {
            let mut instance = bare(i as u32 + 1, *part);
            instance.compute_instances = vec![whole(&self.geometry, *part)];
            if *who == Who::Busy {
                let process = GpuProcess { pid: 1000 + i as u32, memory: None };
                instance.compute_instances[0].processes = vec![process];
            }
            instance
        });
        GpuSnapshot {
            uuid: Self::uuid(index),
            index: GpuIndex::new(index as u32),
            minor: GpuMinor::new(index as u32),
            pci: "00000000:07:00.0".parse().unwrap(),
            name: "board".into(),
            pci_device_id: 0,
            pci_subsystem_id: None,
            memory: MemoryMib::new(1),
            compute_capability: None,
            mig: MigState::Supported { current: MigMode::Enabled, pending: MigMode::Enabled },
            geometry: Some(Arc::clone(&self.geometry)),
            instances: instances.collect(),
            processes: Vec::new(),
            health: Health::Ok,
        }
    }

    /// The ids of the leased instances.
    pub(crate) fn leased(&self) -> BTreeSet<GpuInstanceId> {
        let all = self.parts.iter().enumerate().filter(|(_, (_, who))| *who == Who::Leased);
        all.map(|(i, _)| GpuInstanceId::new(i as u32 + 1)).collect()
    }

    /// The leased instances, with who has them.
    pub(crate) fn why(&self) -> BTreeMap<GpuInstanceId, Why> {
        self.leased().into_iter().map(|id| (id, Why::new("lease L1 of alice"))).collect()
    }
}

pub(crate) fn rooms(worlds: &[World]) -> Vec<Room> {
    worlds.iter().enumerate().map(|(index, world)| world.room(index)).collect()
}

pub(crate) fn node(worlds: &[World]) -> NodeSnapshot {
    NodeSnapshot {
        taken_at: Timestamp::from_millis(0),
        driver_version: "550".into(),
        cuda_version: None,
        gpus: worlds.iter().enumerate().map(|(index, world)| world.snapshot(index)).collect(),
    }
}

pub(crate) fn protected(worlds: &[World]) -> Protected {
    worlds.iter().enumerate().fold(Protected::nothing(), |all, (index, world)| {
        let why = InstanceProtection::Leased(LeaseId::new(1));
        let ids = world.leased().into_iter();
        ids.fold(all, |all, id| all.with_instance(World::uuid(index), id, why))
    })
}

pub(crate) fn bare(id: u32, part: PlacedProfile) -> GpuInstance {
    GpuInstance {
        id: GpuInstanceId::new(id),
        profile: part.profile,
        placement: part.placement,
        compute_instances: Vec::new(),
    }
}

pub(crate) fn whole(geometry: &Geometry, part: PlacedProfile) -> ComputeInstance {
    let profile = geometry.profile(part.profile).unwrap().whole_compute_profile().unwrap();
    ComputeInstance {
        id: ComputeInstanceId::new(0),
        profile: profile.id,
        placement: Placement::new(0, profile.slices),
        uuid: None,
        processes: Vec::new(),
    }
}

/// An instance that is wanted anywhere, one compute instance over all of it.
pub(crate) fn anywhere(geometry: &Geometry, part: PlacedProfile) -> DesiredInstance {
    let profile = whole(geometry, part).profile;
    DesiredInstance {
        profile: part.profile,
        placement: None,
        computes: vec![DesiredCompute { profile, placement: None }],
    }
}

/// The same at its place.
pub(crate) fn pinned(geometry: &Geometry, part: PlacedProfile) -> DesiredInstance {
    DesiredInstance { placement: Some(part.placement), ..anywhere(geometry, part) }
}

/// Does what a plan says, believing all of it; panics where something named is not there.
pub(crate) fn execute(node: &NodeSnapshot, plan: &Plan) -> NodeSnapshot {
    let mut node = node.clone();
    for step in &plan.steps {
        let gpu = node.gpus.iter_mut().find(|gpu| gpu.uuid == *step.gpu()).unwrap();
        let at = |gpu: &GpuSnapshot, placement| {
            gpu.instances.iter().position(|i| i.placement == placement).unwrap()
        };
        match step {
            Step::SetMigMode { mode, .. } => {
                gpu.mig = MigState::Supported { current: *mode, pending: *mode };
            }
            Step::ResetGpu { .. } => gpu.instances.clear(),
            Step::DestroyComputeInstance { at: placement, compute_instance, .. } => {
                let index = at(gpu, *placement);
                gpu.instances[index].compute_instances.retain(|c| c.id != *compute_instance);
            }
            Step::DestroyGpuInstance { placement, .. } => {
                let index = at(gpu, *placement);
                gpu.instances.remove(index);
            }
            Step::CreateGpuInstance { profile, placement, .. } => {
                let part = PlacedProfile { placement: *placement, profile: *profile };
                let free = |id: &u32| gpu.instances.iter().all(|i| i.id.get() != *id);
                let id = (100..200).find(free).unwrap();
                gpu.instances.push(bare(id, part));
            }
            Step::CreateComputeInstance { at: placement, profile, placement: inside, .. } => {
                let index = at(gpu, *placement);
                let there = &mut gpu.instances[index].compute_instances;
                let free = |id: &ComputeInstanceId| there.iter().all(|c| c.id != *id);
                let id = (0..8).map(ComputeInstanceId::new).find(free).unwrap();
                there.push(ComputeInstance {
                    id,
                    profile: *profile,
                    placement: *inside,
                    uuid: None,
                    processes: Vec::new(),
                });
            }
        }
    }
    node
}

/// The parts on a GPU, sorted.
pub(crate) fn parts_of(gpu: &GpuSnapshot) -> Vec<PlacedProfile> {
    let parts = gpu.instances.iter();
    let mut parts: Vec<PlacedProfile> =
        parts.map(|i| PlacedProfile { placement: i.placement, profile: i.profile }).collect();
    parts.sort_unstable();
    parts
}

/// The same profile wanted in every room whose geometry has it: the one at `index` in the order of
/// the first room's profiles that has a whole compute instance.
pub(crate) fn want(worlds: &[World], index: usize) -> (Want, GpuInstanceProfileId) {
    let profiles = &worlds[0].geometry.profiles;
    let profile = profiles[index % profiles.len()].id;
    let has = |world: &World| world.geometry.profile(profile).map(|found| found.id);
    (Want::of(worlds.iter().map(has).collect()), profile)
}

/// Any legal layout on a geometry with any holders, shrinking towards the empty GPU.
fn world_on(geometry: Arc<Geometry>) -> impl Strategy<Value = World> {
    let who = prop_oneof![Just(Who::Busy), Just(Who::Leased), Just(Who::Warm)];
    proptest::collection::vec((any::<prop::sample::Index>(), who), 0..9).prop_map(move |picks| {
        let all: Vec<PlacedProfile> = geometry
            .profiles
            .iter()
            .flat_map(|p| p.placements().map(|at| PlacedProfile { placement: at, profile: p.id }))
            .collect();
        let (mut layout, mut parts) = (Layout::empty(), Vec::new());
        for (pick, who) in picks {
            let part = *pick.get(&all);
            if let Ok(next) = layout.with(&geometry, part) {
                layout = next;
                parts.push((part, who));
            }
        }
        World { geometry: Arc::clone(&geometry), parts }
    })
}

/// One to `most` GPUs; mostly of one geometry, sometimes of two.
pub(crate) fn worlds(most: usize) -> impl Strategy<Value = Vec<World>> {
    let index = || 0..geometries().len();
    (index(), index(), proptest::collection::vec(prop::bool::weighted(0.2), 1..=most))
        .prop_flat_map(|(first, second, which)| {
            let pick =
                |other: bool| Arc::clone(&geometries()[if other { second } else { first }].1);
            which.into_iter().map(|other| world_on(pick(other))).collect::<Vec<_>>()
        })
}
