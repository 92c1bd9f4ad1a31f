//! Slices in containers: the files by which podman finds them, in step with every change, whoever
//! made it.
//!
//! A specification counts only if a container starts with it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where a step fails")]

mod podman;
mod server;
mod simulated;

use std::path::{Path, PathBuf};

use podman::{Container, has_podman};
use serde_json::Value;
use server::{Server, wait_for};
use simulated::{Lab, told};

/// A server that writes its specifications into a folder of the test.
struct Bench {
    server: Server,
    folder: tempfile::TempDir,
    options: Vec<String>,
}

impl Bench {
    fn new(kind: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("migd.toml");
        let spec = folder.path().join("cdi/migd.json");
        std::fs::create_dir(spec.parent().unwrap()).unwrap();
        std::fs::write(&config, format!("[cdi]\npath = \"{}\"\n", spec.display())).unwrap();
        let server = Server { lab: Lab::shared(kind) };
        let config = config.to_str().unwrap();
        let options = ["--enforce", "on", "--config", config].map(str::to_owned).to_vec();
        let bench = Self { server, folder, options };
        bench.start();
        wait_for("the GPUs to be ready", || {
            let ready = |gpu: &Value| gpu["mig"] == "enabled" && gpu["maintenance"] == false;
            bench.server.status()["gpus"].as_array()?.iter().all(ready).then_some(())
        });
        bench
    }

    fn start(&self) {
        let options: Vec<&str> = self.options.iter().map(String::as_str).collect();
        self.server.start_daemon(&options);
    }

    fn cdi(&self) -> PathBuf {
        self.folder.path().join("cdi")
    }

    fn container(&self) -> Container {
        Container::new(self.folder.path(), &self.cdi())
    }

    /// Waits until a specification names exactly these devices.
    fn until_named(&self, file: &str, names: &[&str]) {
        wait_for("the specification", || (devices(&self.cdi().join(file)) == names).then_some(()));
    }
}

/// Names of the devices in a specification; none where there is no file. Half a file is a failure.
fn devices(path: &Path) -> Vec<String> {
    let Ok(text) = std::fs::read_to_string(path) else { return Vec::new() };
    let spec: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let names = spec["devices"].as_array().unwrap().iter();
    names.map(|device| device["name"].as_str().unwrap().to_owned()).collect()
}

/// What a container with this device sees: its slices and its capability nodes.
fn look(container: &Container, device: &str) -> Vec<String> {
    let script = "echo $CUDA_VISIBLE_DEVICES; ls /dev/nvidia-caps; ls -d /dev/nvidia0";
    let seen = container.run(device, script);
    assert!(seen.status.success(), "{}", told(&seen));
    String::from_utf8_lossy(&seen.stdout).lines().map(str::to_owned).collect()
}

/// The capability nodes of a slice by the kernel's formula, and what stands before and after them.
fn expected(uuid: &str, gpu_instance: u64, compute_instance: u64) -> Vec<String> {
    let instance = 3 + 9 * gpu_instance;
    let compute = instance + 1 + compute_instance;
    let caps = [instance, compute].map(|minor| format!("nvidia-cap{minor}"));
    vec![uuid.to_owned(), caps[0].clone(), caps[1].clone(), "/dev/nvidia0".to_owned()]
}

/// A container gets the slice of a lease by its name, before and after the daemon is killed.
#[test]
fn a_container_finds_the_slice_of_a_lease_by_its_name() {
    if !has_podman("a_container_finds_the_slice_of_a_lease_by_its_name") {
        return;
    }
    let bench = Bench::new("a30:1");
    bench.server.lab.ok(&["lease", "--profile", "1g.6gb", "--name", "llm-a"]);
    let lease = bench.server.until("llm-a", "active");
    let slice = &lease["slices"][0];
    let number = |name: &str| slice[name].as_u64().unwrap();
    let uuid = slice["uuid"].as_str().unwrap();
    let seen = expected(uuid, number("gpu_instance"), number("compute_instance"));
    let known = || devices(&bench.cdi().join("migd.json")).contains(&"llm-a".to_owned());
    wait_for("the specification", || known().then_some(()));
    let container = bench.container();
    assert_eq!(look(&container, "migd.dev/lease=llm-a"), seen);
    assert_eq!(look(&container, "migd.dev/gpu=0:0"), seen);
    bench.server.kill_daemon();
    assert_eq!(look(&container, "migd.dev/lease=llm-a"), seen);
    bench.start();
    assert_eq!(look(&container, "migd.dev/lease=llm-a"), seen);
    assert!(!container.run("migd.dev/lease=other", "true").status.success());
    bench.server.lab.ok(&["release", "llm-a"]);
    bench.server.until_empty();
    bench.until_named("migd.json", &[]);
    assert!(!container.run("migd.dev/lease=llm-a", "true").status.success());
}

/// Slices made by hand are there for containers under the names of NVIDIA's tools, and go when the
/// slice goes, also while nobody was looking; a slice of ours that nobody leases has no name.
#[test]
fn slices_made_by_hand_come_and_go() {
    if !has_podman("slices_made_by_hand_come_and_go") {
        return;
    }
    let bench = Bench::new("a30:1");
    let lab = &bench.server.lab;
    let first = lab.slice(0, "2g.12gb");
    let mut names = vec!["0:0", first.as_str()];
    names.sort_unstable();
    bench.until_named("migd-gpu.json", &names);
    let container = bench.container();
    let seen = look(&container, &format!("migd.dev/gpu={first}"));
    assert_eq!(seen[0], first);
    assert_eq!(look(&container, "migd.dev/gpu=0:0"), seen);
    // One that was leased stays warm, and is nobody's until it is leased again.
    lab.ok(&["lease", "--profile", "1g.6gb", "--name", "brief"]);
    bench.server.until("brief", "active");
    wait_for("its name", || (devices(&bench.cdi().join("migd-gpu.json")).len() == 4).then_some(()));
    lab.ok(&["release", "brief"]);
    bench.server.until_empty();
    bench.until_named("migd-gpu.json", &names);
    // While the daemon is away the slice is destroyed.
    bench.server.kill_daemon();
    lab.destroy(&first);
    assert_eq!(devices(&bench.cdi().join("migd-gpu.json")), names, "nobody looked");
    bench.start();
    bench.until_named("migd-gpu.json", &[]);
    assert!(!container.run("migd.dev/gpu=0:0", "true").status.success());
    assert_eq!(std::fs::read_dir(bench.cdi()).unwrap().count(), 0, "nothing is left lying about");
}
