//! The systemd units, and the daemon as systemd sees it: readiness, reloads, the watchdog, sockets.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where a step fails")]

mod server;
mod simulated;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use server::{kill, wait_for};
use simulated::{Lab, PATIENCE, skip, told};

/// What runs migd's programs, and below how many tenths systemd must put its exposure; docs/install.md
/// names both.
const SERVICES: [(&str, &str); 2] = [("migd.service", "40"), ("migd-layout.service", "37")];

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Every unit in `packaging`, by name.
fn packaged() -> Vec<(String, String)> {
    let kinds = [".service", ".socket", ".target", ".timer", ".path"];
    let mut units = Vec::new();
    for entry in fs::read_dir(project().join("packaging")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if kinds.iter().any(|kind| name.ends_with(kind)) {
            units.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
    units.sort();
    assert!(units.len() >= 4, "{units:?}");
    units
}

/// The units with a program that exists.
fn units() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in packaged() {
        let text = text.replace("/usr/local/bin/migd", "/bin/true");
        let text = text.replace("/usr/local/bin/migctl", "/bin/true");
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// The values of a key in a unit, all lines of it together.
fn values(unit: &str, key: &str) -> Vec<String> {
    let units = packaged();
    let (_, text) = units.iter().find(|(name, _)| name == unit).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    lines.flat_map(|line| line.split_whitespace().map(str::to_owned)).collect()
}

fn analyze(folder: &Path, args: &[&str]) -> std::process::Output {
    Command::new("systemd-analyze").args(args).current_dir(folder).output().unwrap()
}

#[test]
fn systemd_understands_every_line_of_the_units() {
    if !has("systemd-analyze") {
        return skip("systemd_understands_every_line_of_the_units", "no systemd-analyze");
    }
    let folder = units();
    let mut args = vec!["verify", "--man=no"];
    let paths: Vec<String> = packaged().iter().map(|(name, _)| format!("./{name}")).collect();
    args.extend(paths.iter().map(String::as_str));
    let output = analyze(folder.path(), &args);
    // Warnings leave the status at 0.
    assert!(output.status.success() && output.stderr.is_empty(), "{}", told(&output));
}

#[test]
fn the_units_are_as_closed_as_the_page_says() {
    if !has("systemd-analyze") {
        return skip("the_units_are_as_closed_as_the_page_says", "no systemd-analyze");
    }
    let folder = units();
    let page = fs::read_to_string(project().join("docs/install.md")).unwrap();
    for (service, tenths) in SERVICES {
        let (limit, path) = (format!("--threshold={tenths}"), format!("./{service}"));
        let args = ["security", "--offline=true", "--no-pager", &limit, &path];
        let output = analyze(folder.path(), &args);
        assert!(output.status.success(), "{}", told(&output));
        let bar = format!("below {}.{}", &tenths[..1], &tenths[1..]);
        assert!(page.contains(&bar), "docs/install.md must name the bar of {service}, {bar}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // What migd cannot do without must not have been closed.
        let open = ["ProtectProc=", "CapabilityBoundingSet=~CAP_SYS_ADMIN", "PrivateUsers="];
        for right in open {
            assert!(text.lines().any(|l| l.contains('✗') && l.contains(right)), "{right}: {text}");
        }
    }
}

/// The layout stands before anything that would hand its slices out, after what it needs, and nothing
/// waits for it longer than it takes by its own limit.
#[test]
fn the_layout_is_restored_in_time_and_holds_nobody_up() {
    let unit = "migd-layout.service";
    let before = values(unit, "Before");
    for user in ["docker", "containerd", "kubelet", "slurmd"] {
        assert!(before.contains(&format!("{user}.service")), "{before:?}");
    }
    let after = values(unit, "After");
    for needed in ["nvidia-persistenced", "nvidia-fabricmanager", "migd"] {
        assert!(after.contains(&format!("{needed}.service")), "{after:?}");
    }
    // migd may start units that it stopped; none of them may come before it is done itself.
    assert!(values(unit, "Requires").is_empty() && values(unit, "BindsTo").is_empty());
    assert_eq!(values(unit, "ConditionPathExists"), ["/etc/migd/layout.yaml"]);
    assert_eq!(values(unit, "Type"), ["oneshot"]);
    let start = values(unit, "ExecStart").join(" ");
    assert_eq!(start, "/usr/local/bin/migctl apply -f /etc/migd/layout.yaml --boot --timeout 120s");
    let limit: u64 = values(unit, "TimeoutStartSec")[0].parse().unwrap();
    assert!((121..=180).contains(&limit), "longer than the command's own, and bounded: {limit}");
}

/// The socket on which systemd listens.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(lab: &Lab) -> Self {
        let path = lab.state_dir().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, path }
    }

    /// Reads until a message has this line; the messages before it.
    fn until(&self, line: &str) -> Vec<String> {
        let mut before = Vec::new();
        loop {
            let mut bytes = [0; 4096];
            let length = self.socket.recv(&mut bytes).unwrap_or_else(|_| panic!("no {line}"));
            let message = String::from_utf8_lossy(&bytes[..length]).into_owned();
            if message.lines().any(|told| told == line) {
                return before;
            }
            before.push(message);
        }
    }
}

#[test]
fn systemd_is_told_of_readiness_reloads_health_and_the_end() {
    let lab = Lab::new("a30:1");
    let manager = Manager::new(&lab);
    let mut command = lab.command(&["daemon"]);
    command.env("NOTIFY_SOCKET", &manager.path).env("WATCHDOG_USEC", "300000");
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    manager.until("READY=1");
    assert!(lab.machine_dir().join("run/migd.sock").exists(), "ready means reachable");
    manager.until("WATCHDOG=1");
    manager.until("WATCHDOG=1");
    kill("HUP", child.id());
    manager.until("RELOADING=1");
    manager.until("READY=1");
    kill("TERM", child.id());
    manager.until("STOPPING=1");
    assert!(child.wait().unwrap().success());
}

/// A daemon that is stopped does not ping; one whose unit has no watchdog is not asked to.
#[test]
fn a_daemon_that_does_not_run_is_not_pinged_for() {
    let lab = Lab::new("a30:1");
    let manager = Manager::new(&lab);
    let mut command = lab.command(&["daemon"]);
    command.env("NOTIFY_SOCKET", &manager.path).env("WATCHDOG_USEC", "60000");
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    manager.until("WATCHDOG=1");
    kill("STOP", child.id());
    manager.socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut bytes = [0; 4096];
    wait_for("silence", || manager.socket.recv(&mut bytes).is_err().then_some(()));
    kill("KILL", child.id());
    child.wait().unwrap();
}

struct Activated(Child);

impl Drop for Activated {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The daemon serves on the sockets that systemd opened, and leaves them alone when it ends.
#[test]
fn sockets_of_systemd_are_taken_over_by_name() {
    if !has("systemd-socket-activate") {
        return skip("sockets_of_systemd_are_taken_over_by_name", "no systemd-socket-activate");
    }
    let lab = Lab::new("a30:1");
    let run = lab.machine_dir().join("run");
    let (users, admins) = (run.join("migd.sock"), run.join("admin.sock"));
    fs::create_dir_all(&run).unwrap();
    let inner = lab.command(&["daemon"]);
    let mut command = Command::new("systemd-socket-activate");
    // The other order: names count, not numbers.
    command.arg("-l").arg(&admins).arg("-l").arg(&users).arg("--fdname=admins:users");
    command.arg(inner.get_program()).args(inner.get_args());
    let log = fs::File::create(lab.state_dir().join("daemon.out")).unwrap();
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
    let mut activated = Activated(child);
    wait_for("the sockets", || (users.exists() && admins.exists()).then_some(()));
    // The first caller starts it, and is answered.
    let status = lab.json(&["status"]);
    assert_eq!(status["gpus"].as_array().unwrap().len(), 1);
    kill("TERM", activated.0.id());
    wait_for("the end", || activated.0.try_wait().unwrap());
    assert!(users.exists() && admins.exists(), "they are systemd's");
}
