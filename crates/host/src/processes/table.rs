//! The process table as one reading of `/proc/*/stat` shows it, for questions of many at once.
//!
//! Must never let a `/proc` that cannot be listed pass for a machine without processes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _};

use model::ProcessId;

/// `PF_KTHREAD` of the kernel's `include/linux/sched.h`: such a task has no descriptors, though
/// only root may see that.
const PF_KTHREAD: u32 = 0x0020_0000;

/// The few fields of `/proc/PID/stat` that tell who a process is and whether it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Brief {
    pub(crate) process: ProcessId,
    state: u8,
    group: u32,
    flags: u32,
    threads: u32,
}

impl Brief {
    /// Reads the process that has this pid now; `None` if none has. `buffer` is overwritten.
    pub(crate) fn read(pid: u32, buffer: &mut Vec<u8>) -> Option<Self> {
        buffer.clear();
        File::open(format!("/proc/{pid}/stat")).ok()?.read_to_end(buffer).ok()?;
        Self::parse(buffer)
    }

    /// Parses a line of `/proc/PID/stat`; the name in it may hold anything, brackets included.
    fn parse(line: &[u8]) -> Option<Self> {
        let opens = line.iter().position(|byte| *byte == b'(')?;
        let closes = line.iter().rposition(|byte| *byte == b')')?;
        let pid = std::str::from_utf8(line.get(..opens)?).ok()?.trim().parse().ok()?;
        let rest = std::str::from_utf8(line.get(closes + 1..)?).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        // Numbered as in proc(5), where the state is field 3.
        let mut next = 3;
        let mut field = |number: usize| {
            let found = fields.nth(number - next);
            next = number + 1;
            found
        };
        let state = *field(3)?.as_bytes().first()?;
        let group = field(5)?.parse::<i32>().ok()?.unsigned_abs();
        let flags = field(9)?.parse().ok()?;
        let threads = field(20)?.parse().ok()?;
        let start_ticks = field(22)?.parse().ok()?;
        let process = ProcessId { pid, start_ticks };
        Some(Self { process, state, group, flags, threads })
    }

    /// Whether its first thread has exited; others may run on.
    pub(crate) const fn is_headless(&self) -> bool {
        self.state == b'Z'
    }

    /// Whether it has ended, and is only not yet collected by its parent.
    pub(crate) const fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x') && self.threads <= 1
    }

    /// Whether it is a thread of the kernel.
    pub(crate) const fn is_kernel_thread(&self) -> bool {
        self.flags & PF_KTHREAD != 0
    }
}

/// The live processes at about one moment, without the kernel's own.
#[derive(Debug, Clone, Default)]
pub struct Table(Vec<Brief>);

impl Table {
    /// Reads it.
    ///
    /// # Errors
    /// When `/proc` cannot be listed; nothing is known then.
    pub fn read() -> io::Result<Self> {
        let mut rows = Vec::new();
        let mut buffer = Vec::new();
        for entry in std::fs::read_dir("/proc")? {
            let entry = entry?;
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // One that is gone by now has ended.
            let row = Brief::read(pid, &mut buffer);
            rows.extend(row.filter(|row| !row.is_dead() && !row.is_kernel_thread()));
        }
        Ok(Self(rows))
    }

    /// The processes of a process group.
    pub fn group(&self, group: u32) -> BTreeSet<ProcessId> {
        self.0.iter().filter(|row| row.group == group).map(|row| row.process).collect()
    }

    /// Whether `process` was there.
    pub fn holds(&self, process: ProcessId) -> bool {
        self.0.iter().any(|row| row.process == process)
    }

    /// For each value, the processes that started at `since` (clock ticks since boot) or later and
    /// whose environment held exactly `name=value` when their program started. A lower bound, as
    /// [`with_environment`](super::with_environment) is.
    pub fn carrying<'v>(
        &self,
        name: &str,
        values: &BTreeSet<&'v str>,
        since: u64,
    ) -> BTreeMap<&'v str, BTreeSet<ProcessId>> {
        let mut found: BTreeMap<&str, BTreeSet<ProcessId>> = BTreeMap::new();
        let mut environment = Vec::new();
        let young = self.0.iter().filter(|row| row.process.start_ticks >= since);
        for process in young.map(|row| row.process) {
            environment.clear();
            let file = File::open(format!("/proc/{}/environ", process.pid));
            if file.and_then(|mut file| file.read_to_end(&mut environment)).is_err() {
                continue;
            }
            let entries = environment.split(|byte| *byte == 0);
            let of_name =
                entries.filter_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
            for value in of_name.filter_map(|value| std::str::from_utf8(value).ok()) {
                // Asked again after reading: a pid that changed hands meanwhile is not reported.
                if let Some(value) = values.get(value)
                    && super::is_alive(process)
                {
                    found.entry(*value).or_default().insert(process);
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processes::{group_members, myself, with_environment};
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;

    #[test]
    fn a_line_is_read_whatever_the_name() {
        let line = b"12 (a) b (c) S 1 34 56 0 -1 4194560 9 8 7 6 5 4 3 2 20 0 3 0 777 1 2 3\n";
        let brief = Brief::parse(line).unwrap();
        assert_eq!(brief.process, ProcessId { pid: 12, start_ticks: 777 });
        assert_eq!((brief.state, brief.group, brief.threads), (b'S', 34, 3));
        assert!(!brief.is_kernel_thread() && !brief.is_dead() && !brief.is_headless());
        assert_eq!(Brief::parse(b"12 (cut"), None);
        assert_eq!(Brief::parse(b"12 (cut) S 1 34"), None);
    }

    #[test]
    fn it_says_what_the_single_questions_say() {
        let mark = format!("table-{}", std::process::id());
        let mut child = Command::new("sleep")
            .arg("100")
            .env("MIGD_TABLE_MARK", &mark)
            .process_group(0)
            .spawn()
            .unwrap();
        let seen = (0..1000).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(5));
            with_environment("MIGD_TABLE_MARK", &mark).first().copied()
        });
        let process = seen.expect("its environment shows");
        let table = Table::read().unwrap();
        assert!(table.holds(process) && table.holds(myself().unwrap()));
        assert_eq!(table.group(process.pid).into_iter().collect::<Vec<_>>(), [process]);
        assert_eq!(group_members(process.pid, None), [process]);
        let values = BTreeSet::from([mark.as_str(), "another"]);
        let carriers = table.carrying("MIGD_TABLE_MARK", &values, process.start_ticks);
        assert_eq!(carriers, BTreeMap::from([(mark.as_str(), BTreeSet::from([process]))]));
        let later = table.carrying("MIGD_TABLE_MARK", &values, process.start_ticks + 1);
        assert!(later.is_empty());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!Table::read().unwrap().holds(process));
    }
}
