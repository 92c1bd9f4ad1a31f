//! The life of a lease between its grant and its end: idle, lingering, moved, told about.
//!
//! Must never assert how long something takes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod server;
mod simulated;

use std::process::{Child, Command, Stdio};

use serde_json::Value;
use server::{Server, wait_for};
use simulated::{skip, told};

/// A server whose idle leases are ended two seconds after the warning.
fn impatient(kind: &'static str, folder: &tempfile::TempDir) -> Server {
    let config = folder.path().join("migd.toml");
    std::fs::write(&config, "[reclaim]\nwarn_for = \"2s\"\n").unwrap();
    Server::with_daemon(kind, &["--config", config.to_str().unwrap()])
}

fn run(server: &Server, words: &[&str]) -> Child {
    let words: Vec<&str> = ["run"].iter().chain(words).copied().collect();
    server.lab.command(&words).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What a command said on stderr, once it has ended, and its status.
fn ended(child: Child) -> (String, Option<i32>) {
    let output = child.wait_with_output().unwrap();
    (String::from_utf8_lossy(&output.stderr).into_owned(), output.status.code())
}

const MIGCTL: &str = env!("CARGO_BIN_EXE_migctl");

#[test]
fn an_idle_notebook_is_warned_and_taken_back_and_a_busy_program_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let server = impatient("h100-sxm5-80gb:1", &folder);
    let work = |name, busy, time| {
        let limit = ["-p", "1g.10gb", "--idle-limit", "4s", "--name", name, "--"];
        let work = [MIGCTL, "sim", "workload", "--busy", busy, "--time", time];
        run(&server, &limit.iter().chain(&work).copied().collect::<Vec<_>>())
    };
    let notebook = work("notebook", "0", "10m");
    let busy = work("busy", "0.8", "20s");
    wait_for("the warning to be seen by all", || {
        let notice = &server.lease("notebook")?["notice"];
        (notice["kind"] == "idle").then_some(())
    });
    let (said, code) = ended(notebook);
    assert_eq!(code, Some(143), "{said}");
    assert!(said.contains("has not been used for"), "{said}");
    assert!(said.contains("must end: it was not used"), "{said}");
    let (said, code) = ended(busy);
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("not been used"), "{said}");
    assert!(said.contains("used 100 % of the time"), "{said}");
    let past: Vec<Value> = server.lab.json(&["history"]).as_array().unwrap().clone();
    let kinds: Vec<&str> = past.iter().filter_map(|lease| lease["end"].as_str()).collect();
    assert_eq!(kinds, ["idle", "released"]);
    assert_eq!(past[0]["receipt"]["metered"]["busy_ms"], 0);
    assert_eq!(past[0]["receipt"]["metered"]["peak_memory_mib"], 512);
}

#[test]
fn without_a_measure_of_use_a_process_keeps_its_slice_and_nobody_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let server = impatient("a100-sxm4-40gb:1", &folder);
    let limit = ["-p", "1g.5gb", "--idle-limit", "4s"];
    let with = |words: &[&str]| run(&server, &[&limit[..], words].concat());
    // An open context says neither that it is used nor that it is not.
    let context =
        with(&["--name", "ctx", "--", MIGCTL, "sim", "workload", "--busy", "0", "--time", "20s"]);
    let nobody = with(&["--", "sleep", "600"]);
    let (said, code) = ended(nobody);
    assert_eq!(code, Some(143), "{said}");
    assert!(said.contains("has not been used for"), "{said}");
    assert_eq!(server.lease("ctx").unwrap()["activity"], "unknown");
    let (said, code) = ended(context);
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("not been used") && !said.contains("of the time"), "{said}");
}

#[test]
fn a_service_finds_its_slice_again_after_itself_and_the_daemon_were_killed() {
    let server = Server::new("a100-sxm4-40gb:1");
    let service = || {
        let linger = ["-p", "1g.5gb", "--name", "llm", "--linger", "10m", "--"];
        run(&server, &[&linger[..], &[MIGCTL, "sim", "workload", "--time", "10m"]].concat())
    };
    let slice_of = |lease: &Value| lease["slices"][0]["uuid"].as_str().unwrap().to_owned();
    let running = || {
        wait_for("the service to run", || {
            let lease = server.lease("llm")?;
            (lease["command_pid"].is_u64() && lease["lingers_until_ms"].is_null()).then_some(lease)
        })
    };
    let mut first = service();
    let before = running();
    first.kill().unwrap();
    first.wait().unwrap();
    wait_for("the lease to linger", || {
        server.lease("llm")?["lingers_until_ms"].is_u64().then_some(())
    });
    server.kill_daemon();
    server.start_daemon(&[]);
    let second = service();
    let after = wait_for("the next one to have it", || {
        let lease = server.lease("llm")?;
        let taken = lease["lingers_until_ms"].is_null() && lease["client_pid"] == second.id();
        taken.then_some(lease)
    });
    assert_eq!((&after["id"], slice_of(&after)), (&before["id"], slice_of(&before)));
    server.lab.ok(&["release", "llm"]);
    let (said, _) = ended(second);
    assert!(said.contains("must end: revoked"), "{said}");
    server.until_empty();
}

#[test]
fn a_restartable_command_starts_anew_elsewhere_when_its_gpu_is_drained() {
    let server = Server::new("a100-sxm4-40gb:2");
    let words = ["-p", "1g.5gb", "--restartable", "--name", "job", "--"];
    let job = run(&server, &[&words[..], &[MIGCTL, "sim", "workload", "--time", "15s"]].concat());
    let lease = wait_for("the job to run", || {
        server.lease("job").filter(|lease| lease["command_pid"].is_u64())
    });
    let gpu = lease["slices"][0]["gpu_index"].to_string();
    server.lab.ok(&["gpu", "drain", &gpu, "--why", "a test"]);
    let moved = wait_for("the job to run again", || {
        let lease = server.lease("job")?;
        (lease["displaced"] == 1 && lease["command_pid"].is_u64()).then_some(lease)
    });
    assert_eq!(moved["id"], lease["id"]);
    assert_ne!(moved["slices"][0]["gpu_index"].to_string(), gpu);
    let (said, code) = ended(job);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("starts anew"), "{said}");
}

#[test]
fn tokens_are_renewed_and_what_was_used_is_told() {
    let server = Server::new("a100-sxm4-40gb:1");
    server.lab.ok(&["lease", "-p", "2g.10gb", "--name", "dev", "--token-life", "1h"]);
    let expires = |lease: &Value| lease["expires_at_ms"].as_u64().unwrap();
    let first = expires(&server.lease("dev").unwrap());
    wait_for("time to pass", || {
        server.lab.ok(&["renew", "dev"]);
        (expires(&server.lease("dev").unwrap()) > first).then_some(())
    });
    server.lab.ok(&["release", "dev"]);
    server.until_empty();
    let (said, code) = ended(run(&server, &["-p", "1g.5gb", "--", "true"]));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("L2: held"), "{said}");
    let again = server.lab.command(&["renew", "L2"]).output().unwrap();
    assert_eq!(again.status.code(), Some(1), "{}", told(&again));
    let past = server.lab.json(&["history", "L1"]);
    assert_eq!((&past[0]["wish"], &past[0]["end"]), (&"2g.10gb".into(), &"released".into()));
    let last = server.lab.json(&["history", "--last", "1"]);
    assert_eq!((last.as_array().unwrap().len(), &last[0]["id"]), (1, &"L2".into()));
    let usage = server.lab.json(&["usage", "--by", "tenant"]);
    assert_eq!((&usage[0]["leases"], &usage[0]["share_permille"]), (&2.into(), &1000.into()));
    let charged: u64 =
        [&past[0], &last[0]].iter().map(|lease| lease["receipt"]["gpu_ms"].as_u64().unwrap()).sum();
    assert_eq!(usage[0]["gpu_ms"], charged);
}

/// An image of one static program, or why there is none.
fn image(folder: &tempfile::TempDir) -> Result<(), String> {
    let podman = |words: &[&str]| {
        let output = Command::new("podman")
            .args(words)
            .env("CONTAINERS_CONF", folder.path().join("containers.conf"))
            .output()
            .map_err(|error| error.to_string())?;
        if output.status.success() { Ok(()) } else { Err(told(&output)) }
    };
    let limits = "[containers]\ndefault_ulimits=[\"nofile=10000:10000\",\"nproc=10000:10000\"]\n\
                  [engine]\nruntime=\"runc\"\n";
    std::fs::write(folder.path().join("containers.conf"), limits).unwrap();
    let bin = folder.path().join("root/bin");
    std::fs::create_dir_all(&bin).unwrap();
    std::fs::copy("/bin/busybox", bin.join("sleep")).map_err(|error| error.to_string())?;
    let tar = folder.path().join("root.tar");
    let root = folder.path().join("root");
    let packed = Command::new("tar").arg("-C").arg(root).arg("-cf").arg(&tar).arg(".").status();
    packed.map_err(|error| error.to_string())?;
    podman(&["import", "--quiet", tar.to_str().unwrap(), "localhost/migd-life:1"])?;
    podman(&["run", "--rm", "--network=none", "localhost/migd-life:1", "sleep", "0"])
}

#[test]
fn a_lease_lives_as_long_as_its_container() {
    let folder = tempfile::tempdir().unwrap();
    if let Err(why) = image(&folder) {
        skip("a_lease_lives_as_long_as_its_container", &why);
        return;
    }
    let server = Server::new("a100-sxm4-40gb:1");
    let words = ["run", "--container", "-p", "1g.5gb", "--name", "box", "--", "podman", "run"];
    let container = ["-d", "--rm", "--network=none", "localhost/migd-life:1", "sleep", "600"];
    let output = server
        .lab
        .command(&[&words[..], &container].concat())
        .env("CONTAINERS_CONF", folder.path().join("containers.conf"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", told(&output));
    let id = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let lease = server.lease("box").unwrap();
    assert_eq!((&lease["holder"], &lease["container"]), (&"container".into(), &id.clone().into()));
    server.kill_daemon();
    server.start_daemon(&[]);
    assert_eq!(server.lease("box").unwrap()["state"], "active", "it runs on");
    let killed = Command::new("podman").args(["kill", &id]).output().unwrap();
    assert!(killed.status.success(), "{}", told(&killed));
    server.until_empty();
    assert_eq!(server.lab.json(&["history"])[0]["end"], "holder_died");
}
