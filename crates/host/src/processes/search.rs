//! Finding processes: a process group, a family, everybody who carries a mark in the environment.
//!
//! Must never report a process that has ended.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use model::ProcessId;
use procfs::process::Stat;

use super::{identity, is_dead};

/// Every live process this one can see, kernel threads included, ascending by pid.
pub fn all() -> Vec<ProcessId> {
    sorted(live().iter().map(identity))
}

/// The live processes of the process group `group`, ascending by pid; with `session`, only those in
/// that session, which tells a group id that was used again apart.
pub fn group_members(group: u32, session: Option<u32>) -> Vec<ProcessId> {
    let in_group = |stat: &&Stat| stat.pgrp.unsigned_abs() == group;
    let in_session =
        |stat: &&Stat| session.is_none_or(|session| stat.session.unsigned_abs() == session);
    sorted(live().iter().filter(in_group).filter(in_session).map(identity))
}

/// Whether the environment of a process held exactly `NAME=VALUE` when its program started; false
/// where that may not be read.
pub fn carries(pid: u32, name: &str, value: &str) -> bool {
    let wanted = format!("{name}={value}");
    std::fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|held| held.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes()))
}

/// The live processes whose environment held exactly `NAME=VALUE` when their program started,
/// ascending by pid. The answer is a lower bound: environments this user may not read (other users'
/// processes, unless root) are passed over, and so is a program in the moment of its start.
pub fn with_environment(name: &str, value: &str) -> Vec<ProcessId> {
    let wanted = format!("{name}={value}");
    let carries = |process: &ProcessId| {
        std::fs::read(format!("/proc/{}/environ", process.pid)).is_ok_and(|environment| {
            environment.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes())
        })
    };
    // Asked again after reading: a pid that changed hands meanwhile is not reported.
    all().into_iter().filter(carries).filter(|process| super::is_alive(*process)).collect()
}

/// The live children, grandchildren and so on of `ancestor`, ascending by pid; empty if it has
/// ended. A process whose parent ended was handed to another and is not found.
pub fn descendants(ancestor: ProcessId) -> Vec<ProcessId> {
    let live = live();
    let mut children: BTreeMap<u32, Vec<ProcessId>> = BTreeMap::new();
    for stat in &live {
        children.entry(stat.ppid.unsigned_abs()).or_default().push(identity(stat));
    }
    let mut found = BTreeSet::new();
    let mut open = vec![ancestor];
    if !live.iter().any(|stat| identity(stat) == ancestor) {
        return Vec::new();
    }
    while let Some(parent) = open.pop() {
        for child in children.get(&parent.pid).into_iter().flatten() {
            // A child cannot be older than its parent; one that is has another parent by now.
            if child.start_ticks >= parent.start_ticks && found.insert(*child) {
                open.push(*child);
            }
        }
    }
    found.into_iter().collect()
}

fn live() -> Vec<Stat> {
    let Ok(processes) = procfs::process::all_processes() else { return Vec::new() };
    let stats = processes.filter_map(|process| process.ok()?.stat().ok());
    stats.filter(|stat| !is_dead(stat)).collect()
}

fn sorted(processes: impl Iterator<Item = ProcessId>) -> Vec<ProcessId> {
    let set: BTreeSet<ProcessId> = processes.collect();
    set.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processes::{myself, process_id};
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::process::CommandExt as _;
    use std::process::{Child, Command, Stdio};

    /// A shell that starts `inner` in the background, prints its pid and waits.
    fn shell_with(inner: &str) -> (Child, ProcessId) {
        let script = format!("{inner} & echo $!; wait");
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .process_group(0)
            .env("MIGD_TEST_MARK", "shell")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let inner = process_id(line.trim().parse().unwrap()).unwrap();
        (child, inner)
    }

    fn end(mut child: Child, inner: ProcessId) {
        let watch = crate::PidFd::watch(inner).unwrap();
        watch.signal(rustix::process::Signal::KILL).unwrap();
        assert!(watch.wait(model::Millis::from_secs(30)).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_group_has_its_members_and_loses_them() {
        let (child, inner) = shell_with("sleep 100");
        let shell = process_id(child.id()).unwrap();
        let members = group_members(shell.pid, None);
        assert!(members.contains(&shell) && members.contains(&inner), "{members:?}");
        assert_eq!(members.len(), 2);
        assert_eq!(group_members(shell.pid, Some(shell.pid + 1)), []);
        end(child, inner);
        assert_eq!(group_members(shell.pid, None), []);
    }

    #[test]
    fn a_child_in_a_session_of_its_own_is_a_descendant_but_no_member() {
        let (child, inner) = shell_with("setsid sleep 100");
        let shell = process_id(child.id()).unwrap();
        // `setsid` makes its session after the shell has printed the pid.
        let moved = (0..500).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            group_members(inner.pid, Some(inner.pid)) == [inner]
        });
        assert!(moved);
        assert_eq!(group_members(shell.pid, None), [shell]);
        assert_eq!(descendants(shell), [inner]);
        assert!(descendants(myself().unwrap()).contains(&inner));
        end(child, inner);
        assert_eq!(descendants(shell), []);
    }

    #[test]
    fn the_environment_is_matched_exactly() {
        let mark = format!("value-{}", std::process::id());
        let mut child =
            Command::new("sleep").arg("100").env("MIGD_TEST_LEASE", &mark).spawn().unwrap();
        let process = process_id(child.id()).unwrap();
        // The kernel shows a program's environment a moment after the program has started.
        let seen = (0..1000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(5));
            with_environment("MIGD_TEST_LEASE", &mark) == [process]
        });
        assert!(seen);
        assert_eq!(with_environment("MIGD_TEST_LEASE", &mark[..mark.len() - 1]), []);
        assert_eq!(with_environment("IGD_TEST_LEASE", &mark), []);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(with_environment("MIGD_TEST_LEASE", &mark), []);
    }
}
