//! How long one pass over `/proc` takes in search of holders, with so many processes more than run
//! anyhow, each with so many descriptors.
//!
//! `cargo run --release -p host --example pass -- [PROCESSES] [DESCRIPTORS]`

#![allow(clippy::print_stdout, reason = "it prints what it measured")]

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Passes that are timed.
const PASSES: usize = 200;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let processes = args.next().unwrap_or(Ok(200))?;
    let descriptors = args.next().unwrap_or(Ok(12))?;
    let mut children =
        (0..processes).map(|_| child(descriptors)).collect::<io::Result<Vec<_>>>()?;
    std::thread::sleep(Duration::from_millis(300));
    let nodes: Vec<PathBuf> = (0..112).map(|n| PathBuf::from(format!("/tmp/pass-{n}"))).collect();
    for node in &nodes {
        File::create(node)?;
    }
    let table = timed(|| host::processes::Table::read().map(drop))?;
    let one = timed(|| host::holders_of(&nodes[..2]).map(drop).map_err(io::Error::other))?;
    let all = timed(|| host::holders_of(&nodes).map(drop).map_err(io::Error::other))?;
    println!(
        "{processes} processes with {descriptors} descriptors each, beside those that run anyhow"
    );
    println!("pass for one slice    median {:>7.3} ms   p99 {:>7.3} ms", one.0, one.1);
    println!("pass for 56 slices    median {:>7.3} ms   p99 {:>7.3} ms", all.0, all.1);
    let others = timed(|| host::other_holders_of(&nodes).map(drop).map_err(io::Error::other))?;
    let mut seeker = host::Seeker::default();
    let again = timed(|| seeker.search(&nodes).map(drop).map_err(io::Error::other))?;
    println!("without this process  median {:>7.3} ms   p99 {:>7.3} ms", others.0, others.1);
    println!("the same, again       median {:>7.3} ms   p99 {:>7.3} ms", again.0, again.1);
    println!("process table         median {:>7.3} ms   p99 {:>7.3} ms", table.0, table.1);
    for node in &nodes {
        std::fs::remove_file(node)?;
    }
    for child in &mut children {
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}

/// A shell that has so many files open and sleeps.
fn child(descriptors: usize) -> io::Result<Child> {
    let opens = (3..descriptors).fold(String::new(), |all, n| format!("{all}exec {n}</dev/null; "));
    Command::new("bash").args(["-c", &format!("{opens} exec sleep 1000")]).spawn()
}

fn timed(mut work: impl FnMut() -> io::Result<()>) -> io::Result<(f64, f64)> {
    let mut times = Vec::new();
    for _ in 0..PASSES {
        let begun = Instant::now();
        work()?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok((times[PASSES / 2], times[PASSES * 99 / 100]))
}
