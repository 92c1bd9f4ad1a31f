//! Builds `libnvidia-ml.so.1` of the simulated driver, so that the executable can carry it.
//!
//! Must never depend on how the outer build was started: wrappers and flags of `cargo clippy`,
//! coverage runs and cross-compilation do not reach the nested build. Artifact dependencies, which
//! would do this, exist on nightly only.

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest as _, Sha256};

/// What the library is made from, below `crates/`.
const SOURCES: [&str; 4] = ["model", "sim-gpu", "sim-nvml", "sim-nvml-so"];

/// Variables that would make the nested build another one than `cargo build` in a clean shell:
/// wrappers (clippy-driver among them), flags of the outer target, other target folders.
const OUTER_ONLY: [&str; 13] = [
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_RUSTC_WRAPPER",
    "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_TARGET_DIR",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_BUILD_DIR",
    "CLIPPY_ARGS",
    "LLVM_PROFILE_FILE",
];

fn main() -> Result<(), Box<dyn Error>> {
    let out_dir = PathBuf::from(variable("OUT_DIR")?);
    let root = workspace_root()?;
    for name in SOURCES {
        println!("cargo::rerun-if-changed={}", root.join("crates").join(name).display());
    }
    for name in ["Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", root.join(name).display());
    }
    let library = fs::read(build_library(&root, &out_dir)?)?;
    fs::write(out_dir.join("libnvidia-ml.so.1"), &library)?;
    let mut digest = String::new();
    for byte in Sha256::digest(&library) {
        write!(digest, "{byte:02x}")?;
    }
    println!("cargo::rustc-env=MIGD_LIBRARY_SHA256={digest}");
    Ok(())
}

fn variable(name: &str) -> Result<OsString, Box<dyn Error>> {
    env::var_os(name).ok_or_else(|| format!("cargo did not set {name}").into())
}

fn workspace_root() -> Result<PathBuf, Box<dyn Error>> {
    let manifest_dir = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let root = manifest_dir.ancestors().nth(2).ok_or("the crate lies outside its workspace")?;
    Ok(root.to_owned())
}

/// Runs the nested build and gives the path of the library.
///
/// Offline and locked: the outer cargo has just resolved the same lock file and fetched what the
/// library needs, which is a part of what this crate needs.
fn build_library(root: &Path, out_dir: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let target_dir = out_dir.join("library");
    let target = variable("TARGET")?;
    let release = variable("PROFILE")? == "release";
    let mut cargo = Command::new(variable("CARGO")?);
    cargo
        .args(["build", "--package", "sim-nvml-so", "--offline", "--locked", "--quiet"])
        .arg("--manifest-path")
        .arg(root.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target_dir)
        .arg("--target")
        .arg(&target)
        // Carried inside the executable: without debug information it is a tenth of the size.
        .env("CARGO_PROFILE_DEV_STRIP", "debuginfo")
        .env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo");
    if release {
        cargo.arg("--release");
    }
    for name in OUTER_ONLY {
        cargo.env_remove(name);
    }
    let status = cargo.status()?;
    if !status.success() {
        return Err(format!("building the simulated driver's library failed: {status}").into());
    }
    let profile = if release { "release" } else { "debug" };
    Ok(target_dir.join(target).join(profile).join("libnvidia_ml.so"))
}
