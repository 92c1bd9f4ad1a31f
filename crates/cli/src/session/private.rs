//! A private view: a mount namespace whose `/dev` has nothing of NVIDIA's but what one lease uses.
//!
//! Must never stay between a command and its lease: bubblewrap makes the namespace around a keeper
//! that does nothing, the command enters it and keeps its process id, and the keeper ends.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use api::LeaseView;
use host::HostRoot;
use host::nodes::{gpu_minors, gpu_node, slice_nodes};
use model::{ComputeInstanceId, GpuInstanceId, GpuMinor};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};
use sim_nvml::SimHost;

use crate::context::Machine;
use crate::{Context, Failure};

/// What every program may expect in `/dev`, beside its slice.
const BASE: [&str; 8] = ["null", "zero", "full", "random", "urandom", "tty", "shm", "pts"];
/// Links, with where they lead. The devpts that is bound has the terminal we were started on.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];
/// What the driver's users need beside the nodes of their GPUs.
const DRIVER: [&str; 2] = ["/dev/nvidiactl", "/dev/nvidia-uvm"];
/// What only profilers and debuggers need.
const TOOLS: &str = "/dev/nvidia-uvm-tools";
/// Says who it is and lives until its standard input is closed.
const KEEPER: &str = "echo $$; read -r _";

/// A view that is kept until a command has entered it.
#[derive(Debug)]
pub(crate) struct View {
    bubblewrap: Child,
    keeper: i32,
}

impl View {
    /// Whether a view can be made at all, before a slice is asked for it.
    ///
    /// # Errors
    /// [`Failure`] when bubblewrap is missing or refuses.
    pub(crate) fn check() -> Result<(), Failure> {
        let output = bubblewrap(&[])
            .args(["/bin/sh", "-c", ":"])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| missing(&error))?;
        if output.status.success() { Ok(()) } else { Err(refused(&output.stderr)) }
    }

    /// The view of the slices and whole GPUs of `lease`.
    ///
    /// # Errors
    /// [`Failure`] when a node is missing, or bubblewrap refuses.
    pub(crate) fn of(context: &Context, lease: &LeaseView) -> Result<Self, Failure> {
        let root = match context.machine()? {
            Machine::Real => HostRoot::real(),
            Machine::Simulated(host) => {
                let open = SimHost::open(&host.dir);
                let host = open.map_err(|error| nodes_failed(&crate::failure::chain(&error)))?;
                HostRoot::at(host.root())
            }
        };
        let nodes = nodes(&root, lease)?;
        let mut bubblewrap = bubblewrap(&nodes)
            .args(["/bin/sh", "-c", KEEPER])
            // Ctrl-C is for the command.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| missing(&error))?;
        let mut line = String::new();
        if let Some(stdout) = bubblewrap.stdout.take() {
            let _ = BufReader::new(stdout).read_line(&mut line);
        }
        if let Ok(keeper) = line.trim().parse() {
            return Ok(Self { bubblewrap, keeper });
        }
        let mut said = Vec::new();
        if let Some(mut stderr) = bubblewrap.stderr.take() {
            let _ = stderr.read_to_end(&mut said);
        }
        let _ = bubblewrap.wait();
        Err(refused(&said))
    }

    /// The process inside, for [`enter`].
    pub(crate) const fn keeper(&self) -> i32 {
        self.keeper
    }
}

impl Drop for View {
    /// The namespace lives on with those who entered it.
    fn drop(&mut self) {
        drop(self.bubblewrap.stdin.take());
        let _ = self.bubblewrap.kill();
        let _ = self.bubblewrap.wait();
    }
}

/// Moves this process, which must have a single thread, into the view that `keeper` keeps; its
/// working directory stays. What it becomes next has the rights it had before.
///
/// # Errors
/// [`Failure`] when the kernel refuses.
pub(crate) fn enter(keeper: i32) -> Result<(), Failure> {
    let failed = |what: &str, error: std::io::Error| {
        Failure::caused(
            "E-PRIVATE-REFUSED",
            &format!("cannot enter the private view: {what}"),
            &error,
        )
        .hint("leave out --private, or ask the administrator to allow user namespaces")
        .under_run()
    };
    let folder = std::env::current_dir().map_err(|error| failed("no working directory", error))?;
    let gone = || std::io::Error::from(rustix::io::Errno::SRCH);
    let pid = Pid::from_raw(keeper).ok_or_else(|| failed("its keeper", gone()))?;
    let keeper_fd =
        pidfd_open(pid, PidfdFlags::empty()).map_err(|error| failed("its keeper", error.into()))?;
    let mut kinds = ThreadNameSpaceType::MOUNT;
    let user = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/user"));
    let theirs = user(&keeper.to_string()).map_err(|error| failed("its keeper", error))?;
    // Root's has none of its own, and one's own cannot be entered.
    if user("self").map_err(|error| failed("/proc", error))? != theirs {
        kinds |= ThreadNameSpaceType::USER;
    }
    move_into_thread_name_spaces(keeper_fd.as_fd(), kinds)
        .map_err(|error| failed("setns", error.into()))?;
    std::env::set_current_dir(&folder).map_err(|error| failed(&folder.display().to_string(), error))
}

/// Becomes the second half of `held`: with the rights of an ordinary program again.
pub(crate) fn reenter(parent: i32, command: &[std::ffi::OsString]) -> Result<ExitCode, Failure> {
    let error = Command::new("/proc/self/exe")
        .arg0("migctl")
        .args(["--color", "never", "held", "--parent", &parent.to_string(), "--"])
        .args(command)
        .exec();
    Err(Failure::caused("E-HOLD", "cannot hold the command", &error).under_run())
}

/// Where a node is, and where the view shows it.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    from: PathBuf,
    at: PathBuf,
}

/// bubblewrap with a `/dev` of these nodes; what it runs is to follow.
fn bubblewrap(nodes: &[Shown]) -> Command {
    let mut command = Command::new("bwrap");
    command.args(["--die-with-parent", "--dev-bind", "/", "/", "--tmpfs", "/dev"]);
    for name in BASE {
        let path = Path::new("/dev").join(name);
        command.arg("--dev-bind-try").arg(&path).arg(&path);
    }
    for (name, to) in LINKS {
        command.args(["--symlink", to]).arg(Path::new("/dev").join(name));
    }
    for Shown { from, at } in nodes {
        command.arg("--dev-bind").arg(from).arg(at);
    }
    command.args(["--remount-ro", "/dev", "--"]);
    command
}

/// The nodes of a lease, each of which must be there.
fn nodes(root: &HostRoot, lease: &LeaseView) -> Result<Vec<Shown>, Failure> {
    let minors = gpu_minors(root).map_err(|error| nodes_failed(&crate::failure::chain(&error)))?;
    let minor_of = |uuid: &str| -> Result<GpuMinor, Failure> {
        minors.get(uuid).copied().ok_or_else(|| {
            nodes_failed(&format!("/proc/driver/nvidia/gpus does not name the GPU {uuid}"))
        })
    };
    let real = HostRoot::real();
    let mut shown: Vec<Shown> = Vec::new();
    let mut show = |from: PathBuf, at: PathBuf| {
        let node = Shown { from, at };
        if !shown.contains(&node) {
            shown.push(node);
        }
    };
    for path in DRIVER {
        show(root.resolve(path), PathBuf::from(path));
    }
    if root.resolve(TOOLS).exists() {
        show(root.resolve(TOOLS), PathBuf::from(TOOLS));
    }
    for slice in &lease.slices {
        let minor = minor_of(slice.gpu_uuid.as_str())?;
        show(gpu_node(root, minor), gpu_node(&real, minor));
        let instance = GpuInstanceId::new(slice.gpu_instance);
        let compute = ComputeInstanceId::new(slice.compute_instance);
        let from = slice_nodes(root, minor, instance, compute);
        let at = slice_nodes(&real, minor, instance, compute);
        from.into_iter().zip(at).for_each(|(from, at)| show(from, at));
    }
    for gpu in &lease.whole_gpus {
        let minor = minor_of(gpu.uuid.as_str())?;
        show(gpu_node(root, minor), gpu_node(&real, minor));
    }
    if let Some(absent) = shown.iter().find(|node| !node.from.exists()) {
        return Err(nodes_failed(&format!("there is no {}", absent.from.display())));
    }
    Ok(shown)
}

fn nodes_failed(why: &str) -> Failure {
    Failure::new("E-PRIVATE-NODES", format!("cannot make a private view: {why}")).hint(
        "`nvidia-modprobe -u -c 0` makes the driver's nodes; without --private the command needs \
         no view",
    )
}

fn missing(error: &std::io::Error) -> Failure {
    Failure::caused("E-PRIVATE-NO-BWRAP", "--private needs bubblewrap: cannot run bwrap", error)
        .hint("install it (`apt install bubblewrap`, `dnf install bubblewrap`), or leave out --private")
}

fn refused(said: &[u8]) -> Failure {
    let said = String::from_utf8_lossy(said);
    let said = said.lines().map(str::trim).find(|line| !line.is_empty());
    let why = crate::draw::text::clean(said.unwrap_or("bwrap ended without a word"));
    Failure::new("E-PRIVATE-REFUSED", format!("cannot make a private view: {why}")).hint(
        "users need the right to make user namespaces: `sysctl kernel.unprivileged_userns_clone=1`, \
         `user.max_user_namespaces`, or AppArmor's rule for bwrap; or leave out --private",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_the_nodes_of_a_lease_is_told_what_it_lacks() {
        let folder = tempfile::tempdir().unwrap();
        let root = HostRoot::at(folder.path());
        let lease = crate::session::summary::tests::lease();
        let failure = nodes(&root, &lease).unwrap_err();
        assert_eq!(failure.code, "E-PRIVATE-NODES");
        assert!(failure.message.contains(lease.slices[0].gpu_uuid.as_str()), "{failure}");
        let information = folder.path().join("proc/driver/nvidia/gpus/0000:07:00.0/information");
        std::fs::create_dir_all(information.parent().unwrap()).unwrap();
        let gpus: Vec<_> = lease.slices.iter().map(|slice| slice.gpu_uuid.as_str()).collect();
        let text = format!("GPU UUID: \t {}\nDevice Minor: \t 5\n", gpus[0]);
        std::fs::write(information, text).unwrap();
        let mut one = lease.clone();
        one.slices.truncate(1);
        let failure = nodes(&root, &one).unwrap_err();
        assert!(failure.message.contains("dev/nvidiactl"), "{failure}");
        let dev = folder.path().join("dev");
        std::fs::create_dir_all(dev.join("nvidia-caps")).unwrap();
        let gi = 3 + 135 * 5 + 9 * one.slices[0].gpu_instance;
        let ci = gi + 1 + one.slices[0].compute_instance;
        let caps = [gi, ci].map(|minor| format!("nvidia-caps/nvidia-cap{minor}"));
        for name in ["nvidiactl", "nvidia-uvm", "nvidia5", &caps[0], &caps[1]] {
            std::fs::write(dev.join(name), "").unwrap();
        }
        let shown: Vec<_> = nodes(&root, &one).unwrap().into_iter().map(|node| node.at).collect();
        let names = ["nvidiactl", "nvidia-uvm", "nvidia5", &caps[0], &caps[1]];
        assert_eq!(shown, names.map(|name| Path::new("/dev").join(name)));
    }

    #[test]
    fn a_refusal_says_what_bubblewrap_said() {
        let failure = refused(b"\nbwrap: No permissions to create new namespace\n").under_run();
        assert_eq!((failure.exit.code(), failure.code.as_str()), (125, "E-PRIVATE-REFUSED"));
        assert!(failure.message.contains("No permissions to create"), "{failure}");
        assert_eq!(missing(&rustix::io::Errno::NOENT.into()).code, "E-PRIVATE-NO-BWRAP");
    }
}
