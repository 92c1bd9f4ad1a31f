//! A D-Bus of a test's own.
//!
//! Must never be the bus of the machine that tests run on.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use zbus::OwnedObjectPath;

/// One line of `ListUnits`.
pub(crate) type Line =
    (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

/// How long a test waits for anything.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// It ends with the value.
pub(crate) struct Private {
    daemon: Child,
    /// Where it is (`unix:path=…`).
    pub(crate) address: String,
    _folder: tempfile::TempDir,
}

impl Drop for Private {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

impl Private {
    /// `None` where there is no bus to run; in CI that is a failure.
    pub(crate) fn new(test: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("bus");
        let Some(daemon) = start(folder.path(), &socket) else {
            let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
            assert!(!in_ci, "{test} must run in CI: there is no dbus-daemon");
            let line = format!("SKIPPED {test}: there is no dbus-daemon\n");
            std::io::stderr().write_all(line.as_bytes()).unwrap();
            return None;
        };
        // It is there a moment before it takes anybody.
        until("the bus", || UnixStream::connect(&socket).is_ok());
        let address = format!("unix:path={}", socket.display());
        Some(Self { daemon, address, _folder: folder })
    }
}

pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !done() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn start(folder: &Path, socket: &Path) -> Option<Child> {
    let config = folder.join("bus.conf");
    let text = format!(
        "<busconfig><type>session</type><listen>unix:path={}</listen>\
         <auth>EXTERNAL</auth><policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/>\
         <allow send_destination=\"*\"/><allow receive_sender=\"*\"/></policy></busconfig>",
        socket.display()
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new("dbus-daemon");
    command.arg("--nofork").arg(format!("--config-file={}", config.display()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
}
