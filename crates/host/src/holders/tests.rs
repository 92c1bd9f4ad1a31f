//! Tests of the search for holders, with real processes and descriptors.
//!
//! Must never assume that no other test has a file of its own open for a moment in a new child.

use super::*;
use crate::processes::process_id;
use std::fs::File;
use std::process::{Child, Command, Stdio};

fn sleeper_with(file: File) -> Child {
    Command::new("sleep").arg("100").stdin(Stdio::from(file)).spawn().unwrap()
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn an_open_regular_node_has_its_holder_until_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let node = folder.path().join("nvidia-cap21");
    let other = folder.path().join("nvidia-cap22");
    std::fs::write(&node, "").unwrap();
    std::fs::write(&other, "").unwrap();
    let asked = [node.clone(), other];
    assert_eq!(holders_of(&asked).unwrap().holders, []);
    let child = sleeper_with(File::open(&node).unwrap());
    let process = process_id(child.id()).unwrap();
    let found = holders_of(&asked).unwrap();
    let held = Holder { process, path: node, descriptor: 0 };
    assert!(found.holders.contains(&held), "{found:?}");
    assert!(found.holders.iter().all(|holder| holder.path == held.path), "{found:?}");
    assert!(found.processes().contains(&process));
    assert!(!found.is_nobody());
    end(child);
    assert!(!holders_of(&asked).unwrap().processes().contains(&process));
}

#[test]
fn a_device_is_found_by_its_number_under_another_path() {
    let child = sleeper_with(File::open("/dev/full").unwrap());
    let process = process_id(child.id()).unwrap();
    let found = holders_of(&[PathBuf::from("/dev/full")]).unwrap();
    assert!(found.processes().contains(&process), "{found:?}");
    assert!(!holders_of(&[PathBuf::from("/dev/zero")]).unwrap().processes().contains(&process));

    // Another node of the same device, as a container has; only root may make one.
    let folder = tempfile::tempdir().unwrap();
    let alias = folder.path().join("full");
    let number = rustix::fs::makedev(1, 7);
    let mode = rustix::fs::Mode::RUSR;
    if rustix::fs::mknodat(CWD, &alias, FileType::CharacterDevice, mode, number).is_ok() {
        let found = holders_of(std::slice::from_ref(&alias)).unwrap();
        let held = Holder { process, path: alias, descriptor: 0 };
        assert!(found.holders.contains(&held), "{found:?}");
    }
    end(child);
}

#[test]
fn a_zombie_holds_nothing_and_is_no_gap() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut child = sleeper_with(file.reopen().unwrap());
    let process = process_id(child.id()).unwrap();
    let watch = crate::PidFd::watch(process).unwrap();
    child.kill().unwrap();
    assert!(watch.wait(model::Millis::from_secs(10)).unwrap());
    let found = holders_of(&[file.path().to_path_buf()]).unwrap();
    assert!(!found.processes().contains(&process), "{found:?}");
    assert!(!found.incomplete.unreadable.contains(&child.id()));
    child.wait().unwrap();
}

/// A process whose first thread has exited and whose second sleeps: the kernel shows it as a zombie
/// without descriptors of its own.
const HEADLESS: &str = "
import ctypes, platform, sys, threading, time
threading.Thread(target=time.sleep, args=(100,)).start()
print('ready', flush=True)
ctypes.CDLL(None).syscall(60 if platform.machine() == 'x86_64' else 93, 0)
";

#[test]
fn a_process_without_its_first_thread_still_holds() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let started = Command::new("python3")
        .args(["-c", HEADLESS])
        .stdin(Stdio::from(file.reopen().unwrap()))
        .stdout(Stdio::piped())
        .spawn();
    let Ok(child) = started else {
        assert!(std::env::var_os("CI").is_none(), "python3 is missing");
        eprintln!("skipped: no python3 to make a process without its first thread");
        return;
    };
    let pid = child.id();
    let headless = (0..1000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        crate::processes::stat_of(pid).is_some_and(|stat| stat.state == 'Z')
    });
    assert!(headless);
    let process = process_id(pid).expect("it is not dead while a thread runs");
    let found = holders_of(&[file.path().to_path_buf()]).unwrap();
    // The kernel shows such a process's threads to root only; then it is named as a gap.
    let gap = found.incomplete.unreadable.contains(&pid);
    let is_root = rustix::process::geteuid().is_root();
    assert!(found.processes().contains(&process) || (gap && !is_root), "{found:?}");
    assert!(!found.is_nobody());
    assert!(!crate::PidFd::watch(process).unwrap().has_ended().unwrap());
    end(child);
    assert_eq!(process_id(pid), None);
}

#[test]
fn this_process_is_found_unless_others_are_asked_for() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = [file.path().to_path_buf()];
    let me = crate::processes::myself().unwrap();
    assert!(holders_of(&path).unwrap().processes().contains(&me));
    let child = sleeper_with(file.reopen().unwrap());
    let process = process_id(child.id()).unwrap();
    let others = other_holders_of(&path).unwrap().processes();
    assert!(others.contains(&process) && !others.contains(&me), "{others:?}");
    end(child);
}

#[test]
fn a_search_made_again_finds_who_came_and_who_opened_meanwhile() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = [file.path().to_path_buf()];
    let mut seeker = Seeker::default();
    let go = tempfile::tempdir().unwrap();
    let script = "while [ ! -e $0/go ]; do sleep 0.01; done; exec 9<$1; touch $0/open; sleep 100";
    let mut late = Command::new("sh");
    let mut late = late.args(["-c", script]).arg(go.path()).arg(file.path()).spawn().unwrap();
    let opener = process_id(late.id()).unwrap();
    for _ in 0..2 {
        assert_eq!(seeker.search(&path).unwrap().holders, []);
    }
    // One whose folder is open already opens the node, another one comes with it.
    std::fs::write(go.path().join("go"), "").unwrap();
    while !go.path().join("open").exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let child = sleeper_with(file.reopen().unwrap());
    let came = process_id(child.id()).unwrap();
    for _ in 0..2 {
        let found = seeker.search(&path).unwrap().processes();
        assert!(found.contains(&opener) && found.contains(&came), "{found:?}");
    }
    end(child);
    late.kill().unwrap();
    late.wait().unwrap();
    let left = seeker.search(&path).unwrap().processes();
    assert!(!left.contains(&opener) && !left.contains(&came), "{left:?}");
}

/// A folder that stays open is its process's and not the pid's: whoever gets the pid later is looked at.
#[test]
fn a_folder_of_a_process_that_is_gone_is_never_taken_for_an_empty_one() {
    let child = Command::new("sleep").arg("100").spawn().unwrap();
    let folder = File::open(format!("/proc/{}/fd", child.id())).unwrap();
    end(child);
    let mut names = vec![std::mem::MaybeUninit::uninit(); 4096];
    let mut entries = rustix::fs::RawDir::new(&folder, &mut names);
    let mut first = entries.next();
    // The links to itself and above need no process.
    while let Some(Ok(entry)) = &first
        && entry.file_name().to_bytes().starts_with(b".")
    {
        first = entries.next();
    }
    assert!(matches!(first, Some(Err(_))), "{first:?}");
}

#[test]
fn a_path_that_is_gone_has_no_holders_and_one_that_cannot_be_read_is_an_error() {
    assert_eq!(holders_of(&[PathBuf::from("/nonexistent/node")]).unwrap(), Holders::default());
    let below_a_file = PathBuf::from("/etc/passwd/node");
    assert_eq!(holders_of(std::slice::from_ref(&below_a_file)).unwrap_err().path, below_a_file);
}

#[test]
fn could_not_look_is_not_nobody() {
    let unreadable = Incomplete { unreadable: vec![1], hides_processes: false };
    assert!(!Holders { holders: vec![], incomplete: unreadable }.is_nobody());
    let hidden = Incomplete { unreadable: vec![], hides_processes: true };
    assert!(!Holders { holders: vec![], incomplete: hidden }.is_nobody());
    assert!(Holders::default().is_nobody());
}

#[test]
fn hidepid_is_read_from_the_mount_table() {
    let plain = "22 1 0:20 / /proc rw,nosuid shared:5 - proc proc rw\n";
    let hidden = "22 1 0:20 / /proc rw,nosuid shared:5 - proc proc rw,hidepid=invisible\n";
    let elsewhere = "22 1 0:20 / /mnt/proc rw - proc proc rw,hidepid=2\n";
    assert!(!mounts_hide_processes(plain));
    assert!(mounts_hide_processes(hidden));
    assert!(!mounts_hide_processes(elsewhere));
}

#[test]
fn another_users_process_is_a_gap_and_a_kernel_thread_is_none() {
    let found = holders_of(&[PathBuf::from("/dev/full")]).unwrap();
    // Pid 1 is another user's unless this test runs as root.
    let is_root = rustix::process::geteuid().is_root();
    assert!(
        is_root || found.incomplete.hides_processes || found.incomplete.unreadable.contains(&1)
    );
    // Pid 2 is kthreadd, unless this is a pid namespace of its own.
    let kernel = crate::processes::stat_of(2).is_some_and(|stat| stat.comm == "kthreadd");
    assert!(!kernel || !found.incomplete.unreadable.contains(&2));
}

/// Holds a descriptor (its standard input) and, each time it is told to through its first argument, a
/// pipe, hands it to its child or takes it back through a socket. Whoever gives it on keeps it until
/// the other has it, and not longer.
const RELAY: &str = "
import os, socket, sys
orders = os.open(sys.argv[1], os.O_RDONLY)
node = os.dup(0)
os.dup2(os.open('/dev/null', os.O_RDONLY), 0)
ours, theirs = socket.socketpair()
def give(end, node):
    socket.send_fds(end, [b'x'], [node])
    end.recv(1)
    os.close(node)
    end.send(b'c')
def take(end):
    given = socket.recv_fds(end, 1, 1)[1]
    if not given: sys.exit()
    node = given[0]
    end.send(b'k')
    end.recv(1)
    return node
if os.fork() == 0:
    os.close(node)
    ours.close()
    os.close(orders)
    while True:
        node = take(theirs)
        if not theirs.recv(1): break
        give(theirs, node)
    sys.exit()
theirs.close()
print('ready', flush=True)
while os.read(orders, 1):
    if node is not None:
        give(ours, node)
        node = None
    else:
        ours.send(b'b')
        node = take(ours)
    print('done', flush=True)
";

#[test]
fn a_descriptor_that_is_handed_on_once_during_two_passes_is_found_by_one_of_them() {
    use std::io::{BufRead as _, BufReader, Write as _};
    let folder = tempfile::tempdir().unwrap();
    let (node, orders) = (folder.path().join("nvidia-cap22"), folder.path().join("orders"));
    std::fs::write(&node, "").unwrap();
    let mode = rustix::fs::Mode::RWXU;
    rustix::fs::mknodat(CWD, &orders, FileType::Fifo, mode, 0).unwrap();
    let started = Command::new("python3")
        .args(["-c", RELAY])
        .arg(&orders)
        .stdin(Stdio::from(File::open(&node).unwrap()))
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = started else {
        assert!(std::env::var_os("CI").is_none(), "python3 is missing");
        eprintln!("skipped: no python3 to hand a descriptor on");
        return;
    };
    let mut orders = File::options().write(true).open(&orders).unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "ready");
    for round in 0..30_u64 {
        let path = node.clone();
        let (begun, begins) = std::sync::mpsc::channel();
        let passes = std::thread::spawn(move || {
            begun.send(()).unwrap();
            [(); 2].map(|()| holders_of(std::slice::from_ref(&path)).unwrap().holders.len())
        });
        begins.recv().unwrap();
        // At another moment of the passes in each round.
        std::thread::sleep(std::time::Duration::from_micros(round * 300));
        orders.write_all(b"g").unwrap();
        let found = passes.join().unwrap();
        assert!(found.iter().any(|holders| *holders > 0), "round {round}: {found:?}");
        assert_eq!(said.next().unwrap().unwrap(), "done");
    }
    drop(orders);
    child.wait().unwrap();
    assert!(holders_of(&[node]).unwrap().holders.is_empty());
}
