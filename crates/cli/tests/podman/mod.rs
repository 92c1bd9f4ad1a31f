//! Podman as a consumer of CDI specifications.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::simulated::{skip, told};

/// Whether the test may run: it needs podman, an image and root.
pub fn has_podman(test: &str) -> bool {
    let runs = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let here = runs("podman") && runs("runc") && Path::new("/bin/busybox").exists();
    if !here || !rustix::process::geteuid().is_root() {
        skip(test, "needs root, podman, runc and busybox-static");
        return false;
    }
    true
}

/// Podman with storage of its own and a private `/etc/cdi`.
pub struct Container {
    folder: PathBuf,
    cdi: PathBuf,
}

impl Container {
    /// One that finds specifications in `cdi`; `folder` is for its own files.
    pub fn new(folder: &Path, cdi: &Path) -> Self {
        let container = Self { folder: folder.to_owned(), cdi: cdi.to_owned() };
        let limits = "[containers]\ndefault_ulimits=[\"nofile=10000:10000\",\"nproc=10000:10000\"]\n\
                      [engine]\nruntime=\"runc\"\ncgroup_manager=\"cgroupfs\"\n\
                      events_logger=\"file\"\n";
        std::fs::write(folder.join("containers.conf"), limits).unwrap();
        let script = format!(
            "set -e; cd {}; mkdir -p image/bin; cp /bin/busybox image/bin/; \
             for p in sh ls echo true; do ln -sf busybox image/bin/$p; done; \
             tar -C image -cf image.tar .",
            folder.display()
        );
        let made = Command::new("sh").args(["-c", &script]).output().unwrap();
        assert!(made.status.success(), "{}", told(&made));
        let done = container.podman("podman $P import image.tar localhost/tiny:1");
        assert!(done.status.success(), "{}", told(&done));
        container
    }

    /// Runs a script in a container with this device.
    pub fn run(&self, device: &str, script: &str) -> Output {
        self.podman(&format!(
            "podman $P run --rm --network=none --device {device} localhost/tiny:1 sh -c '{script}'"
        ))
    }

    fn podman(&self, line: &str) -> Output {
        let folder = self.folder.display();
        let script = format!(
            "mkdir -p /etc/cdi && mount --bind {} /etc/cdi && cd {folder} && \
             P='--root {folder}/store --runroot {folder}/run --storage-driver vfs' && {line}",
            self.cdi.display()
        );
        Command::new("unshare")
            .args(["-m", "sh", "-c", &script])
            .env("CONTAINERS_CONF", self.folder.join("containers.conf"))
            .output()
            .unwrap()
    }
}
