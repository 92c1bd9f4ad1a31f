//! What a configuration means on one machine.
//!
//! Must never lose anything by a misunderstanding: a profile that a GPU does not have refuses the
//! whole configuration. (mig-parted takes it for "nothing is wanted" and empties the GPU.)

use std::collections::BTreeMap;

use model::{
    DesiredCompute, DesiredGpu, DesiredInstance, DesiredNode, Geometry, GpuInstanceProfile,
    GpuSnapshot, GpuUuid, NodeSnapshot, Placement, ProfileSelector,
};

use crate::document::{
    ComputeItem, Computes, Config, Count, CountedName, Document, Entry, Item, Wish,
};
use crate::fault::{Faults, Findings, Mark, Warning};
use crate::fit::{self, Wanted, WantedCompute};
use crate::pack::{self, Packing, Part};
use crate::profiles::{self, Unknown};
use crate::select::{Selected, capable, idle, is_for_others, select, words};

/// The most MIG devices that an entry may want of one GPU. No board holds a third of it.
const MAX_DEVICES: u64 = 256;

/// What a configuration means on one machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// The configuration's name.
    pub config: String,
    /// What is wanted of each GPU that it is about.
    pub desired: DesiredNode,
    /// Of each of them, whether its idle slices (or the whole GPU) may be lent to leases.
    pub lend: BTreeMap<GpuUuid, bool>,
    /// What is odd: the file's own warnings first, then those about this machine.
    pub warnings: Vec<Warning>,
}

impl Resolved {
    /// The same, of which only the MIG mode counts: what lies on a GPU stays.
    #[must_use]
    pub fn mode_only(mut self) -> Self {
        self.desired = modes_of(self.desired);
        self
    }
}

/// A wish of which only the MIG modes are left: what lies on the GPUs stays.
#[must_use]
pub fn modes_of(mut desired: DesiredNode) -> DesiredNode {
    for desired in desired.values_mut() {
        if *desired != DesiredGpu::Whole {
            *desired = DesiredGpu::Sliced;
        }
    }
    desired
}

/// Why a configuration means nothing on a machine.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ResolveError {
    /// The file has no configuration at all.
    #[error("the file has no configurations")]
    NoConfigs,
    /// The file has several, and none was chosen.
    #[error("the file has several configurations: {}; choose one with -c", names.join(", "))]
    WhichConfig {
        /// Their names.
        names: Vec<String>,
    },
    /// The file has none of that name.
    #[error("the file has no configuration `{name}`; {}", instead(nearest.as_ref(), names))]
    NoSuchConfig {
        /// What was asked for.
        name: String,
        /// What was probably meant.
        nearest: Option<String>,
        /// What there is.
        names: Vec<String>,
    },
    /// It asks for what this machine does not have.
    #[error("{0}")]
    Machine(Faults),
}

impl ResolveError {
    /// The stable code of the error (docs/errors.md).
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoConfigs | Self::WhichConfig { .. } | Self::NoSuchConfig { .. } => {
                "E-LAYOUT-CONFIG"
            }
            Self::Machine(_) => "E-LAYOUT-MACHINE",
        }
    }
}

fn instead(nearest: Option<&String>, names: &[String]) -> String {
    match nearest {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => format!("there are: {}", names.join(", ")),
    }
}

/// What a configuration of `document` means on the machine `node`: the one named `config`, or the
/// only one.
///
/// # Errors
/// [`ResolveError`]; nothing of the configuration may be used then.
pub fn resolve(
    document: &Document,
    config: Option<&str>,
    node: &NodeSnapshot,
) -> Result<Resolved, ResolveError> {
    let config = document.config(config)?;
    let mut findings = Findings::default();
    let (desired, lend) = entries(config, node, &mut findings);
    let (desired, found) = findings.finish(desired).map_err(ResolveError::Machine)?;
    let warnings = document.warnings.iter().cloned().chain(found).collect();
    Ok(Resolved { config: config.name.clone(), desired, lend, warnings })
}

type Lend = BTreeMap<GpuUuid, bool>;

fn entries(config: &Config, node: &NodeSnapshot, findings: &mut Findings) -> (DesiredNode, Lend) {
    let (mut desired, mut lend) = (DesiredNode::new(), Lend::new());
    let mut named: BTreeMap<GpuUuid, Mark> = BTreeMap::new();
    for entry in &config.entries {
        let selected = select(&entry.gpus, node, findings);
        if selected.is_empty() && !is_for_others(&entry.gpus) {
            idle(&entry.gpus, node, findings);
        }
        again(entry, &selected, &named, findings);
        for group in alike(&selected) {
            let Some(wanted) = wanted(entry, &group, findings) else { continue };
            for one in &group {
                desired.insert(one.gpu.uuid.clone(), wanted.clone());
                lend.insert(one.gpu.uuid.clone(), entry.lend);
            }
        }
        named.extend(selected.iter().map(|one| (one.gpu.uuid.clone(), entry.at)));
    }
    if named.is_empty() {
        config.entries.iter().for_each(|entry| idle(&entry.gpus, node, findings));
    }
    (desired, lend)
}

/// Warns of GPUs that an earlier entry is about as well.
fn again(
    entry: &Entry,
    selected: &[Selected<'_>],
    named: &BTreeMap<GpuUuid, Mark>,
    findings: &mut Findings,
) {
    let twice = selected.iter().filter(|one| named.contains_key(&one.gpu.uuid));
    let twice: Vec<&GpuSnapshot> = twice.map(|one| one.gpu).collect();
    let Some(first) = twice.first().and_then(|gpu| named.get(&gpu.uuid)) else { return };
    let what = format!("the entry at line {} is about {} as well", first.line, words(&twice));
    findings.warn(entry.at, what, "this later one counts: name each GPU once");
}

/// Groups of GPUs for which an entry means the same.
fn alike<'a>(selected: &[Selected<'a>]) -> Vec<Vec<Selected<'a>>> {
    let mut groups: Vec<Vec<Selected<'a>>> = Vec::new();
    for one in selected {
        let same = |group: &&mut Vec<Selected<'a>>| {
            group.first().is_some_and(|first| {
                first.gpu.name == one.gpu.name
                    && first.gpu.geometry == one.gpu.geometry
                    && first.by_name == one.by_name
            })
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(*one),
            None => groups.push(vec![*one]),
        }
    }
    groups
}

/// What an entry wants of GPUs that are alike; `None` for nothing, or for faults.
fn wanted(entry: &Entry, group: &[Selected<'_>], findings: &mut Findings) -> Option<DesiredGpu> {
    let first = group.first()?;
    let gpus: Vec<&GpuSnapshot> = group.iter().map(|one| one.gpu).collect();
    let here = words(&gpus);
    if !capable(first.gpu) {
        let what = format!("{here} cannot do MIG");
        if entry.wish == Wish::Off {
            findings.warn(entry.gpus.at, what, "there is nothing to switch off: leave it out");
        } else if first.by_name {
            findings.refuse(entry.gpus.at, what, "leave it out");
        } else {
            findings.warn(entry.gpus.at, what, "it stays as it is: leave it out");
        }
        return None;
    }
    let geometry = || {
        let instead = "see `migctl doctor`: the driver tells nothing of it";
        let geometry = first.gpu.geometry.as_deref();
        geometry.ok_or_else(|| Unknown {
            what: "profiles are not known".into(),
            instead: instead.into(),
        })
    };
    let outcome = match &entry.wish {
        Wish::Off => return Some(DesiredGpu::Whole),
        Wish::On => return Some(DesiredGpu::Sliced),
        Wish::Counts(counts) if counts.iter().all(|count| count.count == 0) => Ok(Vec::new()),
        Wish::Instances(items) if items.is_empty() => Ok(Vec::new()),
        Wish::Counts(counts) => geometry()
            .map_err(|unknown| refuse(findings, entry.at, &here, unknown))
            .and_then(|geometry| of_counts(entry.at, counts, geometry, &here, findings)),
        Wish::Instances(items) => geometry()
            .map_err(|unknown| refuse(findings, entry.at, &here, unknown))
            .and_then(|geometry| of_items(entry.at, items, geometry, &here, findings)),
    };
    outcome.ok().map(DesiredGpu::Exactly)
}

/// A fault was noted.
#[derive(Debug)]
struct Refused;

fn refuse(findings: &mut Findings, at: Mark, here: &str, unknown: Unknown) -> Refused {
    findings.refuse(at, format!("{here}: {}", unknown.what), unknown.instead);
    Refused
}

fn too_much(findings: &mut Findings, at: Mark, here: &str) {
    let what = format!("{here} can never hold all of this at once");
    findings.warn(at, what, "`migctl profiles` shows what fits: ask for less");
}

fn of_counts(
    at: Mark,
    counts: &[Count],
    geometry: &Geometry,
    here: &str,
    findings: &mut Findings,
) -> Result<Vec<DesiredInstance>, Refused> {
    let total: u64 = counts.iter().map(|count| u64::from(count.count)).sum();
    if total > MAX_DEVICES {
        let what = format!("{total} MIG devices are wanted");
        return Err(refuse(findings, at, here, Unknown { what, instead: "ask for less".into() }));
    }
    let mut parts: Vec<Part<'_>> = Vec::new();
    let mut sound = Ok(());
    for count in counts {
        match profiles::counted(geometry, count) {
            Ok(part) => {
                drift(count, part.instance, here, findings);
                parts.extend((0..count.count).map(|_| part));
            }
            Err(unknown) => sound = Err(refuse(findings, count.at, here, unknown)),
        }
    }
    sound?;
    let (instances, packing) = pack::pack(geometry, parts);
    match packing {
        Packing::First => {}
        Packing::Tight => {
            let what = format!(
                "{here}: the compute instances are packed tighter than mig-parted first tries"
            );
            findings.warn(at, what, "write it in our own format to say which lie together");
        }
        Packing::TooMuch => too_much(findings, at, here),
    }
    Ok(instances)
}

/// Tells of a name that means a profile of another name.
fn drift(count: &Count, found: &GpuInstanceProfile, here: &str, findings: &mut Findings) {
    let CountedName::Possible(name) = &count.name else { return };
    if name.memory != found.name.memory {
        let what = format!("{here}: `{}` is called {} by this driver", count.text, found.name);
        findings.warn(count.at, what, "it is taken for that: write the new name");
    }
}

fn of_items(
    at: Mark,
    items: &[Item],
    geometry: &Geometry,
    here: &str,
    findings: &mut Findings,
) -> Result<Vec<DesiredInstance>, Refused> {
    let mut instances: Vec<DesiredInstance> = Vec::new();
    let mut wanted: Vec<Wanted<'_>> = Vec::new();
    let mut sound = Ok(());
    for item in items {
        match of_item(item, geometry, here, findings) {
            Ok((profile, instance)) => {
                let joined = (profile, instance.placement);
                if u64::from(item.count) > MAX_DEVICES {
                    let what = format!("{} instances of {} are wanted", item.count, profile.name);
                    let unknown = Unknown { what, instead: "ask for less".into() };
                    sound = Err(refuse(findings, item.at, here, unknown));
                    continue;
                }
                wanted.extend((0..item.count).map(|_| joined));
                if let Err(error) = fit::fixed(geometry, &wanted) {
                    let what = format!("{} cannot lie there: {error}", profile.name);
                    let unknown = Unknown { what, instead: starts(profile) };
                    sound = Err(refuse(findings, item.at, here, unknown));
                    wanted.truncate(wanted.len().saturating_sub(item.count as usize));
                }
                instances.extend((0..item.count).map(|_| instance.clone()));
            }
            Err(refused) => sound = Err(refused),
        }
    }
    sound?;
    if !fit::board_holds(geometry, &wanted) {
        too_much(findings, at, here);
    }
    Ok(instances)
}

fn starts(profile: &GpuInstanceProfile) -> String {
    let starts: Vec<String> = profile.starts.iter().map(ToString::to_string).collect();
    format!("it may begin at {}, where nothing else lies", starts.join(", "))
}

fn of_item<'a>(
    item: &Item,
    geometry: &'a Geometry,
    here: &str,
    findings: &mut Findings,
) -> Result<(&'a GpuInstanceProfile, DesiredInstance), Refused> {
    let profile = profiles::instance(geometry, &item.profile)
        .map_err(|unknown| refuse(findings, item.at, here, unknown))?;
    if let ProfileSelector::Name(name) = &item.profile
        && name.memory != profile.name.memory
    {
        let what = format!("{here}: `{name}` is called {} by this driver", profile.name);
        findings.warn(item.at, what, "it is taken for that: write the new name");
    }
    let placement = item.start.map(|start| Placement::new(start, profile.size.get()));
    let computes = match &item.computes {
        Computes::Whole => {
            let whole = profiles::compute(profile, None)
                .map_err(|unknown| refuse(findings, item.at, here, unknown))?;
            vec![DesiredCompute { profile: whole.id, placement: None }]
        }
        Computes::Parts(parts) => of_parts(item, parts, profile, here, findings)?,
    };
    Ok((profile, DesiredInstance { profile: profile.id, placement, computes }))
}

fn of_parts(
    item: &Item,
    parts: &[ComputeItem],
    profile: &GpuInstanceProfile,
    here: &str,
    findings: &mut Findings,
) -> Result<Vec<DesiredCompute>, Refused> {
    let mut wanted: Vec<WantedCompute<'_>> = Vec::new();
    for part in parts {
        let found = profiles::compute(profile, Some(part.size))
            .map_err(|unknown| refuse(findings, part.at, here, unknown))?;
        wanted.push((found, part.start));
    }
    if !fit::instance_holds(&wanted) {
        let what = format!("these compute instances do not fit into one {}", profile.name);
        let instead = format!(
            "it has {} compute slices; `migctl profiles --compute` shows where each may begin",
            profile.name.slices
        );
        return Err(refuse(findings, item.at, here, Unknown { what, instead }));
    }
    let desired = wanted.iter().map(|(compute, start)| DesiredCompute {
        profile: compute.id,
        placement: start.map(|start| Placement::new(start, compute.slices)),
    });
    Ok(desired.collect())
}
