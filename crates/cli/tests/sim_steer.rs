//! `migctl sim` steers a machine: faults, resets, reboots, holders; and what survives what.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where a step fails")]

mod simulated;

use serde_json::Value;
use simulated::{Lab, told};

fn gpu(lab: &Lab, index: usize) -> Value {
    lab.json(&["sim", "show"])["gpus"][index].clone()
}

fn instances(lab: &Lab, index: usize) -> usize {
    gpu(lab, index)["instances"].as_array().unwrap().len()
}

#[test]
fn a_reboot_keeps_the_mode_on_ampere_and_nowhere_else() {
    for (kind, profile, after) in
        [("dgx-a100", "3g.20gb", "enabled"), ("dgx-h100", "3g.40gb", "disabled")]
    {
        let lab = Lab::new(kind);
        lab.enable_mig(0);
        lab.slice(0, profile);
        assert_eq!(instances(&lab, 0), 1);
        lab.ok(&["sim", "reboot"]);
        assert_eq!(gpu(&lab, 0)["mig_current"], after, "{kind}");
        assert_eq!(instances(&lab, 0), 0, "{kind}");
        assert_eq!(lab.json(&["sim", "show"])["boots"], 2);
    }
}

#[test]
fn a_reset_loses_the_instances_of_its_gpu_alone_and_waits_for_users() {
    let lab = Lab::new("dgx-a100");
    for gpu in [0, 1] {
        lab.enable_mig(gpu);
        lab.slice(gpu, "1g.5gb");
    }
    let uuid = gpu(&lab, 0)["instances"][0]["compute_instances"][0]["uuid"].clone();
    let work = lab.workload(&["--on", uuid.as_str().unwrap(), "--time", "60s"]);
    let error = lab.fails(5, &["sim", "reset", "0"]);
    assert!(error.contains("In use by another client"), "{error}");
    lab.fails(5, &["sim", "reload"]);
    lab.ok(&["sim", "reset", "1"]);
    assert_eq!((instances(&lab, 0), instances(&lab, 1)), (1, 0));
    drop(work);
    lab.ok(&["sim", "reset", "0"]);
    assert_eq!(instances(&lab, 0), 0);
    assert_eq!(gpu(&lab, 0)["mig_current"], "enabled", "a reset keeps the mode");
}

#[test]
fn gpus_are_named_by_index_uuid_and_address() {
    let lab = Lab::new("a30x4");
    let found = gpu(&lab, 2);
    for name in ["2", found["uuid"].as_str().unwrap(), found["pci"].as_str().unwrap()] {
        lab.ok(&["sim", "reset", name]);
    }
    let error = lab.fails(3, &["sim", "reset", "4"]);
    assert!(error.contains("there is no GPU 4") && error.contains("0 to 3"), "{error}");
    lab.fails(3, &["sim", "reset", "GPU-00000000"]);
    lab.fails(3, &["sim", "reset", "--", "-1"]);
}

#[test]
fn holders_come_and_go_and_are_in_the_way() {
    let lab = Lab::new("dgx-a100");
    lab.ok(&["sim", "holder", "add", "nv-hostengine", "--kind", "session"]);
    lab.ok(&["sim", "holder", "add", "mps", "--gpu", "0", "--pid", "4242"]);
    let listed = lab.json(&["sim", "holder", "list"]);
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!(listed[1]["pid"], 4242);
    lab.fails(5, &["sim", "reset", "0"]);
    lab.ok(&["sim", "holder", "remove", "nv-hostengine"]);
    lab.fails(5, &["sim", "reset", "0"]);
    lab.ok(&["sim", "reset", "1"]);
    lab.ok(&["sim", "holder", "remove", "mps"]);
    lab.ok(&["sim", "reset", "0"]);
    lab.fails(3, &["sim", "holder", "remove", "mps"]);
    lab.fails(3, &["sim", "holder", "add", "x", "--gpu", "0", "--gi", "3"]);
}

#[test]
fn faults_are_listed_and_cleared() {
    let lab = Lab::new("a30x4");
    assert_eq!(lab.json(&["sim", "fault", "list"]), Value::Array(Vec::new()));
    let inject = |rest: &[&str]| {
        let args: Vec<&str> = ["sim", "fault", "inject"].iter().chain(rest).copied().collect();
        lab.run(&args).status.code()
    };
    assert_eq!(inject(&["GpuInstanceDestroy", "--return", "IN_USE", "--times", "2"]), Some(0));
    assert_eq!(inject(&["nvmlDeviceSetMigMode", "--lie", "--gpu", "1", "--skip", "3"]), Some(0));
    assert_eq!(inject(&["*Create*", "--crash", "before"]), Some(0));
    assert_eq!(inject(&["DeviceGetName", "--hang", "10ms"]), Some(0));
    let faults = lab.json(&["sim", "fault", "list"]);
    assert_eq!(faults.as_array().unwrap().len(), 4);
    assert_eq!(faults[0]["times"], 2);
    assert_eq!((&faults[1]["gpu"], &faults[1]["skip"]), (&1.into(), &3.into()));
    for bad in [
        &["GpuInstanceDestruct", "--lie"][..],
        &["GpuInstanceDestroy"],
        &["GpuInstanceDestroy", "--lie", "--hang", "1s"],
        &["GpuInstanceDestroy", "--return", "SUCCESS"],
        &["GpuInstanceDestroy", "--lie", "--times", "0"],
        &["GpuInstanceDestroy", "--lie", "--gpu", "9"],
    ] {
        assert_eq!(inject(bad), Some(3), "{bad:?}");
    }
    lab.ok(&["sim", "fault", "clear"]);
    assert_eq!(lab.json(&["sim", "fault", "list"]), Value::Array(Vec::new()));
}

#[test]
fn an_xid_takes_a_gpu_off_the_bus_until_the_reboot() {
    let lab = Lab::new("a30x4");
    lab.ok(&["sim", "xid", "1", "79"]);
    assert_eq!(gpu(&lab, 1)["health"], "lost");
    lab.fails(2, &["sim", "reset", "1"]);
    lab.ok(&["sim", "reboot"]);
    assert_eq!(gpu(&lab, 1)["health"], "ok");
}

#[test]
fn a_wipe_spares_machines_in_use() {
    let lab = Lab::new("dgx-a100");
    lab.enable_mig(0);
    let uuid = lab.slice(0, "1g.5gb");
    lab.ok(&["sim", "fault", "inject", "DeviceGetName", "--lie"]);
    let work = lab.workload(&["--on", &uuid, "--time", "60s"]);
    let error = lab.fails(5, &["sim", "wipe"]);
    assert!(error.contains(&format!("pid {}", work.pid())), "{error}");
    assert_eq!(instances(&lab, 0), 1);
    lab.ok(&["sim", "wipe", "--yes"]);
    assert_eq!(instances(&lab, 0), 0);
    assert_eq!(gpu(&lab, 0)["mig_current"], "disabled");
    assert_eq!(lab.json(&["sim", "fault", "list"]), Value::Array(Vec::new()));
    assert_eq!(work.end(), Some(1), "its device is gone");
}

#[test]
fn a_wipe_spares_a_machine_with_a_daemon() {
    let lab = Lab::new("a30x4");
    let run = lab.machine_dir().join("run");
    std::fs::create_dir_all(&run).unwrap();
    let daemon = std::os::unix::net::UnixListener::bind(run.join("migd.sock")).unwrap();
    let error = lab.fails(5, &["sim", "wipe"]);
    assert!(error.contains("a daemon manages the machine"), "{error}");
    drop(daemon);
    lab.ok(&["sim", "wipe"]);
}

#[test]
fn latencies_are_set_and_kept() {
    let lab = Lab::new("a30x4");
    lab.ok(&["sim", "latency", "realistic", "reset=7s"]);
    let latencies = lab.json(&["sim", "latency"]);
    assert_eq!(latencies["reset"], 7000);
    assert_eq!(latencies["create_gpu_instance"], 250);
    lab.fails(3, &["sim", "latency", "fast"]);
    assert_eq!(lab.json(&["sim", "latency"]), latencies);
}

#[test]
fn machines_are_listed_once_they_exist() {
    let lab = Lab::new("a30:2");
    let listed = lab.json(&["sim", "list"]);
    let machines = listed["machines"].as_array().unwrap();
    assert_eq!(machines.len(), 1, "{machines:?}");
    assert_eq!(machines[0]["name"], "a30@2");
    assert_eq!(machines[0]["gpus"][0]["count"], 2);
    assert_eq!(listed["presets"].as_array().unwrap().len(), 7);
}

#[test]
fn commands_at_the_same_time_make_one_machine() {
    let lab = Lab::empty("dgx-a100");
    let hosts: Vec<Value> = std::thread::scope(|scope| {
        let all: Vec<_> =
            (0..6).map(|_| scope.spawn(|| lab.json(&["sim", "show"])["gpus"].clone())).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(hosts.iter().all(|gpus| *gpus == hosts[0]));
    assert_eq!(hosts[0].as_array().unwrap().len(), 8);
}

#[test]
fn another_users_machine_is_out_of_reach_unless_shared() {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::CommandExt as _;
    if !rustix::process::geteuid().is_root() {
        // Only root can become somebody else; CI runs the tests as root.
        return;
    }
    let lab = Lab::shared("a30x4");
    let show = |lab: &Lab| lab.command(&["sim", "show"]).uid(65_534).gid(65_534).output().unwrap();
    let open = show(&lab);
    assert!(open.status.success(), "{}", told(&open));
    let closed = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(lab.machine_dir(), closed).unwrap();
    let refused = show(&lab);
    assert_eq!(refused.status.code(), Some(4), "{}", told(&refused));
    assert!(told(&refused).contains("--shared"), "{}", told(&refused));
}

#[test]
fn a_machine_is_described_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lab.toml");
    let text = "[[gpu]]\nboard = \"a30\"\n[[gpu]]\nboard = \"a100-sxm4-40gb\"\ncount = 2\n";
    std::fs::write(&file, text).unwrap();
    let show = |file: &std::path::Path| {
        simulated::migctl()
            .args(["--json", "--simulate"])
            .arg(file)
            .arg("--state-dir")
            .arg(dir.path())
            .args(["sim", "show"])
            .output()
            .unwrap()
    };
    let output = show(&file);
    assert!(output.status.success(), "{}", told(&output));
    let node: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(node["gpus"].as_array().unwrap().len(), 3);
    let wrong = dir.path().join("wrong.toml");
    std::fs::write(&wrong, "[[gpu]]\nboard = \"a31\"\n").unwrap();
    let output = show(&wrong);
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    assert!(told(&output).contains("a30"), "{}", told(&output));
}

/// Units hold GPUs while they run; a file in the machine's folder shows what they do.
#[test]
fn units_are_invented_stopped_and_started() {
    let lab = Lab::new("a30:1");
    lab.ok(&["sim", "unit", "add", "nvidia-dcgm", "--holds", "session"]);
    let needs = ["--needs", "nvidia-dcgm", "--holds", "client", "--gpu", "0"];
    lab.ok(&[&["sim", "unit", "add", "dcgm-exporter"], &needs[..]].concat());
    let holders = || {
        let all = lab.json(&["sim", "holder", "list"]);
        let names = all.as_array().unwrap().iter().map(|holder| holder["name"].to_string());
        names.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(holders(), "\"nvidia-dcgm.service\" \"dcgm-exporter.service\"");
    assert!(!lab.run(&["sim", "reset", "0"]).status.success(), "it is held");
    lab.ok(&["sim", "unit", "stop", "nvidia-dcgm"]);
    assert_eq!(holders(), "");
    lab.ok(&["sim", "reset", "0"]);
    let file = std::fs::read_to_string(lab.machine_dir().join("units.toml")).unwrap();
    assert_eq!(file.matches("inactive").count(), 2, "{file}");
    let shown = lab.ok(&["sim", "unit", "list"]);
    assert!(shown.contains("dcgm-exporter  inactive  GPU 0     nvidia-dcgm"), "{shown}");
    lab.ok(&["sim", "unit", "start", "dcgm-exporter"]);
    assert_eq!(lab.json(&["sim", "unit", "list"])[1]["state"], "active", "what it needs, too");
    lab.ok(&["sim", "unit", "add", "nvsm", "--stops", "hangs"]);
    let refused = lab.run(&["sim", "unit", "stop", "nvsm"]);
    assert_eq!(refused.status.code(), Some(5), "{}", told(&refused));
    assert_eq!(lab.run(&["sim", "unit", "stop", "gone"]).status.code(), Some(3));
    lab.ok(&["sim", "unit", "remove", "nvidia-dcgm"]);
    assert_eq!(holders(), "\"dcgm-exporter.service\"");
}
