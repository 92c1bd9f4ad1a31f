//! The process's side of NVML: which host it works with, and how often it was initialised.
//!
//! Must never keep a session open that the process has shut down: others wait for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use sim_gpu::{Caller, ComputeRef, Return};

use crate::abi::args::Outcome;
use crate::host::{SimError, SimHost};

/// The environment variable that names the simulated host's folder.
pub const HOST_VARIABLE: &str = "MIGD_SIM_HOST";

/// GPU and compute instance by MIG UUID, with the generation they were read at.
pub(crate) type UuidIndex = (u64, BTreeMap<String, (usize, ComputeRef)>);

/// An initialised NVML.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) host: SimHost,
    pub(crate) caller: Caller,
    /// Whether the simulated driver is older than some function of the table.
    pub(crate) hides_symbols: bool,
    /// MIG devices by UUID, as they were at one generation of the state.
    pub(crate) uuids: Mutex<UuidIndex>,
    pub(crate) events: crate::abi::events::EventSets,
    pub(crate) samples: crate::abi::gpm::Samples,
}

#[derive(Debug)]
struct Slot {
    count: u32,
    session: Option<Arc<Session>>,
}

static SLOT: RwLock<Slot> = RwLock::new(Slot { count: 0, session: None });
static ATTACHED: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Binds this process's NVML to the simulated host in `dir`, from the next `nvmlInit` on. Without
/// it the folder is taken from `MIGD_SIM_HOST`.
///
/// # Errors
/// [`SimError::Missing`] if there is no host, [`SimError::OtherHost`] while NVML is initialised on
/// another one.
pub fn attach(dir: &Path) -> Result<(), SimError> {
    let host = SimHost::open(dir)?;
    let slot = SLOT.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(session) = &slot.session
        && session.host.dir() != host.dir()
    {
        return Err(SimError::OtherHost(session.host.dir().to_owned()));
    }
    let mut attached = ATTACHED.lock().unwrap_or_else(PoisonError::into_inner);
    *attached = Some(host.dir().to_owned());
    Ok(())
}

/// The folder of the host this process is bound to.
pub(crate) fn bound_to() -> Option<PathBuf> {
    let attached = ATTACHED.lock().unwrap_or_else(PoisonError::into_inner);
    attached.clone().or_else(|| {
        let named = std::env::var_os(HOST_VARIABLE)?;
        if named.is_empty() { None } else { Some(PathBuf::from(named)) }
    })
}

/// The session, if NVML is initialised.
pub(crate) fn current() -> Option<Arc<Session>> {
    SLOT.read().unwrap_or_else(PoisonError::into_inner).session.clone()
}

/// `nvmlInit`.
///
/// # Errors
/// DRIVER_NOT_LOADED if no simulated host is named or it cannot be read.
pub(crate) fn init() -> Outcome {
    let mut slot = SLOT.write().unwrap_or_else(PoisonError::into_inner);
    if slot.session.is_none() {
        let dir = bound_to().ok_or(Return::DriverNotLoaded)?;
        let host = SimHost::open(&dir).map_err(|_| Return::DriverNotLoaded)?;
        let caller = host.caller();
        let node = host.node().map_err(|_| Return::DriverNotLoaded)?;
        let hides_symbols = node.value.driver.branch() < crate::abi::NEWEST;
        slot.session = Some(Arc::new(Session {
            host,
            caller,
            hides_symbols,
            uuids: Mutex::new((0, BTreeMap::new())),
            events: crate::abi::events::EventSets::default(),
            samples: crate::abi::gpm::Samples::default(),
        }));
        slot.count = 0;
    }
    if let Some(session) = &slot.session {
        // A process that may not write cannot be seen as a holder; the driver lets it read.
        let caller = session.caller;
        let _recorded = session.host.change(|node, _| node.open_session(caller.process));
    }
    slot.count += 1;
    Ok(())
}

/// `nvmlShutdown`: one for each `nvmlInit`; without any it succeeds, as the real library does.
pub(crate) fn shutdown() {
    let mut slot = SLOT.write().unwrap_or_else(PoisonError::into_inner);
    if let Some(session) = &slot.session {
        let caller = session.caller;
        let _recorded = session.host.change(|node, _| node.close_session(caller.process));
    }
    slot.count = slot.count.saturating_sub(1);
    if slot.count == 0 {
        slot.session = None;
    }
}
