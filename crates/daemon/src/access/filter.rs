//! Processes of one user kept apart: the command of a lease can open no slice but its own.
//!
//! Must never hold up a lease: where the machine has no such filter, that is said and users are kept
//! apart by the owner of each node alone.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use broker::State;
use host::HostRoot;
use host::cgroup::Controller;
use host::nodes::{COMPUTE_INSTANCE_SLOTS, GPU_INSTANCE_SLOTS, capability_major};
use host::units::{ScopeError, Scopes};
use model::{LeaseId, NodeSnapshot};

use super::instances_of;
use crate::executor::chain;
use crate::hands::lock;

const BY_OWNER: &str = "users are kept apart by the owner of each node; processes of one user are \
                        not (that takes the devices controller of cgroup v1, or a systemd that \
                        enforces device filters)";
const BY_GROUP: &str = "users are kept apart by the owner of each node, commands of `migctl run` by \
                        a device filter, too (devices controller of cgroup v1)";
const BY_SCOPE: &str = "users are kept apart by the owner of each node, commands that `migctl run` \
                        starts from a login session by a device filter, too (scopes of systemd)";

/// What a machine has to keep processes of one user apart.
#[derive(Debug, Clone)]
enum Means {
    Nothing,
    /// Groups below the ones that commands are in.
    Groups(Controller),
    /// Scopes of systemd, of which is not known yet whether they are enforced.
    Untried(Scopes),
    Scopes(Scopes),
    /// Scopes of systemd that are no use; why, in words.
    InVain(String),
}

/// The filter of a machine.
#[derive(Debug)]
pub(super) struct Filter {
    /// What the names of our groups and scopes begin with; another daemon's begin otherwise.
    prefix: String,
    /// Held while it is tried out, so that two trials do not meet.
    trial: Mutex<()>,
    known: Mutex<Known>,
}

/// What is known of it. Nothing is waited for while this is looked at.
#[derive(Debug)]
struct Known {
    means: Means,
    /// Groups that are there. Scopes end by themselves with their last process.
    groups: BTreeMap<LeaseId, PathBuf>,
    /// Commands that are not kept apart from their user's other processes.
    open: BTreeMap<LeaseId, Open>,
}

/// Why a command is not kept apart, in words.
#[derive(Debug, Clone)]
enum Open {
    /// It was started where it is left alone.
    Meant(String),
    /// It was to be.
    Failed(String),
}

impl Open {
    fn words(&self) -> &str {
        match self {
            Self::Meant(words) | Self::Failed(words) => words,
        }
    }
}

impl Filter {
    /// Finds what there is, and the groups that an earlier daemon with the same `key` left.
    pub(super) fn find(root: &HostRoot, key: &str) -> Self {
        let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let prefix = format!("migd-{:08x}-", hash as u32);
        let means = means(root);
        let mut groups = BTreeMap::new();
        if let Means::Groups(controller) = &means {
            for group in controller.groups(&prefix) {
                let name = group.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                if let Ok(lease) = name[prefix.len()..].parse() {
                    groups.insert(lease, group);
                }
            }
        }
        let known = Known { means, groups, open: BTreeMap::new() };
        Self { prefix, trial: Mutex::default(), known: Mutex::new(known) }
    }

    /// How processes of one user are kept apart, and for whom they are not.
    pub(super) fn words(&self) -> String {
        let known = lock(&self.known);
        let words = match &known.means {
            Means::Nothing => BY_OWNER.to_owned(),
            Means::Groups(_) => BY_GROUP.to_owned(),
            Means::Untried(_) => format!("{BY_OWNER}; those of systemd here are not tried yet"),
            Means::Scopes(_) => BY_SCOPE.to_owned(),
            Means::InVain(why) => format!("{BY_OWNER}; {why}"),
        };
        let open = known.open.iter();
        let open =
            open.map(|(lease, why)| format!("; not the command of {lease}: {}", why.words()));
        std::iter::once(words).chain(open).collect()
    }

    /// Whom it was to keep apart and does not, in words.
    pub(super) fn troubles(&self) -> Vec<String> {
        let known = lock(&self.known);
        let failed = known.open.iter().filter_map(|(lease, why)| match why {
            Open::Meant(_) => None,
            Open::Failed(why) => Some(format!(
                "the command of {lease} is kept apart from other users alone, not from its user's \
                 other commands: {why}"
            )),
        });
        failed.collect()
    }

    /// Finds out whether scopes are enforced, once.
    pub(super) fn try_out(&self) {
        let _one = lock(&self.trial);
        let Means::Untried(scopes) = lock(&self.known).means.clone() else { return };
        let service = format!("{}trial.service", self.prefix);
        let means = match scopes.are_enforced(&service) {
            Ok(true) => Means::Scopes(scopes),
            Ok(false) => {
                Means::InVain("systemd here takes device filters and does not enforce them".into())
            }
            Err(error) => Means::InVain(chain(&error)),
        };
        lock(&self.known).means = means;
        tracing::info!(filter = self.words(), "tried");
    }

    /// Confines the command of a lease to the lease's slices.
    pub(super) fn confine(
        &self,
        root: &HostRoot,
        state: &State,
        observed: &NodeSnapshot,
        id: LeaseId,
        pid: u32,
    ) {
        self.try_out();
        let Some(lease) = state.lease(id) else { return };
        let Ok(Some(major)) = capability_major(root) else { return };
        let own: Vec<u32> = lease
            .slices
            .iter()
            .flat_map(|slice| instances_of(observed, slice))
            .map(|instance| instance.minor().get())
            .collect();
        let name = format!("{}{id}", self.prefix);
        let means = lock(&self.known).means.clone();
        let done = match means {
            Means::Nothing | Means::Untried(_) | Means::InVain(_) => return,
            Means::Groups(controller) => {
                let group = controller.confine(pid, &name, major, &own, &every(observed));
                group.map(Some).map_err(|error| Open::Failed(chain(&error)))
            }
            Means::Scopes(scopes) => {
                let confined = scopes.confine(pid, &format!("{name}.scope"), major, &own);
                confined.map(|()| None).map_err(|error| match error {
                    ScopeError::NoSession(_) | ScopeError::Limited { .. } => {
                        Open::Meant(error.to_string())
                    }
                    ScopeError::Unreadable { .. }
                    | ScopeError::Unit(_)
                    | ScopeError::Refused { .. }
                    | ScopeError::NotMoved { .. } => Open::Failed(chain(&error)),
                })
            }
        };
        let mut known = lock(&self.known);
        match done {
            Ok(group) => {
                known.groups.extend(group.map(|group| (id, group)));
                known.open.remove(&id);
            }
            Err(why) => {
                let words = why.words();
                tracing::warn!(%id, pid, words, "not kept apart from its user's other processes");
                known.open.insert(id, why);
            }
        }
    }

    /// Removes the groups of leases that are over, once their last process is gone.
    pub(super) fn clear(&self, state: &State) {
        let mut known = lock(&self.known);
        known.open.retain(|lease, _| state.lease(*lease).is_some());
        known.groups.retain(|lease, group| {
            state.lease(*lease).is_some() || (!Controller::remove(group) && group.exists())
        });
    }
}

fn means(root: &HostRoot) -> Means {
    if !rustix::process::geteuid().is_root() || !may_filter(root) {
        return Means::Nothing;
    }
    if let Some(controller) = Controller::find() {
        return Means::Groups(controller);
    }
    Scopes::find().map_or(Means::Nothing, Means::Untried)
}

/// Every minor the GPUs here can ever have: slices come and go while a command runs.
fn every(observed: &NodeSnapshot) -> Vec<u32> {
    let per_gpu = GPU_INSTANCE_SLOTS * (1 + COMPUTE_INSTANCE_SLOTS);
    let of_gpu = |minor: u32| (0..per_gpu).map(move |slot| 3 + per_gpu * minor + slot);
    observed.gpus.iter().flat_map(|gpu| of_gpu(gpu.minor.get())).collect()
}

/// On a simulated machine the number of the capabilities may be that of another device here.
fn may_filter(root: &HostRoot) -> bool {
    let Ok(Some(major)) = capability_major(root) else { return false };
    root.is_real() || {
        let text = std::fs::read_to_string("/proc/devices").unwrap_or_default();
        let listed = |line: &str| line.trim().split(' ').next() == Some(&major.to_string());
        let characters = text.split("Block devices").next().unwrap_or_default();
        !characters.lines().any(listed)
    }
}
