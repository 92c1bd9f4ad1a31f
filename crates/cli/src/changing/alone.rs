//! A daemon for the length of one command, where none runs: the same code, lock and journal, so that
//! live leases are respected and what is begun is finished or taken back; it does nothing by itself.
//!
//! Must never outlive the command: it leaves when our end of its standard input is closed.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use api::Client;
use tempfile::TempDir;

use crate::autostart::FOREIGN_VARIABLES;
use crate::verbs::daemon::SOCKET;
use crate::{Context, Exit, Failure, connect};

/// How long it may take until it answers: it replays the journal first.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long it may take to end: it gives what is under way a minute.
const LEAVING: Duration = Duration::from_secs(75);
/// Between two looks whether it answers.
const PAUSE: Duration = Duration::from_millis(10);
/// What systemd tells the command is not for its daemon.
const SYSTEMD_VARIABLES: [&str; 5] =
    ["NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_USEC"];

/// A daemon of one command.
#[derive(Debug)]
pub(crate) struct Alone {
    child: Child,
    folder: TempDir,
}

impl Alone {
    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// [`Failure`] with what it said when it cannot run; another daemon may have the machine.
    pub(crate) async fn start(context: &Context) -> Result<(Self, Client), Failure> {
        let failed =
            |error: std::io::Error| Failure::caused("E-START", "cannot manage the GPUs", &error);
        let folder = tempfile::Builder::new().prefix("migd-").tempdir().map_err(failed)?;
        let log = folder.path().join("log");
        let said = std::fs::File::create(&log).map_err(failed)?;
        let child = command(context, &folder)?
            .stdin(Stdio::piped())
            .stdout(said.try_clone().map_err(failed)?)
            .stderr(said)
            .spawn()
            .map_err(failed)?;
        let mut alone = Self { child, folder };
        let client = connect::at(context, alone.folder.path().join(SOCKET))?;
        let begun = Instant::now();
        while client.version().await.is_err() {
            let ended = alone.child.try_wait().map_err(failed)?;
            if ended.is_some() || begun.elapsed() > PATIENCE {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                return Err(unwilling(&said));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok((alone, client))
    }

    /// Ends it; what is under way is finished first. One that does not come back from the driver cannot
    /// end, and is not waited for.
    pub(crate) async fn stop(mut self) {
        drop(self.child.stdin.take());
        let begun = Instant::now();
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) && begun.elapsed() < LEAVING
        {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// This very executable as a daemon that does nothing by itself.
fn command(context: &Context, folder: &TempDir) -> Result<Command, Failure> {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("migctl");
    if let crate::Machine::Simulated(host) = context.machine()? {
        command.arg("--simulate").arg(&host.spec);
    }
    if let Some(state) = context.chosen_state_dir() {
        command.arg("--state-dir").arg(state);
    }
    command.arg("daemon").arg("--passive").arg(folder.path());
    // Ctrl-C is for the command in front; this one ends in its own time.
    command.process_group(0);
    for name in FOREIGN_VARIABLES.iter().chain(&SYSTEMD_VARIABLES) {
        command.env_remove(name);
    }
    Ok(command)
}

/// Why it does not run: its last words that are an error.
fn unwilling(said: &str) -> Failure {
    let words: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let error = words.iter().position(|line| line.starts_with("migctl:"));
    let words = error.map_or(words.as_slice(), |at| &words[at..]).join("\n");
    if said.contains("E-DAEMON-RUNS") {
        return Failure::new(
            "E-DAEMON-RUNS",
            "another migctl changes the GPUs of this machine now",
        )
        .exit(Exit::Busy)
        .hint("wait until it is done");
    }
    Failure::new("E-START", format!("cannot manage the GPUs\n{words}"))
        .hint("it takes root where the GPUs are real")
}
