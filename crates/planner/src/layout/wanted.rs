//! What is wanted on a GPU, sorted out: kinds of GPU instances, and groups of one profile.
//!
//! Must never accept what the board does not know or could not hold in an empty GPU instance.

use alloc::string::String;
use alloc::vec::Vec;

use model::{
    DesiredCompute, DesiredInstance, Geometry, GpuInstanceProfile, GpuInstanceProfileId,
    PlacedProfile,
};

use super::compute::{Fit, compute_profile, fit};
use super::impossible::Impossible;
use super::present::Present;
use crate::tables::{GeometryTables, PartId};

/// GPU instances that are wanted alike.
#[derive(Debug)]
pub(super) struct Kind<'a> {
    pub(super) profile: &'a GpuInstanceProfile,
    pub(super) part: Option<PartId>,
    /// Sorted; without a place where there is but one.
    pub(super) computes: Vec<DesiredCompute>,
    /// How they lie in a GPU instance that is new.
    pub(super) fresh: Fit,
}

/// All that is wanted of one profile.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) profile: GpuInstanceProfileId,
    /// Every place of the profile, ascending.
    pub(super) parts: Vec<PartId>,
    /// Kinds with a given place, ascending by place.
    pub(super) pinned: Vec<(PartId, usize)>,
    /// Kinds without, with how many of each.
    pub(super) free: Vec<(usize, u32)>,
}

impl Group {
    pub(super) fn free_count(&self) -> u32 {
        self.free.iter().map(|(_, count)| count).sum()
    }
}

/// What is wanted on a GPU.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) kinds: Vec<Kind<'a>>,
    pub(super) groups: Vec<Group>,
}

impl<'a> Wanted<'a> {
    pub(super) fn of(
        present: &Present<'a>,
        tables: &GeometryTables,
        instances: &[DesiredInstance],
    ) -> Result<Self, Impossible> {
        let geometry = present.geometry()?;
        let mut sorted: Vec<DesiredInstance> = Vec::with_capacity(instances.len());
        for instance in instances {
            let profile = find(present, geometry, instance.profile)?;
            let computes = normal(present, profile, &instance.computes)?;
            sorted.push(DesiredInstance { computes, ..*instance });
        }
        sorted.sort_unstable();
        let mut wanted = Self { kinds: Vec::new(), groups: Vec::new() };
        let mut before: Option<&DesiredInstance> = None;
        for instance in &sorted {
            if before != Some(instance) {
                let profile = find(present, geometry, instance.profile)?;
                wanted.kinds.push(kind(present, tables, profile, instance)?);
            }
            wanted.count(tables, instance.profile);
            before = Some(instance);
        }
        Ok(wanted)
    }

    /// One more of the last kind.
    fn count(&mut self, tables: &GeometryTables, profile: GpuInstanceProfileId) {
        if self.groups.last().is_none_or(|group| group.profile != profile) {
            let parts = tables.parts_of(profile).collect();
            self.groups.push(Group { profile, parts, pinned: Vec::new(), free: Vec::new() });
        }
        let last = self.kinds.len() - 1;
        let Some(group) = self.groups.last_mut() else { return };
        match (self.kinds[last].part, group.free.last_mut()) {
            (Some(part), _) => group.pinned.push((part, last)),
            (None, Some((kind, count))) if *kind == last => *count += 1,
            (None, _) => group.free.push((last, 1)),
        }
    }

    /// The groups' instances all told.
    pub(super) fn len(&self) -> usize {
        let count = |group: &Group| group.pinned.len() + group.free_count() as usize;
        self.groups.iter().map(count).sum()
    }
}

fn find<'a>(
    present: &Present<'a>,
    geometry: &'a Geometry,
    profile: GpuInstanceProfileId,
) -> Result<&'a GpuInstanceProfile, Impossible> {
    let unknown = || Impossible::Unknown { gpu: present.gpu.uuid.clone(), profile };
    geometry.profile(profile).ok_or_else(unknown)
}

/// Compute instances in one form: known to the profile, without a place where there is but one,
/// sorted.
pub(super) fn normal(
    present: &Present<'_>,
    profile: &GpuInstanceProfile,
    computes: &[DesiredCompute],
) -> Result<Vec<DesiredCompute>, Impossible> {
    let one = |wanted: &DesiredCompute| {
        let found = compute_profile(profile, wanted.profile);
        let found = found.ok_or_else(|| Impossible::UnknownCompute {
            gpu: present.gpu.uuid.clone(),
            name: alloc::format!("{}", profile.name),
            compute: wanted.profile,
        })?;
        let only = [model::SliceIndex::new(0)];
        let at_only = |at: model::Placement| at == model::Placement::new(0, found.slices);
        let drop = found.starts == only && wanted.placement.is_some_and(at_only);
        Ok(if drop { DesiredCompute { placement: None, ..*wanted } } else { *wanted })
    };
    let mut computes: Vec<DesiredCompute> =
        computes.iter().map(one).collect::<Result<_, Impossible>>()?;
    computes.sort_unstable();
    Ok(computes)
}

/// The names of compute instances, with their places where given.
pub(super) fn names(
    present: &Present<'_>,
    profile: &GpuInstanceProfile,
    computes: &[DesiredCompute],
) -> Vec<String> {
    let name = |wanted: &DesiredCompute| {
        let name = present.compute_name(profile.id, wanted.profile);
        match wanted.placement {
            Some(at) => alloc::format!("{name} at {at}"),
            None => name,
        }
    };
    computes.iter().map(name).collect()
}

fn kind<'a>(
    present: &Present<'a>,
    tables: &GeometryTables,
    profile: &'a GpuInstanceProfile,
    instance: &DesiredInstance,
) -> Result<Kind<'a>, Impossible> {
    let gpu = || present.gpu.uuid.clone();
    let name = || alloc::format!("{}", profile.name);
    let part = match instance.placement {
        None => None,
        Some(placement) => {
            let part = tables.part_id(PlacedProfile { placement, profile: profile.id });
            let illegal = || Impossible::Illegal { gpu: gpu(), name: name(), placement };
            Some(part.ok_or_else(illegal)?)
        }
    };
    let fresh =
        fit(profile, &[], &instance.computes).ok_or_else(|| Impossible::TooMuchCompute {
            gpu: gpu(),
            name: name(),
            computes: names(present, profile, &instance.computes),
        })?;
    Ok(Kind { profile, part, computes: instance.computes.clone(), fresh })
}
