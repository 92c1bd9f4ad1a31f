//! Creating and destroying instances and setting MIG mode, each verified by reading back.
//!
//! Must never report success on NVML's word alone: destroy has been seen to succeed and leave
//! remnants (go-nvml issue 146), disable to succeed and leave MIG on (DRA driver issue 852).

use std::sync::Arc;

use model::{
    ComputeInstanceId, ComputeInstanceProfileId, Geometry, GpuInstanceId, GpuInstanceProfileId,
    GpuUuid, MigMode, MigState, MigUuid, Placement,
};
use nvml_wrapper_sys::bindings::{nvmlComputeInstancePlacement_t, nvmlGpuInstancePlacement_t};

use crate::driver::Driver;
use crate::error::DriverError;
use crate::instances::{
    FoundCompute, FoundInstance, compute_instance, compute_instances_of, describe,
    describe_compute, gpu_instance, gpu_instances, gpu_instances_of, mig_devices,
};
use crate::outcome::{CreatedCompute, ModeChange};
use crate::read_back::read_back;
use crate::returns::NvmlReturn;
use crate::session::{Session, lock};
use crate::snapshot::mig_mode;
use crate::symbols::{Call, CallError, ComputeInstanceHandle, Device, GpuInstanceHandle, Symbols};

/// One change of one GPU: the session it happens in and the words for it.
pub(crate) struct Change<'a> {
    pub(crate) session: Arc<Session>,
    pub(crate) gpu: &'a GpuUuid,
    pub(crate) device: Device,
    pub(crate) operation: String,
}

impl Change<'_> {
    pub(crate) fn symbols(&self) -> &Symbols {
        self.session.symbols()
    }

    pub(crate) fn checked<T>(&self, call: Call<T>) -> Result<T, DriverError> {
        call.map_err(|error| self.session.failure(error, Some(self.gpu), self.operation.clone()))
    }

    fn not_as_reported(&self, found: impl Into<String>) -> DriverError {
        DriverError::NotAsReported {
            operation: self.operation.clone(),
            gpu: Some(self.gpu.clone()),
            found: found.into(),
        }
    }

    /// What was made cannot be read back, so nobody may use it; `undone` is what came of destroying
    /// it again.
    fn unread(&self, what: &str, error: CallError, undone: Call<()>) -> DriverError {
        let stands = undone.is_err();
        let end = match undone {
            Ok(()) => "was destroyed again".into(),
            Err(why) => format!("could not be destroyed again ({}); it stands", self.words(why)),
        };
        let read = self.words(error);
        let found = format!("the {what} was made, could not be read back ({read}) and {end}");
        self.unverified(found, stands)
    }

    /// A change that the driver reported done and that cannot be read back.
    fn unseen(&self, error: CallError) -> DriverError {
        let read = self.words(error);
        self.unverified(
            format!("the driver says it is done, and it cannot be read back ({read})"),
            true,
        )
    }

    fn unverified(&self, found: String, stands: bool) -> DriverError {
        DriverError::Unverified {
            operation: self.operation.clone(),
            gpu: self.gpu.clone(),
            found,
            stands,
        }
    }

    fn words(&self, error: CallError) -> String {
        match error {
            CallError::Missing(name) => format!("this NVML has no {name}"),
            CallError::Returned(result) => self.symbols().text_of(result),
        }
    }

    pub(crate) fn changed(&self, found: impl Into<String>) -> DriverError {
        DriverError::Changed {
            operation: self.operation.clone(),
            gpu: self.gpu.clone(),
            found: found.into(),
        }
    }
}

impl Driver {
    pub(crate) fn change<'a>(
        &self,
        gpu: &'a GpuUuid,
        operation: String,
    ) -> Result<Change<'a>, DriverError> {
        let session = self.session()?;
        let device = session.gpu(gpu)?;
        Ok(Change { session, gpu, device, operation })
    }

    /// The geometry of a GPU as last read; reads the GPU if it was not.
    pub(crate) fn geometry_of(&self, gpu: &GpuUuid) -> Result<Option<Arc<Geometry>>, DriverError> {
        let known = lock(&self.geometries).get(gpu).map(|known| Arc::clone(&known.geometry));
        match known {
            Some(geometry) => Ok(Some(geometry)),
            None => Ok(self.gpu_snapshot(gpu)?.geometry),
        }
    }

    /// Creates a GPU instance at exactly `placement`, without a compute instance.
    ///
    /// # Errors
    /// [`DriverError::Call`] with `INSUFFICIENT_RESOURCES` if the place or its engines are taken,
    /// `IN_USE` if it is the first instance and something runs on the GPU, `NOT_SUPPORTED` with MIG
    /// off, `NO_PERMISSION`; [`DriverError::NotAsReported`] if something else came into being;
    /// [`DriverError::Unverified`] if it came into being and could not be read back: it is destroyed
    /// again, or the error says that it stands.
    pub fn create_gpu_instance(
        &self,
        gpu: &GpuUuid,
        profile: GpuInstanceProfileId,
        placement: Placement,
    ) -> Result<GpuInstanceId, DriverError> {
        let operation = format!("create a GPU instance of profile {profile} at {placement}");
        let change = self.change(gpu, operation)?;
        let mut handle = GpuInstanceHandle::NONE;
        let place = nvmlGpuInstancePlacement_t {
            start: placement.start.get().into(),
            size: placement.size.get().into(),
        };
        change.checked(change.symbols().nvmlDeviceCreateGpuInstanceWithPlacement(
            change.device,
            profile.get(),
            &place,
            &mut handle,
        ))?;
        let symbols = change.symbols();
        let read = read_back(self.pauses, || {
            let made = describe(symbols, handle)?;
            Ok((made, gpu_instances_of(symbols, change.device, profile)?))
        });
        let (made, listed) = read.map_err(|error| {
            let undone = symbols.nvmlGpuInstanceDestroy(handle);
            change.unread("GPU instance", error, undone)
        })?;
        if made.profile != profile || made.placement != placement {
            return Err(change.not_as_reported(format!(
                "GPU instance {} of profile {} at {} came into being",
                made.id, made.profile, made.placement
            )));
        }
        if !listed.iter().any(|other| other.id == made.id && other.placement == placement) {
            return Err(change.not_as_reported("the new GPU instance is not listed"));
        }
        Ok(made.id)
    }

    /// Creates a compute instance, and with it a MIG device, in a GPU instance. Without a
    /// placement the driver chooses; only the whole-instance profile leaves it no choice.
    ///
    /// A driver that cannot create at a placement is asked without one where the profile takes the
    /// whole GPU instance.
    ///
    /// # Errors
    /// [`DriverError::Call`] with `NOT_FOUND` if there is no such GPU instance,
    /// `INSUFFICIENT_RESOURCES` or `IN_USE` if the slices are taken;
    /// [`DriverError::MissingSymbol`] if a part is wanted at a placement and the driver cannot;
    /// [`DriverError::NotAsReported`] if something else came into being;
    /// [`DriverError::Unverified`] as for GPU instances.
    pub fn create_compute_instance(
        &self,
        gpu: &GpuUuid,
        gpu_instance_id: GpuInstanceId,
        profile: ComputeInstanceProfileId,
        placement: Option<Placement>,
    ) -> Result<CreatedCompute, DriverError> {
        let place = placement.map(|at| format!(" at {at}")).unwrap_or_default();
        let change = self.change(
            gpu,
            format!(
                "create a compute instance of profile {profile}{place} in GPU instance \
                 {gpu_instance_id}"
            ),
        )?;
        let geometry = self.geometry_of(gpu)?;
        let found =
            gpu_instance(change.symbols(), change.device, geometry.as_deref(), gpu_instance_id);
        let instance = change.checked(found)?;
        let handle =
            create_compute(change.symbols(), &instance, geometry.as_deref(), profile, placement);
        let handle = change.checked(handle)?;
        let symbols = change.symbols();
        let read = read_back(self.pauses, || {
            let made = describe_compute(symbols, handle)?;
            let listed = compute_instances_of(symbols, instance.handle, profile)?;
            Ok((made, listed, mig_uuid(&change, gpu_instance_id, &made)?))
        });
        let (made, listed, uuid) = read.map_err(|error| {
            let undone = symbols.nvmlComputeInstanceDestroy(handle);
            change.unread("compute instance", error, undone)
        })?;
        if made.profile != profile || placement.is_some_and(|at| at != made.placement) {
            return Err(change.not_as_reported(format!(
                "compute instance {} of profile {} at {} came into being",
                made.id, made.profile, made.placement
            )));
        }
        if !listed.iter().any(|other| other.id == made.id) {
            return Err(change.not_as_reported("the new compute instance is not listed"));
        }
        Ok(CreatedCompute { id: made.id, uuid, placement: made.placement })
    }

    /// Destroys a compute instance; its MIG device goes with it.
    ///
    /// # Errors
    /// [`DriverError::Call`] with `IN_USE` while any process or monitor holds it, `NOT_FOUND`;
    /// [`DriverError::NotAsReported`] if it is still there; [`DriverError::Unverified`] if nobody can
    /// tell.
    pub fn destroy_compute_instance(
        &self,
        gpu: &GpuUuid,
        gpu_instance_id: GpuInstanceId,
        compute: ComputeInstanceId,
    ) -> Result<(), DriverError> {
        let change = self.change(
            gpu,
            format!("destroy compute instance {compute} of GPU instance {gpu_instance_id}"),
        )?;
        let geometry = self.geometry_of(gpu)?;
        let instance =
            gpu_instance(change.symbols(), change.device, geometry.as_deref(), gpu_instance_id);
        let instance = change.checked(instance)?;
        let found = compute_instance(change.symbols(), &instance, geometry.as_deref(), compute);
        let found = change.checked(found)?;
        change.checked(change.symbols().nvmlComputeInstanceDestroy(found.handle))?;
        let left = read_back(self.pauses, || {
            compute_instances_of(change.symbols(), instance.handle, found.profile)
        });
        let left = left.map_err(|error| change.unseen(error))?;
        if left.iter().any(|other| other.id == compute) {
            return Err(change.not_as_reported("it is still there"));
        }
        Ok(())
    }

    /// Destroys a GPU instance without compute instances. There is no cascade.
    ///
    /// # Errors
    /// [`DriverError::Call`] with `IN_USE` while it has a compute instance or a subscriber,
    /// `NOT_FOUND`; [`DriverError::NotAsReported`] if it is still there; [`DriverError::Unverified`] if
    /// nobody can tell.
    pub fn destroy_gpu_instance(
        &self,
        gpu: &GpuUuid,
        gpu_instance_id: GpuInstanceId,
    ) -> Result<(), DriverError> {
        let change = self.change(gpu, format!("destroy GPU instance {gpu_instance_id}"))?;
        let geometry = self.geometry_of(gpu)?;
        let found =
            gpu_instance(change.symbols(), change.device, geometry.as_deref(), gpu_instance_id);
        let found = change.checked(found)?;
        change.checked(change.symbols().nvmlGpuInstanceDestroy(found.handle))?;
        let left = read_back(self.pauses, || {
            gpu_instances_of(change.symbols(), change.device, found.profile)
        });
        let left = left.map_err(|error| change.unseen(error))?;
        if left.iter().any(|other| other.id == gpu_instance_id) {
            return Err(change.not_as_reported("it is still there"));
        }
        Ok(())
    }

    /// Sets MIG mode. Setting the mode that is in force already succeeds.
    ///
    /// # Errors
    /// [`DriverError::Call`] with `IN_USE` if instances exist, `NOT_SUPPORTED`, `NO_PERMISSION`;
    /// [`DriverError::NotAsReported`] if the driver reports success and reading back shows the old
    /// mode; [`DriverError::Unverified`] if the mode cannot be read back.
    pub fn set_mig_mode(&self, gpu: &GpuUuid, mode: MigMode) -> Result<ModeChange, DriverError> {
        let (verb, value) = match mode {
            MigMode::Enabled => ("enable MIG", 1),
            MigMode::Disabled => ("disable MIG", 0),
        };
        let mut change = self.change(gpu, verb.into())?;
        let mut activation = 0;
        let set = change.symbols().nvmlDeviceSetMigMode(change.device, value, &mut activation);
        // The call may unbind the device, whatever it returns: the old handle is void.
        change.session.forget(gpu);
        change.checked(set)?;
        change.device = change.session.gpu(gpu)?;
        let state = read_back(self.pauses, || mig_mode(change.symbols(), change.device));
        let state = state.map_err(|error| change.unseen(error))?;
        let MigState::Supported { current, pending } = state else {
            return Err(change.not_as_reported("the GPU says that it cannot do MIG"));
        };
        match (current == mode, NvmlReturn::from(activation)) {
            _ if pending != mode => {
                Err(change.not_as_reported(format!("the wish was not kept: {state:?}")))
            }
            (true, _) => Ok(ModeChange::Active),
            (false, NvmlReturn::Success) => {
                Err(change.not_as_reported(format!("the old mode is still in force: {state:?}")))
            }
            (false, reason) => Ok(ModeChange::Pending { reason }),
        }
    }

    /// The GPU instance that lies exactly at `at`.
    pub(crate) fn instance_at(
        &self,
        change: &Change<'_>,
        at: Placement,
    ) -> Result<Option<FoundInstance>, DriverError> {
        let Some(geometry) = self.geometry_of(change.gpu)? else { return Ok(None) };
        let all = change.checked(gpu_instances(change.symbols(), change.device, &geometry))?;
        Ok(all.into_iter().find(|instance| instance.placement == at))
    }
}

fn create_compute(
    symbols: &Symbols,
    instance: &FoundInstance,
    geometry: Option<&Geometry>,
    profile: ComputeInstanceProfileId,
    placement: Option<Placement>,
) -> Call<ComputeInstanceHandle> {
    let mut handle = ComputeInstanceHandle::NONE;
    if let Some(at) = placement {
        let place = nvmlComputeInstancePlacement_t {
            start: at.start.get().into(),
            size: at.size.get().into(),
        };
        let made = symbols.nvmlGpuInstanceCreateComputeInstanceWithPlacement(
            instance.handle,
            profile.get(),
            &place,
            &mut handle,
        );
        match made {
            Ok(()) => return Ok(handle),
            Err(CallError::Missing(_) | CallError::Returned(NvmlReturn::FunctionNotFound))
                if is_whole(geometry, instance, profile) => {}
            Err(error) => return Err(error),
        }
    }
    symbols.nvmlGpuInstanceCreateComputeInstance(instance.handle, profile.get(), &mut handle)?;
    Ok(handle)
}

/// Whether the compute profile takes the whole GPU instance, so that there is one place for it.
fn is_whole(
    geometry: Option<&Geometry>,
    instance: &FoundInstance,
    profile: ComputeInstanceProfileId,
) -> bool {
    let Some(known) = geometry.and_then(|geometry| geometry.profile(instance.profile)) else {
        return false;
    };
    known
        .compute_profiles
        .iter()
        .any(|compute| compute.id == profile && compute.slices == known.name.slices)
}

/// The UUID of the MIG device of a compute instance; `None` where no MIG device stands for it.
fn mig_uuid(
    change: &Change<'_>,
    instance: GpuInstanceId,
    made: &FoundCompute,
) -> Call<Option<MigUuid>> {
    let symbols = change.symbols();
    let mig = match made.mig {
        Some(mig) => Some(mig),
        None => mig_devices(symbols, change.device)?
            .into_iter()
            .find(|mig| mig.gpu_instance == instance && mig.compute_instance == made.id)
            .map(|mig| mig.device),
    };
    mig.map(|mig| symbols.uuid(mig).map(MigUuid::new)).transpose()
}
