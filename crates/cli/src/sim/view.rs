//! The trees `/proc`, `/dev` and `/sys` as a program on the simulated machine sees them: a list of
//! mounts, and their execution in a mount namespace of our own.
//!
//! Must never run outside a private mount namespace: what it mounts would cover the true trees of
//! every program on this machine.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, mount, mount_bind, mount_bind_recursive, mount_move};

/// Folders of this machine that keep their other entries when the simulated machine has something
/// in them. Every other folder of the simulated machine takes the place of the true one.
const MERGED: [&str; 7] =
    ["dev", "proc", "proc/driver", "sys", "sys/bus", "sys/bus/pci", "sys/module"];
/// Under this name the true `/proc` stays reachable where its entries had to be linked.
const TRUE_PROC: &str = ".host";
/// Processes that start later are seen too, if their number is among so many following ones.
const PIDS_AHEAD: u32 = 4096;
/// Links need a little memory each; this holds a full `/proc` of links.
const TMPFS_OPTIONS: &std::ffi::CStr = c"mode=0755,size=64m";

/// One thing to do while the view is made.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// Mounts an empty file system in memory over this folder.
    Empty(PathBuf),
    /// Makes a folder.
    Folder(PathBuf),
    /// Makes an empty file, to be mounted on.
    File(PathBuf),
    /// Makes a symbolic link at the first path with the second as its text.
    Link(PathBuf, PathBuf),
    /// Shows the first path, and what is mounted below it, at the second.
    Bind(PathBuf, PathBuf),
    /// Shows the first path, and nothing that is mounted below it, at the second.
    BindAlone(PathBuf, PathBuf),
    /// Moves what is mounted on the first folder to the second.
    Move(PathBuf, PathBuf),
}

/// Why the view could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ViewError {
    /// A tree could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A step failed.
    #[error("cannot {action} {}", path.display())]
    Step {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Shows the simulated trees below `simulated` in place of the true ones. `stage` is any folder
/// outside the trees; it is mounted on for a moment and nothing in it is touched.
///
/// # Errors
/// [`ViewError`]; then the namespace is half-made and must be left by ending the process.
pub(super) fn show(simulated: &Path, stage: &Path) -> Result<(), ViewError> {
    let plan = Plan::make(simulated, Path::new("/"), stage)?;
    plan.steps.into_iter().try_for_each(Step::take)
}

/// The steps, in their order.
#[derive(Debug)]
struct Plan<'a> {
    /// The true trees; `/` but in tests.
    machine: &'a Path,
    stage: &'a Path,
    steps: Vec<Step>,
}

impl<'a> Plan<'a> {
    fn make(simulated: &Path, machine: &'a Path, stage: &'a Path) -> Result<Self, ViewError> {
        let mut plan = Self { machine, stage, steps: Vec::new() };
        // /proc comes last: while it is the true one, mounts can be looked up by any path.
        for tree in ["dev", "sys", "proc"] {
            let from = simulated.join(tree);
            if from.is_dir() {
                plan.merge(&from, Path::new(tree))?;
            }
        }
        Ok(plan)
    }

    /// Shows what is in `from` inside the true folder `at`, which keeps its other entries.
    fn merge(&mut self, from: &Path, at: &Path) -> Result<(), ViewError> {
        let there = self.machine.join(at);
        let entries = names(from)?;
        let must_rebuild = entries.iter().any(|name| !there.join(name).exists())
            || names(&there)?.iter().any(|name| is_hidden(at, name) && !entries.contains(name));
        if must_rebuild {
            let stage = self.stage.to_owned();
            self.steps.push(Step::Empty(stage.clone()));
            self.rebuild(from, at, &stage)?;
            self.steps.push(Step::Move(stage, there));
            return Ok(());
        }
        for name in entries {
            let inner = at.join(&name);
            if is_merged(&inner) {
                self.merge(&from.join(&name), &inner)?;
            } else {
                self.steps.push(Step::Bind(from.join(&name), self.machine.join(inner)));
            }
        }
        Ok(())
    }

    /// Fills the empty folder `stage` with the entries of the true folder `at` and those of `from`.
    fn rebuild(&mut self, from: &Path, at: &Path, stage: &Path) -> Result<(), ViewError> {
        let there = self.machine.join(at);
        let simulated = names(from)?;
        let is_proc = at == Path::new("proc");
        if is_proc {
            let whole = stage.join(TRUE_PROC);
            self.steps.push(Step::Folder(whole.clone()));
            self.steps.push(Step::Bind(there.clone(), whole));
        }
        let mut kept = if there.is_dir() { names(&there)? } else { Vec::new() };
        kept.retain(|name| !simulated.contains(name) && !is_hidden(at, name));
        if is_proc {
            add_coming_processes(&mut kept, &there);
        }
        for name in &kept {
            if is_proc {
                self.steps.push(Step::Link(stage.join(name), Path::new(TRUE_PROC).join(name)));
            } else {
                self.keep(&there.join(name), &stage.join(name))?;
            }
        }
        for name in &simulated {
            let (source, inner, target) = (from.join(name), at.join(name), stage.join(name));
            if is_merged(&inner) {
                self.steps.push(Step::Folder(target.clone()));
                self.rebuild(&source, &inner, &target)?;
            } else {
                self.keep(&source, &target)?;
            }
        }
        Ok(())
    }

    /// Shows `source` at `target`, where nothing is yet.
    fn keep(&mut self, source: &Path, target: &Path) -> Result<(), ViewError> {
        let found = fs::symlink_metadata(source).map_err(reading(source))?;
        if found.is_symlink() {
            let text = fs::read_link(source).map_err(reading(source))?;
            self.steps.push(Step::Link(target.to_owned(), text));
        } else if found.is_dir() {
            self.steps.push(Step::Folder(target.to_owned()));
            self.steps.push(Step::Bind(source.to_owned(), target.to_owned()));
        } else {
            self.steps.push(Step::File(target.to_owned()));
            self.steps.push(Step::BindAlone(source.to_owned(), target.to_owned()));
        }
        Ok(())
    }
}

impl Step {
    fn take(self) -> Result<(), ViewError> {
        let (action, path, result) = match self {
            Self::Empty(at) => {
                let made = mount("migd", &at, "tmpfs", MountFlags::NOSUID, Some(TMPFS_OPTIONS));
                ("mount an empty folder over", at, made.map_err(io::Error::from))
            }
            Self::Folder(at) => {
                let made = fs::create_dir(&at);
                ("make the folder", at, made)
            }
            Self::File(at) => {
                let made = File::create_new(&at).map(drop);
                ("make the file", at, made)
            }
            Self::Link(at, text) => {
                let made = symlink(text, &at);
                ("make the link", at, made)
            }
            Self::Bind(from, at) => {
                let made = mount_bind_recursive(&from, &at);
                ("show the simulated tree at", at, made.map_err(io::Error::from))
            }
            Self::BindAlone(from, at) => {
                let made = mount_bind(&from, &at);
                ("show the file at", at, made.map_err(io::Error::from))
            }
            Self::Move(from, at) => {
                let made = mount_move(&from, &at);
                ("put the view in place at", at, made.map_err(io::Error::from))
            }
        };
        result.map_err(|source| ViewError::Step { action, path, source })
    }
}

fn is_merged(at: &Path) -> bool {
    MERGED.iter().any(|merged| at == Path::new(merged))
}

/// Whether an entry belongs to true NVIDIA hardware, which a program on the simulated machine must
/// not find beside the simulated one.
fn is_hidden(at: &Path, name: &OsString) -> bool {
    let ours = ["dev", "proc/driver", "sys/module"].iter().any(|folder| at == Path::new(folder));
    ours && name.as_bytes().starts_with(b"nvidia")
}

/// Names of processes that do not exist yet. `/proc` must be rebuilt only on a kernel that lacks
/// one of its files altogether (a kernel without modules has no `/proc/modules`); folders for new
/// processes cannot appear in it by themselves, so their links are there beforehand. A program
/// that stays in the view for longer than so many processes misses the later ones.
fn add_coming_processes(kept: &mut Vec<OsString>, proc: &Path) {
    let read = |name: &str| fs::read_to_string(proc.join(name)).ok();
    let max = read("sys/kernel/pid_max").and_then(|text| text.trim().parse().ok()).unwrap_or(32768);
    // The last field of loadavg is the number given to the newest process.
    let last = read("loadavg").and_then(|text| text.split_whitespace().last()?.parse().ok());
    let last: u32 = last.unwrap_or_else(std::process::id);
    let mut all: BTreeSet<OsString> = kept.drain(..).collect();
    let coming = (1..=PIDS_AHEAD).map(|ahead| (last + ahead) % max).filter(|pid| *pid > 0);
    all.extend(coming.map(|pid| OsString::from(pid.to_string())));
    kept.extend(all);
}

fn names(folder: &Path) -> Result<Vec<OsString>, ViewError> {
    let entries = fs::read_dir(folder).map_err(reading(folder))?;
    let mut names = entries
        .map(|entry| Ok(entry?.file_name()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(reading(folder))?;
    names.sort();
    Ok(names)
}

fn reading(path: &Path) -> impl FnOnce(io::Error) -> ViewError {
    move |source| ViewError::Read { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(root: &Path, files: &[&str]) {
        for file in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
    }

    fn plan(simulated: &[&str], machine: &[&str]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let (sim, real) = (dir.path().join("sim"), dir.path().join("real"));
        tree(&sim, simulated);
        tree(&real, machine);
        let plan = Plan::make(&sim, &real, Path::new("/stage")).unwrap();
        let prefix = format!("{}/", dir.path().display());
        plan.steps.iter().map(|step| format!("{step:?}").replace(&prefix, "")).collect()
    }

    #[test]
    fn what_exists_on_both_machines_is_covered_in_place() {
        let steps = plan(
            &["proc/modules", "sys/bus/pci/devices/a/class"],
            &["proc/modules", "proc/stat", "sys/bus/pci/devices/b/class"],
        );
        assert_eq!(
            steps,
            [
                r#"Bind("sim/sys/bus/pci/devices", "real/sys/bus/pci/devices")"#,
                r#"Bind("sim/proc/modules", "real/proc/modules")"#,
            ]
        );
    }

    #[test]
    fn a_folder_that_lacks_an_entry_is_rebuilt_with_what_it_had() {
        let steps = plan(&["dev/nvidia0", "dev/nvidia-caps/nvidia-cap1"], &["dev/null"]);
        assert_eq!(
            steps,
            [
                r#"Empty("/stage")"#,
                r#"File("/stage/null")"#,
                r#"BindAlone("real/dev/null", "/stage/null")"#,
                r#"Folder("/stage/nvidia-caps")"#,
                r#"Bind("sim/dev/nvidia-caps", "/stage/nvidia-caps")"#,
                r#"File("/stage/nvidia0")"#,
                r#"BindAlone("sim/dev/nvidia0", "/stage/nvidia0")"#,
                r#"Move("/stage", "real/dev")"#,
            ]
        );
    }

    #[test]
    fn true_devices_are_hidden() {
        let steps = plan(&["dev/nvidia0"], &["dev/nvidia0", "dev/nvidia1", "dev/tty"]);
        assert!(steps.iter().any(|step| step.contains("stage/nvidia0")), "{steps:#?}");
        assert!(!steps.iter().any(|step| step.contains("nvidia1")), "{steps:#?}");
        assert!(steps.iter().any(|step| step.contains("real/dev/tty")), "{steps:#?}");
    }

    #[test]
    fn a_rebuilt_proc_is_linked_and_has_room_for_new_processes() {
        let steps = plan(
            &["proc/modules", "proc/driver/nvidia/version"],
            &["proc/stat", "proc/loadavg", "proc/driver/rtc", "proc/sys/kernel/pid_max"],
        );
        let has = |step: &str| steps.iter().any(|found| found == step);
        assert!(has(r#"Bind("real/proc", "/stage/.host")"#), "{steps:#?}");
        assert!(has(r#"Link("/stage/stat", ".host/stat")"#), "{steps:#?}");
        assert!(has(r#"Folder("/stage/driver")"#), "{steps:#?}");
        assert!(has(r#"BindAlone("real/proc/driver/rtc", "/stage/driver/rtc")"#), "{steps:#?}");
        assert!(has(r#"Bind("sim/proc/driver/nvidia", "/stage/driver/nvidia")"#), "{steps:#?}");
        let coming = (std::process::id() + 1) % 32768;
        assert!(has(&format!(r#"Link("/stage/{coming}", ".host/{coming}")"#)), "{steps:#?}");
        assert_eq!(steps.last().unwrap(), r#"Move("/stage", "real/proc")"#);
    }
}
