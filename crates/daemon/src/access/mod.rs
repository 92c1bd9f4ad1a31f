//! Who may open a slice: nodes closed when they are made, opened for a lease, closed after it.
//!
//! Must never let a slice change hands before it is proven that nobody holds its nodes, and must
//! never choose for whom it opens one: that is read off the records.

mod alone;
mod audit;
mod cdi;
mod filter;
mod glass;
mod gpus;
mod keeper;
mod making;
mod view;
mod wanted;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use broker::{GrantedSlice, State};
use config::Enforce;
use host::HostRoot;
use host::Users;
use host::access::{Wanted, set};
use host::nodes::InstancePath;
use host::processes::{Arguments, describe};
use model::{GpuProcess, GpuSnapshot, GpuUuid, LeaseId, NodeSnapshot, PlanId, ProcessId};
use tokio::sync::watch;

use crate::executor::chain;
use crate::hands::lock;
use crate::published::Published;

pub use alone::stock_without_daemon;
pub use glass::{BrokenGlass, GlassError};
pub(crate) use making::NotHandedOver;
pub use view::look;
pub(crate) use wanted::wanted_on;

/// The name of a mode in the configuration.
const fn mode_name(mode: Enforce) -> &'static str {
    match mode {
        Enforce::Off => "off",
        Enforce::Observe => "observe",
        Enforce::On => "on",
    }
}

/// Somebody found with the node of a slice open that was to be handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Suspect {
    gpu: GpuUuid,
    place: Place,
    process: ProcessId,
}

/// What somebody was found on.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// A slice.
    Slice(GrantedSlice),
    /// All of the GPU.
    Whole,
}

#[derive(Debug, Default)]
struct Inner {
    /// Nodes opened for a plan whose end is not in the records yet.
    opening: BTreeMap<InstancePath, (PlanId, Wanted)>,
    /// What was last brought about, so that only news is looked at in between.
    applied: BTreeMap<InstancePath, Wanted>,
    /// What could not be brought about, in words.
    troubles: BTreeMap<InstancePath, String>,
    /// The nodes of whole GPUs.
    gpus: gpus::Gpus,
    /// Who would be refused, in words.
    findings: BTreeMap<audit::Sighting, String>,
}

/// The keeper of the nodes.
#[derive(Debug)]
pub(crate) struct Access {
    /// As configured; it may change while the daemon runs.
    mode: Mutex<Enforce>,
    root: HostRoot,
    /// Whether a process that cannot be looked into counts as a holder.
    others: bool,
    glass: glass::Glass,
    inner: Mutex<Inner>,
    /// Apart, so that whoever only asks for it never waits for a node.
    suspects: Mutex<Vec<Suspect>>,
    filter: filter::Filter,
    cdi: Mutex<cdi::Cdi>,
}

impl Access {
    /// The machine whose nodes it keeps.
    pub(crate) const fn root(&self) -> &HostRoot {
        &self.root
    }

    /// The keeper for the machine at `root`; `state_dir` is where it notes that the glass is broken.
    pub(crate) fn new(
        mode: Enforce,
        root: HostRoot,
        others: bool,
        state_dir: &Path,
        cdi: Option<&Path>,
    ) -> Self {
        let glass = glass::Glass::open(state_dir);
        let filter = filter::Filter::find(&root, &state_dir.to_string_lossy());
        // What only exists in simulation must not reach the machine's own containers unasked.
        let usual = root.is_real() && rustix::process::geteuid().is_root();
        let usual = if usual { PathBuf::from("/etc/cdi") } else { state_dir.join("cdi") };
        let path = cdi.map_or_else(|| usual.join("migd.json"), Path::to_path_buf);
        let cdi = Mutex::new(cdi::Cdi::new(root.clone(), path));
        Self {
            mode: Mutex::new(mode),
            root,
            others,
            glass,
            inner: Mutex::default(),
            suspects: Mutex::default(),
            filter,
            cdi,
        }
    }

    /// What is done about users who open slices that are not theirs.
    pub(crate) fn mode(&self) -> Enforce {
        *lock(&self.mode)
    }

    /// The configuration says otherwise from now on: whatever is handed over after this call is
    /// handed over by the new rule. Nodes follow with the next picture.
    pub(crate) fn set_mode(&self, mode: Enforce) {
        let before = std::mem::replace(&mut *lock(&self.mode), mode);
        if before != mode {
            tracing::info!(enforce = mode_name(mode), before = mode_name(before), "access");
        }
    }

    /// For which GPUs an administrator gave everybody access.
    pub(crate) fn glass(&self) -> BrokenGlass {
        self.glass.get()
    }

    /// How processes of one user are kept apart, in a sentence.
    pub(crate) fn filter_words(&self) -> String {
        self.filter.words()
    }

    /// Confines the command of a lease to its slices, before it begins, where the machine can.
    pub(crate) fn confine(&self, published: &Published, lease: LeaseId, pid: u32) {
        let (state, observed) = (&published.state, &published.observed);
        let slices = state.lease(lease).into_iter().flat_map(|lease| &lease.slices);
        if slices.into_iter().any(|slice| self.enforces(&slice.key.gpu)) {
            self.filter.confine(&self.root, state, observed, lease, pid);
        }
    }

    /// Whether nodes of this GPU are kept.
    pub(crate) fn enforces(&self, gpu: &GpuUuid) -> bool {
        self.mode() == Enforce::On && !self.glass.get().covers(gpu)
    }

    /// Gives everybody access to the slices of a GPU, or of all, until [`Access::mend_glass`].
    ///
    /// # Errors
    /// [`GlassError`] when it cannot be noted; then nothing has changed.
    pub(crate) fn break_glass(
        &self,
        gpu: Option<&GpuUuid>,
        published: &watch::Receiver<Published>,
    ) -> Result<(), GlassError> {
        self.glass.shatter(gpu)?;
        tracing::warn!(gpu = gpu.map(ToString::to_string), "stock permissions on request");
        self.keep(published, true);
        Ok(())
    }

    /// Ends what [`Access::break_glass`] began.
    ///
    /// # Errors
    /// [`GlassError`] when it cannot be noted.
    pub(crate) fn mend_glass(
        &self,
        published: &watch::Receiver<Published>,
    ) -> Result<(), GlassError> {
        self.glass.mend()?;
        tracing::info!("permissions are enforced again");
        self.keep(published, true);
        Ok(())
    }

    /// Closes the nodes of a lease that ends, before it is looked whether anybody holds them: who
    /// is not found then cannot open them any more.
    pub(crate) fn before_look(&self, state: &State, observed: &NodeSnapshot, lease: LeaseId) {
        let Some(lease) = state.lease(lease) else { return };
        self.close_gpus(&lease.whole, observed);
        for slice in &lease.slices {
            if !self.enforces(&slice.key.gpu) {
                continue;
            }
            for instance in instances_of(observed, slice) {
                if let Err(error) = set(&self.root, instance, Wanted::Closed) {
                    tracing::error!(error = chain(&error), "cannot close the node of a slice");
                }
            }
        }
    }

    /// Adds to what the driver shows of a GPU those who have a slice's node open: for whoever needs
    /// that slice they are on it, though the driver does not list them.
    pub(crate) fn overlay(&self, gpu: &mut GpuSnapshot) {
        for suspect in lock(&self.suspects).iter() {
            if suspect.gpu != gpu.uuid {
                continue;
            }
            let there = match &suspect.place {
                Place::Whole => Some(&mut gpu.processes),
                Place::Slice(slice) => {
                    let instances = gpu.instances.iter_mut();
                    instances
                        .filter(|instance| instance.id == slice.gpu_instance)
                        .flat_map(|instance| &mut instance.compute_instances)
                        .find(|compute| compute.id == slice.compute_instance)
                        .map(|compute| &mut compute.processes)
                }
            };
            let Some(processes) = there else { continue };
            let pid = suspect.process.pid;
            if processes.iter().all(|process| process.pid != pid) {
                processes.push(GpuProcess { pid, memory: None });
            }
        }
    }

    /// What an administrator should know now.
    pub(crate) fn warnings(&self, observed: &NodeSnapshot) -> Vec<String> {
        let mut warnings = Vec::new();
        let glass = self.glass.get();
        if self.mode() == Enforce::On && !glass.is_whole() {
            warnings.push(format!(
                "everybody may open {}: stock permissions were asked for; `migctl access enforce` ends that",
                glass.words(observed)
            ));
        }
        warnings.extend(self.resets(observed));
        warnings.extend(first(self.filter.troubles().iter(), "commands not kept apart"));
        let inner = lock(&self.inner);
        let troubles = inner.troubles.values().chain(inner.gpus.troubles.values());
        warnings.extend(first(troubles, "nodes that cannot be set"));
        warnings.extend(first(inner.findings.values(), "processes on slices of others"));
        warnings
    }
}

/// The first few, and how many more there are.
fn first<'a>(all: impl Iterator<Item = &'a String>, what: &str) -> Vec<String> {
    const SHOWN: usize = 5;
    let mut words: Vec<String> = all.cloned().collect();
    if words.len() > SHOWN {
        let more = words.len() - SHOWN;
        words.truncate(SHOWN);
        words.push(format!("and {more} more {what}; `migctl access show` lists all"));
    }
    words
}

/// The GPU instance and the compute instance of a slice; nothing where its GPU is not known.
pub(crate) fn instances_of(observed: &NodeSnapshot, slice: &GrantedSlice) -> Vec<InstancePath> {
    let Some(gpu) = observed.gpu(&slice.key.gpu) else { return Vec::new() };
    let whole =
        InstancePath { gpu: gpu.minor, gpu_instance: slice.gpu_instance, compute_instance: None };
    vec![whole, InstancePath { compute_instance: Some(slice.compute_instance), ..whole }]
}

/// Who has any of these nodes open, in two searches in a row: one alone can miss a descriptor handed
/// on while it runs. `Err` says why nobody can be ruled out.
fn holders(paths: &[PathBuf], others: bool) -> Result<Vec<ProcessId>, String> {
    for _ in 0..2 {
        let found = host::other_holders_of(paths).map_err(|error| chain(&error))?;
        let held: Vec<ProcessId> = found.processes();
        if !held.is_empty() {
            return Ok(held);
        }
        if others && !found.incomplete.is_complete() {
            return Err("some processes may not be looked into, so nobody can be ruled out".into());
        }
    }
    Ok(Vec::new())
}

/// `pid 7 (python, user kim)`.
fn named(users: &Users, process: ProcessId) -> String {
    match describe(process.pid, users, Arguments::Hidden) {
        Some(found) if found.process == process => {
            format!("pid {} ({}, user {})", process.pid, found.command, found.user)
        }
        _ => format!("pid {}", process.pid),
    }
}

/// Keeps the nodes in step with the records until the daemon ends.
pub(crate) fn start(access: &Arc<Access>, published: &watch::Receiver<Published>) {
    tokio::spawn(keeper::run(Arc::clone(access), published.clone()));
}
