//! Specifications of the Container Device Interface (CDI): slices under names by which container
//! engines find them.
//!
//! Must never leave a half-written file: engines read the folder at any time.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::nodes::{NodeError, node};
use crate::root::HostRoot;

/// Devices of the vendor by their place: `migd.dev/gpu=0:1`.
pub const KIND_GPU: &str = "migd.dev/gpu";
/// Devices of the vendor by lease: `migd.dev/lease=llm-a`.
pub const KIND_LEASE: &str = "migd.dev/lease";

const VERSION: &str = "0.5.0";

/// A device as a container gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its name, without the kind.
    pub name: String,
    /// Paths of its nodes on the machine (`/dev/nvidia0`), wherever its root is.
    pub nodes: Vec<PathBuf>,
    /// UUIDs of its slices.
    pub uuids: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Spec<'a> {
    cdi_version: &'static str,
    kind: &'a str,
    devices: Vec<SpecDevice<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SpecDevice<'a> {
    name: &'a str,
    container_edits: Edits,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Edits {
    env: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    device_nodes: Vec<DeviceNode>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mounts: Vec<Mount>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DeviceNode {
    path: PathBuf,
    #[serde(rename = "type")]
    kind: &'static str,
    major: u32,
    minor: u32,
    permissions: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Mount {
    host_path: PathBuf,
    container_path: PathBuf,
    options: [&'static str; 2],
}

/// Why a specification could not be written.
#[derive(Debug, thiserror::Error)]
pub enum CdiError {
    /// A node cannot be looked at.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The file cannot be written.
    #[error("cannot write {}", path.display())]
    Unwritten {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// The text of a specification. A node that is a device becomes a device of the container; one of a
/// simulated machine that is a regular file is mounted; one that is missing is left out.
///
/// # Errors
/// [`CdiError::Node`].
pub fn text(root: &HostRoot, kind: &str, devices: &[Device]) -> Result<String, CdiError> {
    let mut spec = Spec { cdi_version: VERSION, kind, devices: Vec::new() };
    for device in devices {
        let mut edits = Edits {
            env: vec![
                // Tells NVIDIA's own hooks to add nothing.
                "NVIDIA_VISIBLE_DEVICES=void".to_owned(),
                format!("CUDA_VISIBLE_DEVICES={}", device.uuids.join(",")),
            ],
            ..Edits::default()
        };
        for path in &device.nodes {
            let host_path = root.resolve(path);
            match node(&host_path)? {
                None => {}
                Some(found) => match found.device {
                    Some((major, minor)) => edits.device_nodes.push(DeviceNode {
                        path: path.clone(),
                        kind: "c",
                        major,
                        minor,
                        permissions: "rw",
                    }),
                    None => edits.mounts.push(Mount {
                        host_path,
                        container_path: path.clone(),
                        options: ["bind", "rw"],
                    }),
                },
            }
        }
        spec.devices.push(SpecDevice { name: &device.name, container_edits: edits });
    }
    Ok(serde_json::to_string_pretty(&spec).unwrap_or_default() + "\n")
}

/// Writes the specification of a kind to `path`, whole or not at all; without devices there is no file, since
/// a specification must have one.
///
/// # Errors
/// [`CdiError`]; the file before stands then.
pub fn write(root: &HostRoot, path: &Path, kind: &str, devices: &[Device]) -> Result<(), CdiError> {
    let unwritten = |source| CdiError::Unwritten { path: path.to_path_buf(), source };
    if devices.is_empty() {
        return match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unwritten(error)),
            Ok(()) | Err(_) => Ok(()),
        };
    }
    let text = text(root, kind, devices)?;
    if fs::read_to_string(path).is_ok_and(|present| present == text) {
        return Ok(());
    }
    let folder = path.parent().unwrap_or_else(|| Path::new("/"));
    // No engine reads a name that ends like this.
    let fresh = path.with_extension("json.new");
    let replace = || -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let mut file = File::create(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        File::open(folder)?.sync_all()
    };
    replace().map_err(unwritten)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str) -> Device {
        Device {
            name: name.to_owned(),
            nodes: ["/dev/null", "/dev/nvidia0", "/dev/gone"].map(PathBuf::from).to_vec(),
            uuids: vec!["MIG-a".to_owned(), "MIG-b".to_owned()],
        }
    }

    #[test]
    fn devices_become_devices_and_files_are_mounted() {
        let real = text(&HostRoot::real(), KIND_LEASE, &[device("llm-a")]).unwrap();
        let real: serde_json::Value = serde_json::from_str(&real).unwrap();
        assert_eq!((&real["cdiVersion"], &real["kind"]), (&"0.5.0".into(), &KIND_LEASE.into()));
        let edits = &real["devices"][0]["containerEdits"];
        assert_eq!(edits["env"][1], "CUDA_VISIBLE_DEVICES=MIG-a,MIG-b");
        assert_eq!(edits["deviceNodes"][0]["path"], "/dev/null");
        assert_eq!(edits["deviceNodes"][0]["minor"], 3);
        assert_eq!(edits["deviceNodes"].as_array().unwrap().len(), 1);
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("dev")).unwrap();
        fs::write(folder.path().join("dev/nvidia0"), "").unwrap();
        let root = HostRoot::at(folder.path());
        let simulated = text(&root, KIND_GPU, &[device("0:1")]).unwrap();
        let simulated: serde_json::Value = serde_json::from_str(&simulated).unwrap();
        let mounts = &simulated["devices"][0]["containerEdits"]["mounts"];
        assert_eq!(mounts[0]["containerPath"], "/dev/nvidia0");
        assert_eq!(mounts[0]["hostPath"], folder.path().join("dev/nvidia0").to_str().unwrap());
        assert_eq!(mounts.as_array().unwrap().len(), 1);
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_goes_with_its_last_device() {
        let folder = tempfile::tempdir().unwrap();
        let cdi = folder.path().join("cdi");
        let root = HostRoot::real();
        let path = cdi.join("migd.json");
        write(&root, &path, KIND_LEASE, &[device("a")]).unwrap();
        write(&root, &path, KIND_LEASE, &[device("b"), device("c")]).unwrap();
        let names: Vec<_> = fs::read_dir(&cdi).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["migd.json"]);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("\"b\"") && !text.contains("\"a\""), "{text}");
        write(&root, &path, KIND_LEASE, &[]).unwrap();
        write(&root, &path, KIND_LEASE, &[]).unwrap();
        assert_eq!(fs::read_dir(&cdi).unwrap().count(), 0);
    }
}
