//! The process's side of NVML: which host it works with, and how often it was initialised.
//!
//! Must never keep a session open that the process has shut down: others wait for it.

use std::cell::RefCell;
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
    pub(crate) host: Arc<SimHost>,
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
/// A host in memory, which one thread alone works with, and that thread's session on it.
#[derive(Debug)]
struct OwnHost {
    host: Arc<SimHost>,
    slot: Slot,
}

thread_local! {
    static OWN: RefCell<Option<OwnHost>> = const { RefCell::new(None) };
}

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

/// Binds NVML of this thread, and of no other, to a host in memory; every session it had is gone.
/// `None` gives the thread back to what the process is bound to.
pub fn attach_thread(host: Option<Arc<SimHost>>) {
    let own = host.map(|host| OwnHost { host, slot: Slot { count: 0, session: None } });
    OWN.set(own);
}

/// The host in memory that a thread was bound to, with its sessions, put aside.
#[derive(Debug, Default)]
pub struct Aside(Option<OwnHost>);

/// Binds NVML of this thread to what was put aside, sessions and all, and puts aside what it was
/// bound to: one thread can work with several hosts in turn.
pub fn swap_thread(with: Aside) -> Aside {
    Aside(OWN.replace(with.0))
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
    OWN.with_borrow(|own| match own {
        Some(own) => own.slot.session.clone(),
        None => SLOT.read().unwrap_or_else(PoisonError::into_inner).session.clone(),
    })
}

/// `nvmlInit`.
///
/// # Errors
/// DRIVER_NOT_LOADED if no simulated host is named or it cannot be read.
pub(crate) fn init() -> Outcome {
    OWN.with_borrow_mut(|own| match own {
        Some(own) => own.slot.init(|| Ok(Arc::clone(&own.host))),
        None => SLOT.write().unwrap_or_else(PoisonError::into_inner).init(|| {
            let dir = bound_to().ok_or(Return::DriverNotLoaded)?;
            SimHost::open(&dir).map(Arc::new).map_err(|_| Return::DriverNotLoaded)
        }),
    })
}

/// `nvmlShutdown`: one for each `nvmlInit`; without any it succeeds, as the real library does.
pub(crate) fn shutdown() {
    OWN.with_borrow_mut(|own| match own {
        Some(own) => own.slot.shutdown(),
        None => SLOT.write().unwrap_or_else(PoisonError::into_inner).shutdown(),
    });
}

impl Slot {
    fn init(&mut self, host: impl FnOnce() -> Outcome<Arc<SimHost>>) -> Outcome {
        if self.session.is_none() {
            let host = host()?;
            let caller = host.caller();
            let node = host.node().map_err(|_| Return::DriverNotLoaded)?;
            let hides_symbols = node.value.driver.branch() < crate::abi::NEWEST;
            self.session = Some(Arc::new(Session {
                host,
                caller,
                hides_symbols,
                uuids: Mutex::new((0, BTreeMap::new())),
                events: crate::abi::events::EventSets::default(),
                samples: crate::abi::gpm::Samples::default(),
            }));
            self.count = 0;
        }
        if let Some(session) = &self.session {
            // A process that may not write cannot be seen as a holder; the driver lets it read.
            let caller = session.caller;
            let _recorded = session.host.change(|node, _| node.open_session(caller.process));
        }
        self.count += 1;
        Ok(())
    }

    fn shutdown(&mut self) {
        if let Some(session) = &self.session {
            let caller = session.caller;
            let _recorded = session.host.change(|node, _| node.close_session(caller.process));
        }
        self.count = self.count.saturating_sub(1);
        if self.count == 0 {
            self.session = None;
        }
    }
}
