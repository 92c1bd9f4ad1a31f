//! Giving back a lease from the shell that exported it.
//!
//! Must never end who merely asks.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod server;
mod simulated;

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use server::{Server, wait_for};
use simulated::told;

#[test]
fn a_first_release_ends_nobody_and_a_second_ends_users_but_not_the_asker() {
    let server = Server::new("a30:1");
    let exports = server.lab.ok(&["lease", "-p", "1g.6gb", "--name", "dev", "--export"]);
    let exported = |name: &str| {
        let prefix = format!("export {name}=");
        let value = exports.lines().find_map(|line| line.strip_prefix(&prefix));
        value.unwrap().trim_matches('\'').to_owned()
    };
    let (key, slice) = (exported("MIGD_LEASE_KEY"), exported("CUDA_VISIBLE_DEVICES"));
    let mut user = server
        .lab
        .command(&["sim", "workload", "--time", "300s"])
        .env("MIGD_LEASE_KEY", &key)
        .env("CUDA_VISIBLE_DEVICES", &slice)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(user.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains(&slice), "{line}");
    let release =
        || server.lab.command(&["release", "dev"]).env("MIGD_LEASE_KEY", &key).output().unwrap();

    let first = release();
    assert!(first.status.success(), "{}", told(&first));
    let said = String::from_utf8_lossy(&first.stderr).into_owned();
    let named: Vec<&str> = said.lines().filter(|line| line.starts_with("  pid ")).collect();
    let [only] = named.as_slice() else { panic!("{said}") };
    assert!(only.starts_with(&format!("  pid {} (migctl, ", user.id())), "{said}");
    assert!(said.contains("stays charged until these end"), "{said}");
    assert!(user.try_wait().unwrap().is_none(), "nobody was told to end");

    let second = release();
    assert!(second.status.success(), "the asker lives: {}", told(&second));
    wait_for("the user of the slice to be ended", || user.try_wait().unwrap());
    server.until_empty();
}
