//! The API as its callers meet it: problems, keys, pages, the audit, events as they happen.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where a step fails")]

mod http;
mod server;
mod simulated;

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use http::{Door, Events};
use serde_json::{Value, json};
use server::{Server, wait_for};

fn users(server: &Server) -> Door {
    Door::at(&server.lab.machine_dir().join("run/migd.sock"))
}

fn slice(name: &str) -> Value {
    json!({"profile": "1g", "holder": "token", "name": name})
}

/// A call, its headers and its body; the status and the code of its refusal.
type Refused<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [u8], u16, &'a str);

#[test]
fn every_refusal_is_a_problem() {
    let server = Server::new("a30:1");
    let door = users(&server);
    let json = ("content-type", "application/json");
    let large = vec![b' '; 70 * 1024];
    let cases: &[Refused<'_>] = &[
        ("GET /v1/nothing", &[], b"", 404, "E-NO-SUCH-PATH"),
        ("GET /", &[], b"", 404, "E-NO-SUCH-PATH"),
        ("PUT /v1/leases", &[json], b"{}", 405, "E-METHOD"),
        ("DELETE /v1/node", &[], b"", 405, "E-METHOD"),
        ("POST /v1/leases", &[json], b"{", 400, "E-REQUEST"),
        ("POST /v1/leases", &[json], b"\xff\xfe", 400, "E-REQUEST"),
        ("POST /v1/leases", &[json], b"{\"holder\":\"nobody\"}", 422, "E-REQUEST"),
        ("POST /v1/leases", &[json], b"{\"holder\":\"token\",\"uid\":0}", 422, "E-REQUEST"),
        ("POST /v1/leases", &[json], b"{\"holder\":\"token\"}", 400, "E-REQUEST"),
        ("POST /v1/leases", &[], b"{\"holder\":\"token\"}", 415, "E-MEDIA-TYPE"),
        ("POST /v1/leases", &[json], &large, 413, "E-TOO-LARGE"),
        ("POST /v1/leases", &[json, ("idempotency-key", "k")], &large, 413, "E-TOO-LARGE"),
        ("POST /v1/leases", &[json, ("idempotency-key", "")], b"{}", 400, "E-KEY"),
        ("GET /v1/leases?limit=many", &[], b"", 400, "E-REQUEST"),
        ("GET /v1/leases?limit=0", &[], b"", 400, "E-REQUEST"),
        ("GET /v1/leases?cursor=events.1", &[], b"", 400, "E-CURSOR"),
        ("GET /v1/leases/%ff", &[], b"", 400, "E-REQUEST"),
        ("GET /v1/leases/none", &[], b"", 404, "E-LEASE-UNKNOWN"),
        ("GET /v1/leases/L18446744073709551615", &[], b"", 404, "E-LEASE-UNKNOWN"),
        ("DELETE /v1/leases/L99", &[], b"", 404, "E-LEASE-UNKNOWN"),
        ("DELETE /v1/tokens/one", &[], b"", 400, "E-REQUEST"),
        ("DELETE /v1/tokens/18446744073709551615", &[], b"", 404, "E-TOKEN-UNKNOWN"),
    ];
    for (call, headers, body, status, code) in cases {
        let answer = door.call(call, headers, body);
        assert_eq!((answer.status, answer.code().as_str()), (*status, *code), "{call}");
        let path = call.split(' ').nth(1).unwrap().split('?').next().unwrap();
        assert_eq!(answer.json()["instance"], path, "{call}");
    }
    let allowed = door.call("PUT /v1/leases", &[], b"");
    let methods = allowed.header("allow").unwrap_or_default();
    assert!(methods.contains("GET") && methods.contains("POST"), "{methods}");
    for path in ["/v1/events?after=18446744073709551615", "/v1/events?lease=L18446744073709551615"]
    {
        assert_eq!(door.get(path).status, 200, "{path}");
    }
}

#[test]
fn a_key_does_a_thing_once_even_across_a_kill_of_the_daemon() {
    let server = Server::new("a30:1");
    let door = users(&server);
    let key = ("idempotency-key", "one");
    let first = door.post("/v1/leases", &[key], &slice("a"));
    assert_eq!(first.status, 201, "{}", first.json());
    assert_eq!(first.header("idempotency-replayed"), None);
    let id = first.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(first.header("location"), Some(format!("/v1/leases/{id}").as_str()));
    let check = |door: &Door| {
        let again = door.post("/v1/leases", &[key], &slice("a"));
        assert_eq!((again.status, &again.body), (201, &first.body));
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_eq!(again.header("location"), first.header("location"));
        let other = door.post("/v1/leases", &[key], &slice("b"));
        assert_eq!((other.status, other.code().as_str()), (422, "E-KEY-REUSED"));
        let elsewhere = door.call(&format!("DELETE /v1/leases/{id}"), &[key], b"");
        assert_eq!((elsewhere.status, elsewhere.code().as_str()), (422, "E-KEY-REUSED"));
    };
    check(&door);
    server.kill_daemon();
    server.start_daemon(&[]);
    check(&door);
    // Refusals are outcomes, too; and any call may have a key.
    let taken = door.post("/v1/leases", &[("idempotency-key", "two")], &slice("a"));
    assert_eq!(taken.code(), "E-NAME-TAKEN");
    let release = format!("DELETE /v1/leases/{id}");
    let given = door.call(&release, &[("idempotency-key", "three")], b"");
    assert_eq!(given.status, 200, "{}", given.json());
    server.until_empty();
    let still = door.post("/v1/leases", &[("idempotency-key", "two")], &slice("a"));
    assert_eq!((still.status, still.json()), (409, taken.json()));
    let replayed = door.call(&release, &[("idempotency-key", "three")], b"");
    assert_eq!((replayed.status, replayed.json()), (200, given.json()));
    assert_eq!(door.call(&release, &[], b"").code(), "E-LEASE-UNKNOWN");
    assert_eq!(server.leases().len(), 0);
}

/// Calls with one key that come at once are one call.
#[test]
fn a_crowd_with_one_key_gets_one_lease() {
    let server = Server::new("a30:1");
    let door = users(&server);
    let answers: Vec<_> = std::thread::scope(|scope| {
        let crowd: Vec<_> = (0..16)
            .map(|_| {
                let key = ("idempotency-key", "crowd");
                let door = &door;
                scope.spawn(move || door.post("/v1/leases", &[key], &slice("one")))
            })
            .collect();
        crowd.into_iter().map(|call| call.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|answer| answer.status == 201 && answer.body == answers[0].body));
    let first = |answer: &&http::Answer| answer.header("idempotency-replayed").is_none();
    assert_eq!(answers.iter().filter(first).count(), 1);
    assert_eq!(server.leases().len(), 1);
}

#[test]
fn lists_come_in_pages_that_hold_each_thing_once() {
    let server = Server::new("a100-sxm4-40gb:1");
    let door = users(&server);
    for number in 0..7 {
        door.post("/v1/leases", &[], &slice(&format!("n{number}")));
    }
    for (path, number) in [("/v1/leases", "id"), ("/v1/events?after=0", "seq"), ("/v1/audit", "id")]
    {
        let query = if path.contains('?') { '&' } else { '?' };
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = door.get(&format!("{path}{query}limit=3{cursor}")).json();
            let items = page["items"].as_array().unwrap_or_else(|| panic!("{page}"));
            assert!(items.len() <= 3, "{path}");
            seen.extend(items.iter().map(|item| item[number].to_string()));
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        let whole = door.get(&format!("{path}{query}limit=1000")).json();
        let all: Vec<String> =
            whole["items"].as_array().unwrap().iter().map(|i| i[number].to_string()).collect();
        assert_eq!(seen, all[..seen.len()], "{path}");
        assert!(seen.len() >= 7 && all.len() - seen.len() < 5, "{path}: {}", all.len());
    }
}

#[test]
fn every_call_that_was_to_change_something_is_audited() {
    let server = Server::new("a30:1");
    let door = users(&server);
    let made = door.post("/v1/leases", &[("idempotency-key", "k1")], &slice("a")).json();
    let id = made["id"].as_str().unwrap();
    door.call("DELETE /v1/leases/L77", &[], b"");
    door.call("POST /v1/nothing", &[], b"");
    door.get("/v1/leases");
    server.lab.ok(&["token", "create", "--name", "t", "--role", "viewer"]);
    // The audit is there after a crash: what was answered was written down before.
    server.kill_daemon();
    server.start_daemon(&[]);
    let calls = server.lab.json(&["audit"]);
    let uid = rustix::process::geteuid().as_raw();
    let told: Vec<(Value, Value, Value, Value)> = calls
        .as_array()
        .unwrap()
        .iter()
        .map(|call| {
            assert_eq!(call["uid"], uid);
            let who = (call["door"].clone(), call["object"].clone());
            (who.0, who.1, call["status"].clone(), call["code"].clone())
        })
        .collect();
    let lease = format!("/v1/leases/{id}");
    let expected = [
        (json!("users"), json!(lease), json!(201), json!(null)),
        (json!("users"), json!("/v1/leases/L77"), json!(404), json!("E-LEASE-UNKNOWN")),
        (json!("users"), json!("/v1/nothing"), json!(404), json!("E-NO-SUCH-PATH")),
        (json!("admin"), json!("/v1/tokens/1"), json!(201), json!(null)),
    ];
    assert_eq!(told, expected);
    assert_eq!(calls[0]["key"], "k1");
    assert_eq!(calls[1]["verb"], "DELETE /v1/leases/{lease}");
    let last = server.lab.json(&["audit", "--last", "1"]);
    assert_eq!(last[0]["object"], "/v1/tokens/1");
    assert!(server.lab.ok(&["audit"]).contains("E-LEASE-UNKNOWN"));
}

/// A daemon that is killed while a call waits for its answer leaves a line of it.
#[test]
fn a_call_that_was_cut_off_is_audited() {
    let server = Server::new("a30:1");
    server.lab.ok(&["lease", "--name", "first", "--profile", "4g.24gb"]);
    let socket = server.lab.machine_dir().join("run/migd.sock");
    let mut waiting = Command::new("curl");
    waiting.args(["--silent", "--unix-socket", socket.to_str().unwrap()]);
    waiting.args(["--json", r#"{"profile":"4g.24gb","name":"second","holder":"token"}"#]);
    let mut waiting = waiting.arg("http://migd/v1/leases?wait_ms=60000").spawn().unwrap();
    server.until("second", "queued");
    server.kill_daemon();
    assert!(!waiting.wait().unwrap().success(), "it has no answer");
    for _ in 0..2 {
        server.start_daemon(&[]);
        let calls = server.lab.json(&["audit"]);
        let cut: Vec<&Value> =
            calls.as_array().unwrap().iter().filter(|call| call["code"] == "E-CUT-OFF").collect();
        assert_eq!(cut.len(), 1, "{calls}");
        assert_eq!(cut[0]["verb"], "POST /v1/leases");
        assert_eq!((&cut[0]["status"], &cut[0]["door"]), (&json!(0), &json!("users")));
        assert_eq!(server.lease("second").unwrap()["state"], "queued", "and it was carried out");
        server.kill_daemon();
    }
}

/// Runs `migctl` as another user of the machine.
fn as_user(server: &Server, uid: u32, args: &[&str]) -> std::process::Output {
    let mut command: Command = server.lab.command(args);
    command.uid(uid).gid(uid).env("HOME", "/nonexistent");
    command.output().unwrap()
}

#[test]
fn users_have_their_own_rights_and_root_acts_for_the_user_behind_sudo() {
    if rustix::process::geteuid().as_raw() != 0 {
        simulated::skip("users_have_their_own_rights", "it plays two users, so it needs root");
        return;
    }
    let server = Server { lab: simulated::Lab::shared("a30:1") };
    server.start_daemon(&[]);
    let nobody = 65_534;
    for args in [["audit", "-q"], ["token", "list"]] {
        let output = as_user(&server, nobody, &args);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(4), "{args:?}: {told}");
        assert!(told.contains("only administrators"), "{told}");
    }
    let mode = std::fs::metadata(server.lab.machine_dir().join("run/admin.sock")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);
    let door = users(&server);
    let lease = door.post("/v1/leases", &[("migd-sudo-uid", "65534")], &slice("sudo")).json();
    assert_eq!((&lease["tenant"], &lease["uid"]), (&json!("nobody"), &json!(0)));
    // Nobody but root is believed.
    let mut curl = Command::new("python3");
    let socket = server.lab.machine_dir().join("run/migd.sock");
    curl.args(["-c", CLAIM, socket.to_str().unwrap()]).uid(nobody).gid(nobody);
    let output = curl.output().unwrap();
    let claimed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&claimed["tenant"], &claimed["uid"]), (&json!("nobody"), &json!(nobody)));
    let mut sudo = server.lab.command(&["--json", "lease", "--profile", "1g"]);
    let output = sudo.env("SUDO_UID", "65534").output().unwrap();
    let lease: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(lease["tenant"], "nobody", "{lease}");
}

/// Claims to be root behind sudo.
const CLAIM: &str = r#"
import json, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
body = json.dumps({"profile": "1g", "holder": "token"}).encode()
s.sendall(b"POST /v1/leases HTTP/1.1\r\nhost: migd\r\nconnection: close\r\nmigd-sudo-uid: 0\r\n"
          b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
print(b"".join(iter(lambda: s.recv(4096), b"")).split(b"\r\n\r\n", 1)[1].decode())
"#;

#[test]
fn events_are_followed_resumed_and_filtered() {
    let server = Server::new("a30:1");
    let door = users(&server);
    let mut live = Events::open(&door, "/v1/events/stream", &[]);
    let made = door.post("/v1/leases", &[], &slice("a")).json();
    let id = made["id"].as_str().unwrap().to_owned();
    let first = live.next();
    assert_eq!((first.event.as_str(), &first.data["lease"]), ("requested", &json!(id)));
    assert_eq!(first.id, first.data["seq"].as_u64());
    let mut numbers = vec![first.id.unwrap()];
    while live.next().event != "granted" {}
    // Whoever comes back misses nothing and sees nothing twice.
    let resume = first.id.unwrap().to_string();
    let mut again = Events::open(&door, "/v1/events/stream", &[("last-event-id", &resume)]);
    let mut found = again.next();
    while found.event != "granted" {
        numbers.push(found.id.unwrap());
        found = again.next();
    }
    let begin = numbers[0];
    assert_eq!(numbers, (begin..begin + numbers.len() as u64).collect::<Vec<_>>());
    let mut of_lease = Events::open(&door, &format!("/v1/events/stream?after=0&lease={id}"), &[]);
    let mut kinds = Vec::new();
    while kinds.last().map(String::as_str) != Some("granted") {
        let event = of_lease.next();
        assert_eq!(event.data["lease"], json!(id));
        kinds.push(event.event);
    }
    assert_eq!(kinds[0], "requested");
    // A number from the future is one of a journal that was lost.
    let mut lost = Events::open(&door, "/v1/events/stream?after=99999999", &[]);
    door.call(&format!("DELETE /v1/leases/{id}"), &[], b"");
    wait_for("an event", || (lost.next().data["lease"] == json!(id)).then_some(()));
    while of_lease.next().event != "ended" {}
}

#[test]
fn a_follower_sees_each_event_once_across_a_kill_of_the_daemon() {
    let server = Server::new("a30:1");
    let mut command = server.lab.command(&["--json", "events", "-f", "-n", "1"]);
    let mut follower = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let mut numbers = vec![next()["seq"].as_u64().unwrap()];
    let mut until_granted = |id: &Value, numbers: &mut Vec<u64>| loop {
        let event = next();
        numbers.push(event["seq"].as_u64().unwrap());
        if event["kind"] == "granted" && event["lease"] == *id {
            return;
        }
    };
    let first = server.lab.json(&["lease", "--profile", "1g", "--name", "a"]);
    until_granted(&first["id"], &mut numbers);
    server.kill_daemon();
    server.start_daemon(&[]);
    let second = server.lab.json(&["lease", "--profile", "1g", "--name", "b"]);
    until_granted(&second["id"], &mut numbers);
    follower.kill().unwrap();
    follower.wait().unwrap();
    let begin = numbers[0];
    assert_eq!(numbers, (begin..begin + numbers.len() as u64).collect::<Vec<_>>());
}
