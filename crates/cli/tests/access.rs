//! Who may open a slice: several users of one simulated machine, some of whom ignore migd.
//!
//! A simulated node is a regular file, so the rights of real users apply to it; that takes root.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where a step fails")]

mod server;
mod simulated;

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use server::{Server, kill, runs, wait_for};
use simulated::{Lab, Workload, skip, told};

/// Two users without names.
const ANN: u32 = 20_001;
const BOB: u32 = 20_002;

/// Whether the test may run: it needs several users.
fn has_users(test: &str) -> bool {
    if !rustix::process::geteuid().is_root() {
        skip(test, "to act as several users takes root");
        return false;
    }
    let tried = Command::new("setpriv").arg("--version").output();
    if tried.is_err() {
        skip(test, "there is no setpriv (util-linux)");
        return false;
    }
    true
}

/// A machine that every user may use, with a daemon of this kind.
fn server(kind: &'static str, enforce: &str) -> Server {
    let server = Server { lab: Lab::shared(kind) };
    server.start_daemon(&["--enforce", enforce]);
    wait_for("the GPUs to be ready", || {
        let ready = |gpu: &Value| gpu["mig"] == "enabled" && gpu["maintenance"] == false;
        server.status()["gpus"].as_array()?.iter().all(ready).then_some(())
    });
    server
}

/// `migctl ARGS` as this user.
fn migctl_as(server: &Server, uid: u32, args: &[&str]) -> Command {
    as_user(uid, &server.lab.command(args))
}

/// The same command as this user.
fn as_user(uid: u32, command: &Command) -> Command {
    let mut user = Command::new("setpriv");
    let uid = uid.to_string();
    user.args(["--reuid", &uid, "--regid", &uid, "--clear-groups", "--"]);
    user.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => user.env(name, value),
            None => user.env_remove(name),
        };
    }
    user
}

fn start(mut command: Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Starts `migctl run --name NAME` of this user with this command, and waits until it is active.
fn run_as(server: &Server, uid: u32, name: &str, command: &[&str]) -> (Child, Value) {
    let wish = ["run", "--profile", "1g.6gb", "--name", name, "--"];
    let child = start(migctl_as(server, uid, &[&wish, command].concat()));
    let lease = server.until(name, "active");
    (child, lease)
}

fn uuid(lease: &Value) -> String {
    lease["slices"][0]["uuid"].as_str().unwrap().to_owned()
}

/// A workload of this user that ignores migd and computes where it likes.
fn workload_as(server: &Server, uid: u32, uuid: &str) -> Output {
    let args = ["sim", "workload", "--time", "10ms", "--on", uuid];
    migctl_as(server, uid, &args).output().unwrap()
}

/// The nodes of the first slice of a lease.
fn nodes(server: &Server, lease: &Value) -> Vec<PathBuf> {
    let slice = &lease["slices"][0];
    let number = |name: &str| slice[name].as_u64().unwrap();
    // By the kernel's formula; the minor of a simulated GPU is its index.
    let instance = 3 + 135 * number("gpu_index") + 9 * number("gpu_instance");
    let compute = instance + 1 + number("compute_instance");
    let dev = server.lab.machine_dir().join("root/dev/nvidia-caps");
    [instance, compute].map(|minor| dev.join(format!("nvidia-cap{minor}"))).to_vec()
}

/// Owner and permissions of each node.
fn rights(nodes: &[PathBuf]) -> Vec<(u32, u32)> {
    let of = |path: &PathBuf| {
        let found = std::fs::metadata(path).unwrap();
        (found.uid(), found.mode() & 0o7777)
    };
    nodes.iter().map(of).collect()
}

#[test]
fn a_slice_opens_for_the_user_of_its_lease_alone_and_is_closed_while_warm() {
    if !has_users("a_slice_opens_for_the_user_of_its_lease_alone_and_is_closed_while_warm") {
        return;
    }
    let server = server("a30:1", "on");
    let (ann, lease) = run_as(&server, ANN, "ann", &["sleep", "600"]);
    let (nodes, uuid) = (nodes(&server, &lease), uuid(&lease));
    assert_eq!(rights(&nodes), [(ANN, 0o400); 2]);
    let own = workload_as(&server, ANN, &uuid);
    assert!(own.status.success(), "{}", told(&own));
    let refused = workload_as(&server, BOB, &uuid);
    assert_eq!(refused.status.code(), Some(1), "{}", told(&refused));
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(words.contains("CUDA error 100") && words.contains("cannot open"), "{words}");
    // The lease ends; the slice stays, warm, and opens for nobody.
    kill("TERM", server.command_of("ann"));
    ann.wait_with_output().unwrap();
    server.until_empty();
    assert_eq!(server.status()["gpus"][0]["instances"][0]["used"], "warm");
    assert_eq!(rights(&nodes), [(0, 0); 2]);
    for uid in [ANN, BOB] {
        let refused = workload_as(&server, uid, &uuid);
        assert_eq!(refused.status.code(), Some(1), "{}", told(&refused));
    }
    // The next user gets the same slice.
    let (bob, lease) = run_as(&server, BOB, "bob", &["sleep", "600"]);
    assert_eq!(rights(&nodes), [(BOB, 0o400); 2], "{lease}");
    assert!(!workload_as(&server, ANN, &uuid).status.success());
    assert!(workload_as(&server, BOB, &uuid).status.success());
    kill("KILL", server.command_of("bob"));
    bob.wait_with_output().unwrap();
    server.until_empty();
}

/// A child that left session and process group keeps the lease charged, and nobody gets the slice
/// before it is gone.
#[test]
fn a_child_in_a_session_of_its_own_keeps_its_slice_from_the_next_user() {
    if !has_users("a_child_in_a_session_of_its_own_keeps_its_slice_from_the_next_user") {
        return;
    }
    let server = server("a30:1", "on");
    let fill = hold_the_rest(&server);
    let file = tempfile::tempdir().unwrap();
    open_to_all(file.path());
    let pid = file.path().join("pid");
    let script = format!(
        "setsid sh -c 'echo $$ > {}; exec 9<$0; exec sleep 600' $NODE >/dev/null 2>&1 &",
        pid.display()
    );
    let script = format!("{FIND_NODE} {script} exec sleep 600");
    let (ann, lease) = run_as(&server, ANN, "ann", &["sh", "-c", &script]);
    let nodes = nodes(&server, &lease);
    let stray: u32 =
        wait_for("the child", || std::fs::read_to_string(&pid).ok()?.trim().parse().ok());
    wait_for("the child to have the node open", || has_open(stray, &nodes[1]).then_some(()));
    kill("TERM", server.command_of("ann"));
    ann.wait_with_output().unwrap();
    let held = wait_for("the child to be named", || {
        let held = server.lease("ann")?["held_by"].as_array()?.first()?.as_str()?.to_owned();
        Some(held)
    });
    assert!(held.contains(&format!("pid {stray} ")), "{held}");
    assert_eq!(rights(&nodes), [(0, 0); 2], "closed while it is looked for holders");
    let bob = start(migctl_as(
        &server,
        BOB,
        &["run", "--profile", "1g.6gb", "--name", "bob", "--", "true"],
    ));
    server.until("bob", "queued");
    assert_eq!(server.lease("ann").unwrap()["state"], "ending");
    assert!(runs(stray));
    kill("KILL", stray);
    let output = bob.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    drop(fill);
}

/// Finds the node of the compute instance by the UUID, as a program that ignores migd would.
const FIND_NODE: &str = "NODE=$(ls $MIGD_SIM_HOST/root/dev/nvidia-caps/* | while read n; do \
     [ $(stat -c %u $n) = $(id -u) ] && echo $n; done | sort -V | tail -n1); export NODE;";

fn open_to_all(folder: &std::path::Path) {
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).unwrap();
}

/// Whether a process has a file open.
fn has_open(pid: u32, file: &std::path::Path) -> bool {
    let Ok(all) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    all.flatten().any(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to == file))
}

/// Leases of root's on three of the four slices of an A30.
fn hold_the_rest(server: &Server) -> Vec<String> {
    let hold = |name: &str| {
        server.lab.ok(&["lease", "--profile", "1g.6gb", "--name", name]);
        name.to_owned()
    };
    ["rest-1", "rest-2", "rest-3"].map(hold).to_vec()
}

/// Somebody kept the node of an instance open that an administrator made and took away. The driver
/// gives the same minor to the next instance there, and the descriptor would open it.
#[test]
fn an_old_open_descriptor_keeps_a_new_slice_from_others() {
    if !has_users("an_old_open_descriptor_keeps_a_new_slice_from_others") {
        return;
    }
    let server = Server { lab: Lab::shared("a30:1") };
    let path = server.lab.state_dir().join("migd.toml");
    // What somebody else holds is no failure of a request, however few it may have.
    std::fs::write(&path, "[access]\nenforce = \"on\"\n[requests]\nmax_failures = 1\n").unwrap();
    server.start_daemon(&["--config", path.to_str().unwrap()]);
    wait_for("MIG", || (server.status()["gpus"][0]["mig"] == "enabled").then_some(()));
    hold_the_rest(&server);
    // The last place: made and taken away by hand, as with nvidia-smi.
    let foreign = server.lab.slice(0, "1g.6gb");
    let node = wait_for("the node", || {
        let all = std::fs::read_dir(server.lab.machine_dir().join("root/dev/nvidia-caps")).ok()?;
        let stock = |path: &PathBuf| {
            let minor: u32 = path.to_str()?.rsplit_once("nvidia-cap")?.1.parse().ok()?;
            let mode = std::fs::metadata(path).ok()?.mode() & 0o777;
            (minor > 2 && (minor - 3) % 9 == 1 && mode == 0o444).then_some(())
        };
        all.flatten().map(|entry| entry.path()).find(|path| stock(path).is_some())
    });
    let holding = format!("exec 9<{}; exec sleep 600", node.display());
    let mut mallory = start(as_user(ANN, Command::new("sh").args(["-c", &holding])));
    wait_for("the node to be open", || has_open(mallory.id(), &node).then_some(()));
    server.lab.destroy(&foreign);
    let bob = start(migctl_as(
        &server,
        BOB,
        &["run", "--profile", "1g.6gb", "--name", "bob", "--", "sleep", "600"],
    ));
    let why = wait_for("the grant to be refused", || {
        let why = server.lease("bob")?["waits_for"].as_str()?.to_owned();
        why.contains("open from before").then_some(why)
    });
    assert!(why.contains(&format!("pid {} ", mallory.id())), "{why}");
    let lease = server.until("bob", "queued");
    assert_eq!(lease["slices"].as_array().unwrap().len(), 0);
    assert_eq!(lease["last_failure"], Value::Null);
    let told = server.lab.ok(&["why", "bob"]);
    assert!(told.contains(&format!("pid {}", mallory.id())), "{told}");
    assert!(!told.contains("at the latest"), "nobody knows when a stranger leaves: {told}");
    // Room elsewhere is taken, whoever sits there.
    server.lab.ok(&["release", "rest-1"]);
    let elsewhere = server.until("bob", "active");
    assert_ne!(nodes(&server, &elsewhere)[1], node);
    let next = start(migctl_as(
        &server,
        BOB,
        &["run", "--profile", "1g.6gb", "--name", "next", "--", "sleep", "600"],
    ));
    server.until("next", "queued");
    assert_eq!(rights(std::slice::from_ref(&node))[0], (0, 0));
    mallory.kill().unwrap();
    mallory.wait().unwrap();
    let lease = server.until("next", "active");
    assert_eq!(nodes(&server, &lease)[1], node);
    assert_eq!(rights(&nodes(&server, &lease)), [(BOB, 0o400); 2]);
    for name in ["bob", "next"] {
        kill("KILL", server.command_of(name));
    }
    bob.wait_with_output().unwrap();
    next.wait_with_output().unwrap();
}

#[test]
fn observing_changes_nothing_and_names_who_would_be_refused() {
    if !has_users("observing_changes_nothing_and_names_who_would_be_refused") {
        return;
    }
    let server = server("a30:1", "observe");
    let (ann, lease) = run_as(&server, ANN, "ann", &["sleep", "600"]);
    let (nodes, uuid) = (nodes(&server, &lease), uuid(&lease));
    assert_eq!(rights(&nodes), [(0, 0o444); 2], "as the driver's tools make them");
    let own = migctl_as(&server, ANN, &["sim", "workload", "--time", "600s", "--on", &uuid]);
    let own = Workload::start(own);
    let bob = migctl_as(&server, BOB, &["sim", "workload", "--time", "600s", "--on", &uuid]);
    let bob = Workload::start(bob);
    let warning = wait_for("the intruder to be named", || {
        let warnings = server.status()["warnings"].clone();
        let all: Vec<String> =
            warnings.as_array()?.iter().map(|text| text.as_str().unwrap().to_owned()).collect();
        assert!(all.iter().all(|text| !text.contains(&format!("pid {} ", own.pid()))), "{all:?}");
        all.into_iter().find(|text| text.contains(&format!("pid {} ", bob.pid())))
    });
    assert!(warning.contains("user 20002") && warning.contains("of user 20001"), "{warning}");
    drop(bob);
    wait_for("the warning to go", || {
        server.status()["warnings"].as_array().unwrap().is_empty().then_some(())
    });
    // Changing to `on` closes what is there; changing back gives it back.
    drop(own);
    server.kill_daemon();
    server.start_daemon(&["--enforce", "on"]);
    wait_for("the slice to be Ann's", || (rights(&nodes) == [(ANN, 0o400); 2]).then_some(()));
    assert!(!workload_as(&server, BOB, &uuid).status.success());
    server.kill_daemon();
    server.start_daemon(&["--enforce", "observe"]);
    wait_for("the slice to be as before", || (rights(&nodes) == [(0, 0o444); 2]).then_some(()));
    kill("KILL", server.command_of("ann"));
    ann.wait_with_output().unwrap();
}

/// The file says another word and the daemon is told by SIGHUP: what is there follows at once, and
/// what comes after is handed over by the new word.
#[test]
fn a_change_of_the_mode_in_the_file_takes_effect_at_sighup() {
    if !has_users("a_change_of_the_mode_in_the_file_takes_effect_at_sighup") {
        return;
    }
    let server = Server { lab: Lab::shared("a30:1") };
    let path = server.lab.state_dir().join("migd.toml");
    let say = |mode: &str| {
        std::fs::write(&path, format!("[access]\nenforce = \"{mode}\"\n")).unwrap();
    };
    let change_to = |mode: &str| {
        say(mode);
        kill("HUP", server.daemon().unwrap());
        wait_for("the mode", || {
            (server.lab.json(&["access", "show"])["enforce"] == mode).then_some(())
        });
    };
    say("off");
    server.start_daemon(&["--config", path.to_str().unwrap()]);
    wait_for("MIG", || (server.status()["gpus"][0]["mig"] == "enabled").then_some(()));
    let (ann, lease) = run_as(&server, ANN, "ann", &["sleep", "600"]);
    let (of_ann, uuid) = (nodes(&server, &lease), uuid(&lease));
    assert_eq!(rights(&of_ann), [(0, 0o444); 2]);
    assert!(workload_as(&server, BOB, &uuid).status.success());
    change_to("on");
    wait_for("the slice to be Ann's", || (rights(&of_ann) == [(ANN, 0o400); 2]).then_some(()));
    assert!(!workload_as(&server, BOB, &uuid).status.success());
    let (bob, lease) = run_as(&server, BOB, "bob", &["sleep", "600"]);
    let of_bob = nodes(&server, &lease);
    assert_eq!(rights(&of_bob), [(BOB, 0o400); 2], "handed over by the new rule");
    change_to("observe");
    wait_for("the slices to be everybody's", || {
        (rights(&[of_ann.clone(), of_bob.clone()].concat()) == [(0, 0o444); 4]).then_some(())
    });
    let intruder = migctl_as(&server, BOB, &["sim", "workload", "--time", "600s", "--on", &uuid]);
    let intruder = Workload::start(intruder);
    let named = |text: &str| server.status()["warnings"].to_string().contains(text);
    let pid = format!("pid {} ", intruder.pid());
    wait_for("the intruder to be named", || named(&pid).then_some(()));
    change_to("on");
    wait_for("the slice to be Ann's", || (rights(&of_ann) == [(ANN, 0o400); 2]).then_some(()));
    change_to("off");
    wait_for("the slices to be everybody's", || {
        (rights(&[of_ann.clone(), of_bob.clone()].concat()) == [(0, 0o444); 4]).then_some(())
    });
    wait_for("nobody to be named", || (!named(&pid)).then_some(()));
    assert!(intruder.pid() > 0 && workload_as(&server, BOB, &uuid).status.success());
    // A word that is none changes nothing.
    say("perhaps");
    kill("HUP", server.daemon().unwrap());
    wait_for("the mistake to be told", || named("stays in force").then_some(()));
    assert_eq!(server.lab.json(&["access", "show"])["enforce"], "off");
    for name in ["ann", "bob"] {
        kill("KILL", server.command_of(name));
    }
    ann.wait_with_output().unwrap();
    bob.wait_with_output().unwrap();
}

/// Whoever changes a node by hand finds it mended; a daemon that was away mends what it missed.
#[test]
fn nodes_are_brought_back_and_survive_kill_9() {
    if !has_users("nodes_are_brought_back_and_survive_kill_9") {
        return;
    }
    let server = server("a30:1", "on");
    let (ann, lease) = run_as(&server, ANN, "ann", &["sleep", "600"]);
    let nodes = nodes(&server, &lease);
    let open = |path: &PathBuf| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o444)).unwrap();
    };
    nodes.iter().for_each(open);
    wait_for("it to be mended", || (rights(&nodes) == [(ANN, 0o400); 2]).then_some(()));
    server.kill_daemon();
    nodes.iter().for_each(open);
    kill("KILL", ann.id());
    server.start_daemon(&["--enforce", "on"]);
    server.until_empty();
    wait_for("the warm slice to be closed", || (rights(&nodes) == [(0, 0); 2]).then_some(()));
}

/// Two commands of one user. Simulated nodes are regular files, which no device filter knows; so the
/// numbers are tried on nodes made for the test: what may be opened has no driver, what may not is
/// forbidden.
#[test]
fn commands_of_one_user_are_kept_apart_where_the_machine_can() {
    let name = "commands_of_one_user_are_kept_apart_where_the_machine_can";
    if !has_users(name) {
        return;
    }
    let server = server("a30:1", "on");
    let filter = server.lab.json(&["access", "show"])["filter"].as_str().unwrap().to_owned();
    let folder = tempfile::tempdir().unwrap();
    let made = |minor: u64| {
        let path = folder.path().join(minor.to_string());
        let minor = minor.to_string();
        let mknod = Command::new("mknod").arg(&path).args(["c", "240", &minor]).status();
        mknod.is_ok_and(|status| status.success()).then_some(path)
    };
    if !filter.contains("by a device filter") || made(1).is_none() {
        // Not a fault of the machine that CI runs on, so no failure there either.
        assert!(filter.contains("processes of one user are not") || made(2).is_none(), "{filter}");
        return;
    }
    open_to_all(folder.path());
    let go = folder.path().join("go");
    let script = format!(
        "while [ ! -e {go} ]; do sleep 0.05; done; for n in 12 13 21 22; do \
         (exec 9<{dir}/$n) 2>{dir}/error-$n; setsid sh -c 'exec 9<$0' {dir}/$n 2>{dir}/stray-$n; \
         done; touch {dir}/done-$MIGD_LEASE; exec sleep 600",
        go = go.display(),
        dir = folder.path().display()
    );
    let (ann, lease) = run_as(&server, ANN, "one", &["sh", "-c", &script]);
    let (other, neighbour) = run_as(&server, ANN, "two", &["sleep", "600"]);
    let minors = |lease: &Value| {
        let all = nodes(&server, lease);
        let of = |path: &PathBuf| path.to_str().unwrap().rsplit_once("cap").unwrap().1.to_owned();
        all.iter().map(of).collect::<Vec<String>>()
    };
    for minor in minors(&lease).into_iter().chain(minors(&neighbour)) {
        let path = made(minor.parse().unwrap()).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o444)).unwrap();
    }
    // The script does not know its numbers: it is told by the names of the nodes.
    let names = minors(&lease).into_iter().chain(minors(&neighbour)).collect::<Vec<_>>();
    assert_eq!(names.len(), 4);
    for (from, to) in names.iter().zip(["12", "13", "21", "22"]) {
        if from != to {
            let _ = std::fs::remove_file(folder.path().join(to));
            std::fs::hard_link(folder.path().join(from), folder.path().join(to)).unwrap();
        }
    }
    std::fs::write(&go, "").unwrap();
    let id = lease["id"].as_str().unwrap();
    wait_for("the tries", || folder.path().join(format!("done-{id}")).exists().then_some(()));
    for kind in ["error", "stray"] {
        let said = |number: &str| {
            std::fs::read_to_string(folder.path().join(format!("{kind}-{number}"))).unwrap()
        };
        for own in ["12", "13"] {
            assert!(said(own).contains("No such device"), "{kind} {own}: {}", said(own));
        }
        for others in ["21", "22"] {
            assert!(said(others).contains("not permitted"), "{kind} {others}: {}", said(others));
        }
    }
    for name in ["one", "two"] {
        kill("KILL", server.command_of(name));
    }
    ann.wait_with_output().unwrap();
    other.wait_with_output().unwrap();
    server.until_empty();
}

/// The break-glass, with and without a daemon, and the way back.
#[test]
fn an_administrator_gives_everybody_access_and_takes_it_back() {
    if !has_users("an_administrator_gives_everybody_access_and_takes_it_back") {
        return;
    }
    let server = server("a30:1", "on");
    let (ann, lease) = run_as(&server, ANN, "ann", &["sleep", "600"]);
    let (nodes, uuid) = (nodes(&server, &lease), uuid(&lease));
    let refused = migctl_as(&server, BOB, &["access", "stock", "--all"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(4), "{}", told(&refused));
    server.lab.ok(&["access", "stock", "--gpu", "0"]);
    assert_eq!(rights(&nodes), [(0, 0o444); 2]);
    assert!(workload_as(&server, BOB, &uuid).status.success());
    let warnings = server.status()["warnings"].to_string();
    assert!(warnings.contains("everybody may open the slices of GPU 0"), "{warnings}");
    // The next daemon keeps to it.
    server.kill_daemon();
    server.start_daemon(&["--enforce", "on"]);
    let view = server.lab.json(&["access", "show"]);
    assert_eq!((&view["enforce"], &view["stock_gpus"]), (&"on".into(), &serde_json::json!([0])));
    assert_eq!(rights(&nodes), [(0, 0o444); 2]);
    server.lab.ok(&["access", "enforce"]);
    assert_eq!(rights(&nodes), [(ANN, 0o400); 2]);
    assert!(!workload_as(&server, BOB, &uuid).status.success());
    let shown = server.lab.ok(&["access", "show"]);
    assert!(shown.contains("open for 20001") && shown.contains("0400"), "{shown}");
    // Without a daemon: the last step of an uninstallation.
    server.kill_daemon();
    kill("KILL", ann.id());
    server.lab.ok(&["access", "stock", "--all"]);
    assert_eq!(rights(&nodes), [(0, 0o444); 2]);
}

/// All of a GPU: its node is its holder's alone, closes behind it, and is everybody's while there are
/// slices.
#[test]
fn a_whole_gpu_opens_for_its_holder_alone_and_is_closed_while_nobody_has_it() {
    if !has_users("a_whole_gpu_opens_for_its_holder_alone_and_is_closed_while_nobody_has_it") {
        return;
    }
    let server = Server { lab: Lab::shared("a30:1") };
    let path = server.lab.state_dir().join("migd.toml");
    let text = "[access]\nenforce = \"on\"\n[repartition]\nhysteresis = \"0s\"\n";
    std::fs::write(&path, text).unwrap();
    server.start_daemon(&["--config", path.to_str().unwrap()]);
    let node = [server.lab.machine_dir().join("root/dev/nvidia0")];
    wait_for("MIG", || (server.status()["gpus"][0]["mig"] == "enabled").then_some(()));
    wait_for("the node to be for slices", || (rights(&node) == [(0, 0o666)]).then_some(()));
    let whole = |uid: u32, name: &str, command: &str| {
        let args = ["run", "--whole-gpu", "--name", name, "--", "sh", "-c", command];
        start(migctl_as(&server, uid, &args))
    };
    // A child of Ann's that nothing ends keeps the node open.
    let file = tempfile::tempdir().unwrap();
    open_to_all(file.path());
    let pid = file.path().join("pid");
    let script = format!(
        "env -u MIGD_LEASE -u MIGD_LEASE_KEY setsid sh -c 'echo $$ > {}; exec 9<{}; exec sleep 600' \
         >/dev/null 2>&1 & exec sleep 600",
        pid.display(),
        node[0].display()
    );
    let ann = whole(ANN, "ann", &script);
    let lease = server.until("ann", "active");
    assert_eq!(rights(&node), [(ANN, 0o600)]);
    let uuid = lease["whole_gpus"][0]["uuid"].as_str().unwrap().to_owned();
    let refused = workload_as(&server, BOB, &uuid);
    assert_eq!(refused.status.code(), Some(1), "{}", told(&refused));
    let own = workload_as(&server, ANN, &uuid);
    assert!(own.status.success(), "{}", told(&own));
    let stray: u32 =
        wait_for("the child", || std::fs::read_to_string(&pid).ok()?.trim().parse().ok());
    wait_for("the child to have the node open", || has_open(stray, &node[0]).then_some(()));
    kill("TERM", server.command_of("ann"));
    ann.wait_with_output().unwrap();
    wait_for("the node to be closed", || (rights(&node) == [(0, 0)]).then_some(()));
    let bob = whole(BOB, "bob", "exec sleep 600");
    server.until("bob", "queued");
    assert_eq!(rights(&node), [(0, 0)]);
    if runs(stray) {
        kill("KILL", stray);
    }
    server.until("bob", "active");
    assert_eq!(rights(&node), [(BOB, 0o600)]);
    assert!(!workload_as(&server, ANN, &uuid).status.success());
    kill("KILL", server.command_of("bob"));
    bob.wait_with_output().unwrap();
    server.until_empty();
    wait_for("the node to be closed", || (rights(&node) == [(0, 0)]).then_some(()));
    // Cut again for somebody who wants a slice: its node is everybody's, its slice is not.
    let (ann, lease) = run_as(&server, ANN, "slice", &["sleep", "600"]);
    assert_eq!(
        (rights(&node), rights(&nodes(&server, &lease))[1]),
        (vec![(0, 0o666)], (ANN, 0o400))
    );
    kill("KILL", server.command_of("slice"));
    ann.wait_with_output().unwrap();
    server.until_empty();
    // The way out, with nobody there.
    let mut bob = whole(BOB, "again", "exec sleep 600");
    let command = server.command_of("again");
    server.kill_daemon();
    kill("KILL", bob.id());
    kill("KILL", command);
    bob.wait().unwrap();
    assert_eq!(rights(&node), [(BOB, 0o600)]);
    server.lab.ok(&["access", "stock", "--all"]);
    assert_eq!(rights(&node), [(0, 0o666)]);
}
