//! What migd changed is given back, and nothing else.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where a step fails")]

mod server;
mod simulated;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use server::{Server, runs};
use simulated::{Lab, told};

/// The nodes of the machine's slices, with their permissions.
fn nodes(lab: &Lab) -> Vec<(std::path::PathBuf, u32)> {
    let folder = lab.machine_dir().join("root/dev/nvidia-caps");
    let mut nodes: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::metadata(&path).unwrap().permissions().mode() & 0o777))
        .collect();
    nodes.sort();
    nodes
}

#[test]
fn nodes_and_sockets_are_given_back_and_programs_go_on() {
    let server = Server::with_daemon("a30:1", &["--enforce", "on"]);
    let lab = &server.lab;
    let mut run = server.start(&["--profile", "1g.6gb", "--name", "job", "--", "sleep", "600"]);
    let command = server.command_of("job");

    // Not while it runs, and not unasked.
    let words = lab.fails(5, &["uninstall", "--yes"]);
    assert!(words.contains("systemctl disable --now"), "{words}");
    let closed = nodes(lab);
    server.kill_daemon();
    let output = lab.command(&["uninstall"]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    assert_eq!(nodes(lab), closed, "asked for nothing, changed nothing");

    let cdi = lab.machine_dir().join("root/etc/cdi");
    fs::create_dir_all(&cdi).unwrap();
    fs::write(cdi.join("migd.json"), "{\"kind\": \"migd.dev/lease\"}").unwrap();
    fs::write(cdi.join("nvidia.json"), "{\"kind\": \"nvidia.com/gpu\"}").unwrap();
    lab.ok(&["uninstall", "--yes"]);
    assert!(closed.iter().any(|(_, mode)| mode & 0o004 == 0), "some were closed: {closed:?}");
    let after = nodes(lab);
    let closed_still: Vec<_> = after
        .iter()
        .filter(|(path, _)| {
            // Those of the machine itself are the administrator's in stock, too.
            !["nvidia-cap0", "nvidia-cap1", "nvidia-cap2"].iter().any(|name| path.ends_with(name))
        })
        .filter(|(_, mode)| mode & 0o444 != 0o444)
        .collect();
    assert!(closed_still.is_empty(), "before {closed:?}, after {after:?}");
    let state = lab.machine_dir();
    assert!(!state.join("run/migd.sock").exists() && !state.join("run/admin.sock").exists());
    assert!(state.join("journal.db").exists());
    assert!(!cdi.join("migd.json").exists() && cdi.join("nvidia.json").exists());
    assert!(runs(command), "nothing that runs is stopped");

    lab.ok(&["uninstall", "--yes", "--purge"]);
    let left: Vec<_> = fs::read_dir(&state)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("journal") || name.starts_with("ledger"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(state.join("state").exists(), "the simulated machine itself is not migd's");
    server::kill("KILL", command);
    let _ = run.kill();
    let _ = run.wait();
}
