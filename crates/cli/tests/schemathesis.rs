//! Calls that nobody thought of: schemathesis makes them from the description that is served.
//!
//! It is fetched from PyPI at the versions of `tests/foreign/requirements-api.txt`. Where that is
//! impossible the test says so and passes; with `CI=true` it fails.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where a step fails")]

mod pip;
mod server;
mod simulated;

use std::fs;
use std::process::Command;

use server::{Server, wait_for};
use simulated::{skip, told};

/// What must hold of every answer, whatever was asked.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_schema_conformance,unsupported_method";

#[test]
fn no_call_makes_the_daemon_fail_or_answer_what_is_not_described() {
    let folder = match pip::environment("schemathesis", "requirements-api.txt") {
        Ok(folder) => folder,
        Err(why) => return skip("schemathesis", &why),
    };
    let server = Server::new("a100-sxm4-40gb:2");
    server.kill_daemon();
    let file = server.lab.state_dir().join("migd.toml");
    let limits = "[limits]\ncalls_per_second = 100000\nburst = 100000\n";
    fs::write(&file, format!("[tcp]\nlisten = \"127.0.0.1:0\"\n{limits}")).unwrap();
    server.start_daemon(&["--config", file.to_str().unwrap()]);
    let log = server.lab.state_dir().join("daemon.out");
    let address = wait_for("the address", || {
        let log = fs::read_to_string(&log).ok()?;
        let rest = log.split("listening to the network address=").nth(1)?;
        Some(rest.split_whitespace().next()?.to_owned())
    });
    let token = server.lab.ok(&["token", "create", "--name", "tester", "--role", "admin"]);
    let daemon = server.daemon();
    let place = tempfile::tempdir().unwrap();
    let mut command = Command::new(folder.join("bin/schemathesis"));
    command.args(["run", &format!("http://{address}/v1/openapi.json")]);
    command.args(["--header", &format!("Authorization: Bearer {}", token.trim())]);
    // It waits for the end of an answer, and this one has none; and it would revoke its own token.
    command.args(["--exclude-path", "/v1/events/stream"]);
    command.args(["--exclude-operation-id", "revoke_token"]);
    command.args(["--phases", "examples,coverage,fuzzing", "--max-examples", "25"]);
    command.args(["--checks", CHECKS, "--continue-on-failure", "--request-timeout", "70"]);
    // The same calls in every run.
    command.args(["--seed", "1", "--generation-database", "none", "--no-color"]);
    command.current_dir(place.path()).env("no_proxy", "*").env("CI", "true");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}\n{}", told(&output), fs::read_to_string(&log).unwrap());
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.contains("Test cases"), "{told}");
    assert_eq!(server.daemon(), daemon, "the daemon ended");
    let said = fs::read_to_string(&log).unwrap();
    assert!(!said.contains("panicked"), "{said}");
}
