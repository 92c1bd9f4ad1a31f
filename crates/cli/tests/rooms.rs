//! GPUs out of use, whole GPUs and bookings, with the real programs.
//!
//! Must never assert how long anything takes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod server;
mod simulated;

use serde_json::Value;
use server::{Server, wait_for};

/// A workload as the command of `migctl run`.
const WORK: [&str; 6] = ["--", "migctl", "sim", "workload", "--time", "300s"];

fn start(server: &Server, name: &str, wish: &[&str]) -> std::process::Child {
    let args: Vec<&str> = ["--name", name].iter().chain(wish).chain(&WORK).copied().collect();
    server.start(&args)
}

fn gpu(server: &Server, index: usize) -> Value {
    server.status()["gpus"][index].clone()
}

#[test]
fn a_gpu_is_cordoned_and_emptied_with_work_running() {
    let server = Server::new("a30:2");
    let lab = &server.lab;
    let mut firm = start(&server, "firm", &["-p", "2g.12gb", "--gpu", "0"]);
    let held = server.until("firm", "active");
    assert_eq!(held["slices"][0]["gpu_index"], 0);
    assert_eq!(
        lab.ok(&["gpu", "cordon", "0", "--why", "loud fan"]).trim(),
        format!("GPU 0 gets no new lease (loud fan); {} stay there", held["id"].as_str().unwrap())
    );
    // What comes now goes elsewhere, though this GPU has room.
    for name in ["one", "two"] {
        lab.ok(&["lease", "-p", "2g.12gb", "--name", name]);
        assert_eq!(server.lease(name).unwrap()["slices"][0]["gpu_index"], 1, "{name}");
    }
    let told = lab.fails(5, &["lease", "-p", "2g.12gb", "--immediate"]);
    assert!(told.contains("E-NO-ROOM"), "{told}");
    server.kill_daemon();
    server.start_daemon(&[]);
    assert_eq!(gpu(&server, 0)["cordon"]["why"], "loud fan", "it survives a restart");
    lab.ok(&["gpu", "drain", "0"]);
    let told = lab.fails(5, &["gpu", "drain", "0", "--wait", "--max-wait", "1s"]);
    assert!(told.contains("E-NOT-DRAINED"), "{told}");
    assert_eq!(server.lease("firm").unwrap()["state"], "active", "nobody is killed");
    assert!(lab.ok(&["status"]).contains("being emptied, waits for"));
    server::kill("TERM", server.command_of("firm"));
    firm.wait().unwrap();
    let done = lab.ok(&["gpu", "drain", "0", "--wait"]);
    assert_eq!(done.trim(), "GPU 0 is out of use and empty (loud fan)");
    assert!(gpu(&server, 0)["instances"].as_array().unwrap().is_empty());
    assert_eq!(lab.ok(&["gpu", "uncordon", "0"]).trim(), "GPU 0 is back in use");
    lab.ok(&["lease", "-p", "4g.24gb", "--name", "again"]);
    assert!(lab.fails(3, &["gpu", "cordon", "9"]).contains("E-GPU-UNKNOWN"));
}

#[test]
fn a_lost_gpu_ends_its_two_leases_and_no_other() {
    let server = Server::new("a30:2");
    let lab = &server.lab;
    let mut children = Vec::new();
    for (name, gpu) in [("a", "0"), ("b", "0"), ("c", "1")] {
        children.push(start(&server, name, &["-p", "1g.6gb", "--gpu", gpu]));
        server.until(name, "active");
    }
    lab.ok(&["sim", "xid", "0", "79"]);
    wait_for("the leases of the lost GPU to end", || {
        (server.lease("a").is_none() && server.lease("b").is_none()).then_some(())
    });
    assert_eq!(server.lease("c").unwrap()["state"], "active");
    assert!(gpu(&server, 0)["quarantine"].as_str().unwrap().contains("GPU 0"));
    let events = lab.ok(&["events", "-n", "200"]);
    assert!(events.contains("its GPU is out of order"), "{events}");
    for child in &mut children[..2] {
        child.wait().unwrap();
    }
    let told = lab.fails(5, &["lease", "-p", "1g.6gb", "--gpu", "0", "--immediate"]);
    assert!(told.contains("E-NO-ROOM"), "{told}");
    server::kill("TERM", server.command_of("c"));
    children[2].wait().unwrap();
}

#[test]
fn a_booking_is_refused_when_it_cannot_be_kept_and_honoured_when_it_can() {
    let server = Server::new("a30:1");
    let lab = &server.lab;
    lab.ok(&["lease", "-p", "1g.6gb", "--name", "endless"]);
    let told = lab.fails(5, &["book", "-p", "4g", "--from", "+10m", "--time", "1h"]);
    assert!(told.contains("E-CANNOT-BOOK") && told.contains("may still be there"), "{told}");
    lab.ok(&["release", "endless"]);
    server.until_empty();
    let booked = lab.ok(&["book", "-p", "4g", "--from", "+3s", "--time", "1h", "--name", "night"]);
    assert!(booked.starts_with("B1 4g on GPU 0"), "{booked}");
    let told = lab.fails(5, &["lease", "-p", "1g.6gb", "--immediate"]);
    assert!(told.contains("E-NO-ROOM"), "an endless lease might still be there: {told}");
    // It waits for its time, and then has what was booked.
    let ran =
        lab.ok(&["run", "--booking", "night", "--", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES"]);
    assert!(ran.starts_with("MIG-"), "{ran}");
    let listed = lab.json(&["book", "--list"]);
    assert_eq!(listed[0]["places"][0]["profile"], "4g.24gb");
    lab.ok(&["book", "--cancel", "B1"]);
    assert_eq!(lab.json(&["book", "--list"]), Value::Array(Vec::new()));
    lab.ok(&["lease", "-p", "1g.6gb", "--immediate"]);
}

#[test]
fn a_whole_gpu_is_leased_beside_slices_and_cut_again() {
    let server = Server::new("a30:2");
    let lab = &server.lab;
    lab.ok(&["lease", "-p", "1g.6gb", "--name", "slice"]);
    let mut whole = start(&server, "whole", &["--whole-gpu"]);
    let lease = server.until("whole", "active");
    let index = lease["whole_gpus"][0]["index"].as_u64().unwrap() as usize;
    let other = server.lease("slice").unwrap()["slices"][0]["gpu_index"].as_u64().unwrap();
    assert_ne!(index as u64, other);
    let taken = gpu(&server, index);
    assert_eq!((&taken["mig"], &taken["whole_lease"]), (&"disabled".into(), &lease["id"]));
    let told = lab.fails(5, &["lease", "--whole-gpu", "--immediate"]);
    assert!(told.contains("E-NO-ROOM"), "{told}");
    server::kill("TERM", server.command_of("whole"));
    whole.wait().unwrap();
    lab.ok(&["lease", "-p", "4g.24gb", "--name", "cut"]);
    let cut = server.lease("cut").unwrap();
    assert_eq!(cut["slices"][0]["gpu_index"].as_u64().unwrap() as usize, index);
    assert_eq!(gpu(&server, index)["mig"], "enabled");
    let uuids = lab.ok(&[
        "run",
        "-p",
        "1g.6gb",
        "--count",
        "2",
        "--same-gpu",
        "--",
        "sh",
        "-c",
        "echo $CUDA_VISIBLE_DEVICES",
    ]);
    assert_eq!(uuids.trim().split(',').count(), 2);
}
