//! `migctl run` from start to end, on a simulated server with a real daemon and real processes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod server;
mod simulated;

use std::collections::BTreeMap;
use std::process::Output;
use std::time::Duration;

use server::{Server, kill, wait_for};
use simulated::Lab;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn told(output: &Output) -> String {
    format!("{}\n{}", text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_command_finds_its_slice_and_its_status_is_passed_on() {
    let server = Server::new("dgx-a100");
    let script = "echo $CUDA_VISIBLE_DEVICES $NVIDIA_VISIBLE_DEVICES $MIGD_LEASE $0; exit 7";
    let output =
        server.lab.run(&["run", "--profile", "1g.5gb", "--", "sh", "-c", script, "{uuid}"]);
    assert_eq!(output.status.code(), Some(7), "{}", told(&output));
    let words = text(&output.stdout);
    let words: Vec<&str> = words.split_whitespace().collect();
    assert!(words[0].starts_with("MIG-"), "{words:?}");
    assert_eq!((words[0], words[0], "L1"), (words[1], words[3], words[2]));
    server.until_empty();
}

#[test]
fn a_workload_runs_inside_the_slice_and_status_draws_it() {
    let server = Server::new("dgx-a100");
    let run = server.start(&[
        "--profile",
        "2g.10gb",
        "--name",
        "train",
        "--",
        "migctl",
        "sim",
        "workload",
        "--time",
        "60s",
    ]);
    server.until("train", "active");
    let (uuid, pid) = wait_for("the workload to be seen", || {
        let status = server.status();
        let instance = &status["gpus"][0]["instances"][0]["compute_instances"][0];
        let pid = instance["processes"][0]["pid"].as_u64()?;
        Some((instance["uuid"].clone(), pid))
    });
    assert_eq!(server.lease("train").unwrap()["slices"][0]["uuid"], uuid);
    let drawn = server.lab.ok(&["status"]);
    for part in ["2g.10gb", "train", &format!("({pid},"), "room:"] {
        assert!(drawn.contains(part), "{part} is missing in:\n{drawn}");
    }
    kill("TERM", run.id());
    let output = run.wait_with_output().unwrap();
    assert!(!output.status.success(), "{}", told(&output));
    server.until_empty();
}

/// The first thing anybody types: no daemon runs yet.
#[test]
fn the_first_run_starts_the_daemon_by_itself() {
    let server = Server { lab: Lab::new("dgx-a100") };
    assert_eq!(server.daemon(), None);
    let args = ["run", "--profile", "2g.10gb", "--", "migctl", "sim", "workload", "--print"];
    let output = server.lab.run(&args);
    assert!(output.status.success(), "{}", told(&output));
    let said = text(&output.stdout);
    assert!(said.contains("running on NVIDIA A100-SXM4-40GB MIG 2g.10gb, MIG-"), "{said}");
    assert!(server.daemon().is_some());
}

/// Twenty people at once on one GPU of a server: everybody is served, nobody shares.
#[test]
fn twenty_concurrent_runs_never_share_a_slice_and_leave_nothing() {
    let server = Server::new("dgx-a100");
    let before = server.room();
    let profiles = ["1g.5gb", "2g.10gb", "3g.20gb", "1g.10gb", "4g.20gb", "7g.40gb", "1g.5gb+me"];
    let log = server.lab.state_dir().join("log");
    let script = format!(
        "echo start $CUDA_VISIBLE_DEVICES >> {0}; sleep 0.2; echo end $CUDA_VISIBLE_DEVICES >> {0}",
        log.display()
    );
    // On two of the eight GPUs, so that most have to wait.
    let runs: Vec<_> = (0..20)
        .map(|number| {
            let profile = profiles[number % profiles.len()];
            let gpu = (number % 2).to_string();
            server.start(&["--profile", profile, "--gpu", &gpu, "--", "sh", "-c", &script])
        })
        .collect();
    for run in runs {
        let output = run.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", told(&output));
    }
    let log = std::fs::read_to_string(log).unwrap();
    let mut users: BTreeMap<&str, u32> = BTreeMap::new();
    for line in log.lines() {
        let (what, slice) = line.split_once(' ').unwrap();
        let count = users.entry(slice).or_default();
        match what {
            "start" => *count += 1,
            _ => *count -= 1,
        }
        assert!(*count <= 1, "{slice} was shared:\n{log}");
    }
    assert_eq!(log.lines().count(), 40, "every run started and ended:\n{log}");
    server.until_empty();
    wait_for("every GPU to hold as much as before", || (server.room() == before).then_some(()));
}

#[test]
fn a_run_that_may_not_wait_says_what_it_would_wait_for() {
    let server = Server::new("a30:1");
    let holder = server.start(&["--profile", "4g.24gb", "--name", "all", "--", "sleep", "600"]);
    server.until("all", "active");
    let wish = ["run", "--profile", "1g.6gb"];
    let now = server.lab.run(&[&wish[..], &["--immediate", "--", "true"]].concat());
    assert_eq!(now.status.code(), Some(124), "{}", told(&now));
    assert!(text(&now.stderr).contains("L1"), "{}", told(&now));
    let soon = server.lab.run(&[&wish[..], &["--max-wait", "300ms", "--", "true"]].concat());
    assert_eq!(soon.status.code(), Some(124), "{}", told(&soon));
    assert_eq!(server.leases().len(), 1);
    kill("KILL", server.command_of("all"));
    assert_eq!(holder.wait_with_output().unwrap().status.code(), Some(137));
    server.until_empty();
}

#[test]
fn an_interrupt_leaves_the_queue_and_the_next_in_line_moves_up() {
    let server = Server::new("a30:1");
    let first = server.start(&["--profile", "4g.24gb", "--name", "first", "--", "sleep", "600"]);
    server.until("first", "active");
    let second = server.start(&["--profile", "4g.24gb", "--name", "second", "--", "true"]);
    server.until("second", "queued");
    let third = server.start(&["--profile", "4g.24gb", "--name", "third", "--", "true"]);
    assert_eq!(server.until("third", "queued")["queue_position"], 2);
    kill("INT", second.id());
    let output = second.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", told(&output));
    assert!(text(&output.stderr).contains("waits"), "{}", told(&output));
    assert_eq!(server.until("third", "queued")["queue_position"], 1);
    kill("TERM", server.command_of("first"));
    first.wait_with_output().unwrap();
    let output = third.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    server.until_empty();
}

#[test]
fn the_time_limit_ends_a_command_that_ignores_term() {
    let server = Server::with_daemon("dgx-a100", &["--grace", "500ms"]);
    let script = "trap '' TERM; echo begun; while :; do sleep 0.1; done";
    let run = server.start(&["--profile", "1g.5gb", "--time", "1s", "--", "sh", "-c", script]);
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(137), "{}", told(&output));
    assert!(text(&output.stderr).contains("time"), "{}", told(&output));
    server.until_empty();
    let events = server.lab.ok(&["events", "-n", "100"]);
    for part in ["its time is over", "sent TERM", "sent KILL"] {
        assert!(events.contains(part), "{part} is missing in:\n{events}");
    }
}

#[test]
fn several_slices_are_all_or_none_and_memory_is_a_need() {
    let server = Server::new("dgx-a100");
    let args = ["run", "--gpu-mem", "10g", "--compute", "2g", "--count", "3", "--gpu", "2"];
    let output =
        server.lab.run(&[&args[..], &["--", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES"]].concat());
    assert!(output.status.success(), "{}", told(&output));
    let line = text(&output.stdout);
    let mut uuids: Vec<&str> = line.trim().split(',').collect();
    uuids.sort_unstable();
    uuids.dedup();
    assert_eq!(uuids.len(), 3, "{line}");
    server.until_empty();
    let too_many = [&args[..5], &["--count", "99", "--", "true"]].concat();
    let output = server.lab.run(&too_many);
    assert!(text(&output.stderr).contains("at most"), "{}", told(&output));
    assert_eq!(output.status.code(), Some(125), "{}", told(&output));
}

/// A script must be able to tell our refusal from the program's own exit status 3.
#[test]
fn under_run_every_failure_of_ours_is_125() {
    let server = Server::new("a30:1");
    for wish in [["--profile", "foo"], ["--profile", "9g.99gb"], ["--count", "0"]] {
        let output = server.lab.run(&[&["run"][..], &wish, &["--", "true"]].concat());
        assert_eq!(output.status.code(), Some(125), "{wish:?}: {}", told(&output));
    }
    assert_eq!(server.lab.run(&["lease", "--profile", "foo"]).status.code(), Some(3));
    let nearest = server.lab.fails(3, &["lease", "--profile", "1g.5gb"]);
    assert!(nearest.contains("nearest: 1g.6gb"), "{nearest}");
}

/// The shell to which a lease was exported, and what it runs, is no user of the slice.
#[test]
fn a_released_lease_does_not_wait_for_the_shell_it_was_exported_to() {
    let server = Server::new("a30:1");
    let lines = server.lab.ok(&["lease", "--profile", "1g.6gb", "--name", "mine", "--export"]);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &format!("{lines}\nexec sh -c 'sleep 60; true'")]);
    let mut shell = shell.spawn().unwrap();
    server.lab.ok(&["release", "mine"]);
    server.until_empty();
    assert!(server::runs(shell.id()));
    shell.kill().unwrap();
    shell.wait().unwrap();
}

#[test]
fn leases_without_a_process_live_until_released_or_expired() {
    let server = Server::new("dgx-a100");
    let lease = server.lab.json(&["lease", "--profile", "1g.5gb", "--name", "notebook"]);
    assert_eq!(lease["state"], "active");
    assert_eq!(server.leases().len(), 1);
    server.lab.ok(&["release", "notebook"]);
    server.until_empty();
    let args = ["lease", "--profile", "1g.5gb", "--name", "short", "--for", "500ms"];
    server.lab.ok(&args);
    std::thread::sleep(Duration::from_millis(300));
    server.until_empty();
    let again = server.lab.fails(1, &["release", "short"]);
    assert!(again.contains("short"), "{again}");
}

#[test]
fn a_command_that_cannot_start_gives_its_slice_back() {
    let server = Server::new("dgx-a100");
    let missing = server.lab.run(&["run", "--profile", "1g.5gb", "--", "no-such-command"]);
    assert_eq!(missing.status.code(), Some(127), "{}", told(&missing));
    let folder = server.lab.run(&["run", "--profile", "1g.5gb", "--", "/"]);
    assert_eq!(folder.status.code(), Some(126), "{}", told(&folder));
    server.until_empty();
}
