//! The verbs that only read: with a daemon and without one, through the real program.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where a step fails")]

mod server;
mod simulated;

use server::Server;
use simulated::{Lab, told};

#[test]
fn topology_shows_links_and_what_mig_takes_away() {
    let lab = Lab::new("dgx-a100");
    let view = lab.json(&["topo"]);
    assert_eq!(view["devices"].as_array().unwrap().len(), 8);
    assert_eq!(view["links"][0][0]["mark"], "X");
    assert_eq!(view["links"][0][1]["mark"], "NV12");
    assert!(view["devices"][0]["cpu_affinity"].is_string(), "{view}");
    lab.enable_mig(1);
    lab.machine().reset_gpu(1).unwrap();
    let view = lab.json(&["topo"]);
    assert_eq!(view["links"][0][1]["mark"], "PXB");
    assert_eq!(view["links"][0][2]["mark"], "NV12");
    assert!(view["notes"][0].as_str().unwrap().contains("MIG is on on GPU 1"), "{view}");
    let text = lab.ok(&["topo"]);
    assert!(text.contains("GPU0  X     PXB   NV12"), "{text}");
}

#[test]
fn instances_without_compute_instances_are_listed_and_told_by_the_doctor() {
    let lab = Lab::new("a100-sxm4-40gb:1");
    lab.enable_mig(0);
    lab.machine().reset_gpu(0).unwrap();
    let slice = lab.slice(0, "1g.5gb");
    let machine = lab.machine();
    let caller = machine.caller();
    machine
        .change(|node, now| {
            let geometry = &node.board(0).unwrap().geometry;
            let id = geometry.select(&"2g.10gb".parse().unwrap()).unwrap().id;
            node.create_gpu_instance(0, caller, id, None, now).unwrap();
        })
        .unwrap();
    let view = lab.json(&["instances"]);
    let instances = view[0]["instances"].as_array().unwrap();
    assert_eq!(instances.len(), 2, "{view}");
    let of = |name: &str| instances.iter().find(|one| one["name"] == name).unwrap();
    let whole = of("MIG 1g.5gb");
    assert_eq!(whole["compute_instances"][0]["uuid"], slice);
    assert_eq!(whole["compute_instances"][0]["name"], "MIG 1g.5gb");
    assert_eq!(whole["node"]["mode"], "0444");
    assert!(whole["start"].is_number() && whole["used"].is_null(), "{whole}");
    assert_eq!(of("MIG 2g.10gb")["compute_instances"].as_array().unwrap().len(), 0);
    let text = lab.ok(&["instances"]);
    assert!(text.contains("nobody can: no compute instance"), "{text}");
    assert_eq!(examined(&lab, "gi-without-ci"), "warn");
}

#[test]
fn holders_are_told_with_their_lease_by_the_daemon_and_without_one() {
    let server = Server::new("a30:1");
    let lab = &server.lab;
    let workload = server.start(&[
        "--profile",
        "1g.6gb",
        "--name",
        "nb",
        "--",
        env!("CARGO_BIN_EXE_migctl"),
        "sim",
        "workload",
    ]);
    server.until("nb", "active");
    let pid = server.command_of("nb");
    let asked = |what: &str| lab.json(&["why-busy", what]);
    let mine = |view: &serde_json::Value| {
        let holders = view[0]["holders"].as_array().unwrap().clone();
        holders.into_iter().find(|one| one["pid"] == pid)
    };
    let lease = server.lease("nb").unwrap();
    let id = lease["id"].as_str().unwrap();
    let found = server::wait_for("the workload to be seen", || {
        mine(&asked("0")).filter(|one| one["holds"][0] == "runs")
    });
    assert_eq!(found["lease"], id, "{found}");
    assert_eq!(found["in_the_way"], true);
    assert!(found["advice"].as_str().unwrap().contains(&format!("migctl release {id}")), "{found}");
    let slice = &lease["slices"][0];
    let place = format!("0:{}", slice["gpu_instance"]);
    for what in [id, slice["uuid"].as_str().unwrap(), place.as_str()] {
        assert!(mine(&asked(what)).is_some(), "{what}: {}", asked(what));
    }
    let shown = lab.json(&["instances"]);
    let whole = shown[0]["instances"].as_array().unwrap().iter().find(|one| one["lease"] == id);
    assert_eq!(whole.unwrap()["used"], "leased", "{shown}");
    lab.ok(&["sim", "holder", "add", "nv-hostengine"]);
    let view = asked("0");
    let invented =
        view[0]["holders"].as_array().unwrap().iter().any(|one| one["holds"][0] == "invented");
    assert!(invented, "{view}");
    server.kill_daemon();
    let view = asked("0");
    let found = mine(&view).unwrap_or_else(|| panic!("{view}"));
    assert!(found["lease"].is_null(), "without a daemon nobody knows leases: {found}");
    drop(workload);
    server::kill("KILL", pid);
}

#[test]
fn what_cannot_be_asked_about_is_a_usage_error() {
    let lab = Lab::new("a30:1");
    for what in ["7", "0:99", "MIG-00000000", "L12", "0/x"] {
        lab.fails(3, &["why-busy", what]);
    }
    assert!(lab.ok(&["why-busy", "0"]).contains("GPU 0 (NVIDIA A30)"));
}

/// The severity of a finding of the doctor; its exit code is that of the worst one.
fn examined(lab: &Lab, id: &str) -> String {
    let output = lab.run(&["doctor", "--json"]);
    let view: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected = match view["worst"].as_str().unwrap() {
        "error" => 2,
        "warn" => 1,
        _ => 0,
    };
    assert_eq!(output.status.code(), Some(expected), "{}", told(&output));
    let findings = view["findings"].as_array().unwrap();
    let found = findings.iter().find(|one| one["id"] == id);
    found.unwrap_or_else(|| panic!("no {id} in {view}"))["severity"].as_str().unwrap().to_owned()
}

#[test]
fn the_doctor_s_exit_code_follows_what_it_found() {
    use std::os::unix::fs::PermissionsExt as _;
    let lab = Lab::new("a30:1");
    assert_eq!(examined(&lab, "driver-version"), "ok");
    assert_eq!(examined(&lab, "journal"), "ok");
    std::fs::write(lab.machine_dir().join("journal.db.damaged-17"), "").unwrap();
    assert_eq!(examined(&lab, "journal"), "warn");
    let everybody = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(lab.machine_dir(), everybody).unwrap();
    assert_eq!(examined(&lab, "state-folder"), "error");
    let output = lab.run(&["doctor", "--report"]);
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    let page = String::from_utf8(output.stdout).unwrap();
    assert!(page.starts_with("migctl doctor --report"), "{page}");
    assert!(page.contains("ERROR state-folder"), "{page}");
    assert!(page.contains("warn  journal"), "{page}");
}

#[test]
fn ways_to_share_are_explained_and_advised() {
    let lab = Lab::new("dgx-a100");
    let view = lab.json(&["explain", "mps"]);
    assert_eq!(view["ways"][0]["id"], "mps");
    assert!(lab.ok(&["explain"]).contains("memory protection"));
    let view = lab.json(&["advise", "sharing", "--users", "strangers", "--processes", "12"]);
    assert_eq!(view["choice"], "mig", "{view}");
    let view = lab.json(&["advise", "sharing", "--multi-gpu"]);
    assert_eq!(view["choice"], "whole_gpu", "{view}");
    lab.fails(3, &["advise", "sharing", "--board", "voodoo"]);
}
