//! Device filters by scopes of systemd over a real D-Bus: a private bus, and on it something that makes
//! scopes as systemd's manager does. Whether a filter is enforced is the kernel's; docs/threat-model.md
//! tells where that was seen.
//!
//! Must never reach the systemd of the machine that tests run on.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where a step fails")]
#![allow(clippy::unused_self, reason = "the interface is of methods")]
#![allow(clippy::used_underscore_binding, reason = "the macro uses what a method leaves alone")]

mod bus;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bus::{Line, Private, until};
use host::units::{ScopeError, Scopes, SystemdUnits, Units as _};
use zbus::{OwnedObjectPath, OwnedVariant, interface};

const SESSION: &str = "/user.slice/user-1000.slice/session-2.scope";
const LIMITED: &str = "/user.slice/user-1000.slice/session-3.scope";
const SCOPE: &str = "migd-1-L7.scope";
/// No process has it.
const PID: u32 = 4_000_001;

/// What systemd was asked for.
#[derive(Debug, Default)]
struct World {
    /// What each unit was made with.
    made: BTreeMap<String, BTreeMap<String, OwnedVariant>>,
    /// Whether filters work here.
    enforces: bool,
    /// Whether it takes jobs and does nothing.
    idle: bool,
    /// Whether scopes take no more processes.
    full: bool,
    stopped: Vec<String>,
}

type Shared = Arc<Mutex<World>>;

struct Manager(Shared, PathBuf);

struct Scope(u64);

struct Trial(Shared);

fn path(text: &str) -> OwnedObjectPath {
    OwnedObjectPath::try_from(text.to_owned()).unwrap()
}

/// What systemd says of a unit that is there already.
#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.freedesktop.systemd1")]
enum Said {
    #[zbus(error)]
    Bus(zbus::Error),
    UnitExists(String),
    NoSuchUnit(String),
}

const TRIAL: &str = "/org/freedesktop/systemd1/unit/trial";

impl Manager {
    fn take_in(&self, pids: &[u32], scope: &str) {
        for pid in pids {
            let folder = self.1.join(pid.to_string());
            std::fs::create_dir_all(&folder).unwrap();
            let text = format!("0::/user.slice/user-1000.slice/{scope}\n");
            std::fs::write(folder.join("cgroup"), text).unwrap();
        }
    }
}

#[interface(name = "org.freedesktop.systemd1.Manager")]
impl Manager {
    fn get_unit(&self, name: &str) -> OwnedObjectPath {
        let limited = name == "session-3.scope";
        path(&format!("/org/freedesktop/systemd1/unit/{}", if limited { "s3" } else { "s2" }))
    }

    fn load_unit(&self, _name: &str) -> OwnedObjectPath {
        path(TRIAL)
    }

    fn list_units(&self) -> Vec<Line> {
        Vec::new()
    }

    fn start_transient_unit(
        &self,
        name: &str,
        _mode: &str,
        properties: Vec<(String, OwnedVariant)>,
        aux: Vec<(String, Vec<(String, OwnedVariant)>)>,
    ) -> Result<OwnedObjectPath, Said> {
        assert!(aux.is_empty());
        let mut world = self.0.lock().unwrap();
        if world.made.contains_key(name) {
            return Err(Said::UnitExists(name.to_owned()));
        }
        let properties: BTreeMap<_, _> = properties.into_iter().collect();
        if let Some(pids) = properties.get("PIDs")
            && !world.idle
        {
            self.take_in(&Vec::<u32>::try_from(pids.clone()).unwrap(), name);
        }
        world.made.insert(name.to_owned(), properties);
        Ok(path("/org/freedesktop/systemd1/job/7"))
    }

    fn attach_processes_to_unit(
        &self,
        name: &str,
        below: &str,
        pids: Vec<u32>,
    ) -> Result<(), Said> {
        assert_eq!(below, "");
        if self.0.lock().unwrap().full {
            return Err(Said::NoSuchUnit(name.to_owned()));
        }
        self.take_in(&pids, name);
        Ok(())
    }

    fn stop_unit(&self, name: &str, _mode: &str) -> OwnedObjectPath {
        self.0.lock().unwrap().stopped.push(name.to_owned());
        path("/org/freedesktop/systemd1/job/8")
    }

    fn reset_failed_unit(&self, _name: &str) {}
}

#[interface(name = "org.freedesktop.systemd1.Scope")]
impl Scope {
    #[zbus(property)]
    fn device_policy(&self) -> String {
        "auto".into()
    }

    #[zbus(property)]
    fn device_allow(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    #[zbus(property)]
    fn memory_max(&self) -> u64 {
        self.0
    }

    #[zbus(property)]
    fn tasks_max(&self) -> u64 {
        u64::MAX
    }
}

#[interface(name = "org.freedesktop.systemd1.Unit")]
impl Trial {
    #[zbus(property)]
    fn active_state(&self) -> String {
        let enforces = self.0.lock().unwrap().enforces;
        if enforces { "active".into() } else { "failed".into() }
    }

    #[zbus(property)]
    fn job(&self) -> (u32, OwnedObjectPath) {
        (0, path("/"))
    }
}

struct Systemd {
    world: Shared,
    scopes: Scopes,
    proc: tempfile::TempDir,
    _private: Private,
}

impl Systemd {
    fn new(test: &str) -> Option<Self> {
        let private = Private::new(test)?;
        let (world, proc) = (Shared::default(), tempfile::tempdir().unwrap());
        let (address, shown) = (private.address.clone(), proc.path().to_path_buf());
        let served = Arc::clone(&world);
        std::thread::spawn(move || zbus::block_on(serve(address, served, shown)));
        let units = SystemdUnits::at(private.address.clone());
        until("the manager", || units.list().is_ok());
        let scopes = Scopes::at(units, proc.path());
        Some(Self { world, scopes, proc, _private: private })
    }

    /// The process is in this group from now on.
    fn is_in(&self, group: &str) {
        let folder = self.proc.path().join(PID.to_string());
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("cgroup"), format!("0::{group}\n")).unwrap();
    }

    fn confine(&self) -> Result<(), ScopeError> {
        self.scopes.confine(PID, SCOPE, 240, &[12, 13])
    }
}

async fn serve(address: String, world: Shared, proc: PathBuf) {
    let unit = |name: &str| format!("/org/freedesktop/systemd1/unit/{name}");
    let builder = zbus::connection::Builder::address(address.as_str())
        .serve_at("/org/freedesktop/systemd1", Manager(Arc::clone(&world), proc))
        .serve_at(unit("s2"), Scope(u64::MAX))
        .serve_at(unit("s3"), Scope(1 << 30))
        .serve_at(TRIAL, Trial(world));
    let _connection = builder.name("org.freedesktop.systemd1").build().await.unwrap();
    std::future::pending::<()>().await;
}

#[test]
fn a_command_of_a_session_gets_a_scope_beside_it_with_its_slices_alone() {
    let test = "a_command_of_a_session_gets_a_scope_beside_it_with_its_slices_alone";
    let Some(systemd) = Systemd::new(test) else { return };
    systemd.is_in(SESSION);
    systemd.confine().unwrap();
    {
        let world = systemd.world.lock().unwrap();
        let made = &world.made[SCOPE];
        let text = |name: &str| String::try_from(made[name].clone()).unwrap();
        assert_eq!(text("Slice"), "user-1000.slice");
        assert_eq!(text("DevicePolicy"), "strict");
        let allowed = Vec::<(String, String)>::try_from(made["DeviceAllow"].clone()).unwrap();
        let has = |device: &str| allowed.iter().any(|(allowed, _)| allowed == device);
        assert!(has("/dev/char/240:12") && has("/dev/char/240:13") && has("char-241"));
        assert!(!has("/dev/char/240:14") && !has("char-240") && !has("char-*"));
    }
    // Once more: it is there already, and nothing is asked.
    systemd.confine().unwrap();
    assert_eq!(systemd.world.lock().unwrap().made.len(), 1);
}

#[test]
fn who_would_lose_limits_stays_where_it_is() {
    let test = "who_would_lose_limits_stays_where_it_is";
    let Some(systemd) = Systemd::new(test) else { return };
    let elsewhere = [
        "/system.slice/train.service",
        "/user.slice/user-1000.slice/user@1000.service/app.slice/shell.scope",
        "/user.slice/user-1000.slice/session-2.scope/own",
        "/../user.slice/user-1000.slice/session-2.scope",
        "/",
    ];
    for group in elsewhere {
        systemd.is_in(group);
        let error = systemd.confine().unwrap_err();
        assert!(matches!(error, ScopeError::NoSession(_)), "{group}: {error}");
    }
    systemd.is_in(LIMITED);
    let error = systemd.confine().unwrap_err();
    assert!(error.to_string().contains("MemoryMax="), "{error}");
    assert!(systemd.world.lock().unwrap().made.is_empty());
}

#[test]
fn a_scope_that_is_not_made_is_told() {
    let test = "a_scope_that_is_not_made_is_told";
    let Some(systemd) = Systemd::new(test) else { return };
    let error = systemd.confine().unwrap_err();
    assert!(matches!(error, ScopeError::Unreadable { pid: PID, .. }), "{error}");
    systemd.is_in(SESSION);
    {
        let mut world = systemd.world.lock().unwrap();
        world.made.insert(SCOPE.to_owned(), BTreeMap::new());
        world.full = true;
    }
    let error = systemd.confine().unwrap_err();
    assert!(matches!(error, ScopeError::Refused { .. }), "{error}");
    // A scope that is there takes another process.
    systemd.world.lock().unwrap().full = false;
    systemd.confine().unwrap();
    systemd.is_in(SESSION);
    {
        let mut world = systemd.world.lock().unwrap();
        world.made.clear();
        world.idle = true;
    }
    let error = systemd.confine().unwrap_err();
    assert!(matches!(error, ScopeError::NotMoved { pid: PID, .. }), "{error}");
}

#[test]
fn a_trial_tells_whether_filters_are_enforced_and_leaves_nothing() {
    let test = "a_trial_tells_whether_filters_are_enforced_and_leaves_nothing";
    let Some(systemd) = Systemd::new(test) else { return };
    for enforces in [true, false] {
        systemd.world.lock().unwrap().enforces = enforces;
        assert_eq!(systemd.scopes.are_enforced("migd-1-trial.service").unwrap(), enforces);
        let mut world = systemd.world.lock().unwrap();
        let trial = world.made.remove("migd-1-trial.service").unwrap();
        let allowed = Vec::<(String, String)>::try_from(trial["DeviceAllow"].clone()).unwrap();
        assert_eq!(allowed, [("/dev/null".to_owned(), "rw".to_owned())]);
        assert_eq!(world.stopped.pop().unwrap(), "migd-1-trial.service");
    }
}
