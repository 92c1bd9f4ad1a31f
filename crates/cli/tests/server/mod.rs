//! A simulated server with its daemon, driven as its users would.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use serde_json::Value;

use crate::simulated::{Lab, PATIENCE};

/// A machine of a test's own; its daemon ends with the value.
pub struct Server {
    pub lab: Lab,
}

impl Server {
    /// A server whose driver calls take no time, with its daemon running and its GPUs ready.
    pub fn new(kind: &'static str) -> Self {
        Self::with_daemon(kind, &[])
    }

    /// As [`Server::new`], with options for the daemon.
    pub fn with_daemon(kind: &'static str, options: &[&str]) -> Self {
        let server = Self { lab: Lab::new(kind) };
        server.start_daemon(options);
        wait_for("the GPUs to be ready", || {
            let ready = |gpu: &Value| gpu["mig"] == "enabled" && gpu["maintenance"] == false;
            server.status()["gpus"].as_array()?.iter().all(ready).then_some(())
        });
        server
    }

    /// The pid of the daemon that runs, if one does.
    pub fn daemon(&self) -> Option<u32> {
        let text = fs::read_to_string(self.lab.machine_dir().join("daemon.lock")).ok()?;
        let pid: u32 = text.trim().parse().ok()?;
        runs(pid).then_some(pid)
    }

    /// `kill -9` of the daemon; returns when it is gone.
    pub fn kill_daemon(&self) {
        let pid = self.daemon().expect("a daemon runs");
        kill("KILL", pid);
        wait_for("the daemon to be gone", || (!runs(pid)).then_some(()));
    }

    /// Waits for a daemon that died: its first thread may be gone while others still end, and they
    /// hold the lock.
    fn until_lock_is_free(&self) {
        let Ok(lock) = fs::File::open(self.lab.machine_dir().join("daemon.lock")) else { return };
        let free = || flock(&lock, FlockOperation::NonBlockingLockExclusive).ok();
        wait_for("the lock of the last daemon to be free", free);
    }

    /// Starts a daemon with these options and waits until it answers.
    #[allow(clippy::zombie_processes, reason = "it outlives this call, and ends with the test")]
    pub fn start_daemon(&self, options: &[&str]) {
        self.until_lock_is_free();
        let args: Vec<&str> = ["daemon"].iter().chain(options).copied().collect();
        let path = self.lab.state_dir().join("daemon.out");
        let log = fs::File::create(&path).unwrap();
        let mut command = self.lab.command(&args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.spawn().unwrap();
        // Its log is read, not the machine: whoever looks at an Ampere GPU through NVML at this
        // moment keeps MIG from being enabled.
        wait_for("the daemon to listen", || {
            let said = fs::read_to_string(&path).unwrap();
            assert!(!said.contains("migctl: "), "the daemon did not start: {said}");
            said.contains("listening").then_some(())
        });
    }

    /// Starts a daemon, unless one of the users was faster: a `migctl run` whose daemon died in the
    /// middle of its call starts another one by itself.
    pub fn revive_daemon(&self) {
        let start = || {
            let mut command = self.lab.command(&["daemon", "--detached"]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().unwrap()
        };
        let mut child = start();
        // `status` would do without a daemon.
        wait_for("a daemon to answer", || {
            if self.lab.run(&["events"]).status.success() {
                return Some(());
            }
            // The lock of the one that died may have been its own for a moment longer.
            if child.try_wait().unwrap().is_some() {
                child = start();
            }
            None
        });
        std::thread::spawn(move || child.wait());
    }

    /// The machine as `status --json` tells.
    pub fn status(&self) -> Value {
        self.lab.json(&["status"])
    }

    /// Live leases.
    pub fn leases(&self) -> Vec<Value> {
        self.status()["leases"].as_array().unwrap().clone()
    }

    /// The live lease with this name.
    pub fn lease(&self, name: &str) -> Option<Value> {
        self.leases().into_iter().find(|lease| lease["name"] == name)
    }

    /// Waits until the lease with this name is in this state.
    pub fn until(&self, name: &str, state: &str) -> Value {
        let begun = Instant::now();
        loop {
            if let Some(lease) = self.lease(name).filter(|lease| lease["state"] == state) {
                return lease;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "waited in vain for {name} to be {state}:\n{}\n{}",
                self.lab.ok(&["status"]),
                self.lab.ok(&["events", "-n", "200"])
            );
            sleep(Duration::from_millis(30));
        }
    }

    /// The pid of the command of the lease with this name, once it is known.
    pub fn command_of(&self, name: &str) -> u32 {
        wait_for(&format!("the command of {name}"), || {
            self.lease(name)?["command_pid"].as_u64().map(|pid| pid as u32)
        })
    }

    /// Waits until no lease is left.
    pub fn until_empty(&self) {
        wait_for("every lease to end", || self.leases().is_empty().then_some(()));
    }

    /// `migctl run ARGS`, started.
    pub fn start(&self, args: &[&str]) -> Child {
        let args: Vec<&str> = ["run"].iter().chain(args).copied().collect();
        let mut command = self.lab.command(&args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Room per GPU: for each, the list of profiles with counts.
    pub fn room(&self) -> Vec<Value> {
        let status = self.status();
        status["gpus"].as_array().unwrap().iter().map(|gpu| gpu["room"].clone()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(pid) = self.daemon() {
            kill("KILL", pid);
        }
    }
}

/// Sends a signal.
pub fn kill(signal: &str, pid: u32) {
    let sent = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status();
    assert!(sent.unwrap().success(), "kill -{signal} {pid}");
}

/// Whether a process runs; a zombie does not.
pub fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| {
        let state = rest.split_whitespace().next().unwrap_or("Z");
        state != "Z" && state != "X"
    }) && !stat.is_empty()
}

/// Asks until there is an answer.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        sleep(Duration::from_millis(30));
    }
}
