//! The daemon killed again and again under load, with real processes on the slices.
//!
//! `MIGD_KILLS` says how often (8 unless it is set; `.ci/soak` sets 200). Must never look at what
//! the daemon believes alone: who was on which slice is told by locks that die with their holders.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod server;
mod simulated;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;
use server::{Server, kill, runs, wait_for};

/// What a command ends with when somebody else is on its slice.
const CLASH: i32 = 77;
/// Profiles of the board below, small ones more often.
const WISHES: [&str; 7] =
    ["1g.5gb", "1g.5gb", "1g.5gb", "1g.10gb", "2g.10gb", "3g.20gb", "7g.40gb"];

/// Chance with a seed, so that a run can be repeated as far as the machine allows.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// What was acknowledged and not given back: lease id and UUIDs.
type Ledger = Arc<Mutex<BTreeMap<String, Vec<String>>>>;

struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    workers: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts users who run commands, and others who take leases and give them back.
    fn start(server: &Arc<Server>, ledger: &Ledger, locks: &Path, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let served = Arc::new(AtomicU64::new(0));
        let mut workers = Vec::new();
        for number in 0..10 {
            let (server, stop, served) =
                (Arc::clone(server), Arc::clone(&stop), Arc::clone(&served));
            let locks = locks.to_owned();
            workers.push(thread::spawn(move || {
                let mut chance = Chance(seed + 1000 + number);
                while !stop.load(Ordering::Relaxed) {
                    run_once(&server, &locks, &mut chance);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
        for number in 0..3 {
            let (server, stop, served) =
                (Arc::clone(server), Arc::clone(&stop), Arc::clone(&served));
            let ledger = Arc::clone(ledger);
            workers.push(thread::spawn(move || {
                let mut chance = Chance(seed + 2000 + number);
                while !stop.load(Ordering::Relaxed) {
                    lease_once(&server, &ledger, &mut chance);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
        Self { stop, served, workers }
    }

    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers {
            worker.join().unwrap();
        }
        self.served.load(Ordering::Relaxed)
    }
}

/// A command on a slice: it locks the slice's file for as long as it lives.
fn run_once(server: &Server, locks: &Path, chance: &mut Chance) {
    let wish = WISHES[chance.below(WISHES.len() as u64) as usize];
    let time = format!("{}ms", 20 + chance.below(600));
    let script = format!(
        "exec flock -n -E {CLASH} {}/$CUDA_VISIBLE_DEVICES migctl sim workload --time {time}",
        locks.display()
    );
    let mut command = server.lab.command(&["run", "--profile", wish, "--", "sh", "-c", &script]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    if chance.below(6) == 0 {
        // A holder that dies without a word.
        thread::sleep(Duration::from_millis(chance.below(400)));
        let _ = Command::new("kill").args(["-KILL", &child.id().to_string()]).output();
        child.wait_with_output().unwrap();
        return;
    }
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_ne!(output.status.code(), Some(CLASH), "two on one slice: {told}");
    assert_eq!(output.status.code(), Some(0), "{wish}: {told}");
}

/// A lease that is acknowledged, kept for a moment, looked for, and given back.
fn lease_once(server: &Server, ledger: &Ledger, chance: &mut Chance) {
    let mut command =
        server.lab.command(&["--json", "lease", "--profile", "1g.5gb", "--for", "1h"]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    if !output.status.success() {
        // The daemon was dead when it was asked; nothing was acknowledged.
        return;
    }
    let lease: Value = serde_json::from_slice(&output.stdout).unwrap();
    let id = lease["id"].as_str().unwrap().to_owned();
    ledger.lock().unwrap().insert(id.clone(), uuids(&lease));
    thread::sleep(Duration::from_millis(chance.below(900)));
    // From here on it may be gone: a release that was not answered may have been taken.
    ledger.lock().unwrap().remove(&id);
    wait_for(&format!("{id} to be given back"), || {
        let output = server.lab.run(&["release", &id]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success() || told.contains("E-LEASE-UNKNOWN")).then_some(())
    });
}

fn uuids(lease: &Value) -> Vec<String> {
    let slices = lease["slices"].as_array().unwrap();
    slices.iter().map(|slice| slice["uuid"].as_str().unwrap().to_owned()).collect()
}

/// Everything acknowledged is there with its slices, and no slice has two leases.
fn nothing_is_lost(server: &Server, acknowledged: &BTreeMap<String, Vec<String>>, ledger: &Ledger) {
    let leases = server.leases();
    let found: BTreeMap<String, Vec<String>> = leases
        .iter()
        .map(|lease| (lease["id"].as_str().unwrap().to_owned(), uuids(lease)))
        .collect();
    for (id, slices) in acknowledged {
        // Given back meanwhile.
        if !ledger.lock().unwrap().contains_key(id) {
            continue;
        }
        assert_eq!(found.get(id), Some(slices), "{id} was acknowledged");
    }
    let mut owners: BTreeMap<&String, &String> = BTreeMap::new();
    for (id, slices) in &found {
        for slice in slices {
            let other = owners.insert(slice, id);
            assert_eq!(other, None, "{slice} is of {id} and of {other:?}");
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_orphaned_however_often_the_daemon_dies() {
    let kills: u64 = std::env::var("MIGD_KILLS").map_or(8, |text| text.parse().unwrap());
    let seed: u64 = std::env::var("MIGD_SEED").map_or(1, |text| text.parse().unwrap());
    let server = Arc::new(Server::new("dgx-a100"));
    let empty = server.room();
    let locks = server.lab.state_dir().join("locks");
    std::fs::create_dir(&locks).unwrap();
    let ledger = Ledger::default();
    let load = Load::start(&server, &ledger, &locks, seed);
    let mut chance = Chance(seed);
    for _ in 0..kills {
        thread::sleep(Duration::from_millis(50 + chance.below(700)));
        let acknowledged = ledger.lock().unwrap().clone();
        if let Some(pid) = server.daemon() {
            kill("KILL", pid);
            wait_for("the daemon to be gone", || (!runs(pid)).then_some(()));
        }
        thread::sleep(Duration::from_millis(chance.below(150)));
        server.revive_daemon();
        nothing_is_lost(&server, &acknowledged, &ledger);
    }
    let served = load.end();
    for lease in server.leases() {
        // Commands whose `migctl` was killed together with their daemon may still end.
        if lease["state"] == "active" && lease["client_pid"].is_null() {
            server.lab.ok(&["release", lease["id"].as_str().unwrap()]);
        }
    }
    server.until_empty();
    let foreign: Vec<Value> = server.status()["gpus"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|gpu| gpu["instances"].as_array().unwrap().clone())
        .filter(|instance| instance["used"] == "foreign")
        .collect();
    assert!(foreign.is_empty(), "orphans: {foreign:?}");
    assert_eq!(server.room(), empty, "all the room is there again");
    println!("{kills} kills, {served} commands and leases served (MIGD_SEED={seed})");
    if let Some(pid) = server.daemon() {
        kill("TERM", pid);
    }
}
