//! Nodes kept in step with the records: at once where the records changed, and all of them from time
//! to time, since others may change nodes too.
//!
//! Must never close a node that a plan is handing over at this moment.

use std::sync::Arc;
use std::time::Duration;

use broker::State;
use config::Enforce;
use host::access::{Change, Wanted, set};
use host::nodes::{Access as Setting, InstancePath, gpu_node};
use model::NodeSnapshot;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{
    Access, BrokenGlass, Inner, Place, Suspect, audit, holders, instances_of, mode_name, wanted_on,
};
use crate::executor::chain;
use crate::hands::lock;
use crate::published::Published;

/// How often everything is looked at.
const EVERY: Duration = Duration::from_secs(5);
/// The least time between two looks at what changed: a busy machine has hundreds of changes a
/// second, and a look may write files. The first change after a pause is looked at at once.
const PAUSE: Duration = Duration::from_millis(50);

/// Runs until the daemon ends.
pub(super) async fn run(access: Arc<Access>, mut published: watch::Receiver<Published>) {
    let mut all = tokio::time::interval(EVERY);
    let mut rested = Instant::now();
    loop {
        let whole = tokio::select! {
            changed = published.changed() => match changed {
                Ok(()) => false,
                Err(_) => return,
            },
            _ = all.tick() => true,
        };
        tokio::time::sleep_until(rested).await;
        published.borrow_and_update();
        let (access, look) = (Arc::clone(&access), published.clone());
        let keep = move || {
            // Asks systemd, with which nobody else should have to wait.
            if access.mode() == Enforce::On {
                access.filter.try_out();
            }
            access.keep(&look, whole);
        };
        let done = tokio::task::spawn_blocking(keep).await;
        if let Err(error) = done {
            tracing::error!(%error, "the keeper of the nodes broke down and goes on");
        }
        rested = Instant::now() + PAUSE;
    }
}

impl Access {
    /// Brings nodes in step with the records; `whole` looks also at those that should be right.
    pub(super) fn keep(&self, published: &watch::Receiver<Published>, whole: bool) {
        let mut inner = lock(&self.inner);
        // Read while nobody can hand over: a plan that is open in this picture may have opened a
        // node, and one that is not is in its records.
        let picture = published.borrow().clone();
        let (state, observed) = (&*picture.state, &*picture.observed);
        lock(&self.cdi).follow(state, observed);
        self.filter.clear(state);
        inner.opening.retain(|_, (plan, _)| state.plans.contains_key(plan));
        if self.mode() == Enforce::On {
            self.gpus_in_step(&mut inner, state, observed, whole);
        } else {
            self.restore_gpus(&mut inner, observed);
        }
        let mode = self.mode();
        match mode {
            Enforce::Off => {
                inner.findings.clear();
                inner.troubles.clear();
                // Whoever turns it off wants nobody kept out by what was closed before.
                self.restore_own(&mut inner, state, observed);
                return;
            }
            Enforce::Observe => self.restore_own(&mut inner, state, observed),
            Enforce::On => self.bring_in_step(&mut inner, state, observed, whole),
        }
        let glass = self.glass.get();
        let enforced = |gpu: &model::GpuUuid| !glass.covers(gpu);
        let findings = audit::findings(state, observed, enforced);
        for (sighting, words) in &findings {
            if !inner.findings.contains_key(sighting) {
                tracing::warn!(enforce = mode_name(mode), "{words}");
            }
        }
        inner.findings = findings;
        drop(inner);
        if whole {
            self.dismiss(observed);
        }
    }

    fn bring_in_step(
        &self,
        inner: &mut Inner,
        state: &State,
        observed: &NodeSnapshot,
        whole: bool,
    ) {
        let glass = self.glass.get();
        let mut wanted: Vec<(InstancePath, Wanted)> =
            observed.gpus.iter().flat_map(|gpu| wanted_on(state, gpu, &glass)).collect();
        for (instance, wanted) in &mut wanted {
            if let Some((_, open)) = inner.opening.get(instance) {
                *wanted = *open;
            }
        }
        let known: Vec<InstancePath> = wanted.iter().map(|(instance, _)| *instance).collect();
        inner.applied.retain(|instance, _| known.contains(instance));
        inner.troubles.retain(|instance, _| known.contains(instance));
        for (instance, wanted) in wanted {
            if whole || inner.applied.get(&instance) != Some(&wanted) {
                self.put(inner, instance, wanted);
            }
        }
    }

    fn put(&self, inner: &mut Inner, instance: InstancePath, wanted: Wanted) {
        match set(&self.root, instance, wanted) {
            Ok(change) => {
                if let Some(change) = change {
                    tell(&change, inner.applied.get(&instance) == Some(&wanted));
                }
                inner.troubles.remove(&instance);
                inner.applied.insert(instance, wanted);
            }
            Err(error) => {
                let words = format!("the access to a slice cannot be set: {}", chain(&error));
                if inner.troubles.get(&instance) != Some(&words) {
                    tracing::error!("{words}");
                }
                inner.applied.remove(&instance);
                inner.troubles.insert(instance, words);
            }
        }
    }

    /// What an enforcing daemon before this one closed would stay closed to those who now get it.
    fn restore_own(&self, inner: &mut Inner, state: &State, observed: &NodeSnapshot) {
        let everybody = BrokenGlass { all: true, ..BrokenGlass::default() };
        for (instance, wanted) in
            observed.gpus.iter().flat_map(|gpu| wanted_on(state, gpu, &everybody))
        {
            if inner.applied.insert(instance, wanted) == Some(wanted) {
                continue;
            }
            let left = Setting::read(&self.root, instance)
                .is_ok_and(|setting| setting.is_some_and(|setting| !setting.modify));
            if left {
                tracing::info!("permissions left by an enforcing daemon are given back");
                self.put(inner, instance, wanted);
            }
        }
    }

    /// Forgets those who were found on a node and hold it no more.
    fn dismiss(&self, observed: &NodeSnapshot) {
        let known = lock(&self.suspects).clone();
        let over: Vec<Suspect> = known
            .into_iter()
            .filter(|suspect| {
                let paths: Vec<_> = match &suspect.place {
                    Place::Slice(slice) => instances_of(observed, slice)
                        .iter()
                        .map(|instance| instance.minor().node(&self.root))
                        .collect(),
                    Place::Whole => {
                        let gpu = observed.gpu(&suspect.gpu);
                        gpu.map(|gpu| gpu_node(&self.root, gpu.minor)).into_iter().collect()
                    }
                };
                // Who cannot be ruled out stays.
                holders(&paths, false).is_ok_and(|held| !held.contains(&suspect.process))
            })
            .collect();
        lock(&self.suspects).retain(|suspect| !over.contains(suspect));
    }
}

fn tell(change: &Change, again: bool) {
    let found = change.found.map_or_else(
        || "no node".to_owned(),
        |node| format!("owner {}, mode {:04o}", node.owner, node.mode),
    );
    let path = change.path.display();
    if again {
        tracing::warn!(%path, wanted = ?change.wanted, found, "somebody changed a slice's node");
    } else {
        tracing::debug!(%path, wanted = ?change.wanted, found, "access set");
    }
}
