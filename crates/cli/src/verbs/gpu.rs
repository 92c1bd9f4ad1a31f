//! `migctl gpu`: GPUs taken out of use and put back.
//!
//! Must never end anything itself: what becomes of leases is the daemon's to say.

use std::process::ExitCode;
use std::time::Duration;

use api::{Client, GpuView};
use clap::{Args, Subcommand};
use model::Millis;

use crate::draw::text::clean;
use crate::gpu_list::GpuList;
use crate::{Context, Exit, Failure, connect};

/// Between two looks at a GPU that is being emptied.
const BETWEEN_LOOKS: Duration = Duration::from_millis(300);

/// Options of `gpu`.
#[derive(Debug, Args)]
#[command(
    about = "Take GPUs out of use, empty them, put them back; hand fixed ones back",
    long_about = "Takes GPUs out of use for new leases, has them emptied, and puts them back. For \
                  administrators. GPUs are named by index (0, 0,2, 0-3), UUID, PCI address or model; \
                  all means every one. With several, --json prints a list.",
    after_help = "Examples:\n  \
        migctl gpu cordon 3 --why \"fan is loud\"\n  \
        migctl gpu drain 3 --why \"memory swap\" --wait\n  \
        migctl gpu uncordon 3\n  \
        migctl gpu auto 3"
)]
pub(crate) struct GpuArgs {
    /// What to do
    #[command(subcommand)]
    verb: GpuVerb,
}

/// What can be done to a GPU.
#[derive(Debug, Subcommand)]
enum GpuVerb {
    /// No new lease goes to the GPU; what runs there stays
    Cordon {
        /// The GPU: index, UUID or PCI address
        #[arg(value_name = "GPU")]
        gpu: GpuList,
        /// Why, for whoever looks
        #[arg(long, value_name = "TEXT")]
        why: Option<String>,
    },
    /// As cordon, and leases there that agreed to it are asked to leave
    ///
    /// Preemptible leases get notice and then end, restartable ones are asked to move, the others
    /// are waited for. Nobody is killed who did not agree to it.
    Drain {
        /// The GPU: index, UUID or PCI address
        #[arg(value_name = "GPU")]
        gpu: GpuList,
        /// Why, for whoever looks
        #[arg(long, value_name = "TEXT")]
        why: Option<String>,
        /// Wait until the GPU is empty
        #[arg(long)]
        wait: bool,
        /// With --wait, wait at most so long
        #[arg(long, value_name = "T", requires = "wait")]
        max_wait: Option<Millis>,
    },
    /// A GPU that a layout file fixed is migd's to cut again
    ///
    /// What the file made and nobody uses may go when its room is needed; what was made there by
    /// hand since stays.
    Auto {
        /// The GPU: index, UUID or PCI address
        #[arg(value_name = "GPU")]
        gpu: GpuList,
    },
    /// The GPU is back in use
    Uncordon {
        /// The GPU: index, UUID or PCI address
        #[arg(value_name = "GPU")]
        gpu: GpuList,
    },
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: GpuArgs) -> Result<ExitCode, Failure> {
    connect::runtime()?.block_on(async {
        let client = connect::required(context).await?;
        let failed = |error| Failure::of_client("cannot do that", &error);
        let list = match &args.verb {
            GpuVerb::Cordon { gpu, .. }
            | GpuVerb::Uncordon { gpu }
            | GpuVerb::Auto { gpu }
            | GpuVerb::Drain { gpu, .. } => gpu,
        };
        let node = client.node().await.map_err(failed)?;
        let meant = list.among(&node.gpus)?;
        let mut views = Vec::new();
        for gpu in meant {
            let gpu = gpu.uuid.as_str();
            let view = match &args.verb {
                GpuVerb::Cordon { why, .. } => client.cordon(gpu, false, why.clone()).await,
                GpuVerb::Uncordon { .. } => client.uncordon(gpu).await,
                GpuVerb::Auto { .. } => client.hand_back(gpu).await,
                GpuVerb::Drain { why, .. } => client.cordon(gpu, true, why.clone()).await,
            };
            views.push(view.map_err(failed)?);
        }
        if let GpuVerb::Drain { wait: true, max_wait, .. } = args.verb {
            let begun = tokio::time::Instant::now();
            for view in &mut views {
                *view = emptied(context, &client, view.clone(), max_wait, begun).await?;
            }
        }
        tell(context, &views, matches!(args.verb, GpuVerb::Auto { .. }))
    })
}

fn tell(context: &Context, views: &[GpuView], handed_back: bool) -> Result<ExitCode, Failure> {
    match views {
        [only] if context.json() => context.output.data(only)?,
        _ if context.json() => context.output.data(views)?,
        _ => {
            for view in views {
                context.output.line(&if handed_back {
                    format!("GPU {} is migd's to cut again", view.index)
                } else {
                    words(view)
                })?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What became of a GPU, in a sentence.
fn words(view: &GpuView) -> String {
    let Some(cordon) = &view.cordon else { return format!("GPU {} is back in use", view.index) };
    let ids: Vec<String> = cordon.leases.iter().map(ToString::to_string).collect();
    let why = clean(&cordon.why);
    let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
    let index = view.index;
    match (cordon.drain, cordon.drained, ids.as_slice()) {
        (true, true, _) => format!("GPU {index} is out of use and empty{why}"),
        (true, false, []) => format!("GPU {index} is being emptied{why}"),
        (true, false, ids) => {
            format!("GPU {index} is being emptied{why}; it waits for {}", ids.join(", "))
        }
        (false, _, []) => format!("GPU {index} gets no new lease{why}"),
        (false, _, ids) => {
            format!("GPU {index} gets no new lease{why}; {} stay there", ids.join(", "))
        }
    }
}

/// Waits until nothing of migd's is left on a GPU; `max_wait` counts from `begun`.
async fn emptied(
    context: &Context,
    client: &Client,
    mut view: GpuView,
    max_wait: Option<Millis>,
    begun: tokio::time::Instant,
) -> Result<GpuView, Failure> {
    let mut told = String::new();
    while !view.cordon.as_ref().is_some_and(|cordon| cordon.drained) {
        let now = words(&view);
        if now != told {
            context.output.say(&format!("migctl: {now}"));
            told = now;
        }
        if view.cordon.is_none() {
            let message = format!("GPU {} was put back into use before it was empty", view.index);
            return Err(Failure::new("E-NOT-DRAINED", message).exit(Exit::Negative));
        }
        let limit = max_wait.map(|span| Duration::from_millis(span.get()));
        if limit.is_some_and(|limit| begun.elapsed() >= limit) {
            let message = format!("GPU {} is not empty yet", view.index);
            return Err(Failure::new("E-NOT-DRAINED", message)
                .exit(Exit::Busy)
                .hint("it goes on being emptied; `migctl status` names who is there"));
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
        let node = client.node().await;
        let node = node.map_err(|error| Failure::of_client("cannot read the machine", &error))?;
        let found = node.gpus.into_iter().find(|gpu| gpu.uuid == view.uuid);
        view = found
            .ok_or_else(|| Failure::new("E-GPU-UNKNOWN", format!("GPU {} is gone", view.index)))?;
    }
    Ok(view)
}
