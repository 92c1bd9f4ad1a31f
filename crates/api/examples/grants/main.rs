//! The performance budget of a daemon over its socket, each figure beside what the machine can do
//! at all: an empty call on the same socket, and raw commits of the same size.
//!
//! `cargo build --release -p cli && cargo run --release -p api --example grants -- target/release/migctl [SECONDS]`
//!
//! It starts a daemon of its own on a simulated DGX A100 whose driver calls take no time. Each client
//! asks for a slice, has it, gives it back, and asks again; the first grants make the slices, the
//! others find them warm. The clients are tasks of this process and share the machine's cores with
//! the daemon.

#![allow(clippy::print_stdout, reason = "it prints what it measured")]

mod commits;
mod daemon;

use std::error::Error;
use std::time::{Duration, Instant};

use api::{Client, LeaseRequest, LeaseState, LeaseView};

use daemon::Daemon;

type Failed = Box<dyn Error + Send + Sync>;

/// How many ask at the same time. The machine has 56 slices, so 64 also wait for each other.
const CROWDS: [u32; 3] = [1, 16, 64];
const PATIENCE: Duration = Duration::from_secs(30);
/// Slices of the machine: eight GPUs of seven.
const SLICES: usize = 56;

fn wish() -> Result<LeaseRequest, Failed> {
    Ok(serde_json::from_str(r#"{"profile": "1g", "holder": "token"}"#)?)
}

/// What a call that is timed came to.
struct Timed {
    grant: Duration,
    whole: Duration,
}

async fn granted(client: &Client, key: &str) -> Result<LeaseView, Failed> {
    let mut lease = client.request_and_wait(&wish()?, key, PATIENCE).await?;
    while lease.state != LeaseState::Active {
        if lease.state == LeaseState::Ended {
            return Err(format!("{} ended before it was granted", lease.id).into());
        }
        lease = client.lease_after(lease.id, lease.revision, PATIENCE).await?;
    }
    Ok(lease)
}

/// One lease from asking to its end.
async fn one_lease(client: &Client, key: &str) -> Result<Timed, Failed> {
    let begun = Instant::now();
    let lease = granted(client, key).await?;
    let grant = begun.elapsed();
    let mut lease = client.release_and_wait(&lease.id.to_string(), PATIENCE).await?;
    while lease.state != LeaseState::Ended {
        lease = client.lease_after(lease.id, lease.revision, PATIENCE).await?;
    }
    Ok(Timed { grant, whole: begun.elapsed() })
}

async fn leases(client: Client, number: u32, span: Duration) -> Result<Vec<Timed>, Failed> {
    let (begun, mut times) = (Instant::now(), Vec::new());
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    while begun.elapsed() < span {
        // A key that was used before would lead to the lease it led to then.
        let key = format!("{}-{number}-{}", since_epoch.as_nanos(), times.len());
        times.push(one_lease(&client, &key).await?);
    }
    Ok(times)
}

async fn nothings(client: Client, _: u32, span: Duration) -> Result<Vec<Timed>, Failed> {
    let (begun, mut times) = (Instant::now(), Vec::new());
    while begun.elapsed() < span {
        let call = Instant::now();
        client.version().await?;
        times.push(Timed { grant: call.elapsed(), whole: call.elapsed() });
    }
    Ok(times)
}

/// Has a crowd do the same for a while; what each did.
async fn crowd<F, W>(
    client: &Client,
    size: u32,
    span: Duration,
    work: W,
) -> Result<Vec<Timed>, Failed>
where
    F: Future<Output = Result<Vec<Timed>, Failed>> + Send + 'static,
    W: Fn(Client, u32, Duration) -> F,
{
    let tasks: Vec<_> =
        (0..size).map(|number| tokio::spawn(work(client.clone(), number, span))).collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await??);
    }
    Ok(times)
}

/// The times at these shares of all, in milliseconds.
fn at(times: &[Duration], shares: [f64; 3]) -> [f64; 3] {
    let mut times = times.to_vec();
    times.sort();
    shares.map(|share| {
        let index = (times.len() as f64 * share) as usize;
        let last = times.len().saturating_sub(1);
        times.get(index.min(last)).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    })
}

fn row(what: &str, size: u32, rate: f64, unit: &str, times: &[Duration]) {
    let [median, late, last] = at(times, [0.5, 0.95, 0.99]);
    println!("{what:<20} {size:>3}  {rate:>8.0} {unit:<7} {median:>8.3} {late:>8.3} {last:>8.3}");
}

async fn measure(daemon: &Daemon, span: Duration) -> Result<(), Failed> {
    let client = &daemon.client;
    // Makes the slices.
    crowd(client, 64, Duration::from_secs(1), leases).await?;
    println!("{:<20} {:>3}  {:>16} {:>8} {:>8} {:>8}", "", "by", "", "median", "p95", "p99 ms");
    let commits = commits::per_second(&daemon.folder, span)?;
    println!("{:<20} {:>3}  {commits:>8.0} /s", "commits, raw SQLite", 1);
    for size in CROWDS {
        let calls = crowd(client, size, span, nothings).await?;
        let calls_rate = calls.len() as f64 / span.as_secs_f64();
        let times: Vec<Duration> = calls.iter().map(|timed| timed.whole).collect();
        row("an empty call", size, calls_rate, "/s", &times);
        let before = (daemon.cpu()?, daemon::own_cpu()?);
        let done = crowd(client, size, span, leases).await?;
        let used =
            (daemon.cpu()?.saturating_sub(before.0), daemon::own_cpu()?.saturating_sub(before.1));
        // A grant and a release are two.
        let count = 2.0 * done.len() as f64;
        let rate = count / span.as_secs_f64();
        let times: Vec<Duration> = done.iter().map(|timed| timed.grant).collect();
        row("a warm grant", size, rate, "ops/s", &times);
        let whole: Vec<Duration> = done.iter().map(|timed| timed.whole).collect();
        row("  until it ended", size, rate / 2.0, "leases", &whole);
        let (empty_calls, raw_commits) = (calls_rate / rate, commits / rate);
        println!("{:<25} {empty_calls:.2} empty calls and {raw_commits:.2} raw commits an op", "");
        // What a busy machine does to the clock it does less to this.
        let each = |used: Duration| used.as_secs_f64() * 1e6 / count;
        let (of_daemon, of_clients) = (each(used.0), each(used.1));
        println!(
            "{:<25} cores for {of_daemon:.0} us an op in the daemon, {of_clients:.0} us in the clients",
            ""
        );
    }
    Ok(())
}

/// A full machine at rest.
async fn rest(daemon: &Daemon) -> Result<(), Failed> {
    let mut held = Vec::new();
    for number in 0..SLICES {
        held.push(granted(&daemon.client, &format!("rest-{number}")).await?);
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (begun, before) = (Instant::now(), daemon.cpu()?);
    tokio::time::sleep(Duration::from_secs(15)).await;
    let share = daemon.cpu()?.saturating_sub(before).as_secs_f64() / begun.elapsed().as_secs_f64();
    println!(
        "at rest, {SLICES} leases: {:.1} MiB resident, {:.2} % of a core",
        daemon.resident_mib()?,
        share * 100.0
    );
    let [median, _, last] = at(&daemon.status_times(50)?, [0.5, 0.95, 0.99]);
    println!("migctl status: median {median:.1} ms, p99 {last:.1} ms");
    for lease in held {
        daemon.client.release(&lease.id.to_string()).await?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let mut args = std::env::args().skip(1);
    let migctl = args.next().ok_or("usage: grants PATH-OF-MIGCTL [SECONDS]")?;
    let span = Duration::from_secs(args.next().map_or(Ok(5), |text| text.parse())?);
    let daemon = Daemon::start(migctl.into())?;
    measure(&daemon, span).await?;
    rest(&daemon).await?;
    let times = daemon.status_without()?;
    let [median, _, last] = at(&times, [0.5, 0.95, 0.99]);
    println!("migctl status without a daemon: median {median:.1} ms, p99 {last:.1} ms");
    Ok(())
}
