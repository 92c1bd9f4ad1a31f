//! Driver calls that do not come back, in the middle of a change or of a grant: who is told what, and who
//! goes on.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod server;
mod simulated;

use serde_json::Value;
use server::{Server, runs, wait_for};
use simulated::told;

const CREATE_GI: &str = "nvmlDeviceCreateGpuInstanceWithPlacement";
const CREATE_CI: &str = "nvmlGpuInstanceCreateComputeInstanceWithPlacement";
const DESTROY_GI: &str = "nvmlGpuInstanceDestroy";
const DESTROY_CI: &str = "nvmlComputeInstanceDestroy";

/// A server whose daemon gives a step up soon; the folder is its configuration's.
struct Impatient {
    server: Server,
    config: tempfile::TempDir,
}

impl Impatient {
    fn new(kind: &'static str) -> Self {
        let config = tempfile::tempdir().unwrap();
        let path = config.path().join("migd.toml");
        std::fs::write(&path, "[daemon]\nstep_limit = \"300ms\"\n").unwrap();
        let server = Server::with_daemon(kind, &["--config", path.to_str().unwrap()]);
        Self { server, config }
    }

    /// `kill -9`, and another daemon with the same configuration.
    fn restart(&self) {
        self.server.kill_daemon();
        self.server.lab.ok(&["sim", "fault", "clear"]);
        let path = self.config.path().join("migd.toml");
        self.server.start_daemon(&["--config", path.to_str().unwrap()]);
    }

    fn file(&self, name: &str, devices: [&str; 2]) -> String {
        let path = self.config.path().join(name);
        let [first, second] = devices;
        let entry = |gpu: u32, devices: &str| {
            format!(
                "    - devices: [{gpu}]\n      mig-enabled: true\n      mig-devices: {devices}\n"
            )
        };
        let (first, second) = (entry(0, first), entry(1, second));
        let text = format!("version: v1\nmig-configs:\n  wanted:\n{first}{second}");
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Profiles and places on each GPU by the driver's word.
    fn in_driver(&self) -> Vec<Vec<String>> {
        let node = self.server.lab.machine().node().unwrap();
        let gpus = node.value.gpus.iter().map(|gpu| {
            let instances = gpu.instances.iter();
            let mut names: Vec<String> = instances
                .map(|i| format!("{}@{}/{}", i.profile, i.placement, i.compute.len()))
                .collect();
            names.sort();
            names
        });
        gpus.collect()
    }

    fn newest(&self) -> Value {
        self.server.lab.json(&["change"]).as_array().unwrap().last().unwrap().clone()
    }

    fn until_over(&self) -> Value {
        wait_for("every change to be over", || {
            let changes = self.server.lab.json(&["change"]);
            let changes = changes.as_array()?.clone();
            let over = |change: &Value| change["state"] == "failed" || change["state"] == "done";
            let failed = changes.iter().rfind(|change| change["state"] == "failed").cloned();
            failed.filter(|_| changes.iter().all(over))
        })
    }

    /// A change that hangs on GPU 0 is told of and left, and all the rest goes on.
    fn told_and_left(&self, file: &str, fault: &[&str], before: &[Vec<String>]) {
        let server = &self.server;
        let inject: Vec<&str> = ["sim", "fault", "inject"].iter().chain(fault).copied().collect();
        server.lab.ok(&inject);
        let left = server.lab.run(&["apply", "-f", file, "--yes"]);
        let words = told(&left);
        assert_eq!(left.status.code(), Some(2), "{fault:?}: {words}");
        assert!(words.contains("E-STUCK"), "{fault:?}: {words}");
        assert!(words.contains("GPU 0: \""), "which call of which GPU: {words}");
        assert!(words.contains("GPU 0 is out of use until that call returns"), "{words}");
        assert!(words.contains("GPU 1 is as before"), "{words}");
        let change = self.newest();
        assert_eq!(change["state"], "rolling_back", "{change}");
        assert_eq!(change["gpus"][0]["late"], true, "{change}");
        assert_eq!(self.in_driver()[1], before[1], "{fault:?}: GPU 1 is as before");
        assert_eq!(server.lease("other").unwrap()["state"], "active", "{fault:?}");
        // GPU 1 lends again, GPU 0 does not.
        let run = ["run", "--immediate", "--profile", "1g.6gb", "--gpu"];
        server.lab.ok(&[&run[..], &["1", "--", "true"]].concat());
        server.lab.fails(124, &[&run[..], &["0", "--", "true"]].concat());
        server.lab.fails(5, &["create", "--gpu", "0", "1g.6gb", "--yes"]);
        let doctor = server.lab.run(&["--json", "doctor"]);
        let doctor: Value = serde_json::from_slice(&doctor.stdout).unwrap();
        let found = doctor["findings"].as_array().unwrap().iter().find(|f| f["id"] == "change");
        let found = found.unwrap_or_else(|| panic!("{doctor}"));
        assert_eq!((&found["severity"], &found["gpu"]), (&"error".into(), &0.into()), "{found}");
    }
}

/// For ever, at every call of a change and both ways: the next daemon takes it back.
#[test]
fn a_call_that_never_returns_is_told_of_and_taken_back_by_the_next_daemon() {
    let lab = Impatient::new("a30:2");
    lab.server.lab.ok(&["lease", "--name", "other", "--profile", "2g.12gb", "--gpu", "1"]);
    let other = "{\"2g.12gb\": 1, \"1g.6gb\": 1}";
    let many = lab.file("many.yaml", ["{\"1g.6gb\": 2, \"2g.12gb\": 1}", "{\"2g.12gb\": 1}"]);
    let one = lab.file("one.yaml", ["{\"4g.24gb\": 1}", "{\"2g.12gb\": 1}"]);
    let ways = [
        (&many, lab.file("to-one.yaml", ["{\"4g.24gb\": 1}", other]), [3, 3, 1, 1]),
        (&one, lab.file("to-many.yaml", ["{\"1g.6gb\": 2, \"2g.12gb\": 1}", other]), [1, 1, 3, 3]),
    ];
    for (from, to, times) in ways {
        lab.server.lab.ok(&["apply", "-f", from, "--yes"]);
        lab.server.lab.ok(&["gpu", "auto", "0-1"]);
        for (call, times) in [DESTROY_CI, DESTROY_GI, CREATE_GI, CREATE_CI].iter().zip(times) {
            for skip in 0..times {
                let before = lab.in_driver();
                let skip = skip.to_string();
                lab.told_and_left(
                    &to,
                    &[call, "--gpu", "0", "--skip", &skip, "--hang", "1h"],
                    &before,
                );
                lab.restart();
                let change = lab.until_over();
                assert_eq!(change["gpus"][0]["state"], "undone", "{call} {skip}: {change}");
                let now = lab.in_driver();
                assert_eq!(now[0], before[0], "{call} {skip}: {change}");
                assert_eq!(lab.server.lease("other").unwrap()["state"], "active", "{call} {skip}");
            }
        }
    }
}

/// It returns in the end: the daemon that waited takes it back, and does no further step before.
#[test]
fn a_call_that_returns_late_is_taken_back_by_the_daemon_that_waited() {
    let lab = Impatient::new("a30:2");
    lab.server.lab.ok(&["lease", "--name", "other", "--profile", "2g.12gb", "--gpu", "1"]);
    let daemon = lab.server.daemon().unwrap();
    let before = lab.in_driver();
    let file = lab.file("two.yaml", ["{\"2g.12gb\": 2}", "{\"2g.12gb\": 1, \"1g.6gb\": 1}"]);
    lab.told_and_left(&file, &[CREATE_GI, "--gpu", "0", "--hang", "20s"], &before);
    let change = lab.until_over();
    assert_eq!(change["gpus"][0]["state"], "undone", "{change}");
    assert_eq!(lab.in_driver()[0], before[0], "{change}");
    assert!(runs(daemon), "the same daemon");
    let events = lab.server.lab.ok(&["events", "-n", "300"]);
    assert_eq!(events.matches("created GPU instance").count(), 4, "{events}");
    lab.server.lab.ok(&["create", "--gpu", "0", "2g.12gb", "--yes"]);
    assert_eq!(lab.server.lease("other").unwrap()["state"], "active");
}

/// A reset on one GPU while a call on another does not return is given up in time, and holds up nobody.
#[test]
fn looks_and_modes_that_hang_are_told_of_as_well() {
    let lab = Impatient::new("h100-sxm5-80gb:2");
    let server = &lab.server;
    server.lab.ok(&[
        "sim",
        "fault",
        "inject",
        "nvmlDeviceSetMigMode",
        "--gpu",
        "0",
        "--hang",
        "1h",
    ]);
    let left = server.lab.run(&["mode", "disable", "--gpu", "0", "--yes"]);
    let words = told(&left);
    assert_eq!(left.status.code(), Some(2), "{words}");
    assert!(words.contains("GPU 0: \"disable MIG\" does not come back"), "{words}");
    server.lab.ok(&["mode", "disable", "--gpu", "1", "--yes"]);
    server.lab.ok(&["mode", "enable", "--gpu", "1", "--yes"]);
    lab.restart();
    lab.until_over();
    assert_eq!(server.status()["gpus"][0]["mig"], "enabled");
}

/// A slice that cannot be made because a call hangs is made on another GPU; the one that hangs is shown, left
/// alone, and used again once the call has returned.
#[test]
fn a_request_does_not_wait_for_a_call_that_hangs() {
    let lab = Impatient::new("a30:2");
    let server = &lab.server;
    server.lab.ok(&["sim", "fault", "inject", CREATE_GI, "--gpu", "0", "--hang", "15s"]);
    server.lab.ok(&["lease", "--name", "whole", "--profile", "4g.24gb"]);
    let lease = server.lease("whole").unwrap();
    assert_eq!(lease["slices"][0]["gpu_index"], 1, "{lease}");
    let words = "GPU 0: \"create 4g.24gb at 0:4\" does not come back from the driver within 300ms";
    let gpu = server.status()["gpus"][0].clone();
    assert_eq!(gpu["quarantine"], words, "{gpu}");
    let events = server.lab.ok(&["events", "-n", "100"]);
    assert!(events.contains(&format!("L1 waits again: {words}")), "{events}");
    // Nobody else is sent there; whoever would wait is told what for.
    let refused = server
        .lab
        .fails(124, &["run", "--immediate", "--profile", "1g.6gb", "--gpu", "0", "--", "true"]);
    assert!(
        refused.contains("GPU 0 to answer (a driver call there does not come back)"),
        "{refused}"
    );
    let later = server.lab.run(&["run", "--profile", "1g.6gb", "--gpu", "0", "--", "true"]);
    assert!(later.status.success(), "when the call has returned: {}", told(&later));
    wait_for("what the late call made to be gone", || {
        lab.in_driver()[0].iter().all(|name| !name.starts_with("4g")).then_some(())
    });
    assert_eq!(server.lease("whole").unwrap()["state"], "active");
}
