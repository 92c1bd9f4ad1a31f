//! A simulated machine of a test's own, driven through the real `migctl`.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where a step fails")]
#![allow(missing_debug_implementations, reason = "nobody prints these")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use sim_gpu::{Caller, ComputeInstanceRequest, Node};
use sim_nvml::SimHost;
use tempfile::TempDir;

/// How long anything may take before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The machine, in a folder that goes away with the value.
pub struct Lab {
    dir: TempDir,
    kind: &'static str,
    shared: bool,
}

impl Lab {
    /// A machine whose driver calls take no time.
    pub fn new(kind: &'static str) -> Self {
        let lab = Self::empty(kind);
        lab.ok(&["sim", "latency", "zero"]);
        lab
    }

    /// As [`Lab::new`], with other users let in.
    pub fn shared(kind: &'static str) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let lab = Self { shared: true, ..Self::empty(kind) };
        let everybody = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(lab.dir.path(), everybody).unwrap();
        lab.ok(&["sim", "latency", "zero"]);
        lab
    }

    /// A place for a machine that does not exist yet.
    pub fn empty(kind: &'static str) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), kind, shared: false }
    }

    /// Where its state is.
    pub fn state_dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its folder.
    pub fn machine_dir(&self) -> PathBuf {
        self.dir.path().join("sim").join(self.kind.replace(':', "@"))
    }

    /// Its inside.
    pub fn machine(&self) -> SimHost {
        SimHost::open(&self.machine_dir()).unwrap()
    }

    /// `migctl --simulate KIND --state-dir DIR ARGS`, not yet started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = migctl();
        command.args(["--simulate", self.kind, "--state-dir"]).arg(self.dir.path());
        if self.shared {
            command.arg("--shared");
        }
        command.args(args);
        command
    }

    /// Runs it to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs it, which must succeed; its stdout.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", told(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs it with `--json`.
    pub fn json(&self, args: &[&str]) -> Value {
        let args: Vec<&str> = ["--json"].iter().chain(args).copied().collect();
        serde_json::from_str(&self.ok(&args)).unwrap()
    }

    /// Runs it, which must fail with this exit code; its stderr.
    pub fn fails(&self, code: i32, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", told(&output));
        String::from_utf8(output.stderr).unwrap()
    }

    /// Turns MIG on for a GPU, from outside of NVML.
    pub fn enable_mig(&self, gpu: usize) {
        let machine = self.machine();
        let caller = machine.caller();
        let change =
            |node: &mut Node, now| node.set_mig_mode(gpu, caller, model::MigMode::Enabled, now);
        let change = machine.change(change).unwrap().unwrap();
        assert_eq!(change.activation, sim_gpu::Return::Success);
    }

    /// Makes a slice of this profile (`1g.5gb`), from outside of NVML; its UUID.
    pub fn slice(&self, gpu: usize, profile: &str) -> String {
        let machine = self.machine();
        let caller = machine.caller();
        machine.change(|node, now| make_slice(node, gpu, caller, profile, now)).unwrap()
    }

    /// Takes the slice with this UUID away, as somebody by hand would.
    pub fn destroy(&self, uuid: &str) {
        let machine = self.machine();
        let caller = machine.caller();
        let change = machine.change(|node, now| {
            let (gpu, compute) = node.mig_device_by_uuid(uuid).unwrap();
            node.destroy_compute_instance(gpu, caller, compute, now).unwrap();
            node.destroy_gpu_instance(gpu, caller, compute.instance, now).unwrap();
        });
        change.unwrap();
    }

    /// Starts a workload with these options and waits until it says where it runs.
    pub fn workload(&self, options: &[&str]) -> Workload {
        self.workload_with(options, |_| {})
    }

    /// As [`Lab::workload`], with a change to the command.
    pub fn workload_with(&self, options: &[&str], change: impl FnOnce(&mut Command)) -> Workload {
        let args: Vec<&str> =
            ["sim", "workload"].into_iter().chain(options.iter().copied()).collect();
        let mut command = self.command(&args);
        change(&mut command);
        Workload::start(command)
    }
}

/// `migctl` without anything of the tester's own environment.
pub fn migctl() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_migctl"));
    for name in [
        "MIGD_SIMULATE",
        "MIGD_SIM_HOST",
        "MIGD_SIM_RIGHTS",
        "MIGD_STATE_DIR",
        "CUDA_VISIBLE_DEVICES",
        "LD_LIBRARY_PATH",
    ] {
        command.env_remove(name);
    }
    command
}

fn make_slice(
    node: &mut Node,
    gpu: usize,
    caller: Caller,
    profile: &str,
    now: model::Timestamp,
) -> String {
    let geometry = &node.board(gpu).unwrap().geometry;
    let known = geometry.select(&profile.parse().unwrap()).unwrap().clone();
    let instance = node.create_gpu_instance(gpu, caller, known.id, None, now).unwrap();
    let whole = known.whole_compute_profile().unwrap().id;
    let request = ComputeInstanceRequest { instance, profile: whole, placement: None };
    let compute = node.create_compute_instance(gpu, caller, request, now).unwrap();
    node.mig_uuid(gpu, compute).unwrap().to_string()
}

/// A running workload; killed with the value.
pub struct Workload {
    pub child: Child,
    /// Its first line.
    pub line: String,
    pub stdout: BufReader<ChildStdout>,
}

impl Workload {
    /// Starts the command of a workload and waits until it says where it runs.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert!(line.starts_with("running on "), "{line:?}");
        Self { child, line: line.trim_end().to_owned(), stdout }
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal by name.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Waits for its end; its exit code, or `None` if a signal ended it.
    pub fn end(mut self) -> Option<i32> {
        let mut status = None;
        until("the workload ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal by name.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args(["-s", name, &pid.to_string()]).status().unwrap();
    assert!(status.success(), "kill -s {name} {pid}");
}

/// Waits until something holds.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What a command told.
pub fn told(output: &Output) -> String {
    format!(
        "{}\n--- stdout\n{}\n--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Whether missing tools are failures, not reasons to skip.
pub fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

/// Says that a test did not run; in CI that is a failure.
pub fn skip(test: &str, why: &str) {
    assert!(!in_ci(), "{test} must run in CI: {why}");
    // Not by a macro: what those print is hidden when the test passes.
    let line = format!("SKIPPED {test}: {why}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}
