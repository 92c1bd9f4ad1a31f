//! Layout files as options: which file, which of its configurations, and what it means here.
//!
//! Must never use a file that is wrong anywhere, nor keep quiet about what is odd in one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use api::FixRequest;
use clap::Args;
use layout_file::{Document, ResolveError, Resolved, Warning, read, resolve};

use crate::changing::ground::read_text;
use crate::changing::{Ground, Wish, inherited};
use crate::{Context, Exit, Failure};

/// Options that name a file of layouts.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "File")]
pub(crate) struct FileArgs {
    /// The file, nvidia-mig-parted's format or migd's own; - is stdin (also:
    /// MIG_PARTED_CONFIG_FILE)
    #[arg(short, long = "config-file", visible_alias = "file", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Which configuration of the file; needed if it has several (also:
    /// MIG_PARTED_SELECTED_CONFIG)
    #[arg(short = 'c', long = "selected-config", visible_alias = "config", value_name = "NAME")]
    pub(crate) config: Option<String>,
    /// Only the MIG modes; what lies on the GPUs stays (also: MIG_PARTED_MODE_CHANGE_ONLY)
    #[arg(short, long)]
    pub(crate) mode_only: bool,
}

/// A file that was read.
#[derive(Debug, Clone)]
pub(crate) struct Layouts {
    name: String,
    pub(crate) document: Document,
}

impl FileArgs {
    /// The file that was named.
    ///
    /// # Errors
    /// [`Failure`] with exit code 3 where none was.
    pub(crate) fn path(&self) -> Result<PathBuf, Failure> {
        let said = || inherited::text("MIG_PARTED_CONFIG_FILE").map(PathBuf::from);
        self.file.clone().or_else(said).ok_or_else(|| {
            Failure::usage("say which file: -f FILE, or -f - for stdin")
                .hint("`migctl generate-config` writes one for this machine to begin with")
        })
    }

    /// The configuration that was chosen, if one was.
    pub(crate) fn config(&self) -> Option<String> {
        self.config.clone().or_else(|| inherited::text("MIG_PARTED_SELECTED_CONFIG"))
    }

    /// Whether only MIG modes are meant.
    pub(crate) fn is_mode_only(&self) -> Result<bool, Failure> {
        Ok(self.mode_only || inherited::flag("MIG_PARTED_MODE_CHANGE_ONLY")?)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`Failure`] with every fault of the file, by line and column.
    pub(crate) fn read(&self) -> Result<Layouts, Failure> {
        Layouts::read(&self.path()?)
    }

    /// Reads the file and says what its configuration means on the machine; warnings are printed.
    ///
    /// # Errors
    /// [`Failure`] with all that is wrong.
    pub(crate) fn resolved(&self, context: &Context, ground: &Ground) -> Result<Resolved, Failure> {
        let layouts = self.read()?;
        let resolved = resolve(&layouts.document, self.config().as_deref(), &ground.node);
        let resolved = resolved.map_err(|error| layouts.refused(&error))?;
        layouts.warn(context, &resolved.warnings);
        Ok(if self.is_mode_only()? { resolved.mode_only() } else { resolved })
    }

    /// What the file wants of the machine.
    ///
    /// # Errors
    /// [`Failure`] with all that is wrong.
    pub(crate) fn wish(
        &self,
        context: &Context,
        ground: &Ground,
        verb: &str,
        fix: bool,
    ) -> Result<Wish, Failure> {
        let resolved = self.resolved(context, ground)?;
        let file = self.path()?.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mode_only = self.is_mode_only()?;
        let only = if mode_only { " (modes only)" } else { "" };
        let words = format!("{verb} -f {file} -c {}{only}", resolved.config);
        let fixed = |gpu: &model::GpuUuid| {
            let lend = resolved.lend.get(gpu).copied().unwrap_or_default();
            (gpu.clone(), FixRequest { lend })
        };
        let fix: BTreeMap<_, _> = if fix && !mode_only {
            resolved.desired.keys().map(fixed).collect()
        } else {
            BTreeMap::new()
        };
        Ok(Wish { desired: resolved.desired, words, fix })
    }
}

impl Layouts {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Failure`] with every fault of the file, by line and column.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let name = if path.as_os_str() == "-" {
            String::from("stdin")
        } else {
            path.display().to_string()
        };
        let text = read_text(path)?;
        let document = read(&text).map_err(|faults| {
            Failure::new(
                "E-LAYOUT-FILE",
                format!("the file cannot be used\n{}", faults.in_file(&name)),
            )
            .exit(Exit::Usage)
            .hint("nothing was changed; docs/layout-files.md has the format with examples")
        })?;
        Ok(Self { name, document })
    }

    /// The failure for a file that makes no sense on this machine.
    pub(crate) fn refused(&self, error: &ResolveError) -> Failure {
        let words = match error {
            ResolveError::Machine(faults) => {
                format!("the file does not fit this machine\n{}", faults.in_file(&self.name))
            }
            ResolveError::NoConfigs
            | ResolveError::WhichConfig { .. }
            | ResolveError::NoSuchConfig { .. } => format!("{}: {error}", self.name),
        };
        Failure::new(error.code(), words).exit(Exit::Usage).hint("nothing was changed")
    }

    /// Says what is odd in the file.
    pub(crate) fn warn(&self, context: &Context, warnings: &[Warning]) {
        for warning in warnings {
            context.output.warn(&format!("{}:{warning}", self.name));
        }
    }
}
