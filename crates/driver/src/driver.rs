//! The driver as an object: opening, closing around resets, versions, and what it remembers.
//!
//! Must never hold a lock across an NVML call: a GPU that hangs may freeze only its own worker.

use core::fmt;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use model::{GpuIndex, GpuSnapshot, GpuUuid};

use crate::answers::Versions;
use crate::error::DriverError;
use crate::geometry::KnownGeometry;
use crate::library::{Library, Resolver};
use crate::raw::newest;
use crate::session::{Session, lock, read};
use crate::symbols::Symbols;

/// MIG on one machine through NVML, real or simulated. `Send + Sync`; every call blocks.
///
/// Calls for different GPUs may run at once and wait for nothing of each other here. Calls that
/// change one GPU must come one after the other: that order is the caller's.
pub struct Driver {
    symbols: Arc<Symbols>,
    session: RwLock<Option<Arc<Session>>>,
    /// Geometry by GPU and driver version; reading one takes some 60 calls.
    pub(crate) geometries: Mutex<BTreeMap<GpuUuid, KnownGeometry>>,
    /// What was last seen at each index, without instances: a lost GPU no longer tells its name.
    pub(crate) last_seen: Mutex<BTreeMap<GpuIndex, GpuSnapshot>>,
    /// Whether there is a pause before a change is read back once more.
    pub(crate) pauses: bool,
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("open", &self.session().is_ok()).finish_non_exhaustive()
    }
}

impl Driver {
    /// Opens the NVIDIA driver's own library, from trusted absolute paths only
    /// ([`crate::TRUSTED_PATHS`]).
    ///
    /// # Errors
    /// [`DriverError::LibraryNotFound`] without a driver, else as [`Driver::open`].
    pub fn load() -> Result<Self, DriverError> {
        Self::open(Library::load()?.resolver())
    }

    /// Opens the library at `path`, which must be absolute.
    ///
    /// # Errors
    /// As [`Library::load_path`] and [`Driver::open`].
    pub fn load_path(path: &Path) -> Result<Self, DriverError> {
        Self::open(Library::load_path(path)?.resolver())
    }

    /// Opens whatever NVML `resolver` answers for.
    ///
    /// # Errors
    /// [`DriverError::MissingSymbol`] if it has no init function, [`DriverError::Call`] with
    /// `DRIVER_NOT_LOADED` and the like if NVML does not start.
    pub fn open(resolver: Resolver) -> Result<Self, DriverError> {
        let symbols = Arc::new(Symbols::resolve(resolver));
        let session = Session::start(Arc::clone(&symbols))?;
        Ok(Self {
            symbols,
            session: RwLock::new(Some(Arc::new(session))),
            geometries: Mutex::default(),
            last_seen: Mutex::default(),
            pauses: true,
        })
    }

    /// The same driver, asking again at once where it would wait first: for simulations, whose
    /// driver is not busy with anything.
    #[must_use]
    pub fn without_pauses(self) -> Self {
        Self { pauses: false, ..self }
    }

    /// Ends the NVML session, as a reset needs; calls fail with [`DriverError::Closed`] until
    /// [`Driver::reopen`]. Closing twice is fine.
    ///
    /// # Errors
    /// [`DriverError::SessionInUse`] if calls or event watches still use the session. New calls are
    /// refused all the same, and NVML is shut down when the last of them ends.
    pub fn close(&self) -> Result<(), DriverError> {
        let taken = self.session.write().unwrap_or_else(PoisonError::into_inner).take();
        let Some(session) = taken else { return Ok(()) };
        let users = Arc::strong_count(&session) - 1;
        drop(session);
        if users > 0 { Err(DriverError::SessionInUse { users }) } else { Ok(()) }
    }

    /// Starts a new NVML session in which every handle is fetched again. An open driver gets a new
    /// session too.
    ///
    /// # Errors
    /// As [`Driver::open`]; the driver stays closed then.
    pub fn reopen(&self) -> Result<(), DriverError> {
        let old = self.session.write().unwrap_or_else(PoisonError::into_inner).take();
        drop(old);
        let session = Arc::new(Session::start(Arc::clone(&self.symbols))?);
        *self.session.write().unwrap_or_else(PoisonError::into_inner) = Some(session);
        Ok(())
    }

    /// The session, for the length of one operation.
    pub(crate) fn session(&self) -> Result<Arc<Session>, DriverError> {
        let guard = self.session.read().unwrap_or_else(PoisonError::into_inner);
        guard.as_ref().map(Arc::clone).ok_or(DriverError::Closed)
    }

    /// Versions of driver, NVML and CUDA.
    ///
    /// # Errors
    /// If the driver does not tell its own version.
    pub fn versions(&self) -> Result<Versions, DriverError> {
        let session = self.session()?;
        let symbols = session.symbols();
        let driver = symbols
            .driver_version()
            .map_err(|error| session.failure(error, None, "read the driver version"))?;
        let cuda = newest(&[
            &|| read(|version| symbols.nvmlSystemGetCudaDriverVersion_v2(version)),
            &|| read(|version| symbols.nvmlSystemGetCudaDriverVersion(version)),
        ]);
        Ok(Versions {
            driver,
            nvml: symbols.nvml_version().ok(),
            cuda: cuda.ok().and_then(|version: i32| u32::try_from(version).ok()),
        })
    }

    /// The GPUs in NVML's order, those that fell off the bus included if they were seen before.
    ///
    /// # Errors
    /// If NVML cannot count GPUs. A GPU that does not tell its UUID is left out.
    pub fn gpus(&self) -> Result<Vec<GpuUuid>, DriverError> {
        let session = self.session()?;
        let mut gpus = Vec::new();
        for index in 0..session.gpu_count()? {
            let known = || lock(&self.last_seen).get(&GpuIndex::new(index)).map(|g| g.uuid.clone());
            let uuid = session.gpu_at(index).and_then(|handle| {
                let uuid = GpuUuid::new(session.symbols().uuid(handle)?);
                session.remember(&uuid, handle);
                Ok(uuid)
            });
            gpus.extend(uuid.ok().or_else(known));
        }
        Ok(gpus)
    }

    /// Forgets the geometry of a GPU, so that the next snapshot reads it anew. Needed only when a
    /// board changed its profiles under us, as a firmware update may do.
    pub fn refresh_geometry(&self, gpu: &GpuUuid) {
        lock(&self.geometries).remove(gpu);
    }
}
