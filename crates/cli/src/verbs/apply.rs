//! `migctl apply`: a layout file, or a plan that was made before, carried out.
//!
//! Must never do anything that the plan does not say.

use std::path::PathBuf;
use std::process::ExitCode;

use api::{PLAN_FORMAT, PlanDocument};
use clap::Args;
use model::Step;

use crate::changing::file::FileArgs;
use crate::changing::ground::read_text;
use crate::changing::hooks::{Changes, Hooks, HooksArgs};
use crate::changing::{ChangeArgs, Ground, agree, carry_out_plan, plan_for};
use crate::{Context, Exit, Failure};

/// Options of `apply`.
#[derive(Debug, Args)]
#[command(
    about = "Cut the GPUs as a layout file says",
    long_about = "Cuts the GPUs as a layout file says, with the least disruption: what is right stays, \
                  and what is leased or in use is never touched. The plan is shown first. All of it \
                  is done, or the GPUs are as before; if even that fails, the report says exactly \
                  what stands. GPUs named by the file stay as it says until `migctl gpu auto` hands \
                  them back. Reads nvidia-mig-parted's files and migd's own. For administrators.",
    after_help = "Examples:\n  \
        migctl apply -f config.yaml -c all-balanced\n  \
        migctl apply -f lab.yaml --wait-idle --yes\n  \
        migctl apply lab.plan\n\n\
        Exit codes: 0 as wanted, 2 failed, 3 the file is wrong, 5 something is in the way."
)]
pub(crate) struct ApplyArgs {
    /// A plan that `migctl plan -o FILE` wrote
    #[arg(value_name = "PLAN", conflicts_with_all = ["file", "config", "mode_only", "wait_idle", "no_fix"])]
    plan: Option<PathBuf>,
    /// Which file
    #[command(flatten)]
    file: FileArgs,
    /// Programs that mig-parted's users run around a change
    #[command(flatten)]
    hooks: HooksArgs,
    /// Leave the GPUs to migd afterwards: it may change the layout again
    #[arg(long)]
    no_fix: bool,
    /// For the unit that restores the layout while the machine starts: ask nothing, be brief
    #[arg(long)]
    boot: bool,
    /// How
    #[command(flatten)]
    change: ChangeArgs,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: &ApplyArgs) -> Result<ExitCode, Failure> {
    let mut change = ChangeArgs { yes: args.change.yes || args.boot, ..args.change.clone() };
    let hooks = Hooks::read(context, &args.hooks)?;
    let ground = Ground::read(context)?;
    let plan = if let Some(path) = &args.plan {
        written(path)?
    } else {
        let wish = args.file.wish(context, &ground, "apply", !args.no_fix)?;
        plan_for(context, wish, &change)?
    };
    if hooks.will_run() && !change.dry_run {
        // A hook stops things: it is asked before the first one runs.
        agree::ask(context, &plan, change.yes)?;
        change.yes = true;
    }
    let work = || carry_out_plan(context, &ground, &plan, &change);
    if change.dry_run || (plan.is_blocked() && !plan.wait_idle) {
        return work();
    }
    hooks.around(context, &args.file, changes(&plan), work)
}

fn changes(plan: &PlanDocument) -> Changes {
    let any = |is: fn(&Step) -> bool| plan.gpus.iter().flat_map(|gpu| &gpu.steps).any(is);
    let mode = |step: &Step| matches!(step, Step::SetMigMode { .. } | Step::ResetGpu { .. });
    Changes {
        mode: any(mode),
        layout: any(|step| !matches!(step, Step::SetMigMode { .. } | Step::ResetGpu { .. })),
    }
}

fn written(path: &std::path::Path) -> Result<PlanDocument, Failure> {
    let text = read_text(path)?;
    let bad = |why: String| {
        Failure::new("E-PLAN-FILE", format!("{} is no plan: {why}", path.display()))
            .exit(Exit::Usage)
            .hint("`migctl plan -f FILE -o PLAN` writes one; a layout file goes with -f")
    };
    let plan: PlanDocument = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
    if plan.format == PLAN_FORMAT {
        Ok(plan)
    } else {
        Err(bad(format!("its format is {}, and this migctl reads {PLAN_FORMAT}", plan.format)))
    }
}
