//! `--private`: a command in a view of the machine that has no nodes but its own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod server;
mod simulated;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use serde_json::Value;
use server::{Server, kill, runs, wait_for};
use simulated::{Lab, skip, told};

/// Whether the test may run: bubblewrap is here and may make namespaces.
fn has_bubblewrap(test: &str) -> bool {
    match Command::new("bwrap").args(["--dev-bind", "/", "/", "true"]).output() {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            skip(test, &format!("bwrap refuses: {}", told(&output)));
            false
        }
        Err(error) => {
            skip(test, &format!("there is no bwrap (bubblewrap): {error}"));
            false
        }
    }
}

/// The names of all NVIDIA nodes that a private command of these slices must find.
fn expected(lease: &Value) -> BTreeSet<String> {
    let mut names: BTreeSet<String> =
        ["nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-caps"].map(String::from).into();
    for slice in lease["slices"].as_array().unwrap() {
        let number = |name: &str| slice[name].as_u64().unwrap();
        // By the kernel's formula; the minor of a simulated GPU is its index.
        let instance = 3 + 135 * number("gpu_index") + 9 * number("gpu_instance");
        names.insert(format!("nvidia{}", number("gpu_index")));
        for minor in [instance, instance + 1 + number("compute_instance")] {
            names.insert(format!("nvidia-cap{minor}"));
        }
    }
    names
}

/// Lists what is found of NVIDIA's.
const LIST: &str = "ls /dev /dev/nvidia-caps | grep nvidia | grep -v : > $0.part; \
                    mv $0.part $0; exec sleep 600";

/// Runs `LIST` privately with this wish; the lease and the names that it found.
fn names_in_view(server: &Server, name: &str, wish: &[&str]) -> (Value, BTreeSet<String>) {
    let found = server.lab.state_dir().join(name);
    let path = found.to_str().unwrap();
    let args = [&["--private", "--name", name], wish, &["--", "sh", "-c", LIST, path]].concat();
    let run = server.start(&args);
    let lease = server.until(name, "active");
    let text = wait_for("the command to look around", || fs::read_to_string(&found).ok());
    kill("TERM", server.command_of(name));
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(143), "the signal was the command's: {}", told(&output));
    (lease, text.lines().map(String::from).collect())
}

#[test]
fn a_private_command_finds_the_nodes_of_its_slices_and_no_other() {
    if !has_bubblewrap("a_private_command_finds_the_nodes_of_its_slices_and_no_other") {
        return;
    }
    let server = Server::new("dgx-a100");
    server.lab.ok(&["lease", "--profile", "1g.5gb", "--name", "other", "--gpu", "2"]);
    let other = expected(&server.lease("other").unwrap());
    let (lease, names) = names_in_view(&server, "one", &["--profile", "1g.5gb", "--gpu", "2"]);
    assert_eq!(names, expected(&lease));
    let nodes: Vec<_> = other.iter().filter(|name| name.starts_with("nvidia-cap")).collect();
    // Both are on GPU 2; the nodes of the other slice alone are away.
    assert!(names.contains("nvidia2") && !names.contains("nvidia0"), "{names:?}");
    let hidden = nodes.iter().filter(|name| !names.contains(**name)).count();
    assert_eq!(hidden, 2, "{nodes:?} and {names:?}");
    let (lease, names) =
        names_in_view(&server, "three", &["--profile", "3g.20gb", "--count", "3", "--spread"]);
    assert_eq!(names, expected(&lease));
    assert_eq!(names.iter().filter(|name| name.starts_with("nvidia-cap")).count(), 7);
}

#[test]
fn the_rest_of_the_machine_is_as_it_was_and_the_exit_status_is_passed_on() {
    if !has_bubblewrap("the_rest_of_the_machine_is_as_it_was_and_the_exit_status_is_passed_on") {
        return;
    }
    let server = Server::new("a30:1");
    let folder = tempfile::tempdir().unwrap();
    let script = "pwd; echo x > here; echo y > /dev/null; head -c1 /dev/zero | wc -c; \
                  migctl sim workload --print; echo $CUDA_VISIBLE_DEVICES; kill -0 $PPID; \
                  cut -d' ' -f5 /proc/$$/stat; echo $$; exit 7";
    let mut run = server.lab.command(&["run", "--private", "--profile", "1g.6gb", "--"]);
    run.args(["sh", "-c", script]).current_dir(folder.path());
    let output = run.output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", told(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    assert_eq!(lines[0], folder.path().to_str().unwrap());
    assert_eq!(fs::read_to_string(folder.path().join("here")).unwrap(), "x\n");
    assert_eq!(lines[1], "1");
    assert!(text.contains("running on NVIDIA A30 MIG 1g.6gb, MIG-"), "{text}");
    let [.., uuid, group, pid] = lines.as_slice() else { panic!("{text}") };
    assert!(uuid.starts_with("MIG-"), "{text}");
    assert_eq!(group, pid, "the command leads its group, with nothing in between");
    let missing = ["run", "--private", "--profile", "1g.6gb", "--", "no-such-command"];
    assert_eq!(server.lab.run(&missing).status.code(), Some(127));
    server.until_empty();
}

/// A user without any rights of root's.
#[test]
fn an_ordinary_user_has_a_private_view_too() {
    let test = "an_ordinary_user_has_a_private_view_too";
    if !rustix::process::geteuid().is_root() {
        return skip(test, "to act as another user takes root");
    }
    let as_user = ["--reuid", "20001", "--regid", "20001", "--clear-groups", "--"];
    let mut probe = Command::new("setpriv");
    probe.args(as_user).args(["bwrap", "--dev-bind", "/", "/", "true"]);
    if !has_bubblewrap(test) || !probe.output().is_ok_and(|output| output.status.success()) {
        return skip(test, "users may not make namespaces here");
    }
    let server = Server { lab: Lab::shared("a30:1") };
    server.start_daemon(&["--enforce", "on"]);
    wait_for("the GPU to be ready", || {
        (server.status()["gpus"][0]["mig"] == "enabled").then_some(())
    });
    let command =
        server.lab.command(&["run", "--private", "--profile", "1g.6gb", "--", "sh", "-c"]);
    let mut user = Command::new("setpriv");
    user.args(as_user).arg(command.get_program()).args(command.get_args());
    user.arg(
        "id -u; ls /dev/nvidia-caps | wc -l; cat /dev/nvidia-caps/* > /dev/null && echo open; \
              grep CapEff /proc/self/status; exit 3",
    );
    let output = user.current_dir("/").output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines, ["20001", "2", "open", "CapEff:\t0000000000000000"], "{}", told(&output));
    server.until_empty();
}

#[test]
fn a_private_command_outlives_the_daemon_and_not_its_run() {
    if !has_bubblewrap("a_private_command_outlives_the_daemon_and_not_its_run") {
        return;
    }
    let server = Server::new("a30:1");
    let mut run =
        server.start(&["--private", "--profile", "1g.6gb", "--name", "x", "--", "sleep", "600"]);
    server.until("x", "active");
    let pid = server.command_of("x");
    wait_for("the command to begin", || {
        fs::read_to_string(format!("/proc/{pid}/comm")).ok().filter(|name| name == "sleep\n")
    });
    server.kill_daemon();
    assert!(runs(pid));
    server.start_daemon(&[]);
    assert_eq!(server.command_of("x"), pid);
    assert!(runs(pid));
    kill("KILL", run.id());
    run.wait().unwrap();
    server.until_empty();
    wait_for("the command to be gone", || (!runs(pid)).then_some(()));
}

#[test]
fn without_bubblewrap_nothing_is_asked_for_and_the_user_is_told_what_to_install() {
    let server = Server::new("a30:1");
    let args = ["run", "--private", "--profile", "1g.6gb", "--", "/bin/true"];
    let folder = tempfile::tempdir().unwrap();
    let run = |path: &std::path::Path| {
        let mut command = server.lab.command(&args);
        command.env("PATH", path).stdin(Stdio::null()).output().unwrap()
    };
    let output = run(folder.path());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert!(said.contains("bwrap") && said.contains("apt install bubblewrap"), "{said}");
    // One that refuses, as where users may not make namespaces.
    let bwrap = folder.path().join("bwrap");
    fs::write(
        &bwrap,
        "#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n",
    )
    .unwrap();
    fs::set_permissions(&bwrap, fs::Permissions::from_mode(0o755)).unwrap();
    let output = run(folder.path());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert!(said.contains("No permissions to create new namespace"), "{said}");
    assert!(!server.lab.ok(&["events", "-n", "100"]).contains("L1"));
}
