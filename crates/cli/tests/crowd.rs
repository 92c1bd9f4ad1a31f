//! Many leases that end at once are proven empty together, and each by itself.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "a test ends where it fails"
)]

mod server;
mod simulated;

use std::fs::File;
use std::process::{Command, Stdio};

use host::HostRoot;
use model::{ComputeInstanceId, GpuInstanceId, GpuMinor};
use server::{Server, wait_for};

#[test]
fn of_many_leases_that_end_at_once_only_the_one_that_is_held_stays() {
    let server = Server::new("a30x4");
    for number in 0..16 {
        let name = format!("crowd-{number}");
        server.lab.ok(&["lease", "--profile", "1g.6gb", "--name", &name]);
    }
    let held = server.lease("crowd-7").expect("a lease");
    let slice = &held["slices"][0];
    let number = |field: &str| slice[field].as_u64().expect("a number") as u32;
    let root = HostRoot::at(server.lab.machine().root());
    let [_, node] = host::nodes::slice_nodes(
        &root,
        GpuMinor::new(number("gpu_index")),
        GpuInstanceId::new(number("gpu_instance")),
        ComputeInstanceId::new(number("compute_instance")),
    );
    let open = Stdio::from(File::open(&node).expect("the node of the slice"));
    let mut holder = Command::new("sleep").arg("1000").stdin(open).spawn().expect("sleep");
    let ids: Vec<String> = server
        .leases()
        .iter()
        .map(|lease| lease["id"].as_str().expect("an id").to_owned())
        .collect();
    let mut words = vec!["release"];
    words.extend(ids.iter().map(String::as_str));
    let _ = server.lab.run(&words);
    let left = wait_for("all but one to end", || {
        let left = server.leases();
        (left.len() == 1 && left[0]["held_by"][0].is_string()).then_some(left)
    });
    assert_eq!(left[0]["name"], "crowd-7");
    let named = left[0]["held_by"][0].to_string();
    assert!(named.contains(&format!("pid {} ", holder.id())), "{named}");
    holder.kill().expect("it runs");
    holder.wait().expect("it ended");
    server.until_empty();
}
