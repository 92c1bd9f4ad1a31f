//! NVIDIA's own tool, which resets one GPU by the private side of NVML.
//!
//! Must never run without naming the GPU: without a name it resets all of them.

use std::io::{self, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use model::PciAddress;

use super::{ResetError, sysfs_name};

/// Where drivers and their containers install it; no other is believed.
pub(super) const PATHS: [&str; 3] =
    ["/usr/bin/nvidia-smi", "/run/nvidia/driver/usr/bin/nvidia-smi", "/opt/bin/nvidia-smi"];

/// A reset takes seconds. A tool that takes longer hangs with its GPU.
pub(super) const LIMIT: Duration = Duration::from_secs(90);
/// Between two looks at the tool.
const PAUSE: Duration = Duration::from_millis(20);
/// So much of what it says is read.
const WORDS: u64 = 4096;

/// Has `tool` reset the GPU at `pci`.
pub(super) fn reset(tool: &Path, pci: PciAddress, limit: Duration) -> Result<(), ResetError> {
    let failed =
        |source: Box<dyn std::error::Error + Send + Sync>| ResetError::Failed { pci, source };
    let mut command = Command::new(tool);
    command.args(["--gpu-reset", "-i"]).arg(sysfs_name(pci));
    command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| failed(error.into()))?;
    let until = Instant::now() + limit;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < until => std::thread::sleep(PAUSE),
            Ok(None) => {
                // One that hangs in the driver does not die either: it is buried when it does.
                let _ = child.kill();
                std::thread::spawn(move || child.wait());
                let words = format!("nvidia-smi did not end within {} s", limit.as_secs());
                return Err(failed(words.into()));
            }
            Err(error) => return Err(failed(error.into())),
        }
    };
    if status.success() {
        return Ok(());
    }
    let mut words = String::new();
    let read = child.stdout.take().map(|out| out.take(WORDS).read_to_string(&mut words));
    if read.is_none_or(|read| read.is_err()) || words.trim().is_empty() {
        words = format!("nvidia-smi ended with {status}");
    }
    Err(failed(io::Error::other(words.trim().to_owned()).into()))
}
