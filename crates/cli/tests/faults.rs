//! The driver refuses, lies, hangs or kills the daemon in the middle of a grant: nobody loses a
//! lease, nothing is left behind, and records and driver agree afterwards.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod server;
mod simulated;

use std::collections::BTreeSet;

use server::{Server, wait_for};

const CREATE_GI: &str = "nvmlDeviceCreateGpuInstanceWithPlacement";
const CREATE_CI: &str = "nvmlGpuInstanceCreateComputeInstanceWithPlacement";
const DESTROY_GI: &str = "nvmlGpuInstanceDestroy";

fn inject(server: &Server, fault: &[&str]) {
    let args: Vec<&str> = ["sim", "fault", "inject"].iter().chain(fault).copied().collect();
    server.lab.ok(&args);
}

/// The instances the driver has, as (GPU, GPU instance).
fn in_driver(server: &Server) -> BTreeSet<(usize, u32)> {
    let machine = server.lab.machine();
    let node = machine.node().unwrap();
    let mut found = BTreeSet::new();
    for (index, gpu) in node.value.gpus.iter().enumerate() {
        found.extend(gpu.instances.iter().map(|instance| (index, instance.id.get())));
    }
    found
}

/// Waits until each instance of the driver is a slice migd knows and nobody leases.
fn until_nothing_is_left_behind(server: &Server) {
    server.until_empty();
    wait_for("records and driver to agree", || {
        let status = server.status();
        let gpus = status["gpus"].as_array()?;
        let instances: Vec<_> = gpus.iter().filter_map(|gpu| gpu["instances"].as_array()).collect();
        let known: Vec<_> = instances.into_iter().flatten().collect();
        let idle = known.iter().all(|instance| instance["used"] == "warm");
        (idle && known.len() == in_driver(server).len()).then_some(())
    });
}

#[test]
fn a_refusal_at_any_step_is_undone_and_the_request_is_served_elsewhere() {
    for (call, code) in [(CREATE_GI, "INSUFFICIENT_RESOURCES"), (CREATE_CI, "IN_USE")] {
        let server = Server::new("a30:2");
        inject(&server, &[call, "--return", code]);
        server.lab.ok(&["run", "--profile", "2g.12gb", "--", "true"]);
        let events = server.lab.ok(&["events", "-n", "200"]);
        assert!(events.contains("plan_failed"), "{call}: {events}");
        until_nothing_is_left_behind(&server);
    }
}

#[test]
fn a_success_that_is_a_lie_is_found_out() {
    for call in [CREATE_GI, CREATE_CI] {
        let server = Server::new("a30:2");
        inject(&server, &[call, "--lie"]);
        server.lab.ok(&["run", "--profile", "2g.12gb", "--", "true"]);
        let events = server.lab.ok(&["events", "-n", "200"]);
        assert!(events.contains("plan_failed"), "{call}: {events}");
        until_nothing_is_left_behind(&server);
    }
}

/// The room of an idle slice is wanted and the driver does not let it go: somewhere else is room.
#[test]
fn a_slice_that_cannot_be_destroyed_costs_no_request() {
    let server = Server::new("a30:2");
    server.lab.ok(&["run", "--profile", "2g.12gb", "--gpu", "0", "--", "true"]);
    server.lab.ok(&["run", "--profile", "2g.12gb", "--gpu", "1", "--", "true"]);
    inject(&server, &[DESTROY_GI, "--gpu", "0", "--times", "2", "--return", "IN_USE"]);
    server.lab.ok(&["run", "--profile", "4g.24gb", "--max-wait", "30s", "--", "true"]);
    until_nothing_is_left_behind(&server);
}

/// The daemon dies inside a driver call, before or after its effect; the next one finds the request
/// and the driver as they are, and serves the waiting command.
#[test]
fn a_daemon_that_dies_inside_a_driver_call_leaves_nothing_behind() {
    for call in [CREATE_GI, CREATE_CI] {
        for moment in ["before", "after"] {
            let server = Server::new("a30:1");
            inject(&server, &[call, "--crash", moment]);
            // The run may start another one before anybody looks.
            let doomed = server.daemon().expect("a daemon runs");
            let run = server.start(&["--profile", "2g.12gb", "--name", "job", "--", "true"]);
            wait_for("the daemon to die", || (!server::runs(doomed)).then_some(()));
            server.lab.ok(&["sim", "fault", "clear"]);
            server.revive_daemon();
            let output = run.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{call}, {moment}: {said}");
            until_nothing_is_left_behind(&server);
        }
    }
}

/// One GPU hangs; the others are granted meanwhile.
#[test]
fn a_gpu_that_hangs_keeps_nobody_else_waiting() {
    let server = Server::new("a30:2");
    inject(&server, &[CREATE_GI, "--gpu", "0", "--hang", "20s"]);
    let stuck = server.start(&["--profile", "4g.24gb", "--gpu", "0", "--name", "a", "--", "true"]);
    server.until("a", "granting");
    let begun = std::time::Instant::now();
    server.lab.ok(&["run", "--profile", "4g.24gb", "--gpu", "1", "--", "true"]);
    assert!(server.lease("a").is_some_and(|lease| lease["state"] == "granting"));
    // Not a measurement: the hang itself is the yardstick.
    assert!(begun.elapsed().as_secs() < 15);
    server::kill("INT", stuck.id());
    assert_eq!(stuck.wait_with_output().unwrap().status.code(), Some(130));
}

/// What somebody else made is shown, counted as taken, and never touched.
#[test]
fn foreign_instances_are_shown_and_left_alone() {
    let server = Server::new("a30:1");
    let uuid = server.lab.slice(0, "2g.12gb");
    wait_for("it to be seen", || {
        let status = server.status();
        let instance = &status["gpus"][0]["instances"][0];
        (instance["used"] == "foreign").then_some(())
    });
    let refused = server.lab.run(&["run", "--profile", "4g.24gb", "--immediate", "--", "true"]);
    assert_eq!(refused.status.code(), Some(124));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("migd did not make"), "{said}");
    server.lab.ok(&["run", "--profile", "2g.12gb", "--", "true"]);
    let status = server.status();
    let instances = status["gpus"][0]["instances"].as_array().unwrap();
    let there = |instance: &serde_json::Value| instance["compute_instances"][0]["uuid"] == uuid;
    assert!(instances.iter().any(there), "{instances:?}");
}

/// A reboot of the machine below a running daemon: leases end with the reason, nothing is foreign.
#[test]
fn slices_that_are_gone_end_their_leases_with_the_reason() {
    let server = Server::new("dgx-h100");
    server.lab.ok(&["lease", "--profile", "1g.10gb", "--name", "gone"]);
    server.lab.ok(&["sim", "reboot"]);
    server.until_empty();
    let events = server.lab.ok(&["events", "-n", "200"]);
    assert!(events.contains("its slice is gone"), "{events}");
    // Hopper loses the mode with the driver; it is enabled again, and slices are served again.
    server.lab.ok(&["run", "--profile", "1g.10gb", "--max-wait", "60s", "--", "true"]);
    until_nothing_is_left_behind(&server);
}
