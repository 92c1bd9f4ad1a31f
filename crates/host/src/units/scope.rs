//! The device filter of a lease where control groups are of version 2 alone: a scope of systemd beside
//! the login session that its command was started from, in which the capabilities of other slices cannot
//! be opened. systemd loads and attaches the filter (eBPF) itself.
//!
//! Must never give a process more than it had: one whose unit has limits of its own stays where it is,
//! since a scope beside that unit would lift them.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use zbus::{OwnedObjectPath, OwnedVariant, Variant};

use super::systemd::{Manager, PAUSE, SystemdUnits, bounded};
use super::{Activity, UnitError};

const SCOPE_INTERFACE: &str = "org.freedesktop.systemd1.Scope";
/// Majors of character devices that the kernel gives away (`CHRDEV_MAJOR_MAX` of `include/linux/fs.h`).
const MAJORS: u32 = 512;
/// The first capability that may be a slice's: those before it are the ones to configure MIG and to
/// monitor, which their own modes keep.
const FIRST_OF_SLICES: u32 = 3;
/// How long systemd may take to move a process, or to run the trial.
const MOVE_LIMIT: Duration = Duration::from_secs(5);
/// What the trial runs: it succeeds where one device opens and another, which is not allowed, does not.
const TRIAL: &str = ": </dev/null && ! (: </dev/full) 2>/dev/null";

/// Why a process was not put into a scope; it is where it was.
#[derive(Debug, thiserror::Error)]
pub enum ScopeError {
    /// It has ended, or its control group cannot be read.
    #[error("cannot tell the control group of pid {pid}")]
    Unreadable {
        /// Which.
        pid: u32,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is not in the scope of a login session itself.
    #[error("it was not started from a login session but in {0}, whose limits a scope would lift")]
    NoSession(String),
    /// Its session has limits that a scope beside it would lift.
    #[error("its session {session} has limits of its own ({limit}), which a scope would lift")]
    Limited {
        /// Which.
        session: String,
        /// Which of them, in systemd's words.
        limit: String,
    },
    /// systemd cannot be asked.
    #[error(transparent)]
    Unit(#[from] UnitError),
    /// systemd said no.
    #[error("systemd does not make the scope {scope}")]
    Refused {
        /// Which.
        scope: String,
        /// What it said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// systemd took the job and did not do it.
    #[error("systemd did not move pid {pid} into {scope}")]
    NotMoved {
        /// Which process.
        pid: u32,
        /// Into which scope.
        scope: String,
    },
}

/// The scopes that the systemd of a machine makes.
#[derive(Debug, Clone)]
pub struct Scopes {
    units: SystemdUnits,
    proc: PathBuf,
}

impl Scopes {
    /// The scopes of this machine, if a systemd runs it and its control groups are of version 2 alone:
    /// elsewhere systemd takes the filter and does not enforce it.
    pub fn find() -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let found = SystemdUnits::runs_here() && is_version_2(&mounts);
        found.then(|| Self::at(SystemdUnits::default(), "/proc"))
    }

    /// The scopes that these units' systemd makes, for the processes that `proc` shows.
    pub fn at(units: SystemdUnits, proc: impl Into<PathBuf>) -> Self {
        Self { units, proc: proc.into() }
    }

    /// Tries whether the filter is enforced, with a service of the name `service` that may open one
    /// device and no other: systemd logs no more than a warning where the kernel or its own rights do
    /// not allow it. Takes some tens of milliseconds.
    ///
    /// # Errors
    /// [`ScopeError`] when the trial cannot be made.
    pub fn are_enforced(&self, service: &str) -> Result<bool, ScopeError> {
        let (units, name) = (self.units.clone(), service.to_owned());
        let tried = bounded(MOVE_LIMIT, move || {
            zbus::block_on(async {
                let manager = units.connect().await?;
                Ok(trial(&manager, &name).await)
            })
        })?;
        tried.map_err(|error| refused(service, error))
    }

    /// Puts a process into the scope `name` beside its session, in which of the character devices of
    /// `major` that may be slices only `own` can be opened; whatever it starts is in it, too, and the
    /// scope ends with the last of them. May be repeated.
    ///
    /// # Errors
    /// [`ScopeError`].
    pub fn confine(&self, pid: u32, name: &str, major: u32, own: &[u32]) -> Result<(), ScopeError> {
        let group = self.group_of(pid)?;
        if is_within(&group, name) {
            return Ok(());
        }
        let Some((slice, session)) = session_of(&group) else {
            return Err(ScopeError::NoSession(group));
        };
        let (slice, session) = (slice.to_owned(), session.to_owned());
        let (units, scope, allowed) = (self.units.clone(), name.to_owned(), allowed(major, own));
        bounded(MOVE_LIMIT, move || {
            zbus::block_on(async {
                let manager = units.connect().await?;
                Ok(begin(&manager, pid, &scope, &session, &slice, &allowed).await)
            })
        })??;
        let until = Instant::now() + MOVE_LIMIT;
        while !is_within(&self.group_of(pid)?, name) {
            if Instant::now() >= until {
                return Err(ScopeError::NotMoved { pid, scope: name.to_owned() });
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// The group of version 2 that a process is in.
    fn group_of(&self, pid: u32) -> Result<String, ScopeError> {
        let text = fs::read_to_string(self.proc.join(pid.to_string()).join("cgroup"));
        let group = text.and_then(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("0::"));
            line.map(str::to_owned).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
        });
        group.map_err(|source| ScopeError::Unreadable { pid, source })
    }
}

/// Whether a group is the one of a unit.
fn is_within(group: &str, unit: &str) -> bool {
    group.rsplit('/').next() == Some(unit)
}

/// The slice and the scope of a login session, if a group is that of one: neither below it nor one that
/// is out of this process's sight.
fn session_of(group: &str) -> Option<(&str, &str)> {
    let mut parts = group.rsplit('/');
    let (session, slice) = (parts.next()?, parts.next()?);
    session.strip_prefix("session-")?.strip_suffix(".scope")?;
    slice.strip_suffix(".slice")?;
    let is_seen = group.split('/').all(|part| part != "..");
    is_seen.then_some((slice, session))
}

/// Whether the mount table shows control groups of version 2 and none of version 1 with controllers.
fn is_version_2(mountinfo: &str) -> bool {
    let kinds = || mountinfo.lines().filter_map(|line| line.split_once(" - ")?.1.split(' ').next());
    kinds().any(|kind| kind == "cgroup2") && kinds().all(|kind| kind != "cgroup")
}

/// What a scope allows: every device but those of `major` that may be slices of others. Each major is
/// named by its number, since one that a module brings later has no name yet; systemd's filter knows no
/// "all but".
fn allowed(major: u32, own: &[u32]) -> Vec<(String, String)> {
    let entry = |device: String, rights: &str| (device, rights.to_owned());
    let others = (0..MAJORS).filter(|number| *number != major);
    let mut list = vec![entry("block-*".to_owned(), "rwm")];
    list.extend(others.map(|number| entry(format!("char-{number}"), "rwm")));
    let minors = (1..FIRST_OF_SLICES).chain(own.iter().copied());
    list.extend(minors.map(|minor| entry(format!("/dev/char/{major}:{minor}"), "rw")));
    list
}

type Properties<'a> = Vec<(&'a str, Variant<'a>)>;
/// Units that are made along with one; never any.
type Along<'a> = Vec<(&'a str, Properties<'a>)>;

/// Has systemd make the scope with the process in it, or put the process into the one that is there.
async fn begin(
    manager: &Manager,
    pid: u32,
    scope: &str,
    session: &str,
    slice: &str,
    allowed: &[(String, String)],
) -> Result<(), ScopeError> {
    let failed = |error| refused(scope, error);
    if let Some(limit) = limit_of(manager, session).await.map_err(failed)? {
        return Err(ScopeError::Limited { session: session.to_owned(), limit });
    }
    let properties: Properties<'_> = vec![
        ("Description", Variant::from(format!("A command that migd lends a slice to ({scope})"))),
        ("Slice", Variant::from(slice)),
        ("PIDs", Variant::from(vec![pid])),
        ("DevicePolicy", Variant::from("strict")),
        ("DeviceAllow", Variant::from(allowed.to_vec())),
        // As a session's scope: a limit that it did not have is none of ours to set.
        ("TasksMax", Variant::from(u64::MAX)),
        ("SendSIGHUP", Variant::from(true)),
        ("CollectMode", Variant::from("inactive-or-failed")),
    ];
    let none: Along<'_> = Vec::new();
    let made = manager.call("StartTransientUnit", &(scope, "fail", properties, none)).await;
    let Err(error) = made else { return Ok(()) };
    if !is_named(&error, "org.freedesktop.systemd1.UnitExists") {
        return Err(failed(error));
    }
    let more = manager.call("AttachProcessesToUnit", &(scope, "", vec![pid])).await;
    more.map(drop).map_err(failed)
}

/// The first limit that systemd says a session has, beside those of its slice.
async fn limit_of(manager: &Manager, session: &str) -> zbus::Result<Option<String>> {
    let path: OwnedObjectPath = manager.call("GetUnit", &session).await?.body().deserialize()?;
    let told = manager.properties(&path, SCOPE_INTERFACE).await?;
    Ok(limit_in(&told))
}

fn limit_in(told: &HashMap<String, OwnedVariant>) -> Option<String> {
    let policy = told.get("DevicePolicy").and_then(|value| String::try_from(value.clone()).ok());
    if policy.is_some_and(|policy| policy != "auto") {
        return Some("DevicePolicy=".to_owned());
    }
    let devices =
        told.get("DeviceAllow").map(|value| Vec::<(String, String)>::try_from(value.clone()));
    if devices.is_some_and(|devices| devices.map_or(true, |devices| !devices.is_empty())) {
        return Some("DeviceAllow=".to_owned());
    }
    let numbers =
        ["MemoryMax", "MemoryHigh", "MemorySwapMax", "TasksMax", "CPUQuotaPerSecUSec"].into_iter();
    let mut limited = numbers.filter(|name| {
        let value = told.get(*name).and_then(|value| u64::try_from(value.clone()).ok());
        value.is_some_and(|value| value != u64::MAX)
    });
    limited.next().map(|name| format!("{name}="))
}

/// Whether a service that may open one device alone opens that one alone.
async fn trial(manager: &Manager, name: &str) -> zbus::Result<bool> {
    let shell = vec![("/bin/sh", vec!["sh", "-c", TRIAL], false)];
    let properties: Properties<'_> = vec![
        ("Description", Variant::from("A trial of whether systemd's device filters are enforced")),
        ("Type", Variant::from("oneshot")),
        // So that the outcome can be read when it has ended.
        ("RemainAfterExit", Variant::from(true)),
        ("DevicePolicy", Variant::from("strict")),
        ("DeviceAllow", Variant::from(vec![("/dev/null", "rw")])),
        ("StandardOutput", Variant::from("null")),
        ("StandardError", Variant::from("null")),
        ("ExecStart", Variant::from(shell)),
    ];
    let none: Along<'_> = Vec::new();
    manager.call("StartTransientUnit", &(name, "replace", properties, none)).await?;
    let path: OwnedObjectPath = manager.call("LoadUnit", &name).await?.body().deserialize()?;
    let until = Instant::now() + MOVE_LIMIT;
    let ended = loop {
        match manager.look(&path).await?.settled() {
            None if Instant::now() < until => std::thread::sleep(PAUSE),
            ended => break ended,
        }
    };
    let _ = manager.call("StopUnit", &(name, "replace")).await;
    let _ = manager.call("ResetFailedUnit", &name).await;
    Ok(ended == Some(Activity::Active))
}

fn is_named(error: &zbus::Error, name: &str) -> bool {
    matches!(error, zbus::Error::MethodError(said, ..) if said.as_str() == name)
}

fn refused(scope: &str, error: zbus::Error) -> ScopeError {
    ScopeError::Refused { scope: scope.to_owned(), source: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_allows_all_devices_but_the_slices_of_others() {
        let list = allowed(240, &[12, 13]);
        let has = |device: &str| list.iter().any(|(allowed, _)| allowed == device);
        assert!(has("block-*") && has("char-1") && has("char-239") && has("char-511"));
        assert!(!has("char-240") && !has("char-*") && !has("/dev/char/240:3"));
        for own in ["/dev/char/240:12", "/dev/char/240:13", "/dev/char/240:1", "/dev/char/240:2"] {
            assert!(has(own), "{own}");
        }
    }

    #[test]
    fn version_2_beside_version_1_does_not_count() {
        let v2 = "30 20 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n";
        let v1 = "33 30 0:29 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices\n";
        assert!(is_version_2(v2));
        assert!(!is_version_2(v1) && !is_version_2(&format!("{v2}{v1}")) && !is_version_2(""));
    }
}
