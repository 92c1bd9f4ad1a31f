//! The units of systemd, over the system's D-Bus.
//!
//! Must never start a program: systemctl says no more than systemd does. Must never wait for ever:
//! every call has a limit, and a job is asked after until the caller's.

use std::collections::HashMap;
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use model::UnitName;
use zbus::{Connection, Message, OwnedObjectPath, OwnedVariant};

use super::{Activity, Operation, Started, Unit, UnitError, Units};

const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "/org/freedesktop/systemd1";
const MANAGER_INTERFACE: &str = "org.freedesktop.systemd1.Manager";
const UNIT_INTERFACE: &str = "org.freedesktop.systemd1.Unit";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// The system's bus. The environment may name another one, which root's daemon must not believe.
const BUS: &str = "unix:path=/run/dbus/system_bus_socket";

/// How long one call may take. systemd answers in milliseconds or is stuck.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(5);
/// Between two looks at a job.
pub(super) const PAUSE: Duration = Duration::from_millis(50);

/// The units of the systemd that runs this machine.
#[derive(Debug, Clone)]
pub struct SystemdUnits {
    bus: String,
}

impl Default for SystemdUnits {
    fn default() -> Self {
        Self { bus: BUS.to_owned() }
    }
}

impl SystemdUnits {
    /// The systemd behind the bus at a D-Bus address (`unix:path=…`).
    pub fn at(bus: impl Into<String>) -> Self {
        Self { bus: bus.into() }
    }

    /// Whether a systemd runs this machine, as `sd_booted(3)` tells it.
    pub fn runs_here() -> bool {
        Path::new("/run/systemd/system").is_dir()
    }

    /// systemd's own socket is no way around a missing bus: what it sends has no sender that the
    /// protocol allows.
    pub(super) async fn connect(&self) -> Result<Manager, UnitError> {
        let bus = zbus::connection::Builder::address(self.bus.as_str());
        let connection = bus.method_timeout(CALL_LIMIT).build().await;
        connection
            .map(|connection| Manager { connection })
            .map_err(|error| UnitError::Unreachable(Box::new(error)))
    }

    fn job(
        &self,
        name: &UnitName,
        operation: Operation,
        limit: Duration,
    ) -> Result<Ended, UnitError> {
        let (units, name) = (self.clone(), name.clone());
        bounded(limit, move || units.job_here(&name, operation, limit))
    }

    /// Asks for a job and waits for its end, in this thread.
    fn job_here(
        &self,
        name: &UnitName,
        operation: Operation,
        limit: Duration,
    ) -> Result<Ended, UnitError> {
        let until = Instant::now() + limit;
        let method = match operation {
            Operation::Stop => "StopUnit",
            Operation::Start => "StartUnit",
            Operation::Show => "LoadUnit",
        };
        zbus::block_on(async {
            let manager = self.connect().await?;
            let found = manager.unit(name).await?;
            let Some((path, _)) = found else {
                return Err(UnitError::NoSuchUnit { unit: name.clone() });
            };
            let asked = manager.call(method, &(name.as_str(), "replace")).await;
            let job = asked.and_then(|reply| reply.body().deserialize::<OwnedObjectPath>());
            let job = job.map_err(|error| refused(name, operation, error))?;
            loop {
                let look = manager.look(&path).await;
                let look = look.map_err(|error| refused(name, operation, error))?;
                if !look.has_job && settled(operation, look.activity) {
                    return Ok(Ended::Settled(look.activity));
                }
                if Instant::now() >= until {
                    if operation == Operation::Stop && look.has_job {
                        manager.cancel(&job).await;
                    }
                    return Ok(Ended::Waiting { activity: look.activity, has_job: look.has_job });
                }
                // Nothing else runs on this thread: there is nobody to yield to.
                std::thread::sleep(PAUSE);
            }
        })
    }
}

/// What a job came to.
#[derive(Debug, Clone, Copy)]
enum Ended {
    Settled(Activity),
    Waiting { activity: Activity, has_job: bool },
}

/// Whether a unit without a job stays as it is. One that restarts by itself does not.
fn settled(operation: Operation, activity: Activity) -> bool {
    match activity {
        Activity::Activating | Activity::Reloading => operation != Operation::Start,
        Activity::Deactivating => operation != Operation::Stop,
        Activity::Active | Activity::Inactive | Activity::Failed | Activity::Other => true,
    }
}

/// Does it in a thread that is left behind when it takes longer than every limit together: a bus that
/// accepts a connection and then says nothing is waited for by nothing else.
pub(super) fn bounded<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> Result<T, UnitError> + Send + 'static,
) -> Result<T, UnitError> {
    let (done, result) = channel();
    let thread = std::thread::Builder::new().name("systemd".to_owned()).spawn(move || {
        // Nobody listens any more to one that comes too late.
        let _ = done.send(work());
    });
    thread.map_err(|error| UnitError::Unreachable(Box::new(error)))?;
    let whole = limit + 3 * CALL_LIMIT;
    result.recv_timeout(whole).unwrap_or_else(|error| Err(UnitError::Unreachable(Box::new(error))))
}

impl Units for SystemdUnits {
    fn unit(&self, name: &UnitName) -> Result<Option<Unit>, UnitError> {
        let (units, name) = (self.clone(), name.clone());
        bounded(Duration::ZERO, move || {
            zbus::block_on(async {
                let manager = units.connect().await?;
                Ok(manager.unit(&name).await?.map(|(_, unit)| unit))
            })
        })
    }

    fn list(&self) -> Result<Vec<Unit>, UnitError> {
        let units = self.clone();
        let list = move || zbus::block_on(async { units.connect().await?.list().await });
        bounded(Duration::ZERO, list)
    }

    fn stop(&self, name: &UnitName, limit: Duration) -> Result<(), UnitError> {
        let (unit, operation) = (name.clone(), Operation::Stop);
        match self.job(name, operation, limit)? {
            // One that was killed because it did not end is stopped all the same.
            Ended::Settled(Activity::Inactive | Activity::Failed) => Ok(()),
            Ended::Settled(activity) => Err(UnitError::NotAsAsked { unit, operation, activity }),
            Ended::Waiting { activity, .. } => {
                Err(UnitError::TimedOut { unit, operation, limit, activity })
            }
        }
    }

    fn start(&self, name: &UnitName, limit: Duration) -> Result<Started, UnitError> {
        let (unit, operation) = (name.clone(), Operation::Start);
        match self.job(name, operation, limit)? {
            Ended::Settled(Activity::Active) => Ok(Started::Running),
            Ended::Settled(activity) => Err(UnitError::NotAsAsked { unit, operation, activity }),
            Ended::Waiting { has_job: true, .. } => Ok(Started::Queued),
            Ended::Waiting { activity, has_job: false } => {
                Err(UnitError::TimedOut { unit, operation, limit, activity })
            }
        }
    }
}

/// systemd's manager, on one connection.
pub(super) struct Manager {
    connection: Connection,
}

/// A unit at one moment.
pub(super) struct Look {
    activity: Activity,
    has_job: bool,
}

impl Look {
    /// What it is doing, if it stays so.
    pub(super) fn settled(&self) -> Option<Activity> {
        let stays = !self.has_job && settled(Operation::Start, self.activity);
        stays.then_some(self.activity)
    }
}

/// One line of `ListUnits`: name, description, load state, active state, sub state, followed unit,
/// its path, number, type and path of its job.
type Listed =
    (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

impl Manager {
    pub(super) async fn call<B>(&self, method: &str, body: &B) -> zbus::Result<Message>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        let (to, interface) = (Some(SYSTEMD), Some(MANAGER_INTERFACE));
        self.connection.call_method(to, MANAGER, interface, method, body).await
    }

    async fn unit(&self, name: &UnitName) -> Result<Option<(OwnedObjectPath, Unit)>, UnitError> {
        let failed = |error| refused(name, Operation::Show, error);
        let reply = self.call("LoadUnit", &name.as_str()).await.map_err(failed)?;
        let path: OwnedObjectPath = reply.body().deserialize().map_err(failed)?;
        let told = self.properties(&path, UNIT_INTERFACE).await.map_err(failed)?;
        let text = |key: &str| told.get(key).and_then(text_of).unwrap_or_default();
        if text("LoadState") != "loaded" {
            return Ok(None);
        }
        let names = |key: &str| told.get(key).map(names_of).unwrap_or_default();
        let mut stops_with_it = names("RequiredBy");
        for other in names("BoundBy").into_iter().chain(names("ConsistsOf")) {
            if !stops_with_it.contains(&other) {
                stops_with_it.push(other);
            }
        }
        let unit = Unit {
            name: text("Id").parse().unwrap_or_else(|_| name.clone()),
            description: text("Description"),
            activity: Activity::of_word(&text("ActiveState")),
            stops_with_it,
            triggered_by: names("TriggeredBy"),
        };
        Ok(Some((path, unit)))
    }

    /// What a unit says of itself through one of its interfaces.
    pub(super) async fn properties(
        &self,
        path: &OwnedObjectPath,
        of: &str,
    ) -> zbus::Result<HashMap<String, OwnedVariant>> {
        let (to, interface) = (Some(SYSTEMD), Some(PROPERTIES));
        let reply = self.connection.call_method(to, path, interface, "GetAll", &of).await?;
        reply.body().deserialize()
    }

    pub(super) async fn look(&self, path: &OwnedObjectPath) -> zbus::Result<Look> {
        let told = self.properties(path, UNIT_INTERFACE).await?;
        let activity = told.get("ActiveState").and_then(text_of).unwrap_or_default();
        let job =
            told.get("Job").and_then(|job| <(u32, OwnedObjectPath)>::try_from(job.clone()).ok());
        Ok(Look {
            activity: Activity::of_word(&activity),
            has_job: job.is_some_and(|(number, _)| number != 0),
        })
    }

    async fn list(&self) -> Result<Vec<Unit>, UnitError> {
        let unreachable = |error| UnitError::Unreachable(Box::new(error));
        let reply = self.call("ListUnits", &()).await.map_err(unreachable)?;
        let listed: Vec<Listed> = reply.body().deserialize().map_err(unreachable)?;
        let unit = |(name, description, load, active, ..): Listed| {
            let is_service = load == "loaded" && name.ends_with(".service");
            is_service.then_some(())?;
            Some(Unit {
                name: name.parse().ok()?,
                description,
                activity: Activity::of_word(&active),
                stops_with_it: Vec::new(),
                triggered_by: Vec::new(),
            })
        };
        Ok(listed.into_iter().filter_map(unit).collect())
    }

    /// Withdraws a job that nobody waits for any more; one that has ended is gone already.
    async fn cancel(&self, job: &OwnedObjectPath) {
        let number = job.as_str().rsplit('/').next().and_then(|number| number.parse::<u32>().ok());
        if let Some(number) = number {
            let _ = self.call("CancelJob", &number).await;
        }
    }
}

fn text_of(value: &OwnedVariant) -> Option<String> {
    String::try_from(value.clone()).ok()
}

/// Names of units; those of kinds that nobody names (slices, devices) are left out.
fn names_of(value: &OwnedVariant) -> Vec<UnitName> {
    let names = Vec::<String>::try_from(value.clone()).unwrap_or_default();
    let exact = |name: &String| name.parse().ok().filter(|unit: &UnitName| unit.as_str() == name);
    names.iter().filter_map(exact).collect()
}

/// The failure for what systemd, or the bus, answered.
fn refused(name: &UnitName, operation: Operation, error: zbus::Error) -> UnitError {
    let unit = name.clone();
    if let zbus::Error::MethodError(said, ..) = &error
        && said.as_str() == "org.freedesktop.systemd1.NoSuchUnit"
    {
        return UnitError::NoSuchUnit { unit };
    }
    let denied = matches!(&error, zbus::Error::FDO(said) if is_denial(said));
    let source = Box::new(error);
    if denied {
        UnitError::NotPermitted { unit, operation, source }
    } else {
        UnitError::Refused { unit, operation, source }
    }
}

const fn is_denial(said: &zbus::fdo::Error) -> bool {
    use zbus::fdo::Error;
    matches!(said, Error::AccessDenied(_) | Error::InteractiveAuthorizationRequired(_))
}
