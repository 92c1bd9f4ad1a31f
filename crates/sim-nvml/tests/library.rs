//! `libnvidia-ml.so.1` as programs find it: its name, its symbols, and a C program that uses it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail in its helpers too")]

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use common::make;
use sim_nvml::{SimHost, entry};

/// Builds the library into the target folder of this test program and gives its path.
fn library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        // …/target/debug/deps/library-<hash>
        let test = std::env::current_exe().unwrap();
        let profile = test.ancestors().nth(2).unwrap();
        let target = profile.parent().unwrap();
        let mut build = Command::new(env!("CARGO"));
        build
            .args(["build", "--quiet", "--offline", "-p", "sim-nvml-so", "--target-dir"])
            .arg(target)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env_remove("RUSTC_WORKSPACE_WRAPPER");
        if profile.file_name().is_some_and(|name| name == "release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "the library does not build");
        profile.join("libnvidia_ml.so")
    })
}

fn output(program: &str, args: &[&str], file: &Path) -> String {
    let output = Command::new(program).args(args).arg(file).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_name_is_exported_and_nothing_else() {
    let listing = output("nm", &["-D", "--defined-only"], library());
    let exported: BTreeSet<&str> =
        listing.lines().filter_map(|line| line.split_ascii_whitespace().nth(2)).collect();
    let header = include_str!("../src/nvml-symbols.txt").lines();
    let missing: Vec<&str> = header.filter(|name| !exported.contains(name)).collect();
    assert_eq!(missing, [""; 0]);
    for old in ["nvmlInit", "nvmlErrorString", "nvmlDeviceGetComputeRunningProcesses_v2"] {
        assert!(exported.contains(old), "{old}");
    }
    let foreign: Vec<_> = exported.iter().filter(|name| !name.starts_with("nvml")).collect();
    assert_eq!(foreign, [&""; 0]);
}

#[test]
fn it_has_nvidias_name_and_needs_only_the_c_library() {
    let dynamic = output("readelf", &["-d"], library());
    assert!(dynamic.contains("soname: [libnvidia-ml.so.1]"), "{dynamic}");
    let needed = dynamic.lines().filter(|line| line.contains("(NEEDED)"));
    for line in needed {
        let known = ["libc.so", "libgcc_s.so", "ld-linux", "libm.so", "libdl.so", "libpthread.so"];
        assert!(known.iter().any(|name| line.contains(name)), "{line}");
    }
}

#[test]
fn a_program_without_the_c_functions_of_its_own_exports_none() {
    // This test program links sim-nvml: nobody may find NVML in it.
    let own = std::env::current_exe().unwrap();
    let names = output("nm", &["--defined-only"], &own);
    assert!(!names.lines().any(|line| line.ends_with(" T nvmlInit_v2")));
}

#[test]
fn a_c_program_finds_what_a_real_a100_says() {
    let dir = tempfile::tempdir().unwrap();
    let host = make(&dir.path().join("host"), "a100-sxm4-40gb:2");
    let named = dir.path().join("libnvidia-ml.so.1");
    std::os::unix::fs::symlink(library(), &named).unwrap();
    let program = dir.path().join("client");
    let compiled = Command::new("cc")
        .args(["-Wall", "-Wextra", "-Werror", "-O1", "-o"])
        .arg(&program)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/client.c"))
        .arg(&named)
        .status()
        .unwrap();
    assert!(compiled.success());
    let run = |host: Option<&Path>| {
        let mut command = Command::new(&program);
        command.env("LD_LIBRARY_PATH", dir.path()).env_remove(sim_nvml::HOST_VARIABLE);
        if let Some(host) = host {
            command.env(sim_nvml::HOST_VARIABLE, host);
        }
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    assert_eq!(run(Some(host.dir())), "ok\n");
    // The state is shared: what the program did is seen here.
    let calls: Vec<String> = host
        .calls()
        .unwrap()
        .into_iter()
        .map(|call| format!("{} {}", call.call, call.result))
        .collect();
    assert_eq!(
        calls,
        [
            "nvmlDeviceSetMigMode SUCCESS",
            "nvmlDeviceCreateGpuInstanceWithPlacement SUCCESS",
            "nvmlGpuInstanceCreateComputeInstance SUCCESS",
            "nvmlGpuInstanceDestroy IN_USE",
            "nvmlComputeInstanceDestroy SUCCESS",
            "nvmlGpuInstanceDestroy SUCCESS",
        ]
    );
    // Nobody is simulated who was not asked for.
    assert!(run(None).contains("nvmlInit_v2() == 0"));
}

/// A program that uses the library and the crate at once. Run by itself it has no host.
#[test]
fn both_ways_client() {
    let Some(file) = std::env::var_os("MIGD_TEST_LIBRARY") else { return };
    #[expect(unsafe_code, reason = "loading a library runs its code")]
    // SAFETY: the library is ours; loading it runs no code but the runtime's.
    let library = unsafe { libloading::Library::new(file) }.unwrap();
    let call = |name: &str| {
        #[expect(unsafe_code, reason = "a symbol has the type that its user says")]
        // SAFETY: every name asked for below takes no argument and returns an int.
        let found = unsafe { library.get::<extern "C" fn() -> u32>(name) };
        (found.unwrap())()
    };
    assert_eq!(call("nvmlInit_v2"), common::OK);
    assert_eq!(entry::nvmlDeviceGetCount_v2(common::room().0), common::UNINITIALIZED);
    assert_eq!(entry::nvmlInit_v2(), common::OK);
    let host = SimHost::open(Path::new(&std::env::var(sim_nvml::HOST_VARIABLE).unwrap())).unwrap();
    let sessions = host.node().unwrap().value.sessions.clone();
    assert_eq!((sessions.len(), sessions[0].count), (1, 2), "one process, two initialisations");
    common::mig_on(common::gpu(0));
    assert_eq!(call("nvmlShutdown"), common::OK);
    assert!(common::create(common::gpu(0), 19).is_ok());
    assert_eq!(entry::nvmlShutdown(), common::OK);
    assert!(host.node().unwrap().value.sessions.is_empty());
}

#[test]
fn the_library_and_the_crate_work_in_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let host = make(&dir.path().join("host"), "a100-sxm4-40gb:1");
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "both_ways_client"])
        .env(sim_nvml::HOST_VARIABLE, host.dir())
        .env("MIGD_TEST_LIBRARY", library())
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(host.node().unwrap().value.gpus[0].instances.len(), 1);
}
