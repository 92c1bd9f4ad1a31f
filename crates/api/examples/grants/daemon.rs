//! A daemon of the benchmark's own on a simulated machine, and what it costs.
//!
//! Must never outlive the benchmark.

use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use api::Client;

use crate::Failed;

const HOST: &str = "dgx-a100";

pub(crate) struct Daemon {
    migctl: PathBuf,
    child: Child,
    pub(crate) folder: PathBuf,
    pub(crate) client: Client,
}

impl Daemon {
    pub(crate) fn start(migctl: PathBuf) -> Result<Self, Failed> {
        let folder = std::env::temp_dir().join(format!("migd-grants-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let command = |words: &[&str]| {
            let mut command = Command::new(&migctl);
            command.args(["--simulate", HOST, "--state-dir"]).arg(&folder).args(words);
            command
        };
        let made = command(&["sim", "latency", "zero"]).stdout(Stdio::null()).status()?;
        if !made.success() {
            return Err("the simulated machine could not be made".into());
        }
        let log = std::fs::File::create(folder.join("daemon.log"))?;
        let child = command(&["daemon"]).stdout(Stdio::null()).stderr(log).spawn()?;
        let socket = folder.join("sim").join(HOST).join("run/migd.sock");
        let begun = Instant::now();
        while !socket.exists() {
            if begun.elapsed() > Duration::from_secs(20) {
                return Err("the daemon does not listen".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // MIG is enabled on each GPU first.
        std::thread::sleep(Duration::from_secs(2));
        let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&socket)?);
        let client = Client::new(socket, [owner]);
        Ok(Self { migctl, child, folder, client })
    }

    fn read(&self, file: &str) -> io::Result<String> {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id()))
    }

    /// Its time on cores so far, in user and kernel.
    pub(crate) fn cpu(&self) -> Result<Duration, Failed> {
        cpu(&self.read("stat")?)
    }

    pub(crate) fn resident_mib(&self) -> Result<f64, Failed> {
        let status = self.read("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: f64 = line.and_then(|line| line.split_whitespace().next()).ok_or("")?.parse()?;
        Ok(kib / 1024.0)
    }

    /// How long `migctl status` takes, run so often.
    pub(crate) fn status_times(&self, runs: usize) -> Result<Vec<Duration>, Failed> {
        let mut times = Vec::new();
        for _ in 0..runs {
            let begun = Instant::now();
            let done = Command::new(&self.migctl)
                .args(["--simulate", HOST, "--state-dir"])
                .arg(&self.folder)
                .arg("status")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()?;
            times.push(begun.elapsed());
            if !done.success() {
                return Err("`migctl status` failed".into());
            }
        }
        Ok(times)
    }

    /// The same after the daemon has left.
    pub(crate) fn status_without(mut self) -> Result<Vec<Duration>, Failed> {
        self.end();
        self.status_times(20)
    }

    fn end(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.child.wait();
    }
}

/// The clients' time on cores so far: they are this process.
pub(crate) fn own_cpu() -> Result<Duration, Failed> {
    cpu(&std::fs::read_to_string("/proc/self/stat")?)
}

/// Clock ticks of 10 ms.
fn cpu(stat: &str) -> Result<Duration, Failed> {
    let (_, fields) = stat.rsplit_once(')').ok_or("an odd stat")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
