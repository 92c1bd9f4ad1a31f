//! What a machine has that MIG depends on, besides its driver: distribution, packages, containers,
//! units, CDI specifications, control groups, namespaces, rights, room on disk.
//!
//! Must never judge: it says what is there, and `None` where that cannot be told. Every function
//! takes the root of the machine.

mod cdi;
mod containers;
mod kernel;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

pub use cdi::{CdiSpec, cdi_specs};
pub use containers::images;
pub use kernel::{
    ControlGroups, UserNamespaces, capabilities, control_groups, hypervisor, user_namespaces,
};

use crate::root::HostRoot;

/// A Linux distribution, by `/etc/os-release`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    /// Its id (`ubuntu`).
    pub id: String,
    /// Its version (`22.04`); rolling ones have none.
    pub version: Option<String>,
    /// Ids of those it is like (`rhel fedora`).
    pub like: Vec<String>,
    /// Its name for people.
    pub name: String,
}

/// The distribution of a machine.
pub fn distribution(root: &HostRoot) -> Option<Distribution> {
    let paths = ["/etc/os-release", "/usr/lib/os-release"];
    let text = paths.iter().find_map(|path| fs::read_to_string(root.resolve(path)).ok())?;
    let field = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        let (_, value) = lines.find(|(key, _)| key.trim() == name)?;
        Some(value.trim().trim_matches(['"', '\'']).to_owned())
    };
    let id = field("ID")?;
    Some(Distribution {
        name: field("PRETTY_NAME").unwrap_or_else(|| id.clone()),
        version: field("VERSION_ID"),
        like: field("ID_LIKE").unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
        id,
    })
}

/// The version of an installed Debian package; `None` if it is not installed, or the machine keeps
/// its packages elsewhere.
pub fn debian_package(root: &HostRoot, name: &str) -> Option<String> {
    let text = fs::read_to_string(root.resolve("/var/lib/dpkg/status")).ok()?;
    let wanted = format!("Package: {name}");
    let mut blocks = text.split("\n\n");
    let block = blocks.find(|block| block.lines().any(|line| line == wanted))?;
    let field = |key: &str| block.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    field("Status:")?.ends_with(" installed").then_some(())?;
    field("Version:").map(str::to_owned)
}

/// Units that are enabled, by the links that enabling makes.
pub fn enabled_units(root: &HostRoot) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for folder in children(&root.resolve("/etc/systemd/system")) {
        if folder.extension().is_some_and(|end| end == "wants" || end == "requires") {
            let units = children(&folder).into_iter();
            found.extend(
                units.filter_map(|unit| Some(unit.file_name()?.to_string_lossy().into_owned())),
            );
        }
    }
    found
}

/// The names of the programs that run, as the kernel has them (at most 15 bytes).
pub fn programs(root: &HostRoot) -> BTreeSet<String> {
    let name = |folder: std::path::PathBuf| {
        folder.file_name()?.to_str()?.parse::<u32>().ok()?;
        Some(fs::read_to_string(folder.join("comm")).ok()?.trim_end().to_owned())
    };
    children(&root.resolve("/proc")).into_iter().filter_map(name).collect()
}

/// The first of these programs that is installed, by its path on the machine.
pub fn installed<'p>(root: &HostRoot, names: &[&'p str]) -> Option<&'p str> {
    const FOLDERS: [&str; 4] = ["/usr/bin", "/usr/local/bin", "/usr/sbin", "/usr/local/sbin"];
    let is_there = |name: &str| FOLDERS.iter().any(|at| root.resolve(at).join(name).exists());
    names.iter().copied().find(|name| is_there(name))
}

/// Room on the file system that holds a folder, in bytes, for those who are not root.
pub fn room_at(folder: &Path) -> Option<u64> {
    // The folder may not exist yet; what is above it is on the same disk, or will be.
    let there = folder.ancestors().find(|folder| folder.exists())?;
    let found = rustix::fs::statvfs(there).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

fn children(folder: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A machine with these files.
    pub(crate) fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, HostRoot) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let root = HostRoot::at(folder.path());
        (folder, root)
    }

    #[test]
    fn distributions_are_read_with_and_without_quotes() {
        let text = "NAME=\"Rocky Linux\"\nID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n\
                    VERSION_ID='9.4'\nPRETTY_NAME=\"Rocky Linux 9.4\"\n";
        let (_folder, root) = machine(&[("etc/os-release", text)]);
        let found = distribution(&root).unwrap();
        assert_eq!((found.id.as_str(), found.version.as_deref()), ("rocky", Some("9.4")));
        assert_eq!(found.like, ["rhel", "centos", "fedora"]);
        assert_eq!(found.name, "Rocky Linux 9.4");
        let (_folder, root) = machine(&[("usr/lib/os-release", "ID=arch\n")]);
        assert_eq!(distribution(&root).unwrap().version, None);
        let (_folder, root) = machine(&[]);
        assert_eq!(distribution(&root), None);
    }

    #[test]
    fn packages_count_when_they_are_installed() {
        let status = "Package: a\nStatus: install ok installed\nVersion: 1.2-1\n\n\
                      Package: b\nStatus: deinstall ok config-files\nVersion: 3\n";
        let (_folder, root) = machine(&[("var/lib/dpkg/status", status)]);
        assert_eq!(debian_package(&root, "a").as_deref(), Some("1.2-1"));
        assert_eq!(debian_package(&root, "b"), None);
        assert_eq!(debian_package(&root, "c"), None);
    }

    #[test]
    fn units_and_programs_are_listed() {
        let (folder, root) = machine(&[
            ("etc/systemd/system/other.service", ""),
            ("proc/17/comm", "nv-hostengine\n"),
            ("proc/self/comm", "me\n"),
            ("usr/bin/nvidia-ctk", ""),
        ]);
        let wants = folder.path().join("etc/systemd/system/multi-user.target.wants");
        fs::create_dir_all(&wants).unwrap();
        symlink("/usr/lib/systemd/system/x.service", wants.join("x.service")).unwrap();
        assert_eq!(enabled_units(&root), BTreeSet::from(["x.service".to_owned()]));
        assert_eq!(programs(&root), BTreeSet::from(["nv-hostengine".to_owned()]));
        assert_eq!(installed(&root, &["docker", "nvidia-ctk"]), Some("nvidia-ctk"));
        assert_eq!(installed(&root, &["docker"]), None);
    }

    #[test]
    fn there_is_room_where_a_folder_will_be() {
        let folder = tempfile::tempdir().unwrap();
        assert!(room_at(&folder.path().join("not/there/yet")).is_some_and(|room| room > 0));
    }
}
