//! Makes a simulated host for trying things by hand:
//! `cargo run -p sim-nvml --example sim_host -- DIR dgx-a100`.
//!
//! Must never be needed by the product: `migctl --simulate` makes hosts itself.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::path::PathBuf;

use sim_nvml::{HostOptions, SimHost, spec_from_text};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().ok_or("usage: sim_host DIR KIND|FILE")?);
    let kind = args.next().unwrap_or_else(|| "dgx-a100".into());
    let text = std::fs::read_to_string(&kind).unwrap_or(kind);
    let spec = spec_from_text("sim", &text)?;
    let latencies = Some(sim_gpu::Latencies::ZERO);
    let host = SimHost::create(&dir, &spec, &HostOptions { latencies, shared: false })?;
    println!("export {}={}", sim_nvml::HOST_VARIABLE, host.dir().display());
    Ok(())
}
