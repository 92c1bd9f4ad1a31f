//! The units of systemd over a real D-Bus: a private bus, and on it something that answers as
//! systemd's manager does, whose jobs take a few looks to end.
//!
//! Must never reach the systemd of the machine that tests run on.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where a step fails")]
#![allow(clippy::unused_self, reason = "the interface is of methods")]

mod bus;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bus::{LIMIT, Line, Private, until};
use host::units::{Activity, Halt, Started, SystemdUnits, UnitError, Units};
use model::{StopClients, UnitName};
use zbus::{OwnedObjectPath, fdo, interface};

const SHORT: Duration = Duration::from_millis(120);
/// So many looks see a job before it is done.
const LOOKS: u32 = 3;

#[derive(Debug, Clone, Default)]
struct Fake {
    state: String,
    required_by: Vec<String>,
    /// What it comes to when the looks are used up; `None`: the job never ends.
    coming: Option<String>,
    looks: u32,
    has_job: bool,
    stubborn: bool,
}

type World = Arc<Mutex<BTreeMap<String, Fake>>>;

struct Manager(World);

struct Unit(World, String);

fn path(text: impl Into<String>) -> OwnedObjectPath {
    OwnedObjectPath::try_from(text.into()).unwrap()
}

fn path_of(name: &str) -> OwnedObjectPath {
    let plain = name.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    path(format!("/org/freedesktop/systemd1/unit/{plain}"))
}

impl Manager {
    fn job(&self, name: &str, passing: &str, end: &str) -> fdo::Result<OwnedObjectPath> {
        let mut world = self.0.lock().unwrap();
        if name == "locked.service" {
            return Err(fdo::Error::AccessDenied("Permission denied".into()));
        }
        let along = world.get(name).map(|unit| unit.required_by.clone()).unwrap_or_default();
        if passing == "deactivating" {
            for other in along {
                world.get_mut(&other).unwrap().state = "inactive".into();
            }
        }
        let unit = world.get_mut(name).unwrap();
        if unit.state != end {
            unit.state = passing.into();
            unit.coming = (!unit.stubborn).then(|| end.to_owned());
            (unit.looks, unit.has_job) = (LOOKS, true);
        }
        Ok(path("/org/freedesktop/systemd1/job/7"))
    }
}

#[interface(name = "org.freedesktop.systemd1.Manager")]
impl Manager {
    fn load_unit(&self, name: &str) -> OwnedObjectPath {
        let known = self.0.lock().unwrap().contains_key(name);
        path_of(if known { name } else { "gone.service" })
    }

    fn stop_unit(&self, name: &str, mode: &str) -> fdo::Result<OwnedObjectPath> {
        assert_eq!(mode, "replace");
        self.job(name, "deactivating", "inactive")
    }

    fn start_unit(&self, name: &str, mode: &str) -> fdo::Result<OwnedObjectPath> {
        assert_eq!(mode, "replace");
        let end = if name == "broken.service" { "failed" } else { "active" };
        self.job(name, "activating", end)
    }

    fn cancel_job(&self, number: u32) {
        assert_eq!(number, 7);
        for unit in self.0.lock().unwrap().values_mut().filter(|unit| unit.stubborn) {
            unit.has_job = false;
        }
    }

    fn list_units(&self) -> Vec<Line> {
        let world = self.0.lock().unwrap();
        let line = |(name, unit): (&String, &Fake)| {
            let text = |text: &str| text.to_owned();
            let state = unit.state.clone();
            let (words, load, sub, none) = (text("words"), text("loaded"), text("x"), text(""));
            let own = path_of(name);
            (name.clone(), words, load, state, sub, none.clone(), own, 0, none, path("/"))
        };
        world.iter().map(line).collect()
    }
}

#[interface(name = "org.freedesktop.systemd1.Unit")]
impl Unit {
    #[zbus(property)]
    fn id(&self) -> String {
        self.1.clone()
    }

    #[zbus(property)]
    fn load_state(&self) -> String {
        let known = self.0.lock().unwrap().contains_key(&self.1);
        if known { "loaded".into() } else { "not-found".into() }
    }

    #[zbus(property)]
    fn description(&self) -> String {
        "words".into()
    }

    #[zbus(property)]
    fn active_state(&self) -> String {
        let mut world = self.0.lock().unwrap();
        let Some(unit) = world.get_mut(&self.1) else { return "inactive".into() };
        unit.looks = unit.looks.saturating_sub(1);
        if unit.looks == 0
            && let Some(end) = unit.coming.take()
        {
            (unit.state, unit.has_job) = (end, false);
        }
        unit.state.clone()
    }

    #[zbus(property)]
    fn required_by(&self) -> Vec<String> {
        let world = self.0.lock().unwrap();
        world.get(&self.1).map(|unit| unit.required_by.clone()).unwrap_or_default()
    }

    #[zbus(property)]
    fn job(&self) -> (u32, OwnedObjectPath) {
        let world = self.0.lock().unwrap();
        let has_job = world.get(&self.1).is_some_and(|unit| unit.has_job);
        (if has_job { 7 } else { 0 }, path("/"))
    }
}

/// A bus with a manager on it; both end with the value.
struct Bus {
    world: World,
    units: SystemdUnits,
    _private: Private,
}

impl Bus {
    fn new(test: &str) -> Option<Self> {
        let private = Private::new(test)?;
        let address = private.address.clone();
        let world = world();
        let (served, there) = (Arc::clone(&world), address.clone());
        std::thread::spawn(move || zbus::block_on(serve(there, served)));
        let units = SystemdUnits::at(address);
        until("the manager", || units.list().is_ok());
        Some(Self { world, units, _private: private })
    }

    fn state(&self, name: &str) -> String {
        self.world.lock().unwrap()[name].state.clone()
    }
}

fn world() -> World {
    let runs = |required_by: &[&str], stubborn: bool| Fake {
        state: "active".into(),
        required_by: required_by.iter().map(|name| (*name).to_owned()).collect(),
        stubborn,
        ..Fake::default()
    };
    let units = [
        ("nvidia-dcgm.service", runs(&["dcgm-exporter.service"], false)),
        ("dcgm-exporter.service", runs(&[], false)),
        ("nvsm.service", runs(&[], true)),
        ("locked.service", runs(&[], false)),
        ("broken.service", runs(&[], false)),
    ];
    Arc::new(Mutex::new(units.map(|(name, unit)| (name.to_owned(), unit)).into()))
}

async fn serve(address: String, world: World) {
    let mut builder = zbus::connection::Builder::address(address.as_str())
        .serve_at("/org/freedesktop/systemd1", Manager(Arc::clone(&world)));
    let mut names: Vec<String> = world.lock().unwrap().keys().cloned().collect();
    names.push("gone.service".into());
    for name in names {
        builder = builder.serve_at(path_of(&name), Unit(Arc::clone(&world), name));
    }
    let _connection = builder.name("org.freedesktop.systemd1").build().await.unwrap();
    std::future::pending::<()>().await;
}

fn name(text: &str) -> UnitName {
    text.parse().unwrap()
}

#[test]
fn units_are_seen_stopped_and_started_and_jobs_are_waited_for() {
    let test = "units_are_seen_stopped_and_started_and_jobs_are_waited_for";
    let Some(bus) = Bus::new(test) else { return };
    let dcgm = name("nvidia-dcgm");
    let seen = bus.units.unit(&dcgm).unwrap().unwrap();
    assert_eq!((seen.name, seen.activity), (dcgm.clone(), Activity::Active));
    assert_eq!(seen.stops_with_it, [name("dcgm-exporter")]);
    assert_eq!(bus.units.unit(&name("gone")).unwrap(), None);
    assert_eq!(bus.units.list().unwrap().len(), 5);
    bus.units.stop(&dcgm, LIMIT).unwrap();
    assert_eq!(bus.state("nvidia-dcgm.service"), "inactive");
    bus.units.stop(&dcgm, LIMIT).unwrap();
    assert_eq!(bus.units.start(&dcgm, LIMIT).unwrap(), Started::Running);
    assert_eq!(bus.units.start(&name("dcgm-exporter"), LIMIT).unwrap(), Started::Running);
    let (halt, kept) = Halt::of(&bus.units, &StopClients::Known).unwrap();
    assert_eq!(halt.units, ["dcgm-exporter", "nvsm", "nvidia-dcgm"].map(name));
    assert!(kept.is_empty(), "{kept:?}");
}

#[test]
fn what_does_not_end_is_given_up_in_time_and_refusals_are_told_apart() {
    let test = "what_does_not_end_is_given_up_in_time_and_refusals_are_told_apart";
    let Some(bus) = Bus::new(test) else { return };
    let nvsm = name("nvsm");
    let error = bus.units.stop(&nvsm, SHORT).unwrap_err();
    let UnitError::TimedOut { activity, .. } = error else { panic!("{error}") };
    assert_eq!(activity, Activity::Deactivating);
    assert!(!bus.world.lock().unwrap()["nvsm.service"].has_job, "the job is withdrawn");
    assert_eq!(bus.units.start(&nvsm, SHORT).unwrap(), Started::Queued);
    let error = bus.units.stop(&name("gone"), SHORT).unwrap_err();
    assert!(matches!(error, UnitError::NoSuchUnit { .. }), "{error}");
    let error = bus.units.stop(&name("locked"), SHORT).unwrap_err();
    assert!(matches!(error, UnitError::NotPermitted { .. }), "{error}");
    let broken = name("broken");
    bus.units.stop(&broken, LIMIT).unwrap();
    let error = bus.units.start(&broken, LIMIT).unwrap_err();
    assert!(matches!(error, UnitError::NotAsAsked { activity: Activity::Failed, .. }), "{error}");
    let nowhere = SystemdUnits::at("unix:path=/nonexistent/bus");
    assert!(matches!(nowhere.list().unwrap_err(), UnitError::Unreachable(_)));
}
