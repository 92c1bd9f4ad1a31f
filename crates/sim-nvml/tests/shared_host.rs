//! One host, many processes: kill -9 at any moment, races, the log, and the tree of files.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail in its helpers too")]
#![allow(clippy::print_stderr, reason = "a skip has a name")]

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{OK, ask, create, create_compute, gpu, make, mig_on};
use model::MemoryMib;
use sim_gpu::Node;
use sim_nvml::{CudaRequest, SimHost, entry};

/// Says to the child tests that they are children, and for how long they work.
const CHILD: &str = "MIGD_TEST_CHILD_MS";

fn child(test: &str, host: &SimHost, milliseconds: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(sim_nvml::HOST_VARIABLE, host.dir())
        .env(CHILD, milliseconds.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn child_time() -> Option<Duration> {
    let text = std::env::var(CHILD).ok()?;
    Some(Duration::from_millis(text.parse().unwrap()))
}

/// A client that creates and destroys as fast as it can; every answer must be one a real driver
/// could give. Run by itself it has no host to work on.
#[test]
fn hammering_client() {
    let Some(time) = child_time() else { return };
    assert_eq!(entry::nvmlInit_v2(), OK);
    let device = gpu(0);
    let end = Instant::now() + time;
    let mut mine = Vec::new();
    let mut round = std::process::id();
    while Instant::now() < end {
        round = round.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if round >> 16 & 1 == 0 {
            let profile = [19, 14, 9, 15][(round >> 20) as usize % 4];
            match create(device, profile) {
                Ok(instance) => {
                    let compute = [0, 1, 2, 0][(round >> 20) as usize % 4];
                    let compute = create_compute(instance, compute).unwrap();
                    mine.push((instance, compute));
                }
                Err(code) => assert_eq!(code, common::INSUFFICIENT_RESOURCES),
            }
        } else if let Some((instance, compute)) = mine.pop() {
            assert_eq!(entry::nvmlComputeInstanceDestroy(compute), OK);
            assert_eq!(entry::nvmlGpuInstanceDestroy(instance), OK);
        }
    }
    for (instance, compute) in mine {
        assert_eq!(entry::nvmlComputeInstanceDestroy(compute), OK);
        assert_eq!(entry::nvmlGpuInstanceDestroy(instance), OK);
    }
    assert_eq!(entry::nvmlShutdown(), OK);
}

fn access_files(root: &Path) -> BTreeSet<PathBuf> {
    fn walk(folder: &Path, found: &mut BTreeSet<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else {
                found.insert(path);
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(&root.join("proc/driver/nvidia/capabilities"), &mut found);
    found
}

fn assert_tree_follows(host: &SimHost, node: &Node) {
    let wanted: BTreeSet<PathBuf> = node
        .capability_files()
        .into_iter()
        .map(|file| host.root().join("proc").join(file.path))
        .collect();
    assert_eq!(access_files(host.root()), wanted);
    for file in node.capability_files() {
        let device = host.root().join(format!("dev/nvidia-caps/nvidia-cap{}", file.minor));
        assert!(device.exists(), "{}", device.display());
    }
}

/// The layout that the log of calls leads to: compute instances per GPU instance of GPU 0.
fn replay(host: &SimHost) -> Vec<(u64, Vec<u64>)> {
    let mut instances: Vec<(u64, Vec<u64>)> = Vec::new();
    let mut last = 0;
    for call in host.calls().unwrap() {
        assert!(call.generation > last, "generations grow");
        last = call.generation;
        if call.result != "SUCCESS" {
            continue;
        }
        let gi = call.args["gpu_instance"].as_u64().or(call.output["gpu_instance"].as_u64());
        let ci =
            call.args["compute_instance"].as_u64().or(call.output["compute_instance"].as_u64());
        match call.call.as_str() {
            "nvmlDeviceCreateGpuInstance" => instances.push((gi.unwrap(), Vec::new())),
            "nvmlGpuInstanceDestroy" => instances.retain(|(id, _)| Some(*id) != gi),
            "nvmlGpuInstanceCreateComputeInstance" => {
                let one = instances.iter_mut().find(|(id, _)| Some(*id) == gi).unwrap();
                one.1.push(ci.unwrap());
            }
            "nvmlComputeInstanceDestroy" => {
                let one = instances.iter_mut().find(|(id, _)| Some(*id) == gi).unwrap();
                one.1.retain(|id| Some(*id) != ci);
            }
            "nvmlDeviceSetMigMode" => {}
            other => panic!("unexpected call {other}"),
        }
    }
    instances.sort();
    instances
}

fn layout(node: &Node) -> Vec<(u64, Vec<u64>)> {
    let id = |number: u32| u64::from(number);
    node.gpus[0]
        .instances
        .iter()
        .map(|one| (id(one.id.get()), one.compute.iter().map(|c| id(c.id.get())).collect()))
        .collect()
}

fn prepared(dir: &Path) -> SimHost {
    let host = make(dir, "a100-sxm4-40gb:1");
    let status = child("enabling_client", &host, 1).wait().unwrap();
    assert!(status.success());
    host
}

/// A client that turns MIG on. Run by itself it has no host to work on.
#[test]
fn enabling_client() {
    if child_time().is_none() {
        return;
    }
    assert_eq!(entry::nvmlInit_v2(), OK);
    mig_on(gpu(0));
    assert_eq!(entry::nvmlShutdown(), OK);
}

#[test]
fn kill_9_at_any_moment_leaves_a_sound_host() {
    let dir = tempfile::tempdir().unwrap();
    let host = prepared(dir.path());
    let mut seed: u64 = 0x5EED;
    for _ in 0..25 {
        let mut client = child("hammering_client", &host, 60_000);
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_micros(30_000 + (seed >> 33) % 60_000));
        client.kill().unwrap();
        client.wait().unwrap();
        // A process that comes next sees a sound state, an agreeing log and a mended tree.
        let next = SimHost::open(dir.path()).unwrap();
        let node = next.node().unwrap();
        assert_eq!(node.value.check_invariants(), Ok(()));
        assert_eq!(replay(&next), layout(&node.value));
        next.change(|_, _| ()).unwrap();
        let node = next.node().unwrap();
        assert!(node.value.sessions.is_empty(), "the dead have no session");
        assert_tree_follows(&next, &node.value);
        // Clear the slices the dead left, so that the next one has room.
        next.wipe().unwrap();
        next.clear_calls().unwrap();
        assert!(child("enabling_client", &next, 1).wait().unwrap().success());
    }
    assert!(host.node().unwrap().generation > 100);
}

#[test]
fn two_processes_create_and_destroy_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let host = prepared(dir.path());
    let mut clients = [(); 2].map(|()| child("hammering_client", &host, 1500));
    let end = Instant::now() + Duration::from_millis(1200);
    let mut seen = BTreeSet::new();
    while Instant::now() < end {
        let node = host.node().unwrap();
        assert_eq!(node.value.check_invariants(), Ok(()));
        seen.insert(layout(&node.value));
    }
    for client in &mut clients {
        assert!(client.wait().unwrap().success());
    }
    assert!(seen.len() > 10, "the layouts changed: {}", seen.len());
    let node = host.node().unwrap();
    assert_eq!(layout(&node.value), []);
    assert_eq!(replay(&host), []);
    assert_tree_follows(&host, &node.value);
    let pids: BTreeSet<u32> = host.calls().unwrap().iter().map(|call| call.pid).collect();
    assert!(pids.len() >= 3, "both processes and the one that enabled: {pids:?}");
}

/// A client that occupies memory in the first device it sees, until it is killed.
#[test]
fn computing_client() {
    if child_time().is_none() {
        return;
    }
    let host = SimHost::open(Path::new(&std::env::var(sim_nvml::HOST_VARIABLE).unwrap())).unwrap();
    let request = CudaRequest { memory: MemoryMib::new(512), ..CudaRequest::default() };
    let _context = host.begin_context(&request).unwrap();
    std::thread::sleep(Duration::from_secs(600));
}

#[test]
fn what_a_killed_program_held_is_free_again() {
    let bench = common::bench("a100-sxm4-40gb:1");
    let device = gpu(0);
    mig_on(device);
    let instance = create(device, 19).unwrap();
    let compute = create_compute(instance, 0).unwrap();
    let mig = common::mig_device(device, 0).unwrap();
    let mut client = child("computing_client", &bench.host, 1);
    let rows = || {
        let (count, _) = common::room::<u32>();
        let (infos, _) = common::room::<sim_nvml::types::Process>();
        count.put(1).unwrap();
        assert_eq!(entry::nvmlDeviceGetComputeRunningProcesses_v3(mig, count, infos), OK);
        if count.get().unwrap() == 1 { Some(infos.get().unwrap()) } else { None }
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    let row = loop {
        if let Some(row) = rows() {
            break row;
        }
        assert!(Instant::now() < deadline, "the client never appeared");
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!((row.pid, row.gpuInstanceId, row.computeInstanceId), (client.id(), 13, 0));
    assert_eq!(entry::nvmlComputeInstanceDestroy(compute), common::IN_USE);
    client.kill().unwrap();
    client.wait().unwrap();
    assert!(rows().is_none());
    assert_eq!(entry::nvmlComputeInstanceDestroy(compute), OK);
    assert_eq!(entry::nvmlGpuInstanceDestroy(instance), OK);
}

#[test]
fn stock_permissions_come_back_with_a_new_instance_only() {
    use std::os::unix::fs::PermissionsExt;
    let bench = common::bench("a100-sxm4-40gb:1");
    let device = gpu(0);
    mig_on(device);
    let instance = create(device, 19).unwrap();
    let root = bench.host.root();
    let node = root.join("dev/nvidia-caps/nvidia-cap120");
    let access = root.join("proc/driver/nvidia/capabilities/gpu0/mig/gi13/access");
    let mode = || std::fs::metadata(&node).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o444);
    std::fs::set_permissions(&node, std::fs::Permissions::from_mode(0o400)).unwrap();
    let text = "DeviceFileMinor: 120\nDeviceFileMode: 292\nDeviceFileModify: 0\n";
    std::fs::write(&access, text).unwrap();
    // Another instance comes: nothing happens to this one's files.
    let other = create(device, 19).unwrap();
    assert_eq!((mode(), std::fs::read_to_string(&access).unwrap().as_str()), (0o400, text));
    assert_eq!(entry::nvmlGpuInstanceDestroy(instance), OK);
    assert!(!access.exists());
    assert_eq!(mode(), 0o400, "nothing touches the node of an instance that went");
    let again = common::create_at(device, 19, 6, 1).unwrap();
    assert_eq!(common::place(again).0, 13);
    assert_eq!(mode(), 0o444);
    assert!(std::fs::read_to_string(&access).unwrap().ends_with("DeviceFileModify: 1\n"));
    let _unused = (other, ask(|out| entry::nvmlDeviceGetCount_v2(out)));
}

#[test]
fn a_slow_call_keeps_its_gpu_busy_and_nothing_else() {
    let bench = common::bench("a100-sxm4-40gb:2");
    let (first, second) = (gpu(0), gpu(1));
    mig_on(first);
    mig_on(second);
    let slow = model::Millis::new(400);
    bench.host.set_knobs(|knobs| knobs.latencies.create_gpu_instance = slow).unwrap();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for device in [first, second, first] {
            scope.spawn(move || create(device, 19).unwrap());
        }
        std::thread::sleep(Duration::from_millis(50));
        // Reading does not wait, and what is not finished is not there.
        assert_eq!(common::capacity(first, 19), Ok(7));
        assert!(start.elapsed() < Duration::from_millis(390));
    });
    let took = start.elapsed();
    // Two on the first GPU one after the other, the one on the second beside them.
    assert!(took >= Duration::from_millis(800), "{took:?}");
    assert!(took < Duration::from_millis(1190), "{took:?}");
    // What cannot succeed fails at once.
    let start = Instant::now();
    create(second, 0).unwrap_err();
    assert!(start.elapsed() < Duration::from_millis(390));
}

/// What another user of the machine can do. Run by itself it has no host to look at.
#[test]
fn other_users_client() {
    if child_time().is_none() {
        return;
    }
    assert_eq!(entry::nvmlInit_v2(), OK);
    let device = gpu(0);
    assert_eq!(create(device, 19), Err(common::NO_PERMISSION));
    let mig = common::mig_device(device, 0).unwrap();
    assert!(ask(|out| entry::nvmlDeviceGetMemoryInfo(mig, out)).is_ok());
    let host = SimHost::open(Path::new(&std::env::var(sim_nvml::HOST_VARIABLE).unwrap())).unwrap();
    let error = host.begin_context(&CudaRequest::default()).unwrap_err();
    assert_eq!(error.code(), 100, "{error}");
    assert!(error.to_string().contains("nvidia-cap120"), "{error}");
}

#[test]
fn another_user_reads_but_cannot_open_a_closed_slice() {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::CommandExt as _;
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can start a program as another user");
        return;
    }
    let everybody = std::fs::Permissions::from_mode(0o755);
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), everybody.clone()).unwrap();
    let host = prepared(&dir.path().join("host"));
    sim_nvml_child(&host, dir.path(), everybody).uid(65534).gid(65534).status().map_or_else(
        |error| panic!("the other user cannot start the test program: {error}"),
        |status| assert!(status.success()),
    );
}

fn sim_nvml_child(host: &SimHost, dir: &Path, everybody: std::fs::Permissions) -> Command {
    use std::os::unix::fs::PermissionsExt;
    assert!(child("slicing_client", host, 1).wait().unwrap().success());
    let node = host.root().join("dev/nvidia-caps/nvidia-cap120");
    std::fs::set_permissions(&node, std::fs::Permissions::from_mode(0o400)).unwrap();
    let program = dir.join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    std::fs::set_permissions(&program, everybody).unwrap();
    let mut command = Command::new(program);
    command
        .args(["--exact", "other_users_client", "--nocapture"])
        .current_dir("/")
        .env(sim_nvml::HOST_VARIABLE, host.dir())
        .env(CHILD, "1")
        .stdout(Stdio::null());
    command
}

/// A client that makes one slice. Run by itself it has no host to work on.
#[test]
fn slicing_client() {
    if child_time().is_none() {
        return;
    }
    assert_eq!(entry::nvmlInit_v2(), OK);
    create_compute(create(gpu(0), 19).unwrap(), 0).unwrap();
    assert_eq!(entry::nvmlShutdown(), OK);
}
