//! Network cards and where they sit, for the topology.
//!
//! Must never show an interface that is no PCI device of its own: bridges, tunnels and virtual
//! functions say nothing about the machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::root::HostRoot;

/// A network card: one function of a PCI device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    /// Its RDMA device (`mlx5_0`), if it has one.
    pub rdma: Option<String>,
    /// Its network interfaces, ascending.
    pub interfaces: Vec<String>,
    /// Its place on the bus.
    pub place: PciPlace,
}

impl Nic {
    /// What it is known by: its RDMA device, else its first interface.
    pub fn name(&self) -> &str {
        let interface = self.interfaces.first().map(String::as_str);
        self.rdma.as_deref().or(interface).unwrap_or_default()
    }
}

/// Where a PCI function sits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PciPlace {
    /// Its address with the function (`0000:1a:00.1`).
    pub address: String,
    /// From the host bridge down to the function itself, as the kernel nests them.
    pub path: Vec<String>,
    /// The NUMA node it is near; `None` where the machine has but one or does not tell.
    pub numa_node: Option<u32>,
}

/// Where the PCI function with this address (`0000:07:00.0`) sits; `None` if the kernel does not
/// nest it, as on simulated machines.
pub fn pci_place(root: &HostRoot, address: &str) -> Option<PciPlace> {
    place_of(root, &root.resolve("/sys/bus/pci/devices").join(address))
}

/// Every network card, ascending by PCI address.
pub fn nics(root: &HostRoot) -> Vec<Nic> {
    let mut found: BTreeMap<String, Nic> = BTreeMap::new();
    for (class, rdma) in [("/sys/class/infiniband", true), ("/sys/class/net", false)] {
        for entry in entries(&root.resolve(class)) {
            let device = entry.join("device");
            if device.join("physfn").exists() {
                continue;
            }
            let Some(place) = place_of(root, &device) else { continue };
            let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let new = || Nic { rdma: None, interfaces: Vec::new(), place: place.clone() };
            let nic = found.entry(place.address.clone()).or_insert_with(new);
            if rdma {
                nic.rdma.get_or_insert(name);
            } else {
                nic.interfaces.push(name);
            }
        }
    }
    found.into_values().collect()
}

fn place_of(root: &HostRoot, device: &Path) -> Option<PciPlace> {
    let top = fs::canonicalize(root.resolve("/sys/devices")).ok()?;
    let device = fs::canonicalize(device).ok()?;
    let below = device.strip_prefix(&top).ok()?;
    let names: Vec<String> =
        below.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    // What hangs below the last PCI function is of another bus: `virtio0`, `usb1`.
    let last = names.iter().rposition(|name| is_function(name))?;
    if names.iter().skip(last).any(|name| name.starts_with("usb")) {
        return None;
    }
    let depth = names.len() - last - 1;
    let function = device.ancestors().nth(depth)?.to_path_buf();
    let path = names.into_iter().take(last + 1).collect::<Vec<_>>();
    Some(PciPlace { address: path.last()?.clone(), numa_node: numa_node(&function), path })
}

/// The kernel writes -1 where there is but one node.
fn numa_node(function: &Path) -> Option<u32> {
    fs::read_to_string(function.join("numa_node")).ok()?.trim().parse().ok()
}

/// Whether a name is a PCI function: `0000:1a:00.1`.
fn is_function(name: &str) -> bool {
    let parts: Vec<&str> = name.split([':', '.']).collect();
    let hex = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    parts.len() == 4 && parts.iter().all(hex)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A machine with the functions at `devices`, and of each class these names and functions.
    fn machine(devices: &[(&str, i32)], classes: &[(&str, &str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let sys = folder.path().join("sys");
        for (path, node) in devices {
            let full = sys.join("devices").join(path);
            fs::create_dir_all(&full).unwrap();
            fs::write(full.join("numa_node"), format!("{node}\n")).unwrap();
            let bus = sys.join("bus/pci/devices");
            fs::create_dir_all(&bus).unwrap();
            let address = path.rsplit('/').next().unwrap();
            symlink(format!("../../../devices/{path}"), bus.join(address)).unwrap();
        }
        for (class, name, path) in classes {
            let home = sys.join("class").join(class).join(name);
            fs::create_dir_all(&home).unwrap();
            symlink(format!("../../../devices/{path}"), home.join("device")).unwrap();
        }
        folder
    }

    #[test]
    fn cards_are_found_once_with_both_of_their_names() {
        let card = "pci0000:16/0000:16:02.0/0000:1a:00.0";
        let second = "pci0000:16/0000:16:02.0/0000:1a:00.1";
        let virt = "pci0000:00/0000:00:03.0";
        let folder = machine(
            &[(card, 1), (second, 1), (virt, -1)],
            &[
                ("net", "ens1f0", card),
                ("net", "eth0", virt),
                ("infiniband", "mlx5_0", card),
                ("infiniband", "mlx5_1", second),
            ],
        );
        fs::create_dir_all(folder.path().join("sys/class/net/lo")).unwrap();
        let found = nics(&HostRoot::at(folder.path()));
        let told: Vec<_> = found
            .iter()
            .map(|nic| (nic.place.address.as_str(), nic.name(), nic.place.numa_node))
            .collect();
        assert_eq!(
            told,
            [
                ("0000:00:03.0", "eth0", None),
                ("0000:1a:00.0", "mlx5_0", Some(1)),
                ("0000:1a:00.1", "mlx5_1", Some(1)),
            ]
        );
        assert_eq!(found[1].interfaces, ["ens1f0"]);
        assert_eq!(found[1].place.path, ["pci0000:16", "0000:16:02.0", "0000:1a:00.0"]);
    }

    #[test]
    fn what_is_no_card_of_its_own_is_left_out() {
        let card = "pci0000:16/0000:16:02.0/0000:1a:00.0";
        let guest = "pci0000:16/0000:16:02.0/0000:1a:00.2";
        let usb = "pci0000:00/0000:00:14.0/usb1/1-2/1-2:1.0";
        let folder = machine(
            &[(card, 0), (guest, 0), (usb, 0)],
            &[("net", "ens1f0v0", guest), ("net", "enx00", usb)],
        );
        let physical = folder.path().join("sys/devices").join(guest).join("physfn");
        symlink("../0000:1a:00.0", physical).unwrap();
        assert_eq!(nics(&HostRoot::at(folder.path())), []);
    }

    #[test]
    fn a_function_knows_its_place_and_a_missing_one_has_none() {
        let gpu = "pci0000:16/0000:16:02.0/0000:17:00.0";
        let folder = machine(&[(gpu, 3)], &[]);
        let root = HostRoot::at(folder.path());
        let place = pci_place(&root, "0000:17:00.0").unwrap();
        assert_eq!((place.path.len(), place.numa_node), (3, Some(3)));
        assert_eq!(pci_place(&root, "0000:99:00.0"), None);
        assert_eq!(nics(&root), []);
    }
}
