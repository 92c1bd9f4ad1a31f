//! The device filter of a lease: a group of the devices controller (cgroup v1) below the one its
//! command is in, in which the capabilities of other slices cannot be opened.
//!
//! Must never give a process more than it had: the group lies below the one the process is in, and
//! only takes away.

mod rules;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use rules::{Rule, Unfilterable, rules};

/// Why a filter could not be set.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// This machine has no devices controller of cgroup v1.
    #[error("this machine has no devices controller of cgroup v1")]
    NoController,
    /// What the group above allows cannot be narrowed to this.
    #[error(transparent)]
    Unfilterable(#[from] Unfilterable),
    /// A file of the controller refused.
    #[error("cannot use {}", path.display())]
    Refused {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// The devices controller of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Controller {
    mount: PathBuf,
}

impl Controller {
    /// The controller that is mounted here; `None` if there is none, as with cgroup v2 alone.
    pub fn find() -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        mount_of(&mounts).map(|mount| Self { mount })
    }

    /// The group a process is in.
    ///
    /// # Errors
    /// [`FilterError::Refused`] if it has ended, [`FilterError::NoController`].
    pub fn group_of(&self, pid: u32) -> Result<PathBuf, FilterError> {
        let path = PathBuf::from(format!("/proc/{pid}/cgroup"));
        let text = fs::read_to_string(&path).map_err(refused(&path))?;
        let below = group_in(&text).ok_or(FilterError::NoController)?;
        Ok(self.mount.join(below.trim_start_matches('/')))
    }

    /// Puts a process into the group `name` below its own, in which of the character devices
    /// `major:every` only `major:own` can be opened. Whatever it starts is in the group, too. May be
    /// repeated.
    ///
    /// # Errors
    /// [`FilterError`]; the process is then where it was.
    pub fn confine(
        &self,
        pid: u32,
        name: &str,
        major: u32,
        own: &[u32],
        every: &[u32],
    ) -> Result<PathBuf, FilterError> {
        let above = self.group_of(pid)?;
        let group = if above.file_name().is_some_and(|last| last == name) {
            above
        } else {
            above.join(name)
        };
        match fs::create_dir(&group) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other.map_err(refused(&group))?,
        }
        let list = group.join("devices.list");
        let allowed = fs::read_to_string(&list).map_err(refused(&list))?;
        for rule in rules(&allowed, major, own, every)? {
            let (file, line) = rule.write();
            let path = group.join(file);
            fs::write(&path, line).map_err(refused(&path))?;
        }
        let members = group.join("cgroup.procs");
        fs::write(&members, pid.to_string()).map_err(refused(&members))?;
        Ok(group)
    }

    /// Every group anywhere below whose name begins so.
    pub fn groups(&self, prefix: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut open = vec![self.mount.clone()];
        while let Some(folder) = open.pop() {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries.flatten() {
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    continue;
                }
                if entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix)) {
                    found.push(entry.path());
                }
                open.push(entry.path());
            }
        }
        found
    }

    /// Removes a group that is empty; false if somebody is still in it.
    pub fn remove(group: &Path) -> bool {
        fs::remove_dir(group).is_ok()
    }
}

fn refused(path: &Path) -> impl Fn(io::Error) -> FilterError {
    let path = path.to_path_buf();
    move |source| FilterError::Refused { path: path.clone(), source }
}

/// Where the mount table shows the devices controller: ` - cgroup SOURCE OPTIONS` with `devices`.
fn mount_of(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, rest) = line.split_once(" - ")?;
        let mut rest = rest.split(' ');
        let (kind, options) = (rest.next()?, rest.nth(1)?);
        let is_it = kind == "cgroup" && options.split(',').any(|option| option == "devices");
        is_it.then(|| PathBuf::from(mount.split(' ').nth(4).unwrap_or_default()))
    })
}

/// The group in `/proc/PID/cgroup`: `5:devices:/user.slice`.
fn group_in(text: &str) -> Option<&str> {
    text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        controllers.split(',').any(|controller| controller == "devices").then_some(path)
    })
}

#[cfg(test)]
mod tests;
