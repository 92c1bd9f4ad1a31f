//! The programs of a hooks file, as nvidia-mig-parted runs them around a change.
//!
//! Must never run one without --run-hooks, nor let one run for ever.

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use layout_file::{Hook, read_hooks};
use model::Millis;

use crate::changing::file::FileArgs;
use crate::changing::ground::read_text;
use crate::changing::inherited;
use crate::draw::text::clean;
use crate::{Context, Exit, Failure};

/// Options about hooks.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Hooks")]
pub(crate) struct HooksArgs {
    /// A hooks file of nvidia-mig-parted; its programs are shown (also: MIG_PARTED_HOOKS_FILE)
    #[arg(short = 'k', long, value_name = "FILE")]
    hooks_file: Option<PathBuf>,
    /// Run them
    #[arg(long)]
    run_hooks: bool,
    /// Stop a hook that takes longer
    #[arg(long, value_name = "T", default_value = "5m")]
    hook_timeout: Millis,
}

impl HooksArgs {
    /// A file whose programs are shown and never run.
    pub(crate) fn shown(hooks_file: Option<PathBuf>) -> Self {
        Self { hooks_file, run_hooks: false, hook_timeout: Millis::default() }
    }
}

/// The hooks of an `apply`.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
    hooks: layout_file::Hooks,
    run: bool,
    timeout: Duration,
}

impl Hooks {
    /// Reads the file that was named, if one was.
    ///
    /// # Errors
    /// [`Failure`] with everything that is wrong in it.
    pub(crate) fn read(context: &Context, args: &HooksArgs) -> Result<Self, Failure> {
        let said = || inherited::text("MIG_PARTED_HOOKS_FILE").map(PathBuf::from);
        let Some(path) = args.hooks_file.clone().or_else(said) else {
            if args.run_hooks {
                return Err(Failure::usage("--run-hooks runs the programs of --hooks-file FILE"));
            }
            return Ok(Self::default());
        };
        let name = path.display().to_string();
        let hooks = read_hooks(&read_text(&path)?).map_err(|faults| {
            Failure::new(
                "E-HOOKS-FILE",
                format!("the hooks cannot be used\n{}", faults.in_file(&name)),
            )
            .exit(Exit::Usage)
        })?;
        for warning in &hooks.warnings {
            context.output.warn(&format!("{name}:{warning}"));
        }
        let timeout = Duration::from_millis(args.hook_timeout.get());
        let hooks = Self { hooks, run: args.run_hooks, timeout };
        hooks.show(context);
        Ok(hooks)
    }

    /// Whether any program will be run.
    pub(crate) fn will_run(&self) -> bool {
        self.run && self.all().iter().any(|(_, hooks)| !hooks.is_empty())
    }

    fn all(&self) -> [(&'static str, &[Hook]); 4] {
        [
            ("apply-start", &self.hooks.apply_start),
            ("pre-apply-mode", &self.hooks.pre_apply_mode),
            ("pre-apply-config", &self.hooks.pre_apply_config),
            ("apply-exit", &self.hooks.apply_exit),
        ]
    }

    fn show(&self, context: &Context) {
        for (stage, hooks) in self.all() {
            for hook in hooks {
                let what = if self.run { "hook" } else { "hook, not run" };
                context.output.say(&format!("migctl: {what}: {stage}: {}", words(hook)));
            }
        }
        if !self.run && self.all().iter().any(|(_, hooks)| !hooks.is_empty()) {
            context.output.say("migctl: --run-hooks runs them");
        }
    }

    /// Does something with the hooks around it. Those of the modes and of the layout run before it,
    /// as far as it will change either; those of the exit always.
    ///
    /// # Errors
    /// [`Failure`] of what is done, or of the first hook that fails; then nothing is done.
    pub(crate) fn around(
        &self,
        context: &Context,
        file: &FileArgs,
        changes: Changes,
        work: impl FnOnce() -> Result<ExitCode, Failure>,
    ) -> Result<ExitCode, Failure> {
        if !self.run {
            return work();
        }
        let result = self.before(context, file, changes).and_then(|()| work());
        let exit = self.stage(context, file, "apply-exit", &self.hooks.apply_exit);
        match (result, exit) {
            (Ok(code), exit) => exit.map(|()| code),
            (Err(failure), exit) => {
                if let Err(second) = exit {
                    context.output.warn(&second.text());
                }
                Err(failure)
            }
        }
    }

    fn before(&self, context: &Context, file: &FileArgs, changes: Changes) -> Result<(), Failure> {
        self.stage(context, file, "apply-start", &self.hooks.apply_start)?;
        if changes.mode {
            self.stage(context, file, "pre-apply-mode", &self.hooks.pre_apply_mode)?;
        }
        if changes.layout {
            self.stage(context, file, "pre-apply-config", &self.hooks.pre_apply_config)?;
        }
        Ok(())
    }

    fn stage(
        &self,
        context: &Context,
        file: &FileArgs,
        stage: &str,
        hooks: &[Hook],
    ) -> Result<(), Failure> {
        for hook in hooks {
            context.output.detail(&format!("migctl: runs {stage}: {}", words(hook)));
            run(hook, file, self.timeout).map_err(|why| {
                Failure::new("E-HOOK", format!("the {stage} hook {} {why}", words(hook)))
                    .hint("nothing more was begun; -v shows each hook as it runs")
            })?;
        }
        Ok(())
    }
}

/// What a change will touch.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Changes {
    /// A MIG mode.
    pub(crate) mode: bool,
    /// Instances.
    pub(crate) layout: bool,
}

fn words(hook: &Hook) -> String {
    let words: Vec<&str> =
        std::iter::once(&hook.command).chain(&hook.args).map(String::as_str).collect();
    clean(&words.join(" "))
}

/// Runs a hook as mig-parted does: its own variables and those of the options, and nothing that
/// this process inherited.
fn run(hook: &Hook, file: &FileArgs, timeout: Duration) -> Result<(), String> {
    let mut command = Command::new(&hook.command);
    command.args(&hook.args).env_clear().stdin(Stdio::null());
    if let Ok(path) = file.path() {
        command.env("MIG_PARTED_CONFIG_FILE", path);
    }
    if let Some(config) = file.config() {
        command.env("MIG_PARTED_SELECTED_CONFIG", config);
    }
    command.envs(hook.envs.iter().map(|(name, value)| (name, value)));
    if let Some(folder) = &hook.workdir {
        command.current_dir(folder);
    }
    // What it prints is talk, and stdout is data.
    command.stdout(std::io::stderr());
    let mut child = command.spawn().map_err(|error| format!("cannot be run: {error}"))?;
    let begun = Instant::now();
    loop {
        match child.try_wait().map_err(|error| format!("cannot be waited for: {error}"))? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(format!("failed: {status}")),
            None if begun.elapsed() >= timeout => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("took longer than {} s and was killed", timeout.as_secs()));
            }
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}
