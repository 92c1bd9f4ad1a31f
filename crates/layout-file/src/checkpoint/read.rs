//! A checkpoint's text, and what it wants of the machine at hand.
//!
//! Must never take a GPU for another: UUIDs decide, not positions in a list.

use model::{
    DesiredGpu, DesiredInstance, DesiredNode, GpuUuid, Layout, NodeSnapshot, PlacedProfile,
    Placement, ProfileName,
};

use super::MARKER;
use super::place::{Kept, KeptCompute, Named};
use crate::fault::{Faults, Findings, Mark, Warning};
use crate::select::{capable, words};
use crate::tree::Node;
use crate::yaml;

/// What a checkpoint wants of a machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Restored {
    /// What is wanted of each GPU that it holds and that is there.
    pub desired: DesiredNode,
    /// What is odd about it on this machine.
    pub warnings: Vec<Warning>,
}

/// A GPU as kept; no instances with MIG mode off.
struct KeptGpu {
    at: Mark,
    uuid: String,
    mig: bool,
    instances: Vec<Kept>,
}

/// Reads a checkpoint of ours or of mig-parted, for the machine `node`.
///
/// # Errors
/// What keeps it from being a checkpoint, and what a board does not allow, with line and column;
/// nothing of it may be used then.
pub fn read_checkpoint(text: &str, node: &NodeSnapshot) -> Result<Restored, Faults> {
    let mut findings = Findings::default();
    let root = yaml::parse(text, &mut findings)?;
    let theirs = root.get_any_case("MigState");
    let gpus = match (root.get("schema"), theirs) {
        (Some(marker), _) => {
            if marker.text() != Some(MARKER) {
                let what = format!("the schema is {}", marker.words());
                findings.refuse(marker.at, what, format!("a checkpoint has `{MARKER}`"));
            }
            list(&root, "gpus", &mut findings, our_gpu)
        }
        (None, Some(state)) => {
            version(&root, &mut findings);
            list(state, "Devices", &mut findings, their_gpu)
        }
        (None, None) => {
            let instead =
                "write one with `migctl checkpoint`; `migctl apply` takes files of layouts";
            findings.refuse(root.at, "this is no checkpoint", instead);
            Vec::new()
        }
    };
    let desired = desired(&gpus, node, &mut findings);
    let (desired, warnings) = findings.finish(desired)?;
    Ok(Restored { desired, warnings })
}

fn version(root: &Node, findings: &mut Findings) {
    let version = root.get_any_case("Version");
    if version.and_then(Node::text) != Some("v1") {
        let at = version.map_or(root.at, |node| node.at);
        findings.refuse(at, "the version is not v1", "no other is known");
    }
}

fn desired(gpus: &[KeptGpu], node: &NodeSnapshot, findings: &mut Findings) -> DesiredNode {
    let mut desired = DesiredNode::new();
    for kept in gpus {
        let Some(gpu) = node.gpu(&GpuUuid::new(kept.uuid.as_str())) else {
            let instead = "it is passed over; `migctl gpus` shows what there is";
            findings.warn(kept.at, format!("there is no GPU {} here", kept.uuid), instead);
            continue;
        };
        let here = words(&[gpu]);
        let wanted = match (kept.mig, gpu.geometry.as_deref()) {
            (_, _) if !capable(gpu) => {
                findings.refuse(kept.at, format!("{here} cannot do MIG"), "remove it");
                continue;
            }
            (false, _) => DesiredGpu::Whole,
            (true, None) => {
                let instead = "see `migctl doctor`: the driver tells nothing of it";
                findings.refuse(kept.at, format!("{here}: profiles are not known"), instead);
                continue;
            }
            (true, Some(geometry)) => {
                let instances: Vec<DesiredInstance> = kept
                    .instances
                    .iter()
                    .filter_map(|instance| instance.desired(geometry, &here, findings))
                    .collect();
                let placed = instances.iter().filter_map(|instance| {
                    Some(PlacedProfile {
                        placement: instance.placement?,
                        profile: instance.profile,
                    })
                });
                if let Err(error) = Layout::new(geometry, placed) {
                    let what = format!("{here}: the board does not allow this: {error}");
                    findings.refuse(kept.at, what, "the checkpoint is of another board or driver");
                }
                DesiredGpu::Exactly(instances)
            }
        };
        if desired.insert(gpu.uuid.clone(), wanted).is_some() {
            let what = format!("GPU {} stands here twice", kept.uuid);
            findings.refuse(kept.at, what, "remove one of the two");
        }
    }
    if desired.is_empty() && findings.faults.is_empty() {
        let instead = "it was made on another machine";
        findings.refuse(Mark::START, "the checkpoint holds no GPU of this machine", instead);
    }
    desired
}

/// The items under `key`, which may be missing or null.
fn list<T>(
    node: &Node,
    key: &str,
    findings: &mut Findings,
    read: fn(&Node, &mut Findings) -> Option<T>,
) -> Vec<T> {
    match node.get_any_case(key) {
        None => Vec::new(),
        Some(found) if found.is_null() => Vec::new(),
        Some(found) => {
            if found.list().is_none() {
                let what = format!("`{key}` is {}", found.words());
                findings.refuse(found.at, what, "a list belongs here");
            }
            let items = found.list().unwrap_or_default();
            items.iter().filter_map(|item| read(item, findings)).collect()
        }
    }
}

/// A value under `key` that `get` understands; else a fault.
fn field<'a, T>(
    node: &'a Node,
    key: &str,
    findings: &mut Findings,
    get: impl Fn(&'a Node) -> Option<T>,
) -> Option<T> {
    let found = node.get_any_case(key);
    let value = found.and_then(get);
    if value.is_none() {
        let what = match found {
            Some(found) => format!("`{key}` is {}", found.words()),
            None => format!("`{key}` is missing"),
        };
        findings.refuse(found.map_or(node.at, |found| found.at), what, "the checkpoint is damaged");
    }
    value
}

fn small<T: TryFrom<i64>>(node: &Node) -> Option<T> {
    node.whole().and_then(|number| T::try_from(number).ok())
}

fn our_gpu(node: &Node, findings: &mut Findings) -> Option<KeptGpu> {
    let uuid = field(node, "uuid", findings, Node::text);
    let mig = field(node, "mig", findings, Node::bool);
    let instances = list(node, "instances", findings, our_instance);
    Some(KeptGpu { at: node.at, uuid: uuid?.into(), mig: mig?, instances })
}

fn our_instance(node: &Node, findings: &mut Findings) -> Option<Kept> {
    let name = |node: &Node| node.text().and_then(|text| text.parse::<ProfileName>().ok());
    let name = field(node, "profile", findings, name);
    let id = field(node, "profile_id", findings, small::<u32>);
    let start = field(node, "start", findings, small::<u8>);
    let size = field(node, "size", findings, small::<u8>);
    let computes = list(node, "compute", findings, |node, findings| {
        let profile = field(node, "profile_id", findings, small::<u32>);
        let start = field(node, "start", findings, small::<u8>);
        Some(KeptCompute { profile: profile?, start: Some(start?) })
    });
    let placement = Placement::new(start?, size?);
    Some(Kept { at: node.at, profile: Named::Name(name?, id?), placement, computes })
}

fn their_gpu(node: &Node, findings: &mut Findings) -> Option<KeptGpu> {
    let uuid = field(node, "UUID", findings, Node::text);
    let mode = field(node, "MigMode", findings, small::<u32>);
    let instances = list(node, "GpuInstances", findings, their_instance);
    Some(KeptGpu { at: node.at, uuid: uuid?.into(), mig: mode? == 1, instances })
}

fn their_instance(node: &Node, findings: &mut Findings) -> Option<Kept> {
    let profile = field(node, "ProfileID", findings, small::<u32>);
    let placement = field(node, "Placement", findings, Some)?;
    let start = field(placement, "Start", findings, small::<u8>);
    let size = field(placement, "Size", findings, small::<u8>);
    let computes = list(node, "ComputeInstances", findings, |node, findings| {
        let profile = field(node, "ProfileID", findings, small::<u32>)?;
        Some(KeptCompute { profile, start: None })
    });
    let placement = Placement::new(start?, size?);
    Some(Kept { at: node.at, profile: Named::Enum(profile?), placement, computes })
}
