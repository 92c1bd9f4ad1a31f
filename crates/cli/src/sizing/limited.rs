//! A run of a command that is ended when it takes too long.
//!
//! Must never leave a process of a run behind that was ended.

use std::io::{self, Read as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// How often it is looked whether a run is over.
const LOOK: Duration = Duration::from_millis(10);
/// How long a run that was told to end has for it.
const GRACE: Duration = Duration::from_secs(5);

/// How a run came to its end.
pub(super) enum End {
    /// By itself, with what it printed where that was wanted.
    Over(ExitStatus, Vec<u8>),
    /// It took too long.
    Ended,
}

/// Runs a command to its end, or for so long. With a limit it is a process group of its own, so that
/// all that it started ends with it.
pub(super) fn run(mut command: Command, limit: Option<Duration>) -> io::Result<End> {
    if limit.is_some() {
        command.process_group(0);
    }
    let mut child = command.spawn()?;
    let printed = child.stdout.take().map(|mut pipe| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.read_to_end(&mut bytes).map(|_| bytes)
        })
    });
    let status = match limit {
        None => Some(child.wait()?),
        Some(limit) => within(&mut child, limit)?,
    };
    let Some(status) = status else {
        tell(&child, Signal::TERM);
        if within(&mut child, GRACE)?.is_none() {
            tell(&child, Signal::KILL);
            child.wait()?;
        }
        // Whoever of the group outlives its first process.
        tell(&child, Signal::KILL);
        return Ok(End::Ended);
    };
    let lost = || io::Error::other("the reader of its output was lost");
    let printed = printed.map(|reader| reader.join().map_err(|_| lost())?).transpose()?;
    Ok(End::Over(status, printed.unwrap_or_default()))
}

fn within(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let left = limit.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Ok(None);
        }
        std::thread::sleep(left.min(LOOK));
    }
}

fn tell(child: &Child, signal: Signal) {
    // A group that is gone needs no telling.
    if let Some(group) = Pid::from_raw(child.id().cast_signed()) {
        let _ = kill_process_group(group, signal);
    }
}
