//! `cargo xtask sizing`: ParvaGPU's scenarios and Azure's hour of requests through the sizing of
//! services, beside what was published, as the tables of docs/sizing.md.
//!
//! Must never copy the data: it is read by path.

mod azure;
mod greedy;
mod parva;
mod random;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use model::catalog;
use planner::pack::Packer;

use crate::page::Page;

const USAGE: &str = "\
usage: cargo xtask sizing --parvagpu DIR [OPTIONS]

  --parvagpu DIR   prof_data, SLO and deployment of MunQ-Lee/ParvaGPU_SC24
  --azure DIR      the traces of Azure's LLM inference hour of 2023 (CC-BY)
  --write          write the tables into docs/sizing.md (both folders needed)
";

struct Options {
    parvagpu: PathBuf,
    azure: Option<PathBuf>,
    write: bool,
}

fn parse(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Option<Options>> {
    let (mut parvagpu, mut azure, mut write) = (None, None, false);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} wants a folder"));
        match argument.as_str() {
            "--parvagpu" => parvagpu = Some(PathBuf::from(value()?)),
            "--azure" => azure = Some(PathBuf::from(value()?)),
            "--write" => write = true,
            "--help" | "-h" => return Ok(None),
            other => bail!("`{other}` is no option of sizing"),
        }
    }
    let Some(parvagpu) = parvagpu else { return Ok(None) };
    if write && azure.is_none() {
        bail!("--write wants both folders");
    }
    Ok(Some(Options { parvagpu, azure, write }))
}

/// Prints the tables, or writes them into the page.
pub(crate) fn run(arguments: impl Iterator<Item = String>) -> anyhow::Result<ExitCode> {
    let Some(options) = parse(arguments)? else {
        io::stderr().write_all(USAGE.as_bytes())?;
        return Ok(ExitCode::from(3));
    };
    let board = catalog::board("a100-sxm4-80gb").context("the catalog lacks the board")?;
    let packer = Packer::new(&Arc::new(board.geometry()));
    let data = parva::Data::read(&options.parvagpu, &packer)?;
    let mut tables = parva::tables(&data, &packer)?;
    if let Some(folder) = &options.azure {
        tables.push_str(&azure::tables(folder, &data, &packer)?);
    }
    tables.push_str(&random::table(&packer)?);
    if options.write {
        Page::new("sizing")?.put(&tables)?;
    } else {
        io::stdout().write_all(tables.as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}
