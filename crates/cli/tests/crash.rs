//! What is acknowledged survives the death of anything, and what died is cleaned up.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod server;
mod simulated;

use std::collections::BTreeSet;
use std::process::Child;

use server::{Server, kill, runs, wait_for};

fn names(server: &Server) -> BTreeSet<String> {
    let leases = server.leases();
    leases.iter().map(|lease| lease["name"].as_str().unwrap().to_owned()).collect()
}

/// Which slice each lease has.
fn slices(server: &Server) -> BTreeSet<(String, String)> {
    let leases = server.leases();
    leases
        .iter()
        .map(|lease| {
            let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
            (text(&lease["name"]), text(&lease["slices"][0]["uuid"]))
        })
        .collect()
}

fn ten_holders(server: &Server) -> Vec<Child> {
    let runs: Vec<Child> = (0..10)
        .map(|number| {
            let name = format!("job{number}");
            let workload = ["--", "migctl", "sim", "workload", "--time", "600s"];
            let wish = ["--profile", "1g.5gb", "--name", &name];
            server.start(&[&wish[..], &workload[..]].concat())
        })
        .collect();
    for number in 0..10 {
        server.until(&format!("job{number}"), "active");
    }
    runs
}

#[test]
fn leases_survive_the_daemon_and_dead_holders_give_back() {
    let server = Server::new("dgx-a100");
    let mut holders = ten_holders(&server);
    let before = slices(&server);
    assert_eq!(before.len(), 10);
    let commands: Vec<u32> =
        (0..5).map(|number| server.command_of(&format!("job{number}"))).collect();

    server.kill_daemon();
    server.start_daemon(&[]);
    assert_eq!(slices(&server), before, "the ten are there, each with its slice");

    server.kill_daemon();
    for (holder, command) in holders[..5].iter_mut().zip(commands) {
        kill("KILL", holder.id());
        kill("KILL", command);
        holder.wait().unwrap();
    }
    server.start_daemon(&[]);
    let left: BTreeSet<String> = (5..10).map(|number| format!("job{number}")).collect();
    wait_for("the dead to give back", || (names(&server) == left).then_some(()));
    let alive: BTreeSet<_> = before.iter().filter(|(name, _)| left.contains(name)).collect();
    assert_eq!(slices(&server).iter().collect::<BTreeSet<_>>(), alive);

    // Their room is there again: seven on each of eight GPUs, less five.
    let room: u64 = server
        .room()
        .iter()
        .flat_map(|gpu| gpu.as_array().unwrap())
        .filter(|room| room["profile"] == "1g.5gb")
        .map(|room| room["count"].as_u64().unwrap())
        .sum();
    assert_eq!(room, 8 * 7 - 5);
    for holder in &mut holders[5..] {
        kill("TERM", holder.id());
        holder.wait().unwrap();
    }
    server.until_empty();
}

#[test]
fn the_command_of_a_dead_migctl_is_ended_before_its_slice_is_granted_again() {
    let server = Server::new("a30:1");
    let workload = ["--", "migctl", "sim", "workload", "--time", "600s"];
    let mut holder =
        server.start(&[&["--profile", "4g.24gb", "--name", "first"][..], &workload].concat());
    server.until("first", "active");
    let command = server.command_of("first");
    let next = server.start(&["--profile", "4g.24gb", "--name", "next", "--", "true"]);
    server.until("next", "queued");
    kill("KILL", holder.id());
    holder.wait().unwrap();
    let output = next.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!runs(command), "the command was ended first");
    let events = server.lab.ok(&["events", "-n", "100"]);
    let ended = events.find("L1 ended").unwrap();
    let granted = events.find("L2 has").unwrap();
    assert!(ended < granted, "{events}");
}

#[test]
fn a_child_that_left_the_group_blocks_the_slice_and_is_named() {
    let server = Server::new("a30:1");
    let file = server.lab.state_dir().join("pid");
    let script = format!(
        "setsid sh -c 'echo $$ > {}; exec migctl sim workload --time 600s' & \
         exec migctl sim workload --time 600s --gpu-mem 100MiB",
        file.display()
    );
    let mut holder =
        server.start(&["--profile", "4g.24gb", "--name", "first", "--", "sh", "-c", &script]);
    server.until("first", "active");
    let stray: u32 = wait_for("the stray to say its pid", || {
        std::fs::read_to_string(&file).ok()?.trim().parse().ok()
    });
    let command = server.command_of("first");
    wait_for("both to be on the slice", || {
        let status = server.status();
        let on = &status["gpus"][0]["instances"][0]["compute_instances"][0]["processes"];
        (on.as_array()?.len() == 2).then_some(())
    });
    let next = server.start(&["--profile", "1g.6gb", "--name", "next", "--", "true"]);
    server.until("next", "queued");
    kill("KILL", holder.id());
    holder.wait().unwrap();
    wait_for("the command to be ended", || (!runs(command)).then_some(()));
    let held = wait_for("the stray to be named", || {
        let lease = server.lease("first")?;
        let held = lease["held_by"].as_array()?.clone();
        let only = [held.first()?.as_str()?.to_owned()];
        (held.len() == 1).then_some(only)
    });
    assert!(held[0].contains(&format!("pid {stray} ")), "{held:?}");
    assert!(runs(stray), "what does not belong to the lease is not killed");
    assert_eq!(server.until("next", "queued")["state"], "queued");
    kill("TERM", stray);
    let output = next.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    server.until_empty();
}

#[test]
fn a_command_outlives_a_daemon_that_dies_and_its_lease_is_given_back_to_the_next() {
    let server = Server::new("dgx-a100");
    let run = server.start(&["--profile", "1g.5gb", "--name", "steady", "--", "sleep", "3"]);
    server.until("steady", "active");
    server.kill_daemon();
    server.start_daemon(&[]);
    let output = run.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    server.until_empty();
}

/// The journal is damaged while the daemon is down: noticed, kept, said, and nothing running is
/// touched.
#[test]
fn a_damaged_journal_is_set_aside_and_running_slices_become_foreign() {
    let server = Server::new("dgx-a100");
    let workload = ["--", "migctl", "sim", "workload", "--time", "600s"];
    let mut holder =
        server.start(&[&["--profile", "3g.20gb", "--name", "busy"][..], &workload].concat());
    server.until("busy", "active");
    let command = server.command_of("busy");
    server.kill_daemon();
    let journal = server.lab.machine_dir().join("journal.db");
    for name in ["journal.db-wal", "journal.db-shm"] {
        let _ = std::fs::remove_file(server.lab.machine_dir().join(name));
    }
    std::fs::write(&journal, b"scrambled, and for long enough to be read".repeat(200)).unwrap();
    server.start_daemon(&[]);
    let status = server.status();
    let warning = status["warnings"][0].as_str().unwrap();
    assert!(warning.contains("damaged") && warning.contains("set aside"), "{warning}");
    let aside = std::fs::read_dir(server.lab.machine_dir()).unwrap().flatten();
    assert!(
        aside
            .into_iter()
            .any(|file| { file.file_name().to_string_lossy().starts_with("journal.db.damaged-") })
    );
    assert_eq!(status["gpus"][0]["instances"][0]["used"], "foreign");
    assert!(runs(command));
    let drawn = server.lab.run(&["status"]);
    let all = [drawn.stdout, drawn.stderr].concat();
    let all = String::from_utf8_lossy(&all);
    assert!(all.contains("set aside") && all.contains("foreign"), "{all}");
    // Nobody may take what nobody's record explains.
    let refused =
        server.lab.run(&["run", "--profile", "7g", "--gpu", "0", "--immediate", "--", "true"]);
    assert_eq!(refused.status.code(), Some(124));
    assert!(runs(command));
    kill("KILL", command);
    holder.wait().unwrap();
}
