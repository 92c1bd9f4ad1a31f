//! `migctl sim exec`: foreign programs find the simulated driver and, if asked, the whole machine.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where a step fails")]

mod simulated;

use std::process::Command;

use simulated::{Lab, migctl, skip, told};

/// Prints what the program finds of the machine.
const LOOK: &str = "
    grep -o '^nvidia ' /proc/modules
    head -1 /proc/driver/nvidia-caps/mig-minors
    ls /dev/nvidia0 /dev/nvidiactl
    ls -d /proc/$$/status
    echo written > /dev/null && echo null
    cat /sys/bus/pci/devices/*/class | sort -u
    sleep 5 > /dev/null & cat /proc/$!/comm | grep -c .; kill $!
";

#[test]
fn the_library_comes_first_and_the_machine_is_named() {
    let lab = Lab::new("a30x4");
    let script = "echo $LD_LIBRARY_PATH; echo $MIGD_SIM_HOST; ls ${LD_LIBRARY_PATH%%:*}";
    let output = lab
        .command(&["sim", "exec", "--", "sh", "-c", script])
        .env("LD_LIBRARY_PATH", "/opt/theirs")
        .output()
        .unwrap();
    let text = told(&output);
    let stdout = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = stdout.lines().collect();
    let [path, machine, files @ ..] = lines.as_slice() else { panic!("{text}") };
    let (folder, rest) = path.split_once(':').unwrap();
    assert!(folder.starts_with(lab.state_dir().to_str().unwrap()), "{text}");
    assert_eq!(rest, "/opt/theirs");
    assert_eq!(*machine, lab.machine_dir().to_str().unwrap());
    assert_eq!(files, ["libnvidia-ml.so", "libnvidia-ml.so.1"]);
}

#[test]
fn the_unpacked_library_has_its_soname_and_no_undefined_symbols() {
    let lab = Lab::new("a30x4");
    let script = "d=${LD_LIBRARY_PATH%%:*}; LD_BIND_NOW=1 python3 -c \"
import ctypes
nvml = ctypes.CDLL('libnvidia-ml.so.1')
assert nvml.nvmlInit_v2() == 0
count = ctypes.c_uint()
assert nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) == 0
print(count.value)\"";
    if Command::new("python3").arg("--version").output().is_err() {
        skip("the_unpacked_library", "no python3");
        return;
    }
    assert_eq!(lab.ok(&["sim", "exec", "--", "sh", "-c", script]), "4\n");
}

#[test]
fn the_exit_status_passes_through() {
    let lab = Lab::new("a30x4");
    lab.fails(7, &["sim", "exec", "--", "sh", "-c", "exit 7"]);
    lab.fails(127, &["sim", "exec", "--", "/nonexistent/program"]);
    lab.fails(126, &["sim", "exec", "--", "/etc/passwd"]);
    let killed = lab.run(&["sim", "exec", "--", "sh", "-c", "kill -KILL $$"]);
    assert_eq!(killed.status.code(), None, "{}", told(&killed));
}

#[test]
fn options_of_the_program_are_the_programs() {
    let lab = Lab::new("a30x4");
    assert_eq!(lab.ok(&["sim", "exec", "--", "echo", "--json", "-v"]), "--json -v\n");
}

#[test]
fn no_machine_named_is_a_usage_error_under_125() {
    let output = migctl().args(["sim", "exec", "--", "true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125), "{}", told(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--simulate"), "{}", told(&output));
}

#[test]
fn the_host_view_shows_the_machines_trees() {
    let lab = Lab::new("a30x4");
    let output = lab.run(&["sim", "exec", "--host-view", "--", "sh", "-c", LOOK]);
    if refused(&output) {
        skip("the_host_view", &told(&output));
        return;
    }
    assert!(output.status.success(), "{}", told(&output));
    let stdout = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines[0], "nvidia ", "{stdout}");
    assert_eq!(lines[1], "config 1", "{stdout}");
    assert_eq!(lines[2..4], ["/dev/nvidia0", "/dev/nvidiactl"], "{stdout}");
    assert!(lines[4].ends_with("/status"), "{stdout}");
    assert_eq!(lines[5], "null", "{stdout}");
    assert!(lines[6..].contains(&"0x030200"), "{stdout}");
    assert_eq!(lines.last(), Some(&"1"), "a later process is seen: {stdout}");
    let status = lab.run(&["sim", "exec", "--host-view", "--", "sh", "-c", "exit 7"]).status;
    assert_eq!(status.code(), Some(7));
}

#[test]
fn the_host_view_follows_instances_and_ends_with_the_program() {
    let lab = Lab::new("a30x4");
    let capabilities = "/proc/driver/nvidia/capabilities/gpu0/mig";
    let before = lab.run(&["sim", "exec", "--host-view", "--", "ls", capabilities]);
    if refused(&before) {
        skip("the_host_view_follows_instances", &told(&before));
        return;
    }
    lab.enable_mig(0);
    lab.slice(0, "1g.6gb");
    let after = lab.ok(&["sim", "exec", "--host-view", "--", "ls", capabilities]);
    assert!(after.contains("gi"), "{after}");
    assert!(!std::path::Path::new(capabilities).exists());
}

fn refused(output: &std::process::Output) -> bool {
    String::from_utf8_lossy(&output.stderr).contains("cannot make a mount namespace")
}

#[test]
fn a_copied_migctl_works_alone() {
    let lab = Lab::new("a30x4");
    let copy = lab.state_dir().join("copy-of-migctl");
    // By a process of its own: a descriptor of ours, open for writing, could be inherited by what
    // another test starts, and then the copy could not be executed.
    let cp = Command::new("cp").arg(env!("CARGO_BIN_EXE_migctl")).arg(&copy).status().unwrap();
    assert!(cp.success());
    let other = tempfile::tempdir().unwrap();
    let output = Command::new(&copy)
        .args(["--simulate", "a30x4", "--state-dir"])
        .arg(other.path())
        .args(["sim", "exec", "--", "sh", "-c", "ls $LD_LIBRARY_PATH"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "libnvidia-ml.so\nlibnvidia-ml.so.1\n");
}
