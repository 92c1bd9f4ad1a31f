//! The machine a change is for, as its driver shows it, and the GPUs that words mean on it.
//!
//! Must never change anything.

use std::io::{self, Read as _, Write as _};
use std::path::Path;

use model::{GpuSnapshot, NodeSnapshot, Timestamp};

use crate::draw::plan::Grids;
use crate::gpu_list::GpuList;
use crate::{Context, Failure, connect};

/// The most that a file may hold.
const LARGEST_FILE: u64 = 4 << 20;

/// The machine at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Ground {
    pub(crate) node: NodeSnapshot,
}

impl Ground {
    /// Reads the machine: through its daemon where one runs, else from the driver.
    ///
    /// # Errors
    /// [`Failure`] when neither answers.
    pub(crate) fn read(context: &Context) -> Result<Self, Failure> {
        let known = connect::runtime()?.block_on(async {
            let Some(client) = connect::existing(context).await? else { return Ok(None) };
            let read = client.snapshot().await;
            read.map(Some).map_err(|error| Failure::of_client("cannot read the machine", &error))
        })?;
        if let Some(node) = known {
            return Ok(Self { node });
        }
        let failed =
            |error: &daemon::DaemonError| crate::verbs::of_daemon("cannot read the GPUs", error);
        let driver =
            daemon::open_driver(&connect::gpus(context)?).map_err(|error| failed(&error))?;
        let node = driver.snapshot(Timestamp::default());
        let node = node.map_err(|error| Failure::of_driver("cannot read the GPUs", &error))?;
        Ok(Self { node })
    }

    /// The GPUs that a comma-separated list of selectors means, ascending by index; `all` means
    /// every one that can do MIG.
    ///
    /// # Errors
    /// [`Failure`] with exit code 3 for words that mean none.
    pub(crate) fn gpus(&self, text: &str) -> Result<Vec<&GpuSnapshot>, Failure> {
        let list: GpuList =
            text.parse().map_err(|error| Failure::usage(format!("bad --gpu: {error}")))?;
        let found = list.among(&self.node.gpus)?;
        Ok(if list.is_all() {
            found.into_iter().filter(|gpu| gpu.geometry.is_some()).collect()
        } else {
            found
        })
    }

    /// The one GPU that is meant: the only one of the machine where nothing was said.
    ///
    /// # Errors
    /// [`Failure`] with exit code 3 where several are meant.
    pub(crate) fn one_or_named(&self, text: Option<&str>) -> Result<Vec<&GpuSnapshot>, Failure> {
        match (text, self.node.gpus.as_slice()) {
            (Some(text), _) => self.gpus(text),
            (None, [only]) => Ok(vec![only]),
            (None, gpus) => Err(Failure::usage(format!(
                "say on which of the {} GPUs: --gpu 0, --gpu 0,2, --gpu 0-3 or --gpu all",
                gpus.len()
            ))),
        }
    }

    /// How many units each GPU's grid has, for drawings.
    pub(crate) fn grids(&self) -> Grids {
        let grid = |gpu: &GpuSnapshot| {
            Some((gpu.uuid.clone(), usize::from(gpu.geometry.as_ref()?.grid.get())))
        };
        self.node.gpus.iter().filter_map(grid).collect()
    }
}

/// Reads a file that the user names; `-` is stdin.
///
/// # Errors
/// [`Failure`] that names the file.
pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    let what = || match path.to_str() {
        Some("-") => String::from("cannot read stdin"),
        _ => format!("cannot read {}", path.display()),
    };
    let read = |from: &mut dyn io::Read| -> io::Result<String> {
        let mut text = String::new();
        from.take(LARGEST_FILE + 1).read_to_string(&mut text)?;
        if text.len() as u64 > LARGEST_FILE {
            return Err(io::Error::other("it is larger than 4 MiB"));
        }
        Ok(text)
    };
    let text = if path.as_os_str() == "-" {
        read(&mut io::stdin().lock())
    } else {
        std::fs::File::open(path).and_then(|mut file| read(&mut file))
    };
    text.map_err(|error| Failure::caused("E-FILE", &what(), &error))
}

/// Writes a file so that it is there whole or not at all; `-` is stdout.
///
/// # Errors
/// [`Failure`] that names the file.
pub(crate) fn write_whole(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        Failure::caused("E-FILE", &format!("cannot write {}", path.display()), &error)
    };
    if path.as_os_str() == "-" {
        return io::stdout().lock().write_all(text.as_bytes()).map_err(failed);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.new", std::process::id()));
    let new = folder.join(name);
    let write = || -> io::Result<()> {
        let mut file = std::fs::File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    };
    write().map_err(|error| {
        let _ = std::fs::remove_file(&new);
        failed(error)
    })
}
