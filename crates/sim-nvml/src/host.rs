//! A simulated host: a folder with the shared state, the log of calls and the tree of files.
//!
//! Must never be reached by a program that did not name the folder: simulation is chosen, never
//! found.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use model::{MemoryMib, ProcessId, Timestamp};
use sim_gpu::{
    Activity, BoardCache, Caller, ContextId, Fault, Holder, HostSpec, HostSpecError, Knobs,
    Latencies, Node, Return, Rights, Target,
};

use crate::calls::{CallEntry, parse_log};
use crate::lock::FileLock;
use crate::private::Private;
use crate::process;
use crate::shared::{LogChange, Shareable, Shared, SharedError, Version};
use crate::trees;

static BOARDS: Mutex<Option<BoardCache>> = Mutex::new(None);

fn with_boards<R>(act: impl FnOnce(&mut BoardCache) -> R) -> R {
    let mut boards = BOARDS.lock().unwrap_or_else(PoisonError::into_inner);
    act(boards.get_or_insert_with(BoardCache::new))
}

impl Shareable for Node {
    fn revive(&mut self) -> bool {
        with_boards(|boards| self.attach(boards)).is_ok()
    }
}

/// Why a simulated host does not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// Its state cannot be read or changed.
    #[error("the state of the simulated host {} is out of reach", dir.display())]
    State {
        /// Its folder.
        dir: PathBuf,
        /// Why.
        #[source]
        source: SharedError,
    },
    /// There is one already.
    #[error("a simulated host exists in {}", .0.display())]
    Exists(PathBuf),
    /// There is none.
    #[error("no simulated host in {}", .0.display())]
    Missing(PathBuf),
    /// A folder or file of it cannot be made.
    #[error("cannot make {}", path.display())]
    Make {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file of its units cannot be read or changed.
    #[error("the units of the simulated host are out of reach: {}", path.display())]
    Units {
        /// Which file.
        path: PathBuf,
        /// What the system said, or what does not parse.
        #[source]
        source: std::io::Error,
    },
    /// Its description does not make sense.
    #[error("the description of the simulated host is wrong")]
    Spec(#[source] HostSpecError),
    /// Its simulated driver refused.
    #[error("{operation}: {code}")]
    Driver {
        /// What was asked.
        operation: &'static str,
        /// What the driver said.
        code: Return,
    },
    /// This process works with another simulated host and has not shut that down.
    #[error("this process has an open NVML session on {}", .0.display())]
    OtherHost(PathBuf),
}

/// How a new simulated host differs from the default.
#[derive(Debug, Clone, Default)]
pub struct HostOptions {
    /// How long driver calls take; `None` = realistic figures.
    pub latencies: Option<Latencies>,
    /// Whether other users may change it too. Reading is always allowed.
    pub shared: bool,
}

/// One simulated host, as one process sees it.
#[derive(Debug)]
pub struct SimHost {
    dir: PathBuf,
    root: PathBuf,
    state: State,
}

/// Where the state is.
#[derive(Debug)]
enum State {
    Shared(Shared<Node>),
    Private(Private),
}

impl SimHost {
    /// Makes a host in `dir`, which may exist but must not hold one.
    ///
    /// # Errors
    /// [`SimError::Exists`], [`SimError::Spec`], [`SimError::Make`], [`SimError::State`].
    pub fn create(dir: &Path, spec: &HostSpec, options: &HostOptions) -> Result<Self, SimError> {
        if dir.join("state").exists() {
            return Err(SimError::Exists(dir.to_owned()));
        }
        let mut node = with_boards(|boards| Node::new(spec, boards)).map_err(SimError::Spec)?;
        if let Some(latencies) = options.latencies {
            node.knobs.latencies = latencies;
        }
        let make = |path: PathBuf| {
            std::fs::create_dir_all(&path).map_err(|source| SimError::Make { path, source })
        };
        make(dir.to_owned())?;
        // The folder's real path: programs that read it have other working directories.
        let dir = &dir
            .canonicalize()
            .map_err(|source| SimError::Make { path: dir.to_owned(), source })?;
        make(dir.join("gpu-locks"))?;
        let mode = if options.shared { 0o666 } else { 0o644 };
        for gpu in 0..node.gpus.len() {
            let path = gpu_lock_path(dir, gpu);
            std::fs::write(&path, "").map_err(|source| SimError::Make { path, source })?;
        }
        let root = dir.join("root");
        trees::create(&root, &node, options.shared)
            .map_err(|(path, source)| SimError::Make { path, source })?;
        Shared::create(dir, &node, mode)
            .map_err(|source| SimError::State { dir: dir.to_owned(), source })?;
        Self::open(dir)
    }

    /// Opens the host in `dir` and repairs its tree of files if somebody died while changing it.
    ///
    /// # Errors
    /// [`SimError::Missing`], [`SimError::State`].
    pub fn open(dir: &Path) -> Result<Self, SimError> {
        if !dir.join("state").exists() {
            return Err(SimError::Missing(dir.to_owned()));
        }
        let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
        let state =
            Shared::open(&dir).map_err(|source| SimError::State { dir: dir.clone(), source })?;
        let mend = !state.is_followed() && state.is_writable();
        let host = Self { root: dir.join("root"), dir, state: State::Shared(state) };
        if mend {
            host.change(|_, _| ())?;
        }
        Ok(host)
    }

    /// Makes a host in memory, for the thread that attaches to it ([`crate::attach_thread`]). It has
    /// no folder, no tree of files and no log of calls; processes on it are the caller's invention,
    /// and its clock stands until it is set ([`SimHost::set_now`]).
    ///
    /// # Errors
    /// [`SimError::Spec`].
    pub fn in_memory(spec: &HostSpec, options: &HostOptions) -> Result<Self, SimError> {
        let mut node = with_boards(|boards| Node::new(spec, boards)).map_err(SimError::Spec)?;
        if let Some(latencies) = options.latencies {
            node.knobs.latencies = latencies;
        }
        let state = State::Private(Private::new(node));
        Ok(Self { dir: PathBuf::new(), root: PathBuf::new(), state })
    }

    /// Sets the clock of a host in memory.
    pub fn set_now(&self, now: Timestamp) {
        if let State::Private(state) = &self.state {
            state.set_now(now);
        }
    }

    /// The moment now on this host.
    pub(crate) fn now(&self) -> Timestamp {
        match &self.state {
            State::Shared(_) => process::now(),
            State::Private(state) => state.now(),
        }
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The root of its `/proc`, `/sys` and `/dev`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The state now.
    ///
    /// # Errors
    /// [`SimError::State`].
    pub fn node(&self) -> Result<Arc<Version<Node>>, SimError> {
        match &self.state {
            State::Shared(state) => state.read().map_err(|source| self.out_of_reach(source)),
            State::Private(state) => Ok(state.read()),
        }
    }

    /// Number of commits so far; changes whenever anything changed. One atomic load.
    pub fn generation(&self) -> u64 {
        match &self.state {
            State::Shared(state) => state.generation(),
            State::Private(state) => state.read().generation,
        }
    }

    fn out_of_reach(&self, source: SharedError) -> SimError {
        SimError::State { dir: self.dir.clone(), source }
    }

    /// Changes the state as the hardware's operator would; not a driver call, not logged.
    ///
    /// # Errors
    /// [`SimError::State`].
    pub fn change<R>(&self, act: impl FnOnce(&mut Node, Timestamp) -> R) -> Result<R, SimError> {
        self.commit(|node, now, _| (act(node, now), LogChange::Keep))
            .map_err(|source| self.out_of_reach(source))
    }

    /// The only way to the state: drops what dead processes left, lets `act` change the node, and
    /// brings the tree of files up to date.
    pub(crate) fn commit<R>(
        &self,
        act: impl FnOnce(&mut Node, Timestamp, u64) -> (R, LogChange),
    ) -> Result<R, SharedError> {
        let state = match &self.state {
            State::Shared(state) => state,
            State::Private(state) => return Ok(state.write(|node, now, g| act(node, now, g).0)),
        };
        state.write(
            |node, generation| {
                forget_dead(node);
                act(node, process::now(), generation)
            },
            |before, after, up_to_date| {
                trees::follow(&self.root, before, after, up_to_date).is_ok()
            },
        )
    }

    /// Whether this process may change the host.
    pub(crate) const fn is_writable(&self) -> bool {
        match &self.state {
            State::Shared(state) => state.is_writable(),
            State::Private(_) => true,
        }
    }

    /// Whether it keeps a log of mutating calls.
    pub(crate) const fn keeps_log(&self) -> bool {
        !self.is_in_memory()
    }

    /// Whether it is one thread's alone, without a folder.
    pub(crate) const fn is_in_memory(&self) -> bool {
        matches!(self.state, State::Private(_))
    }

    /// Waits until no other slow call works on the GPU, as the driver serialises them. In memory
    /// there is one thread.
    pub(crate) fn lock_gpu(&self, gpu: usize) -> Result<Option<FileLock>, SharedError> {
        match &self.state {
            State::Shared(_) => FileLock::take(&gpu_lock_path(&self.dir, gpu)).map(Some),
            State::Private(_) => Ok(None),
        }
    }

    /// Whether `node` holds sessions or contexts of a process that died. Processes on a host in
    /// memory end when their inventor says so.
    pub(crate) fn has_dead(&self, node: &Node) -> bool {
        if self.is_in_memory() {
            return false;
        }
        let clients = clients(node);
        process::living(&clients).len() < clients.len()
    }

    /// Changes the state by an operation that the simulated driver may refuse.
    fn drive<R>(
        &self,
        operation: &'static str,
        act: impl FnOnce(&mut Node, Timestamp) -> Result<R, Return>,
    ) -> Result<R, SimError> {
        self.change(act)?.map_err(|code| SimError::Driver { operation, code })
    }

    /// The mutating driver calls of every process since the log was cleared, oldest first.
    ///
    /// # Errors
    /// [`SimError::State`].
    pub fn calls(&self) -> Result<Vec<CallEntry>, SimError> {
        match &self.state {
            State::Shared(state) => {
                let log = state.log().map_err(|source| self.out_of_reach(source))?;
                Ok(parse_log(&log))
            }
            State::Private(_) => Ok(Vec::new()),
        }
    }

    /// Forgets the log of calls.
    ///
    /// # Errors
    /// [`SimError::State`].
    pub fn clear_calls(&self) -> Result<(), SimError> {
        self.commit(|_, _, _| ((), LogChange::Clear)).map_err(|source| self.out_of_reach(source))
    }

    /// Plants a fault.
    ///
    /// # Errors
    /// [`SimError::State`].
    pub fn inject_fault(&self, fault: Fault) -> Result<(), SimError> {
        self.change(|node, _| node.add_fault(fault))
    }

    /// Removes every fault in waiting.
    ///
    /// # Errors
    /// [`SimError::State`].
    pub fn clear_faults(&self) -> Result<(), SimError> {
        self.change(|node, _| node.clear_faults())
    }

    /// Turns knobs.
    ///
    /// # Errors
    /// [`SimError::State`].
    pub fn set_knobs(&self, turn: impl FnOnce(&mut Knobs)) -> Result<(), SimError> {
        self.change(|node, _| turn(&mut node.knobs))
    }

    /// Resets a GPU, as `nvidia-smi --gpu-reset` does.
    ///
    /// # Errors
    /// [`SimError::Driver`] with IN_USE while somebody holds it, [`SimError::State`].
    pub fn reset_gpu(&self, gpu: usize) -> Result<(), SimError> {
        let wait = self.node()?.value.knobs.latencies.reset;
        let _one_at_a_time = self.lock_gpu(gpu).map_err(|source| self.out_of_reach(source))?;
        if wait.get() > 0 {
            std::thread::sleep(std::time::Duration::from_millis(wait.get()));
        }
        let caller = self.caller();
        self.drive("reset of the GPU", |node, now| node.reset_gpu(gpu, caller, now))
    }

    /// Unloads and loads the driver.
    ///
    /// # Errors
    /// [`SimError::Driver`] with IN_USE while somebody holds a GPU, [`SimError::State`].
    pub fn reload_driver(&self) -> Result<(), SimError> {
        let caller = self.caller();
        self.drive("reload of the driver", |node, now| node.reload_driver(caller, now))
    }

    /// Reboots the host: every process on it is gone, instances too; units that are enabled run.
    ///
    /// # Errors
    /// [`SimError::State`], [`SimError::Units`].
    pub fn reboot(&self) -> Result<(), SimError> {
        self.change(Node::reboot)?;
        self.boot_units()
    }

    /// Makes the host as new: no instances, no MIG, no faults, no holders, no units.
    ///
    /// # Errors
    /// [`SimError::State`], [`SimError::Units`].
    pub fn wipe(&self) -> Result<(), SimError> {
        self.change(Node::wipe)?;
        self.forget_units()
    }

    /// Adds an invented holder.
    ///
    /// # Errors
    /// [`SimError::State`].
    pub fn add_holder(&self, holder: Holder) -> Result<(), SimError> {
        self.change(|node, _| node.add_holder(holder)).map(drop)
    }

    /// Removes an invented holder; false if there was none of that name.
    ///
    /// # Errors
    /// [`SimError::State`].
    pub fn remove_holder(&self, name: &str) -> Result<bool, SimError> {
        self.change(|node, _| node.remove_holder(name))
    }

    /// Raises an Xid.
    ///
    /// # Errors
    /// [`SimError::Driver`] if the target does not exist, [`SimError::State`].
    pub fn inject_xid(&self, gpu: usize, xid: u32, target: Target) -> Result<(), SimError> {
        self.drive("Xid", |node, now| node.inject_xid(gpu, xid, target, now)).map(drop)
    }

    /// Ends a context.
    ///
    /// # Errors
    /// [`SimError::State`].
    pub fn end_context(&self, context: ContextId) -> Result<(), SimError> {
        self.change(|node, _| node.close_context(context)).map(drop)
    }

    /// Changes how much memory a context occupies.
    ///
    /// # Errors
    /// [`SimError::Driver`] with MEMORY if its slice has no room (CUDA error 2),
    /// [`SimError::State`].
    pub fn resize_context(&self, context: ContextId, memory: MemoryMib) -> Result<(), SimError> {
        self.drive("allocation of GPU memory", |node, _| node.resize_context(context, memory))
            .map(drop)
    }

    /// Changes how busy a context keeps its slice.
    ///
    /// # Errors
    /// [`SimError::Driver`] if it does not exist, [`SimError::State`].
    pub fn set_activity(&self, context: ContextId, activity: Activity) -> Result<(), SimError> {
        self.drive("change of activity", |node, _| node.set_activity(context, activity)).map(drop)
    }

    /// This process with its rights on this host.
    pub fn caller(&self) -> Caller {
        match &self.state {
            State::Shared(_) => process::caller(&self.dir, &self.root),
            State::Private(_) => {
                let process = ProcessId { pid: std::process::id(), start_ticks: 0 };
                Caller { process, rights: Rights::Root }
            }
        }
    }
}

fn gpu_lock_path(dir: &Path, gpu: usize) -> PathBuf {
    dir.join("gpu-locks").join(gpu.to_string())
}

fn clients(node: &Node) -> BTreeSet<ProcessId> {
    let sessions = node.sessions.iter().map(|session| session.process);
    sessions.chain(node.contexts.iter().map(|context| context.process)).collect()
}

fn forget_dead(node: &mut Node) {
    let living = process::living(&clients(node));
    node.forget_dead(&|process| living.contains(&process));
}
