//! A simulated host in memory, for one thread of one process: no files, no locks, no log, and a
//! clock that its owner sets.
//!
//! Must never behave otherwise than a host in a folder where a driver call can tell.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use model::Timestamp;
use sim_gpu::Node;

use crate::shared::Version;

/// The state of such a host.
#[derive(Debug)]
pub(crate) struct Private {
    version: RwLock<Arc<Version<Node>>>,
    now: AtomicU64,
}

impl Private {
    pub(crate) fn new(value: Node) -> Self {
        let version = Version { generation: 1, log_len: 0, value };
        Self { version: RwLock::new(Arc::new(version)), now: AtomicU64::new(0) }
    }

    pub(crate) fn read(&self) -> Arc<Version<Node>> {
        Arc::clone(&self.version.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the state; versions that somebody still reads stay as they are.
    pub(crate) fn write<R>(&self, change: impl FnOnce(&mut Node, Timestamp, u64) -> R) -> R {
        let mut version = self.version.write().unwrap_or_else(PoisonError::into_inner);
        let found = Arc::make_mut(&mut version);
        found.generation += 1;
        let generation = found.generation;
        change(&mut found.value, self.now(), generation)
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now.load(Ordering::Relaxed))
    }

    pub(crate) fn set_now(&self, now: Timestamp) {
        self.now.store(now.as_millis(), Ordering::Relaxed);
    }
}
