//! What stops and starts for a change, over units in memory.
//!
//! Must never look inside them but by what they say.

use std::time::Duration;

use super::*;
use crate::units::Operation::{Start, Stop};
use crate::units::memory::{Manner, MemoryUnits};

const LIMIT: Duration = Duration::from_secs(5);

fn name(text: &str) -> UnitName {
    text.parse().unwrap()
}

/// A DGX: DCGM with its exporter on top, NVSM, persistenced, Fabric Manager, kubelet, sshd.
fn dgx() -> MemoryUnits {
    let units = MemoryUnits::default();
    for unit in
        ["nvidia-dcgm", "nvsm", "nvidia-persistenced", "nvidia-fabricmanager", "kubelet", "sshd"]
    {
        units.add(&name(unit), &[]);
    }
    units.add(&name("dcgm-exporter"), &[name("nvidia-dcgm")]);
    units
}

fn words(units: &[UnitName]) -> Vec<&str> {
    units.iter().map(UnitName::short).collect()
}

#[test]
fn nothing_stops_unless_it_is_allowed_and_holders_are_named() {
    let (halt, kept) = Halt::of(&dgx(), &StopClients::Nothing).unwrap();
    assert!(halt.is_empty());
    let kept: Vec<UnitName> = kept.into_iter().map(|kept| kept.unit).collect();
    let wanted = ["dcgm-exporter", "nvsm", "nvidia-dcgm", "nvidia-persistenced", "kubelet"];
    assert_eq!(words(&kept), wanted);
}

#[test]
fn known_ones_stop_users_first_and_start_the_other_way_round() {
    let units = dgx();
    let (halt, kept) = Halt::of(&units, &StopClients::Known).unwrap();
    let order = ["dcgm-exporter", "nvsm", "nvidia-dcgm", "nvidia-persistenced"];
    assert_eq!(words(&halt.units), order);
    assert_eq!(kept.len(), 1);
    assert!(kept[0].why.contains("only if"), "{}", kept[0].why);
    halt.stop(&units, LIMIT).unwrap();
    assert_eq!(words(&units.running()), ["kubelet", "nvidia-fabricmanager", "sshd"]);
    let started = halt.start(&units, LIMIT);
    assert!(started.iter().all(|(_, result)| matches!(result, Ok(Started::Running))));
    assert_eq!(units.running().len(), 7);
    let asked = units.asked();
    assert_eq!(asked[0], (Stop, name("dcgm-exporter")));
    assert_eq!(asked[4], (Start, name("nvidia-persistenced")));
    assert_eq!(asked[7], (Start, name("dcgm-exporter")));
}

/// systemd stops what requires a unit along with it, and does not start it again with it.
#[test]
fn what_goes_along_is_known_before_and_comes_back() {
    let units = dgx();
    let both = "nvidia-dcgm,dcgm-exporter".parse().unwrap();
    let (halt, _) = Halt::of(&units, &both).unwrap();
    assert_eq!(words(&halt.units), ["dcgm-exporter", "nvidia-dcgm"]);
    let alone = "nvidia-dcgm".parse().unwrap();
    let (halt, kept) = Halt::of(&units, &alone).unwrap();
    assert!(halt.is_empty());
    let dcgm = kept.iter().find(|kept| kept.unit == name("nvidia-dcgm")).unwrap();
    assert!(dcgm.why.contains("dcgm-exporter.service would stop with it"), "{}", dcgm.why);
}

#[test]
fn what_does_not_run_is_neither_stopped_nor_started() {
    let units = dgx();
    units.stop(&name("nvidia-dcgm"), LIMIT).unwrap();
    let (halt, kept) =
        Halt::of(&units, &"nvidia-dcgm,dcgm-exporter,gone".parse().unwrap()).unwrap();
    assert!(halt.is_empty());
    assert!(
        !words(&kept.iter().map(|kept| kept.unit.clone()).collect::<Vec<_>>()).contains(&"gone")
    );
}

#[test]
fn one_that_does_not_stop_ends_it_and_all_are_started_again() {
    let units = dgx();
    let (halt, _) = Halt::of(&units, &StopClients::Known).unwrap();
    units.set_manner(&name("nvsm"), Manner::Hangs, Manner::Obeys);
    let error = halt.stop(&units, LIMIT).unwrap_err();
    assert_eq!(error.to_string(), "nvsm.service did not stop within 5 s (it is deactivating)");
    units.set_manner(&name("nvidia-persistenced"), Manner::Obeys, Manner::Fails);
    let started = halt.start(&units, LIMIT);
    assert_eq!(started.len(), 4);
    let failed: Vec<_> = started.iter().filter(|(_, result)| result.is_err()).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].0, name("nvidia-persistenced"));
    assert!(units.running().contains(&name("dcgm-exporter")));
}

/// Units of which one is started again by somebody else, so many times.
#[derive(Debug)]
struct Restless {
    units: MemoryUnits,
    restless: UnitName,
    left: std::sync::atomic::AtomicU32,
}

impl Units for Restless {
    fn unit(&self, name: &UnitName) -> Result<Option<Unit>, UnitError> {
        self.units.unit(name)
    }

    fn list(&self) -> Result<Vec<Unit>, UnitError> {
        self.units.list()
    }

    fn stop(&self, name: &UnitName, limit: Duration) -> Result<(), UnitError> {
        use std::sync::atomic::Ordering::Relaxed;
        self.units.stop(name, limit)?;
        let again = |left: u32| left.checked_sub(1);
        if *name == self.restless && self.left.fetch_update(Relaxed, Relaxed, again).is_ok() {
            self.units.start(name, limit)?;
        }
        Ok(())
    }

    fn start(&self, name: &UnitName, limit: Duration) -> Result<Started, UnitError> {
        self.units.start(name, limit)
    }
}

#[test]
fn one_that_is_started_again_meanwhile_is_stopped_again_a_few_times() {
    for (times, stays) in [(1, true), (2, true), (3, false)] {
        let (units, restless) = (dgx(), name("nvidia-dcgm"));
        let (halt, _) = Halt::of(&units, &StopClients::Known).unwrap();
        let units = Restless { units, restless: restless.clone(), left: times.into() };
        match halt.stop(&units, LIMIT) {
            Ok(()) => assert!(stays && !units.units.running().contains(&restless), "{times}"),
            Err(error) => {
                assert!(!stays, "{error}");
                let words = "nvidia-dcgm.service was stopped 3 times and runs again";
                assert!(error.to_string().starts_with(words), "{error}");
            }
        }
    }
}
