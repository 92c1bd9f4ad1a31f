//! Starting the daemon of a simulated machine when a verb needs one.
//!
//! Must never start one on a real machine: there it is a service, and root's.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use api::{Client, ClientError};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::connect::{client, existing, gpus, no_daemon};
use crate::context::{Machine, SIM_HOST, STATE_DIR};
use crate::session::environment::LEASE_KEY;
use crate::{Context, Exit, Failure, SimulatedHost};

/// How long a fresh daemon may take until it answers: it replays its journal first.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a daemon that nobody needs stays.
const LEAVE_AFTER: &str = "15m";
/// Between attempts to be the one that starts it.
const TURN: Duration = Duration::from_millis(10);
/// The most of the log that an error shows.
const TAIL: u64 = 2048;

/// Variables of a lease or of a program on the machine; a daemon is neither.
pub(crate) const FOREIGN_VARIABLES: [&str; 7] = [
    "MIGD_LEASE",
    LEASE_KEY,
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "LD_LIBRARY_PATH",
    "MIGD_SIM_RIGHTS",
    SIM_HOST,
];

/// A client of the machine's daemon, which is started on a simulated machine if none answers.
///
/// # Errors
/// [`Failure`]; on a real machine without a daemon it says how to start one.
pub(crate) async fn started(context: &Context) -> Result<Client, Failure> {
    if let Some(client) = existing(context).await? {
        return Ok(client);
    }
    let Machine::Simulated(host) = context.machine()? else { return Err(no_daemon(context)?) };
    gpus(context)?;
    let _one_at_a_time = lock(&host.dir.join("start.lock"))
        .await
        .map_err(|error| Failure::caused("E-START", "cannot start the daemon", &error))?;
    if let Some(client) = existing(context).await? {
        return Ok(client);
    }
    start(context, &host).await
}

/// Waits its turn without holding up the thread: signals are heard meanwhile.
async fn lock(path: &Path) -> io::Result<File> {
    let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK | Errno::INTR) => tokio::time::sleep(TURN).await,
            Err(error) => return Err(error.into()),
        }
    }
}

async fn start(context: &Context, host: &SimulatedHost) -> Result<Client, Failure> {
    let log = context.places()?.log();
    let failed = |error: io::Error| Failure::caused("E-START", "cannot start the daemon", &error);
    let file =
        OpenOptions::new().create(true).append(true).mode(0o600).open(&log).map_err(failed)?;
    let begin = file.metadata().map_err(failed)?.len();
    let mut command = command(context, host);
    command.stdin(Stdio::null()).stdout(file.try_clone().map_err(failed)?).stderr(file);
    let mut child = command.spawn().map_err(failed)?;
    context.output.detail(&format!(
        "migctl: started a daemon, pid {}; log {}",
        child.id(),
        log.display()
    ));
    wait(context, &mut child).await.map_err(|why| {
        let said = tail(&log, begin);
        let failure = Failure::new("E-START", format!("cannot start the daemon: {why}{said}"));
        failure.hint(format!("its log is {}", log.display()))
    })
}

/// This very executable as a daemon. It leaves our session by itself (`--detached`).
fn command(context: &Context, host: &SimulatedHost) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("migctl").arg("--simulate").arg(&host.spec);
    if let Some(folder) = context.chosen_state_dir() {
        command.arg("--state-dir").arg(folder).env(STATE_DIR, folder);
    }
    if let Some(socket) = context.named_socket() {
        command.arg("--socket").arg(socket);
    }
    if context.options.shared {
        command.arg("--shared");
    }
    command.args(["daemon", "--detached", "--leave-when-idle", LEAVE_AFTER]).current_dir("/");
    for name in FOREIGN_VARIABLES {
        command.env_remove(name);
    }
    command
}

/// Leaves the session and the open files of whoever started this process. A caller that reads from
/// a pipe until its end must not wait for a daemon that inherited the pipe.
pub(crate) fn leave_parent() {
    // Fails only for the leader of a process group, which is out of its shell's reach anyhow.
    let _ = rustix::process::setsid();
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return };
    let open: Vec<i32> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|number| *number > 2)
        .collect();
    for number in open {
        // One of them was the listing's own and is closed already.
        let _ = nix::unistd::close(number);
    }
}

async fn wait(context: &Context, child: &mut Child) -> Result<Client, String> {
    let client = client(context).map_err(|failure| failure.message)?;
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(2);
    loop {
        match client.version().await {
            Ok(_) => return Ok(client),
            // Another daemon may have ended in the middle of the call.
            Err(ClientError::NotRunning { .. } | ClientError::Broken { .. }) => {}
            Err(error) => return Err(crate::failure::chain(&error)),
        }
        if let Ok(Some(status)) = child.try_wait() {
            // Somebody else started one at the same moment (an administrator, a script): that one
            // will do.
            if status.code() != Some(i32::from(Exit::Busy.code())) {
                return Err(format!("it ended at once ({status})"));
            }
        }
        if Instant::now() >= deadline {
            return Err(format!("it does not answer after {} s", PATIENCE.as_secs()));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// The end of what a daemon wrote into its log after `begin`, on lines of its own.
fn tail(log: &Path, begin: u64) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        let end = file.metadata()?.len();
        file.seek(SeekFrom::Start(begin.max(end.saturating_sub(TAIL))))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines.len().saturating_sub(8);
    lines[last..].iter().fold(String::new(), |mut text, line| {
        text.push_str("\n  | ");
        text.push_str(&crate::draw::text::clean(line));
        text
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use clap::Parser;

    use super::*;
    use crate::args::Cli;

    #[test]
    fn a_daemon_is_this_executable_without_a_lease() {
        let line = ["migctl", "--simulate", "a30x4", "--state-dir", "/tmp/x", "--shared", "status"];
        let context = Context::new(Cli::try_parse_from(line).unwrap().global);
        let command = command(&context, &context.simulated().unwrap());
        let words: Vec<&str> = command.get_args().filter_map(OsStr::to_str).collect();
        assert_eq!(
            words,
            [
                "--simulate",
                "a30x4",
                "--state-dir",
                "/tmp/x",
                "--shared",
                "daemon",
                "--detached",
                "--leave-when-idle",
                "15m"
            ]
        );
        for name in FOREIGN_VARIABLES {
            assert!(command.get_envs().any(|(n, v)| n == name && v.is_none()), "{name}");
        }
    }

    #[test]
    fn an_error_shows_the_end_of_what_this_daemon_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("daemon.log");
        std::fs::write(&log, "old\nnew one\n\nnew two\n").unwrap();
        assert_eq!(tail(&log, 4), "\n  | new one\n  | new two");
        assert_eq!(tail(&folder.path().join("none"), 0), "");
    }
}
