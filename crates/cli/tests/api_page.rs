//! The examples of `docs/api.md`, run one after another as a reader would.
//!
//! Must never change a block before it is run.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where a step fails")]

mod server;
mod simulated;

use std::fs;
use std::path::Path;
use std::process::Command;

use server::{Server, wait_for};
use simulated::{skip, told};

/// A fenced block: its language, the line it begins at, its text.
struct Block {
    language: String,
    line: usize,
    text: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut open = false;
    for (number, line) in page.lines().enumerate() {
        match line.strip_prefix("```") {
            Some(_) if open => open = false,
            Some(language) => {
                open = true;
                let language = language.to_owned();
                found.push(Block { language, line: number + 1, text: String::new() });
            }
            None if open => {
                let text = &mut found.last_mut().unwrap().text;
                text.push_str(line);
                text.push('\n');
            }
            None => {}
        }
    }
    found
}

fn missing(program: &str) -> bool {
    !Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

#[test]
fn every_example_of_the_page_works() {
    if let Some(program) = ["curl", "python3", "bash"].into_iter().find(|name| missing(name)) {
        skip("every_example_of_the_page_works", &format!("there is no {program}"));
        return;
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/api.md");
    let blocks = blocks(&fs::read_to_string(page).unwrap());
    let server = Server::with_daemon("a100-sxm4-40gb:1", &["--listen", "127.0.0.1:0"]);
    let address = wait_for("the address", || {
        let log = fs::read_to_string(server.lab.state_dir().join("daemon.out")).ok()?;
        let rest = log.split("listening to the network address=").nth(1)?;
        Some(rest.split_whitespace().next()?.to_owned())
    });
    let token = ["token", "create", "--role", "user", "--user", "65534"];
    let token = server.lab.ok(&[token.as_slice(), &["--scope", "leases:read"]].concat());
    let place = tempfile::tempdir().unwrap();
    let mut ran = [0, 0];
    for block in blocks {
        let mut command = match block.language.as_str() {
            "sh" => {
                ran[0] += 1;
                let mut command = Command::new("bash");
                command.args(["-euo", "pipefail", "-c", &block.text]);
                command
            }
            "python" => {
                let name = block.text.lines().next().and_then(|l| l.strip_prefix("# file: "));
                if let Some(name) = name {
                    fs::write(place.path().join(name), &block.text).unwrap();
                    continue;
                }
                ran[1] += 1;
                let mut command = Command::new("python3");
                command.args(["-c", &block.text]);
                command
            }
            other => panic!("line {}: `{other}` is run by nobody", block.line),
        };
        command.current_dir(place.path()).env("MIGD_TOKEN", token.trim());
        command.env("MIGD_SOCKET", server.lab.machine_dir().join("run/migd.sock"));
        command.env("MIGD_URL", format!("http://{address}")).env("no_proxy", "*");
        let output = command.output().unwrap();
        assert!(output.status.success(), "docs/api.md:{}: {}", block.line, told(&output));
    }
    assert!(ran[0] >= 5 && ran[1] >= 3, "{ran:?}");
    server.until_empty();
}
