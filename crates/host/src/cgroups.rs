//! Control groups of containers: which one a process is in, and who is in one.
//!
//! Must never open a path that a client names: paths come from `/proc/PID/cgroup` alone.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where control groups are mounted: cgroup v2 alone, v2 beside v1, or v1 with a folder for each
/// controller.
const MOUNT: &str = "/sys/fs/cgroup";
/// Which of v1's hierarchies is asked first: a container is in a group of its own in each that its
/// runtime manages, and every runtime manages these.
const FIRST: [&str; 4] = ["pids", "devices", "memory", "name=systemd"];
/// The shortest and longest id of a container in hexadecimal digits: docker, podman, containerd and
/// CRI-O write 64, and people shorten to 12.
const ID_SHORTEST: usize = 12;
const ID_LONGEST: usize = 64;

/// A container as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its id, as its runtime put it into the name of its control group.
    pub id: String,
    /// Its control group, from the root of the hierarchy.
    pub cgroup: String,
}

/// The container that a process is in; `None` if it is in none that can be told, or it has ended.
/// With `id`, only a container whose id begins with that.
pub fn container_of(pid: u32, id: Option<&str>) -> Option<Container> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    find(&text, id)
}

/// The container in the text of `/proc/PID/cgroup`.
fn find(text: &str, wanted: Option<&str>) -> Option<Container> {
    let mut groups: Vec<(usize, &str)> = text
        .lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            let rank = match controllers {
                "" => 0,
                named => {
                    let mut each = named.split(',');
                    let first = each.find_map(|one| FIRST.iter().position(|name| *name == one));
                    first.map_or(FIRST.len() + 1, |at| at + 1)
                }
            };
            Some((rank, path))
        })
        .collect();
    groups.sort_unstable();
    groups.into_iter().find_map(|(_, path)| within(path, wanted))
}

/// The container's own group within `path`: a process may be deeper (systemd in a container).
fn within(path: &str, wanted: Option<&str>) -> Option<Container> {
    let mut cgroup = String::new();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        if part == ".." {
            return None;
        }
        cgroup.push('/');
        cgroup.push_str(part);
        let Some(id) = id_in(part) else { continue };
        if wanted.is_none_or(|wanted| wanted.len() >= ID_SHORTEST && id.starts_with(wanted)) {
            return Some(Container { id: id.to_owned(), cgroup });
        }
    }
    None
}

/// The id in the name of a group: `docker-ID.scope`, `libpod-ID`, `cri-containerd-ID.scope`, `ID`.
/// The monitor that podman puts beside its container is none.
fn id_in(name: &str) -> Option<&str> {
    if name.contains("conmon") {
        return None;
    }
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let id = name.rsplit('-').next()?;
    let hex = id.len() == ID_LONGEST && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    hex.then_some(id)
}

/// The folders of a control group, in each hierarchy that has it.
fn folders(cgroup: &str) -> Vec<PathBuf> {
    let mount = Path::new(MOUNT);
    let relative = cgroup.trim_start_matches('/');
    let Ok(entries) = fs::read_dir(mount) else { return Vec::new() };
    let hierarchies = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
    let roots = std::iter::once(mount.to_path_buf()).chain(hierarchies);
    roots
        .map(|root| root.join(relative))
        .filter(|path| path.join("cgroup.procs").exists())
        .collect()
}

/// Pids of every process in a control group and the groups below it; empty once it is gone.
///
/// # Errors
/// When a group that is there cannot be read: nobody can be ruled out then.
pub fn processes_in(cgroup: &str) -> io::Result<BTreeSet<u32>> {
    let mut pids = BTreeSet::new();
    if cgroup.split('/').all(|part| part.is_empty() || part == "..") {
        return Err(io::Error::other("the root of the hierarchy is no container"));
    }
    for folder in folders(cgroup) {
        collect(&folder, &mut pids)?;
    }
    Ok(pids)
}

fn collect(folder: &Path, pids: &mut BTreeSet<u32>) -> io::Result<()> {
    match fs::read_to_string(folder.join("cgroup.procs")) {
        Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok())),
        // It went away meanwhile.
        Err(error) if is_gone(&error) => return Ok(()),
        Err(error) => return Err(error),
    }
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if is_gone(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), pids)?;
        }
    }
    Ok(())
}

/// A group that was removed while it was read answers in one of these ways.
fn is_gone(error: &io::Error) -> bool {
    const ENODEV: i32 = 19;
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(ENODEV)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4f5e0d0a9b7c4f5e0d0a9b7c4f5e0d0a9b7c4f5e0d0a9b7c4f5e0d0a9b7cabcd";

    fn cgroup_of(text: &str) -> Option<String> {
        let text = text.replace("ID", ID);
        find(&text, None).map(|found| {
            assert_eq!(found.id, ID);
            found.cgroup.replace(ID, "ID")
        })
    }

    #[test]
    fn containers_are_found_as_every_runtime_names_them() {
        for (text, cgroup) in [
            ("0::/system.slice/docker-ID.scope\n", "/system.slice/docker-ID.scope"),
            ("0::/machine.slice/libpod-ID.scope/container\n", "/machine.slice/libpod-ID.scope"),
            ("12:pids:/docker/ID\n0::/\n", "/docker/ID"),
            (
                "11:memory:/other/ID\n4:devices,x:/libpod_parent/libpod-ID\n0::/init\n",
                "/libpod_parent/libpod-ID",
            ),
            (
                "0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-ID.scope\n",
                "/kubepods.slice/kubepods-pod1.slice/cri-containerd-ID.scope",
            ),
        ] {
            assert_eq!(cgroup_of(text).as_deref(), Some(cgroup), "{text}");
        }
    }

    #[test]
    fn what_is_no_container_is_none() {
        for text in [
            "",
            "0::/\n",
            "0::/user.slice/user-1000.slice/session-2.scope\n",
            "0::/libpod_parent/libpod-conmon-ID\n",
            "0::/../docker-ID.scope\n",
            "nonsense",
        ] {
            assert_eq!(cgroup_of(text), None, "{text}");
        }
    }

    #[test]
    fn an_id_may_be_shortened_and_must_match() {
        let text = format!("0::/docker/{ID}\n");
        assert!(find(&text, Some(&ID[..12])).is_some());
        assert!(find(&text, Some(ID)).is_some());
        for bad in ["", "4f5e", "4f5e0d0a9b7d"] {
            assert_eq!(find(&text, Some(bad)), None, "{bad}");
        }
    }

    #[test]
    fn a_group_that_is_not_there_is_empty_and_the_root_is_refused() {
        assert_eq!(processes_in("/migd-no-such-group").unwrap(), BTreeSet::new());
        assert!(processes_in("/").is_err());
        assert!(processes_in("/..").is_err());
    }
}
