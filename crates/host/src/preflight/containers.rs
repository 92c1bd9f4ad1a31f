//! The images of containers that exist on a machine, from what their engines keep in files.
//!
//! Must never ask an engine: it may hang, and a search for rivals must not start anything.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::children;
use crate::root::HostRoot;

/// Images of the containers of docker, containerd (Kubernetes) and CRI-O or podman that exist; only
/// root can read them all.
pub fn images(root: &HostRoot) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for container in children(&root.resolve("/var/lib/docker/containers")) {
        let config = json(&container.join("config.v2.json"));
        let is_running = at(&config, &["State", "Running"]).and_then(Value::as_bool);
        if is_running == Some(true) {
            found.extend(text(&config, &["Config", "Image"]));
        }
    }
    for folder in children(&root.resolve("/run/containerd/io.containerd.runtime.v2.task")) {
        for task in children(&folder) {
            found.extend(annotation(&task.join("config.json"), "io.kubernetes.cri.image-name"));
        }
    }
    for folder in ["/run/containers/storage/overlay-containers"] {
        for container in children(&root.resolve(folder)) {
            let config = container.join("userdata/config.json");
            found.extend(annotation(&config, "io.kubernetes.cri-o.ImageName"));
        }
    }
    found
}

fn annotation(path: &Path, name: &str) -> Option<String> {
    text(&json(path), &["annotations", name])
}

fn json(path: &Path) -> Value {
    let read = fs::read(path).ok();
    read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or(Value::Null)
}

fn at<'v>(value: &'v Value, path: &[&str]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, key| value.get(key))
}

fn text(value: &Value, path: &[&str]) -> Option<String> {
    at(value, path)?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::super::tests::machine;
    use super::*;

    #[test]
    fn images_of_every_engine_are_found() {
        let task = "run/containerd/io.containerd.runtime.v2.task/k8s.io/abc/config.json";
        let crio = "run/containers/storage/overlay-containers/def/userdata/config.json";
        let docker = |id: &str| format!("var/lib/docker/containers/{id}/config.v2.json");
        let (_folder, root) = machine(&[
            (task, r#"{"annotations":{"io.kubernetes.cri.image-name":"nvcr.io/p:v1"}}"#),
            (crio, r#"{"annotations":{"io.kubernetes.cri-o.ImageName":"quay.io/q:v2"}}"#),
            (&docker("1"), r#"{"State":{"Running":true},"Config":{"Image":"r:3"}}"#),
            (&docker("2"), r#"{"State":{"Running":false},"Config":{"Image":"s:4"}}"#),
            (&docker("3"), "broken"),
        ]);
        let expected = ["nvcr.io/p:v1", "quay.io/q:v2", "r:3"].map(str::to_owned);
        assert_eq!(images(&root), BTreeSet::from(expected));
    }
}
