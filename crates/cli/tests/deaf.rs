//! A daemon that is there and does not answer, or leaves between two calls.
//!
//! Must never need a daemon that can be made to hang: a listener of the test's own plays it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod server;
mod simulated;

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Output, Stdio};
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use server::{Server, kill, wait_for};
use simulated::{Lab, told};

/// How long a command may go on after its signal: five seconds of last words and some for the
/// machine the tests run on.
const SOON: Duration = Duration::from_secs(20);

/// What the listener does with one connection.
enum Act {
    /// Answers with this value.
    Answer(Value),
    /// Reads and says nothing; the connection stays open.
    Silence,
}

/// Plays a daemon: the connections come one after another, and each is dealt with by the next act.
/// Tells which requests came.
fn play(lab: &Lab, acts: Vec<Act>) -> JoinHandle<Vec<String>> {
    let socket = socket(lab);
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    let listener = UnixListener::bind(&socket).unwrap();
    spawn(move || {
        let mut requests = Vec::new();
        let mut silent = Vec::new();
        let last = acts.len();
        for (number, act) in acts.into_iter().enumerate() {
            let (mut stream, _) = listener.accept().unwrap();
            requests.push(request(&mut stream));
            if number + 1 == last && matches!(act, Act::Answer(_)) {
                // It leaves before its last answer is read.
                std::fs::remove_file(&socket).unwrap();
            }
            match act {
                Act::Answer(value) => answer(&mut stream, &value),
                Act::Silence => silent.push(stream),
            }
        }
        for mut stream in silent {
            // Until the other side has gone.
            let _ = stream.read_to_end(&mut Vec::new());
        }
        requests
    })
}

fn socket(lab: &Lab) -> PathBuf {
    lab.machine_dir().join("run").join("migd.sock")
}

/// The first line of a request, read with its headers.
fn request(stream: &mut UnixStream) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        bytes.push(byte[0]);
    }
    String::from_utf8_lossy(&bytes).lines().next().unwrap_or_default().to_owned()
}

fn answer(stream: &mut UnixStream, value: &Value) {
    let body = value.to_string();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
    write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    // The request's body may lie unread; closing now would make the answer a broken conversation.
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
}

fn version() -> Act {
    Act::Answer(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "api": api::API_VERSION,
        "pid": std::process::id(),
        "simulated": "a30@1",
    }))
}

fn start(lab: &Lab, args: &[&str]) -> Child {
    let mut command = lab.command(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Its output, which must come soon.
fn end(mut child: Child) -> Output {
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > SOON {
            child.kill().unwrap();
            panic!("it goes on: {}", told(&child.wait_with_output().unwrap()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().unwrap()
}

#[test]
fn a_signal_ends_a_request_that_the_daemon_does_not_answer() {
    let lab = Lab::new("a30:1");
    let daemon = play(&lab, vec![version(), Act::Silence, Act::Silence]);
    let child = start(&lab, &["run", "-p", "1g.6gb", "--", "true"]);
    // It asked and says that it waits after two seconds; a signal at any time does.
    std::thread::sleep(Duration::from_secs(3));
    kill("TERM", child.id());
    let output = end(child);
    assert_eq!(output.status.code(), Some(143), "{}", told(&output));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("waits for the daemon, which runs and does not answer"), "{said}");
    assert!(said.contains("drops the request by itself"), "{said}");
    let requests = daemon.join().unwrap();
    assert_eq!(requests[1], "POST /v1/leases HTTP/1.1");
}

#[test]
fn a_command_that_the_daemon_has_not_heard_of_never_begins_and_can_be_given_up() {
    let real = Server::new("a30:1");
    let granted = real.lab.json(&["lease", "-p", "1g.6gb"]);
    let lab = Lab::new("a30:1");
    let mark = lab.state_dir().join("ran");
    let acts = vec![version(), Act::Answer(granted), Act::Silence, Act::Silence];
    let daemon = play(&lab, acts);
    let child = start(&lab, &["run", "-p", "1g.6gb", "--", "touch", &mark.to_string_lossy()]);
    std::thread::sleep(Duration::from_secs(5));
    kill("INT", child.id());
    let output = end(child);
    assert_eq!(output.status.code(), Some(130), "{}", told(&output));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("the command begins once it does"), "{said}");
    assert!(said.contains("was not given back: the daemon does not answer"), "{said}");
    assert!(!mark.exists());
    let requests = daemon.join().unwrap();
    assert_eq!(requests[2], "POST /v1/leases/L1/command HTTP/1.1");
    assert_eq!(requests[3], "DELETE /v1/leases/L1 HTTP/1.1");
}

#[test]
fn a_daemon_that_stops_does_not_keep_an_ended_command() {
    let server = Server::new("a30:1");
    let daemon = server.daemon().unwrap();
    let stop = format!("kill -STOP {daemon}; exit 7");
    let child = server.start(&["-p", "1g.6gb", "--name", "job", "--", "sh", "-c", &stop]);
    let output = end(child);
    assert_eq!(output.status.code(), Some(7), "{}", told(&output));
    kill("CONT", daemon);
    server.until_empty();
}

#[test]
fn a_daemon_that_does_not_even_greet_is_named_and_need_not_be_waited_for() {
    let server = Server::new("a30:1");
    let daemon = server.daemon().unwrap();
    kill("STOP", daemon);
    let child = server.start(&["-p", "1g.6gb", "--", "true"]);
    std::thread::sleep(Duration::from_secs(5));
    // Not INT, which a shell without job control has its background jobs ignore.
    kill("TERM", child.id());
    let output = end(child);
    assert_eq!(output.status.code(), None, "the signal ends it: {}", told(&output));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("migd.sock, which runs and does not answer"), "{said}");
    kill("CONT", daemon);
}

#[test]
fn a_daemon_that_leaves_after_the_greeting_is_started_again() {
    let lab = Lab::new("a30:1");
    let daemon = play(&lab, vec![version()]);
    let output = end(start(&lab, &["run", "-p", "1g.6gb", "--", "echo", "ran"]));
    daemon.join().unwrap();
    let pid = std::fs::read_to_string(lab.machine_dir().join("daemon.lock")).unwrap();
    let pid: u32 = pid.trim().parse().unwrap();
    kill("KILL", pid);
    wait_for("the daemon to be gone", || (!server::runs(pid)).then_some(()));
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(output.stdout, b"ran\n");
}
