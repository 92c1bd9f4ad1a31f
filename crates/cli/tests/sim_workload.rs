//! `migctl sim workload` as the driver and other programs see it: a process that computes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where a step fails")]

mod simulated;

use std::io::BufRead as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;

use serde_json::Value;
use simulated::{Lab, migctl, signal, told, until};

fn processes(lab: &Lab) -> Vec<Value> {
    lab.json(&["sim", "show"])["processes"].as_array().unwrap().clone()
}

fn lab_with_slice() -> (Lab, String) {
    let lab = Lab::new("dgx-a100");
    lab.enable_mig(1);
    let uuid = lab.slice(1, "1g.5gb");
    (lab, uuid)
}

#[test]
fn it_says_where_it_runs_and_is_listed_with_its_pid_and_memory() {
    let (lab, uuid) = lab_with_slice();
    let work = lab.workload(&["--on", &uuid, "--gpu-mem", "2g", "--time", "60s"]);
    let wanted = format!("running on NVIDIA A100-SXM4-40GB MIG 1g.5gb, {uuid}, 4,864 MiB, 14 SMs");
    assert_eq!(work.line, wanted);
    let listed = processes(&lab);
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(listed[0]["pid"], work.pid());
    assert_eq!(listed[0]["gpu"], 1);
    assert_eq!(listed[0]["memory_mib"], 2048);
    work.signal("TERM");
    assert_eq!(work.end(), Some(143));
    assert!(processes(&lab).is_empty());
}

#[test]
fn it_opens_the_nodes_a_cuda_program_opens() {
    let (lab, uuid) = lab_with_slice();
    let work = lab.workload(&["--on", &uuid, "--time", "60s"]);
    let fds = std::fs::read_dir(format!("/proc/{}/fd", work.pid())).unwrap();
    let dev = lab.machine_dir().join("root/dev");
    let mut open: Vec<PathBuf> = fds
        .filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok())
        .filter_map(|path| path.strip_prefix(&dev).map(ToOwned::to_owned).ok())
        .collect();
    open.sort();
    // GPU minor 1, GI 13 (the driver's choice for the first 1g): 3 + 135 + 9 x 13 = 255.
    let wanted = ["nvidia-caps/nvidia-cap255", "nvidia-caps/nvidia-cap256", "nvidia-uvm"];
    let wanted: Vec<PathBuf> =
        wanted.into_iter().chain(["nvidia1", "nvidiactl"]).map(PathBuf::from).collect();
    assert_eq!(open, wanted);
}

#[test]
fn it_ends_by_itself_and_when_it_is_told_to_but_may_be_stubborn() {
    let (lab, uuid) = lab_with_slice();
    let short = lab.workload(&["--on", &uuid, "--time", "50ms"]);
    assert_eq!(short.end(), Some(0));
    let stubborn = lab.workload(&["--on", &uuid, "--time", "60s", "--ignore-term"]);
    stubborn.signal("TERM");
    let gone = lab.workload(&["--on", &uuid, "--time", "60s"]);
    gone.signal("INT");
    assert_eq!(gone.end(), Some(130));
    assert_eq!(processes(&lab)[0]["pid"], stubborn.pid());
    stubborn.signal("KILL");
    assert_eq!(stubborn.end(), None);
    assert!(processes(&lab).is_empty(), "the driver forgets what a killed process held");
}

#[test]
fn it_obeys_cuda_visible_devices() {
    let (lab, first) = lab_with_slice();
    let second = lab.slice(1, "2g.10gb");
    let line_of = |value: &str| {
        let mut command = lab.command(&["sim", "workload", "--print"]);
        let output = command.env("CUDA_VISIBLE_DEVICES", value).output().unwrap();
        (output.status.code(), told(&output))
    };
    for uuid in [&first, &second] {
        let (code, text) = line_of(uuid);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains(uuid.as_str()), "{text}");
    }
    let (code, text) = line_of("0");
    assert!(code == Some(0) && text.contains("GPU-"), "GPU 0 is whole: {text}");
    for nothing in ["", "MIG-00000000-0000-0000-0000-000000000000", "99", "-1"] {
        let (code, text) = line_of(nothing);
        assert_eq!(code, Some(1), "{nothing:?}: {text}");
        assert!(text.contains("CUDA error 100: no CUDA-capable device"), "{nothing:?}: {text}");
    }
    assert!(processes(&lab).is_empty());
}

#[test]
fn more_memory_than_the_slice_has_fails_as_cuda_does() {
    let (lab, uuid) = lab_with_slice();
    let error = lab.fails(1, &["sim", "workload", "--on", &uuid, "--gpu-mem", "5g"]);
    assert!(error.starts_with("CUDA error 2: out of memory"), "{error}");
    let half = lab.workload(&["--on", &uuid, "--gpu-mem", "3g", "--time", "60s"]);
    let error = lab.fails(1, &["sim", "workload", "--on", &uuid, "--gpu-mem", "3g"]);
    assert!(error.starts_with("CUDA error 2: out of memory"), "{error}");
    drop(half);
    lab.ok(&["sim", "workload", "--on", &uuid, "--gpu-mem", "3g", "--print"]);
}

#[test]
fn a_slice_whose_node_it_may_not_open_is_no_device() {
    if !rustix::process::geteuid().is_root() {
        // Whoever owns the machine opens everything; only root can become somebody else.
        let (lab, uuid) = lab_with_slice();
        let node = lab.machine_dir().join("root/dev/nvidia-caps/nvidia-cap256");
        std::fs::set_permissions(&node, std::fs::Permissions::from_mode(0o000)).unwrap();
        let error = lab.fails(1, &["sim", "workload", "--on", &uuid]);
        assert!(error.contains("CUDA error 100") && error.contains("nvidia-cap256"), "{error}");
        return;
    }
    let lab = Lab::shared("dgx-a100");
    lab.enable_mig(1);
    let uuid = lab.slice(1, "1g.5gb");
    let run = || {
        let mut command = lab.command(&["sim", "workload", "--print", "--on", &uuid]);
        command.uid(65_534).gid(65_534).output().unwrap()
    };
    let open = run();
    assert!(open.status.success(), "stock nodes are open to everybody: {}", told(&open));
    let node = lab.machine_dir().join("root/dev/nvidia-caps/nvidia-cap256");
    std::fs::set_permissions(&node, std::fs::Permissions::from_mode(0o400)).unwrap();
    let closed = run();
    assert_eq!(closed.status.code(), Some(1), "{}", told(&closed));
    let error = String::from_utf8_lossy(&closed.stderr);
    assert!(error.contains("CUDA error 100") && error.contains("nvidia-cap256"), "{error}");
}

#[test]
fn a_detached_child_outlives_its_parent_and_keeps_the_slice() {
    let (lab, uuid) = lab_with_slice();
    let mut parent = lab.workload(&["--on", &uuid, "--time", "60s", "--detach-child"]);
    let mut line = String::new();
    parent.stdout.read_line(&mut line).unwrap();
    let child: u32 = line.trim().strip_prefix("detached child: pid ").unwrap().parse().unwrap();
    assert_eq!(processes(&lab).len(), 2);
    let session = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit_once(')').unwrap().1.split_whitespace().nth(3).unwrap().to_owned()
    };
    assert_eq!(session(child), child.to_string());
    parent.signal("KILL");
    assert_eq!(parent.end(), None);
    let left = processes(&lab);
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left[0]["pid"], child);
    signal(child, "TERM");
    until("the child is gone", || processes(&lab).is_empty());
}

#[test]
fn a_reboot_ends_it() {
    let (lab, uuid) = lab_with_slice();
    let work = lab.workload(&["--on", &uuid, "--time", "60s"]);
    lab.ok(&["sim", "reboot"]);
    assert_eq!(work.end(), Some(1));
}

#[test]
fn without_a_machine_it_says_what_is_missing() {
    let output = migctl().args(["sim", "workload"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--simulate"), "{}", told(&output));
}

#[test]
fn inside_the_machine_it_needs_no_flag() {
    let (lab, uuid) = lab_with_slice();
    let migctl = env!("CARGO_BIN_EXE_migctl");
    let line = lab.ok(&["sim", "exec", "--", migctl, "sim", "workload", "--print", "--on", &uuid]);
    assert!(line.contains(&uuid), "{line}");
}
