//! Who uses the GPUs: NVML sessions, CUDA-like contexts, and holders invented by a test.
//!
//! Must never outlive the processes: [`Node::forget_dead`] drops what the dead left behind, as
//! the kernel does when their descriptors close.

use alloc::string::String;

use model::{ComputeInstanceId, GpuInstanceId, MemoryMib, ProcessId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::activity::Activity;
use crate::node::Node;
use crate::ret::Return;

/// Number of a context, unique in the life of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContextId(pub u32);

/// What a context computes with; decides in which of NVML's three process lists it appears.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum ContextKind {
    /// CUDA.
    #[default]
    Compute,
    /// Graphics.
    Graphics,
    /// CUDA through an MPS server.
    Mps,
}

/// What somebody holds on a GPU.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The whole GPU.
    #[default]
    Gpu,
    /// A GPU instance.
    Instance(GpuInstanceId),
    /// A compute instance, and with it its GPU instance.
    Compute(GpuInstanceId, ComputeInstanceId),
}

impl Target {
    /// The GPU instance it touches.
    pub const fn gpu_instance(self) -> Option<GpuInstanceId> {
        match self {
            Self::Gpu => None,
            Self::Instance(gi) | Self::Compute(gi, _) => Some(gi),
        }
    }

    /// The compute instance it touches.
    pub const fn compute_instance(self) -> Option<ComputeInstanceId> {
        match self {
            Self::Gpu | Self::Instance(_) => None,
            Self::Compute(_, ci) => Some(ci),
        }
    }
}

/// A CUDA-like context: a process that occupies memory on a GPU or on a MIG device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// Its number.
    pub id: ContextId,
    /// Whose it is.
    pub process: ProcessId,
    /// Index of the GPU.
    pub gpu: usize,
    /// [`Target::Gpu`] or [`Target::Compute`].
    pub target: Target,
    /// Memory it occupies.
    pub memory: MemoryMib,
    /// What it computes with.
    pub kind: ContextKind,
    /// How busy it keeps the hardware over time.
    pub activity: Activity,
    /// When it began.
    pub started_at: Timestamp,
}

/// A context to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextRequest {
    /// Whose it is.
    pub process: ProcessId,
    /// Index of the GPU.
    pub gpu: usize,
    /// [`Target::Gpu`] or [`Target::Compute`].
    pub target: Target,
    /// Memory it occupies.
    pub memory: MemoryMib,
    /// What it computes with.
    pub kind: ContextKind,
    /// How busy it keeps the hardware over time.
    pub activity: Activity,
    /// The time now.
    pub now: Timestamp,
}

/// An NVML session: a process between `nvmlInit` and `nvmlShutdown`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Whose it is.
    pub process: ProcessId,
    /// Number of `nvmlInit` calls not yet undone.
    pub count: u32,
}

/// How a holder holds.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum HoldKind {
    /// As a CUDA client or a subscriber of an instance does: always in the way.
    #[default]
    Client,
    /// As a monitoring agent with an NVML session does: in the way where the knobs say so.
    Session,
}

/// A holder invented by a test or a scenario (DCGM, persistenced, an MPS server).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its name, unique; by it the holder is removed.
    pub name: String,
    /// The pid it pretends to have.
    pub pid: u32,
    /// Index of the GPU; `None` = all.
    pub gpu: Option<usize>,
    /// What it holds there.
    #[serde(default)]
    pub target: Target,
    /// How it holds.
    #[serde(default)]
    pub kind: HoldKind,
}

impl Node {
    /// A process opens an NVML session (`nvmlInit`); counted.
    pub fn open_session(&mut self, process: ProcessId) {
        match self.sessions.iter_mut().find(|session| session.process == process) {
            Some(session) => session.count = session.count.saturating_add(1),
            None => self.sessions.push(Session { process, count: 1 }),
        }
    }

    /// A process closes an NVML session (`nvmlShutdown`). Whether it had one.
    pub fn close_session(&mut self, process: ProcessId) -> bool {
        let found = self.sessions.iter().position(|session| session.process == process);
        let Some(at) = found else { return false };
        match self.sessions.get_mut(at) {
            Some(session) if session.count > 1 => session.count -= 1,
            Some(_) | None => drop(self.sessions.remove(at)),
        }
        true
    }

    /// Opens a context, as a CUDA program does.
    ///
    /// # Errors
    /// NOT_SUPPORTED for a whole GPU in MIG mode (CUDA says that there is no device); NOT_FOUND if
    /// the MIG device does not exist; INVALID_ARGUMENT for a GPU instance without compute
    /// instance; MEMORY if there is not that much free (CUDA: out of memory).
    pub fn open_context(&mut self, request: ContextRequest) -> Result<ContextId, Return> {
        let found = self.working_gpu(request.gpu)?;
        match request.target {
            Target::Gpu if found.mig_on() => return Err(Return::NotSupported),
            Target::Gpu => {}
            Target::Instance(_) => return Err(Return::InvalidArgument),
            Target::Compute(gi, ci) => {
                let instance = found.instance(gi).ok_or(Return::NotFound)?;
                let compute = instance.compute.iter().find(|compute| compute.id == ci);
                compute.ok_or(Return::NotFound)?;
            }
        }
        if !self.has_room(request.gpu, request.target, request.memory)? {
            return Err(Return::Memory);
        }
        let id = ContextId(self.next_context);
        self.next_context = self.next_context.wrapping_add(1);
        let ContextRequest { process, gpu, target, memory, kind, activity, now } = request;
        let started_at = now;
        self.contexts.push(Context {
            id,
            process,
            gpu,
            target,
            memory,
            kind,
            activity,
            started_at,
        });
        Ok(id)
    }

    /// Closes a context. Whether it existed.
    pub fn close_context(&mut self, id: ContextId) -> bool {
        let before = self.contexts.len();
        self.contexts.retain(|context| context.id != id);
        self.contexts.len() < before
    }

    /// Changes how much memory a context occupies.
    ///
    /// # Errors
    /// NOT_FOUND if there is no such context; MEMORY if there is not that much free.
    pub fn resize_context(&mut self, id: ContextId, memory: MemoryMib) -> Result<(), Return> {
        let context = self.contexts.iter().find(|context| context.id == id);
        let context = context.ok_or(Return::NotFound)?;
        let more = memory.saturating_sub(context.memory);
        if !self.has_room(context.gpu, context.target, more)? {
            return Err(Return::Memory);
        }
        for context in &mut self.contexts {
            if context.id == id {
                context.memory = memory;
            }
        }
        Ok(())
    }

    /// Changes how busy a context is.
    ///
    /// # Errors
    /// NOT_FOUND if there is no such context.
    pub fn set_activity(&mut self, id: ContextId, activity: Activity) -> Result<(), Return> {
        let context = self.contexts.iter_mut().find(|context| context.id == id);
        context.ok_or(Return::NotFound)?.activity = activity;
        Ok(())
    }

    /// Adds a holder, in place of one with the same name.
    pub fn add_holder(&mut self, holder: Holder) {
        self.remove_holder(&holder.name);
        self.holders.push(holder);
    }

    /// Removes a holder. Whether there was one.
    pub fn remove_holder(&mut self, name: &str) -> bool {
        let before = self.holders.len();
        self.holders.retain(|holder| holder.name != name);
        self.holders.len() < before
    }

    /// Whether a session or a context belongs to a process that is not alive: [`Self::forget_dead`]
    /// would change something.
    pub fn has_dead(&self, alive: &dyn Fn(ProcessId) -> bool) -> bool {
        self.sessions.iter().any(|session| !alive(session.process))
            || self.contexts.iter().any(|context| !alive(context.process))
    }

    /// Drops the sessions and contexts of processes that are not alive. Whether there were any.
    pub fn forget_dead(&mut self, alive: &dyn Fn(ProcessId) -> bool) -> bool {
        let before = (self.sessions.len(), self.contexts.len());
        self.sessions.retain(|session| alive(session.process));
        self.contexts.retain(|context| alive(context.process));
        before != (self.sessions.len(), self.contexts.len())
    }
}
