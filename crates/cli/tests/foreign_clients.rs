//! Clients of NVML that others wrote, on the simulated driver: nvidia-ml-py, nvitop, gpustat.
//!
//! They are fetched from PyPI at the versions of `tests/foreign/requirements.txt` into a virtual
//! environment below the target folder. Where that is impossible the tests say so and pass; with
//! `CI=true` they fail.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where a step fails")]

mod pip;
mod simulated;

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::OnceLock;

use pip::{environment, foreign};
use serde_json::Value;
use simulated::{Lab, skip, told};

/// The virtual environment, made once; or why it cannot be.
fn clients(test: &str) -> Option<&'static Path> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match FOUND.get_or_init(|| environment("foreign-clients", "requirements.txt")) {
        Ok(folder) => Some(folder.as_path()),
        Err(why) => {
            skip(&format!("foreign_clients::{test}"), why);
            None
        }
    }
}

/// Runs a program of the virtual environment on the machine.
fn on(lab: &Lab, clients: &Path, program: &str, args: &[&str]) -> Output {
    let mut command = lab.command(&["sim", "exec", "--"]);
    command.arg(clients.join("bin").join(program)).args(args);
    command.env("COLUMNS", "120").env("LC_ALL", "C.UTF-8").env_remove("CUDA_VISIBLE_DEVICES");
    command.output().unwrap()
}

/// Runs a few lines of Python with nvidia-ml-py as `n`, initialised, and GPU 0 as `gpu`.
fn python(lab: &Lab, clients: &Path, lines: &str) -> Output {
    let script = format!(
        "import pynvml as n\nfrom ctypes import byref, c_uint\nn.nvmlInit()\n\
         gpu = n.nvmlDeviceGetHandleByIndex(0)\n{lines}\n"
    );
    on(lab, clients, "python", &["-c", &script])
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", told(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn count(calls: &Value, call: &str, result: &str) -> usize {
    let calls = calls.as_array().unwrap().iter();
    calls.filter(|entry| entry["call"] == call && entry["result"] == result).count()
}

#[test]
fn nvidia_ml_py_lives_through_the_whole_cycle_on_every_preset() {
    let Some(clients) = clients("nvidia_ml_py_lives_through_the_whole_cycle") else { return };
    let script = foreign("mig_cycle.py");
    for preset in sim_gpu::HostSpec::PRESETS {
        let lab = Lab::new(preset);
        let output = on(&lab, clients, "python", &[script.to_str().unwrap(), "1"]);
        let told = succeeded(&output);
        assert!(told.contains("passed:"), "{preset}: {told}");
        let node = lab.json(&["sim", "show"]);
        assert_eq!(node["gpus"][1]["instances"], Value::Array(Vec::new()), "{preset}");
        assert_eq!(node["gpus"][1]["mig_current"], "disabled", "{preset}");
        let calls = lab.json(&["sim", "calls"]);
        let success = |call| count(&calls, call, "SUCCESS");
        let made = success("nvmlDeviceCreateGpuInstanceWithPlacement")
            + success("nvmlDeviceCreateGpuInstance");
        assert!(made >= 3, "{preset}: {calls}");
        assert_eq!(made, success("nvmlGpuInstanceDestroy"), "{preset}");
        assert_eq!(success("nvmlDeviceSetMigMode"), 2, "{preset}");
    }
}

#[test]
fn every_mutating_call_is_logged_once() {
    let Some(clients) = clients("every_mutating_call_is_logged_once") else { return };
    let lab = Lab::new("dgx-a100");
    let output = python(
        &lab,
        clients,
        "import os\n\
         print(os.getpid())\n\
         n.nvmlDeviceSetMigMode(gpu, 1)\n\
         gpu = n.nvmlDeviceGetHandleByIndex(0)\n\
         made = [n.nvmlDeviceCreateGpuInstance(gpu, 14) for _ in range(3)]\n\
         parts = [n.nvmlGpuInstanceCreateComputeInstance(made[0], 0) for _ in range(2)]\n\
         n.nvmlComputeInstanceDestroy(parts[1])\n\
         try: n.nvmlDeviceCreateGpuInstance(gpu, 14)\n\
         except n.NVMLError_InsufficientResources: print('full')",
    );
    let text = succeeded(&output);
    let (pid, rest) = text.split_once('\n').unwrap();
    assert_eq!(rest, "full\n");
    let calls = lab.json(&["sim", "calls"]);
    let expected = [
        ("nvmlDeviceSetMigMode", "SUCCESS", 1),
        ("nvmlDeviceCreateGpuInstance", "SUCCESS", 3),
        ("nvmlDeviceCreateGpuInstance", "INSUFFICIENT_RESOURCES", 1),
        ("nvmlGpuInstanceCreateComputeInstance", "SUCCESS", 2),
        ("nvmlComputeInstanceDestroy", "SUCCESS", 1),
    ];
    for (call, result, times) in expected {
        assert_eq!(count(&calls, call, result), times, "{call} {result}: {calls}");
    }
    let entries = calls.as_array().unwrap();
    assert_eq!(entries.len(), 8, "{calls}");
    let pid: u32 = pid.parse().unwrap();
    assert!(entries.iter().all(|entry| entry["pid"] == pid), "{calls}");
    let table = lab.ok(&["sim", "calls", "--clear"]);
    assert_eq!(table.lines().count(), 9, "{table}");
    assert!(table.contains("gpu=0 profile_id=14"), "{table}");
    assert_eq!(lab.json(&["sim", "calls"]), Value::Array(Vec::new()));
    let node = lab.json(&["sim", "show"]);
    assert_eq!(node["gpus"][0]["instances"].as_array().unwrap().len(), 3, "only the log is gone");
}

#[test]
fn monitors_show_slices_memory_and_the_pids_of_workloads() {
    let Some(clients) = clients("monitors_show_slices") else { return };
    let lab = Lab::new("dgx-a100");
    lab.enable_mig(0);
    let (large, small) = (lab.slice(0, "3g.20gb"), lab.slice(0, "1g.5gb"));
    let one = lab.workload(&["--on", &large, "--gpu-mem", "3g", "--time", "60s"]);
    let two = lab.workload(&["--on", &small, "--gpu-mem", "1g", "--time", "60s"]);

    let screen = succeeded(&on(&lab, clients, "nvitop", &["-1"]));
    // Idle use (142 and 36 MiB) and what the programs took.
    for words in ["3g.20gb @ GI/CI: 2/0", "3214MiB / 20096MiB", "1060MiB /  4864MiB"] {
        assert!(screen.contains(words), "`{words}` in\n{screen}");
    }
    for (pid, memory) in [(one.pid(), "3072MiB"), (two.pid(), "1024MiB")] {
        let pid = format!(" {pid} ");
        let row = screen.lines().find(|line| line.contains(&pid) && line.contains(memory));
        assert!(row.is_some(), "pid{pid}with {memory} in\n{screen}");
    }

    let stat = succeeded(&on(&lab, clients, "gpustat", &["--json"]));
    let stat: Value = serde_json::from_str(&stat).unwrap();
    let first = &stat["gpus"][0];
    assert_eq!(stat["gpus"].as_array().unwrap().len(), 8);
    assert_eq!(first["memory.used"], 3214 + 1060);
    let pids: Vec<&Value> =
        first["processes"].as_array().unwrap().iter().map(|process| &process["pid"]).collect();
    assert_eq!(pids.len(), 2, "{first}");
    for pid in [one.pid(), two.pid()] {
        assert!(pids.contains(&&Value::from(pid)), "{first}");
    }
    succeeded(&on(&lab, clients, "gpustat", &["-cp"]));

    let script = foreign("show_node.py");
    let seen = succeeded(&on(&lab, clients, "python", &[script.to_str().unwrap(), "--json"]));
    let seen: Value = serde_json::from_str(&seen).unwrap();
    let devices = seen["gpus"][0]["mig_devices"].as_array().unwrap();
    assert_eq!(devices.len(), 2);
    let wanted = [
        (&large, "NVIDIA A100-SXM4-40GB MIG 3g.20gb", 3214, one.pid()),
        (&small, "NVIDIA A100-SXM4-40GB MIG 1g.5gb", 1060, two.pid()),
    ];
    for (device, (uuid, name, used, pid)) in devices.iter().zip(wanted) {
        assert_eq!(device["uuid"], uuid.as_str());
        assert_eq!(device["name"], name);
        assert_eq!(device["memory"]["used_mib"], used);
        assert_eq!(device["processes"][0]["pid"], pid);
    }
}

#[test]
fn a_slice_in_use_cannot_be_destroyed_until_its_process_is_gone() {
    let Some(clients) = clients("a_slice_in_use") else { return };
    let lab = Lab::new("dgx-a100");
    lab.enable_mig(0);
    let uuid = lab.slice(0, "3g.20gb");
    let destroy = "gi = n.nvmlDeviceGetGpuInstanceById(gpu, 2)\n\
         ci = n.nvmlGpuInstanceGetComputeInstanceById(gi, 0)\n\
         try: n.nvmlComputeInstanceDestroy(ci); n.nvmlGpuInstanceDestroy(gi)\n\
         except n.NVMLError as error: print(error.value)";
    let work = lab.workload(&["--on", &uuid, "--time", "60s"]);
    assert_eq!(succeeded(&python(&lab, clients, destroy)), "19\n");
    work.signal("KILL");
    assert_eq!(work.end(), None);
    assert_eq!(succeeded(&python(&lab, clients, destroy)), "");
}

#[test]
fn planted_faults_strike_foreign_clients() {
    let Some(clients) = clients("planted_faults") else { return };
    let lab = Lab::new("dgx-a100");
    lab.enable_mig(0);
    let create = "n.nvmlDeviceCreateGpuInstance(gpu, 19)\nprint('made')";
    let plant = |rest: &[&str]| {
        let args = ["sim", "fault", "inject", "DeviceCreateGpuInstance"];
        lab.ok(&args.iter().chain(rest).copied().collect::<Vec<_>>());
    };
    let made = || lab.json(&["sim", "show"])["gpus"][0]["instances"].as_array().unwrap().len();

    plant(&["--return", "IN_USE"]);
    let refused = python(&lab, clients, create);
    assert!(told(&refused).contains("In use by another client"), "{}", told(&refused));
    assert_eq!(succeeded(&python(&lab, clients, create)), "made\n");
    assert_eq!(made(), 1);

    plant(&["--lie"]);
    assert_eq!(succeeded(&python(&lab, clients, create)), "made\n");
    assert_eq!(made(), 1, "it said SUCCESS and did nothing");

    for (when, instances) in [("before", 1), ("after", 2)] {
        plant(&["--crash", when]);
        let killed = python(&lab, clients, create);
        assert_eq!(killed.status.code(), None, "killed by a signal: {}", told(&killed));
        assert_eq!(made(), instances, "crash {when}");
    }

    plant(&["--hang", "400ms", "--skip", "1"]);
    let time = |lines: &str| {
        let start = std::time::Instant::now();
        succeeded(&python(&lab, clients, lines));
        start.elapsed().as_millis()
    };
    time(create);
    assert!(time(create) >= 400, "the second call hangs");
    assert_eq!(lab.json(&["sim", "fault", "list"]), Value::Array(Vec::new()));
}
