//! Finding the daemon of a machine, or saying why there is none.
//!
//! Must never start one: that is [`crate::autostart`]'s part, and only for verbs that may.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use api::{API_VERSION, Client, ClientError, VersionView};
use daemon::GpuSource;
use driver::TRUSTED_PATHS;
use tokio::runtime::{Builder, Runtime};

use crate::context::Machine;
use crate::failure::{Exit, Failure};
use crate::{Context, SimulatedHost};

/// The version of this executable, and of the daemon in it.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How long the daemon may take to say who it is until the user is told what is waited for.
const SILENCE: Duration = Duration::from_secs(3);

/// A runtime on this thread alone: quick to start, and a verb has little to do at a time.
///
/// # Errors
/// [`Failure`] when the system refuses.
pub(crate) fn runtime() -> Result<Runtime, Failure> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::caused("E-RUNTIME", "cannot start", &error))
}

/// A client of the machine's daemon; nobody may listen yet.
///
/// # Errors
/// [`Failure`] when there is no place for a socket.
pub(crate) fn client(context: &Context) -> Result<Client, Failure> {
    if let Some(remote) = context.remote()? {
        return Ok(Client::remote(remote));
    }
    at(context, context.socket()?)
}

/// A client on a socket of this machine.
///
/// # Errors
/// [`Failure`] when it cannot be told whose daemon may be talked to.
pub(crate) fn at(context: &Context, socket: PathBuf) -> Result<Client, Failure> {
    let client = Client::new(socket, trusted(context)?);
    Ok(match context.sudo_uid() {
        Some(uid) => client.acting_for(uid),
        None => client,
    })
}

/// Whose daemon may be talked to.
fn trusted(context: &Context) -> Result<Vec<u32>, Failure> {
    let places = context.places()?;
    let mut trusted = vec![0, context.uid()];
    if context.options.shared {
        // Whoever uses --shared trusts the one who keeps the machine's state.
        trusted.extend(std::fs::metadata(places.state_dir()).map(|found| found.uid()));
    }
    Ok(trusted)
}

/// A client of a daemon that answers and speaks this version; `None` when nobody listens.
///
/// # Errors
/// [`Failure`] when somebody listens who cannot be talked to.
pub(crate) async fn existing(context: &Context) -> Result<Option<Client>, Failure> {
    let client = client(context)?;
    let mut greeting = greeted(context, &client).await;
    // A daemon that ends in the middle of a call is as good as none: asked again, the socket says
    // whether there is another.
    for _ in 0..AGAIN {
        if !matches!(greeting, Err(ClientError::Broken { .. })) {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        greeting = greeted(context, &client).await;
    }
    match greeting {
        Ok(version) => {
            check_version(context, &client, &version)?;
            Ok(Some(client))
        }
        // Over the network the reason counts: a certificate, a name, a door that is shut.
        Err(error) if context.url().is_some() => Err(unreachable(&error)),
        Err(error) if error.is_not_running() && !is_forbidden(&error) => Ok(None),
        Err(error) => Err(unreachable(&error)),
    }
}

/// How often, and after which pauses, a daemon that ended in the middle of a greeting is greeted
/// again.
const AGAIN: u32 = 4;
const PAUSE: Duration = Duration::from_millis(100);

/// Who answers; the user is told if that takes long.
async fn greeted(context: &Context, client: &Client) -> Result<VersionView, ClientError> {
    let mut call = std::pin::pin!(client.version());
    if let Ok(answer) = tokio::time::timeout(SILENCE, &mut call).await {
        return answer;
    }
    context.output.say(&format!(
        "migctl: waits for the daemon on {}, which runs and does not answer",
        client.socket().display()
    ));
    call.await
}

/// A client of the daemon.
///
/// # Errors
/// [`Failure`] that says how to start one when none answers.
pub(crate) async fn required(context: &Context) -> Result<Client, Failure> {
    match existing(context).await? {
        Some(client) => Ok(client),
        None => Err(no_daemon(context)?),
    }
}

/// A client for acts of administrators: on their socket if it can be used, else on everybody's,
/// where root and those whom the configuration names have the same rights.
///
/// # Errors
/// [`Failure`] when no daemon answers.
pub(crate) async fn administrative(context: &Context) -> Result<Client, Failure> {
    let client = required(context).await?;
    if context.url().is_some() {
        return Ok(client);
    }
    let named = context.admin_socket()?;
    let beside = || client.socket().with_file_name("admin.sock");
    let own = at(context, named.unwrap_or_else(beside))?;
    Ok(if own.version().await.is_ok() { own } else { client })
}

fn is_forbidden(error: &ClientError) -> bool {
    matches!(error, ClientError::NotRunning { source, .. }
        if source.kind() == std::io::ErrorKind::PermissionDenied)
}

fn unreachable(error: &ClientError) -> Failure {
    let failure = Failure::of_client("cannot reach the daemon", error);
    if is_forbidden(error) {
        failure
            .exit(Exit::Permission)
            .hint("its owner can let others in by running it with --shared")
    } else {
        failure
    }
}

/// The failure for a machine whose daemon does not run.
///
/// # Errors
/// [`Failure`] as well, when the machine itself makes no sense.
pub(crate) fn no_daemon(context: &Context) -> Result<Failure, Failure> {
    let socket = context.socket()?;
    let message = format!("no daemon answers on {}", socket.display());
    Ok(match context.machine()? {
        Machine::Simulated(host) => Failure::new("E-NO-DAEMON", message).hint(format!(
            "run, shell and lease start one; to watch it work: migctl --simulate {} daemon",
            host.spec
        )),
        Machine::Real if !has_library() => no_driver(),
        Machine::Real => Failure::new("E-NO-DAEMON", message).hint(
            "start it with `systemctl start migd`, or `migctl daemon` in another terminal as root",
        ),
    })
}

/// Whether an NVML library lies where the driver would load it from.
fn has_library() -> bool {
    TRUSTED_PATHS.iter().any(|path| Path::new(path).exists())
}

/// The failure for a machine without an NVIDIA driver, when none was simulated either.
pub(crate) fn no_driver() -> Failure {
    let folders: Vec<&str> = TRUSTED_PATHS
        .iter()
        .filter_map(|path| Path::new(path).parent()?.to_str())
        .take(3)
        .collect();
    Failure::new(
        "E-NO-DRIVER",
        format!(
            "no NVIDIA driver here: libnvidia-ml.so.1 was not found in {} and {} other folders",
            folders.join(", "),
            TRUSTED_PATHS.len() - folders.len()
        ),
    )
    .hint("install the driver; to try migctl without a GPU add --simulate dgx-a100")
}

/// A daemon and a client of different versions talk as long as the API is the same; on a simulated
/// machine both come from one executable, and the machine's files are of that version alone.
fn check_version(context: &Context, client: &Client, theirs: &VersionView) -> Result<(), Failure> {
    let socket = client.socket().display();
    let message = format!(
        "the daemon on {socket} is migd {} (API {}), and this is migctl {VERSION} (API {API_VERSION})",
        theirs.version, theirs.api
    );
    if theirs.api == API_VERSION && theirs.version == VERSION {
        return Ok(());
    }
    match context.machine()? {
        Machine::Real if theirs.api == API_VERSION => {
            context.output.detail(&format!("migctl: {message}"));
            Ok(())
        }
        Machine::Real => Err(Failure::new("E-VERSION", message)
            .hint("install the same version of both and restart the daemon")),
        Machine::Simulated(_) => Err(Failure::new("E-VERSION", message).hint(format!(
            "end its leases and stop it (kill {}); this version starts its own",
            theirs.pid
        ))),
    }
}

/// The machine's GPUs as the daemon crate names them; a simulated machine is made if it does not
/// exist yet, for it is made of files alone.
///
/// # Errors
/// [`Failure`] when it cannot be made, or when this machine has no NVIDIA driver.
pub(crate) fn gpus(context: &Context) -> Result<GpuSource, Failure> {
    Ok(match context.machine()? {
        Machine::Real if !has_library() => return Err(no_driver()),
        Machine::Real => GpuSource::Real,
        Machine::Simulated(host) => {
            create(context, &host)?;
            GpuSource::Simulated { name: host.name, dir: host.dir }
        }
    })
}

/// As [`gpus`], for verbs that read a driver and the files around it, which are those of the machine
/// they run on.
///
/// # Errors
/// As [`gpus`]; a usage failure where a daemon elsewhere was named.
pub(crate) fn gpus_here(context: &Context, verb: &str) -> Result<GpuSource, Failure> {
    if let Some(url) = context.url() {
        return Err(Failure::usage(format!(
            "{verb} reads the driver of the machine it runs on, not that of {url}"
        ))
        .hint(format!("run `migctl {verb}` there; `migctl status` works from here")));
    }
    gpus(context)
}

/// An existing machine is left as it is: whether others may reach it is the daemon's choice.
fn create(context: &Context, host: &SimulatedHost) -> Result<(), Failure> {
    let is_new = !host.dir.exists();
    if is_new {
        context.output.detail(&format!("migctl: making the simulated machine {}", host.name));
    }
    // Before the folders: a description that makes no sense must leave none behind.
    crate::sim::open_or_create(context, host)?;
    if !is_new {
        return Ok(());
    }
    context.places()?.prepare(context.reach()).map_err(|error| {
        Failure::caused("E-PLACES", "cannot prepare the machine's folders", &error)
            .hint("choose another folder with --state-dir DIR")
    })
}
