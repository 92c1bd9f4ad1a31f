//! Changes of layout and mode through the real program: all of it or back to before, whatever the
//! driver does, and nobody loses a lease.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod server;
mod simulated;

use serde_json::Value;
use server::{Server, runs, wait_for};
use simulated::{migctl, told};

const CREATE_GI: &str = "nvmlDeviceCreateGpuInstanceWithPlacement";
const CREATE_CI: &str = "nvmlGpuInstanceCreateComputeInstanceWithPlacement";
const DESTROY_GI: &str = "nvmlGpuInstanceDestroy";
const DESTROY_CI: &str = "nvmlComputeInstanceDestroy";

fn inject(server: &Server, fault: &[&str]) {
    let args: Vec<&str> = ["sim", "fault", "inject"].iter().chain(fault).copied().collect();
    server.lab.ok(&args);
}

/// What lies on each GPU by the driver's word: profile and place of each GPU instance, with the
/// profiles of its compute instances.
fn in_driver(server: &Server) -> Vec<Vec<String>> {
    let node = server.lab.machine().node().unwrap();
    let gpus = node.value.gpus.iter().map(|gpu| {
        let mut names: Vec<String> = gpu
            .instances
            .iter()
            .map(|instance| {
                let inside: Vec<String> = instance
                    .compute
                    .iter()
                    .map(|compute| format!("{}@{}", compute.profile, compute.placement))
                    .collect();
                format!("{}@{} [{}]", instance.profile, instance.placement, inside.join(" "))
            })
            .collect();
        names.sort();
        names
    });
    gpus.collect()
}

/// The newest change.
fn newest(server: &Server) -> Value {
    let changes = server.lab.json(&["change"]);
    changes.as_array().unwrap().last().unwrap().clone()
}

fn until_over(server: &Server) -> Value {
    wait_for("the change to be over", || {
        let change = newest(server);
        let state = change["state"].as_str()?.to_owned();
        ["done", "failed", "cancelled"].contains(&state.as_str()).then_some(change)
    })
}

fn write(server: &Server, name: &str, devices: &str) -> String {
    let path = server.lab.state_dir().join(name);
    let text = format!(
        "version: v1\nmig-configs:\n  wanted:\n    - devices: [0]\n      mig-enabled: true\n      \
         mig-devices: {devices}\n"
    );
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn siblings_of_a_slice_in_use_come_and_go() {
    let server = Server::new("a100-sxm4-40gb:1");
    let mut keep = server.start(&["--name", "keep", "--profile", "3g.20gb", "--", "sleep", "600"]);
    let before = server.until("keep", "active");
    let pid = server.command_of("keep");
    server.lab.ok(&["create", "--gpu", "0", "2g.10gb", "1g.5gb", "--yes"]);
    assert_eq!(in_driver(&server)[0].len(), 3);
    let status = server.status();
    let instances = status["gpus"][0]["instances"].as_array().unwrap().clone();
    let foreign: Vec<String> = instances
        .iter()
        .filter(|instance| instance["used"] == "foreign")
        .map(|instance| format!("0:{}", instance["id"]))
        .collect();
    assert_eq!(foreign.len(), 2, "{instances:?}");
    let mut args = vec!["destroy", "--yes"];
    args.extend(foreign.iter().map(String::as_str));
    server.lab.ok(&args);
    assert_eq!(in_driver(&server)[0].len(), 1);
    let after = server.lease("keep").unwrap();
    assert_eq!(after["slices"], before["slices"], "the same slice, the same UUID");
    assert!(runs(pid) && server.command_of("keep") == pid);
    keep.kill().unwrap();
    keep.wait().unwrap();
}

/// Every kind of fault at every step of a change, both ways: the GPU is as before and the report says
/// so, and the lease on the other GPU never notices.
#[test]
fn a_fault_at_any_step_leads_back_to_before() {
    let server = Server::new("a30:2");
    server.lab.ok(&["lease", "--name", "other", "--profile", "2g.12gb", "--gpu", "1"]);
    let many = write(&server, "many.yaml", "{\"1g.6gb\": 2, \"2g.12gb\": 1}");
    let one = write(&server, "one.yaml", "{\"4g.24gb\": 1}");
    let ways = [
        (&many, &one, [(DESTROY_CI, 3), (DESTROY_GI, 3), (CREATE_GI, 1), (CREATE_CI, 1)]),
        (&one, &many, [(DESTROY_CI, 1), (DESTROY_GI, 1), (CREATE_GI, 3), (CREATE_CI, 3)]),
    ];
    for (from, to, calls) in ways {
        server.lab.ok(&["apply", "-f", from, "--yes"]);
        for (call, times) in calls {
            for skip in 0..times {
                faults_are_taken_back(&server, (from, to), call, skip);
            }
        }
    }
}

/// Each kind of fault at one call of the change from one layout to another.
fn faults_are_taken_back(server: &Server, (from, to): (&str, &str), call: &str, skip: u32) {
    let before = in_driver(server);
    let effects: [&[&str]; 3] =
        [&["--return", "INSUFFICIENT_RESOURCES"], &["--return-after", "UNKNOWN"], &["--lie"]];
    for effect in effects {
        let skip = skip.to_string();
        let fault: Vec<&str> = [call, "--skip", &skip].iter().chain(effect).copied().collect();
        inject(server, &fault);
        let failed = server.lab.run(&["apply", "-f", to, "--yes"]);
        server.lab.ok(&["sim", "fault", "clear"]);
        let change = until_over(server);
        let what = format!("{fault:?}: {change}");
        if change["state"] == "done" {
            // The driver did as told after all, whatever it said.
            assert!(failed.status.success(), "{what}");
            server.lab.ok(&["apply", "-f", from, "--yes"]);
        } else {
            assert_eq!(failed.status.code(), Some(2), "{what}");
            assert_eq!(in_driver(server), before, "{what}");
            assert_eq!(change["gpus"][0]["state"], "undone", "{what}");
            let report = change["report"][0].as_str().unwrap();
            assert!(report.contains("GPU 0 is as before"), "{what}");
        }
        assert_eq!(server.lease("other").unwrap()["state"], "active", "{what}");
    }
}

/// The daemon dies at every step, before and after the driver did it: the next one takes it back.
#[test]
fn a_daemon_that_dies_at_any_step_leaves_nothing_half_done() {
    let server = Server::new("a30:2");
    server.lab.ok(&["lease", "--name", "other", "--profile", "2g.12gb", "--gpu", "1"]);
    let one = write(&server, "one.yaml", "{\"2g.12gb\": 2}");
    let two = write(&server, "two.yaml", "{\"4g.24gb\": 1}");
    server.lab.ok(&["apply", "-f", &one, "--yes"]);
    let before = in_driver(&server);
    for call in [DESTROY_CI, DESTROY_GI, CREATE_GI, CREATE_CI] {
        for when in ["before", "after"] {
            inject(&server, &[call, "--crash", when]);
            let broken = server.lab.run(&["apply", "-f", &two, "--yes"]);
            assert!(!broken.status.success(), "{call} {when}");
            server.revive_daemon();
            let change = until_over(&server);
            assert_eq!(change["state"], "failed", "{call} {when}: {change}");
            assert_eq!(in_driver(&server), before, "{call} {when}: {change}");
            assert_eq!(server.lease("other").unwrap()["state"], "active", "{call} {when}");
        }
    }
    server.lab.ok(&["apply", "-f", &two, "--yes"]);
    assert_eq!(in_driver(&server)[0].len(), 1);
}

/// Ampere changes its mode with a reset, Hopper without; whoever holds the GPU is in the way of it
/// and nothing is half done.
#[test]
fn modes_change_and_a_holder_is_in_the_way() {
    for kind in ["a100-sxm4-40gb:1", "h100-sxm5-80gb:1"] {
        let server = Server::new(kind);
        server.lab.ok(&["create", "--gpu", "0", "--yes", "7g"]);
        let before = in_driver(&server);
        server.lab.ok(&["sim", "holder", "add", "monitor", "--gpu", "0"]);
        let refused = server.lab.run(&["mode", "disable", "--gpu", "0", "--yes"]);
        assert!(!refused.status.success(), "{kind}");
        let words = told(&refused);
        assert!(words.contains("GPU 0 is held by monitor; migd ends nobody"), "{kind}: {words}");
        assert_eq!(in_driver(&server), before, "{kind}: nothing was taken away for nothing");
        assert_eq!(server.status()["gpus"][0]["mig"], "enabled", "{kind}: as before");
        server.lab.ok(&["sim", "holder", "remove", "monitor"]);
        server.lab.ok(&["mode", "disable", "--gpu", "0", "--yes"]);
        assert_eq!(server.status()["gpus"][0]["mig"], "disabled", "{kind}");
        server.lab.ok(&["mode", "enable", "--gpu", "0", "--yes"]);
        assert_eq!(server.status()["gpus"][0]["mig"], "enabled", "{kind}");
    }
}

/// It waits for what is in the way, and nobody new gets the GPU meanwhile.
#[test]
fn it_waits_for_leases_and_does_the_rest_then() {
    let server = Server::new("a30:1");
    server.lab.ok(&["lease", "--name", "long", "--profile", "2g.12gb"]);
    let two = write(&server, "two.yaml", "{\"4g.24gb\": 1}");
    server.lab.fails(5, &["apply", "-f", &two, "--yes"]);
    let mut waiting = server.lab.command(&["apply", "-f", &two, "--wait-idle", "--yes"]);
    let mut waiting = waiting.spawn().unwrap();
    wait_for("the change to wait", || {
        let changes = server.lab.json(&["change"]);
        changes.as_array()?.iter().any(|change| change["state"] == "waiting").then_some(())
    });
    let refused = server.lab.run(&["run", "--profile", "1g.6gb", "--immediate", "--", "true"]);
    assert!(!refused.status.success(), "nobody new on this GPU");
    server.lab.ok(&["release", "long"]);
    assert!(waiting.wait().unwrap().success());
    assert_eq!(in_driver(&server)[0].len(), 1);
    assert!(server.status()["gpus"][0]["fixed"]["by"].is_string(), "and it stays so");
}

/// A mode that cannot be changed where machines are virtual: the plan says so, and so does the failure.
#[test]
fn a_refused_mode_says_what_is_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let host = folder.path().join("guest.toml");
    let text = "[[gpu]]\nboard = \"a100-sxm4-40gb\"\nvirtualization = \"vgpu_guest\"\n";
    std::fs::write(&host, text).unwrap();
    let run = |args: &[&str]| {
        let mut command = migctl();
        command.arg("--simulate").arg(&host).arg("--state-dir").arg(folder.path()).args(args);
        command.output().unwrap()
    };
    assert!(run(&["sim", "latency", "zero"]).status.success());
    let behind = "share of a GPU; MIG is changed on its host";
    let plan = run(&["--json", "mode", "enable", "--gpu", "0", "--dry-run"]);
    let plan: Value = serde_json::from_slice(&plan.stdout).unwrap();
    let notes = plan["gpus"][0]["notes"].to_string();
    assert!(notes.contains("this will hardly work") && notes.contains(behind), "{notes}");
    let refused = run(&["mode", "enable", "--gpu", "0", "--alone", "--yes"]);
    assert_eq!(refused.status.code(), Some(2), "{}", told(&refused));
    assert!(String::from_utf8_lossy(&refused.stderr).contains(behind), "{}", told(&refused));
}
