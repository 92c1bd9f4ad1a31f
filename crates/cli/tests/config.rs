//! The configuration as an administrator meets it: checked, printed, taken over while leases live.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where a step fails")]

mod server;
mod simulated;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use server::{Server, kill, wait_for};
use simulated::{Lab, migctl, told};

/// A configuration file beside a machine's state.
fn file(lab: &Lab, text: &str) -> PathBuf {
    let path = lab.state_dir().join("migd.toml");
    fs::write(&path, text).unwrap();
    path
}

fn configuration(server: &Server) -> Value {
    server.status()["configuration"].clone()
}

#[test]
fn check_finds_every_mistake_and_tells_where_values_come_from() {
    let lab = Lab::empty("a30:1");
    let path = file(&lab, "[daemon]\ngraec = \"5s\"\nwarm_for = 5\n");
    let path = path.to_str().unwrap();
    let told = lab.fails(1, &["config", "check", path]);
    assert!(told.contains("migd.toml:2:1: unknown key graec in [daemon]; write grace"), "{told}");
    assert!(told.contains("migd.toml:3:12: daemon.warm_for: 5 is no length of time"), "{told}");
    assert!(told.contains("2 mistakes") && told.contains("E-CONFIG"), "{told}");
    let output = lab.run(&["--json", "config", "check", path]);
    assert_eq!(output.status.code(), Some(1));
    let faults: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(faults.as_array().unwrap().len(), 2, "{faults}");

    file(&lab, "[daemon]\ngrace = \"5s\"\n");
    assert_eq!(lab.ok(&["config", "check", path]), "");
    let shown = lab.ok(&["config", "check", path, "--effective"]);
    let line = |key: &str| shown.lines().find(|line| line.starts_with(key)).unwrap();
    assert!(line("daemon.grace ").ends_with("line 2"), "{shown}");
    assert!(line("daemon.warm_for ").ends_with("default"), "{shown}");
    let entries = lab.json(&["config", "check", path, "--effective"]);
    let grace = entries.as_array().unwrap().iter().find(|e| e["key"] == "daemon.grace").unwrap();
    assert_eq!(grace["value"], "\"5s\"");
    assert!(grace["from"].as_str().unwrap().ends_with("migd.toml:2:9"), "{grace}");
    lab.fails(1, &["config", "check", "/nonexistent/migd.toml"]);
}

#[test]
fn the_default_file_is_sound_and_changes_nothing() {
    let lab = Lab::empty("a30:1");
    let text = lab.ok(&["config", "default"]);
    let path = file(&lab, &text);
    let shown = lab.json(&["config", "check", path.to_str().unwrap(), "--effective"]);
    let bare = file(&lab, "");
    let defaults = lab.json(&["config", "check", bare.to_str().unwrap(), "--effective"]);
    let values = |list: &Value| -> Vec<(String, String)> {
        let text = |entry: &Value, key: &str| entry[key].as_str().unwrap().to_owned();
        list.as_array().unwrap().iter().map(|e| (text(e, "key"), text(e, "value"))).collect()
    };
    assert_eq!(values(&shown), values(&defaults));
}

#[test]
fn sighup_takes_over_what_makes_sense_and_keeps_what_was_otherwise() {
    let lab = Lab::new("a30:1");
    let path = file(&lab, "[daemon]\ngrace = \"7s\"\n");
    let server = Server { lab };
    server.start_daemon(&["--config", path.to_str().unwrap()]);
    let first = configuration(&server);
    assert_eq!(first["file"], path.to_str().unwrap());
    assert_eq!(first["loads"], 1);
    wait_for("MIG", || (server.status()["gpus"][0]["mig"] == "enabled").then_some(()));
    server.lab.ok(&["lease", "--profile", "1g.6gb", "--name", "kept"]);

    // A mistake: told in the answer, in the log and in every status; the rules stay.
    fs::write(&path, "[daemon]\ngrace = 7\n").unwrap();
    let told = server.lab.fails(1, &["config", "reload"]);
    assert!(told.contains("migd.toml:2:9") && told.contains("stays in force"), "{told}");
    let now = configuration(&server);
    assert_eq!(now["loads"], 2);
    assert!(now["problems"][0].as_str().unwrap().contains("no length of time"), "{now}");
    let warnings = server.status()["warnings"].to_string();
    assert!(warnings.contains("the one before stays in force"), "{warnings}");
    let log = fs::read_to_string(server.lab.state_dir().join("daemon.out")).unwrap();
    assert!(log.contains("migd.toml:2:9"), "{log}");

    // Mended; one key is live, the other waits for a restart.
    fs::write(&path, "[daemon]\ngrace = \"9s\"\nshared = true\n[requests]\nmax_count = 2\n")
        .unwrap();
    server.lab.ok(&["config", "reload"]);
    let now = configuration(&server);
    assert_eq!(now["problems"], serde_json::json!([]));
    assert_eq!(now["restart"], serde_json::json!(["daemon.shared"]));
    let warnings = server.status()["warnings"].to_string();
    assert!(warnings.contains("needs a restart: daemon.shared"), "{warnings}");
    let refused = server.lab.fails(3, &["lease", "--profile", "1g.6gb", "--count", "3"]);
    assert!(refused.contains("1 to 2 slices"), "{refused}");

    // A plain signal does the same; the lease lived through all of it.
    fs::write(&path, "").unwrap();
    kill("HUP", server.daemon().unwrap());
    wait_for("the reload", || (configuration(&server)["loads"] == 4).then_some(()));
    assert_eq!(configuration(&server)["restart"], serde_json::json!([]));
    assert_eq!(server.lease("kept").unwrap()["state"], "active");
}

#[test]
fn a_daemon_does_not_start_on_a_file_with_mistakes() {
    let lab = Lab::new("a30:1");
    let path = file(&lab, "[queue]\ndrain_afer = \"1s\"\n");
    let told = lab.fails(3, &["daemon", "--config", path.to_str().unwrap()]);
    assert!(told.contains("2:1: unknown key drain_afer in [queue]; write drain_after"), "{told}");
    assert!(!lab.machine_dir().join("daemon.lock").exists());
}

/// Options have the last word; the level of the log is one of the keys that the file may change.
#[test]
fn an_option_beats_the_file_also_after_a_reload() {
    let lab = Lab::new("a30:1");
    let path = file(&lab, "[daemon]\nwarm_for = \"1s\"\n");
    let server = Server { lab };
    server.start_daemon(&["--config", path.to_str().unwrap(), "--warm-for", "77s"]);
    fs::write(&path, "[daemon]\nwarm_for = \"2s\"\nlog = \"debug\"\ngrace = \"3s\"\n").unwrap();
    server.lab.ok(&["config", "reload"]);
    let log = || fs::read_to_string(server.lab.state_dir().join("daemon.out")).unwrap();
    assert!(log().contains("daemon.grace is \"3s\", was \"10s\""), "{}", log());
    assert!(!log().contains("daemon.warm_for"), "{}", log());
    server.lab.ok(&["lease", "--profile", "1g.6gb"]);
    wait_for("a line of debugging", || log().contains("DEBUG").then_some(()));
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whoever sets root's environment must not choose what root's daemon manages or how.
#[test]
fn roots_daemon_does_not_follow_the_environment() {
    let lab = Lab::new("a30:1");
    let bad = file(&lab, "nonsense = 1\n");
    let mut command: Command = migctl();
    command.arg("daemon").env("MIGD_SIMULATE", "a30:1").env("MIGD_STATE_DIR", lab.state_dir());
    if is_root() {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", told(&output));
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(words.contains("does not follow the environment"), "{words}");
    }
    let mut command = lab.command(&["daemon", "--leave-when-idle", "1s"]);
    command.env("MIGD_CONFIG", &bad).env("MIGD_DAEMON_GRACE", "soon").env("MIGD_LOG", "trace");
    let output = command.output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    if is_root() {
        assert!(output.status.success(), "{}", told(&output));
        assert!(!words.contains("TRACE") && !words.contains("DEBUG"), "{words}");
    } else {
        assert_eq!(output.status.code(), Some(3), "{}", told(&output));
        assert!(words.contains("unknown key or table nonsense"), "{words}");
        assert!(words.contains("MIGD_DAEMON_GRACE"), "{words}");
    }
}

/// Whoever moves the socket in the file moves its clients along: by option, by variable, by the file.
#[test]
fn clients_find_a_daemon_whose_socket_was_moved() {
    let server = Server { lab: Lab::shared("a30:1") };
    let folder = server.lab.state_dir().join("moved");
    fs::create_dir(&folder).unwrap();
    let socket = folder.join("here.sock");
    let path = file(&server.lab, &format!("[daemon]\nsocket = \"{}\"\n", socket.display()));
    server.start_daemon(&["--config", path.to_str().unwrap()]);
    assert!(folder.join("admin.sock").exists(), "beside the other, as the file says nothing");
    let (socket, path) = (socket.to_str().unwrap(), path.to_str().unwrap());
    let lost = server.lab.fails(2, &["events"]);
    assert!(lost.contains("no daemon answers on"), "{lost}");
    server.lab.ok(&["--socket", socket, "events"]);
    server.lab.ok(&["--socket", socket, "gpu", "cordon", "0"]);
    let with = |variables: &[(&str, &str)]| {
        let mut command = server.lab.command(&["events"]);
        command.envs(variables.iter().copied());
        command
    };
    let nowhere = folder.join("nowhere.sock");
    let nowhere = nowhere.to_str().unwrap();
    let by_file = [("MIGD_CONFIG", path)];
    let by_variable = [("MIGD_DAEMON_SOCKET", socket)];
    let variable_first = [("MIGD_CONFIG", path), ("MIGD_DAEMON_SOCKET", nowhere)];
    if is_root() {
        // Whoever sets root's environment must not choose whom root talks to.
        assert!(!with(&by_file).output().unwrap().status.success());
        assert!(!with(&by_variable).output().unwrap().status.success());
    }
    for (variables, finds) in [(&by_file[..], true), (&by_variable, true), (&variable_first, false)]
    {
        let Some(mut command) = as_ordinary_user(with(variables)) else { return };
        let output = command.output().unwrap();
        assert_eq!(output.status.success(), finds, "{variables:?}: {}", told(&output));
    }
}

/// The same command as a user without rights; `None` where nobody can act as one.
fn as_ordinary_user(command: Command) -> Option<Command> {
    if !is_root() {
        return Some(command);
    }
    Command::new("setpriv").arg("--version").output().ok()?;
    let mut user = Command::new("setpriv");
    user.args(["--reuid", "20001", "--regid", "20001", "--clear-groups", "--"]);
    user.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => user.env(name, value),
            None => user.env_remove(name),
        };
    }
    Some(user)
}

/// A window of the file is booked for its tenant; without it the bookings go.
#[test]
fn windows_of_the_file_become_bookings_and_go_with_it() {
    let lab = Lab::new("a30:1");
    let window = "[tenants.vision]\n[[window]]\nname = \"daily\"\ntenant = \"vision\"\n\
                  profile = \"2g.12gb\"\nfrom = \"00:00\"\nto = \"12:00\"\n";
    let path = file(&lab, window);
    let server = Server { lab };
    server.start_daemon(&["--config", path.to_str().unwrap()]);
    let events = || server.lab.ok(&["events", "-n", "500"]);
    let count = |words: &str| events().lines().filter(|line| line.contains(words)).count();
    wait_for("a week of bookings", || (count("vision booked 1 x 2g.12gb") >= 6).then_some(()));
    fs::write(&path, "").unwrap();
    server.lab.ok(&["config", "reload"]);
    let made = count("vision booked");
    wait_for("the bookings to go", || {
        let gone =
            events().lines().filter(|l| l.contains("cancelled") || l.contains("given up")).count();
        (gone + 1 >= made).then_some(())
    });
}
