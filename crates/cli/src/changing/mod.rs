//! Changes of layout and mode, as an administrator asks for them: planned, shown, agreed to, carried
//! out, watched.
//!
//! Must never decide what is done: the plan is the daemon's, and exactly what was shown is carried
//! out.

pub(crate) mod agree;
mod alone;
pub(crate) mod door;
pub(crate) mod file;
pub(crate) mod follow;
pub(crate) mod ground;
pub(crate) mod hooks;
pub(crate) mod inherited;
pub(crate) mod targets;
pub(crate) mod wanted;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use api::{ChangeState, FixRequest, Permissions, PlanDocument, PlanRequest};
use clap::Args;
use model::{DesiredNode, GpuUuid, Millis};

use crate::draw::Page;
use crate::draw::plan::{self, Grids};
use crate::draw::text::clean;
use crate::{Context, Exit, Failure, connect};

pub(crate) use door::Door;
pub(crate) use ground::Ground;

/// Options of every verb that changes a layout or a mode.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Change")]
pub(crate) struct ChangeArgs {
    /// Show the plan and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask before something is destroyed
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Do what can be done now and the rest as slices fall idle; no new lease goes to these GPUs
    /// meanwhile
    #[arg(long)]
    pub(crate) wait_idle: bool,
    /// Give up after so long: what was done is taken back
    #[arg(long, value_name = "T")]
    pub(crate) timeout: Option<Millis>,
    /// Do not reset GPUs: a mode that needs a reset is refused (also: MIG_PARTED_SKIP_RESET)
    #[arg(long)]
    pub(crate) skip_reset: bool,
    /// Where no daemon runs, have none afterwards either (as always on a real machine)
    #[arg(long)]
    pub(crate) alone: bool,
    /// Stop the known services that hold a GPU (DCGM, its exporter, NVSM, the persistence daemon)
    /// while its mode changes, and start them again
    #[arg(long)]
    pub(crate) stop_clients: bool,
}

/// What is wanted, resolved against the machine.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wish {
    /// Of each GPU.
    pub(crate) desired: DesiredNode,
    /// In the words of whoever asks.
    pub(crate) words: String,
    /// GPUs that stay as they are made.
    pub(crate) fix: BTreeMap<GpuUuid, FixRequest>,
}

impl Wish {
    fn request(self, args: &ChangeArgs) -> Result<PlanRequest, Failure> {
        let skip_reset = args.skip_reset || inherited::flag("MIG_PARTED_SKIP_RESET")?;
        Ok(PlanRequest {
            desired: self.desired,
            words: self.words,
            fix: self.fix,
            allow: Permissions {
                reset: !skip_reset,
                stop_units: args.stop_clients.then(|| "known".to_owned()),
            },
            wait_idle: args.wait_idle,
        })
    }
}

/// Plans a wish.
///
/// # Errors
/// [`Failure`] when it cannot be planned at all.
pub(crate) fn plan_for(
    context: &Context,
    wish: Wish,
    args: &ChangeArgs,
) -> Result<PlanDocument, Failure> {
    connect::runtime()?.block_on(async {
        let door = Door::open(context, args.alone || args.dry_run).await?;
        let plan = planned(&door, wish, args).await;
        door.close().await;
        plan
    })
}

/// Plans a wish and carries the plan out, or shows it with `--dry-run`.
///
/// # Errors
/// [`Failure`]; exit code 5 when something is in the way.
pub(crate) fn carry_out(
    context: &Context,
    ground: &Ground,
    wish: Wish,
    args: &ChangeArgs,
) -> Result<ExitCode, Failure> {
    connect::runtime()?.block_on(async {
        // A daemon that is started for good would begin to manage a simulated machine.
        let door = Door::open(context, args.alone || args.dry_run).await?;
        let result = match planned(&door, wish, args).await {
            Ok(plan) => done(context, &door, &ground.grids(), &plan, args).await,
            Err(failure) => Err(failure),
        };
        door.close().await;
        result
    })
}

/// Plans a wish and shows the plan; with `out` it is also written there, to be applied later.
///
/// # Errors
/// [`Failure`]; exit code 5 when something is in the way.
pub(crate) fn show(
    context: &Context,
    ground: &Ground,
    wish: Wish,
    args: &ChangeArgs,
    out: Option<&Path>,
) -> Result<ExitCode, Failure> {
    let looking = ChangeArgs { dry_run: true, ..args.clone() };
    let plan = plan_for(context, wish, &looking)?;
    if let Some(path) = out {
        let text = serde_json::to_string_pretty(&plan)
            .map_err(|error| Failure::caused("E-JSON", "cannot write the plan", &error))?;
        ground::write_whole(path, &format!("{text}\n"))?;
        context.output.say(&format!("migctl: the plan is in {}", path.display()));
    }
    shown(context, &ground.grids(), &plan)
}

/// Carries out a plan that was written down before.
///
/// # Errors
/// [`Failure`]; exit code 5 when the machine is no longer as it was planned for.
pub(crate) fn carry_out_plan(
    context: &Context,
    ground: &Ground,
    plan: &PlanDocument,
    args: &ChangeArgs,
) -> Result<ExitCode, Failure> {
    connect::runtime()?.block_on(async {
        let door = Door::open(context, args.alone).await?;
        let result = done(context, &door, &ground.grids(), plan, args).await;
        door.close().await;
        result
    })
}

async fn planned(door: &Door, wish: Wish, args: &ChangeArgs) -> Result<PlanDocument, Failure> {
    let plan = door.client().plan(&wish.request(args)?).await;
    plan.map_err(|error| Failure::of_client("cannot plan that", &error))
}

/// Shows a plan that is not carried out.
fn shown(context: &Context, grids: &Grids, plan: &PlanDocument) -> Result<ExitCode, Failure> {
    if context.json() {
        context.output.data(plan)?;
    } else {
        context.output.line(&plan::lines(plan, grids, Page::current()).join("\n"))?;
    }
    let blocked = plan.is_blocked() && !plan.wait_idle;
    Ok(if plan.is_for_never() {
        Exit::Usage.into()
    } else if blocked {
        Exit::Busy.into()
    } else {
        ExitCode::SUCCESS
    })
}

/// A GPU can never hold what is wanted of it: waiting would be for nothing.
fn never(plan: &PlanDocument) -> Failure {
    let gpus = plan.gpus.iter().filter(|gpu| gpu.blocked.as_ref().is_some_and(|b| b.never));
    let indices: Vec<u32> = gpus.map(|gpu| gpu.index).collect();
    let gpus = crate::draw::text::gpus(&indices);
    Failure::new("E-NEVER-FITS", format!("nothing was changed: {gpus} can never hold that"))
        .exit(Exit::Usage)
        .hint("`migctl profiles --placements` says what each board can hold")
}

async fn done(
    context: &Context,
    door: &Door,
    grids: &Grids,
    plan: &PlanDocument,
    args: &ChangeArgs,
) -> Result<ExitCode, Failure> {
    if args.dry_run {
        return shown(context, grids, plan);
    }
    let draw = || {
        if !context.json() {
            context.output.say(&plan::lines(plan, grids, Page::current()).join("\n"));
        }
    };
    if plan.is_for_never() {
        draw();
        return Err(never(plan));
    }
    if plan.is_blocked() && !plan.wait_idle {
        draw();
        let why = if plan.has_obstacles() {
            "something is in the way"
        } else {
            "the GPU is not in a state for that, or it is not allowed"
        };
        return Err(Failure::new("E-BLOCKED", format!("nothing was changed: {why}"))
            .exit(Exit::Busy)
            .hint(blocked_hint(plan)));
    }
    let fixes = plan.gpus.iter().any(|gpu| gpu.fix.is_some());
    if plan.is_nothing() && !fixes {
        return nothing(context, plan);
    }
    if !plan.is_nothing() {
        draw();
    }
    agree::ask(context, plan, args.yes)?;
    let key = format!("migctl-{}-{}", std::process::id(), plan.made_at_ms);
    let begun = door.client().change(plan, &key).await;
    let begun = begun.map_err(|error| Failure::of_client("cannot do that", &error))?;
    let ended =
        follow::to_the_end(context, door.client(), begun, args.timeout, door.is_alone()).await?;
    if context.json() {
        context.output.data(&ended)?;
    }
    match ended.state {
        ChangeState::Done => {
            for line in &ended.report {
                context.output.warn(&format!("migctl: {}", clean(line)));
            }
            if !context.json() {
                context.output.line(&follow::summary(&ended, plan))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        ChangeState::Waiting
        | ChangeState::StoppingUnits
        | ChangeState::Running
        | ChangeState::RollingBack
        | ChangeState::Failed
        | ChangeState::Cancelled => Err(follow::failure(&ended, args.timeout)),
    }
}

fn blocked_hint(plan: &PlanDocument) -> String {
    let blocked = || plan.gpus.iter().filter_map(|gpu| Some((gpu, gpu.blocked.as_ref()?)));
    if blocked().all(|(_, blocked)| blocked.passes) {
        return String::from(
            "--wait-idle does it as soon as what is in the way has ended; `migctl why-busy GPU` names who",
        );
    }
    let off = blocked().find(|(gpu, _)| {
        !matches!(
            gpu.before.mig,
            model::MigState::Supported { current: model::MigMode::Enabled, .. }
        )
    });
    let idle = blocked().find_map(|(gpu, blocked)| {
        let thing = blocked.by.iter().find(|thing| thing.lease.is_none())?;
        Some((gpu.index, thing.gpu_instance?))
    });
    let held = blocked().find(|(_, blocked)| blocked.by.iter().any(|by| by.gpu_instance.is_none()));
    if let Some((gpu, _)) = held {
        return format!(
            "`migctl why-busy {}` says who and what to do; --stop-clients stops the known services",
            gpu.index
        );
    }
    match (off, idle) {
        (Some((gpu, _)), _) if gpu.desired != model::DesiredGpu::Sliced => {
            format!("`migctl mode enable --gpu {}` first", gpu.index)
        }
        (_, Some((gpu, instance))) => {
            format!("`migctl destroy {gpu}:{instance}` first, if it may go")
        }
        _ => String::from("the plan above says what is too much, or not allowed"),
    }
}

fn nothing(context: &Context, plan: &PlanDocument) -> Result<ExitCode, Failure> {
    if context.json() {
        context.output.data(plan)?;
    } else {
        let indices: Vec<u32> = plan.gpus.iter().map(|gpu| gpu.index).collect();
        let gpus = crate::draw::text::gpus(&indices);
        let line = match indices.len() {
            0 => String::from("nothing to do: no GPU is concerned"),
            1 => format!("nothing to do: {gpus} is as wanted"),
            _ => format!("nothing to do: {gpus} are as wanted"),
        };
        context.output.line(&line)?;
    }
    Ok(ExitCode::SUCCESS)
}
