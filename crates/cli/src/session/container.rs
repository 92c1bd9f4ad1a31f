//! Commands that are containers: marked with their lease, found again, and followed.
//!
//! Must never change what the user asked the engine to do, beyond marking the container.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api::{Client, ContainerRef};
use model::LeaseId;
use tokio::process::Command;

use crate::failure::{Exit, Failure};
use crate::session::environment::LEASE_KEY;

/// How often it is looked whether the container is there.
const LOOK: Duration = Duration::from_millis(100);
/// How long a container may take to begin: images are fetched first.
const PATIENCE: u32 = 36_000;
/// Variables that every container of a lease gets.
const VARIABLES: [&str; 4] =
    ["CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "MIGD_LEASE", LEASE_KEY];

/// A command of a container engine, marked.
#[derive(Debug)]
pub(crate) struct Marked {
    /// The engine (`docker`, `/usr/bin/podman`).
    engine: OsString,
    /// The command with the marks.
    pub(crate) command: Vec<OsString>,
    /// The file that the engine writes the container's id to.
    cidfile: PathBuf,
    /// Whether the container goes on when the command has ended.
    pub(crate) detached: bool,
    /// Keeps the folder of the file.
    _folder: Option<tempfile::TempDir>,
}

impl Marked {
    /// Marks `docker run …` or `podman run …`.
    ///
    /// # Errors
    /// [`Failure`] when the command is none of these.
    pub(crate) fn of(command: &[OsString]) -> Result<Self, Failure> {
        let wrong = || {
            Failure::usage("--container is for `docker run …` and `podman run …`")
                .hint("migctl run --container --profile 1g.10gb -- podman run IMAGE")
                .exit(Exit::Ours)
        };
        let engine = command.first().ok_or_else(wrong)?.clone();
        let name = Path::new(&engine).file_name().and_then(OsStr::to_str);
        let verb = command.iter().position(|word| word == "run").ok_or_else(wrong)?;
        if !matches!(name, Some("docker" | "podman" | "nerdctl")) {
            return Err(wrong());
        }
        let given = named_cidfile(&command[verb..]);
        let mut folder = None;
        let mut marks: Vec<OsString> = Vec::new();
        let cidfile = if let Some(path) = given {
            path
        } else {
            let made = tempfile::tempdir().map_err(|error| {
                Failure::caused("E-EXECUTE", "cannot make a folder for the container's id", &error)
                    .exit(Exit::Ours)
            })?;
            let path = made.path().join("cid");
            marks.extend(["--cidfile".into(), path.clone().into_os_string()]);
            folder = Some(made);
            path
        };
        for name in VARIABLES {
            marks.extend(["--env".into(), name.into()]);
        }
        let mut marked = command.to_vec();
        marked.splice(verb + 1..=verb, marks);
        let detached = is_detached(&command[verb..]);
        Ok(Self { engine, command: marked, cidfile, detached, _folder: folder })
    }

    /// Tells the daemon of the container once it runs; the answer says whether it knows.
    pub(crate) fn follow(&self, client: &Client, lease: LeaseId) -> Followed {
        let (engine, cidfile) = (self.engine.clone(), self.cidfile.clone());
        let (known, client) = (Arc::new(AtomicBool::new(false)), client.clone());
        let tell = Arc::clone(&known);
        let task = tokio::spawn(async move {
            for _ in 0..PATIENCE {
                tokio::time::sleep(LOOK).await;
                let Some(container) = started(&engine, &cidfile).await else { continue };
                match client.contain(lease, &container).await {
                    Ok(_) => {
                        tell.store(true, Ordering::Relaxed);
                        return None;
                    }
                    Err(error) => return Some(crate::failure::chain(&error)),
                }
            }
            None
        });
        Followed { known, task }
    }
}

/// The telling of a container.
#[derive(Debug)]
pub(crate) struct Followed {
    known: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Option<String>>,
}

impl Followed {
    /// Whether the daemon follows the container; the words say why it refused. A command that went
    /// to the background has only just started its container.
    pub(crate) async fn known(self, detached: bool) -> (bool, Option<String>) {
        let patience = if detached { Duration::from_secs(10) } else { Duration::ZERO };
        let mut task = self.task;
        let refused = tokio::time::timeout(patience, &mut task).await;
        task.abort();
        (self.known.load(Ordering::Relaxed), refused.ok().and_then(Result::ok).flatten())
    }
}

async fn started(engine: &OsStr, cidfile: &Path) -> Option<ContainerRef> {
    let id = std::fs::read_to_string(cidfile).ok()?;
    inspect(engine, id.trim()).await
}

/// A running container as its engine knows it.
async fn inspect(engine: &OsStr, id: &str) -> Option<ContainerRef> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if id.is_empty() || id.starts_with('-') || !id.chars().all(plain) {
        return None;
    }
    let output = Command::new(engine)
        .args(["inspect", "--format", "{{.Id}} {{.State.Pid}}", id])
        .stdin(std::process::Stdio::null())
        .output()
        .await
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (id, pid) = text.trim().split_once(' ')?;
    let pid = pid.parse().ok().filter(|pid| *pid > 0)?;
    Some(ContainerRef { id: Some(id.to_owned()), pid: Some(pid) })
}

/// A running container by its id or name, whichever engine runs it.
///
/// # Errors
/// [`Failure`] when no engine knows it.
pub(crate) async fn running(name: &str) -> Result<ContainerRef, Failure> {
    for engine in ["podman", "docker"] {
        if let Some(found) = inspect(OsStr::new(engine), name).await {
            return Ok(found);
        }
    }
    Err(Failure::new("E-NO-CONTAINER", format!("neither podman nor docker runs `{name}`"))
        .exit(Exit::Negative)
        .hint("`podman ps` and `docker ps` list what runs"))
}

fn named_cidfile(words: &[OsString]) -> Option<PathBuf> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        if text == "--cidfile" {
            return words.next().map(PathBuf::from);
        }
        if let Some(path) = text.strip_prefix("--cidfile=") {
            return Some(PathBuf::from(path));
        }
    }
    None
}

/// Whether `-d` or `--detach` stands among the options.
fn is_detached(words: &[OsString]) -> bool {
    words.iter().any(|word| {
        let text = word.to_string_lossy();
        let short = text.strip_prefix('-').is_some_and(|letters| {
            !letters.is_empty()
                && letters.len() <= 4
                && letters.bytes().all(|letter| matches!(letter, b'd' | b'i' | b't' | b'q' | b'P'))
                && letters.contains('d')
        });
        text == "--detach" || text == "--detach=true" || short
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn a_container_is_marked_where_the_engine_reads_options() {
        let marked =
            Marked::of(&words("/usr/bin/podman --log-level=debug run -d img run")).unwrap();
        let line: Vec<String> =
            marked.command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        assert_eq!(&line[..4], ["/usr/bin/podman", "--log-level=debug", "run", "--cidfile"]);
        assert_eq!(line[5..9].join(" "), "--env CUDA_VISIBLE_DEVICES --env NVIDIA_VISIBLE_DEVICES");
        assert_eq!(line[9..].join(" "), "--env MIGD_LEASE --env MIGD_LEASE_KEY -d img run");
        assert!(marked.detached);
    }

    #[test]
    fn the_users_own_cidfile_is_used() {
        for line in ["docker run --cidfile /tmp/x img", "docker run --cidfile=/tmp/x img"] {
            let marked = Marked::of(&words(line)).unwrap();
            assert_eq!(marked.cidfile, Path::new("/tmp/x"));
            assert!(!marked.detached);
            assert!(marked.command.iter().filter(|word| *word == "--cidfile").count() <= 1);
        }
    }

    #[test]
    fn other_commands_are_refused() {
        for line in ["python run", "docker ps", ""] {
            assert!(Marked::of(&words(line)).is_err(), "{line}");
        }
    }

    #[test]
    fn detaching_is_told_from_other_options() {
        for (line, detached) in [
            ("run -d x", true),
            ("run -itd x", true),
            ("run --detach x", true),
            ("run --device x", false),
            ("run -it x", false),
        ] {
            assert_eq!(is_detached(&words(line)), detached, "{line}");
        }
    }
}
