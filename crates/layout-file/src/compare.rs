//! Whether a machine is as a file says, and where it differs.
//!
//! Must never look at GPUs that the file does not name, nor overlook what has no MIG device.

use std::fmt;

use model::{
    DesiredGpu, DesiredInstance, Geometry, GpuIndex, GpuInstance, GpuSnapshot, GpuUuid, MigMode,
    MigState, NodeSnapshot, ProfileName,
};

use crate::document::{Document, Schema};
use crate::export::device_name;
use crate::fault::Warning;
use crate::resolve::{ResolveError, resolve};

/// How much is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// MIG mode alone.
    Mode,
    /// MIG mode and instances.
    Layout,
}

/// How a machine differs from a configuration; equal if there is no difference.
#[derive(Debug, Clone, PartialEq)]
pub struct Differences {
    /// The configuration's name.
    pub config: String,
    /// The GPUs that were compared, ascending by index.
    pub compared: Vec<GpuIndex>,
    /// The differences, in the order of the GPUs.
    pub differences: Vec<Difference>,
    /// What is odd about the file on this machine.
    pub warnings: Vec<Warning>,
}

impl Differences {
    /// Whether the machine is as the file says. A configuration that fits no GPU is not held by
    /// any machine.
    pub fn is_equal(&self) -> bool {
        self.differences.is_empty() && !self.compared.is_empty()
    }
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The GPU.
    pub gpu: GpuUuid,
    /// Its index at that moment.
    pub index: GpuIndex,
    /// In what.
    pub kind: DifferenceKind,
}

/// In what a GPU differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DifferenceKind {
    /// MIG mode.
    Mode {
        /// What the file wants.
        wanted: MigMode,
        /// What is.
        found: MigState,
    },
    /// Something is wanted and not there.
    Missing {
        /// What: a MIG device by name, or an instance with its place and inside.
        what: String,
        /// How many.
        count: u32,
    },
    /// Something is there and not wanted.
    Surplus {
        /// What.
        what: String,
        /// How many.
        count: u32,
    },
    /// The driver does not tell what a profile there is.
    Unreadable,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GPU {}: ", self.index)?;
        let mode = |mode: &MigMode| match mode {
            MigMode::Enabled => "on",
            MigMode::Disabled => "off",
        };
        match &self.kind {
            DifferenceKind::Mode { wanted, found: MigState::Unsupported } => {
                write!(f, "MIG mode should be {} and the GPU has none", mode(wanted))
            }
            DifferenceKind::Mode { wanted, found: MigState::Supported { current, pending } } => {
                write!(f, "MIG mode should be {} and is {}", mode(wanted), mode(current))?;
                if pending == current {
                    Ok(())
                } else {
                    write!(f, " ({} after a reset)", mode(pending))
                }
            }
            DifferenceKind::Missing { what, count } => write!(f, "{count} x {what} missing"),
            DifferenceKind::Surplus { what, count } => write!(f, "{count} x {what} too many"),
            DifferenceKind::Unreadable => f.write_str("the driver does not list a profile there"),
        }
    }
}

/// How `node` differs from a configuration: the one named `config`, or the only one.
///
/// Of mig-parted's files MIG devices are counted by name, and GPU instances without one are too
/// many. Of ours each instance is compared, with its place where one is written.
///
/// # Errors
/// As [`resolve`].
pub fn compare(
    document: &Document,
    config: Option<&str>,
    node: &NodeSnapshot,
    scope: Scope,
) -> Result<Differences, ResolveError> {
    let resolved = resolve(document, config, node)?;
    let (mut compared, mut differences) = (Vec::new(), Vec::new());
    for gpu in &node.gpus {
        let Some(desired) = resolved.desired.get(&gpu.uuid) else { continue };
        compared.push(gpu.index);
        let kinds = of_gpu(gpu, desired, document.schema, scope);
        differences.extend(kinds.into_iter().map(|kind| Difference {
            gpu: gpu.uuid.clone(),
            index: gpu.index,
            kind,
        }));
    }
    let (config, warnings) = (resolved.config, resolved.warnings);
    Ok(Differences { config, compared, differences, warnings })
}

fn of_gpu(
    gpu: &GpuSnapshot,
    desired: &DesiredGpu,
    schema: Schema,
    scope: Scope,
) -> Vec<DifferenceKind> {
    let wanted = if *desired == DesiredGpu::Whole { MigMode::Disabled } else { MigMode::Enabled };
    if gpu.mig != (MigState::Supported { current: wanted, pending: wanted }) {
        return vec![DifferenceKind::Mode { wanted, found: gpu.mig }];
    }
    let (DesiredGpu::Exactly(instances), Scope::Layout) = (desired, scope) else {
        return Vec::new();
    };
    let Some(geometry) = gpu.geometry.as_deref() else { return vec![DifferenceKind::Unreadable] };
    match schema {
        Schema::MigParted => by_name(geometry, gpu, instances),
        Schema::Own => by_instance(geometry, gpu, instances),
    }
    .unwrap_or_else(|| vec![DifferenceKind::Unreadable])
}

/// Counts MIG devices by name. `None` if a profile is not listed.
fn by_name(
    geometry: &Geometry,
    gpu: &GpuSnapshot,
    desired: &[DesiredInstance],
) -> Option<Vec<DifferenceKind>> {
    let mut balance: Vec<(ProfileName, i64)> = Vec::new();
    let mut add = |name: ProfileName, by: i64| match balance.iter_mut().find(|(n, _)| *n == name) {
        Some((_, count)) => *count += by,
        None => balance.push((name, by)),
    };
    for instance in desired {
        let profile = geometry.profile(instance.profile)?;
        for compute in &instance.computes {
            let all = &profile.compute_profiles;
            let slices = all.iter().find(|other| other.id == compute.profile)?.slices;
            let part = (slices < profile.name.slices).then_some(slices);
            add(ProfileName { compute: part, ..profile.name }, 1);
        }
    }
    let mut kinds = Vec::new();
    for instance in &gpu.instances {
        for compute in &instance.compute_instances {
            add(device_name(geometry, instance, compute)?, -1);
        }
        if instance.compute_instances.is_empty() {
            kinds
                .push(DifferenceKind::Surplus { what: found_words(geometry, instance)?, count: 1 });
        }
    }
    balance.sort();
    for (name, count) in balance {
        let (what, number) = (name.to_string(), u32::try_from(count.unsigned_abs()).ok()?);
        match count {
            0 => {}
            1.. => kinds.push(DifferenceKind::Missing { what, count: number }),
            _ => kinds.push(DifferenceKind::Surplus { what, count: number }),
        }
    }
    Some(kinds)
}

/// Pairs what is wanted with what is there. `None` if a profile is not listed.
fn by_instance(
    geometry: &Geometry,
    gpu: &GpuSnapshot,
    desired: &[DesiredInstance],
) -> Option<Vec<DifferenceKind>> {
    let pairs = matched(desired.len(), gpu.instances.len(), |wanted, found| {
        is_met(&desired[wanted], &gpu.instances[found])
    });
    let mut kinds = Vec::new();
    for (number, wanted) in desired.iter().enumerate() {
        if !pairs.contains(&Some(number)) {
            let what = wanted_words(geometry, wanted)?;
            kinds.push(DifferenceKind::Missing { what, count: 1 });
        }
    }
    for (instance, pair) in gpu.instances.iter().zip(&pairs) {
        if pair.is_none() {
            let what = found_words(geometry, instance)?;
            kinds.push(DifferenceKind::Surplus { what, count: 1 });
        }
    }
    Some(kinds)
}

fn is_met(wanted: &DesiredInstance, found: &GpuInstance) -> bool {
    let computes = &found.compute_instances;
    let fits = |one: usize, other: usize| {
        let (wanted, found) = (&wanted.computes[one], &computes[other]);
        wanted.profile == found.profile
            && wanted.placement.is_none_or(|place| place == found.placement)
    };
    wanted.profile == found.profile
        && wanted.placement.is_none_or(|place| place == found.placement)
        && wanted.computes.len() == computes.len()
        && matched(wanted.computes.len(), computes.len(), fits).iter().all(Option::is_some)
}

/// The most pairs of a wanted and a found one that fit (Kuhn's algorithm): for each found one its
/// partner.
fn matched(wanted: usize, found: usize, fits: impl Fn(usize, usize) -> bool) -> Vec<Option<usize>> {
    fn place(
        one: usize,
        tried: &mut [bool],
        partners: &mut [Option<usize>],
        fits: &dyn Fn(usize, usize) -> bool,
    ) -> bool {
        for other in 0..partners.len() {
            if tried[other] || !fits(one, other) {
                continue;
            }
            tried[other] = true;
            let free = match partners[other] {
                None => true,
                Some(holder) => place(holder, tried, partners, fits),
            };
            if free {
                partners[other] = Some(one);
                return true;
            }
        }
        false
    }
    let mut partners = vec![None; found];
    for one in 0..wanted {
        place(one, &mut vec![false; found], &mut partners, &fits);
    }
    partners
}

fn wanted_words(geometry: &Geometry, wanted: &DesiredInstance) -> Option<String> {
    let parts = wanted.computes.iter().map(|c| (c.profile, c.placement.map(|p| p.start.get())));
    let start = wanted.placement.map(|placement| placement.start.get());
    words(geometry, wanted.profile, start, &parts.collect::<Vec<_>>())
}

fn found_words(geometry: &Geometry, found: &GpuInstance) -> Option<String> {
    let parts = found.compute_instances.iter();
    let parts = parts.map(|c| (c.profile, Some(c.placement.start.get())));
    let start = Some(found.placement.start.get());
    words(geometry, found.profile, start, &parts.collect::<Vec<_>>())
}

/// `3g.20gb@4`, `3g.20gb@4 with 1c@0, 2c@1`, `3g.20gb@4 without compute instance`.
fn words(
    geometry: &Geometry,
    profile: model::GpuInstanceProfileId,
    start: Option<u8>,
    parts: &[(model::ComputeInstanceProfileId, Option<u8>)],
) -> Option<String> {
    let profile = geometry.profile(profile)?;
    let place = |start: Option<u8>| start.map(|start| format!("@{start}")).unwrap_or_default();
    let head = format!("{}{}", profile.name, place(start));
    let whole = profile.whole_compute_profile().map(|whole| whole.id);
    match parts {
        [] => Some(format!("{head} without compute instance")),
        [(only, _)] if Some(*only) == whole => Some(head),
        several => {
            let part = |(id, start): &(model::ComputeInstanceProfileId, Option<u8>)| {
                let found = profile.compute_profiles.iter().find(|other| other.id == *id)?;
                Some(format!("{}c{}", found.slices, place(*start)))
            };
            let parts = several.iter().map(part).collect::<Option<Vec<String>>>()?;
            Some(format!("{head} with {}", parts.join(", ")))
        }
    }
}
