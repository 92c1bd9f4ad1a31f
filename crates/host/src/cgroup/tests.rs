use std::io::Write as _;
use std::process::Command;

use super::*;

#[test]
fn the_controller_is_found_in_the_tables() {
    let table = "25 1 0:1 / / rw - ext4 /dev/a rw\n\
                 30 25 0:26 / /sys/fs/cgroup/devices rw,nosuid - cgroup cgroup rw,devices\n";
    assert_eq!(mount_of(table), Some(PathBuf::from("/sys/fs/cgroup/devices")));
    assert_eq!(mount_of("30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"), None);
    assert_eq!(group_in("5:devices:/user.slice\n0::/x\n"), Some("/user.slice"));
    assert_eq!(group_in("0::/x\n"), None);
}

/// The filter itself, with devices that every machine has: 1:5 (zero) and 1:9 (urandom).
#[test]
fn a_confined_process_opens_its_own_devices_and_no_other() {
    let name = "a_confined_process_opens_its_own_devices_and_no_other";
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    let root = rustix::process::geteuid().is_root();
    let group = format!("migd-test-{}", std::process::id());
    let controller = Controller::find().filter(|_| root).filter(|found| {
        fs::create_dir(found.mount.join(&group)).is_ok()
            && fs::remove_dir(found.mount.join(&group)).is_ok()
    });
    let Some(controller) = controller else {
        let line = format!("SKIPPED {name}: takes root and a writable devices controller (v1)\n");
        io::stderr().write_all(line.as_bytes()).unwrap();
        // A machine with cgroup v2 alone cannot run it, in CI neither.
        assert!(!ci || Controller::find().is_none() || !root, "{name} must run in CI");
        return;
    };
    // Waits for a line, then tries both devices, also from a child in a session of its own.
    let script = "read go; for d in zero urandom; do \
                  setsid head -c1 /dev/$d >/dev/null 2>&1 && echo $d; done";
    let mut child = Command::new("sh")
        .args(["-c", script])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let made = controller.confine(child.id(), &group, 1, &[9], &[5, 9]).unwrap();
    assert_eq!(controller.group_of(child.id()).unwrap(), made);
    // Repeated, and no deeper.
    assert_eq!(controller.confine(child.id(), &group, 1, &[9], &[5, 9]).unwrap(), made);
    assert_eq!(controller.groups(&group), std::slice::from_ref(&made));
    assert!(!Controller::remove(&made), "somebody is in it");
    drop(child.stdin.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "urandom\n");
    assert!(fs::read("/dev/null").is_ok() && Controller::remove(&made));
    assert!(controller.groups(&group).is_empty());
}
