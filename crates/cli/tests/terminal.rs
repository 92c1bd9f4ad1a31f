//! `migctl run` at a terminal: keys, signals and job control reach the command and the shell.
//!
//! Must never need a person: the terminal is the one of util-linux's `script`.

mod simulated;

use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use simulated::{Lab, PATIENCE, skip};

/// Programs at a terminal of their own.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    screen: Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    /// Runs `line` with `sh` at a new terminal; `None` where there is no `script`.
    fn open(lab: &Lab, line: &str) -> Option<Self> {
        let migctl = lab.command(&[]);
        let mut words = vec![migctl.get_program().to_string_lossy().into_owned()];
        words.extend(migctl.get_args().map(|word| word.to_string_lossy().into_owned()));
        let line = line.replace("migctl", &words.join(" "));
        let mut child = Command::new("script")
            .args(["--quiet", "--return", "--flush", "--command", &line, "/dev/null"])
            .env("SHELL", "/bin/sh")
            .env("PS1", "PROMPT> ")
            .env("LC_ALL", "C.UTF-8")
            .env_remove("MIGD_SIMULATE")
            .env_remove("MIGD_STATE_DIR")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let keys = child.stdin.take().expect("stdin is a pipe");
        let mut stdout = child.stdout.take().expect("stdout is a pipe");
        let (sender, screen) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Some(Self { child, keys, screen, seen: String::new() })
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("the terminal takes keys");
        self.keys.flush().expect("the terminal takes keys");
    }

    /// Waits until the screen shows `text`, and forgets what it showed until then.
    fn shows(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.seen.contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            let bytes = self.screen.recv_timeout(left).unwrap_or_default();
            assert!(!bytes.is_empty(), "no `{text}` in {:?}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&bytes));
        }
        let end = self.seen.find(text).map_or(0, |at| at + text.len());
        self.seen.drain(..end);
    }

    fn exit_code(&mut self) -> i32 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("the child is ours") {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < deadline, "it goes on: {:?}", self.seen);
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A machine whose daemon ends with the test.
struct Machine(Lab);

impl Drop for Machine {
    fn drop(&mut self) {
        use rustix::process::{Pid, Signal, kill_process};
        let pid = std::fs::read_to_string(self.0.machine_dir().join("daemon.lock")).ok();
        let pid = pid.and_then(|text| text.trim().parse().ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

/// Waits until no lease is active or waits.
fn wait_until_free(lab: &Lab) {
    let deadline = Instant::now() + PATIENCE;
    while lab.json(&["status"])["leases"].as_array().is_some_and(|leases| !leases.is_empty()) {
        assert!(Instant::now() < deadline, "{}", lab.json(&["status"])["leases"]);
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn ctrl_c_ends_the_command_and_the_lease() {
    let machine = Machine(Lab::new("a30:1"));
    let line = "migctl run -p 1g.6gb -- sh -c 'echo rea\"\"dy; exec sleep 300'";
    let Some(mut terminal) = Terminal::open(&machine.0, line) else {
        return skip("ctrl_c_ends_the_command_and_the_lease", "no `script` of util-linux");
    };
    terminal.shows("ready");
    terminal.press("\u{3}");
    assert_eq!(terminal.exit_code(), 130);
    wait_until_free(&machine.0);
}

#[test]
fn ctrl_c_leaves_the_queue() {
    let machine = Machine(Lab::new("a30:1"));
    machine.0.ok(&["lease", "-p", "4g.24gb", "--name", "all"]);
    let Some(mut terminal) = Terminal::open(&machine.0, "migctl run -p 4g.24gb -- true") else {
        return skip("ctrl_c_leaves_the_queue", "no `script` of util-linux");
    };
    terminal.shows("waits (next in line)");
    terminal.press("\u{3}");
    terminal.shows("was withdrawn");
    assert_eq!(terminal.exit_code(), 130);
    assert_eq!(machine.0.json(&["queue"]).as_array().unwrap().len(), 0);
}

#[test]
fn a_command_reads_the_terminal_also_in_a_pipeline() {
    let machine = Machine(Lab::new("a30:1"));
    for line in [
        "migctl run -p 1g.6gb -- sh -c 'echo rea\"\"dy; read x; echo got-$x; exit 7'",
        "migctl run -p 1g.6gb -- sh -c 'echo rea\"\"dy; read x; echo got-$x' | cat; exit 7",
    ] {
        let Some(mut terminal) = Terminal::open(&machine.0, line) else {
            return skip("a_command_reads_the_terminal", "no `script` of util-linux");
        };
        terminal.shows("ready");
        terminal.press("word\n");
        terminal.shows("got-word");
        assert_eq!(terminal.exit_code(), 7, "{line}");
    }
}

#[test]
fn a_shell_stops_the_command_and_brings_it_back() {
    let machine = Machine(Lab::new("a30:1"));
    let Some(mut terminal) = Terminal::open(&machine.0, "exec bash --norc --noprofile -i") else {
        return skip("a_shell_stops_the_command", "no `script` of util-linux");
    };
    terminal.shows("PROMPT> ");
    let migctl = machine.0.command(&["run", "-p", "1g.6gb", "--", "cat"]);
    let mut words = vec![migctl.get_program().to_string_lossy().into_owned()];
    words.extend(migctl.get_args().map(|word| word.to_string_lossy().into_owned()));
    terminal.press(&format!("{}\n", words.join(" ")));
    terminal.shows("MiB) MIG-");
    terminal.press("one\n");
    terminal.shows("one\r\none");
    terminal.press("\u{1a}");
    terminal.shows("Stopped");
    terminal.press("echo shell-$((40 + 2))\n");
    terminal.shows("shell-42");
    assert_eq!(machine.0.json(&["status"])["leases"][0]["state"], "active");
    terminal.press("fg\n");
    terminal.shows("cat\r\n");
    terminal.press("two\n");
    terminal.shows("two\r\ntwo");
    terminal.press("\u{4}");
    terminal.shows("PROMPT> ");
    terminal.press("echo code-$?\n");
    terminal.shows("code-0");
    terminal.press("exit\n");
    wait_until_free(&machine.0);
}
