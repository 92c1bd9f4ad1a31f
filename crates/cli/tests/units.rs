//! Systemd units that hold a GPU: stopped for a change of its mode only if that is allowed, and running
//! again after it, whatever came of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod server;
mod simulated;

use serde_json::Value;
use server::{Server, wait_for};
use simulated::told;

/// A DGX in small: Ampere, whose mode takes a reset, with DCGM and its exporter on all GPUs.
fn watched() -> Server {
    let server = Server::new("a100-sxm4-40gb:2");
    server.lab.ok(&["sim", "unit", "add", "nvidia-dcgm", "--holds", "session"]);
    let exporter = ["sim", "unit", "add", "dcgm-exporter", "--holds", "session"];
    server.lab.ok(&[&exporter[..], &["--needs", "nvidia-dcgm"]].concat());
    server
}

/// Units that run.
fn running(server: &Server) -> Vec<String> {
    let units = server.lab.json(&["sim", "unit", "list"]);
    let active = units.as_array().unwrap().iter().filter(|unit| unit["state"] == "active");
    active.map(|unit| unit["name"].as_str().unwrap().to_owned()).collect()
}

fn mode(server: &Server) -> String {
    let shown: Value = server.lab.json(&["sim", "show"]);
    shown["gpus"][0]["mig_current"].as_str().unwrap().to_owned()
}

const BOTH: [&str; 2] = ["dcgm-exporter.service", "nvidia-dcgm.service"];
const DISABLE: [&str; 5] = ["mode", "disable", "--gpu", "0", "--yes"];

#[test]
fn units_stop_for_a_change_of_mode_if_allowed_and_run_again_after() {
    let server = watched();
    let refused = server.lab.run(&DISABLE);
    assert!(!refused.status.success(), "{}", told(&refused));
    assert!(told(&refused).contains("dcgm"), "who is in the way is named: {}", told(&refused));
    assert_eq!(
        (mode(&server).as_str(), running(&server)),
        ("enabled", BOTH.map(String::from).into())
    );
    server.lab.ok(&[&DISABLE[..], &["--stop-clients"]].concat());
    assert_eq!(mode(&server), "disabled");
    wait_for("the units to run again", || (running(&server) == BOTH).then_some(()));
}

#[test]
fn units_run_again_after_a_failure_and_after_a_daemon_that_died_in_between() {
    for fault in [["--return", "UNKNOWN"], ["--crash", "before"]] {
        let server = watched();
        let inject = ["sim", "fault", "inject", "nvmlDeviceSetMigMode"];
        server.lab.ok(&[&inject[..], &fault].concat());
        let failed = server.lab.run(&[&DISABLE[..], &["--stop-clients"]].concat());
        assert!(!failed.status.success(), "{}", told(&failed));
        if fault[0] == "--crash" {
            server.revive_daemon();
        }
        wait_for("the units to run again", || (running(&server) == BOTH).then_some(()));
    }
}
