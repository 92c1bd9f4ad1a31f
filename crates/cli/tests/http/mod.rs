//! HTTP as the tests speak it: one call a connection, over a unix socket or TCP.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where a step fails")]

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

/// Where a daemon listens.
#[derive(Debug, Clone)]
pub enum Door {
    Socket(PathBuf),
    Tcp(String),
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The code of a refusal, which must be a whole problem.
    pub fn code(&self) -> String {
        let problem = self.json();
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{problem}");
        for field in ["type", "title", "detail", "instance", "code"] {
            assert!(problem[field].is_string(), "no {field}: {problem}");
        }
        assert_eq!(problem["status"], self.status, "{problem}");
        problem["code"].as_str().unwrap().to_owned()
    }
}

pub trait Connection: Read + Write + Send {}
impl<T: Read + Write + Send> Connection for T {}

impl Door {
    pub fn at(path: &Path) -> Self {
        Self::Socket(path.to_owned())
    }

    pub fn connect(&self) -> Box<dyn Connection> {
        match self {
            Self::Socket(path) => {
                let stream = UnixStream::connect(path).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
                Box::new(stream)
            }
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
                Box::new(stream)
            }
        }
    }

    fn host(&self) -> &str {
        match self {
            Self::Socket(_) => "migd",
            Self::Tcp(address) => address,
        }
    }

    /// Sends a call without waiting for its answer.
    pub fn send(&self, call: &str, headers: &[(&str, &str)], body: &[u8]) -> Box<dyn Connection> {
        let mut stream = self.connect();
        let mut head = format!("{call} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            let _ = write!(head, "host: {}\r\n", self.host());
        }
        for (name, value) in headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if !body.is_empty() {
            let _ = write!(head, "content-length: {}\r\n", body.len());
        }
        head += "\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        // Who is refused before the whole body is read may close first.
        let _ = stream.write_all(body);
        stream
    }

    /// Makes a call (`GET /v1/node`).
    pub fn call(&self, call: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut all = headers.to_vec();
        all.push(("connection", "close"));
        let mut bytes = Vec::new();
        let mut stream = self.send(call, &all, body);
        let read = stream.read_to_end(&mut bytes);
        assert!(read.is_ok() || !bytes.is_empty(), "{call}: {read:?}");
        parse(&bytes)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.call(&format!("GET {path}"), &[], b"")
    }

    /// A call with a JSON body.
    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let mut all = headers.to_vec();
        all.push(("content-type", "application/json"));
        self.call(&format!("POST {path}"), &all, body.to_string().as_bytes())
    }
}

fn parse(bytes: &[u8]) -> Answer {
    let mut reader = BufReader::new(bytes);
    let (status, headers) = head(&mut reader);
    let mut body = Vec::new();
    reader.read_to_end(&mut body).unwrap();
    Answer { status, headers, body }
}

/// Reads status and headers.
pub fn head(reader: &mut impl std::io::BufRead) -> (u16, Vec<(String, String)>) {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("{line:?}")).parse().unwrap();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    (status, headers)
}

/// A stream of server-sent events.
pub struct Events {
    reader: BufReader<Box<dyn Connection>>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSent {
    pub id: Option<u64>,
    pub event: String,
    pub data: Value,
}

impl Events {
    pub fn open(door: &Door, path: &str, headers: &[(&str, &str)]) -> Self {
        let stream = door.send(&format!("GET {path}"), headers, b"");
        let mut reader = BufReader::new(stream);
        let (status, headers) = head(&mut reader);
        assert_eq!(status, 200);
        let kind = headers.iter().find(|(name, _)| name == "content-type");
        assert_eq!(kind.map(|(_, value)| value.as_str()), Some("text/event-stream"));
        Self { reader }
    }

    /// The next event; comments are passed over.
    pub fn next(&mut self) -> ServerSent {
        let (mut id, mut event, mut data) = (None, None, String::new());
        loop {
            let mut line = String::new();
            assert_ne!(self.reader.read_line(&mut line).unwrap(), 0, "the stream ended");
            let line = line.trim_end();
            if let Some(rest) = line.strip_prefix("id: ") {
                id = rest.parse().ok();
            } else if let Some(rest) = line.strip_prefix("event: ") {
                event = Some(rest.to_owned());
            } else if let Some(rest) = line.strip_prefix("data: ") {
                rest.clone_into(&mut data);
            } else if line.is_empty()
                && let Some(event) = event.take()
            {
                return ServerSent { id, event, data: serde_json::from_str(&data).unwrap() };
            }
        }
    }
}
