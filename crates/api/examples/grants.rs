//! How long a grant takes over the socket, and how many a daemon serves, beside a call that does
//! nothing.
//!
//! `cargo run --release -p api --example grants -- SOCKET [CLIENTS] [SECONDS]`, against a daemon on
//! a simulated machine whose driver calls take no time. Each client asks for a slice, waits until
//! it is granted, gives it back and waits until that has ended. The first grants make the slices;
//! the others find them warm.

#![allow(clippy::print_stdout, reason = "it prints what it measured")]

use std::error::Error;
use std::time::{Duration, Instant};

use api::{Client, HolderKind, LeaseRequest, LeaseState};

type Failed = Box<dyn Error + Send + Sync>;

fn request() -> LeaseRequest {
    LeaseRequest {
        profile: Some("1g".to_owned()),
        gpu_mem: None,
        compute: None,
        count: 1,
        gpu: None,
        time_ms: None,
        expect_ms: None,
        max_wait_ms: None,
        name: None,
        holder: HolderKind::Token,
        token_life_ms: None,
        command: None,
        one_process: false,
    }
}

/// One lease from asking to its end; the time from asking to having it.
async fn one_lease(client: &Client, key: &str) -> Result<Duration, Failed> {
    let begun = Instant::now();
    let patience = Duration::from_secs(30);
    let mut lease = client.request(&request(), key).await?;
    while lease.state != LeaseState::Active {
        if lease.state == LeaseState::Ended {
            return Err(format!("{} ended before it was granted", lease.id).into());
        }
        lease = client.lease_after(lease.id, lease.revision, patience).await?;
    }
    let took = begun.elapsed();
    lease = client.release(&lease.id.to_string()).await?;
    while lease.state != LeaseState::Ended {
        lease = client.lease_after(lease.id, lease.revision, patience).await?;
    }
    Ok(took)
}

async fn leases(client: Client, number: u32, span: Duration) -> Result<Vec<Duration>, Failed> {
    let (begun, mut times) = (Instant::now(), Vec::new());
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    while begun.elapsed() < span {
        // A key that was used before would lead to the lease it led to then.
        let key = format!("{}-{number}-{}", since_epoch.as_nanos(), times.len());
        times.push(one_lease(&client, &key).await?);
    }
    Ok(times)
}

async fn nothings(client: Client, _: u32, span: Duration) -> Result<Vec<Duration>, Failed> {
    let (begun, mut times) = (Instant::now(), Vec::new());
    while begun.elapsed() < span {
        let call = Instant::now();
        client.version().await?;
        times.push(call.elapsed());
    }
    Ok(times)
}

async fn measure<F, W>(
    what: &str,
    client: &Client,
    clients: u32,
    span: Duration,
    work: W,
) -> Result<(f64, f64), Failed>
where
    F: Future<Output = Result<Vec<Duration>, Failed>> + Send + 'static,
    W: Fn(Client, u32, Duration) -> F,
{
    let tasks: Vec<_> =
        (0..clients).map(|number| tokio::spawn(work(client.clone(), number, span))).collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await??);
    }
    times.sort();
    let at = |share: f64| {
        let index = (times.len() as f64 * share) as usize;
        times.get(index.min(times.len().saturating_sub(1))).map_or(0.0, Duration::as_secs_f64)
    };
    let rate = times.len() as f64 / span.as_secs_f64();
    let (median, late) = (at(0.5) * 1e3, at(0.99) * 1e3);
    println!("{what:<24} {rate:>8.0}/s   median {median:>7.3} ms   p99 {late:>7.3} ms");
    Ok((rate, late))
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let mut args = std::env::args().skip(1);
    let socket = args.next().ok_or("usage: grants SOCKET [CLIENTS] [SECONDS]")?;
    let clients: u32 = args.next().map_or(Ok(1), |text| text.parse())?;
    let span = Duration::from_secs(args.next().map_or(Ok(3), |text| text.parse())?);
    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&socket)?);
    let client = Client::new(socket, [owner]);
    measure("warm-up", &client, clients, Duration::from_secs(1), leases).await?;
    let (nothing, nothing_late) = measure("a call", &client, clients, span, nothings).await?;
    let (grants, late) = measure("grant and release", &client, clients, span, leases).await?;
    println!(
        "a grant costs {:.1} calls; its p99 is {:.1} times theirs",
        nothing / grants,
        late / nothing_late
    );
    Ok(())
}
