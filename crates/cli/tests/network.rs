//! The daemon over the network: TLS, tokens, roles, scopes, limits, and who is let in at all.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where a step fails")]

mod http;
mod server;
mod simulated;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use http::{Answer, Door, Events};
use serde_json::{Value, json};
use server::{Server, wait_for};
use simulated::{migctl, told};

/// The address at which the daemon of this server listens.
fn address(server: &Server) -> String {
    wait_for("the address", || {
        let log = fs::read_to_string(server.lab.state_dir().join("daemon.out")).ok()?;
        let rest = log.split("listening to the network address=").nth(1)?;
        Some(rest.split_whitespace().next()?.to_owned())
    })
}

fn create(server: &Server, options: &[&str]) -> String {
    let args: Vec<&str> = ["token", "create"].iter().chain(options).copied().collect();
    server.lab.ok(&args).trim().to_owned()
}

/// A caller with a token.
struct Caller {
    door: Door,
    bearer: String,
}

impl Caller {
    fn new(door: &Door, secret: &str) -> Self {
        Self { door: door.clone(), bearer: format!("Bearer {secret}") }
    }

    fn call(&self, call: &str) -> Answer {
        self.door.call(call, &[("authorization", &self.bearer)], b"")
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        self.door.post(path, &[("authorization", &self.bearer)], body)
    }
}

#[test]
fn a_token_holds_its_holder_to_role_scope_user_and_tenant() {
    let server = Server::with_daemon("a30:1", &["--listen", "127.0.0.1:0"]);
    let door = Door::Tcp(address(&server));
    let viewer = Caller::new(&door, &create(&server, &["--name", "eyes", "--role", "viewer"]));
    assert_eq!(viewer.call("GET /v1/node").status, 200);
    let wish = json!({"profile": "1g", "holder": "token", "name": "far"});
    assert_eq!(viewer.post("/v1/leases", &wish).code(), "E-ROLE");
    for path in ["/v1/tokens", "/v1/audit"] {
        assert_eq!(viewer.call(&format!("GET {path}")).code(), "E-ADMINS-ONLY", "{path}");
    }
    let options = ["--name", "ci", "--role", "user", "--user", "65534", "--tenant", "vision"];
    let scopes = ["--scope", "leases:read,leases:write"];
    let secret = create(&server, &[options.as_slice(), &scopes].concat());
    let user = Caller::new(&door, &secret);
    assert_eq!(user.call("GET /v1/node").code(), "E-SCOPE");
    assert_eq!(user.call("GET /v1/openapi.json").status, 200);
    let lease = user.post("/v1/leases", &wish).json();
    assert_eq!((&lease["uid"], &lease["tenant"]), (&json!(65534), &json!("vision")), "{lease}");
    let process = json!({"profile": "1g", "holder": "process"});
    assert_eq!(user.post("/v1/leases", &process).status, 400);
    // What belongs to others stays theirs.
    let own = server.lab.json(&["lease", "--profile", "1g", "--name", "roots"]);
    let foreign = user.call(&format!("DELETE /v1/leases/{}", own["id"].as_str().unwrap()));
    assert_eq!(foreign.code(), "E-NOT-YOURS");
    assert_eq!(user.call("DELETE /v1/leases/far").status, 200);
    let admin = Caller::new(&door, &create(&server, &["--role", "admin"]));
    let audit = admin.call("GET /v1/audit").json();
    let by_token = audit["items"].as_array().unwrap().iter().filter(|call| call["token"] == "ci");
    let by_token: Vec<&Value> = by_token.collect();
    assert_eq!(by_token.len(), 4, "{audit}");
    assert!(by_token.iter().all(|call| {
        call["door"] == "tcp"
            && call["uid"] == 65534
            && call["address"].as_str().unwrap().starts_with("127.0.0.1:")
    }));
    // A revoked token counts no more, at once; nor does one that expired.
    let number = secret.split('_').nth(1).unwrap();
    assert_eq!(admin.call(&format!("DELETE /v1/tokens/{number}")).status, 200);
    assert_eq!(user.call("GET /v1/leases").code(), "E-TOKEN");
    let brief = Caller::new(&door, &create(&server, &["--role", "viewer", "--expires", "1ms"]));
    assert_eq!(brief.call("GET /v1/node").code(), "E-TOKEN");
    // Only digests are kept.
    for name in ["ledger.db", "ledger.db-wal", "journal.db", "journal.db-wal"] {
        let kept = fs::read(server.lab.machine_dir().join(name)).unwrap_or_default();
        let random = secret.rsplit('_').next().unwrap().as_bytes();
        assert!(!kept.windows(random.len()).any(|part| part == random), "{name}");
    }
    let listed = server.lab.ok(&["token", "list"]);
    assert!(listed.contains("revoked") && listed.contains("expired"), "{listed}");
}

#[test]
fn strangers_pages_and_floods_are_turned_away() {
    let server = Server::new("a30:1");
    server.kill_daemon();
    let file = server.lab.state_dir().join("migd.toml");
    let limits = "[limits]\ncalls_per_second = 1\nburst = 5\nconnections = 4\n";
    fs::write(&file, format!("[tcp]\nlisten = \"127.0.0.1:0\"\n{limits}")).unwrap();
    server.start_daemon(&["--config", file.to_str().unwrap()]);
    let address = address(&server);
    let door = Door::Tcp(address.clone());
    let secret = create(&server, &["--role", "viewer"]);
    let bearer = format!("Bearer {secret}");
    let auth = ("authorization", bearer.as_str());
    let missing = door.get("/v1/node");
    assert_eq!((missing.status, missing.code().as_str()), (401, "E-TOKEN"));
    assert_eq!(missing.header("www-authenticate"), Some("Bearer"));
    for host in ["evil.example", "evil.example:80", "localhost:1"] {
        let refused = door.call("GET /v1/node", &[auth, ("host", host)], b"");
        assert_eq!((refused.status, refused.code().as_str()), (403, "E-HOST"), "{host}");
    }
    for page in [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")] {
        let refused = door.call("GET /v1/node", &[auth, page], b"");
        assert_eq!((refused.status, refused.code().as_str()), (403, "E-ORIGIN"));
    }
    let own = format!("http://{address}");
    assert_eq!(door.call("GET /v1/node", &[auth, ("origin", &own)], b"").status, 200);
    // A token that calls too often is told when to come back.
    let mut answers = (0..12).map(|_| door.call("GET /v1/version", &[auth], b""));
    let slowed = answers.find(|answer| answer.status == 429).unwrap();
    assert_eq!(slowed.code(), "E-TOO-FAST");
    assert!(slowed.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
    // So is an address that guesses, and a connection too many.
    let wrong = ("authorization", "Bearer migd_1_0000");
    let mut guesses = (0..40).map(|_| door.call("GET /v1/version", &[wrong], b""));
    assert!(guesses.any(|answer| answer.status == 429));
    let held: Vec<_> = (0..4).map(|_| door.connect()).collect();
    let refused = wait_for("a refusal", || {
        let answer = door.call("GET /v1/version", &[auth], b"");
        (answer.json()["code"] == "E-TOO-MANY-CONNECTIONS").then_some(answer)
    });
    assert_eq!(refused.status, 429);
    drop(held);
    // Nobody on this machine is concerned.
    assert_eq!(server.lab.run(&["status"]).status.code(), Some(0));
}

/// A certificate for this host, signed by itself, and its key.
fn certificate(folder: &Path) -> (PathBuf, PathBuf) {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let (certificate, key) = (folder.join("tls.crt"), folder.join("tls.key"));
    fs::write(&certificate, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    (certificate, key)
}

#[test]
fn migctl_works_over_tls_and_trusts_only_whom_it_is_told() {
    let server = Server::new("a30:1");
    server.kill_daemon();
    let folder = server.lab.state_dir().to_owned();
    let (certificate_file, key) = certificate(&folder);
    let file = folder.join("migd.toml");
    let text = format!(
        "[tcp]\nlisten = \"127.0.0.1:0\"\ncertificate = {certificate_file:?}\nkey = {key:?}\n"
    );
    fs::write(&file, text).unwrap();
    server.start_daemon(&["--config", file.to_str().unwrap()]);
    let address = address(&server);
    let port = address.rsplit(':').next().unwrap();
    let url = format!("https://localhost:{port}");
    let token = folder.join("token");
    fs::write(&token, create(&server, &["--role", "user", "--user", "65534"])).unwrap();
    let far = |url: &str, ca: &Path, args: &[&str]| -> Output {
        let mut command: Command = migctl();
        command.args(["--url", url, "--token-file"]).arg(&token).arg("--ca").arg(ca).args(args);
        command.output().unwrap()
    };
    let seen = far(&url, &certificate_file, &["status"]);
    assert!(seen.status.success(), "{}", told(&seen));
    assert!(String::from_utf8_lossy(&seen.stdout).contains("A30"), "{}", told(&seen));
    let leased = far(&url, &certificate_file, &["--json", "lease", "--profile", "1g"]);
    assert!(leased.status.success(), "{}", told(&leased));
    let lease: Value = serde_json::from_slice(&leased.stdout).unwrap();
    let id = lease["id"].as_str().unwrap();
    let released = far(&url, &certificate_file, &["release", id]);
    assert!(released.status.success(), "{}", told(&released));
    // Another certificate is another daemon, and the token is not shown to it.
    let other = folder.join("other");
    fs::create_dir(&other).unwrap();
    let (stranger, _) = certificate(&other);
    let refused = far(&url, &stranger, &["status"]);
    assert_eq!(refused.status.code(), Some(2), "{}", told(&refused));
    assert!(told(&refused).contains("certificate"), "{}", told(&refused));
    let open = far(&format!("http://gpu1.example:{port}"), &certificate_file, &["status"]);
    assert_eq!(open.status.code(), Some(3), "{}", told(&open));
    // Who speaks no TLS learns nothing.
    let mut stream = Door::Tcp(address).send("GET /v1/version", &[], b"");
    let mut bytes = Vec::new();
    let _ = std::io::Read::read_to_end(&mut stream, &mut bytes);
    assert!(!String::from_utf8_lossy(&bytes).contains("HTTP/1.1 2"));
    // A key that everybody can read is no key.
    server.kill_daemon();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let told = server.lab.fails(2, &["daemon", "--config", file.to_str().unwrap()]);
    assert!(told.contains("chmod 600"), "{told}");
}

#[test]
fn events_are_followed_over_the_network_and_end_with_the_daemon() {
    let server = Server::with_daemon("a30:1", &["--listen", "127.0.0.1:0"]);
    let door = Door::Tcp(address(&server));
    let bearer = format!("Bearer {}", create(&server, &["--role", "viewer"]));
    let mut events = Events::open(&door, "/v1/events/stream", &[("authorization", &bearer)]);
    let lease = server.lab.json(&["lease", "--profile", "1g", "--name", "n"]);
    assert_eq!(events.next().data["lease"], lease["id"]);
}
