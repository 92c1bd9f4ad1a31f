//! `migctl create`: instances made by hand.
//!
//! Must never make a part of what was asked: all of it, or nothing.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use layout_file::{
    ComputeSize, Config, Devices, Document, Entry, GpuName, GpuSelector, Mark, NamedGpu,
    ResolveError, Schema, Wish as Contents, resolve,
};
use model::{
    ComputeInstanceProfileId, DesiredCompute, DesiredGpu, DesiredNode, GpuInstance, GpuSnapshot,
    Placement,
};

use crate::changing::targets::Target;
use crate::changing::wanted::{self, Word};
use crate::changing::{ChangeArgs, Ground, Wish, carry_out};
use crate::{Context, Exit, Failure};

/// Options of `create`.
#[derive(Debug, Args)]
#[command(
    about = "Make GPU instances and compute instances",
    long_about = "Makes GPU instances with the compute instances in them, at the places that leave \
                  the most room, or at places you name. All of it is made, or nothing; what lies \
                  there stays untouched. Slices made by hand are yours: migd neither lends nor \
                  destroys them. For administrators.\n\n\
                  A word is [COUNTx]PROFILE[@PLACE][:COMPUTES]. PROFILE is a name (3g.20gb), a size \
                  (3g) or an id (9); PLACE the first unit on the board's grid; COMPUTES the compute \
                  instances (1c,2c or 3x1c or 2c@1, or none). 1c.3g.20gb is a compute instance, and \
                  such words share a GPU instance as long as it has room.",
    after_help = "Examples:\n  \
        migctl create --gpu 0 3g.20gb 2x1g.5gb\n  \
        migctl create --gpu 0 3g.20gb@4 --dry-run\n  \
        migctl create --gpu 0,1 1c.3g.20gb 2c.3g.20gb\n  \
        migctl create --gpu 0 3g.20gb:3x1c\n  \
        migctl create --in 0:2 1c 1c"
)]
pub(crate) struct CreateArgs {
    /// What to make
    #[arg(value_name = "WORD", required = true)]
    words: Vec<String>,
    /// On which GPUs: index, UUID, PCI address, model, a list of them, or `all`; each gets all of it
    #[arg(long, value_name = "SEL")]
    gpu: Option<String>,
    /// Make compute instances in this GPU instance (GPU:GI)
    #[arg(long = "in", value_name = "GPU:GI")]
    inside: Option<Target>,
    /// How
    #[command(flatten)]
    change: ChangeArgs,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: &CreateArgs) -> Result<ExitCode, Failure> {
    let ground = Ground::read(context)?;
    let desired = match &args.inside {
        Some(target) => inside(&ground, target, args)?,
        None => beside(&ground, args)?,
    };
    let gpu = args.gpu.as_deref().map_or_else(String::new, |gpu| format!(" --gpu {gpu}"));
    let within = args.inside.as_ref().map_or_else(String::new, |of| format!(" --in {of}"));
    let words = format!("create{gpu}{within} {}", args.words.join(" "));
    carry_out(context, &ground, Wish { desired, words, fix: BTreeMap::new() }, &args.change)
}

fn beside(ground: &Ground, args: &CreateArgs) -> Result<DesiredNode, Failure> {
    let parse = |word: &String| word.parse::<Word>().map_err(Failure::usage);
    let words: Vec<Word> = args.words.iter().map(parse).collect::<Result<_, _>>()?;
    let gpus = ground.one_or_named(args.gpu.as_deref())?;
    // Files and hands mean the same by a profile: what a file's reader says counts.
    let document = document(&gpus, &words);
    let resolved = resolve(&document, None, &ground.node);
    let resolved = resolved.map_err(|error| refused(&error))?;
    let made = |(gpu, desired)| match desired {
        DesiredGpu::Exactly(instances) => {
            (gpu, DesiredGpu::Beside { instances, computes: Vec::new() })
        }
        other @ (DesiredGpu::Whole
        | DesiredGpu::Sliced
        | DesiredGpu::Beside { .. }
        | DesiredGpu::Without { .. }) => (gpu, other),
    };
    Ok(resolved.desired.into_iter().map(made).collect())
}

fn document(gpus: &[&GpuSnapshot], words: &[Word]) -> Document {
    let at = Mark::START;
    let named = |gpu: &&GpuSnapshot| NamedGpu {
        at,
        name: GpuName::Uuid(gpu.uuid.as_str().to_ascii_lowercase()),
    };
    let devices = Devices::Listed(gpus.iter().map(named).collect());
    let entry = Entry {
        at,
        gpus: GpuSelector { filter: Vec::new(), devices, at },
        wish: Contents::Instances(wanted::items(words)),
        lend: false,
    };
    let config = Config { name: String::from("by hand"), at, entries: vec![entry] };
    Document { schema: Schema::Own, configs: vec![config], warnings: Vec::new() }
}

/// A file's complaint without the place: here that is a word of the command line.
fn refused(error: &ResolveError) -> Failure {
    let words = match error {
        ResolveError::Machine(faults) => {
            let lines: Vec<String> =
                faults.0.iter().map(|fault| format!("{}; {}", fault.what, fault.instead)).collect();
            lines.join("\n")
        }
        ResolveError::NoConfigs
        | ResolveError::WhichConfig { .. }
        | ResolveError::NoSuchConfig { .. } => error.to_string(),
    };
    Failure::new("E-PROFILE-UNKNOWN", words)
        .exit(Exit::Usage)
        .hint("`migctl profiles --placements` lists what the boards offer and where")
}

fn inside(ground: &Ground, target: &Target, args: &CreateArgs) -> Result<DesiredNode, Failure> {
    let on = args.gpu.as_deref().map(|text| ground.gpus(text)).transpose()?;
    let on = match on.as_deref() {
        Some([gpu]) => Some(*gpu),
        Some(gpus) => {
            return Err(Failure::usage(format!("--in is about one GPU, not {}", gpus.len())));
        }
        None => ground.node.gpus.first().filter(|_| ground.node.gpus.len() == 1),
    };
    let found = target.find(ground, on)?;
    let Some(instance) = found.gpu.instance(found.instance) else {
        return Err(Failure::usage("that GPU instance is gone"));
    };
    let computes = wanted::computes(&args.words).map_err(Failure::usage)?;
    let computes = computes
        .into_iter()
        .map(|(size, start)| Ok((instance.id, compute(found.gpu, instance, size, start)?)))
        .collect::<Result<Vec<_>, Failure>>()?;
    let desired = DesiredGpu::Beside { instances: Vec::new(), computes };
    Ok(DesiredNode::from([(found.gpu.uuid.clone(), desired)]))
}

fn compute(
    gpu: &GpuSnapshot,
    instance: &GpuInstance,
    size: ComputeSize,
    start: Option<u8>,
) -> Result<DesiredCompute, Failure> {
    let geometry = gpu.geometry.as_deref();
    let profile = geometry.and_then(|geometry| geometry.profile(instance.profile));
    let offered = profile.map_or(&[][..], |profile| &profile.compute_profiles);
    let is_meant = |compute: &&model::ComputeInstanceProfile| match size {
        ComputeSize::Slices(slices) => compute.slices == slices,
        ComputeSize::Id(id) => compute.id == ComputeInstanceProfileId::new(id),
    };
    let found = offered.iter().filter(is_meant).min_by_key(|compute| compute.id);
    let found = found.ok_or_else(|| {
        let mut sizes: Vec<u8> = offered.iter().map(|compute| compute.slices).collect();
        sizes.sort_unstable();
        sizes.dedup();
        let sizes: Vec<String> = sizes.iter().map(|slices| format!("{slices}c")).collect();
        let name = profile.map_or_else(|| instance.profile.to_string(), |p| p.name.to_string());
        Failure::new("E-PROFILE-UNKNOWN", format!("{name} has no such compute instance"))
            .exit(Exit::Usage)
            .hint(format!("it offers {}", sizes.join(", ")))
    })?;
    let placement = start.map(|start| Placement::new(start, found.slices));
    Ok(DesiredCompute { profile: found.id, placement })
}
