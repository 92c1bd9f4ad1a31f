//! What a person needs to know about a process that is in the way.
//!
//! Must never pass on a name as it stands: names of processes are chosen by whoever runs them, and
//! may hold escape sequences.

use model::{ProcessId, Uid};
use procfs::process::Process;

use super::{identity, is_dead};
use crate::users::Users;

/// Whether to read the arguments of a process; they may hold secrets, and are other people's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arguments {
    /// Leave them out.
    Hidden,
    /// Read them.
    Shown,
}

/// Who a process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessDescription {
    /// The process.
    pub process: ProcessId,
    /// Its effective user.
    pub uid: Uid,
    /// The name of that user, or the number where it has none.
    pub user: String,
    /// Name of its program as the kernel has it (at most 15 bytes), escaped.
    pub command: String,
    /// Its arguments joined by spaces, escaped; `None` unless asked for and readable.
    pub command_line: Option<String>,
    /// Pid of its parent; 0 where that is outside this pid namespace.
    pub parent: u32,
    /// Its process group.
    pub group: u32,
    /// Its session.
    pub session: u32,
    /// Its control group below the root, if it is in one.
    pub cgroup: Option<String>,
    /// The systemd unit of that control group (`slurmd.service`).
    pub unit: Option<String>,
}

/// Describes the process that has this pid now; `None` if none has or it has ended.
pub fn describe(pid: u32, users: &Users, arguments: Arguments) -> Option<ProcessDescription> {
    let process = Process::new(i32::try_from(pid).ok()?).ok()?;
    let stat = process.stat().ok().filter(|stat| !is_dead(stat))?;
    let uid = process.status().map(|status| status.euid).or_else(|_| process.uid()).ok()?;
    let uid = Uid::new(uid);
    let cgroup = cgroup_of(&process);
    Some(ProcessDescription {
        process: identity(&stat),
        uid,
        user: users.label(uid),
        command: escaped(&stat.comm),
        command_line: match arguments {
            Arguments::Hidden => None,
            Arguments::Shown => command_line(pid),
        },
        parent: stat.ppid.unsigned_abs(),
        group: stat.pgrp.unsigned_abs(),
        session: stat.session.unsigned_abs(),
        unit: cgroup.as_deref().and_then(unit_of).map(str::to_owned),
        cgroup,
    })
}

fn command_line(pid: u32) -> Option<String> {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let text = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    let words = text.split(|byte| *byte == 0).map(|word| escaped(&String::from_utf8_lossy(word)));
    let line = words.collect::<Vec<_>>().join(" ");
    (!line.is_empty()).then_some(line)
}

/// `text` with control characters, and the invisible ones that reorder text, written as escapes.
pub fn escaped(text: &str) -> String {
    let reorders = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || reorders(c) { safe.extend(c.escape_default()) } else { safe.push(c) }
    }
    safe
}

/// The control group that says most: the unified one, else systemd's, else the first below a root.
fn cgroup_of(process: &Process) -> Option<String> {
    let groups = process.cgroups().ok()?.0;
    let rank = |controllers: &[String], hierarchy: u32| match controllers {
        [] if hierarchy == 0 => 0,
        [name] if name == "name=systemd" => 1,
        _ => 2,
    };
    let below_root = groups.into_iter().filter(|group| group.pathname != "/");
    let best = below_root.min_by_key(|group| rank(&group.controllers, group.hierarchy))?;
    Some(escaped(&best.pathname))
}

/// The innermost systemd unit of a control group path.
fn unit_of(cgroup: &str) -> Option<&str> {
    let is_unit = |part: &&str| matches!(part.rsplit_once('.'), Some((name, "service" | "scope")) if !name.is_empty());
    cgroup.rsplit('/').find(is_unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processes::process_id;
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;

    #[test]
    fn a_child_is_described_by_what_it_is() {
        let mut child = Command::new("sh")
            .args(["-c", "read line", "a\u{1b}[31mb"])
            .stdin(std::process::Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let users = Users::load();
        let plain = describe(child.id(), &users, Arguments::Hidden).unwrap();
        assert_eq!(Some(plain.process), process_id(child.id()));
        assert_eq!(plain.uid.get(), rustix::process::geteuid().as_raw());
        assert_eq!(plain.user, users.label(plain.uid));
        assert_eq!(plain.parent, std::process::id());
        assert_eq!(plain.group, child.id());
        assert_eq!(plain.command_line, None);
        // The kernel shows a program's arguments a moment after the program has started.
        let line = (0..1000).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(5));
            describe(child.id(), &users, Arguments::Shown)?.command_line
        });
        assert_eq!(line.as_deref(), Some("sh -c read line a\\u{1b}[31mb"));
        child.kill().unwrap();
        assert!(child.wait().is_ok());
        assert_eq!(describe(child.id(), &users, Arguments::Shown), None);
    }

    #[test]
    fn units_are_read_from_control_groups() {
        assert_eq!(unit_of("/system.slice/slurmd.service"), Some("slurmd.service"));
        assert_eq!(
            unit_of("/user.slice/user-1000.slice/user@1000.service/app.slice/app-x.scope/inner"),
            Some("app-x.scope")
        );
        assert_eq!(unit_of("/docker/0123"), None);
    }

    #[test]
    fn names_cannot_speak_to_a_terminal() {
        assert_eq!(escaped("tra\u{1b}]0;x\u{7}in"), "tra\\u{1b}]0;x\\u{7}in");
        assert_eq!(escaped("abc\u{202e}def"), "abc\\u{202e}def");
        assert_eq!(escaped("학습"), "학습");
    }
}
