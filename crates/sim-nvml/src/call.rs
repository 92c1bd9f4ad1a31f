//! One NVML call from entry to return code.
//!
//! Must never let a panic cross the C boundary, and must never let a mutating call happen outside
//! the shared state's lock or without its line in the log.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use model::{ComputeInstanceId, GpuInstanceId, Timestamp};
use serde_json::{Value, json};
use sim_gpu::{
    Caller, ComputeRef, FaultEffect, Gpu, HandleKind, InstanceRef, Node, Query, Return,
    StaleHandles, Target,
};

use crate::abi::args::Outcome;
use crate::abi::handles::{ComputeInstance, Device, GpuInstance, Kind, Parts};
use crate::calls::CallEntry;
use crate::process;
use crate::session::{self, Session};
use crate::shared::{LogChange, SharedError, Version};

/// What a device handle means now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// Index of the GPU.
    pub(crate) gpu: usize,
    /// The MIG device, if it is one.
    pub(crate) mig: Option<ComputeRef>,
}

impl Resolved {
    /// What a client on it would hold.
    pub(crate) const fn target(self) -> Target {
        match self.mig {
            None => Target::Gpu,
            Some(mig) => Target::Compute(mig.instance.id, mig.id),
        }
    }

    /// The GPU, or an error for a MIG device.
    pub(crate) const fn gpu_or(self, error: Return) -> Outcome<usize> {
        match self.mig {
            None => Ok(self.gpu),
            Some(_) => Err(error),
        }
    }
}

/// A call in progress.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) name: &'static str,
    pub(crate) session: Arc<Session>,
    version: Arc<Version<Node>>,
    faulted: Cell<bool>,
}

/// Serves one call of the function `name`.
pub(crate) fn serve(name: &'static str, body: impl FnOnce(&Call) -> Outcome) -> u32 {
    contain(|| {
        let call = Call::begin(name)?;
        body(&call)
    })
}

/// Turns an outcome, or a panic, into a return code.
pub(crate) fn contain(body: impl FnOnce() -> Outcome) -> u32 {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => Return::Success.code(),
        Ok(Err(error)) => error.code(),
        Err(_) => Return::Unknown.code(),
    }
}

/// The code for a state that cannot be read or written.
fn out_of_reach(error: &SharedError) -> Return {
    if error.is_permission() { Return::NoPermission } else { Return::Unknown }
}

/// Whether the log keeps the function: it changes what the driver does for others.
fn is_mutating(name: &str) -> bool {
    matches!(
        name,
        "nvmlDeviceSetMigMode"
            | "nvmlDeviceCreateGpuInstance"
            | "nvmlDeviceCreateGpuInstanceWithPlacement"
            | "nvmlGpuInstanceDestroy"
            | "nvmlGpuInstanceCreateComputeInstance"
            | "nvmlGpuInstanceCreateComputeInstanceWithPlacement"
            | "nvmlComputeInstanceDestroy"
            | "nvmlDeviceSetPersistenceMode"
    )
}

impl Call {
    fn begin(name: &'static str) -> Outcome<Self> {
        let session = session::current().ok_or(Return::Uninitialized)?;
        let version = session.host.node().map_err(|_| Return::Unknown)?;
        if session.hides_symbols && crate::abi::since(name) > version.value.driver.branch() {
            return Err(Return::FunctionNotFound);
        }
        Ok(Self { name, session, version, faulted: Cell::new(false) })
    }

    /// The state as the call found it.
    pub(crate) fn node(&self) -> &Node {
        &self.version.value
    }

    /// Who calls: the process that initialised NVML, or a child that it forked since. A host in
    /// memory is the one thread's that attached to it.
    pub(crate) fn caller(&self) -> Caller {
        let caller = self.session.caller;
        if self.session.host.is_in_memory() || caller.process.pid == std::process::id() {
            caller
        } else {
            Caller { process: process::this(), ..caller }
        }
    }

    /// The state with what dead processes left behind removed, for calls that show processes.
    pub(crate) fn swept(&self) -> Arc<Version<Node>> {
        if self.session.host.has_dead(self.node()) {
            let _swept = self.session.host.change(|_, _| ());
            return self.session.host.node().unwrap_or_else(|_| Arc::clone(&self.version));
        }
        Arc::clone(&self.version)
    }

    /// Lets a planted fault act on a call that reads.
    fn read_fault(&self, gpu: Option<usize>) -> Outcome {
        let due = !self.node().faults.is_empty() && self.node().has_fault_for(self.name, gpu);
        if !due || is_mutating(self.name) || self.faulted.replace(true) {
            return Ok(());
        }
        let effect = self
            .session
            .host
            .change(|node, _| node.fault_for(self.name, gpu))
            .map_err(|_| Return::Unknown)?;
        match effect {
            None | Some(FaultEffect::Lie) => Ok(()),
            Some(FaultEffect::Return(code) | FaultEffect::ReturnAfter(code)) => Err(code),
            Some(FaultEffect::Hang(wait)) => {
                std::thread::sleep(Duration::from_millis(wait.get()));
                Ok(())
            }
            Some(FaultEffect::CrashBefore | FaultEffect::CrashAfter) => process::die(),
        }
    }

    /// Lets a planted fault act on a call that names no GPU.
    pub(crate) fn fault(&self) -> Outcome {
        self.read_fault(None)
    }

    /// What a device handle means.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for garbage and, by the knob, for dead handles; what a GPU that does not
    /// work answers.
    pub(crate) fn device(&self, device: Device) -> Outcome<Resolved> {
        let parts = device.parts()?;
        self.live_gpu(parts)?;
        self.read_fault(Some(parts.gpu))?;
        let mig = match parts.kind {
            Kind::Mig => Some(self.compute_of(parts)?),
            Kind::Gpu
            | Kind::GpuInstance
            | Kind::ComputeInstance
            | Kind::EventSet
            | Kind::GpmSample => None,
        };
        Ok(Resolved { gpu: parts.gpu, mig })
    }

    /// The GPU of a device handle; MIG devices are refused with INVALID_ARGUMENT.
    ///
    /// # Errors
    /// As [`Self::device`].
    pub(crate) fn gpu(&self, device: Device) -> Outcome<usize> {
        self.device(device)?.gpu_or(Return::InvalidArgument)
    }

    /// The MIG device with this UUID. The UUIDs are hashes, so they are made once per change.
    pub(crate) fn mig_by_uuid(&self, uuid: &str) -> Option<(usize, ComputeRef)> {
        let node = self.node();
        let mut index = self.session.uuids.lock().unwrap_or_else(PoisonError::into_inner);
        if index.0 != self.version.generation {
            let devices = (0..node.gpus.len()).flat_map(|gpu| {
                let all = node.mig_devices(gpu).unwrap_or_default();
                all.into_iter().map(move |mig| (gpu, mig))
            });
            let by_uuid = devices.filter_map(|(gpu, mig)| {
                let uuid = node.mig_uuid(gpu, mig).ok()?;
                Some((uuid.as_str().to_ascii_lowercase(), (gpu, mig)))
            });
            *index = (self.version.generation, by_uuid.collect());
        }
        let found = index.1.get(&uuid.to_ascii_lowercase()).copied();
        // The old form with the GPU's UUID in it is no hash.
        found.or_else(|| {
            let old = uuid.starts_with("MIG-GPU-");
            if old { node.mig_device_by_uuid(uuid) } else { None }
        })
    }

    /// The GPU of a handle, if the driver answers this kind of query on it.
    ///
    /// # Errors
    /// As [`Self::device`], and NOT_SUPPORTED or INVALID_ARGUMENT for the wrong kind of handle.
    pub(crate) fn query(&self, device: Device, query: Query) -> Outcome<usize> {
        let found = self.device(device)?;
        let kind = if found.mig.is_some() { HandleKind::Mig } else { HandleKind::Gpu };
        self.node().supports(found.gpu, query, kind)?;
        Ok(found.gpu)
    }

    fn live_gpu(&self, parts: Parts) -> Outcome<&Gpu> {
        let gpu = self.node().gpu(parts.gpu)?;
        // Only GPU handles carry the GPU's generation; instances die with a reset anyway.
        let stale = parts.kind == Kind::Gpu && !parts.is_of(gpu.generation);
        if stale && self.node().knobs.stale_handles == StaleHandles::Invalid {
            return Err(Return::InvalidArgument);
        }
        Ok(gpu)
    }

    /// The GPU instance of a handle, as the node knows it.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for garbage; a dead handle is passed on, the node decides.
    pub(crate) fn instance(&self, handle: GpuInstance) -> Outcome<(usize, InstanceRef)> {
        let parts = handle.parts()?;
        self.live_gpu(parts)?;
        self.read_fault(Some(parts.gpu))?;
        Ok((parts.gpu, self.instance_of(parts)))
    }

    fn instance_of(&self, parts: Parts) -> InstanceRef {
        let id = GpuInstanceId::new(parts.gpu_instance);
        let now = self.node().gpu(parts.gpu).ok().and_then(|gpu| gpu.instance(id));
        match now {
            Some(found) if parts.is_of(found.generation) => found.reference(),
            Some(_) | None => InstanceRef { id, generation: parts.generation },
        }
    }

    /// The compute instance of a handle, as the node knows it.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for garbage and dead handles.
    pub(crate) fn compute(&self, handle: ComputeInstance) -> Outcome<(usize, ComputeRef)> {
        let parts = handle.parts()?;
        self.live_gpu(parts)?;
        self.read_fault(Some(parts.gpu))?;
        Ok((parts.gpu, self.compute_of(parts)?))
    }

    /// The compute instance with the handle's ids: the one it was made for, or by the knob the one
    /// that has its ids now.
    fn compute_of(&self, parts: Parts) -> Outcome<ComputeRef> {
        let gpu = self.node().gpu(parts.gpu)?;
        let instance =
            gpu.instance(GpuInstanceId::new(parts.gpu_instance)).ok_or(Return::InvalidArgument)?;
        let id = ComputeInstanceId::new(parts.compute_instance);
        let compute =
            instance.compute.iter().find(|c| c.id == id).ok_or(Return::InvalidArgument)?;
        let same = parts.is_of(compute.generation);
        if same || self.node().knobs.stale_handles != StaleHandles::Invalid {
            Ok(instance.compute_reference(compute))
        } else {
            Err(Return::InvalidArgument)
        }
    }

    /// Runs a mutating call: waits as long as it takes on hardware, one slow call per GPU at a
    /// time; changes the state and logs it in one commit.
    ///
    /// # Errors
    /// What `act` answers, what a planted fault says, NO_PERMISSION if this process may not write.
    pub(crate) fn mutate<R: Clone>(
        &self,
        gpu: usize,
        args: Value,
        act: impl Fn(&mut Node, Timestamp) -> Outcome<R>,
        output: impl Fn(&R) -> Value,
    ) -> Outcome<R> {
        let host = &self.session.host;
        if !host.is_writable() {
            // Whoever may not write the state has no rights; other errors come first.
            act(&mut self.node().clone(), host.now())?;
            return Err(Return::NoPermission);
        }
        let _one_at_a_time = host.lock_gpu(gpu).map_err(|error| out_of_reach(&error))?;
        let effect = self.mutation_fault(gpu)?;
        match effect {
            Some(FaultEffect::CrashBefore) => process::die(),
            Some(FaultEffect::Hang(wait)) => {
                std::thread::sleep(Duration::from_millis(wait.get()));
            }
            Some(
                FaultEffect::Return(_)
                | FaultEffect::ReturnAfter(_)
                | FaultEffect::Lie
                | FaultEffect::CrashAfter,
            )
            | None => {}
        }
        self.take_time(&act);
        let result = host.commit(|node, now, generation| {
            let result = match effect {
                Some(FaultEffect::Return(code)) => Err(code),
                Some(FaultEffect::Lie) => act(&mut node.clone(), now),
                Some(
                    FaultEffect::ReturnAfter(_)
                    | FaultEffect::Hang(_)
                    | FaultEffect::CrashBefore
                    | FaultEffect::CrashAfter,
                )
                | None => {
                    let mut changed = node.clone();
                    let result = act(&mut changed, now);
                    if result.is_ok() {
                        *node = changed;
                    }
                    match effect {
                        Some(FaultEffect::ReturnAfter(code)) => result.and(Err(code)),
                        _ => result,
                    }
                }
            };
            if !host.keeps_log() {
                return (result, LogChange::Keep);
            }
            let line = self.log_line(args, &result, &output, now, generation);
            (result, LogChange::Append(line))
        });
        let result = result.map_err(|error| out_of_reach(&error))?;
        if effect == Some(FaultEffect::CrashAfter) {
            process::die();
        }
        result
    }

    /// A fault for this mutating call, taken out of the state before the call waits, so that a
    /// crash that it causes does not happen again.
    fn mutation_fault(&self, gpu: usize) -> Outcome<Option<FaultEffect>> {
        let host = &self.session.host;
        let node = host.node().map_err(|_| Return::Unknown)?;
        if !node.value.has_fault_for(self.name, Some(gpu)) {
            return Ok(None);
        }
        host.change(|node, _| node.fault_for(self.name, Some(gpu))).map_err(|_| Return::Unknown)
    }

    /// Sleeps as long as the call takes on hardware, if it would succeed now.
    fn take_time<R>(&self, act: &impl Fn(&mut Node, Timestamp) -> Outcome<R>) {
        let wait = self.node().knobs.latencies.of(self.name);
        if wait.get() == 0 {
            return;
        }
        let Ok(version) = self.session.host.node() else { return };
        if act(&mut version.value.clone(), self.session.host.now()).is_ok() {
            std::thread::sleep(Duration::from_millis(wait.get()));
        }
    }

    fn log_line<R>(
        &self,
        args: Value,
        result: &Outcome<R>,
        output: &impl Fn(&R) -> Value,
        now: Timestamp,
        generation: u64,
    ) -> String {
        let entry = CallEntry {
            time_ms: now.as_millis(),
            generation,
            pid: std::process::id(),
            call: self.name.to_owned(),
            args,
            result: result.as_ref().err().copied().unwrap_or(Return::Success).name().to_owned(),
            output: result.as_ref().map_or(Value::Null, output),
        };
        serde_json::to_string(&entry).unwrap_or_default()
    }

    /// The GPU's UUID as an argument for the log.
    pub(crate) fn gpu_argument(&self, gpu: usize) -> Value {
        self.node().gpu(gpu).map_or(Value::Null, |gpu| json!(gpu.uuid.as_str()))
    }

    /// The handle of a GPU.
    pub(crate) fn gpu_handle(&self, gpu: usize) -> Outcome<Device> {
        let generation = self.node().gpu(gpu)?.generation;
        Ok(Device::of(Parts {
            kind: Kind::Gpu,
            gpu,
            gpu_instance: 0,
            compute_instance: 0,
            generation,
        }))
    }
}

/// The handle of a MIG device.
pub(crate) fn mig_handle(gpu: usize, mig: ComputeRef) -> Device {
    Device::of(Parts { kind: Kind::Mig, ..compute_parts(gpu, mig) })
}

/// The handle of a compute instance.
pub(crate) fn compute_handle(gpu: usize, compute: ComputeRef) -> ComputeInstance {
    ComputeInstance::of(compute_parts(gpu, compute))
}

const fn compute_parts(gpu: usize, compute: ComputeRef) -> Parts {
    Parts {
        kind: Kind::ComputeInstance,
        gpu,
        gpu_instance: compute.instance.id.get(),
        compute_instance: compute.id.get(),
        generation: compute.generation,
    }
}

/// The handle of a GPU instance.
pub(crate) const fn instance_handle(gpu: usize, instance: InstanceRef) -> GpuInstance {
    GpuInstance::of(Parts {
        kind: Kind::GpuInstance,
        gpu,
        gpu_instance: instance.id.get(),
        compute_instance: 0,
        generation: instance.generation,
    })
}
