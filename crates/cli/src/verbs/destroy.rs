//! `migctl destroy`: instances taken away by hand.
//!
//! Must never widen: what goes is named one by one, or with an explicit --all.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use model::{ComputeInstanceId, DesiredGpu, DesiredNode, GpuInstanceId, GpuUuid};

use crate::changing::targets::Target;
use crate::changing::{ChangeArgs, Ground, Wish, carry_out};
use crate::{Context, Failure};

/// Options of `destroy`.
#[derive(Debug, Args)]
#[command(
    about = "Destroy GPU instances and compute instances",
    long_about = "Destroys GPU instances with what lies in them, or compute instances alone. What is \
                  leased or in use is never destroyed: then nothing is, and it is said who is there. \
                  All of it goes, or nothing. For administrators.",
    after_help = "Examples:\n  \
        migctl destroy 0:3 0:9\n  \
        migctl destroy --gpu 0 3 9 --dry-run\n  \
        migctl destroy 0:2:1\n  \
        migctl destroy --gpu 1 --all"
)]
pub(crate) struct DestroyArgs {
    /// GPU:GI, GPU:GI:CI, a MIG UUID, or with --gpu the id of a GPU instance
    #[arg(value_name = "INSTANCE", required_unless_present = "all", conflicts_with = "all")]
    targets: Vec<Target>,
    /// On which GPU (with --all a list, or `all`)
    #[arg(long, value_name = "SEL")]
    gpu: Option<String>,
    /// Every instance of the GPUs named with --gpu
    #[arg(long, requires = "gpu")]
    all: bool,
    /// How
    #[command(flatten)]
    change: ChangeArgs,
}

/// What goes from one GPU.
#[derive(Debug, Default)]
struct Going {
    instances: Vec<GpuInstanceId>,
    computes: Vec<(GpuInstanceId, ComputeInstanceId)>,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: &DestroyArgs) -> Result<ExitCode, Failure> {
    let ground = Ground::read(context)?;
    let desired = if args.all { everything(&ground, args)? } else { named(&ground, args)? };
    if desired.is_empty() {
        context.output.say("migctl: nothing to do: there is no instance");
        return Ok(ExitCode::SUCCESS);
    }
    let wish = Wish { desired, words: words(args), fix: BTreeMap::new() };
    carry_out(context, &ground, wish, &args.change)
}

fn words(args: &DestroyArgs) -> String {
    let gpu = args.gpu.as_deref().map_or_else(String::new, |gpu| format!(" --gpu {gpu}"));
    if args.all {
        return format!("destroy{gpu} --all");
    }
    let targets: Vec<String> = args.targets.iter().map(ToString::to_string).collect();
    format!("destroy{gpu} {}", targets.join(" "))
}

fn everything(ground: &Ground, args: &DestroyArgs) -> Result<DesiredNode, Failure> {
    let gpus = ground.one_or_named(args.gpu.as_deref())?;
    let wish = |gpu: &model::GpuSnapshot| {
        let instances: Vec<GpuInstanceId> = gpu.instances.iter().map(|i| i.id).collect();
        let gone = DesiredGpu::Without { instances, computes: Vec::new() };
        (!gpu.instances.is_empty()).then(|| (gpu.uuid.clone(), gone))
    };
    Ok(gpus.into_iter().filter_map(wish).collect())
}

fn named(ground: &Ground, args: &DestroyArgs) -> Result<DesiredNode, Failure> {
    let on = match (&args.gpu, ground.node.gpus.as_slice()) {
        (Some(text), _) => match ground.gpus(text)?.as_slice() {
            [gpu] => Some(*gpu),
            gpus => {
                return Err(Failure::usage(format!("{text} means {} GPUs; name one", gpus.len())));
            }
        },
        (None, [only]) => Some(only),
        (None, _) => None,
    };
    let mut going: BTreeMap<GpuUuid, Going> = BTreeMap::new();
    for target in &args.targets {
        let found = target.find(ground, on)?;
        let going = going.entry(found.gpu.uuid.clone()).or_default();
        match found.compute {
            None if !going.instances.contains(&found.instance) => {
                going.instances.push(found.instance);
            }
            Some(compute) if !going.computes.contains(&(found.instance, compute)) => {
                going.computes.push((found.instance, compute));
            }
            None | Some(_) => {}
        }
    }
    let wish = |(gpu, mut going): (GpuUuid, Going)| {
        going.computes.retain(|(instance, _)| !going.instances.contains(instance));
        (gpu, DesiredGpu::Without { instances: going.instances, computes: going.computes })
    };
    Ok(going.into_iter().map(wish).collect())
}
